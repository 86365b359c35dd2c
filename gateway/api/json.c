#include "gateway/api/json.h"

#include "base/limits.h"
#include "gateway/api/body.h"

#include <math.h>

int json_body(json_t **ret, struct str text, struct fail *reterr)
{
    int r = body_check(text, reterr);
    if (r != 0)
        return r;
    json_error_t e;
    json_t *v = json_loadb(text.p, text.n, JSON_DECODE_ANY, &e);
    if (!v && json_error_code(&e) == json_error_numeric_overflow)
        /* An integer past 64 bits is no mistake where nobody reads it, and out of range where
         * somebody does. */
        v = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &e);
    if (!v)
        return fail_set(reterr, FAIL_invalid_request,
                        "the body is not valid JSON: %s (line %d, column %d)", e.text, e.line,
                        e.column);
    *ret = v;
    return 0;
}

const char *json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

struct str json_str(const json_t *s)
{
    return (struct str){ json_string_value(s), json_string_length(s) };
}

struct str json_str_copy(struct arena *arena, const json_t *s)
{
    return arena_str(arena, json_str(s));
}

static int add_piece(const char *p, size_t n, void *b)
{
    buf_add(b, (struct str){ p, n });
    return buf_err(b);
}

struct str json_text(struct arena *arena, const json_t *v)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    if (json_dump_callback(v, add_piece, &b,
                           JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) < 0)
        return STR_NULL;
    return arena_str(arena, buf_str(&b));
}

int json_no_memory(struct fail *reterr)
{
    return body_no_memory(reterr);
}

/* ---- fields ---- */

static int wrong(const struct field *f, const json_t *v, const char *want, struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, f->name, "'%s' must be %s, not %s", f->name,
                      want, json_kind(v));
}

static int read_number(void *into, const struct field *f, const json_t *v, struct fail *reterr)
{
    bool is_int = f->kind == FIELD_int;
    double d = json_number_value(v);
    if (!json_is_number(v) || (is_int && d != trunc(d)))
        return fail_param(reterr, FAIL_invalid_request, f->name, "'%s' must be %s%s%s", f->name,
                          is_int ? "an integer" : "a number", json_is_number(v) ? "" : ", not ",
                          json_is_number(v) ? "" : json_kind(v));
    if (!(d >= f->min && d <= f->max))
        return fail_param(reterr, FAIL_invalid_request, f->name,
                          "'%s' must be between %.15g and %.15g", f->name, f->min, f->max);
    if (!is_int)
        *(double *)into = d;
    else if (json_is_integer(v))
        *(int64_t *)into = json_integer_value(v);
    else
        *(int64_t *)into = d >= 9223372036854775807.0 ? INT64_MAX : (int64_t)d;
    return 0;
}

static int read_field(char *into, const struct field *f, const json_t *v, struct fail *reterr)
{
    if (f->kind == FIELD_bool) {
        if (!json_is_boolean(v))
            return wrong(f, v, "a boolean", reterr);
        *(bool *)(void *)(into + f->offset) = json_is_true(v);
        return 0;
    }
    if (f->kind == FIELD_text) {
        if (!json_is_string(v))
            return wrong(f, v, "a string", reterr);
        *(struct str *)(void *)(into + f->offset) = json_str(v);
        return 0;
    }
    return read_number(into + f->offset, f, v, reterr);
}

int json_only(const struct field *table, const char *also, json_t *object, struct fail *reterr)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        const struct field *f = table;
        while (f->name && strcmp(f->name, key) != 0)
            f++;
        if (!f->name && !(also && strcmp(also, key) == 0))
            return fail_param(reterr, FAIL_invalid_request, key, "there is no field '%.40s' here",
                              key);
    }
    return 0;
}

int json_fields(void *into, const struct field *table, const json_t *object, struct fail *reterr)
{
    for (const struct field *f = table; f->name; f++) {
        const json_t *v = json_object_get(object, f->name);
        if (!v || json_is_null(v))
            continue;
        int r = read_field(into, f, v, reterr);
        if (r != 0)
            return r;
        if (f->has_offset >= 0)
            *(bool *)((char *)into + f->has_offset) = true;
    }
    return 0;
}

/* ---- refusals ---- */

static bool is_empty(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return json_object_size(v) == 0;
    case JSON_ARRAY:
        return json_array_size(v) == 0;
    case JSON_STRING:
        return json_string_length(v) == 0;
    default:
        return false;
    }
}

static bool is_harmless(enum unless unless, const json_t *v)
{
    switch (unless) {
    case UNLESS_null:
        return false;
    case UNLESS_empty:
        return is_empty(v);
    case UNLESS_false:
        return json_is_false(v);
    case UNLESS_true:
        return json_is_true(v);
    case UNLESS_zero:
        return json_is_number(v) && json_number_value(v) <= 0;
    case UNLESS_choice:
        return str_is(json_str(v), "none") || str_is(json_str(v), "auto");
    }
    return false;
}

int json_refuse(const struct refused *table, const json_t *object, struct fail *reterr)
{
    for (const struct refused *f = table; f->name; f++) {
        const json_t *v = json_object_get(object, f->name);
        if (v && !json_is_null(v) && !is_harmless(f->unless, v))
            return fail_param(reterr, FAIL_unsupported_parameter, f->name,
                              "'%s' is not served with this value; leave it out", f->name);
    }
    return 0;
}
