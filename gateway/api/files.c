/* /v1/files: what batches are asked from, and what they answered. */
#include "gateway/api/files.h"

#include "base/clock.h"
#include "base/num.h"
#include "gateway/api/api.h"
#include "gateway/api/responses.h"
#include "gateway/head.h"
#include "gateway/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <microhttpd.h>
#include <unistd.h>

enum {
    FORM_BUFFER = 16 * 1024, /* of libmicrohttpd: headers of a part, and a block of its bytes */
    FIELD_MAX = 64,          /* bytes of a field that is no file */
    NAME_MAX_BYTES = 256,    /* of a file's name */
    EXPIRES_MIN_S = 3600,    /* OpenAI's own, and so is */
    EXPIRES_MAX_S = 2592000,
    BLOCK = 64 * 1024, /* read at once for a download */
};

/* ---- shared with batches ---- */

int files_ask(struct request *r, size_t usual, size_t max, struct fail *reterr)
{
    struct files_ask *ask = arena_alloc(r->arena, sizeof(*ask));
    struct str limit = head_query(r, "limit"), order = head_query(r, "order");
    uint64_t n = usual;
    if (!server_batches(r->server))
        return fail_set(reterr, FAIL_not_implemented,
                        "files and batches are not served here: gateway.batches.folder is not set");
    const char *owner = responses_key(r, STR("")); /* digits and a colon */
    if (!ask || !owner)
        return fail_errno(reterr, -ENOMEM, "reading the request");
    if (limit.p && num_parse_u64(&n, limit, 1, max) < 0)
        return fail_param(reterr, FAIL_invalid_request, "limit",
                          "'limit' must be an integer between 1 and %zu", max);
    if (order.n && !str_is(order, "asc") && !str_is(order, "desc"))
        return fail_param(reterr, FAIL_invalid_request, "order",
                          "'order' must be \"asc\" or \"desc\"");
    *ask = (struct files_ask){ .after = head_query(r, "after"),
                               .purpose = head_query(r, "purpose"),
                               .limit = (size_t)n,
                               .ascending = str_is(order, "asc") };
    (void)snprintf(ask->owner, sizeof(ask->owner), "%.*s", (int)strcspn(owner, ":"), owner);
    r->work_about = ask;
    return 0;
}

void files_fault(struct request *r, int err, struct fail *fail, const char *what)
{
    if (err == -ENOENT)
        (void)fail_param(fail, FAIL_not_found, "id", "No such %s: " STR_FMT, what,
                         STR_ARG(str_head(r->params[0], LIMIT_NAME)));
    else if (err < 0)
        (void)fail_errno(fail, err, "keeping files and batches");
    (void)reply_fail(r, fail);
}

void files_page_begin(struct files_page *p, struct request *r, const struct files_ask *ask)
{
    *p = (struct files_page){ .out = &r->reply.body, .past = ask->after.n == 0 };
    buf_adds(p->out, "{\"object\":\"list\",\"data\":[");
}

bool files_page_has(struct files_page *p, const struct files_ask *ask, const char *id)
{
    if (!p->past) {
        p->past = str_is(ask->after, id);
        return false;
    }
    if (p->n == ask->limit) {
        p->has_more = true;
        return false;
    }
    if (p->n++ == 0)
        memcpy(p->first, id, sizeof(p->first));
    else
        buf_addc(p->out, ',');
    memcpy(p->last, id, sizeof(p->last));
    return true;
}

void files_page_end(struct files_page *p)
{
    if (p->n)
        buf_addf(p->out, "],\"first_id\":\"%s\",\"last_id\":\"%s\"", p->first, p->last);
    else
        buf_adds(p->out, "],\"first_id\":null,\"last_id\":null");
    buf_addf(p->out, ",\"has_more\":%s}", p->has_more ? "true" : "false");
}

/* ---- upload ---- */

struct field_text {
    char text[FIELD_MAX + 1];
    size_t n;
    bool is_long;
};

struct form {
    struct file_draft draft;
    bool has_file, has_draft;
    const char *path;
    char name[NAME_MAX_BYTES];
    struct field_text purpose, anchor, seconds;
    struct field_text *field; /* of the part under way; NULL: none that is known */
    bool is_file;
    int err; /* negative errno, or FAILED with `fail` */
    struct fail fail;
};

