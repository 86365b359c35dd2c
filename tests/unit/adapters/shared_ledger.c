/* The fleet's ledger over a real Redis: limits, single-flight, victims, and what is damaged. */
#include "adapters/shared_ledger.h"

#include "base/own.h"
#include "base/thread.h"
#include "tests/support/redis.h"
#include "tests/support/test.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { GATEWAYS = 3, NAMES = 8, LOADED = 3, HELD = 2, TURN_MS = 400, ROUNDS = 120, ID_BYTES = 192 };

static struct test_redis redis;
static const char *name_space = "test"; /* of the running case */

static struct shared_ledger *open_ledger(void)
{
    struct config_adapters c = { .catalog_url = str_of(redis.url),
                                 .catalog_namespace = str_of(name_space) };
    struct shared_ledger *l = NULL;
    struct fail fail;
    assert_int_equal(shared_ledger_open(&l, &c, &fail), 0);
    return l;
}

static struct shared_slot slot(const char *name)
{
    return (struct shared_slot){ "http://e/v1", name, LOADED, HELD, .patience_ms = TURN_MS };
}

static enum shared_word hold(struct shared_ledger *l, const char *name, char *victim)
{
    char other[ID_BYTES];
    struct shared_slot s = slot(name);
    enum shared_word word = SHARED_wait;
    struct fail fail = { 0 };
    int r = shared_ledger_hold(l, &s, &word, victim ? victim : other, ID_BYTES, &fail);
    if (r != 0)
        print_message("# %s\n", fail.message);
    assert_int_equal(r, 0);
    return word;
}

static void settle(struct shared_ledger *l, const char *name, bool loaded)
{
    struct shared_slot s = slot(name);
    struct fail fail;
    assert_int_equal(shared_ledger_settle(l, &s, loaded, &fail), 0);
}

static void drop(struct shared_ledger *l, const char *name)
{
    struct shared_slot s = slot(name);
    struct fail fail;
    assert_int_equal(shared_ledger_drop(l, &s, &fail), 0);
}

static enum shared_word hold_missing(struct shared_ledger *l, const char *name)
{
    char victim[ID_BYTES];
    struct shared_slot s = slot(name);
    enum shared_word word = SHARED_wait;
    struct fail fail = { 0 };
    s.is_missing = true;
    assert_int_equal(shared_ledger_hold(l, &s, &word, victim, sizeof(victim), &fail), 0);
    assert_string_equal(victim, "");
    return word;
}

static void one_gateway_loads_what_the_other_waits_for(void **state)
{
    name_space = "single";
    struct shared_ledger *a = open_ledger(), *b = open_ledger();
    assert_int_equal(hold(a, "x", NULL), SHARED_load);
    assert_int_equal(hold(b, "x", NULL), SHARED_wait);
    settle(a, "x", true);
    assert_int_equal(hold(b, "x", NULL), SHARED_ready);
    assert_int_equal(hold(a, "y", NULL), SHARED_load);
    settle(a, "y", false);
    assert_int_equal(hold(b, "y", NULL), SHARED_load); /* a failure is no reason to wait */
    settle(b, "y", true);
    assert_int_equal(hold(a, "z", NULL), SHARED_wait); /* two are held, by both together */
    (void)shared_ledger_free(a);
    (void)shared_ledger_free(b);
}

static void only_what_nobody_holds_is_unloaded(void **state)
{
    char victim[ID_BYTES];
    name_space = "victims";
    struct shared_ledger *a = open_ledger(), *b = open_ledger();
    static const char *const first[] = { "x", "y", "z" };
    for (size_t i = 0; i < ARRAY_LEN(first); i++) {
        assert_int_equal(hold(a, first[i], victim), SHARED_load);
        assert_string_equal(victim, "");
        settle(a, first[i], true);
        drop(a, first[i]);
        struct timespec t = { .tv_nsec = 3000000 }; /* their uses are told apart in ms */
        (void)nanosleep(&t, NULL);
    }
    assert_int_equal(hold(b, "x", NULL), SHARED_ready);
    assert_int_equal(hold(a, "w", victim), SHARED_load);
    assert_string_equal(victim, "y"); /* used before `z`, and `x` is held by the other */
    assert_int_equal(hold(b, "y", NULL), SHARED_wait); /* it is on its way out */
    settle(a, "w", true);
    drop(a, "w");
    assert_int_equal(hold(b, "y", victim), SHARED_load);
    assert_string_equal(victim, "z");
    settle(b, "y", true);
    (void)shared_ledger_free(b); /* what it held is free at once */
    assert_int_equal(hold(a, "x", NULL), SHARED_ready);
    assert_int_equal(hold_missing(a, "x"), SHARED_load); /* in its own place */
    settle(a, "x", true);
    struct shared_slot other = slot("v");
    struct fail fail = { 0 };
    assert_int_equal(shared_ledger_found(a, &other, &fail), 0);
    drop(a, "x");
    assert_int_equal(hold(a, "v", victim), SHARED_ready);
    (void)shared_ledger_free(a);
}

