#include "tests/unit/engine/upstream/lora_fixture.h"

#include "base/clock.h"
#include "base/thread.h"
#include "config/config.h"
#include "engine/upstream/credentials.h"
#include "tests/unit/engine/upstream/script_server.h"

#include <stdio.h>

struct test_engine engine = { .lock = PTHREAD_MUTEX_INITIALIZER };

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

static bool does_break(void)
{
    LOCKED(&engine.lock);
    return engine.breaks;
}

static void run_load(struct script_peer *peer)
{
    note('+', peer);
    script_nap(engine.nap_ms);
    if (does_break()) {
        peer->keep = false;
        return;
    }
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

/* `had`: rows of adapters that the engine has already; each begins with a comma. */
void fixture_init_at(struct fixture *f, const char *provider, const char *lora, const char *had)
{
    *f = (struct fixture){ 0 };
    engine.log[0] = '\0';
    (void)snprintf(engine.models, sizeof(engine.models), "{\"data\":[" BASE_ROW "%s]}", had);
    engine.refusal = NULL;
    engine.breaks = false;
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

void fixture_init(struct fixture *f, const char *provider, const char *lora)
{
    fixture_init_at(f, provider, lora, "");
}

void fixture_done(struct fixture *f)
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

void asker_init(struct asker *a, struct fixture *f, const char *name, unsigned seed)
{
    *a = (struct asker){ .fixture = f, .adapter = { .name = str_of(name), .rank = 4 } };
    memset(&a->adapter.digest, (int)seed, sizeof(a->adapter.digest));
    (void)pthread_mutex_init(&a->lock, NULL);
    assert_int_equal(thread_cond_init(&a->more), 0);
}

void asker_done(struct asker *a)
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

void run_acquire(struct transport_task *task)
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

void run_release(struct transport_task *task)
{
    struct asker *a = (struct asker *)(void *)task;
    lora_release(&a->use);
    lora_release(&a->use); /* again: nothing */
    ended(a);
}

void run_missing(struct transport_task *task)
{
    struct asker *a = (struct asker *)(void *)task;
    lora_is_missing(&a->use);
    lora_is_missing(&a->use);
    lora_release(&a->use);
    ended(a);
}

/* On the loop; returns when it ran. */
void on_loop(struct asker *a, void (*run)(struct transport_task *task))
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    unsigned done = a->done;
    a->task = (struct transport_task){ .run = run };
    transport_post(transport_loop(a->fixture->transport, 0), &a->task);
    LOCKED(&a->lock);
    while (a->done == done)
        assert_int_equal(thread_cond_wait_until(&a->more, &a->lock, until), 0);
}

void wait_told(struct asker *a)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    LOCKED(&a->lock);
    while (a->result == LORA_PENDING && !a->told)
        assert_int_equal(thread_cond_wait_until(&a->more, &a->lock, until), 0);
}

bool acquire(struct asker *a)
{
    a->told = 0;
    a->held = false;
    on_loop(a, run_acquire);
    wait_told(a);
    return a->held;
}

void release(struct asker *a)
{
    on_loop(a, run_release);
}

void assert_log(const char *text)
{
    LOCKED(&engine.lock);
    assert_string_equal(engine.log, text);
}

void wait_log(const char *text)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    for (bool is = false; !is; script_nap(2)) {
        LOCKED(&engine.lock);
        is = strcmp(engine.log, text) == 0;
        assert_true(is || clock_ms() < until);
    }
}

void wait_resident(struct fixture *f, struct asker *a, uint64_t bits)
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    while (lora_resident(f->fleet, &a->adapter.digest) != bits) {
        assert_true(clock_ms() < until);
        script_nap(2);
    }
}
