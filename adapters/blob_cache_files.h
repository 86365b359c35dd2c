/*
 * What the parts of the blob cache share: the names of its files, and the files one by one.
 *
 * Internal to blob_cache.c, blob_cache_room.c and blob_writer.c.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "adapters/blob_cache.h"

struct blob_item {                  /* one file of the cache */
    char group[BLOB_GROUP_MAX + 1]; /* "": a blob */
    struct sha256 digest;
};

struct blob_entry {          /* a file that this process holds or has verified */
    struct blob_entry *next; /* of the bucket */
    struct blob_item item;
    uint64_t inode, bytes; /* of what was verified */
    unsigned held;
    bool linked; /* the hold is a link that other processes see */
    bool verified;
};

enum { BLOB_BUCKETS = 4096 };

struct blob_cache {
    char folder[PATH_MAX], mine[PATH_MAX]; /* mine: folder/users/XXXXXX */
    uint64_t max_bytes;
    _Atomic int64_t *used; /* bytes of all files; mapped, shared by the processes */
    int user_lock;         /* says that the owner of `mine` lives */
    int lock_file;         /* shared: a hold is being taken; exclusive: a file is being removed;
                              under `lock` */
    pthread_mutex_t lock;
    struct blob_entry *buckets[BLOB_BUCKETS];
    size_t n_entries;
    atomic_uint n_names;      /* makes names of files in `mine` */
    _Atomic int64_t stuck_at; /* as much was used when nothing more could go; 0: not so */
};

int blob_item_path(const struct blob_cache *c, const struct blob_item *item,
                   char ret[static PATH_MAX]) MUST_USE;
int blob_item_of_group(struct blob_item *ret, const char *group,
                       const struct sha256 *digest) MUST_USE; /* -EINVAL */
int blob_name_in(const char *folder, char ret[static PATH_MAX], const char *name) MUST_USE;
int blob_new_name(struct blob_cache *c, char ret[static PATH_MAX], const char *kind) MUST_USE;

/* Moves a whole file to its place, and enters it as held. */
int blob_enter(struct blob_cache *c, const struct blob_item *item, const char *from, bool verified);
/* Under the lock. */
struct blob_entry *blob_entry_find(struct blob_cache *c, const struct blob_item *item);

/* Makes room when there is more than may be. */
void blob_cache_trim(struct blob_cache *c);
int blob_cache_scan_bytes(struct blob_cache *c) MUST_USE; /* counts what is there into `used` */
/* Removes what processes have left that are gone. */
void blob_cache_clear_dead(struct blob_cache *c);
/* 0: removed. -EBUSY: held. */
int blob_cache_remove(struct blob_cache *c, const struct blob_item *item, int64_t used_ns);
