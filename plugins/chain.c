#include "plugins/types.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"

enum { CHAIN_MAX = 64 }; /* plugins of one decision */

struct link {
    const struct plugin_type *type;
    const struct plugin *plugin;
};

struct chain {
    struct arena *arena; /* owned: configurations and instances */
    struct link *links;  /* of the arena */
    size_t n;
};

struct entry { /* of the policy */
    struct str type;
    const struct node *configuration;
};

static const struct option entry_options[] = {
    OPT_TEXT(struct entry, type, "type", OPTION_REQUIRED, "name of the plugin"),
    OPT_NODE(struct entry, configuration, "configuration", "its options"),
    OPT_END,
};

static const struct plugin_type *find_type(struct str name)
{
    for (size_t i = 0; plugin_types[i]; i++)
        if (str_is(name, plugin_types[i]->name))
            return plugin_types[i];
    return NULL;
}

static bool is_ignored(struct str name)
{
    for (size_t i = 0; plugin_ignored[i]; i++)
        if (str_is(name, plugin_ignored[i]))
            return true;
    return false;
}

static int unknown_type(struct str name, const struct node *at, const char *path,
                        struct problems *p)
{
    const char *known[64];
    size_t n = 0;
    for (size_t i = 0; plugin_types[i] && n < ARRAY_LEN(known); i++)
        known[n++] = plugin_types[i]->name;
    for (size_t i = 0; plugin_ignored[i] && n < ARRAY_LEN(known); i++)
        known[n++] = plugin_ignored[i];
    char word[LIMIT_NAME];
    (void)snprintf(word, sizeof(word), STR_FMT, STR_ARG(str_head(name, sizeof(word) - 1)));
    const char *near = str_suggest(word, known, n);
    return node_problem(p, PROBLEM_error, at, path, "no plugin is called '%s'%s%s%s", word,
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* The configuration, or an empty one that stands where the plugin does: problems have a place. */
static const struct node *configuration_of(const struct entry *e, const struct node *plugin,
                                           struct arena *arena)
{
    if (e->configuration && e->configuration->kind != NODE_null)
        return e->configuration;
    struct node *none = arena_alloc(arena, sizeof(*none));
    if (none)
        *none = (struct node){
            .kind = NODE_map, .line = plugin->line, .column = plugin->column, .file = plugin->file
        };
    return none;
}

/* Compiles one {type, configuration} and appends it, unless it is ignored or switched off. */
static int add_link(struct chain *c, const struct node *n, const char *path, struct problems *p)
{
    struct entry e = { 0 };
    int r = schema_read(&e, entry_options, n, path, c->arena, p);
    if (r < 0)
        return r;
    const struct node *at = node_get(n, "type");
    const struct plugin_type *type = find_type(e.type);
    if (!type && is_ignored(e.type) &&
        node_is(node_get(node_get(n, "configuration"), "enabled"), "false"))
        return 0;
    if (!type && is_ignored(e.type))
        return node_problem(p, PROBLEM_warning, at, path,
                            "is not served yet: the plugin '" STR_FMT "' has no effect",
                            STR_ARG(e.type));
    if (!type)
        return unknown_type(e.type, at, path, p);
    char *inner = arena_printf(c->arena, "%s.configuration", path);
    const struct node *configuration = configuration_of(&e, n, c->arena);
    if (!inner || !configuration)
        return -ENOMEM;
    const struct plugin *plugin = NULL;
    r = type->compile(&plugin, configuration, inner, c->arena, p);
    if (r == 0 && plugin)
        c->links[c->n++] = (struct link){ type, plugin };
    return r;
}

int chain_new(struct chain **ret, const struct node *plugins, const char *path, struct problems *p)
{
    CLEANUP(chain_freep) struct chain *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    if (plugins && plugins->kind == NODE_null)
        plugins = NULL;
    if (plugins && plugins->kind != NODE_list)
        return node_problem(p, PROBLEM_error, plugins, path, "must be a list of plugins");
    size_t n = plugins ? plugins->n : 0;
    if (n > CHAIN_MAX)
        return node_problem(p, PROBLEM_error, plugins, path, "holds more than %d plugins",
                            CHAIN_MAX);
    c->arena = arena_new(16 * MIB);
    c->links = c->arena ? arena_array(c->arena, n + 1, sizeof(*c->links)) : NULL;
    if (!c->links)
        return -ENOMEM;
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        char *item = arena_printf(c->arena, "%s[%zu]", path, i);
        int r = item ? add_link(c, plugins->items[i], item, p) : -ENOMEM;
        first = first < 0 ? first : r;
    }
    if (first < 0)
        return first;
    *ret = TAKE(c);
    return 0;
}

struct chain *chain_free(struct chain *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->n; i++)
        if (c->links[i].type->done)
            c->links[i].type->done(c->links[i].plugin);
    (void)arena_free(c->arena);
    free(c);
    return NULL;
}

