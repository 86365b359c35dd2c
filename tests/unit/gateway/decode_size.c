/* What decoding a large body costs in memory: the allocator is counted. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/api/chat.h"
#include "gateway/api/completions.h"

#include <malloc.h>
#include <stdlib.h>

enum { LARGE = 10 * 1000 * 1000, LITTLE = 64 * 1024 };

static size_t now, peak;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static void *counted(void *p)
{
    now += malloc_usable_size(p);
    peak = now > peak ? now : peak;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    now -= malloc_usable_size(p);
    return counted(__real_realloc(p, n));
}

void __wrap_free(void *p)
{
    now -= malloc_usable_size(p);
    __real_free(p);
}

static void write_body(struct buf *b, const char *before, const char *piece, const char *after)
{
    buf_addf(b, "{\"model\":\"m\",%s", before);
    while (b->n < LARGE)
        buf_adds(b, piece);
    buf_addf(b, "%s,\"temperature\":0.5}", after);
    assert_int_equal(buf_err(b), 0);
}

static bool lies_in(struct str part, const struct buf *whole)
{
    return part.p >= whole->p && part.p + part.n <= whole->p + whole->n;
}

static void a_large_body_is_not_copied(void **state)
{
    static const struct {
        const char *before, *piece, *after;
        bool is_completion;
        size_t copies; /* of the text: it has escapes, or is in several parts */
    } rows[] = {
        { "\"messages\":[{\"role\":\"user\",\"content\":\"", "The quick brown fox. \xc3\xa9 ",
          "\"}]", false, 0 },
        { "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"", "abc ",
          "\"}]}]", false, 0 },
        { "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"see\"},{"
          "\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,",
          "AAAA", "\"}}]}]", false, 0 },
        { "\"messages\":[{\"role\":\"user\",\"content\":\"", "a line of text\\n", "\"}]", false,
          1 },
        { "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
          "\"function\":{\"name\":\"f\",\"parameters\":{\"description\":\"",
          "long ", "\"}}}]", false, 0 },
        { "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"new\":[0", ",{\"a\":[1,2]}", "]",
          false, 0 },
        { "\"prompt\":\"", "The quick brown fox. ", "\"", true, 0 },
        { "\"prompt\":\"", "\\u00e9\\\"", "\"", true, 1 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf body = BUF_INIT(64 * MIB);
        CLEANUP(arena_freep) struct arena *arena = arena_new(LIMIT_REQUEST_ARENA);
        struct chat_request chat = { 0 }, *c = &chat;
        struct fail fail = { 0 };
        size_t n = 0;
        bool empty = false;
        write_body(&body, rows[i].before, rows[i].piece, rows[i].after);
        size_t before = now;
        peak = now;
        int r = rows[i].is_completion
                    ? completions_decode(&c, &n, &empty, buf_str(&body), arena, &fail)
                    : chat_decode(c, buf_str(&body), arena, &fail);
        if (r != 0)
            fail_msg("%zu: %s", i, fail.message);
        size_t most = rows[i].copies * body.n + LITTLE;
        if (arena_used(arena) > most || peak - before > most)
            fail_msg("%zu: %zu in the arena, %zu allocated", i, arena_used(arena), peak - before);
        struct str text = rows[i].is_completion ? c->prompt : c->messages->content;
        assert_true(lies_in(text, &body) == (rows[i].copies == 0));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = { cmocka_unit_test(a_large_body_is_not_copied) };
    return TEST_RUN(tests);
}
