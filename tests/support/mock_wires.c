#include "tests/support/mock_wires.h"

static void add_be(struct buf *b, uint32_t v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        buf_addc(b, (char)(v >> (8 * i)));
}

/* ---- framing of events ---- */

static const char *eol_of(const struct mock_render *r)
{
    static const char *const mixed[] = { "\n", "\r\n", "\r" };

    switch ((enum mock_eol)r->script->eol) {
    case MOCK_EOL_crlf:
        return "\r\n";
    case MOCK_EOL_cr:
        return "\r";
    case MOCK_EOL_mixed:
        return mixed[r->events % ARRAY_LEN(mixed)];
    case MOCK_EOL_own:
        return r->ask->wire == MOCK_WIRE_gemini ? "\r\n" : "\n";
    case MOCK_EOL_lf:
        break;
    }
    return "\n";
}

static void sse_add(struct mock_render *r, struct buf *out, const char *name, struct str data)
{
    const char *eol = eol_of(r);

    if (r->script->comments)
        buf_addf(out, ": comment %u%s%sid: %u%sretry: 10%s", r->events, eol, eol, r->events, eol,
                 eol);
    if (name) {
        buf_adds(out, "event: ");
        buf_adds(out, name);
        buf_adds(out, eol);
    }
    buf_adds(out, "data: ");
    if (r->script->lines && data.n && data.p[0] == '{') {
        buf_addc(out, '{');
        buf_adds(out, eol);
        buf_adds(out, "data: ");
        data = str_sub(data, 1);
    }
    buf_add(out, data);
    buf_adds(out, eol);
    buf_adds(out, eol);
    r->events++;
}

static void bedrock_header(struct buf *b, const char *name, const char *value)
{
    buf_addc(b, (char)strlen(name));
    buf_adds(b, name);
    buf_addc(b, 7); /* a string */
    add_be(b, (uint32_t)strlen(value), 2);
    buf_adds(b, value);
}

/* A frame of application/vnd.amazon.eventstream. */
static void bedrock_add(struct mock_render *r, struct buf *out, const char *kind, const char *event,
                        struct str payload)
{
    enum { PRELUDE = 12, AROUND = 16 };
    struct buf headers = BUF_INIT(4096);
    size_t from = out->n;

    bedrock_header(&headers, strcmp(kind, "exception") == 0 ? ":exception-type" : ":event-type",
                   event);
    bedrock_header(&headers, ":content-type", "application/json");
    bedrock_header(&headers, ":message-type", kind);
    add_be(out, (uint32_t)(AROUND + headers.n + payload.n), 4);
    add_be(out, (uint32_t)headers.n, 4);
    add_be(out, mock_crc32(0, (struct str){ out->p + from, PRELUDE - 4 }), 4);
    buf_add(out, buf_str(&headers));
    buf_add(out, payload);
    bool wrong = r->script->frame == MOCK_FRAME_crc && r->step == STEP_text && r->i == 1;
    add_be(out, mock_crc32(0, (struct str){ out->p + from, out->n - from }) ^ (wrong ? 1 : 0), 4);
    if (r->script->frame == MOCK_FRAME_truncated && r->step == STEP_text && r->i == 1)
        out->n = from + (out->n - from) / 2;
    buf_done(&headers);
    r->events++;
}

/* ---- pieces ---- */

/* Of text frame i, as the inside of a JSON string. */
void mock_text_add(struct buf *b, const struct mock_script *s, uint32_t i)
{
    size_t from = b->n;

    buf_addf(b, "t%u ", i);
    if (s->text == MOCK_TEXT_unicode)
        buf_adds(b, "\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80 ");
    else if (s->text == MOCK_TEXT_utf8)
        buf_adds(b, "\xff\xc3 ");
    else if (s->text == MOCK_TEXT_surrogate)
        buf_adds(b, "\\ud800 ");
    if (b->n - from >= s->size)
        return;
    size_t n = s->size - (b->n - from);
    char *room = buf_space(b, n);
    if (!room)
        return;
    memset(room, 'x', n);
    room[n - 1] = ' ';
    b->n += n;
}

