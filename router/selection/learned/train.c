#include "router/selection/learned/train.h"

#include "router/selection/draw.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LLOYD_STEPS = 50,
    SVM_EXAMPLES = 4096, /* whose products fit in 64 MiB; of more, so many are drawn */
    SVM_EPOCHS = 60,
    MLP_EPOCHS = 8,
    MLP_BATCH = 16,
};

#define CLUSTER_PRIOR 4.0F /* examples that the mean of all counts as in a cluster */
#define SVM_STILL 1e-3F    /* the largest change of an epoch that ends it */
#define ADAM_STEP 1e-3F
#define ADAM_MEAN 0.9F
#define ADAM_SQUARE 0.999F
#define ADAM_LEAST 1e-8F
#define MLP_DECAY 1e-3F /* of the weights, for a step */

const struct learned_options learned_default = { .kind = LEARNED_knn,
                                                 .clusters = 8,
                                                 .gamma = 1,
                                                 .cost = 0.1,
                                                 .hidden = 32,
                                                 .epochs = 0,
                                                 .seed = 1 };

/* ---- what all share ---- */

/* The mean score of each model over all examples; -1: never measured. */
static void mean_scores(const struct learned_examples *e, float *ret)
{
    for (uint32_t m = 0; m < e->n_models; m++) {
        double sum = 0;
        size_t n = 0;
        for (size_t i = 0; i < e->n; i++) {
            float s = e->scores[i * e->n_models + m];
            sum += s < 0 ? 0 : (double)s;
            n += s >= 0;
        }
        ret[m] = n ? (float)(sum / (double)n) : -1;
    }
}

static int begin(struct learned *l, const struct learned_examples *e,
                 const struct learned_options *o, uint32_t rows, struct arena *arena)
{
    *l = (struct learned){
        .kind = o->kind, .width = e->width, .dims = e->dims, .rows = rows, .n_models = e->n_models
    };
    int r = learned_alloc(l, arena);
    if (r < 0)
        return r;
    for (uint32_t m = 0; m < e->n_models; m++) {
        l->names[m] = arena_str(arena, e->models[m]);
        if (!l->names[m].p)
            return -ENOMEM;
    }
    return 0;
}

/* ---- knn ---- */

static int train_knn(struct learned *l, const struct learned_examples *e,
                     const struct learned_options *o, struct arena *arena)
{
    int r = begin(l, e, o, (uint32_t)e->n, arena);
    if (r < 0)
        return r;
    memcpy(l->points, e->x, e->n * e->dims * sizeof(float));
    for (size_t i = 0; i < e->n; i++)
        for (uint32_t m = 0; m < e->n_models; m++)
            l->values[m * e->n + i] = e->scores[i * e->n_models + m];
    mean_scores(e, l->bias);
    return 0;
}

/* ---- kmeans: Lloyd 1982, seeded as Arthur and Vassilvitskii, "k-means++", 2007 ---- */

static float distance(const float *a, const float *b, uint32_t n)
{
    float d = learned_dot(a, a, n) + learned_dot(b, b, n) - 2 * learned_dot(a, b, n);
    return d > 0 ? d : 0;
}

static void seed_centres(struct learned *l, const struct learned_examples *e, uint64_t *chance,
                         float *away)
{
    size_t pick = (size_t)(draw_uniform(chance) * (double)e->n);
    for (uint32_t c = 0; c < l->rows; c++) {
        double sum = 0;
        memcpy(l->points + (size_t)c * l->dims, e->x + pick * e->dims, l->dims * sizeof(float));
        for (size_t i = 0; i < e->n; i++) {
            float d = distance(e->x + i * e->dims, l->points + (size_t)c * l->dims, l->dims);
            away[i] = c == 0 || d < away[i] ? d : away[i];
            sum += (double)away[i];
        }
        double at = draw_uniform(chance) * sum;
        for (pick = 0; pick + 1 < e->n && at > (double)away[pick]; pick++)
            at -= (double)away[pick];
    }
}

/* Whether any example changed its cluster. */
static bool assign(const struct learned *l, const struct learned_examples *e, uint32_t *of)
{
    bool changed = false;
    for (size_t i = 0; i < e->n; i++) {
        uint32_t best = 0;
        float least = INFINITY;
        for (uint32_t c = 0; c < l->rows; c++) {
            float d = distance(e->x + i * e->dims, l->points + (size_t)c * l->dims, l->dims);
            if (d < least) {
                least = d;
                best = c;
            }
        }
        changed = changed || of[i] != best;
        of[i] = best;
    }
    return changed;
}

