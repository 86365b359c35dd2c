/*
 * A YAML document as a tree that remembers where each value stood, and the list of what is wrong
 * with it.
 *
 * Immutable once parsed; any thread may read it. Third-party YAML types stay inside node.c.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/* ---- problems ---- */

enum problem_kind {
    PROBLEM_error,   /* the configuration is refused */
    PROBLEM_warning, /* it works, but not as its author may think */
    PROBLEM_ignored, /* accepted for compatibility, has no effect here */
};

struct problem {
    enum problem_kind kind;
    const char *file;      /* all text lives in the problems' own arena */
    unsigned line, column; /* from 1; 0: the whole file */
    const char *path;      /* "routing.decisions[2].rules.operator" */
    const char *text;      /* what is wrong, and what would be right */
};

struct problems; /* at most LIMIT_PROBLEMS; then only counted */

struct problems *problems_new(void); /* NULL: no memory */
struct problems *problems_free(struct problems *p);
DEFINE_CLEANUP(struct problems *, problems_free);
size_t problems_count(const struct problems *p, enum problem_kind kind); /* counted ones included */
size_t problems_len(const struct problems *p);
const struct problem *problems_at(const struct problems *p, size_t i);
void problems_print(const struct problems *p,
                    struct buf *b); /* file:line:column: kind: path: text */
void problems_print_json(const struct problems *p, struct buf *b); /* a JSON array */

/* ---- the tree ---- */

enum node_kind { NODE_null, NODE_scalar, NODE_list, NODE_map };

struct node {
    enum node_kind kind;
    bool quoted; /* a scalar in quotes is text, whatever it spells */
    unsigned line, column;
    const char *file;
    struct str scalar;               /* of a scalar; NUL-terminated, borrowed from the document */
    size_t n;                        /* items of a list, pairs of a map */
    const struct node *const *items; /* values */
    const struct str *keys;          /* of a map, NUL-terminated; NULL for a list */
    const struct node *const *key_nodes; /* of a map: where the keys stand */
};

struct document; /* owns the nodes of one file */

/*
 * Parses one YAML (or JSON) document. Duplicate keys, aliases that explode, depth and size beyond
 * the limits are errors in `p` (then -EINVAL). `file` is only a name for messages. Environment
 * references are not expanded here.
 */
int document_parse(struct document **ret, const char *file, struct str text,
                   struct problems *p) MUST_USE;
/* A tree that was made elsewhere, which outlives the document. */
int document_wrap(struct document **ret, const char *file, const struct node *root) MUST_USE;
int document_load(struct document **ret, const char *path, struct problems *p) MUST_USE;
struct document *document_free(struct document *d);
DEFINE_CLEANUP(struct document *, document_free);
const struct node *document_root(const struct document *d); /* never NULL; borrowed */

const struct node *node_get(const struct node *map,
                            const char *key);                  /* NULL: absent, or not a map */
const struct node *node_at(const struct node *list, size_t i); /* NULL: beyond, or not a list */
bool node_is(const struct node *n, const char *scalar);        /* an equal scalar */
/* The same content in the same order, wherever it stood; NULL equals only NULL. */
bool node_equal(const struct node *a, const struct node *b);

/*
 * Reports a problem at a node. `path` names the node ("routing.decisions[2].name").
 * Returns -EINVAL for an error, 0 otherwise, so that `return node_problem(...)` reads well.
 */
int node_problem(struct problems *p, enum problem_kind kind, const struct node *at,
                 const char *path, const char *fmt, ...) PRINTF_LIKE(5, 6);
