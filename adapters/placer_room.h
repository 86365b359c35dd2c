/*
 * Room in a placer's folder: its lock, and what goes when there is too much. Internal to placer.c.
 */
#pragma once

#include <stdint.h>

#include "base/own.h"

struct placer_room {
    uint64_t removed, bytes; /* revisions removed; bytes left */
};

/* The lock of the folder: a descriptor that is to be closed, or negative errno. `how`: of flock(2).
 * While it is shared nothing is removed. */
int placer_lock(const char *folder, int how) MUST_USE;
int placer_room_trim(const char *folder, uint64_t max_bytes, uint64_t keep_ms,
                     struct placer_room *ret) MUST_USE; /* 0 or negative errno */
