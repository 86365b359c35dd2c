#include "router/vectors/space.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "router/signals/unicode.h"

enum {
    WORD_CODE_POINTS = 48, /* of a longer word the rest is not cut into runs */
    RUN_MIN = 3,           /* characters, the edges of a word being one each */
    RUN_MAX = 4,
};

/* How much a word and all its runs of characters count against each other; and two characters that
 * follow each other in a script that glues words together. */
static const float OF_WORD = 1, OF_RUNS = 1, OF_PAIR = 1;

static uint32_t mix(uint32_t h, uint32_t c)
{
    h = (h ^ c) * 0x9e3779b1u;
    return h ^ h >> 15;
}

/* Signed hashing: Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009. */
static void add_mark(float *marks, uint32_t h, float by)
{
    h *= 0x85ebca6bu;
    marks[h >> (32 - MARKS_BITS)] += h >> 16 & 1 ? by : -by;
}

static void add_runs(float *marks, const int *cp, size_t n, float says)
{
    enum { SEED = 0x51ed27 };
    size_t runs = 0;
    for (size_t k = RUN_MIN; k <= RUN_MAX; k++)
        runs += n >= k ? n - k + 1 : 0;
    float by = runs ? says * OF_RUNS / sqrtf((float)runs) : 0;
    for (size_t i = 0; i + RUN_MIN <= n; i++) {
        uint32_t h = SEED;
        for (size_t k = 0; k < RUN_MIN; k++)
            h = mix(h, (uint32_t)cp[i + k]);
        add_mark(marks, h, by);
        if (i + RUN_MAX <= n)
            add_mark(marks, mix(h, (uint32_t)cp[i + RUN_MIN]), by);
    }
}

/* One word: cp holds it between two edges. */
static void add_word(float *marks, const int *cp, size_t n, float says)
{
    enum { SEED = 0x2545f4 };
    uint32_t h = SEED;
    for (size_t i = 0; i < n; i++)
        h = mix(h, (uint32_t)cp[i]);
    add_mark(marks, h, says * OF_WORD);
    add_runs(marks, cp, n, says);
}

static inline bool ascii_alnum(char c) /* of folded text; false beyond ASCII */
{
    return (unsigned)c - 'a' < 26u || (unsigned)c - '0' < 10u;
}

/* As unicode_next_unit, quicker where all is ASCII. */
static bool next_word(struct str folded, size_t *pos, struct str *ret)
{
    size_t at = *pos;
    while (at < folded.n && folded.p[at] >= 0 && !ascii_alnum(folded.p[at]))
        at++;
    size_t begin = at;
    while (at < folded.n && ascii_alnum(folded.p[at]))
        at++;
    *pos = at;
    *ret = (struct str){ folded.p + begin, at - begin };
    if (at == folded.n || folded.p[at] >= 0) /* else a letter beyond ASCII may belong to it */
        return at > begin;
    *pos = begin;
    return unicode_next_unit(folded, pos, ret);
}

static size_t read_word(struct str word, int *cp)
{
    size_t n = 0;
    cp[n++] = ' ';
    for (size_t pos = 0; pos < word.n && n <= WORD_CODE_POINTS;) {
        bool ascii = word.p[pos] >= 0;
        cp[n++] = ascii ? word.p[pos++] : str_utf8_next(word, &pos);
    }
    cp[n++] = ' ';
    return n;
}

/* Words of a text, and how often each comes: the common ones come back every few words. */
enum { TALLY_WORDS = 512, TALLY_SLOTS = 1024 };

struct tally {
    struct str word[TALLY_WORDS];
    uint32_t hash[TALLY_WORDS];
    float times[TALLY_WORDS];
    uint16_t slot[TALLY_SLOTS]; /* place in the list, from 1; 0: free */
    uint32_t n;
};

