#include "tests/support/test.h"

#include "base/limits.h"
#include "base/sha256.h"
#include "gateway/api/responses.h"
#include "gateway/kept.h"
#include "tests/unit/gateway/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- asking ---- */

static char *respond(const char *fields)
{
    char *body = NULL;
    assert_true(asprintf(&body, "{\"model\":\"demo\",%s}", fields) > 0);
    char *a = post("/v1/responses", body);
    free(body);
    return a;
}

static char *say(const char *input, const char *more)
{
    char fields[1024];
    (void)snprintf(fields, sizeof(fields), "\"input\":\"%s\"%s", input, more);
    return respond(fields);
}

/* The first id of that prefix in an answer. */
static void id_in(const char *answer, const char *prefix, char ret[static 64])
{
    char what[32];
    (void)snprintf(what, sizeof(what), "\"id\":\"%s_", prefix);
    const char *at = strstr(answer, what);
    if (!at)
        fail_msg("no id %s in:\n%s", what, answer);
    at += strlen("\"id\":\"");
    (void)snprintf(ret, 64, "%.*s", (int)strcspn(at, "\""), at);
}

static void in_order(const char *answer, const char *const *order, size_t n)
{
    const char *at = answer;
    for (size_t i = 0; i < n; i++) {
        const char *next = strstr(at, order[i]);
        if (!next)
            fail_msg("'%s' does not follow in:\n%s", order[i], answer);
        at = next + 1;
    }
}

/* ---- one response ---- */

static void a_response_comes_whole(void **state)
{
    (void)state;
    char *a = say("say one two", ",\"metadata\":{\"k\":\"v\"}");
    expect(a, "HTTP/1.1 200");
    expect(a, "\"object\":\"response\"");
    expect(a, "\"status\":\"completed\"");
    expect(a, "\"output\":[{\"id\":\"msg_");
    expect(a,
           "\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":"
           "[{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"one two\"}]");
    expect(a, "\"usage\":{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":2,"
              "\"cache_write_tokens\":0},\"output_tokens\":2,\"output_tokens_details\":"
              "{\"reasoning_tokens\":0},\"total_tokens\":7}");
    expect(a, "\"metadata\":{\"k\":\"v\"}");
    expect(a, "\"tools\":[]");
    expect(a, "\"text\":{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"}");
    free(a);
}

static void a_stream_has_its_events_in_order(void **state)
{
    (void)state;
    static const char *const order[] = {
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,",
        "event: response.in_progress\ndata: "
        "{\"type\":\"response.in_progress\",\"sequence_number\":1",
        "event: response.output_item.added\n",
        "\"sequence_number\":2,\"output_index\":0,\"item\":{\"id\":\"msg_",
        "event: response.content_part.added\n",
        "event: response.output_text.delta\n",
        "\"content_index\":0,\"delta\":\"one\",\"logprobs\":[]}",
        "\"delta\":\" two\"",
        "event: response.output_text.done\n",
        "\"text\":\"one two\"",
        "event: response.content_part.done\n",
        "event: response.output_item.done\n",
        "event: response.completed\n",
        "\"sequence_number\":9,\"response\":{\"id\":\"resp_",
        "\"status\":\"completed\"",
        "\"usage\":{\"input_tokens\":5",
    };
    char *a = say("say one two", ",\"stream\":true");
    expect(a, "Content-Type: text/event-stream");
    in_order(a, order, ARRAY_LEN(order));
    assert_int_equal(count(a, "event: "), 10);
    assert_int_equal(count(a, "\"sequence_number\":"), 10);
    reject(a, "[DONE]");
    free(a);
}

#define ACT "act rI |rthink.|tSee:|cclock|a{\\\"z\\\": |a1}|cweather"

