#include "gateway/api/api.h"
#include "gateway/api/json.h"
#include "gateway/server.h"
#include "gateway/target.h"

#include <errno.h>

/*
 * The adapters' admin API. All of it runs on workers: the catalog may have to be asked.
 */

static void add_digest(struct buf *b, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, d);
    buf_addf(b, "\"%s\"", hex);
}

static void print_revision(struct buf *b, const struct adapter_revision *v)
{
    buf_adds(b, "{\"revision\":");
    add_digest(b, &v->digest);
    buf_addf(b, ",\"ordinal\":%llu,\"created\":%llu,\"bytes\":%llu}",
             (unsigned long long)v->ordinal, (unsigned long long)v->created_s,
             (unsigned long long)v->bytes);
}

static void print_info(struct buf *b, const struct adapter_info *info)
{
    buf_adds(b, "{\"name\":");
    buf_add_json(b, info->name);
    buf_adds(b, ",\"base\":");
    buf_add_json(b, info->base);
    buf_adds(b, ",\"description\":");
    buf_add_json(b, info->description);
    buf_adds(b, ",\"revisions\":[");
    for (size_t i = 0; i < info->n_revisions; i++) {
        if (i)
            buf_addc(b, ',');
        print_revision(b, &info->revisions[i]);
    }
    buf_adds(b, "],\"aliases\":{");
    for (size_t i = 0; i < info->n_aliases; i++) {
        if (i)
            buf_addc(b, ',');
        buf_add_json(b, str_of(info->aliases[i].name));
        buf_addc(b, ':');
        add_digest(b, &info->aliases[i].digest);
    }
    buf_addf(b, "},\"resident\":%s}", info->resident ? "true" : "false");
}

static enum next worked(struct request *r)
{
    return r->reply.status ? NEXT_reply : reply_json(r);
}

static void done(struct request *r, int err, struct fail *fail, const char *doing)
{
    if (err < 0)
        err = fail_errno(fail, err, doing);
    if (err != 0)
        (void)reply_fail(r, fail);
}

/* The adapter that the path names: "base:adapter", or "adapter" when its name is unique. */
static int find_adapter(struct request *r, struct str *ret_base, struct str *ret_adapter,
                        struct fail *reterr)
{
    struct target t;
    int err = target_parse(r->state->core, r->params[0], &t, reterr);
    if (err != 0)
        return err;
    if (t.adapter.adapter.n == 0 || t.adapter.selector.n)
        return fail_set(reterr, FAIL_model_not_found,
                        "'" STR_FMT "' names no adapter; write ADAPTER or BASE:ADAPTER",
                        STR_ARG(str_head(r->params[0], 128)));
    struct adapter_revision v;
    err = adapters_resolve(r->state->core->adapters, &t.adapter, &v, reterr);
    if (err != 0)
        return err;
    *ret_base = arena_str(r->arena, str_of(v.base));
    *ret_adapter = arena_str(r->arena, str_of(v.adapter));
    return ret_base->p && ret_adapter->p ? 0 : -ENOMEM;
}

static void list(struct request *r)
{
    struct fail fail;
    struct adapter_info *all = NULL;
    size_t n = 0;
    int err =
        adapters_list(r->state->core->adapters, r->arena, r->query_after, /* max= */ 0, &all, &n);
    buf_adds(&r->reply.body, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; err == 0 && i < n; i++) {
        if (i)
            buf_addc(&r->reply.body, ',');
        print_info(&r->reply.body, &all[i]);
    }
    buf_adds(&r->reply.body, "]}");
    done(r, err, &fail, "listing the adapters");
}

static void show(struct request *r)
{
    struct fail fail = { 0 };
    struct str base, adapter;
    struct adapter_info info = { 0 };
    int err = find_adapter(r, &base, &adapter, &fail);
    if (err == 0)
        err = adapters_show(r->state->core->adapters, r->arena, base, adapter, &info, &fail);
    if (err == 0)
        print_info(&r->reply.body, &info);
    done(r, err, &fail, "reading the adapter");
}

