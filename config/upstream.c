#include "config/upstream.h"

#include "base/limits.h"
#include "base/num.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_HEADERS = 32, MAX_PORT = 65535, LORA_RANK_VLLM = 16, LORA_SLOTS_SGLANG = 8 };

/* ---- where things stand ---- */

/* Keys that the policy language spells otherwise. */
static const char *const spellings[][2] = {
    { "url", "base_url" },
    { "url", "endpoint" },
    { "path", "chat_path" },
    { "headers", "extra_headers" },
    { "provider", "type" },
    { "key_env", "api_key_env" },
    { "model", "provider_model_id" },
};

static const struct node *find_key(const struct node *map, const char **io_key)
{
    const struct node *found = node_get(map, *io_key);
    for (size_t i = 0; !found && i < ARRAY_LEN(spellings); i++)
        if (strcmp(spellings[i][0], *io_key) == 0 && (found = node_get(map, spellings[i][1])))
            *io_key = spellings[i][1];
    return found;
}

int upstream_problem(const struct upstream_place *at, enum problem_kind kind, const char *key,
                     const char *fmt, ...)
{
    const struct node *found = NULL;
    const struct upstream_place *where = at;
    for (; where && !found; where = found ? where : where->outer)
        found = find_key(where->at, &key);
    if (!where)
        where = at;
    char text[768], path[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)snprintf(path, sizeof(path), "%s%s%s", where->path, found ? "." : "", found ? key : "");
    return node_problem(at->p, kind, found ? found : where->at, path, "%s", text);
}

static int worse(int a, int b)
{
    return a == 0 || (b < 0 && b != -EINVAL) ? b : a;
}

static bool all_of(struct str s, const char *others)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool usual = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!usual && (c == '\0' || !strchr(others, c)))
            return false;
    }
    return true;
}

static struct str environment(const char *name)
{
    const char *value = name ? getenv(name) : NULL;
    return str_of(value && value[0] ? value : NULL);
}

/* ---- urls ---- */

struct url {
    bool https;
    struct str authority, host, port, path;
};

static bool split_port(struct url *u)
{
    struct str a = u->authority;
    size_t end = 0;
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] == ']' || (a.p[i] == ':' && (a.p[0] != '[' || end)))
            end = i; /* of an address in brackets, the bracket; then the colon */
    bool colon = end && a.p[end] == ':';
    u->host = colon ? str_head(a, end) : a;
    u->port = colon ? str_sub(a, end + 1) : STR_NULL;
    uint64_t port = 0;
    return u->host.n && (!colon || num_parse_u64(&port, u->port, 1, MAX_PORT) == 0);
}

static bool url_split(struct url *ret, struct str url)
{
    *ret = (struct url){ .https = str_starts(url, STR("https://")) };
    if (!ret->https && !str_starts(url, STR("http://")))
        return false;
    struct str rest = str_sub(url, ret->https ? STR("https://").n : STR("http://").n);
    size_t slash = 0;
    while (slash < rest.n && rest.p[slash] != '/')
        slash++;
    ret->authority = str_head(rest, slash);
    ret->path = str_sub(rest, slash);
    return all_of(ret->authority, "-._~:[]%") && all_of(ret->path, "-._~:/%+@=,;!$&'()*") &&
           split_port(ret);
}

static struct str cut_end(struct str s, const char *const *ends)
{
    for (; *ends; ends++)
        if (str_ends(s, str_of(*ends)))
            return str_head(s, s.n - strlen(*ends));
    return s;
}

static const char *const nothing[] = { NULL };
static const char *const calls[] = { "/chat/completions", "/completions", NULL };
static const char *const anthropic_ends[] = { "/v1/messages", "/v1", NULL };
static const char *const ollama_ends[] = { "/v1", "/api/chat", "/api", NULL };
static const char *const gemini_ends[] = { "/v1beta", "/v1", NULL };
static const char *const vertex_ends[] = { "/v1", "/v1beta1", NULL };
static const char *const azure_ends[] = { "/openai", NULL };