static void reasoning_and_calls_are_items(void **state)
{
    (void)state;
    char *a = say(ACT, "");
    static const char *const order[] = {
        "\"output\":[{\"id\":\"rs_",
        "\"type\":\"reasoning\",\"status\":\"completed\",\"content\":[{\"type\":\"reasoning_text\","
        "\"text\":\"I think.\"}],\"summary\":[]}",
        "{\"id\":\"msg_",
        "\"text\":\"See:\"",
        "{\"id\":\"fc_",
        "\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"call_x\",\"name\":"
        "\"clock\",\"arguments\":\"{\\\"z\\\": 1}\"}",
        "\"name\":\"weather\",\"arguments\":\"{}\"}]",
    };
    in_order(a, order, ARRAY_LEN(order));
    free(a);
}

static void reasoning_and_calls_are_streamed(void **state)
{
    (void)state;
    static const char *const order[] = {
        "\"item\":{\"id\":\"rs_",
        "event: response.content_part.added",
        "\"part\":{\"type\":\"reasoning_text\",\"text\":\"\"}",
        "event: response.reasoning_text.delta",
        "\"delta\":\"I \"}",
        "event: response.reasoning_text.done",
        "\"text\":\"I think.\"}",
        "event: response.content_part.done",
        "event: response.output_item.done",
        "\"output_index\":1,\"item\":{\"id\":\"msg_",
        "event: response.output_text.delta",
        "event: response.output_item.done",
        "\"output_index\":2,\"item\":{\"id\":\"fc_",
        "\"call_id\":\"call_x\",\"name\":\"clock\",\"arguments\":\"\"}",
        "event: response.function_call_arguments.delta",
        "event: response.function_call_arguments.done",
        "\"name\":\"clock\",\"arguments\":\"{\\\"z\\\": 1}\"}",
        "event: response.output_item.done",
        "\"output_index\":3,\"item\":{\"id\":\"fc_",
        "\"delta\":\"{}\"}",
        "\"arguments\":\"{}\"}",
        "event: response.completed",
    };
    char *a = say(ACT, ",\"stream\":true");
    in_order(a, order, ARRAY_LEN(order));
    free(a);
}

static void a_summary_of_the_reasoning_has_its_own_events(void **state)
{
    (void)state;
    static const char *const order[] = {
        "event: response.reasoning_summary_part.added",
        "event: response.reasoning_summary_text.delta",
        "\"summary_index\":0,\"delta\":\"I \"}",
        "event: response.reasoning_summary_text.done",
        "event: response.reasoning_summary_part.done",
        "\"summary\":[{\"type\":\"summary_text\","
        "\"text\":\"I think.\"}]",
    };
    char *a = say(ACT, ",\"stream\":true,\"reasoning\":{\"summary\":\"auto\"}");
    in_order(a, order, ARRAY_LEN(order));
    reject(a, "reasoning_text");
    free(a);
}

static void a_failure_says_so_at_the_end_of_a_stream(void **state)
{
    (void)state;
    static const char *const order[] = {
        "event: response.output_text.delta",
        "event: error\ndata: {\"type\":\"error\",\"sequence_number\":5,\"code\":\"internal_error\"",
        "event: response.failed",
        "\"status\":\"failed\"",
        "\"error\":{\"code\":\"server_error\",\"message\":\"the fake engine broke\"}",
    };
    char *a = say("break", ",\"stream\":true");
    in_order(a, order, ARRAY_LEN(order));
    reject(a, "response.completed");
    free(a);
    a = say("fail", ",\"stream\":true");
    expect(a, "HTTP/1.1 500");
    expect(a, "{\"error\":{\"message\":\"the fake engine broke\"");
    free(a);
}

static void log_probabilities_come_where_they_are_included(void **state)
{
    (void)state;
    char *a = say("say a b", ",\"include\":[\"message.output_text.logprobs\"],\"top_logprobs\":1");
    expect(a, "\"logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],\"top_logprobs\":"
              "[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]}]},{\"token\":\" b\"");
    free(a);
    a = say("say a b", ",\"stream\":true,\"top_logprobs\":1");
    expect(a, "\"delta\":\" b\",\"logprobs\":[{\"token\":\" b\"");
    free(a);
}

