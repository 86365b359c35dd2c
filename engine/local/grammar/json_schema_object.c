#include <errno.h>
#include <stdlib.h>

#include "engine/local/grammar/json_schema_impl.h"
#include "engine/local/grammar/regex.h"

/* A member that the schema names. */
struct member {
    const char *name;
    bool required, never;
    grammar_expr text; /* name, colon, value */
};

/* Members without a name of their own, by the patterns that their names match. */
struct rest {
    grammar_expr text; /* one such member */
    bool open;         /* there may be some */
};

struct object {
    struct json_schema *s;
    const struct branch *b;
    struct member *members;
    size_t n, n_required;
    json_t *index; /* owned: name → its place in members */
    size_t min, max;
    bool impossible;
    struct rest rest;
    bool closed_by_names; /* propertyNames lists all that there are */
};

static const json_t *keyword_of(const struct branch *b, size_t leaf, const char *key)
{
    return json_object_get(b->v[leaf], key);
}

/* --- what a name's value must satisfy --- */

/* Adds the leaf's schemas for a member of this name. */
static int leaf_schemas(struct json_schema *s, const json_t *leaf, struct str name,
                        const json_t **ret, size_t *n)
{
    const json_t *own = json_object_getn(json_object_get(leaf, "properties"), name.p, name.n);
    bool named = own != NULL;
    const char *pattern;
    json_t *child;
    if (own)
        ret[(*n)++] = own;
    json_object_foreach(json_object_get(leaf, "patternProperties"), pattern, child)
    {
        bool match = false;
        int r = schema_pattern_matches(s, leaf, pattern, name, &match);
        if (r != 0)
            return r;
        if (match)
            ret[(*n)++] = child;
        named |= match;
    }
    const json_t *more = json_object_get(leaf, "additionalProperties");
    if (!named && more)
        ret[(*n)++] = more;
    return 0;
}

static size_t count_schemas(const struct branch *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += 2 + json_object_size(keyword_of(b, i, "patternProperties"));
    return n;
}

/* Whether strict mode closes the object: no leaf says what else may be in it. */
static bool closed_by_default(const struct object *o)
{
    if (!o->s->o->strict)
        return false;
    for (size_t i = 0; i < o->b->n; i++)
        if (keyword_of(o->b, i, "additionalProperties") || keyword_of(o->b, i, "patternProperties"))
            return false;
    return true;
}

static bool in_properties(const struct branch *b, struct str name)
{
    for (size_t i = 0; i < b->n; i++)
        if (json_object_getn(keyword_of(b, i, "properties"), name.p, name.n))
            return true;
    return false;
}

static int name_allowed(struct object *o, struct str name, bool *ret)
{
    json_auto_t *text = json_stringn(name.p, name.n);
    *ret = true;
    if (!text)
        return -ENOMEM;
    for (size_t i = 0; i < o->b->n && *ret; i++) {
        const json_t *names = keyword_of(o->b, i, "propertyNames");
        int r = names ? schema_validates(o->s, names, text, ret) : 0;
        if (r != 0)
            return r;
    }
    return 0;
}

static int member_text(struct object *o, struct str name, struct member *m)
{
    struct json_schema *s = o->s;
    size_t n = 0;
    bool allowed = true;
    const json_t **v = arena_array(s->mem, count_schemas(o->b) + 1, sizeof(*v));
    grammar_expr value;
    if (!v)
        return -ENOMEM;
    int r = name_allowed(o, name, &allowed);
    for (size_t i = 0; r == 0 && i < o->b->n; i++)
        r = leaf_schemas(s, o->b->v[i], name, v, &n);
    if (r != 0)
        return r;
    m->never = !allowed || (closed_by_default(o) && !in_properties(o->b, name));
    for (size_t i = 0; i < n; i++)
        m->never |= json_is_false(v[i]);
    if (m->never)
        return 0;
    r = schema_value(s, v, n, &value);
    if (r != 0)
        return r;
    grammar_expr parts[] = { json_quoted_expr(s->b, name), s->t.colon, value };
    m->text = grammar_seq(s->b, parts, ARRAY_LEN(parts));
    return 0;
}

/* --- named members --- */

static int add_member(struct object *o, const char *name)
{
    if (json_object_get(o->index, name))
        return 0;
    o->members[o->n].name = name;
    return json_object_set_new(o->index, name, json_integer((json_int_t)o->n++)) < 0 ? -ENOMEM : 0;
}

