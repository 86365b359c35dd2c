/* Models behind: short and long forms, what is filled in, what is refused and where, and the models
 * of the policy language. */
#include "tests/support/test.h"

#include "base/limits.h"
#include "config/config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const variables[] = { "AWS_REGION", "AWS_DEFAULT_REGION",
                                         "GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_PROJECT",
                                         "ROOTSTOCK_REDIS_URL" };

static int alone(void **state)
{
    (void)state;
    int r = setenv("POOL_TEST_VALUE", "from-outside", 1);
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        r |= unsetenv(variables[i]);
    return r;
}

static struct config *parse(const char *text)
{
    CLEANUP(problems_freep) struct problems *p = problems_new();
    struct config *c = NULL;
    int r = config_parse(&c, "conf/a.yaml", str_of(text), p);
    if (r != 0) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        problems_print(p, &b);
        buf_addc(&b, '\0');
        print_message("# %s", buf_str(&b).p);
    }
    assert_int_equal(r, 0);
    return c;
}

static const struct config_endpoint *endpoint(const struct config *c, size_t i)
{
    const struct config_model *models = c->engine.models.items;
    assert_true(c->engine.models.n >= 1 && i < models[0].upstream.endpoints.n);
    return &((const struct config_endpoint *)models[0].upstream.endpoints.items)[i];
}

