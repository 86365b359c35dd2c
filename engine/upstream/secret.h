/*
 * Secrets in memory, wiped when they go, and files that hold one, read again when they change.
 */
#pragma once

#include <sys/stat.h>

#include "base/buf.h"

#include <stdint.h>

/* Memory for secrets, wiped before it is freed. */
char *secret_alloc(size_t n); /* n + 1 bytes, zeroed; NULL: no memory */
char *secret_dup(struct str s);
char *secret_free(char *p, size_t n); /* what secret_alloc was asked for; NULL is fine */

/* A buffer that never moves what it holds: all of `max` bytes are taken now. 0 or -ENOMEM. */
int secret_buf(struct buf *ret, size_t max) MUST_USE;
void secret_buf_done(struct buf *b); /* wiped; usable with CLEANUP */

struct secret_file { /* zero but for path: not read yet. Not thread-safe */
    char *path;      /* owned */
    size_t max;      /* bytes; more is -EFBIG */
    char *text;      /* owned */
    size_t n;
    struct stat seen;    /* as it was when it was read */
    uint64_t checked_ms; /* of clock_ms */
};

/*
 * Its content, borrowed until the next call. The file is looked at most once a second; where it
 * cannot be read any more, or is empty, what it held counts on. p NULL: it never could be read, and
 * *ret_err (may be NULL) says why: negative errno, -ENODATA for an empty one.
 */
struct str secret_file_get(struct secret_file *f, int *ret_err);
void secret_file_again(struct secret_file *f); /* read it anew at the next call */
void secret_file_done(struct secret_file *f);
