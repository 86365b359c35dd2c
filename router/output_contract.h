/*
 * Output contracts: what the answer to a decision's requests must look like.
 *
 * `output_contract` is a sentence for models that answer together; `output_contract_spec` is for
 * the router. A contract is immutable and lives in the router's arena.
 */
#pragma once

#include "config/schema.h"

enum contract_type {
    CONTRACT_none,
    CONTRACT_choice,              /* one of some texts */
    CONTRACT_structured_json,     /* a JSON object */
    CONTRACT_reference_selection, /* one of the answers of several models: of orchestrations */
};

struct output_contract {
    enum contract_type type;
    /* Of a choice: what the answer is one of, as rendered: a JSON array of texts. */
    struct str choices;
    struct str fallback; /* of a choice: what stands for an answer that is none; may be empty */
    bool repair;         /* such an answer is asked for once more */
};

/* Reads an output_contract_spec (NULL: none) into the arena; *ret is NULL then. 0, -EINVAL
 * (problems were added) or -ENOMEM. */
int output_contract_load(const struct output_contract **ret, const struct node *spec,
                         const char *path, struct arena *arena, struct problems *p) MUST_USE;
