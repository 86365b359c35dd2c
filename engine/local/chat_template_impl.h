/*
 * Inside of the template interpreter: nodes (compiled once, immutable), values and the state of one
 * rendering. Everything of a rendering lives in its arena.
 *
 * Errors are sticky: the first one is kept in `render.err`, later steps do nothing of note and
 * yield undefined; loops look at it.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/fail.h"
#include "base/limits.h"
#include "engine/local/chat_template.h"

/* ---- values ---- */

struct run { /* a stretch of equal origin */
    size_t end;
    bool literal;
};

/* Well-formed or not, bytes as they came; which of them users wrote is remembered. */
struct text {
    const char *p;
    size_t n;
    const struct run *runs; /* NULL: all of one origin */
    size_t n_runs;
    bool literal; /* where runs is NULL */
};

enum val_kind {
    V_undefined,
    V_none,
    V_bool,
    V_int,
    V_float,
    V_text,
    V_list, /* tuples too */
    V_dict,
    V_namespace,
    V_loop,
    V_func,
};

struct val {
    enum val_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        const struct text *s;
        struct list *l;
        struct dict *d; /* of a namespace too */
        struct loop *loop;
        const struct func *fn;
        const struct str *what; /* of undefined: what was looked for, or NULL */
    };
};

struct list {
    struct val *items;
    size_t n, cap;
    bool tuple;
};

struct pair {
    struct val key, value;
};

struct dict { /* in insertion order */
    struct pair *pairs;
    size_t n, cap;
};

struct loop {
    const struct list *items;
    size_t at;
    struct val changed; /* what loop.changed saw last */
};

/* Arguments of a call. */
struct named {
    struct str name;
    struct val value;
};

struct args {
    const struct val *v;
    size_t n;
    const struct named *named;
    size_t n_named;
};

struct render;
struct node;
struct scope;

typedef struct val (*native_fn)(struct render *r, struct val self, const struct args *a);

struct func {
    const char *name;
    native_fn native; /* of functions and bound methods */
    struct val self;
    const struct node *macro; /* else */
    struct scope *scope;      /* where the macro was made */
};

/* ---- nodes ---- */

enum node_kind {
    /* expressions */
    N_const,
    N_name,
    N_list,
    N_tuple,
    N_dict,  /* items: key, value, key, value … */
    N_attr,  /* a.text */
    N_index, /* a[b] */
    N_slice, /* a[items[0]:items[1]:items[2]], each may be NULL */
    N_call,
    N_filter,
    N_test,
    N_negate,
    N_plus,
    N_not,
    N_chain,   /* items with ops between them, left to right */
    N_compare, /* the same; every comparison must hold */
    N_and,
    N_or,
    N_cond, /* a if b else c */
    /* statements */
    N_body,
    N_text,
    N_output,
    N_if,
    N_for,
    N_set,
    N_set_block,
    N_macro,
    N_call_block,
    N_filter_block,
    N_with,
    N_break,
    N_continue,
};

enum op {
    OP_add,
    OP_sub,
    OP_mul,
    OP_div,
    OP_floor,
    OP_mod,
    OP_pow,
    OP_concat,
    OP_eq,
    OP_ne,
    OP_lt,
    OP_le,
    OP_gt,
    OP_ge,
    OP_in,
    OP_not_in,
};

struct arg {
    struct str name; /* empty: positional */
    unsigned stars;  /* 1: *list, 2: **dict */
    struct node *value;
};

struct node {
    enum node_kind kind;
    unsigned line;
    bool negated; /* of N_test */
    struct node *a, *b, *c;
    struct node **items;
    size_t n;
    enum op *ops; /* n − 1 */
    struct arg *args;
    size_t n_args;
    struct str text; /* name */
    struct val value;
    native_fn native; /* of N_filter and N_test */
};

struct chat_template {
    struct arena *arena;
    struct node *body;
};

/* chat_template_lex.c, chat_template_parse.c */
int template_parse(struct chat_template *t, struct str source, struct fail *reterr) MUST_USE;

enum token_type {
    T_text,
    T_name,
    T_int,
    T_float,
    T_string,
    T_op,
    T_block,
    T_output,
    T_close,
    T_end
};

struct lex_token {
    enum token_type type;
    unsigned line;
    struct str text; /* of names, operators; decoded of strings and text */
    int64_t i;
    double f;
};

struct lexer {
    struct arena *arena;
    struct str src; /* newlines are \n */
    size_t at;
    unsigned line;
    bool in_tag, in_output; /* inside {% %} or {{ }} */
    bool line_start;        /* the last tag ended with its line */
    bool strip;             /* the last tag ended with a dash */
    bool trim;              /* a newline may go: the last tag was a block or comment */
    unsigned depth;         /* open brackets */
    struct fail *reterr;
    int err;
};

int lexer_init(struct lexer *l, struct arena *arena, struct str source,
               struct fail *reterr) MUST_USE;
