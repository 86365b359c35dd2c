/* The parts of statements: names, values, conditions. */
#include "router/dsl/parser.h"

#include "base/num.h"

#include <errno.h>
#include <float.h>
#include <stdio.h>

enum { MAX_FIELDS = 500 /* of one map: they are compared with each other */ };

static const char *shown(const struct token *t, char ret[static DSL_SHOWN_BYTES + 8])
{
    if (t->kind == TOKEN_end)
        return "the end of the file";
    struct str s = str_head(t->raw, DSL_SHOWN_BYTES);
    s.n = str_utf8_whole(s);
    (void)snprintf(ret, DSL_SHOWN_BYTES + 8, "'%.*s%s'", (int)s.n, s.p, s.n < t->raw.n ? "…" : "");
    return ret;
}

/* The current token is not what the language wants here. */
int dsl_unexpected(const struct parser *s, const char *wanted)
{
    char text[DSL_SHOWN_BYTES + 8];
    const struct token *t = &s->lexer.token;
    if (t->kind == TOKEN_bad && t->raw.p[0] == '"')
        return DSL_REFUSE_AT(s, t->at, "this text has no end; close it with '\"'");
    return DSL_REFUSE_AT(s, t->at, "%s stands here, but %s is expected", shown(t, text), wanted);
}

/* ---- tokens ---- */

bool dsl_at_punct(const struct parser *s, char c)
{
    return s->lexer.token.kind == TOKEN_punct && s->lexer.token.raw.p[0] == c;
}

bool dsl_at_word(const struct parser *s, const char *word)
{
    return s->lexer.token.kind == TOKEN_word && str_is(s->lexer.token.raw, word);
}

bool dsl_take_punct(struct parser *s, char c)
{
    if (!dsl_at_punct(s, c))
        return false;
    dsl_lexer_next(&s->lexer);
    return true;
}

bool dsl_take_word(struct parser *s, const char *word)
{
    if (!dsl_at_word(s, word))
        return false;
    dsl_lexer_next(&s->lexer);
    return true;
}

int dsl_want_punct(struct parser *s, char c)
{
    char wanted[] = { '\'', c, '\'', '\0' };
    return dsl_take_punct(s, c) ? 0 : dsl_unexpected(s, wanted);
}

static int deeper(struct parser *s)
{
    if (++s->depth <= DSL_DEPTH)
        return 0;
    return DSL_REFUSE_AT(s, s->lexer.token.at, "nested too deeply; the limit is %d levels",
                         DSL_DEPTH);
}

static int unquote(struct parser *s, struct str *ret)
{
    const struct token *t = &s->lexer.token;
    bool plain;
    struct str text = dsl_unquote(s->lexer.arena, t->raw, &plain);
    if (!text.p)
        return -ENOMEM;
    if (memchr(text.p, '\0', text.n) || !str_utf8_valid(text))
        return DSL_REFUSE_AT(s, t->at, "this text holds a NUL character or is not UTF-8");
    if (plain && memchr(t->raw.p, '\\', t->raw.n))
        (void)dsl_problem(s->p, PROBLEM_warning, s->program->file, t->at,
                          "an escape here is unknown, so the text is taken as it is, with every "
                          "backslash; write \\\\ for a backslash");
    *ret = text;
    return 0;
}

/* A name: a word or a text. */
int dsl_read_name(struct parser *s, struct str *ret, struct dsl_place *ret_at, const char *wanted)
{
    const struct token *t = &s->lexer.token;
    *ret_at = t->at;
    if (t->kind == TOKEN_word) {
        *ret = t->raw;
    } else if (t->kind == TOKEN_text) {
        int e = unquote(s, ret);
        if (e < 0)
            return e;
    } else {
        return dsl_unexpected(s, wanted);
    }
    dsl_lexer_next(&s->lexer);
    return 0;
}

/* ---- comments ---- */

struct dsl_comment *dsl_take_comments(struct parser *s)
{
    struct dsl_comment *all = s->lexer.comments;
    s->lexer.comments = NULL;
    s->lexer.comments_end = &s->lexer.comments;
    return all;
}

void dsl_notes_begin(struct parser *s, struct dsl_notes *n)
{
    n->before = dsl_take_comments(s);
    n->blank = s->lexer.token.blank;
}

/* What stands behind the node on its last line is the node's. */
void dsl_notes_end(struct parser *s, struct dsl_notes *n)
{
    struct dsl_comment *first = s->lexer.comments;
    if (!first || !first->same_line || n->after.n)
        return;
    n->after = first->text;
    s->lexer.comments = first->next;
    if (!first->next)
        s->lexer.comments_end = &s->lexer.comments;
}

