/*
 * The isolated reference: what one adapter at one scale answers to one prompt, computed alone. A
 * model of its own, the adapter read from its published files, and every position computed anew
 * from the first one: there is no cache to share, no slot to take over, no other row in a step.
 *
 * One thread.
 */
#pragma once

#include "engine/local/lora.h"
#include "engine/local/model.h"

enum { ISOLATED_TOKENS = 8, ISOLATED_CONTEXT = 128 };

struct isolated;

struct isolated_prompt {
    const int32_t *ids;
    uint32_t n;
    uint32_t number; /* names it */
};

struct isolated_answer {
    int32_t ids[ISOLATED_TOKENS]; /* greedy */
    float logprobs[ISOLATED_TOKENS];
};

struct isolated *isolated_new(const char *model, enum cache_type cache);
/* Tokens that are never chosen, like the engine's end tokens where it ignores them; borrowed. */
void isolated_ban(struct isolated *s, const int32_t *ends, size_t n);
struct isolated *isolated_free(struct isolated *s);
const struct model_shape *isolated_shape(const struct isolated *s);

/* `path`: the adapter's files, NULL for the base. Computed once for each path, scale and prompt. */
const struct isolated_answer *isolated_ask(struct isolated *s, const char *path, float scale,
                                           const struct isolated_prompt *prompt);
size_t isolated_known(const struct isolated *s);
