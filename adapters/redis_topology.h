/*
 * The servers of a link and what lies where: one server, the master that Sentinels name, or the
 * slots of a Cluster (https://redis.io/docs/reference/cluster-spec/ and sentinel-clients/).
 *
 * Internal to adapters/. In a turn of the link; the generation may be read by any thread.
 */
#pragma once

#include "adapters/redis_node.h"

#include <stdatomic.h>

enum { REDIS_CLUSTER_SLOTS = 16384 };

struct redis_topology {
    struct redis_login login;
    /* Servers; their places do not move. Without a Cluster there is one. */
    struct redis_node **nodes;
    size_t n_nodes;
    uint16_t *slots; /* of a Cluster: place of the node that serves each, or NO_NODE */
    struct redis_node sentinels[REDIS_SEEDS];
    size_t first_sentinel; /* that answered last */
    bool known;            /* the topology was asked for, and nothing speaks against it */
    uint64_t asked_ms;     /* when it was asked for last */
    _Atomic uint64_t generation;
};

int redis_topology_init(struct redis_topology *t, const struct redis_options *o,
                        struct fail *reterr) MUST_USE;
void redis_topology_done(struct redis_topology *t);

/* CRC16 of the key, or of what is between its first '{' and the next '}', modulo the slots. */
unsigned redis_slot(struct str key);

/* The key that a command is about, by its verb; empty: none, any node will do. */
struct str redis_key_of(const struct str *argv, size_t n);

/* The server that holds `key` (empty: any), asked for when it is not known. Not connected yet.
 * FAILED: nobody could be asked, or no server has its slot. */
int redis_topology_route(struct redis_topology *t, struct str key, struct redis_node **ret,
                         struct fail *reterr) MUST_USE;
/* The servers that are written to: of a Cluster all that have slots. */
int redis_topology_masters(struct redis_topology *t,
                           struct redis_node *ret[static LIMIT_REDIS_NODES], size_t *ret_n,
                           struct fail *reterr) MUST_USE;
/* Connects to a routed node as this topology demands. A failure makes the topology doubtful. */
int redis_topology_connect(struct redis_topology *t, struct redis_node *n,
                           struct fail *reterr) MUST_USE;
/* What is known may be wrong: it is asked for before the next route. */
void redis_topology_doubt(struct redis_topology *t);

/* What a reply to a command says of where its keys are. */
enum redis_verdict {
    REDIS_final,  /* an answer, or an error that no other server would mend */
    REDIS_moved,  /* learnt: route again */
    REDIS_asked,  /* this once at *ret_node, after ASKING */
    REDIS_settle, /* in a moment, when the servers have settled; route again */
};
enum redis_verdict redis_topology_judge(struct redis_topology *t, const struct redis_node *from,
                                        const redisReply *reply, struct redis_node **ret_node);
