#include "adapters/redis_feed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "adapters/head_codec.h"
#include "adapters/redis_beats.h"
#include "adapters/redis_restore.h"
#include "adapters/redis_scripts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/thread.h"

#define BLOCK_MS 1000    /* silence after which a heartbeat is due */
#define BUSY_BLOCK_MS 10 /* while a shard waits to be read anew */
#define RETRY_MS 100     /* and as much again by chance, so that gateways do not march in step */
#define IN_USE_MS 1000   /* how often the revisions in use are told */
#define FIRST_MS 400     /* a start from a snapshot waits so long for what is new */
#define MEANWHILE_MS 20  /* while a shard is read, the others are looked at as often */
#define EVENTS 512       /* of one stream in one answer */
#define ADVICE_BYTES 4096
enum { IN_USE_MAX = 256 };

enum shard_state {
    SHARD_new,     /* never read */
    SHARD_live,    /* followed from its epoch on */
    SHARD_behind,  /* events were lost: to be read anew */
    SHARD_lost,    /* Redis has gone backwards: to be restored */
    SHARD_damaged, /* keys of a wrong type: waits for repair */
};

struct shard {
    enum shard_state state;
    bool loaded;          /* the page holds all of it, of some time */
    bool told;            /* another gateway has restored it: what this one knows is to be added */
    struct stream_id pos; /* read up to here; ours are {epoch, 0} */
    uint64_t tag;   /* of the last event applied: tells a stream that went apart. 0: unknown */
    uint64_t ahead; /* the counter was seen here, without an event */
    uint64_t retry_ms;
};

struct redis_feed {
    struct redis_link *link; /* owned */
    struct catalog_host host;
    struct redis_keys keys; /* of the thread, until `laid` */
    char id[FEED_ID_LEN + 1];
    struct shard shards[REDIS_SHARDS_MAX];     /* of the thread */
    _Atomic uint64_t epochs[REDIS_SHARDS_MAX]; /* applied */
    _Atomic uint64_t heard_ms;                 /* when Redis last spoke */
    uint64_t in_use_ms;                        /* when the digests in use are told next */
    bool from_snapshot;                        /* of the thread: Redis has not answered yet */
    pthread_mutex_t lock;
    struct snapshot_shards stand; /* of every shard: what the page holds at least */
    pthread_cond_t stop_asked, applied, tried;
    pthread_t thread;
    atomic_bool complete, connected;
    atomic_uint n_shards;           /* 0: not known yet */
    bool first_done;                /* under the lock: the first attempt has ended */
    uint64_t look_ms, meanwhile_ms; /* of the thread: when either is due */
    bool stopping, runs;
};

static int follow(struct redis_feed *f, unsigned block_ms, struct fail *reterr);
static int look(struct redis_feed *f, struct fail *reterr);

static void heard(struct redis_feed *f)
{
    atomic_store(&f->heard_ms, clock_ms());
    metrics_set(METRIC_catalog_lag_seconds, 0);
}

static uint64_t jitter(uint64_t ms)
{
    uint32_t r = 0;
    (void)getrandom(&r, sizeof(r), GRND_NONBLOCK);
    return ms + r % (ms + 1);
}

/* ---- heartbeat ---- */

static int beat(struct redis_feed *f, struct fail *reterr)
{
    uint64_t epochs[REDIS_SHARDS_MAX];
    struct sha256 used[IN_USE_MAX];
    struct fleet_beat b = { .id = f->id, .epochs = epochs, .used = used };
    for (uint32_t s = 0; s < f->keys.shards; s++)
        epochs[s] = atomic_load(&f->epochs[s]);
    if (f->host.in_use && clock_ms() >= f->in_use_ms) {
        b.tell_used = true;
        b.n_used = f->host.in_use(f->host.ctx, used, ARRAY_LEN(used));
        f->in_use_ms = clock_ms() + IN_USE_MS;
    }
    int r = fleet_say(f->link, &f->keys, &b, reterr);
    if (r == 0)
        heard(f);
    return r;
}

/* ---- one shard ---- */

