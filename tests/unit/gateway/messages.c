#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/api/messages.h"
#include "tests/unit/gateway/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- decoding ---- */

static void dump_part(struct buf *b, const struct chat_part *p)
{
    static const char *const kinds[] = { "text", "image", "audio", "file" };
    buf_addf(b, "<%s", kinds[p->kind]);
    const struct str all[] = { p->text, p->url, p->media_type, p->data, p->name, p->cache_control };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].n)
            buf_addf(b, " " STR_FMT, STR_ARG(all[i]));
    buf_addc(b, '>');
}

/* role!(call): content {thought/signature/redacted} … <parts> name(id)arguments */
static void dump_message(struct buf *b, const struct chat_message *m)
{
    buf_addf(b, STR_FMT "%s", STR_ARG(m->role), m->is_error ? "!" : "");
    if (m->tool_call_id.n)
        buf_addf(b, "(" STR_FMT ")", STR_ARG(m->tool_call_id));
    buf_addf(b, ": " STR_FMT, STR_ARG(m->content));
    for (size_t i = 0; i < m->n_thoughts; i++)
        buf_addf(b, " {" STR_FMT "/" STR_FMT "/" STR_FMT "}", STR_ARG(m->thoughts[i].text),
                 STR_ARG(m->thoughts[i].signature), STR_ARG(m->thoughts[i].redacted));
    for (size_t i = 0; i < m->n_parts; i++)
        dump_part(b, &m->parts[i]);
    for (size_t i = 0; i < m->n_tool_calls; i++)
        buf_addf(b, " " STR_FMT "(" STR_FMT ")" STR_FMT, STR_ARG(m->tool_calls[i].name),
                 STR_ARG(m->tool_calls[i].id), STR_ARG(m->tool_calls[i].arguments));
    if (m->n_images)
        buf_addf(b, " images=%u", m->n_images);
    assert_true(chat_is_as_sent(m));
    buf_addc(b, '\n');
}

/* Decodes a body whose fields beside model and max_tokens are `more`. */
static int decode(struct arena *arena, const char *more, struct chat_request *ret,
                  struct fail *reterr)
{
    const char *body = arena_printf(arena, "{\"model\":\"m\",\"max_tokens\":9%s}", more);
    memset(ret, 0, sizeof(*ret));
    return messages_decode(ret, str_of(body), /* counts= */ false, arena, reterr);
}