/* ---- values ---- */

static int read_value(struct parser *s, struct dsl_value *v);

struct dsl_value *dsl_new_value(struct parser *s, struct dsl_value *to)
{
    struct dsl_value *v = arena_alloc(s->lexer.arena, sizeof(*v));
    if (v)
        dsl_add_value(to, v);
    return v;
}

int dsl_read_number(struct parser *s, struct dsl_value *v)
{
    const struct token *t = &s->lexer.token;
    int64_t i;
    double d;
    struct str digits = str_sub(t->raw, t->raw.p[0] == '+');
    int e = t->kind == TOKEN_int ? num_parse_i64(&i, digits, INT64_MIN, INT64_MAX)
                                 : num_parse_double(&d, digits, -DBL_MAX, DBL_MAX);
    if (e == -ERANGE)
        return DSL_REFUSE_AT(s, t->at, "this number is too large");
    v->kind = DSL_number;
    v->text = digits;
    struct token before = *t;
    dsl_lexer_next(&s->lexer);
    bool glued = t->kind == TOKEN_word && t->raw.p == before.raw.p + before.raw.n;
    if (glued)
        return DSL_REFUSE_AT(s, before.at,
                             "'%.*s%.*s' is no number; put a text in quotes: \"%.*s%.*s\"",
                             STR_ARG(str_head(before.raw, DSL_SHOWN_BYTES)),
                             STR_ARG(str_head(t->raw, DSL_SHOWN_BYTES)),
                             STR_ARG(str_head(before.raw, DSL_SHOWN_BYTES)),
                             STR_ARG(str_head(t->raw, DSL_SHOWN_BYTES)));
    return 0;
}

static int read_list(struct parser *s, struct dsl_value *v)
{
    v->kind = DSL_list;
    dsl_lexer_next(&s->lexer);
    v->open = s->lexer.token.first && !dsl_at_punct(s, ']');
    while (!dsl_at_punct(s, ']')) {
        struct dsl_value *item = dsl_new_value(s, v);
        if (!item)
            return -ENOMEM;
        dsl_notes_begin(s, &item->notes);
        int e = read_value(s, item);
        if (e < 0)
            return e;
        dsl_notes_end(s, &item->notes);
        bool more = dsl_take_punct(s, ',');
        dsl_notes_end(s, &item->notes);
        if (!more && !dsl_at_punct(s, ']'))
            return dsl_unexpected(s, "',' or ']'");
    }
    v->tail = dsl_take_comments(s);
    return dsl_want_punct(s, ']');
}

static int read_field(struct parser *s, struct dsl_value *map, char sign)
{
    if (map->n == MAX_FIELDS)
        return DSL_REFUSE_AT(s, s->lexer.token.at, "more than %d fields in one block", MAX_FIELDS);
    struct dsl_value *field = dsl_new_value(s, map);
    if (!field)
        return -ENOMEM;
    dsl_notes_begin(s, &field->notes);
    int e = dsl_read_name(s, &field->key, &field->key_at, "the name of a field");
    if (e == 0 && !dsl_take_punct(s, sign))
        e = dsl_unexpected(s, sign == ':' ? "':' behind the name of a field"
                                          : "'=' behind the name of an option");
    for (const struct dsl_value *v = map->first; e == 0 && v != field; v = v->next)
        if (str_eq(v->key, field->key))
            e = DSL_REFUSE_AT(s, field->key_at, "'%.*s' is given twice; keep one",
                              STR_ARG(field->key));
    if (e == 0)
        e = read_value(s, field);
    if (e == 0)
        dsl_notes_end(s, &field->notes);
    return e;
}

/* Fields up to `end`, which is taken too; commas between them are optional. */
int dsl_read_fields(struct parser *s, struct dsl_value *map, char sign, char end)
{
    map->kind = DSL_map;
    map->at = s->lexer.token.at;
    map->open = s->lexer.token.first && !dsl_at_punct(s, end);
    while (!dsl_at_punct(s, end)) {
        if (map->last && dsl_take_punct(s, ',')) {
            dsl_notes_end(s, &map->last->notes);
            continue;
        }
        if (s->lexer.token.kind == TOKEN_end || s->lexer.token.kind == TOKEN_punct) {
            char wanted[] = "the name of a field or ' '";
            wanted[sizeof(wanted) - 3] = end;
            return dsl_unexpected(s, wanted);
        }
        int e = read_field(s, map, sign);
        if (e < 0)
            return e;
    }
    map->tail = dsl_take_comments(s);
    return dsl_want_punct(s, end);
}

