/*
 * An engine without a model: what it does is written in the prompt (of a chat, the last message).
 *
 *     say a b c     three texts, then done with stop
 *     slow          a text every 5 ms until cancelled
 *     flood         large texts as fast as it can until cancelled
 *     wait N        admitted after N ms, then as "say ok"
 *     hang          admitted, then nothing until cancelled
 *     who           says "choice N"; of each five, N = 3, then N = 1 is the likeliest
 *     cut WORD      says "ok", then done by the stop string WORD; 4 of 9 prompt tokens were cached
 *     act …         reasoning, texts and calls (see act in the .c)
 *     fail          fails before a text      break     fails after one
 *     full, long    refused at submit, as are more messages than FAKE_MESSAGES
 *     recall        says all that it was asked
 *
 * Its tokens are bytes; 1 begins a text and 2, spelt "$", ends one. An input of n tokens has the
 * vector (n/8, -1, 0.5). Where the middle token is '!' that takes a while, where it is '?' it
 * fails.
 */
#pragma once

#include "engine/engine.h"

enum { FAKE_MESSAGES = 40 };

struct engine *fake_engine_new(void);                 /* engine_free */
unsigned fake_engine_running(const struct engine *e); /* jobs whose last event was not sent */
unsigned fake_engine_cancelled(const struct engine *e);
void fake_engine_hold(struct engine *e, bool held);    /* embedding of '!' waits while held */
unsigned fake_engine_embedded(const struct engine *e); /* inputs */