/* ---- mistakes ---- */

static void mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *status, *param;
    } rows[] = {
        { "\"input\":7", "400", "\"param\":\"input\"" },
        { "\"store\":true", "400", "\"param\":\"input\"" },
        { "\"input\":[{\"role\":\"king\",\"content\":\"x\"}]", "400", "\"input[0].role\"" },
        { "\"input\":[{\"role\":\"user\"}]", "400", "\"input[0].content\"" },
        { "\"input\":[{\"type\":\"computer_call\"}]", "400", "\"code\":\"unsupported_parameter\"" },
        { "\"input\":[{\"type\":\"function_call\"}]", "400", "\"input[0]\"" },
        { "\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\"}]", "400",
          "\"input[0].output\"" },
        { "\"input\":[{\"type\":\"item_reference\",\"id\":\"msg_1\"}]", "404", "\"input\"" },
        { "\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]", "400",
          "\"code\":\"unsupported_parameter\"" },
        { "\"input\":\"x\",\"temperature\":3", "400", "\"param\":\"temperature\"" },
        { "\"input\":\"x\",\"max_output_tokens\":0", "400", "\"param\":\"max_output_tokens\"" },
        { "\"input\":\"x\",\"top_logprobs\":21", "400", "\"param\":\"top_logprobs\"" },
        { "\"input\":\"x\",\"store\":1", "400", "\"param\":\"store\"" },
        { "\"input\":\"x\",\"include\":[\"all\"]", "400", "\"param\":\"include\"" },
        { "\"input\":\"x\",\"truncation\":\"some\"", "400", "\"param\":\"truncation\"" },
        { "\"input\":\"x\",\"reasoning\":{\"effort\":\"huge\"}", "400", "\"reasoning.effort\"" },
        { "\"input\":\"x\",\"metadata\":{\"a\":1}", "400", "\"param\":\"metadata\"" },
        { "\"input\":\"x\",\"prompt\":{\"id\":\"p\"}", "400", "\"param\":\"prompt\"" },
        { "\"input\":\"x\",\"tools\":[{\"type\":\"web_search\"}]", "400", "web_search" },
        { "\"input\":\"x\",\"tools\":[{\"type\":\"function\"}]", "400", "\"tools[0].name\"" },
        { "\"input\":\"x\",\"tool_choice\":\"required\"", "400", "\"param\":\"tool_choice\"" },
        { "\"input\":\"x\",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\"}}", "400",
          "\"text.format.schema\"" },
        { "\"input\":\"x\",\"text\":{\"format\":{\"type\":\"poem\"}}", "400", "\"text.format" },
        { "\"input\":\"x\",\"previous_response_id\":\"resp_0\"", "400",
          "\"code\":\"previous_response_not_found\"" },
        { "\"input\":\"x\",\"conversation\":\"conv_0\"", "404", "Conversation with id 'conv_0'" },
        { "\"input\":\"x\",\"conversation\":\"c\",\"previous_response_id\":\"r\"", "400",
          "\"param\":\"conversation\"" },
        { "\"input\":\"x\",\"background\":true,\"store\":false", "400",
          "\"param\":\"background\"" },
        { "\"input\":\"x\",\"input\":\"y\"", "400", "twice" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *a = respond(rows[i].fields);
        char line[32];
        (void)snprintf(line, sizeof(line), "HTTP/1.1 %s", rows[i].status);
        print_message("%s\n", rows[i].fields);
        expect(a, line);
        expect(a, rows[i].param);
        expect(a, "{\"error\":{\"message\":");
        free(a);
    }
}

/* ---- turns ---- */

