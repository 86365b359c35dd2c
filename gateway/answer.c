#include "gateway/answer.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "gateway/api/routed.h"
#include "gateway/behind.h"
#include "gateway/caller.h"
#include "gateway/choices.h"
#include "gateway/observe.h"
#include "gateway/parts.h"
#include "gateway/prompt.h"
#include "gateway/record.h"
#include "gateway/server.h"
#include "gateway/shadow.h"
#include "gateway/shutdown.h"
#include "gateway/vsr.h"

#include <errno.h>
#include <stdatomic.h>

static struct answer *new_answer(struct request *r, const struct dialect *d)
{
    struct answer *a = arena_alloc(r->arena, sizeof(*a));
    if (!a)
        return NULL;
    a->request = r;
    a->dialect = d;
    a->out = BUF_INIT(LIMIT_REQUEST_ARENA);
    struct buf id = BUF_ON(a->id);
    buf_adds(&id, d->id_prefix);
    buf_adds(&id, r->made + strlen("req_"));
    return a;
}

static bool is_stream(const struct answer *a)
{
    return a->chats[0].stream;
}

static enum next fail_with(struct answer *a, int err, const char *doing)
{
    struct fail fail;
    (void)fail_errno(&fail, err, doing);
    return reply_fail(a->request, &fail);
}

bool answer_shows_logprobs(const struct answer *a)
{
    return a->chats[0].logprobs && !chain_has_stream(a->chain);
}

/* ---- events → text that may leave ---- */

static void emit(struct choice *c, struct str text, const struct engine_event *e)
{
    struct answer *a = c->answer;
    if (text.n == 0 && !(e && e->n_tokens && answer_shows_logprobs(a)))
        return;
    if (!is_stream(a)) {
        a->dialect->collect(a, c, text, e);
        return;
    }
    record_text(a->request, text);
    a->dialect->text(a, c, text, e, &a->out);
}

static void end_choice(struct choice *c, enum finish_reason finish)
{
    struct answer *a = c->answer;
    if (c->ended)
        return;
    c->ended = true;
    c->finish = finish;
    if (is_stream(a) && !a->is_verbatim)
        a->dialect->end(a, c, &a->out);
}

void answer_fail(struct answer *a, const struct fail *fail)
{
    if (a->is_failed)
        return;
    a->is_failed = true;
    a->failed = *fail;
    observe_end(a, fail);
}

bool answer_guard(struct choice *c, struct chain_run *run, struct str text, bool end,
                  struct buf *out)
{
    struct fail fail = { 0 };
    enum verdict v = chain_push(run, text, end, out, &fail);
    int err = buf_err(out);
    if (err < 0) {
        (void)fail_errno(&fail, err, "guarding the answer");
        answer_fail(c->answer, &fail);
        buf_clear(out);
        return false;
    }
    if (v == VERDICT_changed)
        metrics_add_label(METRIC_plugin_rewrites_total, SERVER_STAGE_stream, 1);
    return v == VERDICT_block;
}

void answer_block(struct choice *c)
{
    metrics_add_label(METRIC_plugin_blocks_total, SERVER_STAGE_stream, 1);
    c->is_blocked = true;
    end_choice(c, FINISH_content_filter);
    if (c->job)
        engine_cancel(c->job);
}

/* Through the plugins' stream stage. `e`: the event behind the text, or NULL. */
static void pass(struct choice *c, struct str text, const struct engine_event *e, bool end)
{
    if (c->ended)
        return;
    if (!c->run) {
        emit(c, text, e);
        return;
    }
    CLEANUP(buf_done) struct buf out = BUF_INIT(LIMIT_SSE_EVENT);
    bool blocked = answer_guard(c, c->run, text, end, &out);
    emit(c, buf_str(&out), /* e= */ NULL);
    if (blocked)
        answer_block(c);
}

/* An echoed prompt is part of the answer: the guards see it too. */
static void begin_choice(struct choice *c)
{
    struct answer *a = c->answer;
    if (c->begun)
        return;
    c->begun = true;
    if (a->is_verbatim)
        return;
    if (is_stream(a))
        a->dialect->begin(a, c, &a->out);
    const struct chat_request *chat = &a->chats[c->chat];
    if (chat->echo && !a->is_canned && !chat->prompt_logprobs) /* else it comes with them */
        pass(c, chat->prompt, /* e= */ NULL, /* end= */ false);
}

