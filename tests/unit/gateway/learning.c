/* The tables of learning: bounded, and right against plain reference counts. */
#include "tests/support/test.h"

#include "gateway/learning/key.h"
#include "gateway/learning/lru.h"
#include "gateway/learning/observed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct sha256 key_of(unsigned i)
{
    return sha256_of((struct str){ (const char *)&i, sizeof(i) });
}

/* ---- the table ---- */

static unsigned dropped;

static void on_drop(void *value)
{
    dropped += *(unsigned *)value;
}

static void the_longest_unused_value_makes_room(void **state)
{
    (void)state;
    struct lru *l = NULL;
    struct sha256 k[4];
    dropped = 0;
    assert_int_equal(lru_new(&l, 3, sizeof(unsigned), on_drop), 0);
    for (unsigned i = 0; i < 4; i++)
        k[i] = key_of(i);
    for (unsigned i = 0; i < 3; i++)
        *(unsigned *)lru_make(l, &k[i]) = 1u << i;
    assert_non_null(lru_find(l, &k[0])); /* now 1 is the longest unused */
    *(unsigned *)lru_make(l, &k[3]) = 8;
    assert_int_equal(dropped, 2);
    assert_null(lru_find(l, &k[1]));
    assert_int_equal(*(unsigned *)lru_find(l, &k[0]), 1);
    assert_int_equal(*(unsigned *)lru_make(l, &k[2]), 4);
    assert_int_equal(lru_len(l), 3);
    unsigned order = 0;
    for (const void *v = lru_next(l, NULL); v; v = lru_next(l, v))
        order = order * 10 + *(const unsigned *)v;
    assert_int_equal(order, 418);
    (void)lru_free(l);
    assert_int_equal(dropped, 2 + 1 + 4 + 8);
}

static void ten_thousand_keys_are_all_found_again(void **state)
{
    (void)state;
    enum { KEYS = 10000 };
    struct lru *l = NULL;
    assert_int_equal(lru_new(&l, KEYS, sizeof(unsigned), NULL), 0);
    for (unsigned i = 0; i < KEYS; i++) {
        struct sha256 k = key_of(i);
        *(unsigned *)lru_make(l, &k) = i;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        struct sha256 k = key_of(i);
        const unsigned *v = lru_find(l, &k);
        assert_non_null(v);
        assert_int_equal(*v, i);
    }
    (void)lru_free(l);
}

static void no_two_lists_of_parts_have_one_key(void **state)
{
    (void)state;
    char longer[1000];
    memset(longer, 'x', sizeof(longer));
    struct sha256 k[] = {
        learning_key((struct str[]){ STR("ab"), STR("c") }, 2),
        learning_key((struct str[]){ STR("a"), STR("bc") }, 2),
        learning_key((struct str[]){ STR("abc"), STR("") }, 2),
        learning_key((struct str[]){ STR("abc") }, 1),
        learning_key((struct str[]){ { longer, 1000 } }, 1),
        learning_key((struct str[]){ { longer, 999 } }, 1),
    };
    for (size_t i = 0; i < ARRAY_LEN(k); i++)
        for (size_t j = 0; j < i; j++)
            assert_false(sha256_eq(&k[i], &k[j]));
}

/* ---- latencies ---- */

