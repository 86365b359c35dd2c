#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/api/chat.h"
#include "gateway/api/completions.h"

#include <string.h>

struct row {
    const char *name, *body;
    enum fail_code code;
    const char *param;
};

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CHAT(more) "{\"model\":\"m\"," MESSAGES more "}"
#define BAD FAIL_invalid_request
#define UNSERVED FAIL_unsupported_parameter

static const struct row bad_chats[] = {
    { "nothing", "", BAD, "" },
    { "blanks", "  \n", BAD, "" },
    { "half an object", "{\"model\":", BAD, "" },
    { "an array", "[]", BAD, "" },
    { "a string", "\"x\"", BAD, "" },
    { "text after the object", CHAT("") "x", BAD, "" },
    { "NaN", CHAT(",\"temperature\":NaN"), BAD, "" },
    { "two model keys", "{\"model\":\"a\",\"model\":\"b\"," MESSAGES "}", BAD, "" },
    { "two keys deep inside", CHAT(",\"metadata\":{\"a\":\"1\",\"a\":\"2\"}"), BAD, "" },
    { "a NUL in a string", CHAT(",\"user\":\"a\\u0000b\""), BAD, "" },
    { "a lone surrogate", CHAT(",\"user\":\"\\ud800\""), BAD, "" },
    { "bytes that are not UTF-8", CHAT(",\"user\":\"\xff\xfe\""), BAD, "" },
    { "an overlong sequence", CHAT(",\"user\":\"\xc0\xaf\""), BAD, "" },
    { "a number beyond 64 bits", CHAT(",\"seed\":99999999999999999999"), BAD, "seed" },
    { "no model", "{" MESSAGES "}", BAD, "model" },
    { "an empty model", "{\"model\":\"\"," MESSAGES "}", BAD, "model" },
    { "a model that is a number", "{\"model\":7," MESSAGES "}", BAD, "model" },
    { "no messages", "{\"model\":\"m\"}", BAD, "messages" },
    { "messages null", "{\"model\":\"m\",\"messages\":null}", BAD, "messages" },
    { "messages a string", "{\"model\":\"m\",\"messages\":\"hi\"}", BAD, "messages" },
    { "no message", "{\"model\":\"m\",\"messages\":[]}", FAIL_empty_array, "messages" },
    { "a message that is a string", "{\"model\":\"m\",\"messages\":[\"hi\"]}", BAD, "messages[0]" },
    { "a message without a role", "{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}", BAD,
      "messages[0].role" },
    { "an unknown role", "{\"model\":\"m\",\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}",
      BAD, "messages[0].role" },
    { "a user without content", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}", BAD,
      "messages[0].content" },
    { "content a number", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":1}]}", BAD,
      "messages[0].content" },
    { "a text part without text",
      "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", BAD,
      "messages[0].content" },
    { "a part of audio",
      "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}"
      "]}",
      UNSERVED, "messages" },
    { "a tool answer without an id",
      "{\"model\":\"m\",\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", BAD,
      "messages[0].tool_call_id" },
    { "a temperature of 3", CHAT(",\"temperature\":3"), BAD, "temperature" },
    { "a temperature below 0", CHAT(",\"temperature\":-0.1"), BAD, "temperature" },
    { "a temperature in words", CHAT(",\"temperature\":\"hot\""), BAD, "temperature" },
    { "top_p above 1", CHAT(",\"top_p\":1.01"), BAD, "top_p" },
    { "a presence penalty of 3", CHAT(",\"presence_penalty\":3"), BAD, "presence_penalty" },
    { "a frequency penalty of -3", CHAT(",\"frequency_penalty\":-3"), BAD, "frequency_penalty" },
    { "min_p above 1", CHAT(",\"min_p\":2"), BAD, "min_p" },
    { "top_k of a half", CHAT(",\"top_k\":1.5"), BAD, "top_k" },
    { "no token", CHAT(",\"max_tokens\":0"), BAD, "max_tokens" },
    { "fewer than no tokens", CHAT(",\"max_tokens\":-1"), BAD, "max_tokens" },
    { "max_tokens a boolean", CHAT(",\"max_tokens\":true"), BAD, "max_tokens" },
    { "no completion token", CHAT(",\"max_completion_tokens\":0"), BAD, "max_completion_tokens" },
    { "no choice", CHAT(",\"n\":0"), BAD, "n" },
    { "too many choices", CHAT(",\"n\":17"), BAD, "n" },
    { "stream in words", CHAT(",\"stream\":\"true\""), BAD, "stream" },
    { "stream options without a stream", CHAT(",\"stream_options\":{\"include_usage\":true}"), BAD,
      "stream_options" },
    { "stream options of the wrong kind", CHAT(",\"stream\":true,\"stream_options\":[]"), BAD,
      "stream_options" },
    { "include_usage in words",
      CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":\"yes\"}"), BAD,
      "stream_options" },
    { "stop a number", CHAT(",\"stop\":1"), BAD, "stop" },
    { "stop with a number inside", CHAT(",\"stop\":[\"a\",1]"), BAD, "stop" },
    { "logit_bias an array", CHAT(",\"logit_bias\":[1]"), BAD, "logit_bias" },
    { "logit_bias of a word", CHAT(",\"logit_bias\":{\"hello\":1}"), BAD, "logit_bias" },
    { "logit_bias of 101", CHAT(",\"logit_bias\":{\"5\":101}"), BAD, "logit_bias" },
    { "logprobs a number", CHAT(",\"logprobs\":1"), BAD, "logprobs" },
    { "top_logprobs without logprobs", CHAT(",\"top_logprobs\":2"), BAD, "top_logprobs" },
    { "top_logprobs of 21", CHAT(",\"logprobs\":true,\"top_logprobs\":21"), BAD, "top_logprobs" },
    { "tools an object", CHAT(",\"tools\":{}"), BAD, "tools" },
    { "a tool without a name", CHAT(",\"tools\":[{\"type\":\"function\"}]"), BAD, "tools" },
    { "metadata an array", CHAT(",\"metadata\":[1]"), BAD, "metadata" },
    { "template arguments a string", CHAT(",\"chat_template_kwargs\":\"x\""), BAD,
      "chat_template_kwargs" },
    { "a required tool", CHAT(",\"tool_choice\":\"required\""), UNSERVED, "tool_choice" },
    { "a named tool",
      CHAT(",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"), UNSERVED,
      "tool_choice" },
    { "a JSON answer", CHAT(",\"response_format\":{\"type\":\"json_object\"}"), UNSERVED,
      "response_format" },
    { "a JSON schema", CHAT(",\"response_format\":{\"type\":\"json_schema\"}"), UNSERVED,
      "response_format" },
    { "audio", CHAT(",\"audio\":{\"voice\":\"x\"}"), UNSERVED, "audio" },
    { "the modality audio", CHAT(",\"modalities\":[\"text\",\"audio\"]"), UNSERVED, "modalities" },
    { "legacy functions", CHAT(",\"functions\":[{\"name\":\"f\"}]"), UNSERVED, "functions" },
    { "a guided regex", CHAT(",\"guided_regex\":\"a+\""), UNSERVED, "guided_regex" },
    { "stop token ids", CHAT(",\"stop_token_ids\":[2]"), UNSERVED, "stop_token_ids" },
    { "a template of the client's", CHAT(",\"chat_template\":\"x\""), UNSERVED, "chat_template" },
};

