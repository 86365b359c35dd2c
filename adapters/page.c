#include "adapters/page.h"

#include <errno.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "base/thread.h"

struct entry {
    struct entry *next; /* of the bucket */
    uint64_t hash;      /* of the adapter's name */
    struct head *head;  /* owned reference, never NULL */
    uint64_t epoch;     /* below which a head is refused */
};

struct page {
    pthread_mutex_t lock;
    struct entry **buckets; /* a power of two of them */
    size_t n_buckets, n;
    struct entry **sorted; /* all entries by name, built when listed; NULL: to be built */
};

int page_new(struct page **ret)
{
    struct page *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->n_buckets = 64;
    p->buckets = calloc(p->n_buckets, sizeof(struct entry *));
    if (!p->buckets) {
        free(p);
        return -ENOMEM;
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    *ret = p;
    return 0;
}

struct page *page_free(struct page *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < p->n_buckets; i++)
        while (p->buckets[i]) {
            struct entry *e = p->buckets[i];
            p->buckets[i] = e->next;
            (void)head_unref(e->head);
            free(e);
        }
    (void)pthread_mutex_destroy(&p->lock);
    free(p->buckets);
    free(p->sorted);
    free(p);
    return NULL;
}

static uint64_t hash_of(struct str s) /* FNV-1a: names are set by the operator, not by clients */
{
    uint64_t h = 0xcbf29ce484222325U;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3U;
    return h ^ (h >> 32);
}

static struct entry **bucket_of(struct page *p, uint64_t hash)
{
    return &p->buckets[hash & (p->n_buckets - 1)];
}

static void grow(struct page *p) /* without memory the chains only get longer */
{
    size_t n = p->n_buckets * 2;
    struct entry **buckets = calloc(n, sizeof(struct entry *));
    if (!buckets)
        return;
    for (size_t i = 0; i < p->n_buckets; i++)
        while (p->buckets[i]) {
            struct entry *e = p->buckets[i];
            p->buckets[i] = e->next;
            e->next = buckets[e->hash & (n - 1)];
            buckets[e->hash & (n - 1)] = e;
        }
    free(p->buckets);
    p->buckets = buckets;
    p->n_buckets = n;
}

static bool matches(const struct entry *e, uint64_t hash, struct str base, struct str adapter)
{
    return e->hash == hash && str_eq(e->head->adapter, adapter) &&
           (base.n == 0 || str_eq(e->head->base, base));
}

/* Returns the head that is to be unreferenced after the lock is gone. */
static struct head *put_locked(struct page *p, struct head *h, struct entry **spare)
{
    uint64_t hash = hash_of(h->adapter);
    for (struct entry *e = *bucket_of(p, hash); e; e = e->next)
        if (matches(e, hash, h->base, h->adapter)) {
            if (h->epoch < e->epoch)
                return h;
            struct head *old = e->head;
            e->head = h;
            e->epoch = h->epoch;
            return old;
        }
    if (p->n >= p->n_buckets)
        grow(p);
    struct entry *e = TAKE(*spare), **bucket = bucket_of(p, hash);
    *e = (struct entry){ *bucket, hash, h, h->epoch };
    *bucket = e;
    p->n++;
    free(p->sorted);
    p->sorted = NULL;
    metrics_set(METRIC_adapters_known, (int64_t)p->n);
    return NULL;
}

int page_put(struct page *p, struct head *h)
{
    CLEANUP(own_free) struct entry *spare = malloc(sizeof(*spare));
    if (!spare) {
        (void)head_unref(h);
        return -ENOMEM;
    }
    struct head *old;
    {
        LOCKED(&p->lock);
        old = put_locked(p, h, &spare);
    }
    (void)head_unref(old);
    return 0;
}

static struct entry *take_locked(struct page *p, struct str base, struct str adapter)
{
    uint64_t hash = hash_of(adapter);
    for (struct entry **at = bucket_of(p, hash); *at; at = &(*at)->next) {
        struct entry *e = *at;
        if (!matches(e, hash, base, adapter))
            continue;
        *at = e->next;
        p->n--;
        free(p->sorted);
        p->sorted = NULL;
        metrics_set(METRIC_adapters_known, (int64_t)p->n);
        return e;
    }
    return NULL;
}

void page_remove(struct page *p, struct str base, struct str adapter)
{
    struct entry *gone;
    {
        LOCKED(&p->lock);
        gone = take_locked(p, base, adapter);
    }
    if (gone)
        (void)head_unref(gone->head);
    free(gone);
}

void page_forget_epochs(struct page *p)
{
    LOCKED(&p->lock);
    for (size_t i = 0; i < p->n_buckets; i++)
        for (struct entry *e = p->buckets[i]; e; e = e->next)
            e->epoch = 0;
}

int page_find(struct page *p, struct str base, struct str adapter, struct head **ret,
              struct fail *reterr)
{
    uint64_t hash = hash_of(adapter);
    struct head *found = NULL;
    bool several = false;
    {
        LOCKED(&p->lock);
        for (struct entry *e = *bucket_of(p, hash); e; e = e->next)
            if (matches(e, hash, base, adapter)) {
                several = found != NULL;
                if (several)
                    break;
                found = e->head;
            }
        if (found && !several)
            (void)head_ref(found);
    }
    if (several)
        return fail_param(reterr, FAIL_conflict, "model",
                          "several base models have an adapter '%.*s'; say base:%.*s",
                          STR_ARG(str_head(adapter, 80)), STR_ARG(str_head(adapter, 80)));
    *ret = found;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct head *x = (*(struct entry *const *)a)->head,
                      *y = (*(struct entry *const *)b)->head;
    int c = str_cmp(x->adapter, y->adapter);
    return c ? c : str_cmp(x->base, y->base);
}

static int sort_locked(struct page *p)
{
    if (p->sorted || p->n == 0)
        return 0;
    p->sorted = malloc(p->n * sizeof(struct entry *));
    if (!p->sorted)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < p->n_buckets; i++)
        for (struct entry *e = p->buckets[i]; e; e = e->next)
            p->sorted[n++] = e;
    qsort(p->sorted, n, sizeof(struct entry *), by_name);
    return 0;
}

int page_list(struct page *p, struct str after, size_t max, struct head ***ret, size_t *ret_n)
{
    LOCKED(&p->lock);
    if (sort_locked(p) < 0)
        return -ENOMEM;
    size_t lo = 0, hi = p->n;
    while (after.n && lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (str_cmp(p->sorted[mid]->head->adapter, after) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    size_t n = p->n - lo;
    if (max && n > max)
        n = max;
    struct head **heads = malloc((n ? n : 1) * sizeof(struct head *));
    if (!heads)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        heads[i] = head_ref(p->sorted[lo + i]->head);
    *ret = heads;
    *ret_n = n;
    return 0;
}

void page_list_free(struct head **heads, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)head_unref(heads[i]);
    free(heads);
}

size_t page_len(struct page *p)
{
    LOCKED(&p->lock);
    return p->n;
}
