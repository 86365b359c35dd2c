#include "tests/support/test.h"

#include "base/limits.h"
#include "gateway/api/chat.h"
#include "gateway/api/completions.h"
#include "gateway/api/decode.h"

#include <string.h>

struct row {
    const char *name, *body;
    enum fail_code code;
    const char *param;
};

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CHAT(more) "{\"model\":\"m\"," MESSAGES more "}"
#define TOOLS                                                                                      \
    ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},"                           \
    "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]"
#define SCHEMA(inner)                                                                              \
    CHAT(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{" inner "}}")
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
      BAD, "messages[0].content" },
    { "an image without an address",
      "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"
      "]}",
      BAD, "messages[0].content" },
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
    { "too many choices", CHAT(",\"n\":129"), BAD, "n" },
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
    { "a tool with an empty name", CHAT(",\"tools\":[{\"function\":{\"name\":\"\"}}]"), BAD,
      "tools[0].function.name" },
    { "a tool with a quote in its name", CHAT(",\"tools\":[{\"function\":{\"name\":\"a\\\"b\"}}]"),
      BAD, "tools[0].function.name" },
    { "a tool with a line break in its name",
      CHAT(",\"tools\":[{\"function\":{\"name\":\"a\\nb\"}}]"), BAD, "tools[0].function.name" },
    { "a tool whose parameters are no schema",
      CHAT(",\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":3}}]"), BAD,
      "tools[0].function.parameters" },
    { "a tool that is no function", CHAT(",\"tools\":[{\"type\":\"web_search\"}]"), UNSERVED,
      "tools" },
    { "a tool that is strict in words",
      CHAT(",\"tools\":[{\"function\":{\"name\":\"f\",\"strict\":\"yes\"}}]"), BAD,
      "tools[0].function.strict" },
    { "tokens instead of text", CHAT(",\"detokenize\":false"), UNSERVED, "detokenize" },
    { "metadata an array", CHAT(",\"metadata\":[1]"), BAD, "metadata" },
    { "an unknown effort", CHAT(",\"reasoning_effort\":\"most\""), BAD, "reasoning_effort" },
    { "an effort that is a number", CHAT(",\"reasoning_effort\":1"), BAD, "reasoning_effort" },
    { "template arguments a string", CHAT(",\"chat_template_kwargs\":\"x\""), BAD,
      "chat_template_kwargs" },
    { "a required tool of none", CHAT(",\"tool_choice\":\"required\""), BAD, "tool_choice" },
    { "a named tool of none",
      CHAT(",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"), BAD,
      "tool_choice" },
    { "a named tool of others",
      CHAT(TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"h\"}}"), BAD,
      "tool_choice" },
    { "a tool choice without a name",
      CHAT(TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{}}"), BAD, "tool_choice" },
    { "a tool choice in other words", CHAT(TOOLS ",\"tool_choice\":\"any\""), BAD, "tool_choice" },
    { "a tool choice of a number", CHAT(TOOLS ",\"tool_choice\":1"), BAD, "tool_choice" },
    { "a custom tool choice",
      CHAT(TOOLS ",\"tool_choice\":{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}"), UNSERVED,
      "tool_choice" },
    { "allowed tools without a mode",
      CHAT(TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"tools\":[{"
                 "\"function\":{\"name\":\"f\"}}]}}"),
      BAD, "tool_choice" },
    { "allowed tools that are not there",
      CHAT(TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":"
                 "\"auto\",\"tools\":[{\"function\":{\"name\":\"h\"}}]}}"),
      BAD, "tool_choice" },
    { "parallel calls in words", CHAT(",\"parallel_tool_calls\":\"no\""), BAD,
      "parallel_tool_calls" },
    { "a format of words", CHAT(",\"response_format\":\"json\""), BAD, "response_format" },
    { "a format without a type", CHAT(",\"response_format\":{}"), BAD, "response_format" },
    { "a format of an unknown type", CHAT(",\"response_format\":{\"type\":\"xml\"}"), BAD,
      "response_format" },
    { "a JSON schema that is not there", CHAT(",\"response_format\":{\"type\":\"json_schema\"}"),
      BAD, "response_format" },
    { "a JSON schema without a name", SCHEMA("\"schema\":{}"), BAD,
      "response_format.json_schema.name" },
    { "a JSON schema of words", SCHEMA("\"name\":\"x\",\"schema\":\"{}\""), BAD,
      "response_format.json_schema.schema" },
    { "strict in words", SCHEMA("\"name\":\"x\",\"schema\":{},\"strict\":\"yes\""), BAD,
      "response_format.json_schema.strict" },
    { "a guided regex of a number", CHAT(",\"guided_regex\":5"), BAD, "guided_regex" },
    { "a guided JSON that is none", CHAT(",\"guided_json\":\"{\""), BAD, "guided_json" },
    { "a guided choice of numbers", CHAT(",\"guided_choice\":[1]"), BAD, "guided_choice" },
    { "a grammar of an object", CHAT(",\"grammar\":{\"a\":1}"), BAD, "grammar" },
    { "structure of words", CHAT(",\"structured_outputs\":\"json\""), BAD, "structured_outputs" },
    { "two structures", CHAT(",\"structured_outputs\":{\"regex\":\"a\",\"choice\":[\"a\"]}"), BAD,
      "structured_outputs" },
    { "a structural tag", CHAT(",\"structured_outputs\":{\"structural_tag\":\"x\"}"), UNSERVED,
      "structured_outputs" },
    { "two formats",
      CHAT(",\"response_format\":{\"type\":\"json_object\"},\"guided_regex\":\"a+\""), BAD,
      "guided_regex" },
    { "a stop token below 0", CHAT(",\"stop_token_ids\":[-1]"), BAD, "stop_token_ids" },
    { "stop tokens of words", CHAT(",\"stop_token_ids\":\"2\""), BAD, "stop_token_ids" },
    { "more tokens at least than at most", CHAT(",\"min_tokens\":9,\"max_tokens\":8"), BAD,
      "min_tokens" },
    { "typical_p above 1", CHAT(",\"typical_p\":1.5"), BAD, "typical_p" },
    { "special tokens in words", CHAT(",\"skip_special_tokens\":\"no\""), BAD,
      "skip_special_tokens" },
    { "mirostat", CHAT(",\"mirostat\":2"), UNSERVED, "mirostat" },
    { "audio", CHAT(",\"audio\":{\"voice\":\"x\"}"), UNSERVED, "audio" },
    { "the modality audio", CHAT(",\"modalities\":[\"text\",\"audio\"]"), UNSERVED, "modalities" },
    { "legacy functions", CHAT(",\"functions\":[{\"name\":\"f\"}]"), UNSERVED, "functions" },
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
    { "logprobs of 6", PROMPT(",\"logprobs\":6"), BAD, "logprobs" },
    { "no tokens at the ends", PROMPT(",\"add_special_tokens\":false"), UNSERVED,
      "add_special_tokens" },
    { "a suffix", PROMPT(",\"suffix\":\"x\""), UNSERVED, "suffix" },
    { "best of fewer than n", PROMPT(",\"n\":3,\"best_of\":2"), BAD, "best_of" },
    { "a stream of the best", PROMPT(",\"stream\":true,\"best_of\":2"), BAD, "best_of" },
    { "best of too many", PROMPT(",\"best_of\":129"), BAD, "best_of" },
    { "too many for all prompts", "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"best_of\":65}", BAD,
      "prompt" },
    { "a format of an unknown type", PROMPT(",\"response_format\":{\"type\":\"xml\"}"), BAD,
      "response_format" },
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
        if (err == 0)
            err = decode_served(&chat, &fail);
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
        if (err == 0)
            err = decode_served(chats, &fail);
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
    assert_true(c.sampling.typical_p == 1.0f && !c.keep_special && !c.keep_stop);
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
                    "\"chat_template_kwargs\":{\"b\":1,\"a\":[true]},\"typical_p\":0.5,"
                    "\"min_tokens\":2,\"stop_token_ids\":[7,0],\"skip_special_tokens\":false,"
                    "\"include_stop_str_in_output\":true"));
    const struct sampling *s = &c.sampling;
    assert_true(s->temperature == 0 && s->top_p == 0.5f && s->min_p == 0.25f);
    assert_true(s->typical_p == 0.5f && c.keep_stop && c.keep_special);
    assert_int_equal(c.min_tokens, 2);
    assert_int_equal(c.n_stop_ids, 2);
    assert_int_equal(c.stop_ids[0], 7);
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

