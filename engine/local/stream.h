/*
 * The text of one sequence: tokens go in, whole characters come out, and what may still turn into
 * a stop string waits. Stop text comes out only where it was asked for, wherever the token borders
 * fall. Where a chat format is given, reasoning and tool calls come out apart; stop strings apply
 * to the text only.
 *
 * One thread at a time.
 */
#pragma once

#include "engine/engine.h"
#include "engine/local/tokenizer.h"
#include "engine/local/tool_format.h"

struct stream;

struct stream_options {
    const struct tokenizer *tokenizer; /* borrowed; outlives the stream */
    bool at_start;                     /* no text stood before: SPM's first space is dropped */
    const struct str *stops;           /* copied; empty ones are ignored */
    size_t n_stops;
    uint32_t min_tokens;              /* stop strings count from the token after that many */
    bool keep_stop;                   /* the stop string that ended the text is part of it */
    bool keep_special;                /* control tokens show their spelling */
    bool keep_tokens;                 /* stream_take gives them too */
    const struct tool_format *format; /* borrowed, outlives the stream; NULL: all is text */
    const struct chat_tool *tools;    /* copied */
    size_t n_tools;                   /* 0: nothing is a call */
    bool opened;                      /* the prompt ends inside a reasoning block */
    bool whole_calls;                 /* a call leaves when its arguments are complete */
    bool single_call;                 /* one call ends the text */
    bool forced_calls;                /* there is nothing but calls */
};

int stream_new(struct stream **ret, const struct stream_options *o) MUST_USE;
struct stream *stream_free(struct stream *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct stream *, stream_free);

enum { STREAM_STOPPED = 1 }; /* a stop string, or the one call, is complete: push no more */

/* Adds a token. Its top list is copied; the bytes of all are filled in here when it has one or
 * `with_bytes`. 0, STREAM_STOPPED or -ENOMEM. */
int stream_push(struct stream *s, const struct engine_token *token, bool with_bytes) MUST_USE;
/* Nothing follows: what waited may leave. `cut`: the text would have gone on. 0, -ENOMEM */
int stream_end(struct stream *s, bool cut) MUST_USE;

/*
 * The next of what may leave now: fills kind, text, call and the tokens behind them, valid until
 * the next call. False: nothing. Tokens of marks come with a reasoning event that has no text.
 */
bool stream_take(struct stream *s, struct engine_event *ret);
size_t stream_calls(const struct stream *s);    /* begun so far */
struct str stream_stop(const struct stream *s); /* the stop string that ended it, its; or empty */
uint32_t stream_reasoning(const struct stream *s); /* tokens of reasoning so far */
