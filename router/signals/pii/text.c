#include "router/signals/pii/text.h"

#include <stdint.h>

/* Ranges of code points and what they fold to; sorted, the rest is SYM_OTHER. */
enum fold { FOLD_sym, FOLD_digits, FOLD_ascii };

static const struct range {
    uint32_t first, last;
    unsigned char fold;
    unsigned char sym; /* FOLD_sym: the symbol; FOLD_digits: value of the first */
} ranges[] = {
    { 0xa0, 0xa0, FOLD_sym, ' ' },
    { 0xaa, 0xaa, FOLD_sym, SYM_LETTER },
    { 0xad, 0xad, FOLD_sym, SYM_ZERO },
    { 0xb5, 0xb5, FOLD_sym, SYM_LETTER },
    { 0xba, 0xba, FOLD_sym, SYM_LETTER },
    { 0xc0, 0xd6, FOLD_sym, SYM_LETTER },
    { 0xd8, 0xf6, FOLD_sym, SYM_LETTER },
    { 0xf8, 0x34e, FOLD_sym, SYM_LETTER },
    { 0x34f, 0x34f, FOLD_sym, SYM_ZERO },
    { 0x350, 0x373, FOLD_sym, SYM_LETTER },
    { 0x376, 0x37d, FOLD_sym, SYM_LETTER },
    { 0x37f, 0x559, FOLD_sym, SYM_LETTER },
    { 0x560, 0x588, FOLD_sym, SYM_LETTER },
    { 0x591, 0x5f2, FOLD_sym, SYM_LETTER },
    { 0x610, 0x61a, FOLD_sym, SYM_LETTER },
    { 0x61c, 0x61c, FOLD_sym, SYM_ZERO },
    { 0x620, 0x65f, FOLD_sym, SYM_LETTER },
    { 0x660, 0x669, FOLD_digits, 0 },
    { 0x66e, 0x6d3, FOLD_sym, SYM_LETTER },
    { 0x6d5, 0x6ef, FOLD_sym, SYM_LETTER },
    { 0x6f0, 0x6f9, FOLD_digits, 0 },
    { 0x6fa, 0x6ff, FOLD_sym, SYM_LETTER },
    { 0x710, 0x963, FOLD_sym, SYM_LETTER },
    { 0x966, 0x96f, FOLD_digits, 0 },
    { 0x971, 0x9e5, FOLD_sym, SYM_LETTER },
    { 0x9e6, 0x9ef, FOLD_digits, 0 },
    { 0x9f0, 0xdf3, FOLD_sym, SYM_LETTER },
    { 0xe01, 0xe4f, FOLD_sym, SYM_HAN },
    { 0xe50, 0xe59, FOLD_digits, 0 },
    { 0xe80, 0x109f, FOLD_sym, SYM_HAN },
    { 0x10a0, 0x13ff, FOLD_sym, SYM_LETTER },
    { 0x180b, 0x180e, FOLD_sym, SYM_ZERO },
    { 0x1e00, 0x1fbc, FOLD_sym, SYM_LETTER },
    { 0x1fc2, 0x1ffc, FOLD_sym, SYM_LETTER },
    { 0x2000, 0x200a, FOLD_sym, ' ' },
    { 0x200b, 0x200f, FOLD_sym, SYM_ZERO },
    { 0x2010, 0x2015, FOLD_sym, '-' },
    { 0x2018, 0x2019, FOLD_sym, '\'' },
    { 0x201c, 0x201d, FOLD_sym, '"' },
    { 0x2024, 0x2024, FOLD_sym, '.' },
    { 0x202a, 0x202e, FOLD_sym, SYM_ZERO },
    { 0x202f, 0x202f, FOLD_sym, ' ' },
    { 0x2043, 0x2043, FOLD_sym, '-' },
    { 0x205f, 0x205f, FOLD_sym, ' ' },
    { 0x2060, 0x206f, FOLD_sym, SYM_ZERO },
    { 0x2070, 0x2070, FOLD_digits, 0 },
    { 0x2074, 0x2079, FOLD_digits, 4 },
    { 0x2080, 0x2089, FOLD_digits, 0 },
    { 0x20e3, 0x20e3, FOLD_sym, SYM_ZERO }, /* the cap of a keycap digit */
    { 0x2212, 0x2212, FOLD_sym, '-' },
    { 0x2460, 0x2468, FOLD_digits, 1 },
    { 0x24ea, 0x24ea, FOLD_digits, 0 },
    { 0x3000, 0x3000, FOLD_sym, ' ' },
    { 0x3005, 0x3007, FOLD_sym, SYM_HAN },
    { 0x3041, 0x312f, FOLD_sym, SYM_HAN },
    { 0x3400, 0x4dbf, FOLD_sym, SYM_HAN },
    { 0x4e00, 0x9fff, FOLD_sym, SYM_HAN },
    { 0xac00, 0xd7a3, FOLD_sym, SYM_HAN },
    { 0xf900, 0xfaff, FOLD_sym, SYM_HAN },
    { 0xfe00, 0xfe0f, FOLD_sym, SYM_ZERO },
    { 0xfe52, 0xfe52, FOLD_sym, '.' },
    { 0xfe58, 0xfe58, FOLD_sym, '-' },
    { 0xfe63, 0xfe63, FOLD_sym, '-' },
    { 0xfe6b, 0xfe6b, FOLD_sym, '@' },
    { 0xfeff, 0xfeff, FOLD_sym, SYM_ZERO },
    { 0xff01, 0xff5e, FOLD_ascii, 0 },
    { 0xff66, 0xffdc, FOLD_sym, SYM_HAN },
    { 0x1d7ce, 0x1d7ff, FOLD_digits, 0 }, /* five alphabets of mathematical digits */
    { 0x20000, 0x3ffff, FOLD_sym, SYM_HAN },
    { 0xe0000, 0xe01ef, FOLD_sym, SYM_ZERO },
};