static void effort_is_a_word_of_the_template(void **state)
{
    (void)state;
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    static const struct {
        const char *body, *kwargs;
    } rows[] = {
        { CHAT(""), "" },
        { CHAT(",\"reasoning_effort\":null,\"chat_template_kwargs\":null"), "" },
        { CHAT(",\"reasoning_effort\":\"high\""), "{\"reasoning_effort\":\"high\"}" },
        { CHAT(",\"reasoning_effort\":\"none\""),
          "{\"reasoning_effort\":\"none\",\"enable_thinking\":false}" },
        { CHAT(",\"reasoning_effort\":\"none\",\"chat_template_kwargs\":{\"enable_thinking\":true,"
               "\"reasoning_effort\":\"low\"}"),
          "{\"enable_thinking\":true,\"reasoning_effort\":\"low\"}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chat_request c = good_chat(arena, rows[i].body);
        if (!str_is(c.template_kwargs, rows[i].kwargs))
            fail_msg("%s: " STR_FMT, rows[i].body, STR_ARG(c.template_kwargs));
    }
    struct chat_request c = good_chat(
        arena, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
               "\"assistant\",\"reasoning_content\":\"hm\",\"content\":null}]}");
    assert_true(str_is(c.messages[1].reasoning, "hm"));
}

static void what_the_text_looks_like_has_many_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum chat_format format;
        bool strict;
        const char *text, *param;
    } rows[] = {
        { CHAT(""), CHAT_FORMAT_text, false, "", NULL },
        { CHAT(",\"response_format\":{\"type\":\"text\"}"), CHAT_FORMAT_text, false, "", NULL },
        { CHAT(",\"response_format\":{\"type\":\"json_object\"}"), CHAT_FORMAT_json_object, false,
          "", "response_format" },
        { CHAT(",\"response_format\":{\"type\":\"json_object\",\"schema\":{\"a\":1}}"),
          CHAT_FORMAT_json_schema, true, "{\"a\":1}", "response_format" },
        { SCHEMA("\"name\":\"x\""), CHAT_FORMAT_json_object, false, "", "response_format" },
        { SCHEMA("\"name\":\"x\",\"schema\":{\"b\":1,\"a\":2}"), CHAT_FORMAT_json_schema, false,
          "{\"b\":1,\"a\":2}", "response_format" },
        { SCHEMA("\"name\":\"x\",\"schema\":{},\"strict\":true"), CHAT_FORMAT_json_schema, true,
          "{}", "response_format" },
        { SCHEMA("\"name\":\"x\",\"schema\":{},\"strict\":null,\"description\":\"d\""),
          CHAT_FORMAT_json_schema, false, "{}", "response_format" },
        { CHAT(",\"guided_json\":{\"a\":1}"), CHAT_FORMAT_json_schema, true, "{\"a\":1}",
          "guided_json" },
        { CHAT(",\"guided_json\":\" {\\\"a\\\": 1}\""), CHAT_FORMAT_json_schema, true, "{\"a\": 1}",
          "guided_json" },
        { CHAT(",\"guided_regex\":\"a+\""), CHAT_FORMAT_regex, false, "a+", "guided_regex" },
        { CHAT(",\"guided_choice\":[\"a\",\"b\"]"), CHAT_FORMAT_choice, false, "[\"a\",\"b\"]",
          "guided_choice" },
        { CHAT(",\"guided_grammar\":\"root ::= \\\"a\\\"\",\"grammar\":\"\""), CHAT_FORMAT_grammar,
          false, "root ::= \"a\"", "guided_grammar" },
        { CHAT(",\"grammar\":\"root ::= \\\"a\\\"\",\"guided_json\":null"), CHAT_FORMAT_grammar,
          false, "root ::= \"a\"", "grammar" },
        { CHAT(",\"json_schema\":{\"a\":1}"), CHAT_FORMAT_json_schema, true, "{\"a\":1}",
          "json_schema" },
        { CHAT(",\"structured_outputs\":{\"json\":{\"a\":1},\"regex\":null}"),
          CHAT_FORMAT_json_schema, true, "{\"a\":1}", "structured_outputs" },
        { CHAT(",\"structured_outputs\":{\"choice\":[\"a\"]}"), CHAT_FORMAT_choice, false,
          "[\"a\"]", "structured_outputs" },
        { CHAT(",\"structured_outputs\":{\"json_object\":true}"), CHAT_FORMAT_json_object, false,
          "", "structured_outputs" },
        { CHAT(",\"structured_outputs\":{},\"guided_choice\":[]"), CHAT_FORMAT_text, false, "",
          NULL },
        { CHAT(",\"response_format\":{\"type\":\"text\"},\"guided_regex\":\"a\""),
          CHAT_FORMAT_regex, false, "a", "guided_regex" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        struct chat_request c = good_chat(arena, rows[i].body);
        if (c.format != rows[i].format || c.format_strict != rows[i].strict ||
            !str_is(c.format_text, rows[i].text) || !c.format_param != !rows[i].param ||
            (c.format_param && strcmp(c.format_param, rows[i].param) != 0))
            fail_msg("%s: format %d, text '" STR_FMT "'", rows[i].body, (int)c.format,
                     STR_ARG(c.format_text));
    }
}

