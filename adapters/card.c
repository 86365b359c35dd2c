#include "adapters/card.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "adapters/head.h"
#include "base/num.h"

#define CARD_ARENA (4 * MIB)

static const char *const own_keys[] = { "name",          "base",    "description",   "examples",
                                        "revisions",     "aliases", "canary_weight", "canary_salt",
                                        "shadow_weight", "epoch" };

static bool is_own(struct str key)
{
    for (size_t i = 0; i < ARRAY_LEN(own_keys); i++)
        if (str_is(key, own_keys[i]))
            return true;
    return false;
}

/* ---- reading ---- */

static int read_text(const struct node *root, const char *key, struct str *ret, struct problems *p)
{
    const struct node *n = node_get(root, key);
    if (!n || n->kind == NODE_null)
        return 0;
    if (n->kind != NODE_scalar)
        return node_problem(p, PROBLEM_error, n, key, "is text");
    *ret = n->scalar;
    return 0;
}

static int read_examples(struct card *c, const struct node *root, struct problems *p)
{
    const struct node *n = node_get(root, "examples");
    if (!n || n->kind == NODE_null)
        return 0;
    if (n->kind != NODE_list)
        return node_problem(p, PROBLEM_error, n, "examples", "is a list of texts");
    struct str *items = arena_array(c->arena, n->n ? n->n : 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < n->n; i++) {
        if (n->items[i]->kind != NODE_scalar)
            return node_problem(p, PROBLEM_error, n->items[i], "examples", "is a list of texts");
        items[i] = n->items[i]->scalar;
    }
    c->examples = items;
    c->n_examples = n->n;
    return 0;
}

static int read_ordinal(uint64_t *ret, const struct node *n, const char *path, struct problems *p)
{
    if (n->kind != NODE_scalar || num_parse_u64(ret, n->scalar, 1, INT32_MAX) < 0)
        return node_problem(p, PROBLEM_error, n, path, "is the number of a revision, from 1");
    return 0;
}

static bool has_revision(const struct card *c, uint64_t ordinal)
{
    for (size_t i = 0; i < c->n_revisions; i++)
        if (c->revisions[i] == ordinal)
            return true;
    return false;
}

static int read_revisions(struct card *c, const struct node *root, struct problems *p)
{
    const struct node *n = node_get(root, "revisions");
    if (!n || n->kind == NODE_null)
        return 0;
    if (n->kind != NODE_list || n->n > LIMIT_REVISIONS)
        return node_problem(p, PROBLEM_error, n, "revisions", "is a list of at most %d numbers",
                            LIMIT_REVISIONS);
    for (size_t i = 0; i < n->n; i++) {
        uint64_t ordinal = 0;
        int r = read_ordinal(&ordinal, n->items[i], "revisions", p);
        if (r < 0)
            return r;
        if (has_revision(c, ordinal))
            return node_problem(p, PROBLEM_error, n->items[i], "revisions",
                                "names %" PRIu64 " twice", ordinal);
        c->revisions[c->n_revisions++] = ordinal;
    }
    return 0;
}

static int read_aliases(struct card *c, const struct node *root, struct problems *p)
{
    const struct node *n = node_get(root, "aliases");
    if (!n || n->kind == NODE_null)
        return 0;
    if (n->kind != NODE_map || n->n > LIMIT_ALIASES)
        return node_problem(p, PROBLEM_error, n, "aliases",
                            "is a map of at most %d names to revisions", LIMIT_ALIASES);
    for (size_t i = 0; i < n->n; i++) {
        struct card_alias *a = &c->aliases[c->n_aliases];
        struct fail f;
        if (alias_name_check(n->keys[i], &f) != 0)
            return node_problem(p, PROBLEM_error, n->key_nodes[i], "aliases", "%s", f.message);
        int r = read_ordinal(&a->ordinal, n->items[i], "aliases", p);
        if (r < 0)
            return r;
        if (!has_revision(c, a->ordinal))
            return node_problem(p, PROBLEM_error, n->items[i], "aliases",
                                "names revision %" PRIu64 ", which is not under revisions",
                                a->ordinal);
        a->name = n->keys[i];
        c->n_aliases++;
    }
    return 0;
}

