#include "adapters/redis_feed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "adapters/redis_scripts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/thread.h"

#define BLOCK_MS "1000"     /* silence after which a heartbeat is due */
#define HEARTBEAT_MS "3000" /* a gateway silent for longer is not waited for */
#define OVERLAP_MS 5000     /* read again after a reconnect; applying twice is harmless */
#define RETRY_MS 200
#define PAGE_MAX 1000000 /* heads loaded at start; the rest is asked for by name */
enum { EVENTS = 512 };

struct redis_feed {
    struct redis_link *link; /* owned */
    struct redis_keys keys;
    struct page *page; /* borrowed */
    char id[FEED_ID_LEN + 1];
    char events[REDIS_KEY_MAX], gateways[REDIS_KEY_MAX], heartbeat[REDIS_KEY_MAX];
    /* of the thread */
    struct stream_id last;     /* applied */
    uint64_t epoch;            /* of it */
    _Atomic uint64_t heard_ms; /* when Redis last spoke */
    pthread_mutex_t lock;
    pthread_cond_t stop_asked;
    pthread_t thread;
    bool loaded; /* of the thread */
    atomic_bool complete, connected;
    bool stopping, runs;
};

bool stream_id_parse(struct stream_id *ret, struct str s)
{
    struct str ms, seq;
    return str_cut(s, '-', &ms, &seq) && num_parse_u64(&ret->ms, ms, 0, UINT64_MAX) == 0 &&
           num_parse_u64(&ret->seq, seq, 0, UINT64_MAX) == 0;
}

int stream_id_cmp(struct stream_id a, struct stream_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

static void print_id(struct stream_id id, char ret[static 48])
{
    (void)snprintf(ret, 48, "%" PRIu64 "-%" PRIu64, id.ms, id.seq);
}

static void heard(struct redis_feed *f)
{
    atomic_store(&f->heard_ms, clock_ms());
    metrics_set(METRIC_catalog_lag_seconds, 0);
}

static int beat(struct redis_feed *f, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char last[48];
    print_id(f->last, last);
    struct str argv[] = { str_of(f->gateways), str_of(f->heartbeat), str_of(f->id), str_of(last),
                          STR(HEARTBEAT_MS) };
    int r = redis_run(f->link, &redis_beat, argv, ARRAY_LEN(argv), &reply, reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_INTEGER, reterr);
    if (r == 0)
        heard(f);
    return r;
}

/* ---- events ---- */

struct event {
    struct stream_id id;
    uint64_t epoch;
    struct str member; /* base:adapter; borrowed from the reply */
};

/* [id, [field, value, …]] */
static bool read_event(const redisReply *r, struct event *ret)
{
    *ret = (struct event){ 0 };
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        !stream_id_parse(&ret->id, redis_text(r->element[0])) ||
        r->element[1]->type != REDIS_REPLY_ARRAY || r->element[1]->elements % 2)
        return false;
    const redisReply *fields = r->element[1];
    for (size_t i = 0; i < fields->elements; i += 2) {
        struct str key = redis_text(fields->element[i]), value = redis_text(fields->element[i + 1]);
        if (str_is(key, "epoch") && num_parse_u64(&ret->epoch, value, 0, INT64_MAX) < 0)
            return false;
        if (str_is(key, "adapter"))
            ret->member = value;
    }
    return true;
}

/* The newest event; an empty stream gives zeros. */
static int read_tip(struct redis_feed *f, struct event *ret, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    *ret = (struct event){ 0 };
    int r = REDIS_CALL(f->link, &reply, reterr, STR("XREVRANGE"), str_of(f->events), STR("+"),
                       STR("-"), STR("COUNT"), STR("1"));
    if (r != 0 || (r = redis_check(reply, REDIS_REPLY_ARRAY, reterr)) != 0)
        return r;
    if (reply->elements && !read_event(reply->element[0], ret))
        return redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    ret->member = STR("");
    return 0;
}

/* Reads every head anew and goes on from the event that was newest before. */
static int load_all(struct redis_feed *f, const struct event *tip, struct fail *reterr)
{
    bool all = false;
    int r = redis_heads_read_all(f->link, &f->keys, f->page, PAGE_MAX, &all, reterr);
    if (r != 0)
        return r;
    f->last = tip->id;
    f->epoch = tip->epoch;
    f->loaded = true;
    atomic_store(&f->complete, all);
    return beat(f, reterr);
}

