/*
 * Values of the template language, with Python's rules for truth, equality, order and membership.
 */
#include "engine/local/chat_template_impl.h"

#include <errno.h>
#include <stdio.h>

/* Deep enough for any honest template, shallow enough for a small thread's stack. */
enum { MAX_EVAL_DEPTH = LIMIT_TEMPLATE_DEPTH * 8 };

struct val render_fail(struct render *r, const char *fmt, ...)
{
    char text[240];
    va_list args;
    if (r->err != 0)
        return V_UNDEFINED;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    r->err = fail_set(r->reterr, FAIL_invalid_request, "chat template, line %u: %s", r->line, text);
    return V_UNDEFINED;
}

struct val render_no_memory(struct render *r)
{
    if (arena_used(r->arena) > LIMIT_TEMPLATE_OUTPUT)
        return render_fail(r, "it needs too much memory");
    r->err = r->err ? r->err : -ENOMEM;
    return V_UNDEFINED;
}

bool render_step(struct render *r, size_t cost)
{
    r->steps += cost;
    if (r->steps > LIMIT_TEMPLATE_STEPS)
        (void)render_fail(r, "it takes more than %d steps", LIMIT_TEMPLATE_STEPS);
    return r->err == 0;
}

bool render_enter(struct render *r)
{
    if (r->depth >= MAX_EVAL_DEPTH)
        (void)render_fail(r, "it is nested too deeply");
    else if (r->err == 0)
        r->depth++;
    return r->err == 0;
}

void render_leave(struct render *r)
{
    r->depth--;
}

void *render_alloc(struct render *r, size_t n, size_t size)
{
    void *p = r->err == 0 ? arena_array(r->arena, n, size) : NULL;
    if (!p)
        (void)render_no_memory(r);
    return p;
}

struct val val_bool(bool b)
{
    return (struct val){ .kind = V_bool, .b = b };
}

struct val val_int(int64_t i)
{
    return (struct val){ .kind = V_int, .i = i };
}

struct val val_float(double f)
{
    return (struct val){ .kind = V_float, .f = f };
}

struct val val_text(struct render *r, struct str s, bool literal)
{
    struct text *t = render_alloc(r, 1, sizeof(*t));
    if (!t)
        return V_UNDEFINED;
    *t = (struct text){ s.p, s.n, NULL, 0, literal };
    return (struct val){ .kind = V_text, .s = t };
}

struct val val_copy(struct render *r, struct str s, bool literal)
{
    struct str copy = arena_str(r->arena, s);
    return copy.p ? val_text(r, copy, literal) : render_no_memory(r);
}

struct val val_cstr(struct render *r, const char *s)
{
    return val_text(r, str_of(s), false);
}

/* Runs of t that reach into [from, to), shifted to begin at 0. */
static bool slice_runs(struct render *r, const struct text *t, struct text *ret, size_t from)
{
    size_t first = 0;
    while (first < t->n_runs && t->runs[first].end <= from)
        first++;
    size_t last = first;
    while (last < t->n_runs && t->runs[last].end < from + ret->n)
        last++;
    if (first >= t->n_runs || first == last) { /* one run holds it all */
        ret->literal = first < t->n_runs && t->runs[first].literal;
        return true;
    }
    size_t n = last - first + 1;
    struct run *runs = render_alloc(r, n, sizeof(*runs));
    if (!runs)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t end = t->runs[first + i].end - from;
        runs[i] = (struct run){ end < ret->n ? end : ret->n, t->runs[first + i].literal };
    }
    ret->runs = runs;
    ret->n_runs = n;
    return true;
}

struct val val_slice(struct render *r, const struct text *t, size_t from, size_t to)
{
    struct text *s = render_alloc(r, 1, sizeof(*s));
    if (!s)
        return V_UNDEFINED;
    from = from < t->n ? from : t->n;
    to = to < t->n ? to : t->n;
    *s = (struct text){ t->p + from, to > from ? to - from : 0, NULL, 0, t->literal };
    if (t->runs && !slice_runs(r, t, s, from))
        return V_UNDEFINED;
    return (struct val){ .kind = V_text, .s = s };
}

