#include "tests/support/test.h"

#include <math.h>
#include <stdatomic.h>

#include "engine/local/tokenizer.h"
#include "tests/unit/engine/engine_models.h"

/* ---- ends ---- */

static void a_stop_string_ends_the_text_wherever_it_stands(void **state)
{
    static struct record whole;
    struct chat_request request = fixture_prompt(prompts[0], 40);
    request.ignore_eos = true;
    run_alone(&whole, &request, 0, SIZE_MAX);
    const char *text = record_text(&whole);
    size_t n = strlen(text);
    assert_true(n > 20);
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    for (size_t at = 1; at + 5 < n; at += 3)
        for (size_t len = 1; len <= 5; len += 2) {
            struct str stops[] = { STR("\x01never"), { text + at, len } };
            if (!str_utf8_valid(stops[1]))
                continue;
            request.stops = stops;
            request.n_stops = 2;
            static struct record r;
            record_init(&r);
            struct engine_spec spec = fixture_spec(&request, NULL, &r);
            fixture_run(e, &spec);
            assert_int_equal(r.finish, FINISH_stop);
            /* tokens may end behind a stop string, so a longer overlap may be first: what came out
             * is what stands before some occurrence, and holds none */
            ptrdiff_t first = str_find(str_of(text), stops[1]);
            assert_int_equal(r.text.n, first);
            if (first)
                assert_memory_equal(r.text.p, text, (size_t)first);
            record_done(&r);
        }
    record_done(&whole);
}

static void max_tokens_and_the_context_end_with_length(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .context = 48 });
    assert_int_equal(engine_context(e), 48);
    static const uint32_t asked[] = { 1, 2, 7, 0, 1000 };
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        static struct record r;
        struct chat_request request = fixture_prompt(prompts[0], asked[i]);
        request.ignore_eos = true;
        record_init(&r);
        struct engine_spec spec = fixture_spec(&request, NULL, &r);
        fixture_run(e, &spec);
        assert_int_equal(r.last, ENGINE_EVENT_done);
        assert_int_equal(r.finish, FINISH_length);
        uint32_t room = 48 - r.usage.prompt_tokens;
        uint32_t want = asked[i] && asked[i] < room ? asked[i] : room;
        assert_int_equal(r.usage.completion_tokens, want);
        assert_int_equal(r.n_ids, want);
        record_done(&r);
    }
}

static void the_end_token_stops_unless_it_is_ignored(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    const struct tokenizer *t = engine_local_tokenizer(e);
    struct chat_logit_bias bias = { .token = tokenizer_eos(t), .bias = 100 };
    assert_true(bias.token >= 0);
    for (int ignore = 0; ignore < 2; ignore++) {
        static struct record r;
        struct chat_request request = fixture_prompt(prompts[0], 10);
        request.sampling.bias = &bias;
        request.sampling.n_bias = 1;
        request.ignore_eos = ignore;
        record_init(&r);
        struct engine_spec spec = fixture_spec(&request, NULL, &r);
        fixture_run(e, &spec);
        assert_int_equal(r.finish, ignore ? FINISH_length : FINISH_stop);
        assert_int_equal(r.usage.completion_tokens, ignore ? 10 : 1);
        if (!ignore)
            assert_string_equal(record_text(&r), "");
        for (size_t i = 0; i < r.n_ids; i++)
            assert_false(tokenizer_is_eog(t, r.ids[i]));
        record_done(&r);
    }
}

/* ---- refusals ---- */

