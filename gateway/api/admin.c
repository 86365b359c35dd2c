#include "gateway/api/admin.h"

#include "base/num.h"
#include "gateway/api/api.h"
#include "gateway/caller.h"
#include "gateway/head.h"
#include "gateway/server.h"
#include "gateway/target.h"

#include <errno.h>

enum {
    FLEET_MS = 5000, /* of ?wait=fleet without a timeout */
    USUAL_MS = 2000, /* without ?wait */
    FLEET_MAX_MS = 60000,
    HISTORY_DEFAULT = 100,
    KEY_MAX = 256, /* bytes of an Idempotency-Key */
};

/* ---- names ---- */

static int no_adapter(struct str name, struct fail *reterr)
{
    return fail_set(reterr, FAIL_model_not_found,
                    "'" STR_FMT "' names no adapter; write ADAPTER or BASE:ADAPTER",
                    STR_ARG(str_head(name, 128)));
}

static int parse_name(struct request *r, struct str name, struct adapter_name *ret,
                      struct fail *reterr)
{
    struct target t;
    int err = target_parse(r->state->core, name, &t, reterr);
    if (err == 0 && (t.adapter.adapter.n == 0 || t.adapter.selector.n))
        return no_adapter(name, reterr);
    *ret = t.adapter;
    ret->viewer = r->caller.tenant;
    return err;
}

/* Whether "tenant/name" is the tenant's. */
static bool is_of(struct str adapter, struct str tenant)
{
    struct str owner, rest;
    return str_cut(adapter, '/', &owner, &rest) && str_eq(owner, tenant);
}

int admin_find(struct request *r, struct str name, bool changes, struct admin_adapter *ret,
               struct fail *reterr)
{
    struct adapter_name n;
    int err = parse_name(r, name, &n, reterr);
    if (err == 0)
        err = target_find(r->state->core, &n, r->min_epoch, &ret->revision, reterr);
    if (err != 0)
        return err;
    ret->base = arena_str(r->arena, str_of(ret->revision.base));
    ret->adapter = arena_str(r->arena, str_of(ret->revision.adapter));
    if (!ret->base.p || !ret->adapter.p)
        return -ENOMEM;
    if (changes && r->caller.tenant.p && !is_of(ret->adapter, r->caller.tenant))
        return fail_set(reterr, FAIL_permission_denied,
                        "the adapter '" STR_FMT "' is shared: its operator changes it",
                        STR_ARG(str_head(ret->adapter, 128)));
    return 0;
}

int admin_name(struct request *r, struct str name, struct str *ret_base, struct str *ret_adapter,
               struct fail *reterr)
{
    struct adapter_name n;
    struct str tenant = r->caller.tenant, owner, rest;
    int err = parse_name(r, name, &n, reterr);
    if (err != 0)
        return err;
    *ret_base = n.base;
    *ret_adapter = n.adapter;
    if (!tenant.p || is_of(n.adapter, tenant))
        return 0;
    if (str_cut(n.adapter, '/', &owner, &rest))
        return fail_set(reterr, FAIL_permission_denied,
                        "adapters of this key are called '" STR_FMT "/NAME'", STR_ARG(tenant));
    *ret_adapter =
        str_of(arena_printf(r->arena, STR_FMT "/" STR_FMT, STR_ARG(tenant), STR_ARG(n.adapter)));
    return ret_adapter->p ? 0 : -ENOMEM;
}

struct str admin_who(struct request *r, struct str said)
{
    struct str tenant = r->caller.tenant;
    if (said.n == 0)
        said = STR("admin API");
    return tenant.p ? str_of(arena_printf(r->arena, STR_FMT ": " STR_FMT, STR_ARG(tenant),
                                          STR_ARG(str_head(said, 256))))
                    : said;
}

/* ---- preconditions ---- */

void admin_etag(struct request *r, uint64_t epoch)
{
    if (epoch == 0)
        return; /* a folder counts none */
    reply_headerf(r, "ETag", "\"%llu\"", (unsigned long long)epoch);
    reply_headerf(r, "x-catalog-epoch", "%llu", (unsigned long long)epoch);
}

/* Whether the list of entity tags has that of the epoch; *ret_only: its only tag, as a number. */
static bool has_tag(struct str list, uint64_t epoch, uint64_t *ret_only)
{
    bool found = false;
    size_t n = 0;
    *ret_only = 0;
    while (list.n) {
        struct str item = list, rest = STR_NULL;
        (void)str_cut(list, ',', &item, &rest);
        list = rest;
        item = str_trim(item);
        uint64_t value = 0;
        bool quoted = item.n >= 2 && item.p[0] == '"' && item.p[item.n - 1] == '"';
        if (quoted)
            item = (struct str){ item.p + 1, item.n - 2 };
        bool number = num_parse_u64(&value, item, 1, UINT64_MAX) == 0;
        found = found || (number && value == epoch) || (!quoted && str_is(item, "*"));
        *ret_only = n++ == 0 && number ? value : 0;
    }
    return found;
}

