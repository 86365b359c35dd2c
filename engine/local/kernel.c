#include "engine/local/kernel.h"

#include <assert.h>
#include <math.h>

#include "engine/local/kernel_unpack.h"

size_t kernels_usable(const struct kernel_set *ret[static KERNEL_SETS])
{
    static const struct kernel_set *const sets[] = {
#if defined(__x86_64__)
        &kernels_avx512,
        &kernels_avx2,
#endif
        &kernels_generic, /* runs everywhere */
    };
    static_assert(ARRAY_LEN(sets) <= KERNEL_SETS, "room for all");
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (sets[i]->usable())
            ret[n++] = sets[i];
    return n;
}

const struct kernel_set *kernels_best(void)
{
    const struct kernel_set *sets[KERNEL_SETS];
    (void)kernels_usable(sets);
    return sets[0];
}

const struct kernel *kernel_for(const struct kernel_set *set, uint32_t type)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->kernels[i].type == type)
            return &set->kernels[i];
    return NULL;
}

void kernel_names(const struct kernel_set *set, char *ret, size_t size)
{
    size_t at = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < set->n && at < size; i++) {
        int n = snprintf(ret + at, size - at, "%s%s", i ? ", " : "",
                         tensor_layout(set->kernels[i].type)->name);
        at += n > 0 ? (size_t)n : 0;
    }
}

size_t kernel_row_bytes(uint32_t type, size_t k)
{
    const struct tensor_layout *l = tensor_layout(type);
    return (k + l->block - 1) / l->block * l->block_bytes;
}

static void pack_block_q8_0(uint8_t *b, const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    float d = most / 127.0f, inverse = d > 0 ? 1.0f / d : 0;
    uint16_t half = float_to_half(d);
    memcpy(b, &half, sizeof(half));
    for (size_t i = 0; i < BLOCK; i++)
        b[2 + i] = i < n ? (uint8_t)(int8_t)lrintf(x[i] * inverse) : 0;
}

void kernel_pack(uint32_t type, void *row, const float *x, size_t k)
{
    uint8_t *to = row;
    switch (type) {
    case TENSOR_F32:
        memcpy(row, x, k * sizeof(float));
        break;
    case TENSOR_F16:
        for (size_t i = 0; i < k; i++) {
            uint16_t half = float_to_half(x[i]);
            memcpy(to + 2 * i, &half, sizeof(half));
        }
        break;
    case TENSOR_BF16:
        for (size_t i = 0; i < k; i++) {
            uint16_t half = float_to_bfloat(x[i]);
            memcpy(to + 2 * i, &half, sizeof(half));
        }
        break;
    default:
        assert(type == TENSOR_Q8_0);
        for (size_t i = 0; i < k; i += BLOCK, to += Q8_0_BYTES)
            pack_block_q8_0(to, x + i, k - i < BLOCK ? k - i : BLOCK);
    }
}
