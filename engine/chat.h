/*
 * A chat request as the gateway decoded it: plain data, shared by router, plugins and engines.
 *
 * All text is borrowed from the request's arena, is valid UTF-8 and holds no NUL promise.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

struct chat_tool_call {
    struct str id, name;
    struct str arguments; /* JSON text */
};

enum chat_part_kind {
    CHAT_PART_text,
    CHAT_PART_image,
    CHAT_PART_audio,
    CHAT_PART_file, /* a document */
};

struct chat_part {
    enum chat_part_kind kind;
    struct str text;          /* of a text */
    struct str url;           /* where it is; empty: `data` holds it */
    struct str media_type;    /* of data: "image/png" */
    struct str data;          /* base64 */
    struct str name;          /* of a file */
    struct str detail;        /* of an image: low, high, auto; or empty */
    struct str cache_control; /* JSON object of Anthropic's prompt caching; or empty */
};

/* A block of reasoning. */
struct chat_thought {
    struct str text, signature; /* either may be empty */
    struct str redacted;        /* instead of both: unreadable to us */
};

struct chat_message {
    struct str role;                     /* system, developer, user, assistant, tool */
    struct str content;                  /* text parts joined by a newline; may be empty */
    struct str reasoning;                /* of an assistant message; may be empty */
    const struct chat_thought *thoughts; /* … all of it in its blocks, where the client sent such */
    size_t n_thoughts;
    struct str name;                         /* optional */
    struct str tool_call_id;                 /* of a tool message */
    bool is_error;                           /* of a tool message: the call failed */
    const struct chat_tool_call *tool_calls; /* of an assistant message */
    size_t n_tool_calls;
    unsigned n_images; /* parts that are not text */
    /* Where the client sent parts, or what the text alone does not say; n_parts 0: the content
     * alone. They hold only while `content` is what was decoded (chat_is_as_sent). */
    const struct chat_part *parts;
    size_t n_parts;
    /* The message as the client wrote it, in the request's wire; empty: it is not the client's. */
    struct str source;
    const char *source_content; /* content.p as it was decoded */
};

/* Whether nobody replaced the message's text since it was decoded: then parts and source hold. */
static inline bool chat_is_as_sent(const struct chat_message *m)
{
    return m->content.p == m->source_content;
}

/* The wire API that a body is written in. */
enum wire {
    WIRE_none,
    WIRE_openai_chat,
    WIRE_openai_completions,
    WIRE_openai_responses,
    WIRE_anthropic_messages,
};

struct chat_tool {
    struct str name, description;
    struct str parameters;    /* JSON text of the schema; empty: none */
    struct str json;          /* the whole tool object, in OpenAI's chat form */
    bool strict;              /* arguments must follow the schema */
    struct str cache_control; /* as of a part */
};

struct chat_pair {
    struct str key, value;
};

struct chat_logit_bias {
    int32_t token;
    float bias;
};

/* Zero-initialise with SAMPLING_INIT; ranges are checked by the decoder. */
struct sampling {
    float temperature;                         /* 0: greedy */
    uint32_t top_k;                            /* 0: off */
    float top_p;                               /* 1: off */
    float min_p;                               /* 0: off */
    float typical_p;                           /* locally typical sampling; 1: off */
    float repeat_penalty;                      /* 1: off; over the last 64 tokens */
    float presence_penalty, frequency_penalty; /* 0: off; over generated tokens */
    uint64_t seed;
    bool has_seed;
    const struct chat_logit_bias *bias;
    size_t n_bias;
};
#define SAMPLING_INIT                                                                              \
    ((struct sampling){                                                                            \
        .temperature = 1.0f, .top_p = 1.0f, .typical_p = 1.0f, .repeat_penalty = 1.0f })

/* What the text of an answer must look like. */
enum chat_format {
    CHAT_FORMAT_text,
    CHAT_FORMAT_json_object, /* any JSON object */
    CHAT_FORMAT_json_schema, /* `format_text` is the schema, as JSON */
    CHAT_FORMAT_grammar,     /* `format_text` is a grammar (GBNF) */
    CHAT_FORMAT_regex,       /* `format_text` is a regular expression for the whole text */
    CHAT_FORMAT_choice,      /* `format_text` is a JSON array of strings: one of them */
};

