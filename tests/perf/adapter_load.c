/*
 * What it costs to bring an adapter in, and to have it: all about packed files.
 *
 *     adapter_load [RUNS]       (in a folder with 4 GB of room, or TMPDIR)
 *
 * The base is a file of holes in the shape of half a 1B model (Q4_0), so its weights are zeros that
 * take their time all the same. The adapter has 64 MiB in F16. Printed: packing it; mapping it from
 * the page cache; what the first step with it costs over a later one; N distinct adapters; resident
 * bytes over file bytes; the header of an adapter of 37,248 tensors; and the time of a decoding
 * step with F32, F16 and Q8_0 adapters over that without, in pairs of steps.
 */
#include "tests/support/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "engine/local/gguf.h"
#include "engine/local/kernel.h"
#include "engine/local/lora.h"
#include "engine/local/safetensors.h"

enum {
    EMBED = 2048,
    FF = 8192,
    LAYERS = 8,
    HEADS = 32,
    KV_HEADS = 8,
    KV = EMBED / HEADS * KV_HEADS,
    VOCAB = 1024,
    CONTEXT = 64,
    RANK = 92,      /* 64 MiB in F16 */
    SMALL_RANK = 6, /* of many */
    MANY = 256,
    MOST = 4096, /* samples */
    ROWS = 16,
};

static const struct linear_shape {
    const char *gguf, *hf;
    uint32_t in, out;
} linears[] = {
    { "attn_q", "self_attn.q_proj", EMBED, EMBED },
    { "attn_k", "self_attn.k_proj", EMBED, KV },
    { "attn_v", "self_attn.v_proj", EMBED, KV },
    { "attn_output", "self_attn.o_proj", EMBED, EMBED },
    { "ffn_gate", "mlp.gate_proj", EMBED, FF },
    { "ffn_up", "mlp.up_proj", EMBED, FF },
    { "ffn_down", "mlp.down_proj", FF, EMBED },
};

static void need(int r, const char *what)
{
    if (r == 0)
        return;
    (void)fprintf(stderr, "adapter_load: %s: %s\n", what, r < 0 ? strerror(-r) : "refused");
    exit(1);
}