static void centre(struct learned *l, const struct learned_examples *e, const uint32_t *of)
{
    for (uint32_t c = 0; c < l->rows; c++) {
        float *p = l->points + (size_t)c * l->dims;
        size_t n = 0;
        for (size_t i = 0; i < e->n; i++)
            n += of[i] == c;
        if (n == 0)
            continue; /* an empty one stays where it is */
        memset(p, 0, l->dims * sizeof(float));
        for (size_t i = 0; i < e->n; i++)
            for (uint32_t d = 0; of[i] == c && d < l->dims; d++)
                p[d] += e->x[i * e->dims + d] / (float)n;
    }
}

static void score_clusters(struct learned *l, const struct learned_examples *e, const uint32_t *of)
{
    mean_scores(e, l->bias);
    for (uint32_t m = 0; m < l->n_models; m++)
        for (uint32_t c = 0; c < l->rows; c++) {
            float sum = CLUSTER_PRIOR * l->bias[m], n = CLUSTER_PRIOR;
            for (size_t i = 0; i < e->n; i++) {
                float s = e->scores[i * e->n_models + m];
                if (of[i] != c || s < 0)
                    continue;
                sum += s;
                n += 1;
            }
            l->values[(size_t)m * l->rows + c] = l->bias[m] < 0 ? -1 : sum / n;
        }
}

static int train_kmeans(struct learned *l, const struct learned_examples *e,
                        const struct learned_options *o, struct arena *arena)
{
    uint32_t clusters = o->clusters < e->n ? o->clusters : (uint32_t)e->n;
    uint64_t chance = o->seed;
    int r = begin(l, e, o, clusters ? clusters : 1, arena);
    uint32_t *of = arena_array(arena, e->n, sizeof(*of));
    float *away = arena_array(arena, e->n, sizeof(*away));
    if (r < 0 || !of || !away)
        return r < 0 ? r : -ENOMEM;
    seed_centres(l, e, &chance, away);
    for (int step = 0; step < LLOYD_STEPS && (assign(l, e, of) || step == 0); step++)
        centre(l, e, of);
    score_clusters(l, e, of);
    return 0;
}

/* ---- svm ---- */

struct svm {
    const struct learned_examples *e;
    const struct learned_options *o;
    const size_t *rows; /* the examples that are learnt from */
    uint32_t n;
    float *kernel; /* n × n, with 1 added for the offset */
    float *weight; /* of each example: how much its choice matters */
    float *alpha, *field;
};

static float kernel(const struct svm *s, const float *a, const float *b)
{
    if (s->o->gamma <= 0)
        return learned_dot(a, b, s->e->dims);
    return expf(-(float)s->o->gamma * distance(a, b, s->e->dims));
}

static const float *example(const struct svm *s, uint32_t i)
{
    return s->e->x + s->rows[i] * s->e->dims;
}

static const float *scores_at(const struct svm *s, uint32_t i)
{
    return s->e->scores + s->rows[i] * s->e->n_models;
}

/* +1: no model is better there; else -1. The weight is what choosing it gains or loses. */
static float side(const struct svm *s, uint32_t i, uint32_t m, float *ret_weight)
{
    const float *scores = scores_at(s, i);
    float best_other = -1, own = scores[m];
    for (uint32_t k = 0; k < s->e->n_models; k++)
        if (k != m)
            best_other = fmaxf(best_other, scores[k]);
    *ret_weight = own < 0 || best_other < 0 ? 0 : fabsf(own - best_other);
    return own >= best_other ? 1 : -1;
}

/*
 * Dual coordinate descent for the squared hinge (Hsieh et al., "A dual coordinate descent method
 * for large-scale linear SVM", 2008), each example with its own cost.
 */
static void solve(struct svm *s, uint32_t m)
{
    unsigned epochs = s->o->epochs ? s->o->epochs : SVM_EPOCHS;
    memset(s->alpha, 0, s->n * sizeof(float));
    memset(s->field, 0, s->n * sizeof(float));
    for (unsigned epoch = 0; epoch < epochs; epoch++) {
        float most = 0;
        for (uint32_t i = 0; i < s->n; i++) {
            float weight, y = side(s, i, m, &weight);
            const float *row = s->kernel + (size_t)i * s->n;
            if (weight <= 0)
                continue;
            float damping = 1 / (2 * (float)s->o->cost * weight);
            float gradient = y * s->field[i] - 1 + damping * s->alpha[i];
            float next = fmaxf(0, s->alpha[i] - gradient / (row[i] + damping));
            float change = (next - s->alpha[i]) * y;
            most = fmaxf(most, fabsf(change));
            s->alpha[i] = next;
            for (uint32_t j = 0; change != 0 && j < s->n; j++)
                s->field[j] += change * row[j];
        }
        if (most < SVM_STILL)
            break;
    }
}

