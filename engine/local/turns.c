#include "engine/local/turns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    TURNS_UNIT = 256, /* counters are divided by weights */
    ROOM_FIRST = 8,
    ROOM_IDLE = 64, /* tenants remembered beside those with jobs */
};

void turns_init(struct turns *t, uint32_t max)
{
    *t = (struct turns){ .max = max + ROOM_IDLE };
}

void turns_done(struct turns *t)
{
    assert(t->waiting == 0);
    free(t->tenants);
    *t = (struct turns){ 0 };
}

static bool is_active(const struct turns_tenant *x)
{
    return x->waiting > 0 || x->running > 0;
}

static uint64_t cost_of(const struct turns_tenant *x, uint64_t cost)
{
    return cost * TURNS_UNIT / x->weight;
}

/* ---- tenants ---- */

static int grow(struct turns *t)
{
    uint32_t room = t->room ? 2 * t->room : ROOM_FIRST;
    room = room < t->max ? room : t->max;
    struct turns_tenant *more = realloc(t->tenants, room * sizeof(*more));
    if (!more)
        return -ENOMEM;
    t->tenants = more;
    t->room = room;
    return 0;
}

/* The idle one that was given least is forgotten first, for it would be lifted most; of equal ones
 * the one that came longest ago. NULL: none is idle. */
static struct turns_tenant *forget(struct turns *t)
{
    struct turns_tenant *least = NULL;
    for (uint32_t i = 0; i < t->n; i++) {
        struct turns_tenant *x = &t->tenants[i];
        if (!is_active(x) && (!least || x->served < least->served ||
                              (x->served == least->served && x->came_ms < least->came_ms)))
            least = x;
    }
    return least;
}

static int find(struct turns *t, const struct job *j, uint32_t *ret)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->tenants[i].id == j->tenant) {
            *ret = i;
            return 0;
        }
    struct turns_tenant *x = t->n == t->max ? forget(t) : NULL;
    if (!x) {
        int r = t->n == t->room ? (t->n == t->max ? -ENOMEM : grow(t)) : 0;
        if (r < 0)
            return r;
        x = &t->tenants[t->n++];
    }
    *x = (struct turns_tenant){ .id = j->tenant, .weight = 1 };
    *ret = (uint32_t)(x - t->tenants);
    return 0;
}

/* The lowest counter of those with jobs but for `x`; where there is none, whose turn it was last.
 */
static uint64_t floor_of(const struct turns *t, const struct turns_tenant *x)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct turns_tenant *o = &t->tenants[i];
        if (o != x && is_active(o) && o->served < least)
            least = o->served;
    }
    return least == UINT64_MAX ? t->served_last : least;
}

static void lift(const struct turns *t, struct turns_tenant *x)
{
    uint64_t least = floor_of(t, x), credit = (uint64_t)TURNS_CREDIT * TURNS_UNIT;
    least = least > credit ? least - credit : 0;
    if (x->served < least)
        x->served = least;
}

/* ---- jobs ---- */

int turns_put(struct turns *t, struct job *j, uint64_t now_ms)
{
    uint32_t at = 0;
    int r = find(t, j, &at);
    if (r < 0)
        return r;
    struct turns_tenant *x = &t->tenants[at];
    x->weight = j->weight ? j->weight : 1;
    x->came_ms = now_ms;
    if (x->waiting == 0)
        lift(t, x);
    j->turn = at;
    j->order = ++t->order;
    j->next = NULL;
    j->previous = x->last;
    if (x->last)
        x->last->next = j;
    else
        x->first = j;
    x->last = j;
    x->waiting++;
    t->waiting++;
    return 0;
}

void turns_drop(struct turns *t, struct job *j)
{
    struct turns_tenant *x = &t->tenants[j->turn];
    if (j->previous)
        j->previous->next = j->next;
    else
        x->first = j->next;
    if (j->next)
        j->next->previous = j->previous;
    else
        x->last = j->previous;
    j->next = j->previous = NULL;
    x->waiting--;
    t->waiting--;
    if (x->waiting == 0)
        t->served_last = x->served;
}

static bool is_before(const struct turns_tenant *a, const struct turns_tenant *b)
{
    return a->served != b->served ? a->served < b->served : a->first->order < b->first->order;
}

struct job *turns_next(struct turns *t, uint32_t running)
{
    struct turns_tenant *next = NULL;
    for (uint32_t i = 0; i < t->n; i++) {
        struct turns_tenant *x = &t->tenants[i];
        if (x->waiting > 0 && x->running < running && (!next || is_before(x, next)))
            next = x;
    }
    if (!next)
        return NULL;
    struct job *j = next->first;
    next->served += cost_of(next, (uint64_t)TURNS_INPUT * j->n_prompt);
    turns_drop(t, j);
    next->running++;
    return j;
}

void turns_charge(struct turns *t, struct job *j)
{
    struct turns_tenant *x = &t->tenants[j->turn];
    x->served += cost_of(x, (uint64_t)TURNS_OUTPUT * (j->n_generated - j->n_charged));
    j->n_charged = j->n_generated;
}

void turns_leave(struct turns *t, struct job *j)
{
    turns_charge(t, j);
    assert(t->tenants[j->turn].running > 0);
    t->tenants[j->turn].running--;
}

/* ---- questions ---- */

struct job *turns_victim(const struct turns *t, uint64_t tenant, uint32_t weight)
{
    const struct turns_tenant *most = NULL, *own = NULL;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct turns_tenant *x = &t->tenants[i];
        if (x->id == tenant)
            own = x;
        if (!most || (uint64_t)x->waiting * most->weight > (uint64_t)most->waiting * x->weight)
            most = x;
    }
    uint64_t would = (own ? own->waiting : 0) + 1u;
    weight = weight ? weight : 1;
    if (!most || most == own || would * most->weight >= (uint64_t)most->waiting * weight)
        return NULL;
    return most->last;
}

bool turns_yields(const struct turns *t, const struct job *j)
{
    const struct turns_tenant *own = &t->tenants[j->turn];
    uint64_t ahead = own->served + (uint64_t)TURNS_SLACK * TURNS_UNIT;
    for (uint32_t i = 0; own->waiting > 0 && i < t->n; i++) {
        const struct turns_tenant *x = &t->tenants[i];
        if (x->running > 0 && x->waiting == 0 && x->served < ahead)
            return true;
    }
    return false;
}

uint32_t turns_active(const struct turns *t, uint64_t now_ms, uint64_t ms)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++)
        n += is_active(&t->tenants[i]) || now_ms < t->tenants[i].came_ms + ms;
    return n;
}
