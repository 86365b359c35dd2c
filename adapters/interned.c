#include "adapters/interned.h"

#include <errno.h>
#include <stdlib.h>

#include "adapters/head_codec.h"

void interned_init(struct interned *t)
{
    *t = (struct interned){ .n = 0 };
    (void)pthread_mutex_init(&t->lock, NULL);
}

void interned_done(struct interned *t)
{
    for (size_t i = 0; i < t->n; i++)
        free((char *)t->blocks[i / INTERNED_BLOCK][i % INTERNED_BLOCK].p);
    for (size_t i = 0; i < INTERNED_BLOCKS; i++)
        free(t->blocks[i]);
    free(t->slots);
    (void)pthread_mutex_destroy(&t->lock);
}

struct str interned_text(const struct interned *t, uint16_t number)
{
    return t->blocks[number / INTERNED_BLOCK][number % INTERNED_BLOCK];
}

/* The slot of the text, or the empty one where it belongs. */
static uint16_t *slot_of(const struct interned *t, struct str text)
{
    size_t i = (size_t)head_hash(text) & (t->n_slots - 1);
    while (t->slots[i] != INTERNED_MAX && !str_eq(interned_text(t, t->slots[i]), text))
        i = (i + 1) & (t->n_slots - 1);
    return &t->slots[i];
}

static int make_room(struct interned *t)
{
    struct str **block = &t->blocks[t->n / INTERNED_BLOCK];
    if (!*block && !(*block = calloc(INTERNED_BLOCK, sizeof(struct str))))
        return -ENOMEM;
    if (t->n * 2 < t->n_slots)
        return 0;
    size_t n = t->n_slots ? t->n_slots * 2 : 16;
    uint16_t *slots = malloc(n * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        slots[i] = INTERNED_MAX;
    free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    for (size_t i = 0; i < t->n; i++)
        *slot_of(t, interned_text(t, (uint16_t)i)) = (uint16_t)i;
    return 0;
}

int interned_put(struct interned *t, struct str text, uint16_t *ret)
{
    LOCKED(&t->lock);
    if (t->n_slots) {
        uint16_t known = *slot_of(t, text);
        if (known != INTERNED_MAX) {
            *ret = known;
            return 0;
        }
    }
    if (t->n == INTERNED_MAX)
        return -ENOSPC;
    if (make_room(t) < 0)
        return -ENOMEM;
    char *copy = str_dup(text);
    if (!copy)
        return -ENOMEM;
    t->blocks[t->n / INTERNED_BLOCK][t->n % INTERNED_BLOCK] = (struct str){ copy, text.n };
    *slot_of(t, text) = (uint16_t)t->n;
    *ret = (uint16_t)t->n++;
    return 0;
}

size_t interned_len(struct interned *t)
{
    LOCKED(&t->lock);
    return t->n;
}
