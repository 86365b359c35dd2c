#include "tests/unit/gateway/client.h"

#include "tests/support/test.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "gateway/learning/learning.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct server *server;
struct core core;
struct core_model model = { .name = { "demo", 4 }, .created_s = 1 };
static uint16_t port;

#define POLICY                                                                                     \
    "version: v0.3\n"                                                                              \
    "engine: {models: [{name: demo, path: none.gguf}]}\n"                                          \
    "gateway:\n"                                                                                   \
    "  limits: {body: 1MiB, header: 16KiB, streams: 200, body_idle: 500ms}\n"                      \
    "  keep_alive: 200ms\n"                                                                        \
    "  log_level: error\n"                                                                         \
    "entrypoints: [{model_names: [panel], recipe: panel}]\n"                                       \
    "recipes:\n"                                                                                   \
    "  - name: panel\n"                                                                            \
    "    routing:\n"                                                                               \
    "      decisions:\n"                                                                           \
    "        - {name: ask_all, modelRefs: [{model: demo}], algorithm: {type: fusion}}\n"

struct state *new_state(void)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 * MIB);
    CLEANUP(config_unrefp) struct config *config = NULL;
    struct state *s = NULL;
    if (config_parse(&config, "test.yaml", STR(POLICY), p) < 0 ||
        state_new(&s, &core, config, p) < 0) {
        problems_print(p, &text);
        fail_msg("%s", text.p);
    }
    if (!core.config)
        core.config = config_ref(config);
    return s;
}

int set_up(void **state)
{
    (void)state;
    json_object_seed(0);
    log_set_level(LOG_error);
    model.engine = fake_engine_new();
    core = (struct core){ .models = &model, .n_models = 1 };
    assert_int_equal(learning_new(&core.learning), 0);
    struct fail fail = { 0 };
    if (server_start(&server, &core, new_state(), STR("127.0.0.1:0"), &fail) != 0)
        fail_msg("%s", fail.message);
    port = (uint16_t)strtoul(strrchr(server_address(server), ':') + 1, NULL, 10);
    return 0;
}

bool comes_true(bool (*is)(void), unsigned ms)
{
    for (uint64_t end = clock_ms() + ms; clock_ms() < end; (void)usleep(1000))
        if (is())
            return true;
    return is();
}

bool is_idle(void)
{
    return server_active(server) == 0 && fake_engine_running(model.engine) == 0;
}

int tear_down(void **state)
{
    (void)state;
    server_drain(server);
    assert_true(comes_true(is_idle, 5000));
    assert_int_equal(server_stop(server), 0);
    (void)engine_free(model.engine);
    core.learning = learning_free(core.learning);
    (void)config_unref(core.config);
    return 0;
}

/* ---- a client ---- */

int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval t = { .tv_sec = 10 };
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the server refused: what it answered is what counts */
        p += k;
        n -= (size_t)k;
    }
}

/* Reads to the end, or until `until` appears; owned by the caller. */
char *receive(int fd, const char *until)
{
    struct buf b = BUF_INIT(64 * MIB);
    char part[4096];
    for (;;) {
        ssize_t n = recv(fd, part, sizeof(part), 0);
        if (n <= 0)
            break;
        buf_add(&b, (struct str){ part, (size_t)n });
        if (until && strstr(b.p, until))
            break;
    }
    char *text = b.n ? buf_take(&b, NULL) : strdup("");
    if (!text)
        abort();
    return text;
}

char *exchange(const char *request)
{
    int fd = dial();
    send_all(fd, request, strlen(request));
    char *answer = receive(fd, NULL);
    (void)close(fd);
    return answer;
}

char *post(const char *path, const char *body)
{
    char *request = NULL;
    assert_true(asprintf(&request,
                         "POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: "
                         "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                         path, strlen(body), body) > 0);
    char *answer = exchange(request);
    free(request);
    return answer;
}

char *bare(const char *method, const char *path)
{
    char request[1024];
    (void)snprintf(request, sizeof(request),
                   "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", method, path);
    return exchange(request);
}

char *chat(const char *script, const char *more)
{
    char *body = NULL;
    assert_true(asprintf(&body,
                         "{\"model\":\"demo\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]"
                         "%s}",
                         script, more) > 0);
    char *answer = post("/v1/chat/completions", body);
    free(body);
    return answer;
}

int open_stream(const char *script)
{
    char request[512], body[256];
    (void)snprintf(body, sizeof(body),
                   "{\"model\":\"demo\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                   "\"content\":\"%s\"}]}",
                   script);
    (void)snprintf(request, sizeof(request),
                   "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(body), body);
    int fd = dial();
    send_all(fd, request, strlen(request));
    return fd;
}

void expect(const char *answer, const char *what)
{
    if (!answer || !strstr(answer, what))
        fail_msg("'%s' is not in:\n%s", what, answer ? answer : "");
}

void reject(const char *answer, const char *what)
{
    if (!answer || strstr(answer, what))
        fail_msg("'%s' is in:\n%s", what, answer ? answer : "");
}

size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
        n++;
    return n;
}
