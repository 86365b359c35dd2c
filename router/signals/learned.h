/*
 * Classifiers that the program ships (models/signals/), for the families that read them.
 *
 * A text is read and weighed once a request for all of them. Private to router/.
 */
#pragma once

#include "router/linear/classifier_file.h"
#include "router/signals/signals.h"

/* Opens one. Where it cannot be read *ret stays NULL and a warning says why. 0 or -ENOMEM. */
int learned_open(struct classifier_file **ret, const char *name, struct str bytes,
                 const struct signal_rules *rules) MUST_USE;

/* The weighed features of the user's turn, made once. -ENOMEM, -EINVAL (no table of rarity). */
int learned_turn(struct signal_view *v, const struct features **ret) MUST_USE;
/* The same of any other text, in the arena. */
int learned_text(struct str text, struct arena *arena, struct features *ret) MUST_USE;

/*
 * The highest probability of class k anywhere in the user's turn: of the whole, and of a long one
 * also window by window, so that a sentence in it counts as if it stood alone. Memory for windows
 * is taken and given back.
 */
int learned_turn_most(const struct classifier_file *c, uint32_t k, struct signal_view *v,
                      double *ret) MUST_USE;
/* The same of any text. */
int learned_text_most(const struct classifier_file *c, uint32_t k, struct str text,
                      double *ret) MUST_USE;

/* What a rule means, where its name is not a label itself: words that its name and description
 * hold. */
struct label_words {
    const char *label;
    const char *const *words; /* beginnings of words, NULL-terminated */
};
/*
 * The label of a rule: its name, a label inside its name, or the one whose words its name (counted
 * twice) and description hold most of. n: none, or several alike.
 */
size_t learned_label(struct str name, struct str description, const struct label_words *labels,
                     size_t n);
/* Warns that rule i means no label, so that its leaves are unknown. */
void learned_no_label(const struct signal_rules *rules, size_t i, const struct label_words *labels,
                      size_t n);
