/*
 * Batch store: the files and batches of clients, in a folder of this gateway.
 *
 * A file is FOLDER/ID.jsonl with FOLDER/ID.json beside it, which says whose it is; a batch is
 * FOLDER/ID.json. What is said of them is also held in memory, so that only contents are read
 * later. Functions that take the store block on the disk, but for those that say so.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/thread.h"
#include "config/config.h"

#include <stdint.h>
#include <sys/queue.h>

enum {
    BATCH_ID = 40,                  /* "batch_" and 24 characters, or "file-" */
    BATCH_OWNER = 24,               /* digits that stand for a tenant or a key */
    BATCH_METADATA_MAX = 16 * 1024, /* bytes of JSON */
    BATCH_ERRORS_MAX = 64 * 1024,   /* likewise */
    BATCH_RECORD_MAX = 512 * 1024,  /* a record on disk */
    BATCH_KEPT_MAX = 65536,         /* files; and as many batches */
};

struct stored_file {
    TAILQ_ENTRY(stored_file) next;
    char id[BATCH_ID], owner[BATCH_OWNER];
    char purpose[16]; /* "batch", "batch_output" */
    char *filename;   /* owned */
    uint64_t bytes, created_s, expires_s;
};

/* In the order of BATCH_STATUSES; each has a time: "in_progress_at"; of validating: created_at. */
enum batch_status {
    BATCH_validating,
    BATCH_failed,
    BATCH_in_progress,
    BATCH_finalizing,
    BATCH_completed,
    BATCH_expired,
    BATCH_cancelling,
    BATCH_cancelled,
    BATCH_STATUS_N
};

struct batch_run;

/* All under the store's lock but what is said to be constant. */
struct batch {
    TAILQ_ENTRY(batch) next;
    char id[BATCH_ID], owner[BATCH_OWNER], input[BATCH_ID]; /* these and the next are constant */
    char *endpoint, *metadata, *tenant;     /* owned; metadata: JSON or NULL; tenant NULL: none */
    uint64_t key;                           /* of the caller */
    uint64_t expires_s;                     /* the end of its window */
    char output[BATCH_ID], error[BATCH_ID]; /* files to be; set before its first line is asked */
    char *errors;                           /* JSON array or NULL; owned */
    enum batch_status status;
    uint64_t at[BATCH_STATUS_N]; /* Unix time; 0: not yet */
    uint64_t total, completed, failed;
    struct batch_run *run; /* of gateway/batch.c; NULL: it does not run */
};

TAILQ_HEAD(stored_files, stored_file);
TAILQ_HEAD(batch_list, batch);

struct batch_store {
    pthread_mutex_t lock;
    char *folder;
    int fd; /* that holds the lock of the folder */
    uint64_t max_bytes, ttl_s;
    struct stored_files files; /* oldest first, and so are */
    struct batch_list batches;
    size_t n_files, n_batches;
    uint64_t bytes;
};

/* FAILED: the folder cannot be made or read, or another process has it. */
int batch_store_new(struct batch_store **ret, const struct config_batches *c,
                    struct fail *reterr) MUST_USE;
struct batch_store *batch_store_free(struct batch_store *s); /* NULL is fine */
DEFINE_CLEANUP(struct batch_store *, batch_store_free);

void batch_make_id(char ret[static BATCH_ID], const char *prefix);
/* FOLDER/ID.SUFFIX. -ENAMETOOLONG. */
int batch_path(const struct batch_store *s, char *ret, size_t max, const char *id,
               const char *suffix) MUST_USE;

/* ---- files ---- */

/* Under the lock; never blocks. NULL: none, another's, or over. */
struct stored_file *batch_find_file(struct batch_store *s, struct str id, const char *owner);
void batch_print_file(struct buf *b, const struct stored_file *f);
/* Its content is there already; what `f` says is copied, its size taken from the content. FAILED:
 * as many as may be are kept. */
int batch_keep_file(struct batch_store *s, const struct stored_file *f,
                    struct fail *reterr) MUST_USE;
int batch_remove_file(struct batch_store *s, struct str id,
                      const char *owner) MUST_USE; /* -ENOENT */

/* ---- batches ---- */

const char *batch_status_word(enum batch_status s);
bool batch_has_ended(const struct batch *b);
struct batch *batch_find(struct batch_store *s, struct str id, const char *owner); /* as above */
void batch_print(struct buf *b, const struct batch *x); /* OpenAI's object; under the lock */
/* Reads a record as it is on disk. -EINVAL: it is none; -ENOMEM. Pure. */
int batch_read(struct batch **ret, struct str record) MUST_USE;
void batch_record(struct buf *b, const struct batch *x);
struct batch *batch_free(struct batch *b); /* NULL is fine */
DEFINE_CLEANUP(struct batch *, batch_free);
int batch_save(struct batch_store *s, const struct batch *b) MUST_USE; /* writes its record */
/* Saves and lists it; the batch is moved. FAILED: as many as may be are kept. */
int batch_keep(struct batch_store *s, struct batch *b, struct fail *reterr) MUST_USE;
/* Removes what is over: files, and batches that ended. */
void batch_sweep(struct batch_store *s, uint64_t now_s);
