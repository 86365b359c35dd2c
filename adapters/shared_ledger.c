#include "adapters/shared_ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "adapters/redis_link.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/thread.h"

#define TTL_MS "15000"     /* of a hold that nobody renews */
#define WAIT_TTL_MS "2000" /* of waiting: whoever waits asks far more often */
enum {
    RENEW_MS = 3000,
    REDIS_TIMEOUT_MS = 2000,
    KEY_MAX = LIMIT_NAME + 64,
    NAME_MAX = 256,
    ID_BYTES = 8,
    TAG_HEX = 16,
    RENEW_EACH = 16, /* names of one script */
    N_KEYS = 3,
    HOLDER_MAX = 2 * ID_BYTES + 16,
    NUMBER_MAX = 24,
};

struct keys {
    char names[KEY_MAX], holds[KEY_MAX], waits[KEY_MAX];
};

struct held { /* by us, of an endpoint */
    struct held *next;
    struct keys keys;
    char name[NAME_MAX], holder[HOLDER_MAX];
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

/* Every script: `now`; KEYS 1 names, 2 holds, 3 waits; ARGV 1 the holder, 2 how long a hold lives.
 */
#define PRELUDE                                                                                    \
    "local t = redis.call('TIME')\n"                                                               \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"                                          \
    "local function ms(n) return string.format('%.0f', n) end\n"                                   \
    "local function hold(name)\n"                                                                  \
    "  redis.call('HSET', KEYS[2], name .. '\\n' .. ARGV[1], ms(now + ARGV[2]))\n"                 \
    "  redis.call('EXPIRE', KEYS[1], " FORGET_S ")\n"                                              \
    "  redis.call('EXPIRE', KEYS[2], " FORGET_S ")\n"                                              \
    "end\n"                                                                                        \
    "local function loaded(name, since)\n"                                                         \
    "  redis.call('HSET', KEYS[1], name, 'l:' .. ms(now) .. ':' .. ms(since))\n"                   \
    "end\n"                                                                                        \
    "local function since(v) return tonumber(string.match(v, '^l:%d+:(%d+)$')) or 0 end\n"

/* What is held, loaded and waited for, and who comes first. `max` and `patience` are set before. */
#define STATE                                                                                      \
    "local held, n_held, at = {}, 0, {}\n"                                                         \
    "local rows = redis.call('HGETALL', KEYS[2])\n"                                                \
    "for i = 1, #rows, 2 do\n"                                                                     \
    "  local of = string.match(rows[i], '^(.*)\\n')\n"                                             \
    "  if not of or (tonumber(rows[i + 1]) or 0) <= now then\n"                                    \
    "    redis.call('HDEL', KEYS[2], rows[i])\n"                                                   \
    "  elseif not held[of] then held[of] = true; n_held = n_held + 1 end\n"                        \
    "end\n"                                                                                        \
    "rows = redis.call('HGETALL', KEYS[1])\n"                                                      \
    "for i = 1, #rows, 2 do at[rows[i]] = rows[i + 1] end\n"                                       \
    "local late, n_late, turns = {}, 0, 0\n"                                                       \
    "rows = redis.call('HGETALL', KEYS[3])\n"                                                      \
    "for i = 1, #rows, 2 do\n"                                                                     \
    "  local of = string.match(rows[i], '^(.*)\\n')\n"                                             \
    "  local from, to = string.match(rows[i + 1], '^(%d+):(%d+)$')\n"                              \
    "  from = tonumber(from)\n"                                                                    \
    "  if not of or not from or tonumber(to) <= now then redis.call('HDEL', KEYS[3], rows[i])\n"   \
    "  elseif not held[of] and from + patience <= now and from < (late[of] or now) then\n"         \
    "    late[of] = from\n"                                                                        \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "for n, from in pairs(late) do\n"                                                              \
    "  n_late = n_late + 1; turns = turns + math.floor((now - from) / patience)\n"                 \
    "end\n"                                                                                        \
    "local function before(n, x, m, y) return x < y or (x == y and n < m) end\n"                   \
    "local function had_turn(n)\n"                                                                 \
    "  local v = at[n]\n"                                                                          \
    "  return held[n] and v and string.sub(v, 1, 2) == 'l:' and since(v) + patience <= now\n"      \
    "end\n"                                                                                        \
    "local function asked_back(n)\n"                                                               \
    "  if n_held + n_late <= max or not had_turn(n) then return false end\n"                       \
    "  local longer = 0\n"                                                                         \
    "  for m in pairs(held) do\n"                                                                  \
    "    if m ~= n and had_turn(m) and before(m, since(at[m]), n, since(at[n])) then\n"            \
    "      longer = longer + 1\n"                                                                  \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "  return longer < n_held + turns - max\n"                                                     \
    "end\n"

/* ARGV 3 name, 4 max_loaded, 5 max_held, 6 how long it was waited for, 7 patience, 8 how long a
 * wait lives, 9 "1": loaded it is not. Reply: word, victim. */
static const struct redis_script script_hold = {
    PRELUDE
    "local name, max, patience = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[7])\n"
    "local me = name .. '\\n' .. ARGV[1]\n" STATE "local all = 0\n"
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
    "local function wait()\n"
    "  redis.call('HSET', KEYS[3], me, ms(now - ARGV[6]) .. ':' .. ms(now + ARGV[8]))\n"
    "  redis.call('EXPIRE', KEYS[3], " FORGET_S ")\n"
    "  return {'wait', ''}\n"
    "end\n"
    "local function got(word, victim)\n"
    "  redis.call('HDEL', KEYS[3], me); hold(name)\n"
    "  return {word, victim}\n"
    "end\n"
    "local is = at[name] and string.sub(at[name], 1, 2)\n"
    "if is == 'v:' or (is == 'p:' and held[name]) then return wait() end\n"
    "if held[name] then\n"
    "  if redis.call('HEXISTS', KEYS[2], me) == 0 and asked_back(name) then return wait() end\n"
    "else\n"
    "  local first, mine = 0, now - ARGV[6]\n"
    "  if late[name] and late[name] < mine then mine = late[name] end\n"
    "  local is_late = mine + patience <= now\n"
    "  for n, from in pairs(late) do\n"
    "    if n ~= name and (not is_late or before(n, from, name, mine)) then first = first + 1 end\n"
    "  end\n"
    "  if n_held + first >= max then return wait() end\n"
    "end\n"
    "if is == 'l:' and ARGV[9] ~= '1' then\n"
    "  loaded(name, held[name] and since(at[name]) or now)\n"
    "  return got('ready', '')\n"
    "end\n"
    "local victim = ''\n"
    /* One whose loader is gone is neither here nor there: it is loaded again in its own place. */
    "if not is and all >= tonumber(ARGV[4]) then\n"
    "  local oldest\n"
    "  for n, v in pairs(at) do\n"
    "    local used = tonumber(string.match(v, '^.:(%d+)')) or 0\n"
    "    if string.sub(v, 1, 2) ~= 'v:' and not held[n] and\n"
    "       (not oldest or used < oldest or (used == oldest and n < victim)) then\n"
    "      oldest = used; victim = n\n"
    "    end\n"
    "  end\n"
    "  if not oldest or all > tonumber(ARGV[4]) + 4096 then return wait() end\n"
    "  redis.call('HSET', KEYS[1], victim, 'v:' .. name)\n"
    "end\n"
    "redis.call('HSET', KEYS[1], name, 'p:' .. ms(now))\n"
    "return got('load', victim)\n",
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
            "  loaded(name, now); hold(name)\n"
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
            "redis.call('HDEL', KEYS[3], name .. '\\n' .. ARGV[1])\n"
            "local v = redis.call('HGET', KEYS[1], name)\n"
            "if v and string.sub(v, 1, 2) == 'l:' then loaded(name, since(v)) end\n"
            "return 1\n",
    N_KEYS
};

/* ARGV 3 name. */
static const struct redis_script script_found = {
    PRELUDE "if redis.call('HEXISTS', KEYS[1], ARGV[3]) == 0 then loaded(ARGV[3], now) end\n"
            "return 1\n",
    N_KEYS
};

/* ARGV 3 …: names that we hold. */
static const struct redis_script script_renew = {
    PRELUDE "for i = 3, #ARGV do\n"
            "  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then loaded(ARGV[i], now) end\n"
            "  hold(ARGV[i])\n"
            "end\n"
            "return 1\n",
    N_KEYS
};

/* ARGV 3 max_held, 4 patience. Reply: names. */
static const struct redis_script script_asked_back = {
    PRELUDE "if redis.call('HLEN', KEYS[3]) == 0 then return {} end\n"
            "local max, patience = tonumber(ARGV[3]), tonumber(ARGV[4])\n" STATE
            "local names = {}\n"
            "for n in pairs(held) do if asked_back(n) then names[#names + 1] = n end end\n"
            "return names\n",
    N_KEYS
};

static const struct redis_script script_names = { "return redis.call('HKEYS', KEYS[1])\n", N_KEYS };

/* ---- what we hold ---- */

static void keys_of(const struct shared_ledger *l, const char *endpoint, struct keys *ret)
{
    char hex[SHA256_HEX + 1];
    struct sha256 d = sha256_of(str_of(endpoint));
    sha256_hex(hex, &d);
    (void)snprintf(ret->names, KEY_MAX, "%s:lg:{%.*s}:n", l->prefix, (int)TAG_HEX, hex);
    (void)snprintf(ret->holds, KEY_MAX, "%s:lg:{%.*s}:h", l->prefix, (int)TAG_HEX, hex);
    (void)snprintf(ret->waits, KEY_MAX, "%s:lg:{%.*s}:w", l->prefix, (int)TAG_HEX, hex);
}

/* Of this process, one for each of its models. */
static void holder_of(const struct shared_ledger *l, unsigned holder, char ret[static HOLDER_MAX])
{
    (void)snprintf(ret, HOLDER_MAX, "%s.%u", l->id, holder);
}

static bool is_of(const struct held *h, const struct keys *k, const char *holder)
{
    return strcmp(h->keys.names, k->names) == 0 && strcmp(h->holder, holder) == 0;
}

static struct held **held_at(struct shared_ledger *l, const struct keys *k, const char *holder,
                             const char *name)
{
    struct held **at = &l->held;
    while (*at && (!is_of(*at, k, holder) || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

static int note_held(struct shared_ledger *l, const struct keys *k, const struct shared_slot *slot)
{
    char holder[HOLDER_MAX];
    holder_of(l, slot->holder, holder);
    LOCKED(&l->lock);
    if (*held_at(l, k, holder, slot->name))
        return 0;
    struct held *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    h->keys = *k;
    memcpy(h->holder, holder, sizeof(h->holder));
    (void)snprintf(h->name, sizeof(h->name), "%s", slot->name);
    h->next = l->held;
    l->held = h;
    return 0;
}

static void note_dropped(struct shared_ledger *l, const struct keys *k,
                         const struct shared_slot *slot)
{
    char holder[HOLDER_MAX];
    holder_of(l, slot->holder, holder);
    LOCKED(&l->lock);
    struct held **at = held_at(l, k, holder, slot->name), *h = *at;
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
    char holder[HOLDER_MAX];
    keys_of(l, slot->endpoint, &k);
    holder_of(l, slot->holder, holder);
    const struct str argv[] = { str_of(k.names), str_of(k.holds), str_of(k.waits),
                                str_of(holder),  STR(TTL_MS),     str_of(slot->name),
                                str_of(flag) };
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

static struct str print(char text[static NUMBER_MAX], uint64_t n)
{
    (void)snprintf(text, NUMBER_MAX, "%llu", (unsigned long long)n);
    return str_of(text);
}

int shared_ledger_hold(struct shared_ledger *l, const struct shared_slot *slot,
                       enum shared_word *ret, char *victim, size_t victim_size, struct fail *reterr)
{
    struct keys k;
    char holder[HOLDER_MAX], loaded[NUMBER_MAX], held[NUMBER_MAX], waited[NUMBER_MAX],
        patience[NUMBER_MAX];
    if (strlen(slot->name) >= NAME_MAX)
        return -ENAMETOOLONG;
    keys_of(l, slot->endpoint, &k);
    holder_of(l, slot->holder, holder);
    const struct str argv[] = { str_of(k.names),
                                str_of(k.holds),
                                str_of(k.waits),
                                str_of(holder),
                                STR(TTL_MS),
                                str_of(slot->name),
                                print(loaded, slot->max_loaded),
                                print(held, slot->max_held),
                                print(waited, slot->waited_ms),
                                print(patience, slot->patience_ms),
                                STR(WAIT_TTL_MS),
                                slot->is_missing ? STR("1") : STR("0") };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = run(l, &script_hold, argv, ARRAY_LEN(argv), &reply, reterr);
    if (r == 0)
        r = read_word(reply, ret, victim, victim_size, reterr);
    return r == 0 && *ret != SHARED_wait ? note_held(l, &k, slot) : r;
}

int shared_ledger_settle(struct shared_ledger *l, const struct shared_slot *slot, bool loaded,
                         struct fail *reterr)
{
    struct keys k;
    keys_of(l, slot->endpoint, &k);
    if (!loaded)
        note_dropped(l, &k, slot);
    return say(l, &script_settle, slot, loaded ? "1" : "0", reterr);
}

int shared_ledger_drop(struct shared_ledger *l, const struct shared_slot *slot, struct fail *reterr)
{
    struct keys k;
    keys_of(l, slot->endpoint, &k);
    note_dropped(l, &k, slot);
    return say(l, &script_drop, slot, "", reterr);
}

int shared_ledger_found(struct shared_ledger *l, const struct shared_slot *slot,
                        struct fail *reterr)
{
    return say(l, &script_found, slot, "", reterr);
}

static int tell_names(const redisReply *reply, void (*told)(void *ctx, const char *name), void *ctx,
                      struct fail *reterr)
{
    int r = redis_check(reply, REDIS_REPLY_ARRAY, reterr);
    for (size_t i = 0; r == 0 && i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            told(ctx, reply->element[i]->str);
    return r;
}

int shared_ledger_asked_back(struct shared_ledger *l, const struct shared_slot *slot,
                             void (*told)(void *ctx, const char *name), void *ctx,
                             struct fail *reterr)
{
    struct keys k;
    char held[NUMBER_MAX], patience[NUMBER_MAX];
    keys_of(l, slot->endpoint, &k);
    const struct str argv[] = { str_of(k.names),
                                str_of(k.holds),
                                str_of(k.waits),
                                str_of(l->id),
                                STR(TTL_MS),
                                print(held, slot->max_held),
                                print(patience, slot->patience_ms) };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = run(l, &script_asked_back, argv, ARRAY_LEN(argv), &reply, reterr);
    return r == 0 ? tell_names(reply, told, ctx, reterr) : r;
}

int shared_ledger_names(struct shared_ledger *l, const struct shared_slot *slot,
                        void (*told)(void *ctx, const char *name), void *ctx, struct fail *reterr)
{
    struct keys k;
    keys_of(l, slot->endpoint, &k);
    const struct str argv[] = { str_of(k.names), str_of(k.holds), str_of(k.waits), str_of(l->id),
                                STR(TTL_MS) };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    int r = run(l, &script_names, argv, ARRAY_LEN(argv), &reply, reterr);
    return r == 0 ? tell_names(reply, told, ctx, reterr) : r;
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
        if (n && !is_of(h, &ret[0].keys, ret[0].holder))
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
        struct str argv[N_KEYS + 2 + RENEW_EACH] = { str_of(some[0].keys.names),
                                                     str_of(some[0].keys.holds),
                                                     str_of(some[0].keys.waits),
                                                     str_of(some[0].holder), STR(TTL_MS) };
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
    const struct str argv[] = { str_of(h->keys.names), str_of(h->keys.holds), str_of(h->keys.waits),
                                str_of(h->holder),     STR(TTL_MS),           str_of(h->name) };
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
