/*
 * OpenAI's Responses API: what one response is made of, from its body to what is kept of it.
 *
 * A response is asked for by items (messages, calls, outputs of calls, reasoning) and answered by
 * items. What it was asked with, the turns before it included, is kept beside it, so that the next
 * one needs nothing but it. http thread, except where a comment says otherwise.
 */
#pragma once

#include "gateway/answer.h"

enum { RESPONSES_ITEM_ID = 64 };

enum responses_kind { ITEM_none, ITEM_message, ITEM_reasoning, ITEM_call };

struct responses_item { /* of the output, under way */
    enum responses_kind kind;
    char id[RESPONSES_ITEM_ID];
    struct buf text; /* or arguments */
    struct buf logprobs;
    bool is_refusal;          /* of a message: its text says why there is no other */
    struct str name, call_id; /* of a call; in the arena */
    struct str encrypted;     /* of reasoning, what a provider wants back; in the arena */
};

enum responses_keeping {
    KEEPING_not_yet,
    KEEPING_now,  /* a worker is at it */
    KEEPING_done, /* or there is nothing to keep */
};

struct responses {       /* request->front */
    struct arena *arena; /* the request's */
    struct str base;     /* of its ids: 24 characters */
    struct str id;       /* of one in the background */
    /* As the client wrote them: views of the checked body. */
    struct str body, input;
    struct str previous, conversation; /* ids; empty: none */
    bool store, background, streams;
    bool wants_summary; /* reasoning is told as a summary of itself */
    bool counts;        /* only its tokens are asked for: a model need not be named */
    bool may_cut;       /* truncation: auto */

    /* What came before: a JSON array of items, in the arena; empty: nothing. */
    struct str context;
    struct str known; /* … and the items that the request names by their ids; likewise */
    struct buf own;   /* the request's own items, as they are kept, separated by commas */
    struct buf echo;  /* members of the response that say what was asked for, each with its comma */

    struct buf output; /* its finished items, separated by commas */
    unsigned n_output;
    struct responses_item item;
    uint64_t sequence; /* number of the next event */
    struct buf final;  /* the response object as it ended */
    struct buf record; /* what is kept */
    enum responses_keeping keeping;
    struct fail failed; /* what was to be looked up */
};

struct responses *
responses_new(struct request *r); /* NULL: no memory; request->front from now on */

/* The metadata of a checked body. 0 or FAILED. */
int responses_check_metadata(struct str body, struct fail *reterr) MUST_USE;
/* Checks the body and finds what must be looked up before it can be decoded. 0 or FAILED. */
int responses_read(struct responses *x, struct str body, struct fail *reterr) MUST_USE;
/* Worker, or a store that never blocks: the turns before, and the items that are only named. */
void responses_load(struct request *r);
bool responses_refers(const struct responses *x); /* it has something to load */
/* The rest of the body → chat request. 0, FAILED or -ENOMEM. */
int responses_decode(struct responses *x, struct chat_request *ret, struct arena *arena,
                     struct fail *reterr) MUST_USE;

/* ---- items (responses_items.c) ---- */

struct items {
    struct arena *arena;
    const char *param; /* "input" */
    struct fail *reterr;
    struct str known; /* items that may be named by their id: a JSON array */
    struct chat_message *messages;
    size_t n, room;
    bool open; /* the last message is an assistant's, and more of it may come */
};

/* Appends what the items of an array say, in the order of a conversation. 0, FAILED, -ENOMEM. */
int items_decode(struct items *to, struct str array) MUST_USE;
int items_say(struct items *to, struct str role, struct str text) MUST_USE;
/* Where new ids come from: "msg_" and `base`, and the number of the item. */
struct item_ids {
    struct str base; /* 24 characters of a response's id */
    char kind;       /* 'i': of an input, 'o': of an output */
    size_t n;        /* of the next */
};
void items_id(struct item_ids *ids, const char *prefix, char ret[static RESPONSES_ITEM_ID]);
/* The id of the response that the item belongs to: "resp_…"; false: it is none of ours. */
bool items_response(struct str item_id, char ret[static RESPONSES_ITEM_ID]);
/* Appends an item as it is kept and listed: with id, type, status, and parts. `known` as above. */
void items_keep(struct buf *b, struct str item, struct str known, struct item_ids *ids);
/* The item of that id in an array of them; p NULL: none. */
struct str items_find(struct str array, struct str id);

struct item_page { /* what a client asks of a list */
    struct str after;
    size_t limit;
    bool ascending;
};
int items_page(struct request *r, struct item_page *ret, struct fail *reterr) MUST_USE;
/* Prints the list. FAILED: `after` names none of them. */
int items_list(struct buf *b, struct str array, const struct item_page *page,
               struct fail *reterr) MUST_USE;

/* ---- rendering (responses_render.c) ---- */

extern const struct dialect responses_dialect;
/* The response object: what the answer knows of it, and what x has. */
struct response_head {
    const char *id, *status;
    uint64_t created_s;
    struct str model;
    const struct fail *fail;          /* NULL: none */
    const char *incomplete;           /* why; NULL: it is not */
    const struct engine_usage *usage; /* NULL: not known yet */
};
void responses_print(const struct responses *x, struct buf *b, const struct response_head *head);
/* `error` and `response.failed`. */
void responses_print_failure(struct answer *a, const struct fail *fail, struct buf *b);
/* x->record: what is kept of a response. */
void responses_record(struct responses *x, struct str response);
/* The same where it stopped before its end: x->final and x->record. */
void responses_break(struct answer *a, const char *status, const struct fail *fail);
/* The events of a response that has ended, its text in one piece, without the first `skip`. */
void responses_replay(struct buf *b, struct str response, uint64_t skip);
/* Into x->final, and what is to be kept into x->record. */
void responses_end(struct answer *a);

/* ---- keeping (responses_kept.c) ---- */

/* As dialect.settle: the response is kept before the client is told that it is complete. */
bool responses_settle(struct answer *a);
/* Whether an id may be one of ours: others never reach a store. */
bool responses_is_id(struct str id, const char *prefix);
/* Worker: what is kept under an id for the caller, in the arena. -ENOENT, FAILED, -ENOMEM. */
int responses_fetch(struct request *r, struct str id, struct str *ret,
                    struct fail *reterr) MUST_USE;
/* A worker, or a store that never blocks: puts x->record; not over one that was cancelled or
 * deleted meanwhile. */
void responses_keep(struct request *r);
/* NEXT_stream: the client reads what the response, which runs here, streams; else NEXT_wait. */
enum next responses_follow(struct request *r, struct str id, uint64_t skip);
/* The key of a thing of the caller's, in the arena; NULL: no memory. */
const char *responses_key(struct request *r, struct str id);
