#include <errno.h>
#include <stdlib.h>

#include "engine/local/grammar/json_schema_impl.h"

/* --- conjunctions --- */

static int by_address(const void *a, const void *b)
{
    const json_t *x = *(const json_t *const *)a;
    const json_t *y = *(const json_t *const *)b;
    return (uintptr_t)x < (uintptr_t)y ? -1 : (uintptr_t)x > (uintptr_t)y;
}

/* A schema that is a reference and nothing else stands for its target. */
static int skip_references(struct json_schema *s, const json_t **schema)
{
    for (unsigned i = 0; json_is_object(*schema) && json_object_size(*schema) == 1 &&
                         json_object_get(*schema, "$ref");
         i++) {
        if (i == SCHEMA_MAX_DEPTH)
            return schema_refuse(s, *schema, "$ref", "refers to itself");
        int r = schema_follow(s, *schema, "$ref", schema);
        if (r != 0)
            return r;
    }
    return 0;
}

int conjunction_of(struct json_schema *s, const json_t *const *schemas, size_t n,
                   struct conjunction *ret, bool *ret_never)
{
    struct conjunction c = { arena_array(s->mem, n + 1, sizeof(*c.v)), 0 };
    if (!c.v)
        return -ENOMEM;
    *ret_never = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *schema = schemas[i];
        int r = skip_references(s, &schema);
        if (r != 0)
            return r;
        if (json_is_false(schema))
            *ret_never = true;
        else if (!json_is_true(schema) &&
                 !(json_is_object(schema) && json_object_size(schema) == 0))
            c.v[c.n++] = schema;
    }
    qsort(c.v, c.n, sizeof(*c.v), by_address);
    size_t unique = 0;
    for (size_t i = 0; i < c.n; i++)
        if (unique == 0 || c.v[unique - 1] != c.v[i])
            c.v[unique++] = c.v[i];
    c.n = unique;
    *ret = c;
    return 0;
}

/* --- making schemas --- */

/* Keeps a new schema (stolen) that came out of `from`'s keyword. NULL: no memory. */
static json_t *make(struct json_schema *s, const json_t *from, const char *keyword, json_t *v)
{
    json_t *kept = schema_keep(s, v);
    struct schema_place *p = kept && !json_is_boolean(kept) ? schema_place_of(s, kept) : NULL;
    if (kept && !p)
        return json_is_boolean(kept) ? kept : NULL;
    if (p) {
        p->parent = schema_place_of(s, from);
        p->key = keyword;
    }
    return kept;
}

/* Appends a new schema (stolen) to the list of alternatives. */
static int offer(struct json_schema *s, const json_t *from, const char *keyword, json_t *list,
                 json_t *v)
{
    json_t *kept = make(s, from, keyword, v);
    return kept && json_array_append(list, kept) == 0 ? 0 : -ENOMEM;
}

/* --- negation --- */

static int not_types(struct json_schema *s, const json_t *schema, const char *keyword, json_t *list)
{
    static const char *const all[] = { "null", "boolean", "number", "string", "array", "object" };
    const json_t *type = json_object_get(schema, "type");
    json_auto_t *rest = json_array();
    for (size_t i = 0; rest && i < ARRAY_LEN(all); i++) {
        bool named = json_is_string(type) && strcmp(json_string_value(type), all[i]) == 0;
        size_t k;
        json_t *t;
        json_array_foreach(type, k, t) named |=
            json_is_string(t) && strcmp(json_string_value(t), all[i]) == 0;
        /* Numbers that are not whole have no schema of their own, so they go too. */
        const json_t *first = json_is_array(type) ? NULL : type;
        if (strcmp(all[i], "number") == 0) {
            named |= json_is_string(first) && strcmp(json_string_value(first), "integer") == 0;
            json_array_foreach(type, k, t) named |=
                json_is_string(t) && strcmp(json_string_value(t), "integer") == 0;
        }
        if (!named && json_array_append_new(rest, json_string(all[i])) < 0)
            return -ENOMEM;
    }
    if (!rest)
        return -ENOMEM;
    return json_array_size(rest) == 0
               ? 0
               : offer(s, schema, keyword, list, json_pack("{s:O}", "type", rest));
}

