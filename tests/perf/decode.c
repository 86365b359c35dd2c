/*
 * What reading a chat request costs, a kilobyte of its body: decoded by views, spliced for an
 * engine behind, and, beside them in the same run, the tree that a parser makes of it and a copy.
 *
 *     build/tests/perf/decode
 */
#include "base/clock.h"
#include "base/limits.h"
#include "engine/upstream/splice.h"
#include "gateway/api/chat.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { BYTES_EACH = 40 * 1000 * 1000 }; /* read in all for one number */

struct kind {
    const char *name, *piece;
};
static const struct kind kinds[] = {
    { "English", "The quick brown fox jumps over the lazy dog again. " },
    { "Chinese", "\xe6\xbc\xa2\xe5\xad\x97\xe3\x81\x8b\xe3\x81\xaa" },
    { "code", "for (i = 0; i < n; i++)\\n    puts(\\\"x\\\");\\n" },
};

static void write_body(struct buf *b, const struct kind *k, size_t n)
{
    buf_clear(b);
    buf_adds(b, "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{"
                "\"role\":\"user\",\"content\":\"");
    while (b->n < n)
        buf_adds(b, k->piece);
    buf_adds(b, "\"}],\"temperature\":0.2,\"max_tokens\":100,\"stream\":true}");
}

static void decode(struct str body)
{
    struct arena *a = arena_new(LIMIT_REQUEST_ARENA);
    struct chat_request c = { 0 };
    struct fail fail;
    if (!a || chat_decode(&c, body, a, &fail) != 0)
        abort();
    (void)arena_free(a);
}

static void decode_and_splice(struct str body)
{
    struct arena *a = arena_new(LIMIT_REQUEST_ARENA);
    struct buf out = BUF_INIT(LIMIT_UPSTREAM_BODY);
    struct chat_request c = { 0 };
    struct fail fail;
    if (!a || chat_decode(&c, body, a, &fail) != 0 ||
        splice_request(&out, &c, STR("behind"), NULL, 0) != 0)
        abort();
    buf_done(&out);
    (void)arena_free(a);
}

static void make_tree(struct str body)
{
    json_t *v = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    if (!v)
        abort();
    json_decref(v);
}

static void copy(struct str body)
{
    char *p = str_dup(body);
    if (!p)
        abort();
    __asm__ volatile("" : : "r"(p) : "memory"); /* or nothing is copied */
    free(p);
}

static double ns_per_kb(void (*fn)(struct str body), struct str body)
{
    size_t times = BYTES_EACH / body.n + 1;
    uint64_t from = clock_us();
    for (size_t i = 0; i < times; i++)
        fn(body);
    return (double)(clock_us() - from) * 1e3 * 1024 / ((double)times * (double)body.n);
}

int main(void)
{
    static const size_t sizes[] = { 1000, 1000 * 1000, 10 * 1000 * 1000 };
    struct buf b = BUF_INIT(64 * MIB);
    printf("ns a KB of the body   %10s %10s %10s %10s   tree/decode\n", "decode", "+ splice",
           "tree", "copy");
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            write_body(&b, &kinds[k], sizes[i]);
            if (buf_err(&b) < 0)
                return 1;
            double d = ns_per_kb(decode, buf_str(&b));
            double s = ns_per_kb(decode_and_splice, buf_str(&b));
            double t = ns_per_kb(make_tree, buf_str(&b)), c = ns_per_kb(copy, buf_str(&b));
            printf("%-8s %9zu B %10.0f %10.0f %10.0f %10.0f   %.1f\n", kinds[k].name, b.n, d, s, t,
                   c, t / d);
        }
    }
    buf_done(&b);
    return 0;
}
