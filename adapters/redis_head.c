#include "adapters/redis_head.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/head_codec.h"
#include "base/log.h"
#include "base/num.h"

/* Of a new namespace. A shard is a slot of a Cluster and one event stream. 131,072 buckets hold
 * 10^6 adapters by 8 and 10^7 by 76: within hash-max-listpack-entries, and a key's own cost is
 * shared by as many. */
#define SHARDS 16
#define BUCKETS 8192
enum { BATCH = 256 };

/* ---- keys ---- */

void redis_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], const char *what,
               struct str name)
{
    (void)snprintf(ret, REDIS_KEY_MAX, "%s%s%.*s", k->prefix, what, STR_ARG(name));
}

void redis_shard_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], const char *what,
                     uint32_t shard, struct str name)
{
    (void)snprintf(ret, REDIS_KEY_MAX, "%s%s:{s%02u}%s%.*s", k->prefix, what, shard,
                   name.n ? ":" : "", STR_ARG(str_head(name, REDIS_MEMBER_MAX)));
}

void redis_shard_prefix(const struct redis_keys *k, char ret[static REDIS_KEY_MAX],
                        const char *what, uint32_t shard)
{
    (void)snprintf(ret, REDIS_KEY_MAX, "%s%s:{s%02u}:", k->prefix, what, shard);
}

void redis_bucket_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], uint32_t shard,
                      uint32_t bucket)
{
    (void)snprintf(ret, REDIS_KEY_MAX, "%sc:{s%02u}:%u", k->prefix, shard, bucket);
}

uint32_t redis_shard_of(const struct redis_keys *k, struct str adapter)
{
    return (uint32_t)(head_hash(adapter) & (k->shards - 1));
}

struct redis_place redis_place_of(const struct redis_keys *k, struct str base, struct str adapter)
{
    uint64_t h = head_hash(adapter);
    struct redis_place p = { .shard = (uint32_t)(h & (k->shards - 1)),
                             .bucket = (uint32_t)(h >> 32) & (k->buckets - 1) };
    (void)snprintf(p.member, sizeof(p.member), "%.*s:%.*s", STR_ARG(str_head(base, LIMIT_NAME)),
                   STR_ARG(str_head(adapter, LIMIT_NAME)));
    return p;
}

bool redis_split_member(struct str member, struct str *ret_base, struct str *ret_adapter)
{
    size_t at = member.n;
    while (at > 0 && member.p[at - 1] != ':') /* an adapter's name has none, a base's may */
        at--;
    if (at == 0)
        return false;
    *ret_base = (struct str){ member.p, at - 1 };
    *ret_adapter = str_sub(member, at);
    return base_name_check(*ret_base, NULL) == 0 && adapter_name_check(*ret_adapter, NULL) == 0;
}

static bool read_count(const redisReply *r, uint64_t max, uint32_t *ret)
{
    uint64_t n;
    if (num_parse_u64(&n, redis_text(r), 1, max) < 0 || (n & (n - 1)))
        return false;
    *ret = (uint32_t)n;
    return true;
}

