/*
 * Room in the blob cache: what is there, what goes first, and what the dead have left.
 *
 * The folder itself is the index: it is read through when there is too much in it, and what was not
 * used for the longest time goes until the bound is kept. To bring a blob back costs its bytes over
 * a network, so by GreedyDual-Size (Cao and Irani, USENIX 1997) with cost = size the age alone
 * decides, whatever the size. A packed file is made again of files beside it without a network:
 * PACKED_AGE times as cheap, so its age counts as often.
 */
#include "adapters/blob_cache_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "base/clock.h"
#include "base/thread.h"

#define PACKED_AGE 2
#define LEFTOVER_S 86400 /* a broken download is gone on with for a day */
#define MANY_FILES 1024  /* then a trim frees a part more, so that it is not done at each file */
#define SPARE_PART 16
#define NS_PER_S 1000000000

/* ---- looking through the folder ---- */

struct found {
    struct blob_item item;
    uint64_t bytes;
    int64_t used_ns;
    bool in_use; /* somebody holds it */
};

typedef int (*found_fn)(void *ctx, const struct found *f);

static int visit_files(const char *path, const char *group, found_fn fn, void *ctx)
{
    DIR *d = opendir(path);
    int r = d || errno == ENOENT ? 0 : -errno;
    for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
        struct found f = { 0 };
        struct stat st;
        if (sha256_parse(&f.item.digest, str_of(e->d_name)) < 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue;
        (void)snprintf(f.item.group, sizeof(f.item.group), "%s", group);
        f.bytes = (uint64_t)st.st_size;
        f.used_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
        f.in_use = st.st_nlink > 1;
        r = fn(ctx, &f);
    }
    if (d)
        (void)closedir(d);
    return r;
}

static int visit_groups(const struct blob_cache *c, found_fn fn, void *ctx)
{
    char packed[PATH_MAX], path[PATH_MAX];
    int r = blob_name_in(c->folder, packed, "packed");
    DIR *d = r < 0 ? NULL : opendir(packed);
    for (struct dirent *e; d && r == 0 && (e = readdir(d));)
        if (e->d_name[0] != '.' && strlen(e->d_name) <= BLOB_GROUP_MAX &&
            (r = blob_name_in(packed, path, e->d_name)) == 0)
            r = visit_files(path, e->d_name, fn, ctx);
    if (d)
        (void)closedir(d);
    return r == -ENOTDIR ? 0 : r;
}

static int visit_all(const struct blob_cache *c, found_fn fn, void *ctx)
{
    int r = 0;
    for (unsigned shard = 0; r == 0 && shard < 256; shard++) {
        char name[16], path[PATH_MAX];
        (void)snprintf(name, sizeof(name), "sha256/%02x", shard);
        if ((r = blob_name_in(c->folder, path, name)) == 0)
            r = visit_files(path, "", fn, ctx);
    }
    return r == 0 ? visit_groups(c, fn, ctx) : r;
}

/* ---- removing ---- */

static bool stamp_is(const char *path, int64_t used_ns, struct stat *st)
{
    return stat(path, st) == 0 &&
           (used_ns == 0 || st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec == used_ns);
}

int blob_cache_remove(struct blob_cache *c, const struct blob_item *item, int64_t used_ns)
{
    char path[PATH_MAX], away[PATH_MAX];
    struct stat st;
    int r = blob_item_path(c, item, path);
    if (r < 0 || (r = blob_new_name(c, away, "gone")) < 0)
        return r;
    {
        LOCKED(&c->lock); /* held over a stat and a rename: nobody takes a hold in between */
        const struct blob_entry *e = blob_entry_find(c, item);
        (void)flock(c->lock_file, LOCK_EX);
        bool idle = !(e && e->held) && stamp_is(path, used_ns, &st) && st.st_nlink == 1;
        r = !idle ? -EBUSY : rename(path, away) < 0 ? -errno : 0;
        (void)flock(c->lock_file, LOCK_UN);
    }
    if (r < 0)
        return r;
    (void)unlink(away); /* may take its time */
    atomic_fetch_sub(c->used, (int64_t)st.st_size);
    return 0;
}

/* ---- trimming ---- */

struct scan {
    struct found *all; /* owned */
    size_t n, cap;
    uint64_t bytes;
    int64_t now_ns;
};

static int collect(void *ctx, const struct found *f)
{
    struct scan *s = ctx;
    s->bytes += f->bytes;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 256;
        struct found *all = realloc(s->all, cap * sizeof(*all));
        if (!all)
            return -ENOMEM;
        s->all = all;
        s->cap = cap;
    }
    s->all[s->n++] = *f;
    return 0;
}

static int count(void *ctx, const struct found *f)
{
    *(uint64_t *)ctx += f->bytes;
    return 0;
}

/* What was entered meanwhile is counted twice until the next scan, at worst. */
static void correct(struct blob_cache *c, int64_t before, uint64_t found)
{
    atomic_fetch_add(c->used, (int64_t)found - before);
}

