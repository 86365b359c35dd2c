/*
 * One HTTP request from its head to its last byte.
 *
 * References: the connection holds one until libmicrohttpd reports the request completed; its
 * engine jobs together, a pending lease and a pending work item hold one each. The last one to go
 * frees everything exactly once: jobs, lease, chains, arena, snapshot. An engine's thread never
 * drops one (its handler must not call back into the engine); it hands it to the watch thread.
 *
 * Fields are touched only by the http thread that serves the connection, except those of `flow`,
 * which has its own lock.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fail.h"
#include "engine/chat.h"
#include "gateway/state.h"
#include "gateway/stream.h"
#include "gateway/upload.h"
#include "gateway/watch.h"

struct MHD_Connection;
struct answer;
struct endpoint;
struct request;
struct server;

/* What a step asks of the server. */
enum next {
    NEXT_wait,   /* nothing to do before flow_wake */
    NEXT_reply,  /* `reply` is complete: send it */
    NEXT_stream, /* `reply` holds status and headers: send them, then read the stream */
    NEXT_close,  /* the client is gone: close */
};

enum { REPLY_HEADERS = 96, REQUEST_PARAMS = 2, REQUEST_CREDENTIALS = 4 };

/* Segments of a path behind "{*}", each decoded; in the request's arena. */
struct path_rest {
    const struct str *segments;
    size_t n;
};

struct reply {
    unsigned status;
    const char *type;          /* NULL: no body */
    struct chat_pair *headers; /* in the arena; at most REPLY_HEADERS */
    size_t n_headers, cap_headers;
    struct buf body;
    bool close; /* the connection after it */
};

struct request {
    _Atomic unsigned refs;
    struct server *server; /* borrowed; outlives every request */
    struct state *state;   /* owned reference: the snapshot it began with */
    struct arena *arena;   /* the request itself is in it */
    struct MHD_Connection *connection;
    char id[80];                       /* the client's own, else `made` */
    char made[32];                     /* ours, never the same twice */
    uint64_t accepted_us, received_us; /* head seen; last byte of the body seen */
    uint64_t created_s;                /* Unix time */
    uint64_t waited_us;                /* spent waiting for an adapter */
    uint64_t deadline_ms;

    const struct endpoint *endpoint;    /* NULL: refused at its head */
    const struct error_dialect *errors; /* how it is told what went wrong; never NULL */
    struct str params[REQUEST_PARAMS];
    struct path_rest rest;
    struct auth_caller caller;
    uint64_t min_epoch;     /* of x-min-epoch: the catalog's epoch it must not be answered before */
    bool is_head, is_form;  /* its body is multipart/form-data */
    bool has_origin;        /* a web page asks, whose browser must be let have the answer */
    struct str query_trace; /* for an evaluation that a worker does */
    const struct chat_pair *headers; /* lower-case names, credentials left out */
    size_t n_headers;
    /* What it proves itself with, for an engine behind that is configured to be given it; never
     * printed. */
    struct chat_pair credentials[REQUEST_CREDENTIALS];
    size_t n_credentials;
    struct buf body;

    /* Runs on the http thread, again after each wake, until it returns other than NEXT_wait. */
    enum next (*step)(struct request *r);
    void (*work)(struct request *r); /* a worker runs it, then wakes the request */
    const void *work_about;          /* what it needs to know, in the arena */
    enum next (*after_work)(struct request *r);
    bool worked;      /* under flow.lock */
    bool refused;     /* answered at its head: the body is dropped */
    bool unread_body; /* the client may still be sending one when we close */

    struct answer *answer;           /* a generation; NULL for the rest */
    void *front;                     /* what its endpoint keeps beside it, in the arena */
    void (*front_done)(void *front); /* frees what that owns; may be NULL */
    ptrdiff_t (*read)(struct request *r, char *into,
                      size_t max); /* of a stream; NULL: answer_read */
    struct reply reply;
    struct flow flow;
    struct upload upload;
    struct watch_node watch;
    struct request *next_settled; /* the watch thread's list */

    /* For the log line. */
    struct str log_model, log_adapter, log_decision;
    uint64_t log_tokens;
};

/* NULL: no memory. The snapshot reference is moved. */
struct request *request_new(struct server *server, struct state *state);
struct request *request_ref(struct request *r); /* any thread that holds one */
void request_unref(struct request *r);          /* any thread */
void request_settle(struct request *r); /* its jobs have ended: gives the lease back; any thread */
void request_settle_here(struct request *r); /* http thread: the same, where it is due and ours */

/*
 * Stops the work on a request: jobs are cancelled, its connection is woken. Any thread that holds a
 * reference; only the first reason counts.
 */
void request_cancel(struct request *r, enum flow_end why);

/* ---- the reply ---- */

/* Value and name are borrowed for the life of the request; an empty value is left out. */
void reply_header(struct request *r, const char *name, struct str value);
void reply_header_u64(struct request *r, const char *name, uint64_t value);
void reply_headerf(struct request *r, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* JSON of status 200 is already in reply.body; checks it. */
enum next reply_json(struct request *r);
enum next reply_fail(struct request *r, const struct fail *fail);
/* Behind a worker that has filled reply.body, or failed. */
enum next reply_made(struct request *r);