size_t chain_len(const struct chain *c)
{
    return c ? c->n : 0;
}

const char *chain_name(const struct chain *c, size_t i)
{
    return c->links[i].type->name;
}

static bool streams(const struct link *l)
{
    return l->type->flow_new && (!l->type->streams || l->type->streams(l->plugin));
}

bool chain_has_stream(const struct chain *c)
{
    for (size_t i = 0; i < chain_len(c); i++)
        if (streams(&c->links[i]))
            return true;
    return false;
}

enum verdict chain_prompt(const struct chain *c, struct plugin_prompt *io, const char **ret_plugin,
                          struct fail *reterr)
{
    enum verdict all = VERDICT_pass;
    for (size_t i = 0; i < chain_len(c); i++) {
        const struct link *l = &c->links[i];
        enum verdict v = l->type->prompt ? l->type->prompt(l->plugin, io, reterr) : VERDICT_pass;
        if (v == VERDICT_pass)
            continue;
        if (ret_plugin)
            *ret_plugin = l->type->name;
        all = v;
        if (v != VERDICT_changed)
            break;
    }
    return all;
}

/* ---- the stream stage ---- */

struct stage {
    const struct plugin_type *type;
    struct plugin_flow *flow; /* owned */
    struct buf out;           /* what it lets go, for the next one */
};

struct chain_run {
    size_t n;
    bool over;        /* blocked, or ended */
    char carry[4];    /* the beginning of a character that is not complete */
    size_t n_carry;   /* bytes of it, at most 3 */
    struct buf whole; /* carry and text, joined */
    struct stage stages[];
};

int chain_run_new(struct chain_run **ret, const struct chain *c)
{
    size_t n = chain_len(c);
    CLEANUP(chain_run_freep)
    struct chain_run *r = calloc(1, sizeof(*r) + n * sizeof(r->stages[0]));
    if (!r)
        return -ENOMEM;
    r->whole.max = LIMIT_REQUEST_ARENA;
    for (size_t i = 0; i < n; i++) {
        const struct link *l = &c->links[i];
        if (!streams(l))
            continue;
        struct stage *s = &r->stages[r->n];
        s->type = l->type;
        s->out.max = LIMIT_REQUEST_ARENA;
        s->flow = l->type->flow_new(l->plugin);
        if (!s->flow)
            return -ENOMEM;
        r->n++;
    }
    *ret = TAKE(r);
    return 0;
}

struct chain_run *chain_run_free(struct chain_run *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n; i++) {
        r->stages[i].type->flow_free(r->stages[i].flow);
        buf_done(&r->stages[i].out);
    }
    buf_done(&r->whole);
    free(r);
    return NULL;
}

/* Whole characters through all flows; after a block, what was let go before it still passes the
 * flows behind. */
