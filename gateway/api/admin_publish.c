#include "gateway/api/admin.h"

#include "gateway/import.h"
#include "gateway/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

/*
 * Publishing over HTTP: the files themselves as a form, or a path of this machine in a folder that
 * the configuration opens for it.
 */

enum {
    FORM_BUFFER = 16 * 1024, /* of libmicrohttpd: headers of a part, and a block of its bytes */
    TEXT_MAX = 64 * 1024,    /* bytes of all fields that are no files */
    EXAMPLES_MAX = 64,
};

/* The only files that a revision has; all others of a folder are left out. */
static const char *const file_names[] = { "adapter_config.json", "adapter_model.safetensors",
                                          "adapter.gguf" };
enum { FILES = ARRAY_LEN(file_names) };

struct publish {
    struct str path, base, description, alias, who;
    struct str examples[EXAMPLES_MAX];
    size_t n_examples;
};

/* A form on its way to a folder. */
struct form {
    struct request *request;
    struct publish *into;
    struct str *field;     /* of the part under way; NULL: of none that is known */
    char folder[PATH_MAX]; /* "": none yet */
    int fd;                /* of the file under way; -1: none */
    bool seen[FILES];
    size_t text_bytes;
    int err; /* negative errno, or FAILED with `fail` */
    struct fail fail;
};

/* ---- parts ---- */

static int file_of(const char *name)
{
    const char *slash = name ? strrchr(name, '/') : NULL;
    const char *last = slash ? slash + 1 : name;
    size_t n = last ? strlen(last) : 0;
    for (int i = 0; last && i < FILES; i++)
        if (strcmp(last, file_names[i]) == 0)
            return i;
    return n > 5 && strcasecmp(last + n - 5, ".gguf") == 0 ? FILES - 1 : -1;
}

static struct str *field_of(struct publish *p, const char *key)
{
    const struct {
        const char *name;
        struct str *at;
    } rows[] = { { "base", &p->base },
                 { "description", &p->description },
                 { "alias", &p->alias },
                 { "who", &p->who } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, key) == 0)
            return rows[i].at;
    bool example = strcmp(key, "example") == 0 || strcmp(key, "examples") == 0;
    return example && p->n_examples < EXAMPLES_MAX ? &p->examples[p->n_examples++] : NULL;
}

static int begin_file(struct form *f, int which)
{
    char path[PATH_MAX];
    if (f->seen[which])
        return fail_param(&f->fail, FAIL_invalid_request, file_names[which],
                          "the form holds the file '%s' twice", file_names[which]);
    f->seen[which] = true;
    int n = snprintf(path, sizeof(path), "%s/%s", f->folder, file_names[which]);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    f->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return f->fd < 0 ? -errno : 0;
}

static void end_file(struct form *f)
{
    if (f->fd >= 0)
        own_close(&f->fd);
    f->fd = -1;
}

static int begin_part(struct form *f, const char *key, const char *filename)
{
    end_file(f);
    f->field = NULL;
    int which = file_of(filename ? filename : key);
    if (which >= 0)
        return begin_file(f, which);
    if (filename)
        return 0; /* a README, a tokenizer: no part of a revision */
    f->field = field_of(f->into, key);
    if (!f->field)
        return fail_param(&f->fail, FAIL_invalid_request, "",
                          "the form holds an unknown field '%.64s'", key);
    *f->field = STR("");
    return 0;
}

static int add_text(struct form *f, struct str part)
{
    f->text_bytes += part.n;
    if (f->text_bytes > TEXT_MAX)
        return fail_set(&f->fail, FAIL_request_too_large,
                        "the fields of the form have more than %d bytes", TEXT_MAX);
    struct buf joined = BUF_INIT(TEXT_MAX + 1);
    buf_add(&joined, *f->field);
    buf_add(&joined, part);
    int err = buf_err(&joined);
    *f->field = arena_str(f->request->arena, buf_str(&joined));
    buf_done(&joined);
    return err < 0 ? err : f->field->p ? 0 : -ENOMEM;
}

static int add_bytes(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno != EINTR)
            return -errno;
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        }
    }
    return 0;
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
        f->err = begin_part(f, key, filename);
    if (f->err == 0 && f->fd >= 0)
        f->err = add_bytes(f->fd, data, size);
    else if (f->err == 0 && f->field)
        f->err = add_text(f, (struct str){ data, size });
    return f->err == 0 ? MHD_YES : MHD_NO;
}

/* ---- a form ---- */

