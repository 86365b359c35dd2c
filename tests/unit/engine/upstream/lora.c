/* Adapters on engines behind: who is loaded when, what is held, and what comes of refusals. */
#include "engine/upstream/lora.h"

#include "base/clock.h"
#include "base/thread.h"
#include "config/config.h"
#include "engine/upstream/credentials.h"
#include "tests/support/test.h"
#include "tests/unit/engine/upstream/script_server.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 20000, SOON_MS = 100, LOG_MAX = 4096 };

/* ---- an engine ---- */

static struct {
    pthread_mutex_t lock;
    char log[LOG_MAX]; /* "+name" loaded, "-name" unloaded */
    char models[LOG_MAX];
    const char *refusal;
    const char *fixed; /* llama-server's adapters; NULL: it does not tell them */
    unsigned nap_ms;
} engine = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void answer(struct script_peer *peer, unsigned status, const char *body)
{
    char head[256];
    (void)snprintf(head, sizeof(head), "HTTP/1.1 %u X\r\nContent-Length: %zu\r\n\r\n", status,
                   strlen(body));
    peer->keep = script_say(peer, head) && script_say(peer, body);
}

static void note(char sign, struct script_peer *peer)
{
    static const char mark[] = "\"lora_name\":\"";
    ptrdiff_t at = str_find(peer->body, str_of(mark));
    assert_true(at >= 0);
    struct str name = str_sub(peer->body, (size_t)at + sizeof(mark) - 1);
    name = str_head(name, (size_t)str_find(name, STR("\"")));
    LOCKED(&engine.lock);
    size_t n = strlen(engine.log);
    (void)snprintf(engine.log + n, sizeof(engine.log) - n, "%c%.*s ", sign, STR_ARG(name));
}

static void run_load(struct script_peer *peer)
{
    note('+', peer);
    script_nap(engine.nap_ms);
    answer(peer, engine.refusal ? 400 : 200, engine.refusal ? engine.refusal : "Success");
}

static void run_unload(struct script_peer *peer)
{
    note('-', peer);
    answer(peer, 404, "not here"); /* advice: whatever it says is the same to us */
}

static void run_models(struct script_peer *peer)
{
    answer(peer, 200, engine.models);
}

static void run_fixed(struct script_peer *peer)
{
    answer(peer, engine.fixed ? 200 : 404, engine.fixed ? engine.fixed : "not here");
}

static const struct script scripts[] = {
    { "/v1/load_lora_adapter", run_load },     { "/load_lora_adapter", run_load },
    { "/v1/unload_lora_adapter", run_unload }, { "/unload_lora_adapter", run_unload },
    { "/lora-adapters", run_fixed },           { NULL, run_models }
};

/* ---- the fleet and who asks it ---- */

struct fixture {
    struct script_server *server;
    struct transport *transport;
    struct config *config;
    struct credentials *credentials;
    struct ledger_local *ledger;
    struct lora_fleet *fleet;
    struct lora_files files;
    unsigned placed, kept, trimmed;
};

struct asker {
    struct transport_task task;
    struct lora_use use; /* a member, so that `ready` finds us */
    struct fixture *fixture;
    struct engine_adapter adapter;
    pthread_mutex_t lock;
    pthread_cond_t more;
    unsigned done; /* tasks that ran */
    unsigned told; /* of `ready` */
    int result;    /* of lora_acquire */
    bool held;
    struct fail fail;
};

static int put(void *ctx, const struct engine_adapter *adapter, struct fail *reterr)
{
    struct fixture *f = ctx;
    f->placed++;
    return str_is(adapter->name, "nowhere")
               ? fail_set(reterr, FAIL_upstream_error, "its files are nowhere")
               : 0;
}

static int keep(void *ctx, struct str digits)
{
    struct fixture *f = ctx;
    LOCKED(&engine.lock);
    if (str_is(digits, "aaaaaaaaaaaa"))
        f->kept++;
    else
        assert_true(str_is(digits, "bbbbbbbbbbbb"));
    return 0;
}

static void trim(void *ctx)
{
    struct fixture *f = ctx;
    LOCKED(&engine.lock);
    f->trimmed++;
}

#define BASE_ROW "{\"id\":\"base\",\"parent\":null}"

/* `had`: rows of adapters that the engine has already; each begins with a comma. */
static void fixture_init_at(struct fixture *f, const char *provider, const char *lora,
                            const char *had)
{
    *f = (struct fixture){ 0 };
    engine.log[0] = '\0';
    (void)snprintf(engine.models, sizeof(engine.models), "{\"data\":[" BASE_ROW "%s]}", had);
    engine.refusal = NULL;
    engine.nap_ms = 0;
    f->server = script_server_new(scripts);
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 14);
    buf_addf(&text,
             "version: v0.3\nengine:\n  models:\n    - name: m\n      upstream: {provider: %s, "
             "url: \"http://127.0.0.1:%u/v1\", model: base, lora: {%s}}\n",
             provider, script_server_port(f->server), lora);
    struct problems *p = problems_new();
    int r = config_parse(&f->config, "test.yaml", buf_str(&text), p);
    for (size_t i = 0; r != 0 && i < problems_len(p); i++)
        print_message("# %s: %s\n", problems_at(p, i)->path, problems_at(p, i)->text);
    assert_int_equal(r, 0);
    (void)problems_free(p);
    struct transport_config t = { .loops = 1 };
    assert_int_equal(transport_new(&f->transport, &t), 0);
    const struct config_upstream *u = &config_model(f->config, STR("m"))->upstream;
    struct fail fail;
    assert_int_equal(credentials_new(&f->credentials, u, f->transport, &fail), 0);
    f->files = (struct lora_files){ .put = put, .keep = keep, .trim = trim, .ctx = f };
    f->ledger = ledger_local_new();
    assert_non_null(f->ledger);
    struct ledger_shared shared = { &ledger_local_ops, f->ledger };
    struct lora_config c = { .upstream = u,
                             .shared = &shared,
                             .credentials = f->credentials,
                             .transport = f->transport,
                             .files = &f->files };
    assert_int_equal(lora_fleet_new(&f->fleet, &c), 0);
}

