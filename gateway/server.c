#include "gateway/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/upstream/transport.h"
#include "gateway/answer.h"
#include "gateway/api/api.h"
#include "gateway/api/error.h"
#include "gateway/batch.h"
#include "gateway/canary.h"
#include "gateway/daemon.h"
#include "gateway/detached.h"
#include "gateway/head.h"
#include "gateway/heads.h"
#include "gateway/kept.h"
#include "gateway/listen.h"
#include "gateway/record.h"
#include "gateway/replay.h"
#include "gateway/shadow.h"
#include "gateway/vsr.h"
#include "gateway/work.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IDLE_S = 75, /* of a connection that neither sends nor reads */
    /* libmicrohttpd reads a stream that is sent in chunks into its own memory; this much at once is
     * read for clients of HTTP/1.0. */
    STREAM_BLOCK = 1024,
    REPLY_HEAD = 4 * 1024, /* bytes for it, and for what is noted of the request's head */
    WORKERS = 4,
    WORK_MAX = 1024,           /* look-ups waiting before 503 */
    CHANGERS = 8,              /* changes of the catalog under way at once */
    CHANGES_MAX = 1024,        /* of them waiting before 503 */
    COMPUTERS = 4,             /* embeddings and tokenisations at once; they share the cores */
    COMPUTE_MAX = 128,         /* of them waiting before 429 */
    DROP_BODY_MAX = 64 * 1024, /* a refused body that is read to keep the connection */
};

struct server {
    struct core *core; /* borrowed */
    struct daemons *daemons;
    struct watch *watch;
    struct heads *heads;
    struct work *work, *changes, *compute;
    struct replay *replay;
    struct kept *kept;
    struct detached *detached;
    struct batches *batches;   /* NULL: not configured */
    struct canaries *canaries; /* NULL where there are no adapters */
    struct shadows *shadows;   /* likewise */
    pthread_mutex_t lock;
    struct state *state; /* current; under the lock */
    _Atomic unsigned active;
    _Atomic bool draining;
    char address[LISTEN_ADDRESS];
};

/* ---- for requests ---- */

struct watch *server_watch(struct server *s)
{
    return s->watch;
}

struct replay *server_replay(struct server *s)
{
    return s->replay;
}

struct canaries *server_canaries(struct server *s)
{
    return s->canaries;
}

struct shadows *server_shadows(struct server *s)
{
    return s->shadows;
}

struct kept *server_kept(struct server *s)
{
    return s->kept;
}

struct detached *server_detached(struct server *s)
{
    return s->detached;
}

struct batches *server_batches(struct server *s)
{
    return s->batches;
}

struct state *server_state(struct server *s)
{
    LOCKED(&s->lock);
    return state_ref(s->state);
}

void server_forget(struct server *s)
{
    s->active--;
}

bool server_is_draining(const struct server *s)
{
    return s->draining;
}

unsigned server_active(const struct server *s)
{
    return s->active;
}

const char *server_address(const struct server *s)
{
    return s->address;
}

