/*
 * What reading a stream's chunk costs, over finding its frame alone (sse.h): passed on as it is,
 * and read as events; chunks that are alike, and such that differ in more than their text.
 *
 *     provider_perf [CHUNKS]
 */
#include "engine/upstream/provider.h"
#include "base/limits.h"
#include "base/num.h"
#include "engine/upstream/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

struct stream {
    const char *name;
    enum upstream_provider provider;
    enum wire wire;
    struct str chunks[2]; /* sent in turn */
};

#define CHAT(extra, text, pad)                                                                     \
    "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\","    \
    "\"created\":1700000000,\"model\":\"gpt-4o-mini\",\"system_fingerprint\":\"" extra             \
    "\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text                                  \
    "\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"" pad         \
    "\"}\n\n"
#define MESSAGE(text)                                                                              \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"             \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"

static uint64_t n_events;

static void count(void *owner, const struct engine_event *e)
{
    (void)owner;
    if (e->kind == ENGINE_EVENT_failed)
        abort();
    n_events++;
}

static int count_frame(void *ctx, const struct sse_event *e)
{
    (void)ctx;
    n_events += e->data.n > 0;
    return 0;
}

static double frame_ns(const struct stream *s, uint64_t n)
{
    struct sse sse = SSE_INIT(LIMIT_UPSTREAM_EVENT);
    uint64_t since = cpu_ns();
    for (uint64_t i = 0; i < n; i++)
        if (sse_push(&sse, s->chunks[i % 2], count_frame, NULL) != 0)
            abort();
    since = cpu_ns() - since;
    sse_done(&sse);
    return (double)since / (double)n;
}

static double read_ns(const struct stream *s, bool verbatim, uint64_t n)
{
    struct chat_request request = {
        .model = STR("m"), .stream = true, .n = 1, .wire = s->wire, .source = STR("{}")
    };
    struct config_upstream upstream = { 0 };
    struct config_endpoint endpoint = { .provider = s->provider, .model = STR("m") };
    struct provider_job job = { .request = &request,
                                .verbatim = verbatim,
                                .upstream = &upstream,
                                .endpoint = &endpoint,
                                .model = STR("m"),
                                .request_id = "" };
    struct call_head head = { .status = 200 };
    const struct provider *p = provider_of(s->provider);
    struct provider_reader *r = p->reader_new(&job, &head, (struct reader_out){ count, NULL });
    if (!r)
        abort();
    uint64_t since = cpu_ns();
    for (uint64_t i = 0; i < n; i++)
        if (p->read(r, s->chunks[i % 2]) != 0)
            abort();
    since = cpu_ns() - since;
    p->reader_free(r);
    return (double)since / (double)n;
}

int main(int argc, char **argv)
{
    static const struct stream streams[] = {
        { "chat, alike",
          UPSTREAM_openai,
          WIRE_openai_chat,
          { STR(CHAT("fp_1", " hello", "aB")), STR(CHAT("fp_1", " there, you", "aBcDeF")) } },
        { "chat, unlike",
          UPSTREAM_openai,
          WIRE_openai_chat,
          { STR(CHAT("fp_1", " hello", "aB")), STR(CHAT("fp_2", " hello", "aB")) } },
        { "messages",
          UPSTREAM_anthropic,
          WIRE_anthropic_messages,
          { STR(MESSAGE(" hello")), STR(MESSAGE(" there, you")) } },
    };
    uint64_t n = 1000000;
    if (argc > 1 && num_parse_u64(&n, str_of(argv[1]), 1, UINT32_MAX) < 0)
        return 1;
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        double frame = frame_ns(&streams[i], n);
        double passed = read_ns(&streams[i], true, n), read = read_ns(&streams[i], false, n);
        (void)printf("%-12s frame %4.0f ns; passed on %5.0f ns (%.1f frames), read %5.0f ns (%.1f "
                     "frames) of CPU a chunk of %zu bytes\n",
                     streams[i].name, frame, passed, passed / frame, read, read / frame,
                     streams[i].chunks[0].n);
    }
    return n_events > 0 ? 0 : 1;
}
