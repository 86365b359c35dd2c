#include "adapters/page.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "adapters/head_codec.h"
#include "adapters/name_order.h"
#include "adapters/record.h"
#include "base/metrics.h"
#include "base/thread.h"

#define NOTHING UINT32_MAX /* a slot without a record */
enum { STRIPE_SHIFT = 56, SLOTS_FIRST = 8, SLOTS_MANY = 1024, SLOTS_SPARSE = 4, BYTES_FIRST = 256 };
/* Slots are filled to 3/4, then half as many again are taken. A stripe is written anew when a
 * quarter of it is dead. */
enum {
    FILL = 3,
    FILL_OF = 4,
    DEAD_SHARE = 4,
    DEAD_LEAST = 4096,
    GROW_SHARE = 8,
    RESERVE_SHARE = 16
};

struct slot {
    uint32_t mark; /* low half of the hash: fingerprint and place */
    uint32_t at;   /* of the record in the stripe's bytes */
};

struct stripe {
    pthread_rwlock_t lock;
    unsigned char *p; /* owned: records, one behind the other */
    size_t used, cap, dead;
    struct slot *slots; /* owned; open addressing, in order of the marks */
    uint32_t n_slots, n;
};

struct page {
    uint64_t seed;
    struct interned bases;
    struct stripe stripes[PAGE_STRIPES];
    _Atomic size_t n;
    _Atomic uint64_t changes;

    struct name_order order;
};

/* ---- locks ---- */

static void unlock(pthread_rwlock_t **l)
{
    (void)pthread_rwlock_unlock(*l);
}

static pthread_rwlock_t *lock_read(pthread_rwlock_t *l)
{
    (void)pthread_rwlock_rdlock(l);
    return l;
}

static pthread_rwlock_t *lock_write(pthread_rwlock_t *l)
{
    (void)pthread_rwlock_wrlock(l);
    return l;
}

/* ---- life ---- */

int page_new(struct page **ret)
{
    struct page *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    if (getrandom(&p->seed, sizeof(p->seed), GRND_NONBLOCK) != sizeof(p->seed))
        p->seed = (uint64_t)(uintptr_t)p;
    interned_init(&p->bases);
    for (unsigned i = 0; i < PAGE_STRIPES; i++)
        (void)pthread_rwlock_init(&p->stripes[i].lock, NULL);
    name_order_init(&p->order, &p->bases);
    *ret = p;
    return 0;
}

struct page *page_free(struct page *p)
{
    if (!p)
        return NULL;
    for (unsigned i = 0; i < PAGE_STRIPES; i++) {
        free(p->stripes[i].p);
        free(p->stripes[i].slots);
        (void)pthread_rwlock_destroy(&p->stripes[i].lock);
    }
    name_order_done(&p->order);
    interned_done(&p->bases);
    free(p);
    return NULL;
}

/* ---- hashing ---- */

/* Of an adapter's name; seeded, so that nobody can choose names that collide. */
static uint64_t hash_of(const struct page *p, struct str s)
{
    uint64_t h = p->seed ^ s.n;
    for (; s.n >= sizeof(uint64_t); s = str_sub(s, sizeof(uint64_t))) {
        uint64_t word;
        memcpy(&word, s.p, sizeof(word));
        h = head_mix(h ^ word);
    }
    uint64_t rest = 0;
    if (s.n)
        memcpy(&rest, s.p, s.n);
    return head_mix(h ^ rest);
}

static struct stripe *stripe_of(struct page *p, uint64_t hash)
{
    return &p->stripes[hash >> STRIPE_SHIFT];
}

static uint32_t home(const struct stripe *s, uint32_t mark)
{
    return (uint32_t)((uint64_t)mark * s->n_slots >> 32);
}

static uint32_t after(const struct stripe *s, uint32_t i)
{
    return i + 1 < s->n_slots ? i + 1 : 0;
}

/* ---- a stripe: the caller holds its lock ---- */

/* The slot of a name, from `*at` on; base NULL: of any base. false: no more. */
static bool find_slot(const struct page *p, const struct stripe *s, uint64_t hash, struct str name,
                      const struct str *base, uint32_t *at)
{
    if (s->n_slots == 0)
        return false;
    for (uint32_t i = *at; s->slots[i].at != NOTHING; i = after(s, i)) {
        if (s->slots[i].mark != (uint32_t)hash)
            continue;
        struct record r = record_at(s->p, s->slots[i].at);
        if (!str_eq(r.name, name) || (base && !str_eq(interned_text(&p->bases, r.base), *base)))
            continue;
        *at = i;
        return true;
    }
    return false;
}

