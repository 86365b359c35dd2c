/* One compiled router, many threads: every thread gets what a thread alone gets. */
#include "router/router.h"
#include "base/limits.h"
#include "base/thread.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 200 };

static const char *const prompts[] = {
    "Write a SQL query",
    "my databse is slow",
    "as JSON please",
    "Wie geht es dir heute?",
    "hello",
    "Напиши запрос",
    "查询数据库",
    "¿Qué tal? ¿Cómo? ¿Por qué?",
};

static struct router *router;
static char alone[ARRAY_LEN(prompts)][64];

static void route_one(size_t i, char *ret, size_t n)
{
    struct chat_message m = { .role = STR("user"), .content = str_of(prompts[i]) };
    struct chat_request chat = { .model = STR("auto"), .messages = &m, .n_messages = 1 };
    struct route_request q = { .chat = &chat, .trace = true };
    struct arena *a = arena_new(16 * MIB);
    struct route route;
    struct fail fail;
    if (!a || router_route(router, &q, a, &route, &fail) != 0)
        abort();
    (void)snprintf(ret, n, "%.*s/%.*s", STR_ARG(route.decision), STR_ARG(route.adapter));
    (void)arena_free(a);
}

static void *run(void *arg)
{
    for (size_t k = 0; k < ROUNDS; k++)
        for (size_t i = 0; i < ARRAY_LEN(prompts); i++) {
            char got[64];
            route_one(i, got, sizeof(got));
            if (strcmp(got, alone[i]) != 0) {
                (void)fprintf(stderr, "'%s': %s, alone %s\n", prompts[i], got, alone[i]);
                exit(EXIT_FAILURE);
            }
        }
    return NULL;
}

int main(void)
{
    struct problems *p = problems_new();
    struct config *c = NULL;
    const char *path = test_path("config/policies/examples/adapters.yaml");
    if (!p || config_load(&c, path, p) < 0 || router_new(&router, c, p) < 0)
        return EXIT_FAILURE;
    for (size_t i = 0; i < ARRAY_LEN(prompts); i++)
        route_one(i, alone[i], sizeof(alone[i]));
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        if (thread_start(&threads[i], THREAD_http, run, NULL) < 0)
            return EXIT_FAILURE;
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    (void)router_free(router);
    (void)config_unref(c);
    (void)problems_free(p);
    return EXIT_SUCCESS;
}
