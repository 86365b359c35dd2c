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
#include "adapters/folder.h"
#include "adapters/head_change.h"
#include "adapters/history.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "base/thread.h"

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
    int r = directory_path(d, path, card->name, DIRECTORY_CARD);
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

/* The card as it is on disk, by a process that holds the folder's lock. */
static int open_card(struct directory *d, struct str adapter, struct card **ret,
                     struct fail *reterr)
{
    char path[PATH_MAX];
    CLEANUP(problems_freep) struct problems *p = problems_new();
    int r = directory_path(d, path, adapter, DIRECTORY_CARD);
    if (!p || r < 0)
        return r < 0 ? r : -ENOMEM;
    r = card_load(ret, path, p);
    if (r == -EINVAL && problems_len(p))
        return fail_set(reterr, FAIL_conflict, "%.160s:%u:%u: %.80s; mend it first", path,
                        problems_at(p, 0)->line, problems_at(p, 0)->column,
                        problems_at(p, 0)->text);
    return r;
}

/* ---- putting a new head into the card ---- */

static void remove_ordinal(struct card *card, uint64_t ordinal)
{
    size_t n = 0;
    for (size_t i = 0; i < card->n_revisions; i++)
        if (card->revisions[i] != ordinal)
            card->revisions[n++] = card->revisions[i];
    card->n_revisions = n;
}

static bool lists_ordinal(const struct card *card, uint64_t ordinal)
{
    for (size_t i = 0; i < card->n_revisions; i++)
        if (card->revisions[i] == ordinal)
            return true;
    return false;
}

/* What differs between the two heads; what the card says beyond them (revisions that cannot be read
 * now) stays. `was` may be NULL. */
static int take_head(struct card *card, const struct head *was, const struct head *h,
                     struct fail *reterr)
{
    int r = 0;
    for (size_t i = 0; was && i < was->n_aliases; i++)
        if (!head_alias(h, was->aliases[i].name))
            card_drop_alias(card, was->aliases[i].name);
    for (size_t i = 0; was && i < was->n_revisions; i++)
        if (!head_revision(h, &was->revisions[i].digest))
            remove_ordinal(card, was->revisions[i].ordinal);
    for (size_t i = 0; i < h->n_revisions; i++) {
        uint64_t ordinal = h->revisions[i].ordinal;
        if (lists_ordinal(card, ordinal))
            continue;
        if (card->n_revisions == LIMIT_REVISIONS)
            return fail_set(reterr, FAIL_conflict, "adapter '%.100s' has %d revisions already",
                            card->name.p, LIMIT_REVISIONS);
        card->revisions[card->n_revisions++] = ordinal;
    }
    for (size_t i = 0; r == 0 && i < h->n_aliases; i++) {
        const struct head_revision *to = head_revision(h, &h->aliases[i].digest);
        if (to)
            r = card_set_alias(card, h->aliases[i].name, to->ordinal, reterr);
    }
    card->canary_weight = h->canary_weight;
    card->canary_salt = h->canary_weight && !h->canary_salt ? card->epoch : h->canary_salt;
    card->shadow_weight = h->shadow_weight;
    return r;
}

static int record(struct directory *d, struct str adapter, const struct head_step *s, uint64_t last,
                  const struct adapter_change *c, struct fail *reterr)
{
    char path[PATH_MAX];
    int r = directory_path(d, path, adapter, DIRECTORY_HISTORY);
    for (size_t i = 0; r == 0 && i < s->n_lines; i++) {
        const struct head_line *line = &s->lines[i];
        struct audit_line l = { .what = line->what,
                                .alias = line->alias,
                                .who = c->who,
                                .key = c->key,
                                .from = line->has_from ? &line->from : NULL,
                                .to = line->has_to ? &line->to : NULL,
                                .epoch = last - s->n_lines + 1 + i };
        r = history_append(path, &l);
    }
    return r < 0 ? cannot_write(reterr, path, r) : 0;
}

/* Writes what the step made of the head. Under the folder's lock. *ret_epoch: of it. */
/* NOLINTNEXTLINE(readability-function-size): what a write of the card takes */
static int apply(struct directory *d, struct card *card, const struct head *was,
                 const struct head_step *s, const struct adapter_change *c, uint64_t *ret_epoch,
                 struct fail *reterr)
{
    char path[PATH_MAX];
    int r = directory_path(d, path, card->name, DIRECTORY_HISTORY);
    if (r < 0)
        return r;
    if (card->epoch == 0) /* written by hand */
        card->epoch = history_lines(path);
    *ret_epoch = card->epoch += s->n_lines;
    if (s->head) {
        if ((r = take_head(card, was, s->head, reterr)) == 0)
            r = write_card(d, card, reterr);
    } else if ((r = directory_path(d, path, card->name, DIRECTORY_CARD)) == 0 && unlink(path) < 0) {
        r = cannot_write(reterr, path, -errno);
    }
    if (r == 0)
        r = record(d, card->name, s, *ret_epoch, c, reterr);
    return r == 0 ? directory_reread(d, card->name) : r;
}