/* The finite names that propertyNames leaves, as an array; NULL: they are not finite. */
static int finite_names(struct object *o, json_t **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < o->b->n && !*ret; i++) {
        const json_t *names = keyword_of(o->b, i, "propertyNames");
        struct conjunction c = { 0 };
        struct branches v = { 0 };
        bool never = false;
        if (!names)
            continue;
        int r = conjunction_of(o->s, &names, 1, &c, &never);
        if (r == 0 && !never && c.n > 0)
            r = schema_expand(o->s, &c, &v);
        if (r == 0 && v.n == 1 && !never)
            r = branch_values(o->s, &v.v[0], ret);
        if (r == 0 && never)
            *ret = schema_keep(o->s, json_array());
        if (r != 0)
            return r;
    }
    return 0;
}

static int collect_members(struct object *o)
{
    const struct branch *b = o->b;
    size_t n = 0;
    json_t *names = NULL;
    const char *key;
    json_t *v;
    size_t k;
    int r = finite_names(o, &names);
    if (r != 0)
        return r;
    for (size_t i = 0; i < b->n; i++)
        n += json_object_size(keyword_of(b, i, "properties")) +
             json_array_size(keyword_of(b, i, "required"));
    o->members = arena_array(o->s->mem, n + json_array_size(names) + 1, sizeof(*o->members));
    if (!o->members)
        return -ENOMEM;
    for (size_t i = 0; i < b->n; i++)
        json_object_foreach((json_t *)keyword_of(b, i, "properties"), key,
                            v) if (add_member(o, key) < 0) return -ENOMEM;
    for (size_t i = 0; i < b->n; i++)
        json_array_foreach(keyword_of(b, i, "required"), k, v)
        {
            if (!json_is_string(v))
                return schema_refuse(o->s, b->v[i], "required", "must hold strings");
            if (add_member(o, json_string_value(v)) < 0)
                return -ENOMEM;
            o->members[json_integer_value(json_object_get(o->index, json_string_value(v)))]
                .required = true;
        }
    o->closed_by_names = names != NULL;
    json_array_foreach(names, k, v) if (json_is_string(v) &&
                                        add_member(o, json_string_value(v)) < 0) return -ENOMEM;
    return 0;
}

static int make_members(struct object *o)
{
    int r = collect_members(o);
    size_t kept = 0;
    for (size_t i = 0; r == 0 && i < o->n; i++) {
        struct member *m = &o->members[i];
        r = member_text(o, str_of(m->name), m);
        o->impossible |= m->never && m->required;
        if (!m->never)
            o->n_required += m->required;
    }
    /* Members that can never be there stay known by name (in index), so that no other has it. */
    for (size_t i = 0; i < o->n; i++)
        if (!o->members[i].never)
            o->members[kept++] = o->members[i];
    o->n = kept;
    return r;
}

/* --- members without a name of their own --- */

struct pattern {
    const json_t *leaf, *schema;
    const char *text;
};

static size_t collect_patterns(const struct branch *b, struct pattern *ret, size_t max)
{
    size_t n = 0;
    const char *text;
    json_t *child;
    for (size_t i = 0; i < b->n; i++)
        json_object_foreach((json_t *)keyword_of(b, i, "patternProperties"), text, child)
        {
            if (n < max)
                ret[n] = (struct pattern){ b->v[i], child, text };
            n++;
        }
    return n;
}

/* The schemas of members whose names match exactly the patterns of `set`; false: none may be. */
static bool rest_schemas(const struct object *o, const struct pattern *p, size_t n, unsigned set,
                         const json_t **ret, size_t *ret_n)
{
    size_t k = 0;
    for (size_t i = 0; i < o->b->n; i++) {
        bool matched = false;
        for (size_t j = 0; j < n; j++)
            if (p[j].leaf == o->b->v[i] && set >> j & 1) {
                matched = true;
                ret[k++] = p[j].schema;
            }
        const json_t *more = keyword_of(o->b, i, "additionalProperties");
        if (!matched && more)
            ret[k++] = more;
    }
    for (size_t i = 0; i < k; i++)
        if (json_is_false(ret[i]))
            return false;
    *ret_n = k;
    return true;
}

static int name_operands(struct object *o, struct lang *l)
{
    for (size_t i = 0; i < o->b->n; i++) {
        const json_t *names = keyword_of(o->b, i, "propertyNames");
        struct conjunction c = { 0 };
        struct branches v = { 0 };
        bool never = false;
        if (!names)
            continue;
        int r = conjunction_of(o->s, &names, 1, &c, &never);
        if (r == 0 && c.n > 0)
            r = schema_expand(o->s, &c, &v);
        if (r != 0)
            return r;
        if (never || (c.n > 0 && v.n == 0))
            lang_add_words(l, NULL, 0, /* negated= */ false); /* no name at all */
        if (v.n == 0)
            continue;
        if (v.n != 1)
            r = schema_refuse(o->s, o->b->v[i], "propertyNames",
                              "is honoured with one description of strings, without alternatives");
        if (r == 0)
            r = schema_string_operands(o->s, &v.v[0], l);
        if (r != 0)
            return r;
    }
    return 0;
}

