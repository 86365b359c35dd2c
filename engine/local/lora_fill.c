/* Matrices of an adapter's files → their places in the packed form. */
#include "engine/local/lora_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"

/*
 * Narrow types round small values badly, so a matrix that is narrowed is first brought up by a
 * power of two, its largest value to below 2^these; the product's scale takes it back.
 */
enum { F16_EXPONENT = 14, Q8_0_EXPONENT = 20 };

/* The row of B that belongs at row `o` of the base: heads of `size` rows, whose halves the base
 * interleaves. */
static uint32_t hf_row(uint32_t o, uint32_t size)
{
    uint32_t in_head = o % size;
    return o - in_head + in_head % 2 * (size / 2) + in_head / 2;
}

static uint32_t source_row(const struct lora_draft *d, const struct lora_draft_pair *p, uint32_t o)
{
    return p->permute ? hf_row(o, d->model->shape.head_size) : o;
}

static const uint8_t *matrix_row(const struct lora_matrix *x, uint64_t row)
{
    return (const uint8_t *)x->data + row * kernel_row_bytes(x->type, x->cols);
}

static int refuse_value(const struct lora_draft *d, const struct lora_matrix *x,
                        struct fail *reterr)
{
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%s: the tensor '" STR_FMT
                    "' holds a value that is not finite; train or export it again",
                    d->file, STR_ARG(x->name));
}

/* All of a matrix as floats, row after row; checked. The caller frees it. */
static int unpack(const struct lora_draft *d, const struct lora_matrix *x, float **ret,
                  struct fail *reterr)
{
    size_t n = x->rows * x->cols;
    CLEANUP(own_free) float *v = malloc((n ? n : 1) * sizeof(*v));
    if (!v)
        return -ENOMEM;
    const struct kernel *k = kernel_for(d->model->kernels, x->type);
    for (uint64_t r = 0; r < x->rows; r++)
        k->unpack(v + r * x->cols, matrix_row(x, r), x->cols);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return refuse_value(d, x, reterr);
    *ret = TAKE(v);
    return 0;
}

/* ---- forms ---- */

static uint32_t form_type(const struct lora_matrix *x, enum lora_packing packing)
{
    bool small = x->type == TENSOR_F16 || x->type == TENSOR_BF16 || x->type == TENSOR_Q8_0;
    if (x->type == TENSOR_Q8_0 || packing == LORA_packing_int8)
        return TENSOR_Q8_0;
    if (packing == LORA_packing_f16)
        return small ? x->type : TENSOR_F16;
    return small ? x->type : TENSOR_F32;
}

struct lora_form lora_form_a(const struct lora_matrix *a, enum lora_packing packing)
{
    return (struct lora_form){ form_type(a, packing), false };
}

/* The blocks of a quantised B run along its rank: turned, they would have to be rounded anew. */
struct lora_form lora_form_b(const struct lora_matrix *b, enum lora_packing packing)
{
    return (struct lora_form){ form_type(b, packing), b->type == TENSOR_Q8_0 };
}

/* The power of two that brings the largest of the values up to where `type` rounds them well. */
static int exponent_for(const float *v, size_t n, uint32_t type)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(v[i]));
    int e = 0;
    (void)frexpf(most, &e);
    return most > 0 ? (type == TENSOR_F16 ? F16_EXPONENT : Q8_0_EXPONENT) - e : 0;
}

static bool exact_in(uint32_t type, float v)
{
    uint8_t element[sizeof(float)];
    kernel_pack(type, element, &v, 1);
    float back;
    kernel_for(&kernels_generic, type)->unpack(&back, element, 1);
    return back == v;
}

/* Whether every value times the factor is still a value of the type. */
static bool folds(const float *v, size_t n, float factor, uint32_t type)
{
    if (type == TENSOR_F32)
        return true;
    for (size_t i = 0; i < n; i++) {
        float product = v[i] * factor;
        if ((double)product != (double)v[i] * (double)factor || !exact_in(type, product))
            return false;
    }
    return true;
}

/* ---- matrices ---- */

/* Times 2^e in place, for a type that would else round small values badly; *scale takes it back. */
static void bring_up(float *v, size_t n, uint32_t type, float *scale)
{
    int e = exponent_for(v, n, type);
    for (size_t i = 0; i < n; i++)
        v[i] = ldexpf(v[i], e);
    *scale = ldexpf(*scale, -e);
}

int lora_fill_a(const struct lora_draft *d, const struct lora_matrix *a, struct lora_form f,
                uint8_t *to, float *scale, struct fail *reterr)
{
    CLEANUP(own_free) float *v = NULL;
    int r = unpack(d, a, &v, reterr);
    if (r)
        return r;
    size_t stride = kernel_row_bytes(f.type, a->cols);
    if (f.type == a->type) {
        memcpy(to, a->data, a->rows * stride);
        return 0;
    }
    if (f.type != TENSOR_F32)
        bring_up(v, a->rows * a->cols, f.type, scale);
    for (uint64_t i = 0; i < a->rows; i++)
        kernel_pack(f.type, to + i * stride, v + i * a->cols, a->cols);
    return 0;
}

