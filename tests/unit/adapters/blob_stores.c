/* Stores over the network, against servers that are not ours to please: see blob_server.py. */
#include "adapters/blobs/blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapters/blobs/download.h"
#include "base/clock.h"
#include "base/file.h"
#include "tests/support/blob_server.h"
#include "tests/unit/adapters/blob_tests.h"
#include "tests/unit/adapters/common.h"

#define BYTES (1 * MIB + 321)

static struct blob_server server;

static int start(void **state)
{
    (void)state;
    (void)unsetenv("AWS_PROFILE");
    (void)unsetenv("AWS_ENDPOINT_URL");
    (void)unsetenv("AWS_SESSION_TOKEN");
    (void)setenv("AWS_ACCESS_KEY_ID", BLOB_SERVER_ACCESS, 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", BLOB_SERVER_SECRET, 1);
    (void)setenv("AWS_REGION", BLOB_SERVER_REGION, 1);
    blob_server_start(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    blob_server_stop(&server);
    return 0;
}

static struct config_blobs some_config(void)
{
    return (struct config_blobs){
        .s3_endpoint = str_of(server.url), .connect_ms = 2000, .stall_ms = 300, .total_ms = 60000
    };
}

static struct blob_store *open_with(const struct config_blobs *c, const char *url)
{
    struct blob_store *s = NULL;
    struct fail f;
    if (blob_store_open(&s, str_of(url), c, &f) != 0)
        fail_msg("%s: %s", url, f.message);
    return s;
}

static struct blob_store *open_store(const char *url)
{
    struct config_blobs c = some_config();
    return open_with(&c, url);
}

static const char *at(const char *path)
{
    static char url[8][512];
    static unsigned n;
    char *p = url[n++ % 8];
    (void)snprintf(p, sizeof(url[0]), "%s%s", server.url, path);
    return p;
}

/* A blob that is in the bucket, and so also under /http. */
static char *stored(struct sha256 *ret)
{
    static char p[BYTES];
    uint64_t seed = 77;
    for (size_t i = 0; i < BYTES; i++)
        p[i] = (char)test_random(&seed);
    *ret = sha256_of((struct str){ p, BYTES });
    struct blob_store *s = open_store("s3://blobs");
    struct fail f;
    CLEANUP(own_close) int fd = file_with(p, BYTES);
    if (s->ops->put(s, ret, fd, BYTES, &f) != 0)
        fail_msg("%s", f.message);
    assert_null(blob_store_free(s));
    return p;
}

static struct blob_cache *new_cache(void)
{
    struct blob_cache *c;
    assert_int_equal(blob_cache_open(&c, test_temp_dir(), 64 * MIB, NULL), 0);
    return c;
}

/* ---- S3 ---- */

static void a_bucket_is_a_store(void **state)
{
    static const char *const urls[] = { "s3://blobs/few/one", "s3://blobs/two/a b+c~d=e&f/",
                                        "s3://blobs/three" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct blob_store *s = open_store(urls[i]);
        try_store(s, BYTES);
        assert_null(blob_store_free(s));
    }
}

static void a_bucket_is_listed_page_by_page(void **state)
{
    struct blob_store *s = open_store("s3://blobs/few/pages"); /* of three */
    struct blob_page *page = calloc(1, sizeof(*page));
    unsigned n = 0, pages = 0;
    (void)state;
    assert_non_null(page);
    for (unsigned i = 0; i < 10; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "blob %u", i);
        struct sha256 d = sha256_of(str_of(text));
        CLEANUP(own_close) int fd = file_with(text, strlen(text));
        assert_int_equal(s->ops->put(s, &d, fd, strlen(text), NULL), 0);
    }
    for (; !page->last; pages++) {
        assert_int_equal(s->ops->list(s, page, NULL), 0);
        n += (unsigned)page->n;
    }
    assert_int_equal(n, 10);
    assert_int_equal(pages, 4);
    free(page);
    assert_null(blob_store_free(s));
}

static void credentials_come_from_the_environment_or_a_file(void **state)
{
    char path[PATH_MAX];
    struct config_blobs c = some_config();
    struct fail f;
    struct blob_stat st;
    struct sha256 d = sha256_of(STR("credentials")), e;
    (void)state;
    (void)stored(&e);
    (void)snprintf(path, sizeof(path), "%s/credentials", test_temp_dir());
    assert_int_equal(file_replace(path, STR("[default]\naws_access_key_id = WRONG\n"
                                            "aws_secret_access_key=x\n\n[ work ]\r\n"
                                            "aws_access_key_id=AKTEST\r\n"
                                            "aws_secret_access_key = the/secret+key\r\n"
                                            "aws_session_token = session/token==")),
                     0);
    CLEANUP(own_close) int fd = file_with("credentials", 11);
    struct blob_store *s = open_with(&c, "s3://session/x");
    assert_int_equal(s->ops->put(s, &d, fd, 11, &f), FAILED); /* that bucket wants a token */
    assert_int_equal(f.code, FAIL_permission_denied);
    assert_non_null(strstr(f.message, "InvalidToken"));
    assert_null(blob_store_free(s));
    (void)setenv("AWS_SESSION_TOKEN", BLOB_SERVER_SESSION, 1);
    s = open_with(&c, "s3://session/x");
    assert_int_equal(s->ops->put(s, &d, fd, 11, &f), 0);
    assert_content(s, &d, "credentials", 11, 3);
    assert_null(blob_store_free(s));
    (void)unsetenv("AWS_SESSION_TOKEN");
    c.s3_credentials = str_of(path);
    c.s3_profile = STR("work");
    s = open_with(&c, "s3://session/x");
    assert_int_equal(s->ops->stat(s, &d, &st, &f), 0);
    assert_null(blob_store_free(s));
    c.s3_profile = STR("nobody");
    s = open_with(&c, "s3://session/x");
    assert_int_equal(s->ops->stat(s, &d, &st, &f), FAILED);
    assert_non_null(strstr(f.message, "AWS_ACCESS_KEY_ID"));
    assert_null(blob_store_free(s));
}

static void what_s3_refuses_is_told_without_a_secret(void **state)
{
    static const struct {
        const char *url, *access, *secret, *region;
        enum fail_code code;
        const char *says;
    } rows[] = {
        { "s3://blobs/x", "AKTEST", "wrong-secret-1", BLOB_SERVER_REGION, FAIL_permission_denied,
          "SignatureDoesNotMatch" },
        { "s3://blobs/x", "AKOTHER", "wrong-secret-1", BLOB_SERVER_REGION, FAIL_permission_denied,
          "InvalidAccessKeyId" },
        { "s3://blobs/x", "AKTEST", "wrong-secret-1", "us-east-1", FAIL_internal_error,
          "the region is wrong" },
        { "s3://nobucket/x", "AKTEST", "the/secret+key", BLOB_SERVER_REGION, FAIL_permission_denied,
          "no such bucket" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_blobs c = some_config();
        struct sha256 d = sha256_of(STR("x"));
        struct fail f;
        c.s3_region = str_of(rows[i].region);
        (void)setenv("AWS_ACCESS_KEY_ID", rows[i].access, 1);
        (void)setenv("AWS_SECRET_ACCESS_KEY", rows[i].secret, 1);
        CLEANUP(own_close) int fd = file_with("x", 1);
        struct blob_store *s = open_with(&c, rows[i].url);
        assert_int_equal(s->ops->put(s, &d, fd, 1, &f), FAILED);
        if (f.code != rows[i].code || !strstr(f.message, rows[i].says))
            fail_msg("row %zu: %s: %s", i, fail_word(f.code), f.message);
        assert_null(strstr(f.message, rows[i].secret));
        assert_null(blob_store_free(s));
    }
    (void)setenv("AWS_ACCESS_KEY_ID", BLOB_SERVER_ACCESS, 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", BLOB_SERVER_SECRET, 1);
}

/* ---- faults on the way ---- */

static void a_download_survives_what_passes(void **state)
{
    static const char *const faults[] = {
        "",
        "fault=cut,n=1,at=0",
        "fault=cut,n=3,at=100000",
        "fault=stall,n=1,at=300000",
        "fault=status500,n=2",
        "fault=slowdown,n=1",
        "fault=busy,n=1",
        "fault=garbage,n=1",
        "fault=norange,n=2,at=400000", /* cut, and then served from the start again */
        "fault=noheaders,n=0",         /* no length, no range */
        "fault=wrong,n=1,at=0",
        "fault=slow,n=1",
        "fault=redirect,n=0",
    };
    struct sha256 d;
    (void)state;
    (void)stored(&d);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        bool http_only = strstr(faults[i], "redirect") != NULL;
        for (unsigned s3 = 0; s3 < (http_only ? 1 : 2); s3++) {
            char url[256];
            struct fail f = { 0 };
            if (s3)
                (void)snprintf(url, sizeof(url), "s3://blobs/%s", faults[i]);
            else
                (void)snprintf(url, sizeof(url), "%s/http%s%s", server.url, faults[i][0] ? "/" : "",
                               faults[i]);
            struct blob_store *s = open_store(url), *good = open_store(at("/http"));
            struct blob_store *stores[] = { s, good };
            struct blob_cache *c = new_cache();
            /* wrong bytes do not pass: the next store has them right */
            size_t n = strstr(faults[i], "wrong") ? 2 : 1;
            int r = download(stores, n, c, &d, BYTES, NULL, &f);
            if (r != 0)
                fail_msg("%s: %d %s", url, r, f.message);
            blob_cache_release(c, &d);
            assert_null(blob_cache_free(c));
            assert_null(blob_store_free(s));
            assert_null(blob_store_free(good));
        }
    }
}

static void what_does_not_pass_is_told(void **state)
{
    static const struct {
        const char *path;
        int want;
        enum fail_code code;
        const char *says;
    } rows[] = {
        { "/http/fault=wrong,n=0", -EBADMSG, 0, "" },
        { "/http/fault=longer,n=0", -EBADMSG, 0, "" },
        { "/http/fault=shorter,n=0", -EBADMSG, 0, "" },
        { "/http/fault=changed,n=0,at=100000", -EBADMSG, 0, "" },
        { "/http/fault=status500,n=0", FAILED, FAIL_upstream_error, "answered 500" },
        { "/http/fault=garbage,n=0", FAILED, FAIL_upstream_error, "127.0.0.1" },
        { "/http/fault=cut,n=0,at=10", FAILED, FAIL_upstream_error, "127.0.0.1" },
        { "/http/fault=stall,n=0,at=10", FAILED, FAIL_timeout, "stands still" },
        { "/http/fault=empty204,n=0", FAILED, FAIL_upstream_error, "ended early" },
        { "/http/fault=loop,n=0", FAILED, FAIL_upstream_error, "redirects" },
        { "/private", FAILED, FAIL_permission_denied, "answered 401" },
        { "/http/nothing/here", -ENOENT, 0, "" },
    };
    struct sha256 d;
    (void)state;
    (void)stored(&d);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fail f = { 0 };
        struct blob_store *s = open_store(at(rows[i].path)), *stores[] = { s };
        struct blob_cache *c = new_cache();
        int r = download(stores, 1, c, &d, BYTES, NULL, &f);
        if (r != rows[i].want ||
            (r == FAILED && (f.code != rows[i].code || !strstr(f.message, rows[i].says))))
            fail_msg("%s: %d %s %s", rows[i].path, r, fail_word(f.code), f.message);
        assert_int_equal(blob_cache_hold(c, &d), -ENOENT);
        assert_null(blob_cache_free(c));
        assert_null(blob_store_free(s));
    }
}

static void nobody_listening_is_told_soon(void **state)
{
    struct sha256 d = sha256_of(STR("x"));
    struct blob_store *s = open_store("http://127.0.0.1:9"), *stores[] = { s };
    struct blob_cache *c = new_cache();
    struct fail f;
    (void)state;
    assert_int_equal(download(stores, 1, c, &d, 1, NULL, &f), FAILED);
    assert_int_equal(f.code, FAIL_upstream_error);
    assert_non_null(strstr(f.message, "127.0.0.1:9"));
    assert_null(blob_store_free(s));
    assert_null(blob_cache_free(c));
}

static bool stop_soon(void *ctx)
{
    return clock_ms() > *(uint64_t *)ctx;
}

static void a_transfer_can_be_stopped_while_nothing_comes(void **state)
{
    struct sha256 d;
    uint64_t until = clock_ms() + 200;
    struct config_blobs config = some_config();
    struct blobs_pace pace = { .stopped = stop_soon, .ctx = &until };
    (void)state;
    (void)stored(&d);
    config.stall_ms = 0;
    struct blob_store *s = open_with(&config, at("/http/fault=stall,n=0,at=10")), *stores[] = { s };
    struct blob_cache *c = new_cache();
    assert_int_equal(download(stores, 1, c, &d, BYTES, &pace, NULL), -ECANCELED);
    assert_true(clock_ms() < until + 5000); /* the server would be silent for 30 s */
    assert_null(blob_store_free(s));
    assert_null(blob_cache_free(c));
}

static void a_put_is_tried_again(void **state)
{
    static const char *const urls[] = { "s3://blobs/again/fault=slowdown,n=1",
                                        "s3://blobs/again/fault=status500,n=2" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct config c = redis_config("redis://127.0.0.1:1", test_temp_dir());
        struct str stores[] = { str_of(urls[i]) };
        struct blobs *b;
        struct revision_source source;
        struct manifest m, back;
        enum residency from;
        struct fail f = { 0 };
        c.adapters.blobs = some_config();
        c.adapters.blobs.stores = (struct text_list){ stores, 1 };
        assert_int_equal(blobs_open(&b, &c.adapters, NULL, NULL), 0);
        assert_int_equal(revision_find(&source, new_peft(40 + (unsigned)i), NULL), 0);
        assert_int_equal(revision_manifest(&source, NULL, NULL, &m, NULL), 0);
        if (blobs_store_revision(b, &source, &m, &f) != 0)
            fail_msg("%s: %s", urls[i], f.message);
        struct sha256 d = manifest_digest(&m);
        assert_int_equal(blobs_fetch_revision(b, &d, NULL, &back, &from, &f), 0);
        assert_int_equal(from, RESIDENCY_cold);
        assert_int_equal(back.n, m.n);
        blobs_release_revision(b, &back);
        assert_null(blobs_free(b));
    }
}

/* Against services that tests/e2e/blob_peers.py starts. */
static void the_stores_of_others_serve_too(void **state)
{
    const char *bucket = getenv("TEST_PEER_BUCKET"), *endpoint = getenv("TEST_PEER_ENDPOINT");
    const char *folder = getenv("TEST_PEER_FOLDER"), *web = getenv("TEST_PEER_WEB");
    struct config_blobs c = some_config();
    struct sha256 d;
    (void)state;
    if (!(bucket && endpoint) && !(folder && web)) {
        print_message("# skipped: run by tests/e2e/blob_peers.py\n");
        skip();
    }
    c.stall_ms = 10000;
    if (bucket && endpoint) {
        c.s3_endpoint = str_of(endpoint);
        struct blob_store *s = open_with(&c, bucket);
        try_store(s, BYTES);
        assert_null(blob_store_free(s));
    }
    if (folder && web) {
        const char *p = stored(&d);
        struct blob_store *there = open_store(folder), *s = open_with(&c, web);
        CLEANUP(own_close) int fd = file_with(p, BYTES);
        assert_int_equal(there->ops->put(there, &d, fd, BYTES, NULL), 0);
        assert_content(s, &d, p, BYTES, 0);
        assert_content(s, &d, p, BYTES, 777777);
        struct blob_store *stores[] = { s };
        struct blob_cache *cache = new_cache();
        assert_int_equal(download(stores, 1, cache, &d, BYTES, NULL, NULL), 0);
        blob_cache_release(cache, &d);
        assert_null(blob_cache_free(cache));
        assert_null(blob_store_free(there));
        assert_null(blob_store_free(s));
    }
}

/* ---- registries ---- */

static void a_registry_is_a_store(void **state)
{
    char url[128];
    struct config_blobs c = some_config();
    struct fail f;
    struct sha256 d = sha256_of(STR("x"));
    struct blob_stat st;
    (void)state;
    (void)setenv("TEST_LOGIN", "me:pass:word", 1);
    c.token_env = STR("TEST_LOGIN");
    (void)snprintf(url, sizeof(url), "oci+http://127.0.0.1:%d/team/adapters", server.port);
    struct blob_store *s = open_with(&c, url);
    assert_null(s->ops->list);
    try_store(s, BYTES);
    assert_null(blob_store_free(s));
    (void)setenv("TEST_LOGIN", "me:hunter2", 1);
    s = open_with(&c, url);
    assert_int_equal(s->ops->stat(s, &d, &st, &f), FAILED);
    assert_int_equal(f.code, FAIL_permission_denied);
    assert_non_null(strstr(f.message, "token_env"));
    assert_null(strstr(f.message, "hunter2"));
    assert_null(blob_store_free(s));
}

static void a_download_from_a_registry_is_gone_on_with(void **state)
{
    char url[160];
    struct sha256 d;
    struct config_blobs c = some_config();
    const char *p = stored(&d);
    (void)state;
    (void)setenv("TEST_LOGIN", "me:pass:word", 1);
    c.token_env = STR("TEST_LOGIN");
    (void)snprintf(url, sizeof(url), "oci+http://127.0.0.1:%d/team/adapters", server.port);
    struct blob_store *s = open_with(&c, url);
    CLEANUP(own_close) int fd = file_with(p, BYTES);
    assert_int_equal(s->ops->put(s, &d, fd, BYTES, NULL), 0);
    assert_null(blob_store_free(s));
    (void)snprintf(url, sizeof(url), "oci+http://127.0.0.1:%d/team/adapters/fault=cut,n=2,at=99999",
                   server.port);
    s = open_with(&c, url);
    struct blob_store *stores[] = { s };
    struct blob_cache *cache = new_cache();
    struct fail f;
    if (download(stores, 1, cache, &d, BYTES, NULL, &f) != 0)
        fail_msg("%s", f.message);
    blob_cache_release(cache, &d);
    assert_null(blob_cache_free(cache));
    assert_null(blob_store_free(s));
}

/* ---- web servers ---- */

static void a_web_server_is_a_store_to_read_from(void **state)
{
    struct sha256 d;
    struct blob_stat st;
    const char *p = stored(&d);
    char url[256];
    (void)state;
    (void)setenv("TEST_TOKEN", "sesame", 1);
    struct config_blobs c = some_config();
    (void)snprintf(url, sizeof(url), "%s/http/sha256/%.2s/{digest}?v=1", server.url, hex_of(&d));
    const char *urls[] = { at("/http"), at("/http/"), url, at("/private") };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        if (i == 3)
            c.token_env = STR("TEST_TOKEN");
        struct blob_store *s = open_with(&c, urls[i]);
        assert_null(s->ops->put);
        assert_int_equal(s->ops->stat(s, &d, &st, NULL), 0);
        assert_int_equal(st.bytes, BYTES);
        assert_true(st.modified_s + 600 > clock_wall_s());
        assert_content(s, &d, p, BYTES, 0);
        assert_content(s, &d, p, BYTES, 1000000);
        assert_null(strstr(s->name, "sesame"));
        assert_null(blob_store_free(s));
    }
}