static enum verdict through(struct chain_run *r, struct str text, bool end, struct buf *out,
                            struct fail *reterr)
{
    enum verdict all = VERDICT_pass;
    for (size_t i = 0; i < r->n; i++) {
        struct stage *s = &r->stages[i];
        struct buf *to = i + 1 == r->n ? out : &s->out;
        if (to != out)
            buf_clear(to);
        struct fail *why = all == VERDICT_block ? NULL : reterr;
        enum verdict v = s->type->flow_push(s->flow, text, end, to, why);
        if (v == VERDICT_block)
            end = true;
        all = v > all ? v : all;
        text = buf_str(to);
    }
    if (r->n == 0)
        buf_add(out, text);
    return all;
}

enum verdict chain_push(struct chain_run *r, struct str text, bool end, struct buf *out,
                        struct fail *reterr)
{
    if (r->over)
        return VERDICT_block;
    if (r->n_carry) {
        buf_clear(&r->whole);
        buf_add(&r->whole, (struct str){ r->carry, r->n_carry });
        buf_add(&r->whole, text);
        text = buf_str(&r->whole);
    }
    size_t whole = end ? text.n : str_utf8_whole(text);
    r->n_carry = text.n - whole;
    if (r->n_carry)
        memcpy(r->carry, text.p + whole, r->n_carry);
    enum verdict v = through(r, str_head(text, whole), end, out, reterr);
    int err = buf_err(&r->whole) < 0 ? buf_err(&r->whole) : buf_err(out);
    for (size_t i = 0; i < r->n && err == 0; i++)
        err = buf_err(&r->stages[i].out);
    if (err < 0) {
        (void)fail_errno(reterr, err, "checking the answer");
        v = VERDICT_block;
    }
    r->over = end || v == VERDICT_block;
    return v;
}

/* ---- one text, for the command line ---- */

static int find_all(const struct chain *c, struct str text, bool response, struct arena *arena,
                    struct finding **ret, size_t *ret_n)
{
    *ret = NULL;
    *ret_n = 0;
    for (size_t i = 0; i < chain_len(c); i++) {
        const struct link *l = &c->links[i];
        struct finding *more = NULL, *all;
        size_t n = 0;
        int r = l->type->find ? l->type->find(l->plugin, text, response, arena, &more, &n) : 0;
        if (r < 0)
            return r;
        if (n == 0)
            continue;
        all = arena_array(arena, *ret_n + n, sizeof(*all));
        if (!all)
            return -ENOMEM;
        if (*ret_n)
            memcpy(all, *ret, *ret_n * sizeof(*all));
        memcpy(all + *ret_n, more, n * sizeof(*all));
        *ret = all;
        *ret_n += n;
    }
    return 0;
}

static enum verdict guard_prompt(const struct chain *c, struct str text, struct arena *arena,
                                 struct buf *out, struct fail *reterr)
{
    struct chat_message message = { .role = STR("user"), .content = text };
    struct chat_request request = { .messages = &message, .n_messages = 1, .n = 1 };
    struct plugin_prompt io = { .request = &request, .arena = arena };
    enum verdict v = chain_prompt(c, &io, NULL, reterr);
    if (v == VERDICT_answer)
        buf_add(out, io.answer);
    else if (v != VERDICT_block)
        buf_add(out, request.messages[request.n_messages - 1].content);
    return v;
}

enum verdict chain_guard(const struct chain *c, struct str text, bool response, struct arena *arena,
                         struct guarded *ret, struct fail *reterr)
{
    int r = find_all(c, text, response, arena, &ret->findings, &ret->n);
    if (r == 0 && !response)
        return guard_prompt(c, text, arena, ret->text, reterr);
    CLEANUP(chain_run_freep) struct chain_run *run = NULL;
    if (r == 0)
        r = chain_run_new(&run, c);
    if (r < 0) {
        (void)fail_errno(reterr, r, "checking a text");
        return VERDICT_block;
    }
    return chain_push(run, text, /* end= */ true, ret->text, reterr);
}
