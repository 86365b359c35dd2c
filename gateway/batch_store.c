#include "gateway/batch_store.h"

#include "base/clock.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

void batch_make_id(char ret[static BATCH_ID], const char *prefix)
{
    enum { CHARACTERS = 24 };
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char random[CHARACTERS];
    uint64_t now = clock_ns();
    if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        for (size_t i = 0; i < CHARACTERS; i++) /* early boot: unique here is enough */
            random[i] = (unsigned char)(now >> (i % 8 * 5));
    size_t n = strlen(prefix);
    memcpy(ret, prefix, n);
    for (size_t i = 0; i < CHARACTERS; i++)
        ret[n + i] = digits[random[i] & 31];
    ret[n + CHARACTERS] = '\0';
}

static bool is_id(struct str s)
{
    bool fits =
        s.n && s.n < BATCH_ID && (str_starts(s, STR("file-")) || str_starts(s, STR("batch_")));
    for (size_t i = 0; i < s.n && fits; i++)
        fits = isalnum((unsigned char)s.p[i]) || s.p[i] == '-' || s.p[i] == '_';
    return fits;
}

int batch_path(const struct batch_store *s, char *ret, size_t max, const char *id,
               const char *suffix)
{
    int n = snprintf(ret, max, "%s/%s.%s", s->folder, id, suffix);
    return n < 0 || (size_t)n >= max ? -ENAMETOOLONG : 0;
}

static void take_text(char *into, size_t max, struct str json)
{
    struct str text = STR_NULL;
    into[0] = '\0';
    if (!json_view_plain(json, &text) || text.n >= max)
        return;
    memcpy(into, text.p, text.n);
    into[text.n] = '\0';
}

static uint64_t take_u64(struct str record, const char *path)
{
    uint64_t n = 0;
    (void)json_view_u64(json_view_at(record, path), &n);
    return n;
}

/* A decoded copy, the caller's; NULL: no text, or no memory. */
static char *copy_text(struct str json)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(BATCH_RECORD_MAX);
    if (json_view_kind(json) != JSON_VIEW_string)
        return NULL;
    json_view_add_text(&b, json);
    return buf_err(&b) == 0 ? str_dup(buf_str(&b)) : NULL;
}

static int replace(const struct batch_store *s, const char *id, const struct buf *record)
{
    char path[PATH_MAX];
    int err = buf_err(record);
    if (err == 0)
        err = batch_path(s, path, sizeof(path), id, "json");
    return err == 0 ? file_replace(path, buf_str(record)) : err;
}

static void unlink_all(const struct batch_store *s, const char *id)
{
    static const char *const suffixes[] = { "json", "jsonl" };
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (batch_path(s, path, sizeof(path), id, suffixes[i]) == 0)
            (void)unlink(path);
}

/* ---- files ---- */

static void free_file(struct stored_file *f)
{
    free(f->filename);
    free(f);
}

static bool is_over(const struct stored_file *f, uint64_t now_s)
{
    return f->expires_s && f->expires_s <= now_s;
}

struct stored_file *batch_find_file(struct batch_store *s, struct str id, const char *owner)
{
    struct stored_file *f;
    TAILQ_FOREACH(f, &s->files, next)
    if (str_is(id, f->id) && strcmp(f->owner, owner) == 0)
        return is_over(f, clock_wall_s()) ? NULL : f;
    return NULL;
}

void batch_print_file(struct buf *b, const struct stored_file *f)
{
    buf_addf(b, "{\"id\":\"%s\",\"object\":\"file\",\"bytes\":%llu,\"created_at\":%llu", f->id,
             (unsigned long long)f->bytes, (unsigned long long)f->created_s);
    if (f->expires_s)
        buf_addf(b, ",\"expires_at\":%llu", (unsigned long long)f->expires_s);
    buf_adds(b, ",\"filename\":");
    buf_add_json(b, str_of(f->filename));
    buf_addf(b, ",\"purpose\":\"%s\",\"status\":\"processed\"}", f->purpose);
}

