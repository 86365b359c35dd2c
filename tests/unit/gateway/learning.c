/* The tables of learning: bounded, and right against plain reference counts. */
#include "tests/support/test.h"

#include "base/log.h"
#include "gateway/conversation.h"
#include "gateway/learning/key.h"
#include "gateway/learning/learning.h"
#include "gateway/learning/lru.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
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

/* ---- outcomes ---- */

#define DAY 86400u
#define K 32.0

static struct outcomes *new_outcomes(void)
{
    struct outcomes *o = NULL;
    assert_int_equal(outcomes_new(&o), 0);
    return o;
}

static struct outcome_of of(const char *decision, const char *adapter, const char *user)
{
    return (struct outcome_of){ str_of(decision), STR("m"), str_of(adapter), str_of(user) };
}

static struct outcome_state state_of(struct outcomes *o, struct outcome_of w, uint64_t now)
{
    struct outcome_state s;
    outcomes_get(o, &w, now, &s);
    return s;
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-6 * fmax(1, fabs(b));
}

static void verdicts_count_for_the_decision_and_for_all(void **state)
{
    (void)state;
    struct outcomes *o = new_outcomes();
    struct outcome_of a = of("d", "x", ""), b = of("e", "x", "");
    assert_false(state_of(o, a, 0).known);
    outcomes_judge(o, &a, OUTCOME_good_fit, K, 0);
    outcomes_judge(o, &a, OUTCOME_underpowered, K, 0);
    outcomes_judge(o, &b, OUTCOME_failed, K, 0);
    struct outcome_state s = state_of(o, a, 0);
    assert_true(s.known && s.judged);
    assert_true(s.counts.of[OUTCOME_good_fit] == 1 && s.counts.of[OUTCOME_underpowered] == 1);
    assert_true(s.counts.of[OUTCOME_failed] == 0);
    /* a tenth of K times 1 - ½, then times 0 - E(1501.6, 1500) */
    double first = 1500 + 3.2 * 0.5;
    assert_true(near(s.counts.rating, first - 3.2 / (1 + pow(10, (1500 - first) / 400))));
    assert_true(near(s.counts.holds, 0.9 * (0.7 + 0.1 * 0.3)));
    /* a decision without a verdict takes what is known of all */
    s = state_of(o, of("f", "x", ""), 0);
    assert_true(s.counts.of[OUTCOME_good_fit] == 1 && s.counts.of[OUTCOME_failed] == 1);
    assert_false(state_of(o, of("d", "y", ""), 0).known);
    (void)outcomes_free(o);
}

static void a_comparison_moves_ratings_by_elo(void **state)
{
    (void)state;
    struct outcomes *o = new_outcomes();
    struct comparison c = { .preferred = of("d", "x", ""), .other = of("d", "y", ""), .elo_k = K };
    outcomes_compare(o, &c, 0);
    assert_true(state_of(o, c.preferred, 0).counts.rating == 1516);
    assert_true(state_of(o, c.other, 0).counts.rating == 1484);
    outcomes_compare(o, &c, 0);
    double gain = 32 * (1 - 1 / (1 + pow(10, (1484.0 - 1516) / 400)));
    assert_true(near(state_of(o, c.preferred, 0).counts.rating, 1516 + gain));
    c.tie = true;
    outcomes_compare(o, &c, 0); /* the better one loses by a tie */
    assert_true(state_of(o, c.preferred, 0).counts.rating < 1516 + gain);
    assert_false(state_of(o, c.preferred, 0).judged);
    (void)outcomes_free(o);
}

static void after_thirty_days_an_outcome_counts_half(void **state)
{
    (void)state;
    struct outcomes *o = new_outcomes();
    struct outcome_of a = of("d", "x", "u");
    outcomes_judge(o, &a, OUTCOME_good_fit, K, 0);
    struct outcome_state s = state_of(o, a, 30 * DAY);
    assert_true(near(s.counts.of[OUTCOME_good_fit], 0.5));
    assert_true(near(s.counts.rating, 1500 + 0.8));
    assert_true(near(s.user_successes, 0.5));
    outcomes_judge(o, &a, OUTCOME_failed, K, 60 * DAY);
    s = state_of(o, a, 60 * DAY);
    assert_true(near(s.counts.of[OUTCOME_good_fit], 0.25) && s.counts.of[OUTCOME_failed] == 1);
    assert_true(near(s.user_successes, 0.25) && s.user_failures == 1);
    /* a clock that goes back decays nothing */
    assert_true(state_of(o, a, 0).counts.of[OUTCOME_failed] == 1);
    (void)outcomes_free(o);
}

