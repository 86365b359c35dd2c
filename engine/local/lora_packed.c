/*
 * The packed form of an adapter: what a step reads, laid out in the order that it reads it.
 *
 *     head · layers · modules · invocation tokens      checksummed together
 *     block of layer 0: for each linear A, B, gain, bias, each at 64 bytes
 *     block of layer 1 …                               a checksum each, kept in the layers' table
 *
 * Numbers are little-endian, offsets count from the file's begin. A is row-major (rank × in). B is
 * turned (rank × out), so that the outputs of one part of a step are contiguous, or, where it is
 * quantised along its rank, as published (out × rank). Large blocks begin on a page. Nothing of
 * it depends on time or place: the same adapter gives the same bytes.
 */
#include "engine/local/lora_impl.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/limits.h"

#if __BYTE_ORDER != __LITTLE_ENDIAN
#error "packed adapters are little-endian and used where they lie"
#endif

#define MAGIC "RSLORA\r\n"

enum {
    LAYOUT = 1, /* changes with every change of the bytes or of what they mean */
    ALIGN = 64,
    PAGE = 4096,
    PAGED_BLOCK = 32 * PAGE, /* blocks from this size on begin on a page: costs 3 % at most */
};

struct head {
    char magic[8];
    uint32_t layout;
    uint32_t checksum; /* of the head and tables, this field as 0 */
    uint64_t base_id;
    uint8_t source[SHA256_BYTES]; /* of the adapter's files, one after the other */
    uint64_t file_bytes;
    uint32_t layers, n_modules, n_invocation, packing;
};

struct packed_layer {
    uint64_t at, bytes;
    uint32_t checksum;
    uint32_t reserved;
};

enum { MODULE_f16 = 1, MODULE_rows = 2, MODULE_FLAGS = 3 };

struct module {
    uint32_t layer, linear, rank, flags;
    uint32_t a_type, b_type;
    float scale;
    uint32_t reserved;
    uint64_t a, b, gain, bias; /* 0: none */
};

static uint64_t align_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) & ~(to - 1);
}

static size_t head_bytes(const struct head *h)
{
    return sizeof(*h) + h->layers * sizeof(struct packed_layer) +
           h->n_modules * sizeof(struct module) + h->n_invocation * sizeof(int32_t);
}

static uint64_t a_bytes(const struct module *m, const struct weight *w)
{
    return (uint64_t)m->rank * kernel_row_bytes(m->a_type, w->in);
}

static uint64_t b_bytes(const struct module *m, const struct weight *w)
{
    return m->flags & MODULE_rows ? (uint64_t)w->out * kernel_row_bytes(m->b_type, m->rank)
                                  : (uint64_t)m->rank * kernel_row_bytes(m->b_type, w->out);
}

/* ---- the plan: where everything will be ---- */

struct plan {
    const struct lora_draft *draft;
    uint8_t *tables; /* owned: the head and what follows it, head_bytes of it */
    struct head *head;
    struct packed_layer *layers;
    struct module *modules;
};

static void plan_done(struct plan *p)
{
    free(p->tables);
}

static bool is_used(const struct lora_draft_pair *p)
{
    return lora_draft_has(p, LORA_part_a) || lora_draft_has(p, LORA_part_bias);
}

static uint32_t count_modules(const struct lora_draft *d)
{
    uint32_t n = 0;
    for (size_t i = 0; i < (size_t)d->model->shape.layers * LORA_TARGETS; i++)
        n += is_used(&d->pairs[i]);
    return n;
}

/* `bytes` more at *at, aligned; 0 where there are none. */
static uint64_t place(uint64_t *at, uint64_t bytes, bool wanted)
{
    if (!wanted)
        return 0;
    uint64_t here = *at;
    *at = align_up(here + bytes, ALIGN);
    return here;
}

static void describe(struct module *to, const struct lora_draft_pair *p, enum lora_packing packing)
{
    const struct lora_matrix *a = &p->parts[LORA_part_a], *b = &p->parts[LORA_part_b];
    to->scale = 1;
    if (!a->name.p)
        return;
    struct lora_form form_a = lora_form_a(a, packing), form_b = lora_form_b(b, packing);
    to->rank = (uint32_t)a->rows;
    to->a_type = form_a.type;
    to->b_type = form_b.type;
    to->flags = (p->f16 ? MODULE_f16 : 0) | (form_b.rows ? MODULE_rows : 0);
}

