#include "router/lint/checks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Steps for one profile: about a second. */
static const uint64_t WORK = 100000000;
/* Steps for one decision: so that one large decision leaves some for the others. */
static const uint64_t WORK_OF_ONE = 2000000;
enum { MAX_SHOWN = 3 };

struct hunt { /* for what goes before decision `own` whenever it matches */
    struct facts *f;
    size_t n;      /* decisions that surely go before it are those below */
    size_t likely; /* that did so in the last term */
    size_t found[MAX_SHOWN + 1], n_found;
    bool any_term;
};

static void note(struct hunt *h, size_t i)
{
    h->likely = i;
    for (size_t k = 0; k < h->n_found; k++)
        if (h->found[k] == i)
            return;
    if (h->n_found <= MAX_SHOWN)
        h->found[h->n_found++] = i;
}

static bool matches(const struct hunt *h, size_t i)
{
    return h->f->formulas[i] && logic_true(&h->f->logic, h->f->formulas[i]);
}

static bool covers(void *ctx) /* the term at hand */
{
    struct hunt *h = ctx;
    if (h->likely < h->n && matches(h, h->likely)) {
        note(h, h->likely);
        return true;
    }
    for (size_t i = 0; i < h->n && h->f->logic.work > 0; i++)
        if (matches(h, i)) {
            note(h, i);
            return true;
        }
    return false; /* this term wins, or nobody can tell */
}

static bool show_term(void *ctx)
{
    struct hunt *h = ctx;
    h->any_term = true;
    return logic_covered(&h->f->logic, covers, h);
}

static bool tiered(const struct policy *p)
{
    return p->n_decisions && p->decisions[p->n_decisions - 1].tier > 0; /* sorted by tier */
}

/* How many decisions surely go before decision i when both match, whatever their confidence: they
 * are the first ones. */
static size_t surely_before(const struct policy *p, size_t i)
{
    const struct decision *d = p->decisions;
    size_t n = 0;
    if (tiered(p))
        while (n < i && d[n].tier < d[i].tier)
            n++;
    else if (!p->by_confidence)
        while (n < i && d[n].priority > d[i].priority)
            n++;
    return n;
}

static void report(struct facts *f, size_t i, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void report(struct facts *f, size_t i, const char *fmt, ...)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    char path[320];
    va_list args;
    va_start(args, fmt);
    buf_vaddf(&text, fmt, args);
    va_end(args);
    (void)snprintf(path, sizeof(path), "%s.decisions[%zu]", f->path, f->positions[i]);
    (void)node_problem(f->p, PROBLEM_warning, f->decisions[i], path, "%s",
                       text.p ? text.p : "no memory");
}

static void report_shadowed(struct facts *f, size_t i, const struct hunt *h)
{
    CLEANUP(buf_done) struct buf who = BUF_INIT(2048);
    const struct decision *d = f->policy->decisions;
    for (size_t k = 0; k < h->n_found && k < MAX_SHOWN; k++)
        buf_addf(&who, "%s'%.*s' (%s %" PRId64 ")", k == 0 ? "" : ", ",
                 STR_ARG(d[h->found[k]].name), tiered(f->policy) ? "tier" : "priority",
                 tiered(f->policy) ? (int64_t)d[h->found[k]].tier : d[h->found[k]].priority);
    if (h->n_found > MAX_SHOWN)
        buf_adds(&who, ", …");
    bool one = h->n_found == 1;
    report(f, i,
           "'%.*s' can never win: whenever it matches, %s%s matches too and goes before it; narrow "
           "%s, put '%.*s' before %s or remove it",
           STR_ARG(d[i].name), one ? "" : "one of ", who.p ? who.p : "", one ? "that one" : "those",
           STR_ARG(d[i].name), one ? "it" : "them");
}

