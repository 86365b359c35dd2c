/*
 * Signatures of AWS calls against those of another implementation (aws.py makes the file).
 */
#include "engine/upstream/aws_sigv4.h"
#include "tests/support/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static struct str text(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return (struct str){ json_string_value(v), json_string_length(v) };
}

static void check_call(const json_t *row)
{
    struct chat_pair headers[4];
    struct aws_sigv4_call call = {
        .method = json_string_value(json_object_get(row, "method")),
        .host = text(row, "host"),
        .path = text(row, "path"),
        .query = text(row, "query"),
        .headers = headers,
        .body = text(row, "body"),
        .region = text(row, "region"),
        .service = text(row, "service"),
        .key_id = text(row, "key_id"),
        .secret = text(row, "secret"),
        .session_token = text(row, "session_token"),
        .now_s = (uint64_t)json_integer_value(json_object_get(row, "now")),
    };
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(row, "headers"), key, value) headers[call.n_headers++] =
        (struct chat_pair){ str_of(key), str_of(json_string_value(value)) };
    struct aws_sigv4 got;
    assert_int_equal(aws_sigv4_sign(&got, &call), 0);
    assert_string_equal(got.date, json_string_value(json_object_get(row, "date")));
    const char *want = json_string_value(json_object_get(row, "authorization"));
    if (strcmp(got.authorization, want) != 0)
        fail_msg("%s\n  signed %s\n  stored %s", call.path.p, got.authorization, want);
}

static void signs_as_stored(void **state)
{
    (void)state;
    json_error_t e;
    json_t *rows = json_load_file(test_path("tests/golden/aws_sigv4.json"), 0, &e), *row;
    size_t i;
    assert_true(json_array_size(rows) >= 18);
    json_array_foreach(rows, i, row) check_call(row);
    json_decref(rows);
}

static void refuses_what_it_cannot_sign(void **state)
{
    (void)state;
    char large[AWS_SIGV4_KEY + 2] = "";
    memset(large, 'k', sizeof(large) - 1);
    const struct aws_sigv4_call good = { .method = "POST",
                                         .host = STR("h"),
                                         .path = STR("/"),
                                         .region = STR("us-east-1"),
                                         .service = STR("bedrock"),
                                         .key_id = STR("id"),
                                         .secret = STR("secret") };
    struct aws_sigv4_call rows[] = { good, good, good, good, good, good };
    rows[0].key_id = STR("");
    rows[1].secret = STR("");
    rows[2].secret = str_of(large);
    rows[3].region = STR("");
    rows[4].service = str_of(large);
    rows[5].n_headers = AWS_SIGV4_HEADERS + 1;
    struct aws_sigv4 got;
    assert_int_equal(aws_sigv4_sign(&got, &good), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(aws_sigv4_sign(&got, &rows[i]), -EINVAL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_stored),
        cmocka_unit_test(refuses_what_it_cannot_sign),
    };
    return TEST_RUN(tests);
}
