#include <errno.h>
#include <stdlib.h>

#include "engine/local/grammar/json_schema_impl.h"

struct array {
    struct json_schema *s;
    const struct branch *b;
    size_t n_prefix; /* items that some leaf describes one by one */
    size_t min, max; /* items; max GRAMMAR_MANY: no bound */
    bool unique;
    const json_t *unique_leaf;
    const json_t *contains_leaf; /* NULL: none */
    size_t min_contains, max_contains;
};

/* Items described one by one: prefixItems, or `items` of older drafts. */
static const json_t *prefix_of(const json_t *leaf)
{
    const json_t *v = json_object_get(leaf, "prefixItems");
    const json_t *items = json_object_get(leaf, "items");
    return v ? v : (json_is_array(items) ? items : NULL);
}

/* The leaf's schema of items beyond its prefix, or NULL. */
static const json_t *rest_of(const json_t *leaf)
{
    const json_t *items = json_object_get(leaf, "items");
    return json_is_array(items) ? json_object_get(leaf, "additionalItems") : items;
}

/* Schemas of the item at `index`, at most one a leaf. */
static size_t item_schemas(const struct array *a, size_t index, const json_t **ret)
{
    size_t n = 0;
    for (size_t i = 0; i < a->b->n; i++) {
        const json_t *prefix = prefix_of(a->b->v[i]);
        const json_t *v =
            index < json_array_size(prefix) ? json_array_get(prefix, index) : rest_of(a->b->v[i]);
        if (v)
            ret[n++] = v;
    }
    return n;
}

