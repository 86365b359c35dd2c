/*
 * The messages of a request as values of the template language. What a template has no words for
 * (tools, calls, results) is written into them, in the words of a family of models.
 */
#pragma once

#include "engine/local/chat_template_impl.h"

struct val chat_messages(struct render *r, const struct chat_template_vars *vars);
/* JSON text as values; text that is not JSON stays text. */
struct val chat_json(struct render *r, struct str json);
