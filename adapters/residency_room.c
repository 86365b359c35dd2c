#include <errno.h>
#include <stdlib.h>

#include "adapters/residency_impl.h"
#include "base/clock.h"
#include "base/metrics.h"

/* A tenant that was not served for so long keeps nothing from the others. */
#define FLOOR_MS 600000u
#define FLOOR_PART 2 /* of its even share of the budget */

/* ---- tenants ---- */

static struct tenant **bucket_of(struct residents *r, struct str name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 16777619u;
    return &r->tenants[h % N_TENANT_BUCKETS];
}

int tenant_ref(struct residents *r, struct str name, struct tenant **ret)
{
    struct tenant **at = bucket_of(r, name), *t = *at;
    while (t && !str_eq((struct str){ t->name, t->n_name }, name))
        t = t->next;
    if (!t) {
        if (!(t = calloc(1, sizeof(*t) + name.n + 1)))
            return -ENOMEM;
        if (name.n)
            memcpy(t->name, name.p, name.n);
        t->n_name = name.n;
        t->next = *at;
        *at = t;
    }
    t->refs++;
    *ret = t;
    return 0;
}

void tenant_unref(struct residents *r, struct tenant *t)
{
    if (--t->refs)
        return;
    struct tenant **at = bucket_of(r, (struct str){ t->name, t->n_name });
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    free(t);
}

/* ---- making room ---- */

struct search {
    const struct entry *e; /* for which room is made */
    uint64_t floor;        /* bytes that a tenant keeps from another */
    uint64_t now_ms;
    double worth; /* only what is worth less may go */
};

struct entry *entry_of_warm(const struct warm *x)
{
    return (struct entry *)((char *)(uintptr_t)x - offsetof(struct entry, warm));
}

static bool may_go(void *ctx, const struct warm *x)
{
    const struct search *s = ctx;
    const struct entry *victim = entry_of_warm(x);
    const struct tenant *t = victim->tenant;
    if (warm_worth(x) >= s->worth)
        return false;
    return t == s->e->tenant || t->bytes - victim->need >= s->floor ||
           t->used_ms + FLOOR_MS <= s->now_ms;
}

static bool is_asked(const struct entry *e)
{
    return e->waits || e->wanted;
}

static struct search search_for(const struct residents *r, const struct entry *e)
{
    size_t sharers = r->n_tenants + (e->tenant->residents == 0);
    return (struct search){ .e = e,
                            .floor = r->limits.max_bytes / FLOOR_PART / (sharers ? sharers : 1),
                            .now_ms = clock_ms(),
                            .worth = is_asked(e) ? -WARMTH_NONE : warm_worth(&e->warm) };
}

static struct entry *victim_of(struct residents *r, struct search *s)
{
    struct warm *x = warmth_least(r->warmth, may_go, s);
    if (!x && is_asked(s->e)) /* a request does not fail for what others keep idle */
        x = warmth_least(r->warmth, NULL, NULL);
    return x ? entry_of_warm(x) : NULL;
}

/* Whether enough of the idle is worth less; a request takes from any. */
static bool is_worth_it(const struct residents *r, struct search *s, uint64_t need)
{
    uint64_t used = r->bytes + r->reserved, there = 0;
    if (is_asked(s->e))
        return true;
    for (size_t i = 0; i < warmth_idle(r->warmth); i++) {
        const struct warm *x = warmth_at(r->warmth, i);
        there += may_go(s, x) ? entry_of_warm(x)->need : 0;
    }
    return used - there + need <= r->limits.max_bytes;
}

bool room_make(struct residents *r, const struct entry *e, uint64_t need, struct entry **victims)
{
    uint64_t max = r->limits.max_bytes;
    uint64_t kept = r->bytes - r->idle_bytes + r->reserved; /* what no eviction can free */
    if (kept > max || need > max - kept)
        return false;
    if (r->bytes + r->reserved + need <= max)
        return true;
    struct search s = search_for(r, e);
    if (e->free_only || !is_worth_it(r, &s, need))
        return false;
    while (r->bytes + r->reserved + need > max) {
        struct entry *v = victim_of(r, &s);
        if (!v) /* those of another tenant, down to its floor */
            return false;
        room_leave(r, v);
        v->next = *victims;
        *victims = v;
        metrics_add_label(METRIC_adapter_evictions_total, e->wanted ? 0 : 1, 1);
    }
    residency_show(r);
    return true;
}

void room_enter(struct residents *r, struct entry *e, uint64_t bytes)
{
    e->state = ENTRY_resident;
    e->need = bytes;
    e->warm.bytes = bytes;
    r->bytes += bytes;
    r->idle_bytes += bytes;
    r->n_resident++;
    r->n_tenants += e->tenant->residents++ == 0;
    e->tenant->bytes += bytes;
    e->tenant->used_ms = clock_ms();
    warmth_add(r->warmth, &e->warm);
}

void room_leave(struct residents *r, struct entry *e)
{
    warmth_del(r->warmth, &e->warm);
    warm_forget(r->warmth, &e->warm);
    r->bytes -= e->need;
    r->idle_bytes -= e->need;
    r->n_resident--;
    e->tenant->bytes -= e->need;
    r->n_tenants -= --e->tenant->residents == 0;
    entry_unlink(r, e);
}

void room_unload(struct residents *r, struct entry *victims)
{
    while (victims) {
        struct entry *e = victims;
        victims = e->next;
        r->loader.unload(r->loader.ctx, e->resident);
        packed_release(r->packed, &e->rev, &e->packed);
        free(e);
    }
}
