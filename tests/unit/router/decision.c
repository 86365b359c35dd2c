/*
 * Rules against a brute force: three-valued logic decided by trying every way in which the unknown
 * leaves could come out, on random trees; and the order of decisions against a table.
 */
#include "router/decision.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAVES = 5, MAX_NODES = 64, TREES = 100000 };

struct tree {
    struct rule nodes[MAX_NODES];
    size_t n;
};

static struct rule *grow(struct tree *t, uint64_t *seed, unsigned depth)
{
    struct rule *r = &t->nodes[t->n++];
    unsigned pick = (unsigned)(test_random(seed) % 8);
    if (depth == 0 || pick < 2 || t->n + 4 >= MAX_NODES) {
        *r = (struct rule){ .op = RULE_signal,
                            .index = test_random(seed) % LEAVES,
                            .on_error = TRUTH_unknown };
        return r;
    }
    r->op = pick < 4 ? RULE_and : pick < 6 ? RULE_or : RULE_not;
    r->n = r->op == RULE_not ? 1 : test_random(seed) % 4;
    r->on_error = TRUTH_unknown;
    if (t->n + r->n >= MAX_NODES)
        r->n = 0, r->op = RULE_or;
    struct rule children[4];
    for (size_t i = 0; i < r->n; i++)
        children[i] = *grow(t, seed, depth - 1);
    struct rule *at = &t->nodes[t->n];
    if (t->n + r->n > MAX_NODES) {
        r->n = 0;
        r->op = RULE_or;
        return r;
    }
    memcpy(at, children, r->n * sizeof(*at));
    t->n += r->n;
    r->children = at;
    return r;
}

struct world {
    enum truth value[LEAVES];
    double confidence[LEAVES];
};

static struct verdict look(void *ctx, const struct rule *leaf)
{
    const struct world *w = ctx;
    return (struct verdict){ w->value[leaf->index], w->confidence[leaf->index] };
}

/* Two-valued logic, written out anew: every part is looked at. */
static bool holds(const struct rule *r, const bool *value)
{
    size_t hits = 0;
    if (r->op == RULE_signal)
        return value[r->index];
    for (size_t i = 0; i < r->n; i++)
        hits += holds(&r->children[i], value);
    if (r->op == RULE_not)
        return hits == 0;
    return r->op == RULE_and ? hits == r->n : hits > 0;
}

/* Kleene's tables, written as minimum and maximum over false < unknown < true. */
static int kleene(const struct rule *r, const struct world *w)
{
    static const int rank[] = { [TRUTH_false] = 0, [TRUTH_unknown] = 1, [TRUTH_true] = 2 };
    if (r->op == RULE_signal)
        return rank[w->value[r->index]];
    int low = 2, high = 0;
    for (size_t i = 0; i < r->n; i++) {
        int k = kleene(&r->children[i], w);
        low = k < low ? k : low;
        high = k > high ? k : high;
    }
    if (r->op == RULE_not)
        return 2 - low;
    return r->op == RULE_and ? low : high;
}

static double confidence(const struct rule *r, const struct world *w) /* of a match */
{
    double sum = 0, best = 0;
    if (r->op == RULE_signal)
        return w->confidence[r->index];
    if (r->op == RULE_not)
        return 1;
    for (size_t i = 0; i < r->n; i++) {
        double c = kleene(&r->children[i], w) == 2 ? confidence(&r->children[i], w) : 0;
        sum += c;
        best = c > best ? c : best;
    }
    return r->op == RULE_or ? best : r->n ? sum / (double)r->n : 0;
}

static void random_trees_follow_three_valued_logic(void **state)
{
    uint64_t seed = 1;
    for (unsigned k = 0; k < TREES; k++) {
        struct tree t = { .n = 0 };
        struct world w;
        for (size_t i = 0; i < LEAVES; i++) {
            w.value[i] = (enum truth)(test_random(&seed) % 3);
            w.confidence[i] = w.value[i] == TRUTH_true ? (double)(test_random(&seed) % 5) / 4 : 0;
        }
        const struct rule *r = grow(&t, &seed, 3);
        struct verdict v = rule_evaluate(r, look, &w);
        static const enum truth of_rank[] = { TRUTH_false, TRUTH_unknown, TRUTH_true };
        assert_int_equal(v.value, of_rank[kleene(r, &w)]);
        if (v.value == TRUTH_true)
            assert_true(fabs(v.confidence - confidence(r, &w)) < 1e-12);
        else
            assert_true(v.confidence == 0);
    }
}

static void an_answer_holds_however_the_unknown_come_out(void **state)
{
    uint64_t seed = 2;
    for (unsigned k = 0; k < TREES; k++) {
        struct tree t = { .n = 0 };
        struct world w = { .confidence = { 1, 1, 1, 1, 1 } };
        for (size_t i = 0; i < LEAVES; i++)
            w.value[i] = (enum truth)(test_random(&seed) % 3);
        const struct rule *r = grow(&t, &seed, 3);
        struct verdict v = rule_evaluate(r, look, &w);
        if (v.value == TRUTH_unknown)
            continue;
        for (unsigned way = 0; way < 1u << LEAVES; way++) {
            bool value[LEAVES];
            for (size_t i = 0; i < LEAVES; i++)
                value[i] = w.value[i] == TRUTH_unknown ? way >> i & 1 : w.value[i] == TRUTH_true;
            assert_int_equal(holds(r, value), v.value == TRUTH_true);
        }
    }
}

