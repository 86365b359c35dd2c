/*
 * Tokens to nodes. Precedence as in Jinja: a filter or test binds tighter than any operator but the
 * call, then unary, **, * / // %, ~, + -, comparisons, not, and, or, if-else.
 */
#include "engine/local/chat_template_impl.h"

#include <errno.h>
#include <stdio.h>

struct parser {
    struct lexer lex;
    struct lex_token cur;
    unsigned depth;
    struct node bad; /* handed out after an error */
};

struct nodes { /* a list that grows in the arena */
    struct node **p;
    size_t n, cap;
};

static struct node *parse_expr(struct parser *p);
static struct node *parse_unary(struct parser *p, bool filters);
static struct node *parse_body(struct parser *p, const char *const *ends);

static struct node *fail_at(struct parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

static struct node *fail_at(struct parser *p, const char *fmt, ...)
{
    char text[200];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)lexer_fail(&p->lex, p->cur.line, "%s", text);
    p->cur.type = T_end;
    return &p->bad;
}

static void next(struct parser *p)
{
    p->cur = lexer_next(&p->lex);
}

static void *grow(struct parser *p, void *old, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return old;
    size_t want = *cap ? *cap * 2 : 4;
    void *more = arena_array(p->lex.arena, want, size);
    if (!more) {
        p->lex.err = p->lex.err ? p->lex.err : -ENOMEM;
        p->cur.type = T_end;
        return NULL;
    }
    if (n)
        memcpy(more, old, n * size);
    *cap = want;
    return more;
}

static void push(struct parser *p, struct nodes *l, struct node *n)
{
    struct node **more = grow(p, l->p, l->n, &l->cap, sizeof(struct node *));
    if (!more)
        return;
    l->p = more;
    l->p[l->n++] = n;
}

static void push_arg(struct parser *p, struct node *n, size_t *cap, struct arg a)
{
    struct arg *more = grow(p, n->args, n->n_args, cap, sizeof(struct arg));
    if (!more)
        return;
    n->args = more;
    n->args[n->n_args++] = a;
}

static struct node *node(struct parser *p, enum node_kind kind)
{
    struct node *n = arena_alloc(p->lex.arena, sizeof(*n));
    if (!n) {
        p->lex.err = p->lex.err ? p->lex.err : -ENOMEM;
        p->cur.type = T_end;
        return &p->bad;
    }
    n->kind = kind;
    n->line = p->cur.line;
    return n;
}

