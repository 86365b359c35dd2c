/*
 * /v1/router/outcomes: how good answers were, told by users and agents (semantic-router.md, 4.3).
 *
 * POST one of
 *   {"request_id" (or "replay_id"): …, "verdict": …}
 *   {"decision", "model", "adapter", "user", "verdict"}
 *   {"decision", "preferred": "model[:adapter]", "other": "model[:adapter]", "tie": false}
 * GET lists what is known.
 */
#include "base/clock.h"
#include "gateway/api/api.h"
#include "gateway/api/json.h"
#include "gateway/learning/learning.h"
#include "gateway/replay.h"
#include "gateway/server.h"

#include <errno.h>

enum { LISTED = 1000, TEXT_BYTES = 4096, METADATA = 64 };

struct body {
    struct str request_id, replay_id, verdict, target, source, reason, target_ref;
    struct str decision, model, adapter, user, preferred, other;
    bool has_request, has_replay, has_verdict, has_model, has_preferred, has_other, tie;
    double score;
};

#define TEXT(name)                                                                                 \
    {                                                                                              \
#name, FIELD_text, offsetof(struct body, name), 0, 0, -1                                   \
    }
#define TEXT_SEEN(name, seen)                                                                      \
    {                                                                                              \
#name, FIELD_text, offsetof(struct body, name), 0, 0, offsetof(struct body, seen)          \
    }

static const struct field fields[] = {
    TEXT_SEEN(request_id, has_request),
    TEXT_SEEN(replay_id, has_replay),
    TEXT_SEEN(verdict, has_verdict),
    TEXT(target),
    TEXT(source),
    TEXT(reason),
    TEXT(target_ref),
    TEXT(decision),
    TEXT_SEEN(model, has_model),
    TEXT(adapter),
    TEXT(user),
    TEXT_SEEN(preferred, has_preferred),
    TEXT_SEEN(other, has_other),
    { "tie", FIELD_bool, offsetof(struct body, tie), 0, 0, -1 },
    { "score", FIELD_float, offsetof(struct body, score), 0, 1, -1 },
    { 0 },
};

static int check_names(const struct body *b, struct fail *reterr)
{
    const struct {
        const char *name;
        struct str value;
        size_t max;
    } rows[] = {
        { "request_id", b->request_id, LIMIT_NAME }, { "replay_id", b->replay_id, LIMIT_NAME },
        { "decision", b->decision, LIMIT_NAME },     { "model", b->model, LIMIT_NAME },
        { "adapter", b->adapter, LIMIT_NAME },       { "user", b->user, LIMIT_NAME },
        { "preferred", b->preferred, LIMIT_NAME },   { "other", b->other, LIMIT_NAME },
        { "reason", b->reason, TEXT_BYTES },         { "target_ref", b->target_ref, TEXT_BYTES },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].value.n > rows[i].max ||
            memchr(rows[i].value.n ? rows[i].value.p : "", '\0', rows[i].value.n))
            return fail_param(reterr, FAIL_invalid_request, rows[i].name,
                              "'%s' must be a text of at most %zu bytes", rows[i].name,
                              rows[i].max);
    return 0;
}

static int check_word(const char *name, struct str value, const char *const *allowed,
                      struct fail *reterr)
{
    CLEANUP(buf_done) struct buf list = BUF_INIT(256);
    if (value.n == 0)
        return 0;
    for (size_t i = 0; allowed[i]; i++) {
        if (str_is(value, allowed[i]))
            return 0;
        buf_addf(&list, "%s%s", i ? ", " : "", allowed[i]);
    }
    return fail_param(reterr, FAIL_invalid_request, name, "'%s' must be one of %.*s", name,
                      STR_ARG(buf_str(&list)));
}

/* metadata: an object of texts, kept by nobody here. */
static int check_metadata(const json_t *body, struct fail *reterr)
{
    const json_t *m = json_object_get(body, "metadata");
    const char *key;
    json_t *value;
    if (!m || json_is_null(m))
        return 0;
    bool good = json_is_object(m) && json_object_size(m) <= METADATA;
    json_object_foreach((json_t *)(uintptr_t)m, key, value) good =
        good && json_is_string(value) && json_string_length(value) <= TEXT_BYTES;
    return good ? 0
                : fail_param(reterr, FAIL_invalid_request, "metadata",
                             "'metadata' must be an object of at most %d texts", METADATA);
}