/* False: it is full, and the word is not in it. A word is expected as soon as it is met. */
static bool tally_add(struct tally *t, const struct words *w, struct str word, uint32_t hash)
{
    uint32_t at = hash ^ hash >> 15;
    for (uint32_t i; (i = t->slot[at % TALLY_SLOTS]); at++)
        if (t->hash[i - 1] == hash && str_eq(t->word[i - 1], word)) {
            t->times[i - 1]++;
            return true;
        }
    if (t->n == TALLY_WORDS)
        return false;
    words_expect(w, hash);
    t->word[t->n] = word;
    t->hash[t->n] = hash;
    t->times[t->n] = 1;
    t->slot[at % TALLY_SLOTS] = (uint16_t)++t->n;
    return true;
}

struct sums {
    float words[WORDS_WIDTH], marks[MARKS_WIDTH];
    float all, known; /* how much the words say, and those that are known */
};

static inline void add_text_word(const struct vector_space *s, struct str word, uint32_t hash,
                                 float times, struct sums *to)
{
    int cp[WORD_CODE_POINTS + 3];
    float says;
    float share = words_add(&s->words, word, hash, times, to->words, &says);
    add_word(to->marks, cp, read_word(word, cp), says * times);
    to->all += says * times;
    to->known += says * times * share;
}

EACH_CPU int lexical_vector(const struct vector_space *s, struct str text, struct arena *arena,
                            struct text_vector *ret)
{
    struct str folded = unicode_fold_text(text, arena), word;
    struct sums sums = { .all = 0 };
    struct tally tally;
    int before = 0; /* the last character, of a dense script */
    if (!folded.p)
        return -ENOMEM;
    memset(tally.slot, 0, sizeof(tally.slot));
    tally.n = 0;
    for (size_t pos = 0; next_word(folded, &pos, &word);) {
        size_t first = 0;
        int cp = word.p[0] < 0 ? str_utf8_next(word, &first) : 0; /* the ASCII are not dense */
        bool dense = cp && first == word.n && unicode_cjk(cp);
        if (dense && before)
            add_mark(sums.marks, mix((uint32_t)before, (uint32_t)cp), OF_PAIR);
        before = dense ? cp : 0;
        uint32_t hash = words_hash(word);
        if (!tally_add(&tally, &s->words, word, hash))
            add_text_word(s, word, hash, 1, &sums);
    }
    for (uint32_t i = 0; i < tally.n; i++)
        words_expect_row(&s->words, tally.hash[i]);
    for (uint32_t i = 0; i < tally.n; i++)
        add_text_word(s, tally.word[i], tally.hash[i], tally.times[i], &sums);
    ret->known = sums.all > 0 ? sums.known / sums.all : 0;
    vector_round(sums.words, WORDS_WIDTH, ret->v);
    vector_round(sums.marks, MARKS_WIDTH, ret->v + WORDS_WIDTH);
    return 0;
}

/*
 * Onto the scale of an encoder's cosine. Measured on pairs of texts of known cosine, the blend is
 * right on average. Where rules are told apart by it, as many are missed as wrong at 0.45, which
 * policies expect at 0.5; and what is small is chance, of which differences must not be made.
 */
static inline double scale(double s)
{
    static const struct {
        double from, to, slope;
    } pieces[] = { { 0, 0, 0.08 / 0.15 },
                   { 0.15, 0.08, (0.5 - 0.08) / (0.45 - 0.15) },
                   { 0.45, 0.5, (0.8 - 0.5) / (0.8 - 0.45) },
                   { 0.8, 0.8, 1 } };
    size_t i = 0;
    if (s <= 0)
        return s;
    for (size_t k = 1; k < ARRAY_LEN(pieces); k++)
        i += s > pieces[k].from;
    return pieces[i].to + (s - pieces[i].from) * pieces[i].slope;
}

EACH_CPU void lexical_similarities(const struct text_vector *a,
                                   const struct text_vector *const *others, size_t n, double *ret)
{
    static const double of_words = 0.7; /* against the marks, where all words are known */
    for (size_t i = 0; i < n; i++) {
        const struct text_vector *b = others[i];
        double words = vector_cosine(a->v, b->v, WORDS_WIDTH);
        double marks = vector_cosine(a->v + WORDS_WIDTH, b->v + WORDS_WIDTH, MARKS_WIDTH);
        double share = of_words * (double)a->known * (double)b->known;
        ret[i] = scale(share * words + (1 - share) * marks);
    }
}