struct lex_token lexer_next(struct lexer *l); /* T_end after an error */
/* After {% raw %}: the text up to {% endraw %}, which is consumed. */
struct lex_token lexer_raw(struct lexer *l);
int lexer_fail(struct lexer *l, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* ---- one rendering ---- */

struct out { /* text under construction, with its origins */
    struct render *r;
    struct buf b;
    struct run *runs;
    size_t n_runs, cap_runs;
};

struct render {
    struct arena *arena;
    int err;
    struct fail *reterr;
    unsigned line;
    uint64_t steps;
    unsigned depth;
    enum flow { FLOW_on, FLOW_break, FLOW_continue } flow;
    unsigned loops; /* open for loops */
    struct out *out;
    struct scope *globals;
    int64_t now_s;
};

#define V_UNDEFINED ((struct val){ .kind = V_undefined })
#define V_NONE ((struct val){ .kind = V_none })

/* chat_template_value.c */
struct val render_fail(struct render *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct val render_no_memory(struct render *r);
bool render_step(struct render *r, size_t cost); /* false: stop */
bool render_enter(struct render *r);             /* one level deeper; false: too deep */
void render_leave(struct render *r);
void *render_alloc(struct render *r, size_t n, size_t size); /* NULL: err is set */

struct val val_bool(bool b);
struct val val_int(int64_t i);
struct val val_float(double f);
struct val val_text(struct render *r, struct str s, bool literal); /* s lives as long as r */
struct val val_copy(struct render *r, struct str s, bool literal);
struct val val_cstr(struct render *r, const char *s); /* the same; of the template */
struct val val_slice(struct render *r, const struct text *t, size_t from, size_t to);
struct val val_list(struct render *r, size_t room);
struct val val_dict(struct render *r);
struct val val_func(struct render *r, const char *name, native_fn fn, struct val self);
bool list_add(struct render *r, struct list *l, struct val v);
void dict_set(struct render *r, struct dict *d, struct val key, struct val v);
bool dict_get(struct render *r, const struct dict *d, struct val key, struct val *ret);
bool dict_get_str(const struct dict *d, struct str key, struct val *ret);

static inline struct str text_str(const struct text *t)
{
    return (struct str){ t->p, t->n };
}

bool val_true(struct val v);
bool val_is_number(struct val v); /* bool too, as in Python */
double val_number(struct val v);
bool val_equal(struct render *r, struct val a, struct val b);
int val_compare(struct render *r, struct val a, struct val b); /* sets err where Python raises */
bool val_contains(struct render *r, struct val container, struct val v);
const char *val_type(struct val v); /* Python's name of its type */
bool val_is_iterable(struct val v);
const struct list *val_items(struct render *r, struct val v); /* as a for loop sees it */
struct val val_to_text(struct render *r, struct val v);       /* str(v) */
size_t text_runes(const struct text *t);                      /* length in code points */
size_t text_offset(const struct text *t, size_t runes);       /* byte offset of a code point */

/* chat_template_text.c */
void out_init(struct out *o, struct render *r);
void out_done(struct out *o); /* usable with CLEANUP */
void out_add(struct out *o, struct str s, bool literal);
void out_add_text(struct out *o, const struct text *t, size_t from, size_t to);
void out_add_val(struct out *o, struct val v);  /* str(v) */
void out_add_repr(struct out *o, struct val v); /* repr(v) */
struct json_style {
    int indent;           /* -1: one line */
    struct str item, key; /* separators */
    bool sort, ascii;
};
void out_add_json(struct out *o, struct val v, const struct json_style *style, unsigned level);
struct val out_take(struct out *o);
struct val val_from_json(struct render *r, struct str json, bool literal, bool *ret_ok);

/* chat_template_eval.c */
struct val eval(struct render *r, struct scope *s, const struct node *n);
void run_body(struct render *r, struct scope *s, const struct node *body);
struct scope *scope_new(struct render *r, struct scope *up);
void scope_set(struct render *r, struct scope *s, struct str name, struct val v);
struct val call(struct render *r, struct val fn, const struct args *a);

/* chat_template_ops.c */
struct val undefined_base(struct render *r, struct val v); /* fails, naming what is undefined */
struct val get_attr(struct render *r, struct val v, struct str name);
struct val get_item(struct render *r, struct val v, struct val key);
struct val slice(struct render *r, struct val v, const struct val part[3]);
struct val arithmetic(struct render *r, enum op op, struct val a, struct val b);
struct val binary(struct render *r, enum op op, struct val a, struct val b);

/* chat_template_filters.c */
native_fn filter_find(struct str name); /* NULL: there is none; self is the value */
native_fn test_find(struct str name);   /* chat_template_tests.c */

/* chat_template_methods.c */
bool method_find(struct render *r, struct val v, struct str name, struct val *ret);
void globals_init(struct render *r);
struct val text_trim(struct render *r, const struct text *t, const struct args *a, int sides);
struct val text_replace(struct render *r, const struct text *t, const struct args *a);
struct val text_case(struct render *r, const struct text *t, char how); /* u, l, t, c */

/* Arguments by position or name; V_UNDEFINED where not given. */
struct val arg_at(const struct args *a, size_t i, const char *name);
int64_t arg_int(struct render *r, const struct args *a, size_t i, const char *name, int64_t none);