struct val val_list(struct render *r, size_t room)
{
    struct list *l = render_alloc(r, 1, sizeof(*l));
    if (!l)
        return V_UNDEFINED;
    if (room) {
        l->items = render_alloc(r, room, sizeof(*l->items));
        l->cap = l->items ? room : 0;
    }
    return r->err == 0 ? (struct val){ .kind = V_list, .l = l } : V_UNDEFINED;
}

struct val val_dict(struct render *r)
{
    struct dict *d = render_alloc(r, 1, sizeof(*d));
    return d ? (struct val){ .kind = V_dict, .d = d } : V_UNDEFINED;
}

struct val val_func(struct render *r, const char *name, native_fn fn, struct val self)
{
    struct func *f = render_alloc(r, 1, sizeof(*f));
    if (!f)
        return V_UNDEFINED;
    *f = (struct func){ .name = name, .native = fn, .self = self };
    return (struct val){ .kind = V_func, .fn = f };
}

bool list_add(struct render *r, struct list *l, struct val v)
{
    if (r->err != 0)
        return false;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct val *more = render_alloc(r, cap, sizeof(*more));
        if (!more)
            return false;
        if (l->n)
            memcpy(more, l->items, l->n * sizeof(*more));
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = v;
    return true;
}

void dict_set(struct render *r, struct dict *d, struct val key, struct val v)
{
    if (r->err != 0 || !render_step(r, 1 + d->n / 16))
        return;
    for (size_t i = 0; i < d->n; i++) {
        if (val_equal(r, d->pairs[i].key, key)) {
            d->pairs[i].value = v;
            return;
        }
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        struct pair *more = render_alloc(r, cap, sizeof(*more));
        if (!more)
            return;
        if (d->n)
            memcpy(more, d->pairs, d->n * sizeof(*more));
        d->pairs = more;
        d->cap = cap;
    }
    d->pairs[d->n++] = (struct pair){ key, v };
}

bool dict_get(struct render *r, const struct dict *d, struct val key, struct val *ret)
{
    if (!render_step(r, 1 + d->n / 16))
        return false;
    for (size_t i = 0; i < d->n; i++) {
        if (val_equal(r, d->pairs[i].key, key)) {
            *ret = d->pairs[i].value;
            return true;
        }
    }
    return false;
}

bool dict_get_str(const struct dict *d, struct str key, struct val *ret)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->pairs[i].key.kind == V_text && str_eq(text_str(d->pairs[i].key.s), key)) {
            *ret = d->pairs[i].value;
            return true;
        }
    }
    return false;
}

bool val_true(struct val v)
{
    switch (v.kind) {
    case V_bool:
        return v.b;
    case V_int:
        return v.i != 0;
    case V_float:
        return v.f != 0.0;
    case V_text:
        return v.s->n > 0;
    case V_list:
        return v.l->n > 0;
    case V_dict:
        return v.d->n > 0;
    default:
        return v.kind != V_undefined && v.kind != V_none;
    }
}

bool val_is_number(struct val v)
{
    return v.kind == V_int || v.kind == V_float || v.kind == V_bool;
}

double val_number(struct val v)
{
    return v.kind == V_float ? v.f : v.kind == V_int ? (double)v.i : v.b ? 1.0 : 0.0;
}

static int64_t whole(struct val v) /* of an int or bool */
{
    return v.kind == V_int ? v.i : v.b ? 1 : 0;
}

static bool equal_lists(struct render *r, const struct list *a, const struct list *b)
{
    bool same = a->n == b->n && a->tuple == b->tuple;
    for (size_t i = 0; same && i < a->n; i++)
        same = render_step(r, 1) && val_equal(r, a->items[i], b->items[i]);
    return same;
}

static bool equal_dicts(struct render *r, const struct dict *a, const struct dict *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        struct val other;
        same = dict_get(r, b, a->pairs[i].key, &other) && val_equal(r, a->pairs[i].value, other);
    }
    return same;
}

bool val_equal(struct render *r, struct val a, struct val b)
{
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind != V_float && b.kind != V_float)
            return whole(a) == whole(b);
        return val_number(a) == val_number(b);
    }
    if (a.kind != b.kind)
        return false;
    bool same = false;
    switch (a.kind) {
    case V_text:
        return str_eq(text_str(a.s), text_str(b.s));
    case V_list:
    case V_dict:
        if (!render_enter(r))
            return false;
        same = a.kind == V_list ? equal_lists(r, a.l, b.l) : equal_dicts(r, a.d, b.d);
        render_leave(r);
        return same;
    case V_namespace:
        return a.d == b.d;
    case V_loop:
        return a.loop == b.loop;
    case V_func:
        return a.fn == b.fn;
    default:
        return true;
    }
}

