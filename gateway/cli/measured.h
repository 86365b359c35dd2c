/*
 * Measured answers as JSONL, for `rootstock selection`: texts, and what each model's answer to them
 * was worth. One thread.
 *
 * A line is an object with "text" (or "query") and one of
 *   "model" (or "model_name"), "score" ("quality", "performance"; 0…1, or a boolean) and, where it
 *     was measured, "latency" ("response_time", "latency_ms"): one model's answer
 *   "models": {NAME: {"score", "latency"}}: several
 *   "NAME_correct": true or false, for each model
 * Lines of the same text count as one example. Other members are ignored.
 */
#pragma once

#include "router/selection/learned/train.h"

struct measured {
    struct arena *arena;
    size_t n;
    struct str *texts;
    struct learned_examples examples; /* without features until measured_features */
};

void measured_done(struct measured *m);
/* Reads the files; a speed of 1 is that of the fastest model for a text and counts `speed_weight`
 * against the score. false: printed why. */
bool measured_read(struct measured *ret, char *const *files, int n, double speed_weight);
/* The features of all texts. false: printed why. */
bool measured_features(struct measured *m, const struct vector_space *space);