static void stand_at(struct redis_feed *f, uint32_t s, uint64_t epoch)
{
    f->shards[s].pos = (struct stream_id){ epoch, 0 };
    f->shards[s].ahead = 0;
    atomic_store(&f->epochs[s], epoch);
    LOCKED(&f->lock);
    f->stand.shard[s] = (struct snapshot_shard){ epoch, f->shards[s].tag };
    (void)pthread_cond_broadcast(&f->applied);
}

static void set_state(struct redis_feed *f, uint32_t s, enum shard_state state, const char *why)
{
    if (f->shards[s].state != state && why)
        log_line(state == SHARD_damaged ? LOG_error : LOG_warn, "catalog_shard",
                 "shard=%u why=\"%s\", continuing with what is known", s, why);
    f->shards[s].state = state;
}

static void note_complete(struct redis_feed *f)
{
    bool all = f->keys.shards > 0;
    for (uint32_t s = 0; s < f->keys.shards; s++)
        all = all && f->shards[s].loaded;
    atomic_store(&f->complete, all);
}

/* Called between two slices of a long reading: the other shards must not wait for it. */
static void meanwhile(void *ctx)
{
    struct redis_feed *f = ctx;
    struct fail ignored; /* whatever it is shows again at the next slice */
    if (clock_ms() < f->meanwhile_ms)
        return;
    int r = follow(f, 1, &ignored);
    if (r == 0)
        r = beat(f, &ignored);
    (void)r;
    f->meanwhile_ms = clock_ms() + MEANWHILE_MS;
}

/* A failure that is of the shard's keys, not of the connection, leaves the others alone. */
static int blame(struct redis_feed *f, uint32_t s, int r, struct fail *reterr)
{
    struct fail other;
    if (r != FAILED || !redis_link_up(f->link) || look(f, &other) != 0)
        return r;
    return f->shards[s].state == SHARD_damaged ? 0 : r;
}

static int mend(struct redis_feed *f, uint32_t s, struct fail *reterr)
{
    struct shard *d = &f->shards[s];
    const struct shard_read x = { .link = f->link,
                                  .keys = &f->keys,
                                  .page = f->host.page,
                                  .shard = s,
                                  .known = atomic_load(&f->epochs[s]),
                                  .prune = d->loaded,
                                  .who = f->id,
                                  .meanwhile = meanwhile,
                                  .ctx = f };
    bool restore = d->state == SHARD_lost || d->told;
    struct shard_stand at;
    int r = restore ? shard_restore(&x, &at, reterr) : shard_resync(&x, &at, reterr);
    if (r == -EAGAIN) {
        d->retry_ms = clock_ms() + jitter(RETRY_MS);
        return 0;
    }
    if (r != 0)
        return blame(f, s, r, reterr);
    if (!restore && at.epoch < x.known) {
        d->state = SHARD_lost;
        return 0;
    }
    d->loaded = true;
    d->told = false;
    d->state = SHARD_live;
    if (at.epoch > atomic_load(&f->epochs[s])) {
        d->tag = 0;
        stand_at(f, s, at.epoch);
    }
    if (stream_id_cmp(at.pos, d->pos) > 0)
        d->pos = at.pos;
    note_complete(f);
    return 0;
}

static bool needs_mending(const struct shard *d)
{
    return d->state == SHARD_live ? d->told : d->state != SHARD_damaged;
}

/* Works on one shard that is due. *ret_more: one is left, due or not yet. */
static int mend_one(struct redis_feed *f, bool *ret_more, struct fail *reterr)
{
    bool done = false;
    *ret_more = false;
    for (uint32_t s = 0; s < f->keys.shards; s++) {
        struct shard *d = &f->shards[s];
        if (!needs_mending(d))
            continue;
        if (done || clock_ms() < d->retry_ms) {
            *ret_more = true;
            continue;
        }
        int r = mend(f, s, reterr);
        if (r != 0)
            return r;
        done = true;
        *ret_more = *ret_more || needs_mending(d);
    }
    return 0;
}

/* ---- events ---- */

