/*
 * Text under construction: str(), repr() and JSON of values, each byte with its origin.
 */
#include "engine/local/chat_template_impl.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

void out_init(struct out *o, struct render *r)
{
    *o = (struct out){ .r = r, .b = BUF_INIT(LIMIT_TEMPLATE_OUTPUT) };
}

void out_done(struct out *o)
{
    buf_done(&o->b);
    free(o->runs);
    o->runs = NULL;
    o->n_runs = o->cap_runs = 0;
}

static bool add_run(struct out *o, size_t end, bool literal)
{
    if (o->n_runs && o->runs[o->n_runs - 1].literal == literal) {
        o->runs[o->n_runs - 1].end = end;
        return true;
    }
    if (o->n_runs == o->cap_runs) {
        size_t cap = o->cap_runs ? o->cap_runs * 2 : 16;
        struct run *more = realloc(o->runs, cap * sizeof(*more));
        if (!more)
            return false;
        o->runs = more;
        o->cap_runs = cap;
    }
    o->runs[o->n_runs++] = (struct run){ end, literal };
    return true;
}

void out_add(struct out *o, struct str s, bool literal)
{
    struct render *r = o->r;
    if (!s.n || !render_step(r, 1 + s.n / 256))
        return;
    buf_add(&o->b, s);
    if (buf_err(&o->b) == -EMSGSIZE)
        (void)render_fail(r, "it writes more than %lu bytes", LIMIT_TEMPLATE_OUTPUT);
    else if (buf_err(&o->b) < 0 || !add_run(o, o->b.n, literal))
        r->err = r->err ? r->err : -ENOMEM;
}

void out_add_text(struct out *o, const struct text *t, size_t from, size_t to)
{
    if (!t->runs) {
        if (to > from)
            out_add(o, (struct str){ t->p + from, to - from }, t->literal);
        return;
    }
    for (size_t i = 0; i < t->n_runs && from < to; i++) {
        size_t end = t->runs[i].end < to ? t->runs[i].end : to;
        if (end <= from)
            continue;
        out_add(o, (struct str){ t->p + from, end - from }, t->runs[i].literal);
        from = end;
    }
}

struct val out_take(struct out *o)
{
    struct render *r = o->r;
    struct text *t = render_alloc(r, 1, sizeof(*t));
    char *p = render_alloc(r, o->b.n + 1, 1);
    struct run *runs = o->n_runs > 1 ? render_alloc(r, o->n_runs, sizeof(*runs)) : NULL;
    if (r->err != 0 || !t || !p)
        return V_UNDEFINED;
    if (o->b.n)
        memcpy(p, o->b.p, o->b.n);
    if (runs)
        memcpy(runs, o->runs, o->n_runs * sizeof(*runs));
    *t = (struct text){ p, o->b.n, runs, runs ? o->n_runs : 0,
                        o->n_runs == 1 && o->runs[0].literal };
    return (struct val){ .kind = V_text, .s = t };
}

static void add_c(struct out *o, const char *s)
{
    out_add(o, str_of(s), false);
}

/* The shortest digits that read back as f, spelt as Python does. */
static void add_float(struct out *o, double f)
{
    char text[40];
    if (isnan(f) || isinf(f)) {
        add_c(o, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    int digits = 1;
    do
        (void)snprintf(text, sizeof(text), "%.*e", digits - 1, f);
    while (strtod(text, NULL) != f && ++digits <= 17);
    int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, f);
    } else {
        int places = digits - 1 - exponent;
        (void)snprintf(text, sizeof(text), "%.*f", places > 1 ? places : 1, f);
    }
    add_c(o, text);
}

static void add_scalar(struct out *o, struct val v)
{
    char text[32];
    switch (v.kind) {
    case V_none:
        add_c(o, "None");
        break;
    case V_bool:
        add_c(o, v.b ? "True" : "False");
        break;
    case V_int:
        (void)snprintf(text, sizeof(text), "%lld", (long long)v.i);
        add_c(o, text);
        break;
    case V_float:
        add_float(o, v.f);
        break;
    case V_undefined:
        break;
    default:
        add_c(o, "<");
        add_c(o, val_type(v));
        add_c(o, ">");
    }
}

void out_add_val(struct out *o, struct val v)
{
    if (v.kind == V_text)
        out_add_text(o, v.s, 0, v.s->n);
    else
        out_add_repr(o, v);
}

