/* The engine behind over real HTTP: who is asked, what is repeated, and what never is. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/thread.h"
#include "config/config.h"
#include "engine/upstream/engine_upstream.h"
#include "tests/support/mock_upstream.h"
#include "tests/support/test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 20000, ENDPOINTS = 3 };

struct answer { /* what a job told */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct buf text;
    unsigned admitted, verbatim, done, failed, headers;
    enum finish_reason finish;
    struct engine_usage usage;
    struct fail fail;
    unsigned status;
    struct engine_job *job;
};

struct fixture {
    struct mock_upstream *mock;
    struct transport *transport;
    struct config *config;
    struct engine *engine;
};

static void on_event(void *owner, const struct engine_event *e)
{
    struct answer *a = owner;
    LOCKED(&a->lock);
    assert_int_equal(a->done + a->failed, 0); /* nothing comes after the last */
    buf_add(&a->text, e->kind == ENGINE_EVENT_failed ? STR_NULL : e->text);
    a->admitted += e->kind == ENGINE_EVENT_admitted;
    a->headers += e->kind == ENGINE_EVENT_admitted ? (unsigned)e->n_headers : 0;
    a->verbatim += e->kind == ENGINE_EVENT_verbatim;
    a->done += e->kind == ENGINE_EVENT_done;
    a->failed += e->kind == ENGINE_EVENT_failed;
    a->finish = e->finish;
    a->usage = e->usage;
    if (e->fail)
        a->fail = *e->fail;
    a->status = e->status;
    (void)pthread_cond_broadcast(&a->more);
}

static void answer_init(struct answer *a)
{
    *a = (struct answer){ .text = BUF_INIT(64 << 20) };
    (void)pthread_mutex_init(&a->lock, NULL);
    assert_int_equal(thread_cond_init(&a->more), 0);
}

static void answer_done(struct answer *a)
{
    (void)engine_job_unref(a->job);
    buf_done(&a->text);
    (void)pthread_cond_destroy(&a->more);
    (void)pthread_mutex_destroy(&a->lock);
}

static bool has_ended(const struct answer *a)
{
    return a->done + a->failed;
}

static bool has_text(const struct answer *a)
{
    return a->text.n > 0;
}

static void wait_for(struct answer *a, bool (*is)(const struct answer *a))
{
    uint64_t until = clock_ms() + PATIENCE_MS;
    LOCKED(&a->lock);
    while (!is(a))
        assert_int_equal(thread_cond_wait_until(&a->more, &a->lock, until), 0);
}

/* `upstream` is YAML; "%1", "%2" … in it stand for the mock's ports, "%0" for one that refuses. */
static void fixture_init(struct fixture *f, const char *upstream)
{
    struct mock_listen listen[ENDPOINTS] = { { 0 } };
    *f = (struct fixture){ 0 };
    assert_int_equal(mock_upstream_start(&f->mock, listen, ENDPOINTS), 0);
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 16);
    buf_adds(&text, "version: v0.3\nengine:\n  models:\n    - name: m\n      upstream: {");
    for (const char *c = upstream; *c; c++) {
        if (*c != '%') {
            buf_addc(&text, *c);
            continue;
        }
        unsigned i = (unsigned)(*++c - '0');
        buf_addf(&text, "http://127.0.0.1:%u", i ? mock_upstream_port(f->mock, i - 1) : 1u);
    }
    buf_adds(&text, "}\n");
    struct problems *p = problems_new();
    int r = config_parse(&f->config, "test.yaml", buf_str(&text), p);
    for (size_t i = 0; r != 0 && i < problems_len(p); i++)
        print_message("# %s: %s\n", problems_at(p, i)->path, problems_at(p, i)->text);
    assert_int_equal(r, 0);
    (void)problems_free(p);
    struct transport_config t = { .loops = 1 };
    assert_int_equal(transport_new(&f->transport, &t), 0);
    struct engine_upstream_config c = { .model = config_model(f->config, STR("m")),
                                        .transport = f->transport };
    struct fail fail;
    assert_int_equal(engine_upstream_new(&f->engine, &c, &fail), 0);
}

static void fixture_done(struct fixture *f)
{
    (void)engine_free(f->engine);
    (void)transport_free(f->transport);
    (void)config_unref(f->config);
    (void)mock_upstream_stop(f->mock);
}

struct ask {
    const char *prompt;
    bool stream;
    uint64_t deadline_ms; /* from now; 0: none */
};

static struct chat_message message;
static struct chat_request request;

