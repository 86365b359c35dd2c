#include "adapters/blob_cache_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adapters/folder.h"
#include "base/file.h"
#include "base/thread.h"

#define MAX_ENTRIES 65536 /* what was verified and is not held may be forgotten beyond it */

/* ---- names ---- */

int blob_name_in(const char *folder, char ret[static PATH_MAX], const char *name)
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", folder, name);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int blob_new_name(struct blob_cache *c, char ret[static PATH_MAX], const char *kind)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%s-%u", kind, atomic_fetch_add(&c->n_names, 1));
    return blob_name_in(c->mine, ret, name);
}

int blob_item_path(const struct blob_cache *c, const struct blob_item *item,
                   char ret[static PATH_MAX])
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &item->digest);
    int n = item->group[0] ? snprintf(ret, PATH_MAX, "%s/packed/%s/%s", c->folder, item->group, hex)
                           : snprintf(ret, PATH_MAX, "%s/sha256/%.2s/%s", c->folder, hex, hex);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int blob_item_of_group(struct blob_item *ret, const char *group, const struct sha256 *digest)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-";
    size_t n = strlen(group);
    if (n == 0 || n > BLOB_GROUP_MAX || group[0] == '.' || strspn(group, letters) != n)
        return -EINVAL;
    *ret = (struct blob_item){ .digest = *digest };
    memcpy(ret->group, group, n);
    return 0;
}

static int hold_path(const struct blob_cache *c, const struct blob_item *item,
                     char ret[static PATH_MAX])
{
    char hex[SHA256_HEX + 1], name[8 + BLOB_GROUP_MAX + SHA256_HEX];
    sha256_hex(hex, &item->digest);
    (void)snprintf(name, sizeof(name), "hold-%s%s", item->group, hex);
    return blob_name_in(c->mine, ret, name);
}

int blob_cache_path(const struct blob_cache *c, const struct sha256 *digest,
                    char ret[static PATH_MAX])
{
    struct blob_item item = { .digest = *digest };
    return blob_item_path(c, &item, ret);
}

/* ---- entries (under the lock) ---- */

static struct blob_entry **entry_at(struct blob_cache *c, const struct blob_item *item)
{
    unsigned h = (unsigned)item->digest.b[0] << 8 | item->digest.b[1];
    struct blob_entry **at = &c->buckets[h % BLOB_BUCKETS];
    while (*at && (!sha256_eq(&(*at)->item.digest, &item->digest) ||
                   strcmp((*at)->item.group, item->group) != 0))
        at = &(*at)->next;
    return at;
}

struct blob_entry *blob_entry_find(struct blob_cache *c, const struct blob_item *item)
{
    return *entry_at(c, item);
}

static void drop_entry(struct blob_cache *c, struct blob_entry **at)
{
    struct blob_entry *e = *at;
    *at = e->next;
    c->n_entries--;
    free(e);
}

static struct blob_entry *get_entry(struct blob_cache *c, const struct blob_item *item)
{
    struct blob_entry **at = entry_at(c, item);
    if (*at)
        return *at;
    for (size_t i = 0; c->n_entries >= MAX_ENTRIES && i < BLOB_BUCKETS; i++)
        for (struct blob_entry **old = &c->buckets[i]; *old;)
            if ((*old)->held)
                old = &(*old)->next;
            else
                drop_entry(c, old);
    at = entry_at(c, item);
    if ((*at = calloc(1, sizeof(**at)))) {
        (*at)->item = *item;
        c->n_entries++;
    }
    return *at;
}

/* ---- holding ---- */

/* The time of use is the file's, so that the order survives and is shared; the kernel's own stamps
 * are too coarse to order by. */
static void touch(const char *path)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    (void)utimensat(AT_FDCWD, path, times, 0);
}

/* Links the file for the eyes of other processes. Where there are no such links, or not to the
 * files of another user, only this process knows of its holds. */
