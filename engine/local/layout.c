#include "engine/local/layout.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/num.h"
#include "engine/local/kernel.h"

void *layout_place(struct layout *l, size_t n, size_t size)
{
    size_t bytes, end;
    if (!mul_ok(n, size, &bytes) || !add_ok(l->used, bytes, &end) || end > SIZE_MAX - 64) {
        l->overflow = true;
        return NULL;
    }
    void *p = l->block ? l->block + l->used : NULL;
    l->used = (end + 63) & ~(size_t)63; /* cache lines are not shared */
    return p;
}

void layout_rows(struct layout *l, struct rows *r, uint32_t n, size_t width)
{
    r->stride = (width + 15) & ~(size_t)15;
    r->at = layout_place(l, n, sizeof(*r->at));
    size_t row_bytes;
    if (!mul_ok(r->stride, sizeof(float), &row_bytes)) {
        l->overflow = true;
        return;
    }
    r->data = layout_place(l, n, row_bytes);
    for (uint32_t i = 0; r->data && i < n; i++)
        r->at[i] = r->data + i * r->stride;
}

void layout_view(struct layout *l, struct rows *r, uint32_t n, const struct rows *of, size_t offset)
{
    r->stride = of->stride;
    r->at = layout_place(l, n, sizeof(*r->at));
    r->data = of->data ? of->data + offset : NULL;
    for (uint32_t i = 0; r->data && i < n; i++)
        r->at[i] = r->data + i * r->stride;
}

void layout_quants(struct layout *l, struct quants ***ret, uint32_t n, size_t width)
{
    *ret = layout_place(l, n, sizeof(**ret));
    for (uint32_t i = 0; i < n; i++) {
        struct quants *row = layout_place(l, KERNEL_QUANTS(width), sizeof(*row));
        if (row)
            (*ret)[i] = row;
    }
}

int layout_allocate(uint8_t **ret_block, size_t *ret_bytes,
                    void (*place)(void *owner, struct layout *l), void *owner)
{
    struct layout size = { .block = NULL };
    place(owner, &size);
    if (size.overflow)
        return -ENOMEM;
    void *p = mmap(NULL, size.used, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -ENOMEM;
    struct layout hand_out = { .block = p };
    place(owner, &hand_out);
    *ret_block = p;
    *ret_bytes = size.used;
    return 0;
}

void layout_free(uint8_t *block, size_t bytes)
{
    if (block)
        (void)munmap(block, bytes);
}
