/*
 * The tree interpreter: expressions to values, statements to output.
 */
#include "engine/local/chat_template_impl.h"

enum { SMALL = 8 }; /* operands and arguments that need no memory of the arena */

struct var {
    struct str name;
    struct val value;
};

struct scope {
    struct scope *up;
    struct var first[4], *vars;
    size_t n, cap;
    bool kept; /* a macro was made in it: it may be used again later */
};

struct scope *scope_new(struct render *r, struct scope *up)
{
    struct scope *s = render_alloc(r, 1, sizeof(*s));
    if (s) {
        s->up = up;
        s->vars = s->first;
        s->cap = ARRAY_LEN(s->first);
    }
    return s;
}

static struct var *own_var(struct scope *s, struct str name)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_eq(s->vars[i].name, name))
            return &s->vars[i];
    return NULL;
}

void scope_set(struct render *r, struct scope *s, struct str name, struct val v)
{
    if (r->err != 0)
        return;
    struct var *old = own_var(s, name);
    if (old) {
        old->value = v;
        return;
    }
    if (s->n == s->cap) {
        struct var *more = render_alloc(r, s->cap * 2, sizeof(*more));
        if (!more)
            return;
        memcpy(more, s->vars, s->n * sizeof(*more));
        s->vars = more;
        s->cap *= 2;
    }
    s->vars[s->n++] = (struct var){ name, v };
}

static struct val look_up(struct scope *s, const struct str *name)
{
    for (; s; s = s->up) {
        const struct var *v = own_var(s, *name);
        if (v)
            return v->value;
    }
    return (struct val){ .kind = V_undefined, .what = name };
}

/* ---- operators ---- */

static bool all_text(const struct node *n, const struct val *v)
{
    for (size_t i = 0; i < n->n; i++)
        if ((i && n->ops[i - 1] != OP_concat && n->ops[i - 1] != OP_add) || v[i].kind != V_text)
            return false;
    return true;
}

/* a + b + c …: texts are joined at once. */
static struct val eval_chain(struct render *r, struct scope *s, const struct node *n)
{
    struct val small[SMALL], *v = small;
    if (n->n > SMALL)
        v = render_alloc(r, n->n, sizeof(*v));
    for (size_t i = 0; v && i < n->n; i++)
        v[i] = eval(r, s, n->items[i]);
    if (r->err != 0)
        return V_UNDEFINED;
    if (all_text(n, v)) {
        CLEANUP(out_done) struct out o;
        out_init(&o, r);
        for (size_t i = 0; i < n->n; i++)
            out_add_val(&o, v[i]);
        return out_take(&o);
    }
    struct val sum = v[0];
    for (size_t i = 1; i < n->n && r->err == 0; i++)
        sum = binary(r, n->ops[i - 1], sum, v[i]);
    return sum;
}

static struct val eval_compare(struct render *r, struct scope *s, const struct node *n)
{
    struct val left = eval(r, s, n->items[0]);
    for (size_t i = 1; i < n->n && r->err == 0; i++) {
        struct val right = eval(r, s, n->items[i]);
        if (r->err == 0 && !val_true(binary(r, n->ops[i - 1], left, right)))
            return val_bool(false);
        left = right;
    }
    return val_bool(true);
}

static struct val eval_logic(struct render *r, struct scope *s, const struct node *n)
{
    struct val v = V_UNDEFINED;
    for (size_t i = 0; i < n->n && r->err == 0; i++) {
        v = eval(r, s, n->items[i]);
        if (val_true(v) == (n->kind == N_or))
            break;
    }
    return v;
}

/* ---- calls ---- */

struct arg_room {
    struct val v[SMALL], *pv;
    struct named named[SMALL], *pn;
    struct args args;
    size_t cap, cap_named;
};

static void add_arg(struct render *r, struct arg_room *room, struct str name, struct val v)
{
    if (r->err != 0)
        return;
    size_t n = name.p ? room->args.n_named : room->args.n;
    if (n >= (name.p ? room->cap_named : room->cap)) {
        size_t size = name.p ? sizeof(struct named) : sizeof(struct val);
        void *more = render_alloc(r, n * 2, size);
        if (!more)
            return;
        memcpy(more, name.p ? (void *)room->pn : (void *)room->pv, n * size);
        if (name.p) {
            room->args.named = room->pn = more;
            room->cap_named = n * 2;
        } else {
            room->args.v = room->pv = more;
            room->cap = n * 2;
        }
    }
    if (name.p)
        room->pn[room->args.n_named++] = (struct named){ name, v };
    else
        room->pv[room->args.n++] = v;
}

