#include "engine/local/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/num.h"

enum {
    GGUF_MAGIC = 0x46554747, /* "GGUF" */
    GGUF_KINDS = GGUF_f64 + 1,
    GGUF_DIMS = 4,
    GGUF_ALIGNMENT = 32, /* where general.alignment is absent */
    MIN_STRING = 8,      /* file bytes of an empty string */
    MIN_KEY = 8 + 4 + 1,
    MIN_TENSOR = 8 + 4 + 4 + 8,
};

struct key {
    struct str name;
    enum gguf_kind kind;
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        struct str s;
        struct gguf_array a;
    };
};

struct gguf {
    char *name;
    struct file_map map; /* of gguf_open */
    struct str bytes;
    size_t n_keys, n_tensors;
    struct key *keys; /* sorted by name */
    struct gguf_tensor *tensors;
    const struct gguf_tensor **by_name; /* sorted */
};

/* What is left of the file while it is read, front to back. */
struct reader {
    struct gguf *g;
    size_t at;
    struct fail *reterr;
};

/* ggml's types by number; block 0: known to ggml, not served here. */
static const struct tensor_layout layouts[] = {
    [TENSOR_F32] = { "F32", 1, 4 },
    [TENSOR_F16] = { "F16", 1, 2 },
    [TENSOR_Q4_0] = { "Q4_0", 32, 18 },
    [TENSOR_Q4_1] = { "Q4_1", 32, 20 },
    [TENSOR_Q5_0] = { "Q5_0", 32, 22 },
    [TENSOR_Q5_1] = { "Q5_1", 32, 24 },
    [TENSOR_Q8_0] = { "Q8_0", 32, 34 },
    [9] = { "Q8_1", 0, 0 },
    [TENSOR_Q2_K] = { "Q2_K", 256, 84 },
    [TENSOR_Q3_K] = { "Q3_K", 256, 110 },
    [TENSOR_Q4_K] = { "Q4_K", 256, 144 },
    [TENSOR_Q5_K] = { "Q5_K", 256, 176 },
    [TENSOR_Q6_K] = { "Q6_K", 256, 210 },
    [15] = { "Q8_K", 0, 0 },
    [16] = { "IQ2_XXS", 0, 0 },
    [17] = { "IQ2_XS", 0, 0 },
    [18] = { "IQ3_XXS", 0, 0 },
    [19] = { "IQ1_S", 0, 0 },
    [TENSOR_IQ4_NL] = { "IQ4_NL", 32, 18 },
    [21] = { "IQ3_S", 0, 0 },
    [22] = { "IQ2_S", 0, 0 },
    [TENSOR_IQ4_XS] = { "IQ4_XS", 256, 136 },
    [24] = { "I8", 0, 0 },
    [25] = { "I16", 0, 0 },
    [26] = { "I32", 0, 0 },
    [27] = { "I64", 0, 0 },
    [28] = { "F64", 0, 0 },
    [29] = { "IQ1_M", 0, 0 },
    [TENSOR_BF16] = { "BF16", 1, 2 },
    [TENSOR_TQ1_0] = { "TQ1_0", 256, 54 },
    [TENSOR_TQ2_0] = { "TQ2_0", 256, 66 },
    [39] = { "MXFP4", 0, 0 },
};

const struct tensor_layout *tensor_layout(uint32_t type)
{
    return type < ARRAY_LEN(layouts) && layouts[type].block ? &layouts[type] : NULL;
}

/* Bytes of one element in the file; 0: not of a fixed size. */
static size_t kind_bytes(uint32_t kind)
{
    static const uint8_t bytes[GGUF_KINDS] = {
        [GGUF_u8] = 1,  [GGUF_i8] = 1,  [GGUF_u16] = 2, [GGUF_i16] = 2,
        [GGUF_u32] = 4, [GGUF_i32] = 4, [GGUF_f32] = 4, [GGUF_bool] = 1,
        [GGUF_u64] = 8, [GGUF_i64] = 8, [GGUF_f64] = 8,
    };
    return kind < GGUF_KINDS ? bytes[kind] : 0;
}

static bool kind_is_integer(enum gguf_kind k)
{
    return kind_bytes(k) && k != GGUF_f32 && k != GGUF_f64 && k != GGUF_bool;
}