static unsigned fold(uint32_t cp)
{
    if (cp < 0x80)
        return cp ? cp : SYM_OTHER;
    size_t lo = 0, hi = ARRAY_LEN(ranges);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > ranges[mid].last)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == ARRAY_LEN(ranges) || cp < ranges[lo].first)
        return SYM_OTHER;
    const struct range *r = &ranges[lo];
    if (r->fold == FOLD_digits)
        return '0' + (r->sym + (cp - r->first)) % 10;
    return r->fold == FOLD_ascii ? cp - 0xff01 + '!' : r->sym;
}

static unsigned lead_len(unsigned char b)
{
    return b < 0x80 ? 1 : b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : b >= 0xc2 ? 2 : 1;
}

unsigned pii_symbol(struct pii_cursor *c, size_t pos, size_t *ret_next)
{
    unsigned char b = c->p[pos];
    if (b < 0x80) {
        *ret_next = pos + 1;
        return b ? b : SYM_OTHER;
    }
    if (!c->end && c->n - pos < lead_len(b)) {
        c->more = true;
        *ret_next = c->n;
        return SYM_END;
    }
    *ret_next = pos;
    struct str s = { (const char *)c->p, c->n };
    return fold((uint32_t)str_utf8_next(s, ret_next));
}

unsigned pii_peek_slow(struct pii_cursor *c, size_t pos, size_t *ret_next)
{
    for (;;) {
        *ret_next = pos;
        if (pos >= c->limit)
            return SYM_END;
        if (pos >= c->n) {
            c->more |= !c->end;
            return SYM_END;
        }
        unsigned s = pii_symbol(c, pos, ret_next);
        if (s != SYM_ZERO)
            return s;
        pos = *ret_next;
    }
}

unsigned pii_before(const struct pii_cursor *c, size_t pos, size_t *ret_start)
{
    size_t low = c->at > PII_BACK ? c->at - PII_BACK : 0;
    struct str s = { (const char *)c->p, pos };
    while (pos > low) {
        size_t start = pos - 1;
        while (start > low && pos - start < 4 && (c->p[start] & 0xc0) == 0x80)
            start--;
        size_t next = start;
        s.n = pos;
        unsigned sym = fold((uint32_t)str_utf8_next(s, &next));
        if (next != pos) { /* malformed, or cut by `low`: one byte of anything */
            start = pos - 1;
            sym = SYM_OTHER;
        }
        *ret_start = start;
        if (sym != SYM_ZERO)
            return sym;
        pos = start;
    }
    *ret_start = pos;
    return SYM_END;
}

void pii_place(struct pii_cursor *c, size_t at)
{
    c->at = at;
    c->limit = at + PII_READ;
    c->more = false;
    c->has_context = false;
    if (at && c->p[at - 1] < 128 && c->p[at - 1]) {
        c->prev = c->p[at - 1];
        c->prev_at = at - 1;
    } else {
        c->prev = pii_before(c, at, &c->prev_at);
    }
}

static bool joint(unsigned s)
{
    return s == '-' || s == '.' || s == '/' || s == '_';
}

bool pii_joined_before(const struct pii_cursor *c)
{
    size_t start;
    return joint(c->prev) && sym_digit(pii_before(c, c->prev_at, &start));
}

bool pii_joined_after(struct pii_cursor *c, size_t pos)
{
    size_t next;
    return joint(pii_peek(c, pos, &next)) && sym_digit(pii_peek(c, next, &next));
}
