#include "adapters/name_order.h"

#include <errno.h>
#include <stdlib.h>

void name_order_init(struct name_order *o, const struct interned *bases)
{
    *o = (struct name_order){ .state = ORDER_none };
    (void)pthread_mutex_init(&o->build_lock, NULL);
    (void)pthread_mutex_init(&o->lock, NULL);
    for (unsigned i = 0; i < ORDERS; i++)
        names_init(&o->names[i], bases);
}

void name_order_done(struct name_order *o)
{
    for (unsigned i = 0; i < ORDERS; i++)
        names_done(&o->names[i]);
    (void)pthread_mutex_destroy(&o->build_lock);
    (void)pthread_mutex_destroy(&o->lock);
}

size_t name_order_bytes(struct name_order *o)
{
    size_t n = 0;
    LOCKED(&o->lock);
    for (unsigned i = 0; i < ORDERS; i++)
        n += names_bytes(&o->names[i]);
    return n;
}

/* ---- what comes and goes ---- */

int name_order_of(struct str name)
{
    return memchr(name.p, '/', name.n) ? ORDER_tenants : ORDER_shared;
}

static void drop(struct name_order *o)
{
    for (unsigned i = 0; i < ORDERS; i++)
        names_done(&o->names[i]);
    o->state = ORDER_none;
}

void name_order_add(struct name_order *o, struct str name, uint16_t base)
{
    enum { RECENT_MOST = 65536, RECENT_SHARE = 4 };
    LOCKED(&o->lock);
    if (o->state == ORDER_none)
        return;
    struct names *t = &o->names[name_order_of(name)];
    bool many = o->state == ORDER_ready && t->recent.n > RECENT_MOST + t->n / RECENT_SHARE;
    if (many || names_add(t, name, base) < 0)
        drop(o); /* to be built when somebody asks */
}

void name_order_remove(struct name_order *o, size_t n, size_t left)
{
    enum { REMOVED_LEAST = 1024, REMOVED_SHARE = 4 };
    LOCKED(&o->lock);
    o->removed += n;
    if (o->state == ORDER_ready && o->removed > REMOVED_LEAST + left / REMOVED_SHARE)
        drop(o);
}

/* Collects and sorts. */
static int gather(struct names built[static ORDERS],
                  int (*collect)(void *ctx, struct name_pile piles[static ORDERS]), void *ctx)
{
    struct name_pile piles[ORDERS];
    for (unsigned i = 0; i < ORDERS; i++)
        name_pile_init(&piles[i]);
    int r = collect(ctx, piles);
    for (unsigned i = 0; i < ORDERS; i++) {
        if (r == 0)
            r = names_build(&built[i], &piles[i]);
        name_pile_done(&piles[i]);
    }
    return r;
}

int name_order_build(struct name_order *o,
                     int (*collect)(void *ctx, struct name_pile piles[static ORDERS]), void *ctx)
{
    struct names built[ORDERS];
    LOCKED(&o->build_lock);
    {
        LOCKED(&o->lock);
        if (o->state == ORDER_ready)
            return 0;
        drop(o);
        o->state = ORDER_building;
        o->removed = 0;
    }
    for (unsigned i = 0; i < ORDERS; i++)
        names_init(&built[i], o->names[i].bases);
    int r = gather(built, collect, ctx);
    LOCKED(&o->lock);
    if (r == 0 && o->state != ORDER_building) /* a name found no memory */
        r = -ENOMEM;
    for (unsigned i = 0; i < ORDERS; i++) {
        if (r < 0) {
            names_done(&built[i]);
            continue;
        }
        built[i].recent = o->names[i].recent;
        o->names[i] = built[i];
    }
    if (r < 0)
        drop(o);
    else
        o->state = ORDER_ready;
    return r;
}

/* ---- in order ---- */

/* One stretch of one order. */
struct stretch {
    struct names_cursor cursor;
    struct str prefix; /* every name begins so */
    struct str name;   /* the next one; p NULL: the end */
    uint16_t base;
};

static void stretch_step(struct stretch *t)
{
    if (!names_next(&t->cursor, &t->name, &t->base) || !str_starts(t->name, t->prefix))
        t->name = STR_NULL;
}

static void stretch_begin(struct stretch *t, const struct names *names, struct str prefix,
                          const struct name_place *from)
{
    bool inside = str_cmp(from->after, prefix) >= 0 && from->after.n;
    struct str first = STR("");
    t->prefix = prefix;
    names_seek(&t->cursor, names, inside ? from->after : prefix,
               inside ? from->after_base.n ? &from->after_base : NULL : &first);
    stretch_step(t);
    if (inside && from->after_base.n && t->name.p && str_eq(t->name, from->after) &&
        str_eq(interned_text(names->bases, t->base), from->after_base))
        stretch_step(t);
}

/* What of the order a query sees: false, nothing. */
static bool sees(const struct page_query *q, int order, char own[static LIMIT_NAME + 1],
                 struct str *ret_prefix)
{
    *ret_prefix = q->prefix;
    if (order == ORDER_shared || !q->viewer.p)
        return true;
    if (q->viewer.n == 0 || q->viewer.n >= LIMIT_NAME)
        return false;
    memcpy(own, q->viewer.p, q->viewer.n);
    own[q->viewer.n] = '/';
    struct str mine = { own, q->viewer.n + 1 };
    if (str_starts(q->prefix, mine))
        return true;
    *ret_prefix = mine;
    return str_starts(mine, q->prefix);
}

int name_order_next(struct name_order *o, const struct page_query *q, const struct name_place *from,
                    size_t max, struct name_batch *b)
{
    struct stretch stretches[ORDERS];
    char own[LIMIT_NAME + 1];
    buf_clear(&b->text);
    b->n = 0;
    LOCKED(&o->lock);
    if (o->state != ORDER_ready)
        return -EAGAIN;
    for (int i = 0; i < ORDERS; i++) {
        struct str prefix;
        int r = names_settle(&o->names[i]);
        if (r < 0)
            return r;
        stretches[i].name = STR_NULL;
        if (sees(q, i, own, &prefix))
            stretch_begin(&stretches[i], &o->names[i], prefix, from);
    }
    while (b->n < max) {
        struct stretch *x = &stretches[ORDER_shared], *y = &stretches[ORDER_tenants];
        struct stretch *t = !x->name.p || (y->name.p && str_cmp(y->name, x->name) < 0) ? y : x;
        if (!t->name.p)
            break;
        b->keys[b->n++] = (struct name_key){ b->text.n, t->name.n, t->base };
        buf_add(&b->text, t->name);
        stretch_step(t);
    }
    return buf_err(&b->text);
}

void name_place_set(struct name_place *to, struct str adapter, struct str base)
{
    to->after = str_head(adapter, sizeof(to->adapter));
    to->after_base = str_head(base, sizeof(to->base));
    if (to->after.n)
        memcpy(to->adapter, to->after.p, to->after.n);
    if (to->after_base.n)
        memcpy(to->base, to->after_base.p, to->after_base.n);
    to->after.p = to->adapter;
    to->after_base.p = to->base;
}
