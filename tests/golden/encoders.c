/*
 * Random encoders of every architecture and head against transformers' float32 outputs
 * (tests/golden/encoders/, written by encoders.py): ids, bytes of tokens, vectors and scores,
 * through the engine's interface; and WordPiece against Hugging Face's on random strings.
 */
#include "base/log.h"
#include "base/own.h"
#include "engine/local/engine_local.h"
#include "engine/local/tokenizer.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXTS = 32, MAX_IDS = 256 };

static const double bound = 1e-3;         /* of a number; the stored ones are rounded to 5 digits */
static const double quantised = 1 - 4e-3; /* cosine to the unquantised vector */

static const struct {
    const char *name;
    enum { VECTORS, SCORES, TOKENS } kind;
} models[] = {
    { "bert", VECTORS },
    { "bert-sequence", SCORES },
    { "bert-token", TOKENS },
    { "distilbert", VECTORS },
    { "distilbert-sequence", SCORES },
    { "roberta-sequence", SCORES },
    { "nomic-bert", VECTORS },
    { "nomic-bert-sequence", SCORES },
    { "modern-bert", VECTORS },
    { "modern-bert-sequence", SCORES },
    { "modern-bert-token", TOKENS },
};

static struct engine *open_model(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/golden/encoders/%s.gguf", name);
    struct config_model m = { .name = STR("test"),
                              .path = str_of(test_path(path)),
                              .slots = 1,
                              .threads = 2,
                              .queue = 8,
                              .batch = 32 };
    struct engine *e = NULL;
    struct fail f = { 0 };
    if (engine_local_new(&e, &m, &f) != 0)
        fail_msg("%s", f.message);
    return e;
}

static json_t *read_stored(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "tests/golden/encoders/%s.json", name);
    json_error_t e;
    json_t *doc = json_load_file(test_path(path), JSON_ALLOW_NUL, &e);
    if (!doc)
        fail_msg("%s:%d: %s", path, e.line, e.text);
    return doc;
}

static struct str text_of(const json_t *row)
{
    const json_t *text = json_object_get(row, "text");
    return (struct str){ json_string_value(text), json_string_length(text) };
}

static size_t read_ids(const json_t *list, int32_t *ret)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 1, MAX_IDS);
    for (size_t i = 0; i < n; i++)
        ret[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static void check_numbers(const char *name, size_t text, const json_t *want, const float *got)
{
    size_t i;
    json_t *v;
    json_array_foreach(want, i, v)
    {
        double off = fabs((double)got[i] - json_number_value(v));
        if (!(off <= bound))
            fail_msg("%s, text %zu: number %zu is %f, stored %f", name, text, i, (double)got[i],
                     json_number_value(v));
    }
}

/* The stored ids are cut to the tiny models' positions. */
static void check_ids(const struct engine *e, const char *name, const json_t *row)
{
    CLEANUP(token_list_done) struct token_list got = { 0 };
    int32_t want[MAX_IDS];
    size_t n = read_ids(json_object_get(row, "ids"), want);
    const json_t *ranges = json_object_get(row, "ranges");
    assert_int_equal(
        tokenizer_encode_ranges(engine_local_tokenizer(e), text_of(row), TOKENIZE_bos, &got), 0);
    assert_true(got.n >= n);
    for (size_t i = 0; i < n; i++) {
        const json_t *range = json_array_get(ranges, i);
        json_int_t begin = json_integer_value(json_array_get(range, 0));
        json_int_t end = json_integer_value(json_array_get(range, 1));
        if (got.ids[i] != want[i])
            fail_msg("%s, '" STR_FMT "': token %zu is %d, stored %d", name, STR_ARG(text_of(row)),
                     i, got.ids[i], want[i]);
        if (got.ranges[i].begin != begin || got.ranges[i].end != end)
            fail_msg("%s, '" STR_FMT "': token %zu is of bytes %u to %u, stored %lld to %lld", name,
                     STR_ARG(text_of(row)), i, got.ranges[i].begin, got.ranges[i].end,
                     (long long)begin, (long long)end);
    }
}

/* All texts at once, then each alone: the same bits. */
static void check_rows(struct engine *e, const char *name, bool scores, const json_t *texts)
{
    int (*compute)(struct engine *, const struct embed_input *, size_t, struct embed_result *,
                   struct fail *) = scores ? engine_classify : engine_embed;
    struct embed_input inputs[MAX_TEXTS];
    static int32_t ids[MAX_TEXTS][MAX_IDS];
    struct embed_result all = { 0 };
    struct fail f = { 0 };
    size_t i, n = json_array_size(texts);
    const json_t *row;
    assert_in_range(n, 1, MAX_TEXTS);
    json_array_foreach(texts, i, row)
    {
        inputs[i] = (struct embed_input){ .ids = ids[i] };
        inputs[i].n_ids = read_ids(json_object_get(row, "ids"), ids[i]);
    }
    if (compute(e, inputs, n, &all, &f) != 0)
        fail_msg("%s: %s", name, f.message);
    json_array_foreach(texts, i, row)
    {
        struct embed_result one = { 0 };
        check_ids(e, name, row);
        assert_int_equal(json_array_size(json_object_get(row, "values")), all.width);
        check_numbers(name, i, json_object_get(row, "values"), all.values + i * all.width);
        assert_int_equal(compute(e, &inputs[i], 1, &one, &f), 0);
        assert_memory_equal(one.values, all.values + i * all.width, all.width * sizeof(float));
        embed_result_done(&one);
    }
    embed_result_done(&all);
}

static void check_token_rows(struct engine *e, const char *name, const json_t *texts)
{
    size_t i, k;
    const json_t *row, *values;
    json_array_foreach(texts, i, row)
    {
        struct embed_result got = { 0 };
        CLEANUP(own_free) struct token_range *ranges = NULL;
        struct fail f = { 0 };
        check_ids(e, name, row);
        if (json_array_size(json_object_get(row, "ids")) == 60)
            continue; /* cut: the whole text has other scores */
        if (engine_classify_tokens(e, text_of(row), &got, &ranges, &f) != 0)
            fail_msg("%s: %s", name, f.message);
        assert_int_equal(got.n, json_array_size(json_object_get(row, "values")));
        json_array_foreach(json_object_get(row, "values"), k, values)
        {
            assert_int_equal(json_array_size(values), got.width);
            check_numbers(name, i, values, got.values + k * got.width);
        }
        assert_true(ranges[0].begin == ranges[0].end);
        embed_result_done(&got);
    }
}

static void check_labels(const struct engine *e, const json_t *labels)
{
    size_t i, n = json_array_size(labels);
    const json_t *label;
    json_array_foreach(labels, i, label)
        assert_true(str_is(engine_label(e, i), json_string_value(label)));
    assert_int_equal(engine_label(e, n).n, 0);
}

static void computes_what_transformers_computes(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        CLEANUP(engine_freep) struct engine *e = open_model(models[i].name);
        json_auto_t *stored = read_stored(models[i].name);
        const json_t *texts = json_object_get(stored, "texts");
        check_labels(e, json_object_get(stored, "labels"));
        if (models[i].kind == TOKENS)
            check_token_rows(e, models[i].name, texts);
        else
            check_rows(e, models[i].name, models[i].kind == SCORES, texts);
    }
}

