#include "router/selection/learned/learned.h"

#include <math.h>

#define NEAR 0.1F  /* of a squared distance: nearer ones weigh about the same */
#define PRIOR 2.0F /* neighbours that the mean of all counts as */

float learned_dot(const float *a, const float *b, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void learned_index(struct learned *l)
{
    for (uint32_t i = 0; i < l->rows; i++) {
        const float *p = l->points + (size_t)i * l->dims;
        l->squares[i] = learned_dot(p, p, l->dims);
    }
}

/* Squared distances to all points. */
static void distances(const struct learned *l, const float *x, float *ret)
{
    float own = learned_dot(x, x, l->dims);
    for (uint32_t i = 0; i < l->rows; i++) {
        float d =
            own + l->squares[i] - 2 * learned_dot(x, l->points + (size_t)i * l->dims, l->dims);
        ret[i] = d > 0 ? d : 0;
    }
}

struct neighbour {
    float distance;
    uint32_t row;
};

/* The k nearest, in no order; the first rows win ties. */
static unsigned nearest(const float *distance, uint32_t rows, unsigned k, struct neighbour *ret)
{
    unsigned n = 0, worst = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (n < k)
            ret[n++] = (struct neighbour){ distance[i], i };
        else if (distance[i] < ret[worst].distance)
            ret[worst] = (struct neighbour){ distance[i], i };
        else
            continue;
        if (n < k)
            continue;
        worst = 0;
        for (unsigned j = 1; j < n; j++)
            if (ret[j].distance >= ret[worst].distance)
                worst = j;
    }
    return n;
}

static void vote(const struct learned *l, const struct neighbour *near, unsigned n, double *ret)
{
    for (uint32_t m = 0; m < l->n_models; m++) {
        float sum = 0, weights = 0, most = 0;
        for (unsigned j = 0; j < n; j++) {
            float value = l->values[(size_t)m * l->rows + near[j].row];
            float weight = value < 0 ? 0 : 1 / (NEAR + near[j].distance);
            sum += weight * value;
            weights += weight;
            most = fmaxf(most, weight);
        }
        float prior = PRIOR * (most > 0 ? most : 1);
        ret[m] = l->bias[m] < 0 ? NAN : (double)((sum + prior * l->bias[m]) / (weights + prior));
    }
}

static void score_knn(const struct learned *l, const float *x, unsigned k, float *scratch,
                      double *ret)
{
    struct neighbour near[LEARNED_K_MAX];
    distances(l, x, scratch);
    vote(l, near, nearest(scratch, l->rows, k < LEARNED_K_MAX ? k : LEARNED_K_MAX, near), ret);
}

static void score_kmeans(const struct learned *l, const float *x, float *scratch, double *ret)
{
    uint32_t best = 0;
    distances(l, x, scratch);
    for (uint32_t i = 1; i < l->rows; i++)
        best = scratch[i] < scratch[best] ? i : best;
    for (uint32_t m = 0; m < l->n_models; m++) {
        float value = l->values[(size_t)m * l->rows + best];
        ret[m] = value < 0 ? NAN : (double)value;
    }
}

static void score_svm(const struct learned *l, const float *x, float *scratch, double *ret)
{
    if (l->gamma <= 0) {
        for (uint32_t m = 0; m < l->n_models; m++)
            ret[m] =
                (double)(l->bias[m] + learned_dot(x, l->points + (size_t)m * l->dims, l->dims));
        return;
    }
    distances(l, x, scratch);
    for (uint32_t i = 0; i < l->rows; i++)
        scratch[i] = expf(-l->gamma * scratch[i]);
    for (uint32_t m = 0; m < l->n_models; m++)
        ret[m] =
            (double)(l->bias[m] + learned_dot(l->values + (size_t)m * l->rows, scratch, l->rows));
}

static void score_mlp(const struct learned *l, const float *x, float *scratch, double *ret)
{
    for (uint32_t i = 0; i < l->rows; i++)
        scratch[i] =
            fmaxf(0, l->offsets[i] + learned_dot(x, l->points + (size_t)i * l->dims, l->dims));
    for (uint32_t m = 0; m < l->n_models; m++)
        ret[m] =
            (double)(l->bias[m] + learned_dot(l->values + (size_t)m * l->rows, scratch, l->rows));
}

void learned_scores(const struct learned *l, const float *x, unsigned k, float *scratch,
                    double *ret)
{
    switch (l->kind) {
    case LEARNED_knn:
        score_knn(l, x, k, scratch, ret);
        return;
    case LEARNED_kmeans:
        score_kmeans(l, x, scratch, ret);
        return;
    case LEARNED_svm:
        score_svm(l, x, scratch, ret);
        return;
    case LEARNED_mlp:
        score_mlp(l, x, scratch, ret);
        return;
    case LEARNED_N:
        return;
    }
}
