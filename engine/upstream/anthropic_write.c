#include "engine/upstream/anthropic.h"

#include "base/limits.h"
#include "engine/upstream/schema.h"
#include "engine/upstream/splice.h"

#include <errno.h>

struct writer {
    struct buf *b;
    const struct provider_job *job;
    const struct chat_request *c;
    struct fail *reterr;
    struct claude model;
    struct claude_plan plan;
    unsigned knobs;
    bool by_tool;  /* the answer is the input of a tool */
    bool is_alone; /* system messages are all there is: they are the user's words */
};

bool anthropic_answers_by_tool(const struct provider_job *job)
{
    return job->request->format == CHAT_FORMAT_json_schema &&
           !claude_has_format(claude_of(job->model));
}

/* ---- blocks ---- */

static bool is_blank(struct str text)
{
    return str_trim(text).n == 0;
}

static void add_cache_control(struct buf *b, struct str cache_control)
{
    if (!cache_control.n)
        return;
    provider_add_key(b, "cache_control");
    buf_add(b, cache_control);
}

static void add_text_block(struct buf *b, struct str text, struct str cache_control)
{
    buf_adds(b, "{\"type\":\"text\",\"text\":");
    buf_add_json(b, text);
    add_cache_control(b, cache_control);
    buf_addc(b, '}');
}

static bool is_document(const struct chat_part *p)
{
    return p->kind == CHAT_PART_file || str_is(p->media_type, "application/pdf") ||
           str_ends(p->url, STR(".pdf"));
}

static int add_media_block(struct writer *w, const struct chat_part *p)
{
    struct buf *b = w->b;
    if (p->kind == CHAT_PART_audio || (!p->url.n && !p->data.n))
        return fail_param(w->reterr, FAIL_unsupported_parameter, "messages",
                          "%s takes no content of this kind%s" STR_FMT "",
                          provider_word(w->job->endpoint->provider), p->name.n ? ": " : "",
                          STR_ARG(str_head(p->name, LIMIT_NAME)));
    buf_adds(b, is_document(p) ? "{\"type\":\"document\",\"source\":"
                               : "{\"type\":\"image\",\"source\":");
    if (p->url.n) {
        buf_adds(b, "{\"type\":\"url\",\"url\":");
        buf_add_json(b, p->url);
    } else {
        bool is_jpg = str_is(p->media_type, "image/jpg"); /* not its name, but often seen */
        buf_adds(b, "{\"type\":\"base64\",\"media_type\":");
        buf_add_json(b, is_jpg ? STR("image/jpeg") : p->media_type);
        buf_adds(b, ",\"data\":");
        buf_add_json(b, p->data);
    }
    buf_addc(b, '}');
    if (is_document(p) && p->name.n) {
        provider_add_key(b, "title");
        buf_add_json(b, p->name);
    }
    add_cache_control(b, p->cache_control);
    buf_addc(b, '}');
    return 0;
}

static void add_comma(struct buf *b)
{
    if (b->n && b->p[b->n - 1] != '[')
        buf_addc(b, ',');
}

static int add_parts(struct writer *w, const struct chat_message *m)
{
    struct part_walk walk = provider_parts(m);
    int r = 0;
    for (struct chat_part p; r == 0 && provider_next_part(&walk, &p);) {
        if (p.kind == CHAT_PART_text && is_blank(p.text))
            continue; /* refused over there */
        add_comma(w->b);
        if (p.kind == CHAT_PART_text)
            add_text_block(w->b, p.text, p.cache_control);
        else
            r = add_media_block(w, &p);
    }
    return r;
}

/* Ids of calls have letters, digits, '_' and '-' there. */
static void add_call_id(struct buf *b, struct str id)
{
    char into[TOOL_NAME_SENT + 1];
    buf_add_json(b, provider_tool_name(id, TOOL_NAME_SENT, into));
}

