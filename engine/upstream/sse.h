/*
 * Server-sent events (WHATWG HTML, section 9.2), from bytes cut anywhere.
 *
 * Lines end with CR, LF or CRLF, also mixed; a BOM at the front is skipped; several data lines are
 * joined by LF; comments, ids and retry are passed over. An event without data is none. Malformed
 * UTF-8 becomes U+FFFD.
 */
#pragma once

#include "base/buf.h"

struct sse_event {
    struct str name; /* of "event:"; empty: message */
    struct str data;
};
/* Borrowed during the call. Other than 0 stops: sse_push returns it. */
typedef int (*sse_fn)(void *ctx, const struct sse_event *event);

struct sse {         /* zero: at the beginning; SSE_INIT */
    struct buf line; /* of an unfinished line */
    struct buf data;
    struct buf name;
    bool has_data, begun, after_cr, data_is_view;
    struct str view; /* the data so far, where data_is_view: of `bytes` or `line`, within a push */
};
#define SSE_INIT(max_event_bytes)                                                                  \
    ((struct sse){ .line = BUF_INIT(max_event_bytes),                                              \
                   .data = BUF_INIT(max_event_bytes),                                              \
                   .name = BUF_INIT(4096) })
void sse_done(struct sse *s);

/* 0; what fn returned; -EMSGSIZE: an event is larger than the bound; -ENOMEM. Where an event lies
 * whole in `bytes`, its data is a view of them: nothing is copied. */
int sse_push(struct sse *s, struct str bytes, sse_fn fn, void *ctx) MUST_USE;
/* At the end of the stream. true: something stood there that no blank line finished (truncated);
 * a comment or a field that is passed over does not count. */
bool sse_is_open(const struct sse *s);
