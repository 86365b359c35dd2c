/*
 * Engine: anything that turns a chat request into a stream of events.
 *
 * Submitting copies what it keeps, so the request may change afterwards; the lease is moved. Events
 * arrive on the engine's own thread, in order, and end with exactly one DONE or FAILED, also after
 * a cancel. A handler must not block and must not call back into the engine except engine_cancel
 * and engine_pause.
 */
#pragma once

#include "base/buf.h"
#include "base/fail.h"
#include "base/sha256.h"
#include "engine/chat.h"

struct engine;
struct engine_job; /* one choice in flight; counted reference */
struct lora;       /* a packed adapter of this engine (engine/local/lora.h) */

enum finish_reason {
    FINISH_stop,
    FINISH_length,
    FINISH_cancelled,
    FINISH_content_filter,
    FINISH_tool_calls
};
const char *finish_reason_word(enum finish_reason r); /* "stop", "length", …; cancelled is "stop" */

struct engine_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    uint32_t reasoning_tokens;   /* of completion_tokens */
    uint32_t cache_write_tokens; /* of prompt_tokens: put into the cache of an engine behind */
};

struct token_logprob {
    int32_t id;
    float logprob;
    struct str bytes; /* the token's own bytes; may be part of a UTF-8 sequence */
};

struct engine_token {
    struct token_logprob chosen;
    const struct token_logprob *top; /* most likely first */
    size_t n_top;
    bool hidden; /* a control token: its bytes are no part of the text */
};

enum engine_event_kind {
    ENGINE_EVENT_admitted,  /* left the queue; queue_us is set */
    ENGINE_EVENT_text,      /* whole UTF-8 characters, never part of a stop string */
    ENGINE_EVENT_reasoning, /* likewise, of the model's thinking, without the marks around it */
    ENGINE_EVENT_tool_call, /* `call`: a new call, or more of its arguments */
    /* Where spec.verbatim: `text` is one event of the stream, or the whole answer, as the engine
     * behind wrote it (JSON of the request's wire; `name` is the SSE event's), instead of the four
     * above. The model's name in it is the engine's own. */
    ENGINE_EVENT_verbatim,
    ENGINE_EVENT_done,
    ENGINE_EVENT_failed,
};

struct engine_call {
    uint32_t index;       /* 0, 1, …: of the answer's calls */
    struct str id, name;  /* of a call's first event; else empty */
    struct str arguments; /* JSON text, to be appended */
};

/* Bytes of an event's text; n 0: none. */
struct engine_span {
    size_t at, n;
};

/* What a verbatim event of OpenAI's wire has, as its reader found it: values of members. */
struct engine_found {
    struct engine_span model, choices, usage;
    size_t usage_key; /* where the key of `usage` begins, with its quote */
    bool lacks;       /* of a whole answer: a choice is without what OpenAI's always have */
};

struct engine_event {
    enum engine_event_kind kind;
    struct str text;                   /* borrowed during the call */
    struct str name;                   /* of verbatim: likewise; may be empty */
    bool has_content;                  /* of verbatim: text, reasoning or a call is in it */
    struct engine_found found;         /* of verbatim */
    struct str signature;              /* of reasoning: to be given back with it; or empty */
    struct str redacted;               /* of reasoning: itself, unreadable to us; or empty */
    const struct engine_token *tokens; /* those behind the text, when logprobs were asked for; else
                                          only their ids are valid when `want_tokens` was set */
    size_t n_tokens;
    bool is_prompt;  /* of text: a piece of the prompt, before all other text, where prompt_logprobs
                        asks for it; its first token has no log-probability (NaN) */
    bool is_refusal; /* of text: the model says why it will not answer; such text comes alone */
    float mean_logprob;        /* of done: of what was chosen, where best_of > n needs it */
    struct engine_call call;   /* borrowed during the call */
    enum finish_reason finish; /* of done */
    struct str stop;           /* of done: the stop string that ended it; empty: none, or unknown */
    struct engine_usage usage; /* so far; final in done and failed */
    uint64_t queue_us;
    /* Of admitted, from an engine behind: what of its answer's head is the client's to know. */
    const struct chat_pair *headers;
    size_t n_headers;
    const struct fail *fail; /* of failed: borrowed during the call; else NULL */
    unsigned status;         /* of failed: the engine behind refused with this status, and `text` is
                                its error object in the request's wire; 0: `fail` says all */
};

typedef void (*engine_event_fn)(void *owner, const struct engine_event *event);

/* A revision that an engine behind must answer with; it loads the files itself. */
struct engine_adapter {
    struct str name;      /* "tenant/adapter", for people */
    struct sha256 digest; /* of the revision: what it is called over there */
    uint32_t rank;
    bool is_other; /* a revision that the adapter's plain name does not mean: one that was asked
                      for, or a canary */
};

