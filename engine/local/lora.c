#include "engine/local/lora_impl.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

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
    free(d->invocation);
    d->pairs = NULL;
    d->invocation = NULL;
}

int lora_draft_invoke(struct lora_draft *d, size_t n)
{
    d->invocation = calloc(n ? n : 1, sizeof(*d->invocation));
    d->n_invocation = d->invocation ? n : 0;
    return d->invocation ? 0 : -ENOMEM;
}

int lora_draft_set(struct lora_draft *d, uint32_t layer, enum lora_target t, enum lora_part part,
                   const struct lora_matrix *x, struct fail *reterr)
{
    struct lora_draft_pair *p = &d->pairs[(size_t)layer * LORA_TARGETS + t];
    struct lora_matrix *to = &p->parts[part];
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

/* A and B are there together, and of the base's shape. */
static int check_matrices(const struct lora_draft *d, const struct lora_draft_pair *p,
                          const struct weight *w, struct fail *reterr)
{
    const struct lora_matrix *a = &p->parts[LORA_part_a], *b = &p->parts[LORA_part_b];
    if (!a->name.p || !b->name.p)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' has no lora_%s beside it; export the whole "
                        "adapter again",
                        d->file, STR_ARG(a->name.p ? a->name : b->name), a->name.p ? "B" : "A");
    uint64_t rank = a->rows;
    if (rank < 1 || rank > LIMIT_LORA_RANK)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the tensor '" STR_FMT "' has rank %llu; supported are 1 to %d",
                        d->file, STR_ARG(a->name), (unsigned long long)rank, LIMIT_LORA_RANK);
    int r = check_shape(d, a, rank, w->in, reterr);
    if (!r)
        r = check_shape(d, b, w->out, rank, reterr);
    if (!r && !(isfinite(p->scale) && isfinite((float)p->scale * d->extra_scale)))
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the scale of '" STR_FMT "' is not finite", d->file, STR_ARG(a->name));
    return r;
}

static int check_pair(const struct lora_draft *d, const struct lora_draft_pair *p,
                      const struct linear *l, struct fail *reterr)
{
    bool adapted = lora_draft_has(p, LORA_part_a) || lora_draft_has(p, LORA_part_b);
    int r = adapted ? check_matrices(d, p, &l->w, reterr) : 0;
    for (int part = LORA_part_magnitude; !r && part < LORA_PARTS; part++) {
        const struct lora_matrix *x = &p->parts[part];
        if (!x->name.p)
            continue;
        r = check_shape(d, x, 1, l->w.out, reterr);
        if (!r && part != LORA_part_bias && !adapted)
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "%s: the tensor '" STR_FMT "' has no lora_A and lora_B beside it",
                            d->file, STR_ARG(x->name));
        if (!r && part == LORA_part_bias && !l->bias)
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "%s: the tensor '" STR_FMT
                            "' is a bias, which this linear of the base model does not have",
                            d->file, STR_ARG(x->name));
    }
    return r;
}

static bool any_part(const struct lora_draft_pair *p)
{
    for (int part = 0; part < LORA_PARTS; part++)
        if (p->parts[part].name.p)
            return true;
    return false;
}

int lora_draft_check(const struct lora_draft *d, struct fail *reterr)
{
    size_t n = (size_t)d->model->shape.layers * LORA_TARGETS, used = 0;
    for (size_t i = 0; i < n; i++) {
        if (!any_part(&d->pairs[i]))
            continue;
        int r = check_pair(d, &d->pairs[i],
                           &d->model->layers[i / LORA_TARGETS].linears[i % LORA_TARGETS], reterr);
        if (r)
            return r;
        used += d->pairs[i].parts[LORA_part_a].name.p != NULL;
    }
    if (!used)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: it holds no lora_A and lora_B tensors", d->file);
    return 0;
}

/* ---- several at once, and made-up ones ---- */

/* A draft whose matrices are floats of our own. */
struct made {
    struct lora_draft draft;
    float **blocks; /* one a pair; owned */
    size_t n;
};

static int made_init(struct made *ret, const struct model *m)
{
    *ret = (struct made){ .n = (size_t)m->shape.layers * LORA_TARGETS };
    ret->blocks = calloc(ret->n, sizeof(*ret->blocks));
    int r = ret->blocks ? 0 : -ENOMEM;
    return r ? r : lora_draft_init(&ret->draft, m, "a sum of adapters", 1);
}

static void made_done(struct made *m)
{
    for (size_t i = 0; m->blocks && i < m->n; i++)
        free(m->blocks[i]);
    free(m->blocks);
    lora_draft_done(&m->draft);
}