static void eval_args(struct render *r, struct scope *s, const struct node *n,
                      struct arg_room *room)
{
    room->pv = room->v;
    room->pn = room->named;
    room->args = (struct args){ .v = room->v, .named = room->named };
    room->cap = room->cap_named = SMALL;
    for (size_t i = 0; i < n->n_args && r->err == 0; i++) {
        const struct arg *a = &n->args[i];
        struct val v = eval(r, s, a->value);
        const struct list *items = a->stars == 1 ? val_items(r, v) : NULL;
        if (a->stars == 0)
            add_arg(r, room, a->name, v);
        for (size_t k = 0; items && k < items->n; k++)
            add_arg(r, room, STR_NULL, items->items[k]);
        if (a->stars == 2 && v.kind != V_dict)
            (void)render_fail(r, "** needs a mapping, not %s", val_type(v));
        for (size_t k = 0; a->stars == 2 && r->err == 0 && k < v.d->n; k++)
            if (v.d->pairs[k].key.kind == V_text)
                add_arg(r, room, text_str(v.d->pairs[k].key.s), v.d->pairs[k].value);
    }
}

static void assign(struct render *r, struct scope *s, const struct node *target, struct val v);

static void bind_params(struct render *r, struct scope *s, const struct node *macro,
                        const struct args *a)
{
    struct val extra = val_list(r, 0), named = val_dict(r);
    for (size_t i = 0; i < macro->n_args && r->err == 0; i++) {
        const struct arg *p = &macro->args[i];
        struct val v = (struct val){ .kind = V_undefined, .what = &p->name };
        bool given = i < a->n;
        if (given)
            v = a->v[i];
        for (size_t k = 0; !given && k < a->n_named; k++) {
            given = str_eq(a->named[k].name, p->name);
            v = given ? a->named[k].value : v;
        }
        if (!given && p->value)
            v = eval(r, s, p->value);
        scope_set(r, s, p->name, v);
    }
    for (size_t i = macro->n_args; i < a->n && r->err == 0; i++)
        (void)list_add(r, extra.l, a->v[i]);
    for (size_t k = 0; k < a->n_named && r->err == 0; k++) {
        if (str_is(a->named[k].name, "caller"))
            scope_set(r, s, STR("caller"), a->named[k].value);
        else if (!own_var(s, a->named[k].name))
            dict_set(r, named.d, val_text(r, a->named[k].name, false), a->named[k].value);
    }
    scope_set(r, s, STR("varargs"), extra);
    scope_set(r, s, STR("kwargs"), named);
}

/* Output of a body as a text. */
static struct val capture(struct render *r, struct scope *s, const struct node *body)
{
    CLEANUP(out_done) struct out o;
    struct out *outer = r->out;
    out_init(&o, r);
    r->out = &o;
    run_body(r, s, body);
    r->out = outer;
    return out_take(&o);
}

static struct val call_macro(struct render *r, const struct func *fn, const struct args *a)
{
    struct scope *s = scope_new(r, fn->scope);
    if (!s)
        return V_UNDEFINED;
    bind_params(r, s, fn->macro, a);
    if (r->err != 0)
        return V_UNDEFINED;
    unsigned loops = r->loops;
    r->loops = 0;
    struct val v = capture(r, s, fn->macro->a);
    r->loops = loops;
    r->flow = FLOW_on;
    return v;
}

struct val call(struct render *r, struct val fn, const struct args *a)
{
    struct val v = V_UNDEFINED;
    if (fn.kind == V_undefined)
        return undefined_base(r, fn);
    if (fn.kind != V_func)
        return render_fail(r, "'%s' cannot be called", val_type(fn));
    if (!render_step(r, 1) || !render_enter(r))
        return v;
    if (fn.fn->native)
        v = fn.fn->native(r, fn.fn->self, a);
    else
        v = call_macro(r, fn.fn, a);
    render_leave(r);
    return r->err == 0 ? v : V_UNDEFINED;
}

static struct val eval_call(struct render *r, struct scope *s, const struct node *n)
{
    struct arg_room room;
    struct val fn = eval(r, s, n->a);
    eval_args(r, s, n, &room);
    r->line = n->line;
    return r->err == 0 ? call(r, fn, &room.args) : V_UNDEFINED;
}

static struct val apply(struct render *r, struct scope *s, const struct node *n, struct val v)
{
    struct arg_room room;
    eval_args(r, s, n, &room);
    r->line = n->line;
    return r->err == 0 && render_step(r, 1) ? n->native(r, v, &room.args) : V_UNDEFINED;
}

/* ---- the rest of the expressions ---- */

static struct val eval_items(struct render *r, struct scope *s, const struct node *n)
{
    if (n->kind == N_dict) {
        struct val d = val_dict(r);
        for (size_t i = 0; i + 1 < n->n && r->err == 0; i += 2) {
            struct val key = eval(r, s, n->items[i]), v = eval(r, s, n->items[i + 1]);
            dict_set(r, d.d, key, v);
        }
        return d;
    }
    struct val l = val_list(r, n->n);
    for (size_t i = 0; i < n->n && r->err == 0; i++)
        (void)list_add(r, l.l, eval(r, s, n->items[i]));
    if (r->err == 0)
        l.l->tuple = n->kind == N_tuple;
    return l;
}

