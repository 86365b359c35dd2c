/*
 * Expressions → rules, each a small automaton with empty edges (Thompson's construction).
 *
 * What stands in several places becomes a rule of its own, so that its masks are computed once;
 * small rules without others inside are built in place, so that fewer borders remain. Long bounded
 * repetitions become counted loops.
 */
#include "engine/local/grammar/grammar_impl.h"

#include <errno.h>
#include <stdlib.h>

enum {
    INLINE_RULE = 24,   /* states of a rule that is built in place */
    SHARED_EXPR = 12,   /* states from which a second use makes a rule */
    SHARED_CLASS = 100, /* the same for one class of characters */
};

static void too_much(struct nfa *n, const char *what)
{
    if (!n->err) {
        n->err = FAILED;
        n->bound = what;
    }
}

uint32_t nfa_state(struct nfa *n)
{
    void *heads = grammar_grow(n->heads, &n->cap_states, n->n_states, 1, sizeof(*n->heads));
    if (!heads) {
        n->err = n->err ? n->err : -ENOMEM;
        return 0;
    }
    n->heads = heads;
    if (n->n_states >= GRAMMAR_MAX_STATES) {
        too_much(n, "it is too large");
        return 0;
    }
    n->heads[n->n_states] = GRAMMAR_NONE;
    return n->n_states++;
}

void nfa_edge_add(struct nfa *n, uint32_t from, const struct nfa_edge *e)
{
    void *edges = grammar_grow(n->edges, &n->cap_edges, n->n_edges, 1, sizeof(*n->edges));
    if (!edges)
        n->err = n->err ? n->err : -ENOMEM;
    else
        n->edges = edges;
    if (n->n_edges >= GRAMMAR_MAX_EDGES)
        too_much(n, "it is too large");
    if (n->err)
        return;
    n->edges[n->n_edges] = *e;
    n->edges[n->n_edges].next = n->heads[from];
    n->heads[from] = n->n_edges++;
}

static void empty_edge(struct nfa *n, uint32_t from, uint32_t to)
{
    nfa_edge_add(n, from, &(struct nfa_edge){ .target = to, .kind = NFA_empty });
}

static uint32_t new_rule(struct nfa *n, uint32_t expr)
{
    void *rules = grammar_grow(n->rules, &n->cap_rules, n->n_rules, 1, sizeof(*n->rules));
    if (!rules) {
        n->err = n->err ? n->err : -ENOMEM;
        return 0;
    }
    n->rules = rules;
    n->rules[n->n_rules] = (struct nfa_rule){
        .expr = expr, .start = GRAMMAR_NONE, .end = GRAMMAR_NONE, .body = GRAMMAR_NONE
    };
    return n->n_rules++;
}

/* The rule of an expression, made on first use. */
static uint32_t rule_of(struct nfa *n, uint32_t expr)
{
    if (n->rule_of[expr] == GRAMMAR_NONE)
        n->rule_of[expr] = new_rule(n, expr);
    return n->rule_of[expr];
}

static bool is_counted(const struct nfa *n, uint32_t expr)
{
    const struct expr *e = &n->b->exprs[expr];
    return e->kind == EXPR_repeat && expr_is_counted(e, n->b->exprs[e->a].size);
}

static bool is_rule(const struct nfa *n, uint32_t expr)
{
    const struct expr *e = &n->b->exprs[expr];
    if (e->kind == EXPR_rule) {
        uint32_t body = n->b->bodies[e->a];
        const struct expr *t = &n->b->exprs[body];
        return t->has_rule || t->size > INLINE_RULE || is_counted(n, body);
    }
    if (is_counted(n, expr))
        return true;
    uint32_t least = e->kind == EXPR_class ? SHARED_CLASS : SHARED_EXPR;
    return n->shared[expr] > 1 && e->size > least && e->kind != EXPR_bytes;
}

static void build(struct nfa *n, uint32_t expr, uint32_t from, uint32_t to);

/* min to max copies in a row, or a loop behind min − 1 of them. */
static void build_repeat(struct nfa *n, const struct expr *e, uint32_t from, uint32_t to)
{
    bool loop = e->c == GRAMMAR_MANY;
    uint32_t copies = loop ? e->b : e->c, at = from;
    for (uint32_t i = 0; i < copies && !n->err; i++) {
        if (i >= e->b)
            empty_edge(n, at, to);
        bool last = loop && i + 1 == copies;
        uint32_t head = at, next = nfa_state(n);
        if (last) { /* comes back here */
            head = nfa_state(n);
            empty_edge(n, at, head);
            empty_edge(n, next, head);
        }
        build(n, e->a, head, next);
        at = next;
    }
    if (loop && copies == 0) {
        uint32_t head = nfa_state(n);
        empty_edge(n, at, head);
        build(n, e->a, head, head);
        at = head;
    }
    empty_edge(n, at, to);
}

static void build_bytes(struct nfa *n, struct str text, uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < text.n && !n->err; i++) {
        uint32_t next = i + 1 == text.n ? to : nfa_state(n);
        nfa_edge_add(n, from,
                     &(struct nfa_edge){ .target = next,
                                         .kind = NFA_bytes,
                                         .first = (uint8_t)text.p[i],
                                         .last = (uint8_t)text.p[i] });
        from = next;
    }
}

