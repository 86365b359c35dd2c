/*
 * Rules with empty edges → automata without: byte classes, the subset construction, and merging of
 * equal nodes.
 *
 * Every rule is compiled as if it could not match the empty text: where a rule may be empty, its
 * callers have a way past the call. So a call always reads at least one byte, and left recursion is
 * visible as a circle of first calls. A rule whose subset construction grows too much stays
 * nondeterministic: states at run time are sets of nodes anyway.
 */
#include "engine/local/grammar/grammar_impl.h"

#include <errno.h>
#include <stdlib.h>

enum { GROWTH = 4, GROWTH_BASE = 256 }; /* nodes allowed: GROWTH × states + GROWTH_BASE */

/* A growing list of numbers. */
struct list {
    uint32_t *v, n, cap;
};

struct dfa {
    struct automaton *a;
    const struct nfa *n;
    int err;
    const char *bound;
    uint64_t work;
    uint32_t cap_nodes, cap_edges, cap_calls;
    uint32_t *seen; /* by NFA state: the round that saw it */
    uint32_t round;
    struct list stack, set;
    struct list sets;  /* members of all sets of the rule, one after the other */
    struct list at;    /* by local node: where its set begins; one more at the end */
    struct list index; /* hash of sets → local node + 1 */
    uint32_t base;     /* first node of the rule in a->nodes */
};

static bool list_add(struct dfa *d, struct list *l, uint32_t v)
{
    void *grown = grammar_grow(l->v, &l->cap, l->n, 1, sizeof(*l->v));
    if (!grown) {
        d->err = d->err ? d->err : -ENOMEM;
        return false;
    }
    l->v = grown;
    l->v[l->n++] = v;
    return true;
}

static bool spend(struct dfa *d, uint64_t steps)
{
    d->work += steps;
    if (d->work > GRAMMAR_MAX_WORK && !d->err) {
        d->err = FAILED;
        d->bound = "it takes too long to compile";
    }
    return !d->err;
}

/* --- byte classes --- */

static void find_classes(struct automaton *a, const struct nfa *n)
{
    bool begins[257] = { [0] = true };
    for (uint32_t i = 0; i < n->n_edges; i++)
        if (n->edges[i].kind == NFA_bytes) {
            begins[n->edges[i].first] = true;
            begins[n->edges[i].last + 1u] = true;
        }
    unsigned c = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        if (byte && begins[byte])
            c++;
        a->class_of[byte] = (uint8_t)c;
    }
    a->n_byte_classes = c + 1;
    a->n_classes = a->n_byte_classes + a->n_marks;
}

/* --- sets of states --- */

static bool is_end(const struct dfa *d, uint32_t rule, uint32_t state)
{
    return d->n->rules[rule].end == state;
}

/* Follows empty edges and calls of rules that may be empty, from what is on d->stack. What is left
 * in d->set: states with other edges, and the rule's end; sorted. */
static void close_set(struct dfa *d, uint32_t rule)
{
    d->set.n = 0;
    if (++d->round == 0) {
        memset(d->seen, 0, d->n->n_states * sizeof(*d->seen));
        d->round = 1;
    }
    while (d->stack.n) {
        uint32_t s = d->stack.v[--d->stack.n];
        if (d->seen[s] == d->round)
            continue;
        d->seen[s] = d->round;
        bool keep = is_end(d, rule, s);
        for (uint32_t i = d->n->heads[s]; i != GRAMMAR_NONE; i = d->n->edges[i].next) {
            const struct nfa_edge *e = &d->n->edges[i];
            keep |= e->kind != NFA_empty;
            if (e->kind == NFA_empty || (e->kind == NFA_call && d->n->rules[e->arg].nullable))
                if (!list_add(d, &d->stack, e->target))
                    return;
            d->work++;
        }
        if (keep && !list_add(d, &d->set, s))
            return;
    }
}

