/*
 * global.router.model_selection: the algorithm of decisions that name none, settings of those that
 * have no block of their own, and the files of learned selectors.
 */
#pragma once

#include "config/schema.h"
#include "router/selection/learned/learned.h"

struct learned_source {
    struct str path;   /* of the file; empty: none is named */
    uint64_t k;        /* of knn */
    double efficiency; /* of kmeans: weight of a low price against what was learned */
    /* What the file should have learned with; 0: not said. */
    uint64_t clusters;
    unsigned kernel; /* enum learned_kernel */
    double gamma;
    struct str device;
};
enum learned_kernel { KERNEL_any, KERNEL_rbf, KERNEL_linear };

struct selection_defaults {
    const struct node *node; /* NULL: nothing is said */
    bool enabled;
    int method; /* of names; -1: none is named */
    struct learned_source learned[LEARNED_N];
    uint64_t width;     /* of the vectors a file should have learned from; 0: not said */
    const char *folder; /* against which paths are */
    /* Read when the first decision asks. */
    const struct learned *loaded[LEARNED_N];
    struct classifier_file *domains; /* owned; of the features; NULL: none was needed */
};
void selection_defaults_done(struct selection_defaults *d);

/* `algorithms`: the words of decisions[].algorithm.type. 0, -EINVAL or -ENOMEM. */
struct defaults_source {
    const struct node *at; /* NULL: defaults of the defaults */
    const char *const *algorithms;
    const char *folder;
    struct arena *arena;
    struct problems *p;
};
int selection_defaults_read(struct selection_defaults *ret,
                            const struct defaults_source *source) MUST_USE;
/* The settings of an algorithm; NULL: none. */
const struct node *selection_defaults_block(const struct selection_defaults *d, const char *name);

/*
 * The learned selector of a kind, read once; NULL: there is none, and *ret_why says why in a phrase
 * (static, or the arena's). 0 or -ENOMEM.
 */
struct learned_wanted {
    enum learned_kind kind;
    const struct vector_space *space; /* whose vectors it must have learned from */
    struct arena *arena;
};
int selection_defaults_learned(struct selection_defaults *d, const struct learned_wanted *w,
                               const struct learned **ret, const char **ret_why) MUST_USE;
