/* POST /v1/responses, and /v1/responses/input_tokens. */
#include "gateway/api/responses.h"

#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/api/model.h"
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

/* What was to be looked up is there. */
static enum next begin(struct request *r)
{
    struct responses *x = r->front;
    if (x->failed.message[0])
        return reply_fail(r, &x->failed);
    return answer_start(r, &responses_dialect);
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
