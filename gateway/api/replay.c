/*
 * GET /v1/router_replay, …/{id}, …/aggregate: the last routed requests. The same under
 * /admin/replay.
 */
#include "gateway/replay.h"

#include "base/num.h"
#include "gateway/api/api.h"
#include "gateway/head.h"
#include "gateway/server.h"

#include <errno.h>

enum { SEARCH_MAX = 256, OFFSET_MAX = 1000000 };

static int read_number(struct request *r, const char *name, uint64_t least, uint64_t most,
                       size_t *ret, struct fail *reterr)
{
    struct str text = head_query(r, name);
    uint64_t n = 0;
    if (!text.p)
        return 0;
    if (num_parse_u64(&n, text, least, UINT64_MAX) < 0)
        return fail_param(reterr, FAIL_invalid_request, name,
                          "'%s' must be an integer of at least %llu", name,
                          (unsigned long long)least);
    *ret = (size_t)(n < most ? n : most);
    return 0;
}

static int read_flag(struct request *r, const char *name, bool *ret, struct fail *reterr)
{
    struct str text = head_query(r, name);
    *ret = str_is(text, "true") || str_is(text, "1");
    if (!text.p || *ret || str_is(text, "false") || str_is(text, "0"))
        return 0;
    return fail_param(reterr, FAIL_invalid_request, name, "'%s' must be true or false", name);
}

static int read_query(struct request *r, struct replay_query *q, struct fail *reterr)
{
    *q = (struct replay_query){
        .recipe = head_query(r, "recipe"),
        .decision = head_query(r, "decision"),
        .model = head_query(r, "model"),
        .session = head_query(r, "session_id"),
        .search = head_query(r, "search"),
        .limit = REPLAY_LIST_DEFAULT,
    };
    if (q->search.n > SEARCH_MAX)
        return fail_param(reterr, FAIL_invalid_request, "search",
                          "'search' may have at most %d bytes", SEARCH_MAX);
    int err = read_number(r, "limit", 1, REPLAY_LIST_MAX, &q->limit, reterr);
    if (err == 0)
        err = read_number(r, "offset", 0, OFFSET_MAX, &q->offset, reterr);
    return err == 0 ? read_flag(r, "showDetails", &q->details, reterr) : err;
}

static void list(struct request *r)
{
    replay_list(server_replay(r->server), r->work_about, &r->reply.body);
}

static void sum(struct request *r)
{
    replay_aggregate(server_replay(r->server), r->work_about, &r->reply.body);
}

/* Looking through all records takes long: not on an http thread. */
static enum next look(struct request *r, void (*work)(struct request *r))
{
    struct fail fail = { 0 };
    struct replay_query *q = arena_alloc(r->arena, sizeof(*q));
    int err = q ? read_query(r, q, &fail) : fail_errno(&fail, -ENOMEM, "reading the query");
    if (err != 0)
        return reply_fail(r, &fail);
    r->work_about = q;
    return server_compute(r, work, reply_made);
}

enum next api_replay_list(struct request *r)
{
    return look(r, list);
}

enum next api_replay_sums(struct request *r)
{
    return look(r, sum);
}

enum next api_replay_show(struct request *r)
{
    struct fail fail;
    if (replay_show(server_replay(r->server), r->params[0], &r->reply.body))
        return reply_json(r);
    (void)fail_set(&fail, FAIL_not_found,
                   "there is no record '" STR_FMT "': it was never kept, or newer ones took its "
                   "place",
                   STR_ARG(str_head(r->params[0], 64)));
    return reply_fail(r, &fail);
}
