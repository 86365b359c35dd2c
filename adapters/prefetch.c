#include "adapters/prefetch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"

#define WARM_FILE "warm"
/* First line of the file; another one is not read. */
#define WARM_HEAD "rootstock warm 1\n"
enum {
    MAX_WARM = 4096,
    WARM_MAX_BYTES = 4 * MIB,
    FOLLOW_MS = 50,   /* how soon a moved name is noticed */
    FOLLOW_REST = 20, /* looking takes at most one part in so many of a core */
    TRY_MS = 500,     /* names of the file may come late from the catalog */
    TRY_FOR_MS = 60000,
    SAVE_MS = 60000,
};

struct prefetch {
    struct page *page;
    struct residents *residents;
    struct files *files;
    uint64_t changes; /* of the page, when its names were looked at */
    uint64_t follow_ms, save_ms, try_ms, give_up_ms;
    bool begun;
    char *text; /* of the file, owned: what of it is not loaded yet */
};

/* ---- names that moved ---- */

static void follow_one(struct prefetch *a, const struct adapter_revision *rev)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    if (page_find(a->page, str_of(rev->base), str_of(rev->adapter), &h, NULL) != 0 || !h)
        return;
    const struct head_alias *canary = h->canary_weight ? head_alias(h, STR(ALIAS_CANARY)) : NULL;
    const struct head_revision *wanted[] = { head_default(h),
                                             canary ? head_revision(h, &canary->digest) : NULL };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct adapter_revision now;
        if (!wanted[i] || sha256_eq(&wanted[i]->digest, &rev->digest))
            continue;
        head_describe(h, wanted[i], STR(""), &now);
        residency_ahead(a->residents, &now, tenant_of_adapter(str_of(now.adapter)), AHEAD_moved, 0);
    }
}

static void follow(struct prefetch *a)
{
    enum { ROWS = 32 };
    struct warm_revision rows[ROWS];
    uint64_t start_us = clock_us(), changes = page_changes(a->page);
    if (changes != a->changes) {
        a->changes = changes;
        for (size_t cursor = 0, n; (n = residency_list(a->residents, &cursor, rows, ROWS));)
            for (size_t i = 0; i < n; i++)
                follow_one(a, &rows[i].rev);
    }
    uint64_t rest_ms = (clock_us() - start_us) * FOLLOW_REST / 1000;
    a->follow_ms = clock_ms() + (rest_ms > FOLLOW_MS ? rest_ms : FOLLOW_MS);
}

/* ---- what was warm before ---- */

/* "DIGEST WARMTH BASE ADAPTER". -EINVAL: not so. */
static int parse_row(struct str line, struct sha256 *digest, double *warmth, struct str *base,
                     struct str *adapter)
{
    struct str word;
    if (!str_cut(line, ' ', &word, &line) || sha256_parse(digest, word) < 0 ||
        !str_cut(line, ' ', &word, &line) || num_parse_double(warmth, word, -1e6, 1e6) < 0 ||
        !str_cut(line, ' ', base, adapter) || base->n > LIMIT_NAME || adapter->n > LIMIT_NAME)
        return -EINVAL;
    return 0;
}

/* Loads one revision of the file again, or what its name means now. false: the catalog does not
 * know it (yet). */
static bool restore_row(struct prefetch *a, struct str line)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    struct adapter_revision rev;
    struct sha256 digest;
    struct str base, adapter;
    double warmth;
    if (parse_row(line, &digest, &warmth, &base, &adapter) < 0)
        return true;
    if (page_find(a->page, base, adapter, &h, NULL) != 0 || !h)
        return false;
    const struct head_revision *r = head_revision(h, &digest);
    if (!r && !(r = head_default(h)))
        return true;
    head_describe(h, r, STR(""), &rev);
    residency_ahead(a->residents, &rev, tenant_of_adapter(adapter), AHEAD_restored, warmth);
    return true;
}

