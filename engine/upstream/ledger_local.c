#include "engine/upstream/ledger.h"

#include "base/clock.h"
#include "base/own.h"
#include "base/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ENDPOINT_MAX = 512,
    WAIT_MS = 20,
    GONE_MS = 2000, /* who has not asked for so long waits no more */
};

struct party { /* who holds a name, or waits for it */
    struct party *next;
    unsigned holder;
    bool is_held;
    uint64_t since_ms, asked_ms; /* of waiting: since when, and last heard of; asked 0: it does not
                                  */
};

enum name_state { NAME_absent, NAME_loading, NAME_loaded, NAME_leaving };

struct name { /* absent: somebody waits for it */
    struct name *next;
    char name[LEDGER_NAME];
    char taker[LEDGER_NAME]; /* of leaving: what it is unloaded for, until that one's load ends */
    enum name_state state;
    uint64_t used_us; /* was taken, or given back */
    uint64_t held_ms; /* is held since then */
    struct party *parties;
};

struct endpoint {
    struct endpoint *next;
    char url[ENDPOINT_MAX];
    struct name *names;
};

struct ledger_local {
    pthread_mutex_t lock;
    struct endpoint *endpoints;
};

/* ---- what there is ---- */

struct ledger_local *ledger_local_new(void)
{
    struct ledger_local *l = calloc(1, sizeof(*l));
    if (l)
        (void)pthread_mutex_init(&l->lock, /* attr= */ NULL);
    return l;
}

static void free_name(struct name *n)
{
    for (struct party *p; (p = n->parties); free(p))
        n->parties = p->next;
    free(n);
}

