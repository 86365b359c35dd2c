#include "router/dsl/lexer.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool starts_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool in_word(char c)
{
    return starts_word(c) || is_digit(c) || c == '-' || c == '.' || c == '/';
}

bool dsl_is_word(struct str s)
{
    if (s.n == 0 || !starts_word(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!in_word(s.p[i]))
            return false;
    return true;
}

static char peek(const struct lexer *l, size_t ahead) /* '\0' beyond the end */
{
    return ahead < l->source.n - l->pos ? l->source.p[l->pos + ahead] : '\0';
}

static void advance(struct lexer *l, size_t n)
{
    for (size_t end = l->pos + n; l->pos < end; l->pos++) {
        unsigned char c = (unsigned char)l->source.p[l->pos];
        if (c == '\n')
            l->at = (struct dsl_place){ l->at.line + 1, 1 };
        else if ((c & 0xc0) != 0x80) /* not the rest of a character */
            l->at.column++;
    }
}

static void gather_comment(struct lexer *l, bool blank)
{
    size_t n = 0;
    while (n < l->source.n - l->pos && peek(l, n) != '\n')
        n++;
    struct dsl_comment *c = arena_alloc(l->arena, sizeof(*c));
    if (!c) {
        l->no_memory = true;
    } else {
        c->text = str_trim((struct str){ l->source.p + l->pos, n });
        c->same_line = l->last_line == l->at.line;
        c->blank = blank;
        *l->comments_end = c;
        l->comments_end = &c->next;
    }
    advance(l, n);
}

/* White space and comments. */
static void skip(struct lexer *l)
{
    unsigned line = l->last_line ? l->last_line : 1; /* of what was seen last */
    bool any = l->last_line != 0;
    while (l->pos < l->source.n) {
        char c = peek(l, 0);
        if (is_space(c)) {
            advance(l, 1);
        } else if (c == '#') {
            gather_comment(l, any && l->at.line > line + 1);
            line = l->at.line;
            any = true;
        } else {
            break;
        }
    }
    l->token.blank = any && l->at.line > line + 1;
}

static size_t number_length(const struct lexer *l, bool *ret_float)
{
    size_t n = peek(l, 0) == '+' || peek(l, 0) == '-';
    size_t sign = n;
    *ret_float = false;
    while (is_digit(peek(l, n)))
        n++;
    if (n == sign)
        return 0;
    if (peek(l, n) == '.' && is_digit(peek(l, n + 1))) {
        *ret_float = true;
        for (n++; is_digit(peek(l, n)); n++)
            ;
    }
    return n;
}

static size_t text_length(const struct lexer *l) /* with its quotes; 0: no end */
{
    size_t left = l->source.n - l->pos;
    for (size_t n = 1; n < left; n++) {
        if (peek(l, n) == '"')
            return n + 1;
        n += peek(l, n) == '\\';
    }
    return 0;
}

static size_t measure(struct lexer *l, enum token_kind *ret)
{
    static const char arrow[] = "\xe2\x86\x92"; /* U+2192 */
    struct str rest = str_sub(l->source, l->pos);
    bool is_float;
    size_t n = number_length(l, &is_float);
    *ret = is_float ? TOKEN_float : TOKEN_int;
    if (n)
        return n;
    char c = peek(l, 0);
    if (c == '"') {
        n = text_length(l);
        *ret = n ? TOKEN_text : TOKEN_bad;
        return n ? n : 1;
    }
    *ret = TOKEN_arrow;
    if (str_starts(rest, STR("->")))
        return 2;
    if (str_starts(rest, str_of(arrow)))
        return sizeof(arrow) - 1;
    if (starts_word(c)) {
        *ret = TOKEN_word;
        for (n = 1; in_word(peek(l, n)); n++)
            ;
        return n;
    }
    *ret = c && strchr("{}()[]:,=>", c) ? TOKEN_punct : TOKEN_bad;
    if (*ret == TOKEN_bad) { /* the whole character */
        size_t pos = l->pos;
        (void)str_utf8_next(l->source, &pos);
        return pos - l->pos;
    }
    return 1;
}

void dsl_lexer_next(struct lexer *l)
{
    skip(l);
    struct token *t = &l->token;
    t->at = l->at;
    t->first = l->at.line != l->last_line;
    t->raw = str_head(str_sub(l->source, l->pos), 0);
    t->kind = TOKEN_end;
    if (l->pos >= l->source.n || l->no_memory)
        return;
    t->raw.n = measure(l, &t->kind);
    advance(l, t->raw.n);
    l->last_line = l->at.line;
}

void dsl_lexer_init(struct lexer *l, struct str source, struct arena *arena)
{
    *l = (struct lexer){ .source = source, .at = { 1, 1 }, .arena = arena };
    l->comments_end = &l->comments;
    if (str_starts(source, STR("\xef\xbb\xbf"))) { /* a byte order mark */
        l->source = str_sub(source, 3);
    }
    dsl_lexer_next(l);
}

/* ---- texts ---- */

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `n` digits of `base` at *pos, or -1. */
static long read_digits(struct str s, size_t *pos, size_t n, unsigned base)
{
    long value = 0;
    for (size_t i = 0; i < n; i++, (*pos)++) {
        int digit = *pos < s.n ? hex_value(s.p[*pos]) : -1;
        if (digit < 0 || (unsigned)digit >= base)
            return -1;
        value = value * (long)base + digit;
    }
    return value;
}

/* The escape at *pos, which stands behind its backslash; 0: it is none. */
static size_t escape(struct str s, size_t *pos, char ret[static 4])
{
    static const char from[] = "abfnrtv\\\"", to[] = "\a\b\f\n\r\t\v\\\"";
    enum { LAST_CODE_POINT = 0x10ffff, SURROGATES = 0xd800, AFTER_SURROGATES = 0xe000 };
    if (*pos >= s.n)
        return 0;
    char c = s.p[*pos];
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        (*pos)++;
        ret[0] = to[simple - from];
        return 1;
    }
    if (c >= '0' && c <= '7') {
        long byte = read_digits(s, pos, 3, 8);
        ret[0] = (char)byte;
        return byte >= 0 && byte <= 255;
    }
    if (c != 'x' && c != 'u' && c != 'U')
        return 0;
    (*pos)++;
    long value = read_digits(s, pos, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    if (value < 0 || value > LAST_CODE_POINT)
        return 0;
    if (c == 'x') {
        ret[0] = (char)value;
        return 1;
    }
    if (value >= SURROGATES && value < AFTER_SURROGATES)
        return 0;
    return str_utf8_put(ret, (unsigned)value);
}

struct str dsl_unquote(struct arena *arena, struct str raw, bool *ret_plain)
{
    struct str inside = { raw.p + 1, raw.n - 2 };
    char *out = arena_alloc(arena, inside.n + 4);
    size_t n = 0;
    *ret_plain = false;
    if (!out)
        return STR_NULL;
    for (size_t pos = 0; pos < inside.n;) {
        char c = inside.p[pos++];
        if (c != '\\' && c != '\n') {
            out[n++] = c;
            continue;
        }
        char bytes[4];
        size_t k = c == '\n' ? 0 : escape(inside, &pos, bytes);
        if (k == 0) {
            *ret_plain = true;
            memcpy(out, inside.p, inside.n);
            out[inside.n] = '\0';
            return (struct str){ out, inside.n };
        }
        memcpy(out + n, bytes, k); /* an escape is never shorter than what it says */
        n += k;
    }
    out[n] = '\0';
    return (struct str){ out, n };
}
