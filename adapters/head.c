#include "adapters/head.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/num.h"

/* ---- one block ---- */

static bool add_text(size_t *total, struct str s)
{
    return add_ok(*total, s.n, total) && add_ok(*total, 1, total);
}

static bool block_bytes(const struct head *d, size_t *ret)
{
    size_t total = sizeof(*d), part;
    bool ok = mul_ok(d->n_revisions, sizeof(*d->revisions), &part) && add_ok(total, part, &total) &&
              mul_ok(d->n_aliases, sizeof(*d->aliases), &part) && add_ok(total, part, &total) &&
              mul_ok(d->n_examples, sizeof(*d->examples), &part) && add_ok(total, part, &total) &&
              add_text(&total, d->base) && add_text(&total, d->adapter) &&
              add_text(&total, d->description);
    for (size_t i = 0; ok && i < d->n_examples; i++)
        ok = add_text(&total, d->examples[i]);
    for (size_t i = 0; ok && i < d->n_aliases; i++)
        ok = add_text(&total, d->aliases[i].name);
    *ret = total;
    return ok;
}

static void *carve(char **at, const void *from, size_t bytes)
{
    char *p = *at;
    if (bytes && from)
        memcpy(p, from, bytes);
    *at += bytes;
    return p;
}

static struct str carve_text(char **at, struct str s)
{
    char *p = carve(at, s.p, s.n);
    *(*at)++ = '\0';
    return (struct str){ p, s.n };
}

static int by_ordinal(const void *a, const void *b)
{
    const struct head_revision *x = a, *y = b;
    return (x->ordinal > y->ordinal) - (x->ordinal < y->ordinal);
}

static int by_name(const void *a, const void *b)
{
    const struct head_alias *x = a, *y = b;
    return str_cmp(x->name, y->name);
}

struct head *head_new(const struct head *d)
{
    size_t bytes;
    if (!block_bytes(d, &bytes))
        return NULL;
    struct head *h = malloc(bytes);
    if (!h)
        return NULL;
    char *at = (char *)(h + 1);
    *h = (struct head){ .more = d->more,
                        .epoch = d->epoch,
                        .canary_weight = d->canary_weight,
                        .shadow_weight = d->shadow_weight,
                        .canary_salt = d->canary_salt,
                        .n_examples = d->n_examples,
                        .n_revisions = d->n_revisions,
                        .n_aliases = d->n_aliases };
    atomic_init(&h->refs, 1);
    h->revisions = carve(&at, d->revisions, d->n_revisions * sizeof(*d->revisions));
    h->aliases = carve(&at, d->aliases, d->n_aliases * sizeof(*d->aliases));
    h->examples = carve(&at, d->examples, d->n_examples * sizeof(*d->examples));
    h->base = carve_text(&at, d->base);
    h->adapter = carve_text(&at, d->adapter);
    h->description = carve_text(&at, d->description);
    for (size_t i = 0; i < h->n_examples; i++)
        h->examples[i] = carve_text(&at, h->examples[i]);
    for (size_t i = 0; i < h->n_aliases; i++)
        h->aliases[i].name = carve_text(&at, h->aliases[i].name);
    assert(at == (char *)h + bytes);
    if (h->n_revisions)
        qsort(h->revisions, h->n_revisions, sizeof(*h->revisions), by_ordinal);
    if (h->n_aliases)
        qsort(h->aliases, h->n_aliases, sizeof(*h->aliases), by_name);
    return h;
}

struct head *head_ref(struct head *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    return h;
}

struct head *head_unref(struct head *h)
{
    if (h && atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1)
        free(h);
    return NULL;
}

/* ---- selectors ---- */

