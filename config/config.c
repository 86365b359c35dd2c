#include "config/config.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "config/upstream.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The public part first, so that a pointer to one is a pointer to the other. */
struct snapshot {
    struct config c;
    struct document *doc;
    _Atomic unsigned refs;
};

/* ---- tables ---- */

static const char *const cache_types[] = { "f16", "f32", "q8_0", NULL }; /* enum cache_type */
static const char *const packing_words[] = { "source", "f16", "int8",
                                             NULL }; /* enum adapter_packing */
static const char *const on_cold_words[] = { "wait", "base", "fail", NULL }; /* enum on_cold */
static const char *const cold_timeouts[] = { "fail", "base", NULL };         /* enum cold_timeout */
static const char *const log_levels[] = { "debug", "info", "warn", "error",
                                          NULL }; /* enum log_level */

enum catalog_choice { CHOICE_auto, CHOICE_directory, CHOICE_redis };
static const char *const catalog_choices[] = { "auto", "directory", "redis", NULL };

struct raw_kv_cache {
    unsigned type;
};

static const struct option kv_cache_options[] = {
    OPT_WORD(struct raw_kv_cache, type, "type", cache_types, "f16", "element type of the KV cache"),
    OPT_IGNORED("pages", "the cache is sized by slots and context"),
    OPT_END,
};

struct raw_model {
    struct config_model m;
    struct raw_kv_cache kv_cache;
    struct str threads;
    struct raw_upstream upstream;
    struct config_pricing pricing;
};

static const struct option model_options[] = {
    OPT_TEXT(struct raw_model, m.name, "name", OPTION_REQUIRED,
             "name of the base model on the wire"),
    OPT_TEXT(struct raw_model, m.path, "path", NULL,
             "GGUF file; relative to this configuration file; or `upstream`"),
    OPT_UINT(struct raw_model, m.slots, "slots", 1, LIMIT_SLOTS, "16",
             "sequences decoded together"),
    OPT_UINT(struct raw_model, m.context, "context", 0, LIMIT_CONTEXT, "0",
             "tokens per sequence; 0: the model's own"),
    OPT_UINT(struct raw_model, m.queue, "queue", 1, 65536, "256", "waiting requests before 429"),
    OPT_UINT(struct raw_model, m.batch, "batch", 1, LIMIT_BATCH_ROWS, "256",
             "rows of one step: a prefill delays decoding by no more"),
    OPT_SECTION(struct raw_model, kv_cache, "kv_cache", kv_cache_options,
                "keys and values of past tokens"),
    OPT_TEXT(struct raw_model, threads, "threads", "auto", "compute threads; auto: one a core"),
    OPT_IGNORED("idle_unload",
                "the model stays mapped; the system drops clean pages under pressure"),
    OPT_IGNORED("draft", "speculative decoding is not served by this version"),
    OPT_SECTION(struct raw_model, upstream, "upstream", upstream_options,
                "instead of a path: the model is behind, at one or several endpoints"),
    OPT_SECTION(struct raw_model, pricing, "pricing", pricing_options, "what its tokens cost"),
    OPT_END,
};

struct raw_embedding {
    struct str path, name, threads;
};
static const struct option embedding_options[] = {
    OPT_TEXT(struct raw_embedding, path, "path", NULL,
             "GGUF encoder (BERT family); relative to this configuration file"),
    OPT_TEXT(struct raw_embedding, name, "name", NULL,
             "its name on the wire; default: the file's, without .gguf"),
    OPT_TEXT(struct raw_embedding, threads, "threads", "auto", "compute threads; auto: one a core"),
    OPT_END,
};

struct raw_engine {
    struct item_list models;
    struct raw_embedding embedding;
    struct str knowledge_bases;
    struct config_transport transport;
};

static const struct option engine_options[] = {
    OPT_LIST(struct raw_engine, models, "models", 256, model_options, struct raw_model,
             "base models: resident ones, and those behind"),
    OPT_SECTION(struct raw_engine, transport, "upstream", transport_options,
                "calls to models behind"),
    OPT_SECTION(struct raw_engine, embedding, "embedding", embedding_options,
                "a model of its own for /v1/embeddings"),
    OPT_TEXT(struct raw_engine, knowledge_bases, "knowledge_bases", NULL,
             "folder where manifests of knowledge bases are looked for first; they are also found "
             "beside this file and in the folders above it"),
    OPT_END,
};

struct raw_adapters {
    struct config_adapters a;
    struct {
        unsigned type;
        struct str path, url, namespace, snapshot, user, password_env, password_file;
        struct raw_tls {
            struct str ca, cert, key;
            bool verify;
        } tls;
    } catalog;
    struct {
        struct str cache;
        uint64_t max_bytes;
        struct config_blobs b;
    } blobs;
    struct {
        uint64_t max_bytes, max_loads, max_rate, cold_wait_ms;
        unsigned on_cold, on_cold_timeout, packing;
        struct text_list pin;
    } residency;
    struct config_canary canary;
    struct {
        uint64_t max_running;
    } shadow;
};

