/* POST /v1/responses, and /v1/responses/input_tokens. */
#include "gateway/api/responses.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/api/model.h"
#include "gateway/detached.h"
#include "gateway/kept.h"
#include "gateway/server.h"

#include <errno.h>
#include <stdlib.h>

static void responses_done(void *front)
{
    struct responses *x = front;
    buf_done(&x->own);
    buf_done(&x->echo);
    buf_done(&x->output);
    buf_done(&x->item.text);
    buf_done(&x->item.logprobs);
    buf_done(&x->final);
    buf_done(&x->record);
}

struct responses *responses_new(struct request *r)
{
    struct responses *x = arena_alloc(r->arena, sizeof(*x));
    if (!x)
        return NULL;
    const struct buf empty = BUF_INIT(LIMIT_REQUEST_ARENA);
    *x = (struct responses){ .arena = r->arena, .base = str_of(r->made + strlen("req_")) };
    x->own = x->echo = x->output = x->final = x->record = empty;
    x->item.text = x->item.logprobs = empty;
    r->front = x;
    r->front_done = responses_done;
    return x;
}

/* ---- in the background ---- */

static enum next begin_detached(struct request *r)
{
    return answer_start(r, &responses_dialect);
}

/* What was said to the client where the answer was refused before it began. */
static void take_failure(const struct request *r, struct fail *ret)
{
    struct str message = STR_NULL;
    if (r->answer->is_failed)
        *ret = r->answer->failed;
    else
        (void)fail_set(ret, FAIL_internal_error, "the response was not finished");
    if (json_view_plain(json_view_at(buf_str(&r->reply.body), "error.message"), &message))
        (void)fail_set(ret, ret->code, STR_FMT, STR_ARG(message));
}

/* Keeps what there is of one that broke off. */
static void end_detached(struct request *r, struct buf *last)
{
    struct responses *x = r->front;
    struct fail fail;
    if (x->keeping != KEEPING_not_yet || !r->answer || !r->answer->chats)
        return;
    bool is_refused = r->reply.status >= 400;
    bool is_cancelled = !is_refused && flow_ended(&r->flow) == FLOW_gone;
    take_failure(r, &fail);
    responses_break(r->answer, is_cancelled ? "cancelled" : "failed", is_cancelled ? NULL : &fail);
    if (!is_cancelled)
        responses_print_failure(r->answer, &fail, last);
    responses_keep(r);
}

/* The request that goes on alone: with its own memory, and what was looked up. */
static int make_detached(struct request *r, struct request **ret, struct fail *reterr)
{
    const struct responses *x = r->front;
    struct request *alone = detached_request(r);
    struct responses *y = alone ? responses_new(alone) : NULL;
    int err = y ? responses_read(y, buf_str(&alone->body), reterr) : -ENOMEM;
    if (err == 0) {
        y->context = arena_str(alone->arena, x->context);
        y->known = arena_str(alone->arena, x->known);
        alone->step = begin_detached;
        err = y->context.p && y->known.p ? 0 : -ENOMEM;
    }
    if (err == 0) {
        *ret = alone;
    } else if (alone) {
        server_depart(alone, /* complete= */ false);
        request_unref(alone);
    }
    return err;
}

/* What is found before the response has begun is told like that of any other. */
static int take_refusal(struct request *r, const struct request *alone)
{
    r->reply.status = alone->reply.status;
    r->reply.type = alone->reply.type;
    buf_clear(&r->reply.body);
    buf_add(&r->reply.body, buf_str(&alone->reply.body));
    return buf_err(&r->reply.body);
}

static int start_detached(struct request *r, struct request *alone, const char *key)
{
    const struct detached_task task = { .key = key, .ended = end_detached };
    (void)request_ref(alone);
    int err = detached_start(server_detached(r->server), alone, &task);
    if (err != 0) {
        struct fail ignored;
        (void)kept_remove(server_kept(r->server), key, &ignored);
    }
    if (err == FAILED)
        err = take_refusal(r, alone);
    request_unref(alone);
    return err;
}

