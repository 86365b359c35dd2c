/*
 * Anthropic's own Messages API.
 */
#include "engine/upstream/anthropic.h"

static bool anthropic_speaks(enum wire wire)
{
    return wire == WIRE_anthropic_messages;
}

static bool has_header(const struct provider_call *call, const char *name)
{
    for (size_t i = 0; i < call->n_headers; i++)
        if (str_eq_nocase(call->headers[i].key, str_of(name)))
            return true;
    return false;
}

int anthropic_version(struct provider_call *call, const struct provider_job *job)
{
    struct str version = job->endpoint->api_version;
    if (has_header(call, "anthropic-version"))
        return 0;
    return provider_call_header(call, "anthropic-version", version.n ? version : STR("2023-06-01"));
}

/* Keys stand in a header of their own; tokens of accounts do not. */
static int anthropic_headers(struct provider_call *call, const struct provider_job *job)
{
    bool is_token = str_starts(provider_secret(job), STR("sk-ant-oat"));
    int r = is_token ? provider_headers(call, job, "authorization", "Bearer")
                     : provider_headers(call, job, "x-api-key", NULL);
    return r == 0 ? anthropic_version(call, job) : r;
}

static int anthropic_write_relay(struct provider_call *ret, const struct provider_job *job,
                                 const char *path, bool decoded, struct fail *reterr)
{
    (void)decoded;
    if (strcmp(path, COUNT_TOKENS_PATH) != 0) /* of another wire */
        return provider_no_relay(job, reterr);
    buf_add(&ret->url, job->endpoint->url);
    buf_adds(&ret->url, path);
    int r = anthropic_headers(ret, job);
    return r != 0 ? r : provider_written(ret, reterr);
}

static int anthropic_write(struct provider_call *ret, const struct provider_job *job,
                           struct fail *reterr)
{
    static const struct anthropic_place own = { 0 };
    if (!provider_own_path(ret, job->endpoint)) {
        buf_add(&ret->url, job->endpoint->url);
        buf_adds(&ret->url, "/v1/messages");
    }
    int r = anthropic_headers(ret, job);
    if (r == 0)
        r = anthropic_write_body(ret, job, &own, reterr);
    return r != 0 ? r : provider_written(ret, reterr);
}

static void anthropic_refusal(const struct provider_job *job, const struct call_head *head,
                              struct str body, struct provider_refusal *ret)
{
    refusal_usual(job, head, body, WIRE_anthropic_messages, ret);
}

const struct provider anthropic_provider = { .name = "anthropic",
                                             .speaks = anthropic_speaks,
                                             .write = anthropic_write,
                                             .reader_new = anthropic_reader_new,
                                             .read = anthropic_read,
                                             .end = anthropic_end,
                                             .reader_free = anthropic_reader_free,
                                             .refusal = anthropic_refusal,
                                             .write_relay = anthropic_write_relay };
