#include "router/selection/defaults.h"

#include "base/file.h"
#include "base/limits.h"
#include "router/selection/selection.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES (256 * MIB)
#define SAME_SPACE 1e-3F /* by which the probe's numbers may differ between machines */

/* ---- tables ---- */

static const char *const kernels[] = { "any", "rbf", "linear", NULL };

static const struct option learned_options[] = {
    OPT_TEXT(struct learned_source, path, "pretrained_path", NULL, "the file of the selector"),
    OPT_UINT(struct learned_source, k, "k", 1, LEARNED_K_MAX, "5", "neighbours that vote"),
    OPT_UINT(struct learned_source, clusters, "num_clusters", 0, LEARNED_ROWS, "0",
             "that the file should have; 0: any"),
    OPT_UINT(struct learned_source, clusters, "n_clusters", 0, LEARNED_ROWS, NULL, "the same"),
    OPT_FLOAT(struct learned_source, efficiency, "efficiency_weight", 0, 1, "0",
              "of a low price against what was learned"),
    OPT_WORD(struct learned_source, kernel, "kernel", kernels, "any", "that the file should have"),
    OPT_FLOAT(struct learned_source, gamma, "gamma", 0, 1e6, "0", "likewise; 0: any"),
    OPT_TEXT(struct learned_source, device, "device", NULL, "cpu"),
    OPT_END,
};

