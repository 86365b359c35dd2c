#include "engine/local/cache.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/num.h"
#include "engine/local/model_impl.h"

static uint8_t *map_bytes(size_t n) /* zeroed, paged in when touched; NULL: no memory */
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static uint32_t row_type(enum cache_type t)
{
    return t == CACHE_f32 ? TENSOR_F32 : t == CACHE_f16 ? TENSOR_F16 : TENSOR_Q8_0;
}

int cache_init(struct cache *ret, const struct model *m, const struct stepper_options *o)
{
    const struct model_shape *s = &m->shape;
    struct cache c = { .slots = o->slots,
                       .context = o->context,
                       .kv_heads = s->kv_heads,
                       .head_size = s->head_size,
                       .layers = s->layers };
    c.kernel = kernel_for(m->kernels, row_type(o->cache));
    c.row_bytes = kernel_row_bytes(c.kernel->type, s->head_size);
    if (!mul_ok(c.row_bytes, (size_t)c.kv_heads * c.context, &c.slot_bytes) ||
        !mul_ok(c.slot_bytes, (size_t)c.layers * c.slots, &c.bytes))
        return -ENOMEM;
    c.keys = map_bytes(c.bytes);
    c.values = map_bytes(c.bytes);
    if (!c.keys || !c.values) {
        cache_done(&c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

void cache_done(struct cache *c)
{
    if (c->keys)
        (void)munmap(c->keys, c->bytes);
    if (c->values)
        (void)munmap(c->values, c->bytes);
    c->keys = c->values = NULL;
}

void cache_put(struct cache *c, uint32_t layer, uint32_t slot, uint32_t position, const float *k,
               const float *v)
{
    for (uint32_t h = 0; h < c->kv_heads; h++) {
        size_t at = cache_offset(c, layer, slot, h, position);
        kernel_pack(c->kernel->type, c->keys + at, k + (size_t)h * c->head_size, c->head_size);
        kernel_pack(c->kernel->type, c->values + at, v + (size_t)h * c->head_size, c->head_size);
    }
}

void cache_copy(struct cache *c, uint32_t from, uint32_t to, uint32_t n_positions)
{
    size_t bytes = n_positions * c->row_bytes;
    for (uint32_t y = 0; y < c->layers; y++)
        for (uint32_t h = 0; h < c->kv_heads; h++) {
            size_t source = cache_offset(c, y, from, h, 0), target = cache_offset(c, y, to, h, 0);
            memcpy(c->keys + target, c->keys + source, bytes);
            memcpy(c->values + target, c->values + source, bytes);
        }
}
