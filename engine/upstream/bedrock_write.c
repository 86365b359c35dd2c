/*
 * Requests of Converse. Neighbouring turns of one role are one message; empty ones are left out.
 */
#include "engine/upstream/bedrock.h"

#include "base/limits.h"
#include "engine/upstream/claude.h"
#include "engine/upstream/schema.h"

#include <errno.h>

enum {
    CALL_ID = 64,        /* bytes of a tool call's id, at most */
    DOCUMENT_NAME = 200, /* bytes */
};

/* Families of models have their own words for what Converse has none for. */
enum family { FAMILY_other, FAMILY_claude, FAMILY_nova, FAMILY_gpt, FAMILY_plain };

struct writer {
    struct buf *b;
    const struct provider_job *job;
    const struct chat_request *c;
    struct fail *reterr;
    enum family family;
    struct claude_plan plan; /* of every family: what of the sampling is told */
    bool by_tool;            /* the answer is the input of a tool */
    struct turn_list turns;
};

/* Those whose answers cannot be held to a schema. */
static enum family family_of(struct str model)
{
    static const char *const plain[] = {
        "meta.llama",     "cohere.command",           "ai21.",
        "amazon.titan",   "mistral.mistral-large-24", "mistral.mistral-small-24",
        "mistral.mixtral"
    };
    if (str_find(model, STR("anthropic.")) >= 0 || str_find(model, STR("claude")) >= 0)
        return FAMILY_claude;
    if (str_find(model, STR("nova")) >= 0)
        return FAMILY_nova;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (str_find(model, str_of(plain[i])) >= 0)
            return FAMILY_plain;
    return str_find(model, STR("gpt-oss")) >= 0 ? FAMILY_gpt : FAMILY_other;
}

bool bedrock_answers_by_tool(const struct provider_job *job)
{
    enum family family = family_of(job->model);
    bool has_format = family == FAMILY_claude ? claude_has_format(claude_of(job->model))
                                              : family == FAMILY_gpt || family == FAMILY_other;
    return job->request->format == CHAT_FORMAT_json_schema && !has_format;
}

/* ---- messages ---- */

/* {"type":"ephemeral","ttl":"1h"} → a point up to which is cached, where the model caches: others
 * refuse it. */
static void add_cache_point(struct writer *w, struct str control)
{
    struct str ttl = json_view_get(control, "ttl");
    bool caches = w->family == FAMILY_claude || w->family == FAMILY_nova;
    if (control.n == 0 || !caches)
        return;
    provider_begin_item(&w->turns);
    buf_adds(w->b, "{\"cachePoint\":{\"type\":\"default\"");
    if (json_view_is(ttl, "1h"))
        buf_adds(w->b, ",\"ttl\":\"1h\"");
    buf_adds(w->b, "}}");
}

static void add_text(struct writer *w, struct str text)
{
    provider_begin_item(&w->turns);
    buf_adds(w->b, "{\"text\":");
    buf_add_json(w->b, text);
    buf_addc(w->b, '}');
}

/* ---- media ---- */

static struct str after_slash(struct str type)
{
    struct str kind, rest = type;
    (void)str_cut(type, '/', &kind, &rest);
    return rest;
}

/* png, jpeg, gif, webp; p NULL: another. */
static struct str image_format(const struct chat_part *p)
{
    static const char *const known[] = { "png", "jpeg", "gif", "webp" };
    struct str format = after_slash(p->media_type);
    if (str_is(format, "jpg"))
        return STR("jpeg");
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct str end = str_of(known[i]);
        if (str_eq(format, end) || (p->url.n && str_ends(p->url, end)))
            return end;
    }
    return p->url.n && str_ends(p->url, STR(".jpg")) ? STR("jpeg") : STR_NULL;
}

static struct str document_format(const struct chat_part *p)
{
    static const struct {
        const char *type, *format;
    } rows[] = {
        { "application/pdf", "pdf" },
        { "text/csv", "csv" },
        { "application/msword", "doc" },
        { "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx" },
        { "application/vnd.ms-excel", "xls" },
        { "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx" },
        { "text/html", "html" },
        { "text/plain", "txt" },
        { "text/markdown", "md" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_is(p->media_type, rows[i].type))
            return str_of(rows[i].format);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_ends(p->name.n ? p->name : p->url, str_of(rows[i].format)))
            return str_of(rows[i].format);
    return STR("pdf");
}

