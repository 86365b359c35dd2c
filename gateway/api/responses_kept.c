/* Responses that are kept: by whom, as what, and asked for again. */
#include "base/json_view.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/num.h"
#include "engine/upstream/splice.h"
#include "gateway/api/api.h"
#include "gateway/api/conversations.h"
#include "gateway/api/responses.h"
#include "gateway/detached.h"
#include "gateway/head.h"
#include "gateway/kept.h"
#include "gateway/server.h"

#include <ctype.h>
#include <errno.h>

enum { OWNER_DIGITS = 16 };

const char *responses_key(struct request *r, struct str id)
{
    char hex[SHA256_HEX + 1], key[32];
    struct str tenant = r->caller.tenant;
    (void)snprintf(key, sizeof(key), "%llx", (unsigned long long)r->caller.key);
    const char *owner = tenant.p ? arena_printf(r->arena, "tenant " STR_FMT, STR_ARG(tenant))
                                 : arena_printf(r->arena, "key %s", key);
    if (!owner)
        return NULL;
    struct sha256 d = sha256_of(str_of(owner));
    sha256_hex(hex, &d);
    return arena_printf(r->arena, "%.*s:" STR_FMT, OWNER_DIGITS, hex,
                        STR_ARG(str_head(id, LIMIT_NAME)));
}

enum { ID_MAX = 64 };

bool responses_is_id(struct str id, const char *prefix)
{
    bool fits = str_starts(id, str_of(prefix)) && id.n <= ID_MAX;
    for (size_t i = strlen(prefix); i < id.n && fits; i++)
        fits = isalnum((unsigned char)id.p[i]);
    return fits;
}

/* The record of a response of the caller's. */
static int fetch(struct request *r, struct str id, struct str *ret, struct fail *reterr)
{
    return responses_is_id(id, "resp_") ? responses_fetch(r, id, ret, reterr) : -ENOENT;
}

int responses_fetch(struct request *r, struct str id, struct str *ret, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    const char *key = responses_key(r, id);
    int err = key ? kept_get(server_kept(r->server), key, &b, reterr) : -ENOMEM;
    if (err != 0)
        return err;
    *ret = arena_str(r->arena, buf_str(&b));
    return ret->p ? 0 : -ENOMEM;
}

/* ---- what came before ---- */

/* "[a,b]" and "[c]" → "[a,b,c]", in the arena. */
static struct str join_arrays(struct arena *arena, struct str a, struct str b)
{
    struct str one = a.n > 2 ? (struct str){ a.p + 1, a.n - 2 } : STR_NULL;
    struct str two = b.n > 2 ? (struct str){ b.p + 1, b.n - 2 } : STR_NULL;
    CLEANUP(buf_done) struct buf all = BUF_INIT(LIMIT_REQUEST_ARENA);
    buf_addc(&all, '[');
    buf_add(&all, str_trim(one));
    if (str_trim(one).n && str_trim(two).n)
        buf_addc(&all, ',');
    buf_add(&all, str_trim(two));
    buf_addc(&all, ']');
    return buf_err(&all) == 0 ? arena_str(arena, buf_str(&all)) : STR_NULL;
}

static bool is_under_way(struct str response)
{
    struct str status = json_view_get(response, "status");
    return json_view_is(status, "queued") || json_view_is(status, "in_progress");
}

static int load_previous(struct request *r, struct responses *x, struct fail *reterr)
{
    struct str record;
    int err = fetch(r, x->previous, &record, reterr);
    if (err == -ENOENT)
        return fail_param(reterr, FAIL_previous_response_not_found, "previous_response_id",
                          "Previous response with id '" STR_FMT "' not found.",
                          STR_ARG(str_head(x->previous, LIMIT_NAME)));
    if (err == 0 && is_under_way(json_view_get(record, "response")))
        err = fail_param(reterr, FAIL_invalid_request, "previous_response_id",
                         "Previous response with id '" STR_FMT "' is still under way.",
                         STR_ARG(str_head(x->previous, LIMIT_NAME)));
    if (err != 0)
        return err;
    x->context = join_arrays(r->arena, json_view_get(record, "input"),
                             json_view_at(record, "response.output"));
    return x->context.p ? 0 : -ENOMEM;
}

static bool next_reference(struct json_view_walk *w, struct str *ret_id)
{
    struct str item;
    while (json_view_next(w, /* ret_key= */ NULL, &item)) {
        bool named = json_view_is(json_view_get(item, "type"), "item_reference") ||
                     (!json_view_get(item, "type").p && !json_view_get(item, "role").p);
        if (named && json_view_plain(json_view_get(item, "id"), ret_id))
            return true;
    }
    return false;
}

