#include "router/signals/signals.h"

#include <errno.h>

enum { KIND_user, KIND_group };
static const char *const kinds[] = { "User", "Group", "user", "group", NULL };

struct subject {
    unsigned kind; /* modulo 2 */
    struct str name;
};

struct role_rule {
    struct str name, role, description;
    struct item_list subjects; /* struct subject */
};

static const struct option subject_options[] = {
    OPT_WORD(struct subject, kind, "kind", kinds, OPTION_REQUIRED, "who is meant"),
    OPT_TEXT(struct subject, name, "name", OPTION_REQUIRED, "user id or group"),
    OPT_END,
};

static const struct option options[] = {
    OPT_TEXT(struct role_rule, name, "name", OPTION_REQUIRED, "of the binding"),
    OPT_TEXT(struct role_rule, role, "role", OPTION_REQUIRED, "by which rules refer to it"),
    OPT_TEXT(struct role_rule, description, "description", NULL, "for people"),
    OPT_LIST(struct role_rule, subjects, "subjects", 10000, subject_options, struct subject,
             "who has the role"),
    OPT_END,
};

struct state {
    const struct role_rule *rules;
    size_t n;
};

static int compile(void **ret_state, const struct signal_rules *rules)
{
    const struct role_rule *items = rules->items;
    for (size_t i = 0; i < rules->n; i++)
        if (items[i].subjects.n == 0)
            (void)signal_rule_error(rules, i, NULL, "the binding has no subjects");
    struct state *s = arena_alloc(rules->arena, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct state){ items, rules->n };
    *ret_state = s;
    return 0;
}

static bool in_groups(struct str groups, struct str name)
{
    while (groups.n) {
        struct str one = groups, rest = STR_NULL;
        (void)str_cut(groups, ',', &one, &rest);
        if (str_eq(str_trim(one), name))
            return true;
        groups = rest;
    }
    return false;
}

static bool holds(const struct role_rule *r, const struct route_request *request)
{
    const struct subject *subjects = r->subjects.items;
    for (size_t i = 0; i < r->subjects.n; i++) {
        bool group = subjects[i].kind % 2 == KIND_group;
        if (group ? in_groups(request->user_groups, subjects[i].name)
                  : str_eq(request->user_id, subjects[i].name))
            return true;
    }
    return false;
}

static int evaluate(const void *state, struct signal_view *v, struct signal_value *values)
{
    const struct state *s = state;
    for (size_t i = 0; i < s->n; i++) {
        bool match = holds(&s->rules[i], v->request);
        values[i] = (struct signal_value){ match ? TRUTH_true : TRUTH_false, match, match };
        if (!v->request->identified)
            values[i].value = TRUTH_unknown;
    }
    return 0;
}

static struct str leaf_name(const void *rule)
{
    return ((const struct role_rule *)rule)->role;
}

const struct signal_family family_role_binding = {
    .options = options,
    .rule_size = sizeof(struct role_rule),
    .compile = compile,
    .evaluate = evaluate,
    .leaf_name = leaf_name,
};