static const struct {
    const char *messages, *more, *want;
} turns[] = {
    { "{\"role\":\"user\",\"content\":\"hi \\u00fc\"}", "", "user: hi \xc3\xbc\n" },
    /* The system prompt, as text, as blocks, empty. */
    { "{\"role\":\"user\",\"content\":\"a\"}", ",\"system\":\"be\"", "system: be\nuser: a\n" },
    { "{\"role\":\"user\",\"content\":\"a\"}",
      ",\"system\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\","
      "\"cache_control\":{\"type\":\"ephemeral\"}}]",
      "system: x\ny<text x><text y {\"type\":\"ephemeral\"}>\nuser: a\n" },
    { "{\"role\":\"user\",\"content\":\"a\"}", ",\"system\":[]", "user: a\n" },
    /* Blocks of text; one alone is as a string, unless it is to be cached. */
    { "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}", "", "user: a\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":"
      "{\"type\":\"ephemeral\",\"ttl\":\"1h\"}}]}",
      "", "user: a<text a {\"type\":\"ephemeral\",\"ttl\":\"1h\"}>\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"},{\"type\":\"text\","
      "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}",
      "", "user: a\nb<text a><text b>\n" },
    /* Pieces of an answer are one text. */
    { "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
      "\"text\",\"text\":\"b\"}]}",
      "", "assistant: ab<text a><text b>\n" },
    /* Results become messages of their own, before the rest; media go behind. */
    { "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\","
      "\"content\":\"r1\"},{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"is_error\":true,"
      "\"content\":[{\"type\":\"text\",\"text\":\"r2\"},{\"type\":\"image\",\"source\":{"
      "\"type\":"
      "\"base64\",\"media_type\":\"image/png\",\"data\":\"QQ==\"}},{\"type\":\"text\",\"text\":"
      "\"r3\"}]},{\"type\":\"text\",\"text\":\"go on\"}]}",
      "",
      "tool(t1): r1\ntool!(t2): r2\nr3\nuser: go on<image image/png QQ==><text go on> "
      "images=1\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"first\"},{\"type\":"
      "\"tool_result\",\"tool_use_id\":\"t\"}]}",
      "", "tool(t): \nuser: first\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t\","
      "\"content\":[]}]}",
      "", "tool(t): \n" },
    { "{\"role\":\"user\",\"content\":[]}", "", "user: \n" },
    /* Media. */
    { "{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"url\","
      "\"url\":"
      "\"https://x/y.png\"}}]}",
      "", "user: <image https://x/y.png> images=1\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"title\":\"T\",\"source\":{"
      "\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"plain\"}}]}",
      "", "user: T\nplain<text T><text plain>\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"content\","
      "\"content\":[{\"type\":\"text\",\"text\":\"p\"}]}}]}",
      "", "user: p\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"title\":\"T\",\"source\":{"
      "\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"QQ==\"}}]}",
      "", "user: <file application/pdf QQ== T> images=1\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"search_result\",\"title\":\"T\",\"source\":"
      "\"S\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}",
      "", "user: T\nS\nx<text T><text S><text x>\n" },
    { "{\"role\":\"user\",\"content\":[{\"type\":\"container_upload\",\"file_id\":\"f\"}]}", "",
      "user: <file container_upload> images=1\n" },
    /* An assistant's turn. */
    { "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\","
      "\"signature\":\"sig\"},{\"type\":\"text\",\"text\":\"so\"},{\"type\":\"tool_use\","
      "\"id\":"
      "\"t\",\"name\":\"f\",\"input\":{\"a\": [1.0, \"\\u00fc\"]}}]}",
      "", "assistant: so {hm/sig/} f(t){\"a\": [1.0, \"\\u00fc\"]}\n" },
    { "{\"role\":\"assistant\",\"content\":[{\"type\":\"redacted_thinking\",\"data\":\"zz\"},"
      "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}]}",
      "", "assistant:  {//zz} f(t){}\n" },
    { "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"a\","
      "\"signature\":\"s\"},{\"type\":\"redacted_thinking\",\"data\":\"zz\"},{\"type\":"
      "\"thinking\",\"thinking\":\"b\",\"signature\":\"t\"},{\"type\":\"text\",\"text\":\"x\"}]}",
      "", "assistant: x {a/s/} {//zz} {b/t/}\n" },
    /* What the engine behind ran itself says nothing to another. */
    { "{\"role\":\"assistant\",\"content\":[{\"type\":\"server_tool_use\",\"id\":\"s\","
      "\"name\":"
      "\"web_search\",\"input\":{}},{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s\","
      "\"content\":[]},{\"type\":\"text\",\"text\":\"found\"}]}",
      "", "assistant: found\n" },
};

static void messages_are_decoded(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(turns); i++) {
        struct arena *arena = arena_new(1 * MIB);
        CLEANUP(buf_done) struct buf out = BUF_INIT(1 * MIB);
        struct chat_request c;
        struct fail fail = { 0 };
        const char *more =
            arena_printf(arena, ",\"messages\":[%s]%s", turns[i].messages, turns[i].more);
        if (decode(arena, more, &c, &fail) != 0)
            fail_msg("row %zu: %s", i, fail.message);
        for (size_t k = 0; k < c.n_messages; k++)
            dump_message(&out, &c.messages[k]);
        assert_string_equal(out.p, turns[i].want);
        assert_int_equal(c.wire, WIRE_anthropic_messages);
        assert_true(str_starts(c.source, STR("{\"model\":\"m\"")));
        (void)arena_free(arena);
    }
}

#define TALK ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"
#define TOOL(name) "{\"name\":\"" name "\",\"input_schema\":{\"type\":\"object\"}}"
#define SEARCH "{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}"

static void dump_request(struct buf *b, const struct chat_request *c)
{
    static const char *const choices[] = { "auto", "none", "required", "function" };
    buf_addf(b, "%s" STR_FMT "%s tools=" STR_FMT, choices[c->tool_choice],
             STR_ARG(c->tool_choice_name), c->single_tool_call ? " single" : "",
             STR_ARG(c->tools_json));
    buf_addf(b, " kwargs=" STR_FMT " effort=" STR_FMT " budget=%u%s", STR_ARG(c->template_kwargs),
             STR_ARG(c->reasoning_effort), c->thinking_budget, c->has_thinking ? "!" : "");
    buf_addf(b, " format=%d " STR_FMT, (int)c->format, STR_ARG(c->format_text));
    for (size_t i = 0; i < c->n_stops; i++)
        buf_addf(b, " stop=" STR_FMT, STR_ARG(c->stops[i]));
    for (size_t i = 0; i < c->n_metadata; i++)
        buf_addf(b, " " STR_FMT "=" STR_FMT, STR_ARG(c->metadata[i].key),
                 STR_ARG(c->metadata[i].value));
    if (c->user.n)
        buf_addf(b, " user=" STR_FMT, STR_ARG(c->user));
}

