#include "router/linear/classifier.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "router/linear/linear_impl.h"
#include "router/signals/unicode.h"
#include "router/vectors/words.h"

enum { SCRATCH_BYTES = 64 << 20 /* for one text: its code points and tables, many times over */ };
static const float WORDS_SHARE = 0.3F; /* of the squared length of a vector, the words' meaning */
static const size_t TRAINING_BYTES = (size_t)4 << 30; /* features of all examples */

struct classifier *classifier_free(struct classifier *c)
{
    if (!c)
        return NULL;
    (void)linear_free(c->linear);
    free(c->rarity);
    (void)arena_free(c->arena);
    free(c);
    return NULL;
}

uint32_t classifier_classes(const struct classifier *c)
{
    return c->n;
}

struct str classifier_label(const struct classifier *c, uint32_t i)
{
    return c->labels[i];
}

static struct str fold(struct str text, struct arena *arena)
{
    struct str valid = unicode_valid_text(text, arena);
    return valid.p ? unicode_fold_text(valid, arena) : valid;
}

int classifier_features(struct features *ret, struct str text, struct arena *arena)
{
    struct str folded = fold(text, arena);
    return folded.p ? features_of(ret, folded, NULL, arena) : -ENOMEM;
}

int classifier_read_text(struct features *ret, const struct background *b, struct str text,
                         struct arena *arena)
{
    struct str folded = fold(text, arena);
    struct features f = { 0 };
    float words[WORDS_WIDTH];
    if (!folded.p || features_of(&f, folded, b->rarity, arena) < 0)
        return -ENOMEM;
    words_vector(folded, words);
    return background_features(b, &f, words, arena, ret);
}

/* A text as read: over a background; else what is hashed, not yet weighed, and what it means. */
struct reading {
    struct features f; /* with room for WORDS_WIDTH more */
    float words[WORDS_WIDTH];
};

static int read_text(struct reading *ret, const struct background *b, struct str text,
                     struct arena *keep, struct arena *scratch)
{
    struct features f = { 0 };
    struct str folded = fold(text, scratch);
    if (!folded.p || features_of(&f, folded, b ? b->rarity : NULL, scratch) < 0)
        return -ENOMEM;
    words_vector(folded, ret->words);
    if (b && background_features(b, &f, ret->words, scratch, &f) < 0)
        return -ENOMEM;
    size_t room = (size_t)f.n + WORDS_WIDTH;
    ret->f = f;
    ret->f.id = arena_array(keep, room, sizeof(*f.id));
    ret->f.value = arena_array(keep, room, sizeof(*f.value));
    if (!ret->f.id || !ret->f.value)
        return -ENOMEM;
    if (!f.n)
        return 0;
    memcpy(ret->f.id, f.id, f.n * sizeof(*f.id));
    memcpy(ret->f.value, f.value, f.n * sizeof(*f.value));
    return 0;
}

/* The same, only the result in `keep`. */
static int read_example(struct reading *ret, const struct background *b, struct str text,
                        struct arena *keep)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_new(SCRATCH_BYTES);
    return scratch ? read_text(ret, b, text, keep, scratch) : -ENOMEM;
}

/* Puts the meaning of the words behind what is hashed, and weighs both; the length is 1. */
static void weigh(struct reading *r, const float *rarity)
{
    struct features *f = &r->f;
    float known = 0;
    features_weigh(f, rarity);
    for (uint32_t i = 0; i < WORDS_WIDTH; i++)
        known += r->words[i] * r->words[i];
    if (!f->n || !(known > 0))
        return;
    for (uint32_t i = 0; i < f->n; i++)
        f->value[i] *= sqrtf(1 - WORDS_SHARE);
    for (uint32_t i = 0; i < WORDS_WIDTH; i++) {
        f->id[f->n] = FEATURE_BUCKETS + i;
        f->value[f->n++] = sqrtf(WORDS_SHARE) * r->words[i];
    }
}

