#include "router/linear/text_features.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "router/signals/unicode.h"

enum {
    RUN_MIN = 2, /* characters of a run inside a word, its edges being one each */
    RUN_MAX = 4,
    SPACE = ' ',
};

/* A block under construction: its features, each once, in the order they were met. */
struct block {
    uint32_t *id, n;
    struct cell *cells; /* of the scratch */
};

/* What is known of a feature, side by side: both are asked for together, in no order. */
struct cell {
    uint8_t count;  /* how often it was met in the block under construction; 0 between blocks */
    uint8_t rarity; /* a byte of the background that was read with last */
};

enum {
    LINE_MAX_CHARS = 2 * FEATURE_CODE_POINTS + 2, /* a chunk of one character has two edges */
    TILE = 64,
    WIDE = 16, /* characters copied at once, so far behind the end of a text too */
    KINDS = RUN_MAX - RUN_MIN + 1,
    LINE_ROOM = LINE_MAX_CHARS + TILE, /* the last tile may hang over */
    CHUNKS_MAX = FEATURE_CODE_POINTS / 2 + 1,
    SLOTS_MAX = 4 * FEATURE_CODE_POINTS,
    FEATURES_MAX = 2 * FEATURE_CODE_POINTS + KINDS * LINE_MAX_CHARS,
    TEXT_SHORT = 4 * FEATURE_CODE_POINTS, /* bytes of a text whose characters fit the scratch */
};

/* What stands between two spaces, and how often it does. */
struct chunk {
    uint32_t begin, n, times;
};

/*
 * Where a text is read, one a thread: what a text touches of it stays in the nearest cache, where
 * memory of its own would be cleared first.
 */
static _Thread_local struct scratch {
    struct cell cells[FEATURE_BUCKETS];
    const unsigned char *rarity; /* where those of the cells are from; NULL: they are zeros */
    int text[TEXT_SHORT + WIDE];
    struct chunk chunks[CHUNKS_MAX];
    uint16_t slots[SLOTS_MAX];
    uint32_t line[LINE_ROOM + RUN_MAX];
    uint32_t runs[KINDS][LINE_ROOM];
    uint32_t ids[FEATURES_MAX + 1]; /* one may be written behind the last */
    float values[FEATURES_MAX];
    uint8_t rare[FEATURES_MAX];
    float logs[UINT8_MAX + 1]; /* 1 + ln(count) */
} scratch;

/* The step of MurmurHash3, in two halves: the first is of the character alone. */
static inline uint32_t scatter(uint32_t c)
{
    c *= 0xcc9e2d51u;
    return (c << 15 | c >> 17) * 0x1b873593u;
}

static inline uint32_t mix_scattered(uint32_t h, uint32_t scattered)
{
    h ^= scattered;
    return (h << 13 | h >> 19) * 5 + 0xe6546b64u;
}

static inline uint32_t mix(uint32_t h, uint32_t c)
{
    return mix_scattered(h, scatter(c));
}

static uint32_t bucket(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return (h ^ h >> 16) >> (32 - FEATURE_BITS);
}

static inline void block_add(struct block *b, uint32_t id, uint32_t times)
{
    struct cell *c = &b->cells[id];
    uint32_t before = c->count, sum = before + times;
    b->id[b->n] = id; /* without a branch: whether a feature is new cannot be foretold */
    b->n += before == 0;
    c->count = (uint8_t)(sum < UINT8_MAX ? sum : UINT8_MAX);
}

static void fill_logs(struct scratch *s)
{
    for (uint32_t times = 1; times <= UINT8_MAX; times++)
        s->logs[times] = 1 + logf((float)times);
}

static void block_value(const struct scratch *s, const struct block *b, float *ret,
                        uint8_t *ret_rarity)
{
    for (uint32_t i = 0; i < b->n; i++) {
        struct cell *c = &b->cells[b->id[i]];
        ret[i] = s->logs[c->count];
        ret_rarity[i] = c->rarity;
        c->count = 0;
    }
}