static int add_tool_result(struct writer *w, const struct chat_message *m)
{
    struct buf *b = w->b;
    int r = 0;
    add_comma(b);
    buf_adds(b, "{\"type\":\"tool_result\",\"tool_use_id\":");
    add_call_id(b, m->tool_call_id);
    if (provider_has_media(m)) {
        buf_adds(b, ",\"content\":[");
        r = add_parts(w, m);
        buf_addc(b, ']');
    } else if (m->content.n) {
        provider_add_key(b, "content");
        buf_add_json(b, m->content);
    }
    if (m->is_error)
        buf_adds(b, ",\"is_error\":true");
    struct str cache_control = m->n_parts ? m->parts[m->n_parts - 1].cache_control : STR_NULL;
    if (!provider_has_media(m))
        add_cache_control(b, cache_control);
    buf_addc(b, '}');
    return r;
}

static void add_thought(struct buf *b, const struct chat_thought *t)
{
    add_comma(b);
    if (t->redacted.n) {
        buf_adds(b, "{\"type\":\"redacted_thinking\",\"data\":");
        buf_add_json(b, t->redacted);
    } else { /* the text may be empty: it was not shown */
        buf_adds(b, "{\"type\":\"thinking\",\"thinking\":");
        buf_add_json(b, t->text);
        provider_add_key(b, "signature");
        buf_add_json(b, t->signature);
    }
    buf_addc(b, '}');
}

static void add_thinking(struct buf *b, const struct chat_message *m)
{
    struct thought_walk walk = provider_thoughts(m);
    for (struct chat_thought t; provider_next_thought(&walk, &t);)
        if (t.signature.n || t.redacted.n) /* unsigned it is refused */
            add_thought(b, &t);
}

static void add_tool_use(struct buf *b, const struct chat_tool_call *call, size_t at, size_t i)
{
    char into[TOOL_NAME_SENT + 1];
    add_comma(b);
    buf_adds(b, "{\"type\":\"tool_use\",\"id\":");
    if (call->id.n)
        add_call_id(b, call->id);
    else
        buf_addf(b, "\"call_%zu_%zu\"", at, i);
    provider_add_key(b, "name");
    buf_add_json(b, provider_tool_name(call->name, ANTHROPIC_TOOL_NAME, into));
    provider_add_key(b, "input");
    buf_add(b, provider_arguments(call->arguments));
    buf_addc(b, '}');
}

static struct str trim_end(struct str text)
{
    struct str trimmed = str_trim(text);
    return str_head(text, (size_t)(trimmed.p - text.p) + trimmed.n);
}

static int add_assistant(struct writer *w, size_t at)
{
    const struct chat_message *m = &w->c->messages[at];
    bool is_last = at + 1 == w->c->n_messages; /* begun for the model: may not end with a blank */
    int r = 0;
    add_thinking(w->b, m);
    if (m->n_parts && chat_is_as_sent(m) && !is_last) {
        r = add_parts(w, m);
    } else if (!is_blank(m->content)) {
        add_comma(w->b);
        add_text_block(w->b, is_last ? trim_end(m->content) : m->content, STR_NULL);
    }
    for (size_t i = 0; i < m->n_tool_calls; i++)
        add_tool_use(w->b, &m->tool_calls[i], at, i);
    return r;
}

/* ---- messages ---- */

enum side { SIDE_system, SIDE_user, SIDE_assistant };

static enum side side_of(const struct chat_message *m)
{
    if (str_is(m->role, "system") || str_is(m->role, "developer"))
        return SIDE_system;
    return str_is(m->role, "assistant") ? SIDE_assistant : SIDE_user;
}

static bool is_result(const struct chat_message *m)
{
    return str_is(m->role, "tool") || str_is(m->role, "function");
}

/* Results of tools stand before everything else that the user says. */
static int add_user_run(struct writer *w, size_t from, size_t to)
{
    int r = 0;
    for (size_t i = from; r == 0 && i < to; i++)
        if (side_of(&w->c->messages[i]) == SIDE_user && is_result(&w->c->messages[i]))
            r = add_tool_result(w, &w->c->messages[i]);
    for (size_t i = from; r == 0 && i < to; i++)
        if (side_of(&w->c->messages[i]) == SIDE_user && !is_result(&w->c->messages[i]))
            r = add_parts(w, &w->c->messages[i]);
    return r;
}

