#include "adapters/blob_cache.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/thread.h"

#define LEFTOVER_S 3600 /* a temporary file of this age belongs to nobody */

struct blob {
    struct blob *next;          /* of the bucket */
    struct blob *older, *newer; /* order of use */
    struct sha256 digest;
    uint64_t bytes;
    int64_t used_ns; /* at the scan, for its order */
    unsigned held;
    bool verified;
};

enum { N_BUCKETS = 4096 };

struct blob_cache {
    char folder[PATH_MAX];
    uint64_t max_bytes;
    pthread_mutex_t lock;
    struct blob *buckets[N_BUCKETS];
    struct blob *oldest, *newest;
    uint64_t bytes;
};

/* ---- index (under the lock) ---- */

static struct blob **bucket_of(struct blob_cache *c, const struct sha256 *d)
{
    return &c->buckets[(d->b[0] << 4 | d->b[1] >> 4) & (N_BUCKETS - 1)];
}

static struct blob *find(struct blob_cache *c, const struct sha256 *d)
{
    struct blob *b = *bucket_of(c, d);
    while (b && !sha256_eq(&b->digest, d))
        b = b->next;
    return b;
}

static void unlink_use(struct blob_cache *c, struct blob *b)
{
    *(b->older ? &b->older->newer : &c->oldest) = b->newer;
    *(b->newer ? &b->newer->older : &c->newest) = b->older;
    b->older = b->newer = NULL;
}

static void append_use(struct blob_cache *c, struct blob *b)
{
    b->older = c->newest;
    b->newer = NULL;
    *(c->newest ? &c->newest->newer : &c->oldest) = b;
    c->newest = b;
}

static struct blob *enter(struct blob_cache *c, const struct sha256 *d, uint64_t bytes)
{
    struct blob *b = calloc(1, sizeof(*b)), **at = bucket_of(c, d);
    if (!b)
        return NULL;
    b->digest = *d;
    b->bytes = bytes;
    b->next = *at;
    *at = b;
    append_use(c, b);
    c->bytes += bytes;
    return b;
}

static void forget(struct blob_cache *c, struct blob *b)
{
    struct blob **at = bucket_of(c, &b->digest);
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    unlink_use(c, b);
    c->bytes -= b->bytes;
    free(b);
}

int blob_cache_path(const struct blob_cache *c, const struct sha256 *digest,
                    char ret[static PATH_MAX])
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, digest);
    int n = snprintf(ret, PATH_MAX, "%s/sha256/%.2s/%s", c->folder, hex, hex);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Removal is one unlink, so it may happen under the lock: nobody can take a hold in between. */
static void trim(struct blob_cache *c)
{
    for (struct blob *b = c->oldest, *newer; b && c->bytes > c->max_bytes; b = newer) {
        char path[PATH_MAX];
        newer = b->newer;
        if (b->held)
            continue;
        if (blob_cache_path(c, &b->digest, path) == 0)
            (void)unlink(path);
        forget(c, b);
    }
}

/* ---- opening ---- */

static int by_use(const void *a, const void *b)
{
    const struct blob *x = *(struct blob *const *)a, *y = *(struct blob *const *)b;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

static int order_by_use(struct blob_cache *c)
{
    size_t n = 0;
    for (struct blob *b = c->oldest; b; b = b->newer)
        n++;
    CLEANUP(own_free) struct blob **all = malloc((n ? n : 1) * sizeof(struct blob *));
    if (!all)
        return -ENOMEM;
    n = 0;
    for (struct blob *b = c->oldest; b; b = b->newer)
        all[n++] = b;
    qsort(all, n, sizeof(struct blob *), by_use);
    c->oldest = c->newest = NULL;
    for (size_t i = 0; i < n; i++)
        append_use(c, all[i]);
    return 0;
}

static int scan_folder(struct blob_cache *c, int shard)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/sha256/%02x", c->folder, (unsigned)shard);
    if (n >= (int)sizeof(path))
        return -ENAMETOOLONG;
    DIR *d = opendir(path);
    int r = d || errno == ENOENT ? 0 : -errno;
    for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
        struct sha256 digest;
        struct stat st;
        if (sha256_parse(&digest, str_of(e->d_name)) < 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        struct blob *b = enter(c, &digest, (uint64_t)st.st_size);
        if (b)
            b->used_ns = st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
        else
            r = -ENOMEM;
    }
    if (d)
        (void)closedir(d);
    return r;
}

