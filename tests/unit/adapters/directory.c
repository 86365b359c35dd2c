/* The directory catalog as people and other programs edit it. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/unit/adapters/common.h"

struct folder {
    const char *path;
    struct config config;
    struct fake_loader fake;
    struct adapter_loader loader;
    struct adapters *a;
};

static void card(const struct folder *f, const char *adapter, const char *text)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", f->path, adapter);
    (void)mkdir(path, 0755);
    (void)snprintf(path, sizeof(path), "%s/%s/adapter.yaml", f->path, adapter);
    assert_int_equal(file_replace(path, str_of(text)), 0);
}

static void revision(const struct folder *f, const char *adapter, unsigned ordinal, unsigned seed)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", f->path, adapter);
    (void)mkdir(path, 0755);
    (void)snprintf(path, sizeof(path), "%s/%s/%u", f->path, adapter, ordinal);
    write_peft(path, seed);
}

static void start(struct folder *f)
{
    memset(f, 0, sizeof(*f));
    f->path = test_temp_dir();
    f->config = directory_config(f->path);
    f->loader = loader_of(&f->fake);
}

static void open_folder(struct folder *f)
{
    assert_int_equal(adapters_open(&f->a, &f->config, &f->loader, NULL), 0);
}

static void finish(struct folder *f)
{
    f->a = adapters_close(f->a);
    assert_int_equal(f->fake.loads, f->fake.unloads);
}

static void a_hand_written_card_is_served(void **state)
{
    struct folder f;
    struct adapter_info i;
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    (void)state;
    start(&f);
    revision(&f, "sql", 1, 1);
    revision(&f, "sql", 2, 2);
    card(&f, "sql",
         "name: sql\nbase: demo\ndescription: SQL from a question\nexamples:\n  - \"How many "
         "${X}?\"\n"
         "  - Which one?\nrevisions: [1, 2]\naliases: {prod: 2, prev: 1}\n");
    open_folder(&f);
    assert_int_equal(adapters_show(f.a, arena, STR_NULL, STR("sql"), &i, NULL), 0);
    assert_string_equal(i.description.p, "SQL from a question");
    assert_int_equal(i.n_examples, 2);
    assert_string_equal(i.examples[0].p, "How many ${X}?");
    assert_int_equal(i.n_revisions, 2);
    assert_string_equal(served(f.a, "sql"), hex_of(&i.revisions[1].digest));
    assert_string_equal(served(f.a, "demo:sql@prev"), hex_of(&i.revisions[0].digest));
    /* without a history, `prev` is where a rollback of `prod` leads */
    struct adapter_revision r;
    assert_int_equal(adapters_rollback(f.a, STR_NULL, STR("sql"), STR("prod"), STR(""), &r, NULL),
                     0);
    assert_int_equal(r.ordinal, 1);
    assert_string_equal(served(f.a, "sql@prev"), hex_of(&i.revisions[1].digest));
    finish(&f);
}

static void an_edit_is_seen_by_the_very_next_request(void **state)
{
    struct folder f;
    (void)state;
    start(&f);
    open_folder(&f);
    assert_string_equal(served(f.a, "sql"), "");
    revision(&f, "sql", 1, 1);
    revision(&f, "sql", 2, 2);
    char one[SHA256_HEX + 1] = "", two[SHA256_HEX + 1] = "";
    for (unsigned i = 0; i < 100; i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "name: sql\nbase: demo\nrevisions: [1, 2]\naliases: {prod: %u}\n",
                       1 + i % 2);
        card(&f, "sql", text);
        char *digest = i % 2 ? two : one;
        if (!digest[0])
            (void)snprintf(digest, SHA256_HEX + 1, "%s", served(f.a, "sql"));
        assert_string_equal(served(f.a, "sql"), digest);
    }
    assert_string_not_equal(one, two);
    assert_int_equal(f.fake.loads, 2);
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/sql/adapter.yaml", f.path);
    assert_int_equal(unlink(path), 0);
    assert_string_equal(served(f.a, "sql"), "");
    card(&f, "sql", "name: sql\nbase: other\nrevisions: [2]\n"); /* back, for another base */
    assert_string_equal(served(f.a, "demo:sql"), "");
    assert_string_equal(served(f.a, "other:sql"), two);
    finish(&f);
}

static void a_broken_card_does_not_hurt_the_others(void **state)
{
    static const char *const broken[] = {
        "",
        "not a map",
        "name: [",
        "name: bad\nbase: demo\nrevisions: 1\n",
        "name: bad\nbase: demo\nrevisions: [x]\n",
        "name: bad\nbase: demo\nrevisions: [0]\n",
        "name: bad\nbase: demo\nrevisions: [1, 1]\n",
        "name: bad\nbase: demo\nrevisions: [1]\naliases: {prod: 2}\n",
        "name: bad\nbase: demo\nrevisions: [1]\naliases: {'a b': 1}\n",
        "name: bad\nbase: demo\nrevisions: [1]\naliases: [1]\n",
        "name: other\nbase: demo\nrevisions: [1]\n",
        "name: bad\nrevisions: [1]\n",
        "name: bad\nbase: demo\nexamples: {a: b}\nrevisions: [1]\n",
        "\xff\xfe\x00",
    };
    struct folder f;
    (void)state;
    start(&f);
    revision(&f, "good", 1, 1);
    revision(&f, "bad", 1, 2);
    card(&f, "good", "name: good\nbase: demo\nrevisions: [1]\n");
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        card(&f, "bad", broken[i]);
        open_folder(&f);
        assert_string_not_equal(served(f.a, "good"), "");
        assert_string_equal(served(f.a, "bad"), "");
        /* mended while it runs; broken again, the last good one keeps serving */
        card(&f, "bad", "name: bad\nbase: demo\nrevisions: [1]\nlicence: MIT\n");
        const char *digest = served(f.a, "bad");
        assert_string_not_equal(digest, "");
        card(&f, "bad", broken[i]);
        assert_string_equal(served(f.a, "bad"), digest);
        struct adapter_revision r;
        struct fail why;
        assert_int_equal(push(f.a, "demo", "bad", new_peft(9), NULL, &r, &why), FAILED);
        f.a = adapters_close(f.a);
    }
    open_folder(&f);
    finish(&f);
}

