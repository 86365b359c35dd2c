#include "router/dsl/parser.h"

#include "base/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define DSL_WORD(name) #name,
const char *const dsl_words[DSL_statement_kinds] = { DSL_WORDS(DSL_WORD) "ELSE IF", NULL };
#undef DSL_WORD

enum {
    MESSAGE_BYTES = 512,
};

/* ---- the tree ---- */

void dsl_add_value(struct dsl_value *to, struct dsl_value *v)
{
    if (to->last)
        to->last->next = v;
    else
        to->first = v;
    to->last = v;
    to->n++;
}

void dsl_add_expr(struct dsl_expr *to, struct dsl_expr *e)
{
    if (to->last)
        to->last->next = e;
    else
        to->first = e;
    to->last = e;
    to->n++;
}

void dsl_add_statement(struct dsl_statement **first, struct dsl_statement **last,
                       struct dsl_statement *s)
{
    if (*last)
        (*last)->next = s;
    else
        *first = s;
    *last = s;
}

const struct dsl_value *dsl_field(const struct dsl_value *map, const char *key)
{
    for (const struct dsl_value *v = map->first; v; v = v->next)
        if (str_is(v->key, key))
            return v;
    return NULL;
}

/* ---- problems ---- */

int dsl_problem(struct problems *p, enum problem_kind kind, const char *file, struct dsl_place at,
                const char *fmt, ...)
{
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return node_problem(p, kind,
                        &(struct node){ .file = file, .line = at.line, .column = at.column }, "",
                        "%.*s", (int)str_utf8_whole(str_of(text)), text);
}

/* ---- statements ---- */

#define BIT(kind) (1u << DSL_##kind)
static const unsigned PROFILE = BIT(SIGNAL) | BIT(PROJECTION) | BIT(PLUGIN) | BIT(ROUTE) |
                                BIT(DECISION_TREE) | BIT(ROUTING) | BIT(TEST);
static const unsigned TOP = PROFILE | BIT(MODEL) | BIT(RECIPE) | BIT(ENTRYPOINT);
static const unsigned BRANCH =
    BIT(MODEL) | BIT(ALGORITHM) | BIT(PLUGIN) | BIT(DESCRIPTION) | BIT(TIER) | BIT(FOR) | BIT(EMIT);
static const unsigned IN_ROUTE = BRANCH | BIT(PRIORITY) | BIT(WHEN);
static const unsigned IN_BRANCH = BRANCH | BIT(NAME);

static int read_statement(struct parser *s, unsigned allowed, bool top, struct dsl_statement **ret);

static int find_word(const struct parser *s, unsigned allowed) /* -1: none of them */
{
    for (int i = 0; i < DSL_ELSE_IF; i++)
        if ((allowed >> i & 1) && dsl_at_word(s, dsl_words[i]))
            return i;
    return -1;
}

static int unknown_word(const struct parser *s, unsigned allowed)
{
    const char *words[DSL_statement_kinds];
    char word[DSL_SHOWN_BYTES], list[MESSAGE_BYTES] = "";
    size_t n = 0, used = 0;
    for (int i = 0; i < DSL_ELSE_IF; i++) {
        if (!(allowed >> i & 1))
            continue;
        words[n++] = dsl_words[i];
        int k = snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", dsl_words[i]);
        used += (size_t)k;
    }
    const struct token *t = &s->lexer.token;
    if (t->kind != TOKEN_word) {
        char wanted[MESSAGE_BYTES];
        (void)snprintf(wanted, sizeof(wanted), "one of %.400s", list);
        return dsl_unexpected(s, wanted);
    }
    (void)snprintf(word, sizeof(word), "%.*s", STR_ARG(str_head(t->raw, DSL_SHOWN_BYTES - 1)));
    const char *near = str_suggest(word, words, n);
    for (size_t i = 0; !near && i < n; i++)
        near = str_eq_nocase(t->raw, str_of(words[i])) ? words[i] : NULL;
    if (near)
        return DSL_REFUSE_AT(s, t->at, "'%s' begins no statement here; did you mean '%s'?", word,
                             near);
    return DSL_REFUSE_AT(s, t->at, "'%s' begins no statement here; it is one of %s", word, list);
}

