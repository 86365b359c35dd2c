#include "gateway/caller.h"

#include "config/node.h"

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
