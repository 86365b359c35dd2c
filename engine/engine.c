#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *finish_reason_word(enum finish_reason r)
{
    static const char *const words[] = { "stop", "length", "stop", "content_filter", "tool_calls" };
    return words[r];
}

uint64_t engine_tenant(struct str name)
{
    if (!name.n)
        return 0;
    struct sha256 d = sha256_of(name); /* nobody can choose a name that shares another's turn */
    uint64_t id = 0;
    memcpy(&id, d.b, sizeof(id));
    return id ? id : 1;
}

int engine_submit(struct engine *e, struct engine_job **ret, const struct engine_spec *spec,
                  struct fail *reterr)
{
    return e->ops->submit(e, ret, spec, reterr);
}

void engine_cancel(struct engine_job *job)
{
    job->ops->cancel(job);
}

void engine_pause(struct engine_job *job, bool paused)
{
    if (job->ops->pause)
        job->ops->pause(job, paused);
}

bool engine_is_upstream(const struct engine *e)
{
    return e->ops->speaks;
}

bool engine_speaks(const struct engine *e, enum wire wire)
{
    return e->ops->speaks && e->ops->speaks(e, wire);
}

struct engine_job *engine_job_unref(struct engine_job *job)
{
    if (job)
        job->ops->unref(job);
    return NULL;
}

int engine_tokenize(struct engine *e, int32_t **ret_ids, size_t *ret_n,
                    const struct chat_request *request, struct fail *reterr)
{
    return e->ops->tokenize(e, ret_ids, ret_n, request, reterr);
}

ptrdiff_t engine_count_tokens(struct engine *e, struct str text)
{
    return e->ops->count_tokens(e, text);
}

void engine_detokenize(struct engine *e, const int32_t *ids, size_t n, struct buf *out)
{
    e->ops->detokenize(e, ids, n, out);
}

void embed_result_done(struct embed_result *r)
{
    free(r->values);
    *r = (struct embed_result){ 0 };
}

void embed_unit_length(float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
}

/* An engine that lacks the operation says so in one way. */
static int not_served(const char *what, struct fail *reterr)
{
    return fail_param(reterr, FAIL_unsupported_parameter, "model", "this model does not %s", what);
}

int engine_encode(struct engine *e, const struct engine_encoding *what, int32_t **ret_ids,
                  size_t *ret_n, struct fail *reterr)
{
    if (!e->ops->encode)
        return not_served("show its tokens", reterr);
    return e->ops->encode(e, what, ret_ids, ret_n, reterr);
}

int engine_spell(struct engine *e, const int32_t *ids, size_t n, struct buf *out,
                 struct fail *reterr)
{
    if (!e->ops->spell)
        return not_served("show its tokens", reterr);
    return e->ops->spell(e, ids, n, out, reterr);
}

struct str engine_token(const struct engine *e, int32_t id, struct buf *bytes)
{
    return e->ops->token ? e->ops->token(e, id, bytes) : STR_NULL;
}

int engine_embed(struct engine *e, const struct embed_input *inputs, size_t n,
                 struct embed_result *ret, struct fail *reterr)
{
    if (!e->ops->embed)
        return not_served("compute embeddings", reterr);
    return e->ops->embed(e, inputs, n, ret, reterr);
}

int engine_relay(struct engine *e, const struct engine_relay *what, struct engine_relayed *ret,
                 struct fail *reterr)
{
    if (!e->ops->relay)
        return not_served("serve this API", reterr);
    return e->ops->relay(e, what, ret, reterr);
}

int engine_classify(struct engine *e, const struct embed_input *inputs, size_t n,
                    struct embed_result *ret, struct fail *reterr)
{
    if (!e->ops->classify)
        return not_served("classify text", reterr);
    return e->ops->classify(e, inputs, n, ret, reterr);
}

int engine_classify_tokens(struct engine *e, struct str text, struct embed_result *ret,
                           struct token_range **ret_ranges, struct fail *reterr)
{
    if (!e->ops->classify_tokens)
        return not_served("classify tokens", reterr);
    return e->ops->classify_tokens(e, text, ret, ret_ranges, reterr);
}

struct str engine_label(const struct engine *e, size_t i)
{
    return e->ops->label ? e->ops->label(e, i) : (struct str){ 0 };
}

uint32_t engine_context(const struct engine *e)
{
    return e->ops->context(e);
}

size_t engine_load(const struct engine *e, size_t *ret_running, size_t *ret_waiting)
{
    return e->ops->load(e, ret_running, ret_waiting);
}

void engine_drain(struct engine *e)
{
    e->ops->drain(e);
}

struct engine *engine_free(struct engine *e)
{
    if (e)
        e->ops->free(e);
    return NULL;
}