static void one_request_has_one_verdict(void **state)
{
    (void)state;
    struct outcomes *o = new_outcomes();
    struct outcome_of a = of("d", "x", "u");
    struct outcome_request about;
    struct sha256 session = key_of(7);
    outcomes_chosen(o, STR("r1"), &a, &session, 0);
    assert_int_equal(outcomes_judge_request(o, STR("r2"), OUTCOME_good_fit, K, 0), OUTCOME_unknown);
    assert_false(outcomes_request(o, STR("r2"), &about));
    assert_true(outcomes_request(o, STR("r1"), &about));
    assert_string_equal(about.decision, "d");
    assert_string_equal(about.model, "m");
    assert_string_equal(about.adapter, "x");
    assert_true(about.has_session && sha256_eq(&about.session, &session));
    assert_int_equal(outcomes_judge_request(o, STR("r1"), OUTCOME_good_fit, K, 0), OUTCOME_first);
    assert_int_equal(outcomes_judge_request(o, STR("r1"), OUTCOME_failed, K, 0), OUTCOME_again);
    struct outcome_state s = state_of(o, a, 0);
    assert_true(s.counts.of[OUTCOME_good_fit] == 1 && s.counts.of[OUTCOME_failed] == 0);
    assert_true(s.counts.attempts == 1 && s.user_successes == 1 && s.user_failures == 0);
    assert_false(state_of(o, of("d", "x", "other"), 0).user_known);
    (void)outcomes_free(o);
}

static void tables_stay_within_their_bounds(void **state)
{
    (void)state;
    struct outcomes *o = new_outcomes();
    char name[32];
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "a%u", i);
        struct outcome_of w = of("", name, name);
        outcomes_judge(o, &w, OUTCOME_good_fit, K, 0);
        outcomes_chosen(o, str_of(name), &w, NULL, 0);
    }
    assert_int_equal(outcomes_len(o), 8192);
    assert_int_equal(outcomes_judge_request(o, STR("a0"), OUTCOME_failed, K, 0), OUTCOME_unknown);
    char longer[LIMIT_NAME + 2];
    memset(longer, 'n', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    struct outcome_of w = of("", longer, "");
    outcomes_judge(o, &w, OUTCOME_good_fit, K, 0);
    assert_false(state_of(o, w, 0).known);
    (void)outcomes_free(o);
}

static void a_file_brings_everything_back(void **state)
{
    (void)state;
    struct outcomes *o = new_outcomes(), *again = new_outcomes();
    struct buf first = BUF_INIT(MIB), second = BUF_INIT(MIB);
    size_t bad = 0;
    struct outcome_of a = of("d\tto\n%41", "x@prod", "u");
    outcomes_judge(o, &a, OUTCOME_overprovisioned, K, 5 * DAY);
    outcomes_chosen(o, STR("r"), &a, NULL, 5 * DAY);
    struct comparison c = { .preferred = a, .other = of("d\tto\n%41", "y", ""), .elo_k = K };
    outcomes_compare(o, &c, 5 * DAY);
    assert_true(outcomes_take_dirty(o));
    assert_false(outcomes_take_dirty(o));
    outcomes_write(o, &first);
    assert_int_equal(outcomes_read(again, buf_str(&first), &bad), 0);
    assert_int_equal(bad, 0);
    outcomes_write(again, &second);
    assert_int_equal(first.n, second.n); /* the same lines; the order of use is turned around */
    struct outcome_state s = state_of(o, a, 7 * DAY), t = state_of(again, a, 7 * DAY);
    assert_true(t.known && t.judged && t.user_known);
    assert_true(near(t.counts.rating, s.counts.rating) && near(t.counts.holds, s.counts.holds));
    assert_true(near(t.counts.of[OUTCOME_overprovisioned], s.counts.of[OUTCOME_overprovisioned]));
    assert_true(near(t.user_successes, s.user_successes));
    buf_done(&first);
    buf_done(&second);
    (void)outcomes_free(o);
    (void)outcomes_free(again);
}

