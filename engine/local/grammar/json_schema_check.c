#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/local/grammar/json_schema_impl.h"
#include "engine/local/grammar/regex.h"

/*
 * A plain validator for values that the schema itself holds (enum, const, names): they are kept
 * where every schema that applies accepts them.
 */
struct check {
    struct json_schema *s;
    const json_t *schema; /* object */
    const json_t *v;
};

typedef int check_fn(const struct check *c, const json_t *arg, bool *ret);

struct known_pattern {
    const char *text;
    struct lang_dfa d;
    struct known_pattern *next;
};

static int sub(const struct check *c, const json_t *schema, const json_t *v, bool *ret)
{
    return schema_validates(c->s, schema, v, ret);
}

/* --- equality --- */

static bool same_number(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    return json_number_value(a) == json_number_value(b);
}

bool schema_same(const json_t *a, const json_t *b)
{
    size_t i;
    const char *key;
    json_t *v;
    if (json_is_number(a) && json_is_number(b))
        return same_number(a, b);
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        json_array_foreach(a, i, v) if (!schema_same(v, json_array_get(b, i))) return false;
        return true;
    }
    if (json_is_object(a)) {
        if (json_object_size(a) != json_object_size(b))
            return false;
        json_object_foreach((json_t *)a, key, v)
        {
            const json_t *other = json_object_get(b, key);
            if (!other || !schema_same(v, other))
                return false;
        }
        return true;
    }
    return json_equal(a, b);
}

static bool in_list(const json_t *list, const json_t *v)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) if (schema_same(one, v)) return true;
    return false;
}

/* --- patterns --- */

void schema_patterns_done(struct json_schema *s)
{
    for (struct known_pattern *p = s->patterns; p; p = p->next)
        lang_dfa_done(&p->d);
}

int schema_pattern_matches(struct json_schema *s, const json_t *schema, const char *pattern,
                           struct str text, bool *ret)
{
    struct known_pattern *p = s->patterns;
    while (p && p->text != pattern && strcmp(p->text, pattern) != 0)
        p = p->next;
    if (!p) {
        struct fail why = { 0 };
        CLEANUP(lang_freep) struct lang *l = lang_new();
        p = arena_alloc(s->mem, sizeof(*p));
        if (!l || !p)
            return -ENOMEM;
        int r = regex_add(l, str_of(pattern), REGEX_SOMEWHERE, &why);
        if (r == FAILED)
            return schema_refuse(s, schema, "pattern", "cannot be honoured: %s", why.message);
        if (r == 0)
            r = schema_determinise(s, schema, "pattern", l, &p->d);
        if (r != 0)
            return r;
        p->text = pattern;
        p->next = s->patterns;
        s->patterns = p;
    }
    *ret = lang_dfa_match(&p->d, text);
    return 0;
}

static int check_pattern(const struct check *c, const json_t *arg, bool *ret)
{
    if (!json_is_string(c->v) || !json_is_string(arg))
        return 0;
    return schema_pattern_matches(c->s, c->schema, json_string_value(arg), schema_str(c->v), ret);
}

static int check_not_pattern(const struct check *c, const json_t *arg, bool *ret)
{
    if (!json_is_string(c->v) || !json_is_string(arg))
        return 0;
    int r = schema_pattern_matches(c->s, c->schema, json_string_value(arg), schema_str(c->v), ret);
    *ret = !*ret;
    return r;
}

static int check_format(const struct check *c, const json_t *arg, bool *ret)
{
    const char *pattern = json_is_string(arg) ? schema_format(schema_str(arg)) : NULL;
    if (!json_is_string(c->v) || !pattern)
        return 0;
    return schema_pattern_matches(c->s, c->schema, pattern, schema_str(c->v), ret);
}

/* --- types, numbers, sizes --- */

static bool has_type(const json_t *v, const char *name)
{
    double d = json_number_value(v);
    if (strcmp(name, "integer") == 0)
        return json_is_integer(v) || (json_is_real(v) && d == floor(d));
    if (strcmp(name, "number") == 0)
        return json_is_number(v);
    return (strcmp(name, "null") == 0 && json_is_null(v)) ||
           (strcmp(name, "boolean") == 0 && json_is_boolean(v)) ||
           (strcmp(name, "string") == 0 && json_is_string(v)) ||
           (strcmp(name, "array") == 0 && json_is_array(v)) ||
           (strcmp(name, "object") == 0 && json_is_object(v));
}

