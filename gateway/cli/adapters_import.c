#include "gateway/cli/adapters.h"

#include "base/clock.h"
#include "base/num.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/*
 * import: many adapters at once. A file of lines names revisions whose blobs are in the store
 * already, or folders to publish; a folder holds an adapter in each of its folders. What is there
 * is left alone, so that an import that was cut off is simply run again.
 */

enum { BATCH = 1000, ROW_ARENA = 64 << 20, COMPLAINTS = 100 };

struct import {
    struct adapters_call *call;
    const char *path;
    struct adapter_import rows[BATCH];
    size_t lines[BATCH]; /* of the rows */
    size_t n;
    struct arena *arena; /* of the batch */
    size_t line;
    uint64_t read, written, skipped, failed, pushed;
    uint64_t bytes, total_bytes;
    struct fail *reterr;
};

static void complain(struct import *m, size_t line, const char *why)
{
    if (m->failed++ < COMPLAINTS)
        (void)fprintf(stderr, "rootstock: %s:%zu: %s\n", m->path, line, why);
    else if (m->failed == COMPLAINTS + 1)
        (void)fprintf(stderr, "rootstock: further lines that fail are only counted\n");
}

/* ---- rows whose blobs are in the store ---- */

/* One by one, so that the line at fault can be named. */
static int send_each(struct import *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct fail f = { 0 };
        size_t written = 0;
        int r = adapters_import(m->call->adapters, &m->rows[i], 1, m->call->replace, &written, &f);
        if (r < 0 || (r == FAILED && f.code == FAIL_catalog_unavailable)) {
            *m->reterr = f;
            return r;
        }
        if (r == FAILED)
            complain(m, m->lines[i], f.message);
        else if (written)
            m->written++;
        else
            m->skipped++;
    }
    return 0;
}

static int send_batch(struct import *m)
{
    size_t written = 0;
    int r = m->n ? adapters_import(m->call->adapters, m->rows, m->n, m->call->replace, &written,
                                   m->reterr)
                 : 0;
    if (r == FAILED && m->reterr->code != FAIL_catalog_unavailable &&
        m->reterr->code != FAIL_not_implemented) {
        r = send_each(m);
    } else if (r == 0) {
        m->written += written;
        m->skipped += m->n - written;
    }
    m->n = 0;
    (void)arena_free(m->arena);
    m->arena = arena_new(ROW_ARENA);
    cli_progress_rate(m->path, "adapters", m->written + m->skipped + m->pushed,
                      m->total_bytes && m->bytes
                          ? (m->written + m->skipped + m->pushed) * m->total_bytes / m->bytes
                          : 0);
    return r == 0 && !m->arena ? -ENOMEM : r;
}

/* ---- folders ---- */

static bool is_there(struct import *m, struct str base, struct str adapter)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(ROW_ARENA);
    struct adapter_info info;
    struct fail f;
    return arena && adapters_show(m->call->adapters, arena, base, adapter, &info, &f) == 0;
}

static int push(struct import *m, const struct adapter_push *p, size_t line)
{
    struct adapter_revision done;
    struct fail f = { 0 };
    if (!m->call->replace && is_there(m, p->base, p->adapter)) {
        m->skipped++;
        return 0;
    }
    int r = adapters_push_one(m->call, p, &done, &f);
    if (r == FAILED && f.code != FAIL_catalog_unavailable) {
        complain(m, line, f.message);
        return 0;
    }
    if (r == 0)
        m->pushed++;
    else
        *m->reterr = f;
    return r;
}

/* The last part of "a/b/name/" or "a/b/name.gguf". */
static struct str last_part(struct str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    size_t from = path.n;
    while (from && path.p[from - 1] != '/')
        from--;
    struct str name = str_sub(path, from);
    return str_ends(name, STR(".gguf")) ? str_head(name, name.n - 5) : name;
}

/* ---- lines ---- */

static struct str text_of(struct import *m, const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v)
               ? arena_str(m->arena, (struct str){ json_string_value(v), json_string_length(v) })
               : STR("");
}

