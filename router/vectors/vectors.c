#include "router/vectors/vectors.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "router/signals/unicode.h"
#include "router/vectors/memory.h"
#include "router/vectors/space.h"

int vector_space_lexical(struct vector_space **ret)
{
    struct vector_space *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->words = words_shipped();
    *ret = s;
    return 0;
}

int vector_space_encoder(struct vector_space **ret, struct engine *encoder)
{
    CLEANUP(vector_space_freep) struct vector_space *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->encoder = encoder;
    int e = memory_new(&s->memory);
    if (e < 0)
        return e;
    *ret = TAKE(s);
    return 0;
}

struct vector_space *vector_space_free(struct vector_space *s)
{
    if (s)
        (void)memory_free(s->memory);
    free(s);
    return NULL;
}

bool vector_space_blocks(const struct vector_space *s)
{
    return s->encoder != NULL;
}

EACH_CPU void vector_round(const float *from, size_t n, int16_t *ret)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += from[i] * from[i];
    float by = sum > 0 ? VECTOR_ONE / sqrtf(sum) : 0;
    for (size_t i = 0; i < n; i++)
        ret[i] = (int16_t)(from[i] * by + (from[i] < 0 ? -0.5F : 0.5F));
}

/* ---- texts ---- */

/* Where the character `n` begins. */
static size_t offset_of(struct str text, size_t n)
{
    size_t at = 0;
    for (; at < text.n; at++) {
        bool begins = ((unsigned char)text.p[at] & 0xc0) != 0x80;
        if (begins && n-- == 0)
            break;
    }
    return at;
}

static size_t characters(struct str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return n;
}

/* All of a text of valid UTF-8, or three thirds of `most` characters. */
static struct str bound_text(struct str text, size_t most, struct arena *arena)
{
    size_t n = text.n > most ? characters(text) : 0;
    if (n <= most)
        return text;
    size_t third = most / 3;
    size_t head = offset_of(text, third), tail = offset_of(text, n - third);
    size_t from = offset_of(text, n / 2 - third / 2), to = offset_of(text, n / 2 + third / 2);
    return str_of(arena_printf(arena, "%.*s … %.*s … %.*s", (int)head, text.p, (int)(to - from),
                               text.p + from, (int)(text.n - tail), text.p + tail));
}

static struct str readable(struct str text, size_t most, struct arena *arena)
{
    struct str valid = unicode_valid_text(text, arena);
    return valid.p ? bound_text(valid, most, arena) : valid;
}

/* Zeros, to be filled; NULL: no memory. */
static struct text_vector *vector_new(size_t n, struct arena *arena)
{
    struct text_vector *v = arena_alloc(arena, sizeof(*v) + n * sizeof(*v->v));
    if (v)
        v->n = (uint32_t)n;
    return v;
}

static int lexical_all(const struct vector_space *s, const struct str *texts, size_t n,
                       struct arena *arena, const struct text_vector **ret)
{
    for (size_t i = 0; i < n; i++) {
        struct str text = readable(texts[i], VECTOR_CODE_POINTS, arena);
        struct text_vector *v = vector_new(LEXICAL_WIDTH, arena);
        if (!text.p || !v || lexical_vector(s, text, arena, v) < 0)
            return -ENOMEM;
        ret[i] = v;
    }
    return 0;
}

/* ---- with an encoder ---- */

/* The texts that hold anything, as inputs. -ENOMEM. */
static int read_inputs(const struct str *texts, size_t n, size_t most, struct arena *arena,
                       struct embed_input *ret, size_t *ret_n)
{
    *ret_n = 0;
    for (size_t i = 0; i < n; i++) {
        struct str text = readable(texts[i], most, arena);
        if (!text.p)
            return -ENOMEM;
        if (str_trim(text).n)
            ret[(*ret_n)++].text = text;
    }
    return 0;
}