static void take_event(struct answer *a, const struct flow_event *f)
{
    struct choice *c = &a->choices[f->choice];
    const struct engine_event *e = &f->event;
    switch (e->kind) {
    case ENGINE_EVENT_admitted:
        if (e->queue_us > a->queue_us)
            a->queue_us = e->queue_us;
        c->usage = e->usage;
        behind_take_headers(a, e);
        begin_choice(c);
        return;
    case ENGINE_EVENT_verbatim:
        begin_choice(c);
        behind_take_verbatim(c, e);
        return;
    case ENGINE_EVENT_text:
        begin_choice(c);
        if (!e->is_prompt) {
            observe_text(a);
            observe_shadow(c, e->text);
        }
        parts_leave(c);
        c->is_refusal = c->is_refusal || e->is_refusal;
        pass(c, e->text, e, /* end= */ false);
        return;
    case ENGINE_EVENT_reasoning:
    case ENGINE_EVENT_tool_call:
        observe_text(a);
        begin_choice(c);
        parts_take(c, e);
        return;
    case ENGINE_EVENT_done:
        c->usage = e->usage;
        c->mean_logprob = e->mean_logprob;
        c->stop = arena_str(a->request->arena, e->stop);
        c->done = true;
        a->n_done++;
        observe_shadow(c, e->text);
        begin_choice(c);
        parts_leave(c);
        pass(c, e->text, e, /* end= */ true);
        end_choice(c, e->finish);
        return;
    case ENGINE_EVENT_failed:
        c->usage = e->usage;
        c->done = true;
        a->n_done++;
        if (!c->ended) { /* one that we stopped may end this way */
            behind_take_refusal(a, e);
            answer_fail(a, e->fail);
        }
    }
}

/* Renders what has happened. */
static void take_events(struct answer *a)
{
    struct flow_event *list = flow_take(&a->request->flow);
    while (list) {
        struct flow_event *e = list;
        list = e->next;
        take_event(a, e);
        free(e);
    }
    if (a->n_done == a->n_choices && !a->is_failed)
        observe_end(a, /* fail= */ NULL);
    if (a->n_done == a->n_choices)
        request_settle_here(a->request);
}

static bool is_settled(struct answer *a)
{
    return !a->dialect->settle || a->dialect->settle(a);
}

static void finish_stream(struct answer *a)
{
    if (a->out_end || (!a->is_failed && a->n_done < a->n_choices) || !is_settled(a))
        return;
    if (a->is_failed) {
        a->dialect->fail(a, &a->failed, &a->out);
        a->out_end = true;
        record_finish(a->request, /* gone= */ false);
        answer_cancel(a);
        return;
    }
    a->dialect->finish(a, &a->out);
    a->out_end = true;
    record_finish(a->request, /* gone= */ false);
}

/* ---- the head ---- */

static void head(struct answer *a)
{
    struct request *r = a->request;
    if (a->has_revision) {
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, &a->revision->digest);
        reply_header(r, "x-rootstock-adapter", str_of(a->revision->adapter));
        reply_header(r, "x-rootstock-revision", str_of(hex));
        reply_header(r, "x-rootstock-residency", str_of(residency_word(a->residency)));
        if (a->revision->epoch)
            reply_header_u64(r, "x-catalog-epoch", a->revision->epoch);
    }
    reply_header_u64(r, "x-rootstock-overhead-us", a->overhead_us);
    reply_header_u64(r, "x-rootstock-queue-us", a->queue_us);
    metrics_observe_us(METRIC_overhead_seconds, a->overhead_us);
    r->log_tokens = answer_usage(a).completion_tokens;
}

static enum next reply_stream(struct answer *a)
{
    struct request *r = a->request;
    head(a);
    a->has_head = true;
    r->reply.status = 200;
    r->reply.type = "text/event-stream; charset=utf-8";
    reply_header(r, "Cache-Control", STR("no-cache"));
    reply_header(r, "X-Accel-Buffering", STR("no"));
    return NEXT_stream;
}

static enum next reply_whole(struct request *r)
{
    struct answer *a = r->answer;
    r->step = reply_whole;
    if (flow_ended(&r->flow))
        return NEXT_close;
    if (!is_settled(a))
        return NEXT_wait;
    if (!a->is_verbatim) {
        uint64_t from = clock_us();
        choices_rank(a);
        a->dialect->whole(a, &r->reply.body);
        a->overhead_us += clock_us() - from;
    }
    head(a);
    return reply_json(r);
}

/* ---- waiting for events ---- */

