/*
 * The HTTP server: libmicrohttpd with epoll and a pool of threads, and what a request needs of it.
 *
 * start → (publish)* → drain → stop, from the main thread.
 */
#pragma once

#include "gateway/request.h"

struct batches;
struct canaries;
struct detached;
struct kept;
struct replay;
struct server;
struct shadows;

/* Positions in the label lists of the metrics that the gateway counts. */
enum { SERVER_STAGE_prompt, SERVER_STAGE_stream };
enum { SERVER_OUTCOME_matched, SERVER_OUTCOME_default };

/*
 * Binds and serves. Core is borrowed and must outlive the server; the state is moved. `listen`:
 * "127.0.0.1:8080", "[::1]:0", ":8080", "localhost:8080". FAILED: why it cannot listen.
 */
int server_start(struct server **ret, struct core *core, struct state *state, struct str listen,
                 struct fail *reterr) MUST_USE;
const char *server_address(const struct server *s);         /* "127.0.0.1:8080", as bound */
void server_publish(struct server *s, struct state *state); /* moved; for requests from now on */
void server_drain(struct server *s);                        /* refuse new work; /ready says so */
bool server_is_draining(const struct server *s);
unsigned server_active(const struct server *s); /* requests not yet freed, jobs included */
void server_cancel_all(struct server *s);
/* After a drain. FAILED: requests are still active; nothing was stopped. */
int server_stop(struct server *s) MUST_USE;

/* ---- for requests ---- */

struct watch *server_watch(struct server *s);
struct replay *server_replay(struct server *s); /* of the last routed requests */
struct canaries *server_canaries(struct server *s);
struct shadows *server_shadows(struct server *s);
struct kept *server_kept(struct server *s); /* responses and conversations */
struct detached *server_detached(struct server *s);
struct batches *server_batches(struct server *s); /* NULL: they are not served */
struct state *server_state(struct server *s);     /* the current snapshot; a reference */
/* A new request with that snapshot and no connection; NULL: no memory. */
struct request *server_request(struct server *s, struct state *state);
/* It has ended as far as its client is concerned: waits are given up, it is logged and counted. */
void server_depart(struct request *r, bool complete);
void server_forget(struct server *s); /* a request was freed; the server may go right after it */
/* Puts the connection to sleep, watched; false: look again. */
bool server_suspend(struct request *r);
/* Runs fn(r) on a worker, then `then` on the http thread. The way to anything that may block. */
enum next server_work(struct request *r, void (*fn)(struct request *r),
                      enum next (*then)(struct request *r));
/* Runs fn(r) on a worker while the request's step stays; request.worked and a wake say when it is
 * done. 0, or -EAGAIN: too much is queued. */
int server_work_aside(struct request *r, void (*fn)(struct request *r)) MUST_USE;
/* As server_work, for what changes the catalog, and may wait for other gateways: on threads of its
 * own. */
enum next server_change(struct request *r, void (*fn)(struct request *r),
                        enum next (*then)(struct request *r));
/* As server_work, for what computes for long: on threads of its own, so that look-ups never wait
 * for it. 429 when too much is queued. */
enum next server_compute(struct request *r, void (*fn)(struct request *r),
                         enum next (*then)(struct request *r));