/* One endpoint beside nothing else, and what is filled in for it. */
static void a_provider_gives_its_url_and_its_usual_variable(void **state)
{
    static const struct {
        const char *upstream, *url, *usual_env, *name;
    } rows[] = {
        { "{}", "https://api.openai.com/v1", "OPENAI_API_KEY", "api.openai.com" },
        { "{provider: anthropic}", "https://api.anthropic.com", "ANTHROPIC_API_KEY",
          "api.anthropic.com" },
        { "{provider: gemini}", "https://generativelanguage.googleapis.com", "GEMINI_API_KEY",
          "generativelanguage.googleapis.com" },
        { "{provider: vllm}", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", "127.0.0.1:8000" },
        { "{provider: sglang}", "http://127.0.0.1:30000/v1", "", "127.0.0.1:30000" },
        { "{provider: llama-server}", "http://127.0.0.1:8080/v1", "LLAMA_API_KEY",
          "127.0.0.1:8080" },
        { "{provider: ollama}", "http://127.0.0.1:11434", "OLLAMA_API_KEY", "127.0.0.1:11434" },
        { "{provider: bedrock, region: eu-west-1}",
          "https://bedrock-runtime.eu-west-1.amazonaws.com", "AWS_BEARER_TOKEN_BEDROCK",
          "bedrock-runtime.eu-west-1.amazonaws.com" },
        { "{provider: bedrock, region: cn-north-1}",
          "https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "",
          "bedrock-runtime.cn-north-1.amazonaws.com.cn" },
        { "{provider: vertex, project: p}", "https://aiplatform.googleapis.com", "",
          "aiplatform.googleapis.com" },
        { "{provider: vertex, project: p, region: us-east5}",
          "https://us-east5-aiplatform.googleapis.com", "", "us-east5-aiplatform.googleapis.com" },
        /* What is compatible with OpenAI is not sent OpenAI's key, unless it is told so. */
        { "{url: https://openrouter.ai/api/v1}", "https://openrouter.ai/api/v1", "",
          "openrouter.ai" },
        { "{url: 'https://api.openai.com.evil.example'}", "https://api.openai.com.evil.example/v1",
          "", "api.openai.com.evil.example" },
        { "{url: https://eu.api.openai.com/v1}", "https://eu.api.openai.com/v1", "OPENAI_API_KEY",
          "eu.api.openai.com" },
        { "{provider: azure, url: https://r.openai.azure.com/}", "https://r.openai.azure.com",
          "AZURE_OPENAI_API_KEY", "r.openai.azure.com" },
        { "{key_env: MINE}", "https://api.openai.com/v1", "", "api.openai.com" },
        { "{client_key: true}", "https://api.openai.com/v1", "", "api.openai.com" },
        /* Said too much or too little. */
        { "{url: http://h:1}", "http://h:1/v1", "", "h:1" },
        { "{url: http://h:1/}", "http://h:1/v1", "", "h:1" },
        { "{url: http://h:1/v1/}", "http://h:1/v1", "", "h:1" },
        { "{url: http://h:1/v1/chat/completions}", "http://h:1/v1", "", "h:1" },
        { "{url: http://h:1/openai/v1}", "http://h:1/openai/v1", "", "h:1" },
        { "{url: 'http://[::1]:8000'}", "http://[::1]:8000/v1", "", "[::1]:8000" },
        { "{url: 'http://${POOL_TEST_VALUE}:9'}", "http://from-outside:9/v1", "",
          "from-outside:9" },
        { "{provider: anthropic, url: https://api.anthropic.com/v1}", "https://api.anthropic.com",
          "ANTHROPIC_API_KEY", "api.anthropic.com" },
        { "{provider: anthropic, url: https://x/anthropic}", "https://x/anthropic", "", "x" },
        { "{provider: gemini, url: https://x/v1beta}", "https://x", "", "x" },
        { "{provider: ollama, url: http://h:11434/v1}", "http://h:11434", "OLLAMA_API_KEY",
          "h:11434" },
        { "{provider: azure, url: https://r.openai.azure.com/openai}", "https://r.openai.azure.com",
          "AZURE_OPENAI_API_KEY", "r.openai.azure.com" },
        { "{provider: bedrock, url: https://bedrock-runtime.us-east-2.amazonaws.com}",
          "https://bedrock-runtime.us-east-2.amazonaws.com", "AWS_BEARER_TOKEN_BEDROCK",
          "bedrock-runtime.us-east-2.amazonaws.com" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "engine: {models: [{name: m, upstream: %s}]}\n",
                       rows[i].upstream);
        CLEANUP(config_unrefp) struct config *c = parse(text);
        const struct config_endpoint *e = endpoint(c, 0);
        bool same = str_is(e->url, rows[i].url) && str_is(e->usual_env, rows[i].usual_env) &&
                    str_is(e->name, rows[i].name) && str_is(e->model, "m");
        if (!same)
            print_message("# %s: %s, %.*s, %.*s\n", rows[i].upstream, e->url.p,
                          STR_ARG(e->usual_env), STR_ARG(e->name));
        assert_true(same);
    }
}

static void the_environment_names_regions_and_projects(void **state)
{
    (void)state;
    assert_int_equal(setenv("AWS_DEFAULT_REGION", "eu-north-1", 1), 0);
    assert_int_equal(setenv("GOOGLE_CLOUD_PROJECT", "my-project", 1), 0);
    CLEANUP(config_unrefp)
    struct config *c = parse("engine: {models: [{name: m, upstream: {endpoints: [{provider: "
                             "bedrock}, {provider: vertex, region: us-central1}]}}]}\n");
    assert_string_equal(endpoint(c, 0)->url.p, "https://bedrock-runtime.eu-north-1.amazonaws.com");
    assert_string_equal(endpoint(c, 0)->region.p, "eu-north-1");
    assert_string_equal(endpoint(c, 1)->project.p, "my-project");
    assert_string_equal(endpoint(c, 1)->url.p, "https://us-central1-aiplatform.googleapis.com");
    assert_int_equal(alone(state), 0);
}

static void defaults_are_those_of_production(void **state)
{
    (void)state;
    CLEANUP(config_unrefp)
    struct config *c = parse("engine: {models: [{name: m, upstream: {}}]}\n");
    const struct config_model *m = config_model(c, STR("m"));
    const struct config_upstream *u = &m->upstream;
    assert_true(u->balance == BALANCE_least_request && u->affinity == AFFINITY_none);
    assert_int_equal(u->connect_ms, 5000);
    assert_int_equal(u->first_byte_ms, 300000);
    assert_int_equal(u->retries, 2);
    assert_int_equal(u->retry_on, RETRY_all);
    assert_int_equal(u->max_retry_after_s, 10);
    assert_int_equal(u->eject_errors, 5);
    assert_int_equal(u->eject_ms, 30000);
    assert_true(fabs(u->eject_max - 0.5) < 1e-9 && fabs(u->retry_budget - 0.2) < 1e-9);
    assert_int_equal(u->health_path.n, 0);
    assert_int_equal(u->hedge_ms, 0);
    assert_false(u->lora.enabled);
    assert_true(fabs(endpoint(c, 0)->weight - 1) < 1e-9);
    assert_false(endpoint(c, 0)->tls_insecure);
    assert_false(m->pricing.is_set);
    assert_int_equal(c->engine.n_own, 1);
    assert_int_equal(c->engine.transport.max_idle_s, 60);
}

/* What stands beside `endpoints` counts for those that do not say otherwise. */
static void endpoints_take_what_stands_beside_them(void **state)
{
    (void)state;
    CLEANUP(config_unrefp)
    struct config *c = parse(
        "engine:\n"
        "  upstream: {threads: 3, max_connections: 100, max_idle: 2m, max_age: 1h}\n"
        "  models:\n"
        "  - name: m\n"
        "    pricing: {prompt_per_1m: 2, completion_per_1m: 8, cached_input_per_1m: 0.5, "
        "currency: EUR}\n"
        "    upstream:\n"
        "      provider: vllm\n"
        "      model: Qwen/Qwen3-8B\n"
        "      key_file: secrets/key\n"
        "      headers: {x-team: '${POOL_TEST_VALUE}', X-Two: b}\n"
        "      tls: {ca: ca.pem, verify: false}\n"
        "      weight: 2\n"
        "      balance: p2c\n"
        "      affinity: auto\n"
        "      timeouts: {connect: 250ms, first_byte: 10s, idle: 0, total: 1m}\n"
        "      retry: {max: 1, when: [connect, busy], budget: 0.1, min_per_second: 1, "
        "max_retry_after: 1m}\n"
        "      health: {path: /health, interval: 5s, timeout: 1s, eject_after: 3, eject_time: 10s, "
        "eject_max: 0.25, slow_start: 1m, max_pending: 64}\n"
        "      hedge: {after: 800ms, percentile: 0.95, budget: 0.02}\n"
        "      endpoints:\n"
        "      - {url: https://a:1, name: first}\n"
        "      - {url: https://b, weight: 0, priority: 1, key_env: B_KEY, model: other, path: "
        "/v1/chat/completions}\n"
        "      - {provider: openai, url: https://b/v1, tls: {verify: true}, headers: {}}\n"
        "      - {url: https://b}\n");
    const struct config_model *m = config_model(c, STR("m"));
    const struct config_upstream *u = &m->upstream;
    assert_int_equal(u->endpoints.n, 4);
    const struct config_endpoint *e = u->endpoints.items;
    assert_string_equal(e[0].name.p, "first");
    assert_string_equal(e[0].key_file.p, "conf/secrets/key");
    assert_true(str_is(e[1].key_env, "B_KEY") && e[1].key_file.n == 0); /* a key of its own */
    assert_string_equal(e[0].tls_ca.p, "conf/ca.pem");
    assert_true(e[0].tls_insecure && e[1].tls_insecure && !e[2].tls_insecure);
    assert_string_equal(e[2].tls_ca.p, "conf/ca.pem");
    assert_true(str_is(e[0].model, "Qwen/Qwen3-8B") && str_is(e[1].model, "other"));
    assert_true(e[0].weight > 1.9 && e[1].weight < 0.1 && e[2].weight > 1.9);
    assert_true(e[0].priority == 0 && e[1].priority == 1);
    assert_true(e[0].n_headers == 2 && e[1].n_headers == 2 && e[2].n_headers == 0);
    assert_true(str_is(e[0].headers[0].value, "from-outside"));
    assert_true(str_is(e[1].path, "/chat/completions")); /* the version is said once */
    assert_string_equal(e[1].url.p, "https://b/v1");
    assert_int_equal(e[2].provider, UPSTREAM_openai);
    assert_true(str_is(e[1].name, "b") && str_is(e[2].name, "b#2") && str_is(e[3].name, "b#3"));
    assert_true(u->balance == BALANCE_p2c && u->affinity == AFFINITY_auto);
    assert_true(u->connect_ms == 250 && u->first_byte_ms == 10000 && u->idle_ms == 0 &&
                u->total_ms == 60000);
    assert_true(u->retries == 1 && u->retry_on == (RETRY_connect | RETRY_busy) &&
                u->max_retry_after_s == 60 && u->retry_min == 1);
    assert_true(str_is(u->health_path, "/health") && u->health_interval_ms == 5000 &&
                u->health_timeout_ms == 1000);
    assert_true(u->eject_errors == 3 && u->eject_ms == 10000 && u->slow_start_ms == 60000 &&
                u->breaker_pending == 64);
    assert_true(u->hedge_ms == 800 && fabs(u->hedge_percentile - 0.95) < 1e-9);
    assert_true(c->engine.transport.threads == 3 && c->engine.transport.max_connections == 100 &&
                c->engine.transport.max_idle_s == 120 && c->engine.transport.max_age_s == 3600);
    assert_true(m->pricing.is_set && str_is(m->pricing.currency, "EUR"));
}

static void adapters_behind_have_the_bounds_of_their_engine(void **state)
{
    static const struct {
        const char *upstream, *path;
        uint64_t loras, loaded, rank;
    } rows[] = {
        { "{provider: vllm, lora: {path: '/cas/{digest}'}}", "/cas/{digest}", 1, 1, 16 },
        { "{provider: vllm, lora: {folder: cas, max_loras: 4, max_rank: 64}}",
          "conf/cas/{digest2}/{digest}", 4, 4, 64 },
        { "{provider: vllm, lora: {path: '/x/{digest}', max_loras: 4, max_loaded: 32}}",
          "/x/{digest}", 4, 32, 16 },
        { "{provider: sglang, lora: {path: '/x/{digest}'}}", "/x/{digest}", 8, 8, LIMIT_LORA_RANK },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "engine: {models: [{name: m, upstream: %s}]}\n",
                       rows[i].upstream);
        CLEANUP(config_unrefp) struct config *c = parse(text);
        const struct config_upstream_lora *l = &config_model(c, STR("m"))->upstream.lora;
        assert_true(l->enabled);
        assert_string_equal(l->path.p, rows[i].path);
        assert_int_equal(l->max_loras, rows[i].loras);
        assert_int_equal(l->max_loaded, rows[i].loaded);
        assert_int_equal(l->max_rank, rows[i].rank);
    }
    CLEANUP(config_unrefp)
    struct config *off =
        parse("engine: {models: [{name: m, upstream: {lora: {enabled: false}}}]}\n");
    assert_false(config_model(off, STR("m"))->upstream.lora.enabled);
    CLEANUP(config_unrefp)
    struct config *fixed = parse("engine: {models: [{name: m, upstream: {provider: llama-server, "
                                 "lora: {fixed: [a, b]}}}]}\n");
    assert_int_equal(config_model(fixed, STR("m"))->upstream.lora.fixed.n, 2);
}

