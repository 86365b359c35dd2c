/*
 * Tokenizers without data from outside the repository: two small vocabularies whose expected ids a
 * plain Python loop found (tests/support/seed_models.py), cuts of Hugging Face's pre-tokenizers
 * (tests/golden/pretokenizers.py), and properties on random text.
 */
#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "engine/local/tokenizer_impl.h"

static struct tokenizer *load(const char *relative)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct fail f = { 0 };
    struct tokenizer *t = NULL;
    if (gguf_open(&g, test_path(relative), &f) != 0 || tokenizer_new(&t, g, &f) != 0)
        fail_msg("%s: %s", relative, f.message);
    return t;
}

#define SPM "tests/fuzz/corpus/tokenizer/spm.gguf"
#define BPE "tests/fuzz/corpus/tokenizer/bpe.gguf"
#define DEMO "models/demo.gguf"

static json_t *read_json(const char *relative)
{
    json_error_t e;
    json_t *doc = json_load_file(test_path(relative), JSON_ALLOW_NUL, &e);
    if (!doc)
        fail_msg("%s:%d: %s", relative, e.line, e.text);
    return doc;
}

static void check_row(const struct tokenizer *t, const json_t *row, const char *key, unsigned flags)
{
    const json_t *text = json_object_get(row, "text"), *want = json_object_get(row, key);
    CLEANUP(token_list_done) struct token_list got = { 0 };
    struct str s = { json_string_value(text), json_string_length(text) };
    assert_int_equal(tokenizer_encode(t, s, flags, &got), 0);
    bool same = got.n == json_array_size(want);
    for (size_t i = 0; same && i < got.n; i++)
        same = got.ids[i] == json_integer_value(json_array_get(want, i));
    if (same)
        return;
    for (size_t i = 0; i < got.n; i++)
        print_message("# got %d '" STR_FMT "'\n", got.ids[i],
                      STR_ARG(tokenizer_token_text(t, got.ids[i])));
    fail_msg("%s ids of '" STR_FMT "' differ", key, STR_ARG(s));
}

static void equals_a_plain_merge_loop_on_small_vocabularies(void **state)
{
    json_auto_t *doc = read_json("tests/golden/tokens.json");
    static const char *const kinds[] = { "spm", "bpe" };
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(k ? BPE : SPM);
        size_t i;
        json_t *row;
        json_array_foreach(json_object_get(doc, kinds[k]), i, row)
        {
            check_row(t, row, "plain", 0);
            check_row(t, row, "parsed", TOKENIZE_special);
        }
        assert_true(i > 15);
    }
}

struct cuts {
    size_t n, at[512];
};

static int add_cut(void *arg, struct str word)
{
    struct cuts *c = arg;
    assert_true(c->n < ARRAY_LEN(c->at));
    c->at[c->n++] = word.n;
    return 0;
}

static bool same_cuts(const struct cuts *got, const json_t *want)
{
    bool same = got->n == json_array_size(want);
    for (size_t i = 0; same && i < got->n; i++)
        same = got->at[i] == (size_t)json_integer_value(json_array_get(want, i));
    return same;
}

static void cuts_words_as_hugging_face_does(void **state)
{
    json_auto_t *doc = read_json("tests/golden/pretokenizers.json");
    const json_t *texts = json_object_get(doc, "texts");
    const char *name;
    json_t *lengths;
    unsigned wrong = 0;
    json_object_foreach(json_object_get(doc, "lengths"), name, lengths)
    {
        struct tokenizer t = { 0 };
        struct fail f = { 0 };
        assert_int_equal(pre_split_new(&t, str_of(name), &f), 0);
        for (size_t i = 0; i < json_array_size(texts); i++) {
            struct cuts got = { 0 };
            struct str s = str_of(json_string_value(json_array_get(texts, i)));
            assert_int_equal(pre_split_run(t.pre, s, add_cut, &got), 0);
            if (same_cuts(&got, json_array_get(lengths, i)))
                continue;
            wrong++;
            print_message("# %s cuts '%s' into", name, s.p);
            for (size_t k = 0; k < got.n; k++)
                print_message(" %zu", got.at[k]);
            print_message("\n");
        }
        (void)pre_split_free(t.pre);
    }
    assert_int_equal(wrong, 0);
}

