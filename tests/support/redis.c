#include "tests/support/redis.h"

#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static bool installed(void)
{
    static const char *const places[] = { "/usr/bin/redis-server", "/usr/local/bin/redis-server" };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], X_OK) == 0)
            return true;
    return false;
}

static void run_server(const struct test_redis *r)
{
    char port[16];
    (void)snprintf(port, sizeof(port), "%d", r->port);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no test leaves one behind */
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    (void)dup2(null, STDERR_FILENO);
    (void)execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1",
                 "--unixsocket", "redis.sock", "--dir", r->folder, "--save", "", "--appendonly",
                 "yes", "--appendfsync", "always", "--requirepass", r->password ? r->password : "",
                 (char *)NULL);
    _exit(127);
}

static bool answers(const struct test_redis *r)
{
    struct timeval t = { .tv_usec = 200000 };
    redisContext *c = redisConnectWithTimeout("127.0.0.1", r->port, t);
    bool up = c && !c->err;
    redisReply *reply = up ? redisCommand(c, "PING") : NULL;
    up = reply && (reply->type == REDIS_REPLY_STATUS || strncmp(reply->str, "NOAUTH", 6) == 0);
    if (reply)
        freeReplyObject(reply);
    if (c)
        redisFree(c);
    return up;
}

void test_redis_again(struct test_redis *r)
{
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        assert_int_equal(chdir(r->folder), 0);
        run_server(r);
    }
    for (unsigned i = 0; i < 500; i++) {
        if (answers(r))
            return;
        (void)usleep(20000);
    }
    fail_msg("redis-server did not start on port %d", r->port);
}

void test_redis_start(struct test_redis *r)
{
    if (!installed()) {
        print_message("# skipped: redis-server is not installed\n");
        skip();
    }
    if (!r->folder)
        r->folder = test_temp_dir();
    r->port = free_port();
    (void)snprintf(r->url, sizeof(r->url), "redis://127.0.0.1:%d/0", r->port);
    (void)snprintf(r->unix_url, sizeof(r->unix_url), "unix://%s/redis.sock", r->folder);
    test_redis_again(r);
}

void test_redis_kill(struct test_redis *r)
{
    if (!r->pid)
        return;
    (void)kill(r->pid, SIGKILL);
    (void)waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

void test_redis_pause(struct test_redis *r, bool stopped)
{
    (void)kill(r->pid, stopped ? SIGSTOP : SIGCONT);
}

void test_redis_stop(struct test_redis *r)
{
    test_redis_kill(r);
}

redisReply *test_redis_do(const struct test_redis *r, const char *fmt, ...)
{
    va_list args;
    redisContext *c = redisConnect("127.0.0.1", r->port);
    assert_non_null(c);
    if (r->password)
        freeReplyObject(redisCommand(c, "AUTH %s", r->password));
    va_start(args, fmt);
    redisReply *reply = redisvCommand(c, fmt, args);
    va_end(args);
    redisFree(c);
    assert_non_null(reply);
    return reply;
}
