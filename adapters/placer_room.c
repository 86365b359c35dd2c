#include "adapters/placer_room.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "base/sha256.h"

enum { SHARDS = 256, LEFTOVER_S = 86400 /* older than any download takes */ };
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

struct found { /* a revision, or what a process that died has left of one */
    unsigned shard;
    char name[NAME_MAX + 1];
    uint64_t bytes;
    int64_t used_ns;
    bool is_leftover;
};

struct scan {
    struct found *all; /* owned */
    size_t n, cap;
    uint64_t bytes;
};

int placer_lock(const char *folder, int how)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/.lock", folder) >= PATH_MAX)
        return -ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int r = flock(fd, how) < 0 ? -errno : fd;
    if (r < 0)
        (void)close(fd);
    return r;
}

static int64_t ns_of(struct timespec t)
{
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* By the clock of the file system, which may be another host's. */
static int now_there(const char *folder, int64_t *ret)
{
    struct stat st;
    CLEANUP(own_close) int fd = placer_lock(folder, LOCK_SH);
    if (fd < 0)
        return fd;
    if (futimens(fd, /* now= */ NULL) < 0 || fstat(fd, &st) < 0)
        return -errno;
    *ret = ns_of(st.st_mtim);
    return 0;
}

/* ---- looking through ---- */

static uint64_t bytes_in(int folder, const char *name)
{
    uint64_t bytes = 0;
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !d)
        (void)close(fd);
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));)
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_size;
    if (d)
        (void)closedir(d);
    return bytes;
}

/* ".<digest>.…" of a process that puts or removes one. */
static bool is_draft(const char *name)
{
    struct sha256 d;
    return name[0] == '.' && strlen(name) > SHA256_HEX + 1 &&
           sha256_parse(&d, (struct str){ name + 1, SHA256_HEX }) == 0;
}

static int add(struct scan *s, DIR *d, unsigned shard, const char *name)
{
    struct stat st;
    struct sha256 digest;
    bool is_leftover = is_draft(name);
    if ((!is_leftover && sha256_parse(&digest, str_of(name)) < 0) ||
        fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct found *all = reallocarray(s->all, cap, sizeof(*all));
        if (!all)
            return -ENOMEM;
        s->all = all;
        s->cap = cap;
    }
    struct found *f = &s->all[s->n++];
    *f = (struct found){ .shard = shard,
                         .bytes = bytes_in(dirfd(d), name),
                         .used_ns = ns_of(st.st_mtim),
                         .is_leftover = is_leftover };
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    s->bytes += f->bytes;
    return 0;
}

static int scan_folder(struct scan *s, const char *folder)
{
    int r = 0;
    for (unsigned shard = 0; r == 0 && shard < SHARDS; shard++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof(path), "%s/%02x", folder, shard) >= PATH_MAX)
            return -ENAMETOOLONG;
        DIR *d = opendir(path);
        if (!d && errno != ENOENT && errno != ENOTDIR)
            r = -errno;
        for (struct dirent *e; d && r == 0 && (e = readdir(d));)
            r = add(s, d, shard, e->d_name);
        if (d)
            (void)closedir(d);
    }
    return r;
}

static int by_use(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

/* ---- removing ---- */

/* Nobody finds it any more once it has another name; a program that has its files open keeps them.
 * false: it was touched meanwhile, or cannot be moved. */
static bool take_away(const char *folder, const char *path, const char *away, int64_t used_ns)
{
    struct stat st;
    CLEANUP(own_close) int fd = placer_lock(folder, LOCK_EX);
    if (fd < 0)
        return false;
    if (lstat(path, &st) < 0)
        return errno == ENOENT; /* another process did it */
    return ns_of(st.st_mtim) == used_ns && rename(path, away) == 0;
}

static bool remove_one(const char *folder, const struct found *f)
{
    static atomic_uint n_gone;
    char path[PATH_MAX], away[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%02x/%s", folder, f->shard, f->name) >= PATH_MAX ||
        snprintf(away, sizeof(away), "%s/%02x/.%.*s.gone.%d.%u", folder, f->shard, SHA256_HEX,
                 f->name + f->is_leftover, (int)getpid(), atomic_fetch_add(&n_gone, 1)) >= PATH_MAX)
        return false;
    if (!take_away(folder, path, away, f->used_ns))
        return false;
    folder_remove(away); /* may take its time */
    return true;
}

int placer_room_trim(const char *folder, uint64_t max_bytes, uint64_t keep_ms,
                     struct placer_room *ret)
{
    struct scan s = { 0 };
    int64_t now = 0;
    int r = now_there(folder, &now);
    if (r == -ENOENT) {
        *ret = (struct placer_room){ 0 };
        return 0; /* nothing was put yet */
    }
    if (r == 0)
        r = scan_folder(&s, folder);
    if (r == 0 && s.n)
        qsort(s.all, s.n, sizeof(*s.all), by_use);
    struct placer_room room = { .bytes = s.bytes };
    for (size_t i = 0; r == 0 && i < s.n; i++) {
        int64_t age = now - s.all[i].used_ns;
        bool goes = s.all[i].is_leftover
                        ? age > LEFTOVER_S * NS_PER_S
                        : room.bytes > max_bytes && age >= (int64_t)keep_ms * NS_PER_MS;
        if (!goes || !remove_one(folder, &s.all[i]))
            continue;
        room.removed += !s.all[i].is_leftover;
        room.bytes -= s.all[i].bytes;
    }
    free(s.all);
    if (r == 0)
        *ret = room;
    return r;
}
