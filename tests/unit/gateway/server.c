#include "tests/support/test.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "tests/unit/gateway/client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- answers ---- */

static void an_answer_comes_whole(void **state)
{
    (void)state;
    char *a = chat("say one two three", "");
    expect(a, "HTTP/1.1 200");
    expect(a, "Content-Type: application/json");
    expect(a, "x-request-id: req_");
    expect(a, "\"content\":\"one two three\"");
    expect(a, "\"finish_reason\":\"stop\"");
    expect(a, "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3,\"total_tokens\":8,"
              "\"prompt_tokens_details\":{\"cached_tokens\":2},"
              "\"completion_tokens_details\":{\"reasoning_tokens\":0}}");
    expect(a, "\"model\":\"demo\"");
    free(a);
}

#define ACT "act rI |rthink.|tSee:|cclock|a{\\\"z\\\": |a\\\"\xc3\xbc\\\"}|cweather|a{}"

static void calls_and_reasoning_come_whole(void **state)
{
    (void)state;
    char *a = chat(ACT, "");
    expect(a, "\"message\":{\"role\":\"assistant\",\"content\":\"See:\",\"reasoning_content\":"
              "\"I think.\",\"refusal\":null,\"tool_calls\":[{\"id\":\"call_x\",\"type\":"
              "\"function\",\"function\":{\"name\":\"clock\",\"arguments\":"
              "\"{\\\"z\\\": \\\"\xc3\xbc\\\"}\"}},{\"id\":\"call_x\",\"type\":\"function\","
              "\"function\":{\"name\":\"weather\",\"arguments\":\"{}\"}}]},\"logprobs\":null,"
              "\"finish_reason\":\"tool_calls\"}");
    expect(a, "\"completion_tokens_details\":{\"reasoning_tokens\":2}");
    free(a);
    a = chat("act cclock|a{}", ",\"n\":2");
    assert_int_equal(count(a, "\"content\":null,\"refusal\":null,\"tool_calls\":[{"), 2);
    reject(a, "reasoning_content");
    free(a);
}

#define SIGNED "act rI |rthink.|ssig|xzz|rMore|ssog|rlost|tSee"

static void signed_reasoning_comes_back_in_its_blocks(void **state)
{
    (void)state;
    char *a = chat(SIGNED, "");
    expect(a, "\"reasoning_content\":\"I think.Morelost\",\"thinking_blocks\":[{\"type\":"
              "\"thinking\",\"thinking\":\"I think.\",\"signature\":\"sig\"},{\"type\":"
              "\"redacted_thinking\",\"data\":\"zz\"},{\"type\":\"thinking\",\"thinking\":"
              "\"More\",\"signature\":\"sog\"}],\"refusal\":null");
    free(a);
    a = chat(SIGNED, ",\"stream\":true");
    static const char *const order[] = {
        "\"delta\":{\"reasoning_content\":\"think.\"}",
        "\"delta\":{\"thinking_blocks\":[{\"index\":0,\"type\":\"thinking\",\"thinking\":"
        "\"I think.\",\"signature\":\"sig\"}]},\"logprobs\":null,\"finish_reason\":null",
        "\"delta\":{\"thinking_blocks\":[{\"index\":1,\"type\":\"redacted_thinking\",\"data\":"
        "\"zz\"}]}",
        "\"delta\":{\"thinking_blocks\":[{\"index\":2,\"type\":\"thinking\",\"thinking\":"
        "\"More\",\"signature\":\"sog\"}]}",
        "\"delta\":{\"reasoning_content\":\"lost\"}",
        "\"delta\":{\"content\":\"See\"}",
    };
    const char *at = a;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        expect(at, order[i]);
        at = strstr(at, order[i]) + 1;
    }
    free(a);
}

static void calls_and_reasoning_are_streamed(void **state)
{
    (void)state;
    char *a = chat(ACT, ",\"stream\":true");
    static const char *const order[] = {
        "\"delta\":{\"role\":\"assistant\"",
        "\"delta\":{\"reasoning_content\":\"I \"},\"logprobs\":null,\"finish_reason\":null",
        "\"delta\":{\"reasoning_content\":\"think.\"}",
        "\"delta\":{\"content\":\"See:\"}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_x\",\"type\":\"function\","
        "\"function\":{\"name\":\"clock\",\"arguments\":\"\"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"z\\\": \"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"\xc3\xbc\\\"}\"}"
        "}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_x\"",
        "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"tool_calls\"",
        "data: [DONE]",
    };
    const char *at = a;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        expect(at, order[i]);
        at = strstr(at, order[i]) + 1;
    }
    free(a);
}

