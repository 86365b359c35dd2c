/*
 * Inside of the tool parser: its state, and the pieces that its two files share.
 *
 * `raw` holds the bytes that were neither told nor dropped. Within a call they begin with its first
 * mark until the call is committed (told), so that it can still become text; `at` is the next byte
 * to look at. A step returns true where it changed the phase or used bytes, false to wait for more.
 */
#pragma once

#include "engine/local/json_scan.h"
#include "engine/local/tool_parser.h"

enum { CALL_ID_SIZE = sizeof("call_") + 24, SPACE_HELD_MAX = 64 };

struct parser_tool {
    struct str name, parameters; /* owned */
};

enum parser_phase {
    PHASE_text,
    PHASE_thought,
    PHASE_header, /* of a message (channels) */
    PHASE_open,   /* behind a mark that begins calls */
    PHASE_name,   /* of a function, outside of JSON */
    PHASE_object, /* {"name":…,"arguments":…} */
    PHASE_item,   /* between the objects of an array */
    PHASE_args,   /* {…} behind a name */
    PHASE_tags,   /* behind a name */
    PHASE_after,  /* behind a call */
};

enum parser_role { ROLE_none, ROLE_name, ROLE_args }; /* of a member of the object */
enum parser_args { ARGS_none, ARGS_begun, ARGS_whole };

struct tool_parser {
    const struct tool_format *f;
    struct parser_tool *tools; /* owned */
    size_t n_tools;
    bool whole, single, forced;
    tool_parser_fn on_event;
    void *owner;

    enum parser_phase phase;
    struct buf raw;
    uint64_t base; /* of raw's first byte in the input */
    size_t at;
    bool told;       /* some text was */
    bool thought;    /* a reasoning block began or was left */
    bool skip_space; /* what comes first and is space is dropped */
    size_t n_calls;  /* told */

    /* the call under way */
    bool in_array, committed;
    const struct parser_tool *tool; /* its function, once known */
    struct buf args;                /* its arguments, not yet told */
    enum parser_args args_state;
    struct json_scan scan;
    enum parser_role role;
    size_t value_at; /* where the member's key or value begins */
};

bool parser_is_space(char c);
struct str parser_rest(const struct tool_parser *p); /* from `at` on */
void parser_drop(struct tool_parser *p, size_t n);   /* the first n bytes */
/* Tells the first n bytes and drops them. */
void parser_tell(struct tool_parser *p, enum engine_event_kind kind, size_t n);
void parser_begin_call(struct tool_parser *p);
void parser_commit(struct tool_parser *p);    /* the function is known: the call's first event */
void parser_tell_args(struct tool_parser *p); /* of a committed call: what `args` holds */
void parser_call_done(struct tool_parser *p);
void parser_fall_back(struct tool_parser *p);
const struct parser_tool *parser_find(const struct tool_parser *p, struct str name);
/* True: the mark stands at `at`, which moves behind it. *ret_wait: it may yet. NULL: false. */
bool parser_at_mark(struct tool_parser *p, const char *mark, bool *ret_wait);
void parser_skip_space(struct tool_parser *p);

/* tool_parser_call.c: steps */
bool parser_run_header(struct tool_parser *p);
bool parser_run_name(struct tool_parser *p);
bool parser_run_object(struct tool_parser *p);
bool parser_run_args(struct tool_parser *p);
bool parser_run_tags(struct tool_parser *p);
void parser_end_tags(struct tool_parser *p); /* the answer ended: all parameters are there */
