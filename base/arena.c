#include "base/arena.h"

#include "base/num.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ALONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ALONE 1
#endif
#endif
#ifndef ARENA_ALONE
#define ARENA_ALONE 0
#endif

enum {
    CHUNK_FIRST = 992,  /* with its head of the sizes that malloc keeps for each thread */
    CHUNK_BYTES = 8192, /* they grow: most arenas stay small */
    FIRST_BYTES = 960,  /* beside the arena: likewise */
};

struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

struct arena {
    struct chunk *chunks; /* newest first */
    size_t used, max;
    struct chunk first; /* its bytes are behind it */
};

struct arena *arena_new_for(size_t max_bytes, size_t first)
{
    size_t bytes = ARENA_ALONE ? 0 : first;
    struct arena *a = malloc(sizeof(*a) + bytes);
    if (!a)
        return NULL;
    *a = (struct arena){ .max = max_bytes, .first = { .size = bytes } };
    a->chunks = &a->first;
    return a;
}

struct arena *arena_new(size_t max_bytes)
{
    return arena_new_for(max_bytes, FIRST_BYTES);
}

struct arena *arena_free(struct arena *a)
{
    if (!a)
        return NULL;
    for (struct chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        if (c != &a->first)
            free(c);
    }
    free(a);
    return NULL;
}

/* Not zeroed: that is done with what is handed out, so that the rest is not touched. */
static struct chunk *chunk_new(size_t bytes)
{
    struct chunk *c = malloc(sizeof(*c) + bytes);
    if (c)
        *c = (struct chunk){ .size = bytes };
    return c;
}

/* The size of the next chunk, for at least so many bytes: a quarter of what there is by now. */
static size_t chunk_size(const struct arena *a, size_t bytes)
{
    size_t size = a->used / 4 < CHUNK_FIRST ? CHUNK_FIRST : a->used / 4;
    if (size > CHUNK_BYTES)
        size = CHUNK_BYTES;
    return ARENA_ALONE || bytes > size ? bytes : size;
}

static struct chunk *chunk_for(struct arena *a, size_t bytes)
{
    if (a->chunks && !ARENA_ALONE && a->chunks->size - a->chunks->used >= bytes)
        return a->chunks;
    size_t size = chunk_size(a, bytes);
    struct chunk *c = chunk_new(size);
    if (!c)
        return NULL;
    if (a->chunks && size == bytes &&
        bytes > CHUNK_FIRST) { /* full at once: others go on in theirs */
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        c->next = a->chunks;
        a->chunks = c;
    }
    return c;
}

int arena_reserve(struct arena *a, size_t bytes)
{
    if (ARENA_ALONE || (a->chunks && a->chunks->size - a->chunks->used >= bytes))
        return 0;
    struct chunk *c = bytes <= a->max ? chunk_new(bytes) : NULL;
    if (!c)
        return -ENOMEM;
    c->next = a->chunks;
    a->chunks = c;
    return 0;
}

/* Not zeroed. */
static void *take(struct arena *a, size_t bytes)
{
    if (bytes > a->max || a->used > a->max - bytes || bytes > SIZE_MAX - 64)
        return NULL;
    size_t round = ARENA_ALONE ? (bytes ? bytes : 1) : (bytes + 15) & ~(size_t)15;
    struct chunk *c = chunk_for(a, round);
    if (!c)
        return NULL;
    void *p = c->bytes + c->used;
    c->used += round;
    a->used += bytes;
    return p;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    void *p = take(a, bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    return mul_ok(n, size, &bytes) ? arena_alloc(a, bytes) : NULL;
}

void *arena_room(struct arena *a, void *items, size_t n, size_t *cap, size_t first, size_t size)
{
    if (n < *cap)
        return items;
    size_t larger = *cap ? *cap * 2 : first;
    void *copy = arena_array(a, larger, size);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, items, n * size);
    *cap = larger;
    return copy;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_cstr(a, s);
    return (struct str){ p, p ? s.n : 0 };
}

char *arena_cstr(struct arena *a, struct str s)
{
    char *p = take(a, s.n + 1);
    if (p && s.n)
        memcpy(p, s.p, s.n);
    if (p)
        p[s.n] = '\0';
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    char *p = n < 0 ? NULL : take(a, (size_t)n + 1);
    if (p)
        (void)vsnprintf(p, (size_t)n + 1, fmt, args);
    va_end(args);
    return p;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
