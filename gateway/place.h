/*
 * Place: puts the files of adapters where the engines behind a model read them
 * (upstream.lora.folder).
 */
#pragma once

#include "engine/engine.h"

struct adapters;

struct adapter_place {                /* of one model; lives with the core */
    struct adapters *const *adapters; /* opened after the engines, before the first request */
    struct str base, folder;
};

/* engine_upstream_config.place; ctx: a struct adapter_place. Blocks. FAILED: unprocessable_adapter
 * (its files), catalog_unavailable, model_not_found, upstream_error (the folder; logged). */
int place_adapter(void *ctx, const struct engine_adapter *adapter, struct fail *reterr) MUST_USE;