struct val val_to_text(struct render *r, struct val v)
{
    if (v.kind == V_text)
        return v;
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    out_add_val(&o, v);
    return out_take(&o);
}

/* Origin of byte `at`. */
static bool literal_at(const struct text *t, size_t at)
{
    if (!t->runs)
        return t->literal;
    size_t i = 0;
    while (i + 1 < t->n_runs && t->runs[i].end <= at)
        i++;
    return t->runs[i].literal;
}

/* How one byte is escaped; NULL: as it is. */
typedef const char *(*escape_fn)(unsigned char c, char quote, char ret[8]);

static const char *escape_python(unsigned char c, char quote, char ret[8])
{
    if (c == (unsigned char)quote || c == '\\')
        (void)snprintf(ret, 8, "\\%c", c);
    else if (c == '\n' || c == '\r' || c == '\t')
        (void)snprintf(ret, 8, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (c < 0x20 || c == 0x7f)
        (void)snprintf(ret, 8, "\\x%02x", c);
    else
        return NULL;
    return ret;
}

static const char *escape_json(unsigned char c, char quote, char ret[8])
{
    static const char from[] = "\n\r\t\b\f", to[] = "nrtbf";
    const char *hit = c ? strchr(from, c) : NULL;
    if (c == '"' || c == '\\')
        (void)snprintf(ret, 8, "\\%c", c);
    else if (hit)
        (void)snprintf(ret, 8, "\\%c", to[hit - from]);
    else if (c < 0x20)
        (void)snprintf(ret, 8, "\\u%04x", c);
    else
        return NULL;
    return ret;
}

/* "\ud83d\ude00" for what is not ASCII. */
static void add_ascii(struct out *o, const struct text *t, size_t from, size_t to)
{
    char text[16];
    size_t at = from;
    unsigned rune = (unsigned)str_utf8_next((struct str){ t->p, to }, &at);
    if (rune > 0xffff)
        (void)snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((rune - 0x10000) >> 10),
                       0xdc00 + ((rune - 0x10000) & 0x3ff));
    else
        (void)snprintf(text, sizeof(text), "\\u%04x", rune);
    out_add(o, str_of(text), literal_at(t, from));
}

static void add_escaped(struct out *o, const struct text *t, char quote, escape_fn escape,
                        bool ascii)
{
    char q[2] = { quote, '\0' }, room[8];
    add_c(o, q);
    size_t from = 0;
    for (size_t i = 0; i < t->n && o->r->err == 0;) {
        unsigned char c = (unsigned char)t->p[i];
        const char *spelt = escape(c, quote, room);
        size_t end = i + 1;
        if (ascii && c >= 0x80) {
            end = i;
            (void)str_utf8_next(text_str(t), &end);
        }
        if (spelt || end > i + 1) {
            out_add_text(o, t, from, i);
            if (spelt)
                out_add(o, str_of(spelt), literal_at(t, i));
            else
                add_ascii(o, t, i, end);
            from = end;
        }
        i = end;
    }
    out_add_text(o, t, from, t->n);
    add_c(o, q);
}

static void repr_text(struct out *o, const struct text *t)
{
    bool single = memchr(t->n ? t->p : "", '\'', t->n) != NULL;
    bool twice = memchr(t->n ? t->p : "", '"', t->n) != NULL;
    add_escaped(o, t, single && !twice ? '"' : '\'', escape_python, false);
}

static void repr_items(struct out *o, struct val v)
{
    size_t n = v.kind == V_list ? v.l->n : v.d->n;
    for (size_t i = 0; i < n && o->r->err == 0; i++) {
        if (i)
            add_c(o, ", ");
        if (v.kind == V_list) {
            out_add_repr(o, v.l->items[i]);
        } else {
            out_add_repr(o, v.d->pairs[i].key);
            add_c(o, ": ");
            out_add_repr(o, v.d->pairs[i].value);
        }
    }
}

void out_add_repr(struct out *o, struct val v)
{
    if (v.kind == V_text) {
        repr_text(o, v.s);
        return;
    }
    if (v.kind != V_list && v.kind != V_dict && v.kind != V_namespace) {
        add_scalar(o, v);
        return;
    }
    if (!render_enter(o->r))
        return;
    bool tuple = v.kind == V_list && v.l->tuple;
    if (v.kind == V_namespace)
        add_c(o, "<Namespace ");
    add_c(o, v.kind != V_list ? "{" : tuple ? "(" : "[");
    repr_items(o, v);
    add_c(o, v.kind != V_list ? "}" : !tuple ? "]" : v.l->n == 1 ? ",)" : ")");
    if (v.kind == V_namespace)
        add_c(o, ">");
    render_leave(o->r);
}