static const struct option tls_options[] = {
    OPT_TEXT(struct raw_tls, ca, "ca", NULL,
             "PEM file of the authorities that sign the server; default: the system's"),
    OPT_TEXT(struct raw_tls, cert, "cert", NULL, "PEM file of our certificate, with its chain"),
    OPT_TEXT(struct raw_tls, key, "key", NULL, "PEM file of its key"),
    OPT_BOOL(struct raw_tls, verify, "verify", "true",
             "check who signed the server's certificate and that it is for the host we call"),
    OPT_END,
};

#define IN_PART(part, member)                                                                      \
    /* NOLINTNEXTLINE(bugprone-macro-parentheses): offsetof takes names */                         \
    (offsetof(struct raw_adapters, part.member) - offsetof(struct raw_adapters, part))
static const struct option catalog_options[] = {
    { "type", OPTION_word, IN_PART(catalog, type), 0, 0, "auto", catalog_choices, NULL, 0,
      "auto: redis when ROOTSTOCK_REDIS_URL is set, else directory" },
    { "path", OPTION_text, IN_PART(catalog, path), 0, 4096, NULL, NULL, NULL, 0,
      "folder of a directory catalog" },
    { "url", OPTION_text, IN_PART(catalog, url), 0, 4096, NULL, NULL, NULL, 0,
      "redis://[user:password@]host:port/db, rediss:// for TLS, unix:///path, "
      "redis+sentinel://host,host/master, redis+cluster://host,host; default: "
      "ROOTSTOCK_REDIS_URL" },
    { "user", OPTION_text, IN_PART(catalog, user), 0, 256, NULL, NULL, NULL, 0,
      "ACL user of Redis; default: that of the url" },
    { "password_env", OPTION_text, IN_PART(catalog, password_env), 0, 256, NULL, NULL, NULL, 0,
      "environment variable that holds the password" },
    { "password_file", OPTION_text, IN_PART(catalog, password_file), 0, 4096, NULL, NULL, NULL, 0,
      "file whose first line is the password; read at each connection" },
    { "tls", OPTION_section, IN_PART(catalog, tls), 0, 0, NULL, NULL, tls_options, 0,
      "certificates of a rediss:// url" },
    { "namespace", OPTION_text, IN_PART(catalog, namespace), 1, 64, "rootstock", NULL, NULL, 0,
      "prefix of every key in Redis" },
    { "snapshot", OPTION_text, IN_PART(catalog, snapshot), 1, 4096, NULL, NULL, NULL, 0,
      "file in which a gateway keeps what it knows of Redis, to start without it; `off`: none; "
      "default: catalog-NAMESPACE.snapshot beside the files of blobs.cache" },
    OPT_END,
};
static const struct option s3_options[] = {
    OPT_TEXT(struct config_blobs, s3_endpoint, "endpoint", NULL,
             "URL of the service; default: AWS_ENDPOINT_URL, else Amazon's of the region"),
    OPT_TEXT(struct config_blobs, s3_region, "region", NULL, "default: AWS_REGION, else us-east-1"),
    OPT_TEXT(struct config_blobs, s3_credentials, "credentials", NULL,
             "file in the form of ~/.aws/credentials; default: AWS_ACCESS_KEY_ID, "
             "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else AWS_SHARED_CREDENTIALS_FILE"),
    OPT_TEXT(struct config_blobs, s3_profile, "profile", NULL,
             "of that file; default: AWS_PROFILE, else default"),
    OPT_BOOL(struct config_blobs, s3_path_style, "path_style", "false",
             "the bucket in the path, not in the host name; as self-hosted services want it"),
    OPT_END,
};
static const struct option blobs_options[] = {
    { "store", OPTION_texts, IN_PART(blobs, b.stores), 0, 8, NULL, NULL, NULL, 0,
      "URLs of where adapter files are kept, of a redis catalog: redis, file:///folder, "
      "http(s)://host/path (read only; \"{digest}\" in it stands for the name), "
      "s3://bucket/prefix, "
      "oci://registry/repository (oci+http: without TLS); asked in order, the first that can be "
      "written is pushed to; "
      "default: redis" },
    { "cache", OPTION_text, IN_PART(blobs, cache), 0, 4096, "/var/cache/rootstock/blobs", NULL,
      NULL, 0, "folder that holds adapter files by digest; several gateways may share it" },
    { "max_bytes", OPTION_bytes, IN_PART(blobs, max_bytes), 1 * MIB, 1e15, "10GiB", NULL, NULL, 0,
      "least recently used files go beyond it" },
    { "s3", OPTION_section, IN_PART(blobs, b), 0, 0, NULL, NULL, s3_options, 0, "of s3 stores" },
    { "token_env", OPTION_text, IN_PART(blobs, b.token_env), 0, 256, NULL, NULL, NULL, 0,
      "environment variable with the bearer token of http and oci stores, or user:password of an "
      "oci registry" },
    { "tls_ca", OPTION_text, IN_PART(blobs, b.tls_ca), 0, 4096, NULL, NULL, NULL, 0,
      "PEM file of who signs the certificates of stores; default: the system's" },
    { "connect_timeout", OPTION_duration, IN_PART(blobs, b.connect_ms), 1, 3600000, "5s", NULL,
      NULL, 0, "to reach a store" },
    { "stall_timeout", OPTION_duration, IN_PART(blobs, b.stall_ms), 0, 3600000, "20s", NULL, NULL,
      0, "a transfer that stands still as long is broken off and resumed; 0: never" },
    { "total_timeout", OPTION_duration, IN_PART(blobs, b.total_ms), 0, 86400000, "30m", NULL, NULL,
      0, "of one transfer; 0: none" },
    OPT_END,
};
static const struct option residency_options[] = {
    { "max_bytes", OPTION_bytes, IN_PART(residency, max_bytes), 1 * MIB, 1e15, "1GiB", NULL, NULL,
      0, "memory for packed adapters" },
    { "max_loads", OPTION_uint, IN_PART(residency, max_loads), 1, 64, "2", NULL, NULL, 0,
      "loads at once from this disk, and as many that fetch or pack" },
    { "max_rate", OPTION_bytes, IN_PART(residency, max_rate), 0, 1e15, "0", NULL, NULL, 0,
      "bytes a second that begin to load; 0: any" },
    { "on_cold", OPTION_word, IN_PART(residency, on_cold), 0, 0, "wait", on_cold_words, NULL, 0,
      "a request whose adapter is not in memory: wait for it, answer with the bare base, or fail "
      "at once with Retry-After; the last two load it all the same. Header x-rootstock-cold: "
      "wait|base|fail[; max-wait=5s] says otherwise" },
    { "cold_wait", OPTION_duration, IN_PART(residency, cold_wait_ms), 0, 3600000, "10s", NULL, NULL,
      0, "how long a request waits for its adapter" },
    { "on_cold_timeout", OPTION_word, IN_PART(residency, on_cold_timeout), 0, 0, "fail",
      cold_timeouts, NULL, 0, "then: refuse, or answer with the bare base" },
    { "pin", OPTION_texts, IN_PART(residency, pin), 0, 1024, NULL, NULL, NULL, 0,
      "adapters kept in memory" },
    { "packing", OPTION_word, IN_PART(residency, packing), 0, 0, "source", packing_words, NULL, 0,
      "weights of packed adapters: as published (exact), f16 (each within 2^-11 of itself) or int8 "
      "(within 1/254 of the largest of its 32 neighbours); gateways that share blobs.cache agree" },
    OPT_END,
};
static const struct option canary_options[] = {
    { "window", OPTION_duration, IN_PART(canary, window_ms), 1000, 86400000, "5m", NULL, NULL, 0,
      "requests of this time are compared with those of prod" },
    { "min_requests", OPTION_uint, IN_PART(canary, min_requests), 1, 1000000, "20", NULL, NULL, 0,
      "of the canary, before it may be taken back by itself" },
    { "max_error_increase", OPTION_float, IN_PART(canary, max_error_increase), 0, 1, "0.05", NULL,
      NULL, 0, "of its error rate over that of prod, as a fraction; 1: never taken back for it" },
    { "max_latency_ratio", OPTION_float, IN_PART(canary, max_latency_ratio), 0, 1000, "1.5", NULL,
      NULL, 0, "of its first-token time and time per token to those of prod; 0: not compared" },
    OPT_END,
};
static const struct option shadow_options[] = {
    { "max_running", OPTION_uint, IN_PART(shadow, max_running), 0, 64, "2", NULL, NULL, 0,
      "copies of requests that shadow revisions answer at once; more are left out" },
    OPT_END,
};
static const struct option adapters_options[] = {
    OPT_SECTION(struct raw_adapters, catalog, "catalog", catalog_options, "which adapters exist"),
    OPT_SECTION(struct raw_adapters, blobs, "blobs", blobs_options, "their files"),
    OPT_SECTION(struct raw_adapters, residency, "residency", residency_options,
                "which of them are in memory"),
    OPT_SECTION(struct raw_adapters, canary, "canary", canary_options,
                "when a canary that does worse than prod is taken back by itself"),
    OPT_SECTION(struct raw_adapters, shadow, "shadow", shadow_options,
                "revisions that answer copies of requests, for nobody"),
    OPT_END,
};
#undef IN_PART

