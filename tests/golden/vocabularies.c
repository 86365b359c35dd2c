/*
 * Real byte-level vocabularies (../shared/engine/vocab) on random text: what is cut into tokens
 * comes back as it was. One case a vocabulary.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "engine/local/tokenizer.h"

enum { TEXTS = 10000, MAX_RUNES = 60, MAX_RUN = 200 };

/* Bytes that have no token of their own, and in no other token: text with them cannot come back,
 * whoever cuts it. Listed by the gguf package's reader. */
struct vocabulary {
    const char *name, *absent;
};
static struct vocabulary vocabularies[] = {
    { "deepseek-coder", "" },
    { "falcon", "\x03\x04\x05\x0b\x11\x13\x14\x15\x16\x17\x19\x1c\x1d\x1e\xf2" },
    { "gpt-2", "" },
    { "llama-bpe", "" },
    { "mpt", "" },
    { "qwen2", "" },
    { "refact", "\xf1" },
    { "starcoder", "\xf1" },
};

static unsigned pick(uint64_t *state, unsigned from, unsigned to)
{
    return from + (unsigned)(test_random(state) % (to - from + 1));
}

/* A code point of any plane, but no surrogate, which UTF-8 cannot hold. */
static unsigned any_rune(uint64_t *state)
{
    unsigned rune = pick(state, 0, 16) << 16 | pick(state, 0, 0xffff);
    return rune >= 0xd800 && rune <= 0xdfff ? 0xfffd : rune;
}

static void add_rune(struct buf *b, unsigned rune)
{
    char utf8[4];
    size_t n = str_utf8_put(utf8, rune);
    buf_add(b, (struct str){ utf8, n });
}

/* A few characters of one kind. */
static void add_some(struct buf *b, uint64_t *state)
{
    static const char *const emoji[] = {
        "\xf0\x9f\xa6\x99",                             /* a llama */
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb", /* two joined */
        "\xf0\x9f\x87\xab\xf0\x9f\x87\xb7",             /* a flag */
        "\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd",             /* with a skin tone */
        "\xe2\x9d\xa4\xef\xb8\x8f",                     /* with a variation */
    };
    static const char *const ends[] = { "\n",     "\r\n",         "\r", "\n\n",
                                        "\r\r\n", "\xe2\x80\xa8", "\v", "\f" };
    static const unsigned scripts[][2] = {
        { 0x20, 0x7e },     { 0xc0, 0x24f },    { 0x370, 0x3ff },    { 0x400, 0x4ff },
        { 0x590, 0x6ff },   { 0x900, 0xd7f },   { 0xe00, 0xe7f },    { 0x3040, 0x30ff },
        { 0x4e00, 0x9fff }, { 0xac00, 0xd7a3 }, { 0x1f300, 0x1faff }
    };
    const unsigned *script = scripts[pick(state, 0, ARRAY_LEN(scripts) - 1)];
    switch (pick(state, 0, 9)) {
    case 0:
        add_rune(b, any_rune(state));
        return;
    case 1: /* a letter under a pile of combining marks */
        add_rune(b, pick(state, 'a', 'z'));
        for (unsigned n = pick(state, 1, 6); n; n--)
            add_rune(b, pick(state, 0x300, 0x36f));
        return;
    case 2:
        buf_adds(b, emoji[pick(state, 0, ARRAY_LEN(emoji) - 1)]);
        return;
    case 3: /* controls, NUL among them */
        add_rune(b, pick(state, 0, 1) ? pick(state, 0, 0x1f) : pick(state, 0x7f, 0x9f));
        return;
    case 4:
        for (unsigned n = pick(state, 1, pick(state, 0, 9) ? 4 : MAX_RUN); n; n--)
            buf_addc(b, pick(state, 0, 7) ? ' ' : '\t');
        return;
    case 5:
        buf_adds(b, ends[pick(state, 0, ARRAY_LEN(ends) - 1)]);
        return;
    case 6:
        for (unsigned n = pick(state, 1, 12); n; n--)
            buf_addc(b, (char)pick(state, '0', '9'));
        return;
    case 7:
        buf_adds(b, pick(state, 0, 1) ? "'ll" : "<|im_end|>");
        return;
    default:
        for (unsigned n = pick(state, 1, 8); n; n--)
            add_rune(b, pick(state, script[0], script[1]));
    }
}

