#include "adapters/redis_blobs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "base/file.h"
#include "base/num.h"
#include "base/thread.h"

struct redis_blobs {
    struct redis_link *link; /* owned */
    struct redis_keys keys;
    char folder[PATH_MAX];
    uint64_t max_bytes;
    pthread_mutex_t lock; /* of the cache's opening */
    struct blob_cache *cache;
};

struct held { /* a staged revision's holds */
    size_t n;
    struct sha256 blobs[LIMIT_ADAPTER_FILES];
};

static int cache_of(struct redis_blobs *b, struct blob_cache **ret, struct fail *reterr)
{
    LOCKED(&b->lock); /* held over I/O: once, and everybody needs what it opens */
    int r = b->cache ? 0 : blob_cache_open(&b->cache, b->folder, b->max_bytes, reterr);
    if (r == 0)
        *ret = b->cache;
    return r;
}

static void blob_key(const struct redis_blobs *b, char ret[static REDIS_KEY_MAX],
                     const struct sha256 *d, int chunk) /* chunk -1: the record that names them */
{
    char name[SHA256_HEX + 16];
    sha256_hex(name, d);
    if (chunk >= 0)
        (void)snprintf(name + SHA256_HEX, sizeof(name) - SHA256_HEX, ":%d", chunk);
    redis_key(&b->keys, ret, "b:", str_of(name));
}

/* ---- storing ---- */

static unsigned chunks_of(uint64_t bytes)
{
    return (unsigned)((bytes + REDIS_CHUNK - 1) / REDIS_CHUNK);
}

/* Every chunk and the record are there: same digest, same content. */
static int is_stored(struct redis_blobs *b, const struct manifest_file *f, bool *ret,
                     struct fail *reterr)
{
    char keys[REDIS_BLOB_MAX / REDIS_CHUNK + 1][REDIS_KEY_MAX];
    struct str argv[ARRAY_LEN(keys) + 1] = { STR("EXISTS") };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    unsigned n = chunks_of(f->bytes);
    for (unsigned i = 0; i <= n; i++) {
        blob_key(b, keys[i], &f->digest, (int)i - 1);
        argv[i + 1] = str_of(keys[i]);
    }
    int r = redis_call(b->link, argv, n + 2, &reply, reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_INTEGER, reterr);
    if (r == 0)
        *ret = reply->integer == (long long)n + 1;
    return r;
}

static int set(struct redis_blobs *b, const char *key, struct str value, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = REDIS_CALL(b->link, &reply, reterr, STR("SET"), str_of(key), value);
    return r == 0 ? redis_check(reply, REDIS_REPLY_STATUS, reterr) : r;
}

static int store_in_redis(struct redis_blobs *b, const char *path, const struct manifest_file *f,
                          struct fail *reterr)
{
    CLEANUP(file_unmap) struct file_map m = { 0 };
    char key[REDIS_KEY_MAX], record[32];
    bool there = false;
    int r = is_stored(b, f, &there, reterr);
    if (r != 0 || there)
        return r;
    if ((r = file_map(&m, path)) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", path, strerror(-r));
    struct sha256 is = sha256_of((struct str){ (const char *)m.p, m.n });
    if (!sha256_eq(&is, &f->digest))
        return fail_set(reterr, FAIL_conflict, "%.200s changed while it was published", path);
    for (unsigned i = 0; r == 0 && i < chunks_of(m.n); i++) {
        struct str rest = { (const char *)m.p + i * REDIS_CHUNK, m.n - i * REDIS_CHUNK };
        blob_key(b, key, &f->digest, (int)i);
        r = set(b, key, str_head(rest, REDIS_CHUNK), reterr);
    }
    if (r != 0)
        return r;
    blob_key(b, key, &f->digest, -1);
    (void)snprintf(record, sizeof(record), "%" PRIu64, f->bytes);
    return set(b, key, str_of(record), reterr);
}

static int add_to_cache(struct blob_cache *c, struct str content, const struct sha256 *digest)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    int r = blob_writer_new(&w, c, digest, content.n);
    if (r == 0)
        r = blob_writer_add(w, content);
    return r == 0 ? blob_writer_end(w) : r;
}

