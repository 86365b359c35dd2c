#include "gateway/kept.h"

#include "adapters/values.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "gateway/learning/lru.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

enum {
    ENTRY_COST = 256,  /* of one, beside its text */
    TIMEOUT_MS = 1000, /* of one word with Redis */
    RETRY_MS = 1000,   /* what Redis did not take is brought again after */
    ENTRIES_MAX = 1 << 20,
};

struct entry { /* value of the table */
    struct buf text;
    uint64_t until_ms;
};

struct owed { /* what Redis has not taken yet, oldest first */
    STAILQ_ENTRY(owed) next;
    bool append, is_paid, is_gone; /* being brought; no longer wanted */
    char *key;
    struct buf text;
};
STAILQ_HEAD(debts, owed);

struct kept {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* something is owed, or the end */
    struct lru *entries; /* of this process */
    size_t bytes, max_bytes;
    uint64_t ttl_ms;
    struct values *redis; /* NULL: this process keeps all */
    struct debts debts;
    pthread_t thread;
    bool has_thread, ends;
};

static struct sha256 digest(const char *key)
{
    return sha256_of(str_of(key));
}

/* ---- in this process ---- */

static void entry_done(void *value)
{
    struct entry *e = value;
    buf_done(&e->text);
}

static size_t cost(const struct entry *e)
{
    return e->text.cap + ENTRY_COST;
}

static void drop(struct kept *k, struct entry *e)
{
    k->bytes -= cost(e);
    lru_drop(k->entries, e);
}

/* Under the lock: the longest unused go, but not `keep`. */
static void make_room(struct kept *k, const struct entry *keep)
{
    struct entry *e;
    while (k->bytes > k->max_bytes && (e = lru_last(k->entries)) != NULL && e != keep)
        drop(k, e);
}

/* Under the lock; NULL: none, or its time is over. */
static struct entry *find(struct kept *k, const char *key)
{
    struct sha256 d = digest(key);
    struct entry *e = lru_find(k->entries, &d);
    if (e && clock_ms() >= e->until_ms) {
        drop(k, e);
        return NULL;
    }
    if (e)
        e->until_ms = clock_ms() + k->ttl_ms;
    return e;
}

static int put_here(struct kept *k, const char *key, struct str text, bool append)
{
    struct sha256 d = digest(key);
    LOCKED(&k->lock);
    struct entry *e = find(k, key);
    size_t old = e && append ? e->text.n : 0;
    if (old + text.n + ENTRY_COST > k->max_bytes)
        return -EMSGSIZE;
    if (!e)
        e = lru_make(k->entries, &d);
    else
        k->bytes -= cost(e);
    if (!e)
        return -ENOMEM;
    if (!append)
        buf_done(&e->text);
    e->text.max = k->max_bytes;
    buf_add(&e->text, text);
    e->until_ms = clock_ms() + k->ttl_ms;
    k->bytes += cost(e);
    int r = buf_err(&e->text);
    if (r < 0)
        drop(k, e);
    else
        make_room(k, e);
    return r;
}

/* ---- what Redis is owed ---- */

static void owed_free(struct kept *k, struct owed *o)
{
    k->bytes -= o->text.cap + ENTRY_COST;
    buf_done(&o->text);
    free(o->key);
    free(o);
}

static int owe(struct kept *k, const char *key, struct str text, bool append)
{
    static struct log_rate rate;
    struct owed *o = calloc(1, sizeof(*o));
    if (!o)
        return -ENOMEM;
    *o = (struct owed){ .append = append, .key = str_dup(str_of(key)), .text = BUF_INIT(GIB) };
    buf_add(&o->text, text);
    if (!o->key || buf_err(&o->text) < 0) {
        free(o->key);
        buf_done(&o->text);
        free(o);
        return -ENOMEM;
    }
    LOCKED(&k->lock);
    k->bytes += o->text.cap + ENTRY_COST;
    STAILQ_INSERT_TAIL(&k->debts, o, next);
    struct owed *first;
    while (k->bytes > k->max_bytes && (first = STAILQ_FIRST(&k->debts)) != o && !first->is_paid) {
        STAILQ_REMOVE_HEAD(&k->debts, next);
        log_rated(&rate, LOG_warn, "kept", "lost=%s, Redis does not take it", first->key);
        owed_free(k, first);
    }
    (void)pthread_cond_signal(&k->wake);
    return 0;
}

