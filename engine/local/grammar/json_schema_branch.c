#include <errno.h>
#include <stdlib.h>

#include "engine/local/grammar/json_schema_impl.h"

/* --- types --- */

static unsigned type_named(const json_t *name, bool *ret_integer)
{
    static const struct {
        const char *name;
        unsigned type;
    } rows[] = {
        { "null", TYPE_NULL },      { "boolean", TYPE_BOOLEAN }, { "number", TYPE_NUMBER },
        { "integer", TYPE_NUMBER }, { "string", TYPE_STRING },   { "array", TYPE_ARRAY },
        { "object", TYPE_OBJECT },
    };
    const char *text = json_string_value(name);
    for (size_t i = 0; text && i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, text) == 0) {
            *ret_integer = strcmp(text, "integer") == 0;
            return rows[i].type;
        }
    return 0;
}

int branch_types(struct json_schema *s, const struct branch *b, unsigned *ret, bool *ret_integer)
{
    unsigned types = TYPE_ALL;
    bool whole = false;
    for (size_t i = 0; i < b->n; i++) {
        const json_t *type = json_object_get(b->v[i], "type");
        unsigned mine = 0;
        bool integer = false;
        bool number = false;
        if (!type)
            continue;
        for (size_t k = 0; k < (json_is_array(type) ? json_array_size(type) : 1); k++) {
            bool one = false;
            const json_t *name = json_is_array(type) ? json_array_get(type, k) : type;
            unsigned t = type_named(name, &one);
            if (t == 0)
                return schema_refuse(s, b->v[i], "type", "names no JSON type");
            mine |= t;
            integer |= one;
            number |= t == TYPE_NUMBER && !one;
        }
        types &= mine;
        whole |= integer && !number;
    }
    *ret = types;
    *ret_integer = whole;
    return 0;
}

unsigned branch_meant_types(const struct branch *b)
{
    static const struct {
        const char *key;
        unsigned type;
    } rows[] = {
        { "properties", TYPE_OBJECT },
        { "required", TYPE_OBJECT },
        { "additionalProperties", TYPE_OBJECT },
        { "patternProperties", TYPE_OBJECT },
        { "propertyNames", TYPE_OBJECT },
        { "minProperties", TYPE_OBJECT },
        { "maxProperties", TYPE_OBJECT },
        { "dependentRequired", TYPE_OBJECT },
        { "items", TYPE_ARRAY },
        { "prefixItems", TYPE_ARRAY },
        { "minItems", TYPE_ARRAY },
        { "maxItems", TYPE_ARRAY },
        { "contains", TYPE_ARRAY },
        { "uniqueItems", TYPE_ARRAY },
        { "pattern", TYPE_STRING },
        { "minLength", TYPE_STRING },
        { "maxLength", TYPE_STRING },
        { "format", TYPE_STRING },
        { "minimum", TYPE_NUMBER },
        { "maximum", TYPE_NUMBER },
        { "exclusiveMinimum", TYPE_NUMBER },
        { "exclusiveMaximum", TYPE_NUMBER },
        { "multipleOf", TYPE_NUMBER },
    };
    unsigned types = 0;
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(rows); k++)
            if (json_object_get(b->v[i], rows[k].key))
                types |= rows[k].type;
    return types ? types : TYPE_ALL;
}

/* --- finite values --- */

/* The values of one leaf's const or enum, borrowed; NULL: it has none. *ret_const: a single one. */
static const json_t *leaf_values(const json_t *leaf, bool *ret_const)
{
    const json_t *one = json_object_get(leaf, "const");
    *ret_const = one != NULL;
    return one ? one : json_object_get(leaf, "enum");
}

/* Values of null and boolean types, where the branch says no more. New array, or NULL. */
static json_t *small_type_values(unsigned types)
{
    if (types & ~(unsigned)(TYPE_NULL | TYPE_BOOLEAN))
        return NULL;
    json_t *v = json_array();
    if (types & TYPE_NULL)
        (void)json_array_append_new(v, json_null());
    if (types & TYPE_BOOLEAN) {
        (void)json_array_append_new(v, json_true());
        (void)json_array_append_new(v, json_false());
    }
    return v;
}

static int keep_valid(struct json_schema *s, const struct branch *b, const json_t *v, json_t *list)
{
    size_t i;
    json_t *known;
    for (size_t k = 0; k < b->n; k++) {
        bool valid = false;
        int r = schema_validates(s, b->v[k], v, &valid);
        if (r != 0 || !valid)
            return r;
    }
    json_array_foreach(list, i,
                       known) if (json_array_size(list) < 256 && schema_same(known, v)) return 0;
    return json_array_append(list, (json_t *)v) < 0 ? -ENOMEM : 0;
}

int branch_values(struct json_schema *s, const struct branch *b, json_t **ret)
{
    const json_t *from = NULL;
    const json_t *leaf = NULL;
    bool single = false;
    *ret = NULL;
    for (size_t i = 0; i < b->n && !from; i++) {
        from = leaf_values(b->v[i], &single);
        leaf = b->v[i];
    }
    json_auto_t *own = NULL;
    if (!from) {
        unsigned types = TYPE_ALL;
        bool integer = false;
        int r = branch_types(s, b, &types, &integer);
        if (r != 0)
            return r;
        own = small_type_values(types);
        from = own;
        single = false;
        if (!from)
            return 0;
    } else if (!single && !json_is_array(from)) {
        return schema_refuse(s, leaf, "enum", "must be an array");
    } else if (!single && json_array_size(from) > SCHEMA_MAX_VALUES) {
        return schema_refuse(s, leaf, "enum", "has more than %d values", SCHEMA_MAX_VALUES);
    }
    json_t *list = schema_keep(s, json_array());
    if (!list)
        return -ENOMEM;
    int r = single ? keep_valid(s, b, from, list) : 0;
    for (size_t i = 0; r == 0 && !single && i < json_array_size(from); i++)
        r = keep_valid(s, b, json_array_get(from, i), list);
    if (r == 0)
        *ret = list;
    return r;
}