/* Letters, digits, blanks, '-', '(' , ')', '[' and ']' may stand in a document's name. */
static void add_document_name(struct writer *w, struct str name, size_t at)
{
    struct str stem = str_head(name, DOCUMENT_NAME);
    ptrdiff_t dot = str_find(stem, STR("."));
    size_t from = w->b->n;
    if (dot > 0)
        stem = str_head(stem, (size_t)dot);
    for (size_t i = 0; i < stem.n; i++) {
        char c = stem.p[i];
        bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr("-()[]", c);
        buf_addc(w->b, fits && c ? c : '-');
    }
    if (w->b->n == from) /* two documents of one name are refused */
        buf_addf(w->b, "document-%zu", at);
}

static int add_source(struct writer *w, const struct chat_part *p)
{
    if (p->url.n == 0) {
        buf_adds(w->b, "\"source\":{\"bytes\":");
        buf_add_json(w->b, p->data);
        buf_adds(w->b, "}}}");
        return 0;
    }
    if (!str_starts(p->url, STR("s3://")))
        return fail_param(w->reterr, FAIL_unsupported_parameter, "messages",
                          "bedrock takes images and documents as data or from s3://, not by URL");
    buf_adds(w->b, "\"source\":{\"s3Location\":{\"uri\":");
    buf_add_json(w->b, p->url);
    buf_adds(w->b, "}}}}");
    return 0;
}

static int add_media(struct writer *w, const struct chat_part *p)
{
    provider_begin_item(&w->turns);
    if (p->kind == CHAT_PART_image) {
        struct str format = image_format(p);
        if (!format.p)
            return fail_param(w->reterr, FAIL_invalid_request, "messages",
                              "bedrock takes images as png, jpeg, gif or webp");
        buf_adds(w->b, "{\"image\":{\"format\":");
        buf_add_json(w->b, format);
        buf_addc(w->b, ',');
        return add_source(w, p);
    }
    if (p->kind == CHAT_PART_audio) {
        struct str format = after_slash(p->media_type);
        if (str_is(format, "mpeg"))
            format = STR("mp3");
        buf_adds(w->b, "{\"audio\":{\"format\":");
        buf_add_json(w->b, str_starts(format, STR("x-")) ? str_sub(format, 2) : format);
        buf_addc(w->b, ',');
        return add_source(w, p);
    }
    buf_adds(w->b, "{\"document\":{\"format\":");
    buf_add_json(w->b, document_format(p));
    buf_adds(w->b, ",\"name\":\"");
    add_document_name(w, p->name, w->b->n);
    buf_adds(w->b, "\",");
    return add_source(w, p);
}

/* `ret_cache`: where points of caching may not stand between parts, gets the last of them. */
static int add_parts(struct writer *w, const struct chat_message *m, struct str *ret_cache)
{
    struct part_walk walk = provider_parts(m);
    int r = 0;
    for (struct chat_part p; r == 0 && provider_next_part(&walk, &p);) {
        bool is_text = p.kind == CHAT_PART_text;
        if (is_text && str_trim(p.text).n == 0)
            continue; /* refused over there */
        if (is_text)
            add_text(w, p.text);
        else
            r = add_media(w, &p);
        if (!ret_cache)
            add_cache_point(w, p.cache_control);
        else if (p.cache_control.n)
            *ret_cache = p.cache_control;
    }
    return r;
}

/* ---- turns ---- */

/* An id within bounds: letters, digits, '_', '.', ':' and '-'. */
static void add_call_id(struct writer *w, struct str id)
{
    struct str fit = str_head(id, CALL_ID);
    buf_addc(w->b, '"');
    for (size_t i = 0; i < fit.n; i++) {
        char c = fit.p[i];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      (c && strchr("_.:-", c));
        buf_addc(w->b, is_fit ? c : '_');
    }
    buf_adds(w->b, fit.n ? "\"" : "call\"");
}

