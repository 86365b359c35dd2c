/* Puts the decision's system prompt in front of the conversation, alone or before the client's. */
#include "plugins/types.h"

#include <errno.h>

enum mode { MODE_replace, MODE_insert };

static const char *const modes[] = { "replace", "insert", NULL };

struct system_prompt {
    bool enabled;
    unsigned mode;
    struct str text;
};

static const struct option options[] = {
    OPT_BOOL(struct system_prompt, enabled, "enabled", "true", "off: the plugin does nothing"),
    OPT_WORD(struct system_prompt, mode, "mode", modes, "replace",
             "replace the client's system messages, or insert before them"),
    OPT_TEXT(struct system_prompt, text, "system_prompt", "", "the text; empty: does nothing"),
    OPT_END,
};

static int compile(const struct plugin **ret, const struct node *configuration, const char *path,
                   struct arena *arena, struct problems *p)
{
    struct system_prompt *self = arena_alloc(arena, sizeof(*self));
    if (!self)
        return -ENOMEM;
    int r = schema_read(self, options, configuration, path, arena, p);
    if (r < 0)
        return r;
    if (self->enabled && self->text.n == 0)
        (void)node_problem(p, PROBLEM_warning, configuration, path,
                           "system_prompt is empty: the plugin has no effect");
    *ret = self->enabled && self->text.n ? (const struct plugin *)self : NULL;
    return 0;
}

static bool is_system(const struct chat_message *m)
{
    return str_is(m->role, "system") || str_is(m->role, "developer");
}

/* insert: one system message holds both texts, as many chat templates know only one. */
static enum verdict insert(const struct system_prompt *self, struct chat_message *first,
                           struct arena *arena, struct fail *reterr)
{
    size_t n = self->text.n + 2 + first->content.n;
    char *text = arena_alloc(arena, n + 1);
    if (!text) {
        (void)fail_errno(reterr, -ENOMEM, "inserting the system prompt");
        return VERDICT_block;
    }
    memcpy(text, self->text.p, self->text.n);
    text[self->text.n] = text[self->text.n + 1] = '\n';
    if (first->content.n)
        memcpy(text + self->text.n + 2, first->content.p, first->content.n);
    first->content = (struct str){ text, first->content.n ? n : self->text.n };
    return VERDICT_changed;
}

static enum verdict prompt(const struct plugin *plugin, struct plugin_prompt *io,
                           struct fail *reterr)
{
    const struct system_prompt *self = (const struct system_prompt *)plugin;
    struct chat_request *request = io->request;
    if (request->is_completion)
        return VERDICT_pass; /* it has no roles */
    struct chat_message *m = arena_array(io->arena, request->n_messages + 1, sizeof(*m));
    if (!m) {
        (void)fail_errno(reterr, -ENOMEM, "adding the system prompt");
        return VERDICT_block;
    }
    size_t n = 0;
    struct chat_message *first = NULL;
    m[n++] = (struct chat_message){ .role = STR("system"), .content = self->text };
    for (size_t i = 0; i < request->n_messages; i++) {
        bool system = is_system(&request->messages[i]);
        if (system && self->mode == MODE_replace)
            continue;
        if (system && !first) { /* takes the place of ours */
            m[0] = request->messages[i];
            first = &m[0];
            continue;
        }
        m[n++] = request->messages[i];
    }
    if (first && insert(self, first, io->arena, reterr) == VERDICT_block)
        return VERDICT_block;
    request->messages = m;
    request->n_messages = n;
    return VERDICT_changed;
}

const struct plugin_type plugin_system_prompt = {
    .name = "system_prompt",
    .help = "sets the system message, or puts text before it",
    .compile = compile,
    .prompt = prompt,
};
