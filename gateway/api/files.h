/*
 * What files and batches have in common: whose they are, and pages of them.
 */
#pragma once

#include "gateway/batch.h"
#include "gateway/request.h"

/* What a client asks of /v1/files and /v1/batches; in the arena. */
struct files_ask {
    char owner[BATCH_OWNER];
    struct str after, purpose; /* of a list */
    size_t limit;
    bool ascending;
};

enum { FILES_LIMIT = 10000, BATCHES_LIMIT = 100, BATCHES_USUAL = 20 }; /* OpenAI's own */

/* http thread: reads who asks, and what of a list; r->work_about is set. FAILED: they are not
 * served here; invalid_request. `usual` and `max` are of `limit`. */
int files_ask(struct request *r, size_t usual, size_t max, struct fail *reterr) MUST_USE;
/* Replies with what went wrong, -ENOENT as `what` that is not there. */
void files_fault(struct request *r, int err, struct fail *fail, const char *what);
/* The head of a list, and its end: {"object":"list","data":[ … ],"first_id":…}. */
struct files_page {
    struct buf *out;
    size_t n;
    char first[BATCH_ID], last[BATCH_ID];
    bool has_more, past; /* `past`: behind the one that the client named */
};
/* Whether the item of that id is on the page; what separates it is printed. *ret_full: no more. */
bool files_page_has(struct files_page *p, const struct files_ask *ask, const char *id);
void files_page_begin(struct files_page *p, struct request *r, const struct files_ask *ask);
void files_page_end(struct files_page *p);
