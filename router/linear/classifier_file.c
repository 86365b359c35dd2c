/*
 * Little-endian, nothing aligned:
 *
 *     head     (struct head)
 *     labels   head.label_bytes, each ended by a NUL
 *     bias     float a class
 *     scale    float a class: a weight is its byte times it
 *     which    bit a feature: it has a row of weights
 *     weights  int8 a class, a row for each feature that has one, in their order
 *
 * and nothing behind.
 */
#include "router/linear/classifier_file.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "router/linear/linear_impl.h"

enum {
    VERSION = 1,
    MAX_CLASSES = 4096,
    MAX_LABEL_BYTES = 1 << 20,
    WEIGHT_MAX = 127,
    WORD_BITS = 32,
    WORDS = FEATURE_BUCKETS / WORD_BITS
};

struct head {
    char magic[8];
    uint32_t version, feature_bits, fingerprint, classes, rows, label_bytes;
    float temperature;
    uint32_t zero;
};
static const float MOST = 1e6f; /* of a bias, a scale, a temperature and what divides by it */
static const char MAGIC[8] = { 'r', 's', 'l', 'i', 'n', 'e', 'a', 'r' };

struct classifier_file {
    uint32_t classes, rows;
    float temperature;
    float *bias, *scale;   /* owned, one block; a class */
    struct str *labels;    /* owned list of borrowed names */
    uint32_t *rows_before; /* owned; by word of `which` */
    const unsigned char *which;
    const int8_t *weights;
};

static size_t file_bytes(const struct head *h) /* bounded by the ranges of the head */
{
    return sizeof(*h) + h->label_bytes + 2 * sizeof(float) * h->classes +
           FEATURE_BUCKETS / CHAR_BIT + (size_t)h->classes * h->rows;
}

/* ---- writing ---- */

struct strength {
    uint32_t id;
    float square; /* of the row's length */
};

static int by_strength(const void *a, const void *b)
{
    const struct strength *x = a, *y = b;
    if (x->square < y->square || x->square > y->square)
        return x->square > y->square ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int by_id(const void *a, const void *b)
{
    const struct strength *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static const float *row_at(const struct linear *l, uint32_t id)
{
    return l->rows + (size_t)(l->row_of[id] - 1) * l->classes;
}

/* The `most` strongest rows, by id; *ret_n of them. What all classes share tells nothing. NULL: no
 * memory. */
static struct strength *strongest(const struct linear *l, size_t most, uint32_t *ret_n)
{
    struct strength *s = calloc((size_t)l->n_rows + 1, sizeof(*s));
    uint32_t n = 0;
    for (uint32_t id = 0; s && id < FEATURE_BUCKETS; id++) {
        if (!l->row_of[id])
            continue;
        const float *w = row_at(l, id);
        float mean = 0;
        for (uint32_t c = 0; c < l->classes; c++)
            mean += w[c] / (float)l->classes;
        s[n].id = id;
        s[n].square = 0;
        for (uint32_t c = 0; c < l->classes; c++)
            s[n].square += (w[c] - mean) * (w[c] - mean);
        n += s[n].square > 0;
    }
    if (!s)
        return NULL;
    qsort(s, n, sizeof(*s), by_strength);
    n = n < most ? n : (uint32_t)most;
    qsort(s, n, sizeof(*s), by_id);
    *ret_n = n;
    return s;
}

static int8_t in_steps(float weight, float scale)
{
    return (int8_t)(scale > 0 ? lrintf(weight / scale) : 0);
}

/* Leaves out the rows of which rounding leaves nothing; how many stay. */
static uint32_t drop_zeros(const struct linear *l, struct strength *s, uint32_t n,
                           const float *scale)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool any = false;
        for (uint32_t c = 0; c < l->classes; c++)
            any |= in_steps(row_at(l, s[i].id)[c], scale[c]) != 0;
        s[kept] = s[i];
        kept += any;
    }
    return kept;
}

