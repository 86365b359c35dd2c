#include "engine/upstream/schema.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/splice.h"

#include <errno.h>

enum {
    WORK_MAX = 8 << 20, /* bytes looked at, a schema's own once a level: references may multiply */
    SOURCES_MAX = 32,   /* schemas that are merged into one */
    POINTER_PART = 256,
};

static bool is_listed(struct str text, const char *const *words)
{
    for (; *words; words++)
        if (str_is(text, *words))
            return true;
    return false;
}

static void add_key(struct buf *b, struct str key)
{
    buf_adds(b, b->n && (b->p[b->n - 1] == '{' || b->p[b->n - 1] == '[') ? "\"" : ",\"");
    buf_add(b, key);
    buf_adds(b, "\":");
}

static void add_member(struct buf *b, const char *key, struct str json)
{
    add_key(b, str_of(key));
    buf_add(b, json);
}

static void add_comma(struct buf *b)
{
    if (b->n && b->p[b->n - 1] != '[')
        buf_addc(b, ',');
}

/* Whether a member `type`, a word or an array of them, says it. */
static bool has_type(struct str type, const char *word)
{
    struct json_view_walk w = json_view_walk(type);
    for (struct str item; json_view_next(&w, NULL, &item);)
        if (json_view_is(item, word))
            return true;
    return json_view_is(type, word);
}

bool schema_has_members(struct str schema)
{
    static const char *const others[] = { "$ref", "allOf", "anyOf", "oneOf", NULL };
    if (json_view_count(json_view_get(schema, "properties")) > 0)
        return true;
    for (size_t i = 0; others[i]; i++)
        if (json_view_get(schema, others[i]).p)
            return true;
    return false;
}

void schema_add_object(struct buf *b, struct str schema)
{
    struct splice type = { .key = "type", .json = STR("\"object\""), .keep = true };
    if (json_view_kind(schema) != JSON_VIEW_object)
        buf_adds(b, "{\"type\":\"object\",\"properties\":{}}");
    else if (splice_object(b, schema, &type, 1) < 0 && b->err == 0)
        b->err = -EINVAL;
}

/* ---- closed ---- */

struct closed {
    struct buf *b;
    struct buf more; /* what the schema at hand says that there is no word for */
    unsigned depth;
};

static void close_schema(struct closed *c, struct str schema);

static void close_all(struct closed *c, const char *key, struct str container)
{
    struct json_view_walk w = json_view_walk(container);
    struct str name, value;
    add_key(c->b, str_of(key));
    buf_addc(c->b, w.is_object ? '{' : '[');
    while (json_view_next(&w, &name, &value)) {
        if (w.is_object)
            add_key(c->b, name);
        else
            add_comma(c->b);
        close_schema(c, value);
    }
    buf_addc(c->b, w.is_object ? '}' : ']');
}

static bool is_known_format(struct str value)
{
    static const char *const known[] = { "date-time", "time", "date", "duration", "email",
                                         "hostname",  "uri",  "ipv4", "ipv6",     "uuid" };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (json_view_is(value, known[i]))
            return true;
    return false;
}

static void close_member(struct closed *c, struct str key, struct str value)
{
    static const char *const same[] = { "type",    "title",    "enum", "const",
                                        "default", "required", NULL };
    static const char *const gone[] = { "$schema",     "$id",  "$comment", "additionalProperties",
                                        "description", "$ref", NULL };
    bool is_known = (str_is(key, "format") && is_known_format(value)) ||
                    (str_is(key, "minItems") && (str_is(value, "0") || str_is(value, "1")));
    if (is_listed(key, gone))
        return;
    if (is_known || is_listed(key, same)) {
        add_key(c->b, key);
        buf_add(c->b, value);
    } else if (str_is(key, "anyOf") || str_is(key, "oneOf")) {
        close_all(c, "anyOf", value);
    } else if (str_is(key, "allOf")) {
        close_all(c, "allOf", value);
    } else if (str_is(key, "properties")) {
        close_all(c, "properties", value);
    } else if (str_is(key, "items") && json_view_kind(value) == JSON_VIEW_object) {
        add_key(c->b, key);
        close_schema(c, value);
    } else {
        buf_adds(&c->more, c->more.n ? ", " : "{");
        buf_add(&c->more, key);
        buf_adds(&c->more, ": ");
        buf_add(&c->more, value);
    }
}