/* ---- changing ---- */

static int find_head(struct directory *d, struct str base, struct str adapter, struct head **ret,
                     struct fail *reterr)
{
    int r = directory_reread(d, adapter);
    if (r < 0)
        return r;
    if ((r = page_find(d->catalog.page, base, adapter, ret, reterr)) != 0)
        return r;
    if (!*ret)
        return fail_param(reterr, FAIL_model_not_found, "model", "no adapter '%.*s' in %.120s",
                          STR_ARG(str_head(adapter, 80)), d->path);
    return 0;
}

/* The head, with the former place of the alias by the record; without one, `prev` for `prod`. */
static int with_former(struct directory *d, const struct head *h, struct str alias,
                       struct head **ret)
{
    char path[PATH_MAX];
    struct head draft = *h;
    struct head_alias aliases[LIMIT_ALIASES];
    const struct head_alias *prev = head_alias(h, STR(ALIAS_PREV));
    int r = directory_path(d, path, h->adapter, DIRECTORY_HISTORY);
    if (r < 0)
        return r;
    draft.aliases = aliases;
    memcpy(aliases, h->aliases, h->n_aliases * sizeof(*aliases));
    for (size_t i = 0; i < h->n_aliases; i++) {
        struct head_alias *a = &aliases[i];
        if (!str_eq(a->name, alias))
            continue;
        enum history_word word = history_previous(path, a->name, &a->digest, &a->previous);
        a->moved = word == HISTORY_moved;
        if (word == HISTORY_silent && prev && str_is(a->name, ALIAS_PROD)) {
            a->previous = prev->digest;
            a->moved = true;
        }
    }
    *ret = head_new(&draft);
    return *ret ? 0 : -ENOMEM;
}

/* The reply that was given for the key before; false: none was. */
static bool was_done(struct directory *d, const struct adapter_change *c, const struct head *h,
                     struct adapter_changed *ret)
{
    char path[PATH_MAX];
    struct audit_done done;
    if (c->key.n == 0 || directory_path(d, path, c->adapter, DIRECTORY_HISTORY) < 0 ||
        !history_done(path, c->key, &done))
        return false;
    const struct head_revision *r = done.has_to && h ? head_revision(h, &done.to) : NULL;
    if (r)
        head_describe(h, r, str_of(done.alias), &ret->revision);
    ret->epoch = ret->revision.epoch = done.epoch;
    ret->repeated = true;
    return true;
}

static void tell(const struct head_step *s, const struct head *h, uint64_t epoch,
                 struct adapter_changed *ret)
{
    const struct head_revision *r =
        s->has_names && s->head ? head_revision(s->head, &s->names) : NULL;
    if (r)
        head_describe(s->head, r, s->alias, &ret->revision);
    else
        (void)snprintf(ret->revision.adapter, sizeof(ret->revision.adapter), "%s", h->adapter.p);
    (void)snprintf(ret->revision.base, sizeof(ret->revision.base), "%s", h->base.p);
    ret->epoch = ret->revision.epoch = epoch;
    ret->durable = true; /* the card is on disk */
}

/* In a turn and under the folder's lock. */
static int change_locked(struct directory *d, const struct adapter_change *c,
                         struct adapter_changed *ret, struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *now = NULL;
    CLEANUP(head_unrefp) struct head *h = NULL;
    CLEANUP(head_step_done) struct head_step step = { 0 };
    CLEANUP(card_freep) struct card *card = NULL;
    int r = find_head(d, c->base, c->adapter, &now, reterr);
    if (was_done(d, c, now, ret))
        return 0;
    if (r != 0 || (r = open_card(d, c->adapter, &card, reterr)) != 0)
        return r;
    struct str alias = c->alias.n ? c->alias : STR(ALIAS_PROD);
    ret->epoch = now->epoch;
    if ((r = with_former(d, now, alias, &h)) != 0 || (r = head_change(&step, h, c, reterr)) != 0)
        return r;
    uint64_t epoch = now->epoch;
    if (!step.same)
        r = apply(d, card, now, &step, c, &epoch, reterr);
    if (r == 0)
        tell(&step, now, epoch, ret);
    return r;
}

