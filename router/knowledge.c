#include "router/knowledge.h"

#include "router/kb_manifest.h"
#include "router/vectors/bank.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 256, MAX_BASES = 1000, MAX_METRICS = 1000 };

/* ---- configuration ---- */

static const char *const metric_types[] = { "group_margin", NULL };

struct metric_config {
    struct str name, positive, negative;
    unsigned type;
};

struct base_config {
    struct str name, description;
    const struct node *source, *label_thresholds, *groups, *prototypes;
    double threshold;
    struct item_list metrics;
};

struct source_config {
    struct str path, manifest;
};

static const struct option metric_options[] = {
    OPT_TEXT(struct metric_config, name, "name", OPTION_REQUIRED, "by which scores refer to it"),
    OPT_WORD(struct metric_config, type, "type", metric_types, "group_margin", "what it is"),
    OPT_TEXT(struct metric_config, positive, "positive_group", OPTION_REQUIRED, "added"),
    OPT_TEXT(struct metric_config, negative, "negative_group", OPTION_REQUIRED, "subtracted"),
    OPT_END,
};

static const struct option source_options[] = {
    OPT_TEXT(struct source_config, path, "path", OPTION_REQUIRED, "folder of the manifest"),
    OPT_TEXT(struct source_config, manifest, "manifest", "labels.json", "its file"),
    OPT_END,
};

static const struct option base_options[] = {
    OPT_TEXT(struct base_config, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct base_config, description, "description", NULL, "for people"),
    OPT_NODE(struct base_config, source, "source", "where its labels are"),
    OPT_FLOAT(struct base_config, threshold, "threshold", 0, 1, "0",
              "similarity at which a label matches"),
    OPT_NODE(struct base_config, label_thresholds, "label_thresholds", "of single labels"),
    OPT_NODE(struct base_config, groups, "groups", "lists of labels"),
    OPT_LIST(struct base_config, metrics, "metrics", MAX_METRICS, metric_options,
             struct metric_config, "numbers for scores"),
    OPT_NODE(struct base_config, prototypes, "prototype_scoring", "of examples"),
    OPT_END,
};

/* Those that a policy may refer to without declaring them. */
static const char built_in[] =
    "- name: privacy_kb\n"
    "  source: {path: knowledge_bases/privacy/}\n"
    "  threshold: 0.55\n"
    "  label_thresholds: {prompt_injection: 0.7}\n"
    "  groups:\n"
    "    security_containment: [prompt_injection, credential_exfiltration, jailbreak_role,"
    " system_prompt_extraction]\n"
    "    privacy_policy: [proprietary_code, internal_document, pii, business_strategy,"
    " trade_secret_ip, operational_infrastructure, locality_directive, customer_data]\n"
    "    frontier_reasoning: [architecture_analysis, root_cause_analysis, multi_step_tradeoffs]\n"
    "    local_standard: [generic_coding, simple_task, general_knowledge]\n"
    "    private: [prompt_injection, credential_exfiltration, jailbreak_role,"
    " system_prompt_extraction, proprietary_code, internal_document, pii, business_strategy,"
    " trade_secret_ip, operational_infrastructure, locality_directive, customer_data]\n"
    "    public: [architecture_analysis, root_cause_analysis, multi_step_tradeoffs,"
    " generic_coding, simple_task, general_knowledge]\n"
    "  metrics: [{name: private_vs_public, type: group_margin, positive_group: private,"
    " negative_group: public}]\n"
    "- name: mmlu_kb\n"
    "  source: {path: knowledge_bases/mmlu/}\n"
    "  threshold: 0.25\n"
    "  groups:\n"
    "    escalate: [biology, business, computer science, economics, history, math, other,"
    " philosophy, psychology]\n"
    "    keep: [chemistry, engineering, health, law, physics]\n"
    "  metrics: [{name: escalate_vs_keep, type: group_margin, positive_group: escalate,"
    " negative_group: keep}]\n";