static const struct weight *weight_of(const struct model *m, size_t pair)
{
    return &m->layers[pair / LORA_TARGETS].linears[pair % LORA_TARGETS].w;
}

/* Floats of A, then of B: out × rank. */
static int made_pair(struct made *m, size_t i, uint32_t rank)
{
    const struct weight *w = weight_of(m->draft.model, i);
    size_t a = (size_t)rank * w->in;
    m->blocks[i] = malloc((a + (size_t)rank * w->out) * sizeof(float));
    if (!m->blocks[i])
        return -ENOMEM;
    struct lora_draft_pair *p = &m->draft.pairs[i];
    p->parts[LORA_part_a] = (struct lora_matrix){ STR("A"), m->blocks[i], TENSOR_F32, rank, w->in };
    p->parts[LORA_part_b] =
        (struct lora_matrix){ STR("B"), m->blocks[i] + a, TENSOR_F32, w->out, rank };
    p->scale = 1;
    return 0;
}

/* One part's rows and columns of a joined pair, from rank `at` on. */
static int join(struct made *m, size_t i, const struct lora_pair *from, uint32_t at)
{
    const struct weight *w = weight_of(m->draft.model, i);
    uint32_t rank = (uint32_t)m->draft.pairs[i].parts[LORA_part_a].rows;
    float *a = m->blocks[i], *b = a + (size_t)rank * w->in;
    CLEANUP(own_free) float *row = malloc((w->out + LIMIT_LORA_RANK) * sizeof(float));
    if (!row)
        return -ENOMEM;
    for (uint32_t r = 0; r < from->rank; r++) {
        from->a_kernel->unpack(a + (size_t)(at + r) * w->in,
                               (const uint8_t *)from->a + r * from->a_stride, w->in);
        if (from->rows)
            continue;
        from->b_kernel->unpack(row, (const uint8_t *)from->b + r * from->b_stride, w->out);
        for (uint32_t o = 0; o < w->out; o++)
            b[(size_t)o * rank + at + r] = row[o] * from->scale;
    }
    for (uint32_t o = 0; from->rows && o < w->out; o++) {
        from->b_kernel->unpack(row, (const uint8_t *)from->b + o * from->b_stride, from->rank);
        for (uint32_t r = 0; r < from->rank; r++)
            b[(size_t)o * rank + at + r] = row[r] * from->scale;
    }
    return 0;
}

static int join_all(struct made *sum, size_t i, const struct lora *const *parts, size_t n,
                    struct fail *reterr)
{
    uint32_t rank = 0;
    bool f16 = true; /* one precision for the joined pair: the higher */
    for (size_t p = 0; p < n; p++) {
        const struct lora_pair *from = &parts[p]->pairs[i];
        if (from->gain || from->bias)
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "an adapter with use_dora, bias or lora_bias is used alone, not in a "
                            "sum of several");
        rank += from->rank;
        f16 = f16 && (!from->rank || from->f16);
        if (rank > LIMIT_LORA_RANK)
            return fail_set(reterr, FAIL_unprocessable_adapter,
                            "the adapters have rank %u together; supported are at most %d", rank,
                            LIMIT_LORA_RANK);
    }
    int r = rank ? made_pair(sum, i, rank) : 0;
    sum->draft.pairs[i].f16 = rank && f16;
    for (uint32_t p = 0, at = 0; !r && rank && p < n; p++) {
        r = join(sum, i, &parts[p]->pairs[i], at);
        at += parts[p]->pairs[i].rank;
    }
    return r;
}

int lora_sum(struct lora **ret, const struct model *m, const struct lora *const *parts, size_t n,
             struct fail *reterr)
{
    CLEANUP(made_done) struct made sum = { 0 };
    int r = made_init(&sum, m);
    for (size_t p = 0; !r && p < n; p++)
        if (parts[p]->invocation)
            r = fail_set(reterr, FAIL_unprocessable_adapter,
                         "an adapter with alora_invocation_tokens is used alone, not in a sum of "
                         "several");
    for (size_t i = 0; !r && i < sum.n; i++)
        r = join_all(&sum, i, parts, n, reterr);
    return r ? r : lora_pack_memory(ret, &sum.draft, reterr);
}

/* Values within ±0.005, from a seed. */
static uint64_t made_up(float *to, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's */
        to[i] = 0.01f * ((float)(seed >> 40) / (float)(1 << 24) - 0.5f);
    }
    return seed;
}

