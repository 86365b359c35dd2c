/*
 * Mark and sweep. Marked is every revision of the catalog, with the files of its manifest. Swept is
 * what is not marked and old: a push stores what it needs anew when that is older than an hour, so
 * what the catalog is about to name is young.
 */
#include <errno.h>
#include <stdlib.h>

#include "adapters/blobs/download.h"
#include "adapters/upkeep.h"
#include "base/clock.h"

struct collecting {
    struct blobs *blobs;
    const struct adapter_gc *gc;
    struct adapter_gc_report *report;
    struct digest_set marked;
    uint64_t now_s, done, total;
};

static void step(struct collecting *k)
{
    k->done++;
    if (k->total < k->done)
        k->total = k->done;
    if (k->gc->progress)
        k->gc->progress(k->gc->progress_ctx, k->done, k->total);
}

/* ---- marking ---- */

static int count_revision(void *ctx, const struct adapter_revision *rev, struct fail *reterr)
{
    struct collecting *k = ctx;
    (void)rev;
    (void)reterr;
    k->report->revisions++;
    return 0;
}

static int mark(void *ctx, const struct adapter_revision *rev, struct fail *reterr)
{
    struct collecting *k = ctx;
    struct manifest m = { 0 };
    enum residency from;
    struct fail why = { 0 };
    step(k);
    int r = digest_set_add(&k->marked, &rev->digest);
    if (r <= 0)
        return r;
    if (blobs_n_stores(k->blobs) == 0)
        return 0;
    r = blobs_read_manifest(k->blobs, &rev->digest, NULL, &m, &from, &why);
    if (r == FAILED && why.code == FAIL_unprocessable_adapter) {
        k->report->missing++; /* nobody can read such a revision: it keeps nothing alive */
        return 0;
    }
    if (r == FAILED && reterr)
        *reterr = why;
    for (size_t i = 0; r == 0 && i < m.n; i++)
        r = digest_set_add(&k->marked, &m.files[i].digest) < 0 ? -ENOMEM : 0;
    return r;
}

/* ---- sweeping ---- */

static bool is_garbage(const struct collecting *k, const struct sha256 *d, uint64_t since_s)
{
    return since_s && since_s + k->gc->grace_s <= k->now_s && !digest_set_has(&k->marked, d);
}

static void count(struct adapter_gc_part *p, bool removed, uint64_t bytes)
{
    *(removed ? &p->removed : &p->kept) += 1;
    *(removed ? &p->removed_bytes : &p->kept_bytes) += bytes;
}

struct victims {
    struct blob_listed *all; /* owned */
    size_t n, cap;
};

static int add_victim(struct victims *v, const struct blob_listed *item)
{
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 256;
        struct blob_listed *all = realloc(v->all, cap * sizeof(*all));
        if (!all)
            return -ENOMEM;
        v->all = all;
        v->cap = cap;
    }
    v->all[v->n++] = *item;
    return 0;
}

struct store_call { /* lists into a page, looks at a blob, or removes it */
    struct blob_page *page;
    struct blob_stat *stat;
    const struct sha256 *digest;
};

/* Tried again where what failed may pass. */
static int call_store(struct blob_store *s, const struct store_call *c, struct fail *reterr)
{
    struct retry retry = { 0 };
    struct fail why;
    int r;
    do
        r = c->page   ? s->ops->list(s, c->page, &why)
            : c->stat ? s->ops->stat(s, c->digest, c->stat, &why)
                      : s->ops->remove(s, c->digest, &why);
    while (r == FAILED && retry_again(&retry, &why, NULL));
    if (r == FAILED && reterr)
        *reterr = why;
    return r;
}

