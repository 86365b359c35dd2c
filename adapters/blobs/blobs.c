#include "adapters/blobs/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "adapters/blobs/download.h"
#include "adapters/folder.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"

#define MAX_STORES 8
/* What was stored longer ago is stored anew, so that a collection of garbage, which spares what is
 * young, does not take it before the catalog names it. */
#define FRESH_S 3600

struct blobs {
    struct blob_store *stores[MAX_STORES]; /* owned */
    size_t n_stores;
    struct blobs_pace pace; /* of what is staged */
    char folder[PATH_MAX];
    uint64_t max_bytes;
    pthread_mutex_t lock; /* of the cache's opening */
    struct blob_cache *cache;
};

struct held { /* a staged revision's holds */
    struct manifest manifest;
};

int blobs_cache(struct blobs *b, struct blob_cache **ret, struct fail *reterr)
{
    LOCKED(&b->lock); /* held over I/O: once, and everybody needs what it opens */
    int r = b->cache ? 0 : blob_cache_open(&b->cache, b->folder, b->max_bytes, reterr);
    if (r == 0)
        *ret = b->cache;
    return r;
}

/* ---- storing ---- */

static int add_to_cache(struct blob_cache *c, int fd, const struct sha256 *digest, uint64_t bytes)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    CLEANUP(own_free) char *block = malloc(MIB);
    int r = block ? blob_writer_new(&w, c, digest, bytes) : -ENOMEM;
    for (uint64_t at = 0; r == 0;) {
        ssize_t n = pread(fd, block, MIB, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        r = blob_writer_add(w, (struct str){ block, (size_t)n });
        at += (uint64_t)n;
    }
    return r == 0 ? blob_writer_end(w) : r;
}

/* What no store takes stays in the cache, whose folder gateways then share. */
static int store_in_cache(struct blobs *b, int fd, const struct manifest_file *f,
                          struct fail *reterr)
{
    struct blob_cache *c;
    int r = blobs_cache(b, &c, reterr);
    if (r != 0)
        return r;
    if (blob_cache_hold(c, &f->digest) < 0)
        r = add_to_cache(c, fd, &f->digest, f->bytes);
    if (r == -EBADMSG)
        return fail_set(reterr, FAIL_conflict, "%.60s changed while it was published", f->name);
    if (r < 0)
        return fail_set(reterr, FAIL_internal_error, "storing %.60s in the blob cache: %s", f->name,
                        strerror(-r));
    blob_cache_release(c, &f->digest);
    return 0;
}

static struct blob_store *store_for(const struct blobs *b, uint64_t bytes)
{
    for (size_t i = 0; i < b->n_stores; i++) {
        struct blob_store *s = b->stores[i];
        if (s->ops->put && (s->max_bytes == 0 || bytes <= s->max_bytes))
            return s;
    }
    return NULL;
}

static bool can_write(const struct blobs *b)
{
    bool can = false;
    for (size_t i = 0; i < b->n_stores; i++)
        can |= b->stores[i]->ops->put != NULL;
    return can || b->n_stores == 0;
}

static int put(struct blob_store *s, int fd, const struct sha256 *digest, uint64_t bytes,
               struct fail *reterr)
{
    struct blob_stat st;
    struct retry retry = { 0 };
    struct fail why;
    for (;;) {
        int r = s->ops->stat(s, digest, &st, &why);
        if (r == 0 && st.bytes == bytes && st.modified_s + FRESH_S > clock_wall_s())
            return 0;
        if (r == 0 || r == -ENOENT)
            r = s->ops->put(s, digest, fd, bytes, &why);
        if (r == FAILED && retry_again(&retry, &why, NULL))
            continue;
        if (r == FAILED && reterr)
            *reterr = why;
        return r;
    }
}

static int store_file(struct blobs *b, const char *path, const struct manifest_file *f,
                      struct fail *reterr)
{
    struct blob_store *s = store_for(b, f->bytes);
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter, "%.200s: %s", path, strerror(errno));
    return s ? put(s, fd, &f->digest, f->bytes, reterr) : store_in_cache(b, fd, f, reterr);
}

