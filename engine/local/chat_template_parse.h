/*
 * Inside of the parser: expressions (chat_template_expr.c) and statements (chat_template_parse.c).
 *
 * After an error every function returns some node, and the current token is T_end.
 */
#pragma once

#include "engine/local/chat_template_impl.h"

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

struct node *parse_fail(struct parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void parse_next(struct parser *p);
void parse_push(struct parser *p, struct nodes *l, struct node *n);
void parse_push_arg(struct parser *p, struct node *n, size_t *cap, struct arg a);
struct node *parse_node(struct parser *p, enum node_kind kind);
struct node *parse_text_node(struct parser *p, struct str s);
struct node *parse_with_items(struct node *n, const struct nodes *l);
bool parse_enter(struct parser *p); /* one level deeper; p->depth-- leaves it */
bool parse_is_op(const struct parser *p, const char *op);
bool parse_is_word(const struct parser *p, const char *word);
bool parse_take_op(struct parser *p, const char *op); /* steps over it if it is there */
bool parse_take_word(struct parser *p, const char *word);
void parse_want_op(struct parser *p, const char *op);
struct str parse_want_name(struct parser *p);
void parse_want_close(struct parser *p); /* the end of a tag */

struct node *parse_expr(struct parser *p);
struct node *parse_primary(struct parser *p);
struct node *parse_postfix(struct parser *p, struct node *n);   /* .name [index] (call) */
struct node *parse_logic(struct parser *p, bool is_or);         /* without if-else */
struct node *parse_filter(struct parser *p, struct node *base); /* behind the bar */
/* One expression, or several with commas between: a tuple. */
struct node *parse_tuple(struct parser *p, bool ternary);
