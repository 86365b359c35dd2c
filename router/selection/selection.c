#include "router/selection/selection.h"

#include <errno.h>

/* Every algorithm of the policy language; those without a file here take the first candidate. */
#define ALGORITHMS(X)                                                                              \
    X(static)                                                                                      \
    X(router_dc)                                                                                   \
    X(automix)                                                                                     \
    X(hybrid)                                                                                      \
    X(latency_aware)                                                                               \
    X(multi_factor)                                                                                \
    X(prompt)                                                                                      \
    X(knn)                                                                                         \
    X(kmeans)                                                                                      \
    X(svm)                                                                                         \
    X(mlp)                                                                                         \
    X(confidence)                                                                                  \
    X(ratings)                                                                                     \
    X(remom)                                                                                       \
    X(fusion)                                                                                      \
    X(workflows)                                                                                   \
    X(elo)                                                                                         \
    X(rl_driven)                                                                                   \
    X(gmtrouter)                                                                                   \
    X(session_aware)

#define ALGORITHM_WORD(name) #name,
static const char *const names[] = { ALGORITHMS(ALGORITHM_WORD) NULL };
static const char *const on_errors[] = { "fallback", "skip", "fail", NULL };

struct algorithm {
    unsigned type, on_error;
    const struct node *blocks[ARRAY_LEN(names)];
};

#define ALGORITHM_INDEX(name) ALGORITHM_##name,
enum { ALGORITHMS(ALGORITHM_INDEX) };

#define ALGORITHM_BLOCK(name)                                                                      \
    OPT_NODE(struct algorithm, blocks[ALGORITHM_##name], #name, "settings of this algorithm"),
static const struct option options[] = {
    OPT_WORD(struct algorithm, type, "type", names, "static", "how a candidate is picked"),
    OPT_WORD(struct algorithm, on_error, "on_error", on_errors, "fallback", "when it cannot"),
    ALGORITHMS(ALGORITHM_BLOCK) OPT_END,
};

int selection_load(struct decision *d, const char *path, struct arena *arena, struct problems *p)
{
    struct algorithm a = { 0 };
    int e = schema_read(&a, options, d->algorithm_node, path, arena, p);
    d->algorithm = names[a.type];
    d->selection = &selection_static;
    if (e == 0 && a.type != ALGORITHM_static)
        (void)node_problem(p, PROBLEM_warning, d->algorithm_node, path,
                           "algorithm '%s' is not served by this version: the first candidate is "
                           "taken",
                           d->algorithm);
    return e;
}
