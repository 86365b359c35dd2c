/*
 * One connection to Redis, opened on demand and again after a failure, with jittered back-off.
 *
 * Internal to adapters/. Any thread; calls take turns. A reply is owned by the caller
 * (redis_reply_free). Everything Redis says is checked: a reply of an unexpected type is an error,
 * never a crash. The password of the URL is never logged.
 */
#pragma once

#include "adapters/adapters.h"

#include <hiredis/hiredis.h>

struct redis_link;

/* Reads the URL, connects later. FAILED: the URL is not understood, or TLS is asked for. */
int redis_link_new(struct redis_link **ret, struct str url, unsigned timeout_ms,
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

struct redis_script {
    const char *text;
    size_t n_keys;
};
enum { REDIS_SCRIPT_ARGS = 40 }; /* keys and arguments of one call, at most */
/* Runs the script by its digest, or by its text where Redis does not have it. `argv`: keys, then
 * arguments. 0: *ret may be an error reply. */
int redis_run(struct redis_link *l, const struct redis_script *s, const struct str *argv, size_t n,
              redisReply **ret, struct fail *reterr) MUST_USE;
/* Many runs of one script in one round trip; ret[i] may be an error reply. */
int redis_run_many(struct redis_link *l, const struct redis_script *s, const struct str *argv,
                   size_t n_each, size_t n_runs, redisReply **ret, struct fail *reterr) MUST_USE;

/* The reply is of this type (REDIS_REPLY_…), else FAILED. */
int redis_check(const redisReply *r, int type, struct fail *reterr) MUST_USE;
struct str redis_text(const redisReply *r); /* of a string or status; else the empty view */

bool redis_link_up(struct redis_link *l); /* the last call was answered */
void redis_link_interrupt(
    struct redis_link *l); /* makes a blocked call, and all later ones, fail */