static int add_run(struct writer *w, enum side side, size_t from, size_t to)
{
    size_t before = w->b->n;
    int r = 0;
    add_comma(w->b);
    buf_adds(w->b, side == SIDE_user ? "{\"role\":\"user\",\"content\":["
                                     : "{\"role\":\"assistant\",\"content\":[");
    size_t empty = w->b->n;
    if (side == SIDE_user)
        r = add_user_run(w, from, to);
    for (size_t i = from; side == SIDE_assistant && r == 0 && i < to; i++)
        if (side_of(&w->c->messages[i]) == SIDE_assistant)
            r = add_assistant(w, i);
    if (w->b->n == empty) { /* it says nothing: messages without content are refused */
        w->b->n = before;
        return r;
    }
    buf_adds(w->b, "]}");
    return r;
}

static int add_system_parts(struct writer *w)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < w->c->n_messages; i++)
        if (side_of(&w->c->messages[i]) == SIDE_system)
            r = add_parts(w, &w->c->messages[i]);
    return r;
}

static int add_messages(struct writer *w)
{
    const struct chat_request *c = w->c;
    int r = 0;
    provider_add_key(w->b, "messages");
    buf_addc(w->b, '[');
    if (c->is_completion) {
        buf_adds(w->b, "{\"role\":\"user\",\"content\":[");
        add_text_block(w->b, c->prompt, STR_NULL);
        buf_adds(w->b, "]}");
    }
    for (size_t i = 0; !c->is_completion && r == 0 && i < c->n_messages;) {
        size_t end = i;
        enum side side = side_of(&c->messages[i]);
        while (end < c->n_messages &&
               (side_of(&c->messages[end]) == side || side_of(&c->messages[end]) == SIDE_system))
            end++;
        if (side != SIDE_system)
            r = add_run(w, side, i, end);
        i = side == SIDE_system ? i + 1 : end;
    }
    if (w->is_alone && r == 0) {
        buf_adds(w->b, "{\"role\":\"user\",\"content\":[");
        r = add_system_parts(w);
        buf_adds(w->b, "]}");
    }
    buf_addc(w->b, ']');
    return r;
}

static int add_system(struct writer *w)
{
    const struct chat_request *c = w->c;
    size_t before = w->b->n;
    int r = 0;
    provider_add_key(w->b, "system");
    buf_addc(w->b, '[');
    size_t empty = w->b->n;
    if (!c->is_completion && !w->is_alone)
        r = add_system_parts(w);
    if (c->format == CHAT_FORMAT_json_object) { /* it has no field for that */
        add_comma(w->b);
        add_text_block(w->b, STR(CLAUDE_JSON_PROMPT), STR_NULL);
    }
    if (w->b->n == empty)
        w->b->n = before;
    else
        buf_addc(w->b, ']');
    return r;
}

/* ---- tools ---- */

static void add_tool(struct writer *w, const struct chat_tool *t)
{
    char into[TOOL_NAME_SENT + 1];
    add_comma(w->b);
    buf_adds(w->b, "{\"name\":");
    buf_add_json(w->b, provider_tool_name(t->name, ANTHROPIC_TOOL_NAME, into));
    if (t->description.n) {
        provider_add_key(w->b, "description");
        buf_add_json(w->b, t->description);
    }
    provider_add_key(w->b, "input_schema");
    schema_add_object(w->b, t->parameters);
    add_cache_control(w->b, t->cache_control);
    buf_addc(w->b, '}');
}

/* Whether call k of message i is the first of its name. */
static bool is_first_call(const struct chat_request *c, size_t i, size_t k)
{
    struct str name = c->messages[i].tool_calls[k].name;
    for (size_t m = 0; m <= i; m++)
        for (size_t n = 0; n < c->messages[m].n_tool_calls; n++) {
            if (m == i && n == k)
                return true;
            if (str_eq(c->messages[m].tool_calls[n].name, name))
                return false;
        }
    return true;
}

enum { PAST_TOOLS = 64 }; /* more names than that are not told */

/* Calls in the conversation need their tools, also where none may be called any more. */
static bool add_past_tools(struct writer *w)
{
    const struct chat_request *c = w->c;
    size_t told = 0;
    for (size_t i = 0; i < c->n_messages; i++)
        for (size_t k = 0; k < c->messages[i].n_tool_calls && told < PAST_TOOLS; k++) {
            struct chat_tool t = { .name = c->messages[i].tool_calls[k].name };
            if (!is_first_call(c, i, k))
                continue;
            if (told++ == 0)
                buf_adds(w->b, ",\"tools\":[");
            add_tool(w, &t);
        }
    if (told)
        buf_adds(w->b, "],\"tool_choice\":{\"type\":\"none\"}");
    return told > 0;
}

