#include "adapters/upkeep.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/blobs/download.h"
#include "adapters/folder.h"
#include "base/clock.h"
#include "base/file.h"

/* ---- digests ---- */

/* Digests are as good as random, so that their first bytes are a hash. */
static size_t slot_of(const struct digest_set *s, const struct sha256 *d)
{
    size_t h;
    memcpy(&h, d->b, sizeof(h));
    static const struct sha256 empty;
    for (h &= s->cap - 1; !sha256_eq(&s->slots[h], &empty) && !sha256_eq(&s->slots[h], d);)
        h = (h + 1) & (s->cap - 1);
    return h;
}

static int grow(struct digest_set *s)
{
    struct digest_set bigger = { .cap = s->cap ? 2 * s->cap : 1024 };
    bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < s->cap; i++)
        bigger.slots[slot_of(&bigger, &s->slots[i])] = s->slots[i];
    bigger.n = s->n;
    free(s->slots);
    *s = bigger;
    return 0;
}

int digest_set_add(struct digest_set *s, const struct sha256 *d)
{
    int r = 2 * (s->n + 1) > s->cap ? grow(s) : 0;
    if (r < 0)
        return r;
    size_t at = slot_of(s, d);
    if (sha256_eq(&s->slots[at], d))
        return 0;
    s->slots[at] = *d;
    s->n++;
    return 1;
}

bool digest_set_has(const struct digest_set *s, const struct sha256 *d)
{
    return s->cap && sha256_eq(&s->slots[slot_of(s, d)], d);
}

void digest_set_done(struct digest_set *s)
{
    free(s->slots);
    *s = (struct digest_set){ 0 };
}

/* ---- revisions ---- */

static int visit_head(const struct head *h, revision_fn visit, void *ctx, struct fail *reterr)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < h->n_revisions; i++) {
        struct adapter_revision rev;
        head_describe(h, &h->revisions[i], STR(""), &rev);
        r = visit(ctx, &rev, reterr);
    }
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int upkeep_each_revision(struct catalog *c, struct str base, struct str adapter, revision_fn visit,
                         void *ctx, struct fail *reterr)
{
    struct head **heads = NULL;
    size_t n = 0;
    int r = adapter.n ? c->ops->lookup(c, base, adapter, reterr) : c->ops->refresh(c, reterr);
    if (r != 0)
        return r;
    if (adapter.n) {
        CLEANUP(head_unrefp) struct head *h = NULL;
        if ((r = page_find(c->page, base, adapter, &h, reterr)) != 0)
            return r;
        if (!h)
            return fail_param(reterr, FAIL_model_not_found, "model", "there is no adapter '%.*s'",
                              STR_ARG(str_head(adapter, 80)));
        return visit_head(h, visit, ctx, reterr);
    }
    if ((r = page_list(c->page, STR(""), 0, &heads, &n)) < 0)
        return r;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = visit_head(heads[i], visit, ctx, reterr);
    page_list_free(heads, n);
    return r;
}

/* ---- pulling ---- */

struct telling { /* sums up what a pace tells piece by piece */
    adapters_progress progress;
    void *ctx;
    uint64_t done, total;
};

static void tell(void *ctx, uint64_t bytes)
{
    struct telling *t = ctx;
    t->done += bytes;
    if (t->progress)
        t->progress(t->ctx, t->done < t->total ? t->done : t->total, t->total);
}

