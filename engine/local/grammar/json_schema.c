#include "engine/local/grammar/json_schema.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/num.h"
#include "engine/local/grammar/json_schema_impl.h"

enum { RULE_SLOTS = SCHEMA_MAX_CONJUNCTIONS * 2, SCHEMA_ARENA = 256 * MIB };

struct str schema_str(const json_t *string)
{
    return (struct str){ json_string_value(string), json_string_length(string) };
}

json_t *schema_keep(struct json_schema *s, json_t *v)
{
    if (!v || json_array_append_new(s->made, v) < 0)
        return NULL;
    return v;
}

/* --- places --- */

static size_t hash_pointer(const void *p)
{
    return (size_t)(((uint64_t)(uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ull >> 20);
}

static struct schema_place **place_slot(struct json_schema *s, const json_t *v)
{
    size_t i = hash_pointer(v) & (s->n_slots - 1);
    while (s->places[i] && s->places[i]->v != v)
        i = (i + 1) & (s->n_slots - 1);
    return &s->places[i];
}

static int grow_places(struct json_schema *s)
{
    size_t n = s->n_slots ? s->n_slots * 2 : 1024;
    struct schema_place **old = s->places;
    size_t n_old = s->n_slots;
    struct schema_place **v = calloc(n, sizeof(*v));
    if (!v)
        return -ENOMEM;
    s->places = v;
    s->n_slots = n;
    for (size_t i = 0; i < n_old; i++)
        if (old[i])
            *place_slot(s, old[i]->v) = old[i];
    free(old);
    return 0;
}

/* The place of a value, made where it is unknown (what negation made has no parent). */
static struct schema_place *add_place(struct json_schema *s, const json_t *v)
{
    if (s->n_places * 2 >= s->n_slots && grow_places(s) < 0)
        return NULL;
    struct schema_place **slot = place_slot(s, v);
    if (!*slot) {
        *slot = arena_alloc(s->mem, sizeof(**slot));
        if (!*slot)
            return NULL;
        (*slot)->v = v;
        s->n_places++;
    }
    return *slot;
}

struct schema_place *schema_place_of(struct json_schema *s, const json_t *v)
{
    return add_place(s, v);
}

static void put_pointer(struct buf *b, const struct schema_place *p)
{
    const struct schema_place *chain[SCHEMA_MAX_DEPTH + 1];
    size_t n = 0;
    for (; p && p->parent && n < ARRAY_LEN(chain); p = p->parent)
        chain[n++] = p;
    while (n-- > 0) {
        buf_addc(b, '/');
        if (!chain[n]->key) {
            buf_addf(b, "%zu", chain[n]->index);
            continue;
        }
        for (const char *c = chain[n]->key; *c; c++) {
            if (*c == '~' || *c == '/')
                buf_adds(b, *c == '~' ? "~0" : "~1");
            else
                buf_addc(b, *c);
        }
    }
}

int schema_refuse(struct json_schema *s, const json_t *schema, const char *keyword, const char *fmt,
                  ...)
{
    enum { SHOWN = 120 };
    CLEANUP(buf_done) struct buf path = BUF_INIT(64 * KIB);
    CLEANUP(buf_done) struct buf why = BUF_INIT(KIB);
    va_list args;
    va_start(args, fmt);
    buf_vaddf(&why, fmt, args);
    va_end(args);
    put_pointer(&path, *place_slot(s, schema));
    struct str at = buf_err(&path) < 0 ? STR_NULL : buf_str(&path);
    const char *cut = at.n > SHOWN ? "…" : "";
    if (at.n > SHOWN)
        at = str_sub(at, at.n - SHOWN);
    while (at.n && ((unsigned char)at.p[0] & 0xc0) == 0x80)
        at = str_sub(at, 1);
    return fail_param(s->reterr, FAIL_invalid_request, s->o->param,
                      "the schema at '#%s" STR_FMT "': '%s' " STR_FMT, cut, STR_ARG(at), keyword,
                      STR_ARG(buf_str(&why)));
}

static int refuse_document(const struct json_schema *s, const char *what)
{
    return fail_param(s->reterr, FAIL_invalid_request, s->o->param, "the schema %s", what);
}

static int add_anchor(struct json_schema *s, const json_t *schema, const char *keyword, bool hash)
{
    const json_t *name = json_object_get(schema, keyword);
    if (!json_is_string(name))
        return 0;
    CLEANUP(buf_done) struct buf key = BUF_INIT(64 * KIB);
    if (hash)
        buf_addc(&key, '#');
    buf_adds(&key, json_string_value(name));
    if (buf_err(&key) < 0)
        return 0; /* too long to be meant */
    /* Kept as an integer that holds the address: anchors live as long as the document. */
    json_t *at = json_integer((json_int_t)(intptr_t)schema);
    return json_object_set_new(s->anchors, key.p, at) < 0 ? -ENOMEM : 0;
}

/* Walks the document: places, anchors, bounds. */
static int walk(struct json_schema *s, json_t *v, struct schema_place *parent, const char *key,
                size_t index, unsigned depth)
{
    if (!json_is_object(v) && !json_is_array(v))
        return 0;
    if (depth > SCHEMA_MAX_DEPTH)
        return refuse_document(s, "is nested more than 64 levels deep");
    struct schema_place *p = add_place(s, v);
    if (!p)
        return -ENOMEM;
    if (s->n_places > SCHEMA_MAX_NODES)
        return refuse_document(s, "has too many values");
    p->parent = parent;
    p->key = key;
    p->index = index;
    int r = 0;
    size_t i;
    const char *name;
    json_t *child;
    if (json_is_array(v)) {
        json_array_foreach(v, i,
                           child) if ((r = walk(s, child, p, NULL, i, depth + 1)) != 0) return r;
        return 0;
    }
    if ((r = add_anchor(s, v, "$anchor", true)) != 0 || (r = add_anchor(s, v, "$id", false)) != 0 ||
        (r = add_anchor(s, v, "id", false)) != 0)
        return r;
    json_object_foreach(v, name,
                        child) if ((r = walk(s, child, p, name, 0, depth + 1)) != 0) return r;
    return 0;
}

/* --- references --- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* Undoes %XX, then ~1 and ~0. */
static void decode_segment(struct buf *ret, struct str s)
{
    CLEANUP(buf_done) struct buf raw = BUF_INIT(64 * KIB);
    for (size_t i = 0; i < s.n; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n + 0 ? hex_value(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex_value(s.p[i + 2]) : -1;
        if (low >= 0) {
            buf_addc(&raw, (char)(high * 16 + low));
            i += 2;
        } else {
            buf_addc(&raw, s.p[i]);
        }
    }
    struct str t = buf_err(&raw) < 0 ? STR_NULL : buf_str(&raw);
    for (size_t i = 0; i < t.n; i++) {
        bool tilde = t.p[i] == '~' && i + 1 < t.n && (t.p[i + 1] == '0' || t.p[i + 1] == '1');
        buf_addc(ret, tilde ? (t.p[i + 1] == '0' ? '~' : '/') : t.p[i]);
        i += tilde;
    }
}

static const json_t *walk_pointer(const json_t *at, struct str pointer)
{
    while (at && pointer.n > 0) {
        struct str segment;
        struct str rest;
        pointer = str_sub(pointer, 1); /* the slash */
        if (!str_cut(pointer, '/', &segment, &rest)) {
            segment = pointer;
            rest = STR_NULL;
        } else {
            rest = (struct str){ rest.p - 1, rest.n + 1 };
        }
        CLEANUP(buf_done) struct buf name = BUF_INIT(64 * KIB);
        decode_segment(&name, segment);
        uint64_t index = 0;
        if (buf_err(&name) < 0)
            return NULL;
        if (json_is_array(at)) {
            if (num_parse_u64(&index, buf_str(&name), 0, SCHEMA_MAX_NODES) < 0)
                return NULL;
            at = json_array_get(at, index);
        } else {
            at = json_object_getn(at, name.n ? name.p : "", name.n);
        }
        pointer = rest;
    }
    return at;
}

/* The schema around that has an $id of its own: pointers begin there. */
static const json_t *base_of(struct json_schema *s, const json_t *schema)
{
    const struct schema_place *p = *place_slot(s, schema);
    for (; p && p->parent; p = p->parent) {
        const char *id = json_string_value(json_object_get(p->v, "$id"));
        if (id && id[0] != '#')
            return p->v;
    }
    return s->root;
}

int schema_follow(struct json_schema *s, const json_t *schema, const char *keyword,
                  const json_t **ret)
{
    const json_t *name = json_object_get(schema, keyword);
    if (!json_is_string(name))
        return schema_refuse(s, schema, keyword, "must be a string");
    struct str ref = schema_str(name);
    const json_t *known = json_object_get(s->anchors, ref.p);
    ptrdiff_t hash = str_find(ref, STR("#"));
    const json_t *base = base_of(s, schema);
    struct str fragment = hash < 0 ? STR_NULL : str_sub(ref, (size_t)hash + 1);
    if (known) {
        *ret = (const json_t *)(intptr_t)json_integer_value(known); /* see add_anchor */
        return 0;
    }
    if (hash != 0) {
        CLEANUP(own_free) char *id = str_dup(hash < 0 ? ref : str_head(ref, (size_t)hash));
        if (!id)
            return -ENOMEM;
        known = json_object_get(s->anchors, id);
        if (!known)
            return schema_refuse(s, schema, keyword,
                                 "names another document; only this one is read, as '#/$defs/x'");
        base = (const json_t *)(intptr_t)json_integer_value(known);
    }
    if (fragment.n > 0 && fragment.p[0] != '/')
        base = NULL;
    *ret = base ? walk_pointer(base, fragment) : NULL;
    if (!*ret)
        return schema_refuse(s, schema, keyword, "names nothing in the document: " STR_FMT,
                             STR_ARG(str_head(ref, 80)));
    return 0;
}

/* --- keywords --- */

static const char *const honoured[] = {
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "$ref",
    NOT_ENUM,
    NOT_PATTERN,
};
/* Say nothing of values, or hold what others refer to. */
static const char *const annotations[] = {
    "title",
    "description",
    "default",
    "examples",
    "example",
    "$schema",
    "$id",
    "id",
    "$anchor",
    "$comment",
    "$defs",
    "definitions",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "discriminator",
    "externalDocs",
    "xml",
    "$dynamicAnchor",
    "$recursiveAnchor",
};
static const char *const refused[] = {
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
};

static bool among(const char *word, const char *const *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i], word) == 0)
            return true;
    return false;
}