static void fixture_init(struct fixture *f, const char *provider, const char *lora)
{
    fixture_init_at(f, provider, lora, "");
}

static void fixture_done(struct fixture *f)
{
    (void)lora_fleet_free(f->fleet);
    (void)ledger_local_free(f->ledger);
    (void)transport_free(f->transport);
    (void)credentials_free(f->credentials);
    (void)config_unref(f->config);
    (void)script_server_free(f->server);
}

static struct asker *asker_of(struct lora_use *use)
{
    return (struct asker *)(void *)((char *)use - offsetof(struct asker, use));
}

static void asker_init(struct asker *a, struct fixture *f, const char *name, unsigned seed)
{
    *a = (struct asker){ .fixture = f, .adapter = { .name = str_of(name), .rank = 4 } };
    memset(&a->adapter.digest, (int)seed, sizeof(a->adapter.digest));
    (void)pthread_mutex_init(&a->lock, NULL);
    assert_int_equal(thread_cond_init(&a->more), 0);
}

static void asker_done(struct asker *a)
{
    (void)pthread_cond_destroy(&a->more);
    (void)pthread_mutex_destroy(&a->lock);
}

static void on_ready(struct lora_use *use, const struct fail *fail)
{
    struct asker *a = asker_of(use);
    LOCKED(&a->lock);
    a->told++;
    a->held = !fail;
    if (fail)
        a->fail = *fail;
    (void)pthread_cond_broadcast(&a->more);
}

static void ended(struct asker *a)
{
    LOCKED(&a->lock);
    a->done++;
    (void)pthread_cond_broadcast(&a->more);
}

static void run_acquire(struct transport_task *task)
{
    struct asker *a = (struct asker *)(void *)task;
    struct transport_loop *l = transport_loop(a->fixture->transport, 0);
    a->use = (struct lora_use){ .ready = on_ready };
    a->result = lora_acquire(a->fixture->fleet, l, &a->use, &a->adapter, clock_ms() + PATIENCE_MS,
                             &a->fail);
    if (a->result == 0)
        a->held = true;
    ended(a);
}

static void run_release(struct transport_task *task)
{
    struct asker *a = (struct asker *)(void *)task;
    lora_release(&a->use);
    lora_release(&a->use); /* again: nothing */
    ended(a);
}

static void run_missing(struct transport_task *task)
{
    struct asker *a = (struct asker *)(void *)task;
    lora_is_missing(&a->use);
    lora_is_missing(&a->use);
    lora_release(&a->use);
    ended(a);
}

/* On the loop; returns when it ran. */
static void on_loop(struct asker *a, void (*run)(struct transport_task *task))
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    unsigned done = a->done;
    a->task = (struct transport_task){ .run = run };
    transport_post(transport_loop(a->fixture->transport, 0), &a->task);
    LOCKED(&a->lock);
    while (a->done == done)
        assert_int_equal(thread_cond_wait_until(&a->more, &a->lock, until), 0);
}

static void wait_told(struct asker *a)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    LOCKED(&a->lock);
    while (a->result == LORA_PENDING && !a->told)
        assert_int_equal(thread_cond_wait_until(&a->more, &a->lock, until), 0);
}

static bool acquire(struct asker *a)
{
    a->told = 0;
    a->held = false;
    on_loop(a, run_acquire);
    wait_told(a);
    return a->held;
}

static void release(struct asker *a)
{
    on_loop(a, run_release);
}

static void assert_log(const char *text)
{
    LOCKED(&engine.lock);
    assert_string_equal(engine.log, text);
}

static void wait_log(const char *text)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    for (bool is = false; !is; script_nap(2)) {
        LOCKED(&engine.lock);
        is = strcmp(engine.log, text) == 0;
        assert_true(is || clock_ms() < until);
    }
}

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* of 0xaa, less 2 */
#define FOLDER "path: \"/srv/{digest2}/{digest}\""

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
    assert_log("+a.aaaaaaaaaaaa +a.aaaaaaaaaaaa ");
    release(&a);
    release(&b);
    asker_done(&a);
    asker_done(&b);
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

static void wait_resident(struct fixture *f, struct asker *a, uint64_t bits)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    while (lora_resident(f->fleet, &a->adapter.digest) != bits) {
        assert_true(clock_ms() < until);
        script_nap(2);
    }
}

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
        cmocka_unit_test(who_gives_up_is_not_told_and_holds_nothing),
        cmocka_unit_test(freeing_waits_for_loads_under_way),
        cmocka_unit_test(one_that_stays_busy_gives_way_to_one_that_waits),
        cmocka_unit_test(one_that_was_asked_back_stays_when_nobody_waits_any_more),
        cmocka_unit_test(sets_of_adapters_take_turns),
        cmocka_unit_test(models_of_one_engine_share_its_places),
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
