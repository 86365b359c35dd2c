#include "tests/unit/engine/tiny_model.h"

#include "engine/local/kernel.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32, MAX_BYTES = 16 << 20 };

struct writer {
    struct tiny_options o;
    struct buf keys, infos, data;
    uint64_t n_keys, n_tensors, seed;
};

static void add_bytes(struct buf *b, const void *p, size_t n)
{
    buf_add(b, (struct str){ p, n });
}

static void add_u32(struct buf *b, uint32_t v)
{
    add_bytes(b, &v, sizeof(v));
}

static void add_u64(struct buf *b, uint64_t v)
{
    add_bytes(b, &v, sizeof(v));
}

static void add_text(struct buf *b, const char *s)
{
    add_u64(b, strlen(s));
    buf_adds(b, s);
}

static void key_text(struct writer *w, const char *key, const char *value)
{
    add_text(&w->keys, key);
    add_u32(&w->keys, GGUF_string);
    add_text(&w->keys, value);
    w->n_keys++;
}

static void arch_key(struct writer *w, const char *key)
{
    char name[128];
    (void)snprintf(name, sizeof(name), "%s.%s", w->o.arch, key);
    add_text(&w->keys, name);
    w->n_keys++;
}

static void key_u32(struct writer *w, const char *key, uint32_t value)
{
    arch_key(w, key);
    add_u32(&w->keys, GGUF_u32);
    add_u32(&w->keys, value);
}

static void key_f32(struct writer *w, const char *key, float value)
{
    arch_key(w, key);
    add_u32(&w->keys, GGUF_f32);
    add_bytes(&w->keys, &value, sizeof(value));
}

static void more_key(struct writer *w, const struct tiny_key *k)
{
    if (k->name[0] == '.')
        arch_key(w, k->name + 1);
    else {
        add_text(&w->keys, k->name);
        w->n_keys++;
    }
    add_u32(&w->keys, k->kind);
    float f = (float)k->number;
    if (k->kind == GGUF_string)
        add_text(&w->keys, k->text);
    else if (k->kind == GGUF_bool)
        buf_addc(&w->keys, (char)k->number);
    else if (k->kind == GGUF_f32)
        add_bytes(&w->keys, &f, sizeof(f));
    else if (k->kind == GGUF_u32)
        add_u32(&w->keys, (uint32_t)k->number);
    else {
        add_u32(&w->keys, GGUF_u32);
        add_u64(&w->keys, strlen(k->text));
        for (const char *c = k->text; *c; c++)
            add_u32(&w->keys, (uint32_t)(*c - '0'));
    }
}

