#include "router/selection/selection.h"

#include "base/limits.h"
#include "router/selection/defaults.h"
#include "router/selection/draw.h"
#include "router/selection/prices.h"
#include "router/selection/similarity.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

enum {
    PATH_BYTES = 320,
    MAX_EXAMPLES = 256, /* of one adapter that are compared with */
};

#define ALGORITHM_WORD(name) #name,
const char *const selection_names[] = { SELECTIONS(ALGORITHM_WORD) NULL };
static const char *const on_errors[] = { "fallback", "skip", "fail", NULL };
enum { ON_ERROR_fail = 2 };

#define ALGORITHM_SELECTION(name) &selection_##name,
static const struct selection *const selections[] = { SELECTIONS(ALGORITHM_SELECTION) };

struct algorithm {
    unsigned type, on_error;
    const struct node *blocks[ARRAY_LEN(selections)];
};

#define ALGORITHM_INDEX(name) ALGORITHM_##name,
enum { SELECTIONS(ALGORITHM_INDEX) };

#define ALGORITHM_BLOCK(name)                                                                      \
    OPT_NODE(struct algorithm, blocks[ALGORITHM_##name], #name, "settings of this algorithm"),
static const struct option options[] = {
    OPT_WORD(struct algorithm, type, "type", selection_names, "static",
             "how a candidate is picked"),
    OPT_WORD(struct algorithm, on_error, "on_error", on_errors, "fallback", "when it cannot"),
    SELECTIONS(ALGORITHM_BLOCK) OPT_END,
};

/* ---- loading ---- */

static int refuse_other_blocks(const struct algorithm *a, const struct selection_source *s)
{
    int e = 0;
    for (size_t i = 0; selection_names[i]; i++) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s.%s", s->path, selection_names[i]);
        if (a->blocks[i] && i != a->type)
            e = node_problem(s->p, PROBLEM_error, a->blocks[i], path,
                             "holds settings of '%s', but the type is '%s'", selection_names[i],
                             selection_names[a->type]);
    }
    return e;
}

/* No block: the global one's, else the defaults, as if they stood where the algorithm does. */
static int read_settings(struct decision *d, const struct node *block,
                         const struct selection_source *s)
{
    const struct selection *selection = d->selection;
    const struct node *at = d->algorithm_node ? d->algorithm_node : s->defaults->node;
    char path[PATH_BYTES];
    if (!selection->options)
        return 0;
    void *settings = arena_array(s->arena, 1, selection->size);
    if (!settings)
        return -ENOMEM;
    (void)snprintf(path, sizeof(path), "%s.%s", s->path, selection->name);
    struct node none = { .kind = NODE_map };
    if (at) {
        none.line = at->line;
        none.column = at->column;
        none.file = at->file;
    }
    if (!block && (block = selection_defaults_block(s->defaults, selection->name)))
        (void)snprintf(path, sizeof(path), "global.router.model_selection.%s", selection->name);
    struct place place = { block ? block : at, path, s->p, d, s };
    int e = schema_read(settings, selection->options, block ? block : &none, path, s->arena, s->p);
    if (e == 0 && selection->check)
        e = selection->check(settings, &place);
    d->settings = settings;
    return e;
}

struct candidate candidate_of(const struct model_ref *ref, const struct model_names *models)
{
    const struct model_card *cards = models->cards->items;
    struct candidate c = { .cost = price_of(models, ref->model),
                           .saved = price_saved(models, ref->model) };
    struct str adapter = ref->lora_name, alias;
    (void)str_cut(ref->lora_name, '@', &adapter, &alias);
    for (size_t i = 0; i < models->cards->n; i++) {
        if (!str_eq(cards[i].name, ref->model))
            continue;
        const struct lora_card *loras = cards[i].loras.items;
        c.quality = cards[i].quality_score;
        c.description = cards[i].description;
        c.capabilities = &cards[i].capabilities;
        for (size_t k = 0; adapter.n && k < cards[i].loras.n; k++)
            if (str_eq(loras[k].name, adapter) && loras[k].description.n)
                c.description = loras[k].description;
    }
    return c;
}

static int read_candidates(struct decision *d, const struct selection_source *s)
{
    struct candidate *all = arena_array(s->arena, d->refs.n + 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < d->refs.n; i++)
        all[i] = candidate_of((const struct model_ref *)d->refs.items + i, s->models);
    d->candidates = all;
    return 0;
}

static void warn_unserved(const struct decision *d, unsigned type, const struct selection_source *s)
{
    if (d->refused)
        (void)node_problem(s->p, PROBLEM_warning, d->algorithm_node, s->path,
                           "algorithm '%s' cannot pick here and on_error is 'fail': its requests "
                           "are answered 501",
                           d->algorithm);
    else if (type == ALGORITHM_prompt)
        (void)node_problem(s->p, PROBLEM_warning, d->algorithm_node, s->path,
                           "algorithm 'prompt' asks no helper model in this version: the first "
                           "candidate is taken");
    else if (type >= ALGORITHM_confidence)
        (void)node_problem(s->p, PROBLEM_warning, d->algorithm_node, s->path,
                           "algorithm '%s' calls several models, which this version does not: its "
                           "requests are answered 501",
                           d->algorithm);
}

/* ---- what describes the candidates ---- */

struct words {
    struct similarity_text *items;
    size_t n, max;
    struct arena *arena; /* of the router: the vectors outlive the texts, the list goes with it */
};

static int add_text(struct words *w, size_t candidate, struct str text)
{
    if (text.n == 0)
        return 0;
    if (w->n == w->max) {
        size_t max = w->max * 2 + 16;
        struct similarity_text *more = arena_array(w->arena, max, sizeof(*more));
        if (!more)
            return -ENOMEM;
        if (w->n)
            memcpy(more, w->items, w->n * sizeof(*more));
        w->items = more;
        w->max = max;
    }
    w->items[w->n++] = (struct similarity_text){ candidate, text };
    return 0;
}

/* The description, with the capabilities where the algorithm counts them in. */
static int add_description(struct words *w, size_t i, const struct candidate *c, bool capabilities)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
    buf_add(&b, c->description);
    for (size_t k = 0; capabilities && c->capabilities && k < c->capabilities->n; k++) {
        buf_adds(&b, k ? ", " : "\nCapabilities: ");
        buf_add(&b, c->capabilities->items[k]);
    }
    struct str text = arena_str(w->arena, buf_str(&b));
    return text.p && buf_err(&b) == 0 ? add_text(w, i, text) : -ENOMEM;
}