/* The value of `upstream` begins at column 39 of the one line. */
static const struct {
    const char *upstream, *problem;
} bad_fields[] = {
    { "{provder: vllm}", "1:40: error: engine.models[0].upstream.provder: unknown key; did you "
                         "mean 'provider'?" },
    { "{provider: vlm}", "1:50: error: engine.models[0].upstream.provider: 'vlm' is not one of "
                         "openai, vllm" },
    { "{key: sk-abc}", "1:45: error: engine.models[0].upstream.key: a secret does not belong "
                       "in a configuration; use key_env" },
    { "{endpoints: [{url: 'http://a', api_key: sk-abc}]}",
      "1:79: error: engine.models[0].upstream.endpoints[0].api_key: a secret does not" },
    { "{token: sk-abc, endpoints: [{}]}", "1:47: error: engine.models[0].upstream.token: a "
                                          "secret does not" },
    { "{key_env: sk-abc}", "1:49: error: engine.models[0].upstream.key_env: takes the name of "
                           "an environment variable" },
    { "{key_env: 1A}", "1:49: error: engine.models[0].upstream.key_env: takes the name" },
    { "{tenant_keys_env: 'a=b'}", "1:57: error: engine.models[0].upstream.tenant_keys_env: "
                                  "takes the name" },
    { "{url: 'https://user:sk-abc@h'}", "1:45: error: engine.models[0].upstream.url: a url "
                                        "holds no user" },
    { "{url: 'https://h/?key=sk-abc'}", "1:45: error: engine.models[0].upstream.url: is not "
                                        "http(s)://" },
    { "{url: h:80}", "1:45: error: engine.models[0].upstream.url: is not http(s)://" },
    { "{url: 'ftp://h'}", "1:45: error: engine.models[0].upstream.url: is not http(s)://" },
    { "{url: 'http://'}", "1:45: error: engine.models[0].upstream.url: is not http(s)://" },
    { "{url: 'http://h:0'}", "1:45: error: engine.models[0].upstream.url: is not http" },
    { "{url: 'http://h:99999'}", "1:45: error: engine.models[0].upstream.url: is not http" },
    { "{url: 'http://a b'}", "1:45: error: engine.models[0].upstream.url: is not http" },
    { "{url: 'http://${NOT_SET_ANYWHERE}'}", "1:45: error: engine.models[0].upstream.url: the "
                                             "environment variable NOT_SET_ANYWHERE" },
    { "{provider: azure}", "1:39: error: engine.models[0].upstream: azure needs a url" },
    { "{provider: bedrock}", "1:39: error: engine.models[0].upstream: bedrock needs a region" },
    { "{provider: bedrock, region: 'a.evil.example/'}",
      "1:67: error: engine.models[0].upstream.region: has letters" },
    { "{provider: vertex}", "1:39: error: engine.models[0].upstream: vertex needs a project" },
    { "{provider: vertex, project: 'a/b'}", "1:67: error: engine.models[0].upstream.project: "
                                            "has letters" },
    { "{weight: -1}", "1:48: error: engine.models[0].upstream.weight: -1 is outside" },
    { "{priority: 64}", "1:50: error: engine.models[0].upstream.priority: 64 is outside" },
    { "{path: chat}", "1:46: error: engine.models[0].upstream.path: a path begins" },
    { "{headers: [a]}", "1:49: error: engine.models[0].upstream.headers: needs a map" },
    { "{headers: {'a b': c}}", "1:49: error: engine.models[0].upstream.headers: 'a b' is not a "
                               "header's name" },
    { "{headers: {Content-Length: 1}}", "1:49: error: engine.models[0].upstream.headers: the "
                                        "header Content-Length is the transport's own" },
    { "{headers: {Authorization: Bearer sk-abc}}",
      "1:49: error: engine.models[0].upstream.headers: the header Authorization holds a "
      "secret" },
    { "{headers: {a: \"b\\nc: d\"}}", "1:49: error: engine.models[0].upstream.headers: the "
                                      "value of a has a control character" },
    { "{headers: {a: [b]}}", "1:49: error: engine.models[0].upstream.headers: the value of a "
                             "is no text" },
    { "{auth_header: 'a b'}", "1:53: error: engine.models[0].upstream.auth_header: is not a" },
    { "{auth_prefix: 'a b'}", "1:53: error: engine.models[0].upstream.auth_prefix: is one "
                              "word" },
    { "{api_version: 'a&b'}", "1:53: error: engine.models[0].upstream.api_version: is one "
                              "word" },
    { "{url: https://h, tls: {cert: c}}", "1:61: error: engine.models[0].upstream.tls: a cert "
                                          "needs its key" },
    { "{endpoints: []}", "1:51: error: engine.models[0].upstream.endpoints: needs a list of 1 "
                         "to 64" },
    { "{endpoints: {url: a}}", "1:51: error: engine.models[0].upstream.endpoints: needs a "
                               "list" },
    { "{endpoints: [{balance: p2c}]}", "1:53: error: "
                                       "engine.models[0].upstream.endpoints[0].balance: "
                                       "unknown key" },
    { "{balance: fast}", "1:49: error: engine.models[0].upstream.balance: 'fast' is not one "
                         "of least_request, p2c" },
    { "{timeouts: {connect: soon}}", "1:60: error: engine.models[0].upstream.timeouts.connect: "
                                     "'soon' is not a duration" },
    { "{retry: {when: [never]}}", "1:47: error: engine.models[0].upstream.retry: 'never' is not "
                                  "one of connect" },
    { "{retry: {max: 11}}", "1:53: error: engine.models[0].upstream.retry.max: 11 is outside" },
    { "{health: {path: health}}", "1:48: error: engine.models[0].upstream.health: its path "
                                  "begins" },
    { "{hedge: {percentile: 95}}", "1:60: error: engine.models[0].upstream.hedge.percentile: "
                                   "95 is outside" },
    { "{lora: {}}", "1:46: error: engine.models[0].upstream.lora: adapters are served behind "
                    "by vllm" },
    { "{provider: vllm, lora: {}}", "1:62: error: engine.models[0].upstream.lora: needs "
                                    "`path`" },
    { "{provider: llama-server, lora: {}}", "1:70: error: engine.models[0].upstream.lora: "
                                            "llama-server's adapters" },
    { "{provider: vllm, lora: {path: /x}, endpoints: [{}, {provider: sglang}]}",
      "1:62: error: engine.models[0].upstream.lora: endpoints that serve adapters have one" },
    { "{}, path: m.gguf", "1:39: error: engine.models[0].upstream: a model has a path or an "
                          "upstream, not both" },
    { "{}, pricing: {prompt_per_1m: cheap}", "1:68: error: "
                                             "engine.models[0].pricing.prompt_per_1m: 'cheap' "
                                             "is not a number" },
    { "[a]", "1:39: error: engine.models[0].upstream: needs a map" },
};

