/*
 * What the mock upstream saw: counters of all, and the tries of requests whose script names an id.
 *
 * Times are microseconds of CLOCK_MONOTONIC, which Python's time.monotonic() shows too. Any thread.
 */
#pragma once

#include "base/buf.h"

#include <stdint.h>

struct mock_stats;

#define MOCK_COUNTS(X)                                                                             \
    X(connections) /* accepted */                                                                  \
    X(open)        /* now */                                                                       \
    X(requests)                                                                                    \
    X(active)    /* being answered now */                                                          \
    X(answered)  /* to the end */                                                                  \
    X(left)      /* the client closed before the answer's end */                                   \
    X(cut)       /* we did, as told */                                                             \
    X(frames)    /* text frames handed to the socket */                                            \
    X(bytes)     /* bytes that the socket took */                                                  \
    X(blocked)   /* times that it took none */                                                     \
    X(malformed) /* requests that were no HTTP, or whose script is not understood */               \
    X(handshakes_failed)

enum mock_count {
#define COUNT_ENUM(name) MOCK_COUNT_##name,
    MOCK_COUNTS(COUNT_ENUM)
#undef COUNT_ENUM
        MOCK_COUNT_N
};

/* One try of a request with an id. */
struct mock_try {
    uint64_t connected_us, request_us, head_us, first_us, end_us, left_us, blocked_us;
    uint64_t bytes, frames, connection;
    uint32_t port, on_connection; /* which request of its connection, from 0 */
    char *request;                /* owned; head and body as they came */
    size_t request_bytes;
};

int mock_stats_new(struct mock_stats **ret) MUST_USE;
struct mock_stats *mock_stats_free(struct mock_stats *s);
DEFINE_CLEANUP(struct mock_stats *, mock_stats_free);

void mock_count(struct mock_stats *s, enum mock_count c, int64_t n);
uint64_t mock_counted(struct mock_stats *s, enum mock_count c);

enum { MOCK_NO_TRY = UINT32_MAX };
/* The number of the next try of that id; a record of it, MOCK_NO_TRY where no room is left. */
uint32_t mock_try_begin(struct mock_stats *s, struct str id, const struct mock_try *begin,
                        struct str request, unsigned *ret_number);
/* Writes *now over the record but for its request. */
void mock_try_set(struct mock_stats *s, uint32_t record, const struct mock_try *now);

void mock_release(struct mock_stats *s,
                  struct str id); /* what holds goes on, and is not held again */
bool mock_released(struct mock_stats *s, struct str id);
void mock_stats_reset(struct mock_stats *s); /* ids; counters stay */

/* The script of requests without one. */
void mock_default_set(struct mock_stats *s, struct str script);
void mock_default_get(struct mock_stats *s, char *ret, size_t room);

void mock_stats_print(struct mock_stats *s, struct buf *b); /* {"connections": …} */
void mock_tries_print(struct mock_stats *s, struct str id, struct buf *b); /* [{…}] */
/* The request of the last try of id, as it came. */
void mock_request_print(struct mock_stats *s, struct str id, struct buf *b);