int schema_check_keywords(struct json_schema *s, const json_t *schema)
{
    struct schema_place *p = schema_place_of(s, schema);
    if (!p)
        return -ENOMEM;
    if (p->checked)
        return 0;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)schema, key, v)
    {
        bool extension = strncmp(key, "x-", 2) == 0;
        if (among(key, refused, ARRAY_LEN(refused)))
            return schema_refuse(s, schema, key, "is not honoured here");
        if (s->o->strict && !extension && !among(key, honoured, ARRAY_LEN(honoured)) &&
            !among(key, annotations, ARRAY_LEN(annotations)))
            return schema_refuse(s, schema, key, "is not a keyword that strict schemas may use");
    }
    p->checked = true;
    return 0;
}

int schema_count(struct json_schema *s, const json_t *schema, const char *keyword, size_t *ret)
{
    const json_t *v = json_object_get(schema, keyword);
    if (!v)
        return 0;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || d != floor(d))
        return schema_refuse(s, schema, keyword, "must be a whole number from 0");
    *ret = d > (double)UINT32_MAX ? UINT32_MAX : (size_t)d;
    return 0;
}

void schema_number_text(const json_t *number, char ret[static SCHEMA_NUMBER_BYTES])
{
    char text[SCHEMA_NUMBER_BYTES] = "";
    double d = json_real_value(number), back = 0;
    if (json_is_integer(number))
        (void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(number));
    /* The shortest decimal that reads back as the same double. */
    for (int digits = 15; !json_is_integer(number) && digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, d);
        if (num_parse_double(&back, str_of(text), -INFINITY, INFINITY) == 0 && back == d)
            break;
    }
    memcpy(ret, text, sizeof(text));
}

