/*
 * llama-server's adapters: fixed at its start, chosen by their ids in each request.
 *
 * Each request names all of them, with zeros for those that it does not want: what is left out
 * keeps the scale that another request gave it. Internal to lora.c.
 */
#pragma once

#include "config/config.h"
#include "engine/engine.h"

/* Its id there by upstream.lora.fixed, in the order of its start; -1: none. "name@digest" is that
 * revision; "name" the one that the adapter's plain name means. */
ptrdiff_t lora_fixed_id(const struct config_upstream_lora *l, const struct engine_adapter *a);
/* The member `lora` of a request for each of them, and the last of one for the base. 0 or
 * -ENOMEM. Freed by lora_fixed_free, also when it failed. */
int lora_fixed_bodies(const struct config_upstream_lora *l, struct buf **ret);
void lora_fixed_free(const struct config_upstream_lora *l, struct buf *bodies);
/* The member of a request for the adapter. FAILED: unprocessable_adapter. */
int lora_fixed_choose(const struct config_upstream_lora *l, const struct buf *bodies,
                      const struct engine_adapter *a, struct chat_pair *ret,
                      struct fail *reterr) MUST_USE;
/* The member of body i; borrowed from it. */
struct chat_pair lora_fixed_member(const struct buf *bodies, size_t i);