/* A name out of the file, fit for a message: short, printable ASCII. */
struct shown {
    char text[72];
};

static struct shown show(struct str name)
{
    struct shown s;
    size_t n = name.n < sizeof(s.text) - 1 ? name.n : sizeof(s.text) - 1;
    for (size_t i = 0; i < n; i++)
        s.text[i] = name.p[i] >= ' ' && name.p[i] < 127 ? name.p[i] : '?';
    s.text[n] = '\0';
    return s;
}

#define BAD(r, fmt, ...)                                                                           \
    fail_set((r)->reterr, FAIL_invalid_request, "%s: offset %zu: " fmt, (r)->g->name, (r)->at,     \
             ##__VA_ARGS__)

static size_t left(const struct reader *r)
{
    return r->g->bytes.n - r->at;
}

static int take(struct reader *r, size_t n, const char **ret)
{
    if (n > left(r))
        return BAD(r, "the file ends here, %zu bytes short", n - left(r));
    *ret = r->g->bytes.p + r->at;
    r->at += n;
    return 0;
}

static int take_u32(struct reader *r, uint32_t *ret)
{
    const char *p = NULL;
    int e = take(r, sizeof(*ret), &p);
    if (e == 0)
        memcpy(ret, p, sizeof(*ret));
    return e;
}

static int take_u64(struct reader *r, uint64_t *ret)
{
    const char *p = NULL;
    int e = take(r, sizeof(*ret), &p);
    if (e == 0)
        memcpy(ret, p, sizeof(*ret));
    return e;
}

static int take_str(struct reader *r, struct str *ret)
{
    uint64_t n = 0;
    int e = take_u64(r, &n);
    if (e != 0)
        return e;
    if (n > LIMIT_GGUF_STRING)
        return BAD(r, "a string of %llu bytes is over the limit of %lu", (unsigned long long)n,
                   LIMIT_GGUF_STRING);
    e = take(r, n, &ret->p);
    ret->n = n;
    return e;
}

static int64_t load_i64(enum gguf_kind kind, const char *p)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } v = { .u64 = 0 };
    memcpy(&v, p, kind_bytes(kind));
    switch (kind) {
    case GGUF_i8:
        return v.i8;
    case GGUF_i16:
        return v.i16;
    case GGUF_i32:
        return v.i32;
    default:
        return v.i64; /* the rest is zero-extended already */
    }
}

static double load_double(enum gguf_kind kind, const char *p)
{
    if (kind == GGUF_f32) {
        float f;
        memcpy(&f, p, sizeof(f));
        return (double)f;
    }
    if (kind == GGUF_f64) {
        double d;
        memcpy(&d, p, sizeof(d));
        return d;
    }
    int64_t i = load_i64(kind, p);
    return kind == GGUF_u64 ? (double)(uint64_t)i : (double)i;
}

