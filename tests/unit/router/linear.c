#include "router/linear/linear.h"
#include "router/linear/classifier.h"
#include "router/linear/difficulty.h"

#include "router/signals/unicode.h"
#include "tests/support/test.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 64 << 20 };

static struct features features(const char *text, struct arena *a)
{
    struct features f = { 0 };
    struct str folded = unicode_fold_text(str_of(text), a);
    assert_non_null(folded.p);
    assert_int_equal(features_of(&f, folded, NULL, a), 0);
    return f;
}

static struct features weighed(const char *text, struct arena *a)
{
    struct features f = features(text, a);
    features_weigh(&f, NULL);
    return f;
}

static double cosine(const struct features *x, const struct features *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < x->n; i++)
        for (uint32_t k = 0; k < y->n; k++)
            if (x->id[i] == y->id[k] && (i < x->n_words) == (k < y->n_words))
                sum += (double)x->value[i] * (double)y->value[k];
    return sum;
}

static void features_are_ids_in_range_each_once_a_block(void **state)
{
    static const char *const rows[] = { "a",
                                        "a a a a",
                                        "What's the weather like in Zürich?",
                                        "今天天气怎么样",
                                        "\xff\xfe bytes \x80",
                                        "🙂🙂 🙂" };
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct features f = features(rows[r], a);
        assert_true(f.n > 0 && f.n_words <= f.n);
        for (uint32_t i = 0; i < f.n; i++) {
            assert_true(f.id[i] < FEATURE_BUCKETS);
            assert_true(f.value[i] >= 1);
            for (uint32_t k = 0; k < i; k++)
                assert_true(f.id[i] != f.id[k] || (i < f.n_words) != (k < f.n_words));
        }
    }
}

static void a_text_without_characters_has_no_features(void **state)
{
    static const char *const rows[] = { "", " ", "\t\n  \r" };
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        assert_int_equal(weighed(rows[r], a).n, 0);
}

static void weighed_vectors_have_length_one(void **state)
{
    static const char *const rows[] = { "a", "pay my card bill", "как дела", "x x x x x y" };
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct features f = weighed(rows[r], a);
        double all = 0, words = 0;
        for (uint32_t i = 0; i < f.n; i++) {
            double square = (double)f.value[i] * (double)f.value[i];
            all += square;
            words += i < f.n_words ? square : 0;
        }
        assert_true(fabs(all - 1) < 1e-5);
        assert_true(fabs(words - 0.5) < 1e-5);
    }
}

static void likeness_follows_common_words_and_spelling(void **state)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    struct features text = weighed("transfer money to my savings account", a);
    struct features same = weighed("Transfer  MONEY to my savings account", a);
    struct features typo = weighed("transfer mony to my savngs account", a);
    struct features other = weighed("why does a cat purr", a);
    assert_true(fabs(cosine(&text, &same) - 1) < 1e-5);
    assert_true(cosine(&text, &typo) < 0.95 && cosine(&text, &typo) > 0.5);
    assert_true(cosine(&text, &other) < 0.1);
}

static void of_a_long_text_begin_middle_and_end_are_read(void **state)
{
    enum { BYTES = 1 << 20 };
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    CLEANUP(own_free) char *text = malloc(BYTES + 1);
    static const struct {
        size_t at;
        bool read;
    } rows[] = { { 0, true }, { BYTES / 2, true }, { BYTES - 8, true }, { BYTES / 4, false } };
    struct features word = weighed("zyzzyvo", a);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        for (size_t i = 0; i < BYTES; i++)
            text[i] = i % 2 ? ' ' : 'a';
        text[BYTES] = '\0';
        memcpy(text + rows[r].at, "zyzzyvo", 7);
        text[rows[r].at + 7] = ' ';
        struct features f = weighed(text, a);
        assert_true(f.n < 10 * FEATURE_CODE_POINTS);
        assert_int_equal(cosine(&f, &word) > 0, rows[r].read);
    }
}

