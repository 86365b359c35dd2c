/*
 * Expressions and masks: random grammars over a small alphabet, with all strings up to a length
 * against the oracle, and all masks against trying every token.
 */
#include "tests/unit/engine/grammar_oracle.h"

#include <stdio.h>
#include <string.h>

#include "engine/local/grammar/constraint.h"
#include "engine/local/tokenizer_impl.h"

/* --- a vocabulary: all strings over abc up to a length, two marks, an end --- */

enum { WORD_LENGTH = 4, WORDS = 120, VOCAB = WORDS + 6, PADDED = 1024 };
enum { ID_MARK = WORDS, ID_OTHER_MARK, ID_END, ID_TWICE, ID_NOTHING, ID_D };

struct words {
    struct tokenizer t;
    struct token
        tokens[PADDED]; /* those behind VOCAB have no bytes: few tokens are then kept as lists */
    char text[WORDS][WORD_LENGTH + 1];
};

/* The i-th string over "abc" in order of length; false past `longest`. */
static bool nth_string(unsigned i, unsigned longest, char *out)
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
    return len <= longest;
}

static struct token_trie *make_words(struct words *w)
{
    struct token_trie *trie = NULL;
    *w = (struct words){ .t = { .n = PADDED, .tokens = w->tokens } };
    for (unsigned i = 0; i < WORDS; i++) {
        assert_true(nth_string(i + 1, WORD_LENGTH, w->text[i]));
        w->tokens[i].text = w->tokens[i].bytes = str_of(w->text[i]);
        w->tokens[i].kind = TOKEN_normal;
    }
    w->tokens[ID_MARK] = (struct token){ STR("ab"), STR("ab"), 0, TOKEN_control, .control = true };
    w->tokens[ID_OTHER_MARK] =
        (struct token){ STR("<x>"), STR("<x>"), 0, TOKEN_control, .control = true };
    w->tokens[ID_END] =
        (struct token){ STR("</s>"), STR("</s>"), 0, TOKEN_control, .control = true, .eog = true };
    w->tokens[ID_TWICE] = (struct token){ STR("abc"), STR("abc"), 0, TOKEN_normal };
    w->tokens[ID_NOTHING] = (struct token){ STR(""), STR(""), 0, TOKEN_unused };
    w->tokens[ID_D] =
        (struct token){ STR("d"), STR("d"), 0, TOKEN_normal }; /* of negated classes */
    assert_int_equal(token_trie_new(&trie, &w->t), 0);
    return trie;
}

struct scene {
    struct oracle o;
    struct words words;
    struct token_trie *trie;
    unsigned built, refused, matched, steps;
};

