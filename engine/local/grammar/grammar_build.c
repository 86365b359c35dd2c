/*
 * From the raw automaton to one that is safe to follow: every node can reach the end of its rule
 * within a known depth, nothing else is left, and rules are ordered by who may call whom first.
 */
#include "engine/local/grammar/grammar_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/local/grammar/constraint_impl.h"

/* --- which nodes can reach the end, and how many rules must open for it --- */

enum { DEPTH_NONE = UINT16_MAX };

/* Who waits for a node or a rule, as linked lists in arrays. */
struct waits {
    uint32_t *head; /* by node, then by rule */
    uint32_t *next, *node;
    uint32_t n;
};

struct reach {
    struct automaton *a;
    uint32_t *todo, n_todo; /* nodes of this depth */
    uint32_t *done, n_done; /* rules of this depth */
    uint32_t *rule_at;      /* by node: the rule that starts there + 1 */
    uint16_t *rule_depth;
    struct waits waits; /* a node waits for its edges' targets */
};

static void found(struct reach *r, uint32_t node, uint16_t depth)
{
    if (r->a->nodes[node].depth != DEPTH_NONE)
        return;
    r->a->nodes[node].depth = depth;
    r->todo[r->n_todo++] = node;
}

static void wait_for(struct waits *w, uint32_t what, uint32_t node)
{
    w->node[w->n] = node;
    w->next[w->n] = w->head[what];
    w->head[what] = w->n++;
}

/* A node behind a call needs both the rule and the call's target. */
static bool call_works(const struct reach *r, const struct call *c, uint16_t depth)
{
    uint16_t rule = r->rule_depth[c->rule], target = r->a->nodes[c->target].depth;
    return rule != DEPTH_NONE && rule < depth && target != DEPTH_NONE && target <= depth;
}

/* Whether `node` ends within `depth`, by any of its ways. */
static bool ends_within(const struct reach *r, uint32_t node, uint16_t depth)
{
    const struct automaton *a = r->a;
    const struct node *n = &a->nodes[node];
    if (n->final)
        return true;
    if (n->counter != GRAMMAR_NONE) {
        const struct counter *c = &a->counters[n->counter];
        return r->rule_depth[c->rule] != DEPTH_NONE && r->rule_depth[c->rule] < depth;
    }
    for (uint32_t i = 0; i < n->n_edges; i++)
        if (a->nodes[a->edges[n->edges + i].target].depth <= depth)
            return true;
    for (uint32_t i = 0; i < n->n_calls; i++)
        if (call_works(r, &a->calls[n->calls + i], depth))
            return true;
    return false;
}

static int reach_init(struct reach *r, struct automaton *a)
{
    size_t links = a->n_edges + 2ull * a->n_calls + a->n_counters + a->n_nodes;
    for (uint32_t i = 0; i < a->n_nodes; i++) /* copies of starts share edges */
        links += a->nodes[i].n_edges + 2ull * a->nodes[i].n_calls;
    *r = (struct reach){ .a = a };
    r->todo = malloc((a->n_nodes + 1ull) * sizeof(uint32_t));
    r->done = malloc((a->n_rules + 1ull) * sizeof(uint32_t));
    r->rule_at = calloc(a->n_nodes + 1ull, sizeof(uint32_t));
    r->rule_depth = malloc(a->n_rules * sizeof(uint16_t));
    r->waits.head = malloc((a->n_nodes + (size_t)a->n_rules) * sizeof(uint32_t));
    r->waits.next = malloc(links * sizeof(uint32_t));
    r->waits.node = malloc(links * sizeof(uint32_t));
    if (!r->todo || !r->done || !r->rule_at || !r->rule_depth || !r->waits.head || !r->waits.next ||
        !r->waits.node)
        return -ENOMEM;
    memset(r->rule_depth, 0xff, a->n_rules * sizeof(uint16_t));
    memset(r->waits.head, 0xff, (a->n_nodes + (size_t)a->n_rules) * sizeof(uint32_t));
    for (uint32_t i = 0; i < a->n_rules; i++)
        r->rule_at[a->rules[i].start] = i + 1;
    for (uint32_t i = 0; i < a->n_nodes; i++) {
        const struct node *n = &a->nodes[i];
        for (uint32_t k = 0; k < n->n_edges; k++)
            wait_for(&r->waits, a->edges[n->edges + k].target, i);
        for (uint32_t k = 0; k < n->n_calls; k++) {
            wait_for(&r->waits, a->calls[n->calls + k].target, i);
            wait_for(&r->waits, a->n_nodes + a->calls[n->calls + k].rule, i);
        }
        if (n->counter != GRAMMAR_NONE)
            wait_for(&r->waits, a->n_nodes + a->counters[n->counter].rule, i);
    }
    return 0;
}

