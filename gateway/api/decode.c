#include "gateway/api/decode.h"

#include "base/limits.h"
#include "base/num.h"
#include "gateway/api/format.h"

#include <math.h>

struct knobs {
    struct str model, user;
    double temperature, top_p, min_p, typical, presence, frequency, repetition, repeat;
    int64_t top_k, max_tokens, max_completion, min_tokens, n, seed;
    bool stream, ignore_eos, keep_stop, skip_special;
    bool has_model, has_temperature, has_top_p, has_typical, has_seed, has_max, has_max_completion;
    bool has_n, has_repetition, has_repeat, has_skip_special;
};

#define AT(member) offsetof(struct knobs, member)
static const struct field knobs_fields[] = {
    { "model", FIELD_text, AT(model), 0, 0, AT(has_model) },
    { "user", FIELD_text, AT(user), 0, 0, -1 },
    { "temperature", FIELD_float, AT(temperature), 0, 2, AT(has_temperature) },
    { "top_p", FIELD_float, AT(top_p), 0, 1, AT(has_top_p) },
    { "min_p", FIELD_float, AT(min_p), 0, 1, -1 },
    { "typical", FIELD_float, AT(typical), 0, 1, AT(has_typical) },
    { "typical_p", FIELD_float, AT(typical), 0, 1, AT(has_typical) },
    { "presence_penalty", FIELD_float, AT(presence), -2, 2, -1 },
    { "frequency_penalty", FIELD_float, AT(frequency), -2, 2, -1 },
    { "repetition_penalty", FIELD_float, AT(repetition), 0.01, 10, AT(has_repetition) },
    { "repeat_penalty", FIELD_float, AT(repeat), 0.01, 10, AT(has_repeat) },
    { "top_k", FIELD_int, AT(top_k), -1, INT32_MAX, -1 }, /* -1: off, as vLLM has it */
    { "max_tokens", FIELD_int, AT(max_tokens), 0, INT32_MAX, AT(has_max) },
    { "max_completion_tokens", FIELD_int, AT(max_completion), 1, INT32_MAX,
      AT(has_max_completion) },
    { "min_tokens", FIELD_int, AT(min_tokens), 0, INT32_MAX, -1 },
    { "n", FIELD_int, AT(n), 1, LIMIT_CHOICES, AT(has_n) },
    { "seed", FIELD_int, AT(seed), -9223372036854775808.0, 9223372036854775807.0, AT(has_seed) },
    { "stream", FIELD_bool, AT(stream), 0, 0, -1 },
    { "ignore_eos", FIELD_bool, AT(ignore_eos), 0, 0, -1 },
    { "include_stop_str_in_output", FIELD_bool, AT(keep_stop), 0, 0, -1 },
    { "skip_special_tokens", FIELD_bool, AT(skip_special), 0, 0, AT(has_skip_special) },
    { 0 },
};

static const struct refused refused_everywhere[] = {
    { "bad_words", UNLESS_empty },
    { "logits_processors", UNLESS_empty },
    { "allowed_token_ids", UNLESS_empty },
    { "truncate_prompt_tokens", UNLESS_null },
    { "prompt_logprobs", UNLESS_null },
    { "prompt_embeds", UNLESS_null },
    { "detokenize", UNLESS_true },
    { "return_tokens_as_token_ids", UNLESS_false },
    { "use_beam_search", UNLESS_false },
    { "mirostat", UNLESS_zero },
    { "xtc_probability", UNLESS_zero },
    { "dry_multiplier", UNLESS_zero },
    { "dynatemp_range", UNLESS_zero },
    { "top_n_sigma", UNLESS_zero },
    { NULL, UNLESS_null },
};

