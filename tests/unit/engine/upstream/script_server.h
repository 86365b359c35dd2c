/*
 * A server that says what a test tells it to, byte for byte: one thread a connection, on 127.0.0.1.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

struct script_server;

struct script_peer { /* one connection, within a script */
    struct script_server *server;
    int fd;
    unsigned n_requests; /* on this connection, this one included */
    const char *target;  /* of the request line: path and query */
    const char *head;    /* the whole head of the request */
    struct str body;
    bool keep; /* the script leaves the connection open */
};

/* Answers a request; what it leaves open (peer->keep) waits for the next. */
typedef void (*script_fn)(struct script_peer *peer);

struct script { /* the first whose path is a prefix of the target; path NULL: the last */
    const char *path;
    script_fn run;
};

struct script_server *script_server_new(const struct script *scripts);
struct script_server *script_server_free(struct script_server *s); /* closes what is open */
unsigned script_server_port(const struct script_server *s);
unsigned script_server_connections(const struct script_server *s); /* accepted so far */
unsigned script_server_requests(const struct script_server *s);

/* false: the other side is gone */
bool script_say(struct script_peer *peer, const char *text);
bool script_send(struct script_peer *peer, struct str bytes);
void script_reset(struct script_peer *peer); /* closes with RST */
/* Waits until the other side closed; milliseconds that it took, or -1 after `limit_ms`. */
int script_wait_close(struct script_peer *peer, int limit_ms);
void script_nap(unsigned ms);