static void a_missing_revision_leaves_the_others(void **state)
{
    struct folder f;
    (void)state;
    start(&f);
    revision(&f, "sql", 2, 2);
    card(&f, "sql", "name: sql\nbase: demo\nrevisions: [1, 2]\naliases: {prod: 1, blue: 2}\n");
    open_folder(&f);
    assert_string_not_equal(served(f.a, "sql@blue"), "");
    assert_string_equal(served(f.a, "sql@prod"), "");
    finish(&f);
}

static void keys_of_others_survive_a_change(void **state)
{
    struct folder f;
    struct adapter_revision r;
    char path[1024];
    (void)state;
    start(&f);
    revision(&f, "sql", 1, 1);
    card(&f, "sql",
         "name: sql\nbase: demo\ndescription: 'a: \"b\" # c'\nrevisions: [1]\nlicence: MIT\n"
         "tags: [a, 'b c', 3]\nowner: {name: \"X\\nY\", since: 2025}\nnothing: null\n");
    open_folder(&f);
    assert_int_equal(push(f.a, "demo", "sql", new_peft(2), "prod", &r, NULL), 0);
    assert_int_equal(r.ordinal, 2);
    (void)snprintf(path, sizeof(path), "%s/sql/adapter.yaml", f.path);
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(document_freep) struct document *d = NULL;
    assert_int_equal(document_load(&d, path, p), 0);
    const struct node *root = document_root(d);
    assert_true(node_is(node_get(root, "licence"), "MIT"));
    assert_true(node_is(node_get(root, "description"), "what it does")); /* push gave a new one */
    assert_true(node_is(node_at(node_get(root, "tags"), 1), "b c"));
    assert_true(node_is(node_get(node_get(root, "owner"), "name"), "X\nY"));
    assert_int_equal(node_get(root, "nothing")->kind, NODE_null);
    assert_true(node_is(node_at(node_get(root, "revisions"), 1), "2"));
    assert_true(node_is(node_get(node_get(root, "aliases"), "prod"), "2"));
    assert_string_equal(served(f.a, "sql"), hex_of(&r.digest));
    finish(&f);
}

static void files_changed_after_publishing_are_refused(void **state)
{
    struct folder f;
    struct lease *l;
    struct fail why;
    (void)state;
    start(&f);
    revision(&f, "sql", 1, 1);
    card(&f, "sql", "name: sql\nbase: demo\nrevisions: [1]\n");
    open_folder(&f);
    revision(&f, "sql", 1, 99);
    assert_int_equal(acquire(f.a, "sql", &l, &why), FAILED);
    assert_int_equal(why.code, FAIL_unprocessable_adapter);
    assert_non_null(strstr(why.message, "changed"));
    /* read again, they are a revision like any other */
    assert_string_not_equal(served(f.a, "sql"), "");
    finish(&f);
}

static void a_catalog_that_is_not_there_is_empty_until_it_is(void **state)
{
    struct folder f;
    struct adapter_info *infos;
    struct adapter_revision r;
    size_t n;
    char path[1024];
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    (void)state;
    start(&f);
    (void)snprintf(path, sizeof(path), "%s/not/yet", f.path);
    f.config = directory_config(path);
    open_folder(&f);
    assert_int_equal(adapters_list(f.a, arena, STR(""), 0, &infos, &n), 0);
    assert_int_equal(n, 0);
    assert_string_equal(served(f.a, "sql"), "");
    assert_int_equal(push(f.a, "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    assert_string_equal(served(f.a, "sql"), hex_of(&r.digest));
    assert_int_equal(push(f.a, "other", "sql", new_peft(1), NULL, &r, NULL), FAILED);
    assert_int_equal(adapters_list(f.a, arena, STR(""), 0, &infos, &n), 0);
    assert_int_equal(n, 1);
    finish(&f);
}

static void a_folder_that_may_not_be_written_says_so(void **state)
{
    struct folder f;
    struct adapter_revision r;
    struct fail why;
    (void)state;
    start(&f);
    f.config =
        directory_config("/proc/self/fdinfo"); /* nobody can make a folder here, root included */
    open_folder(&f);
    assert_int_equal(push(f.a, "demo", "sql", new_peft(1), NULL, &r, &why), FAILED);
    assert_int_equal(why.code, FAIL_catalog_unavailable);
    assert_non_null(strstr(why.message, "cannot be changed"));
    finish(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hand_written_card_is_served),
        cmocka_unit_test(an_edit_is_seen_by_the_very_next_request),
        cmocka_unit_test(a_broken_card_does_not_hurt_the_others),
        cmocka_unit_test(a_missing_revision_leaves_the_others),
        cmocka_unit_test(keys_of_others_survive_a_change),
        cmocka_unit_test(files_changed_after_publishing_are_refused),
        cmocka_unit_test(a_catalog_that_is_not_there_is_empty_until_it_is),
        cmocka_unit_test(a_folder_that_may_not_be_written_says_so),
    };
    return TEST_RUN(tests);
}