static int decode_stops(struct chat_request *ret, const json_t *v, struct arena *arena,
                        struct fail *reterr)
{
    if (!v || json_is_null(v))
        return 0;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > LIMIT_STOPS)
        return fail_param(reterr, FAIL_invalid_request, "stop",
                          "'stop' may hold at most %d strings", LIMIT_STOPS);
    struct str *stops = arena_array(arena, n ? n : 1, sizeof(*stops));
    if (!stops)
        return json_no_memory(reterr);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s))
            return fail_param(reterr, FAIL_invalid_request, "stop",
                              "'stop' must be a string or an array of strings, not %s",
                              json_kind(s));
        if (json_string_length(s) > LIMIT_STOP_BYTES)
            return fail_param(reterr, FAIL_invalid_request, "stop",
                              "a stop string may have at most %d bytes", LIMIT_STOP_BYTES);
        if (json_string_length(s) == 0)
            continue; /* would stop everything; OpenAI ignores it too */
        stops[ret->n_stops] = json_str_copy(arena, s);
        if (!stops[ret->n_stops++].p)
            return json_no_memory(reterr);
    }
    ret->stops = stops;
    return 0;
}

static int decode_stop_ids(struct chat_request *ret, const json_t *v, struct arena *arena,
                           struct fail *reterr)
{
    if (!v || json_is_null(v))
        return 0;
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > LIMIT_STOP_IDS)
        return fail_param(reterr, FAIL_invalid_request, "stop_token_ids",
                          "'stop_token_ids' must be an array of at most %d token ids",
                          LIMIT_STOP_IDS);
    int32_t *ids = arena_array(arena, n ? n : 1, sizeof(*ids));
    if (!ids)
        return json_no_memory(reterr);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= (json_int_t)LIMIT_VOCAB)
            return fail_param(reterr, FAIL_invalid_request, "stop_token_ids",
                              "stop_token_ids[%zu] is no token id", i);
        ids[i] = (int32_t)json_integer_value(id);
    }
    ret->stop_ids = ids;
    ret->n_stop_ids = n;
    return 0;
}

static int decode_bias(struct chat_request *ret, json_t *v, struct arena *arena,
                       struct fail *reterr)
{
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_object(v))
        return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                          "'logit_bias' must be an object of token id to bias, not %s",
                          json_kind(v));
    size_t n = json_object_size(v);
    if (n > LIMIT_LOGIT_BIAS)
        return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                          "'logit_bias' may hold at most %d tokens", LIMIT_LOGIT_BIAS);
    struct chat_logit_bias *bias = arena_array(arena, n ? n : 1, sizeof(*bias));
    if (!bias)
        return json_no_memory(reterr);
    const char *key;
    json_t *value;
    json_object_foreach(v, key, value)
    {
        uint64_t token = 0;
        double b = json_number_value(value);
        if (num_parse_u64(&token, str_of(key), 0, LIMIT_VOCAB) < 0 || !json_is_number(value) ||
            !(b >= -100 && b <= 100))
            return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                              "'logit_bias' maps token ids to numbers between -100 and 100");
        bias[ret->sampling.n_bias++] = (struct chat_logit_bias){ (int32_t)token, (float)b };
    }
    ret->sampling.bias = bias;
    return 0;
}

static int decode_stream_options(struct chat_request *ret, const json_t *v, struct fail *reterr)
{
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_object(v))
        return fail_param(reterr, FAIL_invalid_request, "stream_options",
                          "'stream_options' must be an object, not %s", json_kind(v));
    if (!ret->stream)
        return fail_param(reterr, FAIL_invalid_request, "stream_options",
                          "'stream_options' is only allowed when 'stream' is true");
    const json_t *usage = json_object_get(v, "include_usage");
    if (usage && !json_is_null(usage) && !json_is_boolean(usage))
        return fail_param(reterr, FAIL_invalid_request, "stream_options",
                          "'stream_options.include_usage' must be a boolean, not %s",
                          json_kind(usage));
    ret->include_usage = json_is_true(usage);
    return 0;
}

int decode_metadata(struct chat_request *ret, const json_t *metadata, struct arena *arena,
                    struct fail *reterr)
{
    if (!metadata || json_is_null(metadata))
        return 0;
    if (!json_is_object(metadata))
        return fail_param(reterr, FAIL_invalid_request, "metadata",
                          "'metadata' must be an object of strings, not %s", json_kind(metadata));
    struct chat_pair *pairs = arena_array(arena, json_object_size(metadata) + 1, sizeof(*pairs));
    if (!pairs)
        return json_no_memory(reterr);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        struct str text =
            json_is_string(value) ? json_str_copy(arena, value) : json_text(arena, value);
        struct str name = arena_str(arena, str_of(key));
        if (!text.p || !name.p)
            return json_no_memory(reterr);
        pairs[ret->n_metadata++] = (struct chat_pair){ name, text };
    }
    ret->metadata = pairs;
    return 0;
}

