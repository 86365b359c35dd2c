#include "router/selection/prices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PRICE 1e9

static const struct option options[] = {
    OPT_FLOAT(struct model_price, prompt, "prompt_per_1m", 0, MAX_PRICE, "0", "tokens read"),
    OPT_FLOAT(struct model_price, completion, "completion_per_1m", 0, MAX_PRICE, "0",
              "tokens written"),
    OPT_TEXT(struct model_price, currency, "currency", NULL, "of all of them the same"),
    OPT_FLOAT(struct model_price, cached, "cached_input_per_1m", -1, MAX_PRICE, "-1",
              "tokens read from a cache"),
    OPT_FLOAT(struct model_price, cache_write, "cache_write_per_1m", -1, MAX_PRICE, "-1",
              "tokens read and put into one"),
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
    for (size_t i = 1; i < names->n_prices; i++)
        if (all[i].currency.n && all[0].currency.n && !str_eq(all[i].currency, all[0].currency)) {
            (void)node_problem(p, PROBLEM_warning, models, "providers.models",
                               "prices are in %.*s and in %.*s, and compared as they stand",
                               STR_ARG(all[0].currency), STR_ARG(all[i].currency));
            break;
        }
    if (names->n_prices)
        qsort(all, names->n_prices, sizeof(*all), by_name);
    return first;
}

static const struct model_price *find(const struct model_names *names, struct str model)
{
    struct model_price key = { .name = model };
    return names->n_prices ? bsearch(&key, names->prices, names->n_prices, sizeof(key), by_name)
                           : NULL;
}

double price_of(const struct model_names *names, struct str model)
{
    const struct model_price *found = find(names, model);
    return found ? (found->prompt + found->completion) / 2 : -1;
}

double price_saved(const struct model_names *names, struct str model)
{
    const struct model_price *found = find(names, model);
    if (!found || found->cached < 0)
        return 0;
    double prompt = found->cache_write > found->prompt ? found->cache_write : found->prompt;
    return prompt > found->cached ? (prompt - found->cached) / 2 : 0;
}