static int read_value(struct parser *s, struct dsl_value *v)
{
    const struct token *t = &s->lexer.token;
    v->at = t->at;
    v->text = t->raw;
    int e = deeper(s);
    if (e < 0)
        return e;
    if (t->kind == TOKEN_int || t->kind == TOKEN_float) {
        e = dsl_read_number(s, v);
    } else if (t->kind == TOKEN_text) {
        v->kind = DSL_text;
        v->raw = t->raw;
        e = unquote(s, &v->text);
        if (e == 0)
            dsl_lexer_next(&s->lexer);
    } else if (t->kind == TOKEN_word) {
        v->kind = dsl_at_word(s, "true") || dsl_at_word(s, "false") ? DSL_bool : DSL_word;
        dsl_lexer_next(&s->lexer);
    } else if (dsl_at_punct(s, '[')) {
        e = read_list(s, v);
    } else if (dsl_at_punct(s, '{')) {
        struct dsl_place at = t->at;
        dsl_lexer_next(&s->lexer);
        e = dsl_read_fields(s, v, ':', '}');
        v->at = at;
    } else {
        e = dsl_unexpected(s, "a value");
    }
    s->depth--;
    return e;
}

/* ---- expressions ---- */

static struct dsl_expr *new_expr(struct parser *s, enum dsl_op op, struct dsl_place at)
{
    struct dsl_expr *e = arena_alloc(s->lexer.arena, sizeof(*e));
    if (e) {
        e->op = op;
        e->at = at;
    }
    return e;
}

static int read_leaf(struct parser *s, struct dsl_expr **ret)
{
    struct dsl_expr *x = new_expr(s, DSL_leaf, s->lexer.token.at);
    struct dsl_place at;
    if (!x)
        return -ENOMEM;
    x->notes = dsl_take_comments(s);
    x->type = s->lexer.token.raw;
    if (s->lexer.token.kind != TOKEN_word)
        return dsl_unexpected(s, "a condition such as keyword(\"name\"), NOT or '('");
    dsl_lexer_next(&s->lexer);
    int e = dsl_want_punct(s, '(');
    if (e == 0)
        e = dsl_read_name(s, &x->name, &at, "the name of a signal");
    if (e == 0) {
        (void)dsl_take_punct(s, ',');
        e = dsl_read_fields(s, &x->fields, ':', ')');
    }
    *ret = x;
    return e;
}

static int read_factor(struct parser *s, struct dsl_expr **ret)
{
    struct dsl_place at = s->lexer.token.at;
    int e = deeper(s);
    if (e < 0)
        return e;
    if (dsl_take_word(s, "NOT")) {
        struct dsl_expr *not = new_expr(s, DSL_not, at), *inner = NULL;
        e = not ? read_factor(s, &inner) : -ENOMEM;
        if (e == 0)
            dsl_add_expr(not, inner);
        *ret = not ;
    } else if (dsl_take_punct(s, '(')) {
        e = dsl_read_expr(s, ret);
        if (e == 0)
            e = dsl_want_punct(s, ')');
        if (e == 0)
            (*ret)->parens++;
    } else {
        e = read_leaf(s, ret);
    }
    s->depth--;
    return e;
}

/* Factors that `word` joins; a single one stands for itself. */
static int read_joined(struct parser *s, enum dsl_op op, const char *word,
                       int (*part)(struct parser *, struct dsl_expr **), struct dsl_expr **ret)
{
    struct dsl_expr *first = NULL;
    struct dsl_place at = s->lexer.token.at;
    int e = part(s, &first);
    *ret = first;
    if (e < 0 || !dsl_at_word(s, word))
        return e;
    struct dsl_expr *joined = new_expr(s, op, at);
    if (!joined)
        return -ENOMEM;
    dsl_add_expr(joined, first);
    *ret = joined;
    while (e == 0 && dsl_at_word(s, word)) {
        struct dsl_expr *next = NULL;
        bool new_line = s->lexer.token.first;
        dsl_lexer_next(&s->lexer);
        joined->open = joined->open || new_line || s->lexer.token.first;
        e = part(s, &next);
        if (e == 0)
            dsl_add_expr(joined, next);
    }
    return e;
}

static int read_and(struct parser *s, struct dsl_expr **ret)
{
    return read_joined(s, DSL_and, "AND", read_factor, ret);
}

int dsl_read_expr(struct parser *s, struct dsl_expr **ret)
{
    return read_joined(s, DSL_or, "OR", read_and, ret);
}