int blob_cache_scan_bytes(struct blob_cache *c)
{
    int64_t before = atomic_load(c->used);
    uint64_t bytes = 0;
    int r = visit_all(c, count, &bytes);
    if (r == 0)
        correct(c, before, bytes);
    return r;
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Before the comparison used_ns has become an age. */
static int by_age(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    double age_x = (double)-x->used_ns * (x->item.group[0] ? PACKED_AGE : 1);
    double age_y = (double)-y->used_ns * (y->item.group[0] ? PACKED_AGE : 1);
    return (age_x < age_y) - (age_x > age_y);
}

static void sort_by_age(struct scan *s)
{
    for (size_t i = 0; i < s->n; i++)
        s->all[i].used_ns -= s->now_ns;
    if (s->n)
        qsort(s->all, s->n, sizeof(*s->all), by_age);
    for (size_t i = 0; i < s->n; i++)
        s->all[i].used_ns += s->now_ns;
}

static void trim_once(struct blob_cache *c)
{
    struct scan s = { .now_ns = now_ns() };
    int64_t before = atomic_load(c->used);
    int64_t most = (int64_t)c->max_bytes;
    if (visit_all(c, collect, &s) == 0) {
        correct(c, before, s.bytes);
        if (s.n > MANY_FILES && atomic_load(c->used) > most)
            most -= most / SPARE_PART;
        sort_by_age(&s);
        for (size_t i = 0; i < s.n && atomic_load(c->used) > most; i++)
            if (!s.all[i].in_use)
                (void)blob_cache_remove(c, &s.all[i].item, s.all[i].used_ns);
    }
    free(s.all);
    int64_t used = atomic_load(c->used);
    atomic_store(&c->stuck_at, used > (int64_t)c->max_bytes ? used : 0);
}

static bool too_much(struct blob_cache *c)
{
    int64_t used = atomic_load(c->used), stuck = atomic_load(&c->stuck_at);
    return used > (int64_t)c->max_bytes && (stuck == 0 || used > stuck);
}

void blob_cache_trim(struct blob_cache *c)
{
    char path[PATH_MAX];
    while (too_much(c)) {
        if (blob_name_in(c->folder, path, "trim") < 0)
            return;
        CLEANUP(own_close) int turn = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (turn < 0 || flock(turn, LOCK_EX | LOCK_NB) < 0)
            return; /* somebody is at it, and looks again when it is done */
        blob_cache_clear_dead(c);
        trim_once(c);
    }
}

/* ---- sweeping ---- */

struct sweep {
    struct blob_cache *cache;
    blob_cache_visit visit;
    void *ctx;
    struct blob_cache_swept *done;
};

static int sweep_one(void *ctx, const struct found *f)
{
    struct sweep *s = ctx;
    uint64_t used_s = f->used_ns > 0 ? (uint64_t)(f->used_ns / NS_PER_S) : 0;
    if (!s->visit(s->ctx, f->item.group, &f->item.digest, f->bytes, used_s))
        return 0;
    if (blob_cache_remove(s->cache, &f->item, f->used_ns) == 0) {
        s->done->files++;
        s->done->bytes += f->bytes;
    } else {
        s->done->kept_in_use++;
    }
    return 0;
}

int blob_cache_sweep(struct blob_cache *c, blob_cache_visit visit, void *ctx,
                     struct blob_cache_swept *ret)
{
    struct sweep s = { c, visit, ctx, ret };
    *ret = (struct blob_cache_swept){ 0 };
    blob_cache_clear_dead(c);
    return visit_all(c, sweep_one, &s);
}

/* ---- the dead ---- */

static void remove_user(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inner[PATH_MAX];
        if (str_starts(str_of(e->d_name), STR("stage-")) &&
            blob_name_in(path, inner, e->d_name) == 0)
            folder_remove(inner);
    }
    if (d)
        (void)closedir(d);
    folder_remove(path);
}

/* Its lock can be had: its owner is gone. */
static bool is_dead(const char *path)
{
    char lock[PATH_MAX];
    if (blob_name_in(path, lock, "lock") < 0)
        return false;
    CLEANUP(own_close) int fd = open(lock, O_RDWR | O_CLOEXEC);
    return fd < 0 ? errno == ENOENT : flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static bool is_old(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && (uint64_t)st.st_mtime + LEFTOVER_S < clock_wall_s();
}

static void clear_parts(const struct blob_cache *c)
{
    char parts[PATH_MAX], path[PATH_MAX];
    DIR *d = blob_name_in(c->folder, parts, "part") < 0 ? NULL : opendir(parts);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && blob_name_in(parts, path, e->d_name) == 0 && is_old(path))
            (void)unlink(path);
    if (d)
        (void)closedir(d);
}

void blob_cache_clear_dead(struct blob_cache *c)
{
    char users[PATH_MAX], path[PATH_MAX];
    DIR *d = blob_name_in(c->folder, users, "users") < 0 ? NULL : opendir(users);
    for (struct dirent *e; d && (e = readdir(d));) {
        bool half_made = str_starts(str_of(e->d_name), STR(".new-"));
        if ((e->d_name[0] == '.' && !half_made) || blob_name_in(users, path, e->d_name) < 0 ||
            strcmp(path, c->mine) == 0)
            continue;
        if (half_made ? is_old(path) : is_dead(path))
            remove_user(path);
    }
    if (d)
        (void)closedir(d);
    clear_parts(c);
}
