#include "tests/support/test.h"

#include "base/fail.h"
#include "base/str.h"

#include <errno.h>

static void words_have_the_status_of_the_contract(void **state)
{
    static const struct {
        enum fail_code code;
        unsigned status;
        const char *word, *type;
    } rows[] = {
        { FAIL_model_not_found, 404, "model_not_found", "invalid_request_error" },
        { FAIL_invalid_api_key, 401, "invalid_api_key", "invalid_request_error" },
        { FAIL_request_too_large, 413, "request_too_large", "invalid_request_error" },
        { FAIL_rate_limit_exceeded, 429, "rate_limit_exceeded", "rate_limit_error" },
        { FAIL_overloaded, 503, "overloaded", "overloaded" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(fail_status(rows[i].code), rows[i].status);
        assert_string_equal(fail_word(rows[i].code), rows[i].word);
        assert_string_equal(fail_type(rows[i].code), rows[i].type);
    }
}

static void a_failure_names_the_field_and_is_cut_between_characters(void **state)
{
    struct fail f;
    char text[700];
    (void)state;
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[698] = '\0';
    assert_int_equal(fail_param(&f, FAIL_invalid_request, "top_p", "x%s", text), FAILED);
    assert_string_equal(f.param, "top_p");
    assert_true(str_utf8_valid(str_of(f.message)));
    assert_true(strlen(f.message) > 300);
    assert_int_equal(fail_set(NULL, FAIL_invalid_request, "nobody listens"), FAILED);
}

static void lack_of_memory_is_overload(void **state)
{
    struct fail f;
    (void)state;
    assert_int_equal(fail_errno(&f, -ENOMEM, "reading"), FAILED);
    assert_int_equal(f.code, FAIL_overloaded);
    assert_int_equal(f.retry_after_s, 1);
    (void)fail_errno(&f, -EIO, "reading");
    assert_string_equal(f.message, "reading: Input/output error");
    assert_int_equal(f.code, FAIL_internal_error);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_have_the_status_of_the_contract),
        cmocka_unit_test(a_failure_names_the_field_and_is_cut_between_characters),
        cmocka_unit_test(lack_of_memory_is_overload),
    };
    return TEST_RUN(tests);
}
