#include "adapters/catalog.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapters/card.h"
#include "adapters/folder.h"
#include "adapters/history.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/thread.h"

#define CARD_NAME "adapter.yaml"
#define HISTORY_NAME "history.jsonl"

/* Equal stamps: the same file with the same content. */
struct stamp {
    int64_t mtime_ns;
    uint64_t inode, bytes;
};

struct known_revision {
    uint64_t ordinal;
    struct stamp files[REVISION_FILES];
    size_t n_files;
    struct sha256 digest;
    uint64_t bytes, created_s;
};

struct known { /* what was read of one adapter's folder */
    struct known *next;
    char name[LIMIT_NAME + 1]; /* of the folder */
    char base[LIMIT_NAME + 1]; /* "": the card was refused */
    struct stamp card;
    struct known_revision *revisions; /* owned */
    size_t n_revisions;
};

enum { N_BUCKETS = 1024 };

struct directory {
    struct catalog catalog; /* first */
    char path[PATH_MAX];    /* "": no folder was named, so there are no adapters */
    pthread_mutex_t turn;   /* whose turn it is to read or change the folder; held over file I/O, so
                               never taken on a path that must not block */
    pthread_mutex_t lock;   /* of the table; taken inside a turn */
    struct known *buckets[N_BUCKETS];
};

static struct directory *of(struct catalog *c)
{
    return (struct directory *)(void *)c;
}

/* ---- paths and stamps ---- */

