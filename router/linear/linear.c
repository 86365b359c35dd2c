#include "router/linear/linear.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "router/linear/linear_impl.h"

int linear_new(struct linear **ret, uint32_t classes)
{
    CLEANUP(linear_freep) struct linear *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->classes = classes;
    l->row_of = calloc(LINEAR_IDS, sizeof(*l->row_of));
    l->bias = calloc(classes, sizeof(*l->bias));
    if (!l->row_of || !l->bias)
        return -ENOMEM;
    *ret = TAKE(l);
    return 0;
}

struct linear *linear_free(struct linear *l)
{
    if (!l)
        return NULL;
    free(l->row_of);
    free(l->rows);
    free(l->bias);
    free(l);
    return NULL;
}

uint32_t linear_classes(const struct linear *l)
{
    return l->classes;
}

void linear_scores(const struct linear *l, const struct features *x, float *ret_scores)
{
    memcpy(ret_scores, l->bias, l->classes * sizeof(*ret_scores));
    for (uint32_t i = 0; i < x->n; i++) {
        uint32_t row = l->row_of[x->id[i]];
        if (!row)
            continue;
        const float *w = l->rows + (size_t)(row - 1) * l->classes;
        for (uint32_t c = 0; c < l->classes; c++)
            ret_scores[c] += x->value[i] * w[c];
    }
}

void linear_softmax(float *scores, uint32_t n, float temperature)
{
    float most = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fmaxf(most, scores[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += scores[i] = expf((scores[i] - most) / temperature);
    for (uint32_t i = 0; i < n; i++)
        scores[i] /= sum;
}
