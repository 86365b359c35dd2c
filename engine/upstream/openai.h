/*
 * OpenAI's chat and completions wire, and what each engine that speaks it has of its own.
 */
#pragma once

#include "engine/upstream/provider_table.h"

/* A row an engine; what is not said is as OpenAI has it. */
struct openai_quirks {
    unsigned knobs;            /* enum knob: what it takes beside OpenAI's own */
    bool max_completion;       /* max_completion_tokens is the field's name */
    bool strict_names;         /* tools are named with at most OPENAI_TOOL_NAME letters */
    bool no_developer;         /* the role developer is system there */
    bool no_effort;            /* reasoning_effort is unknown */
    bool one_choice;           /* n is passed over */
    bool slots;                /* llama-server: cache_prompt, lora */
    bool counts;               /* Anthropic's count_tokens stands beside the other paths */
    bool choice_words;         /* a tool_choice that is no word is taken for "auto" */
    const char *reasoning;     /* member of assistant messages; NULL: it takes none */
    const char *repetition;    /* its name of repetition_penalty */
    const char *grammar;       /* its member for a grammar, … */
    const char *regex;         /* … an expression; NULL: within structured_outputs */
    const char *auth, *prefix; /* header of the key */
};
enum { OPENAI_TOOL_NAME = 64 };

const struct openai_quirks *openai_quirks_of(const struct provider_job *job);

/* The chat or completions body, appended to call->body. 0, negative errno, FAILED. */
int openai_write_body(struct provider_call *call, const struct provider_job *job,
                      struct fail *reterr) MUST_USE;
/* The name that a tool has over there; `into` may hold it. */
struct str openai_tool_name(const struct openai_quirks *q, struct str name,
                            char into[static TOOL_NAME_SENT + 1]);

/* provider.h's, of this wire. */
struct provider_reader *openai_reader_new(const struct provider_job *job,
                                          const struct call_head *head, struct reader_out out);
int openai_read(struct provider_reader *base, struct str bytes);
void openai_end(struct provider_reader *base);
void openai_reader_free(struct provider_reader *base);

/* Of one answer: zero at first, its arena is the owner's to free. */
struct openai_logprobs {
    struct arena *arena; /* of the last event's tokens */
    double sum;          /* of the chosen ones', over the answer, and of how many */
    uint64_t n;
};
/* The tokens of a choice's "logprobs", *ret_n of them, until the next call: none where the request
 * did not ask; its chosen ones are summed where they rank its choices, too. */
const struct engine_token *openai_logprobs_read(struct openai_logprobs *l,
                                                const struct chat_request *c, struct str logprobs,
                                                size_t *ret_n);

/* Embeddings: body and answer, floats or base64. */
int openai_write_embed(struct provider_call *ret, const struct provider_job *job,
                       const struct embed_input *inputs, size_t n, struct fail *reterr);
int openai_read_embed(const struct provider_job *job, struct str body, size_t n,
                      struct embed_result *ret, struct fail *reterr);
/* The address of one of its services: "/chat/completions", "/completions", "/embeddings". */
int openai_url(struct provider_call *call, const struct provider_job *job, const char *service);
