#include "config/node.h"

#include "base/file.h"
#include "base/limits.h"

#include <errno.h>
#include <stdlib.h>

#include <yaml.h>

struct document {
    struct arena *arena;
    const struct node *root;
    const char *file;
};

struct anchor {
    struct anchor *next;
    const char *name;
    const struct node *node;
    size_t weight; /* nodes below it, itself included */
};

/* The state of one parse. */
struct reader {
    yaml_parser_t parser;
    struct document *doc;
    struct problems *problems;
    struct anchor *anchors;
    size_t nodes; /* counted with every alias expanded */
};

struct pending { /* a collection while its end is not known */
    const struct node **items;
    const struct node **keys;
    size_t n, cap;
};

struct document *document_free(struct document *d)
{
    if (d)
        arena_free(d->arena);
    free(d);
    return NULL;
}

const struct node *document_root(const struct document *d)
{
    return d->root;
}

static struct node *node_new(struct reader *r, enum node_kind kind, const yaml_mark_t *at)
{
    struct node *n = arena_alloc(r->doc->arena, sizeof(*n));
    if (!n)
        return NULL;
    n->kind = kind;
    n->file = r->doc->file;
    n->line = (unsigned)at->line + 1;
    n->column = (unsigned)at->column + 1;
    return n;
}

static int refuse(struct reader *r, const yaml_mark_t *at, const char *text)
{
    struct node where = { .file = r->doc->file,
                          .line = (unsigned)at->line + 1,
                          .column = (unsigned)at->column + 1 };
    return node_problem(r->problems, PROBLEM_error, &where, "", "%s", text);
}

static int next_event(struct reader *r, yaml_event_t *ret)
{
    if (yaml_parser_parse(&r->parser, ret))
        return 0;
    const char *what = r->parser.problem ? r->parser.problem : "this is not YAML";
    yaml_mark_t at = r->parser.problem_mark;
    if (r->parser.error == YAML_READER_ERROR) { /* the mark is unset: bytes that are no UTF-8 */
        return node_problem(r->problems, PROBLEM_error, &(struct node){ .file = r->doc->file }, "",
                            "byte %zu: %s; save the file as UTF-8", r->parser.problem_offset, what);
    }
    return refuse(r, &at, what);
}

static int remember_anchor(struct reader *r, const yaml_char_t *name, const struct node *n,
                           size_t weight)
{
    if (!name)
        return 0;
    struct anchor *a = arena_alloc(r->doc->arena, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->name = arena_cstr(r->doc->arena, str_of((const char *)name));
    a->node = n;
    a->weight = weight;
    a->next = r->anchors;
    r->anchors = a;
    return a->name ? 0 : -ENOMEM;
}

static int count_nodes(struct reader *r, size_t n, const yaml_mark_t *at)
{
    r->nodes += n;
    if (r->nodes > LIMIT_YAML_NODES)
        return refuse(r, at, "too many values once aliases are expanded; the limit is 1000000");
    return 0;
}

static int read_alias(struct reader *r, const yaml_event_t *e, const struct node **ret)
{
    for (const struct anchor *a = r->anchors; a; a = a->next)
        if (strcmp(a->name, (const char *)e->data.alias.anchor) == 0) {
            *ret = a->node;
            return count_nodes(r, a->weight, &e->start_mark);
        }
    return refuse(r, &e->start_mark, "alias of an anchor that was not defined before it");
}

static bool spells_null(struct str s)
{
    return s.n == 0 || str_is(s, "~") || str_is(s, "null") || str_is(s, "Null") ||
           str_is(s, "NULL");
}

static int read_scalar(struct reader *r, const yaml_event_t *e, const struct node **ret)
{
    struct node *n = node_new(r, NODE_scalar, &e->start_mark);
    if (!n)
        return -ENOMEM;
    struct str text = { (const char *)e->data.scalar.value, e->data.scalar.length };
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!n->quoted && spells_null(text))
        n->kind = NODE_null;
    if (text.n && memchr(text.p, '\0', text.n))
        return refuse(r, &e->start_mark, "a text may not contain a NUL character");
    n->scalar = arena_str(r->doc->arena, text);
    if (!n->scalar.p)
        return -ENOMEM;
    *ret = n;
    int k = count_nodes(r, 1, &e->start_mark);
    return k < 0 ? k : remember_anchor(r, e->data.scalar.anchor, n, 1);
}