static void impossible_requests_are_refused_with_the_reason(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .context = 32 });
    uint32_t vocab = tokenizer_vocab(engine_local_tokenizer(e));
    int32_t beyond[] = { 1, (int32_t)vocab }, negative[] = { -1 }, fits[31], full[32];
    for (size_t i = 0; i < ARRAY_LEN(full); i++)
        full[i] = fits[i % 31] = (int32_t)(vocab - 1 - i);
    struct chat_logit_bias bias = { .token = (int32_t)vocab, .bias = 1 };
    struct {
        const int32_t *ids;
        size_t n;
        enum fail_code code;
        const char *says, *param;
    } rows[] = {
        { beyond, 2, FAIL_invalid_request, "prompt[1]", "prompt" },
        { negative, 1, FAIL_invalid_request, "-1", "prompt" },
        { full, 0, FAIL_invalid_request, "no tokens", "prompt" },
        { full, 32, FAIL_context_length_exceeded, "32 tokens", "prompt" },
        { fits, 31, FAIL_N, NULL, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static struct record r;
        struct chat_request request = fixture_prompt("", 5);
        request.prompt_ids = rows[i].ids;
        request.n_prompt_ids = rows[i].n;
        record_init(&r);
        struct engine_spec spec = fixture_spec(&request, NULL, &r);
        CLEANUP(engine_job_unrefp) struct engine_job *job = NULL;
        struct fail f = { 0 };
        int got = engine_submit(e, &job, &spec, &f);
        if (rows[i].says) {
            assert_int_equal(got, FAILED);
            assert_int_equal(f.code, rows[i].code);
            assert_non_null(strstr(f.message, rows[i].says));
            assert_string_equal(f.param, rows[i].param);
            assert_null(job);
        } else {
            assert_int_equal(got, 0);
            record_wait(&r);
            assert_int_equal(r.usage.completion_tokens, 1);
            assert_int_equal(r.finish, r.n_ids ? FINISH_length : FINISH_stop);
        }
        record_done(&r);
    }
    struct chat_request request = fixture_prompt(prompts[0], 5);
    request.sampling.bias = &bias;
    request.sampling.n_bias = 1;
    struct engine_spec spec = fixture_spec(&request, NULL, NULL);
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED);
    assert_string_equal(f.param, "logit_bias");
    request = (struct chat_request){ .sampling = SAMPLING_INIT };
    assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED); /* no messages */
    assert_string_equal(f.param, "messages");
}

static void prompts_that_cannot_fit_are_told_before_they_are_cut(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .context = 32 });
    enum { SOME = 4000, MANY = 16 << 20 };
    CLEANUP(own_free) char *text = malloc(MANY);
    assert_non_null(text);
    memset(text, 'a', MANY);
    for (size_t n = SOME; n <= MANY; n *= MANY / SOME) {
        struct chat_message message = { .role = STR("user"), .content = { text, n } };
        struct chat_request request = fixture_prompt("", 5);
        request.prompt = message.content;
        for (int chat = 0; chat < 2; chat++) {
            struct engine_spec spec = fixture_spec(&request, NULL, NULL);
            struct engine_job *job = NULL;
            struct fail f = { 0 };
            assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED);
            assert_int_equal(f.code, FAIL_context_length_exceeded);
            assert_non_null(strstr(f.message, "32 tokens"));
            assert_string_equal(f.param, chat ? "messages" : "prompt");
            request.is_completion = false;
            request.messages = &message;
            request.n_messages = 1;
        }
    }
    assert_int_equal(engine_count_tokens(e, (struct str){ text, 0 }), 0);
    assert_true(engine_count_tokens(e, (struct str){ text, MANY }) > 32);
}

static void texts_are_encoded_and_spelt_again(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    const struct tokenizer *t = engine_local_tokenizer(e);
    const char *text = "Once upon a time";
    for (int ends = 0; ends < 2; ends++) {
        struct engine_encoding what = { .text = str_of(text), .ends = ends };
        CLEANUP(own_free) int32_t *ids = NULL;
        CLEANUP(buf_done) struct buf out = BUF_INIT(1000);
        struct fail f = { 0 };
        size_t n = 0;
        assert_int_equal(engine_encode(e, &what, &ids, &n, &f), 0);
        assert_int_equal(ids[0] == tokenizer_bos(t), ends && tokenizer_adds_bos(t));
        assert_int_equal(engine_spell(e, ids, n, &out, &f), 0);
        assert_non_null(strstr(out.p, text));
        for (size_t i = 0; i < n; i++)
            assert_true(str_eq(engine_token(e, ids[i], NULL), tokenizer_token_text(t, ids[i])));
        what.max = n - 1;
        CLEANUP(own_free) int32_t *none = NULL;
        assert_int_equal(engine_encode(e, &what, &none, &n, &f), FAILED);
        assert_int_equal(f.code, FAIL_context_length_exceeded);
        assert_null(none);
    }
    CLEANUP(buf_done) struct buf out = BUF_INIT(1000);
    struct fail f = { 0 };
    int32_t beyond[] = { 1, (int32_t)tokenizer_vocab(t) };
    assert_int_equal(engine_spell(e, beyond, 2, &out, &f), FAILED);
    assert_non_null(strstr(f.message, "tokens[1]"));
    assert_null(engine_token(e, beyond[1], NULL).p);
    assert_null(engine_token(e, -1, NULL).p);
}