static int make_folder(char ret[static PATH_MAX])
{
    const char *under = getenv("TMPDIR");
    int n = snprintf(ret, PATH_MAX, "%s/rootstock-upload-XXXXXX", under && *under ? under : "/tmp");
    if (n < 0 || n >= PATH_MAX)
        return -ENAMETOOLONG;
    return mkdtemp(ret) ? 0 : -errno;
}

static void remove_folder(const char *folder)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < FILES; i++) {
        int n = snprintf(path, sizeof(path), "%s/%s", folder, file_names[i]);
        if (n > 0 && (size_t)n < sizeof(path))
            (void)unlink(path);
    }
    (void)rmdir(folder);
}

/*
 * Unpacks the body into f->folder, which the caller removes. The connection sleeps meanwhile and
 * stays, so that its headers may be read.
 */
static int read_form(struct request *r, struct form *f, struct fail *reterr)
{
    int err = make_folder(f->folder);
    if (err < 0) {
        f->folder[0] = '\0';
        return err;
    }
    struct MHD_PostProcessor *p = MHD_create_post_processor(r->connection, FORM_BUFFER, on_part, f);
    if (!p)
        return fail_set(reterr, FAIL_invalid_request, "the form's Content-Type names no boundary");
    enum MHD_Result ok = MHD_post_process(p, r->body.p, r->body.n);
    bool whole = MHD_destroy_post_processor(p) == MHD_YES;
    end_file(f);
    if (f->err == FAILED)
        *reterr = f->fail;
    if (f->err != 0)
        return f->err;
    bool files = false;
    for (size_t i = 0; i < FILES; i++)
        files = files || f->seen[i];
    if (ok != MHD_YES || !whole)
        return fail_set(reterr, FAIL_invalid_request,
                        "the body is no well-formed multipart/form-data");
    if (!files)
        return fail_set(reterr, FAIL_invalid_request,
                        "the form holds no file of an adapter: send adapter_config.json and "
                        "adapter_model.safetensors, or a .gguf file, each with its filename");
    return 0;
}

/* ---- a path ---- */

static const struct field fields[] = {
    { "path", FIELD_text, offsetof(struct publish, path), 0, 0, -1 },
    { "base", FIELD_text, offsetof(struct publish, base), 0, 0, -1 },
    { "description", FIELD_text, offsetof(struct publish, description), 0, 0, -1 },
    { "alias", FIELD_text, offsetof(struct publish, alias), 0, 0, -1 },
    { "who", FIELD_text, offsetof(struct publish, who), 0, 0, -1 },
    { 0 },
};

static int read_examples(struct request *r, const json_t *body, struct publish *p,
                         struct fail *reterr)
{
    const json_t *list = json_object_get(body, "examples");
    if (!list || json_is_null(list))
        return 0;
    size_t n = json_is_array(list) ? json_array_size(list) : EXAMPLES_MAX + 1;
    for (size_t i = 0; n <= EXAMPLES_MAX && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        p->examples[i] = json_str_copy(r->arena, item);
        n = json_is_string(item) ? n : EXAMPLES_MAX + 1;
        if (!p->examples[i].p)
            return -ENOMEM;
    }
    if (n > EXAMPLES_MAX)
        return fail_param(reterr, FAIL_invalid_request, "examples",
                          "'examples' must be an array of at most %d strings", EXAMPLES_MAX);
    p->n_examples = n;
    return 0;
}

static int read_json(struct request *r, struct publish *p, json_t **ret_body, struct fail *reterr)
{
    int err = json_body(ret_body, buf_str(&r->body), reterr);
    if (err == 0)
        err = json_only(fields, "examples", *ret_body, reterr);
    if (err == 0)
        err = json_fields(p, fields, *ret_body, reterr);
    if (err == 0)
        err = read_examples(r, *ret_body, p, reterr);
    if (err == 0 && p->path.n == 0)
        err = fail_param(reterr, FAIL_invalid_request, "path",
                         "'path' must be given, or the files as multipart/form-data");
    return err;
}

/* ---- the catalog ---- */

/* The base of a new adapter: as said, or that of the adapter there is, or the only one served. */
static int choose_base(struct request *r, struct str adapter, struct str *io_base,
                       struct fail *reterr)
{
    const struct config_engine *e = &r->state->config->engine;
    const struct config_model *models = e->models.items;
    struct adapter_info there;
    if (io_base->n)
        return 0;
    int err = adapters_show(r->state->core->adapters, r->arena, STR_NULL, adapter, &there, reterr);
    if (err == 0)
        *io_base = there.base;
    if (err != FAILED || reterr->code != FAIL_model_not_found)
        return err;
    if (e->n_own != 1)
        return fail_param(reterr, FAIL_invalid_request, "base",
                          "which base model is it for? say 'base', or BASE:ADAPTER in the path");
    *io_base = models[0].name;
    return 0;
}

