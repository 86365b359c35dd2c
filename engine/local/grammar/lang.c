#include "engine/local/grammar/lang.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* What a hostile pattern may cost: memory of some 10 MB, time of some 100 ms. */
enum {
    MAX_STATES = 1 << 16,
    MAX_EDGES = 1 << 18,
    MAX_SETS = 1024,
    MAX_ATOMS = 1024,
    MAX_DFA_STATES = 1 << 14,
    MAX_CELLS = 1 << 21, /* states times atoms */
    MAX_WORK = 1 << 25,  /* states and edges looked at */
};
enum { NO_EDGE = UINT32_MAX };

/*
 * What stands at the two sides of a place. Engines differ over words beyond ASCII: beside such a
 * character there is neither a border nor none.
 */
enum side { SIDE_END, SIDE_OTHER, SIDE_WORD, SIDE_UNKNOWN };

struct edge {
    uint32_t to, set, next; /* set: NO_EDGE for a skip */
    enum lang_guard guard;
};

struct operand {
    uint32_t start, accept;
    bool negated;
};

struct lang {
    struct node {
        uint32_t edges; /* first, or NO_EDGE */
        uint32_t operand;
    } * states;
    size_t n_states, cap_states;
    struct edge *edges;
    size_t n_edges, cap_edges;
    struct charset *sets;
    size_t n_sets, cap_sets;
    struct operand operands[LANG_OPERANDS];
    uint32_t n_operands;
    size_t work;  /* of the determinisation */
    bool borders; /* some edge asks for word borders */
    int err;
};

static bool grow(struct lang *l, void **v, size_t n, size_t *cap, size_t size)
{
    if (l->err)
        return false;
    if (n < *cap)
        return true;
    size_t more = *cap ? *cap * 2 : 64;
    void *p = reallocarray(*v, more, size);
    if (!p) {
        l->err = -ENOMEM;
        return false;
    }
    *v = p;
    *cap = more;
    return true;
}

/* --- character sets --- */

void charset_add(struct charset *s, uint32_t first, uint32_t last)
{
    if (s->no_memory || first > last)
        return;
    if (s->n == s->cap) {
        size_t more = s->cap ? s->cap * 2 : 8;
        struct code_range *v = reallocarray(s->v, more, sizeof(*v));
        if (!v) {
            s->no_memory = true;
            return;
        }
        s->v = v;
        s->cap = more;
    }
    s->v[s->n++] = (struct code_range){ first, last };
}

void charset_add_all(struct charset *s, const struct code_range *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        charset_add(s, v[i].first, v[i].last);
}

static int by_first(const void *a, const void *b)
{
    const struct code_range *x = a;
    const struct code_range *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

void charset_tidy(struct charset *s)
{
    if (s->n == 0)
        return;
    qsort(s->v, s->n, sizeof(*s->v), by_first);
    size_t n = 1;
    for (size_t i = 1; i < s->n; i++) {
        struct code_range *last = &s->v[n - 1];
        if (s->v[i].first > last->last + 1)
            s->v[n++] = s->v[i];
        else if (s->v[i].last > last->last)
            last->last = s->v[i].last;
    }
    s->n = n;
}

/* Adds [first, last] without the surrogates, which are no characters. */
static void add_scalars(struct charset *s, uint32_t first, uint32_t last)
{
    if (first < SURROGATE_FIRST)
        charset_add(s, first, last < SURROGATE_FIRST ? last : SURROGATE_FIRST - 1);
    if (last > SURROGATE_LAST)
        charset_add(s, first > SURROGATE_LAST ? first : SURROGATE_LAST + 1, last);
}

void charset_complement(struct charset *ret, const struct charset *s)
{
    uint32_t from = 1;
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].first > from)
            add_scalars(ret, from, s->v[i].first - 1);
        if (s->v[i].last + 1 > from)
            from = s->v[i].last + 1;
    }
    if (from <= CODE_LAST)
        add_scalars(ret, from, CODE_LAST);
    ret->no_memory |= s->no_memory;
}

void charset_done(struct charset *s)
{
    free(s->v);
    *s = (struct charset){ 0 };
}

/* --- the graph --- */

struct lang *lang_new(void)
{
    return calloc(1, sizeof(struct lang));
}

struct lang *lang_free(struct lang *l)
{
    if (!l)
        return NULL;
    for (size_t i = 0; i < l->n_sets; i++)
        charset_done(&l->sets[i]);
    free(l->sets);
    free(l->states);
    free(l->edges);
    free(l);
    return NULL;
}

