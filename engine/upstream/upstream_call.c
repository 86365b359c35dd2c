#include "engine/upstream/upstream_call.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

enum {
    SECRET_BYTES = 64 * 1024,
    AGAIN_MS = 50, /* before an endpoint that failed is asked again */
    NS_PER_MS = 1000 * 1000,
};

struct waited {
    struct upstream *upstream;
    unsigned endpoint;
    const struct provider *provider;
    struct chat_request request; /* says nothing: what a job must have */
    struct provider_job job;
    struct provider_call call;
    struct transport_task begin;
    struct transport_loop *loop;
    struct call *http;
    unsigned status, refused_status;
    struct buf body;
    struct arena *arena;
    struct call_head head;
    struct call_end end;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool is_over, may_repeat; /* may_repeat: the same endpoint may do better next time */
};

static void over(struct waited *c)
{
    LOCKED(&c->lock);
    c->is_over = true;
    (void)pthread_cond_signal(&c->ended);
}

static void on_head(void *owner, const struct call_head *head)
{
    struct waited *c = owner;
    struct chat_pair *copies = arena_array(c->arena, head->n + 1, sizeof(*copies));
    c->status = head->status;
    c->head = (struct call_head){ head->status, copies, 0 };
    for (size_t i = 0; copies && i < head->n; i++)
        copies[c->head.n++] = (struct chat_pair){ arena_str(c->arena, head->headers[i].key),
                                                  arena_str(c->arena, head->headers[i].value) };
}

static void on_body(void *owner, struct str bytes)
{
    struct waited *c = owner;
    buf_add(&c->body, bytes); /* an error of it is looked at once all came */
}

static void on_end(void *owner, const struct call_end *end)
{
    struct waited *c = owner;
    c->end = *end;
    c->http = call_unref(c->http);
    over(c);
}

static const struct call_handler handler = { on_head, on_body, on_end };

static void run_begin(struct transport_task *task)
{
    struct waited *c = OF_MEMBER(struct waited, begin, task);
    uint64_t total = c->upstream->config->total_ms;
    struct call_spec s = { .method = "POST",
                           .url = c->call.url.p,
                           .headers = c->call.headers,
                           .n_headers = c->call.n_headers,
                           .body = buf_str(&c->call.body),
                           .deadline_ms = total ? clock_ms() + total : CLOCK_NEVER,
                           .handler = &handler,
                           .owner = c };
    upstream_call_spec(c->upstream, c->endpoint, &s);
    int err = call_start(c->loop, &c->http, &s);
    if (err < 0) {
        c->end = (struct call_end){ .outcome = CALL_failed };
        (void)snprintf(c->end.message, sizeof(c->end.message), "%s", strerror(-err));
        over(c);
    }
}

static int write_call(struct waited *c, const struct upstream_ask *a, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf secret = BUF_INIT(SECRET_BYTES);
    int err = credentials_get(c->upstream->credentials, c->endpoint, a->tenant, &secret, reterr);
    if (err != 0)
        return err;
    c->job.secret = buf_str(&secret);
    err = a->write(a->ctx, c->provider, &c->call, &c->job, reterr);
    if (err == 0)
        err = buf_err(&c->call.url) < 0 ? buf_err(&c->call.url) : buf_err(&c->call.body);
    c->job.secret = STR_NULL;
    if (secret.p)
        OPENSSL_cleanse(secret.p, secret.cap);
    return err;
}

/* It knows the path no more than the provider would have: a model that it lacks is another thing.
 */
static bool lacks_path(const struct waited *c, const struct fail *fail)
{
    return (c->status == 404 || c->status == 405 || c->status == 501) &&
           fail->code == FAIL_upstream_error;
}

static int read_refusal(struct waited *c, const struct upstream_ask *a, struct pool_end *end,
                        struct fail *reterr)
{
    struct provider_refusal r = { .kind = REFUSAL_broken };
    c->provider->refusal(&c->job, &c->head, buf_str(&c->body), &r);
    *reterr = r.fail;
    end->outcome = r.kind == REFUSAL_broken  ? POOL_fault
                   : r.kind == REFUSAL_later ? POOL_busy
                                             : POOL_neutral;
    c->may_repeat = r.kind == REFUSAL_broken || r.kind == REFUSAL_later;
    end->retry_after_ms = (uint64_t)r.fail.retry_after_s * 1000;
    if (a->is_relay && lacks_path(c, reterr))
        (void)fail_param(reterr, FAIL_unsupported_parameter, "model",
                         "the engine behind does not serve this API");
    bool is_told = r.kind == REFUSAL_final && c->status < 500;
    c->refused_status = is_told ? c->status : 0; /* the rest is between us */
    return FAILED;
}

static int read_call(struct waited *c, const struct upstream_ask *a, struct pool_end *end,
                     struct fail *reterr)
{
    end->outcome = POOL_fault;
    bool late = call_is_late(c->end.outcome);
    c->may_repeat = !late;
    if (c->end.outcome != CALL_complete)
        return fail_set(reterr, late ? FAIL_timeout : FAIL_upstream_error, "%s: %s",
                        c->provider->name, c->end.message);
    if (c->status != 200)
        return read_refusal(c, a, end, reterr);
    int err = buf_err(&c->body);
    if (err == 0)
        err = a->read(a->ctx, c->provider, &c->job, buf_str(&c->body), reterr);
    if (err == 0)
        end->outcome = POOL_ok;
    return err;
}