int redis_layout(struct redis_link *l, struct redis_keys *k, struct fail *reterr)
{
    char meta[REDIS_KEY_MAX], shards[16], buckets[16];
    redisReply *replies[3] = { 0 };
    redis_key(k, meta, "meta", STR(""));
    (void)snprintf(shards, sizeof(shards), "%u", k->shards ? k->shards : SHARDS);
    (void)snprintf(buckets, sizeof(buckets), "%u", k->buckets ? k->buckets : BUCKETS);
    struct str one[] = { STR("HSETNX"), str_of(meta), STR("shards"), str_of(shards) };
    struct str two[] = { STR("HSETNX"), str_of(meta), STR("buckets"), str_of(buckets) };
    struct str get[] = { STR("HMGET"), str_of(meta), STR("shards"), STR("buckets") };
    struct redis_command commands[] = { { one, 4, str_of(meta) },
                                        { two, 4, str_of(meta) },
                                        { get, 4, str_of(meta) } };
    int r = redis_call_many(l, commands, ARRAY_LEN(commands), replies, reterr);
    if (r == 0) /* who may only read cannot found one */
        r = redis_check(replies[2], REDIS_REPLY_ARRAY, reterr);
    uint32_t s = 0, b = 0;
    if (r == 0 &&
        (replies[2]->elements != 2 || !read_count(replies[2]->element[0], REDIS_SHARDS_MAX, &s) ||
         !read_count(replies[2]->element[1], REDIS_BUCKETS_MAX, &b)))
        r = fail_set(reterr, FAIL_catalog_unavailable,
                     "the key %.120s in Redis does not say how the catalog is laid out (shards, "
                     "buckets); restore it, or check that this user may write it",
                     meta);
    if (r == 0) {
        k->shards = s;
        k->buckets = b;
    }
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        redis_reply_free(&replies[i]);
    return r;
}

/* ---- decoding ---- */

struct head *redis_head_decode(struct str member, struct str partial, struct str full)
{
    struct str base, adapter;
    struct head *h = NULL;
    bool has_full = full.n && head_packed_epoch(full) == head_packed_epoch(partial);
    if (!redis_split_member(member, &base, &adapter) ||
        head_unpack(&h, base, adapter, has_full ? full : partial) != 0)
        return NULL;
    if (h->canary_weight && h->canary_salt == 0)
        h->canary_salt = h->epoch; /* it began with this head, whose epoch the script gave */
    return h;
}

static void log_damaged(struct str member, struct str why)
{
    static struct log_rate rate;
    log_rated(&rate, LOG_error, "catalog_head_damaged",
              "adapter=%.*s why=\"%.*s\", keeping what was known, continuing",
              STR_ARG(str_head(member, 200)), STR_ARG(str_head(why, 120)));
}

static bool leaves_out(struct str partial)
{
    return head_packed_check(partial) == 0 && head_packed_more(partial) != 0;
}

int redis_page_put(struct page *page, struct head *h)
{
    char name[REDIS_MEMBER_MAX];
    int n = snprintf(name, sizeof(name), "%s:%s", h->base.p, h->adapter.p);
    int r = page_put(page, h);
    if (r != -EMSGSIZE && r != -EBADMSG)
        return r;
    log_damaged((struct str){ name, (size_t)n }, STR("more than a head can hold"));
    return 0;
}

/* ---- one adapter ---- */

static int damaged(struct str member, struct fail *reterr)
{
    return fail_set(reterr, FAIL_catalog_unavailable,
                    "the record of '%.*s' in Redis is damaged; restore it or delete its field",
                    STR_ARG(str_head(member, 160)));
}

