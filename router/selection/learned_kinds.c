/*
 * knn, kmeans, svm and mlp: the candidate whose answer a selector that learned from measured
 * examples expects to be worth most (selection/learned/). Without a usable file: the first.
 */
#include "router/selection/defaults.h"
#include "router/selection/selection.h"
#include "router/signals/learned.h"

#include <errno.h>
#include <math.h>

#define GAMMA_APART 1e-4

struct settings {
    uint64_t k;
    /* derived */
    double efficiency;
    const struct learned *learned; /* NULL: no usable file */
    const struct classifier_file *domains;
    const int *models; /* of the file, by candidate; -1: it does not know it */
};

static const struct option options[] = {
    OPT_UINT(struct settings, k, "k", 0, LEARNED_K_MAX, "0",
             "neighbours of knn; 0: as global.router.model_selection says"),
    OPT_IGNORED("*", "of training, or of the file"),
    OPT_END,
};

static int find_model(const struct learned *l, const struct model_ref *ref, struct arena *arena)
{
    if (ref->lora_name.n == 0)
        return learned_model(l, ref->model);
    struct str wire = str_of(
        arena_printf(arena, "" STR_FMT ":" STR_FMT, STR_ARG(ref->model), STR_ARG(ref->lora_name)));
    int found = wire.p ? learned_model(l, wire) : -1;
    return found >= 0 ? found : learned_model(l, ref->lora_name);
}

static int match(struct settings *s, const struct place *at, unsigned *ret_known)
{
    const struct model_ref *refs = at->decision->refs.items;
    size_t n = at->decision->refs.n;
    int *models = arena_array(at->source->arena, n + 1, sizeof(*models));
    if (!models)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        models[i] = find_model(s->learned, &refs[i], at->source->arena);
        *ret_known += models[i] >= 0;
    }
    s->models = models;
    return 0;
}

/* What the policy says of the file and the file says otherwise. */
static void compare(const struct settings *s, const struct place *at, enum learned_kind kind)
{
    const struct selection_defaults *d = at->source->defaults;
    const struct learned_source *said = &d->learned[kind];
    const struct learned *l = s->learned;
    const char *what = NULL;
    if (d->width && d->width != l->width)
        what = "embedding_dim";
    else if (kind == LEARNED_kmeans && said->clusters && said->clusters != l->rows)
        what = "kmeans.num_clusters";
    else if (kind == LEARNED_svm && said->kernel && (said->kernel == KERNEL_rbf) != (l->gamma > 0))
        what = "svm.kernel";
    else if (kind == LEARNED_svm && said->gamma > 0 && l->gamma > 0 &&
             fabs(said->gamma - (double)l->gamma) > GAMMA_APART)
        what = "svm.gamma";
    else if (said->device.n && !str_is(said->device, "cpu"))
        what = "mlp.device";
    if (what)
        (void)node_problem(at->p, PROBLEM_warning, at->node, at->path,
                           "global.router.model_selection.ml.%s is not what the file was trained "
                           "with or what runs here: the file's own counts",
                           what);
}

static int complete(struct settings *s, const struct place *at, enum learned_kind kind)
{
    struct selection_defaults *d = at->source->defaults;
    struct learned_wanted wanted = { kind, at->source->space, at->source->arena };
    const char *why = "";
    unsigned known = 0;
    int r = selection_defaults_learned(d, &wanted, &s->learned, &why);
    if (r == 0 && s->learned)
        r = match(s, at, &known);
    if (r < 0)
        return r;
    s->domains = d->domains;
    s->efficiency = kind == LEARNED_kmeans ? d->learned[kind].efficiency : 0;
    if (s->k == 0)
        s->k = d->learned[kind].k ? d->learned[kind].k : LEARNED_K;
    if (s->learned && known == 0) {
        s->learned = NULL;
        why = "the file knows no candidate of the decision";
    }
    if (s->learned)
        compare(s, at, kind);
    else
        (void)node_problem(at->p, PROBLEM_warning, at->node, at->path,
                           "the first candidate is taken: %s; train one with `rootstock selection "
                           "train --kind %s` and set global.router.model_selection.ml.%s."
                           "pretrained_path",
                           why, learned_kinds[kind], learned_kinds[kind]);
    return 0;
}

static bool usable(const void *settings)
{
    return ((const struct settings *)settings)->learned != NULL;
}

static int score(const struct pick_context *in, const struct settings *s, double *ret)
{
    const struct learned *l = s->learned;
    struct signal_view *view = in->view;
    const struct text_vector *v = NULL;
    float *x = arena_array(view->arena, l->dims + l->rows, sizeof(*x));
    double *all = arena_array(view->arena, l->n_models, sizeof(*all));
    if (!x || !all)
        return -ENOMEM;
    int r = signal_vector(view, view->text, &v);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    struct learned_text of = { view->text, v, NULL };
    if (learned_turn(view, &of.weighed) == -ENOMEM)
        return -ENOMEM;
    learned_features(&of, s->domains, l->width, x);
    learned_scores(l, x, (unsigned)s->k, x + l->dims, all);
    for (size_t i = 0; i < in->decision->refs.n; i++)
        ret[i] = s->models[i] < 0 ? NAN
                                  : (1 - s->efficiency) * all[s->models[i]] +
                                        s->efficiency * (1 - pick_cost_share(in, i));
    return 0;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct settings *s = in->decision->settings;
    double best = -INFINITY;
    *ret = (struct pick){ 0, SELECTION_fallback, "no selector was trained: the first candidate" };
    if (!s->learned)
        return 0;
    int r = score(in, s, in->scores);
    ret->reason = "the turn has no vector: the first candidate";
    for (size_t i = 0; r == 0 && i < in->decision->refs.n; i++)
        if (in->scores[i] > best) {
            best = in->scores[i];
            *ret = (struct pick){ i, SELECTION_selected, "the best score of what was learned" };
        }
    return r;
}

#define LEARNED_SELECTION(word)                                                                    \
    static int check_##word(void *settings, const struct place *at)                                \
    {                                                                                              \
        return complete(settings, at, LEARNED_##word);                                             \
    }                                                                                              \
    const struct selection selection_##word = { .name = #word,                                     \
                                                .options = options,                                \
                                                .size = sizeof(struct settings),                   \
                                                .check = check_##word,                             \
                                                .usable = usable,                                  \
                                                .pick = pick };
LEARNED_KINDS(LEARNED_SELECTION)