/* Relative to the layer's begin; *at is the layer's end so far. */
static void place_module(struct module *m, const struct lora_draft_pair *p, const struct weight *w,
                         uint64_t *at)
{
    m->a = place(at, a_bytes(m, w), m->rank);
    m->b = place(at, b_bytes(m, w), m->rank);
    uint64_t floats = w->out * sizeof(float);
    m->gain = place(at, floats, lora_draft_has(p, LORA_part_magnitude));
    m->bias =
        place(at, floats, lora_draft_has(p, LORA_part_bias) || lora_draft_has(p, LORA_part_b_bias));
}

static const struct linear *linear_of(const struct model *m, const struct module *x)
{
    return model_linear(m, x->layer, (enum lora_target)x->linear);
}

/* The modules of one layer, placed from 0 on and then moved behind what is before. */
static void place_layer(struct plan *p, uint32_t layer, uint32_t *next_module)
{
    const struct lora_draft *d = p->draft;
    uint32_t first = *next_module;
    uint64_t end = ALIGN; /* so that no offset is 0 */
    for (uint32_t t = 0; t < LORA_TARGETS; t++) {
        const struct lora_draft_pair *pair = &d->pairs[(size_t)layer * LORA_TARGETS + t];
        if (!is_used(pair))
            continue;
        struct module *m = &p->modules[(*next_module)++];
        *m = (struct module){ .layer = layer, .linear = t };
        describe(m, pair, (enum lora_packing)p->head->packing);
        place_module(m, pair, &linear_of(d->model, m)->w, &end);
    }
    uint64_t bytes = end - ALIGN;
    uint64_t begin = align_up(p->head->file_bytes, bytes >= PAGED_BLOCK ? PAGE : ALIGN);
    p->layers[layer] = (struct packed_layer){ .at = begin, .bytes = bytes };
    for (uint32_t i = first; i < *next_module; i++) {
        uint64_t *const offsets[] = { &p->modules[i].a, &p->modules[i].b, &p->modules[i].gain,
                                      &p->modules[i].bias };
        for (size_t k = 0; k < ARRAY_LEN(offsets); k++)
            if (*offsets[k])
                *offsets[k] += begin - ALIGN;
    }
    if (bytes)
        p->head->file_bytes = begin + bytes;
}

static int plan_new(struct plan *p, const struct lora_draft *d, uint64_t base_id,
                    enum lora_packing packing)
{
    struct head h = { .magic = MAGIC,
                      .layout = LAYOUT,
                      .base_id = base_id,
                      .layers = d->model->shape.layers,
                      .n_modules = count_modules(d),
                      .n_invocation = (uint32_t)d->n_invocation,
                      .packing = packing };
    *p = (struct plan){ .draft = d, .tables = calloc(1, head_bytes(&h)) };
    if (!p->tables)
        return -ENOMEM;
    p->head = (struct head *)(void *)p->tables;
    *p->head = h;
    p->layers = (struct packed_layer *)(void *)(p->head + 1);
    p->modules = (struct module *)(void *)(p->layers + h.layers);
    if (h.n_invocation)
        memcpy(p->modules + h.n_modules, d->invocation, h.n_invocation * sizeof(int32_t));
    p->head->file_bytes = align_up(head_bytes(&h), ALIGN);
    uint32_t next = 0;
    for (uint32_t layer = 0; layer < h.layers; layer++)
        place_layer(p, layer, &next);
    return 0;
}

/* ---- writing ---- */

