#include "engine/upstream/exchange.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/upstream/attempt.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    ATTEMPTS = 2,         /* at once: the second is a hedge */
    HELD_MAX = 64 * 1024, /* bytes of events without content, held until there is some */
    PREFIX_BYTES = 2048,  /* of a prompt, by which endpoints are chosen */
    BACKOFF_MS = 25,      /* before the same endpoint is asked again; doubles */
    BACKOFF_DOUBLINGS = 6,
};

struct held { /* an event without content, before it is known who answers */
    struct held *next;
    struct engine_event event;
};

struct slot {
    struct exchange *exchange;
    struct attempt *attempt; /* NULL: free */
    struct lora_use use;     /* of the adapter; .fleet NULL: none is held or waited for */
    unsigned endpoint;
    bool waits; /* for its adapter to be loaded */
    struct held *held, **last_held;
    size_t held_bytes;
};

struct exchange {
    struct engine_job job; /* first */
    struct upstream *upstream;
    _Atomic unsigned refs;       /* the caller's, the loop's own, and one while a poke is posted */
    struct exchange *next, **at; /* of upstream->first */
    struct transport_loop *loop;
    struct engine_spec spec;
    struct transport_task begin, poke;
    _Atomic bool is_cancelled, is_paused, is_poked;
    _Atomic bool has_begun; /* `thread` is the loop's */
    pthread_t thread;

    /* Of the loop from here on. */
    struct slot slots[ATTEMPTS];
    struct slot *winner;           /* whose events are told; NULL: nobody's yet */
    bool is_over, is_holding_back; /* last event told; paused now */
    uint64_t tried, barred;        /* endpoints: asked already; not to be asked at all */
    uint64_t prefix, session, adapter;
    uint64_t deadline_ms;
    uint64_t patient_until_ms; /* while all endpoints are busy or full; 0: they were not yet */
    unsigned attempts;         /* begun */
    unsigned reloads;          /* of an adapter that was not there */
    struct transport_timer retry, hedge;
    struct engine_usage usage;
    struct attempt_failure failure; /* the last; its strings are `failure_body`'s */
    struct buf failure_body;
};

static void begin_attempt(struct exchange *x);

static uint64_t now_ms(const struct exchange *x)
{
    return transport_now_us(x->loop) / 1000;
}

/* ---- life ---- */

static void unref(struct exchange *x)
{
    if (atomic_fetch_sub(&x->refs, 1) > 1)
        return;
    struct upstream *u = x->upstream;
    buf_done(&x->failure_body);
    free(x);
    upstream_leave(u);
}

void exchange_unref(struct engine_job *job)
{
    unref((struct exchange *)job);
}