static void add_description(struct buf *b, struct str description, struct buf *more)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_FORMAT_BYTES);
    json_view_add_text(&text, description);
    if (more->n) {
        buf_adds(&text, text.n ? "\n\n" : "");
        buf_add(&text, buf_str(more));
        buf_addc(&text, '}');
    }
    if (text.n == 0)
        return;
    add_key(b, STR("description"));
    buf_add_json(b, buf_str(&text));
}

static void close_schema(struct closed *c, struct str schema)
{
    struct str type = json_view_get(schema, "type"), ref = json_view_get(schema, "$ref");
    struct str key, value;
    if (json_view_kind(schema) != JSON_VIEW_object || c->depth >= LIMIT_JSON_DEPTH) {
        buf_add(c->b, schema); /* true, false, or what is none */
        return;
    }
    struct closed inner = { c->b, BUF_INIT(LIMIT_FORMAT_BYTES), c->depth + 1 };
    buf_addc(c->b, '{');
    struct json_view_walk w = json_view_walk(schema);
    while (json_view_next(&w, &key, &value)) {
        if (str_is(key, "$defs") || str_is(key, "definitions"))
            close_all(&inner, str_is(key, "$defs") ? "$defs" : "definitions", value);
        else if (!ref.p) /* nothing stands beside a reference */
            close_member(&inner, key, value);
    }
    if (ref.p) {
        add_member(c->b, "$ref", ref);
    } else {
        if (has_type(type, "object") || json_view_get(schema, "properties").p)
            add_member(c->b, "additionalProperties", STR("false"));
        add_description(c->b, json_view_get(schema, "description"), &inner.more);
    }
    buf_addc(c->b, '}');
    buf_done(&inner.more);
}

void schema_add_closed(struct buf *b, struct str schema)
{
    struct closed c = { .b = b };
    close_schema(&c, schema);
}

/* ---- OpenAPI's subset ---- */

/* The schemas that say one thing together; of a member the first that has it counts. */
struct merged {
    struct str sources[SOURCES_MAX];
    size_t n;
    bool is_nullable;
    const struct merged *outer; /* what it is in: whoever is met there again refers to itself */
};

struct openapi {
    struct buf *b;
    struct str root;
    size_t work, checked; /* bytes */
};

/* Whether so many more bytes may be looked at. */
static bool may_look(struct openapi *o, size_t bytes)
{
    o->work = o->work + bytes < WORK_MAX ? o->work + bytes : WORK_MAX;
    return o->work < WORK_MAX;
}

/* What an outer schema says of each of its alternatives. */
struct inherited {
    bool is_nullable;
    struct str description;
};

/* "#/$defs/Point" → the value there (RFC 6901); p NULL: none. */
static struct str follow(struct str root, struct str ref)
{
    char part[POINTER_PART];
    struct str rest;
    if (!json_view_plain(ref, &rest) || !str_starts(rest, STR("#")))
        return STR_NULL;
    rest = str_sub(rest, 1);
    while (rest.n && root.p) {
        size_t n = 0, at = 1; /* behind the slash */
        for (; at < rest.n && rest.p[at] != '/' && n + 1 < sizeof(part); at++) {
            bool is_escape = rest.p[at] == '~' && at + 1 < rest.n;
            part[n++] = !is_escape ? rest.p[at] : rest.p[++at] == '1' ? '/' : '~';
        }
        part[n] = '\0';
        rest = str_sub(rest, at);
        root = json_view_get(root, part);
    }
    return root;
}

static bool is_met(const struct merged *m, struct str schema)
{
    for (; m; m = m->outer)
        for (size_t i = 0; i < m->n; i++)
            if (m->sources[i].p == schema.p)
                return true;
    return false;
}

