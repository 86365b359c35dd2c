#include "adapters/directory.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/card.h"
#include "adapters/history.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/thread.h"

/* ---- paths and stamps ---- */

int directory_path(const struct directory *d, char ret[static PATH_MAX], struct str adapter,
                   const char *file)
{
    int n =
        snprintf(ret, PATH_MAX, "%s/%.*s%s%s", d->path, STR_ARG(adapter), *file ? "/" : "", file);
    return !d->path[0] ? -ENOENT : n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int directory_revision_path(const struct directory *d, char ret[static PATH_MAX],
                            struct str adapter, uint64_t ordinal)
{
    char number[24];
    (void)snprintf(number, sizeof(number), "%" PRIu64, ordinal);
    return directory_path(d, ret, adapter, number);
}

static struct stamp stamp_of(const struct stat *st)
{
    return (struct stamp){ st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
                           (uint64_t)st->st_ino, (uint64_t)st->st_size };
}

static bool stamp_eq(const struct stamp *a, const struct stamp *b)
{
    return a->mtime_ns == b->mtime_ns && a->inode == b->inode && a->bytes == b->bytes;
}

int directory_card_stamp(const struct directory *d, struct str adapter, struct stamp *ret)
{
    char path[PATH_MAX];
    struct stat st;
    int r = directory_path(d, path, adapter, DIRECTORY_CARD);
    if (r < 0)
        return r;
    if (stat(path, &st) < 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    *ret = stamp_of(&st);
    return 0;
}

/* ---- the table (under the lock) ---- */

static struct known **known_at(struct directory *d, struct str name)
{
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 16777619U;
    struct known **at = &d->buckets[h % N_BUCKETS];
    while (*at && !str_is(name, (*at)->name))
        at = &(*at)->next;
    return at;
}

static void known_free(struct known *k)
{
    if (k)
        free(k->revisions);
    free(k);
}

static void replace_known(struct directory *d, struct str name, struct known *k)
{
    struct known *old;
    {
        LOCKED(&d->lock);
        struct known **at = known_at(d, name);
        old = *at;
        if (k)
            k->next = old ? old->next : NULL;
        *at = k ? k : old ? old->next : NULL;
    }
    known_free(old);
}

/* ---- reading one adapter (in a turn) ---- */

static void log_problems(const struct problems *p, const char *event)
{
    for (size_t i = 0; i < problems_len(p); i++) {
        const struct problem *q = problems_at(p, i);
        enum log_level level = q->kind == PROBLEM_error ? LOG_error : LOG_info;
        log_line(level, event, "at=%s:%u:%u key=%s why=\"%s\"", q->file, q->line, q->column,
                 q->path, q->text);
    }
}

static int stamp_files(const struct revision_source *s, struct known_revision *r)
{
    for (size_t i = 0; i < s->n; i++) {
        struct stat st;
        if (stat(s->files[i].path, &st) < 0)
            return -errno;
        r->files[i] = stamp_of(&st);
    }
    r->n_files = s->n;
    return 0;
}

static const struct known_revision *find_revision(const struct known *k, uint64_t ordinal)
{
    for (size_t i = 0; k && i < k->n_revisions; i++)
        if (k->revisions[i].ordinal == ordinal)
            return &k->revisions[i];
    return NULL;
}

static bool same_files(const struct known_revision *a, const struct known_revision *b)
{
    bool same = a->n_files == b->n_files;
    for (size_t i = 0; same && i < a->n_files; i++)
        same = stamp_eq(&a->files[i], &b->files[i]);
    return same;
}

/* Digest and sizes of the revision's folder; files that did not change are not read again. */
static int read_revision(struct directory *d, struct str adapter, uint64_t ordinal,
                         const struct known *before, struct known_revision *ret,
                         struct fail *reterr)
{
    char path[PATH_MAX];
    struct revision_source s;
    struct manifest m;
    struct stat st;
    int r = directory_revision_path(d, path, adapter, ordinal);
    if (r < 0 || (r = revision_find(&s, path, reterr)) != 0)
        return r;
    *ret = (struct known_revision){ .ordinal = ordinal, .bytes = s.bytes };
    if ((r = stamp_files(&s, ret)) < 0)
        return r;
    ret->created_s = stat(s.files[0].path, &st) == 0 ? (uint64_t)st.st_mtime : 0;
    const struct known_revision *old = find_revision(before, ordinal);
    if (old && same_files(old, ret)) {
        ret->digest = old->digest;
        ret->rank = old->rank;
        return 0;
    }
    ret->rank = revision_rank(&s);
    if ((r = revision_manifest(&s, NULL, NULL, &m, reterr)) == 0)
        ret->digest = manifest_digest(&m);
    return r;
}

static int read_revisions(struct directory *d, const struct card *card, const struct known *before,
                          struct known *k)
{
    k->revisions = calloc(card->n_revisions + 1, sizeof(*k->revisions));
    if (!k->revisions)
        return -ENOMEM;
    for (size_t i = 0; i < card->n_revisions; i++) {
        struct fail f;
        int r = read_revision(d, card->name, card->revisions[i], before,
                              &k->revisions[k->n_revisions], &f);
        if (r == 0)
            k->n_revisions++;
        else if (r == -ENOMEM)
            return r;
        else
            log_line(LOG_error, "adapter_revision_refused",
                     "adapter=%s revision=%" PRIu64 " why=\"%s\"", card->name.p, card->revisions[i],
                     r < 0 ? strerror(-r) : f.message);
    }
    return 0;
}

static struct head *head_of(const struct card *card, const struct known *k)
{
    struct head_revision revisions[LIMIT_REVISIONS];
    struct head_alias aliases[LIMIT_ALIASES];
    struct head draft = { .base = card->base,
                          .adapter = card->name,
                          .description = card->description,
                          .epoch = card->epoch,
                          .canary_weight = card->canary_weight,
                          .canary_salt = card->canary_salt,
                          .shadow_weight = card->shadow_weight,
                          .examples = (struct str *)card->examples,
                          .n_examples = card->n_examples,
                          .revisions = revisions,
                          .aliases = aliases };
    for (size_t i = 0; i < k->n_revisions; i++) {
        const struct known_revision *r = &k->revisions[i];
        revisions[draft.n_revisions++] = (struct head_revision){ .digest = r->digest,
                                                                 .ordinal = r->ordinal,
                                                                 .created_s = r->created_s,
                                                                 .bytes = r->bytes,
                                                                 .rank = r->rank };
    }
    for (size_t i = 0; i < card->n_aliases; i++) {
        const struct known_revision *r = find_revision(k, card->aliases[i].ordinal);
        if (r)
            aliases[draft.n_aliases++] =
                (struct head_alias){ .name = card->aliases[i].name, .digest = r->digest };
    }
    return head_new(&draft);
}

/* Drops an adapter whose card is gone. */
static void forget(struct directory *d, struct str adapter)
{
    char base[LIMIT_NAME + 1] = "";
    {
        LOCKED(&d->lock);
        struct known *k = *known_at(d, adapter);
        if (k)
            (void)snprintf(base, sizeof(base), "%s", k->base);
    }
    replace_known(d, adapter, NULL);
    if (base[0])
        page_remove(d->catalog.page, str_of(base), adapter);
}

/* Enters a card that was read well. */
static int enter(struct directory *d, struct str adapter, struct card *card, struct known *k)
{
    const struct known *before = *known_at(d, adapter); /* only a turn changes the table */
    if (before && before->base[0] && !str_is(card->base, before->base))
        page_remove(d->catalog.page, str_of(before->base), adapter);
    int r = read_revisions(d, card, before, k);
    if (r < 0)
        return r;
    (void)snprintf(k->base, sizeof(k->base), "%s", card->base.p);
    struct head *h = head_of(card, k);
    CLEANUP(head_unrefp) struct head *was = NULL;
    if (h && page_find(d->catalog.page, h->base, h->adapter, &was, NULL) == 0 && was &&
        was->epoch > h->epoch) /* the folder is right, also when somebody took it back */
        page_remove(d->catalog.page, h->base, h->adapter);
    return h ? page_put(d->catalog.page, h) : -ENOMEM;
}

int directory_reread(struct directory *d, struct str adapter)
{
    char path[PATH_MAX];
    struct stamp stamp;
    int r = directory_card_stamp(d, adapter,
                                 &stamp); /* before the content: a later change is seen again */
    if (r == -ENOENT) {
        forget(d, adapter);
        return 0;
    }
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(card_freep) struct card *card = NULL;
    struct known *k = calloc(1, sizeof(*k));
    if (!p || !k || r < 0 || (r = directory_path(d, path, adapter, DIRECTORY_CARD)) < 0) {
        known_free(k);
        return r < 0 ? r : -ENOMEM;
    }
    (void)snprintf(k->name, sizeof(k->name), "%.*s", STR_ARG(adapter));
    k->card = stamp;
    r = card_load(&card, path, p);
    if (r == 0 && !str_eq(card->name, adapter))
        r = node_problem(p, PROBLEM_error, document_root(card->document), "name",
                         "is not that of the folder, '%s'", k->name);
    log_problems(p, r < 0 ? "adapter_refused" : "adapter_card");
    if (r == 0)
        r = enter(d, adapter, card, k);
    if (r == -EINVAL) { /* keep what was known, under the new stamp */
        const struct known *before = *known_at(d, adapter);
        (void)snprintf(k->base, sizeof(k->base), "%s", before ? before->base : "");
        r = 0;
    }
    if (r < 0)
        known_free(k);
    else
        replace_known(d, adapter, k);
    return r;
}

/* ---- looking up ---- */

static bool directory_fresh(struct catalog *c, struct str base, struct str adapter)
{
    struct directory *d = directory_of(c);
    struct stamp now = { 0 };
    (void)base;
    if (adapter_name_check(adapter, NULL) != 0)
        return true; /* it cannot exist */
    int r = directory_card_stamp(d, adapter, &now);
    LOCKED(&d->lock);
    const struct known *k = *known_at(d, adapter);
    return r < 0 ? !k : k && stamp_eq(&k->card, &now);
}

/* Whoever asks is told by `fresh`. */
static bool directory_complete(struct catalog *c)
{
    (void)c;
    return false;
}

static int directory_lookup(struct catalog *c, struct str base, struct str adapter,
                            struct fail *reterr)
{
    struct directory *d = directory_of(c);
    if (directory_fresh(c, base, adapter))
        return 0;
    LOCKED(&d->turn);
    int r = directory_fresh(c, base, adapter) ? 0 : directory_reread(d, adapter);
    if (r < 0 && r != -ENOMEM)
        return fail_set(reterr, FAIL_catalog_unavailable, "%.120s/%.*s: %s", d->path,
                        STR_ARG(str_head(adapter, 80)), strerror(-r));
    return r;
}

/* Looks up every folder in `path`; one without a card may be a tenant's, with adapters in it. */
static int lookup_folders(struct catalog *c, const char *path, struct str tenant,
                          struct fail *reterr)
{
    struct directory *d = directory_of(c);
    DIR *folder = opendir(path);
    if (!folder && (errno == ENOENT || errno == ENOTDIR))
        return 0; /* a folder that is yet to come is empty */
    if (!folder)
        return fail_set(reterr, FAIL_catalog_unavailable, "%.200s: %s", path, strerror(errno));
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(folder));) {
        char name[2 * LIMIT_NAME], inner[PATH_MAX];
        struct stamp stamp;
        int n = snprintf(name, sizeof(name), "%.*s%s%s", STR_ARG(tenant), tenant.n ? "/" : "",
                         e->d_name);
        struct str adapter = { name, (size_t)n };
        if (n >= (int)sizeof(name) || adapter_name_check(adapter, NULL) != 0)
            continue;
        r = directory_lookup(c, STR(""), adapter, reterr);
        if (r == 0 && tenant.n == 0 && directory_card_stamp(d, adapter, &stamp) == -ENOENT &&
            directory_path(d, inner, adapter, "") == 0)
            r = lookup_folders(c, inner, adapter, reterr);
    }
    (void)closedir(folder);
    return r;
}

