#include "tests/e2e/isolated.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    const char *path; /* borrowed */
    float scale;
    uint32_t prompt;
    struct isolated_answer answer;
    struct entry *next;
};

enum { BUCKETS = 1024 };

struct isolated {
    struct model *model;
    struct stepper *stepper;
    struct entry *buckets[BUCKETS];
    size_t known;
    const int32_t *ends;
    size_t n_ends;
};

static void die(const char *what, const struct fail *f)
{
    (void)fprintf(stderr, "%s: %s\n", what, f->message);
    abort();
}

struct isolated *isolated_new(const char *model, enum cache_type cache)
{
    struct isolated *s = calloc(1, sizeof(*s));
    struct gguf *g = NULL;
    struct fail f = { 0 };
    struct stepper_options o = { .slots = 1,
                                 .context = ISOLATED_CONTEXT,
                                 .rows = ISOLATED_CONTEXT,
                                 .threads = 1,
                                 .cache = cache };
    if (!s || gguf_open(&g, model, &f) != 0 || model_new(&s->model, &g, &f) != 0 ||
        stepper_new(&s->stepper, s->model, &o, &f) != 0)
        die(model, &f);
    return s;
}

struct isolated *isolated_free(struct isolated *s)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = s->buckets[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    stepper_free(s->stepper);
    model_free(s->model);
    free(s);
    return NULL;
}

const struct model_shape *isolated_shape(const struct isolated *s)
{
    return model_shape(s->model);
}

void isolated_ban(struct isolated *s, const int32_t *ends, size_t n)
{
    s->ends = ends;
    s->n_ends = n;
}

size_t isolated_known(const struct isolated *s)
{
    return s->known;
}

/* Where an activated adapter begins: looked for from the front, the last place counts. */
static uint32_t begins(const struct lora *l, const struct isolated_prompt *p)
{
    uint32_t at = l->invocation ? UINT32_MAX : 0;
    for (uint32_t i = 0; l->invocation && i < p->n; i++) {
        uint32_t k = 0;
        while (k < l->n_invocation && i + k < p->n && p->ids[i + k] == l->invocation[k])
            k++;
        if (k == l->n_invocation)
            at = i;
    }
    return at;
}

static bool is_end(const struct isolated *s, uint32_t id)
{
    for (size_t i = 0; i < s->n_ends; i++)
        if ((uint32_t)s->ends[i] == id)
            return true;
    return false;
}

/* The most likely token that is allowed, and the logarithm of its probability among all. */
static int32_t choose(const struct isolated *s, const float *logits, float *ret_logprob)
{
    uint32_t n = model_shape(s->model)->vocab, best = n;
    double sum = 0, most = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        most = fmax(most, (double)logits[i]);
        if ((best == n || logits[i] > logits[best]) && !is_end(s, i))
            best = i;
    }
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    *ret_logprob = (float)((double)logits[best] - most - log(sum));
    return (int32_t)best;
}

static void compute(struct isolated *s, const struct lora *l, float scale,
                    const struct isolated_prompt *p, struct isolated_answer *ret)
{
    struct step_row rows[ISOLATED_CONTEXT];
    uint32_t from = l && scale != 0 ? begins(l, p) : UINT32_MAX, at = 0;
    for (uint32_t i = 0; i < ISOLATED_TOKENS; i++) {
        uint32_t n = i == 0 ? p->n : 1;
        for (uint32_t k = 0; k < n; k++, at++)
            rows[k] = (struct step_row){ .token = i == 0 ? p->ids[k] : ret->ids[i - 1],
                                         .position = at,
                                         .logits = k + 1 == n,
                                         .lora = at >= from ? l : NULL,
                                         .scale = scale };
        const float *logits = NULL;
        if (stepper_run(s->stepper, rows, n, &logits) < 0)
            abort();
        ret->ids[i] = choose(s, logits, &ret->logprobs[i]);
    }
}

const struct isolated_answer *isolated_ask(struct isolated *s, const char *path, float scale,
                                           const struct isolated_prompt *prompt)
{
    size_t bucket =
        ((uintptr_t)path / 64 + (size_t)(scale * 64) * 7 + prompt->number * 31) % BUCKETS;
    for (const struct entry *e = s->buckets[bucket]; e; e = e->next)
        if (e->path == path && e->scale == scale && e->prompt == prompt->number)
            return &e->answer;
    struct entry *e = calloc(1, sizeof(*e));
    struct fail f = { 0 };
    CLEANUP(lora_freep) struct lora *l = NULL;
    if (!e || (path && lora_load(&l, s->model, path, 1, &f) != 0))
        die(path ? path : "isolated", &f);
    *e = (struct entry){ path, scale, prompt->number, .next = s->buckets[bucket] };
    compute(s, l, scale, prompt, &e->answer);
    s->buckets[bucket] = e;
    s->known++;
    return &e->answer;
}
