#include "engine/local/grammar/constraint.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/thread.h"
#include "engine/local/grammar/constraint_impl.h"

enum {
    WORD_BITS = 32,
    SOFT_BYTES = 16 * MIB, /* of sets: above, those of no sequence are forgotten */
};

/* --- what sequences share --- */

static struct matcher *matcher_free(struct matcher *m)
{
    masks_done(&m->masks);
    stacks_done(&m->stacks);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
    return NULL;
}

void matchers_free(struct matcher *m)
{
    while (m) {
        struct matcher *next = m->next;
        assert(!m->users);
        (void)matcher_free(m);
        m = next;
    }
}

static void find_marks(struct matcher *m)
{
    for (uint32_t i = 0; i < m->a->n_marks; i++) {
        m->marks[i] = -1;
        for (uint32_t k = 0; k < m->trie->n_control && m->marks[i] < 0; k++)
            if (str_eq(m->trie->control[k].text, m->a->marks[i]))
                m->marks[i] = m->trie->control[k].id;
    }
}

static int matcher_new(struct matcher **ret, const struct automaton *a, const struct token_trie *t)
{
    struct matcher *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->a = a;
    m->trie = t;
    m->serial = t->serial;
    (void)pthread_mutex_init(&m->lock, NULL);
    if (stacks_init(&m->stacks, a) < 0) {
        (void)matcher_free(m);
        return -ENOMEM;
    }
    masks_init(&m->masks, &m->stacks);
    find_marks(m);
    *ret = m;
    return 0;
}

/* The grammar's matcher for a vocabulary, old or new. */
static int matcher_of(struct matcher **ret, struct grammar *g, const struct token_trie *t)
{
    LOCKED(&g->lock);
    struct matcher *m = g->matchers;
    while (m && m->serial != t->serial)
        m = m->next;
    if (!m) {
        int r = matcher_new(&m, &g->a, t);
        if (r < 0)
            return r;
        m->next = g->matchers;
        g->matchers = m;
    }
    *ret = m;
    return 0;
}

/* Before each use: errors and work are counted anew, and what nobody needs is forgotten. Lock is
 * held. */
static int refresh(struct matcher *m)
{
    m->stacks.err = 0;
    m->stacks.work = 0;
    if (stacks_bytes(&m->stacks) < SOFT_BYTES)
        return 0;
    size_t n = 0;
    for (struct constraint *c = m->users; c; c = c->next)
        n++;
    uint32_t **roots = calloc(n + 1, sizeof(*roots));
    if (!roots)
        return -ENOMEM;
    n = 0;
    for (struct constraint *c = m->users; c; c = c->next) {
        roots[n++] = &c->set;
        c->masked = STACKS_DEAD;
    }
    int r = stacks_compact(&m->stacks, roots, n);
    free(roots);
    return r;
}

/* --- constraints --- */

int constraint_new(struct constraint **ret, struct grammar *g, const struct token_trie *t)
{
    CLEANUP(constraint_freep) struct constraint *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->g = grammar_share(g);
    c->mask = malloc((t->n_words + 1ull) * sizeof(*c->mask));
    if (!c->mask)
        return -ENOMEM;
    struct matcher *m = NULL;
    int r = matcher_of(&m, g, t);
    if (r < 0)
        return r;
    LOCKED(&m->lock);
    if (refresh(m) < 0)
        return -ENOMEM;
    c->set = stacks_start(&m->stacks);
    if (m->stacks.err)
        return -ENOMEM;
    c->m = m;
    c->next = m->users;
    c->link = &m->users;
    if (c->next)
        c->next->link = &c->next;
    m->users = c;
    *ret = TAKE(c);
    return 0;
}

static void unlink_user(struct constraint *c)
{
    LOCKED(&c->m->lock);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
}

struct constraint *constraint_free(struct constraint *c)
{
    if (!c)
        return NULL;
    if (c->m)
        unlink_user(c);
    (void)grammar_unref(c->g);
    free(c->mask);
    free(c);
    return NULL;
}

static void set_bit(uint32_t *mask, int32_t id)
{
    mask[(uint32_t)id / WORD_BITS] |= 1u << ((uint32_t)id % WORD_BITS);
}

static bool fill_mask(struct constraint *c)
{
    struct matcher *m = c->m;
    memset(c->mask, 0, m->trie->n_words * sizeof(*c->mask));
    if (masks_add(&m->masks, m->trie, c->set, c->mask) < 0)
        return false;
    for (uint32_t i = 0; i < m->a->n_marks; i++)
        if (m->marks[i] >= 0 &&
            stacks_step(&m->stacks, c->set, m->a->n_byte_classes + i) != STACKS_DEAD)
            set_bit(c->mask, m->marks[i]);
    if (stacks_may_end(&m->stacks, c->set))
        for (uint32_t i = 0; i < m->trie->n_eog; i++)
            set_bit(c->mask, m->trie->eog[i]);
    return !m->stacks.err;
}

const uint32_t *constraint_mask(struct constraint *c)
{
    LOCKED(&c->m->lock);
    if (refresh(c->m) < 0)
        return NULL;
    if (c->masked != c->set) {
        c->masked = STACKS_DEAD;
        if (!fill_mask(c))
            return NULL;
        c->masked = c->set;
    }
    return c->mask;
}

/* The set behind bytes; STACKS_DEAD: none. */
static uint32_t follow(struct matcher *m, uint32_t set, struct str bytes)
{
    for (size_t i = 0; i < bytes.n && set != STACKS_DEAD; i++)
        set = stacks_step(&m->stacks, set, m->a->class_of[(uint8_t)bytes.p[i]]);
    return set;
}

static uint32_t follow_mark(struct matcher *m, uint32_t set, int32_t id)
{
    for (uint32_t i = 0; i < m->a->n_marks; i++)
        if (m->marks[i] == id)
            return stacks_step(&m->stacks, set, m->a->n_byte_classes + i);
    return STACKS_DEAD;
}

static bool is_eog(const struct token_trie *t, int32_t id)
{
    for (uint32_t i = 0; i < t->n_eog; i++)
        if (t->eog[i] == id)
            return true;
    return false;
}

bool constraint_accept(struct constraint *c, int32_t id)
{
    struct matcher *m = c->m;
    const struct token_trie *t = m->trie;
    if (id < 0 || (uint32_t)id >= t->n_vocab)
        return false;
    LOCKED(&m->lock);
    if (refresh(m) < 0)
        return false;
    uint32_t next = STACKS_DEAD;
    if (is_eog(t, id))
        next = stacks_may_end(&m->stacks, c->set) ? m->stacks.end : STACKS_DEAD;
    else if (t->bytes[id].n)
        next = follow(m, c->set, (struct str){ t->pool + t->bytes[id].at, t->bytes[id].n });
    else
        next = follow_mark(m, c->set, id);
    if (next == STACKS_DEAD)
        return false;
    c->set = next;
    return true;
}

bool constraint_accept_bytes(struct constraint *c, struct str bytes)
{
    LOCKED(&c->m->lock);
    if (refresh(c->m) < 0)
        return false;
    uint32_t next = follow(c->m, c->set, bytes);
    if (next == STACKS_DEAD)
        return false;
    c->set = next;
    return true;
}

bool constraint_may_end(const struct constraint *c)
{
    LOCKED(&c->m->lock);
    return stacks_may_end(&c->m->stacks, c->set);
}

bool constraint_must_end(const struct constraint *c)
{
    LOCKED(&c->m->lock);
    return stacks_must_end(&c->m->stacks, c->set);
}
