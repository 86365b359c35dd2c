/*
 * Personal data: masked, redacted, or a reason to block, in the prompt and in the token stream.
 *
 * The stream is scanned through a small window. What could still become an entity stays in it, at
 * most LIMIT_HOLD_BACK bytes; all else leaves at once. The output does not depend on how the
 * answer was cut into tokens (see router/signals/pii/pii.h).
 */
#include "router/signals/pii/pii.h"
#include "base/limits.h"
#include "plugins/types.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { WINDOW_CHUNK = 2048, MASK_MAX = 32 };

_Static_assert(PII_READ + 4 + 3 < LIMIT_HOLD_BACK, "the detectors need no more hold-back");

enum action { ACTION_mask, ACTION_redact, ACTION_block, ACTION_allow };

static const char *const actions[] = { "mask", "redact", "block", "allow", NULL };

struct rule { /* of one type */
    unsigned action;
    double threshold;
};

struct pii {
    bool enabled, include_history;
    unsigned action;
    double threshold;
    const struct node *entities;
    struct text_list allowed, stages;
    struct str placeholder, mask_char;
    uint64_t keep_last;
    /* compiled */
    bool on_prompt, on_response;
    struct rule rules[PII_N];
    struct str placeholders[PII_N];
};

static const struct option options[] = {
    OPT_BOOL(struct pii, enabled, "enabled", "true", "off: the plugin does nothing"),
    OPT_WORD(struct pii, action, "action", actions, "mask", "what happens to an entity"),
    OPT_FLOAT(struct pii, threshold, "threshold", 0, 1, "0.4", "least score of an entity"),
    OPT_NODE(struct pii, entities, "entities",
             "per type: an action, or {action, threshold}; others follow `action`"),
    OPT_TEXTS(struct pii, allowed, "pii_types_allowed", 64, "types that may pass"),
    OPT_TEXTS(struct pii, stages, "stages", 2, "prompt, response; absent: both"),
    OPT_BOOL(struct pii, include_history, "include_history", "false",
             "check the messages of all roles, not only the user's"),
    OPT_TEXT(struct pii, placeholder, "placeholder", "[{type}]",
             "what mask puts; {type}: its name"),
    OPT_TEXT(struct pii, mask_char, "mask_char", "",
             "mask letters and digits one by one with it, instead of a placeholder"),
    OPT_UINT(struct pii, keep_last, "keep_last", 0, 4, "0", "characters mask_char leaves readable"),
    OPT_END,
};

/* ---- configuration ---- */

static int no_type(struct str name, const struct node *at, const char *path, struct problems *p)
{
    char word[64];
    size_t n = 0;
    for (; n < name.n && n + 1 < sizeof(word); n++)
        word[n] = name.p[n] >= 'a' && name.p[n] <= 'z' ? (char)(name.p[n] - 32) : name.p[n];
    word[n] = '\0';
    const char *near = str_suggest(word, pii_names(), PII_N);
    return node_problem(p, PROBLEM_error, at, path, "no such entity type: '" STR_FMT "'%s%s%s",
                        STR_ARG(name), near ? "; did you mean " : "", near ? near : "",
                        near ? "?" : "");
}

/* Types of the policy language that only a language model can tell. */
static bool is_neural(struct str name)
{
    static const char *const types[] = {
        "AGE",          "DATE_TIME", "DOMAIN_NAME",    "GPE",   "LOCATION",          "NRP",
        "ORGANIZATION", "PERSON",    "STREET_ADDRESS", "TITLE", "US_DRIVER_LICENSE", "ZIP_CODE",
        "NO_PII",
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_nocase(name, str_of(types[i])))
            return true;
    return false;
}

static int unknown_type(struct str name, const struct node *at, const char *path,
                        struct problems *p)
{
    if (is_neural(name))
        return node_problem(p, PROBLEM_ignored, at, path,
                            "the entity type '" STR_FMT "' is not detected here", STR_ARG(name));
    return no_type(name, at, path, p);
}

