#include "gateway/conversation.h"

#include "gateway/learning/key.h"

static struct str header(const struct chat_pair *headers, size_t n, struct str name)
{
    for (size_t i = 0; name.n && i < n; i++)
        if (str_eq(headers[i].key, name) && headers[i].value.n)
            return headers[i].value;
    return STR_NULL;
}

static struct str metadata_user(const struct chat_request *chat)
{
    for (size_t i = 0; i < chat->n_metadata; i++)
        if (str_is(chat->metadata[i].key, "user_id"))
            return chat->metadata[i].value;
    return STR_NULL;
}

static struct conversation named(const char *kind, struct str id)
{
    return (struct conversation){ .known = true,
                                  .key = learning_key((struct str[]){ str_of(kind), id }, 2),
                                  .id = id };
}

/* Whoever begins with the same words as somebody else shares a key: for a hold, no more. */
struct conversation conversation_begun(const struct chat_request *chat)
{
    struct str instructions = STR_NULL, first = STR_NULL;
    unsigned turns = 0;
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct chat_message *m = &chat->messages[i];
        if (str_is(m->role, "user") && turns++ == 0)
            first = m->content;
        else if (turns == 0 && instructions.n == 0)
            instructions = m->content;
    }
    if (first.n == 0)
        return (struct conversation){ 0 };
    return (struct conversation){
        .known = true,
        .key = learning_key((struct str[]){ STR("begun"), chat->user, instructions, first }, 4),
        .begins = turns == 1 && str_is(chat->messages[chat->n_messages - 1].role, "user"),
    };
}

bool conversation_named(struct conversation *ret, const struct learning_settings *l,
                        const struct chat_request *chat, const struct chat_pair *headers,
                        size_t n_headers)
{
    struct str id = STR_NULL;
    if (!l->by_session) {
        id = header(headers, n_headers, l->conversation_header);
        if (id.n) {
            *ret = named("conversation", id);
            return true;
        }
    }
    const struct str names[] = { l->session_header, STR("x-session-id"),
                                 STR("x-claude-code-session-id") };
    for (size_t i = 0; i < ARRAY_LEN(names) && id.n == 0; i++)
        id = header(headers, n_headers, names[i]);
    if (id.n == 0)
        id = metadata_user(chat);
    if (id.n == 0)
        return false;
    *ret = named("session", id);
    return true;
}

struct conversation conversation_of(const struct learning_settings *l,
                                    const struct chat_request *chat,
                                    const struct chat_pair *headers, size_t n_headers)
{
    struct conversation c;
    return conversation_named(&c, l, chat, headers, n_headers) ? c : conversation_begun(chat);
}
