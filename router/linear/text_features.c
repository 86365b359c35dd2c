#include "router/linear/text_features.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "router/signals/unicode.h"

enum {
    RUN_MIN = 2, /* characters of a run inside a word, its edges being one each */
    RUN_MAX = 5,
    SPACE = ' ',
};

/* A block under construction: its features, each once, in the order they were met. */
struct block {
    uint32_t *id, n;
};

/*
 * How often each feature was met in the block under construction; zeros between blocks. One a
 * thread: clearing what was touched is far cheaper than a table of its own for each text.
 */
static _Thread_local uint8_t counts[FEATURE_BUCKETS];

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

static inline void block_add(struct block *b, uint32_t id, uint32_t times)
{
    uint32_t before = counts[id], sum = before + times;
    b->id[b->n] = id; /* without a branch: whether a feature is new cannot be foretold */
    b->n += before == 0;
    counts[id] = (uint8_t)(sum < UINT8_MAX ? sum : UINT8_MAX);
}

/* For at most `most` features, one of which may come once more. */
static int block_init(struct block *b, uint32_t most, struct arena *arena)
{
    *b = (struct block){ .id = arena_array(arena, (size_t)most + 1, sizeof(*b->id)) };
    return b->id ? 0 : -ENOMEM;
}

/* 1 + ln(count) of the common ones. */
enum { LOGS = 4 };
static const float logs[LOGS + 1] = { 0, 1, 1.6931472F, 2.0986123F, 2.3862944F };

static void block_value(const struct block *b, float *ret)
{
    for (uint32_t i = 0; i < b->n; i++) {
        uint32_t times = counts[b->id[i]];
        counts[b->id[i]] = 0;
        ret[i] = times <= LOGS ? logs[times] : 1 + logf((float)times);
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
        bool ascii = text.p[pos] >= 0;
        int c = ascii ? text.p[pos++] : str_utf8_next(text, &pos);
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

/* Whether a character goes on with the word before it. */
static inline bool joins(int c)
{
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
               (c >= 'A' && c <= 'Z');
    return unicode_word(c) && !unicode_dense(c);
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
        bool runs = joins(cp[i]);
        for (i++; runs && i < n && joins(cp[i]); i++)
            h = mix(h, (uint32_t)cp[i]);
        block_add(b, bucket(h), 1);
        if (before)
            block_add(b, bucket(mix(mix(SEED_PAIR, before), h)), 1);
        before = h;
    }
}

/* What stands between two spaces, and how often it does. */
struct chunk {
    uint32_t begin, n, times;
};

/* The different chunks of a text: words come back, and their runs with them. */
struct chunks {
    struct chunk *items;
    uint16_t *slot; /* place among the items, from 1; 0: free */
    uint32_t mask, n;
};

static void chunks_add(struct chunks *c, const int *cp, uint32_t begin, uint32_t n, uint32_t hash)
{
    uint32_t at = hash & c->mask;
    for (uint32_t i; (i = c->slot[at]); at = (at + 1) & c->mask) {
        struct chunk *it = &c->items[i - 1];
        if (it->n == n && memcmp(cp + it->begin, cp + begin, n * sizeof(*cp)) == 0) {
            it->times++;
            return;
        }
    }
    c->items[c->n] = (struct chunk){ begin, n, 1 };
    c->slot[at] = (uint16_t)++c->n;
}

static int cut_chunks(struct chunks *ret, const int *cp, uint32_t n, struct arena *arena)
{
    uint32_t most = n / 2 + 1, size = 16;
    while (size < 2 * most)
        size *= 2;
    *ret = (struct chunks){ .items = arena_array(arena, most, sizeof(*ret->items)),
                            .slot = arena_array(arena, size, sizeof(*ret->slot)),
                            .mask = size - 1 };
    if (!ret->items || !ret->slot)
        return -ENOMEM;
    for (uint32_t begin = 0, end; begin < n; begin = end + 1) {
        uint32_t hash = 0;
        for (end = begin; end < n && cp[end] != SPACE; end++)
            hash = (hash ^ (uint32_t)cp[end]) * 0x9e3779b1u;
        if (end > begin)
            chunks_add(ret, cp, begin, end - begin, hash ^ hash >> 15);
    }
    return 0;
}

/* All chunks in a row, each between its edges, so that the runs of many are hashed side by side. */
struct line {
    uint32_t *cp;
    uint8_t *left;   /* characters from here to the end of the chunk, RUN_MAX at most */
    uint32_t *times; /* of the chunk */
    uint32_t n;
};

enum { TILE = 64, KINDS = RUN_MAX - RUN_MIN + 1 };

static int line_up(struct line *ret, const struct chunks *c, const int *cp, struct arena *arena)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++)
        n += c->items[i].n + 2;
    *ret = (struct line){ .cp = arena_array(arena, (size_t)n + TILE + RUN_MAX, sizeof(*ret->cp)),
                          .left = arena_array(arena, (size_t)n + 1, sizeof(*ret->left)),
                          .times = arena_array(arena, (size_t)n + 1, sizeof(*ret->times)) };
    if (!ret->cp || !ret->left || !ret->times)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct chunk *it = &c->items[i];
        uint32_t length = it->n + 2, begin = ret->n;
        for (uint32_t k = 0; k < length; k++) {
            bool edge = k == 0 || k == length - 1;
            uint32_t left = length - k;
            ret->cp[begin + k] = edge ? SPACE : (uint32_t)cp[it->begin + k - 1];
            ret->left[begin + k] = (uint8_t)(left < RUN_MAX ? left : RUN_MAX);
            ret->times[begin + k] = it->times;
        }
        ret->n += length;
    }
    return 0;
}

