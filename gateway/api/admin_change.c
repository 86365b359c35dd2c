#include "gateway/api/admin.h"

#include "gateway/server.h"

#include <errno.h>
#include <math.h>

/*
 * Changes of one adapter: where an alias stands, who gets a part of the requests, what goes.
 */

struct body {
    struct str alias, revision, expected, who;
    double weight; /* percent */
    bool has_alias, has_revision, has_weight;
};

#define TEXT(name)                                                                                 \
    {                                                                                              \
#name, FIELD_text, offsetof(struct body, name), 0, 0, -1                                   \
    }
#define TEXT_SEEN(name)                                                                            \
    {                                                                                              \
#name, FIELD_text, offsetof(struct body, name), 0, 0, offsetof(struct body, has_##name)    \
    }
static const struct field alias_fields[] = {
    TEXT_SEEN(alias), TEXT_SEEN(revision), TEXT(expected), TEXT(who), { 0 }
};
static const struct field put_fields[] = { TEXT_SEEN(revision), TEXT(expected), TEXT(who), { 0 } };
static const struct field rollback_fields[] = {
    TEXT_SEEN(alias), TEXT(expected), TEXT(who), { 0 }
};
static const struct field share_fields[] = {
    TEXT_SEEN(revision),
    { "weight", FIELD_float, offsetof(struct body, weight), 0, 100,
      offsetof(struct body, has_weight) },
    TEXT(who),
    { 0 },
};
static const struct field revision_fields[] = { TEXT_SEEN(revision), TEXT(who), { 0 } };
static const struct field who_fields[] = { TEXT(who), { 0 } };

/* *ret_json keeps the texts. `must`: there has to be a body. */
static int read_body(struct request *r, const struct field *fields, bool must, struct body *ret,
                     json_t **ret_json, struct fail *reterr)
{
    if (r->body.n == 0 && !must)
        return 0;
    int err = json_body(ret_json, buf_str(&r->body), reterr);
    if (err == 0)
        err = json_only(fields, /* also= */ NULL, *ret_json, reterr);
    return err == 0 ? json_fields(ret, fields, *ret_json, reterr) : err;
}

static struct str without_prefix(struct str digest)
{
    return str_starts(digest, STR("sha256:")) ? str_sub(digest, strlen("sha256:")) : digest;
}

static int needs(bool has, const char *name, struct fail *reterr)
{
    return has ? 0 : fail_param(reterr, FAIL_invalid_request, name, "'%s' must be given", name);
}

/* ---- the answer ---- */

static void print_laggards(struct buf *b, struct str ids)
{
    buf_adds(b, ",\"laggards\":[");
    for (size_t i = 0, n = 0; i < ids.n; i++) {
        size_t from = i;
        while (i < ids.n && ids.p[i] != ' ' && ids.p[i] != ',')
            i++;
        if (i == from)
            continue;
        buf_adds(b, n++ ? "," : "");
        buf_add_json(b, (struct str){ ids.p + from, i - from });
    }
    buf_addc(b, ']');
}

static void print_changed(struct request *r, const struct admin_adapter *of, struct str alias,
                          const struct adapter_changed *c)
{
    const struct admin_ask *ask = r->work_about;
    struct buf *b = &r->reply.body;
    buf_adds(b, "{\"name\":");
    buf_add_json(b, of->adapter);
    buf_adds(b, ",\"base\":");
    buf_add_json(b, of->base);
    if (alias.n) {
        buf_adds(b, ",\"alias\":");
        buf_add_json(b, alias);
    }
    if (c->revision.ordinal) {
        buf_adds(b, ",\"revision\":");
        admin_add_digest(b, &c->revision.digest);
        buf_addf(b, ",\"ordinal\":%llu", (unsigned long long)c->revision.ordinal);
    }
    buf_addf(b, ",\"epoch\":%llu,\"repeated\":%s,\"durable\":%s", (unsigned long long)c->epoch,
             c->repeated ? "true" : "false", c->durable ? "true" : "false");
    if (ask->fleet_ms) {
        buf_addf(b, ",\"applied_by_all\":%s", c->behind ? "false" : "true");
        print_laggards(b, c->laggards);
    }
    buf_addc(b, '}');
    admin_etag(r, c->epoch);
    if (ask->must_reach && c->behind && reply_json(r) == NEXT_reply && r->reply.status == 200)
        r->reply.status = 202; /* done, and not yet everywhere: nothing to be asked again */
}

/* Finds the adapter and changes it as `c` says but for who and what the headers ask. */
static int apply(struct request *r, struct adapter_change *c, const struct body *m,
                 struct admin_adapter *of, struct adapter_changed *ret, struct fail *reterr)
{
    const struct admin_ask *ask = r->work_about;
    int err = admin_find(r, ask->name, /* changes= */ true, of, reterr);
    if (err == 0)
        err = admin_if_match(r, of->revision.epoch, &c->if_match, reterr);
    if (err != 0)
        return err;
    c->base = of->base;
    c->adapter = of->adapter;
    c->key = ask->key;
    c->fleet_ms = ask->fleet_ms;
    c->who = admin_who(r, m->who);
    c->expected = without_prefix(m->expected);
    err = adapters_change(r->state->core->adapters, c, r->arena, ret, reterr);
    if (err == FAILED && reterr->code == FAIL_precondition_failed)
        admin_etag(r, ret->epoch);
    return err;
}

static void change(struct request *r, struct adapter_change *c, const struct body *m,
                   const char *doing)
{
    struct fail fail = { 0 };
    struct admin_adapter of = { 0 };
    struct adapter_changed changed = { 0 };
    int err = apply(r, c, m, &of, &changed, &fail);
    if (err == 0)
        print_changed(r, &of, c->alias, &changed);
    admin_done(r, err, &fail, doing);
}