static void items_become_a_conversation(void **state)
{
    (void)state;
    static const struct {
        const char *input, *seen;
    } rows[] = {
        { "[{\"role\":\"user\",\"content\":\"recall\"}]", "user=recall;" },
        { "[{\"role\":\"developer\",\"content\":\"d\"},{\"type\":\"message\",\"role\":\"user\","
          "\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\",\"text\":"
          "\"recall\"}]}]",
          "developer=d;user=a\\nrecall;" },
        { "[{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"content\":[{\"type\":"
          "\"reasoning_text\",\"text\":\"hm\"}],\"encrypted_content\":\"sig\"},"
          "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\","
          "\"text\":\"T\"}]},{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\","
          "\"arguments\":\"{}\"},{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\","
          "\"arguments\":\"1\"},{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":"
          "\"o\"},{\"type\":\"function_call_output\",\"call_id\":\"c2\",\"output\":[{\"type\":"
          "\"input_text\",\"text\":\"recall\"}]}]",
          "assistant<hm|sig>=T(c1,f,{})(c2,g,1);tool[c1]=o;tool[c2]=recall;" },
        { "[{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":\"e\"},"
          "{\"role\":\"assistant\",\"content\":\"A\"},{\"role\":\"assistant\",\"content\":\"B\"},"
          "{\"role\":\"user\",\"content\":\"recall\"}]",
          "assistant<|e>=A;assistant=B;user=recall;" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char fields[2048];
        (void)snprintf(fields, sizeof(fields), "\"input\":%s", rows[i].input);
        char *a = respond(fields);
        expect(a, rows[i].seen);
        free(a);
    }
}

static void a_response_goes_on_from_another(void **state)
{
    (void)state;
    char first[64], second[64], more[256], path[256], item[64];
    char *a = say("say one", ",\"instructions\":\"be brief\"");
    expect(a, "\"instructions\":\"be brief\"");
    id_in(a, "resp", first);
    free(a);
    (void)snprintf(more, sizeof(more), ",\"previous_response_id\":\"%s\",\"stream\":true", first);
    a = say("say two", more);
    id_in(a, "resp", second);
    free(a);
    (void)snprintf(more, sizeof(more), ",\"previous_response_id\":\"%s\"", second);
    a = say("recall", more);
    expect(a, "\"text\":\"user=say one;assistant=one;user=say two;assistant=two;user=recall;\"");
    expect(a, more + 1);
    id_in(a, "msg", item);
    free(a);

    (void)snprintf(path, sizeof(path), "/v1/responses/%s", first);
    a = bare("DELETE", path);
    expect(a, "\"object\":\"response\",\"deleted\":true}");
    free(a);
    a = bare("GET", path);
    expect(a, "HTTP/1.1 404");
    free(a);
    a = bare("DELETE", path);
    expect(a, "HTTP/1.1 404");
    free(a);
    a = say("recall", more); /* the second still knows what it was asked with */
    expect(a, "user=say one;assistant=one;");
    free(a);

    char fields[256];
    (void)snprintf(fields, sizeof(fields),
                   "\"input\":[{\"type\":\"item_reference\",\"id\":\"%s\"},{\"role\":\"user\","
                   "\"content\":\"recall\"}]",
                   item);
    a = respond(fields);
    expect(a, "\"text\":\"assistant=user=say one;assistant=one;");
    free(a);
}

static void an_id_opens_only_what_it_is_of(void **state)
{
    (void)state;
    char id[64], path[128];
    char *a = post("/v1/conversations", "{\"items\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    id_in(a, "conv", id);
    free(a);
    static const char *const paths[][2] = { { "/v1/responses/", "" },
                                            { "/v1/responses/", ":items" },
                                            { "/v1/conversations/", ":items" },
                                            { "/v1/conversations/resp_", "" } };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        (void)snprintf(path, sizeof(path), "%s%s%s", paths[i][0], id, paths[i][1]);
        a = bare("GET", path);
        expect(a, "HTTP/1.1 404");
        free(a);
        a = bare("DELETE", path);
        expect(a, "HTTP/1.1 404");
        free(a);
    }
    (void)snprintf(path, sizeof(path), "/v1/conversations/%s/items", id);
    a = bare("GET", path);
    expect(a, "\"text\":\"hi\"");
    free(a);
}

static void what_is_not_stored_is_not_found(void **state)
{
    (void)state;
    char id[64], path[128];
    char *a = say("say one", ",\"store\":false");
    expect(a, "\"store\":false");
    id_in(a, "resp", id);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s", id);
    a = bare("GET", path);
    expect(a, "HTTP/1.1 404");
    expect(a, "\"error\":{\"message\":\"Response with id '");
    free(a);
}

static void a_stream_that_is_left_is_not_kept(void **state)
{
    (void)state;
    static const char body[] = "{\"model\":\"demo\",\"stream\":true,\"input\":\"slow\"}";
    char request[512], id[64], path[128];
    (void)snprintf(request, sizeof(request),
                   "POST /v1/responses HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(body), body);
    int fd = dial();
    send_all(fd, request, strlen(request));
    char *a = receive(fd, "output_text.delta");
    (void)close(fd);
    id_in(a, "resp", id);
    free(a);
    assert_true(comes_true(is_idle, 5000));
    (void)snprintf(path, sizeof(path), "/v1/responses/%s", id);
    a = bare("GET", path);
    expect(a, "HTTP/1.1 404");
    free(a);
}

static void input_items_are_listed_in_pages(void **state)
{
    (void)state;
    char id[64], path[256], item[64];
    char *a = respond("\"input\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\","
                      "\"content\":[{\"type\":\"input_text\",\"text\":\"u\"}]},{\"role\":"
                      "\"assistant\",\"content\":\"a\"},{\"id\":\"msg_mine\",\"role\":\"user\","
                      "\"content\":\"say x\"}]");
    id_in(a, "resp", id);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s/input_items?limit=2", id);
    a = bare("GET", path);
    expect(a, "{\"object\":\"list\",\"data\":[{\"id\":\"msg_mine\",\"type\":\"message\",\"role\":"
              "\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"say x\"}],\"status\":"
              "\"completed\"},");
    expect(a, "\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"annotations\":[],"
              "\"logprobs\":[],\"text\":\"a\"}]");
    expect(a, "\"first_id\":\"msg_mine\"");
    expect(a, "\"has_more\":true}");
    const char *last = strstr(a, "\"last_id\":\"");
    assert_non_null(last);
    last += strlen("\"last_id\":\"");
    (void)snprintf(item, sizeof(item), "%.*s", (int)strcspn(last, "\""), last);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s/input_items?limit=2&after=%s", id, item);
    a = bare("GET", path);
    in_order(a, (const char *const[]){ "\"text\":\"u\"", "\"text\":\"s\"", "\"has_more\":false" },
             3);
    reject(a, "say x");
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s/input_items?order=asc", id);
    a = bare("GET", path);
    in_order(a, (const char *const[]){ "\"text\":\"s\"", "\"text\":\"u\"", "say x" }, 3);
    free(a);
    static const char *const bad[] = { "limit=0", "limit=101", "order=up", "after=msg_no" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        (void)snprintf(path, sizeof(path), "/v1/responses/%s/input_items?%s", id, bad[i]);
        a = bare("GET", path);
        expect(a, "HTTP/1.1 400");
        free(a);
    }
}

static void a_conversation_grows_by_its_responses(void **state)
{
    (void)state;
    char id[64], path[256], more[128], item[64];
    char *a =
        post("/v1/conversations",
             "{\"metadata\":{\"t\":\"1\"},\"items\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    expect(a, "\"object\":\"conversation\"");
    expect(a, "\"metadata\":{\"t\":\"1\"}");
    id_in(a, "conv", id);
    free(a);
    (void)snprintf(more, sizeof(more), ",\"conversation\":{\"id\":\"%s\"}", id);
    a = say("say one", more);
    expect(a, more + 1);
    free(a);
    a = say("recall", more);
    expect(a, "\"text\":\"user=hi;user=say one;assistant=one;user=recall;\"");
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/conversations/%s/items", id);
    a = post(path, "{\"items\":[{\"role\":\"user\",\"content\":\"later\"}]}");
    expect(a, "{\"object\":\"list\",\"data\":[{\"id\":\"msg_");
    expect(a, "later");
    id_in(a, "msg", item);
    free(a);
    a = bare("GET", path);
    assert_int_equal(count(a, "\"type\":\"message\""), 6);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/conversations/%s/items/%s", id, item);
    a = bare("GET", path);
    expect(a, "\"text\":\"later\"");
    free(a);
    a = bare("DELETE", path);
    expect(a, "\"object\":\"conversation\"");
    free(a);
    a = bare("GET", path);
    expect(a, "HTTP/1.1 404");
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/conversations/%s", id);
    a = post(path, "{\"metadata\":{\"t\":\"2\"}}");
    expect(a, "\"metadata\":{\"t\":\"2\"}");
    free(a);
    a = bare("DELETE", path);
    expect(a, "\"object\":\"conversation.deleted\",\"deleted\":true}");
    free(a);
    a = bare("GET", path);
    expect(a, "HTTP/1.1 404");
    free(a);
    a = say("recall", more);
    expect(a, "HTTP/1.1 404");
    free(a);
}

static void truncation_drops_the_oldest_in_the_middle(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(MIB);
    buf_adds(&b, "\"instructions\":\"I\",\"input\":[");
    for (int i = 0; i < 60; i++)
        buf_addf(&b, "{\"role\":\"%s\",\"content\":\"m%d\"},", i % 2 ? "assistant" : "user", i);
    buf_adds(&b, "{\"role\":\"user\",\"content\":\"recall\"}]");
    char *a = respond(b.p);
    expect(a, "\"param\":\"input\",\"code\":\"context_length_exceeded\"");
    free(a);
    buf_adds(&b, ",\"truncation\":\"auto\"");
    a = respond(b.p);
    expect(a, "HTTP/1.1 200");
    expect(a, "\"text\":\"system=I;");
    expect(a, "=m59;user=recall;\"");
    reject(a, "=m0;");
    free(a);
    buf_done(&b);
}

static void tokens_are_counted(void **state)
{
    (void)state;
    char *a = post("/v1/responses/input_tokens", "{\"input\":\"seven ch\"}");
    expect(a, "{\"object\":\"response.input_tokens\",\"input_tokens\":8}");
    free(a);
}

/* Waits for the end of a response in the background: what it ended as, owned. */
static char *ended(const char *id)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "/v1/responses/%s", id);
    for (int i = 0; i < 5000; i++) {
        char *a = bare("GET", path);
        if (!strstr(a, "\"status\":\"queued\"") && !strstr(a, "\"status\":\"in_progress\""))
            return a;
        free(a);
        (void)usleep(1000);
    }
    fail_msg("%s does not end", id);
    return NULL;
}