static void choices_share_one_prompt_in_usage(void **state)
{
    (void)state;
    char *a = chat("say one two", ",\"n\":3");
    assert_int_equal(count(a, "\"content\":\"one two\""), 3);
    expect(a, "\"index\":2");
    expect(a, "\"prompt_tokens\":5,\"completion_tokens\":6,\"total_tokens\":11");
    free(a);
}

static void a_stream_follows_the_captured_order(void **state)
{
    (void)state;
    char *a = chat("say one two", ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    expect(a, "Content-Type: text/event-stream; charset=utf-8");
    expect(a, "Cache-Control: no-cache");
    expect(a, "X-Accel-Buffering: no");
    static const char *const order[] = {
        "\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}",
        "\"delta\":{\"content\":\"one\"}",
        "\"delta\":{\"content\":\" two\"}",
        "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":null",
        "\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2",
        "data: [DONE]",
    };
    const char *at = a;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        at = strstr(at, order[i]);
        if (!at)
            fail_msg("'%s' does not follow in:\n%s", order[i], a);
    }
    assert_int_equal(count(a, "\"usage\":null"), 4);
    free(a);
}

static void a_stream_without_usage_does_not_mention_it(void **state)
{
    (void)state;
    char *a = chat("say one", ",\"stream\":true");
    reject(a, "usage");
    expect(a, "data: [DONE]");
    free(a);
}

static void streamed_choices_are_interleaved_and_each_ends_once(void **state)
{
    (void)state;
    char *a = chat("say a b c", ",\"stream\":true,\"n\":4");
    assert_int_equal(count(a, "\"finish_reason\":\"stop\""), 4);
    assert_int_equal(count(a, "\"role\":\"assistant\""), 4);
    assert_int_equal(count(a, "[DONE]"), 1);
    free(a);
}

static void log_probabilities_have_both_shapes(void **state)
{
    (void)state;
    char *a = chat("say a b", ",\"logprobs\":true,\"top_logprobs\":2");
    expect(a, "\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],"
              "\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]},"
              "{\"token\":\"bytes:\\\\xe2\\\\x82\",\"logprob\":-1.5,\"bytes\":[226,130]}]},"
              "{\"token\":\" b\"");
    expect(a, "],\"refusal\":null}");
    free(a);
    a = post("/v1/completions", "{\"model\":\"demo\",\"prompt\":\"say a bc d\",\"logprobs\":1}");
    expect(a, "\"logprobs\":{\"tokens\":[\"a\",\" bc\",\" d\"],\"token_logprobs\":[-0.5,-0.5,-0.5],"
              "\"top_logprobs\":[{\"a\":-0.5},{\" bc\":-0.5},{\" d\":-0.5}],"
              "\"text_offset\":[0,1,4]}");
    free(a);
}

static void completions_echo_and_take_many_prompts(void **state)
{
    (void)state;
    char *a = post("/v1/completions",
                   "{\"model\":\"demo\",\"prompt\":[\"say a\",\"say b c\"],\"echo\":true,\"n\":2}");
    assert_int_equal(count(a, "\"text\":\"say aa\""), 2);
    assert_int_equal(count(a, "\"text\":\"say b cb c\""), 2);
    expect(a, "\"index\":3");
    expect(a, "\"prompt_tokens\":10,\"completion_tokens\":6");
    expect(a, "\"object\":\"text_completion\"");
    free(a);
}

static void prompts_of_token_ids_are_echoed_as_text(void **state)
{
    (void)state;
    char *a = post("/v1/completions", "{\"model\":\"demo\",\"prompt\":[[115,97,121,32,97],[115,97,"
                                      "121,32,98]],\"echo\":true}");
    expect(a, "\"text\":\"say aa\"");
    expect(a, "\"text\":\"say bb\"");
    free(a);
    a = post("/v1/completions",
             "{\"model\":\"demo\",\"prompt\":[97,98],\"echo\":true,\"max_tokens\":0}");
    expect(a, "\"text\":\"ab\"");
    free(a);
}

