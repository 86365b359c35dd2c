/*
 * Expressions against a matcher of its own: random grammars over a small alphabet, all strings up
 * to a length. The oracle finds, for each rule and position, where it may end, as the least
 * solution of the rules' equations; it shares nothing with the automaton.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "engine/local/grammar/constraint.h"

#define BPE "tests/fuzz/corpus/tokenizer/bpe.gguf"

/* --- the oracle --- */

enum tkind { T_bytes, T_class, T_seq, T_alt, T_repeat, T_rule, T_without };
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

static bool oracle_matches(struct oracle *o, const char *text)
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
        if (pick(s, 4) == 0 && t.max != GRAMMAR_MANY)
            t.max += 70; /* counted */
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

static void random_oracle(struct oracle *o, uint64_t *s)
{
    o->n = 0;
    o->n_rules = 1 + (int)pick(s, RULES);
    for (int r = 0; r < o->n_rules; r++)
        o->rules[r] = random_tree(o, s, 3);
}

static int build(struct grammar **ret, const struct oracle *o, struct fail *f)
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

static struct token_trie *load_trie(const char *path, struct tokenizer **ret_tokenizer)
{
    CLEANUP(gguf_closep) struct gguf *g = NULL;
    struct fail f = { 0 };
    struct token_trie *t = NULL;
    if (gguf_open(&g, path, &f) != 0 || tokenizer_new(ret_tokenizer, g, &f) != 0)
        fail_msg("%s: %s", path, f.message);
    assert_int_equal(token_trie_new(&t, *ret_tokenizer), 0);
    return t;
}

/* The i-th string over "abc" in order of length; false past LENGTH. */
static bool nth_string(unsigned i, char *out)
{
    unsigned len = 0, many = 1;
    while (i >= many) {
        i -= many;
        many *= 3;
        len++;
    }
    for (unsigned k = 0; k < len; k++, i /= 3)
        out[k] = (char)('a' + i % 3);
    out[len] = '\0';
    return len <= LENGTH;
}

struct scene {
    struct oracle o;
    struct tokenizer *tokenizer;
    struct token_trie *trie;
    unsigned built, refused, matched;
};

static void compare(struct scene *c, struct grammar *g, unsigned seed)
{
    char text[LENGTH + 2];
    for (unsigned i = 0; nth_string(i, text); i++) {
        CLEANUP(constraint_freep) struct constraint *k = NULL;
        assert_int_equal(constraint_new(&k, g, c->trie), 0);
        bool want = oracle_matches(&c->o, text);
        bool got = constraint_accept_bytes(k, str_of(text)) && constraint_may_end(k);
        if (got != want)
            fail_msg("grammar %u: '%s' is %s", seed, text, want ? "refused" : "accepted");
        c->matched += want;
    }
}

static void none_matches(struct scene *c, unsigned seed)
{
    char text[LENGTH + 2];
    for (unsigned i = 0; nth_string(i, text); i++)
        if (oracle_matches(&c->o, text))
            fail_msg("grammar %u: '%s' should match", seed, text);
}

static void random_grammars_match_what_the_oracle_matches(void **state)
{
    static struct scene c;
    c = (struct scene){ 0 };
    c.trie = load_trie(test_path(BPE), &c.tokenizer);
    for (unsigned seed = 0; seed < 1500; seed++) {
        uint64_t s = seed;
        struct grammar *g = NULL;
        struct fail f = { 0 };
        random_oracle(&c.o, &s);
        int r = build(&g, &c.o, &f);
        if (r == 0) {
            c.built++;
            compare(&c, g, seed);
            (void)grammar_unref(g);
            continue;
        }
        assert_int_equal(r, FAILED);
        c.refused++;
        if (strstr(f.message, "no text"))
            none_matches(&c, seed);
        else if (!strstr(f.message, "left recursion"))
            fail_msg("grammar %u: %s", seed, f.message);
    }
    print_message("# %u grammars, %u refused, %u texts matched\n", c.built, c.refused, c.matched);
    assert_true(c.built > 500 && c.matched > 10000);
    (void)token_trie_free(c.trie);
    (void)tokenizer_free(c.tokenizer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_grammars_match_what_the_oracle_matches),
    };
    return TEST_RUN(tests);
}