static void a_missing_model_is_named(void **state)
{
    struct config_model m = { .path = STR("/nowhere/none.gguf"), .slots = 1, .batch = 8 };
    struct engine *e = NULL;
    struct fail f = { 0 };
    assert_int_equal(engine_local_new(&e, &m, &f), FAILED);
    assert_null(e);
    assert_non_null(strstr(f.message, "/nowhere/none.gguf"));
}

static void a_full_queue_refuses_and_says_when_to_come_back(void **state)
{
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .slots = 1, .queue = 2 });
    static struct record r[4];
    struct engine_job *jobs[3];
    struct chat_request request = fixture_prompt(prompts[0], 4);
    for (int i = 0; i < 3; i++) {
        record_init(&r[i]);
        r[i].gate = i == 0;
        struct engine_spec spec = fixture_spec(&request, NULL, &r[i]);
        jobs[i] = fixture_submit(e, &spec);
        size_t waiting = 1;
        while (i == 0 && waiting) { /* the first leaves the queue and is kept in its event */
            fixture_nap(200);
            (void)engine_load(e, NULL, &waiting);
        }
    }
    size_t running, waiting;
    assert_int_equal(engine_load(e, &running, &waiting), 3);
    assert_int_equal(running, 1);
    assert_int_equal(waiting, 2);
    record_init(&r[3]);
    struct engine_spec spec = fixture_spec(&request, NULL, &r[3]);
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED);
    assert_int_equal(f.code, FAIL_queue_full);
    assert_in_range(f.retry_after_s, 1, 60);
    r[0].gate = false;
    for (int i = 0; i < 3; i++) {
        record_wait(&r[i]);
        assert_int_equal(r[i].last, ENGINE_EVENT_done);
        (void)engine_job_unref(jobs[i]);
    }
    assert_int_equal(engine_load(e, NULL, NULL), 0);
    assert_int_equal(r[3].n_admitted + r[3].n_final, 0); /* the refused one hears nothing */
    for (int i = 0; i < 4; i++)
        record_done(&r[i]);
}

/* One slot and two places to wait in, both taken by one tenant: another's request takes the newer
 * one, and goes first; those of the flood that are left still run. */
static void a_flood_does_not_keep_others_out(void **state)
{
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .slots = 1, .queue = 2 });
    enum { N = 5 };
    static struct record r[N];
    size_t waiting = 0;
    struct engine_job *flood[N];
    struct chat_request request = fixture_prompt(prompts[0], 8);
    request.ignore_eos = true;
    for (int i = 0; i < N; i++) {
        record_init(&r[i]);
        r[i].gate = i == 0;
    }
    for (int i = 0; i < 3; i++) {
        struct engine_spec spec = fixture_spec(&request, NULL, &r[i]);
        spec.tenant = 1;
        flood[i] = fixture_submit(e, &spec);
        if (i == 0)
            while (engine_load(e, NULL, &waiting) && waiting > 0) /* until it has the slot */
                fixture_nap(200);
    }
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    struct engine_spec spec = fixture_spec(&request, NULL, &r[3]);
    spec.tenant = 1;
    assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED);
    assert_int_equal(f.code, FAIL_queue_full);
    spec = fixture_spec(&request, NULL, &r[4]);
    spec.tenant = 2;
    job = fixture_submit(e, &spec);
    r[0].gate = false;
    for (int i = 0; i < 3; i++) {
        record_wait(&r[i]);
        (void)engine_job_unref(flood[i]);
    }
    record_wait(&r[4]);
    (void)engine_job_unref(job);
    assert_int_equal(r[4].last, ENGINE_EVENT_done);
    assert_int_equal(r[2].last, ENGINE_EVENT_failed);
    assert_int_equal(r[2].fail.code, FAIL_queue_full);
    assert_in_range(r[2].fail.retry_after_s, 1, 60);
    assert_int_equal(r[0].last, ENGINE_EVENT_done);
    assert_int_equal(r[1].last, ENGINE_EVENT_done);
    assert_string_equal(record_text(&r[1]), record_text(&r[4]));
    for (int i = 0; i < N; i++)
        record_done(&r[i]);
}

