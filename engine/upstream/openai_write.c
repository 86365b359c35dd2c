#include "engine/upstream/openai.h"

#include "base/limits.h"
#include "engine/upstream/splice.h"

#include <errno.h>

struct writer {
    struct buf *b;
    const struct provider_job *job;
    const struct chat_request *c;
    const struct openai_quirks *q;
    unsigned knobs;
    struct fail *reterr;
};

struct str openai_tool_name(const struct openai_quirks *q, struct str name,
                            char into[static TOOL_NAME_SENT + 1])
{
    return q->strict_names ? provider_tool_name(name, OPENAI_TOOL_NAME, into) : name;
}

/* ---- parts ---- */

static void add_media_url(struct buf *b, const struct chat_part *p)
{
    if (p->url.n) {
        buf_add_json(b, p->url);
        return;
    }
    buf_adds(b, "\"data:");
    buf_add_json_chars(b, p->media_type);
    buf_adds(b, ";base64,");
    buf_add_json_chars(b, p->data);
    buf_addc(b, '"');
}

/* "audio/wav" → "wav"; "audio/mpeg" is mp3. */
static struct str audio_format(struct str media_type)
{
    struct str kind, format = media_type;
    (void)str_cut(media_type, '/', &kind, &format);
    if (str_is(format, "mpeg"))
        return STR("mp3");
    return str_starts(format, STR("x-")) ? str_sub(format, 2) : format;
}

static int add_part(struct writer *w, const struct chat_part *p)
{
    struct buf *b = w->b;
    switch (p->kind) {
    case CHAT_PART_text:
        buf_adds(b, "{\"type\":\"text\",\"text\":");
        buf_add_json(b, p->text);
        break;
    case CHAT_PART_image:
        buf_adds(b, "{\"type\":\"image_url\",\"image_url\":{\"url\":");
        add_media_url(b, p);
        if (p->detail.n) {
            buf_adds(b, ",\"detail\":");
            buf_add_json(b, p->detail);
        }
        buf_addc(b, '}');
        break;
    case CHAT_PART_audio:
        buf_adds(b, "{\"type\":\"input_audio\",\"input_audio\":{\"data\":");
        buf_add_json(b, p->data);
        buf_adds(b, ",\"format\":");
        buf_add_json(b, audio_format(p->media_type));
        buf_addc(b, '}');
        break;
    case CHAT_PART_file:
        if (!p->data.n)
            return fail_param(w->reterr, FAIL_unsupported_parameter, "messages",
                              "%s takes documents as data alone",
                              provider_word(w->job->endpoint->provider));
        buf_adds(b, "{\"type\":\"file\",\"file\":{\"filename\":");
        buf_add_json(b, p->name.n ? p->name : STR("document"));
        buf_adds(b, ",\"file_data\":");
        add_media_url(b, p);
        buf_addc(b, '}');
        break;
    }
    buf_addc(b, '}');
    return 0;
}

/* The parts of one message, `media_only` those that are no text; *first: no comma before. */
static int add_parts(struct writer *w, const struct chat_message *m, bool media_only, bool *first)
{
    struct part_walk walk = provider_parts(m);
    int r = 0;
    for (struct chat_part p; r == 0 && provider_next_part(&walk, &p);) {
        if (media_only && p.kind == CHAT_PART_text)
            continue;
        if (!*first)
            buf_addc(w->b, ',');
        *first = false;
        r = add_part(w, &p);
    }
    return r;
}

/* ---- messages ---- */

static void add_calls(struct writer *w, const struct chat_message *m, size_t at)
{
    char sent[TOOL_NAME_SENT + 1];
    if (m->n_tool_calls == 0)
        return;
    provider_add_key(w->b, "tool_calls");
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        buf_adds(w->b, i ? ",{\"id\":" : "[{\"id\":");
        if (call->id.n)
            buf_add_json(w->b, call->id);
        else
            buf_addf(w->b, "\"call_%zu_%zu\"", at, i);
        buf_adds(w->b, ",\"type\":\"function\",\"function\":{\"name\":");
        buf_add_json(w->b, openai_tool_name(w->q, call->name, sent));
        buf_adds(w->b, ",\"arguments\":");
        buf_add_json(w->b, provider_arguments(call->arguments));
        buf_adds(w->b, "}}");
    }
    buf_addc(w->b, ']');
}

