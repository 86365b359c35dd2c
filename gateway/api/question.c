/* A body that only asks for a route: what is read of it, and let pass. */
#include "gateway/api/decode.h"

#include "base/limits.h"

static void drop_tools(struct chat_request *c)
{
    c->tools = NULL;
    c->n_tools = 0;
    c->tools_json = STR_NULL;
}

static int one_message(struct chat_request *ret, struct str text, struct arena *arena,
                       struct fail *reterr)
{
    if (!body_is_string(text))
        return fail_param(reterr, FAIL_invalid_request, "text",
                          "send 'text' (a string) or 'messages' (an array)");
    struct chat_message *m = arena_alloc(arena, sizeof(*m));
    if (!m)
        return body_no_memory(reterr);
    *m = (struct chat_message){ .role = STR("user"), .content = json_view_text(text, arena) };
    ret->messages = m;
    ret->n_messages = 1;
    return m->content.p ? 0 : body_no_memory(reterr);
}

/* Whatever a client calls a tool counts as one: {"function":{"name"}}, {"name"}, {"type"}. */
static int read_tools(struct chat_request *ret, const char *key, struct str v, struct arena *arena,
                      struct fail *reterr)
{
    if (!v.p)
        return 0;
    size_t n = json_view_count(v), i = 0;
    if (!body_is_array(v) || n > LIMIT_MESSAGES)
        return fail_param(reterr, FAIL_invalid_request, key,
                          "'%s' must be an array of at most %d objects", key, LIMIT_MESSAGES);
    struct chat_tool *tools = arena_array(arena, ret->n_tools + n + 1, sizeof(*tools));
    if (!tools)
        return body_no_memory(reterr);
    if (ret->n_tools)
        memcpy(tools, ret->tools, ret->n_tools * sizeof(*tools));
    struct str t;
    for (struct json_view_walk w = json_view_walk(v); json_view_next(&w, NULL, &t); i++) {
        struct str f = body_part(t, "function"), name = body_part(f.p ? f : t, "name");
        if (!body_is_object(t))
            return fail_param(reterr, FAIL_invalid_request, key, "%s[%zu] must be an object", key,
                              i);
        tools[ret->n_tools++] = (struct chat_tool){
            .name = json_view_text(name.p ? name : body_part(t, "type"), arena),
            .description = json_view_text(body_part(f.p ? f : t, "description"), arena),
            .json = t,
        };
    }
    ret->tools = tools;
    if (n)
        ret->tools_json = v;
    return 0;
}

struct bounds {
    struct str model;
    int64_t max_tokens, max_completion;
};
static const struct field bounds_fields[] = {
    { "model", FIELD_text, offsetof(struct bounds, model), 0, 0, -1 },
    { "max_tokens", FIELD_int, offsetof(struct bounds, max_tokens), 0, INT32_MAX, -1 },
    { "max_completion_tokens", FIELD_int, offsetof(struct bounds, max_completion), 0, INT32_MAX,
      -1 },
    { 0 },
};

int decode_question(struct chat_request *ret, const struct body *body, struct arena *arena,
                    struct fail *reterr)
{
    struct str messages = body_get(body, "messages");
    struct bounds k = { 0 };
    *ret = (struct chat_request){ .n = 1, .sampling = SAMPLING_INIT, .model = STR("auto") };
    int r = body_fields(&k, bounds_fields, body, arena, reterr);
    if (r != 0)
        return r;
    if (str_trim(k.model).n)
        ret->model = str_trim(k.model);
    ret->max_tokens = (uint32_t)(k.max_completion ? k.max_completion : k.max_tokens);
    r = read_tools(ret, "tools", body_get(body, "tools"), arena, reterr);
    if (r == 0)
        r = read_tools(ret, "functions", body_get(body, "functions"), arena, reterr);
    if (r == 0 && (json_view_is(body_get(body, "tool_choice"), "none") ||
                   json_view_is(body_get(body, "function_call"), "none")))
        drop_tools(ret);
    if (r == 0)
        r = decode_metadata(ret, body_get(body, "metadata"), arena, reterr);
    if (r != 0)
        return r;
    if (messages.p)
        return decode_conversation(ret, messages, arena, reterr);
    return one_message(ret, body_get(body, "text"), arena, reterr);
}

int decode_routable(struct chat_request *ret, struct str text, struct arena *arena,
                    struct fail *reterr)
{
    struct body body;
    int r = body_read(&body, text, arena, reterr);
    return r == 0 ? decode_question(ret, &body, arena, reterr) : r;
}