static void bad_fields_are_refused_where_they_stand(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad_fields); i++) {
        char text[512], place[512];
        (void)snprintf(text, sizeof(text), "engine: {models: [{name: m, upstream: %s}]}\n",
                       bad_fields[i].upstream);
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(config_unrefp) struct config *c = NULL;
        int r = config_parse(&c, "conf/a.yaml", str_of(text), p);
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        problems_print(p, &b);
        buf_addc(&b, '\0');
        (void)snprintf(place, sizeof(place), "conf/a.yaml:%s", bad_fields[i].problem);
        if (r == -EINVAL && strstr(buf_str(&b).p, place) && !strstr(buf_str(&b).p, "sk-abc"))
            continue;
        print_message("# %s: %d\n#   wants %s\n#   has   %s", bad_fields[i].upstream, r, place,
                      buf_str(&b).p);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void what_has_no_effect_is_warned_about(void **state)
{
    static const struct {
        const char *model, *problem;
    } rows[] = {
        { "upstream: {}, slots: 4", "slots has no effect: the model is behind" },
        { "upstream: {}, context: 4", "upstream.context is its own" },
        { "upstream: {key_env: A, key_file: b}", "key_file: has no effect beside key_env" },
        { "upstream: {url: 'http://a', tls: {ca: x}}", "tls: has no effect: the url is not https" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "engine: {models: [{name: m, %s}]}\n", rows[i].model);
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(config_unrefp) struct config *c = NULL;
        assert_int_equal(config_parse(&c, "a.yaml", str_of(text), p), 0);
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        problems_print(p, &b);
        buf_addc(&b, '\0');
        assert_non_null(strstr(buf_str(&b).p, rows[i].problem));
        assert_int_equal(problems_count(p, PROBLEM_warning), 1);
    }
}

/* ---- the policy language ---- */

static void policies_name_models_behind(void **state)
{
    (void)state;
    CLEANUP(config_unrefp)
    struct config *c =
        parse("engine: {models: [{name: local, path: m.gguf}]}\n"
              "providers:\n"
              "  models:\n"
              "  - name: org/big\n"
              "    provider_model_id: big-instruct\n"
              "    external_model_ids: {anthropic: claude-big, vllm: ''}\n"
              "    pricing: {currency: EUR, prompt_per_1m: 3, cached_input_per_1m: 0.3, "
              "cache_write_per_1m: 4, completion_per_1m: 15}\n"
              "    reliability: {lb_policy: ROUND_ROBIN, retry_count: 4, retry_on: "
              "'connect-failure, refused-stream,envoy-ratelimited', consecutive_5xx: 7, "
              "base_ejection_time: 45s, max_ejection_percent: 30, health_check_path: /health, "
              "health_check_interval: 20s, health_check_timeout: 3s}\n"
              "    backend_refs:\n"
              "    - {name: one, endpoint: 'vllm:8000', protocol: http, weight: 80, type: vllm, "
              "api_key_env: K}\n"
              "    - {base_url: https://api.example.com/v1/, provider: openai, auth_header: "
              "Authorization, extra_headers: {X-Tenant: t}, api_version: '2025-03-01', chat_path: "
              "/chat/completions, api_key: secret, weight: 20}\n"
              "    - {provider: anthropic}\n"
              "    - {endpoint: 'h:9', type: chat}\n"
              "  - name: local\n"
              "    backend_refs: [{endpoint: 'x:1'}]\n"
              "  - name: nowhere\n"
              "  - name: dialect\n"
              "    api_format: anthropic\n"
              "    backend_refs: [{endpoint: 'y:2', protocol: https, chat_path: /v2/messages}]\n");
    assert_int_equal(c->engine.n_own, 1);
    assert_int_equal(c->engine.models.n, 3);
    assert_int_equal(config_model(c, STR("local"))->upstream.endpoints.n, 0);
    assert_null(config_model(c, STR("nowhere")));
    const struct config_model *m = config_model(c, STR("org/big"));
    assert_non_null(m);
    const struct config_upstream *u = &m->upstream;
    assert_true(u->balance == BALANCE_round_robin && u->retries == 4);
    assert_int_equal(u->retry_on, RETRY_connect | RETRY_busy);
    assert_true(u->eject_errors == 7 && u->eject_ms == 45000 && fabs(u->eject_max - 0.3) < 1e-9);
    assert_true(str_is(u->health_path, "/health") && u->health_interval_ms == 20000 &&
                u->health_timeout_ms == 3000);
    assert_true(u->connect_ms == 5000 && u->max_retry_after_s == 10 && !u->lora.enabled);
    assert_true(m->pricing.is_set && str_is(m->pricing.currency, "EUR"));
    assert_int_equal(u->endpoints.n, 4);
    const struct config_endpoint *e = u->endpoints.items;
    assert_true(e[0].provider == UPSTREAM_vllm && str_is(e[0].url, "http://vllm:8000/v1"));
    assert_true(str_is(e[0].key_env, "K") && str_is(e[0].model, "big-instruct"));
    assert_true(e[0].weight > 79 && str_is(e[0].name, "one"));
    assert_true(str_is(e[1].url, "https://api.example.com/v1") && str_is(e[1].key, "secret"));
    assert_true(str_is(e[1].auth_header, "Authorization") && str_is(e[1].auth_prefix, "Bearer"));
    assert_true(e[1].n_headers == 1 && str_is(e[1].headers[0].key, "X-Tenant"));
    assert_true(str_is(e[1].path, "/chat/completions") && str_is(e[1].api_version, "2025-03-01"));
    assert_true(e[2].provider == UPSTREAM_anthropic && str_is(e[2].model, "claude-big"));
    assert_true(str_is(e[2].usual_env, "ANTHROPIC_API_KEY"));
    assert_true(e[3].provider == UPSTREAM_openai && str_is(e[3].url, "http://h:9/v1"));
    const struct config_model *d = config_model(c, STR("dialect"));
    const struct config_endpoint *y = d->upstream.endpoints.items;
    assert_true(y->provider == UPSTREAM_anthropic && str_is(y->url, "https://y:2"));
    assert_true(str_is(y->path, "/v2/messages") && !d->pricing.is_set);
    assert_int_equal(d->upstream.retry_on, RETRY_all);
}

static void the_backends_of_a_policy_are_checked(void **state)
{
    static const struct {
        const char *model, *problem;
        bool refused;
    } rows[] = {
        { "backend_refs: [{endpont: 'a:1'}]",
          "backend_refs[0].endpont: unknown key; did you mean "
          "'endpoint'?",
          true },
        { "backend_refs: [{endpoint: 'a:b'}]", "backend_refs[0].endpoint: is not http(s)", true },
        { "backend_refs: [{endpoint: 'a:1', protocol: grpc}]", "protocol: is http or https", true },
        { "backend_refs: [{base_url: 'https://u:sk-abc@h'}]", "base_url: a url holds no user",
          true },
        { "backend_refs: [{endpoint: 'a:1', api_key_env: sk-abc}]", "api_key_env: takes the name",
          true },
        { "backend_refs: [{endpoint: 'a:1', extra_headers: {te: x}}]",
          "extra_headers: the header te is the transport's own", true },
        { "backend_refs: [{endpoint: 'a:1', api_key: sk-abc}]",
          "warning: "
          "providers.models[0].backend_refs["
          "0].api_key: is a secret",
          false },
        { "backend_refs: [{endpoint: 'a:1', api_key: '${POOL_TEST_VALUE}'}]", "", false },
        { "backend_refs: [{endpoint: 'a:1', provider: mine}]",
          "provider: the provider 'mine' is "
          "not known",
          false },
        { "reliability: {lb_policy: best}", "lb_policy: 'best' is not known", false },
        { "reliability: {retry_on: sometimes}", "retry_on: 'sometimes' is not known", false },
        { "reliability: {base_ejection_time: long}", "'long' is not a duration", true },
        { "reliability: {health_check_path: health}", "a path begins with '/'", true },
        { "reliability: {max_ejection_percent: 101}", "101 is outside", true },
        { "api_format: grpc", "'grpc' is not one of openai, anthropic", true },
    };
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text), "providers: {models: [{name: m, %s}]}\n", rows[i].model);
        CLEANUP(problems_freep) struct problems *p = problems_new();
        CLEANUP(config_unrefp) struct config *c = NULL;
        int r = config_parse(&c, "a.yaml", str_of(text), p);
        CLEANUP(buf_done) struct buf b = BUF_INIT(MIB);
        problems_print(p, &b);
        buf_addc(&b, '\0');
        bool quiet = rows[i].problem[0] || problems_len(p) == 0;
        if ((r < 0) == rows[i].refused && quiet && strstr(buf_str(&b).p, rows[i].problem) &&
            !strstr(buf_str(&b).p, "sk-abc"))
            continue;
        print_message("# %s: %d: %s\n", rows[i].model, r, buf_str(&b).p);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void the_example_says_all_of_it(void **state)
{
    static const struct {
        const char *name;
        size_t endpoints;
        enum upstream_provider provider;
    } rows[] = { { "demo", 0, UPSTREAM_openai },      { "qwen", 3, UPSTREAM_vllm },
                 { "claude", 1, UPSTREAM_anthropic }, { "gpt", 2, UPSTREAM_azure },
                 { "gemini", 1, UPSTREAM_gemini },    { "nova", 1, UPSTREAM_bedrock },
                 { "routed", 1, UPSTREAM_openai },    { "mistral", 1, UPSTREAM_vllm } };
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *c = NULL;
    (void)state;
    assert_int_equal(config_load(&c, test_path("config/policies/upstream.yaml"), p), 0);
    assert_int_equal(problems_len(p), 0);
    assert_int_equal(c->engine.models.n, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct config_model *m = config_model(c, str_of(rows[i].name));
        assert_non_null(m);
        assert_int_equal(m->upstream.endpoints.n, rows[i].endpoints);
        const struct config_endpoint *e = m->upstream.endpoints.items;
        assert_true(rows[i].endpoints == 0 || e->provider == rows[i].provider);
    }
}