static void compare(struct scene *c, struct grammar *g, unsigned seed)
{
    char text[LENGTH + 2];
    for (unsigned i = 0; nth_string(i, LENGTH, text); i++) {
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
    for (unsigned i = 0; nth_string(i, LENGTH, text); i++)
        if (oracle_matches(&c->o, text))
            fail_msg("grammar %u: '%s' should match", seed, text);
}

static void random_grammars_match_what_the_oracle_matches(void **state)
{
    static struct scene c;
    c = (struct scene){ 0 };
    c.trie = make_words(&c.words);
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
}

/* --- masks --- */

static bool has_bit(const uint32_t *mask, int32_t id)
{
    return mask[id / 32] >> (id % 32) & 1;
}

struct path {
    int32_t ids[64];
    unsigned n;
};

static struct constraint *replay(struct grammar *g, const struct token_trie *trie,
                                 const struct path *p)
{
    struct constraint *c = NULL;
    assert_int_equal(constraint_new(&c, g, trie), 0);
    for (unsigned i = 0; i < p->n; i++)
        assert_true(constraint_accept(c, p->ids[i]));
    return c;
}

/* The mask equals trying each token, alone, from the same place; returns how many it has. */
static unsigned check_mask(struct grammar *g, const struct token_trie *trie, const struct path *p,
                           const uint32_t *mask, unsigned seed)
{
    unsigned n = 0;
    struct constraint *c = replay(g, trie, p);
    for (int32_t id = 0; id < VOCAB; id++) {
        bool may = constraint_accept(c, id);
        if (may != has_bit(mask, id))
            fail_msg("grammar %u, step %u: token %d is %s by the mask", seed, p->n, id,
                     may ? "refused" : "allowed");
        n += may;
        if (!may)
            continue;
        (void)constraint_free(c);
        c = replay(g, trie, p);
    }
    (void)constraint_free(c);
    return n;
}

/* One random text to its end: masks on the way, and the oracle about the whole where it is short.
 */
static void random_walk(struct scene *c, struct grammar *g, unsigned seed, uint64_t *s)
{
    CLEANUP(constraint_freep) struct constraint *k = NULL;
    struct path p = { .n = 0 };
    char text[sizeof(p.ids) * WORD_LENGTH] = "";
    assert_int_equal(constraint_new(&k, g, c->trie), 0);
    for (; p.n < 24; p.n++) {
        const uint32_t *mask = constraint_mask(k);
        assert_non_null(mask);
        unsigned n = check_mask(g, c->trie, &p, mask, seed);
        assert_true(n > 0);
        assert_int_equal(has_bit(mask, ID_END), constraint_may_end(k));
        assert_int_equal(constraint_must_end(k), n == 1 && has_bit(mask, ID_END));
        unsigned at = pick(s, n);
        int32_t id = 0;
        while (!has_bit(mask, id) || at-- > 0)
            id++;
        assert_true(constraint_accept(k, id));
        c->steps++;
        if (id == ID_END)
            break;
        (void)strncat(text, c->words.tokens[id].bytes.p, c->words.tokens[id].bytes.n);
        p.ids[p.n] = id;
    }
    if (p.n < 24 && strlen(text) <= LENGTH && !oracle_matches(&c->o, text))
        fail_msg("grammar %u: the walk ends as '%s'", seed, text);
}

static void masks_equal_trying_every_token(void **state)
{
    static struct scene c;
    c = (struct scene){ 0 };
    c.trie = make_words(&c.words);
    for (unsigned seed = 0; seed < 600; seed++) {
        uint64_t s = seed + 100000;
        struct grammar *g = NULL;
        struct fail f = { 0 };
        random_oracle(&c.o, &s);
        if (build(&g, &c.o, &f) != 0)
            continue;
        for (unsigned i = 0; i < 4; i++)
            random_walk(&c, g, seed, &s);
        (void)grammar_unref(g);
    }
    print_message("# %u masks\n", c.steps);
    assert_true(c.steps > 2000);
    (void)token_trie_free(c.trie);
}

/* --- counted loops --- */

/* (a|b){min,max} between brackets of c, as many as `n` of them. */
static bool takes(const struct token_trie *trie, uint32_t min, uint32_t max, uint32_t n)
{
    struct grammar_builder *b = NULL;
    struct grammar *g = NULL;
    struct fail f = { 0 };
    assert_int_equal(grammar_builder_new(&b), 0);
    grammar_expr ab = grammar_class(b, &(struct code_range){ 'a', 'b' }, 1, false);
    grammar_expr parts[] = { grammar_bytes(b, STR("c")), grammar_repeat(b, ab, min, max),
                             grammar_bytes(b, STR("c")) };
    assert_int_equal(grammar_build(b, grammar_seq(b, parts, 3), &g, &f), 0);
    (void)grammar_builder_free(b);
    struct constraint *c = NULL;
    assert_int_equal(constraint_new(&c, g, trie), 0);
    bool ok = constraint_accept_bytes(c, STR("c"));
    for (uint32_t i = 0; i < n && ok; i++)
        ok = constraint_accept_bytes(c, STR("ba"));
    ok = ok && constraint_accept_bytes(c, STR("c")) && constraint_must_end(c);
    (void)constraint_free(c);
    (void)grammar_unref(g);
    return ok;
}

static void counts_rounds_of_long_loops(void **state)
{
    static struct words w;
    struct token_trie *trie = make_words(&w);
    static const struct {
        uint32_t min, max, n; /* n: of two characters each */
        bool ok;
    } rows[] = {
        { 0, 100, 0, true },
        { 0, 100, 50, true },
        { 0, 100, 51, false },
        { 80, 80, 40, true },
        { 80, 80, 39, false },
        { 80, 80, 41, false },
        { 70, GRAMMAR_MANY, 35, true },
        { 70, GRAMMAR_MANY, 34, false },
        { 70, GRAMMAR_MANY, 9999, true },
        { 65, 20000, 10000, true },
        { 65, 20000, 10001, false },
        { 0, GRAMMAR_MANY - 1, 5000, true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (takes(trie, rows[i].min, rows[i].max, rows[i].n) != rows[i].ok)
            fail_msg("row %zu", i);
    (void)token_trie_free(trie);
}

/* All masks on the way through loops, one character a step: close to a bound, it counts how many
 * characters a token has before the loop ends within it. */
static void masks_of_long_loops_equal_trying_every_token(void **state)
{
    enum { ID_A = 0, ID_C = 2 };
    static const struct {
        uint32_t min, max, rounds;
    } rows[] = { { 0, 40, 40 }, { 3, 33, 33 }, { 35, 35, 35 }, { 40, GRAMMAR_MANY, 45 } };
    static struct words w;
    struct token_trie *trie = make_words(&w);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct grammar_builder *b = NULL;
        struct grammar *g = NULL;
        struct fail f = { 0 };
        assert_int_equal(grammar_builder_new(&b), 0);
        grammar_expr few[] = { grammar_bytes(b, STR("a")), grammar_bytes(b, STR("ba")) };
        grammar_expr parts[] = { grammar_repeat(b, grammar_alt(b, few, 2), rows[i].min,
                                                rows[i].max),
                                 grammar_bytes(b, STR("cab")) };
        assert_int_equal(grammar_build(b, grammar_seq(b, parts, 2), &g, &f), 0);
        (void)grammar_builder_free(b);
        struct path p = { .n = 0 };
        for (; p.n <= rows[i].rounds; p.n++) {
            struct constraint *c = replay(g, trie, &p);
            const uint32_t *mask = constraint_mask(c);
            assert_non_null(mask);
            assert_true(check_mask(g, trie, &p, mask, (unsigned)i) > 0);
            assert_int_equal(has_bit(mask, ID_C), p.n >= rows[i].min);
            (void)constraint_free(c);
            p.ids[p.n] = ID_A;
        }
        (void)grammar_unref(g);
    }
    (void)token_trie_free(trie);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_grammars_match_what_the_oracle_matches),
        cmocka_unit_test(masks_equal_trying_every_token),
        cmocka_unit_test(counts_rounds_of_long_loops),
        cmocka_unit_test(masks_of_long_loops_equal_trying_every_token),
    };
    return TEST_RUN(tests);
}