static const char *check_keys(json_t *o)
{
    static const char *const known[] = { "base",  "adapter", "name",  "digest",
                                         "bytes", "path",    "alias", "description" };
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
    {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            found = found || strcmp(key, known[i]) == 0;
        if (!found)
            return "a row has base, adapter, digest, bytes, description, or path and alias";
        bool number = strcmp(key, "bytes") == 0;
        if (number ? !json_is_integer(v) || json_integer_value(v) < 0 : !json_is_string(v))
            return number ? "'bytes' must be a whole number" : "all but 'bytes' are texts";
    }
    return NULL;
}

static const char *default_base(const struct adapters_call *c)
{
    const struct config_model *models = c->config->engine.models.items;
    return c->base ? c->base : c->config->engine.n_own == 1 ? models[0].name.p : NULL;
}

static int take_row(struct import *m, json_t *o)
{
    const char *why = check_keys(o);
    const char *usual = default_base(m->call);
    struct str digest = text_of(m, o, "digest"), path = text_of(m, o, "path");
    struct str base = text_of(m, o, "base"), adapter = text_of(m, o, "adapter");
    struct adapter_import *row = &m->rows[m->n];
    if (adapter.n == 0)
        adapter = text_of(m, o, "name");
    if (base.n == 0)
        base = str_of(usual);
    if (adapter.n == 0 && path.n)
        adapter = last_part(path);
    if (!why && base.n == 0)
        why = "which base model is it for? give 'base', or --base";
    if (!why && adapter.n == 0)
        why = "'adapter' is missing";
    if (!why && (digest.n == 0) == (path.n == 0))
        why = "a row has a 'digest' whose blobs are in the store, or a 'path'";
    if (str_starts(digest, STR("sha256:")))
        digest = str_sub(digest, strlen("sha256:"));
    if (!why && digest.n && sha256_parse(&row->digest, digest) < 0)
        why = "'digest' is no sha256 of 64 hex digits";
    if (why) {
        complain(m, m->line, why);
        return 0;
    }
    if (path.n) {
        struct adapter_push p = { .base = base,
                                  .adapter = adapter,
                                  .description = text_of(m, o, "description"),
                                  .who = str_of(m->call->who),
                                  .path = path.p,
                                  .alias = text_of(m, o, "alias") };
        return push(m, &p, m->line);
    }
    row->base = base;
    row->adapter = adapter;
    row->description = text_of(m, o, "description");
    row->bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes"));
    m->lines[m->n++] = m->line;
    return m->n == BATCH ? send_batch(m) : 0;
}

static int take_line(struct import *m, struct str line)
{
    json_error_t e;
    m->line++;
    m->bytes += line.n;
    line = str_trim(line);
    if (line.n == 0)
        return 0;
    m->read++;
    json_auto_t *o = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &e);
    if (json_is_object(o))
        return take_row(m, o);
    complain(m, m->line, o ? "a row is a JSON object" : e.text);
    return 0;
}

static int import_lines(struct import *m, FILE *file)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int r = 0;
    while (r == 0 && (n = getline(&line, &size, file)) >= 0)
        r = take_line(m, (struct str){ line, (size_t)n });
    free(line);
    if (r == 0 && ferror(file))
        return -EIO;
    return r == 0 ? send_batch(m) : r;
}

/* ---- a folder of adapters ---- */

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", folder, name);
    struct stat st;
    return n > 0 && (size_t)n < sizeof(path) && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int by_ordinal(const struct dirent **a, const struct dirent **b)
{
    uint64_t x = 0, y = 0;
    bool numbers = num_parse_u64(&x, str_of((*a)->d_name), 0, UINT64_MAX) == 0 &&
                   num_parse_u64(&y, str_of((*b)->d_name), 0, UINT64_MAX) == 0;
    return numbers ? (x > y) - (x < y) : strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int push_path(struct import *m, const char *path, struct str adapter, bool prod)
{
    const char *base = default_base(m->call);
    m->read++;
    if (!base)
        return fail_set(m->reterr, FAIL_invalid_request,
                        "which base model are they for? say --base BASE");
    struct adapter_push p = { .base = str_of(base),
                              .adapter = adapter,
                              .who = str_of(m->call->who),
                              .path = path,
                              .alias = prod ? STR("prod") : str_of(m->call->alias) };
    return push(m, &p, (size_t)m->read);
}

/* NAME/1, NAME/2, …: the revisions of one adapter, the last one its prod. */
static int push_revisions(struct import *m, const char *folder, struct str adapter)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, visible, by_ordinal), r = 0;
    const char *base = default_base(m->call);
    bool there = base && !m->call->replace && is_there(m, str_of(base), adapter);
    bool replace = m->call->replace;
    m->call->replace = true; /* the first of them is no reason to leave the rest out */
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        uint64_t number;
        int k = snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
        bool ordinal = num_parse_u64(&number, str_of(list[i]->d_name), 1, UINT64_MAX) == 0;
        if (r == 0 && ordinal && k > 0 && (size_t)k < sizeof(path) && !there)
            r = push_path(m, path, adapter, /* prod= */ true);
        else if (r == 0 && ordinal)
            m->skipped++;
        free(list[i]);
    }
    m->call->replace = replace;
    free(list);
    return r;
}

