/*
 * A share of the requests for every candidate, as its weight says. Each candidate draws a time from
 * an exponential distribution of its weight and the earliest answers (weighted rendezvous hashing
 * where the key is a session or a user: a candidate that comes or goes moves only its own share).
 */
#include "router/selection/draw.h"
#include "router/selection/selection.h"

#include <math.h>

static const char *const keys[] = { "none", "session", "user", NULL };
enum { STICKY_none, STICKY_session, STICKY_user };

struct weighted {
    unsigned sticky;
};

static const struct option options[] = {
    OPT_WORD(struct weighted, sticky, "sticky", keys, "none",
             "whose requests stay with one candidate"),
    OPT_END,
};

static uint64_t key_of(const struct pick_context *in, const struct weighted *w)
{
    struct str key = w->sticky == STICKY_session ? in->request->session
                     : w->sticky == STICKY_user  ? in->request->user_id
                                                 : STR_NULL;
    return key.n ? draw_seed(key) : in->seed;
}

static uint64_t name_of(const struct model_ref *ref)
{
    return draw_seed(ref->model) ^ (ref->lora_name.n ? draw_seed(ref->lora_name) << 1 : 0);
}

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct model_ref *refs = in->decision->refs.items;
    uint64_t key = key_of(in, in->decision->settings);
    double least = INFINITY;
    *ret = (struct pick){ 0, SELECTION_fallback, "every weight is 0: the first candidate" };
    for (size_t i = 0; i < in->decision->refs.n; i++) {
        uint64_t state = key ^ name_of(&refs[i]);
        double at = refs[i].weight > 0 ? -log(draw_uniform(&state)) / refs[i].weight : INFINITY;
        if (at < least) {
            least = at;
            *ret = (struct pick){ i, SELECTION_selected, "drawn by weight" };
        }
    }
    return 0;
}

const struct selection selection_weighted = {
    .name = "weighted", .options = options, .size = sizeof(struct weighted), .pick = pick
};
