#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/local/stream.h"

/* The demo model's byte-level vocabulary spells every text; single characters have tokens of their
 * own, so the tests choose where the borders fall. */
static struct gguf *file;
static struct tokenizer *tokenizer;

static int open_tokenizer(void **state)
{
    struct fail f;
    return gguf_open(&file, test_path("models/demo.gguf"), &f) ||
           tokenizer_new(&tokenizer, file, &f);
}

static int close_tokenizer(void **state)
{
    tokenizer_free(tokenizer);
    gguf_close(file);
    return 0;
}

struct heard {
    struct buf text;
    int32_t ids[256];
    size_t n_ids;
    bool stopped;
};

static void take(struct stream *s, struct heard *h)
{
    struct engine_event e = { 0 };
    if (!stream_take(s, &e))
        return;
    assert_int_equal(e.kind, ENGINE_EVENT_text);
    assert_true(str_utf8_valid(e.text));
    buf_add(&h->text, e.text);
    for (size_t i = 0; i < e.n_tokens; i++)
        h->ids[h->n_ids++] = e.tokens[i].chosen.id;
    assert_false(stream_take(s, &e)); /* all that may leave left at once */
}

static void say(struct stream *s, struct heard *h, int32_t id)
{
    struct engine_token token = { .chosen.id = id };
    int r = stream_push(s, &token, /* with_bytes= */ false);
    assert_true(r == 0 || r == STREAM_STOPPED);
    h->stopped = r == STREAM_STOPPED;
    take(s, h);
}

static void encode(struct token_list *ids, struct str text)
{
    assert_int_equal(tokenizer_encode(tokenizer, text, 0, ids), 0);
}

static struct stream *make(const struct str *stops, size_t n)
{
    struct stream_options o = {
        .tokenizer = tokenizer, .stops = stops, .n_stops = n, .keep_tokens = true
    };
    struct stream *s = NULL;
    assert_int_equal(stream_new(&s, &o), 0);
    return s;
}

static void end(struct stream *s, struct heard *h)
{
    assert_int_equal(stream_end(s, /* cut= */ false), 0);
    take(s, h);
}

static void control_tokens_show_their_spelling_where_asked(void **state)
{
    int32_t id = tokenizer_eos(tokenizer);
    struct str spelling = tokenizer_token_text(tokenizer, id);
    assert_true(tokenizer_is_control(tokenizer, id) && spelling.n > 0);
    for (int keep = 0; keep < 2; keep++) {
        struct stream_options o = { .tokenizer = tokenizer, .keep_special = keep };
        CLEANUP(stream_freep) struct stream *s = NULL;
        assert_int_equal(stream_new(&s, &o), 0);
        struct heard h = { .text = BUF_INIT(4096) };
        CLEANUP(token_list_done) struct token_list ids = { 0 };
        encode(&ids, STR("ab"));
        for (size_t i = 0; i < ids.n; i++)
            say(s, &h, ids.ids[i]);
        say(s, &h, id);
        end(s, &h);
        CLEANUP(buf_done) struct buf want = BUF_INIT(4096);
        buf_adds(&want, "ab");
        if (keep)
            buf_add(&want, spelling);
        assert_true(str_eq(buf_str(&h.text), buf_str(&want)));
        buf_done(&h.text);
    }
}

static void stop_text_never_leaves_wherever_borders_fall(void **state)
{
    static const struct {
        const char *pieces[8];
        const char *stops[3];
        const char *want;
        bool stopped;
    } rows[] = {
        { { "hello", " world" }, { NULL }, "hello world", false },
        { { "ab", "cd" }, { "bc" }, "a", true },
        { { "a", "b", "c", "d" }, { "abcd" }, "", true },
        { { "a", "b", "c", "e" }, { "abcd" }, "abce", false },
        { { "a", "a", "a", "b" }, { "aab" }, "a", true },
        { { "x", "y", "z" }, { "q", "z" }, "xy", true },
        { { "x", "yz", "!" }, { "z", "y" }, "x", true }, /* the earlier of two in one token */
        { { "one\n", "\n", "two" }, { "\n\n" }, "one", true },
        { { "abc" }, { "", "" }, "abc", false },
        { { "ab" }, { "abc" }, "ab", false }, /* the end sets free what waited */
        { { "ab", "ab" }, { "abc", "babx" }, "abab", false },
        { { "Gr", "ü", "ße" }, { "üß" }, "Gr", true },
        { { "1", "€" }, { "€" }, "1", true },
        { { "è", "é" }, { "é" }, "è", true }, /* they share their first byte */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str stops[3];
        size_t n_stops = 0;
        for (; n_stops < 3 && rows[i].stops[n_stops]; n_stops++)
            stops[n_stops] = str_of(rows[i].stops[n_stops]);
        CLEANUP(stream_freep) struct stream *s = make(stops, n_stops);
        CLEANUP(token_list_done) struct token_list ids = { 0 };
        for (size_t k = 0; k < 8 && rows[i].pieces[k]; k++)
            encode(&ids, str_of(rows[i].pieces[k]));
        struct heard h = { .text = BUF_INIT(4096) };
        for (size_t k = 0; k < ids.n && !h.stopped; k++)
            say(s, &h, ids.ids[k]);
        end(s, &h);
        assert_int_equal(h.stopped, rows[i].stopped);
        assert_string_equal(h.text.p ? h.text.p : "", rows[i].want);
        if (!h.stopped) {
            assert_int_equal(h.n_ids, ids.n);
            assert_memory_equal(h.ids, ids.ids, ids.n * sizeof(*ids.ids));
        }
        buf_done(&h.text);
    }
}

