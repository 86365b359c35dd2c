/*
 * vLLM's POST /v1/load_lora_adapter and /v1/unload_lora_adapter, with its statuses and texts, so
 * that tools written for it manage adapters here: a load publishes a revision and makes it `prod`,
 * an unload retires the adapter. Workers.
 */
#include "gateway/api/admin.h"
#include "gateway/api/api.h"
#include "gateway/import.h"
#include "gateway/server.h"

#include <errno.h>

struct lora_body {
    struct str name, path, base;
    bool in_place;
};

static const struct field fields[] = {
    { "lora_name", FIELD_text, offsetof(struct lora_body, name), 0, 0, -1 },
    { "lora_path", FIELD_text, offsetof(struct lora_body, path), 0, 0, -1 },
    { "base_model_name", FIELD_text, offsetof(struct lora_body, base), 0, 0, -1 },
    { "load_inplace", FIELD_bool, offsetof(struct lora_body, in_place), 0, 0, -1 },
    { 0 },
};

/* vLLM's error object, whose code is the status. */
static void refuse(struct request *r, unsigned status, const char *type, const char *message)
{
    struct buf *b = &r->reply.body;
    buf_clear(b);
    buf_adds(b, "{\"error\":{\"message\":");
    buf_add_json(b, str_of(message));
    buf_addf(b, ",\"type\":\"%s\",\"param\":null,\"code\":%u}}", type, status);
    r->reply.status = status;
    r->reply.type = "application/json";
}

static void succeed(struct request *r, struct str name, const char *what)
{
    buf_addf(&r->reply.body, "Success: LoRA adapter '" STR_FMT "' %s successfully.", STR_ARG(name),
             what);
    r->reply.status = 200;
    r->reply.type = "text/plain; charset=utf-8";
}

static void refuse_named(struct request *r, unsigned status, const char *type, struct str name,
                         const char *what)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "The lora adapter '" STR_FMT "' %s",
                   STR_ARG(str_head(name, 256)), what);
    refuse(r, status, type, text);
}

/* What the catalog or the files say, in vLLM's words for it. */
static void fail_lora(struct request *r, int err, struct fail *fail, const char *doing)
{
    if (err < 0)
        (void)fail_errno(fail, err, doing);
    unsigned status = fail_status(fail->code);
    bool theirs = fail->code == FAIL_unprocessable_adapter || fail->code == FAIL_invalid_request;
    if (fail->retry_after_s)
        reply_headerf(r, "Retry-After", "%u", fail->retry_after_s);
    if (theirs)
        refuse(r, 400, "BadRequestError", fail->message);
    else if (status == 404)
        refuse(r, 404, "NotFoundError", fail->message);
    else if (status < 500)
        refuse(r, status, "BadRequestError", fail->message);
    else
        refuse(r, status == 504 ? 500 : status, "InternalServerError", fail->message);
}

static bool is_enabled(const struct request *r)
{
    bool operates = !auth_open(r->state->auth) && !r->caller.tenant.p;
    return r->state->config->gateway.runtime_lora || operates;
}

static int read_lora(struct request *r, struct lora_body *ret, json_t **ret_json,
                     struct fail *reterr)
{
    if (!is_enabled(r))
        return fail_set(reterr, FAIL_permission_denied,
                        "adapters are not loaded by everybody: set gateway.runtime_lora: true, or "
                        "use a key without a tenant");
    int err = json_body(ret_json, buf_str(&r->body), reterr);
    return err == 0 ? json_fields(ret, fields, *ret_json, reterr) : err;
}

/* 0: there is an adapter of exactly that name. */
static int exists(struct request *r, struct str base, struct str adapter, struct adapter_info *ret,
                  struct fail *reterr)
{
    return adapters_show(r->state->core->adapters, r->arena, base, adapter, ret, reterr);
}

