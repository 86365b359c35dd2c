#include "adapters/redis_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "adapters/head_change.h"
#include "adapters/head_codec.h"
#include "adapters/redis_beats.h"
#include "adapters/redis_restore.h"
#include "adapters/redis_scripts.h"
#include "base/clock.h"
#include "base/num.h"

#define TRIES 64     /* of a change that others keep overtaking */
#define NAP_US 500   /* at most, between two of them */
#define HEAL_MS 2000 /* for which a writer waits until Redis has its heads back */
#define HEAL_NAP_US 20000
#define PAYLOAD_MAX 512 /* bytes of a record that an event carries */
#define DURABLE_MS 5000 /* for which it is remembered who keeps what is written */
enum { BATCH = 256, KEY_MAX = 256, TENANT_MAX = LIMIT_NAME };

/* One run of the script, with everything it borrows. */
struct plan {
    struct redis_place place;
    char keys[REDIS_WRITE_KEYS][REDIS_KEY_MAX];
    char expect[24], known[24], bucket[12], when[24], lines[4];
    char from[HEAD_LINES][SHA256_HEX + 1], to[HEAD_LINES][SHA256_HEX + 1];
    struct buf partial, full, kept;
    struct head_step step;
    struct str argv[REDIS_WRITE_KEYS + REDIS_WRITE_ARGS + HEAD_LINES * REDIS_WRITE_LINE];
};

enum { PLAN_ARGS = REDIS_WRITE_KEYS + REDIS_WRITE_ARGS + HEAD_LINES * REDIS_WRITE_LINE };

static void plan_done(struct plan *p)
{
    head_step_done(&p->step);
    buf_done(&p->partial);
    buf_done(&p->full);
    buf_done(&p->kept);
}

/* ---- idempotency ---- */

static uint64_t fingerprint(const struct adapter_change *c)
{
    char numbers[48];
    (void)snprintf(numbers, sizeof(numbers), "%d %u %" PRIu64, (int)c->op, c->weight, c->if_match);
    const struct str parts[] = { c->base,     c->adapter,  c->alias,
                                 c->selector, c->expected, str_of(numbers) };
    uint64_t h = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        h = (h ^ head_hash(parts[i])) * 0x9e3779b97f4a7c15U;
    return h;
}

/* What is kept under the key, but for the epoch, which the script puts before it. */
static void print_kept(struct buf *b, const struct adapter_change *c,
                       const struct adapter_revision *r)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &r->digest);
    buf_addf(b, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s %s", fingerprint(c), r->ordinal,
             r->created_s, r->bytes, hex, r->alias[0] ? r->alias : "-");
}

static bool next_word(struct str *rest, struct str *ret)
{
    if (str_cut(*rest, ' ', ret, rest))
        return true;
    *ret = *rest;
    *rest = STR("");
    return ret->n > 0;
}

static void put_name(char ret[static LIMIT_NAME + 1], struct str s)
{
    (void)snprintf(ret, LIMIT_NAME + 1, "%.*s", STR_ARG(str_head(s, LIMIT_NAME)));
}

static void name_revision(struct adapter_revision *r, struct str base, struct str adapter)
{
    *r = (struct adapter_revision){ 0 };
    put_name(r->base, base);
    put_name(r->adapter, adapter);
}

static int read_kept(struct str text, const struct adapter_change *c, struct adapter_changed *ret,
                     struct fail *reterr)
{
    uint64_t numbers[5] = { 0 }; /* epoch, fingerprint, ordinal, created, bytes */
    struct str word, hex, alias;
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(numbers); i++)
        ok = next_word(&text, &word) && num_parse_u64(&numbers[i], word, 0, UINT64_MAX) == 0;
    struct adapter_revision *r = &ret->revision;
    name_revision(r, c->base, c->adapter);
    ok = ok && next_word(&text, &hex) && next_word(&text, &alias) &&
         sha256_parse(&r->digest, hex) == 0;
    if (!ok)
        return fail_set(reterr, FAIL_catalog_unavailable,
                        "what Redis keeps under the idempotency key '%.*s' is damaged",
                        STR_ARG(str_head(c->key, 80)));
    if (numbers[1] != fingerprint(c))
        return fail_param(reterr, FAIL_conflict, "key",
                          "the idempotency key '%.*s' was used for another change",
                          STR_ARG(str_head(c->key, 80)));
    if (!str_is(alias, "-"))
        put_name(r->alias, alias);
    ret->epoch = r->epoch = numbers[0];
    r->ordinal = numbers[2];
    r->created_s = numbers[3];
    r->bytes = numbers[4];
    ret->repeated = true;
    return 0;
}

