#include "router/policy.h"

#include "base/limits.h"
#include "router/directives.h"
#include "router/output_contract.h"
#include "router/rules.h"
#include "router/selection/adaptation.h"
#include "router/signals/kb.h"

#include <errno.h>
#include <stdio.h>

const char *const strategies[] = { "priority", "confidence", NULL };

enum { MAX_RULES = 100000, MAX_DECISIONS = 100000, PATH_BYTES = 320 };

/* ---- tables ---- */

static const struct option lora_card_options[] = {
    OPT_TEXT(struct lora_card, name, "name", OPTION_REQUIRED, "of the adapter"),
    OPT_TEXT(struct lora_card, description, "description", NULL, "for people"),
    OPT_END,
};

const struct option model_card_options[] = {
    OPT_TEXT(struct model_card, name, "name", OPTION_REQUIRED, "by which decisions refer to it"),
    OPT_TEXT(struct model_card, description, "description", NULL, "for people and selection"),
    OPT_TEXT(struct model_card, param_size, "param_size", NULL, "such as 8B"),
    OPT_TEXT(struct model_card, modality, "modality", NULL, "ar, diffusion or omni"),
    OPT_FLOAT(struct model_card, quality_score, "quality_score", 0, 1, "0", "for selection"),
    OPT_UINT(struct model_card, context_window_size, "context_window_size", 0, 1e9, "0", "tokens"),
    OPT_TEXTS(struct model_card, capabilities, "capabilities", 100, "for people and selection"),
    OPT_TEXTS(struct model_card, tags, "tags", 100, "for people"),
    OPT_LIST(struct model_card, loras, "loras", 10000, lora_card_options, struct lora_card,
             "adapters that decisions may name"),
    OPT_END,
};

static const struct option decision_options[] = {
    OPT_TEXT(struct decision, name, "name", OPTION_REQUIRED, "of the decision"),
    OPT_TEXT(struct decision, description, "description", NULL, "for people"),
    OPT_INT(struct decision, priority, "priority", -1e15, 1e15, "0", "higher goes first"),
    OPT_UINT(struct decision, tier, "tier", 0, 1e15, "0", "lower goes first; 0: none"),
    OPT_NODE(struct decision, rules_node, "rules", "when it matches; absent: always"),
    OPT_LIST(struct decision, refs, "modelRefs", 1000, model_ref_options, struct model_ref,
             "candidates that may answer"),
    OPT_NODE(struct decision, algorithm_node, "algorithm", "how a candidate is picked"),
    OPT_NODE(struct decision, plugins, "plugins", "what acts on the request and the answer"),
    OPT_NODE(struct decision, on_unknown_node, "on_unknown", "when a signal cannot be evaluated"),
    OPT_TEXT(struct decision, output_contract, "output_contract", NULL,
             "what models that answer together are told about the answer"),
    OPT_NODE(struct decision, contract_node, "output_contract_spec", "what an answer must be"),
    OPT_NODE(struct decision, adaptations_node, "adaptations", "what learning may do"),
    OPT_NODE(struct decision, iterations_node, "candidateIterations", "candidates as a loop"),
    OPT_NODE(struct decision, emits_node, "emits", "what is asked for the session's next turns"),
    OPT_NODE(struct decision, annotations_node, "annotations", "for people"),
    OPT_END,
};

struct profile {
    unsigned strategy;
    bool has_strategy;
    const struct node *strategy_node, *cards, *signals, *projections;
    struct item_list decisions;
};

static const struct option profile_options[] = {
    OPT_NODE(struct profile, strategy_node, "strategy", "priority or confidence"),
    OPT_NODE(struct profile, cards, "modelCards", "models that decisions may name"),
    OPT_NODE(struct profile, signals, "signals", "what is looked for in a request"),
    OPT_NODE(struct profile, projections, "projections", "sums over signals"),
    OPT_LIST(struct profile, decisions, "decisions", MAX_DECISIONS, decision_options,
             struct decision, "who answers which requests"),
    OPT_END,
};

struct word_option {
    unsigned word;
};

static const struct option strategy_options[] = {
    OPT_WORD(struct word_option, word, "strategy", strategies, "priority", "what decides a tie"),
    OPT_IGNORED("*", ""),
    OPT_END,
};

struct family_nodes {
    const struct node *nodes[FAMILY_N];
};