int schema_decimal(struct json_schema *s, const json_t *schema, const char *keyword,
                   const json_t *number, struct decimal *ret)
{
    char text[SCHEMA_NUMBER_BYTES];
    if (!json_is_number(number))
        return schema_refuse(s, schema, keyword, "must be a number");
    schema_number_text(number, text);
    if (!decimal_parse(ret, str_of(text)))
        return schema_refuse(s, schema, keyword, "has more than %d digits", DECIMAL_DIGITS);
    return 0;
}

/* --- rules --- */

static struct schema_rule **rule_slot(struct json_schema *s, const struct conjunction *c)
{
    size_t h = 0;
    for (size_t i = 0; i < c->n; i++)
        h = h * 31 + hash_pointer(c->v[i]);
    for (h %= RULE_SLOTS; s->rules[h]; h = (h + 1) % RULE_SLOTS) {
        const struct conjunction *k = &s->rules[h]->c;
        if (k->n == c->n && memcmp(k->v, c->v, c->n * sizeof(*c->v)) == 0)
            break;
    }
    return &s->rules[h];
}

enum { N_WORDS = 3 };
static const struct {
    const char *text;
    unsigned type;
    json_type kind;
} words[N_WORDS] = {
    { "null", TYPE_NULL, JSON_NULL },
    { "true", TYPE_BOOLEAN, JSON_TRUE },
    { "false", TYPE_BOOLEAN, JSON_FALSE },
};

