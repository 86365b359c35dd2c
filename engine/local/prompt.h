/*
 * From a request to prompt ids: the chat template, BOS, bounds.
 *
 * Immutable once made; any thread.
 */
#pragma once

#include "engine/chat.h"
#include "engine/local/chat_template.h"
#include "engine/local/tokenizer.h"
#include "engine/local/tool_format.h"

struct prompter;

/* Takes the template from the model's metadata; ChatML, with a log line, where it has none. One
 * that does not compile is logged, and chat requests (only they) fail with its message. The
 * tokenizer is borrowed and outlives the prompter. 0 or -ENOMEM. */
int prompter_new(struct prompter **ret, const struct gguf *g, const struct tokenizer *t,
                 uint32_t vocab) MUST_USE;
struct prompter *prompter_free(struct prompter *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct prompter *, prompter_free);

/* How the model's answers are written; as long as the prompter. */
const struct tool_format *prompter_format(const struct prompter *p);

/* Appends at least one id, and at most ids->max in all. FAILED: empty prompt, one past that bound
 * (told without cutting all of it), an id outside the vocabulary, a template that refuses the
 * messages. */
int prompter_ids(const struct prompter *p, const struct chat_request *request,
                 struct token_list *ids, struct fail *reterr) MUST_USE;
/* The same; *ret_opened: the prompt ends inside a reasoning block. */
int prompter_prompt(const struct prompter *p, const struct chat_request *request,
                    struct token_list *ids, bool *ret_opened, struct fail *reterr) MUST_USE;
