/*
 * Timers of a loop: a binary heap of the callers' own memory.
 */
#include "engine/upstream/transport_inner.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

uint64_t timer_heap_next(const struct timer_heap *h)
{
    return h->n ? h->at[0]->at_ms : CLOCK_NEVER;
}

/* Places are 1 … n; the parent of i is i / 2. */
static void put(struct timer_heap *h, size_t place, struct transport_timer *timer)
{
    h->at[place - 1] = timer;
    timer->place = place;
}

static void rise(struct timer_heap *h, size_t place)
{
    struct transport_timer *timer = h->at[place - 1];
    for (; place > 1 && h->at[place / 2 - 1]->at_ms > timer->at_ms; place /= 2)
        put(h, place, h->at[place / 2 - 1]);
    put(h, place, timer);
}

static void sink(struct timer_heap *h, size_t place)
{
    struct transport_timer *timer = h->at[place - 1];
    for (;;) {
        size_t child = place * 2;
        if (child < h->n && h->at[child]->at_ms < h->at[child - 1]->at_ms)
            child++;
        if (child > h->n || h->at[child - 1]->at_ms >= timer->at_ms)
            break;
        put(h, place, h->at[child - 1]);
        place = child;
    }
    put(h, place, timer);
}

static int make_room(struct timer_heap *h)
{
    enum { FIRST = 64 };
    if (h->n < h->cap)
        return 0;
    size_t cap = h->cap ? h->cap * 2 : FIRST;
    struct transport_timer **at = reallocarray(h->at, cap, sizeof(struct transport_timer *));
    if (!at)
        return -ENOMEM;
    h->at = at;
    h->cap = cap;
    return 0;
}

int transport_timer_set(struct transport_loop *l, struct transport_timer *timer, uint64_t at_ms)
{
    struct timer_heap *h = &l->timers;
    if (!timer->place) {
        int r = make_room(h);
        if (r < 0)
            return r;
        timer->at_ms = at_ms;
        put(h, ++h->n, timer);
        rise(h, timer->place);
        return 0;
    }
    bool is_later = at_ms > timer->at_ms;
    timer->at_ms = at_ms;
    if (is_later)
        sink(h, timer->place);
    else
        rise(h, timer->place);
    return 0;
}

void transport_timer_clear(struct transport_loop *l, struct transport_timer *timer)
{
    struct timer_heap *h = &l->timers;
    size_t place = timer->place;
    if (!place)
        return;
    timer->place = 0;
    struct transport_timer *last = h->at[--h->n];
    if (last == timer)
        return;
    put(h, place, last);
    rise(h, place);
    sink(h, last->place);
}