static void rare_features_weigh_more(void **state)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    CLEANUP(rarity_done) struct rarity r;
    assert_int_equal(rarity_init(&r), 0);
    struct features often = features("often", a), both = features("often seldom", a);
    rarity_count(&r, &often);
    rarity_count(&r, &often);
    rarity_count(&r, &both);
    assert_true(fabs((double)rarity_of(&r, often.id[0]) - 1) < 1e-6); /* ln(4 / 4) + 1 */
    struct features seldom = features("seldom", a);
    assert_true(fabs((double)rarity_of(&r, seldom.id[0]) - (log(4.0 / 2) + 1)) < 1e-6);
    uint32_t unseen = features("unseen", a).id[0];
    assert_true(fabs((double)rarity_of(&r, unseen) - (log(4.0 / 1) + 1)) < 1e-6);
}

/* ---- training ---- */

enum { CLASSES = 3, DIMS = 4, EXAMPLES = 12 };

struct tiny { /* a problem small enough to write its objective down */
    struct features f[EXAMPLES];
    struct linear_example e[EXAMPLES];
    uint32_t id[EXAMPLES][DIMS];
    float value[EXAMPLES][DIMS];
};

static void make_tiny(struct tiny *t)
{
    uint64_t random = 7;
    for (uint32_t i = 0; i < EXAMPLES; i++) {
        for (uint32_t d = 0; d < DIMS; d++) {
            t->id[i][d] = d * 1000;
            t->value[i][d] = (float)(test_random(&random) % 1000) / 500 - 1;
        }
        t->f[i] = (struct features){ DIMS, DIMS, t->id[i], t->value[i] };
        t->e[i] = (struct linear_example){ &t->f[i], i % CLASSES };
    }
}

/* ½|W|² + cost · Σ loss, from its definition; the last row are the biases. */
static double objective(const struct tiny *t, double w[DIMS + 1][CLASSES],
                        const struct linear_options *o)
{
    double value = 0;
    for (int d = 0; d <= DIMS; d++)
        for (int c = 0; c < CLASSES; c++)
            value += w[d][c] * w[d][c] / 2;
    for (int i = 0; i < EXAMPLES; i++) {
        double s[CLASSES], sum = 0;
        for (int c = 0; c < CLASSES; c++) {
            s[c] = w[DIMS][c];
            for (int d = 0; d < DIMS; d++)
                s[c] += w[d][c] * (double)t->value[i][d];
            sum += exp(s[c]);
        }
        int y = (int)t->e[i].y;
        if (o->loss == LINEAR_softmax)
            value += o->cost * (log(sum) - s[y]);
        for (int c = 0; c < CLASSES && o->loss == LINEAR_hinge; c++) {
            double gap = fmax(0, 1 - (c == y ? s[c] : -s[c]));
            value += o->cost * gap * gap;
        }
    }
    return value;
}

/* The weights as scores of single features tell them. */
static void read_weights(double w[DIMS + 1][CLASSES], const struct linear *l)
{
    float bias[CLASSES], s[CLASSES], one = 1;
    struct features none = { 0 };
    linear_scores(l, &none, bias);
    for (uint32_t d = 0; d < DIMS; d++) {
        uint32_t id = d * 1000;
        struct features f = { 1, 1, &id, &one };
        linear_scores(l, &f, s);
        for (int c = 0; c < CLASSES; c++)
            w[d][c] = (double)(s[c] - bias[c]);
    }
    for (int c = 0; c < CLASSES; c++)
        w[DIMS][c] = (double)bias[c];
}

static void training_finds_the_least_of_the_objective(void **state)
{
    static const struct linear_options rows[] = {
        { LINEAR_softmax, CLASSES, 0.1, 200 },
        { LINEAR_softmax, CLASSES, 20, 500 },
        { LINEAR_hinge, CLASSES, 1, 200 },
    };
    struct tiny t;
    make_tiny(&t);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        CLEANUP(linear_freep) struct linear *l = NULL;
        double w[DIMS + 1][CLASSES];
        assert_int_equal(linear_train(&l, t.e, EXAMPLES, &rows[r]), 0);
        assert_int_equal(linear_classes(l), CLASSES);
        read_weights(w, l);
        double least = objective(&t, w, &rows[r]);
        for (int d = 0; d <= DIMS; d++)
            for (int c = 0; c < CLASSES; c++)
                for (double step = -0.05; step < 0.1; step += 0.1) { /* convex: no way down */
                    w[d][c] += step;
                    assert_true(objective(&t, w, &rows[r]) > least);
                    w[d][c] -= step;
                }
    }
}

