/* The packed form: what a step computes from it, its bytes, and what is not taken for one. */
#include "tests/unit/engine/tiny_model.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "engine/local/kernel.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_BYTES = 80, BASE_ID = 77, RANK = 32, TOKENS = 9, VALUES = 1 << 16 };

static struct tiny_model llama, qwen2;
static float values[VALUES]; /* exact in every type that is tried */

static int open_models(void **state)
{
    (void)state;
    (void)tiny_model_get(&llama, (struct tiny_options){ .arch = "llama" });
    (void)tiny_model_get(&qwen2, (struct tiny_options){ .arch = "qwen2" });
    uint64_t seed = 5;
    for (size_t i = 0; i < VALUES; i++)
        values[i] = (float)(int64_t)(test_random(&seed) % 15) / 64 - 7.0f / 64;
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    tiny_model_done(&llama);
    tiny_model_done(&qwen2);
    return 0;
}

static const char *path_of(const char *dir, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % ARRAY_LEN(paths)];
    (void)snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static void add(struct tiny_tensors *t, const char *type, const char *module, const char *tail,
                uint32_t rows, uint32_t cols)
{
    char name[256];
    (void)snprintf(name, sizeof(name), "base_model.model.model.layers.%s.%s", module, tail);
    tiny_tensor_add_as(t, type, name, rows, cols, values + strlen(name) * 7 + rows);
}

struct adapter { /* a PEFT folder */
    const char *type, *config;
    bool bias, lora_bias, dora;
};

static const char *write_adapter(const struct adapter *a)
{
    static const struct {
        const char *module;
        uint32_t in, out;
        bool biased; /* in qwen2 */
    } rows[] = {
        { "0.self_attn.q_proj", TINY_EMBED, TINY_EMBED, true },
        { "0.self_attn.v_proj", TINY_EMBED, TINY_KV_HEADS * TINY_HEAD_SIZE, true },
        { "0.mlp.gate_proj", TINY_EMBED, TINY_FF, false },
        { "1.mlp.down_proj", TINY_FF, TINY_EMBED, false },
        { "1.self_attn.k_proj", TINY_EMBED, TINY_KV_HEADS * TINY_HEAD_SIZE, true },
    };
    const char *dir = test_temp_dir();
    struct tiny_tensors t = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        add(&t, a->type, rows[i].module, "lora_A.weight", RANK, rows[i].in);
        add(&t, a->type, rows[i].module, "lora_B.weight", rows[i].out, RANK);
        if (a->dora)
            add(&t, a->type, rows[i].module, "lora_magnitude_vector", 0, rows[i].out);
        if (a->lora_bias)
            add(&t, a->type, rows[i].module, "lora_B.bias", 0, rows[i].out);
        if (a->bias && rows[i].biased)
            add(&t, a->type, rows[i].module, "base_layer.bias", 0, rows[i].out);
    }
    CLEANUP(buf_done) struct buf file = tiny_tensors_file(&t);
    char config[512];
    (void)snprintf(config, sizeof(config), "{\"peft_type\":\"LORA\",\"r\":%d,%s}", RANK, a->config);
    assert_int_equal(file_replace(path_of(dir, "adapter_config.json"), str_of(config)), 0);
    assert_int_equal(file_replace(path_of(dir, "adapter_model.safetensors"), buf_str(&file)), 0);
    return dir;
}

static void pack(const struct lora_pack *p, const char *from, const char *to)
{
    struct fail f = { 0 };
    int r = lora_pack_file(p, from, to, &f);
    if (r)
        fail_msg("%d %s", r, f.message);
}

static struct lora *map(const struct lora_pack *p, const char *path)
{
    struct lora *l = NULL;
    assert_int_equal(lora_map_file(&l, p, path), 0);
    return l;
}

