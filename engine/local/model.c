#include "engine/local/model_impl.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/num.h"

const struct linear_names linear_names[LORA_TARGETS] = {
    [LORA_q] = { "attn_q", "self_attn.q_proj" },   [LORA_k] = { "attn_k", "self_attn.k_proj" },
    [LORA_v] = { "attn_v", "self_attn.v_proj" },   [LORA_o] = { "attn_output", "self_attn.o_proj" },
    [LORA_gate] = { "ffn_gate", "mlp.gate_proj" }, [LORA_up] = { "ffn_up", "mlp.up_proj" },
    [LORA_down] = { "ffn_down", "mlp.down_proj" },
};

/* Architectures differ in these only. */
static const struct architecture {
    const char *name;
    bool rope_neox;
    bool hf_rows_permuted; /* the converter reorders q and k rows for interleaved rotation */
} architectures[] = {
    { "llama", /* rope_neox= */ false, /* hf_rows_permuted= */ true },
    { "qwen2", /* rope_neox= */ true, /* hf_rows_permuted= */ false },
};

enum {
    MAX_LAYERS = 1024,
    MAX_EMBED = 1 << 16,
    MAX_FF = 1 << 20,
    MAX_HEADS = 1024,
    MAX_HEAD_SIZE = MIX_WIDTH, /* of one mix */
};

struct loader {
    struct model *m;
    const struct architecture *arch;
    struct fail *reterr;
    size_t used; /* tensors taken */
};