/* ---- the base ---- */

struct label {
    struct str name;
    double threshold;
    struct bank *bank; /* owned */
};

struct group {
    struct str name;
    size_t *labels;
    size_t n;
};

struct metric {
    struct str name;
    size_t positive, negative; /* groups */
};

struct knowledge {
    struct document *built_in; /* NULL: the configuration declares it */
    struct arena *arena;
    struct label *labels;
    struct group *groups;
    struct metric *metrics;
    size_t n_labels, n_groups, n_metrics;
};

static const char *const common_metrics[] = { "best_score", "best_matched_score" };
enum { METRIC_best, METRIC_best_matched, METRIC_own };

struct knowledge *knowledge_free(struct knowledge *k)
{
    if (!k)
        return NULL;
    for (size_t i = 0; i < k->n_labels; i++)
        (void)bank_free(k->labels[i].bank);
    (void)document_free(k->built_in);
    free(k);
    return NULL;
}

size_t knowledge_find(const struct knowledge *k, enum knowledge_kind kind, struct str name)
{
    for (size_t i = 0; kind == KNOWLEDGE_label && i < k->n_labels; i++)
        if (str_eq(k->labels[i].name, name))
            return i;
    for (size_t i = 0; kind == KNOWLEDGE_group && i < k->n_groups; i++)
        if (str_eq(k->groups[i].name, name))
            return i;
    for (size_t i = 0; kind == KNOWLEDGE_metric && i < METRIC_own; i++)
        if (str_is(name, common_metrics[i]))
            return i;
    for (size_t i = 0; kind == KNOWLEDGE_metric && i < k->n_metrics; i++)
        if (str_eq(k->metrics[i].name, name))
            return METRIC_own + i;
    return SIZE_MAX;
}

/* ---- loading ---- */

struct load {
    const struct knowledge_source *s;
    struct knowledge *k;
    const struct node *at; /* the base's node */
    const char *path;
    struct base_config config;
    struct bank_options prototypes;
};

static int wrong(const struct load *l, const struct node *at, const char *what, struct str name)
{
    return node_problem(l->s->p, PROBLEM_error, at, l->path, "%s '%.*s'", what, STR_ARG(name));
}

static int load_labels(struct load *l, const struct kb_manifest *m)
{
    struct knowledge *k = l->k;
    struct fail fail = { 0 };
    int e = 0;
    k->labels = arena_array(k->arena, m->n + 1, sizeof(*k->labels));
    if (!k->labels)
        return -ENOMEM;
    for (size_t i = 0; i < m->n && e == 0; i++) {
        struct label *label = &k->labels[k->n_labels++];
        *label = (struct label){ m->labels[i].name, l->config.threshold, NULL };
        e = bank_new(&label->bank, l->s->space, m->labels[i].exemplars, m->labels[i].n,
                     &l->prototypes, &fail);
    }
    if (e > 0)
        return node_problem(l->s->p, PROBLEM_error, l->at, l->path, "%s", fail.message);
    return e;
}

static int load_thresholds(struct load *l)
{
    const struct node *map = l->config.label_thresholds;
    for (size_t i = 0; map && map->kind == NODE_map && i < map->n; i++) {
        struct one {
            double threshold;
        } one = { 0 };
        const struct option row[] = {
            OPT_FLOAT(struct one, threshold, map->keys[i].p, 0, 1, NULL, "of the label"),
            OPT_END,
        };
        const struct node single = { .kind = NODE_map,
                                     .n = 1,
                                     .items = &map->items[i],
                                     .keys = &map->keys[i],
                                     .key_nodes = &map->key_nodes[i] };
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.label_thresholds", l->path);
        size_t label = knowledge_find(l->k, KNOWLEDGE_label, map->keys[i]);
        int e = schema_read(&one, row, &single, path, l->s->arena, l->s->p);
        if (e == 0 && label == SIZE_MAX)
            e = wrong(l, map->key_nodes[i], "the manifest has no label", map->keys[i]);
        if (e < 0)
            return e;
        l->k->labels[label].threshold = one.threshold;
    }
    if (map && map->kind != NODE_map && map->kind != NODE_null)
        return node_problem(l->s->p, PROBLEM_error, map, l->path, "label_thresholds is a map");
    return 0;
}