/* An item of an earlier response that the request names: the response is in its id. */
static int load_named(struct request *r, struct responses *x, struct str id, struct fail *reterr)
{
    char response[RESPONSES_ITEM_ID];
    struct str record = STR_NULL;
    if (items_find(x->known, id).p || !items_response(id, response))
        return 0;
    int err = fetch(r, str_of(response), &record, reterr);
    if (err != 0)
        return err == -ENOENT ? 0 : err; /* the decoder says that it is unknown */
    struct str item = items_find(json_view_at(record, "response.output"), id);
    if (!item.p)
        item = items_find(json_view_get(record, "input"), id);
    if (!item.p)
        return 0;
    char *array = arena_alloc(r->arena, item.n + 2);
    if (!array)
        return -ENOMEM;
    array[0] = '[';
    memcpy(array + 1, item.p, item.n);
    array[item.n + 1] = ']';
    x->known = join_arrays(r->arena, x->known, (struct str){ array, item.n + 2 });
    return x->known.p ? 0 : -ENOMEM;
}

bool responses_refers(const struct responses *x)
{
    struct json_view_walk w = json_view_walk(x->input);
    struct str id;
    bool is_list = json_view_kind(x->input) == JSON_VIEW_array;
    return x->previous.n || x->conversation.n || (is_list && next_reference(&w, &id));
}

void responses_load(struct request *r)
{
    struct responses *x = r->front;
    struct fail *fail = &x->failed;
    int err = x->previous.n ? load_previous(r, x, fail) : 0;
    if (x->conversation.n)
        err = conversation_items(r, x->conversation, &x->context, fail);
    x->known = x->context;
    struct json_view_walk w = json_view_walk(x->input);
    struct str id;
    while (err == 0 && json_view_kind(x->input) == JSON_VIEW_array && next_reference(&w, &id))
        err = load_named(r, x, id, fail);
    if (err < 0)
        (void)fail_errno(fail, err, "reading the turns before");
}

/* ---- keeping one ---- */

/* Whether the record of a background response was taken away, or says that it was cancelled. */
static bool is_given_up(struct request *r, const char *id)
{
    struct fail fail;
    struct str record;
    int err = responses_fetch(r, str_of(id), &record, &fail);
    return err == -ENOENT ||
           (err == 0 && json_view_is(json_view_at(record, "response.status"), "cancelled"));
}

void responses_keep(struct request *r)
{
    static struct log_rate rate;
    struct responses *x = r->front;
    struct answer *a = r->answer;
    if (x->background && is_given_up(r, a->id))
        return;
    const char *key = responses_key(r, str_of(a->id));
    int err = buf_err(&x->record);
    if (err == 0)
        err = key ? kept_put(server_kept(r->server), key, buf_str(&x->record)) : -ENOMEM;
    if (err == 0 && x->conversation.n && !a->is_failed) {
        CLEANUP(buf_done) struct buf items = BUF_INIT(LIMIT_BODY);
        buf_add(&items, buf_str(&x->own));
        if (x->own.n && x->output.n)
            buf_addc(&items, ',');
        buf_add(&items, buf_str(&x->output));
        err = conversation_append(r, x->conversation, buf_str(&items));
    }
    if (err < 0)
        log_rated(&rate, LOG_warn, "kept", "response=%s cause=%s", a->id, strerror(-err));
}

/* No worker is free: the client is not kept waiting for one. */
static void keep_later(struct request *r)
{
    static struct log_rate rate;
    const struct responses *x = r->front;
    const char *key = responses_key(r, str_of(r->answer->id));
    int err = key ? kept_put_later(server_kept(r->server), key, buf_str(&x->record)) : -ENOMEM;
    if (err < 0)
        log_rated(&rate, LOG_warn, "kept", "response=%s cause=%s", r->answer->id, strerror(-err));
}

static enum responses_keeping begin_keeping(struct request *r)
{
    if (!kept_blocks(server_kept(r->server)))
        responses_keep(r);
    else if (server_work_aside(r, responses_keep) == 0)
        return KEEPING_now;
    else
        keep_later(r);
    return KEEPING_done;
}

bool responses_settle(struct answer *a)
{
    struct request *r = a->request;
    struct responses *x = r->front;
    if (x->keeping == KEEPING_not_yet) {
        responses_end(a);
        x->keeping = x->store ? begin_keeping(r) : KEEPING_done;
    }
    LOCKED(&r->flow.lock);
    if (x->keeping == KEEPING_now && r->worked)
        x->keeping = KEEPING_done;
    return x->keeping == KEEPING_done;
}

