#include "tests/support/test.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "router/linear/classifier.h"
#include "router/linear/difficulty.h"
#include "router/signals/unicode.h"
#include "tests/perf/difficulty.h"

enum { FOLDS = 5, MAX_PROMPTS = 1 << 16, MAX_MODELS = 64 };

enum kind { RANDOM, CHARACTERS, WORDS, RULE, LEARNED, BOTH, ORACLE, N_KINDS };

static const char *const NAMES[N_KINDS] = {
    "random (expected)",         "characters", "words", "our rule", "learned (5 folds)",
    "ranks of rule and learned", "oracle"
};

struct prompt {
    json_t *row; /* owned; text points into it */
    struct str text;
    double weak, strong; /* what the models got */
    double by[N_KINDS];
};

struct set {
    struct prompt *p; /* owned */
    size_t n;
};

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "quality: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

static double score_of(const json_t *row, const char *model)
{
    const json_t *m = json_object_get(json_object_get(row, "models"), model);
    return json_number_value(json_object_get(m, "score"));
}

/* The models of the least and the greatest mean score. */
static void read_scores(struct set *s, const char *path)
{
    json_t *models = json_object_get(s->p[0].row, "models"), *unused;
    const char *name, *worst = NULL, *best = NULL;
    double least = INFINITY, most = -INFINITY;
    json_object_foreach(models, name, unused)
    {
        double sum = 0;
        for (size_t i = 0; i < s->n; i++)
            sum += score_of(s->p[i].row, name);
        if (sum < least)
            worst = name;
        if (sum > most)
            best = name;
        least = fmin(least, sum);
        most = fmax(most, sum);
    }
    if (!worst || worst == best)
        die("want weak_correct and strong_correct, or two models with scores", path);
    for (size_t i = 0; i < s->n; i++) {
        s->p[i].weak = score_of(s->p[i].row, worst);
        s->p[i].strong = score_of(s->p[i].row, best);
    }
    (void)printf("weak: %s, strong: %s\n", worst, best);
}

static void read_prompts(struct set *s, const char *path)
{
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    CLEANUP(own_free) char *line = NULL;
    size_t size = 0;
    if (!f)
        die(strerror(errno), path);
    s->p = calloc(MAX_PROMPTS, sizeof(*s->p));
    if (!s->p)
        die("no memory", path);
    while (getline(&line, &size, f) > 0) {
        json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        const char *text = json_string_value(json_object_get(row, "text"));
        if (!text || s->n == MAX_PROMPTS)
            die("want lines of {\"text\": \"…\", …}", path);
        s->p[s->n++] = (struct prompt){
            .row = row,
            .text = str_of(text),
            .weak = json_is_true(json_object_get(row, "weak_correct")),
            .strong = json_is_true(json_object_get(row, "strong_correct")),
        };
    }
    if (s->n < FOLDS)
        die("has too few prompts", path);
    if (!json_object_get(s->p[0].row, "weak_correct"))
        read_scores(s, path);
}

static double count_words(struct str text)
{
    size_t words = 0;
    bool inside = false;
    for (size_t pos = 0; pos < text.n;) {
        bool word = unicode_word(str_utf8_next(text, &pos));
        words += word && !inside;
        inside = word;
    }
    return (double)words;
}

/* A classifier of whether the strong model does better, learnt from the other folds. */
static void learn_fold(struct set *s, size_t fold)
{
    static const struct str labels[] = { STR("easy"), STR("hard") };
    CLEANUP(own_free) struct classifier_example *e = calloc(s->n, sizeof(*e));
    CLEANUP(classifier_freep) struct classifier *c = NULL;
    size_t n = 0;
    for (size_t i = 0; e && i < s->n; i++)
        if (i % FOLDS != fold)
            e[n++] = (struct classifier_example){ s->p[i].text, s->p[i].strong > s->p[i].weak };
    struct linear_options o = linear_options_for(ARRAY_LEN(labels), n);
    if (!e || classifier_train(&c, labels, e, n, &o) < 0)
        die("no memory", "training");
    for (size_t i = fold; i < s->n; i += FOLDS) {
        CLEANUP(arena_freep) struct arena *a = arena_new((size_t)64 << 20);
        float scores[ARRAY_LEN(labels)];
        if (!a || classifier_scores(c, s->p[i].text, scores, a) < 0)
            die("no memory", "scoring");
        s->p[i].by[LEARNED] = (double)(scores[1] - scores[0]);
    }
}

static enum kind sorted_by;

static int by_score(const void *a, const void *b)
{
    double x = ((const struct prompt *)a)->by[sorted_by];
    double y = ((const struct prompt *)b)->by[sorted_by];
    return x > y ? -1 : x < y;
}

static void add_ranks(struct set *s, enum kind k)
{
    sorted_by = k;
    qsort(s->p, s->n, sizeof(*s->p), by_score);
    for (size_t i = 0; i < s->n; i++)
        s->p[i].by[BOTH] -= (double)i;
}

static double apgr(struct set *s, enum kind k)
{
    double gap = 0, recovered = 0, sum = 0;
    sorted_by = k;
    qsort(s->p, s->n, sizeof(*s->p), by_score);
    for (size_t i = 0, end; i < s->n; i = end) { /* equal scores go together, evenly */
        double gain = 0;
        for (end = i; end < s->n && !(s->p[end].by[k] < s->p[i].by[k]); end++)
            gain += s->p[end].strong - s->p[end].weak;
        double n = (double)(end - i);
        sum += n * recovered + gain * (n + 1) / 2;
        recovered += gain;
    }
    gap = recovered;
    return sum / (double)(s->n + 1) / gap;
}

int difficulty_report(const char *path)
{
    struct set s = { 0 };
    double weak = 0, strong = 0;
    read_prompts(&s, path);
    for (size_t fold = 0; fold < FOLDS; fold++)
        learn_fold(&s, fold);
    for (size_t i = 0; i < s.n; i++) {
        struct prompt *p = &s.p[i];
        p->by[CHARACTERS] = (double)p->text.n;
        p->by[WORDS] = count_words(p->text);
        p->by[RULE] = (double)difficulty_of(p->text);
        p->by[ORACLE] = p->strong - p->weak;
        weak += p->weak;
        strong += p->strong;
    }
    add_ranks(&s, RULE);
    add_ranks(&s, LEARNED);
    double n = (double)s.n;
    (void)printf("prompts %zu  weak %.1f %%  strong %.1f %%\n", s.n, 100 * weak / n,
                 100 * strong / n);
    for (enum kind k = 0; k < N_KINDS; k++)
        (void)printf("APGR %.3f  %s\n", apgr(&s, k), NAMES[k]);
    for (size_t i = 0; i < s.n; i++)
        json_decref(s.p[i].row);
    free(s.p);
    return 0;
}
