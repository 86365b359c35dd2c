#include "router/vectors/words.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "router/models/shipped.h"
#include "router/signals/unicode.h"

/*
 * The file, little endian: the header; rows of WORDS_WIDTH signed bytes; where each item's text
 * ends, 4 bytes each; an open index of hashes, 2 bytes a slot (item + 1, 0: free); a scale for each
 * row, 2 bytes, in `unit`; how much the item says, 1 byte, in 255ths; the texts. Items that
 * continue a word begin with '#'.
 */
struct header {
    char magic[8];
    uint32_t n, slots, width, text_bytes;
    float unit;
    uint32_t zero;
};

static const char MAGIC[8] = { 'R', 'W', 'O', 'R', 'D', 'S', '1', '\n' };

enum {
    ITEMS_MAX = 65535,
    SLOTS_MAX = 1 << 20,
    TEXT_MAX = 1 << 24,
    PIECE_BYTES = 24, /* the longest item */
};

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t get16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static struct words layout(const struct header *h, const unsigned char *bytes)
{
    struct words w = { .n = h->n, .slots = h->slots, .unit = h->unit };
    w.rows = bytes + sizeof(*h);
    w.ends = w.rows + (size_t)h->n * WORDS_WIDTH;
    w.index = w.ends + (size_t)h->n * 4;
    w.scales = w.index + (size_t)h->slots * 2;
    w.says = w.scales + (size_t)h->n * 2;
    w.text = (const char *)w.says + h->n;
    return w;
}

static bool entries_fit(const struct words *w, uint32_t text_bytes)
{
    uint32_t before = 0, free_slots = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t end = get32(w->ends + (size_t)4 * i);
        if (end <= before || end > text_bytes || end - before > PIECE_BYTES)
            return false;
        before = end;
    }
    for (uint32_t i = 0; i < w->slots; i++) {
        uint32_t item = get16(w->index + (size_t)2 * i);
        if (item > w->n)
            return false;
        free_slots += item == 0;
    }
    return before == text_bytes && free_slots > 0; /* else a search would not end */
}

int words_open(struct words *ret, const void *bytes, size_t n)
{
    struct header h;
    if (n < sizeof(h))
        return -EINVAL;
    memcpy(&h, bytes, sizeof(h));
    if (memcmp(h.magic, MAGIC, sizeof(MAGIC)) != 0 || h.width != WORDS_WIDTH || h.n > ITEMS_MAX ||
        h.slots > SLOTS_MAX || h.slots == 0 || (h.slots & (h.slots - 1)) ||
        h.text_bytes > TEXT_MAX || !isfinite(h.unit))
        return -EINVAL;
    size_t each = WORDS_WIDTH + 4 + 2 + 1;
    if (n != sizeof(h) + h.n * each + (size_t)h.slots * 2 + h.text_bytes)
        return -EINVAL;
    struct words w = layout(&h, bytes);
    if (!entries_fit(&w, h.text_bytes))
        return -EINVAL;
    *ret = w;
    return 0;
}

struct words words_shipped(void)
{
    struct header h;
    struct str file = shipped_words();
    memcpy(&h, file.p, sizeof(h));
    return layout(&h, (const unsigned char *)file.p);
}

/* ---- look-up ---- */

enum { NONE = UINT16_MAX };
static const uint32_t HASH_BEGIN = 2166136261u;

static inline uint32_t hash_step(uint32_t h, unsigned char c) /* FNV-1a */
{
    return (h ^ c) * 16777619u;
}

uint32_t words_hash(struct str word)
{
    uint32_t h = HASH_BEGIN;
    for (size_t i = 0; i < word.n; i++)
        h = hash_step(h, (unsigned char)word.p[i]);
    return h;
}

static uint32_t hash_slot(uint32_t h)
{
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    return h ^ h >> 13;
}

static inline bool bytes_eq(const char *a, const char *b, size_t n) /* short ones */
{
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i == n;
}

