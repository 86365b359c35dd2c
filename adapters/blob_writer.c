#include "adapters/blob_cache_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (256 * KIB)

struct blob_writer {
    struct blob_cache *cache; /* borrowed */
    struct sha256 digest;
    uint64_t bytes, written;
    struct sha256_stream *sum;
    int fd;              /* of a download: locked */
    bool download;       /* what is written stays when this one breaks off */
    bool spoiled;        /* but for what is wrong */
    char path[PATH_MAX]; /* of the temporary file; "" once renamed */
};

static int new_writer(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                      uint64_t bytes)
{
    struct blob_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->cache = c;
    w->digest = *digest;
    w->bytes = bytes;
    w->fd = -1;
    *ret = w;
    return sha256_new(&w->sum);
}

int blob_writer_new(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                    uint64_t bytes)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    int r = new_writer(&w, c, digest, bytes);
    if (r == 0)
        r = blob_cache_temp(c, w->path);
    if (r < 0) {
        if (w)
            w->path[0] = '\0';
        return r;
    }
    w->fd = open(w->path, O_WRONLY | O_CLOEXEC);
    if (w->fd < 0)
        return -errno;
    *ret = TAKE(w);
    return 0;
}

struct blob_writer *blob_writer_free(struct blob_writer *w)
{
    if (!w)
        return NULL;
    if (w->path[0] && !(w->download && w->written && !w->spoiled))
        (void)unlink(w->path);
    own_close(&w->fd);
    (void)sha256_free(w->sum);
    free(w);
    return NULL;
}

/* ---- going on with a download ---- */

/* Opens and locks the part; who had the lock before may have given the file its final name. */
static int open_part(struct blob_writer *w)
{
    struct stat named, opened;
    w->fd = open(w->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (w->fd < 0)
        return -errno;
    if (flock(w->fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (fstat(w->fd, &opened) < 0)
        return -errno;
    if (stat(w->path, &named) < 0 || named.st_ino != opened.st_ino)
        return -EBUSY; /* look again: it is done, most likely */
    return 0;
}

/* Hashes what is there, so that the sum can be gone on with. */
static int hash_part(struct blob_writer *w)
{
    CLEANUP(own_free) char *block = malloc(BLOCK);
    if (!block)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(w->fd, block, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        if ((uint64_t)n > w->bytes - w->written)
            return blob_writer_restart(w);
        sha256_add(w->sum, block, (size_t)n);
        w->written += (uint64_t)n;
    }
}

int blob_writer_resume(struct blob_writer **ret, struct blob_cache *c, const struct sha256 *digest,
                       uint64_t bytes)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    char hex[SHA256_HEX + 1], name[8 + SHA256_HEX];
    int r = new_writer(&w, c, digest, bytes);
    if (r < 0)
        return r;
    w->download = true;
    sha256_hex(hex, digest);
    (void)snprintf(name, sizeof(name), "part/%s", hex);
    if ((r = blob_name_in(c->folder, w->path, name)) < 0 || (r = open_part(w)) < 0) {
        w->path[0] = '\0'; /* not ours */
        return r;
    }
    if ((r = hash_part(w)) < 0)
        return r;
    *ret = TAKE(w);
    return 0;
}

uint64_t blob_writer_at(const struct blob_writer *w)
{
    return w->written;
}

int blob_writer_restart(struct blob_writer *w)
{
    if (ftruncate(w->fd, 0) < 0 || lseek(w->fd, 0, SEEK_SET) < 0)
        return -errno;
    (void)sha256_end(w->sum); /* it starts anew */
    w->written = 0;
    w->spoiled = false;
    return 0;
}

/* ---- writing ---- */

int blob_writer_add(struct blob_writer *w, struct str part)
{
    if (part.n > w->bytes - w->written)
        return -EBADMSG;
    while (part.n) {
        ssize_t n = write(w->fd, part.p, part.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        sha256_add(w->sum, part.p, (size_t)n);
        w->written += (uint64_t)n;
        part = str_sub(part, (size_t)n);
    }
    return 0;
}

/*
 * No wait for the disk: a file that a power failure has torn is found by its digest at the next
 * start, before it is used.
 */
int blob_writer_end(struct blob_writer *w)
{
    struct blob_item item = { .digest = w->digest };
    struct sha256 is = sha256_end(w->sum);
    if (w->written != w->bytes || !sha256_eq(&is, &w->digest)) {
        w->spoiled = true;
        return -EBADMSG;
    }
    if (fchmod(w->fd, 0644) < 0)
        return -errno;
    int r = blob_enter(w->cache, &item, w->path, /* verified= */ true);
    if (r < 0)
        return r;
    w->path[0] = '\0';
    blob_cache_trim(w->cache);
    return 0;
}