struct raw_auth {
    struct str keys_env;
};
static const struct option auth_options[] = {
    OPT_TEXT(struct raw_auth, keys_env, "keys_env", NULL,
             "environment variable with key[=tenant],…; without it only loopback may connect"),
    OPT_END,
};

struct raw_limits {
    uint64_t body_bytes, header_bytes, streams, upload_bytes, body_idle_ms, body_time_ms;
    uint64_t body_rate, head_time_ms;
};
static const struct option limits_options[] = {
    OPT_BYTES(struct raw_limits, body_bytes, "body", 1024, LIMIT_BODY, "32MiB", "of one request"),
    OPT_BYTES(struct raw_limits, header_bytes, "header", 1024, LIMIT_HEADER, "8KiB",
              "of one request's head"),
    OPT_BYTES(struct raw_limits, upload_bytes, "upload", 1024, LIMIT_BODY, "256MiB",
              "of a request that brings files: an adapter's, a batch's"),
    OPT_DURATION(struct raw_limits, body_idle_ms, "body_idle", 100, 3600000, "60s",
                 "without a byte of a request's body, before it is given up with 408"),
    OPT_DURATION(struct raw_limits, body_time_ms, "body_time", 100, 86400000, "60s",
                 "for a request's body from its head on, then 408; longer by body_rate"),
    OPT_BYTES(struct raw_limits, body_rate, "body_rate", 0, 1 * GIB, "4KiB",
              "of a body that came give it a second more; 0: none"),
    OPT_DURATION(struct raw_limits, head_time_ms, "head_time", 100, 3600000, "10s",
                 "for a request's head from its first byte on, then 408"),
    OPT_UINT(struct raw_limits, streams, "streams", 1, 1000000, "10000", "connections at once"),
    OPT_END,
};

