/*
 * Whole files: mapped read-only, read with a ceiling, or replaced at once.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

/* A read-only mapping. The file must not shrink while mapped: publish by rename, never in place. */
struct file_map {
    const unsigned char *p;
    size_t n;
};

int file_map(struct file_map *ret,
             const char *path) MUST_USE; /* negative errno; empty files: n is 0 */
void file_unmap(struct file_map *m);

/* Reads all of it, NUL-terminated, owned by the caller. -EFBIG past max_bytes. */
int file_read(char **ret, size_t *ret_len, const char *path, size_t max_bytes) MUST_USE;
int file_read_fd(char **ret, size_t *ret_len, int fd, size_t max_bytes) MUST_USE; /* to its end */

/* Writes a sibling, fsyncs, renames over path and fsyncs the folder: old or new, never half. */
int file_replace(const char *path, struct str content) MUST_USE;

/* The same for a file that is written piece by piece. */
struct file_draft {
    int fd;
    char path[4096], beside[4096];
};

int file_draft_begin(struct file_draft *d,
                     const char *path) MUST_USE; /* on failure nothing is held */
int file_draft_add(struct file_draft *d, struct str piece) MUST_USE;
int file_draft_end(struct file_draft *d) MUST_USE; /* fsyncs, renames; done is still to be called */
void file_draft_done(struct file_draft *d);        /* without an end: removes what was written */

int file_make_dirs(const char *path) MUST_USE; /* mkdir -p, mode 0755 */