static void a_response_in_the_background_ends_by_itself(void **state)
{
    (void)state;
    char id[64], more[128];
    char *a = say("wait 30", ",\"background\":true");
    expect(a, "HTTP/1.1 200");
    expect(a, "\"status\":\"queued\"");
    expect(a, "\"background\":true");
    id_in(a, "resp", id);
    free(a);
    a = ended(id);
    expect(a, "\"status\":\"completed\"");
    expect(a, "\"text\":\"ok\"");
    expect(a, "\"usage\":{");
    free(a);
    (void)snprintf(more, sizeof(more), ",\"previous_response_id\":\"%s\"", id);
    a = say("recall", more);
    expect(a, "user=wait 30;assistant=ok;user=recall;");
    free(a);
    a = say("break", ",\"background\":true");
    id_in(a, "resp", id);
    free(a);
    a = ended(id);
    expect(a, "\"status\":\"failed\"");
    expect(a, "\"error\":{\"code\":\"server_error\",\"message\":\"the fake engine broke\"}");
    free(a);
    a = say("fail", ",\"background\":true"); /* at once, or a moment later */
    if (!strstr(a, "HTTP/1.1 500")) {
        id_in(a, "resp", id);
        free(a);
        a = ended(id);
        expect(a, "\"status\":\"failed\"");
    }
    expect(a, "the fake engine broke");
    free(a);
}

