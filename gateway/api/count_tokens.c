/*
 * POST /v1/messages/count_tokens: how long a prompt is, as the model's own engine counts. On a
 * worker: a long text takes seconds.
 */
#include "gateway/api/api.h"
#include "gateway/api/messages.h"
#include "gateway/api/model.h"
#include "gateway/relay.h"
#include "gateway/server.h"

#include <stdlib.h>

enum {                       /* of an estimate */
       MESSAGE_TOKENS = 4,   /* the marks around it */
       MEDIUM_TOKENS = 1600, /* what Anthropic counts for a large image */
};

/* Where nobody tells: by the bytes of all texts. */
static size_t estimate(struct engine *e, const struct chat_request *c)
{
    size_t n = (size_t)engine_count_tokens(e, c->tools_json);
    for (size_t i = 0; i < c->n_messages; i++) {
        const struct chat_message *m = &c->messages[i];
        n += MESSAGE_TOKENS + MEDIUM_TOKENS * (size_t)m->n_images;
        n += (size_t)engine_count_tokens(e, m->content) +
             (size_t)engine_count_tokens(e, m->reasoning);
        for (size_t k = 0; k < m->n_tool_calls; k++)
            n += (size_t)engine_count_tokens(e, m->tool_calls[k].arguments);
    }
    return n;
}

/* Behind: asked there (Anthropic, Gemini, Vertex AI, Bedrock, llama-server), else estimated. */
static int count_behind(struct request *r, struct engine *e, const struct chat_request *c,
                        struct fail *reterr)
{
    int err = relay_chat(r, e, c, "/v1/messages/count_tokens", reterr);
    if (err != FAILED || reterr->code != FAIL_unsupported_parameter)
        return err;
    buf_addf(&r->reply.body, "{\"input_tokens\":%zu}", estimate(e, c));
    return 0;
}

static int count(struct request *r, struct fail *reterr)
{
    struct chat_request chat = { 0 };
    struct engine *engine = NULL;
    CLEANUP(own_free) int32_t *ids = NULL;
    size_t n = 0;
    int err = messages_decode(&chat, buf_str(&r->body), /* counts= */ true, r->arena, reterr);
    if (err == 0)
        err = model_for_tokens(r, chat.model, &engine, reterr);
    if (err == 0 && engine_is_upstream(engine))
        return count_behind(r, engine, &chat, reterr);
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