static int load_group(struct load *l, struct group *g, const struct node *list)
{
    if (list->kind != NODE_list)
        return wrong(l, list, "a group is a list of labels:", g->name);
    g->labels = arena_array(l->k->arena, list->n + 1, sizeof(*g->labels));
    if (!g->labels)
        return -ENOMEM;
    for (size_t i = 0; i < list->n; i++) {
        struct str name = list->items[i]->kind == NODE_scalar ? list->items[i]->scalar : STR_NULL;
        size_t label = knowledge_find(l->k, KNOWLEDGE_label, name);
        if (label == SIZE_MAX)
            return wrong(l, list->items[i], "the manifest has no label", name);
        g->labels[g->n++] = label;
    }
    return 0;
}

static int load_groups(struct load *l)
{
    const struct node *map = l->config.groups;
    if (!map || map->kind == NODE_null)
        return 0;
    if (map->kind != NODE_map)
        return node_problem(l->s->p, PROBLEM_error, map, l->path, "groups is a map of lists");
    l->k->groups = arena_array(l->k->arena, map->n + 1, sizeof(*l->k->groups));
    if (!l->k->groups)
        return -ENOMEM;
    int e = 0;
    for (size_t i = 0; i < map->n && e == 0; i++) {
        struct group *g = &l->k->groups[l->k->n_groups++];
        *g = (struct group){ map->keys[i], NULL, 0 };
        e = load_group(l, g, map->items[i]);
    }
    return e;
}

static int load_metrics(struct load *l)
{
    const struct metric_config *metrics = l->config.metrics.items;
    struct knowledge *k = l->k;
    k->metrics = arena_array(k->arena, l->config.metrics.n + 1, sizeof(*k->metrics));
    if (!k->metrics)
        return -ENOMEM;
    for (size_t i = 0; i < l->config.metrics.n; i++) {
        struct metric m = { metrics[i].name,
                            knowledge_find(k, KNOWLEDGE_group, metrics[i].positive),
                            knowledge_find(k, KNOWLEDGE_group, metrics[i].negative) };
        if (m.positive == SIZE_MAX || m.negative == SIZE_MAX)
            return wrong(l, l->at, "there is no group",
                         m.positive == SIZE_MAX ? metrics[i].positive : metrics[i].negative);
        k->metrics[k->n_metrics++] = m;
    }
    return 0;
}

static int load_base(struct load *l)
{
    struct source_config source = { STR_NULL, STR_NULL };
    struct kb_manifest m;
    char path[PATH_BYTES];
    int e = schema_read(&l->config, base_options, l->at, l->path, l->s->arena, l->s->p);
    (void)snprintf(path, sizeof(path), "%s.source", l->path);
    if (e == 0)
        e = schema_read(&source, source_options, l->config.source, path, l->s->arena, l->s->p);
    (void)snprintf(path, sizeof(path), "%s.prototype_scoring", l->path);
    if (e == 0)
        e = bank_options_read(&l->prototypes, l->config.prototypes, path, l->s->arena, l->s->p);
    (void)snprintf(path, sizeof(path), "%s.source", l->path);
    if (e < 0)
        return e;
    while (source.path.n > 1 && source.path.p[source.path.n - 1] == '/')
        source.path.n--;
    const struct node *at = l->k->built_in ? l->s->at : l->config.source;
    const char *at_path = l->k->built_in ? l->s->at_path : path;
    const struct kb_manifest_source where = { l->s->config, source.path, source.manifest, at,
                                              at_path,      l->k->arena, l->s->p };
    int (*const steps[])(struct load *) = { load_thresholds, load_groups, load_metrics };
    e = kb_manifest_load(&m, &where);
    if (e == 0)
        e = load_labels(l, &m);
    for (size_t i = 0; e == 0 && i < ARRAY_LEN(steps); i++)
        e = steps[i](l);
    return e;
}

