/*
 * GBNF: the grammar language of llama.cpp, as its grammars/README.md describes it.
 *
 * One pass, recursive descent; parentheses nest at most GBNF_NESTING deep. Rules are made on first
 * mention and defined where they stand; the last definition of a name counts.
 */
#include "engine/local/grammar/grammar.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"

enum {
    GBNF_NESTING = 128,
    GBNF_MAX_BYTES = 4 * MIB,
    GBNF_MAX_COUNT = 1 << 24, /* in {m,n} */
};

struct gbnf_rule {
    struct str name; /* in the text */
    grammar_expr expr;
    size_t at; /* where it was first mentioned */
    bool defined;
};

struct gbnf {
    struct grammar_builder *b;
    struct str text;
    size_t at;
    unsigned nesting;
    struct fail *reterr;
    int err; /* 0, -ENOMEM or FAILED (reterr is filled) */
    struct gbnf_rule *rules;
    uint32_t *index; /* hash of names → rule + 1 */
    uint32_t n_rules, cap_rules, n_index;
    grammar_expr *parts; /* unfinished sequences and choices */
    size_t n_parts, cap_parts;
    struct code_range *ranges; /* of the class under work */
    size_t n_ranges, cap_ranges;
};

enum { GBNF_END = -1 };

static int peek_at(const struct gbnf *p, size_t ahead)
{
    return p->at + ahead < p->text.n ? (unsigned char)p->text.p[p->at + ahead] : GBNF_END;
}

static int peek(const struct gbnf *p)
{
    return peek_at(p, 0);
}

/* Fails at a place of the text; the first failure counts. */
static void wrong_at(struct gbnf *p, size_t at, const char *what, struct str name)
{
    unsigned line = 1, column = 1;
    if (p->err)
        return;
    for (size_t i = 0; i < at && i < p->text.n; i++) {
        if (p->text.p[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)p->text.p[i] & 0xc0) != 0x80) { /* counts characters */
            column++;
        }
    }
    enum { SHOWN = 64 };
    p->err = fail_set(p->reterr, FAIL_invalid_request, "grammar, line %u, column %u: %s" STR_FMT,
                      line, column, what, STR_ARG(str_head(name, SHOWN)));
}

static void wrong(struct gbnf *p, const char *what)
{
    wrong_at(p, p->at, what, STR_NULL);
}

static void *room(struct gbnf *p, void *v, size_t n, size_t *cap, size_t size)
{
    size_t more = *cap ? *cap * 2 : 64, bytes = 0;
    if (v && n < *cap)
        return v;
    void *grown = mul_ok(more, size, &bytes) ? realloc(v, bytes) : NULL;
    if (grown)
        *cap = more;
    else if (!p->err)
        p->err = -ENOMEM;
    return grown;
}

static void push(struct gbnf *p, grammar_expr e)
{
    void *grown = room(p, p->parts, p->n_parts, &p->cap_parts, sizeof(*p->parts));
    if (!grown)
        return;
    p->parts = grown;
    p->parts[p->n_parts++] = e;
}

static void skip_space(struct gbnf *p, bool lines)
{
    for (int c; (c = peek(p)) != GBNF_END; p->at++) {
        if (c == '#') {
            while (peek_at(p, 1) != GBNF_END && peek_at(p, 1) != '\n' && peek_at(p, 1) != '\r')
                p->at++;
        } else if (c != ' ' && c != '\t' && (!lines || (c != '\n' && c != '\r'))) {
            return;
        }
    }
}

static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static struct str name(struct gbnf *p)
{
    size_t from = p->at;
    while (is_word(peek(p)))
        p->at++;
    return (struct str){ p->text.p + from, p->at - from };
}

/* --- rules by name --- */

static uint32_t hash_name(struct str s)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 16777619u;
    return h;
}

static uint32_t *slot(const struct gbnf *p, struct str n)
{
    uint32_t at = hash_name(n) & (p->n_index - 1);
    while (p->index[at] && !str_eq(p->rules[p->index[at] - 1].name, n))
        at = (at + 1) & (p->n_index - 1);
    return &p->index[at];
}

