/* How endpoints are: ejection with growing time, trials, slow start, checks, latencies. */
#include "engine/upstream/pool_inside.h"

#include <math.h>

enum {
    PROBES_IN_A_ROW = 2,   /* that fail, of one that was well before */
    EWMA_TAU_MS = 10000,   /* a sample's weight falls to 1/e in this time */
    FAULT_US_MIN = 100000, /* what a fault costs at least, in first-token time */
    FAULT_US_MAX = 60000000,
    BUSY_MAX_MS = 3600000, /* whatever Retry-After says */
};
#define SLOW_START_LEAST 0.1 /* of its weight, at the beginning */

double pool_grown(struct pool *p, unsigned i, uint64_t now_ms)
{
    const struct pool_endpoint *e = &p->endpoints[i];
    uint64_t slow = p->config->slow_start_ms;
    if (now_ms >= e->returned_ms + slow) {
        p->growing &= ~(1ull << i);
        return 1;
    }
    double grown = now_ms > e->returned_ms ? (double)(now_ms - e->returned_ms) / (double)slow : 0;
    return fmax(grown, SLOW_START_LEAST);
}

enum pool_fitness pool_fitness(struct pool *p, unsigned i, uint64_t now_ms, uint64_t *ret_wait_ms)
{
    const struct pool_endpoint *e = &p->endpoints[i];
    uint64_t most = p->config->breaker_pending;
    if (e->busy_until_ms > now_ms) {
        *ret_wait_ms = e->busy_until_ms - now_ms;
        return POOL_later;
    }
    if (most && e->running >= most) {
        *ret_wait_ms = POOL_FULL_WAIT_MS;
        return POOL_later;
    }
    if (e->probe_failed)
        return POOL_out;
    if (!e->is_ejected) {
        p->watched &= ~(1ull << i);
        return POOL_fit;
    }
    return now_ms >= e->ejected_until_ms && now_ms >= e->trial_until_ms ? POOL_trial : POOL_out;
}

/* ---- ejection ---- */

/* One step of heat is forgotten each eject_ms without a new ejection. */
static void cool(const struct pool *p, struct pool_endpoint *e, uint64_t now_ms)
{
    uint64_t step = p->config->eject_ms ? p->config->eject_ms : 1;
    if (now_ms <= e->cooled_ms)
        return;
    uint64_t steps = (now_ms - e->cooled_ms) / step;
    e->heat = steps < e->heat ? e->heat - (unsigned)steps : 0;
    e->cooled_ms += steps * step;
}

/* At least one may go where there is another to ask. */
static bool may_eject(const struct pool *p, const struct pool_endpoint *e)
{
    const struct pool_level *l = &p->levels[e->level];
    double most = floor(p->config->eject_max * l->n + 1e-9); /* 0.3 of ten are three */
    if (most < 1 && p->config->eject_max > 0 && p->n > 1)
        most = 1;
    return p->config->eject_errors && l->n_ejected < most;
}

static void leave_out(const struct pool *p, struct pool_endpoint *e, uint64_t now_ms)
{
    static const unsigned times[] = { 1, 2, 4, 8, 10 };
    e->ejected_until_ms = now_ms + p->config->eject_ms * times[e->heat];
    if (e->heat + 1 < ARRAY_LEN(times))
        e->heat++;
    e->trial_until_ms = 0;
    e->trials = 0;
    e->in_a_row = 0;
}

static void begin_to_grow(struct pool *p, unsigned i, uint64_t now_ms)
{
    p->endpoints[i].returned_ms = now_ms;
    p->growing |= 1ull << i;
}

static void bring_back(struct pool *p, unsigned i, uint64_t now_ms)
{
    struct pool_endpoint *e = &p->endpoints[i];
    e->is_ejected = false;
    p->levels[e->level].n_ejected--;
    e->trials = 0;
    e->in_a_row = 0;
    e->cooled_ms = now_ms;
    begin_to_grow(p, i, now_ms);
}

/* A request that was under way while it is left out. Only those that began since tell: older ones
 * cannot be known apart from them, and are taken for them. */
static void trial_ended(struct pool *p, unsigned i, const struct pool_end *end)
{
    struct pool_endpoint *e = &p->endpoints[i];
    if (!e->trials)
        return;
    e->trials--;
    if (end->outcome == POOL_ok || end->outcome == POOL_busy) /* it answers */
        bring_back(p, i, end->now_ms);
    else if (end->outcome == POOL_neutral)
        e->trial_until_ms = 0; /* nothing was learnt: the next may try */
    else if (end->now_ms >= e->ejected_until_ms)
        leave_out(p, e, end->now_ms);
}

static void well(struct pool_endpoint *e)
{
    e->in_a_row = 0;
    e->was_well = true;
}

