#include "gateway/api/responses.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "base/num.h"
#include "gateway/api/json.h"
#include "gateway/head.h"

#include <errno.h>

/* ---- items → messages ---- */

static int bad_item(const struct items *to, size_t i, const char *field, const char *what)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "%s[%zu]%s%s", to->param, i, field[0] ? "." : "", field);
    return fail_param(to->reterr, FAIL_invalid_request, param, "'%s' %s", param, what);
}

static int unserved_item(const struct items *to, size_t i, const char *what, struct str type)
{
    return fail_param(to->reterr, FAIL_unsupported_parameter, to->param,
                      "%s[%zu] %s of the type '" STR_FMT "', which is not served", to->param, i,
                      what, STR_ARG(str_head(type, LIMIT_NAME)));
}

static struct str string_of(const struct items *to, struct str object, const char *key)
{
    return json_view_text(json_view_get(object, key), to->arena);
}

static bool is_given(struct str value)
{
    enum json_view_kind kind = json_view_kind(value);
    return kind != JSON_VIEW_none && kind != JSON_VIEW_null;
}

static struct chat_message *add_message(struct items *to, struct str role)
{
    if (to->n == to->room) {
        size_t room = to->room ? to->room * 2 : 16;
        struct chat_message *grown = arena_array(to->arena, room, sizeof(*grown));
        if (!grown)
            return NULL;
        if (to->n)
            memcpy(grown, to->messages, to->n * sizeof(*grown));
        to->messages = grown;
        to->room = room;
    }
    struct chat_message *m = &to->messages[to->n++];
    *m = (struct chat_message){ .role = role, .content = STR("") };
    m->source_content = m->content.p;
    to->open = str_is(role, "assistant");
    return m;
}

int items_say(struct items *to, struct str role, struct str text)
{
    struct chat_message *m = add_message(to, role);
    if (!m)
        return json_no_memory(to->reterr);
    m->content = text;
    m->source_content = text.p;
    to->open = false;
    return 0;
}

/* The assistant's message that goes on, or a new one. */
static struct chat_message *assistant(struct items *to)
{
    return to->open ? &to->messages[to->n - 1] : add_message(to, STR("assistant"));
}

/* "data:image/png;base64,…" */
static void take_url(struct chat_part *p, struct str url)
{
    ptrdiff_t at = str_find(url, STR(";base64,"));
    if (!str_starts(url, STR("data:")) || at < 0) {
        p->url = url;
        return;
    }
    p->media_type = str_sub(str_head(url, (size_t)at), strlen("data:"));
    p->data = str_sub(url, (size_t)at + strlen(";base64,"));
}

static int take_image(struct items *to, size_t i, struct str part, struct chat_part *p)
{
    struct str url = string_of(to, part, "image_url");
    if (!url.p && is_given(json_view_get(part, "file_id")))
        return bad_item(to, i, "content", "names a file_id; files are not kept here, send the URL");
    if (!url.p || url.n == 0)
        return bad_item(to, i, "content", "holds an input_image without its image_url");
    p->kind = CHAT_PART_image;
    p->detail = string_of(to, part, "detail");
    take_url(p, url);
    return 0;
}

static int take_file(struct items *to, size_t i, struct str part, struct chat_part *p)
{
    struct str data = string_of(to, part, "file_data"), url = string_of(to, part, "file_url");
    if (!data.p && !url.p)
        return bad_item(to, i, "content",
                        "holds an input_file without file_data or file_url; no other is served");
    p->kind = CHAT_PART_file;
    p->name = string_of(to, part, "filename");
    take_url(p, data.p ? data : url);
    if (data.p && p->url.p) { /* base64 and nothing else */
        *p = (struct chat_part){ CHAT_PART_file, .media_type = STR("application/pdf"), .data = data,
                                 .name = p->name };
    }
    return 0;
}

static bool is_text(struct str type)
{
    static const char *const types[] = { "input_text", "output_text",  "text",
                                         "refusal",    "summary_text", "reasoning_text" };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_is(type, types[i]))
            return true;
    return false;
}

