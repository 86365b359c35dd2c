#include "adapters/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"

#define MAGIC STR("rootstock-catalog-snapshot\n")
enum { VERSION = 1 };
enum { SECTION_about = 1, SECTION_bases, SECTION_heads, SECTION_end };
enum { SECTION_HEAD = 16, U16 = 2, U32 = 4, U64 = 8 };

/* ---- write ---- */

static void put_le(struct buf *to, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_addc(to, (char)(v >> (8 * i)));
}

static uint32_t section_sum(uint32_t kind, struct str body)
{
    unsigned char head[U32 + U64];
    uint64_t n = body.n;
    for (unsigned i = 0; i < U32; i++)
        head[i] = (unsigned char)(kind >> (8 * i));
    for (unsigned i = 0; i < U64; i++)
        head[U32 + i] = (unsigned char)(n >> (8 * i));
    return crc32c(crc32c(0, head, sizeof(head)), body.p, body.n);
}

static int write_section(struct file_draft *d, uint32_t kind, const struct buf *body)
{
    CLEANUP(buf_done) struct buf head = BUF_INIT(SECTION_HEAD);
    if (buf_err(body) < 0)
        return buf_err(body);
    put_le(&head, kind, U32);
    put_le(&head, section_sum(kind, buf_str(body)), U32);
    put_le(&head, body->n, U64);
    int r = buf_err(&head) < 0 ? buf_err(&head) : file_draft_add(d, buf_str(&head));
    return r < 0 ? r : file_draft_add(d, buf_str(body));
}

static void put_about(struct buf *b, uint64_t seed, struct str identity,
                      const struct snapshot_shards *s)
{
    put_le(b, seed, U64);
    put_le(b, identity.n, U32);
    buf_add(b, identity);
    put_le(b, s->n, U32);
    for (size_t i = 0; i < s->n; i++) {
        put_le(b, s->shard[i].epoch, U64);
        put_le(b, s->shard[i].tag, U64);
    }
}

static int write_heads(struct file_draft *d, struct page *p, struct buf *b, uint64_t *ret_n)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < PAGE_STRIPES; i++) {
        size_t n = 0;
        buf_clear(b);
        page_export(p, i, b, &n);
        int r = n ? write_section(d, SECTION_heads, b) : buf_err(b);
        if (r < 0)
            return r;
        total += n;
    }
    *ret_n = total;
    return 0;
}

/* After the heads, whose bases all have a number by then. */
static void put_bases(struct buf *b, struct page *p)
{
    size_t n = page_n_bases(p);
    put_le(b, n, U32);
    for (size_t i = 0; i < n; i++) {
        struct str base = page_base(p, i);
        put_le(b, base.n, U16);
        buf_add(b, base);
    }
}

static int write_all(struct file_draft *d, struct page *p, struct str identity,
                     const struct snapshot_shards *shards)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(UINT32_MAX);
    uint64_t n = 0;
    buf_add(&b, MAGIC);
    put_le(&b, VERSION, U32);
    int r = buf_err(&b) < 0 ? buf_err(&b) : file_draft_add(d, buf_str(&b));
    if (r < 0)
        return r;
    buf_clear(&b);
    put_about(&b, page_seed(p), identity, shards);
    if ((r = write_section(d, SECTION_about, &b)) < 0 || (r = write_heads(d, p, &b, &n)) < 0)
        return r;
    buf_clear(&b);
    put_bases(&b, p);
    if ((r = write_section(d, SECTION_bases, &b)) < 0)
        return r;
    buf_clear(&b);
    put_le(&b, n, U64);
    return write_section(d, SECTION_end, &b);
}

int snapshot_save(struct page *p, const char *path, struct str identity,
                  const struct snapshot_shards *shards)
{
    struct file_draft d;
    assert(shards->n <= SNAPSHOT_SHARDS && identity.n <= SNAPSHOT_IDENTITY);
    int r = file_draft_begin(&d, path);
    if (r < 0)
        return r;
    r = write_all(&d, p, identity, shards);
    if (r == 0)
        r = file_draft_end(&d);
    file_draft_done(&d);
    return r;
}

/* ---- read ---- */

struct reader { /* of bytes; `bad` is sticky */
    const unsigned char *p;
    size_t n;
    bool bad;
};

static struct str take(struct reader *r, uint64_t n)
{
    if (r->bad || n > r->n) {
        r->bad = true;
        return STR_NULL;
    }
    struct str s = { (const char *)r->p, (size_t)n };
    r->p += n;
    r->n -= n;
    return s;
}

