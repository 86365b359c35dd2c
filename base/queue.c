#include "base/queue.h"

#include "base/num.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t head, len, max;
    bool closed;
    void *items[]; /* ring of max */
};

int queue_new(struct queue **ret, size_t max)
{
    size_t bytes;
    if (!mul_ok(max, sizeof(void *), &bytes) || !add_ok(bytes, sizeof(struct queue), &bytes))
        return -EOVERFLOW;
    struct queue *q = calloc(1, bytes);
    if (!q)
        return -ENOMEM;
    q->max = max;
    int r = -pthread_mutex_init(&q->lock, NULL);
    if (r == 0)
        r = thread_cond_init(&q->more);
    if (r < 0) {
        free(q);
        return r;
    }
    *ret = q;
    return 0;
}

struct queue *queue_free(struct queue *q)
{
    if (!q)
        return NULL;
    assert(q->len == 0);
    (void)pthread_cond_destroy(&q->more);
    (void)pthread_mutex_destroy(&q->lock);
    free(q);
    return NULL;
}

int queue_put(struct queue *q, void **item)
{
    LOCKED(&q->lock);
    if (q->closed)
        return -EPIPE;
    if (q->len == q->max)
        return -EAGAIN;
    q->items[(q->head + q->len++) % q->max] = TAKE(*item);
    (void)pthread_cond_signal(&q->more);
    return 0;
}

int queue_get(struct queue *q, void **ret_item, unsigned long long deadline_ms)
{
    LOCKED(&q->lock);
    while (q->len == 0) {
        if (q->closed)
            return -EPIPE;
        if (deadline_ms == 0)
            return -ETIMEDOUT;
        int r = thread_cond_wait_until(&q->more, &q->lock, deadline_ms);
        if (r == -ETIMEDOUT && q->len == 0)
            return q->closed ? -EPIPE : -ETIMEDOUT;
    }
    *ret_item = q->items[q->head];
    q->head = (q->head + 1) % q->max;
    q->len--;
    return 0;
}

void queue_close(struct queue *q)
{
    LOCKED(&q->lock);
    q->closed = true;
    (void)pthread_cond_broadcast(&q->more);
}

size_t queue_len(const struct queue *q)
{
    struct queue *mutable = (struct queue *)q; /* the lock is not part of its value */
    LOCKED(&mutable->lock);
    return q->len;
}
