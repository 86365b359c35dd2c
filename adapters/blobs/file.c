/*
 * A folder, as a rule one that several hosts share: <folder>/sha256/ab/<hex>.
 *
 * A blob is written beside its place, synced and renamed. The time of its last put is the file's.
 */
#include "adapters/blobs/blob_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"

#define BLOCK (256 * KIB)
#define SHARDS 256
#define LEFTOVER_S 86400 /* a half-written file of this age belongs to nobody */

struct file_store {
    struct blob_store store; /* first */
    char folder[PATH_MAX];
};

static struct file_store *of(struct blob_store *s)
{
    return (struct file_store *)(void *)s;
}

static int trouble(const struct blob_store *s, struct fail *reterr, const char *doing, int r)
{
    if (r == -ENOMEM)
        return r;
    /* What the disk or a mount says may pass, but for what a person has to change. */
    bool stays = r == -EACCES || r == -EPERM || r == -EROFS || r == -ENOTDIR;
    return fail_set(reterr, stays ? FAIL_permission_denied : FAIL_upstream_error, "%s %s: %s",
                    doing, s->name, strerror(-r));
}

static int path_of(const struct file_store *f, const struct sha256 *digest,
                   char ret[static PATH_MAX])
{
    char key[BLOB_KEY_MAX];
    blob_store_key(key, digest);
    int n = snprintf(ret, PATH_MAX, "%s/%s", f->folder, key);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int file_stat(struct blob_store *s, const struct sha256 *digest, struct blob_stat *ret,
                     struct fail *reterr)
{
    char path[PATH_MAX];
    struct stat st;
    int r = path_of(of(s), digest, path);
    if (r < 0 || stat(path, &st) < 0)
        return r == 0 && errno == ENOENT ? -ENOENT : trouble(s, reterr, "reading", r ? r : -errno);
    *ret = (struct blob_stat){ (uint64_t)st.st_size, (uint64_t)st.st_mtime };
    return 0;
}

/* ---- reading ---- */

static int hand_over(struct blob_store *s, int fd, struct blob_get *g, uint64_t bytes,
                     struct fail *reterr)
{
    CLEANUP(own_free) char *block = malloc(BLOCK);
    if (!block)
        return -ENOMEM;
    for (uint64_t at = g->from; at < bytes;) {
        size_t want = bytes - at < BLOCK ? (size_t)(bytes - at) : BLOCK;
        ssize_t n = pread(fd, block, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return trouble(s, reterr, "reading", -errno);
        if (n == 0)
            return -EBADMSG; /* cut off while it was read */
        if (g->stopped && g->stopped(g->ctx))
            return -ECANCELED;
        int r = g->add(g->ctx, (struct str){ block, (size_t)n });
        if (r < 0)
            return r;
        at += (uint64_t)n;
    }
    return 0;
}

static int file_get(struct blob_store *s, struct blob_get *g, struct fail *reterr)
{
    char path[PATH_MAX], etag[BLOB_ETAG_MAX];
    struct stat st;
    int r = path_of(of(s), &g->digest, path);
    if (r < 0)
        return trouble(s, reterr, "reading", r);
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : trouble(s, reterr, "reading", -errno);
    if (fstat(fd, &st) < 0)
        return trouble(s, reterr, "reading", -errno);
    uint64_t bytes = (uint64_t)st.st_size;
    if (g->at_most ? bytes > g->bytes : bytes != g->bytes)
        return -EBADMSG;
    (void)snprintf(etag, sizeof(etag), "%llu", (unsigned long long)st.st_ino);
    if (g->from && g->etag[0] && strcmp(g->etag, etag) != 0)
        return -ESTALE;
    memcpy(g->etag, etag, sizeof(etag));
    return hand_over(s, fd, g, bytes, reterr);
}

/* ---- writing ---- */

static int write_all(int fd, const char *p, size_t n)
{
    for (ssize_t w; n; p += w, n -= (size_t)w)
        if ((w = write(fd, p, n)) < 0) {
            if (errno != EINTR)
                return -errno;
            w = 0;
        }
    return 0;
}

/* 0, negative errno, or -EBADMSG when the content is not that of the digest. */
static int copy_checked(int from, int to, const struct sha256 *digest, uint64_t bytes)
{
    CLEANUP(own_free) char *block = malloc(BLOCK);
    CLEANUP(sha256_freep) struct sha256_stream *sum = NULL;
    int r = block ? sha256_new(&sum) : -ENOMEM;
    uint64_t at = 0;
    while (r == 0) {
        ssize_t n = pread(from, block, BLOCK, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        sha256_add(sum, block, (size_t)n);
        at += (uint64_t)n;
        r = write_all(to, block, (size_t)n);
    }
    if (r < 0)
        return r;
    struct sha256 is = sha256_end(sum);
    return at == bytes && sha256_eq(&is, digest) ? 0 : -EBADMSG;
}

static int sync_folder(const char *path)
{
    CLEANUP(own_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int put_beside(const char *path, const struct sha256 *digest, int from, uint64_t bytes)
{
    char temp[PATH_MAX], folder[PATH_MAX];
    int n = snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
    if (n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
    int r = file_make_dirs(folder);
    if (r < 0)
        return r;
    CLEANUP(own_close) int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = copy_checked(from, fd, digest, bytes);
    if (r == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0 || rename(temp, path) < 0))
        r = -errno;
    if (r < 0)
        (void)unlink(temp);
    return r < 0 ? r : sync_folder(folder);
}

static int file_put(struct blob_store *s, const struct sha256 *digest, int fd, uint64_t bytes,
                    struct fail *reterr)
{
    char path[PATH_MAX];
    int r = path_of(of(s), digest, path);
    if (r == 0)
        r = put_beside(path, digest, fd, bytes);
    if (r == -EBADMSG)
        return fail_set(reterr, FAIL_conflict, "the file changed while it was published");
    return r < 0 ? trouble(s, reterr, "writing", r) : 0;
}

static int file_remove(struct blob_store *s, const struct sha256 *digest, struct fail *reterr)
{
    char path[PATH_MAX];
    int r = path_of(of(s), digest, path);
    if (r == 0 && unlink(path) < 0 && errno != ENOENT)
        r = -errno;
    return r < 0 ? trouble(s, reterr, "removing from", r) : 0;
}

/* ---- listing: a folder of the first two digits and a place in it ---- */

static void clear_leftover(int folder, const char *name, const struct stat *st)
{
    struct sha256 digest;
    bool half = strlen(name) > SHA256_HEX && name[SHA256_HEX] == '.' &&
                sha256_parse(&digest, str_head(str_of(name), SHA256_HEX)) == 0;
    if (half && (uint64_t)st->st_mtime + LEFTOVER_S < clock_wall_s())
        (void)unlinkat(folder, name, 0);
}

static void list_one(int folder, const char *name, struct blob_page *page)
{
    struct blob_listed *item = &page->items[page->n];
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return;
    if (sha256_parse(&item->digest, str_of(name)) < 0) {
        clear_leftover(folder, name, &st);
        return;
    }
    item->stat = (struct blob_stat){ (uint64_t)st.st_size, (uint64_t)st.st_mtime };
    page->n++;
}

/* telldir counts on the same stream only, so a page that is full begins its folder again and skips
 * by name: names come in one order as long as the folder does not change, and what is missed or
 * doubled otherwise is found by the next gc. */
static int list_shard(struct file_store *f, unsigned shard, uint64_t skip, struct blob_page *page)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/sha256/%02x", f->folder, shard);
    if (n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    DIR *d = opendir(path);
    if (!d && errno != ENOENT)
        return -errno;
    uint64_t at = 0;
    bool full = false;
    for (struct dirent *e; d && !full && (e = readdir(d)); at++) {
        if (at < skip)
            continue;
        full = page->n == BLOB_PAGE;
        if (!full)
            list_one(dirfd(d), e->d_name, page);
    }
    if (d)
        (void)closedir(d);
    if (full)
        at--;
    (void)snprintf(page->cursor, sizeof(page->cursor), "%u/%llu", full ? shard : shard + 1,
                   full ? (unsigned long long)at : 0ULL);
    return 0;
}

static int file_list(struct blob_store *s, struct blob_page *page, struct fail *reterr)
{
    struct str first = STR("0"), second = STR("0");
    uint64_t shard = 0, skip = 0;
    if (page->cursor[0] && (!str_cut(str_of(page->cursor), '/', &first, &second) ||
                            num_parse_u64(&shard, first, 0, SHARDS) < 0 ||
                            num_parse_u64(&skip, second, 0, UINT64_MAX) < 0))
        return -EINVAL;
    page->n = 0;
    page->last = shard >= SHARDS;
    if (page->last)
        return 0;
    int r = list_shard(of(s), (unsigned)shard, skip, page);
    return r < 0 ? trouble(s, reterr, "listing", r) : 0;
}

static struct blob_store *file_free(struct blob_store *s)
{
    free(of(s));
    return NULL;
}

static const struct blob_store_ops file_ops = {
    .stat = file_stat,
    .get = file_get,
    .put = file_put,
    .remove = file_remove,
    .list = file_list,
    .free = file_free,
};

int blob_store_file(struct blob_store **ret, struct str url, const struct config_blobs *c,
                    struct fail *reterr)
{
    (void)c;
    struct str path = str_sub(url, sizeof("file:") - 1);
    if (str_starts(path, STR("//")))
        path = str_sub(path, 2);
    if (path.n == 0 || path.p[0] != '/' || path.n >= PATH_MAX - 128)
        return fail_param(reterr, FAIL_invalid_request, "adapters.blobs.store",
                          "adapters.blobs.store: '%.*s' is no absolute folder, as in "
                          "file:///srv/blobs",
                          STR_ARG(str_head(url, 100)));
    struct file_store *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->store.ops = &file_ops;
    (void)snprintf(f->folder, sizeof(f->folder), "%.*s", STR_ARG(path));
    (void)snprintf(f->store.name, sizeof(f->store.name), "the folder %.160s", f->folder);
    *ret = &f->store;
    return 0;
}