/* The pair's floats in another type, in place of them. */
static int retype(struct made *m, size_t i, uint32_t type)
{
    struct lora_draft_pair *p = &m->draft.pairs[i];
    uint8_t *to =
        malloc(kernel_row_bytes(type, p->parts[LORA_part_a].cols) * p->parts[LORA_part_a].rows +
               kernel_row_bytes(type, p->parts[LORA_part_b].cols) * p->parts[LORA_part_b].rows);
    if (!to)
        return -ENOMEM;
    uint8_t *at = to;
    for (int part = LORA_part_a; part <= LORA_part_b; part++) {
        struct lora_matrix *x = &p->parts[part];
        const float *from = x->data;
        x->data = at;
        x->type = type;
        for (uint64_t r = 0; r < x->rows; r++, at += kernel_row_bytes(type, x->cols))
            kernel_pack(type, at, from + r * x->cols, x->cols);
    }
    free(m->blocks[i]);
    m->blocks[i] = (float *)(void *)to;
    return 0;
}

int lora_synthetic_of(struct lora **ret, const struct model *m, uint32_t rank, uint32_t type,
                      uint64_t seed)
{
    assert(type != TENSOR_Q8_0 || rank % tensor_layout(type)->block == 0);
    CLEANUP(made_done) struct made made = { 0 };
    int r = made_init(&made, m);
    for (size_t i = 0; !r && i < made.n; i++) {
        if (!model_has_linear(m, (enum lora_target)(i % LORA_TARGETS)))
            continue;
        const struct weight *w = weight_of(m, i);
        r = made_pair(&made, i, rank);
        if (!r)
            seed = made_up(made.blocks[i], (size_t)rank * ((size_t)w->in + w->out), seed);
        if (!r)
            r = retype(&made, i, type);
    }
    return r ? r : lora_pack_memory(ret, &made.draft, /* reterr= */ NULL);
}

int lora_synthetic(struct lora **ret, const struct model *m, uint32_t rank, uint64_t seed)
{
    return lora_synthetic_of(ret, m, rank, TENSOR_F32, seed);
}

struct lora *lora_free(struct lora *l)
{
    if (!l)
        return NULL;
    if (l->image)
        (void)munmap(l->image, l->image_bytes);
    free(l->pairs);
    free(l);
    return NULL;
}

bool lora_scales(const struct lora *l)
{
    for (size_t i = 0; i < (size_t)l->layers * LORA_TARGETS; i++)
        if (l->pairs[i].gain || l->pairs[i].bias)
            return false;
    return true;
}

uint32_t lora_from(const struct lora *l, const int32_t *ids, size_t n)
{
    if (!l->invocation)
        return 0;
    size_t bytes = l->n_invocation * sizeof(*ids);
    for (size_t left = n < l->n_invocation ? 0 : n - l->n_invocation + 1; left > 0; left--)
        if (memcmp(ids + left - 1, l->invocation, bytes) == 0)
            return (uint32_t)(left - 1);
    return LORA_NEVER;
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

static int read_any(const struct model *m, const char *path, float extra_scale, lora_use *use,
                    void *ctx, struct fail *reterr)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return lora_read_gguf(m, path, extra_scale, use, ctx, reterr);
    char inner[PATH_MAX];
    int n = snprintf(inner, sizeof(inner), "%s/adapter_config.json", path);
    if (n < 0 || (size_t)n >= sizeof(inner))
        return -ENAMETOOLONG;
    if (access(inner, F_OK) == 0)
        return lora_read_peft(m, path, extra_scale, use, ctx, reterr);
    int r = find_gguf(inner, path, reterr);
    return r ? r : lora_read_gguf(m, inner, extra_scale, use, ctx, reterr);
}

static int use_memory(void *ctx, const struct lora_draft *d, struct fail *reterr)
{
    return lora_pack_memory(ctx, d, reterr);
}

int lora_load(struct lora **ret, const struct model *m, const char *path, float extra_scale,
              struct fail *reterr)
{
    return read_any(m, path, extra_scale, use_memory, ret, reterr);
}

int lora_check(const struct model *m, const char *path, struct fail *reterr)
{
    CLEANUP(lora_freep) struct lora *l = NULL; /* values are checked as they are packed */
    return lora_load(&l, m, path, /* extra_scale= */ 1, reterr);
}

struct packing_of {
    const struct lora_pack *pack;
    const char *to;
};

static int use_file(void *ctx, const struct lora_draft *d, struct fail *reterr)
{
    const struct packing_of *p = ctx;
    return lora_pack_draft(p->pack, d, p->to, reterr);
}

int lora_pack_file(const struct lora_pack *p, const char *path, const char *to, struct fail *reterr)
{
    struct packing_of packing = { p, to };
    return read_any(p->model, path, /* extra_scale= */ 1, use_file, &packing, reterr);
}