static int take_strings(struct reader *r, struct gguf_array *a)
{
    struct str *s = calloc(a->n ? a->n : 1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    a->strings = s; /* owned by the key from here on */
    for (uint64_t i = 0; i < a->n; i++) {
        int e = take_str(r, &s[i]);
        if (e != 0)
            return e;
    }
    return 0;
}

static int take_array(struct reader *r, struct gguf_array *a)
{
    uint32_t kind = 0;
    uint64_t n = 0;
    int e = take_u32(r, &kind);
    if (e == 0)
        e = take_u64(r, &n);
    if (e != 0)
        return e;
    size_t each = kind == GGUF_string ? MIN_STRING : kind_bytes(kind);
    if (!each)
        return BAD(r, "an array of kind %u is not understood", kind);
    if (n > LIMIT_GGUF_ARRAY)
        return BAD(r, "an array of %llu elements is over the limit of %lu", (unsigned long long)n,
                   LIMIT_GGUF_ARRAY);
    if (n * each > left(r)) /* no overflow: both are bounded */
        return BAD(r, "an array of %llu elements does not fit into the file",
                   (unsigned long long)n);
    a->kind = (enum gguf_kind)kind;
    a->n = n;
    if (kind == GGUF_string)
        return take_strings(r, a);
    const char *p = NULL;
    e = take(r, n * each, &p);
    a->data = p;
    return e;
}

static int take_scalar(struct reader *r, struct key *k)
{
    const char *p = NULL;
    int e = take(r, kind_bytes(k->kind), &p);
    if (e != 0)
        return e;
    if (k->kind == GGUF_bool) {
        if ((unsigned char)*p > 1)
            return BAD(r, "key %s: a bool is 0 or 1, not %u", show(k->name).text,
                       (unsigned char)*p);
        k->b = *p == 1;
    } else if (k->kind == GGUF_f32 || k->kind == GGUF_f64) {
        k->f = load_double(k->kind, p);
    } else {
        k->i = load_i64(k->kind, p);
    }
    return 0;
}

static int take_key(struct reader *r, struct key *k)
{
    uint32_t kind = 0;
    int e = take_str(r, &k->name);
    if (e == 0)
        e = take_u32(r, &kind);
    if (e != 0)
        return e;
    if (kind >= GGUF_KINDS)
        return BAD(r, "key %s has kind %u, which is not understood", show(k->name).text, kind);
    k->kind = (enum gguf_kind)kind;
    if (kind == GGUF_string)
        return take_str(r, &k->s);
    if (kind == GGUF_array)
        return take_array(r, &k->a);
    return take_scalar(r, k);
}

static int key_order(const void *a, const void *b)
{
    return str_cmp(((const struct key *)a)->name, ((const struct key *)b)->name);
}

static int take_keys(struct reader *r, uint64_t n)
{
    struct gguf *g = r->g;
    if (n > LIMIT_GGUF_KEYS || n > left(r) / MIN_KEY)
        return BAD(r, "%llu keys do not fit into the file or are over the limit of %d",
                   (unsigned long long)n, LIMIT_GGUF_KEYS);
    g->keys = calloc(n ? n : 1, sizeof(*g->keys));
    if (!g->keys)
        return -ENOMEM;
    for (; g->n_keys < n;) {
        struct key *k = &g->keys[g->n_keys++]; /* counted first: a half-read array is freed */
        int e = take_key(r, k);
        if (e != 0)
            return e;
    }
    qsort(g->keys, n, sizeof(*g->keys), key_order);
    for (size_t i = 1; i < n; i++)
        if (str_eq(g->keys[i - 1].name, g->keys[i].name))
            return BAD(r, "key %s is there twice", show(g->keys[i].name).text);
    return 0;
}

static int check_type(struct reader *r, const struct gguf_tensor *t)
{
    if (tensor_layout(t->type))
        return 0;
    const char *name = t->type < ARRAY_LEN(layouts) ? layouts[t->type].name : NULL;
    return BAD(r,
               "tensor %s has type %u%s%s%s; served are F32, F16, BF16, Q4_0 to Q8_0, Q2_K to "
               "Q6_K, IQ4_NL, IQ4_XS, TQ1_0 and TQ2_0",
               show(t->name).text, t->type, name ? " (" : "", name ? name : "", name ? ")" : "");
}

/* Sets t->bytes out of dims and type, none of which may wrap. */
static int size_tensor(struct reader *r, struct gguf_tensor *t)
{
    int e = check_type(r, t);
    if (e != 0)
        return e;
    const struct tensor_layout *l = tensor_layout(t->type);
    for (unsigned d = 0; d < GGUF_DIMS; d++)
        if (t->dims[d] == 0 || t->dims[d] > INT64_MAX)
            return BAD(r, "tensor %s: dimension %u is %llu", show(t->name).text, d,
                       (unsigned long long)t->dims[d]);
    if (t->dims[0] % l->block != 0)
        return BAD(r, "tensor %s: a row of %llu elements does not divide into blocks of %u (%s)",
                   show(t->name).text, (unsigned long long)t->dims[0], l->block, l->name);
    bool ok = mul_ok(t->dims[0] / l->block, l->block_bytes, &t->bytes);
    for (unsigned d = 1; d < GGUF_DIMS; d++)
        ok = ok && mul_ok(t->bytes, t->dims[d], &t->bytes);
    return ok ? 0 : BAD(r, "tensor %s: its size overflows", show(t->name).text);
}

/* Leaves the offset within the data section in *ret_offset. */
static int take_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *ret_offset)
{
    int e = take_str(r, &t->name);
    if (e == 0)
        e = take_u32(r, &t->n_dims);
    if (e != 0)
        return e;
    if (t->n_dims > GGUF_DIMS)
        return BAD(r, "tensor %s has %u dimensions; at most %d are possible", show(t->name).text,
                   t->n_dims, GGUF_DIMS);
    for (unsigned d = 0; d < GGUF_DIMS; d++)
        t->dims[d] = 1;
    for (unsigned d = 0; d < t->n_dims && e == 0; d++)
        e = take_u64(r, &t->dims[d]);
    if (e == 0)
        e = take_u32(r, &t->type);
    if (e == 0)
        e = take_u64(r, ret_offset);
    return e != 0 ? e : size_tensor(r, t);
}

