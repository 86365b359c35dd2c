#include "engine/local/engine_local.h"
#include "tests/unit/engine/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 12 };

#define TEXT(name, text)                                                                           \
    {                                                                                              \
        name, GGUF_string, 0, text                                                                 \
    }
#define NUMBER(name, number)                                                                       \
    {                                                                                              \
        name, GGUF_u32, number, NULL                                                               \
    }
#define REAL(name, number)                                                                         \
    {                                                                                              \
        name, GGUF_f32, number, NULL                                                               \
    }
#define FLAG(name, number)                                                                         \
    {                                                                                              \
        name, GGUF_bool, number, NULL                                                              \
    }
#define LIST(name, digits)                                                                         \
    {                                                                                              \
        name, GGUF_array, 0, digits                                                                \
    }

static void models_that_are_not_drawn_here_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        struct tiny_options o;
        const char *says;
    } rows[] = {
        { { .arch = "mamba" }, "architecture 'mamba' is not supported" },
        { { .arch = "mamba" }, "llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3" },
        { { .arch = "bert" }, "'bert' is an encoder" },
        { { .arch = "llama", .leave_out = "blk.1.ffn_up.weight" }, "blk.1.ffn_up.weight" },
        { { .arch = "llama", .leave_out = "token_embd.weight" }, "token_embd.weight" },
        { { .arch = "llama", .leave_out = "output_norm.weight" }, "output_norm.weight" },
        { { .arch = "llama", .misshape = "blk.0.attn_q.weight" }, "[48, 48]" },
        { { .arch = "llama", .misshape = "blk.0.attn_norm.weight" }, "blk.0.attn_norm.weight" },
        { { .arch = "llama", .retype = "blk.0.attn_k.weight" }, "blk.0.attn_k.weight" },
        { { .arch = "llama", .extra_tensor = "blk.0.attn_q_norm.weight" }, "attn_q_norm" },
        { { .arch = "qwen3", .leave_out = "blk.1.attn_k_norm.weight" }, "blk.1.attn_k_norm" },
        { { .arch = "gemma2", .leave_out = "blk.0.post_ffw_norm.weight" }, "post_ffw_norm" },
        { { .arch = "gemma2", .extra_tensor = "blk.0.attn_q_norm.weight" }, "attn_q_norm" },
        { { .arch = "gemma", .extra_tensor = "blk.0.post_ffw_norm.weight" }, "post_ffw_norm" },
        { { .arch = "phi3", .misshape = "blk.0.attn_qkv.weight" }, "blk.0.attn_qkv.weight" },
        { { .arch = "phi3", .extra_tensor = "rope_factors_long.weight" },
          "rope_factors_long.weight has shape [48" },
        { { .arch = "llama", .extra_tensor = "rope_factors_short.weight" },
          "rope_factors_long.weight is missing" },
        { { .arch = "llama", .keys = { TEXT(".rope.scaling.type", "dynamic") } },
          "llama.rope.scaling.type is 'dynamic', which is not supported" },
        { { .arch = "qwen2", .keys = { TEXT(".rope.scaling.type", "longrope") } },
          "rope_factors_long.weight is missing" },
        { { .arch = "llama", .keys = { REAL(".rope.scaling.yarn_log_multiplier", 0.5) } },
          "llama.rope.scaling.yarn_log_multiplier is 0.5" },
        { { .arch = "llama", .keys = { NUMBER(".rope.dimension_count", 7) } }, "must be even" },
        { { .arch = "llama", .keys = { NUMBER(".rope.dimension_count", 10) } }, "1 to 8" },
        { { .arch = "llama",
            .keys = { TEXT(".rope.scaling.type", "yarn"), REAL(".rope.freq_base", 1) } },
          "yarn needs one above 1" },
        { { .arch = "llama", .keys = { NUMBER(".expert_count", 8) } }, "llama.expert_count is 8" },
        { { .arch = "llama", .keys = { REAL(".logit_scale", 0.25) } },
          "llama.logit_scale is 0.25" },
        { { .arch = "qwen2", .keys = { REAL(".residual_scale", 0.5) } }, "residual_scale is 0.5" },
        { { .arch = "qwen2", .keys = { REAL(".attention.clamp_kqv", 8) } }, "clamp_kqv is 8" },
        { { .arch = "llama", .keys = { FLAG(".attention.causal", 0) } }, "only causal" },
        { { .arch = "llama", .keys = { FLAG(".use_parallel_residual", 1) } },
          "llama.use_parallel_residual is true" },
        { { .arch = "llama", .keys = { TEXT(".hidden_act", "relu") } },
          "llama.hidden_act is 'relu'" },
        { { .arch = "gemma2", .keys = { TEXT(".hidden_activation", "silu") } },
          "gemma2.hidden_activation is 'silu'" },
        { { .arch = "llama", .keys = { NUMBER("split.count", 3) } }, "one of 3 parts" },
        { { .arch = "llama", .keys = { TEXT("general.type", "adapter") } }, "'adapter'" },
        { { .arch = "llama", .keys = { NUMBER(".attention.value_length", 4) } },
          "attention.value_length 4 differs" },
        { { .arch = "gemma3",
            .window = 4,
            .keys = { LIST(".attention.sliding_window_pattern", "101") } },
          "for each of 2 layers" },
        { { .arch = "gemma3",
            .window = 4,
            .keys = { NUMBER(".attention.sliding_window_pattern", 0) } },
          "sliding_window_pattern is 0" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tiny_model t;
        struct fail f = { 0 };
        int r = tiny_model_new(&t, rows[i].o, &f);
        if (r != FAILED || !strstr(f.message, rows[i].says))
            fail_msg("row %zu: %d '%s' does not say %s", i, r, f.message, rows[i].says);
        tiny_model_done(&t);
    }
}

