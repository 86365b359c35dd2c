/*
 * Filters. `self` is the value in front of the bar.
 */
#include "engine/local/chat_template_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

struct val arg_at(const struct args *a, size_t i, const char *name)
{
    if (i < a->n)
        return a->v[i];
    for (size_t k = 0; name && k < a->n_named; k++)
        if (str_is(a->named[k].name, name))
            return a->named[k].value;
    return V_UNDEFINED;
}

int64_t arg_int(struct render *r, const struct args *a, size_t i, const char *name, int64_t none)
{
    struct val v = arg_at(a, i, name);
    if (v.kind == V_undefined || v.kind == V_none)
        return none;
    if (v.kind == V_bool)
        return v.b;
    if (v.kind != V_int)
        (void)render_fail(r, "%s must be an integer, not %s", name ? name : "an argument",
                          val_type(v));
    return v.kind == V_int ? v.i : none;
}

static bool arg_true(const struct args *a, size_t i, const char *name, bool none)
{
    struct val v = arg_at(a, i, name);
    return v.kind == V_undefined ? none : val_true(v);
}

static struct str arg_str(struct render *r, const struct args *a, size_t i, const char *name,
                          struct str none)
{
    struct val v = arg_at(a, i, name);
    if (v.kind == V_undefined || v.kind == V_none)
        return none;
    if (v.kind != V_text) {
        (void)render_fail(r, "%s must be a string, not %s", name, val_type(v));
        return none;
    }
    return text_str(v.s);
}

static struct val f_tojson(struct render *r, struct val self, const struct args *a)
{
    /* As transformers defines it: tojson(x, ensure_ascii=False, indent=None, separators=None,
     * sort_keys=False). */
    struct json_style style = { .indent = -1, .ascii = arg_true(a, 0, "ensure_ascii", false) };
    int64_t indent = arg_int(r, a, 1, "indent", -1);
    style.indent = indent < 0 ? -1 : indent > 64 ? 64 : (int)indent;
    style.item = style.indent < 0 ? STR(", ") : STR(",");
    style.key = STR(": ");
    struct val separators = arg_at(a, 2, "separators");
    if (separators.kind == V_list && separators.l->n == 2 &&
        separators.l->items[0].kind == V_text && separators.l->items[1].kind == V_text) {
        style.item = text_str(separators.l->items[0].s);
        style.key = text_str(separators.l->items[1].s);
    }
    style.sort = arg_true(a, 3, "sort_keys", false);
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    out_add_json(&o, self, &style, 0);
    return out_take(&o);
}

static struct val f_trim(struct render *r, struct val self, const struct args *a)
{
    struct val s = val_to_text(r, self);
    return r->err == 0 ? text_trim(r, s.s, a, 3) : s;
}

static struct val change_case(struct render *r, struct val self, char how)
{
    struct val s = val_to_text(r, self);
    return r->err == 0 ? text_case(r, s.s, how) : s;
}

static struct val f_upper(struct render *r, struct val self, const struct args *a)
{
    return change_case(r, self, 'u');
}

static struct val f_lower(struct render *r, struct val self, const struct args *a)
{
    return change_case(r, self, 'l');
}

static struct val f_capitalize(struct render *r, struct val self, const struct args *a)
{
    return change_case(r, self, 'c');
}

static struct val f_title(struct render *r, struct val self, const struct args *a)
{
    return change_case(r, self, 't');
}

static struct val f_string(struct render *r, struct val self, const struct args *a)
{
    return val_to_text(r, self);
}

static struct val f_length(struct render *r, struct val self, const struct args *a)
{
    switch (self.kind) {
    case V_undefined:
        return val_int(0);
    case V_text:
        return render_step(r, self.s->n / 256) ? val_int((int64_t)text_runes(self.s)) : V_UNDEFINED;
    case V_list:
        return val_int((int64_t)self.l->n);
    case V_dict:
        return val_int((int64_t)self.d->n);
    default:
        return render_fail(r, "'%s' has no length", val_type(self));
    }
}

static struct val f_default(struct render *r, struct val self, const struct args *a)
{
    struct val other = arg_at(a, 0, "default_value");
    if (other.kind == V_undefined)
        other = val_cstr(r, "");
    bool use = self.kind == V_undefined || (arg_true(a, 1, "boolean", false) && !val_true(self));
    return use ? other : self;
}