int admin_if_match(struct request *r, uint64_t now, uint64_t *ret, struct fail *reterr)
{
    const struct admin_ask *ask = r->work_about;
    uint64_t only = 0;
    *ret = 0;
    if (!ask->if_match.p || str_is(str_trim(ask->if_match), "*"))
        return 0;
    if (has_tag(ask->if_match, now, &only)) {
        *ret = now;
        return 0;
    }
    if (only > now) { /* newer than what is known here: the catalog has the last word */
        *ret = only;
        return 0;
    }
    admin_etag(r, now);
    return fail_set(reterr, FAIL_precondition_failed,
                    "the adapter has changed: its ETag is \"%llu\"; read it again",
                    (unsigned long long)now);
}

/* ---- printing ---- */

void admin_add_digest(struct buf *b, const struct sha256 *d)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, d);
    buf_addf(b, "\"%s\"", hex);
}

static void add_revision(struct buf *b, const struct adapter_revision *v)
{
    buf_adds(b, "{\"revision\":");
    admin_add_digest(b, &v->digest);
    buf_addf(b, ",\"ordinal\":%llu,\"created\":%llu,\"bytes\":%llu}",
             (unsigned long long)v->ordinal, (unsigned long long)v->created_s,
             (unsigned long long)v->bytes);
}

/* A revision that gets a part of the requests, in percent. */
static void add_share(struct buf *b, const struct adapter_info *info, const char *alias,
                      uint32_t weight)
{
    buf_addf(b, ",\"%s\":", alias);
    for (size_t i = 0; weight && i < info->n_aliases; i++)
        if (strcmp(info->aliases[i].name, alias) == 0) {
            buf_adds(b, "{\"revision\":");
            admin_add_digest(b, &info->aliases[i].digest);
            buf_addf(b, ",\"weight\":%g}", (double)weight * 100 / CANARY_WHOLE);
            return;
        }
    buf_adds(b, "null");
}

void admin_add_info(struct buf *b, const struct adapter_info *info)
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
        add_revision(b, &info->revisions[i]);
    }
    buf_adds(b, "],\"aliases\":{");
    for (size_t i = 0; i < info->n_aliases; i++) {
        if (i)
            buf_addc(b, ',');
        buf_add_json(b, str_of(info->aliases[i].name));
        buf_addc(b, ':');
        admin_add_digest(b, &info->aliases[i].digest);
    }
    buf_addc(b, '}');
    add_share(b, info, "canary", info->canary_weight);
    add_share(b, info, "shadow", info->shadow_weight);
    buf_addf(b, ",\"epoch\":%llu,\"resident\":%s}", (unsigned long long)info->epoch,
             info->resident ? "true" : "false");
}

void admin_done(struct request *r, int err, struct fail *fail, const char *doing)
{
    if (err < 0)
        err = fail_errno(fail, err, doing);
    if (err != 0)
        (void)reply_fail(r, fail);
}

/* ---- reading ---- */

static void list(struct request *r)
{
    struct fail fail = { 0 };
    const struct admin_ask *ask = r->work_about;
    struct buf *b = &r->reply.body;
    struct adapter_info *all = NULL;
    size_t n = 0;
    bool more = false;
    int err = listing_page(r->state->core->adapters, r->arena, &ask->page, &all, &n, &more);
    buf_adds(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; err == 0 && i < n; i++) {
        if (i)
            buf_addc(b, ',');
        admin_add_info(b, &all[i]);
    }
    buf_addf(b, "],\"has_more\":%s,\"next\":", more ? "true" : "false");
    if (more && n)
        buf_add_json(b, all[n - 1].name);
    else
        buf_adds(b, "null");
    buf_addc(b, '}');
    admin_done(r, err, &fail, "listing the adapters");
}

/* The bytes that the ETag stands for are those that the client has. */
static void not_modified(struct request *r)
{
    buf_clear(&r->reply.body);
    r->reply.status = 304;
}

static void show(struct request *r)
{
    struct fail fail = { 0 };
    const struct admin_ask *ask = r->work_about;
    struct admin_adapter found;
    struct adapter_info info = { 0 };
    uint64_t only;
    int err = admin_find(r, ask->name, /* changes= */ false, &found, &fail);
    if (err == 0)
        err = adapters_show(r->state->core->adapters, r->arena, found.base, found.adapter, &info,
                            &fail);
    if (err == 0) {
        admin_add_info(&r->reply.body, &info);
        admin_etag(r, info.epoch);
        if (info.epoch && ask->if_none.p && has_tag(ask->if_none, info.epoch, &only))
            not_modified(r);
    }
    admin_done(r, err, &fail, "reading the adapter");
}

