/* Budgets of retries and hedges, and when a first token is late. */
#include "engine/upstream/pool_inside.h"

#include <math.h>

enum {
    MILLION = 1000000,
    HEDGES_MAX = 10 /* saved up, and there at the start */
};

static void recent_move(struct pool_recent *r, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    if (second > r->second + POOL_RECENT_S)
        r->second = second - POOL_RECENT_S; /* all of them are forgotten */
    while (r->second < second) {
        uint32_t *slot = &r->count[++r->second % POOL_RECENT_S];
        r->total -= *slot;
        *slot = 0;
    }
}

static void earn(struct pool_bucket *b, const struct pool_recent *r, uint64_t tokens)
{
    uint64_t most = b->most + b->each * r->total;
    b->tokens += tokens;
    if (b->tokens > most)
        b->tokens = most;
}

static bool take(struct pool_bucket *b)
{
    if (b->tokens < MILLION)
        return false;
    b->tokens -= MILLION;
    return true;
}

static struct pool_bucket bucket(uint64_t saved, double each)
{
    uint64_t most = saved * MILLION;
    return (struct pool_bucket){ most, most, (uint64_t)(each * MILLION + 0.5) };
}

void pool_budgets_start(struct pool *p)
{
    const struct config_upstream *c = p->config;
    p->retries = bucket(c->retry_min * POOL_RECENT_S, c->retry_budget);
    p->hedges = bucket(c->hedge_budget > 0 ? HEDGES_MAX : 0, c->hedge_budget);
}

static void move(struct pool *p, uint64_t now_ms)
{
    const uint64_t longest_ms = POOL_RECENT_S * 1000ull; /* all that is saved anyway */
    recent_move(&p->recent, now_ms);
    uint64_t ms = p->filled_ms && now_ms > p->filled_ms ? now_ms - p->filled_ms : 0;
    if (ms > longest_ms)
        ms = longest_ms;
    earn(&p->retries, &p->recent, ms * p->config->retry_min * (MILLION / 1000));
    earn(&p->hedges, &p->recent, 0);
    if (now_ms > p->filled_ms)
        p->filled_ms = now_ms;
}

void pool_count(struct pool *p, uint64_t now_ms)
{
    LOCKED(&p->lock);
    move(p, now_ms);
    p->recent.count[p->recent.second % POOL_RECENT_S]++;
    p->recent.total++;
    earn(&p->retries, &p->recent, p->retries.each);
    earn(&p->hedges, &p->recent, p->hedges.each);
}

bool pool_may_retry(struct pool *p, uint64_t now_ms)
{
    LOCKED(&p->lock);
    move(p, now_ms);
    return take(&p->retries);
}

bool pool_may_hedge(struct pool *p, uint64_t now_ms)
{
    LOCKED(&p->lock);
    move(p, now_ms);
    return take(&p->hedges);
}

/* ---- first tokens ---- */

/* Bucket b ends at 2^((b + 1) / POOL_HIST_FINE) us. */
static unsigned bucket_of(uint64_t us)
{
    double at = floor(log2((double)us) * POOL_HIST_FINE);
    return at < POOL_HIST_BUCKETS ? (unsigned)at : POOL_HIST_BUCKETS - 1;
}

void pool_histogram_add(struct pool_histogram *h, uint64_t us)
{
    h->count[bucket_of(us ? us : 1)]++;
    h->samples++;
    h->total++;
    if (h->total < POOL_HIST_RECENT)
        return;
    h->total = 0;
    for (unsigned b = 0; b < POOL_HIST_BUCKETS; b++)
        h->total += h->count[b] /= 2;
}

static uint64_t percentile_ms(const struct pool_histogram *h, double fraction)
{
    double wanted = fraction * (double)h->total, seen = 0;
    unsigned b = 0;
    for (; b < POOL_HIST_BUCKETS - 1; b++) {
        seen += h->count[b];
        if (seen >= wanted && h->count[b])
            break;
    }
    return (uint64_t)ceil(exp2((double)(b + 1) / POOL_HIST_FINE) / 1000);
}

uint64_t pool_hedge_after(struct pool *p)
{
    const struct config_upstream *c = p->config;
    if (p->n < 2 || (!c->hedge_percentile && !c->hedge_ms))
        return UINT64_MAX;
    LOCKED(&p->lock);
    if (c->hedge_percentile > 0 && p->first.samples >= POOL_HEDGE_KNOWN)
        return percentile_ms(&p->first, c->hedge_percentile);
    return c->hedge_ms ? c->hedge_ms : UINT64_MAX;
}