static int take_part(struct items *to, size_t i, struct str part, struct chat_part *p)
{
    struct str type = string_of(to, part, "type");
    if (json_view_kind(part) != JSON_VIEW_object || !type.p)
        return bad_item(to, i, "content", "must hold parts, objects with a 'type'");
    if (str_is(type, "input_image"))
        return take_image(to, i, part, p);
    if (str_is(type, "input_file"))
        return take_file(to, i, part, p);
    if (!is_text(type))
        return unserved_item(to, i, "holds a part", type);
    p->text = string_of(to, part, str_is(type, "refusal") ? "refusal" : "text");
    return p->text.p ? 0 : bad_item(to, i, "content", "holds a text part without its text");
}

/* Texts are joined by a newline; alone, one is not copied. */
static int join_texts(struct items *to, struct chat_message *m, const struct chat_part *parts,
                      size_t n)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
    const struct chat_part *only = NULL;
    size_t n_texts = 0;
    for (size_t k = 0; k < n; k++)
        if (parts[k].kind == CHAT_PART_text) {
            only = &parts[k];
            n_texts++;
        }
    for (size_t k = 0; k < n && n_texts > 1; k++) {
        if (parts[k].kind != CHAT_PART_text)
            continue;
        if (text.n)
            buf_addc(&text, '\n');
        buf_add(&text, parts[k].text);
    }
    m->content = n_texts == 0   ? STR("")
                 : n_texts == 1 ? only->text
                                : arena_str(to->arena, buf_str(&text));
    return buf_err(&text) == 0 && m->content.p ? 0 : json_no_memory(to->reterr);
}

static int take_content(struct items *to, size_t i, struct str content, struct chat_message *m)
{
    enum json_view_kind kind = json_view_kind(content);
    if (kind == JSON_VIEW_string) {
        m->content = json_view_text(content, to->arena);
        m->source_content = m->content.p;
        return m->content.p ? 0 : json_no_memory(to->reterr);
    }
    if (kind != JSON_VIEW_array)
        return bad_item(to, i, "content", "must be a string or an array of parts");
    size_t n = json_view_count(content), k = 0;
    struct chat_part *parts = arena_array(to->arena, n + 1, sizeof(*parts));
    if (!parts)
        return json_no_memory(to->reterr);
    struct str part;
    struct json_view_walk w = json_view_walk(content);
    while (k < n && json_view_next(&w, /* ret_key= */ NULL, &part)) {
        int r = take_part(to, i, part, &parts[k]);
        if (r != 0)
            return r;
        m->n_images += parts[k++].kind != CHAT_PART_text;
    }
    if (m->n_images) {
        m->parts = parts;
        m->n_parts = n;
    }
    int r = join_texts(to, m, parts, n);
    m->source_content = m->content.p;
    return r;
}

static int take_message(struct items *to, size_t i, struct str item)
{
    static const char *const roles[] = { "user", "assistant", "system", "developer" };
    struct str role = string_of(to, item, "role");
    size_t k = 0;
    while (k < ARRAY_LEN(roles) && !str_is(role, roles[k]))
        k++;
    if (k == ARRAY_LEN(roles))
        return bad_item(to, i, "role", "must be one of user, assistant, system, developer");
    struct chat_message *last = to->n ? &to->messages[to->n - 1] : NULL;
    bool goes_on = str_is(role, "assistant") && to->open && last && last->content.n == 0 &&
                   last->n_tool_calls == 0;
    struct chat_message *m = goes_on ? last : add_message(to, str_of(roles[k]));
    return m ? take_content(to, i, json_view_get(item, "content"), m) : json_no_memory(to->reterr);
}

/* Room for one more call: the array doubles where it is full. */
static struct chat_tool_call *add_call(struct items *to, struct chat_message *m)
{
    size_t n = m->n_tool_calls;
    struct chat_tool_call *calls = (struct chat_tool_call *)(uintptr_t)m->tool_calls;
    if ((n & (n - 1)) == 0) {
        calls = arena_array(to->arena, n ? n * 2 : 1, sizeof(*calls));
        if (!calls)
            return NULL;
        if (n)
            memcpy(calls, m->tool_calls, n * sizeof(*calls));
        m->tool_calls = calls;
    }
    m->n_tool_calls++;
    return &calls[n];
}

