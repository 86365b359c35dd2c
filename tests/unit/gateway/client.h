/*
 * The real server over a fake engine, and a client of plain sockets. Every function fails the test
 * where it cannot do its work.
 */
#pragma once

#include "gateway/server.h"
#include "tests/unit/gateway/fake_engine.h"

extern struct server *server;
extern struct core core;
extern struct core_model model; /* "demo", the only one; its engine is a fake */

struct state *new_state(void); /* for server_publish */
int set_up(void **state);      /* of a group: starts the server */
int tear_down(void **state);   /* drains it; fails when a request is left behind */
bool comes_true(bool (*is)(void), unsigned ms);
bool is_idle(void); /* no request and no engine job */

int dial(void);
void send_all(int fd, const char *p, size_t n); /* what the server refuses is left out */
/* Reads to the end, or until `until` appears; owned by the caller. */
char *receive(int fd, const char *until);
char *exchange(const char *request); /* one request as it stands → the whole answer, owned */
char *post(const char *path, const char *body);
char *bare(const char *method, const char *path); /* without a body */
char *chat(const char *script, const char *more); /* `more`: further fields, ",\"n\":2" */
int open_stream(const char *script);

void expect(const char *answer, const char *what); /* a part of it */
void reject(const char *answer, const char *what);
size_t count(const char *text, const char *what);