static struct val eval_slice(struct render *r, struct scope *s, const struct node *n)
{
    struct val v = eval(r, s, n->a), part[3];
    for (unsigned i = 0; i < 3; i++)
        part[i] = n->items[i] ? eval(r, s, n->items[i]) : V_NONE;
    return r->err == 0 ? slice(r, v, part) : V_UNDEFINED;
}

static struct val eval_sign(struct render *r, struct scope *s, const struct node *n)
{
    struct val v = eval(r, s, n->a);
    if (r->err != 0)
        return v;
    return n->kind == N_plus   ? arithmetic(r, OP_add, val_int(0), v)
           : v.kind == V_float ? val_float(-v.f)
                               : arithmetic(r, OP_sub, val_int(0), v);
}

static struct val eval_attr(struct render *r, struct scope *s, const struct node *n)
{
    struct val v = eval(r, s, n->a);
    r->line = n->line;
    if (r->err != 0)
        return v;
    v = get_attr(r, v, n->text);
    if (v.kind == V_undefined)
        v.what = &n->text;
    return v;
}

static struct val eval_node(struct render *r, struct scope *s, const struct node *n)
{
    struct val v;
    switch (n->kind) {
    case N_const:
        return n->value;
    case N_name:
        return look_up(s, &n->text);
    case N_attr:
        return eval_attr(r, s, n);
    case N_index:
        v = eval(r, s, n->a);
        return get_item(r, v, eval(r, s, n->b));
    case N_slice:
        return eval_slice(r, s, n);
    case N_call:
        return eval_call(r, s, n);
    case N_filter:
        v = eval(r, s, n->a);
        return r->err == 0 ? apply(r, s, n, v) : v;
    case N_test:
        v = eval(r, s, n->a);
        v = r->err == 0 ? apply(r, s, n, v) : v;
        return val_bool(val_true(v) != n->negated);
    case N_negate:
    case N_plus:
        return eval_sign(r, s, n);
    case N_not:
        return val_bool(!val_true(eval(r, s, n->a)));
    case N_chain:
        return eval_chain(r, s, n);
    case N_compare:
        return eval_compare(r, s, n);
    case N_and:
    case N_or:
        return eval_logic(r, s, n);
    case N_cond:
        if (val_true(eval(r, s, n->b)))
            return eval(r, s, n->a);
        return n->c ? eval(r, s, n->c) : V_UNDEFINED;
    default:
        return eval_items(r, s, n);
    }
}

struct val eval(struct render *r, struct scope *s, const struct node *n)
{
    if (!render_step(r, 1) || !render_enter(r))
        return V_UNDEFINED;
    struct val v = eval_node(r, s, n);
    render_leave(r);
    return r->err == 0 ? v : V_UNDEFINED;
}

/* ---- statements ---- */

static void assign(struct render *r, struct scope *s, const struct node *target, struct val v)
{
    if (r->err != 0)
        return;
    if (target->kind == N_name) {
        scope_set(r, s, target->text, v);
        return;
    }
    if (target->kind == N_attr) {
        struct val base = eval(r, s, target->a);
        if (base.kind != V_namespace)
            (void)render_fail(r, "cannot assign to a member of '%s'; use a namespace",
                              val_type(base));
        else
            dict_set(r, base.d, val_text(r, target->text, false), v);
        return;
    }
    const struct list *items = val_items(r, v);
    if (items && items->n != target->n)
        (void)render_fail(r, "%zu values for %zu names", items->n, target->n);
    for (size_t i = 0; items && r->err == 0 && i < target->n; i++)
        assign(r, s, target->items[i], items->items[i]);
}

static void run_if(struct render *r, struct scope *s, const struct node *n)
{
    for (size_t i = 0; i + 1 < n->n && r->err == 0; i += 2) {
        if (val_true(eval(r, s, n->items[i]))) {
            run_body(r, s, n->items[i + 1]);
            return;
        }
    }
    if (n->c && r->err == 0)
        run_body(r, s, n->c);
}

/* An empty scope for the next turn of a loop: the last one, unless a macro holds on to it. */
static struct scope *next_scope(struct render *r, struct scope *up, struct scope *last)
{
    if (!last || last->kept)
        return scope_new(r, up);
    last->n = 0;
    return last;
}

