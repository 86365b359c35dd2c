#include "gateway/cli/measured.h"

#include "base/limits.h"
#include "gateway/cli/cli.h"
#include "router/signals/learned.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MEASURED_ARENA (2 * GIB)

enum { LINES = LEARNED_ROWS * LEARNED_MODELS, LINE_BYTES = 4 << 20 };

struct answer_line {
    struct str text;
    size_t at; /* its place among all: the first line of a text gives its place */
    uint32_t model;
    float score, latency; /* below 0: not measured */
};

struct reading {
    struct measured *m;
    struct answer_line *lines;
    size_t n, max;
    struct str models[LEARNED_MODELS];
    uint32_t n_models;
    const char *file;
    unsigned long line;
};

static bool complain(const struct reading *r, const char *what)
{
    (void)fprintf(stderr, "rootstock: %s:%lu: %s\n", r->file, r->line, what);
    return false;
}

static const json_t *first_of(const json_t *o, const char *const *keys)
{
    for (; *keys; keys++) {
        const json_t *v = json_object_get(o, *keys);
        if (v && !json_is_null(v))
            return v;
    }
    return NULL;
}

static float number(const json_t *v) /* -1: none */
{
    if (json_is_boolean(v))
        return json_is_true(v) ? 1 : 0;
    return v && json_is_number(v) ? (float)json_number_value(v) : -1;
}

static int model_of(struct reading *r, struct str name)
{
    for (uint32_t i = 0; i < r->n_models; i++)
        if (str_eq(r->models[i], name))
            return (int)i;
    if (r->n_models == LEARNED_MODELS || name.n == 0 || name.n > LIMIT_NAME)
        return -1;
    r->models[r->n_models] = arena_str(r->m->arena, name);
    return r->models[r->n_models].p ? (int)r->n_models++ : -1;
}

static bool add(struct reading *r, struct str text, struct str name, const json_t *of)
{
    static const char *const scores[] = { "score", "quality", "performance", NULL };
    static const char *const latencies[] = { "latency", "response_time", "latency_ms", NULL };
    bool plain = json_is_boolean(of);
    float score = number(plain ? of : first_of(of, scores));
    int model = model_of(r, name);
    if (model < 0)
        return complain(r, "more than 64 models, or a name that is empty or too long");
    if (score < 0 || score > 1)
        return complain(r, "a score must be a number from 0 to 1, or a boolean");
    if (r->n == r->max) {
        size_t max = r->max ? r->max * 2 : 1024;
        struct answer_line *more = max <= LINES ? realloc(r->lines, max * sizeof(*more)) : NULL;
        if (!more)
            return complain(r, "more answers than can be learnt from");
        r->lines = more;
        r->max = max;
    }
    float latency = plain ? -1 : number(first_of(of, latencies));
    r->lines[r->n] = (struct answer_line){ text, r->n, (uint32_t)model, score, latency };
    r->n++;
    return true;
}

static bool read_object(struct reading *r, const json_t *o)
{
    static const char *const texts[] = { "text", "query", NULL };
    static const char *const names[] = { "model", "model_name", NULL };
    static const struct str suffix = { "_correct", 8 };
    const json_t *text = first_of(o, texts), *model = first_of(o, names);
    const json_t *models = json_object_get(o, "models");
    const char *key;
    json_t *value;
    size_t before = r->n;
    if (!text || !json_is_string(text))
        return complain(r, "needs a \"text\"");
    struct str copy =
        arena_str(r->m->arena, (struct str){ json_string_value(text), json_string_length(text) });
    if (!copy.p)
        return complain(r, "no memory");
    if (json_is_string(model) && !add(r, copy, str_of(json_string_value(model)), o))
        return false;
    json_object_foreach((json_t *)(uintptr_t)models, key, value)
    {
        if (!add(r, copy, str_of(key), value))
            return false;
    }
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        struct str name = str_of(key);
        if (str_ends(name, suffix) && json_is_boolean(value) &&
            !add(r, copy, str_head(name, name.n - suffix.n), value))
            return false;
    }
    return r->n > before ||
           complain(r, "names no model: \"model\" and \"score\", \"models\", or \"NAME_correct\"");
}

static bool read_file(struct reading *r, const char *path)
{
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    CLEANUP(own_free) char *line = NULL;
    size_t cap = 0;
    r->file = path;
    r->line = 0;
    if (!f) {
        (void)fprintf(stderr, "rootstock: %s: %s\n", path, strerror(errno));
        return false;
    }
    for (ssize_t n; (n = getline(&line, &cap, f)) >= 0;) {
        json_error_t error;
        r->line++;
        if (str_trim((struct str){ line, (size_t)n }).n == 0)
            continue;
        if (n > LINE_BYTES)
            return complain(r, "the line has more than 4 MiB");
        json_auto_t *o = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &error);
        if (!o || !json_is_object(o))
            return complain(r, "is no JSON object");
        if (!read_object(r, o))
            return false;
    }
    return true;
}

/* ---- examples ---- */

static int by_text(const void *a, const void *b)
{
    const struct answer_line *x = a, *y = b;
    int c = str_cmp(x->text, y->text);
    return c ? c : (x->at > y->at) - (x->at < y->at);
}

