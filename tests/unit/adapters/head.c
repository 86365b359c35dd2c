#include "adapters/head.h"

#include "tests/unit/adapters/common.h"

/* Two revisions whose digests share their first eight digits, and one apart. */
static struct head *sample(uint64_t epoch)
{
    struct head_revision revisions[3] = { { .ordinal = 3 }, { .ordinal = 1 }, { .ordinal = 2 } };
    for (unsigned i = 0; i < 3; i++)
        memset(revisions[i].digest.b, i == 0 ? 0xcc : 0xab, SHA256_BYTES);
    revisions[2].digest.b[4] = 0x12;
    struct head_alias aliases[] = { { .name = STR("prod"), .digest = revisions[1].digest },
                                    { .name = STR("blue"), .digest = revisions[0].digest },
                                    { .name = STR("feedface0000"),
                                      .digest = revisions[2].digest } };
    struct head draft = { .base = STR("demo"),
                          .adapter = STR("sql"),
                          .epoch = epoch,
                          .revisions = revisions,
                          .n_revisions = 3,
                          .aliases = aliases,
                          .n_aliases = 3 };
    return head_new(&draft);
}

static void a_selector_finds_its_revision(void **state)
{
    static const struct {
        const char *selector;
        bool ordinals;
        unsigned ordinal; /* 0: fails with */
        enum fail_code code;
    } rows[] = {
        { "", false, 1, 0 },
        { "prod", false, 1, 0 },
        { "blue", false, 3, 0 },
        { "Blue", false, 0, FAIL_model_not_found },
        { "3", true, 3, 0 },
        { "3", false, 0, FAIL_model_not_found },
        { "4", true, 0, FAIL_model_not_found },
        { "0", true, 0, FAIL_model_not_found },
        { "sha256:cccccccc", false, 3, 0 },
        { "sha256-CCCCCCCC", false, 3, 0 },
        { "sha256:ccccccc", false, 0, FAIL_model_not_found }, /* seven digits */
        { "sha256:", false, 0, FAIL_model_not_found },
        { "sha256:cccccccd", false, 0, FAIL_model_not_found },
        { "sha256:ccccccgg", false, 0, FAIL_model_not_found },
        { "cccccccccccc", false, 3, 0 },
        { "ccccccccccc", false, 0, FAIL_model_not_found }, /* bare needs twelve */
        { "abababab", false, 0, FAIL_model_not_found },
        { "sha256:abababab", false, 0, FAIL_conflict },
        { "sha256:ababababab", false, 1, 0 },
        { "sha256:abababab1", false, 2, 0 }, /* an odd number of digits */
        { "feedface0000", false, 2, 0 },     /* an alias wins over a digest */
        { "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", false, 3, 0 },
        { "sha256:ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", false, 0,
          FAIL_model_not_found },
    };
    CLEANUP(head_unrefp) struct head *h = sample(1);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct head_revision *r = NULL;
        struct str alias;
        struct fail f;
        int k = head_select(h, str_of(rows[i].selector), rows[i].ordinals, &r, &alias, &f);
        if (k != (rows[i].ordinal ? 0 : FAILED) || (k && f.code != rows[i].code) ||
            (!k && r->ordinal != rows[i].ordinal)) {
            print_message("# row %zu '%s'\n", i, rows[i].selector);
            assert_true(false);
        }
    }
}

