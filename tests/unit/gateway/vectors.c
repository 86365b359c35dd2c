#include "tests/support/test.h"

#include "base/limits.h"
#include "base/metrics.h"
#include "tests/unit/gateway/client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /v1/embeddings, /tokenize and /detokenize, over an engine whose answers are known. */

#define EMBED "/v1/embeddings"

/* Posts and checks that the status and every word of a row are in the answer. */
struct row {
    const char *body, *status;
    const char *words[4];
};

static void check_rows(const char *path, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *a = post(path, rows[i].body), status[32];
        (void)snprintf(status, sizeof(status), "HTTP/1.1 %s ", rows[i].status);
        expect(a, status);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].words) && rows[i].words[k]; k++)
            expect(a, rows[i].words[k]);
        free(a);
    }
}

static void every_shape_of_input_gets_its_vectors(void **state)
{
    (void)state;
    /* "abc" is five tokens with its ends. Ids are taken as they are. */
    static const struct row rows[] = {
        { "{\"model\":\"demo\",\"input\":\"abc\"}",
          "200",
          { "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":["
            "0.625,-1,0.5]}],\"model\":\"demo\",\"usage\":{\"prompt_tokens\":5,"
            "\"total_tokens\":5}}",
            "x-rootstock-overhead-us: " } },
        { "{\"model\":\"demo\",\"input\":[\"abc\",\"a\"]}",
          "200",
          { "\"index\":0,\"embedding\":[0.625,", "\"index\":1,\"embedding\":[0.375,",
            "\"prompt_tokens\":8" } },
        { "{\"model\":\"demo\",\"input\":[97,98]}",
          "200",
          { "\"index\":0,\"embedding\":[0.25,-1", "\"prompt_tokens\":2,\"total_tokens\":2" } },
        { "{\"model\":\"demo\",\"input\":[[97,98],[99]]}",
          "200",
          { "\"index\":0,\"embedding\":[0.25,-1", "\"index\":1,\"embedding\":[0.125,",
            "\"prompt_tokens\":3" } },
        { "{\"model\":\"demo\",\"input\":[\"abc\",[97,98]],\"user\":\"u\",\"dimensions\":null,"
          "\"encoding_format\":\"float\"}",
          "200",
          { "\"index\":1,\"embedding\":[0.25,-1" } },
    };
    check_rows(EMBED, rows, ARRAY_LEN(rows));
}

static void base64_is_little_endian_floats(void **state)
{
    (void)state;
    /* struct.pack('<3f', 0.625, -1, 0.5) in base64, by Python */
    static const struct row rows[] = {
        { "{\"model\":\"demo\",\"input\":\"abc\",\"encoding_format\":\"base64\"}",
          "200",
          { "\"embedding\":\"AAAgPwAAgL8AAAA/\"}" } },
    };
    check_rows(EMBED, rows, ARRAY_LEN(rows));
}

static void dimensions_shorten_to_unit_length(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"model\":\"demo\",\"input\":\"abc\",\"dimensions\":1}",
          "200",
          { "\"embedding\":[1]}" } },
        { "{\"model\":\"demo\",\"input\":\"abcd\",\"dimensions\":2}",
          "200",
          { "\"embedding\":[0.600000024,-0.800000012]}" } },
        { "{\"model\":\"demo\",\"input\":\"abc\",\"dimensions\":3}", "200", { "[0.625,-1,0.5]" } },
        { "{\"model\":\"demo\",\"input\":\"abc\",\"dimensions\":4}",
          "400",
          { "\"param\":\"dimensions\"", "this model's vectors have 3" } },
    };
    check_rows(EMBED, rows, ARRAY_LEN(rows));
}