static uint32_t first_slot(const struct stripe *s, uint64_t hash)
{
    return s->n_slots ? home(s, (uint32_t)hash) : 0;
}

static void enter(struct stripe *s, struct slot slot)
{
    uint32_t i = home(s, slot.mark);
    while (s->slots[i].at != NOTHING)
        i = after(s, i);
    s->slots[i] = slot;
}

static int reslot(struct stripe *s, uint32_t n)
{
    struct slot *slots = malloc(n * sizeof(*slots)), *old = s->slots;
    uint32_t before = s->n_slots;
    if (!slots)
        return -ENOMEM;
    memset(slots, 0xff, n * sizeof(*slots));
    s->slots = slots;
    s->n_slots = n;
    for (uint32_t i = 0; i < before; i++)
        if (old[i].at != NOTHING)
            enter(s, old[i]);
    free(old);
    return 0;
}

static int room_for_slot(struct stripe *s)
{
    if ((uint64_t)s->n_slots * FILL > (uint64_t)s->n * FILL_OF)
        return 0;
    return reslot(s, s->n_slots ? s->n_slots + s->n_slots / 2 : SLOTS_FIRST);
}

/* Writes the living records into memory of their own. A record that moves leaves its new place
 * behind, for the slots. */
static int compact(struct stripe *s)
{
    size_t live = s->used - s->dead, cap = live + live / GROW_SHARE + BYTES_FIRST, to = 0;
    unsigned char *p = malloc(cap);
    if (!p)
        return -ENOMEM;
    for (size_t at = 0; at < s->used;) {
        struct record r = record_at(s->p, (uint32_t)at);
        at += r.bytes;
        if (r.marks & MARK_dead)
            continue;
        uint32_t place = (uint32_t)to;
        memcpy(p + to, r.at, r.bytes);
        memcpy(r.at, &place, sizeof(place));
        to += r.bytes;
    }
    assert(to == live);
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].at != NOTHING)
            memcpy(&s->slots[i].at, s->p + s->slots[i].at, sizeof(s->slots[i].at));
    free(s->p);
    s->p = p;
    s->used = live;
    s->cap = cap;
    s->dead = 0;
    return 0;
}

/* Bounds what the dead hold; without memory for it, later. */
static void tidy(struct stripe *s)
{
    if (s->dead > DEAD_LEAST && s->dead > s->used / DEAD_SHARE)
        (void)compact(s);
    if (s->n_slots > SLOTS_MANY && s->n < s->n_slots / SLOTS_SPARSE)
        (void)reslot(s, s->n_slots / 2);
}

static int room_for_bytes(struct stripe *s, size_t bytes)
{
    tidy(s);
    size_t need = s->used + bytes;
    if (need <= s->cap)
        return 0;
    size_t cap = need + need / GROW_SHARE + BYTES_FIRST;
    if (cap >= NOTHING)
        return -ENOMEM;
    unsigned char *p = realloc(s->p, cap);
    if (!p)
        return -ENOMEM;
    s->p = p;
    s->cap = cap;
    return 0;
}

void page_reserve(struct page *p, size_t n, size_t bytes)
{
    size_t slots = n / PAGE_STRIPES * FILL_OF / FILL, each = bytes / PAGE_STRIPES;
    slots += slots / RESERVE_SHARE + SLOTS_FIRST; /* stripes are not all alike */
    each += each / RESERVE_SHARE;
    if (slots > UINT32_MAX / 2 || each > UINT32_MAX / 2)
        return;
    for (unsigned i = 0; i < PAGE_STRIPES; i++) {
        struct stripe *s = &p->stripes[i];
        CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_write(&s->lock);
        if (slots > s->n_slots)
            (void)reslot(s, (uint32_t)slots);
        (void)room_for_bytes(s, each);
    }
}

static void bury(struct stripe *s, uint32_t at)
{
    struct record r = record_at(s->p, at);
    r.at[RECORD_MARKS] |= MARK_dead;
    s->dead += r.bytes;
}