static int fill_module(const struct plan *p, struct module *m, uint8_t *block, uint64_t begin,
                       struct fail *reterr)
{
    const struct lora_draft *d = p->draft;
    const struct lora_draft_pair *pair = &d->pairs[(size_t)m->layer * LORA_TARGETS + m->linear];
    const struct linear *l = linear_of(d->model, m);
    const struct lora_matrix *a = &pair->parts[LORA_part_a];
    struct lora_form form_a = { m->a_type, false };
    struct lora_form form_b = { m->b_type, m->flags & MODULE_rows };
    int r = m->a ? lora_fill_a(d, a, form_a, block + (m->a - begin), &m->scale, reterr) : 0;
    if (!r && m->b)
        r = lora_fill_b(d, pair, form_b, block + (m->b - begin), &m->scale, reterr);
    if (!r && m->gain)
        r = lora_fill_gain(d, pair, &l->w, (float *)(void *)(block + (m->gain - begin)), reterr);
    if (!r && m->bias)
        r = lora_fill_bias(d, pair, l, (float *)(void *)(block + (m->bias - begin)), reterr);
    if (!r && !isfinite(m->scale))
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "%s: the scale of '" STR_FMT "' is not finite", d->file, STR_ARG(a->name));
    return r;
}

/* The block of one layer into zeroed memory; its checksum into the table. */
static int fill_layer(const struct plan *p, uint32_t layer, uint8_t *block, struct fail *reterr)
{
    struct packed_layer *y = &p->layers[layer];
    int r = 0;
    for (uint32_t i = 0; !r && i < p->head->n_modules; i++)
        if (p->modules[i].layer == layer)
            r = fill_module(p, &p->modules[i], block, y->at, reterr);
    y->checksum = crc32c(0, block, y->bytes);
    return r;
}

static uint32_t checksum_of(const struct head *h, const uint8_t *tables)
{
    struct head plain = *h;
    plain.checksum = 0;
    uint32_t crc = crc32c(0, &plain, sizeof(plain));
    return crc32c(crc, tables + sizeof(plain), head_bytes(h) - sizeof(plain));
}

static int write_all(int fd, const void *p, size_t n, uint64_t at)
{
    for (const uint8_t *from = p; n;) {
        ssize_t some = pwrite(fd, from, n, (off_t)at);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            return -errno;
        from += some;
        at += (uint64_t)some;
        n -= (size_t)some;
    }
    return 0;
}

static int write_layers(const struct plan *p, int fd, struct fail *reterr)
{
    uint64_t most = 1;
    for (uint32_t i = 0; i < p->head->layers; i++)
        most = p->layers[i].bytes > most ? p->layers[i].bytes : most;
    CLEANUP(own_free) uint8_t *block = malloc(most);
    if (!block)
        return -ENOMEM;
    int r = 0;
    for (uint32_t i = 0; !r && i < p->head->layers; i++) {
        memset(block, 0, p->layers[i].bytes);
        r = fill_layer(p, i, block, reterr);
        if (!r)
            r = write_all(fd, block, p->layers[i].bytes, p->layers[i].at);
    }
    return r;
}

static int hash_sources(struct sha256 *ret, const struct lora_draft *d)
{
    CLEANUP(sha256_freep) struct sha256_stream *s = NULL;
    int r = sha256_new(&s);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(d->sources); i++)
        sha256_add(s, d->sources[i].p, d->sources[i].n);
    *ret = sha256_end(s);
    return 0;
}

static int write_file(const struct plan *p, int fd, struct fail *reterr)
{
    if (ftruncate(fd, (off_t)p->head->file_bytes) < 0)
        return -errno;
    struct sha256 source;
    int r = hash_sources(&source, p->draft);
    if (!r)
        r = write_layers(p, fd, reterr);
    if (r)
        return r;
    memcpy(p->head->source, source.b, sizeof(p->head->source));
    p->head->checksum = checksum_of(p->head, p->tables);
    r = write_all(fd, p->tables, head_bytes(p->head), 0);
    if (!r && (fchmod(fd, 0644) < 0 || fdatasync(fd) < 0))
        r = -errno;
    return r;
}

