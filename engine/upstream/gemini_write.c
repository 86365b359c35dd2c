/*
 * Requests in Google's wire.
 *
 * Schemas go as JSON Schema (parametersJsonSchema, responseJsonSchema) where the model takes it, so
 * that nothing of them is lost; else in Google's older subset.
 */
#include "engine/upstream/gemini.h"

#include "base/limits.h"
#include "engine/upstream/schema.h"

#include <errno.h>

enum {
    VERSION_default = 25,
    VERSION_schema = 25,   /* the first that takes JSON Schema */
    VERSION_thinking = 25, /* the first that can be told how much to think */
    VERSION_levels = 30,   /* … by a level, not by tokens */
    SEED_MASK = 0x7fffffff,
    BUDGET_least = 128, /* of those that cannot be switched off */
};

struct writer {
    struct buf *b;
    const struct provider_job *job;
    const struct chat_request *c;
    unsigned knobs, version;
    struct fail *reterr;
    struct turn_list turns;
    const char *too_large; /* the field whose schema is, written out; NULL: none */
};

unsigned gemini_version(struct str model)
{
    ptrdiff_t at = str_find(model, STR("gemini-"));
    struct str rest = str_sub(model, at < 0 ? model.n : (size_t)at + STR("gemini-").n);
    if (rest.n == 0 || rest.p[0] < '0' || rest.p[0] > '9')
        return VERSION_default;
    unsigned version = 10 * (unsigned)(rest.p[0] - '0');
    if (rest.n > 2 && rest.p[1] == '.' && rest.p[2] >= '0' && rest.p[2] <= '9')
        version += (unsigned)(rest.p[2] - '0');
    return version;
}

/* ---- contents ---- */

static void begin_part(struct writer *w, const char *member)
{
    provider_begin_item(&w->turns);
    buf_addf(w->b, "{\"%s\":", member);
}

/* What a file is, by how its address ends; `otherwise` where that says nothing. */
static struct str media_type_of(struct str url, struct str otherwise)
{
    static const struct {
        const char *end, *type;
    } rows[] = {
        { ".png", "image/png" },       { ".jpg", "image/jpeg" },  { ".jpeg", "image/jpeg" },
        { ".webp", "image/webp" },     { ".gif", "image/gif" },   { ".heic", "image/heic" },
        { ".pdf", "application/pdf" }, { ".txt", "text/plain" },  { ".md", "text/markdown" },
        { ".csv", "text/csv" },        { ".html", "text/html" },  { ".wav", "audio/wav" },
        { ".mp3", "audio/mp3" },       { ".flac", "audio/flac" }, { ".ogg", "audio/ogg" },
        { ".mp4", "video/mp4" },       { ".webm", "video/webm" }, { ".mov", "video/quicktime" },
    };
    struct str path = url, query;
    (void)str_cut(url, '?', &path, &query);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str end = str_of(rows[i].end);
        if (path.n > end.n && str_eq_nocase(str_sub(path, path.n - end.n), end))
            return str_of(rows[i].type);
    }
    return otherwise;
}

static void add_media(struct writer *w, const struct chat_part *p)
{
    static const struct str usual[] = {
        [CHAT_PART_image] = { "image/jpeg", sizeof("image/jpeg") - 1 },
        [CHAT_PART_audio] = { "audio/wav", sizeof("audio/wav") - 1 },
        [CHAT_PART_file] = { "application/pdf", sizeof("application/pdf") - 1 },
    };
    bool is_url = p->url.n > 0;
    struct str type = p->media_type;
    if (type.n == 0)
        type = media_type_of(is_url ? p->url : p->name, usual[p->kind]);
    begin_part(w, is_url ? "fileData" : "inlineData");
    buf_adds(w->b, "{\"mimeType\":");
    buf_add_json(w->b, type);
    buf_adds(w->b, is_url ? ",\"fileUri\":" : ",\"data\":");
    buf_add_json(w->b, is_url ? p->url : p->data);
    buf_adds(w->b, "}}");
}