static struct field_text *field_of(struct form *f, const char *key)
{
    const struct {
        const char *name;
        struct field_text *at;
    } rows[] = { { "purpose", &f->purpose },
                 { "expires_after[anchor]", &f->anchor },
                 { "expires_after[seconds]", &f->seconds } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, key) == 0)
            return rows[i].at;
    return NULL;
}

static int begin_part(struct form *f, const char *key, const char *filename)
{
    f->is_file = strcmp(key, "file") == 0;
    f->field = f->is_file ? NULL : field_of(f, key);
    if (!f->is_file)
        return 0;
    if (f->has_file)
        return fail_param(&f->fail, FAIL_invalid_request, "file", "the form holds 'file' twice");
    f->has_file = true;
    struct str name = str_of(filename);
    name = str_head(name, str_utf8_whole(str_head(name, sizeof(f->name) - 1)));
    if (name.n)
        memcpy(f->name, name.p, name.n);
    f->name[name.n] = '\0';
    int err = file_draft_begin(&f->draft, f->path);
    f->has_draft = err == 0;
    return err;
}

static void add_field(struct field_text *t, struct str part)
{
    t->is_long = t->is_long || t->n + part.n > FIELD_MAX;
    size_t n = t->is_long ? 0 : part.n;
    if (n)
        memcpy(t->text + t->n, part.p, n);
    t->n += n;
    t->text[t->n] = '\0';
}

/* NOLINTNEXTLINE(readability-function-size): the library chose the parameters */
static enum MHD_Result on_part(void *cls, enum MHD_ValueKind kind, const char *key,
                               const char *filename, const char *type, const char *encoding,
                               const char *data, uint64_t offset, size_t size)
{
    (void)kind;
    (void)type;
    (void)encoding;
    struct form *f = cls;
    if (offset == 0)
        f->err = begin_part(f, key ? key : "", filename);
    if (f->err == 0 && f->is_file)
        f->err = file_draft_add(&f->draft, (struct str){ data, size });
    else if (f->err == 0 && f->field)
        add_field(f->field, (struct str){ data, size });
    return f->err == 0 ? MHD_YES : MHD_NO;
}

static int read_form(struct request *r, struct form *f)
{
    struct MHD_PostProcessor *p = MHD_create_post_processor(r->connection, FORM_BUFFER, on_part, f);
    if (!p)
        return fail_set(&f->fail, FAIL_invalid_request,
                        "the form's Content-Type names no boundary");
    enum MHD_Result ok = MHD_post_process(p, r->body.p, r->body.n);
    bool whole = MHD_destroy_post_processor(p) == MHD_YES;
    buf_done(&r->body);
    if (f->err != 0)
        return f->err;
    if (ok != MHD_YES || !whole)
        return fail_set(&f->fail, FAIL_invalid_request,
                        "the body is no well-formed multipart/form-data");
    if (!f->has_file)
        return fail_param(&f->fail, FAIL_invalid_request, "file", "the form holds no 'file'");
    return 0;
}

static int check_purpose(struct form *f)
{
    if (f->purpose.n == 0 && !f->purpose.is_long)
        return fail_param(&f->fail, FAIL_invalid_request, "purpose", "'purpose' must be given");
    if (f->purpose.is_long || strcmp(f->purpose.text, "batch") != 0)
        return fail_param(&f->fail, FAIL_invalid_request, "purpose",
                          "files of purpose '%s' are not served here, only those of 'batch'",
                          f->purpose.is_long ? "…" : f->purpose.text);
    return 0;
}

static int read_expiry(struct form *f, uint64_t *io_ttl_s)
{
    uint64_t n = 0;
    if (!f->anchor.n && !f->seconds.n)
        return 0;
    if (strcmp(f->anchor.text, "created_at") != 0)
        return fail_param(&f->fail, FAIL_invalid_request, "expires_after[anchor]",
                          "'expires_after[anchor]' must be \"created_at\"");
    struct str seconds = { f->seconds.text, f->seconds.n };
    if (num_parse_u64(&n, seconds, EXPIRES_MIN_S, EXPIRES_MAX_S) < 0)
        return fail_param(&f->fail, FAIL_invalid_request, "expires_after[seconds]",
                          "'expires_after[seconds]' must be an integer between %d and %d",
                          EXPIRES_MIN_S, EXPIRES_MAX_S);
    *io_ttl_s = n < *io_ttl_s ? n : *io_ttl_s;
    return 0;
}

