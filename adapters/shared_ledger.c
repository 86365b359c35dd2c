#include "adapters/shared_ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "adapters/redis_link.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/thread.h"

#define TTL_MS "15000" /* of a hold that nobody renews */
enum {
    RENEW_MS = 3000,
    REDIS_TIMEOUT_MS = 2000,
    KEY_MAX = LIMIT_NAME + 64,
    NAME_MAX = 256,
    ID_BYTES = 8,
    TAG_HEX = 16,
    RENEW_EACH = 16, /* names of one script */
    N_KEYS = 2,
};

struct held { /* by us, of an endpoint */
    struct held *next;
    char names[KEY_MAX], holds[KEY_MAX], name[NAME_MAX];
};

struct shared_ledger {
    struct redis_link *link;
    char prefix[LIMIT_NAME];
    char id[2 * ID_BYTES + 1];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct held *held;
    bool stopping, has_thread;
    pthread_t thread;
};

/* All keys idle for so long are of an engine that is gone. */
#define FORGET_S "2592000"

/* Every script: `now`; KEYS 1 names, 2 holds; ARGV 1 the gateway, 2 how long a hold lives. */
#define PRELUDE                                                                                    \
    "local t = redis.call('TIME')\n"                                                               \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"                                          \
    "local function ms(n) return string.format('%.0f', n) end\n"                                   \
    "local function hold(name)\n"                                                                  \
    "  redis.call('HSET', KEYS[2], name .. '\\n' .. ARGV[1], ms(now + ARGV[2]))\n"                 \
    "  redis.call('EXPIRE', KEYS[1], " FORGET_S ")\n"                                              \
    "  redis.call('EXPIRE', KEYS[2], " FORGET_S ")\n"                                              \
    "end\n"

/* ARGV 3 name, 4 max_loaded, 5 max_held. Reply: word, victim. */
static const struct redis_script script_hold = {
    PRELUDE
    "local name = ARGV[3]\n"
    "local held, n_held, at, all = {}, 0, {}, 0\n"
    "local rows = redis.call('HGETALL', KEYS[2])\n"
    "for i = 1, #rows, 2 do\n"
    "  local of = string.match(rows[i], '^(.*)\\n')\n"
    "  if not of or (tonumber(rows[i + 1]) or 0) <= now then redis.call('HDEL', KEYS[2], rows[i])\n"
    "  elseif not held[of] then held[of] = true; n_held = n_held + 1 end\n"
    "end\n"
    "rows = redis.call('HGETALL', KEYS[1])\n"
    "for i = 1, #rows, 2 do at[rows[i]] = rows[i + 1] end\n"
    /* What is being unloaded counts as long as the one who unloads it is at it. */
    "for n, v in pairs(at) do\n"
    "  if string.sub(v, 1, 2) ~= 'v:' then all = all + 1\n"
    "  else\n"
    "    local by = string.sub(v, 3)\n"
    "    if not (at[by] and string.sub(at[by], 1, 2) == 'p:' and held[by]) then\n"
    "      redis.call('HDEL', KEYS[1], n); at[n] = nil\n"
    "    end\n"
    "  end\n"
    "end\n"
    "local is = at[name] and string.sub(at[name], 1, 2)\n"
    "if is == 'v:' or (is == 'p:' and held[name]) then return {'wait', ''} end\n"
    "if not held[name] and n_held >= tonumber(ARGV[5]) then return {'wait', ''} end\n"
    "if is == 'l:' then\n"
    "  redis.call('HSET', KEYS[1], name, 'l:' .. ms(now)); hold(name)\n"
    "  return {'ready', ''}\n"
    "end\n"
    "local victim = ''\n"
    /* One whose loader is gone is neither here nor there: it is loaded again in its own place. */
    "if not is and all >= tonumber(ARGV[4]) then\n"
    "  local oldest\n"
    "  for n, v in pairs(at) do\n"
    "    local used = tonumber(string.sub(v, 3)) or 0\n"
    "    if string.sub(v, 1, 2) ~= 'v:' and not held[n] and\n"
    "       (not oldest or used < oldest or (used == oldest and n < victim)) then\n"
    "      oldest = used; victim = n\n"
    "    end\n"
    "  end\n"
    "  if not oldest or all > tonumber(ARGV[4]) + 4096 then return {'wait', ''} end\n"
    "  redis.call('HSET', KEYS[1], victim, 'v:' .. name)\n"
    "end\n"
    "redis.call('HSET', KEYS[1], name, 'p:' .. ms(now)); hold(name)\n"
    "return {'load', victim}\n",
    N_KEYS
};