static void every_known_pre_tokenizer_compiles_and_loses_no_byte(void **state)
{
    static const char text[] = "Hello, wörld 12345!\r\n\n  x\t\xf0\x9f\xa6\x99 \xe4\xb8\x96\xe7\x95"
                               "\x8c's \xff\xfe a/b ~`$^|<=>";
    static const char *const names[] = {
        "llama-bpe",  "dbrx",      "qwen2",          "qwen35",      "gpt-2",  "starcoder",
        "smollm",     "falcon",    "default",        "deepseek-v3", "tekken", "deepseek-llm",
        "gpt-4o",     "kimi-k2",   "deepseek-coder", "bloom",       "viking", "bailingmoe",
        "seed-coder", "command-r", "refact",         "mpt",         "phi-2",  "chatglm-bpe",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct tokenizer t = { 0 };
        struct fail f = { 0 };
        struct cuts got = { 0 };
        assert_int_equal(pre_split_new(&t, str_of(names[i]), &f), 0);
        assert_int_equal(pre_split_run(t.pre, str_of(text), add_cut, &got), 0);
        size_t sum = 0;
        for (size_t k = 0; k < got.n; k++)
            sum += got.at[k];
        assert_int_equal(sum, sizeof(text) - 1);
        assert_true(got.n > 5);
        (void)pre_split_free(t.pre);
    }
}

static void an_unknown_pre_tokenizer_is_refused_by_name(void **state)
{
    struct tokenizer t = { 0 };
    struct fail f = { 0 };
    assert_int_equal(pre_split_new(&t, STR("mystery-9"), &f), FAILED);
    assert_non_null(strstr(f.message, "mystery-9"));
    assert_non_null(strstr(f.message, "qwen2"));
    assert_int_equal(pre_split_new(&t, STR("qwen2 deepseek-r1-qwen"), &f), FAILED);
}

/* ---- properties ---- */

static size_t random_text(uint64_t *state, char *to, size_t max)
{
    static const unsigned edges[] = { 0,      9,      10,      13,      32,      0x7f,   0x80,
                                      0xa0,   0x301,  0x7ff,   0x800,   0x2581,  0xd7ff, 0xe000,
                                      0xfffd, 0xffff, 0x10000, 0x1f999, 0x10ffff };
    size_t n = 0, runes = test_random(state) % 40;
    for (size_t i = 0; i < runes && n + 4 < max; i++) {
        unsigned rune;
        switch (test_random(state) % 4) {
        case 0:
            rune = edges[test_random(state) % ARRAY_LEN(edges)];
            break;
        case 1:
            rune = (unsigned)(test_random(state) % 0x10ffff);
            rune = rune >= 0xd800 && rune < 0xe000 ? 'x' : rune;
            break;
        default:
            rune = 32 + (unsigned)(test_random(state) % 95);
        }
        n += str_utf8_put(to + n, rune);
    }
    return n;
}

static void check_round_trip(const struct tokenizer *t, struct str s)
{
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    struct detokenizer d;
    assert_int_equal(tokenizer_encode(t, s, 0, &ids), 0);
    detokenizer_init(&d, t, true);
    for (size_t i = 0; i < ids.n; i++)
        detokenizer_push(&d, ids.ids[i], &out);
    assert_int_equal(d.n_held, 0);
    detokenizer_end(&d, &out);
    if (!str_eq(buf_str(&out), s))
        fail_msg("'" STR_FMT "' came back as '" STR_FMT "'", STR_ARG(s), STR_ARG(buf_str(&out)));
}

static void random_text_comes_back_as_it_was(void **state)
{
    static const char *const paths[] = { BPE, DEMO, SPM };
    for (size_t p = 0; p < ARRAY_LEN(paths); p++) {
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(paths[p]);
        uint64_t random = 42;
        char text[512];
        for (unsigned i = 0; i < 10000; i++) {
            size_t n = random_text(&random, text, sizeof(text));
            struct str s = { text, n };
            /* U+2581 is SentencePiece's own blank: it comes back as one. */
            if (p < 2 || str_find(s, STR("\xe2\x96\x81")) < 0)
                check_round_trip(t, s);
        }
    }
}

static void malformed_utf8_keeps_its_bytes_in_byte_level_models(void **state)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(BPE);
    static const char text[] = "a\xff\xe2\x82 b\xf0\x9f\xa6";
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    assert_int_equal(tokenizer_encode(t, str_of(text), 0, &ids), 0);
    for (size_t i = 0; i < ids.n; i++)
        tokenizer_decode(t, ids.ids[i], false, &out);
    assert_true(str_eq(buf_str(&out), str_of(text)));
}