/* Takes the slot away and moves those behind it up that may. */
static void remove_slot(struct page *p, struct stripe *s, uint32_t i)
{
    bury(s, s->slots[i].at);
    for (uint32_t next = after(s, i); s->slots[next].at != NOTHING; next = after(s, next)) {
        uint32_t from = home(s, s->slots[next].mark);
        /* It stays when its home is cyclically behind the hole. */
        bool stays = i <= next ? i < from && from <= next : i < from || from <= next;
        if (stays)
            continue;
        s->slots[i] = s->slots[next];
        i = next;
    }
    s->slots[i].at = NOTHING;
    s->n--;
    size_t n = atomic_fetch_sub(&p->n, 1) - 1;
    metrics_set(METRIC_adapters_known, (int64_t)n);
}

/* ---- names in order ---- */

static int collect_stripe(const struct stripe *s, struct name_pile piles[static ORDERS])
{
    for (size_t at = 0; at < s->used;) {
        struct record r = record_at(s->p, (uint32_t)at);
        at += r.bytes;
        if (!(r.marks & MARK_dead) &&
            name_pile_add(&piles[name_order_of(r.name)], r.name, r.base) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int collect(void *ctx, struct name_pile piles[static ORDERS])
{
    struct page *p = ctx;
    int r = 0;
    for (unsigned i = 0; i < PAGE_STRIPES && r == 0; i++) {
        CLEANUP(unlock)
        __attribute__((unused)) pthread_rwlock_t *held = lock_read(&p->stripes[i].lock);
        r = collect_stripe(&p->stripes[i], piles);
    }
    return r;
}

int page_sort(struct page *p)
{
    return name_order_build(&p->order, collect, p);
}

/* ---- changes ---- */

/* What is known stays: it is newer, or as new and says more. */
static bool outdated(const struct record *known, struct str packed)
{
    uint64_t now = head_packed_epoch(known->packed), then = head_packed_epoch(packed);
    if (known->marks & MARK_any_epoch)
        return false;
    return then < now || (then == now && then != 0 &&
                          head_packed_more(packed) & ~head_packed_more(known->packed));
}

static int replace(struct stripe *s, struct slot *slot, struct str packed)
{
    struct record r = record_at(s->p, slot->at);
    r.at[RECORD_MARKS] &= (unsigned char)~MARK_unseen;
    if (outdated(&r, packed))
        return 0;
    size_t bytes = record_bytes(r.name, packed);
    if (bytes <= r.bytes && r.bytes - bytes <= RECORD_SLACK) {
        char name[LIMIT_NAME]; /* the record's own may move */
        memcpy(name, r.name.p, r.name.n);
        record_write(r.at, r.bytes, r.base, (struct str){ name, r.name.n }, packed);
        return 1;
    }
    if (room_for_bytes(s, bytes) < 0)
        return -ENOMEM;
    struct record old = record_at(s->p, slot->at); /* the stripe's bytes may have moved */
    record_write(s->p + s->used, bytes, old.base, old.name, packed);
    bury(s, slot->at);
    slot->at = (uint32_t)s->used;
    s->used += bytes;
    return 1;
}

static int append(struct page *p, struct stripe *s, uint64_t hash, uint16_t base, struct str name,
                  struct str packed)
{
    size_t bytes = record_bytes(name, packed);
    if (room_for_slot(s) < 0 || room_for_bytes(s, bytes) < 0)
        return -ENOMEM;
    record_write(s->p + s->used, bytes, base, name, packed);
    enter(s, (struct slot){ (uint32_t)hash, (uint32_t)s->used });
    s->used += bytes;
    s->n++;
    size_t n = atomic_fetch_add(&p->n, 1) + 1;
    metrics_set(METRIC_adapters_known, (int64_t)n);
    return 0;
}

/* `packed` and the name were checked. */
static int put(struct page *p, uint16_t number, struct str adapter, struct str packed)
{
    struct str base = interned_text(&p->bases, number);
    uint64_t hash = hash_of(p, adapter);
    struct stripe *s = stripe_of(p, hash);
    int r = 0;
    {
        CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_write(&s->lock);
        uint32_t i = first_slot(s, hash);
        if (find_slot(p, s, hash, adapter, &base, &i)) {
            r = replace(s, &s->slots[i], packed);
            if (r > 0)
                atomic_fetch_add_explicit(&p->changes, 1, memory_order_relaxed);
            return r < 0 ? r : 0;
        }
        if ((r = append(p, s, hash, number, adapter, packed)) < 0)
            return r;
    }
    atomic_fetch_add_explicit(&p->changes, 1, memory_order_relaxed);
    name_order_add(&p->order, adapter, number);
    return 0;
}

static bool is_name(struct str adapter)
{
    return adapter.n > 0 && adapter.n <= LIMIT_NAME;
}

int page_base_number(struct page *p, struct str base, uint16_t *ret)
{
    return base.n > LIMIT_NAME ? -EBADMSG : interned_put(&p->bases, base, ret);
}

int page_put_packed(struct page *p, struct str base, struct str adapter, struct str packed)
{
    uint16_t number;
    int r = is_name(adapter) ? head_packed_check(packed) : -EBADMSG;
    if (r == 0)
        r = page_base_number(p, base, &number);
    return r == 0 ? put(p, number, adapter, packed) : r;
}

int page_put(struct page *p, struct head *h)
{
    CLEANUP(head_unrefp) struct head *owned = h;
    CLEANUP(buf_done) struct buf b = BUF_INIT(HEAD_PACKED_MAX);
    head_pack(h, /* partial= */ false, &b);
    int r = buf_err(&b);
    return r == 0 ? page_put_packed(p, owned->base, owned->adapter, buf_str(&b)) : r;
}

static bool is_newer(const struct record *r, uint64_t epoch)
{
    return !(r->marks & MARK_any_epoch) && head_packed_epoch(r->packed) > epoch;
}

void page_remove_until(struct page *p, struct str base, struct str adapter, uint64_t epoch)
{
    uint64_t hash = hash_of(p, adapter);
    struct stripe *s = stripe_of(p, hash);
    {
        CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_write(&s->lock);
        uint32_t i = first_slot(s, hash);
        if (!find_slot(p, s, hash, adapter, &base, &i))
            return;
        struct record r = record_at(s->p, s->slots[i].at);
        if (is_newer(&r, epoch))
            return;
        remove_slot(p, s, i);
        tidy(s);
    }
    atomic_fetch_add_explicit(&p->changes, 1, memory_order_relaxed);
    name_order_remove(&p->order, 1, page_len(p));
}

void page_remove(struct page *p, struct str base, struct str adapter)
{
    page_remove_until(p, base, adapter, UINT64_MAX);
}

static bool in_part(const struct record *r, struct page_part part)
{
    return part.mask == 0 || (head_hash(r->name) & part.mask) == part.value;
}

static void mark_all(struct page *p, struct page_part part, unsigned mark)
{
    for (unsigned i = 0; i < PAGE_STRIPES; i++) {
        struct stripe *s = &p->stripes[i];
        CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_write(&s->lock);
        for (size_t at = 0; at < s->used;) {
            struct record r = record_at(s->p, (uint32_t)at);
            at += r.bytes;
            if (in_part(&r, part))
                r.at[RECORD_MARKS] |= (unsigned char)mark;
        }
    }
}

void page_forget_epochs(struct page *p)
{
    mark_all(p, (struct page_part){ 0 }, MARK_any_epoch);
}

void page_unsee(struct page *p, struct page_part part)
{
    mark_all(p, part, MARK_unseen);
}

void page_see(struct page *p, struct str base, struct str adapter)
{
    uint64_t hash = hash_of(p, adapter);
    struct stripe *s = stripe_of(p, hash);
    CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_write(&s->lock);
    uint32_t i = first_slot(s, hash);
    if (find_slot(p, s, hash, adapter, &base, &i))
        s->p[s->slots[i].at + RECORD_MARKS] &= (unsigned char)~MARK_unseen;
}

static bool is_unseen(const struct record *r, struct page_part part)
{
    return (r->marks & (MARK_unseen | MARK_dead)) == MARK_unseen && in_part(r, part);
}

static size_t remove_unseen(struct page *p, struct stripe *s, struct page_part part, uint64_t until)
{
    size_t n = 0;
    CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_write(&s->lock);
    for (size_t at = 0; at < s->used;) {
        struct record r = record_at(s->p, (uint32_t)at);
        uint32_t here = (uint32_t)at;
        at += r.bytes;
        if (!is_unseen(&r, part) || is_newer(&r, until))
            continue;
        uint32_t i = first_slot(s, hash_of(p, r.name));
        while (s->slots[i].at != here)
            i = after(s, i);
        remove_slot(p, s, i);
        n++;
    }
    tidy(s);
    return n;
}

size_t page_remove_unseen(struct page *p, struct page_part part, uint64_t until_epoch)
{
    size_t n = 0;
    for (unsigned i = 0; i < PAGE_STRIPES; i++)
        n += remove_unseen(p, &p->stripes[i], part, until_epoch);
    if (n) {
        atomic_fetch_add_explicit(&p->changes, n, memory_order_relaxed);
        name_order_remove(&p->order, n, page_len(p));
    }
    return n;
}

/* ---- look-ups ---- */

static int conflict(struct str adapter, struct fail *reterr)
{
    return fail_param(reterr, FAIL_conflict, "model",
                      "several base models have an adapter '%.*s'; say base:%.*s",
                      STR_ARG(str_head(adapter, 80)), STR_ARG(str_head(adapter, 80)));
}

int page_find(struct page *p, struct str base, struct str adapter, struct head **ret,
              struct fail *reterr)
{
    uint64_t hash = hash_of(p, adapter);
    struct stripe *s = stripe_of(p, hash);
    struct head *found = NULL;
    {
        CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_read(&s->lock);
        uint32_t i = first_slot(s, hash);
        if (find_slot(p, s, hash, adapter, base.n ? &base : NULL, &i)) {
            struct record r = record_at(s->p, s->slots[i].at);
            int k = head_unpack(&found, interned_text(&p->bases, r.base), r.name, r.packed);
            if (k < 0)
                return k;
            i = after(s, i);
            if (base.n == 0 && find_slot(p, s, hash, adapter, NULL, &i)) {
                (void)head_unref(found);
                return conflict(adapter, reterr);
            }
        }
    }
    *ret = found;
    return 0;
}

size_t page_len(struct page *p)
{
    return atomic_load(&p->n);
}

uint64_t page_changes(struct page *p)
{
    return atomic_load(&p->changes);
}

uint64_t page_bytes(struct page *p)
{
    uint64_t n = sizeof(*p);
    for (unsigned i = 0; i < PAGE_STRIPES; i++) {
        CLEANUP(unlock)
        __attribute__((unused)) pthread_rwlock_t *held = lock_read(&p->stripes[i].lock);
        n += p->stripes[i].cap + p->stripes[i].n_slots * sizeof(struct slot);
    }
    return n + name_order_bytes(&p->order);
}

/* ---- lists ---- */

struct found {
    struct head **heads; /* owned, references too */
    size_t n, cap;
};

static int found_add(struct found *f, struct head *h)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 64;
        struct head **heads = realloc(f->heads, cap * sizeof(struct head *));
        if (!heads) {
            (void)head_unref(h);
            return -ENOMEM;
        }
        f->heads = heads;
        f->cap = cap;
    }
    f->heads[f->n++] = h;
    return 0;
}

/* The unseen heads of a stripe. */
static int collect_unseen(struct page *p, struct stripe *s, struct page_part part, struct found *f)
{
    CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_read(&s->lock);
    for (size_t at = 0; at < s->used;) {
        struct record r = record_at(s->p, (uint32_t)at);
        struct head *h;
        at += r.bytes;
        if (!is_unseen(&r, part))
            continue;
        int k = head_unpack(&h, interned_text(&p->bases, r.base), r.name, r.packed);
        if (k == 0)
            k = found_add(f, h);
        if (k < 0)
            return k;
    }
    return 0;
}

int page_each_unseen(struct page *p, struct page_part part, int (*found)(void *ctx, struct head *h),
                     void *ctx)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < PAGE_STRIPES; i++) {
        struct found f = { 0 };
        r = collect_unseen(p, &p->stripes[i], part, &f);
        for (size_t k = 0; r == 0 && k < f.n; k++)
            r = found(ctx, f.heads[k]);
        page_list_free(f.heads, f.n);
    }
    return r;
}

