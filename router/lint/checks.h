/* The parts of a lint, over the facts of one profile. */
#pragma once

#include "router/lint/facts.h"

/* Decisions that cannot win, cannot match, or stand beside an equal. */
int lint_decisions(struct facts *f);
/* Rules, bands and lists that say less than they seem to. */
int lint_signals(struct facts *f);
/* Names that nobody uses. */
int lint_unused(struct facts *f);
