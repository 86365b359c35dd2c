/*
 * Expressions. Precedence as in Jinja: a filter or test binds tighter than any operator but the
 * call, then unary, **, * / // %, ~, + -, comparisons, not, and, or, if-else.
 */
#include "engine/local/chat_template_parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static struct node *parse_unary(struct parser *p, bool filters);

struct node *parse_fail(struct parser *p, const char *fmt, ...)
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

void parse_next(struct parser *p)
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

void parse_push(struct parser *p, struct nodes *l, struct node *n)
{
    struct node **more = grow(p, l->p, l->n, &l->cap, sizeof(struct node *));
    if (!more)
        return;
    l->p = more;
    l->p[l->n++] = n;
}

void parse_push_arg(struct parser *p, struct node *n, size_t *cap, struct arg a)
{
    struct arg *more = grow(p, n->args, n->n_args, cap, sizeof(struct arg));
    if (!more)
        return;
    n->args = more;
    n->args[n->n_args++] = a;
}

struct node *parse_node(struct parser *p, enum node_kind kind)
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

bool parse_enter(struct parser *p)
{
    if (p->depth >= LIMIT_TEMPLATE_DEPTH)
        (void)parse_fail(p, "nested deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
    else
        p->depth++;
    return p->lex.err == 0;
}

bool parse_is_op(const struct parser *p, const char *op)
{
    return p->cur.type == T_op && str_is(p->cur.text, op);
}

bool parse_is_word(const struct parser *p, const char *word)
{
    return p->cur.type == T_name && str_is(p->cur.text, word);
}

bool parse_take_op(struct parser *p, const char *op)
{
    bool hit = parse_is_op(p, op);
    if (hit)
        parse_next(p);
    return hit;
}

bool parse_take_word(struct parser *p, const char *word)
{
    bool hit = parse_is_word(p, word);
    if (hit)
        parse_next(p);
    return hit;
}

void parse_want_op(struct parser *p, const char *op)
{
    if (!parse_take_op(p, op))
        (void)parse_fail(p, "expected '%s'", op);
}

struct str parse_want_name(struct parser *p)
{
    struct str name = p->cur.text;
    if (p->cur.type != T_name) {
        (void)parse_fail(p, "expected a name");
        return STR_NULL;
    }
    parse_next(p);
    return name;
}

void parse_want_close(struct parser *p)
{
    if (p->cur.type != T_close)
        (void)parse_fail(p, "the tag should end at '" STR_FMT "'",
                         STR_ARG(str_head(p->cur.text, 40)));
    else
        parse_next(p);
}

static struct node *constant(struct parser *p, struct val v)
{
    struct node *n = parse_node(p, N_const);
    n->value = v;
    return n;
}

struct node *parse_text_node(struct parser *p, struct str s)
{
    struct text *t = arena_alloc(p->lex.arena, sizeof(*t));
    if (!t)
        return parse_fail(p, "no memory");
    t->p = s.p;
    t->n = s.n;
    return constant(p, (struct val){ .kind = V_text, .s = t });
}

/* ---- expressions ---- */

/* Adjacent strings are one. */
static struct node *parse_string(struct parser *p)
{
    struct str s = p->cur.text;
    parse_next(p);
    while (p->cur.type == T_string) {
        char *both = arena_alloc(p->lex.arena, s.n + p->cur.text.n + 1);
        if (!both)
            return parse_fail(p, "no memory");
        if (s.n)
            memcpy(both, s.p, s.n);
        if (p->cur.text.n)
            memcpy(both + s.n, p->cur.text.p, p->cur.text.n);
        s = (struct str){ both, s.n + p->cur.text.n };
        parse_next(p);
    }
    return parse_text_node(p, s);
}

/* Elements up to the closing bracket; a trailing comma is fine. */
static void parse_elements(struct parser *p, struct nodes *l, const char *close, bool dict)
{
    while (p->lex.err == 0 && !parse_is_op(p, close)) {
        parse_push(p, l, parse_expr(p));
        if (dict) {
            parse_want_op(p, ":");
            parse_push(p, l, parse_expr(p));
        }
        if (!parse_take_op(p, ","))
            break;
    }
    parse_want_op(p, close);
}

struct node *parse_with_items(struct node *n, const struct nodes *l)
{
    n->items = l->p;
    n->n = l->n;
    return n;
}

static struct node *parse_bracketed(struct parser *p)
{
    struct nodes l = { 0 };
    struct node *n;
    if (parse_take_op(p, "[")) {
        n = parse_node(p, N_list);
        parse_elements(p, &l, "]", false);
        return parse_with_items(n, &l);
    }
    if (parse_take_op(p, "{")) {
        n = parse_node(p, N_dict);
        parse_elements(p, &l, "}", true);
        return parse_with_items(n, &l);
    }
    parse_next(p); /* "(" */
    n = parse_node(p, N_tuple);
    if (!parse_is_op(p, ")")) {
        parse_push(p, &l, parse_expr(p));
        if (parse_take_op(p, ")"))
            return l.n ? l.p[0] : &p->bad;
        parse_want_op(p, ",");
    }
    parse_elements(p, &l, ")", false);
    return parse_with_items(n, &l);
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
        if (parse_take_word(p, constants[i].word))
            return constant(p, constants[i].value);
    }
    struct node *n = parse_node(p, N_name);
    n->text = name;
    parse_next(p);
    return n;
}