static void reach_done(struct reach *r)
{
    free(r->todo);
    free(r->done);
    free(r->rule_at);
    free(r->rule_depth);
    free(r->waits.head);
    free(r->waits.next);
    free(r->waits.node);
}

/* Those that wait for `what` and end within `depth` now. */
static void wake(struct reach *r, uint32_t what, uint16_t depth)
{
    for (uint32_t w = r->waits.head[what]; w != GRAMMAR_NONE; w = r->waits.next[w])
        if (ends_within(r, r->waits.node[w], depth))
            found(r, r->waits.node[w], depth);
}

/* Fills in node depths by rounds: round d finds what ends with at most d rules open. */
static void find_depths(struct reach *r)
{
    struct automaton *a = r->a;
    for (uint32_t i = 0; i < a->n_nodes; i++)
        a->nodes[i].depth = DEPTH_NONE;
    for (uint32_t i = 0; i < a->n_nodes; i++)
        if (i == 0 || a->nodes[i].final)
            found(r, i, 0);
    for (uint16_t depth = 0; r->n_todo && depth < GRAMMAR_MAX_DEPTH; depth++) {
        r->n_done = 0;
        while (r->n_todo) {
            uint32_t i = r->todo[--r->n_todo], rule = r->rule_at[i];
            wake(r, i, depth);
            if (!rule)
                continue;
            r->rule_depth[rule - 1] = depth;
            r->done[r->n_done++] = rule - 1;
        }
        for (uint32_t i = 0; i < r->n_done; i++)
            wake(r, a->n_nodes + r->done[i], (uint16_t)(depth + 1));
    }
}

/* --- leaving out what leads nowhere --- */

/* Nodes renumbered in the order in which they are reached; the arrays are made anew. */
struct packer {
    struct automaton *a;
    const uint16_t *rule_depth;
    struct node *nodes;
    struct edge *edges;
    struct call *calls;
    uint32_t n_edges, n_calls;
    uint32_t *number; /* by old node: the new one + 1 */
    uint32_t *old;    /* by new node */
    uint32_t n_nodes;
    bool *rule_seen;
    uint32_t *rules, n_rules; /* that are still to be entered */
};

static uint32_t number_of(struct packer *p, uint32_t old)
{
    if (!p->number[old]) {
        p->old[p->n_nodes] = old;
        p->number[old] = ++p->n_nodes;
    }
    return p->number[old] - 1;
}

static void need_rule(struct packer *p, uint32_t rule)
{
    if (p->rule_seen[rule])
        return;
    p->rule_seen[rule] = true;
    p->rules[p->n_rules++] = rule;
}

static void pack_node(struct packer *p, uint32_t i)
{
    const struct automaton *a = p->a;
    struct node n = a->nodes[p->old[i]];
    uint32_t edges = p->n_edges, calls = p->n_calls;
    for (uint32_t k = 0; k < n.n_edges; k++) {
        struct edge e = a->edges[n.edges + k];
        if (a->nodes[e.target].depth == DEPTH_NONE)
            continue;
        e.target = number_of(p, e.target);
        p->edges[p->n_edges++] = e;
    }
    for (uint32_t k = 0; k < n.n_calls; k++) {
        struct call c = a->calls[n.calls + k];
        if (a->nodes[c.target].depth == DEPTH_NONE || p->rule_depth[c.rule] == DEPTH_NONE)
            continue;
        c.target = number_of(p, c.target);
        need_rule(p, c.rule);
        p->calls[p->n_calls++] = c;
    }
    if (n.counter != GRAMMAR_NONE)
        need_rule(p, a->counters[n.counter].rule);
    n.edges = edges;
    n.n_edges = p->n_edges - edges;
    n.calls = calls;
    n.n_calls = p->n_calls - calls;
    p->nodes[i] = n;
    if (n.depth > p->a->deepest)
        p->a->deepest = n.depth;
}