static int tensor_order(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return str_cmp((*x)->name, (*y)->name);
}

static int index_tensors(struct reader *r)
{
    struct gguf *g = r->g;
    g->by_name = calloc(g->n_tensors ? g->n_tensors : 1, sizeof(struct gguf_tensor *));
    if (!g->by_name)
        return -ENOMEM;
    for (size_t i = 0; i < g->n_tensors; i++)
        g->by_name[i] = &g->tensors[i];
    qsort(g->by_name, g->n_tensors, sizeof(struct gguf_tensor *), tensor_order);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (str_eq(g->by_name[i - 1]->name, g->by_name[i]->name))
            return BAD(r, "tensor %s is there twice", show(g->by_name[i]->name).text);
    return 0;
}

static int alignment(struct reader *r, size_t *ret)
{
    uint64_t a = GGUF_ALIGNMENT;
    bool there = gguf_u64(r->g, "general.alignment", &a);
    /* Multiples of 8 by the specification: floats in the data are read in place. */
    if (there && (a < 8 || (a & (a - 1)) != 0 || a > GIB))
        return BAD(r, "general.alignment is %llu, not a power of two from 8 on",
                   (unsigned long long)a);
    *ret = a;
    return 0;
}

/* t->data from offsets relative to the data section, which begins at the next aligned byte. */
static int place_tensors(struct reader *r, const uint64_t *offsets)
{
    struct gguf *g = r->g;
    size_t align = 0;
    int e = alignment(r, &align);
    if (e != 0)
        return e;
    size_t start = (r->at + align - 1) & ~(align - 1);
    size_t room = start < g->bytes.n ? g->bytes.n - start : 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % align != 0)
            return BAD(r, "tensor %s begins at %llu, not at a multiple of %zu", show(t->name).text,
                       (unsigned long long)offsets[i], align);
        if (offsets[i] > room || t->bytes > room - offsets[i])
            return BAD(r, "tensor %s (%zu bytes at %llu of the data) lies outside the file",
                       show(t->name).text, t->bytes, (unsigned long long)offsets[i]);
        t->data = g->bytes.p + start + offsets[i];
    }
    return 0;
}

static int take_tensors(struct reader *r, uint64_t n)
{
    struct gguf *g = r->g;
    if (n > LIMIT_GGUF_TENSORS || n > left(r) / MIN_TENSOR)
        return BAD(r, "%llu tensors do not fit into the file or are over the limit of %d",
                   (unsigned long long)n, LIMIT_GGUF_TENSORS);
    g->tensors = calloc(n ? n : 1, sizeof(*g->tensors));
    CLEANUP(own_free) uint64_t *offsets = calloc(n ? n : 1, sizeof(*offsets));
    if (!g->tensors || !offsets)
        return -ENOMEM;
    g->n_tensors = n;
    for (size_t i = 0; i < n; i++) {
        int e = take_tensor(r, &g->tensors[i], &offsets[i]);
        if (e != 0)
            return e;
    }
    int e = index_tensors(r);
    return e != 0 ? e : place_tensors(r, offsets);
}

static int take_head(struct reader *r, uint64_t *ret_tensors, uint64_t *ret_keys)
{
    uint32_t magic = 0, version = 0;
    if (left(r) < 4)
        return BAD(r, "this is not a GGUF file (it has %zu bytes)", r->g->bytes.n);
    int e = take_u32(r, &magic);
    if (e != 0)
        return e;
    if (magic != GGUF_MAGIC)
        return BAD(r, "this is not a GGUF file (it begins with %08x)", magic);
    e = take_u32(r, &version);
    if (e != 0)
        return e;
    if (version != 2 && version != 3)
        return BAD(r, "GGUF version %u%s is not understood; 2 and 3 are", version,
                   (version & 0xffff) == 0 ? " (big-endian?)" : "");
    e = take_u64(r, ret_tensors);
    return e != 0 ? e : take_u64(r, ret_keys);
}

