/*
 * Perplexity of the stored text (../shared/engine/ref) for every stored model, with and without
 * adapters. One case a model.
 */
#include "base/own.h"
#include "tests/golden/reference.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WINDOW = 256, MAX_TEXT = 8192 }; /* tokens, with BOS: how the references cut the text */

/* Relative to the stored one: of the same arithmetic, and where the reference rounded its
 * activations to 8 bits. */
static const double within_exact = 5e-3, within_quantised = 2e-2, within_twin = 1e-3;

struct text {
    int32_t ids[MAX_TEXT];
    size_t n;
    int32_t bos; /* begins every window; a model without BOS scores all but the first token */
    bool has_bos;
};

static double surprise(const float *logits, uint32_t vocab, int32_t id)
{
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += exp((double)(logits[i] - logits[id]));
    return log(sum);
}

/* Mean over the text. *ret_n: tokens that were scored. */
static double mean_surprise(struct stepper *s, const struct model *m, const struct lora *lora,
                            const struct text *t, size_t *ret_n)
{
    uint32_t vocab = model_shape(m)->vocab;
    double sum = 0;
    *ret_n = 0;
    for (size_t at = 0; at < t->n; at += WINDOW - 1) {
        struct step_row rows[WINDOW];
        size_t some = t->n - at < WINDOW - 1 ? t->n - at : WINDOW - 1;
        uint32_t n =
            0; /* the first row is BOS, or the first token; the last token is only scored */
        for (size_t i = t->has_bos ? 0 : 1; i < some; i++, n++)
            rows[n] = (struct step_row){ i ? t->ids[at + i - 1] : t->bos, n, 0, true, lora };
        const float *logits;
        assert_int_equal(stepper_run(s, rows, n, &logits), 0);
        for (uint32_t i = 0; i < n; i++, logits += vocab)
            sum += surprise(logits, vocab, t->ids[at + some - n + i]);
        *ret_n += n;
    }
    return sum / (double)*ret_n;
}

struct scorer {
    const struct reference_model *c;
    const struct model *m;
    struct stepper *s;
    struct text text;
    size_t n;
    double worst, worst_twin; /* relative */
};

static void compare(struct scorer *o, double got, const json_t *stored, double within,
                    double *worst)
{
    double want = json_number_value(json_object_get(json_object_get(stored, "perplexity"), "ppl"));
    double off = fabs(got / want - 1);
    *worst = off > *worst ? off : *worst;
    if (!(off <= within))
        fail_msg("%s: perplexity %f, stored %f", o->c->name, got, want);
}

static void score(struct scorer *o, const struct lora *lora, const json_t *stored,
                  const json_t *twin)
{
    size_t n = 0;
    if (!json_object_get(stored, "perplexity"))
        return;
    double got = exp(mean_surprise(o->s, o->m, lora, &o->text, &n));
    const json_t *scored = json_object_get(json_object_get(stored, "perplexity"), "n_scored");
    assert_int_equal(n, json_integer_value(scored));
    bool exact = o->c->kind == REFERENCE_exact;
    compare(o, got, stored, exact ? within_exact : within_quantised, &o->worst);
    if (!exact && json_object_get(twin, "perplexity"))
        compare(o, got, twin, within_twin, &o->worst_twin);
    o->n++;
}

static void score_adapters(struct scorer *o, json_t *ref, json_t *twin)
{
    const char *name, *scale;
    json_t *scales, *entry;
    const json_t *twins = json_object_get(twin, "adapters");
    json_object_foreach(json_object_get(ref, "adapters"), name, scales)
        json_object_foreach(scales, scale, entry)
    {
        const char *path = reference_adapter_path(o->c, name, ".gguf");
        CLEANUP(lora_freep) struct lora *l = NULL;
        struct fail e = { 0 };
        if (!path)
            continue;
        if (lora_load(&l, o->m, path, strtof(scale, NULL), &e))
            fail_msg("%s: %s", path, e.message);
        score(o, l, entry, json_object_get(json_object_get(twins, name), scale));
    }
}

static void perplexity_is_as_stored(void **state)
{
    static struct scorer o;
    const struct reference_model *m = *state;
    const char *path = reference_model_path(m);
    if (!path)
        reference_skip(m);
    json_auto_t *ref = reference_need("ref", m), *twin = reference_load("ref/dequant", m);
    struct model *model = decode_model(path);
    o = (struct scorer){ .c = m, .m = model };
    o.text.n = reference_ids(json_object_get(ref, "text_ids"), o.text.ids, MAX_TEXT);
    o.text.bos = (int32_t)json_integer_value(json_object_get(ref, "bos"));
    o.text.has_bos = json_is_true(json_object_get(ref, "add_bos"));
    struct stepper_options so = { 1, WINDOW, WINDOW, 2, CACHE_f32 };
    struct fail f = { 0 };
    if (stepper_new(&o.s, model, &so, &f))
        fail_msg("%s", f.message);
    score(&o, NULL, ref, twin);
    score_adapters(&o, ref, twin);
    print_message("# %s: %zu perplexities, worst %.3f %% off", m->name, o.n, o.worst * 100);
    if (m->kind == REFERENCE_quantised)
        print_message(", %.4f %% of the expanded weights'", o.worst_twin * 100);
    print_message("\n");
    stepper_free(o.s);
    model_free(model);
}

int main(void)
{
    static char titles[64][96];
    struct CMUnitTest tests[64] = { { 0 } };
    size_t n = 0;
    const struct reference_model *m = reference_models(&n);
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(titles[i], sizeof(titles[i]), "%s_has_the_stored_perplexity", m[i].name);
        tests[i] = (struct CMUnitTest){ titles[i], perplexity_is_as_stored, NULL, NULL,
                                        (void *)(uintptr_t)&m[i] };
    }
    test_begin();
    return _cmocka_run_group_tests("perplexity", tests, n, NULL, NULL);
}
