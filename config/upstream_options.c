/* What may be written about models behind: tables only. */
#include "base/limits.h"
#include "config/upstream.h"

#define HOUR_MS 3600000.0
#define DAY_MS (24 * HOUR_MS)
#define MAX_WEIGHT 1e6
#define MAX_PRICE 1e9

const char *const upstream_provider_words[] = {
    "openai", "vllm",   "sglang", "llama-server", "ollama", "anthropic",
    "azure",  "gemini", "vertex", "bedrock",      NULL
}; /* upstream_provider */
static const char *const balance_words[] = { "least_request", "p2c", "round_robin", "random",
                                             NULL }; /* enum upstream_balance */
static const char *const affinity_words[] = { "none", "prefix", "session", "auto",
                                              NULL }; /* enum upstream_affinity */

/* ---- tables ---- */

/*
 * Keys of one endpoint. They are read twice: beside `endpoints`, with their defaults, and in each
 * of `endpoints`, without, over a copy of the former.
 */
#define ENDPOINT_KEYS(provider_def, weight_def, priority_def, tls_table, off)                      \
    OPT_WORD(struct raw_endpoint, e.provider, "provider", upstream_provider_words, provider_def,   \
             "what speaks there; openai: and whatever is compatible with it"),                     \
        OPT_TEXT(struct raw_endpoint, e.url, "url", NULL,                                          \
                 "http(s)://host[:port][/path]; default: the provider's, by region where it has "  \
                 "some, or its usual port of this host"),                                          \
        OPT_TEXT(struct raw_endpoint, e.model, "model", NULL,                                      \
                 "the model's name there; azure: the deployment's; default: the name here"),       \
        OPT_TEXT(struct raw_endpoint, e.key_env, "key_env", NULL,                                  \
                 "variable that holds the key; default: the provider's usual one, such as "        \
                 "OPENAI_API_KEY, at the provider's own host"),                                    \
        OPT_TEXT(struct raw_endpoint, e.key_file, "key_file", NULL,                                \
                 "file that holds the key; read again when it changes"),                           \
        OPT_TEXT(struct raw_endpoint, e.tenant_keys_env, "tenant_keys_env", NULL,                  \
                 "variable with tenant=key,...: keys that tenants bring, before everybody's"),     \
        OPT_TEXT(struct raw_endpoint, e.tenant_keys_file, "tenant_keys_file", NULL,                \
                 "file with a line tenant=key each"),                                              \
        OPT_BOOL(struct raw_endpoint, e.client_key, "client_key", off,                             \
                 "pass the client's own authorisation on, instead of a key of ours"),              \
        OPT_NODE(struct raw_endpoint, secret, "key", NULL),                                        \
        OPT_NODE(struct raw_endpoint, secret, "api_key", NULL),                                    \
        OPT_NODE(struct raw_endpoint, secret, "token", NULL),                                      \
        OPT_TEXT(struct raw_endpoint, e.auth_header, "auth_header", NULL,                          \
                 "header of the key; default: the provider's"),                                    \
        OPT_TEXT(struct raw_endpoint, e.auth_prefix, "auth_prefix", NULL,                          \
                 "word before the key, such as Bearer; default: the provider's"),                  \
        OPT_NODE(struct raw_endpoint, headers, "headers",                                          \
                 "map of headers added to every call; \"${NAME}\" is a variable's value"),         \
        OPT_TEXT(struct raw_endpoint, e.path, "path", NULL,                                        \
                 "of chat requests, after the url; default: the provider's"),                      \
        OPT_TEXT(struct raw_endpoint, e.api_version, "api_version", NULL,                          \
                 "of azure; of anthropic: the header anthropic-version"),                          \
        OPT_TEXT(struct raw_endpoint, e.region, "region", NULL,                                    \
                 "of bedrock (default: AWS_REGION) and vertex (default: GOOGLE_CLOUD_LOCATION, "   \
                 "else global)"),                                                                  \
        OPT_TEXT(struct raw_endpoint, e.project, "project", NULL,                                  \
                 "of vertex; default: GOOGLE_CLOUD_PROJECT"),                                      \
        OPT_TEXT(struct raw_endpoint, e.credentials, "credentials", NULL,                          \
                 "file: of bedrock in the form of ~/.aws/credentials, of vertex a service "        \
                 "account's JSON; default: what their own tools read"),                            \
        OPT_TEXT(struct raw_endpoint, e.profile, "profile", NULL,                                  \
                 "of an AWS credentials file; default: AWS_PROFILE, else default"),                \
        OPT_FLOAT(struct raw_endpoint, e.weight, "weight", 0, MAX_WEIGHT, weight_def,              \
                  "share of the requests; 0: only when no other can be asked"),                    \
        OPT_UINT(struct raw_endpoint, e.priority, "priority", 0, 63, priority_def,                 \
                 "lower ones are asked first; the next when none of them can be asked"),           \
        OPT_TEXT(struct raw_endpoint, e.name, "name", NULL,                                        \
                 "in logs and metrics; default: host:port"),                                       \
        OPT_SECTION(struct raw_endpoint, tls, "tls", tls_table, "certificates of an https url"),   \
        OPT_BOOL(struct raw_endpoint, e.http2, "http2", off, "speak HTTP/2 where the server does")