const char *val_type(struct val v)
{
    static const char *const names[] = {
        [V_undefined] = "Undefined", [V_none] = "NoneType",
        [V_bool] = "bool",           [V_int] = "int",
        [V_float] = "float",         [V_text] = "str",
        [V_list] = "list",           [V_dict] = "dict",
        [V_namespace] = "Namespace", [V_loop] = "LoopContext",
        [V_func] = "function",
    };
    return v.kind == V_list && v.l->tuple ? "tuple" : names[v.kind];
}

static int compare_lists(struct render *r, const struct list *a, const struct list *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (!val_equal(r, a->items[i], b->items[i]))
            return val_compare(r, a->items[i], b->items[i]);
    return (a->n > b->n) - (a->n < b->n);
}

int val_compare(struct render *r, struct val a, struct val b)
{
    if (val_is_number(a) && val_is_number(b)) {
        if (a.kind != V_float && b.kind != V_float)
            return (whole(a) > whole(b)) - (whole(a) < whole(b));
        return (val_number(a) > val_number(b)) - (val_number(a) < val_number(b));
    }
    if (a.kind == V_text && b.kind == V_text)
        return str_cmp(text_str(a.s), text_str(b.s)); /* UTF-8 sorts by code point */
    if (a.kind == V_list && b.kind == V_list && a.l->tuple == b.l->tuple) {
        if (!render_enter(r))
            return 0;
        int order = compare_lists(r, a.l, b.l);
        render_leave(r);
        return order;
    }
    (void)render_fail(r, "'%s' and '%s' have no order", val_type(a), val_type(b));
    return 0;
}

bool val_contains(struct render *r, struct val container, struct val v)
{
    struct val found;
    switch (container.kind) {
    case V_text:
        if (v.kind != V_text) {
            (void)render_fail(r, "'in <string>' needs a string on its left, not %s", val_type(v));
            return false;
        }
        return render_step(r, 1 + container.s->n / 64) &&
               str_find(text_str(container.s), text_str(v.s)) >= 0;
    case V_list:
        for (size_t i = 0; i < container.l->n && render_step(r, 1); i++)
            if (val_equal(r, container.l->items[i], v))
                return true;
        return false;
    case V_dict:
        return dict_get(r, container.d, v, &found);
    case V_undefined:
        return false;
    default:
        (void)render_fail(r, "'%s' has no members", val_type(container));
        return false;
    }
}

bool val_is_iterable(struct val v)
{
    return v.kind == V_text || v.kind == V_list || v.kind == V_dict || v.kind == V_undefined;
}

static const struct list *runes_of(struct render *r, const struct text *t)
{
    struct val all = val_list(r, text_runes(t));
    for (size_t at = 0; at < t->n && render_step(r, 1);) {
        size_t from = at;
        (void)str_utf8_next(text_str(t), &at);
        (void)list_add(r, all.l, val_slice(r, t, from, at));
    }
    return r->err == 0 ? all.l : NULL;
}

const struct list *val_items(struct render *r, struct val v)
{
    struct val all;
    switch (v.kind) {
    case V_list:
        return v.l;
    case V_dict:
        all = val_list(r, v.d->n);
        for (size_t i = 0; i < v.d->n && r->err == 0; i++)
            (void)list_add(r, all.l, v.d->pairs[i].key);
        return r->err == 0 ? all.l : NULL;
    case V_text:
        return runes_of(r, v.s);
    case V_undefined:
        all = val_list(r, 0);
        return r->err == 0 ? all.l : NULL;
    default:
        (void)render_fail(r, "'%s' cannot be iterated", val_type(v));
        return NULL;
    }
}

size_t text_runes(const struct text *t)
{
    size_t n = 0;
    for (size_t at = 0; at < t->n; n++)
        (void)str_utf8_next(text_str(t), &at);
    return n;
}

size_t text_offset(const struct text *t, size_t runes)
{
    size_t at = 0;
    while (runes-- && at < t->n)
        (void)str_utf8_next(text_str(t), &at);
    return at;
}
