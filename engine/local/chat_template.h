/*
 * Chat templates: the Jinja subset that model files carry, rendered to spans that remember which
 * bytes came from the template and which from users. Equal to Python's jinja2 (trim_blocks,
 * lstrip_blocks) as transformers sets it up.
 *
 * A compiled template is immutable; any thread renders. Bounded in steps, depth and output.
 */
#pragma once

#include "engine/chat.h"
#include "engine/local/tokenizer.h"

struct chat_template;
struct tool_format;

/* FAILED: *reterr gives line and what is not understood. */
int chat_template_new(struct chat_template **ret, struct str source, struct fail *reterr) MUST_USE;
struct chat_template *chat_template_free(struct chat_template *t);
DEFINE_CLEANUP(struct chat_template *, chat_template_free);
extern const char chat_template_chatml[]; /* used where a model has none */

struct chat_rendering {
    char *text; /* owned, NUL-terminated */
    size_t n;
    struct text_span *spans; /* owned; they cover text, in order */
    size_t n_spans;
};
void chat_rendering_done(struct chat_rendering *r);

struct chat_template_vars {
    const struct chat_request *request; /* messages, tools, template_kwargs */
    bool add_generation_prompt;
    struct str bos_token, eos_token;
    int64_t now_s; /* for strftime_now; Unix time */
    /* What the template has no words for (tools, calls, results) is written into the messages in
     * this way; NULL: it is not written. */
    const struct tool_format *format;
};

/* FAILED: raise_exception's own text (invalid_request), or a bound that was hit. */
int chat_template_render(const struct chat_template *t, const struct chat_template_vars *vars,
                         struct chat_rendering *ret, struct fail *reterr) MUST_USE;

/* Notes in *f whether the template has words for tools, calls, results, a system message. */
void chat_template_probe(const struct chat_template *t, struct tool_format *f);