static int read_file(struct stored_file **ret, struct str record)
{
    struct stored_file *f = calloc(1, sizeof(*f));
    struct str file = json_view_get(record, "file");
    if (!f)
        return -ENOMEM;
    take_text(f->id, sizeof(f->id), json_view_get(file, "id"));
    take_text(f->owner, sizeof(f->owner), json_view_get(record, "owner"));
    take_text(f->purpose, sizeof(f->purpose), json_view_get(file, "purpose"));
    f->filename = copy_text(json_view_get(file, "filename"));
    f->created_s = take_u64(file, "created_at");
    f->expires_s = take_u64(file, "expires_at");
    if (!is_id(str_of(f->id)) || !f->owner[0] || !f->purpose[0] || !f->filename) {
        free_file(f);
        return -EINVAL;
    }
    *ret = f;
    return 0;
}

/* Under the lock. Oldest first; of one second, the smaller id: as after a start. */
static void list_file(struct batch_store *s, struct stored_file *f)
{
    struct stored_file *after = TAILQ_LAST(&s->files, stored_files);
    while (after && (after->created_s > f->created_s ||
                     (after->created_s == f->created_s && strcmp(after->id, f->id) > 0)))
        after = TAILQ_PREV(after, stored_files, next);
    if (after)
        TAILQ_INSERT_AFTER(&s->files, after, f, next);
    else
        TAILQ_INSERT_HEAD(&s->files, f, next);
    s->n_files++;
    s->bytes += f->bytes;
}

static void unlist_file(struct batch_store *s, struct stored_file *f)
{
    TAILQ_REMOVE(&s->files, f, next);
    s->n_files--;
    s->bytes -= f->bytes;
}

static int measure(const struct batch_store *s, struct stored_file *f)
{
    char path[PATH_MAX];
    struct stat st;
    int err = batch_path(s, path, sizeof(path), f->id, "jsonl");
    if (err == 0 && stat(path, &st) < 0)
        err = -errno;
    if (err == 0)
        f->bytes = (uint64_t)st.st_size;
    return err;
}

static int copy_file(struct stored_file **ret, const struct stored_file *f)
{
    struct stored_file *copy = malloc(sizeof(*copy));
    char *name = str_dup(str_of(f->filename));
    if (!copy || !name) {
        free(copy);
        free(name);
        return -ENOMEM;
    }
    *copy = *f;
    copy->filename = name;
    *ret = copy;
    return 0;
}

static bool has_room(struct batch_store *s, const struct stored_file *f, struct fail *reterr)
{
    LOCKED(&s->lock);
    bool is_ours = strcmp(f->purpose, "batch") != 0; /* answers that were made are kept */
    if (is_ours || (s->n_files < BATCH_KEPT_MAX && s->bytes + f->bytes <= s->max_bytes))
        return true;
    (void)fail_set(
        reterr, FAIL_request_too_large,
        "the files that are kept have %llu bytes; with this one there would be more than "
        "gateway.batches.max_bytes (%llu) or more than %d files: delete some",
        (unsigned long long)s->bytes, (unsigned long long)s->max_bytes, BATCH_KEPT_MAX);
    return false;
}

int batch_keep_file(struct batch_store *s, const struct stored_file *f, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf record = BUF_INIT(BATCH_RECORD_MAX);
    struct stored_file *copy = NULL;
    int err = copy_file(&copy, f);
    if (err == 0)
        err = measure(s, copy);
    if (err == 0 && !has_room(s, copy, reterr))
        err = FAILED;
    if (err == 0) {
        buf_addf(&record, "{\"owner\":\"%s\",\"file\":", copy->owner);
        batch_print_file(&record, copy);
        buf_addc(&record, '}');
        err = replace(s, copy->id, &record);
    }
    if (err != 0) {
        unlink_all(s, f->id);
        if (copy)
            free_file(copy);
        return err;
    }
    LOCKED(&s->lock);
    list_file(s, copy);
    return 0;
}

int batch_remove_file(struct batch_store *s, struct str id, const char *owner)
{
    struct stored_file *f;
    {
        LOCKED(&s->lock);
        f = batch_find_file(s, id, owner);
        if (!f)
            return -ENOENT;
        unlist_file(s, f);
    }
    unlink_all(s, f->id);
    free_file(f);
    return 0;
}

/* ---- batches ---- */

static const char *const words[BATCH_STATUS_N] = {
    "validating", "failed",  "in_progress", "finalizing",
    "completed",  "expired", "cancelling",  "cancelled",
};

