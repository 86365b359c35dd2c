#include "gateway/learning/learning.h"

#include <errno.h>
#include <stdlib.h>

int learning_new(struct learning **ret)
{
    CLEANUP(learning_freep) struct learning *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    int r = observed_new(&l->observed);
    if (r == 0)
        *ret = TAKE(l);
    return r;
}

struct learning *learning_free(struct learning *l)
{
    if (!l)
        return NULL;
    (void)observed_free(l->observed);
    free(l);
    return NULL;
}
