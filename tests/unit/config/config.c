/* The snapshot: sections of ours, defaults, paths, and the catalog that the environment chooses. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static struct config *parse(const char *text, struct problems *p)
{
    struct config *c = NULL;
    int r = config_parse(&c, "conf/a.yaml", str_of(text), p);
    assert_true((r == 0) == (c != NULL));
    return c;
}

static void an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("ROOTSTOCK_REDIS_URL"), 0);
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = parse("", p);
    assert_non_null(c);
    assert_true(str_is(c->gateway.listen, "127.0.0.1:8080"));
    assert_int_equal(c->gateway.body_bytes, 32 * MIB);
    assert_int_equal(c->adapters.catalog, CATALOG_directory);
    assert_int_equal(c->adapters.max_loads, 2);
    assert_int_equal(c->adapters.packing, PACKING_source);
    assert_int_equal(c->engine.models.n, 0);
}

static void our_sections_are_read(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp)
    struct config *c =
        parse("version: v0.3\n"
              "engine: {models: [{name: demo, path: m.gguf, slots: 4, threads: 2, kv_cache: {type: "
              "q8_0}}]}\n"
              "adapters:\n  catalog: {type: directory, path: ads}\n  residency: {max_bytes: 2MiB, "
              "pin: [sql], packing: int8}\n"
              "gateway: {listen: '127.0.0.1:9', limits: {body: 64KiB}}\nrouting: {decisions: []}\n",
              p);
    assert_non_null(c);
    const struct config_model *m = config_model(c, STR("demo"));
    assert_non_null(m);
    assert_string_equal(m->path.p, "conf/m.gguf");
    assert_int_equal(m->slots, 4);
    assert_int_equal(m->threads, 2);
    assert_int_equal(m->cache_type, CACHE_q8_0);
    assert_string_equal(c->adapters.catalog_path.p, "conf/ads");
    assert_true(str_is(c->adapters.pin.items[0], "sql"));
    assert_int_equal(c->adapters.packing, PACKING_int8);
    assert_int_equal(c->gateway.body_bytes, 64 * KIB);
    assert_non_null(node_get(c->routing, "decisions"));
    assert_null(config_model(c, STR("other")));
}

static void an_encoder_is_named_by_its_file_or_by_a_name(void **state)
{
    static const struct {
        const char *text, *name, *path;
    } rows[] = {
        { "engine: {embedding: {path: m/bge-small.f16.gguf}}\n", "bge-small.f16",
          "conf/m/bge-small.f16.gguf" },
        { "engine: {embedding: {path: /abs/e5, name: e}}\n", "e", "/abs/e5" },
        { "engine: {embedding: {path: null}}\n", "", NULL },
        { "engine: {embedding: {}}\n", "", NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(config_unrefp) struct config *c = parse(rows[i].text, p);
        assert_non_null(c);
        assert_true(str_is(c->engine.embedding.name, rows[i].name));
        assert_true(str_is(c->engine.embedding.path, rows[i].path ? rows[i].path : ""));
    }
}

static void the_policy_language_names_the_listener(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp)
    struct config *c = parse("listeners: [{name: a, address: 0.0.0.0, port: 8899}]\n", p);
    assert_non_null(c);
    assert_string_equal(c->gateway.listen.p, "0.0.0.0:8899");
}

static void the_environment_chooses_redis(void **state)
{
    (void)state;
    assert_int_equal(setenv("ROOTSTOCK_REDIS_URL", "redis://127.0.0.1:1/0", 1), 0);
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = parse("adapters: {catalog: {path: x}}\n", p);
    assert_int_equal(unsetenv("ROOTSTOCK_REDIS_URL"), 0);
    assert_non_null(c);
    assert_int_equal(c->adapters.catalog, CATALOG_redis);
    assert_true(str_is(c->adapters.catalog_url, "redis://127.0.0.1:1/0"));
}

static void a_login_and_certificates_of_redis_are_read(void **state)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp)
    struct config *c = parse(
        "adapters: {catalog: {type: redis, url: 'rediss://h', user: gw, password_env: PW, "
        "password_file: pw, tls: {ca: ca.pem, cert: /etc/c.pem, key: k.pem, verify: false}}}\n",
        p);
    (void)state;
    assert_non_null(c);
    const struct config_adapters *a = &c->adapters;
    assert_true(str_is(a->catalog_user, "gw") && str_is(a->catalog_password_env, "PW"));
    assert_true(str_is(a->catalog_password_file, "conf/pw"));
    assert_true(str_is(a->catalog_tls_ca, "conf/ca.pem"));
    assert_true(str_is(a->catalog_tls_cert, "/etc/c.pem"));
    assert_true(str_is(a->catalog_tls_key, "conf/k.pem"));
    assert_true(a->catalog_tls_insecure);
    CLEANUP(config_unrefp)
    struct config *plain = parse("adapters: {catalog: {type: redis, url: 'rediss://h'}}\n", p);
    assert_non_null(plain);
    assert_false(plain->adapters.catalog_tls_insecure);
    assert_true(plain->adapters.catalog_tls_ca.n == 0);
}

static void a_snapshot_is_kept_of_redis(void **state)
{
    static const struct {
        const char *text, *path;
    } rows[] = {
        { "adapters: {catalog: {url: 'redis://h/0', type: redis}, blobs: {cache: /c}}\n",
          "/c/catalog-rootstock.snapshot" },
        { "adapters: {catalog: {url: 'redis://h/0', type: redis, namespace: 'a/b c'},"
          " blobs: {cache: cache}}\n",
          "conf/cache/catalog-a_b_c.snapshot" },
        { "adapters: {catalog: {url: 'redis://h/0', type: redis, snapshot: mine}}\n", "conf/mine" },
        { "adapters: {catalog: {url: 'redis://h/0', type: redis, snapshot: off}}\n", "" },
        { "adapters: {catalog: {type: directory, path: x}}\n", "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(config_unrefp) struct config *c = parse(rows[i].text, p);
        assert_non_null(c);
        struct str path = c->adapters.catalog_snapshot;
        assert_true(str_is(path, rows[i].path));
    }
}

static void the_stores_of_files_are_read(void **state)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    (void)state;
    CLEANUP(config_unrefp)
    struct config *c = parse("adapters:\n  catalog: {type: redis, url: 'redis://h'}\n"
                             "  blobs:\n    store: ['s3://b/p', redis]\n"
                             "    s3: {endpoint: 'http://h:9000', region: r, path_style: true}\n"
                             "    stall_timeout: 3s\n",
                             p);
    assert_non_null(c);
    assert_int_equal(problems_len(p), 0);
    const struct config_blobs *b = &c->adapters.blobs;
    assert_int_equal(b->stores.n, 2);
    assert_true(str_is(b->stores.items[0], "s3://b/p"));
    assert_true(str_is(b->s3_endpoint, "http://h:9000"));
    assert_true(str_is(b->s3_region, "r"));
    assert_true(b->s3_path_style);
    assert_int_equal(b->stall_ms, 3000);
    assert_int_equal(b->connect_ms, 5000);
}

static void a_store_beside_a_folder_has_no_effect(void **state)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    (void)state;
    CLEANUP(config_unrefp)
    struct config *c = parse("adapters:\n  catalog: {type: directory, path: x}\n"
                             "  blobs: {store: 's3://b/p'}\n",
                             p);
    assert_non_null(c);
    assert_int_equal(problems_len(p), 1);
    assert_int_equal(problems_at(p, 0)->kind, PROBLEM_warning);
    assert_string_equal(problems_at(p, 0)->path, "adapters.blobs.store");
}

static void mistakes_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "egnine: {}\n", "conf/a.yaml:1:1: error: egnine: unknown key; did you mean 'engine'?\n" },
        { "version: v9\n",
          "conf/a.yaml:1:10: error: version: 'v9' is not spoken here; write v0.3\n" },
        { "engine: {models: [{name: a}]}\n",
          "conf/a.yaml:1:19: error: engine.models[0]: 'path' or 'upstream' is missing: a GGUF "
          "file, or where the model is\n" },
        { "engine:\n  models:\n    - {name: a, path: p}\n    - {name: a, path: q}\n",
          "conf/a.yaml:4:7: error: engine.models[1]: the name 'a' is taken by engine.models[0]\n" },
        { "engine: {models: [{name: 'a:b', path: p}]}\n",
          "conf/a.yaml:1:19: error: engine.models[0]: a model's name has 1 to 256 bytes and no "
          "blank, ':' or '@'\n" },
        { "engine: {embedding: {path: 'a b.gguf'}}\n",
          "conf/a.yaml:1:21: error: engine.embedding: 'a b' cannot be a model's name, which has 1 "
          "to 256 bytes and no blank, ':' or '@'; give one with `name`\n" },
        { "engine: {models: [{name: a, path: p}], embedding: {path: x/a.gguf}}\n",
          "conf/a.yaml:1:51: error: engine.embedding: the name 'a' is taken by engine.models[0]; "
          "give another with `name`\n" },
        { "engine: {embedding: {name: a}}\n",
          "conf/a.yaml:1:21: error: engine.embedding: a name without a path names nothing\n" },
        { "gateway: {responses: {store: redis}}",
          "conf/a.yaml:1:10: error: gateway.responses.store: 'redis' is the one of "
          "adapters.catalog.url, which is not given\n" },
        { "adapters: {catalog: {type: redis}}\n",
          "conf/a.yaml:1:21: error: adapters.catalog: type redis needs a url, here or in "
          "ROOTSTOCK_REDIS_URL\n" },
        { "gateway: {limits: {body: 1TiB}}\n",
          "conf/a.yaml:1:26: error: gateway.limits.body: 1TiB is outside 1024 … 268435456\n" },
    };
    (void)state;
    assert_int_equal(unsetenv("ROOTSTOCK_REDIS_URL"), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
        assert_null(parse(rows[i].text, p));
        problems_print(p, &b);
        assert_string_equal(b.p, rows[i].message);
    }
}

static void all_sections_report_though_one_is_wrong(void **state)
{
    static const char *const told[] = {
        "1:10: error: version: 'v9' is not spoken here; write v0.3\n",
        "2:1: error: nonsense: unknown key",
        "3:27: error: engine.models[0].slots: 0 is outside",
        "engine.models[0]: a model's name has",
        "engine.models[1]: 'path' or 'upstream' is missing",
        "error: adapters.catalog.pth: unknown key; did you mean 'path'?\n",
        "error: gateway.limits.body: 'huge' is not a size",
    };
    static const char text[] = "version: v9\n"
                               "nonsense: 1\n"
                               "engine: {models: [{slots: 0, name: 'a:b', path: p}, {name: c}]}\n"
                               "adapters: {catalog: {pth: x}}\n"
                               "gateway: {limits: {body: huge}}\n"
                               "routing: {decisions: []}\n";
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
    char path[] = "/tmp/rootstock-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    (void)close(fd);
    CLEANUP(config_unrefp) struct config *c = NULL;
    assert_int_equal(config_examine(&c, path, p), -EINVAL);
    assert_non_null(c);
    assert_non_null(c->routing); /* what could be read is there */
    assert_int_equal(c->engine.models.n, 2);
    problems_print(p, &b);
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        if (!strstr(b.p, told[i]))
            fail_msg("not told: %s\nbut: %s", told[i], b.p);
    CLEANUP(config_unrefp) struct config *served = NULL;
    assert_int_equal(config_load(&served, path, p), -EINVAL);
    assert_null(served);
    (void)unlink(path);
}