static int by_number(const void *x, const void *y)
{
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static uint32_t hash_list(const uint32_t *v, uint32_t n)
{
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ v[i]) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return (uint32_t)(h ^ (h >> 32));
}

static uint32_t local_nodes(const struct dfa *d)
{
    return d->at.n - 1;
}

static bool index_grow(struct dfa *d)
{
    if (d->index.n && local_nodes(d) * 2 < d->index.n)
        return true;
    uint32_t n = d->index.n ? d->index.n * 2 : 64;
    uint32_t *v = calloc(n, sizeof(*v));
    if (!v) {
        d->err = d->err ? d->err : -ENOMEM;
        return false;
    }
    for (uint32_t i = 0; i < local_nodes(d); i++) {
        uint32_t at = hash_list(d->sets.v + d->at.v[i], d->at.v[i + 1] - d->at.v[i]) & (n - 1);
        while (v[at])
            at = (at + 1) & (n - 1);
        v[at] = i + 1;
    }
    free(d->index.v);
    d->index = (struct list){ v, n, n };
    return true;
}

/* The local node of d->set, old or new; GRAMMAR_NONE for the empty set. */
static uint32_t intern_set(struct dfa *d)
{
    if (!d->set.n || d->err || !index_grow(d))
        return GRAMMAR_NONE;
    qsort(d->set.v, d->set.n, sizeof(*d->set.v), by_number);
    uint32_t mask = d->index.n - 1, at = hash_list(d->set.v, d->set.n) & mask;
    for (; d->index.v[at]; at = (at + 1) & mask) {
        uint32_t i = d->index.v[at] - 1, n = d->at.v[i + 1] - d->at.v[i];
        if (n == d->set.n && memcmp(d->sets.v + d->at.v[i], d->set.v, n * sizeof(uint32_t)) == 0)
            return i;
    }
    for (uint32_t i = 0; i < d->set.n; i++)
        if (!list_add(d, &d->sets, d->set.v[i]))
            return GRAMMAR_NONE;
    if (!list_add(d, &d->at, d->sets.n))
        return GRAMMAR_NONE;
    d->index.v[at] = local_nodes(d);
    return local_nodes(d) - 1;
}

/* --- nodes --- */

static struct node *add_node(struct dfa *d)
{
    struct automaton *a = d->a;
    void *nodes = grammar_grow(a->nodes, &d->cap_nodes, a->n_nodes, 1, sizeof(*a->nodes));
    if (!nodes) {
        d->err = d->err ? d->err : -ENOMEM;
        return NULL;
    }
    a->nodes = nodes;
    if (a->n_nodes >= GRAMMAR_MAX_STATES && !d->err) {
        d->err = FAILED;
        d->bound = "it is too large";
    }
    struct node *node = &a->nodes[a->n_nodes++];
    *node = (struct node){ .edges = a->n_edges, .calls = a->n_calls, .counter = GRAMMAR_NONE };
    return node;
}

static void add_edge(struct dfa *d, uint32_t first, uint32_t last, uint32_t target)
{
    struct automaton *a = d->a;
    struct node *node = &a->nodes[a->n_nodes - 1];
    if (node->n_edges) { /* a run goes on */
        struct edge *e = &a->edges[a->n_edges - 1];
        if (e->target == target && e->last + 1u == first && first < a->n_byte_classes) {
            e->last = (uint16_t)last;
            return;
        }
    }
    void *edges = grammar_grow(a->edges, &d->cap_edges, a->n_edges, 1, sizeof(*a->edges));
    if (!edges) {
        d->err = d->err ? d->err : -ENOMEM;
        return;
    }
    a->edges = edges;
    if (a->n_edges >= GRAMMAR_MAX_EDGES && !d->err) {
        d->err = FAILED;
        d->bound = "it is too large";
        return;
    }
    a->edges[a->n_edges++] =
        (struct edge){ .first = (uint16_t)first, .last = (uint16_t)last, .target = target };
    node->n_edges++;
}

