#include "engine/upstream/lora_call.h"

#include "base/clock.h"
#include "base/limits.h"
#include "config/config.h"
#include "engine/upstream/credentials.h"
#include "engine/upstream/provider_table.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

enum { SECRET_BYTES = 64 * 1024, URL_BYTES = 8192 };

struct lora_call {
    struct lora_call_spec spec;
    const struct config_endpoint *endpoint;
    struct transport_loop *loop;
    struct transport_task begin;
    struct provider_call call;
    struct call *http;
    unsigned status;
    struct buf body;
};

static void free_call(struct lora_call *c)
{
    provider_call_done(&c->call);
    (void)call_unref(c->http);
    buf_done(&c->body);
    free(c);
}

/* vLLM says so of a name that it has, SGLang too. */
static bool is_there_already(struct str text)
{
    return str_find(text, STR("already been loaded")) >= 0 ||
           str_find(text, STR("already loaded")) >= 0 || str_find(text, STR("already exists")) >= 0;
}

static bool was_not_asked(enum call_outcome o)
{
    return o == CALL_unreachable || o == CALL_untrusted || o == CALL_timeout_connect;
}

static enum lora_answer judge(const struct lora_call *c, const struct call_end *end)
{
    if (end->outcome != CALL_complete)
        return was_not_asked(end->outcome) ? LORA_unanswered : LORA_doubtful;
    if (c->status == 429 || c->status == 503)
        return LORA_unanswered;
    if (c->status == 200)
        return LORA_loaded;
    if (c->spec.verb == LORA_load && is_there_already(buf_str(&c->body)))
        return LORA_loaded;
    return LORA_unservable;
}

static void on_head(void *owner, const struct call_head *head)
{
    struct lora_call *c = owner;
    c->status = head->status;
}

static void on_body(void *owner, struct str bytes)
{
    struct lora_call *c = owner;
    buf_add(&c->body, str_head(bytes, c->body.max - c->body.n));
}

static void on_end(void *owner, const struct call_end *end)
{
    struct lora_call *c = owner;
    enum lora_answer answer = judge(c, end);
    struct str text = end->outcome == CALL_complete ? buf_str(&c->body) : str_of(end->message);
    c->spec.told(c->spec.ctx, answer, text);
    free_call(c);
}

static const struct call_handler handler = { on_head, on_body, on_end };

static void run_begin(struct transport_task *task)
{
    struct lora_call *c =
        (struct lora_call *)(void *)((char *)task - offsetof(struct lora_call, begin));
    const struct config_upstream *u = c->spec.config->upstream;
    const struct config_endpoint *e = c->endpoint;
    struct call_spec s = { .method = c->spec.verb == LORA_list ? "GET" : "POST",
                           .url = c->call.url.p,
                           .headers = c->call.headers,
                           .n_headers = c->call.n_headers,
                           .body = buf_str(&c->call.body),
                           .connect_ms = u->connect_ms,
                           .deadline_ms = clock_ms() + u->lora.load_timeout_ms,
                           .tls = { .ca = e->tls_ca.n ? e->tls_ca.p : NULL,
                                    .cert = e->tls_cert.n ? e->tls_cert.p : NULL,
                                    .key = e->tls_key.n ? e->tls_key.p : NULL,
                                    .insecure = e->tls_insecure },
                           .handler = &handler,
                           .owner = c };
    int err = call_start(c->loop, &c->http, &s);
    if (err < 0) {
        c->spec.told(c->spec.ctx, LORA_unanswered, str_of(strerror(-err)));
        free_call(c);
    }
}

/* vLLM's stand beside its other paths, SGLang's and llama-server's at the root of its server. */
static void write_url(struct lora_call *c)
{
    static const char *const paths[] = { [LORA_load] = "/load_lora_adapter",
                                         [LORA_unload] = "/unload_lora_adapter",
                                         [LORA_list] = "/models" };
    struct str url = c->endpoint->url;
    bool is_fixed = c->endpoint->provider == UPSTREAM_llama_server;
    bool at_root =
        is_fixed || (c->endpoint->provider == UPSTREAM_sglang && c->spec.verb != LORA_list);
    if (at_root && str_ends(url, STR("/v1")))
        url = str_head(url, url.n - STR("/v1").n);
    buf_add(&c->call.url, url);
    buf_adds(&c->call.url, is_fixed ? "/lora-adapters" : paths[c->spec.verb]);
}

static void write_body(struct lora_call *c)
{
    struct buf *b = &c->call.body;
    if (c->spec.verb == LORA_list)
        return;
    buf_adds(b, "{\"lora_name\":");
    buf_add_json(b, str_of(c->spec.name));
    if (c->spec.verb == LORA_load) {
        buf_adds(b, ",\"lora_path\":");
        buf_add_json(b, str_of(c->spec.path));
    }
    buf_addc(b, '}');
}

static int write_headers(struct lora_call *c, struct fail *reterr)
{
    CLEANUP(buf_done) struct buf secret = BUF_INIT(SECRET_BYTES);
    int err =
        credentials_get(c->spec.config->credentials, c->spec.endpoint, STR_NULL, &secret, reterr);
    if (err != 0)
        return err;
    struct provider_job job = { .upstream = c->spec.config->upstream,
                                .endpoint = c->endpoint,
                                .secret = buf_str(&secret) };
    err = provider_headers(&c->call, &job, "authorization", "Bearer");
    if (secret.p)
        OPENSSL_cleanse(secret.p, secret.cap);
    return err;
}

int lora_call_start(const struct lora_call_spec *spec, struct fail *reterr)
{
    struct lora_call *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    const struct config_endpoint *all = spec->config->upstream->endpoints.items;
    c->spec = *spec;
    c->endpoint = &all[spec->endpoint];
    c->loop = transport_loop(spec->config->transport, spec->endpoint);
    c->begin.run = run_begin;
    c->body = BUF_INIT(MIB);
    c->call.url = BUF_INIT(URL_BYTES);
    c->call.body = BUF_INIT(URL_BYTES);
    c->call.arena = arena_new(MIB);
    write_url(c);
    write_body(c);
    int err = c->call.arena ? buf_err(&c->call.url) : -ENOMEM;
    if (err == 0)
        err = buf_err(&c->call.body);
    if (err == 0)
        err = write_headers(c, reterr);
    if (err != 0) {
        free_call(c);
        return err;
    }
    transport_post(c->loop, &c->begin);
    return 0;
}
