/* From the tree to text in its one canonical layout. */
#include "router/dsl/ast.h"

enum { STEP = 2 /* columns an inner line is moved */ };

struct printer {
    struct buf *b;
    unsigned indent; /* columns */
};

/* ---- texts ---- */

static void quote(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            buf_addc(b, '\\');
            buf_addc(b, (char)c);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            buf_addc(b, '\\');
            buf_addc(b, c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        } else if (c < ' ' || c == 0x7f) {
            buf_adds(b, "\\x");
            buf_addc(b, hex[c >> 4]);
            buf_addc(b, hex[c & 15]);
        } else {
            buf_addc(b, (char)c);
        }
    }
    buf_addc(b, '"');
}

static void print_name(struct buf *b, struct str name)
{
    if (dsl_is_word(name))
        buf_add(b, name);
    else
        quote(b, name);
}

static void print_text(struct buf *b, const struct dsl_value *v)
{
    if (v->kind != DSL_text)
        buf_add(b, v->text);
    else if (v->raw.n)
        buf_add(b, v->raw);
    else
        quote(b, v->text);
}

static void begin_line(const struct printer *pr)
{
    while (pr->b->n && pr->b->p[pr->b->n - 1] == ' ') /* "MODEL " before a comment */
        pr->b->n--;
    buf_addc(pr->b, '\n');
    buf_addf(pr->b, "%*s", (int)pr->indent, "");
}

/* ---- comments ---- */

static void print_comments(const struct printer *pr, const struct dsl_comment *c, bool first)
{
    for (; c; c = c->next) {
        if (c->blank && !first)
            buf_addc(pr->b, '\n');
        begin_line(pr);
        buf_add(pr->b, c->text);
        first = false;
    }
}

/* The comments before a node and the line it begins on. */
static void begin_node(const struct printer *pr, const struct dsl_notes *n, bool first, bool apart)
{
    if (apart && !first && !(n->before ? n->before->blank : n->blank))
        buf_addc(pr->b, '\n');
    print_comments(pr, n->before, first);
    if (n->blank && (n->before || !first))
        buf_addc(pr->b, '\n');
    begin_line(pr);
}

static void end_node(const struct printer *pr, const struct dsl_notes *n)
{
    if (n->after.n) {
        buf_addc(pr->b, ' ');
        buf_add(pr->b, n->after);
    }
}

static bool has_notes(const struct dsl_value *v) /* of what is inside */
{
    if (v->tail)
        return true;
    for (const struct dsl_value *c = v->first; c; c = c->next)
        if (c->notes.before || c->notes.after.n || has_notes(c))
            return true;
    return false;
}

/* ---- values ---- */

static void print_value(struct printer *pr, const struct dsl_value *v, bool may_open);

static void print_field(struct printer *pr, const struct dsl_value *f, const char *sign,
                        bool may_open)
{
    print_name(pr->b, f->key);
    buf_adds(pr->b, sign);
    print_value(pr, f, may_open);
}

static void print_lines(struct printer *pr, const struct dsl_value *v, const char *sign)
{
    pr->indent += STEP;
    for (const struct dsl_value *c = v->first; c; c = c->next) {
        begin_node(pr, &c->notes, c == v->first, false);
        if (sign)
            print_field(pr, c, sign, true);
        else
            print_value(pr, c, true);
        if (!sign && c->next)
            buf_addc(pr->b, ',');
        end_node(pr, &c->notes);
    }
    print_comments(pr, v->tail, v->first == NULL);
    pr->indent -= STEP;
    begin_line(pr);
}

static void print_value(struct printer *pr, const struct dsl_value *v, bool may_open)
{
    if (v->kind != DSL_list && v->kind != DSL_map) {
        print_text(pr->b, v);
        return;
    }
    bool map = v->kind == DSL_map;
    buf_addc(pr->b, map ? '{' : '[');
    if ((v->open && may_open && v->n) || has_notes(v)) {
        print_lines(pr, v, map ? ": " : NULL);
    } else {
        for (const struct dsl_value *c = v->first; c; c = c->next) {
            buf_adds(pr->b, c != v->first ? ", " : map ? " " : "");
            if (map)
                print_field(pr, c, ": ", false);
            else
                print_value(pr, c, false);
        }
        buf_adds(pr->b, map && v->n ? " " : "");
    }
    buf_addc(pr->b, map ? '}' : ']');
}