static void a_file_that_does_not_read_adds_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int r;
        size_t bad;
    } rows[] = {
        { "", -EINVAL, 0 },
        { "something else\n", -EINVAL, 0 },
        { "rootstock-outcomes 1", -EINVAL, 0 },
        { "rootstock-outcomes 1\n", 0, 0 },
        { "rootstock-outcomes 1\nc\td\tm\n", 0, 1 },
        { "rootstock-outcomes 1\nc\td\tm\tx\t1\t1\t1\tnan\t1\t1500\t1\t0.5\t9\n", 0, 1 },
        { "rootstock-outcomes 1\nc\td\tm\tx\t1\t1\t1\t-1\t1\t1500\t1\t0.5\t9\n", 0, 1 },
        { "rootstock-outcomes 1\nc\td\tm\tx\t1\t1\t1\t1\t1\t1500\t1\t1.5\t9\n", 0, 1 },
        { "rootstock-outcomes 1\nc\td\tm%0\tx\t1\t1\t1\t1\t1\t1500\t1\t0.5\t9\n", 0, 1 },
        { "rootstock-outcomes 1\nc\td\t\tx\t1\t1\t1\t1\t1\t1500\t1\t0.5\t9\n", 0, 1 },
        { "rootstock-outcomes 1\nu\tabc\t1\t1\t9\nv\n\n", 0, 2 },
        { "rootstock-outcomes 1\nc\td\tm\tx\t1\t1\t1\t1\t1\t1500\t1\t0.5\t9\tmore\n", 0, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct outcomes *o = new_outcomes();
        size_t bad = 0;
        assert_int_equal(outcomes_read(o, str_of(rows[i].text), &bad), rows[i].r);
        assert_int_equal(bad, rows[i].bad);
        assert_int_equal(outcomes_len(o), 0);
        (void)outcomes_free(o);
    }
}

static void what_was_learned_survives_a_restart(void **state)
{
    (void)state;
    char path[512];
    struct learning *l = NULL;
    struct fail fail = { 0 };
    struct outcome_of a = of("d", "x", "");
    (void)snprintf(path, sizeof(path), "%s/outcomes", test_temp_dir());
    for (int run = 0; run < 3; run++) {
        assert_int_equal(learning_new(&l), 0);
        assert_int_equal(learning_use_file(l, str_of(path), &fail), 0);
        struct outcome_state s = state_of(l->outcomes, a, 0);
        assert_true(s.counts.of[OUTCOME_good_fit] == run);
        outcomes_judge(l->outcomes, &a, OUTCOME_good_fit, K, 0);
        if (run == 0)
            learning_save(l);
        l = learning_free(l); /* saves what is left */
    }
    assert_int_equal(learning_new(&l), 0);
    assert_int_equal(learning_use_file(l, str_of(test_path("README.md")), &fail), FAILED);
    assert_non_null(strstr(fail.message, "no file of outcomes"));
    (void)learning_free(l);
}

/* ---- sessions ---- */

