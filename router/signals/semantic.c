/*
 * Families that need vectors or classifiers. Their rules are read and checked, so that a policy
 * that uses them loads, but not evaluated by this version: their leaves are unknown.
 */
#include "router/signals/signals.h"

#define OPT_NAME(type)                                                                             \
    OPT_TEXT(type, name, "name", OPTION_REQUIRED, "by which rules refer to it"),                   \
        OPT_TEXT(type, description, "description", NULL, "for people")

static const char *const classifier_types[] = { "local", "llm", NULL };

struct classifier_rule {
    struct str name, description;
    unsigned type;
    struct str model_path, model, instructions;
    struct text_list labels;
    bool use_cpu;
};

static const struct option classifier_options[] = {
    OPT_NAME(struct classifier_rule),
    OPT_WORD(struct classifier_rule, type, "type", classifier_types, OPTION_REQUIRED, "who labels"),
    OPT_TEXT(struct classifier_rule, model_path, "model_path", NULL, "of a local classifier"),
    OPT_TEXT(struct classifier_rule, model, "model", NULL, "of an llm"),
    OPT_TEXT(struct classifier_rule, instructions, "instructions", NULL, "for an llm"),
    OPT_TEXTS(struct classifier_rule, labels, "labels", 1000, "it may give"),
    OPT_BOOL(struct classifier_rule, use_cpu, "use_cpu", "true", "of a local classifier"),
    OPT_END,
};

const struct signal_family family_classifier = {
    .options = classifier_options,
    .rule_size = sizeof(struct classifier_rule),
};