static const char *const keep_words[] = { "auto", "memory", "redis", NULL };
static const struct option responses_options[] = {
    OPT_WORD(struct config_responses, store, "store", keep_words, "auto",
             "memory: this process; redis: the catalog's; auto: redis where the catalog is there"),
    OPT_DURATION(struct config_responses, ttl_ms, "ttl", 1000, 31536000000, "30d",
                 "kept that long after they were last used"),
    OPT_BYTES(struct config_responses, max_bytes, "max_bytes", 64 * KIB, 64 * GIB, "256MiB",
              "in this process's memory; the longest unused are given up"),
    OPT_END,
};

static const struct option batches_options[] = {
    OPT_TEXT(struct config_batches, folder, "folder", NULL,
             "that keeps files and batches, of this gateway alone; without it they are not served"),
    OPT_BYTES(struct config_batches, max_bytes, "max_bytes", 1 * MIB, 1024 * GIB, "4GiB",
              "of all files; more are refused"),
    OPT_DURATION(struct config_batches, ttl_ms, "ttl", 60000, 31536000000, "30d",
                 "files, and batches that have ended, are kept that long"),
    OPT_UINT(struct config_batches, concurrency, "concurrency", 1, 256, "4",
             "lines under way at once, where nobody else asks"),
    OPT_END,
};

struct raw_gateway {
    struct config_gateway g;
    struct raw_auth auth;
    struct raw_limits limits;
};
static const struct option gateway_options[] = {
    OPT_TEXT(struct raw_gateway, g.listen, "listen", NULL,
             "ADDR:PORT; default: the first of `listeners`, else 127.0.0.1:8080"),
    OPT_SECTION(struct raw_gateway, auth, "auth", auth_options, "who may ask"),
    OPT_SECTION(struct raw_gateway, limits, "limits", limits_options,
                "what a client can make us hold"),
    OPT_UINT(struct raw_gateway, g.http_threads, "http_threads", 0, 256, "0",
             "0: one for each core it may use, at most 8"),
    OPT_DURATION(struct raw_gateway, g.keep_alive_ms, "keep_alive", 100, 3600000, "15s",
                 "silence on a stream before a comment is sent"),
    OPT_DURATION(struct raw_gateway, g.drain_ms, "drain", 0, 3600000, "30s",
                 "after SIGTERM streams may end in this time"),
    OPT_DURATION(struct raw_gateway, g.request_timeout_ms, "request_timeout", 0, 86400000, "10m",
                 "whole request; 0: none"),
    OPT_TEXTS(struct raw_gateway, g.import_folders, "import_folders", 64,
              "folders of this machine whose adapters may be published over HTTP by their path"),
    OPT_BOOL(struct raw_gateway, g.runtime_lora, "runtime_lora", "false",
             "vLLM's load_lora_adapter and unload_lora_adapter for every key, not only operators'"),
    OPT_SECTION(struct raw_gateway, g.responses, "responses", responses_options,
                "responses and conversations that clients may ask for again"),
    OPT_SECTION(struct raw_gateway, g.batches, "batches", batches_options,
                "files and batches of OpenAI's API: many requests, answered in idle time"),
    OPT_WORD(struct raw_gateway, g.log_level, "log_level", log_levels, "info",
             "least level that is logged"),
    OPT_END,
};

