/*
 * Learns a classifier of models/signals/ and says how good it is on texts it has not learnt from.
 *
 *     train_signal count RARITY TEXTS.jsonl…        how rare each feature is in all these texts
 *     train_signal train [OPTION]… RARITY MODEL TEXTS.jsonl
 *     train_signal score RARITY MODEL TEXTS.jsonl   one line of probabilities a text
 *
 * A line of TEXTS is an object with "text" and, to learn from, "label". One with a "fold" of 0 to 4
 * is scored by a model that has not learnt from that fold; one without is learnt from in every fold
 * and never scored. `train` fits the temperature to those scores, then learns from all and writes
 * MODEL. Options: --cost C, --iterations N, --max-bytes N, --scores FILE (a line of probabilities
 * for each text that has a fold, from the model that had not seen it), --no-folds, and --odds
 * LABEL=X: in use the label is X times as likely, against the others, as among these texts; and
 * --sharpen X: the temperature is multiplied by it, since folds of whole patterns know less than
 * what is learnt from all.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "router/linear/classifier_file.h"

enum {
    FOLDS = 5,
    NO_FOLD = -1,
    MAX_TEXTS = 1 << 20,
    MAX_LABELS = 256,
    FILE_BYTES = 64 << 20,
    TEXT_BYTES = 64 << 20
};

struct text {
    json_t *row; /* owned; the others point into it */
    struct str text, label;
    int fold;
    uint32_t y;
};

struct plan {
    struct text *texts; /* owned */
    size_t n;
    struct str labels[MAX_LABELS];
    struct background background;
    struct linear_options linear;
    size_t max_bytes;
    const char *scores, *favoured; /* favoured: of --odds */
    double odds, sharpen;
    bool no_folds;
};

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "train_signal: %s: %s\n", which, what);
    exit(EXIT_FAILURE);
}

static void read_texts(struct plan *p, const char *path)
{
    CLEANUP(own_fclose) FILE *f = fopen(path, "re");
    CLEANUP(own_free) char *line = NULL;
    size_t size = 0;
    if (!f)
        die(strerror(errno), path);
    if (!p->texts)
        p->texts = calloc(MAX_TEXTS, sizeof(*p->texts));
    if (!p->texts)
        die("no memory", path);
    while (getline(&line, &size, f) > 0) {
        json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        const char *text = json_string_value(json_object_get(row, "text"));
        const char *label = json_string_value(json_object_get(row, "label"));
        const json_t *fold = json_object_get(row, "fold");
        if (!text || p->n == MAX_TEXTS)
            die("want lines of {\"text\": \"…\", \"label\": \"…\"}", path);
        p->texts[p->n++] = (struct text){ .row = row,
                                          .text = str_of(text),
                                          .label = str_of(label ? label : ""),
                                          .fold = fold ? (int)json_integer_value(fold) : NO_FOLD };
    }
}

static void free_texts(struct plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        json_decref(p->texts[i].row);
    free(p->texts);
}

static int by_label(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The labels, sorted, become the classes. */
static void number_classes(struct plan *p)
{
    struct str *labels = p->labels;
    uint32_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        uint32_t k = 0;
        while (k < n && !str_eq(labels[k], p->texts[i].label))
            k++;
        if (k == n && n == MAX_LABELS)
            die("more classes than fit", "labels");
        labels[k] = p->texts[i].label;
        n += k == n;
    }
    qsort(labels, n, sizeof(*labels), by_label);
    for (size_t i = 0; i < p->n; i++) {
        const struct str *at = bsearch(&p->texts[i].label, labels, n, sizeof(*labels), by_label);
        p->texts[i].y = (uint32_t)(at - labels);
    }
    p->linear.classes = n;
}

static char *read_file(const char *path, struct str *ret)
{
    char *bytes = NULL;
    size_t n = 0;
    int r = file_read(&bytes, &n, path, FILE_BYTES);
    if (r < 0)
        die(strerror(-r), path);
    *ret = (struct str){ bytes, n };
    return bytes;
}

static void write_file(const char *path, const struct buf *b)
{
    int r = file_replace(path, buf_str(b));
    if (r < 0)
        die(strerror(-r), path);
}

/* ---- how rare features are ---- */