static void drop_held(struct slot *s)
{
    for (struct held *h = s->held, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    s->held = NULL;
    s->last_held = &s->held;
    s->held_bytes = 0;
}

/* The slot's attempt is of no use any more. */
static void clear_slot(struct slot *s, const struct pool_end *end)
{
    struct exchange *x = s->exchange;
    bool was_asked = s->attempt != NULL;
    attempt_drop(TAKE(s->attempt));
    if (was_asked)
        pool_end(x->upstream->pool, s->endpoint, end);
    if (s->use.fleet)
        lora_release(&s->use);
    s->use.fleet = NULL;
    s->waits = false;
    drop_held(s);
}

static void tell(struct exchange *x, struct engine_event *e)
{
    e->usage = x->usage;
    x->spec.on_event(x->spec.owner, e);
}

/* Its last event: after it the request may be gone. */
static void finish(struct exchange *x, struct engine_event *last)
{
    struct pool_end neutral = { .now_ms = now_ms(x), .outcome = POOL_neutral };
    if (x->is_over)
        return;
    x->is_over = true;
    transport_timer_clear(x->loop, &x->retry);
    transport_timer_clear(x->loop, &x->hedge);
    for (size_t i = 0; i < ATTEMPTS; i++)
        if (x->slots[i].attempt || x->slots[i].waits || x->slots[i].use.fleet)
            clear_slot(&x->slots[i], &neutral);
    {
        LOCKED(&x->upstream->lock);
        *x->at = x->next;
        if (x->next)
            x->next->at = x->at;
    }
    metrics_add(METRIC_prompt_tokens_total, x->usage.prompt_tokens);
    metrics_add(METRIC_cached_tokens_total, x->usage.cached_tokens);
    metrics_add(METRIC_completion_tokens_total, x->usage.completion_tokens);
    tell(x, last);
    unref(x);
}

static void finish_failed(struct exchange *x)
{
    static const struct chat_pair no_more[] = { { { "x-should-retry", 14 }, { "false", 5 } } };
    struct engine_event e = { .kind = ENGINE_EVENT_failed,
                              .fail = &x->failure.fail,
                              .status = x->failure.status,
                              .text = buf_str(&x->failure_body) };
    if (x->attempts > 1 && x->failure.fail.retry_after_s == 0) {
        e.headers = no_more; /* we have tried all there is: the client's own retries add nothing */
        e.n_headers = ARRAY_LEN(no_more);
    }
    finish(x, &e);
}

static void finish_cancelled(struct exchange *x)
{
    struct engine_event e = { .kind = ENGINE_EVENT_done, .finish = FINISH_cancelled };
    finish(x, &e);
}

/* ---- who answers ---- */

static bool hold(struct slot *s, const struct engine_event *e)
{
    size_t n = e->text.n + e->name.n;
    struct held *h = malloc(sizeof(*h) + n);
    if (!h)
        return false;
    char *bytes = (char *)(h + 1);
    *h = (struct held){ .event = *e };
    if (e->text.n)
        memcpy(bytes, e->text.p, e->text.n);
    if (e->name.n)
        memcpy(bytes + e->text.n, e->name.p, e->name.n);
    h->event.text.p = bytes;
    h->event.name.p = bytes + e->text.n;
    *s->last_held = h;
    s->last_held = &h->next;
    s->held_bytes += n;
    return true;
}

/* Another attempt answers. That it was slower is known; by how much is not. */
static void lose(struct slot *s, const struct pool_end *neutral)
{
    if (s->attempt)
        pool_waited(s->exchange->upstream->pool, s->endpoint,
                    transport_now_us(s->exchange->loop) - attempt_started_us(s->attempt),
                    neutral->now_ms);
    clear_slot(s, neutral);
}

/* From here this attempt's events are the answer. */
static void win(struct slot *s)
{
    struct exchange *x = s->exchange;
    uint64_t first_us = transport_now_us(x->loop) - attempt_started_us(s->attempt);
    struct pool_end neutral = { .now_ms = now_ms(x), .outcome = POOL_neutral };
    x->winner = s;
    transport_timer_clear(x->loop, &x->hedge);
    pool_first(x->upstream->pool, s->endpoint, first_us, now_ms(x));
    for (size_t i = 0; i < ATTEMPTS; i++)
        if (&x->slots[i] != s && (x->slots[i].attempt || x->slots[i].waits))
            lose(&x->slots[i], &neutral);
    metrics_observe_us(METRIC_upstream_first_seconds, first_us);
    struct engine_event e = { .kind = ENGINE_EVENT_admitted };
    struct chat_pair headers[ATTEMPT_HEADERS];
    e.headers = headers;
    e.n_headers = attempt_headers(s->attempt, headers);
    tell(x, &e);
    struct held *list = TAKE(s->held);
    s->last_held = &s->held;
    for (struct held *h = list, *next; h; h = next) {
        next = h->next;
        if (!x->is_over)
            tell(x, &h->event);
        free(h);
    }
}

static bool says_something(const struct engine_event *e)
{
    return e->kind != ENGINE_EVENT_verbatim || e->has_content;
}

static void take_done(struct slot *s, const struct engine_event *e)
{
    struct exchange *x = s->exchange;
    struct engine_event last = *e;
    struct pool_end end = { .now_ms = now_ms(x), .outcome = POOL_ok };
    struct attempt *a = TAKE(s->attempt);
    attempt_drop(a); /* its connection goes back */
    pool_end(x->upstream->pool, s->endpoint, &end);
    finish(x, &last);
}

static void on_event(struct attempt *a, const struct engine_event *e)
{
    struct slot *s = attempt_owner(a);
    struct exchange *x = s->exchange;
    if (x->is_over)
        return;
    if (!x->winner && !says_something(e)) {
        if (s->held_bytes < HELD_MAX && hold(s, e))
            return;
    }
    if (!x->winner)
        win(s);
    if (x->winner != s || x->is_over)
        return;
    x->usage = e->usage;
    if (e->kind == ENGINE_EVENT_done) {
        take_done(s, e);
        return;
    }
    struct engine_event copy = *e;
    tell(x, &copy);
}

/* ---- what failed ---- */

static void keep_failure(struct exchange *x, const struct attempt_failure *why)
{
    x->failure = *why;
    x->failure.body = STR_NULL;
    x->failure.headers = NULL;
    x->failure.n_headers = 0;
    buf_clear(&x->failure_body);
    buf_add(&x->failure_body, why->body);
    if (buf_err(&x->failure_body) < 0) {
        buf_clear(&x->failure_body);
        x->failure.status = 0;
    }
}

static void log_failure(const struct slot *s, const struct attempt_failure *why)
{
    static struct log_rate rate;
    const struct upstream *u = s->exchange->upstream;
    log_rated(&rate, LOG_warn, "upstream",
              "model=" STR_FMT " endpoint=" STR_FMT " req=" STR_FMT " status=%u code=%s why=\"%s\"",
              STR_ARG(u->name), STR_ARG(upstream_endpoint(u, s->endpoint)->name),
              STR_ARG(s->exchange->spec.request_id), why->status, fail_word(why->fail.code),
              why->fail.message);
}

static void end_in_pool(struct slot *s, const struct attempt_failure *why)
{
    struct pool_end end = { .now_ms = now_ms(s->exchange), .outcome = POOL_fault };
    if (why->kind == REFUSAL_final || why->kind == REFUSAL_elsewhere || why->no_adapter)
        end.outcome = POOL_neutral;
    else if (why->kind == REFUSAL_later)
        end.outcome = POOL_busy;
    end.retry_after_ms = (uint64_t)why->fail.retry_after_s * 1000;
    clear_slot(s, &end);
}

static bool is_alone(const struct exchange *x)
{
    for (size_t i = 0; i < ATTEMPTS; i++)
        if (x->slots[i].attempt || x->slots[i].waits)
            return false;
    return true;
}

static void fire_retry(struct transport_timer *timer)
{
    begin_attempt(OF_MEMBER(struct exchange, retry, timer));
}

/* Begins again in some time; false: it cannot, and that is the end. */
static bool wait_for(struct exchange *x, uint64_t ms)
{
    uint64_t now = now_ms(x), longest = x->upstream->config->max_retry_after_s * 1000;
    if (ms > longest || now + ms >= x->deadline_ms)
        return false;
    return transport_timer_set(x->loop, &x->retry, now + ms) == 0;
}

/* All are busy or full: it waits for them no longer, in all, than for one that says how long. */
static bool wait_for_any(struct exchange *x, uint64_t ms)
{
    uint64_t now = now_ms(x);
    if (!x->patient_until_ms)
        x->patient_until_ms = now + x->upstream->config->max_retry_after_s * 1000;
    return now + ms <= x->patient_until_ms && wait_for(x, ms);
}

static uint64_t backoff_ms(const struct exchange *x)
{
    unsigned n = x->attempts > BACKOFF_DOUBLINGS ? BACKOFF_DOUBLINGS : x->attempts;
    uint64_t most = (uint64_t)BACKOFF_MS << n;
    return most / 2 + clock_ns() % (most / 2); /* never all at once */
}

/* After a failure of the only attempt: somewhere else, later, or no more. */
static void go_on(struct exchange *x)
{
    const struct upstream *u = x->upstream;
    const struct attempt_failure *why = &x->failure;
    bool allowed = why->kind != REFUSAL_final &&
                   (why->cause == 0 || (why->cause & u->config->retry_on)) &&
                   x->attempts <= u->config->retries && !x->is_cancelled &&
                   now_ms(x) < x->deadline_ms && pool_may_retry(u->pool, now_ms(x));
    if (!allowed) {
        finish_failed(x);
        return;
    }
    metrics_add(METRIC_upstream_retries_total, 1);
    begin_attempt(x);
}

/* It was said to be there and is not: once more, after it was loaded again. */
static bool reload(struct exchange *x, struct slot *s, const struct attempt_failure *why)
{
    if (!why->no_adapter || !s->use.fleet || x->reloads > 0)
        return false;
    x->reloads++;
    lora_is_missing(&s->use);
    x->tried &= ~(1ull << s->endpoint);
    return true;
}

static void on_failed(struct attempt *a, const struct attempt_failure *why)
{
    struct slot *s = attempt_owner(a);
    struct exchange *x = s->exchange;
    log_failure(s, why);
    keep_failure(x, why);
    if (x->winner == s) { /* the client has had a part of it: nothing to repeat */
        x->failure.status = 0;
        end_in_pool(s, why);
        finish_failed(x);
        return;
    }
    bool again = reload(x, s, why);
    if (why->kind == REFUSAL_elsewhere && !again)
        x->barred |= 1ull << s->endpoint;
    end_in_pool(s, why);
    if (!is_alone(x))
        return; /* the other attempt goes on */
    if (again)
        begin_attempt(x);
    else
        go_on(x);
}

static const struct attempt_handler attempt_handler = { on_event, on_failed };

/* ---- asking ---- */

/* It could not even be written: another endpoint may be able to. */
static void cannot_ask(struct exchange *x, struct slot *s, const struct attempt_failure *why)
{
    keep_failure(x, why);
    x->barred |= 1ull << s->endpoint;
    end_in_pool(s, why);
    if (is_alone(x))
        begin_attempt(x);
}

static void fire_hedge(struct transport_timer *timer);

static void plan_hedge(struct exchange *x)
{
    uint64_t after = pool_hedge_after(x->upstream->pool);
    x->hedge.fire = fire_hedge;
    if (after != UINT64_MAX && x->attempts == 1 &&
        transport_timer_set(x->loop, &x->hedge, now_ms(x) + after) < 0)
        log_line(LOG_debug, "upstream", "why=\"no memory for a hedge\"");
}

static void ask(struct slot *s)
{
    struct exchange *x = s->exchange;
    struct upstream *u = x->upstream;
    struct attempt_failure why;
    const struct config_endpoint *e = upstream_endpoint(u, s->endpoint);
    struct attempt_spec spec = {
        .upstream = u,
        .loop = x->loop,
        .endpoint = s->endpoint,
        .spec = &x->spec,
        .verbatim = x->spec.verbatim && provider_speaks(e, x->spec.request->wire),
        .adapter = s->use.fleet ? &s->use : NULL,
        .base_body = lora_base_body(u->fleet, s->endpoint),
        .deadline_ms = x->deadline_ms,
        .handler = &attempt_handler,
        .owner = s,
    };
    pool_begin(u->pool, s->endpoint, now_ms(x));
    if (attempt_start(&s->attempt, &spec, &why) != 0) {
        struct pool_end neutral = { .now_ms = now_ms(x), .outcome = POOL_neutral };
        pool_end(u->pool, s->endpoint, &neutral);
        cannot_ask(x, s, &why);
        return;
    }
    metrics_add_label(METRIC_upstream_attempts_total, e->provider, 1);
    plan_hedge(x);
}

static void on_adapter(struct lora_use *use, const struct fail *fail)
{
    struct slot *s = OF_MEMBER(struct slot, use, use);
    struct exchange *x = s->exchange;
    s->waits = false;
    if (!fail) {
        ask(s);
        return;
    }
    struct attempt_failure why = { .kind = REFUSAL_elsewhere, .fail = *fail };
    s->use.fleet = NULL;
    cannot_ask(x, s, &why);
}

/* With the adapter loaded there, where one is wanted. */
static void prepare(struct slot *s)
{
    struct exchange *x = s->exchange;
    struct upstream *u = x->upstream;
    struct attempt_failure why = { .kind = REFUSAL_elsewhere };
    if (!x->spec.adapter) {
        ask(s);
        return;
    }
    s->use = (struct lora_use){ .endpoint = s->endpoint, .ready = on_adapter };
    int r = lora_acquire(u->fleet, x->loop, &s->use, x->spec.adapter, x->deadline_ms, &why.fail);
    s->waits = r == LORA_PENDING;
    if (r == 0) {
        ask(s);
    } else if (r != LORA_PENDING) {
        if (r < 0)
            (void)fail_errno(&why.fail, r, "loading the adapter");
        s->use.fleet = NULL;
        cannot_ask(x, s, &why);
    }
}

static struct pool_ask question(const struct exchange *x)
{
    struct upstream *u = x->upstream;
    struct pool_ask q = { .now_ms = now_ms(x),
                          .prefix = x->prefix,
                          .session = x->session,
                          .adapter = x->adapter,
                          .excluded = x->tried | x->barred };
    if (x->spec.adapter) {
        q.resident = lora_resident(u->fleet, &x->spec.adapter->digest);
        q.excluded |= ~lora_servable(u->fleet, x->spec.adapter);
    }
    return q;
}

static void no_endpoint(struct exchange *x)
{
    bool refused = !x->failure.fail.message[0] && x->spec.adapter &&
                   lora_refused(x->upstream->fleet, x->spec.adapter, &x->failure.fail);
    if (!refused && !x->failure.fail.message[0])
        (void)fail_set(&x->failure.fail, FAIL_overloaded,
                       "no engine behind the model '" STR_FMT "' can take this request now",
                       STR_ARG(str_head(x->upstream->name, LIMIT_NAME)));
    if (!x->failure.fail.retry_after_s && x->failure.fail.code == FAIL_overloaded)
        x->failure.fail.retry_after_s = 1;
    finish_failed(x);
}

/* The next endpoint, in a free slot. */
static void begin_attempt(struct exchange *x)
{
    struct slot *s = x->slots[0].attempt || x->slots[0].waits ? &x->slots[1] : &x->slots[0];
    uint64_t wait_ms = 0;
    struct pool_ask q = question(x);
    int i = pool_pick(x->upstream->pool, &q, &wait_ms);
    if (i == -ENOENT && x->tried & ~x->barred) { /* all were asked: those again that may do */
        bool repeats = x->failure.kind == REFUSAL_broken || x->failure.kind == REFUSAL_later;
        x->tried = 0;
        if (repeats && wait_for(x, backoff_ms(x)))
            return;
    }
    if (i == -EAGAIN && wait_for_any(x, wait_ms))
        return;
    if (i == -EAGAIN && !x->failure.fail.message[0]) {
        (void)fail_set(&x->failure.fail, FAIL_overloaded, "the engines behind are all busy");
        x->failure.fail.retry_after_s = (unsigned)((wait_ms + 999) / 1000);
    }
    if (i < 0) {
        no_endpoint(x);
        return;
    }
    s->endpoint = (unsigned)i;
    x->tried |= 1ull << i;
    x->attempts++;
    prepare(s);
}

/* The first is slow: a second one elsewhere, and whoever speaks first answers. */
static void fire_hedge(struct transport_timer *timer)
{
    struct exchange *x = OF_MEMBER(struct exchange, hedge, timer);
    uint64_t wait_ms = 0;
    struct pool_ask q = question(x);
    if (x->winner || x->is_over || x->slots[1].attempt || x->slots[1].waits)
        return;
    int i = pool_pick(x->upstream->pool, &q, &wait_ms);
    if (i < 0 || !pool_may_hedge(x->upstream->pool, now_ms(x)))
        return;
    metrics_add(METRIC_upstream_hedges_total, 1);
    x->slots[1].endpoint = (unsigned)i;
    x->tried |= 1ull << i;
    x->attempts++;
    prepare(&x->slots[1]);
}

/* ---- from other threads ---- */

static uint64_t hash_prefix(const struct chat_request *c)
{
    char text[PREFIX_BYTES];
    size_t n = 0;
    for (size_t i = 0; i <= c->n_messages && n < sizeof(text); i++) {
        struct str part = i < c->n_messages ? c->messages[i].content : c->prompt;
        part = str_head(part, sizeof(text) - n);
        if (part.n)
            memcpy(text + n, part.p, part.n);
        n += part.n;
    }
    return n ? pool_prefix_hash(text, n) : 0;
}

static void run_begin(struct transport_task *task)
{
    struct exchange *x = OF_MEMBER(struct exchange, begin, task);
    x->thread = pthread_self();
    x->has_begun = true;
    const struct upstream *u = x->upstream;
    x->retry.fire = fire_retry;
    if (x->is_cancelled) {
        finish_cancelled(x);
        return;
    }
    if (u->config->affinity != AFFINITY_none && u->config->endpoints.n > 1) {
        x->prefix = hash_prefix(x->spec.request);
        if (x->spec.session.n)
            x->session = pool_prefix_hash(x->spec.session.p, x->spec.session.n);
    }
    if (x->spec.adapter)
        memcpy(&x->adapter, x->spec.adapter->digest.b, sizeof(x->adapter));
    pool_count(u->pool, now_ms(x));
    begin_attempt(x);
}

/* On its loop: the answer is read, or not, as was asked last. */
static void hold_back(struct exchange *x)
{
    bool paused = x->is_paused;
    if (x->is_over || !x->winner || !x->winner->attempt || x->is_holding_back == paused)
        return;
    x->is_holding_back = paused;
    attempt_pause(x->winner->attempt, paused);
}

static void run_poke(struct transport_task *task)
{
    struct exchange *x = OF_MEMBER(struct exchange, poke, task);
    x->is_poked = false;
    if (!x->is_over && x->is_cancelled)
        finish_cancelled(x);
    else
        hold_back(x);
    unref(x);
}

static void poke(struct exchange *x)
{
    if (atomic_exchange(&x->is_poked, true))
        return;
    x->refs++;
    transport_post(x->loop, &x->poke);
}

void exchange_cancel(struct engine_job *job)
{
    struct exchange *x = (struct exchange *)job;
    if (!atomic_exchange(&x->is_cancelled, true))
        poke(x);
}

void exchange_pause(struct engine_job *job, bool paused)
{
    struct exchange *x = (struct exchange *)job;
    x->is_paused = paused;
    /* Whoever tells an event asks for a pause at once, or megabytes more are read in this turn. */
    if (paused && x->has_begun && pthread_equal(pthread_self(), x->thread))
        hold_back(x);
    else
        poke(x);
}

void exchange_cancel_all(struct upstream *u)
{
    for (struct exchange *x = u->first; x; x = x->next)
        exchange_cancel(&x->job);
}

int exchange_submit(struct upstream *u, struct engine_job **ret, const struct engine_spec *spec,
                    struct fail *reterr)
{
    if (u->draining)
        return fail_set(reterr, FAIL_overloaded, "the gateway is shutting down; ask another one");
    if (spec->adapter && !u->fleet)
        return fail_set(reterr, FAIL_model_not_found,
                        "the engines behind the model '" STR_FMT
                        "' are not configured for adapters (upstream.lora)",
                        STR_ARG(str_head(u->name, LIMIT_NAME)));
    struct exchange *x = calloc(1, sizeof(*x));
    if (!x)
        return -ENOMEM;
    x->job.ops = u->engine.ops;
    x->upstream = u;
    x->refs = 2;
    x->spec = *spec;
    x->loop = transport_here(); /* whose http thread asks, where they are one */
    if (!x->loop)
        x->loop = transport_loop(u->transport, u->next_loop++);
    x->failure_body = BUF_INIT(LIMIT_UPSTREAM_REFUSAL);
    x->begin.run = run_begin;
    x->poke.run = run_poke;
    uint64_t total = u->config->total_ms ? clock_ms() + u->config->total_ms : CLOCK_NEVER;
    x->deadline_ms = total < spec->deadline_ms ? total : spec->deadline_ms;
    for (size_t i = 0; i < ATTEMPTS; i++) {
        x->slots[i].exchange = x;
        x->slots[i].last_held = &x->slots[i].held;
    }
    upstream_enter(u);
    {
        LOCKED(&u->lock);
        x->next = u->first;
        x->at = &u->first;
        if (x->next)
            x->next->at = &x->next;
        u->first = x;
    }
    *ret = &x->job;
    transport_post(x->loop, &x->begin);
    return 0;
}
