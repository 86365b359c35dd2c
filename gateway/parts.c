#include "gateway/parts.h"

#include <errno.h>

static bool is_stream(const struct answer *a)
{
    return a->chats[0].stream;
}

static void no_memory(struct choice *c)
{
    struct fail fail;
    (void)fail_errno(&fail, -ENOMEM, "collecting the answer");
    answer_fail(c->answer, &fail);
}

/* ---- an answer that is sent as a whole ---- */

static struct choice_call *add_call(struct choice *c, const struct engine_call *call)
{
    struct arena *arena = c->answer->request->arena;
    struct choice_call *new = arena_alloc(arena, sizeof(*new));
    if (!new)
        return NULL;
    *new = (struct choice_call){ .id = arena_str(arena, call->id),
                                 .name = arena_str(arena, call->name),
                                 .arguments = BUF_INIT(LIMIT_REQUEST_ARENA) };
    if (!new->id.p || !new->name.p)
        return NULL;
    struct choice_call **last = &c->calls;
    while (*last)
        last = &(*last)->next;
    *last = new;
    return new;
}

static size_t last_end(const struct choice *c)
{
    const struct choice_thought *t = c->thoughts;
    while (t && t->next)
        t = t->next;
    return t ? t->to : 0;
}

struct str parts_thought(const struct choice *c, const struct choice_thought *t)
{
    return str_sub(str_head(buf_str(&c->reasoning), t->to), t->from);
}

struct str parts_unsigned(const struct choice *c)
{
    return str_sub(buf_str(&c->reasoning), last_end(c));
}

/* A signature ends the block that it is of; what cannot be read is a block of its own. */
static void add_thought(struct choice *c, const struct engine_event *e)
{
    struct arena *arena = c->answer->request->arena;
    struct choice_thought *t = arena_alloc(arena, sizeof(*t));
    size_t from = last_end(c);
    if (t)
        *t = (struct choice_thought){ .from = from,
                                      .to = e->signature.n ? c->reasoning.n : from,
                                      .signature = arena_str(arena, e->signature),
                                      .redacted = arena_str(arena, e->redacted) };
    if (!t || !t->signature.p || !t->redacted.p) {
        no_memory(c);
        return;
    }
    struct choice_thought **last = &c->thoughts;
    while (*last)
        last = &(*last)->next;
    *last = t;
}

static void collect(struct choice *c, const struct engine_event *e)
{
    if (e->kind == ENGINE_EVENT_reasoning) {
        buf_add(&c->reasoning, e->text);
        if (e->signature.n || e->redacted.n)
            add_thought(c, e);
        return;
    }
    struct choice_call *last = c->calls;
    while (last && last->next)
        last = last->next;
    if (e->call.name.n)
        last = add_call(c, &e->call);
    if (!last)
        no_memory(c);
    else
        buf_add(&last->arguments, e->call.arguments);
}

/* ---- both ---- */

static void emit(struct choice *c, const struct engine_event *e)
{
    struct answer *a = c->answer;
    bool empty = e->kind == ENGINE_EVENT_reasoning
                     ? e->text.n == 0 && e->signature.n == 0 && e->redacted.n == 0
                     : e->call.arguments.n == 0 && e->call.name.n == 0;
    if (empty || c->ended)
        return;
    if (is_stream(a))
        a->dialect->part(a, c, e, &a->out);
    else
        collect(c, e);
}

/* The event with what the guards let go of its text. */
static void guard(struct choice *c, const struct engine_event *e, bool end)
{
    struct engine_event out = *e;
    bool is_call = e->kind == ENGINE_EVENT_tool_call;
    struct str *text = is_call ? &out.call.arguments : &out.text;
    if (!c->part_run) {
        emit(c, e);
        return;
    }
    CLEANUP(buf_done) struct buf held = BUF_INIT(LIMIT_SSE_EVENT);
    bool blocked = answer_guard(c, c->part_run, *text, end, &held);
    *text = buf_str(&held);
    emit(c, &out);
    if (blocked)
        answer_block(c);
}

void parts_leave(struct choice *c)
{
    if (!c->part_run || c->ended)
        return;
    struct engine_event rest = { .kind = c->part, .call.index = c->part_index };
    guard(c, &rest, /* end= */ true);
    c->part_run = chain_run_free(c->part_run);
}

static void take(struct choice *c, const struct engine_event *e)
{
    struct answer *a = c->answer;
    if (!c->part_run && chain_has_stream(a->chain) && chain_run_new(&c->part_run, a->chain) < 0) {
        no_memory(c);
        return;
    }
    guard(c, e, /* end= */ false);
}

void parts_take(struct choice *c, const struct engine_event *e)
{
    struct answer *a = c->answer;
    if (c->ended || !a->dialect->part)
        return;
    bool begins = e->kind != c->part || e->call.index != c->part_index;
    if (begins && c->part_run)
        parts_leave(c);
    c->part = e->kind;
    c->part_index = e->call.index;
    if (e->signature.n || e->redacted.n) { /* nobody can read it; it stands behind the text */
        struct engine_event text = *e, seal = *e;
        text.signature = text.redacted = STR_NULL;
        seal.text = STR_NULL;
        take(c, &text);
        parts_leave(c);
        emit(c, &seal);
        return;
    }
    take(c, e);
}

void parts_done(struct choice *c)
{
    for (struct choice_call *call = c->calls; call; call = call->next)
        buf_done(&call->arguments);
    buf_done(&c->reasoning);
    c->part_run = chain_run_free(c->part_run);
}