/* Names that are none of the members' own and match exactly the patterns of `set`. */
static int rest_name(struct object *o, const struct pattern *p, size_t n, unsigned set,
                     grammar_expr *ret)
{
    CLEANUP(lang_freep) struct lang *l = lang_new();
    CLEANUP(lang_dfa_done) struct lang_dfa d = LANG_DFA_INIT;
    size_t n_names = json_object_size(o->index);
    struct str *names = arena_array(o->s->mem, n_names + 1, sizeof(*names));
    size_t k = 0;
    const char *key;
    json_t *v;
    if (!l || !names)
        return -ENOMEM;
    json_object_foreach(o->index, key, v) names[k++] = str_of(key);
    if (k)
        lang_add_words(l, names, k, /* negated= */ true);
    for (size_t i = 0; i < n; i++) {
        struct fail why = { 0 };
        int r =
            regex_add(l, str_of(p[i].text), set >> i & 1 ? REGEX_SOMEWHERE : REGEX_NOWHERE, &why);
        if (r == FAILED)
            return schema_refuse(o->s, p[i].leaf, "patternProperties", "cannot be honoured: %s",
                                 why.message);
        if (r < 0)
            return r;
    }
    int r = name_operands(o, l);
    if (r != 0)
        return r;
    if (lang_is_open(l)) {
        *ret = json_string_expr(o->s->b, 0, GRAMMAR_MANY);
        return 0;
    }
    r = schema_determinise(o->s, o->b->v[0], n ? "patternProperties" : "additionalProperties", l,
                           &d);
    return r != 0 ? r : json_dfa_expr(o->s->b, &d, /* quoted= */ true, ret);
}

static int make_rest(struct object *o)
{
    struct json_schema *s = o->s;
    struct pattern p[SCHEMA_MAX_PATTERNS];
    size_t n = collect_patterns(o->b, p, ARRAY_LEN(p));
    if (n > ARRAY_LEN(p))
        return schema_refuse(s, p[0].leaf, "patternProperties", "has more than %d patterns",
                             SCHEMA_MAX_PATTERNS);
    const json_t **v = arena_array(s->mem, n + o->b->n + 1, sizeof(*v));
    grammar_expr *texts = arena_array(s->mem, (size_t)1 << n, sizeof(*texts));
    size_t n_texts = 0;
    if (!v || !texts)
        return -ENOMEM;
    if (o->closed_by_names || closed_by_default(o) || o->max <= o->n_required)
        return 0;
    for (unsigned set = 0; set < 1u << n; set++) {
        size_t n_v = 0;
        grammar_expr name;
        grammar_expr value;
        if (!rest_schemas(o, p, n, set, v, &n_v))
            continue;
        int r = rest_name(o, p, n, set, &name);
        if (r == 0)
            r = schema_value(s, v, n_v, &value);
        if (r != 0)
            return r;
        grammar_expr parts[] = { name, s->t.colon, value };
        texts[n_texts++] = grammar_seq(s->b, parts, ARRAY_LEN(parts));
    }
    o->rest.open = n_texts > 0;
    o->rest.text = grammar_alt(s->b, texts, n_texts);
    return 0;
}

/* --- the order of members as rules --- */

/*
 * One rule for each (next member, members written): right-linear, so that n optional members
 * cost n rules and not 2^n texts. Written counts only as far as a bound cares.
 */
struct chain {
    struct object *o;
    size_t counts; /* written is 0 … counts - 1; the last one stands for more */
    grammar_expr *rules;
};

static grammar_expr *rule_at(const struct chain *c, size_t member, size_t written)
{
    size_t w = written < c->counts - 1 ? written : c->counts - 1;
    return &c->rules[member * c->counts + w];
}

/* A member's text behind what was written, and what follows it. */
static grammar_expr then(const struct chain *c, size_t written, grammar_expr text,
                         grammar_expr next)
{
    struct grammar_builder *b = c->o->s->b;
    grammar_expr parts[] = { written ? c->o->s->t.comma : grammar_empty(b), text, next };
    return grammar_seq(b, parts, ARRAY_LEN(parts));
}

static void define_state(const struct chain *c, size_t member, size_t written)
{
    struct object *o = c->o;
    struct grammar_builder *b = o->s->b;
    grammar_expr parts[2];
    size_t n = 0;
    bool room = written < o->max;
    if (member < o->n) {
        const struct member *m = &o->members[member];
        if (room)
            parts[n++] = then(c, written, m->text, *rule_at(c, member + 1, written + 1));
        if (!m->required)
            parts[n++] = *rule_at(c, member + 1, written);
    } else {
        if (room && o->rest.open)
            parts[n++] = then(c, written, o->rest.text, *rule_at(c, member, written + 1));
        if (written > 0 && written >= o->min) /* {} is a text of its own */
            parts[n++] = grammar_empty(b);
    }
    grammar_define(b, *rule_at(c, member, written), grammar_alt(b, parts, n));
}

