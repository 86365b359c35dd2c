#include "engine/upstream/attempt.h"

#include "base/clock.h"
#include "base/limits.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

enum {
    SECRET_BYTES = 64 * 1024,
    PASSED_OVER_MAX = 64 * 1024, /* bytes behind a complete answer, before its connection goes */
};

struct attempt {
    struct upstream *upstream;
    struct transport_loop *loop;
    unsigned endpoint;
    const struct attempt_handler *handler; /* NULL: dropped */
    void *owner;
    const struct provider *provider;
    struct provider_job job;
    struct chat_pair body_member; /* of job.adapter */
    struct provider_call call;
    struct call *http;
    struct provider_reader *reader;
    unsigned status;
    struct buf refusal;    /* body of an answer that is no success */
    struct call_head head; /* of http */
    uint64_t started_us;
    bool inside;      /* a callback of the call is running: it may not be freed below it */
    bool is_over;     /* its call has ended */
    bool has_ended;   /* done or failed was told */
    bool is_complete; /* it was done; what follows of the body is passed over */
    size_t passed_over;
};

void *attempt_owner(const struct attempt *a)
{
    return a->owner;
}

unsigned attempt_endpoint(const struct attempt *a)
{
    return a->endpoint;
}

uint64_t attempt_started_us(const struct attempt *a)
{
    return a->started_us;
}

size_t attempt_headers(const struct attempt *a, struct chat_pair out[ATTEMPT_HEADERS])
{
    return passing_response_headers(&a->head, out, ATTEMPT_HEADERS);
}

static void free_attempt(struct attempt *a)
{
    struct upstream *u = a->upstream;
    if (a->reader)
        a->provider->reader_free(a->reader);
    provider_call_done(&a->call);
    (void)call_unref(a->http);
    buf_done(&a->refusal);
    free(a);
    upstream_leave(u);
}

void attempt_drop(struct attempt *a)
{
    if (!a)
        return;
    a->handler = NULL;
    if (a->is_over && !a->inside) {
        free_attempt(a);
        return;
    }
    /* A complete answer lets its connection go back to the others; the call's end frees us. */
    if (!a->is_over && !a->is_complete)
        call_cancel(a->http);
}

void attempt_pause(struct attempt *a, bool paused)
{
    if (!a->is_over)
        call_pause(a->http, paused);
}

/* ---- failures ---- */

static void tell_failure(struct attempt *a, const struct attempt_failure *why)
{
    if (a->handler && !a->has_ended) {
        a->has_ended = true;
        a->handler->failed(a, why);
    }
}

static const char *endpoint_name(const struct attempt *a)
{
    return upstream_endpoint(a->upstream, a->endpoint)->name.p;
}

/* What a broken exchange means to the client, and whether it may be repeated. */
static void failure_of(const struct attempt *a, const struct call_end *end,
                       struct attempt_failure *ret)
{
    bool late = call_is_late(end->outcome);
    *ret = (struct attempt_failure){ .kind = REFUSAL_broken };
    ret->cause = end->was_sent ? RETRY_broken : RETRY_connect;
    if (end->outcome == CALL_failed) {
        ret->kind = REFUSAL_later;
        ret->cause = RETRY_busy;
        (void)fail_set(&ret->fail, FAIL_overloaded,
                       "the gateway could not call the engine behind: %s", end->message);
        ret->fail.retry_after_s = 1;
        return;
    }
    (void)fail_set(&ret->fail, late ? FAIL_timeout : FAIL_upstream_error, "%s (%s): %s",
                   a->provider->name, endpoint_name(a), end->message);
}

static void tell_refusal(struct attempt *a)
{
    struct provider_refusal r = { .kind = REFUSAL_broken };
    struct chat_pair headers[ATTEMPT_HEADERS];
    a->provider->refusal(&a->job, &a->head, buf_str(&a->refusal), &r);
    struct attempt_failure why = {
        .kind = r.kind,
        .fail = r.fail,
        .status = r.body.n ? a->status : 0,
        .body = r.body,
        .no_adapter = r.no_adapter,
        .cause = r.kind == REFUSAL_broken  ? RETRY_server
                 : r.kind == REFUSAL_later ? RETRY_busy
                                           : 0,
        .headers = headers,
        .n_headers = attempt_headers(a, headers),
    };
    tell_failure(a, &why);
}

/* ---- the answer ---- */

static void on_event(void *owner, const struct engine_event *e)
{
    struct attempt *a = owner;
    if (!a->handler || a->has_ended)
        return;
    if (e->kind == ENGINE_EVENT_failed) { /* in the middle of an answer of status 200 */
        struct attempt_failure why = { .kind = REFUSAL_broken, .fail = *e->fail };
        bool busy = e->fail->code == FAIL_overloaded || e->fail->code == FAIL_rate_limit_exceeded;
        why.cause = busy ? RETRY_busy : RETRY_server;
        if (busy)
            why.kind = REFUSAL_later;
        else if (e->fail->code == FAIL_invalid_request ||
                 e->fail->code == FAIL_context_length_exceeded ||
                 e->fail->code == FAIL_content_policy_violation)
            why.kind = REFUSAL_final;
        tell_failure(a, &why);
        return;
    }
    a->has_ended = a->is_complete = e->kind == ENGINE_EVENT_done;
    a->handler->event(a, e);
}

static void fail_here(struct attempt *a, int err)
{
    struct attempt_failure why = { .kind = REFUSAL_later };
    (void)fail_errno(&why.fail, err, "reading the answer of the engine behind");
    tell_failure(a, &why);
    if (!a->is_over)
        call_cancel(a->http);
}

static void leave(struct attempt *a)
{
    a->inside = false;
    if (!a->handler && a->is_over)
        free_attempt(a);
}

