/*
 * The candidate that answered the conversation's last turn; the first one where it begins. When a
 * switch is worth its cost, global.router.learning decides.
 */
#include "router/selection/selection.h"

static const struct option options[] = {
    OPT_IGNORED("*", "global.router.learning.protection holds the settings"),
    OPT_END,
};

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)reterr;
    const struct model_ref *refs = in->decision->refs.items;
    const struct route_session *last = in->request->last;
    *ret = (struct pick){ 0, SELECTION_fallback, "no conversation is known: the first candidate" };
    if (!in->request->in_session)
        return 0;
    *ret = (struct pick){ 0, SELECTION_selected, "the conversation begins: the first candidate" };
    if (!last || last->idle || !str_eq(last->decision, in->decision->name))
        return 0;
    for (size_t i = 0; i < in->decision->refs.n; i++)
        if (str_eq(refs[i].model, last->model) && str_eq(refs[i].lora_name, last->adapter)) {
            *ret = (struct pick){ i, SELECTION_selected, "the conversation's candidate" };
            return 0;
        }
    return 0;
}

struct session_aware {
    char nothing;
};

const struct selection selection_session_aware = {
    .name = "session_aware", .options = options, .size = sizeof(struct session_aware), .pick = pick
};
