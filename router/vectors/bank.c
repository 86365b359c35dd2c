#include "router/vectors/bank.h"

#include <errno.h>
#include <stdlib.h>

#include "router/vectors/space.h"

enum {
    EXAMPLES_MAX = 1024, /* of one bank; the rest is not read */
    /* Examples that an encoder sees as one may have no word in common, say in two languages: the
     * lexical space keeps at least so many. */
    LEXICAL_PROTOTYPES = 64,
    EXAMPLE_BYTES = 1 << 17, /* of its vector and its scratch, generously */
};

const struct option bank_options_table[] = {
    OPT_BOOL(struct bank_options, enabled, "enabled", "true",
             "examples that are alike become one; false: each is compared, the best counts"),
    OPT_FLOAT(struct bank_options, cluster_similarity, "cluster_similarity_threshold", 0, 1, "0.9",
              "examples at least so similar become one"),
    OPT_UINT(struct bank_options, max_prototypes, "max_prototypes", 0, 10000, "8",
             "the largest groups are kept; 0: all"),
    OPT_FLOAT(struct bank_options, best_weight, "best_weight", 0, 1, "0.75",
              "share of the best similarity in the score"),
    OPT_UINT(struct bank_options, top_m, "top_m", 0, 10000, "2",
             "so many similarities make the rest of the score; 0: all"),
    OPT_FLOAT(struct bank_options, margin, "margin_threshold", 0, 2, "0",
              "least lead over the next rule, where one rule is picked"),
    OPT_END,
};

int bank_options_read(struct bank_options *ret, const struct node *map, const char *path,
                      struct arena *arena, struct problems *p)
{
    return schema_read(ret, bank_options_table, map, path, arena, p);
}

struct bank {
    const struct vector_space *space; /* borrowed */
    struct arena *arena;
    struct bank_options options;
    const struct text_vector **prototypes;
    size_t n;
};

struct bank *bank_free(struct bank *b)
{
    if (!b)
        return NULL;
    (void)arena_free(b->arena);
    free(b);
    return NULL;
}

size_t bank_prototypes(const struct bank *b)
{
    return b->n;
}

/* ---- prototypes ---- */

struct cluster {
    size_t first, n; /* its members' places in `members` */
    const struct text_vector *medoid;
};

struct clusters {
    const struct text_vector **all; /* n examples; NULL once they belong to a cluster */
    size_t n;
    const struct text_vector **members;
    struct cluster *items;
    size_t n_items;
};

static const struct text_vector *medoid(const struct bank *b, const struct text_vector **members,
                                        size_t n)
{
    const struct text_vector *best = members[0];
    double best_sum = -1e300;
    for (size_t i = 0; i < n && n > 2; i++) { /* of two, each is as near to both */
        double sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += vector_similarity(b->space, members[i], members[k]);
        if (sum > best_sum) {
            best_sum = sum;
            best = members[i];
        }
    }
    return best;
}

/* Each example in turn, unless it belongs to an earlier one, takes all that are near to it. */
static void cluster_all(const struct bank *b, struct clusters *c)
{
    size_t taken = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct text_vector *seed = c->all[i];
        if (!seed)
            continue;
        struct cluster *new = &c->items[c->n_items++];
        *new = (struct cluster){ .first = taken };
        for (size_t k = i; k < c->n; k++) {
            bool near = k == i || (b->options.enabled && c->all[k] &&
                                   vector_similarity(b->space, seed, c->all[k]) >=
                                       b->options.cluster_similarity);
            if (near) {
                c->members[taken++] = c->all[k];
                c->all[k] = NULL;
            }
        }
        new->n = taken - new->first;
        new->medoid = medoid(b, c->members + new->first, new->n);
    }
}

static int by_size(const void *a, const void *b)
{
    const struct cluster *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return (x->first > y->first) - (x->first < y->first);
}

static int keep_prototypes(struct bank *b, const struct text_vector **all, size_t n)
{
    struct clusters c = { .all = all, .n = n };
    c.members = arena_array(b->arena, n, sizeof(*c.members));
    c.items = arena_array(b->arena, n, sizeof(*c.items));
    b->prototypes = arena_array(b->arena, n, sizeof(*b->prototypes));
    if (!c.members || !c.items || !b->prototypes)
        return -ENOMEM;
    cluster_all(b, &c);
    qsort(c.items, c.n_items, sizeof(*c.items), by_size);
    b->n = c.n_items;
    size_t most = b->options.enabled ? b->options.max_prototypes : 0;
    if (most && !vector_space_blocks(b->space) && most < LEXICAL_PROTOTYPES)
        most = LEXICAL_PROTOTYPES;
    if (most && b->n > most)
        b->n = most;
    for (size_t i = 0; i < b->n; i++)
        b->prototypes[i] = c.items[i].medoid;
    return 0;
}

int bank_new(struct bank **ret, const struct vector_space *s, const struct str *texts, size_t n,
             const struct bank_options *o, struct fail *reterr)
{
    CLEANUP(bank_freep) struct bank *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    n = n < EXAMPLES_MAX ? n : EXAMPLES_MAX;
    b->space = s;
    b->options = *o;
    b->arena = arena_new((n + 1) * EXAMPLE_BYTES);
    const struct text_vector **all = b->arena ? arena_array(b->arena, n + 1, sizeof(*all)) : NULL;
    if (!all)
        return -ENOMEM;
    int e = vectors_keep(s, texts, n, b->arena, all, reterr);
    if (e == 0 && n)
        e = keep_prototypes(b, all, n);
    if (e != 0)
        return e;
    *ret = TAKE(b);
    return 0;
}

/* ---- scores ---- */

/* In the lexical space, below it examples have nothing in common with the text, being in another
 * language perhaps: they say nothing of how like the rule it is. */
static const double NOTHING_COMMON = 0.1;

struct bank_score bank_score(const struct bank *b, const struct text_vector *v)
{
    enum { TOP_MAX = 64, AT_ONCE = 64 };
    double top[TOP_MAX], all[AT_ONCE], sum = 0, sum_top = 0;
    size_t most = b->options.enabled && b->options.top_m ? b->options.top_m : b->n, n = 0;
    most = most < TOP_MAX ? most : TOP_MAX;
    if (b->n == 0)
        return (struct bank_score){ 0, 0, 0 };
    for (size_t i = 0; i < b->n; i++) {
        size_t left = b->n - i;
        if (i % AT_ONCE == 0)
            vector_similarities(b->space, v, b->prototypes + i, left < AT_ONCE ? left : AT_ONCE,
                                all);
        double s = all[i % AT_ONCE];
        sum += s;
        if (n == most && s <= top[n - 1])
            continue;
        size_t at = n < most ? n++ : n - 1;
        for (; at > 0 && top[at - 1] < s; at--)
            top[at] = top[at - 1];
        top[at] = s;
    }
    bool lexical = !vector_space_blocks(b->space);
    while (lexical && n > 1 && top[n - 1] < NOTHING_COMMON)
        n--;
    for (size_t i = 0; i < n; i++)
        sum_top += top[i];
    double share = b->options.enabled ? b->options.best_weight : 1;
    return (struct bank_score){ .score = share * top[0] + (1 - share) * sum_top / (double)n,
                                .best = top[0],
                                .mean = sum / (double)b->n };
}