static int path_of(const struct directory *d, char ret[static PATH_MAX], struct str adapter,
                   const char *file)
{
    int n =
        snprintf(ret, PATH_MAX, "%s/%.*s%s%s", d->path, STR_ARG(adapter), *file ? "/" : "", file);
    return !d->path[0] ? -ENOENT : n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int revision_path(const struct directory *d, char ret[static PATH_MAX], struct str adapter,
                         uint64_t ordinal)
{
    char number[24];
    (void)snprintf(number, sizeof(number), "%" PRIu64, ordinal);
    return path_of(d, ret, adapter, number);
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

/* 0 or negative errno; -ENOENT when there is no card. */
static int card_stamp(const struct directory *d, struct str adapter, struct stamp *ret)
{
    char path[PATH_MAX];
    struct stat st;
    int r = path_of(d, path, adapter, CARD_NAME);
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
    int r = revision_path(d, path, adapter, ordinal);
    if (r < 0 || (r = revision_find(&s, path, reterr)) != 0)
        return r;
    *ret = (struct known_revision){ .ordinal = ordinal, .bytes = s.bytes };
    if ((r = stamp_files(&s, ret)) < 0)
        return r;
    ret->created_s = stat(s.files[0].path, &st) == 0 ? (uint64_t)st.st_mtime : 0;
    const struct known_revision *old = find_revision(before, ordinal);
    if (old && same_files(old, ret)) {
        ret->digest = old->digest;
        return 0;
    }
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
                          .examples = (struct str *)card->examples,
                          .n_examples = card->n_examples,
                          .revisions = revisions,
                          .aliases = aliases };
    for (size_t i = 0; i < k->n_revisions; i++) {
        const struct known_revision *r = &k->revisions[i];
        revisions[draft.n_revisions++] =
            (struct head_revision){ r->digest, r->ordinal, r->created_s, r->bytes };
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
    return h ? page_put(d->catalog.page, h) : -ENOMEM;
}

/*
 * Reads the adapter's card anew. A card that cannot be read is logged once and what was known
 * before keeps serving.
 */
static int reread(struct directory *d, struct str adapter)
{
    char path[PATH_MAX];
    struct stamp stamp;
    int r = card_stamp(d, adapter, &stamp); /* before the content: a later change is seen again */
    if (r == -ENOENT) {
        forget(d, adapter);
        return 0;
    }
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(card_freep) struct card *card = NULL;
    struct known *k = calloc(1, sizeof(*k));
    if (!p || !k || r < 0 || (r = path_of(d, path, adapter, CARD_NAME)) < 0) {
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
    struct directory *d = of(c);
    struct stamp now = { 0 };
    (void)base;
    if (adapter_name_check(adapter, NULL) != 0)
        return true; /* it cannot exist */
    int r = card_stamp(d, adapter, &now);
    LOCKED(&d->lock);
    const struct known *k = *known_at(d, adapter);
    return r < 0 ? !k : k && stamp_eq(&k->card, &now);
}

static int directory_lookup(struct catalog *c, struct str base, struct str adapter,
                            struct fail *reterr)
{
    struct directory *d = of(c);
    if (directory_fresh(c, base, adapter))
        return 0;
    LOCKED(&d->turn);
    int r = directory_fresh(c, base, adapter) ? 0 : reread(d, adapter);
    if (r < 0 && r != -ENOMEM)
        return fail_set(reterr, FAIL_catalog_unavailable, "%.120s/%.*s: %s", d->path,
                        STR_ARG(str_head(adapter, 80)), strerror(-r));
    return r;
}

/* Calls lookup for every folder, and for every adapter known. */
static int directory_refresh(struct catalog *c, struct fail *reterr)
{
    struct directory *d = of(c);
    DIR *folder = opendir(d->path);
    if (!folder && errno != ENOENT) /* a folder that is yet to come is empty */
        return fail_set(reterr, FAIL_catalog_unavailable, "%.200s: %s", d->path, strerror(errno));
    int r = 0;
    for (struct dirent *e; folder && r == 0 && (e = readdir(folder));)
        if (adapter_name_check(str_of(e->d_name), NULL) == 0)
            r = directory_lookup(c, STR(""), str_of(e->d_name), reterr);
    if (folder)
        (void)closedir(folder);
    struct head **heads = NULL;
    size_t n = 0;
    if (r == 0)
        r = page_list(c->page, STR(""), 0, &heads, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = directory_lookup(c, heads[i]->base, heads[i]->adapter, reterr);
    page_list_free(heads, n);
    return r;
}

/* ---- changing ---- */

static int cannot_write(struct fail *reterr, const char *path, int r)
{
    if (r == -ENOMEM)
        return r;
    return fail_set(reterr, FAIL_catalog_unavailable, "%.200s: %s; the catalog cannot be changed",
                    path, strerror(-r));
}

/* Locks the adapter's folder against other processes; the lock goes with the descriptor. */
static int lock_folder(const char *path, int *ret, struct fail *reterr)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0) {
        *ret = fd;
        return 0;
    }
    int r = cannot_write(reterr, path, -errno);
    own_close(&fd);
    return r;
}

static int write_card(struct directory *d, const struct card *card, struct fail *reterr)
{
    char path[PATH_MAX];
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_YAML_BYTES);
    int r = path_of(d, path, card->name, CARD_NAME);
    card_print(card, &b);
    if (r < 0 || (r = buf_err(&b)) < 0)
        return r;
    if ((r = file_replace(path, buf_str(&b))) < 0)
        return cannot_write(reterr, path, r);
    /* The kernel's own stamps are coarse; two changes in one tick must not look alike. */
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
    (void)clock_gettime(CLOCK_REALTIME, &times[1]);
    (void)utimensat(AT_FDCWD, path, times, 0);
    return 0;
}

static int record(struct directory *d, struct str adapter, const struct audit_line *l,
                  struct fail *reterr)
{
    char path[PATH_MAX];
    int r = path_of(d, path, adapter, HISTORY_NAME);
    if (r < 0)
        return r;
    r = history_append(path, l);
    return r < 0 ? cannot_write(reterr, path, r) : 0;
}

/* The card as it is on disk, by a process that holds the folder's lock. */
static int open_card(struct directory *d, struct str adapter, struct card **ret,
                     struct fail *reterr)
{
    char path[PATH_MAX];
    CLEANUP(problems_freep) struct problems *p = problems_new();
    int r = path_of(d, path, adapter, CARD_NAME);
    if (!p || r < 0)
        return r < 0 ? r : -ENOMEM;
    r = card_load(ret, path, p);
    if (r == -EINVAL && problems_len(p))
        return fail_set(reterr, FAIL_conflict, "%.160s:%u:%u: %.80s; mend it first", path,
                        problems_at(p, 0)->line, problems_at(p, 0)->column,
                        problems_at(p, 0)->text);
    return r;
}

/* Moves the alias in the card and records it; a move of `prod` leaves its former place in `prev`.
 */
static int move_alias(struct directory *d, struct card *card, const struct head *h,
                      const struct audit_line *l, struct fail *reterr)
{
    const struct head_revision *to = head_revision(h, l->to);
    const struct head_revision *from = l->from ? head_revision(h, l->from) : NULL;
    int r = card_set_alias(card, l->alias, to->ordinal, reterr);
    if (r == 0 && from && str_is(l->alias, ALIAS_PROD))
        r = card_set_alias(card, STR(ALIAS_PREV), from->ordinal, reterr);
    if (r == 0)
        r = write_card(d, card, reterr);
    if (r == 0)
        r = record(d, card->name, l, reterr);
    return r;
}

static int find_head(struct directory *d, struct str base, struct str adapter, struct head **ret,
                     struct fail *reterr)
{
    int r = reread(d, adapter);
    if (r < 0)
        return r;
    if ((r = page_find(d->catalog.page, base, adapter, ret, reterr)) != 0)
        return r;
    if (!*ret)
        return fail_param(reterr, FAIL_model_not_found, "model", "no adapter '%.*s' in %.120s",
                          STR_ARG(str_head(adapter, 80)), d->path);
    return 0;
}

/* Where a rollback leads: the alias's former place by the record, else `prev` for `prod`. */
static int former_place(struct directory *d, const struct head *h, const struct head_alias *a,
                        const struct head_revision **ret, struct fail *reterr)
{
    char path[PATH_MAX];
    struct sha256 digest;
    int r = path_of(d, path, h->adapter, HISTORY_NAME);
    if (r < 0)
        return r;
    *ret = NULL;
    const struct head_alias *prev = head_alias(h, STR(ALIAS_PREV));
    enum history_word word =
        a ? history_previous(path, a->name, &a->digest, &digest) : HISTORY_first;
    if (word == HISTORY_moved)
        *ret = head_revision(h, &digest);
    if (word == HISTORY_silent && prev && str_is(a->name, ALIAS_PROD))
        *ret = head_revision(h, &prev->digest);
    if (*ret)
        return 0;
    return fail_param(reterr, FAIL_conflict, "alias",
                      "adapter '%.100s' has no alias of this name that was moved before",
                      h->adapter.p);
}

static int directory_move(struct catalog *c, const struct alias_move *m, struct fail *reterr)
{
    struct directory *d = of(c);
    char folder[PATH_MAX];
    CLEANUP(own_close) int fd = -1;
    CLEANUP(head_unrefp) struct head *h = NULL;
    CLEANUP(card_freep) struct card *card = NULL;
    const struct head_revision *to;
    struct str alias;
    LOCKED(&d->turn);
    int r = find_head(d, m->base, m->adapter, &h, reterr);
    if (r != 0 || (r = path_of(d, folder, m->adapter, "")) < 0 ||
        (r = lock_folder(folder, &fd, reterr)) != 0)
        return r;
    h = head_unref(h); /* again, now that nobody else writes */
    if ((r = find_head(d, m->base, m->adapter, &h, reterr)) != 0 ||
        (r = open_card(d, m->adapter, &card, reterr)) != 0)
        return r;
    const struct head_alias *a = head_alias(h, m->alias);
    r = m->rollback ? former_place(d, h, a, &to, reterr)
                    : head_select(h, m->selector, /* ordinals= */ true, &to, &alias, reterr);
    if (r != 0 || (r = alias_expect(a, m->expected, reterr)) != 0)
        return r;
    if (a && sha256_eq(&a->digest, &to->digest))
        return 0;
    struct audit_line l = { m->rollback ? "rollback" : "alias", m->alias, m->who,
                            a ? &a->digest : NULL, &to->digest };
    r = move_alias(d, card, h, &l, reterr);
    return r == 0 ? reread(d, m->adapter) : r;
}

/* ---- publishing ---- */

/* Fills a folder that has no name in the catalog yet, and checks that it got what was hashed. */
static int fill_folder(const char *folder, const struct publication *p, struct fail *reterr)
{
    const struct revision_source *s = p->source;
    struct revision_source copy;
    struct manifest m;
    int r;
    for (size_t i = 0; i < s->n; i++) {
        char to[PATH_MAX];
        int n = snprintf(to, sizeof(to), "%s/%s", folder, s->files[i].name);
        r = n >= PATH_MAX ? -ENAMETOOLONG : folder_copy_file(s->files[i].path, to);
        if (r < 0)
            return cannot_write(reterr, to, r);
    }
    if ((r = revision_find(&copy, folder, reterr)) != 0 ||
        (r = revision_manifest(&copy, NULL, NULL, &m, reterr)) != 0)
        return r;
    struct sha256 is = manifest_digest(&m);
    if (!sha256_eq(&is, &p->digest))
        return fail_set(reterr, FAIL_conflict, "the files changed while they were published");
    return 0;
}

/* A new revision's folder, complete before it has its name. */
static int store_revision(struct directory *d, const struct publication *p, uint64_t ordinal,
                          struct fail *reterr)
{
    char temp[PATH_MAX], final[PATH_MAX];
    int r = path_of(d, temp, p->adapter, ".push-XXXXXX");
    if (r < 0 || (r = revision_path(d, final, p->adapter, ordinal)) < 0)
        return r;
    if (!mkdtemp(temp) || chmod(temp, 0755) < 0)
        return cannot_write(reterr, temp, -errno);
    r = fill_folder(temp, p, reterr);
    if (r == 0 && rename(temp, final) < 0)
        r = cannot_write(reterr, final, -errno);
    if (r != 0)
        folder_remove(temp);
    return r;
}

static int64_t highest_folder(const char *path)
{
    int64_t highest = 0, n;
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (num_parse_i64(&n, str_of(e->d_name), 1, INT32_MAX) == 0 && n > highest)
            highest = n;
    if (d)
        (void)closedir(d);
    return highest;
}

static int set_texts(struct card *card, const struct publication *p)
{
    if (p->description.n && !(card->description = arena_str(card->arena, p->description)).p)
        return -ENOMEM;
    if (p->n_examples) {
        card->examples = p->examples; /* outlive the card */
        card->n_examples = p->n_examples;
    }
    return 0;
}

static int add_revision(struct directory *d, const struct publication *p, const char *folder,
                        struct card *card, struct fail *reterr)
{
    uint64_t ordinal = (uint64_t)highest_folder(folder) + 1;
    if (card->n_revisions == LIMIT_REVISIONS)
        return fail_set(reterr, FAIL_conflict, "adapter '%.100s' has %d revisions already",
                        card->name.p, LIMIT_REVISIONS);
    for (size_t i = 0; i < card->n_revisions; i++)
        if (card->revisions[i] >= ordinal)
            ordinal = card->revisions[i] + 1;
    int r = store_revision(d, p, ordinal, reterr);
    if (r != 0 || (r = set_texts(card, p)) < 0)
        return r;
    card->revisions[card->n_revisions++] = ordinal;
    if ((r = write_card(d, card, reterr)) != 0)
        return r;
    struct audit_line l = { "publish", STR(""), p->who, NULL, &p->digest };
    return record(d, card->name, &l, reterr);
}

/* In a turn and under the folder's lock. */
static int publish_locked(struct directory *d, const struct publication *p, const char *folder,
                          struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    CLEANUP(card_freep) struct card *card = NULL;
    struct stamp stamp;
    int r = card_stamp(d, p->adapter, &stamp);
    r = r == -ENOENT ? card_new(&card, p->adapter, p->base)
        : r < 0      ? cannot_write(reterr, folder, r)
                     : open_card(d, p->adapter, &card, reterr);
    if (r != 0 || (r = reread(d, p->adapter)) < 0)
        return r;
    assert(card);
    if (!str_eq(card->base, p->base))
        return fail_param(
            reterr, FAIL_conflict, "base",
            "adapter '%.100s' belongs to base '%.100s', and a directory catalog keeps "
            "one base for a name",
            card->name.p, card->base.p);
    bool first = card->n_revisions == 0;
    if ((r = page_find(d->catalog.page, p->base, p->adapter, &h, reterr)) != 0)
        return r;
    if (!h || !head_revision(h, &p->digest)) {
        if ((r = add_revision(d, p, folder, card, reterr)) != 0 || (r = reread(d, p->adapter)) < 0)
            return r;
        h = head_unref(h);
        if ((r = page_find(d->catalog.page, p->base, p->adapter, &h, reterr)) != 0)
            return r;
    }
    if (!h || !head_revision(h, &p->digest))
        return fail_set(reterr, FAIL_conflict, "%.200s changed while it was published", folder);
    struct str alias = p->alias.n ? p->alias : first ? STR(ALIAS_PROD) : STR("");
    const struct head_alias *a = alias.n ? head_alias(h, alias) : NULL;
    if (alias.n == 0 || (a && sha256_eq(&a->digest, &p->digest)))
        return 0;
    struct audit_line l = { "alias", alias, p->who, a ? &a->digest : NULL, &p->digest };
    r = move_alias(d, card, h, &l, reterr);
    return r == 0 ? reread(d, p->adapter) : r;
}

static int directory_publish(struct catalog *c, const struct publication *p, struct fail *reterr)
{
    struct directory *d = of(c);
    char folder[PATH_MAX];
    CLEANUP(own_close) int fd = -1;
    int r = path_of(d, folder, p->adapter, "");
    if (r < 0)
        return cannot_write(reterr, d->path[0] ? d->path : "adapters.catalog.path is not set", r);
    LOCKED(&d->turn);
    if ((r = file_make_dirs(folder)) < 0)
        return cannot_write(reterr, folder, r);
    if ((r = lock_folder(folder, &fd, reterr)) != 0)
        return r;
    r = publish_locked(d, p, folder, reterr);
    if (r != 0)
        (void)rmdir(folder); /* only when it is empty */
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_history */
static int directory_history(struct catalog *c, struct arena *arena, struct str base,
                             struct str adapter, struct adapter_audit **ret, size_t *ret_n,
                             struct fail *reterr)
{
    char path[PATH_MAX];
    (void)base;
    int r = path_of(of(c), path, adapter, HISTORY_NAME);
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
    struct directory *d = of(c);
    char path[PATH_MAX];
    int r = verify(d, rev, reterr);
    if (r != 0 || (r = revision_path(d, path, str_of(rev->adapter), rev->ordinal)) < 0)
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
    *ret_connected = access(of(c)->path, R_OK | X_OK) == 0 || errno == ENOENT;
    *ret_lag_ms = 0;
}

static struct catalog *directory_free(struct catalog *c)
{
    struct directory *d = of(c);
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
    .move = directory_move,
    .history = directory_history,
    .stage = directory_stage,
    .unstage = directory_unstage,
    .state = directory_state,
    .free = directory_free,
};

int catalog_directory_open(struct catalog **ret, const struct config_adapters *c, struct page *page,
                           struct fail *reterr)
{
    struct directory *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->catalog = (struct catalog){ &directory_ops, page };
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