/* ---- JSON ---- */

static void json_newline(struct out *o, const struct json_style *style, unsigned level)
{
    if (style->indent < 0)
        return;
    add_c(o, "\n");
    for (uint64_t i = 0; i < (uint64_t)style->indent * level && o->r->err == 0; i++)
        add_c(o, " ");
}

static int pair_order(const void *a, const void *b, void *render)
{
    return val_compare(render, ((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static void json_key(struct out *o, struct val key, const struct json_style *style)
{
    if (key.kind == V_text) {
        add_escaped(o, key.s, '"', escape_json, style->ascii);
        return;
    }
    add_c(o, "\"");
    out_add_json(o, key, style, 0);
    add_c(o, "\"");
}

static const struct pair *json_pairs(struct out *o, const struct dict *d,
                                     const struct json_style *style)
{
    if (!style->sort || !d->n)
        return d->pairs;
    struct pair *sorted = render_alloc(o->r, d->n, sizeof(*sorted));
    if (sorted) {
        memcpy(sorted, d->pairs, d->n * sizeof(*sorted));
        qsort_r(sorted, d->n, sizeof(*sorted), pair_order, o->r);
    }
    return sorted;
}

static void json_nested(struct out *o, struct val v, const struct json_style *style, unsigned level)
{
    bool list = v.kind == V_list;
    size_t n = list ? v.l->n : v.d->n;
    const struct pair *pairs = list ? NULL : json_pairs(o, v.d, style);
    add_c(o, list ? "[" : "{");
    for (size_t i = 0; i < n && o->r->err == 0; i++) {
        if (i)
            out_add(o, style->item, false);
        json_newline(o, style, level + 1);
        if (!list) {
            json_key(o, pairs[i].key, style);
            out_add(o, style->key, false);
        }
        out_add_json(o, list ? v.l->items[i] : pairs[i].value, style, level + 1);
    }
    if (n)
        json_newline(o, style, level);
    add_c(o, list ? "]" : "}");
}

void out_add_json(struct out *o, struct val v, const struct json_style *style, unsigned level)
{
    switch (v.kind) {
    case V_text:
        add_escaped(o, v.s, '"', escape_json, style->ascii);
        break;
    case V_none:
        add_c(o, "null");
        break;
    case V_bool:
        add_c(o, v.b ? "true" : "false");
        break;
    case V_float:
        if (isnan(v.f) || isinf(v.f))
            add_c(o, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        else
            add_float(o, v.f);
        break;
    case V_int:
        add_scalar(o, v);
        break;
    case V_list:
    case V_dict:
        if (render_enter(o->r)) {
            json_nested(o, v, style, level);
            render_leave(o->r);
        }
        break;
    default:
        (void)render_fail(o->r, "an object of type %s has no JSON form", val_type(v));
    }
}

static struct val from_json(struct render *r, const json_t *j, bool literal)
{
    struct val v = V_NONE;
    const char *key;
    json_t *member;
    size_t i;
    if (!render_step(r, 1) || !render_enter(r))
        return V_UNDEFINED;
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        v = val_dict(r);
        json_object_foreach((json_t *)j, key, member)
        {
            struct val k = val_copy(r, str_of(key), literal);
            struct val item = from_json(r, member, literal);
            if (r->err == 0)
                dict_set(r, v.d, k, item);
        }
        break;
    case JSON_ARRAY:
        v = val_list(r, json_array_size(j));
        json_array_foreach(j, i, member)
        {
            struct val item = from_json(r, member, literal);
            if (r->err == 0)
                (void)list_add(r, v.l, item);
        }
        break;
    case JSON_STRING:
        v = val_copy(r, (struct str){ json_string_value(j), json_string_length(j) }, literal);
        break;
    case JSON_INTEGER:
        v = val_int(json_integer_value(j));
        break;
    case JSON_REAL:
        v = val_float(json_real_value(j));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = val_bool(json_is_true(j));
        break;
    case JSON_NULL:
        break;
    }
    render_leave(r);
    return v;
}

struct val val_from_json(struct render *r, struct str json, bool literal, bool *ret_ok)
{
    json_auto_t *doc =
        json_loadb(json.p ? json.p : "", json.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    *ret_ok = doc != NULL;
    return doc ? from_json(r, doc, literal) : V_UNDEFINED;
}
