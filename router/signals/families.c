#include "router/signals/signals.h"

#include "router/signals/unicode.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define FAMILY_POINTER(name, key, type, help) [FAMILY_##name] = &family_##name,
const struct signal_family *const signal_families[FAMILY_N] = { SIGNAL_FAMILIES(FAMILY_POINTER) };

#define FAMILY_KEY(name, key, type, help) [FAMILY_##name] = (key),
const char *const signal_keys[FAMILY_N] = { SIGNAL_FAMILIES(FAMILY_KEY) };

#define FAMILY_TYPE(name, key, type, help) [FAMILY_##name] = (type),
const char *const signal_types[FAMILY_N] = { SIGNAL_FAMILIES(FAMILY_TYPE) };

#define FAMILY_HELP(name, key, type, help) [FAMILY_##name] = (help),
const char *const signal_helps[FAMILY_N] = { SIGNAL_FAMILIES(FAMILY_HELP) };

int signal_family_of(struct str type)
{
    for (int i = 0; i < FAMILY_N; i++)
        if (str_is(type, signal_types[i]))
            return i;
    return -1;
}

int signal_rule_error(const struct signal_rules *rules, size_t i, const char *key, const char *fmt,
                      ...)
{
    assert(fmt); /* with it, gcc sees under UBSan that no caller's format is null */
    const struct node *rule = node_at(rules->list, i);
    const struct node *at = key && rule ? node_get(rule, key) : NULL;
    char path[256], text[512];
    (void)snprintf(path, sizeof(path), "%s[%zu]%s%s", rules->path, i, at ? "." : "", at ? key : "");
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return node_problem(rules->p, PROBLEM_error, at ? at : rule, path, "%s", text);
}

/* ---- the view ---- */

static struct str user_turn(const struct chat_request *chat)
{
    if (chat->is_completion)
        return chat->prompt;
    for (size_t i = chat->n_messages; i-- > 0;)
        if (str_is(chat->messages[i].role, "user"))
            return chat->messages[i].content;
    return STR_NULL;
}

int signal_view_init(struct signal_view *ret, const struct route_request *request,
                     struct arena *arena)
{
    struct str text = unicode_valid_text(user_turn(request->chat), arena);
    if (!text.p)
        return -ENOMEM;
    *ret = (struct signal_view){
        .request = request,
        .chat = request->chat,
        .text = text,
        .arena = arena,
    };
    return 0;
}

int signal_folded(struct signal_view *v)
{
    if (!v->folded.p)
        v->folded = unicode_fold_text(v->text, v->arena);
    return v->folded.p ? 0 : -ENOMEM;
}

/* ---- predicates ---- */

const struct option predicate_options[] = {
    OPT_FLOAT(struct predicate, gt, "gt", -1e300, 1e300, NULL, "greater than"),
    OPT_FLOAT(struct predicate, gte, "gte", -1e300, 1e300, NULL, "at least"),
    OPT_FLOAT(struct predicate, lt, "lt", -1e300, 1e300, NULL, "less than"),
    OPT_FLOAT(struct predicate, lte, "lte", -1e300, 1e300, NULL, "at most"),
    OPT_END,
};

int predicate_read(struct predicate *ret, const struct node *map, const char *path,
                   struct arena *arena, struct problems *p)
{
    *ret = (struct predicate){ NAN, NAN, NAN, NAN };
    return schema_read(ret, predicate_options, map, path, arena, p);
}

bool predicate_holds(const struct predicate *p, double value)
{
    bool given = !isnan(p->gt) || !isnan(p->gte) || !isnan(p->lt) || !isnan(p->lte);
    if (!given)
        return value > 0;
    return !(value <= p->gt) && !(value < p->gte) && !(value >= p->lt) && !(value > p->lte);
}

double predicate_confidence(const struct predicate *p, double value)
{
    const double bounds[] = { p->gt, p->gte, p->lt, p->lte };
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        if (!isnan(bounds[i]))
            return 1.0 / (1.0 + exp(-4.0 * fabs(value - bounds[i])));
    return 1.0;
}

struct signal_value signal_measured(double value, const struct predicate *p)
{
    bool holds = predicate_holds(p, value);
    return (struct signal_value){ holds ? TRUTH_true : TRUTH_false,
                                  holds ? predicate_confidence(p, value) : 0, value };
}
