#include "adapters/revision.h"

#include <errno.h>

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/adapters/common.h"

static const char *folder_with(const char *name, const void *p, size_t n)
{
    static char path[1024];
    const char *folder = new_peft(1);
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return folder;
}

static void the_digest_is_that_of_the_manifest_text(void **state)
{
    /* sha256sum of "abc" and "hello\n", and of the manifest with those lines, by coreutils */
    static const char text[] =
        "rootstock-adapter 1\n"
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 adapter_config.json\n"
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 6 "
        "adapter_model.safetensors\n";
    struct revision_source s;
    struct manifest m, again;
    struct fail f;
    const char *folder = test_temp_dir();
    char path[1024];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/adapter_config.json", folder);
    assert_int_equal(file_replace(path, STR("abc")), 0);
    (void)snprintf(path, sizeof(path), "%s/adapter_model.safetensors", folder);
    assert_int_equal(file_replace(path, STR("hello\n")), 0);
    (void)snprintf(path, sizeof(path), "%s/README.md", folder);
    assert_int_equal(file_replace(path, STR("not part of it")), 0);
    assert_int_equal(revision_find(&s, folder, &f), 0);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.bytes, 9);
    assert_int_equal(revision_manifest(&s, NULL, NULL, &m, &f), 0);
    CLEANUP(buf_done) struct buf b = BUF_INIT(MANIFEST_MAX);
    manifest_print(&m, &b);
    assert_string_equal(b.p, text);
    assert_int_equal(manifest_parse(&again, str_of(text)), 0);
    assert_int_equal(manifest_bytes(&again), 9);
    struct sha256 d = manifest_digest(&m), want = sha256_of(str_of(text)),
                  same = manifest_digest(&again);
    assert_true(sha256_eq(&d, &want) && sha256_eq(&d, &same));
    assert_string_equal(hex_of(&d),
                        "545a9f063f1adc8a2293e5f7f9a4e84bd6b8a6d71b0ee4c8f29269a5100f92f2");
}

/* Prompts are written by them, so another tokenizer is another revision. */
static void a_tokenizer_belongs_to_the_revision(void **state)
{
    static const char *const names[] = { "tokenizer.json", "chat_template.jinja", "vocab.json",
                                         "tokenizer_config.json", "special_tokens_map.json" };
    struct revision_source s;
    struct manifest m;
    struct fail f;
    struct sha256 digests[ARRAY_LEN(names) + 2];
    char path[1024];
    (void)state;
    const char *folder = new_peft(1);
    for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
        assert_int_equal(revision_find(&s, folder, &f), 0);
        assert_int_equal(s.n, 2 + (i < ARRAY_LEN(names) ? i : ARRAY_LEN(names)));
        assert_int_equal(revision_check(&s, &f), 0);
        assert_int_equal(revision_manifest(&s, NULL, NULL, &m, &f), 0);
        CLEANUP(buf_done) struct buf b = BUF_INIT(MANIFEST_MAX);
        manifest_print(&m, &b);
        assert_int_equal(manifest_parse(&m, buf_str(&b)), 0); /* sorted */
        digests[i] = manifest_digest(&m);
        for (size_t k = 0; k < i; k++)
            assert_false(sha256_eq(&digests[k], &digests[i]));
        (void)snprintf(path, sizeof(path), "%s/%s", folder,
                       names[i < ARRAY_LEN(names) ? i : 0]); /* the last turn changes the first */
        assert_int_equal(file_replace(path, i < ARRAY_LEN(names) ? STR("{}") : STR("{\"a\":1}")),
                         0);
    }
}

static void a_manifest_that_is_not_canonical_is_refused(void **state)
{
#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    static const char *const bad[] = {
        "",
        "rootstock-adapter 1\n",
        "rootstock-adapter 2\n" HEX " 3 a\n",
        "rootstock-adapter 1\n" HEX " 3 a",
        "rootstock-adapter 1\n" HEX " 3 b\n" HEX " 3 a\n",
        "rootstock-adapter 1\n" HEX " 3 a\n" HEX " 3 a\n",
        "rootstock-adapter 1\n" HEX " 0 a\n",
        "rootstock-adapter 1\n" HEX " x a\n",
        "rootstock-adapter 1\n" HEX " 3 ../a\n",
        "rootstock-adapter 1\n" HEX " 3 .\n",
        "rootstock-adapter 1\n" HEX " 3 a/b\n",
        "rootstock-adapter 1\n" HEX " 3 \n",
        "rootstock-adapter 1\n" HEX "0 3 a\n",
        "rootstock-adapter 1\n" HEX " 99999999999999999999 a\n",
        "rootstock-adapter 1\n" HEX " 3 a\n\n",
        "rootstock-adapter 1\n" HEX " 03 a\n",
        ("rootstock-adapter 1\n"
         "BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 a\n"),
    };
    struct manifest m;
    (void)state;
    assert_int_equal(manifest_parse(&m, str_of("rootstock-adapter 1\n" HEX " 3 a\n")), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (manifest_parse(&m, str_of(bad[i])) != -EBADMSG) {
            print_message("# row %zu\n", i);
            assert_true(false);
        }
}

static int check_folder(const char *folder, struct fail *f)
{
    struct revision_source s;
    int r = revision_find(&s, folder, f);
    return r == 0 ? revision_check(&s, f) : r;
}

