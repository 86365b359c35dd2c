/*
 * A link to Redis: one server, the master that Sentinels name, or a Cluster. Its connections are
 * opened on demand and again after a failure, with jittered back-off.
 *
 * Internal to adapters/. Any thread; calls take turns. A reply is owned by the caller
 * (redis_reply_free). Everything Redis says is checked: a reply of an unexpected type is an error,
 * never a crash. The password is never logged.
 *
 * In a Cluster the keys of one command or script must lie in one slot: give them one hash tag, as
 * in "ev:{s03}". A command that Redis did not carry out because a slot or the master has moved is
 * sent again to where it is now; one whose connection broke is not, it may have been carried out.
 */
#pragma once

#include "adapters/adapters.h"

#include <hiredis/hiredis.h>

struct redis_link;

/* Reads the URL (adapters/redis_url.h), connects later. FAILED: it is not understood. */
int redis_link_new(struct redis_link **ret, struct str url, unsigned timeout_ms,
                   struct fail *reterr) MUST_USE;

/* The same with the login and the certificates of the configuration; all views are copied. */
struct redis_options {
    struct str url;
    unsigned timeout_ms; /* without progress of an answer; beyond the BLOCK of a blocking call */
    struct str user;     /* empty: that of the URL */
    struct str password_env;  /* variable that holds the password; empty: that of the URL */
    struct str password_file; /* its first line, read at each connection; empty: none */
    struct str tls_ca;        /* PEM file that the server must be signed by; empty: the system's */
    struct str tls_cert, tls_key; /* PEM files of the client; both or none */
    bool tls_insecure;            /* accept any certificate and any name */
};

struct redis_options redis_options_of(const struct config_adapters *c, unsigned timeout_ms);
int redis_link_open(struct redis_link **ret, const struct redis_options *o,
                    struct fail *reterr) MUST_USE;
struct redis_link *redis_link_free(struct redis_link *l); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct redis_link *, redis_link_free);

void redis_reply_free(redisReply **r); /* CLEANUP(redis_reply_free); NULL inside is fine */

/*
 * One command. 0: *ret is a reply that is no error. FAILED: catalog_unavailable when Redis does not
 * answer; for an error reply the failure named by its text. Negative errno.
 */
int redis_call(struct redis_link *l, const struct str *argv, size_t n, redisReply **ret,
               struct fail *reterr) MUST_USE;
#define REDIS_CALL(l, ret, reterr, ...)                                                            \
    redis_call(l, (const struct str[]){ __VA_ARGS__ },                                             \
               sizeof((const struct str[]){ __VA_ARGS__ }) / sizeof(struct str), ret, reterr)

/*
 * The same for the node that `key` lies on. redis_call itself finds the key of the commands that
 * have it first, of XREAD (after STREAMS), and of EVAL; a command without one goes to any node.
 */
int redis_call_key(struct redis_link *l, struct str key, const struct str *argv, size_t n,
                   redisReply **ret, struct fail *reterr) MUST_USE;

struct redis_command {
    const struct str *argv;
    size_t n;
    struct str key; /* that it is routed by; empty: as redis_call does */
};
/* Many commands, in one round trip a node. ret[i] may be an error reply; all are NULL after a
 * failure. Commands of one key are carried out in their order. */
int redis_call_many(struct redis_link *l, const struct redis_command *commands, size_t n,
                    redisReply **ret, struct fail *reterr) MUST_USE;

struct redis_script {
    const char *text;
    size_t n_keys;
};
enum { REDIS_SCRIPT_ARGS = 40 }; /* keys and arguments of one call, at most */
/* Runs the script by its digest, or by its text where Redis does not have it. `argv`: keys, then
 * arguments; it runs on the node of the first key. 0: *ret may be an error reply. */
int redis_run(struct redis_link *l, const struct redis_script *s, const struct str *argv, size_t n,
              redisReply **ret, struct fail *reterr) MUST_USE;
/* Many runs of one script, in one round trip a node; ret[i] may be an error reply. */
int redis_run_many(struct redis_link *l, const struct redis_script *s, const struct str *argv,
                   size_t n_each, size_t n_runs, redisReply **ret, struct fail *reterr) MUST_USE;

/*
 * New entries of many streams, on any topology, with one wait: one XREAD where the keys may be in
 * one command; in a Cluster one a slot, each on a connection of its own that stays in its wait
 * between calls. `ids`: last seen, "0" for all. 0: ret[i] is the array of new entries of stream i
 * (each an array of id and fields, not checked further), NULL where there is none; all are NULL
 * after block_ms without any. At most REDIS_STREAMS keys. The ids may change between calls, the
 * keys may too. FAILED: as redis_call.
 */
enum { REDIS_STREAMS = 64 };
int redis_read_streams(struct redis_link *l, const struct str *keys, const struct str *ids,
                       size_t n, unsigned block_ms, unsigned count, redisReply **ret,
                       struct fail *reterr) MUST_USE;

/* ---- where keys are ---- */

/* One command may name both keys: always, but in a Cluster only when they share their slot. */
bool redis_same_slot(struct redis_link *l, struct str a, struct str b);
/* One connection reaches both: in a Cluster by what is known of it; asks it when nothing is. */
bool redis_same_node(struct redis_link *l, struct str a, struct str b);
/* Changes with every new master and every move of a slot that is noticed. */
uint64_t redis_link_generation(struct redis_link *l);

/*
 * The same commands (REDIS_ASK_EACH at most) to every master: all of a Cluster, else the one there
 * is. `each` gets where that is and the replies (any may be an error reply; borrowed), and ends the
 * round by returning other than 0.
 */
enum { REDIS_ASK_EACH = 8 };
typedef int redis_each(void *ctx, const char *host, int port, redisReply *const *replies,
                       struct fail *reterr);
int redis_ask_each(struct redis_link *l, const struct redis_command *commands, size_t n,
                   redis_each *each, void *ctx, struct fail *reterr) MUST_USE;

/*
 * What the server (each master of a Cluster) must be set to, to hold a catalog: sentences that name
 * the line to type, in ret (cleared first), one a line; nothing when all is well. A setting that
 * the user may not read is said so. FAILED: as redis_call.
 */
int redis_check_server(struct redis_link *l, struct buf *ret, struct fail *reterr) MUST_USE;

/* The reply is of this type (REDIS_REPLY_…), else FAILED. */
int redis_check(const redisReply *r, int type, struct fail *reterr) MUST_USE;
struct str redis_text(const redisReply *r); /* of a string or status; else the empty view */

/* FAILED with what an error reply means and what to do about it; 0 for any other. */
int redis_error(const redisReply *r, struct fail *reterr) MUST_USE;

bool redis_link_up(struct redis_link *l); /* the last call was answered */
/* Makes a blocked call, and all later ones, fail. Any thread. */
void redis_link_interrupt(struct redis_link *l);