struct raw_root {
    struct str version;
    const struct node *listeners, *providers, *routing, *entrypoints, *recipes, *global;
    const struct node *engine, *adapters, *gateway;
};
static const struct option root_options[] = {
    OPT_TEXT(struct raw_root, version, "version", NULL, "of the policy language: v0.3"),
    OPT_NODE(struct raw_root, listeners, "listeners", "addresses, as the policy language has them"),
    OPT_NODE(struct raw_root, providers, "providers", "models behind, and the default model"),
    OPT_NODE(struct raw_root, routing, "routing", "signals, decisions, plugins"),
    OPT_NODE(struct raw_root, entrypoints, "entrypoints", "virtual model names"),
    OPT_NODE(struct raw_root, recipes, "recipes", "named routing profiles"),
    OPT_NODE(struct raw_root, global, "global", "settings of the policy language's own router"),
    OPT_NODE(struct raw_root, engine, "engine", "embedded models"),
    OPT_NODE(struct raw_root, adapters, "adapters", "catalog and residency of LoRA adapters"),
    OPT_NODE(struct raw_root, gateway, "gateway", "the HTTP side"),
    OPT_END,
};

/* ---- reading ---- */

static int resolve(struct str *path, const struct config *c)
{
    if (!path->p || path->n == 0 || path->p[0] == '/')
        return 0;
    char *full = arena_printf(c->arena, "%s/%.*s", c->folder, (int)path->n, path->p);
    if (!full)
        return -ENOMEM;
    *path = str_of(full);
    return 0;
}

static int resolve_all(struct text_list *paths, const struct config *c)
{
    struct str *full = arena_array(c->arena, paths->n + 1, sizeof(*full));
    int r = full ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < paths->n; i++) {
        full[i] = paths->items[i];
        r = resolve(&full[i], c);
    }
    if (r == 0)
        paths->items = full;
    return r;
}

static int read_threads(uint64_t *ret, struct str text, const struct node *at, const char *path,
                        struct problems *p)
{
    if (!text.p || str_is(text, "auto"))
        return 0; /* it has no text only when its model is no map, which is reported */
    if (num_parse_u64(ret, text, 0, 1024) == 0)
        return 0;
    const struct node *threads = node_get(at, "threads");
    return node_problem(p, PROBLEM_error, threads ? threads : at, path,
                        "threads takes auto or a number up to 1024");
}

static bool name_ok(struct str name)
{
    if (name.n == 0 || name.n > LIMIT_NAME)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || strchr(":@\x7f", name.p[i]))
            return false;
    return true;
}

static int worse(int a, int b)
{
    return a == 0 || (b < 0 && b != -EINVAL) ? b : a;
}

/* A model is here or behind: by its path, or its upstream. */
static int check_place(struct raw_model *from, const struct upstream_place *at)
{
    static const char *const local[] = { "slots", "context", "kv_cache",    "threads",
                                         "queue", "batch",   "idle_unload", "draft" };
    struct config_model *m = &from->m;
    const struct node *upstream = node_get(at->at, "upstream");
    const char *path = arena_printf(at->c->arena, "%s.upstream", at->path);
    if (!path)
        return -ENOMEM;
    if (m->path.n && upstream)
        return node_problem(at->p, PROBLEM_error, upstream, path,
                            "a model has a path or an upstream, not both");
    if (m->path.n)
        return 0;
    if (!upstream)
        return node_problem(at->p, PROBLEM_error, at->at, at->path,
                            "'path' or 'upstream' is missing: a GGUF file, or where the model is");
    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        if (node_get(at->at, local[i]))
            (void)node_problem(at->p, PROBLEM_warning, node_get(at->at, local[i]), at->path,
                               "%s has no effect: the model is behind%s", local[i],
                               strcmp(local[i], "context") == 0 ? "; upstream.context is its own"
                                                                : "");
    const struct upstream_place here = { at->c, at->p, upstream, path, NULL };
    m->written = upstream;
    return upstream_finish(&from->upstream, m->name, &here, &m->upstream);
}

/* What the table cannot say of engine.models[i]. */
static int check_model(struct raw_model *from, size_t i, const struct node *at, struct config *c,
                       struct problems *p)
{
    struct config_model *m = &from[i].m;
    char *path = arena_printf(c->arena, "engine.models[%zu]", i);
    if (!path)
        return -ENOMEM;
    m->cache_type = from[i].kv_cache.type;
    int r = 0;
    if (m->name.p && !name_ok(m->name)) /* a missing one is reported */
        r = node_problem(p, PROBLEM_error, at, path,
                         "a model's name has 1 to 256 bytes and no blank, ':' or '@'");
    for (size_t j = 0; j < i && r == 0 && m->name.p; j++)
        if (str_eq(m->name, from[j].m.name))
            r = node_problem(p, PROBLEM_error, at, path,
                             "the name '%.*s' is taken by engine.models[%zu]", STR_ARG(m->name), j);
    r = worse(r, read_threads(&m->threads, from[i].threads, at, path, p));
    m->pricing = pricing_finish(&from[i].pricing, node_get(at, "pricing"));
    r = worse(r, check_place(&from[i], &(struct upstream_place){ c, p, at, path, NULL }));
    return worse(r, resolve(&m->path, c));
}