static void tool_choices_say_who_may_be_called(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        enum tool_choice choice;
        const char *name;
        size_t n_tools;
        bool single;
    } rows[] = {
        { TOOLS, TOOL_CHOICE_auto, "", 2, false },
        { TOOLS ",\"tool_choice\":\"auto\",\"parallel_tool_calls\":false", TOOL_CHOICE_auto, "", 2,
          true },
        { TOOLS ",\"tool_choice\":\"none\"", TOOL_CHOICE_none, "", 0, false },
        { TOOLS ",\"tool_choice\":\"required\"", TOOL_CHOICE_required, "", 2, false },
        { TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}",
          TOOL_CHOICE_function, "g", 2, false },
        { TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":"
                "\"required\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]}}",
          TOOL_CHOICE_required, "", 1, false },
        { ",\"tool_choice\":\"auto\",\"tools\":[]", TOOL_CHOICE_auto, "", 0, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        char body[1024];
        (void)snprintf(body, sizeof(body), "{\"model\":\"m\"," MESSAGES "%s}", rows[i].more);
        struct chat_request c = good_chat(arena, body);
        assert_int_equal(c.tool_choice, rows[i].choice);
        assert_true(str_is(c.tool_choice_name, rows[i].name));
        assert_int_equal(c.n_tools, rows[i].n_tools);
        assert_true(c.single_tool_call == rows[i].single);
        if (rows[i].n_tools == 1)
            assert_true(
                str_is(c.tools_json, "[{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]"));
    }
}