static void add_assistant(struct writer *w, const struct chat_message *m, size_t at)
{
    provider_add_key(w->b, "content");
    if (m->content.n || m->n_tool_calls == 0)
        buf_add_json(w->b, m->content);
    else
        buf_adds(w->b, "null");
    if (w->q->reasoning && m->reasoning.n) {
        provider_add_key(w->b, w->q->reasoning);
        buf_add_json(w->b, m->reasoning);
    }
    add_calls(w, m, at);
}

static void add_role(struct writer *w, struct str role)
{
    bool is_system = w->q->no_developer && str_is(role, "developer");
    buf_adds(w->b, w->b->p[w->b->n - 1] == '[' ? "{\"role\":" : ",{\"role\":");
    buf_add_json(w->b, is_system ? STR("system") : role);
}

/* Media beside the results of tools [from, to): a tool message has text alone, so they follow in
 * the user message after it. */
static int add_result_media(struct writer *w, size_t from, size_t to, bool *first)
{
    int r = 0;
    for (size_t i = from; r == 0 && i < to; i++)
        r = add_parts(w, &w->c->messages[i], /* media_only= */ true, first);
    return r;
}

static int add_content(struct writer *w, const struct chat_message *m, size_t media_from,
                       size_t media_to)
{
    bool first = true;
    provider_add_key(w->b, "content");
    if (media_from == media_to && !provider_has_media(m)) {
        buf_add_json(w->b, m->content);
        return 0;
    }
    buf_addc(w->b, '[');
    int r = add_result_media(w, media_from, media_to, &first);
    if (r == 0)
        r = add_parts(w, m, /* media_only= */ false, &first);
    buf_addc(w->b, ']');
    return r;
}

static void add_tool_result(struct writer *w, const struct chat_message *m)
{
    provider_add_key(w->b, "tool_call_id");
    buf_add_json(w->b, m->tool_call_id);
    provider_add_key(w->b, "content");
    buf_add_json(w->b, m->content);
}

static int add_message(struct writer *w, size_t i, size_t media_from)
{
    const struct chat_message *m = &w->c->messages[i];
    int r = 0;
    add_role(w, m->role);
    if (str_is(m->role, "tool")) {
        add_tool_result(w, m);
    } else if (str_is(m->role, "assistant")) {
        add_assistant(w, m, i);
    } else {
        r = add_content(w, m, media_from, i);
    }
    if (m->name.n && !str_is(m->role, "tool")) {
        provider_add_key(w->b, "name");
        buf_add_json(w->b, m->name);
    }
    buf_addc(w->b, '}');
    return r;
}

static int add_media_message(struct writer *w, size_t from, size_t to)
{
    bool first = true;
    add_role(w, STR("user"));
    provider_add_key(w->b, "content");
    buf_addc(w->b, '[');
    int r = add_result_media(w, from, to, &first);
    buf_adds(w->b, "]}");
    return r;
}

static int add_messages(struct writer *w)
{
    const struct chat_request *c = w->c;
    size_t waiting = SIZE_MAX; /* first tool message whose media were not sent yet */
    int r = 0;
    provider_add_key(w->b, "messages");
    buf_addc(w->b, '[');
    for (size_t i = 0; r == 0 && i < c->n_messages; i++) {
        const struct chat_message *m = &c->messages[i];
        bool is_tool = str_is(m->role, "tool"), is_user = str_is(m->role, "user");
        if (is_tool && waiting == SIZE_MAX && provider_has_media(m))
            waiting = i;
        if (!is_tool && !is_user && waiting != SIZE_MAX) {
            r = add_media_message(w, waiting, i);
            waiting = SIZE_MAX;
        }
        if (r == 0)
            r = add_message(w, i, is_user && waiting != SIZE_MAX ? waiting : i);
        if (is_user)
            waiting = SIZE_MAX;
    }
    if (r == 0 && waiting != SIZE_MAX)
        r = add_media_message(w, waiting, c->n_messages);
    buf_addc(w->b, ']');
    return r;
}

