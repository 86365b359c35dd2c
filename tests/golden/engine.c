/*
 * The engine against stored outputs of another implementation (../shared/engine): greedy
 * continuations, logits and perplexity of every stored model of a supported type, with and without
 * adapters in both formats.
 */
#include "tests/golden/decode.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_JOBS = 512, MAX_IDS = 64, TOP = 10 };

/* How near the stored numbers are required to be. */
struct model_case {
    const char *name;
    double top10;  /* of each of the ten largest logits */
    double margin; /* a greedy choice may differ where the stored first and second are nearer */
    const char *reference; /* folder below engine/ */
};

struct oracle_job {
    json_t *stored; /* one of "prompts" */
    char label[64];
    int32_t prompt[256], ids[MAX_IDS];
};

struct oracle {
    const struct model_case *c;
    struct model *m;
    json_t *ref; /* owned */
    struct decode_job jobs[MAX_JOBS];
    struct oracle_job about[MAX_JOBS];
    struct lora *loras[128];
    size_t n, n_loras;
    size_t near; /* divergences at a margin within the bound */
    double worst;
};

static json_t *load_json(const char *path)
{
    json_error_t e;
    json_t *root = json_load_file(path, 0, &e);
    if (!root)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    return root;
}

static size_t read_ids(const json_t *list, int32_t *ret, size_t max)
{
    size_t n = json_array_size(list);
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void add_prompts(struct oracle *o, json_t *prompts, const struct lora *lora,
                        const char *label)
{
    size_t i;
    json_t *p;
    json_array_foreach(prompts, i, p)
    {
        assert_true(o->n < MAX_JOBS);
        struct oracle_job *about = &o->about[o->n];
        struct decode_job *j = &o->jobs[o->n++];
        about->stored = p;
        (void)snprintf(about->label, sizeof(about->label), "%s prompt %zu", label, i);
        j->prompt = about->prompt;
        j->n_prompt = read_ids(json_object_get(p, "ids"), about->prompt, 256);
        j->n_wanted = json_array_size(json_object_get(p, "greedy"));
        assert_true(j->n_wanted <= MAX_IDS);
        j->ids = about->ids;
        j->logits = calloc(model_shape(o->m)->vocab, sizeof(float));
        j->lora = lora;
    }
}

/* "stories260K.f16" → "stories260K" */
static void family(const char *name, char ret[64])
{
    (void)snprintf(ret, 64, "%.*s", (int)(strrchr(name, '.') - name), name);
}

static void add_adapters(struct oracle *o)
{
    static const char *const endings[] = { ".gguf", "" }; /* GGUF, PEFT folder */
    char base[64], path[256], label[48];
    family(o->c->name, base);
    const char *name, *scale;
    json_t *scales, *entry;
    json_object_foreach(json_object_get(o->ref, "adapters"), name, scales)
        json_object_foreach(scales, scale, entry) for (size_t f = 0; f < 2; f++)
    {
        (void)snprintf(path, sizeof(path), "engine/lora/%s/%s%s", base, name, endings[f]);
        const char *at = test_shared(path);
        if (!at)
            continue;
        struct fail e = { 0 };
        assert_true(o->n_loras < 128);
        if (lora_load(&o->loras[o->n_loras], o->m, at, strtof(scale, NULL), &e))
            fail_msg("%s: %s", path, e.message);
        (void)snprintf(label, sizeof(label), "%s@%s %s", name, scale, f ? "peft" : "gguf");
        add_prompts(o, json_object_get(entry, "prompts"), o->loras[o->n_loras++], label);
    }
}

static void oracle_done(struct oracle *o)
{
    for (size_t i = 0; i < o->n; i++)
        free(o->jobs[i].logits);
    for (size_t i = 0; i < o->n_loras; i++)
        lora_free(o->loras[i]);
    model_free(o->m);
    json_decref(o->ref);
    free(o);
}

static void check_top(struct oracle *o, size_t job)
{
    json_t *top = json_object_get(o->about[job].stored, "top10"), *pair;
    size_t i;
    json_array_foreach(top, i, pair)
    {
        size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
        double want = json_number_value(json_array_get(pair, 1));
        double off = fabs((double)o->jobs[job].logits[id] - want);
        if (off > o->worst)
            o->worst = off;
        if (off > o->c->top10)
            fail_msg("%s, %s: logit %zu is %f, stored %f", o->c->name, o->about[job].label, id,
                     (double)o->jobs[job].logits[id], want);
    }
}

/* Equal ids, or equal up to a step where the reference itself could not tell first from second. */
static void check_greedy(struct oracle *o, size_t job)
{
    json_t *stored = o->about[job].stored;
    json_t *greedy = json_object_get(stored, "greedy"), *margin = json_object_get(stored, "margin");
    for (size_t i = 0; i < o->jobs[job].n_wanted; i++) {
        int32_t want = (int32_t)json_integer_value(json_array_get(greedy, i));
        if (o->jobs[job].ids[i] == want)
            continue;
        double m = json_number_value(json_array_get(margin, i));
        if (m > o->c->margin)
            fail_msg("%s, %s: step %zu chose %d, stored %d with margin %f", o->c->name,
                     o->about[job].label, i, o->jobs[job].ids[i], want, m);
        print_message("# %s, %s: step %zu differs at a stored margin of %.4f\n", o->c->name,
                      o->about[job].label, i, m);
        o->near++;
        return;
    }
}

static void check_model(const struct model_case *c)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "engine/models/%s.gguf", c->name);
    TEST_SHARED(model, path);
    (void)snprintf(path, sizeof(path), "engine/%s/%s.json", c->reference, c->name);
    TEST_SHARED(reference, path);
    struct oracle *o = calloc(1, sizeof(*o));
    o->c = c;
    o->m = decode_model(model);
    o->ref = load_json(reference);
    add_prompts(o, json_object_get(o->ref, "prompts"), NULL, "base");
    add_adapters(o);
    decode_all(o->m, o->jobs, o->n, /* slots= */ 48, /* chunk= */ 4);
    for (size_t i = 0; i < o->n; i++) {
        check_top(o, i);
        check_greedy(o, i);
    }
    print_message("# %s: %zu continuations, %zu apart within the margin, worst logit off %.2g\n",
                  c->name, o->n, o->near, o->worst);
    oracle_done(o);
}

