/*
 * What the writers of all providers share: the parts of messages, tools' names, sampling fields.
 */
#include "engine/upstream/provider_table.h"

#include "base/limits.h"
#include "base/sha256.h"

/* ---- tools ---- */

static bool is_tool_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

enum { TOOL_HASH_DIGITS = 8 };

struct str provider_tool_name(struct str name, size_t max, char into[static TOOL_NAME_SENT + 1])
{
    bool fits = name.n > 0 && name.n <= max;
    for (size_t i = 0; fits && i < name.n; i++)
        fits = is_tool_letter(name.p[i]);
    if (fits)
        return name;
    size_t limit = max < TOOL_NAME_SENT ? max : TOOL_NAME_SENT;
    size_t n = 0;
    for (size_t i = 0; i < name.n && n + 1 + TOOL_HASH_DIGITS < limit; i++)
        into[n++] = is_tool_letter(name.p[i]) ? name.p[i] : '_';
    char hex[SHA256_HEX + 1];
    struct sha256 digest = sha256_of(name);
    sha256_hex(hex, &digest);
    into[n++] = '_';
    memcpy(into + n, hex, TOOL_HASH_DIGITS);
    n += TOOL_HASH_DIGITS;
    into[n] = '\0';
    return (struct str){ into, n };
}

const struct chat_tool *provider_tools(const struct chat_request *c, size_t *ret_n)
{
    *ret_n = c->n_tools ? c->n_tools : c->n_barred;
    return c->n_tools ? c->tools : c->barred;
}

struct str provider_tool_original(const struct chat_request *c, struct str sent, size_t max)
{
    char name[TOOL_NAME_SENT + 1];
    for (size_t i = 0; i < c->n_tools; i++)
        if (str_eq(provider_tool_name(c->tools[i].name, max, name), sent))
            return c->tools[i].name;
    return sent;
}

struct str provider_arguments(struct str arguments)
{
    size_t at = 0;
    bool is_object = json_view_kind(str_trim(arguments)) == JSON_VIEW_object &&
                     json_view_check(arguments, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_syntax;
    return is_object ? str_trim(arguments) : STR("{}");
}

/* ---- parts ---- */

struct part_walk provider_parts(const struct chat_message *m)
{
    bool is_replaced = !chat_is_as_sent(m) || m->n_parts == 0;
    return (struct part_walk){ .message = m, .is_replaced = is_replaced };
}

bool provider_next_part(struct part_walk *w, struct chat_part *ret)
{
    const struct chat_message *m = w->message;
    if (w->is_replaced && !w->has_text) {
        w->has_text = true;
        if (m->content.n) {
            *ret = (struct chat_part){ .kind = CHAT_PART_text, .text = m->content };
            return true;
        }
    }
    while (w->next < m->n_parts) {
        *ret = m->parts[w->next++];
        bool is_empty = ret->kind == CHAT_PART_text && ret->text.n == 0;
        if (!is_empty && !(w->is_replaced && ret->kind == CHAT_PART_text))
            return true;
    }
    return false;
}

bool provider_has_media(const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].kind != CHAT_PART_text)
            return true;
    return false;
}

/* ---- who says what ---- */

struct thought_walk provider_thoughts(const struct chat_message *m)
{
    return (struct thought_walk){ .message = m };
}

bool provider_next_thought(struct thought_walk *w, struct chat_thought *ret)
{
    const struct chat_message *m = w->message;
    if (w->next == m->n_thoughts)
        return false;
    *ret = m->thoughts[w->next++];
    return true;
}

bool provider_is_system(const struct chat_message *m)
{
    return str_is(m->role, "system") || str_is(m->role, "developer");
}

bool provider_has_turns(const struct chat_request *c)
{
    for (size_t i = 0; i < c->n_messages; i++) {
        const struct chat_message *m = &c->messages[i];
        bool says =
            str_trim(m->content).n || m->n_tool_calls || m->tool_call_id.n || provider_has_media(m);
        if (says && !provider_is_system(m))
            return true;
    }
    return c->is_completion;
}

/* ---- turns ---- */

void provider_close_turn(struct turn_list *t)
{
    if (t->role.n)
        buf_adds(t->b, "]}");
    t->role = STR_NULL;
}

void provider_open_turn(struct turn_list *t, struct str role)
{
    if (str_eq(t->role, role))
        return;
    provider_close_turn(t);
    buf_adds(t->b, t->has_turns ? ",{\"role\":\"" : "{\"role\":\"");
    buf_add(t->b, role);
    buf_addf(t->b, "\",\"%s\":[", t->items);
    t->role = role;
    t->has_items = false;
    t->has_turns = true;
}

void provider_begin_item(struct turn_list *t)
{
    if (t->has_items)
        buf_addc(t->b, ',');
    t->has_items = true;
}

