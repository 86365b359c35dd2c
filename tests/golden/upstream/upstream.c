/*
 * Every case of a provider's folder: the call that is written, and the events that are read, whole
 * and cut at every byte.
 *
 *     golden_upstream FOLDER
 */
#include "base/limits.h"
#include "tests/golden/upstream/case.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>

/* All of it: cmocka cuts messages. */
#define MISMATCH(...)                                                                              \
    do {                                                                                           \
        (void)fprintf(stderr, "# " __VA_ARGS__);                                                   \
        (void)fputc('\n', stderr);                                                                 \
        fail();                                                                                    \
    } while (0)

static const char *folder;
static unsigned provider;

static unsigned provider_named(const char *name)
{
    static const char *const names[] = {
        "openai",    "vllm",  "sglang", "llama_server", "ollama",
        "anthropic", "azure", "gemini", "vertex",       "bedrock"
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return i;
    MISMATCH("no such provider: %s", name);
    return 0;
}

/* ---- writing ---- */

static json_t *load(struct str text, const char *what)
{
    json_error_t e;
    json_t *v = json_loadb(text.p ? text.p : "", text.n,
                           JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!v)
        MISMATCH("%s is no JSON (%s): %.*s", what, e.text, (int)text.n, text.p);
    return v;
}

static void assert_json(struct str is, struct str expected, const char *what)
{
    json_t *a = load(is, what), *b = load(expected, "what is expected");
    if (!json_equal(a, b))
        MISMATCH("%s is\n%.*s\nnot\n%.*s", what, (int)is.n, is.p, (int)expected.n, expected.p);
    json_decref(a);
    json_decref(b);
}

static struct str next_line(struct str *rest)
{
    struct str line = *rest, after = STR_NULL;
    if (!str_cut(*rest, '\n', &line, &after))
        after = str_sub(*rest, rest->n);
    *rest = after;
    return str_trim(line);
}

static void check_header(const struct provider_call *call, struct str line)
{
    struct str key, value;
    bool is_absent = line.p[0] == '!';
    line = str_sub(line, is_absent);
    if (!str_cut(line, ':', &key, &value))
        key = line;
    for (size_t i = 0; i < call->n_headers; i++) {
        if (!str_eq_nocase(call->headers[i].key, str_trim(key)))
            continue;
        if (is_absent || !str_eq(call->headers[i].value, str_trim(value)))
            MISMATCH("header %.*s is: %.*s", (int)key.n, key.p, (int)call->headers[i].value.n,
                     call->headers[i].value.p);
        return;
    }
    if (!is_absent)
        MISMATCH("header %.*s is not sent", (int)key.n, key.p);
}

static void check_call(const struct provider_call *call, struct str expected, bool by_bytes)
{
    struct str url = next_line(&expected);
    if (!str_eq(buf_str(&call->url), url))
        MISMATCH("the url is %.*s", (int)call->url.n, call->url.p);
    for (struct str line; (line = next_line(&expected)).n;)
        check_header(call, line);
    expected = str_trim(expected);
    if (by_bytes && !str_eq(buf_str(&call->body), expected))
        MISMATCH("the body is\n%.*s\nnot\n%.*s", (int)call->body.n, call->body.p, (int)expected.n,
                 expected.p);
    assert_json(buf_str(&call->body), expected, "the body");
}

static void check_refused(const struct fail *fail, struct str expected)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    buf_adds(&b, "{\"code\":");
    buf_add_json(&b, str_of(fail_word(fail->code)));
    buf_adds(&b, ",\"param\":");
    buf_add_json(&b, str_of(fail->param));
    buf_adds(&b, ",\"message\":");
    buf_add_json(&b, str_of(fail->message));
    buf_addc(&b, '}');
    assert_json(buf_str(&b), str_trim(expected), "what is refused");
}

static void write_case(const struct upstream_case *c)
{
    const struct case_section *call = case_section(c, "call"), *no = case_section(c, "refused");
    if (!call && !no)
        return;
    struct provider_call out = { .url = BUF_INIT(64 * KIB),
                                 .body = BUF_INIT(LIMIT_UPSTREAM_BODY),
                                 .arena = arena_new(16 * MIB) };
    struct fail fail = { 0 };
    int r = provider_of(provider)->write(&out, &c->job, &fail);
    if (call && r != 0)
        MISMATCH("it is not written: %d %s", r, fail.message);
    if (no)
        assert_int_equal(r, FAILED);
    if (call)
        check_call(&out, call->text, str_is(call->options, "bytes"));
    else
        check_refused(&fail, no->text);
    provider_call_done(&out);
}

/* ---- reading ---- */

static void assert_lines(struct str is, struct str expected)
{
    struct str rest = is, wanted = expected;
    while (rest.n || wanted.n) {
        struct str a = next_line(&rest), b = next_line(&wanted);
        json_t *x = a.n ? load(a, "an event") : NULL, *y = b.n ? load(b, "an event") : NULL;
        if (!x != !y || (x && !json_equal(x, y)))
            MISMATCH("the events are\n%.*s\nnot\n%.*s\nat %.*s", (int)is.n, is.p, (int)expected.n,
                     expected.p, (int)a.n, a.p);
        json_decref(x);
        json_decref(y);
    }
}

