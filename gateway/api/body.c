#include "gateway/api/body.h"

#include "base/limits.h"
#include "base/num.h"

#include <errno.h>
#include <math.h>

/* ---- the whole ---- */

struct place {
    size_t line, column; /* from 1; columns are characters */
};

static struct place place_of(struct str text, size_t at)
{
    struct place p = { 1, 1 };
    for (size_t pos = 0; pos < at;) {
        bool breaks = text.p[pos] == '\n';
        (void)str_utf8_next(text, &pos);
        p.line += breaks;
        p.column = breaks ? 1 : p.column + 1;
    }
    return p;
}

/* What stands where the form ends, for a message. */
static void say_unexpected(struct str rest, char *ret, size_t max)
{
    enum { SHOWN = 24 };
    size_t n = 0, pos = 0;
    if (rest.n == 0) {
        (void)snprintf(ret, max, "it ends too early");
        return;
    }
    if ((unsigned char)rest.p[0] < ' ') {
        (void)snprintf(ret, max, "a control character that is not escaped");
        return;
    }
    while (n < SHOWN && n < rest.n && (unsigned char)rest.p[n] > ' ' &&
           !(n && strchr(",:{}[]\"", rest.p[n])))
        n++;
    struct str token = str_head(rest, n ? n : 1);
    token = str_head(token, str_utf8_whole(token));
    (void)str_utf8_next(token, &pos);
    if (token.n == 0 || !str_utf8_valid(token))
        (void)snprintf(ret, max, "a byte that cannot stand there");
    else
        (void)snprintf(ret, max, "unexpected '" STR_FMT "'", STR_ARG(token));
}

static int say_fault(struct str text, enum json_view_fault fault, size_t at, struct fail *reterr)
{
    char what[64];
    struct place p = place_of(text, at);
    switch (fault) {
    case JSON_VIEW_ok:
        return 0;
    case JSON_VIEW_depth:
        return fail_set(reterr, FAIL_invalid_request,
                        "the body nests deeper than %d levels of JSON (line %zu, column %zu)",
                        LIMIT_JSON_DEPTH, p.line, p.column);
    case JSON_VIEW_duplicate_key:
        return fail_set(reterr, FAIL_invalid_request,
                        "the body holds a key twice in one object (line %zu, column %zu): which of "
                        "them counts would be a guess",
                        p.line, p.column);
    case JSON_VIEW_nul:
        return fail_set(reterr, FAIL_invalid_request,
                        "the body holds a text with a NUL (\\u0000), which is not served (line "
                        "%zu, column %zu)",
                        p.line, p.column);
    case JSON_VIEW_encoding:
        return fail_set(
            reterr, FAIL_invalid_request, "the body is not valid %s (line %zu, column %zu)",
            text.p[at] == '\\' ? "JSON: half a surrogate pair" : "UTF-8", p.line, p.column);
    case JSON_VIEW_no_memory:
        return body_no_memory(reterr);
    case JSON_VIEW_syntax:
        break;
    }
    say_unexpected(str_sub(text, at), what, sizeof(what));
    return fail_set(reterr, FAIL_invalid_request,
                    "the body is not valid JSON: %s (line %zu, column %zu)", what, p.line,
                    p.column);
}

/* Members as they are found. */
struct found {
    struct arena *arena;
    struct body_member usual[32], *members; /* those of most bodies */
    size_t n, max;
    uint64_t names;
    bool no_memory;
};

static void found_init(struct found *f, struct arena *arena)
{
    f->arena = arena;
    f->members = f->usual;
    f->n = 0;
    f->max = ARRAY_LEN(f->usual);
    f->names = 0;
    f->no_memory = false;
}

static void add_member(void *ctx, struct str key, struct str value)
{
    struct found *f = ctx;
    if (f->n++ >= f->max && f->max < LIMIT_BODY_FIELDS) {
        struct body_member *more = arena_array(f->arena, LIMIT_BODY_FIELDS, sizeof(*more));
        if (more)
            memcpy(more, f->members, f->max * sizeof(*more));
        f->no_memory |= !more;
        f->members = more ? more : f->members;
        f->max = more ? LIMIT_BODY_FIELDS : f->max;
    }
    if (f->n > f->max)
        return;
    /* With its quotes it is a string. */
    key = json_view_text((struct str){ key.p - 1, key.n + 2 }, f->arena);
    f->no_memory |= !key.p;
    f->members[f->n - 1] = (struct body_member){ key, value };
    f->names |= body_name_bit(key.n ? key.p[0] : '\0', key.n > 1 ? key.p[1] : '\0');
}

