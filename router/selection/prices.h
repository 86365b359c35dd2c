/*
 * What models cost: the pricing of providers.models.
 */
#pragma once

#include "router/policy.h"

/* Fills the prices of *names, in the arena. 0, -EINVAL (problems were added) or -ENOMEM. */
int prices_load(struct model_names *names, const struct node *models, struct arena *arena,
                struct problems *p) MUST_USE;

/* Mean of prompt and completion per million tokens; -1: unknown. */
double price_of(const struct model_names *names, struct str model);

/* How much of it a cache that holds the whole prompt saves: the mean again; 0: nothing is known. */
double price_saved(const struct model_names *names, struct str model);
