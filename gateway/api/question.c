/* A body that only asks for a route: what is read of it, and let pass. */
#include "gateway/api/decode.h"

#include "base/limits.h"

static void drop_tools(struct chat_request *c)
{
    c->tools = NULL;
    c->n_tools = 0;
    c->tools_json = STR_NULL;
}

static int one_message(struct chat_request *ret, const json_t *text, struct arena *arena,
                       struct fail *reterr)
{
    if (!json_is_string(text))
        return fail_param(reterr, FAIL_invalid_request, "text",
                          "send 'text' (a string) or 'messages' (an array)");
    struct chat_message *m = arena_alloc(arena, sizeof(*m));
    if (!m)
        return json_no_memory(reterr);
    *m = (struct chat_message){ .role = STR("user"), .content = json_str_copy(arena, text) };
    ret->messages = m;
    ret->n_messages = 1;
    return m->content.p ? 0 : json_no_memory(reterr);
}

/* Whatever a client calls a tool counts as one: {"function":{"name"}}, {"name"}, {"type"}. */
static int read_tools(struct chat_request *ret, const char *key, const json_t *v,
                      struct arena *arena, struct fail *reterr)
{
    if (!v || json_is_null(v))
        return 0;
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > LIMIT_MESSAGES)
        return fail_param(reterr, FAIL_invalid_request, key,
                          "'%s' must be an array of at most %d objects", key, LIMIT_MESSAGES);
    struct chat_tool *tools = arena_array(arena, ret->n_tools + n + 1, sizeof(*tools));
    if (!tools)
        return json_no_memory(reterr);
    if (ret->n_tools)
        memcpy(tools, ret->tools, ret->n_tools * sizeof(*tools));
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(v, i), *f = json_object_get(t, "function");
        const json_t *name = json_object_get(f ? f : t, "name");
        if (!json_is_object(t))
            return fail_param(reterr, FAIL_invalid_request, key, "%s[%zu] must be an object", key,
                              i);
        tools[ret->n_tools++] = (struct chat_tool){
            .name = json_str_copy(arena, name ? name : json_object_get(t, "type")),
            .description = json_str_copy(arena, json_object_get(f ? f : t, "description")),
            .json = json_text(arena, t),
        };
        if (!tools[ret->n_tools - 1].json.p)
            return json_no_memory(reterr);
    }
    ret->tools = tools;
    if (n)
        ret->tools_json = json_text(arena, v);
    return ret->tools_json.p || !n ? 0 : json_no_memory(reterr);
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

int decode_question(struct chat_request *ret, const json_t *body, struct arena *arena,
                    struct fail *reterr)
{
    const json_t *messages = json_object_get(body, "messages");
    struct bounds k = { 0 };
    *ret = (struct chat_request){ .n = 1, .sampling = SAMPLING_INIT, .model = STR("auto") };
    int r = json_fields(&k, bounds_fields, body, reterr);
    if (r != 0)
        return r;
    if (str_trim(k.model).n)
        ret->model = arena_str(arena, str_trim(k.model));
    ret->max_tokens = (uint32_t)(k.max_completion ? k.max_completion : k.max_tokens);
    if (!ret->model.p)
        return json_no_memory(reterr);
    r = read_tools(ret, "tools", json_object_get(body, "tools"), arena, reterr);
    if (r == 0)
        r = read_tools(ret, "functions", json_object_get(body, "functions"), arena, reterr);
    if (r == 0 && (str_is(json_str(json_object_get(body, "tool_choice")), "none") ||
                   str_is(json_str(json_object_get(body, "function_call")), "none")))
        drop_tools(ret);
    if (r == 0)
        r = decode_metadata(ret, json_object_get(body, "metadata"), arena, reterr);
    if (r != 0)
        return r;
    if (messages && !json_is_null(messages))
        return decode_conversation(ret, messages, arena, reterr);
    return one_message(ret, json_object_get(body, "text"), arena, reterr);
}

int decode_routable(struct chat_request *ret, struct str text, struct arena *arena,
                    struct fail *reterr)
{
    json_auto_t *body = NULL;
    int r = json_body(&body, text, reterr);
    return r == 0 ? decode_question(ret, body, arena, reterr) : r;
}
