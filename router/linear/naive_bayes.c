#include <math.h>

#include "router/linear/linear_impl.h"

static const float SMOOTHING = 0.01F; /* added to each feature's sum in each class */

/* Sums of values become how much likelier the feature is in the class than outside it, against the
 * mean of the classes: a text of no class scores near 0 in all. */
static void row_weights(float *row, uint32_t classes)
{
    float all = 0, sum = 0;
    for (uint32_t c = 0; c < classes; c++)
        all += row[c];
    float absent = logf(SMOOTHING) - logf(all + SMOOTHING);
    for (uint32_t c = 0; c < classes; c++) {
        float of = row[c], rest = fmaxf(0, all - of);
        row[c] = of > 0 ? logf(of + SMOOTHING) - logf(rest + SMOOTHING) : absent;
        sum += row[c];
    }
    for (uint32_t c = 0; c < classes; c++)
        row[c] -= sum / (float)classes;
}

void linear_naive_bayes(struct linear *l, const struct linear_example *examples, size_t n)
{
    uint32_t k = l->classes;
    for (size_t e = 0; e < n; e++)
        for (uint32_t i = 0; i < examples[e].x->n; i++) {
            if (examples[e].x->id[i] >= FEATURE_BUCKETS)
                continue;
            uint32_t row = l->row_of[examples[e].x->id[i]] - 1;
            l->rows[(size_t)row * k + examples[e].y] += fmaxf(0, examples[e].x->value[i]);
        }
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++)
        if (l->row_of[id])
            row_weights(l->rows + (size_t)(l->row_of[id] - 1) * k, k);
}