static bool index_grow(struct gbnf *p)
{
    if (p->n_index && p->n_rules * 2 < p->n_index)
        return true;
    uint32_t n = p->n_index ? p->n_index * 2 : 64;
    uint32_t *index = calloc(n, sizeof(*index));
    if (!index) {
        p->err = p->err ? p->err : -ENOMEM;
        return false;
    }
    free(p->index);
    p->index = index;
    p->n_index = n;
    for (uint32_t i = 0; i < p->n_rules; i++)
        *slot(p, p->rules[i].name) = i + 1;
    return true;
}

/* The rule of a name, made on first mention; NULL after a failure. */
static struct gbnf_rule *rule_named(struct gbnf *p, struct str n, size_t at)
{
    size_t cap = p->cap_rules;
    if (!index_grow(p))
        return NULL;
    uint32_t *s = slot(p, n);
    if (*s)
        return &p->rules[*s - 1];
    void *grown = room(p, p->rules, p->n_rules, &cap, sizeof(*p->rules));
    if (!grown)
        return NULL;
    p->rules = grown;
    p->cap_rules = (uint32_t)cap;
    p->rules[p->n_rules] = (struct gbnf_rule){ .name = n, .expr = grammar_rule(p->b), .at = at };
    *s = ++p->n_rules;
    return &p->rules[p->n_rules - 1];
}

/* --- characters --- */

static uint32_t hex(struct gbnf *p, unsigned digits)
{
    uint32_t v = 0;
    size_t at = p->at;
    p->at += 2; /* the backslash and its letter */
    for (unsigned i = 0; i < digits; i++, p->at++) {
        int c = peek(p);
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v * 16 + (uint32_t)((c | 0x20) - 'a') + 10;
        else
            wrong(p, "a hexadecimal digit is missing");
        if (p->err)
            return 0;
    }
    if (v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        wrong_at(p, at, "this is no Unicode character", STR_NULL);
    return v;
}

static uint32_t escape(struct gbnf *p)
{
    int c = peek_at(p, 1);
    switch (c) {
    case 'x':
        return hex(p, 2);
    case 'u':
        return hex(p, 4);
    case 'U':
        return hex(p, 8);
    case 't':
        c = '\t';
        break;
    case 'r':
        c = '\r';
        break;
    case 'n':
        c = '\n';
        break;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^':
        break;
    default:
        wrong(p, "unknown escape; known are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xXX \\uXXXX "
                 "\\UXXXXXXXX");
        return 0;
    }
    p->at += 2;
    return (uint32_t)c;
}

/* One character of a literal or a class, escaped or plain. */
static uint32_t character(struct gbnf *p, const char *missing)
{
    if (peek(p) == '\\')
        return escape(p);
    size_t at = p->at;
    int c = str_utf8_next(p->text, &p->at);
    if (c < 0)
        wrong(p, missing);
    else if (c == 0xfffd && p->at == at + 1)
        wrong_at(p, at, "malformed UTF-8", STR_NULL);
    return c < 0 ? 0 : (uint32_t)c;
}

static grammar_expr literal(struct gbnf *p)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(GBNF_MAX_BYTES);
    size_t open = p->at++;
    while (!p->err && peek(p) != '"') {
        char bytes[4];
        if (peek(p) == GBNF_END)
            wrong_at(p, open, "the literal is not closed", STR_NULL);
        uint32_t c = character(p, "");
        buf_add(&b, (struct str){ bytes, str_utf8_put(bytes, c) });
    }
    p->at++;
    if (buf_err(&b) < 0 && !p->err)
        p->err = buf_err(&b);
    return grammar_bytes(p->b, buf_str(&b));
}

