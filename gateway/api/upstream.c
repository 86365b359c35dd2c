/* How the engines behind are: for operators. Nothing of credentials; urls hold none. */
#include "engine/upstream/engine_upstream.h"
#include "gateway/api/api.h"
#include "gateway/server.h"

static const char *health_of(const struct pool_state *s)
{
    if (s->probe_failed)
        return "unhealthy"; /* its checks fail */
    return s->ejected ? "ejected" : "healthy";
}

static void print_endpoint(struct buf *b, const struct config_endpoint *e,
                           const struct pool_state *s)
{
    buf_adds(b, "{\"name\":");
    buf_add_json(b, e->name);
    buf_adds(b, ",\"provider\":");
    buf_add_json(b, str_of(config_provider_word(e->provider)));
    buf_adds(b, ",\"url\":");
    buf_add_json(b, e->url);
    buf_adds(b, ",\"model\":");
    buf_add_json(b, e->model);
    buf_addf(b, ",\"weight\":%g,\"priority\":%llu,\"state\":\"%s\",\"running\":%u", e->weight,
             (unsigned long long)e->priority, health_of(s), s->running);
    buf_addf(b, ",\"requests\":%llu,\"faults\":%llu,\"first_token_ms\":%.1f}",
             (unsigned long long)s->requests, (unsigned long long)s->faults,
             s->first_ewma_us / 1e3);
}

enum next api_upstream(struct request *r)
{
    const struct core *c = r->state->core;
    struct buf *b = &r->reply.body;
    const char *comma = "";
    buf_adds(b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < c->n_models; i++) {
        if (!engine_is_upstream(c->models[i].engine))
            continue;
        buf_addf(b, "%s{\"model\":", comma);
        buf_add_json(b, c->models[i].name);
        buf_adds(b, ",\"endpoints\":[");
        struct pool_state s;
        const struct config_endpoint *e;
        for (unsigned k = 0; (e = engine_upstream_look(c->models[i].engine, k, &s)); k++) {
            buf_adds(b, k ? "," : "");
            print_endpoint(b, e, &s);
        }
        buf_adds(b, "]}");
        comma = ",";
    }
    buf_adds(b, "]}");
    return reply_json(r);
}
