#include "gateway/api/api.h"
#include "gateway/server.h"
#include "gateway/target.h"

#include "base/num.h"

enum { MODELS_DEFAULT = 10000, MODELS_MAX = 100000 };

struct model_line {
    struct str id;
    struct str parent; /* of an adapter: its base */
    struct str description;
    uint64_t created_s;
    const struct adapter_revision *revision; /* NULL: a base, or an auto name */
};

static void print_model(struct buf *b, const struct model_line *m)
{
    buf_adds(b, "{\"id\":");
    buf_add_json(b, m->id);
    buf_addf(b, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"rootstock\",\"parent\":",
             (unsigned long long)m->created_s);
    if (m->parent.n)
        buf_add_json(b, m->parent);
    else
        buf_adds(b, "null");
    if (m->revision) {
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &m->revision->digest);
        buf_addf(b, ",\"revision\":\"%s\"", hex);
    }
    if (m->description.n) {
        buf_adds(b, ",\"description\":");
        buf_add_json(b, m->description);
    }
    buf_addc(b, '}');
}

static void print_bases(struct request *r, const char **comma)
{
    struct buf *b = &r->reply.body;
    const struct core *c = r->state->core;
    if (router_decisions(r->state->router) && router_is_auto(r->state->router, STR("auto"))) {
        print_model(b, &(struct model_line){ .id = STR("auto"),
                                             .description = STR("the routing policy chooses") });
        *comma = ",";
    }
    for (size_t i = 0; i < c->n_models; i++) {
        buf_adds(b, *comma);
        print_model(b, &(struct model_line){ .id = c->models[i].name,
                                             .created_s = c->models[i].created_s });
        *comma = ",";
    }
}

static void print_adapter(struct request *r, const struct adapter_info *info)
{
    struct model_line line = { .parent = info->base, .description = info->description };
    line.id = str_of(
        arena_printf(r->arena, STR_FMT ":" STR_FMT, STR_ARG(info->base), STR_ARG(info->name)));
    if (info->n_revisions)
        line.created_s = info->revisions[info->n_revisions - 1].created_s;
    print_model(&r->reply.body, &line);
}

/* GET /v1/models?after=&limit=: bases first, then adapters by name. */
enum next api_models(struct request *r)
{
    struct fail fail;
    uint64_t limit = MODELS_DEFAULT;
    if (r->query_limit.p && num_parse_u64(&limit, r->query_limit, 1, MODELS_MAX) < 0) {
        (void)fail_param(&fail, FAIL_invalid_request, "limit",
                         "'limit' must be an integer between 1 and %d", MODELS_MAX);
        return reply_fail(r, &fail);
    }
    struct adapter_info *list = NULL;
    size_t n = 0;
    int err = adapters_list(r->state->core->adapters, r->arena, r->query_after, limit, &list, &n);
    if (err < 0) {
        (void)fail_errno(&fail, err, "listing the adapters");
        return reply_fail(r, &fail);
    }
    const char *comma = "";
    buf_adds(&r->reply.body, "{\"object\":\"list\",\"data\":[");
    if (!r->query_after.n)
        print_bases(r, &comma);
    for (size_t i = 0; i < n; i++) {
        if (!core_model(r->state->core, list[i].base))
            continue; /* of a base that this gateway does not serve */
        buf_adds(&r->reply.body, comma);
        print_adapter(r, &list[i]);
        comma = ",";
    }
    buf_addf(&r->reply.body, "],\"has_more\":%s}", n == limit ? "true" : "false");
    return reply_json(r);
}

/* ---- one ---- */

/* Worker: a look-up that misses the local page asks the catalog. */
static void resolve(struct request *r)
{
    struct fail fail = { 0 };
    struct target t;
    struct adapter_revision revision;
    int err = target_parse(r->state->core, r->params[0], &t, &fail);
    if (err == 0)
        err = adapters_resolve(r->state->core->adapters, &t.adapter, &revision, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "looking the adapter up");
    if (err == 0 && !core_model(r->state->core, str_of(revision.base)))
        err = fail_set(&fail, FAIL_model_not_found,
                       "adapter '%s' is for base model '%s', which is "
                       "not served here",
                       revision.adapter, revision.base);
    if (err != 0) {
        (void)reply_fail(r, &fail);
        return;
    }
    print_model(&r->reply.body, &(struct model_line){ .id = r->params[0],
                                                      .parent = str_of(revision.base),
                                                      .created_s = revision.created_s,
                                                      .revision = &revision });
}

enum next api_model(struct request *r)
{
    struct fail fail = { 0 };
    struct target t = { 0 };
    if (router_is_auto(r->state->router, r->params[0])) {
        print_model(&r->reply.body,
                    &(struct model_line){ .id = r->params[0],
                                          .description = STR("the routing policy chooses") });
        return reply_json(r);
    }
    if (target_parse(r->state->core, r->params[0], &t, &fail) != 0)
        return reply_fail(r, &fail);
    if (t.adapter.adapter.n)
        return server_work(r, resolve, reply_made);
    print_model(&r->reply.body,
                &(struct model_line){ .id = t.model->name, .created_s = t.model->created_s });
    return reply_json(r);
}
