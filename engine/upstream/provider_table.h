/*
 * For those who write a provider: who there is, and what they share beyond provider.h.
 */
#pragma once

#include "base/json_view.h"
#include "engine/upstream/provider.h"
#include "engine/upstream/sse.h"

extern const struct provider openai_provider, vllm_provider, sglang_provider, llama_server_provider,
    ollama_provider, azure_provider, anthropic_provider, gemini_provider, vertex_provider,
    bedrock_provider;

/* "vllm": what the provider is called in configuration, logs and messages. */
const char *provider_word(unsigned provider);

/* ---- writing ---- */

/*
 * What this provider cannot do: 0 where upstream.drop_params leaves it out, else FAILED with
 * unsupported_parameter naming the field. `what` completes the sentence "… is not served by X: ".
 */
int provider_cannot(const struct provider_job *job, struct fail *reterr, const char *param,
                    const char *what) MUST_USE;
/*
 * Every header of a call but what is the provider's own alone: JSON's content type, the client's
 * passing ones where the body is the client's, the request id, the credential in `auth_header`
 * after `auth_prefix` (the endpoint may say otherwise, or take the client's own; either NULL: the
 * caller signs it), and the endpoint's own, which go before all others. 0, or as
 * provider_call_header.
 */
int provider_headers(struct provider_call *call, const struct provider_job *job,
                     const char *auth_header, const char *auth_prefix) MUST_USE;
/* The key to use: job->secret, or the client's own where the endpoint passes that on. */
struct str provider_secret(const struct provider_job *job);
/* 0, -ENOMEM, or FAILED (request_too_large): the buffers' errors, once at the end. */
int provider_written(const struct provider_call *call, struct fail *reterr) MUST_USE;

/*
 * Tool names, for providers that take only letters, digits, '_' and '-', and at most `max` bytes
 * (up to TOOL_NAME_SENT): what does not fit is respelt and gets digits of its hash, so that two
 * names never become one.
 */
enum { TOOL_NAME_SENT = 128 };
struct str provider_tool_name(struct str name, size_t max, char into[static TOOL_NAME_SENT + 1]);
/* The request's own name for one that was sent; `sent` itself where none is. */
struct str provider_tool_original(const struct chat_request *c, struct str sent, size_t max);
/* The tools that are told, `*ret_n` of them, also where none may be called. */
const struct chat_tool *provider_tools(const struct chat_request *c, size_t *ret_n);
/* The text of a tool's arguments as a JSON object: `{}` where they are none. */
struct str provider_arguments(struct str arguments);

/* The parts of a message's content as they are to be sent: those of the client; where a plugin
 * replaced the text, the new text before what is no text. */
struct part_walk {
    const struct chat_message *message;
    size_t next;
    bool is_replaced, has_text;
};
struct part_walk provider_parts(const struct chat_message *m);
bool provider_next_part(struct part_walk *w, struct chat_part *ret);
bool provider_has_media(const struct chat_message *m); /* parts that are no text */

/* What was thought before a message, in its blocks: a text with its signature (or without), or what
 * nobody but its provider can read. */
struct thought_walk {
    const struct chat_message *message;
    size_t next;
};
struct thought_walk provider_thoughts(const struct chat_message *m);
bool provider_next_thought(struct thought_walk *w, struct chat_thought *ret);
/* Whether anybody but the system says anything. */
bool provider_has_turns(const struct chat_request *c);
bool provider_is_system(const struct chat_message *m); /* or developer */

/* Turns of a conversation: {"role":…,ITEMS:[…]}, neighbours of one role in one. */
struct turn_list {
    struct buf *b;
    const char *items;
    struct str role; /* of the open one; empty: none is */
    bool has_items;  /* in it */
    bool has_turns;
};
void provider_open_turn(struct turn_list *t, struct str role);
void provider_close_turn(struct turn_list *t);
void provider_begin_item(struct turn_list *t); /* a comma where one is needed */

/* The address that the endpoint has instead of the wire's own. false: none. */
bool provider_own_path(struct provider_call *call, const struct config_endpoint *e);
bool provider_speaks_none(enum wire wire); /* provider.speaks, where that depends on the model */

/* The shortest decimal that reads back as the same float. */
void provider_add_float(struct buf *b, float value);
/* `,"key":` — bodies begin with the model, so that every other member has a comma before it. */
void provider_add_key(struct buf *b, const char *key);
/* How much thinking the request asks for, as a word of reasoning_effort: its own, or by its budget;
 * empty: it does not say. */
