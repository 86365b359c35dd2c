#include "adapters/names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { PILE_CEILING = 0x7fffffff, PILE_FIRST = 64 };
/* The recent part is merged when it has this many names and a NAMES_SHARE of the sorted ones. */
enum { RECENT_LEAST = 512, RECENT_SHARE = 64 };

/* ---- piles ---- */

void name_pile_init(struct name_pile *l)
{
    *l = (struct name_pile){ .text = BUF_INIT(PILE_CEILING), .sorted = true };
}

void name_pile_done(struct name_pile *l)
{
    buf_done(&l->text);
    free(l->entries);
    name_pile_init(l);
}

int name_pile_add(struct name_pile *l, struct str adapter, uint16_t base)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap + l->cap / 2 : PILE_FIRST;
        struct name_entry *entries = realloc(l->entries, cap * sizeof(*entries));
        if (!entries)
            return -ENOMEM;
        l->entries = entries;
        l->cap = cap;
    }
    size_t at = l->text.n;
    buf_add(&l->text, adapter);
    if (buf_err(&l->text) < 0)
        return -ENOMEM;
    l->entries[l->n++] =
        (struct name_entry){ .at = (uint32_t)at, .n = (uint16_t)adapter.n, .base = base };
    l->sorted = false;
    return 0;
}

static struct str entry_name(const struct name_pile *l, const struct name_entry *e)
{
    return (struct str){ l->text.p + e->at, e->n };
}

