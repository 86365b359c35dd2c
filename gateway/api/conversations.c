/*
 * /v1/conversations as far as responses need them. One is kept as two texts: what it is (changed by
 * its owner alone), and its items, each behind a comma, which only grow: gateways may append to
 * them at once.
 */
#include "gateway/api/conversations.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "gateway/api/api.h"
#include "gateway/api/body.h"
#include "gateway/api/responses.h"
#include "gateway/kept.h"
#include "gateway/server.h"

#include <errno.h>

enum { CREATE_ITEMS_MAX = 20 }; /* OpenAI's own, of one request */

static struct str items_name(struct request *r, struct str id)
{
    return str_of(arena_printf(r->arena, STR_FMT ":items", STR_ARG(str_head(id, LIMIT_NAME))));
}

static int no_conversation(struct str id, struct fail *reterr)
{
    return fail_set(reterr, FAIL_not_found, "Conversation with id '" STR_FMT "' not found.",
                    STR_ARG(str_head(id, LIMIT_NAME)));
}

/* *ret: the conversation object. */
static int fetch(struct request *r, struct str id, struct str *ret, struct fail *reterr)
{
    int err = responses_is_id(id, "conv_") ? responses_fetch(r, id, ret, reterr) : -ENOENT;
    return err == -ENOENT ? no_conversation(id, reterr) : err;
}

int conversation_items(struct request *r, struct str id, struct str *ret, struct fail *reterr)
{
    struct str what, items = STR_NULL;
    int err = fetch(r, id, &what, reterr);
    if (err == 0)
        err = responses_fetch(r, items_name(r, id), &items, reterr);
    if (err == -ENOENT)
        err = 0;
    if (err != 0)
        return err;
    char *array = arena_alloc(r->arena, items.n + 3);
    if (!array)
        return -ENOMEM;
    if (items.n)
        memcpy(array, items.p, items.n);
    array[0] = '['; /* where a comma stood */
    size_t n = items.n ? items.n : 1;
    array[n] = ']';
    *ret = (struct str){ array, n + 1 };
    return 0;
}

int conversation_append(struct request *r, struct str id, struct str items)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
    const char *key = responses_key(r, items_name(r, id));
    if (items.n == 0)
        return 0;
    buf_addc(&text, ',');
    buf_add(&text, items);
    int err = key ? buf_err(&text) : -ENOMEM;
    return err == 0 ? kept_append(server_kept(r->server), key, buf_str(&text)) : err;
}

/* ---- what the requests have in common ---- */

static void finish(struct request *r, int err, struct fail *fail)
{
    if (err < 0)
        err = fail_errno(fail, err, "reading the conversation");
    if (err != 0)
        (void)reply_fail(r, fail);
}

/* An empty body is an empty object. */
static int read_body(struct request *r, struct str *ret, struct fail *reterr)
{
    struct str body = str_trim(buf_str(&r->body));
    *ret = body.n ? json_view_value(body) : STR("{}");
    return body.n ? body_check(body, reterr) : 0;
}

static int put_object(struct request *r, struct str id, uint64_t created_s, struct str metadata)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
    buf_adds(&text, "{\"id\":");
    buf_add_json(&text, id);
    buf_addf(&text, ",\"object\":\"conversation\",\"created_at\":%llu,\"metadata\":",
             (unsigned long long)created_s);
    buf_add(&text, json_view_kind(metadata) == JSON_VIEW_object ? metadata : STR("{}"));
    buf_addc(&text, '}');
    const char *key = responses_key(r, id);
    int err = key ? buf_err(&text) : -ENOMEM;
    if (err == 0)
        err = kept_put(server_kept(r->server), key, buf_str(&text));
    buf_add(&r->reply.body, buf_str(&text));
    return err;
}

/* Items of the body, checked, as they are kept. */
static int take_items(struct request *r, struct str array, struct str known, struct buf *ret,
                      struct fail *reterr)
{
    enum json_view_kind kind = json_view_kind(array);
    if (kind == JSON_VIEW_none || kind == JSON_VIEW_null)
        return 0;
    if (kind != JSON_VIEW_array || json_view_count(array) > CREATE_ITEMS_MAX)
        return fail_param(reterr, FAIL_invalid_request, "items",
                          "'items' must be an array of at most %d items", CREATE_ITEMS_MAX);
    struct items to = { .arena = r->arena, .param = "items", .reterr = reterr, .known = known };
    int err = items_decode(&to, array);
    struct item_ids ids = { .base = str_of(r->made + strlen("req_")), .kind = 'c' };
    struct json_view_walk w = json_view_walk(array);
    struct str item;
    while (err == 0 && json_view_next(&w, /* ret_key= */ NULL, &item)) {
        if (ret->n)
            buf_addc(ret, ',');
        items_keep(ret, item, known, &ids);
    }
    return err != 0 ? err : buf_err(ret);
}

/* ---- one conversation ---- */

static int create(struct request *r, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf items = BUF_INIT(LIMIT_BODY);
    struct str body;
    struct str id = str_of(arena_printf(r->arena, "conv_%s", r->made + strlen("req_")));
    int err = read_body(r, &body, reterr);
    if (err == 0)
        err = responses_check_metadata(body, reterr);
    if (err == 0)
        err = take_items(r, json_view_get(body, "items"), STR_NULL, &items, reterr);
    if (err == 0)
        err = put_object(r, id, r->created_s, json_view_get(body, "metadata"));
    return err == 0 ? conversation_append(r, id, buf_str(&items)) : err;
}

