#include "engine/local/model_impl.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/sha256.h"
#include "engine/local/encoder.h"
#include "engine/local/loader.h"

const struct linear_names linear_names[LORA_TARGETS] = {
    [LORA_q] = { "attn_q", "self_attn.q_proj" },
    [LORA_k] = { "attn_k", "self_attn.k_proj" },
    [LORA_v] = { "attn_v", "self_attn.v_proj" },
    [LORA_o] = { "attn_output", "self_attn.o_proj" },
    [LORA_gate] = { "ffn_gate", "mlp.gate_proj" },
    [LORA_up] = { "ffn_up", "mlp.up_proj" },
    [LORA_down] = { "ffn_down", "mlp.down_proj" },
    [LORA_qkv] = { "attn_qkv", "self_attn.qkv_proj" },
    [LORA_gate_up] = { "ffn_up", "mlp.gate_up_proj" },
};

static bool arch_has_linear(const struct architecture *a, enum lora_target t)
{
    switch (t) {
    case LORA_q:
    case LORA_k:
    case LORA_v:
    case LORA_gate:
    case LORA_up:
        return !a->fused;
    case LORA_qkv:
    case LORA_gate_up:
        return a->fused;
    default:
        return true;
    }
}

static const char *const norm_names[NORMS] = {
    [NORM_attn] = "attn_norm",
    [NORM_ffn] = "ffn_norm",
    [NORM_q] = "attn_q_norm",
    [NORM_k] = "attn_k_norm",
    [NORM_post_attn] = "post_attention_norm",
    [NORM_post_ffn] = "post_ffw_norm",
};

static bool arch_has_norm(const struct architecture *a, enum layer_norm n)
{
    switch (n) {
    case NORM_q:
    case NORM_k:
        return a->head_norms;
    case NORM_post_attn:
    case NORM_post_ffn:
        return a->post_norms;
    default:
        return true;
    }
}

enum {
    MAX_LAYERS = 1024,
    MAX_EMBED = 1 << 16,
    MAX_FF = 1 << 20,
    MAX_HEADS = 1024,
    MAX_HEAD_SIZE = MIX_WIDTH, /* of one mix */
};

static int find_architecture(struct loader *l)
{
    struct str name;
    if (!gguf_str(l->gguf, "general.architecture", &name))
        return loader_refuse(l, "the key general.architecture is missing");
    l->arch = architecture_find(name);
    if (!l->arch && encoder_knows(name))
        return loader_refuse(l, "'" STR_FMT "' is an encoder: it embeds text and generates none",
                             STR_ARG(name));
    if (!l->arch) {
        char names[192], encoders[96];
        architecture_names(names, sizeof(names));
        encoder_names(encoders, sizeof(encoders));
        return loader_refuse(l, "architecture '" STR_FMT "' is not supported; supported are %s, %s",
                             STR_ARG(str_head(name, 40)), names, encoders);
    }
    l->prefix = l->arch->name;
    struct str type;
    if (gguf_str(l->gguf, "general.type", &type) && !str_is(type, "model"))
        return loader_refuse(l, "general.type is '" STR_FMT "', not a model", STR_ARG(type));
    return 0;
}

int model_supported(const struct gguf *g, struct fail *reterr)
{
    struct loader l = { .gguf = g, .reterr = reterr };
    return find_architecture(&l);
}

/* Which layers see a window only: a list of them, or every how many-th does not. */
static int load_pattern(struct loader *l)
{
    static const char key[] = "attention.sliding_window_pattern";
    uint32_t period = l->arch->period, n = l->m->shape.layers;
    char name[LOADER_NAME];
    struct gguf_array a;
    if (gguf_array(l->gguf, loader_key(l, name, key), &a)) {
        if (a.n != n || a.kind == GGUF_string || a.kind == GGUF_f32 || a.kind == GGUF_f64)
            return loader_refuse(l, "%s does not say yes or no for each of %u layers", name, n);
        for (uint32_t i = 0; i < n; i++)
            l->m->layers[i].local = gguf_array_i64(&a, i);
        return 0;
    }
    int r = loader_uint(l, &period, key, UINT32_MAX, period);
    for (uint32_t i = 0; !r && i < n; i++)
        l->m->layers[i].local = i % period != period - 1;
    return r;
}

