#include "engine/local/grammar/masks.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/local/grammar/constraint_impl.h"

enum {
    WORD_BITS = 32,
    KEPT_BYTES = 24 * MIB, /* of masks of one grammar and vocabulary; the oldest go first */
    ROUNDS_NEVER = 255,
    ROUNDS_MAX = 254, /* longer tokens than this: each count of a loop has its own mask */
};

/* A token, or a point of the trie, and the rounds of the loop that lead there. */
struct mask_hit {
    uint32_t what;
    uint8_t rounds;
};

void masks_init(struct masks *m, struct stacks *s)
{
    *m = (struct masks){ .stacks = s };
}

static struct place_mask *place_mask_free(struct place_mask *p)
{
    if (!p)
        return NULL;
    free(p->ids);
    free(p->id_rounds);
    free(p->bits);
    free(p->rounds);
    free(p->resume);
    free(p->resume_rounds);
    free(p->resume_from);
    free(p);
    return NULL;
}
DEFINE_CLEANUP(struct place_mask *, place_mask_free);

void masks_done(struct masks *m)
{
    for (uint32_t i = 0; i < m->n_table; i++)
        (void)place_mask_free(m->table[i]);
    free(m->table);
    free(m->path);
    free(m->hits);
    free(m->ends);
}

/* --- bounded loops --- */

/* The counter whose counts share a mask, and the first of them; NULL: the place stands alone. */
static const struct counter *loop_of(const struct masks *m, uint32_t node, uint32_t count)
{
    const struct automaton *a = m->stacks->a;
    if (a->nodes[node].counter == GRAMMAR_NONE)
        return NULL;
    const struct counter *c = &a->counters[a->nodes[node].counter];
    return c->max != GRAMMAR_MANY && count >= c->min && m->trie->longest <= ROUNDS_MAX ? c : NULL;
}

/* Counts that are too far from both bounds to matter within one token are one. */
static uint32_t same_count(const struct masks *m, uint32_t node, uint32_t count)
{
    const struct automaton *a = m->stacks->a;
    if (a->nodes[node].counter == GRAMMAR_NONE)
        return 0;
    const struct counter *c = &a->counters[a->nodes[node].counter];
    uint32_t reach = m->trie->longest + 1;
    if (loop_of(m, node, count))
        return c->min;
    if (c->min > reach && count < c->min - reach)
        return c->min - reach;
    return count;
}

/* Rounds that the loop at the bottom of `set` has begun at least; `all` where it has ended. */
static uint32_t rounds_below(const struct stacks *s, uint32_t set, const struct place *loop,
                             uint32_t all)
{
    uint32_t least = all;
    for (uint32_t i = 0; i < s->sets[set].n; i++) {
        struct place p = s->pool.v[s->sets[set].at + i];
        uint32_t rounds = all;
        if (p.node == loop->node && p.then == s->end)
            rounds = p.count - loop->count;
        else if (p.node)
            rounds = rounds_below(s, p.then, loop, all);
        if (rounds < least)
            least = rounds;
    }
    return least;
}

/* The same where the loop itself stands at its border, so that it may end. */
static uint32_t rounds_here(const struct stacks *s, uint32_t set, const struct place *loop,
                            uint32_t all)
{
    uint32_t least = all;
    for (uint32_t i = 0; i < s->sets[set].n; i++) {
        struct place p = s->pool.v[s->sets[set].at + i];
        if (p.node == loop->node && p.then == s->end && p.count - loop->count < least)
            least = p.count - loop->count;
    }
    return least;
}

/* --- the walk from one place --- */

struct place_walk {
    struct masks *m;
    struct place at;
    uint32_t all;                          /* rounds of the whole loop; 0: not a loop */
    uint32_t last, last_rounds, last_here; /* of the set that was asked for last */
    uint32_t deepest;
    int err;
};

static void note(struct place_walk *w, struct mask_hit **list, uint32_t *n, uint32_t *cap,
                 struct mask_hit hit)
{
    if (*n == *cap) {
        void *grown = grammar_grow(*list, cap, *n, 1, sizeof(**list));
        if (!grown) {
            w->err = -ENOMEM;
            return;
        }
        *list = grown;
    }
    (*list)[(*n)++] = hit;
}

