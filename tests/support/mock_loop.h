/*
 * A listener of the mock upstream: its thread, its connections, its clock. Internal.
 */
#pragma once

#include "tests/support/mock_answer.h"
#include "tests/support/mock_stats.h"

#include <openssl/ssl.h>
#include <pthread.h>

enum { MOCK_SLOTS = 1024, MOCK_PREBUILT = MOCK_WIRE_ollama + 1 };

struct mock_conn;

struct mock_loop {
    struct mock_stats *stats; /* borrowed */
    pthread_t thread;
    bool running;
    int listener, epoll, wake; /* wake: an eventfd that ends the thread */
    uint16_t port;
    SSL_CTX *tls; /* NULL: none */
    uint64_t now_us, next_number;
    uint64_t ticked_ms; /* timers up to it were fired */
    size_t n_timers;
    struct mock_conn *slots[MOCK_SLOTS]; /* of their timers' milliseconds, modulo */
    struct mock_conn *conns, *dead;
    /* What requests without a script get: by wire, streamed or not, with usage or not. */
    struct buf prebuilt[MOCK_PREBUILT][2][2];
};

enum mock_phase {
    MOCK_PHASE_read, /* a request, or nothing */
    MOCK_PHASE_begin,
    MOCK_PHASE_head,
    MOCK_PHASE_body,
    MOCK_PHASE_end,
    MOCK_PHASE_after,
};

struct mock_conn {
    struct mock_loop *loop;
    struct mock_conn *next, **place;             /* of loop->conns; next also of loop->dead */
    struct mock_conn *timer_next, **timer_place; /* NULL: no timer */
    uint64_t timer_ms;
    int fd;
    SSL *tls; /* owned; NULL: none */
    bool shaken, dead, peer_closed, stale;
    uint64_t number, connected_us;
    uint32_t requests;

    char *in; /* owned */
    size_t n_in, in_room;
    size_t head_bytes, need; /* of the request that is being read; 0: not known yet */
    size_t chunk_at;         /* where the next chunk of a chunked request begins; 0: not chunked */
    bool continued;

    enum mock_phase phase;
    struct str view; /* what is unsent of a prebuilt answer */
    struct buf out, body;
    size_t out_sent, body_from; /* of body, what went to out */
    uint64_t body_bytes;        /* of the whole answer so far */
    size_t stop_at;             /* of body: there the action happens; 0: nowhere */
    uint64_t wait_ms, frame_ms; /* nothing before it; when the last frame was due */
    uint64_t blocked_us;        /* since when the socket takes nothing; 0: it does */
    bool keep, old, chunked, whole, acted;
    unsigned armed; /* enum mock_do, once all before it is sent */
    struct mock_ask ask;
    struct mock_script script;
    struct mock_render render;
    uint32_t record; /* MOCK_NO_TRY */
    struct mock_try try;
};

/* A connection that was accepted; takes fd. NULL: no memory, fd is closed. */
struct mock_conn *mock_conn_new(struct mock_loop *l, int fd);
void mock_conn_event(struct mock_conn *c, uint32_t events);
void mock_conn_timer(struct mock_conn *c);   /* its time has come */
void mock_conn_close(struct mock_conn *c);   /* freed when the loop has gone round */
void mock_conn_release(struct mock_conn *c); /* of the dead */

void mock_timer_set(struct mock_conn *c, uint64_t at_ms);
void mock_timer_clear(struct mock_conn *c);

/* Answers of /_mock: appends head and body. */
void mock_control(struct mock_loop *l, struct str method, struct str target, struct str body,
                  struct buf *out);
