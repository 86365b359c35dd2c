#include "router/kb_manifest.h"

#include "base/file.h"
#include "base/limits.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

enum {
    MAX_FOLDERS = 8, /* above the configuration file's */
    MAX_LABELS = 1000,
    MAX_EXEMPLARS = 10000, /* of one label */
    EXEMPLAR_BYTES = 65536,
};
#define MANIFEST_BYTES (16 * MIB)

/* ---- reading ---- */

struct read {
    const struct kb_manifest_source *s;
    const char *file;
};

static int wrong(const struct read *r, const char *label, const char *what)
{
    return node_problem(r->s->p, PROBLEM_error, r->s->at, r->s->at_path, "%s: %s%s%s", r->file,
                        label ? label : "", label ? ": " : "", what);
}

static int read_exemplars(const struct read *r, struct kb_manifest_label *ret, const char *label,
                          const json_t *list)
{
    if (list && !json_is_array(list))
        return wrong(r, label, "'exemplars' must be a list of texts");
    size_t n = json_array_size(list);
    if (n > MAX_EXEMPLARS)
        return wrong(r, label, "more than 10000 exemplars");
    ret->exemplars = arena_array(r->s->arena, n + 1, sizeof(*ret->exemplars));
    if (!ret->exemplars)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text))
            return wrong(r, label, "'exemplars' must be a list of texts");
        if (json_string_length(text) > EXEMPLAR_BYTES)
            return wrong(r, label, "an exemplar is longer than 65536 bytes");
        struct str copy = arena_str(
            r->s->arena, (struct str){ json_string_value(text), json_string_length(text) });
        if (!copy.p)
            return -ENOMEM;
        ret->exemplars[ret->n++] = copy;
    }
    return 0;
}

static int read_labels(const struct read *r, struct kb_manifest *ret, json_t *labels)
{
    const char *name;
    json_t *value;
    if (!json_is_object(labels) || json_object_size(labels) == 0)
        return wrong(r, NULL, "'labels' must be an object with a member for each label");
    if (json_object_size(labels) > MAX_LABELS)
        return wrong(r, NULL, "more than 1000 labels");
    ret->labels = arena_array(r->s->arena, json_object_size(labels), sizeof(*ret->labels));
    if (!ret->labels)
        return -ENOMEM;
    json_object_foreach(labels, name, value)
    {
        struct kb_manifest_label *label = &ret->labels[ret->n++];
        *label = (struct kb_manifest_label){ .name = arena_str(r->s->arena, str_of(name)) };
        if (!label->name.p)
            return -ENOMEM;
        if (!json_is_object(value))
            return wrong(r, name, "a label must be an object");
        int e = read_exemplars(r, label, name, json_object_get(value, "exemplars"));
        if (e < 0)
            return e;
    }
    return 0;
}

static void decrefp(json_t **j)
{
    json_decref(*j);
}

int kb_manifest_parse(struct kb_manifest *ret, struct str text, const char *file,
                      const struct kb_manifest_source *source)
{
    const struct read r = { source, file };
    json_error_t error = { .line = 0 };
    *ret = (struct kb_manifest){ NULL, 0 };
    CLEANUP(decrefp)
    json_t *root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        char place[JSON_ERROR_TEXT_LENGTH + 64];
        (void)snprintf(place, sizeof(place), "line %d, column %d: %s", error.line, error.column,
                       error.text);
        return wrong(&r, NULL, place);
    }
    if (!json_is_object(root))
        return wrong(&r, NULL, "the manifest must be an object");
    return read_labels(&r, ret, json_object_get(root, "labels"));
}

/* ---- finding ---- */

/* The first of the places that exists; empty: none. */
static void find(const struct kb_manifest_source *s, char ret[PATH_MAX])
{
    const struct str folder = s->config->engine.knowledge_bases, kbs = STR("knowledge_bases/");
    struct str inner = str_starts(s->path, kbs) ? str_sub(s->path, kbs.n) : s->path;
    const struct str own[] = { s->path, inner };
    char up[3 * MAX_FOLDERS + 1] = "";
    bool absolute = s->path.n && s->path.p[0] == '/';
    for (size_t i = 0; !absolute && folder.n && i < ARRAY_LEN(own); i++) {
        int n = snprintf(ret, PATH_MAX, "%.*s/%.*s/%.*s", STR_ARG(folder), STR_ARG(own[i]),
                         STR_ARG(s->file));
        if (n > 0 && n < PATH_MAX && access(ret, F_OK) == 0)
            return;
    }
    for (size_t i = 0; i <= MAX_FOLDERS; i++) {
        int n = snprintf(ret, PATH_MAX, "%s%s%s%.*s/%.*s", absolute ? "" : s->config->folder,
                         absolute ? "" : "/", up, STR_ARG(s->path), STR_ARG(s->file));
        if (n > 0 && n < PATH_MAX && access(ret, F_OK) == 0)
            return;
        if (absolute)
            break;
        (void)strncat(up, "../", sizeof(up) - strlen(up) - 1);
    }
    ret[0] = '\0';
}

int kb_manifest_load(struct kb_manifest *ret, const struct kb_manifest_source *source)
{
    char path[PATH_MAX];
    char *text = NULL;
    size_t n = 0;
    find(source, path);
    if (!path[0]) {
        (void)node_problem(source->p, PROBLEM_warning, source->at, source->at_path,
                           "'%.*s/%.*s' is neither beside the configuration nor in a folder above "
                           "it (engine.knowledge_bases names another): its signals are unknown",
                           STR_ARG(source->path), STR_ARG(source->file));
        return -ENOTSUP;
    }
    const struct read r = { source, path };
    int e = file_read(&text, &n, path, MANIFEST_BYTES);
    if (e == -ENOMEM)
        return e;
    if (e < 0)
        return wrong(&r, NULL, e == -EFBIG ? "larger than 16 MiB" : strerror(-e));
    e = kb_manifest_parse(ret, (struct str){ text, n }, path, source);
    free(text);
    return e;
}