static void remove_leftovers(const char *folder)
{
    DIR *d = opendir(folder);
    uint64_t now_s = clock_wall_s();
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        char path[PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (e->d_name[0] == '.' || n >= (int)sizeof(path) || lstat(path, &st) < 0 ||
            (uint64_t)st.st_mtime + LEFTOVER_S > now_s)
            continue;
        if (S_ISDIR(st.st_mode))
            folder_remove(path);
        else
            (void)unlink(path);
    }
    if (d)
        (void)closedir(d);
}

static int prepare(struct blob_cache *c, const char *folder)
{
    char path[PATH_MAX];
    int n = snprintf(c->folder, sizeof(c->folder), "%s", folder);
    if (n < 0 || n >= PATH_MAX - 128)
        return -ENAMETOOLONG;
    static const char *const parts[] = { "sha256", "tmp", "stage" };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, parts[i]);
        int r = file_make_dirs(path);
        if (r < 0)
            return r;
        if (i > 0)
            remove_leftovers(path);
    }
    for (int shard = 0; shard < 256; shard++) {
        int r = scan_folder(c, shard);
        if (r < 0)
            return r;
    }
    return order_by_use(c);
}

int blob_cache_open(struct blob_cache **ret, const char *folder, uint64_t max_bytes,
                    struct fail *reterr)
{
    CLEANUP(blob_cache_freep) struct blob_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    (void)pthread_mutex_init(&c->lock, NULL);
    c->max_bytes = max_bytes;
    int r = prepare(c, folder);
    if (r < 0)
        return fail_set(reterr, FAIL_internal_error, "adapters.blobs.cache %.160s: %s", folder,
                        strerror(-r));
    trim(c);
    *ret = TAKE(c);
    return 0;
}

struct blob_cache *blob_cache_free(struct blob_cache *c)
{
    if (!c)
        return NULL;
    while (c->oldest) {
        assert(!c->oldest->held);
        forget(c, c->oldest);
    }
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    return NULL;
}

uint64_t blob_cache_bytes(struct blob_cache *c)
{
    LOCKED(&c->lock);
    return c->bytes;
}

/* ---- use ---- */

void blob_cache_release(struct blob_cache *c, const struct sha256 *digest)
{
    LOCKED(&c->lock);
    struct blob *b = find(c, digest);
    assert(b && b->held);
    b->held--;
    trim(c);
}

/* Takes a hold when the index, or the disk through another process's work, has the blob. */
static int take_hold(struct blob_cache *c, const struct sha256 *digest, uint64_t bytes,
                     bool *ret_verified)
{
    LOCKED(&c->lock);
    struct blob *b = find(c, digest);
    if (!b && !(b = enter(c, digest, bytes)))
        return -ENOMEM;
    if (b->bytes != bytes) { /* replaced behind our back */
        c->bytes += bytes - b->bytes;
        b->bytes = bytes;
        b->verified = false;
    }
    unlink_use(c, b);
    append_use(c, b);
    b->held++;
    *ret_verified = b->verified;
    return 0;
}

static void settle(struct blob_cache *c, const struct sha256 *digest, bool good)
{
    LOCKED(&c->lock);
    struct blob *b = find(c, digest);
    assert(b && b->held);
    b->verified = good;
    if (!good && --b->held == 0)
        forget(c, b);
}

static void drop_index(struct blob_cache *c, const struct sha256 *digest)
{
    LOCKED(&c->lock);
    struct blob *b = find(c, digest);
    if (b && !b->held)
        forget(c, b);
}

