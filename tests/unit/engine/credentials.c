/*
 * Credentials: where they come from, that changed files count, and tokens fetched once at a time
 * through a transport that the test moves on by hand.
 */
#include "engine/upstream/credentials.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "engine/upstream/google_auth.h"

/* ---- a transport that does what the test says ---- */

struct transport_loop {
    struct transport_task *first, **last;
    struct transport_timer *timer;
};
struct call {
    const struct call_handler *handler;
    void *owner;
    char method[8], url[512], body[8192], headers[2048];
    bool is_over;
};

static struct transport_loop loop = { .last = &loop.first };
static struct call *calls[32];
static size_t n_calls;

struct transport_loop *transport_loop(struct transport *t, unsigned i)
{
    (void)t;
    (void)i;
    return &loop;
}

void transport_post(struct transport_loop *l, struct transport_task *task)
{
    task->next = NULL;
    *l->last = task;
    l->last = &task->next;
}

int transport_timer_set(struct transport_loop *l, struct transport_timer *timer, uint64_t at_ms)
{
    timer->at_ms = at_ms;
    l->timer = timer;
    return 0;
}

void transport_timer_clear(struct transport_loop *l, struct transport_timer *timer)
{
    if (l->timer == timer)
        l->timer = NULL;
}

int call_start(struct transport_loop *l, struct call **ret, const struct call_spec *spec)
{
    struct call *c = calloc(1, sizeof(*c));
    (void)l;
    c->handler = spec->handler;
    c->owner = spec->owner;
    (void)snprintf(c->method, sizeof(c->method), "%s", spec->method);
    (void)snprintf(c->url, sizeof(c->url), "%s", spec->url);
    (void)snprintf(c->body, sizeof(c->body), "%.*s", (int)spec->body.n,
                   spec->body.p ? spec->body.p : "");
    for (size_t i = 0; i < spec->n_headers; i++) {
        size_t at = strlen(c->headers);
        (void)snprintf(c->headers + at, sizeof(c->headers) - at, "%.*s: %.*s\n",
                       STR_ARG(spec->headers[i].key), STR_ARG(spec->headers[i].value));
    }
    assert_true(n_calls < ARRAY_LEN(calls));
    calls[n_calls++] = c;
    *ret = c;
    return 0;
}

static void end_call(struct call *c, enum call_outcome outcome)
{
    struct call_end end = { .outcome = outcome };
    c->is_over = true;
    c->handler->on_end(c->owner, &end);
}

void call_cancel(struct call *c)
{
    if (!c->is_over)
        end_call(c, CALL_cancelled);
}

struct call *call_unref(struct call *c)
{
    (void)c; /* the test frees them */
    return NULL;
}

static void turn(void) /* runs what was posted */
{
    while (loop.first) {
        struct transport_task *task = loop.first;
        loop.first = task->next;
        if (!loop.first)
            loop.last = &loop.first;
        task->run(task);
    }
}

static struct call *last_call(void)
{
    assert_true(n_calls > 0);
    return calls[n_calls - 1];
}

static void answer(unsigned status, const char *body)
{
    struct call *c = last_call();
    struct call_head head = { .status = status };
    struct str text = str_of(body);
    c->handler->on_head(c->owner, &head);
    c->handler->on_body(c->owner, str_head(text, text.n / 2));
    c->handler->on_body(c->owner, str_sub(text, text.n / 2));
    end_call(c, CALL_complete);
}

