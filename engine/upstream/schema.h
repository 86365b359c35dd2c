/*
 * JSON Schemas in the words of providers that take less than JSON Schema.
 *
 * Pure. What a provider has no word for is left out, or told in a description where the model may
 * heed it; it is never a reason to refuse.
 */
#pragma once

#include "base/buf.h"

/* A schema of a function's parameters, of which some demand that it says it is an object's; p NULL:
 * of none. */
void schema_add_object(struct buf *b, struct str schema);

/* As Anthropic's structured answers take it: objects take the members that they name and no
 * others, oneOf is anyOf, limits are told in the description.
 * Source: "Structured outputs" of the Claude API documentation, "JSON Schema limitations". */
void schema_add_closed(struct buf *b, struct str schema);

/*
 * As Google's models before Gemini 2.5 take it, the subset of OpenAPI 3.0 that is `Schema` of their
 * reference: references are written out, allOf is merged, null is `nullable`, a const an enum.
 * A schema that refers to itself ends there, as an object of which nothing is said. 0, or -E2BIG:
 * written out it is larger than any that is meant (what was added is of no use).
 */
int schema_add_openapi(struct buf *b, struct str schema) MUST_USE;
/* Whether an object's schema names any member (Google takes no parameters of a function without).
 */
bool schema_has_members(struct str schema);
