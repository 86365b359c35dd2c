/*
 * Answer: one generation, from the decoded request to its last event.
 *
 * Steps on the http thread: decode → route → plugins → lease → submit → render. Between them the
 * connection sleeps; jobs and leases report through the flow. What the wire looks like is the
 * dialect's matter.
 */
#pragma once

#include "gateway/cold.h"
#include "gateway/conversation.h"
#include "gateway/request.h"
#include "gateway/target.h"

struct answer;
struct choice;
struct shadow;

struct dialect {
    const char *id_prefix; /* "chatcmpl-" */
    enum wire wire;        /* an engine behind of this wire may answer verbatim */
    /* Body → answer->chats and the rest. 0 or FAILED. */
    int (*decode)(struct answer *a, struct str body, struct fail *reterr);
    /* Events of a stream, each a whole SSE event appended to `out`. */
    void (*begin)(struct answer *a, struct choice *c, struct buf *out);
    void (*text)(struct answer *a, struct choice *c, struct str text, const struct engine_event *e,
                 struct buf *out);
    /* A piece of reasoning, or of a tool call; NULL: the dialect has neither. */
    void (*part)(struct answer *a, struct choice *c, const struct engine_event *e, struct buf *out);
    void (*end)(struct answer *a, struct choice *c, struct buf *out);
    /* May be NULL. All choices have ended, or the answer failed, and what the client will be told
     * is kept first: false while that is not done; asked again after each wake. */
    bool (*settle)(struct answer *a);
    /* May be NULL. The prompt is longer than the context: true when it was made shorter, and may be
     * tried again. */
    bool (*shorten)(struct answer *a);
    /* After all choices have ended: usage, and whatever says that the stream is complete. */
    void (*finish)(struct answer *a, struct buf *out);
    /* Instead of it: the stream breaks off. Never looks like a complete one. */
    void (*fail)(struct answer *a, const struct fail *fail, struct buf *out);
    /* Silence is broken by it; may come before `begin`. */
    void (*beat)(struct answer *a, struct buf *out);
    /* A verbatim event: of a stream it is printed as a whole SSE event (or swallowed), else it is
     * the whole answer. NULL: never asked for. */
    void (*verbatim)(struct answer *a, const struct engine_event *e, struct buf *out);
    /* An answer that is sent as a whole: adds tokens of an event to the choice; prints all. */
    void (*collect)(struct answer *a, struct choice *c, struct str text,
                    const struct engine_event *e);
    void (*whole)(struct answer *a, struct buf *out);
};

struct choice {
    struct answer *answer;
    uint32_t index;         /* on the wire; until the best are chosen, in answer->choices */
    uint32_t chat;          /* which of answer->chats */
    struct engine_job *job; /* owned; published under flow.lock */
    struct chain_run *run;  /* owned; NULL: no stream stage */
    bool begun, ended;      /* rendered */
    bool paused;            /* its engine, until the client has read; under flow.lock */
    bool is_shown;          /* among answer->shown */
    bool done;              /* the engine sent its last event */
    bool is_refusal;        /* its text says why the model will not answer */
    bool is_blocked;        /* a guard ended it */
    enum finish_reason finish;
    struct str stop;           /* the stop string that ended it; empty: none; in the arena */
    struct engine_usage usage; /* so far; final once it is done */
    float mean_logprob;        /* of its tokens, where best_of chooses */
    uint64_t first_us,
        done_us;            /* its first token and its end, by the engine's thread; 0: not yet */
    struct buf content;     /* of a whole answer; ceiling LIMIT_REQUEST_ARENA */
    struct buf logprobs[4]; /* of a whole answer, as the dialect likes */
    size_t n_logprobs;
    struct buf reasoning; /* of a whole answer; like content. Of a stream the dialect's */
    struct choice_thought *thoughts; /* of a whole answer: its signed blocks (gateway/parts.h) */
    uint32_t n_thoughts;             /* of a stream: how many of them were told */
    struct choice_call *calls;       /* of a whole answer (gateway/parts.h) */
    struct chain_run *part_run;  /* owned: guards the stretch of reasoning or arguments under way */
    enum engine_event_kind part; /* … which is this */
    uint32_t part_index;         /* … of this call */
    size_t offset;               /* code points sent, for text_offset */
};

