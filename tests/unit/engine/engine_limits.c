#include "tests/support/test.h"

#include <math.h>

#include "base/limits.h"
#include "engine/local/tokenizer.h"
#include "tests/unit/engine/engine_models.h"

static void run(struct engine *e, struct record *r, const struct chat_request *request)
{
    record_init(r);
    struct engine_spec spec = fixture_spec(request, NULL, r);
    fixture_run(e, &spec);
    assert_int_equal(r->last, ENGINE_EVENT_done);
}

static size_t first_of(const struct record *r, int32_t id)
{
    size_t i = 0;
    while (i < r->n_ids && r->ids[i] != id)
        i++;
    return i;
}

/* ---- stop tokens and the least number of tokens ---- */

static void a_stop_token_ends_the_text(void **state)
{
    static struct record whole, r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_request request = fixture_prompt(prompts[0], 20);
    request.ignore_eos = true;
    run(e, &whole, &request);
    for (size_t at = 0; at < whole.n_ids; at += 4)
        for (int keep = 0; keep < 2; keep++) {
            int32_t ids[] = { whole.ids[at], 0 };
            request.stop_ids = ids;
            request.n_stop_ids = 1;
            request.keep_stop = keep;
            size_t n = first_of(&whole, ids[0]);
            run(e, &r, &request);
            assert_int_equal(r.finish, FINISH_stop);
            assert_int_equal(r.usage.completion_tokens, n + 1);
            assert_int_equal(r.n_ids, n + (keep ? 1 : 0));
            assert_memory_equal(r.ids, whole.ids, r.n_ids * sizeof(r.ids[0]));
            assert_true(str_starts(buf_str(&whole.text), buf_str(&r.text)));
            record_done(&r);
        }
    record_done(&whole);
}

static void no_end_comes_before_min_tokens(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_logit_bias bias = { tokenizer_eos(engine_local_tokenizer(e)), 99 };
    for (uint32_t least = 0; least < 12; least += 3) {
        struct chat_request request = fixture_prompt(prompts[0], 40);
        request.sampling.bias = &bias;
        request.sampling.n_bias = 1;
        request.min_tokens = least;
        run(e, &r, &request);
        assert_int_equal(r.finish, FINISH_stop);
        assert_int_equal(r.usage.completion_tokens, least + 1); /* the end token counts */
        assert_int_equal(r.n_ids, least);
        record_done(&r);
    }
    static struct record whole;
    struct chat_request request = fixture_prompt(prompts[0], 20);
    request.ignore_eos = true;
    run(e, &whole, &request);
    int32_t stop = whole.ids[2];
    request.stop_ids = &stop;
    request.n_stop_ids = 1;
    request.min_tokens = 8;
    run(e, &r, &request);
    assert_true(r.usage.completion_tokens > 8);
    assert_true(first_of(&r, stop) >= 8);
    record_done(&r);
    record_done(&whole);
}

static void stop_strings_count_after_min_tokens_and_may_stay(void **state)
{
    static struct record whole, r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    struct chat_request request = fixture_prompt(prompts[0], 30);
    request.ignore_eos = true;
    run(e, &whole, &request);
    struct str text = buf_str(&whole.text), stop = str_head(str_sub(text, 3), 2);
    assert_true(text.n > 8 && str_utf8_valid(stop));
    request.stops = &stop;
    request.n_stops = 1;
    size_t first = (size_t)str_find(text, stop);
    for (int keep = 0; keep < 2; keep++) {
        request.keep_stop = keep;
        run(e, &r, &request);
        assert_int_equal(r.finish, FINISH_stop);
        assert_int_equal(r.text.n, first + (keep ? stop.n : 0));
        assert_true(str_starts(text, buf_str(&r.text)));
        record_done(&r);
    }
    request.min_tokens = 29; /* only the last token is looked at */
    run(e, &r, &request);
    assert_true(r.usage.completion_tokens >= 29);
    assert_true(r.text.n > first);
    record_done(&r);
    record_done(&whole);
}