/* A text whose characters are more tokens than the encoder reads at once is cut shorter. */
static int encode_all(const struct vector_space *s, const struct str *texts, size_t n,
                      struct arena *arena, struct embed_result *ret, struct fail *reterr)
{
    enum { LEAST_CODE_POINTS = 64 };
    struct embed_input *inputs = arena_array(arena, n, sizeof(*inputs));
    if (!inputs)
        return -ENOMEM;
    int e = 0;
    for (size_t most = VECTOR_CODE_POINTS; most >= LEAST_CODE_POINTS; most /= 2) {
        size_t filled;
        e = read_inputs(texts, n, most, arena, inputs, &filled);
        if (e < 0 || filled == 0)
            return e;
        e = engine_embed(s->encoder, inputs, filled, ret, reterr);
        if (e != FAILED || reterr->code != FAIL_context_length_exceeded)
            break;
    }
    return e;
}

static int keep_rows(const struct embed_result *r, const struct str *texts, size_t n,
                     struct arena *arena, const struct text_vector **ret)
{
    const float *row = r->values;
    for (size_t i = 0; i < n; i++) {
        bool blank = str_trim(texts[i]).n == 0;
        struct text_vector *v = vector_new(blank ? 0 : r->width, arena);
        if (!v)
            return -ENOMEM;
        if (!blank) {
            vector_round(row, r->width, v->v);
            row += r->width;
        }
        ret[i] = v;
    }
    return 0;
}

int vectors_of(const struct vector_space *s, const struct str *texts, size_t n, struct arena *arena,
               const struct text_vector **ret, struct fail *reterr)
{
    if (n == 0)
        return 0;
    if (!s->encoder)
        return lexical_all(s, texts, n, arena, ret);
    CLEANUP(embed_result_done) struct embed_result r = { 0 };
    int e = encode_all(s, texts, n, arena, &r, reterr);
    return e == 0 ? keep_rows(&r, texts, n, arena, ret) : e;
}

size_t vector_width(const struct text_vector *v)
{
    return v->n;
}

void vector_values(const struct text_vector *v, float *ret)
{
    for (uint32_t i = 0; i < v->n; i++)
        ret[i] = (float)v->v[i] / VECTOR_ONE;
}

int vectors_keep(const struct vector_space *s, const struct str *texts, size_t n,
                 struct arena *arena, const struct text_vector **ret, struct fail *reterr)
{
    if (!s->encoder || n == 0)
        return vectors_of(s, texts, n, arena, ret, reterr);
    struct sha256 *digests = arena_array(arena, n, sizeof(*digests));
    struct str *missing = arena_array(arena, n, sizeof(*missing));
    size_t *places = arena_array(arena, n, sizeof(*places)), n_missing = 0;
    const struct text_vector **made = arena_array(arena, n, sizeof(*made));
    if (!digests || !missing || !places || !made)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        digests[i] = sha256_of(texts[i]);
        ret[i] = memory_find(s->memory, &digests[i]);
        if (ret[i])
            continue;
        places[n_missing] = i;
        missing[n_missing++] = texts[i];
    }
    int e = vectors_of(s, missing, n_missing, arena, made, reterr);
    for (size_t i = 0; i < n_missing && e == 0; i++) {
        ret[places[i]] = memory_keep(s->memory, &digests[places[i]], made[i]);
        if (!ret[places[i]])
            e = -ENOMEM;
    }
    return e;
}

/* The lexical ones of one width: a text without words has another. */
EACH_CPU static void similarities_of_equals(const struct vector_space *s,
                                            const struct text_vector *a,
                                            const struct text_vector *const *others, size_t n,
                                            double *ret)
{
    if (!s->encoder)
        lexical_similarities(a, others, n, ret);
    for (size_t i = 0; i < n; i++) {
        double d = s->encoder ? vector_cosine(a->v, others[i]->v, a->n) : ret[i];
        ret[i] = d > 1 ? 1 : d < -1 ? -1 : d;
    }
}

void vector_similarities(const struct vector_space *s, const struct text_vector *a,
                         const struct text_vector *const *others, size_t n, double *ret)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && others[end]->n == a->n;)
            end++;
        similarities_of_equals(s, a, others + i, end - i, ret + i);
        if (end < n)
            ret[end++] = 0;
    }
}

double vector_similarity(const struct vector_space *s, const struct text_vector *a,
                         const struct text_vector *b)
{
    double d;
    vector_similarities(s, a, &b, 1, &d);
    return d;
}