/* ---- asked for again ---- */

static void not_found(struct request *r, struct str id)
{
    struct fail fail;
    (void)fail_set(&fail, FAIL_not_found, "Response with id '" STR_FMT "' not found.",
                   STR_ARG(str_head(id, LIMIT_NAME)));
    (void)reply_fail(r, &fail);
}

static void answer_fault(struct request *r, int err, struct fail *fail, struct str id)
{
    if (err == -ENOENT) {
        not_found(r, id);
        return;
    }
    if (err < 0)
        (void)fail_errno(fail, err, "reading what is kept");
    (void)reply_fail(r, fail);
}

/* The record of one that nobody here works on ends so, from now on: JSON of its status and error.
 */
static int end_record(struct request *r, struct str *record, const char *status, const char *error)
{
    struct str old = json_view_at(*record, "response.status");
    struct str none = json_view_at(*record, "response.error");
    const char *key = responses_key(r, r->params[0]);
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    if (!key || !old.p || !none.p || none.p < old.p) /* as responses_print has them */
        return -ENOMEM;
    size_t after_old = (size_t)(old.p - record->p) + old.n;
    size_t at_none = (size_t)(none.p - record->p);
    buf_add(&b, str_head(*record, (size_t)(old.p - record->p)));
    buf_adds(&b, status);
    buf_add(&b, str_head(str_sub(*record, after_old), at_none - after_old));
    buf_adds(&b, error);
    buf_add(&b, str_sub(*record, at_none + none.n));
    *record = arena_str(r->arena, buf_str(&b));
    int err = record->p ? buf_err(&b) : -ENOMEM;
    return err == 0 ? kept_put(server_kept(r->server), key, *record) : err;
}

enum { LOST_S = 60 }; /* that long after its deadline nobody works on a response any more */

/* The gateway that worked on it has died. */
static bool is_lost(const struct request *r, struct str record)
{
    uint64_t created_s = 0, timeout_ms = r->state->config->gateway.request_timeout_ms;
    (void)json_view_u64(json_view_at(record, "response.created_at"), &created_s);
    return timeout_ms && is_under_way(json_view_get(record, "response")) &&
           created_s + timeout_ms / 1000 + LOST_S < r->created_s;
}

/* As it was kept, but for one that has begun here since: readers see how far it is in its stream.
 */
static void print_shown(struct request *r, struct str response)
{
    struct splice now = { .key = "status", .json = STR("\"in_progress\"") };
    const char *key = responses_key(r, r->params[0]);
    bool waits = json_view_is(json_view_get(response, "status"), "queued");
    if (!waits || !key || !detached_has_begun(server_detached(r->server), key) ||
        splice_object(&r->reply.body, response, &now, 1) < 0)
        buf_add(&r->reply.body, response);
}

static void show(struct request *r)
{
    static const char lost[] = "{\"code\":\"server_error\",\"message\":"
                               "\"the gateway that worked on it is gone\"}";
    struct fail fail = { 0 };
    struct str record;
    int err = fetch(r, r->params[0], &record, &fail);
    if (err == 0 && is_lost(r, record))
        err = end_record(r, &record, "\"failed\"", lost);
    if (err == 0)
        print_shown(r, json_view_get(record, "response"));
    else
        answer_fault(r, err, &fail, r->params[0]);
}

/* Where one runs that nobody wants any more: here, or told to the gateway that it is at. */
static void stop(struct request *r, const char *key, struct str record)
{
    static struct log_rate rate;
    if (!is_under_way(json_view_get(record, "response")) ||
        detached_cancel(server_detached(r->server), key) == 0)
        return;
    int err = kept_stop(server_kept(r->server), key);
    if (err < 0)
        log_rated(&rate, LOG_warn, "kept", "stopping=%s cause=%s", key, strerror(-err));
}

static void forget(struct request *r)
{
    struct fail fail = { 0 };
    struct str record = STR_NULL;
    const char *key = responses_key(r, r->params[0]);
    (void)fetch(r, r->params[0], &record, &fail); /* whether it still runs somewhere */
    int err = !key ? -ENOMEM
              : !responses_is_id(r->params[0], "resp_")
                  ? -ENOENT
                  : kept_remove(server_kept(r->server), key, &fail);
    if (err != 0) {
        answer_fault(r, err, &fail, r->params[0]);
        return;
    }
    stop(r, key, record);
    buf_adds(&r->reply.body, "{\"id\":");
    buf_add_json(&r->reply.body, r->params[0]);
    buf_adds(&r->reply.body, ",\"object\":\"response\",\"deleted\":true}");
}