static int listed_values(struct json_schema *s, const json_t *values, grammar_expr *ret)
{
    size_t n = json_array_size(values);
    grammar_expr *v = arena_array(s->mem, n + 1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        v[i] = schema_literal(s, json_array_get(values, i));
    *ret = grammar_alt(s->b, v, n);
    return 0;
}

/* What `not` excludes among words; arrays and objects cannot be excluded one by one. */
static int exclude_words(struct json_schema *s, const struct branch *b, unsigned types,
                         bool *ret_excluded)
{
    for (size_t i = 0; i < b->n; i++) {
        size_t k;
        json_t *v;
        json_array_foreach(json_object_get(b->v[i], NOT_ENUM), k, v)
        {
            if ((json_is_array(v) && types & TYPE_ARRAY) ||
                (json_is_object(v) && types & TYPE_OBJECT))
                return schema_refuse(s, b->v[i], "not", "cannot exclude single arrays and objects");
            for (size_t w = 0; w < N_WORDS; w++)
                ret_excluded[w] |= json_typeof(v) == words[w].kind;
        }
    }
    return 0;
}

static int branch_value(struct json_schema *s, const struct branch *b, grammar_expr *ret)
{
    grammar_expr parts[8];
    size_t n = 0;
    unsigned types = TYPE_ALL;
    bool integer = false;
    bool excluded[N_WORDS] = { false };
    json_t *values = NULL;
    int r = branch_values(s, b, &values);
    if (r == 0 && values)
        return listed_values(s, values, ret);
    if (r == 0)
        r = branch_types(s, b, &types, &integer);
    if (r == 0 && types == TYPE_ALL)
        types = branch_meant_types(b);
    if (r == 0)
        r = exclude_words(s, b, types, excluded);
    if (r != 0)
        return r;
    for (size_t i = 0; i < N_WORDS; i++)
        if (types & words[i].type && !excluded[i])
            parts[n++] = grammar_bytes(s->b, str_of(words[i].text));
    if (types & TYPE_NUMBER && (r = schema_number(s, b, integer, &parts[n++])) != 0)
        return r;
    if (types & TYPE_STRING && (r = schema_string(s, b, &parts[n++])) != 0)
        return r;
    if (types & TYPE_ARRAY && (r = schema_array(s, b, &parts[n++])) != 0)
        return r;
    if (types & TYPE_OBJECT && (r = schema_object(s, b, &parts[n++])) != 0)
        return r;
    *ret = grammar_alt(s->b, parts, n);
    return 0;
}

static int conjunction_value(struct json_schema *s, const struct conjunction *c, grammar_expr *ret)
{
    struct branches branches = { 0 };
    int r = schema_expand(s, c, &branches);
    if (r != 0)
        return r;
    grammar_expr *v = arena_array(s->mem, branches.n + 1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    for (size_t i = 0; i < branches.n; i++)
        if ((r = branch_value(s, &branches.v[i], &v[i])) != 0)
            return r;
    *ret = grammar_alt(s->b, v, branches.n);
    return 0;
}

/* Scalars need no rule of their own: they end where they are. */
static bool is_plain(const struct conjunction *c)
{
    static const char *const deep[] = { "$ref",  "allOf",      "anyOf", "oneOf",
                                        "if",    "properties", "items", "prefixItems",
                                        "const", "enum",       "not" };
    const char *type = json_string_value(json_object_get(c->v[0], "type"));
    if (c->n != 1 || !type || strcmp(type, "object") == 0 || strcmp(type, "array") == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(deep); i++)
        if (json_object_get(c->v[0], deep[i]))
            return false;
    return true;
}

int schema_value(struct json_schema *s, const json_t *const *schemas, size_t n, grammar_expr *ret)
{
    struct conjunction c = { 0 };
    bool never = false;
    int r = conjunction_of(s, schemas, n, &c, &never);
    if (r != 0)
        return r;
    if (never) {
        *ret = grammar_never(s->b);
        return 0;
    }
    if (c.n == 0) {
        if (!s->any_made)
            s->any = json_value_expr(s->b);
        s->any_made = true;
        *ret = s->any;
        return 0;
    }
    if (is_plain(&c))
        return conjunction_value(s, &c, ret);
    struct schema_rule **slot = rule_slot(s, &c);
    if (!*slot) {
        if (s->n_rules == SCHEMA_MAX_CONJUNCTIONS)
            return refuse_document(s, "combines its parts in too many ways");
        struct schema_rule *rule = arena_alloc(s->mem, sizeof(*rule));
        if (!rule)
            return -ENOMEM;
        *rule = (struct schema_rule){ c, grammar_rule(s->b), s->later };
        s->later = rule;
        s->n_rules++;
        *slot = rule;
    }
    *ret = (*slot)->rule;
    return 0;
}

/* --- the whole --- */

static void schema_done(struct json_schema *s)
{
    free(s->places);
    free(s->rules);
    json_decref(s->root);
    json_decref(s->made);
    json_decref(s->anchors);
    json_decref(s->shapes);
    schema_patterns_done(s);
    (void)arena_free(s->mem);
}

static int parse(struct json_schema *s, struct str text)
{
    json_error_t e;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    if (text.n > SCHEMA_MAX_BYTES)
        return refuse_document(s, "is longer than 1 MiB");
    s->root = json_loadb(text.n ? text.p : "", text.n, flags, &e);
    if (!s->root && json_error_code(&e) == json_error_numeric_overflow)
        s->root = json_loadb(text.p, text.n, flags | JSON_DECODE_INT_AS_REAL, &e);
    if (!s->root)
        return fail_param(s->reterr, FAIL_invalid_request, s->o->param,
                          "the schema is not JSON: line %d, column %d: %.100s", e.line, e.column,
                          e.text);
    return 0;
}

static int compile(struct json_schema *s, grammar_expr *ret)
{
    const json_t *root = s->root;
    int r = schema_value(s, &root, 1, ret);
    while (r == 0 && s->later) {
        struct schema_rule *rule = s->later;
        grammar_expr body;
        s->later = rule->later;
        r = conjunction_value(s, &rule->c, &body);
        if (r == 0)
            grammar_define(s->b, rule->rule, body);
    }
    return r;
}

int json_schema_expr(struct grammar_builder *b, struct str schema,
                     const struct json_schema_options *o, grammar_expr *ret, struct fail *reterr)
{
    CLEANUP(schema_done) struct json_schema s = { .b = b, .o = o, .reterr = reterr };
    s.mem = arena_new(SCHEMA_ARENA);
    s.made = json_array();
    s.anchors = json_object();
    s.shapes = json_object();
    s.rules = calloc(RULE_SLOTS, sizeof(struct schema_rule *));
    if (!s.mem || !s.made || !s.anchors || !s.shapes || !s.rules || grow_places(&s) < 0)
        return -ENOMEM;
    json_tokens_make(b, &s.t);
    int r = parse(&s, schema);
    if (r == 0)
        r = walk(&s, s.root, /* parent= */ NULL, /* key= */ NULL, 0, 0);
    if (r == 0)
        r = compile(&s, ret);
    return r;
}