static void add_name(void *ctx, const char *name)
{
    (void)strncat(ctx, name, ID_BYTES - strlen(ctx) - 1);
}

static void assert_asked_back(struct shared_ledger *l, const char *names)
{
    char all[ID_BYTES] = "";
    struct shared_slot s = slot(NULL);
    struct fail fail = { 0 };
    assert_int_equal(shared_ledger_asked_back(l, &s, add_name, all, &fail), 0);
    assert_string_equal(all, names);
}

static enum shared_word hold_late(struct shared_ledger *l, const char *name, uint64_t waited_ms)
{
    char victim[ID_BYTES];
    struct shared_slot s = slot(name);
    enum shared_word word = SHARED_wait;
    struct fail fail = { 0 };
    s.waited_ms = waited_ms;
    assert_int_equal(shared_ledger_hold(l, &s, &word, victim, sizeof(victim), &fail), 0);
    if (word == SHARED_load)
        settle(l, name, true);
    return word;
}

static void nap_ms(long ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    (void)nanosleep(&t, NULL);
}

static void the_longest_held_is_asked_back_from_all_gateways(void **state)
{
    name_space = "turns";
    struct shared_ledger *a = open_ledger(), *b = open_ledger();
    assert_int_equal(hold_late(a, "x", 0), SHARED_load);
    nap_ms(3);
    assert_int_equal(hold_late(b, "y", 0), SHARED_load);
    assert_int_equal(hold_late(b, "x", 0), SHARED_ready);
    nap_ms(TURN_MS + 3);
    assert_int_equal(hold_late(b, "z", 0), SHARED_wait);
    assert_asked_back(a, "");
    assert_int_equal(hold_late(b, "z", TURN_MS + TURN_MS / 2), SHARED_wait);
    assert_asked_back(a, "x");
    assert_asked_back(b, "x");
    drop(a, "x");
    assert_int_equal(hold_late(a, "x", 0), SHARED_wait); /* for no new holder */
    drop(b, "x");
    assert_int_equal(hold_late(a, "x", 0), SHARED_wait); /* nor now: others waited longer */
    assert_int_equal(hold_late(a, "w", 0), SHARED_wait);
    assert_asked_back(a, "");
    assert_int_equal(hold_late(b, "z", TURN_MS + TURN_MS / 2), SHARED_load);
    assert_int_equal(hold_late(a, "w", 5L * TURN_MS), SHARED_wait);
    assert_asked_back(a, "y"); /* `z` has only come */
    drop(a, "w");              /* waits no more */
    assert_asked_back(b, "");
    char all[ID_BYTES] = "";
    struct shared_slot s = slot(NULL);
    struct fail fail = { 0 };
    assert_int_equal(shared_ledger_names(b, &s, add_name, all, &fail), 0);
    assert_int_equal(strlen(all), 3); /* all that are loaded, held or not */
    assert_int_equal(strspn(all, "xyz"), 3);
    (void)shared_ledger_free(a);
    (void)shared_ledger_free(b);
}

static void models_of_one_gateway_hold_apart(void **state)
{
    name_space = "models";
    struct shared_ledger *l = open_ledger();
    struct shared_slot other = slot("x");
    char victim[ID_BYTES];
    enum shared_word word;
    struct fail fail;
    other.holder = 1;
    assert_int_equal(hold_late(l, "x", 0), SHARED_load);
    assert_int_equal(shared_ledger_hold(l, &other, &word, victim, sizeof(victim), &fail), 0);
    assert_int_equal(word, SHARED_ready);
    assert_int_equal(hold_late(l, "y", 0), SHARED_load);
    drop(l, "x");
    assert_int_equal(hold_late(l, "z", 0), SHARED_wait); /* the other model holds it still */
    assert_int_equal(shared_ledger_drop(l, &other, &fail), 0);
    assert_int_equal(hold_late(l, "z", 0), SHARED_load);
    (void)shared_ledger_free(l);
}

