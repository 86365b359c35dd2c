/*
 * Many literal texts looked for in one pass, each at word boundaries or anywhere.
 *
 * Immutable once built; any thread may scan (each scan borrows a scratch of its own).
 */
#pragma once

#include "base/arena.h"

struct literals;

struct literals *literals_new(void); /* NULL: no memory */
struct literals *literals_free(struct literals *l);
DEFINE_CLEANUP(struct literals *, literals_free);

/* Adds a text (not empty, copied) and sets its number, counted from 0. -ENOMEM. */
int literals_add(struct literals *l, struct str text, bool bounded, size_t *ret_number) MUST_USE;
/* After the last one. -ENOMEM; -EINVAL: a literal is too long to search for. */
int literals_build(struct literals *l) MUST_USE;
size_t literals_len(const struct literals *l);

/* Sets found[number] for each literal that stands in the text. 0, -ENOMEM or -EIO. */
int literals_scan(struct literals *l, struct str text, bool *found) MUST_USE;
