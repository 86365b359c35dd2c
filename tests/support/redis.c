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

/* One whose bus port, 10000 beyond, is a port and free too. */
static int free_cluster_port(void)
{
    for (unsigned tries = 0; tries < 1000; tries++) {
        int port = free_port(), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in bus = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)(port + 10000)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        assert_true(fd >= 0);
        bool vacant = port + 10000 <= 65535 && bind(fd, (struct sockaddr *)&bus, sizeof(bus)) == 0;
        (void)close(fd);
        if (vacant)
            return port;
    }
    fail_msg("no two free ports");
    return 0;
}

static bool installed(void)
{
    static const char *const places[] = { "/usr/bin/redis-server", "/usr/local/bin/redis-server" };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], X_OK) == 0)
            return true;
    return false;
}

static void run(const char *folder, char *const *argv) /* does not return */
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no test leaves one behind */
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    (void)dup2(null, STDERR_FILENO);
    if (chdir(folder) == 0)
        (void)execvp(argv[0], argv);
    _exit(127);
}

/* Runs a program to its end; its exit status. */
static int run_to_end(const char *folder, char *const *argv)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run(folder, argv);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void run_server(const struct test_redis *r)
{
    char port[16], tls_port[16];
    char *argv[32 + TEST_REDIS_ARGS] = { "redis-server",
                                         "--port",
                                         port,
                                         "--bind",
                                         "127.0.0.1",
                                         "--unixsocket",
                                         "redis.sock",
                                         "--dir",
                                         (char *)r->folder,
                                         "--save",
                                         "",
                                         "--appendonly",
                                         "yes",
                                         "--appendfsync",
                                         "always",
                                         "--requirepass",
                                         (char *)(r->password ? r->password : "") };
    size_t n = 17;
    (void)snprintf(port, sizeof(port), "%d", r->port);
    (void)snprintf(tls_port, sizeof(tls_port), "%d", r->tls_port);
    if (r->tls) {
        const char *tls[] = { "--tls-port",         tls_port,    "--tls-cert-file",    r->tls->cert,
                              "--tls-key-file",     r->tls->key, "--tls-ca-cert-file", r->tls->ca,
                              "--tls-auth-clients", "yes" };
        memcpy(argv + n, tls, sizeof(tls));
        n += sizeof(tls) / sizeof(tls[0]);
    }
    memcpy(argv + n, r->args, sizeof(r->args));
    run(r->folder, argv);
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
    if (r->pid == 0)
        run_server(r);
    for (unsigned i = 0; i < 500; i++) {
        if (answers(r))
            return;
        (void)usleep(20000);
    }
    fail_msg("redis-server did not start on port %d", r->port);
}

static void need_server(void)
{
    if (installed())
        return;
    print_message("# skipped: redis-server is not installed\n");
    skip();
}

static void start_at(struct test_redis *r, int port)
{
    if (!r->folder)
        r->folder = test_temp_dir();
    r->port = port;
    r->tls_port = r->tls ? free_port() : 0;
    (void)snprintf(r->url, sizeof(r->url), "redis://127.0.0.1:%d/0", r->port);
    (void)snprintf(r->unix_url, sizeof(r->unix_url), "unix://%s/redis.sock", r->folder);
    test_redis_again(r);
}

