#include "engine/local/rope.h"

#include <errno.h>
#include <math.h>

#include "base/own.h"
#include "engine/local/loader.h"

enum scaling { SCALING_none, SCALING_linear, SCALING_yarn, SCALING_longrope };

static const char *const scalings[] = {
    [SCALING_none] = "none",
    [SCALING_linear] = "linear",
    [SCALING_yarn] = "yarn",
    [SCALING_longrope] = "longrope",
};

struct rope_keys {
    enum scaling scaling;
    float factor;            /* that positions are divided by, where they are scaled */
    uint32_t original;       /* positions that the model was first trained on */
    float magnitude;         /* that the file asks for */
    float fast, slow, blend; /* YaRN: turns within `original`, share of the blend */
};

static int scaling_type(struct loader *l, enum scaling *ret)
{
    char name[LOADER_NAME];
    struct str type;
    *ret = SCALING_linear; /* old files have a factor and no type */
    if (!gguf_str(l->gguf, loader_key(l, name, "rope.scaling.type"), &type))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(scalings); i++)
        if (str_is(type, scalings[i])) {
            *ret = (enum scaling)i;
            return 0;
        }
    return loader_refuse(l,
                         "%s is '" STR_FMT "', which is not supported; supported are none, linear, "
                         "yarn, longrope",
                         name, STR_ARG(type));
}

/* Factors that belong to graphs not drawn here; `neutral` changes nothing. */
static int refuse_other_scalings(struct loader *l)
{
    static const struct {
        const char *key;
        float neutral;
    } others[] = { { "rope.scaling.alpha", 1 },
                   { "rope.scaling.yarn_log_multiplier", 0 },
                   { "rope.scaling.yarn_attn_factor", 1 } };
    char name[LOADER_NAME];
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        float v = others[i].neutral;
        (void)gguf_f32(l->gguf, loader_key(l, name, others[i].key), &v);
        if (v != others[i].neutral && v != 0)
            return loader_refuse(l, "%s is %g, which is not supported", name, (double)v);
    }
    return 0;
}

static int read_keys(struct loader *l, struct rope_keys *ret)
{
    const struct model_shape *s = &l->m->shape;
    int r = scaling_type(l, &ret->scaling);
    if (!r)
        r = loader_float(l, &ret->factor, "rope.scale_linear", 1);
    if (!r)
        r = loader_float(l, &ret->factor, "rope.scaling.factor", ret->factor);
    if (!r)
        r = loader_uint(l, &ret->original, "rope.scaling.original_context_length", UINT32_MAX,
                        s->context);
    if (!r)
        r = loader_float(l, &ret->magnitude, "rope.scaling.attn_factor", 1);
    if (!r)
        r = loader_float(l, &ret->fast, "rope.scaling.yarn_beta_fast", 32);
    if (!r)
        r = loader_float(l, &ret->slow, "rope.scaling.yarn_beta_slow", 1);
    if (!r)
        r = loader_float(l, &ret->blend, "rope.scaling.yarn_ext_factor", 1);
    return r ? r : refuse_other_scalings(l);
}

static int fill(struct rope *ret, uint32_t dims, float base)
{
    ret->magnitude = 1;
    ret->steps = calloc((size_t)dims / 2 + 1, sizeof(double));
    if (!ret->steps)
        return -ENOMEM;
    for (uint32_t i = 0; i < dims / 2; i++)
        ret->steps[i] = pow((double)base, -2.0 * i / dims);
    return 0;
}

/* Divides the steps by what a tensor holds. */
static int divide(struct loader *l, struct rope *to, const char *tensor)
{
    CLEANUP(own_free) float *factors = NULL;
    uint32_t n = l->m->shape.rope_dims / 2;
    int r = loader_vector(l, &factors, tensor, n, /* required= */ true);
    for (uint32_t i = 0; !r && i < n; i++) {
        if (!isfinite(factors[i]) || factors[i] <= 0)
            return loader_refuse(l, "%s[%u] is %g; it must be finite and above 0", tensor, i,
                                 (double)factors[i]);
        to->steps[i] /= (double)factors[i];
    }
    return r;
}