static int pending_add(struct pending *p, const struct node *key, const struct node *item)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 8;
        const struct node **items = realloc(p->items, cap * sizeof(*items));
        if (items)
            p->items = items;
        const struct node **keys = realloc(p->keys, cap * sizeof(*keys));
        if (keys)
            p->keys = keys;
        if (!items || !keys)
            return -ENOMEM;
        p->cap = cap;
    }
    p->keys[p->n] = key;
    p->items[p->n++] = item;
    return 0;
}

static void pending_done(struct pending *p)
{
    free(p->items);
    free(p->keys);
}

static bool pending_has(const struct pending *p, struct str key)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_eq(p->keys[i]->scalar, key))
            return true;
    return false;
}

/* "<<: *defaults" (YAML merge key): adds the pairs that the map does not have itself. */
static int merge(struct reader *r, struct pending *p, const struct node *from)
{
    size_t sources = from->kind == NODE_list ? from->n : 1;
    for (size_t s = 0; s < sources; s++) {
        const struct node *map = from->kind == NODE_list ? from->items[s] : from;
        if (map->kind != NODE_map)
            return node_problem(r->problems, PROBLEM_error, from, "<<",
                                "a merge key takes a map or a list of maps");
        for (size_t i = 0; i < map->n; i++)
            if (!pending_has(p, map->keys[i]) &&
                pending_add(p, map->key_nodes[i], map->items[i]) < 0)
                return -ENOMEM;
    }
    return 0;
}

static int seal(struct reader *r, struct node *n, const struct pending *p)
{
    struct arena *a = r->doc->arena;
    const struct node **items = arena_array(a, p->n, sizeof(*items));
    if (!items)
        return -ENOMEM;
    if (p->n)
        memcpy(items, p->items, p->n * sizeof(*items));
    n->items = items;
    n->n = p->n;
    if (n->kind != NODE_map)
        return 0;
    struct str *keys = arena_array(a, p->n, sizeof(*keys));
    const struct node **key_nodes = arena_array(a, p->n, sizeof(*key_nodes));
    if (!keys || !key_nodes)
        return -ENOMEM;
    for (size_t i = 0; i < p->n; i++) {
        keys[i] = p->keys[i]->scalar;
        key_nodes[i] = p->keys[i];
    }
    n->keys = keys;
    n->key_nodes = key_nodes;
    return 0;
}

static int read_value(struct reader *r, const yaml_event_t *e, unsigned depth,
                      const struct node **ret);

static int read_item(struct reader *r, yaml_event_type_t end, unsigned depth,
                     const struct node **ret, bool *ret_end)
{
    yaml_event_t e;
    int k = next_event(r, &e);
    if (k < 0)
        return k;
    *ret_end = e.type == end;
    if (!*ret_end)
        k = read_value(r, &e, depth + 1, ret);
    yaml_event_delete(&e);
    return k;
}

static int add_pair(struct reader *r, struct pending *p, const struct node *key,
                    const struct node *value)
{
    if (key->kind == NODE_list || key->kind == NODE_map)
        return node_problem(r->problems, PROBLEM_error, key, "", "a key must be a plain text");
    if (!key->quoted && node_is(key, "<<"))
        return merge(r, p, value);
    /* Large maps come only from generated files; the scan keeps small ones simple. */
    if (p->n < 4096 && pending_has(p, key->scalar))
        return node_problem(r->problems, PROBLEM_error, key, key->scalar.p,
                            "this key stands twice in the same map; keep one");
    return pending_add(p, key, value);
}

static int read_collection(struct reader *r, struct node *n, unsigned depth, struct pending *p)
{
    yaml_event_type_t end = n->kind == NODE_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        const struct node *key = NULL, *item = NULL;
        bool over = false;
        int k = read_item(r, end, depth, n->kind == NODE_map ? &key : &item, &over);
        if (k < 0 || over)
            return k;
        if (n->kind == NODE_list) {
            k = pending_add(p, item, item);
        } else {
            k = read_item(r, YAML_NO_EVENT, depth, &item, &over);
            if (k == 0)
                k = add_pair(r, p, key, item);
        }
        if (k < 0)
            return k;
    }
}

