#include "engine/upstream/lora_inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

enum {
    REFRESH_MS = 2000,         /* between two words to the ledger that we are alive */
    UNSERVABLE_MS = 60 * 1000, /* before an adapter that was refused is tried again */
};

void lora_wake(struct lora_fleet *f)
{
    f->is_woken = true;
    (void)pthread_cond_signal(&f->wake);
}

void lora_end_call(struct lora_fleet *f)
{
    if (--f->calls == 0)
        (void)pthread_cond_broadcast(&f->calm);
    lora_wake(f);
}

static struct lora_entry **place_of(struct lora_fleet *f, const struct lora_entry *e)
{
    struct lora_entry **at = &f->entries;
    while (*at != e)
        at = &(*at)->next;
    return at;
}

static struct ledger_slot slot_of(const struct lora_fleet *f, const struct lora_entry *e)
{
    const struct config_upstream_lora *l = f->lora;
    /* Loading one more than fit into a batch may evict one that is decoding. */
    bool few = !l->safe_eviction && l->max_loaded > l->max_loras;
    return (struct ledger_slot){ .endpoint = f->sites[e->endpoint].url,
                                 .name = e->name,
                                 .max_loaded = few ? l->max_loras : l->max_loaded,
                                 .max_held = l->max_loras };
}

static void free_entry(struct lora_fleet *f, struct lora_entry *e)
{
    *place_of(f, e) = e->next;
    free(e);
}

/* Under the lock. What is held only for its next use gives way to what is wanted now. */
static void yield_idle(struct lora_fleet *f, unsigned endpoint)
{
    struct lora_entry *oldest = NULL;
    for (struct lora_entry *e = f->entries; e; e = e->next)
        if (e->endpoint == endpoint && e->state == LORA_STATE_held && !e->uses &&
            (!oldest || e->at_ms < oldest->at_ms))
            oldest = e;
    if (oldest)
        oldest->at_ms = 0;
}

/* Under the lock. There is room: whoever waits for it asks again at once. */
static void ask_again(struct lora_fleet *f, unsigned endpoint)
{
    for (struct lora_entry *e = f->entries; e; e = e->next)
        if (e->endpoint == endpoint && e->state == LORA_STATE_asking && e->waiters)
            e->at_ms = 0;
}

/* Called and left without the lock. */
static void ask(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = slot_of(f, e);
    struct ledger_answer answer = { .word = LEDGER_wait };
    struct fail fail = { 0 };
    int err = 0;
    if (e->is_missing)
        err = f->ledger.ops->correct(f->ledger.ctx, &slot, /* loaded= */ false);
    if (err == 0)
        err = f->ledger.ops->hold(f->ledger.ctx, &slot, &answer, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "asking for room for the adapter");
    bool loads = false;
    {
        LOCKED(&f->lock);
        e->is_missing = false;
        if (err != 0) {
            lora_tell_all(e, &fail);
            e->at_ms = clock_ms() + LORA_LINGER_MS;
        } else if (answer.word == LEDGER_ready) {
            e->state = LORA_STATE_held;
            e->at_ms = clock_ms() + LORA_LINGER_MS;
            lora_tell_all(e, NULL);
        } else if (answer.word == LEDGER_wait) {
            e->at_ms = clock_ms() + answer.wait_ms;
            lora_tell_late(e, clock_ms());
            yield_idle(f, e->endpoint);
        } else {
            memcpy(e->victim, answer.victim, sizeof(e->victim));
            e->state = LORA_STATE_placing;
            f->calls++;
            loads = true;
        }
    }
    if (loads)
        lora_load_begin(e);
}

