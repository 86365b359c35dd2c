#include "engine/upstream/engine_upstream.h"

#include "base/clock.h"
#include "base/limits.h"
#include "engine/upstream/exchange.h"
#include "engine/upstream/health.h"
#include "engine/upstream/inside.h"
#include "engine/upstream/upstream_embed.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BYTES_A_TOKEN = 4 }; /* of usual text, where nobody tells: for signals, never for billing */

static struct upstream *of(struct engine *e)
{
    return (struct upstream *)(void *)e;
}

/* ---- what its parts share ---- */

void upstream_enter(struct upstream *u)
{
    u->alive++;
}

/* The last one leaves under the lock: whoever waits for that frees it. */
void upstream_leave(struct upstream *u)
{
    size_t n = u->alive;
    while (n > 1)
        if (atomic_compare_exchange_weak(&u->alive, &n, n - 1))
            return;
    LOCKED(&u->lock);
    if (--u->alive == 0)
        (void)pthread_cond_broadcast(&u->idle);
}

const struct config_endpoint *upstream_endpoint(const struct upstream *u, unsigned i)
{
    const struct config_endpoint *all = u->config->endpoints.items;
    return &all[i];
}

void upstream_call_spec(const struct upstream *u, unsigned i, struct call_spec *ret)
{
    const struct config_endpoint *e = upstream_endpoint(u, i);
    ret->connect_ms = u->config->connect_ms;
    ret->first_byte_ms = u->config->first_byte_ms;
    ret->idle_ms = u->config->idle_ms;
    ret->http2 = e->http2;
    ret->tls = (struct call_tls){ .ca = e->tls_ca.n ? e->tls_ca.p : NULL,
                                  .cert = e->tls_cert.n ? e->tls_cert.p : NULL,
                                  .key = e->tls_key.n ? e->tls_key.p : NULL,
                                  .insecure = e->tls_insecure };
}

/* ---- engine.h ---- */

static int submit(struct engine *e, struct engine_job **ret, const struct engine_spec *spec,
                  struct fail *reterr)
{
    return exchange_submit(of(e), ret, spec, reterr);
}

static bool speaks(const struct engine *e, enum wire wire)
{
    const struct upstream *u = (const struct upstream *)(const void *)e;
    for (unsigned i = 0; i < u->config->endpoints.n; i++)
        if (!provider_speaks(upstream_endpoint(u, i), wire))
            return false;
    return true;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): outputs of an interface, of success only */
static int tokenize(struct engine *e, int32_t **ret_ids, size_t *ret_n,
                    const struct chat_request *request, struct fail *reterr)
{
    (void)ret_ids;
    (void)ret_n;
    (void)request;
    return fail_param(reterr, FAIL_unsupported_parameter, "model",
                      "the tokens of the model '" STR_FMT "' are known only to the engine behind",
                      STR_ARG(str_head(of(e)->name, LIMIT_NAME)));
}

static ptrdiff_t count_tokens(struct engine *e, struct str text)
{
    (void)e;
    size_t n = (text.n + BYTES_A_TOKEN - 1) / BYTES_A_TOKEN;
    return (ptrdiff_t)(n < LIMIT_CONTEXT ? n : LIMIT_CONTEXT);
}

static void detokenize(struct engine *e, const int32_t *ids, size_t n, struct buf *out)
{
    (void)e;
    (void)ids;
    (void)n;
    (void)out; /* nothing is known of its vocabulary */
}

const struct config_endpoint *engine_upstream_look(struct engine *e, unsigned i,
                                                   struct pool_state *ret)
{
    struct upstream *u = of(e);
    if (i >= u->config->endpoints.n)
        return NULL;
    pool_look(u->pool, i, clock_ms(), ret);
    return upstream_endpoint(u, i);
}

static uint32_t context(const struct engine *e)
{
    const struct upstream *u = (const struct upstream *)(const void *)e;
    return u->config->context ? (uint32_t)u->config->context : (uint32_t)LIMIT_CONTEXT;
}

static size_t load(const struct engine *e, size_t *ret_running, size_t *ret_waiting)
{
    const struct upstream *u = (const struct upstream *)(const void *)e;
    *ret_running = pool_running(u->pool);
    *ret_waiting = 0;
    return *ret_running;
}

static void drain(struct engine *e)
{
    of(e)->draining = true;
}

static struct upstream *upstream_done(struct upstream *u)
{
    u->health = health_free(u->health);
    {
        LOCKED(&u->lock);
        exchange_cancel_all(u);
        while (u->alive)
            (void)pthread_cond_wait(&u->idle, &u->lock);
    }
    (void)lora_fleet_free(u->fleet);
    (void)credentials_free(u->credentials);
    (void)pool_free(u->pool);
    (void)pthread_cond_destroy(&u->idle);
    (void)pthread_mutex_destroy(&u->lock);
    free(u);
    return NULL;
}
DEFINE_CLEANUP(struct upstream *, upstream_done);

static void free_engine(struct engine *e)
{
    of(e)->draining = true;
    (void)upstream_done(of(e));
}

static const struct engine_ops upstream_ops = {
    .submit = submit,
    .cancel = exchange_cancel,
    .pause = exchange_pause,
    .unref = exchange_unref,
    .speaks = speaks,
    .tokenize = tokenize,
    .count_tokens = count_tokens,
    .detokenize = detokenize,
    .embed = upstream_embed,
    .relay = upstream_relay,
    .context = context,
    .load = load,
    .drain = drain,
    .free = free_engine,
};

int engine_upstream_new(struct engine **ret, const struct engine_upstream_config *config,
                        struct fail *reterr)
{
    struct upstream *new = calloc(1, sizeof(*new));
    if (!new)
        return -ENOMEM;
    (void)pthread_mutex_init(&new->lock, /* attr= */ NULL);
    int r = thread_cond_init(&new->idle);
    if (r < 0) {
        free(new);
        return r;
    }
    CLEANUP(upstream_donep) struct upstream *u = new;
    u->engine.ops = &upstream_ops;
    u->config = &config->model->upstream;
    u->name = config->model->name;
    u->transport = config->transport;
    r = pool_new(&u->pool, u->config, clock_ns());
    if (r == 0 && config->like)
        pool_adopt(u->pool, of(config->like)->pool, clock_ms());
    if (r == 0)
        r = credentials_new(&u->credentials, u->config, u->transport, reterr);
    if (r == 0 && u->config->lora.enabled)
        r = lora_fleet_new(&u->fleet, &(struct lora_config){ .upstream = u->config,
                                                             .credentials = u->credentials,
                                                             .transport = u->transport,
                                                             .shared = config->shared,
                                                             .holder = config->holder,
                                                             .files = config->files });
    if (r == 0 && u->config->health_path.n)
        r = health_new(&u->health, u);
    if (r != 0)
        return r;
    *ret = &TAKE(u)->engine;
    return 0;
}