static int parse(struct gguf *g, struct fail *reterr)
{
    struct reader r = { .g = g, .reterr = reterr };
    uint64_t n_tensors = 0, n_keys = 0;
    int e = take_head(&r, &n_tensors, &n_keys);
    if (e == 0)
        e = take_keys(&r, n_keys);
    return e != 0 ? e : take_tensors(&r, n_tensors);
}

int gguf_parse(struct gguf **ret, const char *name, struct str bytes, struct fail *reterr)
{
    CLEANUP(gguf_closep) struct gguf *g = calloc(1, sizeof(*g));
    if (!g)
        return -ENOMEM;
    g->name = strdup(name);
    if (!g->name)
        return -ENOMEM;
    g->bytes = bytes;
    int e = parse(g, reterr);
    if (e == 0)
        *ret = TAKE(g);
    return e;
}

int gguf_open(struct gguf **ret, const char *path, struct fail *reterr)
{
    struct file_map map = { 0 };
    int e = file_map(&map, path);
    if (e < 0)
        return e;
    e = gguf_parse(ret, path, (struct str){ (const char *)map.p, map.n }, reterr);
    if (e == 0)
        (*ret)->map = map;
    else
        file_unmap(&map);
    return e;
}

struct gguf *gguf_close(struct gguf *g)
{
    if (!g)
        return NULL;
    for (size_t i = 0; i < g->n_keys; i++)
        if (g->keys[i].kind == GGUF_array)
            free((void *)g->keys[i].a.strings);
    free(g->keys);
    free(g->tensors);
    free(g->by_name);
    if (g->map.p)
        file_unmap(&g->map);
    free(g->name);
    free(g);
    return NULL;
}

struct str gguf_bytes(const struct gguf *g)
{
    return g->bytes;
}

const char *gguf_name(const struct gguf *g)
{
    return g->name;
}

static const struct key *find(const struct gguf *g, const char *name)
{
    struct key want = { .name = str_of(name) };
    return bsearch(&want, g->keys, g->n_keys, sizeof(*g->keys), key_order);
}

bool gguf_u64(const struct gguf *g, const char *key, uint64_t *ret)
{
    const struct key *k = find(g, key);
    if (!k || !kind_is_integer(k->kind) || (k->i < 0 && k->kind != GGUF_u64))
        return false;
    *ret = k->u;
    return true;
}

bool gguf_f32(const struct gguf *g, const char *key, float *ret)
{
    const struct key *k = find(g, key);
    if (!k)
        return false;
    if (k->kind == GGUF_f32 || k->kind == GGUF_f64)
        *ret = (float)k->f;
    else if (kind_is_integer(k->kind))
        *ret = k->kind == GGUF_u64 ? (float)k->u : (float)k->i;
    else
        return false;
    return true;
}

bool gguf_bool(const struct gguf *g, const char *key, bool *ret)
{
    const struct key *k = find(g, key);
    if (!k || k->kind != GGUF_bool)
        return false;
    *ret = k->b;
    return true;
}

bool gguf_str(const struct gguf *g, const char *key, struct str *ret)
{
    const struct key *k = find(g, key);
    if (!k || k->kind != GGUF_string)
        return false;
    *ret = k->s;
    return true;
}

bool gguf_array(const struct gguf *g, const char *key, struct gguf_array *ret)
{
    const struct key *k = find(g, key);
    if (!k || k->kind != GGUF_array)
        return false;
    *ret = k->a;
    return true;
}

float gguf_array_f32(const struct gguf_array *a, uint64_t i)
{
    return (float)load_double(a->kind, (const char *)a->data + i * kind_bytes(a->kind));
}

int64_t gguf_array_i64(const struct gguf_array *a, uint64_t i)
{
    return load_i64(a->kind, (const char *)a->data + i * kind_bytes(a->kind));
}

size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    struct gguf_tensor want = { .name = str_of(name) };
    const struct gguf_tensor *w = &want;
    const struct gguf_tensor **hit =
        bsearch(&w, g->by_name, g->n_tensors, sizeof(struct gguf_tensor *), tensor_order);
    return hit ? *hit : NULL;
}
