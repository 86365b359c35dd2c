/*
 * The configuration: one YAML file → one checked, immutable, reference-counted snapshot.
 *
 * Requests hold a reference to the snapshot they began with; a reload publishes a new one and waits
 * for nobody. The policy sections (routing, providers, …) stay nodes here: router and plugins
 * compile them with tables of their own.
 */
#pragma once

#include "config/node.h"
#include "config/schema.h"

enum cache_type { CACHE_f16, CACHE_f32, CACHE_q8_0 };

/* What speaks behind an endpoint. */
enum upstream_provider {
    UPSTREAM_openai, /* and whatever is compatible with it */
    UPSTREAM_vllm,
    UPSTREAM_sglang,
    UPSTREAM_llama_server,
    UPSTREAM_ollama,
    UPSTREAM_anthropic,
    UPSTREAM_azure,
    UPSTREAM_gemini,
    UPSTREAM_vertex,
    UPSTREAM_bedrock,
};

enum upstream_balance {
    BALANCE_least_request, /* of all, by weight */
    BALANCE_p2c,           /* the better of two at random, by latency and load (Peak EWMA) */
    BALANCE_round_robin,   /* by weight */
    BALANCE_random,        /* by weight */
};

enum upstream_affinity {
    AFFINITY_none,
    AFFINITY_prefix,  /* prompts that begin alike go to one endpoint: its prefix cache knows them */
    AFFINITY_session, /* requests of one session do */
    AFFINITY_auto,    /* by session where it is known, else by prefix */
};

enum upstream_retry {
    RETRY_connect = 1, /* it could not be reached, or refused the connection */
    RETRY_broken = 2,  /* the connection broke, or timed out, before an answer came */
    RETRY_busy = 4,    /* 429, 503 and the like: it said "later" */
    RETRY_server = 8,  /* any other 5xx */
    RETRY_all = 15,
};

struct config_pair {
    struct str key, value;
};

struct config_endpoint {
    struct str name;   /* for logs and metrics; default: host:port */
    unsigned provider; /* enum upstream_provider */
    /*
     * "https://host[:port][/path]" without a slash at its end; never empty. Of openai, vllm, sglang
     * and llama_server it ends in the version (".../v1": "/chat/completions" follows); of all
     * others it does not ("/v1/messages", "/openai/...", "/v1beta/...", "/v1/projects/...",
     * "/model/...", "/api/..." follow). The loader adds and cuts, whatever was written.
     */
    struct str url;
    struct str model; /* its name there; never empty */
    struct str path;  /* of chat requests, after the url, instead of the provider's own; or empty */
    double weight;    /* more: more requests; 0: none but the last resort */
    uint64_t priority; /* lower ones first; the next where none of these can be asked */
    /* Credentials; the first that is set counts. `key` comes from policies only, which may hold
     * one: it is never printed. */
    struct str key_env, key_file, key;
    /* Counts where none of these is set: a variable that may be unset; empty: none. The provider's
     * usual one, at the provider's own host only: nobody else is sent its key. */
    struct str usual_env;
    struct str tenant_keys_env;  /* variable with tenant=key,…: what tenants bring themselves */
    struct str tenant_keys_file; /* file with a line tenant=key each */
    bool client_key;             /* pass the client's own authorisation on */
    /* Instead of the provider's own; or empty. A blank stands between prefix and key; a header
     * without a prefix has the key alone. */
    struct str auth_header, auth_prefix;
    const struct config_pair *headers; /* added to every call */
    size_t n_headers;
    struct str api_version;       /* of azure; of anthropic: anthropic-version */
    struct str region, project;   /* of bedrock and vertex */
    struct str credentials;       /* file: AWS profile file, Google service account; or empty */
    struct str profile;           /* of an AWS profile file */
    struct str tls_ca;            /* PEM file; empty: the system's */
    struct str tls_cert, tls_key; /* of ours, PEM; or empty */
    bool tls_insecure;            /* tls.verify: false */
    bool http2;                   /* speak HTTP/2 where the server does */
};