static void completions_say_what_their_prompt_gets(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        bool empty, prompt_logprobs, prompt_only;
        uint32_t best_of;
    } rows[] = {
        { "", false, false, false, 0 },
        { ",\"max_tokens\":0", true, false, false, 0 },
        { ",\"max_tokens\":0,\"echo\":true", true, false, false, 0 },
        { ",\"max_tokens\":0,\"echo\":true,\"logprobs\":0", false, true, true, 0 },
        { ",\"max_tokens\":1,\"echo\":true,\"logprobs\":5", false, true, false, 0 },
        { ",\"echo\":true,\"logprobs\":1", false, true, false, 0 },
        { ",\"logprobs\":1,\"n\":2,\"best_of\":2,\"stream\":true", false, false, false, 2 },
        { ",\"n\":2,\"best_of\":20", false, false, false, 20 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        char body[256];
        (void)snprintf(body, sizeof(body), "{\"model\":\"m\",\"prompt\":\"a\"%s}", rows[i].more);
        struct chat_request *chats = NULL;
        struct fail fail = { 0 };
        size_t n = 0;
        bool empty = false;
        assert_int_equal(completions_decode(&chats, &n, &empty, str_of(body), arena, &fail), 0);
        assert_true(empty == rows[i].empty);
        assert_true(chats[0].prompt_logprobs == rows[i].prompt_logprobs);
        assert_true(chats[0].prompt_only == rows[i].prompt_only);
        assert_int_equal(chats[0].best_of, rows[i].best_of);
    }
}

