/*
 * Google's wire, of the Gemini API and of Vertex AI. Internal to engine/upstream/.
 *
 * Source: "GenerateContent" of the Gemini API reference and of the Vertex AI REST reference.
 */
#pragma once

#include "engine/upstream/provider_table.h"

enum { GEMINI_TOOL_NAME = 64 };

/* The version of a model's name, times ten: "gemini-2.5-pro" is 25; a name without one counts as
 * 25, too. */
unsigned gemini_version(struct str model);

/* The body of generateContent. 0, -ENOMEM, FAILED as of provider.write. */
int gemini_write_body(struct provider_call *call, const struct provider_job *job,
                      struct fail *reterr) MUST_USE;

/* What is to be counted: contents, system instruction and tools, as one object. */
void gemini_write_prompt(struct provider_call *call, const struct provider_job *job);

struct provider_reader *gemini_reader_new(const struct provider_job *job,
                                          const struct call_head *head, struct reader_out out);
int gemini_read(struct provider_reader *base, struct str bytes);
void gemini_end(struct provider_reader *base);
void gemini_reader_free(struct provider_reader *base);
void gemini_refusal(const struct provider_job *job, const struct call_head *head, struct str body,
                    struct provider_refusal *ret);
