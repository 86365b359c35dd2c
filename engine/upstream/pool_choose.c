/* Who is asked: homes of adapters, affinity within bounded load, and the balance. */
#include "engine/upstream/pool_inside.h"

#include <math.h>

/*
 * Under so many requests nobody's load is called uneven: an engine batches them, and a strict bound
 * would send the second request of an idle fleet away from its prefix cache, or load its adapter
 * twice.
 */
enum { EVEN_ENOUGH = 4 };

static unsigned lowest(uint64_t set)
{
    return (unsigned)__builtin_ctzll(set);
}

static inline double share(struct pool *p, unsigned i, uint64_t now_ms)
{
    double full = p->endpoints[i].share;
    return p->growing >> i & 1 ? full * pool_grown(p, i, now_ms) : full;
}

/* The number of its shares that one request is. */
static inline double one_of(struct pool *p, unsigned i, uint64_t now_ms)
{
    return p->growing >> i & 1 ? 1 / share(p, i, now_ms) : p->endpoints[i].one;
}

static bool alike(const struct pool *p)
{
    return p->all_alike && !p->growing;
}

/* ---- balance ---- */

/* Smooth weighted round robin: each gets its share in every run of picks, spread evenly. */
static unsigned next_in_turn(struct pool *p, uint64_t among, uint64_t now_ms)
{
    double total = 0;
    unsigned best = lowest(among);
    for (uint64_t left = among; left; left &= left - 1) {
        unsigned i = lowest(left);
        double w = share(p, i, now_ms);
        p->endpoints[i].turn += w;
        total += w;
        if (p->endpoints[i].turn > p->endpoints[best].turn)
            best = i;
    }
    p->endpoints[best].turn -= total;
    return best;
}

static unsigned any_of(struct pool *p, uint64_t among)
{
    uint64_t n = (uint64_t)__builtin_popcountll(among);
    for (uint64_t k = (pool_random(p) >> 32) * n >> 32; k; k--)
        among &= among - 1;
    return lowest(among);
}

static unsigned by_chance(struct pool *p, uint64_t among, uint64_t now_ms)
{
    if (alike(p))
        return any_of(p, among);
    double total = 0;
    for (uint64_t left = among; left; left &= left - 1)
        total += share(p, lowest(left), now_ms);
    double at = pool_unit(pool_random(p)) * total;
    uint64_t left = among;
    while (left & (left - 1)) {
        at -= share(p, lowest(left), now_ms);
        if (at < 0)
            break;
        left &= left - 1;
    }
    return lowest(left);
}

/*
 * Those that have least under way for their weight. Equal: nobody would have less with one more;
 * among them it goes in turn, so that an idle pool is shared by weight too.
 */
static unsigned least_loaded(struct pool *p, uint64_t among, uint64_t now_ms)
{
    double bound = INFINITY, load[POOL_MAX];
    uint64_t equal = 0;
    for (uint64_t left = among; left; left &= left - 1) {
        unsigned i = lowest(left);
        double one = one_of(p, i, now_ms);
        load[i] = p->endpoints[i].running * one;
        bound = load[i] + one < bound ? load[i] + one : bound;
    }
    for (uint64_t left = among; left; left &= left - 1)
        if (load[lowest(left)] < bound)
            equal |= left & -left;
    return next_in_turn(p, equal, now_ms);
}

/* The cheaper of two at random: latency times what waits there. One of which nothing is known is
 * asked once, then stands back until it is. */
static double expected_cost(struct pool *p, unsigned i, uint64_t now_ms)
{
    const double unknown_us = 1e9;
    const struct pool_endpoint *e = &p->endpoints[i];
    double us = pool_cost_us(e, now_ms);
    if (us < 1)
        us = e->running ? unknown_us : 1;
    return us * (e->running + 1) * one_of(p, i, now_ms);
}

static unsigned better_of_two(struct pool *p, uint64_t among, uint64_t now_ms)
{
    unsigned a = by_chance(p, among, now_ms);
    uint64_t rest = among & ~(1ull << a);
    if (!rest)
        return a;
    unsigned b = by_chance(p, rest, now_ms);
    return expected_cost(p, b, now_ms) < expected_cost(p, a, now_ms) ? b : a;
}

static unsigned balance(struct pool *p, uint64_t among, uint64_t now_ms)
{
    switch ((enum upstream_balance)p->config->balance) {
    case BALANCE_p2c:
        return better_of_two(p, among, now_ms);
    case BALANCE_round_robin:
        return next_in_turn(p, among, now_ms);
    case BALANCE_random:
        return by_chance(p, among, now_ms);
    case BALANCE_least_request:
        break;
    }
    return least_loaded(p, among, now_ms);
}

/* ---- affinity ---- */

/*
 * Those whose load allows one more: no more than affinity_load times their share of what would then
 * be under way. Never empty: the bounds sum up to more than there is.
 */
static uint64_t with_room(struct pool *p, uint64_t among, uint64_t now_ms)
{
    const double exact = 1e-9; /* of a product that is a whole number but for rounding */
    double total = 0, weights = 0;
    uint64_t room = 0;
    for (uint64_t left = among; left; left &= left - 1) {
        total += p->endpoints[lowest(left)].running;
        weights += share(p, lowest(left), now_ms);
    }
    double each = p->config->affinity_load * (total + 1) / weights;
    for (uint64_t left = among; left; left &= left - 1) {
        unsigned i = lowest(left);
        double running = p->endpoints[i].running; /* whole: below the bound rounded up, too */
        if (running < EVEN_ENOUGH || running < each * share(p, i, now_ms) - exact)
            room |= left & -left;
    }
    return room ? room : among;
}

/* Rendezvous: the greatest draw; keys of one that leaves go to others, no other key moves. Weighted
 * as by Schindelhauer and Schomaker: -weight / ln(u), which where all weigh the same is u's order.
 */
static unsigned home(const struct pool *p, uint64_t among, uint64_t key)
{
    unsigned found = lowest(among);
    double best = -1;
    for (uint64_t left = among; left; left &= left - 1) {
        unsigned i = lowest(left);
        double u = pool_unit(pool_mix(key ^ p->endpoints[i].id));
        double draw = p->all_alike ? u : -p->endpoints[i].share / log(u);
        if (draw > best) {
            best = draw;
            found = i;
        }
    }
    return found;
}

static uint64_t affinity_key(const struct pool *p, const struct pool_ask *ask)
{
    unsigned a = p->config->affinity;
    if ((a == AFFINITY_session || a == AFFINITY_auto) && ask->session)
        return ask->session;
    return a == AFFINITY_prefix || a == AFFINITY_auto ? ask->prefix : 0;
}

unsigned pool_choose(struct pool *p, const struct pool_ask *ask, uint64_t among)
{
    uint64_t key = affinity_key(p, ask);
    if ((!key && !ask->adapter) || !(among & (among - 1)))
        return balance(p, among, ask->now_ms);
    uint64_t room = with_room(p, among, ask->now_ms);
    if (ask->adapter && !(room & ask->resident))
        return home(p, room, ask->adapter);
    if (ask->adapter)
        room &= ask->resident;
    return key ? home(p, room, key) : balance(p, room, ask->now_ms);
}
