#include "gateway/learning/lru.h"

#include "base/num.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

/* A value stands behind its head. */
struct head {
    TAILQ_ENTRY(head) order; /* latest used first */
    SLIST_ENTRY(head) chain; /* of its bucket */
    struct sha256 key;
    _Alignas(16) unsigned char value[];
};

TAILQ_HEAD(order, head);
SLIST_HEAD(bucket, head);

enum { FIRST_BUCKETS = 64, LOAD = 2 /* values a bucket before the table grows */ };

struct lru {
    size_t max, size, n;
    void (*done)(void *value);
    struct order order;
    struct bucket *buckets; /* owned; a power of two */
    size_t n_buckets;
};

static size_t slot_of(const struct lru *l, const struct sha256 *key)
{
    size_t hash = 0;
    memcpy(&hash, key->b, sizeof(hash));
    return hash & (l->n_buckets - 1);
}

int lru_new(struct lru **ret, size_t max, size_t size, void (*done)(void *value))
{
    CLEANUP(lru_freep) struct lru *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    TAILQ_INIT(&l->order);
    l->max = max;
    l->size = size;
    l->done = done;
    l->n_buckets = FIRST_BUCKETS;
    l->buckets = calloc(l->n_buckets, sizeof(*l->buckets));
    if (!l->buckets)
        return -ENOMEM;
    *ret = TAKE(l);
    return 0;
}

static void drop(struct lru *l, struct head *h)
{
    TAILQ_REMOVE(&l->order, h, order);
    SLIST_REMOVE(&l->buckets[slot_of(l, &h->key)], h, head, chain);
    l->n--;
    if (l->done)
        l->done(h->value);
    free(h);
}

struct lru *lru_free(struct lru *l)
{
    if (!l)
        return NULL;
    while (!TAILQ_EMPTY(&l->order))
        drop(l, TAILQ_FIRST(&l->order));
    free(l->buckets);
    free(l);
    return NULL;
}

static struct head *find(const struct lru *l, const struct sha256 *key)
{
    struct head *h;
    SLIST_FOREACH(h, &l->buckets[slot_of(l, key)], chain)
    if (sha256_eq(&h->key, key))
        return h;
    return NULL;
}

void *lru_find(struct lru *l, const struct sha256 *key)
{
    struct head *h = find(l, key);
    if (!h)
        return NULL;
    TAILQ_REMOVE(&l->order, h, order);
    TAILQ_INSERT_HEAD(&l->order, h, order);
    return h->value;
}

/* Without memory the chains only get longer. */
static void grow(struct lru *l)
{
    size_t n = l->n_buckets * 2;
    struct bucket *buckets = calloc(n, sizeof(*buckets));
    struct head *h;
    if (!buckets)
        return;
    free(l->buckets);
    l->buckets = buckets;
    l->n_buckets = n;
    TAILQ_FOREACH(h, &l->order, order)
    SLIST_INSERT_HEAD(&l->buckets[slot_of(l, &h->key)], h, chain);
}

void *lru_make(struct lru *l, const struct sha256 *key)
{
    void *value = lru_find(l, key);
    if (value)
        return value;
    struct head *h = calloc(1, sizeof(*h) + l->size);
    if (!h)
        return NULL;
    if (l->n == l->max)
        drop(l, TAILQ_LAST(&l->order, order));
    if (l->n >= l->n_buckets * LOAD)
        grow(l);
    h->key = *key;
    TAILQ_INSERT_HEAD(&l->order, h, order);
    SLIST_INSERT_HEAD(&l->buckets[slot_of(l, key)], h, chain);
    l->n++;
    return h->value;
}

size_t lru_len(const struct lru *l)
{
    return l->n;
}

static const struct head *head_of(const void *value)
{
    return (const void *)((const unsigned char *)value - offsetof(struct head, value));
}

const struct sha256 *lru_key(const void *value)
{
    return &head_of(value)->key;
}

void *lru_last(const struct lru *l)
{
    struct head *last = TAILQ_LAST(&l->order, order);
    return last ? last->value : NULL;
}

void lru_drop(struct lru *l, void *value)
{
    drop(l, (struct head *)(uintptr_t)head_of(value));
}

void *lru_next(const struct lru *l, const void *value)
{
    struct head *next = value ? TAILQ_NEXT(head_of(value), order) : TAILQ_FIRST(&l->order);
    return next ? next->value : NULL;
}