/* Reasoning goes back only with its signature: without one it is refused. */
static void add_reasoning(struct writer *w, const struct chat_message *m)
{
    struct thought_walk walk = provider_thoughts(m);
    for (struct chat_thought t; provider_next_thought(&walk, &t);) {
        if (t.redacted.n) {
            provider_begin_item(&w->turns);
            buf_adds(w->b, "{\"reasoningContent\":{\"redactedContent\":");
            buf_add_json(w->b, t.redacted);
            buf_adds(w->b, "}}");
        } else if (t.signature.n) {
            provider_begin_item(&w->turns);
            buf_adds(w->b, "{\"reasoningContent\":{\"reasoningText\":{\"text\":");
            buf_add_json(w->b, t.text);
            buf_adds(w->b, ",\"signature\":");
            buf_add_json(w->b, t.signature);
            buf_adds(w->b, "}}}");
        }
    }
}

static int add_assistant(struct writer *w, const struct chat_message *m)
{
    char sent[TOOL_NAME_SENT + 1];
    if (str_trim(m->content).n == 0 && m->n_tool_calls == 0 && !provider_has_media(m))
        return 0;
    provider_open_turn(&w->turns, STR("assistant"));
    if (w->family == FAMILY_claude)
        add_reasoning(w, m);
    int r = add_parts(w, m, /* ret_cache= */ NULL);
    for (size_t i = 0; r == 0 && i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        provider_begin_item(&w->turns);
        buf_adds(w->b, "{\"toolUse\":{\"toolUseId\":");
        add_call_id(w, call->id);
        buf_adds(w->b, ",\"name\":");
        buf_add_json(w->b, provider_tool_name(call->name, BEDROCK_TOOL_NAME, sent));
        buf_adds(w->b, ",\"input\":");
        buf_add(w->b, provider_arguments(call->arguments));
        buf_adds(w->b, "}}");
    }
    return r;
}

static int add_result(struct writer *w, const struct chat_message *m)
{
    provider_open_turn(&w->turns, STR("user"));
    provider_begin_item(&w->turns);
    buf_adds(w->b, "{\"toolResult\":{\"toolUseId\":");
    add_call_id(w, m->tool_call_id);
    buf_adds(w->b, ",\"content\":[");
    w->turns.has_items = false;
    struct str cache_control = STR_NULL;
    int r = add_parts(w, m, &cache_control);
    buf_adds(w->b, m->is_error ? "],\"status\":\"error\"}}" : "]}}");
    w->turns.has_items = true;
    add_cache_point(w, cache_control);
    return r;
}

static int add_user(struct writer *w, const struct chat_message *m)
{
    if (str_trim(m->content).n == 0 && !provider_has_media(m))
        return 0;
    provider_open_turn(&w->turns, STR("user"));
    return add_parts(w, m, /* ret_cache= */ NULL);
}

/* Texts of the system, each with the point up to which is cached. */
static void add_system_texts(struct writer *w)
{
    for (size_t i = 0; i < w->c->n_messages; i++) {
        const struct chat_message *m = &w->c->messages[i];
        if (!provider_is_system(m))
            continue;
        struct part_walk walk = provider_parts(m);
        for (struct chat_part p; provider_next_part(&walk, &p);) {
            if (p.kind != CHAT_PART_text || str_trim(p.text).n == 0)
                continue;
            add_text(w, p.text);
            add_cache_point(w, p.cache_control);
        }
    }
}

static int add_messages(struct writer *w)
{
    int r = 0;
    buf_adds(w->b, "{\"messages\":[");
    if (w->c->is_completion) {
        provider_open_turn(&w->turns, STR("user"));
        add_text(w, w->c->prompt);
    }
    for (size_t i = 0; r == 0 && !w->c->is_completion && i < w->c->n_messages; i++) {
        const struct chat_message *m = &w->c->messages[i];
        if (str_is(m->role, "assistant"))
            r = add_assistant(w, m);
        else if (str_is(m->role, "tool"))
            r = add_result(w, m);
        else if (!provider_is_system(m))
            r = add_user(w, m);
    }
    if (!provider_has_turns(w->c)) { /* the system's words are the user's then */
        provider_open_turn(&w->turns, STR("user"));
        add_system_texts(w);
    }
    provider_close_turn(&w->turns);
    buf_addc(w->b, ']');
    return r;
}

