/* The body of POST /v1/responses → chat request, and the members that the response repeats. */
#include "base/json_view.h"
#include "base/limits.h"
#include "gateway/api/body.h"
#include "gateway/api/decode.h"
#include "gateway/api/responses.h"

#include <errno.h>

static bool is_given(struct str value)
{
    enum json_view_kind kind = json_view_kind(value);
    return kind != JSON_VIEW_none && kind != JSON_VIEW_null;
}

/* ---- the body ---- */

static int wrong(struct fail *reterr, const char *name, const char *what)
{
    return fail_param(reterr, FAIL_invalid_request, name, "'%s' must be %s", name, what);
}

static int read_flag(struct str body, const char *name, bool usual, bool *ret, struct fail *reterr)
{
    struct str v = json_view_get(body, name);
    enum json_view_kind kind = json_view_kind(v);
    *ret = is_given(v) ? kind == JSON_VIEW_true : usual;
    bool fits = !is_given(v) || kind == JSON_VIEW_true || kind == JSON_VIEW_false;
    return fits ? 0 : wrong(reterr, name, "a boolean");
}

static int read_id(struct responses *x, struct str v, const char *name, struct str *ret,
                   struct fail *reterr)
{
    if (!is_given(v))
        return 0;
    *ret = json_view_text(v, x->arena);
    if (json_view_kind(v) != JSON_VIEW_string || ret->n > LIMIT_NAME)
        return wrong(reterr, name, "the id of one, a string");
    return 0;
}

int responses_read(struct responses *x, struct str body, struct fail *reterr)
{
    int r = body_check(body, reterr);
    if (r != 0)
        return r;
    x->body = json_view_value(body);
    x->input = json_view_get(x->body, "input");
    struct str conversation = json_view_get(x->body, "conversation");
    if (json_view_kind(conversation) == JSON_VIEW_object) {
        conversation = json_view_get(conversation, "id");
        if (!is_given(conversation))
            return wrong(reterr, "conversation", "the id of one, or an object with it");
    }
    r = read_flag(x->body, "store", true, &x->store, reterr);
    if (r == 0)
        r = read_flag(x->body, "background", false, &x->background, reterr);
    if (r == 0)
        r = read_flag(x->body, "stream", false, &x->streams, reterr);
    if (r == 0)
        r = read_id(x, json_view_get(x->body, "previous_response_id"), "previous_response_id",
                    &x->previous, reterr);
    if (r == 0)
        r = read_id(x, conversation, "conversation", &x->conversation, reterr);
    if (r == 0 && x->previous.n && x->conversation.n)
        r = fail_param(reterr, FAIL_invalid_request, "conversation",
                       "'previous_response_id' and 'conversation' cannot be used together");
    if (r == 0 && x->background && !x->store)
        r = fail_param(reterr, FAIL_invalid_request, "background",
                       "a response in the background is asked for later: 'store' must be true");
    return r;
}

/* ---- options in the words of chat ---- */

/* Sampling and the like is spelt as on chat. */
static const char *const same_there[] = {
    "model",
    "user",
    "metadata",
    "stream",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "top_k",
    "min_p",
    "typical",
    "typical_p",
    "seed",
    "stop",
    "stop_token_ids",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "repeat_penalty",
    "logit_bias",
    "ignore_eos",
    "min_tokens",
    "include_stop_str_in_output",
    "skip_special_tokens",
    "chat_template_kwargs",
};

static void put(struct buf *b, const char *name, struct str value)
{
    buf_addf(b, "%s\"%s\":", b->n > 1 ? "," : "", name);
    buf_add(b, value);
}

static bool is_word(struct str v, const char *const *words)
{
    while (*words && !json_view_is(v, *words))
        words++;
    return *words != NULL;
}

static int check_word(struct str v, const char *name, const char *const *words, struct fail *reterr)
{
    if (!is_given(v) || is_word(v, words))
        return 0;
    CLEANUP(buf_done) struct buf list = BUF_INIT(KIB);
    for (size_t i = 0; words[i]; i++)
        buf_addf(&list, "%s%s", i ? ", " : "", words[i]);
    return fail_param(reterr, FAIL_invalid_request, name, "'%s' must be one of %s", name,
                      list.p ? list.p : "");
}