/* Looks the names of a batch up: those that went meanwhile are left out. */
static int found_batch(struct page *p, const struct name_batch *b, struct found *f)
{
    for (size_t i = 0; i < b->n; i++) {
        struct str name = { b->text.p + b->keys[i].at, b->keys[i].n };
        struct head *h = NULL;
        int r = page_find(p, interned_text(&p->bases, b->keys[i].base), name, &h, NULL);
        if (r == 0 && h)
            r = found_add(f, h);
        if (r != 0)
            return r < 0 ? r : -EBADMSG;
    }
    return 0;
}

static int query(struct page *p, const struct page_query *q, struct name_batch *b, struct found *f)
{
    enum { TRIES = 8 }; /* the order may be dropped between building and reading */
    struct name_place from;
    name_place_set(&from, q->after, q->after_base);
    for (unsigned tries = 0; !q->max || f->n < q->max;) {
        size_t max =
            q->max && q->max - f->n < ARRAY_LEN(b->keys) ? q->max - f->n : ARRAY_LEN(b->keys);
        int r = name_order_next(&p->order, q, &from, max, b);
        if (r == -EAGAIN && tries++ < TRIES) {
            if ((r = page_sort(p)) < 0)
                return r;
            continue;
        }
        if (r < 0 || (r = found_batch(p, b, f)) < 0)
            return r;
        if (b->n < max)
            return 0;
        const struct name_key *last = &b->keys[b->n - 1];
        name_place_set(&from, (struct str){ b->text.p + last->at, last->n },
                       interned_text(&p->bases, last->base));
    }
    return 0;
}

