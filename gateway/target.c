#include "gateway/target.h"

#include "base/metrics.h"
#include "gateway/candidates.h"
#include "gateway/server.h"

#include <errno.h>
#include <sys/random.h>

enum { EPOCH_WAIT_MS = 50 }; /* for a change that is on its way here */

/* Whose epoch it is: that of what the name means now (`known`), else of what it would be. */
static int wait_epoch(const struct core *c, const struct adapter_name *name, uint64_t least,
                      const struct adapter_revision *known, struct fail *reterr)
{
    struct str base = known ? str_of(known->base) : name->base;
    if (base.n == 0 && c->n_models)
        base = c->models[0].name;
    int err = adapters_wait_epoch(c->adapters, base, known ? str_of(known->adapter) : name->adapter,
                                  least, EPOCH_WAIT_MS, reterr);
    if (err != FAILED || reterr->code != FAIL_timeout)
        return err;
    (void)fail_set(reterr, FAIL_overloaded,
                   "this gateway has not applied epoch %llu of the catalog yet; ask again",
                   (unsigned long long)least);
    reterr->retry_after_s = 1;
    return FAILED;
}

int target_find(const struct core *c, const struct adapter_name *name, uint64_t least,
                struct adapter_revision *ret, struct fail *reterr)
{
    int err = adapters_resolve(c->adapters, name, ret, reterr);
    bool unknown = err == FAILED && reterr->code == FAIL_model_not_found;
    if (least == 0 || (err != 0 && !unknown))
        return err;
    err = wait_epoch(c, name, least, unknown ? NULL : ret, reterr);
    return err == 0 ? adapters_resolve(c->adapters, name, ret, reterr) : err;
}

int target_unknown(struct str name, struct fail *reterr)
{
    return fail_set(reterr, FAIL_model_not_found,
                    "The model '" STR_FMT "' does not exist or is not served here; GET /v1/models "
                    "lists what is",
                    STR_ARG(str_head(name, 128)));
}

static struct adapter_name adapter_of(struct str base, struct str text)
{
    struct adapter_name n = { .base = base, .adapter = text };
    (void)str_cut(text, '@', &n.adapter, &n.selector);
    return n;
}

/* The longest served base that the name begins with, before a ':' (names may hold colons). */
static const struct core_model *base_of(const struct core *c, struct str name, struct str *ret_rest)
{
    const struct core_model *best = NULL;
    for (size_t i = 0; i < c->n_models; i++) {
        struct str base = c->models[i].name;
        if (name.n <= base.n || name.p[base.n] != ':' || !str_starts(name, base) ||
            (best && best->name.n >= base.n))
            continue;
        best = &c->models[i];
        *ret_rest = str_sub(name, base.n + 1);
    }
    return best;
}

static bool is_printable(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            return false;
    return true;
}

int target_parse(const struct core *c, struct str name, struct target *ret, struct fail *reterr)
{
    struct target t = { .model = core_model(c, name) };
    if (t.model) {
        *ret = t;
        return 0;
    }
    struct str rest = STR_NULL;
    t.model = base_of(c, name, &rest);
    if (t.model) {
        t.adapter = adapter_of(t.model->name, rest);
    } else {
        t.adapter = adapter_of(STR_NULL, name);
        if (str_find(t.adapter.adapter, STR(":")) >= 0)
            return target_unknown(name, reterr); /* a base that is not served */
    }
    bool empty_selector = t.adapter.selector.n == 0 && name.n && name.p[name.n - 1] == '@';
    if (t.adapter.adapter.n == 0 || empty_selector || name.n > (size_t)2 * LIMIT_NAME ||
        !is_printable(name))
        return target_unknown(name, reterr);
    *ret = t;
    return 0;
}

static ptrdiff_t count_tokens(void *ctx, struct str text)
{
    return engine_count_tokens(ctx, text);
}

/* A route names a base of ours, with an adapter; or a model card that is an adapter's wire name. */
static int from_route(const struct core *c, struct target *t, struct fail *reterr)
{
    const struct route *r = &t->route;
    t->model = core_model(c, r->model);
    if (!t->model && r->adapter.n == 0) {
        struct route route = *r;
        int err = target_parse(c, r->model, t, reterr);
        t->is_auto = true;
        t->route = route;
        return err;
    }
    if (!t->model)
        return target_unknown(r->model, reterr);
    if (r->adapter.n)
        t->adapter = adapter_of(t->model->name, r->adapter);
    return 0;
}

/* 0 where the machine has none at hand: the router then takes the text's. */
static uint64_t fresh_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        return 0;
    return seed;
}

static void count_route(const struct route *route)
{
    metrics_add_label(METRIC_route_decisions_total,
                      route->decision.n ? SERVER_OUTCOME_matched : SERVER_OUTCOME_default, 1);
    metrics_observe_us(METRIC_route_seconds, route->us);
}

int target_resolve(const struct state *s, const struct route_request *like, struct arena *arena,
                   struct target *ret, struct fail *reterr)
{
    if (!router_is_auto(s->router, like->chat->model))
        return target_parse(s->core, like->chat->model, ret, reterr);
    struct engine *e = core_counter(s->core);
    struct candidates candidates = { .core = s->core, .arena = arena };
    struct route_request q = *like;
    q.count_tokens = e ? count_tokens : NULL;
    q.count_ctx = e;
    q.candidate = candidates_tell;
    q.candidate_ctx = &candidates;
    q.seed = fresh_seed();
    struct target t = { .is_auto = true };
    int r = router_route(s->router, &q, arena, &t.route, reterr);
    if (r != 0)
        return r;
    *ret = t;
    if (t.route.selection == SELECTION_execution_required)
        return fail_set(reterr, FAIL_not_implemented,
                        "the decision '%.*s' is answered by the algorithm '%.*s', which calls "
                        "several models; this version calls one",
                        STR_ARG(t.route.decision), STR_ARG(t.route.algorithm));
    r = from_route(s->core, &t, reterr);
    if (r != 0)
        return r;
    count_route(&t.route);
    *ret = t;
    return 0;
}

struct str target_name(const struct target *t, struct arena *arena)
{
    const struct adapter_name *a = &t->adapter;
    if (a->adapter.n == 0)
        return arena_str(arena, t->model->name);
    struct str base = t->model ? t->model->name : a->base;
    return str_of(arena_printf(arena, "" STR_FMT "%s" STR_FMT "%s" STR_FMT, STR_ARG(base),
                               base.n ? ":" : "", STR_ARG(a->adapter), a->selector.n ? "@" : "",
                               STR_ARG(a->selector)));
}
