#include "router/selection/selection.h"

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)in;
    (void)reterr;
    *ret = (struct pick){ 0, SELECTION_selected, "the first candidate" };
    return 0;
}

const struct selection selection_static = { .name = "static", .pick = pick };
