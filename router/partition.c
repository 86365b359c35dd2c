#include "router/partition.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const char *const semantics[] = { "exclusive", "softmax_exclusive", NULL };

const struct option partition_options[] = {
    OPT_TEXT(struct partition, name, "name", OPTION_REQUIRED, "for people"),
    OPT_TEXT(struct partition, description, "description", NULL, "for people"),
    OPT_WORD(struct partition, semantics, "semantics", semantics, "exclusive", "how one wins"),
    OPT_FLOAT(struct partition, temperature, "temperature", 0, 1000, "1", "of softmax"),
    OPT_TEXTS(struct partition, members, "members", 1000, "domains, or embeddings"),
    OPT_TEXT(struct partition, default_member, "default", NULL, "wins when none matches"),
    OPT_END,
};

/* ---- loading ---- */

static int by_number(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static int find_members(struct member_list *ret, size_t *ret_default, const struct partition *p,
                        const struct projection_source *source, struct str type)
{
    size_t *signals = arena_array(source->arena, p->members.n + 1, sizeof(*signals));
    if (!signals)
        return -ENOMEM;
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < p->members.n; i++) {
        size_t s = source->resolve(source->ctx, type, p->members.items[i], NULL, NULL);
        if (s != SIZE_MAX)
            signals[n++] = s;
    }
    if (n)
        qsort(signals, n, sizeof(*signals), by_number);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || signals[i] != signals[i - 1])
            signals[kept++] = signals[i];
    *ret = (struct member_list){ signals, kept };
    *ret_default = SIZE_MAX;
    if (p->default_member.n)
        *ret_default = source->resolve(source->ctx, type, p->default_member, NULL, NULL);
    return 0;
}

static bool is_member(const struct partition *p, struct str name)
{
    for (size_t i = 0; i < p->members.n; i++)
        if (str_eq(p->members.items[i], name))
            return true;
    return false;
}

/* Each member is an embedding or else a domain, and all are of the same kind. */
static void check_members(const struct partition *p, const struct projection_source *source,
                          const struct node *at, const char *path)
{
    size_t domains = 0, embeddings = 0;
    for (size_t i = 0; i < p->members.n; i++) {
        struct str name = p->members.items[i];
        bool embedding =
            source->resolve(source->ctx, STR("embedding"), name, NULL, NULL) != SIZE_MAX;
        bool domain = source->resolve(source->ctx, STR("domain"), name, NULL, NULL) != SIZE_MAX;
        embeddings += embedding;
        domains += domain && !embedding;
        if (!embedding && !domain)
            (void)node_problem(source->p, PROBLEM_error, at, path,
                               "the member '%.*s' is neither a domain nor an embedding",
                               STR_ARG(name));
        for (size_t k = 0; k < i; k++)
            if (str_eq(p->members.items[k], name))
                (void)node_problem(source->p, PROBLEM_warning, at, path,
                                   "the member '%.*s' is named twice", STR_ARG(name));
    }
    if (domains && embeddings)
        (void)node_problem(source->p, PROBLEM_error, at, path,
                           "the members are domains and embeddings; they must be of one kind");
}

int partition_resolve(struct partition *p, const struct projection_source *source,
                      const struct node *at, const char *path)
{
    if (p->members.n == 0)
        (void)node_problem(source->p, PROBLEM_error, at, path, "has no members");
    if (p->semantics == PARTITION_softmax && p->temperature <= 0)
        (void)node_problem(source->p, PROBLEM_error, at, path,
                           "softmax_exclusive needs a temperature above 0");
    if (p->default_member.n && !is_member(p, p->default_member))
        (void)node_problem(source->p, PROBLEM_error, at, path, "the default '%.*s' is not a member",
                           STR_ARG(p->default_member));
    check_members(p, source, at, path);
    int e = find_members(&p->domains, &p->default_domain, p, source, STR("domain"));
    return e < 0 ? e
                 : find_members(&p->embeddings, &p->default_embedding, p, source, STR("embedding"));
}

/* ---- evaluating ---- */

static double share(const struct partition *p, const struct member_list *m,
                    const struct signal_value *values, size_t winner)
{
    double best = values[winner].confidence, sum = 0;
    if (p->semantics != PARTITION_softmax)
        return best;
    for (size_t i = 0; i < m->n; i++) {
        const struct signal_value *v = &values[m->signals[i]];
        if (v->value == TRUTH_true)
            sum += exp((v->confidence - best) / p->temperature);
    }
    return 1 / sum;
}

static void set(struct signal_value *v, enum truth value, double confidence)
{
    v->value = value;
    v->confidence = confidence;
}

void partition_reduce(const struct partition *p, enum family f, struct signal_value *values)
{
    const struct member_list *m = f == FAMILY_domain ? &p->domains : &p->embeddings;
    size_t fallback = f == FAMILY_domain ? p->default_domain : p->default_embedding;
    size_t winner = SIZE_MAX, matched = 0, unknown = 0;
    if (m->n < 2)
        return;
    for (size_t i = 0; i < m->n; i++) {
        size_t s = m->signals[i];
        unknown += values[s].value == TRUTH_unknown;
        if (values[s].value != TRUTH_true)
            continue;
        matched++;
        if (winner == SIZE_MAX || values[s].confidence > values[winner].confidence)
            winner = s;
    }
    if (matched == 0 && fallback != SIZE_MAX) {
        if (unknown > (values[fallback].value == TRUTH_unknown))
            set(&values[fallback], TRUTH_unknown, 0);
        else /* it matches by itself, or as the default */
            set(&values[fallback], TRUTH_true, 1);
    }
    if (matched == 0 || (matched == 1 && unknown == 0))
        return;
    double confidence = share(p, m, values, winner);
    for (size_t i = 0; i < m->n; i++)
        if (values[m->signals[i]].value == TRUTH_true)
            set(&values[m->signals[i]], TRUTH_false, 0);
    if (unknown)
        set(&values[winner], TRUTH_unknown, 0);
    else
        set(&values[winner], TRUTH_true, confidence);
}
