#include "engine/upstream/pool_inside.h"

#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t pool_prefix_hash(const char *p, size_t n)
{
    uint64_t h = hash_bytes(p, n, /* seed= */ 0);
    return h ? h : 1; /* 0 says: unknown */
}

/* Levels in the order of their priorities. */
static void add_to_level(struct pool *p, unsigned i, uint64_t priority)
{
    unsigned l = 0;
    while (l < p->n_levels && p->levels[l].priority < priority)
        l++;
    if (l == p->n_levels || p->levels[l].priority != priority) {
        memmove(&p->levels[l + 1], &p->levels[l], (p->n_levels - l) * sizeof(p->levels[0]));
        p->levels[l] = (struct pool_level){ .priority = priority };
        p->n_levels++;
    }
    bool resort = !(p->endpoints[i].weight > 0);
    *(resort ? &p->levels[l].resort : &p->levels[l].usual) |= 1ull << i;
    p->levels[l].n++;
}

static void find_levels(struct pool *p)
{
    const struct config_endpoint *all = p->config->endpoints.items;
    for (unsigned i = 0; i < p->n; i++)
        add_to_level(p, i, all[i].priority);
    for (unsigned i = 0; i < p->n; i++)
        for (unsigned l = 0; l < p->n_levels; l++)
            if (p->levels[l].priority == all[i].priority)
                p->endpoints[i].level = l;
}

int pool_new(struct pool **ret, const struct config_upstream *config, uint64_t seed)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    (void)pthread_mutex_init(&p->lock, NULL);
    const struct config_endpoint *all = config->endpoints.items;
    assert(config->endpoints.n > 0); /* config says so */
    p->config = config;
    p->random = seed;
    p->n = config->endpoints.n < POOL_MAX ? (unsigned)config->endpoints.n : POOL_MAX;
    p->all_alike = true;
    for (unsigned i = 0; i < p->n; i++) {
        p->endpoints[i].weight = all[i].weight;
        p->endpoints[i].share = all[i].weight > 0 ? all[i].weight : 1;
        p->endpoints[i].one = 1 / p->endpoints[i].share;
        p->all_alike &= p->endpoints[i].one == p->endpoints[0].one;
        p->endpoints[i].id = pool_prefix_hash(all[i].name.p, all[i].name.n);
        /* Gateways that start together do not all begin with the first. */
        p->endpoints[i].turn = p->endpoints[i].share * pool_unit(pool_random(p));
    }
    find_levels(p);
    pool_budgets_start(p);
    *ret = p;
    return 0;
}

/* The endpoint of `from` that endpoint i is; NULL: it is new. */
static const struct pool_endpoint *same_endpoint(const struct pool *p, unsigned i,
                                                 const struct pool *from)
{
    const struct config_endpoint *ours = p->config->endpoints.items,
                                 *theirs = from->config->endpoints.items;
    const struct pool_endpoint *best = NULL;
    for (unsigned k = 0; k < from->n; k++) {
        if (!str_eq(ours[i].url, theirs[k].url))
            continue;
        if (str_eq(ours[i].name, theirs[k].name))
            return &from->endpoints[k];
        best = best ? best : &from->endpoints[k];
    }
    return best;
}

void pool_adopt(struct pool *p, struct pool *from, uint64_t now_ms)
{
    LOCKED(&from->lock);
    for (unsigned i = 0; i < p->n; i++) {
        const struct pool_endpoint *was = same_endpoint(p, i, from);
        if (was)
            pool_take_over(p, i, was, now_ms);
    }
    p->first = from->first;
    p->recent = from->recent;
    p->filled_ms = from->filled_ms;
    p->retries.tokens = from->retries.tokens;
    p->hedges.tokens = p->config->hedge_budget > 0 ? from->hedges.tokens : 0;
}