struct engine_spec {
    const struct chat_request *request; /* borrowed until the last event */
    uint32_t choice;                    /* 0 … n−1: gives each choice its own random stream */
    const struct lora
        *lora; /* NULL: the bare base. Must outlive the job: keep its lease until done */
    const struct sha256 *lora_digest; /* keys the KV cache; NULL with no lora, or for one that
                                         shares no computed state with any other job */
    const float *lora_scale;          /* multiplies the adapter's part, 0: none of it; NULL: 1 */
    uint64_t tenant;                  /* engine_tenant: whose turn counts when slots of this process
                                         are scarce */
    uint32_t weight;                  /* of the tenant's share; 0: 1 */
    bool want_tokens;                 /* token ids with every text event */
    uint64_t deadline_ms;             /* monotonic; CLOCK_NEVER */
    /* For an engine behind; all borrowed until the last event. A local one ignores them. */
    bool verbatim; /* where it speaks the request's wire, its events come as they are, and one job
                      answers all choices; else as ever. engine_speaks says which */
    const struct engine_adapter *adapter; /* NULL: the base */
    struct str tenant_name;               /* whose keys; empty: those of everybody */
    struct str session;                   /* requests of one prefer one endpoint; empty: none */
    struct str request_id;                /* told to the engine behind */
    const struct chat_pair *headers;      /* of the client's request: what may be passed on is */
    size_t n_headers;
    engine_event_fn on_event;
    void *owner; /* given to on_event */
};

/* What spec.tenant is for a tenant of this name; 0, that of all without one, for no name. */
uint64_t engine_tenant(struct str name);

/*
 * Any thread. 0: events will come, and *ret is the caller's reference. FAILED: *reterr says why —
 * context_length_exceeded, invalid_request (template), queue_full with retry_after_s, overloaded
 * while draining — and no event comes.
 */
int engine_submit(struct engine *e, struct engine_job **ret, const struct engine_spec *spec,
                  struct fail *reterr) MUST_USE;
void engine_cancel(
    struct engine_job *job); /* any thread, any number of times; done/failed still comes */
/* Any thread, also a handler: events stop soon, and nothing more is read from the engine behind
 * until it is resumed. A local engine does not stop. */
void engine_pause(struct engine_job *job, bool paused);
struct engine_job *engine_job_unref(struct engine_job *job); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct engine_job *, engine_job_unref);

/* Whether the engine is behind, over HTTP: it keeps no lora of ours in memory. */
bool engine_is_upstream(const struct engine *e);
/* Whether it can be given bodies of that wire as they are. */
bool engine_speaks(const struct engine *e, enum wire wire);

/*
 * Prompt ids of a request (template rendered, tokenised): for counting and for the context signal.
 * The ids are the caller's (free). Any thread.
 */
int engine_tokenize(struct engine *e, int32_t **ret_ids, size_t *ret_n,
                    const struct chat_request *request, struct fail *reterr) MUST_USE;
/* Tokens of a plain text, no special tokens, LIMIT_CONTEXT where it has more; negative errno on
 * failure. Any thread. */
ptrdiff_t engine_count_tokens(struct engine *e, struct str text);
/*
 * Appends the text of token ids: malformed bytes become U+FFFD; control tokens, and ids that the
 * model does not have, give nothing. Any thread.
 */
void engine_detokenize(struct engine *e, const int32_t *ids, size_t n, struct buf *out);

struct engine_encoding {
    struct str text;
    bool ends;     /* begin with BOS and end with EOS (or CLS and SEP) where the model says so */
    bool specials; /* control tokens spelt in the text become those tokens */
    size_t max;    /* tokens; 0: LIMIT_CONTEXT */
};
/*
 * Ids of a plain text, the caller's (free); none for an empty one is no failure. FAILED:
 * context_length_exceeded past `max` tokens. Takes as long as the text is long. Any thread.
 */
int engine_encode(struct engine *e, const struct engine_encoding *what, int32_t **ret_ids,
                  size_t *ret_n, struct fail *reterr) MUST_USE;
/* As engine_detokenize, with control tokens spelt. FAILED: an id that the model does not have,
 * named with its position. Any thread. */
int engine_spell(struct engine *e, const int32_t *ids, size_t n, struct buf *out,
                 struct fail *reterr) MUST_USE;
/* A token as the vocabulary stores it ("▁the", "Ġthe", "<s>"), borrowed; appends to `bytes` (may be
 * NULL) what it stands for. p NULL: no such id. Any thread. */
struct str engine_token(const struct engine *e, int32_t id, struct buf *bytes);

/*
 * Embeddings and classification: one forward over each input, no sampling. They block until
 * computed, inputs of concurrent callers share steps, and they may be called from any thread that
 * may block (not from an event handler).
 */
struct embed_input {
    struct str text;    /* used where ids is NULL */
    const int32_t *ids; /* token ids, taken as they are */
    size_t n_ids;
};