static int item_expr(const struct array *a, size_t index, const json_t *also, grammar_expr *ret)
{
    const json_t **v = arena_array(a->s->mem, a->b->n + 1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    size_t n = item_schemas(a, index, v);
    if (also)
        v[n++] = also;
    return schema_value(a->s, v, n, ret);
}

/* Whether no item may stand at `index` at all. */
static bool item_forbidden(const struct array *a, size_t index, const json_t **scratch)
{
    size_t n = item_schemas(a, index, scratch);
    for (size_t i = 0; i < n; i++)
        if (json_is_false(scratch[i]))
            return true;
    return false;
}

static int read_contains(struct array *a, const json_t *leaf)
{
    if (!json_object_get(leaf, "contains"))
        return 0;
    if (a->contains_leaf)
        return schema_refuse(a->s, leaf, "contains", "cannot be honoured twice for one array");
    a->contains_leaf = leaf;
    a->min_contains = 1;
    a->max_contains = GRAMMAR_MANY;
    int r = schema_count(a->s, leaf, "minContains", &a->min_contains);
    if (r == 0)
        r = schema_count(a->s, leaf, "maxContains", &a->max_contains);
    if (a->min_contains == 0 && a->max_contains == GRAMMAR_MANY)
        a->contains_leaf = NULL; /* holds anyway */
    return r;
}

static int read_leaf(struct array *a, const json_t *leaf)
{
    const json_t *prefix = prefix_of(leaf);
    size_t min = 0;
    size_t max = GRAMMAR_MANY;
    if (prefix && !json_is_array(prefix))
        return schema_refuse(a->s, leaf, "prefixItems", "must be an array of schemas");
    int r = schema_count(a->s, leaf, "minItems", &min);
    if (r == 0)
        r = schema_count(a->s, leaf, "maxItems", &max);
    if (r == 0)
        r = read_contains(a, leaf);
    a->min = min > a->min ? min : a->min;
    a->max = max < a->max ? max : a->max;
    if (json_array_size(prefix) > a->n_prefix)
        a->n_prefix = json_array_size(prefix);
    if (json_is_true(json_object_get(leaf, "uniqueItems"))) {
        a->unique = true;
        a->unique_leaf = leaf;
    }
    return r;
}

static int read_array(struct array *a)
{
    const json_t **scratch = arena_array(a->s->mem, a->b->n + 1, sizeof(*scratch));
    if (!scratch)
        return -ENOMEM;
    for (size_t i = 0; i < a->b->n; i++) {
        int r = read_leaf(a, a->b->v[i]);
        if (r != 0)
            return r;
    }
    if (a->n_prefix > SCHEMA_MAX_CELLS)
        return schema_refuse(a->s, a->b->v[0], "prefixItems", "is too long");
    for (size_t i = 0; i <= a->n_prefix && i < a->max; i++)
        if (item_forbidden(a, i, scratch))
            a->max = i;
    return 0;
}

static grammar_expr brackets(const struct array *a, grammar_expr items)
{
    const struct json_tokens *t = &a->s->t;
    grammar_expr parts[] = { t->open_array, items, t->close_array };
    return grammar_seq(a->s->b, parts, ARRAY_LEN(parts));
}

static grammar_expr behind_comma(const struct array *a, grammar_expr item)
{
    grammar_expr parts[] = { a->s->t.comma, item };
    return grammar_seq(a->s->b, parts, ARRAY_LEN(parts));
}

/* --- plain arrays --- */

/* Items from `index` on, each behind a comma, the prefix as rules from its end. */
static int plain_tail(const struct array *a, grammar_expr *ret)
{
    struct grammar_builder *b = a->s->b;
    size_t from = a->n_prefix > 1 ? a->n_prefix : 1;
    grammar_expr item;
    grammar_expr tail = grammar_empty(b);
    if (a->max < from)
        from = a->max;
    if (a->max > from) {
        int r = item_expr(a, a->n_prefix > 1 ? a->n_prefix : 1, NULL, &item);
        if (r != 0)
            return r;
        size_t max = a->max == GRAMMAR_MANY ? GRAMMAR_MANY : a->max - from;
        tail = grammar_repeat(b, behind_comma(a, item),
                              a->min > from ? (uint32_t)(a->min - from) : 0, (uint32_t)max);
    }
    for (size_t i = from; i-- > 1;) {
        int r = item_expr(a, i, NULL, &item);
        if (r != 0)
            return r;
        grammar_expr parts[] = { behind_comma(a, item), tail };
        grammar_expr rule = grammar_rule(b);
        grammar_expr more[] = { grammar_seq(b, parts, ARRAY_LEN(parts)), grammar_empty(b) };
        grammar_define(b, rule, grammar_alt(b, more, i < a->min ? 1 : 2));
        tail = rule;
    }
    *ret = tail;
    return 0;
}

static int plain_array(const struct array *a, grammar_expr *ret)
{
    struct grammar_builder *b = a->s->b;
    grammar_expr parts[2];
    size_t n = 0;
    if (a->min == 0)
        parts[n++] = grammar_bytes(b, STR("[]"));
    if (a->max > 0 && a->min <= a->max) {
        grammar_expr items[2];
        int r = item_expr(a, 0, NULL, &items[0]);
        if (r == 0)
            r = plain_tail(a, &items[1]);
        if (r != 0)
            return r;
        parts[n++] = brackets(a, grammar_seq(b, items, ARRAY_LEN(items)));
    }
    *ret = grammar_alt(b, parts, n);
    return 0;
}

/* --- contains: rules for (items so far, found so far) --- */

struct counting {
    const struct array *a;
    size_t items, found; /* the last of each stands for more */
    grammar_expr *rules;
    const json_t *with, *without; /* schemas of an item that counts, and of one that does not */
};

static grammar_expr counting_rule(const struct counting *c, size_t item, size_t found)
{
    item = item < c->items - 1 ? item : c->items - 1;
    found = found < c->found - 1 ? found : c->found - 1;
    return c->rules[item * c->found + found];
}

static int counting_state(const struct counting *c, size_t item, size_t found)
{
    const struct array *a = c->a;
    struct grammar_builder *b = a->s->b;
    grammar_expr parts[3];
    size_t n = 0;
    const json_t *also[] = { c->with, c->without };
    for (size_t i = 0; i < ARRAY_LEN(also) && item < a->max; i++) {
        size_t next = found + (i == 0);
        grammar_expr text;
        if (next > a->max_contains)
            continue;
        int r = item_expr(a, item, also[i], &text);
        if (r != 0)
            return r;
        grammar_expr both[] = { item ? behind_comma(a, text) : text,
                                counting_rule(c, item + 1, next) };
        parts[n++] = grammar_seq(b, both, ARRAY_LEN(both));
    }
    if (item > 0 && item >= a->min && found >= a->min_contains)
        parts[n++] = grammar_empty(b);
    grammar_define(b, counting_rule(c, item, found), grammar_alt(b, parts, n));
    return 0;
}

static int counting_array(const struct array *a, grammar_expr *ret)
{
    struct json_schema *s = a->s;
    struct counting c = { .a = a };
    size_t last = a->n_prefix > a->min ? a->n_prefix : a->min;
    last = last > 1 ? last : 1;
    if (a->max < GRAMMAR_MANY && a->max > last)
        last = a->max;
    c.items = last + 1;
    c.found = (a->max_contains < GRAMMAR_MANY ? a->max_contains : a->min_contains) + 1;
    if (c.items > SCHEMA_MAX_CELLS || c.found > SCHEMA_MAX_CELLS / c.items)
        return schema_refuse(s, a->contains_leaf, "contains", "counts too far to be followed");
    c.with = json_object_get(a->contains_leaf, "contains");
    if (a->max_contains < GRAMMAR_MANY) {
        json_t *opposite = schema_keep(s, json_pack("{s:O}", "not", c.with));
        if (!opposite)
            return -ENOMEM;
        c.without = opposite;
    }
    c.rules = arena_array(s->mem, c.items * c.found, sizeof(*c.rules));
    if (!c.rules)
        return -ENOMEM;
    for (size_t i = 0; i < c.items * c.found; i++)
        c.rules[i] = grammar_rule(s->b);
    for (size_t i = 0; i < c.items; i++)
        for (size_t f = 0; f < c.found; f++) {
            int r = counting_state(&c, i, f);
            if (r != 0)
                return r;
        }
    grammar_expr parts[2];
    size_t n = 0;
    if (a->min == 0 && a->min_contains == 0)
        parts[n++] = grammar_bytes(s->b, STR("[]"));
    if (a->max > 0 && a->min <= a->max)
        parts[n++] = brackets(a, counting_rule(&c, 0, 0));
    *ret = grammar_alt(s->b, parts, n);
    return 0;
}

/* --- unique items of finite kinds --- */

/* All values that an item may have, when they are finite; else *ret is NULL. */
static int item_values(const struct array *a, json_t **ret)
{
    struct json_schema *s = a->s;
    struct conjunction c = { 0 };
    struct branches v = { 0 };
    bool never = false;
    const json_t **schemas = arena_array(s->mem, a->b->n + 1, sizeof(*schemas));
    *ret = NULL;
    if (!schemas)
        return -ENOMEM;
    size_t n = item_schemas(a, 0, schemas);
    int r = conjunction_of(s, schemas, n, &c, &never);
    if (r == 0 && c.n > 0)
        r = schema_expand(s, &c, &v);
    json_t *all = schema_keep(s, json_array());
    if (r != 0 || !all)
        return r != 0 ? r : -ENOMEM;
    for (size_t i = 0; i < v.n; i++) {
        json_t *values = NULL;
        size_t k;
        size_t j;
        json_t *value;
        json_t *known;
        r = branch_values(s, &v.v[i], &values);
        if (r != 0 || !values)
            return r;
        json_array_foreach(values, k, value)
        {
            bool twice = false;
            json_array_foreach(all, j, known) twice |= schema_same(known, value);
            if (!twice && json_array_append(all, value) < 0)
                return -ENOMEM;
        }
    }
    *ret = c.n > 0 ? all : NULL;
    return 0;
}

/* One rule a set of values that were used: any order, none twice. */
static void unique_any_order(const struct array *a, const grammar_expr *values, size_t n,
                             grammar_expr *rules)
{
    struct grammar_builder *b = a->s->b;
    for (size_t used = 0; used < (size_t)1 << n; used++) {
        grammar_expr parts[SCHEMA_MAX_UNIQUE + 1];
        size_t count = (size_t)__builtin_popcountll(used);
        size_t k = 0;
        for (size_t i = 0; i < n && count < a->max; i++) {
            if (used >> i & 1)
                continue;
            grammar_expr both[] = { used ? behind_comma(a, values[i]) : values[i],
                                    rules[used | (size_t)1 << i] };
            parts[k++] = grammar_seq(b, both, ARRAY_LEN(both));
        }
        if (used && count >= a->min)
            parts[k++] = grammar_empty(b);
        grammar_define(b, rules[used], grammar_alt(b, parts, k));
    }
}

/* Many values: only in the schema's order; a rule for each (next value, items so far). */
static void unique_in_order(const struct array *a, const grammar_expr *values, size_t n,
                            grammar_expr *rules)
{
    struct grammar_builder *b = a->s->b;
    for (size_t i = 0; i <= n; i++)
        for (size_t count = 0; count <= i; count++) {
            grammar_expr parts[3];
            size_t k = 0;
            if (i < n && count < a->max) {
                grammar_expr both[] = { count ? behind_comma(a, values[i]) : values[i],
                                        rules[(i + 1) * (n + 1) + count + 1] };
                parts[k++] = grammar_seq(b, both, ARRAY_LEN(both));
            }
            if (i < n)
                parts[k++] = rules[(i + 1) * (n + 1) + count];
            if (i == n && count > 0 && count >= a->min)
                parts[k++] = grammar_empty(b);
            grammar_define(b, rules[i * (n + 1) + count], grammar_alt(b, parts, k));
        }
}

static int unique_array(const struct array *a, grammar_expr *ret)
{
    enum { IN_ORDER = 64 };
    struct json_schema *s = a->s;
    json_t *list = NULL;
    int r = a->n_prefix || a->contains_leaf ? 0 : item_values(a, &list);
    if (r != 0)
        return r;
    size_t n = json_array_size(list);
    if (!list || n > IN_ORDER)
        return schema_refuse(s, a->unique_leaf, "uniqueItems",
                             "is honoured for items of an enum with at most %d values", IN_ORDER);
    bool any_order = n <= SCHEMA_MAX_UNIQUE;
    size_t n_rules = any_order ? (size_t)1 << n : (n + 1) * (n + 2);
    grammar_expr *values = arena_array(s->mem, n + 1, sizeof(*values));
    grammar_expr *rules = arena_array(s->mem, n_rules, sizeof(*rules));
    if (!values || !rules)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        values[i] = schema_literal(s, json_array_get(list, i));
    for (size_t i = 0; i < n_rules; i++)
        rules[i] = grammar_rule(s->b);
    if (any_order)
        unique_any_order(a, values, n, rules);
    else
        unique_in_order(a, values, n, rules);
    grammar_expr parts[2];
    size_t k = 0;
    if (a->min == 0)
        parts[k++] = grammar_bytes(s->b, STR("[]"));
    if (n > 0 && a->max > 0 && a->min <= a->max)
        parts[k++] = brackets(a, rules[0]);
    *ret = grammar_alt(s->b, parts, k);
    return 0;
}

int schema_array(struct json_schema *s, const struct branch *b, grammar_expr *ret)
{
    struct array a = { .s = s, .b = b, .max = GRAMMAR_MANY };
    int r = read_array(&a);
    if (r != 0)
        return r;
    if (a.unique && a.max > 1)
        return unique_array(&a, ret);
    return a.contains_leaf ? counting_array(&a, ret) : plain_array(&a, ret);
}