static void a_response_whose_gateway_died_has_failed(void **state)
{
    (void)state;
    char id[64], key[128];
    char *a = say("say one", "");
    id_in(a, "resp", id);
    free(a);
    struct sha256 owner = sha256_of(STR("key 0"));
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &owner);
    (void)snprintf(key, sizeof(key), "%.16s:%s", hex, id);
    static const char record[] =
        "{\"response\":{\"id\":\"resp_1\",\"created_at\":1000,\"status\":\"queued\",\"error\":null,"
        "\"background\":true,\"output\":[]},\"input\":[]}";
    assert_int_equal(kept_put(server_kept(server), key, str_of(record)), 0);
    a = ended(id);
    expect(a,
           "\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"the gateway "
           "that worked on it is gone\"},\"background\":true");
    free(a);
}

static void mistakes_in_the_background_are_told_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *status;
    } rows[] = {
        { "\"input\":\"long\",\"background\":true", "HTTP/1.1 400" },
        { "\"input\":\"full\",\"background\":true", "HTTP/1.1 429" },
        { "\"input\":7,\"background\":true", "HTTP/1.1 400" },
        { "\"input\":\"say x\",\"background\":true,\"temperature\":7", "HTTP/1.1 400" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *a = respond(rows[i].fields);
        expect(a, rows[i].status);
        expect(a, "{\"error\":{\"message\":");
        free(a);
    }
}