static void add_floats(struct buf *out, const float *v, size_t n)
{
    buf_add(out, (struct str){ (const char *)v, n * sizeof(*v) });
}

static void add_weights(struct buf *out, const struct linear *l, const struct strength *s,
                        uint32_t n, const float *scale)
{
    for (uint32_t byte = 0, i = 0; byte < FEATURE_BUCKETS / CHAR_BIT; byte++) {
        unsigned bits = 0;
        for (; i < n && s[i].id / CHAR_BIT == byte; i++)
            bits |= 1u << s[i].id % CHAR_BIT;
        buf_addc(out, (char)(unsigned char)bits);
    }
    for (uint32_t i = 0; i < n; i++) {
        const float *w = row_at(l, s[i].id);
        for (uint32_t c = 0; c < l->classes; c++)
            buf_addc(out, (char)in_steps(w[c], scale[c]));
    }
}

int classifier_file_write(const struct classifier *c, size_t max_bytes, struct buf *out)
{
    const struct linear *l = c->linear;
    struct head h = { .version = VERSION,
                      .feature_bits = FEATURE_BITS,
                      .classes = c->n,
                      .temperature = c->temperature };
    int e = c->rarity ? -EINVAL : features_fingerprint(&h.fingerprint);
    if (e < 0)
        return e;
    memcpy(h.magic, MAGIC, sizeof(h.magic));
    for (uint32_t i = 0; i < c->n; i++)
        h.label_bytes += (uint32_t)c->labels[i].n + 1;
    if (file_bytes(&h) > max_bytes)
        return -E2BIG;
    CLEANUP(own_free) float *scale = calloc((size_t)c->n + 1, sizeof(*scale));
    CLEANUP(own_free)
    struct strength *s = strongest(l, (max_bytes - file_bytes(&h)) / c->n, &h.rows);
    if (!scale || !s)
        return -ENOMEM;
    for (uint32_t i = 0; i < h.rows; i++)
        for (uint32_t k = 0; k < c->n; k++)
            scale[k] = fmaxf(scale[k], fabsf(row_at(l, s[i].id)[k]) / WEIGHT_MAX);
    h.rows = drop_zeros(l, s, h.rows, scale);
    buf_add(out, (struct str){ (const char *)&h, sizeof(h) });
    for (uint32_t i = 0; i < c->n; i++) {
        buf_add(out, c->labels[i]);
        buf_addc(out, '\0');
    }
    add_floats(out, l->bias, c->n);
    add_floats(out, scale, c->n);
    add_weights(out, l, s, h.rows, scale);
    return buf_err(out);
}

/* ---- reading ---- */

static int bad(struct fail *reterr, const char *name, const char *what)
{
    return fail_set(reterr, FAIL_invalid_request,
                    "%s is not a classifier that this version reads: %s", name, what);
}

static int check_head(const struct head *h, const char *name, size_t n, struct fail *reterr)
{
    uint32_t fingerprint;
    int e = features_fingerprint(&fingerprint);
    if (e < 0)
        return e;
    if (memcmp(h->magic, MAGIC, sizeof(MAGIC)) != 0)
        return bad(reterr, name, "it does not begin with \"rslinear\"");
    if (h->version != VERSION || h->feature_bits != FEATURE_BITS || h->zero)
        return bad(reterr, name, "it is of another version");
    if (h->classes < 2 || h->classes > MAX_CLASSES || h->rows > FEATURE_BUCKETS ||
        h->label_bytes > MAX_LABEL_BYTES)
        return bad(reterr, name, "its counts of classes, features or names are out of range");
    if (!(h->temperature >= 1 / MOST && h->temperature <= MOST))
        return bad(reterr, name, "its temperature is no such number");
    if (file_bytes(h) != n)
        return bad(reterr, name, "its length does not follow from its head");
    if (h->fingerprint != fingerprint)
        return bad(reterr, name, "it was trained with other features; train it again");
    return 0;
}