static void a_completion_without_a_bound_has_16_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        uint32_t max_tokens;
    } rows[] = {
        { "", 16 },
        { ",\"max_tokens\":null", 16 },
        { ",\"max_tokens\":3", 3 },
        { ",\"max_tokens\":4000", 4000 },
        { ",\"max_completion_tokens\":40", 40 },
        { ",\"min_tokens\":5", 16 },
        { ",\"min_tokens\":50", 50 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        char body[128];
        (void)snprintf(body, sizeof(body), "{\"model\":\"m\",\"prompt\":\"a\"%s}", rows[i].more);
        struct chat_request *chats = NULL;
        struct fail fail = { 0 };
        size_t n = 0;
        bool empty = false;
        assert_int_equal(completions_decode(&chats, &n, &empty, str_of(body), arena, &fail), 0);
        assert_int_equal(chats[0].max_tokens, rows[i].max_tokens);
    }
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

/* "text TEXT | image URL TYPE DATA DETAIL | …", the parts of one message. */
/* However many there are, each is itself, with its place in the body. */
static void long_conversations_keep_their_order(void **state)
{
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        CLEANUP(buf_done) struct buf body = BUF_INIT(1 * MIB);
        buf_adds(&body, "{\"messages\" : [");
        for (size_t i = 0; i < n; i++)
            buf_addf(&body, "%s{\"role\":\"user\", \"content\":\"number %zu\"}", i ? " ,\n" : "",
                     i);
        buf_adds(&body, "] , \"model\":\"m\"}");
        struct chat_request c = { 0 };
        struct fail fail = { 0 };
        assert_int_equal(chat_decode(&c, buf_str(&body), arena, &fail), 0);
        assert_int_equal(c.n_messages, n);
        for (size_t i = 0; i < n; i++) {
            char want[32];
            (void)snprintf(want, sizeof(want), "number %zu", i);
            assert_true(str_is(c.messages[i].content, want));
            assert_true(str_starts(c.messages[i].source, STR("{\"role\"")));
        }
    }
}

static void print_parts(struct buf *b, const struct chat_message *m)
{
    static const char *const kinds[] = { "text", "image", "audio", "file" };
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct chat_part *p = &m->parts[i];
        const struct str fields[] = { p->text, p->url, p->media_type, p->data, p->detail, p->name };
        buf_addf(b, "%s%s", i ? " | " : "", kinds[p->kind]);
        for (size_t k = 0; k < ARRAY_LEN(fields); k++)
            if (fields[k].n)
                buf_addf(b, " " STR_FMT, STR_ARG(fields[k]));
    }
}

