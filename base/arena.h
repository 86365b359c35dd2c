/*
 * Memory that dies all at once: everything of one request, or of one config snapshot.
 *
 * Not thread-safe. Allocations are zeroed and aligned to 16 bytes. Under AddressSanitizer each
 * allocation stands alone, so that an overrun is seen.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct arena;

struct arena *
arena_new(size_t max_bytes); /* NULL: no memory. max_bytes bounds the sum of allocations */
/* The same, with room for that many bytes at once. */
struct arena *arena_new_for(size_t max_bytes, size_t first);
struct arena *arena_free(struct arena *a); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct arena *, arena_free);

/* Takes memory for the next `bytes` of allocations at once. 0 or -ENOMEM. */
int arena_reserve(struct arena *a, size_t bytes) MUST_USE;
void *arena_alloc(struct arena *a, size_t bytes); /* NULL: no memory, or past the ceiling */
void *arena_array(struct arena *a, size_t n, size_t size); /* checks the product */
/* An array with room for one more than its n items: itself, or, where *cap are full, a copy of
 * twice as many (`first`, to begin with), which *cap then says. NULL: as arena_alloc. */
void *arena_room(struct arena *a, void *items, size_t n, size_t *cap, size_t first, size_t size);
struct str arena_str(struct arena *a, struct str s); /* a NUL-terminated copy; p NULL on failure */
char *arena_cstr(struct arena *a, struct str s);     /* the same as a C string */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
size_t arena_used(const struct arena *a); /* bytes handed out */
