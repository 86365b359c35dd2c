#include "adapters/redis_head.h"

#include <errno.h>
#include <stdlib.h>

#include <jansson.h>

#include "adapters/redis_scripts.h"
#include "base/log.h"
#include "base/num.h"

enum { BATCH = 256, EXAMPLES_MAX = 64, FIELDS_MAX = 1024 };

void redis_key(const struct redis_keys *k, char ret[static REDIS_KEY_MAX], const char *what,
               struct str name)
{
    (void)snprintf(ret, REDIS_KEY_MAX, "%s%s%.*s", k->prefix, what, STR_ARG(name));
}

void adapter_keys(const struct redis_keys *k, struct adapter_keys *ret, struct str base,
                  struct str adapter)
{
    int n = snprintf(ret->member, sizeof(ret->member), "%.*s:%.*s",
                     STR_ARG(str_head(base, LIMIT_NAME)), STR_ARG(str_head(adapter, LIMIT_NAME)));
    struct str member = { ret->member, (size_t)n };
    redis_key(k, ret->adapter, "a:", member);
    redis_key(k, ret->revisions, "r:", member);
    redis_key(k, ret->aliases, "al:", member);
    redis_key(k, ret->history, "h:", member);
    redis_key(k, ret->bases, "n:", str_head(adapter, LIMIT_NAME));
}

/* ---- decoding (every field is checked: anybody may have written to Redis) ---- */

struct draft {
    struct head head;
    struct head_revision revisions[LIMIT_REVISIONS];
    struct head_alias aliases[LIMIT_ALIASES];
    struct str examples[EXAMPLES_MAX];
    json_t *json; /* owned; holds the examples' text */
};

static bool next_number(struct str *rest, uint64_t *ret)
{
    struct str word;
    if (!str_cut(*rest, ' ', &word, rest)) {
        word = *rest;
        *rest = STR("");
    }
    return num_parse_u64(ret, word, 0, INT64_MAX) == 0;
}

static bool decode_revision(struct draft *d, struct str digest, struct str value)
{
    struct head_revision *r = &d->revisions[d->head.n_revisions];
    if (sha256_parse(&r->digest, digest) < 0 || !next_number(&value, &r->ordinal) ||
        !next_number(&value, &r->created_s) || !next_number(&value, &r->bytes) || value.n)
        return false;
    d->head.n_revisions++;
    return true;
}

static bool decode_alias(struct draft *d, struct str name, struct str value)
{
    struct head_alias *a = &d->aliases[d->head.n_aliases];
    struct str now = str_head(value, SHA256_HEX), former = str_sub(value, SHA256_HEX + 1);
    if (alias_name_check(name, NULL) != 0 || sha256_parse(&a->digest, now) < 0)
        return false;
    a->name = name;
    a->moved = sha256_parse(&a->previous, former) == 0;
    d->head.n_aliases++;
    return true;
}

static void decode_examples(struct draft *d, struct str text)
{
    d->json = text.n ? json_loadb(text.p, text.n, 0, NULL) : NULL;
    for (size_t i = 0; i < json_array_size(d->json) && i < EXAMPLES_MAX; i++) {
        const json_t *v = json_array_get(d->json, i);
        if (json_is_string(v))
            d->examples[d->head.n_examples++] =
                (struct str){ json_string_value(v), json_string_length(v) };
    }
}

static bool decode_field(struct draft *d, struct str key, struct str value)
{
    if (str_is(key, "description"))
        d->head.description = str_head(value, 64 * KIB);
    else if (str_is(key, "epoch"))
        return num_parse_u64(&d->head.epoch, value, 0, INT64_MAX) == 0;
    else if (str_is(key, "examples"))
        decode_examples(d, value);
    return true; /* fields of later versions are theirs */
}

typedef bool (*decode_fn)(struct draft *d, struct str key, struct str value);

static bool decode_pairs(struct draft *d, const redisReply *r, size_t max, decode_fn decode)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements % 2 || r->elements > 2 * max)
        return false;
    for (size_t i = 0; i < r->elements; i += 2)
        if (r->element[i]->type != REDIS_REPLY_STRING ||
            r->element[i + 1]->type != REDIS_REPLY_STRING ||
            !decode(d, redis_text(r->element[i]), redis_text(r->element[i + 1])))
            return false;
    return true;
}

/* NULL: damaged. */
static struct head *decode_head(const redisReply *r, struct str base, struct str adapter)
{
    struct head *h = NULL;
    struct draft *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->head.base = base;
    d->head.adapter = adapter;
    d->head.revisions = d->revisions;
    d->head.aliases = d->aliases;
    d->head.examples = d->examples;
    if (r->type == REDIS_REPLY_ARRAY && r->elements == 3 &&
        decode_pairs(d, r->element[0], FIELDS_MAX, decode_field) &&
        decode_pairs(d, r->element[1], LIMIT_REVISIONS, decode_revision) &&
        decode_pairs(d, r->element[2], LIMIT_ALIASES, decode_alias))
        h = head_new(&d->head);
    json_decref(d->json);
    free(d);
    return h;
}