static int refuse(struct loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int refuse(struct loader *l, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail_set(l->reterr, FAIL_invalid_request, "%s: %s", gguf_name(l->m->gguf), text);
}

/* ---- metadata ---- */

static const char *arch_key(const struct loader *l, char buf[static 128], const char *key)
{
    (void)snprintf(buf, 128, "%s.%s", l->arch->name, key);
    return buf;
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
static int get_uint(struct loader *l, uint32_t *ret, const char *key, uint64_t max, uint64_t absent)
{
    char name[128];
    uint64_t v = absent;
    if (!gguf_u64(l->m->gguf, arch_key(l, name, key), &v)) {
        if (has_key(l->m->gguf, name))
            return refuse(l, "%s is not a single whole number; per-layer values are not supported",
                          name);
        if (absent == UINT64_MAX)
            return refuse(l, "the key %s is missing", name);
    }
    if (v < 1 || v > max)
        return refuse(l, "%s is %llu; supported are 1 to %llu", name, (unsigned long long)v,
                      (unsigned long long)max);
    *ret = (uint32_t)v;
    return 0;
}

static int get_float(struct loader *l, float *ret, const char *key, float absent)
{
    char name[128];
    float v = absent;
    if (!gguf_f32(l->m->gguf, arch_key(l, name, key), &v) && isnan(absent))
        return refuse(l, "the key %s is missing", name);
    if (!isfinite(v) || v <= 0)
        return refuse(l, "%s is %g; it must be finite and above 0", name, (double)v);
    *ret = v;
    return 0;
}

static int find_architecture(struct loader *l)
{
    struct str name;
    if (!gguf_str(l->m->gguf, "general.architecture", &name))
        return refuse(l, "the key general.architecture is missing");
    for (size_t i = 0; i < ARRAY_LEN(architectures); i++)
        if (str_is(name, architectures[i].name))
            l->arch = &architectures[i];
    if (!l->arch)
        return refuse(l, "architecture '" STR_FMT "' is not supported; supported are llama, qwen2",
                      STR_ARG(name));
    struct str type;
    if (gguf_str(l->m->gguf, "general.type", &type) && !str_is(type, "model"))
        return refuse(l, "general.type is '" STR_FMT "', not a model", STR_ARG(type));
    return 0;
}

static int load_rope(struct loader *l)
{
    struct model_shape *s = &l->m->shape;
    uint32_t dims = 0;
    int r = get_uint(l, &dims, "rope.dimension_count", s->head_size, s->head_size);
    if (!r)
        r = get_float(l, &s->rope_base, "rope.freq_base", 10000.0f);
    float factor = 1;
    if (!r)
        r = get_float(l, &factor, "rope.scale_linear", 1);
    if (!r)
        r = get_float(l, &factor, "rope.scaling.factor", factor);
    if (r)
        return r;
    char name[128];
    struct str scaling = STR("linear");
    if (gguf_str(l->m->gguf, arch_key(l, name, "rope.scaling.type"), &scaling) &&
        !str_is(scaling, "linear") && !str_is(scaling, "none"))
        return refuse(l, "%s is '" STR_FMT "'; supported are none, linear", name, STR_ARG(scaling));
    if (str_is(scaling, "none"))
        factor = 1;
    if (dims % 2)
        return refuse(l, "rope.dimension_count is %u; it must be even", dims);
    s->rope_dims = dims;
    s->rope_neox = l->arch->rope_neox;
    l->m->rope_frequencies = calloc((size_t)dims / 2 + 1, sizeof(double));
    if (!l->m->rope_frequencies)
        return -ENOMEM;
    for (uint32_t i = 0; i < dims / 2; i++)
        l->m->rope_frequencies[i] = pow((double)s->rope_base, -2.0 * i / dims) / (double)factor;
    return 0;
}

/* Keys whose presence changes the graph to one that is not drawn here. */
static int refuse_variants(struct loader *l)
{
    static const char *const counts[] = { "expert_count", "attention.key_length_mla" };
    char name[128];
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        uint64_t v = 0;
        if (gguf_u64(l->m->gguf, arch_key(l, name, counts[i]), &v) && v > 0)
            return refuse(l, "%s is %llu, which is not supported", name, (unsigned long long)v);
    }
    bool causal = true;
    if (gguf_bool(l->m->gguf, arch_key(l, name, "attention.causal"), &causal) && !causal)
        return refuse(l, "%s is false; only causal attention is supported", name);
    return 0;
}

static int load_shape(struct loader *l)
{
    struct model_shape *s = &l->m->shape;
    const uint64_t required = UINT64_MAX;
    s->arch = l->arch->name;
    int r = get_uint(l, &s->layers, "block_count", MAX_LAYERS, required);
    if (!r)
        r = get_uint(l, &s->embed, "embedding_length", MAX_EMBED, required);
    if (!r)
        r = get_uint(l, &s->ff, "feed_forward_length", MAX_FF, required);
    if (!r)
        r = get_uint(l, &s->context, "context_length", UINT32_MAX, required);
    if (!r)
        r = get_uint(l, &s->heads, "attention.head_count", MAX_HEADS, required);
    if (!r)
        r = get_uint(l, &s->kv_heads, "attention.head_count_kv", s->heads, s->heads);
    if (!r)
        r = get_float(l, &s->rms_eps, "attention.layer_norm_rms_epsilon", NAN);
    if (r)
        return r;
    if (s->heads % s->kv_heads)
        return refuse(l, "%u attention heads cannot share %u key-value heads evenly", s->heads,
                      s->kv_heads);
    r = get_uint(l, &s->head_size, "attention.key_length", MAX_HEAD_SIZE, s->embed / s->heads);
    if (r)
        return r;
    uint32_t value_length = 0;
    r = get_uint(l, &value_length, "attention.value_length", MAX_HEAD_SIZE, s->head_size);
    if (r)
        return r;
    if (value_length != s->head_size)
        return refuse(l, "attention.value_length %u differs from key_length %u, not supported",
                      value_length, s->head_size);
    return refuse_variants(l);
}

/* ---- tensors ---- */

static int take(struct loader *l, const struct gguf_tensor **ret, const char *name, bool required)
{
    *ret = gguf_tensor(l->m->gguf, name);
    if (*ret)
        l->used++;
    else if (required)
        return refuse(l, "the tensor %s is missing", name);
    return 0;
}

static int kernel_of(struct loader *l, const struct kernel **ret, const struct gguf_tensor *t)
{
    *ret = kernel_for(l->m->kernels, t->type);
    if (*ret)
        return 0;
    char names[128];
    kernel_names(l->m->kernels, names, sizeof(names));
    return refuse(l,
                  "the tensor " STR_FMT " is of type %s, which is not supported; supported are %s",
                  STR_ARG(t->name), tensor_layout(t->type)->name, names);
}

static int misshapen(struct loader *l, const struct gguf_tensor *t, uint64_t in, uint64_t out)
{
    return refuse(l,
                  "the tensor " STR_FMT " has shape [%llu, %llu] in %u dimensions; the metadata "
                  "says [%llu, %llu]",
                  STR_ARG(t->name), (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                  t->n_dims, (unsigned long long)in, (unsigned long long)out);
}

/* out 0: as many rows as the tensor has. */
static int load_weight(struct loader *l, struct weight *ret, const char *name, uint32_t in,
                       uint32_t out)
{
    const struct gguf_tensor *t;
    int r = take(l, &t, name, /* required= */ true);
    if (r)
        return r;
    struct weight w = { .data = t->data, .in = in, .out = out ? out : (uint32_t)t->dims[1] };
    r = kernel_of(l, &w.kernel, t);
    if (r)
        return r;
    if (t->dims[0] != in || t->dims[1] != w.out || t->dims[2] != 1 || t->dims[3] != 1)
        return misshapen(l, t, in, w.out);
    if (in % tensor_layout(t->type)->block)
        return misshapen(l, t, in, w.out);
    w.row_bytes = kernel_row_bytes(t->type, in);
    *ret = w;
    return 0;
}

/* A vector as floats of our own; NULL where it is absent and not required. */
static int load_vector(struct loader *l, float **ret, const char *name, uint32_t n, bool required)
{
    const struct gguf_tensor *t;
    int r = take(l, &t, name, required);
    if (r || !t)
        return r;
    const struct kernel *k = NULL;
    r = kernel_of(l, &k, t);
    if (r)
        return r;
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1)
        return misshapen(l, t, n, 1);
    *ret = calloc(n, sizeof(float));
    if (!*ret)
        return -ENOMEM;
    k->unpack(*ret, t->data, n);
    return 0;
}

static void linear_shape(const struct model_shape *s, enum lora_target t, uint32_t *ret_in,
                         uint32_t *ret_out)
{
    uint32_t q = s->heads * s->head_size, kv = s->kv_heads * s->head_size;
    *ret_in = t == LORA_o ? q : t == LORA_down ? s->ff : s->embed;
    switch (t) {
    case LORA_q:
        *ret_out = q;
        break;
    case LORA_k:
    case LORA_v:
        *ret_out = kv;
        break;
    case LORA_gate:
    case LORA_up:
        *ret_out = s->ff;
        break;
    default:
        *ret_out = s->embed;
    }
}

static int load_layer(struct loader *l, uint32_t i)
{
    struct layer *y = &l->m->layers[i];
    char name[64];
    (void)snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", i);
    int r = load_vector(l, &y->attn_norm, name, l->m->shape.embed, /* required= */ true);
    if (r)
        return r;
    (void)snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", i);
    r = load_vector(l, &y->ffn_norm, name, l->m->shape.embed, /* required= */ true);
    for (int t = 0; !r && t < LORA_TARGETS; t++) {
        uint32_t in, out;
        linear_shape(&l->m->shape, (enum lora_target)t, &in, &out);
        (void)snprintf(name, sizeof(name), "blk.%u.%s.weight", i, linear_names[t].gguf);
        r = load_weight(l, &y->linears[t].w, name, in, out);
        if (r)
            break;
        (void)snprintf(name, sizeof(name), "blk.%u.%s.bias", i, linear_names[t].gguf);
        r = load_vector(l, &y->linears[t].bias, name, out, /* required= */ false);
    }
    return r;
}

/* Llama 3 ships factors that divide the frequencies. */
static int load_rope_factors(struct loader *l)
{
    CLEANUP(own_free) float *factors = NULL;
    uint32_t n = l->m->shape.rope_dims / 2;
    int r = load_vector(l, &factors, "rope_freqs.weight", n, /* required= */ false);
    if (r || !factors)
        return r;
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(factors[i]) || factors[i] <= 0)
            return refuse(l, "rope_freqs.weight[%u] is %g; it must be finite and above 0", i,
                          (double)factors[i]);
        l->m->rope_frequencies[i] /= (double)factors[i];
    }
    return 0;
}