struct group { /* lines of one text */
    size_t first, n;
    size_t at;
};

static int by_place(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* Of several measurements of a model, the mean. */
static void fill(const struct reading *r, const struct group *g, double speed_weight, float *scores)
{
    float fastest = INFINITY;
    unsigned counts[LEARNED_MODELS] = { 0 };
    for (uint32_t m = 0; m < r->n_models; m++)
        scores[m] = -1;
    for (size_t i = g->first; i < g->first + g->n; i++)
        if (r->lines[i].latency > 0)
            fastest = fminf(fastest, r->lines[i].latency);
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const struct answer_line *l = &r->lines[i];
        float w = l->latency > 0 ? (float)speed_weight : 0, *to = &scores[l->model];
        float score = (1 - w) * l->score + (w > 0 ? w * fastest / l->latency : 0);
        counts[l->model]++;
        *to = counts[l->model] == 1 ? score : *to + (score - *to) / (float)counts[l->model];
    }
}

static bool group(struct reading *r, double speed_weight)
{
    struct measured *m = r->m;
    struct group *groups = arena_array(m->arena, r->n + 1, sizeof(*groups));
    size_t n = 0;
    if (!groups)
        return complain(r, "no memory");
    if (r->n)
        qsort(r->lines, r->n, sizeof(*r->lines), by_text);
    for (size_t i = 0; i < r->n; i++) {
        if (n && str_eq(r->lines[groups[n - 1].first].text, r->lines[i].text))
            groups[n - 1].n++;
        else
            groups[n++] = (struct group){ i, 1, r->lines[i].at };
    }
    if (n == 0 || n > LEARNED_ROWS) {
        (void)fprintf(stderr, "rootstock: there are %zu texts; 1 to %d can be learnt from\n", n,
                      LEARNED_ROWS);
        return false;
    }
    qsort(groups, n, sizeof(*groups), by_place);
    float *scores = arena_array(m->arena, n * r->n_models, sizeof(*scores));
    m->texts = arena_array(m->arena, n, sizeof(*m->texts));
    struct str *models = arena_array(m->arena, r->n_models, sizeof(*models));
    if (!scores || !m->texts || !models)
        return complain(r, "no memory");
    memcpy(models, r->models, r->n_models * sizeof(*models));
    for (size_t i = 0; i < n; i++) {
        m->texts[i] = r->lines[groups[i].first].text;
        fill(r, &groups[i], speed_weight, scores + i * r->n_models);
    }
    m->n = n;
    m->examples = (struct learned_examples){
        .n = n, .models = models, .n_models = r->n_models, .scores = scores
    };
    return true;
}

bool measured_read(struct measured *ret, char *const *files, int n, double speed_weight)
{
    struct reading r = { .m = ret };
    *ret = (struct measured){ .arena = arena_new(MEASURED_ARENA) };
    bool good = ret->arena != NULL;
    for (int i = 0; good && i < n; i++)
        good = read_file(&r, files[i]);
    good = good && group(&r, speed_weight);
    free(r.lines);
    return good;
}

static int features_at(struct str text, const struct text_vector *v,
                       const struct classifier_file *domains, size_t width, struct arena *arena,
                       float *ret)
{
    struct features weighed;
    int r = learned_text(text, arena, &weighed);
    if (r == -ENOMEM)
        return r;
    struct learned_text of = { text, v, r == 0 ? &weighed : NULL };
    learned_features(&of, domains, width, ret);
    return 0;
}

bool measured_features(struct measured *m, const struct vector_space *space)
{
    enum { TOGETHER = 256 };
    struct fail fail = { 0 };
    float probe[LEARNED_PROBE];
    size_t width = 0;
    int r = learned_probe(space, probe, &width, &fail);
    size_t dims = learned_dims(width);
    float *x = r == 0 ? arena_array(m->arena, m->n * dims, sizeof(*x)) : NULL;
    CLEANUP(classifier_file_closep) struct classifier_file *domains = NULL;
    if (r == 0)
        r = learned_domains(&domains, &fail);
    for (size_t i = 0; r == 0 && x && i < m->n; i += TOGETHER) {
        CLEANUP(arena_freep) struct arena *scratch = arena_new(GIB);
        const struct text_vector *v[TOGETHER];
        size_t n = m->n - i < TOGETHER ? m->n - i : TOGETHER;
        cli_progress("vectors", i, m->n);
        r = scratch ? vectors_of(space, m->texts + i, n, scratch, v, &fail) : -ENOMEM;
        for (size_t k = 0; r == 0 && k < n; k++)
            r = features_at(m->texts[i + k], v[k], domains, width, scratch, x + (i + k) * dims);
    }
    cli_progress_done();
    if (r != 0 || !x) {
        (void)fprintf(stderr, "rootstock: %s\n", r == FAILED ? fail.message : "no memory");
        return false;
    }
    m->examples.x = x;
    m->examples.width = (uint32_t)width;
    m->examples.dims = (uint32_t)dims;
    return true;
}

void measured_done(struct measured *m)
{
    (void)arena_free(m->arena);
    m->arena = NULL;
}