static void an_echo_has_log_probabilities_too(void **state)
{
    (void)state;
    static const struct {
        const char *more, *want;
    } rows[] = {
        { "", "\"text\":\"say bb\",\"logprobs\":{\"tokens\":[\"<s>\",\"say b\",\"b\"],"
              "\"token_logprobs\":[null,-2.5,-0.5],"
              "\"top_logprobs\":[null,{\"x\":-0.25,\"say "
              "b\":-2.5},{\"b\":-0.5}],\"text_offset\":[0,0,5]}" },
        { ",\"max_tokens\":0",
          "\"text\":\"say b\",\"logprobs\":{\"tokens\":[\"<s>\",\"say b\"],"
          "\"token_logprobs\":[null,-2.5],\"top_logprobs\":[null,{\"x\":-0.25,\"say b\":-2.5}],"
          "\"text_offset\":[0,0]},\"finish_reason\":\"length\"" },
        { ",\"stream\":true",
          "\"text\":\"say b\",\"logprobs\":{\"tokens\":[\"<s>\",\"say b\"],"
          "\"token_logprobs\":[null,-2.5],\"top_logprobs\":[null,{\"x\":-0.25,\"say b\":-2.5}],"
          "\"text_offset\":[0,0]},\"finish_reason\":null" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char body[256];
        (void)snprintf(body, sizeof(body),
                       "{\"model\":\"demo\",\"prompt\":\"say b\",\"echo\":true,\"logprobs\":1%s}",
                       rows[i].more);
        char *a = post("/v1/completions", body);
        expect(a, rows[i].want);
        free(a);
    }
}

static void the_best_are_sent_best_first(void **state)
{
    (void)state;
    char *a = post("/v1/completions", "{\"model\":\"demo\",\"prompt\":[\"who\",\"who\"],\"n\":2,"
                                      "\"best_of\":5}");
    static const char *const order[] = {
        "{\"index\":0,\"text\":\"choice 3\"",
        "{\"index\":1,\"text\":\"choice 1\"",
        "{\"index\":2,\"text\":\"choice 8\"",
        "{\"index\":3,\"text\":\"choice 6\"",
        "\"prompt_tokens\":10,\"completion_tokens\":20,",
    };
    const char *at = a;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        at = strstr(at, order[i]);
        if (!at)
            fail_msg("'%s' does not follow in:\n%s", order[i], a);
    }
    reject(a, "\"index\":4");
    free(a);
}

static void no_tokens_at_all_is_an_answer_too(void **state)
{
    (void)state;
    char *a = post("/v1/completions",
                   "{\"model\":\"demo\",\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true}");
    expect(a, "\"text\":\"abc\"");
    expect(a, "\"finish_reason\":\"length\"");
    expect(a, "\"prompt_tokens\":3,\"completion_tokens\":0");
    free(a);
}

/* ---- failures ---- */