/* Naive Bayes' weights of feature d, from their definition, against the mean of the classes. */
static void bayes_weights(const struct tiny *t, int d, double ret[CLASSES])
{
    double of[CLASSES] = { 0 }, all = 0, mean = 0;
    for (int i = 0; i < EXAMPLES; i++) {
        of[t->e[i].y] += (double)t->value[i][d];
        all += (double)t->value[i][d];
    }
    for (int c = 0; c < CLASSES; c++) {
        ret[c] = log((of[c] + 0.01) / (all - of[c] + 0.01));
        mean += ret[c] / CLASSES;
    }
    for (int c = 0; c < CLASSES; c++)
        ret[c] -= mean;
}

static void weights_start_from_naive_bayes_where_that_is_asked_for(void **state)
{
    struct tiny t;
    double w[DIMS + 1][CLASSES], bayes[CLASSES], squares = 0, sum = 0;
    struct linear_options o = { LINEAR_hinge, CLASSES, 1, /* iterations= */ 0, .prior = 0.5 };
    CLEANUP(linear_freep) struct linear *l = NULL;
    make_tiny(&t);
    for (int i = 0; i < EXAMPLES; i++)
        for (int d = 0; d < DIMS; d++)
            t.value[i][d] = fabsf(t.value[i][d]);
    assert_int_equal(linear_train(&l, t.e, EXAMPLES, &o), 0);
    read_weights(w, l);
    for (int d = 0; d < DIMS; d++) {
        bayes_weights(&t, d, bayes);
        for (int c = 1; c < CLASSES; c++) /* but for the scale */
            assert_true(fabs(w[d][c] * bayes[0] - w[d][0] * bayes[c]) < 1e-4);
    }
    for (int i = 0; i < EXAMPLES; i++)
        for (int c = 0; c < CLASSES; c++) {
            double s = 0;
            for (int d = 0; d < DIMS; d++)
                s += w[d][c] * (double)t.value[i][d];
            sum += s;
            squares += s * s;
        }
    enum { SCORES = EXAMPLES * CLASSES };
    assert_true(fabs(sqrt(squares / SCORES - sum * sum / SCORES / SCORES) - 0.5) < 1e-4);
}

static void few_examples_of_a_class_are_fitted_more_softly(void **state)
{
    static const struct {
        uint32_t classes;
        size_t n;
        enum linear_loss loss;
    } rows[] = { { 2, 20, LINEAR_softmax },
                 { 2, 2000, LINEAR_hinge },
                 { 150, 2000, LINEAR_softmax } };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct linear_options o = linear_options_for(rows[r].classes, rows[r].n);
        assert_int_equal(o.loss, rows[r].loss);
        assert_int_equal(o.classes, rows[r].classes);
        assert_true(o.cost > 0 && o.iterations > 0);
    }
}

static void training_needs_examples_and_classes(void **state)
{
    static const struct {
        size_t n;
        uint32_t classes;
    } rows[] = { { 0, CLASSES }, { EXAMPLES, 0 } };
    struct tiny t;
    make_tiny(&t);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct linear *l = NULL;
        struct linear_options o = { LINEAR_softmax, rows[r].classes, 1, 10 };
        assert_int_equal(linear_train(&l, t.e, rows[r].n, &o), -EINVAL);
        assert_null(l);
    }
}

static void softmax_is_a_distribution_at_any_temperature(void **state)
{
    static const float temperatures[] = { 0.01f, 1, 100 };
    for (size_t i = 0; i < ARRAY_LEN(temperatures); i++) {
        float s[] = { 1000, -1000, 999, 1000 };
        linear_softmax(s, ARRAY_LEN(s), temperatures[i]);
        assert_true(fabs((double)(s[0] + s[1] + s[2] + s[3]) - 1) < 1e-5);
        assert_true(s[0] >= s[2] && s[2] >= s[1] && s[0] == s[3]);
    }
    float s[] = { 0, (float)M_LN2 };
    linear_softmax(s, 2, /* temperature= */ 1);
    assert_true(fabs((double)s[1] - 2.0 / 3) < 1e-6);
}