static void add_text(struct writer *w, struct str text)
{
    begin_part(w, "text");
    buf_add_json(w->b, text);
    buf_addc(w->b, '}');
}

static void add_parts(struct writer *w, const struct chat_message *m, bool media_only)
{
    struct part_walk walk = provider_parts(m);
    for (struct chat_part p; provider_next_part(&walk, &p);) {
        if (p.kind != CHAT_PART_text)
            add_media(w, &p);
        else if (!media_only)
            add_text(w, p.text);
    }
}

static void add_user(struct writer *w, const struct chat_message *m)
{
    bool is_empty = m->content.n == 0 && !provider_has_media(m);
    provider_open_turn(&w->turns, STR("user"));
    if (is_empty && !w->turns.has_items)
        add_text(w, STR(""));
    else
        add_parts(w, m, false);
}

/* Gemini 3 wants the signature of the first call of a turn back; where the client lost it, this
 * word tells it not to look ("Thought signatures" of the Gemini API guide). */
static void add_signature(struct writer *w, struct str signature)
{
    if (signature.n == 0 && w->version < VERSION_levels)
        return;
    provider_add_key(w->b, "thoughtSignature");
    buf_add_json(w->b, signature.n ? signature : STR("skip_thought_signature_validator"));
}

/* The last of them: calls come behind all that was thought. */
static struct str signature_of(const struct chat_message *m)
{
    struct thought_walk walk = provider_thoughts(m);
    struct str last = STR_NULL;
    for (struct chat_thought t; provider_next_thought(&walk, &t);)
        last = t.signature.n ? t.signature : last;
    return last;
}

static void add_assistant(struct writer *w, const struct chat_message *m)
{
    char sent[TOOL_NAME_SENT + 1];
    if (m->content.n == 0 && m->n_tool_calls == 0 && !provider_has_media(m))
        return;
    provider_open_turn(&w->turns, STR("model"));
    add_parts(w, m, false);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        begin_part(w, "functionCall");
        buf_adds(w->b, "{\"name\":");
        buf_add_json(w->b, provider_tool_name(call->name, GEMINI_TOOL_NAME, sent));
        buf_adds(w->b, ",\"args\":");
        buf_add(w->b, provider_arguments(call->arguments));
        buf_addc(w->b, '}');
        if (i == 0)
            add_signature(w, signature_of(m));
        buf_addc(w->b, '}');
    }
}

/* The function that a result is of: results are matched by name there, calls by id here. */
static struct str function_of(const struct chat_request *c, size_t at)
{
    const struct chat_message *m = &c->messages[at];
    while (at-- > 0)
        for (size_t i = 0; i < c->messages[at].n_tool_calls; i++)
            if (str_eq(c->messages[at].tool_calls[i].id, m->tool_call_id))
                return c->messages[at].tool_calls[i].name;
    return m->name.n ? m->name : m->tool_call_id;
}

static void add_result(struct writer *w, size_t at)
{
    const struct chat_message *m = &w->c->messages[at];
    char sent[TOOL_NAME_SENT + 1];
    provider_open_turn(&w->turns, STR("user"));
    begin_part(w, "functionResponse");
    buf_adds(w->b, "{\"name\":");
    buf_add_json(w->b, provider_tool_name(function_of(w->c, at), GEMINI_TOOL_NAME, sent));
    buf_adds(w->b, m->is_error ? ",\"response\":{\"error\":" : ",\"response\":{\"output\":");
    buf_add_json(w->b, m->content);
    buf_adds(w->b, "}}}");
    add_parts(w, m, true);
}

static void add_messages(struct writer *w)
{
    for (size_t i = 0; i < w->c->n_messages; i++) {
        const struct chat_message *m = &w->c->messages[i];
        if (str_is(m->role, "assistant"))
            add_assistant(w, m);
        else if (str_is(m->role, "tool"))
            add_result(w, i);
        else if (!provider_is_system(m))
            add_user(w, m);
    }
}

