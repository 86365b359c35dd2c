/*
 * POST /v1/messages/count_tokens: how long a prompt is, as the model's own engine counts. On a
 * worker: a long text takes seconds.
 */
#include "gateway/api/api.h"
#include "gateway/api/messages.h"
#include "gateway/api/model.h"
#include "gateway/server.h"

#include <stdlib.h>

static int count(struct request *r, struct fail *reterr)
{
    struct chat_request chat = { 0 };
    struct engine *engine = NULL;
    CLEANUP(own_free) int32_t *ids = NULL;
    size_t n = 0;
    int err = messages_decode(&chat, buf_str(&r->body), /* counts= */ true, r->arena, reterr);
    if (err == 0)
        err = model_for_tokens(r, chat.model, &engine, reterr);
    if (err == 0)
        err = engine_tokenize(engine, &ids, &n, &chat, reterr);
    if (err == 0)
        buf_addf(&r->reply.body, "{\"input_tokens\":%zu}", n);
    r->log_tokens = n;
    return err;
}

static void work(struct request *r)
{
    struct fail fail = { 0 };
    int err = count(r, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "counting the tokens");
    if (err != 0)
        (void)reply_fail(r, &fail);
    buf_done(&r->body);
}

enum next api_count_tokens(struct request *r)
{
    return server_compute(r, work, reply_made);
}
