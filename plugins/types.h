/*
 * What the plugins of this folder share; private to it.
 */
#pragma once

#include "plugins/plugin.h"

extern const struct plugin_type plugin_pii, plugin_system_prompt, plugin_fast_response,
    plugin_header_mutation, plugin_router_replay;

/* Types of the policy language that are accepted and have no effect yet; NULL-terminated. */
extern const char *const plugin_ignored[];