static bool enter(struct parser *p)
{
    if (p->depth >= LIMIT_TEMPLATE_DEPTH)
        (void)fail_at(p, "nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    else
        p->depth++;
    return p->lex.err == 0;
}

static bool is_op(const struct parser *p, const char *op)
{
    return p->cur.type == T_op && str_is(p->cur.text, op);
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->cur.type == T_name && str_is(p->cur.text, word);
}

static bool take_op(struct parser *p, const char *op)
{
    bool hit = is_op(p, op);
    if (hit)
        next(p);
    return hit;
}

static bool take_word(struct parser *p, const char *word)
{
    bool hit = is_word(p, word);
    if (hit)
        next(p);
    return hit;
}

static void want_op(struct parser *p, const char *op)
{
    if (!take_op(p, op))
        (void)fail_at(p, "expected '%s'", op);
}

static struct str want_name(struct parser *p)
{
    struct str name = p->cur.text;
    if (p->cur.type != T_name) {
        (void)fail_at(p, "expected a name");
        return STR_NULL;
    }
    next(p);
    return name;
}

static void want_close(struct parser *p)
{
    if (p->cur.type != T_close)
        (void)fail_at(p, "the tag should end at '" STR_FMT "'", STR_ARG(str_head(p->cur.text, 40)));
    else
        next(p);
}

static struct node *constant(struct parser *p, struct val v)
{
    struct node *n = node(p, N_const);
    n->value = v;
    return n;
}

static struct node *text_node(struct parser *p, struct str s)
{
    struct text *t = arena_alloc(p->lex.arena, sizeof(*t));
    if (!t)
        return fail_at(p, "no memory");
    t->p = s.p;
    t->n = s.n;
    return constant(p, (struct val){ .kind = V_text, .s = t });
}

/* ---- expressions ---- */

/* Adjacent strings are one. */
static struct node *parse_string(struct parser *p)
{
    struct str s = p->cur.text;
    next(p);
    while (p->cur.type == T_string) {
        char *both = arena_alloc(p->lex.arena, s.n + p->cur.text.n + 1);
        if (!both)
            return fail_at(p, "no memory");
        if (s.n)
            memcpy(both, s.p, s.n);
        if (p->cur.text.n)
            memcpy(both + s.n, p->cur.text.p, p->cur.text.n);
        s = (struct str){ both, s.n + p->cur.text.n };
        next(p);
    }
    return text_node(p, s);
}

/* Elements up to the closing bracket; a trailing comma is fine. */
static void parse_elements(struct parser *p, struct nodes *l, const char *close, bool dict)
{
    while (p->lex.err == 0 && !is_op(p, close)) {
        push(p, l, parse_expr(p));
        if (dict) {
            want_op(p, ":");
            push(p, l, parse_expr(p));
        }
        if (!take_op(p, ","))
            break;
    }
    want_op(p, close);
}

static struct node *with_items(struct node *n, const struct nodes *l)
{
    n->items = l->p;
    n->n = l->n;
    return n;
}

static struct node *parse_bracketed(struct parser *p)
{
    struct nodes l = { 0 };
    struct node *n;
    if (take_op(p, "[")) {
        n = node(p, N_list);
        parse_elements(p, &l, "]", false);
        return with_items(n, &l);
    }
    if (take_op(p, "{")) {
        n = node(p, N_dict);
        parse_elements(p, &l, "}", true);
        return with_items(n, &l);
    }
    next(p); /* "(" */
    n = node(p, N_tuple);
    if (!is_op(p, ")")) {
        push(p, &l, parse_expr(p));
        if (take_op(p, ")"))
            return l.n ? l.p[0] : &p->bad;
        want_op(p, ",");
    }
    parse_elements(p, &l, ")", false);
    return with_items(n, &l);
}

static struct node *parse_name(struct parser *p)
{
    static const struct {
        const char *word;
        struct val value;
    } constants[] = {
        { "true", { .kind = V_bool, .b = true } },
        { "True", { .kind = V_bool, .b = true } },
        { "false", { .kind = V_bool, .b = false } },
        { "False", { .kind = V_bool, .b = false } },
        { "none", { .kind = V_none } },
        { "None", { .kind = V_none } },
    };
    struct str name = p->cur.text;
    for (size_t i = 0; i < ARRAY_LEN(constants); i++) {
        if (take_word(p, constants[i].word))
            return constant(p, constants[i].value);
    }
    struct node *n = node(p, N_name);
    n->text = name;
    next(p);
    return n;
}

static struct node *parse_primary(struct parser *p)
{
    struct node *n = &p->bad;
    switch (p->cur.type) {
    case T_name:
        return parse_name(p);
    case T_string:
        return parse_string(p);
    case T_int:
        n = constant(p, val_int(p->cur.i));
        next(p);
        return n;
    case T_float:
        n = constant(p, val_float(p->cur.f));
        next(p);
        return n;
    case T_op:
        if (is_op(p, "(") || is_op(p, "[") || is_op(p, "{"))
            return parse_bracketed(p);
        return fail_at(p, "unexpected '" STR_FMT "'", STR_ARG(p->cur.text));
    default:
        return fail_at(p, "an expression is missing");
    }
}

/* Behind "(": arguments up to ")". */
static void parse_args(struct parser *p, struct node *n)
{
    size_t cap = 0;
    while (p->lex.err == 0 && !is_op(p, ")")) {
        struct arg a = { .stars = is_op(p, "*") ? 1 : is_op(p, "**") ? 2 : 0 };
        if (a.stars)
            next(p);
        a.value = parse_expr(p);
        if (!a.stars && a.value->kind == N_name && take_op(p, "=")) {
            a.name = a.value->text;
            a.value = parse_expr(p);
        }
        push_arg(p, n, &cap, a);
        if (!take_op(p, ","))
            break;
    }
    want_op(p, ")");
}

static struct node *parse_subscript(struct parser *p, struct node *base)
{
    struct nodes parts = { 0 };
    struct node *n = node(p, N_index);
    n->a = base;
    for (unsigned i = 0; i < 3; i++) {
        bool open = is_op(p, ":") || is_op(p, "]");
        push(p, &parts, open ? NULL : parse_expr(p));
        if (!take_op(p, ":"))
            break;
        n->kind = N_slice;
    }
    want_op(p, "]");
    if (n->kind == N_index) {
        n->b = parts.n ? parts.p[0] : NULL;
        return n->b ? n : fail_at(p, "an index is missing");
    }
    while (parts.n < 3 && p->lex.err == 0)
        push(p, &parts, NULL);
    return with_items(n, &parts);
}

static struct node *parse_dot(struct parser *p, struct node *base)
{
    struct node *n = node(p, N_attr);
    n->a = base;
    if (p->cur.type == T_int) {
        n->kind = N_index;
        n->b = constant(p, val_int(p->cur.i));
        next(p);
    } else {
        n->text = want_name(p);
    }
    return n;
}

static struct node *parse_call(struct parser *p, struct node *base)
{
    struct node *n = node(p, N_call);
    n->a = base;
    parse_args(p, n);
    return n;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    for (unsigned i = 0; p->lex.err == 0; i++) {
        if (i > LIMIT_TEMPLATE_DEPTH)
            return fail_at(p, "an expression has too many parts");
        if (take_op(p, "."))
            n = parse_dot(p, n);
        else if (take_op(p, "["))
            n = parse_subscript(p, n);
        else if (take_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct node *parse_filter(struct parser *p, struct node *base)
{
    struct node *n = node(p, N_filter);
    n->a = base;
    n->text = want_name(p);
    n->native = filter_find(n->text);
    if (!n->native && p->lex.err == 0)
        return fail_at(p, "there is no filter '" STR_FMT "'", STR_ARG(str_head(n->text, 60)));
    if (take_op(p, "("))
        parse_args(p, n);
    return n;
}

/* A test may take one argument without brackets: "x is divisibleby 3". */
static bool begins_argument(const struct parser *p)
{
    if (p->cur.type == T_string || p->cur.type == T_int || p->cur.type == T_float)
        return true;
    if (p->cur.type == T_name)
        return !is_word(p, "else") && !is_word(p, "or") && !is_word(p, "and") &&
               !is_word(p, "is") && !is_word(p, "if") && !is_word(p, "in") && !is_word(p, "not");
    return is_op(p, "[") || is_op(p, "{");
}

static struct node *parse_test(struct parser *p, struct node *base)
{
    struct node *n = node(p, N_test);
    size_t cap = 0;
    n->a = base;
    n->negated = take_word(p, "not");
    n->text = is_word(p, "in") ? p->cur.text : STR_NULL;
    if (n->text.n)
        next(p);
    else
        n->text = want_name(p);
    n->native = test_find(n->text);
    if (!n->native && p->lex.err == 0)
        return fail_at(p, "there is no test '" STR_FMT "'", STR_ARG(str_head(n->text, 60)));
    if (take_op(p, "("))
        parse_args(p, n);
    else if (begins_argument(p))
        push_arg(p, n, &cap, (struct arg){ .value = parse_postfix(p, parse_primary(p)) });
    return n;
}

static struct node *parse_filters(struct parser *p, struct node *n)
{
    for (unsigned i = 0; p->lex.err == 0; i++) {
        if (i > LIMIT_TEMPLATE_DEPTH)
            return fail_at(p, "an expression has too many filters");
        if (take_op(p, "|"))
            n = parse_filter(p, n);
        else if (take_word(p, "is"))
            n = parse_test(p, n);
        else if (take_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct node *parse_unary(struct parser *p, bool filters)
{
    struct node *n;
    if (is_op(p, "-") || is_op(p, "+")) {
        if (!enter(p))
            return &p->bad;
        n = node(p, is_op(p, "-") ? N_negate : N_plus);
        next(p);
        n->a = parse_unary(p, false);
        p->depth--;
        n = parse_postfix(p, n);
    } else {
        n = parse_postfix(p, parse_primary(p));
    }
    return filters ? parse_filters(p, n) : n;
}

struct level {
    const char *op;
    enum op is;
};

static const struct level levels[4][5] = {
    { { "+", OP_add }, { "-", OP_sub } },
    { { "~", OP_concat } },
    { { "*", OP_mul }, { "/", OP_div }, { "//", OP_floor }, { "%", OP_mod } },
    { { "**", OP_pow } },
};

/* Operands with the operators of one level between them: one node, however many there are. */
static struct node *parse_level(struct parser *p, unsigned level)
{
    if (level == ARRAY_LEN(levels))
        return parse_unary(p, true);
    struct node *first = parse_level(p, level + 1), *chain = NULL;
    struct nodes l = { 0 };
    size_t cap = 0;
    while (p->lex.err == 0) {
        const struct level *hit = levels[level];
        while (hit->op && !is_op(p, hit->op))
            hit++;
        if (!hit->op)
            break;
        if (!chain) {
            chain = node(p, N_chain);
            push(p, &l, first);
        }
        enum op *ops = grow(p, chain->ops, l.n, &cap, sizeof(*ops));
        if (!ops)
            return &p->bad;
        chain->ops = ops;
        chain->ops[l.n - 1] = hit->is;
        next(p);
        push(p, &l, parse_level(p, level + 1));
    }
    return chain ? with_items(chain, &l) : first;
}

static bool take_comparison(struct parser *p, enum op *ret)
{
    static const struct level ops[] = { { "==", OP_eq }, { "!=", OP_ne }, { "<", OP_lt },
                                        { "<=", OP_le }, { ">", OP_gt },  { ">=", OP_ge } };
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (take_op(p, ops[i].op)) {
            *ret = ops[i].is;
            return true;
        }
    }
    *ret = is_word(p, "in") ? OP_in : OP_not_in;
    if (take_word(p, "in"))
        return true;
    if (!is_word(p, "not"))
        return false;
    next(p);
    if (!take_word(p, "in"))
        (void)fail_at(p, "expected 'in' behind 'not'");
    return true;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *first = parse_level(p, 0), *chain = NULL;
    struct nodes l = { 0 };
    size_t cap = 0;
    enum op op;
    while (p->lex.err == 0 && take_comparison(p, &op)) {
        if (!chain) {
            chain = node(p, N_compare);
            push(p, &l, first);
        }
        enum op *ops = grow(p, chain->ops, l.n, &cap, sizeof(*ops));
        if (!ops)
            return &p->bad;
        chain->ops = ops;
        chain->ops[l.n - 1] = op;
        push(p, &l, parse_level(p, 0));
    }
    return chain ? with_items(chain, &l) : first;
}

static struct node *parse_not(struct parser *p)
{
    if (!is_word(p, "not"))
        return parse_compare(p);
    if (!enter(p))
        return &p->bad;
    struct node *n = node(p, N_not);
    next(p);
    n->a = parse_not(p);
    p->depth--;
    return n;
}

static struct node *parse_logic(struct parser *p, bool is_or)
{
    struct node *first = is_or ? parse_logic(p, false) : parse_not(p), *n = NULL;
    struct nodes l = { 0 };
    while (p->lex.err == 0 && take_word(p, is_or ? "or" : "and")) {
        if (!n) {
            n = node(p, is_or ? N_or : N_and);
            push(p, &l, first);
        }
        push(p, &l, is_or ? parse_logic(p, false) : parse_not(p));
    }
    return n ? with_items(n, &l) : first;
}

static struct node *parse_expr(struct parser *p)
{
    if (!enter(p))
        return &p->bad;
    struct node *n = parse_logic(p, true);
    while (p->lex.err == 0 && is_word(p, "if")) {
        struct node *cond = node(p, N_cond);
        next(p);
        cond->a = n;
        cond->b = parse_logic(p, true);
        cond->c = take_word(p, "else") ? parse_expr(p) : NULL;
        n = cond;
    }
    p->depth--;
    return n;
}

/* One expression, or several with commas between: a tuple. */
static struct node *parse_tuple(struct parser *p, bool ternary)
{
    struct nodes l = { 0 };
    struct node *n = node(p, N_tuple);
    struct node *first = ternary ? parse_expr(p) : parse_logic(p, true);
    if (!is_op(p, ","))
        return first;
    push(p, &l, first);
    while (p->lex.err == 0 && take_op(p, ",")) {
        if (p->cur.type == T_close || is_op(p, "="))
            break;
        push(p, &l, ternary ? parse_expr(p) : parse_logic(p, true));
    }
    return with_items(n, &l);
}

/* ---- statements ---- */

static bool is_target(const struct node *n, bool attr)
{
    if (n->kind == N_tuple || n->kind == N_list) {
        for (size_t i = 0; i < n->n; i++)
            if (!is_target(n->items[i], false))
                return false;
        return n->n > 0;
    }
    return n->kind == N_name || (attr && n->kind == N_attr && n->a->kind == N_name);
}

/* Names to assign to, before "in", "=" or the tag's end. */
static struct node *parse_target(struct parser *p)
{
    struct nodes l = { 0 };
    struct node *n = node(p, N_tuple);
    struct node *first = parse_postfix(p, parse_primary(p));
    push(p, &l, first);
    while (p->lex.err == 0 && take_op(p, ",") && !is_word(p, "in") && !is_op(p, "="))
        push(p, &l, parse_postfix(p, parse_primary(p)));
    struct node *target = l.n > 1 ? with_items(n, &l) : first;
    return p->lex.err == 0 && !is_target(target, true) ? fail_at(p, "cannot assign to that")
                                                       : target;
}

static struct node *parse_until(struct parser *p, const char *end)
{
    const char *const ends[] = { end, NULL };
    want_close(p);
    struct node *body = parse_body(p, ends);
    next(p);
    want_close(p);
    return body;
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    struct node *n = node(p, N_if);
    struct nodes l = { 0 };
    do {
        next(p); /* if, elif */
        push(p, &l, parse_tuple(p, true));
        want_close(p);
        push(p, &l, parse_body(p, ends));
    } while (p->lex.err == 0 && is_word(p, "elif"));
    if (is_word(p, "else")) {
        next(p);
        n->c = parse_until(p, "endif");
    } else {
        next(p);
        want_close(p);
    }
    return with_items(n, &l);
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    struct node *n = node(p, N_for);
    struct nodes l = { 0 };
    next(p);
    n->a = parse_target(p);
    if (!take_word(p, "in"))
        return fail_at(p, "expected 'in'");
    n->b = parse_tuple(p, false);
    n->c = take_word(p, "if") ? parse_expr(p) : NULL;
    if (is_word(p, "recursive"))
        return fail_at(p, "recursive loops are not served");
    want_close(p);
    push(p, &l, parse_body(p, ends));
    if (take_word(p, "else")) {
        push(p, &l, parse_until(p, "endfor"));
    } else {
        next(p);
        want_close(p);
        push(p, &l, NULL);
    }
    return with_items(n, &l);
}

static struct node *parse_set(struct parser *p)
{
    struct node *n = node(p, N_set);
    next(p);
    n->a = parse_target(p);
    if (take_op(p, "=")) {
        n->b = parse_tuple(p, true);
        want_close(p);
        return n;
    }
    struct nodes filters = { 0 };
    n->kind = N_set_block;
    while (p->lex.err == 0 && take_op(p, "|"))
        push(p, &filters, parse_filter(p, NULL));
    n->b = parse_until(p, "endset");
    return with_items(n, &filters);
}

/* Parameters of a macro or call block, behind "(". */
static void parse_params(struct parser *p, struct node *n)
{
    size_t cap = 0;
    while (p->lex.err == 0 && !is_op(p, ")")) {
        struct arg a = { .name = want_name(p) };
        a.value = take_op(p, "=") ? parse_expr(p) : NULL;
        push_arg(p, n, &cap, a);
        if (!take_op(p, ","))
            break;
    }
    want_op(p, ")");
}

static struct node *parse_macro(struct parser *p)
{
    struct node *n = node(p, N_macro);
    next(p);
    n->text = want_name(p);
    want_op(p, "(");
    parse_params(p, n);
    n->a = parse_until(p, "endmacro");
    return n;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *n = node(p, N_call_block), *caller = node(p, N_macro);
    next(p);
    if (take_op(p, "("))
        parse_params(p, caller);
    caller->text = STR("caller");
    n->a = parse_postfix(p, parse_primary(p));
    if (n->a->kind != N_call && p->lex.err == 0)
        return fail_at(p, "{%% call %%} needs a call");
    n->b = caller;
    caller->a = parse_until(p, "endcall");
    return n;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *n = node(p, N_filter_block);
    struct nodes filters = { 0 };
    next(p);
    do
        push(p, &filters, parse_filter(p, NULL));
    while (p->lex.err == 0 && take_op(p, "|"));
    n->a = parse_until(p, "endfilter");
    return with_items(n, &filters);
}

static struct node *parse_with(struct parser *p)
{
    struct node *n = node(p, N_with);
    size_t cap = 0;
    next(p);
    while (p->lex.err == 0 && p->cur.type != T_close) {
        struct arg a = { .name = want_name(p) };
        want_op(p, "=");
        a.value = parse_expr(p);
        push_arg(p, n, &cap, a);
        if (!take_op(p, ","))
            break;
    }
    n->a = parse_until(p, "endwith");
    return n;
}

static struct node *parse_generation(struct parser *p)
{
    next(p);
    return parse_until(p, "endgeneration"); /* marks training targets; of no effect here */
}

static struct node *parse_jump(struct parser *p)
{
    struct node *n = node(p, is_word(p, "break") ? N_break : N_continue);
    next(p);
    want_close(p);
    return n;
}

static struct node *parse_statement(struct parser *p)
{
    static const struct {
        const char *word;
        struct node *(*parse)(struct parser *p);
    } statements[] = {
        { "if", parse_if },           { "for", parse_for },
        { "set", parse_set },         { "macro", parse_macro },
        { "call", parse_call_block }, { "filter", parse_filter_block },
        { "with", parse_with },       { "generation", parse_generation },
        { "break", parse_jump },      { "continue", parse_jump },
    };
    for (size_t i = 0; i < ARRAY_LEN(statements); i++)
        if (is_word(p, statements[i].word))
            return statements[i].parse(p);
    return fail_at(p, "{%% " STR_FMT " %%} is not understood", STR_ARG(str_head(p->cur.text, 60)));
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (is_word(p, *ends))
            return true;
    return false;
}

/* Up to a tag of `ends`, whose word is the current token then; NULL: the end of the text. */
static struct node *parse_body(struct parser *p, const char *const *ends)
{
    static const char *const none[] = { NULL };
    struct node *body = node(p, N_body);
    struct nodes l = { 0 };
    if (!enter(p))
        return body;
    while (p->lex.err == 0 && p->cur.type != T_end) {
        struct node *n;
        if (p->cur.type == T_text) {
            n = text_node(p, p->cur.text);
            if (p->lex.err == 0)
                n->kind = N_text;
            next(p);
        } else if (p->cur.type == T_output) {
            n = node(p, N_output);
            next(p);
            n->a = parse_tuple(p, true);
            want_close(p);
        } else {
            next(p); /* T_block */
            if (is_end(p, ends ? ends : none))
                break;
            n = parse_statement(p);
        }
        push(p, &l, n);
    }
    p->depth--;
    if (ends && p->lex.err == 0 && p->cur.type == T_end)
        (void)fail_at(p, "{%% %s %%} is missing", ends[0]);
    return with_items(body, &l);
}

int template_parse(struct chat_template *t, struct str source, struct fail *reterr)
{
    struct parser p = { .depth = 0 };
    int r = lexer_init(&p.lex, t->arena, source, reterr);
    if (r < 0)
        return r;
    next(&p);
    t->body = parse_body(&p, NULL);
    return p.lex.err;
}
