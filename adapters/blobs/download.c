#include "adapters/blobs/download.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define MAX_TRIES 4
#define FIRST_DELAY_MS 100
#define MAX_DELAY_MS 30000        /* also when a store asks for more */
#define NAP_MS 50                 /* between looks whether to stop */
#define PROGRESS_BYTES (64 * KIB) /* a try that brought as much does not count */
#define SHARED_WAIT_MS 30000      /* for another process's download; then one of our own */
#define MAX_RESTARTS 2            /* of one blob from one store */

/* ---- trying again ---- */

static bool stopped(const struct blobs_pace *pace)
{
    return pace && pace->stopped && pace->stopped(pace->ctx);
}

/* false: told to stop meanwhile. */
static bool nap(uint64_t ms, const struct blobs_pace *pace)
{
    uint64_t until = clock_ms() + ms;
    for (uint64_t now; (now = clock_ms()) < until;) {
        uint64_t left = until - now < NAP_MS ? until - now : NAP_MS;
        struct timespec t = { .tv_nsec = (long)left * 1000000 };
        if (stopped(pace))
            return false;
        (void)nanosleep(&t, NULL);
    }
    return !stopped(pace);
}

bool retry_again(struct retry *t, const struct fail *f, const struct blobs_pace *pace)
{
    bool may_pass = f && (f->code == FAIL_upstream_error || f->code == FAIL_timeout ||
                          f->code == FAIL_overloaded || f->code == FAIL_catalog_unavailable);
    if (!may_pass || ++t->tries >= MAX_TRIES)
        return false;
    uint64_t ms = (uint64_t)FIRST_DELAY_MS << (t->tries - 1);
    ms = ms / 2 + clock_ns() % (ms / 2); /* so that many do not come back at once */
    if (f->retry_after_s)
        ms = f->retry_after_s * 1000ul;
    return nap(ms < MAX_DELAY_MS ? ms : MAX_DELAY_MS, pace);
}

/* ---- a transfer ---- */

struct transfer {
    const struct blobs_pace *pace; /* may be NULL */
    struct blob_writer *writer;    /* one of the three is where it goes */
    struct buf *text;
    struct sha256_stream *sum;
    uint64_t at; /* of the latter two */
};

static int take_part(void *ctx, struct str part)
{
    struct transfer *t = ctx;
    int r = t->pace && t->pace->take ? t->pace->take(t->pace->ctx, part.n) : 0;
    if (r == 0 && t->writer)
        r = blob_writer_add(t->writer, part);
    if (r == 0 && t->text) {
        buf_add(t->text, part);
        r = buf_err(t->text);
    }
    if (r < 0)
        return r;
    if (t->sum)
        sha256_add(t->sum, part.p, part.n);
    t->at += part.n;
    if (t->pace && t->pace->progress)
        t->pace->progress(t->pace->ctx, part.n);
    return 0;
}

static bool transfer_stopped(void *ctx)
{
    return stopped(((struct transfer *)ctx)->pace);
}

static struct blob_get get_of(struct transfer *t, const struct sha256 *digest, uint64_t bytes)
{
    return (struct blob_get){
        .digest = *digest, .bytes = bytes, .add = take_part, .stopped = transfer_stopped, .ctx = t
    };
}

/* The worse news of two stores is what a person has to hear. */
static int rank(int r)
{
    return r == FAILED ? 3 : r == -EBADMSG ? 2 : r == -ENOENT ? 1 : 4;
}

static void note(int *worst, struct fail *worst_why, int r, const struct fail *why)
{
    if (rank(r) <= rank(*worst))
        return;
    *worst = r;
    *worst_why = *why;
}

/* ---- into the cache ---- */

static int restart(struct transfer *t, struct blob_get *g, unsigned *restarts)
{
    g->etag[0] = '\0';
    return ++*restarts > MAX_RESTARTS ? -EBADMSG : blob_writer_restart(t->writer);
}

/* All bytes are there: are they the right ones? When a part is from an earlier time it may be that
 * part that is wrong. */
static int finish(struct transfer *t, struct blob_get *g, bool resumed, unsigned *restarts)
{
    int r = blob_writer_end(t->writer);
    if (r != -EBADMSG)
        return r;
    r = restart(t, g, restarts);
    return r < 0 ? r : resumed ? -EAGAIN : -EBADMSG;
}

static int from_store(struct blob_store *s, struct transfer *t, struct blob_get *g,
                      struct fail *reterr)
{
    struct retry retry = { 0 };
    unsigned restarts = 0;
    bool resumed = blob_writer_at(t->writer) > 0;
    for (;;) {
        uint64_t before = g->from = blob_writer_at(t->writer);
        int r = before == g->bytes ? 0 : s->ops->get(s, g, reterr);
        uint64_t now = blob_writer_at(t->writer);
        if (r == 0 && now < g->bytes)
            r = fail_set(reterr, FAIL_upstream_error, "%s: the answer ended early", s->name);
        if (r == 0) {
            r = finish(t, g, resumed, &restarts);
            resumed = false;
        } else if (r == -ESTALE) {
            r = restart(t, g, &restarts);
            r = r == 0 ? -EAGAIN : r;
        } else if (r == FAILED) {
            if (now - before >= PROGRESS_BYTES)
                retry.tries = 0;
            resumed = resumed || now > 0;
            if (retry_again(&retry, reterr, t->pace))
                r = -EAGAIN;
        }
        if (r != -EAGAIN)
            return stopped(t->pace) && r != 0 ? -ECANCELED : r;
    }
}

