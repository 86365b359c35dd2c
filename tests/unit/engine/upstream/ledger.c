/* The ledger of one process: what is loaded, held and given up, and whose turn it is. */
#include "engine/upstream/ledger.h"

#include "base/clock.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TURN_MS = 500 };

static void nap(unsigned ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
    (void)nanosleep(&t, NULL);
}

static enum ledger_word hold(struct ledger_local *l, const char *endpoint, const char *name,
                             char *victim)
{
    struct ledger_slot slot = { endpoint, name, 2, 2, .patience_ms = TURN_MS };
    struct ledger_answer answer;
    struct fail fail;
    assert_int_equal(ledger_local_ops.hold(l, &slot, &answer, &fail), 0);
    if (victim)
        (void)snprintf(victim, LEDGER_NAME, "%s", answer.victim);
    assert_true(answer.word != LEDGER_wait || answer.wait_ms > 0);
    return answer.word;
}

static void settle(struct ledger_local *l, const char *name, bool loaded)
{
    struct ledger_slot slot = { "e", name, 2, 2, .patience_ms = TURN_MS };
    assert_int_equal(ledger_local_ops.settle(l, &slot, loaded), 0);
}

static void drop(struct ledger_local *l, const char *name)
{
    struct ledger_slot slot = { "e", name, 2, 2, .patience_ms = TURN_MS };
    assert_int_equal(ledger_local_ops.drop(l, &slot), 0);
    while (clock_us() == clock_us()) /* the next use is later */
        ;
}

static void found(struct ledger_local *l, const char *name)
{
    struct ledger_slot slot = { "e", name, 2, 2, .patience_ms = TURN_MS };
    assert_int_equal(ledger_local_ops.found(l, &slot), 0);
}

static enum ledger_word hold_missing(struct ledger_local *l, const char *name, unsigned holder)
{
    struct ledger_slot slot = {
        "e", name, 2, 2, .holder = holder, .is_missing = true, .patience_ms = TURN_MS
    };
    struct ledger_answer answer;
    struct fail fail;
    assert_int_equal(ledger_local_ops.hold(l, &slot, &answer, &fail), 0);
    assert_string_equal(answer.victim, "");
    return answer.word;
}

static void loads(struct ledger_local *l, const char *name)
{
    assert_int_equal(hold(l, "e", name, NULL), LEDGER_load);
    settle(l, name, true);
}

static void one_loads_what_the_others_wait_for(void **state)
{
    struct ledger_local *l = ledger_local_new();
    assert_int_equal(hold(l, "e", "a", NULL), LEDGER_load);
    assert_int_equal(hold(l, "e", "a", NULL), LEDGER_wait);
    settle(l, "a", true);
    assert_int_equal(hold(l, "e", "a", NULL), LEDGER_ready);
    assert_int_equal(hold(l, "other", "a", NULL), LEDGER_load);
    (void)ledger_local_free(l);
}

static void what_is_held_is_no_victim(void **state)
{
    char victim[LEDGER_NAME];
    struct ledger_local *l = ledger_local_new();
    loads(l, "a");
    loads(l, "b");
    assert_int_equal(hold(l, "e", "c", NULL), LEDGER_wait);
    drop(l, "b");
    drop(l, "a");
    assert_int_equal(hold(l, "e", "b", NULL), LEDGER_ready); /* used again: `a` is older now */
    assert_int_equal(hold(l, "e", "c", victim), LEDGER_load);
    assert_string_equal(victim, "a");
    drop(l, "b");
    assert_int_equal(hold(l, "e", "a", NULL), LEDGER_wait); /* it is on its way out */
    assert_int_equal(hold(l, "e", "b", NULL), LEDGER_ready);
    settle(l, "c", true);
    assert_int_equal(hold(l, "e", "a", NULL), LEDGER_wait);
    drop(l, "b");
    drop(l, "c");
    assert_int_equal(hold(l, "e", "a", victim), LEDGER_load);
    assert_string_equal(victim, "b"); /* the one that was used longest ago */
    (void)ledger_local_free(l);
}

static void a_load_that_failed_leaves_its_room(void **state)
{
    char victim[LEDGER_NAME];
    struct ledger_local *l = ledger_local_new();
    loads(l, "a");
    assert_int_equal(hold(l, "e", "b", NULL), LEDGER_load);
    settle(l, "b", false);
    assert_int_equal(hold(l, "e", "c", victim), LEDGER_load);
    assert_string_equal(victim, "");
    (void)ledger_local_free(l);
}