static int load_window(struct loader *l)
{
    char name[LOADER_NAME];
    uint64_t window = l->arch->window;
    (void)gguf_u64(l->gguf, loader_key(l, name, "attention.sliding_window"), &window);
    if (!l->arch->period || !window)
        return 0;
    l->m->window = window > UINT32_MAX ? UINT32_MAX : (uint32_t)window;
    return load_pattern(l);
}

/* 0 is "none", in the file too. */
static int optional_float(struct loader *l, float *ret, const char *key, float absent)
{
    char name[LOADER_NAME];
    float v = absent;
    (void)gguf_f32(l->m->gguf, loader_key(l, name, key), &v);
    if (!isfinite(v) || v < 0)
        return loader_refuse(l, "%s is %g; it must be finite and not below 0", name, (double)v);
    *ret = v;
    return 0;
}

static int load_scales(struct loader *l)
{
    struct model *m = l->m;
    const struct model_shape *s = &m->shape;
    bool wide = s->layers == l->arch->wide_head_layers;
    float head = wide ? (float)s->embed / (float)s->heads : (float)s->head_size;
    m->embedding_scale = l->arch->scaled_embedding ? sqrtf((float)s->embed) : 1;
    int r = optional_float(l, &m->query_scale, "attention.scale", 0);
    if (m->query_scale <= 0)
        m->query_scale = 1.0f / sqrtf(head);
    if (!r)
        r = optional_float(l, &m->score_cap, "attn_logit_softcapping", l->arch->score_cap);
    return r ? r : optional_float(l, &m->logit_cap, "final_logit_softcapping", l->arch->logit_cap);
}

/* Keys that ask for a graph that is not drawn here, unless they say 0 or what changes nothing. */
static int refuse_numbers(struct loader *l)
{
    static const struct {
        const char *key;
        float neutral;
    } keys[] = {
        { "expert_count", 0 },
        { "attention.key_length_mla", 0 },
        { "attention.clamp_kqv", 0 },
        { "attention.max_alibi_bias", 0 },
        { "attention.shared_kv_layers", 0 },
        { "attention.temperature_length", 0 },
        { "attention.temperature_scale", 0 },
        { "attention.output_scale", 1 },
        { "nextn_predict_layers", 0 },
        { "embedding_scale", 1 },
        { "residual_scale", 1 },
        { "logit_scale", 1 },
    };
    char name[LOADER_NAME];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        float v = 0;
        (void)gguf_f32(l->gguf, loader_key(l, name, keys[i].key), &v);
        if (v != 0 && v != keys[i].neutral)
            return loader_refuse(l, "%s is %g, which is not supported", name, (double)v);
    }
    return 0;
}

static int refuse_activation(struct loader *l)
{
    static const char *const keys[] = { "hidden_activation", "hidden_act" };
    char name[LOADER_NAME];
    struct str s;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (gguf_str(l->gguf, loader_key(l, name, keys[i]), &s) &&
            !activation_named(l->arch->activation, s))
            return loader_refuse(l, "%s is '" STR_FMT "', which is not supported in the %s graph",
                                 name, STR_ARG(s), l->arch->name);
    return 0;
}

static int refuse_variants(struct loader *l)
{
    char name[LOADER_NAME];
    uint64_t parts = 0;
    if (gguf_u64(l->gguf, "split.count", &parts) && parts > 1)
        return loader_refuse(l, "it is one of %llu parts; merge them into one file first",
                             (unsigned long long)parts);
    bool causal = true, parallel = false;
    if (gguf_bool(l->gguf, loader_key(l, name, "attention.causal"), &causal) && !causal)
        return loader_refuse(l, "%s is false; only causal attention is supported", name);
    if (gguf_bool(l->gguf, loader_key(l, name, "use_parallel_residual"), &parallel) && parallel)
        return loader_refuse(l, "%s is true, which is not supported", name);
    int r = refuse_activation(l);
    return r ? r : refuse_numbers(l);
}

