#include "router/signals/literals.h"

#include "base/thread.h"
#include "router/signals/unicode.h"

#include <errno.h>
#include <hs/hs.h>
#include <limits.h>

struct scratch {
    struct scratch *next;
    hs_scratch_t *hs;
};

struct literal {
    struct str text; /* owned */
    bool bounded;
};

struct literals {
    struct literal *items;
    size_t n, cap;
    hs_database_t *db; /* NULL: the processor cannot run it, each literal is searched for alone */
    hs_scratch_t *model;
    pthread_mutex_t lock;
    struct scratch *idle; /* under the lock; as many as ever scanned at once */
};

struct literals *literals_new(void)
{
    struct literals *l = calloc(1, sizeof(*l));
    if (l)
        (void)pthread_mutex_init(&l->lock, NULL);
    return l;
}

struct literals *literals_free(struct literals *l)
{
    if (!l)
        return NULL;
    while (l->idle) {
        struct scratch *s = l->idle;
        l->idle = s->next;
        (void)hs_free_scratch(s->hs);
        free(s);
    }
    (void)hs_free_scratch(l->model);
    (void)hs_free_database(l->db);
    for (size_t i = 0; i < l->n; i++)
        free((char *)l->items[i].text.p);
    free(l->items);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}

int literals_add(struct literals *l, struct str text, bool bounded, size_t *ret_number)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct literal *items = reallocarray(l->items, cap, sizeof(*items));
        if (!items)
            return -ENOMEM;
        l->items = items;
        l->cap = cap;
    }
    char *copy = str_dup(text);
    if (!copy)
        return -ENOMEM;
    *ret_number = l->n;
    l->items[l->n++] = (struct literal){ { copy, text.n }, bounded };
    return 0;
}

size_t literals_len(const struct literals *l)
{
    return l->n;
}

static int compile(struct literals *l, const char **texts, size_t *lens, unsigned *ids)
{
    for (size_t i = 0; i < l->n; i++) {
        texts[i] = l->items[i].text.p;
        lens[i] = l->items[i].text.n;
        ids[i] = (unsigned)i;
    }
    hs_compile_error_t *why = NULL;
    hs_error_t e = hs_compile_lit_multi(texts, NULL, ids, lens, (unsigned)l->n, HS_MODE_BLOCK, NULL,
                                        &l->db, &why);
    (void)hs_free_compile_error(why);
    if (e == HS_SUCCESS)
        e = hs_alloc_scratch(l->db, &l->model);
    return e == HS_SUCCESS ? 0 : e == HS_NOMEM ? -ENOMEM : -EINVAL;
}

int literals_build(struct literals *l)
{
    if (l->n == 0 || hs_valid_platform() != HS_SUCCESS)
        return 0;
    if (l->n > UINT_MAX)
        return -EINVAL;
    CLEANUP(own_free) const char **texts = calloc(l->n, sizeof(*texts));
    CLEANUP(own_free) size_t *lens = calloc(l->n, sizeof(*lens));
    CLEANUP(own_free) unsigned *ids = calloc(l->n, sizeof(*ids));
    if (!texts || !lens || !ids)
        return -ENOMEM;
    return compile(l, texts, lens, ids);
}

static struct scratch *borrow(struct literals *l)
{
    {
        LOCKED(&l->lock);
        struct scratch *s = l->idle;
        if (s) {
            l->idle = s->next;
            return s;
        }
    }
    struct scratch *s = calloc(1, sizeof(*s));
    if (s && hs_clone_scratch(l->model, &s->hs) != HS_SUCCESS) {
        free(s);
        s = NULL;
    }
    return s;
}

static void give_back(struct literals *l, struct scratch *s)
{
    LOCKED(&l->lock);
    s->next = l->idle;
    l->idle = s;
}

struct hits {
    const struct literals *l;
    struct str text;
    bool *found;
};

static bool stands(const struct literal *l, struct str text, size_t end)
{
    return !l->bounded || unicode_bounded(text, end - l->text.n, end);
}

static int hit(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
               void *ctx)
{
    (void)from; /* not tracked: a literal's length is known */
    (void)flags;
    struct hits *h = ctx;
    if (!h->found[id])
        h->found[id] = stands(&h->l->items[id], h->text, (size_t)to);
    return 0;
}

static void scan_each(const struct literals *l, struct str text, bool *found)
{
    for (size_t i = 0; i < l->n; i++) {
        struct str what = l->items[i].text;
        size_t at = 0;
        for (ptrdiff_t d; !found[i] && (d = str_find(str_sub(text, at), what)) >= 0;) {
            at += (size_t)d + 1;
            found[i] = stands(&l->items[i], text, at - 1 + what.n);
        }
    }
}

int literals_scan(struct literals *l, struct str text, bool *found)
{
    if (l->n == 0 || text.n == 0)
        return 0;
    if (!l->db || text.n > UINT_MAX) {
        scan_each(l, text, found);
        return 0;
    }
    struct scratch *s = borrow(l);
    if (!s)
        return -ENOMEM;
    struct hits h = { l, text, found };
    hs_error_t e = hs_scan(l->db, text.p, (unsigned)text.n, 0, s->hs, hit, &h);
    give_back(l, s);
    return e == HS_SUCCESS ? 0 : e == HS_NOMEM ? -ENOMEM : -EIO;
}
