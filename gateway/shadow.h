/*
 * Shadow: a revision that is sent a copy of some requests for `prod` and answers nobody.
 *
 * A copy is submitted when the client's answer has begun, where the engine has nothing waiting and
 * the revision's weights are in memory; else it is left out, and a cold revision is loaded for the
 * next one. Its text is compared with the client's and dropped.
 */
#pragma once

#include "engine/engine.h"
#include "gateway/state.h"

struct shadows;
struct shadow; /* one copy under way; the request's side of it */

int shadows_new(struct shadows **ret, struct adapters *a) MUST_USE;
/* Cancels what runs and waits for its end; the engines and the adapters must still be there. NULL
 * is fine; returns NULL. */
struct shadows *shadows_free(struct shadows *s);
DEFINE_CLEANUP(struct shadows *, shadows_free);

struct shadow_offer { /* all borrowed */
    const struct adapter_trial *trial;
    struct engine *engine;
    const struct chat_request *chat;
    struct str id;        /* of the request: its hash decides */
    uint64_t deadline_ms; /* of the request */
    uint64_t max_running; /* copies at once */
};
/* Any thread that may submit, never blocks. NULL: no copy of this one. */
struct shadow *shadow_begin(struct shadows *s, const struct shadow_offer *o);

/* What the client's answer says: text in order, then the end. `whole`: it came to its own end. The
 * reference is dropped; NULL is fine; returns NULL. */
void shadow_text(struct shadow *s, struct str text);
struct shadow *shadow_end(struct shadow *s, bool whole);
