#include "adapters/redis_blobs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"

#define N_CHUNKS (REDIS_BLOB_MAX / REDIS_CHUNK)
#define N_BUCKETS 256      /* of the index: by the first byte of the digest */
#define SCAN_COUNT "500"   /* fields a step, about; half a page, as Redis may answer with more */
#define UNFINISHED " part" /* behind the entry of a blob whose chunks are not all there yet */

struct redis_store {
    struct blob_store store; /* first */
    struct redis_link *link; /* owned */
    struct redis_keys keys;
};

static struct redis_store *of(struct blob_store *s)
{
    return (struct redis_store *)(void *)s;
}

static void chunk_key(const struct redis_store *s, char ret[static REDIS_KEY_MAX],
                      const struct sha256 *d, unsigned chunk)
{
    char hex[SHA256_HEX + 1], name[SHA256_HEX + 16];
    sha256_hex(hex, d);
    (void)snprintf(name, sizeof(name), "{%s}:%u", hex, chunk);
    redis_key(&s->keys, ret, "b:", str_of(name));
}

static void index_key(const struct redis_store *s, char ret[static REDIS_KEY_MAX], unsigned bucket)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "{b%02x}", bucket);
    redis_key(&s->keys, ret, "bl:", str_of(name));
}

static unsigned chunks_of(uint64_t bytes)
{
    return (unsigned)((bytes + REDIS_CHUNK - 1) / REDIS_CHUNK);
}

/* ---- what is there ---- */

/* "bytes stored-at" with " part" behind it while it is being stored. */
static bool parse_entry(struct str text, struct blob_stat *ret, bool *ret_whole)
{
    struct str bytes, when;
    *ret_whole = !str_ends(text, STR(UNFINISHED));
    if (!*ret_whole)
        text = str_head(text, text.n - sizeof(UNFINISHED) + 1);
    return str_cut(text, ' ', &bytes, &when) &&
           num_parse_u64(&ret->bytes, bytes, 0, REDIS_BLOB_MAX) == 0 &&
           num_parse_u64(&ret->modified_s, when, 0, UINT64_MAX) == 0;
}

static int set_entry(struct redis_store *s, const struct sha256 *digest, uint64_t bytes,
                     const char *behind, struct fail *reterr)
{
    char key[REDIS_KEY_MAX], hex[SHA256_HEX + 1], entry[64];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    index_key(s, key, digest->b[0]);
    sha256_hex(hex, digest);
    (void)snprintf(entry, sizeof(entry), "%" PRIu64 " %" PRIu64 "%s", bytes, clock_wall_s(),
                   behind);
    int r =
        REDIS_CALL(s->link, &reply, reterr, STR("HSET"), str_of(key), str_of(hex), str_of(entry));
    return r == 0 ? redis_check(reply, REDIS_REPLY_INTEGER, reterr) : r;
}

static int get_entry(struct redis_store *s, const struct sha256 *digest, struct blob_stat *ret,
                     bool *ret_whole, struct fail *reterr)
{
    char key[REDIS_KEY_MAX], hex[SHA256_HEX + 1];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    index_key(s, key, digest->b[0]);
    sha256_hex(hex, digest);
    int r = REDIS_CALL(s->link, &reply, reterr, STR("HGET"), str_of(key), str_of(hex));
    return r != 0 ? r : parse_entry(redis_text(reply), ret, ret_whole) ? 0 : -ENOENT;
}

static int redis_stat(struct blob_store *store, const struct sha256 *digest, struct blob_stat *ret,
                      struct fail *reterr)
{
    struct redis_store *s = of(store);
    char keys[N_CHUNKS][REDIS_KEY_MAX];
    struct str argv[N_CHUNKS + 1] = { STR("EXISTS") };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    bool whole;
    int r = get_entry(s, digest, ret, &whole, reterr);
    if (r != 0 || !whole)
        return r != 0 ? r : -ENOENT;
    unsigned n = chunks_of(ret->bytes);
    for (unsigned i = 0; i < n; i++) {
        chunk_key(s, keys[i], digest, i);
        argv[i + 1] = str_of(keys[i]);
    }
    if (n == 0)
        return 0;
    r = redis_call(s->link, argv, n + 1, &reply, reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_INTEGER, reterr);
    return r == 0 && reply->integer != (long long)n ? -ENOENT : r;
}

/* ---- reading ---- */