static int take_call(struct items *to, size_t i, struct str item)
{
    struct chat_tool_call call = { .id = string_of(to, item, "call_id"),
                                   .name = string_of(to, item, "name"),
                                   .arguments = string_of(to, item, "arguments") };
    if (!call.id.p || !call.name.p || !call.arguments.p)
        return bad_item(to, i, "",
                        "must have 'call_id', 'name' and 'arguments', which are strings");
    struct chat_message *m = assistant(to);
    struct chat_tool_call *at = m ? add_call(to, m) : NULL;
    if (!at)
        return json_no_memory(to->reterr);
    *at = call;
    return 0;
}

static int take_output(struct items *to, size_t i, struct str item)
{
    struct str id = string_of(to, item, "call_id");
    if (!id.p || id.n == 0)
        return bad_item(to, i, "call_id", "is missing");
    struct str output = json_view_get(item, "output");
    if (!is_given(output))
        return bad_item(to, i, "output", "is missing");
    struct chat_message *m = add_message(to, STR("tool"));
    if (!m)
        return json_no_memory(to->reterr);
    m->tool_call_id = id;
    return take_content(to, i, output, m);
}

/* The texts of content, or else of summary. */
static int take_reasoning(struct items *to, size_t i, struct str item)
{
    struct chat_message text = { 0 };
    struct str parts = json_view_get(item, "content");
    if (json_view_count(parts) == 0)
        parts = json_view_get(item, "summary");
    if (is_given(parts)) {
        int r = take_content(to, i, parts, &text);
        if (r != 0)
            return r;
    }
    to->open = false; /* a turn begins with what was thought */
    struct chat_message *m = assistant(to);
    if (!m)
        return json_no_memory(to->reterr);
    struct str encrypted = string_of(to, item, "encrypted_content");
    m->reasoning = text.content;
    if (!encrypted.n)
        return 0;
    struct chat_thought *thought = arena_alloc(to->arena, sizeof(*thought));
    if (!thought)
        return json_no_memory(to->reterr);
    *thought = text.content.n
                   ? (struct chat_thought){ .text = m->reasoning, .signature = encrypted }
                   : (struct chat_thought){ .redacted = encrypted };
    m->thoughts = thought;
    m->n_thoughts = 1;
    return 0;
}

static int take_item(struct items *to, size_t i, struct str item);

static int take_reference(struct items *to, size_t i, struct str item)
{
    struct str id = string_of(to, item, "id");
    struct str named = id.p ? items_find(to->known, id) : STR_NULL;
    if (!named.p)
        return fail_param(to->reterr, FAIL_not_found, to->param,
                          "Item with id '" STR_FMT "' not found.",
                          STR_ARG(str_head(id, LIMIT_NAME)));
    return take_item(to, i, named);
}

static bool is_reference(struct str item)
{
    struct str type = json_view_get(item, "type");
    return json_view_is(type, "item_reference") ||
           (!is_given(type) && !json_view_get(item, "role").p && json_view_get(item, "id").p);
}

static int take_item(struct items *to, size_t i, struct str item)
{
    struct str type = json_view_get(item, "type");
    if (json_view_kind(item) != JSON_VIEW_object)
        return bad_item(to, i, "", "must be an object");
    if (is_reference(item))
        return take_reference(to, i, item);
    if (!is_given(type) || json_view_is(type, "message"))
        return take_message(to, i, item);
    if (json_view_is(type, "function_call"))
        return take_call(to, i, item);
    if (json_view_is(type, "function_call_output"))
        return take_output(to, i, item);
    if (json_view_is(type, "reasoning"))
        return take_reasoning(to, i, item);
    return unserved_item(to, i, "is", json_view_text(type, to->arena));
}

int items_decode(struct items *to, struct str array)
{
    struct json_view_walk w = json_view_walk(array);
    struct str item;
    for (size_t i = 0; json_view_next(&w, /* ret_key= */ NULL, &item); i++) {
        if (i == LIMIT_MESSAGES || to->n >= LIMIT_MESSAGES)
            return fail_param(to->reterr, FAIL_invalid_request, to->param,
                              "'%s' may hold at most %d items", to->param, LIMIT_MESSAGES);
        int r = take_item(to, i, item);
        if (r != 0)
            return r;
    }
    return 0;
}