static int load_shape(struct loader *l)
{
    struct model_shape *s = &l->m->shape;
    const uint64_t required = UINT64_MAX;
    s->arch = l->arch->name;
    int r = loader_uint(l, &s->layers, "block_count", MAX_LAYERS, required);
    if (!r)
        r = loader_uint(l, &s->embed, "embedding_length", MAX_EMBED, required);
    if (!r)
        r = loader_uint(l, &s->ff, "feed_forward_length", MAX_FF, required);
    if (!r)
        r = loader_uint(l, &s->context, "context_length", UINT32_MAX, required);
    if (!r)
        r = loader_uint(l, &s->heads, "attention.head_count", MAX_HEADS, required);
    if (!r)
        r = loader_uint(l, &s->kv_heads, "attention.head_count_kv", s->heads, s->heads);
    if (!r)
        r = loader_float(l, &s->rms_eps, "attention.layer_norm_rms_epsilon", NAN);
    if (r)
        return r;
    if (s->heads % s->kv_heads)
        return loader_refuse(l, "%u attention heads cannot share %u key-value heads evenly",
                             s->heads, s->kv_heads);
    r = loader_uint(l, &s->head_size, "attention.key_length", MAX_HEAD_SIZE, s->embed / s->heads);
    if (r)
        return r;
    uint32_t value_length = 0;
    r = loader_uint(l, &value_length, "attention.value_length", MAX_HEAD_SIZE, s->head_size);
    if (r)
        return r;
    if (value_length != s->head_size)
        return loader_refuse(l,
                             "attention.value_length %u differs from key_length %u, not supported",
                             value_length, s->head_size);
    l->m->layers = calloc(s->layers, sizeof(*l->m->layers));
    return l->m->layers ? refuse_variants(l) : -ENOMEM;
}

/* ---- tensors ---- */

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
    case LORA_qkv:
        *ret_out = q + 2 * kv;
        break;
    case LORA_gate_up:
        *ret_out = 2 * s->ff;
        break;
    default:
        *ret_out = s->embed;
    }
}

static int load_layer(struct loader *l, uint32_t i)
{
    struct layer *y = &l->m->layers[i];
    char name[64];
    int r = 0;
    for (int n = 0; !r && n < NORMS; n++) {
        uint32_t size = n == NORM_q || n == NORM_k ? l->m->shape.head_size : l->m->shape.embed;
        (void)snprintf(name, sizeof(name), "blk.%u.%s.weight", i, norm_names[n]);
        if (arch_has_norm(l->arch, (enum layer_norm)n))
            r = loader_vector(l, &y->norms[n], name, size, /* required= */ true);
    }
    for (int t = 0; !r && t < LORA_TARGETS; t++) {
        uint32_t in, out;
        if (!arch_has_linear(l->arch, (enum lora_target)t))
            continue;
        linear_shape(&l->m->shape, (enum lora_target)t, &in, &out);
        (void)snprintf(name, sizeof(name), "blk.%u.%s.weight", i, linear_names[t].gguf);
        r = loader_weight(l, &y->linears[t].w, name, in, out);
        if (r)
            break;
        (void)snprintf(name, sizeof(name), "blk.%u.%s.bias", i, linear_names[t].gguf);
        r = loader_vector(l, &y->linears[t].bias, name, out, /* required= */ false);
    }
    return r;
}

/* `name` without "blk.N.". */
static bool known_in_layer(const struct architecture *a, struct str name)
{
    for (int n = 0; n < NORMS; n++) {
        struct str base = str_of(norm_names[n]);
        if (arch_has_norm(a, (enum layer_norm)n) && str_starts(name, base) &&
            str_is(str_sub(name, base.n), ".weight"))
            return true;
    }
    for (int t = 0; t < LORA_TARGETS; t++) {
        struct str base = str_of(linear_names[t].gguf), tail = str_sub(name, base.n);
        if (arch_has_linear(a, (enum lora_target)t) && str_starts(name, base) &&
            (str_is(tail, ".weight") || str_is(tail, ".bias")))
            return true;
    }
    return false;
}

static const char *const outside_layers[] = {
    "token_embd.weight",        "output.weight",
    "output_norm.weight",       "rope_freqs.weight",
    "rope_factors_long.weight", "rope_factors_short.weight",
};

/* A tensor that nothing reads would mean a graph that is not the file's. */
static int refuse_unused(struct loader *l)
{
    size_t n = gguf_n_tensors(l->m->gguf);
    if (l->used == n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct str name = gguf_tensor_at(l->m->gguf, i)->name;
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(outside_layers); k++)
            known = known || str_is(name, outside_layers[k]);
        char own[64];
        for (uint32_t y = 0; !known && y < l->m->shape.layers; y++) {
            (void)snprintf(own, sizeof(own), "blk.%u.", y);
            known = str_starts(name, str_of(own)) &&
                    known_in_layer(l->arch, str_sub(name, strlen(own)));
        }
        if (!known)
            return loader_refuse(l, "the tensor " STR_FMT " has no place in the %s graph",
                                 STR_ARG(name), l->arch->name);
    }
    return 0;
}

