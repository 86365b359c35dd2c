#include "gateway/replay.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 1000000 };

static struct replay_record made(const char *id, const char *decision, const char *model)
{
    return (struct replay_record){
        .id = str_of(id),
        .recipe = STR("default"),
        .decision = str_of(decision),
        .model = str_of(model),
        .session = STR("s"),
        .has_usage = true,
        .prompt_tokens = 3,
        .completion_tokens = 2,
        .summary = str_of(id), /* not JSON: easy to look for */
        .details = STR(",more"),
    };
}

static void put(struct replay *r, const char *id, const char *decision, const char *model,
                uint64_t max)
{
    struct replay_record record = made(id, decision, model);
    record.max_records = max;
    assert_int_equal(replay_put(r, &record), 0);
}

/* What a list holds, without what surrounds it. */
static const char *listed(struct replay *r, struct replay_query q, char into[static 512])
{
    struct buf b = BUF_INIT(MANY);
    q.limit = q.limit ? q.limit : 100;
    replay_list(r, &q, &b);
    assert_int_equal(buf_err(&b), 0);
    const char *data = strstr(b.p, "\"data\":[");
    assert_non_null(data);
    (void)snprintf(into, 512, "%.*s", (int)(strlen(data) - strlen("\"data\":[]}")),
                   data + strlen("\"data\":["));
    buf_done(&b);
    return into;
}

#define LISTED(r, ...) listed(r, (struct replay_query){ __VA_ARGS__ }, (char[512]){ 0 })

static void the_newest_comes_first_and_pages_follow(void **state)
{
    struct replay *r = replay_new(10, MANY);
    put(r, "a", "x", "m", 0);
    put(r, "b", "y", "n", 0);
    put(r, "c", "x", "n", 0);
    assert_string_equal(LISTED(r, .limit = 100), "{c},{b},{a}");
    assert_string_equal(LISTED(r, .limit = 2), "{c},{b}");
    assert_string_equal(LISTED(r, .limit = 2, .offset = 2), "{a}");
    assert_string_equal(LISTED(r, .limit = 2, .offset = 9), "");
    assert_string_equal(LISTED(r, .details = true, .limit = 1), "{c,more}");
    struct buf b = BUF_INIT(MANY);
    replay_list(r, &(struct replay_query){ .limit = 2 }, &b);
    assert_string_equal(b.p,
                        "{\"object\":\"list\",\"count\":2,\"total\":3,\"limit\":2,\"offset\":0,"
                        "\"has_more\":true,\"next_offset\":2,\"data\":[{c},{b}]}");
    buf_clear(&b);
    assert_true(replay_show(r, STR("b"), &b));
    assert_string_equal(b.p, "{b,more}");
    assert_false(replay_show(r, STR("z"), &b));
    buf_done(&b);
    replay_free(r);
}

static void filters_choose_among_them(void **state)
{
    struct replay *r = replay_new(10, MANY);
    put(r, "a", "x", "m", 0);
    put(r, "b", "y", "n", 0);
    put(r, "c", "x", "n", 0);
    assert_string_equal(LISTED(r, .decision = STR("x")), "{c},{a}");
    assert_string_equal(LISTED(r, .model = STR("n")), "{c},{b}");
    assert_string_equal(LISTED(r, .model = STR("n"), .decision = STR("x")), "{c}");
    assert_string_equal(LISTED(r, .recipe = STR("other")), "");
    assert_string_equal(LISTED(r, .session = STR("s")), "{c},{b},{a}");
    assert_string_equal(LISTED(r, .search = STR("B")), "{b}");
    replay_free(r);
}

static void records_bytes_and_each_decision_are_bounded(void **state)
{
    struct replay *r = replay_new(3, MANY);
    for (size_t i = 0; i < 5; i++)
        put(r, (const char *const[]){ "a", "b", "c", "d", "e" }[i], "x", "m", 0);
    assert_string_equal(LISTED(r, .limit = 100), "{e},{d},{c}");
    put(r, "f", "y", "m", 2);
    put(r, "g", "y", "m", 2);
    put(r, "h", "y", "m", 2);
    assert_string_equal(LISTED(r, .limit = 100), "{h},{g},{e}");
    put(r, "i", "y", "m", 1);
    assert_string_equal(LISTED(r, .limit = 100), "{i},{e}");
    replay_free(r);

    enum { BYTES = 64 * 1024 };
    r = replay_new(MANY, BYTES);
    char *large = calloc(1, BYTES);
    assert_non_null(large);
    memset(large, 'x', BYTES);
    struct replay_record record = made("large", "x", "m");
    record.details = (struct str){ large, BYTES };
    assert_int_equal(replay_put(r, &record), -E2BIG);
    record.details.n = BYTES / 4;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(replay_put(r, &record), 0);
        assert_true(replay_usage(r).bytes <= BYTES);
    }
    assert_int_equal(replay_usage(r).records, 3);
    free(large);
    replay_free(r);
}

/* Many decisions, each with few: old ones of one do not push out those of another. */
static void random_puts_keep_the_bounds(void **state)
{
    struct replay *r = replay_new(50, MANY);
    uint64_t seed = 7;
    for (size_t i = 0; i < 20000; i++) {
        char id[24], decision[24];
        (void)snprintf(id, sizeof(id), "%zu", i);
        (void)snprintf(decision, sizeof(decision), "d%u", (unsigned)(test_random(&seed) % 1500));
        put(r, id, decision, "m", test_random(&seed) % 3);
        assert_true(replay_usage(r).records <= 50);
    }
    assert_non_null(strstr(LISTED(r, .limit = 100), "{19999}"));
    replay_free(r);
}

static void sums_count_by_model_decision_and_state(void **state)
{
    struct replay *r = replay_new(10, MANY);
    put(r, "a", "x", "m", 0);
    put(r, "b", "x", "n", 0);
    struct replay_record record = made("c", "", "n");
    record.state = REPLAY_failed;
    record.has_usage = false;
    record.prompt_tokens = record.completion_tokens = 0;
    assert_int_equal(replay_put(r, &record), 0);
    struct buf b = BUF_INIT(MANY);
    replay_aggregate(r, &(struct replay_query){ .limit = 1 }, &b);
    static const char *const parts[] = {
        "{\"object\":\"router_replay.aggregate\",\"record_count\":3,",
        "\"lifecycle\":{\"completed\":2,\"failed\":1,\"aborted\":0}",
        "\"model_selection\":[{\"name\":\"n\",\"value\":2},{\"name\":\"m\",\"value\":1}]",
        "\"decision_distribution\":[{\"name\":\"x\",\"value\":2},{\"name\":\"none\",\"value\":1}]",
        "\"token_volume\":{\"input_tokens\":6,\"output_tokens\":4,\"total_tokens\":10,"
        "\"excluded_record_count\":1}",
        "{\"name\":\"x\",\"input_tokens\":6,\"output_tokens\":4,\"total_tokens\":10}",
        "\"available_recipes\":[\"default\"]",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!strstr(b.p, parts[i]))
            fail_msg("'%s' is not in %s", parts[i], b.p);
    buf_clear(&b);
    replay_aggregate(r, &(struct replay_query){ .model = STR("m") }, &b);
    assert_non_null(strstr(b.p, "\"record_count\":1,"));
    buf_done(&b);
    replay_free(r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_comes_first_and_pages_follow),
        cmocka_unit_test(filters_choose_among_them),
        cmocka_unit_test(records_bytes_and_each_decision_are_bounded),
        cmocka_unit_test(random_puts_keep_the_bounds),
        cmocka_unit_test(sums_count_by_model_decision_and_state),
    };
    return TEST_RUN(tests);
}
