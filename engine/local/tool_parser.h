/*
 * From a model's own words to text, reasoning and tool calls, as they arrive: marks may be cut
 * anywhere, and only what may become one waits.
 *
 * A call is told when its function is known and its arguments have begun; what looks like a call
 * and is none (broken JSON, a function nobody offered) comes out as the text that it was. One
 * thread at a time.
 */
#pragma once

#include "engine/engine.h"
#include "engine/local/tool_format.h"

struct tool_parser;

struct tool_parser_event {
    enum engine_event_kind kind; /* text, reasoning or tool_call */
    struct str text;             /* of text and reasoning; borrowed during the call */
    struct engine_call call;     /* likewise */
    uint64_t begin, end;         /* the bytes of the input behind it */
};
typedef void (*tool_parser_fn)(void *owner, const struct tool_parser_event *e);

struct tool_parser_options {
    const struct tool_format *format; /* borrowed; outlives the parser */
    const struct chat_tool *tools;    /* copied: names and parameters */
    size_t n_tools;                   /* 0: nothing is a call */
    bool opened;                      /* the prompt ends inside a reasoning block */
    /* Calls are told once their arguments are complete, so that all broken ones come out as text.
     * Without, arguments leave as they arrive, and those that break midway stay broken. */
    bool whole;
    bool single; /* one call ends the answer */
    bool forced; /* the answer is calls alone: what a cut leaves of one before its function is known
                    is markup, and nobody's text */
    tool_parser_fn on_event;
    void *owner;
};

/* 0 or -ENOMEM. */
int tool_parser_new(struct tool_parser **ret, const struct tool_parser_options *o) MUST_USE;
struct tool_parser *tool_parser_free(struct tool_parser *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct tool_parser *, tool_parser_free);

enum { TOOL_PARSER_ENOUGH = 1 }; /* the one call is complete: push no more */

/* Whole UTF-8 characters; control tokens that are marks as they are spelt. 0, TOOL_PARSER_ENOUGH or
 * negative errno. */
int tool_parser_push(struct tool_parser *p, struct str text) MUST_USE;
/* Nothing follows. `cut`: the answer was longer than allowed, so a call that is not complete stays
 * a call. 0 or negative errno. */
int tool_parser_end(struct tool_parser *p, bool cut) MUST_USE;

bool tool_parser_is_thinking(const struct tool_parser *p);
size_t tool_parser_calls(const struct tool_parser *p); /* told so far */