/* Worker: decodes here, so that a mistake is told at once; then another request goes on alone. */
static int run_in_background(struct request *r, struct fail *reterr)
{
    struct responses *x = r->front;
    struct chat_request chat = { 0 };
    struct request *alone = NULL;
    int err = responses_decode(x, &chat, r->arena, reterr);
    if (err == 0)
        err = make_detached(r, &alone, reterr);
    if (err != 0)
        return err;
    const char *id = arena_printf(r->arena, "resp_%s", alone->made + strlen("req_"));
    const char *key = id ? responses_key(r, str_of(id)) : NULL;
    const struct response_head head = {
        .id = id, .status = "queued", .created_s = alone->created_s, .model = chat.model
    };
    x->id = str_of(id);
    if (key)
        responses_print(x, &r->reply.body, &head);
    responses_record(x, buf_str(&r->reply.body));
    err = key ? buf_err(&x->record) : -ENOMEM;
    if (err == 0)
        err = kept_put(server_kept(r->server), key, buf_str(&x->record));
    if (err == 0)
        return start_detached(r, alone, key);
    server_depart(alone, /* complete= */ false);
    request_unref(alone);
    return err;
}

static void background(struct request *r)
{
    struct fail fail = { 0 };
    int err = run_in_background(r, &fail);
    if (err == -EAGAIN) {
        err = fail_set(&fail, FAIL_queue_full, "too many responses run in the background already");
        fail.retry_after_s = 1;
    }
    if (err < 0)
        err = fail_errno(&fail, err, "beginning the response");
    if (err != 0)
        (void)reply_fail(r, &fail);
}

static enum next background_begun(struct request *r)
{
    const struct responses *x = r->front;
    if (r->reply.status)
        return NEXT_reply;
    if (x->streams && responses_follow(r, x->id, 0) == NEXT_stream)
        return NEXT_stream;
    return reply_json(r);
}

/* ---- create ---- */

/* What was to be looked up is there. */
static enum next begin(struct request *r)
{
    struct responses *x = r->front;
    if (x->failed.message[0])
        return reply_fail(r, &x->failed);
    return x->background ? server_work(r, background, background_begun)
                         : answer_start(r, &responses_dialect);
}

enum next api_responses(struct request *r)
{
    struct fail fail = { 0 };
    struct responses *x = responses_new(r);
    int err = x ? responses_read(x, buf_str(&r->body), &fail) : -ENOMEM;
    if (err < 0)
        err = fail_errno(&fail, err, "reading the request");
    if (err != 0)
        return reply_fail(r, &fail);
    return responses_refers(x) ? server_work(r, responses_load, begin) : begin(r);
}

/* ---- how many tokens it would be ---- */

static int count(struct request *r, struct fail *reterr)
{
    struct chat_request chat = { 0 };
    struct engine *engine = NULL;
    CLEANUP(own_free) int32_t *ids = NULL;
    size_t n = 0;
    struct responses *x = responses_new(r);
    int err = x ? responses_read(x, buf_str(&r->body), reterr) : -ENOMEM;
    if (err != 0)
        return err;
    x->counts = true;
    if (responses_refers(x))
        responses_load(r);
    if (x->failed.message[0]) {
        *reterr = x->failed;
        return FAILED;
    }
    err = responses_decode(x, &chat, r->arena, reterr);
    if (err == 0)
        err = model_for_tokens(r, chat.model, &engine, reterr);
    if (err == 0)
        err = engine_tokenize(engine, &ids, &n, &chat, reterr);
    if (err == 0)
        buf_addf(&r->reply.body, "{\"object\":\"response.input_tokens\",\"input_tokens\":%zu}", n);
    return err;
}

static void count_tokens(struct request *r)
{
    struct fail fail = { 0 };
    int err = count(r, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "counting the tokens");
    if (err != 0)
        (void)reply_fail(r, &fail);
}

enum next api_response_tokens(struct request *r)
{
    return server_compute(r, count_tokens, reply_made);
}
