/*
 * The file of a learned selector, little-endian: 8 bytes "RSELECT1", six u32 (kind, width, dims,
 * rows, models, bytes of names), a float (gamma), the probe's floats, the names each ended by a
 * NUL, then the floats of points, offsets, values and bias.
 */
#include "router/selection/learned/learned.h"

#include "base/num.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define MAGIC "RSELECT1"

enum { HEAD_WORDS = 6, NAME_BYTES = 512 };

struct head {
    uint32_t words[HEAD_WORDS];
    float gamma;
    float probe[LEARNED_PROBE];
};

enum { MAGIC_BYTES = 8, HEAD_BYTES = MAGIC_BYTES + sizeof(struct head) };

static size_t floats_of(const struct learned *l)
{
    return (size_t)l->rows * l->dims + l->rows + (size_t)l->n_models * l->rows + l->n_models;
}

int learned_alloc(struct learned *l, struct arena *arena)
{
    l->names = arena_array(arena, l->n_models, sizeof(*l->names));
    l->points = arena_array(arena, floats_of(l), sizeof(float));
    l->squares = arena_array(arena, l->rows, sizeof(float));
    if (!l->names || !l->points || !l->squares)
        return -ENOMEM;
    l->offsets = l->points + (size_t)l->rows * l->dims;
    l->values = l->offsets + l->rows;
    l->bias = l->values + (size_t)l->n_models * l->rows;
    return 0;
}

static bool sane(const struct learned *l, uint32_t name_bytes)
{
    return l->kind < LEARNED_N && l->width > 0 && l->dims == learned_dims(l->width) &&
           l->dims <= LEARNED_DIMS && l->rows > 0 && l->rows <= LEARNED_ROWS && l->n_models > 0 &&
           l->n_models <= LEARNED_MODELS && name_bytes <= LEARNED_MODELS * NAME_BYTES &&
           isfinite(l->gamma) && l->gamma >= 0 &&
           (l->kind != LEARNED_svm || l->gamma > 0 || l->rows == l->n_models);
}

static int read_names(struct learned *l, struct str text, struct arena *arena)
{
    for (uint32_t i = 0; i < l->n_models; i++) {
        const char *end = text.n ? memchr(text.p, '\0', text.n) : NULL;
        size_t n = end ? (size_t)(end - text.p) : 0;
        if (!end || n == 0 || n > NAME_BYTES || !str_utf8_valid(str_head(text, n)))
            return -EINVAL;
        l->names[i] = arena_str(arena, str_head(text, n));
        if (!l->names[i].p)
            return -ENOMEM;
        text = str_sub(text, n + 1);
    }
    return text.n == 0 ? 0 : -EINVAL;
}

int learned_read(struct learned *ret, struct str bytes, struct arena *arena)
{
    struct head h;
    if (bytes.n < HEAD_BYTES || memcmp(bytes.p, MAGIC, MAGIC_BYTES) != 0)
        return -EINVAL;
    memcpy(&h, bytes.p + MAGIC_BYTES, sizeof(h));
    struct learned l = { .kind = (enum learned_kind)h.words[0],
                         .width = h.words[1],
                         .dims = h.words[2],
                         .rows = h.words[3],
                         .n_models = h.words[4],
                         .gamma = h.gamma };
    uint32_t name_bytes = h.words[5];
    memcpy(l.probe, h.probe, sizeof(l.probe));
    if (!sane(&l, name_bytes) || bytes.n != HEAD_BYTES + name_bytes + floats_of(&l) * sizeof(float))
        return -EINVAL;
    int r = learned_alloc(&l, arena);
    if (r == 0)
        r = read_names(&l, str_head(str_sub(bytes, HEAD_BYTES), name_bytes), arena);
    if (r < 0)
        return r;
    memcpy(l.points, bytes.p + HEAD_BYTES + name_bytes, floats_of(&l) * sizeof(float));
    for (size_t i = 0; i < floats_of(&l); i++)
        if (!isfinite(l.points[i]))
            return -EINVAL;
    for (size_t i = 0; i < LEARNED_PROBE; i++)
        if (!isfinite(l.probe[i]))
            return -EINVAL;
    learned_index(&l);
    *ret = l;
    return 0;
}

void learned_write(const struct learned *l, struct buf *b)
{
    struct head h = { .words = { l->kind, l->width, l->dims, l->rows, l->n_models, 0 },
                      .gamma = l->gamma };
    for (uint32_t i = 0; i < l->n_models; i++)
        h.words[5] += (uint32_t)l->names[i].n + 1;
    memcpy(h.probe, l->probe, sizeof(h.probe));
    buf_adds(b, MAGIC);
    buf_add(b, (struct str){ (const char *)&h, sizeof(h) });
    for (uint32_t i = 0; i < l->n_models; i++) {
        buf_add(b, l->names[i]);
        buf_addc(b, '\0');
    }
    buf_add(b, (struct str){ (const char *)l->points, floats_of(l) * sizeof(float) });
}

int learned_model(const struct learned *l, struct str name)
{
    for (uint32_t i = 0; i < l->n_models; i++)
        if (str_eq(l->names[i], name))
            return (int)i;
    return -1;
}