/* ---- a plan ---- */

/* What the reply tells of: the revision that the step names, or only the adapter. */
static void describe(const struct head_step *s, struct str base, struct str adapter, uint64_t epoch,
                     struct adapter_changed *ret)
{
    const struct head_revision *r =
        s->head && s->has_names ? head_revision(s->head, &s->names) : NULL;
    if (r)
        head_describe(s->head, r, s->alias, &ret->revision);
    else
        name_revision(&ret->revision, base, adapter);
    ret->epoch = ret->revision.epoch = epoch;
}

static void plan_keys(struct plan *p, const struct redis_keys *k, struct str id)
{
    struct str member = str_of(p->place.member);
    uint32_t s = p->place.shard;
    redis_bucket_key(k, p->keys[0], s, p->place.bucket);
    redis_shard_key(k, p->keys[1], "ep", s, STR(""));
    redis_shard_key(k, p->keys[2], "ev", s, STR(""));
    redis_shard_key(k, p->keys[3], "h", s, member);
    redis_shard_key(k, p->keys[4], "f", s, member);
    redis_shard_key(k, p->keys[5], "id", s, id.n ? id : STR("-"));
    redis_shard_key(k, p->keys[6], "u", s, STR(""));
}

static void pack(struct plan *p)
{
    p->partial = BUF_INIT(HEAD_PACKED_MAX);
    p->full = BUF_INIT(HEAD_PACKED_MAX);
    if (!p->step.head)
        return;
    head_pack(p->step.head, /* partial= */ true, &p->partial);
    if (buf_err(&p->partial) == 0 && head_packed_more(buf_str(&p->partial)))
        head_pack(p->step.head, /* partial= */ false, &p->full);
}

static size_t plan_lines(struct plan *p, size_t n)
{
    for (size_t i = 0; i < HEAD_LINES; i++) {
        const struct head_line *l = &p->step.lines[i];
        bool there = i < p->step.n_lines;
        p->from[i][0] = p->to[i][0] = '\0';
        if (there && l->has_from)
            sha256_hex(p->from[i], &l->from);
        if (there && l->has_to)
            sha256_hex(p->to[i], &l->to);
        p->argv[n++] = there ? str_of(l->what) : STR("");
        p->argv[n++] = there ? l->alias : STR("");
        p->argv[n++] = str_of(p->from[i]);
        p->argv[n++] = str_of(p->to[i]);
    }
    return n;
}

/* Fills keys and arguments; the step and what is kept are there. 0 or negative errno. */
static int plan_fill(struct redis_writer *w, struct plan *p, uint64_t expect, struct str who,
                     struct str id)
{
    uint64_t known = w->feed ? redis_feed_epoch(w->feed, p->place.shard) : 0;
    plan_keys(p, w->keys, id);
    pack(p);
    if (buf_err(&p->partial) < 0 || buf_err(&p->full) < 0 || buf_err(&p->kept) < 0)
        return -ENOMEM;
    (void)snprintf(p->expect, sizeof(p->expect), "%" PRIu64, expect);
    (void)snprintf(p->known, sizeof(p->known), "%" PRIu64, known);
    (void)snprintf(p->bucket, sizeof(p->bucket), "%u", p->place.bucket);
    (void)snprintf(p->when, sizeof(p->when), "%" PRIu64, clock_wall_s());
    (void)snprintf(p->lines, sizeof(p->lines), "%zu", p->step.n_lines);
    struct str carried = p->full.n ? buf_str(&p->full) : buf_str(&p->partial);
    size_t n = 0;
    for (size_t i = 0; i < REDIS_WRITE_KEYS; i++)
        p->argv[n++] = str_of(p->keys[i]);
    p->argv[n++] = str_of(p->place.member);
    p->argv[n++] = str_of(p->expect);
    p->argv[n++] = str_of(p->known);
    p->argv[n++] = buf_str(&p->partial);
    p->argv[n++] = buf_str(&p->full);
    p->argv[n++] = carried.n > PAYLOAD_MAX ? STR("") : p->full.n ? STR("f") : STR("p");
    p->argv[n++] = str_of(p->bucket);
    p->argv[n++] = str_head(who, LIMIT_NAME);
    p->argv[n++] = str_of(p->when);
    p->argv[n++] = buf_str(&p->kept);
    p->argv[n++] = str_of(p->lines);
    return plan_lines(p, n) == PLAN_ARGS ? 0 : -EINVAL;
}

