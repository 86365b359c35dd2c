/*
 * Small request bodies as a tree: size-checked bytes → JSON without duplicate keys → plain fields
 * by a table. What may be large is read by views (body.h).
 *
 * Messages name the field and what would be right. jansson stays inside gateway/api.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fail.h"
#include "gateway/api/fields.h"

#include <jansson.h>
#include <stdint.h>

/*
 * Parses an object. FAILED (invalid_request): not JSON, not an object, too deep, a duplicate key,
 * invalid UTF-8. *ret is a new reference.
 */
int json_body(json_t **ret, struct str text, struct fail *reterr) MUST_USE;

int json_fields(void *into, const struct field *table, const json_t *object,
                struct fail *reterr) MUST_USE;

/* For requests where a misspelt field must not be ignored: FAILED names a field that is neither in
 * the table nor `also` (may be NULL). */
int json_only(const struct field *table, const char *also, json_t *object,
              struct fail *reterr) MUST_USE;

int json_refuse(const struct refused *table, const json_t *object, struct fail *reterr) MUST_USE;

const char *json_kind(const json_t *v); /* "a string", "an array", … */
struct str json_str(const json_t *s);   /* borrowed; empty view when it is no string */
/* Copies in the arena; p NULL: no memory. */
struct str json_str_copy(struct arena *arena, const json_t *s);
struct str json_text(struct arena *arena, const json_t *v); /* compact JSON, key order kept */
/* FAILED with internal_error: no memory. */
int json_no_memory(struct fail *reterr);
