#include "engine/local/slots.h"

#include "base/num.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int slots_init(struct slots *s, uint32_t usual, uint32_t spare, uint32_t context)
{
    uint32_t n = usual + spare;
    *s = (struct slots){ .n = n, .usual = usual };
    size_t ids;
    if (!mul_ok(n, context, &ids))
        return -EOVERFLOW;
    s->at = calloc(n, sizeof(*s->at));
    s->memory = calloc(ids, sizeof(*s->memory));
    if (!s->at || !s->memory)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        s->at[i].ids = s->memory + (size_t)i * context;
    return 0;
}

void slots_done(struct slots *s)
{
    free(s->at);
    free(s->memory);
    *s = (struct slots){ 0 };
}

/*
 * A build with PLANT_KV_KEY lets keys of different adapters be equal: the fault that the
 * contamination test must find, to show that it would.
 */
static bool same_digest(const struct cache_key *a, const struct cache_key *b)
{
#ifdef PLANT_KV_KEY
    (void)a;
    (void)b;
    return true;
#else
    return sha256_eq(&a->digest, &b->digest);
#endif
}

static bool same_adapter(const struct cache_key *a, const struct cache_key *b)
{
    return a->kind == b->kind && a->kind != CACHE_KEY_private && a->from == b->from &&
           same_digest(a, b) && a->scale == b->scale;
}

uint32_t cache_key_common(const struct cache_key *a, const struct cache_key *b, uint32_t n)
{
    if (a->base != b->base || a->type != b->type)
        return 0;
    if (same_adapter(a, b))
        return n;
    uint32_t plain = a->from < b->from ? a->from : b->from; /* the base's in both */
    return n < plain ? n : plain;
}

uint32_t slots_common(const int32_t *a, uint32_t n_a, const int32_t *b, uint32_t n_b)
{
    uint32_t n = n_a < n_b ? n_a : n_b, i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static uint32_t common(const struct slot *slot, const struct cache_key *key, const int32_t *ids,
                       uint32_t n_ids)
{
    return cache_key_common(&slot->key, key, slots_common(slot->ids, slot->n, ids, n_ids));
}

uint32_t slots_best(const struct slots *s, const struct cache_key *key, const int32_t *ids,
                    uint32_t n_ids, uint32_t except, uint32_t *ret_common)
{
    uint32_t best = 0, longest = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t n = i == except ? 0 : common(&s->at[i], key, ids, n_ids);
        if (n > longest) {
            longest = n;
            best = i;
        }
    }
    *ret_common = longest;
    return best;
}

uint32_t slots_take(struct slots *s, const struct cache_key *key, const int32_t *ids,
                    uint32_t n_ids)
{
    uint32_t oldest = s->n, fitting = s->n, longest = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->at[i].busy || (i >= s->usual && s->at[i].used == 0 && oldest < s->n))
            continue; /* memory that nobody has touched yet is left alone while it can be */
        if (oldest == s->n || s->at[i].used < s->at[oldest].used)
            oldest = i;
        uint32_t n = common(&s->at[i], key, ids, n_ids);
        /* half or less: taking it would throw away more than it saves, a copy serves as well */
        if (n > longest && n > s->at[i].n - n) {
            longest = n;
            fitting = i;
        }
    }
    assert(oldest < s->n);
    uint32_t taken = fitting < s->n ? fitting : oldest;
    struct slot *slot = &s->at[taken];
    slot->n = common(slot, key, ids, n_ids);
    slot->key = *key;
    slot->busy = true;
    slot->used = ++s->clock;
    return taken;
}

void slots_release(struct slots *s, uint32_t slot)
{
    assert(s->at[slot].busy);
    s->at[slot].busy = false;
    s->at[slot].used = ++s->clock;
}