static void fields_are_decoded(void **state)
{
    (void)state;
#define PLAIN " kwargs= effort= budget=0 format=0 "
#define FUNCTION(name)                                                                             \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"parameters\":{\"type\":"         \
    "\"object\"}}}"
    static const struct {
        const char *more, *want;
    } rows[] = {
        { "", "auto tools=" PLAIN },
        { ",\"tools\":[]", "auto tools=" PLAIN },
        { ",\"tools\":[" TOOL("f") "]", "auto tools=[" FUNCTION("f") "]" PLAIN },
        { ",\"tools\":[{\"type\":\"custom\",\"name\":\"f\",\"description\":\"d\\n\",\"strict\":"
          "true,"
          "\"input_schema\":{ },\"cache_control\":{\"type\":\"ephemeral\"}}]",
          "auto "
          "tools=[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\\n\","
          "\"parameters\":{ },\"strict\":true}}]" PLAIN },
        /* Built-in tools are left out, and a choice that no tool remains for. */
        { ",\"tools\":[" SEARCH "," TOOL("f") "]", "auto tools=[" FUNCTION("f") "]" PLAIN },
        { ",\"tools\":[" SEARCH "],\"tool_choice\":{\"type\":\"any\"}", "auto tools=" PLAIN },
        { ",\"tools\":[" SEARCH "],\"tool_choice\":{\"type\":\"tool\",\"name\":\"web_search\"}",
          "auto tools=" PLAIN },
        { ",\"tool_choice\":{\"type\":\"auto\"}", "auto tools=" PLAIN },
        { ",\"tools\":[" TOOL("f") "],\"tool_choice\":{\"type\":\"any\","
                                   "\"disable_parallel_tool_use\":true}",
          "required single tools=[" FUNCTION("f") "]" PLAIN },
        { ",\"tools\":[" TOOL("f") "],\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"}",
          "functionf tools=[" FUNCTION("f") "]" PLAIN },
        { ",\"tools\":[" TOOL("f") "],\"tool_choice\":{\"type\":\"none\"}", "none tools=" PLAIN },
        /* Thinking and effort. */
        { ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}",
          "auto tools= kwargs={\"enable_thinking\":true,\"reasoning_effort\":\"low\"} effort=low "
          "budget=1024! format=0 " },
        { ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":4097}",
          "auto tools= kwargs={\"enable_thinking\":true,\"reasoning_effort\":\"medium\"} "
          "effort=medium budget=4097! format=0 " },
        { ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":20000},\"output_config\":{"
          "\"effort\":\"max\"}",
          "auto tools= kwargs={\"enable_thinking\":true,\"reasoning_effort\":\"xhigh\"} "
          "effort=xhigh budget=20000! format=0 " },
        { ",\"thinking\":{\"type\":\"disabled\"}",
          "auto tools= kwargs={\"enable_thinking\":false} effort= budget=0! format=0 " },
        { ",\"thinking\":{\"type\":\"adaptive\"}", "auto tools=" PLAIN },
        { ",\"output_config\":{\"effort\":\"low\"}",
          "auto tools= kwargs={\"reasoning_effort\":\"low\"} effort=low budget=0 format=0 " },
        /* Formats, where they are and where they were. */
        { ",\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"a\":1}}}",
          "auto tools= kwargs= effort= budget=0 format=2 {\"a\":1}" },
        { ",\"output_format\":{\"type\":\"json_schema\",\"schema\":{}}",
          "auto tools= kwargs= effort= budget=0 format=2 {}" },
        { ",\"stop_sequences\":[\"x\",\"\",\"\\n\"]", "auto tools=" PLAIN " stop=x stop=\n" },
        { ",\"metadata\":{\"user_id\":\"u\",\"n\":1}", "auto tools=" PLAIN " user_id=u user=u" },
        /* Nobody's business here. */
        { ",\"service_tier\":\"auto\",\"container\":\"c\",\"context_management\":{\"edits\":[]},"
          "\"mcp_servers\":[],\"inference_geo\":\"us\",\"something_new\":{\"x\":1}",
          "auto tools=" PLAIN },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(1 * MIB);
        CLEANUP(buf_done) struct buf out = BUF_INIT(1 * MIB);
        struct chat_request c;
        struct fail fail = { 0 };
        const char *more = arena_printf(arena, TALK "%s", rows[i].more);
        if (decode(arena, more, &c, &fail) != 0)
            fail_msg("row %zu: %s", i, fail.message);
        dump_request(&out, &c);
        assert_string_equal(out.p, rows[i].want);
        (void)arena_free(arena);
    }
}