/* Text of all system messages as parts; the whole conversation where there is nothing else. */
static void add_system(struct writer *w, bool is_all)
{
    for (size_t i = 0; i < w->c->n_messages; i++) {
        const struct chat_message *m = &w->c->messages[i];
        if (!provider_is_system(m))
            continue;
        struct part_walk walk = provider_parts(m);
        for (struct chat_part p; provider_next_part(&walk, &p);) {
            if (p.kind != CHAT_PART_text)
                continue;
            if (is_all)
                provider_open_turn(&w->turns, STR("user"));
            add_text(w, p.text);
        }
    }
}

static bool has_system_text(const struct chat_request *c)
{
    for (size_t i = 0; i < c->n_messages; i++)
        if (provider_is_system(&c->messages[i]) && c->messages[i].content.n)
            return true;
    return false;
}

static void add_contents(struct writer *w)
{
    buf_adds(w->b, "{\"contents\":[");
    if (w->c->is_completion) {
        provider_open_turn(&w->turns, STR("user"));
        add_text(w, w->c->prompt);
    } else {
        add_messages(w);
    }
    bool is_all = !w->turns.has_turns;
    if (is_all)
        add_system(w, true);
    provider_close_turn(&w->turns);
    buf_addc(w->b, ']');
    if (is_all || !has_system_text(w->c))
        return;
    provider_add_key(w->b, "systemInstruction");
    buf_adds(w->b, "{\"parts\":[");
    w->turns.has_items = false;
    add_system(w, false);
    buf_adds(w->b, "]}");
}

/* ---- tools ---- */

static void add_choice(struct writer *w)
{
    static const char *const modes[] = { [TOOL_CHOICE_auto] = "AUTO",
                                         [TOOL_CHOICE_none] = "NONE",
                                         [TOOL_CHOICE_required] = "ANY",
                                         [TOOL_CHOICE_function] = "ANY" };
    char sent[TOOL_NAME_SENT + 1];
    if (w->c->tool_choice == TOOL_CHOICE_auto)
        return;
    provider_add_key(w->b, "toolConfig");
    buf_addf(w->b, "{\"functionCallingConfig\":{\"mode\":\"%s\"", modes[w->c->tool_choice]);
    if (w->c->tool_choice == TOOL_CHOICE_function) {
        buf_adds(w->b, ",\"allowedFunctionNames\":[");
        buf_add_json(w->b, provider_tool_name(w->c->tool_choice_name, GEMINI_TOOL_NAME, sent));
        buf_addc(w->b, ']');
    }
    buf_adds(w->b, "}}");
}

static void add_tools(struct writer *w)
{
    char sent[TOOL_NAME_SENT + 1];
    size_t n = 0;
    const struct chat_tool *tools = provider_tools(w->c, &n);
    if (n == 0)
        return;
    provider_add_key(w->b, "tools");
    buf_adds(w->b, "[{\"functionDeclarations\":[");
    for (size_t i = 0; i < n; i++) {
        const struct chat_tool *t = &tools[i];
        buf_adds(w->b, i ? ",{\"name\":" : "{\"name\":");
        buf_add_json(w->b, provider_tool_name(t->name, GEMINI_TOOL_NAME, sent));
        if (t->description.n) {
            provider_add_key(w->b, "description");
            buf_add_json(w->b, t->description);
        }
        if (t->parameters.n && w->version >= VERSION_schema) {
            provider_add_key(w->b, "parametersJsonSchema");
            buf_add(w->b, t->parameters);
        } else if (schema_has_members(t->parameters)) {
            provider_add_key(w->b, "parameters");
            if (schema_add_openapi(w->b, t->parameters) != 0)
                w->too_large = "tools";
        }
        buf_addc(w->b, '}');
    }
    buf_adds(w->b, "]}]");
    add_choice(w);
}

/* ---- generationConfig ---- */