/* Keeps the lines that the catalog may yet explain. */
static void restore(struct prefetch *a)
{
    char *kept = a->text;
    struct str rest = str_of(a->text), line;
    while (rest.n) {
        if (!str_cut(rest, '\n', &line, &rest)) {
            line = rest;
            rest = STR("");
        }
        if (!line.n || restore_row(a, line))
            continue;
        memmove(kept, line.p, line.n);
        kept += line.n;
        *kept++ = '\n';
    }
    *kept = '\0';
    a->try_ms = clock_ms() + TRY_MS;
    if (kept == a->text || clock_ms() >= a->give_up_ms) {
        free(a->text);
        a->text = NULL;
    }
}

static void read_warm(struct prefetch *a)
{
    char path[PATH_MAX], *text;
    size_t n;
    if (files_beside(a->files, WARM_FILE, path) < 0 ||
        file_read(&text, &n, path, WARM_MAX_BYTES) < 0)
        return;
    if (str_starts((struct str){ text, n }, STR(WARM_HEAD)) && !memchr(text, '\0', n))
        a->text = str_dup(str_sub((struct str){ text, n }, strlen(WARM_HEAD)));
    free(text);
    a->give_up_ms = clock_ms() + TRY_FOR_MS;
}

static int warmest_first(const void *x, const void *y)
{
    double a = ((const struct warm_revision *)x)->warmth;
    double b = ((const struct warm_revision *)y)->warmth;
    return (a < b) - (a > b);
}

static void save(struct prefetch *a)
{
    CLEANUP(own_free) struct warm_revision *rows = malloc(MAX_WARM * sizeof(*rows));
    CLEANUP(buf_done) struct buf b = BUF_INIT(WARM_MAX_BYTES);
    char path[PATH_MAX], hex[SHA256_HEX + 1];
    size_t n = 0;
    a->save_ms = clock_ms() + SAVE_MS;
    if (a->text || !rows || files_beside(a->files, WARM_FILE, path) < 0)
        return;
    for (size_t cursor = 0, more; n < MAX_WARM; n += more)
        if (!(more = residency_list(a->residents, &cursor, rows + n, MAX_WARM - n)))
            break;
    qsort(rows, n, sizeof(*rows), warmest_first);
    buf_adds(&b, WARM_HEAD);
    for (size_t i = 0; i < n; i++) {
        sha256_hex(hex, &rows[i].rev.digest);
        buf_addf(&b, "%s %.3f %s %s\n", hex, rows[i].warmth, rows[i].rev.base, rows[i].rev.adapter);
    }
    static struct log_rate rate;
    int k = buf_err(&b) ? buf_err(&b) : file_replace(path, buf_str(&b));
    if (k < 0 && k != -ENOENT) /* nothing was ever kept there */
        log_rated(&rate, LOG_warn, "adapter_warm", "file=%s why=\"%s\", continuing", path,
                  strerror(-k));
}

/* ---- life ---- */

int prefetch_new(struct prefetch **ret, struct page *page, struct residents *residents,
                 struct files *files)
{
    struct prefetch *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    *a = (struct prefetch){ .page = page,
                            .residents = residents,
                            .files = files,
                            .changes = page_changes(page),
                            .save_ms = clock_ms() + SAVE_MS };
    *ret = a;
    return 0;
}

struct prefetch *prefetch_free(struct prefetch *a)
{
    if (!a)
        return NULL;
    save(a);
    free(a->text);
    free(a);
    return NULL;
}

uint64_t prefetch_tick(struct prefetch *a)
{
    uint64_t now = clock_ms();
    files_show(a->files);
    if (!a->begun)
        read_warm(a);
    a->begun = true;
    if (a->text && now >= a->try_ms)
        restore(a);
    if (now >= a->follow_ms)
        follow(a);
    if (now >= a->save_ms)
        save(a);
    uint64_t next = a->follow_ms < a->save_ms ? a->follow_ms : a->save_ms;
    return a->text && a->try_ms < next ? a->try_ms : next;
}
