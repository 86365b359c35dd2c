/*
 * A catalog in a folder: what its reading and its writing share.
 *
 * Internal to catalog_directory.c and directory_write.c.
 */
#pragma once

#include <pthread.h>

#include "adapters/catalog.h"

#define DIRECTORY_CARD "adapter.yaml"
#define DIRECTORY_HISTORY "history.jsonl"

/* Equal stamps: the same file with the same content. */
struct stamp {
    int64_t mtime_ns;
    uint64_t inode, bytes;
};

struct known_revision {
    uint64_t ordinal;
    struct stamp files[REVISION_FILES];
    size_t n_files;
    struct sha256 digest;
    uint64_t bytes, created_s;
    uint32_t rank;
};

struct known { /* what was read of one adapter's folder */
    struct known *next;
    char name[LIMIT_NAME + 1]; /* of the folder */
    char base[LIMIT_NAME + 1]; /* "": the card was refused */
    struct stamp card;
    struct known_revision *revisions; /* owned */
    size_t n_revisions;
};

enum { N_BUCKETS = 1024 };

struct directory {
    struct catalog catalog; /* first */
    char path[PATH_MAX];    /* "": no folder was named, so there are no adapters */
    pthread_mutex_t turn;   /* whose turn it is to read or change the folder; held over file I/O, so
                               never taken on a path that must not block */
    pthread_mutex_t lock;   /* of the table; taken inside a turn */
    struct known *buckets[N_BUCKETS];
};

static inline struct directory *directory_of(struct catalog *c)
{
    return (struct directory *)(void *)c;
}

/* A file of an adapter's folder, or ("") the folder. 0 or negative errno. */
int directory_path(const struct directory *d, char ret[static PATH_MAX], struct str adapter,
                   const char *file) MUST_USE;
int directory_revision_path(const struct directory *d, char ret[static PATH_MAX],
                            struct str adapter, uint64_t ordinal) MUST_USE;
/* 0 or negative errno; -ENOENT when there is no card. */
int directory_card_stamp(const struct directory *d, struct str adapter, struct stamp *ret) MUST_USE;
/*
 * Reads the adapter's card anew (in a turn). A card that cannot be read is logged once and what was
 * known before keeps serving.
 */
int directory_reread(struct directory *d, struct str adapter) MUST_USE;

int directory_publish(struct catalog *c, const struct publication *p, struct fail *reterr) MUST_USE;
int directory_change(struct catalog *c, const struct adapter_change *changes, size_t n,
                     struct arena *arena, struct adapter_changed *changed, struct fail *fails,
                     struct fail *reterr) MUST_USE;
