#include "engine/local/grammar/regex.h"

#include "engine/local/grammar/regex_impl.h"

#include <string.h>

enum { MAX_DEPTH = 64, MAX_COUNT = 1 << 16, NO_MAX = MAX_COUNT + 1 };

/* A part of the graph: from `in` to `out` reads what the part matches. */
struct part {
    uint32_t in, out;
};

struct parser {
    struct lang *l;
    struct str p;
    size_t at;
    unsigned depth;
    bool lookaheads; /* the pattern began with some: no top-level alternatives then */
    bool failed;
    struct fail *reterr;
};

static struct part disjunction(struct parser *x);

static struct part wrong(struct parser *x, size_t at, const char *what)
{
    if (!x->failed)
        (void)fail_set(x->reterr, FAIL_invalid_request, "%s at offset %zu of the pattern", what,
                       at);
    x->failed = true;
    return (struct part){ 0 };
}

static bool stopped(const struct parser *x)
{
    return x->failed || lang_failed(x->l);
}

static bool ahead(const struct parser *x, const char *text)
{
    return str_starts(str_sub(x->p, x->at), str_of(text));
}

static bool take(struct parser *x, const char *text)
{
    if (!ahead(x, text))
        return false;
    x->at += strlen(text);
    return true;
}

static char peek(const struct parser *x) /* '\0' at the end */
{
    return x->at < x->p.n ? x->p.p[x->at] : '\0';
}

static struct part part_new(struct parser *x)
{
    uint32_t in = lang_state(x->l);
    return (struct part){ in, lang_state(x->l) };
}

static struct part part_set(struct parser *x, struct charset *s)
{
    struct part r = part_new(x);
    lang_edge(x->l, r.in, lang_set(x->l, s), r.out);
    return r;
}

static struct part part_char(struct parser *x, uint32_t c)
{
    struct part r = part_new(x);
    lang_edge(x->l, r.in, lang_range(x->l, c, c), r.out);
    return r;
}

static struct part part_guard(struct parser *x, enum lang_guard g)
{
    struct part r = part_new(x);
    lang_skip(x->l, r.in, r.out, g);
    return r;
}

/* --- escapes --- */

static bool hex(struct parser *x, unsigned digits, uint32_t *ret)
{
    uint32_t v = 0;
    if (x->p.n - x->at < digits)
        return false;
    for (unsigned i = 0; i < digits; i++) {
        char c = x->p.p[x->at + i];
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v * 16 + (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
    }
    x->at += digits;
    *ret = v;
    return true;
}

/* Behind "\u": four digits, a surrogate pair, or {…}. */
static bool unicode_escape(struct parser *x, uint32_t *ret)
{
    if (take(x, "{")) {
        size_t end = x->at;
        while (end < x->p.n && x->p.p[end] != '}')
            end++;
        size_t digits = end - x->at;
        if (digits == 0 || digits > 6 || !hex(x, (unsigned)digits, ret) || !take(x, "}"))
            return false;
    } else {
        uint32_t low = 0;
        if (!hex(x, 4, ret))
            return false;
        bool high = *ret >= SURROGATE_FIRST && *ret < 0xdc00;
        if (high && take(x, "\\u") && hex(x, 4, &low) && low >= 0xdc00 && low <= SURROGATE_LAST)
            *ret = 0x10000 + ((*ret - SURROGATE_FIRST) << 10) + (low - 0xdc00);
    }
    return *ret <= CODE_LAST && (*ret < SURROGATE_FIRST || *ret > SURROGATE_LAST);
}

/* The character of an escape that stands for one; x->at is behind the backslash. */
static bool character_escape(struct parser *x, uint32_t *ret)
{
    static const char from[] = "tnvfr";
    static const char to[] = "\t\n\v\f\r";
    size_t start = x->at;
    char c = peek(x);
    const char *simple = c ? strchr(from, c) : NULL;
    bool ok = true;
    if (simple) {
        x->at++;
        *ret = (unsigned char)to[simple - from];
    } else if (take(x, "x")) {
        ok = hex(x, 2, ret);
    } else if (take(x, "u")) {
        ok = unicode_escape(x, ret);
    } else if (take(x, "c")) {
        ok = (peek(x) | 0x20) >= 'a' && (peek(x) | 0x20) <= 'z';
        *ret = (uint32_t)peek(x) & 0x1f;
        x->at++;
    } else if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '\0') {
        ok = false;
    } else {
        *ret = (uint32_t)str_utf8_next(x->p, &x->at);
    }
    if (ok && *ret == 0)
        ok = false; /* U+0000 is never generated */
    if (!ok)
        (void)wrong(x, start - 1, "an escape that cannot be honoured (as \\1, \\k, \\p, \\0)");
    return ok;
}

static bool class_escape(const struct parser *x)
{
    return peek(x) && strchr("dDwWsS", peek(x));
}