static int connection_fd(struct request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void watch_client(struct request *r)
{
    static struct log_rate rate;
    if (r->watch.added || !r->connection)
        return;
    int err = watch_add(r->server->watch, &r->watch, r, connection_fd(r));
    if (err < 0)
        log_rated(&rate, LOG_warn, "watch", "cause=%s, continuing", strerror(-err));
}

bool server_suspend(struct request *r)
{
    watch_client(r);
    return flow_suspend(&r->flow);
}

static enum next step_work(struct request *r)
{
    {
        LOCKED(&r->flow.lock);
        if (!r->worked)
            return NEXT_wait; /* also for a client that left: the work uses the request */
    }
    if (flow_ended(&r->flow))
        return NEXT_close;
    r->step = r->after_work;
    return r->step(r);
}

/* 0, or as work_put: then nothing happened. */
static int put_item(struct work *w, struct request *r, void (*fn)(struct request *r))
{
    {
        LOCKED(&r->flow.lock);
        r->worked = false;
    }
    r->work = fn;
    int err = work_put(w, request_ref(r));
    if (err != 0)
        request_unref(r);
    return err;
}

static int put_work(struct work *w, struct request *r, void (*fn)(struct request *r),
                    enum next (*then)(struct request *r))
{
    r->after_work = then;
    r->step = step_work;
    return put_item(w, r, fn);
}

int server_work_aside(struct request *r, void (*fn)(struct request *r))
{
    return put_item(r->server->work, r, fn);
}

enum next server_work(struct request *r, void (*fn)(struct request *r),
                      enum next (*then)(struct request *r))
{
    int err = put_work(r->server->work, r, fn, then);
    if (err == 0)
        return step_work(r);
    struct fail fail;
    (void)fail_errno(&fail, err, "queueing the look-up");
    return reply_fail(r, &fail);
}

enum next server_change(struct request *r, void (*fn)(struct request *r),
                        enum next (*then)(struct request *r))
{
    int err = put_work(r->server->changes, r, fn, then);
    if (err == 0)
        return step_work(r);
    struct fail fail;
    (void)fail_errno(&fail, err, "queueing the change");
    return reply_fail(r, &fail);
}

enum next server_compute(struct request *r, void (*fn)(struct request *r),
                         enum next (*then)(struct request *r))
{
    int err = put_work(r->server->compute, r, fn, then);
    if (err == 0)
        return step_work(r);
    struct fail fail;
    if (err == -EAGAIN) {
        (void)fail_set(&fail, FAIL_queue_full, "%d requests of this kind are waiting already",
                       COMPUTE_MAX);
        fail.retry_after_s = 1;
    } else {
        (void)fail_errno(&fail, err, "queueing the request");
    }
    return reply_fail(r, &fail);
}

/* ---- replies ---- */

static bool has_header(const struct reply *p, const char *name)
{
    for (size_t i = 0; i < p->n_headers; i++)
        if (str_eq_nocase(p->headers[i].key, str_of(name)))
            return true;
    return false;
}

static void add_headers(struct request *r, struct MHD_Response *m)
{
    const struct reply *p = &r->reply;
    (void)MHD_add_response_header(m, "x-request-id", r->id);
    if (r->errors->id_header && !has_header(p, r->errors->id_header))
        (void)MHD_add_response_header(m, r->errors->id_header, r->id);
    if (p->type)
        (void)MHD_add_response_header(m, "Content-Type", p->type);
    if (p->close)
        (void)MHD_add_response_header(m, "Connection", "close");
    if (r->has_origin && (!r->endpoint || r->endpoint->cors)) {
        (void)MHD_add_response_header(m, "Access-Control-Allow-Origin", "*");
        (void)MHD_add_response_header(m, "Access-Control-Expose-Headers", "*");
    }
    for (size_t i = 0; i < p->n_headers; i++)
        (void)MHD_add_response_header(m, p->headers[i].key.p, p->headers[i].value.p);
}

static enum MHD_Result queue(struct request *r, struct MHD_Response *m)
{
    if (!m)
        return MHD_NO;
    add_headers(r, m);
    enum MHD_Result ok = MHD_queue_response(r->connection, r->reply.status, m);
    MHD_destroy_response(m);
    return ok;
}

static enum MHD_Result send_whole(struct request *r)
{
    size_t n = 0;
    (void)flow_close(&r->flow, FLOW_answered);
    vsr_headers(r);
    record_finish(r, /* gone= */ false);
    char *body = r->reply.body.n ? buf_take(&r->reply.body, &n) : NULL;
    return queue(r, body ? MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE)
                         : MHD_create_response_from_buffer(0, (void *)(uintptr_t) "",
                                                           MHD_RESPMEM_PERSISTENT));
}

static ssize_t on_read(void *cls, uint64_t pos, char *into, size_t max)
{
    (void)pos;
    struct request *r = cls;
    ptrdiff_t n = r->read ? r->read(r, into, max) : answer_read(r, into, max);
    if (n == -1)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

static enum MHD_Result send_stream(struct request *r)
{
    vsr_headers(r);
    return queue(r, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, r,
                                                      /* free= */ NULL));
}

static enum MHD_Result run(struct request *r)
{
    for (;;) {
        switch (r->step(r)) {
        case NEXT_reply:
            return send_whole(r);
        case NEXT_stream:
            return send_stream(r);
        case NEXT_close:
            return MHD_NO;
        case NEXT_wait:
            if (server_suspend(r))
                return MHD_YES;
        }
    }
}

/* ---- arrival ---- */

struct request *server_request(struct server *s, struct state *state)
{
    struct request *r = request_new(s, state_ref(state));
    if (!r) {
        (void)state_unref(state);
        return NULL;
    }
    s->active++;
    metrics_add(METRIC_requests_active, 1);
    return r;
}