void mock_big_add(struct buf *b, uint32_t n)
{
    char *room = buf_space(b, n);
    if (!room)
        return;
    memset(room, 'y', n);
    b->n += n;
}

const char *mock_finish_word(const struct mock_render *r)
{
    static const char *const stop[] = { "stop", "end_turn", "STOP" };
    static const char *const length[] = { "length", "max_tokens", "MAX_TOKENS" };
    static const char *const calls[] = { "tool_calls", "tool_use", "STOP" };
    unsigned of = r->ask->wire == MOCK_WIRE_gemini                                           ? 2
                  : r->ask->wire == MOCK_WIRE_anthropic || r->ask->wire == MOCK_WIRE_bedrock ? 1
                                                                                             : 0;
    if (r->script->finish == MOCK_FINISH_weird)
        return "eos_token";
    if (r->script->finish == MOCK_FINISH_length)
        return length[of];
    return r->script->tools ? calls[of] : stop[of];
}

void mock_usage_add(struct buf *b, const struct mock_render *r)
{
    uint32_t n = r->script->frames * r->ask->n + (r->script->big ? 1 : 0);

    switch (r->ask->wire) {
    case MOCK_WIRE_anthropic:
        buf_addf(b, "{\"input_tokens\":%d,\"cache_read_input_tokens\":%d,\"output_tokens\":%u}",
                 MOCK_PROMPT_TOKENS - MOCK_CACHED_TOKENS, MOCK_CACHED_TOKENS, n);
        return;
    case MOCK_WIRE_gemini:
        buf_addf(b,
                 "{\"promptTokenCount\":%d,\"cachedContentTokenCount\":%d,"
                 "\"candidatesTokenCount\":%u,\"totalTokenCount\":%u}",
                 MOCK_PROMPT_TOKENS, MOCK_CACHED_TOKENS, n, MOCK_PROMPT_TOKENS + n);
        return;
    case MOCK_WIRE_bedrock:
        buf_addf(b,
                 "{\"inputTokens\":%d,\"outputTokens\":%u,\"totalTokens\":%u,"
                 "\"cacheReadInputTokens\":%d}",
                 MOCK_PROMPT_TOKENS - MOCK_CACHED_TOKENS, n, MOCK_PROMPT_TOKENS + n,
                 MOCK_CACHED_TOKENS);
        return;
    default:
        buf_addf(b,
                 "{\"prompt_tokens\":%d,\"completion_tokens\":%u,\"total_tokens\":%u,"
                 "\"prompt_tokens_details\":{\"cached_tokens\":%d}}",
                 MOCK_PROMPT_TOKENS, n, MOCK_PROMPT_TOKENS + n, MOCK_CACHED_TOKENS);
    }
}

static void error_json(struct buf *b, const struct mock_ask *ask, unsigned status)
{
    switch (ask->wire) {
    case MOCK_WIRE_anthropic:
    case MOCK_WIRE_count:
        buf_adds(b, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                    "\"message\":\"the mock says no\"},\"request_id\":\"req_mock\"}");
        return;
    case MOCK_WIRE_gemini:
        buf_addf(b,
                 "{\"error\":{\"code\":%u,\"message\":\"the mock says no\","
                 "\"status\":\"UNAVAILABLE\"}}",
                 status);
        return;
    case MOCK_WIRE_bedrock:
        buf_adds(b, "{\"message\":\"the mock says no\"}");
        return;
    case MOCK_WIRE_ollama:
        buf_adds(b, "{\"error\":\"the mock says no\"}");
        return;
    default:
        buf_addf(b,
                 "{\"error\":{\"message\":\"the mock says no\",\"type\":\"%s\",\"param\":null,"
                 "\"code\":\"mock\"}}",
                 status == 429 ? "rate_limit_error" : "server_error");
    }
}

/* ---- OpenAI ---- */

static bool with_usage(const struct mock_render *r)
{
    if (r->script->usage == MOCK_USAGE_auto)
        return r->ask->usage;
    return r->script->usage == MOCK_USAGE_always;
}