static void bad_requests_for_vectors_are_named(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "", "400", { "the body is empty" } },
        { "{\"input\":\"a\"}", "400", { "\"param\":\"model\"" } },
        { "{\"model\":\"nobody\",\"input\":\"a\"}", "404", { "model_not_found" } },
        { "{\"model\":\"demo:sql\",\"input\":\"a\"}", "404", { "model_not_found" } },
        { "{\"model\":\"demo\"}", "400", { "\"param\":\"input\"", "is missing" } },
        { "{\"model\":\"demo\",\"input\":null}", "400", { "is missing" } },
        { "{\"model\":\"demo\",\"input\":[]}", "400", { "\"code\":\"empty_array\"" } },
        { "{\"model\":\"demo\",\"input\":\"\"}", "400", { "input[0] is an empty string" } },
        { "{\"model\":\"demo\",\"input\":[\"a\",\"\"]}", "400", { "input[1] is an empty" } },
        { "{\"model\":\"demo\",\"input\":[[1],[]]}", "400", { "input[1] is an empty array" } },
        { "{\"model\":\"demo\",\"input\":7}", "400", { "'input' must be a string" } },
        { "{\"model\":\"demo\",\"input\":[\"a\",7]}", "400", { "'input' must be a string" } },
        { "{\"model\":\"demo\",\"input\":[7,\"a\"]}",
          "400",
          { "input[0] holds at position 1 what is no token id" } },
        { "{\"model\":\"demo\",\"input\":[[7],[8,300]]}",
          "400",
          { "input[1] holds at position 1" } },
        { "{\"model\":\"demo\",\"input\":[[-1]]}", "400", { "input[0] holds at position 0" } },
        { "{\"model\":\"demo\",\"input\":[[1.5]]}", "400", { "input[0] holds at position 0" } },
        { "{\"model\":\"demo\",\"input\":\"a\",\"encoding_format\":\"hex\"}",
          "400",
          { "\"param\":\"encoding_format\"" } },
        { "{\"model\":\"demo\",\"input\":\"a\",\"dimensions\":0}",
          "400",
          { "\"param\":\"dimensions\"" } },
        { "{\"model\":\"demo\",\"input\":\"a\",\"dimensions\":\"1\"}",
          "400",
          { "\"param\":\"dimensions\"" } },
        { "{\"model\":\"demo\",\"input\":\"a\",\"truncate_prompt_tokens\":3}",
          "400",
          { "\"code\":\"unsupported_parameter\"" } },
        { "{\"model\":\"demo\",\"input\":\"?\"}", "500", { "\"type\":\"api_error\"", "broke" } },
    };
    check_rows(EMBED, rows, ARRAY_LEN(rows));
}

/* {"model":"demo","input":[text, text, …]} of n texts of that many letters; owned. */
static char *many(size_t n, size_t letters, char letter)
{
    struct buf b = BUF_INIT(64 * MIB);
    char *text = malloc(letters + 1);
    assert_non_null(text);
    memset(text, letter, letters);
    text[letters] = '\0';
    buf_adds(&b, "{\"model\":\"demo\",\"input\":[");
    for (size_t i = 0; i < n; i++)
        buf_addf(&b, "%s\"%s\"", i ? "," : "", text);
    buf_adds(&b, "]}");
    free(text);
    char *p = buf_take(&b, NULL);
    assert_non_null(p);
    return p;
}

static void bounds_of_inputs_and_tokens_are_told(void **state)
{
    (void)state;
    static const struct {
        size_t n, letters;
        const char *status, *word;
    } rows[] = {
        { 2048, 1, "200", "\"index\":2047" },
        { 2049, 1, "400", "at most 2048" },
        { 1, 4094, "200", "\"prompt_tokens\":4096" },
        { 2, 4095, "400", "input[0] has more than the 4096 tokens" },
        { 100, 3500, "400", "up to input[85] there are more than 300000 tokens" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *body = many(rows[i].n, rows[i].letters, 'x'), status[32];
        char *a = post(EMBED, body);
        (void)snprintf(status, sizeof(status), "HTTP/1.1 %s ", rows[i].status);
        expect(a, status);
        expect(a, rows[i].word);
        free(a);
        free(body);
    }
}

static bool is_embedding(void)
{
    return fake_engine_running(model.engine) > 0;
}

/* Inputs of about a thousand tokens, of which the engine gets four at once. */
static void a_client_that_leaves_ends_its_embeddings(void **state)
{
    (void)state;
    char *body = many(100, 1000, '!'), head[128];
    unsigned before = fake_engine_embedded(model.engine);
    (void)snprintf(head, sizeof(head),
                   "POST " EMBED " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n",
                   strlen(body));
    int fd = dial();
    send_all(fd, head, strlen(head));
    send_all(fd, body, strlen(body));
    assert_true(comes_true(is_embedding, 5000));
    (void)close(fd);
    assert_true(comes_true(is_idle, 5000));
    assert_true(fake_engine_embedded(model.engine) - before < 100);
    free(body);
}

static void texts_become_tokens_in_both_spellings(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"model\":\"demo\",\"prompt\":\"a$\"}",
          "200",
          { "{\"count\":4,\"max_model_len\":4096,\"tokens\":[1,97,36,2],\"token_strs\":null}" } },
        { "{\"prompt\":\"a$\",\"add_special_tokens\":false,\"return_token_strs\":true}",
          "200",
          { "{\"count\":2,\"max_model_len\":4096,\"tokens\":[97,36],\"token_strs\":[\"a\",\"$\"]"
            "}" } },
        { "{\"prompt\":\"a$\",\"parse_special\":true}", "200", { "[1,97,2,2]" } },
        { "{\"prompt\":\"\",\"add_special_tokens\":false}", "200", { "\"count\":0" } },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"}]}",
          "200",
          { "\"count\":3", "\"tokens\":[0,0,0]" } },
        { "{\"content\":\"a$\"}", "200", { "\r\n\r\n{\"tokens\":[97,2]}" } },
        { "{\"content\":\"a\",\"add_special\":true,\"with_pieces\":true}",
          "200",
          { "{\"tokens\":[{\"id\":1,\"piece\":\"<s>\"},{\"id\":97,\"piece\":\"a\"},{\"id\":2,"
            "\"piece\":\"$\"}]}" } },
        { "{\"content\":\"\\u00e9\",\"with_pieces\":true}",
          "200",
          { "{\"tokens\":[{\"id\":195,\"piece\":[195]},{\"id\":169,\"piece\":[169]}]}" } },
        { "{\"model\":\"nobody\",\"prompt\":\"a\"}", "404", { "model_not_found" } },
        { "{}", "400", { "\"param\":\"prompt\"" } },
        { "{\"prompt\":7}", "400", { "'prompt' must be a string, not a number" } },
        { "{\"content\":[\"a\"]}", "400", { "'content' must be a string, not an array" } },
        { "{\"messages\":[]}", "400", { "empty_array" } },
        { "{\"prompt\":\"a\",\"return_token_strs\":1}", "400", { "must be a boolean" } },
        { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"add_generation_prompt\":false}",
          "400",
          { "unsupported_parameter" } },
    };
    check_rows("/tokenize", rows, ARRAY_LEN(rows));
}

