/*
 * Attempt: one request to one endpoint, from writing it to the end of its answer.
 *
 * Heap memory that frees itself once its call has ended. Everything on its loop's thread.
 */
#pragma once

#include "engine/upstream/inside.h"

struct attempt;

/* How it ended, where it did not end with `done`. */
struct attempt_failure {
    enum refusal_kind kind;
    struct fail fail;
    unsigned status; /* the engine behind refused with it; 0: there was no answer, or no refusal */
    struct str body; /* its error object in the request's wire; borrowed during the call */
    bool no_adapter; /* it does not have the adapter, though we thought so */
    unsigned cause; /* of enum upstream_retry; 0: nothing is wrong with the endpoint, it only cannot
                       take this request */
    const struct chat_pair *headers; /* of the refusal, for the client; borrowed during the call */
    size_t n_headers;
};

struct attempt_handler {
    /* What the answer holds, until done. Pausing and dropping are allowed inside. */
    void (*event)(struct attempt *a, const struct engine_event *e);
    /* Instead of done; the last. */
    void (*failed)(struct attempt *a, const struct attempt_failure *why);
};

struct attempt_spec {
    struct upstream *upstream;
    struct transport_loop *loop;
    unsigned endpoint;
    const struct engine_spec *spec; /* borrowed while the attempt is not dropped */
    bool verbatim;
    struct lora_use *adapter;   /* held by the caller for as long; NULL: the base */
    struct chat_pair base_body; /* to be added without an adapter; key.n 0: nothing */
    uint64_t deadline_ms;
    const struct attempt_handler *handler;
    void *owner;
};

/*
 * 0: the handler will be called (never from inside this). FAILED: it cannot be written for that
 * endpoint, nothing was sent, the handler is not called.
 */
int attempt_start(struct attempt **ret, const struct attempt_spec *spec,
                  struct attempt_failure *reterr) MUST_USE;
void *attempt_owner(const struct attempt *a);
unsigned attempt_endpoint(const struct attempt *a);
uint64_t attempt_started_us(const struct attempt *a);
enum { ATTEMPT_HEADERS = 24 };
/* Of the answer's head, what the client may know, in `out`; borrowed while the attempt is not
 * dropped. Returns how many. */
size_t attempt_headers(const struct attempt *a, struct chat_pair out[ATTEMPT_HEADERS]);
void attempt_pause(struct attempt *a, bool paused);
/* Nobody wants it any more, or it has ended: its handler is not called again, what runs of it is
 * broken off. NULL is fine. */
void attempt_drop(struct attempt *a);