static struct val f_replace(struct render *r, struct val self, const struct args *a)
{
    struct val s = val_to_text(r, self);
    return r->err == 0 ? text_replace(r, s.s, a) : s;
}

/* The member that an `attribute` argument names: "a.b", "0.x" or an index. */
static struct val member(struct render *r, struct val v, struct val path)
{
    if (path.kind == V_undefined || path.kind == V_none)
        return v;
    if (path.kind != V_text)
        return get_item(r, v, path);
    struct str rest = text_str(path.s), head = rest;
    bool more = true;
    while (more && r->err == 0) {
        uint64_t at = 0;
        more = str_cut(rest, '.', &head, &rest);
        head = more ? head : rest;
        if (num_parse_u64(&at, head, 0, INT32_MAX) == 0)
            v = get_item(r, v, val_int((int64_t)at));
        else
            v = get_item(r, v, val_text(r, head, false));
    }
    return v;
}

static struct val f_join(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    struct val sep = arg_at(a, 0, "d"), by = arg_at(a, 1, "attribute");
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    for (size_t i = 0; items && i < items->n && render_step(r, 1); i++) {
        if (i && sep.kind != V_undefined)
            out_add_val(&o, sep);
        out_add_val(&o, member(r, items->items[i], by));
    }
    return out_take(&o);
}

static struct val f_first(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    return items && items->n ? items->items[0] : V_UNDEFINED;
}

static struct val f_last(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    return items && items->n ? items->items[items->n - 1] : V_UNDEFINED;
}

static struct val copy_items(struct render *r, struct val self)
{
    const struct list *items = val_items(r, self);
    struct val l = val_list(r, items ? items->n : 0);
    if (!items || r->err != 0 || !render_step(r, items->n / 8))
        return V_UNDEFINED;
    if (items->n)
        memcpy(l.l->items, items->items, items->n * sizeof(*items->items));
    l.l->n = items->n;
    return l;
}

static struct val f_list(struct render *r, struct val self, const struct args *a)
{
    return copy_items(r, self);
}

static struct val f_reverse(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    struct val l = val_list(r, items ? items->n : 0);
    for (size_t i = items ? items->n : 0; i > 0 && render_step(r, 1); i--)
        (void)list_add(r, l.l, items->items[i - 1]);
    if (self.kind != V_text || r->err != 0)
        return l;
    return f_join(r, l, &(struct args){ 0 });
}

static struct val f_items(struct render *r, struct val self, const struct args *a)
{
    struct val l = val_list(r, 0);
    if (self.kind == V_undefined)
        return l;
    if (self.kind != V_dict)
        return render_fail(r, "items needs a mapping, not %s", val_type(self));
    for (size_t i = 0; i < self.d->n && render_step(r, 1); i++) {
        struct val pair = val_list(r, 2);
        if (r->err != 0)
            break;
        pair.l->tuple = true;
        (void)list_add(r, pair.l, self.d->pairs[i].key);
        (void)list_add(r, pair.l, self.d->pairs[i].value);
        (void)list_add(r, l.l, pair);
    }
    return l;
}

static struct val f_int(struct render *r, struct val self, const struct args *a)
{
    int64_t none = arg_int(r, a, 0, "default", 0), i = 0;
    double f = 0;
    if (val_is_number(self) && self.kind != V_float)
        return val_int(self.kind == V_int ? self.i : self.b);
    if (self.kind == V_float)
        f = self.f;
    if (self.kind == V_text) {
        struct str s = str_trim(text_str(self.s));
        if (num_parse_i64(&i, s, INT64_MIN, INT64_MAX) == 0)
            return val_int(i);
        if (num_parse_double(&f, s, -1e18, 1e18) != 0)
            return val_int(none);
    } else if (self.kind != V_float) {
        return val_int(none);
    }
    return isfinite(f) && fabs(f) < 9e18 ? val_int((int64_t)f) : val_int(none);
}

static struct val f_float(struct render *r, struct val self, const struct args *a)
{
    struct val none = arg_at(a, 0, "default");
    double f = none.kind != V_undefined && val_is_number(none) ? val_number(none) : 0.0;
    if (val_is_number(self))
        f = val_number(self);
    else if (self.kind == V_text)
        (void)!num_parse_double(&f, str_trim(text_str(self.s)), -1e308, 1e308);
    return val_float(f);
}