/* A set was reached at a node of the trie: its tokens, and whether the rule may end here. */
static void reached(struct place_walk *w, uint32_t i, uint32_t set)
{
    struct masks *m = w->m;
    const struct stacks *s = m->stacks;
    const struct trie_node *n = &m->trie->nodes[i];
    if (set != w->last) {
        w->last = set;
        w->last_rounds = w->all ? rounds_below(s, set, &w->at, w->all) : 0;
        w->last_here = w->all ? rounds_here(s, set, &w->at, w->all) : 0;
        if (s->sets[set].depth > w->deepest)
            w->deepest = s->sets[set].depth;
    }
    uint8_t rounds = (uint8_t)(w->last_rounds > ROUNDS_MAX ? ROUNDS_NEVER : w->last_rounds);
    uint8_t here = (uint8_t)(w->last_here > ROUNDS_MAX ? ROUNDS_NEVER : w->last_here);
    for (uint32_t k = n->tokens; k < n[1].tokens; k++)
        note(w, &m->hits, &m->n_hits, &m->cap_hits,
             (struct mask_hit){ (uint32_t)m->trie->ids[k], rounds });
    if (stacks_may_end(s, set) && n->skip > i + 1)
        note(w, &m->ends, &m->n_ends, &m->cap_ends, (struct mask_hit){ i, here });
}

static void walk_place(struct place_walk *w)
{
    struct masks *m = w->m;
    const struct trie_node *nodes = m->trie->nodes;
    const uint8_t *class_of = m->stacks->a->class_of;
    m->path[0] = stacks_lone(m->stacks, w->at.node, w->at.count);
    m->n_hits = m->n_ends = 0;
    w->last = STACKS_DEAD;
    for (uint32_t i = 1; i < m->trie->n_nodes && !w->err;) {
        const struct trie_node *n = &nodes[i];
        uint32_t set = stacks_step(m->stacks, m->path[n->depth - 1], class_of[n->byte]);
        if (set == STACKS_DEAD) {
            i = n->skip;
            continue;
        }
        m->path[n->depth] = set;
        reached(w, i, set);
        i++;
    }
    if (!w->err)
        w->err = m->stacks->err;
}

/* --- keeping what it found --- */

static int keep_tokens(const struct masks *m, struct place_mask *p, bool loop)
{
    uint32_t n = m->n_hits, words = m->trie->n_words;
    if (n > words / 2) {
        p->bytes += loop ? (size_t)words * WORD_BITS : words * sizeof(*p->bits);
        p->bits = loop ? NULL : calloc(words, sizeof(*p->bits));
        p->rounds = loop ? malloc((size_t)words * WORD_BITS) : NULL;
        if (!p->bits && !p->rounds)
            return -ENOMEM;
        if (loop)
            memset(p->rounds, ROUNDS_NEVER, (size_t)words * WORD_BITS);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t id = m->hits[i].what;
            if (loop)
                p->rounds[id] = m->hits[i].rounds;
            else
                p->bits[id / WORD_BITS] |= 1u << (id % WORD_BITS);
        }
        return 0;
    }
    p->bytes += n * (sizeof(*p->ids) + 1);
    p->n_ids = n;
    p->ids = malloc((n + 1) * sizeof(*p->ids));
    p->id_rounds = malloc(n + 1);
    if (!p->ids || !p->id_rounds)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        p->ids[i] = (int32_t)m->hits[i].what;
        p->id_rounds[i] = m->hits[i].rounds;
    }
    return 0;
}

/* The children of all points where the rule may end, sorted by class by counting. */
static int keep_ends(const struct masks *m, struct place_mask *p)
{
    const struct automaton *a = m->stacks->a;
    const struct trie_node *nodes = m->trie->nodes;
    uint32_t *from = calloc(a->n_byte_classes + 2, sizeof(*from)), total = 0;
    p->resume_from = from;
    if (!from)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_ends; i++)
        for (uint32_t at = m->ends[i].what, k = at + 1; k < nodes[at].skip; k = nodes[k].skip) {
            from[a->class_of[nodes[k].byte] + 2]++;
            total++;
        }
    for (uint32_t c = 2; c < a->n_byte_classes + 2; c++)
        from[c] += from[c - 1];
    p->resume = malloc((total + 1) * sizeof(*p->resume));
    p->resume_rounds = malloc(total + 1);
    if (!p->resume || !p->resume_rounds)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->n_ends; i++)
        for (uint32_t at = m->ends[i].what, k = at + 1; k < nodes[at].skip; k = nodes[k].skip) {
            uint32_t to = from[a->class_of[nodes[k].byte] + 1]++;
            p->resume[to] = k;
            p->resume_rounds[to] = m->ends[i].rounds;
        }
    p->bytes += total * (sizeof(*p->resume) + 1) + a->n_byte_classes * sizeof(*from);
    return 0;
}