static int not_required(struct json_schema *s, const json_t *schema, const char *keyword,
                        json_t *list)
{
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(schema, "required"), i, name)
    {
        if (!json_is_string(name))
            return schema_refuse(s, schema, "required", "must hold strings");
        int r = offer(s, schema, keyword, list,
                      json_pack("{s:s, s:{s:b}}", "type", "object", "properties",
                                json_string_value(name), 0));
        if (r != 0)
            return r;
    }
    return 0;
}

static int not_properties(struct json_schema *s, const json_t *schema, const char *keyword,
                          json_t *list)
{
    const char *name;
    json_t *child;
    json_object_foreach(json_object_get(schema, "properties"), name, child)
    {
        json_auto_t *parts = NULL;
        int r = schema_negate(s, child, keyword, &parts);
        size_t i;
        json_t *part;
        if (r != 0)
            return r;
        json_array_foreach(parts, i, part)
        {
            r = offer(s, schema, keyword, list,
                      json_pack("{s:s, s:[s], s:{s:O}}", "type", "object", "required", name,
                                "properties", name, part));
            if (r != 0)
                return r;
        }
    }
    return 0;
}

/* Bounds turn into their opposites. */
static int not_bound(struct json_schema *s, const json_t *schema, const char *keyword,
                     const char *key, json_t *list)
{
    static const struct {
        const char *key, *type, *opposite;
        int shift; /* of counts; 0: the number itself */
    } rows[] = {
        { "minimum", "number", "exclusiveMaximum", 0 },
        { "maximum", "number", "exclusiveMinimum", 0 },
        { "exclusiveMinimum", "number", "maximum", 0 },
        { "exclusiveMaximum", "number", "minimum", 0 },
        { "minLength", "string", "maxLength", -1 },
        { "maxLength", "string", "minLength", 1 },
        { "minItems", "array", "maxItems", -1 },
        { "maxItems", "array", "minItems", 1 },
        { "minProperties", "object", "maxProperties", -1 },
        { "maxProperties", "object", "minProperties", 1 },
        { "pattern", "string", NOT_PATTERN, 0 },
    };
    const json_t *v = json_object_get(schema, key);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].key, key) != 0)
            continue;
        size_t count = 0;
        if (rows[i].shift == 0)
            return json_is_boolean(v)
                       ? schema_refuse(s, schema, keyword, "cannot negate '%s'", key)
                       : offer(s, schema, keyword, list,
                               json_pack("{s:s, s:O}", "type", rows[i].type, rows[i].opposite, v));
        int r = schema_count(s, schema, key, &count);
        if (r != 0 || (count == 0 && rows[i].shift < 0))
            return r;
        return offer(s, schema, keyword, list,
                     json_pack("{s:s, s:I}", "type", rows[i].type, rows[i].opposite,
                               (json_int_t)count + rows[i].shift));
    }
    return schema_refuse(s, schema, keyword, "cannot be honoured: '%s' has no simple opposite",
                         key);
}

/* anyOf: none of them; allOf: one fails. */
static int not_combined(struct json_schema *s, const json_t *schema, const char *keyword,
                        const char *key, json_t *list)
{
    bool any = strcmp(key, "anyOf") == 0;
    json_auto_t *all = json_array();
    size_t i;
    json_t *child;
    json_array_foreach(json_object_get(schema, key), i, child)
    {
        json_auto_t *parts = NULL;
        int r = schema_negate(s, child, keyword, &parts);
        if (r != 0)
            return r;
        if (!any && json_array_extend(list, parts) < 0)
            return -ENOMEM;
        json_t *one = any ? make(s, schema, keyword, json_pack("{s:O}", "anyOf", parts)) : NULL;
        if (any && (!one || json_array_append(all, one) < 0))
            return -ENOMEM;
    }
    return any ? offer(s, schema, keyword, list, json_pack("{s:O}", "allOf", all)) : 0;
}

