/*
 * A helper model would read the candidates' descriptions and name one. Its settings are read and
 * checked; routing asks no model, so that the first candidate answers, as on an error of the
 * helper.
 */
#include "router/selection/selection.h"

struct prompt {
    struct str model, instructions;
    uint64_t seconds;
};

#define MAX_SECONDS 3600

static const struct option options[] = {
    OPT_TEXT(struct prompt, model, "model", OPTION_REQUIRED, "the helper"),
    OPT_TEXT(struct prompt, instructions, "instructions", OPTION_REQUIRED, "it gets"),
    OPT_UINT(struct prompt, seconds, "timeout_seconds", 0, MAX_SECONDS, "5", "0: 5"),
    OPT_END,
};

static int pick(const struct pick_context *in, struct pick *ret, struct fail *reterr)
{
    (void)in;
    (void)reterr;
    *ret = (struct pick){ 0, SELECTION_fallback, "no helper model is asked: the first candidate" };
    return 0;
}

const struct selection selection_prompt = {
    .name = "prompt", .options = options, .size = sizeof(struct prompt), .pick = pick
};