static int check_type(const struct check *c, const json_t *arg, bool *ret)
{
    size_t i;
    json_t *one;
    *ret = json_is_string(arg) && has_type(c->v, json_string_value(arg));
    json_array_foreach(arg, i, one) *ret |=
        json_is_string(one) && has_type(c->v, json_string_value(one));
    return 0;
}

static int check_enum(const struct check *c, const json_t *arg, bool *ret)
{
    *ret = in_list(arg, c->v);
    return 0;
}

static int check_not_enum(const struct check *c, const json_t *arg, bool *ret)
{
    *ret = !in_list(arg, c->v);
    return 0;
}

static int check_const(const struct check *c, const json_t *arg, bool *ret)
{
    *ret = schema_same(arg, c->v);
    return 0;
}

/* -1, 0 or 1 as the value lies to the bound. */
static int compare(const struct check *c, const json_t *bound, const char *keyword, int *ret)
{
    struct decimal a;
    struct decimal b;
    int r = schema_decimal(c->s, c->schema, keyword, c->v, &a);
    if (r == 0)
        r = schema_decimal(c->s, c->schema, keyword, bound, &b);
    if (r == 0)
        *ret = decimal_cmp(&a, &b);
    return r;
}

static int check_minimum(const struct check *c, const json_t *arg, bool *ret)
{
    int cmp = 1;
    int r = json_is_number(c->v) ? compare(c, arg, "minimum", &cmp) : 0;
    *ret = cmp > 0 || (cmp == 0 && !json_is_true(json_object_get(c->schema, "exclusiveMinimum")));
    return r;
}

static int check_maximum(const struct check *c, const json_t *arg, bool *ret)
{
    int cmp = -1;
    int r = json_is_number(c->v) ? compare(c, arg, "maximum", &cmp) : 0;
    *ret = cmp < 0 || (cmp == 0 && !json_is_true(json_object_get(c->schema, "exclusiveMaximum")));
    return r;
}

static int check_above(const struct check *c, const json_t *arg, bool *ret)
{
    int cmp = 1;
    int r = json_is_number(c->v) && !json_is_boolean(arg)
                ? compare(c, arg, "exclusiveMinimum", &cmp)
                : 0;
    *ret = cmp > 0;
    return r;
}

static int check_below(const struct check *c, const json_t *arg, bool *ret)
{
    int cmp = -1;
    int r = json_is_number(c->v) && !json_is_boolean(arg)
                ? compare(c, arg, "exclusiveMaximum", &cmp)
                : 0;
    *ret = cmp < 0;
    return r;
}

static int check_multiple(const struct check *c, const json_t *arg, bool *ret)
{
    struct json_range range = { 0 };
    struct decimal step;
    char text[SCHEMA_NUMBER_BYTES];
    if (!json_is_number(c->v))
        return 0;
    int r = schema_decimal(c->s, c->schema, "multipleOf", arg, &step);
    if (r != 0)
        return r;
    if (json_number_value(arg) <= 0 || !json_range_step(&range, &step))
        return schema_refuse(c->s, c->schema, "multipleOf", "cannot be honoured");
    CLEANUP(lang_freep) struct lang *l = lang_new();
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    if (!l)
        return -ENOMEM;
    json_range_add(l, &range);
    r = schema_determinise(c->s, c->schema, "multipleOf", l, &d);
    schema_number_text(c->v, text);
    *ret = lang_dfa_match(&d, str_of(text));
    return r;
}

static size_t characters(const json_t *string)
{
    size_t n = 0;
    size_t pos = 0;
    while (str_utf8_next(schema_str(string), &pos) >= 0)
        n++;
    return n;
}

/* How many parts the value has, where the keyword speaks of its type. */
static bool size_of(const json_t *v, const char *keyword, size_t *ret)
{
    if (strstr(keyword, "Length") && json_is_string(v))
        *ret = characters(v);
    else if (strstr(keyword, "Items") && json_is_array(v))
        *ret = json_array_size(v);
    else if (strstr(keyword, "Properties") && json_is_object(v))
        *ret = json_object_size(v);
    else
        return false;
    return true;
}

