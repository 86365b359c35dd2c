/*
 * Classifiers that a policy names (semantic-router.md 2.1). `local`: a file of ours (models/tools/
 * train_signal writes them) at model_path, or one of those that ship where the path names what the
 * reference has in its place. `llm`: asking a model while routing is not served; its leaves are
 * unknown.
 *
 * A leaf asks for the probability of one label. The rule itself matches when the likeliest label is
 * another than the first.
 */
#include "base/file.h"
#include "router/models/shipped.h"
#include "router/signals/learned.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum type { TYPE_local, TYPE_llm };
static const char *const types[] = { "local", "llm", NULL };
enum { MAX_FILE = 64 << 20, MAX_LABELS = 64 };

struct classifier_rule {
    struct str name, description;
    unsigned type;
    struct str model_path, model, instructions;
    struct text_list labels;
    bool use_cpu;
};

static const struct option options[] = {
    OPT_TEXT(struct classifier_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct classifier_rule, description, "description", NULL, "for people"),
    OPT_WORD(struct classifier_rule, type, "type", types, OPTION_REQUIRED, "who labels"),
    OPT_TEXT(struct classifier_rule, model_path, "model_path", NULL, "of a local classifier"),
    OPT_TEXT(struct classifier_rule, model, "model", NULL, "of an llm"),
    OPT_TEXT(struct classifier_rule, instructions, "instructions", NULL, "for an llm"),
    OPT_TEXTS(struct classifier_rule, labels, "labels", MAX_LABELS, "it may give"),
    OPT_BOOL(struct classifier_rule, use_cpu, "use_cpu", "true", "of a local classifier"),
    OPT_END,
};

struct rule_state {
    struct classifier_file *model; /* owned; NULL: unknown */
    char *bytes;                   /* owned; of a file */
    const struct text_list *labels;
    int class_of[MAX_LABELS]; /* of a label; -1: none */
};

struct state {
    size_t n;
    struct rule_state rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    for (size_t i = 0; s && i < s->n; i++) {
        (void)classifier_file_close(s->rules[i].model);
        free(s->rules[i].bytes);
    }
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

PRINTF_LIKE(3, 4)
static void warn(const struct signal_rules *rules, size_t i, const char *fmt, ...)
{
    char path[PATH_MAX], text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)snprintf(path, sizeof(path), "%s[%zu]", rules->path, i);
    (void)node_problem(rules->p, PROBLEM_warning, node_at(rules->list, i), path, "%s", text);
}

/* ---- the model ---- */

/* What ships in the place of an artifact of the reference; by a word of its name. */
static struct str shipped_like(struct str path, const char **ret_name)
{
    const struct {
        const char *word, *name;
        struct str bytes;
    } rows[] = {
        { "jailbreak", "jailbreak.model", shipped_jailbreak() },
        { "prompt-guard", "jailbreak.model", shipped_jailbreak() },
        { "intent-classifier", "domain.model", shipped_domain() },
        { "factcheck", "fact_check.model", shipped_fact_check() },
        { "feedback-detector", "feedback.model", shipped_feedback() },
        { "modality-router", "modality.model", shipped_modality() },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_find(path, str_of(rows[i].word)) >= 0) {
            *ret_name = rows[i].name;
            return rows[i].bytes;
        }
    return STR_NULL;
}

/* Opens the file at the rule's path, beside the configuration when it is relative. */
static int open_file(struct rule_state *s, const struct signal_rules *rules, size_t i,
                     struct str model_path)
{
    char path[PATH_MAX];
    size_t n = 0;
    struct fail why = { 0 };
    bool beside = model_path.p[0] != '/' && rules->config->folder;
    int len = snprintf(path, sizeof(path), "%s%s%.*s", beside ? rules->config->folder : "",
                       beside ? "/" : "", STR_ARG(model_path));
    if (len < 0 || (size_t)len >= sizeof(path))
        return -ENAMETOOLONG;
    int e = file_read(&s->bytes, &n, path, MAX_FILE);
    if (e < 0)
        return e;
    e = classifier_file_open(&s->model, path, (struct str){ s->bytes, n }, &why);
    if (e > 0)
        warn(rules, i, "%s; its leaves are unknown", why.message);
    return e < 0 ? e : 0;
}

