#include "engine/local/encoder_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/local/loader.h"

enum {
    MAX_LAYERS = 256,
    MAX_EMBED = 1 << 14,
    MAX_FF = 1 << 17,
    MAX_HEADS = 256,
    MAX_LABELS = 1 << 16,
};

static const struct encoder_arch architectures[] = {
    { .name = "bert",
      .positions = true,
      .head_activation = ENCODER_tanh,
      .head_pooling = POOLING_cls },
    { .name = "nomic-bert",
      .rope = true,
      .gate = GATE_separate,
      .activation = ENCODER_silu,
      .head_activation = ENCODER_tanh,
      .head_pooling = POOLING_cls },
    { .name = "modern-bert",
      .rope = true,
      .pre_norm = true,
      .gate = GATE_fused,
      .period = 3,
      .window = 128,
      .local_rope_base = 10000,
      .head_activation = ENCODER_gelu,
      .head_pooling = POOLING_mean },
};

static const struct encoder_arch *find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(architectures); i++)
        if (str_is(name, architectures[i].name))
            return &architectures[i];
    return NULL;
}

bool encoder_knows(struct str arch)
{
    return find(arch) != NULL;
}

void encoder_names(char *ret, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < ARRAY_LEN(architectures) && used < size; i++)
        used +=
            (size_t)snprintf(ret + used, size - used, "%s%s", i ? ", " : "", architectures[i].name);
}

/* ---- metadata ---- */

static int load_shape(struct loader *l, struct encoder *e)
{
    struct encoder_shape *s = &e->shape;
    const uint64_t required = UINT64_MAX;
    s->arch = e->arch->name;
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
        r = loader_float(l, &e->eps, "attention.layer_norm_epsilon", NAN);
    if (!r)
        r = loader_pooling(l, &s->pooling, "pooling_type", POOLING_mean);
    if (r)
        return r;
    s->head_size = s->embed / s->heads;
    if (s->embed % s->heads || s->head_size % 2 || s->head_size > MIX_WIDTH)
        return loader_refuse(l,
                             "%u attention heads of embedding_length %u: the quotient must be an "
                             "even number up to %d",
                             s->heads, s->embed, MIX_WIDTH);
    s->context = s->context < LIMIT_CONTEXT ? s->context : (uint32_t)LIMIT_CONTEXT;
    e->layers = calloc(s->layers, sizeof(*e->layers));
    return e->layers ? 0 : -ENOMEM;
}

/* Keys whose presence changes the graph to one that is not drawn here. */
static int refuse_variants(struct loader *l)
{
    char name[LOADER_NAME];
    uint64_t experts = 0;
    struct str scaling = STR("none");
    float factor = 1;
    bool causal = false;
    if (gguf_u64(l->gguf, loader_key(l, name, "expert_count"), &experts) && experts)
        return loader_refuse(l, "%s is %llu; mixtures of experts are not supported", name,
                             (unsigned long long)experts);
    if (gguf_bool(l->gguf, loader_key(l, name, "attention.causal"), &causal) && causal)
        return loader_refuse(l, "%s is true; an encoder attends to both sides", name);
    (void)gguf_f32(l->gguf, loader_key(l, name, "rope.scaling.factor"), &factor);
    (void)gguf_str(l->gguf, loader_key(l, name, "rope.scaling.type"), &scaling);
    if (!str_is(scaling, "none") && !(str_is(scaling, "linear") && factor == 1))
        return loader_refuse(l, "%s is '" STR_FMT "'; supported is none", name, STR_ARG(scaling));
    return 0;
}

static int fill_rope(struct encoder *e, double **ret, float base)
{
    uint32_t dims = e->shape.head_size;
    *ret = calloc(dims / 2, sizeof(double));
    if (!*ret)
        return -ENOMEM;
    for (uint32_t i = 0; i < dims / 2; i++)
        (*ret)[i] = pow((double)base, -2.0 * i / dims);
    return 0;
}