static void sampling_is_decoded(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1 * MIB);
    struct chat_request c;
    struct fail fail = { 0 };
    assert_int_equal(decode(arena, TALK, &c, &fail), 0);
    assert_true(c.sampling.temperature == 1.0f && c.sampling.top_p == 1.0f);
    assert_int_equal(c.max_tokens, 9);
    assert_int_equal(c.n, 1);
    assert_false(c.stream || c.include_usage);
    assert_int_equal(decode(arena,
                            TALK ",\"temperature\":0,\"top_p\":0.5,\"top_k\":7,\"stream\":true", &c,
                            &fail),
                     0);
    assert_true(c.sampling.temperature == 0.0f && c.sampling.top_p == 0.5f);
    assert_int_equal(c.sampling.top_k, 7);
    assert_true(c.stream && c.include_usage);
    (void)arena_free(arena);
}

static const struct {
    const char *body, *param, *word;
} bad_bodies[] = {
    { "", "", "empty" },
    { "[]", "", "object" },
    { "{", "", "JSON" },
    { "{\"model\":\"m\",\"model\":\"n\"}", "", "twice" },
    { "{\"max_tokens\":1" TALK "}", "model", "required" },
    { "{\"model\":\"m\"" TALK "}", "max_tokens", "required" },
    { "{\"model\":\"m\",\"max_tokens\":-1" TALK "}", "max_tokens", "between" },
    { "{\"model\":\"m\",\"max_tokens\":\"1\"" TALK "}", "max_tokens", "integer" },
    { "{\"model\":\"m\",\"max_tokens\":1}", "messages", "required" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[]}", "messages", "at least one" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":{}}", "messages", "an array" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[1]}", "messages", "messages.0" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}",
      "messages", "'role'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\"}]}", "messages",
      "'content'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{"
      "\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\"}]}]}",
      "messages", "messages.0.content.1" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{"
      "\"text\":\"a\"}]}]}",
      "messages", "'type'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{"
      "\"type\":\"tool_result\"}]}]}",
      "messages", "tool_use_id" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"assistant\",\"content\":[{"
      "\"type\":\"tool_use\",\"id\":\"i\",\"name\":\"f\",\"input\":\"x\"}]}]}",
      "messages", "'input'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{"
      "\"type\":\"image\",\"source\":{\"type\":\"base64\"}}]}]}",
      "messages", "media_type" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"system\":1" TALK "}", "system", "a number" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"system\":[{\"type\":\"image\"}]" TALK "}", "system",
      "system.0" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"temperature\":1.5" TALK "}", "temperature",
      "between 0 and 1" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":"
      "1023}" TALK "}",
      "thinking", "1024" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"thinking\":{\"type\":7}" TALK "}", "thinking",
      "'enabled'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"output_config\":{\"effort\":7}" TALK "}",
      "output_config", "xhigh" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"output_config\":{\"format\":{\"type\":\"xml\"}}" TALK
      "}",
      "output_config.format", "json_schema" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"stop_sequences\":[1]" TALK "}", "stop_sequences",
      "stop_sequences.0" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"tools\":{}" TALK "}", "tools", "an array" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"tools\":[{\"name\":\"a "
      "b\",\"input_schema\":{}}]" TALK "}",
      "tools", "tools.0.custom.name" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"tools\":[{\"name\":\"a\"}]" TALK "}", "tools",
      "input_schema" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"tool_choice\":{\"type\":\"any\"}" TALK "}",
      "tool_choice", "'tools'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"tools\":[" TOOL("f") "],\"tool_choice\":{\"type\":"
                                                                "\"tool\",\"name\":\"g\"}" TALK "}",
      "tool_choice", "'g'" },
    { "{\"model\":\"m\",\"max_tokens\":1,\"metadata\":\"u\"" TALK "}", "metadata", "an object" },
};

