#include "engine/local/grammar/stacks.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"

enum {
    SET_MAX = 4096,       /* places of one set: an ambiguous grammar stops here */
    MEMO_SLOTS = 1 << 12, /* joined pairs that are remembered */
    STEP_WORK = 1 << 26,  /* places handled in one call of the owner */
    BYTES_MAX = 96 * MIB, /* of one grammar and vocabulary */
};

/* A call of the step under way: what follows it. */
struct pending {
    uint32_t rank, then;
};

static uint32_t too_much(struct stacks *s, int err)
{
    if (!s->err)
        s->err = err;
    return STACKS_DEAD;
}

static uint32_t hash_places(const struct place *p, uint32_t n)
{
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ (((uint64_t)p[i].node << 32) + p[i].then)) * 0x9e3779b97f4a7c15ull;
        h = (h ^ (h >> 29) ^ p[i].count) * 0xbf58476d1ce4e5b9ull;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

size_t stacks_bytes(const struct stacks *s)
{
    return s->n_sets * sizeof(*s->sets) + s->pool.n * sizeof(*s->pool.v) +
           (size_t)s->n_tables * s->a->n_classes * sizeof(*s->tables) +
           s->n_index * sizeof(*s->index);
}

static bool index_grow(struct stacks *s)
{
    if (s->n_index && s->n_sets * 2 < s->n_index)
        return true;
    uint32_t n = s->n_index ? s->n_index * 2 : 256;
    uint32_t *index = calloc(n, sizeof(*index));
    if (!index)
        return false;
    for (uint32_t i = 0; i < s->n_sets; i++) {
        uint32_t at = s->sets[i].hash & (n - 1);
        while (index[at])
            at = (at + 1) & (n - 1);
        index[at] = i + 1;
    }
    free(s->index);
    s->index = index;
    s->n_index = n;
    return true;
}

static bool grow_places(struct stacks *s, struct places *l, uint32_t more)
{
    void *v = grammar_grow(l->v, &l->cap, l->n, more, sizeof(*l->v));
    if (!v) {
        (void)too_much(s, -ENOMEM);
        return false;
    }
    l->v = v;
    return true;
}

static bool has_more(const struct automaton *a, uint32_t node, uint32_t count)
{
    const struct node *n = &a->nodes[node];
    if (n->counter != GRAMMAR_NONE)
        return count < a->counters[n->counter].max;
    return n->n_edges || n->n_calls;
}

static bool is_final(const struct automaton *a, uint32_t node, uint32_t count)
{
    const struct node *n = &a->nodes[node];
    return n->counter == GRAMMAR_NONE ? n->final : count >= a->counters[n->counter].min;
}

/* The number of a sorted set of places that are all different. */
static uint32_t intern(struct stacks *s, const struct place *p, uint32_t n)
{
    if (s->err)
        return STACKS_DEAD;
    if (n == 0)
        return STACKS_DEAD;
    if (n > SET_MAX || stacks_bytes(s) > BYTES_MAX)
        return too_much(s, -E2BIG);
    uint32_t hash = hash_places(p, n), mask = s->n_index - 1, at = hash & mask;
    for (; s->index[at]; at = (at + 1) & mask) {
        const struct stack_set *old = &s->sets[s->index[at] - 1];
        if (old->hash == hash && old->n == n && memcmp(s->pool.v + old->at, p, n * sizeof(*p)) == 0)
            return s->index[at] - 1;
    }
    void *sets = grammar_grow(s->sets, &s->cap_sets, s->n_sets, 1, sizeof(*s->sets));
    if (!sets)
        return too_much(s, -ENOMEM);
    s->sets = sets;
    if (!grow_places(s, &s->pool, n))
        return STACKS_DEAD;
    struct stack_set *set = &s->sets[s->n_sets];
    *set = (struct stack_set){ .at = s->pool.n, .n = n, .hash = hash };
    for (uint32_t i = 0; i < n; i++)
        if (p[i].node && s->sets[p[i].then].depth >= set->depth)
            set->depth = s->sets[p[i].then].depth + 1;
    memcpy(s->pool.v + s->pool.n, p, n * sizeof(*p));
    s->pool.n += n;
    s->index[at] = ++s->n_sets;
    return index_grow(s) ? s->n_sets - 1 : too_much(s, -ENOMEM);
}

static int by_place(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    return a->then < b->then ? -1 : a->then > b->then;
}

static uint32_t join(struct stacks *s, uint32_t a, uint32_t b);

/* Where several counts of one loop may all end and go on alike, the lowest allows what the others
 * do. */
static bool is_covered(const struct automaton *a, const struct place *low, const struct place *p)
{
    const struct node *n = &a->nodes[p->node];
    return low->node == p->node && low->then == p->then && n->counter != GRAMMAR_NONE &&
           low->count >= a->counters[n->counter].min;
}

static void sort(struct place *p, uint32_t n)
{
    enum { FEW = 12 };
    if (n > FEW) {
        qsort(p, n, sizeof(*p), by_place);
        return;
    }
    for (uint32_t i = 1; i < n; i++) {
        struct place one = p[i];
        uint32_t at = i;
        for (; at && by_place(&one, &p[at - 1]) < 0; at--)
            p[at] = p[at - 1];
        p[at] = one;
    }
}