/* NOLINTNEXTLINE(readability-function-size): one reading in full */
int redis_head_fetch(struct redis_link *l, const struct redis_keys *k, struct str base,
                     struct str adapter, const char *id, struct head **ret, redisReply **ret_id,
                     struct fail *reterr)
{
    struct redis_place p = redis_place_of(k, base, adapter);
    char c[REDIS_KEY_MAX], f[REDIS_KEY_MAX];
    redisReply *replies[3] = { 0 };
    redis_bucket_key(k, c, p.shard, p.bucket);
    redis_shard_key(k, f, "f", p.shard, str_of(p.member));
    struct str one[] = { STR("HGET"), str_of(c), str_of(p.member) };
    struct str two[] = { STR("GET"), str_of(f) };
    struct str three[] = { STR("GET"), str_of(id) };
    struct redis_command commands[] = { { one, 3, str_of(c) },
                                        { two, 2, str_of(f) },
                                        { three, 2, str_of(id) } };
    size_t n = id ? 3 : 2;
    *ret = NULL;
    int r = redis_call_many(l, commands, n, replies, reterr);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (replies[i]->type != REDIS_REPLY_NIL)
            r = redis_check(replies[i], REDIS_REPLY_STRING, reterr);
    if (r == 0 && replies[0]->type == REDIS_REPLY_STRING) {
        *ret = redis_head_decode(str_of(p.member), redis_text(replies[0]), redis_text(replies[1]));
        r = *ret ? 0 : damaged(str_of(p.member), reterr);
    }
    if (r == 0 && id && replies[2]->type == REDIS_REPLY_STRING)
        *ret_id = TAKE(replies[2]);
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        redis_reply_free(&replies[i]);
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of a look-up */
int redis_head_read(struct redis_link *l, const struct redis_keys *k, struct page *page,
                    struct str base, struct str adapter, bool drop, struct fail *reterr)
{
    struct head *h = NULL;
    struct fail f;
    int r = redis_head_fetch(l, k, base, adapter, NULL, &h, NULL, &f);
    if (r == FAILED && redis_link_up(l)) {
        log_damaged(adapter, str_of(f.message));
        CLEANUP(head_unrefp) struct head *known = NULL;
        if (page_find(page, base, adapter, &known, NULL) == 0 && known)
            return 0;
    }
    if (r == FAILED && reterr)
        *reterr = f;
    if (r != 0)
        return r;
    if (!h && drop)
        page_remove(page, base, adapter);
    return h ? redis_page_put(page, h) : 0;
}

struct named { /* of redis_heads_named */
    struct page *page;
    struct str adapter;
};

static int enter_named(void *ctx, struct str member, struct head *h)
{
    struct named *n = ctx;
    struct str base, adapter;
    if (!h || !redis_split_member(member, &base, &adapter) || !str_eq(adapter, n->adapter))
        return 0;
    return redis_page_put(n->page, head_ref(h));
}

int redis_heads_named(struct redis_link *l, const struct redis_keys *k, struct page *page,
                      struct str adapter, bool drop, struct fail *reterr)
{
    struct named n = { page, adapter };
    struct redis_place p = redis_place_of(k, STR(""), adapter);
    CLEANUP(head_unrefp) struct head *known = NULL;
    if (drop && page_find(page, STR(""), adapter, &known, NULL) == 0 && known)
        page_remove(page, known->base, adapter);
    return redis_buckets_read(l, k, p.shard, &p.bucket, 1, enter_named, &n, reterr);
}

/* ---- buckets ---- */

struct reading {
    struct redis_link *link;
    const struct redis_keys *keys;
    uint32_t shard;
    redis_found_fn found;
    void *ctx;
};

struct record { /* borrowed from the replies */
    struct str member, partial;
};

static int give(const struct reading *x, const struct record *rec, struct str full)
{
    struct head *h = redis_head_decode(rec->member, rec->partial, full);
    if (!h)
        log_damaged(rec->member, STR("no packed head"));
    int r = x->found(x->ctx, rec->member, h);
    (void)head_unref(h);
    return r;
}

/* Those whose record leaves something out: with the whole of it. */
static int give_full(const struct reading *x, const struct record *recs, size_t n,
                     struct fail *reterr)
{
    char(*keys)[REDIS_KEY_MAX] = calloc(n, sizeof(*keys));
    __attribute__((unused)) CLEANUP(own_free) void *keys_owner = keys;
    CLEANUP(own_free) struct str *argv = calloc(2 * n, sizeof(*argv));
    CLEANUP(own_free) struct redis_command *commands = calloc(n, sizeof(*commands));
    CLEANUP(own_free) redisReply **replies = calloc(n, sizeof(redisReply *));
    if (!keys || !argv || !commands || !replies)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        redis_shard_key(x->keys, keys[i], "f", x->shard, recs[i].member);
        argv[2 * i] = STR("GET");
        argv[2 * i + 1] = str_of(keys[i]);
        commands[i] = (struct redis_command){ &argv[2 * i], 2, str_of(keys[i]) };
    }
    int r = redis_call_many(x->link, commands, n, replies, reterr);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = give(x, &recs[i],
                 replies[i]->type == REDIS_REPLY_STRING ? redis_text(replies[i]) : STR(""));
    for (size_t i = 0; i < n; i++)
        redis_reply_free(&replies[i]);
    return r;
}

