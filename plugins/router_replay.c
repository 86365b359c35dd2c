/* What of a decision's requests the gateway keeps for looking at later. */
#include "plugins/router_replay.h"

#include "plugins/types.h"

#include <errno.h>

#define MAX_NUMBER 1000000000000.0 /* a policy may say more than we keep */

static const struct option options[] = {
    OPT_BOOL(struct router_replay, enabled, "enabled", "true", "off: nothing is kept"),
    OPT_UINT(struct router_replay, max_records, "max_records", 0, MAX_NUMBER, "10000",
             "kept of the decision; 0: as many as the ring holds"),
    OPT_BOOL(struct router_replay, capture_request, "capture_request_body", "true",
             "keep the request"),
    OPT_BOOL(struct router_replay, capture_response, "capture_response_body", "true",
             "keep the answer"),
    OPT_UINT(struct router_replay, max_body_bytes, "max_body_bytes", 0, MAX_NUMBER, "4096",
             "kept of each; 0: 64 KiB"),
    OPT_UINT(struct router_replay, max_tool_bytes, "max_tool_trace_bytes", 0, MAX_NUMBER, "0",
             "kept of each tool call and result; 0: 16 KiB"),
    OPT_UINT(struct router_replay, max_tool_steps, "max_tool_trace_steps", 0, MAX_NUMBER, "100",
             "of tool calls and results kept, the last ones; 0: 200"),
    OPT_END,
};

static uint64_t within(uint64_t value, uint64_t most)
{
    return value == 0 || value > most ? most : value;
}

int router_replay_read(struct router_replay *ret, const struct node *configuration,
                       const char *path, struct arena *arena, struct problems *p)
{
    int r = schema_read(ret, options, configuration, path, arena, p);
    ret->max_body_bytes = within(ret->max_body_bytes, REPLAY_BODY_MAX);
    ret->max_tool_bytes = within(ret->max_tool_bytes, REPLAY_TOOL_BYTES_MAX);
    ret->max_tool_steps = within(ret->max_tool_steps, REPLAY_TOOL_STEPS_MAX);
    return r;
}

bool router_replay_find(struct router_replay *ret, const struct node *plugins, struct arena *arena)
{
    static const struct node empty = { .kind = NODE_map };
    for (size_t i = 0; plugins && i < plugins->n; i++) {
        const struct node *one = node_at(plugins, i);
        const struct node *type = node_get(one, "type");
        const struct node *configuration = node_get(one, "configuration");
        if (!type || type->kind != NODE_scalar || !str_is(type->scalar, "router_replay"))
            continue;
        if (!configuration || configuration->kind == NODE_null)
            configuration = &empty;
        CLEANUP(problems_freep) struct problems *p = problems_new();
        return p && router_replay_read(ret, configuration, "", arena, p) == 0;
    }
    return false;
}

static int compile(const struct plugin **ret, const struct node *configuration, const char *path,
                   struct arena *arena, struct problems *p)
{
    struct router_replay settings;
    (void)ret; /* nothing of it runs in a chain */
    return router_replay_read(&settings, configuration, path, arena, p);
}

const struct plugin_type plugin_router_replay = {
    .name = "router_replay",
    .help = "keeps decisions and bodies for GET /v1/router_replay",
    .compile = compile,
};
