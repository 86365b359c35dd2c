#include "gateway/api/decode.h"

#include "base/limits.h"
#include "base/num.h"
#include "gateway/api/format.h"

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

/* ---- lists ---- */

static int add_stop(struct chat_request *ret, struct str *stops, struct str v, struct arena *arena,
                    struct fail *reterr)
{
    if (!body_is_string(v))
        return fail_param(reterr, FAIL_invalid_request, "stop",
                          "'stop' must be a string or an array of strings, not %s", body_kind(v));
    struct str s = json_view_text(v, arena);
    if (!s.p)
        return body_no_memory(reterr);
    if (s.n > LIMIT_STOP_BYTES)
        return fail_param(reterr, FAIL_invalid_request, "stop",
                          "a stop string may have at most %d bytes", LIMIT_STOP_BYTES);
    if (s.n) /* an empty one would stop everything; OpenAI ignores it too */
        stops[ret->n_stops++] = s;
    return 0;
}

static int decode_stops(struct chat_request *ret, struct str v, struct arena *arena,
                        struct fail *reterr)
{
    if (!v.p)
        return 0;
    bool many = body_is_array(v);
    size_t n = many ? json_view_count(v) : 1;
    if (n > LIMIT_STOPS)
        return fail_param(reterr, FAIL_invalid_request, "stop",
                          "'stop' may hold at most %d strings", LIMIT_STOPS);
    struct str *stops = arena_array(arena, n ? n : 1, sizeof(*stops)), s;
    if (!stops)
        return body_no_memory(reterr);
    int r = many ? 0 : add_stop(ret, stops, v, arena, reterr);
    for (struct json_view_walk w = json_view_walk(v);
         many && r == 0 && json_view_next(&w, NULL, &s);)
        r = add_stop(ret, stops, s, arena, reterr);
    ret->stops = stops;
    return r;
}

static int decode_stop_ids(struct chat_request *ret, struct str v, struct arena *arena,
                           struct fail *reterr)
{
    if (!v.p)
        return 0;
    size_t n = json_view_count(v), i = 0;
    if (!body_is_array(v) || n > LIMIT_STOP_IDS)
        return fail_param(reterr, FAIL_invalid_request, "stop_token_ids",
                          "'stop_token_ids' must be an array of at most %d token ids",
                          LIMIT_STOP_IDS);
    int32_t *ids = arena_array(arena, n ? n : 1, sizeof(*ids));
    if (!ids)
        return body_no_memory(reterr);
    struct str item;
    for (struct json_view_walk w = json_view_walk(v); json_view_next(&w, NULL, &item); i++) {
        uint64_t id = 0;
        if (json_view_u64(item, &id) < 0 || id >= LIMIT_VOCAB)
            return fail_param(reterr, FAIL_invalid_request, "stop_token_ids",
                              "stop_token_ids[%zu] is no token id", i);
        ids[i] = (int32_t)id;
    }
    ret->stop_ids = ids;
    ret->n_stop_ids = n;
    return 0;
}

static int decode_bias(struct chat_request *ret, struct str v, struct arena *arena,
                       struct fail *reterr)
{
    if (!v.p)
        return 0;
    if (!body_is_object(v))
        return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                          "'logit_bias' must be an object of token id to bias, not %s",
                          body_kind(v));
    size_t n = json_view_count(v);
    if (n > LIMIT_LOGIT_BIAS)
        return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                          "'logit_bias' may hold at most %d tokens", LIMIT_LOGIT_BIAS);
    struct chat_logit_bias *bias = arena_array(arena, n ? n : 1, sizeof(*bias));
    if (!bias)
        return body_no_memory(reterr);
    struct str key, value;
    for (struct json_view_walk w = json_view_walk(v); json_view_next(&w, &key, &value);) {
        uint64_t token = 0;
        double b = 0;
        if (num_parse_u64(&token, key, 0, LIMIT_VOCAB) < 0 || json_view_double(value, &b) < 0 ||
            !(b >= -100 && b <= 100))
            return fail_param(reterr, FAIL_invalid_request, "logit_bias",
                              "'logit_bias' maps token ids to numbers between -100 and 100");
        bias[ret->sampling.n_bias++] = (struct chat_logit_bias){ (int32_t)token, (float)b };
    }
    ret->sampling.bias = bias;
    return 0;
}

static int decode_stream_options(struct chat_request *ret, struct str v, struct fail *reterr)
{
    if (!v.p)
        return 0;
    if (!body_is_object(v))
        return fail_param(reterr, FAIL_invalid_request, "stream_options",
                          "'stream_options' must be an object, not %s", body_kind(v));
    if (!ret->stream)
        return fail_param(reterr, FAIL_invalid_request, "stream_options",
                          "'stream_options' is only allowed when 'stream' is true");
    struct str usage = body_part(v, "include_usage");
    if (usage.p && !body_is_bool(usage))
        return fail_param(reterr, FAIL_invalid_request, "stream_options",
                          "'stream_options.include_usage' must be a boolean, not %s",
                          body_kind(usage));
    ret->include_usage = json_view_true(usage);
    return 0;
}