/* Logits of all positions of a few tokens; the caller frees them. */
static float *run(const struct model *m, const struct lora *l)
{
    struct stepper_options o = { 1, 32, TOKENS, 2, CACHE_f32 };
    CLEANUP(stepper_freep) struct stepper *s = NULL;
    struct fail f = { 0 };
    assert_int_equal(stepper_new(&s, m, &o, &f), 0);
    struct step_row rows[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++)
        rows[i] = (struct step_row){ (int32_t)(i * 7 % TINY_VOCAB), i, 0, true, l };
    const float *logits;
    assert_int_equal(stepper_run(s, rows, TOKENS, &logits), 0);
    float *copy = malloc(sizeof(float) * TOKENS * TINY_VOCAB);
    memcpy(copy, logits, sizeof(float) * TOKENS * TINY_VOCAB);
    return copy;
}

static double most_off(const float *a, const float *b)
{
    double most = 0;
    for (size_t i = 0; i < (size_t)TOKENS * TINY_VOCAB; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static const struct adapter adapters[] = {
    { "F32", "\"lora_alpha\":24", false, false, false },
    { "F16", "\"lora_alpha\":24", false, false, false },
    { "BF16", "\"lora_alpha\":24", false, false, false },
    { "F16", "\"lora_alpha\":64", false, false, false },
    { "F32", "\"lora_alpha\":24,\"bias\":\"lora_only\"", true, false, false },
    { "F32", "\"lora_alpha\":24,\"lora_bias\":true", false, true, false },
    { "BF16", "\"lora_alpha\":24,\"bias\":\"all\",\"lora_bias\":true", true, true, false },
    { "F32", "\"lora_alpha\":24,\"use_dora\":true", false, false, true },
    { "F16", "\"lora_alpha\":24,\"use_dora\":true,\"bias\":\"all\"", true, false, true },
};

/* A mapped file gives the bits of what is loaded from the folder; each type those of F32 but for
 * rounding. */
static void a_mapped_file_computes_what_its_folder_does(void **state)
{
    (void)state;
    const struct lora_pack p = { qwen2.model, BASE_ID, LORA_packing_source };
    CLEANUP(own_free) float *base = run(qwen2.model, NULL);
    for (size_t i = 0; i < ARRAY_LEN(adapters); i++) {
        const char *dir = write_adapter(&adapters[i]), *to = path_of(dir, "packed");
        pack(&p, dir, to);
        struct lora *mapped = map(&p, to), *loaded = NULL;
        struct fail f = { 0 };
        assert_int_equal(lora_load(&loaded, qwen2.model, dir, 1, &f), 0);
        CLEANUP(own_free) float *a = run(qwen2.model, mapped);
        CLEANUP(own_free) float *b = run(qwen2.model, loaded);
        assert_memory_equal(a, b, sizeof(float) * TOKENS * TINY_VOCAB);
        assert_true(most_off(a, base) > 0.01);
        struct adapter plain = adapters[i];
        plain.type = "F32";
        struct lora *exact = NULL;
        assert_int_equal(lora_load(&exact, qwen2.model, write_adapter(&plain), 1, &f), 0);
        CLEANUP(own_free) float *c = run(qwen2.model, exact);
        /* A step rounds activations to F16 where both matrices are: 2^-11 of each */
        double bound = strcmp(adapters[i].type, "F16") == 0 ? 5e-3 : 1e-5;
        if (most_off(a, c) > bound)
            fail_msg("adapter %zu: off by %g", i, most_off(a, c));
        lora_free(exact);
        lora_free(loaded);
        lora_free(mapped);
    }
}

/* Narrower packings: within what their rounding allows, also of tiny values. */
static void narrow_packings_round_within_their_class(void **state)
{
    (void)state;
    static const struct {
        enum lora_packing packing;
        double bound;
    } rows[] = { { LORA_packing_f16, 2e-3 }, { LORA_packing_int8, 2e-2 } };
    static const float sizes[] = { 0.7f, 1e-6f }; /* no value is exact */
    for (size_t k = 0; k < ARRAY_LEN(rows) * ARRAY_LEN(sizes); k++) {
        float size = sizes[k / ARRAY_LEN(rows)];
        for (size_t i = 0; i < VALUES; i++)
            values[i] *= size;
        char config[64];
        (void)snprintf(config, sizeof(config), "\"lora_alpha\":%g", 24 / (double)(size * size));
        const char *dir = write_adapter(&(struct adapter){ "F32", config, false, false, false });
        struct lora_pack p = { llama.model, BASE_ID, rows[k % ARRAY_LEN(rows)].packing };
        pack(&p, dir, path_of(dir, "packed"));
        struct lora *l = map(&p, path_of(dir, "packed")), *exact = NULL;
        struct fail f = { 0 };
        assert_int_equal(lora_load(&exact, llama.model, dir, 1, &f), 0);
        CLEANUP(own_free) float *a = run(llama.model, l);
        CLEANUP(own_free) float *b = run(llama.model, exact);
        if (most_off(a, b) > rows[k % ARRAY_LEN(rows)].bound || most_off(a, b) == 0)
            fail_msg("packing %zu, size %g: off by %g", k, (double)size, most_off(a, b));
        assert_true(l->image_bytes < exact->image_bytes);
        lora_free(l);
        lora_free(exact);
        for (size_t i = 0; i < VALUES; i++)
            values[i] /= size;
    }
}

static struct str read_file(const char *path)
{
    char *text;
    size_t n;
    assert_int_equal(file_read(&text, &n, path, 1 << 20), 0);
    return (struct str){ text, n };
}

static void the_same_adapter_gives_the_same_bytes(void **state)
{
    (void)state;
    const struct lora_pack p = { qwen2.model, BASE_ID, LORA_packing_source };
    const char *a = write_adapter(&adapters[7]), *b = write_adapter(&adapters[7]);
    pack(&p, a, path_of(a, "packed"));
    pack(&p, b, path_of(b, "packed"));
    struct str x = read_file(path_of(a, "packed")), y = read_file(path_of(b, "packed"));
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n);
    free((void *)(uintptr_t)x.p);
    free((void *)(uintptr_t)y.p);
}

/* One matrix is one row of bytes in the file: nothing was widened. */
static void a_packed_file_is_as_large_as_its_tensors(void **state)
{
    (void)state;
    const struct lora_pack p = { llama.model, BASE_ID, LORA_packing_source };
    const char *dir = write_adapter(&adapters[1]);
    pack(&p, dir, path_of(dir, "packed"));
    struct stat st, source;
    assert_int_equal(stat(path_of(dir, "packed"), &st), 0);
    assert_int_equal(stat(path_of(dir, "adapter_model.safetensors"), &source), 0);
    assert_true(st.st_size < source.st_size * 11 / 10);
    struct lora *l = map(&p, path_of(dir, "packed"));
    assert_int_equal(l->image_bytes, st.st_size);
    assert_true(l->bytes < (size_t)source.st_size * 11 / 10 + 4096);
    assert_int_equal(lora_pair(l, 0, LORA_q)->a_kernel->type, TENSOR_F16);
    for (uint32_t i = 0; i < TINY_LAYERS * LORA_TARGETS; i++) {
        assert_int_equal((uintptr_t)l->pairs[i].a % 64, 0);
        assert_int_equal((uintptr_t)l->pairs[i].b % 64, 0);
    }
    lora_free(l);
}

static void a_scale_is_folded_only_where_nothing_is_lost(void **state)
{
    (void)state;
    static const struct {
        const char *type, *config;
        float scale;
    } rows[] = {
        { "F32", "\"lora_alpha\":24", 1 },
        { "F16", "\"lora_alpha\":64", 1 },
        { "BF16", "\"lora_alpha\":16", 1 },
        { "F16", "\"lora_alpha\":24.1", 24.1f / RANK },
        { "BF16", "\"lora_alpha\":0.1", 0.1f / RANK },
        { "F16", "\"lora_alpha\":1e-4", 1e-4f / RANK },
    };
    const struct lora_pack p = { llama.model, BASE_ID, LORA_packing_source };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *dir =
            write_adapter(&(struct adapter){ rows[i].type, rows[i].config, false, false, false });
        pack(&p, dir, path_of(dir, "packed"));
        struct lora *l = map(&p, path_of(dir, "packed"));
        assert_true(fabsf(lora_pair(l, 1, LORA_down)->scale - rows[i].scale) <=
                    1e-6f * rows[i].scale);
        lora_free(l);
    }
}