static int choose_base(struct request *r, const struct lora_body *m, struct str *io_base,
                       struct fail *reterr)
{
    const struct core *c = r->state->core;
    if (io_base->n == 0)
        *io_base = m->base;
    if (io_base->n && !core_model(c, *io_base))
        return fail_set(reterr, FAIL_invalid_request,
                        "the base model '" STR_FMT "' is not served here",
                        STR_ARG(str_head(*io_base, 128)));
    if (io_base->n)
        return 0;
    if (r->state->config->engine.n_own != 1)
        return fail_set(reterr, FAIL_invalid_request,
                        "which base model is it for? send 'base_model_name', or BASE:NAME");
    *io_base = c->models[0].name;
    return 0;
}

static int load(struct request *r, const struct lora_body *m, struct fail *reterr)
{
    struct str base, adapter;
    struct adapter_info there;
    struct adapter_revision v;
    const char *path = NULL;
    bool checked = false;
    int err = admin_name(r, m->name, &base, &adapter, reterr);
    if (err != 0)
        return err;
    err = exists(r, base, adapter, &there, reterr);
    if (err == 0 && !m->in_place) {
        refuse_named(r, 400, "InvalidUserInput", m->name,
                     "has already been loaded. If you want to load the adapter in place, set "
                     "'load_inplace' to True.");
        return 0;
    }
    if (err == 0)
        base = there.base;
    else if (err != FAILED || reterr->code != FAIL_model_not_found)
        return err;
    err = choose_base(r, m, &base, reterr);
    if (err == 0)
        err = import_path(&r->state->config->gateway, m->path, r->arena, &path, reterr);
    if (err == FAILED && reterr->code == FAIL_not_found)
        return fail_set(reterr, FAIL_not_found, "No adapter found for " STR_FMT,
                        STR_ARG(str_head(m->path, 200)));
    if (err != 0)
        return err;
    struct adapter_push p = { .base = base,
                              .adapter = adapter,
                              .who = admin_who(r, STR("load_lora_adapter")),
                              .path = path,
                              .alias = STR("prod") };
    err = import_check(r->state->config, base, path, &checked, reterr);
    if (err == 0)
        err = adapters_push(r->state->core->adapters, &p, &v, reterr);
    if (err == 0)
        succeed(r, m->name, "added");
    return err;
}

static void load_work(struct request *r)
{
    struct fail fail = { 0 };
    struct lora_body m = { 0 };
    json_auto_t *body = NULL;
    int err = read_lora(r, &m, &body, &fail);
    if (err == 0 && (m.name.n == 0 || m.path.n == 0))
        refuse(r, 400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.");
    else if (err == 0)
        err = load(r, &m, &fail);
    if (err != 0)
        fail_lora(r, err, &fail, "loading the adapter");
}

static int unload(struct request *r, const struct lora_body *m, struct fail *reterr)
{
    struct str base, adapter;
    struct adapter_info there;
    struct adapter_changed changed;
    int err = admin_name(r, m->name, &base, &adapter, reterr);
    if (err == 0)
        err = exists(r, base, adapter, &there, reterr);
    if (err == FAILED && fail_status(reterr->code) == 404) {
        refuse_named(r, 404, "NotFoundError", m->name, "cannot be found.");
        return 0;
    }
    if (err != 0)
        return err;
    struct adapter_change c = { .op = ADAPTER_OP_retire,
                                .base = there.base,
                                .adapter = there.name,
                                .who = admin_who(r, STR("unload_lora_adapter")) };
    err = adapters_change(r->state->core->adapters, &c, r->arena, &changed, reterr);
    if (err == 0)
        succeed(r, m->name, "removed");
    return err;
}

static void unload_work(struct request *r)
{
    struct fail fail = { 0 };
    struct lora_body m = { 0 };
    json_auto_t *body = NULL;
    int err = read_lora(r, &m, &body, &fail);
    if (err == 0 && m.name.n == 0)
        refuse(r, 400, "InvalidUserInput",
               "'lora_name' needs to be provided to unload a LoRA adapter.");
    else if (err == 0)
        err = unload(r, &m, &fail);
    if (err != 0)
        fail_lora(r, err, &fail, "unloading the adapter");
}

enum next api_lora_load(struct request *r)
{
    return server_change(r, load_work, reply_made);
}

enum next api_lora_unload(struct request *r)
{
    return server_change(r, unload_work, reply_made);
}
