#include "gateway/api/routed.h"

#include "gateway/api/json.h"
#include "router/output_contract.h"

#include <errno.h>

static int tell_reasoning(struct chat_request *chat, const struct route *route, struct arena *arena)
{
    struct str given = chat->template_kwargs;
    json_auto_t *kwargs = given.n ? json_loadb(given.p, given.n, 0, NULL) : json_object();
    const char *key = arena_cstr(arena, route->reasoning_key);
    if (!key || (!kwargs && given.n == 0))
        return -ENOMEM;
    if (!json_is_object(kwargs))
        return -EINVAL;
    if (route->reasoning_yields && json_object_get(kwargs, key))
        return 0;
    json_t *value = route->reasoning_is_text
                        ? json_stringn(route->reasoning_value.p, route->reasoning_value.n)
                        : json_boolean(str_is(route->reasoning_value, "true"));
    if (json_object_set_new(kwargs, key, value) != 0)
        return -ENOMEM;
    chat->template_kwargs = json_text(arena, kwargs);
    if (str_is(route->reasoning_key, "reasoning_effort")) { /* a field of its own, too */
        chat->reasoning_effort = route->reasoning_value;
        chat->changed |= CHAT_CHANGED_effort;
    } else {
        chat->changed |= CHAT_CHANGED_template;
    }
    return chat->template_kwargs.p ? 0 : -ENOMEM;
}

static void ask_format(struct chat_request *chat, const struct output_contract *contract)
{
    bool free_text = chat->format == CHAT_FORMAT_text;
    bool tools = chat->n_tools && chat->tool_choice != TOOL_CHOICE_none;
    if (!contract || !free_text || tools)
        return;
    if (contract->type == CONTRACT_choice) {
        chat->format = CHAT_FORMAT_choice;
        chat->format_text = contract->choices;
    } else if (contract->type == CONTRACT_structured_json) {
        chat->format = CHAT_FORMAT_json_object;
    }
    if (chat->format != CHAT_FORMAT_text)
        chat->changed |= CHAT_CHANGED_format;
}

int routed_apply(struct chat_request *chat, const struct route *route, struct arena *arena)
{
    if (chat->is_completion)
        return 0;
    ask_format(chat, route->contract);
    return route->reasoning_key.n ? tell_reasoning(chat, route, arena) : 0;
}
