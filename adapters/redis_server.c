/* What Redis says of itself: whether it is fit to hold a catalog, and what its errors mean. */
#include "adapters/redis_link.h"

#include "base/num.h"

/* Settings that hold a bucket of heads as one compact list: entries of a hash, bytes of a value. */
#define HASH_ENTRIES 128
#define HASH_VALUE_BYTES 192
#define ADVICE_MAX (4 * KIB) /* bytes about one server */
#define OLDEST_MAJOR 5       /* the first version that has streams */

/* ---- error replies ---- */

struct meaning {
    const char *word; /* that the reply starts with */
    const char *text; /* NULL: the reply's own is clear */
    unsigned retry_after_s;
};

static const struct meaning meanings[] = {
    { "LOADING", "it is still loading its data; try again", 1 },
    { "READONLY",
      "the server is a replica that may not be written to; name the master, or the Sentinels with "
      "redis+sentinel://",
      1 },
    { "NOSCRIPT", "a script was forgotten while it was called; try again", 1 },
    { "OOM", "it is out of memory: raise maxmemory", 10 },
    { "NOAUTH", "it asks for a password: set one in adapters.catalog", 10 },
    { "WRONGPASS", "the user or the password of adapters.catalog is wrong", 10 },
    { "BUSY", "a script blocks it: wait, or type SCRIPT KILL", 1 },
    { "MOVED", "the server is part of a Cluster: write redis+cluster://", 10 },
    { "CROSSSLOT", NULL, 1 },
    { "CLUSTERDOWN", "the Cluster does not serve all slots now", 1 },
    { "TRYAGAIN", "a slot of the Cluster is being moved; try again", 1 },
    { "MASTERDOWN", "the replica has lost its master; try again", 1 },
    { "NOREPLICAS", "too few replicas are connected for a write (min-replicas-to-write)", 1 },
    { "MISCONF", "it cannot save to its disk and refuses writes: see its log", 10 },
    { "NOPERM", NULL, 10 },
    { "WRONGTYPE", NULL, 1 },
};

static const struct meaning *meaning_of(struct str text)
{
    for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
        struct str word = str_of(meanings[i].word);
        if (str_starts(text, word) && (text.n == word.n || text.p[word.n] == ' '))
            return &meanings[i];
    }
    return NULL;
}

int redis_error(const redisReply *r, struct fail *reterr)
{
    if (!r || r->type != REDIS_REPLY_ERROR)
        return 0;
    struct str text = redis_text(r);
    const struct meaning *m = meaning_of(text);
    if (m && m->text)
        (void)fail_set(reterr, FAIL_catalog_unavailable, "the adapter catalog in Redis: %s: %s",
                       m->word, m->text);
    else
        (void)fail_set(reterr, FAIL_catalog_unavailable, "the adapter catalog in Redis: %.240s",
                       text.p ? text.p : "");
    if (reterr)
        reterr->retry_after_s = m ? m->retry_after_s : 1;
    return FAILED;
}

/* ---- the start-up check ---- */

/* The value of "name:value\r\n" in a text of INFO; empty when it is not there. */
static struct str info_of(struct str info, const char *name)
{
    struct str line, rest = info, key, value;
    while (rest.n > 0) {
        line = rest;
        if (!str_cut(rest, '\n', &line, &rest))
            rest = STR("");
        if (str_cut(line, ':', &key, &value) && str_is(key, name))
            return str_trim(value);
    }
    return STR("");
}

/* The value of a setting in a reply to CONFIG GET; p is NULL when it is not there. */
static struct str setting_of(const redisReply *r, const char *name)
{
    for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
        if (str_is(redis_text(r->element[i]), name))
            return r->element[i + 1]->type == REDIS_REPLY_STRING ? redis_text(r->element[i + 1])
                                                                 : STR_NULL;
    return STR_NULL;
}

static void check_version(struct str info, struct buf *ret)
{
    struct str version = info_of(info, "redis_version"), major = version, rest;
    uint64_t n = 0;
    (void)str_cut(version, '.', &major, &rest);
    if (num_parse_u64(&n, major, 0, 1000) == 0 && n < OLDEST_MAJOR)
        buf_addf(ret, "Redis %.*s has no streams: install version %d or later\n", STR_ARG(version),
                 OLDEST_MAJOR);
}

