#include "tests/unit/router/support.h"

#include "base/limits.h"

#include <stdlib.h>

static struct router *compile(struct config *c, int loaded, struct problems *p,
                              struct config **ret_config)
{
    struct router *r = NULL;
    if (loaded < 0 || router_new(&r, c, p) < 0) {
        struct buf b = BUF_INIT(MIB);
        problems_print(p, &b);
        fail_msg("the policy does not compile:\n%s", b.p ? b.p : "(no memory)");
    }
    problems_free(p);
    *ret_config = c;
    return r;
}

struct router *policy_from(const char *yaml, struct config **ret_config)
{
    struct problems *p = problems_new();
    struct config *c = NULL;
    assert_non_null(p);
    int r = config_parse(&c, "policy.yaml", str_of(yaml), p);
    return compile(c, r, p, ret_config);
}

struct router *policy_from_file(const char *path, struct config **ret_config)
{
    struct problems *p = problems_new();
    struct config *c = NULL;
    assert_non_null(p);
    int r = config_load(&c, path, p);
    return compile(c, r, p, ret_config);
}

char *policy_problems(const char *yaml, int *ret_result)
{
    struct problems *p = problems_new();
    struct config *c = NULL;
    struct router *r = NULL;
    struct buf b = BUF_INIT(MIB);
    assert_non_null(p);
    *ret_result = config_parse(&c, "policy.yaml", str_of(yaml), p);
    if (*ret_result == 0)
        *ret_result = router_new(&r, c, p);
    problems_print(p, &b);
    buf_addc(&b, '\0');
    router_free(r);
    config_unref(c);
    problems_free(p);
    return buf_take(&b, NULL);
}

void route_text(const struct router *r, const char *model, const char *text, struct arena *arena,
                struct route *ret)
{
    struct chat_message *m = arena_alloc(arena, sizeof(*m));
    struct chat_request *chat = arena_alloc(arena, sizeof(*chat));
    assert_non_null(m);
    assert_non_null(chat);
    *m = (struct chat_message){ .role = STR("user"), .content = str_of(text) };
    *chat = (struct chat_request){ .model = str_of(model), .messages = m, .n_messages = 1, .n = 1 };
    struct route_request q = { .chat = chat, .trace = true };
    struct fail fail = { 0 };
    if (router_route(r, &q, arena, ret, &fail) != 0)
        fail_msg("routing failed: %s", fail.message);
}

const struct route_signal *route_signal_of(const struct route *r, const char *type,
                                           const char *name)
{
    for (size_t i = 0; i < r->n_signals; i++)
        if (str_is(r->signals[i].type, type) && str_is(r->signals[i].name, name))
            return &r->signals[i];
    fail_msg("%s:%s was not evaluated", type, name);
    return NULL;
}
