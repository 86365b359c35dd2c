#include "engine/upstream/lora_inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

enum {
    BACK_MS = 200,  /* between two questions what the ledger wants back */
    IDLE_MS = 2000, /* between two looks at all, and after a ledger that did not answer */
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

/* Under the lock: of who waits longest. */
static uint64_t waited_ms(const struct lora_entry *e)
{
    uint64_t now = clock_ms(), longest = 0;
    for (const struct lora_waiter *w = e->waiters; w; w = w->next)
        if (now - w->asked_ms > longest)
            longest = now - w->asked_ms;
    return longest;
}

/* Under the lock. */
static struct ledger_slot slot_of(const struct lora_fleet *f, const struct lora_entry *e)
{
    const struct config_upstream_lora *l = f->lora;
    /* Loading one more than fit into a batch may evict one that is decoding. */
    bool few = !l->safe_eviction && l->max_loaded > l->max_loras;
    return (struct ledger_slot){ .endpoint = f->sites[e->endpoint].url,
                                 .name = e->name,
                                 .max_loaded = few ? l->max_loras : l->max_loaded,
                                 .max_held = l->max_loras,
                                 .holder = f->config.holder,
                                 .waited_ms = waited_ms(e),
                                 .patience_ms = l->patience_ms };
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

static struct ledger_slot locked_slot_of(struct lora_fleet *f, const struct lora_entry *e)
{
    LOCKED(&f->lock);
    return slot_of(f, e);
}

/* Under the lock. */
static void be_held(struct lora_entry *e)
{
    e->state = LORA_STATE_held;
    e->at_ms = clock_ms() + LORA_LINGER_MS;
    e->times_held++;
    lora_tell_all(e, NULL);
}

/* Called and left without the lock. */
static void ask(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = locked_slot_of(f, e);
    struct ledger_answer answer = { .word = LEDGER_wait };
    struct fail fail = { 0 };
    e->is_known = true;
    slot.is_missing = e->is_missing;
    int err = f->ledger.ops->hold(f->ledger.ctx, &slot, &answer, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "asking for room for the adapter");
    LOCKED(&f->lock);
    e->is_missing = false;
    if (err != 0) {
        lora_tell_all(e, &fail);
        e->at_ms = clock_ms() + LORA_LINGER_MS;
    } else if (answer.word == LEDGER_ready) {
        be_held(e);
    } else if (answer.word == LEDGER_wait) {
        e->at_ms = clock_ms() + answer.wait_ms;
        lora_tell_late(e, clock_ms());
        yield_idle(f, e->endpoint);
    } else {
        memcpy(e->victim, answer.victim, sizeof(e->victim));
        lora_load_queue(e);
    }
}

static void settle(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = locked_slot_of(f, e);
    bool counts = e->is_loaded || e->is_doubtful;
    int err = f->ledger.ops->settle(f->ledger.ctx, &slot, counts);
    if (err == 0 && counts && !e->is_loaded)
        err = f->ledger.ops->drop(f->ledger.ctx, &slot);
    LOCKED(&f->lock);
    if (err != 0)
        log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", e->name);
    if (e->is_loaded) {
        be_held(e);
        return;
    }
    log_line(LOG_warn, "upstream_adapter", "name=%s endpoint=%s why=\"%s\"", e->name,
             f->sites[e->endpoint].url, e->fail.message);
    bool refused = e->fail.code == FAIL_unprocessable_adapter;
    e->is_known = false;
    e->state = refused ? LORA_STATE_unservable : LORA_STATE_asking;
    e->at_ms = clock_ms() + (refused ? UNSERVABLE_MS : LORA_LINGER_MS);
    lora_tell_all(e, &e->fail);
}

static void ask_anew(struct lora_entry *e)
{
    e->state = LORA_STATE_asking;
    e->is_leaving = e->is_known = false;
    e->at_ms = clock_ms();
}

/* Gives back what is held or waited for; who waits for one that was asked back asks anew. */
static void drop(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = locked_slot_of(f, e);
    char name[LORA_NAME];
    bool is_known = e->is_known;
    unsigned endpoint = e->endpoint;
    memcpy(name, e->name, sizeof(name));
    slot.name = name;
    {
        LOCKED(&f->lock);
        if (e->uses || (e->waiters && !e->is_leaving))
            return; /* wanted again meanwhile */
        if (e->waiters)
            ask_anew(e);
        else
            free_entry(f, e);
    }
    if (!is_known)
        return;
    if (f->ledger.ops->drop(f->ledger.ctx, &slot) != 0)
        log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", name);
    LOCKED(&f->lock);
    ask_again(f, endpoint);
}

/* ---- what the ledger wants back ---- */

struct asked_at {
    struct lora_fleet *fleet;
    unsigned endpoint;
};

static void on_named(void *ctx, const char *name)
{
    const struct asked_at *at = ctx;
    LOCKED(&at->fleet->lock);
    for (struct lora_entry *e = at->fleet->entries; e; e = e->next)
        if (e->endpoint == at->endpoint && strcmp(e->name, name) == 0)
            e->is_named = true;
}

/* Under the lock. */
static void leave_or_stay(struct lora_entry *e)
{
    if (e->is_named && !e->is_leaving) {
        e->is_leaving = true;
        e->at_ms = 0; /* where it is idle; else once it is */
    } else if (!e->is_named && e->is_leaving) {
        e->is_leaving = false;
        e->at_ms = clock_ms() + LORA_LINGER_MS;
        lora_tell_all(e, NULL);
    }
}

static void look_back(struct lora_fleet *f, unsigned endpoint)
{
    static struct log_rate rate;
    struct asked_at at = { f, endpoint };
    struct ledger_slot slot = { .endpoint = f->sites[endpoint].url,
                                .max_held = f->lora->max_loras,
                                .holder = f->config.holder,
                                .patience_ms = f->lora->patience_ms };
    int err = f->ledger.ops->asked_back(f->ledger.ctx, &slot, on_named, &at);
    if (err != 0)
        log_rated(&rate, LOG_warn, "upstream_adapter", "why=\"the ledger cannot be asked\"");
    LOCKED(&f->lock);
    f->sites[endpoint].back_at_ms = clock_ms() + (err == 0 ? BACK_MS : IDLE_MS);
    for (struct lora_entry *e = f->entries; e; e = e->next) {
        if (err == 0 && e->endpoint == endpoint && e->state == LORA_STATE_held)
            leave_or_stay(e);
        e->is_named = false;
    }
}

/* Under the lock. The next endpoint with something held of which it was not asked lately, or
 * n_sites. */
static unsigned back_due(const struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms)
{
    for (const struct lora_entry *e = f->entries; e; e = e->next) {
        uint64_t at_ms = f->sites[e->endpoint].back_at_ms;
        if (e->state == LORA_STATE_held && at_ms <= now_ms)
            return e->endpoint;
        if (e->state == LORA_STATE_held && at_ms < *next_ms)
            *next_ms = at_ms;
    }
    return f->n_sites;
}

/* Under the lock. The next entry with something to be done about, or NULL. */
static struct lora_entry *due(struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms)
{
    for (struct lora_entry *e = f->entries; e; e = e->next) {
        bool waits = e->state == LORA_STATE_asking && !f->sites[e->endpoint].is_listed;
        bool leaves = e->state == LORA_STATE_held && e->is_leaving;
        bool still = e->state == LORA_STATE_placing || (e->state == LORA_STATE_held && e->uses);
        if (waits || leaves)
            lora_tell_late(e, now_ms);
        if (e->state == LORA_STATE_settled || (!still && !waits && e->at_ms <= now_ms))
            return e;
        if (!still && !waits && e->at_ms < *next_ms)
            *next_ms = e->at_ms;
    }
    return NULL;
}

enum act { ACT_settle, ACT_ask, ACT_drop, ACT_keep };

/* Under the lock. */
static enum act act_of(const struct lora_entry *e)
{
    if (e->state == LORA_STATE_settled)
        return ACT_settle;
    if (e->state == LORA_STATE_held)
        return ACT_drop;
    if (e->waiters && e->state == LORA_STATE_asking)
        return ACT_ask;
    return e->uses ? ACT_keep : ACT_drop;
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
        if (!e->waiters) /* used still, though the engine said that it was gone */
            e->state = LORA_STATE_held;
    }
}

/* Does one thing that is to be done, or waits until there is one. false: it is over. */
static bool step(struct lora_fleet *f)
{
    uint64_t now = clock_ms(), next = now + IDLE_MS;
    unsigned listed, back = f->n_sites;
    struct lora_entry *e = NULL;
    enum act what = ACT_keep;
    {
        LOCKED(&f->lock);
        listed = lora_list_due(f, now, &next);
        if (listed == f->n_sites)
            back = back_due(f, now, &next);
        if (listed == f->n_sites && back == f->n_sites)
            e = due(f, now, &next);
        what = e ? act_of(e) : ACT_keep;
        bool idle = !e && listed == f->n_sites && back == f->n_sites && !f->is_woken;
        if (idle && f->stopping)
            return false;
        if (idle)
            (void)thread_cond_wait_until(&f->wake, &f->lock, next);
        f->is_woken = false;
    }
    if (listed < f->n_sites)
        lora_list(f, listed);
    else if (back < f->n_sites)
        look_back(f, back);
    else if (e)
        act(f, e, what);
    return true;
}

void *lora_thread(void *fleet)
{
    while (step(fleet))
        ;
    return NULL;
}

void lora_give_back(struct lora_fleet *f)
{
    int err = 0;
    for (struct lora_entry *e = f->entries; e && err == 0; e = e->next) {
        struct ledger_slot slot = slot_of(f, e);
        if (e->is_known)
            err = f->ledger.ops->drop(f->ledger.ctx, &slot);
    }
    if (err != 0)
        log_line(LOG_warn, "upstream_adapter", "why=\"the ledger was not told that we go\"");
}
