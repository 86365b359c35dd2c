#include "adapters/redis_topology.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"

#define NO_NODE UINT16_MAX
#define ASK_AGAIN_MS 100 /* no sooner than this after a doubt that a failure raised */

/* ---- keys ---- */

/* CRC-16/XMODEM: polynomial 0x1021, from 0, most significant bit first. */
static uint16_t crc16(struct str s)
{
    unsigned crc = 0;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned)(unsigned char)s.p[i] << 8;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc & 0x8000u ? (crc << 1) ^ 0x1021u : crc << 1;
        crc &= 0xffffu;
    }
    return (uint16_t)crc;
}

unsigned redis_slot(struct str key)
{
    struct str before, after, tag, rest;
    if (str_cut(key, '{', &before, &after) && str_cut(after, '}', &tag, &rest) && tag.n > 0)
        key = tag;
    return crc16(key) % REDIS_CLUSTER_SLOTS;
}

static bool one_of(struct str word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_nocase(word, str_of(words[i])))
            return true;
    return false;
}

struct str redis_key_of(const struct str *argv, size_t n)
{
    static const char *const without[] = {
        "PING",     "INFO",    "CONFIG", "SCRIPT", "CLUSTER", "ROLE",    "COMMAND",
        "TIME",     "DBSIZE",  "SCAN",   "KEYS",   "WAIT",    "CLIENT",  "ACL",
        "FLUSHALL", "FLUSHDB", "ECHO",   "MODULE", "LATENCY", "SLOWLOG", "PUBLISH",
    };
    static const char *const third[] = { "OBJECT", "XINFO", "XGROUP", "MEMORY", "DEBUG" };
    static const char *const scripts[] = { "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL" };
    static const char *const reads[] = { "XREAD", "XREADGROUP" };
    size_t at = 1;
    if (n < 2 || one_of(argv[0], without, ARRAY_LEN(without)))
        return STR("");
    if (one_of(argv[0], third, ARRAY_LEN(third)))
        at = 2;
    if (one_of(argv[0], scripts, ARRAY_LEN(scripts)))
        at = str_is(argv[2], "0") ? n : 3;
    if (one_of(argv[0], reads, ARRAY_LEN(reads))) {
        while (at < n && !str_eq_nocase(argv[at], STR("STREAMS")))
            at++;
        at++;
    }
    return at < n ? argv[at] : STR("");
}

/* ---- nodes ---- */

static struct redis_node *new_node(const struct redis_address *a)
{
    struct redis_node *n = calloc(1, sizeof(*n));
    if (n)
        n->address = *a;
    return n;
}