static int place_mask_new(struct place_mask **ret, struct masks *m, uint32_t node, uint32_t count)
{
    CLEANUP(place_mask_freep) struct place_mask *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    const struct counter *loop = loop_of(m, node, count);
    struct place_walk w = { .m = m,
                            .at = { .node = node, .count = count },
                            .all = loop ? loop->max - count : 0 };
    walk_place(&w);
    int r = w.err;
    p->node = node;
    p->count = count;
    p->deepest = w.deepest;
    p->bytes = sizeof(*p);
    if (r == 0)
        r = keep_tokens(m, p, loop != NULL);
    if (r == 0)
        r = keep_ends(m, p);
    if (r == 0)
        *ret = TAKE(p);
    return r;
}

/* --- the table of places --- */

static uint32_t slot(const struct masks *m, uint32_t node, uint32_t count)
{
    uint32_t at = (node * 0x9e3779b1u ^ count * 0x85ebca6bu);
    at = (at ^ at >> 15) & (m->n_table - 1);
    while (m->table[at] && (m->table[at]->node != node || m->table[at]->count != count))
        at = (at + 1) & (m->n_table - 1);
    return at;
}

static bool table_grow(struct masks *m)
{
    struct place_mask **old = m->table;
    uint32_t n_old = m->n_table, n = n_old ? n_old * 2 : 64;
    if (n_old && m->n * 2 < n_old)
        return true;
    struct place_mask **table = calloc(n, sizeof(*table));
    if (!table)
        return false;
    m->table = table;
    m->n_table = n;
    for (uint32_t i = 0; i < n_old; i++)
        if (old[i])
            m->table[slot(m, old[i]->node, old[i]->count)] = old[i];
    free(old);
    return true;
}

static int by_age(const void *x, const void *y)
{
    const struct place_mask *a = *(struct place_mask *const *)x;
    const struct place_mask *b = *(struct place_mask *const *)y;
    return a->used < b->used ? 1 : a->used > b->used ? -1 : 0;
}

/* Forgets the older half, once there is too much. */
static void forget_old(struct masks *m)
{
    uint32_t n = 0;
    if (m->bytes < KEPT_BYTES)
        return;
    for (uint32_t i = 0; i < m->n_table; i++) {
        struct place_mask *p = m->table[i];
        m->table[i] = NULL;
        if (p)
            m->table[n++] = p; /* never past i */
    }
    qsort(m->table, n, sizeof(struct place_mask *), by_age);
    CLEANUP(own_free) struct place_mask **kept = malloc((n + 1ull) * sizeof(*kept));
    uint32_t n_kept = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct place_mask *p = m->table[i];
        m->table[i] = NULL;
        bytes += p->bytes;
        if (kept && bytes < KEPT_BYTES / 2)
            kept[n_kept++] = p;
        else
            (void)place_mask_free(p);
    }
    m->n = n_kept;
    m->bytes = 0;
    for (uint32_t i = 0; i < n_kept; i++) {
        m->bytes += kept[i]->bytes;
        m->table[slot(m, kept[i]->node, kept[i]->count)] = kept[i];
    }
}

static int place_mask_of(struct place_mask **ret, struct masks *m, uint32_t node, uint32_t count)
{
    if (!table_grow(m))
        return -ENOMEM;
    uint32_t at = slot(m, node, count);
    if (!m->table[at]) {
        struct place_mask *p = NULL;
        int r = place_mask_new(&p, m, node, count);
        if (r < 0)
            return r;
        m->table[at] = p;
        m->bytes += p->bytes;
        m->n++;
    }
    m->table[at]->used = ++m->clock;
    *ret = m->table[at];
    return 0;
}

/* --- masks of sets --- */

static void set_bit(uint32_t *mask, uint32_t id)
{
    mask[id / WORD_BITS] |= 1u << (id % WORD_BITS);
}

/* All that follows `set` below node i of the trie, whose bytes led to it. */
static void walk_below(struct masks *m, uint32_t i, uint32_t set, uint32_t *mask)
{
    const struct trie_node *nodes = m->trie->nodes;
    const uint8_t *class_of = m->stacks->a->class_of;
    uint32_t end = nodes[i].skip;
    m->path[nodes[i].depth] = set;
    for (uint32_t k = nodes[i].tokens; k < nodes[i + 1].tokens; k++)
        set_bit(mask, (uint32_t)m->trie->ids[k]);
    for (i++; i < end;) {
        const struct trie_node *n = &nodes[i];
        uint32_t next = stacks_step(m->stacks, m->path[n->depth - 1], class_of[n->byte]);
        if (next == STACKS_DEAD) {
            i = n->skip;
            continue;
        }
        m->path[n->depth] = next;
        for (uint32_t k = n->tokens; k < n[1].tokens; k++)
            set_bit(mask, (uint32_t)m->trie->ids[k]);
        i++;
    }
}