static void the_printed_reference_is_itself_a_configuration(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 * MIB);
    config_print_reference(&b);
    struct document *d = NULL;
    assert_int_equal(document_parse(&d, "reference", buf_str(&b), p), 0);
    assert_non_null(node_get(node_get(document_root(d), "gateway"), "limits"));
    document_free(d);
}

static void a_snapshot_lives_as_long_as_its_references(void **state)
{
    (void)state;
    CLEANUP(problems_freep) struct problems *p = problems_new();
    struct config *c = parse("", p);
    struct config *again = config_ref(c);
    assert_null(config_unref(c));
    assert_true(str_is(again->gateway.listen, "127.0.0.1:8080"));
    assert_null(config_unref(again));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(our_sections_are_read),
        cmocka_unit_test(an_encoder_is_named_by_its_file_or_by_a_name),
        cmocka_unit_test(the_policy_language_names_the_listener),
        cmocka_unit_test(the_environment_chooses_redis),
        cmocka_unit_test(a_login_and_certificates_of_redis_are_read),
        cmocka_unit_test(a_snapshot_is_kept_of_redis),
        cmocka_unit_test(the_stores_of_files_are_read),
        cmocka_unit_test(a_store_beside_a_folder_has_no_effect),
        cmocka_unit_test(mistakes_are_refused_with_their_place),
        cmocka_unit_test(all_sections_report_though_one_is_wrong),
        cmocka_unit_test(the_printed_reference_is_itself_a_configuration),
        cmocka_unit_test(a_snapshot_lives_as_long_as_its_references),
    };
    return TEST_RUN(tests);
}
