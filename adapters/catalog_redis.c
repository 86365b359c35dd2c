#include "adapters/catalog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/blobs/blobs.h"
#include "adapters/redis_blobs.h"
#include "adapters/redis_feed.h"
#include "adapters/redis_scripts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/thread.h"

#define QUERY_MS 2000   /* an answer that takes longer is none */
#define BLOB_MS 10000   /* for one chunk of a file */
#define FOLLOW_MS 3000  /* beyond the second that XREAD blocks */
#define FLEET_MS 2000   /* a writer waits this long for the gateways */
#define FLEET_POLL_MS 2 /* and looks this often */
#define BASES_MAX "16"  /* bases that may share an adapter's name in one look-up */

struct redis_catalog {
    struct catalog catalog;   /* first */
    struct redis_link *query; /* look-ups and writes */
    struct redis_feed *feed;  /* NULL: a command, which follows nothing */
    struct blobs *blobs;
    struct redis_keys keys;
};

static struct redis_catalog *of(struct catalog *c)
{
    return (struct redis_catalog *)(void *)c;
}

/* ---- looking up ---- */

static bool redis_fresh(struct catalog *c, struct str base, struct str adapter)
{
    struct redis_catalog *k = of(c);
    CLEANUP(head_unrefp) struct head *h = NULL;
    if (adapter_name_check(adapter, NULL) != 0 || (base.n && base_name_check(base, NULL) != 0))
        return true; /* it cannot exist */
    if (!k->feed || (base.n == 0 && !redis_feed_complete(k->feed)))
        return false;
    return page_find(c->page, base, adapter, &h, NULL) != 0 || h;
}

static int lookup_bases(struct redis_catalog *k, struct str adapter, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *bases = NULL;
    struct adapter_keys keys;
    adapter_keys(&k->keys, &keys, STR(""), adapter);
    int r = REDIS_CALL(k->query, &bases, reterr, STR("SRANDMEMBER"), str_of(keys.bases),
                       STR(BASES_MAX));
    if (r == 0)
        r = redis_check(bases, REDIS_REPLY_ARRAY, reterr);
    for (size_t i = 0; r == 0 && i < bases->elements; i++) {
        struct str base = redis_text(bases->element[i]);
        if (base_name_check(base, NULL) == 0)
            r = redis_head_read(k->query, &k->keys, k->catalog.page, base, adapter, reterr);
    }
    return r;
}

static int redis_lookup(struct catalog *c, struct str base, struct str adapter, struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    if (adapter_name_check(adapter, NULL) != 0 || (base.n && base_name_check(base, NULL) != 0))
        return 0;
    if (base.n == 0)
        return lookup_bases(k, adapter, reterr);
    return redis_head_read(k->query, &k->keys, c->page, base, adapter, reterr);
}

static int redis_refresh(struct catalog *c, struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    bool all;
    if (k->feed)
        return 0; /* the feed does it */
    return redis_heads_read_all(k->query, &k->keys, c->page, SIZE_MAX, &all, reterr);
}

/* ---- writing ---- */

static int script_failure(const redisReply *r, struct str adapter, struct fail *reterr)
{
    struct str text = redis_text(r);
    if (r->type == REDIS_REPLY_ERROR && str_starts(text, STR("RS_MISMATCH ")))
        return fail_param(reterr, FAIL_precondition_failed, "expected", "the alias names %.*s",
                          STR_ARG(str_head(str_sub(text, 12), SHA256_HEX)));
    if (r->type == REDIS_REPLY_ERROR && str_starts(text, STR("RS_NOFORMER")))
        return fail_param(reterr, FAIL_conflict, "alias",
                          "adapter '%.*s' has no alias of this name that was moved before",
                          STR_ARG(str_head(adapter, 100)));
    if (r->type == REDIS_REPLY_ERROR && str_starts(text, STR("RS_NOTFOUND ")))
        return fail_param(reterr, FAIL_model_not_found, "model", "adapter '%.*s': %.*s",
                          STR_ARG(str_head(adapter, 100)), STR_ARG(str_sub(text, 12)));
    if (r->type == REDIS_REPLY_ERROR && str_starts(text, STR("RS_FULL ")))
        return fail_set(reterr, FAIL_conflict, "adapter '%.*s': %.*s",
                        STR_ARG(str_head(adapter, 100)), STR_ARG(str_sub(text, 8)));
    return redis_check(r, REDIS_REPLY_STRING, reterr);
}