/* The buckets of the runs of each length that begin at each of TILE characters. */
EACH_CPU static void hash_tile(const uint32_t *cp, uint32_t id[KINDS][TILE])
{
    enum { SEED_RUN = 0x9e3779u };
    uint32_t h[TILE];
    for (uint32_t i = 0; i < TILE; i++)
        h[i] = SEED_RUN;
    for (uint32_t k = 0; k < RUN_MAX; k++) {
        for (uint32_t i = 0; i < TILE; i++)
            h[i] = mix(h[i], cp[i + k]);
        for (uint32_t i = 0; k + 1 >= RUN_MIN && i < TILE; i++)
            id[k + 1 - RUN_MIN][i] = bucket(mix(h[i], k));
    }
}

/* Runs of RUN_MIN to RUN_MAX characters of each word between spaces, the edges included. */
static void add_runs(struct block *b, const struct line *l)
{
    uint32_t id[KINDS][TILE];
    for (uint32_t begin = 0; begin < l->n; begin += TILE) {
        uint32_t n = l->n - begin < TILE ? l->n - begin : TILE;
        hash_tile(l->cp + begin, id);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t k = RUN_MIN; k <= l->left[begin + i]; k++)
                block_add(b, id[k - RUN_MIN][i], l->times[begin + i]);
    }
}

int features_of(struct features *ret, struct str folded, struct arena *arena)
{
    int *cp;
    uint32_t n;
    struct block b; /* of both, one behind the other */
    struct chunks chunks;
    struct line line;
    if (read_text(folded, &cp, &n, arena) < 0 || cut_chunks(&chunks, cp, n, arena) < 0 ||
        line_up(&line, &chunks, cp, arena) < 0)
        return -ENOMEM;
    uint32_t most = 2 * n + KINDS * line.n;
    float *value = arena_array(arena, (size_t)most + 1, sizeof(*value));
    if (!value || block_init(&b, most, arena) < 0)
        return -ENOMEM;
    add_words(&b, cp, n);
    block_value(&b, value);
    struct block runs = { .id = b.id + b.n };
    add_runs(&runs, &line);
    block_value(&runs, value + b.n);
    *ret = (struct features){ b.n + runs.n, b.n, b.id, value };
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
    enum { LANES = 4 }; /* sums that do not wait for each other */
    double sums[LANES] = { 0 };
    for (uint32_t i = 0; i < n; i++)
        sums[i % LANES] += (double)v[i] * (double)v[i];
    double sum = sums[0] + sums[1] + sums[2] + sums[3];
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
