#include "router/signals/stem.h"

#include "base/own.h"

struct stem {
    char *p;
    size_t n; /* length of the word now */
};

static bool consonant(const struct stem *w, size_t i)
{
    switch (w->p[i]) {
    case 'a':
    case 'e':
    case 'i':
    case 'o':
    case 'u':
        return false;
    case 'y':
        return i == 0 || !consonant(w, i - 1);
    default:
        return true;
    }
}

/* m of [C](VC)^m[V] for the first n letters. */
static unsigned measure(const struct stem *w, size_t n)
{
    unsigned m = 0;
    for (size_t i = 1; i < n; i++)
        m += consonant(w, i) && !consonant(w, i - 1);
    return m;
}

static bool has_vowel(const struct stem *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!consonant(w, i))
            return true;
    return false;
}

static bool doubled(const struct stem *w, size_t n)
{
    return n >= 2 && w->p[n - 1] == w->p[n - 2] && consonant(w, n - 1);
}

static bool short_end(const struct stem *w, size_t n) /* consonant, vowel, consonant not w, x, y */
{
    if (n < 3 || !consonant(w, n - 1) || consonant(w, n - 2) || !consonant(w, n - 3))
        return false;
    return w->p[n - 1] != 'w' && w->p[n - 1] != 'x' && w->p[n - 1] != 'y';
}

static bool ends(const struct stem *w, const char *suffix, size_t *ret_rest)
{
    struct str s = str_of(suffix);
    if (w->n <= s.n || memcmp(w->p + w->n - s.n, s.p, s.n) != 0)
        return false;
    *ret_rest = w->n - s.n;
    return true;
}

static void become(struct stem *w, size_t rest, const char *suffix)
{
    size_t n = strlen(suffix);
    memcpy(w->p + rest, suffix, n);
    w->n = rest + n;
}

struct suffix {
    const char *from, *to;
};

/* The first suffix that fits decides; it is replaced when the rest measures more than `m`. */
static void replace(struct stem *w, const struct suffix *list, size_t n, unsigned m)
{
    size_t rest;
    for (size_t i = 0; i < n; i++)
        if (ends(w, list[i].from, &rest)) {
            if (measure(w, rest) > m)
                become(w, rest, list[i].to);
            return;
        }
}

static void plurals(struct stem *w)
{
    size_t rest;
    if (ends(w, "sses", &rest) || ends(w, "ies", &rest))
        w->n -= 2;
    else if (!ends(w, "ss", &rest) && ends(w, "s", &rest))
        w->n = rest;
}

static void past_tense(struct stem *w)
{
    size_t rest;
    if (ends(w, "eed", &rest)) {
        if (measure(w, rest) > 0)
            w->n--;
        return;
    }
    if (!(ends(w, "ed", &rest) && has_vowel(w, rest)) &&
        !(ends(w, "ing", &rest) && has_vowel(w, rest)))
        return;
    w->n = rest;
    size_t any;
    bool lost_e = ends(w, "at", &any) || ends(w, "bl", &any) || ends(w, "iz", &any);
    if (!lost_e && doubled(w, w->n) && !strchr("lsz", w->p[w->n - 1]))
        w->n--;
    else if (lost_e || (measure(w, w->n) == 1 && short_end(w, w->n)))
        become(w, w->n, "e");
}

static void derivations(struct stem *w)
{
    static const struct suffix two[] = {
        { "ational", "ate" }, { "tional", "tion" }, { "enci", "ence" },   { "anci", "ance" },
        { "izer", "ize" },    { "bli", "ble" },     { "alli", "al" },     { "entli", "ent" },
        { "eli", "e" },       { "ousli", "ous" },   { "ization", "ize" }, { "ation", "ate" },
        { "ator", "ate" },    { "alism", "al" },    { "iveness", "ive" }, { "fulness", "ful" },
        { "ousness", "ous" }, { "aliti", "al" },    { "iviti", "ive" },   { "biliti", "ble" },
        { "logi", "log" },
    };
    static const struct suffix three[] = {
        { "icate", "ic" }, { "ative", "" }, { "alize", "al" }, { "iciti", "ic" },
        { "ical", "ic" },  { "ful", "" },   { "ness", "" },
    };
    replace(w, two, ARRAY_LEN(two), 0);
    replace(w, three, ARRAY_LEN(three), 0);
}

static void endings(struct stem *w)
{
    static const struct suffix four[] = {
        { "al", "" },   { "ance", "" }, { "ence", "" }, { "er", "" },    { "ic", "" },
        { "able", "" }, { "ible", "" }, { "ant", "" },  { "ement", "" }, { "ment", "" },
        { "ent", "" },  { "ou", "" },   { "ism", "" },  { "ate", "" },   { "iti", "" },
        { "ous", "" },  { "ive", "" },  { "ize", "" },
    };
    size_t rest;
    if (ends(w, "ion", &rest)) {
        if (measure(w, rest) > 1 && strchr("st", w->p[rest - 1]))
            w->n = rest;
    } else {
        replace(w, four, ARRAY_LEN(four), 1);
    }
    if (ends(w, "e", &rest)) {
        unsigned m = measure(w, rest);
        if (m > 1 || (m == 1 && !short_end(w, rest)))
            w->n = rest;
    }
    if (measure(w, w->n) > 1 && doubled(w, w->n) && w->p[w->n - 1] == 'l')
        w->n--;
}

struct str stem_english(struct str word, char space[static STEM_BYTES])
{
    if (word.n < 3 || word.n >= STEM_BYTES - 4)
        return word;
    for (size_t i = 0; i < word.n; i++)
        if (word.p[i] < 'a' || word.p[i] > 'z')
            return word;
    memcpy(space, word.p, word.n);
    struct stem w = { space, word.n };
    size_t rest;
    plurals(&w);
    past_tense(&w);
    if (ends(&w, "y", &rest) && has_vowel(&w, rest))
        w.p[w.n - 1] = 'i';
    derivations(&w);
    endings(&w);
    return (struct str){ w.p, w.n };
}

bool stem_is_stop_word(struct str word)
{
    static const char words[] =
        " a about above after again against all am an and any are as at be because been before "
        "being below between both but by can did do does doing down during each few for from "
        "further had has have having he her here hers herself him himself his how i if in into is "
        "it its itself just me more most my myself no nor not now of off on once only or other our "
        "ours ourselves out over own same she should so some such than that the their theirs them "
        "themselves then there these they this those through to too under until up very was we "
        "were what when where which while who whom why will with you your yours yourself "
        "yourselves ";
    if (word.n > 12)
        return false;
    char key[16] = " ";
    memcpy(key + 1, word.p, word.n);
    key[word.n + 1] = ' ';
    return str_find(str_of(words), (struct str){ key, word.n + 2 }) >= 0;
}
