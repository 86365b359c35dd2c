/*
 * Tokenizers against stored vectors (shared/engine/vocab, shared/engine/ref), against themselves on
 * random text, and on small vocabularies made here.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/local/tokenizer.h"

static struct tokenizer *load(const char *path)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct fail f = { 0 };
    struct tokenizer *t = NULL;
    if (gguf_open(&g, path, &f) != 0 || tokenizer_new(&t, g, &f) != 0)
        fail_msg("%s: %s", path, f.message);
    return t;
}

static struct token_list encode(const struct tokenizer *t, struct str text, unsigned flags)
{
    struct token_list l = { 0 };
    assert_int_equal(tokenizer_encode(t, text, flags, &l), 0);
    return l;
}

static void show_ids(const char *label, const int32_t *ids, size_t n)
{
    print_message("# %s:", label);
    for (size_t i = 0; i < n; i++)
        print_message(" %d", ids[i]);
    print_message("\n");
}

static void check_ids(const char *what, struct str text, struct token_list *got,
                      const int32_t *want, size_t n)
{
    if (got->n != n || (n && memcmp(got->ids, want, n * sizeof(*want)) != 0)) {
        show_ids("got", got->ids, got->n);
        show_ids("want", want, n);
        fail_msg("%s: ids differ for '" STR_FMT "'", what, STR_ARG(text));
    }
}

/* ---- the vectors of real vocabularies ---- */

static size_t parse_ids(const char *line, int32_t *ret, size_t max)
{
    size_t n = 0;
    char *end;
    for (const char *p = line; n < max; p = end) {
        long id = strtol(p, &end, 10);
        if (end == p)
            break;
        ret[n++] = (int32_t)id;
    }
    return n;
}

static unsigned check_vectors(const struct tokenizer *t, const char *name, char *texts, char *ids)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    unsigned n = 0;
    for (char *text = texts, *line = ids; *line; n++) {
        char *text_end = strstr(text, separator), *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        *line_end = '\0';
        struct str s = { text, text_end ? (size_t)(text_end - text) : strlen(text) };
        static int32_t want[4096];
        size_t n_want = parse_ids(line, want, ARRAY_LEN(want));
        struct token_list got = encode(t, s, 0);
        check_ids(name, s, &got, want, n_want);
        token_list_done(&got);
        text = text_end ? text_end + strlen(separator) : text + s.n;
        line = line_end + 1;
    }
    return n;
}

static void equals_the_vectors_of_real_vocabularies(void **state)
{
    static const char *const names[] = { "bert-bge",  "deepseek-coder", "falcon",   "gpt-2",
                                         "llama-bpe", "llama-spm",      "mpt",      "phi-3",
                                         "qwen2",     "refact",         "starcoder" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "engine/vocab/ggml-vocab-%s.gguf", names[i]);
        TEST_SHARED(model, path);
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(model);
        (void)snprintf(path, sizeof(path), "engine/vocab/ggml-vocab-%s.gguf.inp", names[i]);
        CLEANUP(own_free) char *texts = test_read(test_shared(path), NULL);
        (void)snprintf(path, sizeof(path), "engine/vocab/ggml-vocab-%s.gguf.out", names[i]);
        CLEANUP(own_free) char *ids = test_read(test_shared(path), NULL);
        assert_int_equal(check_vectors(t, names[i], texts, ids), 46);
    }
}

/* ---- the references of whole models ---- */

static void check_reference_row(const struct tokenizer *t, const char *name, const json_t *row)
{
    static const struct {
        const char *key;
        unsigned flags;
    } ways[] = { { "ids_special_noparse", TOKENIZE_bos },
                 { "ids_nospecial_parse", TOKENIZE_special } };
    const json_t *text = json_object_get(row, "text");
    struct str s = { json_string_value(text), json_string_length(text) };
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        const json_t *ids = json_object_get(row, ways[w].key);
        static int32_t want[8192];
        size_t n = json_array_size(ids);
        assert_true(n <= ARRAY_LEN(want));
        for (size_t i = 0; i < n; i++)
            want[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        struct token_list got = encode(t, s, ways[w].flags);
        check_ids(name, s, &got, want, n);
        token_list_done(&got);
    }
}

static void check_reference(const char *model, const char *reference)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(model);
    json_auto_t *doc = json_load_file(reference, 0, NULL);
    assert_non_null(doc);
    size_t i;
    json_t *row;
    const json_t *rows = json_object_get(doc, "tokenization");
    assert_true(json_array_size(rows) > 10);
    json_array_foreach(rows, i, row) check_reference_row(t, reference, row);
    assert_int_equal(tokenizer_vocab(t), json_integer_value(json_object_get(doc, "n_vocab")));
    assert_int_equal(tokenizer_bos(t), json_integer_value(json_object_get(doc, "bos")));
    assert_int_equal(tokenizer_eos(t), json_integer_value(json_object_get(doc, "eos")));
    assert_int_equal(tokenizer_adds_bos(t), json_boolean_value(json_object_get(doc, "add_bos")));
    unsigned n_eog = 0;
    for (uint32_t id = 0; id < tokenizer_vocab(t); id++)
        n_eog += tokenizer_is_eog(t, (int32_t)id);
    const json_t *eog = json_object_get(doc, "eog");
    assert_int_equal(n_eog, json_array_size(eog));
    json_array_foreach(eog, i, row)
        assert_true(tokenizer_is_eog(t, (int32_t)json_integer_value(row)));
}

static void equals_the_references_of_whole_models(void **state)
{
    static const char *const names[] = { "stories260K.f32", "stories260K.q8_0",
                                         "stories260K-wide.f16", "stories260K-qwen2.f16",
                                         "stories260K-qwen2.q4_0" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char model[128], reference[128];
        (void)snprintf(model, sizeof(model), "engine/models/%s.gguf", names[i]);
        (void)snprintf(reference, sizeof(reference), "engine/ref/%s.json", names[i]);
        TEST_SHARED(model_path, model);
        TEST_SHARED(reference_path, reference);
        check_reference(model_path, reference_path);
    }
}

/* The stored ids of models that are not kept themselves, but share a vocabulary that is. */
static void equals_the_references_of_shared_vocabularies(void **state)
{
    static const struct {
        const char *vocab, *reference;
    } rows[] = {
        { "llama-spm", "tiny-llama-spm.f16" }, { "llama-spm", "tiny-gemma3.f16" },
        { "llama-bpe", "tiny-llama3.f16" },    { "qwen2", "tiny-qwen2.f16" },
        { "qwen2", "tiny-qwen3.f16" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "engine/vocab/ggml-vocab-%s.gguf", rows[i].vocab);
        TEST_SHARED(vocab, path);
        (void)snprintf(path, sizeof(path), "engine/ref/%s.json", rows[i].reference);
        TEST_SHARED(reference, path);
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(vocab);
        json_auto_t *doc = json_load_file(reference, 0, NULL);
        assert_non_null(doc);
        size_t k;
        json_t *row;
        json_array_foreach(json_object_get(doc, "tokenization"), k, row)
            check_reference_row(t, rows[i].reference, row);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_vectors_of_real_vocabularies),
        cmocka_unit_test(equals_the_references_of_whole_models),
        cmocka_unit_test(equals_the_references_of_shared_vocabularies),
    };
    return TEST_RUN(tests);
}