void test_redis_start(struct test_redis *r)
{
    need_server();
    start_at(r, free_port());
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

/* ---- TLS ---- */

void test_tls_make(struct test_tls *t)
{
    static const char script[] =
        "set -e\n"
        "new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n"
        "for a in ca other; do\n"
        "openssl req -x509 $new -keyout $a.key -out $a.pem -subj /CN=$a -days 2\n"
        "done\n"
        "for a in server client; do\n"
        "openssl req $new -keyout $a.key -out $a.csr -subj /CN=$a\n"
        "printf 'subjectAltName=DNS:localhost\\n' >$a.ext\n"
        "openssl x509 -req -in $a.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $a.pem "
        "-days 2 -extfile $a.ext\n"
        "done\n";
    const char *folder = test_temp_dir();
    if (run_to_end(folder, (char *[]){ "sh", "-c", (char *)script, NULL }) != 0) {
        print_message("# skipped: openssl makes no certificates here\n");
        skip();
    }
    (void)snprintf(t->ca, sizeof(t->ca), "%s/ca.pem", folder);
    (void)snprintf(t->other_ca, sizeof(t->other_ca), "%s/other.pem", folder);
    (void)snprintf(t->cert, sizeof(t->cert), "%s/server.pem", folder);
    (void)snprintf(t->key, sizeof(t->key), "%s/server.key", folder);
    (void)snprintf(t->client_cert, sizeof(t->client_cert), "%s/client.pem", folder);
    (void)snprintf(t->client_key, sizeof(t->client_key), "%s/client.key", folder);
}

/* ---- Sentinel ---- */

/* Waits until a command's reply, as text, holds `what`. */
static void wait_says(const struct test_redis *r, const char *command, const char *what)
{
    for (unsigned i = 0; i < 1500; i++) {
        redisReply *reply = test_redis_do(r, command);
        bool there = reply->str && strstr(reply->str, what);
        freeReplyObject(reply);
        if (there)
            return;
        (void)usleep(20000);
    }
    fail_msg("port %d: %s does not say %s", r->port, command, what);
}

static void start_sentinel(struct test_redis *r, const struct test_redis *master)
{
    char path[512];
    r->folder = test_temp_dir();
    r->port = free_port();
    (void)snprintf(path, sizeof(path), "%s/sentinel.conf", r->folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f,
                  "port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor mymaster 127.0.0.1 %d 1\n"
                  "sentinel down-after-milliseconds mymaster 300\n"
                  "sentinel failover-timeout mymaster 2000\n",
                  r->port, r->folder, master->port);
    assert_int_equal(fclose(f), 0);
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0)
        run(r->folder, (char *[]){ "redis-server", path, "--sentinel", NULL });
    for (unsigned i = 0; i < 500 && !answers(r); i++)
        (void)usleep(20000);
}

void test_sentinel_start(struct test_sentinel *s)
{
    static char master_port[16];
    need_server();
    start_at(&s->master, free_port());
    (void)snprintf(master_port, sizeof(master_port), "%d", s->master.port);
    s->replica.args[0] = "--replicaof";
    s->replica.args[1] = "127.0.0.1";
    s->replica.args[2] = master_port;
    start_at(&s->replica, free_port());
    wait_says(&s->replica, "INFO replication", "master_link_status:up");
    start_sentinel(&s->sentinel, &s->master);
    wait_says(&s->sentinel, "INFO sentinel", "slaves=1");
    (void)snprintf(s->url, sizeof(s->url), "redis+sentinel://127.0.0.1:%d/mymaster",
                   s->sentinel.port);
}

void test_sentinel_stop(struct test_sentinel *s)
{
    test_redis_kill(&s->sentinel);
    test_redis_kill(&s->replica);
    test_redis_kill(&s->master);
}

/* ---- Cluster ---- */

void test_cluster_start(struct test_cluster *c)
{
    static const char *const args[] = { "--cluster-enabled",      "yes",
                                        "--cluster-config-file",  "nodes.conf",
                                        "--cluster-node-timeout", "1000" };
    char place[TEST_CLUSTER_NODES][32];
    char *create[8 + TEST_CLUSTER_NODES] = { "redis-cli", "--cluster", "create" };
    size_t n = 3;
    need_server();
    for (size_t i = 0; i < TEST_CLUSTER_NODES; i++) {
        memcpy(c->node[i].args, args, sizeof(args));
        start_at(&c->node[i], free_cluster_port());
        (void)snprintf(place[i], sizeof(place[i]), "127.0.0.1:%d", c->node[i].port);
        create[n++] = place[i];
    }
    create[n] = "--cluster-yes";
    if (run_to_end(c->node[0].folder, create) != 0)
        fail_msg("redis-cli made no cluster");
    for (size_t i = 0; i < TEST_CLUSTER_NODES; i++)
        wait_says(&c->node[i], "CLUSTER INFO", "cluster_state:ok");
    (void)snprintf(c->url, sizeof(c->url), "redis+cluster://%s,%s", place[0], place[1]);
}

void test_cluster_stop(struct test_cluster *c)
{
    for (size_t i = 0; i < TEST_CLUSTER_NODES; i++)
        test_redis_kill(&c->node[i]);
}
