#include "engine/engine.h"

const char *finish_reason_word(enum finish_reason r)
{
    static const char *const words[] = { "stop", "length", "stop", "content_filter", "tool_calls" };
    return words[r];
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