struct node *parse_primary(struct parser *p)
{
    struct node *n;
    switch (p->cur.type) {
    case T_name:
        return parse_name(p);
    case T_string:
        return parse_string(p);
    case T_int:
        n = constant(p, val_int(p->cur.i));
        parse_next(p);
        return n;
    case T_float:
        n = constant(p, val_float(p->cur.f));
        parse_next(p);
        return n;
    case T_op:
        if (parse_is_op(p, "(") || parse_is_op(p, "[") || parse_is_op(p, "{"))
            return parse_bracketed(p);
        return parse_fail(p, "unexpected '" STR_FMT "'", STR_ARG(p->cur.text));
    default:
        return parse_fail(p, "an expression is missing");
    }
}

/* Behind "(": arguments up to ")". */
static void parse_args(struct parser *p, struct node *n)
{
    size_t cap = 0;
    while (p->lex.err == 0 && !parse_is_op(p, ")")) {
        struct arg a = { .stars = parse_is_op(p, "*") ? 1 : parse_is_op(p, "**") ? 2 : 0 };
        if (a.stars)
            parse_next(p);
        a.value = parse_expr(p);
        if (!a.stars && a.value->kind == N_name && parse_take_op(p, "=")) {
            a.name = a.value->text;
            a.value = parse_expr(p);
        }
        parse_push_arg(p, n, &cap, a);
        if (!parse_take_op(p, ","))
            break;
    }
    parse_want_op(p, ")");
}

static struct node *parse_subscript(struct parser *p, struct node *base)
{
    struct nodes parts = { 0 };
    struct node *n = parse_node(p, N_index);
    n->a = base;
    for (unsigned i = 0; i < 3; i++) {
        bool open = parse_is_op(p, ":") || parse_is_op(p, "]");
        parse_push(p, &parts, open ? NULL : parse_expr(p));
        if (!parse_take_op(p, ":"))
            break;
        n->kind = N_slice;
    }
    parse_want_op(p, "]");
    if (n->kind == N_index) {
        n->b = parts.n ? parts.p[0] : NULL;
        return n->b ? n : parse_fail(p, "an index is missing");
    }
    while (parts.n < 3 && p->lex.err == 0)
        parse_push(p, &parts, NULL);
    return parse_with_items(n, &parts);
}

static struct node *parse_dot(struct parser *p, struct node *base)
{
    struct node *n = parse_node(p, N_attr);
    n->a = base;
    if (p->cur.type == T_int) {
        n->kind = N_index;
        n->b = constant(p, val_int(p->cur.i));
        parse_next(p);
    } else {
        n->text = parse_want_name(p);
    }
    return n;
}

static struct node *parse_call(struct parser *p, struct node *base)
{
    struct node *n = parse_node(p, N_call);
    n->a = base;
    parse_args(p, n);
    return n;
}