/* ARGV 3 name, 4 "1": it is loaded. What went for it is gone. */
static const struct redis_script script_settle = {
    PRELUDE "local name = ARGV[3]\n"
            "local rows = redis.call('HGETALL', KEYS[1])\n"
            "for i = 1, #rows, 2 do\n"
            "  if rows[i + 1] == 'v:' .. name then redis.call('HDEL', KEYS[1], rows[i]) end\n"
            "end\n"
            "if ARGV[4] == '1' then\n"
            "  redis.call('HSET', KEYS[1], name, 'l:' .. ms(now)); hold(name)\n"
            "else\n"
            "  redis.call('HDEL', KEYS[1], name)\n"
            "  redis.call('HDEL', KEYS[2], name .. '\\n' .. ARGV[1])\n"
            "end\n"
            "return 1\n",
    N_KEYS
};

/* ARGV 3 name. */
static const struct redis_script script_drop = {
    PRELUDE "local name = ARGV[3]\n"
            "redis.call('HDEL', KEYS[2], name .. '\\n' .. ARGV[1])\n"
            "local v = redis.call('HGET', KEYS[1], name)\n"
            "if v and string.sub(v, 1, 2) == 'l:' then\n"
            "  redis.call('HSET', KEYS[1], name, 'l:' .. ms(now))\n"
            "end\n"
            "return 1\n",
    N_KEYS
};

/* ARGV 3 name, 4 "1": it was found there, else it was found not to be there. What somebody loads
 * now is not touched. */
static const struct redis_script script_correct = {
    PRELUDE "local v = redis.call('HGET', KEYS[1], ARGV[3])\n"
            "if ARGV[4] == '1' then redis.call('HSETNX', KEYS[1], ARGV[3], 'l:' .. ms(now))\n"
            "elseif v and string.sub(v, 1, 2) == 'l:' then redis.call('HDEL', KEYS[1], ARGV[3])\n"
            "end\n"
            "return 1\n",
    N_KEYS
};

/* ARGV 3 …: names that we hold. */
static const struct redis_script script_renew = {
    PRELUDE "for i = 3, #ARGV do\n"
            "  redis.call('HSETNX', KEYS[1], ARGV[i], 'l:' .. ms(now)); hold(ARGV[i])\n"
            "end\n"
            "return 1\n",
    N_KEYS
};

/* ---- what we hold ---- */

struct keys {
    char names[KEY_MAX], holds[KEY_MAX];
};

static void keys_of(const struct shared_ledger *l, const char *endpoint, struct keys *ret)
{
    char hex[SHA256_HEX + 1];
    struct sha256 d = sha256_of(str_of(endpoint));
    sha256_hex(hex, &d);
    (void)snprintf(ret->names, KEY_MAX, "%s:lg:{%.*s}:n", l->prefix, (int)TAG_HEX, hex);
    (void)snprintf(ret->holds, KEY_MAX, "%s:lg:{%.*s}:h", l->prefix, (int)TAG_HEX, hex);
}