#define FAMILY_OPTION(name, key, type, help)                                                       \
    OPT_NODE(struct family_nodes, nodes[FAMILY_##name], key, help),
static const struct option family_options[] = { SIGNAL_FAMILIES(FAMILY_OPTION) OPT_END };

/* ---- models ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool model_names_have(const struct model_names *m, struct str name)
{
    char key[LIMIT_NAME + 1];
    const char *p = key;
    if (name.n == 0 || name.n > LIMIT_NAME || memchr(name.p, '\0', name.n))
        return false;
    memcpy(key, name.p, name.n);
    key[name.n] = '\0';
    return m->n && bsearch(&p, m->names, m->n, sizeof(p), by_name);
}

void model_names_split(const struct model_names *m, struct str *model, struct str *ret_adapter)
{
    struct str base, adapter;
    if (!model_names_have(m, *model) && str_cut(*model, ':', &base, &adapter) &&
        model_names_have(m, base)) {
        *model = base;
        *ret_adapter = adapter;
    }
}

static const char *suggest(const struct model_names *m, struct str name)
{
    char word[LIMIT_NAME];
    (void)snprintf(word, sizeof(word), "%.*s", STR_ARG(name));
    return str_suggest(word, m->names, m->n);
}

/* ---- signals ---- */

struct load {
    const struct policy_source *s;
    struct policy *p;
    const struct node *projections;
    /* of the family that has gates: a tree a rule, NULL where it has none */
    const struct node **gates;
    size_t n_gates;
    enum family gate_family;
};

static int read_rules(struct load *l, enum family f, const struct node *list, char **ret)
{
    const struct signal_family *family = signal_families[f];
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.signals.%s", l->s->path, signal_keys[f]);
    if (list->kind != NODE_list)
        return node_problem(l->s->p, PROBLEM_error, list, path, "needs a list of rules");
    if (list->n > MAX_RULES)
        return node_problem(l->s->p, PROBLEM_error, list, path, "more than %d rules", MAX_RULES);
    char *items = arena_array(l->s->arena, list->n, family->rule_size);
    if (!items)
        return -ENOMEM;
    int first = 0;
    for (size_t i = 0; i < list->n; i++) {
        (void)snprintf(path, sizeof(path), "%s.signals.%s[%zu]", l->s->path, signal_keys[f], i);
        int e = schema_read(items + i * family->rule_size, family->options, list->items[i], path,
                            l->s->arena, l->s->p);
        first = first < 0 ? first : e;
    }
    *ret = items;
    return first;
}

static int by_signal_name(const void *a, const void *b)
{
    return str_cmp(((const struct signal *)a)->name, ((const struct signal *)b)->name);
}

static size_t level_count(const struct signal_family *family)
{
    size_t n = 0;
    while (family->levels && family->levels[n])
        n++;
    return n ? n : 1;
}

static void report_twins(struct load *l, enum family f, const struct node *list,
                         const struct signal *sorted, size_t n)
{
    size_t levels = level_count(signal_families[f]);
    for (size_t i = 1; i < n; i++) {
        const struct signal *a = &sorted[i - 1], *b = &sorted[i];
        size_t later = (a->rule > b->rule ? a->rule : b->rule) / levels;
        if (!str_eq(a->name, b->name) || (a->rule % levels && levels > 1))
            continue;
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.signals.%s[%zu].name", l->s->path, signal_keys[f],
                       later);
        const struct node *name = node_get(node_at(list, later), "name");
        (void)node_problem(l->s->p, PROBLEM_error, name ? name : node_at(list, later), path,
                           "the %s '%.*s' is defined twice", signal_types[f], STR_ARG(a->name));
    }
}

/* The rules of one family, while they are loaded. */
struct rules_read {
    enum family f;
    const struct node *list; /* NULL: nobody wrote any */
    char *items;
    size_t n; /* those that nobody wrote included */
};

static struct str signal_name(struct load *l, const struct rules_read *r, size_t i, size_t level)
{
    const struct signal_family *family = signal_families[r->f];
    const void *rule = r->items + i * family->rule_size;
    if (family->leaf_name)
        return family->leaf_name(rule);
    struct str name = *(const struct str *)rule;
    if (!family->levels)
        return name;
    return str_of(arena_printf(l->s->arena, "%.*s:%s", STR_ARG(name), family->levels[level]));
}

static int name_signals(struct load *l, const struct rules_read *r)
{
    const struct signal_family *family = signal_families[r->f];
    struct policy *p = l->p;
    size_t levels = level_count(family), n = r->n * levels;
    struct signal *more = arena_array(l->s->arena, p->n_signals + n, sizeof(*more));
    struct signal *sorted = arena_array(l->s->arena, n, sizeof(*sorted));
    if (!more || !sorted)
        return -ENOMEM;
    if (p->n_signals)
        memcpy(more, p->signals, p->n_signals * sizeof(*more));
    struct signal *own = more + p->n_signals;
    for (size_t i = 0; i < n; i++) {
        own[i] = (struct signal){ r->f, i, signal_name(l, r, i / levels, i % levels), 0, false };
        own[i].hidden = r->f == FAMILY_kb && kb_is_metric(own[i].name);
        if (family->levels && !own[i].name.p)
            return -ENOMEM;
    }
    memcpy(sorted, own, n * sizeof(*own));
    qsort(sorted, n, sizeof(*sorted), by_signal_name);
    if (!family->leaf_name)
        report_twins(l, r->f, r->list, sorted, n);
    p->families[r->f] = (struct family_state){ NULL, p->n_signals, n, sorted, false };
    p->signals = more;
    p->n_signals += n;
    return 0;
}

/* Appends the rules that projections need of a knowledge base. */
static int add_metrics(struct load *l, struct rules_read *r)
{
    struct kb_rule *metrics;
    size_t n;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.projections", l->s->path);
    int e = kb_metric_rules(&metrics, &n, l->projections, path, l->s->arena);
    if (e < 0 || n == 0)
        return e;
    struct kb_rule *all = arena_array(l->s->arena, r->n + n, sizeof(*all));
    if (!all)
        return -ENOMEM;
    if (r->n)
        memcpy(all, r->items, r->n * sizeof(*all));
    memcpy(all + r->n, metrics, n * sizeof(*all));
    r->items = (char *)all;
    r->n += n;
    return 0;
}

/* The gates of a family are compiled when all signals have their names. */
static int note_gates(struct load *l, const struct rules_read *r)
{
    const struct signal_family *family = signal_families[r->f];
    if (!family->gate)
        return 0;
    l->gates = arena_array(l->s->arena, r->n, sizeof(*l->gates));
    if (!l->gates)
        return -ENOMEM;
    l->n_gates = r->n;
    l->gate_family = r->f;
    for (size_t i = 0; i < r->n; i++)
        l->gates[i] = family->gate(r->items + i * family->rule_size);
    return 0;
}

static int compile_family(struct load *l, const struct rules_read *r)
{
    const struct signal_family *family = signal_families[r->f];
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.signals.%s", l->s->path, signal_keys[r->f]);
    struct signal_rules rules = { r->items,    r->n,          r->list,     path,   l->s->config,
                                  l->s->space, l->p->scanner, l->s->arena, l->s->p };
    int e = family->compile ? family->compile(&l->p->families[r->f].state, &rules) : 0;
    if (e == 0 && !l->p->families[r->f].state)
        (void)node_problem(l->s->p, PROBLEM_warning, r->list, path,
                           "signal family '%s' is not evaluated by this version: its leaves are "
                           "unknown",
                           signal_keys[r->f]);
    return e;
}

static int load_family(struct load *l, enum family f, const struct node *list)
{
    bool none = !list || list->kind == NODE_null || (list->kind == NODE_list && list->n == 0);
    struct rules_read r = { f, none ? NULL : list, NULL, none ? 0 : list->n };
    int e = none ? 0 : read_rules(l, f, list, &r.items);
    if (!none && !r.items)
        return e;
    int k = f == FAMILY_kb ? add_metrics(l, &r) : 0;
    if (k < 0 || r.n == 0)
        return k;
    k = name_signals(l, &r);
    if (k == 0)
        k = note_gates(l, &r);
    if (k < 0 || e < 0)
        return k < 0 ? k : e;
    return compile_family(l, &r);
}

static int load_signals(struct load *l, const struct node *signals)
{
    struct family_nodes nodes = { { NULL } };
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.signals", l->s->path);
    int e = schema_read(&nodes, family_options, signals, path, l->s->arena, l->s->p);
    if (e < 0 && e != -EINVAL)
        return e;
    for (int f = 0; f < FAMILY_N; f++) {
        e = load_family(l, (enum family)f, nodes.nodes[f]);
        if (e < 0 && e != -EINVAL)
            return e;
    }
    return scanner_build(l->p->scanner);
}

static int load_gate(struct load *l, size_t i)
{
    struct policy *p = l->p;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.signals.%s[%zu].composer", l->s->path,
                   signal_keys[l->gate_family], i);
    struct rules_source rules = { p, path, l->s->arena, l->s->p };
    int e = rules_compile_gate(&p->gates[p->n_gates], l->gates[i], &rules);
    if (e < 0)
        return e;
    p->n_gates++;
    size_t levels = level_count(signal_families[l->gate_family]);
    for (size_t k = 0; k < levels; k++)
        p->signals[p->families[l->gate_family].first + i * levels + k].gate = p->n_gates;
    return 0;
}

