#include "adapters/placer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "adapters/placer_room.h"
#include "adapters/revision.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/thread.h"

enum {
    SEALS = 4096, /* revisions whose files are known; by digest, the later one in a place stays */
    SEAL_TEXT = 16 * KIB,
    SHARD_DIGITS = 2,
};

struct seal { /* of files that were hashed, or written by us */
    struct sha256 revision, files;
};

struct placer {
    char folder[PATH_MAX];
    uint64_t max_bytes, keep_ms;
    atomic_uint n_made;
    pthread_mutex_t lock;
    struct seal *seals;
    struct placer_state state;
};

/* ---- life ---- */

int placer_new(struct placer **ret, const struct placer_options *o)
{
    CLEANUP(placer_freep) struct placer *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    (void)pthread_mutex_init(&p->lock, /* attr= */ NULL);
    p->max_bytes = o->max_bytes;
    p->keep_ms = o->keep_ms;
    p->seals = calloc(SEALS, sizeof(*p->seals));
    if (!p->seals)
        return -ENOMEM;
    if (snprintf(p->folder, sizeof(p->folder), STR_FMT, STR_ARG(o->folder)) >= PATH_MAX)
        return -ENAMETOOLONG;
    *ret = TAKE(p);
    return 0;
}

struct placer *placer_free(struct placer *p)
{
    if (!p)
        return NULL;
    (void)pthread_mutex_destroy(&p->lock);
    free(p->seals);
    free(p);
    return NULL;
}

struct placer_state placer_look(struct placer *p)
{
    LOCKED(&p->lock);
    return p->state;
}

/* ---- what is there ---- */

static struct seal *seal_of(const struct placer *p, const struct sha256 *revision)
{
    uint32_t at = 0;
    memcpy(&at, revision->b, sizeof(at));
    return &p->seals[at % SEALS];
}

