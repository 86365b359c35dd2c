#include "gateway/api/decode.h"

#include "base/limits.h"

enum { TOOL_NAME_BYTES = 128 }; /* OpenAI takes 64 letters; others write paths and more scripts */

/* The name stands bare in prompts and between the marks of calls: nothing that could end it there.
 */
static bool is_tool_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == '\x7f' ||
            strchr("\"\\{}[]<>", name.p[i]))
            return false;
    return name.n > 0 && name.n <= TOOL_NAME_BYTES;
}

static int bad_tool(struct fail *reterr, size_t i, const char *field, const char *what)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "tools[%zu].function.%s", i, field);
    return fail_param(reterr, FAIL_invalid_request, param, "'%s' %s", param, what);
}

/* ---- tools ---- */

enum part { NAME, DESCRIPTION, PARAMETERS, STRICT, PARTS };
static const char *const parts[PARTS] = { "name", "description", "parameters", "strict" };

/* One entry of `tools`, a function. */
static int decode_function(struct chat_tool *ret, struct str tool, size_t i, struct arena *arena,
                           struct fail *reterr)
{
    struct str given[PARTS], cache = body_part(tool, "cache_control");
    body_parts(body_part(tool, "function"), parts, PARTS, given);
    if (!body_is_string(given[NAME]))
        return fail_param(reterr, FAIL_invalid_request, "tools",
                          "tools[%zu] must be {\"type\":\"function\",\"function\":{\"name\":…}}",
                          i);
    *ret = (struct chat_tool){
        .name = json_view_text(given[NAME], arena),
        .description = json_view_text(given[DESCRIPTION], arena),
        .parameters = given[PARAMETERS],
        .json = tool,
        .strict = json_view_true(given[STRICT]),
        .cache_control = body_is_object(cache) ? cache : STR_NULL,
    };
    if (!ret->name.p)
        return body_no_memory(reterr);
    if (!is_tool_name(ret->name))
        return bad_tool(reterr, i, "name",
                        "must have 1 to 128 bytes, best letters, digits, '_' and '-', and none "
                        "of \" \\ { } [ ] < > or control characters");
    if (given[PARAMETERS].p && !body_is_object(given[PARAMETERS]))
        return bad_tool(reterr, i, "parameters", "must be a JSON schema of an object");
    return !given[STRICT].p || body_is_bool(given[STRICT])
               ? 0
               : bad_tool(reterr, i, "strict", "must be a boolean");
}

/* A tool of another kind: whoever reads the client's own bytes may know it. */
static int note_tool(struct chat_request *ret, struct str type, size_t i, struct arena *arena)
{
    if (ret->unserved)
        return 0;
    ret->unserved = "tools";
    struct str kind = str_head(json_view_text(type, arena), LIMIT_NAME);
    const char *why =
        arena_printf(arena, "tools[%zu] is of the type '" STR_FMT "'; only 'function' is served", i,
                     STR_ARG(str_head(kind, str_utf8_whole(kind))));
    ret->unserved_why = str_of(why);
    return why ? 0 : FAILED;
}

int decode_tools(struct chat_request *ret, const struct body *body, struct arena *arena,
                 struct fail *reterr)
{
    struct str v = body_get(body, "tools"), tool;
    if (v.p && !body_is_array(v))
        return fail_param(reterr, FAIL_invalid_request, "tools", "'tools' must be an array, not %s",
                          body_kind(v));
    size_t n = json_view_count(v), i = 0;
    if (n == 0)
        return 0;
    if (n > LIMIT_MESSAGES)
        return fail_param(reterr, FAIL_invalid_request, "tools",
                          "'tools' may hold at most %d tools", LIMIT_MESSAGES);
    struct chat_tool *tools = arena_array(arena, n, sizeof(*tools));
    if (!tools)
        return body_no_memory(reterr);
    for (struct json_view_walk w = json_view_walk(v); json_view_next(&w, NULL, &tool); i++) {
        struct str type = body_part(tool, "type");
        int r;
        if (body_is_string(type) && !json_view_is(type, "function"))
            r = note_tool(ret, type, i, arena) == 0 ? 0 : body_no_memory(reterr);
        else
            r = decode_function(&tools[ret->n_tools++], tool, i, arena, reterr);
        if (r != 0)
            return r;
    }
    ret->tools = tools;
    ret->tools_json = v;
    return 0;
}

/* ---- which tool ---- */

static int no_such_tool(struct str name, struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                      "'tool_choice' names the function '" STR_FMT "', which is not in 'tools'",
                      STR_ARG(str_head(name, LIMIT_NAME)));
}

static const struct chat_tool *find_tool(const struct chat_request *c, struct str name)
{
    for (size_t i = 0; i < c->n_tools; i++)
        if (str_eq(c->tools[i].name, name))
            return &c->tools[i];
    return NULL;
}

static void bar_tools(struct chat_request *c)
{
    c->barred = c->tools;
    c->n_barred = c->n_tools;
    c->tools = NULL;
    c->n_tools = 0;
    c->tools_json = STR_NULL;
}