static float factor_of(const struct lora_draft *d, const struct lora_draft_pair *p)
{
    return (float)(p->scale * (double)d->extra_scale);
}

/* Rows of outputs as they were published, in the base's order. */
static void fill_rows(const struct lora_draft *d, const struct lora_draft_pair *p, uint8_t *to)
{
    const struct lora_matrix *b = &p->parts[LORA_part_b];
    size_t stride = kernel_row_bytes(b->type, b->cols);
    for (uint32_t o = 0; o < b->rows; o++)
        memcpy(to + o * stride, matrix_row(b, source_row(d, p, o)), stride);
}

int lora_fill_b(const struct lora_draft *d, const struct lora_draft_pair *p, struct lora_form f,
                uint8_t *to, float *scale, struct fail *reterr)
{
    const struct lora_matrix *b = &p->parts[LORA_part_b];
    CLEANUP(own_free) float *v = NULL;
    int r = unpack(d, b, &v, reterr);
    if (r)
        return r;
    float factor = factor_of(d, p);
    if (f.rows) {
        fill_rows(d, p, to);
        *scale *= factor;
        return 0;
    }
    size_t n = b->rows * b->cols;
    if (f.type != b->type && f.type != TENSOR_F32)
        bring_up(v, n, f.type, scale);
    if (f.type == TENSOR_Q8_0 || !folds(v, n, factor, f.type)) {
        *scale *= factor;
        factor = 1;
    }
    CLEANUP(own_free) float *row = malloc(b->rows * sizeof(*row));
    if (!row)
        return -ENOMEM;
    size_t stride = kernel_row_bytes(f.type, b->rows);
    for (uint64_t i = 0; i < b->cols; i++) {
        for (uint32_t o = 0; o < b->rows; o++)
            row[o] = factor * v[source_row(d, p, o) * b->cols + i];
        kernel_pack(f.type, to + i * stride, row, b->rows);
    }
    return 0;
}

/* ---- vectors ---- */

/* ‖W[o] + Σ t[r]·A[r]‖, over the base's row as it is served. `row` has room for it. */
static double length_of(const struct weight *w, uint32_t o, const struct mix *delta, float *row,
                        const struct kernel *floats)
{
    w->kernel->unpack(row, (const uint8_t *)w->data + o * w->row_bytes, w->in);
    for (uint32_t at = 0; at < w->in; at += MIX_WIDTH) {
        struct mix m = *delta;
        m.rows = (const float *)delta->rows + at;
        m.width = w->in - at < MIX_WIDTH ? w->in - at : MIX_WIDTH;
        floats->mix(row + at, &m);
    }
    double sum = 0;
    for (uint32_t i = 0; i < w->in; i++)
        sum += (double)row[i] * (double)row[i];
    return sqrt(sum);
}

int lora_fill_gain(const struct lora_draft *d, const struct lora_draft_pair *p,
                   const struct weight *w, float *to, struct fail *reterr)
{
    const struct lora_matrix *a = &p->parts[LORA_part_a], *b = &p->parts[LORA_part_b],
                             *m = &p->parts[LORA_part_magnitude];
    CLEANUP(own_free) float *va = NULL;
    CLEANUP(own_free) float *vb = NULL;
    CLEANUP(own_free) float *vm = NULL;
    int r = unpack(d, a, &va, reterr);
    if (!r)
        r = unpack(d, b, &vb, reterr);
    if (!r)
        r = unpack(d, m, &vm, reterr);
    if (r)
        return r;
    CLEANUP(own_free) float *row = malloc(w->in * sizeof(*row));
    if (!row)
        return -ENOMEM;
    float t[LIMIT_LORA_RANK], factor = factor_of(d, p);
    const struct kernel *floats = kernel_for(d->model->kernels, TENSOR_F32);
    struct mix delta = { t, va, w->in * sizeof(float), (uint32_t)a->rows, 0 };
    for (uint32_t o = 0; o < w->out; o++) {
        uint32_t from = source_row(d, p, o);
        for (uint64_t i = 0; i < b->cols; i++)
            t[i] = factor * vb[from * b->cols + i];
        to[o] = (float)((double)vm[from] / length_of(w, o, &delta, row, floats));
        if (!isfinite(to[o]))
            return refuse_value(d, m, reterr);
    }
    return 0;
}

int lora_fill_bias(const struct lora_draft *d, const struct lora_draft_pair *p,
                   const struct linear *l, float *to, struct fail *reterr)
{
    CLEANUP(own_free) float *own = NULL;
    CLEANUP(own_free) float *of_b = NULL;
    int r = 0;
    if (lora_draft_has(p, LORA_part_bias))
        r = unpack(d, &p->parts[LORA_part_bias], &own, reterr);
    if (!r && lora_draft_has(p, LORA_part_b_bias))
        r = unpack(d, &p->parts[LORA_part_b_bias], &of_b, reterr);
    for (uint32_t o = 0; !r && o < l->w.out; o++) {
        uint32_t from = source_row(d, p, o);
        to[o] = own ? own[from] : l->bias ? l->bias[o] : 0;
        if (of_b)
            to[o] += factor_of(d, p) * of_b[from];
    }
    return r;
}