const char *batch_status_word(enum batch_status s)
{
    return words[s];
}

bool batch_has_ended(const struct batch *b)
{
    return b->status == BATCH_failed || b->status == BATCH_completed ||
           b->status == BATCH_expired || b->status == BATCH_cancelled;
}

struct batch *batch_find(struct batch_store *s, struct str id, const char *owner)
{
    struct batch *b;
    TAILQ_FOREACH(b, &s->batches, next)
    if (str_is(id, b->id) && strcmp(b->owner, owner) == 0)
        return b;
    return NULL;
}

static void print_time(struct buf *b, const char *word, uint64_t s)
{
    if (s)
        buf_addf(b, ",\"%s_at\":%llu", word, (unsigned long long)s);
    else
        buf_addf(b, ",\"%s_at\":null", word);
}

static void print_id(struct buf *b, const char *name, const char *id, bool is_there)
{
    buf_addf(b, is_there ? ",\"%s\":\"%s\"" : ",\"%s\":null", name, id);
}

void batch_print(struct buf *b, const struct batch *x)
{
    bool ended = batch_has_ended(x);
    buf_addf(b, "{\"id\":\"%s\",\"object\":\"batch\",\"endpoint\":", x->id);
    buf_add_json(b, str_of(x->endpoint));
    buf_adds(b, ",\"errors\":");
    if (x->errors)
        buf_addf(b, "{\"object\":\"list\",\"data\":");
    buf_adds(b, x->errors ? x->errors : "null");
    if (x->errors)
        buf_addc(b, '}');
    buf_addf(b, ",\"input_file_id\":\"%s\",\"completion_window\":\"24h\",\"status\":\"%s\"",
             x->input, words[x->status]);
    print_id(b, "output_file_id", x->output, ended && x->completed);
    print_id(b, "error_file_id", x->error, ended && x->failed);
    print_time(b, "created", x->at[BATCH_validating]);
    print_time(b, "expires", x->expires_s);
    for (size_t i = BATCH_validating + 1; i < BATCH_STATUS_N; i++)
        print_time(b, words[i], x->at[i]);
    buf_addf(
        b, ",\"request_counts\":{\"total\":%llu,\"completed\":%llu,\"failed\":%llu},\"metadata\":",
        (unsigned long long)x->total, (unsigned long long)x->completed,
        (unsigned long long)x->failed);
    buf_adds(b, x->metadata ? x->metadata : "null");
    buf_addc(b, '}');
}

void batch_record(struct buf *b, const struct batch *x)
{
    buf_addf(b, "{\"owner\":\"%s\",\"key\":\"%llx\",\"tenant\":", x->owner,
             (unsigned long long)x->key);
    if (x->tenant)
        buf_add_json(b, str_of(x->tenant));
    else
        buf_adds(b, "null");
    buf_addf(b, ",\"output\":\"%s\",\"error\":\"%s\",\"batch\":", x->output, x->error);
    batch_print(b, x);
    buf_addc(b, '}');
}

struct batch *batch_free(struct batch *b)
{
    if (!b)
        return NULL;
    free(b->endpoint);
    free(b->metadata);
    free(b->tenant);
    free(b->errors);
    free(b);
    return NULL;
}

static char *copy_json(struct str json, enum json_view_kind kind)
{
    return json_view_kind(json) == kind ? str_dup(json) : NULL;
}

static bool read_status(struct batch *x, struct str batch)
{
    char name[32];
    struct str status = json_view_get(batch, "status");
    size_t i = 0;
    while (i < BATCH_STATUS_N && !json_view_is(status, words[i]))
        i++;
    x->status = (enum batch_status)i;
    x->at[BATCH_validating] = take_u64(batch, "created_at");
    for (size_t k = BATCH_validating + 1; k < BATCH_STATUS_N; k++) {
        (void)snprintf(name, sizeof(name), "%s_at", words[k]);
        x->at[k] = take_u64(batch, name);
    }
    return i < BATCH_STATUS_N;
}

