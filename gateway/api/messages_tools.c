/*
 * `tools` and `tool_choice`. Tools that Anthropic's servers run, or whose schema only its models
 * know, are left out: an engine behind of the same wire reads them in the client's own bytes.
 */
#include "base/limits.h"
#include "gateway/api/body.h"
#include "gateway/api/messages.h"

#include <ctype.h>
#include <errno.h>

static bool is_tool_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '_' && name.p[i] != '-')
            return false;
    return name.n > 0 && name.n <= MESSAGES_TOOL_NAME;
}

static bool is_built_in(struct str tool)
{
    struct str type = body_part(tool, "type");
    return type.p && !json_view_is(type, "custom");
}

/* {"type":"function","function":{…}}, as chat templates know it. */
static int write_tool(struct chat_tool *t, struct arena *arena)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    buf_adds(&b, "{\"type\":\"function\",\"function\":{\"name\":");
    buf_add_json(&b, t->name);
    if (t->description.n) {
        buf_adds(&b, ",\"description\":");
        buf_add_json(&b, t->description);
    }
    buf_adds(&b, ",\"parameters\":");
    buf_add(&b, t->parameters);
    buf_adds(&b, t->strict ? ",\"strict\":true}}" : "}}");
    t->json = arena_str(arena, buf_str(&b));
    return buf_err(&b) == 0 && t->json.p ? 0 : -ENOMEM;
}

static int read_tool(struct chat_tool *t, struct str v, size_t i, struct arena *arena,
                     struct fail *reterr)
{
    struct str schema = body_part(v, "input_schema"), cache = body_part(v, "cache_control");
    *t = (struct chat_tool){
        .name = json_view_text(body_part(v, "name"), arena),
        .description = json_view_text(body_part(v, "description"), arena),
        .parameters = schema,
        .strict = json_view_true(body_part(v, "strict")),
    };
    if (json_view_kind(cache) == JSON_VIEW_object)
        t->cache_control = cache;
    if (!is_tool_name(t->name))
        return fail_param(reterr, FAIL_invalid_request, "tools",
                          "tools.%zu.custom.name: must have 1 to %d of the letters a-z, A-Z, 0-9, "
                          "'_' and '-'",
                          i, MESSAGES_TOOL_NAME);
    if (json_view_kind(schema) != JSON_VIEW_object)
        return fail_param(reterr, FAIL_invalid_request, "tools",
                          "tools.%zu.custom.input_schema: must be a JSON schema of an object%s", i,
                          schema.p ? "" : "; it is missing");
    return write_tool(t, arena) == 0 ? 0 : body_no_memory(reterr);
}

static int join_tools(struct chat_request *ret, struct arena *arena, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    if (ret->n_tools == 0)
        return 0;
    for (size_t i = 0; i < ret->n_tools; i++) {
        buf_addc(&b, i ? ',' : '[');
        buf_add(&b, ret->tools[i].json);
    }
    buf_addc(&b, ']');
    ret->tools_json = arena_str(arena, buf_str(&b));
    return buf_err(&b) == 0 && ret->tools_json.p ? 0 : body_no_memory(reterr);
}

static int read_tools(struct chat_request *ret, struct str v, struct arena *arena,
                      struct fail *reterr)
{
    size_t n = json_view_count(v);
    if (!v.p)
        return 0;
    if (json_view_kind(v) != JSON_VIEW_array)
        return fail_param(reterr, FAIL_invalid_request, "tools", "tools: must be an array, not %s",
                          body_kind(v));
    struct chat_tool *tools = arena_array(arena, n + 1, sizeof(*tools));
    if (!tools)
        return body_no_memory(reterr);
    ret->tools = tools;
    struct json_view_walk w = json_view_walk(v);
    struct str tool;
    int r = 0;
    for (size_t i = 0; r == 0 && json_view_next(&w, NULL, &tool); i++) {
        if (json_view_kind(tool) != JSON_VIEW_object)
            return fail_param(reterr, FAIL_invalid_request, "tools",
                              "tools.%zu: must be an object, not %s", i, body_kind(tool));
        if (!is_built_in(tool))
            r = read_tool(&tools[ret->n_tools++], tool, i, arena, reterr);
    }
    return r == 0 ? join_tools(ret, arena, reterr) : r;
}

/* ---- which ---- */

static const struct chat_tool *find_tool(const struct chat_request *c, struct str name)
{
    for (size_t i = 0; i < c->n_tools; i++)
        if (str_eq(c->tools[i].name, name))
            return &c->tools[i];
    return NULL;
}

static bool is_left_out(struct str tools, struct str name, struct arena *arena)
{
    struct json_view_walk w = json_view_walk(tools);
    struct str tool;
    while (json_view_next(&w, NULL, &tool))
        if (is_built_in(tool) && str_eq(json_view_text(body_part(tool, "name"), arena), name))
            return true;
    return false;
}

static int choose_tool(struct chat_request *ret, struct str tools, struct str choice,
                       struct arena *arena, struct fail *reterr)
{
    struct str name = json_view_text(body_part(choice, "name"), arena);
    const struct chat_tool *tool = find_tool(ret, name);
    if (tool) {
        ret->tool_choice = TOOL_CHOICE_function;
        ret->tool_choice_name = tool->name;
        return 0;
    }
    if (is_left_out(tools, name, arena))
        return 0; /* and so is the choice */
    return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                      "tool_choice.name: '" STR_FMT "' is not in 'tools'",
                      STR_ARG(str_head(name, MESSAGES_TOOL_NAME)));
}

static int read_choice(struct chat_request *ret, struct str tools, struct str choice,
                       struct arena *arena, struct fail *reterr)
{
    struct str type = body_part(choice, "type");
    bool any = json_view_is(type, "any"), tool = json_view_is(type, "tool");
    ret->single_tool_call = json_view_true(body_part(choice, "disable_parallel_tool_use"));
    if ((any || tool) && json_view_count(tools) == 0)
        return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                          "tool_choice: may only be given together with 'tools'");
    if (tool)
        return choose_tool(ret, tools, choice, arena, reterr);
    if (any)
        ret->tool_choice = ret->n_tools ? TOOL_CHOICE_required : TOOL_CHOICE_auto;
    else if (json_view_is(type, "none"))
        ret->tool_choice = TOOL_CHOICE_none;
    else if (!json_view_is(type, "auto"))
        return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                          "tool_choice.type: must be 'auto', 'any', 'tool' or 'none'");
    return 0;
}

int messages_decode_tools(struct chat_request *ret, struct str tools, struct str choice,
                          struct arena *arena, struct fail *reterr)
{
    int r = read_tools(ret, tools, arena, reterr);
    if (r == 0 && choice.p)
        r = read_choice(ret, tools, choice, arena, reterr);
    if (r == 0 && ret->tool_choice == TOOL_CHOICE_none) { /* the model must not see them */
        ret->barred = ret->tools;
        ret->n_barred = ret->n_tools;
        ret->tools = NULL;
        ret->n_tools = 0;
        ret->tools_json = STR_NULL;
    }
    return r;
}
