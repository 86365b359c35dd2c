/* rootstock dsl: policies in the language of the Semantic Router, to YAML and back. */
#include "router/dsl/dsl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "gateway/cli/cli.h"
#include "router/router.h"

enum { OUT_BYTES = 256 << 20, SHOWN_BYTES = 60 };

struct call {
    const char *file; /* NULL: stdin */
    const char *out, *base;
    bool write, check, json;
    struct problems *p;
    char *text; /* owned */
    size_t n;
    struct buf result;
};

/* ---- files ---- */

static const char *name_of(const struct call *c)
{
    return c->file ? c->file : "stdin";
}

static int read_input(struct call *c, const char *file)
{
    c->file = file && strcmp(file, "-") != 0 ? file : NULL;
    int e = c->file ? file_read(&c->text, &c->n, c->file, LIMIT_YAML_BYTES)
                    : file_read_fd(&c->text, &c->n, STDIN_FILENO, LIMIT_YAML_BYTES);
    if (e < 0)
        (void)fprintf(stderr, "rootstock: %s: %s\n", name_of(c), strerror(-e));
    return e < 0 ? EXIT_FAILED : EXIT_OK;
}

static int print_problems(const struct call *c, int status)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(16 * MIB);
    if (c->json)
        problems_print_json(c->p, &text);
    else
        problems_print(c->p, &text);
    (void)fputs(text.p ? text.p : "", c->json ? stdout : stderr);
    if (c->json)
        (void)fputc('\n', stdout);
    return status;
}

static int failed(const struct call *c, int e) /* of a negative errno */
{
    if (e != -EINVAL || problems_len(c->p) == 0)
        (void)fprintf(stderr, "rootstock: %s: %s\n", name_of(c), strerror(-e));
    return print_problems(c, EXIT_FAILED);
}

/* Whole or not at all: a new file takes the old one's place. */
static int write_file(const char *path, struct str text)
{
    CLEANUP(buf_done) struct buf beside = BUF_INIT(MIB);
    buf_addf(&beside, "%s.new", path);
    if (buf_err(&beside) < 0)
        return buf_err(&beside);
    FILE *f = fopen(beside.p, "wb");
    if (!f)
        return -errno;
    errno = EIO; /* where the library does not say */
    bool whole = fwrite(text.p ? text.p : "", 1, text.n, f) == text.n;
    whole = fclose(f) == 0 && whole;
    if (whole && rename(beside.p, path) == 0)
        return 0;
    int e = -errno;
    (void)remove(beside.p);
    return e;
}

static int deliver(const struct call *c, const char *path)
{
    int e = buf_err(&c->result);
    if (e == 0 && path && strcmp(path, "-") != 0)
        e = write_file(path, buf_str(&c->result));
    else if (e == 0)
        e = fwrite(c->result.p ? c->result.p : "", 1, c->result.n, stdout) == c->result.n ? 0
                                                                                          : -EIO;
    if (e < 0)
        (void)fprintf(stderr, "rootstock: %s: %s\n", path ? path : "stdout", strerror(-e));
    return e < 0 ? EXIT_FAILED : EXIT_OK;
}

/* ---- compile ---- */

/* The compiled source, inside the base where there is one. */
static int compile(struct call *c, struct dsl **ret, struct document **ret_base,
                   const struct node **ret_config)
{
    int e = dsl_compile(ret, name_of(c), (struct str){ c->text, c->n }, c->p);
    if (e == 0)
        *ret_config = dsl_root(*ret);
    if (e == 0 && c->base)
        e = document_load(ret_base, c->base, c->p);
    if (e == 0 && c->base)
        e = dsl_merge(*ret, document_root(*ret_base), ret_config);
    return e;
}

static int run_compile(struct call *c)
{
    CLEANUP(dsl_freep) struct dsl *d = NULL;
    CLEANUP(document_freep) struct document *base = NULL;
    const struct node *config = NULL;
    int e = compile(c, &d, &base, &config);
    if (e < 0)
        return failed(c, e);
    dsl_print_yaml(config, &c->result);
    return print_problems(c, deliver(c, c->out));
}

static int run_decompile(struct call *c)
{
    CLEANUP(document_freep) struct document *doc = NULL;
    int e = document_parse(&doc, name_of(c), (struct str){ c->text, c->n }, c->p);
    if (e == 0)
        e = dsl_decompile(&c->result, document_root(doc), c->p);
    return e < 0 ? failed(c, e) : print_problems(c, deliver(c, c->out));
}