static void what_was_found_there_takes_room(void **state)
{
    char victim[LEDGER_NAME];
    struct ledger_local *l = ledger_local_new();
    found(l, "old");
    loads(l, "a");
    assert_int_equal(hold(l, "e", "b", victim), LEDGER_load);
    assert_string_equal(victim, "old");
    found(l, "old"); /* it is on its way out */
    found(l, "b");   /* and this one in */
    assert_int_equal(hold(l, "e", "b", NULL), LEDGER_wait);
    settle(l, "b", true);
    assert_int_equal(hold(l, "e", "b", NULL), LEDGER_ready);
    (void)ledger_local_free(l);
}

static void what_is_missing_is_loaded_again_in_its_own_place(void **state)
{
    struct ledger_local *l = ledger_local_new();
    loads(l, "a");
    loads(l, "b");
    assert_int_equal(hold_missing(l, "a", 0), LEDGER_load);
    assert_int_equal(hold_missing(l, "a", 1), LEDGER_wait); /* once for all who miss it */
    drop(l, "b");
    assert_int_equal(hold(l, "e", "c", NULL), LEDGER_load); /* for `b`: the place of `a` is taken */
    settle(l, "c", true);
    settle(l, "a", true);
    assert_int_equal(hold(l, "e", "a", NULL), LEDGER_ready);
    (void)ledger_local_free(l);
}

static void names_that_do_not_fit_are_refused(void **state)
{
    char name[LEDGER_NAME + 1];
    struct ledger_local *l = ledger_local_new();
    struct ledger_slot slot = { "e", name, 2, 2, .patience_ms = TURN_MS };
    struct ledger_answer answer;
    struct fail fail;
    memset(name, 'x', LEDGER_NAME);
    name[LEDGER_NAME] = '\0';
    assert_true(ledger_local_ops.hold(l, &slot, &answer, &fail) < 0);
    (void)ledger_local_free(l);
}

/* ---- turns: of an endpoint with two places ---- */

enum { SHORT_MS = 400 }; /* patience where time has to pass */

static struct ledger_slot turn(const char *name, unsigned holder, uint64_t waited_ms)
{
    return (struct ledger_slot){
        "e", name, 2, 2, .holder = holder, .waited_ms = waited_ms, .patience_ms = SHORT_MS
    };
}

static enum ledger_word hold_turn(struct ledger_local *l, const char *name, unsigned holder,
                                  uint64_t waited_ms)
{
    struct ledger_slot slot = turn(name, holder, waited_ms);
    struct ledger_answer answer;
    struct fail fail;
    assert_int_equal(ledger_local_ops.hold(l, &slot, &answer, &fail), 0);
    if (answer.word == LEDGER_load)
        assert_int_equal(ledger_local_ops.settle(l, &slot, /* loaded= */ true), 0);
    return answer.word;
}

static void drop_turn(struct ledger_local *l, const char *name, unsigned holder)
{
    struct ledger_slot slot = turn(name, holder, 0);
    assert_int_equal(ledger_local_ops.drop(l, &slot), 0);
}

static void add_name(void *ctx, const char *name)
{
    char *all = ctx; /* names are one letter; in their order */
    size_t n = strlen(all), at = n;
    while (at > 0 && all[at - 1] > name[0])
        at--;
    memmove(all + at + 1, all + at, n - at + 1);
    all[at] = name[0];
}

static void assert_asked_back(struct ledger_local *l, const char *names)
{
    char all[16] = "";
    struct ledger_slot slot = turn(NULL, 0, 0);
    assert_int_equal(ledger_local_ops.asked_back(l, &slot, add_name, all), 0);
    assert_string_equal(all, names);
}

/* `a` since before `b`, both for longer than a turn. */
static struct ledger_local *two_held(void)
{
    struct ledger_local *l = ledger_local_new();
    assert_int_equal(hold_turn(l, "a", 0, 0), LEDGER_load);
    nap(2);
    assert_int_equal(hold_turn(l, "b", 0, 0), LEDGER_load);
    nap(SHORT_MS + 2);
    return l;
}

static void the_longest_held_is_asked_back_for_one_that_waited_long(void **state)
{
    struct ledger_local *l = two_held();
    assert_int_equal(hold_turn(l, "c", 0, 0), LEDGER_wait);
    assert_asked_back(l, ""); /* it has only come */
    assert_int_equal(hold_turn(l, "c", 0, SHORT_MS + SHORT_MS / 2), LEDGER_wait);
    assert_asked_back(l, "a");
    assert_int_equal(hold_turn(l, "a", 1, 0), LEDGER_wait); /* nobody new gets it */
    assert_int_equal(hold_turn(l, "b", 1, 0), LEDGER_ready);
    drop_turn(l, "a", 0);
    assert_int_equal(hold_turn(l, "a", 1, 0), LEDGER_wait); /* though it is there and one is free */
    assert_int_equal(hold_turn(l, "d", 0, 0), LEDGER_wait);
    assert_int_equal(hold_turn(l, "c", 0, SHORT_MS + SHORT_MS / 2), LEDGER_load);
    (void)ledger_local_free(l);
}

