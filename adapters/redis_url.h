/*
 * What an URL of Redis names: one server, the master that Sentinels know, or a Cluster.
 *
 *     redis://[[user:]password@]host[:port][/db]          rediss:// the same over TLS
 *     unix://[[user:]password@]/path[?db=N]
 *     redis+sentinel://[[user:]password@]host[:port],…/master[/db]     rediss+sentinel://
 *     redis+cluster://[[user:]password@]host[:port],…                  rediss+cluster://
 *
 * Internal to adapters/. Pure.
 */
#pragma once

#include "base/fail.h"
#include "base/str.h"

#include <stdint.h>

enum redis_kind { REDIS_server, REDIS_sentinel, REDIS_cluster };

enum {
    REDIS_HOST_BYTES = 256, /* a DNS name has 253 at most, the path of a socket 107 */
    REDIS_SEEDS = 16,       /* hosts of one URL */
};

struct redis_address {
    char host[REDIS_HOST_BYTES]; /* a name, an IP address, or the path of a unix socket */
    int port;                    /* 0: a unix socket */
};

struct redis_url {
    enum redis_kind kind;
    bool tls;
    struct redis_address seeds[REDIS_SEEDS];
    size_t n_seeds;
    char *user, *password; /* decoded; NULL: none is given */
    char *master;          /* that the Sentinels are asked for */
    uint64_t db;
};

/* FAILED: names what is wrong, never the text of the login. `u` is to be done with either way. */
int redis_url_read(struct redis_url *u, struct str url, struct fail *reterr) MUST_USE;
void redis_url_done(struct redis_url *u);

bool redis_address_eq(const struct redis_address *a, const struct redis_address *b);
/* From a reply: a host of at most REDIS_HOST_BYTES - 1 printable bytes and a port. */
bool redis_address_of(struct redis_address *ret, struct str host, struct str port) MUST_USE;