/* Bit i: rounds[i] is at most `left`. 32 bytes. */
static uint32_t within(const uint8_t *rounds, uint8_t left)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < WORD_BITS; i += 8) {
        enum { HIGH = 7 };
        uint64_t v = 0;
        memcpy(&v, rounds + i, sizeof(v));
        /* left − round, in 9 bits a byte: odd and even bytes apart; bit 8 of each tells the sign */
        const uint64_t lanes = 0x00ff00ff00ff00ffull, carry = 0x0100010001000100ull;
        uint64_t wide = (lanes & (0x0001000100010001ull * left)) | carry;
        uint64_t even = (wide - (v & lanes)) & carry;
        uint64_t odd = (wide - ((v >> 8) & lanes)) & carry;
        /* even: bits 8, 24, 40, 56 → 0, 2, 4, 6; odd likewise → 1, 3, 5, 7 */
        uint64_t both = (even >> 8) | (odd >> HIGH);
        both = (both | both >> 14) & 0x0000000f0000000full;
        bits |= (uint32_t)((both | both >> 28) & 0xff) << i;
    }
    return bits;
}

static void add_tokens(const struct masks *m, const struct place_mask *p, uint8_t left,
                       uint32_t *mask)
{
    uint32_t words = m->trie->n_words;
    if (p->bits) {
        for (uint32_t i = 0; i < words; i++)
            mask[i] |= p->bits[i];
    } else if (p->rounds) {
        for (uint32_t i = 0; i < words; i++)
            mask[i] |= within(p->rounds + (size_t)i * WORD_BITS, left);
    } else {
        for (uint32_t i = 0; i < p->n_ids; i++)
            if (p->id_rounds[i] <= left)
                set_bit(mask, (uint32_t)p->ids[i]);
    }
}

/* The rest of tokens within which the place's rule ends, along `then`. */
static void add_rests(struct masks *m, const struct place_mask *p, uint8_t left, uint32_t then,
                      uint32_t *mask)
{
    for (uint32_t c = 0; c < m->stacks->a->n_byte_classes; c++) {
        if (p->resume_from[c] == p->resume_from[c + 1])
            continue;
        uint32_t next = stacks_step(m->stacks, then, c);
        for (uint32_t k = p->resume_from[c]; next != STACKS_DEAD && k < p->resume_from[c + 1]; k++)
            if (p->resume_rounds[k] <= left)
                walk_below(m, p->resume[k], next, mask);
    }
}

static int add_place(struct masks *m, struct place at, uint32_t *mask)
{
    struct place_mask *p = NULL;
    const struct counter *loop = loop_of(m, at.node, at.count);
    uint32_t left = loop ? loop->max - at.count : ROUNDS_MAX;
    int r = place_mask_of(&p, m, at.node, same_count(m, at.node, at.count));
    if (r < 0)
        return r;
    if (p->deepest + m->stacks->sets[at.then].depth + m->stacks->a->deepest > GRAMMAR_MAX_DEPTH)
        return FAILED; /* near the bound, what surrounds matters */
    uint8_t rounds = (uint8_t)(left > ROUNDS_MAX ? ROUNDS_MAX : left);
    add_tokens(m, p, rounds, mask);
    add_rests(m, p, rounds, at.then, mask);
    return m->stacks->err;
}

int masks_add(struct masks *m, const struct token_trie *t, uint32_t set, uint32_t *mask)
{
    m->trie = t;
    if (!m->path)
        m->path = malloc((t->longest + 1ull) * sizeof(*m->path));
    if (!m->path)
        return -ENOMEM;
    forget_old(m);
    int r = 0;
    for (uint32_t i = 0; i < m->stacks->sets[set].n && r == 0; i++) {
        struct place p = m->stacks->pool.v[m->stacks->sets[set].at + i];
        if (p.node)
            r = add_place(m, p, mask);
    }
    if (r != FAILED)
        return r;
    memset(mask, 0, t->n_words * sizeof(*mask));
    walk_below(m, 0, set, mask);
    return m->stacks->err;
}
