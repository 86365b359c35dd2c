/*
 * The text of one sequence: tokens go in, whole characters come out, and what may still turn into
 * a stop string waits. Stop text comes out only where it was asked for, wherever the token borders
 * fall.
 *
 * One thread at a time.
 */
#pragma once

#include "engine/engine.h"
#include "engine/local/tokenizer.h"

struct stream;

struct stream_options {
    const struct tokenizer *tokenizer; /* borrowed; outlives the stream */
    bool at_start;                     /* no text stood before: SPM's first space is dropped */
    const struct str *stops;           /* copied; empty ones are ignored */
    size_t n_stops;
    uint32_t min_tokens; /* stop strings count from the token after that many */
    bool keep_stop;      /* the stop string that ended the text is part of it */
    bool keep_special;   /* control tokens show their spelling */
    bool keep_tokens;    /* stream_take gives them too */
};

int stream_new(struct stream **ret, const struct stream_options *o) MUST_USE;
struct stream *stream_free(struct stream *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct stream *, stream_free);

enum { STREAM_STOPPED = 1 }; /* a stop string is complete: push no more */

/* Adds a token. Its top list is copied; the bytes of all are filled in here when it has one or
 * `with_bytes`. 0, STREAM_STOPPED or -ENOMEM. */
int stream_push(struct stream *s, const struct engine_token *token, bool with_bytes) MUST_USE;
int stream_end(struct stream *s) MUST_USE; /* nothing follows: what waited may leave. 0, -ENOMEM */

/* What may leave now: text and the tokens behind it, valid until the next call. False: nothing. */
bool stream_take(struct stream *s, struct str *ret_text, const struct engine_token **ret_tokens,
                 size_t *ret_n_tokens);