static int check(const struct body *b, const json_t *json, struct fail *reterr)
{
    static const char *const targets[] = { "model",    "route",  "policy", "stability",
                                           "provider", "router", NULL };
    static const char *const sources[] = { "user",     "agent",  "eval", "operator",
                                           "provider", "router", NULL };
    static const char *const verdicts[] = { "good_fit", "underpowered", "overprovisioned", "failed",
                                            NULL };
    bool by_request = b->has_request || b->has_replay, pair = b->has_preferred || b->has_other;
    int ways = by_request + b->has_model + pair;
    int r = check_names(b, reterr);
    if (r == 0)
        r = check_word("target", b->target, targets, reterr);
    if (r == 0)
        r = check_word("source", b->source, sources, reterr);
    if (r == 0)
        r = check_word("verdict", b->verdict, verdicts, reterr);
    if (r == 0)
        r = check_metadata(json, reterr);
    if (r != 0)
        return r;
    if (ways != 1 || (b->has_request && b->has_replay))
        return fail_param(reterr, FAIL_invalid_request, "request_id",
                          "an outcome is about one of 'request_id' (or 'replay_id'), 'model', or "
                          "'preferred' and 'other'");
    if (pair && (b->preferred.n == 0 || b->other.n == 0 || b->verdict.n))
        return fail_param(reterr, FAIL_invalid_request, "preferred",
                          "a comparison has 'preferred', 'other' and no 'verdict'");
    if (!pair && b->verdict.n == 0)
        return fail_param(reterr, FAIL_invalid_request, "verdict",
                          "'verdict' must be one of good_fit, underpowered, overprovisioned, "
                          "failed");
    return 0;
}

struct told {
    unsigned updated;
    bool duplicate;
};

static double elo_k(const struct request *r, struct str decision)
{
    return router_outcome_rule(r->state->router, decision).elo_k;
}

static int judge_request(struct request *r, const struct body *b, enum outcome verdict,
                         struct told *ret, struct fail *reterr)
{
    const struct learning *l = r->state->core->learning;
    struct str id = b->has_request ? b->request_id : b->replay_id, kept = STR_NULL;
    if (!b->has_request) /* x-vsr-replay-id, or the request's own */
        kept = replay_request(server_replay(r->server), id, r->arena);
    id = kept.p ? kept : id;
    struct outcome_request about;
    if (!outcomes_request(l->outcomes, id, &about))
        return fail_param(reterr, FAIL_not_found, b->has_request ? "request_id" : "replay_id",
                          "no request of this id was routed lately; its id is the x-request-id "
                          "of the answer");
    if (b->target.n && !str_is(b->target, "model"))
        return 0; /* only verdicts on models are learned from */
    enum outcome_found found = outcomes_judge_request(
        l->outcomes, id, verdict, elo_k(r, str_of(about.decision)), clock_wall_s());
    ret->duplicate = found == OUTCOME_again;
    ret->updated = found == OUTCOME_first;
    bool weak = verdict == OUTCOME_underpowered || verdict == OUTCOME_failed;
    if (found == OUTCOME_first && about.has_session && weak)
        sessions_judge(l->sessions, &about.session, str_of(about.model), str_of(about.adapter),
                       verdict == OUTCOME_underpowered);
    return 0;
}

/* "model:adapter", where the model is known and the whole is not a model's name. */
static struct outcome_of candidate_of(const struct request *r, struct str decision, struct str text)
{
    struct outcome_of w = { .decision = decision, .model = text };
    struct str base, adapter;
    if (!router_knows_model(r->state->router, text) && str_cut(text, ':', &base, &adapter)) {
        w.model = base;
        w.adapter = adapter;
    }
    return w;
}

static int check_known(const struct request *r, const char *field, const struct outcome_of *w,
                       struct fail *reterr)
{
    const struct router *router = r->state->router;
    bool decision = w->decision.n == 0;
    for (size_t i = 0; !decision && i < router_decisions(router); i++)
        decision = str_eq(router_decision_name(router, i), w->decision);
    if (!decision)
        return fail_param(reterr, FAIL_invalid_request, "decision",
                          "there is no decision '" STR_FMT "'", STR_ARG(str_head(w->decision, 80)));
    if (!router_knows_model(router, w->model))
        return fail_param(reterr, FAIL_invalid_request, field, "there is no model '" STR_FMT "'",
                          STR_ARG(str_head(w->model, 80)));
    return 0;
}

