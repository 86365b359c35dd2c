#include "router/signals/scan.h"

#include "base/thread.h"
#include "router/signals/unicode.h"

#include <errno.h>
#include <hs/hs.h>
#include <limits.h>
#include <stdio.h>

enum {
    LONG_BYTES = 1024,   /* longer literals are searched for one by one */
    FILTER_BYTES = 1024, /* longer patterns get no filter: they may compile for seconds */
    SCAN_pattern = 4,    /* flag: a filter */
    SCAN_long = 8,       /* flag: not in the database */
    SCAN_wide = 16,      /* flag: of a filter that knows all scripts */
};

struct scratch {
    struct scratch *next;
    hs_scratch_t *hs;
};

struct entry {
    struct str text; /* owned, with an end: a folded literal, or a pattern */
    struct str raw;  /* of an exact literal, owned */
    unsigned flags;
};

struct scanner {
    struct entry *items;
    size_t n, cap;
    bool has_filters;
    size_t *special, n_special, cap_special; /* numbers of what the database alone cannot tell */
    hs_database_t *db; /* NULL: nothing in it, or the processor cannot run it */
    hs_scratch_t *model;
    pthread_mutex_t lock;
    struct scratch *idle; /* under the lock; as many as ever scanned at once */
};

struct scanner *scanner_new(void)
{
    struct scanner *s = calloc(1, sizeof(*s));
    if (s)
        (void)pthread_mutex_init(&s->lock, NULL);
    return s;
}

struct scanner *scanner_free(struct scanner *s)
{
    if (!s)
        return NULL;
    while (s->idle) {
        struct scratch *x = s->idle;
        s->idle = x->next;
        (void)hs_free_scratch(x->hs);
        free(x);
    }
    (void)hs_free_scratch(s->model);
    (void)hs_free_database(s->db);
    for (size_t i = 0; i < s->n; i++) {
        free((char *)s->items[i].text.p);
        free((char *)s->items[i].raw.p);
    }
    free(s->items);
    free(s->special);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

size_t scanner_len(const struct scanner *s)
{
    return s->n;
}

static struct entry *more(struct scanner *s)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct entry *items = reallocarray(s->items, cap, sizeof(*items));
        if (!items)
            return NULL;
        s->items = items;
        s->cap = cap;
    }
    s->items[s->n] = (struct entry){ STR_NULL, STR_NULL, 0 };
    return &s->items[s->n];
}

static int copy(struct str *ret, struct str text)
{
    ret->p = str_dup(text);
    ret->n = text.n;
    return ret->p ? 0 : -ENOMEM;
}

static int copy_folded(struct str *ret, struct str text)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(text.n * 4 + 4096);
    struct str folded = a ? unicode_fold_text(text, a) : STR_NULL;
    return folded.p ? copy(ret, folded) : -ENOMEM;
}

static int note_special(struct scanner *s) /* the last one */
{
    if (s->n_special == s->cap_special) {
        size_t cap = s->cap_special ? s->cap_special * 2 : 16;
        size_t *all = reallocarray(s->special, cap, sizeof(*all));
        if (!all)
            return -ENOMEM;
        s->special = all;
        s->cap_special = cap;
    }
    s->special[s->n_special++] = s->n - 1;
    return 0;
}

int scanner_literal(struct scanner *s, struct str text, unsigned flags, size_t *ret_number)
{
    struct entry *e = more(s);
    if (!e)
        return -ENOMEM;
    bool exact = flags & SCAN_exact;
    if ((exact ? copy_folded(&e->text, text) : copy(&e->text, text)) < 0)
        return -ENOMEM;
    *ret_number = s->n++; /* what it holds is freed with the scanner from here on */
    if (exact && copy(&e->raw, text) < 0)
        return -ENOMEM;
    e->flags = flags | (text.n > LONG_BYTES ? SCAN_long : 0u);
    return e->flags & (SCAN_exact | SCAN_long) ? note_special(s) : 0;
}

/* ---- filters ---- */

/*
 * Whether what the filter says of the folded text holds of the text itself: nothing in the pattern
 * tells cases apart, and both libraries read it alike.
 */
