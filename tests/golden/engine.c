/*
 * The engine against stored outputs of another implementation (../shared/engine): token ids, greedy
 * continuations and logits of every stored model, with and without adapters in both formats. Two
 * cases a model; perplexity.c has the third.
 */
#include "base/own.h"
#include "engine/local/tokenizer.h"
#include "tests/golden/reference.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JOBS = 512, MAX_PROMPT = 256, MAX_IDS = 64, FIRST = 16, MAX_LORAS = 128 };

/* ---- token ids ---- */

static void check_ids(const struct tokenizer *t, const json_t *text, unsigned flags,
                      const json_t *stored, const char *name)
{
    static int32_t want[8192];
    size_t n = reference_ids(stored, want, ARRAY_LEN(want));
    CLEANUP(token_list_done) struct token_list got = { 0 };
    struct str s = { json_string_value(text), json_string_length(text) };
    assert_int_equal(tokenizer_encode(t, s, flags, &got), 0);
    if (got.n != n || (n && memcmp(got.ids, want, n * sizeof(*want)) != 0))
        fail_msg("%s: %zu ids, stored %zu, of '" STR_FMT "'", name, got.n, n, STR_ARG(s));
}

static void ids_are_as_stored(void **state)
{
    const struct reference_model *m = *state;
    const char *path = reference_model_path(m);
    if (!path)
        reference_skip(m);
    json_auto_t *ref = reference_need("ref", m);
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    CLEANUP(tokenizer_freep) struct tokenizer *t = NULL;
    struct fail f = { 0 };
    if (gguf_open(&g, path, &f) != 0 || tokenizer_new(&t, g, &f) != 0)
        fail_msg("%s: %s", path, f.message);
    size_t i;
    json_t *row, *rows = json_object_get(ref, "tokenization"),
                 *prompts = json_object_get(ref, "prompts");
    json_array_foreach(rows, i, row)
    {
        const json_t *text = json_object_get(row, "text");
        check_ids(t, text, TOKENIZE_bos, json_object_get(row, "ids_special_noparse"), m->name);
        check_ids(t, text, TOKENIZE_special, json_object_get(row, "ids_nospecial_parse"), m->name);
    }
    json_array_foreach(prompts, i, row) check_ids(t, json_object_get(row, "text"), TOKENIZE_bos,
                                                  json_object_get(row, "ids"), m->name);
    print_message("# %s: ids of %zu texts and %zu prompts are equal\n", m->name,
                  json_array_size(rows), json_array_size(prompts));
}

/* ---- continuations ---- */

struct oracle_job {
    json_t *stored; /* one of "prompts", borrowed */
    json_t *twin;   /* the same of the weights expanded to F32, or NULL */
    double apart;   /* how far its logits may be from the stored ones, beyond the model's bound */
    char label[64];
    int32_t prompt[MAX_PROMPT], ids[MAX_IDS];
};

struct oracle {
    const struct reference_model *c;
    struct model *m;
    json_t *ref, *twin, *usual; /* owned; the last two may be NULL */
    double spread;              /* between the reference's own builds */
    struct decode_job jobs[MAX_JOBS];
    struct oracle_job about[MAX_JOBS];
    struct lora *loras[MAX_LORAS];
    size_t n, n_loras;
    size_t absent; /* stored runs of adapters whose files are not */
    size_t near;   /* continuations that differ at a margin within the bound */
    size_t whole;  /* continuations that were compared */
    /* Of quantised models: the first tokens as those of the stored quantised run, by us and by the
     * reference's own expanded run. */
    size_t first_as_ref, twin_first_as_ref, n_first;
    double worst, worst_ref;
};

struct source { /* of prompts */
    json_t *prompts, *twins;
    const struct lora *lora;
    const char *label;
    size_t wanted; /* tokens of each, at most */
    double apart;
};

/* The stored runs round activations to F16 beside the F16 weights of adapters, and so do we for
 * GGUF adapters. A PEFT folder is computed as PEFT does, in F32. */
static const double PEFT_APART = 4e-3;

static void add_prompts(struct oracle *o, const struct source *s)
{
    size_t i;
    json_t *p;
    json_array_foreach(s->prompts, i, p)
    {
        assert_true(o->n < MAX_JOBS);
        struct oracle_job *about = &o->about[o->n];
        struct decode_job *j = &o->jobs[o->n++];
        about->stored = p;
        about->apart = s->apart;
        about->twin = json_array_get(s->twins, i);
        (void)snprintf(about->label, sizeof(about->label), "%s prompt %zu", s->label, i);
        j->prompt = about->prompt;
        j->n_prompt = reference_ids(json_object_get(p, "ids"), about->prompt, MAX_PROMPT);
        j->n_wanted = json_array_size(json_object_get(p, "greedy"));
        j->n_wanted = j->n_wanted < s->wanted ? j->n_wanted : s->wanted;
        assert_true(j->n_wanted <= MAX_IDS);
        j->ids = about->ids;
        j->logits = calloc(model_shape(o->m)->vocab, sizeof(float));
        j->lora = s->lora;
    }
}