static int list_store(struct collecting *k, struct blob_store *s, struct victims *v,
                      struct fail *reterr)
{
    CLEANUP(own_free) struct blob_page *page = calloc(1, sizeof(*page));
    int r = page ? 0 : -ENOMEM;
    while (r == 0 && !page->last) {
        r = call_store(s, &(struct store_call){ .page = page }, reterr);
        for (size_t i = 0; r == 0 && i < page->n; i++) {
            const struct blob_listed *item = &page->items[i];
            step(k);
            if (is_garbage(k, &item->digest, item->stat.modified_s))
                r = add_victim(v, item);
            else
                count(&k->report->stores, /* removed= */ false, item->stat.bytes);
        }
    }
    return r;
}

/* Looks again first: a push may have made it young meanwhile. */
static int remove_victim(struct collecting *k, struct blob_store *s, const struct blob_listed *v,
                         struct fail *reterr)
{
    struct blob_stat now;
    int r = 0;
    if (!k->gc->dry_run) {
        r = call_store(s, &(struct store_call){ .digest = &v->digest, .stat = &now }, reterr);
        bool young = r == 0 && now.modified_s != v->stat.modified_s;
        if (young)
            count(&k->report->stores, /* removed= */ false, v->stat.bytes);
        if (young || (r != 0 && r != -ENOENT))
            return r;
        r = call_store(s, &(struct store_call){ .digest = &v->digest }, reterr);
    }
    if (r == 0)
        count(&k->report->stores, /* removed= */ true, v->stat.bytes);
    return r;
}

static int sweep_store(struct collecting *k, struct blob_store *s, struct fail *reterr)
{
    struct victims v = { 0 };
    int r = list_store(k, s, &v, reterr);
    for (size_t i = 0; r == 0 && i < v.n; i++)
        r = remove_victim(k, s, &v.all[i], reterr);
    free(v.all);
    return r;
}

static bool visit_cached(void *ctx, const char *group, const struct sha256 *digest, uint64_t bytes,
                         uint64_t used_s)
{
    struct collecting *k = ctx;
    (void)group; /* of what is packed the revision's digest is the name */
    step(k);
    bool garbage = is_garbage(k, digest, used_s);
    if (!garbage || k->gc->dry_run)
        count(&k->report->cache, garbage, bytes);
    else
        k->report->cache.kept_bytes += bytes; /* until it is gone */
    return garbage && !k->gc->dry_run;
}

static int sweep_cache(struct collecting *k, struct fail *reterr)
{
    struct blob_cache *cache;
    struct blob_cache_swept swept;
    struct adapter_gc_part *p = &k->report->cache;
    int r = blobs_cache(k->blobs, &cache, reterr);
    if (r != 0)
        return r;
    if ((r = blob_cache_sweep(cache, visit_cached, k, &swept)) < 0)
        return fail_set(reterr, FAIL_internal_error, "adapters.blobs.cache: %s", strerror(-r));
    p->removed += swept.files;
    p->removed_bytes += swept.bytes;
    p->kept += swept.kept_in_use;
    p->kept_bytes -= swept.bytes;
    return 0;
}

static int collect(struct collecting *k, struct catalog *c, struct fail *reterr)
{
    int r = upkeep_each_revision(c, STR_NULL, STR(""), count_revision, k, reterr);
    k->total = k->report->revisions;
    if (r == 0)
        r = upkeep_each_revision(c, STR_NULL, STR(""), mark, k, reterr);
    for (size_t i = 0; r == 0 && i < blobs_n_stores(k->blobs); i++) {
        struct blob_store *s = blobs_store_at(k->blobs, i);
        if (s->ops->list && s->ops->remove)
            r = sweep_store(k, s, reterr);
    }
    return r == 0 ? sweep_cache(k, reterr) : r;
}

int upkeep_gc(struct catalog *c, struct blobs *b, const struct adapter_gc *gc,
              struct adapter_gc_report *ret, struct fail *reterr)
{
    struct collecting k = { .blobs = b, .gc = gc, .report = ret, .now_s = clock_wall_s() };
    *ret = (struct adapter_gc_report){ 0 };
    int r = collect(&k, c, reterr);
    digest_set_done(&k.marked);
    return r;
}
