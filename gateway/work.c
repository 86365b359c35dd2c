#include "gateway/work.h"

#include "base/clock.h"
#include "base/queue.h"
#include "gateway/request.h"

#include <errno.h>
#include <stdlib.h>

enum { WORKERS_MAX = 16 };

struct work {
    struct queue *queue;
    pthread_t threads[WORKERS_MAX];
    unsigned n;
};

static void *work_run(void *arg)
{
    struct work *w = arg;
    void *item = NULL;
    while (queue_get(w->queue, &item, CLOCK_NEVER) == 0) {
        struct request *r = item;
        r->work(r);
        {
            LOCKED(&r->flow.lock);
            r->worked = true;
        }
        flow_wake(&r->flow);
        request_unref(r);
    }
    return NULL;
}

int work_new(struct work **ret, unsigned threads, size_t max)
{
    CLEANUP(work_freep) struct work *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    int r = queue_new(&w->queue, max);
    if (r < 0)
        return r;
    while (w->n < threads && w->n < WORKERS_MAX) {
        r = thread_start(&w->threads[w->n], THREAD_worker, work_run, w);
        if (r < 0)
            return r;
        w->n++;
    }
    *ret = TAKE(w);
    return 0;
}

struct work *work_free(struct work *w)
{
    if (!w)
        return NULL;
    if (w->queue)
        queue_close(w->queue);
    for (unsigned i = 0; i < w->n; i++)
        (void)pthread_join(w->threads[i], /* result= */ NULL);
    (void)queue_free(w->queue);
    free(w);
    return NULL;
}

int work_put(struct work *w, struct request *r)
{
    void *item = r;
    return queue_put(w->queue, &item);
}