static bool ends_with(const char *text, size_t n, struct str stop)
{
    return stop.n <= n && memcmp(text + n - stop.n, stop.p, stop.n) == 0;
}

static void find_letters(int32_t ret[3])
{
    for (int i = 0; i < 3; i++) {
        CLEANUP(token_list_done) struct token_list ids = { 0 };
        encode(&ids, (struct str){ &"abc"[i], 1 });
        assert_int_equal(ids.n, 1);
        ret[i] = ids.ids[0];
    }
}

static struct str random_stop(char *text, uint64_t *random) /* 1 to 6 letters */
{
    struct str stop = { text, 1 + test_random(random) % 6 };
    for (size_t k = 0; k < stop.n; k++)
        text[k] = "abc"[test_random(random) % 3];
    return stop;
}

/* Characters arrive one by one: the first place where a stop string is complete ends the text. */
static void random_stops_agree_with_a_naive_search(void **state)
{
    uint64_t random = 7;
    int32_t letters[3];
    find_letters(letters);
    unsigned n_stopped = 0;
    for (int round = 0; round < 3000; round++) {
        char stop_text[2][6], text[40];
        struct str stops[2];
        for (int i = 0; i < 2; i++)
            stops[i] = random_stop(stop_text[i], &random);
        CLEANUP(stream_freep) struct stream *s = make(stops, 2);
        struct heard h = { .text = BUF_INIT(4096) };
        size_t n = 0, want = 0;
        bool stop = false;
        while (n < sizeof(text) && !stop) {
            unsigned letter = (unsigned)(test_random(&random) % 3);
            text[n++] = "abc"[letter];
            say(s, &h, letters[letter]);
            want = n;
            for (int i = 0; i < 2; i++)
                if (ends_with(text, n, stops[i])) {
                    stop = true;
                    want = n - stops[i].n < want ? n - stops[i].n : want;
                }
            assert_int_equal(h.stopped, stop);
            if (!stop) /* holds back no more than could still become a stop string */
                assert_true(h.text.n + (stops[0].n > stops[1].n ? stops[0].n : stops[1].n) > n);
        }
        end(s, &h);
        n_stopped += stop;
        assert_int_equal(h.text.n, want);
        assert_int_equal(h.n_ids, want);
        if (want)
            assert_memory_equal(h.text.p, text, want);
        buf_done(&h.text);
    }
    assert_in_range(n_stopped, 300, 2999);
}

static void characters_leave_whole_with_all_their_tokens(void **state)
{
    static const char text[] = "\xe2\x82\xac"
                               "\xf0\x9f\x8c\xb3"
                               "x";
    CLEANUP(stream_freep) struct stream *s = make(NULL, 0);
    struct heard h = { .text = BUF_INIT(4096) };
    for (size_t i = 0; text[i]; i++) { /* a token a byte */
        int32_t id = -1;
        for (int32_t t = 0; t < (int32_t)tokenizer_vocab(tokenizer) && id < 0; t++) {
            CLEANUP(buf_done) struct buf b = BUF_INIT(64);
            tokenizer_decode(tokenizer, t, false, &b);
            if (b.n == 1 && b.p[0] == text[i])
                id = t;
        }
        assert_true(id >= 0);
        say(s, &h, id);
        static const size_t want[] = { 0, 0, 3, 3, 3, 3, 7, 8 };
        assert_int_equal(h.text.n, want[i]);
        assert_int_equal(h.n_ids, want[i]); /* a byte a token */
    }
    end(s, &h);
    assert_string_equal(h.text.p, text);
    buf_done(&h.text);
}