/* What an engine behind does about adapters. */
struct config_upstream_lora {
    bool enabled;
    struct str path;    /* of a revision's folder on the engine's host; "{digest}", "{digest2}" (its
                           first two digits) and "{name}" stand for the revision's */
    struct str folder;  /* of this host: revisions are put there for the engines; or empty */
    uint64_t max_loras; /* adapters in one batch */
    uint64_t max_loaded; /* adapters loaded at once (vLLM: max_cpu_loras) */
    uint64_t max_rank;
    bool safe_eviction; /* the engine may load one while others decode without evicting a hot one */
    uint64_t load_timeout_ms;
    uint64_t folder_bytes;   /* of `folder`, at most; but what was in use lately stays */
    uint64_t folder_keep_ms; /* lately */
    uint64_t patience_ms;    /* so long one waits before one that is in use must make room */
    /* llama-server: its adapters are fixed at its start. Names (adapter@revision's digest or
     * adapter) by their ids there. */
    struct text_list fixed;
};

/* The prices of a model, in `currency` per million tokens. */
struct config_pricing {
    struct str currency;
    double prompt, cached, completion;
    double cache_write; /* of tokens read and put into a cache */
    bool is_set;
};

struct config_upstream {
    struct item_list endpoints; /* struct config_endpoint; none: the model is not behind */
    unsigned balance;           /* enum upstream_balance */
    unsigned affinity;          /* enum upstream_affinity */
    double affinity_load;       /* a home endpoint may have so many times the mean load */
    uint64_t context;           /* tokens; 0: unknown */
    uint64_t max_tokens;        /* told where the client gives none and the provider insists */
    bool drop_params;           /* what a provider cannot do is left out instead of refused */
    /* Deadlines, in ms; 0: none. */
    uint64_t connect_ms, first_byte_ms, idle_ms, total_ms;
    /* Retries: only where nothing of an answer came and the request may be sent again. */
    uint64_t retries;    /* further attempts of one request, over all endpoints */
    unsigned retry_on;   /* bits of enum upstream_retry: what is tried again */
    double retry_budget; /* of the requests of the last seconds, plus retry_min a second */
    uint64_t retry_min;
    uint64_t max_retry_after_s; /* a longer Retry-After is told to the client at once */
    /* Health. */
    struct str health_path; /* GET; empty: no active checks */
    uint64_t health_interval_ms, health_timeout_ms;
    uint64_t eject_errors;  /* consecutive 5xx, refusals and time-outs; 0: never ejected */
    uint64_t eject_ms;      /* the first time; twice as long each time after, up to ten times */
    double eject_max;       /* of the endpoints of one priority, as a fraction */
    uint64_t slow_start_ms; /* after coming back the share grows to its own */
    uint64_t
        breaker_pending; /* requests under way at one endpoint before it is passed over; 0: any */
    /* Hedging: a second attempt elsewhere when no token came in time; 0: never. */
    uint64_t hedge_ms;
    double hedge_percentile; /* instead of hedge_ms, of recent first-token times; 0: not */
    double hedge_budget;     /* of requests, at most, as a fraction */
    struct config_upstream_lora lora;
};

struct config_model {
    struct str name; /* wire name of the base */
    struct config_upstream
        upstream;               /* with endpoints: it is behind, and what follows is not used */
    const struct node *written; /* of one behind: all that says where and how; equal nodes of one
                                   file's versions mean the same */
    struct config_pricing pricing;
    struct str path;     /* GGUF; relative paths are against the configuration file's folder */
    uint64_t slots;      /* sequences decoded together */
    uint64_t context;    /* tokens per sequence; 0: the model's own */
    unsigned cache_type; /* enum cache_type */
    uint64_t threads;    /* 0: auto, one a core */
    uint64_t queue;      /* waiting requests before 429 */
    uint64_t batch;      /* rows of one step, at most: bounds how long a prefill delays decoding */
};