static int store_manifest(struct blobs *b, const struct manifest *m, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(MANIFEST_MAX);
    struct manifest_file f = { .name = "manifest", .digest = manifest_digest(m) };
    manifest_print(m, &text);
    if (buf_err(&text) < 0)
        return buf_err(&text);
    CLEANUP(own_close) int fd = memfd_create("manifest", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, text.p, text.n, 0) != (ssize_t)text.n)
        return -errno;
    f.bytes = text.n;
    struct blob_store *s = store_for(b, text.n);
    return s ? put(s, fd, &f.digest, f.bytes, reterr) : store_in_cache(b, fd, &f, reterr);
}

int blobs_store_revision(struct blobs *b, const struct revision_source *s, const struct manifest *m,
                         struct fail *reterr)
{
    if (!can_write(b))
        return fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                          "none of adapters.blobs.store can be written; name one that can, or put "
                          "the files there and import");
    for (size_t i = 0; i < m->n; i++) {
        int r = store_file(b, s->files[i].path, &m->files[i], reterr);
        if (r != 0)
            return r;
    }
    return store_manifest(b, m, reterr);
}

/* ---- manifests ---- */

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

static void keep_manifest(struct blob_cache *c, struct str text, const struct sha256 *digest)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    if (blob_writer_new(&w, c, digest, text.n) == 0 && blob_writer_add(w, text) == 0 &&
        blob_writer_end(w) == 0)
        blob_cache_release(c, digest);
}

int blobs_read_manifest(struct blobs *b, const struct sha256 *revision,
                        const struct blobs_pace *pace, struct manifest *ret,
                        enum residency *ret_from, struct fail *reterr)
{
    struct blob_cache *c;
    char hex[SHA256_HEX + 1];
    CLEANUP(buf_done) struct buf text = BUF_INIT(MANIFEST_MAX + 1);
    int r = blobs_cache(b, &c, reterr);
    if (r != 0 || cached_manifest(c, revision, ret) == 0)
        return r;
    *ret_from = RESIDENCY_cold;
    sha256_hex(hex, revision);
    r = download_small(b->stores, b->n_stores, revision, pace, &text, reterr);
    if (r == 0 && manifest_parse(ret, buf_str(&text)) < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "what is stored as revision %.12s is no manifest of one", hex);
    if (r == -ENOENT)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the manifest of revision %.12s is missing: it is in no store (%s); push "
                        "the revision again",
                        hex, b->n_stores ? b->stores[0]->name : "none is configured");
    if (r == -EBADMSG)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the manifest of revision %.12s is damaged in every store; push the "
                        "revision again",
                        hex);
    if (r == 0)
        keep_manifest(c, buf_str(&text), revision);
    return r;
}

/* ---- fetching ---- */

static int cannot_fetch(struct blobs *b, const struct manifest_file *f, int r, struct fail *reterr)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &f->digest);
    if (r == -ENOENT)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the file %.60s (sha256 %s, %" PRIu64 " bytes) is neither in the blob "
                        "cache nor in a store; push the revision again, or share the cache's "
                        "folder",
                        f->name, hex, f->bytes);
    if (r == -EBADMSG)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the file %.60s is damaged in every store that has it: its digest is not "
                        "its name",
                        f->name);
    if (r == -ECANCELED)
        return fail_set(reterr, FAIL_timeout, "fetching %.60s was broken off", f->name);
    if (r < 0 && r != -ENOMEM)
        return fail_set(reterr, FAIL_internal_error, "adapters.blobs.cache %.160s: %s", b->folder,
                        strerror(-r));
    return r;
}

static void release_files(struct blob_cache *c, const struct manifest *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        blob_cache_release(c, &m->files[i].digest);
}

static int hold_files(struct blobs *b, struct blob_cache *c, const struct manifest *m,
                      const struct blobs_pace *pace, enum residency *from, struct fail *reterr)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct manifest_file *f = &m->files[i];
        if (blob_cache_hold(c, &f->digest) == 0)
            continue;
        *from = RESIDENCY_cold;
        int r = download(b->stores, b->n_stores, c, &f->digest, f->bytes, pace, reterr);
        if (r != 0) {
            release_files(c, m, i);
            return cannot_fetch(b, f, r, reterr);
        }
    }
    return 0;
}