/* ---- numbers and members ---- */

void provider_add_float(struct buf *b, float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) { /* nine always do */
        (void)snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    buf_adds(b, text);
}

void provider_add_key(struct buf *b, const char *key)
{
    buf_addf(b, ",\"%s\":", key);
}

/* Budgets up to these are that much effort; the words are those that every provider knows. */
enum { BUDGET_low = 4096, BUDGET_medium = 16384 };

struct str provider_effort(const struct chat_request *c)
{
    struct str told = STR_NULL;
    if (c->reasoning_effort.n)
        return c->reasoning_effort;
    if (json_view_plain(json_view_get(c->template_kwargs, "reasoning_effort"), &told) && told.n)
        return told;
    if (!c->has_thinking)
        return STR_NULL;
    if (c->thinking_budget == 0)
        return STR("none");
    if (c->thinking_budget < BUDGET_low)
        return STR("low");
    return c->thinking_budget < BUDGET_medium ? STR("medium") : STR("high");
}

/* ---- what only some do ---- */

static unsigned used_knobs(const struct chat_request *c)
{
    const struct sampling *s = &c->sampling;
    /* What a policy asked for is no field of the client's: it is left out where nobody takes it. */
    bool asks_format = !(c->changed & CHAT_CHANGED_format);
    bool asks_kwargs = !(c->changed & CHAT_CHANGED_template);
    const struct {
        bool is_used;
        unsigned knob;
    } rows[] = {
        { s->top_k > 0, KNOB_top_k },
        { s->min_p > 0, KNOB_min_p },
        { s->typical_p < 1, KNOB_typical_p },
        { s->repeat_penalty != 1, KNOB_repetition },
        { s->presence_penalty != 0, KNOB_presence },
        { s->frequency_penalty != 0, KNOB_frequency },
        { s->has_seed, KNOB_seed },
        { s->n_bias > 0, KNOB_bias },
        { c->min_tokens > 0, KNOB_min_tokens },
        { c->n_stop_ids > 0, KNOB_stop_ids },
        { c->ignore_eos, KNOB_ignore_eos },
        { c->keep_stop, KNOB_keep_stop },
        { c->keep_special, KNOB_keep_special },
        { c->logprobs, KNOB_logprobs },
        { c->prompt_logprobs || c->prompt_only, KNOB_prompt_logprobs },
        { asks_format && c->format == CHAT_FORMAT_grammar, KNOB_grammar },
        { asks_format && c->format == CHAT_FORMAT_regex, KNOB_regex },
        { asks_format && c->format == CHAT_FORMAT_choice, KNOB_choice },
    };
    unsigned used = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        used |= rows[i].is_used ? rows[i].knob : 0;
    /* Effort and the switch of thinking have fields of their own at most providers. */
    struct json_view_walk w = json_view_walk(c->template_kwargs);
    for (struct str key, value; json_view_next(&w, &key, &value);)
        if (asks_kwargs && !str_is(key, "reasoning_effort") && !str_is(key, "enable_thinking"))
            used |= KNOB_kwargs;
    return used;
}

static const struct {
    unsigned knob;
    const char *param;
} knob_params[] = {
    { KNOB_top_k, "top_k" },
    { KNOB_min_p, "min_p" },
    { KNOB_typical_p, "typical_p" },
    { KNOB_repetition, "repetition_penalty" },
    { KNOB_presence, "presence_penalty" },
    { KNOB_frequency, "frequency_penalty" },
    { KNOB_seed, "seed" },
    { KNOB_bias, "logit_bias" },
    { KNOB_min_tokens, "min_tokens" },
    { KNOB_stop_ids, "stop_token_ids" },
    { KNOB_ignore_eos, "ignore_eos" },
    { KNOB_keep_stop, "include_stop_str_in_output" },
    { KNOB_keep_special, "skip_special_tokens" },
    { KNOB_logprobs, "logprobs" },
    { KNOB_prompt_logprobs, "echo" },
    { KNOB_grammar, NULL },
    { KNOB_regex, NULL },
    { KNOB_choice, NULL },
    { KNOB_kwargs, "chat_template_kwargs" },
};

int provider_knobs(const struct provider_job *job, unsigned served, unsigned *ret_use,
                   struct fail *reterr)
{
    const struct chat_request *c = job->request;
    unsigned used = used_knobs(c);
    for (size_t i = 0; i < ARRAY_LEN(knob_params); i++) {
        if (!(used & knob_params[i].knob & ~served))
            continue;
        const char *param = knob_params[i].param ? knob_params[i].param
                            : c->format_param    ? c->format_param
                                                 : "response_format";
        int r = provider_cannot(job, reterr, param, "it has no such field");
        if (r != 0)
            return r;
    }
    *ret_use = used & served;
    return 0;
}
