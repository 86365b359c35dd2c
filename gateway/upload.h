/*
 * Upload: a request's body while it is still coming, and its end when it does not come.
 *
 * libmicrohttpd may miss that a client closed right behind a part of a body, and it waits long for
 * one that sends no more. The watch thread looks after both: it writes the answer by hand, where
 * there is one, and shuts the socket down, which the library notices.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;

struct upload { /* under flow.lock */
    bool is_coming;
    bool has_left;       /* the client has sent its last byte */
    unsigned ticks_over; /* since then, without a byte to be read */
    unsigned status;     /* of the answer that was written by hand; 0: none was */
    uint64_t began_ms;   /* when its head was whole */
    uint64_t moved_ms;   /* when bytes last came */
    uint64_t bytes;      /* so far */
};

/* http thread. */
void upload_begin(struct request *r);
void upload_move(struct request *r, size_t n); /* n bytes came */
/* All of it came. true: and the client has closed its side, as one does that leaves. */
bool upload_end(struct request *r);

/* Watch thread. The client closed its side: true: of a body that is still to be read. */
bool upload_leave(struct request *r);
/* At each tick: gives up what cannot come any more, has not come for gateway.limits.body_idle, or
 * takes longer than body_time and body_rate give it. `fd` is the connection's. */
void upload_look(struct request *r, int fd, uint64_t now_ms);
/* The server stops: answered with 503, where the body is still coming. */
void upload_stop(struct request *r, int fd);

struct refusal {
    unsigned status, retry_after_s; /* 0: none */
    struct str body;                /* JSON */
};
/* Sends it by hand, where libmicrohttpd cannot: the connection has to be closed then. The status,
 * or 0: it did not leave. */
unsigned upload_reply(const struct request *r, int fd, const struct refusal *f);
/*
 * Writes a whole answer to the socket, where the library takes none: in the middle of an upload.
 * The connection closes behind it. Returns the status that was sent; 0: it was not.
 */
unsigned upload_answer(const struct request *r, int fd, const struct fail *fail);
