/*
 * A mock of engines behind: serves the wires of OpenAI, Anthropic, Gemini, Bedrock and Ollama,
 * whole and streamed, and each fault that a network or a server can have, as a script in the
 * request says (mock_script.h). Without one the answer is four text frames, prebuilt.
 *
 * One thread a listener, epoll, no allocation for a small request without a script. What it saw:
 * mock_stats.h, and over HTTP on each listener:
 *     GET  /_mock/stats[?id=ID]    counters; the tries of an id
 *     GET  /_mock/request?id=ID    the last request of an id as it came
 *     POST /_mock/release?id=ID    what holds goes on
 *     POST /_mock/reset            ids and the default are forgotten
 *     POST /_mock                  the body is the script of requests without one
 */
#pragma once

#include "tests/support/mock_stats.h"

struct mock_upstream;

struct mock_listen {
    const char *address;    /* IPv4; NULL: 127.0.0.1 */
    uint16_t port;          /* 0: a free one */
    const char *cert, *key; /* PEM files; NULL: no TLS */
};

/* 0 or negative errno. */
int mock_upstream_start(struct mock_upstream **ret, const struct mock_listen *listen,
                        size_t n) MUST_USE;
uint16_t mock_upstream_port(const struct mock_upstream *m, size_t i);
struct mock_stats *mock_upstream_stats(struct mock_upstream *m);   /* borrowed */
struct mock_upstream *mock_upstream_stop(struct mock_upstream *m); /* joins; NULL is fine */
DEFINE_CLEANUP(struct mock_upstream *, mock_upstream_stop);