static int link_hold(struct blob_cache *c, struct blob_entry *e, const char *path, struct stat *st)
{
    char mine[PATH_MAX];
    int r = hold_path(c, &e->item, mine);
    if (r < 0)
        return r;
    (void)flock(c->lock_file, LOCK_SH);
    e->linked = link(path, mine) == 0;
    r = stat(path, st) < 0 ? -errno : 0;
    (void)flock(c->lock_file, LOCK_UN);
    if (r < 0 && e->linked)
        (void)unlink(mine);
    return r;
}

static void unlink_hold(struct blob_cache *c, struct blob_entry *e)
{
    char mine[PATH_MAX];
    if (e->linked && hold_path(c, &e->item, mine) == 0)
        (void)unlink(mine);
    e->linked = false;
}

/* A hold on the file that has the name now; *ret_verified: it needs no look into it. */
static int take_hold(struct blob_cache *c, const struct blob_item *item, const char *path,
                     bool *ret_verified)
{
    struct stat st;
    LOCKED(&c->lock); /* held over a link and a stat: two that hold one file must agree */
    struct blob_entry *e = get_entry(c, item);
    if (!e)
        return -ENOMEM;
    int r = e->held ? (stat(path, &st) < 0 ? -errno : 0) : link_hold(c, e, path, &st);
    if (r < 0) {
        if (!e->held)
            drop_entry(c, entry_at(c, item));
        return r;
    }
    if (e->inode != (uint64_t)st.st_ino || e->bytes != (uint64_t)st.st_size) {
        e->verified = false; /* replaced behind our back */
        e->inode = (uint64_t)st.st_ino;
        e->bytes = (uint64_t)st.st_size;
    }
    e->held++;
    *ret_verified = e->verified;
    return 0;
}

static void let_go(struct blob_cache *c, const struct blob_item *item)
{
    {
        LOCKED(&c->lock);
        struct blob_entry *e = blob_entry_find(c, item);
        assert(e && e->held);
        if (--e->held)
            return;
        unlink_hold(c, e);
    }
    atomic_store(&c->stuck_at, 0);
    blob_cache_trim(c);
}

static void set_verified(struct blob_cache *c, const struct blob_item *item)
{
    LOCKED(&c->lock);
    blob_entry_find(c, item)->verified = true;
}

int blob_cache_hold(struct blob_cache *c, const struct sha256 *digest)
{
    struct blob_item item = { .digest = *digest };
    char path[PATH_MAX];
    struct sha256 is;
    bool verified;
    int r = blob_item_path(c, &item, path);
    if (r < 0 || (r = take_hold(c, &item, path, &verified)) < 0)
        return r;
    if (!verified) {
        r = sha256_file(&is, path);
        if (r < 0 || !sha256_eq(&is, digest)) {
            struct stat st;
            if (r == 0 && stat(path, &st) == 0 && unlink(path) == 0)
                atomic_fetch_sub(c->used, (int64_t)st.st_size);
            let_go(c, &item);
            return -ENOENT;
        }
        set_verified(c, &item);
    }
    touch(path);
    return 0;
}

void blob_cache_release(struct blob_cache *c, const struct sha256 *digest)
{
    struct blob_item item = { .digest = *digest };
    let_go(c, &item);
}

/* ---- packed revisions ---- */

int blob_cache_packed_hold(struct blob_cache *c, const char *group, const struct sha256 *digest,
                           char ret[static PATH_MAX])
{
    struct blob_item item;
    bool verified;
    int r = blob_item_of_group(&item, group, digest);
    if (r == 0)
        r = blob_item_path(c, &item, ret);
    if (r == 0)
        r = take_hold(c, &item, ret, &verified);
    if (r == 0)
        touch(ret);
    return r;
}

void blob_cache_packed_release(struct blob_cache *c, const char *group, const struct sha256 *digest)
{
    struct blob_item item;
    int r = blob_item_of_group(&item, group, digest);
    assert(r == 0); /* it was held */
    (void)r;
    let_go(c, &item);
}

