#include "tests/unit/engine/tiny_model.h"

#include "base/file.h"
#include "engine/local/kernel.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_HEAD "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\","
#define PLAIN CONFIG_HEAD "\"r\":4,\"lora_alpha\":8}"

#define Q0 "base_model.model.model.layers.0.self_attn.q_proj"
#define DOWN1 "base_model.model.model.layers.1.mlp.down_proj"

static struct tiny_model llama, qwen2;
static float ones[4096];

static int open_models(void **state)
{
    (void)state;
    (void)tiny_model_get(&llama, (struct tiny_options){ .arch = "llama" });
    (void)tiny_model_get(&qwen2, (struct tiny_options){ .arch = "qwen2" });
    for (size_t i = 0; i < ARRAY_LEN(ones); i++)
        ones[i] = 1;
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    tiny_model_done(&llama);
    tiny_model_done(&qwen2);
    return 0;
}

static void put(const char *dir, const char *name, const struct str *content)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)unlink(path);
    if (content)
        assert_int_equal(file_replace(path, *content), 0);
}

/* The one folder, now with these two files; NULL leaves one out. */
static const char *folder(const char *config, struct buf *tensors)
{
    static const char *dir;
    if (!dir)
        dir = test_temp_dir();
    struct str text = str_of(config), bytes = tensors ? buf_str(tensors) : STR_NULL;
    put(dir, "adapter_config.json", config ? &text : NULL);
    put(dir, "adapter_model.safetensors", tensors ? &bytes : NULL);
    return dir;
}

/* A pair of rank `rank` for one module; values are ones. */
static void add_pair(struct tiny_tensors *t, const char *module, const char *infix, uint32_t rank,
                     uint32_t in, uint32_t out)
{
    char name[256];
    (void)snprintf(name, sizeof(name), "%s.lora_A.%sweight", module, infix);
    tiny_tensor_add(t, name, rank, in, ones);
    (void)snprintf(name, sizeof(name), "%s.lora_B.%sweight", module, infix);
    tiny_tensor_add(t, name, out, rank, ones);
}

static struct lora *load(const struct model *m, const char *path, float scale)
{
    struct lora *l = NULL;
    struct fail f = { 0 };
    int r = lora_load(&l, m, path, scale, &f);
    if (r)
        fail_msg("%s: %d %s", path, r, f.message);
    return l;
}

/* s·B[o][r] as a step has it; A x is not scaled again. */
static float b_at(const struct lora_pair *p, uint32_t o, uint32_t r, uint32_t out)
{
    float row[TINY_FF];
    p->b_kernel->unpack(row, (const uint8_t *)p->b + r * p->b_stride, out);
    return p->scale * row[o];
}

/* Scale of the q of layer 0 (rank 4) and of the down of layer 1 (rank 8). */
static void scales_follow_alpha_rank_and_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        double q0, down1;
    } rows[] = {
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"rank_pattern\":{\"down_proj\":8}}", 2, 1 },
        { CONFIG_HEAD "\"r\":8,\"lora_alpha\":8,\"rank_pattern\":{\"q_proj\":4}}", 2, 1 },
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"use_rslora\":true,"
                      "\"rank_pattern\":{\"mlp.down_proj\":8}}",
          4, 2.8284271 },
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"rank_pattern\":{\"down_proj\":8},"
                      "\"alpha_pattern\":{\"self_attn.q_proj\":2,\"x\":3}}",
          0.5, 1 },
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"rank_pattern\":{\"layers.1.mlp.\\\\w+\":8},"
                      "\"alpha_pattern\":{\"model.layers.[01].mlp.down_proj\":32,\"down_proj\":1}}",
          2, 4 },
        { CONFIG_HEAD
          "\"r\":4,\"lora_alpha\":8,\"rank_pattern\":{\"^model.layers.1.mlp.down_proj\":8},"
          "\"alpha_pattern\":{\"roj\":99,\"layers.0\":99}}",
          2, 1 }, /* a pattern covers whole parts up to the end */
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8.5,\"rank_pattern\":{\"down_proj\":8},"
                      "\"target_modules\":[\"q_proj\",\"down_proj\"],\"modules_to_save\":null,"
                      "\"layers_to_transform\":[0,1],\"layers_pattern\":\"layers\","
                      "\"init_lora_weights\":\"gaussian\",\"loftq_config\":{},\"unknown\":[]}",
          2.125, 1.0625 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tiny_tensors t = { 0 };
        add_pair(&t, Q0, "", 4, TINY_EMBED, TINY_EMBED);
        add_pair(&t, DOWN1, "default.", 8, TINY_FF, TINY_EMBED);
        CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
        struct lora *l = load(llama.model, folder(rows[i].config, &file), 1);
        const struct lora_pair *q = lora_pair(l, 0, LORA_q), *down = lora_pair(l, 1, LORA_down);
        assert_int_equal(q->rank, 4);
        assert_int_equal(down->rank, 8);
        if (fabs((double)b_at(q, 0, 0, TINY_EMBED) - rows[i].q0) > 1e-6 ||
            fabs((double)b_at(down, 0, 0, TINY_EMBED) - rows[i].down1) > 1e-6)
            fail_msg("row %zu: scales %g and %g", i, (double)b_at(q, 0, 0, TINY_EMBED),
                     (double)b_at(down, 0, 0, TINY_EMBED));
        assert_int_equal(lora_pair(l, 1, LORA_q)->rank, 0);
        assert_true(l->bytes >= 4 * (4 * 96 + 8 * 128));
        lora_free(l);
    }
}

