#include "router/linear/text_features.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "router/signals/unicode.h"

enum {
    RUN_MIN = 2, /* characters of a run inside a word, its edges being one each */
    RUN_MAX = 5,
    SPACE = ' ',
};

/* A block under construction: an open table of hashes and counts. */
struct block {
    uint32_t *id; /* +1; 0: free */
    uint32_t *count;
    uint32_t mask, n;
};

static uint32_t mix(uint32_t h, uint32_t c) /* the step of MurmurHash3 */
{
    c *= 0xcc9e2d51u;
    c = (c << 15 | c >> 17) * 0x1b873593u;
    h ^= c;
    return (h << 13 | h >> 19) * 5 + 0xe6546b64u;
}

static uint32_t bucket(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return (h ^ h >> 16) >> (32 - FEATURE_BITS);
}

static void block_add(struct block *b, uint32_t hash)
{
    uint32_t id = bucket(hash) + 1, at = id & b->mask;
    while (b->id[at] && b->id[at] != id)
        at = (at + 1) & b->mask;
    b->n += !b->id[at];
    b->id[at] = id;
    b->count[at]++;
}

static int block_init(struct block *b, size_t most, struct arena *arena)
{
    uint32_t size = 16;
    while (size < most * 2)
        size *= 2;
    *b = (struct block){ .id = arena_array(arena, size, sizeof(*b->id)),
                         .count = arena_array(arena, size, sizeof(*b->count)),
                         .mask = size - 1 };
    return b->id && b->count ? 0 : -ENOMEM;
}

static void block_take(const struct block *b, struct features *f)
{
    for (uint32_t i = 0; i <= b->mask; i++)
        if (b->id[i]) {
            f->id[f->n] = b->id[i] - 1;
            f->value[f->n++] = 1 + logf((float)b->count[i]);
        }
}

/* The text as code points: all, or the thirds of a long one; white space is one SPACE. */
static int read_text(struct str text, int **ret, uint32_t *ret_n, struct arena *arena)
{
    size_t most = text.n + 2;
    int *cp = arena_array(arena, most, sizeof(*cp));
    if (!cp)
        return -ENOMEM;
    uint32_t n = 0;
    for (size_t pos = 0; pos < text.n;) {
        int c = str_utf8_next(text, &pos);
        bool space = c <= SPACE || c == 0xa0 || c == 0x3000;
        if (!space)
            cp[n++] = c;
        else if (n && cp[n - 1] != SPACE)
            cp[n++] = SPACE;
    }
    if (n > FEATURE_CODE_POINTS) {
        uint32_t third = FEATURE_CODE_POINTS / 3;
        memmove(cp + third, cp + n / 2 - third / 2, third * sizeof(*cp));
        memmove(cp + (size_t)2 * third, cp + n - third, third * sizeof(*cp));
        n = 3 * third;
    }
    *ret = cp;
    *ret_n = n;
    return 0;
}

/* Words are runs of letters and digits; any other character, and each of a script that glues words
 * together, is one by itself. */
static void add_words(struct block *b, const int *cp, uint32_t n)
{
    enum { SEED_WORD = 0x51ed27u, SEED_PAIR = 0x2545f4u };
    uint32_t before = 0;
    for (uint32_t i = 0; i < n;) {
        if (cp[i] == SPACE) {
            i++;
            continue;
        }
        uint32_t h = mix(SEED_WORD, (uint32_t)cp[i]);
        bool runs = unicode_word(cp[i]) && !unicode_dense(cp[i]);
        for (i++; runs && i < n && unicode_word(cp[i]) && !unicode_dense(cp[i]); i++)
            h = mix(h, (uint32_t)cp[i]);
        block_add(b, h);
        if (before)
            block_add(b, mix(mix(SEED_PAIR, before), h));
        before = h;
    }
}

/* Runs of RUN_MIN to RUN_MAX characters of each word between spaces, the edges included. */
static void add_runs(struct block *b, const int *cp, uint32_t n)
{
    enum { SEED_RUN = 0x9e3779u };
    for (uint32_t begin = 0, end; begin < n; begin = end + 1) {
        for (end = begin; end < n && cp[end] != SPACE;)
            end++;
        uint32_t length = end - begin + 2; /* with both edges */
        for (uint32_t i = 0; end > begin && i + RUN_MIN <= length; i++) {
            uint32_t h = SEED_RUN;
            for (uint32_t k = 0; k < RUN_MAX && i + k < length; k++) {
                uint32_t at = i + k;
                h = mix(h, at == 0 || at == length - 1 ? SPACE : (uint32_t)cp[begin + at - 1]);
                if (k + 1 >= RUN_MIN)
                    block_add(b, mix(h, k));
            }
        }
    }
}

int features_of(struct features *ret, struct str folded, struct arena *arena)
{
    int *cp;
    uint32_t n;
    struct block words, runs;
    if (read_text(folded, &cp, &n, arena) < 0 || block_init(&words, (size_t)2 * n, arena) < 0 ||
        block_init(&runs, (size_t)2 * (RUN_MAX - RUN_MIN + 1) * n, arena) < 0)
        return -ENOMEM;
    add_words(&words, cp, n);
    add_runs(&runs, cp, n);
    *ret = (struct features){ .id = arena_array(arena, words.n + runs.n, sizeof(*ret->id)),
                              .value = arena_array(arena, words.n + runs.n, sizeof(*ret->value)),
                              .n_words = words.n };
    if (!ret->id || !ret->value)
        return words.n + runs.n ? -ENOMEM : 0;
    block_take(&words, ret);
    block_take(&runs, ret);
    return 0;
}

int rarity_init(struct rarity *r)
{
    *r = (struct rarity){ .with = calloc(FEATURE_BUCKETS, sizeof(*r->with)) };
    return r->with ? 0 : -ENOMEM;
}

void rarity_done(struct rarity *r)
{
    free(r->with);
    *r = (struct rarity){ 0 };
}

void rarity_count(struct rarity *r, const struct features *f)
{
    r->texts++;
    for (uint32_t i = 0; i < f->n; i++)
        r->with[f->id[i]]++;
}

float rarity_of(const struct rarity *r, uint32_t id)
{
    return logf((1 + (float)r->texts) / (1 + (float)r->with[id])) + 1;
}

static void scale(float *v, uint32_t n, double length)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    float by = sum > 0 ? (float)(length / sqrt(sum)) : 0;
    for (uint32_t i = 0; i < n; i++)
        v[i] *= by;
}

void features_weigh(struct features *f, const float *weight)
{
    for (uint32_t i = 0; weight && i < f->n; i++)
        f->value[i] *= weight[f->id[i]];
    bool both = f->n_words && f->n_words < f->n;
    double length = both ? sqrt(0.5) : 1;
    scale(f->value, f->n_words, length);
    scale(f->value + f->n_words, f->n - f->n_words, length);
}