int blob_cache_temp(struct blob_cache *c, char ret[static PATH_MAX])
{
    int r = blob_new_name(c, ret, "temp");
    if (r < 0)
        return r;
    CLEANUP(own_close) int fd = open(ret, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : 0;
}

int blob_cache_packed_insert(struct blob_cache *c, const char *group, const struct sha256 *digest,
                             const char *temp, char ret[static PATH_MAX])
{
    struct blob_item item;
    int r = blob_item_of_group(&item, group, digest);
    if (r < 0 || (r = blob_item_path(c, &item, ret)) < 0)
        return r;
    CLEANUP(own_close) int fd = open(temp, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) < 0 || fchmod(fd, 0644) < 0)
        return -errno;
    r = blob_enter(c, &item, temp, /* verified= */ false);
    if (r == 0)
        blob_cache_trim(c);
    return r;
}

void blob_cache_packed_remove(struct blob_cache *c, const char *group, const struct sha256 *digest)
{
    struct blob_item item;
    char path[PATH_MAX];
    struct stat st;
    if (blob_item_of_group(&item, group, digest) == 0 && blob_item_path(c, &item, path) == 0 &&
        stat(path, &st) == 0 && unlink(path) == 0)
        atomic_fetch_sub(c->used, (int64_t)st.st_size);
}

/* ---- entering ---- */

static int make_parent(char path[static PATH_MAX])
{
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int r = file_make_dirs(path);
    *slash = '/';
    return r;
}

/* The hold comes before the name, so that no trim can take the file in between. */
static int name_held(struct blob_cache *c, struct blob_entry *e, const char *from, const char *to)
{
    char mine[PATH_MAX];
    int r = hold_path(c, &e->item, mine);
    if (r < 0)
        return r;
    unlink_hold(c, e); /* of a file that is replaced; who has it open keeps it */
    e->linked = link(from, mine) == 0;
    if (rename(from, to) == 0)
        return 0;
    r = -errno;
    unlink_hold(c, e);
    if (e->held)
        e->linked = link(to, mine) == 0;
    return r;
}

int blob_enter(struct blob_cache *c, const struct blob_item *item, const char *from, bool verified)
{
    char to[PATH_MAX];
    struct stat now, before;
    int r = blob_item_path(c, item, to);
    if (r < 0 || (r = make_parent(to)) < 0)
        return r;
    if (stat(from, &now) < 0)
        return -errno;
    touch(from); /* the newest, from its first moment */
    LOCKED(&c->lock);
    struct blob_entry *e = get_entry(c, item);
    if (!e)
        return -ENOMEM;
    bool replaces = stat(to, &before) == 0;
    if ((r = name_held(c, e, from, to)) < 0)
        return r;
    atomic_fetch_add(c->used, (int64_t)now.st_size - (replaces ? (int64_t)before.st_size : 0));
    e->held++;
    e->verified = verified;
    e->inode = (uint64_t)now.st_ino;
    e->bytes = (uint64_t)now.st_size;
    return 0;
}

/* ---- staging ---- */

int blob_cache_stage(struct blob_cache *c, char ret[static PATH_MAX])
{
    int r = blob_new_name(c, ret, "stage");
    return r < 0 ? r : mkdir(ret, 0700) < 0 ? -errno : 0;
}

int blob_cache_link(struct blob_cache *c, const struct sha256 *digest, const char *folder,
                    const char *name)
{
    char from[PATH_MAX], to[PATH_MAX];
    int r = blob_cache_path(c, digest, from);
    if (r < 0 || (r = blob_name_in(folder, to, name)) < 0)
        return r;
    if (link(from, to) == 0)
        return 0;
    /* Some file systems have no hard links. */
    char absolute[PATH_MAX];
    return realpath(from, absolute) && symlink(absolute, to) == 0 ? 0 : -errno;
}

/* ---- life ---- */