static void faulty(struct pool *p, unsigned i, uint64_t now_ms)
{
    struct pool_endpoint *e = &p->endpoints[i];
    e->in_a_row++;
    if (e->in_a_row < p->config->eject_errors || !may_eject(p, e))
        return;
    cool(p, e, now_ms);
    e->is_ejected = true;
    p->watched |= 1ull << i;
    p->levels[e->level].n_ejected++;
    leave_out(p, e, now_ms);
}

void pool_ended(struct pool *p, unsigned i, const struct pool_end *end)
{
    struct pool_endpoint *e = &p->endpoints[i];
    /* The only one is asked again soon, though not by the request that was refused: what it said
     * was for that one, or for one client. */
    uint64_t most = p->n > 1 ? BUSY_MAX_MS : (p->config->max_retry_after_s + 1) * 1000;
    uint64_t later = end->retry_after_ms < most ? end->retry_after_ms : most;
    if (end->outcome == POOL_busy && end->now_ms + later > e->busy_until_ms) {
        e->busy_until_ms = end->now_ms + later;
        p->watched |= 1ull << i;
    }
    if (e->is_ejected)
        trial_ended(p, i, end);
    else if (end->outcome == POOL_fault)
        faulty(p, i, end->now_ms);
    else if (end->outcome != POOL_neutral)
        well(e);
}

void pool_probe(struct pool *p, unsigned i, bool healthy, uint64_t now_ms)
{
    LOCKED(&p->lock);
    struct pool_endpoint *e = &p->endpoints[i];
    if (!healthy) {
        e->probe_faults++;
        e->probe_failed |= !e->was_well || e->probe_faults >= PROBES_IN_A_ROW;
        p->watched |= 1ull << i;
        return;
    }
    e->probe_faults = 0;
    e->was_well = true;
    if (!e->probe_failed)
        return; /* requests know more than checks: who is ejected stays so */
    e->probe_failed = false;
    begin_to_grow(p, i, now_ms);
    if (e->is_ejected && e->ejected_until_ms > now_ms)
        e->ejected_until_ms = now_ms; /* it was gone and is there again: one may try */
}

/* Requests under way there are not ours, so a trial of theirs is nobody's here. */
void pool_take_over(struct pool *p, unsigned i, const struct pool_endpoint *was, uint64_t now_ms)
{
    struct pool_endpoint *e = &p->endpoints[i];
    e->requests = was->requests;
    e->faults = was->faults;
    e->in_a_row = was->in_a_row;
    e->heat = was->heat;
    e->cooled_ms = was->cooled_ms;
    e->was_well = was->was_well;
    e->busy_until_ms = was->busy_until_ms;
    e->ewma_us = was->ewma_us;
    e->ewma_ms = was->ewma_ms;
    e->returned_ms = was->returned_ms;
    if (was->returned_ms && now_ms < was->returned_ms + p->config->slow_start_ms)
        p->growing |= 1ull << i;
    if (p->config->health_path.n) { /* else nothing would ever bring it back */
        e->probe_faults = was->probe_faults;
        e->probe_failed = was->probe_failed;
    }
    if (was->is_ejected && may_eject(p, e)) {
        e->is_ejected = true;
        e->ejected_until_ms = was->ejected_until_ms;
        p->levels[e->level].n_ejected++;
    }
    if (e->is_ejected || e->probe_failed || e->busy_until_ms > now_ms)
        p->watched |= 1ull << i;
}

/* ---- latency ---- */

double pool_cost_us(const struct pool_endpoint *e, uint64_t now_ms)
{
    if (e->ewma_us <= 0 || now_ms <= e->ewma_ms)
        return e->ewma_us;
    return e->ewma_us * exp(-(double)(now_ms - e->ewma_ms) / EWMA_TAU_MS);
}

/* Peak EWMA: what is worse is believed at once, what is better by and by; and all of it fades, so
 * that who was slow is asked again. */
void pool_sample(struct pool *p, struct pool_endpoint *e, const struct pool_end *end)
{
    double us = (double)end->first_us, was = pool_cost_us(e, end->now_ms);
    if (end->first_us && end->outcome != POOL_fault)
        pool_histogram_add(&p->first, end->first_us);
    if (end->outcome == POOL_fault) /* a quick fault is no good latency */
        us = fmin(fmax(us, fmax(2 * was, FAULT_US_MIN)), FAULT_US_MAX);
    else if (end->first_us == 0)
        return;
    double age = end->now_ms > e->ewma_ms ? (double)(end->now_ms - e->ewma_ms) : 0;
    double keep = exp(-age / EWMA_TAU_MS);
    e->ewma_us = us > was ? us : e->ewma_us * keep + us * (1 - keep);
    if (end->now_ms > e->ewma_ms)
        e->ewma_ms = end->now_ms;
}