static int read_rule(struct rule *rule, const struct node *n, const char *path, struct arena *arena,
                     struct problems *p)
{
    static const struct option rule_options[] = {
        OPT_WORD(struct rule, action, "action", actions, "mask", "what happens to it"),
        OPT_FLOAT(struct rule, threshold, "threshold", 0, 1, "0", "least score"),
        OPT_END,
    };
    struct rule read = *rule;
    if (n->kind == NODE_map) {
        int r = schema_read(&read, rule_options, n, path, arena, p);
        if (r < 0)
            return r;
        if (node_get(n, "action"))
            rule->action = read.action;
        if (node_get(n, "threshold"))
            rule->threshold = read.threshold;
        return 0;
    }
    for (unsigned i = 0; actions[i]; i++)
        if (n->kind == NODE_scalar && str_eq_nocase(n->scalar, str_of(actions[i]))) {
            rule->action = i;
            return 0;
        }
    return node_problem(p, PROBLEM_error, n, path,
                        "must be mask, redact, block or allow, or a map of action and threshold");
}

static int read_entities(struct pii *self, const char *path, struct arena *arena,
                         struct problems *p)
{
    const struct node *n = self->entities;
    if (!n || n->kind == NODE_null)
        return 0;
    if (n->kind != NODE_map)
        return node_problem(p, PROBLEM_error, n, path, "entities must map types to actions");
    int first = 0;
    for (size_t i = 0; i < n->n; i++) {
        enum pii_type type = PII_N;
        char *inner = arena_printf(arena, "%s.entities." STR_FMT, path, STR_ARG(n->keys[i]));
        if (!inner)
            return -ENOMEM;
        int r = pii_of(n->keys[i], &type);
        if (r < 0)
            r = unknown_type(n->keys[i], n->key_nodes[i], inner, p);
        else
            r = read_rule(&self->rules[type], n->items[i], inner, arena, p);
        first = first < 0 ? first : r;
    }
    return first;
}

static int read_allowed(struct pii *self, const struct node *at, const char *path,
                        struct problems *p)
{
    int first = 0;
    for (size_t i = 0; i < self->allowed.n; i++) {
        enum pii_type type = PII_N;
        if (pii_of(self->allowed.items[i], &type) == 0)
            self->rules[type].action = ACTION_allow;
        else if (unknown_type(self->allowed.items[i], at, path, p) < 0)
            first = -EINVAL;
    }
    return first;
}

static int read_stages(struct pii *self, const struct node *at, const char *path,
                       struct problems *p)
{
    self->on_prompt = self->on_response = self->stages.n == 0;
    for (size_t i = 0; i < self->stages.n; i++) {
        if (str_is(self->stages.items[i], "prompt"))
            self->on_prompt = true;
        else if (str_is(self->stages.items[i], "response"))
            self->on_response = true;
        else
            return node_problem(p, PROBLEM_error, at, path,
                                "stages may hold prompt and response, not '" STR_FMT "'",
                                STR_ARG(self->stages.items[i]));
    }
    return 0;
}

/* `placeholder` with {type} filled in, for each type. */
static int make_placeholders(struct pii *self, struct arena *arena)
{
    ptrdiff_t at = str_find(self->placeholder, STR("{type}"));
    for (unsigned i = 0; i < PII_N; i++) {
        self->placeholders[i] = self->placeholder;
        if (at < 0)
            continue;
        struct str before = str_head(self->placeholder, (size_t)at);
        struct str after = str_sub(self->placeholder, (size_t)at + 6);
        char *text = arena_printf(arena, STR_FMT "%s" STR_FMT, STR_ARG(before),
                                  pii_name((enum pii_type)i), STR_ARG(after));
        if (!text)
            return -ENOMEM;
        self->placeholders[i] = str_of(text);
    }
    return 0;
}

static int compile(const struct plugin **ret, const struct node *configuration, const char *path,
                   struct arena *arena, struct problems *p)
{
    struct pii *self = arena_alloc(arena, sizeof(*self));
    if (!self)
        return -ENOMEM;
    int r = schema_read(self, options, configuration, path, arena, p);
    if (r < 0)
        return r;
    if (self->mask_char.n > MASK_MAX)
        return node_problem(p, PROBLEM_error, node_get(configuration, "mask_char"), path,
                            "mask_char is one character");
    for (unsigned i = 0; i < PII_N; i++)
        self->rules[i] = (struct rule){ self->action, self->threshold };
    r = read_allowed(self, node_get(configuration, "pii_types_allowed"), path, p);
    int also = read_entities(self, path, arena, p);
    r = r < 0 ? r : also;
    also = read_stages(self, node_get(configuration, "stages"), path, p);
    r = r < 0 ? r : also;
    if (r == 0)
        r = make_placeholders(self, arena);
    if (r < 0)
        return r;
    *ret = self->enabled ? (const struct plugin *)self : NULL;
    return 0;
}

