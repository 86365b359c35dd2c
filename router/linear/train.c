/*
 * Training: L-BFGS over the weights of the features that the examples have.
 *
 * The weights are one vector: a row of classes for each feature, then the biases. A bias is the
 * weight of a feature that every text has, with value BIAS_VALUE, so it is drawn to zero like the
 * others, only less.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "router/linear/linear_impl.h"

enum { MEMORY = 6 /* steps that L-BFGS remembers */, SEARCH_STEPS = 20 };
static const float BIAS_VALUE = 1;
static const double SUFFICIENT = 1e-4; /* Armijo's share of the promised decrease */
static const double CONVERGED = 1e-4;  /* gradient length over its first */

struct problem {
    const struct linear_example *examples;
    size_t n;
    const struct linear_options *o;
    const struct linear *l; /* row_of */
    size_t dims;            /* weights in all */
    float *scores;          /* of one example */
};

struct history {
    float *s, *y; /* MEMORY vectors each: steps, changes of the gradient */
    double rho[MEMORY];
    unsigned n, next;
};

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i += 4096) { /* floats within a run, doubles over runs */
        float part = 0;
        size_t end = n - i < 4096 ? n : i + 4096;
        for (size_t k = i; k < end; k++)
            part += a[k] * b[k];
        sum += (double)part;
    }
    return sum;
}

static void add(float *y, double by, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += (float)by * x[i];
}

/* Turns the scores of one example into the loss's derivatives; returns the loss. */
static double differentiate(const struct problem *p, float *s, uint32_t y)
{
    uint32_t k = p->o->classes;
    double loss = 0;
    if (p->o->loss == LINEAR_softmax) {
        linear_softmax(s, k, /* temperature= */ 1);
        loss = -log(fmax((double)s[y], 1e-30));
        s[y] -= 1;
        return loss;
    }
    for (uint32_t c = 0; c < k; c++) {
        float sign = c == y ? 1 : -1, gap = fmaxf(0, 1 - sign * s[c]);
        loss += (double)(gap * gap);
        s[c] = -2 * sign * gap;
    }
    return loss;
}

/* The value at w; *g is the gradient there. */
static double value_at(const struct problem *p, const float *w, float *g)
{
    uint32_t k = p->o->classes;
    size_t biases = p->dims - k;
    float cost = (float)p->o->cost;
    double value = 0.5 * dot(w, w, p->dims);
    memcpy(g, w, p->dims * sizeof(*g));
    for (size_t e = 0; e < p->n; e++) {
        const struct features *x = p->examples[e].x;
        for (uint32_t c = 0; c < k; c++)
            p->scores[c] = BIAS_VALUE * w[biases + c];
        for (uint32_t i = 0; i < x->n; i++) {
            const float *row = w + (size_t)(p->l->row_of[x->id[i]] - 1) * k;
            for (uint32_t c = 0; c < k; c++)
                p->scores[c] += x->value[i] * row[c];
        }
        value += p->o->cost * differentiate(p, p->scores, p->examples[e].y);
        for (uint32_t c = 0; c < k; c++)
            g[biases + c] += cost * BIAS_VALUE * p->scores[c];
        for (uint32_t i = 0; i < x->n; i++) {
            float *row = g + (size_t)(p->l->row_of[x->id[i]] - 1) * k;
            for (uint32_t c = 0; c < k; c++)
                row[c] += cost * x->value[i] * p->scores[c];
        }
    }
    return value;
}

/* d = -H g, by the two loops. */
static void direction(float *d, const float *g, const struct history *h, size_t n)
{
    double alpha[MEMORY];
    for (size_t i = 0; i < n; i++)
        d[i] = -g[i];
    for (unsigned k = 0; k < h->n; k++) {
        unsigned at = (h->next + MEMORY - 1 - k) % MEMORY;
        alpha[at] = h->rho[at] * dot(h->s + at * n, d, n);
        add(d, -alpha[at], h->y + at * n, n);
    }
    if (h->n) {
        unsigned last = (h->next + MEMORY - 1) % MEMORY;
        double scale = 1 / (h->rho[last] * dot(h->y + last * n, h->y + last * n, n));
        for (size_t i = 0; i < n; i++)
            d[i] *= (float)scale;
    }
    for (unsigned k = h->n; k-- > 0;) {
        unsigned at = (h->next + MEMORY - 1 - k) % MEMORY;
        double beta = h->rho[at] * dot(h->y + at * n, d, n);
        add(d, alpha[at] - beta, h->s + at * n, n);
    }
}

