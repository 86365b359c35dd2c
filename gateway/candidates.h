/*
 * Candidates: what run time knows of those that a decision may choose among.
 */
#pragma once

#include "gateway/state.h"

/* What is told of what earlier answers taught (learning/observed.h): where a policy asks for none
 * of it, none is kept. */
enum { CANDIDATES_OBSERVED = KNOWN_ttft | KNOWN_tpot | KNOWN_prefix | KNOWN_weights };

struct candidates {
    const struct core *core;
    struct prefix *prefix; /* of the prompt; made when it is first asked for; NULL: no memory */
    struct arena *arena;
};

/* A candidate_fn over a struct candidates, which serves one request. No I/O. */
void candidates_tell(void *ctx, const struct candidate_query *q, struct candidate_state *ret);

/* What the catalog says of an adapter (struct adapter_words over a core). May ask the catalog, so
 * it is for loading a policy. */
bool candidates_describe(void *ctx, struct str model, struct str adapter, struct arena *arena,
                         struct str *ret_description, struct text_list *ret_examples);