static struct val f_abs(struct render *r, struct val self, const struct args *a)
{
    if (!val_is_number(self))
        return render_fail(r, "abs needs a number, not %s", val_type(self));
    if (self.kind == V_float)
        return val_float(fabs(self.f));
    struct val zero = val_int(0);
    return val_number(self) < 0 ? binary(r, OP_sub, zero, self) : binary(r, OP_add, zero, self);
}

static struct val f_round(struct render *r, struct val self, const struct args *a)
{
    int64_t places = arg_int(r, a, 0, "precision", 0);
    struct str how = arg_str(r, a, 1, "method", STR("common"));
    if (!val_is_number(self))
        return render_fail(r, "round needs a number, not %s", val_type(self));
    double f = val_number(self), scale = pow(10.0, (double)places);
    if (str_is(how, "ceil"))
        return val_float(ceil(f * scale) / scale);
    if (str_is(how, "floor"))
        return val_float(floor(f * scale) / scale);
    char text[400];
    if (places < 0 || places > 17)
        return val_float(nearbyint(f * scale) / scale);
    (void)snprintf(text, sizeof(text), "%.*f", (int)places, f);
    return val_float(strtod(text, NULL));
}

static struct val f_safe(struct render *r, struct val self, const struct args *a)
{
    return val_to_text(r, self); /* nothing is escaped here anyway */
}

static struct val f_escape(struct render *r, struct val self, const struct args *a)
{
    static const char special[] = "&<>\"'";
    static const char *const spelt[] = { "&amp;", "&lt;", "&gt;", "&#34;", "&#39;" };
    struct val s = val_to_text(r, self);
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    for (size_t i = 0; r->err == 0 && i < s.s->n; i++) {
        const char *hit = s.s->p[i] ? strchr(special, s.s->p[i]) : NULL;
        if (hit)
            out_add(&o, str_of(spelt[hit - special]), false);
        else
            out_add_text(&o, s.s, i, i + 1);
    }
    return out_take(&o);
}

/* indent(width=4, first=False, blank=False): every line but the first, unless it is blank. */
static struct val f_indent(struct render *r, struct val self, const struct args *a)
{
    struct val s = val_to_text(r, self), width = arg_at(a, 0, "width");
    bool first = arg_true(a, 1, "first", false), blank = arg_true(a, 2, "blank", false);
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    char blanks[] = "                                                                ";
    struct str pad = { blanks, 4 };
    if (width.kind == V_text)
        pad = text_str(width.s);
    else
        pad.n = (size_t)(arg_int(r, a, 0, "width", 4) & 63);
    for (size_t at = 0, line = 0; r->err == 0 && at <= s.s->n; line++) {
        const char *newline = s.s->n > at ? memchr(s.s->p + at, '\n', s.s->n - at) : NULL;
        size_t end = newline ? (size_t)(newline - s.s->p) : s.s->n;
        if (line ? (end > at || blank) : first)
            out_add(&o, pad, false);
        out_add_text(&o, s.s, at, newline ? end + 1 : end);
        at = end + 1;
    }
    return out_take(&o);
}

static struct val apply_named(struct render *r, struct val v, const struct args *a, size_t first,
                              bool test)
{
    struct val name = arg_at(a, first, NULL);
    if (name.kind != V_text)
        return render_fail(r, "the name of a %s is missing", test ? "test" : "filter");
    native_fn fn = test ? test_find(text_str(name.s)) : filter_find(text_str(name.s));
    if (!fn)
        return render_fail(r, "there is no %s '" STR_FMT "'", test ? "test" : "filter",
                           STR_ARG(str_head(text_str(name.s), 60)));
    struct args rest = { a->v + first + 1, a->n - first - 1, a->named, a->n_named };
    return fn(r, v, &rest);
}

static struct val f_map(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    struct val l = val_list(r, items ? items->n : 0);
    struct val by = arg_at(a, SIZE_MAX, "attribute"), none = arg_at(a, SIZE_MAX, "default");
    for (size_t i = 0; items && i < items->n && render_step(r, 1); i++) {
        struct val v = items->items[i];
        v = by.kind == V_undefined ? apply_named(r, v, a, 0, false) : member(r, v, by);
        (void)list_add(r, l.l, v.kind == V_undefined && by.kind != V_undefined ? none : v);
    }
    return l;
}

