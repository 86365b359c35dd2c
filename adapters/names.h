/*
 * Names in order: a sorted set of (adapter, base), front-coded, and a small part that came since.
 *
 * Internal to the page, which locks. Sorted names are written one behind the other, each as what it
 * does not share with the one before, a few bytes a name; a binary search goes over every
 * NAMES_BLOCK-th, which is whole. What was added later is sorted when somebody looks, and merged
 * when it has become many. Names that are gone stay until the page builds the set anew: who looks
 * asks the page for each.
 */
#pragma once

#include "adapters/interned.h"
#include "base/buf.h"
#include "base/limits.h"

enum { NAMES_BLOCK = 32 };

struct name_entry { /* 16 bytes: the name is in a buffer beside */
    uint64_t key;   /* its first bytes, big-endian, behind those that all share */
    uint32_t at;    /* of the name in the buffer */
    uint16_t n;     /* bytes of the name */
    uint16_t base;
};

struct name_pile { /* unsorted, or sorted: entries and the text of their names */
    struct buf text;
    struct name_entry *entries; /* owned */
    size_t n, cap;
    bool sorted;
};

struct names {
    const struct interned *bases; /* borrowed */
    unsigned char *p;             /* owned: the sorted part */
    size_t bytes, n;
    uint32_t *blocks; /* owned: where each block begins */
    struct name_pile recent;
};

void names_init(struct names *t, const struct interned *bases);
void names_done(struct names *t);
/* Into the recent part. -ENOMEM: it is not there. */
int names_add(struct names *t, struct str adapter, uint16_t base) MUST_USE;
/* Sorts the recent part, and merges it when it is large beside the other. */
int names_settle(struct names *t) MUST_USE;
size_t names_bytes(const struct names *t);

void name_pile_init(struct name_pile *l);
void name_pile_done(struct name_pile *l);
int name_pile_add(struct name_pile *l, struct str adapter, uint16_t base) MUST_USE;
/* Sorts the pile and makes it the sorted part, in place of the one there. */
int names_build(struct names *t, struct name_pile *l) MUST_USE;

/* Walks both parts in order; the set must be settled and not change. */
struct names_cursor {
    const struct names *names;
    size_t at, next;       /* in p: behind the current name; its number */
    size_t recent;         /* next of the recent part */
    char text[LIMIT_NAME]; /* the current name of the sorted part */
    size_t n;
    char given[LIMIT_NAME]; /* the name that was handed out */
    uint16_t base;
    bool live; /* the sorted part has a current name */
};
/* Before the first name not below (adapter, base); base NULL: (adapter, every base) is below. */
void names_seek(struct names_cursor *c, const struct names *t, struct str adapter,
                const struct str *base);
/* false: the end. The name is borrowed until the next call. A name that is in both parts comes
 * once. */
bool names_next(struct names_cursor *c, struct str *ret_adapter, uint16_t *ret_base);