static void files_that_are_no_adapter_are_named(void **state)
{
    static const struct {
        const char *file, *text, *says;
    } rows[] = {
        { "adapter_config.json", "{", "adapter_config.json:1:" },
        { "adapter_config.json", "[]", "not a JSON object" },
        { "adapter_config.json", "{\"r\":1,\"lora_alpha\":1}", "peft_type" },
        { "adapter_config.json", "{\"peft_type\":\"IA3\",\"r\":1,\"lora_alpha\":1}", "peft_type" },
        { "adapter_config.json", "{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":1}", "r is not" },
        { "adapter_config.json", "{\"peft_type\":\"LORA\",\"r\":1}", "lora_alpha" },
        { "adapter_config.json", "", "empty" },
        { "adapter_model.safetensors", "short", "safetensors" },
        { "adapter_model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", "safetensors" },
        { "extra.gguf", "GGUF", "both" },
    };
    struct fail f;
    (void)state;
    assert_int_equal(check_folder(new_peft(1), &f), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *folder = folder_with(rows[i].file, rows[i].text, strlen(rows[i].text));
        int r = check_folder(folder, &f);
        if (r != FAILED || f.code != FAIL_unprocessable_adapter ||
            !strstr(f.message, rows[i].says)) {
            print_message("# row %zu: %s\n", i, r == FAILED ? f.message : "passed");
            assert_true(false);
        }
    }
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/extra.gguf", new_peft(1));
    assert_int_equal(unlink(path), 0);
}

static void tensors_that_do_not_fit_their_file_are_named(void **state)
{
    static const struct {
        const char *head;
        bool good;
    } rows[] = {
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"x.lora_B\":{\"dtype\":\"F16\",\"shape\":[1,4],\"data_offsets\":[8,16]},"
          "\"__metadata__\":{\"format\":\"pt\"}}",
          true },
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", false },
        { "{\"x.lora_A\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", false },
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", false },
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", false },
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,32]}}", false },
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", false },
        { "{\"x.lora_A\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4611686018427387904],"
          "\"data_offsets\":[0,8]}}",
          false },
        { "{\"x.lora_A\":7}", false },
        { "{\"x.lora_A\":{\"dtype\":1,\"shape\":2,\"data_offsets\":\"a\"}}", false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char file[1024] = { 0 };
        uint64_t n = strlen(rows[i].head);
        struct fail f;
        memcpy(file, &n, 8);
        memcpy(file + 8, rows[i].head, n);
        int r = check_folder(folder_with("adapter_model.safetensors", file, 8 + n + 16), &f);
        if ((r == 0) != rows[i].good) {
            print_message("# row %zu: %s\n", i, r == FAILED ? f.message : "passed");
            assert_true(false);
        }
    }
}

/* A thousand damaged files: an answer each time, under the sanitizers above all. */
static void damaged_files_never_crash_the_check(void **state)
{
    const char *folder = new_peft(1);
    char path[1024];
    size_t n;
    uint64_t seed = 7;
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/adapter_model.safetensors", folder);
    CLEANUP(own_free) char *good = test_read(path, &n);
    CLEANUP(own_free) char *bad = malloc(n);
    unsigned refused = 0;
    for (unsigned i = 0; i < 1000; i++) {
        struct fail f;
        memcpy(bad, good, n);
        size_t len = test_random(&seed) % 4 ? n : 1 + test_random(&seed) % n;
        for (unsigned k = 0; k < 1 + i % 4; k++)
            bad[test_random(&seed) % n] ^= (char)(1u << (test_random(&seed) % 8));
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(bad, 1, len, file), len);
        assert_int_equal(fclose(file), 0);
        refused += check_folder(folder, &f) == FAILED;
    }
    assert_true(refused > 250);
}

static void a_gguf_file_is_an_adapter_only_by_its_word(void **state)
{
    struct fail f;
    char path[1024], file[256] = "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0";
    const char *folder = test_temp_dir();
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/x.gguf", folder);
    assert_int_equal(file_replace(path, (struct str){ file, sizeof(file) }), 0);
    assert_int_equal(check_folder(path, &f), FAILED);
    assert_non_null(strstr(f.message, "adapter.type"));
    memcpy(file + 32, "adapter.type", 12);
    assert_int_equal(file_replace(path, (struct str){ file, sizeof(file) }), 0);
    assert_int_equal(check_folder(path, &f), 0);
    assert_int_equal(check_folder(folder, &f), 0); /* the only .gguf of a folder */
    file[4] = 9;
    assert_int_equal(file_replace(path, (struct str){ file, sizeof(file) }), 0);
    assert_int_equal(check_folder(path, &f), FAILED);
    file[4] = 3;
    file[9] = 1; /* 257 tensors in 256 bytes */
    assert_int_equal(file_replace(path, (struct str){ file, sizeof(file) }), 0);
    assert_int_equal(check_folder(path, &f), FAILED);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_digest_is_that_of_the_manifest_text),
        cmocka_unit_test(a_tokenizer_belongs_to_the_revision),
        cmocka_unit_test(a_manifest_that_is_not_canonical_is_refused),
        cmocka_unit_test(files_that_are_no_adapter_are_named),
        cmocka_unit_test(tensors_that_do_not_fit_their_file_are_named),
        cmocka_unit_test(damaged_files_never_crash_the_check),
        cmocka_unit_test(a_gguf_file_is_an_adapter_only_by_its_word),
    };
    return TEST_RUN(tests);
}