static void add_number(struct writer *w, const char *key, float value)
{
    provider_add_key(w->b, key);
    provider_add_float(w->b, value);
}

static void add_sampling(struct writer *w)
{
    const struct sampling *s = &w->c->sampling;
    if (s->temperature != 1)
        add_number(w, "temperature", s->temperature);
    if (s->top_p != 1)
        add_number(w, "topP", s->top_p);
    if (w->knobs & KNOB_top_k)
        buf_addf(w->b, ",\"topK\":%u", s->top_k);
    if (w->knobs & KNOB_presence)
        add_number(w, "presencePenalty", s->presence_penalty);
    if (w->knobs & KNOB_frequency)
        add_number(w, "frequencyPenalty", s->frequency_penalty);
    /* Each choice has a job of its own: the same seed would give the same text. */
    if (w->knobs & KNOB_seed)
        buf_addf(w->b, ",\"seed\":%u", (unsigned)((s->seed + w->job->choice) & SEED_MASK));
    if (w->c->max_tokens)
        buf_addf(w->b, ",\"maxOutputTokens\":%u", w->c->max_tokens);
    for (size_t i = 0; i < w->c->n_stops; i++) {
        buf_adds(w->b, i ? "," : ",\"stopSequences\":[");
        buf_add_json(w->b, w->c->stops[i]);
    }
    if (w->c->n_stops)
        buf_addc(w->b, ']');
    if (w->knobs & KNOB_logprobs) {
        buf_adds(w->b, ",\"responseLogprobs\":true");
        if (w->c->top_logprobs)
            buf_addf(w->b, ",\"logprobs\":%u", w->c->top_logprobs);
    }
}

static void add_format(struct writer *w)
{
    switch (w->c->format) {
    case CHAT_FORMAT_json_object:
        buf_adds(w->b, ",\"responseMimeType\":\"application/json\"");
        break;
    case CHAT_FORMAT_json_schema:
        buf_adds(w->b, ",\"responseMimeType\":\"application/json\"");
        if (w->version >= VERSION_schema) {
            provider_add_key(w->b, "responseJsonSchema");
            buf_add(w->b, w->c->format_text);
        } else {
            provider_add_key(w->b, "responseSchema");
            if (schema_add_openapi(w->b, w->c->format_text) != 0)
                w->too_large = "response_format";
        }
        break;
    case CHAT_FORMAT_choice:
        buf_adds(w->b, ",\"responseMimeType\":\"text/x.enum\",\"responseSchema\":{\"type\":"
                       "\"STRING\",\"enum\":");
        buf_add(w->b, w->c->format_text);
        buf_addc(w->b, '}');
        break;
    case CHAT_FORMAT_text:
    case CHAT_FORMAT_grammar: /* refused, or dropped, with the knobs */
    case CHAT_FORMAT_regex:
        break;
    }
}

/* A word of reasoning_effort as a level of Gemini 3: only its smaller models have them all. */
static const char *level_of(const struct writer *w, struct str effort)
{
    bool is_flash = str_find(w->job->model, STR("flash")) >= 0;
    if (str_is(effort, "none") || str_is(effort, "minimal"))
        return is_flash ? "MINIMAL" : "LOW";
    if (str_is(effort, "low"))
        return "LOW";
    if (str_is(effort, "medium"))
        return is_flash || w->version > VERSION_levels ? "MEDIUM" : "HIGH";
    return "HIGH";
}

/* Budgets that Google's own translation of these words has. */
static unsigned budget_of(const struct writer *w, struct str effort)
{
    static const struct {
        const char *word;
        unsigned tokens;
    } rows[] = { { "minimal", 1024 }, { "low", 1024 }, { "medium", 8192 } };
    enum { HIGH = 24576 };
    if (str_is(effort, "none"))
        return str_find(w->job->model, STR("-pro")) >= 0 ? BUDGET_least : 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_is(effort, rows[i].word))
            return rows[i].tokens;
    return HIGH;
}