static void an_url_that_is_none_is_refused_and_not_repeated(void **state)
{
    static const struct {
        const char *url, *says;
    } rows[] = {
        { "http://", "cannot be understood" },
        { "https://user:hunter2@:99999/", "cannot be understood" },
        { "http://host/{digest}/{digest}", "once" },
        { "s3://", "s3://bucket" },
        { "s3://a b/c", "s3://bucket" },
        { "s3:bucket", "s3://bucket" },
        { "oci://registry", "repository" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config_blobs c = some_config();
        struct blob_store *s = NULL;
        struct fail f;
        assert_int_equal(blob_store_open(&s, str_of(rows[i].url), &c, &f), FAILED);
        assert_int_equal(f.code, FAIL_invalid_request);
        if (!strstr(f.message, rows[i].says) || strstr(f.message, "hunter2"))
            fail_msg("%s: %s", rows[i].url, f.message);
    }
    struct config_blobs c = some_config();
    struct blob_store *s = NULL;
    struct fail f;
    c.token_env = STR("TEST_NO_SUCH_VARIABLE");
    assert_int_equal(blob_store_open(&s, str_of(at("/http")), &c, &f), FAILED);
    assert_non_null(strstr(f.message, "TEST_NO_SUCH_VARIABLE"));
    s = open_store("http://me:hunter2@127.0.0.1:9/x");
    assert_null(strstr(s->name, "hunter2"));
    assert_null(blob_store_free(s));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_is_a_store),
        cmocka_unit_test(a_bucket_is_listed_page_by_page),
        cmocka_unit_test(credentials_come_from_the_environment_or_a_file),
        cmocka_unit_test(what_s3_refuses_is_told_without_a_secret),
        cmocka_unit_test(a_download_survives_what_passes),
        cmocka_unit_test(what_does_not_pass_is_told),
        cmocka_unit_test(nobody_listening_is_told_soon),
        cmocka_unit_test(a_transfer_can_be_stopped_while_nothing_comes),
        cmocka_unit_test(a_put_is_tried_again),
        cmocka_unit_test(the_stores_of_others_serve_too),
        cmocka_unit_test(a_registry_is_a_store),
        cmocka_unit_test(a_download_from_a_registry_is_gone_on_with),
        cmocka_unit_test(a_web_server_is_a_store_to_read_from),
        cmocka_unit_test(an_url_that_is_none_is_refused_and_not_repeated),
    };
    test_begin();
    return cmocka_run_group_tests(tests, start, stop);
}