static struct verdict unknown_leaf(void *ctx, const struct rule *leaf)
{
    return (struct verdict){ TRUTH_unknown, 0 };
}

static void an_unknown_leaf_counts_as_its_author_says(void **state)
{
    static const struct {
        enum truth on_error, want;
    } rows[] = {
        { TRUTH_unknown, TRUTH_unknown },
        { TRUTH_true, TRUTH_true },
        { TRUTH_false, TRUTH_false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rule leaf = { .op = RULE_signal, .on_error = rows[i].on_error };
        assert_int_equal(rule_evaluate(&leaf, unknown_leaf, NULL).value, rows[i].want);
    }
}

static void a_decision_without_rules_matches_with_confidence_0(void **state)
{
    struct decision d = { .always = true };
    struct verdict v = decision_evaluate(&d, unknown_leaf, NULL);
    assert_int_equal(v.value, TRUTH_true);
    assert_true(v.confidence == 0);
}

static void decisions_are_ordered_by_tier_priority_confidence_and_name(void **state)
{
    enum { PRIORITY, CONFIDENCE, TIERED };
    static const struct {
        int how;
        struct {
            uint64_t tier;
            int64_t priority;
            double confidence;
            const char *name;
        } a, b; /* a goes before b */
    } rows[] = {
        { PRIORITY, { 0, 2, 0.1, "z" }, { 0, 1, 0.9, "a" } },
        { PRIORITY, { 0, 1, 0.9, "z" }, { 0, 1, 0.1, "a" } },
        { PRIORITY, { 0, 1, 0.5, "a" }, { 0, 1, 0.5, "b" } },
        { PRIORITY, { 0, -1, 0.5, "b" }, { 0, -2, 0.5, "a" } },
        { CONFIDENCE, { 0, 1, 0.9, "z" }, { 0, 2, 0.1, "a" } },
        { CONFIDENCE, { 0, 2, 0.5, "z" }, { 0, 1, 0.5, "a" } },
        { CONFIDENCE, { 0, 1, 0.5, "a" }, { 0, 1, 0.5, "b" } },
        { TIERED, { 1, 1, 0.1, "z" }, { 2, 9, 0.9, "a" } },
        { TIERED, { 2, 1, 0.9, "z" }, { 2, 9, 0.1, "a" } },
        { TIERED, { 2, 9, 0.5, "z" }, { 2, 1, 0.5, "a" } },
        { TIERED, { 2, 1, 0.5, "a" }, { 2, 1, 0.5, "b" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct decision a = { .tier = rows[i].a.tier,
                              .priority = rows[i].a.priority,
                              .name = str_of(rows[i].a.name) };
        struct decision b = { .tier = rows[i].b.tier,
                              .priority = rows[i].b.priority,
                              .name = str_of(rows[i].b.name) };
        bool tiered = rows[i].how == TIERED, by_confidence = rows[i].how == CONFIDENCE;
        double ca = rows[i].a.confidence, cb = rows[i].b.confidence;
        assert_true(decision_before(&a, ca, &b, cb, tiered, by_confidence));
        assert_false(decision_before(&b, cb, &a, ca, tiered, by_confidence));
    }
}

/* ---- lazy against eager ---- */

enum { DECISIONS = 5 };

struct listed {
    struct decision decisions[DECISIONS];
    struct tree trees[DECISIONS];
    char names[DECISIONS][4];
    struct world world;
    unsigned asked; /* leaves */
};

static struct verdict look_counting(void *ctx, const struct rule *leaf)
{
    struct listed *l = ctx;
    l->asked++;
    return look(&l->world, leaf);
}

static int by_tier_and_priority(const void *a, const void *b)
{
    const struct decision *x = a, *y = b;
    if (x->tier != y->tier)
        return x->tier < y->tier ? -1 : 1;
    return x->priority > y->priority ? -1 : x->priority < y->priority;
}

static void draw_decisions(struct listed *l, uint64_t *seed)
{
    static const enum on_unknown ways[] = { ON_UNKNOWN_no_match, ON_UNKNOWN_no_match,
                                            ON_UNKNOWN_match, ON_UNKNOWN_fail_request };
    unsigned tiers = 1 + (unsigned)(test_random(seed) % 3);
    for (size_t i = 0; i < LEAVES; i++) {
        l->world.value[i] = (enum truth)(test_random(seed) % 3);
        l->world.confidence[i] =
            l->world.value[i] == TRUTH_true ? (double)(test_random(seed) % 5) / 4 : 0;
    }
    for (size_t i = 0; i < DECISIONS; i++) {
        l->trees[i].n = 0;
        (void)snprintf(l->names[i], sizeof(l->names[i]), "d%zu", i);
        l->decisions[i] = (struct decision){
            .name = str_of(l->names[i]),
            .priority = (int64_t)(test_random(seed) % 3),
            .tier = test_random(seed) % tiers,
            .always = test_random(seed) % 16 == 0,
            .on_unknown = ways[test_random(seed) % ARRAY_LEN(ways)],
            .rules = *grow(&l->trees[i], seed, 3),
        };
    }
    qsort(l->decisions, DECISIONS, sizeof(*l->decisions), by_tier_and_priority);
}

/* Eager, by the reference's words: everything is evaluated, then those that match are sorted. */
static const struct decision *eager(const struct listed *l, bool by_confidence, double *ret)
{
    struct {
        const struct decision *d;
        double confidence;
    } hits[DECISIONS];
    size_t n = 0, best = 0;
    bool tiered = false;
    for (size_t i = 0; i < DECISIONS; i++) {
        const struct decision *d = &l->decisions[i];
        int k = d->always ? 2 : kleene(&d->rules, &l->world);
        if (k != 2 && (k != 1 || d->on_unknown != ON_UNKNOWN_match))
            continue;
        hits[n].d = d;
        hits[n++].confidence = d->always ? 0 : k == 1 ? 1 : confidence(&d->rules, &l->world);
        tiered = tiered || d->tier > 0;
    }
    for (size_t i = 1; i < n; i++) {
        double tier = (double)hits[best].d->tier - (double)hits[i].d->tier;
        double sure = hits[i].confidence - hits[best].confidence;
        double rank = (double)hits[i].d->priority - (double)hits[best].d->priority;
        double name = str_cmp(hits[best].d->name, hits[i].d->name);
        bool sure_first = tiered || by_confidence;
        double keys[] = { tiered ? tier : 0, sure_first ? sure : rank, sure_first ? rank : sure,
                          name };
        size_t k = 0;
        while (k < 3 && keys[k] == 0)
            k++;
        best = keys[k] > 0 ? i : best;
    }
    *ret = n ? hits[best].confidence : 0;
    return n ? hits[best].d : NULL;
}

static void asking_only_what_matters_picks_the_same_winner(void **state)
{
    uint64_t seed = 7;
    size_t lazy_leaves = 0, eager_leaves = 0, won = 0, open = 0;
    for (unsigned k = 0; k < TREES; k++) {
        struct listed l = { .asked = 0 };
        double sure;
        draw_decisions(&l, &seed);
        struct decision_list list = { l.decisions, DECISIONS, test_random(&seed) % 2 };
        struct decision_outcome out = decisions_pick(&list, look_counting, &l);
        assert_ptr_equal(out.winner, eager(&l, list.by_confidence, &sure));
        assert_true(fabs(out.confidence - sure) < 1e-12);
        lazy_leaves += l.asked;
        l.asked = 0;
        for (size_t i = 0; i < DECISIONS; i++)
            (void)decision_evaluate(&l.decisions[i], look_counting, &l);
        eager_leaves += l.asked;
        won += out.winner != NULL;
        open += out.unresolved != NULL;
        if (out.unresolved)
            assert_int_equal(kleene(&out.unresolved->rules, &l.world), 1);
    }
    assert_in_range(won, TREES / 2, TREES - 1);
    assert_in_range(open, TREES / 100, TREES / 2);
    assert_true(lazy_leaves * 10 < eager_leaves * 9);
}

/* Whoever is open and would have won by matching surely is reported, and nobody else. */
static void what_could_still_have_won_is_unresolved(void **state)
{
    uint64_t seed = 11;
    for (unsigned k = 0; k < TREES; k++) {
        struct listed l = { .asked = 0 };
        double sure;
        draw_decisions(&l, &seed);
        for (size_t i = 0; i < DECISIONS; i++)
            l.decisions[i].tier = 0;
        struct decision_list list = { l.decisions, DECISIONS, true };
        struct decision_outcome out = decisions_pick(&list, look_counting, &l);
        bool any = false;
        const struct decision *winner = eager(&l, true, &sure);
        for (size_t i = 0; i < DECISIONS; i++) {
            const struct decision *d = &l.decisions[i];
            if (d->always || d->on_unknown != ON_UNKNOWN_fail_request ||
                kleene(&d->rules, &l.world) != 1)
                continue;
            any = any || !winner || decision_before(d, 1, winner, sure, false, true);
        }
        assert_int_equal(any, out.unresolved != NULL);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_trees_follow_three_valued_logic),
        cmocka_unit_test(an_answer_holds_however_the_unknown_come_out),
        cmocka_unit_test(an_unknown_leaf_counts_as_its_author_says),
        cmocka_unit_test(a_decision_without_rules_matches_with_confidence_0),
        cmocka_unit_test(decisions_are_ordered_by_tier_priority_confidence_and_name),
        cmocka_unit_test(asking_only_what_matters_picks_the_same_winner),
        cmocka_unit_test(what_could_still_have_won_is_unresolved),
    };
    return TEST_RUN(tests);
}