/* What is known of a provider, in the order of enum upstream_provider. */
static const struct facts {
    const char *url;         /* NULL: by its region, or none */
    bool versioned;          /* its url ends in a version */
    const char *const *ends; /* cut off where somebody wrote them */
    const char *usual_env;
    const char *own_host; /* the usual variable counts there and below; NULL: anywhere */
} facts[] = {
    { "https://api.openai.com/v1", true, calls, "OPENAI_API_KEY", "api.openai.com" },
    { "http://127.0.0.1:8000/v1", true, calls, "VLLM_API_KEY", NULL },
    { "http://127.0.0.1:30000/v1", true, calls, NULL, NULL },
    { "http://127.0.0.1:8080/v1", true, calls, "LLAMA_API_KEY", NULL },
    { "http://127.0.0.1:11434", false, ollama_ends, "OLLAMA_API_KEY", NULL },
    { "https://api.anthropic.com", false, anthropic_ends, "ANTHROPIC_API_KEY",
      "api.anthropic.com" },
    { NULL, false, azure_ends, "AZURE_OPENAI_API_KEY", "azure.com" },
    { "https://generativelanguage.googleapis.com", false, gemini_ends, "GEMINI_API_KEY",
      "generativelanguage.googleapis.com" },
    { NULL, false, vertex_ends, NULL, NULL },
    { NULL, false, nothing, "AWS_BEARER_TOKEN_BEDROCK", "amazonaws.com" },
};

static int default_url(struct config_endpoint *e, const struct upstream_place *at)
{
    struct arena *arena = at->c->arena;
    const char *url = facts[e->provider].url;
    if (e->provider == UPSTREAM_azure)
        return upstream_problem(at, PROBLEM_error, "url",
                                "azure needs a url: https://RESOURCE.openai.azure.com");
    if (e->provider == UPSTREAM_bedrock)
        url = arena_printf(arena, "https://bedrock-runtime." STR_FMT ".amazonaws.com%s",
                           STR_ARG(e->region), str_starts(e->region, STR("cn-")) ? ".cn" : "");
    if (e->provider == UPSTREAM_vertex)
        url = str_is(e->region, "global")
                  ? "https://aiplatform.googleapis.com"
                  : arena_printf(arena, "https://" STR_FMT "-aiplatform.googleapis.com",
                                 STR_ARG(e->region));
    e->url = str_of(url);
    return url ? 0 : -ENOMEM;
}

/* Its text is never said: secrets are found in queries and before an '@'. */
static int bad_url(const struct upstream_place *at, struct str url)
{
    if (str_find(url, STR("@")) >= 0)
        return upstream_problem(
            at, PROBLEM_error, "url",
            "a url holds no user, password or '@'; name the key's variable with "
            "key_env, or its file with key_file");
    return upstream_problem(
        at, PROBLEM_error, "url",
        "is not http(s)://host[:port][/path]; there is no '?' and no '#' in it");
}

/* Cuts and adds, so that the provider finds what config.h promises. */
static int finish_url(struct config_endpoint *e, const struct upstream_place *at, struct url *ret)
{
    const struct facts *f = &facts[e->provider];
    if (e->url.n == 0) {
        int r = default_url(e, at);
        if (r < 0)
            return r;
    }
    while (str_ends(e->url, STR("/")))
        e->url.n--;
    if (!url_split(ret, e->url))
        return bad_url(at, e->url);
    struct str cut = cut_end(ret->path, f->ends);
    e->url.n -= ret->path.n - cut.n;
    const char *url = arena_printf(at->c->arena, STR_FMT "%s", STR_ARG(e->url),
                                   f->versioned && cut.n == 0 ? "/v1" : "");
    if (!url)
        return -ENOMEM;
    e->url = str_of(url);
    return url_split(ret, e->url) ? 0 : bad_url(at, e->url);
}