/* "{ statements }" */
static int read_body(struct parser *s, struct dsl_statement *to, unsigned allowed)
{
    int e = dsl_want_punct(s, '{');
    to->block = true;
    while (e == 0 && !dsl_at_punct(s, '}')) {
        struct dsl_statement *child = NULL;
        e = read_statement(s, allowed, false, &child);
        if (e == 0)
            dsl_add_statement(&to->first, &to->last, child);
    }
    if (e < 0)
        return e;
    to->tail = dsl_take_comments(s);
    return dsl_want_punct(s, '}');
}

static int read_block(struct parser *s, struct dsl_statement *to, bool optional)
{
    if (optional && !dsl_at_punct(s, '{'))
        return 0;
    int e = dsl_want_punct(s, '{');
    to->block = true;
    return e < 0 ? e : dsl_read_fields(s, &to->fields, ':', '}');
}

static int read_type(struct parser *s, struct dsl_statement *to, const char *wanted)
{
    to->type = s->lexer.token.raw;
    to->type_at = s->lexer.token.at;
    if (s->lexer.token.kind != TOKEN_word)
        return dsl_unexpected(s, wanted);
    dsl_lexer_next(&s->lexer);
    return 0;
}

static int read_opts(struct parser *s, struct dsl_statement *to)
{
    return dsl_take_punct(s, '(') ? dsl_read_fields(s, &to->opts, '=', ')') : 0;
}

static int read_model(struct parser *s, struct dsl_value *to)
{
    struct dsl_value *m = dsl_new_value(s, to);
    if (!m)
        return -ENOMEM;
    dsl_notes_begin(s, &m->notes);
    m->kind = s->lexer.token.kind == TOKEN_word ? DSL_word : DSL_text;
    m->raw = s->lexer.token.raw;
    int e = dsl_read_name(s, &m->text, &m->at, "the name of a model");
    if (e == 0 && dsl_take_punct(s, '(')) {
        struct dsl_value opts = { 0 };
        e = dsl_read_fields(s, &opts, '=', ')');
        m->first = opts.first;
        m->last = opts.last;
        m->n = opts.n;
        m->tail = opts.tail;
    }
    if (e == 0)
        dsl_notes_end(s, &m->notes);
    return e;
}

static int read_models(struct parser *s, struct dsl_statement *to, unsigned follow)
{
    to->models.kind = DSL_list;
    to->models.at = s->lexer.token.at;
    int e;
    bool more;
    do {
        e = read_model(s, &to->models);
        more = e == 0 && dsl_take_punct(s, ',');
        if (e == 0)
            dsl_notes_end(s, &to->models.last->notes);
    } while (more && s->lexer.token.kind != TOKEN_punct && find_word(s, follow) < 0);
    return e;
}

static int read_for(struct parser *s, struct dsl_statement *to)
{
    to->name = s->lexer.token.raw;
    to->name_at = s->lexer.token.at;
    if (s->lexer.token.kind != TOKEN_word)
        return dsl_unexpected(s, "the name of a variable");
    dsl_lexer_next(&s->lexer);
    if (!dsl_take_word(s, "IN"))
        return dsl_unexpected(s, "IN");
    int e;
    if (dsl_take_punct(s, '[')) {
        e = dsl_at_punct(s, ']') ? 0 : read_models(s, to, 0);
        if (e == 0)
            e = dsl_want_punct(s, ']');
        to->models.kind = DSL_list;
        to->type = STR("models");
    } else {
        e = dsl_read_name(s, &to->type, &to->type_at, "decision.candidates or a list of models");
    }
    return e < 0 ? e : read_body(s, to, BIT(MODEL));
}