#define PROMPT(more) "{\"model\":\"m\",\"prompt\":\"a\"" more "}"
static const struct row bad_completions[] = {
    { "no prompt", "{\"model\":\"m\"}", BAD, "prompt" },
    { "no prompt in the array", "{\"model\":\"m\",\"prompt\":[]}", FAIL_empty_array, "prompt" },
    { "a prompt that is an object", "{\"model\":\"m\",\"prompt\":{}}", BAD, "prompt" },
    { "mixed prompts", "{\"model\":\"m\",\"prompt\":[\"a\",1]}", BAD, "prompt" },
    { "a negative token", "{\"model\":\"m\",\"prompt\":[1,-1]}", BAD, "prompt" },
    { "an empty token prompt", "{\"model\":\"m\",\"prompt\":[[1],[]]}", BAD, "prompt" },
    { "logprobs a boolean", PROMPT(",\"logprobs\":true"), BAD, "logprobs" },
    { "logprobs of 21", PROMPT(",\"logprobs\":21"), BAD, "logprobs" },
    { "a suffix", PROMPT(",\"suffix\":\"x\""), UNSERVED, "suffix" },
    { "best of more than n", PROMPT(",\"best_of\":2"), UNSERVED, "best_of" },
    { "log-probabilities of an echo", PROMPT(",\"echo\":true,\"logprobs\":1"), UNSERVED,
      "logprobs" },
};

