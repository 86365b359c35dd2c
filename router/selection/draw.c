#include "router/selection/draw.h"

#include <math.h>

#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u
#define SPLITMIX_STEP 0x9e3779b97f4a7c15u

uint64_t draw_next(uint64_t *state)
{
    uint64_t z = *state += SPLITMIX_STEP;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t draw_seed(struct str text)
{
    uint64_t h = FNV_BASIS;
    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * FNV_PRIME;
    h = draw_next(&h);
    return h ? h : 1;
}

double draw_uniform(uint64_t *state)
{
    return ((double)(draw_next(state) >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t *state) /* Box and Muller */
{
    double u = draw_uniform(state), v = draw_uniform(state);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* Each round is taken with a chance above 0.95, so the bound is never met; d is the mode then. */
static double gamma_variate(uint64_t *state, double shape)
{
    enum { MAX_ROUNDS = 1000 };
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (int i = 0; i < MAX_ROUNDS; i++) {
        double x = normal(state), v = 1 + c * x;
        if (v <= 0)
            continue;
        v = v * v * v;
        if (log(draw_uniform(state)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
    return d;
}

double draw_beta(uint64_t *state, double a, double b)
{
    double x = gamma_variate(state, a), y = gamma_variate(state, b);
    return x / (x + y);
}