static int reset(void **state)
{
    static const char *const names[] = {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_ENDPOINT_URL_STS",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GCE_METADATA_HOST",
        "TEST_KEY",
        "TEST_USUAL",
        "TEST_TENANTS",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (unsetenv(names[i]) != 0)
            return -1;
    for (size_t i = 0; i < n_calls; i++)
        free(calls[i]);
    n_calls = 0;
    loop = (struct transport_loop){ .last = &loop.first };
    return setenv("HOME", "/nonexistent", 1);
}

/* ---- what is asked ---- */

static struct credentials *make(struct config_endpoint *e, struct fail *f)
{
    struct config_upstream config = { .endpoints = { .items = e, .n = 1 } };
    struct credentials *c = NULL;
    if (e->name.n == 0)
        e->name = STR("there");
    int r = credentials_new(&c, &config, NULL, f);
    assert_true(r == 0 || r == FAILED);
    assert_true((r == 0) == (c != NULL));
    return c;
}

/* The credential; "!word" of a failure. Static. */
static const char *get(struct credentials *c, const char *tenant)
{
    static char text[8192];
    struct buf b = BUF_INIT(sizeof(text) - 1);
    struct fail f = { 0 };
    int r = credentials_get(c, 0, str_of(tenant), &b, &f);
    if (r == FAILED)
        (void)snprintf(text, sizeof(text), "!%s %u", fail_word(f.code), f.retry_after_s);
    else
        (void)snprintf(text, sizeof(text), "%.*s", (int)b.n, b.p ? b.p : "");
    assert_true(r == 0 || r == FAILED);
    buf_done(&b);
    return text;
}

static const char *write_file(const char *name, const char *content)
{
    static char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", test_temp_dir(), name);
    assert_int_equal(file_replace(path, str_of(content)), 0);
    return path;
}

static void takes_the_first_source_that_is_set(void **state)
{
    (void)state;
    const char *file = write_file("key", "  from-file\n");
    const struct {
        struct config_endpoint e;
        const char *want;
    } rows[] = {
        { { .key_env = STR("TEST_KEY"), .key_file = str_of(file), .key = STR("k") }, "from-env" },
        { { .key_file = str_of(file), .key = STR("k") }, "from-file" },
        { { .key = STR("k"), .usual_env = STR("TEST_USUAL") }, "k" },
        { { .usual_env = STR("TEST_USUAL") }, "usual" },
        { { .usual_env = STR("TEST_UNSET") }, "" },
        { { .key_env = STR("TEST_UNSET"), .usual_env = STR("TEST_USUAL") }, "!upstream_error 0" },
        { { .key_env = STR("TEST_UNSET"), .client_key = true }, "" },
        { { .provider = UPSTREAM_bedrock, .key_env = STR("TEST_KEY") }, "Bearer from-env" },
        { { .provider = UPSTREAM_bedrock, .key = STR("ID:SECRET") }, "ID:SECRET" },
        { { .provider = UPSTREAM_vertex, .key = STR("ya29.x") }, "ya29.x" },
    };
    assert_int_equal(setenv("TEST_KEY", " from-env ", 1), 0);
    assert_int_equal(setenv("TEST_USUAL", "usual", 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fail f = { 0 };
        struct config_endpoint e = rows[i].e;
        e.url = STR("http://127.0.0.1:1");
        struct credentials *c = make(&e, &f);
        assert_string_equal(get(c, ""), rows[i].want);
        assert_string_equal(get(c, "somebody"), rows[i].want);
        (void)credentials_free(c);
    }
}

static void refuses_named_files_that_hold_nothing(void **state)
{
    (void)state;
    char empty[4096], other[4096];
    (void)snprintf(empty, sizeof(empty), "%s", write_file("empty", ""));
    (void)snprintf(other, sizeof(other), "%s", write_file("other", "{\"type\":\"s3cret\"}"));
    const struct config_endpoint rows[] = {
        { .key_file = STR("/nonexistent/key") },
        { .key_file = str_of(empty) },
        { .key_file = STR("/") },
        { .tenant_keys_file = STR("/nonexistent/keys") },
        { .provider = UPSTREAM_vertex, .credentials = STR("/nonexistent/google") },
        { .provider = UPSTREAM_vertex, .credentials = str_of(other) },
        { .provider = UPSTREAM_bedrock, .credentials = STR("/nonexistent/aws") },
        { .provider = UPSTREAM_bedrock, .credentials = str_of(other), .profile = STR("p") },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fail f = { 0 };
        struct config_endpoint e = rows[i];
        e.url = STR("http://127.0.0.1:1");
        assert_null(make(&e, &f));
        assert_true(strlen(f.message) > 10);
        assert_null(strstr(f.message, "s3cret"));
    }
}

static void tenants_go_before_everybody(void **state)
{
    (void)state;
    const char *file = write_file("tenants", "# keys\nacme = key=1\n\nbolt=ID:SECRET\nempty=\n");
    struct config_endpoint e = { .key = STR("all"), .tenant_keys_file = str_of(file) };
    struct fail f = { 0 };
    struct credentials *c = make(&e, &f);
    assert_string_equal(get(c, "acme"), "key=1");
    assert_string_equal(get(c, "bolt"), "ID:SECRET");
    assert_string_equal(get(c, "empty"), "all");
    assert_string_equal(get(c, "ac"), "all");
    assert_string_equal(get(c, ""), "all");
    assert_int_equal(file_replace(file, STR("acme=key2\n")), 0);
    credentials_refused(c, 0, STR("acme"));
    assert_string_equal(get(c, "acme"), "key2");
    (void)credentials_free(c);
    assert_int_equal(setenv("TEST_TENANTS", "acme=key3, bolt=x", 1), 0);
    e = (struct config_endpoint){ .tenant_keys_env = STR("TEST_TENANTS") };
    c = make(&e, &f);
    assert_string_equal(get(c, "acme"), "key3");
    assert_string_equal(get(c, "bolt"), "x");
    assert_string_equal(get(c, "nobody"), "");
    (void)credentials_free(c);
}

static void a_changed_file_counts_and_a_lost_one_does_not(void **state)
{
    (void)state;
    const char *file = write_file("rotated", "one");
    struct config_endpoint e = { .key_file = str_of(file) };
    struct fail f = { 0 };
    struct credentials *c = make(&e, &f);
    assert_string_equal(get(c, ""), "one");
    assert_int_equal(file_replace(file, STR("two\n")), 0);
    credentials_refused(c, 0, STR(""));
    assert_string_equal(get(c, ""), "two");
    assert_int_equal(truncate(file, 0), 0);
    credentials_refused(c, 0, STR(""));
    assert_string_equal(get(c, ""), "two");
    assert_int_equal(unlink(file), 0);
    credentials_refused(c, 0, STR(""));
    assert_string_equal(get(c, ""), "two");
    (void)credentials_free(c);
}

static void amazons_keys_are_found_where_they_usually_are(void **state)
{
    (void)state;
    const char *file = write_file("aws", "[default]\naws_access_key_id=A\naws_secret_access_key=B\n"
                                         "[work]\naws_access_key_id=C\naws_secret_access_key=D\n"
                                         "aws_session_token=E:F==\n");
    struct config_endpoint e = { .provider = UPSTREAM_bedrock, .url = STR("http://localhost:1") };
    struct fail f = { 0 };
    struct credentials *c = make(&e, &f);
    assert_string_equal(get(c, ""), "");
    (void)credentials_free(c);
    e.credentials = str_of(file);
    c = make(&e, &f);
    assert_string_equal(get(c, ""), "A:B");
    (void)credentials_free(c);
    e.profile = STR("work");
    c = make(&e, &f);
    assert_string_equal(get(c, ""), "C:D:E:F==");
    (void)credentials_free(c);
    e.credentials = e.profile = STR("");
    assert_int_equal(setenv("AWS_ACCESS_KEY_ID", "X", 1), 0);
    assert_int_equal(setenv("AWS_SECRET_ACCESS_KEY", "Y", 1), 0);
    assert_int_equal(setenv("AWS_SESSION_TOKEN", "Z", 1), 0);
    c = make(&e, &f);
    assert_string_equal(get(c, ""), "X:Y:Z");
    (void)credentials_free(c);
}

/* ---- what is fetched ---- */

static void a_token_of_the_cluster_is_exchanged_for_keys(void **state)
{
    (void)state;
    struct config_endpoint e = { .provider = UPSTREAM_bedrock,
                                 .url = STR("https://bedrock-runtime.eu-west-1.amazonaws.com"),
                                 .region = STR("eu-west-1") };
    struct fail f = { 0 };
    const char *file = write_file("web", "eyJh.b+c\n");
    assert_int_equal(setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file, 1), 0);
    assert_int_equal(setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1), 0);
    assert_int_equal(setenv("AWS_ROLE_SESSION_NAME", "me@host", 1), 0);
    struct credentials *c = make(&e, &f);
    turn();
    assert_string_equal(last_call()->method, "POST");
    assert_string_equal(last_call()->url, "https://sts.eu-west-1.amazonaws.com/");
    assert_string_equal(last_call()->body,
                        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3A"
                        "iam%3A%3A1%3Arole%2Fr&RoleSessionName=me%40host&WebIdentityToken="
                        "eyJh.b%2Bc");
    assert_non_null(
        strstr(last_call()->headers, "content-type: application/x-www-form-urlencoded\n"));
    answer(200, "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/"
                "2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><SessionToken>C+/="
                "</SessionToken><SecretAccessKey>B</SecretAccessKey>\n<Expiration>2099-01-01T00:"
                "00:00Z</Expiration><AccessKeyId>A</AccessKeyId></Credentials>"
                "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>");
    assert_string_equal(get(c, ""), "A:B:C+/=");
    (void)credentials_free(c);
    turn();
}