static void settle(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = slot_of(f, e);
    int err = f->ledger.ops->settle(f->ledger.ctx, &slot, e->is_loaded);
    LOCKED(&f->lock);
    if (err != 0)
        log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", e->name);
    if (e->is_loaded) {
        e->state = LORA_STATE_held;
        e->at_ms = clock_ms() + LORA_LINGER_MS;
        lora_tell_all(e, NULL);
        return;
    }
    log_line(LOG_warn, "upstream_adapter", "name=%s endpoint=%s why=\"%s\"", e->name,
             f->sites[e->endpoint].url, e->fail.message);
    bool refused = e->fail.code == FAIL_unprocessable_adapter;
    e->state = refused ? LORA_STATE_unservable : LORA_STATE_asking;
    e->at_ms = clock_ms() + (refused ? UNSERVABLE_MS : LORA_LINGER_MS);
    lora_tell_all(e, &e->fail);
}

static void drop(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = slot_of(f, e);
    char name[LORA_NAME];
    unsigned endpoint = e->endpoint;
    memcpy(name, e->name, sizeof(name));
    slot.name = name;
    {
        LOCKED(&f->lock);
        if (e->uses || e->waiters)
            return; /* wanted again meanwhile */
        free_entry(f, e);
    }
    if (f->ledger.ops->drop(f->ledger.ctx, &slot) != 0)
        log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", name);
    LOCKED(&f->lock);
    ask_again(f, endpoint);
}

/* Under the lock. The next entry with something to be done about, or NULL. */
static struct lora_entry *due(struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms)
{
    for (struct lora_entry *e = f->entries; e; e = e->next) {
        bool waits = e->state == LORA_STATE_asking && !f->sites[e->endpoint].is_listed;
        bool still = e->state == LORA_STATE_placing || (e->state == LORA_STATE_held && e->uses);
        if (waits)
            lora_tell_late(e, now_ms);
        if (e->state == LORA_STATE_settled || (!still && !waits && e->at_ms <= now_ms))
            return e;
        if (!still && !waits && e->at_ms < *next_ms)
            *next_ms = e->at_ms;
    }
    return NULL;
}

enum act { ACT_settle, ACT_ask, ACT_drop, ACT_keep, ACT_forget };

/* Under the lock. */
static enum act act_of(const struct lora_entry *e)
{
    if (e->state == LORA_STATE_settled)
        return ACT_settle;
    if (e->state == LORA_STATE_held)
        return ACT_drop;
    if (e->waiters && e->state == LORA_STATE_asking)
        return ACT_ask;
    return e->uses ? ACT_keep : ACT_forget;
}

static void act(struct lora_fleet *f, struct lora_entry *e, enum act what)
{
    if (what == ACT_settle) {
        settle(f, e);
    } else if (what == ACT_ask) {
        ask(f, e);
    } else if (what == ACT_drop) {
        drop(f, e);
    } else {
        LOCKED(&f->lock);
        if (what == ACT_forget && !e->waiters && !e->uses)
            free_entry(f, e);
        else if (!e->waiters) /* used still, though the engine said that it was gone */
            e->state = LORA_STATE_held;
    }
}

void *lora_thread(void *arg)
{
    struct lora_fleet *f = arg;
    for (;;) {
        uint64_t now = clock_ms(), next = now + REFRESH_MS;
        struct lora_entry *e = NULL;
        enum act what = ACT_keep;
        unsigned site;
        {
            LOCKED(&f->lock);
            site = lora_list_due(f, now, &next);
            e = site == f->n_sites ? due(f, now, &next) : NULL;
            what = e ? act_of(e) : ACT_keep;
            bool idle = !e && site == f->n_sites && !f->is_woken && now < f->refresh_ms;
            if (idle && f->stopping)
                return NULL;
            if (idle)
                (void)thread_cond_wait_until(&f->wake, &f->lock, next);
            f->is_woken = false;
        }
        if (site < f->n_sites)
            lora_list(f, site);
        else if (e)
            act(f, e, what);
        else if (f->ledger.ops->refresh && clock_ms() >= f->refresh_ms &&
                 f->ledger.ops->refresh(f->ledger.ctx) != 0)
            log_line(LOG_warn, "upstream_adapter", "why=\"the ledger was not told that we live\"");
        if (clock_ms() >= f->refresh_ms)
            f->refresh_ms = clock_ms() + REFRESH_MS;
    }
}