static void each_name_is_a_tenant_of_its_own(void **state)
{
    uint64_t a = engine_tenant(STR("acme"));
    assert_true(a == engine_tenant(STR("acme")) && a != engine_tenant(STR("acme2")) && a != 0);
    assert_int_equal(engine_tenant(STR("")), 0);
    assert_int_equal(engine_tenant(STR_NULL), 0);
}

/* A spare slot is for who has none: it is answered while another's long answer goes on. */
static void another_tenant_need_not_wait_for_a_slot(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .slots = 1 });
    static struct record longer, own, other;
    struct chat_request request = fixture_prompt(prompts[0], 100), brief = fixture_prompt("It", 3);
    request.ignore_eos = true;
    record_init(&longer);
    record_init(&own);
    record_init(&other);
    longer.nap_us = 2000;
    struct engine_spec spec = fixture_spec(&request, NULL, &longer);
    spec.tenant = 1;
    struct engine_job *first = fixture_submit(e, &spec);
    record_wait_admitted(&longer);
    spec = fixture_spec(&brief, NULL, &own);
    spec.tenant = 1;
    struct engine_job *second = fixture_submit(e, &spec);
    spec = fixture_spec(&brief, NULL, &other);
    spec.tenant = 2;
    fixture_run(e, &spec);
    assert_int_equal(longer.n_final, 0);
    assert_int_equal(own.n_admitted, 0); /* its tenant has its slot */
    engine_cancel(first);
    record_wait(&longer);
    record_wait(&own);
    (void)engine_job_unref(first);
    (void)engine_job_unref(second);
    record_done(&longer);
    record_done(&own);
    record_done(&other);
}

static void draining_lets_running_ones_finish(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    static struct record r;
    record_init(&r);
    r.nap_us = 500;
    struct chat_request request = fixture_prompt(prompts[0], 20);
    request.ignore_eos = true;
    struct engine_spec spec = fixture_spec(&request, NULL, &r);
    CLEANUP(engine_job_unrefp) struct engine_job *job = fixture_submit(e, &spec);
    assert_non_null(job);
    engine_drain(e);
    struct engine_job *late = NULL;
    struct fail f = { 0 };
    assert_int_equal(engine_submit(e, &late, &spec, &f), FAILED);
    assert_int_equal(f.code, FAIL_overloaded);
    assert_true(f.retry_after_s > 0);
    record_wait(&r);
    assert_int_equal(r.usage.completion_tokens, 20);
    assert_int_equal(r.finish, FINISH_length);
    record_done(&r);
}

/* ---- cancel and deadline ---- */

static void a_passed_deadline_fails_with_timeout(void **state)
{
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .slots = 1, .context = 128 });
    static struct record running, waiting;
    record_init(&running);
    record_init(&waiting);
    running.nap_us = 10000;
    struct chat_request request = fixture_prompt(prompts[0], 0);
    request.ignore_eos = true;
    struct engine_spec spec = fixture_spec(&request, NULL, &running);
    spec.deadline_ms = clock_ms() + 600;
    CLEANUP(engine_job_unrefp) struct engine_job *job = fixture_submit(e, &spec);
    assert_non_null(job);
    record_wait_admitted(&running);
    spec.owner = &waiting;
    spec.deadline_ms = clock_ms() + 20;
    CLEANUP(engine_job_unrefp) struct engine_job *other = fixture_submit(e, &spec);
    assert_non_null(other);
    record_wait(&waiting);
    assert_int_equal(waiting.last, ENGINE_EVENT_failed);
    assert_int_equal(waiting.fail.code, FAIL_timeout);
    assert_int_equal(waiting.n_admitted, 0);
    assert_int_equal(running.n_final, 0);
    record_wait(&running);
    assert_int_equal(running.last, ENGINE_EVENT_failed);
    assert_int_equal(running.fail.code, FAIL_timeout);
    assert_in_range(running.usage.completion_tokens, 1, 80);
    record_done(&running);
    record_done(&waiting);
}

