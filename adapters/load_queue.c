#include "adapters/load_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { N_BUCKETS = 256, SWEEP_AT = 64 };

struct load_tenant {
    struct load_tenant *next_hash;
    struct load_tenant *prev, *next; /* of those with something queued */
    struct load_item *first, *last;
    uint64_t served; /* virtual bytes */
    uint64_t queued; /* bytes */
    bool passed;     /* nothing of it fits, in the search that runs */
    size_t n_name;
    char name[];
};

struct load_queue {
    struct load_tenant *buckets[N_BUCKETS];
    struct load_tenant *busy;
    uint64_t now; /* where the tenant stood that was served last */
    size_t len, n_idle;
};

int load_queue_new(struct load_queue **ret)
{
    return (*ret = calloc(1, sizeof(**ret))) ? 0 : -ENOMEM;
}

struct load_queue *load_queue_free(struct load_queue *q)
{
    for (size_t i = 0; q && i < N_BUCKETS; i++)
        while (q->buckets[i]) {
            struct load_tenant *t = q->buckets[i];
            q->buckets[i] = t->next_hash;
            free(t);
        }
    free(q);
    return NULL;
}

/* ---- tenants ---- */

static size_t bucket_of(struct str name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 16777619u;
    return h % N_BUCKETS;
}

static struct load_tenant *find(const struct load_queue *q, struct str name)
{
    struct load_tenant *t = q->buckets[bucket_of(name)];
    while (t && !str_eq((struct str){ t->name, t->n_name }, name))
        t = t->next_hash;
    return t;
}

/* Forgets the idle that are not ahead of anybody: they would begin at `now` anyway. */
static void sweep(struct load_queue *q)
{
    for (size_t i = 0; i < N_BUCKETS; i++)
        for (struct load_tenant **at = &q->buckets[i], *t; (t = *at);) {
            if (t->first || t->served > q->now) {
                at = &t->next_hash;
                continue;
            }
            *at = t->next_hash;
            q->n_idle--;
            free(t);
        }
}

static struct load_tenant *enter(struct load_queue *q, struct str name)
{
    struct load_tenant *t = find(q, name), **at = &q->buckets[bucket_of(name)];
    if (t)
        return t;
    if (q->n_idle >= SWEEP_AT)
        sweep(q);
    if (!(t = calloc(1, sizeof(*t) + name.n + 1)))
        return NULL;
    if (name.n)
        memcpy(t->name, name.p, name.n);
    t->n_name = name.n;
    t->next_hash = *at;
    *at = t;
    q->n_idle++;
    return t;
}

static void begin(struct load_queue *q, struct load_tenant *t)
{
    if (t->served < q->now)
        t->served = q->now;
    t->prev = NULL;
    t->next = q->busy;
    if (q->busy)
        q->busy->prev = t;
    q->busy = t;
    q->n_idle--;
}

static void end(struct load_queue *q, struct load_tenant *t)
{
    *(t->prev ? &t->prev->next : &q->busy) = t->next;
    if (t->next)
        t->next->prev = t->prev;
    q->n_idle++;
}

/* ---- items ---- */

int load_queue_add(struct load_queue *q, struct load_item *x, struct str tenant, uint64_t bytes,
                   bool again)
{
    struct load_tenant *t = enter(q, tenant);
    assert(!x->tenant);
    if (!t)
        return -ENOMEM;
    if (!t->first)
        begin(q, t);
    if (again) /* it was charged when it was taken */
        t->served -= bytes < t->served ? bytes : t->served;
    *x = (struct load_item){ .tenant = t, .bytes = bytes };
    struct load_item *after = again ? NULL : t->last;
    x->prev = after;
    x->next = after ? NULL : t->first;
    *(x->next ? &x->next->prev : &t->last) = x;
    *(after ? &after->next : &t->first) = x;
    t->queued += bytes;
    q->len++;
    return 0;
}

int load_queue_ready(struct load_queue *q, struct str tenant)
{
    return enter(q, tenant) ? 0 : -ENOMEM;
}

void load_queue_drop(struct load_queue *q, struct load_item *x)
{
    struct load_tenant *t = x->tenant;
    assert(t);
    *(x->prev ? &x->prev->next : &t->first) = x->next;
    *(x->next ? &x->next->prev : &t->last) = x->prev;
    t->queued -= x->bytes;
    q->len--;
    x->tenant = NULL;
    if (!t->first)
        end(q, t);
}

static struct load_tenant *most_behind(struct load_queue *q)
{
    struct load_tenant *least = NULL;
    for (struct load_tenant *t = q->busy; t; t = t->next)
        if (!t->passed && (!least || t->served < least->served))
            least = t;
    return least;
}

struct load_item *load_queue_take(struct load_queue *q,
                                  bool (*fits)(void *ctx, const struct load_item *x), void *ctx)
{
    struct load_item *x = NULL;
    struct load_tenant *t;
    for (t = q->busy; t; t = t->next)
        t->passed = false;
    while (!x && (t = most_behind(q))) {
        for (x = t->first; x && fits && !fits(ctx, x);)
            x = x->next;
        t->passed = true;
    }
    if (!x)
        return NULL;
    t = x->tenant;
    if (t->served > q->now)
        q->now = t->served;
    t->served += x->bytes;
    load_queue_drop(q, x);
    return x;
}

struct load_item *load_queue_any(struct load_queue *q)
{
    return q->busy ? q->busy->first : NULL;
}

size_t load_queue_len(const struct load_queue *q)
{
    return q->len;
}

uint64_t load_queue_ahead(const struct load_queue *q, struct str tenant, uint64_t bytes)
{
    const struct load_tenant *own = find(q, tenant);
    uint64_t mine = own ? own->queued : 0, ahead = mine;
    for (const struct load_tenant *t = q->busy; t; t = t->next)
        if (t != own) /* its turns alternate with ours, by bytes */
            ahead += t->queued < mine + bytes ? t->queued : mine + bytes;
    return ahead;
}