static int set_rarity(struct classifier *c, const struct reading *all, size_t n)
{
    CLEANUP(rarity_done) struct rarity r;
    c->rarity = calloc(FEATURE_BUCKETS, sizeof(*c->rarity));
    if (rarity_init(&r) < 0 || !c->rarity)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        rarity_count(&r, &all[i].f);
    for (uint32_t id = 0; id < FEATURE_BUCKETS; id++)
        c->rarity[id] = rarity_of(&r, id);
    return 0;
}

static int set_labels(struct classifier *c, const struct str *labels, uint32_t n)
{
    size_t bytes = 0;
    enum { PER_LABEL = 64 }; /* its end, its alignment and its view, generously */
    for (uint32_t i = 0; i < n; i++)
        bytes += labels[i].n + PER_LABEL;
    c->arena = arena_new(bytes);
    c->labels = c->arena ? arena_array(c->arena, n, sizeof(*c->labels)) : NULL;
    if (!c->labels)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        c->labels[i] = arena_str(c->arena, labels[i]);
        if (!c->labels[i].p)
            return -ENOMEM;
    }
    c->n = n;
    return 0;
}

static int read_name(struct reading *ret, const struct background *b, struct str label,
                     struct arena *keep)
{
    char *spaced = arena_cstr(keep, label);
    if (!spaced)
        return -ENOMEM;
    for (size_t i = 0; i < label.n; i++)
        if (spaced[i] == '_')
            spaced[i] = ' ';
    return read_example(ret, b, (struct str){ spaced, label.n }, keep);
}

int classifier_train(struct classifier **ret, const struct str *labels,
                     const struct classifier_example *examples, size_t n,
                     const struct linear_options *o)
{
    return classifier_train_on(ret, NULL, labels, examples, n, o);
}

int classifier_train_on(struct classifier **ret, const struct background *background,
                        const struct str *labels, const struct classifier_example *examples,
                        size_t n, const struct linear_options *o)
{
    if (!n || !o->classes)
        return -EINVAL;
    size_t all = n + o->classes;
    CLEANUP(classifier_freep) struct classifier *c = calloc(1, sizeof(*c));
    CLEANUP(arena_freep) struct arena *keep = arena_new(TRAINING_BYTES);
    struct reading *f = keep ? arena_array(keep, all, sizeof(*f)) : NULL;
    struct linear_example *e = keep ? arena_array(keep, all, sizeof(*e)) : NULL;
    if (!c || !f || !e || set_labels(c, labels, o->classes) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < all; i++) {
        e[i] = (struct linear_example){ &f[i].f, i < n ? examples[i].label : (uint32_t)(i - n) };
        if (e[i].y >= o->classes)
            return -EINVAL;
        int r = i < n ? read_example(&f[i], background, examples[i].text, keep)
                      : read_name(&f[i], background, labels[i - n], keep);
        if (r < 0)
            return r;
    }
    if (background)
        c->background = *background;
    else if (set_rarity(c, f, n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < all && c->rarity; i++)
        weigh(&f[i], c->rarity);
    c->temperature = 1;
    int r = linear_train(&c->linear, e, all, o);
    if (r < 0)
        return r;
    *ret = TAKE(c);
    return 0;
}

int classifier_scores(const struct classifier *c, struct str text, float *ret_scores,
                      struct arena *arena)
{
    struct reading r;
    if (read_text(&r, c->rarity ? NULL : &c->background, text, arena, arena) < 0)
        return -ENOMEM;
    if (c->rarity)
        weigh(&r, c->rarity);
    linear_scores(c->linear, &r.f, ret_scores);
    return 0;
}

void classifier_set_temperature(struct classifier *c, float temperature)
{
    c->temperature = temperature;
}

void classifier_add_bias(struct classifier *c, uint32_t k, float by)
{
    c->linear->bias[k] += by;
}

int classifier_probabilities(const struct classifier *c, struct str text, float *ret,
                             struct arena *arena)
{
    int r = classifier_scores(c, text, ret, arena);
    if (r == 0)
        linear_softmax(ret, c->n, c->temperature);
    return r;
}