static struct held **held_at(struct shared_ledger *l, const struct keys *k, const char *name)
{
    struct held **at = &l->held;
    while (*at && (strcmp((*at)->names, k->names) != 0 || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

static int note_held(struct shared_ledger *l, const struct keys *k, const char *name)
{
    LOCKED(&l->lock);
    if (*held_at(l, k, name))
        return 0;
    struct held *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    memcpy(h->names, k->names, sizeof(h->names));
    memcpy(h->holds, k->holds, sizeof(h->holds));
    (void)snprintf(h->name, sizeof(h->name), "%s", name);
    h->next = l->held;
    l->held = h;
    return 0;
}

static void note_dropped(struct shared_ledger *l, const struct keys *k, const char *name)
{
    LOCKED(&l->lock);
    struct held **at = held_at(l, k, name), *h = *at;
    if (h)
        *at = h->next;
    free(h);
}

/* ---- calls ---- */

static int run(struct shared_ledger *l, const struct redis_script *s, const struct str *argv,
               size_t n, redisReply **ret, struct fail *reterr)
{
    redisReply *reply = NULL;
    int r = redis_run(l->link, s, argv, n, &reply, reterr);
    if (r == 0)
        r = redis_error(reply, reterr);
    if (r == 0 && ret)
        *ret = TAKE(reply);
    redis_reply_free(&reply);
    return r;
}

static int say(struct shared_ledger *l, const struct redis_script *s,
               const struct shared_slot *slot, const char *flag, struct fail *reterr)
{
    struct keys k;
    keys_of(l, slot->endpoint, &k);
    const struct str argv[] = { str_of(k.names), str_of(k.holds),    str_of(l->id),
                                STR(TTL_MS),     str_of(slot->name), str_of(flag) };
    return run(l, s, argv, ARRAY_LEN(argv), NULL, reterr);
}

static int read_word(const redisReply *reply, enum shared_word *ret, char *victim, size_t size,
                     struct fail *reterr)
{
    static const struct {
        const char *text;
        enum shared_word word;
    } words[] = { { "ready", SHARED_ready }, { "load", SHARED_load }, { "wait", SHARED_wait } };
    int r = redis_check(reply, REDIS_REPLY_ARRAY, reterr);
    if (r != 0)
        return r;
    for (size_t i = 0; reply->elements == 2 && i < ARRAY_LEN(words); i++) {
        struct str name = redis_text(reply->element[1]);
        if (!str_is(redis_text(reply->element[0]), words[i].text) || name.n >= size)
            continue;
        *ret = words[i].word;
        if (name.n)
            memcpy(victim, name.p, name.n);
        victim[name.n] = '\0';
        return 0;
    }
    return fail_set(reterr, FAIL_catalog_unavailable,
                    "Redis gave an answer about loaded adapters that is not understood");
}

int shared_ledger_hold(struct shared_ledger *l, const struct shared_slot *slot,
                       enum shared_word *ret, char *victim, size_t victim_size, struct fail *reterr)
{
    struct keys k;
    char loaded[24], held[24];
    if (strlen(slot->name) >= NAME_MAX)
        return -ENAMETOOLONG;
    keys_of(l, slot->endpoint, &k);
    (void)snprintf(loaded, sizeof(loaded), "%llu", (unsigned long long)slot->max_loaded);
    (void)snprintf(held, sizeof(held), "%llu", (unsigned long long)slot->max_held);
    const struct str argv[] = { str_of(k.names),    str_of(k.holds), str_of(l->id), STR(TTL_MS),
                                str_of(slot->name), str_of(loaded),  str_of(held) };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = run(l, &script_hold, argv, ARRAY_LEN(argv), &reply, reterr);
    if (r == 0)
        r = read_word(reply, ret, victim, victim_size, reterr);
    return r == 0 && *ret != SHARED_wait ? note_held(l, &k, slot->name) : r;
}

int shared_ledger_settle(struct shared_ledger *l, const struct shared_slot *slot, bool loaded,
                         struct fail *reterr)
{
    struct keys k;
    keys_of(l, slot->endpoint, &k);
    if (!loaded)
        note_dropped(l, &k, slot->name);
    return say(l, &script_settle, slot, loaded ? "1" : "0", reterr);
}

int shared_ledger_drop(struct shared_ledger *l, const struct shared_slot *slot, struct fail *reterr)
{
    struct keys k;
    keys_of(l, slot->endpoint, &k);
    note_dropped(l, &k, slot->name);
    return say(l, &script_drop, slot, "", reterr);
}

int shared_ledger_correct(struct shared_ledger *l, const struct shared_slot *slot, bool loaded,
                          struct fail *reterr)
{
    return say(l, &script_correct, slot, loaded ? "1" : "0", reterr);
}

/* ---- renewing ---- */

/* Copies the next of what we hold: some names of one endpoint. How many. `seen`: those before. */
static size_t next_names(struct shared_ledger *l, size_t *seen, struct held *ret)
{
    size_t n = 0, i = 0;
    LOCKED(&l->lock);
    for (const struct held *h = l->held; h && n < RENEW_EACH; h = h->next, i++) {
        if (i < *seen)
            continue;
        if (n && strcmp(h->names, ret[0].names) != 0)
            break;
        ret[n++] = *h;
    }
    *seen += n;
    return n;
}

static void renew(struct shared_ledger *l)
{
    static struct log_rate rate;
    struct held some[RENEW_EACH];
    struct fail why;
    for (size_t seen = 0, n; (n = next_names(l, &seen, some)) > 0;) {
        struct str argv[N_KEYS + 2 + RENEW_EACH] = { str_of(some[0].names), str_of(some[0].holds),
                                                     str_of(l->id), STR(TTL_MS) };
        for (size_t i = 0; i < n; i++)
            argv[N_KEYS + 2 + i] = str_of(some[i].name);
        if (run(l, &script_renew, argv, N_KEYS + 2 + n, NULL, &why) != 0) {
            log_rated(&rate, LOG_warn, "upstream_adapter",
                      "why=\"the ledger was not told that we live\"");
            return;
        }
    }
}

static void *renewer_main(void *arg)
{
    struct shared_ledger *l = arg;
    for (;;) {
        {
            LOCKED(&l->lock);
            uint64_t until = clock_ms() + RENEW_MS;
            while (!l->stopping && clock_ms() < until)
                (void)thread_cond_wait_until(&l->wake, &l->lock, until);
            if (l->stopping)
                return NULL;
        }
        renew(l);
    }
}

/* ---- life ---- */

static int draw_id(struct shared_ledger *l)
{
    unsigned char bytes[ID_BYTES];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < ID_BYTES; i++)
        (void)snprintf(l->id + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

int shared_ledger_open(struct shared_ledger **ret, const struct config_adapters *c,
                       struct fail *reterr)
{
    struct shared_ledger *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    (void)pthread_mutex_init(&l->lock, /* attr= */ NULL);
    struct str ns = c->catalog_namespace.n ? c->catalog_namespace : STR("rootstock");
    (void)snprintf(l->prefix, sizeof(l->prefix), STR_FMT, STR_ARG(str_head(ns, 200)));
    struct redis_options o = redis_options_of(c, REDIS_TIMEOUT_MS);
    int r = thread_cond_init(&l->wake);
    if (r == 0)
        r = draw_id(l);
    if (r == 0)
        r = redis_link_open(&l->link, &o, reterr);
    if (r == 0)
        r = thread_start(&l->thread, THREAD_catalog, renewer_main, l);
    l->has_thread = r == 0;
    if (r == 0)
        *ret = l;
    else
        (void)shared_ledger_free(l);
    return r;
}

static void give_back(struct shared_ledger *l, const struct held *h)
{
    struct fail why;
    const struct str argv[] = { str_of(h->names), str_of(h->holds), str_of(l->id), STR(TTL_MS),
                                str_of(h->name) };
    if (run(l, &script_drop, argv, ARRAY_LEN(argv), NULL, &why) != 0)
        log_line(LOG_debug, "upstream_adapter", "why=\"the ledger was not told that we go\"");
}

struct shared_ledger *shared_ledger_free(struct shared_ledger *l)
{
    if (!l)
        return NULL;
    if (l->has_thread) {
        {
            LOCKED(&l->lock);
            l->stopping = true;
            (void)pthread_cond_signal(&l->wake);
        }
        (void)pthread_join(l->thread, NULL);
    }
    for (struct held *h = l->held, *next; h; h = next) {
        next = h->next;
        give_back(l, h);
        free(h);
    }
    (void)redis_link_free(l->link);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
    return NULL;
}