static void add_audit(struct buf *b, const struct adapter_audit *a)
{
    const struct {
        const char *key;
        struct str value;
    } texts[] = { { "what", a->what },
                  { "alias", a->alias },
                  { "from", a->from },
                  { "to", a->to },
                  { "who", a->who } };
    buf_addf(b, "{\"epoch\":%llu,\"when\":%llu", (unsigned long long)a->epoch,
             (unsigned long long)a->when_s);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_addf(b, ",\"%s\":", texts[i].key);
        if (texts[i].value.n)
            buf_add_json(b, texts[i].value);
        else
            buf_adds(b, "null");
    }
    buf_addc(b, '}');
}

/* Newest first; `after` is how many of the newest are left out. */
static void history(struct request *r)
{
    struct fail fail = { 0 };
    const struct admin_ask *ask = r->work_about;
    struct buf *b = &r->reply.body;
    struct admin_adapter found;
    struct adapter_audit *lines = NULL;
    size_t n = 0;
    uint64_t skip = 0;
    int err = admin_find(r, ask->name, /* changes= */ false, &found, &fail);
    if (err == 0 && ask->page.after.n && num_parse_u64(&skip, ask->page.after, 0, SIZE_MAX) < 0)
        err = fail_param(&fail, FAIL_invalid_request, "after",
                         "'after' must be the 'next' of an answer");
    if (err == 0)
        err = adapters_history(r->state->core->adapters, r->arena, found.base, found.adapter,
                               &lines, &n, &fail);
    size_t shown = 0, left = skip < n ? n - (size_t)skip : 0;
    buf_adds(b, "{\"object\":\"list\",\"data\":[");
    for (; err == 0 && shown < left && shown < ask->page.limit; shown++) {
        if (shown)
            buf_addc(b, ',');
        add_audit(b, &lines[left - 1 - shown]);
    }
    bool more = shown < left;
    buf_addf(b, "],\"has_more\":%s,\"next\":", more ? "true" : "false");
    if (more)
        buf_addf(b, "\"%llu\"}", (unsigned long long)skip + shown);
    else
        buf_adds(b, "null}");
    admin_done(r, err, &fail, "reading the history");
}

/* ---- dispatch ---- */

static enum next worked(struct request *r)
{
    return r->reply.status ? NEXT_reply : reply_json(r);
}

static const struct action {
    const char *method;
    const char *word; /* behind NAME; NULL: none */
    bool argument;    /* one more segment follows it */
    void (*run)(struct request *r);
} actions[] = {
    { "GET", NULL, false, show },
    { "POST", NULL, false, admin_publish },
    { "DELETE", NULL, false, admin_retire },
    { "GET", "history", false, history },
    { "POST", "alias", false, admin_alias },
    { "POST", "promote", false, admin_alias },
    { "POST", "rollback", false, admin_rollback },
    { "POST", "canary", false, admin_canary },
    { "POST", "abort", false, admin_abort },
    { "POST", "shadow", false, admin_shadow },
    { "POST", "prefetch", false, admin_prefetch },
    { "PUT", "aliases", true, admin_put_alias },
    { "DELETE", "revisions", true, admin_retire },
};

static const char *find_word(const struct path_rest *p, bool argument)
{
    size_t behind = argument ? 2 : 1;
    for (size_t i = 0; i < ARRAY_LEN(actions) && p->n > behind; i++)
        if (actions[i].word && actions[i].argument == argument &&
            str_is(p->segments[p->n - behind], actions[i].word))
            return actions[i].word;
    return NULL;
}

/* The word of the action that the path ends with; NULL: none, all of it is NAME. */
static const char *action_word(const struct path_rest *p, bool *ret_argument)
{
    const char *word = find_word(p, /* argument= */ true);
    *ret_argument = word != NULL;
    return word ? word : find_word(p, /* argument= */ false);
}

static bool is_word(const struct action *a, const char *word)
{
    return a->word == word || (a->word && word && strcmp(a->word, word) == 0);
}

static int refuse_method(struct request *r, const char *word, struct fail *reterr)
{
    const char *text = "";
    for (size_t i = 0; i < ARRAY_LEN(actions) && text; i++)
        if (is_word(&actions[i], word))
            text = arena_printf(r->arena, "%s%s%s, ", text, actions[i].method,
                                strcmp(actions[i].method, "GET") == 0 ? ", HEAD" : "");
    if (!text)
        return -ENOMEM;
    reply_headerf(r, "Allow", "%sOPTIONS", text);
    return fail_set(reterr, FAIL_method_not_allowed, "not allowed here; use one of %.60sOPTIONS",
                    text);
}