static int found_end(struct found *f, struct body *ret, struct str object, struct fail *reterr)
{
    if (f->no_memory)
        return body_no_memory(reterr);
    if (f->n > LIMIT_BODY_FIELDS)
        return fail_set(reterr, FAIL_invalid_request,
                        "the body has more than %d fields, the most that are read",
                        LIMIT_BODY_FIELDS);
    if (f->members == f->usual) {
        f->members = arena_array(f->arena, f->n + 1, sizeof(*f->members));
        if (!f->members)
            return body_no_memory(reterr);
        memcpy(f->members, f->usual, f->n * sizeof(*f->members));
    }
    *ret = (struct body){ object, f->members, f->n, f->names };
    return 0;
}

/* With `found`, its members too. */
static int check_text(struct str text, struct found *found, struct fail *reterr)
{
    size_t at = 0;
    struct str value = str_trim(text);
    if (value.n == 0)
        return fail_set(reterr, FAIL_invalid_request, "the body is empty; send a JSON object");
    enum json_view_fault fault =
        json_view_check_members(text, LIMIT_JSON_DEPTH, &at, found ? add_member : NULL, found);
    if (fault)
        return say_fault(text, fault, at, reterr);
    if (!body_is_object(value))
        return fail_set(reterr, FAIL_invalid_request, "the body must be a JSON object, not %s",
                        body_kind(value));
    return 0;
}

int body_check(struct str text, struct fail *reterr)
{
    return check_text(text, /* found= */ NULL, reterr);
}

int body_index(struct body *ret, struct str object, struct arena *arena, struct fail *reterr)
{
    struct found f; /* not zeroed as a whole: it is large */
    struct str key, value;
    found_init(&f, arena);
    for (struct json_view_walk w = json_view_walk(object); json_view_next(&w, &key, &value);)
        add_member(&f, key, value);
    return found_end(&f, ret, object, reterr);
}

int body_read(struct body *ret, struct str text, struct arena *arena, struct fail *reterr)
{
    struct found f;
    found_init(&f, arena);
    int r = check_text(text, &f, reterr);
    return r != 0 ? r : found_end(&f, ret, str_trim(text), reterr);
}

int body_no_memory(struct fail *reterr)
{
    return fail_errno(reterr, -ENOMEM, "decoding the request");
}

/* ---- values ---- */

static struct str unless_null(struct str value)
{
    return json_view_kind(value) == JSON_VIEW_null ? STR_NULL : value;
}

struct str body_find(const struct body *b, const char *name)
{
    struct str wanted = str_of(name);
    for (size_t i = 0; i < b->n; i++)
        if (str_eq(b->members[i].key, wanted))
            return unless_null(b->members[i].value);
    return STR_NULL;
}

struct str body_part(struct str object, const char *name)
{
    return unless_null(json_view_get(object, name));
}

void body_parts(struct str object, const char *const *names, size_t n, struct str *ret)
{
    json_view_get_all(object, names, n, ret);
    for (size_t i = 0; i < n; i++)
        ret[i] = unless_null(ret[i]);
}

const char *body_kind(struct str value)
{
    switch (json_view_kind(value)) {
    case JSON_VIEW_object:
        return "an object";
    case JSON_VIEW_array:
        return "an array";
    case JSON_VIEW_string:
        return "a string";
    case JSON_VIEW_number:
        return "a number";
    case JSON_VIEW_true:
    case JSON_VIEW_false:
        return "a boolean";
    case JSON_VIEW_null:
    case JSON_VIEW_none:
        break;
    }
    return "null";
}

bool body_is_object(struct str value)
{
    return json_view_kind(value) == JSON_VIEW_object;
}

bool body_is_array(struct str value)
{
    return json_view_kind(value) == JSON_VIEW_array;
}

bool body_is_string(struct str value)
{
    return json_view_kind(value) == JSON_VIEW_string;
}

bool body_is_number(struct str value)
{
    return json_view_kind(value) == JSON_VIEW_number;
}

bool body_is_bool(struct str value)
{
    enum json_view_kind kind = json_view_kind(value);
    return kind == JSON_VIEW_true || kind == JSON_VIEW_false;
}