/* Gateways that have not applied the event yet; negative: Redis does not say. */
static int count_behind(struct redis_catalog *k, struct stream_id id)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char gateways[REDIS_KEY_MAX], prefix[REDIS_KEY_MAX];
    int behind = 0;
    redis_key(&k->keys, gateways, "gateways", STR(""));
    redis_key(&k->keys, prefix, "gw:", STR(""));
    struct str argv[] = { str_of(gateways), str_of(prefix),
                          str_of(k->feed ? redis_feed_id(k->feed) : "") };
    if (redis_run(k->query, &redis_gateways, argv, ARRAY_LEN(argv), &reply, NULL) != 0 ||
        reply->type != REDIS_REPLY_ARRAY)
        return -1;
    for (size_t i = 0; i < reply->elements; i++) {
        struct stream_id applied;
        if (stream_id_parse(&applied, redis_text(reply->element[i])))
            behind += stream_id_cmp(applied, id) < 0;
    }
    return behind;
}

/* The write stands; this only waits until every live gateway has seen it. */
static void wait_for_fleet(struct redis_catalog *k, struct stream_id id)
{
    uint64_t until = clock_ms() + FLEET_MS;
    int behind;
    while ((behind = count_behind(k, id)) > 0 && clock_ms() < until) {
        struct timespec nap = { .tv_nsec = FLEET_POLL_MS * 1000000L };
        (void)nanosleep(&nap, NULL);
    }
    if (behind != 0)
        log_line(LOG_warn, "catalog_gateways_behind",
                 "gateways=%d waited_ms=%d, they follow when they answer again, continuing", behind,
                 FLEET_MS);
}

/* Runs a write, reads the adapter's head into the page and waits for the fleet. */
/* NOLINTNEXTLINE(readability-function-size): one write in full */
static int write_and_wait(struct redis_catalog *k, const struct redis_script *s,
                          const struct str *argv, size_t n, struct str base, struct str adapter,
                          struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct stream_id id;
    int r = redis_run(k->query, s, argv, n, &reply, reterr);
    if (r != 0 || (r = script_failure(reply, adapter, reterr)) != 0)
        return r;
    if (!stream_id_parse(&id, redis_text(reply)))
        return redis_check(NULL, REDIS_REPLY_STRING, reterr);
    if ((r = redis_head_read(k->query, &k->keys, k->catalog.page, base, adapter, reterr)) == 0)
        wait_for_fleet(k, id);
    return r;
}

/* What every write begins with; the names live in the caller's frame. */
struct write_args {
    struct adapter_keys keys;
    char events[REDIS_KEY_MAX], epoch[REDIS_KEY_MAX], when[24];
};

static size_t begin_keys(struct redis_catalog *k, struct write_args *w, struct str base,
                         struct str adapter, struct str *argv)
{
    adapter_keys(&k->keys, &w->keys, base, adapter);
    redis_key(&k->keys, w->events, "events", STR(""));
    redis_key(&k->keys, w->epoch, "epoch", STR(""));
    (void)snprintf(w->when, sizeof(w->when), "%" PRIu64, clock_wall_s());
    size_t n = 0;
    argv[n++] = str_of(w->keys.adapter);
    argv[n++] = str_of(w->keys.revisions);
    argv[n++] = str_of(w->keys.aliases);
    argv[n++] = str_of(w->events);
    argv[n++] = str_of(w->epoch);
    argv[n++] = str_of(w->keys.history);
    return n;
}

static size_t begin_args(const struct write_args *w, struct str who, struct str *argv, size_t n)
{
    argv[n++] = str_of(w->keys.member);
    argv[n++] = str_head(who, LIMIT_NAME);
    argv[n++] = str_of(w->when);
    return n;
}

static void print_examples(const struct publication *p, struct buf *b)
{
    for (size_t i = 0; i < p->n_examples; i++) {
        buf_adds(b, i ? "," : "[");
        buf_add_json(b, p->examples[i]);
    }
    buf_adds(b, p->n_examples ? "]" : "");
}

static int redis_publish_revision(struct catalog *c, const struct publication *p,
                                  struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    struct str argv[REDIS_SCRIPT_ARGS];
    struct write_args w;
    char all[REDIS_KEY_MAX], manifest_key[REDIS_KEY_MAX], hex[SHA256_HEX + 1], bytes[24];
    CLEANUP(buf_done) struct buf manifest = BUF_INIT(MANIFEST_MAX);
    CLEANUP(buf_done) struct buf examples = BUF_INIT(1 * MIB);
    int r = blobs_store_revision(k->blobs, p->source, p->manifest, reterr);
    if (r != 0)
        return r;
    manifest_print(p->manifest, &manifest);
    print_examples(p, &examples);
    if ((r = buf_err(&manifest)) < 0 || (r = buf_err(&examples)) < 0)
        return r;
    sha256_hex(hex, &p->digest);
    (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, manifest_bytes(p->manifest));
    redis_key(&k->keys, all, "adapters", STR(""));
    redis_key(&k->keys, manifest_key, "m:", str_of(hex));
    size_t n = begin_keys(k, &w, p->base, p->adapter, argv);
    argv[n++] = str_of(all);
    argv[n++] = str_of(w.keys.bases);
    argv[n++] = str_of(manifest_key);
    n = begin_args(&w, p->who, argv, n);
    argv[n++] = str_of(hex);
    argv[n++] = str_of(w.when);
    argv[n++] = str_of(bytes);
    argv[n++] = buf_str(&manifest);
    argv[n++] = p->description;
    argv[n++] = buf_str(&examples);
    argv[n++] = p->alias;
    argv[n++] = p->base;
    argv[n++] = p->adapter;
    return write_and_wait(k, &redis_publish, argv, n, p->base, p->adapter, reterr);
}

