#include "router/selection/prices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PRICE 1e9

static const struct option options[] = {
    OPT_FLOAT(struct model_price, prompt, "prompt_per_1m", 0, MAX_PRICE, "0", "tokens read"),
    OPT_FLOAT(struct model_price, completion, "completion_per_1m", 0, MAX_PRICE, "0",
              "tokens written"),
    OPT_IGNORED("currency", "prices are compared with each other only"),
    OPT_IGNORED("cached_input_per_1m", "selection looks at prompt and completion"),
    OPT_IGNORED("cache_write_per_1m", "selection looks at prompt and completion"),
    OPT_END,
};

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct model_price *)a)->name, ((const struct model_price *)b)->name);
}

int prices_load(struct model_names *names, const struct node *models, struct arena *arena,
                struct problems *p)
{
    size_t n = models && models->kind == NODE_list ? models->n : 0;
    struct model_price *all = arena_array(arena, n + 1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    int first = 0;
    names->prices = all;
    for (size_t i = 0; i < n; i++) {
        const struct node *pricing = node_get(models->items[i], "pricing");
        const struct node *name = node_get(models->items[i], "name");
        if (!pricing || !name || name->kind != NODE_scalar)
            continue;
        char path[64];
        (void)snprintf(path, sizeof(path), "providers.models[%zu].pricing", i);
        struct model_price *price = &all[names->n_prices++];
        int e = schema_read(price, options, pricing, path, arena, p);
        price->name = name->scalar;
        first = first < 0 ? first : e;
    }
    if (names->n_prices)
        qsort(all, names->n_prices, sizeof(*all), by_name);
    return first;
}

double price_of(const struct model_names *names, struct str model)
{
    struct model_price key = { .name = model };
    const struct model_price *found =
        names->n_prices ? bsearch(&key, names->prices, names->n_prices, sizeof(key), by_name)
                        : NULL;
    return found ? (found->prompt + found->completion) / 2 : -1;
}
