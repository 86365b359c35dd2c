/*
 * One routing profile, compiled: its signals, projections and decisions. `routing` is the profile
 * "default"; each recipe is one of its own.
 *
 * Immutable; lives in the router's arena, but for what policy_done frees.
 */
#pragma once

#include "router/decision.h"
#include "router/projection.h"
#include "router/signals/signals.h"

struct signal {
    enum family family;
    size_t rule; /* number of its value in its family */
    struct str name;
    size_t gate; /* number of the rule that must hold as well, from 1; 0: none */
    bool hidden; /* it measures something for a projection; no rule names it */
};

struct family_state {
    void *state;                 /* owned; NULL: not evaluated by this version, or no rules */
    size_t first, n;             /* its signals */
    const struct signal *sorted; /* the same by name */
    bool used;                   /* some decision depends on it */
};

struct policy {
    struct str name;
    bool by_confidence;
    struct family_state families[FAMILY_N];
    struct scanner *scanner; /* owned: literals and patterns of all families */
    struct signal *signals;
    size_t n_signals;
    struct rule *gates;
    size_t n_gates;
    struct projections *projections;
    struct decision *decisions; /* by tier up, priority down, name */
    size_t n_decisions;
    const struct vector_space *space; /* the source's */
};

struct model_price {
    struct str name;
    double prompt, completion;  /* per million tokens */
    double cached, cache_write; /* likewise, of those that a cache holds; -1: not given */
    struct str currency;
};

struct model_names {
    const char *const *names; /* sorted */
    size_t n;
    const struct item_list *cards;    /* struct model_card */
    const struct model_price *prices; /* by name */
    size_t n_prices;
};

struct model_card {
    struct str name, description, param_size, modality;
    double quality_score;
    uint64_t context_window_size;
    struct text_list capabilities, tags;
    struct item_list loras; /* struct lora_card */
};

struct lora_card {
    struct str name, description;
};
extern const struct option model_card_options[];

struct policy_source {
    struct str name;
    const struct node *routing;
    const char *path; /* "routing", "recipes[2].routing" */
    const struct config *config;
    const struct vector_space *space; /* outlives the policy */
    const struct model_names *models;
    const struct learning_settings *learning;
    struct selection_defaults *defaults; /* files are read into it when a decision asks */
    unsigned strategy;                   /* when the profile names none */
    struct arena *arena;
    struct problems *p;
};

enum { STRATEGY_priority, STRATEGY_confidence };
extern const char *const strategies[];

/* 0 (problems may have been added) or a negative errno; policy_done in any case. */
int policy_load(struct policy *ret, const struct policy_source *source) MUST_USE;
void policy_done(struct policy *p);

bool model_names_have(const struct model_names *m, struct str name);
/* Splits "base:adapter" when only the base is known. */
void model_names_split(const struct model_names *m, struct str *model, struct str *ret_adapter);