static bool filterable(struct str p)
{
    if (p.n == 0 || p.n > FILTER_BYTES || memchr(p.p, '\0', p.n) || str_find(p, STR("[:")) >= 0 ||
        str_find(p, STR("(*")) >= 0)
        return false;
    for (size_t i = 0; i < p.n; i++)
        if ((unsigned char)p.p[i] >= 0x80)
            return false;
    for (size_t i = 0; i + 1 < p.n; i++) {
        if (p.p[i] == '\\') {
            if (!strchr("bBdDwWsSntrfAzZ.*+?()[]{}|^$/\\-'\"", p.p[i + 1]))
                return false;
            i++;
        } else if (p.p[i] == '(' && p.p[i + 1] == '?') {
            size_t k = i + 2;
            while (k < p.n && strchr("ims", p.p[k]))
                k++;
            if (k >= p.n || !strchr(k > i + 2 ? ":)" : ":=!", p.p[k]))
                return false;
        }
    }
    return true;
}

static unsigned filter_flags(bool wide)
{
    return HS_FLAG_PREFILTER | HS_FLAG_CASELESS | HS_FLAG_UTF8 | HS_FLAG_SINGLEMATCH |
           HS_FLAG_ALLOWEMPTY | (wide ? HS_FLAG_UCP : 0u);
}

/* Each filter has been compiled alone, so that one the library refuses cannot spoil them all. */
static bool compiles(const char *pattern, bool wide)
{
    hs_compile_error_t *why = NULL;
    hs_database_t *db = NULL;
    hs_error_t e = hs_compile(pattern, filter_flags(wide), HS_MODE_BLOCK, NULL, &db, &why);
    (void)hs_free_compile_error(why);
    (void)hs_free_database(db);
    return e == HS_SUCCESS;
}

int scanner_filter(struct scanner *s, struct str pattern, bool unicode, size_t *ret_number)
{
    *ret_number = SCAN_NO_FILTER;
    if (!filterable(pattern) || hs_valid_platform() != HS_SUCCESS)
        return 0;
    struct entry *e = more(s);
    if (!e || copy(&e->text, pattern) < 0)
        return -ENOMEM;
    e->flags = SCAN_pattern | (unicode ? SCAN_wide : 0u);
    if (!compiles(e->text.p, unicode)) {
        free((char *)e->text.p);
        return 0;
    }
    *ret_number = s->n++;
    s->has_filters = true;
    return note_special(s);
}

/* ---- building ---- */

struct expressions {
    const char **texts;
    unsigned *flags, *ids;
    size_t *lens;
    unsigned n;
    char *escaped; /* the literals, as patterns */
};

static void expressions_done(struct expressions *x)
{
    free(x->texts);
    free(x->flags);
    free(x->ids);
    free(x->lens);
    free(x->escaped);
}

static int expressions_init(struct expressions *x, const struct scanner *s)
{
    enum { ESCAPED = 4 }; /* "\xNN" a byte */
    size_t bytes = 1;
    for (size_t i = 0; i < s->n; i++)
        bytes += s->items[i].flags & SCAN_pattern ? 0 : s->items[i].text.n * ESCAPED + 1;
    *x = (struct expressions){ calloc(s->n, sizeof(*x->texts)),
                               calloc(s->n, sizeof(*x->flags)),
                               calloc(s->n, sizeof(*x->ids)),
                               calloc(s->n, sizeof(*x->lens)),
                               0,
                               NULL };
    if (s->has_filters)
        x->escaped = malloc(bytes);
    return x->texts && x->flags && x->ids && x->lens && (!s->has_filters || x->escaped) ? 0
                                                                                        : -ENOMEM;
}

static char *escape(char *into, struct str text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        *into++ = '\\';
        *into++ = 'x';
        *into++ = digits[c >> 4];
        *into++ = digits[c & 15];
    }
    *into++ = '\0';
    return into;
}

static void collect(struct expressions *x, const struct scanner *s)
{
    char *into = x->escaped;
    for (size_t i = 0; i < s->n; i++) {
        const struct entry *e = &s->items[i];
        if (e->flags & SCAN_long)
            continue;
        x->texts[x->n] = e->text.p;
        x->lens[x->n] = e->text.n;
        x->ids[x->n] = (unsigned)i;
        if (e->flags & SCAN_pattern) {
            x->flags[x->n] = filter_flags(e->flags & SCAN_wide);
        } else {
            x->flags[x->n] = e->flags & SCAN_bounded ? 0 : HS_FLAG_SINGLEMATCH;
            if (into) {
                x->texts[x->n] = into;
                into = escape(into, e->text);
            }
        }
        x->n++;
    }
}