static int put_reasoning(struct responses *x, struct buf *b, struct fail *reterr)
{
    static const char *const efforts[] = { "none", "minimal", "low", "medium",
                                           "high", "xhigh",   "max", NULL };
    static const char *const summaries[] = { "auto", "concise", "detailed", NULL };
    struct str reasoning = json_view_get(x->body, "reasoning");
    if (!is_given(reasoning))
        return 0;
    if (json_view_kind(reasoning) != JSON_VIEW_object)
        return wrong(reterr, "reasoning", "an object");
    struct str effort = json_view_get(reasoning, "effort");
    struct str summary = json_view_get(reasoning, "summary");
    if (!is_given(summary))
        summary = json_view_get(reasoning, "generate_summary");
    int r = check_word(effort, "reasoning.effort", efforts, reterr);
    if (r == 0)
        r = check_word(summary, "reasoning.summary", summaries, reterr);
    x->wants_summary = is_given(summary);
    if (is_given(effort)) /* the most there is */
        put(b, "reasoning_effort", json_view_is(effort, "max") ? STR("\"xhigh\"") : effort);
    return r;
}

static int put_format(const struct responses *x, struct buf *b, struct fail *reterr)
{
    static const char *const words[] = { "low", "medium", "high", NULL };
    struct str text = json_view_get(x->body, "text");
    if (!is_given(text))
        return 0;
    if (json_view_kind(text) != JSON_VIEW_object)
        return wrong(reterr, "text", "an object");
    struct str format = json_view_get(text, "format"), type = json_view_get(format, "type");
    int r = check_word(json_view_get(text, "verbosity"), "text.verbosity", words, reterr);
    if (r != 0 || !is_given(format) || json_view_is(type, "text"))
        return r;
    if (!json_view_is(type, "json_schema")) { /* json_object, or what is said to be unknown */
        put(b, "response_format", format);
        return 0;
    }
    if (json_view_kind(json_view_get(format, "schema")) != JSON_VIEW_object)
        return wrong(reterr, "text.format.schema", "a JSON schema, an object");
    if (json_view_kind(json_view_get(format, "name")) != JSON_VIEW_string)
        return wrong(reterr, "text.format.name", "a string");
    put(b, "response_format", STR("{\"type\":\"json_schema\",\"json_schema\":"));
    buf_add(b, format);
    buf_addc(b, '}');
    return 0;
}

static int wrong_tool(struct fail *reterr, size_t i, const char *field, const char *what)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "tools[%zu]%s", i, field);
    return wrong(reterr, param, what);
}

static int unserved_tool(struct fail *reterr, const char *param, struct str type)
{
    struct str word = STR("?");
    (void)json_view_plain(type, &word);
    return fail_param(reterr, FAIL_unsupported_parameter, param,
                      "'%s' is of the type '" STR_FMT "'; only functions are served", param,
                      STR_ARG(str_head(word, LIMIT_NAME)));
}

/* {"type":"function","name":…} → {"type":"function","function":{"name":…}} */
static int put_tool(struct buf *b, struct str tool, size_t i, struct fail *reterr)
{
    static const char *const members[] = { "name", "description", "parameters", "strict" };
    struct str type = json_view_get(tool, "type");
    char param[64];
    (void)snprintf(param, sizeof(param), "tools[%zu]", i);
    if (json_view_kind(tool) != JSON_VIEW_object)
        return wrong_tool(reterr, i, "", "an object with 'type' and 'name'");
    if (!json_view_is(type, "function"))
        return unserved_tool(reterr, param, type);
    if (json_view_kind(json_view_get(tool, "name")) != JSON_VIEW_string)
        return wrong_tool(reterr, i, ".name", "a string");
    struct str parameters = json_view_get(tool, "parameters");
    if (is_given(parameters) && json_view_kind(parameters) != JSON_VIEW_object)
        return wrong_tool(reterr, i, ".parameters", "a JSON schema, an object");
    buf_adds(b, i ? ",{\"type\":\"function\",\"function\":{"
                  : "{\"type\":\"function\",\"function\":{");
    bool first = true;
    for (size_t k = 0; k < ARRAY_LEN(members); k++) {
        struct str v = json_view_get(tool, members[k]);
        if (!is_given(v))
            continue;
        buf_addf(b, "%s\"%s\":", first ? "" : ",", members[k]);
        buf_add(b, v);
        first = false;
    }
    buf_adds(b, "}}");
    return 0;
}

