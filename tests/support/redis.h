/*
 * Real Redis servers for a test: each on a free port of 127.0.0.1 and on a unix socket, in a folder
 * of its own; alone, with TLS, behind a Sentinel, or as a Cluster.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <hiredis/hiredis.h>

enum { TEST_REDIS_ARGS = 24 };
struct test_tls;
struct test_redis {
    pid_t pid; /* 0: not running */
    int port;
    const char *folder;
    char url[64]; /* redis://127.0.0.1:PORT/0 */
    char unix_url[256];
    const char *password; /* NULL: none; set before the start */
    /* Set before the start, or not at all. */
    const char *args[TEST_REDIS_ARGS]; /* more options, as of its command line; NULL-terminated */
    const struct test_tls *tls;        /* answers TLS on tls_port too; wants a client certificate */
    int tls_port;
};

/* Certificates, made anew by openssl: a server for the name "localhost" alone, and a client. */
struct test_tls {
    char ca[256], cert[256], key[256]; /* PEM files */
    char client_cert[256], client_key[256];
    char other_ca[256]; /* that signed nobody */
};
void test_tls_make(struct test_tls *t);

/* Starts it and waits until it answers. Where redis-server is not installed it says so, marks the
 * test skipped and leaves it. */
void test_redis_start(struct test_redis *r);
void test_redis_again(struct test_redis *r); /* on the same port, with the data it had on disk */
void test_redis_kill(struct test_redis *r);  /* at once, like a crash */
void test_redis_pause(struct test_redis *r, bool stopped);
void test_redis_stop(struct test_redis *r); /* fine when it does not run */
/* One command on a connection of its own; the reply is the caller's. */
redisReply *test_redis_do(const struct test_redis *r, const char *fmt, ...);

/* A master, its replica, and a Sentinel that follows them; the URL asks the Sentinel. */
struct test_sentinel {
    struct test_redis master, replica, sentinel;
    char url[128];
};
void test_sentinel_start(struct test_sentinel *s);
void test_sentinel_stop(struct test_sentinel *s);

/* Three masters that share the slots. */
enum { TEST_CLUSTER_NODES = 3 };
struct test_cluster {
    struct test_redis node[TEST_CLUSTER_NODES];
    char url[128];
};
void test_cluster_start(struct test_cluster *c);
void test_cluster_stop(struct test_cluster *c);