static void add_call(struct dfa *d, uint32_t rule, uint32_t target)
{
    struct automaton *a = d->a;
    void *calls = grammar_grow(a->calls, &d->cap_calls, a->n_calls, 1, sizeof(*a->calls));
    if (!calls) {
        d->err = d->err ? d->err : -ENOMEM;
        return;
    }
    a->calls = calls;
    a->calls[a->n_calls++] = (struct call){ rule, target };
    a->nodes[a->n_nodes - 1].n_calls++;
}

/* Where the states on d->stack lead: a node of the automaton, or none. */
static uint32_t target_node(struct dfa *d, uint32_t rule)
{
    close_set(d, rule);
    uint32_t i = intern_set(d);
    return i == GRAMMAR_NONE ? i : d->base + i;
}

/* An edge that leaves the set under work: its classes, and where it goes. */
struct move {
    uint32_t first, last, target;
};

/* Edges over classes: cut at every border of one, the targets of each piece made a set. */
static void add_moves(struct dfa *d, uint32_t rule, const struct move *moves, uint32_t n)
{
    bool begins[256 + 1] = { false };
    for (uint32_t i = 0; i < n; i++) {
        begins[moves[i].first] = true;
        begins[moves[i].last + 1] = true;
    }
    for (uint32_t c = 0; c < d->a->n_byte_classes && !d->err;) {
        uint32_t end = c + 1;
        while (end < d->a->n_byte_classes && !begins[end])
            end++;
        for (uint32_t i = 0; i < n; i++)
            if (moves[i].first <= c && moves[i].last >= c)
                (void)list_add(d, &d->stack, moves[i].target);
        (void)spend(d, n);
        if (d->stack.n) {
            uint32_t to = target_node(d, rule);
            if (to != GRAMMAR_NONE)
                add_edge(d, c, end - 1, to);
        }
        c = end;
    }
}

static int by_kind(const void *x, const void *y)
{
    const struct nfa_edge *a = x, *b = y;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return a->arg < b->arg ? -1 : a->arg > b->arg;
}

/* Marks and calls: the targets of each of them made a set. `e` is sorted. */
static void add_symbols(struct dfa *d, uint32_t rule, const struct nfa_edge *e, uint32_t n,
                        enum nfa_kind kind)
{
    for (uint32_t i = 0; i < n && !d->err;) {
        uint32_t arg = e[i].arg, from = i;
        for (; i < n && e[i].kind == e[from].kind && e[i].arg == arg; i++)
            if (e[i].kind == kind)
                (void)list_add(d, &d->stack, e[i].target);
        if (!d->stack.n)
            continue;
        uint32_t to = target_node(d, rule), c = d->a->n_byte_classes + arg;
        if (to != GRAMMAR_NONE && kind == NFA_mark)
            add_edge(d, c, c, to);
        else if (to != GRAMMAR_NONE)
            add_call(d, arg, to);
    }
}

/* All edges that leave local node i, apart from empty ones: bytes first. */
static struct nfa_edge *edges_of(struct dfa *d, uint32_t i, uint32_t *ret_n)
{
    struct nfa_edge *all = NULL;
    uint32_t n = 0, cap = 0;
    for (uint32_t k = d->at.v[i]; k < d->at.v[i + 1]; k++)
        for (uint32_t e = d->n->heads[d->sets.v[k]]; e != GRAMMAR_NONE; e = d->n->edges[e].next) {
            if (d->n->edges[e].kind == NFA_empty)
                continue;
            void *grown = grammar_grow(all, &cap, n, 1, sizeof(*all));
            if (!grown) {
                d->err = -ENOMEM;
                free(all);
                return NULL;
            }
            all = grown;
            all[n++] = d->n->edges[e];
        }
    if (n)
        qsort(all, n, sizeof(*all), by_kind);
    *ret_n = n;
    return all;
}

