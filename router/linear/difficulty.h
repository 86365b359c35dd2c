/*
 * How hard a prompt looks, where nothing says what hard ones are. Pure; any thread.
 */
#pragma once

#include "base/str.h"

/*
 * 0 … 1, growing with the number of words and falling with their mean length; 0 without words, ½ at
 * some forty English words. It orders prompts; it is no probability. Valid UTF-8 (other bytes count
 * as characters); no allocation.
 *
 * Long prompts are what weaker models fail more often than stronger ones, and among those the ones
 * of short words (numbers, symbols, names of variables) rather than prose: tests/perf/quality
 * --difficulty prints how well this orders prompts, beside other scores.
 */
float difficulty_of(struct str text);
