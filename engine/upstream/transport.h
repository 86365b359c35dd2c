/*
 * Transport: HTTP calls to engines behind, on threads of its own (libcurl's multi interface over
 * epoll).
 *
 * Each thread is a loop; a call lives on one loop, and everything it tells is told there, in order.
 * Connections are pooled a loop, kept warm and aged; TCP_NODELAY is set, Expect is never sent,
 * redirects are not followed, answers in gzip are unpacked. Nothing here is retried, but for a
 * pooled connection that the other side had closed before a byte of the answer came.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"
#include "engine/chat.h"

#include <stdint.h>

struct transport;
struct transport_loop; /* one of its threads */
struct call;           /* one HTTP exchange; counted reference */

struct transport_config {
    unsigned loops;           /* 0: one for each two cores, at most 4 */
    uint64_t max_connections; /* to one host, each loop; 0: any */
    uint64_t max_idle_s, max_age_s;
};

/* 0 or negative errno. */
int transport_new(struct transport **ret, const struct transport_config *config) MUST_USE;
/* Cancels what is under way (their ends are told), joins the threads. NULL is fine. */
struct transport *transport_free(struct transport *t);
DEFINE_CLEANUP(struct transport *, transport_free);

unsigned transport_loops(const struct transport *t);
struct transport_loop *transport_loop(struct transport *t, unsigned i); /* any i: taken modulo */

/*
 * Runs fn(ctx) on the loop, soon, after what was posted before. Any thread. Never lost: after
 * transport_free began it runs before that returns. -ENOMEM: not posted.
 */
struct transport_task { /* the caller's memory until it ran: posting never allocates */
    struct transport_task *next;
    void (*run)(struct transport_task *task);
};
void transport_post(struct transport_loop *l, struct transport_task *task);

/* Loop's thread: clock_us when what now happens was noticed. Reading a clock costs more than most
 * of what a turn of the loop does. */
uint64_t transport_now_us(const struct transport_loop *l);

/* The loop whose thread this is; NULL: none's. */
struct transport_loop *transport_here(void);

/*
 * Another event loop that lives on the loop's thread, so that what they say to each other crosses
 * no threads: `run` is called whenever `fd` may be read, its time has come, or the loop itself has
 * done something. The guest's memory is the caller's until it has left.
 */
struct transport_guest {
    int fd;
    /* Does what there is to do without waiting; when it wants to be called at the latest, of
     * clock_ms, or CLOCK_NEVER. */
    uint64_t (*run)(struct transport_guest *g);
    void (*leave)(struct transport_guest *g); /* the last call, on the loop's thread */
    /* internal */
    struct transport_loop *loop;
    struct transport_task come, go;
    uint64_t at_ms;
    bool has_left; /* under the transport's lock */
};
/* One guest a loop. Any thread but a loop's: returns at once; 0 or -errno. */
int transport_invite(struct transport_loop *l, struct transport_guest *g) MUST_USE;
/* Any thread: the loop's guest has something to do that its descriptor does not show. */
void transport_nudge(struct transport_loop *l);
/* Any thread but a loop's: waits until it has left. */
void transport_dismiss(struct transport_guest *g);

/* A timer of the loop's thread; every function is for that thread only. */
struct transport_timer { /* the caller's memory while it is set; zero: not set */
    uint64_t at_ms;      /* of clock_ms */
    size_t place;        /* internal; 0: not set */
    void (*fire)(struct transport_timer *timer);
};
int transport_timer_set(struct transport_loop *l, struct transport_timer *timer,
                        uint64_t at_ms) MUST_USE; /* again: moved. 0 or -ENOMEM */
void transport_timer_clear(struct transport_loop *l, struct transport_timer *timer);

struct call_tls {
    const char *ca, *cert, *key; /* PEM files, or NULL */
    bool insecure;
};

struct call_head {
    unsigned status;                 /* never 1xx */
    const struct chat_pair *headers; /* names in lower case; the call's, while it is referenced */
    size_t n;
};
struct str call_header(const struct call_head *head, const char *name); /* the first; or empty */

enum call_outcome {
    CALL_complete,    /* head and body came, and the body ended as HTTP has it end */
    CALL_unreachable, /* no address, refused, no route, a proxy in between said no */
    CALL_untrusted,   /* TLS: who answers cannot prove who it is */
    CALL_broken,      /* reset or closed before the head came */
    CALL_truncated,   /* the head came, the body ended too early */
    CALL_malformed,   /* no HTTP, a coding that cannot be unpacked, headers beyond bounds */
    CALL_timeout_connect,
    CALL_timeout_first, /* no byte of the head */
    CALL_timeout_idle,  /* silence in the middle */
    CALL_timeout_total,
    CALL_cancelled,
    CALL_failed, /* ours: memory, descriptors */
};
static inline bool call_is_late(enum call_outcome o)
{
    return o >= CALL_timeout_connect && o <= CALL_timeout_total;
}
const char *call_outcome_word(enum call_outcome o); /* "connection refused …" in a few words */

struct call_end {
    enum call_outcome outcome;
    bool was_sent; /* something of the request may have reached the other side */
    bool has_head;
    bool was_reused;   /* the connection was a pooled one */
    char message[160]; /* what happened, for people; never holds headers or the query */
    uint64_t connect_us, first_byte_us, total_us; /* since the start; 0: not reached */
    uint64_t sent, received;                      /* bytes of bodies */
};

/* All on the loop's thread. Must not block; may start, pause and cancel calls. */
struct call_handler {
    void (*on_head)(void *owner, const struct call_head *head);
    /* Bytes of the body as they come, unpacked. */
    void (*on_body)(void *owner, struct str bytes);
    void (*on_end)(void *owner, const struct call_end *end); /* once, the last */
};

struct call_spec {
    const char *method; /* "POST" */
    const char *url;
    const struct chat_pair
        *headers; /* complete: only Host, Content-Length and the like are added */
    size_t n_headers;
    struct str body; /* borrowed until on_end, or until call_is_sent; sent with its length */
    uint64_t connect_ms, first_byte_ms, idle_ms; /* 0: none. While paused, idle does not count */
    uint64_t deadline_ms;                        /* of clock_ms, in all; CLOCK_NEVER */
    uint64_t max_head;   /* bytes of all headers of the answer; 0: 256 KiB */
    struct call_tls tls; /* strings borrowed for ever (of the configuration) */
    bool http2;
    const struct call_handler *handler; /* borrowed until on_end */
    void *owner;
};

/* Loop's thread. Url and headers are copied. 0: on_end will come (never from inside this); negative
 * errno: it will not. */
int call_start(struct transport_loop *l, struct call **ret, const struct call_spec *spec) MUST_USE;
/* Loop's thread. on_end comes with CALL_cancelled, from here or later, and nothing else before it;
 * the connection is closed now. Again, or after the end: nothing. */
void call_cancel(struct call *c);
/* Loop's thread. Paused: no more of the body is read, and the other side feels it; at most a
 * buffer's worth is told after it, on resuming. */
void call_pause(struct call *c, bool paused);
/* Loop's thread. The head came and all of the body has left: nothing sends it again. */
bool call_is_sent(const struct call *c);
struct call *call_unref(struct call *c); /* loop's thread; NULL is fine; returns NULL */
