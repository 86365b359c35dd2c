#include "base/str.h"

#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

bool str_eq_nocase(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int r = n ? memcmp(a.p, b.p, n) : 0;
    if (r)
        return r;
    return (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_head(s, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_eq(str_sub(s, s.n - suffix.n), suffix);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.n && is_space(s.p[0]))
        s = str_sub(s, 1);
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

ptrdiff_t str_find(struct str s, struct str what)
{
    if (what.n == 0)
        return 0;
    if (s.n < what.n)
        return -1;
    const char *hit = memmem(s.p, s.n, what.p, what.n);
    return hit ? hit - s.p : -1;
}

bool str_cut(struct str s, char sep, struct str *ret_before, struct str *ret_after)
{
    const char *hit = s.n ? memchr(s.p, sep, s.n) : NULL;
    if (!hit)
        return false;
    size_t at = (size_t)(hit - s.p);
    *ret_before = str_head(s, at);
    *ret_after = str_sub(s, at + 1);
    return true;
}

char *str_dup(struct str s)
{
    char *copy = malloc(s.n + 1);
    if (!copy)
        return NULL;
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

/* Bytes a lead byte announces; 0 for one that cannot lead (RFC 3629). */
static unsigned utf8_len(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef)
        return 3;
    if (c >= 0xf0 && c <= 0xf4)
        return 4;
    return 0;
}

/* Whether cp, read from len bytes, is neither overlong, a surrogate, nor beyond U+10FFFF. */
static bool utf8_cp_ok(unsigned cp, unsigned len)
{
    static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    return cp >= least[len] && cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff);
}

/* Code point at s[pos], or -1 when malformed; *ret_len is its length in bytes. */
static int utf8_at(struct str s, size_t pos, unsigned *ret_len)
{
    static const unsigned char lead_mask[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    unsigned char c = (unsigned char)s.p[pos];
    unsigned len = utf8_len(c);
    if (len == 0 || s.n - pos < len)
        return -1;
    unsigned cp = c & lead_mask[len];
    for (unsigned i = 1; i < len; i++) {
        unsigned char t = (unsigned char)s.p[pos + i];
        if ((t & 0xc0) != 0x80)
            return -1;
        cp = cp << 6 | (t & 0x3f);
    }
    if (!utf8_cp_ok(cp, len))
        return -1;
    *ret_len = len;
    return (int)cp;
}

int str_utf8_next(struct str s, size_t *pos)
{
    if (*pos >= s.n)
        return -1;
    if ((unsigned char)s.p[*pos] < 0x80) /* most text */
        return s.p[(*pos)++];
    unsigned len = 1;
    int cp = utf8_at(s, *pos, &len);
    *pos += len;
    return cp < 0 ? 0xfffd : cp;
}

size_t str_utf8_put(char ret[static 4], unsigned cp)
{
    if (cp < 0x80) {
        ret[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        ret[0] = (char)(0xc0 | cp >> 6);
        ret[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        ret[0] = (char)(0xe0 | cp >> 12);
        ret[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        ret[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    ret[0] = (char)(0xf0 | cp >> 18);
    ret[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    ret[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    ret[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t str_utf8_whole(struct str s)
{
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        unsigned char c = (unsigned char)s.p[s.n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        return utf8_len(c) > back ? s.n - back : s.n;
    }
    return s.n;
}

/* Where the ASCII that stands at `pos` ends, or up to 7 bytes before. */
static size_t past_ascii(struct str s, size_t pos)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    for (uint64_t eight; s.n - pos >= sizeof(eight); pos += sizeof(eight)) {
        memcpy(&eight, s.p + pos, sizeof(eight));
        if (eight & high)
            break;
    }
    return pos;
}

bool str_utf8_valid(struct str s)
{
    for (size_t pos = past_ascii(s, 0); pos < s.n;) {
        unsigned len = 1;
        if ((unsigned char)s.p[pos] < 0x80) {
            pos = past_ascii(s, pos + 1);
            continue;
        }
        if (utf8_at(s, pos, &len) < 0)
            return false;
        pos += len;
    }
    return true;
}

/* Levenshtein distance of words of at most 63 bytes; longer ones are far from everything. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), row[64];
    if (na > 63 || nb > 63)
        return 64;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

const char *str_suggest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t least = 2 + strlen(word) / 3;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, candidates[i]);
        if (d < least) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}
