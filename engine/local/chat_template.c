#include "engine/local/chat_template.h"

#include "engine/local/chat_template_impl.h"
#include "engine/local/chat_template_messages.h"

#include <errno.h>
#include <stdlib.h>

const char chat_template_chatml[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}";

/* Nodes, tokens and texts of one template. */
static const size_t compiled_max = 64 * LIMIT_TEMPLATE_BYTES;
/* Values of one rendering; the output itself is counted apart. */
static const size_t values_max = 4 * LIMIT_TEMPLATE_OUTPUT;

int chat_template_new(struct chat_template **ret, struct str source, struct fail *reterr)
{
    if (source.n > LIMIT_TEMPLATE_BYTES)
        return fail_set(reterr, FAIL_invalid_request,
                        "chat template: %zu bytes are over the limit of %lu", source.n,
                        LIMIT_TEMPLATE_BYTES);
    CLEANUP(chat_template_freep) struct chat_template *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->arena = arena_new(compiled_max);
    if (!t->arena)
        return -ENOMEM;
    int r = template_parse(t, source, reterr);
    if (r == 0)
        *ret = TAKE(t);
    return r;
}

struct chat_template *chat_template_free(struct chat_template *t)
{
    if (t) {
        (void)arena_free(t->arena);
        free(t);
    }
    return NULL;
}

void chat_rendering_done(struct chat_rendering *r)
{
    free(r->text);
    free(r->spans);
    *r = (struct chat_rendering){ 0 };
}

static struct val tools_value(struct render *r, const struct chat_request *q)
{
    if (q->tools_json.n) {
        struct val all = chat_json(r, q->tools_json);
        if (r->err == 0 && all.kind != V_list)
            return render_fail(r, "tools is no JSON array");
        return r->err == 0 && all.l->n == 0 ? V_NONE : all;
    }
    if (!q->n_tools)
        return V_NONE;
    struct val all = val_list(r, q->n_tools);
    for (size_t i = 0; i < q->n_tools && r->err == 0; i++)
        (void)list_add(r, all.l, chat_json(r, q->tools[i].json));
    return all;
}

static void set_kwargs(struct render *r, struct scope *s, struct str json)
{
    struct val all = json.n ? chat_json(r, json) : V_NONE;
    if (r->err == 0 && all.kind != V_dict && all.kind != V_none)
        (void)render_fail(r, "chat_template_kwargs is no JSON object");
    for (size_t i = 0; r->err == 0 && all.kind == V_dict && i < all.d->n; i++)
        scope_set(r, s, text_str(all.d->pairs[i].key.s), all.d->pairs[i].value);
}

static bool has_tools(const struct chat_request *q)
{
    return q->tools_json.n || q->n_tools;
}

/* `undefined`: without tools there is no such name; else it is none. */
static struct scope *top_scope(struct render *r, const struct chat_template_vars *vars,
                               bool undefined)
{
    struct scope *s = scope_new(r, r->globals);
    if (!s)
        return NULL;
    scope_set(r, s, STR("documents"), V_NONE);
    scope_set(r, s, STR("add_generation_prompt"), val_bool(vars->add_generation_prompt));
    set_kwargs(r, s, vars->request->template_kwargs);
    scope_set(r, s, STR("messages"), chat_messages(r, vars));
    if (!undefined || has_tools(vars->request))
        scope_set(r, s, STR("tools"), tools_value(r, vars->request));
    scope_set(r, s, STR("bos_token"), val_text(r, vars->bos_token, false));
    scope_set(r, s, STR("eos_token"), val_text(r, vars->eos_token, false));
    return s;
}

/* Moves the output out; the spans view it. */
static int take_rendering(struct out *o, struct chat_rendering *ret)
{
    struct chat_rendering done = { .n_spans = o->n_runs };
    done.spans = calloc(o->n_runs ? o->n_runs : 1, sizeof(*done.spans));
    if (!done.spans)
        return -ENOMEM;
    done.text = o->b.n ? buf_take(&o->b, &done.n) : calloc(1, 1);
    if (!done.text) {
        chat_rendering_done(&done);
        return -ENOMEM;
    }
    for (size_t i = 0, from = 0; i < done.n_spans; from = o->runs[i++].end)
        done.spans[i] =
            (struct text_span){ { done.text + from, o->runs[i].end - from }, o->runs[i].literal };
    *ret = done;
    return 0;
}

static int render_once(const struct chat_template *t, const struct chat_template_vars *vars,
                       bool undefined, struct chat_rendering *ret, struct fail *reterr)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(values_max);
    if (!arena)
        return -ENOMEM;
    struct render r = { .arena = arena, .reterr = reterr, .line = 1, .now_s = vars->now_s };
    CLEANUP(out_done) struct out o;
    out_init(&o, &r);
    r.out = &o;
    globals_init(&r);
    struct scope *top = r.globals ? top_scope(&r, vars, undefined) : NULL;
    if (top && r.err == 0)
        run_body(&r, top, t->body);
    if (r.err != 0)
        return r.err;
    return take_rendering(&o, ret);
}

/* transformers says `tools` is none where there are none, llama.cpp does not say it at all. Some
 * templates walk over it without looking, which none does not let them. */
int chat_template_render(const struct chat_template *t, const struct chat_template_vars *vars,
                         struct chat_rendering *ret, struct fail *reterr)
{
    struct fail first = { 0 };
    int r = render_once(t, vars, /* undefined= */ false, ret, &first);
    if (r == FAILED && !has_tools(vars->request)) {
        int again = render_once(t, vars, /* undefined= */ true, ret, /* reterr= */ NULL);
        r = again == FAILED ? r : again;
    }
    if (r == FAILED && reterr)
        *reterr = first;
    return r;
}