int redis_read_outcome(const redisReply *r, enum redis_outcome *ret, struct str *ret_text,
                       uint64_t *ret_epoch, struct fail *reterr)
{
    static const char *const words[] = { "ok", "again", "conflict", "regressed" };
    int k = redis_check(r, REDIS_REPLY_ARRAY, reterr);
    if (k != 0)
        return k;
    struct str word = r->elements >= 2 ? redis_text(r->element[0]) : STR("");
    *ret_text = r->elements >= 2 ? redis_text(r->element[1]) : STR("");
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_is(word, words[i])) {
            *ret = (enum redis_outcome)i;
            if (i == OUT_again || num_parse_u64(ret_epoch, *ret_text, 0, INT64_MAX) == 0)
                return 0;
        }
    return redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
}

/* It stands in Redis: so it does here. */
static int plan_apply(struct redis_writer *w, struct plan *p, uint64_t epoch)
{
    struct str base, adapter;
    struct head *h = p->step.head;
    if (!h) {
        if (redis_split_member(str_of(p->place.member), &base, &adapter))
            page_remove(w->page, base, adapter);
        return 0;
    }
    h->epoch = epoch; /* nobody else has seen it yet */
    if (h->canary_weight && h->canary_salt == 0)
        h->canary_salt = epoch;
    return redis_page_put(w->page, head_ref(h));
}

/* ---- Redis that has forgotten something ---- */

static void nap(long us)
{
    struct timespec t = { .tv_nsec = us * 1000 };
    (void)nanosleep(&t, NULL);
}

int redis_heal(struct redis_writer *w, uint32_t shard, struct fail *reterr)
{
    uint64_t until = clock_ms() + HEAL_MS;
    struct shard_stand at;
    int r = -EAGAIN;
    while (r == -EAGAIN) {
        const struct shard_read x = { .link = w->link,
                                      .keys = w->keys,
                                      .page = w->page,
                                      .shard = shard,
                                      .known = redis_feed_epoch(w->feed, shard),
                                      .who = redis_feed_id(w->feed) };
        r = shard_restore(&x, &at, reterr);
        if (r == -EAGAIN && clock_ms() >= until)
            return fail_set(reterr, FAIL_catalog_unavailable,
                            "the adapter catalog in Redis is being restored; try again");
        if (r == -EAGAIN)
            nap(HEAL_NAP_US);
    }
    return r;
}

/* Redis lacks an adapter that the page knows, and no event says that it went: it was lost. */
static bool was_lost(struct redis_writer *w, struct str base, struct str adapter)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    uint32_t shard = redis_shard_of(w->keys, adapter);
    char ep[REDIS_KEY_MAX];
    uint64_t counter = 0;
    if (!w->feed || page_find(w->page, base, adapter, &h, NULL) != 0 || !h)
        return false;
    redis_shard_key(w->keys, ep, "ep", shard, STR(""));
    if (REDIS_CALL(w->link, &reply, NULL, STR("GET"), str_of(ep)) != 0 ||
        (reply->type == REDIS_REPLY_STRING &&
         num_parse_u64(&counter, redis_text(reply), 0, INT64_MAX) < 0))
        return false;
    if (!redis_feed_wait(w->feed, shard, counter, clock_ms() + HEAL_MS))
        return false;
    h = head_unref(h);
    return page_find(w->page, base, adapter, &h, NULL) == 0 && h;
}