/* Every byte of the head and the tables counts, and so does what the file is for. */
static void what_is_stale_or_damaged_is_packed_anew(void **state)
{
    (void)state;
    struct lora_pack p = { llama.model, BASE_ID, LORA_packing_source };
    const char *dir = write_adapter(&adapters[0]), *path = path_of(dir, "packed");
    pack(&p, dir, path);
    struct str file = read_file(path);
    char *bytes = (char *)(uintptr_t)file.p;
    struct lora *l = NULL;
    struct lora_pack others[] = { p, p };
    others[0].base_id++;
    others[1].packing = LORA_packing_int8;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(lora_map_file(&l, &others[i], path), -ESTALE);
    size_t head = HEAD_BYTES + TINY_LAYERS * 24 + 5 * 64;
    for (size_t i = 0; i < head; i += 3) {
        bytes[i] ^= 0x41;
        assert_int_equal(file_replace(path, file), 0);
        assert_int_equal(lora_map_file(&l, &p, path), -ESTALE);
        bytes[i] ^= 0x41;
    }
    for (size_t n = 0; n < file.n; n += n < head ? 13 : 4001) {
        assert_int_equal(file_replace(path, (struct str){ file.p, n }), 0);
        assert_int_equal(lora_map_file(&l, &p, path), -ESTALE);
    }
    assert_int_equal(lora_map_file(&l, &p, path_of(dir, "absent")), -ENOENT);
    struct fail f = { 0 };
    assert_int_equal(file_replace(path, file), 0);
    assert_int_equal(lora_verify_file(path, &f), 0);
    bytes[file.n - 1] ^= 1; /* the last value of the last layer */
    assert_int_equal(file_replace(path, file), 0);
    assert_int_equal(lora_verify_file(path, &f), FAILED);
    assert_non_null(strstr(f.message, "layer 1"));
    free(bytes);
}

