#include "engine/local/lora_impl.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/num.h"

enum { ALIGN = 64 };

/* ---- drafts ---- */

int lora_draft_init(struct lora_draft *ret, const struct model *m, const char *file,
                    float extra_scale)
{
    *ret = (struct lora_draft){ .model = m, .file = file, .extra_scale = extra_scale };
    ret->pairs = calloc((size_t)m->shape.layers * LORA_TARGETS, sizeof(*ret->pairs));
    return ret->pairs ? 0 : -ENOMEM;
}

void lora_draft_done(struct lora_draft *d)
{
    free(d->pairs);
    d->pairs = NULL;
}

int lora_draft_set(struct lora_draft *d, uint32_t layer, enum lora_target t, bool is_b,
                   const struct lora_matrix *x, struct fail *reterr)
{
    struct lora_draft_pair *p = &d->pairs[(size_t)layer * LORA_TARGETS + t];
    struct lora_matrix *to = is_b ? &p->b : &p->a;
    if (to->name.p)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensors '" STR_FMT "' and '" STR_FMT
                        "' are the same matrix; keep one adapter in the file",
                        d->file, STR_ARG(to->name), STR_ARG(x->name));
    *to = *x;
    return 0;
}

/* ---- checks ---- */

static int check_shape(const struct lora_draft *d, const struct lora_matrix *x, uint64_t rows,
                       uint64_t cols, struct fail *reterr)
{
    if (x->rows == rows && x->cols == cols)
        return 0;
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%s: the tensor '" STR_FMT "' has shape [%llu, %llu], the base model needs "
                    "[%llu, %llu]; use the base model that the adapter was trained on",
                    d->file, STR_ARG(x->name), (unsigned long long)x->rows,
                    (unsigned long long)x->cols, (unsigned long long)rows,
                    (unsigned long long)cols);
}

static int check_pair(const struct lora_draft *d, const struct lora_draft_pair *p,
                      const struct weight *w, struct fail *reterr)
{
    if (!p->a.name.p || !p->b.name.p)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' has no lora_%s beside it; export the whole "
                        "adapter again",
                        d->file, STR_ARG(p->a.name.p ? p->a.name : p->b.name),
                        p->a.name.p ? "B" : "A");
    uint64_t rank = p->a.rows;
    if (rank < 1 || rank > LIMIT_LORA_RANK)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' has rank %llu; supported are 1 to %d",
                        d->file, STR_ARG(p->a.name), (unsigned long long)rank, LIMIT_LORA_RANK);
    int r = check_shape(d, &p->a, rank, w->in, reterr);
    if (!r)
        r = check_shape(d, &p->b, w->out, rank, reterr);
    if (!r && !(isfinite(p->scale) && isfinite((float)p->scale * d->extra_scale)))
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the scale of '" STR_FMT "' is not finite", d->file,
                        STR_ARG(p->a.name));
    return r;
}

static int check_finite(const struct lora_draft *d, const struct lora_matrix *x, const float *v,
                        size_t n, struct fail *reterr)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "%s: the tensor '" STR_FMT
                            "' holds a value that is not finite; train or export it again",
                            d->file, STR_ARG(x->name));
    return 0;
}

/* ---- packing ---- */

/* The row of B that belongs at row `o` of the base: heads of `size` rows, whose halves the base
 * interleaves. */
static uint32_t hf_row(uint32_t o, uint32_t size)
{
    uint32_t in_head = o % size;
    return o - in_head + in_head % 2 * (size / 2) + in_head / 2;
}

static const void *matrix_row(const struct lora_matrix *x, uint64_t row)
{
    return (const uint8_t *)x->data + row * kernel_row_bytes(x->type, x->cols);
}

static int pack_a(const struct lora_draft *d, const struct lora_matrix *a, float *to,
                  struct fail *reterr)
{
    const struct kernel *k = kernel_for(d->model->kernels, a->type);
    for (uint64_t r = 0; r < a->rows; r++)
        k->unpack(to + r * a->cols, matrix_row(a, r), a->cols);
    return check_finite(d, a, to, a->rows * a->cols, reterr);
}

