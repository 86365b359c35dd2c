#include "base/crc32c.h"

#include <string.h>

#include "base/own.h"
#include "tests/support/test.h"

/* RFC 3720, appendix B.4, and the check value of the CRC catalogue. */
static void sums_are_those_of_the_standard(void **state)
{
    unsigned char bytes[32];
    (void)state;
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
}

static void pieces_sum_to_the_whole(void **state)
{
    static const char text[] = "a few words that are cut into two at every place";
    (void)state;
    for (size_t i = 0; i <= sizeof(text); i++)
        assert_int_equal(crc32c(crc32c(0, text, i), text + i, sizeof(text) - i),
                         crc32c(0, text, sizeof(text)));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_standard),
        cmocka_unit_test(pieces_sum_to_the_whole),
    };
    return TEST_RUN(tests);
}
