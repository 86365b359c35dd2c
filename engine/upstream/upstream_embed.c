#include "engine/upstream/upstream_embed.h"

#include "base/limits.h"
#include "engine/upstream/splice.h"
#include "engine/upstream/upstream_call.h"

#include <errno.h>
#include <stdlib.h>

static struct upstream *of(struct engine *e)
{
    return (struct upstream *)(void *)e;
}

/* ---- embeddings ---- */

struct embeds {
    const struct embed_input *inputs;
    size_t n, at, more; /* of them; those that have vectors; those that are being asked for */
    struct embed_result *ret;
};

static int write_embeds(void *ctx, const struct provider *p, struct provider_call *call,
                        const struct provider_job *job, struct fail *reterr)
{
    struct embeds *m = ctx;
    if (!p->write_embed)
        return fail_param(reterr, FAIL_unsupported_parameter, "model",
                          "%s computes no embeddings here", p->name);
    size_t most = p->embed_max ? p->embed_max(job) : m->n;
    m->more = m->n - m->at < most ? m->n - m->at : most;
    return p->write_embed(call, job, m->inputs + m->at, m->more, reterr);
}

/* Vectors behind those that there are. */
static int append(struct embed_result *to, struct embed_result *from, struct fail *reterr)
{
    size_t have = to->n * to->width, add = from->n * from->width;
    if (to->n == 0) {
        *to = *from;
        *from = (struct embed_result){ 0 };
        return 0;
    }
    if (to->width != from->width)
        return fail_set(reterr, FAIL_upstream_error,
                        "the engines behind gave vectors of %zu and of %zu numbers", to->width,
                        from->width);
    float *all = realloc(to->values, (have + add) * sizeof(*all)); /* of a bounded request */
    if (!all)
        return -ENOMEM;
    memcpy(all + have, from->values, add * sizeof(*all));
    to->values = all;
    to->n += from->n;
    to->tokens += from->tokens;
    return 0;
}

static int read_embeds(void *ctx, const struct provider *p, const struct provider_job *job,
                       struct str body, struct fail *reterr)
{
    struct embeds *m = ctx;
    struct embed_result piece = { 0 };
    int r = p->read_embed(job, body, m->more, &piece, reterr);
    if (r == 0)
        r = append(m->ret, &piece, reterr);
    embed_result_done(&piece);
    if (r == 0)
        m->at += m->more;
    return r;
}

int upstream_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                   struct embed_result *ret, struct fail *reterr)
{
    struct embed_result all = { 0 };
    struct embeds m = { .inputs = inputs, .n = n, .ret = &all };
    struct upstream_ask ask = { .write = write_embeds, .read = read_embeds, .ctx = &m };
    int r = 0;
    do
        r = upstream_call(of(e), &ask, /* ret_status= */ NULL, /* ret_body= */ NULL, reterr);
    while (r == 0 && m.at < n);
    if (r == 0)
        *ret = all;
    else
        embed_result_done(&all);
    return r;
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
    struct provider_job said = *job;
    if (m->what->chat)
        said.request = m->what->chat;
    return err == 0 ? p->write_relay(call, &said, m->what->path, m->what->chat, reterr) : err;
}

static int read_relay(void *ctx, const struct provider *p, const struct provider_job *job,
                      struct str body, struct fail *reterr)
{
    const struct relays *m = ctx;
    buf_clear(&m->ret->body);
    if (p->read_relay) {
        int err = p->read_relay(job, body, &m->ret->body, reterr);
        if (err != 0)
            return err;
    } else {
        buf_add(&m->ret->body, body);
    }
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
                                .is_relay = true,
                                .write = write_relay,
                                .read = read_relay,
                                .ctx = &m };
    ret->body.max = LIMIT_UPSTREAM_ANSWER;
    return upstream_call(of(e), &ask, &ret->status, &ret->body, reterr);
}