/* "/v1/chat/completions" after ".../v1" says the version twice. */
static int finish_path(struct config_endpoint *e, const struct upstream_place *at)
{
    if (e->path.n == 0)
        return 0;
    if (e->path.p[0] != '/' || !all_of(e->path, "-._~:/%+@=,;!$&'()*?"))
        return upstream_problem(at, PROBLEM_error, "path",
                                "a path begins with '/' and has no blank; it follows the url");
    size_t segment = 1;
    while (segment < e->path.n && e->path.p[segment] != '/')
        segment++;
    if (segment < e->path.n && str_ends(e->url, str_head(e->path, segment)))
        e->path = str_sub(e->path, segment);
    return 0;
}

/* ---- regions ---- */

static struct str first_of(struct str a, struct str b)
{
    return a.n ? a : b;
}

/* "bedrock-runtime.eu-west-1.amazonaws.com" → "eu-west-1" */
static struct str region_of_url(struct str url)
{
    struct str before, rest, region, after;
    if (!str_cut(url, '.', &before, &rest) || !str_ends(before, STR("bedrock-runtime")) ||
        !str_cut(rest, '.', &region, &after))
        return STR_NULL;
    return region;
}

static int finish_region(struct config_endpoint *e, const struct upstream_place *at)
{
    struct arena *arena = at->c->arena;
    struct str region = e->region, project = e->project;
    if (e->provider == UPSTREAM_bedrock)
        region = first_of(first_of(region, region_of_url(e->url)),
                          first_of(environment("AWS_REGION"), environment("AWS_DEFAULT_REGION")));
    if (e->provider == UPSTREAM_vertex) {
        region = first_of(first_of(region, environment("GOOGLE_CLOUD_LOCATION")), STR("global"));
        project = first_of(project, environment("GOOGLE_CLOUD_PROJECT"));
        if (project.n == 0)
            return upstream_problem(at, PROBLEM_error, "project",
                                    "vertex needs a project, here or in GOOGLE_CLOUD_PROJECT");
    }
    if (e->provider == UPSTREAM_bedrock && region.n == 0)
        return upstream_problem(at, PROBLEM_error, "region",
                                "bedrock needs a region such as us-east-1, here or in AWS_REGION");
    if (!all_of(region, "-") || !all_of(project, "-_:."))
        return upstream_problem(at, PROBLEM_error, all_of(region, "-") ? "project" : "region",
                                "has letters, digits and '-' only");
    e->region = arena_str(arena, region);
    e->project = arena_str(arena, project);
    return e->region.p && e->project.p ? 0 : -ENOMEM;
}

/* ---- keys and headers ---- */

static int refuse_secrets(const struct raw_endpoint *raw, const struct upstream_place *at)
{
    static const char *const keys[] = { "key", "api_key", "token" };
    int r = 0;
    for (size_t i = 0; raw->secret && i < ARRAY_LEN(keys); i++)
        if (node_get(at->at, keys[i]))
            r = upstream_problem(
                at, PROBLEM_error, keys[i],
                "a secret does not belong in a configuration; use key_env (the name of a "
                "variable that holds it) or key_file");
    return r;
}

/* Its text is never said: a key may stand where its variable's name should. */
static int check_variable(struct str name, const char *key, const struct upstream_place *at)
{
    bool digit = name.n && name.p[0] >= '0' && name.p[0] <= '9';
    if (!digit && all_of(name, "_"))
        return 0;
    return upstream_problem(
        at, PROBLEM_error, key,
        "takes the name of an environment variable (letters, digits and '_'), not the "
        "value that it holds");
}

static bool is_credential_header(struct str name)
{
    static const char *const names[] = { "authorization", "x-api-key", "api-key", "x-goog-api-key",
                                         "proxy-authorization" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_nocase(name, str_of(names[i])))
            return true;
    return false;
}