int lora_pack_draft(const struct lora_pack *p, const struct lora_draft *d, const char *to,
                    struct fail *reterr)
{
    CLEANUP(plan_done) struct plan plan = { 0 };
    int r = plan_new(&plan, d, p->base_id, p->packing);
    if (r)
        return r;
    char sibling[PATH_MAX];
    int n = snprintf(sibling, sizeof(sibling), "%s.XXXXXX", to);
    if (n < 0 || (size_t)n >= sizeof(sibling))
        return -ENAMETOOLONG;
    CLEANUP(own_close) int fd = mkostemp(sibling, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = write_file(&plan, fd, reterr);
    if (!r)
        r = lora_verify_file(sibling, reterr);
    if (!r && rename(sibling, to) < 0)
        r = -errno;
    if (r)
        (void)unlink(sibling);
    return r;
}

/* ---- reading ---- */

/* Pairs that point into the image; l owns it from now on. */
static int attach(struct lora *l, const struct model *m, void *image, size_t bytes)
{
    const struct head *h = image;
    const struct packed_layer *layers = (const void *)(h + 1);
    const struct module *modules = (const void *)(layers + h->layers);
    size_t n = (size_t)h->layers * LORA_TARGETS;
    l->pairs = calloc(n ? n : 1, sizeof(*l->pairs));
    if (!l->pairs)
        return -ENOMEM;
    for (uint32_t i = 0; i < h->n_modules; i++) {
        const struct module *x = &modules[i];
        const struct weight *w = &linear_of(m, x)->w;
        const uint8_t *base = image;
        struct lora_pair *p = &l->pairs[(size_t)x->layer * LORA_TARGETS + x->linear];
        *p = (struct lora_pair){
            .rank = x->rank,
            .f16 = x->flags & MODULE_f16,
            .rows = x->flags & MODULE_rows,
            .scale = x->scale,
            .a_kernel = kernel_for(m->kernels, x->a_type),
            .b_kernel = kernel_for(m->kernels, x->b_type),
            .a = x->a ? base + x->a : NULL,
            .b = x->b ? base + x->b : NULL,
            .a_stride = kernel_row_bytes(x->a_type, w->in),
            .b_stride = kernel_row_bytes(x->b_type, x->flags & MODULE_rows ? x->rank : w->out),
            .gain = x->gain ? (const float *)(const void *)(base + x->gain) : NULL,
            .bias = x->bias ? (const float *)(const void *)(base + x->bias) : NULL,
        };
    }
    l->layers = h->layers;
    l->invocation = h->n_invocation ? (const void *)(modules + h->n_modules) : NULL;
    l->n_invocation = h->n_invocation;
    l->image = image;
    l->image_bytes = bytes;
    l->bytes = sizeof(*l) + n * sizeof(*l->pairs) + bytes;
    return 0;
}

int lora_pack_memory(struct lora **ret, const struct lora_draft *d, struct fail *reterr)
{
    CLEANUP(plan_done) struct plan plan = { 0 };
    CLEANUP(lora_freep) struct lora *l = calloc(1, sizeof(*l));
    int r = l ? plan_new(&plan, d, /* base_id= */ 0, LORA_packing_source) : -ENOMEM;
    if (r)
        return r;
    size_t bytes = plan.head->file_bytes;
    uint8_t *image = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (image == MAP_FAILED)
        return -ENOMEM;
    for (uint32_t i = 0; !r && i < plan.head->layers; i++)
        r = fill_layer(&plan, i, image + plan.layers[i].at, reterr);
    memcpy(image, plan.tables, head_bytes(plan.head));
    if (!r)
        r = attach(l, d->model, image, bytes);
    if (r) {
        (void)munmap(image, bytes);
        return r;
    }
    *ret = TAKE(l);
    return 0;
}

/* The head is whole and of this layout, and the tables lie in the file. */
static bool head_ok(const uint8_t *file, size_t n)
{
    struct head h;
    if (n < sizeof(h))
        return false;
    memcpy(&h, file, sizeof(h));
    return memcmp(h.magic, MAGIC, sizeof(h.magic)) == 0 && h.layout == LAYOUT &&
           h.file_bytes == n && h.layers <= n / sizeof(struct packed_layer) &&
           h.n_modules <= n / sizeof(struct module) && h.n_invocation <= LORA_INVOCATION_TOKENS &&
           head_bytes(&h) <= n && h.checksum == checksum_of(&h, file);
}

static bool layer_ok(const struct packed_layer *y, const struct head *h)
{
    return y->at % ALIGN == 0 && y->at >= head_bytes(h) && y->at <= h->file_bytes &&
           y->bytes <= h->file_bytes - y->at;
}

static bool inside(const struct packed_layer *y, uint64_t at, uint64_t bytes)
{
    return !at ||
           (at % ALIGN == 0 && at >= y->at && bytes <= y->bytes && at - y->at <= y->bytes - bytes);
}

static bool adapter_type(uint32_t type)
{
    return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_BF16 || type == TENSOR_Q8_0;
}

static bool module_ok(const struct module *x, const struct packed_layer *layers,
                      const struct model *m)
{
    if (x->layer >= m->shape.layers || x->linear >= LORA_TARGETS || x->rank > LIMIT_LORA_RANK ||
        x->flags > MODULE_FLAGS || !adapter_type(x->a_type) || !adapter_type(x->b_type) ||
        !model_has_linear(m, (enum lora_target)x->linear) || !isfinite(x->scale))
        return false;
    const struct weight *w = &linear_of(m, x)->w;
    const struct packed_layer *y = &layers[x->layer];
    uint64_t floats = w->out * sizeof(float);
    return (x->rank != 0) == (x->a != 0) && (x->rank != 0) == (x->b != 0) &&
           inside(y, x->a, a_bytes(x, w)) && inside(y, x->b, b_bytes(x, w)) &&
           inside(y, x->gain, floats) && inside(y, x->bias, floats);
}

/* Belongs to this base and packing, and every offset lies where it may. */
static bool tables_ok(const uint8_t *file, const struct lora_pack *p)
{
    const struct head *h = (const void *)file;
    const struct packed_layer *layers = (const void *)(h + 1);
    const struct module *modules = (const void *)(layers + h->layers);
    if (h->base_id != p->base_id || h->packing != (uint32_t)p->packing ||
        h->layers != p->model->shape.layers)
        return false;
    bool ok = true;
    for (uint32_t i = 0; i < h->layers; i++)
        ok = ok && layer_ok(&layers[i], h);
    for (uint32_t i = 0; ok && i < h->n_modules; i++)
        ok = module_ok(&modules[i], layers, p->model);
    return ok;
}

int lora_map_file(struct lora **ret, const struct lora_pack *p, const char *path)
{
    struct file_map map = { 0 };
    int r = file_map(&map, path);
    if (r < 0)
        return r;
    CLEANUP(lora_freep) struct lora *l = NULL;
    if (!head_ok(map.p, map.n) || !tables_ok(map.p, p))
        r = -ESTALE;
    if (!r && !(l = calloc(1, sizeof(*l))))
        r = -ENOMEM;
    if (!r)
        r = attach(l, p->model, (void *)(uintptr_t)map.p, map.n);
    if (r) {
        file_unmap(&map);
        return r;
    }
    /* Now and by this thread, so that no step waits for a disk; older kernels only begin it. */
    if (madvise(l->image, l->image_bytes, MADV_POPULATE_READ) < 0)
        (void)madvise(l->image, l->image_bytes, MADV_WILLNEED);
    *ret = TAKE(l);
    return 0;
}

static int damaged(struct fail *reterr, const char *path, const char *what)
{
    return fail_set(reterr, FAIL_unprocessable_adapter,
                    "%.200s: %s; remove the file, it is packed again when it is used", path, what);
}

int lora_verify_file(const char *path, struct fail *reterr)
{
    CLEANUP(file_unmap) struct file_map map = { 0 };
    int r = file_map(&map, path);
    if (r < 0)
        return r;
    if (!head_ok(map.p, map.n))
        return damaged(reterr, path, "no packed adapter of this version, or its head is damaged");
    const struct head *h = (const void *)map.p;
    const struct packed_layer *layers = (const void *)(h + 1);
    for (uint32_t i = 0; i < h->layers; i++) {
        char what[64];
        (void)snprintf(what, sizeof(what), "layer %u is damaged", i);
        if (!layer_ok(&layers[i], h) ||
            crc32c(0, map.p + layers[i].at, layers[i].bytes) != layers[i].checksum)
            return damaged(reterr, path, what);
    }
    return 0;
}