int page_query(struct page *p, const struct page_query *q, struct head ***ret, size_t *ret_n)
{
    CLEANUP(own_free) struct name_batch *b = malloc(sizeof(*b));
    struct found f = { 0 };
    if (!b || !(f.heads = malloc(sizeof(struct head *))))
        return -ENOMEM;
    f.cap = 1;
    *b = (struct name_batch){ .text = BUF_INIT(ARRAY_LEN(b->keys) * LIMIT_NAME) };
    int r = query(p, q, b, &f);
    buf_done(&b->text);
    if (r < 0) {
        page_list_free(f.heads, f.n);
        return r;
    }
    *ret = f.heads;
    *ret_n = f.n;
    return 0;
}

int page_list(struct page *p, struct str after_name, size_t max, struct head ***ret, size_t *ret_n)
{
    struct page_query q = { .after = after_name, .max = max };
    return page_query(p, &q, ret, ret_n);
}

void page_list_free(struct head **heads, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)head_unref(heads[i]);
    free(heads);
}

/* ---- for the snapshot ---- */

static void put_le(struct buf *to, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_addc(to, (char)(v >> (8 * i)));
}

void page_export(struct page *p, unsigned stripe, struct buf *to, size_t *ret_n)
{
    struct stripe *s = &p->stripes[stripe];
    size_t n = 0;
    CLEANUP(unlock) __attribute__((unused)) pthread_rwlock_t *held = lock_read(&s->lock);
    for (size_t at = 0; at < s->used;) {
        struct record r = record_at(s->p, (uint32_t)at);
        at += r.bytes;
        if (r.marks & MARK_dead)
            continue;
        put_le(to, r.base, sizeof(uint16_t));
        put_le(to, r.name.n, sizeof(uint16_t));
        put_le(to, r.packed.n, sizeof(uint32_t));
        buf_add(to, (struct str){ r.name.p, r.name.n + r.packed.n });
        n++;
    }
    *ret_n = n;
}