/* A PEFT folder holds the same numbers as the GGUF: its logits show whether they were read. */
static void add_adapter(struct oracle *o, const char *name, const char *scale, json_t *entry,
                        bool peft)
{
    const char *at = reference_adapter_path(o->c, name, peft ? "" : ".gguf");
    if (!at) {
        o->absent++;
        return;
    }
    struct fail e = { 0 };
    char label[48];
    assert_true(o->n_loras < MAX_LORAS);
    if (lora_load(&o->loras[o->n_loras], o->m, at, strtof(scale, NULL), &e))
        fail_msg("%s: %s", at, e.message);
    (void)snprintf(label, sizeof(label), "%s@%s %s", name, scale, peft ? "peft" : "gguf");
    const json_t *twin =
        json_object_get(json_object_get(json_object_get(o->twin, "adapters"), name), scale);
    struct source s = {
        .prompts = json_object_get(entry, "prompts"),
        .twins = json_object_get(twin, "prompts"),
        .lora = o->loras[o->n_loras++],
        .label = label,
        .apart = peft ? PEFT_APART : 0,
        .wanted = peft                            ? 0
                  : o->c->kind == REFERENCE_exact ? MAX_IDS
                                                  : FIRST,
    };
    add_prompts(o, &s);
}

static void add_adapters(struct oracle *o)
{
    const char *name, *scale;
    json_t *scales, *entry;
    json_object_foreach(json_object_get(o->ref, "adapters"), name, scales)
        json_object_foreach(scales, scale, entry)
    {
        add_adapter(o, name, scale, entry, /* peft= */ false);
        add_adapter(o, name, scale, entry, /* peft= */ true);
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
    json_decref(o->twin);
    json_decref(o->usual);
    free(o);
}

static void check_top(struct oracle *o, size_t job, json_t *stored, double bound, double *worst)
{
    json_t *top = json_object_get(stored, "top10"), *pair;
    size_t i;
    json_array_foreach(top, i, pair)
    {
        size_t id = (size_t)json_integer_value(json_array_get(pair, 0));
        double want = json_number_value(json_array_get(pair, 1));
        double off = fabs((double)o->jobs[job].logits[id] - want);
        *worst = off > *worst ? off : *worst;
        if (!(off <= bound + o->about[job].apart))
            fail_msg("%s, %s: logit %zu is %f, stored %f", o->c->name, o->about[job].label, id,
                     (double)o->jobs[job].logits[id], want);
    }
}

/* The first step at which ids differ from the stored ones; n: none. */
static size_t differs_at(const int32_t *ids, size_t n, json_t *stored)
{
    json_t *greedy = json_object_get(stored, "greedy");
    size_t i = 0;
    while (i < n && ids[i] == json_integer_value(json_array_get(greedy, i)))
        i++;
    return i;
}

static double margin_at(json_t *stored, size_t i)
{
    return json_number_value(json_array_get(json_object_get(stored, "margin"), i));
}

/* Equal ids, or equal up to a step where the reference itself could not tell first from second. */
static void check_greedy(struct oracle *o, size_t job, json_t *stored)
{
    const struct decode_job *j = &o->jobs[job];
    size_t i = differs_at(j->ids, j->n_wanted, stored);
    o->whole += j->n_wanted > 0;
    if (i == j->n_wanted)
        return;
    if (!(margin_at(stored, i) <= o->c->margin))
        fail_msg("%s, %s: step %zu chose %d, not as stored, with margin %f", o->c->name,
                 o->about[job].label, i, j->ids[i], margin_at(stored, i));
    o->near++;
}

/* Beside the quantised run, whose activations are rounded too: only where it could go either way
 * may we, or its own expanded twin, go the other. */
static void compare_first(struct oracle *o, size_t job)
{
    const struct decode_job *j = &o->jobs[job];
    const struct oracle_job *about = &o->about[job];
    int32_t twin[FIRST];
    if (j->n_wanted < FIRST)
        return;
    for (size_t i = 0; i < FIRST; i++)
        twin[i] =
            (int32_t)json_integer_value(json_array_get(json_object_get(about->twin, "greedy"), i));
    size_t i = differs_at(j->ids, FIRST, about->stored);
    o->n_first++;
    o->first_as_ref += i == FIRST;
    o->twin_first_as_ref += differs_at(twin, FIRST, about->stored) == FIRST;
    if (i < FIRST && !(margin_at(about->stored, i) <= 2 * o->spread))
        fail_msg("%s, %s: step %zu chose %d, not as stored, with margin %f; the reference's own "
                 "logits spread by %f",
                 o->c->name, about->label, i, j->ids[i], margin_at(about->stored, i), o->spread);
}

static void check_job(struct oracle *o, size_t job)
{
    struct oracle_job *about = &o->about[job];
    if (o->c->kind == REFERENCE_exact) {
        check_top(o, job, about->stored, o->c->logit, &o->worst);
        check_greedy(o, job, about->stored);
        return;
    }
    check_top(o, job, about->stored, o->spread + o->c->logit, &o->worst_ref);
    if (!about->twin)
        return; /* of the tiny models only the base was expanded */
    check_top(o, job, about->twin, o->c->logit, &o->worst);
    check_greedy(o, job, about->twin);
    compare_first(o, job);
}

/* Every logit at the end of the first prompt. */
static void check_prompt0(struct oracle *o, const char *folder)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "engine/%s/%s.prompt0.logits.f32", folder, o->c->name);
    const char *at = test_shared(path);
    if (!at)
        return; /* not stored of the tiny models */
    size_t n = 0, vocab = model_shape(o->m)->vocab;
    CLEANUP(own_free) char *bytes = test_read(at, &n);
    assert_int_equal(n, o->jobs[0].n_prompt * vocab * sizeof(float)); /* a row a position */
    for (size_t i = 0; i < vocab; i++) {
        float want;
        memcpy(&want, bytes + n - (vocab - i) * sizeof(want), sizeof(want));
        double off = fabs((double)o->jobs[0].logits[i] - (double)want);
        if (!(off <= o->c->logit))
            fail_msg("%s: logit %zu of the first prompt is %f, stored %f", path, i,
                     (double)o->jobs[0].logits[i], (double)want);
    }
}