static void a_name_splits_at_its_last_colon_and_first_at(void **state)
{
    static const struct {
        const char *text, *base, *adapter, *selector;
    } rows[] = {
        { "sql", "", "sql", "" },
        { "demo:sql", "demo", "sql", "" },
        { "demo:sql@prod", "demo", "sql", "prod" },
        { "sql@sha256:12ab", "", "sql", "sha256:12ab" },
        { "org/m:7b:sql@x@y", "org/m:7b", "sql", "x@y" },
        { "", "", "", "" },
        { ":", "", "", "" },
        { "@", "", "", "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct adapter_name n = adapter_name_split(str_of(rows[i].text));
        assert_true(str_is(n.base, rows[i].base));
        assert_true(str_is(n.adapter, rows[i].adapter));
        assert_true(str_is(n.selector, rows[i].selector));
    }
}

static void names_are_words(void **state)
{
    char longest[LIMIT_NAME + 2];
    (void)state;
    memset(longest, 'a', sizeof(longest));
    static const char *const good[] = { "sql", "a", "A-1_b.c", "1", "_x", "acme/sql", "a/1" };
    static const char *const bad[] = {
        "",    ".",   "..",  ".a",       "-a",    "a b",  "/",    "/a",   "a/",   "a/b/c",
        "a:b", "a@b", "a\n", "\xc3\xa9", "a\x7f", "../a", "a/..", "a/.b", "a//b",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(adapter_name_check(str_of(good[i]), NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(adapter_name_check(str_of(bad[i]), NULL), FAILED);
    assert_int_equal(adapter_name_check((struct str){ longest, LIMIT_NAME }, NULL), 0);
    assert_int_equal(adapter_name_check((struct str){ longest, LIMIT_NAME + 1 }, NULL), FAILED);
    assert_true(str_is(adapter_tenant(STR("acme/sql")), "acme"));
    assert_true(str_is(adapter_tenant(STR("sql")), ""));
    assert_int_equal(alias_name_check(STR("prod"), NULL), 0);
    assert_int_equal(alias_name_check(STR("a/b"), NULL), FAILED);
    assert_int_equal(alias_name_check(STR("v2"), NULL), 0);
    assert_int_equal(alias_name_check(STR("2"), NULL), FAILED);
    assert_int_equal(alias_name_check(STR("sha256-00000000"), NULL), FAILED);
    assert_int_equal(alias_name_check(STR("abcdef123456"), NULL), FAILED);
    assert_int_equal(base_name_check(STR("org/m:7b"), NULL), 0);
    assert_int_equal(base_name_check(STR("a b"), NULL), FAILED);
}

static struct head *with_canary(uint32_t weight, uint64_t salt)
{
    struct head_revision revisions[2] = { { .ordinal = 1 }, { .ordinal = 2 } };
    memset(revisions[1].digest.b, 1, SHA256_BYTES);
    struct head_alias aliases[] = { { .name = STR("canary"), .digest = revisions[1].digest },
                                    { .name = STR("prod"), .digest = revisions[0].digest } };
    struct head draft = { .base = STR("demo"),
                          .adapter = STR("sql"),
                          .epoch = 9,
                          .revisions = revisions,
                          .n_revisions = 2,
                          .aliases = aliases,
                          .n_aliases = 2,
                          .canary_weight = weight,
                          .canary_salt = salt };
    return head_new(&draft);
}

static unsigned canaries(const struct head *h, struct str selector, unsigned n)
{
    unsigned count = 0;
    for (unsigned i = 1; i <= n; i++) {
        struct adapter_revision r;
        struct fail f;
        assert_int_equal(head_choose(h, selector, i, false, &r, &f), 0);
        assert_int_equal(r.epoch, 9);
        assert_string_equal(r.alias, r.canary || r.ordinal == 2 ? "canary" : "prod");
        assert_int_equal(r.ordinal, r.canary || str_is(selector, "canary") ? 2 : 1);
        count += r.canary;
    }
    return count;
}

static void a_canary_gets_its_share_of_requests_without_a_selector(void **state)
{
    static const struct {
        uint32_t weight;
        unsigned least, most; /* of 20,000 */
    } rows[] = {
        { 0, 0, 0 }, { 1, 0, 8 }, { 500, 870, 1130 }, { 5000, 9700, 10300 }, { 10000, 20000, 20000 }
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(head_unrefp) struct head *h = with_canary(rows[i].weight, 3);
        assert_in_range(canaries(h, STR(""), 20000), rows[i].least, rows[i].most);
        assert_int_equal(canaries(h, STR("prod"), 100), 0);
        assert_int_equal(canaries(h, STR("canary"), 100), 0);
        assert_false(head_in_canary(h, 0));
    }
}

static void a_new_canary_draws_other_requests(void **state)
{
    CLEANUP(head_unrefp) struct head *one = with_canary(5000, 3);
    CLEANUP(head_unrefp) struct head *same = with_canary(5000, 3);
    CLEANUP(head_unrefp) struct head *other = with_canary(5000, 4);
    unsigned both = 0;
    (void)state;
    for (uint64_t i = 1; i <= 4000; i++) {
        assert_int_equal(head_in_canary(one, i), head_in_canary(same, i));
        both += head_in_canary(one, i) && head_in_canary(other, i);
    }
    assert_in_range(both, 850, 1150); /* a quarter: the two draws know nothing of each other */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_selector_finds_its_revision),
        cmocka_unit_test(a_name_splits_at_its_last_colon_and_first_at),
        cmocka_unit_test(names_are_words),
        cmocka_unit_test(a_canary_gets_its_share_of_requests_without_a_selector),
        cmocka_unit_test(a_new_canary_draws_other_requests),
    };
    return TEST_RUN(tests);
}