const struct head_alias *head_alias(const struct head *h, struct str name)
{
    size_t lo = 0, hi = h->n_aliases;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(h->aliases[mid].name, name);
        if (c == 0)
            return &h->aliases[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct head_revision *head_revision(const struct head *h, const struct sha256 *digest)
{
    for (size_t i = 0; i < h->n_revisions; i++)
        if (sha256_eq(&h->revisions[i].digest, digest))
            return &h->revisions[i];
    return NULL;
}

const struct head_revision *head_default(const struct head *h)
{
    const struct head_alias *prod = head_alias(h, STR(ALIAS_PROD));
    const struct head_revision *r = prod ? head_revision(h, &prod->digest) : NULL;
    if (!r && !prod && h->n_revisions)
        r = &h->revisions[h->n_revisions - 1];
    return r;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (hex_value(s.p[i]) < 0)
            return false;
    return s.n > 0;
}

/* The hex digits of "sha256:…", "sha256-…" or bare hex of at least 12; false: not a digest. */
static bool digest_prefix(struct str selector, struct str *ret_hex)
{
    struct str hex = selector;
    size_t least = 12;
    if (str_starts(selector, STR("sha256:")) || str_starts(selector, STR("sha256-"))) {
        hex = str_sub(selector, 7);
        least = 8;
    }
    if (hex.n < least || hex.n > SHA256_HEX || !is_hex(hex))
        return false;
    *ret_hex = hex;
    return true;
}

static bool has_prefix(const struct sha256 *d, struct str hex)
{
    for (size_t i = 0; i < hex.n; i++)
        if ((i % 2 ? d->b[i / 2] & 15 : d->b[i / 2] >> 4) != hex_value(hex.p[i]))
            return false;
    return true;
}

static int no_such(const struct head *h, struct str selector, struct fail *reterr)
{
    if (str_starts(selector, STR("sha256:")) || str_starts(selector, STR("sha256-")))
        return fail_param(reterr, FAIL_model_not_found, "model",
                          "adapter '%.100s' has no revision '%.*s' (a digest prefix has at least 8 "
                          "hex digits)",
                          h->adapter.p, STR_ARG(str_head(selector, 80)));
    return fail_param(reterr, FAIL_model_not_found, "model",
                      "adapter '%.100s' has no alias or revision '%.*s'", h->adapter.p,
                      STR_ARG(str_head(selector, 80)));
}

static int select_digest(const struct head *h, struct str selector, struct str hex,
                         const struct head_revision **ret, struct fail *reterr)
{
    const struct head_revision *found = NULL;
    for (size_t i = 0; i < h->n_revisions; i++) {
        if (!has_prefix(&h->revisions[i].digest, hex))
            continue;
        if (found)
            return fail_param(reterr, FAIL_conflict, "model",
                              "'%.*s' begins the digests of several revisions of adapter '%.100s'; "
                              "give more digits",
                              STR_ARG(str_head(selector, 80)), h->adapter.p);
        found = &h->revisions[i];
    }
    if (!found)
        return no_such(h, selector, reterr);
    *ret = found;
    return 0;
}

int head_select(const struct head *h, struct str selector, bool ordinals,
                const struct head_revision **ret, struct str *ret_alias, struct fail *reterr)
{
    struct str hex;
    uint64_t ordinal;
    const struct head_alias *alias = head_alias(h, selector.n ? selector : STR(ALIAS_PROD));
    *ret_alias = STR("");
    if (alias) {
        const struct head_revision *r = head_revision(h, &alias->digest);
        if (!r)
            return no_such(h, alias->name, reterr);
        *ret = r;
        *ret_alias = alias->name;
        return 0;
    }
    if (selector.n == 0) {
        if (h->n_revisions == 0)
            return fail_param(reterr, FAIL_model_not_found, "model",
                              "adapter '%.100s' has no revision yet", h->adapter.p);
        *ret = &h->revisions[h->n_revisions - 1];
        return 0;
    }
    if (ordinals && num_parse_u64(&ordinal, selector, 1, UINT64_MAX) == 0)
        for (size_t i = 0; i < h->n_revisions; i++)
            if (h->revisions[i].ordinal == ordinal) {
                *ret = &h->revisions[i];
                return 0;
            }
    if (digest_prefix(selector, &hex))
        return select_digest(h, selector, hex, ret, reterr);
    return no_such(h, selector, reterr);
}

uint64_t head_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

bool head_in_canary(const struct head *h, uint64_t sticky)
{
    return sticky && h->canary_weight && head_alias(h, STR(ALIAS_CANARY)) &&
           head_mix(sticky ^ head_mix(h->canary_salt + 1)) % CANARY_WHOLE < h->canary_weight;
}

int head_choose(const struct head *h, struct str selector, uint64_t sticky, bool ordinals,
                struct adapter_revision *ret, struct fail *reterr)
{
    const struct head_revision *r;
    struct str alias;
    const struct head_alias *canary = head_alias(h, STR(ALIAS_CANARY));
    if (selector.n == 0 && canary && head_in_canary(h, sticky) &&
        (r = head_revision(h, &canary->digest))) {
        head_describe(h, r, canary->name, ret);
        ret->canary = true;
        return 0;
    }
    int k = head_select(h, selector, ordinals, &r, &alias, reterr);
    if (k == 0)
        head_describe(h, r, alias, ret);
    return k;
}

int alias_expect(const struct head_alias *a, struct str expected, struct fail *reterr)
{
    struct sha256 want;
    if (expected.n == 0 ||
        (a && sha256_parse(&want, expected) == 0 && sha256_eq(&want, &a->digest)))
        return 0;
    char now[SHA256_HEX + 1] = "nothing";
    if (a)
        sha256_hex(now, &a->digest);
    return fail_param(reterr, FAIL_precondition_failed, "expected", "the alias names %s", now);
}

static void put_name(char ret[static LIMIT_NAME + 1], struct str s)
{
    size_t n = s.n < LIMIT_NAME ? s.n : LIMIT_NAME;
    if (n)
        memcpy(ret, s.p, n);
    ret[n] = '\0';
}

void head_describe(const struct head *h, const struct head_revision *r, struct str alias,
                   struct adapter_revision *ret)
{
    put_name(ret->base, h->base);
    put_name(ret->adapter, h->adapter);
    put_name(ret->alias, alias);
    ret->digest = r->digest;
    ret->ordinal = r->ordinal;
    ret->created_s = r->created_s;
    ret->bytes = r->bytes;
    ret->epoch = h->epoch;
    ret->rank = r->rank;
    ret->canary = false;
}

/* ---- names ---- */

static bool is_word(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '_' && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return s.n > 0 && s.n <= LIMIT_NAME;
}

struct str adapter_tenant(struct str name)
{
    struct str tenant, rest;
    return str_cut(name, '/', &tenant, &rest) ? tenant : STR("");
}

int adapter_name_check(struct str name, struct fail *reterr)
{
    struct str tenant, own = name;
    bool ok = name.n <= LIMIT_NAME && (!str_cut(name, '/', &tenant, &own) || is_word(tenant));
    if (ok && is_word(own))
        return 0;
    return fail_param(reterr, FAIL_invalid_request, "name",
                      "'%.*s' is no adapter name: 'name' or 'tenant/name' of letters, digits, '.', "
                      "'_' and '-', at most %d",
                      STR_ARG(str_head(name, 80)), LIMIT_NAME);
}

int alias_name_check(struct str name, struct fail *reterr)
{
    uint64_t number;
    struct str hex;
    if (is_word(name) && num_parse_u64(&number, name, 0, UINT64_MAX) == -EINVAL &&
        !digest_prefix(name, &hex))
        return 0;
    return fail_param(reterr, FAIL_invalid_request, "alias",
                      "'%.*s' is no alias name: letters, digits, '.', '_' and '-', and neither a "
                      "number nor a digest",
                      STR_ARG(str_head(name, 80)));
}

int base_name_check(struct str name, struct fail *reterr)
{
    bool ok = name.n > 0 && name.n <= LIMIT_NAME && str_utf8_valid(name);
    for (size_t i = 0; ok && i < name.n; i++)
        ok = (unsigned char)name.p[i] > ' ' && name.p[i] != 0x7f;
    if (ok)
        return 0;
    return fail_param(reterr, FAIL_invalid_request, "base",
                      "'%.*s' is no base model name: no blanks, at most %d bytes",
                      STR_ARG(str_head(name, 80)), LIMIT_NAME);
}
