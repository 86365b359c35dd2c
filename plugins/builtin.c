#include "plugins/types.h"

const struct plugin_type *const plugin_types[] = {
    &plugin_system_prompt, &plugin_fast_response, &plugin_header_mutation,
    &plugin_pii,           &plugin_router_replay, NULL,
};

const char *const plugin_ignored[] = {
    "context_compression",
    "hallucination",
    "image_gen",
    "jailbreak",
    "memory",
    "rag",
    "request_params",
    "response_cache",
    "response_jailbreak",
    "semantic-cache",
    "semantic_cache",
    "tool_selection",
    "tools",
    NULL,
};