static void count(struct plan *p, const char *path)
{
    CLEANUP(rarity_done) struct rarity r;
    struct buf out = BUF_INIT(FILE_BYTES);
    if (rarity_init(&r) < 0)
        die("no memory", path);
    for (size_t i = 0; i < p->n; i++) {
        CLEANUP(arena_freep) struct arena *a = arena_new(TEXT_BYTES);
        struct features f = { 0 };
        if (!a || classifier_features(&f, p->texts[i].text, a) < 0)
            die("no memory", path);
        rarity_count(&r, &f);
    }
    if (background_write(&r, &out) < 0)
        die("no memory", path);
    write_file(path, &out);
    (void)printf("%zu texts\n", p->n);
    buf_done(&out);
}

/* ---- learning ---- */

/* ln of how much likelier class k is in use. */
static float bias_of(const struct plan *p, uint32_t k)
{
    return p->favoured && str_is(p->labels[k], p->favoured) ? (float)log(p->odds) : 0;
}

/* Learns from all texts outside `fold`; the file, whose temperature is `temperature`. */
static void learn(const struct plan *p, int fold, float temperature, struct buf *ret)
{
    CLEANUP(own_free) struct classifier_example *e = calloc(p->n, sizeof(*e));
    CLEANUP(classifier_freep) struct classifier *c = NULL;
    size_t n = 0;
    if (!e)
        die("no memory", "learning");
    for (size_t i = 0; i < p->n; i++)
        if (fold == NO_FOLD || p->texts[i].fold != fold)
            e[n++] = (struct classifier_example){ p->texts[i].text, p->texts[i].y };
    int r = classifier_train_on(&c, &p->background, p->labels, e, n, &p->linear);
    if (r < 0)
        die(strerror(-r), "learning");
    classifier_set_temperature(c, temperature);
    for (uint32_t k = 0; fold == NO_FOLD && k < p->linear.classes; k++)
        classifier_add_bias(c, k, bias_of(p, k) * temperature);
    r = classifier_file_write(c, p->max_bytes, ret);
    if (r < 0)
        die(strerror(-r), "writing");
}

static struct classifier_file *open_model(const char *name, struct str bytes)
{
    struct classifier_file *c = NULL;
    struct fail why = { 0 };
    int r = classifier_file_open(&c, name, bytes, &why);
    if (r)
        die(r < 0 ? strerror(-r) : why.message, name);
    return c;
}

static void score_text(const struct plan *p, const struct classifier_file *c, struct str text,
                       float *ret_scores)
{
    CLEANUP(arena_freep) struct arena *a = arena_new(TEXT_BYTES);
    struct features f = { 0 };
    if (!a || classifier_read_text(&f, &p->background, text, a) < 0)
        die("no memory", "scoring");
    classifier_file_scores(c, &f, ret_scores);
}

static void print_scores(FILE *f, const struct plan *p, const float *scores, float temperature)
{
    float s[MAX_LABELS];
    for (uint32_t k = 0; k < p->linear.classes; k++)
        s[k] = scores[k] / temperature + bias_of(p, k);
    linear_softmax(s, p->linear.classes, /* temperature= */ 1);
    for (uint32_t k = 0; k < p->linear.classes; k++)
        (void)fprintf(f, "%s%.6f", k ? ", " : "[", (double)s[k]);
    (void)fputs("]\n", f);
}

/* Scores each text that has a fold; returns the temperature that suits them. */
static float fold_scores(const struct plan *p)
{
    uint32_t k = p->linear.classes, n = 0;
    CLEANUP(own_free) float *scores = calloc(p->n * k, sizeof(*scores));
    CLEANUP(own_free) float *dense = calloc(p->n * k, sizeof(*dense));
    CLEANUP(own_free) uint32_t *y = calloc(p->n, sizeof(*y));
    if (!scores || !dense || !y)
        die("no memory", "folds");
    for (int fold = 0; fold < FOLDS; fold++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(FILE_BYTES);
        learn(p, fold, 1, &b);
        CLEANUP(classifier_file_closep)
        struct classifier_file *c = open_model("fold", buf_str(&b));
        for (size_t i = 0; i < p->n; i++)
            if (p->texts[i].fold == fold)
                score_text(p, c, p->texts[i].text, scores + i * k);
    }
    for (size_t i = 0; i < p->n; i++)
        if (p->texts[i].fold != NO_FOLD) {
            memcpy(dense + (size_t)n * k, scores + i * k, k * sizeof(*dense));
            y[n++] = p->texts[i].y;
        }
    float temperature = n ? linear_fit_temperature(dense, y, n, k) : 1;
    temperature *= (float)p->sharpen;
    FILE *f = p->scores ? fopen(p->scores, "we") : NULL;
    if (p->scores && !f)
        die(strerror(errno), p->scores);
    for (uint32_t i = 0; f && i < n; i++)
        print_scores(f, p, dense + (size_t)i * k, temperature);
    if (f && fclose(f) != 0)
        die(strerror(errno), p->scores);
    return temperature;
}