#define TLS_KEYS(verify_def)                                                                       \
    OPT_TEXT(struct raw_endpoint_tls, ca, "ca", NULL,                                              \
             "PEM file of the authorities that sign the server; default: the system's"),           \
        OPT_TEXT(struct raw_endpoint_tls, cert, "cert", NULL,                                      \
                 "PEM file of our certificate, with its chain"),                                   \
        OPT_TEXT(struct raw_endpoint_tls, key, "key", NULL, "PEM file of its key"),                \
        OPT_BOOL(struct raw_endpoint_tls, verify, "verify", verify_def,                            \
                 "check who signed the server's certificate and that it is for the host we call")

static const struct option common_tls_options[] = { TLS_KEYS("true"), OPT_END };
static const struct option own_tls_options[] = { TLS_KEYS(NULL), OPT_END };
const struct option endpoint_options[] = {
    ENDPOINT_KEYS(NULL, NULL, NULL, own_tls_options, NULL),
    OPT_END,
};

#define U(member) u.member
static const struct option timeout_options[] = {
    OPT_DURATION(struct raw_upstream, U(connect_ms), "connect", 1, HOUR_MS, "5s",
                 "to reach an endpoint, TLS included"),
    OPT_DURATION(struct raw_upstream, U(first_byte_ms), "first_byte", 0, DAY_MS, "5m",
                 "silence before an answer begins; one that is not streamed begins when it is "
                 "complete; 0: any"),
    OPT_DURATION(struct raw_upstream, U(idle_ms), "idle", 0, DAY_MS, "2m",
                 "silence in the middle of an answer; 0: any"),
    OPT_DURATION(struct raw_upstream, U(total_ms), "total", 0, DAY_MS, "0",
                 "of a request with all its attempts; 0: gateway.request_timeout alone"),
    OPT_END,
};
static const struct option retry_options[] = {
    OPT_UINT(struct raw_upstream, U(retries), "max", 0, 10, "2",
             "further attempts of one request, over all endpoints; never after an answer began"),
    OPT_TEXTS(struct raw_upstream, retry_on, "when", 4,
              "what is tried again: connect, broken, busy (429, 503 and the like), server (other "
              "5xx); default: all"),
    OPT_FLOAT(struct raw_upstream, U(retry_budget), "budget", 0, 1, "0.2",
              "retries of the last seconds' requests, at most, as a fraction"),
    OPT_UINT(struct raw_upstream, U(retry_min), "min_per_second", 0, 10000, "3",
             "retries a second that are free of the budget"),
    { "max_retry_after", OPTION_duration, offsetof(struct raw_upstream, u.max_retry_after_s), 0,
      DAY_MS, "10s", NULL, NULL, 0,
      "a longer Retry-After is not waited for: the client is told at once" },
    OPT_END,
};
static const struct option health_options[] = {
    OPT_TEXT(struct raw_upstream, U(health_path), "path", NULL,
             "GET of this path of the host checks an endpoint; default: requests alone tell"),
    OPT_DURATION(struct raw_upstream, U(health_interval_ms), "interval", 100, DAY_MS, "10s",
                 "between checks"),
    OPT_DURATION(struct raw_upstream, U(health_timeout_ms), "timeout", 10, HOUR_MS, "2s",
                 "of a check"),
    OPT_UINT(struct raw_upstream, U(eject_errors), "eject_after", 0, 1000, "5",
             "failures in a row before an endpoint is left out; 0: never"),
    OPT_DURATION(struct raw_upstream, U(eject_ms), "eject_time", 1, DAY_MS, "30s",
                 "left out so long, twice as long each time after, up to ten times"),
    OPT_FLOAT(struct raw_upstream, U(eject_max), "eject_max", 0, 1, "0.5",
              "of the endpoints of one priority, as a fraction; the first is always left out where "
              "there is another"),
    OPT_DURATION(struct raw_upstream, U(slow_start_ms), "slow_start", 0, HOUR_MS, "10s",
                 "after coming back its share grows to its own in this time"),
    OPT_UINT(struct raw_upstream, U(breaker_pending), "max_pending", 0, 1000000, "0",
             "requests under way at one endpoint before it is passed over; 0: any"),
    OPT_END,
};
static const struct option hedge_options[] = {
    OPT_DURATION(struct raw_upstream, U(hedge_ms), "after", 0, HOUR_MS, "0",
                 "a second attempt elsewhere when no token came in this time; 0: never"),
    OPT_FLOAT(struct raw_upstream, U(hedge_percentile), "percentile", 0, 0.9999, "0",
              "the time is this percentile of recent first tokens, such as 0.95; until enough are "
              "known `after` counts; 0: not"),
    OPT_FLOAT(struct raw_upstream, U(hedge_budget), "budget", 0, 1, "0.05",
              "second attempts of the last seconds' requests, at most, as a fraction"),
    OPT_END,
};
static const struct option lora_options[] = {
    OPT_BOOL(struct raw_upstream, U(lora.enabled), "enabled", "true",
             "adapters of the catalog are loaded into the engines behind (vllm, sglang), or are "
             "there (llama-server)"),
    OPT_TEXT(
        struct raw_upstream, U(lora.path), "path", NULL,
        "folder of a revision on the engine's host; \"{digest}\", \"{digest2}\" (its first two "
        "digits) and \"{name}\" stand for the revision's; default: folder/{digest2}/{digest}"),
    OPT_TEXT(struct raw_upstream, U(lora.folder), "folder", NULL,
             "folder of this host where revisions are put for the engines"),
    OPT_BYTES(struct raw_upstream, U(lora.folder_bytes), "folder_max", 1, 1e15, "10GiB",
              "of `folder`; above it the revisions that were not in use for the longest time are "
              "removed"),
    OPT_DURATION(struct raw_upstream, U(lora.folder_keep_ms), "folder_keep", 1000, DAY_MS, "10m",
                 "what an engine had loaded, or what was put there, within this time stays in "
                 "`folder`, whatever folder_max says"),
    OPT_UINT(struct raw_upstream, U(lora.max_loras), "max_loras", 0, 4096, "0",
             "adapters in one batch, as the engine was started; 0: the engine's own default"),
    OPT_UINT(struct raw_upstream, U(lora.max_loaded), "max_loaded", 0, 65536, "0",
             "adapters loaded at once (vllm: max_cpu_loras); 0: max_loras"),
    OPT_UINT(struct raw_upstream, U(lora.max_rank), "max_rank", 0, LIMIT_LORA_RANK, "0",
             "greatest rank, as the engine was started; 0: the engine's own default"),
    OPT_BOOL(struct raw_upstream, U(lora.safe_eviction), "safe_eviction", "false",
             "the engine loads one while others decode without evicting a hot one"),
    OPT_DURATION(struct raw_upstream, U(lora.load_timeout_ms), "load_timeout", 100, HOUR_MS, "2m",
                 "of loading one"),
    OPT_DURATION(struct raw_upstream, U(lora.patience_ms), "patience", 10, HOUR_MS, "500ms",
                 "an adapter that waits so long for room, while all others stay in use, gets that "
                 "of the one in use for longest: it answers what it has begun and takes nothing "
                 "new"),
    OPT_TEXTS(
        struct raw_upstream, U(lora.fixed), "fixed", 256,
        "llama-server: its adapters in the order of its --lora options, as name@digest, or by "
        "name: then it is what the plain name means (prod), and other revisions are refused"),
    OPT_END,
};
#undef U

