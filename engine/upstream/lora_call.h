/*
 * The calls by which an engine behind loads, unloads and lists adapters. Internal to lora.c.
 */
#pragma once

#include "engine/upstream/lora.h"

struct config_endpoint;
struct lora_config;

enum lora_answer {
    LORA_loaded,     /* it is there now, or was already */
    LORA_unservable, /* the engine will not have it: not to be asked again soon */
    LORA_unanswered, /* it did not: unreachable, or too busy */
    LORA_doubtful,   /* nothing is known: broken off, or too late */
};

struct lora_call;
/* Told once, on the loop. `text`: what went wrong, or of a listing its body. */
typedef void (*lora_call_fn)(void *ctx, enum lora_answer answer, struct str text);

enum lora_verb { LORA_load, LORA_unload, LORA_list };

struct lora_call_spec {
    const struct lora_config *config;
    unsigned endpoint;
    enum lora_verb verb;
    const char *name, *path; /* copied */
    lora_call_fn told;
    void *ctx;
};

/* Any thread: posted to a loop. 0, -ENOMEM, or FAILED: no credentials. */
int lora_call_start(const struct lora_call_spec *spec, struct fail *reterr) MUST_USE;