static void check(const struct row *row, int err, const struct fail *fail)
{
    if (err != FAILED || fail->code != row->code || strcmp(fail->param, row->param) != 0)
        fail_msg("%s: gave %d %s param '%s': %s", row->name, err, fail_word(fail->code),
                 fail->param, fail->message);
    if (fail->message[0] == '\0')
        fail_msg("%s: no message", row->name);
}

static void every_bad_chat_names_its_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_chats); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        struct chat_request chat = { 0 };
        struct fail fail = { 0 };
        int err = chat_decode(&chat, str_of(bad_chats[i].body), arena, &fail);
        check(&bad_chats[i], err, &fail);
    }
}

static void every_bad_completion_names_its_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_completions); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        struct chat_request *chats = NULL;
        struct fail fail = { 0 };
        size_t n = 0;
        bool empty = false;
        int err =
            completions_decode(&chats, &n, &empty, str_of(bad_completions[i].body), arena, &fail);
        check(&bad_completions[i], err, &fail);
    }
}

static struct chat_request good_chat(struct arena *arena, const char *body)
{
    struct chat_request chat = { 0 };
    struct fail fail = { 0 };
    if (chat_decode(&chat, str_of(body), arena, &fail) != 0)
        fail_msg("%s: %s", body, fail.message);
    return chat;
}

static void harmless_and_unknown_fields_are_accepted(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        CHAT(",\"from_the_future\":{\"a\":[1]}"),
        CHAT(",\"tool_choice\":\"auto\",\"response_format\":{\"type\":\"text\"}"),
        CHAT(",\"functions\":[],\"audio\":null,\"modalities\":[\"text\"]"),
        CHAT(",\"temperature\":null,\"stop\":null,\"n\":null,\"stream\":null,\"logit_bias\":null"),
        CHAT(",\"max_tokens\":5.0,\"n\":1.0,\"seed\":-1"),
        CHAT(",\"top_k\":-1,\"min_tokens\":0,\"stop_token_ids\":[],\"guided_json\":null"),
        CHAT(",\"store\":false,\"service_tier\":\"auto\",\"parallel_tool_calls\":true"),
        CHAT(",\"stream\":true,\"stream_options\":{}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        (void)good_chat(arena, bodies[i]);
    }
}

static void absent_fields_have_the_documented_defaults(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    struct chat_request c = good_chat(arena, CHAT(""));
    assert_int_equal(c.n, 1);
    assert_int_equal(c.max_tokens, 0);
    assert_true(c.sampling.temperature == 1.0f && c.sampling.top_p == 1.0f);
    assert_true(c.sampling.repeat_penalty == 1.0f && c.sampling.top_k == 0);
    assert_false(c.sampling.has_seed || c.stream || c.logprobs || c.include_usage);
}

static void sampling_fields_reach_the_engine(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    struct chat_request c = good_chat(
        arena, CHAT(",\"temperature\":0,\"top_p\":0.5,\"top_k\":7,\"min_p\":0.25,\"seed\":42,"
                    "\"presence_penalty\":1,\"frequency_penalty\":-1,\"repetition_penalty\":1.5,"
                    "\"max_tokens\":9,\"max_completion_tokens\":8,\"n\":3,\"ignore_eos\":true,"
                    "\"stop\":[\"a\",\"\",\"bc\"],\"logit_bias\":{\"12\":-100,\"3\":2.5},"
                    "\"logprobs\":true,\"top_logprobs\":4,\"stream\":true,"
                    "\"stream_options\":{\"include_usage\":true},\"user\":\"u\","
                    "\"chat_template_kwargs\":{\"b\":1,\"a\":[true]}"));
    const struct sampling *s = &c.sampling;
    assert_true(s->temperature == 0 && s->top_p == 0.5f && s->min_p == 0.25f);
    assert_true(s->presence_penalty == 1 && s->frequency_penalty == -1);
    assert_true(s->repeat_penalty == 1.5f);
    assert_int_equal(s->top_k, 7);
    assert_true(s->has_seed);
    assert_int_equal(s->seed, 42);
    assert_int_equal(c.max_tokens, 8); /* the newer name wins */
    assert_int_equal(c.n, 3);
    assert_int_equal(c.n_stops, 2); /* an empty one stops nothing */
    assert_true(str_is(c.stops[1], "bc"));
    assert_int_equal(s->n_bias, 2);
    assert_int_equal(s->bias[0].token, 12);
    assert_true(s->bias[0].bias == -100.0f);
    assert_true(c.logprobs && c.stream && c.include_usage && c.ignore_eos);
    assert_int_equal(c.top_logprobs, 4);
    assert_true(str_is(c.template_kwargs, "{\"b\":1,\"a\":[true]}"));
}