/* The text as code points: all, or the thirds of a long one; white space is one SPACE. */
static int read_text(struct scratch *s, struct str text, int **ret, uint32_t *ret_n,
                     struct arena *arena)
{
    size_t most = text.n + WIDE;
    int *cp = text.n <= TEXT_SHORT ? s->text : arena_array(arena, most, sizeof(*cp));
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
        return ((unsigned)c | 0x20) - 'a' < 26 || (unsigned)c - '0' < 10 || c == '_';
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

/* The different chunks of a text: words come back, and their runs with them. */
struct chunks {
    struct chunk *items;
    uint16_t *slot; /* place among the items, from 1; 0: free */
    uint32_t mask, n;
};

static inline bool chunk_eq(const int *a, const int *b, uint32_t n) /* most are short */
{
    uint32_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i == n;
}

static void chunks_add(struct chunks *c, const int *cp, uint32_t begin, uint32_t n, uint32_t hash)
{
    uint32_t at = hash & c->mask;
    for (uint32_t i; (i = c->slot[at]); at = (at + 1) & c->mask) {
        struct chunk *it = &c->items[i - 1];
        if (it->n == n && chunk_eq(cp + it->begin, cp + begin, n)) {
            it->times++;
            return;
        }
    }
    c->items[c->n] = (struct chunk){ begin, n, 1 };
    c->slot[at] = (uint16_t)++c->n;
}

static void cut_chunks(struct scratch *s, struct chunks *ret, const int *cp, uint32_t n)
{
    uint32_t size = WIDE;
    while (size < n + 2)
        size *= 2;
    *ret = (struct chunks){ .items = s->chunks, .slot = s->slots, .mask = size - 1 };
    memset(s->slots, 0, size * sizeof(*s->slots));
    for (uint32_t begin = 0, end; begin < n; begin = end + 1) {
        uint32_t hash = 0;
        for (end = begin; end < n && cp[end] != SPACE; end++)
            hash = (hash ^ (uint32_t)cp[end]) * 0x9e3779b1u;
        if (end > begin)
            chunks_add(ret, cp, begin, end - begin, hash ^ hash >> 15);
    }
}

/* All chunks in a row, each between its edges, so that the runs of many are hashed side by side.
 * Returns how many characters that is. */
static uint32_t line_up(struct scratch *s, const struct chunks *c, const int *cp)
{
    uint32_t *to = s->line;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct chunk *it = &c->items[i];
        *to++ = SPACE;
        for (uint32_t from = 0; from < it->n; from += WIDE) /* what is too much is overwritten */
            memcpy(to + from, cp + it->begin + from, WIDE * sizeof(*to));
        to += it->n;
        *to++ = SPACE;
    }
    memset(to, 0, (TILE + RUN_MAX) * sizeof(*to));
    return (uint32_t)(to - s->line);
}

/* The buckets of the runs of each length that begin at each of TILE characters. */
EACH_CPU static void hash_tile(const uint32_t *line, uint32_t *to)
{
    enum { SEED_RUN = 0x9e3779u };
    uint32_t h[TILE], c[TILE + RUN_MAX];
    for (uint32_t i = 0; i < TILE + RUN_MAX; i++)
        c[i] = scatter(line[i]);
    for (uint32_t i = 0; i < TILE; i++)
        h[i] = SEED_RUN;
    for (uint32_t k = 0; k < RUN_MAX; k++) {
        for (uint32_t i = 0; i < TILE; i++)
            h[i] = mix_scattered(h[i], c[i + k]);
        for (uint32_t i = 0; k + 1 >= RUN_MIN && i < TILE; i++)
            to[(size_t)(k + 1 - RUN_MIN) * LINE_ROOM + i] = bucket(mix(h[i], k));
    }
}

/* Runs of RUN_MIN to RUN_MAX characters of each word between spaces, the edges included. */
static void add_runs(struct scratch *s, struct block *b, const struct chunks *c, uint32_t n)
{
    for (uint32_t begin = 0; begin < n; begin += TILE)
        hash_tile(s->line + begin, s->runs[0] + begin);
    uint32_t at = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint32_t end = at + c->items[i].n + 2, times = c->items[i].times;
        for (; at + RUN_MAX <= end; at++)
            for (uint32_t k = 0; k < KINDS; k++)
                block_add(b, s->runs[k][at], times);
        for (; at < end; at++) /* the shorter ones at the end of the word */
            for (uint32_t k = 0; at + RUN_MIN + k <= end; k++)
                block_add(b, s->runs[k][at], times);
    }
}

static void know(struct scratch *s, const unsigned char *rarity)
{
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++)
        s->cells[id].rarity = rarity[id];
    s->rarity = rarity;
}

int features_of(struct features *ret, struct str folded, const unsigned char *rarity,
                struct arena *arena)
{
    struct scratch *s = &scratch;
    if (rarity && s->rarity != rarity)
        know(s, rarity);
    int *cp;
    uint32_t n;
    struct chunks chunks;
    if (s->logs[1] == 0)
        fill_logs(s);
    if (read_text(s, folded, &cp, &n, arena) < 0)
        return -ENOMEM;
    cut_chunks(s, &chunks, cp, n);
    struct block words = { .id = s->ids, .cells = s->cells };
    add_words(&words, cp, n);
    block_value(s, &words, s->values, s->rare);
    struct block runs = { .id = s->ids + words.n, .cells = s->cells };
    add_runs(s, &runs, &chunks, line_up(s, &chunks, cp));
    block_value(s, &runs, s->values + words.n, s->rare + words.n);
    uint32_t all = words.n + runs.n;
    struct features f = { all, words.n, arena_array(arena, (size_t)all + 1, sizeof(*f.id)),
                          arena_array(arena, (size_t)all + 1, sizeof(*f.value)),
                          rarity ? arena_array(arena, (size_t)all + 1, 1) : NULL };
    if (!f.id || !f.value || (rarity && !f.rarity))
        return -ENOMEM;
    if (rarity)
        memcpy(f.rarity, s->rare, all);
    memcpy(f.id, s->ids, all * sizeof(*f.id));
    memcpy(f.value, s->values, all * sizeof(*f.value));
    *ret = f;
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