/* Transposed and scaled: rank rows of `out` floats. */
static int pack_b(const struct lora_draft *d, const struct lora_draft_pair *p, float *to,
                  struct fail *reterr)
{
    const struct lora_matrix *b = &p->b;
    const struct kernel *k = kernel_for(d->model->kernels, b->type);
    float row[LIMIT_LORA_RANK], scale = (float)(p->scale * (double)d->extra_scale);
    for (uint32_t o = 0; o < b->rows; o++) {
        uint32_t from = p->permute ? hf_row(o, d->model->shape.head_size) : o;
        k->unpack(row, matrix_row(b, from), b->cols);
        for (uint64_t r = 0; r < b->cols; r++)
            to[r * b->rows + o] = scale * row[r];
    }
    return check_finite(d, b, to, b->rows * b->cols, reterr);
}

static size_t aligned_floats(size_t n)
{
    return (n + ALIGN / sizeof(float) - 1) & ~(ALIGN / sizeof(float) - 1);
}

/* Room for what `ranks` (layers × LORA_TARGETS) say; pairs point into it, contents unset. */
static int lora_new(struct lora **ret, const struct model *m, const uint32_t *ranks)
{
    CLEANUP(lora_freep) struct lora *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    size_t n = (size_t)m->shape.layers * LORA_TARGETS, floats = 0;
    l->layers = m->shape.layers;
    l->pairs = calloc(n, sizeof(*l->pairs));
    if (!l->pairs)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct weight *w = &m->layers[i / LORA_TARGETS].linears[i % LORA_TARGETS].w;
        floats +=
            aligned_floats((size_t)ranks[i] * w->in) + aligned_floats((size_t)ranks[i] * w->out);
    }
    l->memory = aligned_alloc(ALIGN, (floats ? floats : ALIGN) * sizeof(float));
    if (!l->memory)
        return -ENOMEM;
    float *at = l->memory;
    for (size_t i = 0; i < n; i++) {
        const struct weight *w = &m->layers[i / LORA_TARGETS].linears[i % LORA_TARGETS].w;
        l->pairs[i].rank = ranks[i];
        l->pairs[i].a = at;
        at += aligned_floats((size_t)ranks[i] * w->in);
        l->pairs[i].b = at;
        at += aligned_floats((size_t)ranks[i] * w->out);
    }
    l->bytes = sizeof(*l) + n * sizeof(*l->pairs) + floats * sizeof(float);
    *ret = TAKE(l);
    return 0;
}

static float *inside(const struct lora *l, const float *p) /* while it is being built */
{
    return (float *)l->memory + (p - (const float *)l->memory);
}

static int fill(struct lora *l, const struct lora_draft *d, size_t i, struct fail *reterr)
{
    const struct lora_draft_pair *p = &d->pairs[i];
    if (!l->pairs[i].rank)
        return 0;
    l->pairs[i].f16 = p->a.type == TENSOR_F16 && p->b.type == TENSOR_F16;
    int r = pack_a(d, &p->a, inside(l, l->pairs[i].a), reterr);
    return r ? r : pack_b(d, p, inside(l, l->pairs[i].b), reterr);
}

int lora_pack(struct lora **ret, const struct lora_draft *d, struct fail *reterr)
{
    size_t n = (size_t)d->model->shape.layers * LORA_TARGETS, used = 0;
    CLEANUP(own_free) uint32_t *ranks = calloc(n, sizeof(*ranks));
    if (!ranks)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct lora_draft_pair *p = &d->pairs[i];
        if (!p->a.name.p && !p->b.name.p)
            continue;
        int r = check_pair(d, p, &d->model->layers[i / LORA_TARGETS].linears[i % LORA_TARGETS].w,
                           reterr);
        if (r)
            return r;
        ranks[i] = (uint32_t)p->a.rows;
        used++;
    }
    if (!used)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: it holds no lora_A and lora_B tensors", d->file);
    CLEANUP(lora_freep) struct lora *l = NULL;
    int r = lora_new(&l, d->model, ranks);
    for (size_t i = 0; !r && i < n; i++)
        r = fill(l, d, i, reterr);
    if (r)
        return r;
    *ret = TAKE(l);
    return 0;
}