static void messages_keep_parts_names_and_calls(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    struct chat_request c = good_chat(
        arena,
        "{\"model\":\"m\",\"messages\":["
        "{\"role\":\"developer\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"name\":\"ann\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\"}},"
        "{\"type\":\"text\",\"text\":\"two\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"z\":1.5,"
        "\"a\":2}}}]}");
    assert_int_equal(c.n_messages, 4);
    assert_true(str_is(c.messages[1].content, "one\ntwo"));
    assert_int_equal(c.messages[1].n_images, 1);
    assert_true(str_is(c.messages[1].name, "ann"));
    assert_int_equal(c.messages[2].n_tool_calls, 1);
    assert_true(str_is(c.messages[2].tool_calls[0].name, "f"));
    assert_true(str_is(c.messages[3].tool_call_id, "c1"));
    assert_int_equal(c.n_tools, 1);
    assert_true(str_is(c.tools[0].parameters, "{\"z\":1.5,\"a\":2}"));
}

static void tools_that_may_not_be_chosen_are_not_shown(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    struct chat_request c = good_chat(
        arena, CHAT(",\"tool_choice\":\"none\",\"tools\":[{\"type\":\"function\",\"function\":{"
                    "\"name\":\"f\"}}]"));
    assert_int_equal(c.n_tools, 0);
    assert_int_equal(c.tools_json.n, 0);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(64 * MIB);
    size_t deep = 1000000;
    char *body = malloc(2 * deep + 64);
    assert_non_null(body);
    int n = snprintf(body, 64, "{\"model\":\"m\",\"x\":");
    memset(body + n, '[', deep);
    body[n + (int)deep] = '\0';
    struct chat_request c = { 0 };
    struct fail fail = { 0 };
    assert_int_equal(chat_decode(&c, str_of(body), arena, &fail), FAILED);
    assert_int_equal(fail.code, FAIL_invalid_request);
    free(body);
}

static void prompts_become_one_request_each(void **state)
{
    (void)state;
    static const struct {
        const char *prompt;
        size_t n;
        bool ids;
    } rows[] = {
        { "\"a\"", 1, false },  { "\"\"", 1, false },       { "[\"a\",\"b\"]", 2, false },
        { "[1,2,3]", 1, true }, { "[[1],[2,3]]", 2, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        char body[128];
        (void)snprintf(body, sizeof(body), "{\"model\":\"m\",\"max_tokens\":0,\"prompt\":%s}",
                       rows[i].prompt);
        struct chat_request *chats = NULL;
        struct fail fail = { 0 };
        size_t n = 0;
        bool empty = false;
        assert_int_equal(completions_decode(&chats, &n, &empty, str_of(body), arena, &fail), 0);
        assert_int_equal(n, rows[i].n);
        assert_true(empty);
        assert_true(chats[0].is_completion);
        assert_true((chats[0].prompt_ids != NULL) == rows[i].ids);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bad_chat_names_its_fault),
        cmocka_unit_test(every_bad_completion_names_its_fault),
        cmocka_unit_test(harmless_and_unknown_fields_are_accepted),
        cmocka_unit_test(absent_fields_have_the_documented_defaults),
        cmocka_unit_test(sampling_fields_reach_the_engine),
        cmocka_unit_test(messages_keep_parts_names_and_calls),
        cmocka_unit_test(tools_that_may_not_be_chosen_are_not_shown),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(prompts_become_one_request_each),
    };
    return TEST_RUN(tests);
}
