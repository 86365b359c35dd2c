#include "gateway/learning/sessions.h"

#include "base/thread.h"
#include "gateway/learning/lru.h"

#include <errno.h>
#include <stdlib.h>

enum { SESSIONS_KEPT = 32768 };

struct session {
    char *names; /* owned: decision, model, adapter, each with its NUL */
    uint64_t at_ms;
    uint32_t turns, held;
    int64_t keep; /* turns for which a decision asked to stay with the candidate */
    double underpowered, failed;
};

struct sessions {
    pthread_mutex_t lock;
    struct lru *table; /* of struct session */
};

static void session_done(void *value)
{
    free(((struct session *)value)->names);
}

int sessions_new(struct sessions **ret)
{
    CLEANUP(sessions_freep) struct sessions *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    (void)pthread_mutex_init(&s->lock, /* attr= */ NULL);
    int r = lru_new(&s->table, SESSIONS_KEPT, sizeof(struct session), session_done);
    if (r == 0)
        *ret = TAKE(s);
    return r;
}

struct sessions *sessions_free(struct sessions *s)
{
    if (!s)
        return NULL;
    (void)lru_free(s->table);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

static struct str name(const struct session *s, size_t i)
{
    const char *p = s->names;
    for (; i > 0; i--)
        p += strlen(p) + 1;
    return str_of(p);
}

static bool answered_by(const struct session *s, struct str model, struct str adapter)
{
    return s->names && str_eq(name(s, 1), model) && str_eq(name(s, 2), adapter);
}

bool sessions_get(struct sessions *s, const struct session_question *q, struct arena *arena,
                  struct route_session *ret)
{
    LOCKED(&s->lock);
    const struct session *x = lru_find(s->table, &q->key);
    if (!x || !x->names)
        return false;
    uint64_t silent_s = q->now_ms > x->at_ms ? (q->now_ms - x->at_ms) / 1000 : 0;
    if (silent_s > q->ttl_s)
        return false;
    *ret = (struct route_session){ .decision = arena_str(arena, name(x, 0)),
                                   .model = arena_str(arena, name(x, 1)),
                                   .adapter = arena_str(arena, name(x, 2)),
                                   .turns = x->turns,
                                   .held = x->held,
                                   .keeps = x->keep > 0,
                                   .idle = q->idle_s && silent_s > q->idle_s,
                                   .underpowered = x->underpowered,
                                   .failed = x->failed };
    return ret->decision.p && ret->model.p && ret->adapter.p;
}

static char *names_of(const struct route *r)
{
    size_t n = r->decision.n + r->model.n + r->adapter.n + 3;
    char *text = calloc(1, n), *at = text;
    const struct str parts[] = { r->decision, r->model, r->adapter };
    for (size_t i = 0; text && i < ARRAY_LEN(parts); i++) {
        if (parts[i].n)
            memcpy(at, parts[i].p, parts[i].n);
        at += parts[i].n + 1;
    }
    return text;
}

void sessions_put(struct sessions *s, const struct sha256 *key, const struct route *route,
                  uint64_t now_ms)
{
    LOCKED(&s->lock);
    struct session *x = lru_make(s->table, key);
    if (!x)
        return;
    const struct retention *r = route->retention;
    x->at_ms = now_ms;
    x->turns++;
    if (r && r->keep_current_model == TRUTH_true)
        x->keep = r->ttl_turns >= 0 ? r->ttl_turns : INT64_MAX;
    else if (x->keep > 0)
        x->keep--;
    if (answered_by(x, route->model, route->adapter) && str_eq(name(x, 0), route->decision)) {
        x->held++;
        return;
    }
    if (!answered_by(x, route->model, route->adapter)) {
        x->held = 1;
        x->underpowered = x->failed = 0;
    }
    free(x->names);
    x->names = names_of(route);
}

void sessions_judge(struct sessions *s, const struct sha256 *key, struct str model,
                    struct str adapter, bool underpowered)
{
    LOCKED(&s->lock);
    struct session *x = lru_find(s->table, key);
    if (!x || !answered_by(x, model, adapter))
        return; /* it changed meanwhile */
    if (underpowered)
        x->underpowered += 1;
    else
        x->failed += 1;
}

size_t sessions_len(struct sessions *s)
{
    LOCKED(&s->lock);
    return lru_len(s->table);
}