/* The same, whatever rule the expression may be itself. Nesting is bounded by the builder. */
static void build_inside(struct nfa *n, uint32_t expr, uint32_t from, uint32_t to)
{
    const struct expr *e = &n->b->exprs[expr];
    switch (e->kind) {
    case EXPR_empty:
        empty_edge(n, from, to);
        break;
    case EXPR_bytes:
        build_bytes(n, (struct str){ n->b->bytes + e->a, e->b }, from, to);
        break;
    case EXPR_class:
        nfa_add_class(n, n->b->ranges + e->a, e->b, from, to);
        break;
    case EXPR_seq:
        for (uint32_t i = 0; i < e->b && !n->err; i++) {
            uint32_t next = i + 1 == e->b ? to : nfa_state(n);
            build(n, n->b->parts[e->a + i], from, next);
            from = next;
        }
        break;
    case EXPR_alt:
        for (uint32_t i = 0; i < e->b && !n->err; i++)
            build(n, n->b->parts[e->a + i], from, to);
        break;
    case EXPR_repeat:
        build_repeat(n, e, from, to);
        break;
    case EXPR_without:
        nfa_add_without(n, e, from, to);
        break;
    case EXPR_mark:
        nfa_edge_add(n, from, &(struct nfa_edge){ .target = to, .kind = NFA_mark, .arg = e->a });
        break;
    case EXPR_rule:
        build(n, n->b->bodies[e->a], from, to);
        break;
    default: /* never: no way */
        break;
    }
}

static void build(struct nfa *n, uint32_t expr, uint32_t from, uint32_t to)
{
    if (n->err)
        return;
    if (!is_rule(n, expr)) {
        build_inside(n, expr, from, to);
        return;
    }
    uint32_t rule = rule_of(n, expr);
    nfa_edge_add(n, from, &(struct nfa_edge){ .target = to, .kind = NFA_call, .arg = rule });
}

/* Notes a use; true the first time. */
static bool use(struct nfa *n, uint32_t expr, bool twice)
{
    bool first = n->shared[expr] == 0;
    n->shared[expr] = (uint8_t)(twice || !first ? 2 : 1);
    return first;
}

/* Counts uses of all expressions below the root. Fills n->shared; checks that rules are defined. */
static void count_uses(struct nfa *n, uint32_t root)
{
    const struct grammar_builder *b = n->b;
    CLEANUP(own_free) uint32_t *todo = calloc(b->n_exprs, sizeof(*todo));
    if (!todo) {
        n->err = -ENOMEM;
        return;
    }
    uint32_t n_todo = 0;
    (void)use(n, root, false);
    todo[n_todo++] = root;
    while (n_todo) {
        const struct expr *e = &b->exprs[todo[--n_todo]];
        const uint32_t *parts = NULL;
        uint32_t n_parts = 0;
        bool twice = false;
        if (e->kind == EXPR_seq || e->kind == EXPR_alt) {
            parts = b->parts + e->a;
            n_parts = e->b;
        } else if (e->kind == EXPR_repeat) {
            parts = &e->a;
            n_parts = 1;
            twice = e->b > 1 || (e->c > 1 && e->c != GRAMMAR_MANY); /* copies */
        } else if (e->kind == EXPR_rule) {
            parts = &b->bodies[e->a];
            n_parts = 1;
            if (*parts == GRAMMAR_NONE) {
                too_much(n, "a rule is used but never defined");
                return;
            }
        }
        for (uint32_t i = 0; i < n_parts; i++)
            if (use(n, parts[i], twice))
                todo[n_todo++] = parts[i];
    }
}

static void build_rule(struct nfa *n, uint32_t r)
{
    uint32_t expr = n->rules[r].expr;
    const struct expr *e = &n->b->exprs[expr];
    while (e->kind == EXPR_rule && is_counted(n, n->b->bodies[e->a])) {
        expr = n->b->bodies[e->a]; /* a rule that is nothing but a counted loop */
        e = &n->b->exprs[expr];
    }
    n->rules[r].first_state = n->n_states;
    if (is_counted(n, expr)) {
        uint32_t body = rule_of(n, e->a);
        n->rules[r].body = body;
        n->rules[r].min = e->b;
        n->rules[r].max = e->c;
    } else {
        uint32_t start = nfa_state(n), end = nfa_state(n);
        n->rules[r].start = start;
        n->rules[r].end = end;
        build_inside(n, expr, start, end);
    }
    n->rules[r].last_state = n->n_states;
}

void nfa_build(struct nfa *n, const struct grammar_builder *b, uint32_t root)
{
    *n = (struct nfa){ .b = b };
    n->rule_of = malloc(b->n_exprs * sizeof(*n->rule_of));
    n->shared = calloc(b->n_exprs, sizeof(*n->shared));
    if (!n->rule_of || !n->shared) {
        n->err = -ENOMEM;
        return;
    }
    memset(n->rule_of, 0xff, b->n_exprs * sizeof(*n->rule_of));
    count_uses(n, root);
    if (n->err)
        return;
    (void)rule_of(n, root);
    for (uint32_t r = 0; r < n->n_rules && !n->err; r++)
        build_rule(n, r);
}

void nfa_done(struct nfa *n)
{
    free(n->heads);
    free(n->edges);
    free(n->rules);
    free(n->rule_of);
    free(n->shared);
}
