#include "adapters/catalog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "adapters/blobs/blobs.h"
#include "adapters/redis_blobs.h"
#include "adapters/redis_feed.h"
#include "adapters/redis_restore.h"
#include "adapters/redis_url.h"
#include "adapters/redis_write.h"
#include "adapters/snapshot.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/thread.h"

#define QUERY_MS 2000  /* an answer that takes longer is none */
#define BLOB_MS 10000  /* for one chunk of a file */
#define FOLLOW_MS 2000 /* beyond the second that the feed blocks */
#define SNAPSHOT_MS 10000
#define FLEET_MS 2000 /* a publisher waits this long for the gateways */

struct redis_catalog {
    struct catalog catalog;   /* first */
    struct redis_link *query; /* look-ups and writes */
    struct redis_feed *feed;  /* NULL: a command, which follows nothing */
    struct blobs *blobs;
    pthread_mutex_t layout; /* held while the layout is read */
    struct redis_keys keys; /* shards and buckets: after ready() */
    struct redis_writer writer;
    struct snapshots *snapshots; /* NULL: none are kept */
};

static struct redis_catalog *of(struct catalog *c)
{
    return (struct redis_catalog *)(void *)c;
}

/* Knows how the catalog is laid out; asks once. */
static int ready(struct redis_catalog *k, struct fail *reterr)
{
    LOCKED(&k->layout);
    return k->keys.shards ? 0 : redis_layout(k->query, &k->keys, reterr);
}

/* ---- looking up ---- */

static bool no_name(struct str base, struct str adapter)
{
    return adapter_name_check(adapter, NULL) != 0 || (base.n && base_name_check(base, NULL) != 0);
}

static bool redis_complete(struct catalog *c)
{
    struct redis_catalog *k = of(c);
    return k->feed && redis_feed_complete(k->feed);
}

static bool redis_fresh(struct catalog *c, struct str base, struct str adapter)
{
    struct redis_catalog *k = of(c);
    CLEANUP(head_unrefp) struct head *h = NULL;
    if (no_name(base, adapter))
        return true; /* it cannot exist */
    if (!k->feed || (base.n == 0 && !redis_feed_complete(k->feed)))
        return false;
    return page_find(c->page, base, adapter, &h, NULL) != 0 || h;
}

static int redis_lookup(struct catalog *c, struct str base, struct str adapter, struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    if (no_name(base, adapter))
        return 0;
    int r = ready(k, reterr);
    if (r != 0)
        return r;
    if (base.n == 0)
        return redis_heads_named(k->query, &k->keys, c->page, adapter, !k->feed, reterr);
    return redis_head_read(k->query, &k->keys, c->page, base, adapter, !k->feed, reterr);
}

static int redis_refresh(struct catalog *c, struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    if (k->feed)
        return 0; /* the feed does it */
    int r = ready(k, reterr);
    bool empty = page_len(c->page) == 0;
    for (uint32_t s = 0; r == 0 && s < k->keys.shards; s++) {
        struct shard_stand at;
        const struct shard_read x = {
            .link = k->query, .keys = &k->keys, .page = c->page, .shard = s, .prune = !empty
        };
        r = shard_resync(&x, &at, reterr);
    }
    return r;
}

/* ---- writing ---- */

