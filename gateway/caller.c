#include "gateway/caller.h"

#include "config/node.h"
#include "gateway/conversation.h"
#include "gateway/learning/key.h"

struct str caller_header(const struct request *r, struct str name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (str_eq_nocase(r->headers[i].key, name))
            return r->headers[i].value;
    return STR_NULL;
}

/* global.services.authz.identity.<key>, else the name that everybody uses. */
static struct str header_name(const struct config *c, const char *key, struct str usual)
{
    static const char *const path[] = { "services", "authz", "identity" };
    const struct node *at = c->global;
    for (size_t i = 0; at && i < ARRAY_LEN(path); i++)
        at = node_get(at, path[i]);
    const struct node *name = at ? node_get(at, key) : NULL;
    return name && name->kind == NODE_scalar && name->scalar.n ? name->scalar : usual;
}

void caller_identify(const struct request *r, struct route_request *ret)
{
    const struct config *c = r->state->config;
    ret->user_id = caller_header(r, header_name(c, "user_id_header", STR("x-authz-user-id")));
    ret->user_groups =
        caller_header(r, header_name(c, "user_groups_header", STR("x-authz-user-groups")));
    ret->identified = ret->user_id.n > 0;
}

struct str caller_session(const struct request *r)
{
    struct str id = caller_header(r, STR("x-session-id"));
    return id.n ? id : caller_header(r, STR("x-claude-code-session-id"));
}

static uint64_t number_of(const struct sha256 *d)
{
    uint64_t x = 0;
    for (size_t i = 0; i < sizeof(x); i++)
        x = x << 8 | d->b[i];
    return x ? x : 1;
}

static uint64_t number_of_text(const char *kind, struct str text)
{
    struct sha256 d = learning_key((struct str[]){ str_of(kind), text }, 2);
    return number_of(&d);
}

uint64_t caller_sticky(const struct request *r, const struct chat_request *chat)
{
    struct str user =
        caller_header(r, header_name(r->state->config, "user_id_header", STR("x-authz-user-id")));
    if (user.n)
        return number_of_text("user", user);
    struct conversation c;
    if (conversation_named(&c, router_learning(r->state->router), chat, r->headers, r->n_headers))
        return number_of(&c.key);
    if (chat->user.n)
        return number_of_text("user", chat->user);
    if (r->caller.key)
        return number_of_text("key",
                              (struct str){ (const char *)&r->caller.key, sizeof(r->caller.key) });
    c = conversation_begun(chat);
    if (c.known)
        return number_of(&c.key);
    struct str ids = { (const char *)chat->prompt_ids, chat->n_prompt_ids * sizeof(int32_t) };
    struct str prompt = chat->prompt.n ? chat->prompt : ids;
    return prompt.n ? number_of_text("begun", prompt) : 0;
}
