/* `providers.models` of the policy language: each with backend_refs is a model behind. */
#include "config/upstream.h"

#include "base/limits.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_MODELS = 10000 };
#define MAX_NUMBER 1e15
#define DAY_MS 86400000.0

static const char *const api_formats[] = { "openai", "anthropic", NULL };

/* ---- tables ---- */

struct raw_backend {
    struct raw_endpoint r;
    struct str endpoint, protocol, type, provider, key;
};

static const struct option backend_options[] = {
    OPT_TEXT(struct raw_backend, r.e.name, "name", NULL, "in logs and metrics"),
    OPT_TEXT(struct raw_backend, endpoint, "endpoint", NULL, "host:port"),
    OPT_TEXT(struct raw_backend, r.e.url, "base_url", NULL, "instead of endpoint and protocol"),
    OPT_TEXT(struct raw_backend, protocol, "protocol", "http", "of endpoint: http or https"),
    OPT_FLOAT(struct raw_backend, r.e.weight, "weight", 0, MAX_NUMBER, "1", "share"),
    OPT_TEXT(struct raw_backend, type, "type", NULL, "what serves there"),
    OPT_TEXT(struct raw_backend, provider, "provider", NULL, "what speaks there"),
    OPT_TEXT(struct raw_backend, r.e.auth_header, "auth_header", NULL, "header of the key"),
    OPT_TEXT(struct raw_backend, r.e.auth_prefix, "auth_prefix", NULL, "word before the key"),
    OPT_NODE(struct raw_backend, r.headers, "extra_headers", "added to every call"),
    OPT_TEXT(struct raw_backend, r.e.api_version, "api_version", NULL, "of azure"),
    OPT_TEXT(struct raw_backend, r.e.path, "chat_path", NULL, "of chat requests"),
    OPT_TEXT(struct raw_backend, key, "api_key", NULL, "the key itself"),
    OPT_TEXT(struct raw_backend, r.e.key_env, "api_key_env", NULL, "variable that holds it"),
    OPT_END,
};

struct raw_reliability {
    struct config_upstream u;
    struct str lb_policy, retry_on;
    uint64_t eject_percent;
};

/* What is not said stays as it is: the defaults of `upstream`. */
#define U(member) u.member
static const struct option reliability_options[] = {
    OPT_TEXT(struct raw_reliability, lb_policy, "lb_policy", NULL, "who is asked"),
    OPT_UINT(struct raw_reliability, U(retries), "retry_count", 0, MAX_NUMBER, NULL, "attempts"),
    OPT_TEXT(struct raw_reliability, retry_on, "retry_on", NULL, "what is tried again"),
    OPT_UINT(struct raw_reliability, U(eject_errors), "consecutive_5xx", 0, MAX_NUMBER, NULL,
             "failures before an endpoint is left out"),
    OPT_DURATION(struct raw_reliability, U(eject_ms), "base_ejection_time", 1, DAY_MS, NULL,
                 "how long"),
    OPT_UINT(struct raw_reliability, eject_percent, "max_ejection_percent", 0, 100, NULL,
             "of all endpoints"),
    OPT_TEXT(struct raw_reliability, U(health_path), "health_check_path", NULL, "checked by GET"),
    OPT_DURATION(struct raw_reliability, U(health_interval_ms), "health_check_interval", 100,
                 DAY_MS, NULL, "how often"),
    OPT_DURATION(struct raw_reliability, U(health_timeout_ms), "health_check_timeout", 10, DAY_MS,
                 NULL, "of a check"),
    OPT_END,
};
#undef U

struct raw_backends {
    struct str name, id;
    unsigned api_format;
    struct item_list refs; /* struct raw_backend */
    struct config_pricing pricing;
    const struct node *reliability, *external, *family;
};

/* In the order of the router's, whose words of an unknown key are then the same, and said once. */
static const struct option model_options[] = {
    OPT_TEXT(struct raw_backends, name, "name", NULL, "on the wire"),
    OPT_NODE(struct raw_backends, family, "reasoning_family", "read by the router"),
    OPT_TEXT(struct raw_backends, id, "provider_model_id", NULL, "its name there"),
    OPT_WORD(struct raw_backends, api_format, "api_format", api_formats, "openai", "its dialect"),
    OPT_NODE(struct raw_backends, reliability, "reliability", "who is asked and tried again"),
    OPT_NODE(struct raw_backends, external, "external_model_ids", "its names by provider"),
    OPT_LIST(struct raw_backends, refs, "backend_refs", UPSTREAM_ENDPOINTS_MAX, backend_options,
             struct raw_backend, "where it is"),
    OPT_SECTION(struct raw_backends, pricing, "pricing", pricing_options, "of a million tokens"),
    OPT_END,
};

/* ---- reliability ---- */

