/* Candidates that are compared with the user's turn: by what the policy and the catalog say. */
#include "tests/unit/router/support.h"

#include "base/limits.h"

#define POLICY                                                                                     \
    "providers: {defaults: {default_model: base}}\n"                                               \
    "routing:\n"                                                                                   \
    "  modelCards:\n"                                                                              \
    "    - name: base\n"                                                                           \
    "      capabilities: [general conversation]\n"                                                 \
    "      loras:\n"                                                                               \
    "        - {name: sql, description: Writes SQL queries over tables of a database.}\n"          \
    "        - {name: poems, description: Writes poems and song lyrics that rhyme.}\n"             \
    "        - {name: plain}\n"                                                                    \
    "  decisions:\n"                                                                               \
    "    - name: d\n"                                                                              \
    "      modelRefs: [{model: base, lora_name: plain}, {model: base, lora_name: sql},\n"          \
    "                  {model: base, lora_name: 'poems@prod'}]\n"                                  \
    "      algorithm: "

struct row {
    const char *algorithm, *text, *adapter;
    enum selection_status status;
};

static bool tell(void *ctx, struct str model, struct str adapter, struct arena *arena,
                 struct str *ret_description, struct text_list *ret_examples)
{
    static const struct str examples[] = { { "Turn the lamp in the kitchen off", 32 },
                                           { "Set the heating to twenty degrees", 33 } };
    (void)arena;
    *(unsigned *)ctx += 1;
    assert_true(str_is(model, "base"));
    if (!str_is(adapter, "plain"))
        return false;
    *ret_description = STR("Steers devices at home.");
    *ret_examples = (struct text_list){ examples, 2 };
    return true;
}

static void check(const struct row *rows, size_t n, bool with_catalog)
{
    for (size_t i = 0; i < n; i++) {
        struct config *c = NULL;
        struct buf yaml = BUF_INIT(MIB);
        buf_addf(&yaml, "%s%s\n", POLICY, rows[i].algorithm);
        struct router *r = policy_from(yaml.p, &c);
        struct arena *arena = arena_new(16 * MIB);
        struct route route;
        unsigned asked = 0;
        if (with_catalog)
            assert_int_equal(router_describe(r, &(struct adapter_words){ tell, &asked }, NULL), 0);
        assert_int_equal(asked, with_catalog ? 3 : 0);
        route_text(r, "auto", rows[i].text, arena, &route);
        if (!str_is(route.adapter, rows[i].adapter) || route.selection != rows[i].status)
            fail_msg("row %zu: '%.*s', status %d", i, STR_ARG(route.adapter), (int)route.selection);
        arena_free(arena);
        router_free(r);
        config_unref(c);
        buf_done(&yaml);
    }
}

static void descriptions_of_the_policy_choose(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{type: router_dc, router_dc: {min_similarity: 0.05}}",
          "Write a query over the database tables", "sql", SELECTION_selected },
        { "{type: router_dc, router_dc: {min_similarity: 0.05}}", "a poem with lyrics that rhyme",
          "poems@prod", SELECTION_selected },
        { "{type: router_dc, router_dc: {min_similarity: 0.99}}", "a poem with lyrics that rhyme",
          "plain", SELECTION_fallback },
        { "{type: adapter_affinity, adapter_affinity: {residency: 0}}",
          "Which tables of the database would your SQL query?", "sql", SELECTION_selected },
        { "{type: router_dc, router_dc: {min_similarity: 0.05, use_capabilities: true}}",
          "a general conversation", "plain", SELECTION_selected },
    };
    check(rows, ARRAY_LEN(rows), /* with_catalog= */ false);
}

static void descriptions_and_examples_of_the_catalog_choose_too(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{type: router_dc, router_dc: {min_similarity: 0.05}}",
          "turn off the lamp in the kitchen please", "plain", SELECTION_selected },
        { "{type: router_dc, router_dc: {min_similarity: 0.05}}", "a poem with lyrics that rhyme",
          "poems@prod", SELECTION_selected },
        { "{type: adapter_affinity, adapter_affinity: {residency: 0}}",
          "heating to nineteen degrees", "plain", SELECTION_selected },
    };
    check(rows, ARRAY_LEN(rows), /* with_catalog= */ true);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptions_of_the_policy_choose),
        cmocka_unit_test(descriptions_and_examples_of_the_catalog_choose_too),
    };
    return TEST_RUN(tests);
}