static bool is_framing_header(struct str name)
{
    static const char *const names[] = {
        "content-length", "transfer-encoding", "connection", "keep-alive", "te",
        "trailer",        "upgrade",           "expect",     "host"
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_nocase(name, str_of(names[i])))
            return true;
    return false;
}

static int check_header(const struct config_pair *h, const struct node *value,
                        const struct upstream_place *at)
{
    static const char token[] = "!#$%&'*+-.^_`|~";
    if (h->key.n == 0 || h->key.n > LIMIT_NAME || !all_of(h->key, token))
        return upstream_problem(at, PROBLEM_error, "headers",
                                "'" STR_FMT "' is not a header's name",
                                STR_ARG(str_head(h->key, 64)));
    if (is_framing_header(h->key))
        return upstream_problem(at, PROBLEM_error, "headers",
                                "the header " STR_FMT " is the transport's own", STR_ARG(h->key));
    if (is_credential_header(h->key) && str_find(value->scalar, STR("${")) < 0)
        return upstream_problem(
            at, PROBLEM_error, "headers",
            "the header " STR_FMT " holds a secret, which does not belong in a "
            "configuration; use key_env or key_file, with auth_header for its name",
            STR_ARG(h->key));
    for (size_t i = 0; i < h->value.n; i++)
        if ((unsigned char)h->value.p[i] < ' ' || h->value.p[i] == 0x7f)
            return upstream_problem(at, PROBLEM_error, "headers",
                                    "the value of " STR_FMT " has a control character",
                                    STR_ARG(h->key));
    return 0;
}

static int finish_headers(struct raw_endpoint *raw, const struct upstream_place *at)
{
    const struct node *map = raw->headers;
    if (!map || map->kind == NODE_null)
        return 0;
    if (map->kind != NODE_map || map->n > MAX_HEADERS)
        return upstream_problem(at, PROBLEM_error, "headers", "needs a map of at most %d headers",
                                MAX_HEADERS);
    struct config_pair *pairs = arena_array(at->c->arena, map->n + 1, sizeof(*pairs));
    if (!pairs)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; i < map->n; i++) {
        const struct option row[] = { OPT_TEXT(struct config_pair, value, map->keys[i].p, NULL, ""),
                                      OPT_END };
        const struct str *key = &map->keys[i];
        const struct node one = { .kind = NODE_map,
                                  .line = map->line,
                                  .column = map->column,
                                  .file = map->file,
                                  .n = 1,
                                  .items = &map->items[i],
                                  .keys = key,
                                  .key_nodes = &map->key_nodes[i] };
        char path[512];
        (void)snprintf(path, sizeof(path), "%s.headers", at->path);
        pairs[i].key = *key;
        int k = map->items[i]->kind == NODE_scalar
                    ? schema_read(&pairs[i], row, &one, path, at->c->arena, at->p)
                    : upstream_problem(at, PROBLEM_error, "headers",
                                       "the value of " STR_FMT " is no text",
                                       STR_ARG(str_head(*key, 64)));
        r = worse(r, k < 0 ? k : check_header(&pairs[i], map->items[i], at));
    }
    raw->e.headers = pairs;
    raw->e.n_headers = map->n;
    return r;
}

/* A host of the provider's own, where its usual variable may be sent. */
static bool is_own_host(const struct facts *f, struct str host)
{
    if (!f->own_host)
        return true;
    struct str own = str_of(f->own_host);
    if (host.n <= own.n)
        return str_eq_nocase(host, own);
    return host.p[host.n - own.n - 1] == '.' && str_eq_nocase(str_sub(host, host.n - own.n), own);
}

