/* Answers at once, without an engine: how a policy refuses, or says "closed on Sundays". */
#include "plugins/types.h"

#include <errno.h>

struct fast_response {
    bool enabled;
    struct str message;
};

static const struct option options[] = {
    OPT_BOOL(struct fast_response, enabled, "enabled", "true", "off: the plugin does nothing"),
    OPT_TEXT(struct fast_response, message, "message", OPTION_REQUIRED, "the whole answer"),
    OPT_END,
};

static int compile(const struct plugin **ret, const struct node *configuration, const char *path,
                   struct arena *arena, struct problems *p)
{
    struct fast_response *self = arena_alloc(arena, sizeof(*self));
    if (!self)
        return -ENOMEM;
    int r = schema_read(self, options, configuration, path, arena, p);
    if (r < 0)
        return r;
    *ret = self->enabled ? (const struct plugin *)self : NULL;
    return 0;
}

static enum verdict prompt(const struct plugin *plugin, struct plugin_prompt *io,
                           struct fail *reterr)
{
    const struct fast_response *self = (const struct fast_response *)plugin;
    io->answer = self->message;
    return VERDICT_answer;
}

const struct plugin_type plugin_fast_response = {
    .name = "fast_response",
    .help = "answers at once with a fixed text",
    .compile = compile,
    .prompt = prompt,
};