static void put_knobs(struct chat_request *ret, const struct knobs *k)
{
    struct sampling *s = &ret->sampling;
    *s = SAMPLING_INIT;
    if (k->has_temperature)
        s->temperature = (float)k->temperature;
    if (k->has_top_p)
        s->top_p = (float)k->top_p;
    s->min_p = (float)k->min_p;
    if (k->has_typical)
        s->typical_p = (float)k->typical;
    s->top_k = k->top_k > 0 ? (uint32_t)k->top_k : 0;
    s->presence_penalty = (float)k->presence;
    s->frequency_penalty = (float)k->frequency;
    if (k->has_repeat)
        s->repeat_penalty = (float)k->repeat;
    if (k->has_repetition)
        s->repeat_penalty = (float)k->repetition;
    s->has_seed = k->has_seed;
    s->seed = (uint64_t)k->seed;
    int64_t max = k->has_max_completion ? k->max_completion : k->has_max ? k->max_tokens : 0;
    ret->max_tokens = (uint32_t)max;
    ret->n = k->has_n ? (uint32_t)k->n : 1;
    ret->stream = k->stream;
    ret->ignore_eos = k->ignore_eos;
    ret->min_tokens = (uint32_t)k->min_tokens;
    ret->keep_stop = k->keep_stop;
    ret->keep_special = k->has_skip_special && !k->skip_special;
}

/* reasoning_effort is a variable of the chat template, like what chat_template_kwargs holds, which
 * goes before it. */
static int add_effort(json_t *kwargs, const json_t *effort, struct fail *reterr)
{
    static const char *const words[] = { "none", "minimal", "low", "medium", "high", "xhigh" };
    size_t i = 0;
    if (!effort || json_is_null(effort))
        return 0;
    while (i < ARRAY_LEN(words) && !str_is(json_str(effort), words[i]))
        i++;
    if (i == ARRAY_LEN(words))
        return fail_param(reterr, FAIL_invalid_request, "reasoning_effort",
                          "'reasoning_effort' must be one of none, minimal, low, medium, high, "
                          "xhigh");
    int r = 0;
    if (!json_object_get(kwargs, "reasoning_effort"))
        r = json_object_set_new(kwargs, "reasoning_effort", json_string(words[i]));
    if (r == 0 && i == 0 && !json_object_get(kwargs, "enable_thinking"))
        r = json_object_set_new(kwargs, "enable_thinking", json_false());
    return r == 0 ? 0 : json_no_memory(reterr);
}

static int decode_kwargs(struct chat_request *ret, const json_t *body, struct arena *arena,
                         struct fail *reterr)
{
    const json_t *given = json_object_get(body, "chat_template_kwargs");
    if (given && !json_is_null(given) && !json_is_object(given))
        return fail_param(reterr, FAIL_invalid_request, "chat_template_kwargs",
                          "'chat_template_kwargs' must be an object, not %s", json_kind(given));
    json_auto_t *kwargs =
        json_is_object(given) ? json_copy((json_t *)(uintptr_t)given) : json_object();
    if (!kwargs)
        return json_no_memory(reterr);
    int r = add_effort(kwargs, json_object_get(body, "reasoning_effort"), reterr);
    if (r != 0 || json_object_size(kwargs) == 0)
        return r;
    ret->template_kwargs = json_text(arena, kwargs);
    return ret->template_kwargs.p ? 0 : json_no_memory(reterr);
}

