/*
 * Takes credentials out of text that is kept: values of members that are named like one, also where
 * JSON stands inside a JSON string, and words that look like a key wherever they stand.
 */
#pragma once

#include "base/arena.h"

/* The text, maybe cut, with "[redacted]" for credentials, in the arena. p NULL: no memory. Work is
 * linear. */
struct str redact_keys(struct str text, struct arena *arena);
