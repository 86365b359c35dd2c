#include "tests/support/mock_wires.h"

static void all_text(struct buf *b, const struct mock_script *s)
{
    for (uint32_t i = 0; i < s->frames; i++)
        mock_text_add(b, s, i);
    mock_big_add(b, s->big);
}

static void openai_whole(struct mock_render *r, struct buf *out)
{
    bool chat = r->ask->wire == MOCK_WIRE_chat;

    buf_addf(out, "{\"id\":\"%s\",\"object\":\"%s\"," MOCK_IDENTITY ",\"choices\":[",
             chat ? "chatcmpl-mock" : "cmpl-mock", chat ? "chat.completion" : "text_completion");
    for (uint32_t c = 0; c < r->ask->n; c++) {
        buf_addf(out, "%s{\"index\":%u,", c ? "," : "", c);
        buf_adds(out, chat ? "\"message\":{\"role\":\"assistant\",\"content\":\"" : "\"text\":\"");
        all_text(out, r->script);
        buf_adds(out, "\"");
        if (chat && r->script->think)
            buf_adds(out, ",\"reasoning_content\":\"hm. \"");
        if (chat && r->script->tools)
            buf_adds(out, ",\"tool_calls\":[{\"id\":\"call_0\",\"type\":\"function\",\"function\":"
                          "{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"}},"
                          "{\"id\":\"call_1\",\"type\":\"function\",\"function\":"
                          "{\"name\":\"now\",\"arguments\":\"\"}}]");
        buf_adds(out, chat ? ",\"refusal\":null},\"logprobs\":null" : ",\"logprobs\":null");
        if (r->script->finish == MOCK_FINISH_none)
            buf_adds(out, ",\"finish_reason\":null}");
        else
            buf_addf(out, ",\"finish_reason\":\"%s\"}", mock_finish_word(r));
    }
    buf_addc(out, ']');
    if (r->script->usage != MOCK_USAGE_never) {
        buf_adds(out, ",\"usage\":");
        mock_usage_add(out, r);
    }
    buf_addc(out, '}');
}

static void anthropic_whole(struct mock_render *r, struct buf *out)
{
    buf_adds(out, "{\"id\":\"msg_mock\",\"type\":\"message\",\"role\":\"assistant\",\"model\":"
                  "\"mock-model\",\"content\":[");
    if (r->script->think)
        buf_adds(out, "{\"type\":\"thinking\",\"thinking\":\"hm. \",\"signature\":\"c2ln\"},");
    buf_adds(out, "{\"type\":\"text\",\"text\":\"");
    all_text(out, r->script);
    buf_adds(out, "\"}");
    if (r->script->tools)
        buf_adds(out, ",{\"type\":\"tool_use\",\"id\":\"call_0\",\"name\":\"weather\",\"input\":"
                      "{\"city\":\"Paris\"}},{\"type\":\"tool_use\",\"id\":\"call_1\",\"name\":"
                      "\"now\",\"input\":{}}");
    buf_addf(out,
             "],\"stop_reason\":\"%s\",\"stop_sequence\":null,\"usage\":", mock_finish_word(r));
    mock_usage_add(out, r);
    buf_addc(out, '}');
}

static void gemini_whole(struct mock_render *r, struct buf *out)
{
    buf_adds(out, "{\"candidates\":[{\"content\":{\"parts\":[");
    if (r->script->think)
        buf_adds(out, "{\"text\":\"hm. \",\"thought\":true},");
    buf_adds(out, "{\"text\":\"");
    all_text(out, r->script);
    buf_adds(out, "\"}");
    if (r->script->tools)
        buf_adds(out, ",{\"functionCall\":{\"name\":\"weather\",\"args\":{\"city\":\"Paris\"}}},"
                      "{\"functionCall\":{\"name\":\"now\",\"args\":{}}}");
    buf_addf(out, "],\"role\":\"model\"},\"finishReason\":\"%s\",\"index\":0}],\"usageMetadata\":",
             mock_finish_word(r));
    mock_usage_add(out, r);
    buf_adds(out, ",\"modelVersion\":\"mock-model\",\"responseId\":\"mock\"}");
}

static void bedrock_whole(struct mock_render *r, struct buf *out)
{
    buf_adds(out, "{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[");
    if (r->script->think)
        buf_adds(out, "{\"reasoningContent\":{\"reasoningText\":{\"text\":\"hm. \","
                      "\"signature\":\"c2ln\"}}},");
    buf_adds(out, "{\"text\":\"");
    all_text(out, r->script);
    buf_adds(out, "\"}");
    if (r->script->tools)
        buf_adds(out, ",{\"toolUse\":{\"toolUseId\":\"call_0\",\"name\":\"weather\",\"input\":"
                      "{\"city\":\"Paris\"}}},{\"toolUse\":{\"toolUseId\":\"call_1\",\"name\":"
                      "\"now\",\"input\":{}}}");
    buf_addf(out, "]}},\"stopReason\":\"%s\",\"metrics\":{\"latencyMs\":1},\"usage\":",
             mock_finish_word(r));
    mock_usage_add(out, r);
    buf_addc(out, '}');
}

static void ollama_whole(struct mock_render *r, struct buf *out)
{
    buf_adds(out, "{\"model\":\"mock-model\",\"created_at\":\"2023-11-14T22:13:20Z\",\"message\":"
                  "{\"role\":\"assistant\",\"content\":\"");
    all_text(out, r->script);
    buf_adds(out, r->script->think ? "\",\"thinking\":\"hm. \"" : "\"");
    if (r->script->tools)
        buf_adds(out, ",\"tool_calls\":[{\"function\":{\"name\":\"weather\",\"arguments\":"
                      "{\"city\":\"Paris\"}}},{\"function\":{\"name\":\"now\",\"arguments\":{}}}]");
    buf_addf(out,
             "},\"done\":true,\"done_reason\":\"%s\",\"prompt_eval_count\":%d,\"eval_count\":%u}",
             mock_finish_word(r), MOCK_PROMPT_TOKENS, r->script->frames);
}

static void embeddings_whole(struct mock_render *r, struct buf *out)
{
    buf_adds(out, "{\"object\":\"list\",\"model\":\"mock-model\",\"data\":[");
    for (uint32_t i = 0; i < r->ask->inputs; i++)
        buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":[0.5,-0.5,0.5,%u.5]}",
                 i ? "," : "", i, i);
    buf_addf(out, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", MOCK_PROMPT_TOKENS,
             MOCK_PROMPT_TOKENS);
}

void mock_wire_whole(struct mock_render *r, struct buf *out)
{
    switch (r->ask->wire) {
    case MOCK_WIRE_anthropic:
        anthropic_whole(r, out);
        return;
    case MOCK_WIRE_gemini:
        gemini_whole(r, out);
        return;
    case MOCK_WIRE_bedrock:
        bedrock_whole(r, out);
        return;
    case MOCK_WIRE_ollama:
        ollama_whole(r, out);
        return;
    case MOCK_WIRE_embeddings:
        embeddings_whole(r, out);
        return;
    case MOCK_WIRE_count:
        buf_addf(out, "{\"input_tokens\":%d}", MOCK_PROMPT_TOKENS);
        return;
    case MOCK_WIRE_models:
        buf_adds(out, "{\"object\":\"list\",\"data\":[{\"id\":\"mock-model\",\"object\":\"model\","
                      "\"created\":1700000000,\"owned_by\":\"mock\"}]}");
        return;
    case MOCK_WIRE_none:
        buf_adds(out, "{}"); /* whatever is posted elsewhere is fine */
        return;
    default:
        openai_whole(r, out);
    }
}