int decode_common(struct chat_request *ret, const json_t *body, struct arena *arena,
                  struct fail *reterr)
{
    struct knobs k = { 0 };
    int r = json_fields(&k, knobs_fields, body, reterr);
    if (r == 0)
        r = json_refuse(refused_everywhere, body, reterr);
    if (r != 0)
        return r;
    if (!k.has_model || k.model.n == 0)
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "'model' is missing; GET /v1/models lists what is served");
    put_knobs(ret, &k);
    if (ret->max_tokens && ret->min_tokens > ret->max_tokens)
        return fail_param(reterr, FAIL_invalid_request, "min_tokens",
                          "'min_tokens' is larger than the most tokens that may come, %u",
                          ret->max_tokens);
    ret->model = arena_str(arena, k.model);
    ret->user = arena_str(arena, k.user);
    if (!ret->model.p || !ret->user.p)
        return json_no_memory(reterr);
    r = decode_kwargs(ret, body, arena, reterr);
    if (r == 0)
        r = decode_stops(ret, json_object_get(body, "stop"), arena, reterr);
    if (r == 0)
        r = decode_stop_ids(ret, json_object_get(body, "stop_token_ids"), arena, reterr);
    if (r == 0)
        r = decode_format(ret, body, arena, reterr);
    if (r == 0)
        r = decode_bias(ret, json_object_get(body, "logit_bias"), arena, reterr);
    if (r == 0)
        r = decode_stream_options(ret, json_object_get(body, "stream_options"), reterr);
    if (r == 0)
        r = decode_metadata(ret, json_object_get(body, "metadata"), arena, reterr);
    return r;
}

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

/* One entry of `tools`; *ret_name is its function's. */
static int check_tool(const json_t *t, size_t i, struct str *ret_name, struct fail *reterr)
{
    const json_t *type = json_object_get(t, "type"), *f = json_object_get(t, "function");
    const json_t *name = json_object_get(f, "name"), *strict = json_object_get(f, "strict");
    char param[64];
    if (json_is_string(type) && !str_is(json_str(type), "function"))
        return fail_param(reterr, FAIL_unsupported_parameter, "tools",
                          "tools[%zu] is of the type '" STR_FMT "'; only 'function' is served", i,
                          STR_ARG(str_head(json_str(type), LIMIT_NAME)));
    if (!json_is_string(name))
        return fail_param(reterr, FAIL_invalid_request, "tools",
                          "tools[%zu] must be {\"type\":\"function\",\"function\":{\"name\":…}}",
                          i);
    if (!is_tool_name(json_str(name))) {
        (void)snprintf(param, sizeof(param), "tools[%zu].function.name", i);
        return fail_param(
            reterr, FAIL_invalid_request, param,
            "'%s' must have 1 to %d bytes, best letters, digits, '_' and '-', and none "
            "of \" \\ { } [ ] < > or control characters",
            param, TOOL_NAME_BYTES);
    }
    if (strict && !json_is_null(strict) && !json_is_boolean(strict)) {
        (void)snprintf(param, sizeof(param), "tools[%zu].function.strict", i);
        return fail_param(reterr, FAIL_invalid_request, param, "'%s' must be a boolean, not %s",
                          param, json_kind(strict));
    }
    *ret_name = json_str(name);
    return 0;
}

int decode_tools(struct chat_request *ret, const json_t *body, struct arena *arena,
                 struct fail *reterr)
{
    const json_t *v = json_object_get(body, "tools");
    if (!v || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0))
        return 0;
    if (!json_is_array(v))
        return fail_param(reterr, FAIL_invalid_request, "tools", "'tools' must be an array, not %s",
                          json_kind(v));
    size_t n = json_array_size(v);
    struct chat_tool *tools = arena_array(arena, n, sizeof(*tools));
    if (!tools)
        return json_no_memory(reterr);
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(v, i), *f = json_object_get(t, "function");
        struct str name = STR_NULL;
        int r = check_tool(t, i, &name, reterr);
        if (r != 0)
            return r;
        const json_t *parameters = json_object_get(f, "parameters");
        tools[i] = (struct chat_tool){
            .name = arena_str(arena, name),
            .description = json_str_copy(arena, json_object_get(f, "description")),
            .parameters = parameters ? json_text(arena, parameters) : STR_NULL,
            .json = json_text(arena, t),
        };
        if (!tools[i].name.p || !tools[i].json.p)
            return json_no_memory(reterr);
    }
    ret->tools = tools;
    ret->n_tools = n;
    ret->tools_json = json_text(arena, v);
    return ret->tools_json.p ? 0 : json_no_memory(reterr);
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

