#include "router/signals/signals.h"

#include <errno.h>

enum feature { FEATURE_exists, FEATURE_count };
enum source {
    SOURCE_message,
    SOURCE_tool_definition,
    SOURCE_assistant_tool_call,
    SOURCE_assistant_tool_cycle,
    SOURCE_active_tool_loop,
    SOURCE_image_content,
};

static const char *const features[] = { "exists", "count", NULL };
static const char *const sources[] = {
    "message",
    "tool_definition",
    "assistant_tool_call",
    "assistant_tool_cycle",
    "active_tool_loop",
    "image_content",
    NULL,
};
static const char *const roles[] = {
    "any", "user", "assistant", "system", "developer", "tool", "non_user", NULL,
};
enum { ROLE_any = 0, ROLE_non_user = 6 };

struct source_options {
    unsigned type, role;
};

struct feature_options {
    unsigned type;
    struct source_options source;
};

struct conversation_rule {
    struct str name, description;
    struct feature_options feature;
    const struct node *predicate_node;
    struct predicate predicate;
};

static const struct option source_options[] = {
    OPT_WORD(struct source_options, type, "type", sources, OPTION_REQUIRED, "what is counted"),
    OPT_WORD(struct source_options, role, "role", roles, "any", "of message: whose"),
    OPT_END,
};

static const struct option feature_options[] = {
    OPT_WORD(struct feature_options, type, "type", features, OPTION_REQUIRED,
             "exists: 1 or 0; count: how many"),
    OPT_SECTION(struct feature_options, source, "source", source_options, "what is counted"),
    OPT_END,
};

static const struct option options[] = {
    OPT_TEXT(struct conversation_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct conversation_rule, description, "description", NULL, "for people"),
    OPT_SECTION(struct conversation_rule, feature, "feature", feature_options, "what is measured"),
    OPT_NODE(struct conversation_rule, predicate_node, "predicate",
             "gt, gte, lt, lte; absent: more than 0"),
    OPT_END,
};

struct state {
    const struct conversation_rule *rules;
    size_t n;
};

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct conversation_rule *items = rules->items;
    for (size_t i = 0; i < rules->n; i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s[%zu].predicate", rules->path, i);
        int e = predicate_read(&items[i].predicate, items[i].predicate_node, path, rules->arena,
                               rules->p);
        if (e < 0 && e != -EINVAL)
            return e;
        if (items[i].feature.source.role != ROLE_any &&
            items[i].feature.source.type != SOURCE_message)
            (void)signal_rule_error(rules, i, "feature", "role is for source type message only");
    }
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct state){ items, rules->n };
    *ret_state = s;
    return 0;
}

static bool role_fits(const struct chat_message *m, unsigned role)
{
    if (role == ROLE_any)
        return true;
    if (role == ROLE_non_user)
        return !str_is(m->role, "user");
    return str_is(m->role, roles[role]) || (role == 5 && str_is(m->role, "function"));
}

static size_t count_messages(const struct chat_request *chat, unsigned role)
{
    if (chat->is_completion)
        return role == ROLE_any || role == 1 ? 1 : 0; /* the prompt is the user's */
    size_t n = 0;
    for (size_t i = 0; i < chat->n_messages; i++)
        n += role_fits(&chat->messages[i], role);
    return n;
}

static bool is_tool_result(const struct chat_message *m)
{
    return str_is(m->role, "tool") || str_is(m->role, "function");
}

/* Assistant messages whose calls have at least one result right after them. */
static size_t count_cycles(const struct chat_request *chat)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < chat->n_messages; i++)
        n += chat->messages[i].n_tool_calls > 0 && is_tool_result(&chat->messages[i + 1]);
    return n;
}

/* A call, or a result, after the user's last turn: the loop goes on. */
static bool in_tool_loop(const struct chat_request *chat)
{
    for (size_t i = chat->n_messages; i-- > 0;) {
        const struct chat_message *m = &chat->messages[i];
        if (m->n_tool_calls > 0 || is_tool_result(m))
            return true;
        if (str_is(m->role, "user"))
            return false;
    }
    return false;
}

static size_t measure(const struct chat_request *chat, const struct source_options *source)
{
    size_t n = 0;
    switch (source->type) {
    case SOURCE_message:
        return count_messages(chat, source->role);
    case SOURCE_tool_definition:
        return chat->n_tools;
    case SOURCE_assistant_tool_cycle:
        return count_cycles(chat);
    case SOURCE_active_tool_loop:
        return in_tool_loop(chat);
    case SOURCE_assistant_tool_call:
        for (size_t i = 0; i < chat->n_messages; i++)
            n += chat->messages[i].n_tool_calls;
        return n;
    default:
        for (size_t i = 0; i < chat->n_messages; i++)
            n += chat->messages[i].n_images;
        return n;
    }
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    for (size_t i = 0; i < s->n; i++) {
        const struct conversation_rule *r = &s->rules[i];
        double n = (double)measure(v->chat, &r->feature.source);
        if (r->feature.type == FEATURE_exists)
            n = n > 0;
        values[i] = signal_measured(n, &r->predicate);
        if (values[i].value == TRUTH_true)
            values[i].confidence = 1; /* a count of what is there is certain */
    }
    return 0;
}

const struct signal_family family_conversation = {
    .options = options,
    .rule_size = sizeof(struct conversation_rule),
    .compile = compile,
    .evaluate = evaluate,
};
