#include "adapters/values.h"

#include <errno.h>
#include <stdlib.h>

#include "adapters/redis_link.h"

struct values {
    struct redis_link *link;
    char prefix[LIMIT_NAME];
};

enum { KEY_MAX = LIMIT_NAME + 512, NUMBER_MAX = 24 };

int values_open(struct values **ret, const struct config_adapters *c, unsigned timeout_ms,
                struct fail *reterr)
{
    CLEANUP(values_freep) struct values *v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    struct str ns = c->catalog_namespace.n ? c->catalog_namespace : STR("rootstock");
    (void)snprintf(v->prefix, sizeof(v->prefix), STR_FMT ":v:", STR_ARG(str_head(ns, 200)));
    struct redis_options o = redis_options_of(c, timeout_ms);
    int r = redis_link_open(&v->link, &o, reterr);
    if (r == 0)
        *ret = TAKE(v);
    return r;
}

struct values *values_free(struct values *v)
{
    if (!v)
        return NULL;
    (void)redis_link_free(v->link);
    free(v);
    return NULL;
}

static struct str key_of(const struct values *v, struct str key, char ret[static KEY_MAX])
{
    (void)snprintf(ret, KEY_MAX, "%s%.*s", v->prefix, STR_ARG(str_head(key, 256)));
    return str_of(ret);
}

static struct str seconds(uint64_t ttl_s, char ret[static NUMBER_MAX])
{
    (void)snprintf(ret, NUMBER_MAX, "%llu", (unsigned long long)(ttl_s ? ttl_s : 1));
    return str_of(ret);
}

static int refused(const redisReply *reply, struct fail *reterr)
{
    return fail_set(reterr, FAIL_catalog_unavailable, "Redis refused to keep a value: %.200s",
                    reply->str ? reply->str : "its answer is of another type");
}

/* A command on a key, and its time to live anew. *ret: the command's reply, no error. */
static int call(struct values *v, const struct redis_command *command, uint64_t ttl_s,
                redisReply **ret, struct fail *reterr)
{
    char number[NUMBER_MAX];
    const struct str expire[] = { STR("EXPIRE"), command->key, seconds(ttl_s, number) };
    const struct redis_command both[] = { *command, { expire, ARRAY_LEN(expire), command->key } };
    redisReply *replies[ARRAY_LEN(both)] = { NULL };
    int r = redis_call_many(v->link, both, ARRAY_LEN(both), replies, reterr);
    if (r == 0 && replies[0]->type == REDIS_REPLY_ERROR)
        r = refused(replies[0], reterr);
    redis_reply_free(&replies[1]);
    if (r == 0)
        *ret = TAKE(replies[0]);
    redis_reply_free(&replies[0]);
    return r;
}

int values_get(struct values *v, struct str key, uint64_t ttl_s, struct buf *ret,
               struct fail *reterr)
{
    char name[KEY_MAX];
    struct str k = key_of(v, key, name);
    const struct str get[] = { STR("GET"), k };
    const struct redis_command command = { get, ARRAY_LEN(get), k };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = call(v, &command, ttl_s, &reply, reterr);
    if (r != 0)
        return r;
    if (reply->type == REDIS_REPLY_NIL)
        return -ENOENT;
    if (reply->type != REDIS_REPLY_STRING)
        return refused(reply, reterr);
    buf_add(ret, (struct str){ reply->str, reply->len });
    return buf_err(ret);
}

int values_set(struct values *v, struct str key, struct str value, uint64_t ttl_s,
               struct fail *reterr)
{
    char name[KEY_MAX], number[NUMBER_MAX];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    return REDIS_CALL(v->link, &reply, reterr, STR("SET"), key_of(v, key, name), value, STR("EX"),
                      seconds(ttl_s, number));
}

int values_append(struct values *v, struct str key, struct str text, uint64_t ttl_s,
                  struct fail *reterr)
{
    char name[KEY_MAX];
    struct str k = key_of(v, key, name);
    const struct str append[] = { STR("APPEND"), k, text };
    const struct redis_command command = { append, ARRAY_LEN(append), k };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    return call(v, &command, ttl_s, &reply, reterr);
}

int values_remove(struct values *v, struct str key, struct fail *reterr)
{
    char name[KEY_MAX];
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = REDIS_CALL(v->link, &reply, reterr, STR("DEL"), key_of(v, key, name));
    if (r != 0)
        return r;
    return reply->type == REDIS_REPLY_INTEGER && reply->integer > 0 ? 0 : -ENOENT;
}