static int store_in_cache(struct redis_blobs *b, const char *path, const struct manifest_file *f,
                          struct fail *reterr)
{
    CLEANUP(file_unmap) struct file_map m = { 0 };
    struct blob_cache *c;
    int r = cache_of(b, &c, reterr);
    if (r != 0)
        return r;
    if (blob_cache_hold(c, &f->digest) < 0) {
        if ((r = file_map(&m, path)) == 0)
            r = add_to_cache(c, (struct str){ (const char *)m.p, m.n }, &f->digest);
        if (r < 0)
            return fail_set(reterr, FAIL_internal_error, "storing %.200s: %s", path, strerror(-r));
    }
    blob_cache_release(c, &f->digest);
    return 0;
}

int redis_blobs_store(struct redis_blobs *b, const struct revision_source *s,
                      const struct manifest *m, struct fail *reterr)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct manifest_file *f = &m->files[i];
        int r = f->bytes <= REDIS_BLOB_MAX ? store_in_redis(b, s->files[i].path, f, reterr)
                                           : store_in_cache(b, s->files[i].path, f, reterr);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- fetching ---- */

static int missing(struct fail *reterr, const struct manifest_file *f)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &f->digest);
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "the file %.60s (sha256 %s, %" PRIu64 " bytes) is neither in the blob cache "
                    "nor in Redis; push the revision again, or share the cache's folder",
                    f->name, hex, f->bytes);
}

static int fetch_chunks(struct redis_blobs *b, const struct manifest_file *f, struct blob_writer *w,
                        struct fail *reterr)
{
    for (unsigned i = 0; i < chunks_of(f->bytes); i++) {
        char key[REDIS_KEY_MAX];
        CLEANUP(redis_reply_free) redisReply *reply = NULL;
        blob_key(b, key, &f->digest, (int)i);
        int r = REDIS_CALL(b->link, &reply, reterr, STR("GET"), str_of(key));
        if (r != 0)
            return r;
        if (reply->type != REDIS_REPLY_STRING)
            return missing(reterr, f);
        if ((r = blob_writer_add(w, redis_text(reply))) < 0)
            return r;
    }
    return 0;
}

static int fetch(struct redis_blobs *b, struct blob_cache *c, const struct manifest_file *f,
                 struct fail *reterr)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    if (f->bytes > REDIS_BLOB_MAX)
        return missing(reterr, f);
    int r = blob_writer_new(&w, c, &f->digest, f->bytes);
    if (r == 0)
        r = fetch_chunks(b, f, w, reterr);
    if (r == 0)
        r = blob_writer_end(w);
    if (r == -EBADMSG)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the file %.60s in Redis is damaged: its digest is not its name", f->name);
    if (r < 0 && r != -ENOMEM)
        return fail_set(reterr, FAIL_internal_error, "adapters.blobs.cache %.160s: %s", b->folder,
                        strerror(-r));
    return r;
}

/* The manifest text lies in the cache under the revision's digest, which is its own. */
static int cached_manifest(struct blob_cache *c, const struct sha256 *digest, struct manifest *ret)
{
    char path[PATH_MAX];
    CLEANUP(own_free) char *text = NULL;
    size_t n;
    int r = blob_cache_hold(c, digest);
    if (r < 0)
        return r;
    r = blob_cache_path(c, digest, path);
    if (r == 0)
        r = file_read(&text, &n, path, MANIFEST_MAX);
    if (r == 0)
        r = manifest_parse(ret, (struct str){ text, n });
    blob_cache_release(c, digest);
    return r;
}