/* The chunk from `skip`; the last one may be shorter. */
static int get_chunk(struct redis_store *s, struct blob_get *g, unsigned chunk, size_t skip,
                     struct fail *reterr)
{
    char key[REDIS_KEY_MAX];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    chunk_key(s, key, &g->digest, chunk);
    int r = REDIS_CALL(s->link, &reply, reterr, STR("GET"), str_of(key));
    if (r != 0)
        return r;
    uint64_t rest = g->bytes - chunk * REDIS_CHUNK;
    size_t want = rest < REDIS_CHUNK ? (size_t)rest : REDIS_CHUNK;
    struct str part = redis_text(reply);
    if (reply->type != REDIS_REPLY_STRING)
        return -ENOENT;
    if (g->at_most ? part.n > want : part.n != want)
        return -EBADMSG;
    if (g->stopped && g->stopped(g->ctx))
        return -ECANCELED;
    return g->add(g->ctx, str_sub(part, skip));
}

static int redis_get(struct blob_store *store, struct blob_get *g, struct fail *reterr)
{
    if (g->bytes > REDIS_BLOB_MAX)
        return -ENOENT;
    /* Of unknown size: only what fits in one chunk is asked for so. */
    unsigned n = g->at_most ? 1 : chunks_of(g->bytes);
    int r = 0;
    for (unsigned i = (unsigned)(g->from / REDIS_CHUNK); r == 0 && i < n; i++) {
        uint64_t begins = i * REDIS_CHUNK;
        r = get_chunk(of(store), g, i, g->from > begins ? (size_t)(g->from - begins) : 0, reterr);
    }
    return r;
}

/* ---- writing ---- */

static int set(struct redis_store *s, const char *key, struct str value, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = REDIS_CALL(s->link, &reply, reterr, STR("SET"), str_of(key), value);
    return r == 0 ? redis_check(reply, REDIS_REPLY_STATUS, reterr) : r;
}

static int changed(struct fail *reterr)
{
    return fail_set(reterr, FAIL_conflict, "the file changed while it was published");
}