/* The place of the address, a new one where it has none. -ENOMEM, or -ENOSPC: too many. */
static int place_of(struct redis_topology *t, const struct redis_address *a, uint16_t *ret)
{
    size_t vacant = t->n_nodes;
    for (size_t i = 0; i < t->n_nodes; i++) {
        if (redis_address_eq(&t->nodes[i]->address, a)) {
            *ret = (uint16_t)i;
            return 0;
        }
        if (!t->nodes[i]->address.host[0] && vacant == t->n_nodes)
            vacant = i;
    }
    if (vacant == LIMIT_REDIS_NODES)
        return -ENOSPC;
    if (vacant == t->n_nodes) {
        struct redis_node **grown = realloc(t->nodes, (vacant + 1) * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        t->nodes = grown;
        if (!(t->nodes[vacant] = new_node(a)))
            return -ENOMEM;
        t->n_nodes++;
    } else {
        t->nodes[vacant]->address = *a;
    }
    *ret = (uint16_t)vacant;
    return 0;
}

int redis_topology_init(struct redis_topology *t, const struct redis_options *o,
                        struct fail *reterr)
{
    memset(t, 0, sizeof(*t));
    int r = redis_login_init(&t->login, o, reterr);
    if (r != 0)
        return r;
    const struct redis_url *u = &t->login.url;
    if (u->kind == REDIS_sentinel) {
        uint16_t master;
        struct redis_address nobody = { .host = "?", .port = 0 };
        for (size_t i = 0; i < u->n_seeds; i++)
            t->sentinels[i].address = u->seeds[i];
        return place_of(t, &nobody, &master);
    }
    for (size_t i = 0; r == 0 && i < u->n_seeds; i++) {
        uint16_t at;
        r = place_of(t, &u->seeds[i], &at);
        if (r == 0)
            t->nodes[at]->listed = true;
    }
    if (r == 0 && u->kind == REDIS_cluster) {
        t->slots = malloc(REDIS_CLUSTER_SLOTS * sizeof(*t->slots));
        if (!t->slots)
            return -ENOMEM;
        memset(t->slots, 0xff, REDIS_CLUSTER_SLOTS * sizeof(*t->slots));
    }
    return r;
}

void redis_topology_done(struct redis_topology *t)
{
    for (size_t i = 0; i < t->n_nodes; i++) {
        redis_node_hang_up(t->nodes[i]);
        free(t->nodes[i]);
    }
    for (size_t i = 0; i < REDIS_SEEDS; i++)
        redis_node_hang_up(&t->sentinels[i]);
    free(t->nodes);
    free(t->slots);
    redis_login_done(&t->login);
}

/* ---- Sentinels ---- */

/* One exchange with a Sentinel; it gets the login only when it asks for one. */
static int ask(struct redis_topology *t, struct redis_node *n, const struct str *argv,
               size_t n_argv, redisReply **ret, struct fail *reterr)
{
    int r = redis_node_connect(n, &t->login, REDIS_informer, reterr);
    if (r == 0)
        r = redis_wire_add(n->wire, argv, n_argv);
    if (r == 0)
        r = redis_node_talk(n, &t->login, ret, 1, reterr);
    if (r != 0 || !str_starts(redis_text(*ret), STR("NOAUTH")))
        return r;
    redis_reply_free(ret);
    redis_node_hang_up(n);
    struct redis_login login = t->login; /* borrowed: a Sentinel has no databases */
    login.url.db = 0;
    r = redis_node_connect(n, &login, REDIS_any, reterr);
    if (r == 0)
        r = redis_wire_add(n->wire, argv, n_argv);
    return r == 0 ? redis_node_talk(n, &t->login, ret, 1, reterr) : r;
}

/* What a Sentinel says of the master. */
static int read_master(const struct redis_topology *t, const redisReply *r,
                       struct redis_address *ret, struct fail *reterr)
{
    if (r->type == REDIS_REPLY_NIL)
        return redis_unavailable(reterr, "the Sentinels know no master \"%.100s\"",
                                 t->login.url.master);
    if (redis_error(r, reterr))
        return FAILED;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        !redis_address_of(ret, redis_text(r->element[0]), redis_text(r->element[1])))
        return redis_unavailable(reterr, "a Sentinel gave an answer that is no address");
    return 0;
}

static int ask_sentinels(struct redis_topology *t, struct fail *reterr)
{
    const struct redis_url *u = &t->login.url;
    struct str argv[] = { STR("SENTINEL"), STR("get-master-addr-by-name"), str_of(u->master) };
    struct redis_node *master = t->nodes[0];
    int r = FAILED;
    t->asked_ms = clock_ms();
    for (size_t i = 0; i < u->n_seeds; i++) {
        size_t at = (t->first_sentinel + i) % u->n_seeds;
        CLEANUP(redis_reply_free) redisReply *reply = NULL;
        struct redis_address to;
        r = ask(t, &t->sentinels[at], argv, ARRAY_LEN(argv), &reply, reterr);
        if (r == 0)
            r = read_master(t, reply, &to, reterr);
        if (r < 0)
            return r;
        if (r != 0)
            continue;
        t->first_sentinel = at;
        t->known = true;
        if (!redis_address_eq(&to, &master->address)) {
            redis_node_move(master, &to);
            atomic_fetch_add(&t->generation, 1);
        }
        return 0;
    }
    return r;
}

/* ---- a Cluster ---- */

struct slot_range {
    uint64_t first, last;
    struct redis_address address;
};

/* One element of a reply to CLUSTER SLOTS: first, last, [host, port, …] of the master, replicas. */
static bool read_range(const redisReply *r, const struct redis_address *asked,
                       struct slot_range *ret)
{
    char port[24];
    if (r->type != REDIS_REPLY_ARRAY || r->elements < 3 ||
        r->element[0]->type != REDIS_REPLY_INTEGER || r->element[1]->type != REDIS_REPLY_INTEGER ||
        r->element[0]->integer < 0 || r->element[1]->integer < r->element[0]->integer ||
        r->element[1]->integer >= REDIS_CLUSTER_SLOTS)
        return false;
    const redisReply *master = r->element[2];
    if (master->type != REDIS_REPLY_ARRAY || master->elements < 2 ||
        master->element[1]->type != REDIS_REPLY_INTEGER)
        return false;
    struct str host = redis_text(master->element[0]);
    if (host.n == 0 || str_is(host, "?")) /* it does not know its own: as we called it */
        host = str_of(asked->host);
    (void)snprintf(port, sizeof(port), "%lld", master->element[1]->integer);
    ret->first = (uint64_t)r->element[0]->integer;
    ret->last = (uint64_t)r->element[1]->integer;
    return redis_address_of(&ret->address, host, str_of(port));
}

