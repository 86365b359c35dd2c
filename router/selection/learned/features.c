#include "router/selection/learned/learned.h"

#include "router/models/shipped.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define LENGTH_MIDDLE 8.0 /* doublings of a byte: a usual length */
#define LENGTH_SCALE 3.0  /* doublings that count 1 */
#define DOMAIN_WEIGHT 0.7F
#define SHAPE_WEIGHT 0.5F /* against a vector of length 1 */

const char *const learned_kinds[] = {
#define LEARNED_WORD(name) #name,
    LEARNED_KINDS(LEARNED_WORD) NULL
};

static const struct str probe_text = { "How do I sort a list of 12 names by length in Python?",
                                       53 };

size_t learned_dims(size_t width)
{
    return width + LEARNED_DOMAINS + LEARNED_SHAPE;
}

static void add_shape(struct str text, float *ret)
{
    size_t digits = 0, upper = 0, lines = 1;
    for (size_t i = 0; i < text.n; i++) {
        digits += text.p[i] >= '0' && text.p[i] <= '9';
        upper += text.p[i] >= 'A' && text.p[i] <= 'Z';
        lines += text.p[i] == '\n';
    }
    double n = text.n ? (double)text.n : 1;
    ret[0] = SHAPE_WEIGHT * (float)((log2(n + 1) - LENGTH_MIDDLE) / LENGTH_SCALE);
    ret[1] = SHAPE_WEIGHT * (float)sqrt((double)digits / n);
    ret[2] = SHAPE_WEIGHT * (float)sqrt((double)upper / n);
    ret[3] = SHAPE_WEIGHT * (float)(log2((double)lines) / LENGTH_SCALE);
}

int learned_domains(struct classifier_file **ret, struct fail *reterr)
{
    int r = classifier_file_open(ret, "domain.model", shipped_domain(), reterr);
    if (r == 0 && classifier_file_classes(*ret) != LEARNED_DOMAINS) {
        *ret = classifier_file_close(*ret);
        r = fail_set(reterr, FAIL_internal_error, "domain.model has not %d classes",
                     LEARNED_DOMAINS);
    }
    return r;
}

void learned_features(const struct learned_text *of, const struct classifier_file *domains,
                      size_t width, float *ret)
{
    memset(ret, 0, learned_dims(width) * sizeof(*ret));
    if (vector_width(of->vector) == width)
        vector_values(of->vector, ret);
    if (domains && of->weighed) {
        classifier_file_read(domains, of->weighed, ret + width);
        for (size_t i = 0; i < LEARNED_DOMAINS; i++)
            ret[width + i] *= DOMAIN_WEIGHT;
    }
    add_shape(of->text, ret + width + LEARNED_DOMAINS);
}

int learned_probe(const struct vector_space *space, float ret[LEARNED_PROBE], size_t *ret_width,
                  struct fail *reterr)
{
    enum { ARENA = 16 << 20 };
    CLEANUP(arena_freep) struct arena *arena = arena_new(ARENA);
    const struct text_vector *v = NULL;
    if (!arena)
        return -ENOMEM;
    int r = vectors_of(space, &probe_text, 1, arena, &v, reterr);
    if (r != 0)
        return r;
    size_t width = vector_width(v);
    float *values = arena_array(arena, width + 1, sizeof(*values));
    if (!values)
        return -ENOMEM;
    vector_values(v, values);
    memset(ret, 0, LEARNED_PROBE * sizeof(*ret));
    memcpy(ret, values, (width < LEARNED_PROBE ? width : LEARNED_PROBE) * sizeof(*ret));
    *ret_width = width;
    return 0;
}