static bool is_null_schema(struct str schema)
{
    return json_view_is(json_view_get(schema, "type"), "null") ||
           json_view_kind(json_view_get(schema, "const")) == JSON_VIEW_null;
}

/* Those of its alternatives that are not null; *ret the last of them. */
static size_t alternatives(struct str schema, struct str *ret, bool *ret_null)
{
    struct str list = json_view_get(schema, "anyOf"), item;
    size_t n = 0;
    if (!list.p)
        list = json_view_get(schema, "oneOf");
    struct json_view_walk w = json_view_walk(list);
    while (json_view_next(&w, NULL, &item)) {
        if (is_null_schema(item)) {
            *ret_null = true;
            continue;
        }
        *ret = item;
        n++;
    }
    return n;
}

static void gather(const struct openapi *o, struct merged *m, struct str schema)
{
    struct str ref = json_view_get(schema, "$ref"), only = STR_NULL, item;
    bool is_null = false;
    if (json_view_kind(schema) != JSON_VIEW_object || m->n == SOURCES_MAX || is_met(m, schema))
        return;
    m->sources[m->n++] = schema;
    if (ref.p)
        gather(o, m, follow(o->root, ref));
    struct json_view_walk w = json_view_walk(json_view_get(schema, "allOf"));
    while (json_view_next(&w, NULL, &item))
        gather(o, m, item);
    if (alternatives(schema, &only, &is_null) == 1)
        gather(o, m, only);
    m->is_nullable = m->is_nullable || is_null || has_type(json_view_get(schema, "type"), "null") ||
                     json_view_true(json_view_get(schema, "nullable"));
}

static struct str find(const struct merged *m, const char *key)
{
    struct str v = STR_NULL;
    for (size_t i = 0; i < m->n && !v.p; i++)
        v = json_view_get(m->sources[i], key);
    return v;
}

static void write_schema(struct openapi *o, struct str schema, const struct merged *outer,
                         struct inherited from);

/* ---- its type ---- */

static const struct {
    const char *word, *type;
} types[] = {
    { "string", "STRING" },   { "number", "NUMBER" }, { "integer", "INTEGER" },
    { "boolean", "BOOLEAN" }, { "array", "ARRAY" },   { "object", "OBJECT" },
};

/* What a literal is, where nothing else tells. */
static const char *type_of_value(struct str value)
{
    switch (json_view_kind(value)) {
    case JSON_VIEW_number:
        return memchr(value.p, '.', value.n) ? "NUMBER" : "INTEGER";
    case JSON_VIEW_true:
    case JSON_VIEW_false:
        return "BOOLEAN";
    case JSON_VIEW_object:
        return "OBJECT";
    case JSON_VIEW_array:
        return "ARRAY";
    default:
        return "STRING";
    }
}

static struct str first_literal(const struct merged *m)
{
    struct str one = find(m, "const"), list = find(m, "enum"), item;
    struct json_view_walk w = json_view_walk(list);
    while (!one.p && json_view_next(&w, NULL, &item))
        if (json_view_kind(item) != JSON_VIEW_null)
            one = item;
    return one;
}

static const char *type_of(const struct merged *m)
{
    struct str type = find(m, "type");
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (has_type(type, types[i].word))
            return types[i].type;
    if (find(m, "properties").p || find(m, "additionalProperties").p)
        return "OBJECT";
    if (find(m, "items").p || find(m, "prefixItems").p)
        return "ARRAY";
    return type_of_value(first_literal(m));
}

static size_t count_types(const struct merged *m)
{
    struct str type = find(m, "type");
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        n += has_type(type, types[i].word);
    return n;
}

/* ---- its members ---- */