/* What tells files apart without reading them. A time of change cannot be set back. */
static int seal_files(struct sha256 *ret, const struct revision_source *s)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(SEAL_TEXT);
    for (size_t i = 0; i < s->n; i++) {
        struct stat st;
        if (stat(s->files[i].path, &st) < 0)
            return -errno;
        buf_addf(&b, "%s %ju %ju %jd %jd.%09ld %jd.%09ld\n", s->files[i].name, (uintmax_t)st.st_dev,
                 (uintmax_t)st.st_ino, (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    }
    if (buf_err(&b) < 0)
        return buf_err(&b);
    *ret = sha256_of(buf_str(&b));
    return 0;
}

static bool is_known(struct placer *p, const struct sha256 *revision, const struct sha256 *files)
{
    LOCKED(&p->lock);
    const struct seal *s = seal_of(p, revision);
    return sha256_eq(&s->revision, revision) && sha256_eq(&s->files, files);
}

static void know(struct placer *p, const struct sha256 *revision, const struct sha256 *files)
{
    LOCKED(&p->lock);
    *seal_of(p, revision) = (struct seal){ *revision, *files };
}

/* Sealed before they are read: what changes meanwhile is read again the next time. */
static bool is_whole(struct placer *p, const char *path, const struct sha256 *digest)
{
    struct revision_source s;
    struct manifest m;
    struct sha256 files;
    struct fail why;
    struct stat st;
    if (stat(path, &st) < 0 || revision_find(&s, path, &why) != 0 || seal_files(&files, &s) < 0)
        return false;
    if (is_known(p, digest, &files))
        return true;
    if (revision_manifest(&s, /* progress= */ NULL, /* ctx= */ NULL, &m, &why) != 0)
        return false;
    {
        LOCKED(&p->lock);
        p->state.hashed++;
    }
    struct sha256 is = manifest_digest(&m);
    if (!sha256_eq(&is, digest))
        return false;
    know(p, digest, &files);
    return true;
}

/* Whole, and touched while nothing can be removed; where others own it and do not let us, that is
 * their affair. */
static bool is_there(struct placer *p, const char *path, const struct sha256 *digest)
{
    CLEANUP(own_close) int fd = placer_lock(p->folder, LOCK_SH);
    (void)fd; /* held to the end */
    return is_whole(p, path, digest) &&
           (utimensat(AT_FDCWD, path, /* now= */ NULL, 0) == 0 || errno != ENOENT);
}

/* ---- putting ---- */

/* What was pulled is verified; here it is told apart from what comes later. */
static void seal_made(struct placer *p, const char *made, const struct sha256 *digest)
{
    struct revision_source s;
    struct sha256 files;
    struct fail why;
    if (revision_find(&s, made, &why) == 0 && seal_files(&files, &s) == 0)
        know(p, digest, &files);
}

/* Another process may put it there, or take a damaged one away, at the same time. */
static int move_in(struct placer *p, const char *made, const char *path,
                   const struct sha256 *digest)
{
    char damaged[PATH_MAX];
    if (snprintf(damaged, sizeof(damaged), "%s.damaged", made) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (utimensat(AT_FDCWD, made, /* now= */ NULL, 0) == 0 && rename(made, path) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
        return -errno;
    if (is_there(p, path, digest))
        return 0;
    if (rename(path, damaged) < 0 && errno != ENOENT)
        return -errno;
    folder_remove(damaged);
    seal_made(p, made, digest);
    return rename(made, path) == 0 || is_there(p, path, digest) ? 0 : -errno;
}

int placer_put(struct placer *p, struct adapters *a, const struct adapter_name *name,
               struct fail *reterr)
{
    char hex[SHA256_HEX + 1], path[PATH_MAX], made[PATH_MAX];
    struct adapter_revision rev;
    int r = adapters_resolve(a, name, &rev, reterr);
    if (r != 0)
        return r;
    sha256_hex(hex, &rev.digest);
    if (snprintf(path, sizeof(path), "%s/%.2s/%s", p->folder, hex, hex) >= PATH_MAX ||
        snprintf(made, sizeof(made), "%s/%.2s/.%s.%d.%u", p->folder, hex, hex, (int)getpid(),
                 atomic_fetch_add(&p->n_made, 1)) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (is_there(p, path, &rev.digest))
        return 0;
    folder_remove(made); /* of a process that had this number before */
    struct adapter_pull pull = { .name = *name, .folder = made };
    r = adapters_pull(a, &pull, &rev, reterr);
    if (r == 0)
        seal_made(p, made, &rev.digest);
    if (r == 0 && (r = move_in(p, made, path, &rev.digest)) < 0)
        r = fail_set(reterr, FAIL_invalid_request, "%.200s: %s", path, strerror(-r));
    folder_remove(made);
    LOCKED(&p->lock);
    p->state.put += r == 0;
    return r;
}

/* ---- using ---- */

int placer_keep(struct placer *p, struct str digits)
{
    char path[PATH_MAX];
    if (digits.n < SHARD_DIGITS)
        return -EINVAL;
    if (snprintf(path, sizeof(path), "%s/%.2s", p->folder, digits.p) >= PATH_MAX)
        return -ENAMETOOLONG;
    CLEANUP(own_close) int fd = placer_lock(p->folder, LOCK_SH);
    (void)fd; /* held to the end */
    DIR *d = opendir(path);
    int r = d || errno == ENOENT ? 0 : -errno;
    for (struct dirent *e; d && (e = readdir(d));)
        if (str_starts(str_of(e->d_name), digits) &&
            utimensat(dirfd(d), e->d_name, /* now= */ NULL, 0) < 0 && errno != ENOENT)
            r = -errno;
    if (d)
        (void)closedir(d);
    return r;
}

int placer_trim(struct placer *p)
{
    struct placer_room room;
    int r = placer_room_trim(p->folder, p->max_bytes, p->keep_ms, &room);
    if (r < 0)
        return r;
    LOCKED(&p->lock);
    p->state.removed += room.removed;
    p->state.bytes = room.bytes;
    return 0;
}
