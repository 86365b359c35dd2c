#include "engine/upstream/upstream_embed.h"

#include "base/limits.h"
#include "engine/upstream/splice.h"
#include "engine/upstream/upstream_call.h"

static struct upstream *of(struct engine *e)
{
    return (struct upstream *)(void *)e;
}

/* ---- embeddings ---- */

struct embeds {
    const struct embed_input *inputs;
    size_t n;
    struct embed_result *ret;
};

static int write_embeds(void *ctx, const struct provider *p, struct provider_call *call,
                        const struct provider_job *job, struct fail *reterr)
{
    const struct embeds *m = ctx;
    if (!p->write_embed)
        return fail_param(reterr, FAIL_unsupported_parameter, "model",
                          "%s computes no embeddings here", p->name);
    return p->write_embed(call, job, m->inputs, m->n, reterr);
}

static int read_embeds(void *ctx, const struct provider *p, const struct provider_job *job,
                       struct str body, struct fail *reterr)
{
    const struct embeds *m = ctx;
    return p->read_embed(job, body, m->n, m->ret, reterr);
}

int upstream_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr)
{
    struct embeds m = { inputs, n, ret };
    struct upstream_ask ask = { .write = write_embeds, .read = read_embeds, .ctx = &m };
    return upstream_call(of(e), &ask, /* ret_status= */ NULL, /* ret_body= */ NULL, reterr);
}

/* ---- bodies that pass through ---- */

struct relays {
    const struct engine_relay *what;
    struct engine_relayed *ret;
};

static int write_relay(void *ctx, const struct provider *p, struct provider_call *call,
                       const struct provider_job *job, struct fail *reterr)
{
    const struct relays *m = ctx;
    if (!p->write_relay)
        return fail_param(reterr, FAIL_unsupported_parameter, "model", "%s does not serve this API",
                          p->name);
    CLEANUP(buf_done) struct buf model = BUF_INIT(LIMIT_HEADER);
    buf_add_json(&model, job->model);
    struct splice splice = { .key = "model", .json = buf_str(&model) };
    int err = buf_err(&model);
    if (err == 0)
        err = splice_object(&call->body, m->what->body, &splice, 1);
    return err == 0 ? p->write_relay(call, job, m->what->path, reterr) : err;
}

static int read_relay(void *ctx, const struct provider *p, const struct provider_job *job,
                      struct str body, struct fail *reterr)
{
    const struct relays *m = ctx;
    (void)p;
    (void)job;
    (void)reterr;
    buf_clear(&m->ret->body);
    buf_add(&m->ret->body, body);
    m->ret->status = 200;
    return buf_err(&m->ret->body);
}

int upstream_relay(struct engine *e, const struct engine_relay *what, struct engine_relayed *ret,
                   struct fail *reterr)
{
    struct relays m = { what, ret };
    struct upstream_ask ask = { .tenant = what->tenant_name,
                                .request_id = what->request_id,
                                .headers = what->headers,
                                .n_headers = what->n_headers,
                                .write = write_relay,
                                .read = read_relay,
                                .ctx = &m };
    ret->body.max = LIMIT_UPSTREAM_ANSWER;
    return upstream_call(of(e), &ask, &ret->status, &ret->body, reterr);
}
