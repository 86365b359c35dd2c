#include "gateway/place.h"

#include "adapters/adapters.h"
#include "adapters/placer.h"
#include "base/limits.h"
#include "base/log.h"
#include "config/config.h"

#include <errno.h>

/* FAILED: unprocessable_adapter (its files), catalog_unavailable, model_not_found, upstream_error
 * (the folder; logged). */
static int put(void *ctx, const struct engine_adapter *adapter, struct fail *reterr)
{
    const struct adapter_place *p = ctx;
    char selector[SHA256_HEX + 1];
    sha256_hex(selector, &adapter->digest);
    struct adapter_name name = { .base = p->base,
                                 .adapter = adapter->name,
                                 .selector = { selector, SHA256_HEX } };
    int err = placer_put(p->placer, *p->adapters, &name, reterr);
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

static int keep(void *ctx, struct str digits)
{
    const struct adapter_place *p = ctx;
    return placer_keep(p->placer, digits);
}

static void trim(void *ctx)
{
    static struct log_rate rate;
    const struct adapter_place *p = ctx;
    uint64_t before = placer_look(p->placer).removed;
    int err = placer_trim(p->placer);
    struct placer_state now = placer_look(p->placer);
    if (err != 0)
        log_rated(&rate, LOG_warn, "upstream_folder", "why=\"%s\", continuing without removing",
                  strerror(-err));
    else if (now.removed > before)
        log_line(LOG_info, "upstream_folder", "removed=%llu bytes=%llu",
                 (unsigned long long)(now.removed - before), (unsigned long long)now.bytes);
}

int place_init(struct adapter_place *p, struct adapters *const *adapters,
               const struct config_model *model)
{
    const struct config_upstream_lora *l = &model->upstream.lora;
    struct placer_options o = { .folder = l->folder,
                                .max_bytes = l->folder_bytes,
                                .keep_ms = l->folder_keep_ms };
    *p = (struct adapter_place){ .adapters = adapters, .base = model->name };
    p->files = (struct lora_files){ .put = put, .keep = keep, .trim = trim, .ctx = p };
    return placer_new(&p->placer, &o);
}

void place_done(struct adapter_place *p)
{
    p->placer = placer_free(p->placer);
}
