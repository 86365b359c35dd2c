/* rootstock embed: a line of text to a JSON array of numbers, its vector. */
#include "gateway/cli/cli.h"

#include "base/limits.h"
#include "base/log.h"
#include "engine/local/engine_local.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Lines that are there already are computed together, so that a pipe gets each answer at once. */
enum { LINES = 32, READ_BYTES = 64 * 1024, LINE_BYTES = 64 << 20 };

struct options {
    const char *model;
    uint64_t dimensions, threads;
    bool json;
};

struct lines {
    struct buf data; /* read and not yet used */
    bool ended;
    uint64_t used; /* bytes */
};

struct group {
    struct embed_input inputs[LINES];
    char *texts[LINES]; /* owned */
    size_t n;
};

static void group_clear(struct group *g)
{
    for (size_t i = 0; i < g->n; i++)
        free(g->texts[i]);
    g->n = 0;
}

static int complain(uint64_t line, const char *why)
{
    cli_progress_done();
    (void)fprintf(stderr, "rootstock: line %llu: %s\n", (unsigned long long)line, why);
    return FAILED;
}

/* ---- reading ---- */

/* Waits for more bytes of stdin, or its end. */
static int read_more(struct lines *l)
{
    char *p = buf_space(&l->data, READ_BYTES);
    if (!p)
        return buf_err(&l->data);
    ssize_t n = read(STDIN_FILENO, p, READ_BYTES);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    l->data.n += (size_t)n;
    l->ended = n == 0;
    return 0;
}

/* The next line without its end; false: none is there yet, or ever. */
static bool next_line(const struct lines *l, size_t *at, struct str *ret)
{
    struct str rest = str_sub(buf_str(&l->data), *at);
    const char *end = rest.n ? memchr(rest.p, '\n', rest.n) : NULL;
    if (!end && !(l->ended && rest.n))
        return false;
    size_t n = end ? (size_t)(end - rest.p) : rest.n;
    *at += n + (end != NULL);
    *ret = str_head(rest, n && rest.p[n - 1] == '\r' ? n - 1 : n);
    return true;
}

