#include "gateway/api/api.h"
#include "gateway/api/listing.h"
#include "gateway/server.h"
#include "gateway/target.h"

#include <errno.h>

enum { MODELS_DEFAULT = 1000 }; /* adapters of an answer: some 200 bytes each */

struct model_line {
    struct str id;
    struct str parent; /* of an adapter: its base */
    struct str root;   /* of a base: itself */
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
    buf_adds(b, ",\"root\":");
    if (m->revision) { /* what it is made of: its revision */
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &m->revision->digest);
        buf_addf(b, "\"sha256:%s\",\"revision\":\"%s\"", hex, hex);
    } else {
        buf_add_json(b, m->root.n ? m->root : m->id);
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

/* What the bare name means: `prod`, else the newest. */
static const struct adapter_revision *default_of(const struct adapter_info *info)
{
    for (size_t i = 0; i < info->n_aliases; i++)
        for (size_t k = 0; strcmp(info->aliases[i].name, "prod") == 0 && k < info->n_revisions; k++)
            if (sha256_eq(&info->revisions[k].digest, &info->aliases[i].digest))
                return &info->revisions[k];
    return info->n_revisions ? &info->revisions[info->n_revisions - 1] : NULL;
}

static struct str id_of(struct request *r, const struct adapter_info *info)
{
    return str_of(
        arena_printf(r->arena, STR_FMT ":" STR_FMT, STR_ARG(info->base), STR_ARG(info->name)));
}

static void print_adapter(struct request *r, const struct adapter_info *info)
{
    struct model_line line = { .parent = info->base,
                               .root = info->base,
                               .description = info->description,
                               .revision = default_of(info) };
    line.id = id_of(r, info);
    if (info->n_revisions)
        line.created_s = info->revisions[info->n_revisions - 1].created_s;
    print_model(&r->reply.body, &line);
}

/* Pages go on behind an id as it was listed, or behind an adapter's name. */
static struct str name_in(const struct core *c, struct str after)
{
    for (size_t i = 0; i < c->n_models; i++) {
        struct str base = c->models[i].name;
        if (str_eq(after, base))
            return STR("");
        if (after.n > base.n && after.p[base.n] == ':' && str_starts(after, base))
            return str_sub(after, base.n + 1);
    }
    return after;
}

/* Worker: the catalog's folder may have to be read. */
static void list_models(struct request *r)
{
    struct fail fail = { 0 };
    struct listing what = *(const struct listing *)r->work_about;
    struct adapter_info *list = NULL;
    size_t n = 0;
    bool more = false, first = what.after.n == 0;
    what.after = name_in(r->state->core, what.after);
    int err = listing_page(r->state->core->adapters, r->arena, &what, &list, &n, &more);
    if (err < 0) {
        (void)fail_errno(&fail, err, "listing the adapters");
        (void)reply_fail(r, &fail);
        return;
    }
    const char *comma = "";
    buf_adds(&r->reply.body, "{\"object\":\"list\",\"data\":[");
    if (first)
        print_bases(r, &comma);
    for (size_t i = 0; i < n; i++) {
        if (!core_model(r->state->core, list[i].base))
            continue; /* of a base that this gateway does not serve */
        buf_adds(&r->reply.body, comma);
        print_adapter(r, &list[i]);
        comma = ",";
    }
    buf_addf(&r->reply.body, "],\"has_more\":%s", more ? "true" : "false");
    if (more && n) {
        buf_adds(&r->reply.body, ",\"last_id\":");
        bool here = core_model(r->state->core, list[n - 1].base) != NULL;
        buf_add_json(&r->reply.body, here ? id_of(r, &list[n - 1]) : list[n - 1].name);
    }
    buf_addc(&r->reply.body, '}');
}

/* GET /v1/models?after=&limit=&prefix=: bases first, then adapters by name. */
enum next api_models(struct request *r)
{
    struct fail fail = { 0 };
    struct listing *what = arena_alloc(r->arena, sizeof(*what));
    if (!what) {
        (void)fail_errno(&fail, -ENOMEM, "listing the adapters");
        return reply_fail(r, &fail);
    }
    if (listing_read(r, MODELS_DEFAULT, what, &fail) != 0)
        return reply_fail(r, &fail);
    r->work_about = what;
    return server_work(r, list_models, reply_made);
}

/* ---- one ---- */

/* Worker: a look-up that misses the local page asks the catalog. */
static void resolve(struct request *r)
{
    struct fail fail = { 0 };
    struct target t;
    struct adapter_revision revision;
    int err = target_parse(r->state->core, r->params[0], &t, &fail);
    t.adapter.viewer = r->caller.tenant;
    if (err == 0)
        err = target_find(r->state->core, &t.adapter, r->min_epoch, &revision, &fail);
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