static void add_system(struct writer *w)
{
    size_t before = w->b->n;
    provider_add_key(w->b, "system");
    buf_addc(w->b, '[');
    w->turns.has_items = false;
    if (!w->c->is_completion && provider_has_turns(w->c))
        add_system_texts(w);
    if (w->c->format == CHAT_FORMAT_json_object) /* it has no field for that */
        add_text(w, STR(CLAUDE_JSON_PROMPT));
    if (w->turns.has_items)
        buf_addc(w->b, ']');
    else
        w->b->n = before;
}

/* ---- tools ---- */

static void add_tool(struct writer *w, struct str name, const struct chat_tool *t)
{
    char sent[TOOL_NAME_SENT + 1];
    provider_begin_item(&w->turns);
    buf_adds(w->b, "{\"toolSpec\":{\"name\":");
    buf_add_json(w->b, provider_tool_name(name, BEDROCK_TOOL_NAME, sent));
    if (t && t->description.n) {
        provider_add_key(w->b, "description");
        buf_add_json(w->b, t->description);
    }
    provider_add_key(w->b, "inputSchema");
    buf_adds(w->b, "{\"json\":");
    schema_add_object(w->b, t ? t->parameters : STR_NULL);
    buf_adds(w->b, "}}}"); /* without "strict": most models refuse it */
    if (t)
        add_cache_point(w, t->cache_control);
}

/* Whether a call of that name stands in an earlier message, or before it in this one. */
static bool is_known_call(const struct chat_request *c, size_t at, size_t k)
{
    struct str name = c->messages[at].tool_calls[k].name;
    for (size_t i = 0; i <= at; i++)
        for (size_t j = 0; j < (i == at ? k : c->messages[i].n_tool_calls); j++)
            if (str_eq(c->messages[i].tool_calls[j].name, name))
                return true;
    return false;
}

static bool has_calls(const struct chat_request *c)
{
    for (size_t i = 0; i < c->n_messages; i++)
        if (c->messages[i].n_tool_calls || str_is(c->messages[i].role, "tool"))
            return true;
    return false;
}

/* A conversation with calls in it is refused without tools: then they are named after the calls. */
static void add_called_tools(struct writer *w)
{
    static const struct str nameless = { "tool", 4 };
    for (size_t i = 0; i < w->c->n_messages; i++)
        for (size_t k = 0; k < w->c->messages[i].n_tool_calls; k++)
            if (!is_known_call(w->c, i, k))
                add_tool(w, w->c->messages[i].tool_calls[k].name, NULL);
    if (!w->turns.has_items)
        add_tool(w, nameless, NULL);
}

static void add_tool_choice(struct writer *w)
{
    char sent[TOOL_NAME_SENT + 1];
    if (w->c->n_tools == 0 && !w->by_tool)
        return;
    if (w->by_tool && w->c->n_tools == 0) {
        buf_adds(w->b, ",\"toolChoice\":{\"tool\":{\"name\":\"" CLAUDE_ANSWER_TOOL "\"}}");
    } else if (w->c->tool_choice == TOOL_CHOICE_required ||
               (w->by_tool && w->c->tool_choice != TOOL_CHOICE_function)) {
        buf_adds(w->b, ",\"toolChoice\":{\"any\":{}}");
    } else if (w->c->tool_choice == TOOL_CHOICE_function) {
        buf_adds(w->b, ",\"toolChoice\":{\"tool\":{\"name\":");
        buf_add_json(w->b, provider_tool_name(w->c->tool_choice_name, BEDROCK_TOOL_NAME, sent));
        buf_adds(w->b, "}}");
    }
}

static void add_tools(struct writer *w)
{
    bool is_called = has_calls(w->c);
    size_t n = 0;
    const struct chat_tool *tools = provider_tools(w->c, &n); /* it has no word for "none" */
    bool is_told = w->by_tool || (w->c->n_tools && w->c->tool_choice != TOOL_CHOICE_none);
    if (!is_told && !is_called)
        return;
    provider_add_key(w->b, "toolConfig");
    buf_adds(w->b, "{\"tools\":[");
    w->turns.has_items = false;
    for (size_t i = 0; i < n; i++)
        add_tool(w, tools[i].name, &tools[i]);
    if (w->by_tool)
        add_tool(w, STR(CLAUDE_ANSWER_TOOL),
                 &(struct chat_tool){ .description = STR(CLAUDE_ANSWER_TOOL_IS),
                                      .parameters = w->c->format_text });
    else if (n == 0)
        add_called_tools(w);
    buf_addc(w->b, ']');
    add_tool_choice(w);
    buf_addc(w->b, '}');
}

