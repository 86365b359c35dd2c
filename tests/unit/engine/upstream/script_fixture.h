/*
 * What programs about the transport begin with: one of two loops, before a server of scripts.
 */
#pragma once

#include "tests/unit/engine/upstream/probe.h"
#include "tests/unit/engine/upstream/script_server.h"

extern struct script_server *server;
extern struct transport *transport;

int fixture_open(const struct script *scripts); /* 0 or a negative errno */
int fixture_close(void **state);                /* a group's teardown */
/* A transport of its own, so that the pool is empty. */
void fixture_renew(void);
struct transport_loop *fixture_loop(void);
void probe_to(struct probe *p, const char *path); /* a POST to the server */
struct call_end probe_one(const char *path);      /* … from its beginning to its end */
