/*
 * Makes trees of nodes. What lacks memory is remembered once: check `no_memory` at the end.
 */
#pragma once

#include "router/dsl/ast.h"

struct maker {
    struct arena *arena;
    const char *file;
    struct problems *p;
    bool no_memory;
    bool wrong; /* an error was reported */
};

struct items { /* of a list or a map while it grows */
    const struct node **items, **key_nodes;
    struct str *keys;
    size_t n, cap;
};

const struct node *dsl_make_text(struct maker *m, struct dsl_place at, struct str text);
/* As it is spelt: a number, true, false. */
const struct node *dsl_make_plain(struct maker *m, struct dsl_place at, struct str text);
const struct node *dsl_make_value(struct maker *m, const struct dsl_value *v);
void dsl_make_add(struct maker *m, struct items *to, const struct node *item);
void dsl_make_pair(struct maker *m, struct items *to, const char *key, struct dsl_place at,
                   const struct node *item); /* `key` is static */
void dsl_make_field(struct maker *m, struct items *to, const struct dsl_value *field);
void dsl_make_fields(struct maker *m, struct items *to, const struct dsl_value *map);
const struct node *dsl_make_list(struct maker *m, struct dsl_place at, const struct items *items);
const struct node *dsl_make_map(struct maker *m, struct dsl_place at, const struct items *items);

#define DSL_REFUSE(m, at, ...)                                                                     \
    ((m)->wrong = true, (void)dsl_problem((m)->p, PROBLEM_error, (m)->file, (at), __VA_ARGS__))

/* The decision of one route. `templates` are PLUGIN declarations; those that it refers
 * to are marked as used. */
const struct node *dsl_make_decision(struct maker *m, const struct dsl_statement *route,
                                     struct dsl_statement *templates);
/* The rules of an expression; NULL: always. */
const struct node *dsl_make_rules(struct maker *m, const struct dsl_expr *x, struct dsl_place at);
/* "semantic-cache" → "response_cache", "system-prompt" → "system_prompt"; others as they are. */
struct str dsl_plugin_type(struct str name);
