#include "router/signals/signals.h"

#include <errno.h>

struct test {
    const struct node *equals; /* a scalar */
    struct text_list in;
    const struct node *exists;
};

struct metadata_rule {
    struct str name, description, key;
    struct test predicate;
    bool must_exist; /* of exists: which way */
};

static const struct option test_options[] = {
    OPT_NODE(struct test, equals, "equals", "the value"),
    OPT_TEXTS(struct test, in, "in", 1000, "one of these values"),
    OPT_NODE(struct test, exists, "exists", "whether the key is there"),
    OPT_END,
};

static const struct option options[] = {
    OPT_TEXT(struct metadata_rule, name, "name", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct metadata_rule, description, "description", NULL, "for people"),
    OPT_TEXT(struct metadata_rule, key, "key", OPTION_REQUIRED, "of the request's metadata"),
    OPT_SECTION(struct metadata_rule, predicate, "predicate", test_options,
                "exactly one of equals, in, exists"),
    OPT_END,
};

struct state {
    const struct metadata_rule *rules;
    size_t n;
};

static int compile(void **ret_state, const struct signal_rules *rules)
{
    struct metadata_rule *items = rules->items;
    for (size_t i = 0; i < rules->n; i++) {
        struct test *t = &items[i].predicate;
        int given = (t->equals != NULL) + (t->in.n > 0) + (t->exists != NULL);
        if (given != 1)
            (void)signal_rule_error(rules, i, "predicate",
                                    "needs exactly one of equals, in and exists");
        else if (t->equals && t->equals->kind != NODE_scalar)
            (void)signal_rule_error(rules, i, "predicate", "equals needs a single value");
        else if (t->exists && !node_is(t->exists, "true") && !node_is(t->exists, "false"))
            (void)signal_rule_error(rules, i, "predicate", "exists is true or false");
        items[i].must_exist = t->exists && node_is(t->exists, "true");
    }
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct state){ items, rules->n };
    *ret_state = s;
    return 0;
}

static const struct str *find(const struct chat_request *chat, struct str key)
{
    for (size_t i = 0; i < chat->n_metadata; i++)
        if (str_eq(chat->metadata[i].key, key))
            return &chat->metadata[i].value;
    return NULL;
}

static bool holds(const struct metadata_rule *r, const struct str *value)
{
    const struct test *t = &r->predicate;
    if (t->exists)
        return (value != NULL) == r->must_exist;
    if (!value)
        return false;
    if (t->equals)
        return str_eq(*value, t->equals->scalar);
    for (size_t i = 0; i < t->in.n; i++)
        if (str_eq(*value, t->in.items[i]))
            return true;
    return false;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    for (size_t i = 0; i < s->n; i++) {
        bool match = holds(&s->rules[i], find(v->chat, s->rules[i].key));
        values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false, match, match };
    }
    return 0;
}

const struct signal_family family_metadata = {
    .options = options,
    .rule_size = sizeof(struct metadata_rule),
    .compile = compile,
    .evaluate = evaluate,
};