/* select, reject and their attr forms. */
static struct val pick(struct render *r, struct val self, const struct args *a, bool attr,
                       bool keep)
{
    const struct list *items = val_items(r, self);
    struct val l = val_list(r, 0);
    for (size_t i = 0; items && i < items->n && render_step(r, 1); i++) {
        struct val v = items->items[i], seen = v;
        if (attr)
            seen = member(r, v, arg_at(a, 0, NULL));
        if (a->n > (attr ? 1 : 0))
            seen = apply_named(r, seen, a, attr ? 1 : 0, true);
        if (r->err == 0 && val_true(seen) == keep)
            (void)list_add(r, l.l, v);
    }
    return l;
}

static struct val f_select(struct render *r, struct val self, const struct args *a)
{
    return pick(r, self, a, false, true);
}

static struct val f_reject(struct render *r, struct val self, const struct args *a)
{
    return pick(r, self, a, false, false);
}

static struct val f_selectattr(struct render *r, struct val self, const struct args *a)
{
    return pick(r, self, a, true, true);
}

static struct val f_rejectattr(struct render *r, struct val self, const struct args *a)
{
    return pick(r, self, a, true, false);
}

struct sort_by {
    struct render *r;
    struct val by;
    bool reverse, exact;
};

static struct val sort_key(const struct sort_by *s, struct val v)
{
    v = member(s->r, v, s->by);
    return v.kind == V_text && !s->exact && s->r->err == 0 ? text_case(s->r, v.s, 'l') : v;
}

static int sort_order(const void *a, const void *b, void *by)
{
    const struct sort_by *s = by;
    const struct val *x = a, *y = b;
    if (!render_step(s->r, 1))
        return 0;
    int order = val_compare(s->r, sort_key(s, *x), sort_key(s, *y));
    return s->reverse ? -order : order;
}

/* qsort_r of glibc is a merge sort, hence stable, while memory suffices. */
static struct val f_sort(struct render *r, struct val self, const struct args *a)
{
    struct val l = copy_items(r, self);
    struct sort_by by = { r, arg_at(a, 2, "attribute"), arg_true(a, 0, "reverse", false),
                          arg_true(a, 1, "case_sensitive", false) };
    if (r->err == 0 && l.l->n > 1)
        qsort_r(l.l->items, l.l->n, sizeof(struct val), sort_order, &by);
    return l;
}

static struct val f_dictsort(struct render *r, struct val self, const struct args *a)
{
    struct val pairs = f_items(r, self, a);
    bool value = str_is(arg_str(r, a, 1, "by", STR("key")), "value");
    struct sort_by by = { r, val_int(value), arg_true(a, 2, "reverse", false),
                          arg_true(a, 0, "case_sensitive", false) };
    if (r->err == 0 && pairs.l->n > 1)
        qsort_r(pairs.l->items, pairs.l->n, sizeof(struct val), sort_order, &by);
    return pairs;
}

static struct val f_unique(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    struct sort_by by = { r, arg_at(a, 1, "attribute"), false,
                          arg_true(a, 0, "case_sensitive", false) };
    struct val l = val_list(r, 0), keys = val_list(r, 0);
    for (size_t i = 0; items && i < items->n && render_step(r, 1); i++) {
        struct val key = sort_key(&by, items->items[i]);
        if (r->err == 0 && !val_contains(r, keys, key)) {
            (void)list_add(r, keys.l, key);
            (void)list_add(r, l.l, items->items[i]);
        }
    }
    return l;
}

static struct val extreme(struct render *r, struct val self, const struct args *a, int sign)
{
    const struct list *items = val_items(r, self);
    struct sort_by by = { r, arg_at(a, 1, "attribute"), false,
                          arg_true(a, 0, "case_sensitive", false) };
    struct val best = V_UNDEFINED;
    for (size_t i = 0; items && i < items->n && render_step(r, 1); i++) {
        struct val v = items->items[i];
        if (i == 0 || val_compare(r, sort_key(&by, v), sort_key(&by, best)) * sign > 0)
            best = v;
    }
    return best;
}

static struct val f_max(struct render *r, struct val self, const struct args *a)
{
    return extreme(r, self, a, 1);
}

static struct val f_min(struct render *r, struct val self, const struct args *a)
{
    return extreme(r, self, a, -1);
}

static struct val f_sum(struct render *r, struct val self, const struct args *a)
{
    const struct list *items = val_items(r, self);
    struct val by = arg_at(a, 0, "attribute"), sum = arg_at(a, 1, "start");
    if (sum.kind == V_undefined)
        sum = val_int(0);
    for (size_t i = 0; items && i < items->n && render_step(r, 1); i++)
        sum = binary(r, OP_add, sum, member(r, items->items[i], by));
    return sum;
}

