#include "base/json_scan.h"

#include "base/cpu.h"

/* ---- runs ---- */

#define INLINE static inline __attribute__((always_inline))

/* Comparing whole vectors: a byte that stops is all ones in the result. Signed: what is not ASCII
 * is below every control character. */
typedef signed char wide __attribute__((vector_size(32)));

/* In place: a vector is no argument, which would be passed differently for each processor. */
INLINE void wide_hits(wide *c, enum json_stop stop)
{
    wide hits = *c == '"';
    wide folded = *c | ('a' - 'A'); /* [ and { are a case apart, as are ] and } */
    if (stop == JSON_STOP_bracket)
        hits |= (folded == '{') | (folded == '}');
    else
        hits |= *c == '\\';
    if (stop == JSON_STOP_special)
        hits |= *c < ' ';
    *c = hits;
}

INLINE bool byte_hits(char c, enum json_stop stop)
{
    if (stop == JSON_STOP_special)
        return c == '"' || c == '\\' || (signed char)c < ' ';
    return c == '"' || (c | ('a' - 'A')) == '{' || (c | ('a' - 'A')) == '}';
}

INLINE const char *find_wide(const char *p, const char *end, enum json_stop stop)
{
    while ((size_t)(end - p) >= 2 * sizeof(wide)) {
        wide a, b;
        memcpy(&a, p, sizeof(a));
        memcpy(&b, p + sizeof(a), sizeof(b));
        wide_hits(&a, stop);
        wide_hits(&b, stop);
        a |= b;
        uint64_t words[sizeof(wide) / sizeof(uint64_t)];
        memcpy(words, &a, sizeof(a));
        if (words[0] | words[1] | words[2] | words[3])
            break; /* the groups find where */
        p += 2 * sizeof(wide);
    }
    while (end - p >= JSON_GROUP)
        if (json_stops_near(&p, end, stop))
            return p;
    while (p < end && !byte_hits(*p, stop))
        p++;
    return p;
}

EACH_CPU const char *json_far_special(const char *p, const char *end)
{
    return find_wide(p, end, JSON_STOP_special);
}

EACH_CPU const char *json_far_bracket(const char *p, const char *end)
{
    return find_wide(p, end, JSON_STOP_bracket);
}

/* ---- tokens ---- */

/* Whether the quote at p belongs to the string that began before `begin`: an odd number of
 * backslashes stands before it. Runs of them between two quotes are counted once. */
static bool is_escaped(const char *begin, const char *p)
{
    const char *first = p;
    while (first > begin && first[-1] == '\\')
        first--;
    return (p - first) & 1;
}

const char *json_past_far_quote(const char *begin, const char *p, const char *end)
{
    /* Quotes alone are looked for: a text may be full of other escapes. */
    while (p < end && (p = memchr(p, '"', (size_t)(end - p)))) {
        if (!is_escaped(begin, p))
            return p + 1;
        p++;
    }
    return NULL;
}

static const char *past_digits(const char *p, const char *end)
{
    const char *from = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p == from ? NULL : p;
}

const char *json_past_number(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    bool leading_zero = p < end && *p == '0';
    const char *past = past_digits(p, end);
    if (!past || (leading_zero && past - p > 1))
        return NULL;
    p = past;
    if (p < end && *p == '.') {
        p = past_digits(p + 1, end);
        if (!p)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = past_digits(p, end);
    }
    return p;
}

int json_hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)p[i], low = c | ('a' - 'A');
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v * 16 + (low - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* ---- escapes ---- */

enum { REPLACEMENT = 0xfffd, HEX4 = 4 };

static bool is_high(int unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low(int unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

/* \uXXXX whose four digits are at *p, with a second half where it has one. */
static unsigned unescape_unit(const char **p, const char *end)
{
    int unit = json_hex4(*p, end);
    *p += HEX4;
    if (!is_high(unit))
        return is_low(unit) ? REPLACEMENT : (unsigned)unit;
    if (end - *p < 2 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return REPLACEMENT;
    int low = json_hex4(*p + 2, end);
    if (!is_low(low))
        return REPLACEMENT;
    *p += 2 + HEX4;
    return 0x10000 + (((unsigned)unit & 0x3ff) << 10 | ((unsigned)low & 0x3ff));
}

size_t json_unescape_all(char *to, struct str s)
{
    char *begin = to;
    const char *p = s.p, *end = s.p + s.n;
    while (p < end) {
        /* Copied before it is looked at: what is too much is written over. */
        while (end - p >= JSON_GROUP) {
            const char *from = p;
            memcpy(to, p, JSON_GROUP);
            bool found = json_stops_near(&p, end, JSON_STOP_escape);
            to += p - from;
            if (found)
                break;
        }
        while (p < end && *p != '\\')
            *to++ = *p++;
        if (p == end)
            break;
        char utf8[4];
        size_t n = json_unescape(&p, end, utf8);
        memcpy(to, utf8, n);
        to += n;
    }
    return (size_t)(to - begin);
}

size_t json_unescape(const char **p, const char *end, char ret[static 4])
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter = ++*p;
    ret[0] = '\\';
    if (letter == end)
        return 1;
    const char *at = *letter ? strchr(letters, *letter) : NULL;
    if (at)
        ret[0] = meanings[at - letters];
    if (at)
        (*p)++;
    if (*letter != 'u' || json_hex4(letter + 1, end) < 0)
        return 1;
    (*p)++;
    return str_utf8_put(ret, unescape_unit(p, end));
}

int json_bytes_next(struct json_bytes *b)
{
    if (b->at < b->n)
        return (unsigned char)b->held[b->at++];
    if (b->p == b->end)
        return -1;
    if (*b->p != '\\')
        return (unsigned char)*b->p++;
    b->n = json_unescape(&b->p, b->end, b->held);
    b->at = 1;
    return (unsigned char)b->held[0];
}