static int read_labels(struct classifier_file *c, struct str text, const char *name,
                       struct fail *reterr)
{
    for (uint32_t i = 0; i < c->classes; i++)
        if (!str_cut(text, '\0', &c->labels[i], &text) || !c->labels[i].n ||
            !str_utf8_valid(c->labels[i]))
            return bad(reterr, name, "the names of its classes are damaged");
    return text.n ? bad(reterr, name, "it has more names than classes") : 0;
}

static uint32_t word_at(const struct classifier_file *c, uint32_t i)
{
    uint32_t word;
    memcpy(&word, c->which + (size_t)i * sizeof(word), sizeof(word));
    return word;
}

/* Biases, scales, which features and their weights, at `p`. */
static int read_weights(struct classifier_file *c, const char *p, const char *name,
                        struct fail *reterr)
{
    size_t floats = c->classes * sizeof(float);
    memcpy(c->bias, p, 2 * floats);
    for (uint32_t k = 0; k < c->classes; k++)
        if (!(fabsf(c->bias[k]) <= MOST && c->scale[k] >= 0 && c->scale[k] <= MOST))
            return bad(reterr, name, "a bias or a scale is no such number");
    c->which = (const unsigned char *)p + 2 * floats;
    c->weights = (const int8_t *)c->which + FEATURE_BUCKETS / CHAR_BIT;
    uint32_t rows = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        c->rows_before[i] = rows;
        rows += (uint32_t)__builtin_popcount(word_at(c, i));
    }
    return rows == c->rows ? 0 : bad(reterr, name, "it has not as many features as it says");
}

int classifier_file_open(struct classifier_file **ret, const char *name, struct str bytes,
                         struct fail *reterr)
{
    struct head h;
    if (bytes.n < sizeof(h))
        return bad(reterr, name, "it is too short");
    memcpy(&h, bytes.p, sizeof(h));
    int r = check_head(&h, name, bytes.n, reterr);
    if (r)
        return r;
    CLEANUP(classifier_file_closep) struct classifier_file *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->classes = h.classes;
    c->rows = h.rows;
    c->temperature = h.temperature;
    c->bias = calloc((size_t)h.classes * 2, sizeof(*c->bias));
    c->labels = calloc(h.classes, sizeof(*c->labels));
    c->rows_before = calloc(WORDS, sizeof(*c->rows_before));
    if (!c->bias || !c->labels || !c->rows_before)
        return -ENOMEM;
    c->scale = c->bias + h.classes;
    struct str labels = str_head(str_sub(bytes, sizeof(h)), h.label_bytes);
    r = read_labels(c, labels, name, reterr);
    if (r == 0)
        r = read_weights(c, labels.p + labels.n, name, reterr);
    if (r == 0)
        *ret = TAKE(c);
    return r;
}

struct classifier_file *classifier_file_close(struct classifier_file *c)
{
    if (!c)
        return NULL;
    free(c->bias);
    free(c->labels);
    free(c->rows_before);
    free(c);
    return NULL;
}

uint32_t classifier_file_classes(const struct classifier_file *c)
{
    return c->classes;
}

struct str classifier_file_label(const struct classifier_file *c, uint32_t i)
{
    return c->labels[i];
}

uint32_t classifier_file_rows(const struct classifier_file *c)
{
    return c->rows;
}

int classifier_file_find(const struct classifier_file *c, struct str label)
{
    for (uint32_t i = 0; i < c->classes; i++)
        if (str_eq(c->labels[i], label))
            return (int)i;
    return -1;
}

/* ---- scoring ---- */

enum { AHEAD = 128 }; /* features found before their rows are added: memory answers meanwhile */

/* Where the row of a feature begins, or -1. */
static inline ptrdiff_t find_row(const struct classifier_file *c, uint32_t id)
{
    uint32_t word = word_at(c, id / WORD_BITS), bit = UINT32_C(1) << id % WORD_BITS;
    if (!(word & bit))
        return -1;
    uint32_t row = c->rows_before[id / WORD_BITS] + (uint32_t)__builtin_popcount(word & (bit - 1));
    return (ptrdiff_t)row * c->classes;
}