static struct val f_attr(struct render *r, struct val self, const struct args *a)
{
    struct val name = arg_at(a, 0, "name");
    return name.kind == V_text && self.kind != V_dict ? get_attr(r, self, text_str(name.s))
                                                      : V_UNDEFINED;
}

static struct val f_wordcount(struct render *r, struct val self, const struct args *a)
{
    struct val s = val_to_text(r, self);
    int64_t n = 0;
    bool inside = false;
    for (size_t i = 0; r->err == 0 && i < s.s->n; i++) {
        bool blank = str_trim((struct str){ s.s->p + i, 1 }).n == 0;
        n += !blank && !inside;
        inside = !blank;
    }
    return val_int(n);
}

/* One %-directive behind the sign; returns how many bytes it has, 0: not one. */
static size_t directive(struct render *r, struct out *o, struct str s, struct val v)
{
    char text[400], spec[16];
    size_t n = 0;
    while (n < s.n && n < 8 && strchr("0123456789.-+ ", s.p[n]))
        n++;
    if (n == s.n)
        return 0;
    char kind = s.p[n];
    if (kind == 's' || kind == 'r') {
        if (kind == 's')
            out_add_val(o, v);
        else
            out_add_repr(o, v);
        return n + 1;
    }
    if (!strchr("dixXfeg", kind) || !val_is_number(v)) {
        (void)render_fail(r, "format: %%%c of %s is not possible", kind, val_type(v));
        return 0;
    }
    bool whole = strchr("dixX", kind) != NULL;
    (void)snprintf(spec, sizeof(spec), "%%%.*s%s%c", (int)n, s.p, whole ? "ll" : "", kind);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* built just above of safe parts */
    if (whole)
        (void)snprintf(text, sizeof(text), spec, (long long)val_number(v));
    else
        (void)snprintf(text, sizeof(text), spec, val_number(v));
#pragma GCC diagnostic pop
    out_add(o, str_of(text), false);
    return n + 1;
}

static struct val f_format(struct render *r, struct val self, const struct args *a)
{
    struct val s = val_to_text(r, self);
    size_t used = 0;
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    for (size_t i = 0; r->err == 0 && i < s.s->n;) {
        if (s.s->p[i] != '%') {
            out_add_text(&o, s.s, i, i + 1);
            i++;
        } else if (i + 1 < s.s->n && s.s->p[i + 1] == '%') {
            out_add_text(&o, s.s, i, i + 1);
            i += 2;
        } else {
            struct val v = arg_at(a, used++, NULL);
            size_t n = used > a->n ? 0 : directive(r, &o, str_sub(text_str(s.s), i + 1), v);
            if (!n)
                return render_fail(r, "format: a directive without an argument, or malformed");
            i += 1 + n;
        }
    }
    return out_take(&o);
}

native_fn filter_find(struct str name)
{
    static const struct {
        const char *name;
        native_fn fn;
    } filters[] = {
        { "tojson", f_tojson },
        { "trim", f_trim },
        { "upper", f_upper },
        { "lower", f_lower },
        { "capitalize", f_capitalize },
        { "title", f_title },
        { "string", f_string },
        { "length", f_length },
        { "count", f_length },
        { "default", f_default },
        { "d", f_default },
        { "replace", f_replace },
        { "join", f_join },
        { "first", f_first },
        { "last", f_last },
        { "list", f_list },
        { "reverse", f_reverse },
        { "items", f_items },
        { "int", f_int },
        { "float", f_float },
        { "abs", f_abs },
        { "round", f_round },
        { "safe", f_safe },
        { "escape", f_escape },
        { "e", f_escape },
        { "forceescape", f_escape },
        { "indent", f_indent },
        { "map", f_map },
        { "select", f_select },
        { "reject", f_reject },
        { "selectattr", f_selectattr },
        { "rejectattr", f_rejectattr },
        { "sort", f_sort },
        { "dictsort", f_dictsort },
        { "unique", f_unique },
        { "max", f_max },
        { "min", f_min },
        { "sum", f_sum },
        { "attr", f_attr },
        { "wordcount", f_wordcount },
        { "format", f_format },
    };
    for (size_t i = 0; i < ARRAY_LEN(filters); i++)
        if (str_is(name, filters[i].name))
            return filters[i].fn;
    return NULL;
}