/* Such a file has a tokenizer of its own kind, too, or none. */
static void an_unknown_architecture_is_named_whatever_else_is_in_the_file(void **state)
{
    (void)state;
    static const char bytes[] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                                "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0"
                                "\5\0\0\0\0\0\0\0rwkv7";
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/rwkv.gguf", test_temp_dir());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes) - 1, f), sizeof(bytes) - 1);
    assert_int_equal(fclose(f), 0);
    struct config_model m = { .name = STR("it"), .path = str_of(path), .slots = 1, .batch = 1 };
    struct engine *e = NULL;
    struct fail why = { 0 };
    assert_int_equal(engine_local_new(&e, &m, &why), FAILED);
    assert_non_null(strstr(why.message, "architecture 'rwkv7' is not supported; supported are "
                                        "llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3"));
}

static void run(struct tiny_options o, float ret[TOKENS][TINY_VOCAB])
{
    struct tiny_model t;
    struct fail f = { 0 };
    if (tiny_model_new(&t, o, &f))
        fail_msg("%s: %s", o.keys[0].name, f.message);
    struct stepper_options so = { 1, TOKENS, TOKENS, 1, CACHE_f32 };
    struct stepper *s = NULL;
    if (stepper_new(&s, t.model, &so, &f))
        fail_msg("%s", f.message);
    struct step_row rows[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++)
        rows[i] = (struct step_row){ (int32_t)(i * 31 % TINY_VOCAB), i, 0, true, NULL };
    const float *logits;
    assert_int_equal(stepper_run(s, rows, TOKENS, &logits), 0);
    memcpy(ret, logits, sizeof(float) * TOKENS * TINY_VOCAB);
    stepper_free(s);
    tiny_model_done(&t);
}

static float before[TOKENS][TINY_VOCAB], after[TOKENS][TINY_VOCAB];

