/* Adapters on engines behind: who is loaded when, what is held, and what comes of refusals. */
#include "tests/unit/engine/upstream/lora_fixture.h"

#include "base/clock.h"
#include "base/thread.h"
#include "config/config.h"
#include "tests/unit/engine/upstream/script_server.h"

#include <stdio.h>

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* of 0xaa, less 2 */

static void all_who_ask_share_one_load(void **state)
{
    enum { ASKERS = 50 };
    static struct asker all[ASKERS];
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 2");
    engine.nap_ms = SOON_MS;
    for (size_t i = 0; i < ASKERS; i++) {
        asker_init(&all[i], &f, "team/one", 0xab);
        on_loop(&all[i], run_acquire);
        assert_int_equal(all[i].result, LORA_PENDING);
    }
    assert_int_equal(lora_resident(f.fleet, &all[0].adapter.digest), 0);
    for (size_t i = 0; i < ASKERS; i++) {
        wait_told(&all[i]);
        assert_true(all[i].held);
        assert_string_equal(all[i].use.name, "team-one.abababababab");
        release(&all[i]);
        asker_done(&all[i]);
    }
    assert_log("+team-one.abababababab ");
    assert_int_equal(f.placed, 1);
    assert_int_equal(lora_resident(f.fleet, &all[0].adapter.digest), 1);
    fixture_done(&f);
}

static void the_idle_one_that_was_used_longest_ago_makes_room(void **state)
{
    struct asker a, b, c;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 2");
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&b, &f, "b", 0xbb);
    asker_init(&c, &f, "c", 0xcc);
    assert_true(acquire(&a));
    assert_true(acquire(&b));
    release(&a);
    on_loop(&c, run_acquire); /* `b` is in use; `a` is only kept for its next */
    wait_told(&c);
    assert_true(c.held);
    assert_log("+a.aaaaaaaaaaaa +b.bbbbbbbbbbbb -a.aaaaaaaaaaaa +c.cccccccccccc ");
    a.told = 0;
    on_loop(&a, run_acquire); /* both are in use: it waits */
    script_nap(SOON_MS);
    assert_false(a.told);
    release(&b);
    wait_told(&a);
    assert_true(a.held);
    assert_log("+a.aaaaaaaaaaaa +b.bbbbbbbbbbbb -a.aaaaaaaaaaaa +c.cccccccccccc -b.bbbbbbbbbbbb "
               "+a.aaaaaaaaaaaa ");
    release(&a);
    release(&c);
    asker_done(&a);
    asker_done(&b);
    asker_done(&c);
    fixture_done(&f);
}

static void a_refused_one_is_not_loaded_again_for_a_while(void **state)
{
    struct asker a, b;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 2");
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&b, &f, "b", 0xbb);
    engine.refusal = "Loading lora a.aaaaaaaaaaaa of /srv/aa/" HEX "aa failed: above max_lora_rank";
    assert_false(acquire(&a));
    assert_int_equal(a.fail.code, FAIL_unprocessable_adapter);
    assert_non_null(strstr(a.fail.message, "max_lora_rank"));
    assert_null(strstr(a.fail.message, "aaaaaaaaaaaa")); /* neither name nor path of there */
    assert_null(strstr(a.fail.message, "/srv"));
    assert_int_equal(lora_servable(f.fleet, &a.adapter), 0);
    assert_true(lora_refused(f.fleet, &a.adapter, &b.fail));
    assert_non_null(strstr(b.fail.message, "max_lora_rank"));
    on_loop(&a, run_acquire);
    assert_int_equal(a.result, FAILED);
    assert_log("+a.aaaaaaaaaaaa ");
    engine.refusal = "{\"message\":\"The lora adapter 'b.bbbbbbbbbbbb' has already been loaded.\"}";
    assert_true(acquire(&b)); /* that is what was wanted */
    release(&b);
    asker_done(&a);
    asker_done(&b);
    fixture_done(&f);
}

static void one_that_the_engine_has_forgotten_is_loaded_again(void **state)
{
    struct asker a, b;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1");
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&b, &f, "a", 0xaa);
    assert_true(acquire(&a));
    assert_true(acquire(&b));
    on_loop(&a, run_missing);
    assert_true(acquire(&a));
    on_loop(&b, run_missing); /* asked before that: it says nothing of what is there now */
    assert_true(acquire(&b));
    assert_log("+a.aaaaaaaaaaaa +a.aaaaaaaaaaaa ");
    release(&a);
    release(&b);
    asker_done(&a);
    asker_done(&b);
    fixture_done(&f);
}

static void note_name(void *ctx, const char *name)
{
    (void)snprintf(ctx, LEDGER_NAME, "%s", name);
}