static void a_megabyte_of_anything_is_encoded(void **state)
{
    static const char *const units[] = {
        "a", " ", "\n", "hello ", "h", "1", "\xf0\x9f\xa6\x99", "<|im_", "    x", "\xff"
    };
    static const char *const paths[] = { SPM, BPE, DEMO };
    for (size_t p = 0; p < ARRAY_LEN(paths); p++) {
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(paths[p]);
        for (size_t u = 0; u < ARRAY_LEN(units); u++) {
            CLEANUP(buf_done) struct buf b = BUF_INIT(2 * MIB);
            CLEANUP(token_list_done) struct token_list ids = { 0 };
            while (b.n < MIB)
                buf_adds(&b, units[u]);
            /* Quadratic work would run into the program's time limit. */
            assert_int_equal(tokenizer_encode(t, buf_str(&b), TOKENIZE_special, &ids), 0);
            assert_true(ids.n > 1000);
        }
    }
}

/* ---- special tokens and spans ---- */

static unsigned count_id(const struct token_list *l, int32_t id)
{
    unsigned n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->ids[i] == id;
    return n;
}

static int32_t id_of(const struct tokenizer *t, const char *text)
{
    for (uint32_t i = 0; i < tokenizer_vocab(t); i++)
        if (str_is(tokenizer_token_text(t, (int32_t)i), text))
            return (int32_t)i;
    fail_msg("no token %s", text);
    return -1;
}

static void users_cannot_spell_control_tokens(void **state)
{
    static const struct {
        const char *first;
        bool first_literal;
        const char *second;
        bool second_literal;
        unsigned ends; /* <|im_end|> found */
    } rows[] = {
        { "hi<|im_end|>", false, "x", true, 1 },
        { "hi", false, "<|im_end|>", true, 0 },
        { "hi<|im_", false, "end|>", true, 0 }, /* half and half stays text */
        { "<|im_", true, "end|>", false, 0 },
        { "<|im_", false, "end|>", false, 1 }, /* both of the template */
        { "<|im_end|><|im_end|>", true, "<|im_end|>", false, 1 },
        { "", true, "<|im_end|>", false, 1 },
    };
    static const char *const paths[] = { SPM, BPE, DEMO };
    for (size_t p = 0; p < ARRAY_LEN(paths); p++) {
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(paths[p]);
        int32_t end = id_of(t, "<|im_end|>");
        assert_true(tokenizer_is_eog(t, end) && tokenizer_is_control(t, end));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            CLEANUP(token_list_done) struct token_list ids = { 0 };
            struct text_span spans[] = { { str_of(rows[i].first), rows[i].first_literal },
                                         { str_of(rows[i].second), rows[i].second_literal } };
            assert_int_equal(tokenizer_encode_spans(t, spans, 2, 0, &ids), 0);
            if (count_id(&ids, end) != rows[i].ends)
                fail_msg("row %zu of %s", i, paths[p]);
        }
    }
}

static void spans_of_plain_text_are_cut_as_one_text(void **state)
{
    static const char text[] = "the hello world hello them";
    static const char *const paths[] = { SPM, BPE, DEMO };
    for (size_t p = 0; p < ARRAY_LEN(paths); p++) {
        CLEANUP(tokenizer_freep) struct tokenizer *t = load(paths[p]);
        CLEANUP(token_list_done) struct token_list whole = { 0 };
        assert_int_equal(tokenizer_encode(t, str_of(text), 0, &whole), 0);
        for (size_t cut = 0; cut < sizeof(text); cut++) {
            CLEANUP(token_list_done) struct token_list ids = { 0 };
            struct text_span spans[] = { { str_head(str_of(text), cut), false },
                                         { str_sub(str_of(text), cut), true } };
            assert_int_equal(tokenizer_encode_spans(t, spans, 2, 0, &ids), 0);
            assert_int_equal(ids.n, whole.n);
            assert_memory_equal(ids.ids, whole.ids, ids.n * sizeof(*ids.ids));
        }
    }
}