static void keep_svm(struct learned *l, const struct svm *s, uint32_t m)
{
    float *w = l->points + (size_t)m * l->dims;
    for (uint32_t i = 0; i < s->n; i++) {
        float weight, y = side(s, i, m, &weight), a = y * s->alpha[i];
        l->bias[m] += a;
        if (l->gamma > 0)
            l->values[(size_t)m * l->rows + i] = a;
        for (uint32_t d = 0; l->gamma <= 0 && a != 0 && d < l->dims; d++)
            w[d] += a * example(s, i)[d];
    }
}

/* The examples that are learnt from: all, or as many as the products may have. */
static int choose_rows(struct svm *s, struct arena *arena)
{
    uint64_t chance = s->o->seed;
    size_t n = s->e->n;
    size_t *rows = arena_array(arena, n, sizeof(*rows));
    if (!rows)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        rows[i] = i;
    s->n = (uint32_t)(n < SVM_EXAMPLES ? n : SVM_EXAMPLES);
    for (uint32_t i = 0; n > SVM_EXAMPLES && i < s->n; i++) {
        size_t k = i + (size_t)(draw_uniform(&chance) * (double)(n - i)), row = rows[i];
        rows[i] = rows[k];
        rows[k] = row;
    }
    s->rows = rows;
    return 0;
}

static int train_svm(struct learned *l, const struct learned_examples *e,
                     const struct learned_options *o, struct arena *arena)
{
    struct svm s = { .e = e, .o = o };
    int r = choose_rows(&s, arena);
    if (r < 0)
        return r;
    CLEANUP(own_free) float *products = calloc((size_t)s.n * s.n, sizeof(float));
    s.kernel = products;
    s.alpha = arena_array(arena, s.n, sizeof(float));
    s.field = arena_array(arena, s.n, sizeof(float));
    if (!products || !s.alpha || !s.field)
        return -ENOMEM;
    r = begin(l, e, o, o->gamma > 0 ? s.n : e->n_models, arena);
    if (r < 0)
        return r;
    l->gamma = (float)o->gamma;
    for (uint32_t i = 0; i < s.n; i++)
        for (uint32_t j = 0; j <= i; j++)
            products[(size_t)i * s.n + j] = products[(size_t)j * s.n + i] =
                1 + kernel(&s, example(&s, i), example(&s, j));
    for (uint32_t i = 0; l->gamma > 0 && i < s.n; i++)
        memcpy(l->points + (size_t)i * l->dims, example(&s, i), l->dims * sizeof(float));
    for (uint32_t m = 0; m < e->n_models; m++) {
        solve(&s, m);
        keep_svm(l, &s, m);
    }
    return 0;
}

/* ---- mlp: logistic loss against each measured score, Adam (Kingma and Ba, 2014) ---- */

struct mlp {
    struct learned *l;
    const struct learned_examples *e;
    float *gradient, *mean, *square; /* like the parameters */
    float *hidden, *back;            /* rows numbers */
    size_t n;                        /* parameters: they lie one after the other from l->points */
    unsigned step;
};

static void forward_back(struct mlp *t, size_t i)
{
    struct learned *l = t->l;
    const float *x = t->e->x + i * l->dims, *scores = t->e->scores + i * l->n_models;
    float *to_points = t->gradient, *to_offsets = t->gradient + (l->offsets - l->points);
    float *to_values = t->gradient + (l->values - l->points);
    float *to_bias = t->gradient + (l->bias - l->points);
    for (uint32_t h = 0; h < l->rows; h++) {
        t->hidden[h] =
            fmaxf(0, l->offsets[h] + learned_dot(x, l->points + (size_t)h * l->dims, l->dims));
        t->back[h] = 0;
    }
    for (uint32_t m = 0; m < l->n_models; m++) {
        const float *values = l->values + (size_t)m * l->rows;
        float *to = to_values + (size_t)m * l->rows;
        if (scores[m] < 0)
            continue;
        float z = l->bias[m] + learned_dot(values, t->hidden, l->rows);
        float error = 1 / (1 + expf(-z)) - scores[m];
        to_bias[m] += error;
        for (uint32_t h = 0; h < l->rows; h++) {
            to[h] += error * t->hidden[h];
            t->back[h] += t->hidden[h] > 0 ? error * values[h] : 0;
        }
    }
    for (uint32_t h = 0; h < l->rows; h++) {
        float *to = to_points + (size_t)h * l->dims, by = t->back[h];
        to_offsets[h] += by;
        for (uint32_t d = 0; by != 0 && d < l->dims; d++)
            to[d] += by * x[d];
    }
}