uint32_t lang_fail(struct lang *l, int err)
{
    if (!l->err)
        l->err = err;
    return 0;
}

bool lang_failed(const struct lang *l)
{
    return l->err != 0;
}

uint32_t lang_state(struct lang *l)
{
    if (l->n_states >= MAX_STATES && !l->err)
        l->err = -E2BIG;
    if (!grow(l, (void **)&l->states, l->n_states, &l->cap_states, sizeof(*l->states)))
        return 0;
    l->states[l->n_states] = (struct node){ NO_EDGE, l->n_operands };
    return (uint32_t)l->n_states++;
}

static bool set_eq(const struct charset *a, const struct charset *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

uint32_t lang_set(struct lang *l, struct charset *s)
{
    charset_tidy(s);
    if (s->no_memory && !l->err)
        l->err = -ENOMEM;
    for (size_t i = 0; i < l->n_sets; i++)
        if (set_eq(&l->sets[i], s))
            return (uint32_t)i;
    if (l->n_sets >= MAX_SETS && !l->err)
        l->err = -E2BIG;
    if (!grow(l, (void **)&l->sets, l->n_sets, &l->cap_sets, sizeof(*l->sets)))
        return 0;
    struct charset copy = { 0 };
    charset_add_all(&copy, s->v, s->n);
    if (copy.no_memory)
        l->err = -ENOMEM;
    l->sets[l->n_sets] = copy;
    return (uint32_t)l->n_sets++;
}

uint32_t lang_range(struct lang *l, uint32_t first, uint32_t last)
{
    CLEANUP(charset_done) struct charset s = { 0 };
    charset_add(&s, first, last);
    return lang_set(l, &s);
}

uint32_t lang_any(struct lang *l)
{
    CLEANUP(charset_done) struct charset s = { 0 };
    add_scalars(&s, 1, CODE_LAST);
    return lang_set(l, &s);
}

static void add_edge(struct lang *l, uint32_t from, struct edge e)
{
    if (l->n_edges >= MAX_EDGES && !l->err)
        l->err = -E2BIG;
    if (!grow(l, (void **)&l->edges, l->n_edges, &l->cap_edges, sizeof(*l->edges)))
        return;
    e.next = l->states[from].edges;
    l->states[from].edges = (uint32_t)l->n_edges;
    l->edges[l->n_edges++] = e;
}

void lang_edge(struct lang *l, uint32_t from, uint32_t set, uint32_t to)
{
    add_edge(l, from, (struct edge){ .to = to, .set = set });
}

void lang_skip(struct lang *l, uint32_t from, uint32_t to, enum lang_guard guard)
{
    if (guard == GUARD_BORDER || guard == GUARD_NO_BORDER)
        l->borders = true;
    add_edge(l, from, (struct edge){ .to = to, .set = NO_EDGE, .guard = guard });
}

void lang_operand(struct lang *l, uint32_t start, uint32_t accept, bool negated)
{
    if (l->n_operands == LANG_OPERANDS) {
        l->err = l->err ? l->err : -E2BIG;
        return;
    }
    l->operands[l->n_operands++] = (struct operand){ start, accept, negated };
}

bool lang_is_open(const struct lang *l)
{
    return l->n_operands == 0;
}

void lang_add_length(struct lang *l, size_t min, size_t max)
{
    uint32_t any = lang_any(l);
    uint32_t start = lang_state(l);
    uint32_t accept = lang_state(l);
    uint32_t at = start;
    size_t last = max == SIZE_MAX ? min : max;
    for (size_t i = 0; i <= last && !l->err; i++) {
        if (i >= min)
            lang_skip(l, at, accept, GUARD_NONE);
        if (i == last)
            break;
        uint32_t next = lang_state(l);
        lang_edge(l, at, any, next);
        at = next;
    }
    if (max == SIZE_MAX)
        lang_edge(l, at, any, at);
    lang_operand(l, start, accept, /* negated= */ false);
}

void lang_add_words(struct lang *l, const struct str *words, size_t n, bool negated)
{
    uint32_t start = lang_state(l);
    uint32_t accept = lang_state(l);
    for (size_t i = 0; i < n && !l->err; i++) {
        uint32_t at = start;
        size_t pos = 0;
        for (int c; (c = str_utf8_next(words[i], &pos)) >= 0;) {
            uint32_t next = lang_state(l);
            lang_edge(l, at, lang_range(l, (uint32_t)c, (uint32_t)c), next);
            at = next;
        }
        lang_skip(l, at, accept, GUARD_NONE);
    }
    lang_operand(l, start, accept, negated);
}

/* --- atoms: classes of characters that no set tells apart --- */

struct atoms {
    uint64_t *member; /* [n, words]: the sets that hold the atom */
    size_t words, n;
    struct charset *ranges; /* [n] */
    uint8_t *side;          /* [n]: enum side */
};

static void atoms_done(struct atoms *t)
{
    for (size_t i = 0; t->ranges && i < t->n; i++)
        charset_done(&t->ranges[i]);
    free(t->ranges);
    free(t->member);
    free(t->side);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The borders of all sets, sorted and unique. Owned by the caller. */
static uint32_t *set_cuts(const struct lang *l, size_t *ret_n)
{
    size_t n = 4;
    for (size_t i = 0; i < l->n_sets; i++)
        n += 2 * l->sets[i].n;
    uint32_t *cuts = calloc(n, sizeof(*cuts));
    if (!cuts)
        return NULL;
    size_t k = 0;
    cuts[k++] = 1; /* U+0000 is in no language */
    cuts[k++] = SURROGATE_FIRST;
    cuts[k++] = SURROGATE_LAST + 1;
    cuts[k++] = CODE_LAST + 1;
    for (size_t i = 0; i < l->n_sets; i++)
        for (size_t j = 0; j < l->sets[i].n; j++) {
            cuts[k++] = l->sets[i].v[j].first;
            cuts[k++] = l->sets[i].v[j].last + 1;
        }
    qsort(cuts, k, sizeof(*cuts), by_number);
    size_t unique = 0;
    for (size_t i = 0; i < k; i++)
        if (unique == 0 || cuts[i] != cuts[unique - 1])
            cuts[unique++] = cuts[i];
    *ret_n = unique;
    return cuts;
}

static bool charset_has(const struct charset *s, uint32_t c)
{
    size_t lo = 0;
    size_t hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->v[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n && s->v[lo].first <= c;
}

static enum side side_of(uint32_t c)
{
    if (c > 0x7f)
        return SIDE_UNKNOWN;
    bool word =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    return word ? SIDE_WORD : SIDE_OTHER;
}

/* The atom with these members, made when it is new. */
static int atom_for(struct atoms *t, const uint64_t *member, uint32_t c, size_t *ret)
{
    for (size_t i = 0; i < t->n; i++)
        if (memcmp(t->member + i * t->words, member, t->words * sizeof(*member)) == 0 &&
            t->side[i] == side_of(c)) {
            *ret = i;
            return 0;
        }
    if (t->n == MAX_ATOMS)
        return -E2BIG;
    memcpy(t->member + t->n * t->words, member, t->words * sizeof(*member));
    t->side[t->n] = (uint8_t)side_of(c);
    *ret = t->n++;
    return 0;
}

static int atoms_make(struct lang *l, struct atoms *t)
{
    CLEANUP(charset_done) struct charset words = { 0 };
    charset_add(&words, '0', '9');
    charset_add(&words, 'A', 'Z');
    charset_add(&words, '_', '_');
    charset_add(&words, 'a', 'z');
    CLEANUP(charset_done) struct charset ascii = { 0 };
    charset_add(&ascii, 1, 0x7f);
    if (l->borders) { /* so that no atom mixes them */
        (void)lang_set(l, &words);
        (void)lang_set(l, &ascii);
    }
    if (l->err)
        return l->err;
    t->words = (l->n_sets + 63) / 64 + 1;
    t->member = calloc(MAX_ATOMS * t->words, sizeof(*t->member));
    t->ranges = calloc(MAX_ATOMS, sizeof(*t->ranges));
    t->side = calloc(MAX_ATOMS, sizeof(*t->side));
    size_t n = 0;
    CLEANUP(own_free) uint32_t *cuts = set_cuts(l, &n);
    CLEANUP(own_free) uint64_t *member = calloc(t->words, sizeof(*member));
    if (!t->member || !t->ranges || !t->side || !cuts || !member)
        return -ENOMEM;
    for (size_t i = 0; i + 1 < n; i++) {
        uint32_t c = cuts[i];
        if (c == 0 || c > CODE_LAST || (c >= SURROGATE_FIRST && c <= SURROGATE_LAST))
            continue;
        memset(member, 0, t->words * sizeof(*member));
        for (size_t s = 0; s < l->n_sets; s++)
            if (charset_has(&l->sets[s], c))
                member[s / 64] |= 1ull << (s % 64);
        /* Sides only matter with borders; elsewhere they must not split atoms. */
        size_t atom = 0;
        int r = atom_for(t, member, l->borders ? c : 0, &atom);
        if (r < 0)
            return r;
        charset_add(&t->ranges[atom], c, cuts[i + 1] - 1);
        if (t->ranges[atom].no_memory)
            return -ENOMEM;
    }
    return 0;
}

/* --- subset construction --- */

struct subsets {
    const struct lang *l;
    const struct atoms *t;
    uint32_t *items; /* sorted kernels, end to end */
    size_t n_items, cap_items;
    struct subset {
        size_t from;
        uint32_t n, before;
    } * v;
    size_t n, cap;
    uint32_t *slots; /* hash of kernels: index + 1 */
    uint32_t *next;  /* [n, atoms] */
    size_t cap_next;
    bool *accept;
    size_t cap_accept;
    uint32_t *stack, *seen; /* [states] each; seen holds stamps */
    uint32_t stamp;
    size_t work;
};
enum { HASH_SLOTS = MAX_DFA_STATES * 4 };

static void subsets_done(struct subsets *s)
{
    free(s->items);
    free(s->v);
    free(s->slots);
    free(s->next);
    free(s->accept);
    free(s->stack);
    free(s->seen);
}

static bool guard_open(enum lang_guard g, enum side before, enum side after)
{
    bool known = before != SIDE_UNKNOWN && after != SIDE_UNKNOWN;
    bool border = (before == SIDE_WORD) != (after == SIDE_WORD);
    switch (g) {
    case GUARD_NONE:
        return true;
    case GUARD_START:
        return before == SIDE_END;
    case GUARD_END:
        return after == SIDE_END;
    case GUARD_BORDER:
        return known && border;
    case GUARD_NO_BORDER:
        return known && !border;
    }
    return false;
}

/* All that the kernel reaches without reading; into s->stack, returns the count. */
static size_t closure(struct subsets *s, const struct subset *k, enum side after)
{
    const struct lang *l = s->l;
    size_t n = 0;
    s->stamp++;
    for (uint32_t i = 0; i < k->n; i++) {
        uint32_t at = s->items[k->from + i];
        s->seen[at] = s->stamp;
        s->stack[n++] = at;
    }
    for (size_t i = 0; i < n; i++) {
        for (uint32_t e = l->states[s->stack[i]].edges; e != NO_EDGE; e = l->edges[e].next) {
            const struct edge *x = &l->edges[e];
            s->work++;
            if (x->set != NO_EDGE || s->seen[x->to] == s->stamp ||
                !guard_open(x->guard, (enum side)k->before, after))
                continue;
            s->seen[x->to] = s->stamp;
            s->stack[n++] = x->to;
        }
    }
    return n;
}

static int room(void **v, size_t need, size_t *cap, size_t size)
{
    if (need <= *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 256;
    if (more < need)
        more = need;
    void *p = reallocarray(*v, more, size);
    if (!p)
        return -ENOMEM;
    *v = p;
    *cap = more;
    return 0;
}

/* True when some operand that must match has died. */
static bool hopeless(const struct subsets *s, const uint32_t *items, size_t n)
{
    uint64_t alive = 0;
    for (size_t i = 0; i < n; i++)
        alive |= 1ull << s->l->states[items[i]].operand;
    for (uint32_t i = 0; i < s->l->n_operands; i++)
        if (!s->l->operands[i].negated && !(alive >> i & 1))
            return true;
    return false;
}

/* Finds or adds the kernel that lies at the end of s->items. */
static int subset_for(struct subsets *s, uint32_t n, uint32_t before, uint32_t *ret)
{
    uint32_t *items = s->items + s->n_items;
    qsort(items, n, sizeof(*items), by_number);
    uint64_t h = 14695981039346656037ull + before;
    for (uint32_t i = 0; i < n; i++)
        h = (h ^ items[i]) * 1099511628211ull;
    size_t slot = (h ^ h >> 32) % HASH_SLOTS;
    for (; s->slots[slot]; slot = (slot + 1) % HASH_SLOTS) {
        const struct subset *k = &s->v[s->slots[slot] - 1];
        if (k->n == n && k->before == before &&
            memcmp(s->items + k->from, items, n * sizeof(*items)) == 0) {
            *ret = s->slots[slot] - 1;
            return 0;
        }
    }
    if (s->n == MAX_DFA_STATES || (s->n + 1) * s->t->n > MAX_CELLS)
        return -E2BIG;
    if (room((void **)&s->v, s->n + 1, &s->cap, sizeof(*s->v)) < 0)
        return -ENOMEM;
    s->v[s->n] = (struct subset){ s->n_items, n, before };
    s->n_items += n;
    *ret = (uint32_t)s->n++;
    s->slots[slot] = *ret + 1;
    return 0;
}

static void mark_accept(struct subsets *s, size_t state)
{
    (void)closure(s, &s->v[state], SIDE_END);
    bool ok = true;
    for (uint32_t i = 0; i < s->l->n_operands; i++) {
        bool reached = s->seen[s->l->operands[i].accept] == s->stamp;
        ok = ok && reached != s->l->operands[i].negated;
    }
    s->accept[state] = ok;
}

/* The subset after one character of the atom. */
static int step(struct subsets *s, size_t n_closure, size_t atom, uint32_t *ret)
{
    const struct lang *l = s->l;
    const uint64_t *member = s->t->member + atom * s->t->words;
    if (room((void **)&s->items, s->n_items + l->n_states, &s->cap_items, sizeof(*s->items)) < 0)
        return -ENOMEM;
    uint32_t *items = s->items + s->n_items;
    uint32_t n = 0;
    uint32_t mark = ++s->stamp;
    for (size_t i = 0; i < n_closure; i++) {
        for (uint32_t e = l->states[s->stack[i]].edges; e != NO_EDGE; e = l->edges[e].next) {
            const struct edge *x = &l->edges[e];
            s->work++;
            if (x->set == NO_EDGE || !(member[x->set / 64] >> (x->set % 64) & 1) ||
                s->seen[x->to] == mark)
                continue;
            s->seen[x->to] = mark;
            items[n++] = x->to;
        }
    }
    *ret = LANG_DEAD;
    if (s->work > MAX_WORK)
        return -E2BIG;
    if (hopeless(s, items, n))
        return 0;
    uint32_t before = l->borders ? s->t->side[atom] : SIDE_OTHER;
    return subset_for(s, n, before, ret);
}

static int expand_subset(struct subsets *s, size_t state)
{
    size_t atoms = s->t->n;
    if (room((void **)&s->next, (state + 1) * atoms, &s->cap_next, sizeof(*s->next)) < 0 ||
        room((void **)&s->accept, state + 1, &s->cap_accept, sizeof(*s->accept)) < 0)
        return -ENOMEM;
    mark_accept(s, state);
    static const enum side sides[] = { SIDE_OTHER, SIDE_WORD, SIDE_UNKNOWN };
    for (size_t side = 0; side < (s->l->borders ? ARRAY_LEN(sides) : 1); side++) {
        struct subset k = s->v[state];
        size_t n = closure(s, &k, sides[side]);
        for (size_t atom = 0; atom < atoms; atom++) {
            if (s->l->borders && s->t->side[atom] != sides[side])
                continue;
            int r = step(s, n, atom, &s->next[state * atoms + atom]);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int run_subsets(struct subsets *s)
{
    const struct lang *l = s->l;
    s->slots = calloc(HASH_SLOTS, sizeof(*s->slots));
    s->stack = calloc(l->n_states + 1, sizeof(*s->stack));
    s->seen = calloc(l->n_states + 1, sizeof(*s->seen));
    if (!s->slots || !s->stack || !s->seen ||
        room((void **)&s->items, l->n_operands + 1, &s->cap_items, sizeof(*s->items)) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->n_operands; i++)
        s->items[i] = l->operands[i].start;
    uint32_t start = 0;
    int r = subset_for(s, l->n_operands, SIDE_END, &start);
    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = expand_subset(s, i);
    return r;
}

/* --- the result --- */

/* Sets live[i] for states from which an accepting one can be reached. */
static int find_live(const struct subsets *s, bool *live)
{
    size_t cells = s->n * s->t->n;
    CLEANUP(own_free) uint32_t *off = calloc(s->n + 2, sizeof(*off));
    CLEANUP(own_free) uint32_t *from = calloc(cells + 1, sizeof(*from));
    CLEANUP(own_free) uint32_t *todo = calloc(s->n + 1, sizeof(*todo));
    if (!off || !from || !todo)
        return -ENOMEM;
    for (size_t i = 0; i < cells; i++)
        if (s->next[i] != LANG_DEAD)
            off[s->next[i] + 2]++;
    for (size_t i = 2; i < s->n + 2; i++)
        off[i] += off[i - 1];
    for (size_t i = 0; i < cells; i++)
        if (s->next[i] != LANG_DEAD)
            from[off[s->next[i] + 1]++] = (uint32_t)(i / s->t->n);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->accept[i]) {
            live[i] = true;
            todo[n++] = (uint32_t)i;
        }
    while (n > 0) {
        uint32_t at = todo[--n];
        for (uint32_t e = off[at]; e < off[at + 1]; e++)
            if (!live[from[e]]) {
                live[from[e]] = true;
                todo[n++] = from[e];
            }
    }
    return 0;
}

static int copy_atoms(const struct atoms *t, struct lang_dfa *d)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->ranges[i].n;
    d->n_atoms = (uint32_t)t->n;
    d->atoms = calloc(t->n + 1, sizeof(*d->atoms));
    d->ranges = calloc(n + 1, sizeof(*d->ranges));
    if (!d->atoms || !d->ranges)
        return -ENOMEM;
    uint32_t at = 0;
    for (size_t i = 0; i < t->n; i++) {
        d->atoms[i] = at;
        for (size_t j = 0; j < t->ranges[i].n; j++)
            d->ranges[at++] = t->ranges[i].v[j];
    }
    d->atoms[t->n] = at;
    return 0;
}

static int copy_live(const struct subsets *s, struct lang_dfa *d)
{
    CLEANUP(own_free) bool *live = calloc(s->n + 1, sizeof(*live));
    CLEANUP(own_free) uint32_t *name = calloc(s->n + 1, sizeof(*name));
    if (!live || !name || find_live(s, live) < 0)
        return -ENOMEM;
    uint32_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        name[i] = live[i] ? n++ : LANG_DEAD;
    if (!live[0])
        return 0; /* nothing matches */
    assert(n > 0);
    d->next = calloc((size_t)n * s->t->n + 1, sizeof(*d->next));
    d->accept = calloc(n, sizeof(*d->accept));
    if (!d->next || !d->accept)
        return -ENOMEM;
    d->n = n;
    for (size_t i = 0; i < s->n; i++) {
        if (!live[i])
            continue;
        d->accept[name[i]] = s->accept[i];
        for (size_t j = 0; j < s->t->n; j++) {
            uint32_t to = s->next[i * s->t->n + j];
            d->next[name[i] * s->t->n + j] = to == LANG_DEAD ? LANG_DEAD : name[to];
        }
    }
    return 0;
}

void lang_dfa_done(struct lang_dfa *d)
{
    free(d->next);
    free(d->accept);
    free(d->atoms);
    free(d->ranges);
    *d = LANG_DFA_INIT;
}

size_t lang_work(const struct lang *l)
{
    return l->work;
}

int lang_determinise(struct lang *l, struct lang_dfa *ret)
{
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    CLEANUP(atoms_done) struct atoms t = { 0 };
    CLEANUP(subsets_done) struct subsets s = { .l = l, .t = &t };
    int r = atoms_make(l, &t);
    if (r == 0)
        r = run_subsets(&s);
    l->work = s.work + s.n * t.n * 8; /* a table's cell costs about as much as eight edges */
    if (r == 0)
        r = copy_atoms(&t, &d);
    if (r == 0)
        r = copy_live(&s, &d);
    if (r < 0)
        return r;
    *ret = d;
    d = LANG_DFA_INIT;
    return 0;
}

bool lang_dfa_match(const struct lang_dfa *d, struct str text)
{
    uint32_t at = d->n ? 0 : LANG_DEAD;
    size_t pos = 0;
    for (int c; at != LANG_DEAD && (c = str_utf8_next(text, &pos)) >= 0;) {
        uint32_t to = LANG_DEAD;
        for (uint32_t i = 0; i < d->n_atoms; i++)
            for (uint32_t r = d->atoms[i]; r < d->atoms[i + 1]; r++)
                if ((uint32_t)c >= d->ranges[r].first && (uint32_t)c <= d->ranges[r].last)
                    to = d->next[at * d->n_atoms + i];
        at = to;
    }
    return at != LANG_DEAD && d->accept[at];
}