static int read_number(const struct node *root, const char *key, uint64_t max, uint64_t *ret,
                       struct problems *p)
{
    const struct node *n = node_get(root, key);
    *ret = 0;
    if (!n || n->kind == NODE_null ||
        (n->kind == NODE_scalar && num_parse_u64(ret, n->scalar, 0, max) == 0))
        return 0;
    return node_problem(p, PROBLEM_error, n, key, "is a number from 0 to %" PRIu64, max);
}

static int read_numbers(struct card *c, const struct node *root, struct problems *p)
{
    uint64_t canary, shadow;
    int r;
    if ((r = read_number(root, "epoch", INT64_MAX, &c->epoch, p)) < 0 ||
        (r = read_number(root, "canary_salt", INT64_MAX, &c->canary_salt, p)) < 0 ||
        (r = read_number(root, "canary_weight", CANARY_WHOLE, &canary, p)) < 0 ||
        (r = read_number(root, "shadow_weight", CANARY_WHOLE, &shadow, p)) < 0)
        return r;
    c->canary_weight = (uint32_t)canary;
    c->shadow_weight = (uint32_t)shadow;
    return 0;
}

static int read_card(struct card *c, const struct node *root, struct problems *p)
{
    struct fail f;
    int r;
    if (root->kind != NODE_map)
        return node_problem(p, PROBLEM_error, root, "", "is a map with name, base and revisions");
    if ((r = read_text(root, "name", &c->name, p)) < 0 ||
        (r = read_text(root, "base", &c->base, p)) < 0 ||
        (r = read_text(root, "description", &c->description, p)) < 0 ||
        (r = read_examples(c, root, p)) < 0 || (r = read_revisions(c, root, p)) < 0 ||
        (r = read_aliases(c, root, p)) < 0 || (r = read_numbers(c, root, p)) < 0)
        return r;
    if (adapter_name_check(c->name, &f) != 0)
        return node_problem(p, PROBLEM_error, root, "name", "%s", f.message);
    if (base_name_check(c->base, &f) != 0)
        return node_problem(p, PROBLEM_error, root, "base", "%s", f.message);
    for (size_t i = 0; i < root->n; i++)
        if (!is_own(root->keys[i]))
            (void)node_problem(p, PROBLEM_ignored, root->key_nodes[i], root->keys[i].p,
                               "is not a key of an adapter's card");
    return 0;
}

struct card *card_free(struct card *c)
{
    if (!c)
        return NULL;
    (void)document_free(c->document);
    (void)arena_free(c->arena);
    free(c);
    return NULL;
}

int card_new(struct card **ret, struct str name, struct str base)
{
    CLEANUP(card_freep) struct card *c = calloc(1, sizeof(*c));
    if (!c || !(c->arena = arena_new(CARD_ARENA)))
        return -ENOMEM;
    c->name = arena_str(c->arena, name);
    c->base = arena_str(c->arena, base);
    if (!c->name.p || !c->base.p)
        return -ENOMEM;
    *ret = TAKE(c);
    return 0;
}

/* The document moves to the card. */
static int card_of(struct card **ret, struct document *document, struct problems *p)
{
    CLEANUP(card_freep) struct card *c = calloc(1, sizeof(*c));
    if (!c || !(c->arena = arena_new(CARD_ARENA))) {
        (void)document_free(document);
        return -ENOMEM;
    }
    c->document = document;
    int r = read_card(c, document_root(document), p);
    if (r == 0)
        *ret = TAKE(c);
    return r;
}

int card_load(struct card **ret, const char *path, struct problems *p)
{
    struct document *document;
    int r = document_load(&document, path, p);
    return r < 0 ? r : card_of(ret, document, p);
}

int card_parse(struct card **ret, const char *file, struct str text, struct problems *p)
{
    struct document *document;
    int r = document_parse(&document, file, text, p);
    return r < 0 ? r : card_of(ret, document, p);
}

/* ---- changing and writing ---- */