/* The head to change, from Redis. */
/* NOLINTNEXTLINE(readability-function-size): the parameters of redis_head_fetch */
static int fetch(struct redis_writer *w, struct str base, struct str adapter, struct str id,
                 struct head **ret, redisReply **ret_kept, struct fail *reterr)
{
    char key[REDIS_KEY_MAX];
    redis_shard_key(w->keys, key, "id", redis_shard_of(w->keys, adapter), id);
    for (bool healed = false;; healed = true) {
        int r = redis_head_fetch(w->link, w->keys, base, adapter, id.n ? key : NULL, ret, ret_kept,
                                 reterr);
        if (r != 0 || *ret || *ret_kept || healed || !was_lost(w, base, adapter))
            return r;
        if ((r = redis_heal(w, redis_shard_of(w->keys, adapter), reterr)) != 0)
            return r;
    }
}

/* ---- how many servers have it ---- */

static uint64_t count_replicas(struct redis_writer *w, struct str key)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct str argv[] = { STR("ROLE") };
    if (redis_call_key(w->link, key, argv, 1, &reply, NULL) != 0 ||
        reply->type != REDIS_REPLY_ARRAY || reply->elements < 3 ||
        reply->element[2]->type != REDIS_REPLY_ARRAY)
        return 0;
    return reply->element[2]->elements;
}

/* The server answers when the write is on its disk: appendonly with appendfsync always. */
static bool syncs_always(struct redis_writer *w, struct str key)
{
    CLEANUP(redis_reply_free) redisReply *on = NULL;
    CLEANUP(redis_reply_free) redisReply *sync = NULL;
    struct str only[] = { STR("CONFIG"), STR("GET"), STR("appendonly") };
    struct str when[] = { STR("CONFIG"), STR("GET"), STR("appendfsync") };
    return redis_call_key(w->link, key, only, ARRAY_LEN(only), &on, NULL) == 0 &&
           redis_call_key(w->link, key, when, ARRAY_LEN(when), &sync, NULL) == 0 &&
           on->type == REDIS_REPLY_ARRAY && on->elements == 2 &&
           str_is(redis_text(on->element[1]), "yes") && sync->type == REDIS_REPLY_ARRAY &&
           sync->elements == 2 && str_is(redis_text(sync->element[1]), "always");
}

/* The write is where it outlives this server: with a replica, for which this waits, or on disk. */
static bool make_durable(struct redis_writer *w, const char *key)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct str argv[] = { STR("WAIT"), STR("1"), STR("100") };
    if (clock_ms() >= atomic_load(&w->durable_ms)) {
        atomic_store(&w->replicas, count_replicas(w, str_of(key)));
        atomic_store(&w->synced, syncs_always(w, str_of(key)));
        atomic_store(&w->durable_ms, clock_ms() + DURABLE_MS);
    }
    if (atomic_load(&w->replicas) == 0)
        return atomic_load(&w->synced);
    return (redis_call_key(w->link, str_of(key), argv, ARRAY_LEN(argv), &reply, NULL) == 0 &&
            reply->type == REDIS_REPLY_INTEGER && reply->integer >= 1) ||
           atomic_load(&w->synced);
}

/* ---- one change ---- */

static int no_such(struct str base, struct str adapter, struct fail *reterr)
{
    return fail_param(reterr, FAIL_model_not_found, "model", "no adapter '%.*s:%.*s'",
                      STR_ARG(str_head(base, 80)), STR_ARG(str_head(adapter, 80)));
}

/* A revision that a gateway serves just now does not go. */
static int check_unused(struct redis_writer *w, const struct head_step *s, struct fail *reterr)
{
    char id[FLEET_ID_MAX];
    if (!s->has_former)
        return 0;
    int r = fleet_user(w->link, w->keys, &s->former, id, reterr);
    if (r == 0 && id[0])
        r = fail_param(reterr, FAIL_conflict, "revision",
                       "requests use this revision now on gateway %s; try again when they have "
                       "ended",
                       id);
    return r;
}

static int release_tenant(struct redis_writer *w, struct str adapter, int come, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct str tenant = adapter_tenant(adapter);
    char key[REDIS_KEY_MAX], n[12];
    if (tenant.n == 0)
        return 0;
    redis_shard_key(w->keys, key, "t", redis_shard_of(w->keys, tenant), tenant);
    (void)snprintf(n, sizeof(n), "%d", come);
    struct str argv[] = { str_of(key), str_of(n) };
    int r = redis_run(w->link, &redis_quota, argv, ARRAY_LEN(argv), &reply, reterr);
    if (r == 0)
        r = redis_check(reply, REDIS_REPLY_ARRAY, reterr);
    if (r == 0 && reply->elements == 2 && str_is(redis_text(reply->element[0]), "full"))
        r = fail_param(reterr, FAIL_conflict, "name", "the tenant '%.*s' may have %.*s adapters",
                       STR_ARG(str_head(tenant, 80)), STR_ARG(redis_text(reply->element[1])));
    return r;
}