static int reload(struct redis_feed *f, const char *why, bool backwards, struct fail *reterr)
{
    struct event tip;
    log_line(LOG_warn, "catalog_resync", "why=\"%s\", continuing", why);
    if (backwards)
        page_forget_epochs(f->page);
    int r = read_tip(f, &tip, reterr);
    return r == 0 ? load_all(f, &tip, reterr) : r;
}

/* What a connection begins with: known from here on, then up to date. */
static int catch_up(struct redis_feed *f, struct fail *reterr)
{
    struct event tip;
    int r = beat(f, reterr);
    if (r != 0 || (r = read_tip(f, &tip, reterr)) != 0)
        return r;
    if (!f->loaded)
        return load_all(f, &tip, reterr);
    if (tip.epoch < f->epoch || stream_id_cmp(tip.id, f->last) < 0)
        return reload(f, "the catalog is older than what was known", true, reterr);
    return 0;
}

static bool seen(const struct str *members, size_t n, struct str member)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(members[i], member))
            return true;
    return false;
}

/* Applies a batch: one read of each head it names. */
static int apply(struct redis_feed *f, const redisReply *events, struct fail *reterr)
{
    struct str members[EVENTS];
    size_t n = 0;
    struct stream_id last = f->last;
    uint64_t epoch = f->epoch;
    for (size_t i = 0; i < events->elements && i < EVENTS; i++) {
        struct event e;
        if (!read_event(events->element[i], &e))
            continue; /* not ours */
        bool again = stream_id_cmp(e.id, last) <= 0;
        if (!again && e.epoch <= epoch)
            return reload(f, "the catalog counts anew", true, reterr);
        if (!again && e.epoch > epoch + 1)
            return reload(f, "events were lost", false, reterr);
        if (!again) {
            last = e.id;
            epoch = e.epoch;
        }
        if (e.member.n && !seen(members, n, e.member))
            members[n++] = e.member;
    }
    int r = redis_heads_read(f->link, &f->keys, f->page, members, n, reterr);
    if (r != 0)
        return r;
    f->last = last;
    f->epoch = epoch;
    return 0;
}

/* One XREAD from `from`, applied; *ret_n: events read. */
static int follow_from(struct redis_feed *f, struct stream_id from, size_t *ret_n,
                       struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char id[48];
    print_id(from, id);
    int r = REDIS_CALL(f->link, &reply, reterr, STR("XREAD"), STR("COUNT"), STR("512"),
                       STR("BLOCK"), STR(BLOCK_MS), STR("STREAMS"), str_of(f->events), str_of(id));
    *ret_n = 0;
    if (r != 0)
        return r;
    if (reply->type == REDIS_REPLY_NIL)
        return beat(f, reterr);
    if ((r = redis_check(reply, REDIS_REPLY_ARRAY, reterr)) != 0)
        return r;
    if (reply->elements != 1 || reply->element[0]->type != REDIS_REPLY_ARRAY ||
        reply->element[0]->elements != 2 ||
        reply->element[0]->element[1]->type != REDIS_REPLY_ARRAY)
        return redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    *ret_n = reply->element[0]->element[1]->elements;
    r = apply(f, reply->element[0]->element[1], reterr);
    return r == 0 ? beat(f, reterr) : r;
}

/* ---- the thread ---- */

static void set_connected(struct redis_feed *f, bool now, const struct fail *why)
{
    bool before = atomic_exchange(&f->connected, now);
    metrics_set(METRIC_catalog_connected, now);
    if (before == now)
        return;
    if (now)
        log_line(LOG_info, "catalog_connected", "gateway=%s", f->id);
    else
        log_line(LOG_warn, "catalog_lost", "why=\"%s\", serving what is known, continuing",
                 why->message);
}

static bool pause_or_stop(struct redis_feed *f, unsigned ms)
{
    uint64_t until = clock_ms() + ms;
    LOCKED(&f->lock);
    while (!f->stopping && clock_ms() < until)
        (void)thread_cond_wait_until(&f->stop_asked, &f->lock, until);
    return f->stopping;
}

static void failed(struct redis_feed *f, int r, struct fail *why)
{
    if (r < 0)
        (void)fail_errno(why, r, "following the adapter catalog");
    set_connected(f, false, why);
    metrics_set(METRIC_catalog_lag_seconds,
                (int64_t)((clock_ms() - atomic_load(&f->heard_ms)) / 1000));
}