struct card_alias *card_alias(struct card *c, struct str name)
{
    for (size_t i = 0; i < c->n_aliases; i++)
        if (str_eq(c->aliases[i].name, name))
            return &c->aliases[i];
    return NULL;
}

int card_set_alias(struct card *c, struct str name, uint64_t ordinal, struct fail *reterr)
{
    struct card_alias *a = card_alias(c, name);
    if (!a && c->n_aliases == LIMIT_ALIASES)
        return fail_param(reterr, FAIL_conflict, "alias", "adapter '%.100s' has %d aliases already",
                          c->name.p, LIMIT_ALIASES);
    if (!a) {
        a = &c->aliases[c->n_aliases];
        a->name = arena_str(c->arena, name);
        if (!a->name.p)
            return -ENOMEM;
        c->n_aliases++;
    }
    a->ordinal = ordinal;
    return 0;
}

void card_drop_alias(struct card *c, struct str name)
{
    struct card_alias *a = card_alias(c, name);
    if (!a)
        return;
    size_t at = (size_t)(a - c->aliases);
    memmove(a, a + 1, (c->n_aliases - at - 1) * sizeof(*a));
    c->n_aliases--;
}

/* A number or a word: safe without quotes. */
static bool plain_scalar(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z') && c != '.' &&
            c != '+' && (c != '-' || s.n == 1))
            return false;
    }
    return s.n > 0;
}

/* A value that is not ours, in YAML's flow style. A plain scalar keeps its type only unquoted. */
static void print_node(const struct node *n, struct buf *b)
{
    if (n->kind == NODE_null)
        buf_adds(b, "null");
    if (n->kind == NODE_scalar && !n->quoted && plain_scalar(n->scalar))
        buf_add(b, n->scalar);
    else if (n->kind == NODE_scalar)
        buf_add_json(b, n->scalar);
    if (n->kind != NODE_list && n->kind != NODE_map)
        return;
    buf_addc(b, n->keys ? '{' : '[');
    for (size_t i = 0; i < n->n; i++) {
        buf_adds(b, i ? ", " : "");
        if (n->keys) {
            buf_add_json(b, n->keys[i]);
            buf_adds(b, ": ");
        }
        print_node(n->items[i], b);
    }
    buf_addc(b, n->keys ? '}' : ']');
}

static void print_foreign(const struct node *root, struct buf *b)
{
    for (size_t i = 0; i < root->n; i++)
        if (!is_own(root->keys[i])) {
            buf_add_json(b, root->keys[i]);
            buf_adds(b, ": ");
            print_node(root->items[i], b);
            buf_addc(b, '\n');
        }
}

void card_print(const struct card *c, struct buf *b)
{
    buf_adds(b, "name: ");
    buf_add_json(b, c->name);
    buf_adds(b, "\nbase: ");
    buf_add_json(b, c->base);
    buf_adds(b, "\ndescription: ");
    buf_add_json(b, c->description);
    buf_adds(b, c->n_examples ? "\nexamples:\n" : "\nexamples: []\n");
    for (size_t i = 0; i < c->n_examples; i++) {
        buf_adds(b, "  - ");
        buf_add_json(b, c->examples[i]);
        buf_addc(b, '\n');
    }
    buf_adds(b, "revisions: [");
    for (size_t i = 0; i < c->n_revisions; i++)
        buf_addf(b, "%s%" PRIu64, i ? ", " : "", c->revisions[i]);
    buf_adds(b, "]\naliases: {");
    for (size_t i = 0; i < c->n_aliases; i++)
        buf_addf(b, "%s%s: %" PRIu64, i ? ", " : "", c->aliases[i].name.p, c->aliases[i].ordinal);
    buf_adds(b, "}\n");
    if (c->canary_weight)
        buf_addf(b, "canary_weight: %u\ncanary_salt: %" PRIu64 "\n", c->canary_weight,
                 c->canary_salt);
    if (c->shadow_weight)
        buf_addf(b, "shadow_weight: %u\n", c->shadow_weight);
    if (c->epoch)
        buf_addf(b, "epoch: %" PRIu64 "\n", c->epoch);
    if (c->document)
        print_foreign(document_root(c->document), b);
}
