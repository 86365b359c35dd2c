/* Numbers that several leaves look at, cut into cells at the bounds of the leaves. */
#include "router/lint/facts.h"

#include <math.h>
#include <stdlib.h>

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t bounds_of(const struct policy *policy, const struct measured *leaf, double *ret,
                        size_t max)
{
    const struct predicate *p = leaf->predicate;
    if (!p)
        return projections_bounds(policy->projections, leaf->output, ret, max);
    const double all[] = { p->gt, p->gte, p->lt, p->lte };
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!isnan(all[i]) && isfinite(all[i]) && n++ < max)
            ret[n - 1] = all[i];
    if (n == 0 && max > 0)
        ret[n++] = 0; /* without bounds: more than 0 */
    return n;
}

static size_t sort_bounds(double *bounds, size_t n)
{
    size_t kept = 0;
    if (n)
        qsort(bounds, n, sizeof(*bounds), by_number);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || bounds[i] != bounds[kept - 1])
            bounds[kept++] = bounds[i];
    return kept;
}

struct cut { /* cell 2i+1 is bounds[i], cell 2i what lies below it down to the bound before */
    const double *bounds;
    size_t n;
};

static double below(const struct cut *c, size_t cell) /* the open end of a gap */
{
    return cell / 2 == 0 ? -INFINITY : c->bounds[cell / 2 - 1];
}

static double above(const struct cut *c, size_t cell)
{
    return cell / 2 == c->n ? INFINITY : c->bounds[cell / 2];
}

static double inside_of(const struct cut *c, size_t cell)
{
    if (cell % 2)
        return c->bounds[cell / 2];
    double lo = below(c, cell), hi = above(c, cell);
    if (isinf(lo))
        return isinf(hi) ? 0 : hi - 1;
    return isinf(hi) ? lo + 1 : lo + (hi - lo) / 2;
}

static bool in_range(const struct measure *m, const struct sum_range *r, const struct cut *c,
                     size_t cell)
{
    double lo = cell % 2 ? c->bounds[cell / 2] : below(c, cell);
    double hi = cell % 2 ? lo : above(c, cell);
    if (m->kind == MEASURE_integer) { /* the least whole number that is in the range and fits */
        double least = fmax(r->lo, cell % 2 ? ceil(lo) : floor(lo) + 1);
        return least <= r->hi && (cell % 2 ? least == lo : least < hi);
    }
    return cell % 2 ? r->lo <= lo && lo <= r->hi : r->lo < hi && r->hi > lo;
}

static bool can_be(const struct measure *m, const struct cut *c, size_t cell)
{
    for (size_t i = 0; i < m->n; i++)
        if (in_range(m, &m->ranges[i], c, cell))
            return true;
    return false;
}

/* Whether the leaf may be anything but false there: a band before it, of several that together
 * leave nothing over, does not make it known to be false where a sum is not known either. */
static bool may_hold(const struct policy *policy, const struct measured *leaf, double x)
{
    return leaf->predicate ? predicate_holds(leaf->predicate, x)
                           : projections_inside(policy->projections, leaf->output, x);
}

static bool holds(const struct policy *policy, const struct measured *leaf, double x)
{
    return leaf->predicate ? predicate_holds(leaf->predicate, x)
                           : projections_holds(policy->projections, leaf->output, x);
}

bool measure_cells(const struct policy *policy, const struct measure *m,
                   const struct measured *leaves, size_t n, struct cells *ret_universe,
                   struct lint_leaf *ret)
{
    double bounds[LINT_BOUNDS];
    size_t n_bounds = 0;
    for (size_t i = 0; i < n; i++) {
        size_t room = LINT_BOUNDS - n_bounds;
        size_t more = bounds_of(policy, &leaves[i], bounds + n_bounds, room);
        if (more > room)
            return false;
        n_bounds = sort_bounds(bounds, n_bounds + more);
    }
    struct cut c = { bounds, n_bounds };
    size_t n_cells = 2 * n_bounds + 1;
    *ret_universe = (struct cells){ { 0 } };
    for (size_t i = 0; i < n; i++)
        ret[i].on = ret[i].maybe = (struct cells){ { 0 } };
    for (size_t cell = 0; cell < n_cells; cell++) {
        if (!can_be(m, &c, cell))
            continue;
        cells_set(ret_universe, cell);
        for (size_t i = 0; i < n; i++) {
            if (holds(policy, &leaves[i], inside_of(&c, cell)))
                cells_set(&ret[i].on, cell);
            if (may_hold(policy, &leaves[i], inside_of(&c, cell)))
                cells_set(&ret[i].maybe, cell);
        }
    }
    if (m->may_lack)
        cells_set(ret_universe, n_cells);
    return true;
}

/* ---- rules ---- */

/* Words of a keyword set that cannot be parts of each other's matches: plain, one word each. */
static bool are_single_words(const struct node *keywords)
{
    for (size_t i = 0; i < keywords->n; i++) {
        struct str s = keywords->items[i]->scalar;
        for (size_t k = 0; k < s.n; k++)
            if (!((s.p[k] >= 'a' && s.p[k] <= 'z') || (s.p[k] >= 'A' && s.p[k] <= 'Z')))
                return false;
        for (size_t k = 0; k < i; k++)
            if (str_eq_nocase(s, keywords->items[k]->scalar))
                return false;
    }
    return true;
}

/* The largest density that a keyword set can have: each unit of text is a match of each keyword. */
static double densest(const struct node *source)
{
    enum { MOST = 1000 };
    const struct node *keywords = node_get(source, "keywords");
    if (!node_is(node_get(source, "type"), "keyword_set") || !keywords || keywords->n == 0)
        return INFINITY;
    return keywords->n <= MOST && are_single_words(keywords) ? 1 : (double)keywords->n;
}

void measure_of_rule(const struct node *rule, enum family family, struct measure *ret,
                     struct sum_range *ret_range)
{
    const struct node *feature = node_get(rule, "feature");
    const struct node *type = node_get(feature, "type");
    bool one_or_none = node_is(type, "exists") || node_is(type, "sequence");
    bool density = node_is(type, "density");
    *ret_range = (struct sum_range){ 0, one_or_none ? 1 : INFINITY };
    if (density)
        ret_range->hi = densest(node_get(feature, "source"));
    *ret = (struct measure){ density ? MEASURE_real : MEASURE_integer, ret_range, 1,
                             family == FAMILY_structure };
}

static double tokens_of(const struct node *rule, const char *key, double none)
{
    const struct node *n = node_get(rule, key);
    double tokens;
    if (!n || n->kind != NODE_scalar || signal_tokens(&tokens, n->scalar) < 0)
        return none;
    return tokens;
}

bool predicate_of_rule(struct facts *f, const struct node *rule, enum family family,
                       struct predicate *ret)
{
    *ret = (struct predicate){ NAN, NAN, NAN, NAN };
    if (family == FAMILY_context) {
        double most = tokens_of(rule, "max_tokens", 0);
        ret->gte = tokens_of(rule, "min_tokens", 0);
        ret->lte = most > 0 ? most : INFINITY;
        return true;
    }
    return (family == FAMILY_structure || family == FAMILY_conversation) &&
           predicate_read(ret, node_get(rule, "predicate"), f->path, f->arena, f->p) == 0;
}