struct event { /* borrowed from the reply */
    struct stream_id id;
    uint64_t before; /* the counter before it */
    bool ours;       /* has one */
    struct str member, head, buckets, restorer;
    bool gone;
};

/* [id, [field, value, …]] */
static bool read_event(const redisReply *r, struct event *ret)
{
    *ret = (struct event){ 0 };
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        !stream_id_parse(&ret->id, redis_text(r->element[0])))
        return false;
    const redisReply *fields = r->element[1];
    if (fields->type != REDIS_REPLY_ARRAY || fields->elements % 2 || ret->id.seq != 0 ||
        ret->id.ms > INT64_MAX)
        return true;
    for (size_t i = 0; i < fields->elements; i += 2) {
        struct str key = redis_text(fields->element[i]), value = redis_text(fields->element[i + 1]);
        if (str_is(key, "p"))
            ret->ours =
                num_parse_u64(&ret->before, value, 0, INT64_MAX) == 0 && ret->before < ret->id.ms;
        else if (str_is(key, "a"))
            ret->member = value;
        else if (str_is(key, "h"))
            ret->head = value;
        else if (str_is(key, "b"))
            ret->buckets = value;
        else if (str_is(key, "r"))
            ret->restorer = value;
        else if (str_is(key, "d"))
            ret->gone = true;
    }
    return true;
}

/* Tells two events of one id apart. */
static uint64_t tag_of(const struct event *e)
{
    return (head_hash(e->member) ^ (head_hash(e->head) * 3) ^ (head_hash(e->buckets) * 5) ^
            (head_hash(e->restorer) * 7) ^ e->before) |
           1;
}

static int enter_found(void *ctx, struct str member, struct head *h)
{
    (void)member;
    return h ? redis_page_put(ctx, head_ref(h)) : 0;
}

static int read_buckets(struct redis_feed *f, uint32_t s, struct str list, struct fail *reterr)
{
    uint32_t buckets[EVENTS];
    size_t n = 0;
    for (size_t i = 0; i + 4 <= list.n && n < EVENTS; i += 4) {
        const unsigned char *p = (const unsigned char *)list.p + i;
        uint32_t b = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        if (b < f->keys.buckets)
            buckets[n++] = b;
    }
    return redis_buckets_read(f->link, &f->keys, s, buckets, n, enter_found, f->host.page, reterr);
}

static int apply_head(struct redis_feed *f, const struct event *e, struct fail *reterr)
{
    struct str base, adapter;
    struct page *page = f->host.page;
    if (!redis_split_member(e->member, &base, &adapter))
        return 0;
    if (e->gone) {
        page_remove_until(page, base, adapter, e->id.ms);
        return 0;
    }
    if (e->head.n > HEAD_EPOCH_BYTES) {
        CLEANUP(own_free) char *packed = malloc(e->head.n);
        if (!packed)
            return -ENOMEM;
        memcpy(packed, e->head.p, e->head.n);
        head_packed_set_epoch(packed, e->id.ms);
        struct head *h = redis_head_decode(e->member, (struct str){ packed, e->head.n }, STR(""));
        if (h)
            return redis_page_put(page, h);
    }
    return redis_head_read(f->link, &f->keys, page, base, adapter, /* drop= */ true, reterr);
}

/* Applies one event; false in *ret_on: the shard must be read anew first. */
static int apply(struct redis_feed *f, uint32_t s, const struct event *e, bool *ret_on,
                 struct fail *reterr)
{
    struct shard *d = &f->shards[s];
    int r = 0;
    *ret_on = true;
    if (!e->ours) { /* somebody else writes there */
        d->pos = e->id;
        return 0;
    }
    uint64_t epoch = atomic_load(&f->epochs[s]);
    if (e->restorer.n && !str_is(e->restorer, f->id)) {
        d->told = true;
        d->retry_ms = clock_ms() + jitter(RETRY_MS);
    } else if (e->before > epoch) {
        set_state(f, s, SHARD_behind, "events were lost");
        *ret_on = false;
        return 0;
    }
    if (e->buckets.n)
        r = read_buckets(f, s, e->buckets, reterr);
    else if (e->member.n)
        r = apply_head(f, e, reterr);
    if (r == 0) {
        d->tag = tag_of(e);
        if (e->id.ms > epoch)
            stand_at(f, s, e->id.ms);
        d->pos = e->id;
    }
    return r;
}

