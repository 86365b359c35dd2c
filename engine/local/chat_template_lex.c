/*
 * Template text to tokens, with Jinja's white space rules as transformers sets them: trim_blocks,
 * lstrip_blocks, and no newline at the very end.
 */
#include "engine/local/chat_template_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

int lexer_fail(struct lexer *l, unsigned line, const char *fmt, ...)
{
    char text[200];
    va_list args;
    if (l->err != 0)
        return l->err;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    l->err = fail_set(l->reterr, FAIL_invalid_request, "chat template, line %u: %s", line, text);
    return l->err;
}

int lexer_init(struct lexer *l, struct arena *arena, struct str source, struct fail *reterr)
{
    char *p = arena_alloc(arena, source.n + 1);
    if (!p)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < source.n; i++) {
        if (source.p[i] == '\r' && i + 1 < source.n && source.p[i + 1] == '\n')
            continue;
        p[n++] = source.p[i] == '\r' ? '\n' : source.p[i];
    }
    if (n && p[n - 1] == '\n')
        n--;
    *l = (struct lexer){ .arena = arena, .src = { p, n }, .line = 1, .reterr = reterr };
    return 0;
}

static char peek(const struct lexer *l, size_t ahead)
{
    return l->at + ahead < l->src.n ? l->src.p[l->at + ahead] : '\0';
}

static bool looks_at(const struct lexer *l, const char *what)
{
    return str_starts(str_sub(l->src, l->at), str_of(what));
}

static void advance(struct lexer *l, size_t n)
{
    for (size_t i = 0; i < n && l->at < l->src.n; i++)
        l->line += l->src.p[l->at++] == '\n';
}

static void skip_space(struct lexer *l)
{
    while (l->at < l->src.n && is_space(l->src.p[l->at]))
        advance(l, 1);
}

/* The end of a tag was just read: its sign decides over the white space behind it. */
static void after_tag(struct lexer *l, char sign, bool trims)
{
    if (sign == '-')
        skip_space(l);
    else if (sign != '+' && trims && peek(l, 0) == '\n')
        advance(l, 1);
}

/* The white space in front of a tag that begins at src.p[tag]; returns where the text ends. */
static size_t before_tag(const struct lexer *l, size_t from, size_t tag, bool lstrips)
{
    char sign = tag + 2 < l->src.n ? l->src.p[tag + 2] : '\0';
    size_t end = tag;
    if (sign == '-') {
        while (end > from && is_space(l->src.p[end - 1]))
            end--;
        return end;
    }
    if (sign == '+' || !lstrips)
        return end;
    while (end > from && is_space(l->src.p[end - 1]) && l->src.p[end - 1] != '\n')
        end--;
    bool starts_line = end == 0 || l->src.p[end - 1] == '\n';
    return starts_line ? end : tag;
}

static size_t next_tag(const struct lexer *l)
{
    for (size_t i = l->at; i + 1 < l->src.n; i++)
        if (l->src.p[i] == '{' &&
            (l->src.p[i + 1] == '{' || l->src.p[i + 1] == '%' || l->src.p[i + 1] == '#'))
            return i;
    return l->src.n;
}

static struct lex_token token(const struct lexer *l, enum token_type type, struct str text)
{
    return (struct lex_token){ .type = type, .line = l->line, .text = text };
}

/* Behind "{#": to the end of the comment. */
static void skip_comment(struct lexer *l)
{
    unsigned line = l->line;
    ptrdiff_t end = str_find(str_sub(l->src, l->at), STR("#}"));
    if (end < 0) {
        (void)lexer_fail(l, line, "a comment is not closed");
        return;
    }
    char sign = end > 0 ? l->src.p[l->at + (size_t)end - 1] : '\0';
    advance(l, (size_t)end + 2);
    after_tag(l, sign, true);
}

/* Consumes "[sign] word [sign] %}" at l->at; false: something else stands there. */
static bool take_word_tag(struct lexer *l, const char *word, char *ret_sign)
{
    size_t i = l->at;
    if (i < l->src.n && (l->src.p[i] == '-' || l->src.p[i] == '+'))
        i++;
    while (i < l->src.n && is_space(l->src.p[i]))
        i++;
    if (!str_starts(str_sub(l->src, i), str_of(word)))
        return false;
    i += strlen(word);
    if (i < l->src.n && is_name(l->src.p[i]))
        return false;
    while (i < l->src.n && is_space(l->src.p[i]))
        i++;
    *ret_sign = '\0';
    if (i < l->src.n && (l->src.p[i] == '-' || l->src.p[i] == '+'))
        *ret_sign = l->src.p[i++];
    if (!str_starts(str_sub(l->src, i), STR("%}")))
        return false;
    advance(l, i + 2 - l->at);
    return true;
}

