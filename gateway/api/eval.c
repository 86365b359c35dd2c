/* POST /api/v1/eval: signals and decision without inference (semantic-router.md, appendix A). */
#include "base/clock.h"
#include "gateway/api/api.h"
#include "gateway/api/decode.h"
#include "gateway/target.h"

#include <errno.h>

static ptrdiff_t count_tokens(void *ctx, struct str text)
{
    return engine_count_tokens(ctx, text);
}

enum next api_eval(struct request *r)
{
    struct fail fail = { 0 };
    struct chat_request chat = { 0 };
    struct route route = { 0 };
    int err = decode_routable(&chat, buf_str(&r->body), r->arena, &fail);
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
