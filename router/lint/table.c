#include "router/lint/table.h"

#include <stdint.h>

struct entry {
    struct str text; /* first */
    size_t number;
};

static size_t hash(struct str s) /* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3;
    return (size_t)(h ^ h >> 32);
}

/* Where the text stands or would stand. */
static size_t slot_of(const struct table *t, struct str text)
{
    size_t i = hash(text) & (t->cap - 1);
    while (t->slots[i] && !str_eq(*t->slots[i], text))
        i = (i + 1) & (t->cap - 1);
    return i;
}

static bool grow(struct table *t)
{
    enum { FIRST = 64 };
    struct table bigger = { t->arena, NULL, t->n, t->cap ? 2 * t->cap : FIRST };
    bigger.slots = arena_array(t->arena, bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i])
            bigger.slots[slot_of(&bigger, *t->slots[i])] = t->slots[i];
    *t = bigger;
    return true;
}

size_t table_find(const struct table *t, struct str text)
{
    const struct str *found = t->cap ? t->slots[slot_of(t, text)] : NULL;
    return found ? ((const struct entry *)found)->number : SIZE_MAX;
}

size_t table_intern(struct table *t, struct str text, bool *ret_new)
{
    if (2 * (t->n + 1) > t->cap && !grow(t))
        return SIZE_MAX;
    size_t i = slot_of(t, text);
    *ret_new = !t->slots[i];
    if (*ret_new) {
        struct entry *e = arena_alloc(t->arena, sizeof(*e));
        struct str copy = arena_str(t->arena, text);
        if (!e || !copy.p)
            return SIZE_MAX;
        *e = (struct entry){ copy, t->n++ };
        t->slots[i] = &e->text;
    }
    return ((const struct entry *)t->slots[i])->number;
}
