#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/auth.h"
#include "gateway/target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

/* ---- model names ---- */

static struct core_model models[] = {
    { .name = { "demo", 4 } },
    { .name = { "demo:large", 10 } },
    { .name = { "org/base", 8 } },
};
static struct core core = { .models = models, .n_models = ARRAY_LEN(models) };

static void names_mean_base_adapter_and_selector(void **state)
{
    (void)state;
    static const struct {
        const char *name, *base, *adapter, *selector;
    } rows[] = {
        { "demo", "demo", "", "" },
        { "demo:sql", "demo", "sql", "" },
        { "demo:sql@prod", "demo", "sql", "prod" },
        { "demo:sql@sha256:0123456789ab", "demo", "sql", "sha256:0123456789ab" },
        { "demo:large", "demo:large", "", "" },
        { "demo:large:sql", "demo:large", "sql", "" },
        { "org/base:team/sql@canary", "org/base", "team/sql", "canary" },
        { "sql", "", "sql", "" },
        { "sql@prod", "", "sql", "prod" },
        { "sql@sha256:0123456789ab", "", "sql", "sha256:0123456789ab" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct target t;
        struct fail fail = { 0 };
        if (target_parse(&core, str_of(rows[i].name), &t, &fail) != 0)
            fail_msg("%s: %s", rows[i].name, fail.message);
        struct str base = t.model ? t.model->name : STR_NULL;
        if (!str_is(base, rows[i].base) || !str_is(t.adapter.adapter, rows[i].adapter) ||
            !str_is(t.adapter.selector, rows[i].selector))
            fail_msg("%s: '" STR_FMT "' '" STR_FMT "' '" STR_FMT "'", rows[i].name, STR_ARG(base),
                     STR_ARG(t.adapter.adapter), STR_ARG(t.adapter.selector));
    }
}

static void names_that_mean_nothing_are_not_found(void **state)
{
    (void)state;
    static const char *const names[] = { "demo:",     "demo:@prod", "demo:sql@", "other:sql",
                                         "other:s@p", ":",          "@",         "@prod" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct target t;
        struct fail fail = { 0 };
        if (target_parse(&core, str_of(names[i]), &t, &fail) != FAILED ||
            fail.code != FAIL_model_not_found)
            fail_msg("%s was taken", names[i]);
    }
}

static void a_name_is_printed_as_it_is_asked_for(void **state)
{
    (void)state;
    static const char *const names[] = { "demo", "demo:sql", "demo:sql@prod", "sql@prod" };
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct target t;
        assert_int_equal(target_parse(&core, str_of(names[i]), &t, NULL), 0);
        assert_true(str_is(target_name(&t, arena), names[i]));
    }
}

/* ---- paths ---- */

static void paths_find_their_endpoint(void **state)
{
    (void)state;
    static const struct {
        const char *method, *url, *path, *param;
    } rows[] = {
        { "GET", "/health", "/health", NULL },
        { "HEAD", "/health", "/health", NULL },
        { "GET", "/v1/models", "/v1/models", NULL },
        { "GET", "/v1/models/", "/v1/models", NULL },
        { "GET", "//v1//models", "/v1/models", NULL },
        { "GET", "http://h:1/v1/models", "/v1/models", NULL },
        { "OPTIONS", "/v1/chat/completions", "/v1/chat/completions", NULL },
        { "POST", "/v1/chat/completions/", "/v1/chat/completions", NULL },
        { "GET", "/v1/models/demo", "/v1/models/{*}", "demo" },
        { "GET", "/v1/models/demo:sql@prod", "/v1/models/{*}", "demo:sql@prod" },
        { "GET", "/v1/models/demo%3Asql%40prod", "/v1/models/{*}", "demo:sql@prod" },
        { "GET", "/v1/models/org/base", "/v1/models/{*}", "org/base" },
        { "GET", "/v1/models/org%2Fbase", "/v1/models/{*}", "org/base" },
        { "GET", "/v1/models/caf%C3%A9", "/v1/models/{*}", "café" },
        { "GET", "/v1/models/100%2525", "/v1/models/{*}", "100%25" },
        { "POST", "/admin/adapters/a%2Fb/alias", "/admin/adapters/{*}", "a/b/alias" },
        { "DELETE", "/admin/adapters/a/b", "/admin/adapters/{*}", "a/b" },
        { "PUT", "/admin/adapters/a/aliases/x", "/admin/adapters/{*}", "a/aliases/x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        struct api_match m;
        struct fail fail = { 0 };
        if (api_find(&m, str_of(rows[i].url), rows[i].method, arena, &fail) != 0)
            fail_msg("%s: %s", rows[i].url, fail.message);
        assert_string_equal(m.endpoint->path, rows[i].path);
        if (rows[i].param && !str_is(m.params[0], rows[i].param))
            fail_msg("%s: " STR_FMT, rows[i].url, STR_ARG(m.params[0]));
    }
}

static void wrong_paths_and_methods_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *method, *url;
        enum fail_code code;
        const char *allow;
    } rows[] = {
        { "GET", "/", FAIL_not_found, NULL },
        { "GET", "/v1", FAIL_not_found, NULL },
        { "GET", "/v2/models", FAIL_not_found, NULL },
        { "OPTIONS", "/nowhere", FAIL_not_found, NULL },
        { "GET", "/v1/chat/completions", FAIL_method_not_allowed, "POST, OPTIONS" },
        { "DELETE", "/v1/models", FAIL_method_not_allowed, "GET, HEAD, OPTIONS" },
        { "POST", "/health", FAIL_method_not_allowed, "GET, HEAD, OPTIONS" },
        { "GET", "/v1/models/%00", FAIL_invalid_request, NULL },
        { "GET", "/v1/models/%zz", FAIL_invalid_request, NULL },
        { "GET", "/v1/models/%f", FAIL_invalid_request, NULL },
        { "GET", "/v1/models/%ff", FAIL_invalid_request, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        struct api_match m;
        struct fail fail = { 0 };
        int r = api_find(&m, str_of(rows[i].url), rows[i].method, arena, &fail);
        if (r != FAILED || fail.code != rows[i].code)
            fail_msg("%s %s: %s", rows[i].method, rows[i].url, fail_word(fail.code));
        if (rows[i].allow)
            assert_string_equal(m.allow, rows[i].allow);
    }
}