static int ascending(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void percentiles_are_those_of_the_last_latencies_sorted(void **state)
{
    (void)state;
    enum { ADDED = 1000 };
    static float all[ADDED];
    struct latencies l = { 0 };
    uint64_t seed = 5;
    for (unsigned n = 1; n <= ADDED; n++) {
        all[n - 1] = (float)(1 + test_random(&seed) % 50); /* many are equal */
        latencies_add(&l, (double)all[n - 1]);
        unsigned kept = n < LATENCIES_KEPT ? n : LATENCIES_KEPT;
        float sorted[LATENCIES_KEPT];
        memcpy(sorted, all + n - kept, kept * sizeof(float));
        qsort(sorted, kept, sizeof(float), ascending);
        for (unsigned p = 1; p <= 100; p += 9) {
            size_t rank = (size_t)ceil(p / 100.0 * kept - 1e-9);
            assert_true(latencies_at(&l, p) == (double)sorted[rank - 1]);
        }
    }
    assert_int_equal(l.n, LATENCIES_KEPT);
}

static void what_is_no_latency_is_left_out(void **state)
{
    (void)state;
    struct latencies l = { 0 };
    latencies_add(&l, -1);
    latencies_add(&l, NAN);
    latencies_add(&l, INFINITY);
    assert_int_equal(l.n, 0);
    assert_true(latencies_at(&l, 50) == 0);
    latencies_add(&l, 0);
    assert_true(latencies_at(&l, 50) > 0); /* ratios of latencies are taken */
}

/* ---- prefixes ---- */

static struct prefix prefix(const char *system, const char *user)
{
    struct chat_message m[] = { { .role = STR("system"), .content = str_of(system) },
                                { .role = STR("user"), .content = str_of(user) } };
    struct chat_request c = { .messages = m, .n_messages = 2 };
    struct prefix p;
    prefix_of(&p, &c);
    return p;
}

static void a_prompt_that_begins_like_an_answered_one_shares_its_blocks(void **state)
{
    (void)state;
    char system[4 * PREFIX_BLOCK + 1];
    memset(system, 's', sizeof(system) - 1);
    system[sizeof(system) - 1] = '\0';
    struct observed *o = NULL;
    assert_int_equal(observed_new(&o), 0);
    struct prefix first = prefix(system, "one"), second = prefix(system, "another question");
    struct prefix other = prefix("different from the first byte on", system);
    observed_add(o, STR("m"), STR("x"), &(struct observation){ -1, -1, false, &first });
    static const struct {
        const char *adapter;
        unsigned which;
        bool hit;
    } rows[] = { { "x", 0, true }, { "x", 1, true }, { "x", 2, false }, { "y", 0, false } };
    const struct prefix *all[] = { &first, &second, &other };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct observed_state s;
        struct observed_question q = { .model = STR("m"),
                                       .adapter = str_of(rows[i].adapter),
                                       .prefix = all[rows[i].which] };
        observed_get(o, &q, &s);
        double want = rows[i].hit ? 4.0 * PREFIX_BLOCK / (double)all[rows[i].which]->bytes : 0;
        assert_true(fabs(s.prefix - want) < 1e-12);
    }
    (void)observed_free(o);
}

static void a_long_prompt_is_read_to_a_bound(void **state)
{
    (void)state;
    size_t n = 10 * PREFIX_BLOCK * PREFIX_BLOCKS;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    struct chat_request c = { .prompt = { text, n } };
    struct prefix p;
    prefix_of(&p, &c);
    assert_int_equal(p.n, PREFIX_BLOCKS);
    assert_int_equal(p.bytes, PREFIX_BLOCK * PREFIX_BLOCKS);
    free(text);
}

static void latencies_are_kept_for_each_candidate(void **state)
{
    (void)state;
    struct observed *o = NULL;
    struct observed_state s;
    assert_int_equal(observed_new(&o), 0);
    for (int i = 1; i <= 4; i++)
        observed_add(o, STR("m"), STR("x"), &(struct observation){ i, 10 * i, i == 3, NULL });
    observed_add(o, STR("m"), STR(""), &(struct observation){ 100, -1, false, NULL });
    observed_get(o, &(struct observed_question){ STR("m"), STR("x"), 50, 100, NULL }, &s);
    assert_int_equal(s.samples_ttft, 4);
    assert_true(s.ttft_ms == 2 && s.tpot_ms == 40 && s.staged);
    observed_get(o, &(struct observed_question){ STR("m"), STR(""), 50, 50, NULL }, &s);
    assert_int_equal(s.samples_ttft, 1);
    assert_int_equal(s.samples_tpot, 0);
    assert_true(s.ttft_ms == 100 && !s.staged);
    (void)observed_free(o);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_unused_value_makes_room),
        cmocka_unit_test(ten_thousand_keys_are_all_found_again),
        cmocka_unit_test(no_two_lists_of_parts_have_one_key),
        cmocka_unit_test(percentiles_are_those_of_the_last_latencies_sorted),
        cmocka_unit_test(what_is_no_latency_is_left_out),
        cmocka_unit_test(a_prompt_that_begins_like_an_answered_one_shares_its_blocks),
        cmocka_unit_test(a_long_prompt_is_read_to_a_bound),
        cmocka_unit_test(latencies_are_kept_for_each_candidate),
    };
    return TEST_RUN(tests);
}
