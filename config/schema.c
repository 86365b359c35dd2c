#include "config/schema.h"

#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char option_required[] = "(required)";

enum { PATH_BYTES = 512, MAX_KEYS = 256 };

/* Where a value stands, and where its troubles go. */
struct place {
    const struct node *at;
    const char *path;
    struct arena *arena;
    struct problems *problems;
};

static const char *const kind_needs[] = {
    [OPTION_bool] = "true or false",
    [OPTION_uint] = "a whole number",
    [OPTION_int] = "a whole number",
    [OPTION_float] = "a number",
    [OPTION_text] = "a text",
    [OPTION_bytes] = "a size such as 512MiB",
    [OPTION_duration] = "a duration such as 10s or 250ms",
    [OPTION_word] = "a word",
    [OPTION_texts] = "a list of texts",
    [OPTION_section] = "a map",
    [OPTION_list] = "a list",
    [OPTION_named] = "a map of names",
    [OPTION_node] = "a value",
    [OPTION_ignored] = "a value",
    [OPTION_unserved] = "a value",
    [OPTION_note] = "a text",
};

static int mismatch(const struct place *p, const struct option *o)
{
    static const char *const found[] = { "nothing", "a single value", "a list", "a map" };
    if (p->at->kind == NODE_scalar)
        return node_problem(p->problems, PROBLEM_error, p->at, p->path,
                            "'"
                            "%.*s"
                            "' is not %s",
                            STR_ARG(p->at->scalar), kind_needs[o->kind]);
    return node_problem(p->problems, PROBLEM_error, p->at, p->path, "needs %s, found %s",
                        kind_needs[o->kind], found[p->at->kind]);
}

static int out_of_range(const struct place *p, const struct option *o, struct str text)
{
    return node_problem(p->problems, PROBLEM_error, p->at, p->path, "%.*s is outside %.15g … %.15g",
                        STR_ARG(text), o->min, o->max);
}

static int read_bool(bool *ret, struct str s)
{
    if (str_is(s, "true") || str_is(s, "True") || str_is(s, "yes") || str_is(s, "on"))
        *ret = true;
    else if (str_is(s, "false") || str_is(s, "False") || str_is(s, "no") || str_is(s, "off"))
        *ret = false;
    else
        return -EINVAL;
    return 0;
}

static uint64_t bound(double d)
{
    return d >= 18446744073709551615.0 ? UINT64_MAX : d <= 0 ? 0 : (uint64_t)d;
}

static int64_t signed_bound(double d)
{
    return d >= 9223372036854775807.0    ? INT64_MAX
           : d <= -9223372036854775808.0 ? INT64_MIN
                                         : (int64_t)d;
}

static int read_number(void *member, const struct option *o, struct str s)
{
    switch (o->kind) {
    case OPTION_bool:
        return read_bool(member, s);
    case OPTION_uint:
        return num_parse_u64(member, s, bound(o->min), bound(o->max));
    case OPTION_int:
        return num_parse_i64(member, s, signed_bound(o->min), signed_bound(o->max));
    case OPTION_float:
        return num_parse_double(member, s, o->min, o->max);
    case OPTION_bytes:
        return num_parse_bytes(member, s, bound(o->min), bound(o->max));
    default:
        return num_parse_duration(member, s, bound(o->min), bound(o->max));
    }
}

static int read_word(unsigned *ret, const struct place *p, const struct option *o, struct str s)
{
    size_t n = 0;
    for (; o->words[n]; n++)
        if (str_is(s, o->words[n])) {
            *ret = (unsigned)n;
            return 0;
        }
    char word[64], all[256] = "";
    (void)snprintf(word, sizeof(word), "%.*s", (int)(s.n < 63 ? s.n : 63), s.p);
    size_t used = 0;
    for (size_t i = 0; i < n && used < sizeof(all); i++) {
        int k = snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", o->words[i]);
        used += k > 0 ? (size_t)k : 0;
    }
    const char *near = str_suggest(word, o->words, n);
    return node_problem(p->problems, PROBLEM_error, p->at, p->path, "'%s' is not one of %s%s%s%s",
                        word, all, near ? "; did you mean '" : "", near ? near : "",
                        near ? "'?" : "");
}