#define PART(key, table, help) OPT_SECTION(struct raw_upstream, common, key, table, help)
const struct option upstream_options[] = {
    ENDPOINT_KEYS("openai", "1", "0", common_tls_options, "false"),
    OPT_NODE(struct raw_upstream, endpoints, "endpoints",
             "list of maps with the keys above, where there are several; what stands above counts "
             "for all that do not say otherwise"),
    OPT_WORD(struct raw_upstream, u.balance, "balance", balance_words, "least_request",
             "who is asked; p2c: the better of two by latency and load"),
    OPT_WORD(struct raw_upstream, u.affinity, "affinity", affinity_words, "none",
             "whom requests stick to: those of one session, those whose prompts begin alike (a "
             "prefix cache knows them), auto: by session where it is known, else by prefix"),
    OPT_FLOAT(struct raw_upstream, u.affinity_load, "affinity_load", 1, 100, "1.25",
              "who is stuck to may have so many times the mean load"),
    OPT_UINT(struct raw_upstream, u.context, "context", 0, LIMIT_CONTEXT, "0",
             "tokens of one request and its answer; 0: unknown"),
    OPT_UINT(struct raw_upstream, u.max_tokens, "max_tokens", 1, LIMIT_CONTEXT, "4096",
             "of an answer, told where the client says none and the provider insists"),
    OPT_BOOL(struct raw_upstream, u.drop_params, "drop_params", "false",
             "what a provider cannot do is left out instead of refused"),
    PART("timeouts", timeout_options, "how long is waited"),
    PART("retry", retry_options, "attempts after the first"),
    PART("health", health_options, "who is left out, and how it comes back"),
    PART("hedge", hedge_options, "second attempts when the first token is slow"),
    PART("lora", lora_options, "adapters on engines behind; they are served where this is there"),
    OPT_END,
};
#undef PART

