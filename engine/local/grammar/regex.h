/*
 * Regular expressions of ECMA 262, as JSON Schema's `pattern` uses them.
 */
#pragma once

#include "base/fail.h"
#include "engine/local/grammar/lang.h"

enum regex_mode {
    REGEX_SOMEWHERE, /* the pattern matches a part of the text */
    REGEX_NOWHERE,   /* it does not */
    REGEX_WHOLE,     /* it matches the text from its start to its end */
};

/*
 * Adds, as operands, the texts in which the pattern matches as `mode` says.
 * FAILED: the message names the place and what cannot be honoured. Bounds stick in the automaton.
 *
 * Where engines differ, the narrower reading is taken, so that a match here is one everywhere:
 * \d and \w are ASCII, but their complements leave out what Unicode counts in.
 */
int regex_add(struct lang *l, struct str pattern, enum regex_mode mode,
              struct fail *reterr) MUST_USE;
