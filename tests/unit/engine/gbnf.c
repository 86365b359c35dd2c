/*
 * GBNF: texts that grammars take and do not, places of errors, and grammars that must not hurt.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/local/grammar/constraint.h"

#define BPE "tests/fuzz/corpus/tokenizer/bpe.gguf"

static struct token_trie *trie;
static struct tokenizer *tokenizer;

static int load(void **state)
{
    struct gguf *g = NULL;
    struct fail f = { 0 };
    if (gguf_open(&g, test_path(BPE), &f) != 0 || tokenizer_new(&tokenizer, g, &f) != 0)
        return -1;
    (void)gguf_close(g);
    return token_trie_new(&trie, tokenizer);
}

static int unload(void **state)
{
    (void)token_trie_free(trie);
    (void)tokenizer_free(tokenizer);
    return 0;
}

static int compile(struct grammar **ret, const char *text, struct fail *f)
{
    CLEANUP(grammar_builder_freep) struct grammar_builder *b = NULL;
    grammar_expr root;
    assert_int_equal(grammar_builder_new(&b), 0);
    int r = grammar_parse_gbnf(b, str_of(text), &root, f);
    return r ? r : grammar_build(b, root, ret, f);
}

static struct grammar *must_compile(const char *text)
{
    struct grammar *g = NULL;
    struct fail f = { 0 };
    if (compile(&g, text, &f) != 0)
        fail_msg("%s\n%s", text, f.message);
    return g;
}

static bool takes(struct grammar *g, const char *text)
{
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    assert_int_equal(constraint_new(&c, g, trie), 0);
    return constraint_accept_bytes(c, str_of(text)) && constraint_may_end(c);
}

#define CHESS                                                                                      \
    "# moves\nroot ::= (\n  # first\n  \"1. \" move \" \" move \"\\n\"\n\n  ([1-9] [0-9]? \". \" " \
    "move \" \" move \"\\n\")+\n)\nmove ::= (pawn | nonpawn | castle) [+#]?\n"                     \
    "pawn ::= ([a-h] \"x\")? [a-h] [1-8] (\"=\" [NBKQR])?\n"                                       \
    "nonpawn ::= [NBKQR] [a-h]? [1-8]? \"x\"? [a-h] [1-8]\ncastle ::= \"O-O\" \"-O\"?\n"
#define ARITHMETIC                                                                                 \
    "root ::= (expr \"=\" ws term \"\\n\")+\nexpr ::= term ([-+*/] term)*\n"                       \
    "term ::= ident | num | \"(\" ws expr \")\" ws\nident ::= [a-z] [a-z0-9_]* ws\n"               \
    "num ::= [0-9]+ ws\nws ::= [ \\t\\n]*"

