#include "engine/upstream/upstream_embed.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

enum { SECRET_BYTES = 64 * 1024 };

struct embed_call {
    struct upstream *upstream;
    unsigned endpoint;
    const struct provider *provider;
    struct chat_request request; /* says nothing: what a job must have */
    struct provider_job job;
    struct provider_call call;
    struct transport_task begin;
    struct transport_loop *loop;
    struct call *http;
    unsigned status;
    struct buf body;
    struct arena *arena;
    struct call_head head;
    struct call_end end;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool is_over;
};

#define OF_MEMBER(type, member, p)                                                                 \
    ((type *)(void *)((char *)(p)-offsetof(type, member))) /* NOLINT(bugprone-macro-parentheses)   \
                                                            */

static void over(struct embed_call *c)
{
    LOCKED(&c->lock);
    c->is_over = true;
    (void)pthread_cond_signal(&c->ended);
}

static void on_head(void *owner, const struct call_head *head)
{
    struct embed_call *c = owner;
    struct chat_pair *copies = arena_array(c->arena, head->n + 1, sizeof(*copies));
    c->status = head->status;
    c->head = (struct call_head){ head->status, copies, 0 };
    for (size_t i = 0; copies && i < head->n; i++)
        copies[c->head.n++] = (struct chat_pair){ arena_str(c->arena, head->headers[i].key),
                                                  arena_str(c->arena, head->headers[i].value) };
}

static void on_body(void *owner, struct str bytes)
{
    struct embed_call *c = owner;
    buf_add(&c->body, bytes); /* an error of it is looked at once all came */
}

static void on_end(void *owner, const struct call_end *end)
{
    struct embed_call *c = owner;
    c->end = *end;
    c->http = call_unref(c->http);
    over(c);
}

static const struct call_handler handler = { on_head, on_body, on_end };

static void run_begin(struct transport_task *task)
{
    struct embed_call *c = OF_MEMBER(struct embed_call, begin, task);
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

static int write_call(struct embed_call *c, const struct embed_input *inputs, size_t n,
                      struct fail *reterr)
{
    CLEANUP(buf_done) struct buf secret = BUF_INIT(SECRET_BYTES);
    int err = credentials_get(c->upstream->credentials, c->endpoint, STR_NULL, &secret, reterr);
    if (err != 0)
        return err;
    c->job.secret = buf_str(&secret);
    err = c->provider->write_embed(&c->call, &c->job, inputs, n, reterr);
    if (err == 0)
        err = buf_err(&c->call.url) < 0 ? buf_err(&c->call.url) : buf_err(&c->call.body);
    c->job.secret = STR_NULL;
    if (secret.p)
        OPENSSL_cleanse(secret.p, secret.cap);
    return err;
}

static int read_call(struct embed_call *c, size_t n, struct embed_result *ret, struct pool_end *end,
                     struct fail *reterr)
{
    end->outcome = POOL_fault;
    if (c->end.outcome != CALL_complete)
        return fail_set(reterr, FAIL_upstream_error, "%s: %s", c->provider->name, c->end.message);
    if (c->status != 200) {
        struct provider_refusal r = { .kind = REFUSAL_broken };
        c->provider->refusal(&c->job, &c->head, buf_str(&c->body), &r);
        *reterr = r.fail;
        end->outcome = r.kind == REFUSAL_broken  ? POOL_fault
                       : r.kind == REFUSAL_later ? POOL_busy
                                                 : POOL_neutral;
        end->retry_after_ms = (uint64_t)r.fail.retry_after_s * 1000;
        return FAILED;
    }
    int err = buf_err(&c->body);
    if (err == 0)
        err = c->provider->read_embed(&c->job, buf_str(&c->body), n, ret, reterr);
    if (err == 0)
        end->outcome = POOL_ok;
    return err;
}

static void describe(struct embed_call *c, struct upstream *u, unsigned endpoint)
{
    const struct config_endpoint *e = upstream_endpoint(u, endpoint);
    *c = (struct embed_call){ .upstream = u, .endpoint = endpoint };
    c->provider = provider_of(e->provider);
    c->loop = transport_loop(u->transport, u->next_loop++);
    c->request.n = 1;
    c->job = (struct provider_job){ .request = &c->request,
                                    .upstream = u->config,
                                    .endpoint = e,
                                    .model = e->model,
                                    .now_s = clock_wall_s() };
    c->call.url = BUF_INIT(64 * KIB);
    c->call.body = BUF_INIT(LIMIT_UPSTREAM_BODY);
    c->body = BUF_INIT(LIMIT_UPSTREAM_ANSWER);
    c->begin.run = run_begin;
}

static int ask(struct upstream *u, unsigned endpoint, const struct embed_input *inputs, size_t n,
               struct embed_result *ret, struct fail *reterr)
{
    struct embed_call c;
    struct pool_end end = { .outcome = POOL_neutral };
    describe(&c, u, endpoint);
    if (!c.provider->write_embed)
        return fail_param(reterr, FAIL_unsupported_parameter, "model",
                          "%s computes no embeddings here", c.provider->name);
    c.arena = arena_new(4 * MIB);
    c.call.arena = arena_new(MIB);
    (void)pthread_mutex_init(&c.lock, /* attr= */ NULL);
    int err = c.arena && c.call.arena ? thread_cond_init(&c.ended) : -ENOMEM;
    bool has_cond = err == 0;
    if (err == 0)
        err = write_call(&c, inputs, n, reterr);
    if (err == 0) {
        pool_begin(u->pool, endpoint, clock_ms());
        transport_post(c.loop, &c.begin);
        {
            LOCKED(&c.lock);
            while (!c.is_over)
                (void)pthread_cond_wait(&c.ended, &c.lock);
        }
        err = read_call(&c, n, ret, &end, reterr);
        end.now_ms = clock_ms();
        end.first_us = c.end.first_byte_us;
        pool_end(u->pool, endpoint, &end);
    }
    provider_call_done(&c.call);
    buf_done(&c.body);
    (void)arena_free(c.arena);
    if (has_cond)
        (void)pthread_cond_destroy(&c.ended);
    (void)pthread_mutex_destroy(&c.lock);
    return err;
}

int upstream_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr)
{
    struct upstream *u = (struct upstream *)(void *)e;
    uint64_t tried = 0, wait_ms = 0;
    int err = FAILED;
    (void)fail_set(reterr, FAIL_overloaded, "no engine behind '" STR_FMT "' can be asked now",
                   STR_ARG(str_head(u->name, LIMIT_NAME)));
    upstream_enter(u);
    for (uint64_t attempt = 0; err != 0 && attempt <= u->config->retries; attempt++) {
        struct pool_ask q = { .now_ms = clock_ms(), .excluded = tried };
        if (attempt == 0)
            pool_count(u->pool, q.now_ms);
        int i = pool_pick(u->pool, &q, &wait_ms);
        if (i < 0 || (attempt && !pool_may_retry(u->pool, q.now_ms)))
            break;
        tried |= 1ull << i;
        err = ask(u, (unsigned)i, inputs, n, ret, reterr);
        if (err == FAILED && fail_status(reterr->code) < 500 &&
            reterr->code != FAIL_rate_limit_exceeded)
            break; /* the inputs are at fault */
    }
    upstream_leave(u);
    return err;
}