static void add_properties(struct openapi *o, const struct merged *m)
{
    struct str name, value;
    size_t open = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct json_view_walk w = json_view_walk(json_view_get(m->sources[i], "properties"));
        while (json_view_next(&w, &name, &value)) {
            bool is_told = false;
            for (size_t k = 0; k < i && !is_told && may_look(o, m->sources[k].n); k++) {
                struct json_view_walk before =
                    json_view_walk(json_view_get(m->sources[k], "properties"));
                for (struct str other, v; !is_told && json_view_next(&before, &other, &v);)
                    is_told = str_eq(other, name);
            }
            if (is_told)
                continue;
            if (o->work == WORK_MAX)
                return; /* told at the end */
            if (open++ == 0)
                buf_adds(o->b, ",\"properties\":{");
            add_key(o->b, name);
            write_schema(o, value, m, (struct inherited){ 0 });
        }
    }
    if (open)
        buf_addc(o->b, '}');
}

static bool is_property(const struct merged *m, struct str quoted)
{
    struct str name = { quoted.p + 1, quoted.n - 2 }, key, value;
    for (size_t i = 0; i < m->n; i++) {
        struct json_view_walk w = json_view_walk(json_view_get(m->sources[i], "properties"));
        while (json_view_next(&w, &key, &value))
            if (str_eq(key, name))
                return true;
    }
    return false;
}

static void add_required(struct openapi *o, const struct merged *m)
{
    struct str name;
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct json_view_walk w = json_view_walk(json_view_get(m->sources[i], "required"));
        while (json_view_next(&w, NULL, &name)) {
            bool is_checked = o->checked < WORK_MAX; /* the rest is believed */
            o->checked += is_checked ? m->sources[i].n : 0;
            if (json_view_kind(name) != JSON_VIEW_string || (is_checked && !is_property(m, name)))
                continue; /* refused over there */
            buf_adds(o->b, n++ ? "," : ",\"required\":[");
            buf_add(o->b, name);
        }
    }
    if (n)
        buf_addc(o->b, ']');
}

static void add_items(struct openapi *o, const struct merged *m)
{
    struct str items = find(m, "items"), tuple = find(m, "prefixItems");
    if (json_view_kind(items) == JSON_VIEW_array)
        tuple = items;
    if (json_view_kind(items) != JSON_VIEW_object)
        items = json_view_at(tuple, "0");
    buf_adds(o->b, ",\"items\":");
    write_schema(o, items, m, (struct inherited){ 0 });
}

/* Only strings can be listed; the model is told of other literals in words. */
static void add_literals(struct openapi *o, const struct merged *m, bool is_string,
                         struct buf *words)
{
    struct str one = find(m, "const"), list = find(m, "enum"), item;
    struct json_view_walk w = json_view_walk(list);
    size_t n = 0;
    if (one.p && is_string) {
        buf_adds(o->b, ",\"enum\":[");
        buf_add(o->b, one);
        buf_addc(o->b, ']');
    }
    if (one.p && !is_string) {
        buf_adds(words, "Always ");
        buf_add(words, one);
    }
    while (!one.p && json_view_next(&w, NULL, &item)) {
        struct buf *to = is_string ? o->b : words;
        if (json_view_kind(item) == JSON_VIEW_null ||
            (is_string && json_view_kind(item) != JSON_VIEW_string))
            continue;
        buf_adds(to, n++ ? ", " : is_string ? ",\"enum\":[" : "One of ");
        buf_add(to, item);
    }
    if (n && is_string)
        buf_addc(o->b, ']');
}

static void add_limits(struct openapi *o, const struct merged *m, const char *type)
{
    static const struct {
        const char *type, *key;
    } rows[] = {
        { "STRING", "minLength" },     { "STRING", "maxLength" },     { "STRING", "pattern" },
        { "ARRAY", "minItems" },       { "ARRAY", "maxItems" },       { "INTEGER", "minimum" },
        { "INTEGER", "maximum" },      { "NUMBER", "minimum" },       { "NUMBER", "maximum" },
        { "OBJECT", "minProperties" }, { "OBJECT", "maxProperties" },
    };
    static const char *const formats[] = { "date-time", "int32", "int64", "float", "double", NULL };
    struct str format = find(m, "format"), word = STR_NULL;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str v = strcmp(rows[i].type, type) == 0 ? find(m, rows[i].key) : STR_NULL;
        if (v.p)
            add_member(o->b, rows[i].key, v);
    }
    if (json_view_plain(format, &word) && is_listed(word, formats))
        add_member(o->b, "format", format);
}