static void check_memory(struct str info, struct buf *ret)
{
    struct str policy = info_of(info, "maxmemory_policy");
    if (policy.n && !str_is(policy, "noeviction"))
        buf_addf(ret,
                 "Redis may drop keys of the catalog when memory is short (maxmemory-policy is "
                 "%.*s): CONFIG SET maxmemory-policy noeviction\n",
                 STR_ARG(policy));
}

static void check_hash(const redisReply *config, const char *what, uint64_t least, struct buf *ret)
{
    char name[64];
    uint64_t n = 0;
    (void)snprintf(name, sizeof(name), "hash-max-listpack-%s", what);
    struct str value = setting_of(config, name);
    if (!value.p) { /* before version 7 */
        (void)snprintf(name, sizeof(name), "hash-max-ziplist-%s", what);
        value = setting_of(config, name);
    }
    if (value.p && num_parse_u64(&n, value, 0, UINT64_MAX) == 0 && n < least)
        buf_addf(ret,
                 "the catalog would take several times its memory (%s is %llu): CONFIG SET %s "
                 "%llu\n",
                 name, (unsigned long long)n, name, (unsigned long long)least);
}

enum { ASK_info, ASK_hash, ASK_save, ASK_N };

static void check_settings(redisReply *const *replies, struct buf *ret)
{
    const redisReply *hash = replies[ASK_hash], *save = replies[ASK_save];
    if (hash->type == REDIS_REPLY_ERROR || save->type == REDIS_REPLY_ERROR) {
        buf_addf(ret,
                 "CONFIG is refused (%.60s), so these were not checked: hash-max-listpack-entries "
                 "at least %d, hash-max-listpack-value at least %d, appendonly or save\n",
                 hash->type == REDIS_REPLY_ERROR ? hash->str : save->str, HASH_ENTRIES,
                 HASH_VALUE_BYTES);
        return;
    }
    check_hash(hash, "entries", HASH_ENTRIES, ret);
    check_hash(hash, "value", HASH_VALUE_BYTES, ret);
    struct str times = setting_of(save, "save");
    if (!str_is(info_of(redis_text(replies[ASK_info]), "aof_enabled"), "1") && times.p &&
        times.n == 0)
        buf_adds(ret, "the catalog is lost when Redis ends (appendonly is no, save is empty): "
                      "CONFIG SET appendonly yes\n");
}

static int check_one(void *ctx, const char *host, int port, redisReply *const *replies,
                     struct fail *reterr)
{
    struct buf *ret = ctx;
    CLEANUP(buf_done) struct buf found = BUF_INIT(ADVICE_MAX);
    int r = redis_check(replies[ASK_info], REDIS_REPLY_STRING, reterr);
    if (r != 0)
        return r;
    check_version(redis_text(replies[ASK_info]), &found);
    check_memory(redis_text(replies[ASK_info]), &found);
    check_settings(replies, &found);
    for (struct str rest = buf_str(&found), line; str_cut(rest, '\n', &line, &rest);) {
        buf_addf(ret, "%s", host);
        if (port)
            buf_addf(ret, ":%d", port);
        buf_addf(ret, ": %.*s\n", STR_ARG(line));
    }
    return buf_err(&found);
}

int redis_check_server(struct redis_link *l, struct buf *ret, struct fail *reterr)
{
    static const struct str info[] = { { "INFO", 4 } };
    static const struct str hash[] = { { "CONFIG", 6 }, { "GET", 3 }, { "hash-max-*", 10 } };
    static const struct str save[] = { { "CONFIG", 6 }, { "GET", 3 }, { "save", 4 } };
    const struct redis_command ask[ASK_N] = {
        [ASK_info] = { info, ARRAY_LEN(info), STR("") },
        [ASK_hash] = { hash, ARRAY_LEN(hash), STR("") },
        [ASK_save] = { save, ARRAY_LEN(save), STR("") },
    };
    buf_clear(ret);
    int r = redis_ask_each(l, ask, ASK_N, check_one, ret, reterr);
    return r != 0 ? r : buf_err(ret);
}