static void stop_tokens_that_do_not_exist_are_refused(void **state)
{
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    int32_t beyond = (int32_t)tokenizer_vocab(engine_local_tokenizer(e));
    struct chat_request request = fixture_prompt(prompts[0], 5);
    request.stop_ids = &beyond;
    request.n_stop_ids = 1;
    struct engine_spec spec = fixture_spec(&request, NULL, NULL);
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    assert_int_equal(engine_submit(e, &job, &spec, &f), FAILED);
    assert_int_equal(f.code, FAIL_invalid_request);
    assert_string_equal(f.param, "stop_token_ids");
}

/* ---- many choices ---- */

static void more_choices_than_slots_and_queue_wait(void **state)
{
    enum { N = 12 };
    static struct record r[N], alone;
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .slots = 2, .queue = 1 });
    struct engine_job *jobs[N];
    struct chat_request request = fixture_prompt(prompts[1], 6);
    request.n = N;
    request.ignore_eos = true;
    request.sampling.temperature = 1.5f;
    request.sampling.seed = 77;
    request.sampling.has_seed = true;
    for (uint32_t i = 0; i < N; i++) {
        record_init(&r[i]);
        struct engine_spec spec = fixture_spec(&request, NULL, &r[i]);
        spec.choice = i;
        jobs[i] = fixture_submit(e, &spec);
    }
    unsigned n_different = 0;
    for (uint32_t i = 0; i < N; i++) {
        record_wait(&r[i]);
        (void)engine_job_unref(jobs[i]);
        n_different += i > 0 && strcmp(record_text(&r[0]), record_text(&r[i])) != 0;
        if (i > 0) /* the later ones shared the first one's prefill */
            assert_int_equal(r[i].usage.cached_tokens, r[i].usage.prompt_tokens - 1);
    }
    assert_true(n_different > N / 2);
    for (uint32_t i = 0; i < N; i += 5) {
        run_alone(&alone, &request, i, SIZE_MAX);
        assert_same(&alone, &r[i]);
        record_done(&alone);
    }
    for (uint32_t i = 0; i < N; i++)
        record_done(&r[i]);
}

static void sum_logprobs(void *arg, const struct engine_event *event)
{
    double *sum = arg;
    for (size_t i = 0; i < event->n_tokens; i++)
        *sum += (double)event->tokens[i].chosen.logprob;
}

static void the_mean_logprob_is_that_of_the_tokens(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine(DEFAULTS);
    double sums[2] = { 0 };
    for (int shown = 0; shown < 2; shown++) {
        struct chat_request request = fixture_prompt(prompts[0], 9);
        request.ignore_eos = true;
        request.best_of = 2;
        request.logprobs = shown;
        record_init(&r);
        r.on_text = sum_logprobs;
        r.on_text_arg = &sums[shown];
        struct engine_spec spec = fixture_spec(&request, NULL, &r);
        fixture_run(e, &spec);
        assert_int_equal(r.usage.completion_tokens, 9);
        if (shown)
            assert_float_equal(r.mean_logprob, sums[1] / 9, 1e-5);
        sums[shown] = (double)r.mean_logprob;
        record_done(&r);
    }
    assert_true(sums[0] == sums[1] && sums[0] < 0);
}

/* ---- what the model thinks of the prompt ---- */

struct prompt_check {
    int32_t ids[1024];
    float logprobs[1024];
    size_t n, n_events, n_top;
    struct buf text; /* of the tokens that are not hidden */
};

static void take_prompt(void *arg, const struct engine_event *event)
{
    struct prompt_check *c = arg;
    if (!event->is_prompt)
        return;
    c->n_events++;
    buf_add(&c->text, event->text);
    struct buf tokens = BUF_INIT(65536);
    for (size_t i = 0; i < event->n_tokens; i++, c->n++) {
        const struct engine_token *t = &event->tokens[i];
        CHECK(c->n < ARRAY_LEN(c->ids));
        c->ids[c->n] = t->chosen.id;
        c->logprobs[c->n] = t->chosen.logprob;
        c->n_top += t->n_top;
        if (!t->hidden)
            buf_add(&tokens, t->chosen.bytes);
    }
    CHECK(str_eq(buf_str(&tokens), event->text));
    buf_done(&tokens);
}

