/*
 * What the user says of the answer before (semantic-router.md 2.1), by a shipped classifier.
 * Without an answer before there is nothing to speak of.
 */
#include "router/signals/learned.h"

#include "router/models/shipped.h"

#include <errno.h>
#include <stdlib.h>

struct feedback_rule {
    struct str name, description;
    double threshold;
};

static const struct option options[] = {
    OPT_TEXT(struct feedback_rule, name, "name", OPTION_REQUIRED,
             "satisfied, need_clarification, wrong_answer or want_different"),
    OPT_TEXT(struct feedback_rule, description, "description", NULL, "for people"),
    OPT_FLOAT(struct feedback_rule, threshold, "threshold", 0, 1, "0",
              "least probability; 0: global"),
    OPT_END,
};

enum { LABELS = 4 };
static const char *const satisfied_words[] = { "satisf", "happy",   "thank", "positive", "prais",
                                               "approv", "content", "good",  NULL };
static const char *const clarification_words[] = { "clarif",  "clear",  "restate",
                                                   "explain", "explan", "unclear",
                                                   "confus",  "detail", NULL };
static const char *const wrong_words[] = { "wrong",     "incorrect", "correct", "mistake", "error",
                                           "dissatisf", "inaccura",  "false",   NULL };
static const char *const different_words[] = { "different", "alternativ", "another",
                                               "other",     "vari",       NULL };
static const struct label_words labels[LABELS] = {
    { "satisfied", satisfied_words },
    { "need_clarification", clarification_words },
    { "wrong_answer", wrong_words },
    { "want_different", different_words },
};

struct module { /* global.model_catalog.modules.feedback_detector */
    bool enabled;
    double threshold;
};
#define MODULE_PATH "model_catalog.modules.feedback_detector"

static const struct option module_options[] = {
    OPT_BOOL(struct module, enabled, "enabled", "true", "false: its leaves are unknown"),
    OPT_FLOAT(struct module, threshold, "threshold", 0, 1, "0.7", "least probability"),
    OPT_IGNORED("*", "the classifier is the shipped one"),
    OPT_END,
};

struct state {
    struct classifier_file *model; /* owned */
    size_t n;
    struct {
        int class; /* of the model; -1: unknown */
        double threshold;
    } rules[];
};

static void *state_free(void *state)
{
    struct state *s = state;
    if (s)
        (void)classifier_file_close(s->model);
    free(s);
    return NULL;
}

static void freep(struct state **s)
{
    (void)state_free(*s);
}

static int compile(void **ret, const struct signal_rules *rules)
{
    CLEANUP(freep) struct state *s = calloc(1, sizeof(*s) + rules->n * sizeof(s->rules[0]));
    struct module m;
    if (!s)
        return -ENOMEM;
    int e = schema_read(&m, module_options, signal_setting(rules, MODULE_PATH),
                        "global." MODULE_PATH, rules->arena, rules->p);
    if (e < 0 || !m.enabled)
        return e;
    e = learned_open(&s->model, "feedback.model", shipped_feedback(), rules);
    if (e < 0 || !s->model)
        return e;
    s->n = rules->n;
    for (size_t i = 0; i < s->n; i++) {
        const struct feedback_rule *r = (const struct feedback_rule *)rules->items + i;
        size_t k = learned_label(r->name, r->description, labels, LABELS);
        s->rules[i].class = -1;
        if (k < LABELS)
            s->rules[i].class = classifier_file_find(s->model, str_of(labels[k].label));
        else
            learned_no_label(rules, i, labels, LABELS);
        s->rules[i].threshold = r->threshold > 0 ? r->threshold : m.threshold;
    }
    *ret = TAKE(s);
    return 0;
}

/* Whether an answer stands before the user's turn. */
static bool answered(const struct chat_request *chat)
{
    bool turn = false;
    for (size_t i = chat->is_completion ? 0 : chat->n_messages; i-- > 0;) {
        if (turn && str_is(chat->messages[i].role, "assistant"))
            return true;
        turn |= str_is(chat->messages[i].role, "user");
    }
    return false;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    const struct features *f;
    float p[LABELS + 1]; /* and what is no feedback */
    bool none = !answered(v->chat) || classifier_file_classes(s->model) > ARRAY_LEN(p);
    int e = none ? 0 : learned_turn(v, &f);
    if (e < 0)
        return e;
    if (!none)
        classifier_file_read(s->model, f, p);
    for (size_t i = 0; i < s->n; i++) {
        int k = s->rules[i].class;
        double likely = none || k < 0 ? 0 : (double)p[k];
        bool match = !none && k >= 0 && likely >= s->rules[i].threshold;
        values[i] =
            (struct signal_value){ match ? TRUTH_true : TRUTH_false, match ? likely : 0, likely };
        if (k < 0)
            values[i] = (struct signal_value){ TRUTH_unknown, 0, 0 };
    }
    return 0;
}

const struct signal_family family_user_feedback = {
    .options = options,
    .rule_size = sizeof(struct feedback_rule),
    .compile = compile,
    .free = state_free,
    .evaluate = evaluate,
};