static struct request *arrive(struct server *s, struct MHD_Connection *connection)
{
    CLEANUP(state_unrefp) struct state *state = server_state(s);
    struct request *r = server_request(s, state);
    if (!r)
        return NULL;
    r->connection = connection;
    r->flow.connection = connection;
    r->flow.loop = transport_here();
    r->body = BUF_INIT(state->config->gateway.body_bytes);
    return r;
}

static enum MHD_Result await_body(struct request *r, const struct framing *f)
{
    if (!f->has_body)
        return MHD_YES;
    upload_begin(r);
    watch_client(r);
    return MHD_YES;
}

/* A head that fills the connection's memory leaves libmicrohttpd none for an answer's. */
static enum MHD_Result refuse_head(struct request *r)
{
    struct refusal f = { r->reply.status, 0, buf_str(&r->reply.body) };
    (void)flow_close(&r->flow, FLOW_answered);
    r->reply.status = upload_reply(r, connection_fd(r), &f);
    r->unread_body = true;
    return MHD_NO;
}

/* A refusal goes out at once, unless the rest of a small body may as well be read first: that
 * keeps the connection. */
static enum MHD_Result refuse(struct request *r, const struct framing *f)
{
    r->refused = true;
    if (r->reply.status == MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE)
        return refuse_head(r);
    bool small = f->has_body && !f->is_chunked && f->length <= DROP_BODY_MAX;
    if (small && !f->expects_100 && !r->reply.close)
        return await_body(r, f);
    r->unread_body = f->has_body || r->reply.close;
    return send_whole(r);
}

/* libmicrohttpd takes no response in the middle of an upload: ours goes out by hand. */
static enum MHD_Result refuse_chunks(struct request *r)
{
    struct fail fail;
    (void)fail_set(&fail, FAIL_request_too_large, "the body has more than the %zu bytes served",
                   r->body.max);
    (void)upload_end(r); /* nobody else answers by hand from here */
    if (!r->upload.status)
        r->reply.status = upload_answer(r, connection_fd(r), &fail);
    r->unread_body = true;
    return MHD_NO;
}

static enum MHD_Result upload(struct request *r, const char *p, size_t *n)
{
    struct str part = { p, *n };
    *n = 0;
    upload_move(r, part.n);
    if (r->refused)
        return MHD_YES;
    buf_add(&r->body, part);
    int err = buf_err(&r->body);
    if (err == -EMSGSIZE)
        return refuse_chunks(r);
    return err == 0 ? MHD_YES : MHD_NO;
}

static enum MHD_Result received(struct request *r)
{
    if (upload_end(r))
        request_cancel(r, FLOW_gone);
    if (r->refused)
        return send_whole(r);
    uint64_t timeout_ms = r->state->config->gateway.request_timeout_ms;
    r->received_us = clock_us();
    if (timeout_ms)
        r->deadline_ms = r->received_us / 1000 + timeout_ms;
    r->step = r->endpoint->run;
    return run(r);
}

static struct head_wait *head_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* NOLINTNEXTLINE(readability-function-size): the library chose the parameters */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **context)
{
    (void)version;
    if (!thread_is(THREAD_http) && !thread_is(THREAD_upstream)) /* on which it may be hosted */
        thread_adopt(THREAD_http);
    struct request *r = *context;
    if (!r) {
        struct framing f;
        if (!heads_begin(head_of(connection)))
            return MHD_NO;
        r = arrive(cls, connection);
        if (!r)
            return MHD_NO;
        *context = r;
        return head_accept(r, url, method, &f) ? await_body(r, &f) : refuse(r, &f);
    }
    if (*n)
        return upload(r, data, n);
    return r->step ? run(r) : received(r);
}

/* ---- departure ---- */

/* Of what was asked of an engine, by its prices; negative: they are not known. */
static double count_cost(const struct request *r, struct str *ret_currency)
{
    enum { MILLION = 1000000 };
    double cost = r->answer && r->answer->n_choices ? answer_cost(r->answer, ret_currency) : -1;
    if (cost >= 0)
        metrics_add(METRIC_cost_millionths_total, (int64_t)(cost * MILLION + 0.5));
    return cost;
}

static void add_pair(struct buf *line, struct str key, struct str value)
{
    enum { VALUE = 240 }; /* bytes of it in the line */
    buf_add(line, key);
    buf_add(line, value.n ? str_head(value, VALUE) : STR("-"));
}

/* To the millionth of a millionth, which is far less than any token costs. */
static void add_cost(struct buf *line, double cost, struct str currency)
{
    bool is_large = cost >= 1e6;
    buf_adds(line, " cost=");
    buf_add_decimal(line, (uint64_t)(cost * (is_large ? 1e6 : 1e12) + 0.5), is_large ? 6 : 12);
    buf_add(line, str_head(currency, 16));
}