static void cancel_after_three(void *job, const struct engine_event *event)
{
    struct engine_job *_Atomic *at = job;
    while (!*at) /* the submitter stores it right after submit */
        fixture_nap(100);
    if (event->usage.completion_tokens >= 3)
        engine_cancel(*at);
}

static void cancelling_ends_a_job_between_steps(void **state)
{
    struct engine *e = open_engine((struct fixture_options){ .slots = 1 });
    static struct record running, waiting;
    record_init(&running);
    record_init(&waiting);
    struct engine_job *_Atomic in_handler = NULL;
    running.on_text = cancel_after_three;
    running.on_text_arg = &in_handler;
    struct chat_request request = fixture_prompt(prompts[0], 0);
    request.ignore_eos = true;
    struct engine_spec spec = fixture_spec(&request, NULL, &running);
    struct engine_job *first = fixture_submit(e, &spec);
    spec.owner = &waiting;
    struct engine_job *second = fixture_submit(e, &spec);
    engine_cancel(second); /* while it waits */
    engine_cancel(second);
    in_handler = first;
    record_wait(&running);
    assert_int_equal(running.last, ENGINE_EVENT_done);
    assert_int_equal(running.finish, FINISH_cancelled);
    assert_in_range(running.usage.completion_tokens, 3, 6); /* some tokens may give no text */
    record_wait(&waiting);
    assert_int_equal(waiting.finish, FINISH_cancelled);
    assert_int_equal(waiting.n_texts, 0);
    engine_cancel(first); /* after its end: harmless */
    (void)engine_free(e);
    engine_cancel(second); /* also after the engine's */
    (void)engine_job_unref(first);
    (void)engine_job_unref(second);
    record_done(&running);
    record_done(&waiting);
}

static void freeing_the_engine_ends_every_job_once(void **state)
{
    enum { JOBS = 9 };
    struct engine *e = open_engine((struct fixture_options){ .slots = 3 });
    static struct record r[JOBS];
    struct engine_job *jobs[JOBS];
    struct chat_request request = fixture_prompt(prompts[0], 0);
    request.ignore_eos = true;
    for (int i = 0; i < JOBS; i++) {
        record_init(&r[i]);
        r[i].nap_us = 1000;
        struct engine_spec spec = fixture_spec(&request, NULL, &r[i]);
        jobs[i] = fixture_submit(e, &spec);
    }
    record_wait_admitted(&r[0]);
    (void)engine_free(e);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(r[i].n_final, 1);
        assert_int_equal(r[i].last, ENGINE_EVENT_done);
        (void)engine_job_unref(jobs[i]);
        record_done(&r[i]);
    }
}

/* ---- tokens ---- */

struct logprob_check {
    const struct tokenizer *tokenizer;
    struct buf bytes;
    unsigned n;
};

static bool top_is_a_distribution(const struct engine_token *t)
{
    double sum = 0;
    for (size_t k = 0; k < t->n_top; k++) {
        sum += exp((double)t->top[k].logprob);
        if (k > 0 && t->top[k].logprob > t->top[k - 1].logprob)
            return false;
    }
    return sum > 0 && sum < 1.00001;
}

static void check_logprobs(void *arg, const struct engine_event *event)
{
    struct logprob_check *c = arg;
    for (size_t i = 0; i < event->n_tokens; i++, c->n++) {
        const struct engine_token *t = &event->tokens[i];
        if (!tokenizer_is_control(c->tokenizer, t->chosen.id)) /* control tokens give no text */
            buf_add(&c->bytes, t->chosen.bytes);
        CHECK(t->n_top == 4 && t->top[0].logprob >= t->chosen.logprob);
        CHECK(t->top[0].id == t->chosen.id || tokenizer_is_eog(c->tokenizer, t->top[0].id));
        CHECK(top_is_a_distribution(t));
    }
}