static int read_slots(struct redis_topology *t, const redisReply *r,
                      const struct redis_address *asked, uint16_t *to, struct fail *reterr)
{
    memset(to, 0xff, REDIS_CLUSTER_SLOTS * sizeof(*to));
    for (size_t i = 0; i < r->elements; i++) {
        struct slot_range range;
        uint16_t at;
        if (!read_range(r->element[i], asked, &range))
            return redis_unavailable(reterr, "its list of slots is damaged");
        int e = place_of(t, &range.address, &at);
        if (e == -ENOSPC)
            return redis_unavailable(reterr, "a Cluster of more than %d nodes", LIMIT_REDIS_NODES);
        if (e < 0)
            return e;
        for (uint64_t slot = range.first; slot <= range.last; slot++)
            to[slot] = at;
    }
    return 0;
}

static bool is_seed(const struct redis_topology *t, const struct redis_address *a)
{
    for (size_t i = 0; i < t->login.url.n_seeds; i++)
        if (redis_address_eq(&t->login.url.seeds[i], a))
            return true;
    return false;
}

/* Nodes that serve nothing any more make place for others. */
static void drop_unlisted(struct redis_topology *t)
{
    for (size_t i = 0; i < t->n_nodes; i++)
        t->nodes[i]->listed = is_seed(t, &t->nodes[i]->address);
    for (size_t i = 0; i < REDIS_CLUSTER_SLOTS; i++)
        if (t->slots[i] != NO_NODE)
            t->nodes[t->slots[i]]->listed = true;
    for (size_t i = 0; i < t->n_nodes; i++)
        if (!t->nodes[i]->listed)
            redis_node_move(t->nodes[i], &(struct redis_address){ .port = 0 });
}

static int refuse_alone(const redisReply *r, struct fail *reterr)
{
    if (strstr(redis_text(r).n ? r->str : "", "cluster support disabled"))
        return redis_unavailable(reterr, "the server is no part of a Cluster: write redis://");
    return redis_check(r, REDIS_REPLY_ARRAY, reterr);
}

