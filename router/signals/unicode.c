#include "router/signals/unicode.h"

#include "router/signals/unicode_tables.h"

enum { WORD = 1, DENSE = 2, ALNUM = 4, CJK = 8 }; /* as in unicode_tables.py */

static unsigned properties(int cp)
{
    if (cp < 0 || cp > 0x10ffff)
        return 0;
    return pages[page_of[cp >> 8]][cp & 255];
}

bool unicode_word(int cp)
{
    return properties(cp) & WORD;
}

bool unicode_alnum(int cp)
{
    return properties(cp) & ALNUM;
}

bool unicode_dense(int cp)
{
    return properties(cp) & DENSE;
}

bool unicode_cjk(int cp)
{
    return properties(cp) & CJK;
}

int unicode_fold(int cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
    size_t lo = 0, hi = ARRAY_LEN(folds);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (folds[mid].from == (unsigned)cp)
            return (int)folds[mid].to;
        if (folds[mid].from < (unsigned)cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return cp;
}

int unicode_before(struct str s, size_t at)
{
    if (at == 0 || at > s.n)
        return -1;
    size_t from = at - 1;
    while (from > 0 && at - from < 4 && ((unsigned char)s.p[from] & 0xc0) == 0x80)
        from--;
    return str_utf8_next(s, &from);
}

int unicode_after(struct str s, size_t at)
{
    return str_utf8_next(s, &at);
}

static bool joined(int left, int right) /* both belong to one word */
{
    return unicode_word(left) && unicode_word(right) && !unicode_dense(left) &&
           !unicode_dense(right);
}

bool unicode_bounded(struct str text, size_t from, size_t to)
{
    return !joined(unicode_before(text, from), unicode_after(text, from)) &&
           !joined(unicode_before(text, to), unicode_after(text, to));
}

static bool may_follow(int cp) /* what unicode_compose() takes as a mark */
{
    return (cp >= 0x300 && cp < 0x370) || (cp >= 0x653 && cp < 0x656) || cp == 0x93c ||
           (cp >= 0x1161 && cp < 0x11c3) || cp == 0x3099 || cp == 0x309a;
}

int unicode_compose(int base, int mark)
{
    if (base < 0 || !may_follow(mark))
        return -1;
    if (base >= 0x1100 && base < 0x1113 && mark >= 0x1161 && mark < 0x1176)
        return 0xac00 + ((base - 0x1100) * 21 + mark - 0x1161) * 28;
    if (base >= 0xac00 && base < 0xd7a4 && (base - 0xac00) % 28 == 0 && mark > 0x11a7 &&
        mark < 0x11c3)
        return base + mark - 0x11a7;
    size_t lo = 0, hi = ARRAY_LEN(wholes);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        unsigned b = wholes[mid].base, m = wholes[mid].mark;
        if (b == (unsigned)base && m == (unsigned)mark)
            return (int)wholes[mid].whole;
        if (b < (unsigned)base || (b == (unsigned)base && m < (unsigned)mark))
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

static bool other_case(int cp, int folded) /* one is the other in another case, or the same */
{
    return cp == folded || unicode_alnum(folded);
}

/* Folds the ASCII at `at`, eight characters at a time, but for the last ones; how many. */
static size_t fold_eights(struct str s, size_t at, char *out)
{
    const uint64_t high = UINT64_C(0x8080808080808080), each = UINT64_C(0x0101010101010101);
    size_t n = 0;
    for (uint64_t x; s.n - at - n > sizeof(x); n += sizeof(x)) {
        memcpy(&x, s.p + at + n, sizeof(x));
        if (x & high)
            break;
        uint64_t from_a = x + each * (0x80 - 'A'), past_z = x + each * (0x7f - 'Z');
        x |= (from_a & ~past_z & high) >> 2; /* the bit that makes a capital small */
        memcpy(out + n, &x, sizeof(x));
    }
    return n;
}

struct str unicode_fold_text_noting(struct str s, struct arena *arena, bool *ret_only_case)
{
    /* a malformed byte becomes three; folding lengthens a two-byte sequence by one at most */
    char *out = arena_alloc(arena, s.n * 3 + 4);
    if (!out)
        return STR_NULL;
    size_t n = 0, last_at = 0;
    int last = -1;
    *ret_only_case = true;
    for (size_t at = 0; at < s.n;) {
        size_t run = fold_eights(s, at, out + n);
        at += run;
        n += run;
        if (run) {
            last_at = n - 1;
            last = (unsigned char)out[last_at];
        }
        unsigned char c = (unsigned char)s.p[at];
        if (c < 0x80) {
            last_at = n;
            last = c + ((unsigned)c - 'A' < 26 ? 'a' - 'A' : 0);
            out[n++] = (char)last;
            at++;
            continue;
        }
        int raw = str_utf8_next(s, &at), cp = unicode_fold(raw);
        int whole = unicode_compose(last, cp);
        *ret_only_case = *ret_only_case && whole < 0 && other_case(raw, cp);
        last_at = whole < 0 ? n : last_at;
        last = whole < 0 ? cp : whole;
        n = last_at + str_utf8_put(out + last_at, (unsigned)last);
    }
    return (struct str){ out, n };
}

struct str unicode_fold_text(struct str s, struct arena *arena)
{
    bool only_case;
    return unicode_fold_text_noting(s, arena, &only_case);
}

struct str unicode_valid_text(struct str s, struct arena *arena)
{
    if (str_utf8_valid(s))
        return s.p ? s : STR("");
    char *out = arena_alloc(arena, s.n * 3 + 4); /* a malformed byte becomes three */
    if (!out)
        return STR_NULL;
    size_t n = 0;
    for (size_t at = 0; at < s.n;)
        n += str_utf8_put(out + n, (unsigned)str_utf8_next(s, &at));
    return (struct str){ out, n };
}

bool unicode_next_unit(struct str s, size_t *pos, struct str *ret_unit)
{
    size_t at = *pos, start = at;
    int cp = str_utf8_next(s, &at);
    while (cp >= 0 && !unicode_alnum(cp) && !unicode_cjk(cp)) {
        start = at;
        cp = str_utf8_next(s, &at);
    }
    *pos = s.n;
    if (cp < 0)
        return false;
    size_t end = at;
    while (!unicode_cjk(cp)) {
        int next = str_utf8_next(s, &at);
        if (next < 0 || next == '_' || !unicode_word(next) || unicode_cjk(next))
            break;
        end = at;
    }
    *pos = end;
    *ret_unit = (struct str){ s.p + start, end - start };
    return true;
}

size_t unicode_units(struct str s)
{
    const unsigned char *ascii = pages[page_of[0]];
    size_t n = 0, at = 0;
    bool inside = false; /* a unit, that more characters may belong to */
    while (at < s.n) {
        unsigned char c = (unsigned char)s.p[at];
        if (c < 0x80) {
            bool alnum = ascii[c] & ALNUM; /* no branch: where words end cannot be foretold */
            bool more = inside & ((ascii[c] & WORD) != 0) & (c != '_');
            n += !more & alnum;
            inside = more | alnum;
            at++;
            continue;
        }
        unsigned p = properties(str_utf8_next(s, &at));
        bool more = inside && p & WORD && !(p & CJK);
        n += !more && p & (ALNUM | CJK);
        inside = !(p & CJK) && (more || p & ALNUM);
    }
    return n;
}
