#include "gateway/choices.h"

#include "base/limits.h"

#include <errno.h>

/* Sequences of one chat: more than are sent, where the best of them are chosen. */
static uint32_t per_chat(const struct answer *a)
{
    const struct chat_request *c = &a->chats[0];
    return c->best_of > c->n ? c->best_of : c->n;
}

int choices_make(struct answer *a)
{
    struct request *r = a->request;
    uint32_t n = per_chat(a);
    a->choices = arena_array(r->arena, a->n_chats * n, sizeof(*a->choices));
    a->shown = arena_array(r->arena, a->n_chats * n, sizeof(*a->shown));
    if (!a->choices || !a->shown)
        return -ENOMEM;
    a->n_choices = a->n_chats * n;
    for (uint32_t i = 0; i < a->n_choices; i++) {
        struct choice *c = &a->choices[i];
        *c = (struct choice){ .answer = a, .index = i, .chat = i / n };
        c->content = BUF_INIT(LIMIT_REQUEST_ARENA);
        c->reasoning = BUF_INIT(LIMIT_REQUEST_ARENA);
        for (size_t k = 0; k < ARRAY_LEN(c->logprobs); k++)
            c->logprobs[k] = BUF_INIT(LIMIT_REQUEST_ARENA);
        if (!chain_has_stream(a->chain))
            continue;
        int err = chain_run_new(&c->run, a->chain);
        if (err < 0)
            return err;
    }
    return 0;
}

struct engine_usage answer_usage(const struct answer *a)
{
    struct engine_usage u = { 0 };
    uint32_t n = per_chat(a);
    for (size_t i = 0; i < a->n_choices; i++) {
        const struct engine_usage *c = &a->choices[i].usage;
        u.completion_tokens += c->completion_tokens;
        u.reasoning_tokens += c->reasoning_tokens;
        if (i % n != 0)
            continue; /* the choices of one prompt share it */
        u.prompt_tokens += c->prompt_tokens;
        u.cached_tokens += c->cached_tokens;
        u.cache_write_tokens += c->cache_write_tokens;
    }
    return u;
}

double answer_cost(const struct answer *a, struct str *ret_currency)
{
    const struct request *r = a->request;
    const struct config_model *m = config_model(r->state->config, r->log_model);
    if (!m || !m->pricing.is_set)
        return -1;
    struct engine_usage u = answer_usage(a);
    *ret_currency = m->pricing.currency;
    const struct config_tokens tokens = { .prompt = u.prompt_tokens,
                                          .completion = u.completion_tokens,
                                          .cached = u.cached_tokens,
                                          .cache_write = u.cache_write_tokens };
    return config_cost(&m->pricing, &tokens);
}

static struct choice *best_left(struct choice *choices, uint32_t n)
{
    struct choice *best = NULL;
    for (uint32_t i = 0; i < n; i++)
        if (!choices[i].is_shown && (!best || choices[i].mean_logprob > best->mean_logprob))
            best = &choices[i];
    return best;
}

void choices_rank(struct answer *a)
{
    uint32_t each = per_chat(a), n = a->chats[0].n;
    for (size_t i = 0; i < a->n_chats; i++) {
        struct choice *of_chat = a->choices + i * each;
        for (uint32_t k = 0; k < n; k++) {
            struct choice *c = each > n ? best_left(of_chat, each) : &of_chat[k];
            c->is_shown = true;
            c->index = (uint32_t)a->n_shown;
            a->shown[a->n_shown++] = c;
        }
    }
}
