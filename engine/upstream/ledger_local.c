#include "engine/upstream/ledger.h"

#include "base/clock.h"
#include "base/own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENDPOINT_MAX = 512, WAIT_MS = 20 };

struct entry {
    char endpoint[ENDPOINT_MAX], name[LEDGER_NAME];
    char taker[LEDGER_NAME]; /* is being unloaded for that one, until its load ends; or empty */
    bool is_loaded, is_held;
    uint64_t used_us;
};

struct ledger_local {
    struct entry *entries;
    size_t n, cap;
};

struct ledger_local *ledger_local_new(void)
{
    return calloc(1, sizeof(struct ledger_local));
}

struct ledger_local *ledger_local_free(struct ledger_local *l)
{
    if (l)
        free(l->entries);
    free(l);
    return NULL;
}

static struct entry *find(struct ledger_local *l, const struct ledger_slot *s)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->entries[i].endpoint, s->endpoint) == 0 &&
            strcmp(l->entries[i].name, s->name) == 0)
            return &l->entries[i];
    return NULL;
}

static struct entry *add(struct ledger_local *l, const struct ledger_slot *s)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        struct entry *grown = reallocarray(l->entries, cap, sizeof(*grown));
        if (!grown)
            return NULL;
        l->entries = grown;
        l->cap = cap;
    }
    struct entry *e = &l->entries[l->n++];
    *e = (struct entry){ .used_us = clock_us() };
    (void)snprintf(e->endpoint, sizeof(e->endpoint), "%s", s->endpoint);
    (void)snprintf(e->name, sizeof(e->name), "%s", s->name);
    return e;
}

static void forget(struct ledger_local *l, struct entry *e)
{
    *e = l->entries[--l->n];
}

static void count(const struct ledger_local *l, const struct ledger_slot *s, uint64_t *ret_all,
                  uint64_t *ret_held)
{
    *ret_all = *ret_held = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->entries[i].endpoint, s->endpoint) != 0 || l->entries[i].taker[0])
            continue;
        ++*ret_all;
        *ret_held += l->entries[i].is_held;
    }
}

/* The one that nobody holds and that was used longest ago. */
static struct entry *oldest(struct ledger_local *l, const struct ledger_slot *s)
{
    struct entry *best = NULL;
    for (size_t i = 0; i < l->n; i++) {
        struct entry *e = &l->entries[i];
        if (!e->is_held && e->is_loaded && !e->taker[0] && strcmp(e->endpoint, s->endpoint) == 0 &&
            (!best || e->used_us < best->used_us))
            best = e;
    }
    return best;
}

static int hold(void *ctx, const struct ledger_slot *s, struct ledger_answer *ret,
                struct fail *reterr)
{
    struct ledger_local *l = ctx;
    struct entry *e = find(l, s);
    uint64_t all = 0, held = 0;
    (void)reterr;
    *ret = (struct ledger_answer){ .word = LEDGER_wait, .wait_ms = WAIT_MS };
    if (strlen(s->endpoint) >= ENDPOINT_MAX || strlen(s->name) >= LEDGER_NAME)
        return -ENAMETOOLONG;
    count(l, s, &all, &held);
    bool fits = held < s->max_held || (e && e->is_held);
    if (!fits || (e && (e->taker[0] || (!e->is_loaded && e->is_held))))
        return 0;
    if (e) {
        e->is_held = true;
        e->used_us = clock_us();
        ret->word = LEDGER_ready;
        return 0;
    }
    struct entry *victim = all >= s->max_loaded ? oldest(l, s) : NULL;
    if (all >= s->max_loaded && !victim)
        return 0;
    size_t at = victim ? (size_t)(victim - l->entries) : 0;
    e = add(l, s); /* which may move them */
    if (!e)
        return -ENOMEM;
    if (victim) {
        victim = &l->entries[at];
        memcpy(ret->victim, victim->name, sizeof(ret->victim));
        memcpy(victim->taker, e->name, sizeof(victim->taker));
    }
    e->is_held = true;
    ret->word = LEDGER_load;
    return 0;
}

static int settle(void *ctx, const struct ledger_slot *s, bool loaded)
{
    struct ledger_local *l = ctx;
    for (size_t i = l->n; i-- > 0;) /* what went for it is gone */
        if (strcmp(l->entries[i].endpoint, s->endpoint) == 0 &&
            strcmp(l->entries[i].taker, s->name) == 0)
            forget(l, &l->entries[i]);
    struct entry *e = find(l, s);
    if (e && loaded)
        e->is_loaded = true;
    else if (e)
        forget(l, e);
    return 0;
}

static int drop(void *ctx, const struct ledger_slot *s)
{
    struct entry *e = find(ctx, s);
    if (e) {
        e->is_held = false;
        e->used_us = clock_us();
    }
    return 0;
}

static int correct(void *ctx, const struct ledger_slot *s, bool loaded)
{
    struct ledger_local *l = ctx;
    struct entry *e = find(l, s);
    if (!loaded) {
        if (e)
            forget(l, e);
        return 0;
    }
    if (!e)
        e = add(l, s);
    if (!e)
        return -ENOMEM;
    e->is_loaded = true;
    return 0;
}

const struct ledger_ops ledger_local_ops = { hold, settle, drop, correct, NULL };
