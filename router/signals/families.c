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

static int rule_problem(const struct signal_rules *rules, size_t i, const char *key,
                        enum problem_kind kind, const char *text)
{
    const struct node *rule = node_at(rules->list, i);
    const struct node *at = key && rule ? node_get(rule, key) : NULL;
    char path[256];
    (void)snprintf(path, sizeof(path), "%s[%zu]%s%s", rules->path, i, at ? "." : "", at ? key : "");
    return node_problem(rules->p, kind, at ? at : rule, path, "%s", text);
}

int signal_rule_error(const struct signal_rules *rules, size_t i, const char *key, const char *fmt,
                      ...)
{
    assert(fmt); /* with it, gcc sees under UBSan that no caller's format is null */
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return rule_problem(rules, i, key, PROBLEM_error, text);
}

void signal_rule_warning(const struct signal_rules *rules, size_t i, const char *key,
                         const char *fmt, ...)
{
    assert(fmt);
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)rule_problem(rules, i, key, PROBLEM_warning, text);
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
        v->folded = unicode_fold_text_noting(v->text, v->arena, &v->only_case);
    return v->folded.p ? 0 : -ENOMEM;
}

/* ---- vectors of a request ---- */

struct signal_vector_memo {
    struct str text;
    const struct text_vector *vector;
    struct signal_vector_memo *next;
};

static const struct text_vector *recall(const struct signal_view *v, struct str text)
{
    for (const struct signal_vector_memo *m = v->vectors; m; m = m->next)
        if (str_eq(m->text, text))
            return m->vector;
    return NULL;
}

static int remember(struct signal_view *v, struct str text, const struct text_vector *vector)
{
    struct signal_vector_memo *m = arena_alloc(v->arena, sizeof(*m));
    if (!m)
        return -ENOMEM;
    *m = (struct signal_vector_memo){ text, vector, v->vectors };
    v->vectors = m;
    return 0;
}

/* Makes the vectors of texts that have none. */
static int make_vectors(struct signal_view *v, const struct str *texts, size_t n)
{
    struct fail fail = { 0 };
    const struct text_vector **made = arena_array(v->arena, n, sizeof(*made));
    if (!made)
        return -ENOMEM;
    int e = vectors_of(v->space, texts, n, v->arena, made, &fail);
    for (size_t i = 0; i < n && e == 0; i++)
        e = remember(v, texts[i], made[i]);
    v->no_vectors = e != 0;
    return e > 0 ? -EIO : e;
}

int signal_vectors(struct signal_view *v, const struct str *texts, size_t n,
                   const struct text_vector **ret)
{
    if (!v->space || v->no_vectors)
        return -ENOTSUP;
    struct str *missing = arena_array(v->arena, n, sizeof(*missing));
    size_t n_missing = 0;
    if (!missing)
        return n ? -ENOMEM : 0;
    for (size_t i = 0; i < n; i++) {
        bool have = recall(v, texts[i]) != NULL;
        for (size_t k = 0; k < n_missing && !have; k++)
            have = str_eq(missing[k], texts[i]);
        if (!have)
            missing[n_missing++] = texts[i];
    }
    int e = n_missing ? make_vectors(v, missing, n_missing) : 0;
    for (size_t i = 0; i < n && e == 0; i++)
        ret[i] = recall(v, texts[i]);
    return e;
}

int signal_vector(struct signal_view *v, struct str text, const struct text_vector **ret)
{
    return signal_vectors(v, &text, 1, ret);
}

size_t signal_earlier_turns(const struct signal_view *v, struct str *ret, size_t max)
{
    const struct chat_request *chat = v->chat;
    size_t n = 0;
    bool current = true; /* the latest is no earlier one */
    for (size_t i = chat->is_completion ? 0 : chat->n_messages; i-- > 0 && n < max;) {
        if (!str_is(chat->messages[i].role, "user"))
            continue;
        struct str text = chat->messages[i].content;
        if (!current && str_trim(text).n)
            ret[n++] = text;
        current = false;
    }
    return n;
}

const struct node *signal_setting(const struct signal_rules *rules, const char *path)
{
    const struct node *at = rules->config->global;
    struct str rest = str_of(path), key;
    while (at && rest.n) {
        key = rest;
        struct str after = STR_NULL;
        (void)str_cut(rest, '.', &key, &after);
        rest = after;
        const struct node *next = NULL;
        for (size_t i = 0; at->kind == NODE_map && i < at->n; i++)
            if (str_eq(at->keys[i], key))
                next = at->items[i];
        at = next;
    }
    return at && at->kind != NODE_null ? at : NULL;
}

int signal_scan(struct signal_view *v)
{
    if (v->found)
        return 0;
    bool *found = arena_array(v->arena, scanner_len(v->scanner) + 1, sizeof(*found));
    if (!found || signal_folded(v) < 0)
        return -ENOMEM;
    struct scan_text text = { v->text, v->folded, v->only_case };
    int e = scanner_scan(v->scanner, &text, found);
    if (e == 0)
        v->found = found;
    return e;
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