static void adam(struct mlp *t, float examples)
{
    float *p = t->l->points;
    t->step++;
    float mean = 1 - powf(ADAM_MEAN, (float)t->step),
          square = 1 - powf(ADAM_SQUARE, (float)t->step);
    for (size_t i = 0; i < t->n; i++) {
        float g = t->gradient[i] / examples;
        t->mean[i] = ADAM_MEAN * t->mean[i] + (1 - ADAM_MEAN) * g;
        t->square[i] = ADAM_SQUARE * t->square[i] + (1 - ADAM_SQUARE) * g * g;
        p[i] -= ADAM_STEP * (t->mean[i] / mean / (sqrtf(t->square[i] / square) + ADAM_LEAST) +
                             MLP_DECAY * p[i]);
    }
    memset(t->gradient, 0, t->n * sizeof(float));
}

/* Small at random; the offsets of the models begin where their mean score is. */
static void begin_mlp(struct learned *l, const struct learned_examples *e, uint64_t *chance)
{
    float of_points = sqrtf(6 / (float)(l->dims + l->rows));
    float of_values = sqrtf(6 / (float)(l->rows + l->n_models));
    for (size_t i = 0; i < (size_t)l->rows * l->dims; i++)
        l->points[i] = of_points * (float)(2 * draw_uniform(chance) - 1);
    for (size_t i = 0; i < (size_t)l->rows * l->n_models; i++)
        l->values[i] = of_values * (float)(2 * draw_uniform(chance) - 1);
    mean_scores(e, l->bias);
    for (uint32_t m = 0; m < l->n_models; m++) {
        float p = fminf(fmaxf(l->bias[m], 0.01F), 0.99F);
        l->bias[m] = logf(p / (1 - p));
    }
}

static int train_mlp(struct learned *l, const struct learned_examples *e,
                     const struct learned_options *o, struct arena *arena)
{
    uint64_t chance = o->seed;
    unsigned epochs = o->epochs ? o->epochs : MLP_EPOCHS;
    int r = begin(l, e, o, o->hidden ? o->hidden : 1, arena);
    if (r < 0)
        return r;
    struct mlp t = { .l = l, .e = e, .n = (size_t)(l->bias - l->points) + l->n_models };
    size_t *order = arena_array(arena, e->n, sizeof(*order));
    t.gradient = arena_array(arena, 3 * t.n + 2 * (size_t)l->rows, sizeof(float));
    if (!order || !t.gradient)
        return -ENOMEM;
    t.mean = t.gradient + t.n;
    t.square = t.mean + t.n;
    t.hidden = t.square + t.n;
    t.back = t.hidden + l->rows;
    begin_mlp(l, e, &chance);
    for (size_t i = 0; i < e->n; i++)
        order[i] = i;
    for (unsigned epoch = 0; epoch < epochs; epoch++) {
        for (size_t i = e->n - 1; i > 0; i--) {
            size_t k = (size_t)(draw_uniform(&chance) * (double)(i + 1)), row = order[i];
            order[i] = order[k];
            order[k] = row;
        }
        for (size_t i = 0; i < e->n; i++) {
            forward_back(&t, order[i]);
            if ((i + 1) % MLP_BATCH == 0 || i + 1 == e->n)
                adam(&t, (float)(i % MLP_BATCH + 1));
        }
    }
    return 0;
}

int learned_train(struct learned *ret, const struct learned_examples *e,
                  const struct learned_options *o, struct arena *arena)
{
    static int (*const trainers[])(struct learned *, const struct learned_examples *,
                                   const struct learned_options *, struct arena *) = {
        [LEARNED_knn] = train_knn,
        [LEARNED_kmeans] = train_kmeans,
        [LEARNED_svm] = train_svm,
        [LEARNED_mlp] = train_mlp,
    };
    if (e->n == 0 || e->n > LEARNED_ROWS || e->n_models == 0 || e->n_models > LEARNED_MODELS ||
        e->dims > LEARNED_DIMS || o->clusters > LEARNED_ROWS || o->hidden > LEARNED_ROWS)
        return -EINVAL;
    int r = trainers[o->kind](ret, e, o, arena);
    if (r == 0)
        learned_index(ret);
    return r;
}