/* Offsets that a checksum vouches for are still looked at before they are followed. */
static void tables_that_lead_astray_are_not_followed(void **state)
{
    (void)state;
    struct lora_pack p = { llama.model, BASE_ID, LORA_packing_source };
    const char *dir = write_adapter(&adapters[0]), *path = path_of(dir, "packed");
    pack(&p, dir, path);
    struct str file = read_file(path);
    enum { modules = HEAD_BYTES + TINY_LAYERS * 24, head = modules + 5 * 64 };
    static const struct {
        size_t at;
        uint64_t value;
        size_t bytes;
    } rows[] = {
        { 0, 2, 4 },                    /* layer */
        { 4, LORA_qkv, 4 },             /* linear */
        { 8, 1025, 4 },                 /* rank */
        { 8, 0, 4 },                    /* rank */
        { 8, 1000, 4 },                 /* rank */
        { 12, 64, 4 },                  /* flags */
        { 16, TENSOR_Q4_0, 4 },         /* type of A */
        { 20, 999, 4 },                 /* type of B */
        { 24, 0x7f800000, 4 },          /* scale */
        { 32, 1u << 30, 8 },            /* A */
        { 32, 0, 8 },                   /* A */
        { 32, 65, 8 },                  /* A */
        { 40, UINT64_MAX & ~63ull, 8 }, /* B */
        { 48, UINT64_MAX & ~63ull, 8 }, /* gain */
        { 56, 64, 8 },                  /* bias */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *bytes = malloc(file.n);
        memcpy(bytes, file.p, file.n);
        memcpy(bytes + modules + rows[i].at, &rows[i].value, rows[i].bytes);
        memset(bytes + 12, 0, 4);
        uint32_t crc = crc32c(0, bytes, head);
        memcpy(bytes + 12, &crc, 4);
        assert_int_equal(file_replace(path, (struct str){ bytes, file.n }), 0);
        struct lora *l = NULL;
        if (lora_map_file(&l, &p, path) != -ESTALE)
            fail_msg("row %zu was followed", i);
        free(bytes);
    }
    free((void *)(uintptr_t)file.p);
}