static void a_request_costs_what_its_tokens_do(void **state)
{
    const struct config_pricing p = {
        .prompt = 3, .cached = 0.3, .cache_write = 3.75, .completion = 15, .is_set = true
    };
    const struct config_pricing none = { .prompt = 3, .completion = 15 };
    static const struct {
        struct config_tokens tokens;
        double cost;
    } rows[] = {
        { { .prompt = 1000000 }, 3 },
        { { .prompt = 1000, .cached = 400, .completion = 200 }, 0.00492 },
        { { .prompt = 1000, .cached = 400, .cache_write = 500, .completion = 200 }, 0.005295 },
        { { .prompt = 10, .cached = 20 }, 3e-6 }, /* no more than were read */
        { { .prompt = 10, .cached = 4, .cache_write = 20 }, 23.7e-6 },
        { { .prompt = 0 }, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(fabs(config_cost(&p, &rows[i].tokens) - rows[i].cost) < 1e-12);
        assert_true(config_cost(&none, &rows[i].tokens) < 1e-15);
    }
    CLEANUP(config_unrefp)
    struct config *c = parse("engine: {models: [{name: m, upstream: {}, pricing: {prompt_per_1m: "
                             "2}}]}\n");
    const struct config_pricing *q = &config_model(c, STR("m"))->pricing;
    const struct config_tokens all = { .prompt = 1000000, .cached = 500000, .cache_write = 1000 };
    assert_true(fabs(config_cost(q, &all) - 2) < 1e-9); /* cached and written: as any other */
    assert_true(str_is(q->currency, "USD"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_provider_gives_its_url_and_its_usual_variable),
        cmocka_unit_test(the_environment_names_regions_and_projects),
        cmocka_unit_test(defaults_are_those_of_production),
        cmocka_unit_test(endpoints_take_what_stands_beside_them),
        cmocka_unit_test(adapters_behind_have_the_bounds_of_their_engine),
        cmocka_unit_test(bad_fields_are_refused_where_they_stand),
        cmocka_unit_test(what_has_no_effect_is_warned_about),
        cmocka_unit_test(policies_name_models_behind),
        cmocka_unit_test(the_backends_of_a_policy_are_checked),
        cmocka_unit_test(the_example_says_all_of_it),
        cmocka_unit_test(a_request_costs_what_its_tokens_do),
    };
    test_begin();
    return cmocka_run_group_tests(tests, alone, NULL);
}