struct lex_token lexer_raw(struct lexer *l)
{
    size_t from = l->at;
    struct lex_token t = token(l, T_text, STR_NULL);
    while (l->at < l->src.n) {
        size_t tag = l->at;
        char sign;
        if (!looks_at(l, "{%")) {
            advance(l, 1);
            continue;
        }
        advance(l, 2);
        if (take_word_tag(l, "endraw", &sign)) {
            size_t end = before_tag(l, from, tag, true);
            t.text = (struct str){ l->src.p + from, end - from };
            after_tag(l, sign, true);
            return t;
        }
    }
    (void)lexer_fail(l, t.line, "{%% raw %%} is not closed");
    return t;
}

/* Text up to the next tag; an empty text means that a tag begins here and was entered. */
static struct lex_token data(struct lexer *l)
{
    while (l->err == 0 && l->at < l->src.n) {
        size_t from = l->at, tag = next_tag(l);
        char kind = tag < l->src.n ? l->src.p[tag + 1] : '\0';
        size_t end = kind ? before_tag(l, from, tag, kind != '{') : tag;
        struct lex_token t = token(l, T_text, (struct str){ l->src.p + from, end - from });
        if (end > from) {
            advance(l, tag - from); /* the tag is met again, with nothing before it */
            return t;
        }
        advance(l, tag - from + 2);
        char sign = '\0';
        if (kind == '#') {
            skip_comment(l);
        } else if (kind == '%' && take_word_tag(l, "raw", &sign)) {
            after_tag(l, sign, false);
            t = lexer_raw(l);
            if (t.text.n)
                return t;
        } else {
            if (peek(l, 0) == '-' || (kind == '%' && peek(l, 0) == '+'))
                advance(l, 1);
            l->in_tag = true;
            l->in_output = kind == '{';
            l->depth = 0;
            return token(l, kind == '{' ? T_output : T_block, STR_NULL);
        }
    }
    return token(l, T_end, STR_NULL);
}

static bool at_close(struct lexer *l, struct lex_token *ret)
{
    const char *end = l->in_output ? "}}" : "%}";
    char sign = peek(l, 0);
    if (sign != '-' && (sign != '+' || l->in_output))
        sign = '\0';
    if (!str_starts(str_sub(l->src, l->at + (sign ? 1 : 0)), str_of(end)))
        return false;
    *ret = token(l, T_close, STR_NULL);
    advance(l, sign ? 3 : 2);
    after_tag(l, sign, !l->in_output);
    l->in_tag = false;
    return true;
}

static unsigned take_digits(struct lexer *l, size_t *at, unsigned base, size_t max)
{
    unsigned v = 0;
    for (size_t i = 0; i < max && *at < l->src.n; i++, (*at)++) {
        char c = l->src.p[*at];
        unsigned d = is_digit(c) ? (unsigned)(c - '0') : 99;
        if ((c | 32) >= 'a' && (c | 32) <= 'f')
            d = (unsigned)((c | 32) - 'a' + 10);
        if (d >= base)
            break;
        v = v * base + d;
    }
    return v;
}

/* The escape behind a backslash at *at, as Python's "unicode-escape". */
static size_t unescape(struct lexer *l, size_t *at, char *to)
{
    static const char from[] = "ntrabfv\\'\"", into[] = "\n\t\r\a\b\f\v\\'\"";
    char c = l->src.p[(*at)++];
    const char *hit = c ? strchr(from, c) : NULL;
    if (hit) {
        to[0] = into[hit - from];
        return 1;
    }
    if (c == '\n')
        return 0;
    unsigned rune = 0;
    size_t begin = *at, want = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (want) {
        rune = take_digits(l, at, 16, want);
        if (*at - begin != want || rune > 0x10ffff)
            (void)lexer_fail(l, l->line, "a malformed \\%c escape", c);
        return str_utf8_put(to, rune > 0x10ffff ? 0xfffd : rune);
    }
    if (c >= '0' && c <= '7') {
        (*at)--;
        return str_utf8_put(to, take_digits(l, at, 8, 3));
    }
    to[0] = '\\';
    to[1] = c;
    return 2;
}

