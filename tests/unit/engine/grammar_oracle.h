/*
 * Random grammars and a matcher for them that shares nothing with ours: it finds, for each rule and
 * position, where the rule may end, as the least solution of the rules' equations.
 */
#pragma once

#include "tests/support/test.h"

#include <string.h>

#include "engine/local/grammar/grammar.h"

enum tkind { T_bytes, T_mark, T_class, T_seq, T_alt, T_repeat, T_rule, T_without };
enum { TREES = 256, RULES = 4, LENGTH = 6 };

struct tree {
    enum tkind kind;
    char text[4];
    unsigned first, last; /* class of ASCII letters */
    bool negated;         /* within a … c */
    int part[3], n;
    unsigned min, max;
};

struct oracle {
    struct tree t[TREES];
    int n, rules[RULES], n_rules;
    const char *text;
    unsigned len;
    uint32_t ends[RULES][LENGTH + 1]; /* bits: where the rule may end that begins here */
};

static uint32_t ends_of(const struct oracle *o, int tree, unsigned at);

/* From any position of `from`. */
static uint32_t ends_all(const struct oracle *o, int tree, uint32_t from)
{
    uint32_t out = 0;
    for (unsigned at = 0; at <= o->len; at++)
        if (from >> at & 1)
            out |= ends_of(o, tree, at);
    return out;
}

static uint32_t ends_repeat(const struct oracle *o, const struct tree *t, unsigned at)
{
    uint32_t now = 1u << at, out = t->min == 0 ? now : 0;
    unsigned most = t->max == GRAMMAR_MANY ? t->min + LENGTH + 1 : t->max;
    for (unsigned i = 1; i <= most && now; i++) {
        now = ends_all(o, t->part[0], now);
        if (i >= t->min)
            out |= now;
    }
    return out;
}

static uint32_t ends_of(const struct oracle *o, int tree, unsigned at)
{
    const struct tree *t = &o->t[tree];
    uint32_t out = 0;
    switch (t->kind) {
    case T_bytes:
    case T_mark:
        return strncmp(o->text + at, t->text, strlen(t->text)) == 0 &&
                       at + strlen(t->text) <= o->len
                   ? 1u << (at + strlen(t->text))
                   : 0;
    case T_class: {
        if (at == o->len)
            return 0;
        unsigned c = (unsigned char)o->text[at];
        return ((c >= t->first && c <= t->last) != t->negated) ? 1u << (at + 1) : 0;
    }
    case T_seq:
        out = 1u << at;
        for (int i = 0; i < t->n; i++)
            out = ends_all(o, t->part[i], out);
        return out;
    case T_alt:
        for (int i = 0; i < t->n; i++)
            out |= ends_of(o, t->part[i], at);
        return out;
    case T_repeat:
        return ends_repeat(o, t, at);
    case T_rule:
        return o->ends[t->part[0]][at];
    case T_without:
        for (unsigned end = at; end <= o->len; end++) {
            out |= 1u << end;
            char piece[LENGTH + 2] = { 0 };
            memcpy(piece, o->text + at, end + 1 - at < sizeof(piece) ? end + 1 - at : 0);
            piece[end < o->len ? end + 1 - at : end - at] = '\0';
            if (strstr(piece, t->text))
                break;
        }
        return out;
    }
    return 0;
}

static inline bool oracle_matches(struct oracle *o, const char *text)
{
    o->text = text;
    o->len = (unsigned)strlen(text);
    memset(o->ends, 0, sizeof(o->ends));
    for (bool changed = true; changed;) {
        changed = false;
        for (int r = 0; r < o->n_rules; r++)
            for (unsigned at = 0; at <= o->len; at++) {
                uint32_t now = o->ends[r][at] | ends_of(o, o->rules[r], at);
                changed |= now != o->ends[r][at];
                o->ends[r][at] = now;
            }
    }
    return o->ends[0][0] >> o->len & 1;
}

/* --- random grammars --- */

static unsigned pick(uint64_t *s, unsigned n)
{
    return (unsigned)(test_random(s) % n);
}

