#include "adapters/inside.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

static const char *const op_words[] = {
    "promote", "rollback", "canary", "abort", "shadow", "retire"
};

const char *adapter_op_word(enum adapter_op op)
{
    return op_words[op];
}

/* A change with its adapter's base and name filled in; they live in the head. */
static int aim(struct adapters *a, const struct adapter_change *c, struct adapter_change *ret,
               struct head **ret_head, struct fail *reterr)
{
    struct sha256 digest;
    bool aliased = c->op == ADAPTER_OP_promote || c->op == ADAPTER_OP_rollback;
    int k = aliased && c->alias.n ? alias_name_check(c->alias, reterr) : 0;
    if (k == 0 && c->expected.n && sha256_parse(&digest, c->expected) < 0)
        k = fail_param(reterr, FAIL_invalid_request, "expected", "expected is no sha256 in hex");
    if (k == 0)
        k = adapters_head(a, c->base, c->adapter, ret_head, reterr);
    if (k != 0)
        return k;
    *ret = *c;
    ret->base = (*ret_head)->base;
    ret->adapter = (*ret_head)->adapter;
    return 0;
}

/* What a change of an adapter that is gone was kept as: a key may be sent again after a retirement.
 */
static int aim_keyed(struct adapters *a, const struct adapter_change *c, struct adapter_change *ret,
                     struct head **ret_head, struct fail *reterr)
{
    int k = aim(a, c, ret, ret_head, reterr);
    bool gone = k == FAILED && reterr->code == FAIL_model_not_found && c->key.n && c->base.n;
    if (!gone || base_name_check(c->base, NULL) != 0 || adapter_name_check(c->adapter, NULL) != 0)
        return k;
    *ret = *c;
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int adapters_change_many(struct adapters *a, const struct adapter_change *changes, size_t n,
                         struct arena *arena, struct adapter_changed *changed, struct fail *fails,
                         struct fail *reterr)
{
    CLEANUP(own_free) struct adapter_change *aimed = calloc(n + 1, sizeof(*aimed));
    CLEANUP(own_free) struct head **heads = calloc(n + 1, sizeof(struct head *));
    CLEANUP(own_free) struct adapter_changed *done = calloc(n + 1, sizeof(*done));
    CLEANUP(own_free) struct fail *failed = calloc(n + 1, sizeof(*failed));
    CLEANUP(own_free) size_t *at = calloc(n + 1, sizeof(*at));
    struct catalog *catalog = adapters_catalog(a);
    size_t m = 0;
    int k = aimed && heads && done && failed && at ? 0 : -ENOMEM;
    for (size_t i = 0; k == 0 && i < n; i++) {
        struct fail f = { 0 };
        changed[i] = (struct adapter_changed){ .laggards = STR("") };
        fails[i] = (struct fail){ 0 };
        int r = aim_keyed(a, &changes[i], &aimed[m], &heads[m], &f);
        if (r == FAILED)
            fails[i] = f;
        else if (r < 0)
            k = r;
        else
            at[m++] = i;
    }
    if (k == 0 && m)
        k = catalog->ops->change(catalog, aimed, m, arena, done, failed, reterr);
    for (size_t i = 0; i < m; i++) {
        if (k == 0) {
            changed[at[i]] = done[i];
            fails[at[i]] = failed[i];
        }
        (void)head_unref(heads[i]);
    }
    return k;
}

int adapters_change(struct adapters *a, const struct adapter_change *change, struct arena *arena,
                    struct adapter_changed *ret, struct fail *reterr)
{
    struct fail f = { 0 };
    int k = adapters_change_many(a, change, 1, arena, ret, &f, reterr);
    if (k != 0 || !f.message[0])
        return k;
    if (reterr)
        *reterr = f;
    return FAILED;
}

/* The short forms wait for the fleet, and say when it does not follow. */
enum { FLEET_MS = 2000 };

static int move(struct adapters *a, const struct adapter_change *c, struct adapter_revision *ret,
                struct fail *reterr)
{
    struct adapter_changed changed;
    int k = adapters_change(a, c, NULL, &changed, reterr);
    if (k != 0)
        return k;
    if (changed.behind)
        log_line(LOG_warn, "catalog_gateways_behind",
                 "gateways=%u waited_ms=%d, they follow when they answer again, continuing",
                 changed.behind, FLEET_MS);
    *ret = changed.revision;
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int adapters_alias(struct adapters *a, struct str base, struct str adapter, struct str alias,
                   struct str selector, struct str expected, struct str who,
                   struct adapter_revision *ret, struct fail *reterr)
{
    struct adapter_change c = { .op = ADAPTER_OP_promote,
                                .base = base,
                                .adapter = adapter,
                                .alias = alias,
                                .selector = selector,
                                .expected = expected,
                                .who = who,
                                .fleet_ms = FLEET_MS };
    int k = alias_name_check(alias, reterr);
    return k == 0 ? move(a, &c, ret, reterr) : k;
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int adapters_rollback(struct adapters *a, struct str base, struct str adapter, struct str alias,
                      struct str who, struct adapter_revision *ret, struct fail *reterr)
{
    struct adapter_change c = { .op = ADAPTER_OP_rollback,
                                .base = base,
                                .adapter = adapter,
                                .alias = alias,
                                .who = who,
                                .fleet_ms = FLEET_MS };
    return move(a, &c, ret, reterr);
}

static int check_row(const struct adapter_import *row, size_t i, struct fail *reterr)
{
    struct fail f;
    int k = base_name_check(row->base, &f);
    if (k == 0)
        k = adapter_name_check(row->adapter, &f);
    if (k != 0)
        return fail_param(reterr, f.code, f.param, "row %zu: %.200s", i + 1, f.message);
    return 0;
}

int adapters_import(struct adapters *a, const struct adapter_import *rows, size_t n, bool replace,
                    size_t *ret_written, struct fail *reterr)
{
    struct catalog *catalog = adapters_catalog(a);
    *ret_written = 0;
    if (!catalog->ops->import)
        return fail_set(reterr, FAIL_not_implemented,
                        "a folder of adapters has no bulk import; push them, or use a catalog in "
                        "Redis");
    for (size_t i = 0; i < n; i++) {
        int k = check_row(&rows[i], i, reterr);
        if (k != 0)
            return k;
    }
    return catalog->ops->import(catalog, rows, n, replace, ret_written, reterr);
}

int adapters_limit_tenant(struct adapters *a, struct str tenant, uint64_t max_adapters,
                          struct fail *reterr)
{
    struct catalog *catalog = adapters_catalog(a);
    if (adapter_name_check(tenant, NULL) != 0 || adapter_tenant(tenant).n)
        return fail_param(reterr, FAIL_invalid_request, "tenant", "'%.*s' is no tenant's name",
                          STR_ARG(str_head(tenant, 80)));
    if (!catalog->ops->limit_tenant)
        return fail_set(reterr, FAIL_not_implemented,
                        "a folder of adapters knows no limits of tenants; use a catalog in Redis");
    return catalog->ops->limit_tenant(catalog, tenant, max_adapters, reterr);
}

int adapters_wait_epoch(struct adapters *a, struct str base, struct str adapter, uint64_t epoch,
                        uint64_t wait_ms, struct fail *reterr)
{
    struct catalog *catalog = adapters_catalog(a);
    (void)base; /* the shard is that of the name */
    if (!catalog->ops->wait_epoch || adapter_name_check(adapter, NULL) != 0)
        return 0;
    return catalog->ops->wait_epoch(catalog, adapter, epoch, wait_ms, reterr);
}