/* Each pair of files means the same model. */
static void other_spellings_of_a_key_mean_the_same(void **state)
{
    (void)state;
    static const struct {
        struct tiny_options a, b;
    } rows[] = {
        { { .arch = "llama" }, { .arch = "llama", .keys = { REAL(".attention.scale", 0) } } },
        { { .arch = "llama" },
          { .arch = "llama", .keys = { REAL(".attention.scale", 0.35355339059) } } },
        { { .arch = "llama" }, { .arch = "llama", .keys = { NUMBER(".expert_count", 0) } } },
        { { .arch = "llama" }, { .arch = "llama", .keys = { REAL(".logit_scale", 1) } } },
        { { .arch = "llama" }, { .arch = "llama", .keys = { TEXT(".hidden_act", "silu") } } },
        { { .arch = "llama" },
          { .arch = "llama", .keys = { LIST(".attention.value_length", "88") } } },
        { { .arch = "llama" }, { .arch = "llama", .keys = { NUMBER("split.count", 1) } } },
        { { .arch = "llama" },
          { .arch = "llama",
            .keys = { TEXT(".rope.scaling.type", "none"), REAL(".rope.scaling.factor", 4) } } },
        { { .arch = "llama", .keys = { REAL(".rope.scale_linear", 4) } },
          { .arch = "llama",
            .keys = { TEXT(".rope.scaling.type", "linear"), REAL(".rope.scaling.factor", 4) } } },
        { { .arch = "llama" },
          { .arch = "llama", .keys = { TEXT(".rope.scaling.type", "yarn") } } },
        { { .arch = "gemma2", .window = 4 },
          { .arch = "gemma2",
            .window = 4,
            .keys = { LIST(".attention.sliding_window_pattern", "10") } } },
        { { .arch = "gemma2", .window = 4096 },
          { .arch = "gemma2",
            .window = 4,
            .keys = { NUMBER(".attention.sliding_window_pattern", 1) } } },
        { { .arch = "gemma3", .window = 4 },
          { .arch = "gemma3", .window = 4, .keys = { REAL(".rope.freq_base_swa", 10000) } } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        run(rows[i].a, before);
        run(rows[i].b, after);
        if (memcmp(before, after, sizeof(before)) != 0)
            fail_msg("row %zu: the logits differ", i);
    }
}

/* Each pair of files differs in one key that has to be heard. */
static void keys_that_change_the_graph_are_heard(void **state)
{
    (void)state;
    static const struct {
        struct tiny_options a, b;
    } rows[] = {
        { { .arch = "llama" }, { .arch = "llama", .keys = { REAL(".attention.scale", 0.5) } } },
        { { .arch = "llama" }, { .arch = "llama", .keys = { REAL(".rope.freq_base", 5e5) } } },
        { { .arch = "llama" },
          { .arch = "llama", .keys = { NUMBER(".rope.dimension_count", 4) } } },
        { { .arch = "llama" }, { .arch = "llama", .keys = { REAL(".rope.scaling.factor", 4) } } },
        { { .arch = "llama" },
          { .arch = "llama", .keys = { REAL(".rope.scaling.attn_factor", 1.2) } } },
        { { .arch = "phi3" }, { .arch = "phi3", .window = 5 } },
        { { .arch = "gemma2", .window = 4 },
          { .arch = "gemma2",
            .window = 4,
            .keys = { LIST(".attention.sliding_window_pattern", "01") } } },
        { { .arch = "gemma2" },
          { .arch = "gemma2", .keys = { REAL(".attn_logit_softcapping", 0.01) } } },
        { { .arch = "gemma2" },
          { .arch = "gemma2", .keys = { REAL(".final_logit_softcapping", 0) } } },
        { { .arch = "gemma3", .window = 4 },
          { .arch = "gemma3", .window = 4, .keys = { REAL(".rope.freq_base_swa", 500) } } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        run(rows[i].a, before);
        run(rows[i].b, after);
        float most = 0;
        for (size_t k = 0; k < TINY_VOCAB; k++)
            most = fmaxf(most, fabsf(before[TOKENS - 1][k] - after[TOKENS - 1][k]));
        if (!(most > 1e-5f))
            fail_msg("row %zu: no logit changed", i);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_that_are_not_drawn_here_are_refused_by_name),
        cmocka_unit_test(an_unknown_architecture_is_named_whatever_else_is_in_the_file),
        cmocka_unit_test(other_spellings_of_a_key_mean_the_same),
        cmocka_unit_test(keys_that_change_the_graph_are_heard),
    };
    return TEST_RUN(tests);
}