static uint64_t take_le(struct reader *r, unsigned bytes)
{
    uint64_t v = 0;
    struct str s = take(r, bytes);
    for (size_t i = s.n; i-- > 0;)
        v = v << 8 | (unsigned char)s.p[i];
    return v;
}

struct section {
    uint32_t kind;
    struct str body;
};

static bool next_section(struct reader *r, struct section *ret, bool check)
{
    ret->kind = (uint32_t)take_le(r, U32);
    uint32_t sum = (uint32_t)take_le(r, U32);
    ret->body = take(r, take_le(r, U64));
    if (check && !r->bad && sum != section_sum(ret->kind, ret->body))
        r->bad = true;
    return !r->bad;
}

struct loading {
    struct str identity, bases, end; /* views into the file */
    struct snapshot_shards shards;
    uint64_t seed;
    uint16_t *numbers; /* owned: the page's, of its base numbers */
    size_t n_bases;
    uint64_t heads;
};

static bool read_about(struct loading *l, struct str body)
{
    struct reader r = { (const unsigned char *)body.p, body.n, false };
    l->seed = take_le(&r, U64);
    l->identity = take(&r, take_le(&r, U32));
    uint64_t n = take_le(&r, U32);
    if (r.bad || n > SNAPSHOT_SHARDS)
        return false;
    l->shards.n = (size_t)n;
    for (size_t i = 0; i < l->shards.n; i++) {
        l->shards.shard[i].epoch = take_le(&r, U64);
        l->shards.shard[i].tag = take_le(&r, U64);
    }
    return !r.bad && r.n == 0;
}

/* 0, -EBADMSG or another errno. */
static int read_bases(struct loading *l, struct page *p)
{
    struct reader r = { (const unsigned char *)l->bases.p, l->bases.n, false };
    uint64_t n = take_le(&r, U32);
    if (r.bad || n > r.n) /* two bytes each, at least */
        return -EBADMSG;
    l->numbers = calloc((size_t)n + 1, sizeof(*l->numbers));
    if (!l->numbers)
        return -ENOMEM;
    for (l->n_bases = 0; l->n_bases < n; l->n_bases++) {
        struct str s = take(&r, take_le(&r, U16));
        int k = r.bad ? -EBADMSG : page_base_number(p, s, &l->numbers[l->n_bases]);
        if (k < 0)
            return k;
    }
    return r.n == 0 ? 0 : -EBADMSG;
}

/* Sums, and where the sections are. */
static int read_outline(struct loading *l, struct reader r, struct page *p)
{
    struct section s;
    unsigned seen[SECTION_end + 1] = { 0 };
    while (r.n) {
        if (!next_section(&r, &s, /* check= */ true) || s.kind == 0 || s.kind > SECTION_end ||
            seen[SECTION_end])
            return -EBADMSG;
        seen[s.kind]++;
        if (s.kind == SECTION_about && !read_about(l, s.body))
            return -EBADMSG;
        if (s.kind == SECTION_bases)
            l->bases = s.body;
        if (s.kind == SECTION_end)
            l->end = s.body;
    }
    bool whole = seen[SECTION_about] == 1 && seen[SECTION_bases] == 1 && seen[SECTION_end] == 1;
    return whole ? read_bases(l, p) : -EBADMSG;
}

/* Checks and counts, or enters. */
static int each_heads(struct loading *l, struct reader r, struct page *p, bool enter)
{
    struct section s;
    uint64_t total = 0;
    while (r.n && next_section(&r, &s, /* check= */ false)) {
        size_t n = 0;
        int k =
            s.kind == SECTION_heads ? page_import(p, l->numbers, l->n_bases, s.body, enter, &n) : 0;
        if (k < 0)
            return k;
        total += n;
    }
    struct reader end = { (const unsigned char *)l->end.p, l->end.n, false };
    l->heads = take_le(&end, U64);
    return l->heads != total || end.bad || end.n ? -EBADMSG : 0;
}

static int damaged(struct fail *reterr, const char *path, const char *why)
{
    return fail_set(reterr, FAIL_internal_error, "the snapshot %.200s %s", path, why);
}

static int load(struct loading *l, struct page *p, const char *path, const struct file_map *m,
                struct str identity, struct fail *reterr)
{
    struct reader r = { m->p, m->n, false };
    struct str magic = take(&r, MAGIC.n);
    uint64_t version = take_le(&r, U32);
    if (r.bad || !str_eq(magic, MAGIC))
        return damaged(reterr, path, "is no catalog snapshot, or was cut short");
    if (version != VERSION)
        return damaged(reterr, path, "is of another version");
    int k = read_outline(l, r, p);
    if (k == 0 && !str_eq(l->identity, identity))
        return fail_set(reterr, FAIL_conflict, "the snapshot %.100s is of another catalog: %.*s",
                        path, STR_ARG(str_head(l->identity, 100)));
    if (k == 0)
        k = each_heads(l, r, p, /* enter= */ false);
    if (k == -EBADMSG)
        return damaged(reterr, path, "is damaged");
    if (k < 0)
        return k;
    page_take_seed(p, l->seed);
    page_reserve(p, (size_t)l->heads, m->n);
    return each_heads(l, r, p, /* enter= */ true);
}

