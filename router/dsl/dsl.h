/*
 * The DSL of the vLLM Semantic Router (semantic-router.md 3.6): a second spelling of the sections
 * `routing`, `entrypoints` and `recipes`. Its language is that of the project's own compiler; what
 * a policy holds beyond it is kept in the options of its block, which that compiler reads over.
 *
 * Not thread-safe; nothing here runs while requests are served.
 */
#pragma once

#include "config/node.h"

struct dsl_test { /* of a TEST block */
    struct str query, route;
    struct str recipe; /* that it stands in; empty: the default profile */
    unsigned line, column;
};

struct dsl; /* a compiled source */

/*
 * Compiles a source of at most LIMIT_YAML_BYTES to a tree whose nodes stand where the source says
 * so. -EINVAL: `p` says what is wrong, as file:line:column. `source` and `file` outlive the result.
 */
int dsl_compile(struct dsl **ret, const char *file, struct str source, struct problems *p) MUST_USE;
struct dsl *dsl_free(struct dsl *d); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct dsl *, dsl_free);
/* A map: routing, and entrypoints and recipes where the source has some. Borrowed. */
const struct node *dsl_root(const struct dsl *d);
size_t dsl_tests(const struct dsl *d, const struct dsl_test **ret);

/*
 * A whole configuration: the sections of `base`, but for those that the source speaks about. What
 * the language has no word for (such as a decision's adaptations) stays, where the decision of that
 * name stays. The result lives in `d`. -ENOMEM.
 */
int dsl_merge(struct dsl *d, const struct node *base, const struct node **ret) MUST_USE;

/*
 * The same configuration with what running tests needs: an entrypoint for each recipe and, where
 * neither providers nor engine are there, the first model card as the default model. -ENOMEM.
 */
int dsl_runnable(struct dsl *d, const struct node *config, const struct node **ret) MUST_USE;
/* The model name that asks the profile of a test there; empty: no memory. */
struct str dsl_test_model(const struct dsl_test *test, struct arena *arena);

/* The source in its one canonical layout, comments kept. 0, -EINVAL (problems were added), -ENOMEM
 */
int dsl_format(struct buf *b, const char *file, struct str source, struct problems *p) MUST_USE;

/*
 * The source of a configuration, or of its `routing` alone. Warns of what the language cannot say.
 * 0, -EINVAL (problems were added), -ENOMEM.
 */
int dsl_decompile(struct buf *b, const struct node *config, struct problems *p) MUST_USE;

/* A tree as block YAML. Texts are quoted where YAML 1.1 or 1.2 would read something else. */
void dsl_print_yaml(const struct node *n, struct buf *b);
