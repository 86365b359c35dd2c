#include "gateway/learning/observed.h"

#include "base/thread.h"
#include "gateway/learning/key.h"
#include "gateway/learning/lru.h"

#include <errno.h>
#include <stdlib.h>

enum { CANDIDATES_KEPT = 8192 };

struct seen {
    struct latencies ttft, tpot;
    bool staged;
};

struct observed {
    pthread_mutex_t lock;
    struct lru *candidates; /* of struct seen */
    struct prefixes *prefixes;
};

int observed_new(struct observed **ret)
{
    CLEANUP(observed_freep) struct observed *o = calloc(1, sizeof(*o));
    if (!o)
        return -ENOMEM;
    (void)pthread_mutex_init(&o->lock, /* attr= */ NULL);
    int r = lru_new(&o->candidates, CANDIDATES_KEPT, sizeof(struct seen), /* done= */ NULL);
    if (r == 0)
        r = prefixes_new(&o->prefixes);
    if (r == 0)
        *ret = TAKE(o);
    return r;
}

struct observed *observed_free(struct observed *o)
{
    if (!o)
        return NULL;
    (void)lru_free(o->candidates);
    (void)prefixes_free(o->prefixes);
    (void)pthread_mutex_destroy(&o->lock);
    free(o);
    return NULL;
}

static uint64_t owner_of(const struct sha256 *key)
{
    uint64_t owner;
    memcpy(&owner, key->b, sizeof(owner));
    return owner;
}

void observed_add(struct observed *o, struct str model, struct str adapter,
                  const struct observation *x)
{
    struct sha256 key = learning_key((struct str[]){ model, adapter }, 2);
    LOCKED(&o->lock);
    struct seen *s = lru_make(o->candidates, &key);
    if (!s)
        return; /* without memory nothing is learned */
    latencies_add(&s->ttft, x->ttft_ms);
    latencies_add(&s->tpot, x->tpot_ms);
    s->staged = s->staged || x->staged;
    if (x->prefix)
        prefixes_add(o->prefixes, owner_of(&key), x->prefix);
}

void observed_get(struct observed *o, const struct observed_question *q, struct observed_state *ret)
{
    struct sha256 key = learning_key((struct str[]){ q->model, q->adapter }, 2);
    *ret = (struct observed_state){ 0 };
    LOCKED(&o->lock);
    const struct seen *s = lru_find(o->candidates, &key);
    if (q->prefix)
        ret->prefix = prefixes_share(o->prefixes, owner_of(&key), q->prefix);
    if (!s)
        return;
    ret->staged = s->staged;
    ret->samples_ttft = s->ttft.n;
    ret->samples_tpot = s->tpot.n;
    if (q->ttft_percentile)
        ret->ttft_ms = latencies_at(&s->ttft, q->ttft_percentile);
    if (q->tpot_percentile)
        ret->tpot_ms = latencies_at(&s->tpot, q->tpot_percentile);
}
