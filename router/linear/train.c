/*
 * Training: L-BFGS over one number an example and class.
 *
 * The best weights are the prior's plus a sum of the examples (the representer theorem), so what is
 * searched is how much of each example goes into each class: far less to hold and to move than the
 * weights. Lengths are those of the weights, so the steps are the same ones. A bias is the weight
 * of a feature that every text has, with value BIAS_VALUE.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "router/linear/linear_impl.h"

enum { MEMORY = 6 /* steps that L-BFGS remembers */, SEARCH_STEPS = 20 };
static const float BIAS_VALUE = 1;
static const double SUFFICIENT = 1e-4; /* Armijo's share of the promised decrease */
static const double CONVERGED = 3e-4;  /* gradient length over its first */

/* A matrix of examples by classes, and what the weights that it stands for score the examples. */
struct vec {
    float *a, *ka;
};

struct pair { /* a step and the change of the gradient over it */
    struct vec s, y;
    double rho;
};

struct problem {
    const struct linear_example *examples;
    size_t n;
    const struct linear_options *o;
    const struct linear *l;  /* row_of; the rows hold the prior */
    uint32_t shared;         /* rows up to it are of features of several examples */
    size_t dims;             /* n times the classes */
    float *own;              /* an example: squared length of the features it alone has */
    float *prior;            /* scores of the examples by the prior; NULL: 0 */
    float *weights, *biases; /* scratch of `product`: rows, classes */
};

struct solver {
    struct vec x, g, d;
    float *derivative; /* of the loss by the scores */
    struct pair h[MEMORY];
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

static void vec_add(struct vec *y, double by, const struct vec *x, size_t n)
{
    add(y->a, by, x->a, n);
    add(y->ka, by, x->ka, n);
}

static void vec_scale(struct vec *v, double by, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        v->a[i] *= (float)by;
        v->ka[i] *= (float)by;
    }
}

static double vec_dot(const struct vec *x, const struct vec *y, size_t n)
{
    return dot(x->a, y->ka, n);
}

/* Adds the examples, as much of each as `a` says, to the weights of the rows up to `last`. */
static void add_examples(const struct problem *p, const float *a, float *weights, uint32_t last)
{
    uint32_t k = p->o->classes;
    for (size_t e = 0; e < p->n; e++) {
        const struct features *x = p->examples[e].x;
        for (uint32_t i = 0; i < x->n; i++) {
            uint32_t row = p->l->row_of[x->id[i]] - 1;
            if (row < last)
                add(weights + (size_t)row * k, (double)x->value[i], a + e * k, k);
        }
    }
}

/* ret = what weights score the examples, over the features of several of them. */
static void score_examples(const struct problem *p, const float *weights, uint32_t last, float *ret)
{
    uint32_t k = p->o->classes;
    memset(ret, 0, p->dims * sizeof(*ret));
    for (size_t e = 0; e < p->n; e++) {
        const struct features *x = p->examples[e].x;
        for (uint32_t i = 0; i < x->n; i++) {
            uint32_t row = p->l->row_of[x->id[i]] - 1;
            if (row < last)
                add(ret + e * k, (double)x->value[i], weights + (size_t)row * k, k);
        }
    }
}

/* v->ka from v->a: the examples' dot products with each other, times a. A feature that only one
 * example has needs no weight for that. */
static void product(const struct problem *p, struct vec *v)
{
    uint32_t k = p->o->classes;
    memset(p->weights, 0, (size_t)p->shared * k * sizeof(*p->weights));
    memset(p->biases, 0, k * sizeof(*p->biases));
    add_examples(p, v->a, p->weights, p->shared);
    score_examples(p, p->weights, p->shared, v->ka);
    for (size_t e = 0; e < p->n; e++)
        add(p->biases, (double)(BIAS_VALUE * BIAS_VALUE), v->a + e * k, k);
    for (size_t e = 0; e < p->n; e++) {
        add(v->ka + e * k, (double)p->own[e], v->a + e * k, k);
        add(v->ka + e * k, /* by= */ 1, p->biases, k);
    }
}

/* Turns the scores of one example into the loss's derivatives; returns the loss. */
static double differentiate(const struct linear_options *o, float *s, uint32_t y)
{
    double loss = 0;
    if (o->loss == LINEAR_softmax) {
        linear_softmax(s, o->classes, /* temperature= */ 1);
        loss = -log(fmax((double)s[y], 1e-30));
        s[y] -= 1;
        return loss;
    }
    for (uint32_t c = 0; c < o->classes; c++) {
        float sign = c == y ? 1 : -1, gap = fmaxf(0, 1 - sign * s[c]);
        loss += (double)(gap * gap);
        s[c] = -2 * sign * gap;
    }
    return loss;
}

