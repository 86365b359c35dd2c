/*
 * Partitions: one member wins. Checked against a rewrite of the reference's words over all cases
 * that unknown members leave open.
 */
#include "router/partition.h"
#include "tests/unit/router/support.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERS = 4, TRIALS = 20000 };

static const size_t numbers[MEMBERS] = { 0, 1, 2, 3 };

static struct partition make(unsigned semantics, double temperature, size_t fallback)
{
    return (struct partition){ .semantics = semantics,
                               .temperature = temperature,
                               .domains = { numbers, MEMBERS },
                               .default_domain = fallback,
                               .default_embedding = SIZE_MAX };
}

/* The reference, without unknowns: lists of matched names, softmax by hand. */
static void reference(const struct partition *p, const struct signal_value *in,
                      struct signal_value *out)
{
    double total = 0;
    int best = -1, contenders = 0;
    for (int i = 0; i < MEMBERS; i++) {
        out[i] = in[i];
        if (in[i].value != TRUTH_true)
            continue;
        contenders++;
        total += exp(in[i].confidence / p->temperature);
        if (best < 0 || in[i].confidence > in[best].confidence)
            best = i;
    }
    if (contenders == 0 && p->default_domain != SIZE_MAX) {
        out[p->default_domain].value = TRUTH_true;
        out[p->default_domain].confidence = 1;
    }
    for (int i = 0; contenders > 1 && i < MEMBERS; i++) {
        bool wins = i == best;
        out[i].value = wins ? TRUTH_true : TRUTH_false;
        out[i].confidence = wins ? in[i].confidence : 0;
        if (wins && p->semantics == PARTITION_softmax)
            out[i].confidence = exp(in[i].confidence / p->temperature) / total;
    }
}

/* Sets the unknown members to the case's digits: false, or true with some confidence. */
static void settle(const struct signal_value *in, unsigned number, struct signal_value *out)
{
    static const double confidences[] = { 0, 0.25, 0.6, 1 };
    for (int i = 0; i < MEMBERS; i++) {
        out[i] = in[i];
        if (in[i].value != TRUTH_unknown)
            continue;
        unsigned digit = number % 5;
        number /= 5;
        out[i].value = digit ? TRUTH_true : TRUTH_false;
        out[i].confidence = digit ? confidences[digit - 1] : 0;
    }
}

static void compare(const struct partition *p, const struct signal_value *in)
{
    struct signal_value got[MEMBERS];
    bool can[MEMBERS][2] = { { false } };
    double confidence[MEMBERS] = { 0 };
    unsigned cases = 1, unknown = 0;
    for (int i = 0; i < MEMBERS; i++) {
        got[i] = in[i];
        unknown += in[i].value == TRUTH_unknown;
        cases *= in[i].value == TRUTH_unknown ? 5 : 1;
    }
    for (unsigned k = 0; k < cases; k++) {
        struct signal_value settled[MEMBERS], want[MEMBERS];
        settle(in, k, settled);
        reference(p, settled, want);
        for (int i = 0; i < MEMBERS; i++) {
            can[i][want[i].value] = true;
            confidence[i] = want[i].confidence;
        }
    }
    partition_reduce(p, FAMILY_domain, got);
    for (int i = 0; i < MEMBERS; i++) {
        enum truth want = can[i][0] && can[i][1] ? TRUTH_unknown
                          : can[i][1]            ? TRUTH_true
                                                 : TRUTH_false;
        if (got[i].value != want)
            fail_msg("member %d is %d, not %d", i, got[i].value, want);
        if (unknown == 0 && fabs(got[i].confidence - confidence[i]) > 1e-12)
            fail_msg("member %d has confidence %g, not %g", i, got[i].confidence, confidence[i]);
        assert_true(got[i].raw == in[i].raw);
    }
}

static void what_wins_is_what_wins_in_every_case(void **state)
{
    uint64_t random = 7;
    for (int t = 0; t < TRIALS; t++) {
        struct signal_value in[MEMBERS];
        struct partition p = make(t % 2 ? PARTITION_softmax : PARTITION_exclusive,
                                  0.05 + (double)(test_random(&random) % 100) / 100,
                                  t % 3 ? test_random(&random) % MEMBERS : SIZE_MAX);
        for (int i = 0; i < MEMBERS; i++) {
            in[i].value = (enum truth)(test_random(&random) % 3);
            /* below 1: whoever is unknown may be more confident */
            in[i].confidence =
                in[i].value == TRUTH_true ? (double)(test_random(&random) % 1000) / 1001 : 0;
            in[i].raw = (double)(test_random(&random) % 1000) / 1000;
        }
        compare(&p, in);
    }
}

static void fewer_than_two_members_change_nothing(void **state)
{
    struct signal_value v[1] = { { TRUTH_false, 0, 0.3 } };
    struct partition p = make(PARTITION_exclusive, 1, 0);
    p.domains.n = 1;
    partition_reduce(&p, FAMILY_domain, v);
    assert_int_equal(v[0].value, TRUTH_false);
}

static void another_familys_members_are_left_alone(void **state)
{
    struct signal_value v[MEMBERS] = { { TRUTH_true, 0.9, 0 }, { TRUTH_true, 0.8, 0 } };
    struct partition p = make(PARTITION_exclusive, 1, 0);
    partition_reduce(&p, FAMILY_embedding, v);
    assert_int_equal(v[1].value, TRUTH_true);
}

#define POLICY(partition)                                                                          \
    "providers: {defaults: {default_model: m}, models: [{name: m}]}\n"                             \
    "routing:\n"                                                                                   \
    "  signals:\n"                                                                                 \
    "    domains: [{name: law}, {name: math}]\n"                                                   \
    "    embeddings: [{name: e, candidates: [x]}, {name: f, candidates: [y]}]\n"                   \
    "  projections: {partitions: [{name: p, " partition "}]}\n"

static void a_partition_that_cannot_work_is_refused(void **state)
{
    static const struct {
        const char *yaml, *says; /* NULL: nothing is wrong */
    } rows[] = {
        { POLICY("members: [law, math], default: law"), NULL },
        { POLICY("members: [e, f], semantics: softmax_exclusive, temperature: 0.1"), NULL },
        { POLICY("members: [law, e]"), "must be of one kind" },
        { POLICY("members: [law, lw]"), "'lw' is neither" },
        { POLICY("members: [law, math], default: e"), "'e' is not a member" },
        { POLICY("members: []"), "has no members" },
        { POLICY("members: [e, f], semantics: softmax_exclusive, temperature: 0"),
          "temperature above 0" },
        { POLICY("members: [e, f], semantics: softmax"), "is not one of" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int e;
        char *text = policy_problems(rows[i].yaml, &e);
        if (rows[i].says ? e != -EINVAL || !strstr(text, rows[i].says) : e != 0)
            fail_msg("row %zu: %s", i, text);
        free(text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_wins_is_what_wins_in_every_case),
        cmocka_unit_test(fewer_than_two_members_change_nothing),
        cmocka_unit_test(another_familys_members_are_left_alone),
        cmocka_unit_test(a_partition_that_cannot_work_is_refused),
    };
    return TEST_RUN(tests);
}
