/*
 * Texts that many records share, by a small number: base names.
 *
 * Append-only; any thread. A text that was found stays where it is until interned_done.
 */
#pragma once

#include "base/str.h"
#include "base/thread.h"

#include <stdint.h>

#define INTERNED_MAX 65535
enum { INTERNED_BLOCK = 256, INTERNED_BLOCKS = INTERNED_MAX / INTERNED_BLOCK + 1 };

struct interned {
    pthread_mutex_t lock;
    struct str *blocks[INTERNED_BLOCKS]; /* owned; texts owned too */
    size_t n;
    uint16_t *slots; /* owned, by hash: number of a text, or INTERNED_MAX */
    size_t n_slots;  /* a power of two above n */
};

void interned_init(struct interned *t);
void interned_done(struct interned *t);
/* The number of a text, new or not. -ENOMEM; -ENOSPC: INTERNED_MAX are there. */
int interned_put(struct interned *t, struct str text, uint16_t *ret) MUST_USE;
/* NUL-terminated, borrowed. Who asks learnt the number from interned_put, or from one who did, by
 * way of a lock. */
struct str interned_text(const struct interned *t, uint16_t number);
size_t interned_len(struct interned *t);
