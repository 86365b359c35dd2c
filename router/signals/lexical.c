#include "router/signals/lexical.h"

#include "router/signals/stem.h"
#include "router/signals/unicode.h"

#include <errno.h>

enum { PHRASE = 256 }; /* code points compared; longer words match nothing approximately */

int lexical_split(struct lexical_text *ret, struct str text, struct arena *arena)
{
    size_t n_words = unicode_units(text);
    int *cps = arena_array(arena, text.n + 1, sizeof(*cps));
    struct lexical_word *words = arena_array(arena, n_words + 1, sizeof(*words));
    if (!cps || !words)
        return -ENOMEM;
    size_t n = 0, w = 0, done = 0;
    struct str unit;
    for (size_t pos = 0; w < n_words && unicode_next_unit(text, &pos, &unit); w++) {
        size_t from = (size_t)(unit.p - text.p);
        while (done < from)
            cps[n++] = str_utf8_next(text, &done);
        words[w].from = (uint32_t)n;
        while (done < from + unit.n)
            cps[n++] = str_utf8_next(text, &done);
        words[w].n = (uint32_t)n - words[w].from;
    }
    while (done < text.n)
        cps[n++] = str_utf8_next(text, &done);
    *ret = (struct lexical_text){ cps, n, words, w, LEXICAL_STEPS };
    return 0;
}

/* Joins `count` words from word i with single blanks; 0 when it does not fit. */
static size_t join(const struct lexical_text *t, size_t i, size_t count, int *out)
{
    size_t n = 0;
    for (size_t k = i; k < i + count; k++) {
        const struct lexical_word *w = &t->words[k];
        if (n + w->n + 1 > PHRASE)
            return 0;
        if (n)
            out[n++] = ' ';
        memcpy(out + n, t->cps + w->from, w->n * sizeof(*out));
        n += w->n;
    }
    return n;
}

static bool spend(struct lexical_text *t, size_t steps)
{
    bool enough = t->steps >= steps;
    t->steps = enough ? t->steps - steps : 0;
    return enough;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance, or any number above `limit`. */
static size_t distance(const int *a, size_t na, const int *b, size_t nb, size_t limit)
{
    size_t row[PHRASE + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0], best = row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t up = row[j];
            size_t changed = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = least(changed, least(up, row[j - 1]) + 1);
            diagonal = up;
            best = least(best, row[j]);
        }
        if (best > limit)
            return best;
    }
    return row[nb];
}

int lexical_fuzzy(struct lexical_text *t, const struct lexical_text *phrase, size_t edits)
{
    int want[PHRASE], have[PHRASE];
    size_t k = phrase->n_words;
    size_t n = k ? join(phrase, 0, k, want) : 0;
    if (n == 0)
        return 0;
    for (size_t i = 0; i + k <= t->n_words; i++) {
        if (!spend(t, 1))
            return -EOVERFLOW;
        size_t m = join(t, i, k, have);
        if (m == 0 || m > n + edits || n > m + edits)
            continue;
        if (!spend(t, n * m))
            return -EOVERFLOW;
        if (distance(want, n, have, m, edits) <= edits)
            return 1;
    }
    return 0;
}

struct code_points {
    const int *p;
    size_t n;
};

/* The i-th n-gram begins at p[i - (arity - 1)], blanks standing outside. */
static int gram_at(struct code_points a, size_t i, unsigned arity)
{
    return i < arity - 1 || i - (arity - 1) >= a.n ? ' ' : a.p[i - (arity - 1)];
}

static bool same_gram(struct code_points a, size_t i, struct code_points b, size_t j,
                      unsigned arity)
{
    for (unsigned k = 0; k < arity; k++)
        if (gram_at(a, i + k, arity) != gram_at(b, j + k, arity))
            return false;
    return true;
}

static double similarity(struct code_points a, struct code_points b, unsigned arity)
{
    bool used[PHRASE + 16] = { false };
    size_t grams_a = a.n + arity - 1, grams_b = b.n + arity - 1, shared = 0;
    for (size_t i = 0; i < grams_a; i++)
        for (size_t j = 0; j < grams_b; j++)
            if (!used[j] && same_gram(a, i, b, j, arity)) {
                used[j] = true;
                shared++;
                break;
            }
    double all = (double)(grams_a + grams_b - shared), different = all - (double)shared;
    return (all * all - different * different) / (all * all);
}

/* 1 similar, 0 not, -EOVERFLOW */
static int similar(struct lexical_text *t, struct code_points a, struct code_points b,
                   unsigned arity, double threshold)
{
    size_t grams_a = a.n + arity - 1, grams_b = b.n + arity - 1;
    double small = (double)least(grams_a, grams_b), large = (double)(grams_a + grams_b) - small;
    /* were all of the shorter shared: all = large, different = large - small */
    double most = 1 - (large - small) * (large - small) / (large * large);
    if (most < threshold)
        return 0;
    if (!spend(t, grams_a * grams_b))
        return -EOVERFLOW;
    return similarity(a, b, arity) >= threshold;
}

int lexical_ngram(struct lexical_text *t, const struct lexical_text *phrase, unsigned arity,
                  double threshold)
{
    int want[PHRASE], have[PHRASE];
    size_t k = phrase->n_words;
    size_t n = k ? join(phrase, 0, k, want) : 0;
    if (n == 0)
        return 0;
    struct code_points wanted = { want, n };
    int r = 0;
    if (t->n > 0 && t->n <= PHRASE)
        r = similar(t, wanted, (struct code_points){ t->cps, t->n }, arity, threshold);
    for (size_t i = 0; r == 0 && i + k <= t->n_words; i++) {
        if (!spend(t, 1))
            return -EOVERFLOW;
        size_t m = join(t, i, k, have);
        if (m)
            r = similar(t, wanted, (struct code_points){ have, m }, arity, threshold);
    }
    return r;
}

bool lexical_token(struct str text, size_t *pos, struct str *ret, char *space)
{
    struct str unit;
    while (unicode_next_unit(text, pos, &unit)) {
        if (unicode_cjk(unicode_after(unit, 0))) {
            size_t end = (size_t)(unit.p - text.p) + unit.n, after = end;
            bool pair = unicode_cjk(str_utf8_next(text, &after));
            bool last_of_run = !pair && unicode_cjk(unicode_before(text, end - unit.n));
            if (last_of_run)
                continue; /* already the second half of a pair */
            *ret = (struct str){ unit.p, pair ? unit.n + after - end : unit.n };
            return true;
        }
        if (stem_is_stop_word(unit))
            continue;
        *ret = stem_english(unit, space);
        return true;
    }
    return false;
}