static int check_size(const struct check *c, const char *keyword, bool *ret)
{
    size_t size = 0;
    size_t bound = 0;
    int r = schema_count(c->s, c->schema, keyword, &bound);
    if (r != 0 || !size_of(c->v, keyword, &size))
        return r;
    *ret = strncmp(keyword, "min", 3) == 0 ? size >= bound : size <= bound;
    return 0;
}

/* --- arrays and objects --- */

static int check_items(const struct check *c, const json_t *arg, bool *ret)
{
    const json_t *prefix = json_object_get(c->schema, "prefixItems");
    const json_t *rest = arg;
    if (!json_is_array(c->v))
        return 0;
    if (json_is_array(arg)) {
        prefix = arg;
        rest = json_object_get(c->schema, "additionalItems");
    }
    for (size_t i = 0; i < json_array_size(c->v) && *ret; i++) {
        const json_t *schema = i < json_array_size(prefix) ? json_array_get(prefix, i) : rest;
        int r = schema ? sub(c, schema, json_array_get(c->v, i), ret) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

static int check_prefix(const struct check *c, const json_t *arg, bool *ret)
{
    for (size_t i = 0; json_is_array(c->v) && i < json_array_size(arg) && *ret; i++) {
        const json_t *item = json_array_get(c->v, i);
        int r = item ? sub(c, json_array_get(arg, i), item, ret) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

static int check_contains(const struct check *c, const json_t *arg, bool *ret)
{
    size_t found = 0;
    size_t min = 1;
    size_t max = SIZE_MAX;
    if (!json_is_array(c->v))
        return 0;
    int r = schema_count(c->s, c->schema, "minContains", &min);
    if (r == 0)
        r = schema_count(c->s, c->schema, "maxContains", &max);
    for (size_t i = 0; r == 0 && i < json_array_size(c->v); i++) {
        bool one = false;
        r = sub(c, arg, json_array_get(c->v, i), &one);
        found += one;
    }
    *ret = found >= min && found <= max;
    return r;
}

static int check_unique(const struct check *c, const json_t *arg, bool *ret)
{
    enum { COMPARED = 1024 };
    size_t n = json_array_size(c->v);
    if (!json_is_array(c->v) || !json_is_true(arg))
        return 0;
    if (n > COMPARED)
        return schema_refuse(c->s, c->schema, "uniqueItems", "stands beside too long an array");
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (schema_same(json_array_get(c->v, i), json_array_get(c->v, k)))
                *ret = false;
    return 0;
}

static int check_required(const struct check *c, const json_t *arg, bool *ret)
{
    size_t i;
    json_t *name;
    if (json_is_object(c->v))
        json_array_foreach(arg, i, name) *ret =
            *ret && json_is_string(name) && json_object_get(c->v, json_string_value(name));
    return 0;
}

/* One member against properties, patternProperties and additionalProperties. */
static int check_member(const struct check *c, const char *key, const json_t *v, bool *ret)
{
    const json_t *own = json_object_get(json_object_get(c->schema, "properties"), key);
    const json_t *more = json_object_get(c->schema, "additionalProperties");
    bool named = own != NULL;
    const char *pattern;
    json_t *schema;
    int r = own ? sub(c, own, v, ret) : 0;
    json_object_foreach(json_object_get(c->schema, "patternProperties"), pattern, schema)
    {
        bool match = false;
        if (r == 0 && *ret)
            r = schema_pattern_matches(c->s, c->schema, pattern, str_of(key), &match);
        if (r == 0 && match)
            r = sub(c, schema, v, ret);
        named |= match;
    }
    if (r == 0 && *ret && !named && more)
        r = sub(c, more, v, ret);
    return r;
}

static int check_members(const struct check *c, const json_t *arg, bool *ret)
{
    const char *key;
    json_t *v;
    (void)arg;
    if (!json_is_object(c->v))
        return 0;
    json_object_foreach((json_t *)c->v, key, v)
    {
        int r = *ret ? check_member(c, key, v, ret) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

static int check_names(const struct check *c, const json_t *arg, bool *ret)
{
    const char *key;
    json_t *v;
    if (!json_is_object(c->v))
        return 0;
    json_object_foreach((json_t *)c->v, key, v)
    {
        json_auto_t *name = json_string(key);
        if (!name)
            return -ENOMEM;
        int r = *ret ? sub(c, arg, name, ret) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

static int check_dependencies(const struct check *c, const json_t *arg, bool *ret)
{
    const char *key;
    json_t *needs;
    json_object_foreach((json_t *)arg, key, needs)
    {
        if (!json_object_get(c->v, key) || !*ret)
            continue;
        int r = json_is_array(needs) ? check_required(c, needs, ret) : sub(c, needs, c->v, ret);
        if (r != 0)
            return r;
    }
    return 0;
}

/* --- combinations --- */

static int count_valid(const struct check *c, const json_t *list, size_t *ret)
{
    size_t i;
    json_t *one;
    *ret = 0;
    json_array_foreach(list, i, one)
    {
        bool ok = false;
        int r = sub(c, one, c->v, &ok);
        if (r != 0)
            return r;
        *ret += ok;
    }
    return 0;
}

static int check_any(const struct check *c, const json_t *arg, bool *ret)
{
    size_t n = 0;
    int r = count_valid(c, arg, &n);
    *ret = n > 0;
    return r;
}

static int check_one(const struct check *c, const json_t *arg, bool *ret)
{
    size_t n = 0;
    int r = count_valid(c, arg, &n);
    *ret = n == 1;
    return r;
}

static int check_all(const struct check *c, const json_t *arg, bool *ret)
{
    size_t n = 0;
    int r = count_valid(c, arg, &n);
    *ret = n == json_array_size(arg);
    return r;
}

static int check_not(const struct check *c, const json_t *arg, bool *ret)
{
    int r = sub(c, arg, c->v, ret);
    *ret = !*ret;
    return r;
}

static int check_if(const struct check *c, const json_t *arg, bool *ret)
{
    bool met = false;
    int r = sub(c, arg, c->v, &met);
    const json_t *then = json_object_get(c->schema, met ? "then" : "else");
    return r == 0 && then ? sub(c, then, c->v, ret) : r;
}

static int check_reference(const struct check *c, const json_t *arg, bool *ret)
{
    const json_t *target = NULL;
    (void)arg;
    int r = schema_follow(c->s, c->schema, "$ref", &target);
    return r != 0 ? r : sub(c, target, c->v, ret);
}

static const struct {
    const char *key;
    check_fn *fn; /* NULL: a size */
} checks[] = {
    { "type", check_type },
    { "enum", check_enum },
    { "const", check_const },
    { NOT_ENUM, check_not_enum },
    { "pattern", check_pattern },
    { NOT_PATTERN, check_not_pattern },
    { "format", check_format },
    { "minLength", NULL },
    { "maxLength", NULL },
    { "minItems", NULL },
    { "maxItems", NULL },
    { "minProperties", NULL },
    { "maxProperties", NULL },
    { "minimum", check_minimum },
    { "maximum", check_maximum },
    { "exclusiveMinimum", check_above },
    { "exclusiveMaximum", check_below },
    { "multipleOf", check_multiple },
    { "items", check_items },
    { "prefixItems", check_prefix },
    { "contains", check_contains },
    { "uniqueItems", check_unique },
    { "required", check_required },
    { "properties", check_members },
    { "patternProperties", check_members },
    { "additionalProperties", check_members },
    { "propertyNames", check_names },
    { "dependentRequired", check_dependencies },
    { "dependentSchemas", check_dependencies },
    { "dependencies", check_dependencies },
    { "anyOf", check_any },
    { "oneOf", check_one },
    { "allOf", check_all },
    { "not", check_not },
    { "if", check_if },
    { "$ref", check_reference },
};

int schema_validates(struct json_schema *s, const json_t *schema, const json_t *v, bool *ret)
{
    const struct check c = { s, schema, v };
    *ret = !json_is_false(schema);
    if (!json_is_object(schema))
        return 0;
    if (s->depth >= SCHEMA_MAX_DEPTH || ++s->checks > SCHEMA_MAX_CHECKS)
        return schema_refuse(s, schema, "enum", "takes too long to be compared with the schema");
    int r = schema_check_keywords(s, schema);
    s->depth++;
    for (size_t i = 0; i < ARRAY_LEN(checks) && r == 0 && *ret; i++) {
        const json_t *arg = json_object_get(schema, checks[i].key);
        if (arg)
            r = checks[i].fn ? checks[i].fn(&c, arg, ret) : check_size(&c, checks[i].key, ret);
    }
    s->depth--;
    return r;
}