static void a_conversation_remembers_who_answered(void **state)
{
    (void)state;
    struct sessions *s = NULL;
    struct arena *arena = arena_new(MIB);
    struct route_session last;
    struct sha256 k = key_of(1);
    struct session_question q = { k, 1000, 300, 3600 };
    struct route x = { .decision = STR("d"), .model = STR("m"), .adapter = STR("x") };
    struct route y = { .decision = STR("d"), .model = STR("m"), .adapter = STR("y") };
    assert_int_equal(sessions_new(&s), 0);
    assert_false(sessions_get(s, &q, arena, &last));
    sessions_put(s, &k, &x, 1000);
    sessions_put(s, &k, &x, 2000);
    sessions_judge(s, &k, STR("m"), STR("x"), true);
    sessions_judge(s, &k, STR("m"), STR("y"), true); /* not who answers here */
    q.now_ms = 3000;
    assert_true(sessions_get(s, &q, arena, &last));
    assert_true(str_is(last.decision, "d") && str_is(last.model, "m") && str_is(last.adapter, "x"));
    assert_int_equal(last.turns, 2);
    assert_int_equal(last.held, 2);
    assert_true(last.underpowered == 1 && last.failed == 0 && !last.idle);
    sessions_put(s, &k, &y, 3000);
    assert_true(sessions_get(s, &q, arena, &last));
    assert_int_equal(last.turns, 3);
    assert_int_equal(last.held, 1);
    assert_true(str_is(last.adapter, "y") && last.underpowered == 0);
    struct retention keep = { .keep_current_model = TRUTH_true, .ttl_turns = 2 };
    y.retention = &keep;
    sessions_put(s, &k, &y, 3000);
    y.retention = NULL;
    for (int turn = 0; turn < 3; turn++) { /* two turns more */
        assert_true(sessions_get(s, &q, arena, &last) && last.keeps == (turn < 2));
        sessions_put(s, &k, &y, 3000);
    }
    q.now_ms = 3000 + 301 * 1000;
    assert_true(sessions_get(s, &q, arena, &last) && last.idle);
    q.idle_s = 0;
    assert_true(sessions_get(s, &q, arena, &last) && !last.idle);
    q.now_ms = 3000 + 3601 * 1000;
    assert_false(sessions_get(s, &q, arena, &last));
    (void)sessions_free(s);
    (void)arena_free(arena);
}

static void a_conversation_is_told_by_the_first_name_there_is(void **state)
{
    (void)state;
    struct learning_settings l = { .session_header = STR("x-team-session"),
                                   .conversation_header = STR("x-conversation-id") };
    struct chat_message m[] = { { .role = STR("user"), .content = STR("hello") },
                                { .role = STR("assistant"), .content = STR("hi") },
                                { .role = STR("user"), .content = STR("more") } };
    struct chat_pair meta = { STR("user_id"), STR("u7") };
    struct chat_pair all[] = { { STR("x-claude-code-session-id"), STR("c") },
                               { STR("x-session-id"), STR("s") },
                               { STR("x-team-session"), STR("t") },
                               { STR("x-conversation-id"), STR("k") } };
    static const char *const ids[] = { "u7", "c", "s", "t", "k" };
    struct chat_request chat = {
        .messages = m, .n_messages = 3, .metadata = &meta, .n_metadata = 1
    };
    for (size_t n = 0; n <= 4; n++) {
        struct conversation c = conversation_of(&l, &chat, all, n);
        assert_true(c.known && !c.begins && str_is(c.id, ids[n]));
    }
    l.by_session = true;
    assert_true(str_is(conversation_of(&l, &chat, all, 4).id, "t"));
    chat.n_metadata = 0;
    struct conversation later = conversation_of(&l, &chat, NULL, 0);
    chat.n_messages = 1;
    struct conversation first = conversation_of(&l, &chat, NULL, 0);
    assert_true(first.known && first.begins && later.known && !later.begins);
    assert_true(sha256_eq(&first.key, &later.key) && later.id.n == 0);
    chat.user = STR("somebody else");
    struct conversation other = conversation_of(&l, &chat, NULL, 0);
    assert_false(sha256_eq(&first.key, &other.key));
    chat.n_messages = 0;
    assert_false(conversation_of(&l, &chat, NULL, 0).known);
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
        cmocka_unit_test(verdicts_count_for_the_decision_and_for_all),
        cmocka_unit_test(a_comparison_moves_ratings_by_elo),
        cmocka_unit_test(after_thirty_days_an_outcome_counts_half),
        cmocka_unit_test(one_request_has_one_verdict),
        cmocka_unit_test(tables_stay_within_their_bounds),
        cmocka_unit_test(a_file_brings_everything_back),
        cmocka_unit_test(a_file_that_does_not_read_adds_nothing),
        cmocka_unit_test(what_was_learned_survives_a_restart),
        cmocka_unit_test(a_conversation_remembers_who_answered),
        cmocka_unit_test(a_conversation_is_told_by_the_first_name_there_is),
    };
    log_set_level(LOG_error);
    return TEST_RUN(tests);
}