/* ---- tools ---- */

static void add_tool(struct writer *w, const struct chat_tool *t)
{
    char into[TOOL_NAME_SENT + 1];
    struct str name = openai_tool_name(w->q, t->name, into);
    if (t->json.n && str_eq(name, t->name) && t->cache_control.n == 0) {
        buf_add(w->b, t->json); /* with members that we do not know */
        return;
    }
    buf_adds(w->b, "{\"type\":\"function\",\"function\":{\"name\":");
    buf_add_json(w->b, name);
    if (t->description.n) {
        provider_add_key(w->b, "description");
        buf_add_json(w->b, t->description);
    }
    if (t->parameters.n) {
        provider_add_key(w->b, "parameters");
        buf_add(w->b, t->parameters);
    }
    if (t->strict)
        buf_adds(w->b, ",\"strict\":true");
    buf_adds(w->b, "}}");
}

/* An engine that takes words alone is told of the one tool that must be called, and no other. */
static bool is_one_told(const struct writer *w)
{
    return w->q->choice_words && w->c->tool_choice == TOOL_CHOICE_function;
}

static void add_tool_list(struct writer *w)
{
    const struct chat_request *c = w->c;
    const char *before = "[";
    size_t n = 0;
    const struct chat_tool *tools = provider_tools(c, &n);
    for (size_t i = 0; i < n; i++) {
        if (is_one_told(w) && !str_eq(tools[i].name, c->tool_choice_name))
            continue;
        buf_adds(w->b, before);
        add_tool(w, &tools[i]);
        before = ",";
    }
    buf_addc(w->b, ']');
}

/* A choice that has a word; NULL: none has to be said. */
static const char *choice_word(const struct writer *w)
{
    static const char *const words[] = { [TOOL_CHOICE_none] = "\"none\"",
                                         [TOOL_CHOICE_required] = "\"required\"",
                                         [TOOL_CHOICE_function] = NULL };
    return words[is_one_told(w) ? TOOL_CHOICE_required : w->c->tool_choice];
}

static void add_tools(struct writer *w)
{
    const struct chat_request *c = w->c;
    char into[TOOL_NAME_SENT + 1];
    const char *word = choice_word(w);
    /* Ollama does not read the choice: what may not be called is not told. */
    bool is_read = w->job->endpoint->provider != UPSTREAM_ollama;
    if (c->n_tools == 0 && (c->n_barred == 0 || !is_read))
        return;
    provider_add_key(w->b, "tools");
    add_tool_list(w);
    if (word) {
        provider_add_key(w->b, "tool_choice");
        buf_adds(w->b, word);
    } else if (c->tool_choice == TOOL_CHOICE_function) {
        buf_adds(w->b, ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":");
        buf_add_json(w->b, openai_tool_name(w->q, c->tool_choice_name, into));
        buf_adds(w->b, "}}");
    }
    if (c->single_tool_call)
        buf_adds(w->b, ",\"parallel_tool_calls\":false");
}

/* ---- how to answer ---- */

/* One of the choices as a whole text: an expression, … */
static void add_choices_regex(struct buf *b, struct str choices)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_FORMAT_BYTES);
    struct json_view_walk w = json_view_walk(choices);
    buf_adds(b, "\"(");
    for (struct str choice; json_view_next(&w, NULL, &choice);) {
        struct str plain = reader_string(choice, &text);
        if (b->p[b->n - 1] != '(')
            buf_addc(b, '|');
        for (size_t i = 0; i < plain.n; i++) {
            if (plain.p[i] && strchr("\\^$.|?*+()[]{}-", plain.p[i]))
                buf_adds(b, "\\\\"); /* a backslash, as JSON spells it */
            buf_add_json_chars(b, (struct str){ plain.p + i, plain.p[i] & 0x80 ? 0 : 1 });
            if (plain.p[i] & 0x80)
                buf_addc(b, plain.p[i]);
        }
    }
    buf_adds(b, ")\"");
}