/* What is asked of the alias beyond moving it: then it moves by itself, after the files are there.
 */
static bool moves_apart(const struct admin_ask *ask)
{
    return ask->if_match.p || ask->key.n || ask->must_reach;
}

static int move(struct request *r, const struct adapter_push *p, const struct adapter_revision *v,
                struct str alias, struct adapter_changed *ret, struct fail *reterr)
{
    const struct admin_ask *ask = r->work_about;
    char selector[SHA256_HEX + 8] = "sha256:";
    sha256_hex(selector + strlen("sha256:"), &v->digest);
    struct adapter_change c = { .op = ADAPTER_OP_promote,
                                .base = p->base,
                                .adapter = p->adapter,
                                .alias = alias,
                                .selector = str_of(selector),
                                .if_match = ask->if_match.p ? v->epoch : 0,
                                .key = ask->key,
                                .who = p->who,
                                .fleet_ms = ask->fleet_ms };
    return adapters_change(r->state->core->adapters, &c, r->arena, ret, reterr);
}

static void print(struct request *r, const struct adapter_revision *v, struct str alias,
                  const struct adapter_changed *c)
{
    const struct admin_ask *ask = r->work_about;
    struct buf *b = &r->reply.body;
    uint64_t epoch = c->epoch ? c->epoch : v->epoch;
    buf_adds(b, "{\"name\":");
    buf_add_json(b, str_of(v->adapter));
    buf_adds(b, ",\"base\":");
    buf_add_json(b, str_of(v->base));
    if (alias.n) {
        buf_adds(b, ",\"alias\":");
        buf_add_json(b, alias);
    }
    buf_adds(b, ",\"revision\":");
    admin_add_digest(b, &v->digest);
    buf_addf(b, ",\"ordinal\":%llu,\"bytes\":%llu,\"epoch\":%llu", (unsigned long long)v->ordinal,
             (unsigned long long)v->bytes, (unsigned long long)epoch);
    if (ask->must_reach)
        buf_addf(b, ",\"applied_by_all\":%s", c->behind ? "false" : "true");
    buf_addc(b, '}');
    admin_etag(r, epoch);
}

static int publish(struct request *r, struct publish *what, const char *path, struct fail *reterr)
{
    const struct admin_ask *ask = r->work_about;
    struct adapters *a = r->state->core->adapters;
    struct adapter_revision now = { 0 }, v = { 0 };
    struct adapter_changed changed = { 0 };
    struct str base = STR_NULL;
    bool apart = moves_apart(ask), checked = false;
    struct adapter_push p = { .description = what->description,
                              .who = admin_who(r, what->who),
                              .path = path,
                              .alias = apart ? STR_NULL : what->alias,
                              .examples = what->examples,
                              .n_examples = what->n_examples };
    int err = admin_name(r, ask->name, &base, &p.adapter, reterr);
    p.base = base.n ? base : what->base;
    if (err == 0)
        err = choose_base(r, p.adapter, &p.base, reterr);
    if (err == 0)
        err = import_check(r->state->config, p.base, path, &checked, reterr);
    if (err == 0 && ask->if_match.p) {
        struct adapter_name name = { .base = p.base, .adapter = p.adapter };
        uint64_t wanted;
        err = adapters_resolve(a, &name, &now, reterr);
        if (err == 0)
            err = admin_if_match(r, now.epoch, &wanted, reterr);
    }
    if (err == 0)
        err = adapters_push(a, &p, &v, reterr);
    struct str alias = what->alias;
    if (err == 0 && ask->must_reach && alias.n == 0 && v.ordinal == 1)
        alias = STR("prod"); /* which the first revision becomes */
    if (err == 0 && apart && alias.n)
        err = move(r, &p, &v, alias, &changed, reterr);
    if (err == 0)
        print(r, &v, alias, &changed);
    return err;
}

void admin_publish(struct request *r)
{
    struct fail fail = { 0 };
    struct publish *what = arena_alloc(r->arena, sizeof(*what));
    struct form f = { .request = r, .into = what, .fd = -1 };
    json_auto_t *body = NULL;
    const char *path = f.folder;
    int err = what ? 0 : -ENOMEM;
    if (err == 0)
        err = r->is_form ? read_form(r, &f, &fail) : read_json(r, what, &body, &fail);
    if (err == 0 && !r->is_form)
        err = import_path(&r->state->config->gateway, what->path, r->arena, &path, &fail);
    if (err == 0)
        err = publish(r, what, path, &fail);
    if (f.folder[0])
        remove_folder(f.folder);
    admin_done(r, err, &fail, "publishing the adapter");
}