static int redis_publish_revision(struct catalog *c, const struct publication *p,
                                  struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    struct adapter_changed changed;
    struct fail none = { 0 };
    int r = ready(k, reterr);
    if (r == 0)
        r = blobs_store_revision(k->blobs, p->source, p->manifest, reterr);
    if (r == 0)
        r = redis_publish_head(&k->writer, p, &changed, reterr);
    if (r != 0)
        return r;
    struct adapter_change change = { .adapter = p->adapter };
    redis_writer_wait(&k->writer, &change, 1, &changed, &none, FLEET_MS, NULL);
    if (changed.behind)
        log_line(LOG_warn, "catalog_gateways_behind",
                 "gateways=%u waited_ms=%d, they follow when they answer again, continuing",
                 changed.behind, FLEET_MS);
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_change_many */
static int redis_change(struct catalog *c, const struct adapter_change *changes, size_t n,
                        struct arena *arena, struct adapter_changed *changed, struct fail *fails,
                        struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    uint64_t fleet_ms = 0;
    int r = ready(k, reterr);
    if (r == 0)
        r = redis_change_heads(&k->writer, changes, n, changed, fails, reterr);
    if (r != 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if (changes[i].fleet_ms > fleet_ms)
            fleet_ms = changes[i].fleet_ms;
    if (fleet_ms)
        redis_writer_wait(&k->writer, changes, n, changed, fails, fleet_ms, arena);
    return 0;
}

static int redis_import(struct catalog *c, const struct adapter_import *rows, size_t n,
                        bool replace, size_t *ret_written, struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    int r = ready(k, reterr);
    return r == 0 ? redis_import_heads(&k->writer, rows, n, replace, ret_written, reterr) : r;
}

static int redis_limit_tenant(struct catalog *c, struct str tenant, uint64_t max_adapters,
                              struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char key[REDIS_KEY_MAX], max[24];
    int r = ready(k, reterr);
    if (r != 0)
        return r;
    redis_shard_key(&k->keys, key, "t", redis_shard_of(&k->keys, tenant), tenant);
    (void)snprintf(max, sizeof(max), "%" PRIu64, max_adapters);
    return REDIS_CALL(k->query, &reply, reterr, STR("HSET"), str_of(key), STR("max_adapters"),
                      str_of(max));
}

static int redis_wait_epoch(struct catalog *c, struct str adapter, uint64_t epoch, uint64_t wait_ms,
                            struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    if (!k->feed)
        return 0; /* it asks every time */
    int r = ready(k, reterr);
    if (r != 0)
        return r;
    uint32_t shard = redis_shard_of(&k->keys, adapter);
    if (redis_feed_wait(k->feed, shard, epoch, clock_ms() + wait_ms))
        return 0;
    r = fail_param(reterr, FAIL_timeout, "epoch",
                   "this gateway has applied the catalog's changes up to epoch %" PRIu64
                   ", not %" PRIu64,
                   redis_feed_epoch(k->feed, shard), epoch);
    if (reterr)
        reterr->retry_after_s = 1;
    return r;
}

/* ---- history ---- */

static void read_audit_field(struct arena *arena, struct str key, struct str value,
                             struct adapter_audit *ret)
{
    const struct {
        const char *name;
        struct str *text;
    } texts[] = { { "what", &ret->what },
                  { "alias", &ret->alias },
                  { "from", &ret->from },
                  { "to", &ret->to },
                  { "who", &ret->who } };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (str_is(key, texts[i].name))
            *texts[i].text = arena_str(arena, value);
    uint64_t n;
    if (num_parse_u64(&n, value, 0, UINT64_MAX) < 0)
        return;
    if (str_is(key, "epoch"))
        ret->epoch = n;
    if (str_is(key, "when"))
        ret->when_s = n;
}

static bool read_audit(struct arena *arena, const redisReply *r, struct adapter_audit *ret)
{
    *ret = (struct adapter_audit){
        .what = STR(""), .alias = STR(""), .from = STR(""), .to = STR(""), .who = STR("")
    };
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        r->element[1]->type != REDIS_REPLY_ARRAY || r->element[1]->elements % 2)
        return false;
    const redisReply *fields = r->element[1];
    for (size_t i = 0; i < fields->elements; i += 2)
        read_audit_field(arena, redis_text(fields->element[i]), redis_text(fields->element[i + 1]),
                         ret);
    return ret->what.n > 0;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_history */
static int redis_history(struct catalog *c, struct arena *arena, struct str base,
                         struct str adapter, struct adapter_audit **ret, size_t *ret_n,
                         struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char key[REDIS_KEY_MAX];
    int r = ready(k, reterr);
    if (r != 0)
        return r;
    struct redis_place place = redis_place_of(&k->keys, base, adapter);
    redis_shard_key(&k->keys, key, "h", place.shard, str_of(place.member));
    r = REDIS_CALL(k->query, &reply, reterr, STR("XRANGE"), str_of(key), STR("-"), STR("+"),
                   STR("COUNT"), STR("4096"));
    if (r != 0 || (r = redis_check(reply, REDIS_REPLY_ARRAY, reterr)) != 0)
        return r;
    struct adapter_audit *all = arena_array(arena, reply->elements + 1, sizeof(*all));
    size_t n = 0;
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < reply->elements; i++)
        n += read_audit(arena, reply->element[i], &all[n]);
    *ret = all;
    *ret_n = n;
    return 0;
}

/* ---- files, state, life ---- */

static int redis_stage(struct catalog *c, const struct adapter_revision *r, struct stage *ret,
                       struct fail *reterr)
{
    return blobs_stage(of(c)->blobs, r, ret, reterr);
}

static void redis_unstage(struct catalog *c, struct stage *s)
{
    blobs_unstage(of(c)->blobs, s);
}

static struct blobs *redis_blobs(struct catalog *c)
{
    return of(c)->blobs;
}

static void redis_state(struct catalog *c, bool *ret_connected, uint64_t *ret_lag_ms)
{
    struct redis_catalog *k = of(c);
    if (k->feed) {
        redis_feed_state(k->feed, ret_connected, ret_lag_ms);
        return;
    }
    *ret_connected = redis_link_up(k->query);
    *ret_lag_ms = 0;
}

static struct catalog *redis_free(struct catalog *c)
{
    struct redis_catalog *k = of(c);
    (void)snapshots_stop(k->snapshots);
    (void)redis_feed_stop(k->feed, k->query);
    (void)blobs_free(k->blobs);
    (void)redis_link_free(k->query);
    (void)pthread_mutex_destroy(&k->layout);
    free(k);
    return NULL;
}

static const struct catalog_ops redis_ops = {
    .remote = true,
    .fresh = redis_fresh,
    .lookup = redis_lookup,
    .refresh = redis_refresh,
    .complete = redis_complete,
    .publish = redis_publish_revision,
    .change = redis_change,
    .import = redis_import,
    .limit_tenant = redis_limit_tenant,
    .wait_epoch = redis_wait_epoch,
    .history = redis_history,
    .stage = redis_stage,
    .unstage = redis_unstage,
    .blobs = redis_blobs,
    .state = redis_state,
    .free = redis_free,
};

static int link_for(struct redis_link **ret, const struct config_adapters *c, unsigned timeout_ms,
                    struct fail *reterr)
{
    struct redis_options o = redis_options_of(c, timeout_ms);
    return redis_link_open(ret, &o, reterr);
}

/* Which catalog a snapshot is of: servers, database, namespace. No login. */
static int print_identity(const struct redis_catalog *k, const struct config_adapters *c,
                          struct buf *to)
{
    struct redis_url url;
    int r = redis_url_read(&url, c->catalog_url, NULL);
    for (size_t i = 0; r == 0 && i < url.n_seeds; i++)
        buf_addf(to, "%s:%d ", url.seeds[i].host, url.seeds[i].port);
    if (r == 0)
        buf_addf(to, "%s/%" PRIu64 " %s", url.master ? url.master : "", url.db, k->keys.prefix);
    redis_url_done(&url);
    return r ? r : buf_err(to);
}

static void read_snapshot(const struct redis_catalog *k, const char *path, struct str identity,
                          struct snapshot_shards *ret)
{
    struct fail f;
    size_t n = 0;
    int r = snapshot_load(k->catalog.page, path, identity, ret, &n, &f);
    if (r == 0) {
        log_line(LOG_info, "catalog_snapshot", "path=%s adapters=%zu", path, n);
        return;
    }
    *ret = (struct snapshot_shards){ .n = 0 };
    if (r < 0 || f.code != FAIL_not_found)
        log_line(LOG_warn, "catalog_snapshot", "path=%s why=\"%s\", continuing without", path,
                 r < 0 ? strerror(-r) : f.message);
}

static bool usable(const struct snapshot_shards *s)
{
    return s->n > 0 && s->n <= REDIS_SHARDS_MAX && (s->n & (s->n - 1)) == 0;
}

static bool shards_now(void *ctx, struct snapshot_shards *ret)
{
    return redis_feed_shards(ctx, ret);
}

/* Follows the catalog, from a snapshot where there is one. `feed` moves. */
static int start_following(struct redis_catalog *k, const struct config_adapters *c,
                           struct redis_link *feed, const struct catalog_host *host)
{
    char path[PATH_MAX];
    CLEANUP(buf_done) struct buf identity = BUF_INIT(SNAPSHOT_IDENTITY);
    CLEANUP(own_free) struct snapshot_shards *known = calloc(1, sizeof(*known));
    bool keeps = c->catalog_snapshot.n > 0 && c->catalog_snapshot.n < sizeof(path) &&
                 print_identity(k, c, &identity) == 0;
    if (!known) {
        (void)redis_link_free(feed);
        return -ENOMEM;
    }
    (void)snprintf(path, sizeof(path), "%.*s", STR_ARG(c->catalog_snapshot));
    if (keeps)
        read_snapshot(k, path, buf_str(&identity), known);
    bool loaded = usable(known);
    if (!loaded)
        known->n = 0;
    int r = redis_feed_start(&k->feed, feed, &k->keys, host, known);
    if (r != 0 || !keeps)
        return r;
    const struct snapshots_options o = { .page = host->page,
                                         .path = path,
                                         .identity = buf_str(&identity),
                                         .every_ms = SNAPSHOT_MS,
                                         .loaded = false,
                                         .shards = shards_now,
                                         .ctx = k->feed };
    r = snapshots_start(&k->snapshots, &o);
    if (r < 0)
        log_line(LOG_warn, "catalog_snapshot", "path=%s why=\"%s\", continuing without", path,
                 strerror(-r));
    return 0;
}

static int open_links(struct redis_catalog *k, const struct config_adapters *c,
                      const struct catalog_host *host, struct fail *reterr)
{
    struct redis_link *blobs, *feed;
    struct blob_store *store;
    int r = link_for(&k->query, c, QUERY_MS, reterr);
    if (r != 0 || (r = link_for(&blobs, c, BLOB_MS, reterr)) != 0 ||
        (r = blob_store_redis(&store, blobs, &k->keys)) != 0 ||
        (r = blobs_open(&k->blobs, c, store, reterr)) != 0)
        return r;
    if (host->follow && (r = link_for(&feed, c, FOLLOW_MS, reterr)) == 0)
        r = start_following(k, c, feed, host);
    if (r != 0)
        return r;
    k->writer.link = k->query;
    k->writer.keys = &k->keys;
    k->writer.page = host->page;
    k->writer.feed = k->feed;
    return 0;
}

int catalog_redis_open(struct catalog **ret, const struct config_adapters *c,
                       const struct catalog_host *host, struct fail *reterr)
{
    struct str ns = c->catalog_namespace.n ? c->catalog_namespace : STR("rootstock");
    struct redis_catalog *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->catalog = (struct catalog){ &redis_ops, host->page };
    (void)pthread_mutex_init(&k->layout, NULL);
    (void)snprintf(k->keys.prefix, sizeof(k->keys.prefix), "%.*s:", STR_ARG(ns));
    int r = ns.n > REDIS_NAMESPACE_MAX
                ? fail_param(reterr, FAIL_invalid_request, "adapters.catalog.namespace",
                             "adapters.catalog.namespace: at most %d bytes", REDIS_NAMESPACE_MAX)
                : open_links(k, c, host, reterr);
    if (r != 0) {
        (void)redis_free(&k->catalog);
        return r;
    }
    *ret = &k->catalog;
    return 0;
}