/* What is newer than we are is for an engine of the same wire alone. */
static void unknown_words_wait_for_who_knows_them(void **state)
{
    (void)state;
    static const struct {
        const char *body, *field;
    } rows[] = {
        { "{\"model\":\"m\",\"max_tokens\":1,\"thinking\":{\"type\":\"deep\"}" TALK "}",
          "thinking" },
        { "{\"model\":\"m\",\"max_tokens\":1,\"output_config\":{\"effort\":\"huge\"}" TALK "}",
          "output_config" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        struct chat_request c = { 0 };
        struct fail fail = { 0 };
        assert_int_equal(
            messages_decode(&c, str_of(rows[i].body), /* counts= */ false, arena, &fail), 0);
        assert_string_equal(c.unserved, rows[i].field);
    }
}

static void bad_bodies_are_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_bodies); i++) {
        struct arena *arena = arena_new(1 * MIB);
        struct chat_request c = { 0 };
        struct fail fail = { 0 };
        int r = messages_decode(&c, str_of(bad_bodies[i].body), /* counts= */ false, arena, &fail);
        if (r != FAILED)
            fail_msg("row %zu was taken", i);
        assert_string_equal(fail.param, bad_bodies[i].param);
        expect(fail.message, bad_bodies[i].word);
        (void)arena_free(arena);
    }
}

/* ---- whole ---- */

static char *ask(const char *script, const char *more)
{
    char *body = NULL;
    assert_true(asprintf(&body,
                         "{\"model\":\"demo\",\"max_tokens\":99,\"messages\":[{\"role\":\"user\","
                         "\"content\":\"%s\"}]%s}",
                         script, more) > 0);
    char *answer = post("/v1/messages", body);
    free(body);
    return answer;
}

#define CALLS "act rI |rthink.|ssig|tSee|cclock|a{\\\"z\\\": |a1}|cweather|cbad|a{\\\"x\\\":"

