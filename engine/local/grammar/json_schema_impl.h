/*
 * Between the files of json_schema.
 *
 * A value is described by a conjunction: a set of schemas that all hold. Expanding one follows
 * `$ref` and `allOf` and multiplies the choices (`anyOf`, `oneOf`, `if`, `not`, dependencies) out
 * into branches; each branch is a set of schemas (its leaves) whose remaining keywords are read
 * directly. Conjunctions that were seen before are rules, which is how recursion ends.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "engine/local/grammar/json_number.h"
#include "engine/local/grammar/json_schema.h"
#include "engine/local/grammar/json_text.h"

enum json_type {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_NUMBER = 4,
    TYPE_STRING = 8,
    TYPE_ARRAY = 16,
    TYPE_OBJECT = 32,
    TYPE_ALL = 63,
};

/* What one schema may cost. */
enum {
    SCHEMA_MAX_BYTES = 1 << 20,
    SCHEMA_MAX_NODES = 1 << 17,  /* values of the document */
    SCHEMA_MAX_DEPTH = 64,       /* of the document, and of what follows from references */
    SCHEMA_MAX_VALUES = 1 << 13, /* of an enum */
    SCHEMA_MAX_BRANCHES = 512,   /* of one conjunction */
    SCHEMA_MAX_CHOICES = 64,     /* multiplied with each other */
    SCHEMA_MAX_CONJUNCTIONS = 1 << 14,
    SCHEMA_MAX_PATTERNS = 6,     /* of one object: their combinations are told apart */
    SCHEMA_MAX_CELLS = 1 << 13,  /* rules of one object or array that counts */
    SCHEMA_MAX_CHECKS = 1 << 22, /* schemas applied to values of enums */
    SCHEMA_MAX_WORK = 1 << 26,   /* of all patterns and numbers: some 0.5 s */
    SCHEMA_MAX_UNIQUE = 7,       /* values whose every order is followed */
};

/* Inner keywords, which negation makes. */
#define NOT_ENUM "\1notEnum"
#define NOT_PATTERN "\1notPattern"

/* Where a value of the document stands. */
struct schema_place {
    const json_t *v;
    const struct schema_place *parent;
    const char *key; /* NULL: the index */
    size_t index;
    bool checked;          /* its keywords are all known */
    bool busy;             /* its choices are being made */
    const json_t *choices; /* made once: array of choices, each an array of arrays of schemas */
};

struct conjunction {
    const json_t **v; /* sorted, unique, no `true`; arena */
    size_t n;
};

struct branch {
    const json_t **v; /* leaves, in the order in which they were found; arena */
    size_t n;
};
struct branches {
    struct branch *v;
    size_t n, cap;
};

struct schema_rule {
    struct conjunction c;
    grammar_expr rule;
    struct schema_rule *later; /* whose body is still to be built */
};

struct json_schema {
    struct grammar_builder *b;
    struct arena *mem;
    const struct json_schema_options *o;
    struct fail *reterr;
    json_t *root;                 /* owned */
    json_t *made;                 /* owned: array of what negation and choices made */
    json_t *shapes;               /* owned: what strings and numbers must be → expression */
    size_t work;                  /* of all determinisations */
    json_t *anchors;              /* owned: name → pointer text */
    struct schema_place **places; /* hash by v; [n_places_max] */
    size_t n_places, n_slots;
    struct schema_rule **rules; /* hash by conjunction; [RULE_SLOTS] */
    size_t n_rules;
    struct schema_rule *later;
    struct json_tokens t;
    grammar_expr any;
    bool any_made;
    unsigned depth; /* of expansions inside expansions */
    size_t checks;  /* schemas applied to values, opposed or expanded so far */
    struct known_pattern *patterns;
};

/* --- errors and keywords (json_schema.c) --- */

/* FAILED, naming the schema's place and the keyword. */
int schema_refuse(struct json_schema *s, const json_t *schema, const char *keyword, const char *fmt,
                  ...) PRINTF_LIKE(4, 5);