/* ---- reading ---- */

static bool split_member(struct str member, struct str *ret_base, struct str *ret_adapter)
{
    size_t at = member.n;
    while (at > 0 && member.p[at - 1] != ':') /* an adapter's name has none, a base's may */
        at--;
    if (at == 0)
        return false;
    *ret_base = (struct str){ member.p, at - 1 };
    *ret_adapter = str_sub(member, at);
    return base_name_check(*ret_base, NULL) == 0 && adapter_name_check(*ret_adapter, NULL) == 0;
}

static int enter(struct page *page, const redisReply *r, struct str base, struct str adapter)
{
    static struct log_rate rate;
    if (r->type == REDIS_REPLY_ARRAY && r->elements == 0)
        return 0; /* not there; a name that is known keeps serving */
    struct head *h = decode_head(r, base, adapter);
    if (h)
        return page_put(page, h);
    struct str why = r->type == REDIS_REPLY_ERROR ? redis_text(r) : STR("fields that are not ours");
    log_rated(&rate, LOG_error, "catalog_head_damaged",
              "adapter=%.*s:%.*s why=\"%.*s\", keeping what was known, continuing", STR_ARG(base),
              STR_ARG(adapter), STR_ARG(str_head(why, 120)));
    return 0;
}

int redis_heads_read(struct redis_link *l, const struct redis_keys *k, struct page *page,
                     const struct str *members, size_t n, struct fail *reterr)
{
    CLEANUP(own_free) struct adapter_keys *keys = calloc(n + 1, sizeof(*keys));
    CLEANUP(own_free) struct str *argv = calloc(3 * n + 1, sizeof(*argv));
    CLEANUP(own_free) redisReply **replies = calloc(n + 1, sizeof(redisReply *));
    size_t m = 0;
    if (!keys || !argv || !replies)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct str base, adapter;
        if (!split_member(members[i], &base, &adapter))
            continue;
        adapter_keys(k, &keys[m], base, adapter);
        argv[3 * m] = str_of(keys[m].adapter);
        argv[3 * m + 1] = str_of(keys[m].revisions);
        argv[3 * m + 2] = str_of(keys[m].aliases);
        m++;
    }
    int r = m ? redis_run_many(l, &redis_head, argv, 3, m, replies, reterr) : 0;
    for (size_t i = 0; r == 0 && i < m; i++) {
        struct str base, adapter;
        if (split_member(str_of(keys[i].member), &base, &adapter))
            r = enter(page, replies[i], base, adapter);
    }
    for (size_t i = 0; i < m; i++)
        redis_reply_free(&replies[i]);
    return r;
}

int redis_head_read(struct redis_link *l, const struct redis_keys *k, struct page *page,
                    struct str base, struct str adapter, struct fail *reterr)
{
    CLEANUP(redis_reply_free) redisReply *reply = NULL;
    struct adapter_keys keys;
    adapter_keys(k, &keys, base, adapter);
    struct str argv[] = { str_of(keys.adapter), str_of(keys.revisions), str_of(keys.aliases) };
    int r = redis_run(l, &redis_head, argv, 3, &reply, reterr);
    return r == 0 ? enter(page, reply, base, adapter) : r;
}

static int scan_page(struct redis_link *l, const struct redis_keys *k, struct page *page,
                     const redisReply *names, struct fail *reterr)
{
    struct str members[BATCH];
    size_t n = 0;
    for (size_t i = 0; i < names->elements; i++) {
        members[n] = redis_text(names->element[i]);
        n += members[n].n > 0;
        if (n == BATCH || i + 1 == names->elements) {
            int r = redis_heads_read(l, k, page, members, n, reterr);
            if (r != 0)
                return r;
            n = 0;
        }
    }
    return 0;
}

int redis_heads_read_all(struct redis_link *l, const struct redis_keys *k, struct page *page,
                         size_t max, bool *ret_all, struct fail *reterr)
{
    char key[REDIS_KEY_MAX], cursor[24] = "0";
    redis_key(k, key, "adapters", STR(""));
    do {
        CLEANUP(redis_reply_free) redisReply *reply = NULL;
        int r = REDIS_CALL(l, &reply, reterr, STR("SSCAN"), str_of(key), str_of(cursor),
                           STR("COUNT"), STR("256"));
        if (r != 0 || (r = redis_check(reply, REDIS_REPLY_ARRAY, reterr)) != 0)
            return r;
        if (reply->elements != 2 ||
            (r = redis_check(reply->element[0], REDIS_REPLY_STRING, reterr)) != 0 ||
            (r = redis_check(reply->element[1], REDIS_REPLY_ARRAY, reterr)) != 0 ||
            (r = scan_page(l, k, page, reply->element[1], reterr)) != 0)
            return r ? r : redis_check(NULL, REDIS_REPLY_ARRAY, reterr);
        (void)snprintf(cursor, sizeof(cursor), "%.*s", STR_ARG(redis_text(reply->element[0])));
    } while (strcmp(cursor, "0") != 0 && page_len(page) < max);
    *ret_all = strcmp(cursor, "0") == 0;
    return 0;
}
