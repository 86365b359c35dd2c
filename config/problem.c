#include "base/limits.h"
#include "config/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_words[] = { "error", "warning", "ignored" };

struct problems {
    struct arena *arena;
    struct problem list[LIMIT_PROBLEMS];
    size_t n;
    size_t counts[ARRAY_LEN(kind_words)];
};

struct problems *problems_new(void)
{
    struct problems *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->arena = arena_new(4 * MIB);
    if (!p->arena)
        return problems_free(p);
    return p;
}

struct problems *problems_free(struct problems *p)
{
    if (p)
        arena_free(p->arena);
    free(p);
    return NULL;
}

size_t problems_count(const struct problems *p, enum problem_kind kind)
{
    return p->counts[kind];
}

size_t problems_len(const struct problems *p)
{
    return p->n;
}

const struct problem *problems_at(const struct problems *p, size_t i)
{
    return i < p->n ? &p->list[i] : NULL;
}

/* Parts that share a field each check it: the same is said once. */
static bool said_before(const struct problems *p, enum problem_kind kind, const struct node *at,
                        const char *path, struct str text)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct problem *q = &p->list[i];
        if (q->kind == kind && q->line == (at ? at->line : 0) &&
            q->column == (at ? at->column : 0) && strcmp(q->path, path) == 0 &&
            str_is(text, q->text))
            return true;
    }
    return false;
}

int node_problem(struct problems *p, enum problem_kind kind, const struct node *at,
                 const char *path, const char *fmt, ...)
{
    int r = kind == PROBLEM_error ? -EINVAL : 0;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    struct str cut = str_of(text);
    cut.n = str_utf8_whole(cut);
    if (said_before(p, kind, at, path, cut))
        return r;
    p->counts[kind]++;
    if (p->n == LIMIT_PROBLEMS)
        return r;
    struct problem *q = &p->list[p->n];
    q->kind = kind;
    q->file = arena_cstr(p->arena, str_of(at && at->file ? at->file : ""));
    q->line = at ? at->line : 0;
    q->column = at ? at->column : 0;
    q->path = arena_cstr(p->arena, str_of(path));
    q->text = arena_cstr(p->arena, cut);
    if (q->file && q->path && q->text)
        p->n++;
    return r;
}

void problems_print(const struct problems *p, struct buf *b)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct problem *q = &p->list[i];
        buf_adds(b, q->file);
        if (q->line)
            buf_addf(b, ":%u:%u", q->line, q->column);
        buf_addf(b, "%s%s: ", q->file[0] ? ": " : "", kind_words[q->kind]);
        if (q->path[0])
            buf_addf(b, "%s: ", q->path);
        buf_addf(b, "%s\n", q->text);
    }
    size_t total = p->counts[0] + p->counts[1] + p->counts[2];
    if (total > p->n)
        buf_addf(b, "… and %zu more\n", total - p->n);
}

void problems_print_json(const struct problems *p, struct buf *b)
{
    buf_addc(b, '[');
    for (size_t i = 0; i < p->n; i++) {
        const struct problem *q = &p->list[i];
        buf_addf(b, "%s{\"kind\":\"%s\",\"file\":", i ? "," : "", kind_words[q->kind]);
        buf_add_json(b, str_of(q->file));
        buf_addf(b, ",\"line\":%u,\"column\":%u,\"path\":", q->line, q->column);
        buf_add_json(b, str_of(q->path));
        buf_adds(b, ",\"text\":");
        buf_add_json(b, str_of(q->text));
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}
