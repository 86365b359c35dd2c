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

struct chat_message {
    struct str role;                         /* system, developer, user, assistant, tool */
    struct str content;                      /* text parts joined by a newline; may be empty */
    struct str reasoning;                    /* of an assistant message; may be empty */
    struct str name;                         /* optional */
    struct str tool_call_id;                 /* of a tool message */
    const struct chat_tool_call *tool_calls; /* of an assistant message */
    size_t n_tool_calls;
    unsigned n_images; /* parts that are not text */
};

struct chat_tool {
    struct str name, description;
    struct str parameters; /* JSON text of the schema; empty: none */
    struct str json;       /* the whole tool object, as sent */
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

struct chat_request {
    struct str model;          /* as the client wrote it */
    bool is_completion;        /* /v1/completions: `prompt` instead of messages */
    struct str prompt;         /* of a completion, as text … */
    const int32_t *prompt_ids; /* … or as token ids (NULL: text) */
    size_t n_prompt_ids;
    struct chat_message *messages; /* plugins may replace the array and its elements */
    size_t n_messages;
    const struct chat_tool *tools;
    size_t n_tools;
    struct str tools_json; /* the array as sent; empty: none */
    enum tool_choice tool_choice;
    struct str tool_choice_name;
    bool single_tool_call; /* parallel_tool_calls: false */
    enum chat_format format;
    struct str format_text;
    bool format_strict;         /* of a schema: objects take only the members that it names */
    const char *format_param;   /* static: the field that asked, for errors; NULL: none did */
    struct str template_kwargs; /* JSON object for the chat template; empty: none */
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
};
