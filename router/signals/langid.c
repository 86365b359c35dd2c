#include "router/signals/langid.h"

#include <errno.h>
#include <math.h>

#define MAGIC "RSLANG1"

enum {
    MARK = '.', /* stands for both ends of a word */
    LANES = 16,
    MAX_ROWS = 1 << 16,
    MAX_LONGEST = 5,
};

/* Constants of the mixing steps of MurmurHash3 (public domain, A. Appleby). */
static const uint32_t hash_seed = 0x9e3779b1u, hash_step = 0x85ebca6bu, hash_last = 0xc2b2ae35u;

/* ---- reading ---- */

static bool take(struct str *bytes, void *ret, size_t n)
{
    if (bytes->n < n)
        return false;
    memcpy(ret, bytes->p, n);
    *bytes = str_sub(*bytes, n);
    return true;
}

static bool open_table(struct langid_group *g, struct str *bytes)
{
    if (!g->languages || g->languages > LANGID_LANGUAGES || !g->rows || g->rows > MAX_ROWS ||
        (g->rows & (g->rows - 1)) || !g->longest || g->longest > MAX_LONGEST ||
        !isfinite(g->scale) || g->script[sizeof(g->script) - 1])
        return false;
    for (uint32_t i = 0; i < g->languages; i++) {
        struct langid_language *l = &g->language[i];
        if (!take(bytes, l->code, sizeof(l->code)) || !take(bytes, &l->prior, sizeof(l->prior)) ||
            l->code[sizeof(l->code) - 1] || !isfinite(l->prior))
            return false;
    }
    size_t size = (size_t)g->rows * g->languages + LANGID_PAD;
    size = (size + 3) / 4 * 4;
    if (bytes->n < size)
        return false;
    g->weights = (const int8_t *)bytes->p;
    *bytes = str_sub(*bytes, size);
    return true;
}

int langid_open(struct langid *ret, struct str bytes)
{
    char magic[sizeof(MAGIC)];
    struct langid m = { 0 };
    if (!take(&bytes, magic, sizeof(magic)) || memcmp(magic, MAGIC, sizeof(magic)) != 0 ||
        !take(&bytes, &m.n, sizeof(m.n)) || !take(&bytes, &m.temperature, sizeof(m.temperature)) ||
        !take(&bytes, &m.temperature_word, sizeof(m.temperature_word)))
        return -EINVAL;
    if (m.n > LANGID_GROUPS || !(m.temperature > 0) || !(m.temperature_word >= 0) ||
        !isfinite(m.temperature) || !isfinite(m.temperature_word))
        return -EINVAL;
    for (uint32_t i = 0; i < m.n; i++) {
        struct langid_group *g = &m.groups[i];
        if (!take(&bytes, g->script, sizeof(g->script)) ||
            !take(&bytes, &g->languages, sizeof(g->languages)) ||
            !take(&bytes, &g->rows, sizeof(g->rows)) ||
            !take(&bytes, &g->longest, sizeof(g->longest)) ||
            !take(&bytes, &g->scale, sizeof(g->scale)) || !open_table(g, &bytes))
            return -EINVAL;
    }
    *ret = m;
    return 0;
}

const struct langid_group *langid_group(const struct langid *m, const char *script)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->groups[i].script, script) == 0)
            return &m->groups[i];
    return NULL;
}

/* ---- scores ---- */

typedef int8_t bytes_v __attribute__((vector_size(LANES)));
typedef int16_t shorts_v __attribute__((vector_size(2 * LANES)));

/*
 * Adds a block of lanes of all rows; a word has at most (24 + 2) × 5, whose sum fits. Reads up to
 * the next multiple of LANES, into the next row or the pad.
 */
static void add_block(uint32_t rows, const int8_t *const *row, size_t at, int16_t ret[static LANES])
{
    shorts_v sum = { 0 };
    for (uint32_t i = 0; i < rows; i++) {
        bytes_v v;
        memcpy(&v, row[i] + at, sizeof(v));
        sum += __builtin_convertvector(v, shorts_v);
    }
    memcpy(ret, &sum, sizeof(sum));
}

static const int8_t *row_of(const struct langid_group *g, uint32_t h)
{
    h *= hash_last;
    return g->weights + (size_t)((h ^ h >> 16) & (g->rows - 1)) * g->languages;
}

void langid_add(const struct langid_group *g, const uint32_t *letters, size_t n, int32_t *sums)
{
    uint32_t word[LANGID_WORD + 2];
    n = n < LANGID_WORD ? n : LANGID_WORD;
    word[0] = word[n + 1] = MARK;
    memcpy(word + 1, letters, n * sizeof(*letters));
    uint32_t rows = 0;
    const int8_t *row[(LANGID_WORD + 2) * MAX_LONGEST];
    for (size_t from = 0; from < n + 2; from++) {
        uint32_t h = hash_seed;
        for (size_t to = from; to < n + 2 && to - from < g->longest; to++) {
            h = (h ^ word[to]) * hash_step;
            h ^= h >> 15;
            if (to == from && word[to] == MARK)
                continue;
            row[rows] = row_of(g, h);
            __builtin_prefetch(row[rows++]);
        }
    }
    for (uint32_t at = 0; at < g->languages; at += LANES) {
        int16_t sum[LANES];
        add_block(rows, row, at, sum);
        for (uint32_t i = 0; i < LANES && at + i < g->languages; i++)
            sums[at + i] += sum[i];
    }
}
