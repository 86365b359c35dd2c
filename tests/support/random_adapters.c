#include "tests/support/random_adapters.h"

#include "base/file.h"
#include "tests/support/test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MAX_BYTES = 256 << 20, LINEARS = 7, GGUF_ALIGN = 32, GGUF_VERSION = 3 };

/* A file being written: names and places first, values behind. */
struct draft {
    const struct random_adapter *a;
    struct buf head, data;
    uint64_t n_tensors, random;
};

struct linear_shape {
    const char *hf, *gguf;
    uint32_t in, out;
};

static void shapes_of(const struct model_shape *m, struct linear_shape ret[static LINEARS])
{
    uint32_t q = m->heads * m->head_size, kv = m->kv_heads * m->head_size;
    const struct linear_shape all[LINEARS] = {
        { "self_attn.q_proj", "attn_q", m->embed, q },
        { "self_attn.k_proj", "attn_k", m->embed, kv },
        { "self_attn.v_proj", "attn_v", m->embed, kv },
        { "self_attn.o_proj", "attn_output", q, m->embed },
        { "mlp.gate_proj", "ffn_gate", m->embed, m->ff },
        { "mlp.up_proj", "ffn_up", m->embed, m->ff },
        { "mlp.down_proj", "ffn_down", m->ff, m->embed },
    };
    memcpy(ret, all, sizeof(all));
}

static void add(struct buf *b, const void *p, size_t n)
{
    buf_add(b, (struct str){ p, n });
}

static void add_u32(struct buf *b, uint32_t v)
{
    add(b, &v, sizeof(v));
}

static void add_u64(struct buf *b, uint64_t v)
{
    add(b, &v, sizeof(v));
}

static void add_text(struct buf *b, const char *s)
{
    add_u64(b, strlen(s));
    buf_adds(b, s);
}

static void add_values(struct draft *d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float v = d->a->size * (float)(int64_t)test_random(&d->random) * 0x1p-63f;
        add(&d->data, &v, sizeof(v));
    }
}

/* rows × cols, the last index contiguous. */
static void add_tensor(struct draft *d, const char *name, uint32_t rows, uint32_t cols)
{
    size_t at = d->data.n, bytes = (size_t)rows * cols * sizeof(float);
    if (d->a->gguf) {
        add_text(&d->head, name);
        add_u32(&d->head, 2);
        add_u64(&d->head, cols);
        add_u64(&d->head, rows);
        add_u32(&d->head, TENSOR_F32);
        add_u64(&d->head, at);
    } else {
        buf_addf(&d->head,
                 "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%u,%u],\"data_offsets\":[%zu,%zu]}",
                 d->n_tensors ? "," : "", name, rows, cols, at, at + bytes);
    }
    d->n_tensors++;
    add_values(d, (size_t)rows * cols);
    while (d->a->gguf && d->data.n % GGUF_ALIGN)
        buf_addc(&d->data, '\0');
}

static void add_half(struct draft *d, uint32_t layer, const struct linear_shape *l, bool is_b)
{
    char name[128];
    if (d->a->gguf)
        (void)snprintf(name, sizeof(name), "blk.%u.%s.weight.lora_%c", layer, l->gguf, "ab"[is_b]);
    else
        (void)snprintf(name, sizeof(name), "base_model.model.model.layers.%u.%s.lora_%c.weight",
                       layer, l->hf, "AB"[is_b]);
    add_tensor(d, name, is_b ? l->out : d->a->rank, is_b ? d->a->rank : l->in);
}

static void add_pair(struct draft *d, uint32_t layer, const struct linear_shape *l)
{
    add_half(d, layer, l, /* is_b= */ false);
    add_half(d, layer, l, /* is_b= */ true);
}

static void write_file(const char *folder, const char *name, struct buf *content)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (buf_err(content) < 0 || file_replace(path, buf_str(content)) < 0) {
        (void)fprintf(stderr, "%s: cannot be written\n", path);
        abort();
    }
    buf_done(content);
}

static void add_key_text(struct buf *b, const char *key, const char *value)
{
    add_text(b, key);
    add_u32(b, GGUF_string);
    add_text(b, value);
}

static void write_gguf(struct draft *d, const struct model_shape *m, const char *folder)
{
    struct buf file = BUF_INIT(MAX_BYTES);
    float alpha = (float)d->a->rank;
    buf_adds(&file, "GGUF");
    add_u32(&file, GGUF_VERSION);
    add_u64(&file, d->n_tensors);
    add_u64(&file, d->a->invocation ? 5 : 4);
    add_key_text(&file, "general.architecture", m->arch);
    add_key_text(&file, "general.type", "adapter");
    add_key_text(&file, "adapter.type", "lora");
    add_text(&file, "adapter.lora.alpha");
    add_u32(&file, GGUF_f32);
    add(&file, &alpha, sizeof(alpha));
    if (d->a->invocation) {
        add_text(&file, "adapter.alora.invocation_tokens");
        add_u32(&file, GGUF_array);
        add_u32(&file, GGUF_u32);
        add_u64(&file, d->a->n_invocation);
        add(&file, d->a->invocation, d->a->n_invocation * sizeof(*d->a->invocation));
    }
    buf_add(&file, buf_str(&d->head));
    while (file.n % GGUF_ALIGN)
        buf_addc(&file, '\0');
    buf_add(&file, buf_str(&d->data));
    write_file(folder, "adapter.gguf", &file);
}

static void write_peft(struct draft *d, const char *folder)
{
    struct buf file = BUF_INIT(MAX_BYTES), config = BUF_INIT(MAX_BYTES);
    add_u64(&file, d->head.n + 2);
    buf_addc(&file, '{');
    buf_add(&file, buf_str(&d->head));
    buf_addc(&file, '}');
    buf_add(&file, buf_str(&d->data));
    write_file(folder, "adapter_model.safetensors", &file);
    buf_addf(&config,
             "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"bias\":\"none\",\"r\":%u,"
             "\"lora_alpha\":%u",
             d->a->rank, d->a->rank);
    for (size_t i = 0; i < d->a->n_invocation; i++)
        buf_addf(&config, "%s%d", i ? "," : ",\"alora_invocation_tokens\":[", d->a->invocation[i]);
    buf_adds(&config, d->a->n_invocation ? "]}" : "}");
    write_file(folder, "adapter_config.json", &config);
}

void random_adapter_write(const struct random_adapter *a, const struct model_shape *shape,
                          const char *folder)
{
    struct draft d = {
        .a = a, .head = BUF_INIT(MAX_BYTES), .data = BUF_INIT(MAX_BYTES), .random = a->seed
    };
    struct linear_shape linears[LINEARS];
    shapes_of(shape, linears);
    (void)mkdir(folder, 0755);
    for (uint32_t layer = 0; layer < shape->layers; layer++)
        for (size_t i = 0; i < LINEARS; i++)
            add_pair(&d, layer, &linears[i]);
    if (a->gguf)
        write_gguf(&d, shape, folder);
    else
        write_peft(&d, folder);
    buf_done(&d.head);
    buf_done(&d.data);
}