static void read_balance(struct config_upstream *u, struct str word,
                         const struct upstream_place *at)
{
    static const struct {
        const char *word;
        enum upstream_balance balance;
        enum upstream_affinity affinity;
    } rows[] = {
        { "least_request", BALANCE_least_request, AFFINITY_none },
        { "round_robin", BALANCE_round_robin, AFFINITY_none },
        { "random", BALANCE_random, AFFINITY_none },
        { "p2c", BALANCE_p2c, AFFINITY_none },
        { "peak_ewma", BALANCE_p2c, AFFINITY_none },
        { "ring_hash", BALANCE_least_request, AFFINITY_auto },
        { "maglev", BALANCE_least_request, AFFINITY_auto },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq_nocase(word, str_of(rows[i].word))) {
            u->balance = rows[i].balance;
            u->affinity = rows[i].affinity;
            return;
        }
    (void)upstream_problem(at, PROBLEM_warning, "lb_policy",
                           "'" STR_FMT "' is not known, and least_request is used; known: "
                           "least_request, round_robin, random, p2c, ring_hash, maglev",
                           STR_ARG(str_head(word, 64)));
}

/* Words of Envoy's retry policies: what of them can be told apart here. */
static unsigned retry_bits(struct str word)
{
    static const struct {
        const char *word;
        unsigned bits;
    } rows[] = {
        { "5xx", RETRY_all },
        { "gateway-error", RETRY_busy | RETRY_server },
        { "reset", RETRY_connect | RETRY_broken },
        { "reset-before-request", RETRY_connect },
        { "connect-failure", RETRY_connect },
        { "refused-stream", RETRY_connect },
        { "http3-post-connect-failure", RETRY_connect },
        { "envoy-ratelimited", RETRY_busy },
        { "retriable-4xx", RETRY_busy },
        { "retriable-status-codes", RETRY_busy | RETRY_server },
        { "retriable-headers", RETRY_busy | RETRY_server },
        { "resource-exhausted", RETRY_busy },
        { "unavailable", RETRY_busy | RETRY_connect },
        { "deadline-exceeded", RETRY_broken },
        { "cancelled", RETRY_broken },
        { "internal", RETRY_server },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq_nocase(word, str_of(rows[i].word)))
            return rows[i].bits;
    return 0;
}

static void read_retry_on(struct config_upstream *u, struct str words,
                          const struct upstream_place *at)
{
    u->retry_on = 0;
    for (struct str rest = words, word; rest.n;) {
        if (!str_cut(rest, ',', &word, &rest)) {
            word = rest;
            rest = STR_NULL;
        }
        word = str_trim(word);
        unsigned bits = retry_bits(word);
        if (word.n && !bits)
            (void)upstream_problem(at, PROBLEM_warning, "retry_on",
                                   "'" STR_FMT "' is not known; known among others: "
                                   "connect-failure, reset, gateway-error, 5xx",
                                   STR_ARG(str_head(word, 64)));
        u->retry_on |= bits;
    }
}

/* Over the defaults that *u holds. */
static int read_reliability(struct config_upstream *u, const struct upstream_place *at)
{
    enum { PERCENT = 100, RETRIES_MAX = 10, ERRORS_MAX = 1000 };
    struct raw_reliability raw = { .u = *u, .eject_percent = PERCENT + 1 };
    int r = schema_read(&raw, reliability_options, at->at, at->path, at->c->arena, at->p);
    if (r < 0)
        return r;
    *u = raw.u;
    if (raw.eject_percent <= PERCENT)
        u->eject_max = (double)raw.eject_percent / PERCENT;
    if (u->retries > RETRIES_MAX)
        u->retries = RETRIES_MAX;
    if (u->eject_errors > ERRORS_MAX)
        u->eject_errors = ERRORS_MAX;
    if (raw.lb_policy.n)
        read_balance(u, raw.lb_policy, at);
    if (raw.retry_on.n)
        read_retry_on(u, raw.retry_on, at);
    if (u->health_path.n && u->health_path.p[0] != '/')
        return upstream_problem(at, PROBLEM_error, "health_check_path", "a path begins with '/'");
    return 0;
}

/* ---- backends ---- */

/* What speaks there: what the backend says, else the dialect that the model has. */
static unsigned provider_of(const struct raw_backend *b, unsigned api_format,
                            const struct upstream_place *at)
{
    unsigned provider = UPSTREAM_openai;
    bool known = upstream_provider_of(b->provider, &provider);
    if (b->provider.n && !known)
        (void)upstream_problem(at, PROBLEM_warning, "provider",
                               "the provider '" STR_FMT
                               "' is not known, and is spoken to as one that "
                               "is compatible with %s",
                               STR_ARG(str_head(b->provider, 64)), api_formats[api_format]);
    if (!known) /* a type may say other things: what the model is for */
        (void)upstream_provider_of(b->type, &provider);
    bool compatible = provider <= UPSTREAM_llama_server;
    return api_format && compatible ? UPSTREAM_anthropic : provider;
}

/* Its name there: by what serves there, else the one for all. */
static struct str model_there(const struct raw_backends *m, const struct raw_backend *b)
{
    const struct str ids[] = { b->provider, b->type };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        for (size_t k = 0; ids[i].n && m->external && k < m->external->n; k++)
            if (m->external->kind == NODE_map && str_eq(m->external->keys[k], ids[i]) &&
                m->external->items[k]->kind == NODE_scalar && m->external->items[k]->scalar.n)
                return m->external->items[k]->scalar;
    return m->id.n ? m->id : m->name;
}