/* What is owed of a key. true: it begins with all that there is of it. */
static bool get_owed(struct kept *k, const char *key, struct buf *ret, struct buf *ret_tail)
{
    bool all = false;
    struct owed *o;
    LOCKED(&k->lock);
    STAILQ_FOREACH(o, &k->debts, next)
    {
        if (strcmp(o->key, key) != 0 || o->is_gone)
            continue;
        if (!o->append) {
            all = true;
            buf_clear(ret);
            buf_clear(ret_tail);
        }
        buf_add(o->append ? ret_tail : ret, buf_str(&o->text));
    }
    return all;
}

/* Under the lock. */
static void owed_remove(struct kept *k, struct owed *o)
{
    STAILQ_REMOVE(&k->debts, o, owed, next);
    owed_free(k, o);
}

/* Nothing is owed of a key that is to go; true: something was. */
static bool forget_owed(struct kept *k, const char *key)
{
    bool any = false;
    struct owed *o, *then;
    LOCKED(&k->lock);
    for (o = STAILQ_FIRST(&k->debts); o; o = then) {
        then = STAILQ_NEXT(o, next);
        if (strcmp(o->key, key) != 0 || o->is_gone)
            continue;
        any = true;
        o->is_gone = o->is_paid;
        if (o->is_gone)
            continue;
        owed_remove(k, o);
    }
    return any;
}

static int tell_redis(struct kept *k, const char *key, struct str text, bool append,
                      struct fail *reterr)
{
    return append ? values_append(k->redis, str_of(key), text, k->ttl_ms / 1000, reterr)
                  : values_set(k->redis, str_of(key), text, k->ttl_ms / 1000, reterr);
}

/* Thread: pays the oldest debt. false: Redis did not take it. */
static bool pay(struct kept *k)
{
    struct fail fail;
    struct owed *o = NULL;
    {
        LOCKED(&k->lock);
        o = STAILQ_FIRST(&k->debts);
        if (!o)
            return true;
        o->is_paid = true;
    }
    bool paid = tell_redis(k, o->key, buf_str(&o->text), o->append, &fail) == 0;
    LOCKED(&k->lock);
    o->is_paid = false;
    if (paid || o->is_gone) {
        owed_remove(k, o);
    }
    return paid;
}

static void *kept_main(void *arg)
{
    struct kept *k = arg;
    bool ok = true;
    for (;;) {
        {
            LOCKED(&k->lock);
            if (!ok && !k->ends)
                (void)thread_cond_wait_until(&k->wake, &k->lock, clock_ms() + RETRY_MS);
            while (STAILQ_EMPTY(&k->debts) && !k->ends)
                (void)pthread_cond_wait(&k->wake, &k->lock);
            if (k->ends)
                return NULL;
        }
        ok = pay(k);
    }
}

/* ---- both ---- */

static bool keeps_in_redis(const struct config *c)
{
    unsigned store = c->gateway.responses.store;
    return store == KEEP_redis || (store == KEEP_auto && c->adapters.catalog == CATALOG_redis);
}

int kept_new(struct kept **ret, const struct config *c, struct fail *reterr)
{
    CLEANUP(kept_freep) struct kept *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    STAILQ_INIT(&k->debts);
    (void)pthread_mutex_init(&k->lock, /* attr= */ NULL);
    k->max_bytes = c->gateway.responses.max_bytes;
    k->ttl_ms = c->gateway.responses.ttl_ms;
    int r = thread_cond_init(&k->wake);
    if (r == 0)
        r = lru_new(&k->entries, ENTRIES_MAX, sizeof(struct entry), entry_done);
    if (r == 0 && keeps_in_redis(c))
        r = values_open(&k->redis, &c->adapters, TIMEOUT_MS, reterr);
    if (r == 0 && k->redis)
        r = thread_start(&k->thread, THREAD_worker, kept_main, k);
    if (r != 0)
        return r;
    k->has_thread = k->redis != NULL;
    *ret = TAKE(k);
    return 0;
}

