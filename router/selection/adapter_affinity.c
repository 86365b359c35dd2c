/*
 * The adapter that fits and is at hand. What a candidate costs, each term in 0…1:
 *
 *     content (1 - similarity) + residency load + queue min(1, inflight / queue_full)
 *     + prefix (1 - share of the prompt in its cache)
 *
 * load is 0 for weights in memory and for a bare base, `disk` on disk, 1 elsewhere. The least cost
 * answers. A similarity that is not known counts as the mean of those that are (none: one half), a
 * place that is not known one half; a queue or a cache that is not known is empty.
 */
#include "router/selection/selection.h"

#include <math.h>

#define UNKNOWN 0.5
#define MAX_WEIGHT 1e6

struct adapter_affinity {
    double content, residency, queue, prefix, disk, min_similarity;
    uint64_t queue_full;
};

static const struct option options[] = {
    OPT_FLOAT(struct adapter_affinity, content, "content", 0, MAX_WEIGHT, "0.6",
              "weight of the distance to description and examples"),
    OPT_FLOAT(struct adapter_affinity, residency, "residency", 0, MAX_WEIGHT, "0.2",
              "weight of loading the adapter"),
    OPT_FLOAT(struct adapter_affinity, queue, "queue", 0, MAX_WEIGHT, "0.1",
              "weight of the requests before this one"),
    OPT_FLOAT(struct adapter_affinity, prefix, "prefix", 0, MAX_WEIGHT, "0.1",
              "weight of the prompt that no cache holds"),
    OPT_FLOAT(struct adapter_affinity, disk, "disk", 0, 1, "0.25",
              "cost of loading from disk, where 1 is from elsewhere"),
    OPT_UINT(struct adapter_affinity, queue_full, "queue_full", 1, 1e9, "8",
             "requests that cost as much as any more"),
    OPT_FLOAT(struct adapter_affinity, min_similarity, "min_similarity", -1, 1, "-1",
              "who is below is left out while somebody is not"),
    OPT_END,
};

static double clamped(double similarity)
{
    return fmin(fmax(similarity, 0), 1);
}

/* What a similarity that is not known counts as: it neither draws nor repels. */
static double usual_similarity(const struct pick_context *in)
{
    double sum = 0;
    unsigned n = 0;
    for (size_t i = 0; i < in->decision->refs.n; i++)
        if (in->states[i].known & KNOWN_similarity) {
            sum += clamped(in->states[i].similarity);
            n++;
        }
    return n ? sum / n : UNKNOWN;
}

static double load_of(const struct adapter_affinity *a, const struct model_ref *ref,
                      const struct candidate_state *s)
{
    if (ref->lora_name.n == 0)
        return 0;
    if (!(s->known & KNOWN_weights))
        return UNKNOWN;
    return s->weights == WEIGHTS_memory ? 0 : s->weights == WEIGHTS_disk ? a->disk : 1;
}

static double cost(const struct adapter_affinity *a, const struct model_ref *ref,
                   const struct candidate_state *s, double usual)
{
    double similarity = s->known & KNOWN_similarity ? clamped(s->similarity) : usual;
    double queue = s->known & KNOWN_load ? fmin(1, (double)s->inflight / (double)a->queue_full) : 0;
    double warm = s->known & KNOWN_prefix ? fmin(fmax(s->prefix, 0), 1) : 0;
    return a->content * (1 - similarity) + a->residency * load_of(a, ref, s) + a->queue * queue +
           a->prefix * (1 - warm);
}

static bool too_far(const struct adapter_affinity *a, const struct candidate_state *s)
{
    return (s->known & KNOWN_similarity) && s->similarity < a->min_similarity;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct adapter_affinity *a = in->decision->settings;
    const struct model_ref *refs = in->decision->refs.items;
    double least = INFINITY, usual = usual_similarity(in);
    bool near = false, known = false;
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        near = near || !too_far(a, &in->states[i]);
        known = known || in->states[i].known;
    }
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        const struct candidate_state *s = &in->states[i];
        if (near && too_far(a, s))
            continue;
        double c = cost(a, &refs[i], s, usual);
        in->scores[i] = -c;
        if (c < least) {
            least = c;
            ret->index = i;
        }
    }
    ret->status = known && near ? SELECTION_selected : SELECTION_fallback;
    ret->reason = !known ? "nothing is known about any adapter"
                  : near ? "the least cost of content, loading, queue and cache"
                         : "every candidate is below min_similarity: the least cost";
    return 0;
}

const struct selection selection_adapter_affinity = { .name = "adapter_affinity",
                                                      .options = options,
                                                      .size = sizeof(struct adapter_affinity),
                                                      .wants = KNOWN_similarity | KNOWN_weights |
                                                               KNOWN_load | KNOWN_prefix,
                                                      .pick = pick };
