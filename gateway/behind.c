#include "gateway/behind.h"

#include "gateway/observe.h"
#include "gateway/record.h"

#include <errno.h>

enum { BACKLOG_PAUSES = 256 * 1024 }; /* bytes of events that the client has not read */

void behind_take_headers(struct answer *a, const struct engine_event *e)
{
    struct request *r = a->request;
    for (size_t i = 0; i < e->n_headers && !a->has_head; i++) {
        const char *name = arena_cstr(r->arena, e->headers[i].key);
        bool known = !name;
        for (size_t k = 0; k < r->reply.n_headers && !known; k++)
            known = str_eq_nocase(r->reply.headers[k].key, e->headers[i].key);
        if (!known)
            reply_header(r, name, e->headers[i].value);
    }
}

void behind_take_verbatim(struct choice *c, const struct engine_event *e)
{
    struct answer *a = c->answer;
    if (c->ended)
        return;
    if (e->has_content)
        observe_text(a);
    c->usage = e->usage;
    a->dialect->verbatim(a, e, a->chats[0].stream ? &a->out : &a->request->reply.body);
}

void behind_take_refusal(struct answer *a, const struct engine_event *e)
{
    behind_take_headers(a, e);
    if (a->is_failed || e->status == 0)
        return;
    a->refused_body = arena_str(a->request->arena, e->text);
    a->refused_status = a->refused_body.n ? e->status : 0;
}

enum next behind_reply_failed(struct answer *a)
{
    struct request *r = a->request;
    enum next next = reply_fail(r, &a->failed);
    if (a->refused_status == 0)
        return next;
    r->reply.status = a->refused_status;
    buf_clear(&r->reply.body);
    buf_add(&r->reply.body, a->refused_body);
    return next;
}

int behind_headers(struct answer *a, const struct chat_pair **ret, size_t *ret_n)
{
    struct request *r = a->request;
    *ret = r->headers;
    *ret_n = r->n_headers;
    if (!a->target.model->passes_keys || r->n_credentials == 0)
        return 0;
    size_t n = r->n_headers + r->n_credentials;
    struct chat_pair *all = arena_array(r->arena, n, sizeof(*all));
    if (!all)
        return -ENOMEM;
    memcpy(all, r->headers, r->n_headers * sizeof(*all));
    memcpy(all + r->n_headers, r->credentials, r->n_credentials * sizeof(*all));
    *ret = all;
    *ret_n = n;
    return 0;
}

void behind_pause(struct choice *c)
{
    struct flow *f = &c->answer->request->flow;
    LOCKED(&f->lock);
    if (c->paused || f->bytes < BACKLOG_PAUSES || !c->job)
        return;
    c->paused = true;
    engine_pause(c->job, /* paused= */ true); /* neither blocks nor calls back */
}

void behind_resume(struct answer *a)
{
    LOCKED(&a->request->flow.lock);
    for (size_t i = 0; i < a->n_choices; i++) {
        struct choice *c = &a->choices[i];
        if (c->paused && c->job)
            engine_pause(c->job, /* paused= */ false);
        c->paused = false;
    }
}

void behind_choose_verbatim(struct answer *a)
{
    const struct dialect *d = a->dialect;
    bool is_guarded = chain_has_stream(a->chain);
    bool is_kept = a->chats[0].stream && record_wants_text(a->request);
    a->is_verbatim = d->verbatim && a->n_chats == 1 && a->chats[0].source.n && !is_guarded &&
                     !is_kept && engine_speaks(a->target.model->engine, d->wire);
    if (a->is_verbatim)
        a->n_choices = 1; /* one job answers all */
}

bool behind_may_have(const struct answer *a)
{
    const struct core *c = a->request->state->core;
    if (a->target.model)
        return engine_is_upstream(a->target.model->engine);
    for (size_t i = 0; i < c->n_models; i++)
        if (engine_is_upstream(c->models[i].engine))
            return true;
    return false;
}

/* Whether the revision is another than the one that the adapter's plain name means. */
static bool is_other(const struct answer *a)
{
    struct adapter_name plain = a->target.adapter;
    struct adapter_revision usual;
    struct fail fail = { 0 };
    if (a->revision->canary || plain.selector.n == 0)
        return a->revision->canary;
    plain.selector = STR_NULL;
    plain.sticky = 0; /* not the canary */
    return adapters_resolve(a->request->state->core->adapters, &plain, &usual, &fail) != 0 ||
           !sha256_eq(&usual.digest, &a->revision->digest);
}

void behind_find_revision(struct request *r)
{
    struct answer *a = r->answer;
    struct fail fail = { 0 };
    int err = target_find(r->state->core, &a->target.adapter, r->min_epoch, a->revision, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "looking the adapter up");
    if (err != 0) {
        answer_fail(a, &fail);
        return;
    }
    a->has_revision = true;
    const struct core_model *m = core_model(r->state->core, str_of(a->revision->base));
    if (!m || !engine_is_upstream(m->engine))
        return; /* a bare name, of a base in this process */
    a->target.model = m;
    a->remote = (struct engine_adapter){ .name = str_of(a->revision->adapter),
                                         .digest = a->revision->digest,
                                         .rank = a->revision->rank,
                                         .is_other = is_other(a) };
    r->log_model = m->name;
    r->log_adapter = str_of(a->revision->adapter);
}