/* "models/bge-small.gguf" → "bge-small" */
static struct str stem(struct str path)
{
    struct str s = path;
    for (size_t i = path.n; i > 0 && s.n == path.n; i--)
        if (path.p[i - 1] == '/')
            s = str_sub(path, i);
    return s.n > 5 && str_ends(s, STR(".gguf")) ? str_head(s, s.n - 5) : s;
}

/* engine.embedding; the models are read already. */
static int read_embedding(struct config *c, const struct raw_embedding *raw, const struct node *n,
                          struct problems *p)
{
    enum { CALLS = 1024 }; /* at once: requests whose signals or inputs it embeds */
    static const char path[] = "engine.embedding";
    struct config_model *m = &c->engine.embedding;
    const struct config_model *models = c->engine.models.items;
    if (raw->path.n == 0) {
        if (raw->name.n == 0)
            return 0;
        return node_problem(p, PROBLEM_error, n, path, "a name without a path names nothing");
    }
    *m = (struct config_model){ .name = raw->name.n ? raw->name : stem(raw->path),
                                .path = raw->path,
                                .slots = 1,
                                .queue = CALLS,
                                .batch = LIMIT_BATCH_ROWS };
    int r = 0;
    if (!name_ok(m->name))
        r = node_problem(p, PROBLEM_error, n, path,
                         "'%.*s' cannot be a model's name, which has 1 to 256 bytes and no blank, "
                         "':' or '@'; give one with `name`",
                         STR_ARG(str_head(m->name, 64)));
    for (size_t i = 0; i < c->engine.models.n && r == 0; i++)
        if (models[i].name.p && str_eq(m->name, models[i].name))
            r = node_problem(p, PROBLEM_error, n, path,
                             "the name '%.*s' is taken by engine.models[%zu]; give another with "
                             "`name`",
                             STR_ARG(m->name), i);
    r = worse(r, read_threads(&m->threads, raw->threads, n, path, p));
    return worse(r, resolve(&m->path, c));
}

static int read_engine(struct config *c, const struct node *n, struct problems *p)
{
    struct raw_engine raw = { 0 };
    int r = schema_read(&raw, engine_options, n, "engine", c->arena, p);
    if (r < 0 && r != -EINVAL)
        return r;
    struct raw_model *from = raw.models.items;
    struct config_model *to = arena_array(c->arena, raw.models.n, sizeof(*to));
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < raw.models.n; i++) {
        r = worse(r, check_model(from, i, node_at(node_get(n, "models"), i), c, p));
        to[i] = from[i].m;
    }
    c->engine.models = (struct item_list){ to, raw.models.n };
    c->engine.n_own = raw.models.n;
    c->engine.transport = raw.transport;
    c->engine.transport.max_idle_s /= 1000; /* read in ms */
    c->engine.transport.max_age_s /= 1000;
    c->engine.knowledge_bases = raw.knowledge_bases;
    if (raw.knowledge_bases.n)
        r = worse(r, resolve(&c->engine.knowledge_bases, c));
    return worse(r, read_embedding(c, &raw.embedding, node_get(n, "embedding"), p));
}

static int choose_catalog(struct config *c, const struct raw_adapters *raw, const struct node *n,
                          struct problems *p)
{
    const char *env = getenv("ROOTSTOCK_REDIS_URL");
    bool redis =
        raw->catalog.type == CHOICE_redis || (raw->catalog.type == CHOICE_auto && env && env[0]);
    c->adapters.catalog = redis ? CATALOG_redis : CATALOG_directory;
    c->adapters.catalog_url = raw->catalog.url;
    if (redis && !raw->catalog.url.p && env)
        c->adapters.catalog_url = arena_str(c->arena, str_of(env));
    const struct node *at = node_get(n, "catalog") ? node_get(n, "catalog") : n;
    if (redis && c->adapters.catalog_url.n == 0)
        return node_problem(p, PROBLEM_error, at, "adapters.catalog",
                            "type redis needs a url, here or in ROOTSTOCK_REDIS_URL");
    if (raw->catalog.type == CHOICE_directory && raw->catalog.path.n == 0)
        return node_problem(p, PROBLEM_error, at, "adapters.catalog",
                            "type directory needs a path");
    return 0;
}