/* Of all calls to engines behind (engine/upstream/transport.h). */
struct config_transport {
    uint64_t threads;         /* 0: one for each two cores, at most 4 */
    uint64_t max_connections; /* to one host, each thread; 0: any */
    uint64_t max_idle_s;      /* a pooled connection lives as long unused */
    uint64_t max_age_s;       /* ... and as long in all */
};

struct config_engine {
    struct item_list models; /* struct config_model; those of providers.models come last */
    size_t n_own;            /* how many are this file's engine.models */
    struct config_transport transport;
    /* Of engine.embedding: path empty without one. Slots and cache do not matter to it. */
    struct config_model embedding;
    struct str knowledge_bases; /* folder of their manifests; resolved; empty: none is named */
};

enum catalog_type { CATALOG_directory, CATALOG_redis };
enum cold_timeout { COLD_fail, COLD_base };
/* The element type that packed adapters are kept in. */
enum adapter_packing { PACKING_source, PACKING_f16, PACKING_int8 };
enum on_cold { ON_COLD_wait, ON_COLD_base, ON_COLD_fail };

struct config_blobs {          /* where files of adapters are kept, and how they are fetched */
    struct text_list stores;   /* URLs, asked in order; the first that can be written is pushed to.
                                  None: the catalog's own */
    struct str s3_endpoint;    /* URL; empty: the environment's, else Amazon's of the region */
    struct str s3_region;      /* empty: the environment's, else us-east-1 */
    struct str s3_credentials; /* file in the form of ~/.aws/credentials; empty: the environment */
    struct str s3_profile;     /* of that file; empty: the environment's, else default */
    bool s3_path_style;        /* http://host/bucket/key, not http://bucket.host/key */
    struct str
        token_env;       /* variable with the bearer token of http(s) and oci stores; empty: none */
    struct str tls_ca;   /* PEM file that https servers must be signed by; empty: the system's */
    uint64_t connect_ms; /* 0: the library's own */
    uint64_t stall_ms;   /* a transfer may stand still as long; 0: for ever */
    uint64_t total_ms;   /* of one call; 0: for ever */
};

/* When a canary is taken back by itself (gateway/canary.h). */
struct config_canary {
    uint64_t window_ms;        /* of the requests that are compared */
    uint64_t min_requests;     /* of the canary, before anything is said of it */
    double max_error_increase; /* of its error rate over that of `prod`, as a fraction */
    double max_latency_ratio;  /* of its first-token time and time per token to those of `prod` */
};

struct config_adapters {
    unsigned catalog;        /* enum catalog_type */
    struct str catalog_path; /* of a directory; resolved */
    struct str catalog_url;  /* of redis: adapters/redis_url.h says what may be written */
    struct str catalog_namespace;
    struct str
        catalog_snapshot;    /* file of the catalog's last state; resolved; empty: none is kept */
    struct str catalog_user; /* of redis; empty: that of the URL */
    struct str catalog_password_env;  /* name of the variable; empty: none */
    struct str catalog_password_file; /* resolved; empty: none */
    struct str catalog_tls_ca, catalog_tls_cert, catalog_tls_key; /* PEM; resolved; empty: none */
    bool catalog_tls_insecure;                                    /* tls.verify: false */
    struct str blob_cache; /* folder of the content-addressed blob cache; resolved */
    uint64_t blob_max_bytes;
    struct config_blobs blobs;
    uint64_t max_bytes; /* of resident adapters */
    uint64_t max_loads; /* at once */
    uint64_t max_rate;  /* bytes a second that begin to load; 0: any */
    unsigned on_cold;   /* enum on_cold */
    uint64_t cold_wait_ms;
    unsigned on_cold_timeout; /* enum cold_timeout */
    struct text_list pin;     /* adapter names kept resident */
    unsigned packing;         /* enum adapter_packing */
    struct config_canary canary;
    uint64_t shadow_max; /* shadow requests under way at once */
};

