#include "engine/local/loader.h"

#include <errno.h>
#include <math.h>

int loader_refuse(struct loader *l, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail_set(l->reterr, FAIL_invalid_request, "%s: %s", gguf_name(l->gguf), text);
}

/* ---- metadata ---- */

const char *loader_key(const struct loader *l, char buf[static LOADER_NAME], const char *key)
{
    (void)snprintf(buf, LOADER_NAME, "%s.%s", l->prefix, key);
    return buf;
}

/* An array that says the same number for every layer. */
static bool uniform_u64(const struct gguf *g, const char *key, uint64_t *ret)
{
    struct gguf_array a;
    if (!gguf_array(g, key, &a) || !a.n || a.kind == GGUF_string || a.kind == GGUF_bool ||
        a.kind == GGUF_f32 || a.kind == GGUF_f64)
        return false;
    int64_t first = gguf_array_i64(&a, 0);
    for (uint64_t i = 1; i < a.n; i++)
        if (gguf_array_i64(&a, i) != first)
            return false;
    *ret = (uint64_t)first;
    return first >= 0;
}

static bool has_key(const struct gguf *g, const char *key)
{
    uint64_t u;
    float f;
    bool b;
    struct str s;
    struct gguf_array a;
    return gguf_u64(g, key, &u) || gguf_f32(g, key, &f) || gguf_bool(g, key, &b) ||
           gguf_str(g, key, &s) || gguf_array(g, key, &a);
}

/* `absent` is the value of a missing key; UINT64_MAX: the key must be there. */
int loader_uint(struct loader *l, uint32_t *ret, const char *key, uint64_t max, uint64_t absent)
{
    char name[LOADER_NAME];
    uint64_t v = absent;
    if (!gguf_u64(l->gguf, loader_key(l, name, key), &v) && !uniform_u64(l->gguf, name, &v)) {
        if (has_key(l->gguf, name))
            return loader_refuse(
                l, "%s is not one whole number; values that vary by layer are not supported", name);
        if (absent == UINT64_MAX)
            return loader_refuse(l, "the key %s is missing", name);
    }
    if (v < 1 || v > max)
        return loader_refuse(l, "%s is %llu; supported are 1 to %llu", name, (unsigned long long)v,
                             (unsigned long long)max);
    *ret = (uint32_t)v;
    return 0;
}

int loader_float(struct loader *l, float *ret, const char *key, float absent)
{
    char name[LOADER_NAME];
    float v = absent;
    if (!gguf_f32(l->gguf, loader_key(l, name, key), &v) && isnan(absent))
        return loader_refuse(l, "the key %s is missing", name);
    if (!isfinite(v) || v <= 0)
        return loader_refuse(l, "%s is %g; it must be finite and above 0", name, (double)v);
    *ret = v;
    return 0;
}

static int loader_take(struct loader *l, const struct gguf_tensor **ret, const char *name,
                       bool required)
{
    *ret = gguf_tensor(l->gguf, name);
    if (!*ret)
        return required ? loader_refuse(l, "the tensor %s is missing", name) : 0;
    l->used++;
    if (l->taken)
        l->taken[*ret - gguf_tensor_at(l->gguf, 0)] = true;
    return 0;
}

static int loader_kernel(struct loader *l, const struct kernel **ret, const struct gguf_tensor *t)
{
    *ret = kernel_for(l->kernels, t->type);
    if (*ret)
        return 0;
    char names[128];
    kernel_names(l->kernels, names, sizeof(names));
    return loader_refuse(
        l, "the tensor " STR_FMT " is of type %s, which is not supported; supported are %s",
        STR_ARG(t->name), tensor_layout(t->type)->name, names);
}

static int loader_misshapen(struct loader *l, const struct gguf_tensor *t, uint64_t in,
                            uint64_t out)
{
    return loader_refuse(
        l,
        "the tensor " STR_FMT " has shape [%llu, %llu] in %u dimensions; the metadata "
        "says [%llu, %llu]",
        STR_ARG(t->name), (unsigned long long)t->dims[0], (unsigned long long)t->dims[1], t->n_dims,
        (unsigned long long)in, (unsigned long long)out);
}

/* out 0: as many rows as the tensor has. */
int loader_weight(struct loader *l, struct weight *ret, const char *name, uint32_t in, uint32_t out)
{
    const struct gguf_tensor *t;
    int r = loader_take(l, &t, name, /* required= */ true);
    if (r)
        return r;
    struct weight w = { .data = t->data, .in = in, .out = out ? out : (uint32_t)t->dims[1] };
    r = loader_kernel(l, &w.kernel, t);
    if (r)
        return r;
    if (t->dims[0] != in || t->dims[1] != w.out || t->dims[2] != 1 || t->dims[3] != 1)
        return loader_misshapen(l, t, in, w.out);
    if (in % tensor_layout(t->type)->block)
        return loader_misshapen(l, t, in, w.out);
    w.row_bytes = kernel_row_bytes(t->type, in);
    *ret = w;
    return 0;
}

/* A vector as floats of our own; NULL where it is absent and not required. */
int loader_vector(struct loader *l, float **ret, const char *name, uint32_t n, bool required)
{
    const struct gguf_tensor *t;
    int r = loader_take(l, &t, name, required);
    if (r || !t)
        return r;
    const struct kernel *k = NULL;
    r = loader_kernel(l, &k, t);
    if (r)
        return r;
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1)
        return loader_misshapen(l, t, n, 1);
    *ret = calloc(n, sizeof(float));
    if (!*ret)
        return -ENOMEM;
    k->unpack(*ret, t->data, n);
    return 0;
}

int loader_pooling(struct loader *l, enum pooling *ret, const char *key, enum pooling absent)
{
    char name[LOADER_NAME];
    uint64_t kind = absent;
    (void)gguf_u64(l->gguf, loader_key(l, name, key), &kind);
    if (kind > POOLING_rank)
        return loader_refuse(l,
                             "%s is %llu; known are 0 (none), 1 (mean), 2 (first token), 3 (last "
                             "token), 4 (rank)",
                             name, (unsigned long long)kind);
    *ret = (enum pooling)kind;
    return 0;
}