static void expand(struct dfa *d, uint32_t rule, uint32_t i)
{
    uint32_t n = 0, n_bytes = 0;
    CLEANUP(own_free) struct nfa_edge *all = edges_of(d, i, &n);
    struct node *node = d->err ? NULL : add_node(d);
    if (!node)
        return;
    for (uint32_t k = d->at.v[i]; k < d->at.v[i + 1]; k++)
        node->final |= is_end(d, rule, d->sets.v[k]);
    while (n_bytes < n && all[n_bytes].kind == NFA_bytes)
        n_bytes++;
    CLEANUP(own_free) struct move *moves = malloc((n_bytes + 1) * sizeof(*moves));
    if (!moves) {
        d->err = -ENOMEM;
        return;
    }
    for (uint32_t k = 0; k < n_bytes; k++)
        moves[k] = (struct move){ d->a->class_of[all[k].first], d->a->class_of[all[k].last],
                                  all[k].target };
    if (n_bytes)
        add_moves(d, rule, moves, n_bytes);
    add_symbols(d, rule, all + n_bytes, n - n_bytes, NFA_mark);
    add_symbols(d, rule, all + n_bytes, n - n_bytes, NFA_call);
}

/* Begins a rule: its first set, and a node of its own for it where the rule may be empty. */
static void begin_rule(struct dfa *d, uint32_t rule)
{
    d->sets.n = d->at.n = 0;
    free(d->index.v);
    d->index = (struct list){ 0 };
    d->base = d->a->n_nodes;
    (void)list_add(d, &d->at, 0);
    (void)list_add(d, &d->stack, d->n->rules[rule].start);
    (void)target_node(d, rule);
}

/* False: it grew too much, and nothing was added. */
static bool determinise(struct dfa *d, uint32_t rule)
{
    const struct nfa_rule *r = &d->n->rules[rule];
    uint32_t most = GROWTH * (r->last_state - r->first_state) + GROWTH_BASE;
    uint32_t edges = d->a->n_edges, calls = d->a->n_calls;
    begin_rule(d, rule);
    for (uint32_t i = 0; i < local_nodes(d) && !d->err; i++) {
        if (local_nodes(d) > most || d->sets.n > GROWTH * most) {
            d->a->n_nodes = d->base;
            d->a->n_edges = edges;
            d->a->n_calls = calls;
            return false;
        }
        expand(d, rule, i);
    }
    return true;
}

/* One edge of a rule that stays nondeterministic, to each state that it reaches. */
static void spread_edge(struct dfa *d, uint32_t rule, const struct nfa_edge *e,
                        const uint32_t *node_of)
{
    (void)list_add(d, &d->stack, e->target);
    close_set(d, rule);
    for (uint32_t i = 0; i < d->set.n && !d->err; i++) {
        uint32_t to = node_of[d->set.v[i] - d->n->rules[rule].first_state];
        if (e->kind == NFA_bytes)
            add_edge(d, d->a->class_of[e->first], d->a->class_of[e->last], to);
        else if (e->kind == NFA_mark)
            add_edge(d, d->a->n_byte_classes + e->arg, d->a->n_byte_classes + e->arg, to);
        else
            add_call(d, e->arg, to);
    }
    (void)spend(d, d->set.n);
}

/* A node a state, and one for the start. */
static void keep_apart(struct dfa *d, uint32_t rule)
{
    const struct nfa_rule *r = &d->n->rules[rule];
    uint32_t n = r->last_state - r->first_state;
    CLEANUP(own_free) uint32_t *node_of = malloc((n + 1ull) * sizeof(*node_of));
    if (!node_of) {
        d->err = -ENOMEM;
        return;
    }
    d->base = d->a->n_nodes;
    for (uint32_t s = 0; s < n; s++)
        node_of[s] = d->base + 1 + s;
    (void)list_add(d, &d->stack, r->start);
    close_set(d, rule);
    struct list first = d->set;
    d->set = (struct list){ 0 };
    for (uint32_t s = 0; s <= n && !d->err; s++) {
        struct node *node = add_node(d);
        const uint32_t one = r->first_state + s - 1, *from = s ? &one : first.v;
        for (uint32_t k = 0; node && k < (s ? 1 : first.n) && !d->err; k++) {
            d->a->nodes[d->base + s].final |= is_end(d, rule, from[k]);
            for (uint32_t e = d->n->heads[from[k]]; e != GRAMMAR_NONE; e = d->n->edges[e].next)
                if (d->n->edges[e].kind != NFA_empty)
                    spread_edge(d, rule, &d->n->edges[e], node_of);
        }
    }
    free(first.v);
}