/* Every folder, and every adapter known. */
static int directory_refresh(struct catalog *c, struct fail *reterr)
{
    int r = lookup_folders(c, directory_of(c)->path, STR(""), reterr);
    struct head **heads = NULL;
    size_t n = 0;
    if (r == 0)
        r = page_list(c->page, STR(""), 0, &heads, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = directory_lookup(c, heads[i]->base, heads[i]->adapter, reterr);
    page_list_free(heads, n);
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_history */
static int directory_history(struct catalog *c, struct arena *arena, struct str base,
                             struct str adapter, struct adapter_audit **ret, size_t *ret_n,
                             struct fail *reterr)
{
    char path[PATH_MAX];
    (void)base;
    int r = directory_path(directory_of(c), path, adapter, DIRECTORY_HISTORY);
    if (r == 0)
        r = history_read(path, arena, ret, ret_n);
    if (r < 0 && r != -ENOMEM)
        return fail_set(reterr, FAIL_catalog_unavailable, "%.200s: %s", path, strerror(-r));
    return r;
}

/* ---- files for a load ---- */

/* The files are those that were hashed, by their stamps, or hash to the same now. */
static int verify(struct directory *d, const struct adapter_revision *rev, struct fail *reterr)
{
    struct known_revision now;
    struct known before = { 0 };
    struct known_revision copy;
    struct str adapter = str_of(rev->adapter);
    {
        LOCKED(&d->lock);
        const struct known_revision *r = find_revision(*known_at(d, adapter), rev->ordinal);
        if (r) {
            copy = *r;
            before.revisions = &copy;
            before.n_revisions = 1;
        }
    }
    int r = read_revision(d, adapter, rev->ordinal, &before, &now, reterr);
    if (r != 0)
        return r;
    if (sha256_eq(&now.digest, &rev->digest))
        return 0;
    LOCKED(&d->lock);
    struct known *k = *known_at(d, adapter);
    if (k)
        k->card.mtime_ns = -1; /* read it again at the next request */
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "the files of %.80s revision %" PRIu64
                    " changed after it was published; push them as a new revision",
                    rev->adapter, rev->ordinal);
}

static int directory_stage(struct catalog *c, const struct adapter_revision *rev, struct stage *ret,
                           struct fail *reterr)
{
    struct directory *d = directory_of(c);
    char path[PATH_MAX];
    int r = verify(d, rev, reterr);
    if (r != 0 || (r = directory_revision_path(d, path, str_of(rev->adapter), rev->ordinal)) < 0)
        return r;
    *ret = (struct stage){ .folder = str_dup(str_of(path)), .from = RESIDENCY_disk };
    return ret->folder ? 0 : -ENOMEM;
}

static void directory_unstage(struct catalog *c, struct stage *s)
{
    (void)c;
    free(s->folder);
    s->folder = NULL;
}

/* ---- life ---- */

static void directory_state(struct catalog *c, bool *ret_connected, uint64_t *ret_lag_ms)
{
    /* A folder that is yet to come is an empty catalog. */
    *ret_connected = access(directory_of(c)->path, R_OK | X_OK) == 0 || errno == ENOENT;
    *ret_lag_ms = 0;
}

static struct catalog *directory_free(struct catalog *c)
{
    struct directory *d = directory_of(c);
    for (size_t i = 0; i < N_BUCKETS; i++)
        while (d->buckets[i]) {
            struct known *k = d->buckets[i];
            d->buckets[i] = k->next;
            known_free(k);
        }
    (void)pthread_mutex_destroy(&d->turn);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
    return NULL;
}

static const struct catalog_ops directory_ops = {
    .remote = false,
    .fresh = directory_fresh,
    .lookup = directory_lookup,
    .refresh = directory_refresh,
    .publish = directory_publish,
    .complete = directory_complete,
    .change = directory_change,
    .history = directory_history,
    .stage = directory_stage,
    .unstage = directory_unstage,
    .state = directory_state,
    .free = directory_free,
};

int catalog_directory_open(struct catalog **ret, const struct config_adapters *c,
                           const struct catalog_host *host, struct fail *reterr)
{
    struct directory *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->catalog = (struct catalog){ &directory_ops, host->page };
    (void)pthread_mutex_init(&d->turn, NULL);
    (void)pthread_mutex_init(&d->lock, NULL);
    int n = snprintf(d->path, sizeof(d->path), "%.*s", STR_ARG(c->catalog_path));
    int r = n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : directory_refresh(&d->catalog, reterr);
    if (r != 0) {
        (void)directory_free(&d->catalog);
        return r;
    }
    metrics_set(METRIC_catalog_connected, 1);
    *ret = &d->catalog;
    return 0;
}