static void check_cases(const struct model_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_model(&cases[i]);
}

/* ---- perplexity ---- */

enum { WINDOW = 256 }; /* tokens, with BOS: how the stored references cut the text */

static double surprise(const float *logits, uint32_t vocab, int32_t id)
{
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)(logits[i] - logits[id]));
    return log(sum);
}

/* Mean over the whole text; BOS begins every window. */
static double mean_surprise(const struct model *m, const int32_t *ids, size_t n, int32_t bos)
{
    struct stepper_options o = { 1, WINDOW, WINDOW, 2, CACHE_f32 };
    struct stepper *s = NULL;
    struct fail f = { 0 };
    if (stepper_new(&s, m, &o, &f))
        fail_msg("%s", f.message);
    uint32_t vocab = model_shape(m)->vocab;
    double sum = 0;
    for (size_t at = 0; at < n; at += WINDOW - 1) {
        struct step_row rows[WINDOW];
        uint32_t some = n - at < WINDOW - 1 ? (uint32_t)(n - at) : WINDOW - 1;
        for (uint32_t i = 0; i < some; i++)
            rows[i] = (struct step_row){ i ? ids[at + i - 1] : bos, i, 0, true, NULL };
        const float *logits;
        assert_int_equal(stepper_run(s, rows, some, &logits), 0);
        for (uint32_t i = 0; i < some; i++, logits += vocab)
            sum += surprise(logits, vocab, ids[at + i]);
    }
    stepper_free(s);
    return sum / (double)n;
}