/* The pair that turns `turns` times within the original context. */
static double pair_of(const struct model_shape *s, const struct rope_keys *k, double turns)
{
    return s->rope_dims * log(k->original / (turns * 2 * M_PI)) / (2 * log((double)s->rope_base));
}

/* Slow pairs are divided, fast ones are not, those between are a blend of both. */
static void scale_yarn(struct rope *to, const struct model_shape *s, const struct rope_keys *k)
{
    const double least_span = 0.001;
    double low = floor(pair_of(s, k, (double)k->fast)), high = ceil(pair_of(s, k, (double)k->slow));
    low = low > 0 ? low : 0;
    high = high < s->rope_dims - 1 ? high : s->rope_dims - 1;
    double span = high - low > least_span ? high - low : least_span;
    for (uint32_t i = 0; i < s->rope_dims / 2; i++) {
        double place = (i - low) / span;
        place = place < 0 ? 0 : place > 1 ? 1 : place;
        double keep = (1 - place) * (double)k->blend;
        to->steps[i] *= (1 - keep) / (double)k->factor + keep;
    }
    if (k->factor > 1)
        to->magnitude = 1.0f + 0.1f * logf(k->factor);
}

static void scale(struct rope *to, const struct model_shape *s, const struct rope_keys *k)
{
    if (k->scaling == SCALING_yarn)
        scale_yarn(to, s, k);
    else if (k->scaling != SCALING_none)
        for (uint32_t i = 0; i < s->rope_dims / 2; i++)
            to->steps[i] /= (double)k->factor;
    to->magnitude *= k->magnitude;
}

/* Long factors where sequences may outgrow the original context, short ones below. */
static int load_long_factors(struct loader *l, const struct rope_keys *k)
{
    static const char long_name[] = "rope_factors_long.weight";
    static const char short_name[] = "rope_factors_short.weight";
    struct model *m = l->m;
    bool has_long = gguf_tensor(l->gguf, long_name), has_short = gguf_tensor(l->gguf, short_name);
    if (!has_long && !has_short) {
        if (k->scaling == SCALING_longrope)
            return loader_refuse(l, "its rope scaling is longrope, and the tensor %s is missing",
                                 long_name);
        return 0;
    }
    int r = fill(&m->long_rope, m->shape.rope_dims, m->shape.rope_base);
    if (!r)
        r = divide(l, &m->long_rope, long_name);
    if (!r)
        r = divide(l, &m->ropes[0], short_name);
    if (r)
        return r;
    m->long_above = k->original;
    scale(&m->long_rope, &m->shape, k);
    return 0;
}

int rope_load(struct loader *l)
{
    struct model *m = l->m;
    struct model_shape *s = &m->shape;
    struct rope_keys k = { 0 };
    float local_base = l->arch->local_rope_base;
    int r = loader_uint(l, &s->rope_dims, "rope.dimension_count", s->head_size, s->head_size);
    if (!r)
        r = loader_float(l, &s->rope_base, "rope.freq_base", 10000.0f);
    if (!r)
        r = read_keys(l, &k);
    if (r)
        return r;
    if (s->rope_dims % 2)
        return loader_refuse(l, "rope.dimension_count is %u; it must be even", s->rope_dims);
    if (k.scaling == SCALING_yarn && !(s->rope_base > 1))
        return loader_refuse(l, "rope.freq_base is %g; yarn needs one above 1",
                             (double)s->rope_base);
    s->rope_neox = l->arch->rope_neox;
    r = fill(&m->ropes[0], s->rope_dims, s->rope_base);
    if (!r && gguf_tensor(l->gguf, "rope_freqs.weight"))
        r = divide(l, &m->ropes[0], "rope_freqs.weight");
    if (!r)
        r = load_long_factors(l, &k);
    if (r)
        return r;
    scale(&m->ropes[0], s, &k);
    if (!m->window || local_base <= 0)
        return 0;
    r = loader_float(l, &local_base, "rope.freq_base_swa", local_base);
    return r ? r : fill(&m->ropes[1], s->rope_dims, local_base); /* never scaled */
}

void rope_done(struct rope *r)
{
    free(r->steps);
    r->steps = NULL;
}

const struct rope *rope_of(const struct model *m, uint32_t k, uint32_t context)
{
    return k == 0 && m->long_rope.steps && context > m->long_above ? &m->long_rope : &m->ropes[k];
}
