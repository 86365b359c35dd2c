#include "adapters/redis_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/redis_restore.h"
#include "adapters/redis_scripts.h"
#include "base/clock.h"
#include "base/num.h"

struct import_row {
    uint64_t place; /* shard, then bucket: in this order they are written */
    size_t at;
};

static int by_place(const void *a, const void *b)
{
    const struct import_row *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

static struct head *imported(const struct adapter_import *row, uint64_t now_s)
{
    struct head_revision revision = {
        .digest = row->digest, .ordinal = 1, .created_s = now_s, .bytes = row->bytes
    };
    struct head_alias prod = { .name = STR(ALIAS_PROD), .digest = row->digest };
    struct head draft = { .base = row->base,
                          .adapter = row->adapter,
                          .description = row->description.p ? row->description : STR(""),
                          .revisions = &revision,
                          .n_revisions = 1,
                          .aliases = &prod,
                          .n_aliases = 1 };
    return head_new(&draft);
}

/* One run of the script, for rows of one shard. */
struct chunk {
    uint32_t shard;
    char keys[5][REDIS_KEY_MAX];
    char known[24];
    struct buf rows, buckets;
};

enum { CHUNK_ARGS = 9, CHUNK_ROWS = 256, CHUNKS = 64 };

static void chunk_done(struct chunk *c)
{
    buf_done(&c->rows);
    buf_done(&c->buckets);
}

/* NOLINTNEXTLINE(readability-function-size): one chunk in full */
static int fill_chunk(struct redis_writer *w, struct chunk *c, const struct adapter_import *rows,
                      const struct import_row *order, size_t n, bool replace, struct str *argv)
{
    uint64_t now_s = clock_wall_s(), before = UINT64_MAX;
    c->shard = (uint32_t)(order[0].place >> 32);
    c->rows = BUF_INIT(64 * MIB);
    c->buckets = BUF_INIT(64 * KIB);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(head_unrefp) struct head *h = imported(&rows[order[i].at], now_s);
        if (!h)
            return -ENOMEM;
        redis_row(&c->rows, w->keys, h, 0);
        uint32_t bucket = (uint32_t)order[i].place;
        char be[4] = { (char)(bucket >> 24), (char)(bucket >> 16), (char)(bucket >> 8),
                       (char)bucket };
        if (order[i].place != before)
            buf_add(&c->buckets, (struct str){ be, sizeof(be) });
        before = order[i].place;
    }
    if (buf_err(&c->rows) < 0 || buf_err(&c->buckets) < 0)
        return -ENOMEM;
    static const char *const names[] = { "c", "ep", "ev", "f", "u" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (i == 0 || i == 3)
            redis_shard_prefix(w->keys, c->keys[i], names[i], c->shard);
        else
            redis_shard_key(w->keys, c->keys[i], names[i], c->shard, STR(""));
        argv[i] = str_of(c->keys[i]);
    }
    (void)snprintf(c->known, sizeof(c->known), "%" PRIu64,
                   w->feed ? redis_feed_epoch(w->feed, c->shard) : 0);
    argv[5] = str_of(c->known);
    argv[6] = replace ? STR("1") : STR("0");
    argv[7] = buf_str(&c->rows);
    argv[8] = buf_str(&c->buckets);
    return 0;
}

static int read_imported(struct redis_writer *w, const struct chunk *c, const redisReply *reply,
                         size_t *written, struct fail *reterr)
{
    enum redis_outcome out;
    struct str text;
    uint64_t epoch;
    int r = redis_read_outcome(reply, &out, &text, &epoch, reterr);
    if (r == 0 && out == OUT_regressed)
        return (r = redis_heal(w, c->shard, reterr)) ? r : -EAGAIN;
    if (r == 0 && (reply->elements < 3 || reply->element[2]->type != REDIS_REPLY_INTEGER))
        return redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    if (r == 0)
        *written += (size_t)reply->element[2]->integer;
    return r;
}

/* The chunks, in one round trip; one that Redis turned away is sent again. */
static int send_chunks(struct redis_writer *w, struct chunk *chunks, const struct str *argv,
                       size_t n, size_t *written, struct fail *reterr)
{
    redisReply *replies[CHUNKS] = { 0 };
    int r = redis_run_many(w->link, &redis_import, argv, CHUNK_ARGS, n, replies, reterr);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = read_imported(w, &chunks[i], replies[i], written, reterr);
        for (unsigned k = 0; r == -EAGAIN && k < 2; k++) {
            redis_reply_free(&replies[i]);
            (void)snprintf(chunks[i].known, sizeof(chunks[i].known), "0");
            r = redis_run(w->link, &redis_import, argv + i * CHUNK_ARGS, CHUNK_ARGS, &replies[i],
                          reterr);
            if (r == 0)
                r = read_imported(w, &chunks[i], replies[i], written, reterr);
        }
    }
    for (size_t i = 0; i < n; i++)
        redis_reply_free(&replies[i]);
    return r;
}

static size_t chunk_rows(const struct import_row *order, size_t at, size_t n)
{
    size_t rows = 1;
    while (rows < CHUNK_ROWS && at + rows < n &&
           order[at + rows].place >> 32 == order[at].place >> 32)
        rows++;
    return rows;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of an import */
static int import_in_order(struct redis_writer *w, const struct adapter_import *rows,
                           const struct import_row *order, size_t n, bool replace, size_t *written,
                           struct fail *reterr)
{
    CLEANUP(own_free) struct chunk *chunks = calloc(CHUNKS, sizeof(*chunks));
    CLEANUP(own_free) struct str *argv = calloc((size_t)CHUNKS * CHUNK_ARGS, sizeof(*argv));
    int r = chunks && argv ? 0 : -ENOMEM;
    for (size_t at = 0; r == 0 && at < n;) {
        size_t m = 0;
        while (r == 0 && m < CHUNKS && at < n) {
            size_t k = chunk_rows(order, at, n);
            r = fill_chunk(w, &chunks[m], rows, order + at, k, replace, argv + m * CHUNK_ARGS);
            m++;
            at += k;
        }
        if (r == 0)
            r = send_chunks(w, chunks, argv, m, written, reterr);
        for (size_t i = 0; i < m; i++)
            chunk_done(&chunks[i]);
    }
    return r;
}

int redis_import_heads(struct redis_writer *w, const struct adapter_import *rows, size_t n,
                       bool replace, size_t *ret_written, struct fail *reterr)
{
    CLEANUP(own_free) struct import_row *order = malloc((n + 1) * sizeof(*order));
    *ret_written = 0;
    if (!order)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct redis_place p = redis_place_of(w->keys, rows[i].base, rows[i].adapter);
        order[i] = (struct import_row){ (uint64_t)p.shard << 32 | p.bucket, i };
    }
    qsort(order, n, sizeof(*order), by_place);
    return import_in_order(w, rows, order, n, replace, ret_written, reterr);
}