static void log_request(const struct request *r, unsigned status, uint64_t us, double cost,
                        struct str currency)
{
    char text[1024];
    struct buf line = BUF_ON(text);
    add_pair(&line, STR("req="), str_of(r->id));
    buf_add(&line, STR(" status="));
    buf_add_u64(&line, status);
    add_pair(&line, STR(" route="), str_of(r->endpoint ? r->endpoint->path : NULL));
    add_pair(&line, STR(" model="), r->log_model);
    add_pair(&line, STR(" adapter="), r->log_adapter);
    add_pair(&line, STR(" decision="), r->log_decision);
    buf_add(&line, STR(" tokens="));
    buf_add_u64(&line, r->log_tokens);
    buf_add(&line, STR(" ms="));
    buf_add_u64(&line, (us + 50) / 1000);
    buf_addc(&line, '.');
    buf_add_u64(&line, (us + 50) / 100 % 10);
    if (cost >= 0)
        add_cost(&line, cost, currency);
    log_pairs(LOG_info, "request", buf_str(&line));
}

static void account(struct request *r, bool complete)
{
    unsigned status = r->reply.status;
    uint64_t us = clock_us() - r->accepted_us;
    if (!complete || status == 0)
        status = flow_ended(&r->flow) == FLOW_shutdown ? 503 : 499;
    if (status == 499)
        metrics_add(METRIC_clients_gone_total, 1);
    if (r->answer && r->answer->n_choices) {
        struct engine_usage u = answer_usage(r->answer);
        r->log_tokens = (uint64_t)u.prompt_tokens + u.completion_tokens;
    }
    metrics_add_label(METRIC_requests_total, status / 100 - 1, 1);
    metrics_observe_us(METRIC_request_seconds, us);
    metrics_add(METRIC_requests_active, -1);
    struct str currency = STR_NULL;
    double cost = count_cost(r, &currency);
    bool quiet = r->endpoint && r->endpoint->open && status < 300;
    if (!quiet) /* probes and scrapes would drown the rest */
        log_request(r, status, us, cost, currency);
}

void server_depart(struct request *r, bool complete)
{
    if (r->answer)
        answer_abandon(r->answer);
    record_finish(r, /* gone= */ true); /* unless its answer has ended */
    account(r, complete);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct server *s = cls;
    struct request *r = *context;
    *context = NULL;
    heads_end(head_of(connection));
    if (!r)
        return;
    watch_remove(s->watch, &r->watch);
    if (r->unread_body) {
        int fd = dup(connection_fd(r));
        if (fd >= 0) {
            (void)shutdown(fd, SHUT_WR);
            watch_linger(s->watch, fd);
        }
    }
    flow_completed(&r->flow);
    request_settle_here(r);
    if (r->upload.status) /* the watch has let go of it */
        r->reply.status = r->upload.status;
    bool complete =
        code == MHD_REQUEST_TERMINATED_COMPLETED_OK || r->unread_body || r->upload.status;
    if (!complete)
        request_cancel(r, FLOW_gone);
    server_depart(r, complete);
    request_unref(r);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *s = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = info ? heads_open(s->heads, info->connect_fd) : NULL;
    } else {
        heads_close(s->heads, *context);
        *context = NULL;
        daemons_left();
    }
}

static uint64_t head_time_ms(void *ctx)
{
    CLEANUP(state_unrefp) struct state *state = server_state(ctx);
    return state->config->gateway.head_time_ms;
}

static PRINTF_LIKE(2, 0) void on_mhd_log(void *cls, const char *fmt, va_list args)
{
    (void)cls;
    static struct log_rate rate;
    char text[256];
    (void)vsnprintf(text, sizeof(text), fmt, args);
    size_t n = strcspn(text, "\n");
    log_rated(&rate, LOG_debug, "http", "text=\"%.*s\"", (int)n, text);
}

/* Paths are decoded by us, once: an encoded slash belongs to its segment. So are queries, where
 * they are read. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *s)
{
    (void)cls;
    (void)connection;
    return strlen(s);
}

/* ---- life ---- */

static void register_labels(void)
{
    static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
    static const char *const stages[] = { "prompt", "stream" };
    static const char *const outcomes[] = { "matched", "default" };
    metrics_label(METRIC_requests_total, classes, ARRAY_LEN(classes));
    metrics_label(METRIC_plugin_blocks_total, stages, ARRAY_LEN(stages));
    metrics_label(METRIC_plugin_rewrites_total, stages, ARRAY_LEN(stages));
    metrics_label(METRIC_route_decisions_total, outcomes, ARRAY_LEN(outcomes));
}

