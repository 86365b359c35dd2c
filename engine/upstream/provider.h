/*
 * Provider: a wire API behind us. Writes a chat request as a call of it, and reads its answers,
 * whole or streamed and cut anywhere, as the engine's events.
 *
 * Pure translation: no I/O, no clock, no locks. One file a provider. An instance of a reader is for
 * one answer and one thread.
 */
#pragma once

#include "config/config.h"
#include "engine/engine.h"
#include "engine/upstream/transport.h"

/* What is to be written, beside the request. */
struct provider_job {
    const struct chat_request *request;
    uint32_t choice; /* which of its n this job answers, where each has a job of its own */
    bool verbatim;   /* pass the client's body on, and the answer's events back, as they are */
    const struct config_upstream *upstream;
    const struct config_endpoint *endpoint;
    struct str model;  /* its name there: the endpoint's, or an adapter's */
    struct str secret; /* the key or token (upstream/credentials.h); empty: none */
    uint64_t now_s;    /* Unix time, for signatures */
    const char *request_id;
    const struct chat_pair *headers; /* of the client's request; passing_headers picks */
    size_t n_headers;
    const struct chat_pair
        *adapter; /* llama-server: {"lora": [...]} as JSON member and value; NULL */
};

/* A call, ready for the transport. */
enum { PROVIDER_HEADERS = 64 }; /* of a call at most */
struct provider_call {
    struct buf url;      /* NUL-terminated */
    struct buf body;     /* ceiling LIMIT_UPSTREAM_BODY */
    struct arena *arena; /* owned; of the headers */
    struct chat_pair *headers;
    size_t n_headers, cap_headers;
};
void provider_call_done(struct provider_call *call);
/* Adds, or replaces one of the same name (compared without case). 0, -ENOMEM, -E2BIG. A value with
 * a control character is -EINVAL: nothing may smuggle a second header. */
int provider_call_header(struct provider_call *call, const char *name, struct str value);

struct provider_reader;

/* What a reader tells; events are borrowed during the call. */
struct reader_out {
    void (*event)(void *owner, const struct engine_event *event);
    void *owner;
};

/* Whether what was refused may do elsewhere, or here later. */
enum refusal_kind {
    REFUSAL_final,     /* the request is at fault: nobody else will take it */
    REFUSAL_elsewhere, /* this endpoint will not: credentials, quota, unknown model */
    REFUSAL_later,     /* overloaded or rate limited: elsewhere now, or here after retry_after */
    REFUSAL_broken,    /* it has a fault: counts against its health */
};

struct provider_refusal {
    struct fail fail; /* retry_after_s set where the answer says so */
    enum refusal_kind kind;
    bool no_adapter; /* the model named is not loaded there */
    struct str body; /* the whole document, in the request's wire, borrowed from `body`; or empty */
};

struct provider {
    const char *name; /* "anthropic", as logs and metrics say it */
    /* Whether it takes bodies of that wire as they are (job.verbatim). */
    bool (*speaks)(enum wire wire);
    /* Where that depends on the model; NULL: `speaks` says it of all. Ask provider_speaks. */
    bool (*speaks_at)(const struct config_endpoint *e, enum wire wire);
    /* Fills *ret (zeroed, its buffers and arena made). FAILED names the field that this provider
     * cannot do (unsupported_parameter), unless upstream.drop_params drops it. */
    int (*write)(struct provider_call *ret, const struct provider_job *job, struct fail *reterr);
    /* For an answer of status 200. NULL: no memory. `job` is borrowed for the reader's life. */
    struct provider_reader *(*reader_new)(const struct provider_job *job,
                                          const struct call_head *head, struct reader_out out);
    /*
     * Bytes of the body, cut anywhere. Emits text, reasoning, tool_call or verbatim events and, at
     * most once, done or failed; after that whatever comes is passed over. 0 or -ENOMEM.
     */
    int (*read)(struct provider_reader *r, struct str bytes);
    /* The body ended as HTTP has it end. Emits failed (upstream_error: it names what is missing)
     * unless done or failed was emitted: an end without its sign is never a success. */
    void (*end)(struct provider_reader *r);
    void (*reader_free)(struct provider_reader *r);
    /* An answer of another status → what the client is told. `body` may be cut at 64 KiB. */
    void (*refusal)(const struct provider_job *job, const struct call_head *head, struct str body,
                    struct provider_refusal *ret);
    /* Embeddings: {"input"} → vectors, embed_max inputs a call (NULL: as many as there are). NULL:
     * not served. */
    size_t (*embed_max)(const struct provider_job *job);
    int (*write_embed)(struct provider_call *ret, const struct provider_job *job,
                       const struct embed_input *inputs, size_t n, struct fail *reterr);
    /* Address and headers of a call of one of the smaller APIs: "/moderations", "/embeddings",
     * "/v1/messages/count_tokens". Its body is written already, as the client has it; of one in
     * another wire it is written anew, from job->request where that is `decoded`. FAILED with
     * unsupported_parameter: this one is not served. NULL: none is. */
    int (*write_relay)(struct provider_call *ret, const struct provider_job *job, const char *path,
                       bool decoded, struct fail *reterr);
    /* Its answer in the client's words, appended. NULL: it comes in them. */
    int (*read_relay)(const struct provider_job *job, struct str body, struct buf *ret,
                      struct fail *reterr);
    int (*read_embed)(const struct provider_job *job, struct str body, size_t n,
                      struct embed_result *ret, struct fail *reterr);
};

const struct provider *provider_of(enum upstream_provider p); /* never NULL */
/* Whether an endpoint takes bodies of that wire as they are: what job.verbatim may be. */
bool provider_speaks(const struct config_endpoint *e, enum wire wire);

/* ---- for those who write one ---- */

/* Readers of event streams share this beginning. */
struct provider_reader {
    const struct provider_job *job;
    struct reader_out out;
    bool ended; /* done or failed was emitted */
    struct engine_usage usage;
};
void reader_event(struct provider_reader *r, struct engine_event *event); /* fills usage */
void reader_text(struct provider_reader *r, struct str text);             /* empty: nothing */
void reader_reasoning(struct provider_reader *r, struct str text);
void reader_done(struct provider_reader *r, enum finish_reason finish); /* once */
void reader_fail(struct provider_reader *r, enum fail_code code, const char *fmt, ...)
    PRINTF_LIKE(3, 4); /* once; the provider's name is put before it */

/* Retry-After in seconds: whole seconds, an HTTP date against now_s, retry-after-ms; 0: none, or
 * nonsense. */
unsigned refusal_retry_after(const struct call_head *head, uint64_t now_s);
/* The status' usual meaning, where the body says no more. */
void refusal_by_status(struct provider_refusal *ret, unsigned status, struct str message);

/* The headers of the client's request that a provider of the same wire gets: anthropic-* and
 * openai-* among them, never credentials, cookies or hop-by-hop ones. */
int passing_request_headers(struct provider_call *call, const struct provider_job *job);
/* Of an answer's head, those that the client may see: rate limits, request ids, openai-* … In
 * `out`, `max` of them; returns how many. */
size_t passing_response_headers(const struct call_head *head, struct chat_pair *out, size_t max);