static int load_gates(struct load *l)
{
    l->p->gates = arena_array(l->s->arena, l->n_gates + 1, sizeof(*l->p->gates));
    if (!l->p->gates)
        return -ENOMEM;
    for (size_t i = 0; i < l->n_gates; i++) {
        bool none = !l->gates[i] || l->gates[i]->kind == NODE_null;
        int e = none ? 0 : load_gate(l, i);
        if (e < 0 && e != -EINVAL)
            return e;
    }
    return 0;
}

/* ---- decisions ---- */

static void mark_used(struct policy *p, const struct rule *r);

static void mark_signal(void *ctx, size_t signal)
{
    struct policy *p = ctx;
    p->families[p->signals[signal].family].used = true;
    if (p->signals[signal].gate) /* which has no gates of its own */
        mark_used(p, &p->gates[p->signals[signal].gate - 1]);
}

static void mark_used(struct policy *p, const struct rule *r)
{
    if (r->op == RULE_signal)
        mark_signal(p, r->index);
    else if (r->op == RULE_projection)
        projections_each_signal(p->projections, r->index, mark_signal, p);
    for (size_t i = 0; i < r->n; i++)
        mark_used(p, &r->children[i]);
}

static bool lora_declared(const struct model_names *m, const struct model_ref *ref)
{
    const struct model_card *cards = m->cards->items;
    struct str name = ref->lora_name, alias;
    (void)str_cut(ref->lora_name, '@', &name, &alias);
    for (size_t i = 0; i < m->cards->n; i++) {
        if (!str_eq(cards[i].name, ref->model))
            continue;
        const struct lora_card *loras = cards[i].loras.items;
        for (size_t k = 0; k < cards[i].loras.n; k++)
            if (str_eq(loras[k].name, name))
                return true;
        return cards[i].loras.n == 0; /* a card that lists none forbids none */
    }
    return true;
}

