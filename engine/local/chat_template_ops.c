/*
 * What operators do with values: members, slices, arithmetic, comparison.
 */
#include "engine/local/chat_template_impl.h"

#include <math.h>

/* ---- attributes and items ---- */

struct val undefined_base(struct render *r, struct val v)
{
    return v.what ? render_fail(r, "'" STR_FMT "' is undefined", STR_ARG(str_head(*v.what, 60)))
                  : render_fail(r, "a member of something undefined is asked for");
}

static struct val loop_attr(struct render *r, struct loop *l, struct str name)
{
    const struct list *all = l->items;
    const struct {
        const char *name;
        struct val value;
    } attrs[] = {
        { "index", val_int((int64_t)l->at + 1) },
        { "index0", val_int((int64_t)l->at) },
        { "first", val_bool(l->at == 0) },
        { "last", val_bool(l->at + 1 == all->n) },
        { "length", val_int((int64_t)all->n) },
        { "revindex", val_int((int64_t)(all->n - l->at)) },
        { "revindex0", val_int((int64_t)(all->n - l->at) - 1) },
        { "previtem", l->at > 0 ? all->items[l->at - 1] : V_UNDEFINED },
        { "nextitem", l->at + 1 < all->n ? all->items[l->at + 1] : V_UNDEFINED },
        { "depth", val_int(1) }, /* of recursion, which is not served */
        { "depth0", val_int(0) },
    };
    for (size_t i = 0; i < ARRAY_LEN(attrs); i++)
        if (str_is(name, attrs[i].name))
            return attrs[i].value;
    struct val method = V_UNDEFINED;
    (void)method_find(r, (struct val){ .kind = V_loop, .loop = l }, name, &method);
    return method;
}

struct val get_attr(struct render *r, struct val v, struct str name)
{
    struct val found = V_UNDEFINED;
    if (v.kind == V_undefined)
        return undefined_base(r, v);
    if (v.kind == V_loop)
        return loop_attr(r, v.loop, name);
    if (v.kind == V_namespace || !method_find(r, v, name, &found)) {
        if (v.kind == V_dict || v.kind == V_namespace)
            (void)dict_get_str(v.d, name, &found);
    }
    return found;
}

static struct val index_of(struct render *r, struct val v, int64_t i)
{
    int64_t n = v.kind == V_list ? (int64_t)v.l->n : (int64_t)text_runes(v.s);
    i = i < 0 ? i + n : i;
    if (i < 0 || i >= n)
        return V_UNDEFINED;
    if (v.kind == V_list)
        return v.l->items[i];
    size_t at = text_offset(v.s, (size_t)i), end = at;
    (void)str_utf8_next(text_str(v.s), &end);
    return val_slice(r, v.s, at, end);
}

struct val get_item(struct render *r, struct val v, struct val key)
{
    struct val found;
    if (v.kind == V_undefined)
        return undefined_base(r, v);
    if (v.kind == V_dict && dict_get(r, v.d, key, &found))
        return found;
    if ((v.kind == V_list || v.kind == V_text) && (key.kind == V_int || key.kind == V_bool))
        return index_of(r, v, key.kind == V_int ? key.i : key.b);
    if (key.kind == V_text)
        return get_attr(r, v, text_str(key.s)); /* as Jinja: items first, then attributes */
    return V_UNDEFINED;
}

