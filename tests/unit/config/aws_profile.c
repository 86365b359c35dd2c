/* Where AWS keys are looked for, and what a profile file says. */
#include "config/aws_profile.h"
#include "tests/support/test.h"

#include <stdlib.h>

#include "base/own.h"

static const char text[] = "# aws_access_key_id = no\r\n"
                           "[default]\r\n"
                           "aws_access_key_id = ID1\r\n"
                           "aws_secret_access_key=a/b+c==\r\n"
                           "\n"
                           "[ work ]\n"
                           "  aws_access_key_id  =  ID2  \n"
                           "region = eu-central-1\n"
                           "aws_secret_access_key = S2\n"
                           "aws_session_token = T2\n"
                           "[profile play]\n"
                           "aws_access_key_id = ID3\n"
                           "aws_secret_access_key = S3";

static void reads_the_section_that_is_meant(void **state)
{
    (void)state;
    static const struct {
        const char *profile, *id, *secret, *token;
    } rows[] = {
        { "default", "ID1", "a/b+c==", "" },
        { "work", "ID2", "S2", "T2" },
        { "play", "ID3", "S3", "" },
        { "profile play", "ID3", "S3", "" },
        { "wor", "", "", "" },
        { "", "", "", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct aws_keys k = aws_keys_of_profile(str_of(text), rows[i].profile);
        assert_true(str_is(k.id, rows[i].id));
        assert_true(str_is(k.secret, rows[i].secret));
        assert_true(str_is(k.token, rows[i].token));
    }
}

static void chooses_as_other_tools_do(void **state)
{
    (void)state;
    static const struct {
        const char *file, *profile;                 /* configured */
        const char *key, *shared_file, *profile_is; /* environment; NULL: unset */
        const char *want_file, *want_profile;
    } rows[] = {
        { "", "", NULL, NULL, NULL, "/home/x/.aws/credentials", "default" },
        { "", "", NULL, "/shared", "work", "/shared", "work" },
        { "", "", "K", "/shared", NULL, "", "default" },
        { "/own", "", "K", "/shared", "work", "/own", "work" },
        { "", "play", "K", NULL, NULL, "/home/x/.aws/credentials", "play" },
        { "/own", "play", NULL, "/shared", "work", "/own", "play" },
    };
    assert_int_equal(setenv("HOME", "/home/x", 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *const names[] = { "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                      "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE" };
        const char *const values[] = { rows[i].key, rows[i].key, rows[i].shared_file,
                                       rows[i].profile_is };
        for (size_t k = 0; k < ARRAY_LEN(names); k++)
            assert_int_equal(values[k] ? setenv(names[k], values[k], 1) : unsetenv(names[k]), 0);
        struct aws_place place;
        aws_place_choose(&place, str_of(rows[i].file), str_of(rows[i].profile));
        assert_string_equal(place.file, rows[i].want_file);
        assert_string_equal(place.profile, rows[i].want_profile);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_section_that_is_meant),
        cmocka_unit_test(chooses_as_other_tools_do),
    };
    return TEST_RUN(tests);
}