static void add_words(struct openapi *o, struct str description, const struct buf *words)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(LIMIT_FORMAT_BYTES);
    json_view_add_text(&text, description);
    if (words->n) {
        buf_adds(&text, text.n ? "\n\n" : "");
        buf_add(&text, buf_str(words));
    }
    if (text.n == 0)
        return;
    add_key(o->b, STR("description"));
    buf_add_json(o->b, buf_str(&text));
}

static void write_one(struct openapi *o, const struct merged *m, const char *type,
                      struct inherited from)
{
    CLEANUP(buf_done) struct buf words = BUF_INIT(LIMIT_FORMAT_BYTES);
    struct str description = find(m, "description"), title = find(m, "title");
    buf_addf(o->b, "{\"type\":\"%s\"", type);
    if (from.is_nullable || m->is_nullable)
        buf_adds(o->b, ",\"nullable\":true");
    if (json_view_kind(title) == JSON_VIEW_string)
        add_member(o->b, "title", title);
    add_literals(o, m, strcmp(type, "STRING") == 0, &words);
    add_limits(o, m, type);
    if (strcmp(type, "ARRAY") == 0)
        add_items(o, m);
    if (strcmp(type, "OBJECT") == 0) {
        add_properties(o, m);
        add_required(o, m);
    }
    add_words(o, description.p ? description : from.description, &words);
    buf_addc(o->b, '}');
}

/* Alternatives stand alone: whatever is said beside them is said of each. */
static void write_alternatives(struct openapi *o, const struct merged *m, struct inherited from)
{
    struct str list = find(m, "anyOf"), description = find(m, "description"), item;
    if (!list.p)
        list = find(m, "oneOf");
    from.is_nullable = from.is_nullable || m->is_nullable;
    from.description = description.p ? description : from.description;
    buf_adds(o->b, "{\"anyOf\":[");
    struct json_view_walk w = json_view_walk(list);
    while (json_view_next(&w, NULL, &item)) {
        if (is_null_schema(item))
            continue;
        add_comma(o->b);
        write_schema(o, item, m, from);
    }
    buf_adds(o->b, "]}");
}

static void write_types(struct openapi *o, const struct merged *m, struct inherited from)
{
    struct str type = find(m, "type");
    buf_adds(o->b, "{\"anyOf\":[");
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!has_type(type, types[i].word))
            continue;
        add_comma(o->b);
        write_one(o, m, types[i].type, from);
    }
    buf_adds(o->b, "]}");
}

static void write_schema(struct openapi *o, struct str schema, const struct merged *outer,
                         struct inherited from)
{
    struct merged m = { .outer = outer };
    struct str other = STR_NULL;
    bool is_null = false;
    unsigned depth = 0;
    size_t n = 0;
    for (const struct merged *at = outer; at; at = at->outer)
        depth++;
    bool ends = depth >= LIMIT_JSON_DEPTH || is_met(outer, schema);
    if (!ends)
        gather(o, &m, schema);
    for (size_t i = 0; i < m.n; i++)
        if (!may_look(o, m.sources[i].n))
            return;
    for (size_t i = 0; i < m.n && n < 2; i++)
        n = alternatives(m.sources[i], &other, &is_null);
    struct str ref = json_view_get(schema, "$ref");
    bool is_loop = ends || (m.n == 1 && ref.p && is_met(outer, follow(o->root, ref)));
    if (is_loop)
        write_one(o, &m, "OBJECT", from);
    else if (n > 1)
        write_alternatives(o, &m, from);
    else if (count_types(&m) > 1)
        write_types(o, &m, from);
    else
        write_one(o, &m, type_of(&m), from);
}

int schema_add_openapi(struct buf *b, struct str schema)
{
    struct openapi o = { .b = b, .root = schema };
    write_schema(&o, schema, NULL, (struct inherited){ 0 });
    return o.work < WORK_MAX ? 0 : -E2BIG;
}