static void bos_is_added_once(void **state)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(SPM);
    static const struct {
        const char *text;
        bool literal;
        unsigned flags, bos;
    } rows[] = {
        { "hello", false, TOKENIZE_bos, 1 },    { "hello", false, 0, 0 },
        { "<s>hello", false, TOKENIZE_bos, 1 }, { "<s>hello", true, TOKENIZE_bos, 1 },
        { "", false, TOKENIZE_bos, 1 },
    };
    assert_true(tokenizer_adds_bos(t));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(token_list_done) struct token_list ids = { 0 };
        struct text_span span = { str_of(rows[i].text), rows[i].literal };
        assert_int_equal(tokenizer_encode_spans(t, &span, 1, rows[i].flags, &ids), 0);
        assert_int_equal(count_id(&ids, tokenizer_bos(t)), rows[i].bos);
    }
}

/* ---- decoding ---- */

static void detokenizer_holds_back_what_is_not_whole(void **state)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(BPE);
    static const struct {
        const char *bytes, *want, *flushed;
    } rows[] = {
        { "a", "a", "a" },
        { "\xf0\x9f\xa6\x99", "\xf0\x9f\xa6\x99", "\xf0\x9f\xa6\x99" },
        { "\xf0\x9f\xa6", "", "\xef\xbf\xbd" },
        { "\xf0\x9f\xa6x", "\xef\xbf\xbdx", "\xef\xbf\xbdx" },
        { "\xff", "\xef\xbf\xbd", "\xef\xbf\xbd" },
        { "\xc3", "", "\xef\xbf\xbd" },
        { "\xc3\xa9", "\xc3\xa9", "\xc3\xa9" },
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
          "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xe2\x82\xc3\xa9", "\xef\xbf\xbd\xc3\xa9", "\xef\xbf\xbd\xc3\xa9" },
        { "\xf4\x90", "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
        struct detokenizer d;
        detokenizer_init(&d, t, true);
        for (const char *p = rows[i].bytes; *p; p++)
            detokenizer_push(&d, t->byte_ids[(uint8_t)*p], &out);
        assert_true(str_is(buf_str(&out), rows[i].want));
        detokenizer_end(&d, &out);
        assert_true(str_is(buf_str(&out), rows[i].flushed));
    }
}

static void sentencepiece_loses_its_first_blank_once(void **state)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(SPM);
    static const struct {
        const char *text;
        bool at_start;
        const char *want;
    } rows[] = { { "hello hello", true, "hello hello" },
                 { "hello hello", false, " hello hello" },
                 { " hello", true, " hello" },
                 { "<|im_end|>hello", true, "hello" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(token_list_done) struct token_list ids = { 0 };
        CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
        struct detokenizer d;
        assert_int_equal(tokenizer_encode(t, str_of(rows[i].text), TOKENIZE_special, &ids), 0);
        detokenizer_init(&d, t, rows[i].at_start);
        for (size_t k = 0; k < ids.n; k++)
            detokenizer_push(&d, ids.ids[k], &out);
        assert_true(str_is(buf_str(&out), rows[i].want));
    }
}

static void control_tokens_are_printed_only_when_asked(void **state)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(DEMO);
    CLEANUP(buf_done) struct buf out = BUF_INIT(MIB);
    int32_t id = id_of(t, "<|im_start|>");
    tokenizer_decode(t, id, false, &out);
    assert_int_equal(out.n, 0);
    tokenizer_decode(t, id, true, &out);
    assert_true(str_is(buf_str(&out), "<|im_start|>"));
    tokenizer_decode(t, -1, true, &out);
    tokenizer_decode(t, INT32_MAX, true, &out);
    assert_int_equal(out.n, strlen("<|im_start|>"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_a_plain_merge_loop_on_small_vocabularies),
        cmocka_unit_test(cuts_words_as_hugging_face_does),
        cmocka_unit_test(every_known_pre_tokenizer_compiles_and_loses_no_byte),
        cmocka_unit_test(an_unknown_pre_tokenizer_is_refused_by_name),
        cmocka_unit_test(random_text_comes_back_as_it_was),
        cmocka_unit_test(malformed_utf8_keeps_its_bytes_in_byte_level_models),
        cmocka_unit_test(a_megabyte_of_anything_is_encoded),
        cmocka_unit_test(users_cannot_spell_control_tokens),
        cmocka_unit_test(spans_of_plain_text_are_cut_as_one_text),
        cmocka_unit_test(bos_is_added_once),
        cmocka_unit_test(detokenizer_holds_back_what_is_not_whole),
        cmocka_unit_test(sentencepiece_loses_its_first_blank_once),
        cmocka_unit_test(control_tokens_are_printed_only_when_asked),
    };
    return TEST_RUN(tests);
}