static void add_tool_choice(struct writer *w)
{
    const struct chat_request *c = w->c;
    char into[TOOL_NAME_SENT + 1];
    bool is_forced =
        c->tool_choice == TOOL_CHOICE_function || c->tool_choice == TOOL_CHOICE_required;
    if (!is_forced && !w->by_tool && !c->single_tool_call && c->tool_choice != TOOL_CHOICE_none)
        return;
    provider_add_key(w->b, "tool_choice");
    if (w->by_tool && c->n_tools == 0)
        buf_adds(w->b, "{\"type\":\"tool\",\"name\":\"" CLAUDE_ANSWER_TOOL "\"");
    else if (c->tool_choice == TOOL_CHOICE_function) {
        buf_adds(w->b, "{\"type\":\"tool\",\"name\":");
        buf_add_json(w->b, provider_tool_name(c->tool_choice_name, ANTHROPIC_TOOL_NAME, into));
    } else if (w->by_tool || c->tool_choice == TOOL_CHOICE_required) {
        buf_adds(w->b, "{\"type\":\"any\"");
    } else {
        buf_adds(w->b,
                 c->tool_choice == TOOL_CHOICE_none ? "{\"type\":\"none\"" : "{\"type\":\"auto\"");
    }
    if (c->single_tool_call && c->tool_choice != TOOL_CHOICE_none)
        buf_adds(w->b, ",\"disable_parallel_tool_use\":true");
    buf_addc(w->b, '}');
}

static void add_tools(struct writer *w)
{
    const struct chat_request *c = w->c;
    size_t n = 0;
    const struct chat_tool *tools = provider_tools(c, &n);
    if (n == 0 && !w->by_tool) {
        (void)add_past_tools(w);
        return;
    }
    provider_add_key(w->b, "tools");
    buf_addc(w->b, '[');
    for (size_t i = 0; i < n; i++)
        add_tool(w, &tools[i]);
    if (w->by_tool)
        add_tool(w, &(struct chat_tool){ .name = STR(CLAUDE_ANSWER_TOOL),
                                         .description = STR(CLAUDE_ANSWER_TOOL_IS),
                                         .parameters = c->format_text });
    buf_addc(w->b, ']');
    add_tool_choice(w);
}

/* ---- thinking, form, sampling ---- */

static void add_output(struct writer *w)
{
    const struct claude_plan *p = &w->plan;
    bool has_format = w->c->format == CHAT_FORMAT_json_schema && !w->by_tool;
    if (p->thinks || p->is_off) {
        provider_add_key(w->b, "thinking");
        claude_add_thinking(w->b, p, w->model);
    }
    if (!has_format && !p->effort.n)
        return;
    provider_add_key(w->b, "output_config");
    buf_addc(w->b, '{');
    if (p->effort.n) {
        buf_adds(w->b, "\"effort\":");
        buf_add_json(w->b, p->effort);
    }
    if (has_format) {
        buf_adds(w->b, p->effort.n ? ",\"format\":" : "\"format\":");
        buf_adds(w->b, "{\"type\":\"json_schema\",\"schema\":");
        schema_add_closed(w->b, w->c->format_text);
        buf_addc(w->b, '}');
    }
    buf_addc(w->b, '}');
}

static void add_sampling(struct writer *w)
{
    const struct sampling *s = &w->c->sampling;
    if (w->plan.has_temperature) {
        provider_add_key(w->b, "temperature");
        provider_add_float(w->b, s->temperature);
    }
    if (w->plan.has_top_p) {
        provider_add_key(w->b, "top_p");
        provider_add_float(w->b, s->top_p);
    }
    if (w->plan.has_top_k)
        buf_addf(w->b, ",\"top_k\":%u", s->top_k);
}

static int add_stops(struct writer *w)
{
    const struct chat_request *c = w->c;
    size_t n = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < c->n_stops; i++) {
        if (is_blank(c->stops[i])) {
            r = provider_cannot(w->job, w->reterr, "stop", "a stop of blanks alone");
            continue;
        }
        buf_adds(w->b, n++ ? "," : ",\"stop_sequences\":[");
        buf_add_json(w->b, c->stops[i]);
    }
    if (n)
        buf_addc(w->b, ']');
    return r;
}