static int change_one(struct directory *d, const struct adapter_change *c,
                      struct adapter_changed *ret, struct fail *reterr)
{
    char folder[PATH_MAX];
    CLEANUP(own_close) int fd = -1;
    LOCKED(&d->turn);
    int r = directory_path(d, folder, c->adapter, "");
    if (r == 0)
        r = lock_folder(folder, &fd, reterr);
    return r == 0 ? change_locked(d, c, ret, reterr) : r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_change_many */
int directory_change(struct catalog *c, const struct adapter_change *changes, size_t n,
                     struct arena *arena, struct adapter_changed *changed, struct fail *fails,
                     struct fail *reterr)
{
    (void)arena;
    (void)reterr;
    for (size_t i = 0; i < n; i++) {
        struct fail f;
        changed[i] = (struct adapter_changed){ .laggards = STR("") };
        fails[i] = (struct fail){ 0 };
        int r = change_one(directory_of(c), &changes[i], &changed[i], &f);
        if (r == FAILED)
            fails[i] = f;
        else if (r < 0)
            return r;
    }
    return 0;
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
    int r = directory_path(d, temp, p->adapter, ".push-XXXXXX");
    if (r < 0 || (r = directory_revision_path(d, final, p->adapter, ordinal)) < 0)
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

/* Stores the files of a revision that is not there yet; *ret_ordinal is its folder. */
static int add_files(struct directory *d, const struct publication *p, const char *folder,
                     struct card *card, uint64_t *ret_ordinal, struct fail *reterr)
{
    uint64_t ordinal = (uint64_t)highest_folder(folder) + 1;
    if (card->n_revisions == LIMIT_REVISIONS)
        return fail_set(reterr, FAIL_conflict, "adapter '%.100s' has %d revisions already",
                        card->name.p, LIMIT_REVISIONS);
    for (size_t i = 0; i < card->n_revisions; i++)
        if (card->revisions[i] >= ordinal)
            ordinal = card->revisions[i] + 1;
    *ret_ordinal = ordinal;
    int r = store_revision(d, p, ordinal, reterr);
    return r == 0 ? set_texts(card, p) : r;
}

/* The card in the folder, or a new one; and the head of what it says. */
static int open_or_new(struct directory *d, const struct publication *p, const char *folder,
                       struct card **ret, struct head **ret_head, struct fail *reterr)
{
    struct stamp stamp;
    int r = directory_card_stamp(d, p->adapter, &stamp);
    r = r == -ENOENT ? card_new(ret, p->adapter, p->base)
        : r < 0      ? cannot_write(reterr, folder, r)
                     : open_card(d, p->adapter, ret, reterr);
    if (r != 0 || (r = directory_reread(d, p->adapter)) < 0)
        return r;
    assert(*ret);
    if (!str_eq((*ret)->base, p->base))
        return fail_param(
            reterr, FAIL_conflict, "base",
            "adapter '%.100s' belongs to base '%.100s', and a directory catalog keeps "
            "one base for a name",
            (*ret)->name.p, (*ret)->base.p);
    return page_find(d->catalog.page, p->base, p->adapter, ret_head, reterr);
}

/* In a turn and under the folder's lock. */
static int publish_locked(struct directory *d, const struct publication *wanted, const char *folder,
                          struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    CLEANUP(card_freep) struct card *card = NULL;
    CLEANUP(head_step_done) struct head_step step = { 0 };
    struct publication p = *wanted;
    struct adapter_change c = { .who = p.who };
    uint64_t epoch;
    int r = open_or_new(d, &p, folder, &card, &h, reterr);
    if (r == 0 && (!h || !head_revision(h, &p.digest)))
        r = add_files(d, &p, folder, card, &p.ordinal, reterr);
    if (r != 0 || (r = head_publish(&step, h, &p, reterr)) != 0 || step.same)
        return r;
    if ((r = apply(d, card, h, &step, &c, &epoch, reterr)) != 0)
        return r;
    h = head_unref(h);
    if ((r = page_find(d->catalog.page, p.base, p.adapter, &h, reterr)) == 0 &&
        (!h || !head_revision(h, &p.digest)))
        r = fail_set(reterr, FAIL_conflict, "%.200s changed while it was published", folder);
    return r;
}

int directory_publish(struct catalog *c, const struct publication *p, struct fail *reterr)
{
    struct directory *d = directory_of(c);
    char folder[PATH_MAX];
    CLEANUP(own_close) int fd = -1;
    int r = directory_path(d, folder, p->adapter, "");
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
