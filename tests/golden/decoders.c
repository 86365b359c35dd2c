/*
 * Random models of every decoder architecture against transformers' float32 outputs
 * (tests/golden/decoders/, written by decoders.py): logits and greedy continuations, with and
 * without an adapter, whatever the prompt is cut into.
 */
#include "base/own.h"
#include "tests/golden/decode.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT = 64, MAX_GREEDY = 16, MAX_VOCAB = 256 };

static const double bound = 1e-3; /* of a logit; the stored ones are rounded to 4 digits */

static const char *const models[] = {
    "llama",       "llama-tied", "llama-linear", "llama-yarn", "mistral",
    "qwen2",       "qwen2-yarn", "qwen3",        "gemma",      "gemma2",
    "gemma2-deep", "gemma3",     "gemma3-deep",  "phi3",       "phi3-longrope",
};
static const uint32_t chunks[] = { MAX_PROMPT, 1, 3, 7, 16 };

struct checked {
    const char *name, *kind; /* "base" or "adapter" */
    const struct model *m;
    const struct lora *lora;
    json_t *stored; /* borrowed: one run */
    double worst;
};

static size_t read_ids(const json_t *list, int32_t *ret, size_t max)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 1, max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void compare_logits(struct checked *c, uint32_t position, const float *got)
{
    char key[16];
    (void)snprintf(key, sizeof(key), "%u", position);
    json_t *want = json_object_get(json_object_get(c->stored, "logits"), key), *v;
    size_t i;
    assert_true(!want || json_array_size(want) == model_shape(c->m)->vocab);
    json_array_foreach(want, i, v)
    {
        double off = fabs((double)got[i] - json_number_value(v));
        c->worst = off > c->worst ? off : c->worst;
        if (!(off <= bound))
            fail_msg("%s, %s: logit %zu at position %u is %f, stored %f", c->name, c->kind, i,
                     position, (double)got[i], json_number_value(v));
    }
}

/* The prompt in steps of `chunk` rows, all logits looked at; returns the best id at its end. */
static int32_t read_prompt(struct checked *c, struct stepper *s, const int32_t *ids, uint32_t n,
                           uint32_t chunk)
{
    uint32_t vocab = model_shape(c->m)->vocab;
    int32_t best = 0;
    for (uint32_t at = 0; at < n; at += chunk) {
        struct step_row rows[MAX_PROMPT];
        uint32_t some = n - at < chunk ? n - at : chunk;
        for (uint32_t i = 0; i < some; i++)
            rows[i] = (struct step_row){ ids[at + i], at + i, 0, true, c->lora };
        const float *logits;
        assert_int_equal(stepper_run(s, rows, some, &logits), 0);
        for (uint32_t i = 0; i < some; i++, logits += vocab) {
            compare_logits(c, at + i, logits);
            best = decode_best(logits, vocab);
        }
    }
    return best;
}

static void check_run(struct checked *c, uint32_t chunk)
{
    int32_t prompt[MAX_PROMPT], greedy[MAX_GREEDY];
    uint32_t n = (uint32_t)read_ids(json_object_get(c->stored, "prompt"), prompt, MAX_PROMPT);
    size_t n_greedy = read_ids(json_object_get(c->stored, "greedy"), greedy, MAX_GREEDY);
    assert_true(json_object_size(json_object_get(c->stored, "logits")) >= 4);
    uint32_t context = (uint32_t)json_integer_value(json_object_get(c->stored, "context"));
    struct stepper_options o = { 1, context, MAX_PROMPT, 2, CACHE_f32 };
    CLEANUP(stepper_freep) struct stepper *s = NULL;
    struct fail f = { 0 };
    if (stepper_new(&s, c->m, &o, &f))
        fail_msg("%s: %s", c->name, f.message);
    int32_t id = read_prompt(c, s, prompt, n, chunk);
    for (size_t i = 0; i < n_greedy; i++) {
        if (id != greedy[i])
            fail_msg("%s, %s: step %zu chose %d, stored %d", c->name, c->kind, i, id, greedy[i]);
        struct step_row row = { id, n + (uint32_t)i, 0, true, c->lora };
        const float *logits;
        assert_int_equal(stepper_run(s, &row, 1, &logits), 0);
        id = decode_best(logits, model_shape(c->m)->vocab);
    }
}

static void check_runs(struct checked *c, json_t *runs)
{
    size_t i;
    json_array_foreach(runs, i, c->stored) for (size_t k = 0; k < ARRAY_LEN(chunks); k++)
        check_run(c, chunks[k]);
    assert_true(i > 0);
    print_message("# %s, %s: worst logit off %.2g\n", c->name, c->kind, c->worst);
}

static const char *file_of(const char *name, const char *ending)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/golden/decoders/%s%s", name, ending);
    return test_path(path);
}

static void check_model(const char *name)
{
    json_error_t e;
    json_auto_t *stored = json_load_file(file_of(name, ".json"), 0, &e);
    if (!stored)
        fail_msg("%s: %s", name, e.text);
    CLEANUP(model_freep) struct model *m = decode_model(file_of(name, ".gguf"));
    struct checked base = { .name = name, .kind = "base", .m = m };
    check_runs(&base, json_object_get(stored, "base"));
    json_t *adapted = json_object_get(stored, "adapter");
    if (!adapted)
        return;
    CLEANUP(lora_freep) struct lora *lora = NULL;
    struct fail f = { 0 };
    if (lora_load(&lora, m, file_of(name, ".lora"), 1, &f))
        fail_msg("%s: %s", name, f.message);
    struct checked with = { .name = name, .kind = "adapter", .m = m, .lora = lora };
    check_runs(&with, adapted);
}

static void answers_as_transformers_does(void **state)
{
    check_model(*state);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(models)] = { { 0 } };
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        tests[i].name = models[i];
        tests[i].test_func = answers_as_transformers_does;
        tests[i].initial_state = (void *)models[i];
    }
    return TEST_RUN(tests);
}