int blob_cache_hold(struct blob_cache *c, const struct sha256 *digest)
{
    char path[PATH_MAX];
    struct stat st;
    struct sha256 is;
    bool verified;
    int r = blob_cache_path(c, digest, path);
    if (r < 0)
        return r;
    if (stat(path, &st) < 0) {
        r = -errno;
        drop_index(c, digest);
        return r;
    }
    if ((r = take_hold(c, digest, (uint64_t)st.st_size, &verified)) < 0)
        return r;
    if (!verified) {
        r = sha256_file(&is, path);
        bool good = r == 0 && sha256_eq(&is, digest);
        if (r == 0 && !good)
            (void)unlink(path);
        settle(c, digest, good);
        if (!good)
            return -ENOENT;
    }
    (void)utimensat(AT_FDCWD, path, NULL, 0); /* so that the order of use survives a restart */
    return 0;
}

/* ---- writing ---- */

struct blob_writer {
    struct blob_cache *cache; /* borrowed */
    struct sha256 digest;
    uint64_t bytes, written;
    struct sha256_stream *sum;
    int fd;
    char path[PATH_MAX]; /* of the temporary file; "" once renamed */
};

int blob_writer_new(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                    uint64_t bytes)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->cache = c;
    w->digest = *digest;
    w->bytes = bytes;
    w->fd = -1;
    int r = sha256_new(&w->sum);
    if (r < 0)
        return r;
    if (snprintf(w->path, sizeof(w->path), "%s/tmp/blob-XXXXXX", c->folder) >= PATH_MAX) {
        w->path[0] = '\0';
        return -ENAMETOOLONG;
    }
    w->fd = mkostemp(w->path, O_CLOEXEC);
    if (w->fd < 0) {
        w->path[0] = '\0';
        return -errno;
    }
    *ret = TAKE(w);
    return 0;
}

struct blob_writer *blob_writer_free(struct blob_writer *w)
{
    if (!w)
        return NULL;
    own_close(&w->fd);
    if (w->path[0])
        (void)unlink(w->path);
    (void)sha256_free(w->sum);
    free(w);
    return NULL;
}

int blob_writer_add(struct blob_writer *w, struct str part)
{
    if (part.n > w->bytes - w->written)
        return -EBADMSG;
    sha256_add(w->sum, part.p, part.n);
    w->written += part.n;
    while (part.n) {
        ssize_t n = write(w->fd, part.p, part.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        part = str_sub(part, (size_t)n);
    }
    return 0;
}

int blob_writer_end(struct blob_writer *w)
{
    char to[PATH_MAX];
    struct sha256 is = sha256_end(w->sum);
    if (w->written != w->bytes || !sha256_eq(&is, &w->digest))
        return -EBADMSG;
    int r = blob_cache_path(w->cache, &w->digest, to);
    if (r < 0)
        return r;
    char *slash = strrchr(to, '/');
    *slash = '\0';
    if ((r = file_make_dirs(to)) < 0)
        return r;
    *slash = '/';
    if (fchmod(w->fd, 0644) < 0 || fsync(w->fd) < 0 || rename(w->path, to) < 0)
        return -errno;
    w->path[0] = '\0';
    bool verified;
    if ((r = take_hold(w->cache, &w->digest, w->bytes, &verified)) < 0)
        return r;
    settle(w->cache, &w->digest, /* good= */ true);
    LOCKED(&w->cache->lock);
    trim(w->cache);
    return 0;
}

/* ---- staging ---- */

int blob_cache_stage(struct blob_cache *c, char ret[static PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s/stage/XXXXXX", c->folder);
    if (n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    return mkdtemp(ret) ? 0 : -errno;
}

int blob_cache_link(struct blob_cache *c, const struct sha256 *digest, const char *folder,
                    const char *name)
{
    char from[PATH_MAX], to[PATH_MAX];
    int r = blob_cache_path(c, digest, from);
    int n = snprintf(to, sizeof(to), "%s/%s", folder, name);
    if (r < 0 || n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    if (link(from, to) == 0)
        return 0;
    /* Some file systems have no hard links. */
    char absolute[PATH_MAX];
    return realpath(from, absolute) && symlink(absolute, to) == 0 ? 0 : -errno;
}