static void perplexity_is_as_stored(void **state)
{
    (void)state;
    static const struct {
        const char *name, *reference;
        double within; /* of the stored perplexity */
    } rows[] = {
        { "stories260K.f32", "ref", 1e-5 },
        { "stories260K.f16", "ref", 1e-3 },
        { "stories260K.bf16", "ref/dequant", 1e-5 },
        { "stories260K.bf16", "ref", 1e-3 },
        { "stories260K.q8_0", "ref/dequant", 1e-4 },
        { "stories260K.q8_0", "ref", 5e-3 },
        { "stories260K.q4_0", "ref/dequant", 1e-4 },
        { "stories260K.q4_0", "ref", 5e-3 },
        { "stories260K-wide.f16", "ref", 1e-3 },
        { "stories260K-wide.q8_0", "ref/dequant", 1e-5 },
        { "stories260K-wide.q4_0", "ref/dequant", 1e-5 },
        { "stories260K-wide.q6_k", "ref/dequant", 1e-5 },
        { "stories260K-qwen2.f16", "ref", 1e-3 },
        { "stories260K-qwen2.q8_0", "ref/dequant", 1e-5 },
        { "stories260K-qwen2.q4_0", "ref/dequant", 1e-5 },
    };
    static int32_t ids[4096];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "engine/models/%s.gguf", rows[i].name);
        TEST_SHARED(model, path);
        (void)snprintf(path, sizeof(path), "engine/%s/%s.json", rows[i].reference, rows[i].name);
        TEST_SHARED(reference, path);
        json_t *ref = load_json(reference);
        struct model *m = decode_model(model);
        size_t n = read_ids(json_object_get(ref, "text_ids"), ids, 4096);
        int32_t bos = (int32_t)json_integer_value(json_object_get(ref, "bos"));
        json_t *p = json_object_get(ref, "perplexity");
        double got = exp(mean_surprise(m, ids, n, bos));
        double want = json_number_value(json_object_get(p, "ppl"));
        if (fabs(got / want - 1) > rows[i].within)
            fail_msg("%s, %s: %f, stored %f", rows[i].name, rows[i].reference, got, want);
        model_free(m);
        json_decref(ref);
    }
}

/*
 * One unit in the last place of an F16 activation that falls on the other side moves a logit by up
 * to 1e-2, so for F16 a choice may differ where the stored margin is below 2e-3.
 */
static void f32_and_f16_models_continue_as_stored(void **state)
{
    (void)state;
    static const struct model_case cases[] = {
        { "stories260K.f32", 2e-3, 1e-4, "ref" },
        { "stories260K.f16", 2e-2, 2e-3, "ref" },
        { "stories260K-wide.f16", 2e-2, 2e-3, "ref" },
        { "stories260K-qwen2.f16", 2e-2, 2e-3, "ref" },
    };
    check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

/*
 * Models with random weights, which scripts/gen_random.py writes beside the stored ones: one test a
 * model, for each is skipped where it was not written.
 */
#define RANDOM_MODEL(test, ...)                                                                    \
    static void test(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        static const struct model_case c = { __VA_ARGS__, "ref" };                                 \
        check_model(&c);                                                                           \
    }
RANDOM_MODEL(a_random_llama_continues_as_stored, "tiny-llama-spm.f16", 2e-2, 2e-3)
RANDOM_MODEL(a_random_llama3_continues_as_stored, "tiny-llama3.f16", 2e-2, 2e-3)
RANDOM_MODEL(a_random_qwen2_continues_as_stored, "tiny-qwen2.f16", 2e-2, 2e-3)
RANDOM_MODEL(a_random_qwen3_continues_as_stored, "tiny-qwen3.f16", 2e-2, 2e-3)
/* The reference looks the gate's activation up in a table of F16 values. */
RANDOM_MODEL(a_random_gemma3_continues_as_stored, "tiny-gemma3.f16", 5e-2, 1e-2)

/* Against the same weights expanded to F32: what an exact engine computes. */
static void quantised_models_continue_as_their_expanded_twins(void **state)
{
    (void)state;
    static const struct model_case cases[] = {
        { "stories260K.q8_0", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K.q4_0", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K.q5_0", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K.q6_k", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K.q4_k_m", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-wide.q8_0", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-wide.q4_k_m", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-wide.q5_k_m", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-wide.q6_k", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-wide.q4_0", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-qwen2.q8_0", 2e-2, 2e-3, "ref/dequant" },
        { "stories260K-qwen2.q4_0", 2e-2, 2e-3, "ref/dequant" },
    };
    check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_and_f16_models_continue_as_stored),
        cmocka_unit_test(a_random_llama_continues_as_stored),
        cmocka_unit_test(a_random_llama3_continues_as_stored),
        cmocka_unit_test(a_random_qwen2_continues_as_stored),
        cmocka_unit_test(a_random_qwen3_continues_as_stored),
        cmocka_unit_test(a_random_gemma3_continues_as_stored),
        cmocka_unit_test(quantised_models_continue_as_their_expanded_twins),
        cmocka_unit_test(perplexity_is_as_stored),
    };
    return TEST_RUN(tests);
}