/* Keeps the reply of a change that changed nothing. */
static int keep(struct redis_writer *w, const char *key, uint64_t epoch, struct str kept)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    CLEANUP(buf_done) struct buf b = BUF_INIT(4 * KIB);
    buf_addf(&b, "%" PRIu64 " %.*s", epoch, STR_ARG(kept));
    return buf_err(&b) < 0 ? buf_err(&b)
                           : REDIS_CALL(w->link, &reply, NULL, STR("SET"), str_of(key), buf_str(&b),
                                        STR("NX"), STR("EX"), STR("86400"));
}

/* The plan of a change of `now`. FAILED: it cannot be. */
static int plan_change(struct redis_writer *w, struct plan *p, const struct adapter_change *c,
                       struct head *now, struct adapter_changed *ret, struct fail *reterr)
{
    p->place = redis_place_of(w->keys, c->base, c->adapter);
    p->kept = BUF_INIT(4 * KIB);
    ret->epoch = now->epoch; /* the ETag, also of a refusal */
    int r = head_change(&p->step, now, c, reterr);
    if (r == 0)
        r = check_unused(w, &p->step, reterr);
    if (r != 0)
        return r;
    describe(&p->step, c->base, c->adapter, now->epoch, ret);
    if (c->key.n)
        print_kept(&p->kept, c, &ret->revision);
    return plan_fill(w, p, now->epoch, c->who, c->key);
}

/* After the script: 0, or -EAGAIN to try with the head as it is now. */
static int conclude(struct redis_writer *w, struct plan *p, const struct adapter_change *c,
                    const redisReply *reply, struct adapter_changed *ret, struct fail *reterr)
{
    enum redis_outcome out;
    struct str text;
    uint64_t epoch = 0;
    int r = redis_read_outcome(reply, &out, &text, &epoch, reterr);
    if (r != 0)
        return r;
    if (out == OUT_again)
        return read_kept(text, c, ret, reterr);
    if (out == OUT_regressed)
        return (r = redis_heal(w, p->place.shard, reterr)) ? r : -EAGAIN;
    if (out == OUT_conflict)
        return -EAGAIN;
    ret->epoch = ret->revision.epoch = epoch;
    if (!p->step.head)
        (void)!release_tenant(w, c->adapter, -1, NULL);
    return plan_apply(w, p, epoch);
}

static int change_once(struct redis_writer *w, const struct adapter_change *c,
                       struct adapter_changed *ret, struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *now = NULL;
    CLEANUP(redis_reply_free) redisReply *kept = NULL;
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    CLEANUP(plan_done) struct plan p = { 0 };
    int r = fetch(w, c->base, c->adapter, c->key, &now, &kept, reterr);
    if (r == 0 && kept)
        return read_kept(redis_text(kept), c, ret, reterr);
    if (r == 0 && !now)
        r = no_such(c->base, c->adapter, reterr);
    if (r == 0)
        r = plan_change(w, &p, c, now, ret, reterr);
    if (r != 0)
        return r;
    if (p.step.same) {
        if (c->key.n)
            (void)!keep(w, p.keys[5], now->epoch, buf_str(&p.kept));
        return redis_page_put(w->page, head_ref(now));
    }
    r = redis_run(w->link, &redis_write, p.argv, PLAN_ARGS, &reply, reterr);
    return r == 0 ? conclude(w, &p, c, reply, ret, reterr) : r;
}

static int overtaken(struct fail *reterr)
{
    int r = fail_set(reterr, FAIL_conflict, "others keep changing this adapter; try again");
    if (reterr)
        reterr->retry_after_s = 1;
    return r;
}

static void nap_a_little(unsigned attempt)
{
    nap((long)(clock_ns() % NAP_US) * (1 + attempt / 8));
}