struct ml {
    uint64_t width;
    struct str models_path;
    struct learned_source kinds[LEARNED_N];
};
#define ML_SECTION(name)                                                                           \
    OPT_SECTION(struct ml, kinds[LEARNED_##name], #name, learned_options, "a learned selector"),
static const struct option ml_options[] = {
    OPT_TEXT(struct ml, models_path, "models_path", NULL, "folder of knn.select, kmeans.select, …"),
    OPT_UINT(struct ml, width, "embedding_dim", 0, LEARNED_DIMS, "0",
             "width of the vectors that files learned from; 0: any"),
    LEARNED_KINDS(ML_SECTION) OPT_END,
};

struct momentum {
    bool enabled;
    double attack, release, threshold;
};
static const struct option momentum_options[] = {
    OPT_BOOL(struct momentum, enabled, "enabled", "false", "smooth a conversation's choices"),
    OPT_FLOAT(struct momentum, attack, "attack", 0, 1, "0.7", "upwards"),
    OPT_FLOAT(struct momentum, release, "release", 0, 1, "0.3", "downwards"),
    OPT_FLOAT(struct momentum, threshold, "threshold", 0, 1, "0.6", "of a change"),
    OPT_END,
};

#define ALGORITHM_INDEX(name) ALGORITHM_##name,
enum { SELECTIONS(ALGORITHM_INDEX) ALGORITHM_N };
struct section {
    const struct node *blocks[ALGORITHM_N];
    struct momentum momentum;
    bool enabled;
    const struct node *method;
    struct ml ml;
};
#define ALGORITHM_BLOCK(name)                                                                      \
    OPT_NODE(struct section, blocks[ALGORITHM_##name], #name, "of decisions without a block"),
static const struct option options[] = {
    OPT_BOOL(struct section, enabled, "enabled", "true", "whether the method and blocks count"),
    OPT_NODE(struct section, method, "method", "the algorithm of decisions that name none"),
    OPT_SECTION(struct section, ml, "ml", ml_options, "learned selectors"),
    OPT_SECTION(struct section, momentum, "momentum", momentum_options, "of conversations"),
    SELECTIONS(ALGORITHM_BLOCK) OPT_END,
};

/* ---- reading ---- */

static int read_method(struct selection_defaults *ret, const struct node *method,
                       const struct defaults_source *s)
{
    static const char path[] = "global.router.model_selection.method";
    if (!method)
        return 0;
    for (int i = 0; s->algorithms[i]; i++)
        if (node_is(method, s->algorithms[i])) {
            ret->method = i;
            return 0;
        }
    return node_problem(s->p, PROBLEM_error, method, path, "is no algorithm of decisions");
}

static const char *file_of(const struct ml *ml, unsigned kind, const struct defaults_source *s)
{
    char name[32];
    struct str file = ml->kinds[kind].path, folder = str_of(s->folder);
    (void)snprintf(name, sizeof(name), "%s.select", learned_kinds[kind]);
    if (file.n == 0 && ml->models_path.n == 0)
        return "";
    if (file.n == 0)
        file = str_of(arena_printf(s->arena, STR_FMT "/%s", STR_ARG(ml->models_path), name));
    if (!file.p || (file.n && file.p[0] == '/') || folder.n == 0)
        return file.p;
    return arena_printf(s->arena, STR_FMT "/" STR_FMT, STR_ARG(folder), STR_ARG(file));
}

int selection_defaults_read(struct selection_defaults *ret, const struct defaults_source *source)
{
    struct section s = { 0 };
    int e = schema_read(&s, options, source->at, "global.router.model_selection", source->arena,
                        source->p);
    if (e < 0)
        return e;
    *ret = (struct selection_defaults){ .node = source->at,
                                        .enabled = s.enabled && source->at,
                                        .method = -1,
                                        .folder = source->folder };
    ret->width = s.ml.width;
    if (s.momentum.enabled)
        (void)node_problem(source->p, PROBLEM_warning, node_get(source->at, "momentum"),
                           "global.router.model_selection.momentum",
                           "choices are not smoothed by this version; "
                           "global.router.learning.protection holds conversations");
    for (unsigned k = 0; k < LEARNED_N; k++) {
        ret->learned[k] = s.ml.kinds[k];
        ret->learned[k].path = str_of(file_of(&s.ml, k, source));
        if (!ret->learned[k].path.p)
            return -ENOMEM;
    }
    return read_method(ret, s.method, source);
}

const struct node *selection_defaults_block(const struct selection_defaults *d, const char *name)
{
    const struct node *block = d->enabled ? node_get(d->node, name) : NULL;
    return block && block->kind == NODE_map ? block : NULL;
}

/* ---- learned selectors ---- */

void selection_defaults_done(struct selection_defaults *d)
{
    d->domains = classifier_file_close(d->domains);
}

static bool same_space(const struct learned *l, const struct vector_space *space)
{
    float probe[LEARNED_PROBE];
    size_t width = 0;
    struct fail fail;
    if (learned_probe(space, probe, &width, &fail) != 0 || width != l->width)
        return false;
    for (int i = 0; i < LEARNED_PROBE; i++)
        if (fabsf(probe[i] - l->probe[i]) > SAME_SPACE)
            return false;
    return true;
}

static int load(const char *path, const struct learned_wanted *w, const struct learned **ret,
                const char **ret_why)
{
    CLEANUP(own_free) char *bytes = NULL;
    size_t n = 0;
    struct learned *l = arena_alloc(w->arena, sizeof(*l));
    int r = l ? file_read(&bytes, &n, path, FILE_BYTES) : -ENOMEM;
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        *ret_why = arena_printf(w->arena, "%s: %s", path, strerror(-r));
        return *ret_why ? 0 : -ENOMEM;
    }
    r = learned_read(l, (struct str){ bytes, n }, w->arena);
    if (r == -ENOMEM)
        return r;
    *ret_why = r < 0 ? arena_printf(w->arena, "%s is no selector that was trained here", path)
               : l->kind != w->kind ? arena_printf(w->arena, "%s holds another kind: %s", path,
                                                   learned_kinds[l->kind])
               : !same_space(l, w->space)
                   ? arena_printf(w->arena, "%s learned from other vectors than those in use", path)
                   : "";
    if (!*ret_why)
        return -ENOMEM;
    if ((*ret_why)[0] == '\0')
        *ret = l;
    return 0;
}

int selection_defaults_learned(struct selection_defaults *d, const struct learned_wanted *w,
                               const struct learned **ret, const char **ret_why)
{
    *ret_why = "no file is named";
    *ret = d->loaded[w->kind];
    if (*ret || d->learned[w->kind].path.n == 0 || !w->space)
        return 0;
    struct fail fail = { 0 };
    int r = d->domains ? 0 : learned_domains(&d->domains, &fail);
    if (r < 0)
        return r;
    r = load(d->learned[w->kind].path.p, w, &d->loaded[w->kind], ret_why);
    *ret = d->loaded[w->kind];
    return r;
}