/* Turns the places on the scratch stack from `base` on into a set, and takes them off. */
static uint32_t finish(struct stacks *s, uint32_t base)
{
    uint32_t n = s->scratch.n - base, kept = 0;
    s->work += n;
    sort(s->scratch.v + base, n);
    for (uint32_t i = 0; i < n && !s->err; i++) {
        struct place p = s->scratch.v[base + i];
        if (kept) {
            struct place *last = &s->scratch.v[base + kept - 1];
            if (is_covered(s->a, last, &p))
                continue;
            if (last->node == p.node && last->count == p.count) {
                uint32_t then = join(s, last->then, p.then);
                s->scratch.v[base + kept - 1].then = then; /* the array may have moved */
                continue;
            }
        }
        s->scratch.v[base + kept++] = p;
    }
    uint32_t set = intern(s, s->scratch.v + base, kept);
    s->scratch.n = base;
    return set;
}

static void put(struct stacks *s, struct place p)
{
    if (grow_places(s, &s->scratch, 1))
        s->scratch.v[s->scratch.n++] = p;
}

static void put_all(struct stacks *s, uint32_t set)
{
    uint32_t n = s->sets[set].n;
    if (!n || !grow_places(s, &s->scratch, n))
        return;
    memcpy(s->scratch.v + s->scratch.n, s->pool.v + s->sets[set].at, n * sizeof(struct place));
    s->scratch.n += n;
}

/* The union. Depth of recursion: of the stacks. */
static uint32_t join(struct stacks *s, uint32_t a, uint32_t b)
{
    if (a == b || b == STACKS_DEAD)
        return a;
    if (a == STACKS_DEAD)
        return b;
    if (a > b) {
        uint32_t swap = a;
        a = b;
        b = swap;
    }
    struct union_memo *m = &s->memo[(a * 0x9e3779b1u ^ b * 0x85ebca6bu) % MEMO_SLOTS];
    if (m->a == a && m->b == b)
        return m->both;
    if (s->err || s->work > STEP_WORK)
        return too_much(s, -E2BIG);
    uint32_t base = s->scratch.n;
    put_all(s, a);
    put_all(s, b);
    uint32_t both = finish(s, base);
    if (!s->err)
        *m = (struct union_memo){ a, b, both };
    return both;
}

/* Puts the places where one stands on reaching a node: itself, and what follows where its rule
 * ends there. Nothing where the stack would have to grow too high. */
static void enter(struct stacks *s, uint32_t node, uint32_t count, uint32_t then)
{
    const struct automaton *a = s->a;
    bool final = is_final(a, node, count);
    if (s->sets[then].depth + 1u + (final ? 0 : a->nodes[node].depth) > GRAMMAR_MAX_DEPTH)
        return;
    if (has_more(a, node, count))
        put(s, (struct place){ node, count, then });
    if (final)
        put_all(s, then);
}

/* The same as a set. */
static uint32_t entered(struct stacks *s, uint32_t node, uint32_t count, uint32_t then)
{
    if (!has_more(s->a, node, count) && is_final(s->a, node, count))
        return then; /* a call in last place leaves nothing behind */
    uint32_t base = s->scratch.n;
    enter(s, node, count, then);
    return finish(s, base);
}

static void call(struct stacks *s, const struct rule *r, uint32_t then)
{
    void *grown = grammar_grow(s->pending, &s->cap_pending, s->n_pending, 1, sizeof(*s->pending));
    if (!grown) {
        (void)too_much(s, -ENOMEM);
        return;
    }
    s->pending = grown;
    uint32_t at = s->n_pending;
    while (at && s->pending[at - 1].rank < r->rank)
        at--;
    if (at && s->pending[at - 1].rank == r->rank) {
        uint32_t both = join(s, s->pending[at - 1].then, then);
        s->pending[at - 1].then = both;
        return;
    }
    memmove(s->pending + at + 1, s->pending + at, (s->n_pending - at) * sizeof(*s->pending));
    s->pending[at] = (struct pending){ r->rank, then };
    s->n_pending++;
}

static bool may_begin(const struct rule *r, unsigned class)
{
    return r->first[class / 64] >> (class % 64) & 1;
}

/* One place reads a class: puts where that leads, and notes the calls. */
static void advance(struct stacks *s, const struct place *p, unsigned class)
{
    const struct automaton *a = s->a;
    const struct node *n = &a->nodes[p->node];
    s->work += 1 + n->n_edges + n->n_calls;
    if (n->counter != GRAMMAR_NONE) {
        const struct counter *c = &a->counters[n->counter];
        if (!may_begin(&a->rules[c->rule], class) || p->count >= c->max)
            return;
        uint32_t count = c->max == GRAMMAR_MANY && p->count >= c->min ? p->count : p->count + 1;
        uint32_t then = entered(s, p->node, count, p->then);
        if (then != STACKS_DEAD)
            call(s, &a->rules[c->rule], then);
        return;
    }
    for (uint32_t i = 0; i < n->n_edges; i++) {
        const struct edge *e = &a->edges[n->edges + i];
        if (e->first <= class && class <= e->last)
            enter(s, e->target, 0, p->then);
    }
    for (uint32_t i = 0; i < n->n_calls; i++) {
        const struct call *c = &a->calls[n->calls + i];
        if (!may_begin(&a->rules[c->rule], class))
            continue;
        uint32_t then = entered(s, c->target, 0, p->then);
        if (then != STACKS_DEAD)
            call(s, &a->rules[c->rule], then);
    }
}

