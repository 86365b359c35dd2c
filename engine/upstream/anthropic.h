/*
 * Anthropic's Messages wire, also as clouds serve it under addresses of their own.
 */
#pragma once

#include "engine/upstream/claude.h"
#include "engine/upstream/provider_table.h"

/* How a place that serves it differs from Anthropic's own. */
struct anthropic_place {
    const char *version; /* the member anthropic_version: "vertex-2023-10-16"; NULL: a header */
    bool no_model;       /* the model is part of the address */
    bool no_stream;      /* likewise whether it is streamed */
    bool betas_in_body;  /* anthropic-beta is the member anthropic_beta, an array */
};

/* The body, appended to call->body. 0, negative errno, FAILED. */
int anthropic_write_body(struct provider_call *call, const struct provider_job *job,
                         const struct anthropic_place *place, struct fail *reterr) MUST_USE;
/* anthropic-version (the endpoint's api_version, or 2023-06-01) unless the client says one. */
int anthropic_version(struct provider_call *call, const struct provider_job *job) MUST_USE;

/* provider.h's, of this wire. */
struct provider_reader *anthropic_reader_new(const struct provider_job *job,
                                             const struct call_head *head, struct reader_out out);
int anthropic_read(struct provider_reader *base, struct str bytes);
void anthropic_end(struct provider_reader *base);
void anthropic_reader_free(struct provider_reader *base);
/* One event of a stream that is framed otherwise; `name` may be empty. 0 or -ENOMEM. */
int anthropic_read_event(struct provider_reader *base, struct str name, struct str data) MUST_USE;
/* The end of such a stream: as anthropic_end, whatever came. */
void anthropic_end_stream(struct provider_reader *base);

/* ---- shared by its files ---- */

/* Whether the answer is the input of a tool (CLAUDE_ANSWER_TOOL). */
bool anthropic_answers_by_tool(const struct provider_job *job);
enum { ANTHROPIC_TOOL_NAME = 128 };
