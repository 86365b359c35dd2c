/*
 * One server as a link sees it: its address, the connection that is opened on demand and greeted
 * with the login, and the back-off after a failure.
 *
 * Internal to adapters/. In a turn of the link that owns it.
 */
#pragma once

#include "adapters/redis_link.h"
#include "adapters/redis_wire.h"

/* Who we are and how we call, the same for every server of a link. */
struct redis_login {
    struct redis_url url;
    char *user, *password_env, *password_file; /* owned; NULL: not set */
    char *ca, *cert, *key;                     /* owned, of tls */
    struct redis_tls tls;
    unsigned timeout_ms;
    int wake_fd; /* readable once the link is interrupted */
};

/* FAILED: the URL or a file of `o` is not understood. `l` is to be done with either way. */
int redis_login_init(struct redis_login *l, const struct redis_options *o,
                     struct fail *reterr) MUST_USE;
void redis_login_done(struct redis_login *l);

enum redis_duty {
    REDIS_any,      /* what the URL names */
    REDIS_master,   /* must say that it is one */
    REDIS_informer, /* a Sentinel: its login is only given when it asks */
};

struct redis_node {
    struct redis_address address; /* host empty: this place is free */
    struct redis_wire *wire;      /* NULL: not connected */
    unsigned backoff_ms;
    uint64_t retry_ms; /* monotonic: no attempt before it */
    struct fail why;   /* of the last failure */
    bool listed;       /* by the URL, or by the last answer about the topology */
};

/* The wire is there and greeted when it returns 0. FAILED: the reason, an older one while the next
 * attempt is put off. */
int redis_node_connect(struct redis_node *n, const struct redis_login *l, enum redis_duty duty,
                       struct fail *reterr) MUST_USE;
/* Sends what was added to the wire and reads the replies; hangs up when that fails. */
int redis_node_talk(struct redis_node *n, const struct redis_login *l, redisReply **ret,
                    size_t n_replies, struct fail *reterr) MUST_USE;
void redis_node_hang_up(struct redis_node *n);
void redis_node_move(struct redis_node *n, const struct redis_address *to); /* hangs up first */
bool redis_node_waits(const struct redis_node *n); /* an attempt would be put off */
/* A time that differs from caller to caller: half of ms to ms. */
unsigned redis_jitter(unsigned ms);