/* A folder of our own, locked before it has the name that others look at. */
static int make_mine(struct blob_cache *c)
{
    char fresh[PATH_MAX], path[PATH_MAX];
    int n = snprintf(fresh, sizeof(fresh), "%s/users/.new-XXXXXX", c->folder);
    if (n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    if (!mkdtemp(fresh))
        return -errno;
    int r = blob_name_in(fresh, path, "lock");
    if (r < 0)
        return r;
    c->user_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->user_lock < 0 || flock(c->user_lock, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    const char *random = strrchr(fresh, '/') + sizeof("/.new");
    n = snprintf(c->mine, sizeof(c->mine), "%s/users/%s", c->folder, random);
    return n >= PATH_MAX ? -ENAMETOOLONG : rename(fresh, c->mine) < 0 ? -errno : 0;
}

static int open_in(const struct blob_cache *c, const char *name)
{
    char path[PATH_MAX];
    int r = blob_name_in(c->folder, path, name);
    if (r < 0)
        return r;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return fd < 0 ? -errno : fd;
}

static int map_used(struct blob_cache *c)
{
    CLEANUP(own_close) int fd = open_in(c, "used");
    if (fd < 0)
        return fd;
    if (ftruncate(fd, sizeof(*c->used)) < 0)
        return -errno;
    void *p = mmap(NULL, sizeof(*c->used), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    c->used = p;
    return 0;
}

static int prepare(struct blob_cache *c, const char *folder)
{
    static const char *const parts[] = { "sha256", "packed", "part", "users" };
    char path[PATH_MAX];
    int n = snprintf(c->folder, sizeof(c->folder), "%s", folder);
    if (n < 0 || n >= PATH_MAX - 256)
        return -ENAMETOOLONG;
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(parts); i++)
        if ((r = blob_name_in(folder, path, parts[i])) == 0)
            r = file_make_dirs(path);
    if (r == 0)
        r = make_mine(c);
    if (r == 0 && (c->lock_file = open_in(c, "lock")) < 0)
        r = c->lock_file;
    if (r == 0)
        r = map_used(c);
    if (r < 0)
        return r;
    blob_cache_clear_dead(c);
    return blob_cache_scan_bytes(c);
}

int blob_cache_open(struct blob_cache **ret, const char *folder, uint64_t max_bytes,
                    struct fail *reterr)
{
    CLEANUP(blob_cache_freep) struct blob_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->lock_file = c->user_lock = -1;
    (void)pthread_mutex_init(&c->lock, NULL);
    c->max_bytes = max_bytes;
    int r = prepare(c, folder);
    if (r < 0 && r != -ENOMEM)
        return fail_set(reterr, FAIL_internal_error, "adapters.blobs.cache %.160s: %s", folder,
                        strerror(-r));
    if (r < 0)
        return r;
    blob_cache_trim(c);
    *ret = TAKE(c);
    return 0;
}

struct blob_cache *blob_cache_free(struct blob_cache *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < BLOB_BUCKETS; i++)
        while (c->buckets[i]) {
            assert(!c->buckets[i]->held);
            drop_entry(c, &c->buckets[i]);
        }
    if (c->mine[0])
        folder_remove(c->mine);
    own_close(&c->lock_file);
    own_close(&c->user_lock);
    if (c->used)
        (void)munmap((void *)c->used, sizeof(*c->used));
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    return NULL;
}

bool blob_cache_has(const struct blob_cache *c, const char *group, const struct sha256 *digest)
{
    char path[PATH_MAX];
    struct blob_item item = { .digest = *digest };
    if (group[0] && blob_item_of_group(&item, group, digest) < 0)
        return false;
    return blob_item_path(c, &item, path) == 0 && access(path, F_OK) == 0;
}

uint64_t blob_cache_bytes(struct blob_cache *c)
{
    int64_t n = atomic_load(c->used);
    return n > 0 ? (uint64_t)n : 0;
}
