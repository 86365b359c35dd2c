/*
 * Embedding under ThreadSanitizer: callers of several threads share the steps of a decoder that is
 * generating, and of an encoder; others ask for the load; then new calls are refused.
 */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/unit/engine/engine_fixture.h"

enum { CALLERS = 5, CALLS_EACH = 6 };

struct caller {
    pthread_t thread;
    struct engine *e;
    size_t number;
};

static void *embed_some(void *arg)
{
    const struct caller *c = arg;
    for (size_t i = 0; i < CALLS_EACH; i++) {
        struct embed_input inputs[3] = { { .text = STR("once upon a time") },
                                         { .text = STR("hello") },
                                         { .text = STR("the end of it all") } };
        struct embed_result r = { 0 };
        struct fail f = { 0 };
        CHECK(engine_embed(c->e, inputs, 1 + (c->number + i) % 3, &r, &f) == 0);
        CHECK(r.n == 1 + (c->number + i) % 3);
        embed_result_done(&r);
        (void)engine_load(c->e, NULL, NULL);
    }
    return NULL;
}

static void round_of(struct engine *e)
{
    struct caller callers[CALLERS];
    struct embed_input in = { .text = STR("late") };
    struct embed_result r = { 0 };
    struct fail f = { 0 };
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){ .e = e, .number = i };
        CHECK(thread_start(&callers[i].thread, THREAD_worker, embed_some, &callers[i]) == 0);
    }
    for (size_t i = 0; i < CALLERS; i++)
        CHECK(pthread_join(callers[i].thread, NULL) == 0);
    engine_drain(e);
    CHECK(engine_embed(e, &in, 1, &r, &f) == FAILED && f.code == FAIL_overloaded);
}

int main(void)
{
    static const char *const paths[] = { "models/demo.gguf", "tests/golden/encoders/bert.gguf" };
    log_set_level(LOG_error);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        CLEANUP(engine_freep)
        struct engine *e = fixture_engine(test_path(paths[i]),
                                          (struct fixture_options){ .threads = 2, .batch = 8 });
        struct chat_request request = fixture_prompt("Once upon a time there was a", 20);
        struct record record;
        struct engine_job *job = NULL;
        record_init(&record);
        struct engine_spec spec = fixture_spec(&request, NULL, &record);
        if (i == 0)
            job = fixture_submit(e, &spec);
        round_of(e);
        if (job)
            record_wait(&record);
        (void)engine_job_unref(job);
        record_done(&record);
    }
    return 0;
}