/* --- disjointness --- */

/* Whether every leaf's plain keywords let the value in; unknown counts as yes. */
static int value_in(struct json_schema *s, const struct branch *b, const json_t *v, bool *ret)
{
    *ret = true;
    for (size_t i = 0; i < b->n && *ret; i++) {
        int r = schema_validates(s, b->v[i], v, ret);
        if (r != 0)
            return r;
    }
    return 0;
}

static bool requires(const struct branch *b, const char *key)
{
    for (size_t i = 0; i < b->n; i++) {
        size_t k;
        json_t *name;
        json_array_foreach(json_object_get(b->v[i], "required"), k,
                           name) if (json_is_string(name) &&
                                     strcmp(json_string_value(name), key) == 0) return true;
    }
    return false;
}

/* The branches of what a branch says of the member. */
static int member_branches(struct json_schema *s, const struct branch *b, const char *key,
                           struct branches *ret)
{
    const json_t **v = arena_array(s->mem, b->n + 1, sizeof(*v));
    struct conjunction c = { 0 };
    bool never = false;
    size_t n = 0;
    if (!v)
        return -ENOMEM;
    for (size_t i = 0; i < b->n; i++) {
        const json_t *child = json_object_get(json_object_get(b->v[i], "properties"), key);
        if (child)
            v[n++] = child;
    }
    int r = conjunction_of(s, v, n, &c, &never);
    if (r != 0 || never)
        return r;
    return schema_expand(s, &c, ret);
}

static int objects_disjoint(struct json_schema *s, const struct branch *a, const struct branch *b,
                            unsigned depth, bool *ret)
{
    enum { DEPTH = 3 };
    *ret = false;
    if (depth == DEPTH)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        const char *key;
        json_t *child;
        json_object_foreach(json_object_get(a->v[i], "properties"), key, child)
        {
            struct branches x = { 0 };
            struct branches y = { 0 };
            if (!requires(a, key) || !requires(b, key))
                continue;
            int r = member_branches(s, a, key, &x);
            if (r == 0)
                r = member_branches(s, b, key, &y);
            if (r == 0)
                r = branches_disjoint(s, &x, &y, depth + 1, ret);
            if (r != 0 || *ret)
                return r;
        }
    }
    return 0;
}

static int strings_disjoint(struct json_schema *s, const struct branch *a, const struct branch *b,
                            bool *ret)
{
    CLEANUP(lang_freep) struct lang *l = lang_new();
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    if (!l)
        return -ENOMEM;
    int r = schema_string_operands(s, a, l);
    if (r == 0)
        r = schema_string_operands(s, b, l);
    if (r != 0)
        return r;
    r = schema_determinise(s, a->v[0], "oneOf", l, &d);
    *ret = r == 0 && d.n == 0;
    return r;
}

static int numbers_disjoint(struct json_schema *s, const struct branch *a, const struct branch *b,
                            bool *ret)
{
    const struct branch *both[] = { a, b };
    struct json_range r[2] = { { .integer = false }, { .integer = false } };
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        int e = schema_range(s, both[i], &r[i]);
        if (e != 0)
            return e;
    }
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        const struct json_range *x = &r[i];
        const struct json_range *y = &r[1 - i];
        if (!x->has_max || !y->has_min)
            continue;
        int c = decimal_cmp(&x->max, &y->min);
        *ret |= c < 0 || (c == 0 && (x->below_max || y->above_min));
    }
    return 0;
}

static int branch_pair(struct json_schema *s, const struct branch *a, const struct branch *b,
                       unsigned depth, bool *ret)
{
    const struct branch *both[] = { a, b };
    unsigned types[2];
    bool integer = false;
    *ret = false;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        json_t *values = NULL;
        int r = branch_types(s, both[i], &types[i], &integer);
        if (r == 0)
            r = branch_values(s, both[i], &values);
        if (r != 0)
            return r;
        if (!values)
            continue;
        *ret = true;
        size_t k;
        json_t *v;
        json_array_foreach(values, k, v)
        {
            bool in = false;
            r = value_in(s, both[1 - i], v, &in);
            if (r != 0)
                return r;
            if (in)
                *ret = false;
        }
        return 0;
    }
    switch (types[0] & types[1]) {
    case 0:
        *ret = true;
        return 0;
    case TYPE_OBJECT:
        return objects_disjoint(s, a, b, depth, ret);
    case TYPE_STRING:
        return strings_disjoint(s, a, b, ret);
    case TYPE_NUMBER:
        return numbers_disjoint(s, a, b, ret);
    default:
        return 0;
    }
}

int branches_disjoint(struct json_schema *s, const struct branches *a, const struct branches *b,
                      unsigned depth, bool *ret)
{
    *ret = true;
    for (size_t i = 0; i < a->n && *ret; i++)
        for (size_t k = 0; k < b->n && *ret; k++) {
            int r = branch_pair(s, &a->v[i], &b->v[k], depth, ret);
            if (r != 0)
                return r;
        }
    return 0;
}