struct ledger_local *ledger_local_free(struct ledger_local *l)
{
    if (!l)
        return NULL;
    for (struct endpoint *e; (e = l->endpoints); free(e)) {
        l->endpoints = e->next;
        for (struct name *n; (n = e->names); free_name(n))
            e->names = n->next;
    }
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

static struct endpoint *endpoint_of(struct ledger_local *l, const char *url)
{
    struct endpoint *e = l->endpoints;
    while (e && strcmp(e->url, url) != 0)
        e = e->next;
    if (e || !(e = calloc(1, sizeof(*e))))
        return e;
    (void)snprintf(e->url, sizeof(e->url), "%s", url);
    e->next = l->endpoints;
    l->endpoints = e;
    return e;
}

static struct name *find(const struct endpoint *e, const char *name)
{
    struct name *n = e->names;
    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    return n;
}

static struct name *name_of(struct endpoint *e, const char *name)
{
    struct name *n = find(e, name);
    if (n || !(n = calloc(1, sizeof(*n))))
        return n;
    (void)snprintf(n->name, sizeof(n->name), "%s", name);
    n->next = e->names;
    e->names = n;
    return n;
}

static struct party *party_of(struct name *n, unsigned holder)
{
    struct party *p = n->parties;
    while (p && p->holder != holder)
        p = p->next;
    if (p || !(p = calloc(1, sizeof(*p))))
        return p;
    p->holder = holder;
    p->next = n->parties;
    n->parties = p;
    return p;
}

static bool is_held(const struct name *n)
{
    const struct party *p = n->parties;
    while (p && !p->is_held)
        p = p->next;
    return p != NULL;
}

/* Forgets who neither holds nor waits, and names that are neither there nor wanted. */
static void sweep(struct endpoint *e, uint64_t now_ms)
{
    for (struct name **at = &e->names, *n; (n = *at);) {
        for (struct party **pat = &n->parties, *p; (p = *pat);) {
            if (p->asked_ms && p->asked_ms + GONE_MS <= now_ms)
                p->asked_ms = 0;
            if (p->is_held || p->asked_ms) {
                pat = &p->next;
                continue;
            }
            *pat = p->next;
            free(p);
        }
        if (n->state != NAME_absent || n->parties) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        free_name(n);
    }
}

/* ---- who comes first ---- */

/* Since when a name waits for a place; 0: it does not, or not for longer than is its turn. */
static uint64_t late_since(const struct name *n, uint64_t patience_ms, uint64_t now_ms)
{
    uint64_t since = 0;
    if (is_held(n))
        return 0;
    for (const struct party *p = n->parties; p; p = p->next)
        if (p->asked_ms && p->since_ms + patience_ms <= now_ms && (!since || p->since_ms < since))
            since = p->since_ms;
    return since;
}

static size_t count_held(const struct endpoint *e)
{
    size_t n = 0;
    for (const struct name *i = e->names; i; i = i->next)
        n += is_held(i);
    return n;
}

/* Names that get a place before `n` does. */
static size_t count_before(const struct endpoint *e, const struct name *n, uint64_t patience_ms,
                           uint64_t now_ms)
{
    size_t before = 0;
    uint64_t mine = late_since(n, patience_ms, now_ms);
    for (const struct name *i = e->names; i; i = i->next) {
        uint64_t since = i == n ? 0 : late_since(i, patience_ms, now_ms);
        before +=
            since && (!mine || since < mine || (since == mine && strcmp(i->name, n->name) < 0));
    }
    return before;
}

/* How many are asked back. */
static uint64_t count_owed(const struct endpoint *e, const struct ledger_slot *s, uint64_t now_ms)
{
    uint64_t late = 0, turns = 0, held = count_held(e);
    for (const struct name *i = e->names; i; i = i->next) {
        uint64_t since = late_since(i, s->patience_ms, now_ms);
        late += since > 0;
        turns += since ? (now_ms - since) / s->patience_ms : 0;
    }
    bool fits = held + late <= s->max_held;
    return fits ? 0 : held + turns - s->max_held;
}

static bool had_its_turn(const struct name *n, const struct ledger_slot *s, uint64_t now_ms)
{
    return n->state == NAME_loaded && is_held(n) && n->held_ms + s->patience_ms <= now_ms;
}

static bool is_asked_back(const struct endpoint *e, const struct name *n,
                          const struct ledger_slot *s, uint64_t now_ms)
{
    uint64_t longer = 0, owed = had_its_turn(n, s, now_ms) ? count_owed(e, s, now_ms) : 0;
    if (!owed)
        return false;
    for (const struct name *i = e->names; i; i = i->next)
        longer +=
            i != n && had_its_turn(i, s, now_ms) &&
            (i->held_ms < n->held_ms || (i->held_ms == n->held_ms && strcmp(i->name, n->name) < 0));
    return longer < owed;
}

/* ---- the operations ---- */

/* The one that nobody holds and that was used longest ago. */
static struct name *oldest(const struct endpoint *e)
{
    struct name *best = NULL;
    for (struct name *n = e->names; n; n = n->next)
        if (n->state == NAME_loaded && !is_held(n) && (!best || n->used_us < best->used_us))
            best = n;
    return best;
}

static uint64_t count_loaded(const struct endpoint *e)
{
    uint64_t all = 0;
    for (const struct name *n = e->names; n; n = n->next)
        all += n->state == NAME_loaded || n->state == NAME_loading;
    return all;
}

static bool may_hold(const struct endpoint *e, const struct name *n, const struct party *me,
                     const struct ledger_slot *s)
{
    uint64_t now = clock_ms();
    if (n->state == NAME_leaving || (n->state == NAME_loading && is_held(n)))
        return false;
    if (is_held(n))
        return me->is_held || !is_asked_back(e, n, s, now);
    return count_held(e) + count_before(e, n, s->patience_ms, now) < s->max_held;
}

static int take(struct endpoint *e, struct name *n, struct party *me, const struct ledger_slot *s,
                struct ledger_answer *ret)
{
    bool is_there = n->state == NAME_loaded && !s->is_missing;
    bool is_full = n->state == NAME_absent && count_loaded(e) >= s->max_loaded;
    struct name *victim = is_full ? oldest(e) : NULL;
    if (is_full && !victim)
        return 0;
    if (victim) {
        memcpy(ret->victim, victim->name, sizeof(ret->victim));
        memcpy(victim->taker, n->name, sizeof(victim->taker));
        victim->state = NAME_leaving;
    }
    if (!is_held(n))
        n->held_ms = clock_ms();
    n->used_us = clock_us();
    me->is_held = true;
    me->asked_ms = 0;
    ret->word = is_there ? LEDGER_ready : LEDGER_load;
    if (!is_there)
        n->state = NAME_loading;
    return 0;
}

static int hold(void *ctx, const struct ledger_slot *s, struct ledger_answer *ret,
                struct fail *reterr)
{
    struct ledger_local *l = ctx;
    (void)reterr;
    *ret = (struct ledger_answer){ .word = LEDGER_wait, .wait_ms = WAIT_MS };
    if (strlen(s->endpoint) >= ENDPOINT_MAX || strlen(s->name) >= LEDGER_NAME)
        return -ENAMETOOLONG;
    LOCKED(&l->lock);
    uint64_t now = clock_ms();
    struct endpoint *e = endpoint_of(l, s->endpoint);
    if (e)
        sweep(e, now);
    struct name *n = e ? name_of(e, s->name) : NULL;
    struct party *me = n ? party_of(n, s->holder) : NULL;
    if (!me)
        return -ENOMEM;
    me->asked_ms = now;
    me->since_ms = now > s->waited_ms ? now - s->waited_ms : 1;
    return may_hold(e, n, me, s) ? take(e, n, me, s, ret) : 0;
}

static void leave(struct name *n, unsigned holder)
{
    for (struct party *p = n->parties; p; p = p->next) {
        if (p->holder != holder)
            continue;
        p->is_held = false;
        p->asked_ms = 0;
    }
}

static int settle(void *ctx, const struct ledger_slot *s, bool loaded)
{
    struct ledger_local *l = ctx;
    LOCKED(&l->lock);
    struct endpoint *e = endpoint_of(l, s->endpoint);
    if (!e)
        return -ENOMEM;
    for (struct name *n = e->names; n; n = n->next) /* what went for it is gone */
        if (n->state == NAME_leaving && strcmp(n->taker, s->name) == 0)
            n->state = NAME_absent;
    struct name *n = find(e, s->name);
    if (n)
        n->state = loaded ? NAME_loaded : NAME_absent;
    if (n)
        n->held_ms = clock_ms();
    if (n && !loaded)
        leave(n, s->holder);
    sweep(e, clock_ms());
    return 0;
}

static int drop(void *ctx, const struct ledger_slot *s)
{
    struct ledger_local *l = ctx;
    LOCKED(&l->lock);
    struct endpoint *e = endpoint_of(l, s->endpoint);
    struct name *n = e ? find(e, s->name) : NULL;
    if (!n)
        return 0;
    leave(n, s->holder);
    n->used_us = clock_us();
    sweep(e, clock_ms());
    return 0;
}

static int found(void *ctx, const struct ledger_slot *s)
{
    struct ledger_local *l = ctx;
    if (strlen(s->endpoint) >= ENDPOINT_MAX || strlen(s->name) >= LEDGER_NAME)
        return -ENAMETOOLONG;
    LOCKED(&l->lock);
    struct endpoint *e = endpoint_of(l, s->endpoint);
    struct name *n = e ? name_of(e, s->name) : NULL;
    if (!n)
        return -ENOMEM;
    if (n->state == NAME_absent) {
        n->state = NAME_loaded;
        n->used_us = clock_us();
    }
    return 0;
}

static bool is_asked(const struct endpoint *e, const struct name *n, const struct ledger_slot *s)
{
    return is_asked_back(e, n, s, clock_ms());
}

static bool is_there(const struct endpoint *e, const struct name *n, const struct ledger_slot *s)
{
    (void)e;
    (void)s;
    return n->state != NAME_absent;
}

typedef bool (*which_fn)(const struct endpoint *e, const struct name *n,
                         const struct ledger_slot *s);

static int copy_names(struct ledger_local *l, const struct ledger_slot *s, which_fn which,
                      char (**ret)[LEDGER_NAME], size_t *ret_n)
{
    LOCKED(&l->lock);
    size_t all = 0;
    struct endpoint *e = endpoint_of(l, s->endpoint);
    if (!e)
        return -ENOMEM;
    sweep(e, clock_ms());
    for (const struct name *n = e->names; n; n = n->next)
        all++;
    if (all == 0)
        return 0;
    char(*names)[LEDGER_NAME] = calloc(all, sizeof(*names));
    if (!names)
        return -ENOMEM;
    for (const struct name *n = e->names; n; n = n->next)
        if (which(e, n, s))
            memcpy(names[(*ret_n)++], n->name, LEDGER_NAME);
    *ret = names;
    return 0;
}

static int tell(struct ledger_local *l, const struct ledger_slot *s, which_fn which,
                ledger_name_fn told, void *told_ctx)
{
    char(*names)[LEDGER_NAME] = NULL;
    size_t n = 0;
    int r = copy_names(l, s, which, &names, &n);
    for (size_t i = 0; i < n; i++) /* not under the lock */
        told(told_ctx, names[i]);
    free(names);
    return r;
}

static int asked_back(void *ctx, const struct ledger_slot *s, ledger_name_fn told, void *told_ctx)
{
    return tell(ctx, s, is_asked, told, told_ctx);
}

static int names(void *ctx, const struct ledger_slot *s, ledger_name_fn told, void *told_ctx)
{
    return tell(ctx, s, is_there, told, told_ctx);
}

const struct ledger_ops ledger_local_ops = { hold, settle, drop, found, asked_back, names };
