/*
 * The choices of an answer: how many sequences are decoded, and which of them are sent.
 *
 * http thread.
 */
#pragma once

#include "gateway/answer.h"

/* Fills answer->choices: n of each chat, or best_of. 0 or -ENOMEM. */
int choices_make(struct answer *a) MUST_USE;

/* Fills answer->shown, once all are done: of each chat the n with the highest mean log-probability,
 * best first. */
void choices_rank(struct answer *a);