int scanner_build(struct scanner *s)
{
    if (s->n == 0 || s->n > UINT_MAX || hs_valid_platform() != HS_SUCCESS)
        return 0;
    CLEANUP(expressions_done) struct expressions x;
    if (expressions_init(&x, s) < 0)
        return -ENOMEM;
    collect(&x, s);
    hs_compile_error_t *why = NULL;
    hs_error_t e = HS_SUCCESS;
    if (x.n && s->has_filters)
        e = hs_compile_multi(x.texts, x.flags, x.ids, x.n, HS_MODE_BLOCK, NULL, &s->db, &why);
    else if (x.n)
        e = hs_compile_lit_multi(x.texts, x.flags, x.ids, x.lens, x.n, HS_MODE_BLOCK, NULL, &s->db,
                                 &why);
    (void)hs_free_compile_error(why);
    if (e == HS_SUCCESS && s->db)
        e = hs_alloc_scratch(s->db, &s->model);
    /* what it refuses for another reason (its size) is searched for one by one */
    return e == HS_NOMEM ? -ENOMEM : 0;
}

/* ---- scanning ---- */

static struct scratch *borrow(struct scanner *s)
{
    {
        LOCKED(&s->lock);
        struct scratch *x = s->idle;
        if (x) {
            s->idle = x->next;
            return x;
        }
    }
    struct scratch *x = calloc(1, sizeof(*x));
    if (x && hs_clone_scratch(s->model, &x->hs) != HS_SUCCESS) {
        free(x);
        x = NULL;
    }
    return x;
}

static void give_back(struct scanner *s, struct scratch *x)
{
    LOCKED(&s->lock);
    x->next = s->idle;
    s->idle = x;
}

struct hits {
    const struct entry *items;
    struct str text;
    bool *found;
};

static bool stands(const struct entry *e, struct str text, size_t end)
{
    return !(e->flags & SCAN_bounded) || unicode_bounded(text, end - e->text.n, end);
}

static int hit(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
               void *ctx)
{
    (void)from; /* not tracked: a literal's length is known */
    (void)flags;
    struct hits *h = ctx;
    if (!h->found[id])
        h->found[id] = stands(&h->items[id], h->text, (size_t)to);
    return 0;
}

/* The literal somewhere in the text, at its boundaries. */
static bool search(struct str text, struct str what, bool bounded)
{
    size_t at = 0;
    for (ptrdiff_t d; (d = str_find(str_sub(text, at), what)) >= 0;) {
        size_t from = at + (size_t)d;
        if (!bounded || unicode_bounded(text, from, from + what.n))
            return true;
        at = from + 1;
    }
    return false;
}

static int scan_database(struct scanner *s, struct hits *h)
{
    struct scratch *x = borrow(s);
    if (!x)
        return -ENOMEM;
    hs_error_t e = hs_scan(s->db, h->text.p, (unsigned)h->text.n, 0, x->hs, hit, h);
    give_back(s, x);
    return e == HS_SUCCESS ? 0 : e == HS_NOMEM ? -ENOMEM : -EIO;
}

/* What the database does not hold, and what it cannot tell by itself. */
static void complete(const struct entry *e, const struct scan_text *text, bool scanned, bool *found)
{
    bool bounded = e->flags & SCAN_bounded;
    if (e->flags & SCAN_pattern)
        *found = *found || !scanned || !text->only_case;
    else if (e->flags & SCAN_exact && (*found || !scanned || e->flags & SCAN_long))
        *found = search(text->raw, e->raw, bounded);
    else if (!scanned || e->flags & SCAN_long)
        *found = search(text->folded, e->text, bounded);
}

int scanner_scan(struct scanner *s, const struct scan_text *text, bool *found)
{
    bool scanned = s->db && text->folded.n > 0 && text->folded.n <= UINT_MAX;
    struct hits hits = { s->items, text->folded, found };
    int e = scanned ? scan_database(s, &hits) : 0;
    for (size_t i = 0; e == 0 && !scanned && i < s->n; i++)
        complete(&s->items[i], text, scanned, &found[i]);
    for (size_t i = 0; e == 0 && scanned && i < s->n_special; i++)
        complete(&s->items[s->special[i]], text, scanned, &found[s->special[i]]);
    return e;
}