static void a_response_in_the_background_is_cancelled(void **state)
{
    (void)state;
    char id[64], path[128];
    char *a = say("slow", ",\"background\":true");
    id_in(a, "resp", id);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s/cancel", id);
    for (int i = 0; i < 2; i++) { /* once more is no mistake */
        a = post(path, "");
        expect(a, "HTTP/1.1 200");
        expect(a, "\"status\":\"cancelled\"");
        free(a);
    }
    assert_true(comes_true(is_idle, 5000));
    a = say("hang", ",\"background\":true");
    id_in(a, "resp", id);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s", id);
    free(bare("DELETE", path));
    assert_true(comes_true(is_idle, 5000)); /* nobody can ask for it: it does not run on */
    a = bare("GET", path);
    expect(a, "HTTP/1.1 404");
    free(a);
}

/* The events of an answer, without its head and the chunks' frames. */
static void events_of(char *a)
{
    char *to = a, *body = strstr(a, "\r\n\r\n");
    for (const char *line = body ? body + 4 : a; *line;) {
        size_t n = strcspn(line, "\n");
        bool is_frame = n < 8 && n > 0 && line[n - 1] == '\r';
        if (!is_frame) {
            memmove(to, line, n + 1);
            to += n + 1;
        }
        line += n + (line[n] == '\n');
    }
    *to = '\0';
}