const struct option transport_options[] = {
    OPT_UINT(struct config_transport, threads, "threads", 0, 64, "0",
             "that speak to engines behind; 0: one for each two cores, at most 4"),
    OPT_UINT(struct config_transport, max_connections, "max_connections", 0, 65536, "0",
             "to one host, each thread; more calls wait; 0: any"),
    { "max_idle", OPTION_duration, offsetof(struct config_transport, max_idle_s), 1000, DAY_MS,
      "60s", NULL, NULL, 0, "a connection is kept unused so long" },
    { "max_age", OPTION_duration, offsetof(struct config_transport, max_age_s), 1000, DAY_MS, "10m",
      NULL, NULL, 0, "... and so long in all, so that a name's new addresses are found" },
    OPT_END,
};

/* In the order of selection's (router/selection/prices.c), for the same words. */
const struct option pricing_options[] = {
    OPT_FLOAT(struct config_pricing, prompt, "prompt_per_1m", 0, MAX_PRICE, "0",
              "a million tokens read"),
    OPT_FLOAT(struct config_pricing, completion, "completion_per_1m", 0, MAX_PRICE, "0",
              "a million tokens written"),
    OPT_TEXT(struct config_pricing, currency, "currency", "USD", "of all of them"),
    OPT_FLOAT(struct config_pricing, cached, "cached_input_per_1m", -1, MAX_PRICE, "-1",
              "a million tokens read from a cache; -1: as any other"),
    OPT_FLOAT(struct config_pricing, cache_write, "cache_write_per_1m", -1, MAX_PRICE, "-1",
              "a million tokens read and put into a cache; -1: as any other"),
    OPT_END,
};
