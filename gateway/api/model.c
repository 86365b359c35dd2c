#include "gateway/api/model.h"

#include "gateway/server.h"
#include "gateway/target.h"

#include <errno.h>

/* What the name means; *ret_adapter: it is one, of that base. */
static int find(struct request *r, struct str name, const struct core_model **ret,
                bool *ret_adapter, struct fail *reterr)
{
    const struct core *c = r->state->core;
    struct target t = { 0 };
    int err = target_parse(c, name, &t, reterr);
    if (err != 0)
        return err;
    *ret = t.model;
    *ret_adapter = t.adapter.adapter.n > 0;
    t.adapter.viewer = r->caller.tenant;
    if (*ret_adapter) {
        struct adapter_revision revision;
        err = c->adapters ? adapters_resolve(c->adapters, &t.adapter, &revision, reterr)
                          : target_unknown(name, reterr);
        if (err < 0)
            return fail_errno(reterr, err, "looking the adapter up");
        if (err != 0)
            return err;
        r->log_adapter = arena_str(r->arena, str_of(revision.adapter));
        *ret = core_model(c, str_of(revision.base));
    }
    if (!*ret)
        return target_unknown(name, reterr);
    r->log_model = (*ret)->name;
    return 0;
}

int model_for_vectors(struct request *r, struct str name, struct engine **ret, struct fail *reterr)
{
    const struct core_model *m = NULL;
    bool is_adapter = false;
    if (name.n == 0)
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "'model' is missing; GET /v1/models lists what is served");
    if (router_is_auto(r->state->router, name))
        return fail_param(reterr, FAIL_invalid_request, "model",
                          "'" STR_FMT "' chooses among models that answer; name the one whose "
                          "vectors you want",
                          STR_ARG(str_head(name, 64)));
    int err = find(r, name, &m, &is_adapter, reterr);
    if (err != 0)
        return err;
    if (is_adapter)
        return fail_param(reterr, FAIL_unsupported_parameter, "model",
                          "embeddings are computed without adapters; ask for '" STR_FMT "' itself",
                          STR_ARG(str_head(m->name, 128)));
    *ret = m->engine;
    return 0;
}

int model_for_tokens(struct request *r, struct str name, struct engine **ret, struct fail *reterr)
{
    const struct core *c = r->state->core;
    const struct core_model *m = c->n_models ? &c->models[0] : NULL;
    bool is_adapter = false;
    if (name.n && !router_is_auto(r->state->router, name)) {
        int err = find(r, name, &m, &is_adapter, reterr);
        if (err != 0)
            return err;
    }
    if (!m)
        return target_unknown(name, reterr);
    r->log_model = m->name;
    *ret = m->engine;
    return 0;
}