static void a_stream_in_the_background_is_read_again(void **state)
{
    (void)state;
    char id[64], path[256];
    char *a = say(ACT, ",\"background\":true,\"stream\":true");
    expect(a, "Content-Type: text/event-stream");
    expect(a, "event: response.completed");
    id_in(a, "resp", id);
    events_of(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s?stream=true", id);
    char *b = bare("GET", path);
    events_of(b);
    assert_string_equal(a, b);
    free(b);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s?stream=true&starting_after=6", id);
    b = bare("GET", path);
    events_of(b);
    expect(b, "\"sequence_number\":7");
    reject(b, "\"sequence_number\":6,");
    assert_true(strlen(b) < strlen(a));
    assert_string_equal(a + strlen(a) - strlen(b), b);
    free(b);
    free(a);
}

static void any_response_is_told_as_a_stream(void **state)
{
    (void)state;
    static const char *const order[] = {
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,",
        "\"status\":\"in_progress\"",
        "event: response.in_progress",
        "event: response.output_item.added",
        "\"content\":[],\"summary\":[]}",
        "event: response.content_part.added",
        "event: response.reasoning_text.delta",
        "\"delta\":\"I think.\"",
        "event: response.output_item.done",
        "event: response.output_text.delta",
        "\"content_index\":0,\"delta\":\"See:\",\"logprobs\":[]}",
        "event: response.function_call_arguments.done",
        "event: response.completed",
    };
    char id[64], path[256];
    char *a = say(ACT, "");
    id_in(a, "resp", id);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s?stream=true", id);
    a = bare("GET", path);
    in_order(a, order, ARRAY_LEN(order));
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s?stream=true&starting_after=1", id);
    a = bare("GET", path);
    reject(a, "response.in_progress\",");
    expect(a, "\"sequence_number\":2");
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s?stream=true&starting_after=x", id);
    a = bare("GET", path);
    expect(a, "HTTP/1.1 400");
    free(a);
}

static void only_background_responses_are_cancelled(void **state)
{
    (void)state;
    char id[64], path[128];
    char *a = say("say one", "");
    id_in(a, "resp", id);
    free(a);
    (void)snprintf(path, sizeof(path), "/v1/responses/%s/cancel", id);
    a = post(path, "");
    expect(a, "HTTP/1.1 400");
    expect(a, "Cannot cancel a synchronous response.");
    free(a);
    a = post("/v1/responses/resp_0/cancel", "");
    expect(a, "HTTP/1.1 404");
    free(a);
}

static void ids_of_items_lead_to_their_response(void **state)
{
    (void)state;
    char id[RESPONSES_ITEM_ID], response[RESPONSES_ITEM_ID];
    struct item_ids ids = { .base = STR("abcdefghijklmnopqrstuvwx"), .kind = 'o', .n = 3 };
    items_id(&ids, "msg", id);
    assert_string_equal(id, "msg_abcdefghijklmnopqrstuvwxo3");
    assert_true(items_response(str_of(id), response));
    assert_string_equal(response, "resp_abcdefghijklmnopqrstuvwx");
    assert_false(items_response(STR("msg_short"), response));
    assert_false(items_response(STR("none"), response));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_comes_whole),
        cmocka_unit_test(a_stream_has_its_events_in_order),
        cmocka_unit_test(reasoning_and_calls_are_items),
        cmocka_unit_test(reasoning_and_calls_are_streamed),
        cmocka_unit_test(a_summary_of_the_reasoning_has_its_own_events),
        cmocka_unit_test(a_failure_says_so_at_the_end_of_a_stream),
        cmocka_unit_test(log_probabilities_come_where_they_are_included),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(items_become_a_conversation),
        cmocka_unit_test(a_response_goes_on_from_another),
        cmocka_unit_test(an_id_opens_only_what_it_is_of),
        cmocka_unit_test(what_is_not_stored_is_not_found),
        cmocka_unit_test(a_stream_that_is_left_is_not_kept),
        cmocka_unit_test(input_items_are_listed_in_pages),
        cmocka_unit_test(a_conversation_grows_by_its_responses),
        cmocka_unit_test(truncation_drops_the_oldest_in_the_middle),
        cmocka_unit_test(tokens_are_counted),
        cmocka_unit_test(a_response_in_the_background_ends_by_itself),
        cmocka_unit_test(a_response_whose_gateway_died_has_failed),
        cmocka_unit_test(mistakes_in_the_background_are_told_at_once),
        cmocka_unit_test(a_response_in_the_background_is_cancelled),
        cmocka_unit_test(a_stream_in_the_background_is_read_again),
        cmocka_unit_test(any_response_is_told_as_a_stream),
        cmocka_unit_test(only_background_responses_are_cancelled),
        cmocka_unit_test(ids_of_items_lead_to_their_response),
    };
    test_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
