/*
 * An embedded engine under test: which model and adapters there are, and a recorder of events that
 * checks their order. Without cmocka, so that plain programs use it too.
 */
#pragma once

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/thread.h"
#include "engine/local/engine_local.h"

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- the model ---- */

struct fixture_options {
    uint64_t slots, context, batch, queue, threads;
    enum cache_type cache;
};

static inline struct engine *fixture_engine(const char *path, struct fixture_options o)
{
    struct config_model m = {
        .name = STR("test"),
        .path = str_of(path),
        .slots = o.slots ? o.slots : 4,
        .cache_type = o.cache,
        .context = o.context ? o.context : 128,
        .threads = o.threads ? o.threads : 1,
        .queue = o.queue ? o.queue : 512,
        .batch = o.batch ? o.batch : 64,
    };
    struct engine *e = NULL;
    struct fail f = { 0 };
    if (engine_local_new(&e, &m, &f) != 0) {
        (void)fprintf(stderr, "%s: %s\n", path, f.message);
        abort();
    }
    return e;
}

struct fixture_adapter {
    struct lora *lora; /* NULL: the bare base */
    struct sha256 digest;
};

static inline struct fixture_adapter fixture_adapter(const struct engine *e, const char *path)
{
    struct fixture_adapter a = { .digest = sha256_of(str_of(path)) };
    struct fail f = { 0 };
    size_t bytes = 0;
    if (engine_local_lora_load(e, &a.lora, &bytes, path, &f) != 0) {
        (void)fprintf(stderr, "%s: %s\n", path, f.message);
        abort();
    }
    CHECK(bytes > 0);
    return a;
}

/* ---- a request ---- */

static inline struct chat_request fixture_prompt(const char *text, uint32_t max_tokens)
{
    struct chat_request r = {
        .is_completion = true,
        .prompt = str_of(text),
        .sampling = SAMPLING_INIT,
        .max_tokens = max_tokens,
        .n = 1,
    };
    r.sampling.temperature = 0;
    return r;
}

/* ---- what came back ---- */

struct record {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buf text;
    int32_t ids[1024];
    size_t n_ids, n_texts;
    unsigned n_admitted, n_final;
    enum engine_event_kind last;
    enum finish_reason finish;
    struct fail fail;
    struct engine_usage usage;
    float mean_logprob;
    uint64_t nap_us;   /* slept in every event, to slow the engine down */
    _Atomic bool gate; /* while set, the engine is kept in the admitted event */
    void (*on_text)(void *, const struct engine_event *); /* may be NULL */
    void *on_text_arg;
};

static inline void record_init(struct record *r)
{
    memset(r, 0, sizeof(*r));
    (void)pthread_mutex_init(&r->lock, NULL);
    CHECK(thread_cond_init(&r->changed) == 0);
    r->text = BUF_INIT(1ul << 20);
}

static inline void record_done(struct record *r)
{
    buf_done(&r->text);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
}

static inline void fixture_nap(uint64_t us)
{
    struct timespec t = { .tv_sec = (time_t)(us / 1000000),
                          .tv_nsec = (long)(us % 1000000) * 1000 };
    (void)nanosleep(&t, NULL);
}

static inline void record_event(void *owner, const struct engine_event *event)
{
    struct record *r = owner;
    CHECK(thread_is(THREAD_engine));
    if (r->nap_us)
        fixture_nap(r->nap_us);
    while (event->kind == ENGINE_EVENT_admitted && r->gate)
        fixture_nap(200);
    if (event->kind == ENGINE_EVENT_text && r->on_text)
        r->on_text(r->on_text_arg, event);
    LOCKED(&r->lock);
    CHECK(r->n_final == 0); /* nothing after the end */
    r->last = event->kind;
    r->usage = event->usage;
    switch (event->kind) {
    case ENGINE_EVENT_admitted:
        CHECK(r->n_admitted++ == 0 && r->n_texts == 0);
        break;
    case ENGINE_EVENT_text:
        CHECK(r->n_admitted == 1 && str_utf8_valid(event->text));
        CHECK(event->text.n > 0 || event->n_tokens > 0);
        CHECK(!event->is_prompt || r->n_texts == 0);
        if (event->is_prompt)
            break;
        r->n_texts++;
        buf_add(&r->text, event->text);
        for (size_t i = 0; i < event->n_tokens; i++)
            r->ids[r->n_ids++] = event->tokens[i].chosen.id;
        break;
    case ENGINE_EVENT_reasoning: /* the story models do not think or call */
    case ENGINE_EVENT_verbatim:
    case ENGINE_EVENT_tool_call:
        CHECK(false);
        break;
    case ENGINE_EVENT_done:
        r->finish = event->finish;
        r->mean_logprob = event->mean_logprob;
        r->n_final++;
        break;
    case ENGINE_EVENT_failed:
        r->fail = *event->fail;
        r->n_final++;
        break;
    }
    (void)pthread_cond_broadcast(&r->changed);
}

static inline void record_wait(struct record *r) /* for the final event */
{
    uint64_t until = clock_ms() + 60000;
    LOCKED(&r->lock);
    while (r->n_final == 0)
        CHECK(thread_cond_wait_until(&r->changed, &r->lock, until) == 0);
}

static inline void record_wait_admitted(struct record *r)
{
    LOCKED(&r->lock);
    while (r->n_admitted == 0 && r->n_final == 0)
        CHECK(thread_cond_wait_until(&r->changed, &r->lock, clock_ms() + 60000) == 0);
}

static inline const char *record_text(const struct record *r)
{
    return r->text.p ? r->text.p : "";
}

static inline struct engine_spec fixture_spec(const struct chat_request *request,
                                              const struct fixture_adapter *a, struct record *r)
{
    return (struct engine_spec){
        .request = request,
        .lora = a ? a->lora : NULL,
        .lora_digest = a && a->lora ? &a->digest : NULL,
        .want_tokens = true,
        .deadline_ms = CLOCK_NEVER,
        .on_event = record_event,
        .owner = r,
    };
}

static inline struct engine_job *fixture_submit(struct engine *e, const struct engine_spec *spec)
{
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    if (engine_submit(e, &job, spec, &f) != 0) {
        (void)fprintf(stderr, "refused: %s\n", f.message);
        abort();
    }
    return job;
}

/* Submits, waits for the end. */
static inline void fixture_run(struct engine *e, const struct engine_spec *spec)
{
    struct engine_job *job = fixture_submit(e, spec);
    record_wait(spec->owner);
    (void)engine_job_unref(job);
}
