/*
 * `providers`: the default model, and how models are told to reason. Where models behind are is
 * read by config, what they cost by selection.
 *
 * Immutable once loaded; in the router's arena.
 */
#pragma once

#include "router/policy.h"

enum reasoning_type {
    REASONING_none,                 /* the model has no family: it is told nothing */
    REASONING_chat_template_kwargs, /* a flag of the chat template */
    REASONING_effort,               /* a word, of the chat template or a field of the request */
    REASONING_top_level_effort,     /* a word, a field of the request */
};

struct reasoning_family {
    struct str name;
    unsigned type; /* index into the words of the table */
    struct str parameter;
};

struct provider_model {
    struct str name, family;
    const struct reasoning_family *reasoning; /* NULL: none */
};

struct providers {
    struct str default_model, default_effort;
    struct item_list families; /* struct reasoning_family */
    struct item_list models;   /* struct provider_model */
};

struct providers_source {
    const struct config *config;
    struct arena *arena;
    struct problems *p;
};

/* 0 (problems may have been added) or a negative errno. */
int providers_load(struct providers *ret, const struct providers_source *source) MUST_USE;

/* How ret->model is told to reason, or not to, as ret->use_reasoning and reasoning_effort say:
 * fills the other members of `reasoning`. */
void providers_reasoning(const struct providers *p, struct route *ret);