static bool add_table(struct stacks *s, uint32_t set)
{
    uint32_t width = s->a->n_classes;
    void *grown =
        grammar_grow(s->tables, &s->cap_tables, s->n_tables, 1, width * sizeof(*s->tables));
    if (!grown) {
        (void)too_much(s, -ENOMEM);
        return false;
    }
    s->tables = grown;
    memset(s->tables + (size_t)s->n_tables * width, 0xff, width * sizeof(*s->tables));
    s->sets[set].table = s->n_tables++;
    return true;
}

uint32_t stacks_step_slow(struct stacks *s, uint32_t set, unsigned class)
{
    if (s->err || s->work > STEP_WORK)
        return too_much(s, -E2BIG);
    if (s->sets[set].table == 0) {
        if (!add_table(s, set))
            return STACKS_DEAD;
    }
    s->n_pending = 0;
    uint32_t base = s->scratch.n;
    for (uint32_t i = 0; i < s->sets[set].n && !s->err; i++) {
        struct place p = s->pool.v[s->sets[set].at + i];
        advance(s, &p, class);
    }
    while (s->n_pending && !s->err) { /* callers come before those that they call */
        struct pending c = s->pending[--s->n_pending];
        struct place p = { s->a->rules[s->a->by_rank[c.rank]].start, 0, c.then };
        advance(s, &p, class);
    }
    uint32_t next = finish(s, base);
    if (s->err) {
        s->scratch.n = base;
        return STACKS_DEAD;
    }
    s->tables[(size_t)s->sets[set].table * s->a->n_classes + class] = next;
    return next;
}

/* The empty set, a table of nothing known, and the end of the text. */
static int fill(struct stacks *s)
{
    void *sets = grammar_grow(s->sets, &s->cap_sets, 0, 1, sizeof(*s->sets));
    if (!sets)
        return -ENOMEM;
    s->sets = sets;
    s->sets[0] = (struct stack_set){ 0 };
    s->n_sets = 1;
    if (!index_grow(s) || !add_table(s, 0))
        return -ENOMEM;
    s->sets[0].table = 0; /* row 0 is everyone's who has none */
    s->end = intern(s, &(struct place){ 0, 0, STACKS_DEAD }, 1);
    return s->err;
}

int stacks_init(struct stacks *s, const struct automaton *a)
{
    *s = (struct stacks){ .a = a };
    s->memo = calloc(MEMO_SLOTS, sizeof(*s->memo));
    return s->memo ? fill(s) : -ENOMEM;
}

void stacks_done(struct stacks *s)
{
    free(s->sets);
    free(s->pool.v);
    free(s->index);
    free(s->tables);
    free(s->memo);
    free(s->scratch.v);
    free(s->pending);
}

uint32_t stacks_lone(struct stacks *s, uint32_t node, uint32_t count)
{
    return intern(s, &(struct place){ node, count, s->end }, 1);
}

uint32_t stacks_start(struct stacks *s)
{
    uint32_t base = s->scratch.n;
    if (s->a->empty)
        put_all(s, s->end);
    if (s->a->root != GRAMMAR_NONE)
        put(s, (struct place){ s->a->rules[s->a->root].start, 0, s->end });
    return finish(s, base);
}

/* A set follows others of lower numbers only, so one pass down finds what lives and one pass up
 * makes it anew. */
int stacks_compact(struct stacks *s, uint32_t **roots, size_t n)
{
    CLEANUP(own_free) uint32_t *map = calloc(s->n_sets, sizeof(*map));
    struct stacks t;
    int r = stacks_init(&t, s->a);
    if (!map || r < 0) {
        stacks_done(&t);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        map[*roots[i]] = 1;
    for (uint32_t i = s->n_sets; i-- > 1;)
        for (uint32_t k = 0; map[i] && k < s->sets[i].n; k++)
            map[s->pool.v[s->sets[i].at + k].then] = 1;
    for (uint32_t i = 1; i < s->n_sets && !t.err; i++) {
        if (!map[i])
            continue;
        struct place *p = s->pool.v + s->sets[i].at;
        for (uint32_t k = 0; k < s->sets[i].n; k++)
            p[k].then = map[p[k].then];
        map[i] = intern(&t, p, s->sets[i].n);
    }
    map[0] = STACKS_DEAD;
    r = t.err;
    for (size_t i = 0; i < n && r == 0; i++)
        *roots[i] = map[*roots[i]];
    if (r == 0) {
        struct stacks old = *s;
        *s = t;
        t = old;
    }
    stacks_done(&t);
    return r;
}