/* Leaves out the characters that the vocabulary lacks. */
static void keep_known(struct buf *to, struct str text, const char *absent)
{
    for (size_t at = 0, next = 0; at < text.n; at = next) {
        (void)str_utf8_next(text, &next);
        bool known = true;
        for (size_t i = at; i < next; i++)
            known = known && !(text.p[i] && strchr(absent, text.p[i]));
        if (known)
            buf_add(to, str_head(str_sub(text, at), next - at));
    }
}

static void check_text(const struct tokenizer *t, const char *name, struct str text, unsigned i)
{
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    CLEANUP(buf_done) struct buf back = BUF_INIT(1 * MIB);
    assert_int_equal(tokenizer_encode(t, text, /* flags= */ 0, &ids), 0);
    struct detokenizer d;
    detokenizer_init(&d, t, /* at_start= */ true);
    for (size_t k = 0; k < ids.n; k++)
        detokenizer_push(&d, ids.ids[k], &back);
    detokenizer_end(&d, &back);
    assert_int_equal(buf_err(&back), 0);
    if (str_eq(buf_str(&back), text))
        return;
    CLEANUP(buf_done) struct buf shown = BUF_INIT(1 * MIB);
    buf_add_json(&shown, text);
    buf_adds(&shown, " comes back as ");
    buf_add_json(&shown, buf_str(&back));
    fail_msg("%s, text %u: %s", name, i, shown.p);
}

static struct tokenizer *load(const char *path)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    struct fail f = { 0 };
    if (gguf_open(&g, path, &f) != 0 || tokenizer_new(&t, g, &f) != 0)
        fail_msg("%s: %s", path, f.message);
    return t;
}

static void random_text_comes_back(void **state)
{
    const struct vocabulary *v = *state;
    const char *name = v->name;
    char path[128];
    (void)snprintf(path, sizeof(path), "engine/vocab/ggml-vocab-%s.gguf", name);
    TEST_SHARED(model, path);
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(model);
    uint64_t random = 20260314;
    CLEANUP(buf_done) struct buf all = BUF_INIT(1 * MIB);
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 * MIB);
    for (unsigned i = 0; i < TEXTS; i++) {
        buf_clear(&all);
        buf_clear(&text);
        for (unsigned n = pick(&random, 0, MAX_RUNES / 4); n; n--)
            add_some(&all, &random);
        keep_known(&text, buf_str(&all), v->absent);
        check_text(t, name, buf_str(&text), i);
    }
    print_message("# %s: %d random texts come back as they were\n", name, TEXTS);
}

/* StarCoder lacks the first byte of U+40000 and up, and its unknown token ends the text. */
static void a_byte_without_a_token_never_becomes_a_control_token(void **state)
{
    TEST_SHARED(model, "engine/vocab/ggml-vocab-starcoder.gguf");
    CLEANUP(tokenizer_freep) struct tokenizer *t = load(model);
    static const int32_t want[] = { 1267, 255, 5912, 133, 132, 152 }; /* llama.cpp's */
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    assert_int_equal(
        tokenizer_encode(t, STR("\xe2\x80\x89\xc3\xaa\xf1\xa2\xa1\xb6"), /* flags= */ 0, &ids), 0);
    assert_int_equal(ids.n, ARRAY_LEN(want));
    assert_memory_equal(ids.ids, want, sizeof(want));
}

int main(void)
{
    enum { N = ARRAY_LEN(vocabularies) };
    static char titles[N][64];
    struct CMUnitTest tests[N + 1] = { { 0 } };
    tests[N] =
        (struct CMUnitTest)cmocka_unit_test(a_byte_without_a_token_never_becomes_a_control_token);
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(titles[i], sizeof(titles[i]), "random_text_comes_back_from_%s",
                       vocabularies[i].name);
        tests[i] = (struct CMUnitTest){ .name = titles[i],
                                        .test_func = random_text_comes_back,
                                        .initial_state = &vocabularies[i] };
    }
    return TEST_RUN(tests);
}