/* ---- everything else ---- */

struct member {
    struct buf *b;
    bool is_first;
};

static void add_member(struct member *m, const char *key)
{
    buf_addf(m->b, "%s\"%s\":", m->is_first ? "" : ",", key);
    m->is_first = false;
}

/* What of the sampling is told, and how much the model may think: of Claude what it takes, of
 * others what Converse does. */
static int plan(struct writer *w)
{
    const struct chat_request *c = w->c;
    bool is_forced = w->by_tool || c->tool_choice == TOOL_CHOICE_function ||
                     c->tool_choice == TOOL_CHOICE_required;
    uint64_t most = c->max_tokens ? c->max_tokens : w->job->upstream->max_tokens;
    if (w->family == FAMILY_claude) {
        int r = claude_plan(&w->plan, w->job, is_forced, w->reterr);
        if (!most && !w->plan.budget)
            w->plan.max_tokens = 0; /* as many as there may be */
        return r;
    }
    w->plan = (struct claude_plan){ .max_tokens = most < INT32_MAX ? (uint32_t)most : INT32_MAX,
                                    .has_temperature = c->sampling.temperature != 1,
                                    .has_top_p = c->sampling.top_p != 1,
                                    .has_top_k = c->sampling.top_k > 0 };
    if (c->sampling.temperature <= 1)
        return 0;
    w->plan.has_temperature = false;
    return provider_cannot(w->job, w->reterr, "temperature", "it takes 0 to 1");
}

static void add_inference(struct writer *w)
{
    const struct sampling *s = &w->c->sampling;
    struct member m = { w->b, true };
    bool has_any =
        w->plan.max_tokens || w->plan.has_temperature || w->plan.has_top_p || w->c->n_stops;
    if (!has_any)
        return;
    provider_add_key(w->b, "inferenceConfig");
    buf_addc(w->b, '{');
    if (w->plan.max_tokens) {
        add_member(&m, "maxTokens");
        buf_addf(w->b, "%u", w->plan.max_tokens);
    }
    if (w->plan.has_temperature) {
        add_member(&m, "temperature");
        provider_add_float(w->b, s->temperature);
    }
    if (w->plan.has_top_p) {
        add_member(&m, "topP");
        provider_add_float(w->b, s->top_p);
    }
    if (w->c->n_stops)
        add_member(&m, "stopSequences");
    for (size_t i = 0; i < w->c->n_stops; i++) {
        buf_addc(w->b, i ? ',' : '[');
        buf_add_json(w->b, w->c->stops[i]);
    }
    buf_adds(w->b, w->c->n_stops ? "]}" : "}");
}

/* Other families know low, medium and high. */
static struct str effort_of_three(struct str effort)
{
    if (str_is(effort, "minimal"))
        return STR("low");
    return str_is(effort, "xhigh") || str_is(effort, "max") ? STR("high") : effort;
}

/* A member of additionalModelRequestFields, which the first of them opens. */
static void add_field(struct writer *w, struct member *m, const char *key)
{
    if (m->is_first) {
        provider_add_key(w->b, "additionalModelRequestFields");
        buf_addc(w->b, '{');
    }
    add_member(m, key);
}

enum { CLAUDE_ONE_CALL = 405 }; /* the first that can be told here */

/* Converse has no word for one call at a time. Where it has the choice, that may not be said
 * twice. */
static bool is_one_call(const struct writer *w)
{
    return w->c->single_tool_call && w->c->n_tools &&
           claude_of(w->job->model).version >= CLAUDE_ONE_CALL;
}

static void add_claude_fields(struct writer *w, struct member *m)
{
    const struct claude_plan *p = &w->plan;
    if (p->has_top_k) {
        add_field(w, m, "top_k");
        buf_addf(w->b, "%u", w->c->sampling.top_k);
    }
    if (p->thinks || p->is_off) {
        add_field(w, m, "thinking");
        claude_add_thinking(w->b, p, claude_of(w->job->model));
    }
    if (p->effort.n) {
        add_field(w, m, "output_config");
        buf_adds(w->b, "{\"effort\":");
        buf_add_json(w->b, p->effort);
        buf_addc(w->b, '}');
    }
    if (is_one_call(w)) {
        bool is_chosen = w->by_tool || w->c->tool_choice != TOOL_CHOICE_auto;
        add_field(w, m, "tool_choice");
        buf_adds(w->b, is_chosen ? "{" : "{\"type\":\"auto\",");
        buf_adds(w->b, "\"disable_parallel_tool_use\":true}");
    }
}