static void engine_failures_become_statuses(void **state)
{
    (void)state;
    static const struct {
        const char *script, *more, *status, *word;
    } rows[] = {
        { "full", "", "HTTP/1.1 429", "\"code\":\"queue_full\"" },
        { "full", ",\"stream\":true", "HTTP/1.1 429", "Retry-After: 3" },
        { "long", "", "HTTP/1.1 400", "\"code\":\"context_length_exceeded\"" },
        { "fail", "", "HTTP/1.1 500", "\"code\":\"internal_error\"" },
        { "fail", ",\"stream\":true", "HTTP/1.1 500", "application/json" },
        { "fail", ",\"n\":3", "HTTP/1.1 500", "api_error" },
        { "break", "", "HTTP/1.1 500", "the fake engine broke" },
        { "break", ",\"stream\":true", "HTTP/1.1 200", "data: {\"error\":{\"message\":\"the fake" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *a = chat(rows[i].script, rows[i].more);
        expect(a, rows[i].status);
        expect(a, rows[i].word);
        reject(a, "[DONE]");
        free(a);
    }
}

static void a_decision_of_several_models_is_501_by_name(void **state)
{
    (void)state;
    char *a =
        post("/v1/chat/completions",
             "{\"model\":\"panel\",\"messages\":[{\"role\":\"user\",\"content\":\"say one\"}]}");
    expect(a, "HTTP/1.1 501");
    expect(a, "\"code\":\"not_implemented\"");
    expect(a, "'ask_all'");
    expect(a, "'fusion'");
    free(a);
    a = post("/api/v1/eval", "{\"model\":\"panel\",\"text\":\"say one\"}");
    expect(a, "HTTP/1.1 200");
    expect(a, "\"selection_status\":\"execution_required\"");
    free(a);
}

static void wrong_requests_are_told_so_in_json(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status, *word;
    } rows[] = {
        { "GET /nowhere HTTP/1.1\r\nHost: t\r\n", "404", "\"code\":\"not_found\"" },
        { "PUT /v1/models HTTP/1.1\r\nHost: t\r\n", "405", "Allow: GET, HEAD, OPTIONS" },
        { "GET /v1/chat/completions HTTP/1.1\r\nHost: t\r\n", "405", "Allow: POST, OPTIONS" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nContent-Type: "
          "text/plain\r\n",
          "415", "unsupported_media_type" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nContent-Encoding: "
          "gzip\r\n",
          "415", "unsupported_media_type" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 9000000000\r\n", "413",
          "request_too_large" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: "
          "9000000000\r\n",
          "413", "request_too_large" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nTransfer-Encoding: "
          "chunked\r\n",
          "400", "Content-Length and Transfer-Encoding" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nContent-Length: 2\r\n",
          "400", "twice" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n", "400",
          "Transfer-Encoding" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding : chunked\r\n", "400",
          "header's name" },
        { "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n", "400", "empty" },
        { "OPTIONS /v1/completions HTTP/1.1\r\nHost: t\r\nAccess-Control-Request-Headers: x-a\r\n",
          "204", "Access-Control-Allow-Headers: x-a" },
        { "HEAD /health HTTP/1.1\r\nHost: t\r\n", "200", "Content-Length: 15" },
        { "GET /health HTTP/1.1\r\nHost: t\r\nx-request-id: my-id.7\r\n", "200",
          "x-request-id: my-id.7" },
        { "GET /health HTTP/1.1\r\nHost: t\r\nx-request-id: a b\r\n", "200", "x-request-id: req_" },
        { "GET /v1/models/nobody:x HTTP/1.1\r\nHost: t\r\n", "404", "model_not_found" },
        { "GET /v1/models/demo HTTP/1.1\r\nHost: t\r\n", "200", "\"object\":\"model\"" },
        { "GET /metrics HTTP/1.1\r\nHost: t\r\n", "200", "rootstock_requests_total" },
        { "GET /ready HTTP/1.1\r\nHost: t\r\n", "200", "ready" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char request[1024], status[32];
        (void)snprintf(request, sizeof(request), "%sConnection: close\r\n\r\n", rows[i].request);
        (void)snprintf(status, sizeof(status), "HTTP/1.1 %s", rows[i].status);
        int fd = dial();
        send_all(fd, request, strlen(request));
        if (strstr(rows[i].request, "Content-Length: 2\r\n"))
            send_all(fd, "{}", 2);
        char *a = receive(fd, NULL);
        (void)close(fd);
        if (strncmp(a, status, strlen(status)) != 0 || !strstr(a, rows[i].word))
            fail_msg("row %zu: %s", i, a);
        free(a);
    }
}

static void a_long_head_is_431(void **state)
{
    (void)state;
    char *request = malloc(40000);
    assert_non_null(request);
    int n = snprintf(request, 100, "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\nx: ");
    memset(request + n, 'a', 20000);
    (void)snprintf(request + n + 20000, 16, "\r\n\r\n");
    char *a = exchange(request);
    expect(a, "HTTP/1.1 431");
    expect(a, "\"code\":\"headers_too_large\"");
    free(a);
    free(request);
}

/* Also where it fills the memory that a connection has. */
static void a_head_of_any_length_is_answered(void **state)
{
    (void)state;
    enum { MOST = 30000 };
    char *request = malloc(MOST + 200);
    assert_non_null(request);
    for (size_t more = 14000; more <= MOST; more += 400) {
        int n =
            snprintf(request, 100, "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\nx: ");
        memset(request + n, 'a', more);
        (void)snprintf(request + n + more, 16, "\r\n\r\n");
        char *a = exchange(request);
        if (strncmp(a, "HTTP/1.1 200", 12) != 0 && strncmp(a, "HTTP/1.1 431", 12) != 0)
            fail_msg("a head of %zu bytes: %.60s", n + more, a);
        free(a);
    }
    free(request);
}

/* The refusal must arrive although the client insists on sending all first. */
static void a_big_body_is_refused_readably(void **state)
{
    (void)state;
    size_t n = 3 * MIB;
    char *body = malloc(n);
    assert_non_null(body);
    memset(body, 'x', n);
    for (int chunked = 0; chunked < 2; chunked++) {
        char head[256];
        (void)snprintf(head, sizeof(head),
                       "POST /v1/completions HTTP/1.1\r\nHost: t\r\n%s: %s\r\n\r\n%s",
                       chunked ? "Transfer-Encoding" : "Content-Length",
                       chunked ? "chunked" : "3145728", chunked ? "300000\r\n" : "");
        int fd = dial();
        send_all(fd, head, strlen(head));
        send_all(fd, body, n);
        char *a = receive(fd, NULL);
        (void)close(fd);
        expect(a, "HTTP/1.1 413");
        expect(a, "\"code\":\"request_too_large\"");
        free(a);
    }
    free(body);
}

static void a_connection_serves_many_requests(void **state)
{
    (void)state;
    static const char one[] = "GET /health HTTP/1.1\r\nHost: t\r\n\r\n";
    static const char bad[] = "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: x/y\r\n"
                              "Content-Length: 4\r\n\r\nabcd";
    static const char last[] = "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    int fd = dial();
    send_all(fd, one, strlen(one)); /* pipelined */
    send_all(fd, bad, strlen(bad));
    send_all(fd, last, strlen(last));
    char *a = receive(fd, NULL);
    (void)close(fd);
    assert_int_equal(count(a, "200 OK"), 2);
    expect(a, "415 Unsupported");
    free(a);
}

static void chunked_bodies_and_expect_are_served(void **state)
{
    (void)state;
    static const char body[] = "{\"model\":\"demo\",\"prompt\":\"say hello\"}";
    char request[512];
    (void)snprintf(request, sizeof(request),
                   "POST /v1/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n5\r\n%.5s\r\n%zx\r\n%s\r\n0\r\n\r\n",
                   body, strlen(body) - 5, body + 5);
    char *a = exchange(request);
    expect(a, "\"text\":\"hello\"");
    free(a);
    int fd = dial();
    (void)snprintf(request, sizeof(request),
                   "POST /v1/completions HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                   "Expect: 100-continue\r\nContent-Length: %zu\r\n\r\n",
                   strlen(body));
    send_all(fd, request, strlen(request));
    a = receive(fd, "\r\n\r\n");
    expect(a, "HTTP/1.1 100 Continue");
    free(a);
    send_all(fd, body, strlen(body));
    a = receive(fd, NULL);
    expect(a, "\"text\":\"hello\"");
    free(a);
    (void)close(fd);
}

static const char half[] = "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 37\r\n\r\n"
                           "{\"model\":\"demo\",";
static const char other_half[] = "\"prompt\":\"say hello\"}";

static void a_body_that_does_not_go_on_is_408(void **state)
{
    (void)state;
    static const char chunked[] = "POST /v1/messages HTTP/1.1\r\nHost: t\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"mod";
    int fds[] = { dial(), dial() };
    send_all(fds[0], half, strlen(half));
    send_all(fds[1], chunked, strlen(chunked));
    char *a = receive(fds[0], NULL);
    expect(a, "HTTP/1.1 408 Request Timeout\r\n");
    expect(a, "\"code\":\"request_timeout\"");
    free(a);
    a = receive(fds[1], NULL);
    expect(a, "HTTP/1.1 408 Request Timeout\r\n");
    expect(a, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\"");
    free(a);
    (void)close(fds[0]);
    (void)close(fds[1]);
    assert_true(comes_true(is_idle, 5000));
}

/* Longer in all than it may pause. */
static void a_body_that_comes_slowly_is_served(void **state)
{
    (void)state;
    int fd = dial();
    send_all(fd, half, strlen(half));
    for (const char *c = other_half; *c; c++) {
        (void)usleep(40000);
        send_all(fd, c, 1);
    }
    char *a = receive(fd, "hello");
    expect(a, "HTTP/1.1 200");
    free(a);
    (void)close(fd);
}

/* Not the deadline ends it: that would be told. */
static void half_a_body_and_its_end_leave_nothing_behind(void **state)
{
    (void)state;
    for (int pause = 0; pause < 2; pause++) {
        int fd = dial();
        send_all(fd, half, strlen(half));
        if (pause)
            (void)usleep(50000);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        char *a = receive(fd, NULL);
        assert_string_equal(a, "");
        free(a);
        (void)close(fd);
        assert_true(comes_true(is_idle, 5000));
    }
}

static bool is_uploading(void)
{
    return server_active(server) == 1;
}

static void the_end_of_a_drain_ends_half_a_body_too(void **state)
{
    (void)state;
    int fd = dial();
    send_all(fd, half, strlen(half));
    assert_true(comes_true(is_uploading, 5000));
    server_cancel_all(server);
    char *a = receive(fd, NULL);
    expect(a, "HTTP/1.1 503");
    expect(a, "Retry-After: 1");
    free(a);
    (void)close(fd);
    assert_true(comes_true(is_idle, 5000));
}

/* ---- clients that leave, and those that do not read ---- */

static bool is_stopped(void)
{
    return fake_engine_running(model.engine) == 0;
}

static void a_client_that_leaves_stops_its_decode_within_100_ms(void **state)
{
    (void)state;
    static const char *const scripts[] = { "hang", "slow", "wait 60000" };
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        int fd = open_stream(scripts[i]);
        for (unsigned ms = 0; is_stopped() && ms < 2000; ms++)
            (void)usleep(1000);
        assert_false(is_stopped());
        (void)usleep(30000);
        uint64_t from = clock_ms();
        (void)close(fd);
        if (!comes_true(is_stopped, 2000))
            fail_msg("%s: still running", scripts[i]);
        if (clock_ms() - from > 100)
            fail_msg("%s: noticed after %llu ms", scripts[i],
                     (unsigned long long)(clock_ms() - from));
    }
    assert_true(comes_true(is_idle, 2000));
}