/* ---- items as they are kept ---- */

void items_id(struct item_ids *ids, const char *prefix, char ret[static RESPONSES_ITEM_ID])
{
    (void)snprintf(ret, RESPONSES_ITEM_ID, "%s_%.*s%c%zu", prefix, STR_ARG(str_head(ids->base, 24)),
                   ids->kind, ids->n++);
}

enum { ID_BASE = 24 };

bool items_response(struct str item_id, char ret[static RESPONSES_ITEM_ID])
{
    struct str prefix, base;
    if (!str_cut(item_id, '_', &prefix, &base) || base.n < ID_BASE + 2)
        return false;
    (void)snprintf(ret, RESPONSES_ITEM_ID, "resp_%.*s", STR_ARG(str_head(base, ID_BASE)));
    return true;
}

struct str items_find(struct str array, struct str id)
{
    struct json_view_walk w = json_view_walk(array);
    struct str item, own;
    while (json_view_next(&w, /* ret_key= */ NULL, &item))
        if (json_view_plain(json_view_get(item, "id"), &own) && str_eq(own, id) &&
            !is_reference(item))
            return item;
    return STR_NULL;
}

/* Members that are not null, each behind a comma; those of `but` (ends with NULL) are left out. */
static void add_members(struct buf *b, struct str object, const char *const *but)
{
    struct json_view_walk w = json_view_walk(object);
    struct str key, value;
    while (json_view_next(&w, &key, &value)) {
        bool skip = !is_given(value);
        for (const char *const *name = but; *name && !skip; name++)
            skip = str_is(key, *name);
        if (skip)
            continue;
        buf_adds(b, ",\"");
        buf_add(b, key);
        buf_adds(b, "\":");
        buf_add(b, value);
    }
}

static void keep_part(struct buf *b, struct str part, bool is_output)
{
    struct str type = json_view_get(part, "type");
    bool is_out = json_view_is(type, "output_text") || (is_output && json_view_is(type, "text"));
    buf_adds(b, "{\"type\":");
    if (is_out)
        buf_adds(b, "\"output_text\"");
    else if (json_view_is(type, "text"))
        buf_adds(b, "\"input_text\"");
    else
        buf_add(b, type);
    add_members(b, part, (const char *const[]){ "type", NULL });
    if (is_out && !is_given(json_view_get(part, "annotations")))
        buf_adds(b, ",\"annotations\":[]");
    if (is_out && !is_given(json_view_get(part, "logprobs")))
        buf_adds(b, ",\"logprobs\":[]");
    if (json_view_is(type, "input_image") && !is_given(json_view_get(part, "detail")))
        buf_adds(b, ",\"detail\":\"auto\"");
    buf_addc(b, '}');
}

static void keep_content(struct buf *b, struct str content, bool is_output)
{
    buf_adds(b, ",\"content\":[");
    if (json_view_kind(content) == JSON_VIEW_string) {
        buf_adds(b, is_output ? "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],"
                              : "{\"type\":\"input_text\",");
        buf_adds(b, "\"text\":");
        buf_add(b, content);
        buf_addc(b, '}');
    }
    struct json_view_walk w = json_view_walk(content);
    struct str part;
    for (size_t n = 0; json_view_next(&w, /* ret_key= */ NULL, &part); n++) {
        if (n)
            buf_addc(b, ',');
        keep_part(b, part, is_output);
    }
    buf_addc(b, ']');
}

static void begin_item(struct buf *b, struct str item, const char *prefix, struct item_ids *ids)
{
    struct str id = json_view_get(item, "id");
    buf_adds(b, "{\"id\":");
    if (json_view_kind(id) == JSON_VIEW_string) {
        buf_add(b, id);
        return;
    }
    char made[RESPONSES_ITEM_ID];
    items_id(ids, prefix, made);
    buf_addf(b, "\"%s\"", made);
}