static int not_keyword(struct json_schema *s, const json_t *schema, const char *keyword,
                       const char *key, json_t *list)
{
    static const char *const silent[] = { "title",    "description", "default",
                                          "examples", "$comment",    "$id",
                                          "$schema",  "$defs",       "definitions" };
    json_t *v = json_object_get(schema, key);
    for (size_t i = 0; i < ARRAY_LEN(silent); i++)
        if (strcmp(key, silent[i]) == 0)
            return 0;
    if (strcmp(key, "type") == 0)
        return not_types(s, schema, keyword, list);
    if (strcmp(key, "required") == 0)
        return not_required(s, schema, keyword, list);
    if (strcmp(key, "properties") == 0)
        return not_properties(s, schema, keyword, list);
    if (strcmp(key, "const") == 0)
        return offer(s, schema, keyword, list, json_pack("{s:[O]}", NOT_ENUM, v));
    if (strcmp(key, "enum") == 0)
        return offer(s, schema, keyword, list, json_pack("{s:O}", NOT_ENUM, v));
    if (strcmp(key, "not") == 0)
        return json_array_append(list, v) < 0 ? -ENOMEM : 0;
    if (strcmp(key, "anyOf") == 0 || strcmp(key, "allOf") == 0)
        return not_combined(s, schema, keyword, key, list);
    if (strcmp(key, "$ref") == 0) {
        const json_t *target = NULL;
        json_auto_t *parts = NULL;
        int r = schema_follow(s, schema, key, &target);
        if (r == 0)
            r = schema_negate(s, target, keyword, &parts);
        return r != 0 ? r : json_array_extend(list, parts);
    }
    return not_bound(s, schema, keyword, key, list);
}

int schema_negate(struct json_schema *s, const json_t *schema, const char *keyword, json_t **ret)
{
    json_auto_t *list = json_array();
    if (!list)
        return -ENOMEM;
    if (s->depth >= SCHEMA_MAX_DEPTH || ++s->checks > SCHEMA_MAX_CHECKS)
        return schema_refuse(s, schema, keyword, "is nested too deeply");
    if (json_is_false(schema) && json_array_append_new(list, json_true()) < 0)
        return -ENOMEM;
    int r = 0;
    const char *key;
    json_t *v;
    s->depth++;
    json_object_foreach((json_t *)schema, key, v)
    {
        r = not_keyword(s, schema, keyword, key, list);
        if (r != 0 || json_array_size(list) > SCHEMA_MAX_BRANCHES)
            break;
    }
    s->depth--;
    if (r == 0 && json_array_size(list) > SCHEMA_MAX_BRANCHES)
        r = schema_refuse(s, schema, keyword, "has too many alternatives");
    if (r != 0)
        return r;
    *ret = TAKE(list);
    return 0;
}

/* --- choices: arrays of alternatives, an alternative is an array of schemas --- */

/* One schema an alternative. */
static int choice_of(json_t *choices, const json_t *schemas)
{
    json_t *choice = json_array();
    size_t i;
    json_t *v;
    if (json_array_append_new(choices, choice) < 0)
        return -ENOMEM;
    json_array_foreach(schemas, i, v) if (json_array_append_new(choice, json_pack("[O]", v)) <
                                          0) return -ENOMEM;
    return 0;
}

static int alternatives_of(struct json_schema *s, const json_t *schema, const char *keyword,
                           const json_t **ret)
{
    const json_t *v = json_object_get(schema, keyword);
    *ret = v;
    if (v && (!json_is_array(v) || json_array_size(v) == 0))
        return schema_refuse(s, schema, keyword, "must be an array of at least one schema");
    if (json_array_size(v) > SCHEMA_MAX_BRANCHES)
        return schema_refuse(s, schema, keyword, "has more than %d alternatives",
                             SCHEMA_MAX_BRANCHES);
    return 0;
}