static int change_one(struct redis_writer *w, const struct adapter_change *c,
                      struct adapter_changed *ret, struct fail *reterr)
{
    if (c->key.n > KEY_MAX)
        return fail_param(reterr, FAIL_invalid_request, "key",
                          "an idempotency key has at most %d bytes", KEY_MAX);
    for (unsigned i = 0; i < TRIES; i++) {
        int r = change_once(w, c, ret, reterr);
        if (r != -EAGAIN)
            return r;
        nap_a_little(i);
    }
    return overtaken(reterr);
}

/* ---- many changes ---- */

static int page_head(struct redis_writer *w, const struct adapter_change *c, struct head **ret)
{
    int r = w->feed ? page_find(w->page, c->base, c->adapter, ret, NULL) : 0;
    if (r == 0 && *ret && (*ret)->more) /* it must be whole to be written */
        *ret = head_unref(*ret);
    return r;
}

struct batch {
    struct plan *plans;
    struct redisReply **replies;
    struct str *argv;
    size_t *at; /* change of each run */
    size_t runs;
};

/* Plans from the page, without asking: who was overtaken is planned anew. */
static int plan_batch(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                      struct adapter_changed *changed, struct batch *b)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(head_unrefp) struct head *now = NULL;
        struct plan *p = &b->plans[b->runs];
        struct fail ignored;
        if (changes[i].key.n > KEY_MAX || changes[i].op == ADAPTER_OP_retire ||
            page_head(w, &changes[i], &now) != 0 || !now)
            continue;
        int r = plan_change(w, p, &changes[i], now, &changed[i], &ignored);
        if (r == -ENOMEM)
            return r;
        if (r != 0 || p->step.same) { /* to be said by Redis, not by the page */
            plan_done(p);
            *p = (struct plan){ 0 };
            continue;
        }
        memcpy(&b->argv[b->runs * PLAN_ARGS], p->argv, sizeof(p->argv));
        b->at[b->runs++] = i;
    }
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): a batch in full */
static int change_batch(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                        struct adapter_changed *changed, struct fail *fails, struct batch *b,
                        struct fail *reterr)
{
    bool done[BATCH] = { 0 };
    int r = plan_batch(w, changes, n, changed, b);
    if (r == 0 && b->runs)
        r = redis_run_many(w->link, &redis_write, b->argv, PLAN_ARGS, b->runs, b->replies, reterr);
    for (size_t i = 0; r == 0 && i < b->runs; i++) {
        size_t at = b->at[i];
        struct fail f;
        int k = conclude(w, &b->plans[i], &changes[at], b->replies[i], &changed[at], &f);
        done[at] = k != -EAGAIN;
        if (k == FAILED)
            fails[at] = f;
        else if (k < 0 && k != -EAGAIN)
            r = k;
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct fail f;
        int k = done[i] ? 0 : change_one(w, &changes[i], &changed[i], &f);
        if (k == FAILED)
            fails[i] = f;
        else
            r = k;
        if (k == FAILED && f.code == FAIL_catalog_unavailable && !redis_link_up(w->link)) {
            if (reterr)
                *reterr = f;
            r = FAILED;
        }
    }
    for (size_t i = 0; i < b->runs; i++) {
        redis_reply_free(&b->replies[i]);
        plan_done(&b->plans[i]);
        b->plans[i] = (struct plan){ 0 };
    }
    b->runs = 0;
    return r;
}

static int change_many(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                       struct adapter_changed *changed, struct fail *fails, struct fail *reterr)
{
    CLEANUP(own_free) struct plan *plans = calloc(BATCH, sizeof(*plans));
    CLEANUP(own_free) redisReply **replies = calloc(BATCH, sizeof(redisReply *));
    CLEANUP(own_free) struct str *argv = calloc((size_t)BATCH * PLAN_ARGS, sizeof(*argv));
    CLEANUP(own_free) size_t *at = calloc(BATCH, sizeof(*at));
    struct batch b = { plans, replies, argv, at, 0 };
    int r = plans && replies && argv && at ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i += BATCH)
        r = change_batch(w, changes + i, n - i < BATCH ? n - i : BATCH, changed + i, fails + i, &b,
                         reterr);
    return r;
}