/* B of a q: output o of the base is row HF(o); halves of a head are interleaved in llama files. */
static void llama_rows_are_permuted_and_qwen2_rows_are_not(void **state)
{
    (void)state;
    float b[TINY_EMBED];
    for (uint32_t o = 0; o < TINY_EMBED; o++)
        b[o] = (float)o;
    struct tiny_tensors t = { 0 };
    tiny_tensor_add(&t, Q0 ".lora_A.weight", 1, TINY_EMBED, ones);
    tiny_tensor_add(&t, Q0 ".lora_B.weight", TINY_EMBED, 1, b);
    CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
    const char *path = folder(CONFIG_HEAD "\"r\":1,\"lora_alpha\":1}", &file);
    struct lora *l = load(llama.model, path, 1), *q = load(qwen2.model, path, 0.5f);
    static const float head[] = { 0, 4, 1, 5, 2, 6, 3, 7, 8, 12 }; /* heads of 8 */
    for (uint32_t o = 0; o < ARRAY_LEN(head); o++) {
        assert_true(b_at(lora_pair(l, 0, LORA_q), o, 0, TINY_EMBED) == head[o]);
        assert_true(b_at(lora_pair(q, 0, LORA_q), o, 0, TINY_EMBED) == 0.5f * (float)o);
    }
    lora_free(l);
    lora_free(q);
}

static void refused(const char *path, const char *says)
{
    struct lora *l = NULL;
    struct fail f = { 0 };
    int r = lora_load(&l, llama.model, path, 1, &f);
    if (r != FAILED || f.code != FAIL_unprocessable_adapter || !strstr(f.message, says))
        fail_msg("%d, '%s' does not name %s", r, f.message, says);
}