/* The loss of scores ka + step · kd, over all examples; s->derivative is its derivatives. */
static double loss_at(const struct problem *p, struct solver *s, double step)
{
    double loss = 0;
    uint32_t k = p->o->classes;
    for (size_t e = 0; e < p->n; e++) {
        float *f = s->derivative + e * k;
        for (uint32_t c = 0; c < k; c++)
            f[c] = s->x.ka[e * k + c] + (float)step * s->d.ka[e * k + c];
        if (p->prior)
            add(f, /* by= */ 1, p->prior + e * k, k);
        loss += differentiate(p->o, f, p->examples[e].y);
    }
    return p->o->cost * loss;
}

/* d = -H g, by the two loops. */
static void direction(struct solver *s, size_t n)
{
    double alpha[MEMORY];
    for (size_t i = 0; i < n; i++) {
        s->d.a[i] = -s->g.a[i];
        s->d.ka[i] = -s->g.ka[i];
    }
    for (unsigned i = 0; i < s->n; i++) {
        const struct pair *h = &s->h[(s->next + MEMORY - 1 - i) % MEMORY];
        alpha[i] = h->rho * vec_dot(&h->s, &s->d, n);
        vec_add(&s->d, -alpha[i], &h->y, n);
    }
    if (s->n) {
        const struct pair *h = &s->h[(s->next + MEMORY - 1) % MEMORY];
        vec_scale(&s->d, 1 / (h->rho * vec_dot(&h->y, &h->y, n)), n);
    }
    for (unsigned i = s->n; i-- > 0;) {
        const struct pair *h = &s->h[(s->next + MEMORY - 1 - i) % MEMORY];
        double beta = h->rho * vec_dot(&h->y, &s->d, n);
        vec_add(&s->d, alpha[i] - beta, &h->s, n);
    }
}

/* The gradient at x: x + cost · derivative. The change goes into `y`. */
static void gradient(const struct problem *p, struct solver *s, struct vec *y)
{
    size_t n = p->dims;
    memcpy(y->a, s->g.a, n * sizeof(*y->a));
    memcpy(y->ka, s->g.ka, n * sizeof(*y->ka));
    memcpy(s->g.a, s->x.a, n * sizeof(*s->g.a));
    add(s->g.a, p->o->cost, s->derivative, n);
    product(p, &s->g);
    for (size_t i = 0; i < n; i++) {
        y->a[i] = s->g.a[i] - y->a[i];
        y->ka[i] = s->g.ka[i] - y->ka[i];
    }
}

/* Moves to a point that is enough lower; false: there is none in this direction. */
static bool search(const struct problem *p, struct solver *s, double *value)
{
    size_t n = p->dims;
    double slope = vec_dot(&s->g, &s->d, n), xx = vec_dot(&s->x, &s->x, n);
    double xd = vec_dot(&s->x, &s->d, n), dd = vec_dot(&s->d, &s->d, n);
    double step = s->n ? 1 : 1 / fmax(1, sqrt(vec_dot(&s->g, &s->g, n)));
    if (slope >= 0)
        return false;
    for (int i = 0; i < SEARCH_STEPS; i++, step *= 0.5) {
        double v = loss_at(p, s, step) + 0.5 * (xx + 2 * step * xd + step * step * dd);
        if (!(v <= *value + SUFFICIENT * step * slope))
            continue;
        struct pair *h = &s->h[s->next];
        memset(h->s.a, 0, n * sizeof(*h->s.a));
        memset(h->s.ka, 0, n * sizeof(*h->s.ka));
        vec_add(&h->s, step, &s->d, n);
        vec_add(&s->x, /* by= */ 1, &h->s, n);
        gradient(p, s, &h->y);
        double curvature = vec_dot(&h->s, &h->y, n);
        if (curvature > 1e-12) {
            h->rho = 1 / curvature;
            s->next = (s->next + 1) % MEMORY;
            s->n += s->n < MEMORY;
        }
        *value = v;
        return true;
    }
    return false;
}

static void solve(const struct problem *p, struct solver *s)
{
    struct vec *unused = &s->h[0].y;
    double value = loss_at(p, s, /* step= */ 0);
    gradient(p, s, unused);
    double first = sqrt(vec_dot(&s->g, &s->g, p->dims));
    for (uint32_t i = 0; i < p->o->iterations; i++) {
        direction(s, p->dims);
        if (!search(p, s, &value)) {
            if (!s->n)
                return;
            s->n = 0; /* the memory misleads: once more along the gradient */
            continue;
        }
        if (sqrt(vec_dot(&s->g, &s->g, p->dims)) <= CONVERGED * first)
            return;
    }
}