/* The text of a line; with --json it is a JSON string. Owned, NULL: it is none. */
static char *text_of(const struct options *o, struct str line, size_t *ret_n)
{
    json_error_t e;
    if (!o->json) {
        *ret_n = line.n;
        return str_dup(line);
    }
    json_auto_t *v = json_loadb(line.n ? line.p : "", line.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    *ret_n = json_string_length(v);
    return json_is_string(v) ? str_dup((struct str){ json_string_value(v), *ret_n }) : NULL;
}

/* Fills the group with at least one line; none: the end. `line`: of those before. */
static int fill(const struct options *o, struct lines *l, struct group *g, uint64_t line)
{
    size_t at = 0, next = 0;
    struct str text;
    for (; g->n < LINES; at = next) {
        next = at;
        if (!next_line(l, &next, &text)) {
            if (l->ended || g->n)
                break;
            int r = read_more(l);
            if (r < 0)
                return r;
            continue;
        }
        size_t n = 0;
        g->texts[g->n] = text_of(o, text, &n);
        if (!g->texts[g->n] && g->n)
            break; /* those before it are answered first */
        if (!g->texts[g->n])
            return complain(line + 1, o->json ? "not a JSON string" : "no memory");
        g->inputs[g->n] = (struct embed_input){ .text = { g->texts[g->n], n } };
        g->n++;
    }
    l->used += at;
    buf_cut(&l->data, at);
    return 0;
}

/* ---- vectors ---- */

static int print_vector(const float *v, size_t n)
{
    int r = putchar('[');
    for (size_t i = 0; i < n && r >= 0; i++)
        r = printf("%s%.9g", i ? "," : "", (double)v[i]); /* 9 digits give the float back */
    return r < 0 || puts("]") < 0 || fflush(stdout) != 0 ? -EIO : 0;
}

static int embed_group(struct engine *e, const struct options *o, struct group *g, uint64_t line)
{
    CLEANUP(embed_result_done) struct embed_result got = { 0 };
    struct fail f = { 0 };
    int r = engine_embed(e, g->inputs, g->n, &got, &f);
    if (r == FAILED && g->n > 1) { /* one by one, to print those before it and to name its line */
        for (size_t i = 0; i < g->n; i++) {
            struct group one = { .inputs = { g->inputs[i] }, .n = 1 };
            r = embed_group(e, o, &one, line + i);
            if (r != 0)
                return r;
        }
        return 0;
    }
    if (r == FAILED)
        return complain(line + 1, f.message);
    size_t n = o->dimensions ? (size_t)o->dimensions : got.width;
    if (r == 0 && n > got.width) {
        (void)fprintf(stderr, "rootstock: --dimensions %zu: this model's vectors have %zu\n", n,
                      got.width);
        return FAILED;
    }
    for (size_t i = 0; i < got.n && r == 0; i++) {
        float *v = got.values + i * got.width;
        if (n < got.width)
            embed_unit_length(v, n);
        r = print_vector(v, n);
    }
    return r;
}

static int embed_lines(struct engine *e, const struct options *o, struct lines *l)
{
    struct group g = { .n = 0 };
    uint64_t line = 0;
    int r = 0;
    do {
        line += g.n;
        group_clear(&g);
        r = fill(o, l, &g, line);
        if (r == 0 && g.n)
            r = embed_group(e, o, &g, line);
        cli_progress_input(l->used);
    } while (r == 0 && g.n);
    group_clear(&g);
    cli_progress_done();
    return r;
}

/* ---- the command ---- */

static int embed(const struct options *o)
{
    struct fail f = { 0 };
    CLEANUP(engine_freep) struct engine *e = NULL;
    struct config_model m = { .name = STR("model"),
                              .path = str_of(o->model),
                              .slots = 1,
                              .queue = 1,
                              .threads = o->threads,
                              .batch = LIMIT_BATCH_ROWS };
    log_set_level(LOG_warn); /* stderr is the user's */
    int r = engine_local_new(&e, &m, &f);
    if (r != 0) {
        (void)fprintf(stderr, "rootstock: %s\n", r == FAILED ? f.message : strerror(-r));
        return EXIT_FAILED;
    }
    struct lines l = { .data = BUF_INIT(LINE_BYTES) };
    r = embed_lines(e, o, &l);
    buf_done(&l.data);
    if (r < 0)
        (void)fprintf(stderr, "rootstock: embed: %s\n", strerror(-r));
    return r == 0 ? EXIT_OK : EXIT_FAILED;
}

int cli_embed(int argc, char **argv)
{
    struct options o = { 0 };
    const struct cli_option options[] = {
        { "--model", 'm', CLI_text, &o.model, "GGUF", "an encoder (BERT family) or any model" },
        { "--dimensions", 0, CLI_uint, &o.dimensions, "N",
          "the first N numbers, again of unit length; 0: all (0)" },
        { "--threads", 't', CLI_uint, &o.threads, "N", "0: one a core (0)" },
        { "--json", 0, CLI_flag, &o.json, NULL, "a line of text is a JSON string" },
        { 0 },
    };
    const struct cli_command cmd = {
        "embed -m GGUF [--dimensions N] [--json] < lines",
        "Reads lines of text from stdin and prints for each a JSON array: its vector, pooled as "
        "the\nmodel says, of unit length.",
        options
    };
    int operands = 0, status = cli_parse(&cmd, argc, argv, &operands);
    if (status != CLI_GO)
        return status;
    if (!o.model || operands || o.threads > 1024) {
        (void)fprintf(stderr, "rootstock: %s\nusage: rootstock %s\n",
                      !o.model   ? "name the model with -m GGUF"
                      : operands ? "the texts come on stdin, a line each"
                                 : "--threads is out of range",
                      cmd.usage);
        return EXIT_MISUSE;
    }
    return embed(&o);
}