static double clock_ms(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

/* Of this thread alone: what else runs does not count. */
static double own_ms(void)
{
    return clock_ms(CLOCK_THREAD_CPUTIME_ID);
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

static double quantile(double *v, size_t n, double q)
{
    qsort(v, n, sizeof(*v), by_value);
    size_t at = (size_t)(q * (double)(n - 1) + 0.5);
    return v[at];
}

/* ---- the base ---- */

struct writer {
    struct buf keys, infos;
    uint64_t n_keys, n_tensors, data;
};

static void put(struct buf *b, const void *p, size_t n)
{
    buf_add(b, (struct str){ p, n });
}

static void put_u32(struct buf *b, uint32_t v)
{
    put(b, &v, sizeof(v));
}

static void put_u64(struct buf *b, uint64_t v)
{
    put(b, &v, sizeof(v));
}

static void put_text(struct buf *b, const char *s)
{
    put_u64(b, strlen(s));
    buf_adds(b, s);
}

static void key(struct writer *w, const char *name, enum gguf_kind kind, double value)
{
    uint32_t whole = (uint32_t)value;
    float real = (float)value;
    put_text(&w->keys, name);
    put_u32(&w->keys, kind);
    put(&w->keys, kind == GGUF_f32 ? (const void *)&real : &whole, 4);
    w->n_keys++;
}

static void tensor(struct writer *w, const char *name, uint32_t in, uint32_t out)
{
    uint32_t type = out ? TENSOR_Q4_0 : TENSOR_F32;
    put_text(&w->infos, name);
    put_u32(&w->infos, out ? 2 : 1);
    put_u64(&w->infos, in);
    if (out)
        put_u64(&w->infos, out);
    put_u32(&w->infos, type);
    put_u64(&w->infos, w->data);
    w->data = (w->data + kernel_row_bytes(type, in) * (out ? out : 1) + 31) & ~(uint64_t)31;
    w->n_tensors++;
}

static void describe(struct writer *w)
{
    put_text(&w->keys, "general.architecture");
    put_u32(&w->keys, GGUF_string);
    put_text(&w->keys, "llama");
    w->n_keys++;
    key(w, "llama.block_count", GGUF_u32, LAYERS);
    key(w, "llama.embedding_length", GGUF_u32, EMBED);
    key(w, "llama.feed_forward_length", GGUF_u32, FF);
    key(w, "llama.context_length", GGUF_u32, CONTEXT);
    key(w, "llama.attention.head_count", GGUF_u32, HEADS);
    key(w, "llama.attention.head_count_kv", GGUF_u32, KV_HEADS);
    key(w, "llama.attention.layer_norm_rms_epsilon", GGUF_f32, 1e-5);
    tensor(w, "token_embd.weight", EMBED, VOCAB);
    tensor(w, "output_norm.weight", EMBED, 0);
    for (int i = 0; i < LAYERS; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "blk.%d.attn_norm.weight", i);
        tensor(w, name, EMBED, 0);
        (void)snprintf(name, sizeof(name), "blk.%d.ffn_norm.weight", i);
        tensor(w, name, EMBED, 0);
        for (size_t k = 0; k < ARRAY_LEN(linears); k++) {
            (void)snprintf(name, sizeof(name), "blk.%d.%s.weight", i, linears[k].gguf);
            tensor(w, name, linears[k].in, linears[k].out);
        }
    }
}

static struct model *open_base(const char *dir)
{
    struct writer w = { BUF_INIT(1 << 20), BUF_INIT(1 << 20), 0, 0, 0 };
    describe(&w);
    CLEANUP(buf_done) struct buf head = BUF_INIT(1 << 20);
    buf_adds(&head, "GGUF");
    put_u32(&head, 3);
    put_u64(&head, w.n_tensors);
    put_u64(&head, w.n_keys);
    buf_add(&head, buf_str(&w.keys));
    buf_add(&head, buf_str(&w.infos));
    while (head.n % 32)
        buf_addc(&head, '\0');
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%.4000s/base.gguf", dir);
    need(file_replace(path, buf_str(&head)), path);
    need(truncate(path, (off_t)(head.n + w.data)) < 0 ? -1 : 0, path);
    buf_done(&w.keys);
    buf_done(&w.infos);
    struct gguf *g = NULL;
    struct model *m = NULL;
    struct fail f = { 0 };
    int r = gguf_open(&g, path, &f);
    if (r == 0)
        r = model_new(&m, &g, &f);
    if (r)
        (void)fprintf(stderr, "%s\n", f.message);
    need(r, path);
    return m;
}

/* ---- adapters ---- */

static void add_tensor(struct buf *header, uint64_t *at, const char *name, uint32_t rows,
                       uint32_t cols)
{
    uint64_t bytes = (uint64_t)rows * cols * 2;
    buf_addf(header,
             "%s\"base_model.model.model.layers.%s.weight\":{\"dtype\":\"F16\",\"shape\":[%u,%u],"
             "\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
             *at ? "," : "{", name, rows, cols, *at, *at + bytes);
    *at += bytes;
}

static void add_pair(struct buf *header, uint64_t *at, int layer, const struct linear_shape *l,
                     uint32_t rank)
{
    char name[160];
    (void)snprintf(name, sizeof(name), "%d.%.120s.lora_A", layer, l->hf);
    add_tensor(header, at, name, rank, l->in);
    (void)snprintf(name, sizeof(name), "%d.%.120s.lora_B", layer, l->hf);
    add_tensor(header, at, name, l->out, rank);
}

/* A PEFT folder in F16; returns the bytes of its tensors' file. */
static uint64_t write_adapter(const char *dir, uint32_t rank)
{
    CLEANUP(buf_done) struct buf header = BUF_INIT(1 << 24);
    uint64_t data = 0;
    for (int i = 0; i < LAYERS; i++)
        for (size_t k = 0; k < ARRAY_LEN(linears); k++)
            add_pair(&header, &data, i, &linears[k], rank);
    buf_addc(&header, '}');
    char path[PATH_MAX], config[128];
    (void)snprintf(path, sizeof(path), "%.4000s/adapter_config.json", dir);
    (void)snprintf(config, sizeof(config), "{\"peft_type\":\"LORA\",\"r\":%u,\"lora_alpha\":24}",
                   rank);
    need(file_replace(path, str_of(config)), path);
    (void)snprintf(path, sizeof(path), "%.4000s/adapter_model.safetensors", dir);
    FILE *out = fopen(path, "we");
    need(out ? 0 : -1, path);
    uint64_t n = header.n, random = rank;
    need(fwrite(&n, sizeof(n), 1, out) == 1 && fwrite(header.p, header.n, 1, out) == 1 ? 0 : -1,
         path);
    for (uint64_t i = 0; i < data; i += sizeof(uint16_t)) {
        uint16_t small = (uint16_t)(0x2000 | (test_random(&random) & 0x83ff)); /* about 2^-7 */
        need(fwrite(&small, sizeof(small), 1, out) == 1 ? 0 : -1, path);
    }
    need(fclose(out), path);
    return data + header.n + sizeof(n);
}

static void copy(const char *from, const char *to)
{
    struct file_map m = { 0 };
    need(file_map(&m, from), from);
    need(file_replace(to, (struct str){ (const char *)m.p, m.n }), to);
    file_unmap(&m);
}

/* Kilobytes of the mapping at `p` that are in memory for this process. */
static double resident_bytes(const void *p)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512];
    bool here = false;
    double found = 0;
    while (f && fgets(line, sizeof(line), f)) {
        unsigned long begin, end, kb;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            here = begin <= (uintptr_t)p && (uintptr_t)p < end;
        else if (here && sscanf(line, "Rss: %lu", &kb) == 1)
            found = (double)kb * 1024;
    }
    if (f)
        (void)fclose(f);
    return found;
}