/* … or a grammar, whose strings are spelt as JSON's. */
static void add_choices_grammar(struct buf *b, struct str choices)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(2 * LIMIT_FORMAT_BYTES);
    struct json_view_walk w = json_view_walk(choices);
    size_t n = 0;
    buf_adds(&text, "root ::= ");
    for (struct str choice; json_view_next(&w, NULL, &choice);) {
        buf_adds(&text, n++ ? " | " : "");
        buf_add(&text, choice);
    }
    buf_add_json(b, buf_str(&text));
}

/* A grammar, an expression or choices as this engine asks for them: the member's name, its value
 * in `json`. NULL: it has none. */
static const char *own_format(const struct openai_quirks *q, const struct chat_request *c,
                              struct buf *json)
{
    bool is_choice = c->format == CHAT_FORMAT_choice, is_regex = c->format == CHAT_FORMAT_regex;
    unsigned knob = is_choice ? KNOB_choice : is_regex ? KNOB_regex : KNOB_grammar;
    bool is_own = is_choice || is_regex || c->format == CHAT_FORMAT_grammar;
    if (!is_own || !(q->knobs & knob))
        return NULL;
    if (!q->regex && !q->grammar) { /* vLLM: all within one object */
        buf_addf(json, "{\"%s\":", is_choice ? "choice" : is_regex ? "regex" : "grammar");
        if (is_choice)
            buf_add(json, c->format_text);
        else
            buf_add_json(json, c->format_text);
        buf_addc(json, '}');
        return "structured_outputs";
    }
    if (is_choice && q->regex)
        add_choices_regex(json, c->format_text);
    else if (is_choice)
        add_choices_grammar(json, c->format_text);
    else
        buf_add_json(json, c->format_text);
    return q->regex && (is_choice || is_regex) ? q->regex : q->grammar;
}

static void add_own_format(struct writer *w)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(4 * LIMIT_FORMAT_BYTES);
    const char *key = own_format(w->q, w->c, &json);
    if (!key)
        return;
    if (buf_err(&json) < 0)
        w->b->err = w->b->err ? w->b->err : buf_err(&json);
    provider_add_key(w->b, key);
    buf_add(w->b, buf_str(&json));
}

static void add_format(struct writer *w)
{
    const struct chat_request *c = w->c;
    switch (c->format) {
    case CHAT_FORMAT_text:
        break;
    case CHAT_FORMAT_json_object:
        buf_adds(w->b, ",\"response_format\":{\"type\":\"json_object\"}");
        break;
    case CHAT_FORMAT_json_schema:
        buf_adds(w->b, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":");
        buf_add(w->b, c->format_name.n ? c->format_name : STR("\"answer\""));
        provider_add_key(w->b, "schema");
        buf_add(w->b, c->format_text);
        buf_adds(w->b, c->format_strict ? ",\"strict\":true}}" : "}}");
        break;
    case CHAT_FORMAT_grammar:
    case CHAT_FORMAT_regex:
    case CHAT_FORMAT_choice:
        add_own_format(w);
        break;
    }
}

/* An object that what the request's own lacks is added to. */
static void add_kwargs(struct writer *w)
{
    const struct chat_request *c = w->c;
    bool is_told = json_view_get(c->template_kwargs, "enable_thinking").p;
    if (!c->template_kwargs.n && !c->has_thinking)
        return;
    provider_add_key(w->b, "chat_template_kwargs");
    if (is_told || !c->has_thinking) {
        buf_add(w->b, c->template_kwargs);
        return;
    }
    buf_addf(w->b, "{\"enable_thinking\":%s", c->thinking_budget ? "true" : "false");
    struct json_view_walk walk = json_view_walk(c->template_kwargs);
    for (struct str key, value; json_view_next(&walk, &key, &value);) {
        buf_adds(w->b, ",\"");
        buf_add(w->b, key);
        buf_adds(w->b, "\":");
        buf_add(w->b, value);
    }
    buf_addc(w->b, '}');
}

/* Whether the effort is what a budget of another wire comes to. */
static bool is_derived(const struct chat_request *c)
{
    return c->wire == WIRE_anthropic_messages;
}

/* Models of OpenAI's that answer without thinking refuse to be told how much: a budget that a
 * client of another wire always sends is nothing to them. */
