#include "gateway/cold.h"

#include "base/clock.h"
#include "base/num.h"

enum { MAX_HINTS = 16, MAX_WAIT_MS = 3600000 };

static struct str header_of(const struct request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (str_is(r->headers[i].key, name))
            return r->headers[i].value;
    return STR_NULL;
}

static int read_header(struct str text, struct cold *ret, struct fail *reterr)
{
    static const char *const words[] = {
        [ON_COLD_wait] = "wait", [ON_COLD_base] = "base", [ON_COLD_fail] = "fail"
    };
    struct str what = text, rest = STR(""), key, value;
    size_t i = 0;
    (void)str_cut(text, ';', &what, &rest);
    what = str_trim(what);
    rest = str_trim(rest);
    while (i < ARRAY_LEN(words) && !str_is(what, words[i]))
        i++;
    bool good = i < ARRAY_LEN(words);
    if (good && rest.n)
        good = str_cut(rest, '=', &key, &value) && str_is(str_trim(key), "max-wait") &&
               num_parse_duration(&ret->wait_ms, str_trim(value), 0, MAX_WAIT_MS) == 0;
    if (!good)
        return fail_param(reterr, FAIL_invalid_request, "x-rootstock-cold",
                          "x-rootstock-cold is wait, base or fail, and may have a time: wait; "
                          "max-wait=5s");
    ret->what = (enum on_cold)i;
    return 0;
}

int cold_policy(const struct request *r, const struct route *route, struct cold *ret,
                struct fail *reterr)
{
    static const enum on_cold of_route[] = { [ROUTE_COLD_wait] = ON_COLD_wait,
                                             [ROUTE_COLD_base] = ON_COLD_base,
                                             [ROUTE_COLD_fail] = ON_COLD_fail };
    const struct config_adapters *c = &r->state->config->adapters;
    *ret = (struct cold){ .what = (enum on_cold)c->on_cold,
                          .wait_ms = route->cold_wait_ms ? route->cold_wait_ms : c->cold_wait_ms,
                          .base_when_late = c->on_cold_timeout == COLD_base };
    if (route->on_cold != ROUTE_COLD_default)
        ret->what = of_route[route->on_cold];
    struct str header = header_of(r, "x-rootstock-cold");
    return header.n ? read_header(header, ret, reterr) : 0;
}

uint64_t cold_deadline_ms(const struct request *r, const struct cold *c)
{
    uint64_t cold = clock_ms() + c->wait_ms;
    return cold < r->deadline_ms ? cold : r->deadline_ms;
}

bool cold_takes_base(const struct cold *c, const struct fail *fail)
{
    return (fail->code == FAIL_adapter_loading && c->what == ON_COLD_base) ||
           (fail->code == FAIL_timeout && c->base_when_late);
}

void cold_hints(const struct request *r, struct str viewer)
{
    struct str rest = header_of(r, "x-rootstock-prefetch"), name;
    for (unsigned i = 0; i < MAX_HINTS && rest.n && r->state->core->adapters; i++) {
        if (!str_cut(rest, ',', &name, &rest)) {
            name = rest;
            rest = STR("");
        }
        struct adapter_name n = adapter_name_split(str_trim(name));
        n.viewer = viewer;
        if (n.adapter.n)
            (void)!adapters_prefetch(r->state->core->adapters, &n, NULL);
    }
}