static void describe(struct waited *c, struct upstream *u, unsigned endpoint,
                     const struct upstream_ask *a)
{
    const struct config_endpoint *e = upstream_endpoint(u, endpoint);
    *c = (struct waited){ .upstream = u, .endpoint = endpoint };
    c->provider = provider_of(e->provider);
    c->loop = transport_loop(u->transport, u->next_loop++);
    c->request.n = 1;
    c->job = (struct provider_job){ .request = &c->request,
                                    .upstream = u->config,
                                    .endpoint = e,
                                    .model = e->model,
                                    .request_id = a->request_id.p,
                                    .headers = a->headers,
                                    .n_headers = a->n_headers,
                                    .now_s = clock_wall_s() };
    c->call.url = BUF_INIT(64 * KIB);
    c->call.body = BUF_INIT(LIMIT_UPSTREAM_BODY);
    c->body = BUF_INIT(LIMIT_UPSTREAM_ANSWER);
    c->begin.run = run_begin;
}

/* Sends it and waits for its end. */
static int exchange(struct waited *c, const struct upstream_ask *a, struct fail *reterr)
{
    struct pool *pool = c->upstream->pool;
    struct pool_end end = { .outcome = POOL_neutral };
    pool_begin(pool, c->endpoint, clock_ms());
    transport_post(c->loop, &c->begin);
    {
        LOCKED(&c->lock);
        while (!c->is_over)
            (void)pthread_cond_wait(&c->ended, &c->lock);
    }
    int err = read_call(c, a, &end, reterr);
    end.now_ms = clock_ms();
    end.first_us = c->end.first_byte_us;
    pool_end(pool, c->endpoint, &end);
    return err;
}

static int ask_one(struct waited *c, const struct upstream_ask *a, struct fail *reterr)
{
    c->arena = arena_new(4 * MIB);
    c->call.arena = arena_new(MIB);
    (void)pthread_mutex_init(&c->lock, /* attr= */ NULL);
    int err = c->arena && c->call.arena ? thread_cond_init(&c->ended) : -ENOMEM;
    bool has_cond = err == 0;
    if (err == 0)
        err = write_call(c, a, reterr);
    if (err == 0)
        err = exchange(c, a, reterr);
    if (has_cond)
        (void)pthread_cond_destroy(&c->ended);
    (void)pthread_mutex_destroy(&c->lock);
    return err;
}

static void waited_done(struct waited *c)
{
    provider_call_done(&c->call);
    buf_done(&c->body);
    (void)arena_free(c->arena);
}

/* The next endpoint; where all were `tried` and it `repeats`, one of them again, a little later.
 * Negative: none. */
static int next_endpoint(struct upstream *u, uint64_t *tried, bool repeats, uint64_t *ret_wait)
{
    bool is_first = *tried == 0;
    struct pool_ask q = { .now_ms = clock_ms(), .excluded = *tried };
    if (is_first)
        pool_count(u->pool, q.now_ms);
    int i = pool_pick(u->pool, &q, ret_wait);
    if (i == -ENOENT && repeats) {
        struct timespec pause = { .tv_nsec = (long)(AGAIN_MS * NS_PER_MS) };
        (void)nanosleep(&pause, NULL);
        q = (struct pool_ask){ .now_ms = clock_ms() };
        *tried = 0;
        i = pool_pick(u->pool, &q, ret_wait);
    }
    return i < 0 || (!is_first && !pool_may_retry(u->pool, q.now_ms)) ? -EAGAIN : i;
}

/* Whether another endpoint may do better. */
static bool may_do_elsewhere(const struct waited *c, const struct fail *fail)
{
    return c->refused_status == 0 || fail_status(fail->code) >= 500 ||
           fail->code == FAIL_rate_limit_exceeded;
}

int upstream_call(struct upstream *u, const struct upstream_ask *a, unsigned *ret_status,
                  struct buf *ret_body, struct fail *reterr)
{
    uint64_t tried = 0, wait_ms = 0;
    int err = FAILED;
    (void)fail_set(reterr, FAIL_overloaded, "no engine behind '" STR_FMT "' can be asked now",
                   STR_ARG(str_head(u->name, LIMIT_NAME)));
    upstream_enter(u);
    bool goes_on = true, repeats = false;
    for (uint64_t attempt = 0; err != 0 && goes_on && attempt <= u->config->retries; attempt++) {
        int i = next_endpoint(u, &tried, repeats, &wait_ms);
        if (i < 0 && attempt == 0)
            reterr->retry_after_s = wait_ms ? (unsigned)((wait_ms + 999) / 1000) : 1;
        if (i < 0)
            break;
        struct waited c;
        tried |= 1ull << i;
        describe(&c, u, (unsigned)i, a);
        err = ask_one(&c, a, reterr);
        goes_on = may_do_elsewhere(&c, reterr);
        repeats = c.may_repeat;
        if (ret_status)
            *ret_status = c.refused_status;
        if (ret_body && err != 0 && c.refused_status) {
            buf_clear(ret_body);
            buf_add(ret_body, buf_str(&c.body));
        }
        waited_done(&c);
    }
    upstream_leave(u);
    return err;
}
