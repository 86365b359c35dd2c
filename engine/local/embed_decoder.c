#include "engine/local/embed_decoder.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct embed_decoder {
    const struct model *model;
    enum pooling pooling; /* mean, cls or last */
    struct stepper_options options;
    struct stepper *stepper; /* NULL until the first step */
    struct step_row *rows;   /* options.rows */
    bool *busy;              /* by slot */
};

int embed_decoder_new(struct embed_decoder **ret, const struct model *m, enum pooling pooling,
                      const struct stepper_options *o)
{
    CLEANUP(embed_decoder_freep) struct embed_decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->model = m;
    d->pooling = pooling;
    d->options = *o;
    d->options.states = true;
    d->rows = calloc(o->rows, sizeof(*d->rows));
    d->busy = calloc(o->slots, sizeof(*d->busy));
    if (!d->rows || !d->busy)
        return -ENOMEM;
    *ret = TAKE(d);
    return 0;
}

struct embed_decoder *embed_decoder_free(struct embed_decoder *d)
{
    if (!d)
        return NULL;
    stepper_free(d->stepper);
    free(d->rows);
    free(d->busy);
    free(d);
    return NULL;
}

static int start(struct embed_decoder *d)
{
    if (d->stepper)
        return 0;
    struct fail why = { 0 };
    int r = stepper_new(&d->stepper, d->model, &d->options, &why);
    return r > 0 ? -EINVAL : r; /* the options are those of the engine: checked before */
}

static bool pools(const struct embed_decoder *d, const struct embed_task *t, uint32_t position)
{
    switch (d->pooling) {
    case POOLING_mean:
        return true;
    case POOLING_cls:
        return position == 0;
    default:
        return position == t->n - 1;
    }
}

static void take_slot(struct embed_decoder *d, struct embed_task *t)
{
    t->slot = 0;
    while (d->busy[t->slot]) /* there are as many as tasks */
        t->slot++;
    d->busy[t->slot] = true;
}

/* Rows of as many tasks as fit; *ret_ends[i]: position behind the last row of task i. */
static uint32_t build_rows(struct embed_decoder *d, struct embed_task *const *tasks, size_t n)
{
    uint32_t used = 0;
    for (size_t i = 0; i < n; i++) {
        struct embed_task *t = tasks[i];
        if (t->at == 0 && used < d->options.rows)
            take_slot(d, t);
        for (uint32_t at = t->at; at < t->n && used < d->options.rows; at++)
            d->rows[used++] = (struct step_row){
                .token = t->ids[at], .position = at, .slot = t->slot, .logits = pools(d, t, at)
            };
    }
    return used;
}

static void add(float *to, const float *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] += from[i];
}

static int decoder_step(void *owner, struct embed_task *const *tasks, size_t n)
{
    struct embed_decoder *d = owner;
    const float *states = NULL;
    int r = start(d);
    uint32_t used = r == 0 ? build_rows(d, tasks, n) : 0;
    if (r == 0)
        r = stepper_run(d->stepper, d->rows, used, &states);
    for (uint32_t i = 0, row = 0; r == 0 && row < used; i++) {
        struct embed_task *t = tasks[i];
        for (; t->at < t->n && row < used; t->at++, row++) {
            if (!d->rows[row].logits)
                continue;
            add(t->out, states, model_shape(d->model)->embed);
            states += model_shape(d->model)->embed;
        }
        t->done = t->at == t->n;
        if (t->done)
            d->busy[t->slot] = false;
    }
    if (r < 0)
        memset(d->busy, 0, d->options.slots * sizeof(*d->busy)); /* all tasks end */
    return r;
}

struct embed_backend embed_decoder_backend(struct embed_decoder *d)
{
    return (struct embed_backend){
        .owner = d,
        .tasks = d->options.slots,
        .rows = UINT32_MAX, /* long tasks go on in the next step */
        .step = decoder_step,
    };
}
