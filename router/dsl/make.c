#include "router/dsl/make.h"

static struct node *new_node(struct maker *m, enum node_kind kind, struct dsl_place at)
{
    struct node *n = arena_alloc(m->arena, sizeof(*n));
    if (!n) {
        m->no_memory = true;
        return NULL;
    }
    n->kind = kind;
    n->file = m->file;
    n->line = at.line;
    n->column = at.column;
    return n;
}

const struct node *dsl_make_plain(struct maker *m, struct dsl_place at, struct str text)
{
    struct node *n = new_node(m, NODE_scalar, at);
    if (!n)
        return NULL;
    n->scalar = arena_str(m->arena, text);
    m->no_memory = m->no_memory || !n->scalar.p;
    return n->scalar.p ? n : NULL;
}

const struct node *dsl_make_text(struct maker *m, struct dsl_place at, struct str text)
{
    struct node *n = (struct node *)dsl_make_plain(m, at, text);
    if (n)
        n->quoted = true;
    return n;
}

static void *grown(struct maker *m, const void *old, size_t n, size_t cap, size_t size)
{
    void *p = arena_array(m->arena, cap, size);
    if (p && n)
        memcpy(p, old, n * size);
    m->no_memory = m->no_memory || !p;
    return p;
}

static bool grow(struct maker *m, struct items *to)
{
    enum { FIRST = 8 };
    if (to->n < to->cap)
        return true;
    size_t cap = to->cap ? 2 * to->cap : FIRST;
    to->items = grown(m, to->items, to->n, cap, sizeof(*to->items));
    to->keys = grown(m, to->keys, to->n, cap, sizeof(*to->keys));
    to->key_nodes = grown(m, to->key_nodes, to->n, cap, sizeof(*to->key_nodes));
    to->cap = m->no_memory ? 0 : cap;
    to->n = m->no_memory ? 0 : to->n;
    return !m->no_memory;
}

void dsl_make_add(struct maker *m, struct items *to, const struct node *item)
{
    if (item && grow(m, to))
        to->items[to->n++] = item;
}

static void add_pair(struct maker *m, struct items *to, struct str key, struct dsl_place at,
                     const struct node *item)
{
    const struct node *key_node = dsl_make_text(m, at, key);
    if (!item || !key_node || !grow(m, to))
        return;
    to->items[to->n] = item;
    to->key_nodes[to->n] = key_node;
    to->keys[to->n++] = key_node->scalar;
}

void dsl_make_pair(struct maker *m, struct items *to, const char *key, struct dsl_place at,
                   const struct node *item)
{
    add_pair(m, to, str_of(key), at, item);
}

void dsl_make_field(struct maker *m, struct items *to, const struct dsl_value *field)
{
    add_pair(m, to, field->key, field->key_at, dsl_make_value(m, field));
}

void dsl_make_fields(struct maker *m, struct items *to, const struct dsl_value *map)
{
    for (const struct dsl_value *f = map->first; f; f = f->next)
        dsl_make_field(m, to, f);
}

const struct node *dsl_make_list(struct maker *m, struct dsl_place at, const struct items *items)
{
    struct node *n = new_node(m, NODE_list, at);
    if (n && items->n) { /* better than where the block around it begins */
        n->line = items->items[0]->line;
        n->column = items->items[0]->column;
    }
    if (n) {
        n->items = items->items;
        n->n = items->n;
    }
    return n;
}

const struct node *dsl_make_map(struct maker *m, struct dsl_place at, const struct items *items)
{
    struct node *n = new_node(m, NODE_map, at);
    if (n) {
        n->items = items->items;
        n->keys = items->keys;
        n->key_nodes = items->key_nodes;
        n->n = items->n;
    }
    return n;
}

const struct node *dsl_make_value(struct maker *m, const struct dsl_value *v)
{
    struct items items = { 0 };
    switch (v->kind) {
    case DSL_text:
    case DSL_word:
        return dsl_make_text(m, v->at, v->text);
    case DSL_number:
    case DSL_bool:
        return dsl_make_plain(m, v->at, v->text);
    case DSL_list:
        for (const struct dsl_value *c = v->first; c; c = c->next)
            dsl_make_add(m, &items, dsl_make_value(m, c));
        return dsl_make_list(m, v->at, &items);
    default:
        dsl_make_fields(m, &items, v);
        return dsl_make_map(m, v->at, &items);
    }
}