static void what_is_no_answer_of_sts_gives_no_keys(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{\"Error\":{}}",
        "<Credentials>",
        "<Credentials></Credentials>",
        "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey>"
        "</Credentials>",
        "<AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey><SessionToken>C"
        "</SessionToken>",
    };
    struct config_endpoint e = { .provider = UPSTREAM_bedrock, .url = STR("http://localhost:1") };
    struct fail f = { 0 };
    assert_int_equal(setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write_file("web", "t"), 1), 0);
    assert_int_equal(setenv("AWS_ROLE_ARN", "r", 1), 0);
    assert_int_equal(setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9/sts", 1), 0);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct credentials *c = make(&e, &f);
        turn();
        assert_string_equal(last_call()->url, "http://127.0.0.1:9/sts");
        answer(200, bodies[i]);
        assert_string_equal(get(c, ""), "!upstream_error 1");
        (void)credentials_free(c);
        turn();
    }
}

static void a_container_gives_keys(void **state)
{
    (void)state;
    struct config_endpoint e = { .provider = UPSTREAM_bedrock, .url = STR("http://localhost:1") };
    struct fail f = { 0 };
    assert_int_equal(setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/x", 1), 0);
    assert_int_equal(setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc", 1), 0);
    struct credentials *c = make(&e, &f);
    turn();
    assert_string_equal(last_call()->url, "http://127.0.0.1:9/x");
    assert_non_null(strstr(last_call()->headers, "authorization: Basic abc\n"));
    assert_string_equal(get(c, ""), "!upstream_error 1");
    answer(200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\",\"Token\":\"C\","
                "\"Expiration\":\"2099-01-01T00:00:00Z\"}");
    assert_string_equal(get(c, ""), "A:B:C");
    (void)credentials_free(c);
    turn();
}

static void an_instance_gives_keys_in_three_steps(void **state)
{
    (void)state;
    struct config_endpoint e = { .provider = UPSTREAM_bedrock,
                                 .url = STR("https://bedrock-runtime.us-east-1.amazonaws.com") };
    struct fail f = { 0 };
    assert_int_equal(setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9/", 1), 0);
    struct credentials *c = make(&e, &f);
    turn();
    assert_string_equal(last_call()->method, "PUT");
    assert_string_equal(last_call()->url, "http://127.0.0.1:9/latest/api/token");
    answer(200, "SESSION");
    assert_string_equal(last_call()->url,
                        "http://127.0.0.1:9/latest/meta-data/iam/security-credentials/");
    assert_non_null(strstr(last_call()->headers, "x-aws-ec2-metadata-token: SESSION\n"));
    answer(200, "my-role\n");
    assert_string_equal(last_call()->url,
                        "http://127.0.0.1:9/latest/meta-data/iam/security-credentials/my-role");
    answer(200, "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\","
                "\"Token\":\"C\",\"Expiration\":\"2099-01-01T00:00:00Z\"}");
    assert_int_equal(n_calls, 3);
    assert_string_equal(get(c, ""), "A:B:C");
    (void)credentials_free(c);
    turn();
}

static void fetches_once_at_a_time_and_renews_before_the_end(void **state)
{
    (void)state;
    struct config_endpoint e = { .provider = UPSTREAM_vertex, .url = STR("http://localhost:1") };
    struct fail f = { 0 };
    assert_int_equal(setenv("GCE_METADATA_HOST", "127.0.0.1:9", 1), 0);
    struct credentials *c = make(&e, &f);
    turn();
    assert_int_equal(n_calls, 1);
    assert_non_null(strstr(last_call()->headers, "metadata-flavor: Google\n"));
    for (unsigned i = 0; i < 10; i++) {
        assert_string_equal(get(c, ""), "!upstream_error 1");
        turn();
    }
    assert_int_equal(n_calls, 1);
    uint64_t before = clock_ms();
    answer(200, "{\"access_token\":\"one\",\"expires_in\":3599,\"token_type\":\"Bearer\"}");
    assert_string_equal(get(c, ""), "one");
    assert_non_null(loop.timer);
    assert_true(loop.timer->at_ms <= clock_ms() + (3599 - 60) * 1000ull);
    assert_true(loop.timer->at_ms > before + 1800 * 1000ull);
    struct transport_timer *timer = loop.timer;
    loop.timer = NULL;
    timer->fire(timer); /* time passed */
    assert_int_equal(n_calls, 2);
    assert_string_equal(get(c, ""), "one"); /* the old one while it lives */
    answer(500, "nothing secret");
    assert_string_equal(get(c, ""), "one");
    assert_non_null(loop.timer); /* tried again */
    timer = loop.timer;
    loop.timer = NULL;
    timer->fire(timer);
    answer(200, "{\"access_token\":\"two\",\"expires_in\":3599}");
    assert_string_equal(get(c, ""), "two");
    credentials_refused(c, 0, STR("")); /* so soon it was of the one before */
    turn();
    assert_string_equal(get(c, ""), "two");
    assert_int_equal(n_calls, 3);
    (void)credentials_free(c);
    turn();
    assert_null(loop.timer);
}

static void ends_with_a_fetch_under_way(void **state)
{
    (void)state;
    struct config_endpoint e = { .provider = UPSTREAM_vertex, .url = STR("http://localhost:1") };
    struct fail f = { 0 };
    assert_int_equal(setenv("GCE_METADATA_HOST", "127.0.0.1:9", 1), 0);
    struct credentials *c = make(&e, &f);
    turn();
    (void)credentials_free(c);
    assert_false(last_call()->is_over);
    turn();
    assert_true(last_call()->is_over);
}

static void nonsense_of_a_token_server_is_no_token(void **state)
{
    (void)state;
    static const char *const answers[] = { "",
                                           "{}",
                                           "[]",
                                           "{\"access_token\":\"x\"}",
                                           "{\"access_token\":\"\",\"expires_in\":9}",
                                           "{\"access_token\":7,\"expires_in\":9}",
                                           "{\"access_token\":\"x\",\"expires_in\":-1}",
                                           "<html>" };
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct config_endpoint e = { .provider = UPSTREAM_vertex,
                                     .url = STR("http://localhost:1") };
        struct fail f = { 0 };
        assert_int_equal(reset(NULL), 0);
        assert_int_equal(setenv("GCE_METADATA_HOST", "127.0.0.1:9", 1), 0);
        struct credentials *c = make(&e, &f);
        turn();
        answer(200, answers[i]);
        assert_string_equal(get(c, ""), "!upstream_error 1");
        (void)credentials_free(c);
        turn();
    }
}

static void nobody_else_gets_a_token_unasked(void **state)
{
    (void)state;
    struct config_endpoint e = { .provider = UPSTREAM_vertex, .url = STR("https://other.example") };
    struct fail f = { 0 };
    assert_int_equal(setenv("GCE_METADATA_HOST", "127.0.0.1:9", 1), 0);
    struct credentials *c = make(&e, &f);
    turn();
    assert_int_equal(n_calls, 0);
    assert_string_equal(get(c, ""), "");
    (void)credentials_free(c);
}

/* ---- Google's assertion ---- */

static int run(const char *command)
{
    int r = system(command); /* NOLINT(cert-env33-c): a fixed command of the test */
    return r;
}

/* Static. */
static const char *in_folder(const char *dir, const char *name)
{
    static char path[8192];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

/* Writes base64url text as bytes. */
static void write_decoded(const char *path, struct str text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    unsigned bits = 0, n = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *at = strchr(digits, text.p[i]);
        assert_non_null(at);
        bits = bits << 6 | (unsigned)(at - digits);
        n += 6;
        if (n >= 8)
            assert_int_not_equal(fputc((int)(bits >> (n -= 8) & 0xff), f), EOF);
    }
    assert_int_equal(fclose(f), 0);
}

static void check_assertion(const char *dir, const char *form)
{
    char command[16384];
    const char *jwt = strstr(form, "&assertion=");
    assert_non_null(jwt);
    struct str head, claims, signature, rest = str_of(jwt + strlen("&assertion="));
    struct str all = rest;
    assert_true(str_cut(rest, '.', &head, &rest) && str_cut(rest, '.', &claims, &signature));
    assert_int_equal(file_replace(in_folder(dir, "signed"), str_head(all, head.n + 1 + claims.n)),
                     0);
    write_decoded(in_folder(dir, "signature"), signature);
    (void)snprintf(command, sizeof(command),
                   "openssl dgst -sha256 -verify %s/public.pem -signature %s/signature %s/signed "
                   ">/dev/null",
                   dir, dir, dir);
    assert_int_equal(run(command), 0);
    const char *path = in_folder(dir, "claims");
    write_decoded(path, claims);
    size_t n;
    char *text = test_read(path, &n);
    struct str json = { text, n };
    uint64_t iat = 0, exp = 0;
    assert_true(json_view_is(json_view_get(json, "iss"), "sa@p.iam.gserviceaccount.com"));
    assert_true(json_view_is(json_view_get(json, "aud"), "http://127.0.0.1:9/token"));
    assert_true(json_view_is(json_view_get(json, "scope"),
                             "https://www.googleapis.com/auth/cloud-platform"));
    assert_int_equal(json_view_u64(json_view_get(json, "iat"), &iat), 0);
    assert_int_equal(json_view_u64(json_view_get(json, "exp"), &exp), 0);
    assert_int_equal(exp - iat, 3600);
    assert_true(iat + 60 >= clock_wall_s() && iat <= clock_wall_s());
    free(text);
    write_decoded(path, head);
    text = test_read(path, &n);
    assert_string_equal(text, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"kid-1\"}");
    free(text);
}

/* A service account's file with a key that openssl made. Static. */
static const char *service_account(const char *dir)
{
    char command[16384];
    (void)snprintf(command, sizeof(command),
                   "openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "
                   "%s/key.pem 2>/dev/null && openssl pkey -in %s/key.pem -pubout -out "
                   "%s/public.pem",
                   dir, dir, dir);
    assert_int_equal(run(command), 0);
    size_t n;
    char *pem = test_read(in_folder(dir, "key.pem"), &n);
    struct buf b = BUF_INIT(MIB);
    buf_adds(&b, "{\"type\":\"service_account\",\"project_id\":\"p\",\"private_key_id\":\"kid-1\","
                 "\"client_email\":\"sa@p.iam.gserviceaccount.com\","
                 "\"token_uri\":\"http://127.0.0.1:9/token\",\"private_key\":");
    buf_add_json(&b, (struct str){ pem, n });
    buf_addc(&b, '}');
    const char *path = in_folder(dir, "account.json");
    assert_int_equal(file_replace(path, buf_str(&b)), 0);
    buf_done(&b);
    free(pem);
    return path;
}

static void a_service_account_signs_for_its_token(void **state)
{
    (void)state;
    char dir[1024];
    (void)snprintf(dir, sizeof(dir), "%s", test_temp_dir());
    const char *path = service_account(dir);
    struct config_endpoint e = { .provider = UPSTREAM_vertex,
                                 .url = STR("https://other.example"),
                                 .credentials = str_of(path) };
    struct fail f = { 0 };
    struct credentials *c = make(&e, &f);
    turn();
    assert_string_equal(last_call()->method, "POST");
    assert_string_equal(last_call()->url, "http://127.0.0.1:9/token");
    assert_non_null(strstr(last_call()->headers, "application/x-www-form-urlencoded"));
    assert_non_null(strstr(last_call()->body,
                           "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"));
    check_assertion(dir, last_call()->body);
    answer(200, "{\"access_token\":\"ya29.a\",\"expires_in\":3599,\"token_type\":\"Bearer\"}");
    assert_string_equal(get(c, ""), "ya29.a");
    (void)credentials_free(c);
    turn();
}

static void a_user_refreshes(void **state)
{
    (void)state;
    const char *path =
        write_file("user.json", "{\"type\":\"authorized_user\",\"client_id\":\"i d\","
                                "\"client_secret\":\"s\",\"refresh_token\":\"1//r\"}");
    struct config_endpoint e = { .provider = UPSTREAM_vertex, .credentials = str_of(path) };
    struct fail f = { 0 };
    struct credentials *c = make(&e, &f);
    turn();
    assert_string_equal(last_call()->url, "https://oauth2.googleapis.com/token");
    assert_string_equal(last_call()->body, "grant_type=refresh_token&client_id=i%20d&"
                                           "client_secret=s&refresh_token=1%2F%2Fr");
    (void)credentials_free(c);
    turn();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(takes_the_first_source_that_is_set, reset),
        cmocka_unit_test_setup(refuses_named_files_that_hold_nothing, reset),
        cmocka_unit_test_setup(tenants_go_before_everybody, reset),
        cmocka_unit_test_setup(a_changed_file_counts_and_a_lost_one_does_not, reset),
        cmocka_unit_test_setup(amazons_keys_are_found_where_they_usually_are, reset),
        cmocka_unit_test_setup(a_token_of_the_cluster_is_exchanged_for_keys, reset),
        cmocka_unit_test_setup(what_is_no_answer_of_sts_gives_no_keys, reset),
        cmocka_unit_test_setup(a_container_gives_keys, reset),
        cmocka_unit_test_setup(an_instance_gives_keys_in_three_steps, reset),
        cmocka_unit_test_setup(fetches_once_at_a_time_and_renews_before_the_end, reset),
        cmocka_unit_test_setup(ends_with_a_fetch_under_way, reset),
        cmocka_unit_test_setup(nonsense_of_a_token_server_is_no_token, reset),
        cmocka_unit_test_setup(nobody_else_gets_a_token_unasked, reset),
        cmocka_unit_test_setup(a_service_account_signs_for_its_token, reset),
        cmocka_unit_test_setup_teardown(a_user_refreshes, reset, reset),
    };
    return TEST_RUN(tests);
}