static void more_are_asked_back_the_longer_one_waits(void **state)
{
    struct ledger_local *l = two_held();
    assert_int_equal(hold_turn(l, "c", 0, 2 * SHORT_MS), LEDGER_wait);
    assert_asked_back(l, "ab");
    assert_int_equal(hold_turn(l, "d", 0, 2 * SHORT_MS), LEDGER_wait);
    assert_asked_back(l, "ab"); /* there are no more */
    drop_turn(l, "b", 0);       /* the one that is asked second is free first */
    assert_int_equal(hold_turn(l, "c", 0, 3 * SHORT_MS), LEDGER_load);
    drop_turn(l, "d", 0); /* waits no more */
    assert_asked_back(l, "");
    (void)ledger_local_free(l);
}

static void who_has_just_come_is_not_asked_to_go(void **state)
{
    struct ledger_local *l = ledger_local_new();
    struct ledger_slot slot = turn("a", 0, 0), c = turn("c", 0, 600 * 1000);
    struct ledger_answer answer;
    struct fail fail;
    slot.patience_ms = c.patience_ms = 60 * 1000;
    slot.max_held = c.max_held = slot.max_loaded = c.max_loaded = 1;
    assert_int_equal(ledger_local_ops.hold(l, &slot, &answer, &fail), 0);
    assert_int_equal(ledger_local_ops.settle(l, &slot, true), 0);
    assert_int_equal(ledger_local_ops.hold(l, &c, &answer, &fail), 0);
    assert_int_equal(answer.word, LEDGER_wait);
    char all[16] = "";
    assert_int_equal(ledger_local_ops.asked_back(l, &slot, add_name, all), 0);
    assert_string_equal(all, "");
    (void)ledger_local_free(l);
}

static void the_one_that_waited_longest_is_first(void **state)
{
    struct ledger_local *l = two_held();
    assert_int_equal(hold_turn(l, "c", 0, 10 * SHORT_MS), LEDGER_wait);
    assert_int_equal(hold_turn(l, "d", 0, 30 * SHORT_MS), LEDGER_wait);
    drop_turn(l, "a", 0);
    assert_int_equal(hold_turn(l, "c", 0, 10 * SHORT_MS), LEDGER_wait);
    assert_int_equal(hold_turn(l, "d", 0, 30 * SHORT_MS), LEDGER_load);
    drop_turn(l, "b", 0);
    assert_int_equal(hold_turn(l, "c", 0, 10 * SHORT_MS), LEDGER_load);
    (void)ledger_local_free(l);
}

static void what_two_models_hold_is_held_until_both_drop_it(void **state)
{
    struct ledger_local *l = ledger_local_new();
    assert_int_equal(hold_turn(l, "a", 0, 0), LEDGER_load);
    assert_int_equal(hold_turn(l, "a", 1, 0), LEDGER_ready);
    assert_int_equal(hold_turn(l, "b", 1, 0), LEDGER_load);
    drop_turn(l, "a", 0);
    assert_int_equal(hold_turn(l, "c", 0, 0), LEDGER_wait);
    drop_turn(l, "a", 1);
    assert_int_equal(hold_turn(l, "c", 0, 0), LEDGER_load);
    (void)ledger_local_free(l);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_loads_what_the_others_wait_for),
        cmocka_unit_test(what_is_held_is_no_victim),
        cmocka_unit_test(a_load_that_failed_leaves_its_room),
        cmocka_unit_test(what_was_found_there_takes_room),
        cmocka_unit_test(what_is_missing_is_loaded_again_in_its_own_place),
        cmocka_unit_test(names_that_do_not_fit_are_refused),
        cmocka_unit_test(the_longest_held_is_asked_back_for_one_that_waited_long),
        cmocka_unit_test(more_are_asked_back_the_longer_one_waits),
        cmocka_unit_test(who_has_just_come_is_not_asked_to_go),
        cmocka_unit_test(the_one_that_waited_longest_is_first),
        cmocka_unit_test(what_two_models_hold_is_held_until_both_drop_it),
    };
    return TEST_RUN(tests);
}
