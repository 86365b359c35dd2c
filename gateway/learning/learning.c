#include "gateway/learning/learning.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>

#define FILE_MAX (64 * MIB) /* all records and users that are kept fit */

enum { SAVE_MS = 1000 };

struct learning_file {
    pthread_mutex_t lock; /* held while writing: one writer */
    char *path;           /* owned; NULL: none; set once */
    uint64_t saved_ms;
};

static int file_new(struct learning_file **ret)
{
    *ret = calloc(1, sizeof(**ret));
    if (!*ret)
        return -ENOMEM;
    (void)pthread_mutex_init(&(*ret)->lock, /* attr= */ NULL);
    return 0;
}

int learning_new(struct learning **ret)
{
    CLEANUP(learning_freep) struct learning *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    int r = file_new(&l->file);
    if (r == 0)
        r = observed_new(&l->observed);
    if (r == 0)
        r = outcomes_new(&l->outcomes);
    if (r == 0)
        r = sessions_new(&l->sessions);
    if (r == 0)
        *ret = TAKE(l);
    return r;
}

/* The lock of the file keeps a second writer out while the first one's disk works. */
static void write_file(struct learning *l)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(FILE_MAX);
    if (!l->file->path || !outcomes_take_dirty(l->outcomes))
        return;
    outcomes_write(l->outcomes, &b);
    int r = buf_err(&b);
    if (r == 0)
        r = file_replace(l->file->path, buf_str(&b));
    if (r < 0)
        log_line(LOG_warn, "outcomes", "file=%s cause=%s, continuing", l->file->path, strerror(-r));
    l->file->saved_ms = clock_ms();
}

void learning_save(struct learning *l)
{
    LOCKED(&l->file->lock);
    if (clock_ms() - l->file->saved_ms >= SAVE_MS)
        write_file(l);
}

struct learning *learning_free(struct learning *l)
{
    if (!l)
        return NULL;
    if (l->file && l->outcomes)
        write_file(l);
    (void)observed_free(l->observed);
    (void)outcomes_free(l->outcomes);
    (void)sessions_free(l->sessions);
    if (l->file) {
        (void)pthread_mutex_destroy(&l->file->lock);
        free(l->file->path);
        free(l->file);
    }
    free(l);
    return NULL;
}

static int read_file(struct learning *l, const char *path, struct fail *reterr)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n = 0, bad = 0;
    int r = file_read(&text, &n, path, FILE_MAX);
    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = outcomes_read(l->outcomes, (struct str){ text, n }, &bad);
    if (r == -EINVAL)
        return fail_set(reterr, FAIL_internal_error,
                        "%s is no file of outcomes; name another one, or move it away", path);
    if (r < 0)
        return fail_set(reterr, FAIL_internal_error, "%s: %s", path, strerror(-r));
    log_line(bad ? LOG_warn : LOG_info, "outcomes", "file=%s candidates=%zu unread=%zu%s", path,
             outcomes_len(l->outcomes), bad, bad ? ", continuing" : "");
    return 0;
}

int learning_use_file(struct learning *l, struct str path, struct fail *reterr)
{
    LOCKED(&l->file->lock);
    if (l->file->path || path.n == 0)
        return 0;
    CLEANUP(own_free) char *copy = str_dup(path);
    if (!copy)
        return -ENOMEM;
    int r = read_file(l, copy, reterr);
    if (r == 0)
        l->file->path = TAKE(copy);
    return r;
}