/* A tensor that nothing reads would mean a graph that is not the file's. */
static int refuse_unused(struct loader *l)
{
    size_t n = gguf_n_tensors(l->m->gguf);
    if (l->used == n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct str name = gguf_tensor_at(l->m->gguf, i)->name;
        bool known = str_is(name, "token_embd.weight") || str_is(name, "output.weight") ||
                     str_is(name, "output_norm.weight") || str_is(name, "rope_freqs.weight");
        char own[64];
        for (uint32_t y = 0; !known && y < l->m->shape.layers; y++) {
            (void)snprintf(own, sizeof(own), "blk.%u.", y);
            if (!str_starts(name, str_of(own)))
                continue;
            struct str rest = str_sub(name, strlen(own));
            known = str_is(rest, "attn_norm.weight") || str_is(rest, "ffn_norm.weight");
            for (int t = 0; !known && t < LORA_TARGETS; t++) {
                struct str base = str_of(linear_names[t].gguf);
                struct str tail = str_sub(rest, base.n);
                known =
                    str_starts(rest, base) && (str_is(tail, ".weight") || str_is(tail, ".bias"));
            }
        }
        if (!known)
            return refuse(l, "the tensor " STR_FMT " has no place in the %s graph", STR_ARG(name),
                          l->arch->name);
    }
    return 0;
}