static int ask_node(struct redis_topology *t, struct redis_node *n, struct fail *reterr)
{
    struct str argv[] = { STR("CLUSTER"), STR("SLOTS") };
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    CLEANUP(own_free) uint16_t *slots = malloc(REDIS_CLUSTER_SLOTS * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    int r = redis_node_connect(n, &t->login, REDIS_any, reterr);
    if (r == 0)
        r = redis_wire_add(n->wire, argv, ARRAY_LEN(argv));
    if (r == 0)
        r = redis_node_talk(n, &t->login, &reply, 1, reterr);
    if (r == 0)
        r = refuse_alone(reply, reterr);
    if (r == 0)
        r = read_slots(t, reply, &n->address, slots, reterr);
    if (r != 0)
        return r;
    if (memcmp(slots, t->slots, REDIS_CLUSTER_SLOTS * sizeof(*slots)) != 0)
        atomic_fetch_add(&t->generation, 1);
    memcpy(t->slots, slots, REDIS_CLUSTER_SLOTS * sizeof(*slots));
    t->known = true;
    drop_unlisted(t);
    return 0;
}

/* Those that are connected first: one that is gone costs a time-out. */
static int ask_cluster(struct redis_topology *t, struct fail *reterr)
{
    int r = redis_unavailable(reterr, "no node of the Cluster is known");
    t->asked_ms = clock_ms();
    for (unsigned pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < t->n_nodes; i++) {
            struct redis_node *n = t->nodes[i];
            if (!n->address.host[0] || (n->wire == NULL) != (pass == 1))
                continue;
            r = ask_node(t, n, reterr);
            if (r <= 0)
                return r;
        }
    return r;
}

/* ---- routes ---- */

static int learn(struct redis_topology *t, struct fail *reterr)
{
    if (t->known)
        return 0;
    switch (t->login.url.kind) {
    case REDIS_sentinel:
        if (ask_sentinels(t, reterr) == 0)
            return 0;
        /* The last master may still be one; when we call it, it has to say so. */
        return t->nodes[0]->address.port ? 0 : FAILED;
    case REDIS_cluster:
        return ask_cluster(t, reterr);
    case REDIS_server:
    default:
        return 0;
    }
}

static struct redis_node *any_node(const struct redis_topology *t)
{
    for (size_t i = 0; i < t->n_nodes; i++)
        if (t->nodes[i]->wire)
            return t->nodes[i];
    for (size_t i = 0; i < t->n_nodes; i++)
        if (t->nodes[i]->address.host[0] && !redis_node_waits(t->nodes[i]))
            return t->nodes[i];
    return t->nodes[0];
}

int redis_topology_route(struct redis_topology *t, struct str key, struct redis_node **ret,
                         struct fail *reterr)
{
    int r = learn(t, reterr);
    if (r != 0)
        return r;
    if (!t->slots) {
        *ret = t->nodes[0];
        return 0;
    }
    if (key.n == 0) {
        *ret = any_node(t);
        return 0;
    }
    unsigned slot = redis_slot(key);
    if (t->slots[slot] == NO_NODE) {
        redis_topology_doubt(t);
        return redis_unavailable(reterr, "no node of the Cluster serves slot %u", slot);
    }
    *ret = t->nodes[t->slots[slot]];
    return 0;
}

int redis_topology_masters(struct redis_topology *t,
                           struct redis_node *ret[static LIMIT_REDIS_NODES], size_t *ret_n,
                           struct fail *reterr)
{
    bool has[LIMIT_REDIS_NODES] = { false };
    int r = learn(t, reterr);
    *ret_n = 0;
    if (r != 0)
        return r;
    for (size_t i = 0; t->slots && i < REDIS_CLUSTER_SLOTS; i++)
        if (t->slots[i] != NO_NODE)
            has[t->slots[i]] = true;
    for (size_t i = 0; i < t->n_nodes; i++)
        if (has[i] || !t->slots)
            ret[(*ret_n)++] = t->nodes[i];
    return 0;
}

void redis_topology_doubt(struct redis_topology *t)
{
    if (clock_ms() - t->asked_ms >= ASK_AGAIN_MS)
        t->known = false;
}

int redis_topology_connect(struct redis_topology *t, struct redis_node *n, struct fail *reterr)
{
    bool sentinel = t->login.url.kind == REDIS_sentinel;
    int r = redis_node_connect(n, &t->login, sentinel ? REDIS_master : REDIS_any, reterr);
    if (r != 0)
        redis_topology_doubt(t);
    return r;
}

/* ---- what replies say of where keys are ---- */

/* "MOVED 3999 127.0.0.1:6381" or "ASK …": the place of the node that it names. */
static bool read_redirect(struct redis_topology *t, const struct redis_node *from, struct str text,
                          uint64_t *ret_slot, uint16_t *ret)
{
    struct str word, slot, where;
    struct redis_address a;
    if (!str_cut(text, ' ', &word, &slot) || !str_cut(slot, ' ', &slot, &where) ||
        num_parse_u64(ret_slot, slot, 0, REDIS_CLUSTER_SLOTS - 1) < 0)
        return false;
    size_t colon = where.n;
    while (colon > 0 && where.p[colon - 1] != ':') /* an IPv6 address has more of them */
        colon--;
    if (colon == 0)
        return false;
    struct str host = { where.p, colon - 1 };
    if (host.n == 0 || str_is(host, "?"))
        host = str_of(from->address.host);
    return redis_address_of(&a, host, str_sub(where, colon)) && place_of(t, &a, ret) == 0;
}

enum redis_verdict redis_topology_judge(struct redis_topology *t, const struct redis_node *from,
                                        const redisReply *reply, struct redis_node **ret_node)
{
    static const char *const passing[] = { "TRYAGAIN", "CLUSTERDOWN", "READONLY", "UNBLOCKED" };
    struct str text = redis_text(reply), word = text, rest;
    uint64_t slot;
    uint16_t at;
    if (t->login.url.kind == REDIS_server || reply->type != REDIS_REPLY_ERROR)
        return REDIS_final;
    (void)str_cut(text, ' ', &word, &rest);
    if (t->slots && str_is(word, "MOVED") && read_redirect(t, from, text, &slot, &at)) {
        if (t->slots[slot] != at)
            atomic_fetch_add(&t->generation, 1);
        t->slots[slot] = at;
        t->known = false; /* others may have moved with it */
        return REDIS_moved;
    }
    if (t->slots && str_is(word, "ASK") && read_redirect(t, from, text, &slot, &at)) {
        *ret_node = t->nodes[at];
        return REDIS_asked;
    }
    if (!one_of(word, passing, ARRAY_LEN(passing)))
        return REDIS_final;
    t->known = false;
    return REDIS_settle;
}