static void check_refs(struct load *l, struct decision *d, size_t i, const struct node *at)
{
    struct model_ref *refs = d->refs.items;
    const struct node *list = node_get(at, "modelRefs");
    for (size_t k = 0; k < d->refs.n; k++) {
        const struct node *ref = node_at(list, k); /* NULL: of a candidate iteration */
        const struct node *model = ref ? node_get(ref, "model") : d->iterations_node;
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.decisions[%zu].modelRefs[%zu].model", l->s->path, i,
                       k);
        if (!ref)
            (void)snprintf(path, sizeof(path), "%s.decisions[%zu].candidateIterations", l->s->path,
                           i);
        if (refs[k].lora_name.n == 0)
            model_names_split(l->s->models, &refs[k].model, &refs[k].lora_name);
        if (!model_names_have(l->s->models, refs[k].model)) {
            const char *near = suggest(l->s->models, refs[k].model);
            (void)node_problem(l->s->p, PROBLEM_error, model, path,
                               "the model '%.*s' is not known; %s%s%s", STR_ARG(refs[k].model),
                               near ? "did you mean '" : "models are those ",
                               near ? near : "of engine.models, providers.models ",
                               near ? "'?" : "and routing.modelCards");
        } else if (refs[k].lora_name.n && !lora_declared(l->s->models, &refs[k])) {
            (void)node_problem(l->s->p, PROBLEM_warning, ref ? ref : model, path,
                               "the model card of '%.*s' does not list the adapter '%.*s'",
                               STR_ARG(refs[k].model), STR_ARG(refs[k].lora_name));
        }
    }
}

static int load_learning(struct load *l, struct decision *d)
{
    struct decision_learning *own = arena_alloc(l->s->arena, sizeof(*own));
    if (!own)
        return -ENOMEM;
    *own = decision_learning_of(&d->adaptations, l->s->learning);
    if (own->adapts || own->protects)
        d->learning = own;
    return 0;
}