static struct part escape(struct parser *x)
{
    if (take(x, "b"))
        return part_guard(x, GUARD_BORDER);
    if (take(x, "B"))
        return part_guard(x, GUARD_NO_BORDER);
    if (class_escape(x)) {
        CLEANUP(regex_class_done) struct regex_class c = { 0 };
        regex_class_add(&c, x->p.p[x->at++]);
        return part_set(x, &c.sure);
    }
    uint32_t c = 0;
    return character_escape(x, &c) ? part_char(x, c) : (struct part){ 0 };
}

/* --- classes --- */

/* One member. A class such as \d is added at once, and *ret_single is false. */
static bool class_atom(struct parser *x, struct regex_class *c, uint32_t *ret, bool *ret_single)
{
    *ret_single = true;
    if (!take(x, "\\")) {
        *ret = (uint32_t)str_utf8_next(x->p, &x->at);
        return true;
    }
    if (take(x, "b")) {
        *ret = '\b';
        return true;
    }
    if (class_escape(x)) {
        regex_class_add(c, x->p.p[x->at++]);
        *ret_single = false;
        return true;
    }
    return character_escape(x, ret);
}

static struct part bracket(struct parser *x)
{
    CLEANUP(regex_class_done) struct regex_class c = { 0 };
    size_t start = x->at - 1;
    bool negated = take(x, "^");
    while (!take(x, "]")) {
        uint32_t first = 0;
        uint32_t last = 0;
        bool single = false;
        bool single_last = true;
        if (x->at >= x->p.n)
            return wrong(x, start, "a character class without its end");
        if (!class_atom(x, &c, &first, &single))
            return (struct part){ 0 };
        last = first;
        if (single && peek(x) == '-' && x->at + 1 < x->p.n && x->p.p[x->at + 1] != ']') {
            x->at++;
            if (!class_atom(x, &c, &last, &single_last))
                return (struct part){ 0 };
            if (!single_last) {
                regex_class_add_range(&c, '-', '-');
                last = first;
            }
        }
        if (last < first)
            return wrong(x, start, "a range in reverse order in the character class");
        if (single)
            regex_class_add_range(&c, first, last);
    }
    if (!negated)
        return part_set(x, &c.sure);
    CLEANUP(charset_done) struct charset rest = { 0 };
    charset_tidy(&c.maybe);
    charset_complement(&rest, &c.maybe);
    return part_set(x, &rest);
}

/* --- groups, quantifiers, sequences --- */

static struct part group(struct parser *x)
{
    size_t start = x->at - 1;
    if (ahead(x, "?=") || ahead(x, "?!"))
        return wrong(x, start, "a lookahead that is not at the start, behind ^,");
    if (ahead(x, "?<=") || ahead(x, "?<!"))
        return wrong(x, start, "a lookbehind");
    if (take(x, "?<")) {
        while (x->at < x->p.n && peek(x) != '>')
            x->at++;
        if (!take(x, ">"))
            return wrong(x, start, "a group name without its end");
    } else if (!take(x, "?:") && ahead(x, "?")) {
        return wrong(x, start, "a kind of group that ECMA 262 does not know");
    }
    if (++x->depth > MAX_DEPTH)
        return wrong(x, start, "groups nested too deeply");
    struct part r = disjunction(x);
    x->depth--;
    return take(x, ")") ? r : wrong(x, start, "a group without its end");
}

static struct part atom(struct parser *x, bool *ret_assertion)
{
    size_t start = x->at;
    *ret_assertion = ahead(x, "^") || ahead(x, "$") || ahead(x, "\\b") || ahead(x, "\\B");
    if (take(x, "^"))
        return part_guard(x, GUARD_START);
    if (take(x, "$"))
        return part_guard(x, GUARD_END);
    if (take(x, "\\"))
        return escape(x);
    if (take(x, "["))
        return bracket(x);
    if (take(x, "("))
        return group(x);
    if (take(x, ".")) {
        CLEANUP(regex_class_done) struct regex_class c = { 0 };
        regex_class_dot(&c);
        return part_set(x, &c.sure);
    }
    if (ahead(x, "*") || ahead(x, "+") || ahead(x, "?"))
        return wrong(x, start, "a quantifier with nothing before it");
    int c = str_utf8_next(x->p, &x->at);
    return c > 0 ? part_char(x, (uint32_t)c) : wrong(x, start, "a character that is none");
}

static bool number(struct parser *x, uint32_t *ret)
{
    size_t start = x->at;
    uint32_t v = 0;
    for (; peek(x) >= '0' && peek(x) <= '9'; x->at++)
        v = v >= MAX_COUNT ? MAX_COUNT : v * 10 + (uint32_t)(peek(x) - '0');
    *ret = v;
    return x->at > start;
}