/* Replaces each ${NAME} by the environment's value. */
static int expand(struct str *ret, const struct place *p, struct str s)
{
    if (str_find(s, STR("${")) < 0) {
        *ret = s;
        return 0;
    }
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
    while (s.n) {
        ptrdiff_t at = str_find(s, STR("${"));
        struct str before, name, after;
        if (at < 0 || !str_cut(str_sub(s, (size_t)at + 2), '}', &name, &after)) {
            buf_add(&b, s);
            break;
        }
        before = str_head(s, (size_t)at);
        char key[128];
        (void)snprintf(key, sizeof(key), "%.*s", (int)(name.n < 127 ? name.n : 127), name.p);
        const char *value = getenv(key);
        if (!value)
            return node_problem(p->problems, PROBLEM_error, p->at, p->path,
                                "the environment variable %s is not set", key);
        buf_add(&b, before);
        buf_adds(&b, value);
        s = after;
    }
    if (buf_err(&b) < 0)
        return buf_err(&b);
    *ret = arena_str(p->arena, buf_str(&b));
    return ret->p ? 0 : -ENOMEM;
}

static int read_text(struct str *ret, const struct place *p, const struct option *o)
{
    if (p->at->kind == NODE_null)
        return 0;
    struct str s;
    int r = expand(&s, p, p->at->scalar);
    if (r < 0)
        return r;
    if (s.n < bound(o->min) || s.n > bound(o->max))
        return node_problem(p->problems, PROBLEM_error, p->at, p->path,
                            "%zu bytes long; %g to %g are allowed", s.n, o->min, o->max);
    *ret = s;
    return 0;
}

static int read_scalar_option(void *member, const struct place *p, const struct option *o)
{
    bool text = o->kind == OPTION_text;
    if (p->at->kind != NODE_scalar && !(text && p->at->kind == NODE_null))
        return mismatch(p, o);
    if (text)
        return read_text(member, p, o);
    if (o->kind == OPTION_word)
        return read_word(member, p, o, p->at->scalar);
    int r = read_number(member, o, p->at->scalar);
    if (r == -ERANGE)
        return out_of_range(p, o, p->at->scalar);
    return r == -EINVAL ? mismatch(p, o) : r;
}

static int count_ok(const struct place *p, const struct option *o, size_t n)
{
    if ((double)n >= o->min && (double)n <= o->max)
        return 0;
    return node_problem(p->problems, PROBLEM_error, p->at, p->path,
                        "%zu entries; %g to %g are allowed", n, o->min, o->max);
}

static int read_texts(struct text_list *ret, const struct place *p, const struct option *o)
{
    const struct node *list = p->at;
    if (list->kind == NODE_null)
        return 0;
    if (list->kind == NODE_map)
        return mismatch(p, o);
    size_t n = list->kind == NODE_list ? list->n : 1;
    int r = count_ok(p, o, n);
    struct str *items = arena_array(p->arena, n, sizeof(*items));
    if (r < 0 || !items)
        return r < 0 ? r : -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct node *item = list->kind == NODE_list ? list->items[i] : list;
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s[%zu]", p->path, i);
        struct place at = { item, path, p->arena, p->problems };
        static const struct option text = { .kind = OPTION_text, .max = 65536 };
        int k = item->kind == NODE_scalar ? read_text(&items[i], &at, &text) : mismatch(&at, &text);
        r = r < 0 ? r : k;
    }
    *ret = (struct text_list){ items, n };
    return r;
}