void items_keep(struct buf *b, struct str item, struct str known, struct item_ids *ids)
{
    if (is_reference(item)) {
        struct str id;
        if (json_view_plain(json_view_get(item, "id"), &id))
            item = items_find(known, id);
    }
    struct str type = json_view_get(item, "type");
    bool is_message = !is_given(type) || json_view_is(type, "message");
    bool is_reasoning = json_view_is(type, "reasoning");
    begin_item(b, item,
               is_message                            ? "msg"
               : is_reasoning                        ? "rs"
               : json_view_is(type, "function_call") ? "fc"
                                                     : "fco",
               ids);
    if (is_message) {
        buf_adds(b, ",\"type\":\"message\"");
        add_members(b, item, (const char *const[]){ "id", "type", "status", "content", NULL });
        keep_content(b, json_view_get(item, "content"),
                     json_view_is(json_view_get(item, "role"), "assistant"));
    } else {
        add_members(b, item, (const char *const[]){ "id", "status", NULL });
    }
    if (is_reasoning && !is_given(json_view_get(item, "summary")))
        buf_adds(b, ",\"summary\":[]");
    struct str status = json_view_get(item, "status");
    buf_adds(b, ",\"status\":");
    buf_add(b, is_given(status) ? status : STR("\"completed\""));
    buf_addc(b, '}');
}

/* ---- lists of them ---- */

enum { PAGE_USUAL = 20, PAGE_MAX = 100 };

int items_page(struct request *r, struct item_page *ret, struct fail *reterr)
{
    struct str limit = head_query(r, "limit"), order = head_query(r, "order");
    uint64_t n = PAGE_USUAL;
    if (limit.p && num_parse_u64(&n, limit, 1, PAGE_MAX) < 0)
        return fail_param(reterr, FAIL_invalid_request, "limit",
                          "'limit' must be an integer between 1 and %d", PAGE_MAX);
    if (order.p && !str_is(order, "asc") && !str_is(order, "desc"))
        return fail_param(reterr, FAIL_invalid_request, "order", "'order' must be asc or desc");
    *ret = (struct item_page){ .after = head_query(r, "after"),
                               .limit = (size_t)n,
                               .ascending = str_is(order, "asc") };
    return 0;
}

/* Item i of the page's order. */
static struct str item_at(const struct str *items, size_t n, size_t i, bool ascending)
{
    return items[ascending ? i : n - 1 - i];
}

static void add_id(struct buf *b, const char *name, struct str item)
{
    buf_addf(b, ",\"%s\":", name);
    if (item.p)
        buf_add(b, json_view_get(item, "id"));
    else
        buf_adds(b, "\"\"");
}

static int print_page(struct buf *b, const struct str *items, size_t n,
                      const struct item_page *page, struct fail *reterr)
{
    size_t from = 0;
    struct str id;
    bool found = page->after.n == 0;
    for (size_t i = 0; i < n && !found; i++) {
        found = json_view_plain(json_view_get(item_at(items, n, i, page->ascending), "id"), &id) &&
                str_eq(id, page->after);
        from = i + 1;
    }
    if (!found)
        return fail_param(reterr, FAIL_invalid_request, "after",
                          "'after' names no item of this list: '" STR_FMT "'",
                          STR_ARG(str_head(page->after, LIMIT_NAME)));
    size_t end = n - from > page->limit ? from + page->limit : n;
    buf_adds(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = from; i < end; i++) {
        if (i > from)
            buf_addc(b, ',');
        buf_add(b, item_at(items, n, i, page->ascending));
    }
    buf_addc(b, ']');
    add_id(b, "first_id", from < end ? item_at(items, n, from, page->ascending) : STR_NULL);
    add_id(b, "last_id", from < end ? item_at(items, n, end - 1, page->ascending) : STR_NULL);
    buf_addf(b, ",\"has_more\":%s}", end < n ? "true" : "false");
    return 0;
}

int items_list(struct buf *b, struct str array, const struct item_page *page, struct fail *reterr)
{
    size_t n = json_view_count(array), k = 0;
    CLEANUP(own_free) struct str *items = calloc(n + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    struct json_view_walk w = json_view_walk(array);
    while (k < n && json_view_next(&w, /* ret_key= */ NULL, &items[k]))
        k++;
    return print_page(b, items, k, page, reterr);
}