static uint64_t get_le(const char *p, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | (unsigned char)p[bytes];
    return v;
}

int page_import(struct page *p, const uint16_t *numbers, size_t n_numbers, struct str records,
                bool enter, size_t *ret_n)
{
    enum { FIXED = 2 * sizeof(uint16_t) + sizeof(uint32_t) };
    size_t n = 0;
    for (; records.n >= FIXED; n++) {
        uint64_t base = get_le(records.p, sizeof(uint16_t));
        uint64_t n_name = get_le(records.p + sizeof(uint16_t), sizeof(uint16_t));
        uint64_t n_packed = get_le(records.p + 2 * sizeof(uint16_t), sizeof(uint32_t));
        records = str_sub(records, FIXED);
        if (base >= n_numbers || n_name + n_packed > records.n)
            return -EBADMSG;
        struct str name = str_head(records, (size_t)n_name);
        struct str packed = str_head(str_sub(records, name.n), (size_t)n_packed);
        records = str_sub(records, name.n + packed.n);
        int r = enter ? put(p, numbers[base], name, packed)
                : is_name(name) && head_packed_check(packed) == 0 ? 0
                                                                  : -EBADMSG;
        if (r < 0)
            return r;
    }
    *ret_n = n;
    return records.n == 0 ? 0 : -EBADMSG;
}

uint64_t page_seed(const struct page *p)
{
    return p->seed;
}

void page_take_seed(struct page *p, uint64_t seed)
{
    if (page_len(p) == 0)
        p->seed = seed;
}

size_t page_n_bases(struct page *p)
{
    return interned_len(&p->bases);
}

struct str page_base(struct page *p, size_t number)
{
    return interned_text(&p->bases, (uint16_t)number);
}
