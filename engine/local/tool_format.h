/*
 * How the families of chat models write tool calls and reasoning: one row of data a family, found
 * by what its chat template spells.
 *
 * Rows are immutable; any thread.
 */
#pragma once

#include "engine/chat.h"
#include "engine/local/grammar/grammar.h"

/* What stands between a call's marks. All read {"name":…,"arguments":{…}} too. */
enum tool_body {
    TOOL_BODY_json,     /* that, alone or in an array */
    TOOL_BODY_named,    /* name, a mark, {…} */
    TOOL_BODY_tags,     /* name, then one tag a parameter */
    TOOL_BODY_channels, /* messages; a header names the receiver, its text is {…} */
};

enum { TOOL_NAME_MAX = 256 }; /* bytes of a function's name, with what a family writes around it */

/*
 * A forced answer is `begin` call (`join` call)… `end`, and a call is `pre` NAME `mid` ARGUMENTS
 * `post`; a '#' in them stands for digits. All texts may be NULL: none.
 */
struct tool_format {
    const char *name;      /* "hermes" */
    const char *detect[3]; /* the template holds all of them */
    enum tool_body body;
    bool implicit;           /* an answer that begins with '{' may be a call */
    bool single;             /* the family's templates take one call an answer */
    const char *open[2];     /* marks that begin one call or all of them */
    const char *call_open;   /* the mark before each name, where `open` stands around all calls */
    const char *name_prefix; /* may stand before a name, and does not belong to it */
    const char *separator;   /* between name and arguments (named, tags) */
    const char *close[2];    /* marks that may follow a call: its own, then that of all */
    const char *begin, *pre, *mid, *post, *join, *end;
    const char *key_open, *key_mid, *key_close; /* around a parameter's name and value (tags) */
    const char *think_open, *think_close;       /* around reasoning */
    const char *answer_open, *answer_close;     /* may stand around the text */

    /* what the template, not the family, says; tried out by prompter_new */
    bool has_tools;   /* it shows the tools to the model */
    bool has_calls;   /* it writes earlier calls */
    bool has_results; /* … and what came of them */
    bool has_system;  /* it takes a system message */
    bool short_ids;   /* it refuses call ids that are not 9 characters long */
};

/* The family of a template, or `generic`, which writes as `hermes` does and reads more. */
void tool_format_of(struct tool_format *ret, struct str chat_template);
const struct tool_format *tool_format_row(size_t i); /* NULL past the last: `generic` */

enum { TOOL_MARKS_MAX = 16 };
/* The marks of a row, each once; at most TOOL_MARKS_MAX. */
size_t tool_format_marks(const struct tool_format *f, struct str ret[static TOOL_MARKS_MAX]);
/* Whether a control token that is spelt so is one, or part of one. */
bool tool_format_is_mark(const struct tool_format *f, struct str text);
/* Whether a prompt that ends so leaves a reasoning block open: the answer begins as reasoning. */
bool tool_format_opens(const struct tool_format *f, struct str prompt);

/*
 * An answer whose text is `body`: before it the model may think, or must end thinking where the
 * prompt opened a block (`opened`).
 */
grammar_expr tool_format_answer(struct grammar_builder *b, const struct tool_format *f, bool opened,
                                grammar_expr body);

/*
 * Whether a request's calls are held to their schemas: tool_choice required or function, or, with
 * auto, a function that is strict.
 */
bool tool_format_constrains(const struct tool_format *f, const struct chat_request *request);

/*
 * The answer of such a request: reasoning as above, then calls in the family's own words (with auto
 * after any text, or none at all) with arguments that the functions' schemas allow. FAILED
 * (invalid_request): names the tool's parameters and the keyword that cannot be honoured.
 */
int tool_format_expr(struct grammar_builder *b, const struct tool_format *f,
                     const struct chat_request *request, bool opened, grammar_expr *ret,
                     struct fail *reterr) MUST_USE;