static grammar_expr class(struct gbnf *p)
{
    size_t open = p->at++;
    bool negated = peek(p) == '^';
    p->at += negated;
    p->n_ranges = 0;
    while (!p->err && peek(p) != ']') {
        if (peek(p) == GBNF_END)
            wrong_at(p, open, "the class is not closed", STR_NULL);
        size_t at = p->at;
        struct code_range r = { .first = character(p, "") };
        r.last = r.first;
        if (peek(p) == '-' && peek_at(p, 1) != ']') {
            p->at++;
            r.last = character(p, "the range has no end");
        }
        if (r.last < r.first)
            wrong_at(p, at, "the range ends before it begins", STR_NULL);
        void *grown = room(p, p->ranges, p->n_ranges, &p->cap_ranges, sizeof(*p->ranges));
        if (!grown)
            break;
        p->ranges = grown;
        p->ranges[p->n_ranges++] = r;
    }
    p->at++;
    return grammar_class(p->b, p->ranges, p->n_ranges, negated);
}

/* --- repetitions --- */

static uint32_t count(struct gbnf *p, bool lines)
{
    uint64_t n = 0;
    size_t from = p->at;
    while (peek(p) >= '0' && peek(p) <= '9')
        p->at++;
    struct str digits = { p->text.p + from, p->at - from };
    if (digits.n == 0)
        wrong(p, "a number is missing");
    else if (num_parse_u64(&n, digits, 0, GBNF_MAX_COUNT) < 0)
        wrong_at(p, from, "the number is too large: ", digits);
    skip_space(p, lines);
    return (uint32_t)n;
}

/* {m} {m,} {m,n} */
static grammar_expr counted(struct gbnf *p, grammar_expr part, bool lines)
{
    size_t open = p->at++;
    skip_space(p, lines);
    uint32_t min = count(p, lines), max = min;
    if (peek(p) == ',') {
        p->at++;
        skip_space(p, lines);
        max = peek(p) >= '0' && peek(p) <= '9' ? count(p, lines) : (uint32_t)GRAMMAR_MANY;
    }
    if (!p->err && peek(p) != '}')
        wrong(p, "'}' is missing");
    if (min > max)
        wrong_at(p, open, "the repetition ends before it begins", STR_NULL);
    p->at++;
    return grammar_repeat(p->b, part, min, max);
}

static grammar_expr repetitions(struct gbnf *p, grammar_expr e, bool lines)
{
    for (;; skip_space(p, lines)) {
        switch (p->err ? GBNF_END : peek(p)) {
        case '*':
            e = grammar_repeat(p->b, e, 0, GRAMMAR_MANY);
            break;
        case '+':
            e = grammar_repeat(p->b, e, 1, GRAMMAR_MANY);
            break;
        case '?':
            e = grammar_repeat(p->b, e, 0, 1);
            break;
        case '{':
            e = counted(p, e, lines);
            continue;
        default:
            return e;
        }
        p->at++;
    }
}

/* --- sequences --- */

static grammar_expr choices(struct gbnf *p, bool lines);

static grammar_expr group(struct gbnf *p)
{
    size_t open = p->at++;
    if (++p->nesting > GBNF_NESTING)
        wrong_at(p, open, "the parentheses nest too deeply", STR_NULL);
    skip_space(p, true);
    grammar_expr e = choices(p, true);
    p->nesting--;
    if (!p->err && peek(p) != ')')
        wrong_at(p, open, "the parenthesis is not closed", STR_NULL);
    p->at++;
    return e;
}

/* <think>: the token that is spelt so. */
static grammar_expr token(struct gbnf *p)
{
    size_t from = p->at;
    if (peek_at(p, 1) == '[')
        wrong(p, "tokens are named by their text, <like-this>, not by their number");
    while (peek(p) != '>' && peek(p) != '\n' && peek(p) != GBNF_END)
        p->at++;
    if (peek(p) != '>')
        wrong_at(p, from, "the token's name is not closed", STR_NULL);
    p->at++;
    return p->err ? grammar_never(p->b)
                  : grammar_mark(p->b, (struct str){ p->text.p + from, p->at - from });
}