static int load_rope(struct loader *l, struct encoder *e)
{
    float base, local_base = e->arch->local_rope_base;
    uint32_t dims;
    if (!e->arch->rope)
        return 0;
    int r = loader_float(l, &base, "rope.freq_base", 10000);
    if (!r)
        r = loader_uint(l, &dims, "rope.dimension_count", UINT32_MAX, e->shape.head_size);
    if (r)
        return r;
    if (dims != e->shape.head_size)
        return loader_refuse(l, "rope.dimension_count is %u; supported is the head's size, %u",
                             dims, e->shape.head_size);
    r = fill_rope(e, &e->ropes[0], base);
    if (r || !e->reach)
        return r;
    r = loader_float(l, &local_base, "rope.freq_base_swa", local_base);
    return r ? r : fill_rope(e, &e->ropes[1], local_base);
}

/* Which layers see a window only. */
static int load_window(struct loader *l, struct encoder *e)
{
    uint32_t window, period;
    if (!e->arch->period)
        return 0;
    int r = loader_uint(l, &window, "attention.sliding_window", UINT32_MAX, e->arch->window);
    if (!r)
        r = loader_uint(l, &period, "attention.sliding_window_pattern", MAX_LAYERS,
                        e->arch->period);
    if (r)
        return r;
    e->reach = window / 2;
    for (uint32_t i = 0; i < e->shape.layers; i++)
        e->layers[i].local = i % period != 0;
    return 0;
}

/* ---- tensors ---- */

static int load_norm(struct loader *l, const struct encoder *e, struct layer_norm_weights *ret,
                     const char *base)
{
    char name[LOADER_NAME + sizeof(".weight")];
    (void)snprintf(name, sizeof(name), "%s.weight", base);
    int r = loader_vector(l, &ret->weight, name, e->shape.embed, /* required= */ true);
    if (r)
        return r;
    (void)snprintf(name, sizeof(name), "%s.bias", base);
    return loader_vector(l, &ret->bias, name, e->shape.embed, /* required= */ false);
}

/* out 0: as many rows as there are. */
static int load_linear(struct loader *l, struct linear *ret, const char *base, uint32_t in,
                       uint32_t out)
{
    char name[LOADER_NAME + sizeof(".weight")];
    (void)snprintf(name, sizeof(name), "%s.weight", base);
    int r = loader_weight(l, &ret->w, name, in, out);
    if (r)
        return r;
    (void)snprintf(name, sizeof(name), "%s.bias", base);
    return loader_vector(l, &ret->bias, name, ret->w.out, /* required= */ false);
}

static bool has_tensor(const struct loader *l, const char *base)
{
    char name[LOADER_NAME + sizeof(".weight")];
    (void)snprintf(name, sizeof(name), "%s.weight", base);
    return gguf_tensor(l->gguf, name);
}

static const char *in_layer(char buf[static LOADER_NAME], uint32_t layer, const char *base)
{
    (void)snprintf(buf, LOADER_NAME, "blk.%u.%s", layer, base);
    return buf;
}

static int load_attention(struct loader *l, struct encoder *e, uint32_t i)
{
    struct encoder_layer *y = &e->layers[i];
    uint32_t n = e->shape.embed;
    char name[LOADER_NAME];
    int r;
    if (has_tensor(l, in_layer(name, i, "attn_qkv"))) {
        r = load_linear(l, &y->q, name, n, 3 * n);
    } else {
        r = load_linear(l, &y->q, in_layer(name, i, "attn_q"), n, n);
        if (!r)
            r = load_linear(l, &y->k, in_layer(name, i, "attn_k"), n, n);
        if (!r)
            r = load_linear(l, &y->v, in_layer(name, i, "attn_v"), n, n);
    }
    if (!r)
        r = load_linear(l, &y->o, in_layer(name, i, "attn_output"), n, n);
    if (!r && !e->arch->pre_norm)
        r = load_norm(l, e, &y->attn_norm, in_layer(name, i, "attn_output_norm"));
    if (!r && e->arch->pre_norm && i > 0)
        r = load_norm(l, e, &y->attn_norm, in_layer(name, i, "attn_norm"));
    return r;
}