/* Gives a row to each feature that an example has, those of several examples first. */
static int number_rows(struct problem *p, struct linear *l)
{
    uint32_t alone = 0;
    for (size_t e = 0; e < p->n; e++)
        for (uint32_t i = 0; i < p->examples[e].x->n; i++) {
            uint32_t *seen = &l->row_of[p->examples[e].x->id[i]];
            *seen += *seen < 2;
        }
    for (uint32_t id = 0; id < LINEAR_IDS; id++)
        p->shared += l->row_of[id] == 2;
    for (uint32_t id = 0, shared = 0; id < LINEAR_IDS; id++)
        if (l->row_of[id])
            l->row_of[id] = l->row_of[id] == 2 ? ++shared : p->shared + ++alone;
    l->n_rows = p->shared + alone;
    l->rows = calloc(((size_t)l->n_rows + 1) * l->classes, sizeof(*l->rows));
    return l->rows ? 0 : -ENOMEM;
}

/* The squared length of the features that an example alone has. */
static void measure_own(const struct problem *p)
{
    for (size_t e = 0; e < p->n; e++) {
        const struct features *x = p->examples[e].x;
        for (uint32_t i = 0; i < x->n; i++)
            if (p->l->row_of[x->id[i]] > p->shared)
                p->own[e] += x->value[i] * x->value[i];
    }
}

/* Starts the weights at the prior, scaled so that its scores of the examples deviate by o->prior.
 */
static void start(struct problem *p, struct linear *l)
{
    linear_naive_bayes(l, p->examples, p->n);
    score_examples(p, l->rows, l->n_rows, p->prior);
    double sum = 0, squares = dot(p->prior, p->prior, p->dims), n = (double)p->dims;
    for (size_t i = 0; i < p->dims; i++)
        sum += (double)p->prior[i];
    double deviation = sqrt(fmax(0, squares / n - sum / n * (sum / n)));
    float by = deviation > 0 ? (float)(p->o->prior / deviation) : 0;
    for (size_t i = 0; i < p->dims; i++)
        p->prior[i] *= by;
    for (size_t i = 0; i < (size_t)l->n_rows * l->classes; i++)
        l->rows[i] *= by;
}

static struct vec take_vec(float **at, size_t n)
{
    struct vec v = { *at, *at + n };
    *at += 2 * n;
    return v;
}

/* Searches, and leaves the weights in `l`. */
static int train(struct problem *p, struct linear *l)
{
    enum { VECS = 3 + 2 * MEMORY, SINGLES = 2 };
    size_t dims = p->dims, floats;
    if (!mul_ok(dims, 2 * VECS + SINGLES, &floats))
        return -ENOMEM;
    CLEANUP(own_free) float *block = calloc(floats, sizeof(*block));
    CLEANUP(own_free) float *prior = p->o->prior > 0 ? calloc(dims, sizeof(*prior)) : NULL;
    CLEANUP(own_free)
    float *scratch = calloc(((size_t)p->shared + 1) * l->classes + p->n, sizeof(*scratch));
    if (!block || !scratch || (p->o->prior > 0 && !prior))
        return -ENOMEM;
    float *at = block;
    struct solver s = { .x = take_vec(&at, dims), .g = take_vec(&at, dims) };
    s.d = take_vec(&at, dims);
    for (unsigned i = 0; i < MEMORY; i++)
        s.h[i] = (struct pair){ .s = take_vec(&at, dims), .y = take_vec(&at, dims) };
    s.derivative = at;
    p->biases = scratch;
    p->weights = scratch + l->classes;
    p->own = p->weights + (size_t)p->shared * l->classes;
    p->prior = prior;
    measure_own(p);
    if (prior)
        start(p, l);
    solve(p, &s);
    add_examples(p, s.x.a, l->rows, l->n_rows);
    for (size_t e = 0; e < p->n; e++)
        add(l->bias, (double)(BIAS_VALUE * BIAS_VALUE), s.x.a + e * l->classes, l->classes);
    return 0;
}

int linear_train(struct linear **ret, const struct linear_example *examples, size_t n,
                 const struct linear_options *o)
{
    if (!n || !o->classes)
        return -EINVAL;
    CLEANUP(linear_freep) struct linear *l = NULL;
    struct problem p = { .examples = examples, .n = n, .o = o };
    if (!mul_ok(n, o->classes, &p.dims) || linear_new(&l, o->classes) < 0 || number_rows(&p, l) < 0)
        return -ENOMEM;
    p.l = l;
    int r = train(&p, l);
    if (r < 0)
        return r;
    *ret = TAKE(l);
    return 0;
}

struct linear_options linear_options_for(uint32_t classes, size_t n)
{
    enum { FEW = 100, ITERATIONS = 100 };
    bool few = n < (size_t)FEW * classes;
    return (struct linear_options){ .loss = few ? LINEAR_softmax : LINEAR_hinge,
                                    .classes = classes,
                                    .cost = few ? LINEAR_COST_SOFTMAX : LINEAR_COST_HINGE,
                                    .iterations = ITERATIONS,
                                    .prior = few ? 0.3 : 0.6 };
}
