/* YAML trees: values with their places, and files that are refused with theirs. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "config/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct document *parse(const char *text, struct problems *p)
{
    struct document *d = NULL;
    int r = document_parse(&d, "f.yaml", str_of(text), p);
    assert_int_equal(r, 0);
    return d;
}

static void values_keep_their_places(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(document_freep) struct document *d = parse("a: 1\nb:\n  - x\n  - 'null'\nc: ~\n", p);
    const struct node *root = document_root(d);
    assert_int_equal(root->kind, NODE_map);
    assert_int_equal(root->n, 3);
    assert_true(node_is(node_get(root, "a"), "1"));
    const struct node *x = node_at(node_get(root, "b"), 0);
    assert_int_equal(x->line, 3);
    assert_int_equal(x->column, 5);
    assert_true(node_at(node_get(root, "b"), 1)->quoted);
    assert_int_equal(node_at(node_get(root, "b"), 1)->kind, NODE_scalar);
    assert_int_equal(node_get(root, "c")->kind, NODE_null);
    assert_null(node_get(root, "d"));
    assert_null(node_at(node_get(root, "b"), 2));
}

static void aliases_and_merge_keys_are_expanded(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(document_freep)
    struct document *d = parse("base: &b {x: 1, y: 2}\nuse:\n  y: 3\n  <<: *b\nagain: *b\n", p);
    const struct node *use = node_get(document_root(d), "use");
    assert_int_equal(use->n, 2);
    assert_true(node_is(node_get(use, "y"), "3"));
    assert_true(node_is(node_get(use, "x"), "1"));
    assert_true(node_is(node_get(node_get(document_root(d), "again"), "y"), "2"));
}

static void an_empty_file_is_an_empty_map(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(document_freep) struct document *d = parse("", p);
    assert_int_equal(document_root(d)->kind, NODE_map);
    assert_int_equal(document_root(d)->n, 0);
}

static void damaged_files_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "a: 1\na: 2\n",
          "f.yaml:2:1: error: a: this key stands twice in the same map; keep one\n" },
        { "a: [1, 2\nb: 3\n", "f.yaml:2:2: error: did not find expected ',' or ']'\n" },
        { "a: *x\n", "f.yaml:1:4: error: alias of an anchor that was not defined before it\n" },
        { "a: 1\n---\nb: 2\n",
          "f.yaml:2:1: error: a second document ('---'); one file holds one configuration\n" },
        { "a: \xff\n",
          "f.yaml: error: byte 3: invalid leading UTF-8 octet; save the file as UTF-8\n" },
        { "? [1]\n: 2\n", "f.yaml:1:3: error: a key must be a plain text\n" },
        { "a: \"x\\0y\"\n", "f.yaml:1:4: error: a text may not contain a NUL character\n" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
        struct document *d = NULL;
        assert_int_equal(document_parse(&d, "f.yaml", str_of(rows[i].text), p), -EINVAL);
        problems_print(p, &b);
        assert_string_equal(b.p, rows[i].message);
    }
}

static void an_alias_bomb_and_deep_nesting_are_refused(void **state)
{
    (void)state;
    CLEANUP(buf_done) struct buf bomb = BUF_INIT(1 * MIB), deep = BUF_INIT(1 * MIB);
    buf_adds(&bomb, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 9; i++)
        buf_addf(&bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
                 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    for (int i = 0; i < 5000; i++)
        buf_addc(&deep, '[');
    const struct buf *all[] = { &bomb, &deep };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        CLEANUP(problems_freep) struct problems *p = problems_new();
        struct document *d = NULL;
        assert_int_equal(document_parse(&d, "f.yaml", buf_str(all[i]), p), -EINVAL);
        assert_int_equal(problems_count(p, PROBLEM_error), 1);
    }
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    struct document *d = NULL;
    assert_int_equal(document_load(&d, "/nowhere/at/all.yaml", p), -EINVAL);
    assert_string_equal(problems_at(p, 0)->file, "/nowhere/at/all.yaml");
    assert_string_equal(problems_at(p, 0)->text, "cannot read it: No such file or directory");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_keep_their_places),
        cmocka_unit_test(aliases_and_merge_keys_are_expanded),
        cmocka_unit_test(an_empty_file_is_an_empty_map),
        cmocka_unit_test(damaged_files_are_refused_with_their_place),
        cmocka_unit_test(an_alias_bomb_and_deep_nesting_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return TEST_RUN(tests);
}