static int load_tensors(struct loader *l)
{
    struct model *m = l->m;
    int r = load_weight(l, &m->embedding, "token_embd.weight", m->shape.embed, /* out= */ 0);
    if (r)
        return r;
    m->shape.vocab = m->embedding.out;
    if (!m->shape.vocab || m->shape.vocab > LIMIT_VOCAB)
        return refuse(l, "token_embd.weight has %u rows; supported are 1 to %lu", m->shape.vocab,
                      LIMIT_VOCAB);
    m->output = m->embedding;
    if (gguf_tensor(m->gguf, "output.weight"))
        r = load_weight(l, &m->output, "output.weight", m->shape.embed, m->shape.vocab);
    if (!r)
        r = load_vector(l, &m->output_norm, "output_norm.weight", m->shape.embed,
                        /* required= */ true);
    m->layers = calloc(m->shape.layers, sizeof(*m->layers));
    if (!m->layers)
        return -ENOMEM;
    for (uint32_t i = 0; !r && i < m->shape.layers; i++)
        r = load_layer(l, i);
    if (!r)
        r = load_rope_factors(l);
    return r ? r : refuse_unused(l);
}

int model_new(struct model **ret, struct gguf **gguf, struct fail *reterr)
{
    CLEANUP(model_freep) struct model *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->kernels = kernels_best();
    m->gguf = *gguf; /* borrowed until the end */
    struct loader l = { .m = m, .reterr = reterr };
    int r = find_architecture(&l);
    if (!r)
        r = load_shape(&l);
    if (!r)
        r = load_rope(&l);
    if (!r)
        r = load_tensors(&l);
    if (r) {
        m->gguf = NULL;
        return r;
    }
    m->hf_rows_permuted = l.arch->hf_rows_permuted;
    (void)TAKE(*gguf);
    *ret = TAKE(m);
    return 0;
}

struct model *model_free(struct model *m)
{
    if (!m)
        return NULL;
    for (uint32_t i = 0; m->layers && i < m->shape.layers; i++) {
        free(m->layers[i].attn_norm);
        free(m->layers[i].ffn_norm);
        for (int t = 0; t < LORA_TARGETS; t++)
            free(m->layers[i].linears[t].bias);
    }
    free(m->layers);
    free(m->output_norm);
    free(m->rope_frequencies);
    gguf_close(m->gguf);
    free(m);
    return NULL;
}

const struct model_shape *model_shape(const struct model *m)
{
    return &m->shape;
}

const struct gguf *model_gguf(const struct model *m)
{
    return m->gguf;
}