static void train(struct plan *p, const char *path)
{
    struct buf out = BUF_INIT(FILE_BYTES);
    number_classes(p);
    float temperature = p->no_folds ? 1 : fold_scores(p);
    learn(p, NO_FOLD, temperature, &out);
    write_file(path, &out);
    CLEANUP(classifier_file_closep) struct classifier_file *c = open_model(path, buf_str(&out));
    (void)printf("%zu texts, %u classes, %u features, %zu bytes, temperature %.3f\n", p->n,
                 classifier_file_classes(c), classifier_file_rows(c), out.n, (double)temperature);
    buf_done(&out);
}

static void score(struct plan *p, const char *path)
{
    struct str bytes;
    float scores[MAX_LABELS];
    CLEANUP(own_free) char *owned = read_file(path, &bytes);
    CLEANUP(classifier_file_closep) struct classifier_file *c = open_model(path, bytes);
    p->linear.classes = classifier_file_classes(c);
    if (p->linear.classes > MAX_LABELS)
        die("more classes than fit", path);
    for (size_t i = 0; i < p->n; i++) {
        score_text(p, c, p->texts[i].text, scores);
        print_scores(stdout, p, scores, /* temperature= */ 1);
    }
}

/* ---- the command line ---- */

static double number(const char *s, double min, double max)
{
    double value;
    if (num_parse_double(&value, str_of(s), min, max) < 0)
        die("not a number in its range", s);
    return value;
}

static int usage(void)
{
    (void)fputs(
        "usage: train_signal count RARITY TEXTS.jsonl…\n"
        "       train_signal train [--cost C] [--iterations N] [--max-bytes N] "
        "[--scores FILE] [--no-folds] [--odds LABEL=X] [--sharpen X] RARITY MODEL TEXTS.jsonl\n"
        "       train_signal score RARITY MODEL TEXTS.jsonl\n",
        stderr);
    return 2;
}

static bool read_options(struct plan *p, int argc, char **argv)
{
    static const struct option options[] = { { "cost", required_argument, NULL, 'c' },
                                             { "iterations", required_argument, NULL, 'i' },
                                             { "max-bytes", required_argument, NULL, 'm' },
                                             { "scores", required_argument, NULL, 's' },
                                             { "no-folds", no_argument, NULL, 'n' },
                                             { "odds", required_argument, NULL, 'o' },
                                             { "sharpen", required_argument, NULL, 'h' },
                                             { 0 } };
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'c')
            p->linear.cost = number(optarg, 1e-6, 1e6);
        else if (o == 'i')
            p->linear.iterations = (uint32_t)number(optarg, 1, 10000);
        else if (o == 'm')
            p->max_bytes = (size_t)number(optarg, 1, FILE_BYTES);
        else if (o == 's')
            p->scores = optarg;
        else if (o == 'n')
            p->no_folds = true;
        else if (o == 'h')
            p->sharpen = number(optarg, 0.1, 10);
        else if (o == 'o' && strchr(optarg, '=')) {
            char *at = strchr(optarg, '=');
            *at = '\0';
            p->favoured = optarg;
            p->odds = number(at + 1, 1e-6, 1e6);
        } else
            return false;
    }
    return argc - optind >= 3;
}

int main(int argc, char **argv)
{
    struct plan p = { .linear = { .loss = LINEAR_softmax, .cost = 20, .iterations = 100 },
                      .max_bytes = 2 << 20,
                      .sharpen = 1 };
    if (!read_options(&p, argc, argv))
        return usage();
    char **arg = argv + optind;
    bool counts = !strcmp(arg[0], "count"), trains = !strcmp(arg[0], "train");
    if (!counts && (argc - optind != 4 || (!trains && strcmp(arg[0], "score") != 0)))
        return usage();
    for (int i = counts ? 2 : 3; arg[i]; i++)
        read_texts(&p, arg[i]);
    if (!p.n)
        die("has no texts", arg[counts ? 2 : 3]);
    if (counts) {
        count(&p, arg[1]);
        free_texts(&p);
        return 0;
    }
    struct str bytes;
    struct fail why = { 0 };
    CLEANUP(own_free) char *rarity = read_file(arg[1], &bytes);
    if (background_open(&p.background, arg[1], bytes, &why) != 0)
        die(why.message, arg[1]);
    if (trains)
        train(&p, arg[2]);
    else
        score(&p, arg[2]);
    free_texts(&p);
    return 0;
}
