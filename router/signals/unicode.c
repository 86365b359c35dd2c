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

static struct str rewrite(struct str s, struct arena *arena, int (*map)(int))
{
    /* a malformed byte becomes three; folding lengthens a two-byte sequence by one at most */
    char *out = arena_alloc(arena, s.n * 3 + 1);
    if (!out)
        return STR_NULL;
    size_t n = 0;
    for (size_t at = 0; at < s.n;) {
        if ((unsigned char)s.p[at] < 0x80) {
            out[n++] = (char)map(s.p[at++]);
            continue;
        }
        int cp = map(str_utf8_next(s, &at));
        char four[4];
        size_t len = str_utf8_put(four, (unsigned)cp);
        memcpy(out + n, four, len);
        n += len;
    }
    return (struct str){ out, n };
}

static int same(int cp)
{
    return cp;
}

struct str unicode_fold_text(struct str s, struct arena *arena)
{
    return rewrite(s, arena, unicode_fold);
}

struct str unicode_valid_text(struct str s, struct arena *arena)
{
    if (str_utf8_valid(s))
        return s.p ? s : STR("");
    return rewrite(s, arena, same);
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
    size_t n = 0;
    struct str unit;
    for (size_t pos = 0; unicode_next_unit(s, &pos, &unit);)
        n++;
    return n;
}