static int random_tree(struct oracle *o, uint64_t *s, int depth)
{
    int at = o->n++;
    assert_true(at < TREES);
    struct tree t = { .kind = T_bytes };
    unsigned kind = depth ? pick(s, 12) : pick(s, 4);
    if (kind < 2) {
        unsigned n = 1 + pick(s, 2);
        for (unsigned i = 0; i < n; i++)
            t.text[i] = (char)('a' + pick(s, 3));
        t.kind = strcmp(t.text, "ab") == 0 ? T_mark : T_bytes;
    } else if (kind == 2) {
        t.kind = T_class;
        t.first = 'a' + pick(s, 3);
        t.last = t.first + pick(s, 2);
        t.negated = pick(s, 3) == 0;
    } else if (kind == 3) {
        t.kind = T_rule;
        t.part[0] = (int)pick(s, (unsigned)o->n_rules);
    } else if (kind < 10) {
        t.kind = kind < 7 ? T_seq : T_alt;
        t.n = (int)pick(s, 4);
        for (int i = 0; i < t.n; i++)
            t.part[i] = i == 3 ? t.part[0] : random_tree(o, s, depth - 1);
        if (t.n > 1 && pick(s, 5) == 0)
            t.part[1] = t.part[0]; /* the same twice: a shared expression */
    } else if (kind == 10) {
        t.kind = T_repeat;
        t.part[0] = random_tree(o, s, depth - 1);
        t.min = pick(s, 4);
        t.max = pick(s, 3) ? t.min + pick(s, 4) : GRAMMAR_MANY;
        if (pick(s, 2) == 0 && t.max != GRAMMAR_MANY) { /* counted, if the part is not tiny */
            t.min = pick(s, 2) ? pick(s, 12) : 0;
            t.max = t.min + 5 + pick(s, 30);
        }
    } else {
        t.kind = T_without;
        t.text[0] = (char)('a' + pick(s, 3));
        t.text[1] = pick(s, 2) ? '\0' : (char)('a' + pick(s, 3));
    }
    o->t[at] = t;
    return at;
}

static grammar_expr to_expr(struct grammar_builder *b, const struct oracle *o, int tree,
                            const grammar_expr *rules)
{
    const struct tree *t = &o->t[tree];
    grammar_expr parts[3];
    struct str text = str_of(t->text);
    switch (t->kind) {
    case T_bytes:
        return grammar_bytes(b, text);
    case T_mark:
        return grammar_mark(b, text);
    case T_class:
        return grammar_class(b, &(struct code_range){ t->first, t->last }, 1, t->negated);
    case T_repeat:
        return grammar_repeat(b, to_expr(b, o, t->part[0], rules), t->min, t->max);
    case T_rule:
        return rules[t->part[0]];
    case T_without:
        return grammar_text_without(b, &text, 1);
    default:
        for (int i = 0; i < t->n; i++)
            parts[i] = to_expr(b, o, t->part[i], rules);
        return t->kind == T_seq ? grammar_seq(b, parts, (size_t)t->n)
                                : grammar_alt(b, parts, (size_t)t->n);
    }
}

static inline void random_oracle(struct oracle *o, uint64_t *s)
{
    o->n = 0;
    o->n_rules = 1 + (int)pick(s, RULES);
    for (int r = 0; r < o->n_rules; r++)
        o->rules[r] = random_tree(o, s, 3);
}

static inline int build(struct grammar **ret, const struct oracle *o, struct fail *f)
{
    struct grammar_builder *b = NULL;
    grammar_expr rules[RULES];
    assert_int_equal(grammar_builder_new(&b), 0);
    for (int r = 0; r < o->n_rules; r++)
        rules[r] = grammar_rule(b);
    for (int r = 0; r < o->n_rules; r++)
        grammar_define(b, rules[r], to_expr(b, o, o->rules[r], rules));
    int r = grammar_build(b, rules[0], ret, f);
    (void)grammar_builder_free(b);
    return r;
}
