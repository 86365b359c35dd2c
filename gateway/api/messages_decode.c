#include "base/limits.h"
#include "gateway/api/body.h"
#include "gateway/api/messages.h"

#include <errno.h>

struct knobs {
    struct str model;
    double temperature, top_p;
    int64_t top_k, max_tokens;
    bool stream;
    bool has_model, has_temperature, has_top_p, has_max;
};

#define AT(member) offsetof(struct knobs, member)
static const struct field knobs_fields[] = {
    { "model", FIELD_text, AT(model), 0, 0, AT(has_model) },
    { "temperature", FIELD_float, AT(temperature), 0, 1, AT(has_temperature) },
    { "top_p", FIELD_float, AT(top_p), 0, 1, AT(has_top_p) },
    { "top_k", FIELD_int, AT(top_k), 0, INT32_MAX, -1 },
    { "max_tokens", FIELD_int, AT(max_tokens), 0, INT32_MAX, AT(has_max) },
    { "stream", FIELD_bool, AT(stream), 0, 0, -1 },
    { 0 },
};

/* ---- stop sequences, metadata ---- */

static int decode_stops(struct chat_request *ret, struct str v, struct arena *arena,
                        struct fail *reterr)
{
    if (!v.p)
        return 0;
    size_t n = json_view_count(v);
    if (json_view_kind(v) != JSON_VIEW_array || n > LIMIT_STOPS)
        return fail_param(reterr, FAIL_invalid_request, "stop_sequences",
                          "stop_sequences: must be an array of at most %d strings", LIMIT_STOPS);
    struct str *stops = arena_array(arena, n + 1, sizeof(*stops)), stop;
    if (!stops)
        return body_no_memory(reterr);
    struct json_view_walk w = json_view_walk(v);
    for (size_t i = 0; json_view_next(&w, NULL, &stop); i++) {
        struct str text = json_view_text(stop, arena);
        if (json_view_kind(stop) != JSON_VIEW_string || text.n > LIMIT_STOP_BYTES)
            return fail_param(reterr, FAIL_invalid_request, "stop_sequences",
                              "stop_sequences.%zu: must be a string of at most %d bytes", i,
                              LIMIT_STOP_BYTES);
        if (!text.p)
            return body_no_memory(reterr);
        if (text.n)
            stops[ret->n_stops++] = text;
    }
    ret->stops = stops;
    return 0;
}

/* Only texts: what else there may be is for its own maker. */
static int decode_metadata(struct chat_request *ret, struct str v, struct arena *arena,
                           struct fail *reterr)
{
    if (!v.p)
        return 0;
    if (json_view_kind(v) != JSON_VIEW_object)
        return fail_param(reterr, FAIL_invalid_request, "metadata",
                          "metadata: must be an object, not %s", body_kind(v));
    struct chat_pair *pairs = arena_array(arena, json_view_count(v) + 1, sizeof(*pairs));
    struct json_view_walk w = json_view_walk(v);
    struct str key, value;
    if (!pairs)
        return body_no_memory(reterr);
    while (json_view_next(&w, &key, &value))
        if (json_view_kind(value) == JSON_VIEW_string)
            pairs[ret->n_metadata++] = (struct chat_pair){ key, json_view_text(value, arena) };
    ret->metadata = pairs;
    ret->user = json_view_text(body_part(v, "user_id"), arena);
    return 0;
}

/* ---- thinking, effort, format ---- */

enum {
    BUDGET_MIN = 1024,     /* as Anthropic has it */
    BUDGET_LOW = 4096,     /* up to that, "low" is meant where an engine knows efforts only, … */
    BUDGET_MEDIUM = 16384, /* … and "medium" */
};

static int decode_thinking(struct chat_request *ret, struct str v, struct fail *reterr)
{
    struct str type = body_part(v, "type");
    uint64_t budget = 0;
    if (!v.p)
        return 0;
    if (json_view_kind(type) != JSON_VIEW_string)
        return fail_param(reterr, FAIL_invalid_request, "thinking",
                          "thinking.type: must be 'enabled', 'disabled' or 'adaptive'");
    if (json_view_is(type, "adaptive")) /* the model's own choice, as without the field */
        return 0;
    bool is_off = json_view_is(type, "disabled");
    if (!is_off && !json_view_is(type, "enabled")) { /* newer than we are */
        ret->unserved = "thinking";
        return 0;
    }
    ret->has_thinking = true;
    if (is_off)
        return 0;
    if (json_view_u64(body_part(v, "budget_tokens"), &budget) < 0 || budget < BUDGET_MIN ||
        budget > INT32_MAX)
        return fail_param(reterr, FAIL_invalid_request, "thinking",
                          "thinking.budget_tokens: must be an integer of at least %d", BUDGET_MIN);
    ret->thinking_budget = (uint32_t)budget;
    ret->reasoning_effort = budget <= BUDGET_LOW      ? STR("low")
                            : budget <= BUDGET_MEDIUM ? STR("medium")
                                                      : STR("high");
    return 0;
}