static void create_one(struct request *r)
{
    struct fail fail = { 0 };
    finish(r, create(r, &fail), &fail);
}

enum next api_conversations(struct request *r)
{
    return server_work(r, create_one, reply_made);
}

static int update(struct request *r, struct str old, struct fail *reterr)
{
    struct str body;
    uint64_t created_s = 0;
    int err = read_body(r, &body, reterr);
    if (err == 0)
        err = responses_check_metadata(body, reterr);
    (void)json_view_u64(json_view_get(old, "created_at"), &created_s);
    return err == 0 ? put_object(r, r->params[0], created_s, json_view_get(body, "metadata")) : err;
}

static int forget(struct request *r, struct fail *reterr)
{
    struct kept *kept = server_kept(r->server);
    const char *key = responses_key(r, r->params[0]);
    const char *items = responses_key(r, items_name(r, r->params[0]));
    int err = key && items ? kept_remove(kept, key, reterr) : -ENOMEM;
    if (err == 0)
        err = kept_remove(kept, items, reterr);
    if (err != 0 && err != -ENOENT)
        return err;
    buf_adds(&r->reply.body, "{\"id\":");
    buf_add_json(&r->reply.body, r->params[0]);
    buf_adds(&r->reply.body, ",\"object\":\"conversation.deleted\",\"deleted\":true}");
    return 0;
}

static void one(struct request *r)
{
    struct fail fail = { 0 };
    struct str what;
    const char *method = r->endpoint->method;
    int err = fetch(r, r->params[0], &what, &fail);
    if (err == 0 && strcmp(method, "GET") == 0)
        buf_add(&r->reply.body, what);
    else if (err == 0)
        err = strcmp(method, "POST") == 0 ? update(r, what, &fail) : forget(r, &fail);
    finish(r, err, &fail);
}

enum next api_conversation(struct request *r)
{
    return server_work(r, one, reply_made);
}

/* ---- its items ---- */

static int add_items(struct request *r, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf items = BUF_INIT(LIMIT_BODY);
    CLEANUP(buf_done) struct buf array = BUF_INIT(LIMIT_BODY);
    struct str body, known;
    int err = conversation_items(r, r->params[0], &known, reterr);
    if (err == 0)
        err = read_body(r, &body, reterr);
    if (err == 0 && json_view_kind(json_view_get(body, "items")) != JSON_VIEW_array)
        err = fail_param(reterr, FAIL_invalid_request, "items", "'items' must be an array");
    if (err == 0)
        err = take_items(r, json_view_get(body, "items"), known, &items, reterr);
    if (err == 0)
        err = conversation_append(r, r->params[0], buf_str(&items));
    if (err != 0)
        return err;
    const struct item_page all = { .limit = CREATE_ITEMS_MAX, .ascending = true };
    buf_addc(&array, '[');
    buf_add(&array, buf_str(&items));
    buf_addc(&array, ']');
    return buf_err(&array) < 0 ? -ENOMEM
                               : items_list(&r->reply.body, buf_str(&array), &all, reterr);
}

static int list_items(struct request *r, struct fail *reterr)
{
    struct str items;
    int err = conversation_items(r, r->params[0], &items, reterr);
    return err == 0 ? items_list(&r->reply.body, items, r->work_about, reterr) : err;
}

static void items(struct request *r)
{
    struct fail fail = { 0 };
    bool lists = strcmp(r->endpoint->method, "GET") == 0;
    finish(r, lists ? list_items(r, &fail) : add_items(r, &fail), &fail);
}

enum next api_conversation_items(struct request *r)
{
    struct fail fail = { 0 };
    struct item_page *page = arena_alloc(r->arena, sizeof(*page));
    int err = page ? items_page(r, page, &fail) : fail_errno(&fail, -ENOMEM, "listing items");
    if (err != 0)
        return reply_fail(r, &fail);
    r->work_about = page;
    return server_work(r, items, reply_made);
}

/* All but that one are written anew. */
static int forget_item(struct request *r, struct str array, struct str gone)
{
    CLEANUP(buf_done) struct buf left = BUF_INIT(LIMIT_BODY);
    struct json_view_walk w = json_view_walk(array);
    struct str item;
    while (json_view_next(&w, /* ret_key= */ NULL, &item)) {
        if (item.p == gone.p)
            continue;
        buf_addc(&left, ',');
        buf_add(&left, item);
    }
    const char *key = responses_key(r, items_name(r, r->params[0]));
    int err = key ? buf_err(&left) : -ENOMEM;
    return err == 0 ? kept_put(server_kept(r->server), key, buf_str(&left)) : err;
}

static int item(struct request *r, struct fail *reterr)
{
    struct str what, all, found;
    int err = fetch(r, r->params[0], &what, reterr);
    if (err == 0)
        err = conversation_items(r, r->params[0], &all, reterr);
    if (err != 0)
        return err;
    found = items_find(all, r->params[1]);
    if (!found.p)
        return fail_set(reterr, FAIL_not_found, "Item with id '" STR_FMT "' not found.",
                        STR_ARG(str_head(r->params[1], LIMIT_NAME)));
    bool shows = strcmp(r->endpoint->method, "GET") == 0;
    buf_add(&r->reply.body, shows ? found : what);
    return shows ? 0 : forget_item(r, all, found);
}

static void one_item(struct request *r)
{
    struct fail fail = { 0 };
    finish(r, item(r, &fail), &fail);
}

enum next api_conversation_item(struct request *r)
{
    return server_work(r, one_item, reply_made);
}
