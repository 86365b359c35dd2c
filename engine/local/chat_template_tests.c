/*
 * Tests: what may stand behind "is". `self` is the value in front of it.
 */
#include "engine/local/chat_template_impl.h"

static struct val t_defined(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind != V_undefined);
}

static struct val t_undefined(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_undefined);
}

static struct val t_none(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_none);
}

static struct val t_string(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_text);
}

static struct val t_mapping(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_dict);
}

static struct val t_iterable(struct render *r, struct val self, const struct args *a)
{
    return val_bool(val_is_iterable(self));
}

static struct val t_number(struct render *r, struct val self, const struct args *a)
{
    return val_bool(val_is_number(self));
}

static struct val t_integer(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_int);
}

static struct val t_float(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_float);
}

static struct val t_boolean(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_bool);
}

static struct val t_true(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_bool && self.b);
}

static struct val t_false(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_bool && !self.b);
}

static struct val t_callable(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_func);
}

static struct val compare(struct render *r, enum op op, struct val self, const struct args *a)
{
    return binary(r, op, self, arg_at(a, 0, NULL));
}

static struct val t_eq(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_eq, self, a);
}

static struct val t_ne(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_ne, self, a);
}

static struct val t_lt(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_lt, self, a);
}

static struct val t_le(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_le, self, a);
}

static struct val t_gt(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_gt, self, a);
}

static struct val t_ge(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_ge, self, a);
}

static struct val t_in(struct render *r, struct val self, const struct args *a)
{
    return compare(r, OP_in, self, a);
}

static struct val t_divisible(struct render *r, struct val self, const struct args *a)
{
    struct val rest = binary(r, OP_mod, self, arg_at(a, 0, "num"));
    return val_bool(r->err == 0 && val_is_number(rest) && val_number(rest) == 0.0);
}

static struct val t_odd(struct render *r, struct val self, const struct args *a)
{
    struct val rest = binary(r, OP_mod, self, val_int(2));
    return val_bool(val_is_number(rest) && val_number(rest) == 1.0);
}

static struct val t_even(struct render *r, struct val self, const struct args *a)
{
    struct val rest = binary(r, OP_mod, self, val_int(2));
    return val_bool(val_is_number(rest) && val_number(rest) == 0.0);
}

static struct val is_case(struct render *r, struct val self, char how)
{
    struct val s = val_to_text(r, self);
    if (r->err != 0)
        return s;
    struct val changed = text_case(r, s.s, how), other = text_case(r, s.s, how == 'u' ? 'l' : 'u');
    return val_bool(val_equal(r, s, changed) && !val_equal(r, s, other));
}

static struct val t_upper(struct render *r, struct val self, const struct args *a)
{
    return is_case(r, self, 'u');
}

static struct val t_lower(struct render *r, struct val self, const struct args *a)
{
    return is_case(r, self, 'l');
}

static struct val t_filter(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_text && filter_find(text_str(self.s)) != NULL);
}

static struct val t_test(struct render *r, struct val self, const struct args *a)
{
    return val_bool(self.kind == V_text && test_find(text_str(self.s)) != NULL);
}

native_fn test_find(struct str name)
{
    static const struct {
        const char *name;
        native_fn fn;
    } tests[] = {
        { "defined", t_defined },
        { "undefined", t_undefined },
        { "none", t_none },
        { "string", t_string },
        { "mapping", t_mapping },
        { "iterable", t_iterable },
        { "sequence", t_iterable },
        { "number", t_number },
        { "integer", t_integer },
        { "float", t_float },
        { "boolean", t_boolean },
        { "true", t_true },
        { "false", t_false },
        { "callable", t_callable },
        { "eq", t_eq },
        { "equalto", t_eq },
        { "sameas", t_eq },
        { "ne", t_ne },
        { "lt", t_lt },
        { "lessthan", t_lt },
        { "le", t_le },
        { "gt", t_gt },
        { "greaterthan", t_gt },
        { "ge", t_ge },
        { "in", t_in },
        { "divisibleby", t_divisible },
        { "odd", t_odd },
        { "even", t_even },
        { "upper", t_upper },
        { "lower", t_lower },
        { "filter", t_filter },
        { "test", t_test },
    };
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        if (str_is(name, tests[i].name))
            return tests[i].fn;
    return NULL;
}