static void a_client_that_leaves_a_whole_answer_stops_it(void **state)
{
    (void)state;
    static const char body[] = "{\"model\":\"demo\",\"prompt\":\"hang\",\"n\":3}";
    char request[256];
    (void)snprintf(request, sizeof(request),
                   "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(body), body);
    int fd = dial();
    send_all(fd, request, strlen(request));
    for (unsigned ms = 0; fake_engine_running(model.engine) < 3 && ms < 2000; ms++)
        (void)usleep(1000);
    assert_int_equal(fake_engine_running(model.engine), 3);
    int64_t gone = metrics_get(METRIC_clients_gone_total, 0);
    (void)close(fd);
    assert_true(comes_true(is_idle, 1000));
    assert_int_equal(metrics_get(METRIC_clients_gone_total, 0), gone + 1);
}

static void a_client_that_does_not_read_is_cut_off(void **state)
{
    (void)state;
    int fd = open_stream("flood");
    for (unsigned ms = 0; is_stopped() && ms < 2000; ms++)
        (void)usleep(1000);
    assert_true(comes_true(is_stopped, 10000));
    (void)close(fd);
    assert_true(comes_true(is_idle, 2000));
}

static void silence_is_broken_by_comments(void **state)
{
    (void)state;
    int fd = open_stream("wait 700");
    char *a = receive(fd, "[DONE]");
    (void)close(fd);
    expect(a, "HTTP/1.1 200");
    assert_true(count(a, ": keep-alive\n\n") >= 2);
    expect(a, "\"content\":\"ok\"");
    free(a);
}

/* ---- many at once, and the end ---- */

static void *mixed_client(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    static const char *const scripts[] = { "say a b c", "slow", "hang",  "break", "say x",
                                           "wait 20",   "full", "flood", "fail" };
    for (unsigned i = 0; i < 25; i++) {
        const char *script = scripts[test_random(&seed) % ARRAY_LEN(scripts)];
        int fd = open_stream(script);
        char part[512];
        for (uint64_t reads = test_random(&seed) % 4; reads; reads--) {
            struct pollfd p = { .fd = fd, .events = POLLIN };
            if (poll(&p, 1, 20) == 1 && recv(fd, part, sizeof(part), 0) <= 0)
                break;
        }
        if (test_random(&seed) % 2) {
            struct linger hard = { 1, 0 }; /* a reset instead of an end */
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        }
        (void)close(fd);
    }
    return NULL;
}

static void mixed_and_aborting_clients_leave_nothing_behind(void **state)
{
    (void)state;
    pthread_t threads[8];
    for (uintptr_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mixed_client, (void *)(i + 1)), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        (void)pthread_join(threads[i], NULL);
    assert_true(comes_true(is_idle, 10000));
    assert_int_equal(metrics_get(METRIC_requests_active, 0), 0);
    char *a = chat("say still here", "");
    expect(a, "still here");
    free(a);
}

static void a_reload_leaves_running_streams_alone(void **state)
{
    (void)state;
    int fd = open_stream("wait 200");
    (void)usleep(50000);
    for (unsigned i = 0; i < 50; i++)
        server_publish(server, new_state());
    char *a = receive(fd, "[DONE]");
    (void)close(fd);
    expect(a, "\"content\":\"ok\"");
    free(a);
}

/* Last: there is no way back. */
static void a_draining_server_refuses_new_work_and_ends_the_old(void **state)
{
    (void)state;
    int fd = open_stream("wait 300");
    (void)usleep(50000);
    server_drain(server);
    char *a = exchange("GET /ready HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    expect(a, "HTTP/1.1 503");
    free(a);
    a = chat("say x", "");
    expect(a, "HTTP/1.1 503");
    expect(a, "Connection: close");
    expect(a, "Retry-After: 1");
    free(a);
    assert_int_equal(server_stop(server), FAILED); /* one is active */
    a = receive(fd, "[DONE]");
    expect(a, "\"content\":\"ok\"");
    free(a);
    (void)close(fd);
    fd = open_stream("hang");
    a = receive(fd, "503");
    free(a);
    (void)close(fd);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_whole),
        cmocka_unit_test(calls_and_reasoning_come_whole),
        cmocka_unit_test(signed_reasoning_comes_back_in_its_blocks),
        cmocka_unit_test(calls_and_reasoning_are_streamed),
        cmocka_unit_test(choices_share_one_prompt_in_usage),
        cmocka_unit_test(a_stream_follows_the_captured_order),
        cmocka_unit_test(a_stream_without_usage_does_not_mention_it),
        cmocka_unit_test(streamed_choices_are_interleaved_and_each_ends_once),
        cmocka_unit_test(log_probabilities_have_both_shapes),
        cmocka_unit_test(completions_echo_and_take_many_prompts),
        cmocka_unit_test(prompts_of_token_ids_are_echoed_as_text),
        cmocka_unit_test(an_echo_has_log_probabilities_too),
        cmocka_unit_test(the_best_are_sent_best_first),
        cmocka_unit_test(no_tokens_at_all_is_an_answer_too),
        cmocka_unit_test(engine_failures_become_statuses),
        cmocka_unit_test(a_decision_of_several_models_is_501_by_name),
        cmocka_unit_test(wrong_requests_are_told_so_in_json),
        cmocka_unit_test(a_long_head_is_431),
        cmocka_unit_test(a_head_of_any_length_is_answered),
        cmocka_unit_test(a_big_body_is_refused_readably),
        cmocka_unit_test(a_connection_serves_many_requests),
        cmocka_unit_test(chunked_bodies_and_expect_are_served),
        cmocka_unit_test(a_body_that_does_not_go_on_is_408),
        cmocka_unit_test(a_body_that_comes_slowly_is_served),
        cmocka_unit_test(half_a_body_and_its_end_leave_nothing_behind),
        cmocka_unit_test(the_end_of_a_drain_ends_half_a_body_too),
        cmocka_unit_test(a_client_that_leaves_stops_its_decode_within_100_ms),
        cmocka_unit_test(a_client_that_leaves_a_whole_answer_stops_it),
        cmocka_unit_test(a_client_that_does_not_read_is_cut_off),
        cmocka_unit_test(silence_is_broken_by_comments),
        cmocka_unit_test(mixed_and_aborting_clients_leave_nothing_behind),
        cmocka_unit_test(a_reload_leaves_running_streams_alone),
        cmocka_unit_test(a_draining_server_refuses_new_work_and_ends_the_old),
    };
    test_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