static int add_thinking(struct writer *w)
{
    struct str effort = provider_effort(w->c);
    bool is_off = str_is(effort, "none");
    if (effort.n == 0)
        return 0;
    if (w->version < VERSION_thinking)
        return is_off ? 0
                      : provider_cannot(w->job, w->reterr, "reasoning_effort",
                                        "the model does not think");
    provider_add_key(w->b, "thinkingConfig");
    buf_addf(w->b, "{\"includeThoughts\":%s", is_off ? "false" : "true");
    if (w->version >= VERSION_levels)
        buf_addf(w->b, ",\"thinkingLevel\":\"%s\"}", level_of(w, effort));
    else if (w->c->has_thinking && !w->c->reasoning_effort.n && w->c->thinking_budget)
        buf_addf(w->b, ",\"thinkingBudget\":%u}", w->c->thinking_budget);
    else
        buf_addf(w->b, ",\"thinkingBudget\":%u}", budget_of(w, effort));
    return 0;
}

/* How closely images are looked at: one word for all of them, that of the closest. */
static const char *resolution_of(const struct chat_request *c)
{
    bool is_low = false, is_high = false;
    for (size_t i = 0; i < c->n_messages; i++)
        for (size_t k = 0; k < c->messages[i].n_parts; k++) {
            struct str detail = c->messages[i].parts[k].detail;
            is_low = is_low || str_is(detail, "low");
            is_high = is_high || str_is(detail, "high");
        }
    if (is_high)
        return "MEDIA_RESOLUTION_HIGH";
    return is_low ? "MEDIA_RESOLUTION_LOW" : NULL;
}

static int add_config(struct writer *w)
{
    size_t at = w->b->n;
    add_sampling(w);
    add_format(w);
    const char *resolution = resolution_of(w->c);
    if (resolution && w->version >= VERSION_levels)
        buf_addf(w->b, ",\"mediaResolution\":\"%s\"", resolution);
    int r = add_thinking(w);
    if (r != 0 || w->b->n == at || w->b->err)
        return r;
    /* The first member's comma gives way to the object's name. */
    static const char name[] = ",\"generationConfig\":{";
    size_t n = w->b->n - at;
    if (!buf_space(w->b, sizeof(name)))
        return 0; /* told by the buffer */
    memmove(w->b->p + at + sizeof(name) - 1, w->b->p + at + 1, n - 1);
    memcpy(w->b->p + at, name, sizeof(name) - 1);
    w->b->n += sizeof(name) - 2;
    buf_addc(w->b, '}');
    return 0;
}

void gemini_write_prompt(struct provider_call *call, const struct provider_job *job)
{
    struct writer w = {
        .b = &call->body,
        .turns = { .b = &call->body, .items = "parts" },
        .job = job,
        .c = job->request,
        .version = gemini_version(job->model),
    };
    add_contents(&w);
    add_tools(&w);
    buf_addc(w.b, '}');
}

int gemini_write_body(struct provider_call *call, const struct provider_job *job,
                      struct fail *reterr)
{
    struct writer w = { .b = &call->body,
                        .turns = { .b = &call->body, .items = "parts" },
                        .job = job,
                        .c = job->request,
                        .version = gemini_version(job->model),
                        .reterr = reterr };
    int r = provider_knobs(
        job, KNOB_top_k | KNOB_presence | KNOB_frequency | KNOB_seed | KNOB_logprobs | KNOB_choice,
        &w.knobs, reterr);
    if (r != 0)
        return r;
    if (w.c->is_completion && w.c->prompt_ids)
        return fail_param(reterr, FAIL_unsupported_parameter, "prompt",
                          "%s takes text, not token ids", provider_word(job->endpoint->provider));
    add_contents(&w);
    add_tools(&w);
    r = add_config(&w);
    buf_addc(w.b, '}');
    if (r == 0 && w.too_large)
        return fail_param(reterr, FAIL_invalid_request, w.too_large,
                          "'%s' holds a schema that is too large with its references written out",
                          w.too_large);
    return r;
}