static void chunk_begin(struct mock_render *r)
{
    buf_clear(&r->json);
    if (r->ask->wire == MOCK_WIRE_chat)
        buf_add(&r->json,
                STR("{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\"," MOCK_IDENTITY
                    ",\"choices\":["));
    else
        buf_add(&r->json, STR("{\"id\":\"cmpl-mock\",\"object\":\"text_completion\"," MOCK_IDENTITY
                              ",\"choices\":["));
}

static void chunk_end(struct mock_render *r, struct buf *out)
{
    buf_addc(&r->json, ']');
    if (with_usage(r) || r->script->nulls)
        buf_add(&r->json, STR(",\"usage\":null"));
    buf_addc(&r->json, '}');
    sse_add(r, out, NULL, buf_str(&r->json));
}

/* One chunk a choice. `reason`: NULL is null. */
static void chunk(struct mock_render *r, struct buf *out, const char *delta, const char *reason)
{
    for (uint32_t c = 0; c < r->ask->n; c++) {
        struct buf *b = &r->json;
        chunk_begin(r);
        buf_addf(b, "{\"index\":%u,", c);
        buf_adds(b, delta);
        if (reason)
            buf_addf(b, ",\"finish_reason\":\"%s\"}", reason);
        else
            buf_adds(b, ",\"finish_reason\":null}");
        chunk_end(r, out);
    }
}

static void chunk_text(struct mock_render *r, struct buf *out)
{
    bool chat = r->ask->wire == MOCK_WIRE_chat;

    for (uint32_t c = 0; c < r->ask->n; c++) {
        struct buf *b = &r->json;
        chunk_begin(r);
        buf_add(b, STR("{\"index\":"));
        if (c < 10)
            buf_addc(b, (char)('0' + c));
        else
            buf_addf(b, "%u", c);
        buf_add(b, chat ? STR(",\"delta\":{\"content\":\"") : STR(",\"text\":\""));
        if (r->step == STEP_big)
            mock_big_add(b, r->script->big);
        else
            mock_text_add(b, r->script, r->i);
        buf_add(b, chat ? STR("\"},\"finish_reason\":null}") : STR("\",\"finish_reason\":null}"));
        chunk_end(r, out);
    }
}

static void openai_next(struct mock_render *r, struct buf *out)
{
    static const char *const tools[MOCK_TOOL_PARTS] = {
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_0\",\"type\":\"function\","
        "\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"city\\\":\"}}]"
        "}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"Paris\\\"}\"}}]"
        "}",
        "\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_1\",\"type\":\"function\","
        "\"function\":{\"name\":\"now\",\"arguments\":\"\"}}]}",
    };
    bool chat = r->ask->wire == MOCK_WIRE_chat;

    switch ((enum mock_step)r->step) {
    case STEP_start:
        if (chat)
            chunk(r, out, "\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}",
                  NULL);
        return;
    case STEP_strange:
        sse_add(r, out, NULL,
                STR("{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\"," MOCK_IDENTITY
                    ",\"usage\":null}"));
        sse_add(r, out, NULL, STR("{\"choices\":[],\"prompt_filter_results\":[]}"));
        return;
    case STEP_think:
        chunk(r, out, "\"delta\":{\"reasoning_content\":\"hm. \"}", NULL);
        return;
    case STEP_text:
    case STEP_big:
        chunk_text(r, out);
        return;
    case STEP_tools:
        chunk(r, out, tools[r->i], NULL);
        return;
    case STEP_finish:
    case STEP_again:
        chunk(r, out, chat ? "\"delta\":{}" : "\"text\":\"\"", mock_finish_word(r));
        return;
    case STEP_usage:
        if (!with_usage(r))
            return;
        chunk_begin(r);
        buf_adds(&r->json, "],\"usage\":");
        mock_usage_add(&r->json, r);
        buf_addc(&r->json, '}');
        sse_add(r, out, NULL, buf_str(&r->json));
        return;
    case STEP_done:
        sse_add(r, out, NULL, STR("[DONE]"));
        return;
    default:
        return;
    }
}

/* ---- Anthropic ---- */