static bool item_is(const struct words *w, uint32_t i, bool continues, struct str s)
{
    uint32_t begin = i ? get32(w->ends + (size_t)4 * (i - 1)) : 0;
    size_t n = get32(w->ends + (size_t)4 * i) - begin;
    const char *text = w->text + begin;
    if (continues && text[0] != '#')
        return false;
    return n == s.n + continues && bytes_eq(text + continues, s.p, s.n);
}

static const unsigned char *slot_of(const struct words *w, uint32_t hash)
{
    return w->index + (size_t)2 * (hash_slot(hash) & (w->slots - 1));
}

void words_expect(const struct words *w, uint32_t hash)
{
    __builtin_prefetch(slot_of(w, hash));
}

void words_expect_row(const struct words *w, uint32_t hash)
{
    size_t item = get16(slot_of(w, hash)); /* the likely one: where it stands first */
    if (item-- == 0)
        return;
    __builtin_prefetch(w->ends + 4 * item);
    __builtin_prefetch(w->rows + item * WORDS_WIDTH);
    __builtin_prefetch(w->rows + (item + 1) * WORDS_WIDTH - 1);
    __builtin_prefetch(w->scales + 2 * item);
    __builtin_prefetch(w->says + item);
}

/* The item of a piece whose hash is known; NONE. */
static uint32_t find(const struct words *w, uint32_t hash, bool continues, struct str piece)
{
    for (uint32_t at = hash_slot(hash);; at++) {
        uint32_t item = get16(w->index + (size_t)2 * (at & (w->slots - 1)));
        if (item == 0)
            return NONE;
        if (item_is(w, item - 1, continues, piece))
            return item - 1;
    }
}

/* The longest item that the text begins with; its length, or 0. */
static size_t longest(const struct words *w, struct str text, bool continues, uint32_t *ret_item)
{
    uint32_t hashes[PIECE_BYTES + 1];
    size_t most = text.n < PIECE_BYTES ? text.n : PIECE_BYTES;
    hashes[0] = HASH_BEGIN;
    if (continues)
        hashes[0] = hash_step(hashes[0], '#');
    for (size_t i = 0; i < most; i++)
        hashes[i + 1] = hash_step(hashes[i], (unsigned char)text.p[i]);
    for (size_t n = most; n > 0; n--) {
        *ret_item = find(w, hashes[n], continues, str_head(text, n));
        if (*ret_item != NONE)
            return n;
    }
    return 0;
}

static inline void add_row(const struct words *w, uint32_t item, float times, float *sum)
{
    const signed char *row = (const signed char *)w->rows + (size_t)item * WORDS_WIDTH;
    float scale = (float)get16(w->scales + (size_t)2 * item) * w->unit * times;
    for (size_t i = 0; i < WORDS_WIDTH; i++)
        sum[i] += (float)row[i] * scale;
}

EACH_CPU float words_add(const struct words *w, struct str word, uint32_t hash, float times,
                         float sum[WORDS_WIDTH], float *ret_says)
{
    size_t at = 0, known = 0;
    uint32_t item = word.n <= PIECE_BYTES ? find(w, hash, /* continues= */ false, word) : NONE;
    if (item != NONE) {
        add_row(w, item, times, sum);
        *ret_says = (float)w->says[item] / 255;
        return 1;
    }
    *ret_says = 1;
    while (at < word.n) {
        struct str rest = str_sub(word, at);
        size_t n = longest(w, rest, /* continues= */ at > 0, &item);
        if (n == 0) {
            (void)str_utf8_next(word, &at);
            continue;
        }
        add_row(w, item, times, sum);
        known += n;
        at += n;
    }
    return word.n ? (float)known / (float)word.n : 0;
}

void vector_unit(float *v, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    float by = sum > 0 ? 1 / sqrtf(sum) : 0;
    for (size_t i = 0; i < n; i++)
        v[i] *= by;
}

void words_vector(struct str folded, float ret[WORDS_WIDTH])
{
    const struct words w = words_shipped();
    float says;
    struct str word;
    memset(ret, 0, WORDS_WIDTH * sizeof(*ret));
    for (size_t pos = 0; unicode_next_unit(folded, &pos, &word);)
        (void)words_add(&w, word, words_hash(word), /* times= */ 1, ret, &says);
    vector_unit(ret, WORDS_WIDTH);
}
