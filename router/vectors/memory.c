#include "router/vectors/memory.h"

#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>

enum { BUCKETS = 4096 };

struct kept {
    struct kept *next;
    struct sha256 digest;
    struct text_vector *vector; /* owned */
};

struct memory {
    pthread_mutex_t lock;
    struct kept *buckets[BUCKETS];
};

int memory_new(struct memory **ret)
{
    struct memory *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    int e = pthread_mutex_init(&m->lock, NULL);
    if (e != 0) {
        free(m);
        return -e;
    }
    *ret = m;
    return 0;
}

struct memory *memory_free(struct memory *m)
{
    for (size_t i = 0; m && i < BUCKETS; i++)
        for (struct kept *k = m->buckets[i], *next; k; k = next) {
            next = k->next;
            free(k->vector);
            free(k);
        }
    if (m)
        (void)pthread_mutex_destroy(&m->lock);
    free(m);
    return NULL;
}

static struct kept **bucket_of(struct memory *m, const struct sha256 *digest)
{
    uint32_t h;
    memcpy(&h, digest, sizeof(h));
    return &m->buckets[h % BUCKETS];
}

static const struct text_vector *look_up(struct memory *m, const struct sha256 *digest)
{
    for (const struct kept *k = *bucket_of(m, digest); k; k = k->next)
        if (memcmp(&k->digest, digest, sizeof(*digest)) == 0)
            return k->vector;
    return NULL;
}

const struct text_vector *memory_find(struct memory *m, const struct sha256 *digest)
{
    LOCKED(&m->lock);
    return look_up(m, digest);
}

const struct text_vector *memory_keep(struct memory *m, const struct sha256 *digest,
                                      const struct text_vector *v)
{
    size_t bytes = sizeof(*v) + v->n * sizeof(*v->v);
    struct kept *k = calloc(1, sizeof(*k));
    struct text_vector *copy = malloc(bytes);
    if (!k || !copy) {
        free(k);
        free(copy);
        return NULL;
    }
    memcpy(copy, v, bytes);
    LOCKED(&m->lock);
    const struct text_vector *there = look_up(m, digest);
    if (there) {
        free(k);
        free(copy);
        return there;
    }
    struct kept **bucket = bucket_of(m, digest);
    *k = (struct kept){ .next = *bucket, .digest = *digest, .vector = copy };
    *bucket = k;
    return copy;
}
