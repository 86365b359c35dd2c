/*
 * Amazon Bedrock. Internal to engine/upstream/.
 *
 * Source: "Converse", "ConverseStream" and "InvokeModel" of the Bedrock API reference.
 */
#pragma once

#include "engine/upstream/provider_table.h"

enum { BEDROCK_TOOL_NAME = 64 };

/*
 * Whether the call is InvokeModel in Anthropic's own wire: a client's request in that wire for
 * Claude, of which Converse would keep less. Everything else is Converse.
 */
bool bedrock_invokes(const struct provider_job *job);

/* Whether the answer is the input of a tool (CLAUDE_ANSWER_TOOL): the model cannot be held to a
 * schema otherwise. */
bool bedrock_answers_by_tool(const struct provider_job *job);
/* The body of Converse. 0, -ENOMEM, FAILED as of provider.write. */
int bedrock_write_body(struct provider_call *call, const struct provider_job *job,
                       struct fail *reterr) MUST_USE;
/* What is to be counted: messages, system and tools, in Converse's words. */
int bedrock_write_prompt(struct provider_call *call, const struct provider_job *job,
                         struct fail *reterr) MUST_USE;
/* Signs what was written, or adds the bearer key: the last step. 0, negative errno, FAILED. */
int bedrock_sign(struct provider_call *call, const struct provider_job *job,
                 struct fail *reterr) MUST_USE;

struct provider_reader *bedrock_reader_new(const struct provider_job *job,
                                           const struct call_head *head, struct reader_out out);
int bedrock_read(struct provider_reader *base, struct str bytes);
void bedrock_end(struct provider_reader *base);
void bedrock_reader_free(struct provider_reader *base);
