/*
 * JSON schemas as grammars: what OpenAI calls structured output.
 */
#pragma once

#include "engine/local/grammar/grammar.h"

struct json_schema_options {
    const char *param; /* for errors: "response_format.json_schema.schema" */
    /* Objects without `additionalProperties` take no other member (OpenAI's strict mode). Without
     * strict they do, as JSON Schema says. */
    bool strict;
};

/*
 * An expression for the values of the schema, written compactly or with bounded white space.
 * FAILED (invalid_request, param with the path of the keyword): a keyword that cannot be honoured,
 * a schema that no value satisfies, one that is too large.
 */
int json_schema_expr(struct grammar_builder *b, struct str schema,
                     const struct json_schema_options *o, grammar_expr *ret,
                     struct fail *reterr) MUST_USE;

/* Any JSON value; any JSON object. */
grammar_expr json_value_expr(struct grammar_builder *b);
grammar_expr json_object_expr(struct grammar_builder *b);

/* The texts that a regular expression (ECMA 262) matches from their start to their end. FAILED: the
 * message names the place. */
int regex_expr(struct grammar_builder *b, struct str pattern, grammar_expr *ret,
               struct fail *reterr) MUST_USE;
