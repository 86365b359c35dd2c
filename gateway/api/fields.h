/*
 * Tables of the fields that a body may have: what each holds and where it goes.
 */
#pragma once

#include <stddef.h>

enum field_kind { FIELD_bool, FIELD_int, FIELD_float, FIELD_text };

/* A field that is null counts as absent. Members: bool, int64_t, double, struct str (borrowed). */
struct field {
    const char *name; /* NULL ends a table */
    enum field_kind kind;
    size_t offset;
    double min, max; /* of numbers */
    int has_offset;  /* of a bool member set when present; -1: none */
};

/* What would change the answer but is not served: refused by name rather than ignored. */
enum unless { UNLESS_null, UNLESS_empty, UNLESS_false, UNLESS_true, UNLESS_zero, UNLESS_choice };
struct refused {
    const char *name;   /* NULL ends a table */
    enum unless unless; /* harmless then; choice: the words "none" and "auto" */
};