struct node *parse_postfix(struct parser *p, struct node *n)
{
    for (unsigned i = 0; p->lex.err == 0; i++) {
        if (i > LIMIT_TEMPLATE_DEPTH)
            return parse_fail(p, "an expression has too many parts");
        if (parse_take_op(p, "."))
            n = parse_dot(p, n);
        else if (parse_take_op(p, "["))
            n = parse_subscript(p, n);
        else if (parse_take_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

struct node *parse_filter(struct parser *p, struct node *base)
{
    struct node *n = parse_node(p, N_filter);
    n->a = base;
    n->text = parse_want_name(p);
    n->native = filter_find(n->text);
    if (!n->native && p->lex.err == 0)
        return parse_fail(p, "there is no filter '" STR_FMT "'", STR_ARG(str_head(n->text, 60)));
    if (parse_take_op(p, "("))
        parse_args(p, n);
    return n;
}

/* A test may take one argument without brackets: "x is divisibleby 3". */
static bool begins_argument(const struct parser *p)
{
    if (p->cur.type == T_string || p->cur.type == T_int || p->cur.type == T_float)
        return true;
    if (p->cur.type == T_name)
        return !parse_is_word(p, "else") && !parse_is_word(p, "or") && !parse_is_word(p, "and") &&
               !parse_is_word(p, "is") && !parse_is_word(p, "if") && !parse_is_word(p, "in") &&
               !parse_is_word(p, "not");
    return parse_is_op(p, "[") || parse_is_op(p, "{");
}

static struct node *parse_test(struct parser *p, struct node *base)
{
    struct node *n = parse_node(p, N_test);
    size_t cap = 0;
    n->a = base;
    n->negated = parse_take_word(p, "not");
    n->text = parse_is_word(p, "in") ? p->cur.text : STR_NULL;
    if (n->text.n)
        parse_next(p);
    else
        n->text = parse_want_name(p);
    n->native = test_find(n->text);
    if (!n->native && p->lex.err == 0)
        return parse_fail(p, "there is no test '" STR_FMT "'", STR_ARG(str_head(n->text, 60)));
    if (parse_take_op(p, "("))
        parse_args(p, n);
    else if (begins_argument(p))
        parse_push_arg(p, n, &cap, (struct arg){ .value = parse_postfix(p, parse_primary(p)) });
    return n;
}

static struct node *parse_filters(struct parser *p, struct node *n)
{
    for (unsigned i = 0; p->lex.err == 0; i++) {
        if (i > LIMIT_TEMPLATE_DEPTH)
            return parse_fail(p, "an expression has too many filters");
        if (parse_take_op(p, "|"))
            n = parse_filter(p, n);
        else if (parse_take_word(p, "is"))
            n = parse_test(p, n);
        else if (parse_take_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct node *parse_unary(struct parser *p, bool filters)
{
    struct node *n;
    if (parse_is_op(p, "-") || parse_is_op(p, "+")) {
        if (!parse_enter(p))
            return &p->bad;
        n = parse_node(p, parse_is_op(p, "-") ? N_negate : N_plus);
        parse_next(p);
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
        while (hit->op && !parse_is_op(p, hit->op))
            hit++;
        if (!hit->op)
            break;
        if (!chain) {
            chain = parse_node(p, N_chain);
            parse_push(p, &l, first);
        }
        enum op *ops = grow(p, chain->ops, l.n - 1, &cap, sizeof(*ops));
        if (!ops)
            return &p->bad;
        chain->ops = ops;
        chain->ops[l.n - 1] = hit->is;
        parse_next(p);
        parse_push(p, &l, parse_level(p, level + 1));
    }
    return chain ? parse_with_items(chain, &l) : first;
}

static bool take_comparison(struct parser *p, enum op *ret)
{
    static const struct level ops[] = { { "==", OP_eq }, { "!=", OP_ne }, { "<", OP_lt },
                                        { "<=", OP_le }, { ">", OP_gt },  { ">=", OP_ge } };
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (parse_take_op(p, ops[i].op)) {
            *ret = ops[i].is;
            return true;
        }
    }
    *ret = parse_is_word(p, "in") ? OP_in : OP_not_in;
    if (parse_take_word(p, "in"))
        return true;
    if (!parse_is_word(p, "not"))
        return false;
    parse_next(p);
    if (!parse_take_word(p, "in"))
        (void)parse_fail(p, "expected 'in' behind 'not'");
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
            chain = parse_node(p, N_compare);
            parse_push(p, &l, first);
        }
        enum op *ops = grow(p, chain->ops, l.n - 1, &cap, sizeof(*ops));
        if (!ops)
            return &p->bad;
        chain->ops = ops;
        chain->ops[l.n - 1] = op;
        parse_push(p, &l, parse_level(p, 0));
    }
    return chain ? parse_with_items(chain, &l) : first;
}

static struct node *parse_not(struct parser *p)
{
    if (!parse_is_word(p, "not"))
        return parse_compare(p);
    if (!parse_enter(p))
        return &p->bad;
    struct node *n = parse_node(p, N_not);
    parse_next(p);
    n->a = parse_not(p);
    p->depth--;
    return n;
}

struct node *parse_logic(struct parser *p, bool is_or)
{
    struct node *first = is_or ? parse_logic(p, false) : parse_not(p), *n = NULL;
    struct nodes l = { 0 };
    while (p->lex.err == 0 && parse_take_word(p, is_or ? "or" : "and")) {
        if (!n) {
            n = parse_node(p, is_or ? N_or : N_and);
            parse_push(p, &l, first);
        }
        parse_push(p, &l, is_or ? parse_logic(p, false) : parse_not(p));
    }
    return n ? parse_with_items(n, &l) : first;
}

struct node *parse_expr(struct parser *p)
{
    if (!parse_enter(p))
        return &p->bad;
    struct node *n = parse_logic(p, true);
    while (p->lex.err == 0 && parse_is_word(p, "if")) {
        struct node *cond = parse_node(p, N_cond);
        parse_next(p);
        cond->a = n;
        cond->b = parse_logic(p, true);
        cond->c = parse_take_word(p, "else") ? parse_expr(p) : NULL;
        n = cond;
    }
    p->depth--;
    return n;
}

/* One expression, or several with commas between: a tuple. */
struct node *parse_tuple(struct parser *p, bool ternary)
{
    struct nodes l = { 0 };
    struct node *n = parse_node(p, N_tuple);
    struct node *first = ternary ? parse_expr(p) : parse_logic(p, true);
    if (!parse_is_op(p, ","))
        return first;
    parse_push(p, &l, first);
    while (p->lex.err == 0 && parse_take_op(p, ",")) {
        if (p->cur.type == T_close || parse_is_op(p, "="))
            break;
        parse_push(p, &l, ternary ? parse_expr(p) : parse_logic(p, true));
    }
    return parse_with_items(n, &l);
}