int blobs_fetch_revision(struct blobs *b, const struct sha256 *revision,
                         const struct blobs_pace *pace, struct manifest *ret,
                         enum residency *ret_from, struct fail *reterr)
{
    struct blob_cache *c;
    *ret_from = RESIDENCY_disk;
    int r = blobs_cache(b, &c, reterr);
    if (r == 0)
        r = blobs_read_manifest(b, revision, pace, ret, ret_from, reterr);
    return r == 0 ? hold_files(b, c, ret, pace, ret_from, reterr) : r;
}

void blobs_release_revision(struct blobs *b, const struct manifest *m)
{
    release_files(b->cache, m, m->n);
}

/* ---- staging ---- */

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

int blobs_stage(struct blobs *b, const struct adapter_revision *rev, struct stage *ret,
                struct fail *reterr)
{
    CLEANUP(own_free) struct held *h = calloc(1, sizeof(*h));
    struct stage s = { 0 };
    if (!h)
        return -ENOMEM;
    int r = blobs_fetch_revision(b, &rev->digest, &b->pace, &h->manifest, &s.from, reterr);
    if (r != 0)
        return r;
    if ((r = link_files(b->cache, &h->manifest, &s.folder, reterr)) != 0) {
        blobs_release_revision(b, &h->manifest);
        return r;
    }
    s.held = TAKE(h);
    *ret = s;
    return 0;
}

void blobs_unstage(struct blobs *b, struct stage *s)
{
    struct held *h = s->held;
    folder_remove(s->folder);
    blobs_release_revision(b, &h->manifest);
    free(s->folder);
    free(h);
    *s = (struct stage){ 0 };
}

/* ---- life ---- */

void blobs_set_pace(struct blobs *b, const struct blobs_pace *pace)
{
    b->pace = *pace;
}

size_t blobs_n_stores(const struct blobs *b)
{
    return b->n_stores;
}

struct blob_store *blobs_store_at(const struct blobs *b, size_t i)
{
    return b->stores[i];
}

static int open_stores(struct blobs *b, const struct config_blobs *c, struct blob_store **own,
                       struct fail *reterr)
{
    if (c->stores.n > MAX_STORES)
        return -E2BIG;
    for (size_t i = 0; i < c->stores.n; i++) {
        struct str url = c->stores.items[i];
        struct blob_store *s = NULL;
        int r = 0;
        if (!str_is(url, "redis"))
            r = blob_store_open(&s, url, c, reterr);
        else if (!(s = TAKE(*own)))
            r = fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                           "adapters.blobs.store: redis is named twice, or the catalog is none");
        if (r != 0)
            return r;
        b->stores[b->n_stores++] = s;
    }
    if (c->stores.n == 0 && *own)
        b->stores[b->n_stores++] = TAKE(*own);
    return 0;
}

int blobs_open(struct blobs **ret, const struct config_adapters *c, struct blob_store *own,
               struct fail *reterr)
{
    CLEANUP(blob_store_freep) struct blob_store *mine = own;
    CLEANUP(blobs_freep) struct blobs *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->max_bytes = c->blob_max_bytes;
    (void)pthread_mutex_init(&b->lock, NULL);
    if (snprintf(b->folder, sizeof(b->folder), "%.*s", STR_ARG(c->blob_cache)) >= PATH_MAX)
        return -ENAMETOOLONG;
    int r = open_stores(b, &c->blobs, &mine, reterr);
    if (r != 0)
        return r;
    *ret = TAKE(b);
    return 0;
}

struct blobs *blobs_free(struct blobs *b)
{
    if (!b)
        return NULL;
    (void)blob_cache_free(b->cache);
    for (size_t i = 0; i < b->n_stores; i++)
        (void)blob_store_free(b->stores[i]);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
    return NULL;
}