static int finish_keys(struct raw_endpoint *raw, const struct url *url,
                       const struct upstream_place *at)
{
    struct config_endpoint *e = &raw->e;
    const struct facts *f = &facts[e->provider];
    int r = check_variable(e->key_env, "key_env", at);
    r = worse(r, check_variable(e->tenant_keys_env, "tenant_keys_env", at));
    if (e->auth_header.n && !all_of(e->auth_header, "!#$%&'*+-.^_`|~"))
        r = worse(r, upstream_problem(at, PROBLEM_error, "auth_header", "is not a header's name"));
    e->auth_prefix = str_trim(e->auth_prefix);
    if (!all_of(e->auth_prefix, "-_."))
        r = worse(
            r, upstream_problem(at, PROBLEM_error, "auth_prefix", "is one word, such as Bearer"));
    if (e->auth_prefix.n == 0 && str_eq_nocase(e->auth_header, STR("authorization")))
        e->auth_prefix = STR("Bearer");
    if (e->key_env.n && e->key_file.n)
        r = worse(r, upstream_problem(at, PROBLEM_warning, "key_file",
                                      "has no effect beside key_env, which goes first"));
    if (!all_of(e->api_version, "-._"))
        r = worse(r, upstream_problem(at, PROBLEM_error, "api_version",
                                      "is one word such as 2024-10-21"));
    bool own = e->key_env.n || e->key_file.n || e->key.n || e->client_key;
    if (!own && f->usual_env && is_own_host(f, url->host))
        e->usual_env = str_of(f->usual_env);
    return r;
}

static int resolve(struct str *path, const struct config *c)
{
    if (path->n == 0 || path->p[0] == '/')
        return 0;
    const char *full = arena_printf(c->arena, "%s/" STR_FMT, c->folder, STR_ARG(*path));
    *path = str_of(full);
    return full ? 0 : -ENOMEM;
}

static int finish_files(struct raw_endpoint *raw, const struct url *url,
                        const struct upstream_place *at)
{
    struct config_endpoint *e = &raw->e;
    e->tls_ca = raw->tls.ca;
    e->tls_cert = raw->tls.cert;
    e->tls_key = raw->tls.key;
    e->tls_insecure = !raw->tls.verify;
    struct str *files[] = { &e->key_file, &e->tenant_keys_file, &e->credentials,
                            &e->tls_ca,   &e->tls_cert,         &e->tls_key };
    int r = 0;
    if (!url->https && (e->tls_ca.n || e->tls_cert.n || e->tls_key.n || e->tls_insecure))
        r = upstream_problem(at, PROBLEM_warning, "tls", "has no effect: the url is not https");
    if (e->tls_cert.n && e->tls_key.n == 0)
        r = upstream_problem(at, PROBLEM_error, "tls", "a cert needs its key");
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++)
        r = resolve(files[i], at->c);
    return r;
}

int upstream_endpoint_finish(struct raw_endpoint *raw, const struct upstream_place *at)
{
    struct config_endpoint *e = &raw->e;
    struct url url;
    int r = refuse_secrets(raw, at);
    int k = finish_region(e, at);
    if (k == 0)
        k = finish_url(e, at, &url);
    if (k < 0)
        return worse(r, k);
    r = worse(r, finish_path(e, at));
    r = worse(r, finish_headers(raw, at));
    r = worse(r, finish_keys(raw, &url, at));
    r = worse(r, finish_files(raw, &url, at));
    if (e->name.n == 0) {
        e->name = arena_str(at->c->arena, url.authority);
        r = worse(r, e->name.p ? 0 : -ENOMEM);
    }
    return r;
}

/* ---- a model's ---- */

int upstream_name_endpoints(struct config_endpoint *all, size_t n, const struct upstream_place *at)
{
    for (size_t i = 0; i < n; i++) {
        const struct str own = all[i].name;
        size_t twins = 1, j = 0;
        while (j < i) {
            if (!str_eq(all[i].name, all[j].name)) {
                j++;
                continue;
            }
            const char *name = arena_printf(at->c->arena, STR_FMT "#%zu", STR_ARG(own), ++twins);
            if (!name)
                return -ENOMEM;
            all[i].name = str_of(name);
            j = 0; /* the new name may be taken as well */
        }
    }
    return 0;
}

