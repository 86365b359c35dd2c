/*
 * The settings of `router_replay`: what the gateway keeps of a decision's requests. The plugin
 * itself does nothing to a request.
 */
#pragma once

#include "config/schema.h"

struct router_replay {
    bool enabled, capture_request, capture_response;
    uint64_t max_records; /* of the decision; 0: as many as the ring holds */
    uint64_t max_body_bytes;
    uint64_t max_tool_bytes, max_tool_steps;
};

/* Ours where a policy says 0; larger numbers of a policy are cut to them. */
enum {
    REPLAY_BODY_MAX = 64 * 1024,
    REPLAY_TOOL_BYTES_MAX = 16 * 1024,
    REPLAY_TOOL_STEPS_MAX = 200,
};

/* Reads a `configuration` (a map, maybe empty). 0, -EINVAL (`p` says why) or -ENOMEM. */
int router_replay_read(struct router_replay *ret, const struct node *configuration,
                       const char *path, struct arena *arena, struct problems *p) MUST_USE;

/* The settings among a decision's plugins, which were checked at load; false: it has none. */
bool router_replay_find(struct router_replay *ret, const struct node *plugins, struct arena *arena);
