/*
 * Vectors of texts: the table of words, banks over vectors made by hand, and that no text of a
 * request is embedded twice. The encoder is a fake, whose vectors are read off the text.
 */
#include "router/vectors/bank.h"
#include "router/vectors/words.h"

#include "base/limits.h"
#include "engine/engine.h"
#include "router/models/shipped.h"
#include "router/signals/learned.h"
#include "router/signals/signals.h"
#include "tests/unit/router/support.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- a fake encoder: "x y" is the direction (x, y) ---- */

struct fake {
    struct engine base;
    unsigned calls, texts;
    size_t most; /* bytes of a text; longer ones are too long */
    bool broken;
};

static int fake_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                      struct embed_result *ret, struct fail *reterr)
{
    struct fake *f = (struct fake *)e;
    if (f->broken)
        return fail_set(reterr, FAIL_overloaded, "broken");
    for (size_t i = 0; i < n; i++)
        if (inputs[i].text.n > f->most)
            return fail_set(reterr, FAIL_context_length_exceeded, "too long");
    f->calls++;
    f->texts += (unsigned)n;
    *ret = (struct embed_result){ .values = calloc(n, 2 * sizeof(float)), .n = n, .width = 2 };
    assert_non_null(ret->values);
    for (size_t i = 0; i < n; i++) {
        char text[64], *end;
        snprintf(text, sizeof(text), "%.*s", STR_ARG(str_head(inputs[i].text, 32)));
        ret->values[2 * i] = strtof(text, &end);
        ret->values[2 * i + 1] = strtof(end, NULL);
        vector_unit(ret->values + 2 * i, 2);
    }
    return 0;
}

static const struct engine_ops fake_ops = { .embed = fake_embed };
#define FAKE                                                                                       \
    {                                                                                              \
        .base = { &fake_ops }, .most = SIZE_MAX                                                    \
    }

static struct vector_space *fake_space(struct fake *f)
{
    struct vector_space *s = NULL;
    assert_int_equal(vector_space_encoder(&s, &f->base), 0);
    assert_true(vector_space_blocks(s));
    return s;
}

/* ---- banks ---- */

