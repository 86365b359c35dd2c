/*
 * A packed head with its name, as the page keeps it: bytes without alignment, one record behind the
 * other.
 *
 * Internal to the page. base u16 · length of the name - 1 u8 · marks u8 · bytes unused at its end
 * u8 · length of the packed head (7 bits a byte) · name · packed head · unused.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

enum { MARK_dead = 1, MARK_any_epoch = 2, MARK_unseen = 4 };
enum { RECORD_MARKS = 3 /* where they are */, RECORD_SLACK = 255 /* unused bytes, at most */ };

struct record { /* views */
    unsigned char *at;
    uint16_t base;
    unsigned marks;
    struct str name, packed;
    size_t bytes; /* all of it */
};

struct record record_at(unsigned char *p, uint32_t at);
size_t record_bytes(struct str name, struct str packed);
/* `bytes`: what there is for it, at most RECORD_SLACK too many. */
void record_write(unsigned char *p, size_t bytes, uint16_t base, struct str name,
                  struct str packed);
