/* Adds, replaces and removes headers: of the request that goes to an upstream engine, or of the
 * response. */
#include "plugins/types.h"

#include <errno.h>

#include "base/limits.h"

enum { HEADERS_MAX = 64 };

enum target { TARGET_upstream, TARGET_response, TARGET_both };

static const char *const targets[] = { "upstream", "response", "both", NULL };

struct header {
    struct str name, value;
};

struct header_mutation {
    bool enabled;
    unsigned target;
    struct item_list add, update; /* struct header */
    struct text_list delete;
};

static const struct option header_options[] = {
    OPT_TEXT(struct header, name, "name", OPTION_REQUIRED, "of the header"),
    OPT_TEXT(struct header, value, "value", "", "of the header"),
    OPT_END,
};

static const struct option options[] = {
    OPT_BOOL(struct header_mutation, enabled, "enabled", "true", "off: the plugin does nothing"),
    OPT_WORD(struct header_mutation, target, "target", targets, "upstream",
             "whose headers: of the request to the engine behind, of the response, or of both"),
    OPT_LIST(struct header_mutation, add, "add", HEADERS_MAX, header_options, struct header,
             "headers to add"),
    OPT_LIST(struct header_mutation, update, "update", HEADERS_MAX, header_options, struct header,
             "headers to set, whatever they were"),
    OPT_TEXTS(struct header_mutation, delete, "delete", HEADERS_MAX, "headers to remove"),
    OPT_END,
};

/* Headers that the connection itself needs. */
static const char *const reserved[] = {
    "connection", "content-encoding",  "content-length",   "content-type",
    "host",       "keep-alive",        "proxy-connection", "te",
    "trailer",    "transfer-encoding", "upgrade"
};

static int check_name(struct str name, const struct node *at, const char *path, struct problems *p)
{
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        bool token = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                     (c && strchr("!#$%&'*+-.^_`|~", c));
        if (!token)
            return node_problem(p, PROBLEM_error, at, path,
                                "'" STR_FMT "' cannot be a header's name", STR_ARG(name));
    }
    if (name.n == 0 || name.n > LIMIT_NAME)
        return node_problem(p, PROBLEM_error, at, path, "a header needs a name of 1 to 256 bytes");
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (str_eq_nocase(name, str_of(reserved[i])))
            return node_problem(p, PROBLEM_error, at, path,
                                "'%s' belongs to the connection and cannot be changed",
                                reserved[i]);
    return 0;
}

static int check_list(const struct item_list *list, const struct node *at, const char *path,
                      struct problems *p)
{
    const struct header *h = list->items;
    int first = 0;
    for (size_t i = 0; i < list->n; i++) {
        int r = check_name(h[i].name, at, path, p);
        for (size_t k = 0; k < h[i].value.n && r == 0; k++) {
            unsigned char c = (unsigned char)h[i].value.p[k];
            if ((c < ' ' && c != '\t') || c == 0x7f)
                r = node_problem(p, PROBLEM_error, at, path,
                                 "the value of '" STR_FMT "' holds a control character",
                                 STR_ARG(h[i].name));
        }
        first = first ? first : r;
    }
    return first;
}

static int compile(const struct plugin **ret, const struct node *configuration, const char *path,
                   struct arena *arena, struct problems *p)
{
    struct header_mutation *self = arena_alloc(arena, sizeof(*self));
    if (!self)
        return -ENOMEM;
    int r = schema_read(self, options, configuration, path, arena, p);
    if (r < 0)
        return r;
    const struct node *add = node_get(configuration, "add");
    const struct node *update = node_get(configuration, "update");
    const struct node *delete = node_get(configuration, "delete");
    r = check_list(&self->add, add, path, p);
    int also = check_list(&self->update, update, path, p);
    for (size_t i = 0; i < self->delete.n; i++)
        also = check_name(self->delete.items[i], delete, path, p) < 0 ? -EINVAL : also;
    if (r < 0 || also < 0)
        return r < 0 ? r : also;
    *ret = self->enabled ? (const struct plugin *)self : NULL;
    return 0;
}

/* A growing copy of a list of pairs. */
struct pairs {
    struct chat_pair *p;
    size_t n;
};

static void drop(struct pairs *l, struct str key)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!str_eq_nocase(l->p[i].key, key))
            l->p[n++] = l->p[i];
    l->n = n;
}

static bool mutate(const struct header_mutation *self, struct chat_pair **list, size_t *n,
                   struct arena *arena)
{
    const struct header *add = self->add.items, *update = self->update.items;
    size_t most = *n + self->add.n + self->update.n + self->delete.n;
    struct pairs l = { arena_array(arena, most + 1, sizeof(struct chat_pair)), *n };
    if (!l.p)
        return false;
    if (*n)
        memcpy(l.p, *list, *n * sizeof(**list));
    for (size_t i = 0; i < self->add.n; i++)
        l.p[l.n++] = (struct chat_pair){ add[i].name, add[i].value };
    for (size_t i = 0; i < self->update.n; i++) {
        drop(&l, update[i].name);
        l.p[l.n++] = (struct chat_pair){ update[i].name, update[i].value };
    }
    for (size_t i = 0; i < self->delete.n; i++) {
        drop(&l, self->delete.items[i]);
        l.p[l.n++] = (struct chat_pair){ self->delete.items[i], STR_NULL };
    }
    *list = l.p;
    *n = l.n;
    return true;
}

static enum verdict prompt(const struct plugin *plugin, struct plugin_prompt *io,
                           struct fail *reterr)
{
    const struct header_mutation *self = (const struct header_mutation *)plugin;
    bool ok = true;
    if (self->target != TARGET_response)
        ok = mutate(self, &io->upstream_headers, &io->n_upstream_headers, io->arena);
    if (ok && self->target != TARGET_upstream)
        ok = mutate(self, &io->response_headers, &io->n_response_headers, io->arena);
    if (!ok) {
        (void)fail_errno(reterr, -ENOMEM, "changing headers");
        return VERDICT_block;
    }
    return VERDICT_changed;
}

const struct plugin_type plugin_header_mutation = {
    .name = "header_mutation",
    .help = "adds, sets and removes headers",
    .compile = compile,
    .prompt = prompt,
};