/* The overlap: what was applied shortly before the connection broke is read once more. */
static int overlap(struct redis_feed *f, struct fail *reterr)
{
    struct stream_id from = { f->last.ms > OVERLAP_MS ? f->last.ms - OVERLAP_MS : 0, 0 };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char first[48];
    print_id(from, first);
    int r = REDIS_CALL(f->link, &reply, reterr, STR("XRANGE"), str_of(f->events), str_of(first),
                       STR("+"), STR("COUNT"), STR("512"));
    if (r != 0 || (r = redis_check(reply, REDIS_REPLY_ARRAY, reterr)) != 0)
        return r;
    return apply(f, reply, reterr);
}

static void *feed_main(void *arg)
{
    struct redis_feed *f = arg;
    for (;;) {
        struct fail why;
        size_t n = 0;
        int r = 0;
        if (!atomic_load(&f->connected) && (r = catch_up(f, &why)) == 0) {
            r = overlap(f, &why);
            if (r == 0)
                r = beat(f, &why);
            if (r == 0)
                set_connected(f, true, NULL);
        }
        if (r == 0)
            r = follow_from(f, f->last, &n, &why);
        if (pause_or_stop(f, 0))
            return NULL;
        if (r != 0) {
            failed(f, r, &why);
            if (pause_or_stop(f, RETRY_MS))
                return NULL;
        }
    }
}

static void say_goodbye(struct redis_feed *f, struct redis_link *l)
{
    CLEANUP(redis_reply_free) redisReply *left = NULL;
    CLEANUP(redis_reply_free) redisReply *gone = NULL;
    int r = REDIS_CALL(l, &left, NULL, STR("SREM"), str_of(f->gateways), str_of(f->id));
    if (r == 0)
        r = REDIS_CALL(l, &gone, NULL, STR("DEL"), str_of(f->heartbeat));
    (void)r; /* it expires by itself */
}

int redis_feed_start(struct redis_feed **ret, struct redis_link *link,
                     const struct redis_keys *keys, struct page *page)
{
    struct redis_feed *f = calloc(1, sizeof(*f));
    uint64_t random = 0;
    if (!f) {
        (void)redis_link_free(link);
        return -ENOMEM;
    }
    f->link = link;
    f->keys = *keys;
    f->page = page;
    (void)getrandom(&random, sizeof(random), 0);
    (void)snprintf(f->id, sizeof(f->id), "%016" PRIx64, random);
    redis_key(keys, f->events, "events", STR(""));
    redis_key(keys, f->gateways, "gateways", STR(""));
    redis_key(keys, f->heartbeat, "gw:", str_of(f->id));
    atomic_store(&f->heard_ms, clock_ms());
    (void)pthread_mutex_init(&f->lock, NULL);
    struct fail why;
    int r = catch_up(f, &why);
    set_connected(f, r == 0, NULL);
    if (r != 0)
        log_line(LOG_warn, "catalog_unreachable", "why=\"%s\", continuing",
                 r < 0 ? "no memory" : why.message);
    if ((r = thread_cond_init(&f->stop_asked)) == 0 &&
        (r = thread_start(&f->thread, THREAD_catalog, feed_main, f)) == 0)
        f->runs = true;
    if (r < 0) {
        (void)redis_feed_stop(f, NULL);
        return r;
    }
    *ret = f;
    return 0;
}

struct redis_feed *redis_feed_stop(struct redis_feed *f, struct redis_link *other)
{
    if (!f)
        return NULL;
    {
        LOCKED(&f->lock);
        f->stopping = true;
        (void)pthread_cond_signal(&f->stop_asked);
    }
    if (f->runs) {
        redis_link_interrupt(f->link);
        (void)pthread_join(f->thread, NULL);
    }
    if (other)
        say_goodbye(f, other);
    (void)pthread_cond_destroy(&f->stop_asked);
    (void)pthread_mutex_destroy(&f->lock);
    (void)redis_link_free(f->link);
    free(f);
    return NULL;
}

const char *redis_feed_id(const struct redis_feed *f)
{
    return f->id;
}

bool redis_feed_complete(struct redis_feed *f)
{
    return atomic_load(&f->complete);
}

void redis_feed_state(struct redis_feed *f, bool *ret_connected, uint64_t *ret_lag_ms)
{
    *ret_connected = atomic_load(&f->connected);
    *ret_lag_ms = *ret_connected ? 0 : clock_ms() - atomic_load(&f->heard_ms);
}