int snapshot_load(struct page *p, const char *path, struct str identity,
                  struct snapshot_shards *ret, size_t *ret_n, struct fail *reterr)
{
    struct file_map m;
    int r = file_map(&m, path);
    if (r == -ENOENT)
        return fail_set(reterr, FAIL_not_found, "there is no snapshot %.200s", path);
    if (r < 0)
        return r;
    CLEANUP(own_free) struct loading *l = calloc(1, sizeof(*l));
    r = l ? load(l, p, path, &m, identity, reterr) : -ENOMEM;
    if (r == 0) {
        *ret = l->shards;
        *ret_n = (size_t)l->heads;
    }
    if (l)
        free(l->numbers);
    file_unmap(&m);
    return r;
}

/* ---- in the background ---- */

struct snapshots {
    struct snapshots_options o;
    char *path, *identity; /* owned */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    pthread_t thread;
    uint64_t saved; /* page_changes when it was written last; of the thread */
};

/* How long it took in ms. */
static uint64_t save_if_changed(struct snapshots *s)
{
    static struct log_rate rate;
    CLEANUP(own_free) struct snapshot_shards *shards = calloc(1, sizeof(*shards));
    uint64_t changes = page_changes(s->o.page), begin = clock_ms();
    if (!shards || changes == s->saved || !s->o.shards(s->o.ctx, shards))
        return 0;
    int r = snapshot_save(s->o.page, s->path, str_of(s->identity), shards);
    if (r < 0) {
        log_rated(&rate, LOG_warn, "catalog_snapshot_failed", "path=%s why=\"%s\", continuing",
                  s->path, strerror(-r));
        return 0;
    }
    s->saved = changes;
    uint64_t ms = clock_ms() - begin;
    log_line(LOG_debug, "catalog_snapshot", "path=%s heads=%zu ms=%llu", s->path,
             page_len(s->o.page), (unsigned long long)ms);
    return ms;
}

static bool wait_for(struct snapshots *s, uint64_t until_ms) /* false: stop */
{
    LOCKED(&s->lock);
    while (!s->stop && thread_cond_wait_until(&s->wake, &s->lock, until_ms) != -ETIMEDOUT)
        ;
    return !s->stop;
}

static void *run(void *arg)
{
    enum { REST = 20 }; /* times as long as it wrote: at most one part in twenty of a core */
    struct snapshots *s = arg;
    uint64_t took = 0;
    do {
        took = save_if_changed(s) * REST;
        (void)page_sort(s->o.page); /* so that nobody who lists has to */
    } while (wait_for(s, clock_ms() + (took > s->o.every_ms ? took : s->o.every_ms)));
    (void)save_if_changed(s);
    return NULL;
}

static struct snapshots *snapshots_free(struct snapshots *s)
{
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->wake);
    free(s->path);
    free(s->identity);
    free(s);
    return NULL;
}

static int make_folder(const char *path)
{
    CLEANUP(own_free) char *copy = str_dup(str_of(path));
    return copy ? file_make_dirs(dirname(copy)) : -ENOMEM;
}

int snapshots_start(struct snapshots **ret, const struct snapshots_options *o)
{
    struct snapshots *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    (void)pthread_mutex_init(&s->lock, NULL);
    int r = thread_cond_init(&s->wake);
    s->o = *o;
    s->path = str_dup(str_of(o->path));
    s->identity = str_dup(o->identity);
    s->saved = o->loaded ? page_changes(o->page) : UINT64_MAX;
    if (r == 0 && (!s->path || !s->identity))
        r = -ENOMEM;
    if (r == 0)
        r = make_folder(s->path);
    if (r == 0)
        r = thread_start(&s->thread, THREAD_catalog, run, s);
    if (r < 0) {
        (void)snapshots_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct snapshots *snapshots_stop(struct snapshots *s)
{
    if (!s)
        return NULL;
    {
        LOCKED(&s->lock);
        s->stop = true;
        (void)pthread_cond_signal(&s->wake);
    }
    (void)pthread_join(s->thread, NULL);
    return snapshots_free(s);
}
