/*
 * One connection to one Redis server: a socket that never blocks, TLS over it where asked for,
 * commands out and replies in, with deadlines.
 *
 * Internal to adapters/. One thread at a time. What a peer can make us hold is bounded: bytes and
 * elements of one reply (LIMIT_REDIS_…), its depth (by the parser, 7).
 */
#pragma once

#include "adapters/redis_url.h"

#include <hiredis/hiredis.h>

struct redis_wire;

/* PEM files, all views; empty: the system's authorities, no certificate of ours. */
struct redis_tls {
    struct str ca, cert, key;
    bool insecure; /* any certificate and any name will do */
};

/* 0, or FAILED: names the file that cannot be used. */
int redis_tls_check(const struct redis_tls *t, struct fail *reterr) MUST_USE;

/*
 * Connects until the deadline, or until wake_fd is readable. `tls` NULL: plain. FAILED: says what
 * went wrong in *reterr (catalog_unavailable). Negative errno.
 */
int redis_wire_open(struct redis_wire **ret, const struct redis_address *a,
                    const struct redis_tls *tls, int wake_fd, unsigned timeout_ms,
                    struct fail *reterr) MUST_USE;
struct redis_wire *redis_wire_free(struct redis_wire *w); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct redis_wire *, redis_wire_free);

/* Nobody closed it and nothing waits on it that was not asked for. */
bool redis_wire_healthy(struct redis_wire *w);

/* Appends a command to what will be sent. 0, -ENOMEM, -EMSGSIZE. */
int redis_wire_add(struct redis_wire *w, const struct str *argv, size_t n) MUST_USE;
/*
 * Sends what was added and reads n replies, any of which may be an error reply. FAILED: there was
 * no progress for timeout_ms, the peer is gone or said what is no Redis protocol; the wire is of no
 * use then and ret[…] is NULL.
 */
int redis_wire_talk(struct redis_wire *w, redisReply **ret, size_t n, unsigned timeout_ms,
                    struct fail *reterr) MUST_USE;

/* Without waiting: sends and reads what it can; *ret: a whole reply, or NULL: none yet. */
int redis_wire_pump(struct redis_wire *w, redisReply **ret, struct fail *reterr) MUST_USE;
int redis_wire_fd(const struct redis_wire *w);
short redis_wire_events(const struct redis_wire *w); /* that pump waits for, as of poll(2) */

void redis_reply_free(redisReply **r); /* CLEANUP(redis_reply_free); NULL inside is fine */
int redis_unavailable(struct fail *reterr, const char *fmt, ...) PRINTF_LIKE(2, 3);
