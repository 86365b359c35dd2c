#include "router/selection/similarity.h"

#include "router/linear/text_features.h"
#include "router/signals/unicode.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct feature {
    uint32_t id; /* of its block: words and runs of characters are told apart */
    float value;
};

struct vector {
    struct feature *features; /* ascending */
    uint32_t n;
};

struct prototype {
    size_t candidate;
    struct vector vector;
};

struct similarity {
    size_t n;
    struct prototype *prototypes;
};

static int by_id(const void *a, const void *b)
{
    const struct feature *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int vector_of(struct vector *ret, struct str text, struct arena *arena)
{
    struct features f;
    struct str folded = unicode_fold_text(text, arena);
    if (!folded.p || features_of(&f, folded, arena) < 0)
        return -ENOMEM;
    features_weigh(&f, /* weight= */ NULL);
    *ret = (struct vector){ arena_array(arena, (size_t)f.n + 1, sizeof(struct feature)), f.n };
    if (!ret->features)
        return -ENOMEM;
    for (uint32_t i = 0; i < f.n; i++)
        ret->features[i] =
            (struct feature){ f.id[i] | (i < f.n_words ? 0 : FEATURE_BUCKETS), f.value[i] };
    if (ret->n)
        qsort(ret->features, ret->n, sizeof(struct feature), by_id);
    return 0;
}

int similarity_new(struct similarity **ret, const struct similarity_text *texts, size_t n,
                   struct arena *arena)
{
    struct similarity *s = arena_alloc(arena, sizeof(*s));
    if (!s || !(s->prototypes = arena_array(arena, n + 1, sizeof(*s->prototypes))))
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct prototype *p = &s->prototypes[s->n];
        p->candidate = texts[i].candidate;
        if (str_trim(texts[i].text).n == 0)
            continue;
        int r = vector_of(&p->vector, texts[i].text, arena);
        if (r < 0)
            return r;
        s->n++;
    }
    *ret = s;
    return 0;
}

static double cosine(const struct vector *a, const struct vector *b)
{
    double sum = 0;
    for (uint32_t i = 0, k = 0; i < a->n && k < b->n;) {
        const struct feature *x = &a->features[i], *y = &b->features[k];
        sum += x->id == y->id ? (double)x->value * (double)y->value : 0;
        i += x->id <= y->id;
        k += y->id <= x->id;
    }
    return sum;
}

int similarity_of(const struct similarity *s, struct str text, size_t candidates,
                  struct arena *arena, double *ret_scores)
{
    struct vector v;
    int r = vector_of(&v, text, arena);
    for (size_t i = 0; i < candidates; i++)
        ret_scores[i] = NAN;
    for (size_t i = 0; r == 0 && i < s->n; i++) {
        const struct prototype *p = &s->prototypes[i];
        if (p->candidate < candidates)
            ret_scores[p->candidate] = fmax(ret_scores[p->candidate], cosine(&v, &p->vector));
    }
    return r;
}