static int keep(struct request *r, struct form *f, struct stored_file *file)
{
    struct batch_store *s = batches_store(server_batches(r->server));
    uint64_t ttl_s = s->ttl_s;
    int err = read_form(r, f);
    if (err == 0)
        err = check_purpose(f);
    if (err == 0)
        err = read_expiry(f, &ttl_s);
    if (err == 0)
        err = file_draft_end(&f->draft);
    file->created_s = r->created_s;
    file->expires_s = r->created_s + ttl_s;
    file->filename = f->name[0] ? f->name : (char[]){ "upload.jsonl" };
    (void)snprintf(file->purpose, sizeof(file->purpose), "batch");
    return err == 0 ? batch_keep_file(s, file, &f->fail) : err;
}

static void print_kept(struct request *r, const struct stored_file *kept)
{
    struct batch_store *s = batches_store(server_batches(r->server));
    LOCKED(&s->lock);
    const struct stored_file *f = batch_find_file(s, str_of(kept->id), kept->owner);
    if (f)
        batch_print_file(&r->reply.body, f);
}

static void upload(struct request *r)
{
    const struct files_ask *ask = r->work_about;
    char path[PATH_MAX];
    struct form *f = arena_alloc(r->arena, sizeof(*f));
    struct fail fail = { 0 };
    if (!f) {
        files_fault(r, -ENOMEM, &fail, "File object");
        return;
    }
    *f = (struct form){ .path = path };
    struct stored_file file = { 0 };
    batch_make_id(file.id, "file-");
    memcpy(file.owner, ask->owner, sizeof(file.owner));
    int err =
        batch_path(batches_store(server_batches(r->server)), path, sizeof(path), file.id, "jsonl");
    if (err == 0)
        err = keep(r, f, &file);
    if (f->has_draft)
        file_draft_done(&f->draft);
    if (err == 0)
        print_kept(r, &file);
    else
        files_fault(r, err, &f->fail, "File object");
}

/* ---- list ---- */

static void list(struct request *r)
{
    const struct files_ask *ask = r->work_about;
    struct batch_store *s = batches_store(server_batches(r->server));
    uint64_t now = clock_wall_s();
    struct files_page page;
    files_page_begin(&page, r, ask);
    LOCKED(&s->lock);
    for (const struct stored_file *f = ask->ascending ? TAILQ_FIRST(&s->files)
                                                      : TAILQ_LAST(&s->files, stored_files);
         f && !page.has_more;
         f = ask->ascending ? TAILQ_NEXT(f, next) : TAILQ_PREV(f, stored_files, next)) {
        bool is_wanted = strcmp(f->owner, ask->owner) == 0 && f->expires_s > now &&
                         (ask->purpose.n == 0 || str_is(ask->purpose, f->purpose));
        if (is_wanted && files_page_has(&page, ask, f->id))
            batch_print_file(page.out, f);
    }
    files_page_end(&page);
}

enum next api_files(struct request *r)
{
    struct fail fail = { 0 };
    bool uploads = strcmp(r->endpoint->method, "POST") == 0;
    if (files_ask(r, FILES_LIMIT, FILES_LIMIT, &fail) != 0)
        return reply_fail(r, &fail);
    if (uploads && !r->is_form)
        return reply_fail(r, (fail_set(&fail, FAIL_unsupported_media_type,
                                       "send the file as multipart/form-data, with 'purpose'"),
                              &fail));
    return server_work(r, uploads ? upload : list, reply_made);
}

/* ---- one ---- */

static void show(struct request *r)
{
    const struct files_ask *ask = r->work_about;
    struct batch_store *s = batches_store(server_batches(r->server));
    struct fail fail = { 0 };
    bool is_there;
    {
        LOCKED(&s->lock);
        const struct stored_file *f = batch_find_file(s, r->params[0], ask->owner);
        is_there = f != NULL;
        if (f)
            batch_print_file(&r->reply.body, f);
    }
    if (!is_there)
        files_fault(r, -ENOENT, &fail, "File object");
}