/* "(key = value key = value)": without commas, which the reference refuses here. */
static void print_opts(struct printer *pr, const struct dsl_value *opts, const char *between)
{
    buf_adds(pr->b, " (");
    if (has_notes(opts)) {
        print_lines(pr, opts, " = ");
    } else {
        for (const struct dsl_value *c = opts->first; c; c = c->next) {
            buf_adds(pr->b, c != opts->first ? between : "");
            print_field(pr, c, " = ", false);
        }
    }
    buf_addc(pr->b, ')');
}

static void print_model(struct printer *pr, const struct dsl_value *m)
{
    print_text(pr->b, m);
    if (m->n || m->tail)
        print_opts(pr, m, ", ");
}

static void print_models(struct printer *pr, const struct dsl_value *models)
{
    for (const struct dsl_value *m = models->first; m; m = m->next) {
        if (m->notes.before) {
            print_comments(pr, m->notes.before, m == models->first);
            begin_line(pr);
        } else if (m != models->first) {
            begin_line(pr);
        }
        print_model(pr, m);
        if (m->next)
            buf_addc(pr->b, ',');
        end_node(pr, &m->notes);
    }
}

/* ---- expressions ---- */

static void print_expr(struct printer *pr, const struct dsl_expr *x);

static void print_leaf(struct printer *pr, const struct dsl_expr *x)
{
    if (x->notes) {
        print_comments(pr, x->notes, true);
        begin_line(pr);
    }
    buf_add(pr->b, x->type);
    buf_addc(pr->b, '(');
    quote(pr->b, x->name);
    if (has_notes(&x->fields)) {
        buf_addc(pr->b, ',');
        print_lines(pr, &x->fields, ": ");
    } else {
        for (const struct dsl_value *f = x->fields.first; f; f = f->next) {
            buf_adds(pr->b, ", ");
            print_field(pr, f, ": ", false);
        }
    }
    buf_addc(pr->b, ')');
}

static void print_joined(struct printer *pr, const struct dsl_expr *x)
{
    unsigned before = pr->indent;
    pr->indent += x->open ? STEP : 0;
    for (const struct dsl_expr *c = x->first; c; c = c->next) {
        if (c != x->first) {
            if (x->open)
                begin_line(pr);
            else
                buf_addc(pr->b, ' ');
            buf_adds(pr->b, x->op == DSL_and ? "AND " : "OR ");
        }
        print_expr(pr, c);
    }
    pr->indent = before;
}

static void print_expr(struct printer *pr, const struct dsl_expr *x)
{
    for (unsigned i = 0; i < x->parens; i++)
        buf_addc(pr->b, '(');
    if (x->op == DSL_not) {
        buf_adds(pr->b, "NOT ");
        print_expr(pr, x->first);
    } else if (x->op == DSL_leaf) {
        print_leaf(pr, x);
    } else {
        print_joined(pr, x);
    }
    for (unsigned i = 0; i < x->parens; i++)
        buf_addc(pr->b, ')');
}

/* ---- statements ---- */

static void print_statement(struct printer *pr, const struct dsl_statement *s);

static bool is_declaration(const struct dsl_statement *s) /* stands apart from its neighbours */
{
    return s->kind <= DSL_TEST && (s->kind != DSL_MODEL || s->block) &&
           (s->kind != DSL_PLUGIN || s->type.n);
}

static void print_statements(struct printer *pr, const struct dsl_statement *first)
{
    for (const struct dsl_statement *s = first; s; s = s->next) {
        begin_node(pr, &s->notes, s == first, is_declaration(s));
        print_statement(pr, s);
        end_node(pr, &s->notes);
    }
}

static void print_body(struct printer *pr, const struct dsl_statement *s)
{
    buf_adds(pr->b, " {");
    if (s->first || s->tail) {
        pr->indent += STEP;
        print_statements(pr, s->first);
        print_comments(pr, s->tail, s->first == NULL);
        pr->indent -= STEP;
        begin_line(pr);
    }
    buf_addc(pr->b, '}');
}

static void print_block(struct printer *pr, const struct dsl_statement *s)
{
    buf_adds(pr->b, " {");
    if (s->fields.n || s->fields.tail)
        print_lines(pr, &s->fields, ": ");
    buf_addc(pr->b, '}');
}