static void drop_tools(struct chat_request *c)
{
    c->tools = NULL;
    c->n_tools = 0;
    c->tools_json = STR_NULL;
}

static int choice_word(struct chat_request *c, struct str word, struct fail *reterr)
{
    if (str_is(word, "none")) {
        c->tool_choice = TOOL_CHOICE_none;
        drop_tools(c); /* the model must not see them */
    } else if (str_is(word, "required")) {
        c->tool_choice = TOOL_CHOICE_required;
    } else if (!str_is(word, "auto")) {
        return fail_param(
            reterr, FAIL_invalid_request, "tool_choice",
            "'tool_choice' must be \"none\", \"auto\", \"required\" or name a function");
    }
    return 0;
}

/* Keeps the tools of the list alone, in the order of `tools`. */
static int allow_tools(struct chat_request *c, const json_t *list, struct arena *arena,
                       struct fail *reterr)
{
    struct chat_tool *kept = arena_array(arena, c->n_tools + 1, sizeof(*kept));
    CLEANUP(buf_done) struct buf json = BUF_INIT(LIMIT_BODY);
    if (!kept)
        return json_no_memory(reterr);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *f = json_object_get(json_array_get(list, i), "function");
        struct str name = json_str(json_object_get(f, "name"));
        if (!find_tool(c, name))
            return no_such_tool(name, reterr);
    }
    size_t n = 0;
    buf_addc(&json, '[');
    for (size_t i = 0; i < c->n_tools; i++) {
        bool is_in = false;
        for (size_t k = 0; k < json_array_size(list) && !is_in; k++)
            is_in = str_eq(c->tools[i].name,
                           json_str(json_object_get(
                               json_object_get(json_array_get(list, k), "function"), "name")));
        if (!is_in)
            continue;
        if (n)
            buf_addc(&json, ',');
        buf_add(&json, c->tools[i].json);
        kept[n++] = c->tools[i];
    }
    buf_addc(&json, ']');
    c->tools_json = arena_str(arena, buf_str(&json));
    if (buf_err(&json) < 0 || !c->tools_json.p)
        return json_no_memory(reterr);
    c->tools = kept;
    c->n_tools = n;
    return 0;
}

static int choice_object(struct chat_request *c, const json_t *v, struct arena *arena,
                         struct fail *reterr)
{
    struct str type = json_str(json_object_get(v, "type"));
    if (str_is(type, "function")) {
        const json_t *name = json_object_get(json_object_get(v, "function"), "name");
        const struct chat_tool *tool = find_tool(c, json_str(name));
        if (!json_is_string(name))
            return fail_param(
                reterr, FAIL_invalid_request, "tool_choice",
                "'tool_choice' must be {\"type\":\"function\",\"function\":{\"name\":…}}");
        if (!tool)
            return no_such_tool(json_str(name), reterr);
        c->tool_choice = TOOL_CHOICE_function;
        c->tool_choice_name = tool->name;
        return 0;
    }
    const json_t *allowed = json_object_get(v, "allowed_tools");
    const json_t *list = json_object_get(allowed, "tools");
    struct str mode = json_str(json_object_get(allowed, "mode"));
    if (!str_is(type, "allowed_tools"))
        return fail_param(reterr, FAIL_unsupported_parameter, "tool_choice",
                          "'tool_choice' of the type '" STR_FMT "' is not served",
                          STR_ARG(str_head(type, LIMIT_NAME)));
    if (!json_is_array(list) || json_array_size(list) == 0 ||
        !(str_is(mode, "auto") || str_is(mode, "required")))
        return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                          "'tool_choice.allowed_tools' must be {\"mode\":\"auto\" or "
                          "\"required\",\"tools\":[…]}");
    int r = allow_tools(c, list, arena, reterr);
    return r != 0 ? r : choice_word(c, mode, reterr);
}