static void fields_that_change_the_result_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *field, *says;
    } rows[] = {
        { "\"use_dora\":true", "use_dora" }, /* there are no magnitudes */
        { "\"use_dora\":1", "use_dora" },
        { "\"use_dora\":true,\"lora_bias\":true", "lora_bias" },
        { "\"bias\":\"some\"", "bias" },
        { "\"modules_to_save\":[\"lm_head\"]", "modules_to_save" },
        { "\"trainable_token_indices\":[1]", "trainable_token_indices" },
        { "\"lora_bias\":true", "lora_bias" },
        { "\"layer_replication\":[[0,1]]", "layer_replication" },
        { "\"target_parameters\":[\"x\"]", "target_parameters" },
        { "\"use_qalora\":true", "use_qalora" },
        { "\"use_bdlora\":{\"nblocks\":2}", "use_bdlora" },
        { "\"kasa_config\":{\"beta\":1}", "kasa_config" },
        { "\"velora_config\":{\"num_groups\":2}", "velora_config" },
        { "\"monteclora_config\":{\"num_samples\":2}", "monteclora_config" },
        { "\"arrow_config\":{\"top_k\":2}", "arrow_config" },
        { "\"corda_config\":{\"corda_method\":\"ipm\"}", "corda_config" },
        { "\"lora_ga_config\":{\"scale\":\"unit\"}", "lora_ga_config" },
        { "\"ensure_weight_tying\":true", "ensure_weight_tying" },
        { "\"alora_invocation_tokens\":[61]", "alora_invocation_tokens" },
        { "\"alora_invocation_tokens\":[1.5]", "alora_invocation_tokens" },
        { "\"alora_invocation_tokens\":\"go\"", "alora_invocation_tokens" },
        { "\"megatron_config\":{\"a\":1}", "megatron_config" },
        { "\"loftq_config\":{\"loftq_bits\":4}", "loftq_config" },
        { "\"init_lora_weights\":\"pissa_niter_16\"", "init_lora_weights" },
        { "\"init_lora_weights\":\"olora\"", "init_lora_weights" },
        { "\"init_lora_weights\":\"pissa\"", "init_lora_weights" },
        { "\"init_lora_weights\":\"corda\"", "init_lora_weights" },
        { "\"init_lora_weights\":\"lora_ga\"", "init_lora_weights" },
        { "\"init_lora_weights\":\"loftq\"", "init_lora_weights" },
        { "\"some_new_switch\":true", "some_new_switch" },
        { "\"rank_pattern\":{\"(\":8}", "rank_pattern" },
        { "\"rank_pattern\":{\"(a*)*(a*)*(a*)*b|.*.*.*.*.*.*.*.*x\":8}", "takes too long" },
        { "\"rank_pattern\":{\"q_proj\":0}", "rank_pattern" },
        { "\"alpha_pattern\":{\"q_proj\":\"x\"}", "alpha_pattern" },
        { "\"rank_pattern\":{\"q_proj\":8}", "rank" },
        { "\"target_modules\":[\"k_proj\"]", "target_modules" },
        { "\"target_modules\":\"model.*k_proj\"", "target_modules" },
        { "\"exclude_modules\":[\"q_proj\"]", "exclude_modules" },
        { "\"layers_to_transform\":[1]", "layers_to_transform" },
        { "\"layers_to_transform\":1", "layers_to_transform" },
        { "\"layers_pattern\":\"h\"", "layers_pattern" },
    };
    struct tiny_tensors t = { 0 };
    add_pair(&t, Q0, "", 4, TINY_EMBED, TINY_EMBED);
    CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char config[512];
        (void)snprintf(config, sizeof(config), CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,%s}",
                       rows[i].field);
        refused(folder(config, &file), rows[i].says);
    }
    refused(folder("{\"r\":4,\"lora_alpha\":8}", &file), "peft_type");
    refused(folder("{\"peft_type\":\"IA3\",\"r\":4,\"lora_alpha\":8}", &file), "IA3");
    refused(folder(CONFIG_HEAD "\"lora_alpha\":8}", &file), "r is missing");
    refused(folder(CONFIG_HEAD "\"r\":4}", &file), "lora_alpha");
    refused(folder(CONFIG_HEAD "\"r\":4,\"r\":8,\"lora_alpha\":8}", &file), "duplicate");
    refused(folder("[1", &file), "not JSON");
    refused(folder(PLAIN, NULL), "missing");
    refused(folder(NULL, NULL), "adapter_config.json");
}

struct odd_tensor {
    const char *name;
    uint32_t rows, cols;
    const char *says;
};

