/*
 * Vectors in the answers of providers that have no OpenAI wire.
 */
#include "engine/upstream/provider_table.h"

#include "base/limits.h"
#include "base/num.h"

#include <errno.h>

enum { WIDTH_MAX = 65536 }; /* far beyond any model's */

int provider_embed_text_only(const struct provider_job *job, struct fail *reterr)
{
    return fail_param(reterr, FAIL_unsupported_parameter, "input", "%s takes text, not token ids",
                      provider_word(job->endpoint->provider));
}

static int bad(const struct provider_job *job, struct fail *reterr, const char *what)
{
    return fail_set(reterr, FAIL_upstream_error, "%s: the answer %s",
                    provider_word(job->endpoint->provider), what);
}

static int tell_error(const struct provider_job *job, struct str object, struct fail *reterr)
{
    CLEANUP(arena_freep) struct arena *arena = arena_new(4 * LIMIT_UPSTREAM_REFUSAL);
    struct provider_refusal refusal = { 0 };
    struct provider_error e = { 0 };
    if (!arena)
        return -ENOMEM;
    provider_error_read(&e, object, arena);
    refusal_by_error(&refusal, job, 0, &e);
    *reterr = refusal.fail;
    return FAILED;
}

static bool read_row(struct str vector, float *row, size_t width)
{
    struct str value;
    double number = 0;
    size_t i = 0;
    struct json_view_walk w = json_view_walk(vector);
    for (; i < width && json_view_next(&w, NULL, &value); i++) {
        if (json_view_double(value, &number) != 0)
            return false;
        row[i] = (float)number;
    }
    return i == width && !json_view_next(&w, NULL, &value);
}

static struct str vector_of(const struct embed_shape *shape, struct str item)
{
    return shape->vector ? json_view_at(item, shape->vector) : item;
}

static bool read_item(const struct embed_shape *shape, struct str item, struct embed_result *ret,
                      size_t at)
{
    uint64_t tokens = 0;
    if (!read_row(vector_of(shape, item), ret->values + at * ret->width, ret->width))
        return false;
    if (shape->tokens && json_view_u64(json_view_at(item, shape->tokens), &tokens) == 0)
        ret->tokens += tokens;
    return true;
}

static bool read_rows(const struct embed_shape *shape, struct str list, struct embed_result *ret)
{
    struct str item;
    struct json_view_walk w = json_view_walk(list);
    if (shape->whole)
        return read_item(shape, list, ret, 0);
    for (size_t at = 0; json_view_next(&w, NULL, &item); at++)
        if (!read_item(shape, item, ret, at))
            return false;
    return true;
}

int provider_read_embeddings(const struct provider_job *job, struct str body,
                             const struct embed_shape *shape, struct embed_result *ret,
                             struct fail *reterr)
{
    size_t at = 0, cells = 0;
    if (json_view_check(body, LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        return bad(job, reterr, "is no JSON");
    struct str object = json_view_value(body);
    struct str list = shape->whole ? object : json_view_at(object, shape->list);
    bool is_error = json_view_get(object, "error").p != NULL;
    if (is_error && (!list.p || shape->whole))
        return tell_error(job, object, reterr);
    if (shape->n == 0 || (shape->whole ? 1 : json_view_count(list)) != shape->n)
        return bad(job, reterr, "does not hold one embedding an input");
    struct str first = shape->whole ? object : json_view_at(list, "0");
    size_t width = json_view_count(vector_of(shape, first));
    if (width == 0 || width > WIDTH_MAX || !mul_ok(shape->n, width, &cells))
        return bad(job, reterr, "holds embeddings of no use");
    struct embed_result result = { .values = calloc(cells, sizeof(float)),
                                   .n = shape->n,
                                   .width = width };
    if (!result.values)
        return -ENOMEM;
    if (!read_rows(shape, list, &result)) {
        embed_result_done(&result);
        return bad(job, reterr, "holds an embedding that is none");
    }
    *ret = result;
    return 0;
}