static void banks_cluster_and_score_as_the_reference_says(void **state)
{
    static const struct {
        const char *texts[6];
        struct bank_options o;
        const char *query;
        size_t prototypes;
        double score, best, mean;
    } rows[] = {
        /* cos(5°) > 0.9: one cluster; (0, 1) is another */
        { { "1 0", "1 0.05", "1 -0.05", "0 1" },
          { true, 0.9, 8, 0.75, 2, 0 },
          "1 0",
          2,
          0.75 + 0.25 * 0.5,
          1,
          0.5 },
        /* the medoid is the middle one: it is nearest to both others */
        { { "1 0.2", "1 0", "1 -0.2" }, { true, 0.9, 8, 0.75, 2, 0 }, "0 1", 1, 0, 0, 0 },
        /* the largest groups stay, the first of equals */
        { { "1 0", "0 1", "0 1" }, { true, 0.9, 1, 0.75, 2, 0 }, "1 0", 1, 0, 0, 0 },
        { { "1 0", "0 1" }, { true, 0.9, 1, 0.75, 2, 0 }, "1 0", 1, 1, 1, 1 },
        { { "1 0", "0 1", "-1 0" }, { true, 0.9, 0, 0.75, 0, 0 }, "1 0", 3, 0.75, 1, 0 },
        { { "1 0", "0 1", "-1 0" }, { true, 0.9, 0, 0.5, 2, 0 }, "1 0", 3, 0.75, 1, 0 },
        /* off: every example, the best counts */
        { { "1 0", "1 0", "0 1" }, { false, 0.9, 1, 0.75, 2, 0 }, "1 0", 3, 1, 1, 2.0 / 3 },
        { { NULL }, { true, 0.9, 8, 0.75, 2, 0 }, "1 0", 0, 0, 0, 0 },
        { { "1 0" }, { true, 0.9, 8, 0.75, 2, 0 }, "-1 0", 1, -1, -1, -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake f = FAKE;
        struct vector_space *s = fake_space(&f);
        struct arena *a = arena_new(MIB);
        struct bank *b = NULL;
        struct str texts[6], query = str_of(rows[i].query);
        const struct text_vector *v;
        struct fail fail;
        size_t n = 0;
        for (; n < 6 && rows[i].texts[n]; n++)
            texts[n] = str_of(rows[i].texts[n]);
        assert_int_equal(bank_new(&b, s, texts, n, &rows[i].o, &fail), 0);
        assert_true(f.calls <= 1);
        assert_int_equal(vectors_of(s, &query, 1, a, &v, &fail), 0);
        struct bank_score got = bank_score(b, v);
        if (bank_prototypes(b) != rows[i].prototypes || fabs(got.score - rows[i].score) > 1e-3 ||
            fabs(got.best - rows[i].best) > 1e-3 || fabs(got.mean - rows[i].mean) > 1e-3)
            fail_msg("row %zu: %zu prototypes, %.3f %.3f %.3f", i, bank_prototypes(b), got.score,
                     got.best, got.mean);
        bank_free(b);
        arena_free(a);
        vector_space_free(s);
    }
}

static void examples_are_embedded_once_for_all_banks(void **state)
{
    struct fake f = FAKE;
    struct vector_space *s = fake_space(&f);
    const struct bank_options o = { true, 0.9, 8, 0.75, 2, 0 };
    const struct str texts[] = { STR("1 0"), STR("0 1"), STR("") };
    struct bank *b[3] = { NULL };
    struct fail fail;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(bank_new(&b[i], s, texts, 1 + i, &o, &fail), 0);
    assert_int_equal(f.texts, 2); /* the blank one needs no forward */
    assert_int_equal(bank_prototypes(b[1]), 2);
    f.broken = true;
    struct bank *more = NULL;
    assert_int_equal(bank_new(&more, s, texts, 2, &o, &fail), 0); /* nothing is asked of it */
    bank_free(more);
    more = NULL;
    const struct str unknown = STR("1 1");
    assert_int_equal(bank_new(&more, s, &unknown, 1, &o, &fail), FAILED);
    assert_null(more);
    for (size_t i = 0; i < 3; i++)
        bank_free(b[i]);
    vector_space_free(s);
}

static void a_blank_text_is_like_nothing(void **state)
{
    struct fake f = FAKE;
    struct vector_space *spaces[2] = { fake_space(&f), NULL };
    assert_int_equal(vector_space_lexical(&spaces[1]), 0);
    for (size_t i = 0; i < 2; i++) {
        struct arena *a = arena_new(MIB);
        const struct str texts[] = { STR("1 0"), STR(" \n"), STR(""), STR("1 0") };
        const struct text_vector *v[4];
        struct fail fail;
        assert_int_equal(vectors_of(spaces[i], texts, 4, a, v, &fail), 0);
        assert_float_equal(vector_similarity(spaces[i], v[0], v[1]), 0, 1e-6);
        assert_float_equal(vector_similarity(spaces[i], v[1], v[2]), 0, 1e-6);
        assert_float_equal(vector_similarity(spaces[i], v[0], v[3]), 1, 1e-3);
        arena_free(a);
        vector_space_free(spaces[i]);
    }
    assert_int_equal(f.texts, 2);
}

static void a_text_too_long_for_the_encoder_is_cut(void **state)
{
    struct fake f = FAKE;
    struct vector_space *s = fake_space(&f);
    struct arena *a = arena_new(MIB);
    char long_text[6000];
    memset(long_text, ' ', sizeof(long_text));
    memcpy(long_text, "3 4 ", 4);
    memset(long_text + 5000, 'x', 900);
    const struct str texts[] = { { long_text, sizeof(long_text) }, STR("3 4") };
    const struct text_vector *v[2];
    struct fail fail;
    f.most = 600;
    assert_int_equal(vectors_of(s, texts, 2, a, v, &fail), 0);
    assert_int_equal(f.calls, 1);
    assert_float_equal(vector_similarity(s, v[0], v[1]), 1, 1e-3);
    f.most = 1; /* whatever is tried */
    assert_int_equal(vectors_of(s, texts, 2, a, v, &fail), FAILED);
    arena_free(a);
    vector_space_free(s);
}

/* ---- a request's ---- */

static void no_text_of_a_request_is_embedded_twice(void **state)
{
    struct fake f = FAKE;
    struct vector_space *s = fake_space(&f);
    struct arena *a = arena_new(MIB);
    struct chat_message m[] = { { .role = STR("user"), .content = STR("1 0") },
                                { .role = STR("assistant"), .content = STR("5 5") },
                                { .role = STR("user"), .content = STR(" ") },
                                { .role = STR("user"), .content = STR("0 1") },
                                { .role = STR("user"), .content = STR("1 0") } };
    struct chat_request chat = { .model = STR("auto"), .messages = m, .n_messages = 5, .n = 1 };
    struct route_request q = { .chat = &chat };
    struct signal_view v;
    struct str turns[3];
    const struct text_vector *got[3], *again;
    assert_int_equal(signal_view_init(&v, &q, a), 0);
    assert_int_equal(signal_vector(&v, v.text, &again), -ENOTSUP); /* without a space */
    v.space = s;
    turns[0] = v.text;
    assert_int_equal(signal_earlier_turns(&v, turns + 1, 2), 2);
    assert_true(str_is(turns[1], "0 1"));
    assert_true(str_is(turns[2], "1 0"));
    assert_int_equal(signal_vectors(&v, turns, 3, got), 0);
    assert_int_equal(f.calls, 1);
    assert_int_equal(f.texts, 2); /* the same text is one */
    assert_int_equal(signal_vector(&v, v.text, &again), 0);
    assert_ptr_equal(again, got[0]);
    assert_int_equal(f.calls, 1);
    f.broken = true;
    assert_int_equal(signal_vector(&v, STR("7 7"), &again), -EIO);
    f.broken = false; /* but it is not asked again for this request */
    assert_int_equal(signal_vector(&v, STR("7 7"), &again), -ENOTSUP);
    assert_int_equal(f.calls, 1);
    const struct features *one, *two;
    assert_int_equal(learned_turn(&v, &one), 0);
    assert_int_equal(learned_turn(&v, &two), 0);
    assert_ptr_equal(one, two);
    arena_free(a);
    vector_space_free(s);
}

/* ---- families ---- */

static enum truth asked(const struct router *r, const char *yaml_messages[], const char *type,
                        const char *name, double *ret_confidence)
{
    struct arena *a = arena_new(MIB);
    struct chat_message m[8];
    size_t n = 0;
    for (; yaml_messages[n]; n++)
        m[n] = (struct chat_message){ .role = STR("user"), .content = str_of(yaml_messages[n]) };
    struct chat_request chat = { .model = STR("auto"), .messages = m, .n_messages = n, .n = 1 };
    struct route_request q = { .chat = &chat, .trace = true };
    struct route route;
    struct fail fail;
    assert_int_equal(router_route(r, &q, a, &route, &fail), 0);
    const struct route_signal *s = route_signal_of(&route, type, name);
    enum truth value = s->value;
    *ret_confidence = s->confidence;
    arena_free(a);
    return value;
}

#define HEAD                                                                                       \
    "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"                             \
    "global: {model_catalog: {embeddings: {semantic: {embedding_config: {%s}}},"                   \
    " modules: {classifier: {preference: {%s}}}}}\n"                                               \
    "routing:\n  decisions: [{name: d, rules: {type: %s, name: %s}, modelRefs: [{model: m}]}]\n"   \
    "  signals: {%s}\n"

/* long: a table of policies and what they make of turns */
static void families_match_as_the_reference_says(void **state)
{
    static const char two[] = "embeddings: [{name: x, threshold: 0.8, candidates: ['1 0']},"
                              " {name: y, threshold: 0.8, candidates: ['0 1']}]",
                      near[] = "embeddings: [{name: x, threshold: 0.6, candidates: ['1 0']},"
                               " {name: y, threshold: 0.6, candidates: ['0 1']}]",
                      mean[] = "embeddings: [{name: x, threshold: 0.5, aggregation_method: mean,"
                               " candidates: ['1 0', '0 1']}]",
                      image[] = "embeddings: [{name: x, query_modality: image}]",
                      reask[] = "reasks: [{name: x, threshold: 0.7, lookback_turns: 1},"
                                " {name: y, threshold: 0.7, lookback_turns: 2}]",
                      prefer[] = "preferences: [{name: x, threshold: 0.6, examples: ['1 0']},"
                                 " {name: y, description: '0 1', threshold: 0.9}]";
    static const struct {
        const char *config, *preference, *type, *name, *signals, *turns[4];
        enum truth want;
        double confidence;
    } rows[] = {
        { "", "", "embedding", "x", two, { "1 0.1" }, TRUTH_true, 0.995 },
        { "", "", "embedding", "y", two, { "1 0.1" }, TRUTH_false, 0 },
        /* nobody at the threshold: the best one, softly, from 0.5 */
        { "", "", "embedding", "x", two, { "1 0.9" }, TRUTH_true, 0.743 },
        { "", "", "embedding", "y", two, { "1 0.9" }, TRUTH_false, 0 },
        { "enable_soft_matching: false", "", "embedding", "x", two, { "1 0.9" }, TRUTH_false, 0 },
        { "min_score_threshold: 0.75", "", "embedding", "x", two, { "1 0.9" }, TRUTH_false, 0 },
        /* one at once, unless more are wanted */
        { "", "", "embedding", "y", near, { "1 0.9" }, TRUTH_false, 0 },
        { "top_k: 2", "", "embedding", "y", near, { "1 0.9" }, TRUTH_true, 0.669 },
        { "top_k: 0", "", "embedding", "y", near, { "1 0.9" }, TRUTH_true, 0.669 },
        { "", "", "embedding", "x", mean, { "1 0" }, TRUTH_true, 0.5 },
        { "", "", "embedding", "x", image, { "1 0" }, TRUTH_unknown, 0 },
        /* each of the turns before; the one that looks further is kept */
        { "", "", "reask", "x", reask, { "1 0" }, TRUTH_false, 0 },
        { "", "", "reask", "x", reask, { "1 0.5", "1 0" }, TRUTH_true, 0.894 },
        { "", "", "reask", "y", reask, { "1 0.5", "1 0" }, TRUTH_false, 0 },
        { "", "", "reask", "x", reask, { "1 0.9", "1 0.5", "1 0" }, TRUTH_false, 0 },
        { "", "", "reask", "y", reask, { "1 0.9", "1 0.5", "1 0" }, TRUTH_true, 0.743 },
        { "", "", "reask", "x", reask, { "1 0", "0 1", "1 0" }, TRUTH_false, 0 },
        /* the best one, at its own threshold, with a lead */
        { "", "", "preference", "x", prefer, { "1 0.9" }, TRUTH_true, 0.743 },
        { "", "", "preference", "y", prefer, { "0.9 1" }, TRUTH_false, 0 },
        { "", "", "preference", "x", prefer, { "0.9 1" }, TRUTH_false, 0 },
        { "", "", "preference", "y", prefer, { "0 1" }, TRUTH_true, 1 },
        { "",
          "prototype_scoring: {margin_threshold: 0.2}",
          "preference",
          "x",
          prefer,
          { "1 0.9" },
          TRUTH_false,
          0 },
        { "",
          "prototype_scoring: {margin_threshold: 0.05}",
          "preference",
          "x",
          prefer,
          { "1 0.9" },
          TRUTH_true,
          0.743 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake f = FAKE;
        struct config *c = NULL;
        struct problems *p = problems_new();
        struct router *r = NULL;
        struct buf b = BUF_INIT(MIB);
        double confidence;
        buf_addf(&b, HEAD, rows[i].config, rows[i].preference, rows[i].type, rows[i].name,
                 rows[i].signals);
        struct router_parts parts = { &f.base };
        assert_int_equal(config_parse(&c, "policy.yaml", buf_str(&b), p), 0);
        assert_int_equal(router_new_with(&r, c, &parts, p), 0);
        assert_true(router_blocks(r));
        const char *turns[5] = { NULL };
        memcpy(turns, rows[i].turns, sizeof(rows[i].turns));
        enum truth got = asked(r, turns, rows[i].type, rows[i].name, &confidence);
        if (got != rows[i].want || fabs(confidence - rows[i].confidence) > 1e-3)
            fail_msg("row %zu: %d %.3f", i, got, confidence);
        router_free(r);
        config_unref(c);
        problems_free(p);
        buf_done(&b);
    }
}

static void a_broken_encoder_leaves_signals_unknown(void **state)
{
    struct fake f = FAKE;
    struct config *c = NULL;
    struct problems *p = problems_new();
    struct router *r = NULL;
    struct buf b = BUF_INIT(MIB);
    double confidence;
    buf_addf(&b, HEAD, "", "", "embedding", "x", "embeddings: [{name: x, candidates: ['1 0']}]");
    struct router_parts parts = { &f.base };
    assert_int_equal(config_parse(&c, "policy.yaml", buf_str(&b), p), 0);
    assert_int_equal(router_new_with(&r, c, &parts, p), 0);
    const char *turns[] = { "1 0", NULL };
    f.broken = true;
    assert_int_equal(asked(r, turns, "embedding", "x", &confidence), TRUTH_unknown);
    f.broken = false;
    assert_int_equal(asked(r, turns, "embedding", "x", &confidence), TRUTH_true);
    router_free(r);
    config_unref(c);
    problems_free(p);
    buf_done(&b);
}

/* ---- words ---- */

static void the_shipped_table_opens_and_others_do_not(void **state)
{
    struct str file = shipped_words();
    struct words w;
    assert_int_equal(words_open(&w, file.p, file.n), 0);
    assert_true(w.n > 10000);
    assert_true(file.n <= 2000000);
    assert_int_equal(words_open(&w, file.p, file.n - 1), -EINVAL);
    assert_int_equal(words_open(&w, file.p, 7), -EINVAL);
    char *copy = malloc(file.n);
    assert_non_null(copy);
    static const struct {
        size_t at;
        char byte;
    } edits[] = { { 0, 'X' }, { 8, 1 }, { 12, 3 }, { 16, 65 }, { 20, 1 }, { 27, 0x7f } };
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        memcpy(copy, file.p, file.n);
        copy[edits[i].at] = edits[i].byte;
        if (edits[i].at == 27)
            copy[26] = (char)0x80; /* infinity */
        if (words_open(&w, copy, file.n) == 0)
            fail_msg("edit %zu opens", i);
    }
    free(copy);
}

static double likeness(const char *a, const char *b)
{
    struct vector_space *s = NULL;
    struct arena *arena = arena_new(MIB);
    const struct str texts[] = { str_of(a), str_of(b) };
    const struct text_vector *v[2];
    struct fail fail;
    assert_int_equal(vector_space_lexical(&s), 0);
    assert_false(vector_space_blocks(s));
    assert_int_equal(vectors_of(s, texts, 2, arena, v, &fail), 0);
    double d = vector_similarity(s, v[0], v[1]);
    assert_float_equal(d, vector_similarity(s, v[1], v[0]), 1e-6);
    arena_free(arena);
    vector_space_free(s);
    return d;
}

static void what_means_alike_is_nearer(void **state)
{
    static const struct {
        const char *text, *near, *far;
    } rows[] = {
        { "I want my money back", "please give me a refund", "what is the weather tomorrow" },
        { "fix the bug in this Python function", "debug my code", "write a poem about the sea" },
        { "Solve the equation x^2 = 4", "help me with algebra", "best restaurants in Rome" },
        { "headache and fever", "symptoms of the flu", "quarterly revenue forecast" },
        { "Привет, как дела?", "привет! как у тебя дела", "Напиши программу сортировки" },
        { "请解释量子力学", "量子力学是什么", "今天天气怎么样" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double near = likeness(rows[i].text, rows[i].near);
        double far = likeness(rows[i].text, rows[i].far);
        if (near <= far + 0.05)
            fail_msg("row %zu: %.3f is not above %.3f", i, near, far);
        assert_true(likeness(rows[i].text, rows[i].text) > 0.99);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(banks_cluster_and_score_as_the_reference_says),
        cmocka_unit_test(examples_are_embedded_once_for_all_banks),
        cmocka_unit_test(a_blank_text_is_like_nothing),
        cmocka_unit_test(a_text_too_long_for_the_encoder_is_cut),
        cmocka_unit_test(no_text_of_a_request_is_embedded_twice),
        cmocka_unit_test(families_match_as_the_reference_says),
        cmocka_unit_test(a_broken_encoder_leaves_signals_unknown),
        cmocka_unit_test(the_shipped_table_opens_and_others_do_not),
        cmocka_unit_test(what_means_alike_is_nearer),
    };
    return TEST_RUN(tests);
}