static void add_user(struct writer *w)
{
    if (!w->c->user.n)
        return;
    buf_adds(w->b, ",\"metadata\":{\"user_id\":");
    buf_add_json(w->b, w->c->user);
    buf_addc(w->b, '}');
}

/* ---- all ---- */

static int write_fields(struct writer *w, const struct anthropic_place *place)
{
    const struct chat_request *c = w->c;
    if (c->prompt_ids)
        return fail_param(w->reterr, FAIL_unsupported_parameter, "prompt",
                          "%s takes text, no token ids", provider_word(w->job->endpoint->provider));
    bool is_forced = w->by_tool || c->tool_choice == TOOL_CHOICE_function ||
                     c->tool_choice == TOOL_CHOICE_required;
    int r = provider_knobs(w->job, KNOB_top_k, &w->knobs, w->reterr);
    if (r == 0)
        r = claude_plan(&w->plan, w->job, is_forced, w->reterr);
    if (r != 0)
        return r;
    w->is_alone = !provider_has_turns(c);
    buf_addf(w->b, "{\"max_tokens\":%u", w->plan.max_tokens);
    if (place->version)
        buf_addf(w->b, ",\"anthropic_version\":\"%s\"", place->version);
    if (!place->no_model) {
        provider_add_key(w->b, "model");
        buf_add_json(w->b, w->job->model);
    }
    r = add_system(w);
    if (r == 0)
        r = add_messages(w);
    if (r == 0 && c->stream && !place->no_stream)
        buf_adds(w->b, ",\"stream\":true");
    add_sampling(w);
    if (r == 0)
        r = add_stops(w);
    add_tools(w);
    add_output(w);
    add_user(w);
    buf_addc(w->b, '}');
    return r;
}

/* The client's header anthropic-beta, "a,b", as a JSON array; nothing where there is none. */
static void add_betas(struct buf *b, const struct provider_job *job)
{
    struct str list = STR_NULL, beta;
    for (size_t i = 0; i < job->n_headers; i++)
        if (str_eq_nocase(job->headers[i].key, STR("anthropic-beta")))
            list = job->headers[i].value;
    for (bool more = list.n > 0; more;) {
        more = str_cut(list, ',', &beta, &list);
        buf_addc(b, b->n ? ',' : '[');
        buf_add_json(b, str_trim(more ? beta : list));
    }
    if (b->n)
        buf_addc(b, ']');
}

static int write_source(struct writer *w, const struct anthropic_place *place)
{
    struct splice splices[4];
    char version[64];
    size_t n = 0;
    CLEANUP(buf_done) struct buf betas = BUF_INIT(LIMIT_HEADER);
    if (place->betas_in_body)
        add_betas(&betas, w->job);
    if (betas.n && buf_err(&betas) == 0)
        splices[n++] =
            (struct splice){ .key = "anthropic_beta", .json = buf_str(&betas), .keep = true };
    if (place->no_model)
        splices[n++] = (struct splice){ .key = "model" };
    if (place->no_stream)
        splices[n++] = (struct splice){ .key = "stream" };
    if (place->version) {
        (void)snprintf(version, sizeof(version), "\"%s\"", place->version);
        splices[n++] = (struct splice){ .key = "anthropic_version", .json = str_of(version) };
    }
    struct str model = place->no_model ? STR_NULL : w->job->model;
    int r = splice_request(w->b, w->c, model, splices, n);
    if (r == -EINVAL)
        return fail_set(w->reterr, FAIL_invalid_request, "the body is no JSON object");
    return r == -EMSGSIZE ? 0 : r; /* the buffer tells that itself */
}

int anthropic_write_body(struct provider_call *call, const struct provider_job *job,
                         const struct anthropic_place *place, struct fail *reterr)
{
    struct writer w = { .b = &call->body,
                        .job = job,
                        .c = job->request,
                        .reterr = reterr,
                        .model = claude_of(job->model),
                        .by_tool = anthropic_answers_by_tool(job) };
    bool is_own = job->request->wire == WIRE_anthropic_messages && job->request->source.n;
    return is_own ? write_source(&w, place) : write_fields(&w, place);
}