/* The rows of some features, on their way from memory. */
struct batch {
    const int8_t *row[AHEAD];
    float value[AHEAD]; /* AHEAD is a multiple of whatever rows are added by */
    uint32_t n;
};

static inline void fetch(struct batch *b, const struct classifier_file *c, const struct features *x,
                         uint32_t from)
{
    const struct classifier_file of = *c; /* in registers: what is stored below is none of it */
    const uint32_t *id = x->id + from;
    const float *value = x->value + from;
    uint32_t n = x->n - from < AHEAD ? x->n - from : AHEAD, found = 0;
    for (uint32_t i = 0; i < n; i++) {
        ptrdiff_t at = find_row(&of, id[i]);
        const int8_t *row = of.weights + (at < 0 ? 0 : at);
        b->row[found] = row;
        b->value[found] = value[i];
        __builtin_prefetch(row);
        found += at >= 0;
    }
    b->n = found;
}

static inline void add_rows(const struct classifier_file *c, const struct features *x,
                            float *restrict sum)
{
    struct batch b;
    for (uint32_t i = 0; i < x->n; i += AHEAD) {
        fetch(&b, c, x, i);
        for (uint32_t j = 0; j < b.n; j++)
            for (uint32_t k = 0; k < c->classes; k++)
                sum[k] += b.value[j] * (float)b.row[j][k];
    }
}

#if defined(__x86_64__)
enum { LANES = 8 };

/* The compiler does not widen bytes side by side on its own. */
__attribute__((target("avx2"))) static inline __m256 weigh(const int8_t *row, float by, __m256 sum)
{
    __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)row));
    return _mm256_add_ps(sum, _mm256_mul_ps(_mm256_set1_ps(by), _mm256_cvtepi32_ps(wide)));
}

/* A row so wide as is read. What is beyond it are sums nobody asked for; the last rows are copied,
 * since nothing is beyond them. */
static inline const int8_t *whole(const struct classifier_file *c, const int8_t *row,
                                  int8_t last[2 * LANES])
{
    const int8_t *end = c->weights + (size_t)c->rows * c->classes;
    if (end - row >= (ptrdiff_t)2 * LANES)
        return row;
    memcpy(last, row, c->classes);
    return last;
}

/* Up to 2 × LANES classes. SUMS sums a class do not wait for each other. */
__attribute__((target("avx2,bmi,bmi2,popcnt"))) static void
add_wide_rows(const struct classifier_file *c, const struct features *x, float *restrict ret)
{
    enum { SUMS = 4 };
    bool two = c->classes > LANES;
    __m256 low[SUMS], high[SUMS];
    struct batch b;
    for (int k = 0; k < SUMS; k++)
        low[k] = high[k] = _mm256_setzero_ps();
    for (uint32_t i = 0; i < x->n; i += AHEAD) {
        fetch(&b, c, x, i);
        for (; b.n % SUMS; b.n++) {
            b.row[b.n] = b.row[0];
            b.value[b.n] = 0;
        }
        for (uint32_t j = 0; j < b.n; j += SUMS)
            for (uint32_t k = 0; k < SUMS; k++) {
                int8_t last[2 * LANES] = { 0 };
                const int8_t *row = whole(c, b.row[j + k], last);
                low[k] = weigh(row, b.value[j + k], low[k]);
                if (two)
                    high[k] = weigh(row + LANES, b.value[j + k], high[k]);
            }
    }
    float sum[2 * LANES];
    _mm256_storeu_ps(sum,
                     _mm256_add_ps(_mm256_add_ps(low[0], low[1]), _mm256_add_ps(low[2], low[3])));
    _mm256_storeu_ps(sum + LANES, _mm256_add_ps(_mm256_add_ps(high[0], high[1]),
                                                _mm256_add_ps(high[2], high[3])));
    memcpy(ret, sum, c->classes * sizeof(*ret));
}

