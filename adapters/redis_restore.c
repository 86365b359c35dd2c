#include "adapters/redis_restore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/head_change.h"
#include "adapters/head_codec.h"
#include "adapters/redis_scripts.h"
#include "base/log.h"
#include "base/num.h"

#define LOCK_MS "10000" /* for which the lock of a gateway that dies holds up the others */
#define ROWS_BYTES (256 * KIB)
#define ROW_MAX (64 * MIB)
enum { SLICE = 256 };

struct pass {
    const struct shard_read *x;
    bool restore;
    struct buf rows; /* to be written back */
    uint64_t merged_epoch;
    size_t written;
    struct fail *reterr;
};

static struct page_part part_of(const struct shard_read *x)
{
    return (struct page_part){ x->keys->shards - 1, x->shard };
}

/* ---- writing back ---- */

static void put_number(struct buf *b, uint64_t v, unsigned bytes)
{
    while (bytes--)
        buf_addc(b, (char)(v >> (8 * bytes)));
}

void redis_row(struct buf *b, const struct redis_keys *k, const struct head *h, uint64_t epoch)
{
    struct redis_place p = redis_place_of(k, h->base, h->adapter);
    CLEANUP(buf_done) struct buf partial = BUF_INIT(HEAD_PACKED_MAX);
    CLEANUP(buf_done) struct buf full = BUF_INIT(HEAD_PACKED_MAX);
    head_pack(h, /* partial= */ true, &partial);
    bool more = buf_err(&partial) == 0 && head_packed_more(buf_str(&partial)) != 0;
    if (more)
        head_pack(h, /* partial= */ false, &full);
    if (buf_err(&partial) < 0 || buf_err(&full) < 0 || partial.n > UINT16_MAX) {
        b->err = -ENOMEM;
        return;
    }
    head_packed_set_epoch(partial.p, epoch);
    if (more)
        head_packed_set_epoch(full.p, epoch);
    struct str member = str_of(p.member);
    put_number(b, member.n, 2);
    buf_add(b, member);
    put_number(b, p.bucket, 4);
    put_number(b, partial.n, 2);
    buf_add(b, buf_str(&partial));
    put_number(b, full.n, 4);
    buf_add(b, buf_str(&full));
}

static int flush(struct pass *p)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    const struct shard_read *x = p->x;
    char c[REDIS_KEY_MAX], f[REDIS_KEY_MAX], b[REDIS_KEY_MAX];
    if (buf_err(&p->rows) < 0)
        return buf_err(&p->rows);
    if (p->rows.n == 0)
        return 0;
    redis_shard_prefix(x->keys, c, "c", x->shard);
    redis_shard_prefix(x->keys, f, "f", x->shard);
    redis_shard_key(x->keys, b, "u", x->shard, STR(""));
    struct str argv[] = { str_of(c), str_of(f), str_of(b), buf_str(&p->rows) };
    int r = redis_run(x->link, &redis_restore, argv, ARRAY_LEN(argv), &reply, p->reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_INTEGER, p->reterr);
    if (r == 0)
        p->written += (size_t)reply->integer;
    buf_clear(&p->rows);
    return r;
}

static int write_back(struct pass *p, const struct head *h, uint64_t epoch)
{
    redis_row(&p->rows, p->x->keys, h, epoch);
    return p->rows.n >= ROWS_BYTES || buf_err(&p->rows) < 0 ? flush(p) : 0;
}

/* ---- what Redis has ---- */

/* Redis has a head that is older than ours: ours goes back, or both are joined. */
static int settle(struct pass *p, const struct head *ours, const struct head *theirs)
{
    if (!p->restore)
        return 0; /* the page keeps the newer */
    if (head_is_covered(theirs, ours))
        return write_back(p, ours, ours->epoch);
    CLEANUP(head_unrefp) struct head *both = head_merge(ours, theirs);
    if (!both)
        return write_back(p, ours, ours->epoch);
    both->epoch = ++p->merged_epoch;
    int r = write_back(p, both, both->epoch);
    return r == 0 ? redis_page_put(p->x->page, TAKE(both)) : r;
}

static int found(void *ctx, struct str member, struct head *h)
{
    struct pass *p = ctx;
    struct str base, adapter;
    if (!redis_split_member(member, &base, &adapter))
        return 0;
    if (!h) { /* damaged: what is known of it stays */
        page_see(p->x->page, base, adapter);
        return 0;
    }
    if (p->restore) {
        CLEANUP(head_unrefp) struct head *ours = NULL;
        if (page_find(p->x->page, base, adapter, &ours, NULL) == 0 && ours &&
            ours->epoch > h->epoch) {
            page_see(p->x->page, base, adapter);
            return settle(p, ours, h);
        }
    }
    return redis_page_put(p->x->page, head_ref(h));
}

static int read_shard(struct pass *p, bool lost)
{
    const struct shard_read *x = p->x;
    CLEANUP(own_free) uint32_t *buckets = NULL;
    size_t n = 0;
    int r = redis_buckets_used(x->link, x->keys, x->shard, lost, &buckets, &n, p->reterr);
    for (size_t i = 0; r == 0 && i < n; i += SLICE) {
        r = redis_buckets_read(x->link, x->keys, x->shard, buckets + i,
                               n - i < SLICE ? n - i : SLICE, found, p, p->reterr);
        if (x->meanwhile && i + SLICE < n)
            x->meanwhile(x->ctx);
    }
    return r;
}

/* What only the page has. */
static int missing(void *ctx, struct head *h)
{
    return write_back(ctx, h, h->epoch);
}

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