static enum next step_whole(struct request *r)
{
    struct answer *a = r->answer;
    if (flow_ended(&r->flow))
        return shutdown_reply(a);
    take_events(a);
    if (a->is_failed) {
        answer_cancel(a);
        return behind_reply_failed(a);
    }
    return a->n_done < a->n_choices ? NEXT_wait : reply_whole(r);
}

static bool any_begun(const struct answer *a)
{
    for (size_t i = 0; i < a->n_choices; i++)
        if (a->choices[i].begun)
            return true;
    return false;
}

/* The head of a stream waits for the first event, so that a failure still gets a status. */
static enum next step_head(struct request *r)
{
    struct answer *a = r->answer;
    if (flow_ended(&r->flow))
        return shutdown_reply(a);
    take_events(a);
    if (a->is_failed && !any_begun(a)) {
        answer_cancel(a);
        return behind_reply_failed(a);
    }
    if (any_begun(a))
        return reply_stream(a);
    if (!flow_take_beat(&r->flow))
        return NEXT_wait;
    a->dialect->beat(a, &a->out);
    return reply_stream(a);
}

ptrdiff_t answer_read(struct request *r, char *into, size_t max)
{
    struct answer *a = r->answer;
    for (;;) {
        enum flow_end end = flow_ended(&r->flow);
        if (end == FLOW_shutdown)
            shutdown_tell(a);
        else if (end != FLOW_open && end != FLOW_answered)
            return -2;
        if (a->is_leasing)
            (void)r->step(r); /* what fails is told by finish_stream */
        if (a->out.n == 0 &&
            !a->out_end) { /* else the client reads slower than the engine writes */
            take_events(a);
            behind_resume(a);
            finish_stream(a);
        }
        if (flow_take_beat(&r->flow) && a->out.n == 0 && !a->out_end)
            a->dialect->beat(a, &a->out);
        if (buf_err(&a->out) < 0) {
            request_cancel(r, FLOW_slow);
            return -2;
        }
        if (a->out.n) {
            size_t n = a->out.n < max ? a->out.n : max;
            memcpy(into, a->out.p, n);
            buf_cut(&a->out, n);
            flow_wrote(&r->flow, clock_ms());
            return (ptrdiff_t)n;
        }
        if (a->out_end) {
            (void)flow_close(&r->flow, FLOW_answered);
            return -1;
        }
        if (server_suspend(r))
            return 0;
    }
}

/* ---- submit ---- */

static void on_event(void *owner, const struct engine_event *e)
{
    struct choice *c = owner;
    struct request *r = c->answer->request;
    struct watch *w = server_watch(r->server);
    enum flow_left left = FLOW_more;
    bool streams = is_stream(c->answer);
    observe_event(c, e);
    if (!flow_push(&r->flow, c->index, e, &left))
        request_cancel(r, FLOW_slow);
    else if (streams && left == FLOW_more)
        behind_pause(c);
    if (left == FLOW_last)
        watch_settle(w, r);
}

/* Once the head is out, a failure goes into the stream. */
static enum next refuse(struct answer *a, const struct fail *fail)
{
    observe_end(a, fail);
    if (!a->has_head)
        return reply_fail(a->request, fail);
    answer_fail(a, fail);
    return NEXT_wait;
}

static int submit_choice(struct choice *c, const struct lease *lease, struct fail *reterr)
{
    struct answer *a = c->answer;
    struct request *r = a->request;
    struct engine *engine = a->target.model->engine;
    struct engine_spec spec = {
        .request = &a->chats[c->chat],
        .choice = c->index,
        .verbatim = a->is_verbatim,
        .adapter = a->remote.name.n ? &a->remote : NULL,
        .tenant_name = r->caller.tenant,
        .session = caller_session(r),
        .request_id = str_of(r->id),
        .lora = lease ? lease_resident(lease) : NULL,
        .lora_digest = lease ? &a->revision->digest : NULL,
        .tenant = engine_is_upstream(engine) ? 0 : engine_tenant(r->caller.tenant),
        .deadline_ms = r->deadline_ms,
        .on_event = on_event,
        .owner = c,
    };
    struct engine_job *job = NULL;
    int err = behind_headers(a, &spec.headers, &spec.n_headers);
    if (err < 0)
        return fail_errno(reterr, err, "submitting to the engine");
    flow_job_add(&r->flow);
    err = engine_submit(engine, &job, &spec, reterr);
    if (err != 0) {
        (void)flow_job_drop(&r->flow); /* never the last: submitting counts as one */
        return err < 0 ? fail_errno(reterr, err, "submitting to the engine") : err;
    }
    bool ended = false;
    {
        LOCKED(&r->flow.lock);
        c->job = job;
        ended = r->flow.end != FLOW_open;
    }
    if (ended)
        engine_cancel(job);
    return 0;
}