static void on_head(void *owner, const struct call_head *head)
{
    struct attempt *a = owner;
    a->inside = true;
    a->status = head->status;
    a->head = *head;
    if (call_is_sent(a->http))
        provider_call_done(&a->call); /* a stream may last: it holds no more than it needs */
    if (a->handler && head->status == 200) {
        struct reader_out out = { on_event, a };
        a->reader = a->provider->reader_new(&a->job, &a->head, out);
        if (!a->reader)
            fail_here(a, -ENOMEM);
    }
    leave(a);
}

static void on_body(void *owner, struct str bytes)
{
    struct attempt *a = owner;
    if (!a->handler || a->has_ended) {
        a->passed_over += bytes.n;
        if (a->is_complete && a->passed_over > PASSED_OVER_MAX)
            call_cancel(a->http);
        return;
    }
    a->inside = true;
    int err = 0;
    if (a->reader)
        err = a->provider->read(a->reader, bytes);
    else
        buf_add(&a->refusal, str_head(bytes, LIMIT_UPSTREAM_REFUSAL - a->refusal.n));
    if (err < 0)
        fail_here(a, err);
    leave(a);
}

static void on_end(void *owner, const struct call_end *end)
{
    struct attempt *a = owner;
    struct attempt_failure why;
    a->inside = true;
    a->is_over = true;
    if (a->handler && !a->has_ended) {
        if (end->outcome == CALL_complete && a->reader)
            a->provider->end(a->reader);
        else if (end->outcome == CALL_complete || (end->has_head && a->status != 200))
            tell_refusal(a); /* what came of a refusal is enough */
        if (a->handler && !a->has_ended) {
            failure_of(a, end, &why);
            tell_failure(a, &why);
        }
    }
    leave(a);
}

static const struct call_handler call_handler = { on_head, on_body, on_end };

/* ---- writing ---- */

static int write_call(struct attempt *a, const struct attempt_spec *spec,
                      struct attempt_failure *reterr)
{
    CLEANUP(buf_done) struct buf secret = BUF_INIT(SECRET_BYTES);
    const struct engine_spec *s = spec->spec;
    int err = credentials_get(a->upstream->credentials, a->endpoint, s->tenant_name, &secret,
                              &reterr->fail);
    if (err != 0) {
        reterr->kind = REFUSAL_elsewhere;
        return err;
    }
    a->job.secret = buf_str(&secret);
    reterr->kind = REFUSAL_elsewhere;
    err = a->provider->write(&a->call, &a->job, &reterr->fail);
    if (err == 0)
        err = buf_err(&a->call.url) < 0 ? buf_err(&a->call.url) : buf_err(&a->call.body);
    a->job.secret = STR_NULL;
    if (secret.p)
        OPENSSL_cleanse(secret.p, secret.cap);
    return err;
}

static void describe(struct attempt *a, const struct attempt_spec *spec)
{
    const struct engine_spec *s = spec->spec;
    const struct config_endpoint *e = upstream_endpoint(a->upstream, a->endpoint);
    a->job = (struct provider_job){
        .request = s->request,
        .choice = s->choice,
        .verbatim = spec->verbatim,
        .upstream = a->upstream->config,
        .endpoint = e,
        .model = spec->adapter && spec->adapter->name[0] ? str_of(spec->adapter->name) : e->model,
        .now_s = clock_wall_s(),
        .request_id = s->request_id.p,
        .headers = s->headers,
        .n_headers = s->n_headers,
    };
    a->body_member = spec->adapter ? spec->adapter->body : spec->base_body;
    a->job.adapter = a->body_member.key.n ? &a->body_member : NULL;
}

static int start_call(struct attempt *a, uint64_t deadline_ms)
{
    struct call_spec c = { .method = "POST",
                           .url = a->call.url.p,
                           .headers = a->call.headers,
                           .n_headers = a->call.n_headers,
                           .body = buf_str(&a->call.body),
                           .deadline_ms = deadline_ms,
                           .handler = &call_handler,
                           .owner = a };
    upstream_call_spec(a->upstream, a->endpoint, &c);
    return call_start(a->loop, &a->http, &c);
}

static void cannot(struct attempt_failure *reterr, int err)
{
    if (err < 0)
        (void)fail_errno(&reterr->fail, err, "writing to the engine behind");
}

int attempt_start(struct attempt **ret, const struct attempt_spec *spec,
                  struct attempt_failure *reterr)
{
    *reterr = (struct attempt_failure){ .kind = REFUSAL_later };
    struct attempt *a = calloc(1, sizeof(*a));
    if (!a) {
        cannot(reterr, -ENOMEM);
        return FAILED;
    }
    a->upstream = spec->upstream;
    a->loop = spec->loop;
    a->endpoint = spec->endpoint;
    a->handler = spec->handler;
    a->owner = spec->owner;
    a->started_us = transport_now_us(a->loop);
    a->provider = provider_of(upstream_endpoint(a->upstream, a->endpoint)->provider);
    a->refusal = BUF_INIT(LIMIT_UPSTREAM_REFUSAL);
    a->call.url = BUF_INIT(64 * KIB);
    a->call.body = BUF_INIT(LIMIT_UPSTREAM_BODY);
    upstream_enter(a->upstream);
    a->call.arena = arena_new(MIB);
    int err = a->call.arena ? 0 : -ENOMEM;
    if (err == 0) {
        describe(a, spec);
        err = write_call(a, spec, reterr);
    }
    if (err == 0)
        err = start_call(a, spec->deadline_ms);
    if (err != 0) {
        cannot(reterr, err);
        free_attempt(a);
        return FAILED;
    }
    *ret = a;
    return 0;
}