static int pack(struct automaton *a, const uint16_t *rule_depth)
{
    size_t n_edges = 1, n_calls = 1;
    assert(a->n_nodes > 0 && a->n_rules > 0);
    for (uint32_t i = 0; i < a->n_nodes; i++) {
        n_edges += a->nodes[i].n_edges;
        n_calls += a->nodes[i].n_calls;
    }
    CLEANUP(own_free) uint32_t *number = calloc(a->n_nodes, sizeof(*number));
    CLEANUP(own_free) uint32_t *old = calloc(a->n_nodes, sizeof(*old));
    CLEANUP(own_free) uint32_t *rules = calloc(a->n_rules, sizeof(*rules));
    CLEANUP(own_free) bool *rule_seen = calloc(a->n_rules, sizeof(*rule_seen));
    struct packer p = { .a = a,
                        .rule_depth = rule_depth,
                        .number = number,
                        .old = old,
                        .rule_seen = rule_seen,
                        .rules = rules };
    p.nodes = malloc(a->n_nodes * sizeof(*p.nodes));
    p.edges = malloc(n_edges * sizeof(*p.edges));
    p.calls = malloc(n_calls * sizeof(*p.calls));
    if (!number || !old || !rules || !rule_seen || !p.nodes || !p.edges || !p.calls) {
        free(p.nodes);
        free(p.edges);
        free(p.calls);
        return -ENOMEM;
    }
    (void)number_of(&p, 0);
    need_rule(&p, a->root);
    for (uint32_t i = 0; i < p.n_nodes || p.n_rules;) {
        if (i < p.n_nodes) {
            pack_node(&p, i++);
        } else {
            uint32_t rule = p.rules[--p.n_rules];
            a->rules[rule].start = number_of(&p, a->rules[rule].start);
        }
    }
    for (uint32_t i = 0; i < a->n_rules; i++)
        if (!rule_seen[i])
            a->rules[i].start = 0;
    free(a->nodes);
    free(a->edges);
    free(a->calls);
    a->nodes = p.nodes;
    a->edges = p.edges;
    a->calls = p.calls;
    a->n_nodes = p.n_nodes;
    a->n_edges = p.n_edges;
    a->n_calls = p.n_calls;
    return 0;
}

/* --- who calls whom first --- */

/* The i-th rule that may be called before anything is read, or GRAMMAR_NONE. */
static uint32_t first_call(const struct automaton *a, uint32_t rule, uint32_t i)
{
    const struct node *n = &a->nodes[a->rules[rule].start];
    if (a->rules[rule].start == 0)
        return GRAMMAR_NONE;
    if (n->counter != GRAMMAR_NONE)
        return i == 0 ? a->counters[n->counter].rule : GRAMMAR_NONE;
    return i < n->n_calls ? a->calls[n->calls + i].rule : GRAMMAR_NONE;
}

/* Orders the rules, callers first. False: some rule begins with itself. Depth first. */
static bool rank_rules(struct automaton *a, uint32_t *stack, uint32_t *at)
{
    enum { NEW = 0, OPEN = 1, DONE = 2 };
    uint32_t rank = a->n_rules;
    for (uint32_t r = 0; r < a->n_rules; r++)
        a->rules[r].rank = NEW;
    for (uint32_t r = 0; r < a->n_rules; r++) {
        uint32_t n = 0;
        if (a->rules[r].rank != NEW)
            continue;
        a->rules[r].rank = OPEN;
        at[r] = 0;
        stack[n++] = r;
        while (n) {
            uint32_t top = stack[n - 1], next = first_call(a, top, at[top]++);
            if (next == GRAMMAR_NONE) {
                a->rules[top].rank = DONE;
                a->by_rank[--rank] = top;
                n--;
            } else if (a->rules[next].rank == OPEN) {
                return false;
            } else if (a->rules[next].rank == NEW) {
                a->rules[next].rank = OPEN;
                at[next] = 0;
                stack[n++] = next;
            }
        }
    }
    for (uint32_t i = 0; i < a->n_rules; i++)
        a->rules[a->by_rank[i]].rank = i;
    return true;
}