static void one_that_may_be_there_counts_as_loaded(void **state)
{
    struct asker a;
    struct fixture f;
    char name[LEDGER_NAME] = "", log[LOG_MAX];
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1");
    asker_init(&a, &f, "a", 0xaa);
    engine.breaks = true;
    assert_false(acquire(&a));
    assert_int_equal(a.fail.code, FAIL_upstream_error);
    const struct config_endpoint *e = config_model(f.config, STR("m"))->upstream.endpoints.items;
    struct ledger_slot slot = { .endpoint = e->url.p, .patience_ms = 1 };
    assert_int_equal(ledger_local_ops.names(f.ledger, &slot, note_name, name), 0);
    assert_string_equal(name, "a.aaaaaaaaaaaa");
    {
        LOCKED(&engine.lock);
        engine.breaks = false;
        memcpy(log, engine.log, sizeof(log)); /* a connection used before is tried twice */
    }
    assert_true(acquire(&a));
    assert_log(log);
    on_loop(&a, run_missing); /* it is not, after all */
    assert_true(acquire(&a));
    (void)strncat(log, "+a.aaaaaaaaaaaa ", sizeof(log) - strlen(log) - 1);
    assert_log(log);
    release(&a);
    asker_done(&a);
    fixture_done(&f);
}

static void who_gives_up_is_not_told_and_holds_nothing(void **state)
{
    struct asker a, b;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1");
    engine.nap_ms = SOON_MS;
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&b, &f, "b", 0xbb);
    on_loop(&a, run_acquire);
    assert_int_equal(a.result, LORA_PENDING);
    wait_log("+a.aaaaaaaaaaaa ");
    release(&a);
    assert_true(acquire(&b)); /* though there is one slot */
    assert_int_equal(a.told, 0);
    release(&b);
    asker_done(&a);
    asker_done(&b);
    fixture_done(&f);
}

static void freeing_waits_for_loads_under_way(void **state)
{
    struct asker a;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1");
    engine.nap_ms = 3 * SOON_MS;
    asker_init(&a, &f, "a", 0xaa);
    on_loop(&a, run_acquire);
    wait_log("+a.aaaaaaaaaaaa ");
    release(&a);
    fixture_done(&f);
    assert_int_equal(a.told, 0);
    asker_done(&a);
}

static void files_of_what_is_loaded_are_kept_before_others_are_removed(void **state)
{
    struct asker a;
    struct fixture f;
    fixture_init_at(&f, "vllm", FOLDER ", max_loras: 3, folder_keep: 1s",
                    ",{\"id\":\"b.bbbbbbbbbbbb\",\"parent\":\"base\"},"
                    "{\"id\":\"theirs\",\"parent\":\"base\"}");
    uint64_t until = clock_ms() + PATIENCE_MS;
    asker_init(&a, &f, "a", 0xaa);
    assert_true(acquire(&a));
    release(&a); /* loaded, and no longer in use */
    for (bool done = false; !done; script_nap(2)) {
        LOCKED(&engine.lock);
        done = f.kept >= 2 && f.trimmed >= 2;
        assert_true(clock_ms() < until);
    }
    asker_done(&a);
    fixture_done(&f);
}

static void what_an_engine_had_before_is_counted(void **state)
{
    struct asker a, b;
    struct fixture f;
    fixture_init_at(&f, "vllm", FOLDER ", max_loras: 2",
                    ",{\"id\":\"b.bbbbbbbbbbbb\",\"parent\":\"base\"},"
                    "{\"id\":\"x\",\"parent\":\"base\"}");
    asker_init(&a, &f, "a", 0xaa);
    asker_init(&b, &f, "b", 0xbb);
    assert_true(acquire(&b)); /* it is there */
    assert_true(acquire(&a));
    assert_log("-x +a.aaaaaaaaaaaa ");
    release(&a);
    release(&b);
    asker_done(&a);
    asker_done(&b);
    fixture_done(&f);
}

static void files_that_cannot_be_put_there_are_no_load(void **state)
{
    struct asker a;
    struct fixture f;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1");
    asker_init(&a, &f, "nowhere", 0xaa);
    assert_false(acquire(&a));
    assert_int_equal(a.fail.code, FAIL_upstream_error);
    assert_log("");
    assert_int_equal(lora_servable(f.fleet, &a.adapter), 1); /* another time */
    asker_done(&a);
    fixture_done(&f);
}

static void ranks_above_the_engines_are_not_asked_for(void **state)
{
    struct fixture f;
    struct fail fail;
    fixture_init(&f, "vllm", FOLDER ", max_loras: 1, max_rank: 8");
    struct engine_adapter a = { .name = STR("a"), .rank = 8 };
    assert_int_equal(lora_servable(f.fleet, &a), 1);
    assert_false(lora_refused(f.fleet, &a, &fail));
    a.rank = 9;
    assert_int_equal(lora_servable(f.fleet, &a), 0);
    assert_true(lora_refused(f.fleet, &a, &fail));
    assert_int_equal(fail.code, FAIL_unprocessable_adapter);
    fixture_done(&f);
}