static void submit(struct fixture *f, const struct ask *ask, struct answer *a)
{
    answer_init(a);
    message = (struct chat_message){ .role = STR("user"), .content = str_of(ask->prompt) };
    message.source_content = message.content.p;
    request = (struct chat_request){ .model = STR("m"),
                                     .messages = &message,
                                     .n_messages = 1,
                                     .sampling = SAMPLING_INIT,
                                     .n = 1,
                                     .stream = ask->stream };
    struct engine_spec spec = { .request = &request,
                                .deadline_ms =
                                    ask->deadline_ms ? clock_ms() + ask->deadline_ms : CLOCK_NEVER,
                                .request_id = STR("req_1"),
                                .on_event = on_event,
                                .owner = a };
    struct fail fail;
    assert_int_equal(engine_submit(f->engine, &a->job, &spec, &fail), 0);
}

static uint64_t requests(struct fixture *f)
{
    return mock_counted(mock_upstream_stats(f->mock), MOCK_COUNT_requests);
}

static double first_us(struct fixture *f, unsigned i)
{
    struct pool_state s;
    assert_non_null(engine_upstream_look(f->engine, i, &s));
    return s.first_ewma_us;
}

static const char two[] = "provider: openai, endpoints: [{url: '%1/v1'}, {url: '%2/v1'}], "
                          "balance: round_robin, retry: {max: 2}";

struct row {
    const char *says, *prompt, *upstream; /* upstream NULL: two endpoints, two retries */
    bool stream;
    enum fail_code code; /* 0 with text: it is answered */
    const char *text;
    unsigned requests;
    const char *why; /* in the failure's message */
};

/* The k-th request of an id does what the k-th part of its script says. */
static const struct row rows[] = {
    { "whole", "mock[]", NULL, false, 0, "t0 t1 t2 t3 ", 1, NULL },
    { "streamed", "mock[]", NULL, true, 0, "t0 t1 t2 t3 ", 1, NULL },
    { "500, then well", "mock[id=a status=500|]", NULL, true, 0, "t0 t1 t2 t3 ", 2, NULL },
    { "429 with a short wait elsewhere", "mock[id=b status=429 retry-after=1|]", NULL, false, 0,
      "t0 t1 t2 t3 ", 2, NULL },
    { "a bad request is the client's", "mock[id=c status=400|]", NULL, false, FAIL_invalid_request,
      NULL, 1, NULL },
    { "reset before the head", "mock[id=d rst@request|]", NULL, true, 0, "t0 t1 t2 t3 ", 2, NULL },
    { "reset after the head", "mock[id=e rst@head|]", NULL, true, 0, "t0 t1 t2 t3 ", 2, NULL },
    { "an error first", "mock[id=f error=0|]", NULL, true, 0, "t0 t1 t2 t3 ", 2, NULL },
    { "an error after text", "mock[id=g error=2|]", NULL, true, FAIL_upstream_error, "t0 t1 ", 1,
      NULL },
    { "reset after text", "mock[id=h rst@frame:2|]", NULL, true, FAIL_upstream_error, "t0 t1 ", 1,
      NULL },
    { "an end without its sign", "mock[id=i finish=none nodone|]", NULL, true, FAIL_upstream_error,
      "t0 t1 t2 t3 ", 1, NULL },
    { "thrice 500 is told", "mock[id=j status=500]", NULL, false, FAIL_upstream_error, NULL, 3,
      NULL },
    { "no retries configured", "mock[id=k status=500|]",
      "provider: openai, url: '%1/v1', retry: {max: 0}", false, FAIL_upstream_error, NULL, 1,
      NULL },
    { "the only endpoint is asked again", "mock[id=l rst@request|]",
      "provider: openai, url: '%1/v1', retry: {max: 1}", false, 0, "t0 t1 t2 t3 ", 2, NULL },
    { "nobody listens, the next level answers", "mock[]",
      "endpoints: [{provider: openai, url: '%0/v1'}, {provider: anthropic, url: '%2', "
      "priority: 1}], retry: {max: 2}",
      true, 0, "t0 t1 t2 t3 ", 1, NULL },
    { "nobody listens at all", "mock[]", "provider: openai, url: '%0/v1', retry: {max: 1}", false,
      FAIL_upstream_error, NULL, 0, "reach" },
    { "no first byte in time", "mock[stall@request]",
      "provider: openai, url: '%1/v1', retry: {max: 0}, timeouts: {first_byte: 200ms}", true,
      FAIL_timeout, NULL, 1, NULL },
    { "silence in the middle", "mock[stall@frame:1]",
      "provider: openai, url: '%1/v1', retry: {max: 0}, timeouts: {idle: 200ms}", true,
      FAIL_timeout, "t0 ", 1, NULL },
};