struct bench {
    struct model *m;
    struct lora_pack pack;
    char dir[PATH_MAX];
    size_t runs;
    double v[MOST];
};

static void path_in(const struct bench *b, char ret[static PATH_MAX], const char *name, size_t i)
{
    need(snprintf(ret, PATH_MAX, "%.3000s/%s%zu", b->dir, name, i) < PATH_MAX ? 0 : -1, name);
}

static struct lora *map(const struct bench *b, const char *path)
{
    struct lora *l = NULL;
    need(lora_map_file(&l, &b->pack, path), path);
    return l;
}

static double step_ms(struct stepper *s, const struct lora *const *loras, uint32_t n)
{
    struct step_row rows[ROWS];
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct step_row){ (int32_t)i, 1, i, true, loras ? loras[i] : NULL };
    const float *logits;
    double from = now_ms();
    need(stepper_run(s, rows, n, &logits), "a step");
    return now_ms() - from;
}

static struct stepper *stepper_of(const struct model *m)
{
    struct stepper_options o = { ROWS, CONTEXT, ROWS, 0, CACHE_f16 };
    struct stepper *s = NULL;
    struct fail f = { 0 };
    need(stepper_new(&s, m, &o, &f), "a stepper");
    return s;
}

/* ---- what is measured ---- */

static void measure_activation(struct bench *b)
{
    char path[PATH_MAX];
    uint64_t bytes = write_adapter(b->dir, RANK);
    path_in(b, path, "packed", 0);
    double from = now_ms();
    struct fail f = { 0 };
    need(lora_pack_file(&b->pack, b->dir, path, &f), f.message);
    printf("adapter: %.1f MiB in F16; packed once in %.0f ms\n", (double)bytes / MIB,
           now_ms() - from);
    double unmap = 0, own = 0;
    for (size_t i = 0; i < b->runs; i++) {
        from = now_ms();
        double own_from = own_ms();
        struct lora *l = map(b, path);
        own += own_ms() - own_from;
        b->v[i] = now_ms() - from;
        from = now_ms();
        lora_free(l);
        unmap += now_ms() - from;
    }
    double p50 = quantile(b->v, b->runs, 0.5), p99 = quantile(b->v, b->runs, 0.99);
    printf("cold activation from page cache: p50 %.2f ms, p99 %.2f ms (%zu runs; bound 5 ms); "
           "%.2f ms of processor time; given back in %.2f ms\n",
           p50, p99, b->runs, own / (double)b->runs, unmap / (double)b->runs);
    struct lora *l = map(b, path);
    printf("resident bytes over published: %.4f counted, %.4f in /proc/self/smaps (bound 1.1)\n",
           (double)l->bytes / (double)bytes, resident_bytes(l->image) / (double)bytes);
    lora_free(l);
    struct stepper *s = stepper_of(b->m);
    (void)step_ms(s, NULL, 1);
    for (size_t i = 0; i < 9; i++) {
        l = map(b, path);
        const struct lora *const one[] = { l };
        double first = step_ms(s, one, 1);
        b->v[i] = first - step_ms(s, one, 1);
        lora_free(l);
    }
    printf("first step with it over the next: %+.2f ms (median)\n", quantile(b->v, 9, 0.5));
    stepper_free(s);
}

static void measure_many(struct bench *b)
{
    char path[PATH_MAX], to[PATH_MAX];
    uint64_t bytes = write_adapter(b->dir, SMALL_RANK);
    struct fail f = { 0 };
    path_in(b, path, "many", 0);
    need(lora_pack_file(&b->pack, b->dir, path, &f), f.message);
    for (size_t i = 1; i < MANY; i++) {
        path_in(b, to, "many", i);
        copy(path, to);
    }
    struct lora *loras[MANY];
    double first = 0, last = 0;
    for (size_t n = 16; n <= MANY; n *= 4) {
        for (size_t k = 0; k < 7; k++) {
            double from = own_ms();
            for (size_t i = 0; i < n; i++) {
                path_in(b, to, "many", i);
                loras[i] = map(b, to);
            }
            b->v[k] = own_ms() - from;
            for (size_t i = 0; i < n; i++)
                lora_free(loras[i]);
        }
        last = quantile(b->v, 7, 0.5) / (double)n;
        first = n == 16 ? last : first;
        printf("%3zu distinct adapters of %.1f MiB: %.1f ms of processor time, %.3f ms each, %.3f "
               "ms a "
               "MiB\n",
               n, (double)bytes / MIB, last * (double)n, last, last / ((double)bytes / MIB));
    }
    printf("one of %d over one of 16: %.2f\n", MANY, last / first);
}