static struct MHD_Daemon *start_daemon(void *ctx, int fd, unsigned flags, unsigned threads,
                                       unsigned connections)
{
    struct server *s = ctx;
    const struct config_gateway *g = &s->state->config->gateway;
    /* The request's head, and what the library notes of it, and the answer's head. Half
     * of it is zeroed for each request. */
    size_t memory = (size_t)g->header_bytes + REPLY_HEAD;
    return MHD_start_daemon(
        flags, 0, /* policy= */ NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log,
        s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, threads,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, s, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_LIMIT,
        connections, MHD_OPTION_END);
}

static struct server *server_free(struct server *s)
{
    if (!s)
        return NULL;
    (void)batches_free(s->batches);
    (void)shadows_free(s->shadows);
    (void)canaries_free(s->canaries);
    (void)work_free(s->changes);
    (void)work_free(s->compute);
    (void)work_free(s->work);
    (void)heads_free(s->heads);
    (void)watch_free(s->watch);
    (void)replay_free(s->replay);
    (void)detached_free(s->detached);
    (void)kept_free(s->kept);
    (void)state_unref(s->state);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
DEFINE_CLEANUP(struct server *, server_free);

static bool is_unwanted(void *ctx, const char *key)
{
    return kept_is_stopped(ctx, key);
}

int server_start(struct server **ret, struct core *core, struct state *state, struct str listen,
                 struct fail *reterr)
{
    CLEANUP(server_freep) struct server *s = calloc(1, sizeof(*s));
    if (!s) {
        (void)state_unref(state);
        return -ENOMEM;
    }
    s->core = core;
    s->state = state;
    (void)pthread_mutex_init(&s->lock, /* attr= */ NULL);
    register_labels();
    int fd = -1;
    s->replay = replay_new(REPLAY_RECORDS, REPLAY_BYTES);
    int r = s->replay ? watch_new(&s->watch) : -ENOMEM;
    if (r == 0)
        r = heads_new(&s->heads, head_time_ms, s);
    if (r == 0)
        r = work_new(&s->work, WORKERS, WORK_MAX);
    if (r == 0)
        r = work_new(&s->changes, CHANGERS, CHANGES_MAX);
    if (r == 0)
        r = work_new(&s->compute, COMPUTERS, COMPUTE_MAX);
    if (r == 0 && core->adapters)
        r = canaries_new(&s->canaries, core->adapters);
    if (r == 0 && core->adapters)
        r = shadows_new(&s->shadows, core->adapters);
    if (r == 0)
        r = kept_new(&s->kept, state->config, reterr);
    if (r == 0)
        r = detached_new(&s->detached, kept_blocks(s->kept) ? is_unwanted : NULL, s->kept);
    const struct config_batches *batches = &state->config->gateway.batches;
    if (r == 0 && batches->folder.n)
        r = batches_new(&s->batches, s, batches, reterr);
    if (r == 0)
        r = listen_open(&fd, s->address, listen, reterr);
    if (r != 0)
        return r;
    r = daemons_new(&s->daemons, &(struct daemons_spec){ .fd = fd,
                                                         .config = &state->config->gateway,
                                                         .transport = core->transport,
                                                         .start = start_daemon,
                                                         .ctx = s });
    if (r < 0)
        return fail_set(reterr, FAIL_internal_error, "the HTTP server did not start: %s",
                        strerror(-r));
    r = s->batches ? batches_begin(s->batches) : 0;
    if (r < 0) {
        s->daemons = daemons_free(s->daemons);
        return r;
    }
    *ret = TAKE(s);
    return 0;
}

void server_publish(struct server *s, struct state *state)
{
    struct state *old = NULL;
    {
        LOCKED(&s->lock);
        old = s->state;
        s->state = state;
    }
    (void)state_unref(old);
}

void server_drain(struct server *s)
{
    s->draining = true;
    batches_drain(s->batches);
}

void server_cancel_all(struct server *s)
{
    watch_cancel_all(s->watch);
    detached_cancel_all(s->detached);
}

int server_stop(struct server *s)
{
    if (s->active > 0)
        return FAILED; /* stopping with suspended connections is forbidden */
    s->daemons = daemons_free(s->daemons);
    (void)server_free(s);
    return 0;
}