static void parts_say_what_they_hold(void **state)
{
    static const struct {
        const char *content, *parts, *text;
        unsigned n_images;
    } rows[] = {
        { "\"plain\"", "", "plain", 0 },
        { "[]", "", "", 0 },
        { "[\"a\",{\"type\":\"text\",\"text\":\"\"},{\"type\":\"refusal\",\"refusal\":\"no\"}]",
          "text a | text | text no", "a\nno", 0 },
        { "[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https:\\/\\/x\",\"detail\":\"low\"}}]",
          "image https://x low", "", 1 },
        { "[{\"type\":\"image_url\",\"image_url\":\"data:image/png;base64,AA==\"}]",
          "image image/png AA==", "", 1 },
        { "[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/"
          "webp;q=1;base64,AA\"}}]",
          "image image/webp AA", "", 1 },
        { "[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,x\"}}]", "image data:,x", "",
          1 },
        { "[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA\",\"format\":\"wav\"}},{"
          "\"type\":\"input_audio\",\"input_audio\":{\"data\":\"BB\",\"format\":\"mp3\"}}]",
          "audio audio/wav AA | audio audio/mpeg BB", "", 2 },
        { "[{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/"
          "pdf;base64,AA\"}},{\"type\":\"file\",\"file\":{\"file_id\":\"f-1\"}}]",
          "file application/pdf AA a.pdf | file file_id", "", 2 },
        { "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"hologram\",\"x\":1}]",
          "text a | file hologram", "a", 1 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
        CLEANUP(buf_done) struct buf body = BUF_INIT(MIB), parts = BUF_INIT(MIB);
        buf_addf(&body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":%s}]}",
                 rows[i].content);
        struct chat_request c = good_chat(arena, body.p);
        print_parts(&parts, c.messages);
        if (!str_is(buf_str(&parts), rows[i].parts) || !str_is(c.messages->content, rows[i].text))
            fail_msg("%s: %s: " STR_FMT, rows[i].content, parts.p, STR_ARG(c.messages->content));
        assert_int_equal(c.messages->n_images, rows[i].n_images);
        assert_true(chat_is_as_sent(c.messages));
    }
}

static void what_was_sent_stays_beside_what_was_read(void **state)
{
    static const char body[] =
        " {\"model\":\"m\",\"messages\":[ {\"role\":\"user\",\"content\":\"a b\"},"
        "{\"role\":\"assistant\",\"content\":\"\\n\",\"thinking_blocks\":[{"
        "\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"}]}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"strict\":true}}],\"reasoning_effort\":\"low\"} ";
    CLEANUP(arena_freep) struct arena *arena = arena_new(1 * MIB);
    (void)state;
    struct chat_request c = good_chat(arena, body);
    assert_int_equal(c.wire, WIRE_openai_chat);
    assert_true(c.source.p == body + 1 && c.source.n == strlen(body) - 2);
    assert_true(str_is(c.messages[0].source, "{\"role\":\"user\",\"content\":\"a b\"}"));
    assert_true(c.messages[0].content.p > body && c.messages[0].content.p < body + sizeof(body));
    assert_true(str_is(c.messages[1].content, "\n") && chat_is_as_sent(&c.messages[1]));
    assert_true(str_is(c.messages[1].reasoning, "hm"));
    assert_int_equal(c.messages[1].n_thoughts, 1);
    assert_true(str_is(c.messages[1].thoughts[0].signature, "s"));
    assert_true(c.tools[0].strict && str_is(c.reasoning_effort, "low"));
    assert_null(c.unserved);

    struct chat_request *chats = NULL;
    struct fail fail = { 0 };
    size_t n = 0;
    bool empty = false;
    static const struct {
        const char *prompt;
        bool alone;
    } rows[] = {
        { "\"a\\n\"", true }, { "[1,2]", true }, { "[[1]]", true }, { "[\"a\",\"b\"]", false }
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "{\"model\":\"m\",\"prompt\":%s}", rows[i].prompt);
        assert_int_equal(completions_decode(&chats, &n, &empty, str_of(text), arena, &fail), 0);
        assert_int_equal(chats->wire, WIRE_openai_completions);
        assert_true((chats->source_prompt != NULL) == rows[i].alone);
    }
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
        cmocka_unit_test(effort_is_a_word_of_the_template),
        cmocka_unit_test(what_the_text_looks_like_has_many_spellings),
        cmocka_unit_test(tool_choices_say_who_may_be_called),
        cmocka_unit_test(completions_say_what_their_prompt_gets),
        cmocka_unit_test(a_completion_without_a_bound_has_16_tokens),
        cmocka_unit_test(messages_keep_parts_names_and_calls),
        cmocka_unit_test(long_conversations_keep_their_order),
        cmocka_unit_test(parts_say_what_they_hold),
        cmocka_unit_test(what_was_sent_stays_beside_what_was_read),
        cmocka_unit_test(tools_that_may_not_be_chosen_are_not_shown),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(prompts_become_one_request_each),
    };
    return TEST_RUN(tests);
}