static int import_folder(struct import *m, const char *folder)
{
    struct dirent **list = NULL;
    int n = scandir(folder, &list, visible, by_ordinal), r = 0;
    if (n < 0)
        return fail_set(m->reterr, FAIL_invalid_request, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        struct stat st;
        struct str name = last_part(str_of(list[i]->d_name));
        int k = snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
        bool fits = k > 0 && (size_t)k < sizeof(path) && stat(path, &st) == 0;
        bool file = fits && S_ISREG(st.st_mode) && str_ends(str_of(path), STR(".gguf"));
        if (r == 0 && (file || (fits && has_file(path, "adapter_config.json"))))
            r = push_path(m, path, name, /* prod= */ false);
        else if (r == 0 && fits && S_ISDIR(st.st_mode))
            r = push_revisions(m, path, name);
        cli_progress_rate(folder, "adapters", (uint64_t)i + 1, (uint64_t)n);
        free(list[i]);
    }
    free(list);
    return r;
}

/* ---- the verb ---- */

static int run(struct import *m)
{
    struct stat st;
    bool is_stdin = strcmp(m->path, "-") == 0;
    if (!is_stdin && stat(m->path, &st) < 0)
        return fail_set(m->reterr, FAIL_invalid_request, "%s: %s", m->path, strerror(errno));
    if (!is_stdin && S_ISDIR(st.st_mode))
        return import_folder(m, m->path);
    FILE *file = is_stdin ? stdin : fopen(m->path, "re");
    if (!file)
        return fail_set(m->reterr, FAIL_invalid_request, "%s: %s", m->path, strerror(errno));
    m->total_bytes = is_stdin ? 0 : (uint64_t)st.st_size;
    int r = import_lines(m, file);
    if (!is_stdin)
        (void)fclose(file);
    return r;
}

int adapters_cli_import(struct adapters_call *c, struct fail *f)
{
    struct import *m = arena_alloc(c->arena, sizeof(*m));
    if (!m || !(m->arena = arena_new(ROW_ARENA)))
        return -ENOMEM;
    uint64_t from = clock_us();
    m->call = c;
    m->path = c->operands[0];
    m->reterr = f;
    int r = run(m);
    cli_progress_done();
    (void)arena_free(m->arena);
    double seconds = (double)(clock_us() - from) / 1e6;
    uint64_t new_ones = m->written + m->pushed;
    double rate = seconds > 0 ? (double)(new_ones + m->skipped) / seconds : 0;
    if (c->json)
        buf_addf(&c->out,
                 "{\"read\":%llu,\"imported\":%llu,\"skipped\":%llu,\"failed\":%llu,"
                 "\"seconds\":%.3f,\"per_second\":%.0f}\n",
                 (unsigned long long)m->read, (unsigned long long)new_ones,
                 (unsigned long long)m->skipped, (unsigned long long)m->failed, seconds, rate);
    else
        buf_addf(&c->out, "%llu imported, %llu were there, %llu failed; %.2f s, %.0f/s\n",
                 (unsigned long long)new_ones, (unsigned long long)m->skipped,
                 (unsigned long long)m->failed, seconds, rate);
    if (r != 0) { /* what came in before is in */
        int flushed = adapters_flush(c);
        return flushed < 0 ? flushed : r;
    }
    return m->failed ? EXIT_SAID : 0;
}