/* The branches of one alternative of oneOf, together with what stands beside oneOf. */
static int alternative_branches(struct json_schema *s, const json_t *beside,
                                const json_t *alternative, struct branches *ret)
{
    const json_t *both[] = { beside, alternative };
    struct conjunction c = { 0 };
    bool never = false;
    int r = conjunction_of(s, both, ARRAY_LEN(both), &c, &never);
    if (r != 0 || never)
        return r;
    return schema_expand(s, &c, ret);
}

/* The keywords beside oneOf that tell alternatives apart, as a schema of their own. */
static const json_t *beside_one_of(struct json_schema *s, const json_t *schema)
{
    json_t *rest = json_object();
    static const char *const keep[] = { "type", "required", "properties" };
    for (size_t i = 0; rest && i < ARRAY_LEN(keep); i++) {
        json_t *v = json_object_get(schema, keep[i]);
        if (v && json_object_set(rest, keep[i], v) < 0) {
            json_decref(rest);
            return NULL;
        }
    }
    return make(s, schema, "oneOf", rest);
}

/* Whether all pairs are disjoint; with `key`, once that member is required. */
static int all_disjoint(struct json_schema *s, const struct branches *v, size_t n, bool *ret)
{
    *ret = true;
    for (size_t i = 0; i < n && *ret; i++)
        for (size_t j = i + 1; j < n && *ret; j++) {
            int r = branches_disjoint(s, &v[i], &v[j], 0, ret);
            if (r != 0)
                return r;
        }
    return 0;
}

static int expand_all(struct json_schema *s, const json_t *beside, const json_t *alternatives,
                      struct branches *v)
{
    size_t i;
    json_t *one;
    json_array_foreach(alternatives, i, one)
    {
        v[i] = (struct branches){ 0 };
        int r = alternative_branches(s, beside, one, &v[i]);
        if (r != 0)
            return r;
    }
    return 0;
}

/* A member that tells all alternatives apart when it is there, as {"required": [key]}; or NULL. */
static int find_discriminator(struct json_schema *s, const json_t *schema, const json_t *list,
                              const struct branches *v, const json_t **ret)
{
    enum { TRIED = 32 };
    size_t n = json_array_size(list);
    struct branches *with = arena_array(s->mem, n, sizeof(*with));
    unsigned tried = 0;
    if (!with)
        return -ENOMEM;
    for (size_t leaf = 0; v[0].n > 0 && leaf < v[0].v[0].n; leaf++) {
        const char *key;
        json_t *child;
        json_object_foreach(json_object_get(v[0].v[0].v[leaf], "properties"), key, child)
        {
            bool known = json_is_object(child) &&
                         (json_object_get(child, "const") || json_object_get(child, "enum"));
            if (!known || ++tried > TRIED)
                continue;
            const json_t *forced = make(
                s, schema, "oneOf", json_pack("{s:s, s:[s]}", "type", "object", "required", key));
            bool disjoint = false;
            int r = forced ? expand_all(s, forced, list, with) : -ENOMEM;
            if (r == 0)
                r = all_disjoint(s, with, n, &disjoint);
            if (r != 0)
                return r;
            if (disjoint) {
                *ret = forced;
                return 0;
            }
        }
    }
    *ret = NULL;
    return 0;
}

