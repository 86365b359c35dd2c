#include "gateway/redact.h"
#include "tests/support/test.h"

#include "base/clock.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

static void credentials_are_masked_and_the_rest_is_left(void **state)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "", "" },
        { "no secret here", "no secret here" },
        { "{\"api_key\": \"abc\"}", "{\"api_key\": \"[redacted]\"}" },
        { "{\"X-Api-Key\":\"abc\",\"b\":1}", "{\"X-Api-Key\":\"[redacted]\",\"b\":1}" },
        { "{\"password\":\"a\\\"b\",\"c\":\"d\"}", "{\"password\":\"[redacted]\",\"c\":\"d\"}" },
        { "{\"token\" : \"t\"}", "{\"token\" : \"[redacted]\"}" },
        { "{\"client_secret\":\"s\"}", "{\"client_secret\":\"[redacted]\"}" },
        { "{\"max_tokens\":5,\"tokens\":\"x\"}", "{\"max_tokens\":5,\"tokens\":\"x\"}" },
        { "{\"token\":5}", "{\"token\":5}" },
        { "{\"password\":\"cut in the mid", "{\"password\":\"[redacted]" },
        /* JSON inside a JSON string */
        { "{\"arguments\":\"{\\\"api_key\\\":\\\"abc\\\",\\\"q\\\":1}\"}",
          "{\"arguments\":\"{\\\"api_key\\\":\\\"[redacted]\\\",\\\"q\\\":1}\"}" },
        { "url?api_key=abc123&q=1", "url?api_key=[redacted]&q=1" },
        { "my key is sk-abcdefghijklmnopqrst.", "my key is [redacted]" },
        { "sk-short", "sk-short" },
        { "task-abcdefghijklmnopqrstuv", "task-abcdefghijklmnopqrstuv" },
        { "Authorization: Bearer abcdefghijklmnop0123", "Authorization: [redacted]" },
        { "ghp_abcdefghijklmnopqrstuvwxyz01 and AKIAABCDEFGHIJKLMNOP",
          "[redacted] and [redacted]" },
        { "password: please", "password: please" },
        { "\"secret\"", "\"secret\"" },
        { "\xff\xfe api_key=\xff", "\xff\xfe api_key=\xff" },
    };
    struct arena *a = arena_new(MIB);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str got = redact_keys(str_of(rows[i].in), a);
        if (!str_is(got, rows[i].want))
            fail_msg("'%s' became '%.*s'", rows[i].in, STR_ARG(got));
    }
    arena_free(a);
}

/* Quotes, backslashes and names in any number: the time stays that of one pass. */
static void hostile_texts_end(void **state)
{
    static const char *const pieces[] = { "\\", "\"", "password\":\"", "password=", "sk-", "a" };
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        size_t n = strlen(pieces[i]);
        for (size_t at = 0; at < SIZE; at++)
            text[at] = pieces[i][at % n];
        struct arena *a = arena_new(16 * MIB);
        uint64_t from = clock_ms();
        assert_non_null(redact_keys((struct str){ text, SIZE }, a).p);
        print_message("# %s: %llu ms\n", pieces[i], (unsigned long long)(clock_ms() - from));
        arena_free(a);
    }
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(credentials_are_masked_and_the_rest_is_left),
        cmocka_unit_test(hostile_texts_end),
    };
    return TEST_RUN(tests);
}