static void check_durable(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                          struct adapter_changed *changed, const struct fail *fails)
{
    bool done[REDIS_SHARDS_MAX] = { 0 }, durable[REDIS_SHARDS_MAX] = { 0 };
    for (size_t i = 0; i < n; i++) {
        uint32_t s = redis_shard_of(w->keys, changes[i].adapter);
        char ep[REDIS_KEY_MAX];
        if (fails[i].message[0] || !changed[i].epoch)
            continue;
        redis_shard_key(w->keys, ep, "ep", s, STR(""));
        if (!done[s])
            durable[s] = make_durable(w, ep);
        done[s] = true;
        changed[i].durable = durable[s];
    }
}

int redis_change_heads(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                       struct adapter_changed *changed, struct fail *fails, struct fail *reterr)
{
    int r;
    memset(changed, 0, n * sizeof(*changed));
    memset(fails, 0, n * sizeof(*fails));
    if (n != 1)
        r = change_many(w, changes, n, changed, fails, reterr);
    else if ((r = change_one(w, changes, changed, fails)) == FAILED)
        r = 0; /* told in fails[0] */
    if (r == 0)
        check_durable(w, changes, n, changed, fails);
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters of adapters_change_many */
void redis_writer_wait(struct redis_writer *w, const struct adapter_change *changes, size_t n,
                       struct adapter_changed *changed, const struct fail *fails, uint64_t wait_ms,
                       struct arena *arena)
{
    uint64_t need[REDIS_SHARDS_MAX] = { 0 };
    CLEANUP(buf_done) struct buf laggards = BUF_INIT(64 * KIB);
    unsigned behind = 0;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        uint32_t s = redis_shard_of(w->keys, changes[i].adapter);
        if (fails[i].message[0] || !changed[i].epoch)
            continue;
        any = true;
        if (changed[i].epoch > need[s])
            need[s] = changed[i].epoch;
    }
    if (!any)
        return;
    fleet_wait(w->link, w->keys, w->feed ? redis_feed_id(w->feed) : "", need, wait_ms, &behind,
               arena ? &laggards : NULL);
    struct str ids = arena ? arena_str(arena, buf_str(&laggards)) : STR("");
    for (size_t i = 0; i < n; i++)
        if (!fails[i].message[0]) {
            changed[i].behind = behind;
            changed[i].laggards = ids;
        }
}

/* ---- publishing ---- */

static int publish_once(struct redis_writer *w, const struct publication *p, bool *reserved,
                        struct adapter_changed *ret, struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *now = NULL;
    CLEANUP(redis_reply_free) redisReply *none = NULL;
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    CLEANUP(plan_done) struct plan plan = { .place = redis_place_of(w->keys, p->base, p->adapter) };
    struct adapter_change c = { .base = p->base, .adapter = p->adapter };
    int r = fetch(w, p->base, p->adapter, STR(""), &now, &none, reterr);
    if (r == 0 && !now && !*reserved && (r = release_tenant(w, p->adapter, 1, reterr)) == 0)
        *reserved = true;
    if (r == 0)
        r = head_publish(&plan.step, now, p, reterr);
    if (r != 0)
        return r;
    describe(&plan.step, p->base, p->adapter, plan.step.head->epoch, ret);
    if (plan.step.same)
        return redis_page_put(w->page, head_ref(now));
    if ((r = plan_fill(w, &plan, now ? now->epoch : 0, p->who, STR(""))) == 0)
        r = redis_run(w->link, &redis_write, plan.argv, PLAN_ARGS, &reply, reterr);
    if (r == 0 && (r = conclude(w, &plan, &c, reply, ret, reterr)) == 0 && !now)
        *reserved = false; /* it has come */
    return r;
}

int redis_publish_head(struct redis_writer *w, const struct publication *p,
                       struct adapter_changed *ret, struct fail *reterr)
{
    bool reserved = false;
    int r = -EAGAIN;
    *ret = (struct adapter_changed){ 0 };
    for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++) {
        r = publish_once(w, p, &reserved, ret, reterr);
        if (r == -EAGAIN)
            nap_a_little(i);
    }
    if (reserved) /* nothing came of it */
        (void)!release_tenant(w, p->adapter, -1, NULL);
    if (r == -EAGAIN)
        return overtaken(reterr);
    if (r == 0) {
        struct adapter_change c = { .adapter = p->adapter };
        struct fail none = { 0 };
        check_durable(w, &c, 1, ret, &none);
    }
    return r;
}
