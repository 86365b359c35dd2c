/* Adapters that do not fit together take turns. */
#include "tests/unit/engine/upstream/lora_fixture.h"

#include "base/clock.h"
#include "base/thread.h"
#include "config/config.h"
#include "tests/unit/engine/upstream/script_server.h"

static void one_that_stays_busy_gives_way_to_one_that_waits(void **state)
{
    struct asker a, again, b;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1, patience: 40ms");
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&again, &f, "a", 0xaa);
    asker_init(&b, &f, "b", 0xbb);
    assert_true(acquire(&a));
    on_loop(&b, run_acquire);
    wait_resident(&f, &a, 0); /* it takes nothing new */
    on_loop(&again, run_acquire);
    assert_int_equal(again.result, LORA_PENDING);
    assert_log("+a.aaaaaaaaaaaa "); /* nor is it unloaded while it is in use */
    assert_false(b.told);
    release(&a);
    wait_told(&b);
    assert_true(b.held);
    assert_log("+a.aaaaaaaaaaaa -a.aaaaaaaaaaaa +b.bbbbbbbbbbbb ");
    wait_resident(&f, &b, 0); /* and in turn */
    release(&b);
    wait_told(&again);
    assert_true(again.held);
    release(&again);
    asker_done(&a);
    asker_done(&again);
    asker_done(&b);
    fixture_done(&f);
}

static void one_that_was_asked_back_stays_when_nobody_waits_any_more(void **state)
{
    struct asker a, again, b;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1, patience: 40ms");
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&again, &f, "a", 0xaa);
    asker_init(&b, &f, "b", 0xbb);
    assert_true(acquire(&a));
    on_loop(&b, run_acquire);
    wait_resident(&f, &a, 0);
    on_loop(&again, run_acquire);
    assert_int_equal(again.result, LORA_PENDING);
    release(&b); /* gives up */
    wait_told(&again);
    assert_true(again.held);
    assert_false(b.told);
    assert_log("+a.aaaaaaaaaaaa ");
    release(&a);
    release(&again);
    asker_done(&a);
    asker_done(&again);
    asker_done(&b);
    fixture_done(&f);
}

/* Two sets, each of as many as there are places, and all of them always asked for. */
static void sets_of_adapters_take_turns(void **state)
{
    enum { SETS = 2, SLOTS = 2, ROUNDS = 3, ALL = SETS * SLOTS };
    static struct asker all[ALL];
    static const char *const names[ALL] = { "a", "b", "c", "d" };
    unsigned turns[ALL] = { 0 };
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 2, patience: 20ms");
    uint64_t until = clock_ms() + PATIENCE_MS;
    for (size_t i = 0; i < ALL; i++) {
        asker_init(&all[i], &f, names[i], (unsigned)(0x11 * (i + 1)));
        on_loop(&all[i], run_acquire);
    }
    for (size_t i = 0, done = 0; done < ALL; i = (i + 1) % ALL) {
        bool told = false;
        {
            LOCKED(&all[i].lock);
            told = all[i].held;
        }
        if (!told || lora_resident(f.fleet, &all[i].adapter.digest)) {
            assert_true(clock_ms() < until);
            script_nap(1);
            continue;
        }
        release(&all[i]); /* asked back: it was in use until now, and is wanted again at once */
        all[i].told = 0;
        all[i].held = false;
        on_loop(&all[i], run_acquire);
        done += ++turns[i] == ROUNDS;
    }
    for (size_t i = 0; i < ALL; i++) {
        release(&all[i]);
        asker_done(&all[i]);
    }
    fixture_done(&f);
}

static void models_of_one_engine_share_its_places(void **state)
{
    struct asker a, same, b;
    struct fixture f, other;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1, patience: 40ms");
    other = f;
    struct ledger_shared shared = { &ledger_local_ops, f.ledger };
    struct lora_config c = { .upstream = &config_model(f.config, STR("m"))->upstream,
                             .shared = &shared,
                             .holder = 1,
                             .credentials = f.credentials,
                             .transport = f.transport };
    assert_int_equal(lora_fleet_new(&other.fleet, &c), 0);
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&same, &other, "a", 0xaa);
    asker_init(&b, &other, "b", 0xbb);
    assert_true(acquire(&a));
    assert_true(acquire(&same));
    assert_log("+a.aaaaaaaaaaaa "); /* once for both */
    release(&same);
    on_loop(&b, run_acquire);
    wait_resident(&f, &a, 0);
    assert_false(b.told);
    release(&a);
    wait_told(&b);
    assert_true(b.held);
    assert_log("+a.aaaaaaaaaaaa -a.aaaaaaaaaaaa +b.bbbbbbbbbbbb ");
    release(&b);
    asker_done(&a);
    asker_done(&same);
    asker_done(&b);
    (void)lora_fleet_free(other.fleet);
    fixture_done(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_stays_busy_gives_way_to_one_that_waits),
        cmocka_unit_test(one_that_was_asked_back_stays_when_nobody_waits_any_more),
        cmocka_unit_test(sets_of_adapters_take_turns),
        cmocka_unit_test(models_of_one_engine_share_its_places),
    };
    return TEST_RUN(tests);
}