static void logprobs_come_with_the_tokens_of_the_text(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct logprob_check c = { .tokenizer = engine_local_tokenizer(e), .bytes = BUF_INIT(65536) };
    static struct record r;
    record_init(&r);
    r.on_text = check_logprobs;
    r.on_text_arg = &c;
    struct chat_request request = fixture_prompt(prompts[0], 20);
    request.ignore_eos = true;
    request.logprobs = true;
    request.top_logprobs = 4;
    struct engine_spec spec = fixture_spec(&request, NULL, &r);
    spec.want_tokens = false; /* asking for logprobs is enough */
    fixture_run(e, &spec);
    assert_int_equal(c.n, 20);
    assert_string_equal(c.bytes.p, record_text(&r));
    buf_done(&c.bytes);
    record_done(&r);
}

/* Hot sampling gives bytes that are no characters, and characters in pieces; the recorder checks
 * that every event is whole UTF-8. */
static void hot_text_is_always_whole_utf8(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    const struct tokenizer *t = engine_local_tokenizer(e);
    unsigned held = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        static struct record r;
        record_init(&r);
        struct chat_request request = fixture_prompt(prompts[0], 60);
        request.ignore_eos = true;
        request.sampling.temperature = 50;
        request.sampling.seed = seed;
        request.sampling.has_seed = true;
        struct engine_spec spec = fixture_spec(&request, NULL, &r);
        fixture_run(e, &spec);
        assert_int_equal(r.n_ids, 60); /* every token arrives, also those that gave no text */
        CLEANUP(buf_done) struct buf want = BUF_INIT(65536);
        struct detokenizer d;
        detokenizer_init(&d, t, /* at_start= */ false);
        for (size_t i = 0; i < r.n_ids; i++)
            detokenizer_push(&d, r.ids[i], &want);
        detokenizer_end(&d, &want);
        assert_string_equal(record_text(&r), want.p);
        held += r.n_texts < 60;
        record_done(&r);
    }
    assert_true(held > 0);
}

static void tokenize_gives_the_ids_that_submit_counts(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_message messages[] = {
        { .role = STR("system"), .content = STR("Answer in one word.") },
        { .role = STR("user"), .content = STR("Name a color.") },
    };
    struct chat_request chat = {
        .messages = messages, .n_messages = 2, .sampling = SAMPLING_INIT, .max_tokens = 6
    };
    struct chat_request text = fixture_prompt(prompts[1], 6);
    const struct chat_request *requests[] = { &chat, &text };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        CLEANUP(own_free) int32_t *ids = NULL;
        size_t n = 0;
        struct fail f = { 0 };
        assert_int_equal(engine_tokenize(e, &ids, &n, requests[i], &f), 0);
        static struct record r;
        record_init(&r);
        struct engine_spec spec = fixture_spec(requests[i], NULL, &r);
        fixture_run(e, &spec);
        assert_int_equal(r.last, ENGINE_EVENT_done);
        assert_int_equal(r.usage.prompt_tokens, n);
        record_done(&r);
        struct chat_request again = fixture_prompt("", 6);
        again.prompt_ids = ids;
        again.n_prompt_ids = n;
        CLEANUP(own_free) int32_t *same = NULL;
        assert_int_equal(engine_tokenize(e, &same, &n, &again, &f), 0);
        assert_memory_equal(ids, same, n * sizeof(*ids));
    }
    assert_int_equal(engine_count_tokens(e, STR("")), 0);
    assert_true(engine_count_tokens(e, STR("one two three")) > 0);
}

static void token_ids_give_their_text_back(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    static const char *const texts[] = { "one two three", "ann@example.org", "caf\xc3\xa9" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct chat_request text = fixture_prompt(texts[i], 1);
        CLEANUP(own_free) int32_t *ids = NULL;
        size_t n = 0;
        struct fail f = { 0 };
        assert_int_equal(engine_tokenize(e, &ids, &n, &text, &f), 0);
        CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
        engine_detokenize(e, ids, n, &out);
        assert_true(str_is(buf_str(&out), texts[i]));
    }
    static const int32_t strange[] = { -1, INT32_MIN, INT32_MAX, 1 << 20 };
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    engine_detokenize(e, strange, ARRAY_LEN(strange), &out);
    assert_int_equal(out.n, 0);
}

/* ---- many at once ---- */

enum { SUBMITTERS = 4, JOBS_EACH = 16 };

struct submitter {
    struct engine *e;
    pthread_t thread;
    uint64_t random;
    const struct fixture_adapter *adapters;
    struct record *records;
};