static int read_nested(struct reader *r, const yaml_event_t *e, unsigned depth,
                       const struct node **ret)
{
    bool map = e->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *anchor = map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    if (depth > LIMIT_YAML_DEPTH)
        return refuse(r, &e->start_mark, "nested too deeply; the limit is 64 levels");
    struct node *n = node_new(r, map ? NODE_map : NODE_list, &e->start_mark);
    if (!n)
        return -ENOMEM;
    size_t before = r->nodes;
    struct pending p = { 0 };
    int k = count_nodes(r, 1, &e->start_mark);
    if (k == 0)
        k = read_collection(r, n, depth, &p);
    if (k == 0)
        k = seal(r, n, &p);
    pending_done(&p);
    if (k < 0)
        return k;
    *ret = n;
    return remember_anchor(r, anchor, n, r->nodes - before);
}

static int read_value(struct reader *r, const yaml_event_t *e, unsigned depth,
                      const struct node **ret)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return read_alias(r, e, ret);
    case YAML_SCALAR_EVENT:
        return read_scalar(r, e, ret);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return read_nested(r, e, depth, ret);
    default:
        return refuse(r, &e->start_mark, "a value is missing here");
    }
}

/* Stream start, document start, root, document end, stream end; an empty file has an empty map as
 * its root. */
static int read_stream(struct reader *r)
{
    static const struct node empty = { .kind = NODE_map, .line = 1, .column = 1 };
    r->doc->root = &empty;
    for (unsigned documents = 0;;) {
        yaml_event_t e;
        int k = next_event(r, &e);
        if (k < 0)
            return k;
        yaml_event_type_t type = e.type;
        if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
            k = refuse(r, &e.start_mark,
                       "a second document ('---'); one file holds one configuration");
        else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                 type == YAML_MAPPING_START_EVENT || type == YAML_ALIAS_EVENT)
            k = read_value(r, &e, 0, &r->doc->root);
        yaml_event_delete(&e);
        if (k < 0 || type == YAML_STREAM_END_EVENT)
            return k;
    }
}

int document_parse(struct document **ret, const char *file, struct str text, struct problems *p)
{
    CLEANUP(document_freep) struct document *doc = calloc(1, sizeof(*doc));
    if (!doc)
        return -ENOMEM;
    doc->arena = arena_new(1 * GIB);
    doc->file = doc->arena ? arena_cstr(doc->arena, str_of(file)) : NULL;
    if (!doc->file)
        return -ENOMEM;
    if (text.n > LIMIT_YAML_BYTES)
        return node_problem(p, PROBLEM_error, &(struct node){ .file = file }, "",
                            "%zu bytes; a configuration may have at most %lu", text.n,
                            LIMIT_YAML_BYTES);
    struct reader r = { .doc = doc, .problems = p };
    if (!yaml_parser_initialize(&r.parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    int k = read_stream(&r);
    yaml_parser_delete(&r.parser);
    if (k < 0)
        return k;
    *ret = TAKE(doc);
    return 0;
}

int document_wrap(struct document **ret, const char *file, const struct node *root)
{
    CLEANUP(document_freep) struct document *doc = calloc(1, sizeof(*doc));
    if (!doc)
        return -ENOMEM;
    doc->arena = arena_new(1 * GIB);
    doc->file = doc->arena ? arena_cstr(doc->arena, str_of(file)) : NULL;
    if (!doc->file)
        return -ENOMEM;
    doc->root = root;
    *ret = TAKE(doc);
    return 0;
}

int document_load(struct document **ret, const char *path, struct problems *p)
{
    CLEANUP(own_free) char *text = NULL;
    size_t n = 0;
    int r = file_read(&text, &n, path, LIMIT_YAML_BYTES);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return node_problem(p, PROBLEM_error, &(struct node){ .file = path }, "",
                            "cannot read it: %s", strerror(-r));
    return document_parse(ret, path, (struct str){ text, n }, p);
}

const struct node *node_get(const struct node *map, const char *key)
{
    if (!map || map->kind != NODE_map)
        return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (str_is(map->keys[i], key))
            return map->items[i];
    return NULL;
}

const struct node *node_at(const struct node *list, size_t i)
{
    return list && list->kind == NODE_list && i < list->n ? list->items[i] : NULL;
}

bool node_equal(const struct node *a, const struct node *b)
{
    if (!a || !b || a->kind != b->kind || a->n != b->n)
        return a == b;
    if (a->kind == NODE_scalar)
        return a->quoted == b->quoted && str_eq(a->scalar, b->scalar);
    for (size_t i = 0; i < a->n; i++)
        if ((a->keys && !str_eq(a->keys[i], b->keys[i])) || !node_equal(a->items[i], b->items[i]))
            return false;
    return true;
}

bool node_is(const struct node *n, const char *scalar)
{
    return n && n->kind == NODE_scalar && str_is(n->scalar, scalar);
}
