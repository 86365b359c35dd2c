/*
 * PEFT adapters against PEFT's own float32 outputs (tests/golden/adapters/, written by
 * adapters.py): one for each way to say something in adapter_config.json, read from its folder and
 * mapped from its packed file, whatever the prompt is cut into.
 */
#include "base/own.h"
#include "engine/local/gguf.h"
#include "tests/golden/decode.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT = 64 };

/* Of a logit; the stored ones are rounded to 4 digits. F16 GGUF files are multiplied as llama.cpp
 * does, which rounds activations. */
static const double bound = 1e-3, rounded_bound = 4e-3;
static const uint32_t chunks[] = { MAX_PROMPT, 1, 3 };

struct checked {
    const char *name;
    json_t *stored; /* borrowed */
    const struct model *m;
    const struct lora *lora;
    double worst;
};

static void compare(struct checked *c, uint32_t position, const float *got)
{
    char key[16];
    (void)snprintf(key, sizeof(key), "%u", position);
    json_t *want = json_object_get(json_object_get(c->stored, "logits"), key), *v;
    size_t i;
    assert_true(!want || json_array_size(want) == model_shape(c->m)->vocab);
    json_array_foreach(want, i, v) c->worst =
        fmax(c->worst, fabs((double)got[i] - json_number_value(v)));
}

/* The prompt in steps of `chunk` rows; those before the invocation use no adapter. */
static void check_run(struct checked *c, uint32_t chunk)
{
    struct stepper_options o = { 1, MAX_PROMPT, MAX_PROMPT, 2, CACHE_f32 };
    CLEANUP(stepper_freep) struct stepper *s = NULL;
    struct fail f = { 0 };
    if (stepper_new(&s, c->m, &o, &f))
        fail_msg("%s: %s", c->name, f.message);
    const json_t *prompt = json_object_get(c->stored, "prompt");
    uint32_t n = (uint32_t)json_array_size(prompt);
    uint32_t first = (uint32_t)json_integer_value(json_object_get(c->stored, "first"));
    assert_in_range(n, 1, MAX_PROMPT);
    for (uint32_t at = 0; at < n; at += chunk) {
        struct step_row rows[MAX_PROMPT];
        uint32_t some = n - at < chunk ? n - at : chunk;
        for (uint32_t i = 0; i < some; i++)
            rows[i] =
                (struct step_row){ (int32_t)json_integer_value(json_array_get(prompt, at + i)),
                                   at + i, 0, true, at + i < first ? NULL : c->lora };
        const float *logits;
        assert_int_equal(stepper_run(s, rows, some, &logits), 0);
        for (uint32_t i = 0; i < some; i++, logits += model_shape(c->m)->vocab)
            compare(c, at + i, logits);
    }
}

static double worst_of(struct checked c, const struct lora *lora)
{
    c.lora = lora;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++)
        check_run(&c, chunks[k]);
    return c.worst;
}

/* Through the packed file, in each element type. */
static double worst_packed(struct checked c, const char *folder, const char *to,
                           enum lora_packing packing)
{
    struct lora_pack p = { .model = c.m, .packing = packing };
    CLEANUP(lora_freep) struct lora *lora = NULL;
    struct fail f = { 0 };
    int r = model_id(c.m, &p.base_id);
    if (!r)
        r = lora_pack_file(&p, folder, to, &f);
    if (!r)
        r = lora_map_file(&lora, &p, to);
    if (r)
        fail_msg("%s: %d %s", c.name, r, f.message);
    return worst_of(c, lora);
}

static void check_case(const char *name, json_t *stored, const char *scratch)
{
    char base[128], folder[128], packed[PATH_MAX];
    (void)snprintf(base, sizeof(base), "tests/golden/decoders/%s.gguf",
                   json_string_value(json_object_get(stored, "base")));
    (void)snprintf(folder, sizeof(folder), "tests/golden/adapters/%s", name);
    (void)snprintf(packed, sizeof(packed), "%s/%s", scratch, name);
    CLEANUP(model_freep) struct model *m = decode_model(test_path(base));
    CLEANUP(lora_freep) struct lora *lora = NULL;
    struct checked c = { .name = name, .stored = stored, .m = m };
    struct fail f = { 0 };
    if (lora_load(&lora, m, test_path(folder), 1, &f))
        fail_msg("%s: %s", name, f.message);
    double read = worst_of(c, lora);
    double mapped = worst_packed(c, test_path(folder), packed, LORA_packing_source);
    double f16 = worst_packed(c, test_path(folder), packed, LORA_packing_f16);
    double int8 = worst_packed(c, test_path(folder), packed, LORA_packing_int8);
    print_message("# %s: worst logit off %.2g; mapped %.2g, as f16 %.2g, as int8 %.2g\n", name,
                  read, mapped, f16, int8);
    assert_true(read == mapped);
    bool rounded = json_is_true(json_object_get(stored, "rounded"));
    if (!(read <= (rounded ? rounded_bound : bound)))
        fail_msg("%s: a logit is off by %g", name, read);
    assert_true(f16 < 0.05 && int8 < 0.5); /* no more than their rounding costs */
}

static void adapters_answer_as_peft_does(void **state)
{
    (void)state;
    json_error_t e;
    json_auto_t *stored = json_load_file(test_path("tests/golden/adapters/adapters.json"), 0, &e);
    if (!stored)
        fail_msg("%s", e.text);
    const char *name, *scratch = test_temp_dir();
    json_t *row;
    assert_true(json_object_size(stored) >= 25);
    json_object_foreach(stored, name, row) check_case(name, row, scratch);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_answer_as_peft_does),
    };
    return TEST_RUN(tests);
}