static bool takes_effort(const struct writer *w)
{
    static const char *const plain[] = { "gpt-3", "gpt-4", "chatgpt-" };
    if (w->q->no_effort)
        return false;
    for (size_t i = 0; is_derived(w->c) && i < ARRAY_LEN(plain); i++)
        if (str_starts(w->job->model, str_of(plain[i])))
            return false;
    return true;
}

/* The word that it is told in; empty: it is not. Engines know three, and templates the rest. */
static struct str effort_word(const struct writer *w)
{
    struct str effort = provider_effort(w->c);
    bool is_none = str_is(effort, "none");
    if (w->q->knobs & KNOB_kwargs) {
        if (str_is(effort, "minimal"))
            return STR("low");
        return is_none ? STR_NULL : str_is(effort, "xhigh") ? STR("high") : effort;
    }
    return is_none && is_derived(w->c) ? STR_NULL : effort;
}

static int add_reasoning(struct writer *w)
{
    struct str effort = effort_word(w);
    bool is_asked = w->c->changed & CHAT_CHANGED_template; /* by the policy, for this model */
    if (w->q->knobs & KNOB_kwargs || (is_asked && !w->q->max_completion))
        add_kwargs(w);
    if (!effort.n)
        return 0;
    if (!takes_effort(w))
        return is_derived(w->c)
                   ? 0
                   : provider_cannot(w->job, w->reterr, "reasoning_effort", "it has no such field");
    provider_add_key(w->b, "reasoning_effort");
    buf_add_json(w->b, effort);
    return 0;
}

static void add_number(struct writer *w, bool is_used, const char *key, float value)
{
    if (!is_used)
        return;
    provider_add_key(w->b, key);
    provider_add_float(w->b, value);
}

static void add_bias(struct writer *w)
{
    const struct sampling *s = &w->c->sampling;
    provider_add_key(w->b, "logit_bias");
    for (size_t i = 0; i < s->n_bias; i++) {
        buf_addf(w->b, "%c\"%d\":", i ? ',' : '{', s->bias[i].token);
        provider_add_float(w->b, s->bias[i].bias);
    }
    buf_addc(w->b, '}');
}

static void add_stops(struct writer *w)
{
    const struct chat_request *c = w->c;
    if (c->n_stops)
        provider_add_key(w->b, "stop");
    for (size_t i = 0; i < c->n_stops; i++) {
        buf_addc(w->b, i ? ',' : '[');
        buf_add_json(w->b, c->stops[i]);
    }
    if (c->n_stops)
        buf_addc(w->b, ']');
    if (w->knobs & KNOB_stop_ids)
        provider_add_key(w->b, "stop_token_ids");
    for (size_t i = 0; (w->knobs & KNOB_stop_ids) && i < c->n_stop_ids; i++)
        buf_addf(w->b, "%c%d", i ? ',' : '[', c->stop_ids[i]);
    if (w->knobs & KNOB_stop_ids)
        buf_addc(w->b, ']');
}

/* Each choice has a job of its own: the same seed would give the same text. */
static long long seed_of(const struct writer *w)
{
    int64_t seed = (int64_t)w->c->sampling.seed;
    return seed < INT64_MAX - LIMIT_CHOICES ? seed + w->job->choice : seed;
}

static void add_sampling(struct writer *w)
{
    const struct sampling *s = &w->c->sampling;
    unsigned k = w->knobs;
    add_number(w, s->temperature != 1, "temperature", s->temperature);
    add_number(w, s->top_p != 1, "top_p", s->top_p);
    add_number(w, k & KNOB_min_p, "min_p", s->min_p);
    add_number(w, k & KNOB_typical_p, "typical_p", s->typical_p);
    add_number(w, k & KNOB_presence, "presence_penalty", s->presence_penalty);
    add_number(w, k & KNOB_frequency, "frequency_penalty", s->frequency_penalty);
    add_number(w, k & KNOB_repetition, w->q->repetition ? w->q->repetition : "repetition_penalty",
               s->repeat_penalty);
    if (k & KNOB_top_k)
        buf_addf(w->b, ",\"top_k\":%u", s->top_k);
    if (k & KNOB_seed)
        buf_addf(w->b, ",\"seed\":%lld", seed_of(w));
    if (k & KNOB_bias)
        add_bias(w);
}