/* The default's name is a file's, whatever the namespace is. */
static int choose_snapshot(struct config *c, struct str path)
{
    struct config_adapters *a = &c->adapters;
    if (a->catalog != CATALOG_redis || str_is(path, "off"))
        return 0;
    a->catalog_snapshot = path;
    if (path.n)
        return resolve(&a->catalog_snapshot, c);
    char *name = arena_cstr(c->arena, a->catalog_namespace);
    for (char *at = name; at && *at; at++)
        if (*at == '/' || (unsigned char)*at <= ' ')
            *at = '_';
    const char *file =
        name ? arena_printf(c->arena, "%.*s/catalog-%s.snapshot", STR_ARG(a->blob_cache), name)
             : NULL;
    a->catalog_snapshot = str_of(file);
    return file ? 0 : -ENOMEM;
}

static int read_adapters(struct config *c, const struct node *n, struct problems *p)
{
    struct raw_adapters raw = { 0 };
    int r = schema_read(&raw, adapters_options, n, "adapters", c->arena, p);
    if (r < 0)
        return r;
    struct config_adapters *a = &c->adapters;
    a->catalog_path = raw.catalog.path;
    a->catalog_namespace = raw.catalog.namespace;
    a->catalog_user = raw.catalog.user;
    a->catalog_password_env = raw.catalog.password_env;
    a->catalog_password_file = raw.catalog.password_file;
    a->catalog_tls_ca = raw.catalog.tls.ca;
    a->catalog_tls_cert = raw.catalog.tls.cert;
    a->catalog_tls_key = raw.catalog.tls.key;
    a->catalog_tls_insecure = !raw.catalog.tls.verify;
    a->blob_cache = raw.blobs.cache;
    a->blob_max_bytes = raw.blobs.max_bytes;
    a->blobs = raw.blobs.b;
    a->max_bytes = raw.residency.max_bytes;
    a->max_loads = raw.residency.max_loads;
    a->max_rate = raw.residency.max_rate;
    a->on_cold = raw.residency.on_cold;
    a->cold_wait_ms = raw.residency.cold_wait_ms;
    a->on_cold_timeout = raw.residency.on_cold_timeout;
    a->pin = raw.residency.pin;
    a->packing = raw.residency.packing;
    a->canary = raw.canary;
    a->shadow_max = raw.shadow.max_running;
    r = choose_catalog(c, &raw, n, p);
    if (r == 0 && a->catalog == CATALOG_directory && a->blobs.stores.n)
        r = node_problem(p, PROBLEM_warning, node_get(n, "blobs"), "adapters.blobs.store",
                         "has no effect: a directory catalog keeps its files itself");
    if (r == 0)
        r = resolve(&a->catalog_path, c);
    struct str *files[] = { &a->catalog_password_file, &a->catalog_tls_ca, &a->catalog_tls_cert,
                            &a->catalog_tls_key, &a->blob_cache };
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++)
        r = resolve(files[i], c);
    return r < 0 ? r : choose_snapshot(c, raw.catalog.snapshot);
}

/* "ADDR:PORT" of the policy language's first listener. */
static int listen_of_policy(struct config *c, struct problems *p)
{
    const struct node *first = node_at(c->listeners, 0);
    const struct node *address = node_get(first, "address"), *port = node_get(first, "port");
    uint64_t number = 0;
    if (!port)
        return 0;
    if (port->kind != NODE_scalar || num_parse_u64(&number, port->scalar, 1, 65535) < 0)
        return node_problem(p, PROBLEM_error, port, "listeners[0].port",
                            "a port is a number from 1 to 65535");
    struct str host = address && address->kind == NODE_scalar ? address->scalar : STR("127.0.0.1");
    char *text = arena_printf(c->arena, "%.*s:%u", STR_ARG(host), (unsigned)number);
    c->gateway.listen = str_of(text);
    return text ? 0 : -ENOMEM;
}

static int read_gateway(struct config *c, const struct node *n, struct problems *p)
{
    struct raw_gateway raw = { 0 };
    int r = schema_read(&raw, gateway_options, n, "gateway", c->arena, p);
    if (r < 0)
        return r;
    c->gateway = raw.g;
    c->gateway.keys_env = raw.auth.keys_env;
    c->gateway.body_bytes = raw.limits.body_bytes;
    c->gateway.header_bytes = raw.limits.header_bytes;
    c->gateway.head_time_ms = raw.limits.head_time_ms;
    c->gateway.body_idle_ms = raw.limits.body_idle_ms;
    c->gateway.body_time_ms = raw.limits.body_time_ms;
    c->gateway.body_rate = raw.limits.body_rate;
    c->gateway.streams = raw.limits.streams;
    c->gateway.upload_bytes = raw.limits.upload_bytes;
    if (c->gateway.responses.store == KEEP_redis && c->adapters.catalog_url.n == 0)
        return node_problem(p, PROBLEM_error, n, "gateway.responses.store",
                            "'redis' is the one of adapters.catalog.url, which is not given");
    r = resolve_all(&c->gateway.import_folders, c);
    if (r == 0 && c->gateway.batches.folder.n)
        r = resolve(&c->gateway.batches.folder, c);
    if (r == 0 && c->gateway.listen.n == 0)
        r = listen_of_policy(c, p);
    if (c->gateway.listen.n == 0)
        c->gateway.listen = STR("127.0.0.1:8080");
    return r;
}