static int run_rollback(struct redis_catalog *k, const struct alias_move *m, struct fail *reterr)
{
    struct str argv[REDIS_SCRIPT_ARGS];
    struct write_args w;
    size_t n = begin_keys(k, &w, m->base, m->adapter, argv);
    n = begin_args(&w, m->who, argv, n);
    argv[n++] = m->alias;
    return write_and_wait(k, &redis_rollback, argv, n, m->base, m->adapter, reterr);
}

static int redis_move(struct catalog *c, const struct alias_move *m, struct fail *reterr)
{
    struct redis_catalog *k = of(c);
    struct str argv[REDIS_SCRIPT_ARGS], source;
    struct write_args w;
    CLEANUP(head_unrefp) struct head *h = NULL;
    const struct head_revision *to;
    char hex[SHA256_HEX + 1];
    int r = redis_lookup(c, m->base, m->adapter, reterr);
    if (r != 0 || (r = page_find(c->page, m->base, m->adapter, &h, reterr)) != 0)
        return r;
    if (!h)
        return fail_param(reterr, FAIL_model_not_found, "model", "no adapter '%.*s:%.*s'",
                          STR_ARG(str_head(m->base, 80)), STR_ARG(str_head(m->adapter, 80)));
    if (m->rollback)
        return run_rollback(k, m, reterr);
    if ((r = head_select(h, m->selector, /* ordinals= */ true, &to, &source, reterr)) != 0)
        return r;
    sha256_hex(hex, &to->digest);
    size_t n = begin_keys(k, &w, m->base, m->adapter, argv);
    n = begin_args(&w, m->who, argv, n);
    argv[n++] = m->alias;
    argv[n++] = str_of(hex);
    argv[n++] = source;
    argv[n++] = m->expected;
    return write_and_wait(k, &redis_alias, argv, n, m->base, m->adapter, reterr);
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
    struct adapter_keys keys;
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    adapter_keys(&k->keys, &keys, base, adapter);
    int r = REDIS_CALL(k->query, &reply, reterr, STR("XRANGE"), str_of(keys.history), STR("-"),
                       STR("+"), STR("COUNT"), STR("4096"));
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
    (void)redis_feed_stop(k->feed, k->query);
    (void)blobs_free(k->blobs);
    (void)redis_link_free(k->query);
    free(k);
    return NULL;
}

static const struct catalog_ops redis_ops = {
    .remote = true,
    .fresh = redis_fresh,
    .lookup = redis_lookup,
    .refresh = redis_refresh,
    .publish = redis_publish_revision,
    .move = redis_move,
    .history = redis_history,
    .stage = redis_stage,
    .unstage = redis_unstage,
    .blobs = redis_blobs,
    .state = redis_state,
    .free = redis_free,
};

static int open_links(struct redis_catalog *k, const struct config_adapters *c, bool follow,
                      struct fail *reterr)
{
    struct redis_link *blobs, *feed;
    struct blob_store *store;
    int r = redis_link_new(&k->query, c->catalog_url, QUERY_MS, reterr);
    if (r != 0 || (r = redis_link_new(&blobs, c->catalog_url, BLOB_MS, reterr)) != 0 ||
        (r = blob_store_redis(&store, blobs, &k->keys)) != 0 ||
        (r = blobs_open(&k->blobs, c, store, reterr)) != 0)
        return r;
    if (!follow)
        return 0;
    if ((r = redis_link_new(&feed, c->catalog_url, FOLLOW_MS, reterr)) != 0)
        return r;
    return redis_feed_start(&k->feed, feed, &k->keys, k->catalog.page);
}

int catalog_redis_open(struct catalog **ret, const struct config_adapters *c, struct page *page,
                       bool follow, struct fail *reterr)
{
    struct str ns = c->catalog_namespace.n ? c->catalog_namespace : STR("rootstock");
    struct redis_catalog *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    k->catalog = (struct catalog){ &redis_ops, page };
    (void)snprintf(k->keys.prefix, sizeof(k->keys.prefix), "%.*s:", STR_ARG(ns));
    int r = ns.n > REDIS_NAMESPACE_MAX
                ? fail_param(reterr, FAIL_invalid_request, "adapters.catalog.namespace",
                             "adapters.catalog.namespace: at most %d bytes", REDIS_NAMESPACE_MAX)
                : open_links(k, c, follow, reterr);
    if (r != 0) {
        (void)redis_free(&k->catalog);
        return r;
    }
    *ret = &k->catalog;
    return 0;
}