static void add_nova_fields(struct writer *w, struct member *m, struct str effort)
{
    if (w->plan.has_top_k) {
        add_field(w, m, "inferenceConfig");
        buf_addf(w->b, "{\"topK\":%u}", w->c->sampling.top_k);
    }
    if (effort.n) {
        add_field(w, m, "reasoningConfig");
        buf_adds(w->b, "{\"type\":\"enabled\",\"maxReasoningEffort\":");
        buf_add_json(w->b, effort);
        buf_addc(w->b, '}');
    }
}

/* What only one family of models takes. */
static int add_additional(struct writer *w)
{
    struct member m = { w->b, true };
    struct str effort = effort_of_three(provider_effort(w->c));
    int r = 0;
    if (str_is(effort, "none"))
        effort = STR_NULL;
    switch (w->family) {
    case FAMILY_claude:
        add_claude_fields(w, &m);
        break;
    case FAMILY_nova:
        add_nova_fields(w, &m, effort);
        break;
    case FAMILY_gpt:
        if (effort.n) {
            add_field(w, &m, "reasoning_effort");
            buf_add_json(w->b, effort);
        }
        break;
    case FAMILY_plain:
    case FAMILY_other:
        if (effort.n)
            r = provider_cannot(w->job, w->reterr, "reasoning_effort",
                                "the model's family has no word for it");
        break;
    }
    if (!m.is_first)
        buf_addc(w->b, '}');
    return r;
}

static void add_format(struct writer *w)
{
    CLEANUP(buf_done) struct buf schema = BUF_INIT(4 * LIMIT_FORMAT_BYTES);
    if (w->c->format != CHAT_FORMAT_json_schema || w->by_tool)
        return;
    schema_add_closed(&schema, w->c->format_text);
    if (buf_err(&schema) < 0)
        w->b->err = w->b->err ? w->b->err : buf_err(&schema);
    provider_add_key(w->b, "outputConfig");
    buf_adds(w->b, "{\"textFormat\":{\"type\":\"json_schema\",\"structure\":{\"jsonSchema\":{"
                   "\"name\":\"answer\",\"schema\":");
    buf_add_json(w->b, buf_str(&schema));
    buf_adds(w->b, "}}}}");
}

int bedrock_write_prompt(struct provider_call *call, const struct provider_job *job,
                         struct fail *reterr)
{
    struct writer w = { .b = &call->body,
                        .turns = { .b = &call->body, .items = "content" },
                        .job = job,
                        .c = job->request,
                        .family = family_of(job->model),
                        .reterr = reterr };
    int r = add_messages(&w);
    if (r != 0)
        return r;
    add_system(&w);
    add_tools(&w);
    buf_addc(w.b, '}');
    return 0;
}

int bedrock_write_body(struct provider_call *call, const struct provider_job *job,
                       struct fail *reterr)
{
    struct writer w = { .b = &call->body,
                        .turns = { .b = &call->body, .items = "content" },
                        .job = job,
                        .c = job->request,
                        .family = family_of(job->model),
                        .by_tool = bedrock_answers_by_tool(job),
                        .reterr = reterr };
    unsigned knobs;
    bool has_top_k = w.family == FAMILY_claude || w.family == FAMILY_nova;
    int r = provider_knobs(job, has_top_k ? KNOB_top_k : 0, &knobs, reterr);
    if (r != 0)
        return r;
    if (w.c->is_completion && w.c->prompt_ids)
        return fail_param(reterr, FAIL_unsupported_parameter, "prompt",
                          "bedrock takes text, not token ids");
    if ((r = plan(&w)) == 0)
        r = add_messages(&w);
    if (r != 0)
        return r;
    add_system(&w);
    add_tools(&w);
    add_inference(&w);
    add_format(&w);
    r = add_additional(&w);
    buf_addc(w.b, '}');
    return r;
}