static int copy_in(const char *from, const char *folder, const char *name)
{
    char to[PATH_MAX], temp[PATH_MAX];
    int n = snprintf(temp, sizeof(temp), "%s/.%s.new", folder, name);
    int m = snprintf(to, sizeof(to), "%s/%s", folder, name);
    if (n >= PATH_MAX || m >= PATH_MAX)
        return -ENAMETOOLONG;
    (void)unlink(temp);
    int r = folder_copy_file(from, temp);
    if (r == 0 && rename(temp, to) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(temp);
    return r;
}

/* Copies the files out of a staged folder and checks that they are the revision. */
static int copy_out(const char *staged, const char *folder, const struct adapter_revision *rev,
                    struct fail *reterr)
{
    struct revision_source s, copies;
    struct manifest m;
    int r = revision_find(&s, staged, reterr);
    if (r != 0)
        return r;
    if ((r = file_make_dirs(folder)) < 0)
        return fail_set(reterr, FAIL_invalid_request, "%.200s: %s", folder, strerror(-r));
    copies = s;
    for (size_t i = 0; i < s.n; i++) {
        if ((r = copy_in(s.files[i].path, folder, s.files[i].name)) < 0)
            return fail_set(reterr, FAIL_invalid_request, "%.160s/%s: %s", folder, s.files[i].name,
                            strerror(-r));
        if (snprintf(copies.files[i].path, sizeof(copies.files[i].path), "%s/%s", folder,
                     s.files[i].name) >= PATH_MAX)
            return -ENAMETOOLONG;
    }
    if ((r = revision_manifest(&copies, NULL, NULL, &m, reterr)) != 0)
        return r;
    struct sha256 is = manifest_digest(&m);
    if (!sha256_eq(&is, &rev->digest))
        return fail_set(reterr, FAIL_conflict, "%.200s changed while it was written", folder);
    return 0;
}

static int fetch(struct blobs *b, const struct adapter_pull *pull,
                 const struct adapter_revision *rev, struct fail *reterr)
{
    struct telling t = { pull->progress, pull->progress_ctx, 0, rev->bytes };
    struct blobs_pace pace = { .progress = tell, .ctx = &t };
    struct manifest m;
    enum residency from;
    int r = blobs_fetch_revision(b, &rev->digest, &pace, &m, &from, reterr);
    if (r == 0)
        blobs_release_revision(b, &m);
    return r;
}

int upkeep_pull(struct catalog *c, struct blobs *b, const struct adapter_pull *pull,
                const struct adapter_revision *rev, struct fail *reterr)
{
    struct stage s = { 0 };
    int r = blobs_n_stores(b) ? fetch(b, pull, rev, reterr) : 0;
    if (r == 0)
        r = c->ops->stage(c, rev, &s, reterr);
    if (r != 0)
        return r;
    if (pull->folder)
        r = copy_out(s.folder, pull->folder, rev, reterr);
    c->ops->unstage(c, &s);
    if (r == 0 && pull->progress)
        pull->progress(pull->progress_ctx, rev->bytes, rev->bytes);
    return r;
}

/* ---- checking ---- */

const char *adapter_fault_word(enum adapter_fault_kind kind)
{
    static const char *const words[] = { "missing", "damaged", "unreadable" };
    return words[kind];
}

struct checking {
    struct catalog *catalog;
    struct blobs *blobs; /* NULL: the files are in the catalog's folder */
    const struct adapter_verify *verify;
    struct adapter_verify_report *report;
    struct digest_set seen;
    struct sha256 only;
    bool one; /* revision alone: `only` */
    struct telling telling;
};

static void report(struct checking *k, const struct adapter_fault *f)
{
    uint64_t *counts[] = { &k->report->missing, &k->report->damaged, &k->report->unreadable };
    ++*counts[f->kind];
    if (k->verify->fault)
        k->verify->fault(k->verify->ctx, f);
}

/* true: it is there, in whatever state. */
static bool check_in_cache(struct checking *k, struct blob_cache *cache, struct adapter_fault *f,
                           uint64_t bytes)
{
    char path[PATH_MAX];
    struct sha256 is;
    int r = blob_cache_path(cache, &f->digest, path);
    if (r < 0 || access(path, F_OK) != 0)
        return false;
    k->telling.total += bytes;
    r = sha256_file(&is, path);
    tell(&k->telling, bytes);
    if (r == -ENOENT)
        return false;
    if (r == 0 && sha256_eq(&is, &f->digest))
        return true;
    f->where = "the cache";
    f->kind = r < 0 ? ADAPTER_FAULT_unreadable : ADAPTER_FAULT_damaged;
    f->why = r < 0 ? strerror(-r) : "";
    report(k, f);
    if (r == 0 && blob_cache_hold(cache, &f->digest) == 0) /* finds it damaged too, and drops it */
        blob_cache_release(cache, &f->digest);
    return true;
}

static bool check_in_store(struct checking *k, struct blob_store *s, struct adapter_fault *f,
                           uint64_t bytes)
{
    struct blobs_pace pace = { .progress = tell, .ctx = &k->telling };
    struct fail why = { 0 };
    uint64_t before = k->telling.done;
    if (s->max_bytes && bytes > s->max_bytes)
        return false;
    k->telling.total += bytes;
    int r = download_check(s, &f->digest, bytes, &pace, &why);
    k->telling.done = before;
    tell(&k->telling, bytes);
    if (r == 0 || r == -ENOENT)
        return r == 0;
    f->where = s->name;
    f->kind = r == -EBADMSG ? ADAPTER_FAULT_damaged : ADAPTER_FAULT_unreadable;
    f->why = r == FAILED ? why.message : r == -EBADMSG ? "" : strerror(-r);
    report(k, f);
    return true;
}

/* One file in every place. What is in the cache alone is as good: large files stay there. */
static int check_file(struct checking *k, const struct adapter_revision *rev, const char *name,
                      const struct sha256 *digest, uint64_t bytes, struct fail *reterr)
{
    struct blob_cache *cache;
    struct adapter_fault f = { .revision = rev, .file = name, .digest = *digest, .why = "" };
    int r = digest_set_add(&k->seen, digest);
    if (r <= 0)
        return r;
    if ((r = blobs_cache(k->blobs, &cache, reterr)) != 0)
        return r;
    k->report->files++;
    k->report->bytes += bytes;
    bool there = check_in_cache(k, cache, &f, bytes);
    for (size_t i = 0; i < blobs_n_stores(k->blobs); i++)
        there |= check_in_store(k, blobs_store_at(k->blobs, i), &f, bytes);
    if (there)
        return 0;
    f.where = "every store";
    f.kind = ADAPTER_FAULT_missing;
    f.why = "";
    report(k, &f);
    return 0;
}

static int check_in_folder(struct checking *k, const struct adapter_revision *rev)
{
    struct stage s = { 0 };
    struct revision_source source;
    struct fail why = { 0 };
    struct adapter_fault f = {
        .revision = rev, .file = "files", .digest = rev->digest, .where = "the catalog's folder"
    };
    k->report->files++;
    k->report->bytes += rev->bytes;
    k->telling.total += rev->bytes;
    int r = k->catalog->ops->stage(k->catalog, rev, &s, &why);
    if (r == 0 && (r = revision_find(&source, s.folder, &why)) == 0)
        r = revision_check(&source, &why);
    if (s.folder)
        k->catalog->ops->unstage(k->catalog, &s);
    tell(&k->telling, rev->bytes);
    if (r == 0 || r == -ENOMEM)
        return r;
    f.kind = ADAPTER_FAULT_damaged;
    f.why = r == FAILED ? why.message : strerror(-r);
    report(k, &f);
    return 0;
}

static int check_revision(void *ctx, const struct adapter_revision *rev, struct fail *reterr)
{
    struct checking *k = ctx;
    struct manifest m;
    enum residency from;
    struct fail why = { 0 };
    if (k->one && !sha256_eq(&k->only, &rev->digest))
        return 0;
    k->report->revisions++;
    if (!k->blobs)
        return check_in_folder(k, rev);
    int r = blobs_read_manifest(k->blobs, &rev->digest, NULL, &m, &from, &why);
    if (r < 0)
        return r;
    if (r == FAILED) {
        bool gone = why.code == FAIL_unprocessable_adapter && strstr(why.message, "missing");
        bool damaged = why.code == FAIL_unprocessable_adapter && !gone;
        struct adapter_fault f = { .revision = rev,
                                   .file = "manifest",
                                   .digest = rev->digest,
                                   .where = "every store",
                                   .kind = gone      ? ADAPTER_FAULT_missing
                                           : damaged ? ADAPTER_FAULT_damaged
                                                     : ADAPTER_FAULT_unreadable,
                                   .why = gone || damaged ? "" : why.message };
        report(k, &f);
        return 0;
    }
    CLEANUP(buf_done) struct buf text = BUF_INIT(MANIFEST_MAX);
    manifest_print(&m, &text);
    r = check_file(k, rev, "manifest", &rev->digest, text.n, reterr);
    for (size_t i = 0; r == 0 && i < m.n; i++)
        r = check_file(k, rev, m.files[i].name, &m.files[i].digest, m.files[i].bytes, reterr);
    return r;
}

static int select_revision(struct checking *k, struct fail *reterr)
{
    const struct head_revision *r;
    struct str alias;
    CLEANUP(head_unrefp) struct head *h = NULL;
    const struct adapter_verify *v = k->verify;
    int e = k->catalog->ops->lookup(k->catalog, v->base, v->adapter, reterr);
    if (e == 0)
        e = page_find(k->catalog->page, v->base, v->adapter, &h, reterr);
    if (e == 0 && !h)
        e = fail_param(reterr, FAIL_model_not_found, "model", "there is no adapter '%.*s'",
                       STR_ARG(str_head(v->adapter, 80)));
    if (e == 0)
        e = head_select(h, v->selector, /* ordinals= */ true, &r, &alias, reterr);
    if (e != 0)
        return e;
    k->one = true;
    k->only = r->digest;
    return 0;
}

int upkeep_verify(struct catalog *c, struct blobs *b, const struct adapter_verify *verify,
                  struct adapter_verify_report *ret, struct fail *reterr)
{
    struct checking k = { .catalog = c,
                          .blobs = b,
                          .verify = verify,
                          .report = ret,
                          .telling = { .progress = verify->progress, .ctx = verify->ctx } };
    *ret = (struct adapter_verify_report){ 0 };
    if (blobs_n_stores(b) == 0)
        k.blobs = NULL;
    int r = verify->adapter.n && verify->selector.n ? select_revision(&k, reterr) : 0;
    if (r == 0)
        r = upkeep_each_revision(c, verify->base, verify->adapter, check_revision, &k, reterr);
    digest_set_done(&k.seen);
    return r;
}