struct str provider_effort(const struct chat_request *c);
/* Field names of what is asked for and only some engines do: for provider_cannot. */
enum knob {
    KNOB_top_k = 1 << 0,
    KNOB_min_p = 1 << 1,
    KNOB_typical_p = 1 << 2,
    KNOB_repetition = 1 << 3,
    KNOB_presence = 1 << 4,
    KNOB_frequency = 1 << 5,
    KNOB_seed = 1 << 6,
    KNOB_bias = 1 << 7,
    KNOB_min_tokens = 1 << 8,
    KNOB_stop_ids = 1 << 9,
    KNOB_ignore_eos = 1 << 10,
    KNOB_keep_stop = 1 << 11,
    KNOB_keep_special = 1 << 12,
    KNOB_logprobs = 1 << 13,
    KNOB_prompt_logprobs = 1 << 14,
    KNOB_grammar = 1 << 15,
    KNOB_regex = 1 << 16,
    KNOB_choice = 1 << 17,
    KNOB_kwargs = 1 << 18,
};
/* 0, or FAILED for the first that the request uses and `served` (a set of them) lacks; those that
 * drop_params leaves out are not in *ret_use. */
int provider_knobs(const struct provider_job *job, unsigned served, unsigned *ret_use,
                   struct fail *reterr) MUST_USE;

/* ---- reading ---- */

enum { READER_CALL_ID = 40 };
/* An id for a call that came without: the same for the same request, choice and index only. */
void reader_call_id(const struct provider_reader *r, uint32_t index,
                    char into[static READER_CALL_ID]);
void reader_verbatim(struct provider_reader *r, struct str name, struct str json, bool has_content);
/* Fails as an error object in the midst of an answer says. */
void reader_error(struct provider_reader *r, struct str type, struct str code, struct str message);
void reader_error_in(struct provider_reader *r, struct str json); /* … which stands in that */

/*
 * A body that is one JSON document or a stream of events, whichever comes: told apart by its first
 * byte. `whole` gets the document at its end, `event` each event of a stream.
 */
struct reader_body {
    struct sse sse;
    struct buf whole;
    bool is_known, is_stream;
};
void reader_body_init(struct reader_body *b);
void reader_body_done(struct reader_body *b);
/* Malformed UTF-8 becomes U+FFFD. */
void provider_add_clean(struct buf *b, struct str text);
/* The document, malformed UTF-8 made U+FFFD; borrowed. p NULL: no memory. */
struct str reader_body_whole(struct reader_body *b);
/* The text of a JSON string; in `scratch` (emptied) where it has escapes. */
struct str reader_string(struct str value, struct buf *scratch);
/* A finish reason of any engine as ours; false: it means that the answer broke off. Unknown ones
 * are a stop. */
bool reader_finish(struct str word, enum finish_reason *ret);
/* What provider.read is for them: `event` gets the reader. 0, -ENOMEM, or what `event` returned;
 * too large an answer is told. */
int reader_body_push(struct reader_body *b, struct provider_reader *r, struct str bytes,
                     sse_fn event) MUST_USE;

/* ---- refusals ---- */

/* What an error says, in the words of whoever said it; all may be empty. */
struct provider_error {
    struct str type, code, message, param;
};
/* Of a body of any of the usual shapes: {"error":{…}}, {"error":"…"}, {"message":…}, {"detail":…},
 * an array around them. Texts are decoded into the arena or views of the body. */
void provider_error_read(struct provider_error *ret, struct str body, struct arena *arena);
/* What it means, by status (0: in the midst of an answer), type, code and message. */
void refusal_by_error(struct provider_refusal *ret, const struct provider_job *job, unsigned status,
                      const struct provider_error *e);
/* What provider.refusal is for a provider whose errors have the usual shapes: `wire` is its own,
 * in which the body may be passed on. */
void refusal_usual(const struct provider_job *job, const struct call_head *head, struct str body,
                   enum wire wire, struct provider_refusal *ret);

/* ---- counting ---- */

#define COUNT_TOKENS_PATH "/v1/messages/count_tokens"
/* FAILED with unsupported_parameter: no such API there. */
int provider_no_relay(const struct provider_job *job, struct fail *reterr);
/* {"input_tokens"} of what an answer says under `key`. 0, or FAILED. */
int provider_read_count(const struct provider_job *job, struct str body, const char *key,
                        struct buf *ret, struct fail *reterr) MUST_USE;

/* ---- embeddings ---- */

/* Where vectors are in an answer. */
struct embed_shape {
    bool whole;         /* the answer is the one item, of the one input; else: */
    const char *list;   /* path to the array of items, one an input */
    const char *vector; /* path in an item; NULL: the item is it */
    const char *tokens; /* path in an item to its count of tokens; NULL: none is told */
    size_t n;
};
/* An answer as rows. 0, -ENOMEM, FAILED: it holds none, or an error. */
int provider_read_embeddings(const struct provider_job *job, struct str body,
                             const struct embed_shape *shape, struct embed_result *ret,
                             struct fail *reterr) MUST_USE;
/* Token ids where only text is taken: FAILED. */
int provider_embed_text_only(const struct provider_job *job, struct fail *reterr);