/* As much as a chunk holds, less only at the end of the file; the bytes read, or negative errno. */
static ssize_t read_chunk(int fd, char *to, uint64_t at)
{
    size_t got = 0;
    while (got < REDIS_CHUNK) {
        ssize_t n = pread(fd, to + got, REDIS_CHUNK - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

struct sending {
    struct redis_store *store;
    const struct sha256 *digest;
    int fd;
    uint64_t bytes;
    char *block; /* REDIS_CHUNK of room */
    struct sha256_stream *sum;
};

/* Reads the file through, and stores its chunks when `send`. FAILED: conflict when it is not what
 * the digest names. */
static int pass(struct sending *p, bool send, struct fail *reterr)
{
    char key[REDIS_KEY_MAX];
    uint64_t at = 0;
    for (unsigned i = 0; i <= chunks_of(p->bytes); i++) { /* one more: nothing follows */
        ssize_t n = read_chunk(p->fd, p->block, at);
        if (n < 0)
            return fail_set(reterr, FAIL_conflict, "the file cannot be read: %s",
                            strerror((int)-n));
        if (n == 0)
            break;
        sha256_add(p->sum, p->block, (size_t)n);
        at += (uint64_t)n;
        if (at > p->bytes)
            return changed(reterr);
        chunk_key(p->store, key, p->digest, i);
        int r = send ? set(p->store, key, (struct str){ p->block, (size_t)n }, reterr) : 0;
        if (r != 0)
            return r;
    }
    struct sha256 is = sha256_end(p->sum);
    return at == p->bytes && sha256_eq(&is, p->digest) ? 0 : changed(reterr);
}

/* It is read twice, so that nothing is overwritten by a file that has changed. The entry comes
 * first, for who collects garbage, and again when all is there. */
static int redis_put(struct blob_store *store, const struct sha256 *digest, int fd, uint64_t bytes,
                     struct fail *reterr)
{
    CLEANUP(own_free) char *block = malloc(REDIS_CHUNK);
    CLEANUP(sha256_freep) struct sha256_stream *sum = NULL;
    int r = block ? sha256_new(&sum) : -ENOMEM;
    if (r < 0)
        return r;
    struct sending p = { of(store), digest, fd, bytes, block, sum };
    r = pass(&p, /* send= */ false, reterr);
    if (r == 0)
        r = set_entry(of(store), digest, bytes, UNFINISHED, reterr);
    if (r == 0)
        r = pass(&p, /* send= */ true, reterr);
    return r == 0 ? set_entry(of(store), digest, bytes, "", reterr) : r;
}

/* The entry goes last: what is left of a removal that broke off is still listed. */
static int redis_remove(struct blob_store *store, const struct sha256 *digest, struct fail *reterr)
{
    struct redis_store *s = of(store);
    char keys[N_CHUNKS][REDIS_KEY_MAX], key[REDIS_KEY_MAX], hex[SHA256_HEX + 1];
    struct str argv[N_CHUNKS + 1] = { STR("UNLINK") };
    CLEANUP(redis_reply_free) redisReply *reply = NULL, *entry = NULL;
    for (unsigned i = 0; i < N_CHUNKS; i++) {
        chunk_key(s, keys[i], digest, i);
        argv[i + 1] = str_of(keys[i]);
    }
    int r = redis_call(s->link, argv, ARRAY_LEN(argv), &reply, reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_INTEGER, reterr);
    if (r != 0)
        return r;
    index_key(s, key, digest->b[0]);
    sha256_hex(hex, digest);
    r = REDIS_CALL(s->link, &entry, reterr, STR("HDEL"), str_of(key), str_of(hex));
    return r == 0 ? redis_check(entry, REDIS_REPLY_INTEGER, reterr) : r;
}

/* ---- listing: a bucket of the index and Redis's own cursor in it ---- */

static void list_entries(const redisReply *fields, struct blob_page *page)
{
    for (size_t i = 0; i + 1 < fields->elements && page->n < BLOB_PAGE; i += 2) {
        struct blob_listed *item = &page->items[page->n];
        bool whole;
        if (sha256_parse(&item->digest, redis_text(fields->element[i])) == 0 &&
            parse_entry(redis_text(fields->element[i + 1]), &item->stat, &whole))
            page->n++;
    }
}

static int redis_list(struct blob_store *store, struct blob_page *page, struct fail *reterr)
{
    struct redis_store *s = of(store);
    char key[REDIS_KEY_MAX];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct str bucket_text = STR("0"), cursor = STR("0");
    uint64_t bucket;
    if (page->cursor[0])
        (void)str_cut(str_of(page->cursor), '/', &bucket_text, &cursor);
    if (num_parse_u64(&bucket, bucket_text, 0, N_BUCKETS - 1) < 0)
        return -EINVAL;
    index_key(s, key, (unsigned)bucket);
    page->n = 0;
    int r = REDIS_CALL(s->link, &reply, reterr, STR("HSCAN"), str_of(key), cursor, STR("COUNT"),
                       STR(SCAN_COUNT));
    if (r != 0 || (r = redis_check(reply, REDIS_REPLY_ARRAY, reterr)) != 0)
        return r;
    if (reply->elements != 2 || reply->element[1]->type != REDIS_REPLY_ARRAY)
        return redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
    struct str next = redis_text(reply->element[0]);
    bool over = next.n == 0 || str_is(next, "0");
    page->last = over && bucket == N_BUCKETS - 1;
    (void)snprintf(page->cursor, sizeof(page->cursor), "%u/%.*s", (unsigned)bucket + over,
                   STR_ARG(over ? STR("0") : str_head(next, 32)));
    list_entries(reply->element[1], page);
    return 0;
}

/* ---- life ---- */

static struct blob_store *redis_free(struct blob_store *store)
{
    struct redis_store *s = of(store);
    (void)redis_link_free(s->link);
    free(s);
    return NULL;
}

static const struct blob_store_ops redis_ops = {
    .stat = redis_stat,
    .get = redis_get,
    .put = redis_put,
    .remove = redis_remove,
    .list = redis_list,
    .free = redis_free,
};

int blob_store_redis(struct blob_store **ret, struct redis_link *link,
                     const struct redis_keys *keys)
{
    struct redis_store *s = calloc(1, sizeof(*s));
    if (!s) {
        (void)redis_link_free(link);
        return -ENOMEM;
    }
    s->store.ops = &redis_ops;
    s->store.max_bytes = REDIS_BLOB_MAX;
    (void)snprintf(s->store.name, sizeof(s->store.name), "Redis");
    s->link = link;
    s->keys = *keys;
    *ret = &s->store;
    return 0;
}
