/*
 * AWS event stream framing (vnd.amazon.eventstream), from bytes cut anywhere.
 *
 * Source: "Event stream encoding" of the Amazon Transcribe guide and of Smithy: big-endian lengths
 * of the whole and of its headers, CRC-32 of those eight bytes, headers, payload, CRC-32 of all
 * before. Both sums are checked before anything of a frame is told.
 */
#pragma once

#include "base/buf.h"

struct aws_event {            /* borrowed during the call */
    struct str message_type;  /* event, exception or error */
    struct str event_type;    /* of an event */
    struct str failure;       /* :exception-type, or :error-code */
    struct str error_message; /* of an error */
    struct str payload;
};
/* Other than 0 stops: aws_event_stream_push returns it, then and ever after. */
typedef int (*aws_event_fn)(void *ctx, const struct aws_event *event);

struct aws_event_stream {
    struct buf part; /* of an unfinished frame */
    int err;         /* sticky: where a frame begins is not known any more */
};
#define AWS_EVENT_STREAM_INIT(max_frame_bytes)                                                     \
    ((struct aws_event_stream){ .part = BUF_INIT(max_frame_bytes) })
void aws_event_stream_done(struct aws_event_stream *s);

/* 0; what fn returned; -EBADMSG: a checksum, a length or a header is wrong; -EMSGSIZE: a frame is
 * larger than the bound (nothing of it was kept); -ENOMEM. */
int aws_event_stream_push(struct aws_event_stream *s, struct str bytes, aws_event_fn fn,
                          void *ctx) MUST_USE;
/* At the end of the stream. true: the last frame is unfinished. */
bool aws_event_stream_is_open(const struct aws_event_stream *s);
