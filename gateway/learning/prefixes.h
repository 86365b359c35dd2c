/*
 * Which prompts a candidate saw lately: hashes of their first blocks, in a table that overwrites.
 *
 * What an engine's cache really holds is its own matter; a prompt whose beginning was answered by
 * the same candidate a moment ago is likely to be in it. Not thread-safe.
 */
#pragma once

#include "base/own.h"
#include "engine/chat.h"

enum {
    PREFIX_BLOCK = 128,  /* bytes of a block */
    PREFIX_BLOCKS = 256, /* of a prompt, at most: its first 32 KiB */
};

/* The blocks of a prompt: each hash is over everything up to its end. */
struct prefix {
    uint64_t blocks[PREFIX_BLOCKS];
    uint32_t n;
    uint64_t bytes; /* of the prompt, up to what the blocks can hold */
};
void prefix_of(struct prefix *ret, const struct chat_request *chat);

struct prefixes;
int prefixes_new(struct prefixes **ret) MUST_USE;
struct prefixes *prefixes_free(struct prefixes *p); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct prefixes *, prefixes_free);
/* `owner` tells candidates apart. */
void prefixes_add(struct prefixes *p, uint64_t owner, const struct prefix *x);
double prefixes_share(const struct prefixes *p, uint64_t owner, const struct prefix *x); /* 0…1 */