/* An engine of which every gateway knows only what the ledger says. */
static struct {
    pthread_mutex_t lock;
    bool loaded[NAMES];
    unsigned held[NAMES], n_loads, n_ready;
} engine = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void check_engine(void)
{
    unsigned loaded = 0, held = 0;
    for (size_t i = 0; i < NAMES; i++) {
        loaded += engine.loaded[i];
        held += engine.held[i] > 0;
        assert_true(engine.loaded[i] || !engine.held[i]);
    }
    assert_true(loaded <= LOADED);
    assert_true(held <= HELD);
}

static void load(struct shared_ledger *l, unsigned i, const char *name, const char *victim)
{
    {
        LOCKED(&engine.lock);
        if (victim[0]) {
            assert_int_equal(engine.held[victim[0] - 'a'], 0);
            engine.loaded[victim[0] - 'a'] = false;
        }
        assert_false(engine.loaded[i]);
        engine.loaded[i] = true;
        engine.n_loads++;
        engine.held[i]++;
        check_engine();
    }
    (void)sched_yield();
    settle(l, name, true);
}

static void *gateway_main(void *arg)
{
    struct shared_ledger *l = open_ledger();
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char victim[ID_BYTES];
        unsigned i = (unsigned)(test_random(&seed) % NAMES);
        char name[2] = { (char)('a' + i), '\0' };
        enum shared_word word = hold(l, name, victim);
        if (word == SHARED_wait)
            continue;
        if (word == SHARED_load) {
            load(l, i, name, victim);
        } else {
            LOCKED(&engine.lock);
            engine.held[i]++;
            engine.n_ready++;
            check_engine();
        }
        {
            LOCKED(&engine.lock);
            engine.held[i]--;
        }
        drop(l, name);
    }
    (void)shared_ledger_free(l);
    return NULL;
}

static void gateways_at_once_stay_within_the_limits(void **state)
{
    pthread_t threads[GATEWAYS];
    name_space = "many";
    for (size_t i = 0; i < GATEWAYS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, gateway_main, (void *)(i + 1)), 0);
    for (size_t i = 0; i < GATEWAYS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(engine.n_loads > 0 && engine.n_ready > 0);
}

static void a_damaged_key_and_a_dead_redis_are_failures(void **state)
{
    name_space = "damaged";
    struct shared_ledger *l = open_ledger();
    struct shared_slot s = slot("x");
    char victim[ID_BYTES];
    enum shared_word word;
    struct fail fail = { 0 };
    assert_int_equal(hold(l, "x", NULL), SHARED_load);
    settle(l, "x", true);
    redisContext *c = redisConnect("127.0.0.1", redis.port);
    assert_non_null(c);
    redisReply *keys = redisCommand(c, "KEYS damaged:lg:*:n");
    assert_int_equal(keys->elements, 1);
    freeReplyObject(redisCommand(c, "HSET %s odd odd", keys->element[0]->str));
    assert_int_equal(hold(l, "x", NULL), SHARED_ready); /* what it says there is not ours */
    freeReplyObject(redisCommand(c, "SET %s text", keys->element[0]->str));
    assert_int_equal(shared_ledger_hold(l, &s, &word, victim, sizeof(victim), &fail), FAILED);
    assert_true(fail.message[0]);
    freeReplyObject(redisCommand(c, "DEL %s", keys->element[0]->str));
    assert_int_equal(hold(l, "x", NULL), SHARED_load); /* forgotten there: loaded once more */
    freeReplyObject(keys);
    redisFree(c);
    test_redis_kill(&redis);
    assert_int_equal(shared_ledger_hold(l, &s, &word, victim, sizeof(victim), &fail), FAILED);
    assert_int_equal(fail.code, FAIL_catalog_unavailable);
    (void)shared_ledger_free(l);
}

static void names_that_do_not_fit_are_refused(void **state)
{
    char name[1024], victim[ID_BYTES];
    name_space = "names";
    struct shared_ledger *l = open_ledger();
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct shared_slot s = slot(name);
    enum shared_word word;
    struct fail fail;
    assert_true(shared_ledger_hold(l, &s, &word, victim, sizeof(victim), &fail) < 0);
    (void)shared_ledger_free(l);
}

static void starts(void **state)
{
    test_redis_start(&redis);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts),
        cmocka_unit_test(one_gateway_loads_what_the_other_waits_for),
        cmocka_unit_test(only_what_nobody_holds_is_unloaded),
        cmocka_unit_test(the_longest_held_is_asked_back_from_all_gateways),
        cmocka_unit_test(models_of_one_gateway_hold_apart),
        cmocka_unit_test(gateways_at_once_stay_within_the_limits),
        cmocka_unit_test(names_that_do_not_fit_are_refused),
        cmocka_unit_test(a_damaged_key_and_a_dead_redis_are_failures),
    };
    return TEST_RUN(tests);
}
