/*
 * Families that need vectors or classifiers. Their rules are read and checked, so that a policy
 * that uses them loads, but not evaluated by this version: their leaves are unknown.
 */
#include "router/signals/signals.h"

#define OPT_NAME(type)                                                                             \
    OPT_TEXT(type, name, "name", OPTION_REQUIRED, "by which rules refer to it"),                   \
        OPT_TEXT(type, description, "description", NULL, "for people")

/* ---- complexity ---- */

struct example_set {
    struct text_list candidates, image_candidates;
};

static const struct option example_options[] = {
    OPT_TEXTS(struct example_set, candidates, "candidates", 10000, "examples"),
    OPT_TEXTS(struct example_set, image_candidates, "image_candidates", 10000, "for images"),
    OPT_END,
};

struct complexity_rule {
    struct str name, description;
    double threshold;
    struct example_set hard, easy;
    const struct node *composer;
};

static const struct option complexity_options[] = {
    OPT_NAME(struct complexity_rule),
    OPT_FLOAT(struct complexity_rule, threshold, "threshold", 0, 1, "0.1",
              "margin of hard over easy"),
    OPT_SECTION(struct complexity_rule, hard, "hard", example_options, "examples of hard requests"),
    OPT_SECTION(struct complexity_rule, easy, "easy", example_options, "examples of easy requests"),
    OPT_NODE(struct complexity_rule, composer, "composer", "a rule that must hold as well"),
    OPT_END,
};

static const char *const complexity_levels[] = { "hard", "medium", "easy", NULL };

const struct signal_family family_complexity = {
    .options = complexity_options,
    .rule_size = sizeof(struct complexity_rule),
    .levels = complexity_levels,
};

/* ---- knowledge bases and classifiers ---- */

static const char *const target_kinds[] = { "label", "group", NULL };
static const char *const kb_matches[] = { "best", "threshold", NULL };

struct kb_target {
    unsigned kind;
    struct str value;
};

static const struct option kb_target_options[] = {
    OPT_WORD(struct kb_target, kind, "kind", target_kinds, "label", "label or group"),
    OPT_TEXT(struct kb_target, value, "value", OPTION_REQUIRED, "its name"),
    OPT_END,
};

struct kb_rule {
    struct str name, description, kb;
    struct kb_target target;
    unsigned match;
};

static const struct option kb_options[] = {
    OPT_NAME(struct kb_rule),
    OPT_TEXT(struct kb_rule, kb, "kb", OPTION_REQUIRED, "of global.model_catalog.kbs"),
    OPT_SECTION(struct kb_rule, target, "target", kb_target_options, "what must be found"),
    OPT_WORD(struct kb_rule, match, "match", kb_matches, "best", "the best, or any above"),
    OPT_END,
};

const struct signal_family family_kb = {
    .options = kb_options,
    .rule_size = sizeof(struct kb_rule),
};

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
