/*
 * history.jsonl of an adapter in a folder: one JSON object a line, appended, never rewritten.
 */
#pragma once

#include "adapters/adapters.h"

struct audit_line {
    const char *what;
    struct str alias, who, key;     /* key: idempotency key, or empty */
    const struct sha256 *from, *to; /* NULL: none */
    uint64_t epoch;
};

int history_append(const char *path, const struct audit_line *l) MUST_USE;
/* Oldest first; lines that are not ours are left out. A file that is not there is empty. */
int history_read(const char *path, struct arena *arena, struct adapter_audit **ret,
                 size_t *ret_n) MUST_USE;
enum history_word {
    HISTORY_silent, /* no record of the alias, or it does not end at `now` */
    HISTORY_first,  /* it stands where it was first set */
    HISTORY_moved,  /* *ret is where it stood before its last move */
};
enum history_word history_previous(const char *path, struct str alias, const struct sha256 *now,
                                   struct sha256 *ret);
uint64_t history_lines(const char *path); /* 0: none, or not readable */

struct audit_done { /* the last line with an idempotency key */
    uint64_t epoch;
    char alias[LIMIT_NAME + 1];
    struct sha256 to;
    bool has_to;
};
/* false: there is none within a day. */
bool history_done(const char *path, struct str key, struct audit_done *ret);