static int put_tools(const struct responses *x, struct buf *b, struct fail *reterr)
{
    struct str tools = json_view_get(x->body, "tools"), tool;
    if (!is_given(tools))
        return 0;
    if (json_view_kind(tools) != JSON_VIEW_array)
        return wrong(reterr, "tools", "an array");
    struct json_view_walk w = json_view_walk(tools);
    put(b, "tools", STR("["));
    for (size_t i = 0; json_view_next(&w, /* ret_key= */ NULL, &tool); i++) {
        int r = put_tool(b, tool, i, reterr);
        if (r != 0)
            return r;
    }
    buf_addc(b, ']');
    return 0;
}

static void put_named(struct buf *b, struct str choice)
{
    buf_adds(b, "{\"type\":\"function\",\"function\":{\"name\":");
    struct str name = json_view_get(choice, "name");
    buf_add(b, json_view_kind(name) == JSON_VIEW_string ? name : STR("\"\""));
    buf_adds(b, "}}");
}

static int put_choice(const struct responses *x, struct buf *b, struct fail *reterr)
{
    struct str choice = json_view_get(x->body, "tool_choice"), tool;
    struct str type = json_view_get(choice, "type");
    if (!is_given(choice))
        return 0;
    if (json_view_kind(choice) != JSON_VIEW_object) {
        put(b, "tool_choice", choice);
        return 0;
    }
    if (json_view_is(type, "function")) {
        put(b, "tool_choice", STR(""));
        put_named(b, choice);
        return 0;
    }
    if (!json_view_is(type, "allowed_tools"))
        return unserved_tool(reterr, "tool_choice", type);
    struct str mode = json_view_get(choice, "mode");
    put(b, "tool_choice", STR("{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":"));
    buf_add(b, is_given(mode) ? mode : STR("\"auto\""));
    buf_adds(b, ",\"tools\":[");
    struct json_view_walk w = json_view_walk(json_view_get(choice, "tools"));
    for (size_t i = 0; json_view_next(&w, /* ret_key= */ NULL, &tool); i++) {
        if (i)
            buf_addc(b, ',');
        if (!json_view_is(json_view_get(tool, "type"), "function"))
            return unserved_tool(reterr, "tool_choice", json_view_get(tool, "type"));
        put_named(b, tool);
    }
    buf_adds(b, "]}}");
    return 0;
}

static int put_options(struct responses *x, struct buf *b, struct fail *reterr)
{
    buf_addc(b, '{');
    for (size_t i = 0; i < ARRAY_LEN(same_there); i++) {
        struct str v = json_view_get(x->body, same_there[i]);
        if (is_given(v))
            put(b, same_there[i], v);
    }
    if (x->counts && !is_given(json_view_get(x->body, "model")))
        put(b, "model", STR("\"auto\""));
    struct str max = json_view_get(x->body, "max_output_tokens");
    uint64_t n = 0;
    if (is_given(max) && (json_view_u64(max, &n) < 0 || n < 1 || n > INT32_MAX))
        return wrong(reterr, "max_output_tokens", "an integer, at least 1");
    if (is_given(max))
        put(b, "max_completion_tokens", max);
    int r = put_reasoning(x, b, reterr);
    if (r == 0)
        r = put_format(x, b, reterr);
    if (r == 0)
        r = put_tools(x, b, reterr);
    if (r == 0)
        r = put_choice(x, b, reterr);
    buf_addc(b, '}');
    return r != 0 ? r : buf_err(b);
}

/* ---- what has no word on chat ---- */

static int check_include(struct responses *x, struct chat_request *ret, struct fail *reterr)
{
    static const char *const words[] = { "file_search_call.results",
                                         "web_search_call.results",
                                         "web_search_call.action.sources",
                                         "message.input_image.image_url",
                                         "computer_call_output.output.image_url",
                                         "code_interpreter_call.outputs",
                                         "reasoning.encrypted_content",
                                         "message.output_text.logprobs",
                                         NULL };
    struct str include = json_view_get(x->body, "include"), what;
    if (is_given(include) && json_view_kind(include) != JSON_VIEW_array)
        return wrong(reterr, "include", "an array");
    struct json_view_walk w = json_view_walk(include);
    while (json_view_next(&w, /* ret_key= */ NULL, &what)) {
        if (!is_word(what, words))
            return check_word(what, "include", words, reterr);
        if (json_view_is(what, "message.output_text.logprobs"))
            ret->logprobs = true;
    }
    struct str top = json_view_get(x->body, "top_logprobs");
    uint64_t n = 0;
    if (is_given(top) && (json_view_u64(top, &n) < 0 || n > LIMIT_TOP_LOGPROBS))
        return wrong(reterr, "top_logprobs", "an integer between 0 and 20");
    ret->top_logprobs = (uint32_t)n;
    ret->logprobs = ret->logprobs || n > 0;
    return 0;
}

enum { METADATA_PAIRS = 16, METADATA_KEY = 64, METADATA_VALUE = 512 }; /* OpenAI's own */

int responses_check_metadata(struct str body, struct fail *reterr)
{
    struct str metadata = json_view_get(body, "metadata"), key, value;
    if (!is_given(metadata))
        return 0;
    if (json_view_kind(metadata) != JSON_VIEW_object || json_view_count(metadata) > METADATA_PAIRS)
        return wrong(reterr, "metadata", "an object of at most 16 strings");
    struct json_view_walk w = json_view_walk(metadata);
    while (json_view_next(&w, &key, &value))
        if (json_view_kind(value) != JSON_VIEW_string || key.n > METADATA_KEY ||
            value.n > METADATA_VALUE + 2)
            return wrong(reterr, "metadata",
                         "an object of strings: keys up to 64 characters, values up to 512");
    return 0;
}

static int check_rest(struct responses *x, struct chat_request *ret, struct fail *reterr)
{
    static const char *const tiers[] = { "auto",     "default", "flex",      "scale",
                                         "priority", "fast",    "ultrafast", NULL };
    static const char *const truncations[] = { "auto", "disabled", NULL };
    static const char *const strings[] = { "safety_identifier", "prompt_cache_key",
                                           "prompt_cache_retention" };
    struct str truncation = json_view_get(x->body, "truncation"), v;
    int r = check_word(json_view_get(x->body, "service_tier"), "service_tier", tiers, reterr);
    if (r == 0)
        r = check_word(truncation, "truncation", truncations, reterr);
    x->may_cut = json_view_is(truncation, "auto");
    for (size_t i = 0; i < ARRAY_LEN(strings) && r == 0; i++) {
        v = json_view_get(x->body, strings[i]);
        if (is_given(v) && json_view_kind(v) != JSON_VIEW_string)
            r = wrong(reterr, strings[i], "a string");
    }
    uint64_t n = 0;
    v = json_view_get(x->body, "max_tool_calls");
    if (r == 0 && is_given(v) && json_view_u64(v, &n) < 0)
        r = wrong(reterr, "max_tool_calls", "an integer");
    if (r == 0 && is_given(json_view_get(x->body, "prompt")))
        r = fail_param(reterr, FAIL_unsupported_parameter, "prompt",
                       "prompt templates are not kept here; send 'instructions' and 'input'");
    if (r == 0)
        r = responses_check_metadata(x->body, reterr);
    return r != 0 ? r : check_include(x, ret, reterr);
}

/* What chat spells the same, or nearly so, and only OpenAI itself understands. */
static int take_members(const struct responses *x, struct chat_request *ret, struct arena *arena,
                        struct fail *reterr)
{
    static const char *const names[] = { "service_tier", "safety_identifier", "prompt_cache_key",
                                         "prompt_cache_retention" };
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    struct str verbosity = json_view_at(x->body, "text.verbosity");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str v = json_view_get(x->body, names[i]);
        if (!is_given(v))
            continue;
        buf_addf(&b, ",\"%s\":", names[i]);
        buf_add(&b, v);
    }
    if (is_given(verbosity)) {
        buf_adds(&b, ",\"verbosity\":");
        buf_add(&b, verbosity);
    }
    ret->openai_members = arena_str(arena, buf_str(&b));
    return buf_err(&b) == 0 && ret->openai_members.p ? 0 : body_no_memory(reterr);
}

/* ---- input ---- */

static int say_instructions(struct responses *x, struct items *to)
{
    struct str v = json_view_get(x->body, "instructions");
    if (!is_given(v))
        return 0;
    if (json_view_kind(v) == JSON_VIEW_array)
        return items_decode(to, v);
    if (json_view_kind(v) != JSON_VIEW_string)
        return wrong(to->reterr, "instructions", "a string or an array of items");
    struct str text = json_view_text(v, to->arena);
    return text.p ? items_say(to, STR("system"), text) : body_no_memory(to->reterr);
}

/* A text is a message of the user. */
static void keep_text(struct responses *x, struct item_ids *ids)
{
    char id[RESPONSES_ITEM_ID];
    items_id(ids, "msg", id);
    buf_addf(&x->own,
             "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":"
             "\"input_text\",\"text\":",
             id);
    buf_add(&x->own, x->input);
    buf_adds(&x->own, "}],\"status\":\"completed\"}");
}

static int take_input(struct responses *x, struct items *to)
{
    struct item_ids ids = { .base = x->base, .kind = 'i' };
    struct str item;
    enum json_view_kind kind = json_view_kind(x->input);
    if (kind == JSON_VIEW_string) {
        struct str text = json_view_text(x->input, to->arena);
        keep_text(x, &ids);
        return text.p ? items_say(to, STR("user"), text) : body_no_memory(to->reterr);
    }
    if (is_given(x->input) && kind != JSON_VIEW_array)
        return wrong(to->reterr, "input", "a string or an array of items");
    int r = items_decode(to, x->input);
    struct json_view_walk w = json_view_walk(x->input);
    while (r == 0 && json_view_next(&w, /* ret_key= */ NULL, &item)) {
        if (x->own.n)
            buf_addc(&x->own, ',');
        items_keep(&x->own, item, to->known, &ids);
    }
    return r;
}

static int take_items(struct responses *x, struct chat_request *ret, struct arena *arena,
                      struct fail *reterr)
{
    struct items to = { .arena = arena, .param = "input", .reterr = reterr, .known = x->known };
    int r = say_instructions(x, &to);
    if (r == 0)
        r = items_decode(&to, x->context);
    size_t before = to.n;
    to.open = false;
    if (r == 0)
        r = take_input(x, &to);
    if (r == 0 && to.n == before && x->context.n == 0)
        r = fail_param(reterr, FAIL_invalid_request, "input",
                       "'input' is missing: one of 'input', 'previous_response_id' and "
                       "'conversation' must say what to answer");
    ret->messages = to.messages;
    ret->n_messages = to.n;
    return r != 0 ? r : buf_err(&x->own);
}

/* ---- what the response repeats ---- */

static void echo(struct responses *x, const char *name, const char *usual)
{
    struct str v = json_view_get(x->body, name);
    if (!is_given(v) && !usual)
        return;
    buf_addf(&x->echo, ",\"%s\":", name);
    if (is_given(v))
        buf_add(&x->echo, v);
    else
        buf_adds(&x->echo, usual);
}

/* Members of an object; absent ones as `usual` has them, NULL: left out. */
static void echo_members(struct buf *b, struct str object, const char *const (*members)[2])
{
    for (size_t i = 0; members[i][0]; i++) {
        struct str v = json_view_get(object, members[i][0]);
        if (!is_given(v) && !members[i][1])
            continue;
        buf_addf(b, "%s\"%s\":", i ? "," : "{", members[i][0]);
        if (is_given(v))
            buf_add(b, v);
        else
            buf_adds(b, members[i][1]);
    }
    buf_addc(b, '}');
}

static void echo_tools(struct responses *x)
{
    static const char *const members[][2] = { { "type", "\"function\"" }, { "name", "\"\"" },
                                              { "description", NULL },    { "parameters", "null" },
                                              { "strict", "null" },       { NULL, NULL } };
    struct json_view_walk w = json_view_walk(json_view_get(x->body, "tools"));
    struct str tool;
    buf_adds(&x->echo, ",\"tools\":[");
    for (size_t i = 0; json_view_next(&w, /* ret_key= */ NULL, &tool); i++) {
        if (i)
            buf_addc(&x->echo, ',');
        echo_members(&x->echo, tool, members);
    }
    buf_addc(&x->echo, ']');
}

static void add_echo(struct responses *x)
{
    static const char *const text[][2] = { { "format", "{\"type\":\"text\"}" },
                                           { "verbosity", "\"medium\"" },
                                           { NULL, NULL } };
    static const char *const reasoning[][2] = { { "effort", "null" },
                                                { "summary", "null" },
                                                { NULL, NULL } };
    static const char *const usual[][2] = {
        { "background", "false" },
        { "instructions", "null" },
        { "max_output_tokens", "null" },
        { "max_tool_calls", "null" },
        { "metadata", "{}" },
        { "parallel_tool_calls", "true" },
        { "previous_response_id", "null" },
        { "prompt_cache_key", "null" },
        { "prompt_cache_retention", NULL },
        { "safety_identifier", "null" },
        { "store", "true" },
        { "temperature", "1.0" },
        { "tool_choice", "\"auto\"" },
        { "top_logprobs", "0" },
        { "top_p", "1.0" },
        { "truncation", "\"disabled\"" },
        { "user", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        echo(x, usual[i][0], usual[i][1]);
    echo_tools(x);
    buf_adds(&x->echo, ",\"text\":");
    echo_members(&x->echo, json_view_get(x->body, "text"), text);
    buf_adds(&x->echo, ",\"reasoning\":");
    echo_members(&x->echo, json_view_get(x->body, "reasoning"), reasoning);
    buf_adds(&x->echo, ",\"service_tier\":\"default\"");
    if (x->conversation.n) {
        buf_adds(&x->echo, ",\"conversation\":{\"id\":");
        buf_add_json(&x->echo, x->conversation);
        buf_addc(&x->echo, '}');
    }
}

/* ---- all of it ---- */

/* The fields of chat as this API spells them. */
static void rename_param(struct fail *fail)
{
    static const char *const names[][2] = { { "max_completion_tokens", "max_output_tokens" },
                                            { "reasoning_effort", "reasoning.effort" },
                                            { "response_format", "text.format" } };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i][0]);
        if (strncmp(fail->param, names[i][0], n) == 0)
            (void)snprintf(fail->param, sizeof(fail->param), "%s", names[i][1]);
        char *at = strstr(fail->message, names[i][0]);
        if (!at)
            continue;
        memcpy(at, names[i][1], strlen(names[i][1])); /* never longer than what it replaces */
        memmove(at + strlen(names[i][1]), at + n, strlen(at + n) + 1);
    }
}

