/* Between the files of regex: classes of characters. */
#pragma once

#include "engine/local/grammar/regex.h"

/* A class under two readings: what every engine counts in, and what some engine may. */
struct regex_class {
    struct charset sure, maybe;
};
void regex_class_add(struct regex_class *c, char name); /* one of dDwWsS */
void regex_class_add_range(struct regex_class *c, uint32_t first, uint32_t last);
void regex_class_dot(struct regex_class *c);
void regex_class_done(struct regex_class *c);
