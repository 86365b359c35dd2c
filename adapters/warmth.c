#include "adapters/warmth.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum {
    SAMPLE = 64,       /* idle ones looked at for a victim; of fewer all are */
    GHOST_SETS = 8192, /* of those that left: 32,768 in 512 KiB */
    GHOST_WAYS = 4,
};
#define LIVES                                                                                      \
    24.0 /* uses in a half-life, for each resident: longer is better steady, worse shifting */
#define LEAST_HALF 64.0 /* uses */
/* What a load costs beside its bytes, in bytes: opening, checking, one turn in the queue. */
#define FIXED_PRICE (1.0 * 1024 * 1024)

struct ghost {
    uint64_t id; /* 0: free */
    double warmth;
};

struct warmth {
    double now, step; /* half-lives so far, and those of one use */
    uint64_t random;
    struct warm **idle; /* owned; the items are borrowed */
    size_t n, room;
    struct ghost ghosts[GHOST_SETS][GHOST_WAYS];
};

int warmth_new(struct warmth **ret)
{
    struct warmth *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->step = 1 / LEAST_HALF;
    w->random = 0x9e3779b97f4a7c15u;
    *ret = w;
    return 0;
}

struct warmth *warmth_free(struct warmth *w)
{
    if (w)
        free(w->idle);
    free(w);
    return NULL;
}

/* ---- counting ---- */

static struct ghost *ghosts_of(const struct warmth *w, uint64_t id)
{
    uint64_t mixed = (id ^ id >> 32) * 0x9e3779b97f4a7c15u; /* ids may be small numbers */
    return (struct ghost *)w->ghosts[mixed >> 32 & (GHOST_SETS - 1)];
}

double warmth_remembered(const struct warmth *w, uint64_t id)
{
    const struct ghost *g = ghosts_of(w, id);
    for (size_t i = 0; i < GHOST_WAYS; i++)
        if (g[i].id == id && id)
            return g[i].warmth;
    return WARMTH_NONE;
}

void warm_init(struct warmth *w, struct warm *x, uint64_t id, uint64_t bytes)
{
    *x = (struct warm){ .id = id, .bytes = bytes, .warmth = warmth_remembered(w, id) };
}

void warm_use(struct warmth *w, struct warm *x)
{
    w->now += w->step;
    x->warmth = w->now + log2(1 + exp2(x->warmth - w->now));
}

void warm_forget(struct warmth *w, struct warm *x)
{
    struct ghost *g = ghosts_of(w, x->id), *to = g;
    for (size_t i = 0; i < GHOST_WAYS; i++) {
        if (g[i].id == x->id) {
            to = &g[i];
            break;
        }
        if (to->id && (!g[i].id || g[i].warmth < to->warmth))
            to = &g[i];
    }
    *to = (struct ghost){ x->id, x->warmth };
}

double warmth_relative(const struct warmth *w, const struct warm *x)
{
    return x->warmth - w->now;
}

void warmth_restore(const struct warmth *w, struct warm *x, double relative)
{
    if (w->now + relative > x->warmth)
        x->warmth = w->now + relative;
}

double warm_worth(const struct warm *x)
{
    double bytes = x->bytes ? (double)x->bytes : 1;
    return x->warmth + log2(1 + FIXED_PRICE / bytes);
}

/* ---- the idle ---- */

int warmth_reserve(struct warmth *w, size_t n)
{
    double half = (double)n * LIVES;
    w->step = 1 / (half > LEAST_HALF ? half : LEAST_HALF);
    if (n <= w->room)
        return 0;
    size_t room = n + n / 2 + 16;
    struct warm **more = realloc(w->idle, room * sizeof(struct warm *));
    if (!more)
        return -ENOMEM;
    w->idle = more;
    w->room = room;
    return 0;
}

void warmth_add(struct warmth *w, struct warm *x)
{
    assert(w->n < w->room);
    x->at = w->n;
    w->idle[w->n++] = x;
}

void warmth_del(struct warmth *w, struct warm *x)
{
    assert(x->at < w->n && w->idle[x->at] == x);
    struct warm *last = w->idle[--w->n];
    w->idle[x->at] = last;
    last->at = x->at;
}

size_t warmth_idle(const struct warmth *w)
{
    return w->n;
}

struct warm *warmth_at(const struct warmth *w, size_t i)
{
    return w->idle[i];
}

static size_t random_below(struct warmth *w, size_t n)
{
    w->random ^= w->random << 13; /* Marsaglia's xorshift */
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (size_t)(w->random % n);
}

static void consider(struct warm **least, struct warm *x, bool (*may)(void *, const struct warm *),
                     void *ctx)
{
    if ((!*least || warm_worth(x) < warm_worth(*least)) && (!may || may(ctx, x)))
        *least = x;
}

struct warm *warmth_least(struct warmth *w, bool (*may)(void *ctx, const struct warm *x), void *ctx)
{
    struct warm *least = NULL;
    if (w->n > SAMPLE)
        for (unsigned i = 0; i < SAMPLE; i++)
            consider(&least, w->idle[random_below(w, w->n)], may, ctx);
    if (!least)
        for (size_t i = 0; i < w->n; i++)
            consider(&least, w->idle[i], may, ctx);
    return least;
}
