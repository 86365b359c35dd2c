/*
 * Tokens of the DSL, and the comments between them.
 *
 * Texts take the escapes of Go, which the language was made in; a text with an unknown escape, or
 * with a line break, stands for what is between its quotes, as it is.
 */
#pragma once

#include "router/dsl/ast.h"

enum token_kind {
    TOKEN_end,
    TOKEN_word,
    TOKEN_text,
    TOKEN_int,
    TOKEN_float,
    TOKEN_arrow,
    TOKEN_punct, /* one of {}()[]:,=> */
    TOKEN_bad,   /* no token begins so; or a text without end */
};

struct token {
    enum token_kind kind;
    struct str raw;
    struct dsl_place at;
    bool first; /* on its line */
    bool blank; /* an empty line stands before it, after the last comment */
};

struct lexer {
    struct str source;
    size_t pos;
    struct dsl_place at; /* of pos */
    unsigned last_line;  /* where the token before ended; 0: none */
    struct token token;  /* the current one */
    struct arena *arena;
    struct dsl_comment *comments, **comments_end; /* gathered, not taken yet */
    bool no_memory;
};

void dsl_lexer_init(struct lexer *l, struct str source,
                    struct arena *arena); /* at the first token */
void dsl_lexer_next(struct lexer *l);

/* What a quoted token says: in the arena, or p NULL without memory. *ret_plain: it was taken as it
 * is. */
struct str dsl_unquote(struct arena *arena, struct str raw, bool *ret_plain);