/* ---- validate ---- */

static int test_problem(struct call *c, const struct dsl_test *t, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static int test_problem(struct call *c, const struct dsl_test *t, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct node at = { .file = name_of(c), .line = t->line, .column = t->column };
    return node_problem(c->p, PROBLEM_error, &at, "", "%.*s", (int)str_utf8_whole(str_of(text)),
                        text);
}

static const struct node *decisions_of(const struct node *config, struct str recipe)
{
    const struct node *recipes = node_get(config, "recipes");
    if (recipe.n == 0)
        return node_get(node_get(config, "routing"), "decisions");
    for (size_t i = 0; node_at(recipes, i); i++) {
        const struct node *name = node_get(recipes->items[i], "name");
        if (name && str_eq(name->scalar, recipe))
            return node_get(node_get(recipes->items[i], "routing"), "decisions");
    }
    return NULL;
}

/* Whether the route of a test is there; else a problem, with the nearest name. */
static bool check_route(struct call *c, const struct dsl_test *t, const struct node *config)
{
    const struct node *decisions = decisions_of(config, t->route.n ? t->recipe : STR_NULL);
    size_t n = decisions ? decisions->n : 0, known = 0;
    CLEANUP(own_free) const char **names = calloc(n + 1, sizeof(*names));
    char word[LIMIT_NAME];
    for (size_t i = 0; names && i < n; i++) {
        const struct node *name = node_get(decisions->items[i], "name");
        if (!name || name->kind != NODE_scalar)
            continue;
        if (str_eq(name->scalar, t->route))
            return true;
        names[known++] = name->scalar.p;
    }
    (void)snprintf(word, sizeof(word), "%.*s", STR_ARG(str_head(t->route, LIMIT_NAME - 1)));
    const char *near = names ? str_suggest(word, names, known) : NULL;
    (void)test_problem(c, t, "there is no route '%s'%s%s%s", word, near ? "; did you mean '" : "",
                       near ? near : "", near ? "'?" : "");
    return false;
}

/* "keyword:a, context:b": the signals with this value. */
static void print_signals(const struct route *route, enum truth value, struct buf *b)
{
    for (size_t i = 0; i < route->n_signals; i++) {
        const struct route_signal *s = &route->signals[i];
        if (s->value == value)
            buf_addf(b, "%s%.*s:%.*s", b->n ? ", " : "", STR_ARG(s->type), STR_ARG(s->name));
    }
}

static int run_test(struct call *c, const struct router *r, const struct dsl_test *t)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(LIMIT_REQUEST_ARENA);
    CLEANUP(buf_done) struct buf matched = BUF_INIT(KIB), unknown = BUF_INIT(KIB);
    if (!arena)
        return -ENOMEM;
    struct chat_message m = { .role = STR("user"), .content = t->query };
    struct chat_request chat = { .model = dsl_test_model(t, arena),
                                 .messages = &m,
                                 .n_messages = 1 };
    struct route_request q = { .chat = &chat, .trace = true };
    struct route route;
    struct fail fail = { 0 };
    struct str shown = str_head(t->query, SHOWN_BYTES);
    shown.n = str_utf8_whole(shown);
    int e = chat.model.n ? router_route(r, &q, arena, &route, &fail) : -ENOMEM;
    if (e < 0)
        return e;
    if (e != 0)
        return test_problem(c, t, "'%.*s' cannot be routed: %s", STR_ARG(shown), fail.message);
    if (str_eq(route.decision, t->route))
        return 0;
    print_signals(&route, TRUTH_true, &matched);
    print_signals(&route, TRUTH_unknown, &unknown);
    bool none = route.decision.n == 0;
    return test_problem(c, t, "'%.*s' is answered by %s%.*s%s, not by '%.*s'; matched: %s%s%s",
                        STR_ARG(shown), none ? "no route" : "'", STR_ARG(route.decision),
                        none ? "" : "'", STR_ARG(t->route), matched.n ? matched.p : "nothing",
                        unknown.n ? "; unknown: " : "", unknown.n ? unknown.p : "");
}

/* The number of tests that were run, or a negative errno. */
static int run_tests(struct call *c, const struct dsl *d, const struct router *r,
                     const struct node *config)
{
    const struct dsl_test *tests;
    size_t n = dsl_tests(d, &tests);
    int e = 0;
    for (size_t i = 0; i < n && (e == 0 || e == -EINVAL); i++)
        if (check_route(c, &tests[i], config))
            e = run_test(c, r, &tests[i]);
    return e < 0 && e != -EINVAL ? e : (int)n;
}

