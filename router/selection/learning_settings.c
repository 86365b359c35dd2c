/* global.router.learning, and `adaptations` of a decision over it. */
#include "router/selection/adaptation.h"

#include <errno.h>

#define DEFAULT_SESSION "x-session-id"
#define DEFAULT_CONVERSATION "x-conversation-id"
#define DAY_S "86400"

static const char *const strategies_of_learning[] = { "routing_sampling", "linucb",
                                                      "linear_thompson", NULL };
static const char *const sets[] = { "decision", "tier", "global", NULL };
static const char *const scopes[] = { "conversation", "session", NULL };
static const char *const backends[] = { "memory", "file", "redis", NULL };
enum { BACKEND_memory, BACKEND_file, BACKEND_redis };

struct adapting {
    bool enabled;
    unsigned strategy, set;
};
static const struct option adapting_options[] = {
    OPT_BOOL(struct adapting, enabled, "enabled", "true", "let experience propose a candidate"),
    OPT_WORD(struct adapting, strategy, "strategy", strategies_of_learning, "routing_sampling",
             "how"),
    OPT_WORD(struct adapting, set, "candidate_set", sets, "decision", "among whom"),
    OPT_END,
};

struct headers {
    struct str session, conversation;
};
static const struct option headers_options[] = {
    OPT_TEXT(struct headers, session, "session", DEFAULT_SESSION, "names the session"),
    OPT_TEXT(struct headers, conversation, "conversation", DEFAULT_CONVERSATION,
             "names the conversation"),
    OPT_END,
};
struct identity {
    struct headers headers;
};
static const struct option identity_options[] = {
    OPT_SECTION(struct identity, headers, "headers", headers_options, "by which to tell"),
    OPT_END,
};

struct tuning {
    uint64_t idle_s, min_turns;
    double margin, stability;
};
static const struct option tuning_options[] = {
    OPT_UINT(struct tuning, idle_s, "idle_timeout_seconds", 0, 1e9, "300",
             "of silence end the protection; 0: none does"),
    OPT_UINT(struct tuning, min_turns, "min_turns_before_switch", 0, 1e6, "1",
             "that a candidate answers, at least"),
    OPT_FLOAT(struct tuning, margin, "switch_margin", 0, 10, "0.05", "that another is better by"),
    OPT_FLOAT(struct tuning, stability, "stability_weight", 0, 100, "1",
              "of what a switch costs, beside the margin"),
    OPT_IGNORED("progress_gate", "conversations are not scored turn by turn"),
    OPT_END,
};

struct protecting {
    bool enabled;
    unsigned scope;
    struct identity identity;
    struct tuning tuning;
};
static const struct option protecting_options[] = {
    OPT_BOOL(struct protecting, enabled, "enabled", "true", "hold a conversation's candidate"),
    OPT_WORD(struct protecting, scope, "scope", scopes, "conversation", "what is held"),
    OPT_SECTION(struct protecting, identity, "identity", identity_options, "of a conversation"),
    OPT_SECTION(struct protecting, tuning, "tuning", tuning_options, "when a switch is worth it"),
    OPT_END,
};

struct store {
    unsigned backend;
    uint64_t ttl_s;
    struct str path;
};
static const struct option store_options[] = {
    OPT_WORD(struct store, backend, "backend", backends, "memory", "where outcomes outlive us"),
    OPT_UINT(struct store, ttl_s, "ttl_seconds", 1, 1e9, DAY_S,
             "after which a silent conversation is forgotten"),
    OPT_TEXT(struct store, path, "path", NULL, "of the file"),
    OPT_IGNORED("timeout_ms", "what is learned is in memory"),
    OPT_IGNORED("redis", "what is learned is in memory, of one process"),
    OPT_END,
};

struct learning_section {
    bool enabled;
    struct adapting adapting;
    struct protecting protecting;
    struct store store;
};
static const struct option learning_options[] = {
    OPT_BOOL(struct learning_section, enabled, "enabled", "false", "adapt and protect"),
    OPT_SECTION(struct learning_section, adapting, "adaptation", adapting_options, "experience"),
    OPT_SECTION(struct learning_section, protecting, "protection", protecting_options,
                "conversations"),
    OPT_SECTION(struct learning_section, store, "state_store", store_options, "memory"),
    OPT_END,
};

static struct str lower(struct str s, struct arena *arena)
{
    struct str copy = arena_str(arena, s);
    for (size_t i = 0; copy.p && i < copy.n; i++)
        if (copy.p[i] >= 'A' && copy.p[i] <= 'Z')
            ((char *)(uintptr_t)copy.p)[i] = (char)(copy.p[i] | 0x20);
    return copy;
}

static int read_store(struct learning_settings *ret, const struct store *s, const struct node *at,
                      struct problems *p)
{
    static const char path[] = "global.router.learning.state_store";
    const struct node *node = at ? node_get(at, "state_store") : NULL;
    ret->ttl_s = s->ttl_s;
    ret->path = s->path;
    if (s->backend == BACKEND_redis)
        (void)node_problem(p, PROBLEM_warning, node, path,
                           "conversations and outcomes are kept in the memory of each process; "
                           "set backend to 'file' and a path to keep outcomes over a restart");
    if (s->backend == BACKEND_file && s->path.n == 0)
        return node_problem(p, PROBLEM_error, node, path, "the backend 'file' needs a path");
    if (s->backend != BACKEND_file)
        ret->path = STR_NULL;
    return 0;
}