/* ---- acting ---- */

static unsigned action_of(const struct pii *self, const struct pii_hit *hit)
{
    const struct rule *rule = &self->rules[hit->type];
    return hit->score >= rule->threshold ? rule->action : ACTION_allow;
}

static bool is_masked(int cp)
{
    return cp >= 128 || (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z');
}

/* Letters and digits become mask_char, but for the last keep_last; what parts them stays. */
static void mask_shape(const struct pii *self, struct str entity, struct buf *out)
{
    size_t left = 0, pos = 0;
    for (int cp; (cp = str_utf8_next(entity, &pos)) >= 0;)
        left += is_masked(cp);
    pos = 0;
    for (size_t start = 0;; start = pos) {
        int cp = str_utf8_next(entity, &pos);
        if (cp < 0)
            break;
        bool hide = is_masked(cp) && left-- > self->keep_last;
        buf_add(out, hide ? self->mask_char : (struct str){ entity.p + start, pos - start });
    }
}

/* Writes what stands for an entity; not for ACTION_block. */
static void replace(const struct pii *self, const struct pii_hit *hit, struct str entity,
                    struct buf *out)
{
    switch (action_of(self, hit)) {
    case ACTION_mask:
        if (self->mask_char.n)
            mask_shape(self, entity, out);
        else
            buf_add(out, self->placeholders[hit->type]);
        break;
    case ACTION_allow:
        buf_add(out, entity);
        break;
    default:
        break;
    }
}

static void blocked(unsigned types, const char *what, struct fail *reterr)
{
    char list[160] = "";
    size_t n = 0;
    for (unsigned i = 0; i < PII_N && n < sizeof(list); i++)
        if (types >> i & 1)
            n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "",
                                  pii_name((enum pii_type)i));
    (void)fail_set(reterr, FAIL_content_policy_violation,
                   "the %s holds personal data that may not pass here: %s", what, list);
}

/* The next entity that an action is meant for; *from moves behind it. */
static bool next_acted(const struct pii *self, struct str text, size_t *from, struct pii_hit *ret)
{
    size_t clean;
    while (pii_next(text, *from, /* end= */ true, ret, &clean)) {
        *from = ret->end;
        if (action_of(self, ret) == ACTION_allow)
            continue;
        if (ret->open)
            *from += pii_tail(text, *from);
        return true;
    }
    return false;
}

/* One whole text. *ret_blocked: bits of the types that block. 0 or -ENOMEM. */
static int rewrite(const struct pii *self, struct str *text, struct arena *arena,
                   unsigned *ret_blocked, bool *ret_changed)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(LIMIT_REQUEST_ARENA);
    struct pii_hit hit;
    size_t from = 0, done = 0;
    while (next_acted(self, *text, &from, &hit)) {
        if (action_of(self, &hit) == ACTION_block)
            *ret_blocked |= 1u << hit.type;
        buf_add(&out, (struct str){ text->p + done, hit.start - done });
        replace(self, &hit, (struct str){ text->p + hit.start, hit.end - hit.start }, &out);
        done = from;
    }
    if (done == 0)
        return 0;
    buf_add(&out, str_sub(*text, done));
    struct str copy = arena_str(arena, buf_str(&out));
    if (buf_err(&out) < 0 || !copy.p)
        return -ENOMEM;
    *text = copy;
    *ret_changed = true;
    return 0;
}

static enum verdict prompt(const struct plugin *plugin, struct plugin_prompt *io,
                           struct fail *reterr)
{
    const struct pii *self = (const struct pii *)plugin;
    struct chat_request *request = io->request;
    unsigned types = 0;
    bool changed = false;
    if (!self->on_prompt)
        return VERDICT_pass;
    int r = rewrite(self, &request->prompt, io->arena, &types, &changed);
    for (size_t i = 0; i < request->n_messages && r == 0; i++) {
        struct chat_message *m = &request->messages[i];
        if (self->include_history || str_is(m->role, "user"))
            r = rewrite(self, &m->content, io->arena, &types, &changed);
    }
    if (r < 0) {
        (void)fail_errno(reterr, r, "checking the prompt");
        return VERDICT_block;
    }
    if (types) {
        blocked(types, "prompt", reterr);
        return VERDICT_block;
    }
    return changed ? VERDICT_changed : VERDICT_pass;
}