static void an_unfinished_character_ends_as_a_replacement(void **state)
{
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    encode(&ids, STR("\xf0\x9f\x8c\xb3"));
    if (ids.n < 2)
        skip(); /* the vocabulary has it in one piece */
    CLEANUP(stream_freep) struct stream *s = make(NULL, 0);
    struct heard h = { .text = BUF_INIT(4096) };
    for (size_t i = 0; i + 1 < ids.n; i++)
        say(s, &h, ids.ids[i]);
    assert_int_equal(h.text.n, 0);
    end(s, &h);
    assert_true(str_starts(buf_str(&h.text), STR("\xef\xbf\xbd")));
    assert_int_equal(h.n_ids, ids.n - 1);
    buf_done(&h.text);
}

static void pieces_carry_their_bytes(void **state)
{
    CLEANUP(stream_freep) struct stream *s = make(NULL, 0);
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    encode(&ids, STR("a"));
    encode(&ids, STR("b"));
    struct token_logprob top[2] = { { .id = ids.ids[0] }, { .id = ids.ids[1], .logprob = -1 } };
    struct engine_token token = { .chosen = { .id = ids.ids[0], .logprob = -2 },
                                  .top = top,
                                  .n_top = 2 };
    assert_int_equal(stream_push(s, &token, /* with_bytes= */ true), 0);
    memset(top, 0, sizeof(top)); /* it copied them */
    struct engine_event e = { 0 };
    assert_true(stream_take(s, &e));
    assert_int_equal(e.n_tokens, 1);
    const struct engine_token *out = e.tokens;
    assert_true(str_is(out[0].chosen.bytes, "a"));
    assert_int_equal(out[0].n_top, 2);
    assert_true(str_is(out[0].top[0].bytes, "a") && str_is(out[0].top[1].bytes, "b"));
    assert_float_equal(out[0].top[1].logprob, -1, 0);
}

/* Parts as "T…", "R…", "C… …": one a line. */
static void take_parts(struct stream *s, struct buf *parts, size_t *n_tokens)
{
    struct engine_event e = { 0 };
    while (stream_take(s, &e)) {
        *n_tokens += e.n_tokens;
        if (e.kind == ENGINE_EVENT_tool_call)
            buf_addf(parts, "C" STR_FMT " " STR_FMT "\n", STR_ARG(e.call.name),
                     STR_ARG(e.call.arguments));
        else if (e.text.n)
            buf_addf(parts, "%c" STR_FMT "\n", e.kind == ENGINE_EVENT_text ? 'T' : 'R',
                     STR_ARG(e.text));
    }
}

static void stop_strings_apply_to_the_text_only(void **state)
{
    static const char words[] = "<think>stop?</think>\n\nSee: <tool_call>{\"name\": \"clock\", "
                                "\"arguments\": {\"a\": \"stop\"}}</tool_call>now stop here";
    struct tool_format f;
    tool_format_of(&f, STR("<tool_call><think>"));
    struct chat_tool tool = { .name = STR("clock") };
    struct str stop = STR("stop");
    struct stream_options o = { .tokenizer = tokenizer,
                                .stops = &stop,
                                .n_stops = 1,
                                .keep_tokens = true,
                                .format = &f,
                                .tools = &tool,
                                .n_tools = 1,
                                .whole_calls = true };
    CLEANUP(stream_freep) struct stream *s = NULL;
    CLEANUP(token_list_done) struct token_list ids = { 0 };
    CLEANUP(buf_done) struct buf parts = BUF_INIT(4096);
    assert_int_equal(stream_new(&s, &o), 0);
    encode(&ids, str_of(words));
    size_t pushed = 0, told = 0;
    int r = 0;
    for (; pushed < ids.n && r == 0; pushed++) {
        struct engine_token token = { .chosen.id = ids.ids[pushed] };
        r = stream_push(s, &token, /* with_bytes= */ false);
    }
    assert_int_equal(r, STREAM_STOPPED);
    assert_int_equal(stream_end(s, /* cut= */ false), 0);
    take_parts(s, &parts, &told);
    assert_string_equal(parts.p, "Rstop?\nTSee:\nCclock \nC {\"a\": \"stop\"}\nTnow \n");
    assert_int_equal(stream_calls(s), 1);
    assert_true(stream_reasoning(s) > 0 && stream_reasoning(s) < pushed);
    assert_true(told > 0 && told <= pushed); /* no token twice */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_tokens_show_their_spelling_where_asked),
        cmocka_unit_test(stop_text_never_leaves_wherever_borders_fall),
        cmocka_unit_test(random_stops_agree_with_a_naive_search),
        cmocka_unit_test(characters_leave_whole_with_all_their_tokens),
        cmocka_unit_test(an_unfinished_character_ends_as_a_replacement),
        cmocka_unit_test(pieces_carry_their_bytes),
        cmocka_unit_test(stop_strings_apply_to_the_text_only),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