static void *submit_many(void *arg)
{
    struct submitter *s = arg;
    struct engine_job *jobs[JOBS_EACH];
    for (size_t i = 0; i < JOBS_EACH; i++) {
        struct chat_request request = varied_request(i);
        struct engine_spec spec =
            fixture_spec(&request, &s->adapters[test_random(&s->random) % 3], &s->records[i]);
        jobs[i] = fixture_submit(s->e, &spec);
        if (test_random(&s->random) % 3 == 0) {
            fixture_nap(test_random(&s->random) % 3000);
            engine_cancel(jobs[test_random(&s->random) % (i + 1)]);
        }
    }
    for (size_t i = 0; i < JOBS_EACH; i++) {
        record_wait(&s->records[i]);
        (void)engine_job_unref(jobs[i]);
    }
    return NULL;
}

static void jobs_of_many_threads_end_exactly_once(void **state)
{
    CLEANUP(engine_freep)
    struct engine *e =
        open_engine((struct fixture_options){ .slots = 6, .batch = 16, .threads = 2 });
    struct fixture_adapter adapters[3] = { 0 };
    for (size_t i = 0; i < 2 && i < n_adapters; i++)
        adapters[i] = fixture_adapter(e, adapter_paths[i]);
    static struct record records[SUBMITTERS][JOBS_EACH];
    struct submitter submitters[SUBMITTERS];
    for (size_t i = 0; i < SUBMITTERS; i++) {
        for (size_t k = 0; k < JOBS_EACH; k++)
            record_init(&records[i][k]);
        submitters[i] =
            (struct submitter){ .e = e, .random = i, .adapters = adapters, .records = records[i] };
        assert_int_equal(
            thread_start(&submitters[i].thread, THREAD_worker, submit_many, &submitters[i]), 0);
    }
    for (size_t i = 0; i < SUBMITTERS; i++)
        assert_int_equal(pthread_join(submitters[i].thread, NULL), 0);
    unsigned n_done = 0, n_cancelled = 0;
    for (size_t i = 0; i < SUBMITTERS; i++)
        for (size_t k = 0; k < JOBS_EACH; k++) {
            struct record *r = &records[i][k];
            assert_int_equal(r->n_final, 1);
            assert_int_equal(r->last, ENGINE_EVENT_done);
            n_cancelled += r->finish == FINISH_cancelled;
            n_done += r->finish != FINISH_cancelled;
            record_done(r);
        }
    assert_true(n_done > 0 && n_cancelled > 0);
    assert_int_equal(engine_load(e, NULL, NULL), 0);
    for (size_t i = 0; i < 3; i++)
        (void)engine_local_lora_free(adapters[i].lora);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_string_ends_the_text_wherever_it_stands),
        cmocka_unit_test(max_tokens_and_the_context_end_with_length),
        cmocka_unit_test(the_end_token_stops_unless_it_is_ignored),
        cmocka_unit_test(impossible_requests_are_refused_with_the_reason),
        cmocka_unit_test(prompts_that_cannot_fit_are_told_before_they_are_cut),
        cmocka_unit_test(texts_are_encoded_and_spelt_again),
        cmocka_unit_test(a_missing_model_is_named),
        cmocka_unit_test(a_full_queue_refuses_and_says_when_to_come_back),
        cmocka_unit_test(a_flood_does_not_keep_others_out),
        cmocka_unit_test(each_name_is_a_tenant_of_its_own),
        cmocka_unit_test(another_tenant_need_not_wait_for_a_slot),
        cmocka_unit_test(draining_lets_running_ones_finish),
        cmocka_unit_test(a_passed_deadline_fails_with_timeout),
        cmocka_unit_test(cancelling_ends_a_job_between_steps),
        cmocka_unit_test(freeing_the_engine_ends_every_job_once),
        cmocka_unit_test(logprobs_come_with_the_tokens_of_the_text),
        cmocka_unit_test(hot_text_is_always_whole_utf8),
        cmocka_unit_test(tokenize_gives_the_ids_that_submit_counts),
        cmocka_unit_test(token_ids_give_their_text_back),
        cmocka_unit_test(jobs_of_many_threads_end_exactly_once),
    };
    test_begin();
    return cmocka_run_group_tests(tests, find_model, NULL);
}
