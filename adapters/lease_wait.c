#include <errno.h>
#include <stdlib.h>

#include "adapters/residency_impl.h"
#include "base/clock.h"
#include "base/metrics.h"

struct lease_wait *wait_new(struct residents *r, const struct residency_ask *ask)
{
    struct lease_wait *w = calloc(1, sizeof(*w));
    if (!w || !(w->lease = malloc(sizeof(*w->lease)))) {
        free(w);
        return NULL;
    }
    atomic_init(&w->refs, 2);
    w->owner = r;
    w->fn = ask->fn;
    w->arg = ask->owner;
    w->deadline_ms = ask->deadline_ms;
    w->no_wait = ask->no_wait;
    return w;
}

void wait_unref(struct lease_wait *w)
{
    if (atomic_fetch_sub(&w->refs, 1) == 1) {
        free(w->lease);
        free(w);
    }
}

struct lease_wait *lease_wait_free(struct lease_wait *w)
{
    if (w)
        wait_unref(w);
    return NULL;
}

/* ---- deadlines ---- */

void clock_add(struct residents *r, struct lease_wait *w)
{
    if (w->deadline_ms == CLOCK_NEVER)
        return;
    struct lease_wait *before = r->last_wait; /* deadlines come nearly in order */
    while (before && before->deadline_ms > w->deadline_ms)
        before = before->prev_clock;
    w->prev_clock = before;
    w->next_clock = before ? before->next_clock : r->first_wait;
    *(w->next_clock ? &w->next_clock->prev_clock : &r->last_wait) = w;
    *(before ? &before->next_clock : &r->first_wait) = w;
    w->on_clock = true;
    if (!before)
        (void)pthread_cond_signal(&r->ticks);
}

void clock_del(struct residents *r, struct lease_wait *w)
{
    if (!w->on_clock)
        return;
    *(w->prev_clock ? &w->prev_clock->next_clock : &r->first_wait) = w->next_clock;
    *(w->next_clock ? &w->next_clock->prev_clock : &r->last_wait) = w->prev_clock;
    w->on_clock = false;
}

/* ---- waits of a load ---- */

void entry_add_wait(struct entry *e, struct lease_wait *w)
{
    w->entry = e;
    w->prev_entry = NULL;
    w->next_entry = e->waits;
    if (e->waits)
        e->waits->prev_entry = w;
    e->waits = w;
}

/* Takes a wait off its load; the reference that the load held is the caller's now, when true. */
static bool entry_del_wait(struct residents *r, struct lease_wait *w)
{
    struct entry *e = w->entry;
    if (!e)
        return false;
    *(w->prev_entry ? &w->prev_entry->next_entry : &e->waits) = w->next_entry;
    if (w->next_entry)
        w->next_entry->prev_entry = w->prev_entry;
    w->entry = NULL;
    if (!e->waits)
        load_unwant(r, e);
    return true;
}

struct lease_wait *claim_waits(struct residents *r, struct entry *e)
{
    struct lease_wait *claimed = NULL;
    while (e->waits) {
        struct lease_wait *w = e->waits;
        e->waits = w->next_entry;
        w->entry = NULL;
        if (atomic_exchange(&w->claimed, true)) {
            wait_unref(w); /* its canceller holds another */
            continue;
        }
        clock_del(r, w);
        w->next_entry = claimed;
        claimed = w;
    }
    return claimed;
}

void answer_waits(struct lease_wait *waits, const struct fail *f)
{
    while (waits) {
        struct lease_wait *w = waits;
        waits = w->next_entry;
        w->fn(w->arg, f ? NULL : TAKE(w->lease), f);
        wait_unref(w);
    }
}

/* ---- the caller's side ---- */

int residency_wait(struct residents *r, const struct residency_ask *ask, struct lease_wait **ret)
{
    struct lease_wait *w = wait_new(r, ask);
    if (!w)
        return -ENOMEM;
    *ret = w;
    LOCKED(&r->lock);
    clock_add(r, w);
    return 0;
}

bool lease_wait_cancel(struct lease_wait *w)
{
    if (atomic_exchange(&w->claimed, true)) {
        wait_unref(w);
        return false;
    }
    bool mine;
    {
        LOCKED(&w->owner->lock);
        clock_del(w->owner, w);
        mine = entry_del_wait(w->owner, w);
    }
    if (mine)
        wait_unref(w);
    wait_unref(w);
    return true;
}

/* Takes a wait that is not on a load off the clock; false: it was answered or cancelled. */
static bool claim_alone(struct residents *r, struct lease_wait *w)
{
    if (atomic_exchange(&w->claimed, true))
        return false;
    LOCKED(&r->lock);
    clock_del(r, w);
    return true;
}

void residency_fail(struct residents *r, struct lease_wait *w, const struct fail *f)
{
    if (claim_alone(r, w))
        w->fn(w->arg, NULL, f);
    wait_unref(w);
}

bool residency_abandon(struct residents *r, struct lease_wait *w)
{
    bool mine = claim_alone(r, w);
    if (mine)
        wait_unref(w);
    wait_unref(w);
    return mine;
}

/* ---- the clock's thread ---- */

/* One that is late, claimed, with the seconds after which to try again. */
static struct lease_wait *expire_one(struct residents *r, unsigned *ret_retry_s)
{
    struct lease_wait *w;
    while ((w = r->first_wait) && w->deadline_ms <= clock_ms()) {
        clock_del(r, w);
        if (atomic_exchange(&w->claimed, true))
            continue;
        *ret_retry_s = w->entry ? load_retry_s(r, w->entry) : 1;
        if (!entry_del_wait(r, w))
            atomic_fetch_add(&w->refs, 1); /* the catalog's thread still holds its own */
        w->next_entry = NULL;
        return w;
    }
    return NULL;
}

void *clock_main(void *arg)
{
    struct residents *r = arg;
    struct fail f;
    (void)fail_set(&f, FAIL_timeout, "the adapter was not loaded in time; try again");
    for (;;) {
        struct lease_wait *late;
        {
            LOCKED(&r->lock);
            while (!(late = expire_one(r, &f.retry_after_s)) && !r->stopping)
                (void)thread_cond_wait_until(
                    &r->ticks, &r->lock, r->first_wait ? r->first_wait->deadline_ms : CLOCK_NEVER);
        }
        if (!late)
            return NULL;
        metrics_add(METRIC_adapter_wait_timeouts_total, 1);
        answer_waits(late, &f);
    }
}