static void tensors_that_do_not_fit_are_refused_by_name(void **state)
{
    (void)state;
    static const struct odd_tensor rows[] = {
        { Q0 ".lora_A.weight", 4, TINY_EMBED, "no lora_B" },
        { Q0 ".lora_B.weight", TINY_EMBED, 4, "no lora_A" },
        { "base_model.model.model.embed_tokens.lora_embedding_A", 4, TINY_EMBED, "embed_tokens" },
        { "base_model.model.lm_head.lora_A.weight", 4, TINY_EMBED, "lm_head" },
        { Q0 ".lora_magnitude_vector", 1, TINY_EMBED, "lora_magnitude_vector" },
        { "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight", 4, TINY_EMBED,
          "layers.2" },
        { "base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight", 4, TINY_EMBED,
          "qkv_proj" },
        { Q0 ".lora_A.weight", 4, 64, "[4, 64]" },
        { Q0 ".lora_A.weight", 8, TINY_EMBED, "rank 8" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tiny_tensors t = { 0 };
        tiny_tensor_add(&t, rows[i].name, rows[i].rows, rows[i].cols, ones);
        if (rows[i].cols == 64)
            tiny_tensor_add(&t, Q0 ".lora_B.weight", TINY_EMBED, 4, ones);
        CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
        refused(folder(PLAIN, &file), rows[i].says);
    }
    float bad[4 * TINY_EMBED] = { [7] = NAN };
    struct tiny_tensors t = { 0 };
    tiny_tensor_add(&t, Q0 ".lora_A.weight", 4, TINY_EMBED, bad);
    tiny_tensor_add(&t, Q0 ".lora_B.weight", TINY_EMBED, 4, ones);
    CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
    refused(folder(PLAIN, &file), "not finite");
    add_pair(&t, Q0, "", 4, TINY_EMBED, TINY_EMBED);
    add_pair(&t, Q0, "default.", 4, TINY_EMBED, TINY_EMBED);
    CLEANUP(buf_done) struct buf twice = tiny_tensors_file(&t);
    refused(folder(PLAIN, &twice), "same matrix");
}

/* The base's file says where it came from; a path on the trainer's machine says nothing. */
static void another_base_is_refused_by_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *key, *source, *wanted;
        bool refused;
    } rows[] = {
        { "general.source.huggingface.repository", "acme/Tiny-1B-Chat", "acme/Tiny-1B-Chat",
          false },
        { "general.source.huggingface.repository", "acme/Tiny-1B-Chat", "copy/tiny_1b_chat-4bit",
          false },
        { "general.source.huggingface.repository", "acme/Tiny-1B-Chat", "acme/Other-1B", true },
        { "general.source.repo_url", "https://hub.example/acme/Tiny-1B", "acme/Other-1B", true },
        { "general.source.repo_url", "https://hub.example/acme/Tiny-1B/", "acme/tiny-1b", false },
        { "general.source.url", "https://hub.example/acme/Tiny-1B", "acme/Small-1B", true },
        { "general.source.url", "https://hub.example/acme/Tiny-1B", "/data/models/other", false },
        { "general.source.url", "https://hub.example/acme/Tiny-1B", "./models/other", false },
        { "general.source.url", "https://hub.example/acme/Tiny-1B", "", false },
        { "general.name", "Tiny", "acme/Other-1B", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tiny_model base;
        const struct tiny_key key = { rows[i].key, GGUF_string, 0, rows[i].source };
        (void)tiny_model_get(&base, (struct tiny_options){ .arch = "llama", .keys = { key } });
        struct tiny_tensors t = { 0 };
        add_pair(&t, Q0, "", 4, TINY_EMBED, TINY_EMBED);
        CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
        char config[512];
        (void)snprintf(config, sizeof(config),
                       CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"base_model_name_or_path\":\"%s\"}",
                       rows[i].wanted);
        struct fail f = { 0 };
        int r = lora_check(base.model, folder(config, &file), &f);
        if (r != (rows[i].refused ? FAILED : 0) ||
            (r && !strstr(f.message, "base_model_name_or_path")))
            fail_msg("row %zu: %d %s", i, r, f.message);
        tiny_model_done(&base);
    }
}

static void gguf_adapters_of_another_base_are_refused(void **state)
{
    (void)state;
    refused(test_path("tests/golden/adapters/gguf-bf16"), "general.architecture is 'qwen2'");
    refused(test_path("tests/golden/adapters/gguf-f32"), "shape");
    refused(test_path("tests/golden/decoders/llama.gguf"), "general.type");
}