/* One token after ids[0 … n−1], and no other than ids[n]. */
static float forced_logprob(struct engine *e, const int32_t *ids, size_t n)
{
    static struct record r;
    struct chat_logit_bias bias = { ids[n], 100 };
    struct chat_request request = fixture_prompt("", 1);
    double sum = 0;
    request.prompt_ids = ids;
    request.n_prompt_ids = n;
    request.logprobs = true;
    request.ignore_eos = true;
    request.sampling.bias = &bias;
    request.sampling.n_bias = 1;
    record_init(&r);
    r.on_text = sum_logprobs;
    r.on_text_arg = &sum;
    struct engine_spec spec = fixture_spec(&request, NULL, &r);
    fixture_run(e, &spec);
    assert_int_equal(r.ids[0], ids[n]);
    record_done(&r);
    return (float)sum;
}

static void every_prompt_token_has_its_logprob(void **state)
{
    static struct record r;
    CLEANUP(engine_freep) struct engine *e = open_engine((struct fixture_options){ .batch = 5 });
    for (int only = 0; only < 2; only++) {
        struct prompt_check c = { .text = BUF_INIT(65536) };
        struct chat_request request = fixture_prompt(prompts[1], 3);
        request.ignore_eos = true;
        request.logprobs = true;
        request.top_logprobs = 2;
        request.prompt_logprobs = true;
        request.prompt_only = only;
        record_init(&r);
        r.on_text = take_prompt;
        r.on_text_arg = &c;
        struct engine_spec spec = fixture_spec(&request, NULL, &r);
        fixture_run(e, &spec);
        assert_int_equal(r.last, ENGINE_EVENT_done);
        assert_int_equal(r.finish, FINISH_length);
        assert_int_equal(r.usage.completion_tokens, only ? 0 : 3);
        assert_int_equal(r.n_ids, only ? 0 : 3);
        assert_int_equal(r.usage.cached_tokens, 0);
        assert_int_equal(c.n, r.usage.prompt_tokens);
        assert_int_equal(c.n_top, 2 * (c.n - 1));
        assert_string_equal(c.text.p, prompts[1]);
        assert_true(isnan(c.logprobs[0]));
        for (size_t i = 1; i < c.n; i++)
            assert_true(forced_logprob(e, c.ids, i) == c.logprobs[i]);
        buf_done(&c.text);
        record_done(&r);
    }
}

static void a_long_prompt_comes_in_pieces(void **state)
{
    static struct record r;
    static char text[4096];
    CLEANUP(engine_freep)
    struct engine *e = open_engine((struct fixture_options){ .context = 1024, .batch = 100 });
    for (size_t i = 0; i + 8 < 1100; i += 5)
        memcpy(text + i, "caf\xc3\xa9", 6);
    struct prompt_check c = { .text = BUF_INIT(65536) };
    struct chat_request request = fixture_prompt(text, 1);
    request.logprobs = true;
    request.prompt_logprobs = true;
    record_init(&r);
    r.on_text = take_prompt;
    r.on_text_arg = &c;
    struct engine_spec spec = fixture_spec(&request, NULL, &r);
    fixture_run(e, &spec);
    assert_int_equal(r.last, ENGINE_EVENT_done);
    assert_int_equal(c.n, r.usage.prompt_tokens);
    assert_true(c.n > 512 && c.n_events >= 3);
    assert_string_equal(c.text.p, text);
    buf_done(&c.text);
    record_done(&r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_token_ends_the_text),
        cmocka_unit_test(no_end_comes_before_min_tokens),
        cmocka_unit_test(stop_strings_count_after_min_tokens_and_may_stay),
        cmocka_unit_test(stop_tokens_that_do_not_exist_are_refused),
        cmocka_unit_test(more_choices_than_slots_and_queue_wait),
        cmocka_unit_test(the_mean_logprob_is_that_of_the_tokens),
        cmocka_unit_test(every_prompt_token_has_its_logprob),
        cmocka_unit_test(a_long_prompt_comes_in_pieces),
    };
    test_begin();
    return cmocka_run_group_tests(tests, find_model, NULL);
}