struct schema_place *schema_place_of(struct json_schema *s, const json_t *v);
/* The schema that a $ref names. */
int schema_follow(struct json_schema *s, const json_t *schema, const char *keyword,
                  const json_t **ret);
/* Keeps a new value (stolen) until the end. NULL: no memory. */
json_t *schema_keep(struct json_schema *s, json_t *v);
struct str schema_str(const json_t *string); /* borrowed */
/* A bound that counts: a whole number from 0; absent leaves *ret. */
int schema_count(struct json_schema *s, const json_t *schema, const char *keyword, size_t *ret);
int schema_decimal(struct json_schema *s, const json_t *schema, const char *keyword,
                   const json_t *number, struct decimal *ret);
enum { SCHEMA_NUMBER_BYTES = 32 };
void schema_number_text(const json_t *number, char ret[static SCHEMA_NUMBER_BYTES]);
/* Refuses what cannot be honoured, once a schema. */
int schema_check_keywords(struct json_schema *s, const json_t *schema);

/* --- conjunctions (json_schema_expand.c) --- */

int conjunction_of(struct json_schema *s, const json_t *const *schemas, size_t n,
                   struct conjunction *ret, bool *ret_never);
int schema_expand(struct json_schema *s, const struct conjunction *c, struct branches *ret);
/* The choices of one schema, cached; see schema_place. */
int schema_choices(struct json_schema *s, const json_t *schema, const json_t **ret);
/* Schemas of which one holds exactly where `schema` does not (or a part of there). New array. */
int schema_negate(struct json_schema *s, const json_t *schema, const char *keyword, json_t **ret);
/* Types that a branch allows; *ret_integer: of numbers only whole ones. */
int branch_types(struct json_schema *s, const struct branch *b, unsigned *ret, bool *ret_integer);
/* The types that a branch without `type` speaks of; TYPE_ALL when it speaks of none. */
unsigned branch_meant_types(const struct branch *b);
/* True when no value is in both. */
int branches_disjoint(struct json_schema *s, const struct branches *a, const struct branches *b,
                      unsigned depth, bool *ret);
/* The values of a branch when they are finite: *ret (borrowed by s) or NULL. */
int branch_values(struct json_schema *s, const struct branch *b, json_t **ret);

/* --- values --- */

/* An expression for the conjunction of n schemas. */
int schema_value(struct json_schema *s, const json_t *const *schemas, size_t n, grammar_expr *ret);
grammar_expr schema_literal(struct json_schema *s, const json_t *v);
int schema_string(struct json_schema *s, const struct branch *b, grammar_expr *ret);
int schema_number(struct json_schema *s, const struct branch *b, bool integer, grammar_expr *ret);
/* What the leaves say of numbers. */
int schema_range(struct json_schema *s, const struct branch *b, struct json_range *ret);
int schema_object(struct json_schema *s, const struct branch *b, grammar_expr *ret);
int schema_array(struct json_schema *s, const struct branch *b, grammar_expr *ret);
/* Adds what the leaves say of strings as operands. */
int schema_string_operands(struct json_schema *s, const struct branch *b, struct lang *l);
int schema_determinise(struct json_schema *s, const json_t *schema, const char *keyword,
                       struct lang *l, struct lang_dfa *ret);
/* Regular expression of a known format (anchored), or NULL. */
const char *schema_format(struct str name);

/* Whether the value satisfies the schema. (json_schema_check.c) */
int schema_validates(struct json_schema *s, const json_t *schema, const json_t *v, bool *ret);
void schema_patterns_done(struct json_schema *s);
bool schema_same(const json_t *a, const json_t *b); /* as JSON Schema compares: 1 is 1.0 */
/* Whether the pattern (of a keyword of `schema`) matches somewhere in the text. */
int schema_pattern_matches(struct json_schema *s, const json_t *schema, const char *pattern,
                           struct str text, bool *ret);