/* Bounds that the number of members cannot pass anyway do not count. */
static size_t counts_of(const struct object *o)
{
    size_t most = o->rest.open ? GRAMMAR_MANY : o->n;
    size_t counts = 1;
    if (o->min > counts)
        counts = o->min;
    if (o->max < most && o->max > counts)
        counts = o->max;
    return counts + 1;
}

static int check_counts(struct object *o, size_t counts)
{
    const json_t *leaf = o->b->v[0];
    for (size_t i = 0; i < o->b->n; i++)
        if (keyword_of(o->b, i, "minProperties") || keyword_of(o->b, i, "maxProperties"))
            leaf = o->b->v[i];
    if (counts > SCHEMA_MAX_CELLS / (o->n + 1) && counts > 2)
        return schema_refuse(o->s, leaf, o->max < GRAMMAR_MANY ? "maxProperties" : "minProperties",
                             "is too large to be followed");
    /* Two members of unknown names might have the same one, and then count once. */
    if (o->rest.open && o->min > o->n_required + 1)
        return schema_refuse(o->s, leaf, "minProperties",
                             "asks for members that the schema does not name; name them");
    return 0;
}

static int make_chain(struct object *o, grammar_expr *ret)
{
    struct json_schema *s = o->s;
    if (o->min <= o->n_required)
        o->min = 0; /* holds anyway */
    struct chain c = { .o = o, .counts = counts_of(o) };
    int r = check_counts(o, c.counts);
    if (r != 0)
        return r;
    c.rules = arena_array(s->mem, (o->n + 1) * c.counts, sizeof(*c.rules));
    if (!c.rules)
        return -ENOMEM;
    for (size_t i = 0; i < (o->n + 1) * c.counts; i++)
        c.rules[i] = grammar_rule(s->b);
    for (size_t i = 0; i <= o->n; i++)
        for (size_t w = 0; w < c.counts; w++)
            define_state(&c, i, w);
    bool may_be_empty = o->n_required == 0 && o->min == 0;
    bool may_be_full = (o->n > 0 || o->rest.open) && o->max > 0;
    grammar_expr full[] = { s->t.open_object, *rule_at(&c, 0, 0), s->t.close_object };
    grammar_expr parts[2];
    size_t n = 0;
    if (may_be_empty)
        parts[n++] = grammar_bytes(s->b, STR("{}"));
    if (may_be_full)
        parts[n++] = grammar_seq(s->b, full, ARRAY_LEN(full));
    *ret = grammar_alt(s->b, parts, n);
    return 0;
}

static int check_shapes(struct object *o)
{
    static const char *const maps[] = { "properties", "patternProperties" };
    for (size_t i = 0; i < o->b->n; i++) {
        const json_t *required = keyword_of(o->b, i, "required");
        for (size_t k = 0; k < ARRAY_LEN(maps); k++) {
            const json_t *v = keyword_of(o->b, i, maps[k]);
            if (v && !json_is_object(v))
                return schema_refuse(o->s, o->b->v[i], maps[k], "must be an object of schemas");
        }
        /* The oldest drafts have a flag of this name, which says nothing of this value. */
        if (required && !json_is_array(required) && !json_is_boolean(required))
            return schema_refuse(o->s, o->b->v[i], "required", "must be an array of names");
        int r = schema_count(o->s, o->b->v[i], "minProperties", &(size_t){ 0 });
        if (r != 0)
            return r;
    }
    return 0;
}

int schema_object(struct json_schema *s, const struct branch *b, grammar_expr *ret)
{
    struct object o = { .s = s, .b = b, .max = GRAMMAR_MANY };
    int r = check_shapes(&o);
    for (size_t i = 0; r == 0 && i < b->n; i++) {
        size_t min = 0;
        size_t max = GRAMMAR_MANY;
        r = schema_count(s, b->v[i], "minProperties", &min);
        if (r == 0)
            r = schema_count(s, b->v[i], "maxProperties", &max);
        o.min = min > o.min ? min : o.min;
        o.max = max < o.max ? max : o.max;
    }
    if (r != 0)
        return r;
    o.index = schema_keep(s, json_object());
    if (!o.index)
        return -ENOMEM;
    r = make_members(&o);
    if (r == 0 && (o.impossible || o.n_required > o.max || o.min > o.max)) {
        *ret = grammar_never(s->b);
        return 0;
    }
    if (r == 0)
        r = make_rest(&o);
    return r != 0 ? r : make_chain(&o, ret);
}
