/* POST /api/v1/eval: signals and decision without inference (semantic-router.md, appendix A). */
#include "gateway/api/api.h"
#include "gateway/api/decode.h"
#include "gateway/caller.h"
#include "gateway/candidates.h"
#include "gateway/head.h"
#include "gateway/server.h"
#include "gateway/target.h"

#include <errno.h>

static ptrdiff_t count_tokens(void *ctx, struct str text)
{
    return engine_count_tokens(ctx, text);
}

struct options {
    struct eval_options print;
    bool every, has_every;
};

#define AT(member) offsetof(struct options, member)
static const struct field option_fields[] = {
    { "return_probabilities", FIELD_bool, AT(print.probabilities), 0, 0, -1 },
    { "confidence_threshold", FIELD_float, AT(print.confidence_threshold), 0, 1, -1 },
    { "include_explanation", FIELD_bool, AT(print.explanation), 0, 0, -1 },
    { "evaluate_all_signals", FIELD_bool, AT(every), 0, 0, AT(has_every) },
    { "trace", FIELD_bool, AT(print.trace), 0, 0, -1 },
    { 0 },
};

static int read_options(const struct request *r, const struct body *body, struct options *ret,
                        struct fail *reterr)
{
    struct str o = body_get(body, "options");
    struct body inner;
    *ret = (struct options){ .every = true };
    if (o.p && !body_is_object(o))
        return fail_param(reterr, FAIL_invalid_request, "options",
                          "'options' must be an object, not %s", body_kind(o));
    int err = o.p ? body_index(&inner, o, r->arena, reterr) : 0;
    if (o.p && err == 0)
        err = body_fields(ret, option_fields, &inner, r->arena, reterr);
    if (err != 0) { /* the field stands in `options` */
        char field[sizeof(reterr->param)];
        (void)snprintf(field, sizeof(field), "options.%.40s", reterr->param);
        memcpy(reterr->param, field, sizeof(field));
        return err;
    }
    if (str_is(r->query_trace, "true") || str_is(r->query_trace, "1"))
        ret->print.trace = true;
    return 0;
}

static int evaluate(struct request *r, const struct body *body, struct fail *reterr)
{
    struct chat_request chat = { 0 };
    struct options o;
    struct route route = { 0 };
    int err = read_options(r, body, &o, reterr);
    if (err == 0)
        err = decode_question(&chat, body, r->arena, reterr);
    if (err != 0)
        return err;
    const struct core *c = r->state->core;
    struct engine *counter = core_counter(c);
    const struct router *router = r->state->router;
    if (!router_is_auto(router, chat.model))
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "the model '" STR_FMT "' does not ask for a route: send an auto name, an "
                          "entrypoint, or none",
                          STR_ARG(str_head(chat.model, LIMIT_NAME)));
    struct candidates candidates = { .core = c, .arena = r->arena };
    struct route_request q = {
        .chat = &chat,
        .candidate = candidates_tell,
        .candidate_ctx = &candidates,
        .count_tokens = counter ? count_tokens : NULL,
        .count_ctx = counter,
        .trace = true,
        .every_family = o.every,
        .preview = true,
    };
    caller_identify(r, &q);
    err = router_route(router, &q, r->arena, &route, reterr);
    if (err != 0)
        return err;
    r->log_decision = route.decision;
    route_print_eval_as(router, &route, &o.print, &r->reply.body);
    return 0;
}

/* Worker, where routing waits for a model. */
static void reply_eval(struct request *r)
{
    struct fail fail = { 0 };
    struct body body;
    int err = body_read(&body, buf_str(&r->body), r->arena, &fail);
    if (err == 0)
        err = evaluate(r, &body, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "routing");
    if (err != 0)
        (void)reply_fail(r, &fail);
}

enum next api_eval(struct request *r)
{
    r->query_trace = head_query(r, "trace");
    if (router_blocks(r->state->router))
        return server_compute(r, reply_eval, reply_made);
    reply_eval(r);
    return reply_made(r);
}