/* From here silence is broken by comments, where the answer is a stream. */
static void beats_begin(struct answer *a, uint64_t now_ms)
{
    struct flow *f = &a->request->flow;
    LOCKED(&f->lock);
    f->eager = is_stream(a);
    f->wrote_ms = now_ms;
}

static enum next submit(struct answer *a)
{
    struct request *r = a->request;
    struct lease *lease = a->lease;
    struct fail fail = { 0 };
    int err = prompt_spell_echo(a);
    if (err < 0) {
        (void)fail_errno(&fail, err, "reading the prompt");
        return refuse(a, &fail);
    }
    a->submitted_us = clock_us();
    beats_begin(a, a->submitted_us / 1000);
    behind_choose_verbatim(a);
    a->overhead_us = a->submitted_us - r->received_us - r->waited_us;
    flow_job_add(&r->flow);
    (void)request_ref(r); /* of all jobs together */
    for (size_t i = 0; err == 0 && i < a->n_choices; i++)
        do
            err = submit_choice(&a->choices[i], lease, &fail);
        while (err == FAILED && fail.code == FAIL_context_length_exceeded && i == 0 &&
               a->dialect->shorten && a->dialect->shorten(a));
    if (err != 0)
        answer_cancel(a);
    if (flow_job_drop(&r->flow)) {
        request_settle(r);
        request_unref(r); /* the connection holds another */
    }
    if (err != 0)
        return refuse(a, &fail);
    r->step = is_stream(a) ? step_head : step_whole;
    return a->has_head ? NEXT_wait : r->step(r);
}

void answer_cancel(struct answer *a)
{
    for (size_t i = 0; i < a->n_choices; i++) {
        struct engine_job *job = NULL;
        {
            LOCKED(&a->request->flow.lock);
            job = a->choices[i].job;
        }
        if (job)
            engine_cancel(job); /* ours until the last reference to the request goes */
    }
}

/* ---- lease ---- */

void answer_release_lease(struct answer *a)
{
    (void)lease_release(atomic_exchange(&a->lease, NULL));
}

static void on_lease(void *owner, struct lease *lease, const struct fail *fail)
{
    struct answer *a = owner;
    struct request *r = a->request;
    {
        LOCKED(&r->flow.lock);
        a->lease = lease;
        if (!lease && fail)
            *a->lease_fail = *fail;
        a->lease_called = true;
    }
    flow_wake(&r->flow);
    request_unref(r);
}

static enum next with_lease(struct answer *a)
{
    struct request *r = a->request;
    struct lease *lease = a->lease;
    *a->revision = *lease_revision(lease);
    a->residency = lease_residency(lease);
    a->has_revision = true;
    r->log_adapter = str_of(a->revision->adapter);
    if (!a->target.model) { /* a bare adapter name */
        a->target.model = core_model(r->state->core, str_of(a->revision->base));
        r->log_model = str_of(a->revision->base);
    }
    if (a->target.model)
        return submit(a);
    struct fail fail;
    (void)fail_set(&fail, FAIL_model_not_found,
                   "adapter '%s' is for base model '%s', which is not served here",
                   a->revision->adapter, a->revision->base);
    return refuse(a, &fail);
}

static enum next without_lease(struct answer *a, const struct fail *fail)
{
    struct request *r = a->request;
    if (!cold_takes_base(&a->cold, fail) || !a->target.model)
        return refuse(a, fail);
    a->model = arena_str(r->arena, a->target.model->name); /* say what really answered */
    reply_header(r, "x-rootstock-fallback", STR("base"));
    return submit(a);
}

static bool lease_came(struct answer *a)
{
    LOCKED(&a->request->flow.lock);
    return a->lease_called;
}

/* Also from answer_read, where a comment broke the silence of a long load. */
static enum next step_lease(struct request *r)
{
    struct answer *a = r->answer;
    if (!lease_came(a)) {
        if (flow_ended(&r->flow))
            return NEXT_close;
        if (a->has_head || !flow_take_beat(&r->flow))
            return NEXT_wait;
        a->dialect->beat(a, &a->out);
        a->overhead_us = a->lease_since_us - r->received_us;
        return reply_stream(a);
    }
    a->is_leasing = false;
    a->wait = lease_wait_free(a->wait);
    r->waited_us += clock_us() - a->lease_since_us;
    if (flow_ended(&r->flow))
        return NEXT_close;
    return a->lease ? with_lease(a) : without_lease(a, a->lease_fail);
}

