#include "router/selection/similarity.h"

#include <errno.h>
#include <math.h>

struct similarity {
    const struct vector_space *space;
    size_t n;
    size_t *candidates; /* of each vector */
    const struct text_vector **vectors;
};

int similarity_new(struct similarity **ret, const struct vector_space *space,
                   const struct similarity_text *texts, size_t n, struct arena *arena,
                   struct fail *reterr)
{
    struct similarity *s = arena_alloc(arena, sizeof(*s));
    struct str *kept = arena_array(arena, n + 1, sizeof(*kept));
    if (!s || !kept)
        return -ENOMEM;
    s->space = space;
    s->candidates = arena_array(arena, n + 1, sizeof(*s->candidates));
    s->vectors = arena_array(arena, n + 1, sizeof(*s->vectors));
    if (!s->candidates || !s->vectors)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (str_trim(texts[i].text).n == 0)
            continue;
        s->candidates[s->n] = texts[i].candidate;
        kept[s->n++] = texts[i].text;
    }
    int r = s->n ? vectors_of(space, kept, s->n, arena, s->vectors, reterr) : 0;
    if (r == 0)
        *ret = s;
    return r;
}

void similarity_of(const struct similarity *s, const struct text_vector *turn, size_t candidates,
                   double *ret_scores)
{
    for (size_t i = 0; i < candidates; i++)
        ret_scores[i] = NAN;
    for (size_t i = 0; i < s->n; i++) {
        double *score = &ret_scores[s->candidates[i]];
        if (s->candidates[i] < candidates)
            *score = fmax(*score, vector_similarity(s->space, turn, s->vectors[i]));
    }
}