static bool named(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

/* Values around `middle`; vectors (rows 0) are F32. */
static void tensor(struct writer *w, const char *name, uint32_t cols, uint32_t rows, float middle)
{
    if (named(w->o.leave_out, name))
        return;
    uint32_t type = rows ? w->o.type : TENSOR_F32;
    if (named(w->o.misshape, name))
        cols += 32;
    add_text(&w->infos, name);
    add_u32(&w->infos, rows ? 2 : 1);
    add_u64(&w->infos, cols);
    if (rows)
        add_u64(&w->infos, rows);
    add_u32(&w->infos, named(w->o.retype, name) ? TENSOR_TQ1_0 : type);
    add_u64(&w->infos, w->data.n);
    w->n_tensors++;
    for (uint64_t i = 0; i < (uint64_t)cols * (rows ? rows : 1); i++) {
        float v = middle + (float)(int64_t)test_random(&w->seed) * 0x1p-63f * 0.25f;
        uint8_t element[4];
        kernel_pack(type, element, &v, 1);
        add_bytes(&w->data, element, kernel_row_bytes(type, 1));
    }
    while (w->data.n % ALIGN)
        buf_addc(&w->data, '\0');
}

static void norm(struct writer *w, int i, const char *name, uint32_t size)
{
    char full[64];
    (void)snprintf(full, sizeof(full), "blk.%d.%s.weight", i, name);
    tensor(w, full, size, 0, 1);
}

static void norms(struct writer *w, int i)
{
    bool post = named(w->o.arch, "gemma2") || named(w->o.arch, "gemma3");
    norm(w, i, "attn_norm", TINY_EMBED);
    norm(w, i, "ffn_norm", TINY_EMBED);
    if (post) {
        norm(w, i, "post_attention_norm", TINY_EMBED);
        norm(w, i, "post_ffw_norm", TINY_EMBED);
    }
    if (named(w->o.arch, "qwen3") || named(w->o.arch, "gemma3")) {
        norm(w, i, "attn_q_norm", TINY_HEAD_SIZE);
        norm(w, i, "attn_k_norm", TINY_HEAD_SIZE);
    }
}

static void layer(struct writer *w, int i)
{
    enum { KV = TINY_KV_HEADS * TINY_HEAD_SIZE };
    enum { SEPARATE = 1, FUSED = 2 };
    static const struct {
        const char *name;
        uint32_t in, out;
        int kind;  /* where it is: 0 in all */
        bool bias; /* of qwen2 */
    } linears[] = {
        { "attn_q", TINY_EMBED, TINY_EMBED, SEPARATE, true },
        { "attn_k", TINY_EMBED, KV, SEPARATE, true },
        { "attn_v", TINY_EMBED, KV, SEPARATE, true },
        { "attn_qkv", TINY_EMBED, TINY_EMBED + 2 * KV, FUSED, false },
        { "attn_output", TINY_EMBED, TINY_EMBED, 0, false },
        { "ffn_gate", TINY_EMBED, TINY_FF, SEPARATE, false },
        { "ffn_up", TINY_EMBED, TINY_FF, SEPARATE, false },
        { "ffn_up", TINY_EMBED, 2 * TINY_FF, FUSED, false },
        { "ffn_down", TINY_FF, TINY_EMBED, 0, false },
    };
    norms(w, i);
    int other = named(w->o.arch, "phi3") ? SEPARATE : FUSED;
    char name[64];
    for (size_t k = 0; k < ARRAY_LEN(linears); k++) {
        if (linears[k].kind == other)
            continue;
        (void)snprintf(name, sizeof(name), "blk.%d.%s.weight", i, linears[k].name);
        tensor(w, name, linears[k].in, linears[k].out, 0);
        (void)snprintf(name, sizeof(name), "blk.%d.%s.bias", i, linears[k].name);
        if (linears[k].bias && named(w->o.arch, "qwen2"))
            tensor(w, name, linears[k].out, 0, 0);
    }
}

static void write_all(struct writer *w)
{
    key_text(w, "general.architecture", w->o.arch);
    key_u32(w, "block_count", TINY_LAYERS);
    key_u32(w, "embedding_length", TINY_EMBED);
    key_u32(w, "feed_forward_length", TINY_FF);
    key_u32(w, "context_length", 64);
    key_u32(w, "attention.head_count", TINY_HEADS);
    key_u32(w, "attention.head_count_kv", TINY_KV_HEADS);
    key_f32(w, "attention.layer_norm_rms_epsilon", 1e-5f);
    if (w->o.window)
        key_u32(w, "attention.sliding_window", w->o.window);
    for (size_t i = 0; i < ARRAY_LEN(w->o.keys) && w->o.keys[i].name; i++)
        more_key(w, &w->o.keys[i]);
    tensor(w, "token_embd.weight", TINY_EMBED, TINY_VOCAB, 0);
    tensor(w, "output_norm.weight", TINY_EMBED, 0, 1);
    for (int i = 0; i < TINY_LAYERS; i++)
        layer(w, i);
    if (w->o.extra_tensor)
        tensor(w, w->o.extra_tensor, TINY_EMBED, 0, 1);
}

int tiny_model_new(struct tiny_model *ret, struct tiny_options o, struct fail *reterr)
{
    struct writer w = { .o = o,
                        .keys = BUF_INIT(MAX_BYTES),
                        .infos = BUF_INIT(MAX_BYTES),
                        .data = BUF_INIT(MAX_BYTES),
                        .seed = o.seed + 1 };
    write_all(&w);
    struct buf file = BUF_INIT(MAX_BYTES);
    buf_adds(&file, "GGUF");
    add_u32(&file, 3);
    add_u64(&file, w.n_tensors);
    add_u64(&file, w.n_keys);
    buf_add(&file, buf_str(&w.keys));
    buf_add(&file, buf_str(&w.infos));
    while (file.n % ALIGN)
        buf_addc(&file, '\0');
    buf_add(&file, buf_str(&w.data));
    buf_done(&w.keys);
    buf_done(&w.infos);
    buf_done(&w.data);
    assert_int_equal(buf_err(&file), 0);
    char *aligned = aligned_alloc(64, (file.n + 63) & ~(size_t)63);
    memcpy(aligned, file.p, file.n);
    struct gguf *g = NULL;
    int r = gguf_parse(&g, "tiny", (struct str){ aligned, file.n }, reterr);
    buf_done(&file);
    *ret = (struct tiny_model){ .bytes = aligned };
    if (!r)
        r = model_new(&ret->model, &g, reterr);
    gguf_close(g);
    return r;
}

struct model *tiny_model_get(struct tiny_model *ret, struct tiny_options o)
{
    struct fail f = { 0 };
    if (tiny_model_new(ret, o, &f))
        fail_msg("%s", f.message);
    return ret->model;
}

void tiny_model_done(struct tiny_model *m)
{
    model_free(m->model);
    free(m->bytes);
}

static uint32_t type_named(const char *name)
{
    return named(name, "F16") ? TENSOR_F16 : named(name, "BF16") ? TENSOR_BF16 : TENSOR_F32;
}

void tiny_tensor_add_as(struct tiny_tensors *t, const char *type, const char *name, uint32_t rows,
                        uint32_t cols, const float *values)
{
    if (!t->header.max)
        *t = (struct tiny_tensors){ BUF_INIT(MAX_BYTES), BUF_INIT(MAX_BYTES) };
    size_t elements = (size_t)(rows ? rows : 1) * cols;
    size_t n = kernel_row_bytes(type_named(type), elements);
    buf_addf(&t->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->header.n ? "," : "", name,
             type);
    if (rows)
        buf_addf(&t->header, "%u,", rows);
    buf_addf(&t->header, "%u],\"data_offsets\":[%zu,%zu]}", cols, t->data.n, t->data.n + n);
    CLEANUP(own_free) uint8_t *packed = malloc(n);
    kernel_pack(type_named(type), packed, values, elements);
    add_bytes(&t->data, packed, n);
}

void tiny_tensor_add(struct tiny_tensors *t, const char *name, uint32_t rows, uint32_t cols,
                     const float *values)
{
    tiny_tensor_add_as(t, "F32", name, rows, cols, values);
}

struct buf tiny_tensors_file(struct tiny_tensors *t)
{
    struct buf file = BUF_INIT(MAX_BYTES);
    add_u64(&file, t->header.n + 2);
    buf_addc(&file, '{');
    buf_add(&file, buf_str(&t->header));
    buf_addc(&file, '}');
    buf_add(&file, buf_str(&t->data));
    assert_int_equal(buf_err(&file), 0);
    buf_done(&t->header);
    buf_done(&t->data);
    *t = (struct tiny_tensors){ 0 };
    return file;
}