/* ---- classifiers of texts ---- */

static const struct str labels[] = { STR("pay_bill"), STR("weather"), STR("music") };
static const struct classifier_example examples[] = {
    { STR("pay my electricity invoice"), 0 }, { STR("I want to settle a payment"), 0 },
    { STR("will it rain tomorrow"), 1 },      { STR("how hot is it outside"), 1 },
    { STR("play a song by the Beatles"), 2 }, { STR("put on some jazz"), 2 },
};

static uint32_t best(const struct classifier *c, struct str text)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
    float s[ARRAY_LEN(labels)];
    uint32_t at = 0;
    assert_int_equal(classifier_scores(c, text, s, a), 0);
    for (uint32_t i = 1; i < ARRAY_LEN(labels); i++)
        at = s[i] > s[at] ? i : at;
    return at;
}

static void a_classifier_learns_from_texts_and_from_the_names(void **state)
{
    static const struct {
        struct str text;
        uint32_t label;
    } rows[] = {
        { STR("PAY the invoice, please"), 0 },
        { STR("is rain coming tomorow?"), 1 }, /* misspelt */
        { STR("play jazz songs"), 2 },
        { STR("bill"), 0 },        /* only in the name, after its underscore */
        { STR("the Weather"), 1 }, /* only in the name */
        { STR("music\xff\xc0!"), 2 },
    };
    CLEANUP(classifier_freep) struct classifier *c = NULL;
    struct linear_options o = { LINEAR_softmax, ARRAY_LEN(labels), 20, 100 };
    assert_int_equal(classifier_train(&c, labels, examples, ARRAY_LEN(examples), &o), 0);
    assert_int_equal(classifier_classes(c), ARRAY_LEN(labels));
    for (uint32_t i = 0; i < ARRAY_LEN(labels); i++)
        assert_true(str_eq(classifier_label(c, i), labels[i]));
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        assert_int_equal(best(c, rows[r].text), rows[r].label);
}

static void a_classifier_knows_words_of_the_same_meaning(void **state)
{
    static const struct {
        struct str text; /* shares no word with an example or a name */
        uint32_t label;
    } rows[] = {
        { STR("cash bank cheque"), 0 },
        { STR("snowy, cloudy and cold"), 1 },
        { STR("guitar concert album"), 2 },
    };
    CLEANUP(classifier_freep) struct classifier *c = NULL;
    struct linear_options o = linear_options_for(ARRAY_LEN(labels), ARRAY_LEN(examples));
    assert_int_equal(classifier_train(&c, labels, examples, ARRAY_LEN(examples), &o), 0);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        assert_int_equal(best(c, rows[r].text), rows[r].label);
}

/* ---- how hard a prompt looks ---- */

static void difficulty_grows_with_words_and_falls_with_their_length(void **state)
{
    static const struct {
        const char *easier, *harder;
    } rows[] = {
        { "", "hi" },
        { "...", "a" },
        { "How much is it?",
          "How much is it if 3 of 12 are lost and each of the rest is worth 4?" },
        { "international organisations", "if x is 3" },
        { "天气", "今天北京的天气怎么样" },
        { "\xff\xfe", "one" },
    };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        float easier = difficulty_of(str_of(rows[r].easier));
        float harder = difficulty_of(str_of(rows[r].harder));
        assert_true(easier >= 0 && easier < harder && harder < 1);
    }
    assert_true(difficulty_of(STR(" \n?")) == 0);
}

/* ---- texts of others ---- */

enum { SHOTS = 10, SCORED = 1500, MOST_LABELS = 100, MOST_ROWS = 10000 };

struct rows {
    json_t *row[MOST_ROWS]; /* owned */
    size_t n;
    struct str labels[MOST_LABELS];
    uint32_t n_labels, count[MOST_LABELS];
};

