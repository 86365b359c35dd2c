#include "engine/upstream/openai_chunk.h"

#include "base/limits.h"

/* ---- usage ---- */

static void take_count(uint32_t *n, struct str value)
{
    uint64_t v = 0;
    if (value.p && json_view_u64(value, &v) == 0)
        *n = v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

void openai_usage(struct engine_usage *u, struct str usage)
{
    if (json_view_kind(usage) != JSON_VIEW_object)
        return;
    struct json_view_walk w = json_view_walk(usage);
    for (struct str key, value; json_view_next(&w, &key, &value);) {
        if (str_is(key, "prompt_tokens"))
            take_count(&u->prompt_tokens, value);
        else if (str_is(key, "completion_tokens"))
            take_count(&u->completion_tokens, value);
        else if (str_is(key, "prompt_tokens_details"))
            take_count(&u->cached_tokens, json_view_get(value, "cached_tokens"));
        else if (str_is(key, "prompt_cache_hit_tokens") || str_is(key, "cached_tokens"))
            take_count(&u->cached_tokens, value); /* DeepSeek, Moonshot */
        else if (str_is(key, "completion_tokens_details"))
            take_count(&u->reasoning_tokens, json_view_get(value, "reasoning_tokens"));
        else if (str_is(key, "reasoning_tokens")) /* SGLang */
            take_count(&u->reasoning_tokens, value);
    }
}

/* ---- a chunk ---- */

void openai_look_at_member(void *ctx, struct str key, struct str value)
{
    struct openai_chunk *ret = ctx;
    if (str_is(key, "choices")) {
        ret->choices = value;
        ret->has_choices = json_view_kind(value) == JSON_VIEW_array;
    } else if (str_is(key, "model")) {
        ret->model = value;
    } else if (str_is(key, "usage")) {
        ret->usage = value;
        ret->usage_key = key.p - 1;
    } else if (str_is(key, "error")) {
        ret->error = value;
    } else if (str_is(key, "object")) {
        ret->object = value;
    } else if (str_is(key, "message") || str_is(key, "detail")) {
        ret->has_detail = true;
    } else if (str_is(key, "x_groq")) {
        ret->extra_usage = json_view_get(value, "usage");
    }
}

void openai_look(struct openai_chunk *ret, struct str json)
{
    *ret = (struct openai_chunk){ 0 };
    struct json_view_walk w = json_view_walk(json);
    for (struct str key, value; json_view_next(&w, &key, &value);)
        openai_look_at_member(ret, key, value);
}

static struct engine_span span_of(struct str json, struct str value)
{
    return value.p ? (struct engine_span){ (size_t)(value.p - json.p), value.n }
                   : (struct engine_span){ 0 };
}

struct engine_found openai_found(struct str json, const struct openai_chunk *c)
{
    return (struct engine_found){
        .model = span_of(json, c->model),
        .choices = span_of(json, c->choices),
        .usage = span_of(json, c->usage),
        .usage_key = c->usage.p ? (size_t)(c->usage_key - json.p) : 0,
    };
}

bool openai_is_truthy(struct str value)
{
    switch (json_view_kind(value)) {
    case JSON_VIEW_none:
    case JSON_VIEW_null:
    case JSON_VIEW_false:
        return false;
    case JSON_VIEW_string:
        return value.n > 2;
    case JSON_VIEW_object:
    case JSON_VIEW_array:
        return json_view_has_any(value);
    default:
        return !str_is(value, "0");
    }
}

bool openai_is_error(const struct openai_chunk *c)
{
    return openai_is_truthy(c->error) || (!c->has_choices && json_view_is(c->object, "error"));
}

/* ---- a choice ---- */

void openai_look_at_choice(struct openai_piece *ret, struct str choice)
{
    uint64_t index = 0;
    *ret = (struct openai_piece){ 0 };
    struct json_view_walk w = json_view_walk(choice);
    for (struct str key, value; json_view_next(&w, &key, &value);) {
        if (str_is(key, "delta") || str_is(key, "message"))
            ret->delta = value;
        else if (str_is(key, "text"))
            ret->text = value;
        else if (str_is(key, "finish_reason"))
            ret->finish = value;
        else if (str_is(key, "stop_reason")) /* vLLM: the stop string, or a token */
            ret->stop = value;
        else if (str_is(key, "logprobs"))
            ret->logprobs = value;
        else if (str_is(key, "usage"))
            ret->usage = value;
        else if (str_is(key, "index") && json_view_u64(value, &index) == 0)
            ret->index = (uint32_t)(index < LIMIT_CHOICES ? index : LIMIT_CHOICES - 1);
    }
}

/* Of a member that holds something, whether it is told to people or tools. */
static bool is_said(struct str key)
{
    static const char *const quiet[] = { "role", "name", "id", "index", "type" };
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++)
        if (str_is(key, quiet[i]))
            return false;
    return true;
}

struct openai_said openai_said(const struct openai_piece *p)
{
    bool something = p->text.n > 2, has_content = false, has_refusal = false;
    struct json_view_walk w = json_view_walk(p->delta);
    for (struct str key, value; json_view_next(&w, &key, &value);) {
        has_content = has_content || str_is(key, "content");
        has_refusal = has_refusal || str_is(key, "refusal");
        bool is_none = value.n < 3 || value.p[0] == 'n'; /* "", {}, [], null: by far the most */
        something = something || (!is_none && openai_is_truthy(value) && is_said(key));
    }
    return (struct openai_said){ something, p->delta.p && !(has_content && has_refusal) };
}