static grammar_expr mention(struct gbnf *p)
{
    size_t at = p->at;
    const struct gbnf_rule *r = rule_named(p, name(p), at);
    return r ? r->expr : grammar_never(p->b);
}

static bool begins_item(int c)
{
    return c == '"' || c == '[' || c == '(' || c == '.' || c == '<' || is_word(c);
}

static grammar_expr item(struct gbnf *p)
{
    switch (peek(p)) {
    case '"':
        return literal(p);
    case '[':
        return class(p);
    case '(':
        return group(p);
    case '<':
        return token(p);
    case '.':
        p->at++;
        return grammar_class(p->b, NULL, 0, /* negated= */ true);
    default:
        return mention(p);
    }
}

static grammar_expr sequence(struct gbnf *p, bool lines)
{
    size_t base = p->n_parts;
    while (!p->err && begins_item(peek(p))) {
        grammar_expr e = item(p);
        skip_space(p, lines);
        push(p, repetitions(p, e, lines));
    }
    int c = peek(p);
    if (c == '*' || c == '+' || c == '?' || c == '{')
        wrong(p, "there is nothing before it to repeat");
    else if (c == '!')
        wrong(p, "negated tokens are not supported; use a class of characters");
    grammar_expr e = grammar_seq(p->b, p->parts + base, p->n_parts - base);
    p->n_parts = base;
    return e;
}

/* `lines`: line ends are blanks, as within parentheses. */
static grammar_expr choices(struct gbnf *p, bool lines)
{
    size_t base = p->n_parts;
    push(p, sequence(p, lines));
    while (!p->err && peek(p) == '|') {
        p->at++;
        skip_space(p, true);
        push(p, sequence(p, lines));
    }
    grammar_expr e =
        p->err ? grammar_never(p->b) : grammar_alt(p->b, p->parts + base, p->n_parts - base);
    p->n_parts = base;
    return e;
}

static void rule(struct gbnf *p)
{
    size_t at = p->at;
    struct str n = name(p);
    if (!n.n) {
        wrong(p, "a rule's name is missing");
        return;
    }
    skip_space(p, false);
    if (!str_starts(str_sub(p->text, p->at), STR("::="))) {
        wrong(p, "'::=' is missing behind the rule's name");
        return;
    }
    p->at += 3;
    skip_space(p, true);
    grammar_expr body = choices(p, false);
    if (!p->err && peek(p) != '\n' && peek(p) != '\r' && peek(p) != GBNF_END)
        wrong(p, "this cannot stand here; a rule ends with its line");
    struct gbnf_rule *r = rule_named(p, n, at);
    if (p->err || !r)
        return;
    r->defined = true;
    grammar_define(p->b, r->expr, body);
    skip_space(p, true);
}

static void check_rules(struct gbnf *p, grammar_expr *ret)
{
    bool root = false;
    for (uint32_t i = 0; i < p->n_rules && !p->err; i++) {
        const struct gbnf_rule *r = &p->rules[i];
        if (!r->defined)
            wrong_at(p, r->at, "no rule is called ", r->name);
        if (!str_is(r->name, "root"))
            continue;
        *ret = r->expr;
        root = true;
    }
    if (!root)
        wrong(p, "the rule 'root' is missing");
}

int grammar_parse_gbnf(struct grammar_builder *b, struct str text, grammar_expr *ret,
                       struct fail *reterr)
{
    struct gbnf p = { .b = b, .text = text, .reterr = reterr };
    if (text.n > GBNF_MAX_BYTES)
        return fail_set(reterr, FAIL_invalid_request, "the grammar exceeds %u bytes",
                        (unsigned)GBNF_MAX_BYTES);
    skip_space(&p, true);
    while (!p.err && peek(&p) != GBNF_END)
        rule(&p);
    check_rules(&p, ret);
    free(p.rules);
    free(p.index);
    free(p.parts);
    free(p.ranges);
    return p.err;
}