static int decode_effort(struct chat_request *ret, struct str v, struct fail *reterr)
{
    static const char *const words[] = { "low", "medium", "high", "xhigh", "max" };
    size_t i = 0;
    if (!v.p)
        return 0;
    while (i < ARRAY_LEN(words) && !json_view_is(v, words[i]))
        i++;
    if (json_view_kind(v) != JSON_VIEW_string)
        return fail_param(reterr, FAIL_invalid_request, "output_config",
                          "output_config.effort: must be one of low, medium, high, xhigh, max");
    if (i == ARRAY_LEN(words)) { /* newer than we are */
        ret->unserved = "output_config";
        return 0;
    }
    ret->reasoning_effort = str_of(i < ARRAY_LEN(words) - 1 ? words[i] : "xhigh");
    return 0;
}

static int decode_format(struct chat_request *ret, struct str v, const char *param,
                         struct fail *reterr)
{
    struct str type = body_part(v, "type"), schema = body_part(v, "schema");
    if (!v.p || json_view_is(type, "text"))
        return 0;
    if (!json_view_is(type, "json_schema") || json_view_kind(schema) != JSON_VIEW_object)
        return fail_param(reterr, FAIL_invalid_request, param,
                          "%s: must be {\"type\":\"json_schema\",\"schema\":{…}}", param);
    if (schema.n > LIMIT_FORMAT_BYTES)
        return fail_param(reterr, FAIL_invalid_request, param,
                          "%s.schema: has %zu bytes; at most %lu are served", param, schema.n,
                          LIMIT_FORMAT_BYTES);
    ret->format = CHAT_FORMAT_json_schema;
    ret->format_strict = true;
    ret->format_text = schema;
    ret->format_param = param;
    return 0;
}

/* The switches that chat templates know. */
static int tell_template(struct chat_request *ret, struct arena *arena, struct fail *reterr)
{
    const char *on = ret->thinking_budget ? "true" : "false";
    bool effort = ret->reasoning_effort.n > 0;
    if (!ret->has_thinking && !effort)
        return 0;
    ret->template_kwargs = str_of(arena_printf(
        arena, "{%s%s%s%s" STR_FMT "%s}", ret->has_thinking ? "\"enable_thinking\":" : "",
        ret->has_thinking ? on : "", ret->has_thinking && effort ? "," : "",
        effort ? "\"reasoning_effort\":\"" : "", STR_ARG(ret->reasoning_effort),
        effort ? "\"" : ""));
    return ret->template_kwargs.p ? 0 : body_no_memory(reterr);
}

static int decode_output(struct chat_request *ret, const struct body *body, struct arena *arena,
                         struct fail *reterr)
{
    struct str config = body_get(body, "output_config"), format = body_part(config, "format");
    int r = decode_thinking(ret, body_get(body, "thinking"), reterr);
    if (r == 0)
        r = decode_effort(ret, body_part(config, "effort"), reterr);
    if (r == 0 && format.p)
        r = decode_format(ret, format, "output_config.format", reterr);
    else if (r == 0) /* where betas had it */
        r = decode_format(ret, body_get(body, "output_format"), "output_format", reterr);
    return r == 0 ? tell_template(ret, arena, reterr) : r;
}

/* ---- all ---- */

static int put_knobs(struct chat_request *ret, const struct knobs *k, bool counts,
                     struct fail *reterr)
{
    struct sampling *s = &ret->sampling;
    if (!k->has_model || k->model.n == 0)
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "model: Field required; GET /v1/models lists what is served");
    if (!k->has_max && !counts)
        return fail_param(reterr, FAIL_invalid_request, "max_tokens", "max_tokens: Field required");
    *s = SAMPLING_INIT;
    if (k->has_temperature)
        s->temperature = (float)k->temperature;
    if (k->has_top_p)
        s->top_p = (float)k->top_p;
    s->top_k = (uint32_t)k->top_k;
    ret->model = k->model;
    ret->max_tokens = (uint32_t)k->max_tokens;
    ret->stream = k->stream;
    ret->include_usage = k->stream; /* message_delta tells it */
    ret->n = 1;
    return 0;
}

int messages_decode(struct chat_request *ret, struct str text, bool counts, struct arena *arena,
                    struct fail *reterr)
{
    struct knobs k = { 0 };
    struct body body;
    int r = body_read(&body, text, arena, reterr);
    if (r == 0)
        r = body_fields(&k, knobs_fields, &body, arena, reterr);
    if (r == 0)
        r = put_knobs(ret, &k, counts, reterr);
    if (r == 0)
        r = messages_decode_turns(ret, body_get(&body, "system"), body_get(&body, "messages"),
                                  arena, reterr);
    if (r == 0)
        r = decode_stops(ret, body_get(&body, "stop_sequences"), arena, reterr);
    if (r == 0)
        r = decode_metadata(ret, body_get(&body, "metadata"), arena, reterr);
    if (r == 0)
        r = decode_output(ret, &body, arena, reterr);
    if (r == 0)
        r = messages_decode_tools(ret, body_get(&body, "tools"), body_get(&body, "tool_choice"),
                                  arena, reterr);
    if (r == 0) {
        ret->continues = str_is(ret->messages[ret->n_messages - 1].role, "assistant");
        ret->wire = WIRE_anthropic_messages;
        ret->source = body.text;
    }
    return r;
}
