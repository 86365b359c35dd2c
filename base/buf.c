#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_done(struct buf *b)
{
    free(b->p);
    *b = BUF_INIT(b->max);
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->err = 0;
    if (b->p)
        b->p[0] = '\0';
}

char *buf_space(struct buf *b, size_t n)
{
    if (b->err)
        return NULL;
    if (n > b->max || b->n > b->max - n) {
        b->err = -EMSGSIZE;
        return NULL;
    }
    if (b->p && b->n + n < b->cap)
        return b->p + b->n;
    enum { FIRST = 64, WHOLE = 512 };
    size_t cap = b->cap ? b->cap : FIRST;
    while (cap <= b->n + n)
        cap *= 2;
    if (!b->cap && n >= WHOLE) /* much at once is often all there will be */
        cap = (n + FIRST) & ~(size_t)(FIRST - 1);
    char *p = realloc(b->p, cap);
    if (!p) {
        b->err = -ENOMEM;
        return NULL;
    }
    b->p = p;
    b->cap = cap;
    return b->p + b->n;
}

void buf_add(struct buf *b, struct str s)
{
    bool fits = !b->err && b->p && s.n < b->cap - b->n && s.n <= b->max - b->n;
    char *to = fits ? b->p + b->n : buf_space(b, s.n);
    if (!to)
        return;
    if (s.n)
        memcpy(to, s.p, s.n);
    b->n += s.n;
    b->p[b->n] = '\0';
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, (struct str){ &c, 1 });
}

void buf_adds(struct buf *b, const char *cstr)
{
    buf_add(b, str_of(cstr));
}

enum { U64_DIGITS = 20 };

/* At least so many digits, in front of `end`; where they begin. */
static char *put_digits(char *end, uint64_t x, unsigned least)
{
    char *p = end;
    for (; x || end - p < (ptrdiff_t)least; x /= 10)
        *--p = (char)('0' + x % 10);
    return p;
}

void buf_add_u64(struct buf *b, uint64_t x)
{
    char text[U64_DIGITS];
    const char *end = text + sizeof(text), *p = put_digits(text + sizeof(text), x, 1);
    buf_add(b, (struct str){ p, (size_t)(end - p) });
}

void buf_add_decimal(struct buf *b, uint64_t x, unsigned decimals)
{
    char text[U64_DIGITS + 1];
    for (; decimals && x % 10 == 0; decimals--)
        x /= 10;
    char *end = text + sizeof(text), *p = put_digits(end, x, decimals + 1);
    size_t whole = (size_t)(end - p) - decimals;
    if (decimals) {
        memmove(p - 1, p, whole);
        p--;
        p[whole] = '.';
    }
    buf_add(b, (struct str){ p, (size_t)(end - p) });
}

void buf_vaddf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    char *to = n < 0 ? NULL : buf_space(b, (size_t)n);
    if (!to)
        return;
    (void)vsnprintf(to, (size_t)n + 1, fmt, args);
    b->n += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    buf_vaddf(b, fmt, args);
    va_end(args);
}

static void add_json_char(struct buf *b, int cp)
{
    switch (cp) {
    case '"':
        buf_add(b, STR("\\\""));
        return;
    case '\\':
        buf_add(b, STR("\\\\"));
        return;
    case '\n':
        buf_add(b, STR("\\n"));
        return;
    case '\r':
        buf_add(b, STR("\\r"));
        return;
    case '\t':
        buf_add(b, STR("\\t"));
        return;
    default:
        break;
    }
    if (cp < 0x20 || cp == 0x7f) {
        buf_addf(b, "\\u%04x", (unsigned)cp);
        return;
    }
    char utf8[4];
    size_t n = str_utf8_put(utf8, (unsigned)cp);
    buf_add(b, (struct str){ utf8, n });
}

static bool json_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void buf_add_json_chars(struct buf *b, struct str s)
{
    for (size_t pos = 0; pos < s.n;) {
        size_t run = pos;
        while (run < s.n && json_plain((unsigned char)s.p[run]))
            run++;
        if (run > pos) {
            buf_add(b, (struct str){ s.p + pos, run - pos });
            pos = run;
            continue;
        }
        add_json_char(b, str_utf8_next(s, &pos));
    }
}

void buf_add_json(struct buf *b, struct str s)
{
    buf_addc(b, '"');
    buf_add_json_chars(b, s);
    buf_addc(b, '"');
}

void buf_add_escaped(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || (c && strchr("-._~", c));
        if (is_plain)
            buf_addc(b, (char)c);
        else
            buf_addf(b, "%%%02X", c);
    }
}

void buf_add_base64(struct buf *b, struct str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = (s.n / 3 + (s.n % 3 != 0)) * 4;
    char *p = buf_space(b, n);
    for (size_t i = 0; p && i < s.n; i += 3) {
        unsigned bits = (unsigned)(unsigned char)s.p[i] << 16;
        if (i + 1 < s.n)
            bits |= (unsigned)(unsigned char)s.p[i + 1] << 8;
        if (i + 2 < s.n)
            bits |= (unsigned char)s.p[i + 2];
        *p++ = digits[bits >> 18];
        *p++ = digits[bits >> 12 & 63];
        *p++ = i + 1 < s.n ? digits[bits >> 6 & 63] : '=';
        *p++ = i + 2 < s.n ? digits[bits & 63] : '=';
    }
    if (!p)
        return;
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_cut(struct buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
    } else {
        memmove(b->p, b->p + n, b->n - n);
        b->n -= n;
    }
    if (b->p)
        b->p[b->n] = '\0';
}

int buf_err(const struct buf *b)
{
    return b->err;
}

struct str buf_str(const struct buf *b)
{
    return (struct str){ b->p, b->n };
}

char *buf_take(struct buf *b, size_t *ret_len)
{
    if (b->err || !buf_space(b, 0))
        return NULL;
    b->p[b->n] = '\0';
    if (ret_len)
        *ret_len = b->n;
    char *p = TAKE(b->p);
    b->n = b->cap = 0;
    return p;
}