int decode_tool_choice(struct chat_request *ret, const json_t *body, struct arena *arena,
                       struct fail *reterr)
{
    const json_t *v = json_object_get(body, "tool_choice");
    const json_t *parallel = json_object_get(body, "parallel_tool_calls");
    if (parallel && !json_is_null(parallel) && !json_is_boolean(parallel))
        return fail_param(reterr, FAIL_invalid_request, "parallel_tool_calls",
                          "'parallel_tool_calls' must be a boolean, not %s", json_kind(parallel));
    ret->single_tool_call = json_is_false(parallel);
    if (!v || json_is_null(v))
        return 0;
    bool is_mild = str_is(json_str(v), "none") || str_is(json_str(v), "auto");
    if (ret->n_tools == 0 && !is_mild && (json_is_string(v) || json_is_object(v)))
        return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                          "'tool_choice' is only allowed when 'tools' are specified");
    if (json_is_object(v))
        return choice_object(ret, v, arena, reterr);
    if (json_is_string(v))
        return choice_word(ret, json_str(v), reterr);
    return fail_param(reterr, FAIL_invalid_request, "tool_choice",
                      "'tool_choice' must be a string or an object, not %s", json_kind(v));
}

/* ---- messages ---- */

struct where {
    size_t i;     /* of the message */
    bool lenient; /* nothing will be generated */
    struct arena *arena;
    struct fail *reterr;
};

static int bad_message(const struct where *w, const char *field, const char *what)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "messages[%zu]%s%s", w->i, field[0] ? "." : "", field);
    return fail_param(w->reterr, FAIL_invalid_request, param, "'%s' %s", param, what);
}

static int add_part(struct chat_message *m, const json_t *part, struct buf *text,
                    const struct where *w)
{
    struct str type = json_str(json_object_get(part, "type"));
    if (json_is_string(part)) { /* seen in the wild */
        type = STR("text");
    } else if (!json_is_object(part) || type.n == 0) {
        return bad_message(w, "content", "holds a part without a type");
    }
    if (str_is(type, "image_url") || str_is(type, "input_image")) {
        m->n_images++;
        return 0;
    }
    const json_t *t = json_is_string(part)      ? part
                      : str_is(type, "refusal") ? json_object_get(part, "refusal")
                                                : json_object_get(part, "text");
    bool text_part = str_is(type, "text") || str_is(type, "refusal") || str_is(type, "input_text");
    if (!text_part && w->lenient)
        return 0;
    if (!text_part)
        return fail_param(w->reterr, FAIL_unsupported_parameter, "messages",
                          "messages[%zu].content holds a part of type '" STR_FMT
                          "', which is not served",
                          w->i, STR_ARG(str_head(type, 64)));
    if (!json_is_string(t))
        return bad_message(w, "content", "holds a text part without its text");
    if (text->n)
        buf_addc(text, '\n');
    buf_add(text, json_str(t));
    return 0;
}

static int decode_content(struct chat_message *m, const json_t *v, bool may_lack,
                          const struct where *w)
{
    if (!v || json_is_null(v))
        return may_lack ? 0 : bad_message(w, "content", "is missing");
    if (json_is_string(v)) {
        m->content = json_str_copy(w->arena, v);
        return m->content.p ? 0 : json_no_memory(w->reterr);
    }
    if (!json_is_array(v))
        return bad_message(w, "content", "must be a string or an array of parts");
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_BODY);
    for (size_t i = 0; i < json_array_size(v); i++) {
        int r = add_part(m, json_array_get(v, i), &text, w);
        if (r != 0)
            return r;
    }
    m->content = arena_str(w->arena, buf_str(&text));
    return buf_err(&text) == 0 && m->content.p ? 0 : json_no_memory(w->reterr);
}

