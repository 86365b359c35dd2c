/* Vectors of FIPS 180-4 / NIST's examples. */
#include "tests/support/test.h"

#include "base/file.h"
#include "base/sha256.h"

#include <errno.h>
#include <stdio.h>

static const struct {
    const char *text, *hex;
} vectors[] = {
    { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void digests_are_those_of_the_standard(void **state)
{
    char path[8192];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/f", test_temp_dir());
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        char hex[SHA256_HEX + 1];
        struct str text = str_of(vectors[i].text);
        struct sha256 whole = sha256_of(text), of_file, parsed;
        sha256_hex(hex, &whole);
        assert_string_equal(hex, vectors[i].hex);
        assert_int_equal(sha256_parse(&parsed, str_of(hex)), 0);
        assert_true(sha256_eq(&parsed, &whole));
        assert_int_equal(file_replace(path, text), 0);
        assert_int_equal(sha256_file(&of_file, path), 0);
        assert_true(sha256_eq(&of_file, &whole));
    }
}

static void pieces_give_the_digest_of_the_whole(void **state)
{
    CLEANUP(sha256_freep) struct sha256_stream *s = NULL;
    (void)state;
    assert_int_equal(sha256_new(&s), 0);
    for (int round = 0; round < 2; round++) { /* the stream starts anew */
        sha256_add(s, "a", 1);
        sha256_add(s, "bc", 2);
        struct sha256 got = sha256_end(s), want = sha256_of(STR("abc"));
        assert_true(sha256_eq(&got, &want));
    }
}

static void what_is_no_digest_is_refused(void **state)
{
    struct sha256 d;
    (void)state;
    assert_int_equal(sha256_parse(&d, STR("ba78")), -EINVAL);
    assert_int_equal(
        sha256_parse(&d, STR("zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        -EINVAL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_standard),
        cmocka_unit_test(pieces_give_the_digest_of_the_whole),
        cmocka_unit_test(what_is_no_digest_is_refused),
    };
    return TEST_RUN(tests);
}