/* The start's node, never the end: calls read something. Others may lead back to the first node, so
 * it is copied where it ends. */
static uint32_t start_node(struct dfa *d)
{
    if (d->base == d->a->n_nodes)
        (void)add_node(d); /* matches nothing */
    if (d->err || !d->a->nodes[d->base].final)
        return d->base;
    struct node copy = d->a->nodes[d->base];
    struct node *node = add_node(d);
    if (!node)
        return d->base;
    copy.final = false;
    *node = copy; /* shares the edges */
    return d->a->n_nodes - 1;
}

/* --- rules that may be empty --- */

static bool reaches_end(struct dfa *d, uint32_t rule)
{
    (void)list_add(d, &d->stack, d->n->rules[rule].start);
    close_set(d, rule);
    for (uint32_t i = 0; i < d->set.n; i++)
        if (is_end(d, rule, d->set.v[i]))
            return true;
    return false;
}

static void find_nullable(struct dfa *d, struct nfa *n)
{
    for (bool changed = true; changed && spend(d, n->n_rules);) {
        changed = false;
        for (uint32_t r = n->n_rules; r-- > 0 && !d->err;) { /* what is called mostly comes later */
            if (n->rules[r].nullable)
                continue;
            if (n->rules[r].body == GRAMMAR_NONE)
                n->rules[r].nullable = reaches_end(d, r);
            else
                n->rules[r].nullable = n->rules[r].min == 0 || n->rules[n->rules[r].body].nullable;
            changed |= n->rules[r].nullable;
        }
    }
}

/* --- all rules --- */

static void add_counter(struct dfa *d, uint32_t rule)
{
    const struct nfa_rule *r = &d->n->rules[rule];
    struct node *node = add_node(d);
    if (!node)
        return;
    node->counter = d->a->n_counters;
    d->a->counters[d->a->n_counters++] =
        (struct counter){ r->body, d->n->rules[r->body].nullable ? 0 : r->min, r->max };
}

static void build_all(struct dfa *d)
{
    (void)add_node(d); /* the end of the text */
    for (uint32_t r = 0; r < d->n->n_rules && !d->err; r++) {
        if (d->n->rules[r].body != GRAMMAR_NONE) {
            d->a->rules[r].start = d->a->n_nodes;
            add_counter(d, r);
            continue;
        }
        if (!determinise(d, r))
            keep_apart(d, r);
        if (!d->err)
            d->a->rules[r].start = start_node(d);
    }
}

int dfa_build(struct automaton *a, struct nfa *n, const char **ret_bound)
{
    struct dfa d = { .a = a, .n = n };
    find_classes(a, n);
    a->n_rules = n->n_rules;
    a->rules = calloc(n->n_rules, sizeof(*a->rules));
    a->counters = calloc(n->n_rules, sizeof(*a->counters));
    d.seen = calloc(n->n_states + 1ull, sizeof(*d.seen));
    if (!a->rules || !a->counters || !d.seen)
        d.err = -ENOMEM;
    if (!d.err)
        find_nullable(&d, n);
    if (!d.err)
        build_all(&d);
    a->root = 0;
    a->empty = !d.err && n->rules[0].nullable;
    free(d.seen);
    free(d.stack.v);
    free(d.set.v);
    free(d.sets.v);
    free(d.at.v);
    free(d.index.v);
    *ret_bound = d.bound;
    return d.err;
}