/* Each alternative with the opposites of all others. */
static int exclude_others(struct json_schema *s, const json_t *schema, const json_t *list,
                          json_t *choices)
{
    enum { EXCLUDED = 8 };
    size_t n = json_array_size(list);
    json_t *choice = json_array();
    const json_t *opposites[EXCLUDED];
    if (json_array_append_new(choices, choice) < 0)
        return -ENOMEM;
    if (n > EXCLUDED)
        return schema_refuse(s, schema, "oneOf", "has alternatives that may overlap; use anyOf");
    for (size_t i = 0; i < n; i++) {
        json_auto_t *parts = NULL;
        struct fail why = { 0 };
        struct fail *report = s->reterr;
        s->reterr = &why;
        int r = schema_negate(s, json_array_get(list, i), "oneOf", &parts);
        s->reterr = report;
        if (r == FAILED)
            return schema_refuse(s, schema, "oneOf",
                                 "has alternatives that may overlap; use anyOf");
        if (r < 0)
            return r;
        opposites[i] =
            make(s, schema, "oneOf",
                 json_array_size(parts) ? json_pack("{s:O}", "anyOf", parts) : json_false());
        if (!opposites[i])
            return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        json_t *alternative = json_pack("[O]", json_array_get(list, i));
        if (json_array_append_new(choice, alternative) < 0)
            return -ENOMEM;
        for (size_t j = 0; j < n; j++)
            if (j != i && json_array_append(alternative, (json_t *)opposites[j]) < 0)
                return -ENOMEM;
    }
    return 0;
}

static int choose_one(struct json_schema *s, const json_t *schema, json_t *choices)
{
    const json_t *list = NULL;
    bool disjoint = true;
    int r = alternatives_of(s, schema, "oneOf", &list);
    size_t n = json_array_size(list);
    if (r != 0 || n == 0)
        return r;
    struct branches *v = arena_array(s->mem, n, sizeof(*v));
    const json_t *beside = beside_one_of(s, schema);
    const json_t *forced = NULL;
    if (!v || !beside)
        return -ENOMEM;
    if (n > 1) {
        r = expand_all(s, beside, list, v);
        if (r == 0)
            r = all_disjoint(s, v, n, &disjoint);
        if (r == 0 && !disjoint)
            r = find_discriminator(s, schema, list, v, &forced);
        if (r != 0)
            return r;
    }
    if (!disjoint && !forced)
        return exclude_others(s, schema, list, choices);
    if (forced && json_array_append_new(choices, json_pack("[[O]]", forced)) < 0)
        return -ENOMEM;
    return choice_of(choices, list);
}