/* The base of that name in a list; its place goes to l. */
static bool find_base(struct load *l, const struct node *list, struct str name, const char *path,
                      char *space)
{
    for (size_t i = 0; node_at(list, i); i++) {
        const struct node *n = node_get(node_at(list, i), "name");
        if (!n || n->kind != NODE_scalar || !str_eq(n->scalar, name))
            continue;
        (void)snprintf(space, PATH_BYTES, "%s[%zu]", path, i);
        l->at = node_at(list, i);
        l->path = space;
        return true;
    }
    return false;
}

int knowledge_load(struct knowledge **ret, struct str name, const struct knowledge_source *source)
{
    CLEANUP(knowledge_freep) struct knowledge *k = calloc(1, sizeof(*k));
    char space[PATH_BYTES];
    if (!k)
        return -ENOMEM;
    k->arena = source->arena;
    struct load l = { .s = source, .k = k };
    const struct node *global = source->config->global;
    const struct node *catalog = global ? node_get(global, "model_catalog") : NULL;
    const struct node *list = catalog ? node_get(catalog, "kbs") : NULL;
    if (!find_base(&l, list, name, "global.model_catalog.kbs", space)) {
        int e = document_parse(&k->built_in, "(built in)", str_of(built_in), source->p);
        if (e < 0)
            return e;
        if (!find_base(&l, document_root(k->built_in), name, "(built in)", space))
            return -ENOENT;
    }
    int e = load_base(&l);
    if (e == 0)
        *ret = TAKE(k);
    return e;
}

/* ---- scoring ---- */

int knowledge_score(const struct knowledge *k, const struct text_vector *v, struct arena *arena,
                    struct knowledge_scores *ret)
{
    *ret = (struct knowledge_scores){
        .labels = arena_array(arena, k->n_labels + 1, sizeof(*ret->labels)),
        .groups = arena_array(arena, k->n_groups + 1, sizeof(*ret->groups)),
        .label_matched = arena_array(arena, k->n_labels + 1, sizeof(*ret->label_matched)),
        .group_matched = arena_array(arena, k->n_groups + 1, sizeof(*ret->group_matched)),
    };
    if (!ret->labels || !ret->groups || !ret->label_matched || !ret->group_matched)
        return -ENOMEM;
    for (size_t i = 0; i < k->n_labels; i++) {
        ret->labels[i] = bank_score(k->labels[i].bank, v).score;
        ret->label_matched[i] = ret->labels[i] >= k->labels[i].threshold;
        ret->best_label = fmax(ret->best_label, ret->labels[i]);
        if (ret->label_matched[i])
            ret->best_matched = fmax(ret->best_matched, ret->labels[i]);
    }
    for (size_t g = 0; g < k->n_groups; g++) {
        for (size_t i = 0; i < k->groups[g].n; i++) {
            size_t label = k->groups[g].labels[i];
            ret->groups[g] = fmax(ret->groups[g], ret->labels[label]);
            ret->group_matched[g] = ret->group_matched[g] || ret->label_matched[label];
        }
        ret->best_group = fmax(ret->best_group, ret->groups[g]);
    }
    return 0;
}

double knowledge_metric(const struct knowledge *k, const struct knowledge_scores *s, size_t metric)
{
    if (metric < METRIC_own)
        return metric == METRIC_best ? s->best_label : s->best_matched;
    const struct metric *m = &k->metrics[metric - METRIC_own];
    return s->groups[m->positive] - s->groups[m->negative];
}
