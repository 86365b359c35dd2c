#include "base/clock.h"
#include "gateway/api/api.h"
#include "gateway/api/decode.h"
#include "gateway/target.h"

#include <errno.h>

/*
 * POST /api/v1/eval: signals and decision without inference (semantic-router.md, appendix A). Takes
 * `text`, or what a chat request has; `model` may be left out.
 */
static int decode_eval(struct chat_request *ret, struct str text, struct arena *arena,
                       struct fail *reterr)
{
    json_auto_t *body = NULL;
    int r = json_body(&body, text, reterr);
    if (r != 0)
        return r;
    const json_t *plain = json_object_get(body, "text"), *model = json_object_get(body, "model");
    ret->n = 1;
    ret->sampling = SAMPLING_INIT;
    ret->model = json_is_string(model) && json_string_length(model) ? json_str_copy(arena, model)
                                                                    : STR("auto");
    r = decode_tools(ret, body, arena, reterr);
    if (r == 0)
        r = decode_metadata(ret, json_object_get(body, "metadata"), arena, reterr);
    if (r != 0)
        return r;
    const json_t *messages = json_object_get(body, "messages");
    if (messages && !json_is_null(messages))
        return decode_messages(ret, messages, arena, reterr);
    if (!json_is_string(plain))
        return fail_param(reterr, FAIL_invalid_request, "text",
                          "send 'text' (a string) or 'messages' (an array)");
    ret->messages = arena_alloc(arena, sizeof(*ret->messages));
    if (!ret->messages)
        return json_no_memory(reterr);
    ret->messages[0] =
        (struct chat_message){ .role = STR("user"), .content = json_str_copy(arena, plain) };
    ret->n_messages = 1;
    return ret->messages[0].content.p ? 0 : json_no_memory(reterr);
}

static ptrdiff_t count_tokens(void *ctx, struct str text)
{
    return engine_count_tokens(ctx, text);
}

enum next api_eval(struct request *r)
{
    struct fail fail = { 0 };
    struct chat_request chat = { 0 };
    struct route route = { 0 };
    int err = decode_eval(&chat, buf_str(&r->body), r->arena, &fail);
    if (err != 0)
        return reply_fail(r, &fail);
    const struct core *c = r->state->core;
    struct route_request q = {
        .chat = &chat,
        .count_tokens = c->n_models ? count_tokens : NULL,
        .count_ctx = c->n_models ? c->models[0].engine : NULL,
        .trace = true,
    };
    err = router_route(r->state->router, &q, r->arena, &route, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "routing");
    if (err != 0)
        return reply_fail(r, &fail);
    r->log_decision = route.decision;
    route_print_eval(r->state->router, &route, &r->reply.body);
    return reply_json(r);
}
