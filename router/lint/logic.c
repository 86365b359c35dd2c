#include "router/lint/logic.h"

/* ---- cells ---- */

void cells_set(struct cells *c, size_t i)
{
    c->w[i / 64] |= (uint64_t)1 << (i % 64);
}

bool cells_none(const struct cells *c)
{
    for (size_t i = 0; i < LINT_WORDS; i++)
        if (c->w[i])
            return false;
    return true;
}

struct cells cells_and(struct cells a, struct cells b)
{
    for (size_t i = 0; i < LINT_WORDS; i++)
        a.w[i] &= b.w[i];
    return a;
}

struct cells cells_minus(struct cells a, struct cells b)
{
    for (size_t i = 0; i < LINT_WORDS; i++)
        a.w[i] &= ~b.w[i];
    return a;
}

/* ---- terms ---- */

struct goal { /* `rule` must be true, or false; of a conjunction from child `from` on */
    const struct formula *rule;
    bool truth;
    size_t from;
    const struct goal *next;
};

struct search {
    struct logic *l;
    bool (*show)(void *ctx);
    void *ctx;
};

static enum terms_result solve(const struct search *s, const struct goal *goals);

static enum terms_result solve_leaf(const struct search *s, const struct goal *g)
{
    struct logic *l = s->l;
    const struct lint_leaf *leaf = &l->leaves[g->rule->leaf];
    struct cells before = l->now[leaf->group];
    struct cells after = g->truth ? cells_and(before, leaf->on) : cells_minus(before, leaf->on);
    if (cells_none(&after))
        return TERMS_all; /* no term goes this way */
    l->now[leaf->group] = after;
    l->known[leaf->group]++;
    enum terms_result r = solve(s, g->next);
    l->known[leaf->group]--;
    l->now[leaf->group] = before;
    return r;
}

static enum terms_result solve_any(const struct search *s, const struct goal *g)
{
    enum terms_result r = TERMS_all;
    for (size_t i = 0; r == TERMS_all && i < g->rule->n; i++) {
        struct goal child = { &g->rule->children[i], g->truth, 0, g->next };
        r = solve(s, &child);
    }
    return r;
}

static enum terms_result solve_all(const struct search *s, const struct goal *g)
{
    if (g->from == g->rule->n)
        return solve(s, g->next);
    struct goal others = { g->rule, g->truth, g->from + 1, g->next };
    struct goal child = { &g->rule->children[g->from], g->truth, 0, &others };
    return solve(s, &child);
}

/* The depth is bounded by the size of the rules (facts.c). */
static enum terms_result solve(const struct search *s, const struct goal *g)
{
    if (!g)
        return s->show(s->ctx) ? TERMS_all : TERMS_stopped;
    if (s->l->work == 0)
        return TERMS_too_many;
    s->l->work--;
    if (g->rule->op == FORMULA_leaf)
        return solve_leaf(s, g);
    if (g->rule->op == FORMULA_not) {
        struct goal child = { &g->rule->children[0], !g->truth, 0, g->next };
        return solve(s, &child);
    }
    return (g->rule->op == FORMULA_and) == g->truth ? solve_all(s, g) : solve_any(s, g);
}

enum terms_result logic_terms(struct logic *l, const struct formula *const *rules, size_t n,
                              bool (*show)(void *ctx), void *ctx)
{
    struct search s = { l, show, ctx };
    struct goal last = { rules[n - 1], true, 0, NULL }, first = { rules[0], true, 0, &last };
    return solve(&s, n == 1 ? &last : &first);
}

/* ---- cells one by one ---- */

static bool covered_from(struct logic *l, size_t from, bool (*covers)(void *ctx), void *ctx)
{
    if (covers(ctx))
        return true;
    for (; from < l->n_exact; from++) { /* the next group that can be split */
        size_t g = l->exact[from];
        bool may = l->known[g] > 0 || (l->groups[g].certain && l->split_certain);
        if (may)
            break;
    }
    if (from == l->n_exact || l->work == 0)
        return false;
    size_t g = l->exact[from];
    struct cells before = l->now[g];
    bool all = true;
    l->known[g]++;
    for (size_t i = 0; all && i < LINT_CELLS; i++) {
        if (!(before.w[i / 64] >> (i % 64) & 1))
            continue;
        l->now[g] = (struct cells){ { 0 } };
        cells_set(&l->now[g], i);
        all = covered_from(l, from + 1, covers, ctx);
    }
    l->known[g]--;
    l->now[g] = before;
    return all;
}

bool logic_covered(struct logic *l, bool (*covers)(void *ctx), void *ctx)
{
    return covered_from(l, 0, covers, ctx);
}

/* ---- truth ---- */

enum known { KNOWN_false, KNOWN_true, KNOWN_not };

static enum known value(struct logic *l, const struct formula *f)
{
    enum known settled = f->op == FORMULA_and ? KNOWN_false : KNOWN_true;
    enum known v = f->op == FORMULA_and ? KNOWN_true : KNOWN_false;
    l->work -= l->work > 0;
    if (f->op == FORMULA_leaf) {
        const struct lint_leaf *leaf = &l->leaves[f->leaf];
        const struct cells *now = &l->now[leaf->group];
        if (l->known[leaf->group] == 0 && !l->groups[leaf->group].certain)
            return KNOWN_not;
        struct cells in = cells_and(*now, leaf->on), out = cells_minus(*now, leaf->on);
        in = cells_and(*now, leaf->maybe);
        return cells_none(&out) ? KNOWN_true : cells_none(&in) ? KNOWN_false : KNOWN_not;
    }
    if (f->op == FORMULA_not) {
        v = value(l, &f->children[0]);
        return v == KNOWN_not ? v : v == KNOWN_true ? KNOWN_false : KNOWN_true;
    }
    for (size_t i = 0; i < f->n; i++) {
        enum known child = value(l, &f->children[i]);
        if (child == settled)
            return child;
        v = child == KNOWN_not ? child : v;
    }
    return v;
}

/* As value, but gives up as soon as the rule cannot be true: most cannot. */
bool logic_true(struct logic *l, const struct formula *f)
{
    if (f->op != FORMULA_and)
        return value(l, f) == KNOWN_true;
    for (size_t i = 0; i < f->n; i++)
        if (!logic_true(l, &f->children[i]))
            return false;
    return true;
}
