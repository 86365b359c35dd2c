/*
 * The embedded engine under ThreadSanitizer: four threads submit, cancel and ask for the load while
 * the coordinator and the compute threads run; then the engine is freed under its jobs.
 */
#include "tests/support/test.h"

#include <unistd.h>

#include "base/log.h"
#include "tests/unit/engine/engine_fixture.h"

enum { SUBMITTERS = 4, JOBS_EACH = 8 };

struct submitter {
    struct engine *e;
    pthread_t thread;
    uint64_t random;
    const struct fixture_adapter *adapter;
    struct record records[JOBS_EACH];
    struct engine_job *jobs[JOBS_EACH];
};

static void *submit_some(void *arg)
{
    struct submitter *s = arg;
    for (size_t i = 0; i < JOBS_EACH; i++) {
        struct chat_request request = fixture_prompt("Once upon a time there was a", 6);
        request.sampling.temperature = i % 2 ? 1 : 0;
        if (i % 4 == 1) { /* compiled and followed by several at once */
            request.format = i % 8 == 1 ? CHAT_FORMAT_json_object : CHAT_FORMAT_regex;
            request.format_text = i % 8 == 1 ? STR_NULL : STR("[a-z]{2,30}");
            request.format_param = "response_format";
        }
        record_init(&s->records[i]);
        struct engine_spec spec = fixture_spec(&request, i % 3 ? s->adapter : NULL, &s->records[i]);
        spec.tenant = s->random % 3;
        s->jobs[i] = fixture_submit(s->e, &spec);
        if (test_random(&s->random) % 3 == 0)
            engine_cancel(s->jobs[test_random(&s->random) % (i + 1)]);
        CHECK(engine_load(s->e, NULL, NULL) <= (size_t)SUBMITTERS * JOBS_EACH);
    }
    return NULL;
}

static void finish(struct submitter *s)
{
    for (size_t i = 0; i < JOBS_EACH; i++) {
        record_wait(&s->records[i]);
        CHECK(s->records[i].n_final == 1 && s->records[i].last == ENGINE_EVENT_done);
        engine_cancel(s->jobs[i]);
        (void)engine_job_unref(s->jobs[i]);
        record_done(&s->records[i]);
    }
}

static void round_of(struct engine *e, const struct fixture_adapter *a, bool free_under_them)
{
    static struct submitter submitters[SUBMITTERS];
    for (size_t i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (struct submitter){ .e = e, .random = i, .adapter = a };
        CHECK(thread_start(&submitters[i].thread, THREAD_worker, submit_some, &submitters[i]) == 0);
    }
    for (size_t i = 0; i < SUBMITTERS; i++)
        CHECK(pthread_join(submitters[i].thread, NULL) == 0);
    if (free_under_them) {
        engine_drain(e);
        (void)engine_free(e);
    }
    for (size_t i = 0; i < SUBMITTERS; i++)
        finish(&submitters[i]);
}

int main(void)
{
    const char *stories = test_shared("engine/models/stories260K.f16.gguf");
    const char *lora = test_shared("engine/lora/stories260K/a0.gguf");
    log_set_level(LOG_error);
    struct engine *e = fixture_engine(
        stories ? stories : test_path("models/demo.gguf"),
        (struct fixture_options){ .slots = 5, .batch = 16, .threads = 3, .context = 64 });
    struct fixture_adapter a = { 0 };
    if (stories && lora)
        a = fixture_adapter(e, lora);
    round_of(e, &a, /* free_under_them= */ false);
    round_of(e, &a, /* free_under_them= */ true);
    (void)engine_local_lora_free(a.lora);
    (void)puts("ok");
    return 0;
}