static int choice_word(struct chat_request *c, struct str word, struct fail *reterr)
{
    if (json_view_is(word, "none")) {
        c->tool_choice = TOOL_CHOICE_none;
        bar_tools(c); /* the model must not see them */
    } else if (json_view_is(word, "required")) {
        c->tool_choice = TOOL_CHOICE_required;
    } else if (!json_view_is(word, "auto")) {
        return fail_param(
            reterr, FAIL_invalid_request, "tool_choice",
            "'tool_choice' must be \"none\", \"auto\", \"required\" or name a function");
    }
    return 0;
}

/* The name of {"function":{"name"}}; p NULL: none. */
static struct str function_name(struct str v, struct arena *arena)
{
    return json_view_text(body_part(body_part(v, "function"), "name"), arena);
}

/* Keeps the tools of the list alone, in the order of `tools`. */
static int allow_tools(struct chat_request *c, struct str list, struct arena *arena,
                       struct fail *reterr)
{
    struct chat_tool *kept = arena_array(arena, c->n_tools + 1, sizeof(*kept));
    bool *is_in = arena_array(arena, c->n_tools + 1, sizeof(*is_in));
    CLEANUP(buf_done) struct buf json = BUF_INIT(LIMIT_BODY);
    if (!kept || !is_in)
        return body_no_memory(reterr);
    struct str item;
    for (struct json_view_walk w = json_view_walk(list); json_view_next(&w, NULL, &item);) {
        struct str name = function_name(item, arena);
        const struct chat_tool *tool = find_tool(c, name);
        if (!tool)
            return no_such_tool(name, reterr);
        is_in[tool - c->tools] = true;
    }
    size_t n = 0;
    buf_addc(&json, '[');
    for (size_t i = 0; i < c->n_tools; i++) {
        if (!is_in[i])
            continue;
        if (n)
            buf_addc(&json, ',');
        buf_add(&json, c->tools[i].json);
        kept[n++] = c->tools[i];
    }
    buf_addc(&json, ']');
    c->tools_json = arena_str(arena, buf_str(&json));
    if (buf_err(&json) < 0 || !c->tools_json.p)
        return body_no_memory(reterr);
    c->tools = kept;
    c->n_tools = n;
    return 0;
}

static int choose_function(struct chat_request *c, struct str v, struct arena *arena,
                           struct fail *reterr)
{
    struct str name = function_name(v, arena);
    const struct chat_tool *tool = name.p ? find_tool(c, name) : NULL;
    if (!name.p)
        return fail_param(
            reterr, FAIL_invalid_request, "tool_choice",
            "'tool_choice' must be {\"type\":\"function\",\"function\":{\"name\":…}}");
    if (!tool)
        return no_such_tool(name, reterr);
    c->tool_choice = TOOL_CHOICE_function;
    c->tool_choice_name = tool->name;
    return 0;
}

static int choice_object(struct chat_request *c, struct str v, struct arena *arena,
                         struct fail *reterr)
{
    struct str type = body_part(v, "type"), allowed = body_part(v, "allowed_tools");
    if (json_view_is(type, "function"))
        return choose_function(c, v, arena, reterr);
    if (!json_view_is(type, "allowed_tools")) {
        if (!c->unserved)
            c->unserved = "tool_choice";
        return 0;
    }
    struct str list = body_part(allowed, "tools"), mode = body_part(allowed, "mode");
    if (!body_is_array(list) || json_view_count(list) == 0 ||
        !(json_view_is(mode, "auto") || json_view_is(mode, "required")))
        return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                          "'tool_choice.allowed_tools' must be {\"mode\":\"auto\" or "
                          "\"required\",\"tools\":[…]}");
    int r = allow_tools(c, list, arena, reterr);
    return r != 0 ? r : choice_word(c, mode, reterr);
}

int decode_tool_choice(struct chat_request *ret, const struct body *body, struct arena *arena,
                       struct fail *reterr)
{
    struct str v = body_get(body, "tool_choice"), parallel = body_get(body, "parallel_tool_calls");
    if (parallel.p && !body_is_bool(parallel))
        return fail_param(reterr, FAIL_invalid_request, "parallel_tool_calls",
                          "'parallel_tool_calls' must be a boolean, not %s", body_kind(parallel));
    ret->single_tool_call = json_view_kind(parallel) == JSON_VIEW_false;
    if (!v.p)
        return 0;
    bool is_mild = json_view_is(v, "none") || json_view_is(v, "auto");
    bool has_tools = ret->n_tools || ret->tools_json.n; /* of a kind that we do not know, too */
    if (!has_tools && !is_mild && (body_is_string(v) || body_is_object(v)))
        return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                          "'tool_choice' is only allowed when 'tools' are specified");
    if (body_is_object(v))
        return choice_object(ret, v, arena, reterr);
    if (body_is_string(v))
        return choice_word(ret, v, reterr);
    return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                      "'tool_choice' must be a string or an object, not %s", body_kind(v));
}