struct solver {
    float *w, *g, *d, *trial, *trial_g;
    struct history h;
};

static void swap(float **a, float **b)
{
    float *kept = *a;
    *a = *b;
    *b = kept;
}

/* Moves to a point that is enough lower; false: there is none in this direction. */
static bool search(const struct problem *p, struct solver *s, double *value)
{
    size_t n = p->dims;
    double slope = dot(s->g, s->d, n);
    double step = s->h.n ? 1 : 1 / fmax(1, sqrt(dot(s->g, s->g, n)));
    if (slope >= 0)
        return false;
    for (int i = 0; i < SEARCH_STEPS; i++, step *= 0.5) {
        memcpy(s->trial, s->w, n * sizeof(*s->w));
        add(s->trial, step, s->d, n);
        double v = value_at(p, s->trial, s->trial_g);
        if (!(v <= *value + SUFFICIENT * step * slope))
            continue;
        float *ds = s->h.s + s->h.next * n, *dy = s->h.y + s->h.next * n;
        for (size_t k = 0; k < n; k++) {
            ds[k] = s->trial[k] - s->w[k];
            dy[k] = s->trial_g[k] - s->g[k];
        }
        double curvature = dot(ds, dy, n);
        if (curvature > 1e-12) {
            s->h.rho[s->h.next] = 1 / curvature;
            s->h.next = (s->h.next + 1) % MEMORY;
            s->h.n += s->h.n < MEMORY;
        }
        swap(&s->w, &s->trial);
        swap(&s->g, &s->trial_g);
        *value = v;
        return true;
    }
    return false;
}

static void solve(const struct problem *p, struct solver *s)
{
    double value = value_at(p, s->w, s->g);
    double first = sqrt(dot(s->g, s->g, p->dims));
    for (uint32_t i = 0; i < p->o->iterations; i++) {
        direction(s->d, s->g, &s->h, p->dims);
        if (!search(p, s, &value)) {
            if (!s->h.n)
                return;
            s->h.n = 0; /* the memory misleads: once more along the gradient */
            continue;
        }
        if (sqrt(dot(s->g, s->g, p->dims)) <= CONVERGED * first)
            return;
    }
}

/* Gives a row to each feature that an example has. */
static int number_rows(struct linear *l, const struct linear_example *examples, size_t n)
{
    for (size_t e = 0; e < n; e++)
        for (uint32_t i = 0; i < examples[e].x->n; i++) {
            uint32_t *row = &l->row_of[examples[e].x->id[i]];
            if (!*row)
                *row = ++l->n_rows;
        }
    size_t weights = ((size_t)l->n_rows + 1) * l->classes;
    l->rows = calloc(weights, sizeof(*l->rows));
    return l->rows ? 0 : -ENOMEM;
}

int linear_train(struct linear **ret, const struct linear_example *examples, size_t n,
                 const struct linear_options *o)
{
    if (!n || !o->classes)
        return -EINVAL;
    CLEANUP(linear_freep) struct linear *l = NULL;
    if (linear_new(&l, o->classes) < 0 || number_rows(l, examples, n) < 0)
        return -ENOMEM;
    size_t dims = ((size_t)l->n_rows + 1) * l->classes;
    size_t floats = dims * (4 + 2 * (size_t)MEMORY) + l->classes;
    CLEANUP(own_free) float *block = calloc(floats, sizeof(*block));
    if (!block)
        return -ENOMEM;
    struct solver s = { .w = l->rows,
                        .g = block,
                        .d = block + dims,
                        .trial = block + 2 * dims,
                        .trial_g = block + 3 * dims,
                        .h = { .s = block + 4 * dims, .y = block + (4 + MEMORY) * dims } };
    struct problem p = { .examples = examples,
                         .n = n,
                         .o = o,
                         .l = l,
                         .dims = dims,
                         .scores = block + dims * (4 + 2 * (size_t)MEMORY) };
    solve(&p, &s);
    if (s.w != l->rows)
        memcpy(l->rows, s.w, dims * sizeof(*s.w));
    for (uint32_t c = 0; c < l->classes; c++)
        l->bias[c] = BIAS_VALUE * l->rows[dims - l->classes + c];
    *ret = TAKE(l);
    return 0;
}