static int load_feed_forward(struct loader *l, struct encoder *e, uint32_t i)
{
    struct encoder_layer *y = &e->layers[i];
    uint32_t n = e->shape.embed, ff = e->shape.ff;
    char name[LOADER_NAME];
    int r = load_linear(l, &y->up, in_layer(name, i, "ffn_up"), n,
                        e->arch->gate == GATE_fused ? 2 * ff : ff);
    if (!r && e->arch->gate == GATE_separate)
        r = load_linear(l, &y->gate, in_layer(name, i, "ffn_gate"), n, ff);
    if (!r)
        r = load_linear(l, &y->down, in_layer(name, i, "ffn_down"), ff, n);
    if (!r)
        r = load_norm(l, e, &y->ffn_norm,
                      in_layer(name, i, e->arch->pre_norm ? "ffn_norm" : "layer_output_norm"));
    return r;
}

static int load_embeddings(struct loader *l, struct encoder *e)
{
    struct encoder_shape *s = &e->shape;
    struct weight types = { 0 };
    int r = loader_weight(l, &e->embedding, "token_embd.weight", s->embed, /* out= */ 0);
    if (r)
        return r;
    s->vocab = e->embedding.out;
    if (!s->vocab || s->vocab > LIMIT_VOCAB)
        return loader_refuse(l, "token_embd.weight has %u rows; supported are 1 to %lu", s->vocab,
                             LIMIT_VOCAB);
    if (e->arch->positions)
        r = loader_weight(l, &e->positions, "position_embd.weight", s->embed, s->context);
    if (!r && has_tensor(l, "token_types"))
        r = loader_weight(l, &types, "token_types.weight", s->embed, /* out= */ 0);
    if (!r && types.out) { /* of a single text all tokens have the first type */
        e->type = calloc(s->embed, sizeof(float));
        if (!e->type)
            return -ENOMEM;
        types.kernel->unpack(e->type, types.data, s->embed);
    }
    return r ? r : load_norm(l, e, &e->embed_norm, "token_embd_norm");
}

/* ---- heads ---- */

static int load_activation(struct loader *l, enum encoder_activation *ret)
{
    static const struct {
        const char *name;
        enum encoder_activation activation;
    } known[] = { { "tanh", ENCODER_tanh }, { "gelu", ENCODER_gelu }, { "relu", ENCODER_relu } };
    char name[LOADER_NAME];
    struct str word;
    if (!gguf_str(l->gguf, loader_key(l, name, "classifier.activation"), &word))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_is(word, known[i].name)) {
            *ret = known[i].activation;
            return 0;
        }
    return loader_refuse(l, "%s is '" STR_FMT "'; supported are tanh, gelu, relu", name,
                         STR_ARG(str_head(word, LABEL_BYTES)));
}

static int load_labels(struct loader *l, struct encoder *e, uint32_t n)
{
    struct gguf_array names = { 0 };
    char key[LOADER_NAME];
    bool named = gguf_array(l->gguf, loader_key(l, key, "classifier.output_labels"), &names);
    if (n < 1 || n > MAX_LABELS)
        return loader_refuse(l, "the classifier has %u outputs; supported are 1 to %d", n,
                             MAX_LABELS);
    if (named && (names.kind != GGUF_string || names.n != n))
        return loader_refuse(l, "%s has %llu entries; the classifier has %u outputs", key,
                             (unsigned long long)names.n, n);
    e->labels = calloc(n, sizeof(*e->labels));
    if (!e->labels)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        if (named)
            (void)snprintf(e->labels[i], LABEL_BYTES, STR_FMT, STR_ARG(names.strings[i]));
        else
            (void)snprintf(e->labels[i], LABEL_BYTES, "LABEL_%u", i);
    return 0;
}

static const struct head_names {
    const char *dense, *norm, *out;
} sequence_head = { "cls", "cls.norm", "cls.output" },
  token_head = { "token_cls.dense", "token_cls.norm", "token_cls" };

static int load_head(struct loader *l, struct encoder *e, const struct head_names *names)
{
    struct encoder_head *h = &e->head;
    uint32_t n = e->shape.embed;
    h->activation = e->arch->head_activation;
    h->pooling = e->arch->head_pooling;
    int r = load_activation(l, &h->activation);
    if (!r)
        r = loader_pooling(l, &h->pooling, "classifier.pooling_type", h->pooling);
    if (!r && has_tensor(l, names->dense))
        r = load_linear(l, &h->dense, names->dense, n, n);
    if (!r && has_tensor(l, names->norm))
        r = load_norm(l, e, &h->norm, names->norm);
    if (!r)
        r = load_linear(l, &h->out, names->out, n, /* out= */ 0);
    return r ? r : load_labels(l, e, h->out.w.out);
}

