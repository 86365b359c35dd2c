#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/local/slots.h"

static const struct cache_key base_key = { .kind = CACHE_KEY_base, .base = 9, .from = CACHE_NEVER };
static const struct cache_key private_key = { .kind = CACHE_KEY_private, .base = 9, .scale = 1 };

static struct cache_key adapter(uint8_t first, uint8_t last)
{
    struct cache_key k = { .kind = CACHE_KEY_adapter, .base = 9, .scale = 1 };
    k.digest.b[0] = first;
    k.digest.b[SHA256_BYTES - 1] = last;
    return k;
}

/* Takes a slot, fills it with the ids and leaves it. */
static uint32_t fill(struct slots *s, const struct cache_key *key, const int32_t *ids, uint32_t n)
{
    uint32_t at = slots_take(s, key, ids, n);
    memcpy(s->at[at].ids, ids, n * sizeof(*ids));
    s->at[at].n = n;
    slots_release(s, at);
    return at;
}

static void keys_equal_only_the_same_weights(void **state)
{
    enum { N = 7 };
    struct cache_key a = adapter(1, 2);
    const struct {
        const char *what;
        struct cache_key other;
        uint32_t common;
    } rows[] = {
        { "itself", a, N },
        { "another adapter", adapter(1, 3), 0 },
        { "the base", base_key, 0 },
        { "an adapter without a digest", private_key, 0 },
        { "another base", { a.kind, a.type, 8, a.digest, a.from, a.scale }, 0 },
        { "another cache type", { a.kind, CACHE_q8_0, a.base, a.digest, a.from, a.scale }, 0 },
        { "another scale", { a.kind, a.type, a.base, a.digest, a.from, 0.5f }, 0 },
        { "another first position", { a.kind, a.type, a.base, a.digest, 3, a.scale }, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (cache_key_common(&a, &rows[i].other, N) != rows[i].common ||
            cache_key_common(&rows[i].other, &a, N) != rows[i].common)
            fail_msg("%s shares %u and %u of %d", rows[i].what,
                     cache_key_common(&a, &rows[i].other, N),
                     cache_key_common(&rows[i].other, &a, N), N);
    }
    assert_int_equal(cache_key_common(&base_key, &base_key, N), N);
    assert_int_equal(cache_key_common(&private_key, &private_key, N), 0);
}

/* An adapter that begins within the prompt leaves what is before to the base and to all others. */
static void positions_before_an_activation_are_shared_with_the_base(void **state)
{
    struct cache_key a = adapter(1, 1), b = adapter(2, 2), late = a, alone = private_key;
    a.from = 4;
    late.from = 6;
    b.from = 5;
    alone.from = 3;
    const struct {
        const struct cache_key *x, *y;
        uint32_t n, common;
    } rows[] = {
        { &a, &base_key, 9, 4 }, { &a, &base_key, 2, 2 },  { &a, &b, 9, 4 },
        { &a, &a, 9, 9 },        { &a, &late, 9, 4 },      { &late, &b, 9, 5 },
        { &alone, &a, 9, 3 },    { &alone, &alone, 9, 3 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(cache_key_common(rows[i].x, rows[i].y, rows[i].n), rows[i].common);
        assert_int_equal(cache_key_common(rows[i].y, rows[i].x, rows[i].n), rows[i].common);
    }
    CLEANUP(slots_done) struct slots s;
    assert_int_equal(slots_init(&s, 2, 0, 16), 0);
    static const int32_t ids[] = { 1, 2, 3, 4, 5, 6, 7 };
    uint32_t at = fill(&s, &a, ids, 7), n;
    assert_int_equal(slots_best(&s, &b, ids, 7, 2, &n), at);
    assert_int_equal(n, 4);
    uint32_t taken = slots_take(&s, &base_key, ids, 7); /* four of seven: more than half */
    assert_int_equal(taken, at);
    assert_int_equal(s.at[taken].n, 4);
}

static void a_prefix_is_found_under_its_own_key_only(void **state)
{
    CLEANUP(slots_done) struct slots s;
    assert_int_equal(slots_init(&s, 4, 0, 16), 0);
    struct cache_key one = adapter(1, 1), other = adapter(1, 2);
    static const int32_t ids[] = { 5, 6, 7, 8 };
    uint32_t at = fill(&s, &one, ids, 4), n;
    assert_int_equal(slots_best(&s, &one, (int32_t[]){ 5, 6, 9 }, 3, 4, &n), at);
    assert_int_equal(n, 2);
    (void)slots_best(&s, &other, ids, 4, 4, &n);
    assert_int_equal(n, 0);
    (void)slots_best(&s, &base_key, ids, 4, 4, &n);
    assert_int_equal(n, 0);
    (void)slots_best(&s, &one, ids, 4, at, &n); /* the slot itself is left out */
    assert_int_equal(n, 0);
    (void)slots_best(&s, &one, ids, 0, 4, &n);
    assert_int_equal(n, 0);
}

static void private_content_is_never_used_again(void **state)
{
    CLEANUP(slots_done) struct slots s;
    assert_int_equal(slots_init(&s, 1, 0, 8), 0);
    static const int32_t ids[] = { 1, 2, 3 };
    fill(&s, &private_key, ids, 3);
    assert_int_equal(s.at[slots_take(&s, &private_key, ids, 3)].n, 0);
}

static void the_slot_that_fits_is_taken_else_the_oldest(void **state)
{
    CLEANUP(slots_done) struct slots s;
    assert_int_equal(slots_init(&s, 3, 0, 16), 0);
    static const int32_t a[] = { 1, 2, 3, 4 }, b[] = { 1, 2, 9, 9, 9, 9 }, c[] = { 7 };
    uint32_t at_a = fill(&s, &base_key, a, 4), at_b = fill(&s, &base_key, b, 6);
    uint32_t at_c = fill(&s, &base_key, c, 1);
    assert_true(at_a != at_b && at_b != at_c && at_a != at_c); /* empty slots come first */

    /* grows what is there */
    static const int32_t more[] = { 1, 2, 9, 9, 9, 9, 5 };
    uint32_t taken = slots_take(&s, &base_key, more, 7);
    assert_int_equal(taken, at_b);
    assert_int_equal(s.at[taken].n, 6);
    slots_release(&s, taken);

    /* shares less than half of the long one: the oldest goes, the long one stays */
    static const int32_t fresh[] = { 7, 7, 7 };
    struct cache_key k = adapter(1, 1);
    taken = slots_take(&s, &k, fresh, 3);
    assert_int_equal(taken, at_a);
    assert_int_equal(s.at[taken].n, 0);
    uint32_t next = slots_take(&s, &base_key, (int32_t[]){ 1, 2, 4 }, 3); /* the other is busy */
    assert_int_equal(next, at_c);
    assert_int_equal(s.at[next].n, 0);
    uint32_t last = slots_take(&s, &base_key, (int32_t[]){ 1, 2, 4 }, 3);
    assert_int_equal(last, at_b);
    assert_int_equal(s.at[last].n, 2); /* no other is left: what fits is kept */
}

static void never_more_is_kept_than_asked_for(void **state)
{
    CLEANUP(slots_done) struct slots s;
    assert_int_equal(slots_init(&s, 1, 0, 8), 0);
    static const int32_t ids[] = { 1, 2, 3, 4 };
    fill(&s, &base_key, ids, 4);
    assert_int_equal(s.at[slots_take(&s, &base_key, ids, 3)].n, 3);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_equal_only_the_same_weights),
        cmocka_unit_test(positions_before_an_activation_are_shared_with_the_base),
        cmocka_unit_test(a_prefix_is_found_under_its_own_key_only),
        cmocka_unit_test(private_content_is_never_used_again),
        cmocka_unit_test(the_slot_that_fits_is_taken_else_the_oldest),
        cmocka_unit_test(never_more_is_kept_than_asked_for),
    };
    return TEST_RUN(tests);
}