int learning_settings_read(struct learning_settings *ret, const struct node *at,
                           struct arena *arena, struct problems *p)
{
    struct learning_section s = { 0 };
    int e = schema_read(&s, learning_options, at, "global.router.learning", arena, p);
    if (e < 0)
        return e;
    *ret = (struct learning_settings){
        .enabled = s.enabled,
        .adapts = s.enabled && s.adapting.enabled,
        .protects = s.enabled && s.protecting.enabled,
        .candidate_set = s.adapting.set,
        .by_session = s.protecting.scope == 1,
        .session_header = lower(s.protecting.identity.headers.session, arena),
        .conversation_header = lower(s.protecting.identity.headers.conversation, arena),
        .idle_timeout_s = s.protecting.tuning.idle_s,
        .min_turns = s.protecting.tuning.min_turns,
        .switch_margin = s.protecting.tuning.margin,
        .stability_weight = s.protecting.tuning.stability,
    };
    if (s.enabled && s.adapting.strategy)
        (void)node_problem(p, PROBLEM_warning, node_get(at, "adaptation"),
                           "global.router.learning.adaptation.strategy",
                           "'%s' is not served by this version: routing_sampling is used",
                           strategies_of_learning[s.adapting.strategy]);
    if (!ret->session_header.p || !ret->conversation_header.p)
        return -ENOMEM;
    return read_store(ret, &s.store, at, p);
}

/* ---- of a decision ---- */

static enum candidate_set set_of(const struct adaptations *own, unsigned otherwise)
{
    for (unsigned i = 0; own->candidate_set && sets[i]; i++)
        if (strcmp(own->candidate_set, sets[i]) == 0)
            return (enum candidate_set)i;
    return (enum candidate_set)otherwise;
}

struct decision_learning decision_learning_of(const struct adaptations *own,
                                              const struct learning_settings *global)
{
    return (struct decision_learning){
        .adapts = global->adapts,
        .protects = global->protects,
        .adaptation = global->adapts ? own->adaptation : ADAPTATION_bypass,
        .protection = global->protects ? own->protection : ADAPTATION_bypass,
        .set = set_of(own, global->candidate_set),
        .switch_margin = own->switch_margin >= 0 ? own->switch_margin : global->switch_margin,
        .stability_weight =
            own->stability_weight >= 0 ? own->stability_weight : global->stability_weight,
        .min_turns = global->min_turns,
        .by_session = global->by_session,
    };
}

/* ---- pools ---- */

static bool contains(const struct candidate_pool *pool, const struct model_ref *ref)
{
    for (size_t i = 0; i < pool->n; i++)
        if (str_eq(pool->refs[i].model, ref->model) &&
            str_eq(pool->refs[i].lora_name, ref->lora_name))
            return true;
    return false;
}

struct filling {
    struct candidate_pool *pool;
    struct model_ref *refs;
    struct candidate *candidates;
    size_t max;
    const struct pool_source *source;
};

static int add_refs(struct filling *f, const struct decision *d)
{
    const struct model_ref *refs = d->refs.items;
    for (size_t i = 0; i < d->refs.n; i++) {
        if (contains(f->pool, &refs[i]))
            continue;
        if (f->pool->n == f->max) {
            size_t max = 2 * f->max + d->refs.n;
            struct model_ref *more = arena_array(f->source->arena, max, sizeof(*more));
            struct candidate *candidates = arena_array(f->source->arena, max, sizeof(*candidates));
            if (!more || !candidates)
                return -ENOMEM;
            if (f->pool->n) {
                memcpy(more, f->refs, f->pool->n * sizeof(*more));
                memcpy(candidates, f->candidates, f->pool->n * sizeof(*candidates));
            }
            f->refs = more;
            f->candidates = candidates;
            f->max = max;
        }
        f->refs[f->pool->n] = refs[i];
        f->candidates[f->pool->n++] = candidate_of(&refs[i], f->source->models);
        f->pool->refs = f->refs;
        f->pool->candidates = f->candidates;
    }
    return 0;
}

static int add_policy(struct filling *f, const struct policy *p, const struct decision *of)
{
    int e = 0;
    for (size_t i = 0; e == 0 && i < p->n_decisions; i++) {
        const struct decision *d = &p->decisions[i];
        if (of->learning->set == CANDIDATES_global || (of->tier > 0 && d->tier == of->tier))
            e = add_refs(f, d);
    }
    return e;
}

static int make_pool(const struct pool_source *s, struct decision *d)
{
    struct filling f = { .pool = arena_alloc(s->arena, sizeof(*f.pool)), .source = s };
    if (!f.pool)
        return -ENOMEM;
    int e = add_refs(&f, d);
    if (e == 0 && d->learning->set == CANDIDATES_tier)
        e = add_policy(&f, s->own, d);
    for (size_t i = 0; e == 0 && d->learning->set == CANDIDATES_global && i < s->n_all; i++)
        e = add_policy(&f, &s->all[i], d);
    d->pool = f.pool;
    return e;
}

int candidate_pools_make(const struct pool_source *s)
{
    int e = 0;
    for (size_t i = 0; e == 0 && i < s->own->n_decisions; i++)
        if (s->own->decisions[i].learning)
            e = make_pool(s, &s->own->decisions[i]);
    return e;
}