static int load_heads(struct loader *l, struct encoder *e)
{
    bool tokens = has_tensor(l, token_head.out);
    bool sequence = has_tensor(l, sequence_head.out) || has_tensor(l, sequence_head.dense);
    if (tokens && sequence)
        return loader_refuse(l, "it has a head for sequences and one for tokens; supported is one");
    if (!tokens && !sequence)
        return 0;
    int r = load_head(l, e, tokens ? &token_head : &sequence_head);
    if (!r)
        *(tokens ? &e->shape.token_labels : &e->shape.labels) = e->head.out.w.out;
    return r;
}

/* ---- the whole ---- */

static int refuse_unused(struct loader *l)
{
    size_t n = gguf_n_tensors(l->gguf);
    for (size_t i = 0; i < n; i++)
        if (!l->taken[i])
            return loader_refuse(l, "the tensor " STR_FMT " has no place in the %s graph",
                                 STR_ARG(gguf_tensor_at(l->gguf, i)->name), l->prefix);
    return 0;
}

static int load_tensors(struct loader *l, struct encoder *e)
{
    int r = load_embeddings(l, e);
    for (uint32_t i = 0; !r && i < e->shape.layers; i++) {
        r = load_attention(l, e, i);
        if (!r)
            r = load_feed_forward(l, e, i);
    }
    if (!r && e->arch->pre_norm)
        r = load_norm(l, e, &e->output_norm, "output_norm");
    if (!r)
        r = load_heads(l, e);
    return r ? r : refuse_unused(l);
}

static int load(struct loader *l, struct encoder *e)
{
    struct str name = STR("");
    (void)gguf_str(l->gguf, "general.architecture", &name);
    e->arch = find(name);
    if (!e->arch)
        return loader_refuse(l, "'" STR_FMT "' is no encoder", STR_ARG(str_head(name, 40)));
    l->prefix = e->arch->name;
    int r = load_shape(l, e);
    if (!r)
        r = refuse_variants(l);
    if (!r)
        r = load_window(l, e);
    if (!r)
        r = load_rope(l, e);
    return r ? r : load_tensors(l, e);
}

int encoder_new(struct encoder **ret, struct gguf **gguf, struct fail *reterr)
{
    CLEANUP(encoder_freep) struct encoder *e = calloc(1, sizeof(*e));
    size_t n = gguf_n_tensors(*gguf);
    CLEANUP(own_free) bool *taken = calloc(n ? n : 1, sizeof(bool));
    if (!e || !taken)
        return -ENOMEM;
    e->kernels = kernels_best();
    struct loader l = { .gguf = *gguf, .kernels = e->kernels, .reterr = reterr, .taken = taken };
    int r = load(&l, e);
    if (r)
        return r;
    e->gguf = TAKE(*gguf);
    *ret = TAKE(e);
    return 0;
}

static void free_norm(struct layer_norm_weights *n)
{
    free(n->weight);
    free(n->bias);
}

static void free_layer(struct encoder_layer *y)
{
    struct linear *const all[] = { &y->q, &y->k, &y->v, &y->o, &y->gate, &y->up, &y->down };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]->bias);
    free_norm(&y->attn_norm);
    free_norm(&y->ffn_norm);
}

struct encoder *encoder_free(struct encoder *e)
{
    if (!e)
        return NULL;
    for (uint32_t i = 0; e->layers && i < e->shape.layers; i++)
        free_layer(&e->layers[i]);
    free(e->layers);
    free(e->type);
    free_norm(&e->embed_norm);
    free_norm(&e->output_norm);
    free_norm(&e->head.norm);
    free(e->head.dense.bias);
    free(e->head.out.bias);
    for (int i = 0; i < ROPES; i++)
        free(e->ropes[i]);
    free(e->labels);
    gguf_close(e->gguf);
    free(e);
    return NULL;
}

const struct encoder_shape *encoder_shape(const struct encoder *e)
{
    return &e->shape;
}

const struct gguf *encoder_gguf(const struct encoder *e)
{
    return e->gguf;
}

struct str encoder_label(const struct encoder *e, size_t i)
{
    return i < e->shape.labels + e->shape.token_labels ? str_of(e->labels[i]) : STR_NULL;
}