/* Whether its whole search fits into the work that is left. */
static void check_one(struct facts *f, size_t i, uint64_t *left, bool *ret_unfinished)
{
    const struct decision *d = &f->policy->decisions[i];
    struct hunt h = { .f = f, .n = surely_before(f->policy, i), .likely = SIZE_MAX };
    static const struct formula always = { .op = FORMULA_and };
    bool open = d->on_unknown == ON_UNKNOWN_match; /* it matches where nothing is known, too */
    const struct formula *rules = open ? &always : f->formulas[i];
    uint64_t given = *left < WORK_OF_ONE ? *left : WORK_OF_ONE;
    if (!rules) {
        *ret_unfinished = true;
        return;
    }
    f->logic.work = given;
    enum terms_result r = logic_terms(&f->logic, &rules, 1, show_term, &h);
    if (f->logic.work == 0)
        *ret_unfinished = true;
    else if (r == TERMS_all && !h.any_term)
        report(
            f, i,
            "'%.*s' can never match: its conditions exclude each other; weaken them or remove it",
            STR_ARG(d->name));
    else if (r == TERMS_all)
        report_shadowed(f, i, &h);
    *left -= given - f->logic.work;
}

/* ---- equals ---- */

static bool show_any(void *ctx)
{
    *(bool *)ctx = true;
    return false;
}

static bool same_rank(const struct decision *a, const struct decision *b)
{
    return a->tier == b->tier && a->priority == b->priority;
}

/* A later decision of the same rank that can match together with decision i; SIZE_MAX: none. */
static size_t find_equal(struct facts *f, size_t i, size_t end, uint64_t *left)
{
    for (size_t k = i + 1; k < end && *left; k++) {
        const struct formula *both[] = { f->formulas[i], f->formulas[k] };
        uint64_t given = *left < WORK_OF_ONE ? *left : WORK_OF_ONE;
        bool together = false;
        if (!both[0] || !both[1])
            continue;
        f->logic.work = given;
        (void)logic_terms(&f->logic, both, 2, show_any, &together);
        *left -= given - f->logic.work;
        if (together)
            return k;
    }
    return SIZE_MAX;
}

/* One warning for the decisions from `first` up to `end`, which have the same rank. */
static void check_equals(struct facts *f, size_t first, size_t end, uint64_t *left)
{
    const struct decision *d = f->policy->decisions;
    size_t one = SIZE_MAX, other = SIZE_MAX, more = 0;
    for (size_t i = first; i + 1 < end && *left; i++) {
        size_t k = find_equal(f, i, end, left);
        if (k == SIZE_MAX)
            continue;
        more += one != SIZE_MAX;
        other = one == SIZE_MAX ? k : other;
        one = one == SIZE_MAX ? i : one;
    }
    if (one == SIZE_MAX)
        return;
    char others[64] = "";
    if (more)
        (void)snprintf(others, sizeof(others), " (and %zu more pairs of it)", more);
    report(f, one,
           "'%.*s' and '%.*s' have the same %s %" PRId64 " and can match together%s: the more "
           "confident one wins, else the name decides; give them different priorities",
           STR_ARG(d[one].name), STR_ARG(d[other].name),
           d[one].tier ? "tier and the same priority" : "priority", d[one].priority, others);
}

static void check_ranks(struct facts *f, uint64_t *left)
{
    const struct policy *p = f->policy;
    for (size_t i = 0, end; i < p->n_decisions && *left; i = end) {
        for (end = i + 1; end < p->n_decisions && same_rank(&p->decisions[i], &p->decisions[end]);)
            end++;
        check_equals(f, i, end, left);
    }
}

int lint_decisions(struct facts *f)
{
    const struct policy *p = f->policy;
    bool unfinished = false;
    uint64_t left = WORK;
    for (size_t i = 0; i < p->n_decisions && left; i++)
        check_one(f, i, &left, &unfinished);
    if (!p->by_confidence)
        check_ranks(f, &left);
    if ((left == 0 || unfinished) && p->n_decisions)
        (void)node_problem(
            f->p, PROBLEM_warning, f->decisions[0], f->path,
            "there are too many rules to compare all decisions with each other: some "
            "that can never win may go unnoticed");
    return 0;
}