/* "a needs b": a is absent, or there and so is b. */
static int choose_dependency(struct json_schema *s, const json_t *schema, const char *keyword,
                             json_t *choices)
{
    const char *key;
    json_t *needs;
    json_object_foreach(json_object_get(schema, keyword), key, needs)
    {
        bool names = json_is_array(needs);
        json_t *absent = make(s, schema, keyword, json_pack("{s:{s:b}}", "properties", key, 0));
        json_t *there =
            make(s, schema, keyword, json_pack("{s:s, s:[s]}", "type", "object", "required", key));
        json_t *also =
            names ? make(s, schema, keyword, json_pack("{s:O}", "required", needs)) : needs;
        if (!absent || !there || !also)
            return -ENOMEM;
        json_t *choice = json_pack("[[O], [O, O]]", absent, there, also);
        if (json_array_append_new(choices, choice) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int choose_if(struct json_schema *s, const json_t *schema, json_t *choices)
{
    json_t *cond = json_object_get(schema, "if");
    json_t *then = json_object_get(schema, "then");
    json_t *other = json_object_get(schema, "else");
    json_auto_t *parts = NULL;
    if (!cond || (!then && !other))
        return 0;
    int r = schema_negate(s, cond, "if", &parts);
    if (r != 0)
        return r;
    json_t *unmet =
        make(s, schema, "if",
             json_array_size(parts) ? json_pack("{s:O}", "anyOf", parts) : json_false());
    json_t *choice = json_array();
    if (!unmet || json_array_append_new(choices, choice) < 0)
        return -ENOMEM;
    json_t *yes = then ? json_pack("[O, O]", cond, then) : json_pack("[O]", cond);
    json_t *no = other ? json_pack("[O, O]", unmet, other) : json_pack("[O]", unmet);
    r = json_array_append_new(choice, yes);
    return json_array_append_new(choice, no) < 0 || r < 0 ? -ENOMEM : 0;
}

static int choose_not(struct json_schema *s, const json_t *schema, json_t *choices)
{
    const json_t *v = json_object_get(schema, "not");
    json_auto_t *parts = NULL;
    if (!v)
        return 0;
    int r = schema_negate(s, v, "not", &parts);
    return r != 0 ? r : choice_of(choices, parts);
}

int schema_choices(struct json_schema *s, const json_t *schema, const json_t **ret)
{
    struct schema_place *p = schema_place_of(s, schema);
    if (!p)
        return -ENOMEM;
    *ret = p->choices;
    if (p->choices)
        return 0;
    json_t *choices = schema_keep(s, json_array());
    const json_t *any = NULL;
    if (!choices)
        return -ENOMEM;
    int r = alternatives_of(s, schema, "anyOf", &any);
    if (r == 0 && any)
        r = choice_of(choices, any);
    if (p->busy) {
        /* Asked for by its own oneOf, to tell alternatives apart: what they allow at most. */
        const json_t *one = json_object_get(schema, "oneOf");
        *ret = choices;
        return r == 0 && one ? choice_of(choices, one) : r;
    }
    p->busy = true;
    if (r == 0)
        r = choose_one(s, schema, choices);
    p->busy = false;
    if (r == 0)
        r = choose_not(s, schema, choices);
    if (r == 0)
        r = choose_if(s, schema, choices);
    static const char *const dependencies[] = { "dependentRequired", "dependentSchemas",
                                                "dependencies" };
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(dependencies); i++)
        r = choose_dependency(s, schema, dependencies[i], choices);
    if (r == 0)
        *ret = p->choices = choices;
    return r;
}

/* --- expansion --- */

/* The schemas that led to one, for cycles. */
struct origin {
    const json_t *v;
    const struct origin *parent;
};
struct todo {
    const json_t *v;
    const struct origin *origin;
    const struct todo *next;
};
struct leaf {
    const json_t *v;
    const struct leaf *next; /* found before */
};
struct pending {
    const json_t *choice;
    const struct origin *origin;
    const struct pending *next;
};
/* A branch in the making. The lists are shared between branches and never changed. */
struct growth {
    const struct todo *todo;
    const struct leaf *leaves;
    const struct pending *choices;
    size_t n_leaves;
};

#define KEEP(s, type, ...)                                                                         \
    __extension__({                                                                                \
        type *kept_ = arena_alloc((s)->mem, sizeof(type));                                         \
        if (kept_)                                                                                 \
            *kept_ = (type){ __VA_ARGS__ };                                                        \
        kept_;                                                                                     \
    })

static int push(struct json_schema *s, struct growth *g, const json_t *v, const struct origin *from)
{
    g->todo = KEEP(s, struct todo, v, from, g->todo);
    return g->todo ? 0 : -ENOMEM;
}

static int emit_branch(struct json_schema *s, const struct growth *g, const json_t *at,
                       struct branches *out)
{
    if (out->n == SCHEMA_MAX_BRANCHES)
        return schema_refuse(s, at, "anyOf", "has too many combinations of alternatives");
    if (out->n == out->cap) {
        size_t cap = out->cap ? out->cap * 4 : 4;
        struct branch *v = arena_array(s->mem, cap, sizeof(*v));
        if (!v)
            return -ENOMEM;
        if (out->n)
            memcpy(v, out->v, out->n * sizeof(*v));
        out->v = v;
        out->cap = cap;
    }
    struct branch b = { arena_array(s->mem, g->n_leaves + 1, sizeof(*b.v)), g->n_leaves };
    if (!b.v)
        return -ENOMEM;
    size_t i = b.n;
    for (const struct leaf *l = g->leaves; l; l = l->next)
        b.v[--i] = l->v;
    out->v[out->n++] = b;
    return 0;
}

/* Takes a schema in: as a leaf, with its references and parts to do, and its choices to make. */
static int take_schema(struct json_schema *s, struct growth *g, const struct todo *t)
{
    const json_t *target = NULL;
    const json_t *choices = NULL;
    for (const struct origin *o = t->origin; o; o = o->parent)
        if (o->v == t->v)
            return schema_refuse(s, t->v, "$ref", "leads back to itself");
    for (const struct leaf *l = g->leaves; l; l = l->next)
        if (l->v == t->v)
            return 0;
    if (++s->checks > SCHEMA_MAX_CHECKS)
        return schema_refuse(s, t->v, "anyOf", "combines too many alternatives");
    int r = schema_check_keywords(s, t->v);
    if (r == 0)
        r = schema_choices(s, t->v, &choices);
    if (r != 0)
        return r;
    const struct origin *here = KEEP(s, struct origin, t->v, t->origin);
    g->leaves = KEEP(s, struct leaf, t->v, g->leaves);
    g->n_leaves++;
    if (!here || !g->leaves)
        return -ENOMEM;
    const json_t *all = json_object_get(t->v, "allOf");
    if (all && !json_is_array(all))
        return schema_refuse(s, t->v, "allOf", "must be an array of schemas");
    for (size_t i = json_array_size(all); i-- > 0;)
        if (push(s, g, json_array_get(all, i), here) < 0)
            return -ENOMEM;
    if (json_object_get(t->v, "$ref")) {
        r = schema_follow(s, t->v, "$ref", &target);
        if (r != 0)
            return r;
        if (push(s, g, target, here) < 0)
            return -ENOMEM;
    }
    for (size_t i = json_array_size(choices); i-- > 0;) {
        g->choices = KEEP(s, struct pending, json_array_get(choices, i), here, g->choices);
        if (!g->choices)
            return -ENOMEM;
    }
    return 0;
}

static int expand(struct json_schema *s, struct growth g, const json_t *at, struct branches *out)
{
    while (g.todo) {
        const struct todo *t = g.todo;
        g.todo = t->next;
        if (json_is_false(t->v))
            return 0;
        if (json_is_true(t->v))
            continue;
        if (!json_is_object(t->v))
            return schema_refuse(s, at, "schema", "must be an object or a boolean everywhere");
        int r = take_schema(s, &g, t);
        if (r != 0)
            return r;
    }
    if (!g.choices)
        return emit_branch(s, &g, at, out);
    const struct pending *p = g.choices;
    g.choices = p->next;
    if (s->depth >= SCHEMA_MAX_CHOICES)
        return schema_refuse(s, at, "anyOf", "combines too many alternatives");
    s->depth++;
    int r = 0;
    size_t i;
    size_t k;
    json_t *alternative;
    json_t *v;
    json_array_foreach(p->choice, i, alternative)
    {
        struct growth with = g;
        json_array_foreach(alternative, k, v) if (push(s, &with, v, p->origin) < 0) r = -ENOMEM;
        if (r == 0)
            r = expand(s, with, at, out);
        if (r != 0)
            break;
    }
    s->depth--;
    return r;
}

int schema_expand(struct json_schema *s, const struct conjunction *c, struct branches *ret)
{
    struct growth g = { 0 };
    if (s->depth >= SCHEMA_MAX_CHOICES)
        return schema_refuse(s, c->v[0], "anyOf", "combines too many alternatives");
    for (size_t i = c->n; i-- > 0;)
        if (push(s, &g, c->v[i], NULL) < 0)
            return -ENOMEM;
    s->depth++;
    int r = expand(s, g, c->n ? c->v[0] : s->root, ret);
    s->depth--;
    return r;
}