static int open_model(struct rule_state *s, const struct signal_rules *rules, size_t i)
{
    const struct classifier_rule *r = (const struct classifier_rule *)rules->items + i;
    const char *name = NULL;
    if (!r->model_path.n)
        return signal_rule_error(rules, i, NULL, "a local classifier needs a model_path");
    int e = open_file(s, rules, i, r->model_path);
    if (e == -ENOMEM || e == 0)
        return e;
    struct str bytes = shipped_like(r->model_path, &name);
    if (!bytes.n) {
        warn(rules, i, "'%.*s' cannot be read (%s): its leaves are unknown", STR_ARG(r->model_path),
             strerror(-e));
        return 0;
    }
    warn(rules, i, "in the place of '%.*s' stands %s, which ships with this program",
         STR_ARG(r->model_path), name);
    return learned_open(&s->model, name, bytes, rules);
}

/* ---- labels ---- */

static bool same_label(struct str a, struct str b) /* case and marks between words do not matter */
{
    size_t i = 0;
    while (i < a.n && a.n == b.n &&
           (tolower((unsigned char)a.p[i]) == tolower((unsigned char)b.p[i]) ||
            (!isalnum((unsigned char)a.p[i]) && !isalnum((unsigned char)b.p[i]))))
        i++;
    return a.n == b.n && i == a.n;
}

/* Gives each label its class; of two, the one that is left over. False: some have none. */
static bool match_labels(struct rule_state *s, const struct text_list *labels)
{
    size_t found = 0, missing = 0;
    int64_t left = 0; /* sum of the classes not taken, of two */
    s->labels = labels;
    for (size_t i = 0; i < labels->n; i++) {
        s->class_of[i] = -1;
        for (uint32_t c = 0; c < classifier_file_classes(s->model); c++)
            if (same_label(labels->items[i], classifier_file_label(s->model, c)))
                s->class_of[i] = (int)c;
        found += s->class_of[i] >= 0;
        left += s->class_of[i] >= 0 ? s->class_of[i] : 0;
        missing = s->class_of[i] < 0 ? i : missing;
    }
    if (found == 1 && labels->n == 2 && classifier_file_classes(s->model) == 2) {
        s->class_of[missing] = (int)(1 - left);
        found++;
    }
    return found == labels->n;
}

static int compile_rule(struct rule_state *s, const struct signal_rules *rules, size_t i)
{
    const struct classifier_rule *r = (const struct classifier_rule *)rules->items + i;
    if (r->type == TYPE_llm) {
        warn(rules, i, "no model is asked while routing by this version: its leaves are unknown");
        return 0;
    }
    int e = open_model(s, rules, i);
    if (e < 0 || !s->model)
        return e;
    if (classifier_file_classes(s->model) > MAX_LABELS || !match_labels(s, &r->labels)) {
        warn(rules, i, "not every label is a class of the model: its leaves are unknown");
        s->model = classifier_file_close(s->model);
    }
    return 0;
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(s->rules[0]));
    bool any = false;
    int e = 0;
    if (!s)
        return -ENOMEM;
    for (; s->n < rules->n && e == 0; s->n++) {
        e = compile_rule(&s->rules[s->n], rules, s->n);
        any |= s->rules[s->n].model != NULL;
    }
    if (e == 0 && any)
        *ret = TAKE(s);
    return e == -EINVAL ? 0 : e; /* the problem is reported */
}

/* ---- evaluating ---- */

static int label_of(const void *state, size_t rule, struct str label)
{
    const struct state *s = state;
    const struct text_list *labels = s->rules[rule].labels;
    for (size_t i = 0; labels && i < labels->n; i++)
        if (same_label(labels->items[i], label))
            return (int)i;
    return -1;
}

static int read_model(const struct rule_state *s, struct signal_view *v, float *p)
{
    const struct features *f;
    int e = s->model ? learned_turn(v, &f) : -ENOTSUP;
    if (e == 0)
        classifier_file_read(s->model, f, p);
    return e;
}

static int probability(const void *state, struct signal_view *v, size_t rule, int label,
                       double *ret)
{
    const struct state *s = state;
    float p[MAX_LABELS];
    int e = read_model(&s->rules[rule], v, p);
    if (e == 0)
        *ret = (double)p[s->rules[rule].class_of[label]];
    return e;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    for (size_t i = 0; i < s->n; i++) {
        const struct rule_state *r = &s->rules[i];
        float p[MAX_LABELS];
        values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
        int e = read_model(r, v, p);
        if (e == -ENOMEM)
            return e;
        if (e < 0 || !r->labels->n)
            continue;
        size_t best = 0;
        for (size_t k = 0; k < r->labels->n; k++)
            best = p[r->class_of[k]] > p[r->class_of[best]] ? k : best;
        double likely = (double)p[r->class_of[best]];
        values[i] =
            (struct signal_value){ best ? TRUTH_true : TRUTH_false, best ? likely : 0, likely };
    }
    return 0;
}

const struct signal_family family_classifier = {
    .options = options,
    .rule_size = sizeof(struct classifier_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
    .label = label_of,
    .probability = probability,
};