static void check_row(const struct row *row)
{
    struct fixture f;
    struct answer a;
    fixture_init(&f, row->upstream ? row->upstream : two);
    submit(&f, &(struct ask){ .prompt = row->prompt, .stream = row->stream }, &a);
    wait_for(&a, has_ended);
    bool fails = row->code != 0 || !row->text;
    if (a.failed != fails || !str_is(buf_str(&a.text), row->text ? row->text : "") ||
        requests(&f) != row->requests || (fails && a.fail.code != row->code) ||
        (row->why && !strstr(a.fail.message, row->why)))
        fail_msg("%s: failed %u (%s), text \"%.*s\", %lu requests", row->says, a.failed,
                 a.failed ? a.fail.message : "-", (int)a.text.n, a.text.p ? a.text.p : "",
                 (unsigned long)requests(&f));
    assert_int_equal(a.admitted, a.text.n ? 1 : 0);
    if (!fails)
        assert_true(a.usage.completion_tokens > 0);
    answer_done(&a);
    fixture_done(&f);
}

static void answers_or_fails_as_each_row_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_row(&rows[i]);
}

static void a_slow_first_token_is_asked_for_elsewhere_and_billed_once(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    fixture_init(&f, "provider: openai, endpoints: [{url: '%1/v1'}, {url: '%2/v1'}], "
                     "balance: round_robin, hedge: {after: 50ms, budget: 1}");
    submit(&f, &(struct ask){ .prompt = "mock[id=h hold@request|]", .stream = true }, &a);
    wait_for(&a, has_ended);
    assert_int_equal(a.done, 1);
    assert_true(str_is(buf_str(&a.text), "t0 t1 t2 t3 "));
    assert_int_equal(requests(&f), 2);
    for (unsigned i = 0; i < 2; i++) /* of the loser it is known that it was no quicker */
        assert_true(first_us(&f, i) > 0);
    assert_true(first_us(&f, 0) > 20000 || first_us(&f, 1) > 20000);
    struct mock_stats *s = mock_upstream_stats(f.mock);
    for (uint64_t until = clock_ms() + PATIENCE_MS; mock_counted(s, MOCK_COUNT_left) == 0;)
        assert_true(clock_ms() < until); /* the loser's connection is closed */
    assert_int_equal(a.usage.completion_tokens, 4);
    answer_done(&a);
    fixture_done(&f);
}

static void cancelling_closes_the_connection_and_ends_the_job(void **state)
{
    (void)state;
    static const char *const prompts[] = { "mock[hold@request]", "mock[frames=1000 gap=20]" };
    for (size_t i = 0; i < ARRAY_LEN(prompts); i++) {
        struct fixture f;
        struct answer a;
        fixture_init(&f, two);
        submit(&f, &(struct ask){ .prompt = prompts[i], .stream = true }, &a);
        struct mock_stats *s = mock_upstream_stats(f.mock);
        uint64_t until = clock_ms() + PATIENCE_MS;
        if (i)
            wait_for(&a, has_text);
        while (mock_counted(s, MOCK_COUNT_requests) == 0)
            assert_true(clock_ms() < until);
        assert_true((first_us(&f, 0) + first_us(&f, 1) > 0) == (i == 1)); /* at the first token */
        engine_cancel(a.job);
        wait_for(&a, has_ended);
        assert_int_equal(a.done, 1);
        assert_int_equal(a.finish, FINISH_cancelled);
        while (mock_counted(s, MOCK_COUNT_left) == 0)
            assert_true(clock_ms() < until);
        assert_int_equal(requests(&f), 1);
        answer_done(&a);
        fixture_done(&f);
    }
}

static void a_paused_job_holds_the_engine_behind_back(void **state)
{
    (void)state;
    enum { FRAMES = 4000, SIZE = 8192 }; /* more than sockets take */
    struct fixture f;
    struct answer a;
    char prompt[64];
    (void)snprintf(prompt, sizeof(prompt), "mock[frames=%d size=%d]", FRAMES, SIZE);
    fixture_init(&f, two);
    submit(&f, &(struct ask){ .prompt = prompt, .stream = true }, &a);
    struct mock_stats *s = mock_upstream_stats(f.mock);
    wait_for(&a, has_text);
    engine_pause(a.job, true);
    uint64_t until = clock_ms() + PATIENCE_MS;
    for (uint64_t sent = 0, same = 0; same < 20;) { /* it stands still, far from the end */
        struct timespec nap = { .tv_nsec = 10000000 };
        (void)nanosleep(&nap, NULL);
        uint64_t now = mock_counted(s, MOCK_COUNT_bytes);
        same = now == sent && mock_counted(s, MOCK_COUNT_blocked) ? same + 1 : 0;
        sent = now;
        assert_true(clock_ms() < until);
        assert_true(sent < (uint64_t)FRAMES * SIZE);
    }
    {
        LOCKED(&a.lock);
        assert_false(has_ended(&a));
    }
    engine_pause(a.job, false);
    wait_for(&a, has_ended);
    assert_int_equal(a.done, 1);
    assert_true(a.text.n >= (size_t)FRAMES * SIZE);
    answer_done(&a);
    fixture_done(&f);
}