static void takes_the_texts_that_the_grammar_describes(void **state)
{
    static const struct {
        const char *grammar, *text;
        bool ok;
    } rows[] = {
        { "root ::= \"a\"", "a", true },
        { "root ::= \"a\"", "", false },
        { "root ::= \"a\"", "aa", false },
        { "root::=\"a\"\n\n# end", "a", true },
        { "\n  root ::=\n\n  \"a\" \"b\"", "ab", true },
        { "root ::= \"a\" |\n \"b\"", "b", true },
        { "root ::= | \"a\"", "", true },
        { "root ::= \"\"", "", true },
        { "root ::= (\"a\"\n|\n\"b\" # comment )\n)*\r\n", "abba", true },
        { "root ::= \"ab\"*", "abab", true }, /* the literal as a whole */
        { "root ::= \"ab\"*", "abb", false },
        { "root ::= [a-c]+ [^a-c]?", "cabé", true },
        { "root ::= [a-c]+ [^a-c]?", "caba", true },
        { "root ::= [a-c]+ [^a-c]", "caba", false },
        { "root ::= [a-]{3}", "a-a", true }, /* a hyphen in last place */
        { "root ::= [a\\-c]", "b", false },
        { "root ::= [a\\-c]", "-", true },
        { "root ::= [\\]\\[^]+", "][^", true },
        { "root ::= [^]", "\n", true }, /* nothing is excluded */
        { "root ::= . .", "é\n", true },
        { "root ::= .", "\xc3", false },
        { "root ::= .", "\xed\xa0\x80", false }, /* a surrogate */
        { "root ::= .", "\xc0\x80", false },     /* too long a form */
        { "root ::= .", "\xf4\x8f\xbf\xbf", true },
        { "root ::= .", "\xf4\x90\x80\x80", false },
        { "root ::= [ぁ-ゟ]+", "ひらがな", true },
        { "root ::= [ぁ-ゟ]+", "カ", false },
        { "root ::= \"\\x41\\u00e9\\U0001F600\\n\\t\\r\\\\\\\"\"", "Aé😀\n\t\r\\\"", true },
        { "root ::= \"a\"{2}", "aa", true },
        { "root ::= \"a\"{2}", "a", false },
        { "root ::= \"a\"{ 2 , }", "aaaaa", true },
        { "root ::= \"a\"{2,3}", "aaaa", false },
        { "root ::= \"a\"{0}", "", true },
        { "root ::= \"a\"{0,2}?", "aa", true },
        { "root ::= \"a\"+? \"b\"", "b", true },
        { "root ::= a b\na ::= \"x\" b?\nb ::= \"y\" a?", "xyy", true },
        { "root ::= a_1 B-2\na_1 ::= \"x\"\nB-2 ::= \"y\"", "xy", true },
        { "root ::= x\nx ::= \"a\"\nx ::= \"b\"", "b", true }, /* the last definition counts */
        { "root ::= <tool> .*", "<tool>x", true },
        { CHESS, "1. e4 e5\n2. Nf3 Nc6\n3. O-O Bxc3+\n", true },
        { CHESS, "1. e4 e5\n", false },
        { CHESS, "1. e9 e5\n", false },
        { ARITHMETIC, "(x+1)*2=y\nz=(3)\n", true },
        { ARITHMETIC, "(x+1*2=y\n", false },
        { ARITHMETIC, "((((((((a))))))))=((1))\n", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(grammar_unrefp) struct grammar *g = must_compile(rows[i].grammar);
        if (takes(g, rows[i].text) != rows[i].ok)
            fail_msg("row %zu: %s: '%s'", i, rows[i].grammar, rows[i].text);
    }
}

static void names_line_and_column_of_what_is_wrong(void **state)
{
    static const struct {
        const char *grammar, *message;
    } rows[] = {
        { "", "line 1, column 1: the rule 'root' is missing" },
        { "a ::= \"x\"\n", "the rule 'root' is missing" },
        { "root ::= x", "line 1, column 10: no rule is called x" },
        { "root ::= \"é\" x\nx ::= y", "line 2, column 7: no rule is called y" },
        { "root = \"a\"", "line 1, column 6: '::=' is missing" },
        { "root ::= \"a\" )", "line 1, column 14: this cannot stand here" },
        { "root ::= \"a", "line 1, column 10: the literal is not closed" },
        { "root ::= [ab", "line 1, column 10: the class is not closed" },
        { "root ::= [a-", "line 1, column 13: the range has no end" },
        { "root ::= [b-a]", "line 1, column 11: the range ends before it begins" },
        { "root ::= (\"a\"\n", "line 1, column 10: the parenthesis is not closed" },
        { "root ::= *", "line 1, column 10: there is nothing before it to repeat" },
        { "root ::= \"a\" | +", "line 1, column 16: there is nothing before it to repeat" },
        { "root ::= \"a\"{", "line 1, column 14: a number is missing" },
        { "root ::= \"a\"{2", "line 1, column 15: '}' is missing" },
        { "root ::= \"a\"{3,2}", "line 1, column 13: the repetition ends before it begins" },
        { "root ::= \"a\"{99999999999}", "column 14: the number is too large: 99999999999" },
        { "root ::= \"\\q\"", "line 1, column 11: unknown escape" },
        { "root ::= \"\\x4\"", "column 14: a hexadecimal digit is missing" },
        { "root ::= \"\\uD800\"", "column 11: this is no Unicode character" },
        { "root ::= \"\xff\"", "column 11: malformed UTF-8" },
        { "root ::= <[12]>", "column 10: tokens are named by their text" },
        { "root ::= !<a>", "column 10: negated tokens are not supported" },
        { "root ::= <a", "column 10: the token's name is not closed" },
        { "root ::= root \"a\" | \"b\"", "left recursion" },
        { "root ::= a? root\na ::= \"a\"", "no text matches" },
        { "root ::= \"a\" root", "no text matches" },
        { "root ::= b? c\nb ::= \"b\"\nc ::= root \"x\" | \"y\"", "left recursion" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grammar *g = NULL;
        struct fail f = { 0 };
        if (compile(&g, rows[i].grammar, &f) != FAILED)
            fail_msg("row %zu: %s is taken", i, rows[i].grammar);
        if (!strstr(f.message, rows[i].message))
            fail_msg("row %zu: %s: %s", i, rows[i].grammar, f.message);
    }
}

/* --- hostile grammars --- */

static void stops_at_bounds_of_deep_and_large_grammars(void **state)
{
    enum { DEEP = 5000, LARGE = 300000 };
    CLEANUP(own_free) char *text = calloc(1, LARGE + 64);
    struct grammar *g = NULL;
    struct fail f = { 0 };
    assert_non_null(text);
    (void)snprintf(text, LARGE, "root ::= ");
    memset(text + strlen(text), '(', DEEP);
    assert_int_equal(compile(&g, text, &f), FAILED);
    assert_non_null(strstr(f.message, "nest too deeply"));
    (void)snprintf(text, LARGE, "root ::= \"a\"");
    memset(text + strlen(text), '*', DEEP); /* each around the one before */
    assert_int_equal(compile(&g, text, &f), FAILED);
    assert_non_null(strstr(f.message, "nest too deeply"));
}

/* Doubles at each rule: 2^30 texts of equal parts, and counts that multiply. */
static void follows_ambiguous_grammars_in_bounded_time(void **state)
{
    static const char *const grammars[] = {
        "root ::= (\"a\" | \"aa\" | \"aaa\")* \"b\"",
        "root ::= ((\"a\"*)*)*  \"b\"",
        "root ::= (\"a\"? ){200} \"a\"{200} \"b\"",
        "root ::= ((\"a\" | \"aa\"){1,300}){1,300} \"b\"",
        "root ::= x x x x x x x x \"b\"\nx ::= y y y y y y y y\ny ::= z z z z z z z z\n"
        "z ::= \"a\"?",
        "root ::= s \"b\"\ns ::= \"a\" s \"a\" | \"a\" s | \"a\"",
        "root ::= e \"b\"\ne ::= t | t e\nt ::= \"a\" | \"a\" e \"a\"",
        "root ::= (\"a\" | [a-z])* \"a\" [a-z]{18} \"b\" | [a-b]*",
    };
    for (size_t i = 0; i < ARRAY_LEN(grammars); i++) {
        CLEANUP(grammar_unrefp) struct grammar *g = must_compile(grammars[i]);
        CLEANUP(constraint_freep) struct constraint *c = NULL;
        assert_int_equal(constraint_new(&c, g, trie), 0);
        for (unsigned k = 0; k < 200; k++)
            if (!constraint_accept_bytes(c, STR("a")) || !constraint_mask(c))
                fail_msg("row %zu: stopped at %u", i, k);
        assert_true(constraint_accept_bytes(c, STR("b")));
    }
}

/* At the deepest place the mask equals trying each token; and there is a way out. */
static void closes_what_is_open_at_the_deepest_place(void **state)
{
    enum { MOST = 5000 };
    CLEANUP(grammar_unrefp)
    struct grammar *g = must_compile(
        "root ::= list\nlist ::= \"[\" ws (item (\",\" item)*)? \"]\"\nitem ::= list ws | name\n"
        "name ::= \"'\" [a-z]* \"'\" ws\nws ::= [ \\n]{0,100}");
    CLEANUP(constraint_freep) struct constraint *c = NULL;
    static char open[MOST];
    unsigned depth = 0;
    assert_int_equal(constraint_new(&c, g, trie), 0);
    while (depth < MOST && constraint_accept_bytes(c, STR("[")))
        open[depth++] = '[';
    assert_in_range(depth, 300, MOST - 1);
    const uint32_t *mask = constraint_mask(c);
    assert_non_null(mask);
    for (int32_t id = 0; id < (int32_t)tokenizer_vocab(tokenizer); id++) {
        CLEANUP(constraint_freep) struct constraint *other = NULL;
        assert_int_equal(constraint_new(&other, g, trie), 0);
        assert_true(constraint_accept_bytes(other, (struct str){ open, depth }));
        if (constraint_accept(other, id) != (mask[id / 32] >> (id % 32) & 1))
            fail_msg("token %d", id);
    }
    for (; depth > 0; depth--) {
        assert_non_null(constraint_mask(c));
        assert_true(constraint_accept_bytes(c, STR("]")));
    }
    assert_true(constraint_must_end(c));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_texts_that_the_grammar_describes),
        cmocka_unit_test(names_line_and_column_of_what_is_wrong),
        cmocka_unit_test(stops_at_bounds_of_deep_and_large_grammars),
        cmocka_unit_test(follows_ambiguous_grammars_in_bounded_time),
        cmocka_unit_test(closes_what_is_open_at_the_deepest_place),
    };
    test_begin();
    return cmocka_run_group_tests(tests, load, unload);
}