static int read_tip(const struct shard_read *x, struct stream_id *ret, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char ev[REDIS_KEY_MAX];
    redis_shard_key(x->keys, ev, "ev", x->shard, STR(""));
    *ret = (struct stream_id){ 0 };
    int r = REDIS_CALL(x->link, &reply, reterr, STR("XREVRANGE"), str_of(ev), STR("+"), STR("-"),
                       STR("COUNT"), STR("1"));
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_ARRAY, reterr);
    if (r == 0 && reply->elements &&
        (reply->element[0]->type != REDIS_REPLY_ARRAY || reply->element[0]->elements != 2 ||
         !stream_id_parse(ret, redis_text(reply->element[0]->element[0]))))
        r = redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    return r;
}

/* Where the shard stands before it is read: what comes later is told by events behind that. */
static int read_stand(const struct shard_read *x, struct shard_stand *ret, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char ep[REDIS_KEY_MAX];
    redis_shard_key(x->keys, ep, "ep", x->shard, STR(""));
    *ret = (struct shard_stand){ 0 };
    int r = read_tip(x, &ret->pos, reterr);
    if (r == 0)
        r = REDIS_CALL(x->link, &reply, reterr, STR("GET"), str_of(ep));
    if (r == 0 && reply->type != REDIS_REPLY_NIL)
        r = redis_check(reply, REDIS_REPLY_STRING, reterr);
    if (r == 0 && reply->type == REDIS_REPLY_STRING &&
        num_parse_u64(&ret->epoch, redis_text(reply), 0, INT64_MAX) < 0)
        r = fail_set(reterr, FAIL_catalog_unavailable,
                     "the key %.160s in Redis is no epoch counter", ep);
    if (r == 0 && ret->pos.ms < ret->epoch)
        ret->pos = (struct stream_id){ ret->epoch, 0 };
    return r;
}

int shard_resync(const struct shard_read *x, struct shard_stand *ret, struct fail *reterr)
{
    struct pass p = { .x = x, .rows = BUF_INIT(ROW_MAX), .reterr = reterr };
    int r = read_stand(x, ret, reterr);
    if (r == 0 && x->prune)
        page_unsee(x->page, part_of(x));
    if (r == 0)
        r = read_shard(&p, ret->epoch > 0);
    if (r == 0 && x->prune) /* one with a later epoch came meanwhile */
        (void)page_remove_unseen(x->page, part_of(x), ret->epoch);
    buf_done(&p.rows);
    return r;
}

/* ---- restoring ---- */

static int raise_counter(struct pass *p, uint64_t *ret)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    char ep[REDIS_KEY_MAX], ev[REDIS_KEY_MAX], top[24];
    redis_shard_key(p->x->keys, ep, "ep", p->x->shard, STR(""));
    redis_shard_key(p->x->keys, ev, "ev", p->x->shard, STR(""));
    (void)snprintf(top, sizeof(top), "%" PRIu64, p->merged_epoch);
    struct str argv[] = { str_of(ep), str_of(ev), str_of(top), str_of(p->x->who) };
    int r = redis_run(p->x->link, &redis_raise, argv, ARRAY_LEN(argv), &reply, p->reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_STRING, p->reterr);
    if (r == 0 && num_parse_u64(ret, redis_text(reply), 1, INT64_MAX) < 0)
        r = redis_check(NULL, REDIS_REPLY_STRING, p->reterr);
    return r;
}

/* With the lock. */
static int restore_locked(struct pass *p, struct shard_stand *ret)
{
    struct redis_keys layout = *p->x->keys;
    int r = redis_layout(p->x->link, &layout, p->reterr);
    if (r == 0 && (layout.shards != p->x->keys->shards || layout.buckets != p->x->keys->buckets))
        r = fail_set(p->reterr, FAIL_catalog_unavailable,
                     "the catalog in Redis was laid out anew with other numbers; restart the "
                     "gateways");
    if (r == 0)
        r = read_stand(p->x, ret, p->reterr);
    if (r != 0)
        return r;
    p->merged_epoch = p->x->known > ret->epoch ? p->x->known : ret->epoch;
    page_unsee(p->x->page, part_of(p->x));
    if ((r = read_shard(p, p->merged_epoch > 0)) != 0 ||
        (r = page_each_unseen(p->x->page, part_of(p->x), missing, p)) != 0 || (r = flush(p)) != 0)
        return r;
    if (p->written == 0 && ret->epoch >= p->x->known)
        return 0;
    r = raise_counter(p, &ret->epoch);
    if (ret->pos.ms < ret->epoch)
        ret->pos = (struct stream_id){ ret->epoch, 0 };
    if (r == 0)
        log_line(LOG_warn, "catalog_restored",
                 "shard=%u heads=%zu epoch=%" PRIu64
                 ", the catalog in Redis was older than what is known here, continuing",
                 p->x->shard, p->written, ret->epoch);
    return r;
}

int shard_restore(const struct shard_read *x, struct shard_stand *ret, struct fail *reterr)
{
    struct pass p = { .x = x, .restore = true, .rows = BUF_INIT(ROW_MAX), .reterr = reterr };
    CLEANUP(redis_reply_free) redisReply *taken = NULL;
    CLEANUP(redis_reply_free) redisReply *left = NULL;
    char lock[REDIS_KEY_MAX];
    redis_shard_key(x->keys, lock, "lk", x->shard, STR(""));
    int r = REDIS_CALL(x->link, &taken, reterr, STR("SET"), str_of(lock), str_of(x->who), STR("NX"),
                       STR("PX"), STR(LOCK_MS));
    if (r != 0 || taken->type == REDIS_REPLY_NIL)
        return r ? r : -EAGAIN;
    r = restore_locked(&p, ret);
    buf_done(&p.rows);
    int k = REDIS_CALL(x->link, &left, NULL, STR("DEL"), str_of(lock));
    (void)k; /* it expires by itself */
    return r;
}