struct answer {
    struct request *request; /* borrowed: its owner */
    const struct dialect *dialect;
    void *own; /* what the dialect remembers, in the arena; may be NULL */
    char id[48];
    struct str model;      /* as the response names it */
    struct str model_json; /* the same as JSON, once a dialect has needed it */

    struct chat_request *chats; /* one a prompt; all share everything but the prompt */
    size_t n_chats;
    bool empty; /* max_tokens is 0: nothing to generate */

    bool is_verbatim; /* the engine behind answers in the client's own wire */

    struct target target;
    int resolved; /* what resolving the model gave: 0, FAILED with `failed`, a negative errno */
    struct conversation conversation;
    struct route_session last; /* what it did before */
    struct str user;           /* who asks, for outcomes; may be empty */
    const struct chain *chain; /* borrowed from the snapshot */
    struct str canned;         /* a plugin's own answer */
    bool is_canned;
    bool is_blocked;          /* by a plugin, before an engine worked */
    bool has_injected_prompt; /* the system message is not the client's */

    /* What the replay ring keeps (gateway/record.h). */
    struct str asked;
    struct buf answered; /* text that has left */
    bool asked_cut, answered_cut, is_recorded;

    struct cold cold;
    _Atomic(struct lease *) lease; /* whoever takes it releases it */
    struct lease_wait *wait;
    bool lease_called;       /* this and the next under flow.lock */
    struct fail *lease_fail; /* why there is none; in the arena once one is asked for */
    uint64_t lease_since_us;
    bool is_leasing; /* acquired, and not come yet */
    bool has_head;   /* of a stream: its status and headers are on their way */
    bool has_revision;
    struct adapter_revision *revision; /* in the arena, once an adapter is asked for */
    enum residency residency;
    bool is_judged;        /* its end was told to the canaries */
    bool is_shadowed;      /* it was asked whether there is one */
    struct shadow *shadow; /* the copy that a shadow revision answers; NULL: none */

    struct choice *choices; /* best_of of each chat, or n */
    size_t n_choices, n_done;
    struct choice **shown; /* of a whole answer: those that are sent, in wire order */
    size_t n_shown;
    uint64_t overhead_us;  /* received to submitted, without the wait for the adapter */
    uint64_t submitted_us; /* 0: not yet */
    bool is_observed;      /* its end taught what it teaches */
    uint64_t queue_us;
    bool has_text; /* the first token was counted */

    struct buf out; /* rendered, not yet read by the server */
    bool out_end;   /* nothing follows `out` */
    bool is_failed; /* by an engine job */
    struct fail failed;
    unsigned refused_status;      /* the engine behind refused it so, and … */
    struct str refused_body;      /* … said why, in the client's wire; in the arena */
    struct engine_adapter remote; /* the revision that an engine behind answers with */
};

/* The step of an endpoint that generates: request->answer is made here. */
enum next answer_start(struct request *r, const struct dialect *d);

/* http thread, the content reader: bytes copied, 0 after the connection was suspended, -1 at the
 * end, -2 to abort. */
ptrdiff_t answer_read(struct request *r, char *into, size_t max);

/* For gateway/parts.c. Text through one run of the guards; true: they blocked, and answer_block is
 * due once `out` was sent. */
bool answer_guard(struct choice *c, struct chain_run *run, struct str text, bool end,
                  struct buf *out);
void answer_block(struct choice *c);                         /* ends the choice and its decode */
void answer_fail(struct answer *a, const struct fail *fail); /* the first failure is kept */

void answer_cancel(struct answer *a);        /* any thread that holds the request */
void answer_release_lease(struct answer *a); /* any thread; once */
void answer_abandon(struct answer *a); /* http thread, the request completed: gives waits up */
void answer_done(struct answer *a);    /* with the last reference */

/* Sums over the choices: prompts once each. */
struct engine_usage answer_usage(const struct answer *a);
/* What it costs by the prices of its model, in *ret_currency; negative: they are not known. */
double answer_cost(const struct answer *a, struct str *ret_currency);
/* Log-probabilities go out only where no plugin guards the stream: token bytes would bypass it. */
bool answer_shows_logprobs(const struct answer *a);
