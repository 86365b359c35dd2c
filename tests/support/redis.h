/*
 * A real redis-server for a test: on a free port of 127.0.0.1 and on a unix socket, in a folder of
 * its own.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <hiredis/hiredis.h>

struct test_redis {
    pid_t pid; /* 0: not running */
    int port;
    const char *folder;
    char url[64]; /* redis://127.0.0.1:PORT/0 */
    char unix_url[256];
    const char *password; /* NULL: none; set before the start */
};

/* Starts it and waits until it answers. Where redis-server is not installed it says so, marks the
 * test skipped and leaves it. */
void test_redis_start(struct test_redis *r);
void test_redis_again(struct test_redis *r); /* on the same port, with the data it had on disk */
void test_redis_kill(struct test_redis *r);  /* at once, like a crash */
void test_redis_pause(struct test_redis *r, bool stopped);
void test_redis_stop(struct test_redis *r); /* fine when it does not run */
/* One command on a connection of its own; the reply is the caller's. */
redisReply *test_redis_do(const struct test_redis *r, const char *fmt, ...);