static void block_event(struct mock_render *r, struct buf *out, const char *name, const char *rest)
{
    buf_clear(&r->json);
    buf_addf(&r->json, "{\"type\":\"%s\",\"index\":%u%s}", name, r->block, rest);
    sse_add(r, out, name, buf_str(&r->json));
}

static void anthropic_tools(struct mock_render *r, struct buf *out)
{
    static const char *const rest[MOCK_TOOL_PARTS] = {
        ",\"content_block\":{\"type\":\"tool_use\",\"id\":\"call_0\",\"name\":\"weather\","
        "\"input\":{}}",
        ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\":\"}",
        ",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\\\"Paris\\\"}\"}",
        ",\"content_block\":{\"type\":\"tool_use\",\"id\":\"call_1\",\"name\":\"now\","
        "\"input\":{}}",
    };
    bool opens = r->i == 0 || r->i == MOCK_TOOL_PARTS - 1;

    block_event(r, out, opens ? "content_block_start" : "content_block_delta", rest[r->i]);
    if (r->i == 2 || r->i == MOCK_TOOL_PARTS - 1) {
        block_event(r, out, "content_block_stop", "");
        r->block++;
    }
}

static void anthropic_text(struct mock_render *r, struct buf *out)
{
    struct buf *b = &r->json;

    buf_clear(b);
    buf_addf(b,
             "{\"type\":\"content_block_delta\",\"index\":%u,\"delta\":{\"type\":\"text_delta\","
             "\"text\":\"",
             r->block);
    if (r->step == STEP_big)
        mock_big_add(b, r->script->big);
    else
        mock_text_add(b, r->script, r->i);
    buf_adds(b, "\"}}");
    sse_add(r, out, "content_block_delta", buf_str(b));
}

static void anthropic_think(struct mock_render *r, struct buf *out)
{
    block_event(r, out, "content_block_start",
                ",\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}");
    block_event(r, out, "content_block_delta",
                ",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm. \"}");
    block_event(r, out, "content_block_delta",
                ",\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2ln\"}");
    block_event(r, out, "content_block_stop", "");
    r->block++;
}