static int add_catalog(struct words *w, size_t i, const struct model_ref *ref,
                       const struct adapter_words *from)
{
    struct str adapter = ref->lora_name, alias, description = STR_NULL;
    struct text_list examples = { 0 };
    (void)str_cut(ref->lora_name, '@', &adapter, &alias);
    if (!from || adapter.n == 0 ||
        !from->tell(from->ctx, ref->model, adapter, w->arena, &description, &examples))
        return 0;
    int e = add_text(w, i, description);
    for (size_t k = 0; e == 0 && k < examples.n && k < MAX_EXAMPLES; k++)
        e = add_text(w, i, examples.items[k]);
    return e;
}

int selection_describe(struct decision *d, const struct vector_space *space,
                       const struct adapter_words *words, struct arena *arena, struct fail *reterr)
{
    struct words w = { .arena = arena };
    struct candidate_query q = { 0 };
    struct similarity *s = NULL;
    int e = 0;
    if (!d->selection || !d->candidates || !(d->selection->wants & KNOWN_similarity))
        return 0;
    if (d->selection->ask)
        d->selection->ask(d->settings, &q);
    for (size_t i = 0; e == 0 && i < d->refs.n; i++) {
        e = add_description(&w, i, &d->candidates[i], q.use_capabilities);
        if (e == 0)
            e = add_catalog(&w, i, (const struct model_ref *)d->refs.items + i, words);
    }
    if (e == 0)
        e = similarity_new(&s, space, w.items, w.n, arena, reterr);
    if (e == 0)
        d->similarity = s;
    return e;
}

static int describe(struct decision *d, const struct selection_source *s)
{
    struct fail fail = { 0 };
    int e = selection_describe(d, s->space, /* words= */ NULL, s->arena, &fail);
    if (e == FAILED)
        return node_problem(s->p, PROBLEM_error, d->algorithm_node, s->path,
                            "the descriptions of the candidates have no vectors: %s", fail.message);
    return e;
}