/* Python's slice bounds: *ret_from, and *ret_n elements from there. */
static bool slice_bounds(struct render *r, const struct val part[3], int64_t n, int64_t *ret_from,
                         int64_t *ret_step, int64_t *ret_n)
{
    int64_t v[3] = { 0, 0, 1 };
    for (unsigned i = 0; i < 3; i++) {
        if (part[i].kind == V_int)
            v[i] = part[i].i;
        else if (part[i].kind != V_none)
            (void)render_fail(r, "a slice needs integers, not %s", val_type(part[i]));
    }
    int64_t step = v[2];
    if (step == 0 || step < -INT32_MAX || step > INT32_MAX)
        (void)render_fail(r, "a slice step of %lld is not possible", (long long)step);
    if (r->err != 0)
        return false;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    int64_t edge[2] = { step > 0 ? low : high, step > 0 ? high : low };
    for (unsigned i = 0; i < 2; i++) {
        if (part[i].kind == V_none)
            continue;
        edge[i] = v[i] < 0 ? v[i] + n : v[i];
        edge[i] = edge[i] < low ? low : edge[i] > high ? high : edge[i];
    }
    int64_t span = step > 0 ? edge[1] - edge[0] : edge[0] - edge[1];
    int64_t by = step > 0 ? step : -step;
    *ret_from = edge[0];
    *ret_step = step;
    *ret_n = span > 0 ? (span + by - 1) / by : 0;
    return true;
}

struct val slice(struct render *r, struct val v, const struct val part[3])
{
    int64_t from, step, n;
    if (v.kind == V_undefined)
        return undefined_base(r, v);
    if (v.kind != V_list && v.kind != V_text)
        return render_fail(r, "'%s' cannot be sliced", val_type(v));
    int64_t all = v.kind == V_list ? (int64_t)v.l->n : (int64_t)text_runes(v.s);
    if (!slice_bounds(r, part, all, &from, &step, &n))
        return V_UNDEFINED;
    if (v.kind == V_text && step == 1)
        return val_slice(r, v.s, text_offset(v.s, (size_t)from),
                         text_offset(v.s, (size_t)(from + n)));
    const struct list *items = val_items(r, v);
    struct val ret = val_list(r, (size_t)n);
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    for (int64_t i = 0; i < n && render_step(r, 1); i++) {
        if (v.kind == V_list)
            (void)list_add(r, ret.l, items->items[from + i * step]);
        else
            out_add_val(&o, items->items[from + i * step]);
    }
    if (v.kind == V_list && r->err == 0)
        ret.l->tuple = v.l->tuple;
    return v.kind == V_list ? ret : out_take(&o);
}

/* ---- operators ---- */

static struct val bad_operands(struct render *r, const char *op, struct val a, struct val b)
{
    if (a.kind == V_undefined && a.what)
        return undefined_base(r, a);
    if (b.kind == V_undefined && b.what)
        return undefined_base(r, b);
    return render_fail(r, "%s is not possible between '%s' and '%s'", op, val_type(a), val_type(b));
}

static struct val concat(struct render *r, struct val a, struct val b)
{
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    out_add_val(&o, a);
    out_add_val(&o, b);
    return out_take(&o);
}

static struct val add_lists(struct render *r, const struct list *a, const struct list *b)
{
    struct val sum = val_list(r, a->n + b->n);
    if (!render_step(r, a->n + b->n))
        return V_UNDEFINED;
    for (size_t i = 0; i < a->n; i++)
        (void)list_add(r, sum.l, a->items[i]);
    for (size_t i = 0; i < b->n; i++)
        (void)list_add(r, sum.l, b->items[i]);
    if (r->err == 0)
        sum.l->tuple = a->tuple;
    return r->err == 0 ? sum : V_UNDEFINED;
}

static struct val repeat(struct render *r, struct val v, int64_t times)
{
    CLEANUP(out_done) struct out o;
    out_init(&o, r);
    struct val all = val_list(r, 0);
    for (int64_t i = 0; i < times && render_step(r, 1); i++) {
        if (v.kind == V_text)
            out_add_val(&o, v);
        else
            all = add_lists(r, all.l, v.l);
        if ((v.kind == V_text ? v.s->n : v.l->n) == 0)
            break;
    }
    return v.kind == V_text ? out_take(&o) : all;
}

static bool both_whole(struct val a, struct val b)
{
    return (a.kind == V_int || a.kind == V_bool) && (b.kind == V_int || b.kind == V_bool);
}

