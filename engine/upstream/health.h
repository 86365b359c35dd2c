/*
 * Health: active checks of endpoints, on one loop (GET upstream.health_path).
 */
#pragma once

#include "engine/upstream/inside.h"

/* 0 or -ENOMEM. The first checks begin at once. */
int health_new(struct health **ret, struct upstream *u) MUST_USE;
/* Waits until no check is under way. Not from a loop. NULL is fine. */
struct health *health_free(struct health *h);