struct pool *pool_free(struct pool *p)
{
    if (!p)
        return NULL;
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

/* ---- picking ---- */

/* How the endpoints are for one request: bits. */
struct survey {
    uint64_t fit, trial, out, later;
    uint64_t wait_ms; /* the least, of those that are later */
};

static struct survey survey(struct pool *p, const struct pool_ask *ask)
{
    struct survey s = { .wait_ms = UINT64_MAX };
    uint64_t asked = ~ask->excluded & (UINT64_MAX >> (POOL_MAX - p->n));
    uint64_t look = p->config->breaker_pending ? asked : asked & p->watched;
    s.fit = asked & ~look;
    for (; look; look &= look - 1) {
        uint64_t wait_ms = UINT64_MAX, bit = look & -look;
        switch (pool_fitness(p, (unsigned)__builtin_ctzll(look), ask->now_ms, &wait_ms)) {
        case POOL_fit:
            s.fit |= bit;
            break;
        case POOL_trial:
            s.trial |= bit;
            break;
        case POOL_out:
            s.out |= bit;
            break;
        case POOL_later:
            s.later |= bit;
            s.wait_ms = wait_ms < s.wait_ms ? wait_ms : s.wait_ms;
            break;
        }
    }
    return s;
}

/* Of the first level that has any of `set`; those of weight 0 only where no level has others. */
static uint64_t best_level(const struct pool *p, uint64_t set)
{
    for (unsigned l = 0; l < p->n_levels; l++)
        if (set & p->levels[l].usual)
            return set & p->levels[l].usual;
    for (unsigned l = 0; l < p->n_levels; l++)
        if (set & p->levels[l].resort)
            return set & p->levels[l].resort;
    return 0;
}

/* One that is due is tried at once, unless the request would have to load its adapter there. */
static uint64_t due_trial(const struct survey *s, uint64_t level, const struct pool_ask *ask)
{
    uint64_t due = level & s->trial;
    if (ask->adapter && (level & s->fit))
        due &= ask->resident;
    return due & -due;
}

int pool_pick(struct pool *p, const struct pool_ask *ask, uint64_t *ret_wait_ms)
{
    LOCKED(&p->lock);
    struct survey s = survey(p, ask);
    uint64_t level = best_level(p, s.fit | s.trial);
    uint64_t due = due_trial(&s, level, ask);
    if (due) {
        unsigned i = (unsigned)__builtin_ctzll(due);
        p->endpoints[i].trial_until_ms = ask->now_ms + POOL_GRANT_MS;
        return (int)i;
    }
    if (level & s.fit)
        return (int)pool_choose(p, ask, level & s.fit);
    if (s.out) /* nobody is left who is well: to ask one that is not is better than to fail */
        return (int)pool_choose(p, ask, best_level(p, s.out));
    if (!s.later)
        return -ENOENT;
    *ret_wait_ms = s.wait_ms;
    return -EAGAIN;
}

/* ---- requests ---- */

void pool_begin(struct pool *p, unsigned i, uint64_t now_ms)
{
    LOCKED(&p->lock);
    struct pool_endpoint *e = &p->endpoints[i];
    e->running++;
    e->requests++;
    atomic_fetch_add_explicit(&p->running, 1, memory_order_relaxed);
    if (!e->is_ejected)
        return;
    e->trials++;
    if (now_ms >= e->ejected_until_ms) /* one that says nothing for long is not waited for */
        e->trial_until_ms = now_ms + p->config->eject_ms;
}

void pool_end(struct pool *p, unsigned i, const struct pool_end *end)
{
    LOCKED(&p->lock);
    struct pool_endpoint *e = &p->endpoints[i];
    if (e->running) {
        e->running--;
        atomic_fetch_sub_explicit(&p->running, 1, memory_order_relaxed);
    }
    e->faults += end->outcome == POOL_fault;
    pool_sample(p, e, end);
    pool_ended(p, i, end);
}

void pool_first(struct pool *p, unsigned i, uint64_t us, uint64_t now_ms)
{
    struct pool_end first = { .now_ms = now_ms, .outcome = POOL_ok, .first_us = us };
    LOCKED(&p->lock);
    pool_sample(p, &p->endpoints[i], &first);
}

void pool_waited(struct pool *p, unsigned i, uint64_t us, uint64_t now_ms)
{
    LOCKED(&p->lock);
    struct pool_endpoint *e = &p->endpoints[i];
    if ((double)us <= pool_cost_us(e, now_ms))
        return;
    e->ewma_us = (double)us;
    e->ewma_ms = now_ms > e->ewma_ms ? now_ms : e->ewma_ms;
}

void pool_look(struct pool *p, unsigned i, uint64_t now_ms, struct pool_state *ret)
{
    LOCKED(&p->lock);
    const struct pool_endpoint *e = &p->endpoints[i];
    *ret = (struct pool_state){ .running = e->running,
                                .ejected = e->is_ejected,
                                .probe_failed = e->probe_failed,
                                .first_ewma_us = pool_cost_us(e, now_ms),
                                .requests = e->requests,
                                .faults = e->faults };
}

size_t pool_running(const struct pool *p)
{
    return atomic_load_explicit(&p->running, memory_order_relaxed);
}