int selection_load(struct decision *d, const struct selection_source *source)
{
    struct algorithm a = { 0 };
    const struct selection_defaults *defaults = source->defaults;
    int e = schema_read(&a, options, d->algorithm_node, source->path, source->arena, source->p);
    if (!d->algorithm_node && defaults->enabled && defaults->method >= 0)
        a.type = (unsigned)defaults->method;
    d->algorithm = selection_names[a.type];
    d->selection = selections[a.type];
    if (e == 0)
        e = refuse_other_blocks(&a, source);
    if (e == 0 && d->selection != &selection_static)
        e = read_candidates(d, source);
    if (e == 0)
        e = read_settings(d, a.blocks[a.type], source);
    bool usable = a.type != ALGORITHM_prompt &&
                  !(e == 0 && d->selection->usable && !d->selection->usable(d->settings));
    d->refused = a.on_error == ON_ERROR_fail && !usable;
    if (e == 0)
        warn_unserved(d, a.type, source);
    return e == 0 ? describe(d, source) : e;
}

/* ---- picking ---- */

static double max_cost(const struct decision *d)
{
    double most = 0;
    for (size_t i = 0; i < d->refs.n; i++)
        most = fmax(most, d->candidates[i].cost);
    return most;
}

double pick_cost_share(const struct pick_context *in, size_t i)
{
    const struct candidate *c = &in->decision->candidates[i];
    const struct candidate_state *s = &in->states[i];
    double cost = c->cost - (s->known & KNOWN_prefix ? s->prefix * c->saved : 0);
    return cost > 0 && in->max_cost > 0 ? cost / in->max_cost : 0;
}

/* What the caller does not say of similarity, the words of the policy do. */
static void compare(const struct decision *d, struct signal_view *view,
                    struct candidate_state *states, double *scratch)
{
    const struct text_vector *turn = NULL;
    if (!d->similarity || !view->space || signal_vector(view, view->text, &turn) < 0)
        return;
    similarity_of(d->similarity, turn, d->refs.n, scratch);
    for (size_t i = 0; i < d->refs.n; i++) {
        if ((states[i].known & KNOWN_similarity) || isnan(scratch[i]))
            continue;
        states[i].similarity = scratch[i];
        states[i].known |= KNOWN_similarity;
    }
}

static void ask(const struct decision *d, const struct route_request *request,
                struct candidate_state *states)
{
    const struct model_ref *refs = d->refs.items;
    struct candidate_query q = { .decision = d->name,
                                 .wants = d->selection->wants,
                                 .request = request };
    if (d->selection->ask)
        d->selection->ask(d->settings, &q);
    for (size_t i = 0; i < d->refs.n; i++) {
        states[i] = (struct candidate_state){ 0 };
        q.model = refs[i].model;
        q.adapter = refs[i].lora_name;
        q.description = d->candidates[i].description;
        q.capabilities = q.use_capabilities ? d->candidates[i].capabilities : NULL;
        if (request->candidate)
            request->candidate(request->candidate_ctx, &q, &states[i]);
    }
}

/* Asks what the algorithm wants to know. 0 or -ENOMEM. */
static int prepare(struct pick_context *in, struct signal_view *view)
{
    const struct decision *d = in->decision;
    struct candidate_state *states = arena_array(view->arena, d->refs.n, sizeof(*states));
    in->scratch = arena_array(view->arena, 3 * d->refs.n, sizeof(*in->scratch));
    if (!states || !in->scratch)
        return -ENOMEM;
    in->scores = in->scratch + 2 * d->refs.n;
    for (size_t i = 0; i < d->refs.n; i++)
        in->scores[i] = NAN;
    ask(d, in->request, states);
    compare(d, view, states, in->scratch);
    in->states = states;
    in->max_cost = max_cost(d);
    in->seed = in->request->seed ? in->request->seed : draw_seed(view->text);
    return 0;
}

int selection_pick(const struct decision *d, struct signal_view *view, struct selected *ret,
                   struct fail *reterr)
{
    struct pick_context in = { .decision = d, .request = view->request, .view = view };
    *ret = (struct selected){ 0 };
    if (d->refused)
        return fail_set(reterr, FAIL_not_implemented,
                        "the decision '%.*s' is answered by the algorithm '%s', which cannot pick "
                        "here, and its on_error is 'fail'",
                        STR_ARG(d->name), d->algorithm);
    int e = d->candidates ? prepare(&in, view) : 0;
    if (e == 0)
        e = d->selection->pick(&in, &ret->pick, reterr);
    ret->scores = in.scores;
    return e;
}