static int read_root(struct snapshot *s, struct problems *p)
{
    struct raw_root raw = { 0 };
    struct config *c = &s->c;
    const struct node *root = document_root(s->doc);
    int r = schema_read(&raw, root_options, root, "", c->arena, p);
    if (raw.version.p && !str_is(raw.version, "v0.3"))
        r = worse(r, node_problem(p, PROBLEM_error, node_get(root, "version"), "version",
                                  "'%.*s' is not spoken here; write v0.3", STR_ARG(raw.version)));
    c->engine_node = raw.engine;
    c->listeners = raw.listeners;
    c->providers = raw.providers;
    c->routing = raw.routing;
    c->entrypoints = raw.entrypoints;
    c->recipes = raw.recipes;
    c->global = raw.global;
    r = worse(r, read_engine(c, raw.engine, p));
    r = worse(r, backends_read(c, p));
    r = worse(r, read_adapters(c, raw.adapters, p));
    return worse(r, read_gateway(c, raw.gateway, p));
}

static int name_file(struct config *c, const char *file)
{
    c->arena = arena_new(1 * GIB);
    if (!c->arena)
        return -ENOMEM;
    c->file = arena_cstr(c->arena, str_of(file));
    const char *slash = strrchr(file, '/');
    struct str folder = slash == file ? STR("/")
                        : slash       ? (struct str){ file, (size_t)(slash - file) }
                                      : STR(".");
    c->folder = arena_cstr(c->arena, folder);
    return c->file && c->folder ? 0 : -ENOMEM;
}

/* Takes the document over, also when it fails; -EINVAL: *ret is what could be read. */
static int build(struct config **ret, const char *file, struct document *doc, struct problems *p)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    if (!s) {
        document_free(doc);
        return -ENOMEM;
    }
    CLEANUP(config_unrefp) struct config *c = &s->c;
    s->doc = doc;
    atomic_init(&s->refs, 1);
    int r = name_file(c, file);
    if (r == 0)
        r = read_root(s, p);
    if (r == 0 && problems_count(p, PROBLEM_error))
        r = -EINVAL;
    if (r < 0 && r != -EINVAL)
        return r;
    *ret = TAKE(c);
    return r;
}

int config_examine(struct config **ret, const char *path, struct problems *p)
{
    struct document *doc = NULL;
    *ret = NULL;
    int r = document_load(&doc, path, p);
    return r < 0 ? r : build(ret, path, doc, p);
}

int config_of(struct config **ret, const char *file, const struct node *root, struct problems *p)
{
    struct document *doc = NULL;
    *ret = NULL;
    int r = document_wrap(&doc, file, root);
    return r < 0 ? r : build(ret, file, doc, p);
}

int config_load(struct config **ret, const char *path, struct problems *p)
{
    CLEANUP(config_unrefp) struct config *c = NULL;
    int r = config_examine(&c, path, p);
    if (r == 0)
        *ret = TAKE(c);
    return r;
}

int config_parse(struct config **ret, const char *file, struct str text, struct problems *p)
{
    struct document *doc = NULL;
    CLEANUP(config_unrefp) struct config *c = NULL;
    int r = document_parse(&doc, file, text, p);
    if (r == 0)
        r = build(&c, file, doc, p);
    if (r == 0)
        *ret = TAKE(c);
    return r;
}

struct config *config_ref(struct config *c)
{
    atomic_fetch_add(&((struct snapshot *)c)->refs, 1);
    return c;
}

struct config *config_unref(struct config *c)
{
    struct snapshot *s = (struct snapshot *)c;
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return NULL;
    document_free(s->doc);
    if (c->arena)
        arena_free(c->arena);
    free(s);
    return NULL;
}

const struct config_model *config_model(const struct config *c, struct str name)
{
    const struct config_model *models = c->engine.models.items;
    for (size_t i = 0; i < c->engine.models.n; i++)
        if (str_eq(models[i].name, name))
            return &models[i];
    return NULL;
}

void config_print_reference(struct buf *b)
{
    buf_adds(b, "version: v0.3\nengine:\n");
    schema_print(engine_options, 2, b);
    buf_adds(b, "adapters:\n");
    schema_print(adapters_options, 2, b);
    buf_adds(b, "gateway:\n");
    schema_print(gateway_options, 2, b);
}