static void tokens_become_text_again(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "{\"model\":\"demo\",\"tokens\":[1,97,98]}",
          "200",
          { "\r\n\r\n{\"prompt\":\"<s>ab\"}" } },
        { "{\"tokens\":[97]}", "200", { "{\"prompt\":\"a\",\"content\":\"a\"}" } },
        { "{\"tokens\":[]}", "200", { "{\"prompt\":\"\"" } },
        { "{\"tokens\":[97,0]}", "400", { "\"param\":\"tokens\"", "tokens[1]" } },
        { "{\"tokens\":[97,-1]}", "400", { "tokens[1] is not a token id" } },
        { "{\"tokens\":[97,\"a\"]}", "400", { "tokens[1] is not a token id" } },
        { "{\"tokens\":[99999999999]}", "400", { "tokens[0] is not a token id" } },
        { "{\"tokens\":\"a\"}", "400", { "must be an array of token ids" } },
        { "{}", "400", { "it is missing" } },
        { "{\"model\":\"nobody\",\"tokens\":[97]}", "404", { "model_not_found" } },
    };
    check_rows("/detokenize", rows, ARRAY_LEN(rows));
}

/* The answer that is there already; the descriptor is not asked again. */
static bool refused_now(struct pollfd *p)
{
    char *a = receive(p->fd, NULL);
    expect(a, "HTTP/1.1 429");
    expect(a, "Retry-After: 1");
    expect(a, "\"code\":\"queue_full\"");
    free(a);
    (void)close(p->fd);
    p->fd = -1;
    return true;
}

/* Four are computed and 128 may wait; whoever comes then is told so at once. */
static void too_many_at_once_are_asked_to_come_back(void **state)
{
    (void)state;
    enum { SERVED = 4 + 128, CLIENTS = SERVED + 10 };
    static const char request[] = "POST " EMBED " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                                  "Content-Length: 28\r\n\r\n{\"model\":\"demo\",\"input\":\"!\"}";
    static struct pollfd fds[CLIENTS];
    int64_t inputs = metrics_get(METRIC_embedding_inputs_total, 0);
    fake_engine_hold(model.engine, true);
    for (size_t i = 0; i < CLIENTS; i++) {
        fds[i] = (struct pollfd){ .fd = dial(), .events = POLLIN };
        send_all(fds[i].fd, request, strlen(request));
        for (unsigned ms = 0; i < 4 && fake_engine_running(model.engine) <= i && ms < 5000; ms++)
            (void)usleep(1000); /* a thread has taken it: it does not count as waiting */
    }
    size_t refused = 0;
    while (refused < CLIENTS - SERVED && poll(fds, CLIENTS, 10000) > 0)
        for (size_t i = 0; i < CLIENTS; i++)
            refused += fds[i].revents && refused_now(&fds[i]);
    assert_int_equal(refused, CLIENTS - SERVED);
    fake_engine_hold(model.engine, false);
    for (size_t i = 0; i < CLIENTS; i++) {
        if (fds[i].fd < 0)
            continue;
        char *a = receive(fds[i].fd, NULL);
        expect(a, "HTTP/1.1 200");
        free(a);
        (void)close(fds[i].fd);
    }
    assert_int_equal(metrics_get(METRIC_embedding_inputs_total, 0) - inputs, SERVED);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_of_input_gets_its_vectors),
        cmocka_unit_test(base64_is_little_endian_floats),
        cmocka_unit_test(dimensions_shorten_to_unit_length),
        cmocka_unit_test(bad_requests_for_vectors_are_named),
        cmocka_unit_test(bounds_of_inputs_and_tokens_are_told),
        cmocka_unit_test(a_client_that_leaves_ends_its_embeddings),
        cmocka_unit_test(texts_become_tokens_in_both_spellings),
        cmocka_unit_test(tokens_become_text_again),
        cmocka_unit_test(too_many_at_once_are_asked_to_come_back),
    };
    test_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