enum keep_where { KEEP_auto, KEEP_memory, KEEP_redis };

/* What clients may ask for again: responses and conversations. */
struct config_responses {
    unsigned store; /* enum keep_where; auto: where the catalog is */
    uint64_t ttl_ms;
    uint64_t max_bytes; /* in the memory of this process */
};

/* Files and batches of clients: OpenAI's Batch API. */
struct config_batches {
    struct str folder;  /* resolved; empty: they are not served */
    uint64_t max_bytes; /* of all files */
    uint64_t ttl_ms;
    uint64_t concurrency; /* lines under way at once, where nobody else asks */
};

struct config_gateway {
    struct str listen; /* "127.0.0.1:8080" */
    struct str
        keys_env; /* name of the variable with "key[=tenant],…"; NULL: no auth, loopback only */
    uint64_t body_bytes, header_bytes, streams;
    uint64_t head_time_ms; /* for a head, from its first byte to its last */
    uint64_t body_idle_ms; /* without a byte of a body that is due, before it is given up */
    uint64_t body_time_ms; /* for a body, and a second more for each body_rate bytes of it */
    uint64_t body_rate;    /* 0: no more */
    uint64_t upload_bytes; /* of a request that brings files: an adapter's, a batch's */
    /* Folders of this machine from which adapters may be published over HTTP; resolved. */
    struct text_list import_folders;
    bool runtime_lora; /* vLLM's load and unload are served to everybody, not only to operators */
    uint64_t http_threads;       /* 0: auto */
    uint64_t keep_alive_ms;      /* silence on a stream before a comment is sent */
    uint64_t drain_ms;           /* SIGTERM: streams may end in this time */
    uint64_t request_timeout_ms; /* whole request; 0: none */
    unsigned log_level;          /* enum log_level */
    struct config_responses responses;
    struct config_batches batches;
};

struct config {
    struct config_engine engine;
    struct config_adapters adapters;
    struct config_gateway gateway;
    /* Sections of the v0.3 policy language, NULL when absent; borrowed from the snapshot. */
    const struct node *engine_node; /* the section `engine` as written; NULL when absent */
    const struct node *listeners, *providers, *routing, *entrypoints, *recipes, *global;
    const char *file;    /* as given */
    const char *folder;  /* that holds it */
    struct arena *arena; /* for what other folders derive at load; frozen once published */
};

/* 0; -EINVAL: `p` says why; other negative errno. The file may lack every section. */
int config_load(struct config **ret, const char *path, struct problems *p) MUST_USE;
int config_parse(struct config **ret, const char *file, struct str text,
                 struct problems *p) MUST_USE;
/*
 * As config_load, but with -EINVAL *ret holds what could be read (NULL when the file is not YAML at
 * all), so that a checker finds the problems of the other folders too. Never serve such a one.
 */
int config_examine(struct config **ret, const char *path, struct problems *p) MUST_USE;
/* As config_examine, of a tree that outlives the snapshot. */
int config_of(struct config **ret, const char *file, const struct node *root,
              struct problems *p) MUST_USE;
struct config *config_ref(struct config *c);   /* any thread */
struct config *config_unref(struct config *c); /* any thread; NULL is fine; returns NULL */
DEFINE_CLEANUP(struct config *, config_unref);

const struct config_model *config_model(const struct config *c,
                                        struct str name); /* NULL: unknown */
struct config_tokens {
    uint64_t prompt, completion;
    uint64_t cached, cache_write; /* of prompt */
};
/* Of one request, in the prices' currency. 0 where no price is known. */
double config_cost(const struct config_pricing *p, const struct config_tokens *t);
const char *
config_provider_word(unsigned provider); /* of enum upstream_provider: as it is written */
void config_print_reference(
    struct buf *b); /* every option of ours, with default and help, as YAML */
