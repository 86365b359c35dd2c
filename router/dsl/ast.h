/*
 * The tree of one DSL source: what the parser makes, the compiler reads and the printer writes.
 *
 * Lives in one arena; texts are borrowed from it or from the source. Comments hang on the node that
 * they stand before or behind, so that formatting keeps them.
 */
#pragma once

#include "base/arena.h"
#include "config/node.h"

enum { DSL_DEPTH = 64 }; /* of values, expressions and blocks */

struct dsl_place {
    unsigned line, column; /* from 1; columns count characters */
};

struct dsl_comment {
    struct str text; /* with its '#', without the line's end */
    bool blank;      /* an empty line stands before it */
    bool same_line;  /* as the token before it */
    struct dsl_comment *next;
};

struct dsl_notes {
    struct dsl_comment *before;
    struct str after; /* on the node's last line; empty: none */
    bool blank;       /* an empty line stands between `before` and the node */
};

enum dsl_kind {
    DSL_text,   /* in quotes */
    DSL_word,   /* a bare word */
    DSL_number, /* as spelt */
    DSL_bool,
    DSL_list,
    DSL_map,
};

/* A value; with a key, a field of a map. The options of a model reference are its children. */
struct dsl_value {
    enum dsl_kind kind;
    bool open; /* written over several lines */
    struct dsl_place at, key_at;
    struct str key;
    struct str text; /* what a text says; others as they are spelt */
    struct str raw;  /* a text as it is spelt, with quotes; empty: the printer quotes */
    struct dsl_notes notes;
    struct dsl_comment *tail; /* before the closing bracket */
    struct dsl_value *first, *last, *next;
    size_t n;
};

enum dsl_op { DSL_leaf, DSL_and, DSL_or, DSL_not };

struct dsl_expr {
    enum dsl_op op;
    bool open;       /* joined over several lines */
    unsigned parens; /* pairs around it */
    struct dsl_place at;
    struct str type, name;     /* of a leaf */
    struct dsl_value fields;   /* of a leaf: a map */
    struct dsl_comment *notes; /* before a leaf */
    struct dsl_expr *first, *last, *next;
    size_t n;
};

/* clang-format off */
#define DSL_WORDS(X)                                                                               \
    X(SIGNAL) X(PROJECTION) X(MODEL) X(PLUGIN) X(ROUTE) X(DECISION_TREE) X(RECIPE) X(ENTRYPOINT)   \
    X(ROUTING) X(TEST) X(PRIORITY) X(TIER) X(WHEN) X(ALGORITHM) X(DESCRIPTION) X(NAME) X(FOR)      \
    X(EMIT) X(IF) X(ELSE)
/* clang-format on */

#define DSL_WORD(name) DSL_##name,
enum dsl_statement_kind {
    DSL_WORDS(DSL_WORD) DSL_ELSE_IF, /* "ELSE IF" */
    DSL_entry,                       /* of TEST: "query" -> route */
    DSL_statement_kinds,
};
#undef DSL_WORD

struct dsl_statement {
    enum dsl_statement_kind kind;
    struct dsl_place at, name_at, type_at;
    struct str type;         /* SIGNAL keyword, PROJECTION score, ALGORITHM static, EMIT retention;
                                of FOR its source, of an entry the route */
    struct str name;         /* of PRIORITY and TIER the number, of an entry the query */
    struct dsl_value opts;   /* in parentheses: a map */
    struct dsl_value fields; /* in braces: a map */
    struct dsl_value models; /* of MODEL in a route, and of FOR … IN [ … ]: a list */
    struct dsl_expr *expr;   /* WHEN, IF */
    bool block;              /* has braces */
    bool used;               /* of a PLUGIN declaration: a route refers to it */
    struct dsl_statement *first, *last, *next; /* inside the braces */
    struct dsl_notes notes;
    struct dsl_comment *tail;
};

struct dsl_program {
    struct arena *arena; /* borrowed */
    const char *file;
    struct dsl_statement *first, *last;
    struct dsl_comment *tail;
};

extern const char *const dsl_words[DSL_statement_kinds]; /* "SIGNAL"; NULL for an entry */

/*
 * Reads a source of at most LIMIT_YAML_BYTES. -EINVAL: `p` says what is wrong where; a broken block
 * is left out and the next one read, so that one run finds several mistakes. `source` outlives the
 * program.
 */
int dsl_parse(struct dsl_program *ret, const char *file, struct str source, struct arena *arena,
              struct problems *p) MUST_USE;
void dsl_print(const struct dsl_program *program, struct buf *b);

bool dsl_is_word(struct str s); /* can stand without quotes: a name, a key */

/* Appends; the node's `next` is NULL. */
void dsl_add_value(struct dsl_value *to, struct dsl_value *v);
void dsl_add_expr(struct dsl_expr *to, struct dsl_expr *e);
void dsl_add_statement(struct dsl_statement **first, struct dsl_statement **last,
                       struct dsl_statement *s);
const struct dsl_value *dsl_field(const struct dsl_value *map, const char *key); /* NULL: absent */

/* A problem at a place of a DSL file; returns as node_problem does. */
int dsl_problem(struct problems *p, enum problem_kind kind, const char *file, struct dsl_place at,
                const char *fmt, ...) PRINTF_LIKE(5, 6);