static void add_limits(struct writer *w)
{
    const struct chat_request *c = w->c;
    unsigned k = w->knobs;
    bool is_new = w->q->max_completion && !c->is_completion;
    if (c->max_tokens)
        buf_addf(w->b, ",\"%s\":%u", is_new ? "max_completion_tokens" : "max_tokens",
                 c->max_tokens);
    if (k & KNOB_min_tokens)
        buf_addf(w->b, ",\"min_tokens\":%u", c->min_tokens);
    if (k & KNOB_ignore_eos)
        buf_adds(w->b, ",\"ignore_eos\":true");
    if (k & KNOB_keep_stop)
        buf_adds(w->b, w->job->endpoint->provider == UPSTREAM_sglang
                           ? ",\"no_stop_trim\":true"
                           : ",\"include_stop_str_in_output\":true");
    if (k & KNOB_keep_special)
        buf_adds(w->b, ",\"skip_special_tokens\":false");
    add_stops(w);
}

static void add_logprobs(struct writer *w)
{
    const struct chat_request *c = w->c;
    bool is_ranked = c->best_of > c->n; /* who is best is told by them */
    if (!(w->knobs & KNOB_logprobs) && !is_ranked)
        return;
    if (c->is_completion)
        buf_addf(w->b, ",\"logprobs\":%u", c->top_logprobs);
    else
        buf_addf(w->b, ",\"logprobs\":true,\"top_logprobs\":%u", c->top_logprobs);
}