static void forget(struct request *r)
{
    const struct files_ask *ask = r->work_about;
    struct fail fail = { 0 };
    int err = batch_remove_file(batches_store(server_batches(r->server)), r->params[0], ask->owner);
    if (err != 0) {
        files_fault(r, err, &fail, "File object");
        return;
    }
    buf_adds(&r->reply.body, "{\"id\":");
    buf_add_json(&r->reply.body, r->params[0]);
    buf_adds(&r->reply.body, ",\"object\":\"file\",\"deleted\":true}");
}

enum next api_file(struct request *r)
{
    struct fail fail = { 0 };
    bool shows = strcmp(r->endpoint->method, "GET") == 0;
    if (files_ask(r, FILES_LIMIT, FILES_LIMIT, &fail) != 0)
        return reply_fail(r, &fail);
    return server_work(r, shows ? show : forget, reply_made);
}

/* ---- its content ---- */

/* A file on its way to a client, block by block: workers read, the http thread sends. */
struct download {
    int fd;
    char *block;
    size_t n, at; /* of the block: bytes, and how many were sent */
    bool is_reading, has_ended;
    int err;
};

static void download_done(void *front)
{
    struct download *d = front;
    if (d->fd >= 0)
        own_close(&d->fd);
}

static void read_block(struct request *r)
{
    struct download *d = r->front;
    ssize_t n;
    do
        n = read(d->fd, d->block, BLOCK);
    while (n < 0 && errno == EINTR);
    d->err = n < 0 ? -errno : 0;
    d->n = n > 0 ? (size_t)n : 0;
    d->at = 0;
    d->has_ended = n <= 0;
}

/* Whether the block is there. */
static bool has_block(struct request *r, struct download *d)
{
    LOCKED(&r->flow.lock);
    if (d->is_reading && r->worked)
        d->is_reading = false;
    return !d->is_reading;
}

static ptrdiff_t send_block(struct request *r, char *into, size_t max)
{
    struct download *d = r->front;
    for (;;) {
        enum flow_end end = flow_ended(&r->flow);
        if (end != FLOW_open && end != FLOW_answered)
            return -2;
        (void)flow_take_beat(&r->flow); /* there is no way to say nothing */
        if (has_block(r, d)) {
            if (d->at < d->n) {
                size_t n = d->n - d->at < max ? d->n - d->at : max;
                memcpy(into, d->block + d->at, n);
                d->at += n;
                flow_wrote(&r->flow, clock_ms());
                return (ptrdiff_t)n;
            }
            if (d->err < 0)
                return -2;
            if (d->has_ended) {
                (void)flow_close(&r->flow, FLOW_answered);
                return -1;
            }
            d->is_reading = true;
            if (server_work_aside(r, read_block) < 0)
                return -2;
        }
        if (server_suspend(r))
            return 0;
    }
}

static void open_content(struct request *r)
{
    const struct files_ask *ask = r->work_about;
    struct batch_store *s = batches_store(server_batches(r->server));
    struct download *d = r->front;
    struct fail fail = { 0 };
    char path[PATH_MAX], id[BATCH_ID] = "";
    {
        LOCKED(&s->lock);
        const struct stored_file *f = batch_find_file(s, r->params[0], ask->owner);
        if (f)
            memcpy(id, f->id, sizeof(id));
    }
    int err = id[0] ? batch_path(s, path, sizeof(path), id, "jsonl") : -ENOENT;
    if (err == 0) {
        d->fd = open(path, O_RDONLY | O_CLOEXEC);
        err = d->fd < 0 ? -errno : 0;
    }
    if (err < 0)
        files_fault(r, err, &fail, "File object");
    else
        read_block(r);
}

static enum next begin_content(struct request *r)
{
    if (r->reply.status)
        return NEXT_reply;
    r->reply.status = 200;
    r->reply.type = "application/octet-stream";
    r->read = send_block;
    return NEXT_stream;
}

enum next api_file_content(struct request *r)
{
    struct fail fail = { 0 };
    struct download *d = arena_alloc(r->arena, sizeof(*d));
    char *block = arena_alloc(r->arena, BLOCK);
    if (!d || !block)
        return reply_fail(r, (fail_errno(&fail, -ENOMEM, "reading the file"), &fail));
    *d = (struct download){ .fd = -1, .block = block };
    r->front = d;
    r->front_done = download_done;
    if (files_ask(r, FILES_LIMIT, FILES_LIMIT, &fail) != 0)
        return reply_fail(r, &fail);
    return server_work(r, open_content, begin_content);
}
