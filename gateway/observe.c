#include "gateway/observe.h"

#include "base/clock.h"
#include "gateway/learning/learning.h"

void observe_event(struct choice *c, const struct engine_event *e)
{
    bool token = e->kind == ENGINE_EVENT_reasoning || e->kind == ENGINE_EVENT_tool_call ||
                 (e->kind == ENGINE_EVENT_text && !e->is_prompt);
    if (token && !c->first_us)
        c->first_us = clock_us();
    if (e->kind == ENGINE_EVENT_done)
        c->done_us = clock_us();
}

/* The policy's name of the candidate, where it chose one; else that on the wire. */
static struct str adapter_of(const struct answer *a)
{
    if (a->target.is_auto)
        return a->target.route.adapter;
    const struct adapter_name *n = &a->target.adapter;
    if (n->selector.n == 0)
        return n->adapter;
    return str_of(arena_printf(a->request->arena, "" STR_FMT "@" STR_FMT, STR_ARG(n->adapter),
                               STR_ARG(n->selector)));
}

/* From submitting to the first token, and from token to token, of the choice that was first. */
static void times_of(const struct answer *a, struct observation *x)
{
    const struct choice *first = NULL;
    for (size_t i = 0; i < a->n_choices; i++)
        if (a->choices[i].first_us && (!first || a->choices[i].first_us < first->first_us))
            first = &a->choices[i];
    if (!first || first->first_us < a->submitted_us)
        return;
    x->ttft_ms = (double)(first->first_us - a->submitted_us) / 1e3;
    if (first->usage.completion_tokens > 1 && first->done_us > first->first_us)
        x->tpot_ms = (double)(first->done_us - first->first_us) / 1e3 /
                     (double)(first->usage.completion_tokens - 1);
}

void observe_end(struct answer *a, const struct fail *fail)
{
    struct learning *l = a->request->state->core->learning;
    if (a->is_observed || !l || !a->target.model)
        return;
    a->is_observed = true;
    struct observation x = { .ttft_ms = -1, .tpot_ms = -1, .staged = a->has_revision };
    struct prefix *prefix = arena_alloc(a->request->arena, sizeof(*prefix));
    struct str adapter = adapter_of(a);
    if (fail || !a->submitted_us)
        return;
    times_of(a, &x);
    if (prefix)
        prefix_of(prefix, &a->chats[0]);
    x.prefix = prefix;
    observed_add(l->observed, a->target.model->name, adapter, &x);
}