static void points_where_the_unquantised_vectors_point(void **state)
{
    static const char *const names[] = { "bert.f16", "bert.q8_0" };
    json_auto_t *stored = read_stored("bert");
    size_t i;
    const json_t *row;
    for (size_t m = 0; m < ARRAY_LEN(names); m++) {
        CLEANUP(engine_freep) struct engine *e = open_model(names[m]);
        json_array_foreach(json_object_get(stored, "texts"), i, row)
        {
            static int32_t ids[MAX_IDS];
            struct embed_input in = { .ids = ids };
            struct embed_result got = { 0 };
            in.n_ids = read_ids(json_object_get(row, "ids"), ids);
            assert_int_equal(engine_embed(e, &in, 1, &got, NULL), 0);
            double cosine = 0;
            for (size_t k = 0; k < got.width; k++)
                cosine += (double)got.values[k] *
                          json_number_value(json_array_get(json_object_get(row, "values"), k));
            embed_result_done(&got);
            if (!(cosine >= quantised))
                fail_msg("%s, text %zu: the cosine is %f", names[m], i, cosine);
        }
    }
}

static void cuts_random_strings_as_hugging_face_does(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_model("bert");
    json_auto_t *rows = read_stored("wordpiece");
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        const json_t *text = json_array_get(row, 0), *want = json_array_get(row, 1);
        struct str s = { json_string_value(text), json_string_length(text) };
        CLEANUP(token_list_done) struct token_list got = { 0 };
        assert_int_equal(tokenizer_encode(engine_local_tokenizer(e), s, 0, &got), 0);
        bool same = got.n == json_array_size(want);
        for (size_t k = 0; same && k < got.n; k++)
            same = got.ids[k] == json_integer_value(json_array_get(want, k));
        if (!same)
            fail_msg("string %zu, '" STR_FMT "': the ids differ", i, STR_ARG(s));
    }
    assert_true(i >= 300);
}

static void an_encoder_refuses_what_it_cannot_do(void **state)
{
    CLEANUP(engine_freep) struct engine *bare = open_model("bert");
    CLEANUP(engine_freep) struct engine *scorer = open_model("bert-sequence");
    struct embed_input in = { .text = STR("hello") };
    struct embed_result r = { 0 };
    struct token_range *ranges = NULL;
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    struct chat_request request = { .is_completion = true, .prompt = STR("hello"), .n = 1 };
    struct engine_spec spec = { .request = &request };
    assert_int_equal(engine_submit(bare, &job, &spec, &f), FAILED);
    assert_int_equal(fail_status(f.code), 400);
    assert_non_null(strstr(f.message, "encoder"));
    assert_int_equal(engine_classify(bare, &in, 1, &r, &f), FAILED);
    assert_int_equal(fail_status(f.code), 400);
    assert_int_equal(engine_classify_tokens(scorer, in.text, &r, &ranges, &f), FAILED);
    assert_int_equal(fail_status(f.code), 400);
    assert_int_equal(engine_embed(scorer, &in, 1, &r, &f), FAILED);
    assert_non_null(strstr(f.message, "rank"));
}

static void an_encoder_reads_no_more_than_its_positions(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_model("bert");
    int32_t ids[65] = { 2 };
    struct embed_input inputs[2] = { { .ids = ids, .n_ids = 64 }, { .ids = ids, .n_ids = 65 } };
    struct embed_result r = { 0 };
    struct fail f = { 0 };
    assert_int_equal(engine_context(e), 64);
    assert_int_equal(engine_embed(e, inputs, 1, &r, &f), 0);
    embed_result_done(&r);
    assert_int_equal(engine_embed(e, inputs, 2, &r, &f), FAILED);
    assert_int_equal(f.code, FAIL_context_length_exceeded);
    assert_non_null(strstr(f.message, "input 1 "));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes_what_transformers_computes),
        cmocka_unit_test(points_where_the_unquantised_vectors_point),
        cmocka_unit_test(cuts_random_strings_as_hugging_face_does),
        cmocka_unit_test(an_encoder_refuses_what_it_cannot_do),
        cmocka_unit_test(an_encoder_reads_no_more_than_its_positions),
    };
    log_set_level(LOG_error);
    return TEST_RUN(tests);
}