static enum next acquire(struct answer *a);

/* An engine behind loads the revision itself: nothing is leased here. */
static enum next after_find(struct request *r)
{
    struct answer *a = r->answer;
    if (a->is_failed)
        return reply_fail(r, &a->failed);
    return a->remote.name.n ? submit(a) : acquire(a);
}

static enum next acquire(struct answer *a)
{
    struct request *r = a->request;
    struct lease *lease = NULL;
    struct fail fail = { 0 };
    if (cold_policy(r, &a->target.route, &a->cold, &fail) != 0)
        return refuse(a, &fail);
    cold_hints(r, a->target.adapter.viewer);
    if (a->target.adapter.adapter.n == 0)
        return submit(a);
    if (!a->revision && !(a->revision = arena_alloc(r->arena, sizeof(*a->revision))))
        return fail_with(a, -ENOMEM, "taking the adapter");
    if (behind_may_have(a) && !a->has_revision)
        return server_work(r, behind_find_revision, after_find);
    if (!(a->lease_fail = arena_alloc(r->arena, sizeof(*a->lease_fail))))
        return fail_with(a, -ENOMEM, "taking the adapter");
    a->target.adapter.no_wait = a->cold.what != ON_COLD_wait;
    a->lease_since_us = clock_us();
    a->is_leasing = true;
    beats_begin(a, a->lease_since_us / 1000);
    r->step = step_lease;
    (void)request_ref(r); /* of the wait; dropped where `on_lease` will not come */
    int err = adapters_acquire(r->state->core->adapters, &a->target.adapter,
                               cold_deadline_ms(r, &a->cold), on_lease, a, &lease, &a->wait, &fail);
    if (err == ADAPTERS_PENDING)
        return step_lease(r);
    request_unref(r);
    a->is_leasing = false;
    r->waited_us += clock_us() - a->lease_since_us;
    if (err == 0) {
        a->lease = lease;
        return with_lease(a);
    }
    return err < 0 ? fail_with(a, err, "acquiring the adapter") : without_lease(a, &fail);
}

/* Worker: the catalog's change that the client has seen comes here too. */
static void wait_epoch(struct request *r)
{
    struct fail fail = { 0 };
    struct answer *a = r->answer;
    struct adapter_revision now;
    int err = target_find(r->state->core, &a->target.adapter, r->min_epoch, &now, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "waiting for the catalog");
    if (err != 0)
        answer_fail(a, &fail);
}

static enum next acquire_then(struct request *r)
{
    struct answer *a = r->answer;
    return a->is_failed ? reply_fail(r, &a->failed) : acquire(a);
}

/* ---- route and plugins ---- */

static int resolve(struct answer *a, struct fail *reterr)
{
    struct request *r = a->request;
    int err = prompt_spell(a);
    if (err < 0)
        return err;
    struct route_request q = { .chat = &a->chats[0], .trace = vsr_debug(r), .reasons = true };
    caller_identify(r, &q);
    observe_conversation(a, &q);
    err = target_resolve(r->state, &q, r->arena, &a->target, reterr);
    if (err != 0)
        return err;
    a->target.adapter.viewer = r->caller.tenant;
    if (a->target.adapter.adapter.n) /* nothing else has canaries */
        a->target.adapter.sticky = caller_sticky(r, &a->chats[0]);
    for (size_t i = 0; i < a->n_chats && a->target.is_auto && err == 0; i++)
        err = routed_apply(&a->chats[i], &a->target.route, r->arena);
    if (err != 0)
        return err;
    a->chain = a->target.is_auto ? state_chain(r->state, &a->target.route) : r->state->no_chain;
    r->log_decision = a->target.route.decision;
    if (a->target.model)
        r->log_model = a->target.model->name;
    a->model = a->target.is_auto ? target_name(&a->target, r->arena) : a->chats[0].model;
    return a->model.p ? 0 : -ENOMEM;
}