static uint32_t number(struct rows *r, const json_t *row)
{
    struct str label = str_of(json_string_value(json_object_get(row, "label")));
    for (uint32_t k = 0; k < r->n_labels; k++)
        if (str_eq(r->labels[k], label))
            return k;
    assert_true(r->n_labels < MOST_LABELS);
    r->labels[r->n_labels] = label;
    return r->n_labels++;
}

static struct str text_of(const json_t *row)
{
    return str_of(json_string_value(json_object_get(row, "text")));
}

/* Learns from the first SHOTS rows of each class; returns the share it gets right of the next. */
static double learn_and_score(struct rows *r)
{
    struct classifier_example e[MOST_LABELS * SHOTS];
    CLEANUP(classifier_freep) struct classifier *c = NULL;
    size_t n = 0, scored = 0, right = 0;
    for (size_t i = 0; i < r->n; i++)
        (void)number(r, r->row[i]);
    for (int pass = 0; pass < 2; pass++) {
        struct linear_options o = linear_options_for(r->n_labels, n);
        if (pass)
            assert_int_equal(classifier_train(&c, r->labels, e, n, &o), 0);
        memset(r->count, 0, sizeof(r->count));
        for (size_t i = 0; i < r->n && scored < SCORED; i++) {
            uint32_t k = number(r, r->row[i]);
            bool learnt = r->count[k]++ < SHOTS;
            if (!pass && learnt)
                e[n++] = (struct classifier_example){ text_of(r->row[i]), k };
            if (!pass || learnt)
                continue;
            CLEANUP(arena_freep) struct arena *a = arena_new(ARENA_BYTES);
            float s[MOST_LABELS];
            uint32_t at = 0;
            assert_int_equal(classifier_scores(c, text_of(r->row[i]), s, a), 0);
            for (uint32_t j = 1; j < r->n_labels; j++)
                at = s[j] > s[at] ? j : at;
            right += at == k;
            scored++;
        }
    }
    return (double)right / (double)scored;
}

static void ten_examples_a_class_tell_most_intents(void **state)
{
    TEST_SHARED(path, "data/banking77.dev.jsonl");
    static struct rows rows;
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (rows.n < MOST_ROWS) {
        json_t *row = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
        if (!row)
            break;
        rows.row[rows.n++] = row;
    }
    double accuracy = learn_and_score(&rows);
    for (size_t i = 0; i < rows.n; i++)
        json_decref(rows.row[i]);
    if (!(accuracy >= 0.7))
        fail_msg("right in %.1f %%, want 70 %%", 100 * accuracy);
}

static void a_classifier_refuses_a_label_that_is_no_class(void **state)
{
    struct classifier *c = NULL;
    struct linear_options o = { LINEAR_softmax, 2, 20, 100 };
    assert_int_equal(classifier_train(&c, labels, examples, ARRAY_LEN(examples), &o), -EINVAL);
    o.classes = ARRAY_LEN(labels);
    assert_int_equal(classifier_train(&c, labels, examples, 0, &o), -EINVAL);
    assert_null(c);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_ids_in_range_each_once_a_block),
        cmocka_unit_test(a_text_without_characters_has_no_features),
        cmocka_unit_test(weighed_vectors_have_length_one),
        cmocka_unit_test(likeness_follows_common_words_and_spelling),
        cmocka_unit_test(of_a_long_text_begin_middle_and_end_are_read),
        cmocka_unit_test(rare_features_weigh_more),
        cmocka_unit_test(training_finds_the_least_of_the_objective),
        cmocka_unit_test(weights_start_from_naive_bayes_where_that_is_asked_for),
        cmocka_unit_test(few_examples_of_a_class_are_fitted_more_softly),
        cmocka_unit_test(training_needs_examples_and_classes),
        cmocka_unit_test(softmax_is_a_distribution_at_any_temperature),
        cmocka_unit_test(a_classifier_learns_from_texts_and_from_the_names),
        cmocka_unit_test(a_classifier_knows_words_of_the_same_meaning),
        cmocka_unit_test(difficulty_grows_with_words_and_falls_with_their_length),
        cmocka_unit_test(ten_examples_a_class_tell_most_intents),
        cmocka_unit_test(a_classifier_refuses_a_label_that_is_no_class),
    };
    return TEST_RUN(tests);
}
