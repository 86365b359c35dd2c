#include "gateway/place.h"

#include "adapters/adapters.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

int place_adapter(void *ctx, const struct engine_adapter *adapter, struct fail *reterr)
{
    const struct adapter_place *p = ctx;
    char selector[SHA256_HEX + 1], folder[PATH_MAX];
    sha256_hex(selector, &adapter->digest);
    if (snprintf(folder, sizeof(folder), STR_FMT, STR_ARG(p->folder)) >= PATH_MAX)
        return -ENAMETOOLONG;
    struct adapter_name name = { .base = p->base,
                                 .adapter = adapter->name,
                                 .selector = { selector, SHA256_HEX } };
    int err = adapters_place(*p->adapters, &name, folder, reterr);
    if (err != FAILED || reterr->code == FAIL_unprocessable_adapter ||
        reterr->code == FAIL_catalog_unavailable || reterr->code == FAIL_model_not_found)
        return err;
    /* Of this host's folders; no client's business. */
    log_line(LOG_error, "upstream_adapter", "adapter=" STR_FMT " why=\"%s\"",
             STR_ARG(adapter->name), reterr->message);
    return fail_set(reterr, FAIL_upstream_error,
                    "the files of '" STR_FMT
                    "' could not be put where the engine behind reads them",
                    STR_ARG(str_head(adapter->name, LIMIT_NAME)));
}