static int apply_all(struct redis_feed *f, uint32_t s, const redisReply *events,
                     struct fail *reterr)
{
    bool on = true;
    int r = 0;
    for (size_t i = 0; r == 0 && on && i < events->elements; i++) {
        struct event e;
        if (read_event(events->element[i], &e) && stream_id_cmp(e.id, f->shards[s].pos) > 0)
            r = apply(f, s, &e, &on, reterr);
    }
    return r == 0 ? 0 : blame(f, s, r, reterr);
}

/* ---- looking after the shards ---- */

/* A reply about one shard: a key of a wrong type is its own affair, any other error is not. */
static bool is_sound(struct redis_feed *f, uint32_t s, const redisReply *r, int *ret,
                     struct fail *reterr)
{
    if (r->type != REDIS_REPLY_ERROR)
        return true;
    if (!str_starts(redis_text(r), STR("WRONGTYPE")))
        *ret = redis_check(r, REDIS_REPLY_STATUS, reterr);
    else
        set_state(f, s, SHARD_damaged, "a key of the shard has a wrong type; delete or restore it");
    return false;
}

static void check_counter(struct redis_feed *f, uint32_t s, const redisReply *ep)
{
    struct shard *d = &f->shards[s];
    uint64_t counter = 0, epoch = atomic_load(&f->epochs[s]);
    if (ep->type != REDIS_REPLY_NIL && num_parse_u64(&counter, redis_text(ep), 0, INT64_MAX) < 0) {
        set_state(f, s, SHARD_damaged, "the epoch counter is no number");
        return;
    }
    if (d->state == SHARD_damaged)
        set_state(f, s, SHARD_behind, "repaired");
    if (d->state != SHARD_live)
        return;
    if (counter < epoch)
        set_state(f, s, SHARD_lost, "the catalog is older than what was known");
    else if (counter > epoch && d->ahead > epoch && d->ahead <= counter)
        set_state(f, s, SHARD_behind, "the counter moved without an event");
    d->ahead = counter;
}

/* The last event applied is still the one at its place; else the stream has gone apart. */
static void check_tag(struct redis_feed *f, uint32_t s, const redisReply *at)
{
    struct event e;
    struct shard *d = &f->shards[s];
    if (d->state != SHARD_live || d->tag == 0 || at->type != REDIS_REPLY_ARRAY ||
        at->elements != 1 || !read_event(at->element[0], &e))
        return;
    if (e.ours && e.id.ms == atomic_load(&f->epochs[s]) && tag_of(&e) != d->tag)
        set_state(f, s, SHARD_lost, "the catalog went another way than what was known");
}

enum { LOOKS = 4 };

/* Reads counter, streams and last known event of every shard. */
static int look(struct redis_feed *f, struct fail *reterr)
{
    char keys[REDIS_SHARDS_MAX][3][REDIS_NAMESPACE_MAX + 32], at[REDIS_SHARDS_MAX][32];
    struct str argv[REDIS_SHARDS_MAX][LOOKS][4];
    struct redis_command commands[REDIS_SHARDS_MAX * LOOKS];
    redisReply *replies[REDIS_SHARDS_MAX * LOOKS] = { 0 };
    static const char *const names[] = { "ep", "ev", "u" };
    size_t n = 0;
    for (uint32_t s = 0; s < f->keys.shards; s++) {
        char key[REDIS_KEY_MAX];
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            redis_shard_key(&f->keys, key, names[i], s, STR(""));
            (void)snprintf(keys[s][i], sizeof(keys[s][i]), "%.*s", STR_ARG(str_of(key)));
        }
        (void)snprintf(at[s], sizeof(at[s]), "%" PRIu64 "-0", atomic_load(&f->epochs[s]));
        struct str ep = str_of(keys[s][0]), ev = str_of(keys[s][1]), b = str_of(keys[s][2]);
        struct str all[LOOKS][4] = { { STR("GET"), ep },
                                     { STR("XLEN"), ev },
                                     { STR("STRLEN"), b },
                                     { STR("XRANGE"), ev, str_of(at[s]), str_of(at[s]) } };
        memcpy(argv[s], all, sizeof(all));
        for (size_t i = 0; i < LOOKS; i++)
            commands[n++] = (struct redis_command){ argv[s][i], i == 3 ? 4 : 2, all[i][1] };
    }
    f->look_ms = clock_ms() + BLOCK_MS;
    int r = redis_call_many(f->link, commands, n, replies, reterr);
    for (uint32_t s = 0; r == 0 && s < f->keys.shards; s++) {
        redisReply **of = &replies[(size_t)s * LOOKS];
        bool sound = true;
        for (size_t i = 0; i < LOOKS; i++)
            sound = sound && is_sound(f, s, of[i], &r, reterr);
        if (sound)
            check_counter(f, s, of[0]);
        if (sound)
            check_tag(f, s, of[3]);
    }
    for (size_t i = 0; i < n; i++)
        redis_reply_free(&replies[i]);
    return r;
}