static int from_stores(struct blob_store *const *stores, size_t n, struct transfer *t,
                       struct blob_get *g, struct fail *reterr)
{
    struct fail why = { 0 }, worst_why = { 0 };
    int worst = -ENOENT;
    for (size_t i = 0; i < n; i++) {
        g->etag[0] = '\0';
        int r = from_store(stores[i], t, g, &why);
        if (r == 0 || (rank(r) == 4 && r != -EACCES))
            return r;
        if (r == -EBADMSG)
            log_line(LOG_warn, "blob_damaged", "store=\"%s\", continuing with the next",
                     stores[i]->name);
        note(&worst, &worst_why, r, &why);
    }
    if (worst == FAILED && reterr)
        *reterr = worst_why;
    return worst;
}

/* Our turn to fetch it: 0 with a writer, or without one when it is in the cache and held. */
static int get_turn(struct blob_cache *c, const struct sha256 *digest, uint64_t bytes,
                    const struct blobs_pace *pace, struct blob_writer **ret)
{
    uint64_t until = clock_ms() + SHARED_WAIT_MS, delay_ms = 1;
    for (;;) {
        if (blob_cache_hold(c, digest) == 0)
            return 0;
        if (clock_ms() >= until) /* who fetches it has stopped, perhaps */
            return blob_writer_new(ret, c, digest, bytes);
        int r = blob_writer_resume(ret, c, digest, bytes);
        if (r == 0 && blob_cache_hold(c, digest) == 0) { /* done since we looked */
            *ret = blob_writer_free(*ret);
            return 0;
        }
        if (r != -EBUSY)
            return r;
        if (!nap(delay_ms, pace))
            return -ECANCELED;
        delay_ms = delay_ms < NAP_MS ? 2 * delay_ms : NAP_MS;
    }
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int download(struct blob_store *const *stores, size_t n, struct blob_cache *c,
             const struct sha256 *digest, uint64_t bytes, const struct blobs_pace *pace,
             struct fail *reterr)
{
    CLEANUP(blob_writer_freep) struct blob_writer *w = NULL;
    int r = get_turn(c, digest, bytes, pace, &w);
    if (r < 0 || !w)
        return r;
    struct transfer t = { .pace = pace, .writer = w };
    struct blob_get g = get_of(&t, digest, bytes);
    return from_stores(stores, n, &t, &g, reterr);
}

/* ---- to elsewhere ---- */

static int small_from(struct blob_store *s, struct transfer *t, struct blob_get *g,
                      struct fail *reterr)
{
    struct retry retry = { 0 };
    for (;;) {
        buf_clear(t->text);
        g->etag[0] = '\0';
        int r = s->ops->get(s, g, reterr);
        struct sha256 is = sha256_of(buf_str(t->text));
        if (r == -EMSGSIZE || (r == 0 && !sha256_eq(&is, &g->digest)))
            r = -EBADMSG;
        if (r == 0 || r != FAILED || !retry_again(&retry, reterr, t->pace))
            return r;
    }
}

int download_small(struct blob_store *const *stores, size_t n, const struct sha256 *digest,
                   const struct blobs_pace *pace, struct buf *ret, struct fail *reterr)
{
    struct fail why = { 0 }, worst_why = { 0 };
    int worst = -ENOENT;
    struct transfer t = { .pace = pace, .text = ret };
    struct blob_get g = get_of(&t, digest, ret->max - 1);
    g.at_most = true;
    for (size_t i = 0; i < n; i++) {
        int r = small_from(stores[i], &t, &g, &why);
        if (r == 0 || rank(r) == 4)
            return r;
        note(&worst, &worst_why, r, &why);
    }
    if (worst == FAILED && reterr)
        *reterr = worst_why;
    return worst;
}

int download_check(struct blob_store *s, const struct sha256 *digest, uint64_t bytes,
                   const struct blobs_pace *pace, struct fail *reterr)
{
    struct retry retry = { 0 };
    CLEANUP(sha256_freep) struct sha256_stream *sum = NULL;
    struct transfer t = { .pace = pace };
    int r = sha256_new(&sum);
    if (r < 0)
        return r;
    t.sum = sum;
    struct blob_get g = get_of(&t, digest, bytes);
    for (;;) {
        uint64_t before = g.from = t.at;
        r = s->ops->get(s, &g, reterr);
        if (t.at - before >= PROGRESS_BYTES)
            retry.tries = 0;
        if (r != FAILED || !retry_again(&retry, reterr, pace))
            break;
    }
    if (r != 0)
        return r == -ESTALE ? -EBADMSG : r;
    struct sha256 is = sha256_end(sum);
    return t.at == bytes && sha256_eq(&is, digest) ? 0 : -EBADMSG;
}
