/*
 * Pieces of JSON text as expressions: literals, strings over a language, white space.
 */
#pragma once

#include "engine/local/grammar/grammar.h"
#include "engine/local/grammar/lang.h"

/*
 * Tokens with the white space that may follow or precede them: none, one space, or a line break
 * with at most JSON_INDENT spaces or tabs, so that a model cannot go on with blanks for ever.
 */
enum { JSON_INDENT = 32 };
struct json_tokens {
    grammar_expr comma, colon, open_object, close_object, open_array, close_array, space;
};
void json_tokens_make(struct grammar_builder *b, struct json_tokens *ret);

grammar_expr json_char_expr(struct grammar_builder *b); /* one character inside of a string */
/* Any string of min to max characters (code points; GRAMMAR_MANY: no bound), with its quotes. */
grammar_expr json_string_expr(struct grammar_builder *b, uint32_t min, uint32_t max);
grammar_expr json_number_expr(struct grammar_builder *b, bool integer);
/* The string in quotes, characters escaped only where they must be. */
grammar_expr json_quoted_expr(struct grammar_builder *b, struct str text);

/*
 * The texts of the automaton: raw, or (quoted) as JSON strings with their quotes, in which
 * only quotes, backslashes and control characters are escaped.
 */
int json_dfa_expr(struct grammar_builder *b, const struct lang_dfa *d, bool quoted,
                  grammar_expr *ret) MUST_USE; /* 0 or -ENOMEM */