static int judge_candidate(struct request *r, const struct body *b, enum outcome verdict,
                           struct told *ret, struct fail *reterr)
{
    struct outcome_of w = candidate_of(r, b->decision, b->model);
    if (b->adapter.n)
        w.adapter = b->adapter;
    w.user = b->user;
    int err = check_known(r, "model", &w, reterr);
    if (err != 0)
        return err;
    outcomes_judge(r->state->core->learning->outcomes, &w, verdict, elo_k(r, w.decision),
                   clock_wall_s());
    ret->updated = 1;
    return 0;
}

static int compare(struct request *r, const struct body *b, struct told *ret, struct fail *reterr)
{
    struct comparison c = { .preferred = candidate_of(r, b->decision, b->preferred),
                            .other = candidate_of(r, b->decision, b->other),
                            .tie = b->tie,
                            .elo_k = elo_k(r, b->decision) };
    int err = check_known(r, "preferred", &c.preferred, reterr);
    if (err == 0)
        err = check_known(r, "other", &c.other, reterr);
    if (err == 0 && str_eq(c.preferred.model, c.other.model) &&
        str_eq(c.preferred.adapter, c.other.adapter))
        err = fail_param(reterr, FAIL_invalid_request, "other",
                         "'preferred' and 'other' are the same candidate");
    if (err != 0)
        return err;
    outcomes_compare(r->state->core->learning->outcomes, &c, clock_wall_s());
    ret->updated = 2;
    return 0;
}

static int learn(struct request *r, const struct body *b, struct told *ret, struct fail *reterr)
{
    enum outcome verdict = OUTCOME_failed;
    if (b->verdict.n && outcome_parse(&verdict, b->verdict) < 0)
        return -EINVAL; /* checked */
    if (b->has_preferred)
        return compare(r, b, ret, reterr);
    return b->has_model ? judge_candidate(r, b, verdict, ret, reterr)
                        : judge_request(r, b, verdict, ret, reterr);
}

/* Worker: what was learned may be written to a file. */
static void save(struct request *r)
{
    learning_save(r->state->core->learning);
}

static int need_learning(const struct request *r, struct fail *reterr)
{
    return r->state->core->learning
               ? 0
               : fail_set(reterr, FAIL_overloaded, "nothing is learned by this process");
}

enum next api_outcomes_post(struct request *r)
{
    struct fail fail = { 0 };
    struct body b = { 0 };
    struct told told = { 0 };
    json_auto_t *json = NULL;
    int err = need_learning(r, &fail);
    if (err == 0)
        err = json_body(&json, buf_str(&r->body), &fail);
    if (err == 0)
        err = json_only(fields, "metadata", json, &fail);
    if (err == 0)
        err = json_fields(&b, fields, json, &fail);
    if (err == 0)
        err = check(&b, json, &fail);
    if (err == 0)
        err = learn(r, &b, &told, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "learning from the outcome");
    if (err != 0)
        return reply_fail(r, &fail);
    buf_addf(&r->reply.body,
             "{\"success\":true,\"updated\":%u,\"recorded\":%s,\"duplicate\":%s,\"created\":%llu}",
             told.updated, told.updated ? "true" : "false", told.duplicate ? "true" : "false",
             (unsigned long long)clock_wall_s());
    return told.updated ? server_work(r, save, reply_made) : reply_json(r);
}

enum next api_outcomes_get(struct request *r)
{
    struct fail fail = { 0 };
    if (need_learning(r, &fail) != 0)
        return reply_fail(r, &fail);
    const struct learning *l = r->state->core->learning;
    buf_adds(&r->reply.body, "{\"object\":\"list\",\"data\":");
    outcomes_print(l->outcomes, clock_wall_s(), LISTED, &r->reply.body);
    buf_addf(&r->reply.body, ",\"total\":%zu,\"conversations\":%zu}", outcomes_len(l->outcomes),
             sessions_len(l->sessions));
    return reply_json(r);
}