/* ---- keys ---- */

static void keys_are_matched_whole(void **state)
{
    (void)state;
    CLEANUP(auth_freep) struct auth *a = NULL;
    assert_int_equal(auth_parse(&a, STR("alpha=team1, beta\ngamma=x")), 0);
    static const struct {
        const char *authorization, *api_key;
        int want;
        const char *tenant;
    } rows[] = {
        { "Bearer alpha", NULL, 0, "team1" },
        { "bearer beta", NULL, 0, NULL },
        { "Bearer   gamma ", NULL, 0, "x" },
        { NULL, "alpha", 0, "team1" },
        { "Bearer alph", NULL, 1 },
        { "Bearer alphaa", NULL, 1 },
        { "Bearer alpha=team1", NULL, 1 },
        { "Basic alpha", NULL, 1 },
        { "alpha", NULL, 1 },
        { "Bearer ", NULL, 1 },
        { "", NULL, 1 },
        { NULL, NULL, 1 },
        { NULL, "", 1 },
        { "Bearer x", "alpha", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fail fail = { 0 };
        struct auth_caller caller = { 0 };
        int r = auth_check(a, str_of(rows[i].authorization), str_of(rows[i].api_key),
                           /* loopback= */ true, &caller, &fail);
        if (r != rows[i].want)
            fail_msg("row %zu gave %d", i, r);
        if (r == 0 &&
            (!rows[i].tenant ? caller.tenant.p != NULL : !str_is(caller.tenant, rows[i].tenant)))
            fail_msg("row %zu is of tenant " STR_FMT, i, STR_ARG(caller.tenant));
        assert_true((r == 0) == (caller.key != 0));
        if (r == FAILED)
            assert_int_equal(fail.code, FAIL_invalid_api_key);
    }
}

static void a_variable_without_a_key_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = { "",   "  ",    ",,",  "=tenant", "a,=b",
                                         "a=", "a=b/c", "a==", "a=.b" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(auth_freep) struct auth *a = NULL;
        if (auth_parse(&a, str_of(texts[i])) == 0)
            fail_msg("'%s' was taken", texts[i]);
    }
}

static void without_keys_only_this_machine_is_served(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    struct config_gateway g = { 0 };
    CLEANUP(auth_freep) struct auth *a = NULL;
    assert_int_equal(auth_new(&a, &g, p), 0);
    assert_true(auth_open(a));
    struct fail fail = { 0 };
    struct auth_caller caller = { 0 };
    assert_int_equal(auth_check(a, STR_NULL, STR_NULL, /* loopback= */ true, &caller, &fail), 0);
    assert_null(caller.tenant.p);
    assert_int_equal(auth_check(a, STR_NULL, STR_NULL, /* loopback= */ false, &caller, &fail),
                     FAILED);
    assert_int_equal(fail.code, FAIL_permission_denied);
}

static void a_named_but_unset_variable_is_a_problem(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    struct config_gateway g = { .keys_env = STR("ROOTSTOCK_TEST_NO_SUCH_VARIABLE") };
    struct auth *a = NULL;
    assert_true(auth_new(&a, &g, p) < 0);
    assert_int_equal(problems_count(p, PROBLEM_error), 1);
}

static void loopback_is_told_from_the_rest(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool loopback;
    } rows[] = { { "127.0.0.1", true },
                 { "127.255.0.9", true },
                 { "128.0.0.1", false },
                 { "10.0.0.1", false },
                 { "::1", true },
                 { "::", false },
                 { "::ffff:127.0.0.1", true },
                 { "::ffff:10.0.0.1", false },
                 { "fe80::1", false } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
        bool is6 = strchr(rows[i].address, ':') != NULL;
        assert_int_equal(inet_pton(is6 ? AF_INET6 : AF_INET, rows[i].address,
                                   is6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr),
                         1);
        const struct sockaddr *a = is6 ? (const void *)&v6 : (const void *)&v4;
        if (auth_is_loopback(a) != rows[i].loopback)
            fail_msg("%s", rows[i].address);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_mean_base_adapter_and_selector),
        cmocka_unit_test(names_that_mean_nothing_are_not_found),
        cmocka_unit_test(a_name_is_printed_as_it_is_asked_for),
        cmocka_unit_test(paths_find_their_endpoint),
        cmocka_unit_test(wrong_paths_and_methods_are_told_apart),
        cmocka_unit_test(keys_are_matched_whole),
        cmocka_unit_test(a_variable_without_a_key_is_refused),
        cmocka_unit_test(without_keys_only_this_machine_is_served),
        cmocka_unit_test(a_named_but_unset_variable_is_a_problem),
        cmocka_unit_test(loopback_is_told_from_the_rest),
    };
    return TEST_RUN(tests);
}
