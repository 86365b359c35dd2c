/*
 * Learned selectors: what each model's answer to a text is likely worth, from measured examples.
 * Four kinds read the same features and give one score a model; larger is better.
 *
 *     knn      scores of the nearest examples, the nearer the more, drawn to the mean of all
 *     kmeans   scores of the cluster whose centre is nearest
 *     svm      how clearly the text is one that the model is best at: one against the others
 *     mlp      a network with one hidden layer
 *
 * Immutable once made; any thread.
 */
#pragma once

#include "base/buf.h"
#include "router/linear/classifier_file.h"
#include "router/vectors/vectors.h"

#include <stdint.h>

#define LEARNED_KINDS(X) X(knn) X(kmeans) X(svm) X(mlp)
enum learned_kind {
#define LEARNED_ENUM(name) LEARNED_##name,
    LEARNED_KINDS(LEARNED_ENUM)
#undef LEARNED_ENUM
        LEARNED_N
};
extern const char *const learned_kinds[]; /* "knn", …, NULL */

/* ---- features ---- */

enum {
    LEARNED_DOMAINS = 14, /* subjects, of the shipped classifier */
    LEARNED_SHAPE = 4,    /* how long the text is, and of what characters */
    LEARNED_PROBE = 16,   /* numbers by which two spaces of vectors are told apart */
    LEARNED_MODELS = 64,  /* of one file */
    LEARNED_DIMS = 4096,
    LEARNED_ROWS = 16384, /* examples, clusters or hidden units */
};

size_t learned_dims(size_t width); /* of the features over vectors of this width */

struct learned_text {
    struct str text;
    const struct text_vector *vector; /* of another width (a text without words): zeros */
    const struct features *weighed;   /* as the shipped classifiers read it; NULL: no subject */
};
/* ret: learned_dims(width) numbers: the vector, how likely each subject is, the shape. */
void learned_features(const struct learned_text *of, const struct classifier_file *domains,
                      size_t width, float *ret);
/* The shipped classifier of subjects; the caller closes it. 0, -ENOMEM or FAILED. */
int learned_domains(struct classifier_file **ret, struct fail *reterr) MUST_USE;
/* The first numbers of the vector of a fixed text. 0, -ENOMEM or FAILED. */
int learned_probe(const struct vector_space *space, float ret[LEARNED_PROBE], size_t *ret_width,
                  struct fail *reterr) MUST_USE;

/* ---- a selector ---- */

/* All owned by whoever made it; rows: examples (knn, svm by radial functions), clusters, models
 * (svm, linear), hidden units. */
struct learned {
    enum learned_kind kind;
    uint32_t width, dims, rows, n_models;
    float gamma; /* of the radial functions; 0: linear */
    float probe[LEARNED_PROBE];
    struct str *names; /* of the models */
    float *points;     /* rows × dims: examples, centres, weights */
    float *offsets;    /* rows: of hidden units; else 0 */
    float *values;     /* n_models × rows: scores (-1: unknown), coefficients, weights */
    float *bias;       /* n_models: mean scores (knn, kmeans), offsets */
    float *squares;    /* rows: squared lengths of the points, made when it is read or learnt */
};

/* Reads a file's bytes into the arena: every size is checked against the bytes there are, before
 * anything is allocated; every number must be finite. 0, -EINVAL or -ENOMEM. */
int learned_read(struct learned *ret, struct str bytes, struct arena *arena) MUST_USE;
void learned_write(const struct learned *l, struct buf *b);
/* Allocates what the sizes say, zeroed, in the arena. 0 or -ENOMEM. */
int learned_alloc(struct learned *l, struct arena *arena) MUST_USE;
void learned_index(struct learned *l); /* fills `squares` */

float learned_dot(const float *a, const float *b, size_t n);

/* Which model of the file this is, or -1. */
int learned_model(const struct learned *l, struct str name);

enum { LEARNED_K = 5, LEARNED_K_MAX = 256 };
/* One score a model, NAN where nothing is known of it; k: neighbours of knn. x: l->dims numbers;
 * scratch: l->rows numbers. */
void learned_scores(const struct learned *l, const float *x, unsigned k, float *scratch,
                    double *ret);