int decode_metadata(struct chat_request *ret, struct str metadata, struct arena *arena,
                    struct fail *reterr)
{
    if (!metadata.p)
        return 0;
    if (!body_is_object(metadata))
        return fail_param(reterr, FAIL_invalid_request, "metadata",
                          "'metadata' must be an object of strings, not %s", body_kind(metadata));
    struct chat_pair *pairs = arena_array(arena, json_view_count(metadata) + 1, sizeof(*pairs));
    if (!pairs)
        return body_no_memory(reterr);
    struct str key, value;
    for (struct json_view_walk w = json_view_walk(metadata); json_view_next(&w, &key, &value);) {
        /* With its quotes the key is a string. */
        struct str name = json_view_text((struct str){ key.p - 1, key.n + 2 }, arena);
        struct str text = body_is_string(value) ? json_view_text(value, arena) : value;
        if (!text.p || !name.p)
            return body_no_memory(reterr);
        pairs[ret->n_metadata++] = (struct chat_pair){ name, text };
    }
    ret->metadata = pairs;
    return 0;
}

/* ---- the template ---- */

/* One of the words, or NULL. */
static const char *effort_word(struct str effort)
{
    static const char *const words[] = { "none", "minimal", "low", "medium", "high", "xhigh" };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (json_view_is(effort, words[i]))
            return words[i];
    return NULL;
}

/* A member at the end of an object that is written without its closing brace. */
static void add_kwarg(struct buf *b, struct str given, const char *key, const char *json)
{
    if (!json_view_get(given, key).p)
        buf_addf(b, "%s\"%s\":%s", b->p[b->n - 1] == '{' ? "" : ",", key, json);
}

/* reasoning_effort is a variable of the chat template, like what chat_template_kwargs holds, which
 * goes before it. */
static int add_effort(struct chat_request *ret, struct arena *arena, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    struct str given = ret->template_kwargs;
    char word[16];
    (void)snprintf(word, sizeof(word), "\"" STR_FMT "\"", STR_ARG(ret->reasoning_effort));
    struct str open = given.n ? str_trim(str_head(given, given.n - 1)) : STR("{");
    buf_add(&b, open);
    add_kwarg(&b, given, "reasoning_effort", word);
    if (str_is(ret->reasoning_effort, "none"))
        add_kwarg(&b, given, "enable_thinking", "false");
    buf_addc(&b, '}');
    ret->template_kwargs = arena_str(arena, buf_str(&b));
    return buf_err(&b) == 0 && ret->template_kwargs.p ? 0 : body_no_memory(reterr);
}

static int decode_kwargs(struct chat_request *ret, const struct body *body, struct arena *arena,
                         struct fail *reterr)
{
    struct str given = body_get(body, "chat_template_kwargs");
    struct str effort = body_get(body, "reasoning_effort");
    const char *word = effort_word(effort);
    if (given.p && !body_is_object(given))
        return fail_param(reterr, FAIL_invalid_request, "chat_template_kwargs",
                          "'chat_template_kwargs' must be an object, not %s", body_kind(given));
    if (effort.p && !word)
        return fail_param(reterr, FAIL_invalid_request, "reasoning_effort",
                          "'reasoning_effort' must be one of none, minimal, low, medium, high, "
                          "xhigh");
    if (json_view_count(given))
        ret->template_kwargs = given;
    ret->reasoning_effort = str_of(word);
    return word ? add_effort(ret, arena, reterr) : 0;
}

/* ---- all ---- */

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

void decode_unserved(struct chat_request *ret, const struct refused *table, const struct body *body)
{
    if (!ret->unserved)
        ret->unserved = body_unserved(table, body);
}

int decode_served(const struct chat_request *request, struct fail *reterr)
{
    if (!request->unserved)
        return 0;
    if (request->unserved_why.n)
        return fail_param(reterr, FAIL_unsupported_parameter, request->unserved, "" STR_FMT,
                          STR_ARG(request->unserved_why));
    return fail_param(reterr, FAIL_unsupported_parameter, request->unserved,
                      "'%s' is not served with this value; leave it out", request->unserved);
}

int decode_common(struct chat_request *ret, const struct body *body, struct arena *arena,
                  struct fail *reterr)
{
    struct knobs k = { 0 };
    int r = body_fields(&k, knobs_fields, body, arena, reterr);
    if (r != 0)
        return r;
    if (!k.has_model || k.model.n == 0)
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "'model' is missing; GET /v1/models lists what is served");
    decode_unserved(ret, refused_everywhere, body);
    put_knobs(ret, &k);
    if (ret->max_tokens && ret->min_tokens > ret->max_tokens)
        return fail_param(reterr, FAIL_invalid_request, "min_tokens",
                          "'min_tokens' is larger than the most tokens that may come, %u",
                          ret->max_tokens);
    ret->model = k.model;
    ret->user = k.user;
    r = decode_kwargs(ret, body, arena, reterr);
    if (r == 0)
        r = decode_stops(ret, body_get(body, "stop"), arena, reterr);
    if (r == 0)
        r = decode_stop_ids(ret, body_get(body, "stop_token_ids"), arena, reterr);
    if (r == 0)
        r = decode_format(ret, body, arena, reterr);
    if (r == 0)
        r = decode_bias(ret, body_get(body, "logit_bias"), arena, reterr);
    if (r == 0)
        r = decode_stream_options(ret, body_get(body, "stream_options"), reterr);
    if (r == 0)
        r = decode_metadata(ret, body_get(body, "metadata"), arena, reterr);
    return r;
}
