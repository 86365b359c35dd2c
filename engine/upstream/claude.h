/*
 * What models of Claude can do, wherever they are served, and how one is told to think.
 */
#pragma once

#include "engine/upstream/provider_table.h"

/* By its name: "claude-sonnet-4-5-20250929" is 405; 0: no such name. */
struct claude {
    unsigned version;
    bool is_opus;
};
struct claude claude_of(struct str model);
bool claude_is(struct str model);
/* provider.speaks_at of who serves Claude among others. */
bool claude_speaks_at(const struct config_endpoint *e, enum wire wire);

/* Where a model has no structured answers: a tool of this name that it must call, whose input is
 * the answer. */
#define CLAUDE_ANSWER_TOOL "answer_in_json"
#define CLAUDE_ANSWER_TOOL_IS "Gives the answer, as its input."
bool claude_has_format(struct claude m);
/* What a system prompt says where any JSON object is asked for and there is no field for that. */
#define CLAUDE_JSON_PROMPT "Answer with one JSON object and nothing else."

struct claude_plan {
    bool thinks, is_adaptive, is_off;
    uint32_t budget;     /* tokens, where it thinks and is not adaptive */
    uint32_t max_tokens; /* of the whole answer */
    struct str effort;   /* output_config.effort; empty: none */
    bool has_temperature, has_top_p, has_top_k;
};
/* `is_forced`: a tool must be called, beside which nothing is thought. 0, or FAILED naming the
 * field that the model does not take, unless parameters may be dropped. */
int claude_plan(struct claude_plan *ret, const struct provider_job *job, bool is_forced,
                struct fail *reterr) MUST_USE;
/* The value of `thinking`; call where thinks or is_off. */
void claude_add_thinking(struct buf *b, const struct claude_plan *p, struct claude m);