static struct val power(struct render *r, struct val a, struct val b)
{
    if (!both_whole(a, b) || val_number(b) < 0)
        return val_float(pow(val_number(a), val_number(b)));
    int64_t base = a.kind == V_int ? a.i : a.b, n = b.kind == V_int ? b.i : b.b, out = 1;
    for (; n > 0 && render_step(r, 1); n--) {
        if (__builtin_mul_overflow(out, base, &out))
            return render_fail(r, "a number grew past 64 bits");
        if (base == 1 || base == 0)
            break;
    }
    return val_int(out);
}

static struct val divide(struct render *r, enum op op, struct val a, struct val b)
{
    if (val_number(b) == 0.0)
        return render_fail(r, "division by zero");
    if (op == OP_div)
        return val_float(val_number(a) / val_number(b));
    if (!both_whole(a, b)) {
        double quotient = floor(val_number(a) / val_number(b));
        return val_float(op == OP_floor ? quotient : val_number(a) - quotient * val_number(b));
    }
    int64_t x = a.kind == V_int ? a.i : a.b, y = b.kind == V_int ? b.i : b.b;
    if (y == -1) /* the one quotient that can overflow */
        return op == OP_mod ? val_int(0) : binary(r, OP_sub, val_int(0), val_int(x));
    int64_t q = x / y, m = x % y;
    if (m != 0 && (m < 0) != (y < 0)) { /* towards minus infinity, as Python */
        m += y;
        q--;
    }
    return val_int(op == OP_floor ? q : m);
}

struct val arithmetic(struct render *r, enum op op, struct val a, struct val b)
{
    static const char *const words[] = { "+", "-", "*", "/", "//", "%", "**" };
    if (!val_is_number(a) || !val_is_number(b))
        return bad_operands(r, words[op], a, b);
    if (op == OP_pow)
        return power(r, a, b);
    if (op == OP_div || op == OP_floor || op == OP_mod)
        return divide(r, op, a, b);
    if (!both_whole(a, b)) {
        double x = val_number(a), y = val_number(b);
        return val_float(op == OP_add ? x + y : op == OP_sub ? x - y : x * y);
    }
    int64_t x = a.kind == V_int ? a.i : a.b, y = b.kind == V_int ? b.i : b.b, out;
    bool over = op == OP_add   ? __builtin_add_overflow(x, y, &out)
                : op == OP_sub ? __builtin_sub_overflow(x, y, &out)
                               : __builtin_mul_overflow(x, y, &out);
    return over ? render_fail(r, "a number grew past 64 bits") : val_int(out);
}

struct val binary(struct render *r, enum op op, struct val a, struct val b)
{
    int order;
    switch (op) {
    case OP_concat:
        return concat(r, a, b);
    case OP_eq:
        return val_bool(val_equal(r, a, b));
    case OP_ne:
        return val_bool(!val_equal(r, a, b));
    case OP_in:
        return val_bool(val_contains(r, b, a));
    case OP_not_in:
        return val_bool(!val_contains(r, b, a));
    case OP_lt:
    case OP_le:
    case OP_gt:
    case OP_ge:
        order = val_compare(r, a, b);
        return val_bool(op == OP_lt   ? order < 0
                        : op == OP_le ? order <= 0
                        : op == OP_gt ? order > 0
                                      : order >= 0);
    case OP_add:
        if (a.kind == V_text && b.kind == V_text)
            return concat(r, a, b);
        if (a.kind == V_list && b.kind == V_list && a.l->tuple == b.l->tuple)
            return add_lists(r, a.l, b.l);
        break;
    case OP_mul:
        if ((a.kind == V_text || a.kind == V_list) && b.kind == V_int)
            return repeat(r, a, b.i);
        if (a.kind == V_int && (b.kind == V_text || b.kind == V_list))
            return repeat(r, b, a.i);
        break;
    case OP_mod:
        if (a.kind == V_text)
            return call(r, val_func(r, "format", filter_find(STR("format")), a),
                        &(struct args){ .v = b.kind == V_list && b.l->tuple ? b.l->items : &b,
                                        .n = b.kind == V_list && b.l->tuple ? b.l->n : 1 });
        break;
    default:
        break;
    }
    return arithmetic(r, op, a, b);
}
