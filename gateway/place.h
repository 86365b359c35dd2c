/*
 * Place: puts the files of adapters where the engines behind a model read them
 * (upstream.lora.folder), and takes them away when there are too many.
 */
#pragma once

#include "engine/upstream/lora.h"

struct adapters;
struct config_model;
struct placer;

struct adapter_place {                /* of one model; lives with the core */
    struct adapters *const *adapters; /* opened after the engines, before the first request */
    struct str base;
    struct placer *placer;   /* owned; NULL: we put none */
    struct lora_files files; /* what its engine is given */
};

/* 0, negative errno. */
int place_init(struct adapter_place *p, struct adapters *const *adapters,
               const struct config_model *model) MUST_USE;
void place_done(struct adapter_place *p); /* after its engine; zeroed is fine */