static int find_url(struct raw_backend *b, const struct upstream_place *at)
{
    bool http = str_is(b->protocol, "http"), https = str_is(b->protocol, "https");
    if (!http && !https && b->protocol.n)
        return upstream_problem(at, PROBLEM_error, "protocol", "is http or https");
    if (b->r.e.url.n || b->endpoint.n == 0)
        return 0;
    if (str_find(b->endpoint, STR("://")) >= 0) {
        b->r.e.url = b->endpoint;
        return 0;
    }
    const char *url =
        arena_printf(at->c->arena, "%s://" STR_FMT, https ? "https" : "http", STR_ARG(b->endpoint));
    b->r.e.url = str_of(url);
    return url ? 0 : -ENOMEM;
}

static int finish_backend(struct raw_backend *b, const struct raw_backends *m,
                          const struct upstream_place *at)
{
    struct config_endpoint *e = &b->r.e;
    b->r.tls.verify = true;
    e->provider = provider_of(b, m->api_format, at);
    e->model = model_there(m, b);
    e->key = b->key;
    int r = find_url(b, at);
    if (r < 0)
        return r;
    if (e->url.n == 0 && b->provider.n == 0)
        return node_problem(at->p, PROBLEM_error, at->at, at->path,
                            "says neither endpoint (host:port) nor base_url");
    const struct node *key = node_get(at->at, "api_key");
    if (e->key.n && key->kind == NODE_scalar && str_find(key->scalar, STR("${")) < 0)
        (void)upstream_problem(at, PROBLEM_warning, "api_key",
                               "is a secret in a configuration; api_key_env names a variable "
                               "that holds it");
    return upstream_endpoint_finish(&b->r, at);
}

static int read_model(struct config_model *ret, struct raw_backends *m,
                      const struct upstream_place *at)
{
    struct raw_backend *refs = m->refs.items;
    struct config_endpoint *all = arena_array(at->c->arena, m->refs.n + 1, sizeof(*all));
    const char *reliability = arena_printf(at->c->arena, "%s.reliability", at->path);
    struct raw_upstream usual = { 0 };
    if (!all || !reliability)
        return -ENOMEM;
    int r = schema_read(&usual, upstream_options, NULL, at->path, at->c->arena, at->p);
    struct upstream_place here = { at->c, at->p, m->reliability, reliability, at };
    usual.u.retry_on = RETRY_all;
    usual.u.max_retry_after_s /= 1000; /* read in ms */
    usual.u.lora.enabled = false;
    if (r == 0)
        r = read_reliability(&usual.u, &here);
    for (size_t i = 0; i < m->refs.n; i++) {
        const struct node *ref = node_at(node_get(at->at, "backend_refs"), i);
        const char *path = arena_printf(at->c->arena, "%s.backend_refs[%zu]", at->path, i);
        here = (struct upstream_place){ at->c, at->p, ref, path, NULL };
        int k = path ? finish_backend(&refs[i], m, &here) : -ENOMEM;
        r = r == 0 || (k < 0 && k != -EINVAL) ? k : r;
        all[i] = refs[i].r.e;
    }
    usual.u.endpoints = (struct item_list){ all, m->refs.n };
    *ret = (struct config_model){ .name = m->name, .upstream = usual.u, .written = at->at };
    ret->pricing = pricing_finish(&m->pricing, node_get(at->at, "pricing"));
    return r < 0 ? r : upstream_name_endpoints(all, m->refs.n, at);
}

static bool is_taken(const struct config *c, struct str name)
{
    return name.n == 0 || config_model(c, name);
}

int backends_read(struct config *c, struct problems *p)
{
    const struct node *list = node_get(c->providers, "models");
    if (!list || list->kind != NODE_list || list->n > MAX_MODELS)
        return 0; /* the router says what is wrong */
    struct config_model *all = arena_array(c->arena, c->engine.models.n + list->n, sizeof(*all));
    if (!all)
        return -ENOMEM;
    if (c->engine.models.n)
        memcpy(all, c->engine.models.items, c->engine.models.n * sizeof(*all));
    c->engine.models.items = all;
    int r = 0;
    for (size_t i = 0; i < list->n; i++) {
        const char *path = arena_printf(c->arena, "providers.models[%zu]", i);
        if (!path)
            return -ENOMEM;
        struct raw_backends m = { .name = STR_NULL };
        struct config_model model;
        struct upstream_place at = { c, p, list->items[i], path, NULL };
        int k = schema_read(&m, model_options, list->items[i], path, c->arena, p);
        if (k == 0)
            k = read_model(&model, &m, &at);
        r = r == 0 || (k < 0 && k != -EINVAL) ? k : r;
        if (k == 0 && m.refs.n && !is_taken(c, m.name))
            all[c->engine.models.n++] = model;
    }
    return r;
}