static int read_entry(struct parser *s, struct dsl_statement *to)
{
    struct dsl_statement *e = arena_alloc(s->lexer.arena, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->kind = DSL_entry;
    e->at = s->lexer.token.at;
    dsl_notes_begin(s, &e->notes);
    if (s->lexer.token.kind != TOKEN_text)
        return dsl_unexpected(s, "a query in quotes, or '}'");
    int k = dsl_read_name(s, &e->name, &e->name_at, "a query");
    if (k == 0 && s->lexer.token.kind != TOKEN_arrow)
        return dsl_unexpected(s, "'->' and the route that should answer the query");
    if (k == 0) {
        dsl_lexer_next(&s->lexer);
        k = dsl_read_name(s, &e->type, &e->type_at, "the name of a route");
    }
    if (k == 0)
        dsl_notes_end(s, &e->notes);
    dsl_add_statement(&to->first, &to->last, e);
    return k;
}

static int read_test(struct parser *s, struct dsl_statement *to)
{
    int e = dsl_read_name(s, &to->name, &to->name_at, "the name of a test");
    if (e == 0)
        e = dsl_want_punct(s, '{');
    to->block = true;
    while (e == 0 && !dsl_at_punct(s, '}'))
        e = read_entry(s, to);
    if (e < 0)
        return e;
    to->tail = dsl_take_comments(s);
    return dsl_want_punct(s, '}');
}

static int read_branch(struct parser *s, struct dsl_statement *tree, enum dsl_statement_kind kind)
{
    struct dsl_statement *b = arena_alloc(s->lexer.arena, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->kind = kind;
    b->at = s->lexer.token.at;
    dsl_notes_begin(s, &b->notes);
    if (!dsl_take_word(s, kind == DSL_IF ? "IF" : "ELSE"))
        return dsl_unexpected(s, kind == DSL_IF ? "IF" : "ELSE; a tree ends with one");
    if (kind == DSL_ELSE && dsl_take_word(s, "IF"))
        b->kind = DSL_ELSE_IF;
    int e = b->kind == DSL_ELSE ? 0 : dsl_read_expr(s, &b->expr);
    if (e == 0)
        e = read_body(s, b, IN_BRANCH);
    if (e == 0)
        dsl_notes_end(s, &b->notes);
    dsl_add_statement(&tree->first, &tree->last, b);
    return e;
}

static int read_tree(struct parser *s, struct dsl_statement *to)
{
    int e = dsl_read_name(s, &to->name, &to->name_at, "the name of a tree");
    if (e == 0)
        e = dsl_want_punct(s, '{');
    to->block = true;
    if (e == 0)
        e = read_branch(s, to, DSL_IF);
    while (e == 0 && to->last->kind != DSL_ELSE)
        e = read_branch(s, to, DSL_ELSE);
    if (e < 0)
        return e;
    to->tail = dsl_take_comments(s);
    return dsl_want_punct(s, '}');
}

static int read_projection(struct parser *s, struct dsl_statement *to)
{
    static const char *const kinds[] = { "partition", "score", "mapping" };
    int e = read_type(s, to, "partition, score or mapping");
    if (e < 0)
        return e;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_is(to->type, kinds[i]))
            return dsl_read_name(s, &to->name, &to->name_at, "the name of a projection");
    char word[DSL_SHOWN_BYTES];
    (void)snprintf(word, sizeof(word), "%.*s", STR_ARG(str_head(to->type, DSL_SHOWN_BYTES - 1)));
    const char *near = str_suggest(word, kinds, ARRAY_LEN(kinds));
    return DSL_REFUSE_AT(s, to->type_at, "'%s' is not one of partition, score, mapping%s%s%s", word,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int read_whole_number(struct parser *s, struct dsl_statement *to)
{
    struct dsl_value v = { 0 };
    if (s->lexer.token.kind != TOKEN_int)
        return dsl_unexpected(s, "a whole number");
    to->name_at = s->lexer.token.at;
    int e = dsl_read_number(s, &v);
    to->name = v.text;
    return e;
}

static int read_description(struct parser *s, struct dsl_statement *to)
{
    if (s->lexer.token.kind != TOKEN_text)
        return dsl_unexpected(s, "a text in quotes");
    return dsl_read_name(s, &to->name, &to->name_at, "a text");
}

static int read_named(struct parser *s, struct dsl_statement *to, const char *wanted)
{
    return dsl_read_name(s, &to->name, &to->name_at, wanted);
}

/* What follows the word of a statement inside a route. */
static int read_item(struct parser *s, struct dsl_statement *to)
{
    int e;
    switch (to->kind) {
    case DSL_PRIORITY:
    case DSL_TIER:
        return read_whole_number(s, to);
    case DSL_WHEN:
        return dsl_read_expr(s, &to->expr);
    case DSL_MODEL:
        return read_models(s, to, IN_ROUTE | IN_BRANCH);
    case DSL_ALGORITHM:
        e = read_type(s, to, "the type of an algorithm");
        return e < 0 ? e : read_block(s, to, true);
    case DSL_PLUGIN:
        e = read_named(s, to, "the type or name of a plugin");
        return e < 0 ? e : read_block(s, to, true);
    case DSL_DESCRIPTION:
        return read_description(s, to);
    case DSL_NAME:
        return read_named(s, to, "a name");
    case DSL_FOR:
        return read_for(s, to);
    default:
        e = read_type(s, to, "what to emit, such as retention");
        return e < 0 ? e : read_block(s, to, false);
    }
}

/* What follows the word of a statement of a profile. */
static int read_declaration(struct parser *s, struct dsl_statement *to)
{
    int e = 0;
    switch (to->kind) {
    case DSL_SIGNAL:
        e = read_type(s, to, "the type of a signal");
        break;
    case DSL_PROJECTION:
        e = read_projection(s, to);
        return e < 0 ? e : read_block(s, to, false);
    case DSL_TEST:
        return read_test(s, to);
    case DSL_DECISION_TREE:
        return read_tree(s, to);
    case DSL_ROUTING:
    case DSL_ENTRYPOINT:
        return read_block(s, to, false);
    default:
        break;
    }
    if (e == 0)
        e = read_named(s, to, "a name");
    if (e == 0 && to->kind == DSL_PLUGIN)
        e = read_type(s, to, "the type of the plugin behind its name");
    if (e == 0 && (to->kind == DSL_ROUTE || to->kind == DSL_RECIPE)) {
        e = read_opts(s, to);
        return e < 0 ? e : read_body(s, to, to->kind == DSL_ROUTE ? IN_ROUTE : PROFILE);
    }
    return e < 0 ? e : read_block(s, to, false);
}

static int read_statement(struct parser *s, unsigned allowed, bool top, struct dsl_statement **ret)
{
    int kind = find_word(s, allowed);
    if (kind < 0)
        return unknown_word(s, allowed);
    struct dsl_statement *to = arena_alloc(s->lexer.arena, sizeof(*to));
    if (!to)
        return -ENOMEM;
    to->kind = (enum dsl_statement_kind)kind;
    to->at = s->lexer.token.at;
    dsl_notes_begin(s, &to->notes);
    dsl_lexer_next(&s->lexer);
    int e = top || allowed == PROFILE ? read_declaration(s, to) : read_item(s, to);
    if (e == 0)
        dsl_notes_end(s, &to->notes);
    *ret = to;
    return e;
}

/* Behind a mistake: to the next line that begins a statement no deeper than the broken one. */
static void resume(struct parser *s, struct dsl_place from)
{
    s->depth = 0;
    while (s->lexer.token.kind != TOKEN_end) {
        const struct token *t = &s->lexer.token;
        if (t->first && t->at.column <= from.column && t->at.line > from.line &&
            find_word(s, TOP) >= 0)
            break;
        dsl_lexer_next(&s->lexer);
    }
}

int dsl_parse(struct dsl_program *ret, const char *file, struct str source, struct arena *arena,
              struct problems *p)
{
    struct parser s = { .program = ret, .p = p };
    *ret = (struct dsl_program){ .arena = arena, .file = file };
    if (source.n > LIMIT_YAML_BYTES)
        return DSL_REFUSE_AT(&s, ((struct dsl_place){ 0, 0 }),
                             "%zu bytes; a source may have at most %lu", source.n,
                             LIMIT_YAML_BYTES);
    if (!str_utf8_valid(source) || (source.n && memchr(source.p, '\0', source.n)))
        return DSL_REFUSE_AT(&s, ((struct dsl_place){ 0, 0 }),
                             "this is not a text in UTF-8; save the file so");
    int first = 0;
    dsl_lexer_init(&s.lexer, source, arena);
    while (s.lexer.token.kind != TOKEN_end && first != -ENOMEM) {
        struct dsl_statement *statement = NULL;
        struct dsl_place at = s.lexer.token.at;
        int e = read_statement(&s, TOP, true, &statement);
        if (e == 0)
            dsl_add_statement(&ret->first, &ret->last, statement);
        else if (e != -ENOMEM)
            resume(&s, at);
        first = first < 0 && e != -ENOMEM ? first : e;
    }
    ret->tail = dsl_take_comments(&s);
    return s.lexer.no_memory ? -ENOMEM : first;
}