static void anthropic_next(struct mock_render *r, struct buf *out)
{
    struct buf *b = &r->json;

    switch ((enum mock_step)r->step) {
    case STEP_start:
        buf_clear(b);
        buf_addf(b,
                 "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_mock\",\"type\":"
                 "\"message\",\"role\":\"assistant\",\"model\":\"mock-model\",\"content\":[],"
                 "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":%d,"
                 "\"cache_read_input_tokens\":%d,\"output_tokens\":1}}}",
                 MOCK_PROMPT_TOKENS - MOCK_CACHED_TOKENS, MOCK_CACHED_TOKENS);
        sse_add(r, out, "message_start", buf_str(b));
        return;
    case STEP_strange:
        sse_add(r, out, "ping", STR("{\"type\":\"ping\"}"));
        sse_add(r, out, "news", STR("{\"type\":\"news\",\"what\":1}"));
        return;
    case STEP_think:
        anthropic_think(r, out);
        return;
    case STEP_open:
        block_event(r, out, "content_block_start",
                    ",\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
        sse_add(r, out, "ping", STR("{\"type\":\"ping\"}"));
        return;
    case STEP_text:
    case STEP_big:
        anthropic_text(r, out);
        return;
    case STEP_close:
        block_event(r, out, "content_block_stop", "");
        r->block++;
        return;
    case STEP_tools:
        anthropic_tools(r, out);
        return;
    case STEP_finish:
    case STEP_again:
        buf_clear(b);
        buf_addf(b,
                 "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\","
                 "\"stop_sequence\":null},\"usage\":",
                 mock_finish_word(r));
        mock_usage_add(b, r);
        buf_addc(b, '}');
        sse_add(r, out, "message_delta", buf_str(b));
        return;
    case STEP_done:
        sse_add(r, out, "message_stop", STR("{\"type\":\"message_stop\"}"));
        return;
    default:
        return;
    }
}

/* ---- Gemini ---- */

static void gemini_event(struct mock_render *r, struct buf *out)
{
    if (!r->ask->array) {
        sse_add(r, out, NULL, buf_str(&r->json));
        return;
    }
    buf_adds(out, r->events++ ? ",\r\n" : "[");
    buf_add(out, buf_str(&r->json));
}

static void gemini_parts(struct buf *b, const struct mock_render *r)
{
    static const char *const tools[] = {
        "{\"functionCall\":{\"name\":\"weather\",\"args\":{\"city\":\"Paris\"}}}",
        "{\"functionCall\":{\"name\":\"now\",\"args\":{}}}",
    };
    if (r->step == STEP_think) {
        buf_adds(b, "{\"text\":\"hm. \",\"thought\":true}");
    } else if (r->step == STEP_tools) {
        buf_adds(b, tools[r->i / 2]);
    } else {
        buf_adds(b, "{\"text\":\"");
        if (r->step == STEP_text)
            mock_text_add(b, r->script, r->i);
        else if (r->step == STEP_big)
            mock_big_add(b, r->script->big);
        buf_adds(b, "\"}");
    }
}

static void gemini_next(struct mock_render *r, struct buf *out)
{
    struct buf *b = &r->json;

    switch ((enum mock_step)r->step) {
    case STEP_tools:
        if (r->i % 2)
            return;
        break;
    case STEP_think:
    case STEP_text:
    case STEP_big:
    case STEP_finish:
    case STEP_again:
        break;
    case STEP_done:
        if (r->ask->array)
            buf_adds(out, r->events ? "]" : "[]");
        return;
    default:
        return;
    }
    buf_clear(b);
    buf_adds(b, "{\"candidates\":[{\"content\":{\"parts\":[");
    gemini_parts(b, r);
    buf_adds(b, "],\"role\":\"model\"},\"index\":0");
    if (r->step == STEP_finish || r->step == STEP_again)
        buf_addf(b, ",\"finishReason\":\"%s\"", mock_finish_word(r));
    buf_adds(b, "}],\"usageMetadata\":");
    mock_usage_add(b, r);
    buf_adds(b, ",\"modelVersion\":\"mock-model\",\"responseId\":\"mock\"}");
    gemini_event(r, out);
}

/* ---- Bedrock ---- */

static void bedrock_tools(struct mock_render *r, struct buf *out)
{
    static const char *const deltas[MOCK_TOOL_PARTS] = {
        "{\"start\":{\"toolUse\":{\"toolUseId\":\"call_0\",\"name\":\"weather\"}},"
        "\"contentBlockIndex\":1}",
        "{\"delta\":{\"toolUse\":{\"input\":\"{\\\"city\\\":\"}},\"contentBlockIndex\":1}",
        "{\"delta\":{\"toolUse\":{\"input\":\"\\\"Paris\\\"}\"}},\"contentBlockIndex\":1}",
        "{\"start\":{\"toolUse\":{\"toolUseId\":\"call_1\",\"name\":\"now\"}},"
        "\"contentBlockIndex\":2}",
    };
    bool opens = r->i == 0 || r->i == MOCK_TOOL_PARTS - 1;

    bedrock_add(r, out, "event", opens ? "contentBlockStart" : "contentBlockDelta",
                str_of(deltas[r->i]));
    if (r->i == 2)
        bedrock_add(r, out, "event", "contentBlockStop", STR("{\"contentBlockIndex\":1}"));
    if (r->i == MOCK_TOOL_PARTS - 1)
        bedrock_add(r, out, "event", "contentBlockStop", STR("{\"contentBlockIndex\":2}"));
}

static void bedrock_delta(struct mock_render *r, struct buf *out)
{
    struct buf *b = &r->json;

    buf_clear(b);
    if (r->step == STEP_think) {
        buf_adds(b, "{\"delta\":{\"reasoningContent\":{\"text\":\"hm. \"}}");
    } else {
        buf_adds(b, "{\"delta\":{\"text\":\"");
        if (r->step == STEP_big)
            mock_big_add(b, r->script->big);
        else
            mock_text_add(b, r->script, r->i);
        buf_adds(b, "\"}");
    }
    buf_adds(b, ",\"contentBlockIndex\":0,\"p\":\"abcdef\"}");
    bedrock_add(r, out, "event", "contentBlockDelta", buf_str(b));
}

static void bedrock_next(struct mock_render *r, struct buf *out)
{
    struct buf *b = &r->json;

    buf_clear(b);
    switch ((enum mock_step)r->step) {
    case STEP_start:
        bedrock_add(r, out, "event", "messageStart", STR("{\"role\":\"assistant\",\"p\":\"ab\"}"));
        return;
    case STEP_think:
    case STEP_text:
    case STEP_big:
        bedrock_delta(r, out);
        return;
    case STEP_close:
        bedrock_add(r, out, "event", "contentBlockStop", STR("{\"contentBlockIndex\":0}"));
        return;
    case STEP_tools:
        bedrock_tools(r, out);
        return;
    case STEP_finish:
    case STEP_again:
        buf_addf(b, "{\"stopReason\":\"%s\",\"p\":\"abc\"}", mock_finish_word(r));
        bedrock_add(r, out, "event", "messageStop", buf_str(b));
        return;
    case STEP_usage:
        buf_adds(b, "{\"usage\":");
        mock_usage_add(b, r);
        buf_adds(b, ",\"metrics\":{\"latencyMs\":1}}");
        bedrock_add(r, out, "event", "metadata", buf_str(b));
        return;
    default:
        return;
    }
}

/* ---- Ollama ---- */

static void ollama_next(struct mock_render *r, struct buf *out)
{
    static const char begin[] = "{\"model\":\"mock-model\",\"created_at\":"
                                "\"2023-11-14T22:13:20Z\",\"message\":{\"role\":\"assistant\",";
    bool text = r->step == STEP_text || r->step == STEP_big;

    if (r->step == STEP_think) {
        buf_addf(out, "%s\"content\":\"\",\"thinking\":\"hm. \"},\"done\":false}\n", begin);
    } else if (text) {
        buf_addf(out, "%s\"content\":\"", begin);
        if (r->step == STEP_big)
            mock_big_add(out, r->script->big);
        else
            mock_text_add(out, r->script, r->i);
        buf_adds(out, "\"},\"done\":false}\n");
    } else if (r->step == STEP_tools && r->i % 2 == 0) {
        buf_addf(out,
                 "%s\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"%s\","
                 "\"arguments\":%s}}]},\"done\":false}\n",
                 begin, r->i ? "now" : "weather", r->i ? "{}" : "{\"city\":\"Paris\"}");
    } else if (r->step == STEP_finish || r->step == STEP_again) {
        buf_addf(out,
                 "%s\"content\":\"\"},\"done\":true,\"done_reason\":\"%s\","
                 "\"prompt_eval_count\":%d,\"eval_count\":%u}\n",
                 begin, mock_finish_word(r), MOCK_PROMPT_TOKENS, r->script->frames);
    }
}

/* ---- all ---- */

void mock_wire_next(struct mock_render *r, struct buf *out)
{
    switch (r->ask->wire) {
    case MOCK_WIRE_anthropic:
        anthropic_next(r, out);
        return;
    case MOCK_WIRE_gemini:
        gemini_next(r, out);
        return;
    case MOCK_WIRE_bedrock:
        bedrock_next(r, out);
        return;
    case MOCK_WIRE_ollama:
        ollama_next(r, out);
        return;
    default:
        openai_next(r, out);
    }
}

void mock_wire_error(struct mock_render *r, struct buf *out)
{
    enum { OVERLOADED = 503 };
    buf_clear(&r->json);
    error_json(&r->json, r->ask, OVERLOADED);
    switch (r->ask->wire) {
    case MOCK_WIRE_bedrock:
        bedrock_add(r, out, "exception", "throttlingException", buf_str(&r->json));
        return;
    case MOCK_WIRE_gemini:
        gemini_event(r, out);
        return;
    case MOCK_WIRE_ollama:
        buf_add(out, buf_str(&r->json));
        buf_addc(out, '\n');
        return;
    default:
        sse_add(r, out, r->ask->wire == MOCK_WIRE_anthropic ? "error" : NULL, buf_str(&r->json));
    }
}

void mock_wire_refusal(struct mock_render *r, struct buf *out)
{
    error_json(out, r->ask, r->script->status);
}