static int give_bucket(const struct reading *x, const redisReply *bucket, struct fail *reterr)
{
    struct record more[BATCH];
    size_t n = 0;
    int r = 0;
    if (bucket->type != REDIS_REPLY_ARRAY || bucket->elements % 2) {
        log_damaged(STR("a whole bucket"), redis_text(bucket));
        return 0;
    }
    for (size_t i = 0; r == 0 && i < bucket->elements; i += 2) {
        struct record rec = { redis_text(bucket->element[i]), redis_text(bucket->element[i + 1]) };
        if (leaves_out(rec.partial))
            more[n++] = rec;
        else
            r = give(x, &rec, STR(""));
        if (r == 0 && n == ARRAY_LEN(more)) {
            r = give_full(x, more, n, reterr);
            n = 0;
        }
    }
    return r == 0 && n ? give_full(x, more, n, reterr) : r;
}

static int read_batch(const struct reading *x, const uint32_t *buckets, size_t n,
                      struct fail *reterr)
{
    char keys[BATCH][REDIS_NAMESPACE_MAX + 48];
    struct str argv[BATCH][2];
    struct redis_command commands[BATCH];
    redisReply *replies[BATCH] = { 0 };
    for (size_t i = 0; i < n; i++) {
        char key[REDIS_KEY_MAX];
        redis_bucket_key(x->keys, key, x->shard, buckets[i]);
        (void)snprintf(keys[i], sizeof(keys[i]), "%.*s", STR_ARG(str_of(key)));
        argv[i][0] = STR("HGETALL");
        argv[i][1] = str_of(keys[i]);
        commands[i] = (struct redis_command){ argv[i], 2, str_of(keys[i]) };
    }
    int r = redis_call_many(x->link, commands, n, replies, reterr);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = give_bucket(x, replies[i], reterr);
    for (size_t i = 0; i < n; i++)
        redis_reply_free(&replies[i]);
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): what a reading takes */
int redis_buckets_read(struct redis_link *l, const struct redis_keys *k, uint32_t shard,
                       const uint32_t *buckets, size_t n, redis_found_fn found, void *ctx,
                       struct fail *reterr)
{
    const struct reading x = { l, k, shard, found, ctx };
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i += BATCH)
        r = read_batch(&x, buckets + i, n - i < BATCH ? n - i : BATCH, reterr);
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of a reading */
int redis_buckets_used(struct redis_link *l, const struct redis_keys *k, uint32_t shard, bool lost,
                       uint32_t **ret, size_t *ret_n, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *bits = NULL;
    char key[REDIS_KEY_MAX];
    redis_shard_key(k, key, "u", shard, STR(""));
    int r = REDIS_CALL(l, &bits, reterr, STR("GET"), str_of(key));
    if (r == 0 && bits->type != REDIS_REPLY_NIL)
        r = redis_check(bits, REDIS_REPLY_STRING, reterr);
    if (r != 0)
        return r;
    struct str map = redis_text(bits);
    uint32_t *all = malloc(((size_t)k->buckets + 1) * sizeof(*all));
    size_t n = 0;
    if (!all)
        return -ENOMEM;
    for (uint32_t b = 0; b < k->buckets; b++) /* SETBIT counts from the high bit */
        if ((lost && bits->type == REDIS_REPLY_NIL) ||
            (b / 8 < map.n && ((unsigned char)map.p[b / 8] >> (7 - b % 8) & 1)))
            all[n++] = b;
    *ret = all;
    *ret_n = n;
    return 0;
}
