#include "adapters/adapters.h"

#include "adapters/head.h"
#include "adapters/inside.h"

static bool alias_digest(const struct head *h, struct str alias, struct sha256 *ret)
{
    const struct head_alias *at = head_alias(h, alias);
    if (at)
        *ret = at->digest;
    return at != NULL;
}

bool adapters_trial(struct adapters *a, const struct adapter_name *name, struct adapter_trial *ret)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    struct adapter_trial t = { 0 };
    struct fail f;
    if (adapters_meant(a, name, &h, &f) != 0 || !h ||
        head_choose(h, name->selector, name->sticky, /* ordinals= */ false, &t.revision, &f) != 0)
        return false;
    t.epoch = h->epoch;
    t.has_prod = alias_digest(h, STR(ALIAS_PROD), &t.prod);
    if (alias_digest(h, STR(ALIAS_CANARY), &t.canary))
        t.canary_weight = h->canary_weight;
    if (alias_digest(h, STR(ALIAS_SHADOW), &t.shadow))
        t.shadow_weight = h->shadow_weight;
    *ret = t;
    return true;
}