int batch_read(struct batch **ret, struct str record)
{
    size_t at = 0;
    char key[32];
    if (json_view_check(record, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return -EINVAL;
    CLEANUP(batch_freep) struct batch *x = calloc(1, sizeof(*x));
    if (!x)
        return -ENOMEM;
    struct str batch = json_view_get(record, "batch");
    take_text(x->id, sizeof(x->id), json_view_get(batch, "id"));
    take_text(x->owner, sizeof(x->owner), json_view_get(record, "owner"));
    take_text(x->input, sizeof(x->input), json_view_get(batch, "input_file_id"));
    take_text(x->output, sizeof(x->output), json_view_get(record, "output"));
    take_text(x->error, sizeof(x->error), json_view_get(record, "error"));
    take_text(key, sizeof(key), json_view_get(record, "key"));
    x->key = strtoull(key, NULL, 16);
    x->tenant = copy_text(json_view_get(record, "tenant"));
    x->endpoint = copy_text(json_view_get(batch, "endpoint"));
    x->metadata = copy_json(json_view_get(batch, "metadata"), JSON_VIEW_object);
    x->errors = copy_json(json_view_at(batch, "errors.data"), JSON_VIEW_array);
    x->expires_s = take_u64(batch, "expires_at");
    x->total = take_u64(batch, "request_counts.total");
    x->completed = take_u64(batch, "request_counts.completed");
    x->failed = take_u64(batch, "request_counts.failed");
    bool named = is_id(str_of(x->id)) && is_id(str_of(x->input)) && x->owner[0] && x->endpoint;
    bool files =
        (!x->output[0] || is_id(str_of(x->output))) && (!x->error[0] || is_id(str_of(x->error)));
    if (!named || !files || !read_status(x, batch))
        return -EINVAL;
    *ret = TAKE(x);
    return 0;
}

int batch_save(struct batch_store *s, const struct batch *b)
{
    CLEANUP(buf_done) struct buf record = BUF_INIT(BATCH_RECORD_MAX);
    {
        LOCKED(&s->lock);
        batch_record(&record, b);
    }
    return replace(s, b->id, &record);
}

static void list_batch(struct batch_store *s, struct batch *b)
{
    struct batch *after = TAILQ_LAST(&s->batches, batch_list);
    uint64_t created_s = b->at[BATCH_validating];
    while (after && (after->at[BATCH_validating] > created_s ||
                     (after->at[BATCH_validating] == created_s && strcmp(after->id, b->id) > 0)))
        after = TAILQ_PREV(after, batch_list, next);
    if (after)
        TAILQ_INSERT_AFTER(&s->batches, after, b, next);
    else
        TAILQ_INSERT_HEAD(&s->batches, b, next);
    s->n_batches++;
}

int batch_keep(struct batch_store *s, struct batch *b, struct fail *reterr)
{
    bool full;
    {
        LOCKED(&s->lock);
        full = s->n_batches >= BATCH_KEPT_MAX;
    }
    int err = full ? fail_set(reterr, FAIL_rate_limit_exceeded, "%d batches are kept already",
                              BATCH_KEPT_MAX)
                   : batch_save(s, b);
    if (err != 0) {
        (void)batch_free(b);
        return err;
    }
    LOCKED(&s->lock);
    list_batch(s, b);
    return 0;
}

/* ---- what is over ---- */

static struct stored_file *take_over(struct batch_store *s, uint64_t now_s)
{
    LOCKED(&s->lock);
    struct stored_file *f;
    TAILQ_FOREACH(f, &s->files, next)
    if (is_over(f, now_s)) {
        unlist_file(s, f);
        return f;
    }
    return NULL;
}

static struct batch *take_ended(struct batch_store *s, uint64_t now_s)
{
    LOCKED(&s->lock);
    struct batch *b;
    TAILQ_FOREACH(b, &s->batches, next)
    if (batch_has_ended(b) && !b->run && b->at[b->status] + s->ttl_s < now_s) {
        TAILQ_REMOVE(&s->batches, b, next);
        s->n_batches--;
        return b;
    }
    return NULL;
}

void batch_sweep(struct batch_store *s, uint64_t now_s)
{
    for (struct stored_file *f; (f = take_over(s, now_s)) != NULL;) {
        unlink_all(s, f->id);
        free_file(f);
    }
    for (struct batch *b; (b = take_ended(s, now_s)) != NULL;) {
        unlink_all(s, b->id);
        (void)batch_free(b);
    }
}

/* ---- life ---- */

/* One record of the folder; what cannot be read is left alone, and told. */
static int load(struct batch_store *s, const char *name)
{
    char path[PATH_MAX];
    CLEANUP(own_free) char *text = NULL;
    size_t n = 0;
    struct batch *b = NULL;
    struct stored_file *f = NULL;
    struct str id = str_head(str_of(name), strlen(name) - strlen(".json"));
    int len = snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    int err = len < 0 || (size_t)len >= sizeof(path) ? -ENAMETOOLONG
                                                     : file_read(&text, &n, path, BATCH_RECORD_MAX);
    struct str record = { text, n };
    if (err == 0)
        err = str_starts(id, STR("file-")) ? read_file(&f, record) : batch_read(&b, record);
    if (f)
        err = measure(s, f);
    if (err == 0 && !str_is(id, f ? f->id : b->id))
        err = -EINVAL;
    if (err == 0 && f)
        list_file(s, f);
    else if (err == 0)
        list_batch(s, b);
    if (err == 0)
        return 0;
    if (f)
        free_file(f);
    (void)batch_free(b);
    log_line(LOG_warn, "batches", "file=%s cause=%s, leaving it out", path, strerror(-err));
    return err == -ENOMEM ? err : 0;
}

/* What a process that died was writing: "file-….jsonl.XXXXXX". */
static void remove_draft(const struct batch_store *s, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", s->folder, name);
    if (n > 0 && (size_t)n < sizeof(path))
        (void)unlink(path);
}

static int load_all(struct batch_store *s)
{
    DIR *d = opendir(s->folder);
    int err = d ? 0 : -errno;
    for (const struct dirent *e; err == 0 && (e = readdir(d)) != NULL;) {
        struct str name = str_of(e->d_name);
        bool is_ours = str_starts(name, STR("file-")) || str_starts(name, STR("batch_"));
        bool is_draft = str_find(name, STR(".json.")) > 0 || str_find(name, STR(".jsonl.")) > 0;
        if (is_ours && is_draft)
            remove_draft(s, e->d_name);
        else if (is_ours && str_ends(name, STR(".json")))
            err = load(s, e->d_name);
    }
    if (d)
        (void)closedir(d);
    return err;
}

static int lock_folder(struct batch_store *s, struct fail *reterr)
{
    char path[PATH_MAX];
    int err = file_make_dirs(s->folder);
    if (err == 0)
        err = batch_path(s, path, sizeof(path), "folder", "lock");
    if (err == 0) {
        s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        err = s->fd < 0 ? -errno : 0;
    }
    if (err < 0)
        return fail_set(reterr, FAIL_internal_error, "gateway.batches.folder %.128s: %s", s->folder,
                        strerror(-err));
    if (flock(s->fd, LOCK_EX | LOCK_NB) < 0)
        return fail_set(reterr, FAIL_internal_error,
                        "gateway.batches.folder %.128s is another gateway's; each needs its own",
                        s->folder);
    return 0;
}

int batch_store_new(struct batch_store **ret, const struct config_batches *c, struct fail *reterr)
{
    enum { MS = 1000 };
    CLEANUP(batch_store_freep) struct batch_store *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    TAILQ_INIT(&s->files);
    TAILQ_INIT(&s->batches);
    (void)pthread_mutex_init(&s->lock, /* attr= */ NULL);
    s->fd = -1;
    s->max_bytes = c->max_bytes;
    s->ttl_s = c->ttl_ms / MS;
    s->folder = str_dup(c->folder);
    int err = s->folder ? lock_folder(s, reterr) : -ENOMEM;
    if (err == 0)
        err = load_all(s);
    if (err == 0)
        *ret = TAKE(s);
    return err;
}

struct batch_store *batch_store_free(struct batch_store *s)
{
    if (!s)
        return NULL;
    for (struct stored_file *f; (f = TAILQ_FIRST(&s->files)) != NULL;) {
        TAILQ_REMOVE(&s->files, f, next);
        free_file(f);
    }
    for (struct batch *b; (b = TAILQ_FIRST(&s->batches)) != NULL;) {
        TAILQ_REMOVE(&s->batches, b, next);
        (void)batch_free(b);
    }
    if (s->fd >= 0)
        own_close(&s->fd);
    free(s->folder);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
