/*
 * A provider (first byte), the wire and what is asked for (second), then a client's body: whatever
 * is decoded is written as JSON, or refused with a reason.
 */
#include "tests/fuzz/fuzz.h"

#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/provider.h"
#include "gateway/api/chat.h"
#include "gateway/api/messages.h"

#include <errno.h>
#include <stdlib.h>

static int decode(struct chat_request *c, struct str body, bool is_messages, struct arena *arena)
{
    struct fail fail = { 0 };
    return is_messages ? messages_decode(c, body, false, arena, &fail)
                       : chat_decode(c, body, arena, &fail);
}

static void write_one(const struct provider_job *job)
{
    struct fail fail = { 0 };
    size_t at = 0;
    struct provider_call call = { .url = BUF_INIT(MIB),
                                  .body = BUF_INIT(64 * MIB),
                                  .arena = arena_new(16 * MIB) };
    int r = call.arena ? provider_of(job->endpoint->provider)->write(&call, job, &fail) : -ENOMEM;
    if (r == 0 && json_view_check(buf_str(&call.body), 2 * LIMIT_JSON_DEPTH, &at) != JSON_VIEW_ok)
        abort();
    if (r == FAILED && !fail.message[0])
        abort();
    provider_call_done(&call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    CLEANUP(arena_freep) struct arena *arena = arena_new(64 * MIB);
    struct str body =
        arena ? arena_str(arena, (struct str){ (const char *)data + 2, size - 2 }) : STR_NULL;
    struct config_upstream upstream = { .drop_params = data[1] & 1 };
    struct config_endpoint endpoint = { .provider = data[0] % (UPSTREAM_bedrock + 1),
                                        .url = STR("http://h/v1"),
                                        .region = STR("eu-west-1"),
                                        .project = STR("p"),
                                        .model = STR("claude-sonnet-4-5") };
    struct chat_pair adapter = { STR("lora"), STR("[{\"id\":0,\"scale\":0}]") };
    struct chat_request request = { 0 };
    if (!body.p || decode(&request, body, data[1] & 2, arena) != 0)
        return 0;
    if (data[1] & 32)
        request.source = STR_NULL; /* as where a plugin made it */
    struct provider_job job = { .request = &request,
                                .upstream = &upstream,
                                .endpoint = &endpoint,
                                .model = data[1] & 4 ? STR("claude-3-haiku") : endpoint.model,
                                .secret = STR("AKID:secret"),
                                .now_s = 1800000000,
                                .request_id = "req",
                                .adapter = data[1] & 8 ? &adapter : NULL };
    if (data[1] & 64)
        endpoint.model = job.model = data[1] & 4 ? STR("gemini-1.5-pro") : STR("gemini-3-pro");
    job.verbatim = data[1] & 16 && provider_speaks(&endpoint, request.wire);
    write_one(&job);
    return 0;
}
