#include "base/num.h"
#include "router/signals/signals.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct context_rule {
    struct str name, description, min_text, max_text;
    double min, max; /* tokens, both included */
};

static const struct option options[] = {
    OPT_TEXT(struct context_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct context_rule, description, "description", NULL, "for people"),
    OPT_TEXT(struct context_rule, min_text, "min_tokens", "0", "at least; K is 1000, M a million"),
    OPT_TEXT(struct context_rule, max_text, "max_tokens", NULL, "at most; absent: no bound"),
    OPT_END,
};

int signal_tokens(double *ret, struct str text)
{
    double unit = 1;
    text = str_trim(text);
    char last = text.n ? text.p[text.n - 1] : '0';
    if (last == 'K' || last == 'k')
        unit = 1e3;
    else if (last == 'M' || last == 'm')
        unit = 1e6;
    if (unit > 1)
        text.n--;
    double number;
    if (num_parse_double(&number, str_trim(text), 0, 1e15) < 0)
        return -EINVAL;
    *ret = number * unit;
    return 0;
}

struct state {
    const struct context_rule *rules;
    size_t n;
};

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct context_rule *items = rules->items;
    for (size_t i = 0; i < rules->n; i++) {
        struct context_rule *r = &items[i];
        static const char wrong[] = "is not a number of tokens such as 1500, 32K or 1M";
        if (signal_tokens(&r->min, r->min_text) < 0)
            (void)signal_rule_error(rules, i, "min_tokens", "'%.*s' %s", STR_ARG(r->min_text),
                                    wrong);
        r->max = INFINITY;
        if (r->max_text.n && signal_tokens(&r->max, r->max_text) < 0)
            (void)signal_rule_error(rules, i, "max_tokens", "'%.*s' %s", STR_ARG(r->max_text),
                                    wrong);
        else if (r->max == 0)
            r->max = INFINITY;
        if (r->min > r->max)
            (void)signal_rule_error(rules, i, "min_tokens", "is above max_tokens: never matches");
    }
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct state){ items, rules->n };
    *ret_state = s;
    return 0;
}

/*
 * The estimate without a tokenizer (semantic-router.md 2.1): four bytes of text a token; one byte
 * of what is JSON, which is dense; and reserves for what a chat template adds, for images, and for
 * the answer that the client allows.
 */
enum {
    BYTES_A_TOKEN = 4,
    IMAGE_TOKENS = 8192,
    MESSAGE_TOKENS = 4,
    TOOL_CALL_TOKENS = 8,
    TOOL_TOKENS = 8,
};

struct size {
    double text, json, tokens; /* bytes of both; reserved tokens */
};

static double json_bytes(struct str s) /* as a JSON string */
{
    size_t n = s.n + 2;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '\n' || s.p[i] == '\t' || s.p[i] == '\r';
    return (double)n;
}

static void add_message(struct size *size, const struct chat_message *m)
{
    static const char type[] = "function";
    bool tool = str_is(m->role, "tool") || str_is(m->role, "function");
    size->text += (double)(m->role.n + m->name.n + m->tool_call_id.n + m->reasoning.n);
    size->tokens += MESSAGE_TOKENS + (double)m->n_images * IMAGE_TOKENS;
    if (tool) {
        size->tokens += TOOL_CALL_TOKENS;
        size->json += json_bytes(m->content);
    } else {
        size->text += (double)m->content.n;
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *call = &m->tool_calls[i];
        size->tokens += TOOL_CALL_TOKENS;
        size->text += (double)(call->id.n + strlen(type) + call->name.n);
        size->json += json_bytes(call->arguments);
    }
}

static double estimate(const struct chat_request *chat)
{
    struct size size = { 0, 0, chat->max_tokens };
    if (chat->is_completion)
        return chat->prompt_ids ? (double)chat->n_prompt_ids
                                : ceil((double)chat->prompt.n / BYTES_A_TOKEN);
    for (size_t i = 0; i < chat->n_messages; i++)
        add_message(&size, &chat->messages[i]);
    for (size_t i = 0; i < chat->n_tools; i++) {
        size.tokens += TOOL_TOKENS;
        size.json += (double)chat->tools[i].json.n;
    }
    if (chat->format == CHAT_FORMAT_json_schema)
        size.json += (double)chat->format_text.n;
    return ceil(size.text / BYTES_A_TOKEN) + size.json + size.tokens;
}

static bool add(const struct route_request *r, struct str text, double *total)
{
    ptrdiff_t n = text.n ? r->count_tokens(r->count_ctx, text) : 0;
    *total += n < 0 ? 0 : (double)n;
    return n >= 0;
}

static double count(const struct route_request *r)
{
    const struct chat_request *chat = r->chat;
    double total = 0;
    bool known = r->count_tokens && !chat->prompt_ids;
    if (known && chat->is_completion)
        known = add(r, chat->prompt, &total);
    for (size_t i = 0; known && !chat->is_completion && i < chat->n_messages; i++) {
        const struct chat_message *m = &chat->messages[i];
        known = add(r, m->content, &total);
        total += (double)m->n_images * IMAGE_TOKENS; /* which no tokenizer of text counts */
        for (size_t k = 0; known && k < m->n_tool_calls; k++)
            known =
                add(r, m->tool_calls[k].name, &total) && add(r, m->tool_calls[k].arguments, &total);
    }
    if (known && !chat->is_completion)
        known = add(r, chat->tools_json, &total);
    return known ? total : estimate(chat);
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    double tokens = count(v->request);
    for (size_t i = 0; i < s->n; i++) {
        bool in = tokens >= s->rules[i].min && tokens <= s->rules[i].max;
        values[i] = (struct signal_value){ in ? TRUTH_true : TRUTH_false, in ? 1 : 0, tokens };
    }
    return 0;
}

const struct signal_family family_context = {
    .options = options,
    .rule_size = sizeof(struct context_rule),
    .compile = compile,
    .evaluate = evaluate,
};
