/*
 * Structured output: from what a request asks (response_format, a grammar, a forced tool) to a
 * compiled grammar. Requests that ask the same share one, with its warm masks.
 *
 * Any thread; compiling happens on the caller's.
 */
#pragma once

#include "engine/chat.h"
#include "engine/local/grammar/constraint.h"
#include "engine/local/tool_format.h"

struct structure;

/* One a model. The tokenizer is borrowed and outlives it. 0 or -ENOMEM. */
int structure_new(struct structure **ret, const struct tokenizer *t) MUST_USE;
struct structure *structure_free(struct structure *s); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct structure *, structure_free);

/* How the model writes answers, for what stands around the text and for forced calls. */
struct structure_manner {
    const struct tool_format *format; /* NULL: all is text */
    bool opened;                      /* the prompt ends inside a reasoning block */
};

/*
 * *ret is a new reference, or NULL for free text. FAILED: a schema, grammar or expression that
 * means nothing or cannot be honoured; *reterr names the field and the keyword.
 */
int structure_grammar(struct structure *s, const struct chat_request *request,
                      struct structure_manner manner, struct grammar **ret,
                      struct fail *reterr) MUST_USE;

/* The vocabulary's bytes; lives as long as the structure. Valid after a grammar was given. */
const struct token_trie *structure_trie(struct structure *s);