/* ---- following ---- */

static bool pause_or_stop(struct redis_feed *f, uint64_t ms)
{
    uint64_t until = clock_ms() + ms;
    LOCKED(&f->lock);
    while (!f->stopping && clock_ms() < until)
        (void)thread_cond_wait_until(&f->stop_asked, &f->lock, until);
    return f->stopping;
}

static size_t count_live(const struct redis_feed *f)
{
    size_t n = 0;
    for (uint32_t s = 0; s < f->keys.shards; s++)
        n += f->shards[s].state == SHARD_live;
    return n;
}

/* New events of the live shards, applied. After silence: a heartbeat and a look at the counters. */
static int follow(struct redis_feed *f, unsigned block_ms, struct fail *reterr)
{
    char keys[REDIS_SHARDS_MAX][REDIS_NAMESPACE_MAX + 32], ids[REDIS_SHARDS_MAX][48];
    struct str key_views[REDIS_SHARDS_MAX], id_views[REDIS_SHARDS_MAX];
    redisReply *replies[REDIS_SHARDS_MAX] = { 0 };
    uint32_t shards[REDIS_SHARDS_MAX];
    size_t n = 0;
    for (uint32_t s = 0; s < f->keys.shards; s++) {
        char key[REDIS_KEY_MAX];
        if (f->shards[s].state != SHARD_live)
            continue;
        redis_shard_key(&f->keys, key, "ev", s, STR(""));
        (void)snprintf(keys[n], sizeof(keys[n]), "%.*s", STR_ARG(str_of(key)));
        (void)snprintf(ids[n], sizeof(ids[n]), "%" PRIu64 "-%" PRIu64, f->shards[s].pos.ms,
                       f->shards[s].pos.seq);
        key_views[n] = str_of(keys[n]);
        id_views[n] = str_of(ids[n]);
        shards[n++] = s;
    }
    if (n == 0) {
        (void)pause_or_stop(f, block_ms);
        return 0;
    }
    int r = redis_read_streams(f->link, key_views, id_views, n, block_ms, EVENTS, replies, reterr);
    if (r == FAILED && redis_link_up(f->link)) { /* whose key is of a wrong type? */
        size_t before = count_live(f);
        struct fail other;
        return look(f, &other) == 0 && count_live(f) < before ? 0 : r;
    }
    if (r == 0)
        heard(f);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (replies[i] && replies[i]->type == REDIS_REPLY_ARRAY)
            r = apply_all(f, shards[i], replies[i], reterr);
    for (size_t i = 0; i < n; i++)
        redis_reply_free(&replies[i]);
    return r;
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

static void failed(struct redis_feed *f, int r, struct fail *why)
{
    if (r < 0)
        (void)fail_errno(why, r, "following the adapter catalog");
    set_connected(f, false, why);
    metrics_set(METRIC_catalog_lag_seconds,
                (int64_t)((clock_ms() - atomic_load(&f->heard_ms)) / 1000));
}

/* A shard of which nothing is known any more. */
static void forget(struct redis_feed *f, uint32_t s)
{
    struct page_part part = { f->keys.shards - 1, s };
    page_unsee(f->host.page, part);
    (void)page_remove_unseen(f->host.page, part, UINT64_MAX);
    f->shards[s] = (struct shard){ .state = SHARD_new };
    stand_at(f, s, 0);
}

/* Redis answers at the start, and is not what the snapshot was of. */
static void drop_outdated(struct redis_feed *f)
{
    for (uint32_t s = 0; s < f->keys.shards; s++)
        if (f->shards[s].state == SHARD_lost) {
            log_line(LOG_warn, "catalog_snapshot",
                     "shard=%u why=\"it is of another past\", continuing "
                     "with what Redis says",
                     s);
            forget(f, s);
        }
    note_complete(f);
}

/* What a connection begins with: where the shards stand. */
static int catch_up(struct redis_feed *f, struct fail *reterr)
{
    struct redis_keys keys = f->keys;
    int r = redis_layout(f->link, &keys, reterr);
    if (r == 0 && f->from_snapshot && keys.shards != f->keys.shards) {
        log_line(LOG_warn, "catalog_snapshot",
                 "why=\"it has %u shards, the catalog %u\", continuing "
                 "with what Redis says",
                 f->keys.shards, keys.shards);
        for (uint32_t s = 0; s < f->keys.shards; s++)
            forget(f, s);
        f->keys.shards = 0;
    }
    if (r == 0 && f->keys.shards && keys.shards != f->keys.shards)
        r = fail_set(reterr, FAIL_catalog_unavailable,
                     "the catalog in Redis has %u shards now and had %u; restart the gateway",
                     keys.shards, f->keys.shards);
    if (r != 0)
        return r;
    f->keys = keys;
    f->from_snapshot = false;
    note_complete(f);
    atomic_store(&f->n_shards, keys.shards);
    return look(f, reterr);
}

/* One round: what is due, then what is new. */
static int round_of(struct redis_feed *f, unsigned block_ms, struct fail *reterr)
{
    bool more;
    if (!atomic_load(&f->connected)) {
        int r = catch_up(f, reterr);
        if (r != 0 || (r = follow(f, 1, reterr)) != 0 || (r = beat(f, reterr)) != 0)
            return r;
        set_connected(f, true, NULL);
    }
    int r = mend_one(f, &more, reterr);
    if (r == 0)
        r = follow(f, more ? BUSY_BLOCK_MS : block_ms, reterr);
    if (r == 0)
        r = beat(f, reterr);
    if (r == 0 && clock_ms() >= f->look_ms)
        r = look(f, reterr);
    return r;
}

/* What the server is to be set to, said once. */
static void advise(struct redis_feed *f)
{
    CLEANUP(buf_done) struct buf advice = BUF_INIT(ADVICE_BYTES);
    struct fail ignored; /* who may not ask is not told */
    if (redis_check_server(f->link, &advice, &ignored) != 0)
        return;
    struct str rest = buf_str(&advice), line;
    while (rest.n) {
        if (!str_cut(rest, '\n', &line, &rest)) {
            line = rest;
            rest = STR("");
        }
        if (line.n)
            log_line(LOG_warn, "catalog_redis_setting", "%.*s", STR_ARG(line));
    }
}

/* The first reading, all shards in a row. */
static void load(struct redis_feed *f)
{
    struct fail why;
    bool more = true;
    int r = catch_up(f, &why);
    if (r == 0)
        drop_outdated(f);
    while (r == 0 && more && !pause_or_stop(f, 0))
        r = mend_one(f, &more, &why);
    if (r == 0)
        r = follow(f, 1, &why);
    if (r == 0)
        r = beat(f, &why);
    set_connected(f, r == 0, NULL);
    if (r == 0)
        advise(f);
    if (r != 0)
        log_line(LOG_warn, "catalog_unreachable", "why=\"%s\", continuing",
                 r < 0 ? "no memory" : why.message);
    LOCKED(&f->lock);
    f->first_done = true;
    (void)pthread_cond_signal(&f->tried);
}

static void *feed_main(void *arg)
{
    struct redis_feed *f = arg;
    load(f);
    for (;;) {
        struct fail why;
        if (pause_or_stop(f, 0))
            return NULL;
        int r = round_of(f, BLOCK_MS, &why);
        if (pause_or_stop(f, 0))
            return NULL;
        if (r != 0)
            failed(f, r, &why);
        if (r != 0 && pause_or_stop(f, jitter(RETRY_MS)))
            return NULL;
    }
}

/* ---- life ---- */

static void take_snapshot(struct redis_feed *f, const struct snapshot_shards *known)
{
    for (uint32_t s = 0; s < known->n && s < REDIS_SHARDS_MAX; s++) {
        f->shards[s] = (struct shard){ .state = SHARD_live,
                                       .loaded = true,
                                       .pos = { known->shard[s].epoch, 0 },
                                       .tag = known->shard[s].tag };
        atomic_store(&f->epochs[s], known->shard[s].epoch);
    }
    f->stand = *known;
    f->from_snapshot = true;
    f->keys.shards = (uint32_t)known->n;
    atomic_store(&f->n_shards, (unsigned)known->n);
    note_complete(f);
}

/* Until the page is what Redis says; with a snapshot only for a moment. */
static void wait_for_first(struct redis_feed *f, bool has_snapshot)
{
    uint64_t until = has_snapshot ? clock_ms() + FIRST_MS : CLOCK_NEVER;
    LOCKED(&f->lock);
    while (!f->first_done && clock_ms() < until)
        (void)thread_cond_wait_until(&f->tried, &f->lock, until);
}

int redis_feed_start(struct redis_feed **ret, struct redis_link *link,
                     const struct redis_keys *keys, const struct catalog_host *host,
                     const struct snapshot_shards *known)
{
    struct redis_feed *f = calloc(1, sizeof(*f));
    uint64_t random = 0;
    if (!f) {
        (void)redis_link_free(link);
        return -ENOMEM;
    }
    f->link = link;
    f->keys = *keys;
    f->host = *host;
    (void)getrandom(&random, sizeof(random), 0);
    (void)snprintf(f->id, sizeof(f->id), "%016" PRIx64, random);
    atomic_store(&f->heard_ms, clock_ms());
    if (known->n)
        take_snapshot(f, known);
    (void)pthread_mutex_init(&f->lock, NULL);
    int r = thread_cond_init(&f->stop_asked);
    if (r == 0)
        r = thread_cond_init(&f->applied);
    if (r == 0)
        r = thread_cond_init(&f->tried);
    if (r == 0 && (r = thread_start(&f->thread, THREAD_catalog, feed_main, f)) == 0)
        f->runs = true;
    if (r < 0) {
        (void)redis_feed_stop(f, NULL);
        return r;
    }
    wait_for_first(f, known->n > 0);
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
        fleet_leave(other, &f->keys, f->id);
    (void)pthread_cond_destroy(&f->stop_asked);
    (void)pthread_cond_destroy(&f->applied);
    (void)pthread_cond_destroy(&f->tried);
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

uint64_t redis_feed_epoch(const struct redis_feed *f, uint32_t shard)
{
    return atomic_load(&f->epochs[shard % REDIS_SHARDS_MAX]);
}

bool redis_feed_wait(struct redis_feed *f, uint32_t shard, uint64_t epoch, uint64_t until_ms)
{
    LOCKED(&f->lock);
    while (redis_feed_epoch(f, shard) < epoch && !f->stopping && clock_ms() < until_ms)
        (void)thread_cond_wait_until(&f->applied, &f->lock, until_ms);
    return redis_feed_epoch(f, shard) >= epoch;
}

bool redis_feed_shards(struct redis_feed *f, struct snapshot_shards *ret)
{
    bool complete = redis_feed_complete(f);
    LOCKED(&f->lock);
    *ret = f->stand;
    ret->n = atomic_load(&f->n_shards);
    return complete && ret->n > 0;
}