static void freeing_the_engine_ends_what_runs(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    fixture_init(&f, two);
    submit(&f, &(struct ask){ .prompt = "mock[hold@request]", .stream = true }, &a);
    engine_drain(f.engine);
    struct engine_spec spec = { .request = &request, .on_event = on_event, .owner = &a };
    struct engine_job *job = NULL;
    struct fail fail;
    assert_int_equal(engine_submit(f.engine, &job, &spec, &fail), FAILED);
    assert_int_equal(fail.code, FAIL_overloaded);
    a.job = engine_job_unref(a.job); /* else freeing waits for us */
    f.engine = engine_free(f.engine);
    assert_int_equal(a.done, 1);
    answer_done(&a);
    fixture_done(&f);
}

static void an_endpoint_that_fails_its_checks_is_not_asked(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a;
    fixture_init(&f, "provider: openai, endpoints: [{url: '%0/v1'}, {url: '%2/v1'}], "
                     "balance: round_robin, retry: {max: 0}, "
                     "health: {path: /_mock/stats, interval: 100ms, timeout: 1s}");
    struct timespec nap = { .tv_nsec = 300000000 };
    (void)nanosleep(&nap, NULL); /* checks have come in */
    for (unsigned i = 0; i < 6; i++) {
        submit(&f, &(struct ask){ .prompt = "mock[]" }, &a);
        wait_for(&a, has_ended);
        if (a.failed)
            fail_msg("%s", a.fail.message);
        answer_done(&a);
    }
    fixture_done(&f);
}

/* Whoever finds all endpoints full waits for one, and not for ever. */
static void a_full_endpoint_is_waited_for_within_bounds(void **state)
{
    (void)state;
    struct fixture f;
    struct answer first, second;
    fixture_init(&f, "provider: openai, url: '%1/v1', health: {max_pending: 1}, "
                     "retry: {max: 1, max_retry_after: 1s}");
    submit(&f, &(struct ask){ .prompt = "mock[stall@request]" }, &first);
    while (requests(&f) == 0)
        (void)sched_yield();
    uint64_t start = clock_ms();
    submit(&f, &(struct ask){ .prompt = "mock[]" }, &second);
    wait_for(&second, has_ended);
    assert_true(second.failed && second.fail.code == FAIL_overloaded);
    assert_true(second.fail.retry_after_s >= 1 && clock_ms() - start >= 900);
    answer_done(&second);
    submit(&f, &(struct ask){ .prompt = "mock[]" }, &second);
    engine_cancel(first.job); /* there is room again */
    wait_for(&second, has_ended);
    if (second.failed)
        fail_msg("%s", second.fail.message);
    wait_for(&first, has_ended);
    answer_done(&first);
    answer_done(&second);
    assert_int_equal(requests(&f), 2);
    fixture_done(&f);
}

static void embeddings_come_from_an_endpoint_that_can_be_reached(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, "provider: openai, url: '%0/v1', retry: {max: 0}");
    struct embed_input in = { .text = STR("hello") };
    struct embed_result out;
    struct fail fail;
    assert_int_equal(engine_embed(f.engine, &in, 1, &out, &fail), FAILED);
    assert_int_equal(fail.code, FAIL_upstream_error);
    fixture_done(&f);
    fixture_init(&f, "provider: openai, endpoints: [{url: '%0/v1'}, {url: '%2/v1'}], "
                     "balance: round_robin, retry: {max: 1}");
    assert_int_equal(engine_embed(f.engine, &in, 1, &out, &fail), 0);
    assert_int_equal(out.n, 1);
    assert_true(out.width > 0);
    embed_result_done(&out);
    fixture_done(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_or_fails_as_each_row_says),
        cmocka_unit_test(a_slow_first_token_is_asked_for_elsewhere_and_billed_once),
        cmocka_unit_test(cancelling_closes_the_connection_and_ends_the_job),
        cmocka_unit_test(a_paused_job_holds_the_engine_behind_back),
        cmocka_unit_test(freeing_the_engine_ends_what_runs),
        cmocka_unit_test(an_endpoint_that_fails_its_checks_is_not_asked),
        cmocka_unit_test(a_full_endpoint_is_waited_for_within_bounds),
        cmocka_unit_test(embeddings_come_from_an_endpoint_that_can_be_reached),
    };
    return TEST_RUN(tests);
}