static int get_manifest(struct redis_blobs *b, struct blob_cache *c, const struct sha256 *digest,
                        struct manifest *ret, enum residency *from, struct fail *reterr)
{
    char hex[SHA256_HEX + 1], key[REDIS_KEY_MAX];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    if (cached_manifest(c, digest, ret) == 0)
        return 0;
    *from = RESIDENCY_cold;
    sha256_hex(hex, digest);
    redis_key(&b->keys, key, "m:", str_of(hex));
    int r = REDIS_CALL(b->link, &reply, reterr, STR("GET"), str_of(key));
    if (r != 0)
        return r;
    struct sha256 is = sha256_of(redis_text(reply));
    if (!sha256_eq(&is, digest) || manifest_parse(ret, redis_text(reply)) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the manifest of revision %.12s in Redis is %s", hex,
                        reply->type == REDIS_REPLY_NIL ? "missing" : "damaged");
    if (add_to_cache(c, redis_text(reply), digest) == 0)
        blob_cache_release(c, digest);
    return 0;
}

static void release(struct blob_cache *c, struct held *h)
{
    for (size_t i = 0; i < h->n; i++)
        blob_cache_release(c, &h->blobs[i]);
    h->n = 0;
}

static int hold_files(struct redis_blobs *b, struct blob_cache *c, const struct manifest *m,
                      struct held *h, enum residency *from, struct fail *reterr)
{
    for (size_t i = 0; i < m->n; i++) {
        if (blob_cache_hold(c, &m->files[i].digest) < 0) {
            *from = RESIDENCY_cold;
            int r = fetch(b, c, &m->files[i], reterr);
            if (r != 0)
                return r;
        }
        h->blobs[h->n++] = m->files[i].digest;
    }
    return 0;
}

static int link_files(struct blob_cache *c, const struct manifest *m, char **ret_folder,
                      struct fail *reterr)
{
    char folder[PATH_MAX];
    int r = blob_cache_stage(c, folder);
    for (size_t i = 0; r == 0 && i < m->n; i++)
        if ((r = blob_cache_link(c, &m->files[i].digest, folder, m->files[i].name)) < 0)
            folder_remove(folder);
    if (r == 0 && !(*ret_folder = str_dup(str_of(folder)))) {
        folder_remove(folder);
        return -ENOMEM;
    }
    if (r < 0)
        return fail_set(reterr, FAIL_internal_error, "adapters.blobs.cache: %s", strerror(-r));
    return 0;
}

int redis_blobs_stage(struct redis_blobs *b, const struct adapter_revision *rev, struct stage *ret,
                      struct fail *reterr)
{
    struct blob_cache *c;
    struct manifest m = { 0 };
    struct stage s = { .from = RESIDENCY_disk };
    int r = cache_of(b, &c, reterr);
    if (r != 0 || (r = get_manifest(b, c, &rev->digest, &m, &s.from, reterr)) != 0)
        return r;
    CLEANUP(own_free) struct held *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    r = hold_files(b, c, &m, h, &s.from, reterr);
    if (r == 0)
        r = link_files(c, &m, &s.folder, reterr);
    if (r != 0) {
        release(c, h);
        return r;
    }
    s.held = TAKE(h);
    *ret = s;
    return 0;
}

void redis_blobs_unstage(struct redis_blobs *b, struct stage *s)
{
    folder_remove(s->folder);
    release(b->cache, s->held);
    free(s->folder);
    free(s->held);
    *s = (struct stage){ 0 };
}

/* ---- life ---- */

int redis_blobs_new(struct redis_blobs **ret, struct redis_link *link,
                    const struct redis_keys *keys, struct str cache, uint64_t max_bytes)
{
    struct redis_blobs *b = calloc(1, sizeof(*b));
    if (!b) {
        (void)redis_link_free(link);
        return -ENOMEM;
    }
    b->link = link;
    b->keys = *keys;
    b->max_bytes = max_bytes;
    (void)pthread_mutex_init(&b->lock, NULL);
    if (snprintf(b->folder, sizeof(b->folder), "%.*s", STR_ARG(cache)) >= PATH_MAX) {
        (void)redis_blobs_free(b);
        return -ENAMETOOLONG;
    }
    *ret = b;
    return 0;
}

struct redis_blobs *redis_blobs_free(struct redis_blobs *b)
{
    if (!b)
        return NULL;
    (void)blob_cache_free(b->cache);
    (void)redis_link_free(b->link);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
    return NULL;
}