static int decode_calls(struct chat_message *m, const json_t *v, const struct where *w)
{
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_array(v))
        return bad_message(w, "tool_calls", "must be an array");
    size_t n = json_array_size(v);
    struct chat_tool_call *calls = arena_array(w->arena, n ? n : 1, sizeof(*calls));
    if (!calls)
        return json_no_memory(w->reterr);
    for (size_t i = 0; i < n; i++) {
        const json_t *call = json_array_get(v, i), *f = json_object_get(call, "function");
        const json_t *name = json_object_get(f, "name");
        const json_t *arguments = json_object_get(f, "arguments");
        if (!json_is_string(name) || (!json_is_string(arguments) && !w->lenient))
            return bad_message(
                w, "tool_calls",
                "must hold {\"function\":{\"name\",\"arguments\"}} with two strings");
        calls[i] = (struct chat_tool_call){
            .id = json_str_copy(w->arena, json_object_get(call, "id")),
            .name = json_str_copy(w->arena, name),
            .arguments = json_str_copy(w->arena, arguments),
        };
        if (!calls[i].name.p || (!calls[i].arguments.p && !w->lenient))
            return json_no_memory(w->reterr);
    }
    m->tool_calls = calls;
    m->n_tool_calls = n;
    return 0;
}

static bool known_role(struct str role)
{
    static const char *const roles[] = { "system",    "developer", "user",
                                         "assistant", "tool",      "function" };
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_is(role, roles[i]))
            return true;
    return false;
}

static int decode_message(struct chat_message *m, const json_t *v, const struct where *w)
{
    if (!json_is_object(v))
        return bad_message(w, "", "must be an object with 'role' and 'content'");
    const json_t *role = json_object_get(v, "role");
    if (!json_is_string(role) || !known_role(json_str(role)))
        return bad_message(w, "role",
                           "must be one of system, developer, user, assistant, tool, function");
    m->role = json_str_copy(w->arena, role);
    m->name = json_str_copy(w->arena, json_object_get(v, "name"));
    const json_t *call_id = json_object_get(v, "tool_call_id");
    if (str_is(m->role, "tool") && !json_is_string(call_id) && !w->lenient)
        return bad_message(w, "tool_call_id", "is missing");
    m->tool_call_id = json_str_copy(w->arena, call_id);
    if (!m->role.p)
        return json_no_memory(w->reterr);
    bool is_assistant = str_is(m->role, "assistant");
    if (is_assistant) {
        const json_t *reasoning = json_object_get(v, "reasoning_content");
        if (!json_is_string(reasoning))
            reasoning = json_object_get(v, "reasoning"); /* as vLLM spells it since 0.12 */
        m->reasoning = json_str_copy(w->arena, reasoning);
        int r = decode_calls(m, json_object_get(v, "tool_calls"), w);
        if (r != 0)
            return r;
    }
    bool may_lack =
        w->lenient ||
        (is_assistant && (m->n_tool_calls || json_object_get(v, "function_call") ||
                          m->reasoning.n || json_is_string(json_object_get(v, "refusal"))));
    return decode_content(m, json_object_get(v, "content"), may_lack, w);
}

static int read_messages(struct chat_request *ret, const json_t *messages, bool lenient,
                         struct arena *arena, struct fail *reterr)
{
    if (!messages || json_is_null(messages))
        return fail_param(reterr, FAIL_invalid_request, "messages", "'messages' is missing");
    if (!json_is_array(messages))
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "'messages' must be an array, not %s", json_kind(messages));
    size_t n = json_array_size(messages);
    if (n == 0)
        return fail_param(reterr, FAIL_empty_array, "messages",
                          "'messages' is an empty array; it must hold at least one message");
    if (n > LIMIT_MESSAGES)
        return fail_param(reterr, FAIL_invalid_request, "messages",
                          "'messages' may hold at most %d messages", LIMIT_MESSAGES);
    struct chat_message *m = arena_array(arena, n, sizeof(*m));
    if (!m)
        return json_no_memory(reterr);
    for (size_t i = 0; i < n; i++) {
        struct where w = { i, lenient, arena, reterr };
        int r = decode_message(&m[i], json_array_get(messages, i), &w);
        if (r != 0)
            return r;
    }
    ret->messages = m;
    ret->n_messages = n;
    return 0;
}

int decode_messages(struct chat_request *ret, const json_t *messages, struct arena *arena,
                    struct fail *reterr)
{
    return read_messages(ret, messages, /* lenient= */ false, arena, reterr);
}

int decode_conversation(struct chat_request *ret, const json_t *messages, struct arena *arena,
                        struct fail *reterr)
{
    return read_messages(ret, messages, /* lenient= */ true, arena, reterr);
}