static void assert_same(struct str is, struct str expected, size_t at)
{
    if (!str_eq(is, expected))
        MISMATCH("cut at %zu the events are\n%.*s\nnot\n%.*s", at, (int)is.n, is.p, (int)expected.n,
                 expected.p);
}

static void cut_everywhere(const struct upstream_case *c, struct str bytes, struct str expected)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(64 * MIB);
    for (size_t at = 0; at <= bytes.n; at++) {
        buf_clear(&b);
        (void)case_read_answer(c, &(struct case_reading){ bytes, &at, 1 }, &b);
        assert_same(buf_str(&b), expected, at);
    }
    size_t *cuts = calloc(bytes.n + 1, sizeof(*cuts));
    assert_non_null(cuts);
    for (size_t i = 0; i < bytes.n; i++)
        cuts[i] = i;
    buf_clear(&b);
    (void)case_read_answer(c, &(struct case_reading){ bytes, cuts, bytes.n }, &b);
    assert_same(buf_str(&b), expected, bytes.n);
    free(cuts);
}

/* Without its last line, which is the end. */
static struct str without_end(struct str lines)
{
    lines.n -= lines.n > 0;
    while (lines.n && lines.p[lines.n - 1] != '\n')
        lines.n--;
    return lines;
}

/* An answer that ends too early: one end, and before it nothing that the whole does not have. */
static void end_everywhere(const struct upstream_case *c, struct str bytes, struct str expected)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(64 * MIB);
    struct str all = without_end(expected);
    for (size_t n = 0; n < bytes.n; n++) {
        buf_clear(&b);
        assert_int_equal(
            case_read_answer(c, &(struct case_reading){ .bytes = str_head(bytes, n) }, &b), 1);
        struct str begin = without_end(buf_str(&b));
        if (!str_starts(all, begin))
            MISMATCH("ended at %zu the events are\n%.*s", n, (int)b.n, b.p);
    }
}

static void read_case(const struct upstream_case *c)
{
    const struct case_section *events = case_section(c, "events");
    if (!events)
        return;
    CLEANUP(buf_done) struct buf lines = BUF_INIT(64 * MIB);
    struct str bytes = case_answer(c);
    assert_int_equal(case_read_answer(c, &(struct case_reading){ .bytes = bytes }, &lines), 1);
    assert_lines(buf_str(&lines), events->text);
    cut_everywhere(c, bytes, buf_str(&lines));
    end_everywhere(c, bytes, buf_str(&lines));
}

static void refusal_case(const struct upstream_case *c)
{
    static const char *const kinds[] = { [REFUSAL_final] = "final",
                                         [REFUSAL_elsewhere] = "elsewhere",
                                         [REFUSAL_later] = "later",
                                         [REFUSAL_broken] = "broken" };
    const struct case_section *expected = case_section(c, "refusal");
    if (!expected)
        return;
    struct provider_refusal refusal;
    provider_of(provider)->refusal(&c->job, &c->head, case_answer(c), &refusal);
    CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
    buf_addf(&b,
             "{\"code\":\"%s\",\"kind\":\"%s\",\"no_adapter\":%s,\"passes\":%s,\"retry_after\":"
             "%u,\"message\":",
             fail_word(refusal.fail.code), kinds[refusal.kind],
             refusal.no_adapter ? "true" : "false", refusal.body.n ? "true" : "false",
             refusal.fail.retry_after_s);
    buf_add_json(&b, str_of(refusal.fail.message));
    buf_addc(&b, '}');
    assert_json(buf_str(&b), str_trim(expected->text), "the refusal");
}

static void run_case(void **state)
{
    struct upstream_case c;
    case_read(&c, *state, provider);
    write_case(&c);
    if (c.head.status == 200)
        read_case(&c);
    else
        refusal_case(&c);
    case_done(&c);
}

/* ---- all of a folder ---- */

static int is_case(const struct dirent *e)
{
    return str_ends(str_of(e->d_name), STR(".case"));
}

int main(int argc, char **argv)
{
    char relative[128];
    struct dirent **names = NULL;
    if (argc != 2)
        return 1;
    folder = argv[1];
    provider = provider_named(folder);
    (void)snprintf(relative, sizeof(relative), "tests/golden/upstream/%s", folder);
    int n = scandir(test_path(relative), &names, is_case, alphasort);
    if (n <= 0)
        return 1;
    struct CMUnitTest *tests = calloc((size_t)n, sizeof(*tests));
    for (int i = 0; tests && i < n; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", test_path(relative), names[i]->d_name) < 0)
            return 1;
        tests[i] = (struct CMUnitTest){ .name = names[i]->d_name,
                                        .test_func = run_case,
                                        .initial_state = path };
    }
    test_begin();
    int failed = _cmocka_run_group_tests(folder, tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++) {
        if (tests)
            free(tests[i].initial_state);
        free(names[i]);
    }
    free((void *)names);
    free(tests);
    return failed;
}
