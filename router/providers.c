#include "router/providers.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_MODELS = 10000, MAX_FAMILIES = 1000 };

static const char *const types[] = { "chat_template_kwargs", "reasoning_effort",
                                     "top_level_reasoning_effort", NULL };

/* ---- tables ---- */

static const struct option family_options[] = {
    OPT_WORD(struct reasoning_family, type, "type", types, OPTION_REQUIRED, "how it is told"),
    OPT_TEXT(struct reasoning_family, parameter, "parameter", OPTION_REQUIRED, "by which name"),
    OPT_END,
};

static const struct option defaults_options[] = {
    OPT_TEXT(struct providers, default_model, "default_model", NULL,
             "answers what no decision matches"),
    OPT_TEXT(struct providers, default_effort, "default_reasoning_effort", NULL,
             "low, medium or high"),
    OPT_NAMED(struct providers, families, "reasoning_families", MAX_FAMILIES, family_options,
              struct reasoning_family, "how models are told to reason"),
    OPT_END,
};

struct model_row {
    struct provider_model m;
    union discarded nobody;
};

/* What config reads, for the calls to models behind, and selection, for its prices. */
#define ELSEWHERE(key) OPT_NODE(struct model_row, nobody.node, key, "read elsewhere")

static const struct option model_options[] = {
    OPT_TEXT(struct model_row, m.name, "name", OPTION_REQUIRED, "by which decisions refer to it"),
    OPT_TEXT(struct model_row, m.family, "reasoning_family", NULL, "how it is told to reason"),
    ELSEWHERE("provider_model_id"),
    ELSEWHERE("api_format"),
    ELSEWHERE("reliability"),
    ELSEWHERE("external_model_ids"),
    ELSEWHERE("backend_refs"),
    ELSEWHERE("pricing"),
    OPT_END,
};

struct rows {
    struct item_list models;
    const struct node *defaults;
};

static const struct option providers_options[] = {
    OPT_NODE(struct rows, defaults, "defaults", "for all models"),
    OPT_LIST(struct rows, models, "models", MAX_MODELS, model_options, struct model_row,
             "models behind"),
    OPT_END,
};

/* ---- loading ---- */

static const struct reasoning_family *find_family(const struct providers *p, struct str name)
{
    const struct reasoning_family *all = p->families.items;
    for (size_t i = 0; i < p->families.n; i++)
        if (str_eq(all[i].name, name))
            return &all[i];
    return NULL;
}

static int load_models(struct providers *ret, const struct rows *rows,
                       const struct providers_source *s, const struct node *list)
{
    const struct model_row *from = rows->models.items;
    struct provider_model *to = arena_array(s->arena, rows->models.n + 1, sizeof(*to));
    if (!to)
        return -ENOMEM;
    for (size_t i = 0; i < rows->models.n; i++) {
        to[i] = from[i].m;
        to[i].reasoning = find_family(ret, to[i].family);
        if (to[i].family.n == 0 || to[i].reasoning)
            continue;
        char path[64];
        (void)snprintf(path, sizeof(path), "providers.models[%zu].reasoning_family", i);
        (void)node_problem(s->p, PROBLEM_warning, node_get(node_at(list, i), "reasoning_family"),
                           path, "providers.defaults.reasoning_families has no '%.*s'",
                           STR_ARG(to[i].family));
    }
    ret->models = (struct item_list){ to, rows->models.n };
    return 0;
}

int providers_load(struct providers *ret, const struct providers_source *source)
{
    const struct node *providers = source->config->providers;
    struct rows rows = { { NULL, 0 }, NULL };
    *ret = (struct providers){ .default_model = STR_NULL };
    int e = schema_read(&rows, providers_options, providers, "providers", source->arena, source->p);
    int k = schema_read(ret, defaults_options, rows.defaults, "providers.defaults", source->arena,
                        source->p);
    if (e < 0 || k < 0)
        return e < 0 ? e : k;
    return load_models(ret, &rows, source, providers ? node_get(providers, "models") : NULL);
}

/* ---- reasoning ---- */

static const struct reasoning_family *family_of(const struct providers *p, struct str model)
{
    const struct provider_model *models = p->models.items;
    for (size_t i = 0; i < p->models.n; i++)
        if (str_eq(models[i].name, model))
            return models[i].reasoning;
    return NULL;
}

/* A variable's name: letters, digits and underscores. */
static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z'))
            return false;
    }
    return s.n > 0;
}

void providers_reasoning(const struct providers *p, struct route *ret)
{
    const struct reasoning_family *f = family_of(p, ret->model);
    enum reasoning_type type = f ? (enum reasoning_type)(f->type + 1) : REASONING_none;
    if (type == REASONING_none)
        return;
    bool effort = type != REASONING_chat_template_kwargs;
    if (type == REASONING_top_level_effort && !ret->use_reasoning)
        return; /* the client's word stands */
    ret->reasoning_key = f->parameter;
    ret->reasoning_value = ret->use_reasoning ? STR("true") : STR("false");
    if (!effort)
        return;
    if (!is_name(f->parameter)) /* a path into a request: the template knows the usual name */
        ret->reasoning_key = STR("reasoning_effort");
    ret->reasoning_is_text = true;
    ret->reasoning_yields = !ret->use_reasoning;
    ret->reasoning_value = !ret->use_reasoning       ? STR("low")
                           : ret->reasoning_effort.n ? ret->reasoning_effort
                                                     : STR("medium");
}