/* The elements that the loop's own condition lets through. */
static const struct list *filtered(struct render *r, struct scope *s, const struct node *n,
                                   const struct list *items)
{
    struct val kept = val_list(r, 0);
    struct scope *inner = NULL;
    for (size_t i = 0; i < items->n && r->err == 0; i++) {
        inner = next_scope(r, s, inner);
        if (!inner)
            break;
        assign(r, inner, n->a, items->items[i]);
        if (val_true(eval(r, inner, n->c)))
            (void)list_add(r, kept.l, items->items[i]);
    }
    return r->err == 0 ? kept.l : NULL;
}

static void run_for(struct render *r, struct scope *s, const struct node *n)
{
    struct val v = eval(r, s, n->b);
    const struct list *items = r->err == 0 ? val_items(r, v) : NULL;
    if (items && n->c)
        items = filtered(r, s, n, items);
    struct loop *loop = items ? render_alloc(r, 1, sizeof(*loop)) : NULL;
    if (!loop)
        return;
    r->loops++;
    *loop = (struct loop){ .items = items, .changed = V_UNDEFINED };
    struct scope *inner = NULL;
    for (size_t i = 0; i < items->n && r->flow != FLOW_break && render_step(r, 1); i++) {
        inner = next_scope(r, s, inner);
        if (!inner)
            break;
        loop->at = i;
        scope_set(r, inner, STR("loop"), (struct val){ .kind = V_loop, .loop = loop });
        assign(r, inner, n->a, items->items[i]);
        run_body(r, inner, n->items[0]);
        r->flow = r->flow == FLOW_break ? FLOW_break : FLOW_on;
    }
    r->flow = FLOW_on;
    r->loops--;
    if (items->n == 0 && n->items[1] && r->err == 0)
        run_body(r, s, n->items[1]);
}

static struct val macro_value(struct render *r, struct scope *s, const struct node *n)
{
    struct func *f = render_alloc(r, 1, sizeof(*f));
    if (!f)
        return V_UNDEFINED;
    *f = (struct func){ .name = "macro", .macro = n, .scope = s };
    for (; s && !s->kept; s = s->up)
        s->kept = true;
    return (struct val){ .kind = V_func, .fn = f };
}

static void run_call_block(struct render *r, struct scope *s, const struct node *n)
{
    struct arg_room room;
    struct val fn = eval(r, s, n->a->a);
    eval_args(r, s, n->a, &room);
    add_arg(r, &room, STR("caller"), macro_value(r, s, n->b));
    if (r->err == 0)
        out_add_val(r->out, call(r, fn, &room.args));
}

static struct val filter_all(struct render *r, struct scope *s, const struct node *n, struct val v)
{
    for (size_t i = 0; i < n->n && r->err == 0; i++)
        v = apply(r, s, n->items[i], v);
    return v;
}

static void run_with(struct render *r, struct scope *s, const struct node *n)
{
    struct scope *inner = scope_new(r, s);
    for (size_t i = 0; inner && i < n->n_args && r->err == 0; i++)
        scope_set(r, inner, n->args[i].name, eval(r, s, n->args[i].value));
    if (r->err == 0)
        run_body(r, inner, n->a);
}

static void run_block(struct render *r, struct scope *s, const struct node *n)
{
    struct scope *inner = scope_new(r, s);
    if (!inner)
        return;
    struct val v = capture(r, inner, n->kind == N_set_block ? n->b : n->a);
    v = filter_all(r, s, n, v);
    if (r->err != 0)
        return;
    if (n->kind == N_set_block)
        assign(r, s, n->a, v);
    else
        out_add_val(r->out, v);
}

static void run_statement(struct render *r, struct scope *s, const struct node *n)
{
    r->line = n->line;
    switch (n->kind) {
    case N_text:
        out_add_val(r->out, n->value);
        break;
    case N_output: {
        struct val v = eval(r, s, n->a);
        if (r->err == 0)
            out_add_val(r->out, v);
        break;
    }
    case N_if:
        run_if(r, s, n);
        break;
    case N_for:
        run_for(r, s, n);
        break;
    case N_set:
        assign(r, s, n->a, eval(r, s, n->b));
        break;
    case N_macro:
        scope_set(r, s, n->text, macro_value(r, s, n));
        break;
    case N_call_block:
        run_call_block(r, s, n);
        break;
    case N_with:
        run_with(r, s, n);
        break;
    case N_set_block:
    case N_filter_block:
        run_block(r, s, n);
        break;
    case N_break:
    case N_continue:
        if (r->loops == 0)
            (void)render_fail(r, "break or continue outside a loop");
        r->flow = n->kind == N_break ? FLOW_break : FLOW_continue;
        break;
    default:
        run_body(r, s, n);
    }
}

void run_body(struct render *r, struct scope *s, const struct node *body)
{
    if (!render_enter(r))
        return;
    for (size_t i = 0; i < body->n && r->flow == FLOW_on && render_step(r, 1); i++)
        run_statement(r, s, body->items[i]);
    render_leave(r);
}
