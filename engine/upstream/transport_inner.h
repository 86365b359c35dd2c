/*
 * What the files of the transport share; nobody else includes it.
 *
 * Everything here belongs to the loop's thread, but for what is marked "any thread".
 */
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "engine/upstream/transport.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

struct coding; /* transport_coding.c */

/* ---- timers ---- */

struct timer_heap { /* a binary heap by at_ms; places count from 1 */
    struct transport_timer **at;
    size_t n, cap;
};
uint64_t timer_heap_next(const struct timer_heap *h); /* CLOCK_NEVER: none */

/* ---- loops ---- */

struct watch {               /* what epoll watches of a descriptor, and what curl wants of it */
    uint8_t watched, wanted; /* CURL_POLL_* as bits: in 1, out 2 */
    bool opened;             /* by us, for a connection */
    bool ours;               /* ... that is there: we hear of its end */
    bool is_gathered;        /* what is written goes out by loop_let_go */
    bool is_written;         /* since the last, perhaps: among transport_loop.written */
};

struct tls_kind { /* settings that several calls share; owned copies */
    struct tls_kind *next;
    struct call_tls tls;
};

struct transport_loop {
    struct transport *owner;
    pthread_t thread;
    CURLM *multi;
    CURLSH *share; /* TLS sessions */
    int epoll, wake;
    uint64_t now_us;  /* clock_us as this turn began */
    uint64_t curl_at; /* clock_ms at which curl wants to be called; CLOCK_NEVER */
    bool closed;      /* no call may start */
    int open_error;   /* of the last socket that could not be had; 0 */
    struct watch *watches;
    size_t n_watches; /* by descriptor */
    int written[256]; /* descriptors */
    size_t n_written;
    uint64_t written_us; /* clock_us of the first */
    struct timer_heap timers;
    struct tls_kind *tls_kinds;
    struct call *todo, **todo_end; /* calls with work, in order */
    struct call *active;           /* started and not ended */
    struct call *held;             /* ended, but referenced */
    struct call *idle;             /* to be used again, the last used first */
    size_t n_idle;
    struct transport_guest *guest; /* NULL: none */
    bool guest_is_due;             /* its descriptor may be read */
    /* any thread */
    _Atomic(struct transport_task *) posted; /* the last first */
    atomic_bool asleep;
    atomic_bool nudged;  /* its guest is to be run */
    atomic_uint posters; /* within transport_post */
    atomic_bool stopping;
};

struct transport {
    struct transport_config config;
    unsigned n;
    struct transport_loop *loops;
    pthread_mutex_t lock;
    pthread_cond_t left; /* a guest has */
};

/* ---- calls ---- */

enum call_work { WORK_start = 1, WORK_resume = 2, WORK_stop = 4 };

struct call {
    struct transport_loop *loop; /* NULL: outlived it */
    CURL *easy;
    struct call *next, **prev; /* in active, held or idle */
    struct call *todo_next;
    unsigned work; /* enum call_work; not 0: in todo */
    unsigned refs;
    struct call_spec spec; /* url and headers are ours: */
    struct buf text;       /* of the request: header lines, each with its NUL */
    struct curl_slist *lines;
    size_t cap_lines;
    char *url;
    size_t cap_url;
    CURLU *parts; /* of the URL, as curl takes it apart: once for all calls to it */
    /* as curl has them set */
    const struct tls_kind *tls;
    char method[16];
    bool http2;

    struct transport_timer timer;
    uint64_t start_us, connect_us, first_byte_us; /* of clock_us; 0: not yet */
    uint64_t last_ms;                             /* of the phase's last progress */
    uint64_t uploaded;                            /* when last looked at */
    uint64_t sent, received;
    bool is_added;           /* to the multi handle */
    bool is_active;          /* on_end is owed */
    bool is_paused, is_held; /* is_held: curl holds bytes back for us */
    bool is_stopped;         /* verdict says how; nothing more is told */
    bool was_retried, was_reused, was_sent;
    bool has_head, is_malformed;
    enum call_outcome verdict;
    const char *why; /* of is_malformed; static */

    unsigned status; /* of the head that comes */
    struct buf head; /* its names and values, without anything between */
    struct chat_pair *pairs;
    size_t n_pairs, cap_pairs;
    size_t head_bytes;
    struct coding *coding; /* NULL: identity */
    char error[CURL_ERROR_SIZE];
};

/* Has curl know the request. 0, -ENOMEM, or -EINVAL: a method or a header that is none. */
int call_write(struct call *c, const struct call_spec *spec) MUST_USE;
void call_queue(struct call *c, enum call_work work);
/* Ends a call that curl is done with. */
void call_finished(struct call *c, CURLcode result);
void call_work(struct call *c); /* what was queued */
/* Ends it with `outcome`, soon; nothing more is told but that. */
void call_stop(struct call *c, enum call_outcome outcome);
void call_destroy(struct call *c);
/* Its settings of TLS, as the loop keeps them. NULL: no memory. */
const struct tls_kind *tls_kind_of(struct transport_loop *l, const struct call_tls *tls);
void tls_kinds_free(struct transport_loop *l);

/* Whether its URL is one of https. */
bool call_is_tls(const struct call *c);

/* ---- sockets ---- */

/* What curl's handles tell the loop. */
curl_socket_t loop_open_socket(void *call, curlsocktype purpose, struct curl_sockaddr *address);
int loop_close_socket(void *loop, curl_socket_t fd);
/* Curl's wish to hear of a socket: a CURLMOPT_SOCKETFUNCTION. */
int loop_on_socket(CURL *easy, curl_socket_t fd, int what, void *loop, void *socket_owner);
void loop_on_event(struct transport_loop *l, int fd, uint32_t events); /* of epoll */
/* What calls have written goes out. */
void loop_let_go(struct transport_loop *l);
/* Whether it may wait for more. */
bool loop_may_gather(const struct transport_loop *l);

/* How a finished transfer is called. Fills outcome and message of *end. */
void call_judge(const struct call *c, CURLcode result, struct call_end *end);

/* ---- codings ---- */

/* For the value of Content-Encoding. 0: *ret (NULL: identity); -ENOMEM; -EINVAL: one that we
 * cannot unpack. */
int coding_new(struct coding **ret, struct str name) MUST_USE;
struct coding *coding_free(struct coding *k); /* NULL is fine; returns NULL */
struct coding_out {
    bool (*tell)(void *owner, struct str bytes); /* false: no more now */
    void *owner;
};
/*
 * Unpacks `bytes`, telling at most a piece at once. 0: all of them went in. -EAGAIN: no more was
 * wanted; the same bytes have to come again (perhaps with more behind them), and go on from where
 * they were left. -EINVAL: not of this coding, or unpacks beyond all bounds. -ENOMEM.
 */
int coding_push(struct coding *k, struct str bytes, struct coding_out out) MUST_USE;
bool coding_is_whole(const struct coding *k); /* ended where a body may end */
