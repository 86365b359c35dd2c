#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/local/engine_local.h"
#include "router/signals/unicode.h"
#include "tests/perf/encode.h"

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "quality: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

struct engine *encode_open(const char *path)
{
    struct config_model m = { .name = STR("encoder"),
                              .path = str_of(path),
                              .slots = 1,
                              .queue = 1,
                              .threads = 1,
                              .batch = LIMIT_BATCH_ROWS };
    struct engine *e = NULL;
    struct fail f = { 0 };
    log_set_level(LOG_warn);
    int r = engine_local_new(&e, &m, &f);
    if (r != 0)
        die(r == FAILED ? f.message : strerror(-r), path);
    return e;
}

void encode_text(struct engine *e, struct str whole, struct features *ret)
{
    CLEANUP(embed_result_done) struct embed_result got = { 0 };
    struct str text = str_trim(whole).n ? whole : STR("-");
    struct fail f = { 0 };
    int r = FAILED;
    for (; text.n; text = str_head(text, text.n / 2)) {
        CLEANUP(arena_freep) struct arena *a = arena_new((size_t)64 << 20);
        struct embed_input in = { .text = a ? unicode_valid_text(text, a) : STR_NULL };
        if (!in.text.p)
            die("no memory", "a text");
        r = engine_embed(e, &in, 1, &got, &f);
        if (r != FAILED || f.code != FAIL_context_length_exceeded)
            break;
    }
    if (r != 0)
        die(r == FAILED ? f.message : strerror(-r), "encoding");
    uint32_t n = (uint32_t)got.width;
    *ret = (struct features){ .n = n, .n_words = n, .id = calloc(n, sizeof(uint32_t)) };
    if (!ret->id || n > FEATURE_BUCKETS)
        die("no memory", "a vector");
    ret->value = TAKE(got.values);
    for (uint32_t i = 0; i < n; i++)
        ret->id[i] = i;
}