static int read_endpoints(struct raw_upstream *raw, struct str model,
                          const struct upstream_place *at, struct item_list *ret)
{
    const struct node *list = raw->endpoints;
    if (list && (list->kind != NODE_list || list->n == 0 || list->n > UPSTREAM_ENDPOINTS_MAX))
        return upstream_problem(at, PROBLEM_error, "endpoints", "needs a list of 1 to %d endpoints",
                                UPSTREAM_ENDPOINTS_MAX);
    size_t n = list ? list->n : 1;
    struct config_endpoint *all = arena_array(at->c->arena, n, sizeof(*all));
    if (!all)
        return -ENOMEM;
    int r = list ? refuse_secrets(&raw->common, at) : 0;
    for (size_t i = 0; i < n; i++) {
        struct raw_endpoint one = raw->common;
        struct upstream_place here = *at;
        int k = 0;
        if (list) {
            const char *path = arena_printf(at->c->arena, "%s.endpoints[%zu]", at->path, i);
            if (!path)
                return -ENOMEM;
            one.secret = NULL;
            if (node_get(list->items[i], "key_env") || node_get(list->items[i], "key_file"))
                one.e.key_env = one.e.key_file = STR_NULL; /* a key of its own */
            here = (struct upstream_place){ at->c, at->p, list->items[i], path, at };
            k = schema_read(&one, endpoint_options, list->items[i], path, at->c->arena, at->p);
        }
        if (one.e.model.n == 0)
            one.e.model = model;
        k = worse(k, k == -EINVAL ? 0 : upstream_endpoint_finish(&one, &here));
        all[i] = one.e;
        r = worse(r, k);
    }
    *ret = (struct item_list){ all, n };
    return r == 0 ? upstream_name_endpoints(all, n, at) : r;
}

static int finish_retry(struct raw_upstream *raw, const struct upstream_place *at)
{
    static const char *const words[] = { "connect", "broken", "busy", "server" };
    static const unsigned bits[] = { RETRY_connect, RETRY_broken, RETRY_busy, RETRY_server };
    int r = 0;
    raw->u.retry_on = raw->retry_on.n ? 0 : RETRY_all;
    for (size_t i = 0; i < raw->retry_on.n; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(words) && !str_is(raw->retry_on.items[i], words[k]))
            k++;
        if (k < ARRAY_LEN(words))
            raw->u.retry_on |= bits[k];
        else
            r = upstream_problem(at, PROBLEM_error, "retry",
                                 "'" STR_FMT "' is not one of connect, broken, busy, server",
                                 STR_ARG(str_head(raw->retry_on.items[i], 64)));
    }
    raw->u.max_retry_after_s /= 1000; /* read in ms */
    return r;
}

