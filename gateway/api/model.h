/*
 * The model that an API means which has no policy: embeddings and tokens. Worker: a look-up of an
 * adapter may block.
 */
#pragma once

#include "engine/engine.h"
#include "gateway/request.h"

/* The base of that name. FAILED: 404 for one that is not served; 400 for an adapter, whose base is
 * named, and for a name that asks the router. Notes it for the log. */
int model_for_vectors(struct request *r, struct str name, struct engine **ret,
                      struct fail *reterr) MUST_USE;
/* Adapters have their base's tokens. An empty name, or one that asks the router, is the first
 * model. */
int model_for_tokens(struct request *r, struct str name, struct engine **ret,
                     struct fail *reterr) MUST_USE;