struct kept *kept_free(struct kept *k)
{
    if (!k)
        return NULL;
    if (k->has_thread) {
        {
            LOCKED(&k->lock);
            k->ends = true;
            (void)pthread_cond_signal(&k->wake);
        }
        (void)pthread_join(k->thread, /* result= */ NULL);
    }
    while (!STAILQ_EMPTY(&k->debts) && pay(k)) { /* once more, as long as Redis takes it */
    }
    for (struct owed *o; (o = STAILQ_FIRST(&k->debts)) != NULL;) {
        STAILQ_REMOVE_HEAD(&k->debts, next);
        owed_free(k, o);
    }
    (void)values_free(k->redis);
    (void)lru_free(k->entries);
    (void)pthread_cond_destroy(&k->wake);
    (void)pthread_mutex_destroy(&k->lock);
    free(k);
    return NULL;
}

bool kept_blocks(const struct kept *k)
{
    return k->redis != NULL;
}

size_t kept_bytes(struct kept *k)
{
    LOCKED(&k->lock);
    return k->bytes;
}

static int get_from_redis(struct kept *k, const char *key, struct buf *ret, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf tail = BUF_INIT(ret->max);
    bool all = get_owed(k, key, ret, &tail);
    int r = all ? 0 : values_get(k->redis, str_of(key), k->ttl_ms / 1000, ret, reterr);
    if (r == -ENOENT && tail.n)
        r = 0;
    if (r == 0)
        buf_add(ret, buf_str(&tail));
    return r != 0 ? r : buf_err(ret);
}

int kept_get(struct kept *k, const char *key, struct buf *ret, struct fail *reterr)
{
    if (k->redis)
        return get_from_redis(k, key, ret, reterr);
    LOCKED(&k->lock);
    struct entry *e = find(k, key);
    if (!e)
        return -ENOENT;
    buf_add(ret, buf_str(&e->text));
    return buf_err(ret);
}

static int put(struct kept *k, const char *key, struct str text, bool append)
{
    if (!k->redis)
        return put_here(k, key, text, append);
    struct fail fail;
    if (text.n > k->max_bytes)
        return -EMSGSIZE;
    bool owes = false;
    {
        LOCKED(&k->lock);
        owes = !STAILQ_EMPTY(&k->debts); /* in their order */
    }
    if (!owes && tell_redis(k, key, text, append, &fail) == 0)
        return 0;
    return owe(k, key, text, append);
}

int kept_put(struct kept *k, const char *key, struct str value)
{
    return put(k, key, value, /* append= */ false);
}

int kept_put_later(struct kept *k, const char *key, struct str value)
{
    return k->redis ? owe(k, key, value, /* append= */ false)
                    : put_here(k, key, value, /* append= */ false);
}

int kept_append(struct kept *k, const char *key, struct str text)
{
    return put(k, key, text, /* append= */ true);
}

int kept_remove(struct kept *k, const char *key, struct fail *reterr)
{
    if (k->redis) {
        bool owed = forget_owed(k, key);
        int r = values_remove(k->redis, str_of(key), reterr);
        return r == -ENOENT && owed ? 0 : r;
    }
    LOCKED(&k->lock);
    struct entry *e = find(k, key);
    if (!e)
        return -ENOENT;
    drop(k, e);
    return 0;
}

/* ---- between processes ---- */

enum { STOP_KEY = 160 };

static const char *stop_key(const char *key, char ret[static STOP_KEY])
{
    (void)snprintf(ret, STOP_KEY, "%s:stop", key);
    return ret;
}

int kept_stop(struct kept *k, const char *key)
{
    char name[STOP_KEY];
    return k->redis ? kept_put(k, stop_key(key, name), STR("1")) : 0;
}

bool kept_is_stopped(struct kept *k, const char *key)
{
    char name[STOP_KEY];
    struct fail fail;
    return k->redis && kept_remove(k, stop_key(key, name), &fail) == 0;
}