int body_i64(struct str value, int64_t *ret)
{
    bool minus = value.n && value.p[0] == '-';
    uint64_t v;
    int r = json_view_u64(minus ? str_sub(value, 1) : value, &v);
    if (r < 0)
        return r;
    if (v > (uint64_t)INT64_MAX + minus)
        return -ERANGE;
    *ret = minus ? (int64_t)(0 - v) : (int64_t)v;
    return 0;
}

/* ---- fields ---- */

static int wrong(const struct field *f, struct str v, const char *want, struct fail *reterr)
{
    return fail_param(reterr, FAIL_invalid_request, f->name, "'%s' must be %s, not %s", f->name,
                      want, body_kind(v));
}

static int read_number(void *into, const struct field *f, struct str v, struct fail *reterr)
{
    bool is_int = f->kind == FIELD_int;
    double d = 0;
    int64_t whole = 0;
    if (!body_is_number(v))
        return wrong(f, v, is_int ? "an integer" : "a number", reterr);
    int r = json_view_double(v, &d);
    if (r == -ENOMEM)
        return body_no_memory(reterr);
    int w = is_int ? body_i64(v, &whole) : 0;
    if (w == -EINVAL)
        return fail_param(reterr, FAIL_invalid_request, f->name, "'%s' must be an integer",
                          f->name);
    if (r < 0 || w < 0 || !(d >= f->min && d <= f->max))
        return fail_param(reterr, FAIL_invalid_request, f->name,
                          "'%s' must be between %.15g and %.15g", f->name, f->min, f->max);
    if (is_int)
        *(int64_t *)into = whole;
    else
        *(double *)into = d;
    return 0;
}

static int read_field(char *into, const struct field *f, struct str v, struct arena *arena,
                      struct fail *reterr)
{
    if (f->kind == FIELD_bool) {
        if (!body_is_bool(v))
            return wrong(f, v, "a boolean", reterr);
        *(bool *)(void *)(into + f->offset) = json_view_true(v);
        return 0;
    }
    if (f->kind == FIELD_text) {
        if (!body_is_string(v))
            return wrong(f, v, "a string", reterr);
        struct str text = json_view_text(v, arena);
        *(struct str *)(void *)(into + f->offset) = text;
        return text.p ? 0 : body_no_memory(reterr);
    }
    return read_number(into + f->offset, f, v, reterr);
}

int body_fields(void *into, const struct field *table, const struct body *b, struct arena *arena,
                struct fail *reterr)
{
    for (const struct field *f = table; f->name; f++) {
        struct str v = body_get(b, f->name);
        if (!v.p)
            continue;
        int r = read_field(into, f, v, arena, reterr);
        if (r != 0)
            return r;
        if (f->has_offset >= 0)
            *(bool *)((char *)into + f->has_offset) = true;
    }
    return 0;
}

int body_only(const struct field *table, const char *also, const struct body *b,
              struct fail *reterr)
{
    for (size_t i = 0; i < b->n; i++) {
        struct str key = b->members[i].key;
        const struct field *f = table;
        while (f->name && !str_is(key, f->name))
            f++;
        if (f->name || (also && str_is(key, also)))
            continue;
        char name[64];
        (void)snprintf(name, sizeof(name), STR_FMT, STR_ARG(str_head(key, 40)));
        return fail_param(reterr, FAIL_invalid_request, name, "there is no field '%s' here", name);
    }
    return 0;
}

/* ---- refusals ---- */

static bool is_harmless(enum unless unless, struct str v)
{
    double d;
    switch (unless) {
    case UNLESS_null:
        return false;
    case UNLESS_empty:
        return json_view_is(v, "") ||
               ((body_is_object(v) || body_is_array(v)) && json_view_count(v) == 0);
    case UNLESS_false:
        return json_view_kind(v) == JSON_VIEW_false;
    case UNLESS_true:
        return json_view_true(v);
    case UNLESS_zero:
        return json_view_double(v, &d) == 0 && d <= 0;
    case UNLESS_choice:
        return json_view_is(v, "none") || json_view_is(v, "auto");
    }
    return false;
}

const char *body_unserved(const struct refused *table, const struct body *b)
{
    for (const struct refused *f = table; f->name; f++) {
        struct str v = body_get(b, f->name);
        if (v.p && !is_harmless(f->unless, v))
            return f->name;
    }
    return NULL;
}

int body_refuse(const struct refused *table, const struct body *b, struct fail *reterr)
{
    const char *name = body_unserved(table, b);
    return name ? fail_param(reterr, FAIL_unsupported_parameter, name,
                             "'%s' is not served with this value; leave it out", name)
                : 0;
}