static int load_decision(struct load *l, struct decision *d, size_t i, const struct node *at)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.decisions[%zu]", l->s->path, i);
    struct rules_source rules = { l->p, path, l->s->arena, l->s->p };
    int e = rules_compile(d, &rules);
    if (e < 0)
        return e;
    if (!d->always)
        mark_used(l->p, &d->rules);
    struct directives_source directives = { path, l->s->arena, l->s->p };
    e = directives_load(d, &directives);
    if (e < 0)
        return e;
    check_refs(l, d, i, at);
    (void)snprintf(path, sizeof(path), "%s.decisions[%zu].output_contract_spec", l->s->path, i);
    e = output_contract_load(&d->contract, d->contract_node, path, l->s->arena, l->s->p);
    if (e < 0)
        return e;
    (void)snprintf(path, sizeof(path), "%s.decisions[%zu].plugins", l->s->path, i);
    d->plugins_path = arena_cstr(l->s->arena, str_of(path));
    (void)snprintf(path, sizeof(path), "%s.decisions[%zu].algorithm", l->s->path, i);
    if (!d->plugins_path)
        return -ENOMEM;
    struct selection_source source = { path,        l->s->defaults, l->s->models,
                                       l->s->space, l->s->arena,    l->s->p };
    e = selection_load(d, &source);
    return e < 0 ? e : load_learning(l, d);
}

static int by_rank(const void *a, const void *b)
{
    const struct decision *x = a, *y = b;
    if (x->tier != y->tier)
        return x->tier < y->tier ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority < y->priority ? 1 : -1;
    return str_cmp(x->name, y->name);
}

static void check_decision_names(struct load *l, const struct node *list)
{
    const struct decision *d = l->p->decisions; /* sorted by name here */
    for (size_t i = 1; i < l->p->n_decisions; i++) {
        if (!str_eq(d[i].name, d[i - 1].name))
            continue;
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.decisions", l->s->path);
        const struct node *at = list;
        for (size_t k = 0; k < list->n; k++) { /* the last one of the name */
            const struct node *name = node_get(list->items[k], "name");
            at = name && name->kind == NODE_scalar && str_eq(name->scalar, d[i].name) ? name : at;
        }
        (void)node_problem(l->s->p, PROBLEM_error, at, path, "the decision '%.*s' is defined twice",
                           STR_ARG(d[i].name));
    }
}

static int by_decision_name(const void *a, const void *b)
{
    return str_cmp(((const struct decision *)a)->name, ((const struct decision *)b)->name);
}

static int load_decisions(struct load *l, struct item_list decisions, const struct node *list)
{
    struct policy *p = l->p;
    p->decisions = decisions.items;
    p->n_decisions = decisions.n;
    for (size_t i = 0; i < p->n_decisions; i++) {
        int e = load_decision(l, &p->decisions[i], i, list->items[i]);
        if (e < 0 && e != -EINVAL)
            return e;
    }
    if (p->n_decisions == 0)
        return 0;
    qsort(p->decisions, p->n_decisions, sizeof(*p->decisions), by_decision_name);
    check_decision_names(l, list);
    qsort(p->decisions, p->n_decisions, sizeof(*p->decisions), by_rank);
    return 0;
}

static int load_projections(struct load *l, const struct node *node)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s.projections", l->s->path);
    struct rules_source rules = { l->p, path, l->s->arena, l->s->p };
    struct projection_source source = { node, path, l->s->arena, l->s->p, rules_resolve, &rules };
    return projections_new(&l->p->projections, &source);
}

int policy_load(struct policy *ret, const struct policy_source *source)
{
    struct load l = { .s = source, .p = ret };
    struct profile profile = { 0 };
    struct word_option strategy = { source->strategy };
    *ret = (struct policy){ .name = source->name, .space = source->space };
    int e = schema_read(&profile, profile_options, source->routing, source->path, source->arena,
                        source->p);
    if (e < 0 && e != -EINVAL)
        return e;
    if (profile.strategy_node) {
        static const struct str key = { "strategy", 8 };
        struct node map = { .kind = NODE_map,
                            .n = 1,
                            .items = &profile.strategy_node,
                            .keys = &key,
                            .key_nodes = &profile.strategy_node };
        e = schema_read(&strategy, strategy_options, &map, source->path, source->arena, source->p);
    }
    ret->by_confidence = strategy.word == STRATEGY_confidence;
    ret->scanner = scanner_new();
    if (!ret->scanner)
        return -ENOMEM;
    l.projections = profile.projections;
    if (e == 0 || e == -EINVAL)
        e = load_signals(&l, profile.signals);
    if (e == 0)
        e = load_gates(&l);
    if (e == 0)
        e = load_projections(&l, profile.projections);
    if (e == 0)
        e = load_decisions(&l, profile.decisions,
                           source->routing ? node_get(source->routing, "decisions") : NULL);
    return e;
}

void policy_done(struct policy *p)
{
    for (int f = 0; f < FAMILY_N; f++)
        if (signal_families[f]->free)
            p->families[f].state = signal_families[f]->free(p->families[f].state);
    p->scanner = scanner_free(p->scanner);
}
