#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "engine/local/grammar/json_schema_impl.h"
#include "engine/local/grammar/regex.h"

int schema_determinise(struct json_schema *s, const json_t *schema, const char *keyword,
                       struct lang *l, struct lang_dfa *ret)
{
    int r = s->work < SCHEMA_MAX_WORK ? lang_determinise(l, ret) : -E2BIG;
    s->work += lang_work(l);
    if (r == -E2BIG)
        return schema_refuse(s, schema, keyword, "needs too many states; simplify it");
    return r;
}

/* --- shapes that occur more than once are written once --- */

static int shape_key(const struct branch *b, const char *const *keys, size_t n, struct buf *ret)
{
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < n; k++) {
            const json_t *v = json_object_get(b->v[i], keys[k]);
            if (!v)
                continue;
            CLEANUP(own_free) char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
            if (!text)
                return -ENOMEM;
            buf_addf(ret, "%s=", keys[k]);
            buf_adds(ret, text);
            buf_addc(ret, '\n');
        }
    return buf_err(ret);
}

static bool shape_known(const struct json_schema *s, const struct buf *key, grammar_expr *ret)
{
    const json_t *id = json_object_get(s->shapes, key->p);
    if (id)
        ret->id = (uint32_t)json_integer_value(id);
    return id != NULL;
}

static int shape_remember(struct json_schema *s, const struct buf *key, grammar_expr e)
{
    return json_object_set_new(s->shapes, key->p, json_integer(e.id)) < 0 ? -ENOMEM : 0;
}

/* --- numbers --- */

static int add_bound(struct json_schema *s, const json_t *leaf, const char *keyword,
                     struct json_range *r)
{
    const json_t *v = json_object_get(leaf, keyword);
    const json_t *also = NULL;
    bool lower = strstr(keyword, "inimum") != NULL;
    bool exclusive = strncmp(keyword, "exclusive", strlen("exclusive")) == 0;
    struct decimal d;
    if (!v || (exclusive && json_is_boolean(v)))
        return 0;
    /* The oldest drafts: a flag beside the bound. */
    if (!exclusive) {
        also = json_object_get(leaf, lower ? "exclusiveMinimum" : "exclusiveMaximum");
        exclusive = json_is_true(also);
    }
    double huge = json_number_value(v);
    if (json_is_number(v) && (huge > 1e30 || huge < -1e30) && (huge > 0) != lower)
        return 0; /* numbers within bounds are written without exponents and never get there */
    int e = schema_decimal(s, leaf, keyword, v, &d);
    if (e != 0)
        return e;
    if (lower)
        json_range_min(r, &d, exclusive);
    else
        json_range_max(r, &d, exclusive);
    return 0;
}

static bool is_bounded(const struct branch *b)
{
    static const char *const keys[] = { "minimum",          "maximum",    "exclusiveMinimum",
                                        "exclusiveMaximum", "multipleOf", NOT_ENUM };
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            if (json_object_get(b->v[i], keys[k]))
                return true;
    return false;
}

int schema_range(struct json_schema *s, const struct branch *b, struct json_range *ret)
{
    static const char *const bounds[] = { "minimum", "maximum", "exclusiveMinimum",
                                          "exclusiveMaximum" };
    for (size_t i = 0; i < b->n; i++) {
        const json_t *step = json_object_get(b->v[i], "multipleOf");
        struct decimal d;
        for (size_t k = 0; k < ARRAY_LEN(bounds); k++) {
            int e = add_bound(s, b->v[i], bounds[k], ret);
            if (e != 0)
                return e;
        }
        if (!step)
            continue;
        int e = schema_decimal(s, b->v[i], "multipleOf", step, &d);
        if (e != 0)
            return e;
        if (json_number_value(step) <= 0)
            return schema_refuse(s, b->v[i], "multipleOf", "must be above 0");
        if (!json_range_step(ret, &d))
            return schema_refuse(s, b->v[i], "multipleOf",
                                 "can be honoured up to %d digits that are not zeros at the end",
                                 JSON_RANGE_STEP_MAX);
    }
    return 0;
}

/* Excludes a number however its fraction is written. */
static int exclude_number(struct lang *l, const json_t *v)
{
    char text[SCHEMA_NUMBER_BYTES];
    struct decimal d;
    CLEANUP(buf_done) struct buf p = BUF_INIT(KIB);
    schema_number_text(v, text);
    if (!decimal_parse(&d, str_of(text)))
        return 0; /* longer than any number that is written */
    buf_adds(&p, d.negative ? "^-" : "^");
    buf_add(&p, d.n_whole ? (struct str){ d.whole, d.n_whole } : STR("0"));
    if (d.n_fraction) {
        buf_adds(&p, "\\.");
        buf_add(&p, (struct str){ d.fraction, d.n_fraction });
        buf_adds(&p, "0*$");
    } else {
        buf_adds(&p, "(?:\\.0+)?$");
    }
    struct fail why;
    return buf_err(&p) < 0 ? -ENOMEM : regex_add(l, buf_str(&p), REGEX_NOWHERE, &why);
}

