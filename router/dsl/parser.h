/*
 * What both halves of the parser share: the tokens at hand, and the parts of statements.
 */
#pragma once

#include "router/dsl/lexer.h"

struct parser {
    struct lexer lexer;
    struct dsl_program *program;
    struct problems *p;
    unsigned depth;
};

enum { DSL_SHOWN_BYTES = 40 /* of a token, in messages */ };

#define DSL_REFUSE_AT(parser, at, ...)                                                             \
    dsl_problem((parser)->p, PROBLEM_error, (parser)->program->file, (at), __VA_ARGS__)

/* All readers: 0, -EINVAL (a problem was added) or -ENOMEM. */

/* The current token is not what the language wants here. -EINVAL. */
int dsl_unexpected(const struct parser *s, const char *wanted);
bool dsl_at_punct(const struct parser *s, char c);
bool dsl_at_word(const struct parser *s, const char *word);
bool dsl_take_punct(struct parser *s, char c); /* whether it stood there */
bool dsl_take_word(struct parser *s, const char *word);
int dsl_want_punct(struct parser *s, char c);
/* A name: a word or a text. */
int dsl_read_name(struct parser *s, struct str *ret, struct dsl_place *ret_at, const char *wanted);

struct dsl_comment *dsl_take_comments(struct parser *s);
void dsl_notes_begin(struct parser *s, struct dsl_notes *n);
/* What stands behind the node on its last line is the node's. */
void dsl_notes_end(struct parser *s, struct dsl_notes *n);

struct dsl_value *dsl_new_value(struct parser *s,
                                struct dsl_value *to); /* added; NULL: no memory */
int dsl_read_number(struct parser *s, struct dsl_value *v);
/* Fields up to `end`, which is taken too; commas between them are optional. */
int dsl_read_fields(struct parser *s, struct dsl_value *map, char sign, char end);
int dsl_read_expr(struct parser *s, struct dsl_expr **ret);
