/*
 * What an activated adapter saves: the time to the first token of a second adapter on a long
 * prefix that a first one has just been asked about, over that of the first.
 *
 *     activated [TOKENS [ROUNDS [THREADS]]]
 *
 * The model is the demo, told to have a longer context; adapters are random ones, activated by
 * three tokens behind the prefix of TOKENS (1024), or plain ones of the same size for comparison.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/local/engine_local.h"
#include "tests/perf/load.h"
#include "tests/support/random_adapters.h"
#include "tests/support/test.h"

enum { MOST_TOKENS = 4000, MOST_ROUNDS = 100, QUESTION = 8, KINDS = 2 };

static const int32_t invocation[] = { 301, 302, 303 };

/* A copy of the demo with another context_length. */
static void copy_model(const char *to, uint32_t context)
{
    static const char key[] = "llama.context_length";
    size_t n = 0;
    char *bytes = test_read(test_path("models/demo.gguf"), &n);
    ptrdiff_t at = str_find((struct str){ bytes, n }, STR("llama.context_length"));
    if (at < 0)
        exit(1);
    memcpy(bytes + at + strlen(key) + sizeof(uint32_t), &context, sizeof(context));
    if (file_replace(to, (struct str){ bytes, n }) < 0)
        exit(1);
    free(bytes);
}

struct adapter {
    struct lora *lora;
    struct sha256 digest;
};

static struct adapter make_adapter(struct engine *e, const char *folder, unsigned i, bool plain)
{
    static const struct model_shape demo = { .arch = "llama",
                                             .layers = 5,
                                             .embed = 256,
                                             .heads = 8,
                                             .kv_heads = 4,
                                             .head_size = 32,
                                             .ff = 512 };
    struct random_adapter made = { .rank = 16, .seed = i + 1, .size = 0.1f };
    struct adapter a = { .digest = sha256_of((struct str){ (const char *)&i, sizeof(i) }) };
    char path[PATH_MAX];
    size_t bytes = 0;
    struct fail f = { 0 };
    if (!plain) {
        made.invocation = invocation;
        made.n_invocation = ARRAY_LEN(invocation);
    }
    (void)snprintf(path, sizeof(path), "%s/%u", folder, i);
    random_adapter_write(&made, &demo, path);
    if (engine_local_lora_load(e, &a.lora, &bytes, path, &f) != 0) {
        (void)fprintf(stderr, "%s\n", f.message);
        exit(1);
    }
    return a;
}

/* The time to the first token, in ms. */
static double ask(struct load *l, const struct adapter *a, int32_t *ids, uint32_t prefix,
                  uint32_t *ret_cached)
{
    memcpy(ids + prefix, invocation, sizeof(invocation));
    load_random_ids(&l->random, ids + prefix + ARRAY_LEN(invocation), QUESTION);
    l->lora = a->lora;
    l->digest = &a->digest;
    const struct load_request *r =
        load_ask(l, ids, prefix + (uint32_t)ARRAY_LEN(invocation) + QUESTION);
    load_wait(l);
    if (!r || r->refused || r->failed)
        exit(1);
    *ret_cached = r->cached;
    return (double)(r->first_us - r->sent_us) / 1e3;
}

int main(int argc, char **argv)
{
    static struct load l;
    static int32_t ids[MOST_TOKENS + ARRAY_LEN(invocation) + QUESTION];
    unsigned long tokens = argc > 1 ? strtoul(argv[1], NULL, 10) : 1024;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 15;
    if (tokens < 1 || tokens > MOST_TOKENS || rounds < 1 || rounds > MOST_ROUNDS)
        return 2;
    uint32_t prefix = (uint32_t)tokens, context = prefix + 64, cached = 0;
    const char *folder = test_temp_dir();
    char model[PATH_MAX];
    (void)snprintf(model, sizeof(model), "%s/model.gguf", folder);
    copy_model(model, context);
    log_set_level(LOG_error);
    struct engine *e = load_engine(model, argc > 3 ? strtoull(argv[3], NULL, 10) : 0, context);
    load_init(&l, e, 1);
    l.answer = 2;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        double cold[MOST_ROUNDS], second[MOST_ROUNDS];
        struct adapter a = make_adapter(e, folder, 2 * kind, kind == 1);
        struct adapter b = make_adapter(e, folder, 2 * kind + 1, kind == 1);
        for (unsigned long i = 0; i < rounds; i++) {
            load_random_ids(&l.random, ids, prefix);
            cold[i] = ask(&l, &a, ids, prefix, &cached);
            second[i] = ask(&l, &b, ids, prefix, &cached);
        }
        double c = load_quantile(cold, rounds, 0.5), s = load_quantile(second, rounds, 0.5);
        (void)printf("%-9s prefix %u: first adapter %8.2f ms, second %8.2f ms (%u of its tokens "
                     "reused), ratio %.3f\n",
                     kind ? "plain" : "activated", prefix, c, s, cached, s / c);
        (void)engine_local_lora_free(a.lora);
        (void)engine_local_lora_free(b.lora);
    }
    load_done(&l);
    (void)engine_free(e);
    return 0;
}
