#include "engine/upstream/lora_inside.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>

void lora_use_less(struct lora_entry *e)
{
    if (--e->uses > 0)
        return;
    e->at_ms = e->is_leaving ? 0 : clock_ms() + LORA_LINGER_MS;
    lora_wake(e->fleet);
}

void lora_set_held(struct lora_use *use, struct lora_entry *e)
{
    const struct config_endpoint *at = lora_endpoint(e->fleet, e->endpoint);
    use->fleet = e->fleet;
    use->entry = e;
    use->waiter = NULL;
    use->times_held = e->times_held;
    size_t n = 0;
    if (at->provider == UPSTREAM_sglang) { /* its way: "base:adapter" */
        n = at->model.n < LIMIT_NAME ? at->model.n : LIMIT_NAME;
        memcpy(use->name, at->model.p, n);
        use->name[n++] = ':';
    }
    memcpy(use->name + n, e->name, sizeof(e->name));
}

static void run_waiter(struct transport_task *task)
{
    struct lora_waiter *w = (struct lora_waiter *)(void *)task;
    struct lora_use *use = w->use;
    struct lora_fleet *f = w->fleet;
    if (!use && w->entry) {
        LOCKED(&f->lock);
        lora_use_less(w->entry);
    } else if (use && w->entry) {
        lora_set_held(use, w->entry);
        use->ready(use, NULL);
    } else if (use) {
        use->waiter = NULL;
        use->fleet = NULL;
        use->ready(use, &w->fail);
    }
    free(w);
    LOCKED(&f->lock);
    lora_end_call(f);
}

/* The fleet's thread forgets an entry that nobody waits for. */
void lora_wait_no_more(struct lora_waiter *w)
{
    struct lora_entry *e = w->of;
    w->use = NULL;
    if (!e)
        return; /* told: its task frees it */
    struct lora_waiter **at = &e->waiters;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
    if (!e->waiters && e->state == LORA_STATE_asking) {
        e->at_ms = 0;
        lora_wake(e->fleet);
    }
}

/* Under the lock: posting takes none of ours. */
static void tell(struct lora_entry *e, struct lora_waiter *w, const struct fail *fail)
{
    w->of = NULL;
    w->entry = fail ? NULL : e;
    if (fail)
        w->fail = *fail;
    else
        e->uses++;
    e->fleet->calls++;
    transport_post(w->loop, &w->task);
}

void lora_tell_all(struct lora_entry *e, const struct fail *fail)
{
    struct lora_waiter *list = TAKE(e->waiters);
    for (struct lora_waiter *w = list, *next; w; w = next) {
        next = w->next;
        tell(e, w, fail);
    }
}

/* Those that waited for room as long as they could. */
void lora_tell_late(struct lora_entry *e, uint64_t now_ms)
{
    struct fail fail;
    (void)fail_set(&fail, FAIL_overloaded,
                   "no room for the adapter '%s' at the engine behind: others are in use", e->full);
    fail.retry_after_s = 1;
    for (struct lora_waiter **at = &e->waiters; *at;) {
        struct lora_waiter *w = *at;
        if (w->deadline_ms > now_ms) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        tell(e, w, &fail);
    }
}

int lora_wait(struct lora_entry *e, struct lora_use *use, struct transport_loop *l,
              uint64_t deadline_ms)
{
    struct lora_waiter *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->task.run = run_waiter;
    w->loop = l;
    w->use = use;
    w->fleet = e->fleet;
    w->of = e;
    w->asked_ms = clock_ms();
    w->deadline_ms = deadline_ms;
    w->next = e->waiters;
    e->waiters = w;
    use->fleet = e->fleet;
    use->waiter = w;
    use->entry = NULL;
    lora_wake(e->fleet);
    return LORA_PENDING;
}