static void report(const struct oracle *o)
{
    print_message("# %s: %zu continuations, %zu apart from the stored ones, at margins up to %g; "
                  "worst of %zu prompts' logits off %.2g\n",
                  o->c->name, o->whole, o->near, o->c->margin, o->n, o->worst);
    if (o->absent)
        print_message("# %s: of %zu stored runs the adapter's file is not here\n", o->c->name,
                      o->absent);
    if (o->c->kind == REFERENCE_quantised)
        print_message("# %s: first %d tokens as the run with quantised activations: %zu of %zu; "
                      "the reference's own expanded weights: %zu; logits off %.2g, its spread "
                      "%.2g\n",
                      o->c->name, FIRST, o->first_as_ref, o->n_first, o->twin_first_as_ref,
                      o->worst_ref, o->spread);
}

static void continues_as_stored(void **state)
{
    const struct reference_model *m = *state;
    const char *path = reference_model_path(m);
    if (!path)
        reference_skip(m);
    struct oracle *o = calloc(1, sizeof(*o));
    assert_non_null(o);
    o->c = m;
    o->m = decode_model(path);
    o->ref = reference_need("ref", m);
    o->usual = reference_load("ref/default", m);
    o->twin = m->kind == REFERENCE_quantised ? reference_need("ref/dequant", m) : NULL;
    o->spread = fmax(reference_spread(o->ref, o->usual), reference_spread(o->ref, o->twin));
    struct source base = { json_object_get(o->ref, "prompts"), json_object_get(o->twin, "prompts"),
                           NULL, "base", MAX_IDS };
    add_prompts(o, &base);
    add_adapters(o);
    decode_all(o->m, o->jobs, o->n, /* slots= */ 48, /* chunk= */ 4);
    for (size_t i = 0; i < o->n; i++)
        check_job(o, i);
    check_prompt0(o, m->kind == REFERENCE_exact ? "ref" : "ref/dequant");
    report(o);
    oracle_done(o);
}

int main(void)
{
    static char titles[2][64][96];
    struct CMUnitTest tests[128] = { { 0 } };
    size_t n = 0;
    const struct reference_model *m = reference_models(&n);
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++) {
        void *state = (void *)(uintptr_t)&m[i];
        (void)snprintf(titles[0][i], sizeof(titles[0][i]), "ids_are_as_stored_for_%s", m[i].name);
        (void)snprintf(titles[1][i], sizeof(titles[1][i]), "%s_continues_as_stored", m[i].name);
        tests[2 * i] = (struct CMUnitTest){ titles[0][i], ids_are_as_stored, NULL, NULL, state };
        tests[2 * i + 1] =
            (struct CMUnitTest){ titles[1][i], continues_as_stored, NULL, NULL, state };
    }
    test_begin();
    return _cmocka_run_group_tests("engine", tests, 2 * n, NULL, NULL);
}
