/*
 * Grammars over bytes: expressions are built here, compiled once, and then followed by any number
 * of sequences (constraint.h). GBNF text, JSON schemas and tool-call formats all become one of
 * these.
 *
 * A builder is one thread's; a grammar is immutable and counted, any thread.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct grammar;
struct grammar_builder;

/* An expression of its builder. Expressions are values: one may stand in several places. */
typedef struct {
    uint32_t id;
} grammar_expr;

int grammar_builder_new(struct grammar_builder **ret) MUST_USE;          /* 0 or -ENOMEM */
struct grammar_builder *grammar_builder_free(struct grammar_builder *b); /* NULL is fine */
DEFINE_CLEANUP(struct grammar_builder *, grammar_builder_free);

/*
 * The constructors below never fail: memory that lacks, or a bound that is passed (expressions,
 * rules, repetitions), is remembered and reported by grammar_build.
 */
grammar_expr grammar_empty(struct grammar_builder *b);                  /* the empty text */
grammar_expr grammar_never(struct grammar_builder *b);                  /* matches nothing */
grammar_expr grammar_bytes(struct grammar_builder *b, struct str text); /* exactly these bytes */

struct code_range {
    uint32_t first, last; /* Unicode scalar values, inclusive */
};
/* One character of the ranges, or (negated) one well-formed UTF-8 character outside of them. */
grammar_expr grammar_class(struct grammar_builder *b, const struct code_range *ranges, size_t n,
                           bool negated);

grammar_expr grammar_seq(struct grammar_builder *b, const grammar_expr *parts, size_t n);
grammar_expr grammar_alt(struct grammar_builder *b, const grammar_expr *parts, size_t n);
enum { GRAMMAR_MANY = UINT32_MAX >> 1 }; /* as max: no bound */
grammar_expr grammar_repeat(struct grammar_builder *b, grammar_expr part, uint32_t min,
                            uint32_t max);

/* Any text in which none of the given byte strings occurs. */
grammar_expr grammar_text_without(struct grammar_builder *b, const struct str *texts, size_t n);

/*
 * A mark of the chat format, like "<tool_call>": matches the control token that is spelt so, where
 * the vocabulary has one, and the bytes themselves.
 */
grammar_expr grammar_mark(struct grammar_builder *b, struct str text);

/* Rules make recursion: reserve one, use it, define it once. */
grammar_expr grammar_rule(struct grammar_builder *b);
void grammar_define(struct grammar_builder *b, grammar_expr rule, grammar_expr body);

/*
 * Compiles. FAILED (invalid_request): left recursion without a way out, a rule that was never
 * defined, a grammar that matches nothing, a bound that was passed; `reterr` says which.
 */
int grammar_build(struct grammar_builder *b, grammar_expr root, struct grammar **ret,
                  struct fail *reterr) MUST_USE;
struct grammar *grammar_share(struct grammar *g); /* one more reference */
struct grammar *grammar_unref(struct grammar *g); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct grammar *, grammar_unref);

/* GBNF, as llama.cpp documents it (grammars/README.md): the root rule is `root`. FAILED names line
 * and column. */
int grammar_parse_gbnf(struct grammar_builder *b, struct str text, grammar_expr *ret,
                       struct fail *reterr) MUST_USE;
