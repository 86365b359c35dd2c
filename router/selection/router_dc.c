/*
 * The candidate whose description is most similar to the user's turn. The similarity is compared
 * with min_similarity as it is: squashed through a temperature, every positive one would pass.
 */
#include "router/selection/selection.h"

#include <math.h>

struct router_dc {
    double min_similarity;
    bool require_descriptions, capabilities;
};

static const struct option options[] = {
    OPT_FLOAT(struct router_dc, min_similarity, "min_similarity", -1, 1, "0.3",
              "who is below is left out"),
    OPT_BOOL(struct router_dc, require_descriptions, "require_descriptions", "false",
             "warn of a candidate without one"),
    OPT_BOOL(struct router_dc, capabilities, "use_capabilities", "false",
             "capabilities are part of the description"),
    OPT_IGNORED("temperature", "it does not change who is most similar"),
    OPT_IGNORED("dimension_size", "vectors have the dimensions of their model"),
    OPT_IGNORED("use_query_contrastive", "of training"),
    OPT_IGNORED("use_model_contrastive", "of training"),
    OPT_NOTE("description"),
    OPT_END,
};

static int check(void *settings, const struct place *at)
{
    const struct router_dc *r = settings;
    const struct model_ref *refs = at->decision->refs.items;
    for (size_t i = 0; r->require_descriptions && i < at->decision->refs.n; i++)
        if (at->decision->candidates[i].description.n == 0)
            (void)node_problem(at->p, PROBLEM_warning, at->node, at->path,
                               "the candidate '%.*s'%s%.*s has no description: it is never similar",
                               STR_ARG(refs[i].model), refs[i].lora_name.n ? " with " : "",
                               STR_ARG(refs[i].lora_name));
    return 0;
}

static void ask(const void *settings, struct candidate_query *q)
{
    q->use_capabilities = ((const struct router_dc *)settings)->capabilities;
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct router_dc *r = in->decision->settings;
    double best = -INFINITY;
    bool known = false;
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        const struct candidate_state *s = &in->states[i];
        if (!(s->known & KNOWN_similarity))
            continue;
        known = true;
        in->scores[i] = s->similarity;
        if (s->similarity >= r->min_similarity && s->similarity > best) {
            best = s->similarity;
            ret->index = i;
        }
    }
    bool found = best > -INFINITY;
    ret->status = found ? SELECTION_selected : SELECTION_fallback;
    ret->reason = found   ? "the most similar description"
                  : known ? "every candidate is below min_similarity: the first"
                          : "no similarity is known: the first candidate";
    return 0;
}

const struct selection selection_router_dc = { .name = "router_dc",
                                               .options = options,
                                               .size = sizeof(struct router_dc),
                                               .wants = KNOWN_similarity,
                                               .check = check,
                                               .ask = ask,
                                               .pick = pick };