static void print_route_models(struct printer *pr, const struct dsl_statement *s)
{
    enum { COLUMNS = sizeof("MODEL ") - 1 };
    pr->indent += COLUMNS;
    print_models(pr, &s->models);
    pr->indent -= COLUMNS;
}

static void print_for(struct printer *pr, const struct dsl_statement *s)
{
    buf_add(pr->b, s->name);
    buf_adds(pr->b, " IN ");
    if (s->models.kind != DSL_list) {
        print_name(pr->b, s->type);
    } else if (has_notes(&s->models)) {
        buf_addc(pr->b, '[');
        pr->indent += STEP;
        if (!s->models.first->notes.before)
            begin_line(pr);
        print_models(pr, &s->models);
        pr->indent -= STEP;
        begin_line(pr);
        buf_addc(pr->b, ']');
    } else {
        buf_addc(pr->b, '[');
        for (const struct dsl_value *m = s->models.first; m; m = m->next) {
            buf_adds(pr->b, m != s->models.first ? ", " : "");
            print_model(pr, m);
        }
        buf_addc(pr->b, ']');
    }
    print_body(pr, s);
}

static void print_name_of(struct printer *pr, const struct dsl_statement *s)
{
    if (s->kind == DSL_PRIORITY || s->kind == DSL_TIER)
        buf_add(pr->b, s->name);
    else if (s->kind == DSL_DESCRIPTION)
        quote(pr->b, s->name);
    else
        print_name(pr->b, s->name);
}

/* "SIGNAL keyword name": the words before what a statement holds. */
static void print_head(struct printer *pr, const struct dsl_statement *s)
{
    bool name_first = s->kind == DSL_PLUGIN;
    buf_adds(pr->b, dsl_words[s->kind]);
    if (s->type.n && !name_first) {
        buf_addc(pr->b, ' ');
        print_name(pr->b, s->type);
    }
    bool named = s->kind != DSL_WHEN && s->kind != DSL_IF && s->kind != DSL_ELSE_IF &&
                 s->kind != DSL_ELSE && s->kind != DSL_ROUTING && s->kind != DSL_ENTRYPOINT &&
                 s->kind != DSL_ALGORITHM && s->kind != DSL_EMIT;
    if (named) {
        buf_addc(pr->b, ' ');
        print_name_of(pr, s);
    }
    if (s->type.n && name_first) {
        buf_addc(pr->b, ' ');
        print_name(pr->b, s->type);
    }
}

static void print_statement(struct printer *pr, const struct dsl_statement *s)
{
    if (s->kind == DSL_entry) {
        quote(pr->b, s->name);
        buf_adds(pr->b, " -> ");
        print_name(pr->b, s->type);
        return;
    }
    if (s->kind == DSL_FOR) {
        buf_adds(pr->b, "FOR ");
        print_for(pr, s);
        return;
    }
    if (s->kind == DSL_MODEL && !s->block) {
        buf_adds(pr->b, "MODEL ");
        print_route_models(pr, s);
        return;
    }
    print_head(pr, s);
    if (s->opts.n || s->opts.tail)
        print_opts(pr, &s->opts, " ");
    if (s->expr) {
        buf_addc(pr->b, ' ');
        print_expr(pr, s->expr);
    }
    bool statements = s->kind == DSL_ROUTE || s->kind == DSL_RECIPE || s->kind == DSL_TEST ||
                      s->kind == DSL_DECISION_TREE || s->kind == DSL_IF || s->kind == DSL_ELSE_IF ||
                      s->kind == DSL_ELSE;
    if (statements)
        print_body(pr, s);
    else if (s->block)
        print_block(pr, s);
}

void dsl_print(const struct dsl_program *program, struct buf *b)
{
    struct printer pr = { .b = b };
    struct buf all = BUF_INIT(b->max);
    pr.b = &all;
    print_statements(&pr, program->first);
    print_comments(&pr, program->tail, program->first == NULL);
    if (all.n) {
        buf_add(b, str_sub(buf_str(&all), 1)); /* every line begins with its line break */
        buf_addc(b, '\n');
    }
    if (buf_err(&all) < 0 && buf_err(b) == 0)
        b->err = buf_err(&all);
    buf_done(&all);
}
