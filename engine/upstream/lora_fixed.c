#include "engine/upstream/lora_fixed.h"

#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>

ptrdiff_t lora_fixed_id(const struct config_upstream_lora *l, const struct engine_adapter *a)
{
    char hex[SHA256_HEX + 1];
    ptrdiff_t plain = -1;
    sha256_hex(hex, &a->digest);
    for (size_t i = 0; i < l->fixed.n; i++) {
        struct str name = l->fixed.items[i], digest = STR_NULL;
        (void)str_cut(l->fixed.items[i], '@', &name, &digest);
        if (!str_eq(name, a->name))
            continue;
        if (digest.n && str_starts(str_of(hex), digest))
            return (ptrdiff_t)i;
        if (!digest.n && plain < 0 && !a->is_other)
            plain = (ptrdiff_t)i;
    }
    return plain;
}

int lora_fixed_bodies(const struct config_upstream_lora *l, struct buf **ret)
{
    size_t n = l->fixed.n;
    struct buf *all = calloc(n + 1, sizeof(*all));
    *ret = all;
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i <= n; i++) {
        all[i] = BUF_INIT(MIB);
        buf_addc(&all[i], '[');
        for (size_t k = 0; k < n; k++)
            buf_addf(&all[i], "%s{\"id\":%zu,\"scale\":%s}", k ? "," : "", k,
                     k == i ? "1.0" : "0.0");
        buf_addc(&all[i], ']');
        if (buf_err(&all[i]) < 0)
            return buf_err(&all[i]);
    }
    return 0;
}

void lora_fixed_free(const struct config_upstream_lora *l, struct buf *bodies)
{
    for (size_t i = 0; bodies && i <= l->fixed.n; i++)
        buf_done(&bodies[i]);
    free(bodies);
}

int lora_fixed_choose(const struct config_upstream_lora *l, const struct buf *bodies,
                      const struct engine_adapter *a, struct chat_pair *ret, struct fail *reterr)
{
    ptrdiff_t id = lora_fixed_id(l, a);
    if (id < 0)
        return fail_set(reterr, FAIL_unprocessable_adapter,
                        "the engine behind was not started with this revision of the adapter "
                        "'" STR_FMT "' (upstream.lora.fixed)",
                        STR_ARG(str_head(a->name, LIMIT_NAME)));
    *ret = lora_fixed_member(bodies, (size_t)id);
    return 0;
}

struct chat_pair lora_fixed_member(const struct buf *bodies, size_t i)
{
    return (struct chat_pair){ STR("lora"), buf_str(&bodies[i]) };
}