static void add_stream(struct writer *w)
{
    if (w->c->stream)
        buf_adds(w->b, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
}

static void add_prompt(struct writer *w)
{
    const struct chat_request *c = w->c;
    provider_add_key(w->b, "prompt");
    if (!c->prompt_ids) {
        buf_add_json(w->b, c->prompt);
        return;
    }
    buf_addc(w->b, '[');
    for (size_t i = 0; i < c->n_prompt_ids; i++)
        buf_addf(w->b, "%s%d", i ? "," : "", c->prompt_ids[i]);
    buf_addc(w->b, ']');
}

static void add_user(struct writer *w)
{
    if (!w->c->user.n)
        return;
    provider_add_key(w->b, "user");
    buf_add_json(w->b, w->c->user);
}

/* llama-server answers from its prompt cache without regard to the adapters that filled it. */
static void add_slots(struct writer *w)
{
    const struct chat_pair *adapter = w->job->adapter;
    if (!w->q->slots || !adapter)
        return;
    buf_adds(w->b, ",\"cache_prompt\":false");
    buf_addf(w->b, ",\"%.*s\":", (int)adapter->key.n, adapter->key.p);
    buf_add(w->b, adapter->value);
}

static int write_fields(struct writer *w)
{
    int r = provider_knobs(w->job, w->q->knobs, &w->knobs, w->reterr);
    if (r != 0)
        return r;
    buf_adds(w->b, "{\"model\":");
    buf_add_json(w->b, w->job->model);
    if (w->c->is_completion)
        add_prompt(w);
    else
        r = add_messages(w);
    if (r != 0)
        return r;
    add_stream(w);
    add_limits(w);
    add_sampling(w);
    add_logprobs(w);
    add_tools(w);
    add_format(w);
    r = add_reasoning(w);
    add_user(w);
    if (w->q->max_completion && !w->c->is_completion)
        buf_add(w->b, w->c->openai_members);
    add_slots(w);
    buf_addc(w->b, '}');
    return r;
}

/* ---- the client's own body ---- */

enum { SPLICES = 10, SEED_TEXT = 24 };

/* What stands instead of the client's own members; the texts that it points to. */
struct spliced {
    struct splice items[SPLICES];
    size_t n;
    char seed[SEED_TEXT];
    struct buf format, tools; /* owned */
};

static void spliced_done(struct spliced *s)
{
    buf_done(&s->format);
    buf_done(&s->tools);
}

/* A choice that the engine would not read, in tools and a word. */
static void splice_choice(const struct writer *w, struct spliced *s)
{
    if (!w->q->choice_words || w->c->n_tools == 0 ||
        json_view_kind(json_view_get(w->c->source, "tool_choice")) != JSON_VIEW_object)
        return;
    struct writer tools = *w;
    const char *word = choice_word(w);
    tools.b = &s->tools;
    add_tool_list(&tools);
    s->items[s->n++] = (struct splice){ .key = "tools", .json = buf_str(&s->tools) };
    s->items[s->n++] =
        (struct splice){ .key = "tool_choice", .json = word ? str_of(word) : STR("\"auto\"") };
}

/* 0 or the error of a buffer. */
static int splices_of(const struct writer *w, struct spliced *s)
{
    const struct chat_request *c = w->c;
    const struct chat_pair *adapter = w->job->adapter;
    if (!w->job->verbatim && (c->n > 1 || c->best_of > 1)) {
        s->items[s->n++] = (struct splice){ .key = "n", .json = STR("1") };
        s->items[s->n++] = (struct splice){ .key = "best_of" };
        if (c->sampling.has_seed) {
            (void)snprintf(s->seed, sizeof(s->seed), "%lld", seed_of(w));
            s->items[s->n++] = (struct splice){ .key = "seed", .json = str_of(s->seed) };
        }
    }
    if (!w->job->verbatim && c->is_completion && c->echo) /* the front shows the prompt itself */
        s->items[s->n++] = (struct splice){ .key = "echo" };
    /* What a policy asked for, where OpenAI's wire has no words for it, or no model takes it. */
    const char *key = c->changed & CHAT_CHANGED_format ? own_format(w->q, c, &s->format) : NULL;
    if (key)
        s->items[s->n++] = (struct splice){ .key = key, .json = buf_str(&s->format) };
    if (c->changed & CHAT_CHANGED_template && w->q->max_completion)
        s->items[s->n++] = (struct splice){ .key = "chat_template_kwargs" };
    splice_choice(w, s);
    if (w->q->slots && adapter) {
        s->items[s->n++] = (struct splice){ .key = "cache_prompt", .json = STR("false") };
        s->items[s->n++] = (struct splice){ .key = "lora", .json = adapter->value };
    }
    return buf_err(&s->format) < 0 ? buf_err(&s->format) : buf_err(&s->tools);
}

static bool has_source(const struct writer *w)
{
    enum wire wire = w->c->wire;
    bool is_ranked =
        w->c->best_of > w->c->n && !w->job->verbatim; /* it needs what it did not ask */
    return w->c->source.n && !is_ranked &&
           (wire == WIRE_openai_chat || wire == WIRE_openai_completions);
}

int openai_write_body(struct provider_call *call, const struct provider_job *job,
                      struct fail *reterr)
{
    struct writer w = { .b = &call->body,
                        .job = job,
                        .c = job->request,
                        .q = openai_quirks_of(job),
                        .reterr = reterr };
    if (!has_source(&w))
        return write_fields(&w);
    if (job->verbatim && w.q->one_choice && w.c->n > 1)
        return fail_param(reterr, FAIL_unsupported_parameter, "n",
                          "'n' is not served by %s: it gives one choice",
                          provider_word(job->endpoint->provider));
    if (!job->verbatim && (w.c->prompt_logprobs || w.c->prompt_only))
        return fail_param(reterr, FAIL_unsupported_parameter, "echo",
                          "log-probabilities of the prompt are not served together with guards on "
                          "the answer");
    CLEANUP(spliced_done)
    struct spliced spliced = { .format = BUF_INIT(4 * LIMIT_FORMAT_BYTES),
                               .tools = BUF_INIT(LIMIT_BODY) };
    int r = splices_of(&w, &spliced);
    if (r != 0)
        return r;
    r = splice_request(&call->body, w.c, job->model, spliced.items, spliced.n);
    if (r == -EINVAL)
        return fail_set(reterr, FAIL_invalid_request, "the body is no JSON object");
    return r == -EMSGSIZE ? 0 : r; /* the buffer tells that itself */
}