/* ---- each ---- */

static void promote(struct request *r, const struct field *fields, struct str alias,
                    const char *doing)
{
    struct fail fail = { 0 };
    struct body m = { .alias = alias };
    json_auto_t *body = NULL;
    int err = read_body(r, fields, /* must= */ true, &m, &body, &fail);
    if (err == 0)
        err = needs(m.alias.n > 0, "alias", &fail);
    if (err == 0)
        err = needs(m.revision.n > 0, "revision", &fail);
    struct adapter_change c = { .op = ADAPTER_OP_promote,
                                .alias = m.alias,
                                .selector = m.revision };
    if (err == 0)
        change(r, &c, &m, doing);
    else
        admin_done(r, err, &fail, doing);
}

void admin_alias(struct request *r)
{
    /* …/promote moves prod, unless it names another. */
    bool promotes = str_is(r->rest.segments[r->rest.n - 1], "promote");
    promote(r, alias_fields, promotes ? STR("prod") : STR_NULL, "moving the alias");
}

void admin_put_alias(struct request *r)
{
    const struct admin_ask *ask = r->work_about;
    promote(r, put_fields, ask->argument, "moving the alias");
}

void admin_rollback(struct request *r)
{
    struct fail fail = { 0 };
    struct body m = { .alias = STR("prod") };
    json_auto_t *body = NULL;
    int err = read_body(r, rollback_fields, /* must= */ false, &m, &body, &fail);
    struct adapter_change c = { .op = ADAPTER_OP_rollback, .alias = m.alias };
    if (err == 0)
        change(r, &c, &m, "rolling back");
    else
        admin_done(r, err, &fail, "rolling back");
}

/* A revision gets a part of the requests, or, as a shadow, a copy of it. */
static void share(struct request *r, enum adapter_op op, const char *doing)
{
    struct fail fail = { 0 };
    struct body m = { 0 };
    json_auto_t *body = NULL;
    int err = read_body(r, share_fields, /* must= */ true, &m, &body, &fail);
    if (err == 0)
        err = needs(m.has_weight, "weight", &fail);
    bool none = op == ADAPTER_OP_shadow && m.weight == 0;
    if (err == 0 && !none)
        err = needs(m.revision.n > 0, "revision", &fail);
    if (err == 0 && op == ADAPTER_OP_canary && m.weight == 0)
        err = fail_param(&fail, FAIL_invalid_request, "weight",
                         "'weight' is a percentage above 0; POST …/abort takes the canary back");
    struct adapter_change c = {
        .op = op,
        .selector = m.revision,
        .weight = (uint32_t)lround(m.weight * CANARY_WHOLE / 100),
    };
    if (err == 0 && c.weight == 0 && !none)
        err = fail_param(&fail, FAIL_invalid_request, "weight",
                         "'weight' is counted in hundredths of a percent");
    if (err == 0)
        change(r, &c, &m, doing);
    else
        admin_done(r, err, &fail, doing);
}

void admin_canary(struct request *r)
{
    share(r, ADAPTER_OP_canary, "starting the canary");
}

void admin_shadow(struct request *r)
{
    share(r, ADAPTER_OP_shadow, "starting the shadow");
}

void admin_abort(struct request *r)
{
    struct fail fail = { 0 };
    struct body m = { 0 };
    json_auto_t *body = NULL;
    int err = read_body(r, who_fields, /* must= */ false, &m, &body, &fail);
    struct adapter_change c = { .op = ADAPTER_OP_abort };
    if (err == 0)
        change(r, &c, &m, "taking the canary back");
    else
        admin_done(r, err, &fail, "taking the canary back");
}

/* DELETE: the whole adapter, or the revision that path or query names. */
void admin_retire(struct request *r)
{
    const struct admin_ask *ask = r->work_about;
    struct fail fail = { 0 };
    struct body m = { 0 };
    json_auto_t *body = NULL;
    int err = read_body(r, revision_fields, /* must= */ false, &m, &body, &fail);
    struct adapter_change c = { .op = ADAPTER_OP_retire };
    c.selector = ask->argument.n ? ask->argument : ask->revision.n ? ask->revision : m.revision;
    if (err == 0)
        change(r, &c, &m, "retiring");
    else
        admin_done(r, err, &fail, "retiring");
}

/* A hint to this gateway that the adapter, or one of its revisions, will be asked for. */
void admin_prefetch(struct request *r)
{
    const struct admin_ask *ask = r->work_about;
    struct fail fail = { 0 };
    struct body m = { 0 };
    struct admin_adapter of = { 0 };
    json_auto_t *body = NULL;
    int err = read_body(r, revision_fields, /* must= */ false, &m, &body, &fail);
    if (err == 0)
        err = admin_find(r, ask->name, /* changes= */ false, &of, &fail);
    struct adapter_name name = {
        .base = of.base, .adapter = of.adapter, .selector = m.revision, .viewer = r->caller.tenant
    };
    if (err == 0)
        err = adapters_prefetch(r->state->core->adapters, &name, &fail);
    if (err == 0) {
        buf_adds(&r->reply.body, "{\"name\":");
        buf_add_json(&r->reply.body, of.adapter);
        buf_adds(&r->reply.body, ",\"base\":");
        buf_add_json(&r->reply.body, of.base);
        buf_adds(&r->reply.body, ",\"accepted\":true}");
        if (reply_json(r) == NEXT_reply && r->reply.status == 200)
            r->reply.status = 202;
    }
    admin_done(r, err, &fail, "prefetching");
}
