/* YAML bytes → document → compiled policy → what the linter says, one route. */
#include "base/limits.h"
#include "router/lint/lint.h"
#include "router/router.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = { (const char *)data, size };
    struct problems *p = problems_new();
    struct config *c = NULL;
    struct router *r = NULL;
    if (p && config_parse(&c, "fuzz", text, p) == 0 && router_new(&r, c, p) == 0 &&
        router_lint(r, p) == 0) {
        struct chat_message m = { .role = STR("user"), .content = { text.p, size & 63 } };
        struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
        struct route_request q = { .chat = &chat, .trace = true };
        struct arena *a = arena_new(16 * MIB);
        struct route route;
        struct fail fail;
        struct buf b = BUF_INIT(MIB);
        if (a && router_route(r, &q, a, &route, &fail) == 0)
            route_print_eval(r, &route, &b);
        buf_done(&b);
        (void)arena_free(a);
    }
    (void)router_free(r);
    (void)config_unref(c);
    (void)problems_free(p);
    return 0;
}