/* 48 layers of 128 experts with three linears, and their attention. */
static void measure_header(struct bench *b)
{
    enum { MOE_LAYERS = 48, EXPERTS = 128, RUNS = 15 };
    static const char *const parts[] = { "gate_proj", "up_proj", "down_proj" };
    static const char *const attention[] = { "q_proj", "k_proj", "v_proj", "o_proj" };
    CLEANUP(buf_done) struct buf header = BUF_INIT(1 << 26);
    uint64_t data = 0;
    char module[96];
    size_t n = 0;
    for (int i = 0; i < MOE_LAYERS; i++)
        for (int e = 0; e < EXPERTS * 3 + 4; e++, n += 2) {
            if (e < EXPERTS * 3)
                (void)snprintf(module, sizeof(module), "mlp.experts.%d.%s", e / 3, parts[e % 3]);
            else
                (void)snprintf(module, sizeof(module), "self_attn.%s", attention[e - EXPERTS * 3]);
            add_pair(&header, &data, i, &(struct linear_shape){ NULL, module, 2, 2 }, 1);
        }
    buf_addc(&header, '}');
    CLEANUP(buf_done) struct buf file = BUF_INIT(1 << 26);
    put_u64(&file, header.n);
    buf_add(&file, buf_str(&header));
    for (uint64_t i = 0; i < data; i++)
        buf_addc(&file, '\0');
    need(buf_err(&file), "the header");
    for (size_t i = 0; i < RUNS; i++) {
        struct safetensors *s = NULL;
        struct fail f = { 0 };
        double from = now_ms();
        need(safetensors_parse(&s, "header", buf_str(&file), &f), f.message);
        b->v[i] = now_ms() - from;
        safetensors_free(s);
    }
    printf("safetensors header of %zu tensors, %.1f MiB: %.1f ms (at publish only)\n", n,
           (double)header.n / MIB, quantile(b->v, RUNS, 0.5));
}

/* Each pair is a step without and one with, so that what else runs weighs on both. */
static void measure_tax(struct bench *b)
{
    static const uint32_t types[] = { TENSOR_F32, TENSOR_F16, TENSOR_Q8_0 };
    static const uint32_t batches[] = { 1, 4, 16 };
    enum { TAX_RANK = 32, PAIRS = 15 };
    struct stepper *s = stepper_of(b->m);
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        struct lora *loras[ROWS];
        for (uint32_t i = 0; i < ROWS; i++)
            need(lora_synthetic_of(&loras[i], b->m, TAX_RANK, types[t], i), "an adapter");
        const struct lora *const *all = (const struct lora *const *)loras;
        printf("a step with rank %d in %-4s over one without:", TAX_RANK,
               tensor_layout(types[t])->name);
        for (size_t k = 0; k < ARRAY_LEN(batches); k++) {
            (void)step_ms(s, all, batches[k]);
            for (size_t i = 0; i < PAIRS; i++) {
                double without = step_ms(s, NULL, batches[k]);
                b->v[i] = step_ms(s, all, batches[k]) / without;
            }
            printf("  B=%u %.3f", batches[k], quantile(b->v, PAIRS, 0.5));
        }
        printf("\n");
        for (uint32_t i = 0; i < ROWS; i++)
            lora_free(loras[i]);
    }
    stepper_free(s);
}

int main(int argc, char **argv)
{
    static struct bench b = { .runs = 100 };
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        b.runs = strtoul(argv[1], NULL, 10);
    b.runs = b.runs < 1 ? 1 : b.runs > MOST ? MOST : b.runs;
    (void)snprintf(b.dir, sizeof(b.dir), "%s", test_temp_dir());
    b.m = open_base(b.dir);
    b.pack = (struct lora_pack){ .model = b.m, .packing = LORA_packing_source };
    double from = now_ms();
    need(model_id(b.m, &b.pack.base_id), "the base's id");
    printf("base's id: %.1f ms\n", now_ms() - from);
    measure_activation(&b);
    measure_many(&b);
    measure_header(&b);
    if (b.runs > 1)
        measure_tax(&b);
    model_free(b.m);
    return 0;
}
