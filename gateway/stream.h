/*
 * Flow: what happens to a request on other threads, and the sleep of its connection meanwhile.
 *
 * The only place that suspends and resumes connections. A connection is suspended only on its own
 * http thread and only when nothing is pending; a wake resumes it, or is remembered. Engine events
 * are copied into a list that the http thread takes as a whole.
 */
#pragma once

#include "base/thread.h"
#include "engine/engine.h"

struct MHD_Connection;

enum flow_end {
    FLOW_open = 0,
    FLOW_gone,     /* the client left */
    FLOW_slow,     /* it does not read: its backlog reached LIMIT_STREAM_BACKLOG */
    FLOW_shutdown, /* the drain time is over */
    FLOW_answered, /* all is rendered: a client that leaves now has what it came for */
};

struct flow_event {
    struct flow_event *next;
    uint32_t choice;
    struct engine_event event; /* text and tokens point behind this struct */
};

struct transport_loop;

struct flow {
    pthread_mutex_t lock;
    struct transport_loop *loop; /* that hosts its daemon; NULL: that has threads of its own */
    struct MHD_Connection *connection; /* NULL once completed, or without one … */
    void (*resume)(void *owner);       /* … whose sleep ends by this; under the lock */
    void *owner;
    bool suspended, woken;
    _Atomic bool beat; /* silence lasted keep_alive_ms */
    bool eager;        /* every event wakes; else only the last one of each job */
    _Atomic enum flow_end end;
    _Atomic unsigned jobs;  /* submitted and not yet done, plus one while submitting */
    _Atomic bool unsettled; /* all have ended; their reference is the http thread's to give back */
    struct flow_event *first, **last;
    size_t bytes, largest; /* of the list; of one of them */
    uint64_t wrote_ms;     /* when bytes last left */
};

int flow_init(struct flow *f, struct MHD_Connection *connection) MUST_USE;
void flow_done(struct flow *f); /* drops events that nobody took */

/* http thread: puts the connection to sleep. false: something happened meanwhile, look again. */
bool flow_suspend(struct flow *f);
/* No connection: `resume` is called once for each sleep, and must not call back. */
void flow_detach(struct flow *f, void (*resume)(void *owner), void *owner);
void flow_wake(struct flow *f);      /* any thread */
void flow_completed(struct flow *f); /* http thread: the connection must not be touched any more */

/* Any thread, from time to time: a sleeping stream that was silent for that long gets a beat. */
void flow_tick(struct flow *f, uint64_t now_ms, uint64_t keep_alive_ms);

void flow_job_add(struct flow *f);
bool flow_job_drop(struct flow *f); /* true: it was the last */

enum flow_left {
    FLOW_more,   /* jobs of the request are in flight */
    FLOW_last,   /* this was the last event of all: the jobs' reference is the caller's to settle */
    FLOW_handed, /* likewise, and the http thread settles it: the request may be gone already */
};
/*
 * Engine thread: copies the event and wakes. Returns false when the client's backlog is full (the
 * caller cancels; never with FLOW_handed).
 */
bool flow_push(struct flow *f, uint32_t choice, const struct engine_event *e,
               enum flow_left *ret_left);

bool flow_take_settle(struct flow *f); /* http thread: true, once: give it back */

/* All events so far, oldest first; the caller frees each. */
struct flow_event *flow_take(struct flow *f);
bool flow_take_beat(struct flow *f);
bool flow_close(struct flow *f,
                enum flow_end why); /* any thread; wakes; true: the first to do so */
enum flow_end flow_ended(const struct flow *f);
/* http thread: clock_us when what now happens was noticed. */
uint64_t flow_now_us(const struct flow *f);
void flow_wrote(struct flow *f, uint64_t now_ms);