static void sglang_is_asked_for_base_and_adapter(void **state)
{
    struct asker a;
    struct fixture f;
    fixture_init(&f, "sglang", FOLDER);
    asker_init(&a, &f, "a", 0xaa);
    assert_true(acquire(&a));
    assert_string_equal(a.use.name, "base:a.aaaaaaaaaaaa");
    release(&a);
    asker_done(&a);
    fixture_done(&f);
}

static void llama_server_is_told_all_scales(void **state)
{
    struct asker a, b;
    struct fixture f;
    fixture_init(&f, "llama-server", "fixed: [a, \"b@bbbb\"]");
    asker_init(&a, &f, "b", 0xbb);
    asker_init(&b, &f, "b", 0xcc); /* another revision than it was started with */
    assert_true(acquire(&a));
    assert_int_equal(a.result, 0);
    assert_true(str_is(a.use.body.key, "lora"));
    assert_true(str_is(a.use.body.value, "[{\"id\":0,\"scale\":0.0},{\"id\":1,\"scale\":1.0}]"));
    release(&a);
    assert_false(acquire(&b));
    assert_int_equal(b.fail.code, FAIL_unprocessable_adapter);
    struct chat_pair base = lora_base_body(f.fleet, 0);
    assert_true(str_is(base.value, "[{\"id\":0,\"scale\":0.0},{\"id\":1,\"scale\":0.0}]"));
    asker_done(&a);
    asker_done(&b);
    fixture_done(&f);
}

static void a_plain_name_there_is_not_every_revision(void **state)
{
    static const struct {
        const char *fixed;
        const char *asked; /* its body's scales; NULL: refused */
        bool is_other;
    } rows[] = {
        { "fixed: [b]", "[{\"id\":0,\"scale\":1.0}]", false },
        { "fixed: [b]", NULL, true },
        { "fixed: [b, \"b@cccc\"]", "[{\"id\":0,\"scale\":0.0},{\"id\":1,\"scale\":1.0}]", true },
        { "fixed: [b, \"b@cccc\"]", "[{\"id\":0,\"scale\":0.0},{\"id\":1,\"scale\":1.0}]", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker a;
        struct fixture f;
        fixture_init(&f, "llama-server", rows[i].fixed);
        asker_init(&a, &f, "b", 0xcc);
        a.adapter.is_other = rows[i].is_other;
        assert_int_equal(acquire(&a), rows[i].asked != NULL);
        if (rows[i].asked) {
            assert_true(str_is(a.use.body.value, rows[i].asked));
            release(&a);
        }
        asker_done(&a);
        fixture_done(&f);
    }
}

static void ids_that_a_llama_server_does_not_have_are_not_asked_for(void **state)
{
    static const struct {
        const char *told; /* NULL: nothing */
        bool has_b;
    } rows[] = {
        { "[{\"id\":0,\"path\":\"a.gguf\",\"scale\":1.0}]", false },
        { "[]", false },
        { "[{\"id\":0},{\"id\":1},{\"id\":2}]", true },
        { "{\"error\":\"no list\"}", true },
        { NULL, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct asker a;
        struct fixture f;
        struct fail fail;
        engine.fixed = rows[i].told;
        fixture_init(&f, "llama-server", "fixed: [a, b]");
        asker_init(&a, &f, "b", 0xbb);
        for (unsigned ms = 0; ms < PATIENCE_MS && !rows[i].has_b; ms++, script_nap(1))
            if (!lora_servable(f.fleet, &a.adapter))
                break;
        script_nap(rows[i].has_b ? SOON_MS : 0);
        assert_int_equal(lora_servable(f.fleet, &a.adapter), rows[i].has_b);
        assert_int_equal(lora_refused(f.fleet, &a.adapter, &fail), !rows[i].has_b);
        asker_done(&a);
        fixture_done(&f);
    }
    engine.fixed = NULL;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_who_ask_share_one_load),
        cmocka_unit_test(the_idle_one_that_was_used_longest_ago_makes_room),
        cmocka_unit_test(a_refused_one_is_not_loaded_again_for_a_while),
        cmocka_unit_test(one_that_the_engine_has_forgotten_is_loaded_again),
        cmocka_unit_test(one_that_may_be_there_counts_as_loaded),
        cmocka_unit_test(who_gives_up_is_not_told_and_holds_nothing),
        cmocka_unit_test(freeing_waits_for_loads_under_way),
        cmocka_unit_test(files_of_what_is_loaded_are_kept_before_others_are_removed),
        cmocka_unit_test(what_an_engine_had_before_is_counted),
        cmocka_unit_test(files_that_cannot_be_put_there_are_no_load),
        cmocka_unit_test(ranks_above_the_engines_are_not_asked_for),
        cmocka_unit_test(sglang_is_asked_for_base_and_adapter),
        cmocka_unit_test(llama_server_is_told_all_scales),
        cmocka_unit_test(a_plain_name_there_is_not_every_revision),
        cmocka_unit_test(ids_that_a_llama_server_does_not_have_are_not_asked_for),
    };
    return TEST_RUN(tests);
}