static int read_list(struct item_list *ret, const struct place *p, const struct option *o)
{
    enum node_kind wants = o->kind == OPTION_named ? NODE_map : NODE_list;
    const struct node *list = p->at;
    if (list->kind == NODE_null)
        return 0;
    if (list->kind != wants)
        return mismatch(p, o);
    int r = count_ok(p, o, list->n);
    char *items = arena_array(p->arena, list->n, o->item_size);
    if (r < 0 || !items)
        return r < 0 ? r : -ENOMEM;
    for (size_t i = 0; i < list->n; i++) {
        char path[PATH_BYTES];
        void *item = items + i * o->item_size;
        if (o->kind == OPTION_named)
            (void)snprintf(path, sizeof(path), "%s.%.*s", p->path, STR_ARG(list->keys[i]));
        else
            (void)snprintf(path, sizeof(path), "%s[%zu]", p->path, i);
        int k = schema_read(item, o->sub, list->items[i], path, p->arena, p->problems);
        if (o->kind == OPTION_named)
            *(struct str *)item = list->keys[i];
        r = r < 0 ? r : k;
    }
    *ret = (struct item_list){ items, list->n };
    return r;
}

static int read_note(const struct place *p, const struct option *o)
{
    bool text = p->at->kind == NODE_scalar || p->at->kind == NODE_null;
    return text ? 0 : mismatch(p, o);
}

/* A map, or each of a list of them, by a table whose values nobody wants. */
static int check_known(const struct place *p, const struct option *table)
{
    union discarded nobody = { .number = 0 };
    if (p->at->kind != NODE_list)
        return schema_read(&nobody, table, p->at, p->path, p->arena, p->problems);
    int first = 0;
    for (size_t i = 0; i < p->at->n; i++) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s[%zu]", p->path, i);
        int r = schema_read(&nobody, table, p->at->items[i], path, p->arena, p->problems);
        first = first < 0 ? first : r;
    }
    return first;
}

/* `key` is where the key stands. */
static int read_without_effect(const struct place *p, const struct option *o,
                               const struct node *key)
{
    bool off = node_is(node_get(p->at, "enabled"), "false");
    bool why = o->help && o->help[0];
    if (o->kind == OPTION_ignored)
        (void)node_problem(p->problems, PROBLEM_ignored, key, p->path, "has no effect here%s%s",
                           why ? ": " : "", why ? o->help : "");
    else if (!off && p->at->kind != NODE_null)
        (void)node_problem(p->problems, PROBLEM_warning, key, p->path, "is not served yet%s%s",
                           why ? ": " : "", why ? o->help : "");
    return o->sub ? check_known(p, o->sub) : 0;
}

static int read_option(void *member, const struct place *p, const struct option *o)
{
    switch (o->kind) {
    case OPTION_texts:
        return read_texts(member, p, o);
    case OPTION_section:
        return schema_read(member, o->sub, p->at, p->path, p->arena, p->problems);
    case OPTION_list:
    case OPTION_named:
        return read_list(member, p, o);
    case OPTION_node:
        *(const struct node **)member = p->at;
        return 0;
    case OPTION_note:
        return read_note(p, o);
    case OPTION_ignored:
    case OPTION_unserved:
        return read_without_effect(p, o, p->at);
    default:
        return read_scalar_option(member, p, o);
    }
}

static int set_default(char *into, const struct option *o, const struct place *map)
{
    void *member = into + o->offset;
    if (o->def == option_required)
        return node_problem(map->problems, PROBLEM_error, map->at, map->path, "'%s' is missing: %s",
                            o->key, o->help ? o->help : kind_needs[o->kind]);
    if (o->kind == OPTION_ignored || o->kind == OPTION_unserved)
        return 0;
    if (o->kind == OPTION_section)
        return schema_read(member, o->sub, NULL, map->path, map->arena, map->problems);
    if (!o->def)
        return 0;
    struct node text = { .kind = NODE_scalar, .scalar = str_of(o->def), .file = "(default)" };
    struct place p = { &text, map->path, map->arena, map->problems };
    return read_option(member, &p, o);
}

static const struct option *find(const struct option *table, struct str key)
{
    const struct option *any = NULL;
    for (; table->key; table++) {
        if (str_is(key, table->key))
            return table;
        if (strcmp(table->key, "*") == 0)
            any = table;
    }
    return any;
}

