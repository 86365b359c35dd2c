/* A prompt through policies that use every served family. */
#include "base/limits.h"
#include "router/router.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test.h"

static struct router *load(const char *path)
{
    struct problems *p = problems_new();
    struct config *c = NULL; /* lives as long as the program */
    struct router *r = NULL;
    if (!p || config_load(&c, test_path(path), p) < 0 || router_new(&r, c, p) < 0)
        abort();
    (void)problems_free(p);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct router *routers[3];
    static const char *const files[] = { "adapters", "sizes", "profiles" };
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "config/policies/examples/%s.yaml", files[i]);
        routers[i] = routers[i] ? routers[i] : load(path);
        struct chat_message m = { .role = STR("user"), .content = { (const char *)data, size } };
        struct chat_request chat = { .model = STR("support"), .messages = &m, .n_messages = 1 };
        struct route_request q = { .chat = &chat, .trace = size & 1 };
        struct arena *a = arena_new(16 * MIB);
        struct buf b = BUF_INIT(MIB);
        struct route route;
        struct fail fail;
        if (a && router_route(routers[i], &q, a, &route, &fail) == 0)
            route_print_line(&route, true, &b);
        buf_done(&b);
        (void)arena_free(a);
    }
    return 0;
}