/* Sixteen features at once, and a row of up to 2 × LANES classes at once. */
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq,popcnt"))) static void
add_rows_512(const struct classifier_file *c, const struct features *x, float *restrict ret)
{
    enum { AT_ONCE = 16, SUMS = 4 };
    const __mmask16 classes = (__mmask16)((1u << c->classes) - 1);
    const __m512i ones = _mm512_set1_epi32(1), low = _mm512_set1_epi32(WORD_BITS - 1),
                  width = _mm512_set1_epi32((int)c->classes);
    uint32_t at[AHEAD + AT_ONCE];
    float value[AHEAD + AT_ONCE];
    __m512 sum[SUMS];
    for (int k = 0; k < SUMS; k++)
        sum[k] = _mm512_setzero_ps();
    for (uint32_t i = 0; i < x->n;) {
        uint32_t found = 0;
        for (; i < x->n && found < AHEAD; i += AT_ONCE) {
            uint32_t left = x->n - i;
            __mmask16 some = (__mmask16)(left < AT_ONCE ? (1u << left) - 1 : 0xffffu);
            __m512i id = _mm512_maskz_loadu_epi32(some, x->id + i);
            __m512i place = _mm512_srli_epi32(id, 5);
            __m512i bit = _mm512_sllv_epi32(ones, _mm512_and_si512(id, low));
            __m512i word = _mm512_i32gather_epi32(place, (const int *)(const void *)c->which, 4);
            __m512i before = _mm512_i32gather_epi32(place, (const int *)c->rows_before, 4);
            __mmask16 has = _mm512_mask_test_epi32_mask(some, word, bit);
            __m512i row = _mm512_add_epi32(
                before, _mm512_popcnt_epi32(_mm512_and_si512(word, _mm512_sub_epi32(bit, ones))));
            _mm512_mask_compressstoreu_epi32(at + found, has, _mm512_mullo_epi32(row, width));
            _mm512_mask_compressstoreu_ps(value + found, has,
                                          _mm512_maskz_loadu_ps(some, x->value + i));
            uint32_t more = (uint32_t)__builtin_popcount(has);
            for (uint32_t k = found; k < found + more; k++)
                __builtin_prefetch(c->weights + at[k]);
            found += more;
        }
        for (; found % SUMS; found++) {
            at[found] = 0;
            value[found] = 0;
        }
        for (uint32_t j = 0; j < found; j += SUMS)
            for (uint32_t k = 0; k < SUMS; k++) {
                __m128i row = _mm_maskz_loadu_epi8(classes, c->weights + at[j + k]);
                sum[k] = _mm512_fmadd_ps(_mm512_set1_ps(value[j + k]),
                                         _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(row)), sum[k]);
            }
    }
    _mm512_mask_storeu_ps(
        ret, classes, _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}
#endif

void classifier_file_scores(const struct classifier_file *c, const struct features *x,
                            float *ret_scores)
{
    memset(ret_scores, 0, c->classes * sizeof(*ret_scores));
#if defined(__x86_64__)
    if (c->classes <= 2 * LANES && c->rows && __builtin_cpu_supports("avx512vpopcntdq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        add_rows_512(c, x, ret_scores);
    else if (c->classes <= 2 * LANES && __builtin_cpu_supports("avx2") &&
             __builtin_cpu_supports("bmi2"))
        add_wide_rows(c, x, ret_scores);
    else
#endif
        add_rows(c, x, ret_scores);
    for (uint32_t k = 0; k < c->classes; k++)
        ret_scores[k] = (c->bias[k] + c->scale[k] * ret_scores[k]) / c->temperature;
}

void classifier_file_read(const struct classifier_file *c, const struct features *x, float *ret)
{
    classifier_file_scores(c, x, ret);
    linear_softmax(ret, c->classes, /* temperature= */ 1);
}