static int run_validate(struct call *c)
{
    CLEANUP(dsl_freep) struct dsl *d = NULL;
    CLEANUP(document_freep) struct document *base = NULL;
    CLEANUP(config_unrefp) struct config *snapshot = NULL;
    CLEANUP(router_freep) struct router *router = NULL;
    const struct node *config = NULL, *runnable = NULL;
    int tests = 0, e = compile(c, &d, &base, &config);
    if (e == 0)
        e = dsl_runnable(d, config, &runnable);
    if (e == 0)
        e = config_of(&snapshot, name_of(c), runnable, c->p);
    if (snapshot) {
        int policy = cli_check_policy(&router, snapshot, c->p);
        e = e < 0 ? e : policy;
    }
    if (e == 0 && router)
        e = tests = run_tests(c, d, router, config);
    if (e < 0)
        return failed(c, e);
    bool refused = problems_count(c->p, PROBLEM_error) > 0;
    if (!refused && !c->json)
        (void)printf("%s: fine (%d tests passed, %zu warnings)\n", name_of(c), tests,
                     problems_count(c->p, PROBLEM_warning));
    return print_problems(c, refused ? EXIT_FAILED : EXIT_OK);
}

/* ---- format ---- */

static int run_format(struct call *c)
{
    int e = dsl_format(&c->result, name_of(c), (struct str){ c->text, c->n }, c->p);
    if (e < 0)
        return failed(c, e);
    bool same = c->result.n == c->n && (c->n == 0 || memcmp(c->result.p, c->text, c->n) == 0);
    if (c->check) {
        if (!same)
            (void)printf("%s\n", name_of(c));
        return same ? EXIT_OK : EXIT_FAILED;
    }
    if (c->write && !c->file) {
        (void)fputs("rootstock: --write needs a file\n", stderr);
        return EXIT_MISUSE;
    }
    return c->write && same ? EXIT_OK : deliver(c, c->write ? c->file : c->out);
}

/* ---- the command ---- */

static const struct {
    const char *name;
    int (*run)(struct call *c);
} verbs[] = {
    { "compile", run_compile },
    { "decompile", run_decompile },
    { "validate", run_validate },
    { "fmt", run_format },
};

static int run_verb(const char *verb, struct call *c, const char *file)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verb, verbs[i].name) != 0)
            continue;
        c->p = problems_new();
        c->result = BUF_INIT(OUT_BYTES);
        int status = c->p ? read_input(c, file) : EXIT_FAILED;
        if (status == EXIT_OK)
            status = verbs[i].run(c);
        problems_free(c->p);
        buf_done(&c->result);
        free(c->text);
        return status;
    }
    (void)fprintf(stderr, "rootstock: '%s' is not one of compile, decompile, validate, fmt\n",
                  verb);
    return EXIT_MISUSE;
}

int cli_dsl(int argc, char **argv)
{
    struct call c = { 0 };
    const struct cli_option options[] = {
        { "--out", 'o', CLI_text, &c.out, "FILE", "where the result goes; stdout without it" },
        { "--base", 0, CLI_text, &c.base, "FILE",
          "compile, validate: a configuration whose other sections stay" },
        { "--write", 'w', CLI_flag, &c.write, NULL, "fmt: rewrite the file" },
        { "--check", 0, CLI_flag, &c.check, NULL,
          "fmt: only say whether it would change; exit status 1 then" },
        { "--json", 0, CLI_flag, &c.json, NULL, "validate: problems as a JSON array on stdout" },
        { 0 },
    };
    const struct cli_command cmd = {
        "dsl compile|decompile|validate|fmt [FILE] …",
        "Policies in the language of the Semantic Router (semantic-router's recipe.dsl).\n\n"
        "  compile [FILE]     prints routing, entrypoints and recipes as YAML\n"
        "  decompile [FILE]   prints the source of a configuration\n"
        "  validate [FILE]    reports every problem and runs the TEST blocks\n"
        "  fmt [FILE]         prints the source in its canonical layout\n\n"
        "Without FILE, or with '-', stdin is read.",
        options
    };
    int operands;
    int go = cli_parse(&cmd, argc, argv, &operands);
    if (go != CLI_GO)
        return go;
    if (operands < 1 || operands > 2) {
        (void)fprintf(stderr, "usage: rootstock %s\n", cmd.usage);
        return EXIT_MISUSE;
    }
    return run_verb(argv[1], &c, operands > 1 ? argv[2] : NULL);
}