static int take_options(struct responses *x, struct chat_request *ret, struct arena *arena,
                        struct fail *reterr)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
    struct body options;
    struct str kept = STR_NULL; /* what is read of it are views */
    int r = put_options(x, &text, reterr);
    if (r == 0)
        kept = arena_str(arena, buf_str(&text));
    if (r == 0)
        r = kept.p ? body_read(&options, kept, arena, reterr) : body_no_memory(reterr);
    if (r == 0)
        r = decode_common(ret, &options, arena, reterr);
    if (r == 0)
        r = decode_tools(ret, &options, arena, reterr);
    if (r == 0)
        r = decode_tool_choice(ret, &options, arena, reterr);
    if (r == FAILED)
        rename_param(reterr);
    if (ret->format_param)
        ret->format_param = "text.format";
    return r;
}

int responses_decode(struct responses *x, struct chat_request *ret, struct arena *arena,
                     struct fail *reterr)
{
    int r = take_options(x, ret, arena, reterr);
    if (r == 0)
        r = check_rest(x, ret, reterr);
    if (r == 0)
        r = take_members(x, ret, arena, reterr);
    if (r == 0)
        r = take_items(x, ret, arena, reterr);
    if (r != 0)
        return r;
    ret->wire = WIRE_openai_responses;
    add_echo(x);
    return buf_err(&x->echo);
}