static int exclude_numbers(struct json_schema *s, const struct branch *b, struct lang *l)
{
    for (size_t i = 0; i < b->n; i++) {
        size_t k;
        json_t *v;
        json_array_foreach(json_object_get(b->v[i], NOT_ENUM), k, v)
        {
            int r = json_is_number(v) ? exclude_number(l, v) : 0;
            if (r == FAILED)
                return schema_refuse(s, b->v[i], "not", "holds a number that cannot be excluded");
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int bounded_number(struct json_schema *s, const struct branch *b, bool integer,
                          grammar_expr *ret)
{
    struct json_range range = { .integer = integer };
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    CLEANUP(lang_freep) struct lang *l = lang_new();
    if (!l)
        return -ENOMEM;
    int r = schema_range(s, b, &range);
    if (r != 0)
        return r;
    /* A whole number is a multiple of one. */
    struct decimal one = { .n_whole = 1, .whole = "1" };
    if (integer && range.step && !json_range_step(&range, &one))
        return schema_refuse(s, b->v[0], "multipleOf", "cannot be honoured for integers");
    json_range_add(l, &range);
    r = exclude_numbers(s, b, l);
    if (r == 0)
        r = schema_determinise(s, b->v[0], range.step ? "multipleOf" : "minimum", l, &d);
    return r != 0 ? r : json_dfa_expr(s->b, &d, /* quoted= */ false, ret);
}

int schema_number(struct json_schema *s, const struct branch *b, bool integer, grammar_expr *ret)
{
    static const char *const keys[] = { "minimum",          "maximum",    "exclusiveMinimum",
                                        "exclusiveMaximum", "multipleOf", NOT_ENUM };
    CLEANUP(buf_done) struct buf key = BUF_INIT((size_t)2 * SCHEMA_MAX_BYTES);
    if (!is_bounded(b)) {
        *ret = json_number_expr(s->b, integer);
        return 0;
    }
    buf_adds(&key, integer ? "integer\n" : "number\n");
    int r = shape_key(b, keys, ARRAY_LEN(keys), &key);
    if (r < 0 || shape_known(s, &key, ret))
        return r;
    r = bounded_number(s, b, integer, ret);
    return r != 0 ? r : shape_remember(s, &key, *ret);
}

/* --- strings --- */

static int add_pattern(struct json_schema *s, const json_t *leaf, const char *keyword,
                       struct lang *l)
{
    const json_t *v = json_object_get(leaf, keyword);
    bool negated = strcmp(keyword, NOT_PATTERN) == 0;
    struct fail why = { 0 };
    if (!v)
        return 0;
    if (!json_is_string(v))
        return schema_refuse(s, leaf, "pattern", "must be a string");
    int r = regex_add(l, schema_str(v), negated ? REGEX_NOWHERE : REGEX_SOMEWHERE, &why);
    if (r == FAILED)
        return schema_refuse(s, leaf, "pattern", "cannot be honoured: %s", why.message);
    return r;
}

static int add_format(struct json_schema *s, const json_t *leaf, struct lang *l)
{
    const json_t *v = json_object_get(leaf, "format");
    struct fail why = { 0 };
    if (!json_is_string(v))
        return v ? schema_refuse(s, leaf, "format", "must be a string") : 0;
    const char *pattern = schema_format(schema_str(v));
    if (pattern)
        return regex_add(l, str_of(pattern), REGEX_SOMEWHERE, &why);
    if (s->o->strict)
        return schema_refuse(s, leaf, "format",
                             "'%.40s' is not known; strict schemas name known ones",
                             json_string_value(v));
    return 0;
}

static int add_excluded(const json_t *leaf, struct lang *l)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(leaf, NOT_ENUM), i, v)
    {
        struct str word = schema_str(v);
        if (json_is_string(v))
            lang_add_words(l, &word, 1, /* negated= */ true);
    }
    return 0;
}

static int add_lengths(struct json_schema *s, const struct branch *b, size_t *ret_min,
                       size_t *ret_max)
{
    *ret_min = 0;
    *ret_max = GRAMMAR_MANY;
    for (size_t i = 0; i < b->n; i++) {
        size_t min = 0;
        size_t max = GRAMMAR_MANY;
        int r = schema_count(s, b->v[i], "minLength", &min);
        if (r == 0)
            r = schema_count(s, b->v[i], "maxLength", &max);
        if (r != 0)
            return r;
        *ret_min = min > *ret_min ? min : *ret_min;
        *ret_max = max < *ret_max ? max : *ret_max;
    }
    return 0;
}

/* Patterns, formats and excluded strings; *ret_any when there are any. */
static int add_shapes(struct json_schema *s, const struct branch *b, struct lang *l)
{
    for (size_t i = 0; i < b->n; i++) {
        int r = add_pattern(s, b->v[i], "pattern", l);
        if (r == 0)
            r = add_pattern(s, b->v[i], NOT_PATTERN, l);
        if (r == 0)
            r = add_format(s, b->v[i], l);
        if (r == 0)
            r = add_excluded(b->v[i], l);
        if (r != 0)
            return r;
    }
    return 0;
}

int schema_string_operands(struct json_schema *s, const struct branch *b, struct lang *l)
{
    size_t min = 0;
    size_t max = 0;
    int r = add_lengths(s, b, &min, &max);
    if (r == 0)
        r = add_shapes(s, b, l);
    if (r == 0 && (min > 0 || max < GRAMMAR_MANY))
        lang_add_length(l, min, max < GRAMMAR_MANY ? max : SIZE_MAX);
    return r;
}

static bool has_pattern(const struct branch *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (json_object_get(b->v[i], "pattern"))
            return true;
    return false;
}

static bool has_shape(const struct json_schema *s, const struct branch *b)
{
    (void)s;
    for (size_t i = 0; i < b->n; i++) {
        const json_t *format = json_object_get(b->v[i], "format");
        if (json_object_get(b->v[i], "pattern") || json_object_get(b->v[i], NOT_PATTERN) ||
            json_object_get(b->v[i], NOT_ENUM) ||
            (format &&
             (!json_is_string(format) || schema_format(schema_str(format)) || s->o->strict)))
            return true;
    }
    return false;
}

static int shaped_string(struct json_schema *s, const struct branch *b, grammar_expr *ret)
{
    CLEANUP(lang_freep) struct lang *l = lang_new();
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    if (!l)
        return -ENOMEM;
    int r = schema_string_operands(s, b, l);
    if (r == 0)
        r = schema_determinise(s, b->v[0], has_pattern(b) ? "pattern" : "format", l, &d);
    return r != 0 ? r : json_dfa_expr(s->b, &d, /* quoted= */ true, ret);
}

int schema_string(struct json_schema *s, const struct branch *b, grammar_expr *ret)
{
    size_t min = 0;
    size_t max = 0;
    int r = add_lengths(s, b, &min, &max);
    if (r != 0)
        return r;
    if (min > max) {
        *ret = grammar_never(s->b);
        return 0;
    }
    if (!has_shape(s, b)) {
        *ret = json_string_expr(s->b, (uint32_t)min, (uint32_t)max);
        return 0;
    }
    static const char *const keys[] = { "pattern", "format",    NOT_PATTERN,
                                        NOT_ENUM,  "minLength", "maxLength" };
    CLEANUP(buf_done) struct buf key = BUF_INIT((size_t)2 * SCHEMA_MAX_BYTES);
    buf_adds(&key, "string\n");
    r = shape_key(b, keys, ARRAY_LEN(keys), &key);
    if (r < 0 || shape_known(s, &key, ret))
        return r;
    r = shaped_string(s, b, ret);
    return r != 0 ? r : shape_remember(s, &key, *ret);
}

/* --- literals --- */

static grammar_expr literal_array(struct json_schema *s, const json_t *v)
{
    size_t n = json_array_size(v);
    if (n == 0)
        return grammar_bytes(s->b, STR("[]"));
    grammar_expr all = s->t.open_array;
    for (size_t i = 0; i < n; i++) {
        grammar_expr parts[] = { all, schema_literal(s, json_array_get(v, i)),
                                 i + 1 < n ? s->t.comma : s->t.close_array };
        all = grammar_seq(s->b, parts, ARRAY_LEN(parts));
    }
    return all;
}

static grammar_expr literal_object(struct json_schema *s, const json_t *v)
{
    size_t left = json_object_size(v);
    if (left == 0)
        return grammar_bytes(s->b, STR("{}"));
    grammar_expr all = s->t.open_object;
    const char *key;
    json_t *child;
    json_object_foreach((json_t *)v, key, child)
    {
        grammar_expr parts[] = { all, json_quoted_expr(s->b, str_of(key)), s->t.colon,
                                 schema_literal(s, child),
                                 --left ? s->t.comma : s->t.close_object };
        all = grammar_seq(s->b, parts, ARRAY_LEN(parts));
    }
    return all;
}

grammar_expr schema_literal(struct json_schema *s, const json_t *v)
{
    char text[SCHEMA_NUMBER_BYTES];
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return literal_object(s, v);
    case JSON_ARRAY:
        return literal_array(s, v);
    case JSON_STRING:
        return json_quoted_expr(s->b, schema_str(v));
    case JSON_TRUE:
        return grammar_bytes(s->b, STR("true"));
    case JSON_FALSE:
        return grammar_bytes(s->b, STR("false"));
    case JSON_NULL:
        return grammar_bytes(s->b, STR("null"));
    default:
        schema_number_text(v, text);
        return grammar_bytes(s->b, str_of(text));
    }
}
