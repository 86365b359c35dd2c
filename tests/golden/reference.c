#include "tests/golden/reference.h"

#include "base/own.h"
#include "tests/support/test.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * One unit in the last place of an F16 activation that falls on the other side moves a logit by up
 * to 1e-2, so with F16 weights a choice may differ where the stored margin is below 2e-3. BF16 has
 * three bits less: llama.cpp rounds activations to it, which moves its own logits by 4e-2.
 */
#define F32(name)                                                                                  \
    {                                                                                              \
        name, REFERENCE_exact, 2e-3, 1e-4                                                          \
    }
#define F16(name)                                                                                  \
    {                                                                                              \
        name, REFERENCE_exact, 2e-2, 2e-3                                                          \
    }
#define BF16(name)                                                                                 \
    {                                                                                              \
        name, REFERENCE_exact, 6e-2, 1e-2                                                          \
    }
#define QUANTISED(name)                                                                            \
    {                                                                                              \
        name, REFERENCE_quantised, 2e-2, 2e-3                                                      \
    }
/* The reference looks the gate's activation up in a table of F16 values. */
#define GEMMA(name, kind)                                                                          \
    {                                                                                              \
        name, kind, 5e-2, 1e-2                                                                     \
    }
static const struct reference_model models[] = {
    F32("stories260K.f32"),
    F16("stories260K.f16"),
    BF16("stories260K.bf16"),
    QUANTISED("stories260K.q8_0"),
    QUANTISED("stories260K.q4_0"),
    QUANTISED("stories260K.q5_0"),
    QUANTISED("stories260K.q6_k"),
    QUANTISED("stories260K.q4_k_m"),
    F16("stories260K-wide.f16"),
    QUANTISED("stories260K-wide.q8_0"),
    QUANTISED("stories260K-wide.q4_0"),
    QUANTISED("stories260K-wide.q6_k"),
    QUANTISED("stories260K-wide.q4_k_m"),
    QUANTISED("stories260K-wide.q5_k_m"),
    F16("stories260K-qwen2.f16"),
    QUANTISED("stories260K-qwen2.q8_0"),
    QUANTISED("stories260K-qwen2.q4_0"),
    QUANTISED("stories260K-qwen2.q4_k_m"),
    F16("tiny-llama-spm.f16"),
    QUANTISED("tiny-llama-spm.q8_0"),
    F16("tiny-llama3.f16"),
    QUANTISED("tiny-llama3.q8_0"),
    F16("tiny-qwen2.f16"),
    QUANTISED("tiny-qwen2.q8_0"),
    F16("tiny-qwen3.f16"),
    QUANTISED("tiny-qwen3.q8_0"),
    GEMMA("tiny-gemma3.f16", REFERENCE_exact),
    GEMMA("tiny-gemma3.q8_0", REFERENCE_quantised),
};

const struct reference_model *reference_models(size_t *ret_n)
{
    *ret_n = ARRAY_LEN(models);
    return models;
}

/* Where random_models.sh puts them. */
static const char *random_model_path(const char *name)
{
    static char ring[4][PATH_MAX];
    static unsigned at;
    char *path = ring[at++ % ARRAY_LEN(ring)];
    const char *folder = getenv("ROOTSTOCK_RANDOM_MODELS"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (folder)
        (void)snprintf(path, PATH_MAX, "%s/%s.gguf", folder, name);
    else if (cache && cache[0])
        (void)snprintf(path, PATH_MAX, "%s/rootstock/random-models/%s.gguf", cache, name);
    else
        (void)snprintf(path, PATH_MAX, "%s/.cache/rootstock/random-models/%s.gguf",
                       home ? home : "", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *reference_model_path(const struct reference_model *m)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "engine/models/%s.gguf", m->name);
    const char *stored = test_shared(path);
    return stored ? stored : random_model_path(m->name);
}

void reference_skip(const struct reference_model *m)
{
    if (strncmp(m->name, "tiny-", 5) == 0)
        print_message("# skipped: %s.gguf was not made; tests/golden/random_models.sh makes it "
                      "(numpy and gguf from PyPI, and ../shared)\n",
                      m->name);
    else
        print_message("# skipped: shared/engine/models/%s.gguf is not here\n", m->name);
    skip();
}

json_t *reference_load(const char *folder, const struct reference_model *m)
{
    char path[256];
    json_error_t e;
    (void)snprintf(path, sizeof(path), "engine/%s/%s.json", folder, m->name);
    const char *at = test_shared(path);
    if (!at)
        return NULL;
    json_t *root = json_load_file(at, 0, &e);
    if (!root)
        fail_msg("%s:%d: %s", at, e.line, e.text);
    return root;
}

json_t *reference_need(const char *folder, const struct reference_model *m)
{
    json_t *root = reference_load(folder, m);
    if (!root)
        fail_msg("shared/engine/%s/%s.json is not here, though its model is", folder, m->name);
    return root;
}

size_t reference_ids(const json_t *list, int32_t *ret, size_t max)
{
    size_t n = json_array_size(list);
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

const char *reference_adapter_path(const struct reference_model *m, const char *adapter,
                                   const char *ending)
{
    char path[256]; /* "stories260K.f16" has those of "stories260K" */
    (void)snprintf(path, sizeof(path), "engine/lora/%.*s/%s%s",
                   (int)(strrchr(m->name, '.') - m->name), m->name, adapter, ending);
    return test_shared(path);
}

/* ---- spread ---- */

static double logit_of(const json_t *top, json_int_t id)
{
    size_t i;
    json_t *pair;
    json_array_foreach((json_t *)(uintptr_t)top, i,
                       pair) if (json_integer_value(json_array_get(pair, 0)) ==
                                 id) return json_number_value(json_array_get(pair, 1));
    return NAN;
}

static double prompts_apart(const json_t *a, const json_t *b)
{
    double most = 0;
    for (size_t i = 0; i < json_array_size(a) && i < json_array_size(b); i++) {
        json_t *x = json_object_get(json_array_get(a, i), "top10"), *pair;
        const json_t *y = json_object_get(json_array_get(b, i), "top10");
        size_t k;
        json_array_foreach(x, k, pair)
        {
            double other = logit_of(y, json_integer_value(json_array_get(pair, 0)));
            double off = fabs(json_number_value(json_array_get(pair, 1)) - other);
            most = off > most ? off : most; /* NaN is no more */
        }
    }
    return most;
}

double reference_spread(const json_t *a, const json_t *b)
{
    double most = prompts_apart(json_object_get(a, "prompts"), json_object_get(b, "prompts"));
    const char *name, *scale;
    json_t *scales, *entry;
    const json_t *others = json_object_get(b, "adapters");
    json_object_foreach(json_object_get(a, "adapters"), name, scales)
        json_object_foreach(scales, scale, entry)
    {
        const json_t *other = json_object_get(json_object_get(others, name), scale);
        double off =
            prompts_apart(json_object_get(entry, "prompts"), json_object_get(other, "prompts"));
        most = off > most ? off : most;
    }
    return most;
}