/* ---- … as a stream ---- */

static void replay(struct request *r)
{
    struct fail fail = { 0 };
    struct str record;
    const uint64_t *skip = r->work_about;
    int err = fetch(r, r->params[0], &record, &fail);
    struct str response = err == 0 ? json_view_get(record, "response") : STR_NULL;
    if (err == 0 && is_under_way(response))
        err = fail_set(&fail, FAIL_conflict,
                       "the response is under way at another gateway; ask for it without 'stream'");
    if (err == 0)
        responses_replay(&r->reply.body, response, *skip);
    else
        answer_fault(r, err, &fail, r->params[0]);
}

static enum next as_stream(struct request *r)
{
    if (r->reply.status)
        return NEXT_reply;
    enum next next = reply_json(r);
    if (r->reply.status == 200)
        r->reply.type = "text/event-stream; charset=utf-8";
    return next;
}

enum next responses_follow(struct request *r, struct str id, uint64_t skip)
{
    const char *key = responses_key(r, id);
    if (!key || detached_follow(server_detached(r->server), r, key, skip) < 0)
        return NEXT_wait;
    r->reply.status = 200;
    r->reply.type = "text/event-stream; charset=utf-8";
    reply_header(r, "Cache-Control", STR("no-cache"));
    reply_header(r, "X-Accel-Buffering", STR("no"));
    return NEXT_stream;
}

static enum next stream_again(struct request *r)
{
    struct fail fail = { 0 };
    struct str after = head_query(r, "starting_after");
    uint64_t *skip = arena_alloc(r->arena, sizeof(*skip)), number = 0;
    int err = skip ? 0 : fail_errno(&fail, -ENOMEM, "reading what is kept");
    if (err == 0 && after.p && num_parse_u64(&number, after, 0, UINT32_MAX) < 0)
        err = fail_param(&fail, FAIL_invalid_request, "starting_after",
                         "'starting_after' must be the sequence number of an event");
    if (err != 0)
        return reply_fail(r, &fail);
    *skip = after.p ? number + 1 : 0;
    enum next next = responses_follow(r, r->params[0], *skip);
    if (next == NEXT_stream)
        return next;
    r->work_about = skip;
    return server_work(r, replay, as_stream);
}

enum next api_response(struct request *r)
{
    bool shows = strcmp(r->endpoint->method, "GET") == 0;
    if (shows && str_is(head_query(r, "stream"), "true"))
        return stream_again(r);
    return server_work(r, shows ? show : forget, reply_made);
}

static void list(struct request *r)
{
    struct fail fail = { 0 };
    struct str record;
    int err = fetch(r, r->params[0], &record, &fail);
    if (err == 0)
        err = items_list(&r->reply.body, json_view_get(record, "input"), r->work_about, &fail);
    if (err != 0)
        answer_fault(r, err, &fail, r->params[0]);
}

enum next api_response_items(struct request *r)
{
    struct fail fail = { 0 };
    struct item_page *page = arena_alloc(r->arena, sizeof(*page));
    if (!page)
        return reply_fail(r, (fail_errno(&fail, -ENOMEM, "listing items"), &fail));
    if (items_page(r, page, &fail) != 0)
        return reply_fail(r, &fail);
    r->work_about = page;
    return server_work(r, list, reply_made);
}

enum { CANCEL_MS = 2000 };

static void cancel(struct request *r)
{
    struct fail fail = { 0 };
    struct str record;
    struct detached *d = server_detached(r->server);
    const char *key = responses_key(r, r->params[0]);
    int err = key ? fetch(r, r->params[0], &record, &fail) : -ENOMEM;
    if (err == 0 && !json_view_true(json_view_at(record, "response.background")))
        err = fail_set(&fail, FAIL_invalid_request, "Cannot cancel a synchronous response.");
    if (err == 0 && is_under_way(json_view_get(record, "response"))) {
        stop(r, key, record);
        detached_wait(d, key, CANCEL_MS);
        err = fetch(r, r->params[0], &record, &fail);
        if (err == 0 && is_under_way(json_view_get(record, "response")))
            err = end_record(r, &record, "\"cancelled\"", "null");
    }
    if (err == 0)
        buf_add(&r->reply.body, json_view_get(record, "response"));
    else
        answer_fault(r, err, &fail, r->params[0]);
}

enum next api_response_cancel(struct request *r)
{
    return server_work(r, cancel, reply_made);
}