static int load_tensors(struct loader *l)
{
    struct model *m = l->m;
    int r = loader_weight(l, &m->embedding, "token_embd.weight", m->shape.embed, /* out= */ 0);
    if (r)
        return r;
    m->shape.vocab = m->embedding.out;
    if (!m->shape.vocab || m->shape.vocab > LIMIT_VOCAB)
        return loader_refuse(l, "token_embd.weight has %u rows; supported are 1 to %lu",
                             m->shape.vocab, LIMIT_VOCAB);
    m->output = m->embedding;
    if (gguf_tensor(m->gguf, "output.weight"))
        r = loader_weight(l, &m->output, "output.weight", m->shape.embed, m->shape.vocab);
    if (!r)
        r = loader_vector(l, &m->output_norm, "output_norm.weight", m->shape.embed,
                          /* required= */ true);
    for (uint32_t i = 0; !r && i < m->shape.layers; i++)
        r = load_layer(l, i);
    return r ? r : refuse_unused(l);
}

int model_new(struct model **ret, struct gguf **gguf, struct fail *reterr)
{
    CLEANUP(model_freep) struct model *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->kernels = kernels_best();
    m->gguf = *gguf; /* borrowed until the end */
    struct loader l = { .gguf = *gguf, .kernels = m->kernels, .m = m, .reterr = reterr };
    int r = find_architecture(&l);
    m->arch = l.arch;
    if (!r)
        r = load_shape(&l);
    if (!r)
        r = load_window(&l);
    if (!r)
        r = load_scales(&l);
    if (!r)
        r = rope_load(&l);
    if (!r)
        r = load_tensors(&l);
    if (r) {
        m->gguf = NULL;
        return r;
    }
    (void)TAKE(*gguf);
    *ret = TAKE(m);
    return 0;
}

struct model *model_free(struct model *m)
{
    if (!m)
        return NULL;
    for (uint32_t i = 0; m->layers && i < m->shape.layers; i++) {
        for (int n = 0; n < NORMS; n++)
            free(m->layers[i].norms[n]);
        for (int t = 0; t < LORA_TARGETS; t++)
            free(m->layers[i].linears[t].bias);
    }
    free(m->layers);
    free(m->output_norm);
    for (int i = 0; i < ROPES; i++)
        rope_done(&m->ropes[i]);
    rope_done(&m->long_rope);
    gguf_close(m->gguf);
    free(m);
    return NULL;
}

const struct model_shape *model_shape(const struct model *m)
{
    return &m->shape;
}

/* A piece of a tensor at its begin, middle and end. */
static void add_samples(struct sha256_stream *s, const struct gguf_tensor *t)
{
    enum { PIECE = 256 };
    const uint8_t *data = t->data;
    size_t n = t->bytes < PIECE ? t->bytes : PIECE;
    sha256_add(s, data, n);
    sha256_add(s, data + (t->bytes - n) / 2, n);
    sha256_add(s, data + (t->bytes - n), n);
}

int model_id(const struct model *m, uint64_t *ret)
{
    struct str file = gguf_bytes(m->gguf);
    size_t head = file.n;
    CLEANUP(sha256_freep) struct sha256_stream *s = NULL;
    int r = sha256_new(&s);
    if (r < 0)
        return r;
    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        size_t at = (size_t)((const char *)gguf_tensor_at(m->gguf, i)->data - file.p);
        head = at < head ? at : head;
    }
    sha256_add(s, file.p, head);
    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++)
        add_samples(s, gguf_tensor_at(m->gguf, i));
    struct sha256 d = sha256_end(s);
    memcpy(ret, d.b, sizeof(*ret));
    *ret = *ret ? *ret : 1;
    return 0;
}

const struct gguf *model_gguf(const struct model *m)
{
    return m->gguf;
}

void model_linear_names(const struct model *m, bool hf, char *ret, size_t size)
{
    size_t used = 0;
    for (int t = 0; t < LORA_TARGETS && used < size; t++)
        if (model_has_linear(m, (enum lora_target)t))
            used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? ", " : "",
                                     hf ? linear_names[t].hf : linear_names[t].gguf);
}