/* A plugin's own answer, or none at all for max_tokens 0: no engine works. */
static enum next reply_canned(struct answer *a, enum finish_reason finish)
{
    a->overhead_us = clock_us() - a->request->received_us;
    for (size_t i = 0; i < a->n_choices; i++) {
        struct choice *c = &a->choices[i];
        begin_choice(c);
        if (a->is_canned)
            emit(c, a->canned, /* e= */ NULL);
        else
            pass(c, STR_NULL, /* e= */ NULL, /* end= */ true);
        end_choice(c, finish);
        c->done = true;
        a->n_done++;
    }
    return is_stream(a) ? reply_stream(a) : reply_whole(a->request);
}

/* Worker: a prompt that nobody generates for may be longer than any context. */
static void count_prompts(struct request *r)
{
    struct answer *a = r->answer;
    struct fail fail = { 0 };
    if (prompt_spell_echo(a) < 0) {
        (void)fail_errno(&fail, -ENOMEM, "reading the prompt");
        answer_fail(a, &fail);
    }
    for (size_t i = 0; i < a->n_choices && !a->is_failed; i++) {
        struct choice *c = &a->choices[i];
        CLEANUP(own_free) int32_t *ids = NULL;
        size_t n = 0;
        if (!a->target.model || (i && c[-1].chat == c->chat))
            continue; /* a bare adapter name: its base is not known before a lease */
        int err = engine_tokenize(a->target.model->engine, &ids, &n, &a->chats[c->chat], &fail);
        if (err < 0)
            err = fail_errno(&fail, err, "counting the prompt");
        if (err != 0)
            answer_fail(a, &fail);
        c->usage.prompt_tokens = (uint32_t)n;
    }
}

static enum next reply_empty(struct request *r)
{
    struct answer *a = r->answer;
    return a->is_failed ? reply_fail(r, &a->failed) : reply_canned(a, FINISH_length);
}

static void resolve_model(struct request *r)
{
    r->answer->resolved = resolve(r->answer, &r->answer->failed);
}

static enum next prepare(struct request *r)
{
    struct answer *a = r->answer;
    struct fail fail = a->failed;
    int err = a->resolved;
    if (err == 0)
        err = record_request(r);
    if (err == 0)
        err = prompt_guard(a, &fail);
    if (err == 0 && !a->is_canned)
        err = prompt_refuse_media(a, &fail);
    if (err == 0)
        err = choices_make(a);
    if (err != 0)
        return err < 0 ? fail_with(a, err, "preparing the request") : reply_fail(r, &fail);
    if (a->is_canned)
        return reply_canned(a, FINISH_stop);
    observe_chosen(a);
    if (a->empty)
        return server_compute(r, count_prompts, reply_empty);
    bool waits = r->min_epoch && a->target.adapter.adapter.n;
    return waits ? server_work(r, wait_epoch, acquire_then) : acquire(a);
}

enum next answer_start(struct request *r, const struct dialect *d)
{
    struct answer *a = new_answer(r, d);
    if (!a) {
        struct fail fail;
        (void)fail_errno(&fail, -ENOMEM, "decoding the request");
        return reply_fail(r, &fail);
    }
    r->answer = a;
    struct fail fail = { 0 };
    a->chain = r->state->no_chain;
    int err = d->decode(a, buf_str(&r->body), &fail);
    if (err != 0)
        return err < 0 ? fail_with(a, err, "preparing the request") : reply_fail(r, &fail);
    const struct router *router = r->state->router;
    if (router_blocks(router) && router_is_auto(router, a->chats[0].model))
        return server_compute(r, resolve_model, prepare);
    resolve_model(r);
    return prepare(r);
}

/* ---- the end ---- */

void answer_abandon(struct answer *a)
{
    bool called = false;
    if (!a->wait)
        return;
    {
        LOCKED(&a->request->flow.lock);
        called = a->lease_called;
    }
    if (called)
        (void)lease_wait_free(a->wait);
    else if (lease_wait_cancel(a->wait))
        request_unref(a->request); /* the connection still holds another */
    a->wait = NULL;
}

void answer_done(struct answer *a)
{
    answer_release_lease(a);
    a->shadow = shadow_end(a->shadow, /* whole= */ false);
    for (size_t i = 0; i < a->n_choices; i++) {
        struct choice *c = &a->choices[i];
        (void)engine_job_unref(c->job);
        (void)chain_run_free(c->run);
        parts_done(c);
        buf_done(&c->content);
        for (size_t k = 0; k < ARRAY_LEN(c->logprobs); k++)
            buf_done(&c->logprobs[k]);
    }
    buf_done(&a->out);
    buf_done(&a->answered);
}