struct move {
    struct str alias, revision, expected, who;
    bool has_alias, has_revision;
};
static const struct field alias_fields[] = {
    { "alias", FIELD_text, offsetof(struct move, alias), 0, 0, offsetof(struct move, has_alias) },
    { "revision", FIELD_text, offsetof(struct move, revision), 0, 0,
      offsetof(struct move, has_revision) },
    { "expected", FIELD_text, offsetof(struct move, expected), 0, 0, -1 },
    { "who", FIELD_text, offsetof(struct move, who), 0, 0, -1 },
    { 0 },
};
static const struct field rollback_fields[] = {
    { "alias", FIELD_text, offsetof(struct move, alias), 0, 0, offsetof(struct move, has_alias) },
    { "who", FIELD_text, offsetof(struct move, who), 0, 0, -1 },
    { 0 },
};

static struct str without_prefix(struct str digest)
{
    return str_starts(digest, STR("sha256:")) ? str_sub(digest, strlen("sha256:")) : digest;
}

static void print_moved(struct request *r, struct str alias, const struct adapter_revision *v)
{
    struct buf *b = &r->reply.body;
    buf_adds(b, "{\"name\":");
    buf_add_json(b, str_of(v->adapter));
    buf_adds(b, ",\"base\":");
    buf_add_json(b, str_of(v->base));
    buf_adds(b, ",\"alias\":");
    buf_add_json(b, alias);
    buf_adds(b, ",\"revision\":");
    add_digest(b, &v->digest);
    buf_addf(b, ",\"ordinal\":%llu}", (unsigned long long)v->ordinal);
}

static void move_alias(struct request *r)
{
    struct fail fail = { 0 };
    struct move m = { .who = STR("admin API") };
    struct str base, adapter;
    struct adapter_revision v = { 0 };
    json_auto_t *body = NULL;
    int err = json_body(&body, buf_str(&r->body), &fail);
    if (err == 0)
        err = json_only(alias_fields, /* also= */ NULL, body, &fail);
    if (err == 0)
        err = json_fields(&m, alias_fields, body, &fail);
    if (err == 0 && (m.alias.n == 0 || m.revision.n == 0))
        err = fail_param(&fail, FAIL_invalid_request, m.alias.n ? "revision" : "alias",
                         "'alias' and 'revision' must be given");
    if (err == 0)
        err = find_adapter(r, &base, &adapter, &fail);
    if (err == 0)
        err = adapters_alias(r->state->core->adapters, base, adapter, m.alias, m.revision,
                             without_prefix(m.expected), m.who, &v, &fail);
    if (err == 0)
        print_moved(r, m.alias, &v);
    done(r, err, &fail, "moving the alias");
}

static void rollback(struct request *r)
{
    struct fail fail = { 0 };
    struct move m = { .alias = STR("prod"), .who = STR("admin API") };
    struct str base, adapter;
    struct adapter_revision v = { 0 };
    json_auto_t *body = NULL;
    int err = r->body.n ? json_body(&body, buf_str(&r->body), &fail) : 0;
    if (err == 0 && body)
        err = json_only(rollback_fields, /* also= */ NULL, body, &fail);
    if (err == 0 && body)
        err = json_fields(&m, rollback_fields, body, &fail);
    if (err == 0)
        err = find_adapter(r, &base, &adapter, &fail);
    if (err == 0)
        err = adapters_rollback(r->state->core->adapters, base, adapter, m.alias, m.who, &v, &fail);
    if (err == 0)
        print_moved(r, m.alias, &v);
    done(r, err, &fail, "rolling back");
}

enum next api_admin_list(struct request *r)
{
    return server_work(r, list, worked);
}

enum next api_admin_show(struct request *r)
{
    return server_work(r, show, worked);
}

enum next api_admin_alias(struct request *r)
{
    return server_work(r, move_alias, worked);
}

enum next api_admin_rollback(struct request *r)
{
    return server_work(r, rollback, worked);
}
