/*
 * What masks cost: the time from one token to the next mask, over random texts of a grammar.
 *
 *     mask VOCABULARY.gguf GRAMMAR.gbnf|SCHEMA.json…
 *
 * For each grammar: compiling it, the first texts (nothing is known yet), and later ones. A text
 * takes tokens that are allowed: half of them by a random first byte, half any, so that strings
 * end and structure comes. Times are of constraint_accept and constraint_mask together, in
 * processor time of this thread.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "engine/local/grammar/constraint.h"
#include "engine/local/grammar/json_schema.h"

enum { WALKS = 40, STEPS = 250, WARM = 60, MAX_GRAMMAR = 1 << 20 };

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

struct bench {
    struct tokenizer *tokenizer;
    struct token_trie *trie;
    uint8_t *first; /* byte of each token */
    uint64_t random;
    double *us;
    size_t n;
};

/* A token of the mask; -1: none but ends. */
static int32_t choose(struct bench *b, const uint32_t *mask)
{
    uint32_t n = tokenizer_vocab(b->tokenizer), count[256] = { 0 }, all = 0, kinds = 0;
    int32_t pick = -1;
    for (uint32_t id = 0; id < n; id++)
        if (mask[id / 32] >> (id % 32) & 1 && !tokenizer_is_eog(b->tokenizer, (int32_t)id)) {
            kinds += count[b->first[id]]++ == 0;
            all++;
        }
    if (!all)
        return -1;
    bool by_byte = test_random(&b->random) % 2;
    uint64_t at = test_random(&b->random) % (by_byte ? kinds : all);
    unsigned byte = 0;
    for (; by_byte && byte < 256; byte++)
        if (count[byte] && at-- == 0)
            break;
    if (by_byte)
        at = test_random(&b->random) % count[byte];
    for (uint32_t id = 0; id < n && pick < 0; id++)
        if (mask[id / 32] >> (id % 32) & 1 && !tokenizer_is_eog(b->tokenizer, (int32_t)id) &&
            (!by_byte || b->first[id] == byte) && at-- == 0)
            pick = (int32_t)id;
    return pick;
}

static void walk(struct bench *b, struct grammar *g)
{
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    if (constraint_new(&c, g, b->trie) != 0)
        exit(EXIT_FAILURE);
    int32_t id = -1;
    for (unsigned i = 0; i < STEPS; i++) {
        double from = now_us();
        if (id >= 0 && !constraint_accept(c, id))
            exit(EXIT_FAILURE);
        const uint32_t *mask = constraint_mask(c);
        b->us[b->n++] = now_us() - from;
        if (!mask)
            exit(EXIT_FAILURE);
        id = choose(b, mask);
        if (id < 0)
            return;
    }
}

static void report(struct bench *b, const char *what)
{
    double sum = 0;
    qsort(b->us, b->n, sizeof(*b->us), by_value);
    for (size_t i = 0; i < b->n; i++)
        sum += b->us[i];
    (void)printf("  %-6s %6zu tokens  median %8.1f us  mean %8.1f us  p90 %8.1f us  p99 %8.1f us  "
                 "max %8.1f us\n",
                 what, b->n, b->us[b->n / 2], sum / (double)b->n, b->us[b->n * 9 / 10],
                 b->us[b->n * 99 / 100], b->us[b->n - 1]);
    b->n = 0;
}

static int compile(struct grammar **ret, const char *path, struct fail *f)
{
    CLEANUP(own_free) char *text = NULL;
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    size_t n = 0;
    grammar_expr root;
    if (file_read(&text, &n, path, MAX_GRAMMAR) < 0 || grammar_builder_new(&b) < 0)
        return fail_set(f, FAIL_invalid_request, "%s cannot be read", path);
    struct json_schema_options o = { .param = "schema", .strict = false };
    int r = str_ends(str_of(path), STR(".json"))
                ? json_schema_expr(b, (struct str){ text, n }, &o, &root, f)
                : grammar_parse_gbnf(b, (struct str){ text, n }, &root, f);
    return r ? r : grammar_build(b, root, ret, f);
}

static void bench_one(struct bench *b, const char *path)
{
    struct fail f = { 0 };
    struct grammar *g = NULL;
    double from = now_us();
    if (compile(&g, path, &f) != 0) {
        (void)printf("%s: %s\n", path, f.message);
        return;
    }
    (void)printf("%s: compiled in %.2f ms\n", path, (now_us() - from) / 1e3);
    b->random = 1;
    walk(b, g);
    report(b, "first");
    for (unsigned i = 0; i < WARM; i++)
        walk(b, g);
    b->n = 0;
    for (unsigned i = 0; i < WALKS; i++)
        walk(b, g);
    report(b, "warm");
    (void)grammar_unref(g);
}

int main(int argc, char **argv)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct bench b = { 0 };
    struct fail f = { 0 };
    if (argc < 3 || gguf_open(&g, argv[1], &f) != 0 || tokenizer_new(&b.tokenizer, g, &f) != 0) {
        (void)fprintf(stderr, "usage: mask VOCABULARY.gguf GRAMMAR.gbnf|SCHEMA.json…\n%s\n",
                      f.message);
        return 2;
    }
    double from = now_us();
    if (token_trie_new(&b.trie, b.tokenizer) != 0)
        return EXIT_FAILURE;
    uint32_t n = tokenizer_vocab(b.tokenizer);
    (void)printf("%s: %u tokens, trie made in %.0f ms\n", argv[1], n, (now_us() - from) / 1e3);
    b.first = calloc(n, 1);
    b.us = calloc((size_t)(WALKS + WARM + 1) * STEPS, sizeof(*b.us));
    if (!b.first || !b.us)
        return EXIT_FAILURE;
    for (uint32_t id = 0; id < n; id++) {
        CLEANUP(buf_done) struct buf bytes = BUF_INIT(MAX_GRAMMAR);
        tokenizer_decode(b.tokenizer, (int32_t)id, false, &bytes);
        b.first[id] = bytes.n ? (uint8_t)bytes.p[0] : 0;
    }
    for (int i = 2; i < argc; i++)
        bench_one(&b, argv[i]);
    free(b.first);
    free(b.us);
    (void)token_trie_free(b.trie);
    (void)tokenizer_free(b.tokenizer);
    return EXIT_SUCCESS;
}