enum tool_choice {
    TOOL_CHOICE_auto,
    TOOL_CHOICE_none,     /* tools are not even told */
    TOOL_CHOICE_required, /* at least one call, of any tool */
    TOOL_CHOICE_function, /* one call of `tool_choice_name` */
};

/* What a route or a plugin may set, beside messages and prompt, which show it themselves. */
enum chat_changed {
    CHAT_CHANGED_effort = 1,   /* reasoning_effort */
    CHAT_CHANGED_template = 2, /* template_kwargs */
    CHAT_CHANGED_format = 4,   /* format, format_text */
};

struct chat_request {
    struct str model;          /* as the client wrote it */
    bool is_completion;        /* /v1/completions: `prompt` instead of messages */
    struct str prompt;         /* of a completion, as text … */
    const int32_t *prompt_ids; /* … or as token ids (NULL: text) */
    size_t n_prompt_ids;
    struct chat_message *messages; /* plugins may replace the array and its elements */
    size_t n_messages;
    bool continues; /* the answer goes on where the last message, the assistant's, stops */
    const struct chat_tool *tools;
    size_t n_tools;
    const struct chat_tool *barred; /* … that tool_choice none takes from the model: only engines */
    size_t n_barred;                /* behind are told, with that word (prompts stay the same) */
    struct str tools_json;          /* the array in OpenAI's chat form; empty: none */
    enum tool_choice tool_choice;
    struct str tool_choice_name;
    bool single_tool_call; /* parallel_tool_calls: false */
    enum chat_format format;
    struct str format_text;
    struct str format_name;      /* of a schema, as JSON; empty: none */
    bool format_strict;          /* of a schema: objects take only the members that it names */
    const char *format_param;    /* static: the field that asked, for errors; NULL: none did */
    struct str template_kwargs;  /* JSON object for the chat template; empty: none */
    struct str reasoning_effort; /* none, minimal, low, medium, high, xhigh; empty: not given */
    uint32_t thinking_budget;    /* tokens of reasoning, where has_thinking */
    bool has_thinking;           /* the client switched it on (budget) or off (0) */
    struct sampling sampling;
    uint32_t max_tokens; /* 0: not given */
    uint32_t min_tokens; /* no end, stop string or stop token before */
    const struct str *stops;
    size_t n_stops;
    const int32_t *stop_ids; /* tokens that end the text, like an end token */
    size_t n_stop_ids;
    bool keep_stop;    /* the stop string or token is part of the text */
    bool keep_special; /* control tokens show their spelling */
    uint32_t n;        /* choices, at least 1 */
    uint32_t best_of;  /* of a completion: sequences to choose from; 0: n */
    bool stream, include_usage, echo, ignore_eos;
    bool logprobs;
    uint32_t top_logprobs;
    bool prompt_logprobs; /* the prompt's tokens have them too */
    bool prompt_only;     /* and nothing is generated */
    struct str user;
    const struct chat_pair *metadata;
    size_t n_metadata;
    /* Members for OpenAI's own chat API that say nothing to others, each behind a comma: from a
     * client of another API of OpenAI's. */
    struct str openai_members;
    /*
     * What the client sent: an engine behind that speaks the same wire gets these bytes with only
     * what must differ replaced. Empty where there is none, or where they say no more than the
     * fields above. Lives as long as the request.
     */
    enum wire wire;
    struct str source;
    /* Of a completion whose body has this prompt alone: prompt.p or prompt_ids as decoded. */
    const void *source_prompt;
    unsigned changed; /* enum chat_changed, set by who changes it after it was decoded */
    /* Static: a field of the body, not in this struct, that changes the answer and that only an
     * engine behind of the same wire can serve; NULL: none. */
    const char *unserved;
    struct str unserved_why; /* a sentence; empty: its value is what is not served */
};