struct embed_result {
    float *values; /* owned: n rows of `width` */
    size_t n, width;
    uint64_t tokens; /* of all inputs */
};
void embed_result_done(struct embed_result *r);
/* Makes n numbers a vector of length 1, as after leaving some out; zeros stay zeros. */
void embed_unit_length(float *v, size_t n);

/* Vectors of unit length, pooled as the model says (mean, CLS, last token). FAILED:
 * context_length_exceeded (names the input), a model that cannot embed. */
int engine_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                 struct embed_result *ret, struct fail *reterr) MUST_USE;
/*
 * A body of one of OpenAI's (or Anthropic's) smaller APIs to an engine behind that serves it, with
 * its own name for the model; blocks like embedding. FAILED: unsupported_parameter where it has no
 * such API (and of every local engine); with ret->status set it refused in these very words.
 */
struct engine_relay {
    const char *path;                /* "/moderations", below the API's own root */
    struct str body;                 /* a JSON object with `model` … */
    const struct chat_request *chat; /* … and what it says, where that is a chat; or NULL */
    struct str tenant_name, request_id;
    const struct chat_pair *headers; /* as of engine_spec */
    size_t n_headers;
};
struct engine_relayed {
    unsigned status; /* 200; or of a refusal; 0: nothing was answered */
    struct buf body; /* owned: buf_done */
};
int engine_relay(struct engine *e, const struct engine_relay *what, struct engine_relayed *ret,
                 struct fail *reterr) MUST_USE;

/* Raw scores of a sequence-classification head, one row an input. */
int engine_classify(struct engine *e, const struct embed_input *inputs, size_t n,
                    struct embed_result *ret, struct fail *reterr) MUST_USE;
/* Raw scores of a token-classification head for one text: one row a token, with its byte range. */
struct token_range {
    uint32_t begin, end; /* bytes of the text; equal for special tokens */
};
int engine_classify_tokens(struct engine *e, struct str text, struct embed_result *ret,
                           struct token_range **ret_ranges, struct fail *reterr) MUST_USE;
/* The head's label i ("LABEL_0" where the file has no names); empty past the last. */
struct str engine_label(const struct engine *e, size_t i);

uint32_t engine_context(const struct engine *e); /* tokens of one sequence */
size_t engine_load(const struct engine *e, size_t *ret_running,
                   size_t *ret_waiting); /* sum of both */
void engine_drain(struct engine *e);     /* refuse new jobs; running ones go on */
struct engine *
engine_free(struct engine *e); /* cancels what runs, joins its threads; NULL is fine */
DEFINE_CLEANUP(struct engine *, engine_free);

/* For those who implement one (engine/local/engine_local.c, engine/upstream/). */
struct engine_ops {
    int (*submit)(struct engine *e, struct engine_job **ret, const struct engine_spec *spec,
                  struct fail *reterr);
    void (*cancel)(struct engine_job *job);
    void (*pause)(struct engine_job *job, bool paused); /* may be NULL: it never stops */
    void (*unref)(struct engine_job *job);
    /* NULL: a local engine. */
    bool (*speaks)(const struct engine *e, enum wire wire);
    int (*tokenize)(struct engine *e, int32_t **ret_ids, size_t *ret_n,
                    const struct chat_request *request, struct fail *reterr);
    ptrdiff_t (*count_tokens)(struct engine *e, struct str text);
    void (*detokenize)(struct engine *e, const int32_t *ids, size_t n, struct buf *out);
    /* All three, or NULL: not served. */
    int (*encode)(struct engine *e, const struct engine_encoding *what, int32_t **ret_ids,
                  size_t *ret_n, struct fail *reterr);
    int (*spell)(struct engine *e, const int32_t *ids, size_t n, struct buf *out,
                 struct fail *reterr);
    struct str (*token)(const struct engine *e, int32_t id, struct buf *bytes);
    /* The four below may be NULL: not served. */
    int (*embed)(struct engine *e, const struct embed_input *inputs, size_t n,
                 struct embed_result *ret, struct fail *reterr);
    int (*classify)(struct engine *e, const struct embed_input *inputs, size_t n,
                    struct embed_result *ret, struct fail *reterr);
    int (*classify_tokens)(struct engine *e, struct str text, struct embed_result *ret,
                           struct token_range **ret_ranges, struct fail *reterr);
    struct str (*label)(const struct engine *e, size_t i);
    int (*relay)(struct engine *e, const struct engine_relay *what, struct engine_relayed *ret,
                 struct fail *reterr); /* may be NULL: not served */
    uint32_t (*context)(const struct engine *e);
    size_t (*load)(const struct engine *e, size_t *ret_running, size_t *ret_waiting);
    void (*drain)(struct engine *e);
    void (*free)(struct engine *e);
};

struct engine { /* first member of an implementation's own struct */
    const struct engine_ops *ops;
};

struct engine_job { /* first member of an implementation's own struct */
    const struct engine_ops *ops;
};
