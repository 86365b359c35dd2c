/*
 * Statements and text to nodes.
 */
#include "engine/local/chat_template_parse.h"

static struct node *parse_body(struct parser *p, const char *const *ends);

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
    struct node *n = parse_node(p, N_tuple);
    struct node *first = parse_postfix(p, parse_primary(p));
    parse_push(p, &l, first);
    while (p->lex.err == 0 && parse_take_op(p, ",") && !parse_is_word(p, "in") &&
           !parse_is_op(p, "="))
        parse_push(p, &l, parse_postfix(p, parse_primary(p)));
    struct node *target = l.n > 1 ? parse_with_items(n, &l) : first;
    return p->lex.err == 0 && !is_target(target, true) ? parse_fail(p, "cannot assign to that")
                                                       : target;
}

static struct node *parse_until(struct parser *p, const char *end)
{
    const char *const ends[] = { end, NULL };
    parse_want_close(p);
    struct node *body = parse_body(p, ends);
    parse_next(p);
    parse_want_close(p);
    return body;
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    struct node *n = parse_node(p, N_if);
    struct nodes l = { 0 };
    do {
        parse_next(p); /* if, elif */
        parse_push(p, &l, parse_tuple(p, true));
        parse_want_close(p);
        parse_push(p, &l, parse_body(p, ends));
    } while (p->lex.err == 0 && parse_is_word(p, "elif"));
    if (parse_is_word(p, "else")) {
        parse_next(p);
        n->c = parse_until(p, "endif");
    } else {
        parse_next(p);
        parse_want_close(p);
    }
    return parse_with_items(n, &l);
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    struct node *n = parse_node(p, N_for);
    struct nodes l = { 0 };
    parse_next(p);
    n->a = parse_target(p);
    if (!parse_take_word(p, "in"))
        return parse_fail(p, "expected 'in'");
    n->b = parse_tuple(p, false);
    n->c = parse_take_word(p, "if") ? parse_expr(p) : NULL;
    if (parse_is_word(p, "recursive"))
        return parse_fail(p, "recursive loops are not served");
    parse_want_close(p);
    parse_push(p, &l, parse_body(p, ends));
    if (parse_take_word(p, "else")) {
        parse_push(p, &l, parse_until(p, "endfor"));
    } else {
        parse_next(p);
        parse_want_close(p);
        parse_push(p, &l, NULL);
    }
    return parse_with_items(n, &l);
}

static struct node *parse_set(struct parser *p)
{
    struct node *n = parse_node(p, N_set);
    parse_next(p);
    n->a = parse_target(p);
    if (parse_take_op(p, "=")) {
        n->b = parse_tuple(p, true);
        parse_want_close(p);
        return n;
    }
    struct nodes filters = { 0 };
    n->kind = N_set_block;
    while (p->lex.err == 0 && parse_take_op(p, "|"))
        parse_push(p, &filters, parse_filter(p, NULL));
    n->b = parse_until(p, "endset");
    return parse_with_items(n, &filters);
}

/* Parameters of a macro or call block, behind "(". */
static void parse_params(struct parser *p, struct node *n)
{
    size_t cap = 0;
    while (p->lex.err == 0 && !parse_is_op(p, ")")) {
        struct arg a = { .name = parse_want_name(p) };
        a.value = parse_take_op(p, "=") ? parse_expr(p) : NULL;
        parse_push_arg(p, n, &cap, a);
        if (!parse_take_op(p, ","))
            break;
    }
    parse_want_op(p, ")");
}

static struct node *parse_macro(struct parser *p)
{
    struct node *n = parse_node(p, N_macro);
    parse_next(p);
    n->text = parse_want_name(p);
    parse_want_op(p, "(");
    parse_params(p, n);
    n->a = parse_until(p, "endmacro");
    return n;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *n = parse_node(p, N_call_block), *caller = parse_node(p, N_macro);
    parse_next(p);
    if (parse_take_op(p, "("))
        parse_params(p, caller);
    caller->text = STR("caller");
    n->a = parse_postfix(p, parse_primary(p));
    if (n->a->kind != N_call && p->lex.err == 0)
        return parse_fail(p, "{%% call %%} needs a call");
    n->b = caller;
    caller->a = parse_until(p, "endcall");
    return n;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *n = parse_node(p, N_filter_block);
    struct nodes filters = { 0 };
    parse_next(p);
    do
        parse_push(p, &filters, parse_filter(p, NULL));
    while (p->lex.err == 0 && parse_take_op(p, "|"));
    n->a = parse_until(p, "endfilter");
    return parse_with_items(n, &filters);
}

static struct node *parse_with(struct parser *p)
{
    struct node *n = parse_node(p, N_with);
    size_t cap = 0;
    parse_next(p);
    while (p->lex.err == 0 && p->cur.type != T_close) {
        struct arg a = { .name = parse_want_name(p) };
        parse_want_op(p, "=");
        a.value = parse_expr(p);
        parse_push_arg(p, n, &cap, a);
        if (!parse_take_op(p, ","))
            break;
    }
    n->a = parse_until(p, "endwith");
    return n;
}

static struct node *parse_generation(struct parser *p)
{
    parse_next(p);
    return parse_until(p, "endgeneration"); /* marks training targets; of no effect here */
}

static struct node *parse_jump(struct parser *p)
{
    struct node *n = parse_node(p, parse_is_word(p, "break") ? N_break : N_continue);
    parse_next(p);
    parse_want_close(p);
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
        if (parse_is_word(p, statements[i].word))
            return statements[i].parse(p);
    return parse_fail(p, "{%% " STR_FMT " %%} is not understood",
                      STR_ARG(str_head(p->cur.text, 60)));
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (parse_is_word(p, *ends))
            return true;
    return false;
}

/* Up to a tag of `ends`, whose word is the current token then; NULL: the end of the text. */
static struct node *parse_body(struct parser *p, const char *const *ends)
{
    static const char *const none[] = { NULL };
    struct node *body = parse_node(p, N_body);
    struct nodes l = { 0 };
    if (!parse_enter(p))
        return body;
    while (p->lex.err == 0 && p->cur.type != T_end) {
        struct node *n;
        if (p->cur.type == T_text) {
            n = parse_text_node(p, p->cur.text);
            if (p->lex.err == 0)
                n->kind = N_text;
            parse_next(p);
        } else if (p->cur.type == T_output) {
            n = parse_node(p, N_output);
            parse_next(p);
            n->a = parse_tuple(p, true);
            parse_want_close(p);
        } else {
            parse_next(p); /* T_block */
            if (is_end(p, ends ? ends : none))
                break;
            n = parse_statement(p);
        }
        parse_push(p, &l, n);
    }
    p->depth--;
    if (ends && p->lex.err == 0 && p->cur.type == T_end)
        (void)parse_fail(p, "{%% %s %%} is missing", ends[0]);
    return parse_with_items(body, &l);
}

int template_parse(struct chat_template *t, struct str source, struct fail *reterr)
{
    struct parser p = { .depth = 0 };
    int r = lexer_init(&p.lex, t->arena, source, reterr);
    if (r < 0)
        return r;
    parse_next(&p);
    t->body = parse_body(&p, NULL);
    return p.lex.err;
}