/* A quantifier, if one is next. A brace that begins none is a character. */
static bool quantifier(struct parser *x, uint32_t *ret_min, uint32_t *ret_max)
{
    size_t start = x->at;
    bool found = true;
    *ret_max = NO_MAX;
    if (take(x, "*")) {
        *ret_min = 0;
    } else if (take(x, "+")) {
        *ret_min = 1;
    } else if (take(x, "?")) {
        *ret_min = 0;
        *ret_max = 1;
    } else if (take(x, "{")) {
        found = number(x, ret_min);
        if (found && !take(x, ",")) {
            *ret_max = *ret_min;
        } else if (found && peek(x) != '}') {
            found = number(x, ret_max);
        }
        found = found && take(x, "}");
    } else {
        return false;
    }
    if (!found)
        x->at = start;
    else
        (void)take(x, "?"); /* lazy: the same texts */
    return found;
}

/* `first` repeated; further copies are parsed again from `from`. */
static struct part repeated(struct parser *x, struct part first, size_t from, uint32_t min,
                            uint32_t max)
{
    struct part r = part_new(x);
    uint32_t at = r.in;
    size_t end = x->at;
    uint32_t copies = max == NO_MAX ? (min ? min : 1) : max;
    for (uint32_t i = 0; i < copies && !stopped(x); i++) {
        bool assertion = false;
        struct part p = first;
        if (i > 0) {
            x->at = from;
            p = atom(x, &assertion);
        }
        if (i >= min)
            lang_skip(x->l, at, r.out, GUARD_NONE);
        lang_skip(x->l, at, p.in, GUARD_NONE);
        if (max == NO_MAX && i + 1 == copies)
            lang_skip(x->l, p.out, p.in, GUARD_NONE);
        at = p.out;
    }
    lang_skip(x->l, at, r.out, GUARD_NONE);
    x->at = end;
    return r;
}

static struct part alternative(struct parser *x)
{
    struct part r = part_new(x);
    uint32_t at = r.in;
    while (x->at < x->p.n && peek(x) != '|' && peek(x) != ')' && !stopped(x)) {
        size_t from = x->at;
        bool assertion = false;
        uint32_t min = 0;
        uint32_t max = 0;
        struct part p = atom(x, &assertion);
        if (stopped(x))
            return r;
        size_t behind = x->at;
        if (quantifier(x, &min, &max)) {
            if (assertion)
                return wrong(x, behind, "a quantifier behind an assertion");
            if (max < min)
                return wrong(x, behind, "a quantifier with its bounds in reverse order");
            size_t end = x->at;
            p = repeated(x, p, from, min, max);
            x->at = end;
        }
        lang_skip(x->l, at, p.in, GUARD_NONE);
        at = p.out;
    }
    lang_skip(x->l, at, r.out, GUARD_NONE);
    return r;
}

static struct part disjunction(struct parser *x)
{
    struct part r = part_new(x);
    do {
        if (stopped(x))
            return r;
        struct part p = alternative(x);
        lang_skip(x->l, r.in, p.in, GUARD_NONE);
        lang_skip(x->l, p.out, r.out, GUARD_NONE);
        if (x->lookaheads && x->depth == 0 && ahead(x, "|"))
            return wrong(x, x->at, "an alternative beside a lookahead");
    } while (take(x, "|"));
    return r;
}

/* The lookaheads that may follow a leading ^: an operand each. */
static void leading_lookaheads(struct parser *x, bool negated)
{
    size_t start = x->at;
    if (!take(x, "^"))
        return;
    while ((ahead(x, "(?=") || ahead(x, "(?!")) && !stopped(x)) {
        bool inner_negated = ahead(x, "(?!");
        size_t from = x->at;
        if (negated) {
            (void)wrong(x, from, "a lookahead in a negated pattern");
            return;
        }
        x->at += strlen("(?=");
        x->lookaheads = true;
        x->depth++;
        uint32_t in = lang_state(x->l);
        uint32_t out = lang_state(x->l);
        struct part p = disjunction(x);
        x->depth--;
        if (!take(x, ")")) {
            (void)wrong(x, from, "a lookahead without its end");
            return;
        }
        lang_skip(x->l, in, p.in, GUARD_NONE);
        lang_skip(x->l, p.out, out, GUARD_NONE);
        lang_edge(x->l, out, lang_any(x->l), out);
        lang_operand(x->l, in, out, inner_negated);
    }
    if (!x->lookaheads)
        x->at = start;
}

int regex_add(struct lang *l, struct str pattern, enum regex_mode mode, struct fail *reterr)
{
    struct parser x = { .l = l, .p = pattern, .reterr = reterr };
    leading_lookaheads(&x, mode == REGEX_NOWHERE);
    uint32_t in = lang_state(l);
    uint32_t out = lang_state(l);
    struct part p = { 0 };
    if (!stopped(&x))
        p = disjunction(&x);
    if (x.at < x.p.n && !stopped(&x))
        (void)wrong(&x, x.at, "a closing parenthesis without its start");
    if (x.failed)
        return FAILED;
    if (mode != REGEX_WHOLE) {
        if (!x.lookaheads)
            lang_edge(l, in, lang_any(l), in);
        lang_edge(l, out, lang_any(l), out);
    }
    lang_skip(l, in, p.in, GUARD_NONE);
    lang_skip(l, p.out, out, GUARD_NONE);
    lang_operand(l, in, out, mode == REGEX_NOWHERE);
    return 0;
}