static void answers_come_as_one_message(void **state)
{
    (void)state;
    static const struct {
        const char *script, *want;
    } rows[] = {
        { "say one two", "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"demo\","
                         "\"content\":[{\"type\":\"text\",\"text\":\"one two\"}],\"stop_reason\":"
                         "\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":3,"
                         "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":2,"
                         "\"output_tokens\":2}}" },
        { "cut END", "\"content\":[{\"type\":\"text\",\"text\":\"ok\"}],\"stop_reason\":"
                     "\"stop_sequence\",\"stop_sequence\":\"END\",\"usage\":{\"input_tokens\":3,"
                     "\"cache_creation_input_tokens\":4,\"cache_read_input_tokens\":2" },
        /* Arguments that are no JSON object are none. */
        { CALLS,
          "\"content\":[{\"type\":\"thinking\",\"thinking\":\"I think.\",\"signature\":"
          "\"sig\"},{\"type\":\"text\",\"text\":\"See\"},{\"type\":\"tool_use\",\"id\":"
          "\"call_x\",\"name\":\"clock\",\"input\":{\"z\": 1}},{\"type\":\"tool_use\",\"id\":"
          "\"call_x\",\"name\":\"weather\",\"input\":{}},{\"type\":\"tool_use\",\"id\":"
          "\"call_x\",\"name\":\"bad\",\"input\":{}}],\"stop_reason\":\"tool_use\"" },
        /* Each block keeps what it was signed with. */
        { "act rone|ss1|xzz|rtwo|ss2|rthree|tHi",
          "\"content\":[{\"type\":\"thinking\",\"thinking\":\"one\",\"signature\":\"s1\"},"
          "{\"type\":\"redacted_thinking\",\"data\":\"zz\"},{\"type\":\"thinking\",\"thinking\":"
          "\"two\",\"signature\":\"s2\"},{\"type\":\"thinking\",\"thinking\":\"three\","
          "\"signature\":\"\"},{\"type\":\"text\",\"text\":\"Hi\"}]" },
        { "act xzz|tHi", "\"content\":[{\"type\":\"redacted_thinking\",\"data\":\"zz\"},{\"type\":"
                         "\"text\",\"text\":\"Hi\"}],\"stop_reason\":\"end_turn\"" },
        { "say", "\"content\":[],\"stop_reason\":\"end_turn\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *a = ask(rows[i].script, "");
        expect(a, "HTTP/1.1 200");
        expect(a, "request-id: req_");
        expect(a, "{\"id\":\"msg_");
        expect(a, rows[i].want);
        free(a);
    }
}

static void a_prompt_may_be_read_for_nothing(void **state)
{
    (void)state;
    char *a = post("/v1/messages", "{\"model\":\"demo\",\"max_tokens\":0,\"messages\":[{\"role\":"
                                   "\"user\",\"content\":\"hello\"}]}");
    expect(a, "\"content\":[],\"stop_reason\":\"max_tokens\"");
    expect(a, "\"input_tokens\":5,");
    expect(a, "\"output_tokens\":0");
    free(a);
}

static void the_route_has_an_alias(void **state)
{
    (void)state;
    char *a = post("/anthropic/v1/messages", "{\"model\":\"demo\",\"max_tokens\":5,\"messages\":[{"
                                             "\"role\":\"user\",\"content\":\"say hi\"}]}");
    expect(a, "\"text\":\"hi\"");
    free(a);
}

/* ---- streams ---- */

static void follow(const char *answer, const char *const *order, size_t n)
{
    const char *at = answer;
    for (size_t i = 0; i < n; i++) {
        const char *found = strstr(at, order[i]);
        if (!found)
            fail_msg("'%s' does not follow in:\n%s", order[i], answer);
        at = found + strlen(order[i]);
    }
}

static void a_stream_has_the_events_of_the_original(void **state)
{
    (void)state;
    static const char *const order[] = {
        "Content-Type: text/event-stream; charset=utf-8",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_",
        "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"demo\",\"content\":[],"
        "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{",
        "\"output_tokens\":0}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
        "event: content_block_delta\ndata: "
        "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
        "\"type\":\"thinking_delta\",\"thinking\":\"I \"}}\n\n",
        "\"thinking\":\"think.\"",
        "\"delta\":{\"type\":\"signature_delta\",\"signature\":\"sig\"}",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}",
        "\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"See\"}",
        "{\"type\":\"content_block_stop\",\"index\":1}",
        "\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"call_x\",\"name\":\"clock\","
        "\"input\":{}}",
        "\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"z\\\": \"}",
        "\"partial_json\":\"1}\"",
        "{\"type\":\"content_block_stop\",\"index\":2}",
        "\"index\":3,\"content_block\":{\"type\":\"tool_use\"",
        "{\"type\":\"content_block_stop\",\"index\":3}",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
        "\"tool_use\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":3,",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    };
    char *a =
        ask("act rI |rthink.|ssig|tSee|cclock|a{\\\"z\\\": |a1}|cweather", ",\"stream\":true");
    follow(a, order, ARRAY_LEN(order));
    reject(a, "[DONE]");
    free(a);
}

static void blocks_are_numbered_as_they_come(void **state)
{
    (void)state;
    static const struct {
        const char *script, *order[8];
    } rows[] = {
        { "say one two",
          { "\"index\":0,\"content_block\":{\"type\":\"text\"", "\"text\":\"one\"",
            "\"text\":\" two\"", "\"index\":0}", "\"stop_reason\":\"end_turn\"" } },
        { "act cf|a{}|tsaid",
          { "\"index\":0,\"content_block\":{\"type\":\"tool_use\"", "_stop\",\"index\":0}",
            "\"index\":1,\"content_block\":{\"type\":\"text\"", "_stop\",\"index\":1}" } },
        { "act xzz|rhm|tsaid",
          { "\"index\":0,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"zz\"}",
            "_stop\",\"index\":0}", "\"index\":1,\"content_block\":{\"type\":\"thinking\"",
            "\"index\":2,\"content_block\":{\"type\":\"text\"" } },
        { "cut END", { "\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"" } },
        { "say", { "message_start", "message_delta", "message_stop" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *a = ask(rows[i].script, ",\"stream\":true");
        size_t n = 0;
        while (n < ARRAY_LEN(rows[i].order) && rows[i].order[n])
            n++;
        follow(a, rows[i].order, n);
        assert_int_equal(count(a, "event: content_block_start"),
                         count(a, "event: content_block_stop"));
        assert_int_equal(count(a, "event: message_stop"), 1);
        free(a);
    }
}

static void a_broken_stream_ends_with_an_error_event(void **state)
{
    (void)state;
    char *a = ask("break", ",\"stream\":true");
    expect(a, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\","
              "\"message\":\"the fake engine broke\"},\"request_id\":\"req_");
    reject(a, "message_stop");
    free(a);
}

static void silence_is_broken_by_pings(void **state)
{
    (void)state;
    char *a = ask("wait 500", ",\"stream\":true");
    static const char *const order[] = { "event: ping\ndata: {\"type\":\"ping\"}\n\n",
                                         "event: message_start", "event: message_stop" };
    follow(a, order, ARRAY_LEN(order));
    free(a);
}

static void arguments_find_their_own_block(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1 * MIB);
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 * MIB);
    struct request r = { .arena = arena };
    struct chat_request chat = { .stream = true };
    struct choice c = { 0 };
    struct answer a = { .request = &r, .chats = &chat, .n_chats = 1, .id = "msg_1" };
    a.own = messages_stream_new(arena);
    const struct engine_call calls[] = {
        { .index = 0, .id = STR("a"), .name = STR("f") },
        { .index = 1, .name = STR("g"), .arguments = STR("{\"x\"") },
        { .index = 0, .arguments = STR("{}") },
        { .index = 1, .arguments = STR(":1}") },
    };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        struct engine_event e = { .kind = ENGINE_EVENT_tool_call, .call = calls[i] };
        messages_part(&a, &c, &e, &out);
    }
    static const char *const order[] = {
        "\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",",
        "\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1_1\",\"name\":\"g\",",
        "\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\"\"}",
        "\"index\":0,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}",
        "\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\":1}\"}",
    };
    follow(out.p, order, ARRAY_LEN(order));
    (void)arena_free(arena);
}

/* ---- as an engine behind wrote it ---- */

static void what_is_passed_on_keeps_its_bytes_but_the_models_name(void **state)
{
    (void)state;
    static const struct {
        bool stream;
        const char *name, *text, *want;
    } rows[] = {
        { true, "message_start",
          "{ \"type\": \"message_start\", \"message\": {\"id\": \"msg_1\", \"model\": \"there\", "
          "\"new\": [1.0] } }",
          "event: message_start\ndata: { \"type\": \"message_start\", \"message\": {\"id\": "
          "\"msg_1\", \"model\": \"here\", \"new\": [1.0] } }\n\n" },
        { true, "content_block_delta",
          "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"citations_delta\","
          "\"model\":\"not this\"}}",
          "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
          "\"delta\":{\"type\":\"citations_delta\",\"model\":\"not this\"}}\n\n" },
        { true, "", "{\"type\":\"something_new\"}",
          "event: something_new\ndata: {\"type\":\"something_new\"}\n\n" },
        { true, "ping", "{\n\"type\":\r\"ping\"}",
          "event: ping\ndata: {\ndata: \"type\":\ndata: \"ping\"}\n\n" },
        { false, "", "{\"type\":\"message\", \"model\":\"there\",\n \"x\": null}",
          "{\"type\":\"message\", \"model\":\"here\",\n \"x\": null}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *arena = arena_new(1 * MIB);
        CLEANUP(buf_done) struct buf out = BUF_INIT(1 * MIB);
        struct request r = { .arena = arena };
        struct chat_request chat = { .stream = rows[i].stream };
        struct answer a = { .request = &r, .chats = &chat, .n_chats = 1, .model = STR("here") };
        struct engine_event e = { .kind = ENGINE_EVENT_verbatim,
                                  .text = str_of(rows[i].text),
                                  .name = str_of(rows[i].name) };
        messages_verbatim(&a, &e, &out);
        assert_string_equal(out.p, rows[i].want);
        (void)arena_free(arena);
    }
}

/* ---- errors ---- */

static void errors_have_the_dialect_of_the_route(void **state)
{
    (void)state;
    static const struct {
        const char *path, *method, *header, *body, *status, *want;
    } rows[] = {
        { "/v1/messages", "POST", "", "{}", "400",
          "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"model:"
          " " },
        { "/v1/messages", "POST", "", "{\"model\":\"claude:sonnet\",\"max_tokens\":1" TALK "}",
          "404", "\"type\":\"not_found_error\"" },
        { "/v1/messages", "POST", "",
          "{\"model\":\"demo\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":"
          "\"full\"}]}",
          "429", "\"type\":\"rate_limit_error\"" },
        { "/v1/messages", "POST", "",
          "{\"model\":\"demo\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":"
          "\"fail\"}]}",
          "500", "\"type\":\"api_error\"" },
        { "/v1/messages", "GET", "", "", "405", "\"type\":\"invalid_request_error\"" },
        { "/v1/messages", "POST", "Content-Type: text/plain\r\n", "x", "415",
          "\"type\":\"invalid_request_error\"" },
        { "/v1/messages/count_tokens", "POST", "", "{\"model\":\"nope\"" TALK "}", "404",
          "\"type\":\"not_found_error\"" },
        { "/v1/messages/batches", "GET", "anthropic-version: 2023-06-01\r\n", "", "404",
          "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\"" },
        { "/v1/models/none:such", "GET", "anthropic-version: 2023-06-01\r\n", "", "404",
          "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\"" },
        /* Others stay what they are. */
        { "/v1/models/none:such", "GET", "", "", "404", "\"code\":\"model_not_found\"" },
        { "/v1/chat/completions", "POST", "anthropic-version: 2023-06-01\r\n", "{}", "400",
          "{\"error\":{\"message\":" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *request = NULL;
        assert_true(asprintf(&request,
                             "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s"
                             "Content-Length: %zu\r\n\r\n%s",
                             rows[i].method, rows[i].path, rows[i].header, strlen(rows[i].body),
                             rows[i].body) > 0);
        char *a = exchange(request), status[32];
        (void)snprintf(status, sizeof(status), "HTTP/1.1 %s", rows[i].status);
        expect(a, status);
        expect(a, rows[i].want);
        bool anthropic = strstr(rows[i].want, "_error\"") && strstr(a, "request_id") != NULL;
        assert_int_equal(anthropic, strstr(a, "\nrequest-id: req_") != NULL);
        free(a);
        free(request);
    }
}

static void tokens_are_counted_by_the_engine(void **state)
{
    (void)state;
    char *a =
        post("/v1/messages/count_tokens",
             "{\"model\":\"demo\",\"system\":\"x\",\"tools\":[" TOOL(
                 "f") "],\"messages\":[{"
                      "\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}]}");
    expect(a, "HTTP/1.1 200");
    expect(a, "{\"input_tokens\":5}");
    free(a);
}

/* ---- models ---- */

static void models_are_listed_in_the_shape_of_the_client(void **state)
{
    (void)state;
#define MODEL                                                                                      \
    "{\"type\":\"model\",\"id\":\"demo\",\"display_name\":\"demo\",\"created_at\":"                \
    "\"1970-01-01T00:00:01Z\",\"lifecycle\":\"active\",\"max_input_tokens\":4096,"                 \
    "\"max_tokens\":4096}"
#define PAGE(data, id)                                                                             \
    "{\"data\":[" data "],\"has_more\":false,\"first_id\":" id ",\"last_id\":" id "}"
    static const struct {
        const char *path, *want;
    } rows[] = {
        { "/v1/models", "\"has_more\":false,\"first_id\":\"auto\",\"last_id\":\"demo\"}" },
        { "/v1/models?limit=1", "\"has_more\":true,\"first_id\":\"auto\",\"last_id\":\"auto\"}" },
        { "/v1/models?after_id=auto", PAGE(MODEL, "\"demo\"") },
        { "/v1/models?after_id=d%65mo", PAGE("", "null") },
        { "/v1/models?before_id=demo",
          "\"has_more\":false,\"first_id\":\"auto\",\"last_id\":\"auto\"}" },
        { "/v1/models?before_id=auto", PAGE("", "null") },
        { "/v1/models/demo", MODEL },
        { "/v1/models?limit=0", "\"invalid_request_error\",\"message\":\"limit: must be" },
        { "/v1/models?after_id=a&before_id=b", "\"message\":\"before_id: may not" },
        { "/anthropic/v1/models?after_id=auto", PAGE(MODEL, "\"demo\"") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char request[256];
        (void)snprintf(request, sizeof(request),
                       "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nanthropic-version: "
                       "2023-06-01\r\n\r\n",
                       rows[i].path);
        char *a = exchange(request);
        expect(a, rows[i].want);
        free(a);
    }
    char *a = exchange("GET /v1/models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    expect(a, "{\"object\":\"list\",\"data\":[{\"id\":\"auto\",\"object\":\"model\"");
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_decoded),
        cmocka_unit_test(fields_are_decoded),
        cmocka_unit_test(sampling_is_decoded),
        cmocka_unit_test(bad_bodies_are_refused_by_name),
        cmocka_unit_test(unknown_words_wait_for_who_knows_them),
        cmocka_unit_test(answers_come_as_one_message),
        cmocka_unit_test(a_prompt_may_be_read_for_nothing),
        cmocka_unit_test(the_route_has_an_alias),
        cmocka_unit_test(a_stream_has_the_events_of_the_original),
        cmocka_unit_test(blocks_are_numbered_as_they_come),
        cmocka_unit_test(a_broken_stream_ends_with_an_error_event),
        cmocka_unit_test(silence_is_broken_by_pings),
        cmocka_unit_test(arguments_find_their_own_block),
        cmocka_unit_test(what_is_passed_on_keeps_its_bytes_but_the_models_name),
        cmocka_unit_test(errors_have_the_dialect_of_the_route),
        cmocka_unit_test(tokens_are_counted_by_the_engine),
        cmocka_unit_test(models_are_listed_in_the_shape_of_the_client),
    };
    test_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