/* Vectors beside A and B: of the base's size, and announced by the configuration. */
static void vectors_that_do_not_fit_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *config, *tensor;
        uint32_t n;
        const char *says;
    } rows[] = {
        { PLAIN, ".lora_magnitude_vector", TINY_EMBED, "use_dora" },
        { PLAIN, ".lora_B.bias", TINY_EMBED, "lora_bias" },
        { PLAIN, ".base_layer.bias", TINY_EMBED, "bias" },
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"bias\":\"all\"}", ".base_layer.bias", TINY_EMBED,
          "does not have" }, /* llama has no biases */
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"use_dora\":true}", ".lora_magnitude_vector",
          TINY_EMBED - 1, "[1, 47]" },
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"lora_bias\":true}", ".lora_B.bias",
          TINY_EMBED + 1, "[1, 49]" },
        { CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"lora_bias\":true}", ".lora_B.scale", TINY_EMBED,
          "lora_B.scale" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tiny_tensors t = { 0 };
        char name[256];
        add_pair(&t, Q0, "", 4, TINY_EMBED, TINY_EMBED);
        (void)snprintf(name, sizeof(name), Q0 "%s", rows[i].tensor);
        tiny_tensor_add_as(&t, "F32", name, 0, rows[i].n, ones);
        CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
        refused(folder(rows[i].config, &file), rows[i].says);
    }
    struct fail f = { 0 }; /* the base has it, and the module is not adapted: the plain name */
    struct tiny_tensors t = { 0 };
    add_pair(&t, Q0, "", 4, TINY_EMBED, TINY_EMBED);
    tiny_tensor_add_as(&t, "F32",
                       "base_model.model.model.layers.0.self_attn.v_proj.base_layer.bias", 0,
                       TINY_KV_HEADS * TINY_HEAD_SIZE, ones);
    CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
    const char *path = folder(CONFIG_HEAD "\"r\":4,\"lora_alpha\":8,\"bias\":\"all\"}", &file);
    assert_int_equal(lora_check(qwen2.model, path, &f), FAILED);
    assert_non_null(strstr(f.message, "not adapted"));
}

static void damaged_safetensors_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *says;
    } rows[] = {
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
          "overlaps" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "hole" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "belong to none" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,16]}}", "needs 12" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}", "cut short" },
        { "{\"a\":{\"dtype\":\"F31\",\"shape\":[4],\"data_offsets\":[0,16]}}", "F31" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}", "sizes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}", "cut short" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}",
          "sizes" },
        { "{\"a\":7}", "object" },
        { "[]", "object" },
        { "{", "JSON" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf file = BUF_INIT(4096);
        uint64_t n = strlen(rows[i].header);
        buf_add(&file, (struct str){ (const char *)&n, sizeof(n) });
        buf_adds(&file, rows[i].header);
        buf_add(&file, (struct str){ (const char *)ones, 16 });
        refused(folder(PLAIN, &file), rows[i].says);
    }
    CLEANUP(buf_done) struct buf file = BUF_INIT(64);
    buf_adds(&file, "\xff\xff\xff\xff\xff\xff\xff\xff{}");
    refused(folder(PLAIN, &file), "claims");
    buf_clear(&file);
    buf_adds(&file, "abc");
    refused(folder(PLAIN, &file), "at least 8");
}

static void a_sum_joins_the_ranks(void **state)
{
    (void)state;
    struct lora *parts[2], *sum = NULL;
    assert_int_equal(lora_synthetic(&parts[0], llama.model, 3, 1), 0);
    assert_int_equal(lora_synthetic(&parts[1], llama.model, 5, 2), 0);
    struct fail f = { 0 };
    const struct lora *const both[] = { parts[0], parts[1] };
    assert_int_equal(lora_sum(&sum, llama.model, both, 2, &f), 0);
    const struct lora_pair *s = lora_pair(sum, 1, LORA_down);
    assert_int_equal(s->rank, 8);
    assert_memory_equal(s->a, lora_pair(parts[0], 1, LORA_down)->a, 3 * TINY_FF * sizeof(float));
    assert_memory_equal((const float *)s->b + 3 * (size_t)TINY_EMBED,
                        lora_pair(parts[1], 1, LORA_down)->b, 5 * TINY_EMBED * sizeof(float));
    lora_free(sum);
    lora_free(parts[0]);
    lora_free(parts[1]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_follow_alpha_rank_and_patterns),
        cmocka_unit_test(llama_rows_are_permuted_and_qwen2_rows_are_not),
        cmocka_unit_test(fields_that_change_the_result_are_refused_by_name),
        cmocka_unit_test(tensors_that_do_not_fit_are_refused_by_name),
        cmocka_unit_test(another_base_is_refused_by_its_name),
        cmocka_unit_test(gguf_adapters_of_another_base_are_refused),
        cmocka_unit_test(vectors_that_do_not_fit_are_refused_by_name),
        cmocka_unit_test(damaged_safetensors_are_refused),
        cmocka_unit_test(a_sum_joins_the_ranks),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_models, close_models);
}
