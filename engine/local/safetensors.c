#include "engine/local/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/num.h"

struct safetensors {
    const char *name;
    json_t *header; /* owned; names and types point into it */
    struct safetensor *tensors;
    size_t n;
};

static int refuse(const struct safetensors *s, struct fail *reterr, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static int refuse(const struct safetensors *s, struct fail *reterr, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail_set(reterr, FAIL_unprocessable_adapter, "%s: %s", s->name, text);
}

static size_t dtype_bytes(struct str dtype) /* 0: unknown */
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {
        { "F64", 8 }, { "F32", 4 }, { "F16", 2 },  { "BF16", 2 },    { "I64", 8 },
        { "I32", 4 }, { "I16", 2 }, { "I8", 1 },   { "U64", 8 },     { "U32", 4 },
        { "U16", 2 }, { "U8", 1 },  { "BOOL", 1 }, { "F8_E4M3", 1 }, { "F8_E5M2", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_is(dtype, types[i].name))
            return types[i].bytes;
    return 0;
}

static bool get_size(const json_t *v, uint64_t *ret)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static struct str text_of(const json_t *v)
{
    return (struct str){ json_string_value(v), json_string_length(v) };
}

/* The dimensions and, from them, the bytes that the tensor must have. */
static int read_shape(const struct safetensors *s, struct safetensor *t, const json_t *shape,
                      struct fail *reterr)
{
    t->n_dims = (uint32_t)json_array_size(shape);
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSOR_DIMS)
        return refuse(s, reterr, "the shape of '" STR_FMT "' is not an array of at most %d numbers",
                      STR_ARG(t->name), SAFETENSOR_DIMS);
    t->bytes = dtype_bytes(t->dtype);
    if (!t->bytes)
        return refuse(s, reterr, "the type '" STR_FMT "' of '" STR_FMT "' is not known",
                      STR_ARG(str_head(t->dtype, 32)), STR_ARG(t->name));
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!get_size(json_array_get(shape, i), &t->dims[i]) ||
            !mul_ok(t->bytes, t->dims[i], &t->bytes))
            return refuse(s, reterr, "the shape of '" STR_FMT "' is not made of sizes",
                          STR_ARG(t->name));
    return 0;
}

static int read_tensor(const struct safetensors *s, struct safetensor *t, const json_t *entry,
                       struct str data, struct fail *reterr)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    t->dtype = text_of(json_object_get(entry, "dtype"));
    int r = read_shape(s, t, json_object_get(entry, "shape"), reterr);
    if (r)
        return r;
    uint64_t begin, end;
    if (json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end))
        return refuse(s, reterr, "data_offsets of '" STR_FMT "' is not a pair of offsets",
                      STR_ARG(t->name));
    if (begin > end || end > data.n)
        return refuse(s, reterr,
                      "the tensor '" STR_FMT "' lies at [%llu, %llu) of %zu bytes; the file is cut "
                      "short or damaged",
                      STR_ARG(t->name), (unsigned long long)begin, (unsigned long long)end, data.n);
    if (end - begin != t->bytes)
        return refuse(s, reterr, "the tensor '" STR_FMT "' has %llu bytes, its shape needs %zu",
                      STR_ARG(t->name), (unsigned long long)(end - begin), t->bytes);
    t->data = data.p + begin;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    if (x->data != y->data)
        return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

static int check_cover(const struct safetensors *s, struct str data, struct fail *reterr)
{
    const char *at = data.p;
    for (size_t i = 0; i < s->n; i++) {
        const struct safetensor *t = &s->tensors[i];
        if ((const char *)t->data != at)
            return refuse(
                s, reterr, "the tensor '" STR_FMT "' %s; the file is damaged", STR_ARG(t->name),
                (const char *)t->data < at ? "overlaps another" : "leaves a hole before it");
        at += t->bytes;
    }
    if (at != data.p + data.n)
        return refuse(s, reterr,
                      "%zu bytes after the last tensor belong to none; the file is damaged",
                      (size_t)(data.p + data.n - at));
    return 0;
}

static int read_tensors(struct safetensors *s, struct str data, struct fail *reterr)
{
    s->tensors = calloc(json_object_size(s->header) + 1, sizeof(*s->tensors));
    if (!s->tensors)
        return -ENOMEM;
    const char *key;
    json_t *entry;
    json_object_foreach(s->header, key, entry)
    {
        if (strcmp(key, "__metadata__") == 0)
            continue;
        struct safetensor *t = &s->tensors[s->n];
        t->name = str_of(key);
        if (!json_is_object(entry))
            return refuse(s, reterr, "the entry of '" STR_FMT "' is not an object",
                          STR_ARG(str_head(t->name, 128)));
        int r = read_tensor(s, t, entry, data, reterr);
        if (r)
            return r;
        s->n++;
    }
    qsort(s->tensors, s->n, sizeof(*s->tensors), by_offset);
    return check_cover(s, data, reterr);
}

int safetensors_parse(struct safetensors **ret, const char *name, struct str bytes,
                      struct fail *reterr)
{
    CLEANUP(safetensors_freep) struct safetensors *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->name = name;
    uint64_t n = 0; /* little-endian */
    if (bytes.n < sizeof(n))
        return refuse(s, reterr, "it has %zu bytes; a safetensors file has at least 8", bytes.n);
    for (size_t i = 0; i < sizeof(n); i++)
        n |= (uint64_t)(unsigned char)bytes.p[i] << 8 * i;
    if (n > bytes.n - sizeof(n) || n > LIMIT_SAFETENSORS_HEADER)
        return refuse(s, reterr,
                      "its header claims %llu bytes of %zu; it is cut short or no safetensors file",
                      (unsigned long long)n, bytes.n);
    json_error_t e;
    s->header = json_loadb(bytes.p + sizeof(n), n, JSON_REJECT_DUPLICATES, &e);
    if (!s->header)
        return refuse(s, reterr, "its header is not JSON: %s", e.text);
    if (!json_is_object(s->header))
        return refuse(s, reterr, "its header is not a JSON object");
    int r = read_tensors(s, str_sub(bytes, sizeof(n) + n), reterr);
    if (r)
        return r;
    *ret = TAKE(s);
    return 0;
}

struct safetensors *safetensors_free(struct safetensors *s)
{
    if (!s)
        return NULL;
    free(s->tensors);
    json_decref(s->header);
    free(s);
    return NULL;
}

size_t safetensors_n(const struct safetensors *s)
{
    return s->n;
}

const struct safetensor *safetensors_at(const struct safetensors *s, size_t i)
{
    assert(i < s->n);
    return &s->tensors[i];
}