static size_t common(struct str a, struct str b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

struct order {
    const struct name_pile *pile;
    const struct interned *bases;
};

static int by_name(const void *a, const void *b, void *ctx)
{
    const struct name_entry *x = a, *y = b;
    const struct order *o = ctx;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    int c = str_cmp(entry_name(o->pile, x), entry_name(o->pile, y));
    if (c == 0 && x->base != y->base)
        c = str_cmp(interned_text(o->bases, x->base), interned_text(o->bases, y->base));
    return c;
}

static void pile_sort(struct name_pile *l, const struct interned *bases)
{
    if (l->sorted)
        return;
    struct str first = entry_name(l, &l->entries[0]);
    size_t shared = first.n;
    for (size_t i = 1; i < l->n; i++)
        shared = common(str_head(first, shared), entry_name(l, &l->entries[i]));
    for (size_t i = 0; i < l->n; i++) {
        struct str rest = str_sub(entry_name(l, &l->entries[i]), shared);
        uint64_t key = 0;
        for (size_t k = 0; k < sizeof(key); k++)
            key = key << 8 | (k < rest.n ? (unsigned char)rest.p[k] : 0u);
        l->entries[i].key = key;
    }
    struct order o = { l, bases };
    qsort_r(l->entries, l->n, sizeof(*l->entries), by_name, &o);
    l->sorted = true;
}

/* ---- the sorted part ---- */

enum { NUMBER_BITS = 7, NUMBER_MORE = 0x80 };

static void put_number(struct buf *to, size_t v)
{
    for (; v >= NUMBER_MORE; v >>= NUMBER_BITS)
        buf_addc(to, (char)(v | NUMBER_MORE));
    buf_addc(to, (char)v);
}

static size_t take_number(const unsigned char *p, size_t *at)
{
    size_t v = 0;
    for (unsigned shift = 0;; shift += NUMBER_BITS) {
        unsigned char c = p[(*at)++];
        v |= (size_t)(c & (NUMBER_MORE - 1)) << shift;
        if (!(c & NUMBER_MORE))
            return v;
    }
}

struct writer {
    struct buf out;
    uint32_t *blocks;
    size_t n, most_blocks;
    char last[LIMIT_NAME];
    size_t last_n;
};

/* For `most` names at most. */
static int writer_begin(struct writer *w, size_t most)
{
    *w = (struct writer){ .out = BUF_INIT(UINT32_MAX) };
    w->most_blocks = most / NAMES_BLOCK + 1;
    w->blocks = malloc(w->most_blocks * sizeof(*w->blocks));
    return w->blocks ? 0 : -ENOMEM;
}

static void writer_add(struct writer *w, struct str name, uint16_t base)
{
    size_t shared = 0;
    if (w->n % NAMES_BLOCK == 0) {
        assert(w->n / NAMES_BLOCK < w->most_blocks);
        w->blocks[w->n / NAMES_BLOCK] = (uint32_t)w->out.n;
    } else {
        shared = common((struct str){ w->last, w->last_n }, name);
    }
    put_number(&w->out, shared);
    put_number(&w->out, name.n - shared);
    buf_add(&w->out, str_sub(name, shared));
    put_number(&w->out, base);
    memcpy(w->last, name.p, name.n);
    w->last_n = name.n;
    w->n++;
}

/* Replaces the sorted part, or keeps it on failure. */
static int writer_end(struct writer *w, struct names *t)
{
    int r = buf_err(&w->out);
    if (r < 0) {
        free(w->blocks);
        buf_done(&w->out);
        return r;
    }
    free(t->p);
    free(t->blocks);
    t->bytes = w->out.n;
    t->n = w->n;
    char *tight = w->out.n ? realloc(w->out.p, w->out.n) : NULL;
    if (!w->out.n)
        free(w->out.p);
    t->p = (unsigned char *)(tight ? tight : w->out.n ? w->out.p : NULL);
    t->blocks = w->blocks;
    return 0;
}

void names_init(struct names *t, const struct interned *bases)
{
    *t = (struct names){ .bases = bases };
    name_pile_init(&t->recent);
}

void names_done(struct names *t)
{
    name_pile_done(&t->recent);
    free(t->p);
    free(t->blocks);
    names_init(t, t->bases);
}

int names_add(struct names *t, struct str adapter, uint16_t base)
{
    return name_pile_add(&t->recent, adapter, base);
}

size_t names_bytes(const struct names *t)
{
    return t->bytes + (t->n / NAMES_BLOCK + 1) * sizeof(*t->blocks) + t->recent.text.cap +
           t->recent.cap * sizeof(*t->recent.entries);
}

int names_build(struct names *t, struct name_pile *l)
{
    struct writer w;
    if (writer_begin(&w, l->n) < 0)
        return -ENOMEM;
    pile_sort(l, t->bases);
    for (size_t i = 0; i < l->n; i++)
        writer_add(&w, entry_name(l, &l->entries[i]), l->entries[i].base);
    return writer_end(&w, t);
}

int names_settle(struct names *t)
{
    pile_sort(&t->recent, t->bases);
    if (t->recent.n < RECENT_LEAST || t->recent.n < t->n / RECENT_SHARE)
        return 0;
    struct writer w;
    struct names_cursor c;
    struct str name;
    uint16_t base;
    if (writer_begin(&w, t->n + t->recent.n) < 0)
        return -ENOMEM;
    names_seek(&c, t, STR(""), &STR(""));
    while (names_next(&c, &name, &base))
        writer_add(&w, name, base);
    int r = writer_end(&w, t);
    if (r == 0)
        name_pile_done(&t->recent);
    return r;
}

/* ---- in order ---- */

/* Reads the next name of the sorted part. */
static void step(struct names_cursor *c)
{
    const struct names *t = c->names;
    c->live = c->next < t->n;
    if (!c->live)
        return;
    size_t shared = take_number(t->p, &c->at), n = take_number(t->p, &c->at);
    memcpy(c->text + shared, t->p + c->at, n);
    c->n = shared + n;
    c->at += n;
    c->base = (uint16_t)take_number(t->p, &c->at);
    c->next++;
}

static struct str current(const struct names_cursor *c)
{
    return (struct str){ c->text, c->n };
}

/* Of (adapter, number) to the place asked for. */
static int compare(const struct names *t, struct str adapter, uint16_t number, struct str to,
                   const struct str *base)
{
    int c = str_cmp(adapter, to);
    if (c)
        return c;
    return base ? str_cmp(interned_text(t->bases, number), *base) : -1;
}

static void go_to_block(struct names_cursor *c, size_t block)
{
    c->next = block * NAMES_BLOCK;
    c->at = c->next < c->names->n ? c->names->blocks[block] : 0;
    step(c);
}

void names_seek(struct names_cursor *c, const struct names *t, struct str adapter,
                const struct str *base)
{
    c->names = t;
    size_t lo = 0, hi = t->n ? (t->n - 1) / NAMES_BLOCK + 1 : 0;
    while (lo < hi) { /* the first block that does not begin below */
        size_t mid = lo + (hi - lo) / 2;
        go_to_block(c, mid);
        if (compare(t, current(c), c->base, adapter, base) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    go_to_block(c, lo ? lo - 1 : 0);
    while (c->live && compare(t, current(c), c->base, adapter, base) < 0)
        step(c);
    const struct name_pile *l = &t->recent;
    lo = 0;
    hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct name_entry *e = &l->entries[mid];
        if (compare(t, entry_name(l, e), e->base, adapter, base) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    c->recent = lo;
}

bool names_next(struct names_cursor *c, struct str *ret_adapter, uint16_t *ret_base)
{
    const struct name_pile *l = &c->names->recent;
    const struct name_entry *e = c->recent < l->n ? &l->entries[c->recent] : NULL;
    if (e) {
        struct str name = entry_name(l, e);
        struct str base = interned_text(c->names->bases, e->base);
        int order = c->live ? -compare(c->names, current(c), c->base, name, &base) : -1;
        if (order <= 0) {
            *ret_adapter = name;
            *ret_base = e->base;
            while (c->recent < l->n && l->entries[c->recent].base == e->base &&
                   str_eq(entry_name(l, &l->entries[c->recent]), name))
                c->recent++;
            if (order == 0)
                step(c);
            return true;
        }
    }
    if (!c->live)
        return false;
    *ret_base = c->base;
    memcpy(c->given, c->text, c->n);
    *ret_adapter = (struct str){ c->given, c->n };
    step(c);
    return true;
}