static int find(const struct plugin *plugin, struct str text, bool response, struct arena *arena,
                struct finding **ret, size_t *ret_n)
{
    const struct pii *self = (const struct pii *)plugin;
    *ret_n = 0;
    if (response ? !self->on_response : !self->on_prompt)
        return 0;
    struct pii_hit hit;
    size_t n = 0, from = 0;
    while (next_acted(self, text, &from, &hit))
        n++;
    struct finding *f = arena_array(arena, n + 1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    from = 0;
    for (size_t i = 0; i < n && next_acted(self, text, &from, &hit); i++)
        f[i] = (struct finding){ str_of(pii_name(hit.type)), hit.start, from, hit.score };
    *ret = f;
    *ret_n = n;
    return 0;
}

/* ---- the stream ---- */

struct flow {
    const struct pii *self;
    bool open;  /* in an entity that is longer than any window; its tail is dropped */
    size_t n;   /* bytes of the window */
    size_t pos; /* decided up to here: left, or replaced */
    char window[PII_BACK + LIMIT_HOLD_BACK + WINDOW_CHUNK];
};

static struct plugin_flow *flow_new(const struct plugin *plugin)
{
    struct flow *f = malloc(sizeof(*f));
    if (!f)
        return NULL;
    f->self = (const struct pii *)plugin;
    f->open = false;
    f->n = f->pos = 0;
    return (struct plugin_flow *)f;
}

static void flow_free(struct plugin_flow *flow)
{
    free(flow);
}

/* Decides as much of the window as can be decided. */
static enum verdict scan(struct flow *f, bool end, struct buf *out, struct fail *reterr)
{
    enum verdict v = VERDICT_pass;
    struct str text = { f->window, f->n };
    for (;;) {
        if (f->open) {
            f->pos += pii_tail(text, f->pos);
            if (f->pos == f->n)
                return v;
            f->open = false;
        }
        struct pii_hit hit;
        size_t clean;
        bool found = pii_next(text, f->pos, end, &hit, &clean);
        buf_add(out, (struct str){ f->window + f->pos, clean - f->pos });
        f->pos = clean;
        if (!found)
            return v;
        unsigned action = action_of(f->self, &hit);
        if (action == ACTION_block) {
            blocked(1u << hit.type, "answer", reterr);
            return VERDICT_block;
        }
        replace(f->self, &hit, (struct str){ f->window + hit.start, hit.end - hit.start }, out);
        f->pos = hit.end;
        f->open = hit.open && action != ACTION_allow;
        v = action == ACTION_allow ? v : VERDICT_changed;
    }
}

/* Forgets what no detector looks back at. */
static void slide(struct flow *f)
{
    size_t drop = f->pos > PII_BACK ? f->pos - PII_BACK : 0;
    memmove(f->window, f->window + drop, f->n - drop);
    f->n -= drop;
    f->pos -= drop;
    assert(f->n - f->pos <= LIMIT_HOLD_BACK);
}

static enum verdict flow_push(struct plugin_flow *flow, struct str text, bool end, struct buf *out,
                              struct fail *reterr)
{
    struct flow *f = (struct flow *)flow;
    enum verdict all = VERDICT_pass;
    do {
        struct str piece = str_head(text, WINDOW_CHUNK);
        if (piece.n < text.n)
            piece.n = str_utf8_whole(piece);
        text = str_sub(text, piece.n);
        if (piece.n)
            memcpy(f->window + f->n, piece.p, piece.n);
        f->n += piece.n;
        enum verdict v = scan(f, end && text.n == 0, out, reterr);
        if (v == VERDICT_block)
            return v;
        all = v > all ? v : all;
        slide(f);
    } while (text.n);
    return all;
}

static bool streams(const struct plugin *plugin)
{
    return ((const struct pii *)plugin)->on_response;
}

const struct plugin_type plugin_pii = {
    .name = "pii",
    .help = "masks, redacts or blocks e-mail addresses, phone, card, IBAN, SSN and IP numbers",
    .compile = compile,
    .prompt = prompt,
    .streams = streams,
    .find = find,
    .flow_new = flow_new,
    .flow_push = flow_push,
    .flow_free = flow_free,
};