/* First classes, callees before callers. */
static void find_first(struct automaton *a)
{
    for (uint32_t i = a->n_rules; i-- > 0;) {
        struct rule *r = &a->rules[a->by_rank[i]];
        const struct node *n = &a->nodes[r->start];
        for (uint32_t k = 0; k < n->n_edges; k++)
            for (unsigned c = a->edges[n->edges + k].first; c <= a->edges[n->edges + k].last; c++)
                r->first[c / 64] |= 1ull << (c % 64);
        for (uint32_t k = 0, next; (next = first_call(a, a->by_rank[i], k)) != GRAMMAR_NONE; k++)
            for (unsigned w = 0; w < CLASS_WORDS; w++)
                r->first[w] |= a->rules[next].first[w];
    }
}

static int order(struct automaton *a, const char **ret_bound)
{
    CLEANUP(own_free) uint32_t *stack = malloc(a->n_rules * sizeof(*stack));
    CLEANUP(own_free) uint32_t *at = malloc(a->n_rules * sizeof(*at));
    a->by_rank = malloc(a->n_rules * sizeof(*a->by_rank));
    if (!stack || !at || !a->by_rank)
        return -ENOMEM;
    if (!rank_rules(a, stack, at)) {
        *ret_bound = "a rule begins with itself (left recursion); write it as a repetition";
        return FAILED;
    }
    find_first(a);
    return 0;
}

/* --- the public part --- */

void automaton_done(struct automaton *a)
{
    free(a->nodes);
    free(a->edges);
    free(a->calls);
    free(a->counters);
    free(a->rules);
    free(a->by_rank);
    free(a->mark_bytes);
}

static int copy_marks(struct automaton *a, const struct grammar_builder *b)
{
    size_t total = 1, at = 0;
    for (uint32_t i = 0; i < b->n_marks; i++)
        total += b->exprs[b->marks[i]].b;
    a->mark_bytes = malloc(total);
    if (!a->mark_bytes)
        return -ENOMEM;
    a->n_marks = b->n_marks;
    for (uint32_t i = 0; i < b->n_marks; i++) {
        const struct expr *e = &b->exprs[b->marks[i]];
        memcpy(a->mark_bytes + at, b->bytes + e->a, e->b);
        a->marks[i] = (struct str){ a->mark_bytes + at, e->b };
        at += e->b;
    }
    return 0;
}

static int trim(struct automaton *a, const char **ret_bound)
{
    struct reach reach;
    int r = reach_init(&reach, a);
    if (r == 0) {
        find_depths(&reach);
        bool dead = reach.rule_depth[a->root] == DEPTH_NONE;
        if (dead && !a->empty) {
            *ret_bound = "no text matches it";
            r = FAILED;
        } else {
            r = pack(a, reach.rule_depth);
        }
        if (dead)
            a->root = GRAMMAR_NONE;
    }
    reach_done(&reach);
    return r;
}

static int compile(struct automaton *a, const struct grammar_builder *b, uint32_t root,
                   const char **ret_bound)
{
    struct nfa n;
    int r = copy_marks(a, b);
    if (r < 0)
        return r;
    nfa_build(&n, b, root);
    *ret_bound = n.bound;
    r = n.err ? n.err : dfa_build(a, &n, ret_bound);
    nfa_done(&n);
    if (r == 0)
        r = trim(a, ret_bound);
    return r == 0 ? order(a, ret_bound) : r;
}

int grammar_build(struct grammar_builder *b, grammar_expr root, struct grammar **ret,
                  struct fail *reterr)
{
    if (b->err < 0)
        return b->err;
    if (b->err)
        return fail_set(reterr, FAIL_invalid_request, "the grammar is refused: %s", b->bound);
    CLEANUP(grammar_unrefp) struct grammar *g = calloc(1, sizeof(*g));
    if (!g)
        return -ENOMEM;
    atomic_init(&g->refs, 1);
    (void)pthread_mutex_init(&g->lock, NULL);
    const char *bound = NULL;
    int r = compile(&g->a, b, root.id, &bound);
    if (r < 0)
        return r;
    if (r)
        return fail_set(reterr, FAIL_invalid_request, "the grammar is refused: %s", bound);
    *ret = TAKE(g);
    return 0;
}

struct grammar *grammar_share(struct grammar *g)
{
    (void)atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

struct grammar *grammar_unref(struct grammar *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return NULL;
    matchers_free(g->matchers);
    (void)pthread_mutex_destroy(&g->lock);
    automaton_done(&g->a);
    free(g);
    return NULL;
}