static int finish_lora(struct config_upstream *u, const struct upstream_place *at)
{
    struct config_upstream_lora *l = &u->lora;
    const struct config_endpoint *e = u->endpoints.items;
    l->enabled = l->enabled && node_get(at->at, "lora");
    if (!l->enabled)
        return 0;
    if (e->provider != UPSTREAM_vllm && e->provider != UPSTREAM_sglang &&
        e->provider != UPSTREAM_llama_server)
        return upstream_problem(at, PROBLEM_error, "lora",
                                "adapters are served behind by vllm, sglang and llama-server");
    for (size_t i = 1; i < u->endpoints.n; i++)
        if (e[i].provider != e->provider)
            return upstream_problem(at, PROBLEM_error, "lora",
                                    "endpoints that serve adapters have one provider");
    if (e->provider == UPSTREAM_llama_server && l->fixed.n == 0)
        return upstream_problem(
            at, PROBLEM_error, "lora",
            "llama-server's adapters are those it was started with: name them in "
            "`fixed`");
    if (e->provider != UPSTREAM_llama_server && l->path.n == 0 && l->folder.n == 0)
        return upstream_problem(
            at, PROBLEM_error, "lora",
            "needs `path` (of a revision's folder on the engine's host), `folder` (of "
            "this host, which the engine sees under the same name), or both");
    int r = resolve(&l->folder, at->c);
    if (r == 0 && l->path.n == 0 && l->folder.n) {
        const char *path =
            arena_printf(at->c->arena, STR_FMT "/{digest2}/{digest}", STR_ARG(l->folder));
        l->path = str_of(path);
        r = path ? 0 : -ENOMEM;
    }
    if (l->max_loras == 0)
        l->max_loras = e->provider == UPSTREAM_sglang ? LORA_SLOTS_SGLANG : 1;
    if (l->max_loaded < l->max_loras)
        l->max_loaded = l->max_loras;
    if (l->max_rank == 0)
        l->max_rank = e->provider == UPSTREAM_vllm ? LORA_RANK_VLLM : LIMIT_LORA_RANK;
    return r;
}

int upstream_finish(struct raw_upstream *raw, struct str model, const struct upstream_place *at,
                    struct config_upstream *ret)
{
    struct config_upstream *u = &raw->u;
    int r = read_endpoints(raw, model, at, &u->endpoints);
    r = worse(r, finish_retry(raw, at));
    if (u->health_path.n && u->health_path.p[0] != '/')
        r = worse(r, upstream_problem(at, PROBLEM_error, "health", "its path begins with '/'"));
    if (r == 0)
        r = finish_lora(u, at);
    *ret = *u;
    return r;
}

struct config_pricing pricing_finish(const struct config_pricing *raw, const struct node *at)
{
    struct config_pricing p = *raw;
    if (p.cached < 0)
        p.cached = p.prompt;
    if (p.cache_write < 0)
        p.cache_write = p.prompt;
    p.is_set = at && at->kind == NODE_map;
    return p;
}

const char *config_provider_word(unsigned provider)
{
    return upstream_provider_words[provider];
}

bool upstream_provider_of(struct str word, unsigned *ret)
{
    static const struct {
        const char *word;
        enum upstream_provider provider;
    } others[] = {
        { "openrouter", UPSTREAM_openai },         { "openai-compatible", UPSTREAM_openai },
        { "llama.cpp", UPSTREAM_llama_server },    { "llamacpp", UPSTREAM_llama_server },
        { "llama_server", UPSTREAM_llama_server }, { "azure-openai", UPSTREAM_azure },
        { "azure_openai", UPSTREAM_azure },        { "google", UPSTREAM_gemini },
        { "google-gemini", UPSTREAM_gemini },      { "vertex-ai", UPSTREAM_vertex },
        { "vertex_ai", UPSTREAM_vertex },          { "vertexai", UPSTREAM_vertex },
        { "aws-bedrock", UPSTREAM_bedrock },       { "aws_bedrock", UPSTREAM_bedrock },
    };
    for (unsigned i = 0; upstream_provider_words[i]; i++)
        if (str_eq_nocase(word, str_of(upstream_provider_words[i]))) {
            *ret = i;
            return true;
        }
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (str_eq_nocase(word, str_of(others[i].word))) {
            *ret = others[i].provider;
            return true;
        }
    return false;
}

double config_cost(const struct config_pricing *p, const struct config_tokens *t)
{
    const double million = 1e6;
    uint64_t cached = t->cached < t->prompt ? t->cached : t->prompt, rest = t->prompt - cached;
    uint64_t written = t->cache_write < rest ? t->cache_write : rest;
    if (!p->is_set)
        return 0;
    return ((double)(rest - written) * p->prompt + (double)cached * p->cached +
            (double)written * p->cache_write + (double)t->completion * p->completion) /
           million;
}