static int read_wait(struct request *r, struct admin_ask *ask, struct fail *reterr)
{
    struct str wait = head_query(r, "wait"), timeout = head_query(r, "timeout");
    uint64_t ms = FLEET_MS;
    if (timeout.p && num_parse_u64(&ms, timeout, 1, FLEET_MAX_MS) < 0)
        return fail_param(reterr, FAIL_invalid_request, "timeout",
                          "'timeout' must be milliseconds, at most %d", FLEET_MAX_MS);
    if (wait.p && !str_is(wait, "fleet") && !str_is(wait, "none"))
        return fail_param(reterr, FAIL_invalid_request, "wait", "'wait' must be fleet or none");
    ask->must_reach = str_is(wait, "fleet");
    ask->fleet_ms = ask->must_reach ? ms : wait.p ? 0 : USUAL_MS;
    return 0;
}

static int read_headers(struct request *r, struct admin_ask *ask, struct fail *reterr)
{
    ask->if_match = caller_header(r, STR("if-match"));
    ask->if_none = caller_header(r, STR("if-none-match"));
    ask->key = caller_header(r, STR("idempotency-key"));
    if (ask->key.n > KEY_MAX)
        return fail_param(reterr, FAIL_invalid_request, "Idempotency-Key",
                          "the Idempotency-Key may have %d bytes", KEY_MAX);
    if (ask->key.n && r->caller.tenant.p) { /* tenants do not share keys */
        ask->key = str_of(arena_printf(r->arena, STR_FMT "/" STR_FMT, STR_ARG(r->caller.tenant),
                                       STR_ARG(ask->key)));
        return ask->key.p ? 0 : -ENOMEM;
    }
    return 0;
}

/* Fills the question; *ret is who answers it. */
static int read_ask(struct request *r, struct admin_ask *ask, const struct action **ret,
                    struct fail *reterr)
{
    bool argument;
    const char *word = action_word(&r->rest, &argument);
    size_t n = r->rest.n - (word ? argument ? 2 : 1 : 0);
    const char *method = r->endpoint->method;
    ask->argument = argument ? r->rest.segments[r->rest.n - 1] : STR_NULL;
    for (size_t i = 0; i < n; i++)
        ask->name = i == 0 ? r->rest.segments[0]
                           : str_of(arena_printf(r->arena, STR_FMT "/" STR_FMT, STR_ARG(ask->name),
                                                 STR_ARG(r->rest.segments[i])));
    if (!ask->name.p)
        return -ENOMEM;
    *ret = NULL;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (is_word(&actions[i], word) && strcmp(actions[i].method, method) == 0)
            *ret = &actions[i];
    if (!*ret)
        return refuse_method(r, word, reterr);
    ask->revision = head_query(r, "revision");
    int err = listing_read(r, HISTORY_DEFAULT, &ask->page, reterr);
    if (err == 0)
        err = read_headers(r, ask, reterr);
    if (err == 0)
        err = read_wait(r, ask, reterr);
    if (err == 0 && r->is_form && (*ret)->run != admin_publish)
        err = fail_set(reterr, FAIL_unsupported_media_type, "send application/json here");
    return err;
}

static enum next fail_reply(struct request *r, int err, struct fail *fail)
{
    if (err < 0)
        (void)fail_errno(fail, err, "reading the request");
    return reply_fail(r, fail);
}

enum next api_admin_adapter(struct request *r)
{
    struct fail fail = { 0 };
    const struct action *action = NULL;
    struct admin_ask *ask = arena_alloc(r->arena, sizeof(*ask));
    int err = ask ? read_ask(r, ask, &action, &fail) : -ENOMEM;
    if (err != 0)
        return fail_reply(r, err, &fail);
    r->work_about = ask;
    bool reads = strcmp(action->method, "GET") == 0;
    return reads ? server_work(r, action->run, worked) : server_change(r, action->run, worked);
}

enum next api_admin_list(struct request *r)
{
    struct fail fail = { 0 };
    struct admin_ask *ask = arena_alloc(r->arena, sizeof(*ask));
    int err = ask ? listing_read(r, LISTING_DEFAULT, &ask->page, &fail) : -ENOMEM;
    if (err == 0) {
        struct str tenant = head_query(r, "tenant");
        bool others = r->caller.tenant.p && tenant.n && !str_eq(tenant, r->caller.tenant);
        if (others)
            err = fail_param(&fail, FAIL_permission_denied, "tenant",
                             "this key sees the adapters of its own tenant");
        else if (tenant.n && ask->page.prefix.n == 0)
            ask->page.prefix = str_of(arena_printf(r->arena, STR_FMT "/", STR_ARG(tenant)));
    }
    if (err != 0)
        return fail_reply(r, err, &fail);
    r->work_about = ask;
    return server_work(r, list, worked);
}
