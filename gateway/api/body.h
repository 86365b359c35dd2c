/*
 * Request bodies by views: checked once, no tree; what a field holds is a view of the body, which
 * must live as long as what was read of it.
 *
 * Messages name the field and what would be right. `value` is the view of a JSON value; a field
 * that is null counts as absent everywhere.
 */
#pragma once

#include "base/fail.h"
#include "base/json_view.h"
#include "gateway/api/fields.h"

struct body_member {
    struct str key; /* decoded */
    struct str value;
};

/* An object whose members were found once; in the arena. */
struct body {
    struct str text;
    const struct body_member *members;
    size_t n;
    uint64_t names; /* a bit for each name: a hundred are asked for, and few are there */
};

/* FAILED (invalid_request): not JSON, no object, too deep, a duplicate key, not UTF-8, a NUL; with
 * line and column. */
int body_check(struct str text, struct fail *reterr) MUST_USE;
/* Checks the text and finds its members. FAILED also: more than LIMIT_BODY_FIELDS of them. */
int body_read(struct body *ret, struct str text, struct arena *arena, struct fail *reterr) MUST_USE;
/* The members of an object inside a body that was checked. */
int body_index(struct body *ret, struct str object, struct arena *arena,
               struct fail *reterr) MUST_USE;

/* Of the first two characters of a name; '\0': it has no more. */
static inline uint64_t body_name_bit(char first, char second)
{
    return UINT64_C(1) << ((unsigned char)first + 5u * (unsigned char)second) % 64;
}
struct str body_find(const struct body *b, const char *name);
/* p NULL: absent, or null. */
static inline struct str body_get(const struct body *b, const char *name)
{
    bool may_be_there = b->names & body_name_bit(name[0], name[1]);
    return may_be_there ? body_find(b, name) : STR_NULL;
}
/* The same of an object that was not indexed: for those with few members. */
struct str body_part(struct str object, const char *name);

/* The values of several members in one pass, in the order of `names`; as body_part has each. */
void body_parts(struct str object, const char *const *names, size_t n, struct str *ret);

/* json_fields of views: text members are views, or in the arena where they have escapes. */
int body_fields(void *into, const struct field *table, const struct body *b, struct arena *arena,
                struct fail *reterr) MUST_USE;
/* FAILED names a field that is neither in the table nor `also` (may be NULL). */
int body_only(const struct field *table, const char *also, const struct body *b,
              struct fail *reterr) MUST_USE;
/* The first field that is there and not harmless; NULL: none. Static. */
const char *body_unserved(const struct refused *table, const struct body *b);
int body_refuse(const struct refused *table, const struct body *b, struct fail *reterr) MUST_USE;

const char *body_kind(struct str value); /* "a string", "an array", … */
bool body_is_object(struct str value);
bool body_is_array(struct str value);
bool body_is_string(struct str value);
bool body_is_number(struct str value);
bool body_is_bool(struct str value);

/* Whole numbers of either sign, also written 12.0. 0; -EINVAL: none; -ERANGE. */
int body_i64(struct str value, int64_t *ret) MUST_USE;
/* FAILED with internal_error: no memory. */
int body_no_memory(struct fail *reterr);