int lora_sum(struct lora **ret, const struct model *m, const struct lora *const *parts, size_t n,
             struct fail *reterr)
{
    size_t n_pairs = (size_t)m->shape.layers * LORA_TARGETS;
    CLEANUP(own_free) uint32_t *ranks = calloc(n_pairs, sizeof(*ranks));
    if (!ranks)
        return -ENOMEM;
    for (size_t i = 0; i < n_pairs; i++) {
        for (size_t p = 0; p < n; p++)
            ranks[i] += parts[p]->pairs[i].rank;
        if (ranks[i] > LIMIT_LORA_RANK)
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "the adapters have rank %u together; supported are at most %d",
                            ranks[i], LIMIT_LORA_RANK);
    }
    CLEANUP(lora_freep) struct lora *l = NULL;
    int r = lora_new(&l, m, ranks);
    if (r)
        return r;
    for (size_t i = 0; i < n_pairs; i++) {
        const struct weight *w = &m->layers[i / LORA_TARGETS].linears[i % LORA_TARGETS].w;
        l->pairs[i].f16 = ranks[i] > 0;
        float *a = inside(l, l->pairs[i].a);
        float *b = inside(l, l->pairs[i].b);
        for (size_t p = 0; p < n; p++) {
            const struct lora_pair *from = &parts[p]->pairs[i];
            if (from->rank && !from->f16)
                l->pairs[i].f16 = false; /* one precision for the joined pair: the higher */
            memcpy(a, from->a, (size_t)from->rank * w->in * sizeof(float));
            memcpy(b, from->b, (size_t)from->rank * w->out * sizeof(float));
            a += (size_t)from->rank * w->in;
            b += (size_t)from->rank * w->out;
        }
    }
    *ret = TAKE(l);
    return 0;
}

int lora_synthetic(struct lora **ret, const struct model *m, uint32_t rank, uint64_t seed)
{
    size_t n_pairs = (size_t)m->shape.layers * LORA_TARGETS;
    CLEANUP(own_free) uint32_t *ranks = calloc(n_pairs, sizeof(*ranks));
    if (!ranks)
        return -ENOMEM;
    for (size_t i = 0; i < n_pairs; i++)
        if (model_has_linear(m, (enum lora_target)(i % LORA_TARGETS)))
            ranks[i] = rank;
    CLEANUP(lora_freep) struct lora *l = NULL;
    int r = lora_new(&l, m, ranks);
    if (r)
        return r;
    size_t floats = (l->bytes - sizeof(*l) - n_pairs * sizeof(*l->pairs)) / sizeof(float);
    for (size_t i = 0; i < floats; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's */
        ((float *)l->memory)[i] = 0.01f * ((float)(seed >> 40) / (float)(1 << 24) - 0.5f);
    }
    *ret = TAKE(l);
    return 0;
}

struct lora *lora_free(struct lora *l)
{
    if (!l)
        return NULL;
    free(l->memory);
    free(l->pairs);
    free(l);
    return NULL;
}

/* ---- loading ---- */

/* The only .gguf of a folder. */
static int find_gguf(char *ret, const char *folder, struct fail *reterr)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return -errno;
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(dir));)
        if (str_ends(str_of(e->d_name), STR(".gguf")) && n++ == 0)
            (void)snprintf(ret, PATH_MAX, "%s/%s", folder, e->d_name);
    (void)closedir(dir);
    if (n == 1)
        return 0;
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%s: it holds %u .gguf files and no adapter_config.json; an adapter's folder "
                    "has adapter_config.json with adapter_model.safetensors, or one .gguf",
                    folder, n);
}

int lora_load(struct lora **ret, const struct model *m, const char *path, float extra_scale,
              struct fail *reterr)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return lora_load_gguf(ret, m, path, extra_scale, reterr);
    char inner[PATH_MAX];
    int n = snprintf(inner, sizeof(inner), "%s/adapter_config.json", path);
    if (n < 0 || (size_t)n >= sizeof(inner))
        return -ENAMETOOLONG;
    if (access(inner, F_OK) == 0)
        return lora_load_peft(ret, m, path, extra_scale, reterr);
    int r = find_gguf(inner, path, reterr);
    return r ? r : lora_load_gguf(ret, m, inner, extra_scale, reterr);
}
