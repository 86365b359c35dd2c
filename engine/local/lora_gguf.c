/* GGUF adapters: general.type "adapter", tensors `<base tensor>.lora_a` (rank × in) and `.lora_b`.
 */
#include "engine/local/lora_impl.h"

#include <errno.h>
#include <math.h>

#include "base/num.h"

static int refuse(const struct gguf *g, struct fail *reterr, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static int refuse(const struct gguf *g, struct fail *reterr, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail_set(reterr, FAIL_unprocessable_adapter, "%s: %s", gguf_name(g), text);
}

/* The key must be there and say `want`. */
static int check_word(const struct gguf *g, const char *key, const char *want, struct fail *reterr)
{
    struct str word = STR_NULL;
    if (gguf_str(g, key, &word) && str_is(word, want))
        return 0;
    return refuse(g, reterr, "%s is '" STR_FMT "', not '%s'", key, STR_ARG(word), want);
}

static int check_keys(const struct gguf *g, const struct model *m, double *ret_alpha,
                      struct fail *reterr)
{
    int r = check_word(g, "general.type", "adapter", reterr);
    if (!r)
        r = check_word(g, "adapter.type", "lora", reterr);
    if (!r)
        r = check_word(g, "general.architecture", m->shape.arch, reterr);
    if (r)
        return r;
    float alpha;
    if (!gguf_f32(g, "adapter.lora.alpha", &alpha))
        return refuse(g, reterr, "the key adapter.lora.alpha is missing; export the adapter again");
    if (!isfinite(alpha))
        return refuse(g, reterr, "adapter.lora.alpha is not finite");
    *ret_alpha = (double)alpha;
    return 0;
}

/* Activated LoRA: the ids that switch the adapter on. */
static int read_invocation(struct lora_draft *d, const struct gguf *g, struct fail *reterr)
{
    static const char key[] = "adapter.alora.invocation_tokens";
    struct gguf_array tokens;
    if (!gguf_array(g, key, &tokens) || !tokens.n)
        return 0;
    if (tokens.kind == GGUF_string || tokens.kind == GGUF_bool || tokens.kind == GGUF_f32 ||
        tokens.kind == GGUF_f64 || tokens.n > LORA_INVOCATION_TOKENS)
        return refuse(g, reterr, "%s is not a list of at most %d token ids", key,
                      LORA_INVOCATION_TOKENS);
    if (lora_draft_invoke(d, tokens.n) < 0)
        return -ENOMEM;
    for (uint64_t i = 0; i < tokens.n; i++) {
        int64_t id = gguf_array_i64(&tokens, i);
        if (id < 0 || id >= d->model->shape.vocab)
            return refuse(g, reterr, "%s has the id %lld; the base model has 0 to %u", key,
                          (long long)id, d->model->shape.vocab - 1);
        d->invocation[i] = (int32_t)id;
    }
    return 0;
}

/* "blk.3.attn_q.weight" → 3, LORA_q. */
static bool parse_base(struct str base, const struct model *m, uint32_t *ret_layer,
                       enum lora_target *ret_target)
{
    struct str rest = str_sub(base, 4);
    if (!str_starts(base, STR("blk.")) || !rest.n)
        return false;
    uint64_t layer = 0;
    struct str number, tail;
    if (!str_cut(rest, '.', &number, &tail) ||
        num_parse_u64(&layer, number, 0, m->shape.layers - 1) < 0)
        return false;
    if (!str_ends(tail, STR(".weight")))
        return false;
    struct str linear = str_head(tail, tail.n - strlen(".weight"));
    for (int t = 0; t < LORA_TARGETS; t++)
        if (model_has_linear(m, (enum lora_target)t) && str_is(linear, linear_names[t].gguf)) {
            *ret_layer = (uint32_t)layer;
            *ret_target = (enum lora_target)t;
            return true;
        }
    return false;
}

static int add_tensor(struct lora_draft *d, const struct gguf *g, const struct gguf_tensor *t,
                      struct fail *reterr)
{
    if (str_ends(t->name, STR("_norm.weight")))
        return 0; /* converters copy them along; llama.cpp passes over them too */
    bool is_b = str_ends(t->name, STR(".lora_b"));
    uint32_t layer;
    enum lora_target target;
    char names[128];
    if ((!is_b && !str_ends(t->name, STR(".lora_a"))) ||
        !parse_base(str_head(t->name, t->name.n - strlen(".lora_a")), d->model, &layer, &target)) {
        model_linear_names(d->model, /* hf= */ false, names, sizeof(names));
        return refuse(g, reterr,
                      "the tensor '" STR_FMT "' adapts no linear of the base model; served are "
                      "lora_a and lora_b of %s in %u layers",
                      STR_ARG(t->name), names, d->model->shape.layers);
    }
    kernel_names(d->model->kernels, names, sizeof(names));
    if (!kernel_for(d->model->kernels, t->type) || t->dims[0] % tensor_layout(t->type)->block)
        return refuse(g, reterr, "the tensor '" STR_FMT "' is of type %s; supported are %s",
                      STR_ARG(t->name), tensor_layout(t->type)->name, names);
    if (t->dims[2] != 1 || t->dims[3] != 1)
        return refuse(g, reterr, "the tensor '" STR_FMT "' has %u dimensions, not 2",
                      STR_ARG(t->name), t->n_dims);
    struct lora_matrix x = { t->name, t->data, t->type, t->dims[1], t->dims[0] };
    return lora_draft_set(d, layer, target, is_b ? LORA_part_b : LORA_part_a, &x, reterr);
}

int lora_from_gguf(const struct model *m, const struct gguf *adapter, float extra_scale,
                   lora_use *use, void *ctx, struct fail *reterr)
{
    double alpha = 0;
    int r = check_keys(adapter, m, &alpha, reterr);
    if (r)
        return r;
    CLEANUP(lora_draft_done) struct lora_draft d = { 0 };
    r = lora_draft_init(&d, m, gguf_name(adapter), extra_scale);
    if (!r)
        r = read_invocation(&d, adapter, reterr);
    for (size_t i = 0; !r && i < gguf_n_tensors(adapter); i++)
        r = add_tensor(&d, adapter, gguf_tensor_at(adapter, i), reterr);
    if (r)
        return r;
    for (size_t i = 0; i < (size_t)m->shape.layers * LORA_TARGETS; i++) {
        const struct lora_matrix *a = &d.pairs[i].parts[LORA_part_a];
        uint64_t rank = a->rows;
        d.pairs[i].f16 = a->type == TENSOR_F16 && d.pairs[i].parts[LORA_part_b].type == TENSOR_F16;
        if (rank) /* alpha 0 means "unscaled" in this format */
            d.pairs[i].scale = alpha != 0 ? alpha / (double)rank : 1;
    }
    d.sources[0] = gguf_bytes(adapter);
    r = lora_draft_check(&d, reterr);
    return r ? r : use(ctx, &d, reterr);
}

int lora_read_gguf(const struct model *m, const char *path, float extra_scale, lora_use *use,
                   void *ctx, struct fail *reterr)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    int r = gguf_open(&g, path, reterr);
    if (r == FAILED && reterr)
        reterr->code = FAIL_unprocessable_adapter;
    return r ? r : lora_from_gguf(m, g, extra_scale, use, ctx, reterr);
}
