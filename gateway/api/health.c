#include "base/metrics.h"
#include "gateway/api/api.h"
#include "gateway/server.h"

#include <errno.h>

enum next api_health(struct request *r)
{
    buf_adds(&r->reply.body, "{\"status\":\"ok\"}");
    return reply_json(r);
}

enum next api_ready(struct request *r)
{
    bool draining = server_is_draining(r->server);
    buf_addf(&r->reply.body, "{\"status\":\"%s\",\"models\":[", draining ? "draining" : "ready");
    const struct core *c = r->state->core;
    for (size_t i = 0; i < c->n_models; i++) {
        if (i)
            buf_addc(&r->reply.body, ',');
        buf_add_json(&r->reply.body, c->models[i].name);
    }
    buf_adds(&r->reply.body, "]}");
    enum next next = reply_json(r);
    if (draining) {
        r->reply.status = 503;
        reply_header(r, "Retry-After", STR("1"));
    }
    return next;
}

enum next api_metrics(struct request *r)
{
    metrics_print(&r->reply.body);
    enum next next = reply_json(r);
    if (r->reply.status == 200)
        r->reply.type = "text/plain; version=0.0.4; charset=utf-8";
    return next;
}
