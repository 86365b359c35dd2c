/*
 * What an answer has beside its text: reasoning and tool calls.
 *
 * Each stretch (the reasoning, the arguments of one call) passes the plugins' stream stage as a
 * text of its own, so that a guard never sees two of them joined. http thread.
 */
#pragma once

#include "gateway/answer.h"

struct choice_call { /* of an answer that is sent as a whole; lives in the request's arena */
    struct choice_call *next;
    struct str id, name;
    struct buf arguments; /* as they were written: usually, not always, JSON */
};

struct choice_thought { /* a block of its reasoning that was signed, or cannot be read; likewise */
    struct choice_thought *next;
    size_t from, to; /* its text in choice->reasoning */
    struct str signature, redacted;
};

/* Takes a reasoning or tool_call event. */
void parts_take(struct choice *c, const struct engine_event *e);
/* Another stretch begins (or none): what the guards withheld of the last one leaves. */
void parts_leave(struct choice *c);
void parts_done(struct choice *c);
/* A block's text; of an answer that is sent as a whole. */
struct str parts_thought(const struct choice *c, const struct choice_thought *t);
/* What was thought behind the last block that was signed. */
struct str parts_unsigned(const struct choice *c);