static void invocation_tokens_are_kept(void **state)
{
    (void)state;
    const struct lora_pack p = { llama.model, BASE_ID, LORA_packing_source };
    const char *dir = write_adapter(&(struct adapter){
        "F32", "\"lora_alpha\":8,\"alora_invocation_tokens\":[3,60,7]", false, false, false });
    pack(&p, dir, path_of(dir, "packed"));
    struct lora *l = map(&p, path_of(dir, "packed"));
    assert_int_equal(l->n_invocation, 3);
    assert_int_equal(l->invocation[1], 60);
    lora_free(l);
}

static void a_packed_file_outlives_its_name(void **state)
{
    (void)state;
    const struct lora_pack p = { llama.model, BASE_ID, LORA_packing_source };
    const char *dir = write_adapter(&adapters[0]), *path = path_of(dir, "packed");
    pack(&p, dir, path);
    struct lora *l = map(&p, path);
    CLEANUP(own_free) float *before = run(llama.model, l);
    pack(&p, write_adapter(&adapters[1]), path); /* another in its place */
    assert_int_equal(unlink(path), 0);
    CLEANUP(own_free) float *after = run(llama.model, l);
    assert_memory_equal(before, after, sizeof(float) * TOKENS * TINY_VOCAB);
    lora_free(l);
}

static void a_model_is_named_by_its_content(void **state)
{
    (void)state;
    struct tiny_model same = { 0 }, other = { 0 };
    (void)tiny_model_get(&same, (struct tiny_options){ .arch = "llama" });
    (void)tiny_model_get(&other, (struct tiny_options){ .arch = "llama", .seed = 9 });
    uint64_t a, b, c, d;
    assert_int_equal(model_id(llama.model, &a), 0);
    assert_int_equal(model_id(same.model, &b), 0);
    assert_int_equal(model_id(other.model, &c), 0);
    assert_int_equal(model_id(qwen2.model, &d), 0);
    assert_true(a == b && a != c && a != d && a != 0);
    tiny_model_done(&same);
    tiny_model_done(&other);
}

/* RFC 3720, B.4. */
static void checksums_are_those_of_the_standard(void **state)
{
    (void)state;
    uint8_t bytes[32] = { 0 };
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
    assert_int_equal(crc32c(crc32c(0, bytes, 13), bytes + 13, 19), 0x46dd794e);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mapped_file_computes_what_its_folder_does),
        cmocka_unit_test(narrow_packings_round_within_their_class),
        cmocka_unit_test(the_same_adapter_gives_the_same_bytes),
        cmocka_unit_test(a_packed_file_is_as_large_as_its_tensors),
        cmocka_unit_test(a_scale_is_folded_only_where_nothing_is_lost),
        cmocka_unit_test(what_is_stale_or_damaged_is_packed_anew),
        cmocka_unit_test(tables_that_lead_astray_are_not_followed),
        cmocka_unit_test(invocation_tokens_are_kept),
        cmocka_unit_test(a_packed_file_outlives_its_name),
        cmocka_unit_test(a_model_is_named_by_its_content),
        cmocka_unit_test(checksums_are_those_of_the_standard),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_models, close_models);
}