static struct lex_token string(struct lexer *l)
{
    struct lex_token t = token(l, T_string, STR_NULL);
    char quote = l->src.p[l->at];
    size_t i = l->at + 1, end = i;
    while (end < l->src.n && l->src.p[end] != quote)
        end += l->src.p[end] == '\\' ? 2 : 1;
    if (end >= l->src.n) {
        (void)lexer_fail(l, l->line, "a string is not closed");
        return t;
    }
    char *to = arena_alloc(l->arena, (end - i) * 2 + 8); /* an escape writes at most 4 bytes of 2 */
    if (!to) {
        l->err = -ENOMEM;
        return t;
    }
    t.text.p = to;
    while (i < end) {
        if (l->src.p[i] == '\\') {
            i++;
            t.text.n += unescape(l, &i, to + t.text.n);
        } else {
            to[t.text.n++] = l->src.p[i++];
        }
    }
    advance(l, end + 1 - l->at);
    return t;
}

static struct lex_token number(struct lexer *l)
{
    struct lex_token t = token(l, T_int, STR_NULL);
    char digits[64];
    size_t n = 0, i = l->at;
    bool after_dot = i > 0 && l->src.p[i - 1] == '.';
    for (; i < l->src.n && n + 1 < sizeof(digits); i++) {
        char c = l->src.p[i], next = i + 1 < l->src.n ? l->src.p[i + 1] : '\0';
        bool exponent = (c | 32) == 'e' && !after_dot &&
                        (is_digit(next) || ((next == '-' || next == '+') && i + 2 < l->src.n &&
                                            is_digit(l->src.p[i + 2])));
        bool point = c == '.' && is_digit(next) && !after_dot && t.type == T_int;
        if (c == '_' && is_digit(next))
            continue;
        if (exponent || point)
            t.type = T_float;
        else if (!is_digit(c) && !((c == '-' || c == '+') && n && (digits[n - 1] | 32) == 'e'))
            break;
        digits[n++] = c;
    }
    digits[n] = '\0';
    errno = 0;
    t.f = strtod(digits, NULL);
    t.i = t.type == T_int ? (int64_t)strtoll(digits, NULL, 10) : 0;
    if (errno == ERANGE || (i < l->src.n && is_name(l->src.p[i])))
        (void)lexer_fail(l, l->line, "the number '%.20s' is not understood", digits);
    advance(l, i - l->at);
    return t;
}

static struct lex_token operator(struct lexer *l)
{
    static const char *const pairs[] = { "**", "//", "==", "!=", "<=", ">=" };
    struct lex_token t = token(l, T_op, str_head(str_sub(l->src, l->at), 1));
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (looks_at(l, pairs[i]))
            t.text.n = 2;
    char c = t.text.p[0];
    if (!c || (t.text.n == 1 && !strchr("+-/*%~[](){}=<>.:|,", c)))
        (void)lexer_fail(l, l->line, "an unexpected '%c' (byte 0x%02x)",
                         c >= ' ' && c < 127 ? c : '?', (unsigned char)c);
    if (c == '(' || c == '[' || c == '{')
        l->depth++;
    if ((c == ')' || c == ']' || c == '}') && l->depth-- == 0)
        (void)lexer_fail(l, l->line, "an unexpected '%c'", c);
    advance(l, t.text.n);
    return t;
}

struct lex_token lexer_next(struct lexer *l)
{
    struct lex_token t;
    if (l->err != 0)
        return token(l, T_end, STR_NULL);
    if (!l->in_tag) {
        t = data(l);
    } else {
        skip_space(l);
        char c = peek(l, 0);
        if (l->at >= l->src.n) {
            (void)lexer_fail(l, l->line, "a tag is not closed");
        } else if (l->depth == 0 && at_close(l, &t)) {
            return t;
        } else if (c == '\'' || c == '"') {
            t = string(l);
        } else if (is_digit(c)) {
            t = number(l);
        } else if (is_name(c)) {
            t = token(l, T_name, STR_NULL);
            size_t from = l->at;
            while (is_name(peek(l, 0)))
                l->at++;
            t.text = (struct str){ l->src.p + from, l->at - from };
        } else {
            t = operator(l);
        }
    }
    return l->err != 0 ? token(l, T_end, STR_NULL) : t;
}
