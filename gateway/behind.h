/*
 * Behind: what is different in an answer whose engine is behind us, over HTTP.
 *
 * Its bytes may pass as they are, its headers and refusals are the client's to see, and it loads
 * adapters itself.
 */
#pragma once

#include "gateway/answer.h"

/* http thread. Headers of an admitted or failed event, before the head is sent; ours go first. */
void behind_take_headers(struct answer *a, const struct engine_event *e);
void behind_take_verbatim(struct choice *c, const struct engine_event *e);
/* A failed event, the first: what the engine said, where that is in the client's wire. */
void behind_take_refusal(struct answer *a, const struct engine_event *e);
/* The reply to a->failed, in the engine's own words where it has said any. */
enum next behind_reply_failed(struct answer *a);

/* What an engine behind may know of the request's head: its headers, and the client's credentials
 * where it is configured to get them. 0 or -ENOMEM. */
int behind_headers(struct answer *a, const struct chat_pair **ret, size_t *ret_n) MUST_USE;

/* Engine thread, after an event: an engine behind need not write faster than the client reads. */
void behind_pause(struct choice *c);
/* http thread: what was paused goes on, its events have been taken. */
void behind_resume(struct answer *a);

/* Before submitting: whether the client gets the very bytes of the engine. */
void behind_choose_verbatim(struct answer *a);

/* Whether the base of the adapter asked for is, or may be, behind. */
bool behind_may_have(const struct answer *a);
/* Worker: what the adapter's name means, which no lease will tell. Fills revision and, where its
 * base is behind, target.model and remote; or fails the answer. */
void behind_find_revision(struct request *r);
