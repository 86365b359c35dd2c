#include "base/hash.h"

#include <math.h>
#include <string.h>

#include "base/own.h"
#include "tests/support/test.h"

enum { LONGEST = 70 };

static unsigned ones(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}

/* Every bit of the input turns about half of the output's. */
static void each_bit_changes_half_of_the_hash(void **state)
{
    unsigned char text[LONGEST];
    uint64_t sum = 0, n = 0;
    (void)state;
    for (unsigned i = 0; i < LONGEST; i++)
        text[i] = (unsigned char)(i * 37);
    for (size_t length = 1; length <= LONGEST; length++)
        for (size_t bit = 0; bit < length * 8; bit++) {
            uint64_t before = hash_bytes(text, length, 7);
            text[bit / 8] ^= (unsigned char)(1u << bit % 8);
            unsigned changed = ones(before ^ hash_bytes(text, length, 7));
            text[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_true(changed >= 10 && changed <= 54); /* 32, and more than five deviations */
            sum += changed;
            n++;
        }
    assert_true(fabs((double)sum / (double)n - 32) < 0.2);
}

static void lengths_seeds_and_zeros_count(void **state)
{
    static const unsigned char zeros[LONGEST];
    uint64_t seen[3 * LONGEST];
    size_t n = 0;
    (void)state;
    for (size_t length = 0; length < LONGEST; length++)
        for (uint64_t seed = 0; seed < 3; seed++)
            seen[n++] = hash_bytes(zeros, length, seed);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
    assert_true(hash_bytes(NULL, 0, 1) == hash_bytes(zeros, 0, 1));
}

static void where_the_bytes_stand_does_not_matter(void **state)
{
    unsigned char text[2 * LONGEST];
    (void)state;
    for (unsigned i = 0; i < LONGEST; i++)
        text[i] = (unsigned char)(i * 101);
    uint64_t want = hash_bytes(text, LONGEST, 0);
    for (unsigned shift = 1; shift < 17; shift++) {
        memmove(text + shift, text + shift - 1, LONGEST);
        assert_true(hash_bytes(text + shift, LONGEST, 0) == want);
    }
}

/* Counters as keys, into 256 buckets by any byte of the hash: chi-squared of 255 degrees. */
static void counters_spread_evenly(void **state)
{
    enum { BUCKETS = 256, EACH = 64 };
    (void)state;
    for (unsigned byte = 0; byte < 8; byte++) {
        unsigned counts[BUCKETS] = { 0 };
        double chi = 0;
        for (uint64_t i = 0; i < BUCKETS * EACH; i++)
            counts[hash_bytes(&i, sizeof(i), 0) >> (8 * byte) & 255]++;
        for (unsigned i = 0; i < BUCKETS; i++)
            chi += pow((double)counts[i] - EACH, 2) / EACH;
        assert_true(chi > 255 - 6 * 22.6 && chi < 255 + 6 * 22.6);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bit_changes_half_of_the_hash),
        cmocka_unit_test(lengths_seeds_and_zeros_count),
        cmocka_unit_test(where_the_bytes_stand_does_not_matter),
        cmocka_unit_test(counters_spread_evenly),
    };
    return TEST_RUN(tests);
}
