/*
 * The order of the page's names: built when somebody lists them, then kept up with what comes and
 * goes.
 *
 * Internal to the page. Any thread; its lock is held while a batch of names is copied out. Shared
 * names and those with a tenant are apart, so that what a viewer sees is one stretch of each.
 */
#pragma once

#include "adapters/names.h"
#include "adapters/page.h"

enum { ORDER_shared, ORDER_tenants, ORDERS };

struct name_order {
    pthread_mutex_t build_lock; /* one builds; taken before the other */
    pthread_mutex_t lock;       /* of what follows */
    enum { ORDER_none, ORDER_building, ORDER_ready } state;
    size_t removed; /* names that went since it was built */
    struct names names[ORDERS];
};

void name_order_init(struct name_order *o, const struct interned *bases);
void name_order_done(struct name_order *o);
int name_order_of(struct str name); /* ORDER_shared or ORDER_tenants */
void name_order_add(struct name_order *o, struct str name, uint16_t base);
void name_order_remove(struct name_order *o, size_t n, size_t left); /* counts, no more */
size_t name_order_bytes(struct name_order *o);

/* Builds it where there is none: `collect` piles up every name. Names that are added meanwhile are
 * listed, and once. */
int name_order_build(struct name_order *o,
                     int (*collect)(void *ctx, struct name_pile piles[static ORDERS]),
                     void *ctx) MUST_USE;

struct name_place { /* behind which a query goes on */
    char adapter[LIMIT_NAME], base[LIMIT_NAME];
    struct str after, after_base;
};
void name_place_set(struct name_place *to, struct str adapter, struct str base);

enum { NAME_BATCH = 256 };
struct name_batch { /* names, copied out of the order */
    struct buf text;
    struct name_key {
        size_t at, n;
        uint16_t base;
    } keys[NAME_BATCH];
    size_t n;
};
/* The next names behind `from`, at most `max`: fewer at the end. -EAGAIN: it is to be built first.
 */
int name_order_next(struct name_order *o, const struct page_query *q, const struct name_place *from,
                    size_t max, struct name_batch *b) MUST_USE;