static int unknown_key(const struct option *table, const struct place *p, struct str key)
{
    const char *keys[MAX_KEYS];
    size_t n = 0;
    for (const struct option *o = table; o->key && n < MAX_KEYS; o++)
        if (strcmp(o->key, "*") != 0)
            keys[n++] = o->key;
    char word[64], all[384] = "";
    (void)snprintf(word, sizeof(word), "%.*s", (int)(key.n < 63 ? key.n : 63), key.p);
    const char *near = str_suggest(word, keys, n);
    if (near)
        return node_problem(p->problems, PROBLEM_error, p->at, p->path,
                            "unknown key; did you mean '%s'?", near);
    size_t used = 0;
    for (size_t i = 0; i < n && used + 48 < sizeof(all); i++) {
        int k = snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", keys[i]);
        used += k > 0 ? (size_t)k : 0;
    }
    return node_problem(p->problems, PROBLEM_error, p->at, p->path, "unknown key; known here: %s",
                        all);
}

/* Reads the keys that are there; returns the first error. */
static int read_present(char *into, const struct option *table, const struct place *map)
{
    int first = 0;
    for (size_t i = 0; map->at && i < map->at->n; i++) {
        struct str key = map->at->keys[i];
        const struct option *o = find(table, key);
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s%s%.*s", map->path, map->path[0] ? "." : "",
                       STR_ARG(key));
        struct place p = { o ? map->at->items[i] : map->at->key_nodes[i], path, map->arena,
                           map->problems };
        int r = 0;
        if (!o)
            r = unknown_key(table, &p, key);
        else if (o->kind == OPTION_ignored || o->kind == OPTION_unserved)
            r = read_without_effect(&p, o, map->at->key_nodes[i]);
        else
            r = read_option(into + o->offset, &p, o);
        first = first < 0 ? first : r;
    }
    return first;
}

int schema_read(void *into, const struct option *table, const struct node *map, const char *path,
                struct arena *arena, struct problems *p)
{
    if (map && map->kind == NODE_null)
        map = NULL;
    static const struct option a_map = { .kind = OPTION_section };
    struct place place = { map, path, arena, p };
    if (map && map->kind != NODE_map)
        return mismatch(&place, &a_map);
    int first = read_present(into, table, &place);
    for (const struct option *o = table; o->key; o++) {
        bool present = map && node_get(map, o->key);
        int r = present ? 0 : set_default(into, o, &place);
        first = first < 0 ? first : r;
    }
    return first;
}

static void print_row(const struct option *o, unsigned indent, struct buf *b)
{
    buf_addf(b, "%*s# %s", (int)indent, "", o->help);
    if (o->kind == OPTION_uint || o->kind == OPTION_int || o->kind == OPTION_float)
        buf_addf(b, " (%.15g … %.15g)", o->min, o->max);
    for (size_t i = 0; o->kind == OPTION_word && o->words[i]; i++)
        buf_addf(b, "%s%s", i ? " | " : " (", o->words[i]);
    buf_adds(b, o->kind == OPTION_word ? ")\n" : "\n");
    buf_addf(b, "%*s%s:", (int)indent, "", o->key);
    if (o->def == option_required)
        buf_adds(b, " # required");
    else if (o->def)
        buf_addf(b, " %s", o->def[0] ? o->def : "\"\"");
    else if (o->kind == OPTION_texts || o->kind == OPTION_list)
        buf_adds(b, o->kind == OPTION_texts ? " []" : "");
    buf_addc(b, '\n');
}

void schema_print(const struct option *table, unsigned indent, struct buf *b)
{
    for (const struct option *o = table; o->key; o++) {
        if (o->kind == OPTION_ignored || o->kind == OPTION_unserved || !o->help)
            continue;
        print_row(o, indent, b);
        if (o->kind == OPTION_section)
            schema_print(o->sub, indent + 2, b);
        if (o->kind == OPTION_list) {
            buf_addf(b, "%*s-\n", (int)indent + 2, "");
            schema_print(o->sub, indent + 4, b);
        }
    }
}
