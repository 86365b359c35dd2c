#include "tests/unit/engine/upstream/script_fixture.h"

#include "tests/support/test.h"

struct script_server *server;
struct transport *transport;

int fixture_open(const struct script *scripts)
{
    server = script_server_new(scripts);
    return transport_new(&transport, &(struct transport_config){ .loops = 2 });
}

int fixture_close(void **state)
{
    (void)state;
    transport = transport_free(transport);
    server = script_server_free(server);
    return 0;
}

void fixture_renew(void)
{
    transport = transport_free(transport);
    assert_int_equal(transport_new(&transport, &(struct transport_config){ .loops = 2 }), 0);
}

struct transport_loop *fixture_loop(void)
{
    return transport_loop(transport, 0);
}

void probe_to(struct probe *p, const char *path)
{
    probe_init(p, fixture_loop(), script_server_port(server), path, "{}");
}

struct call_end probe_one(const char *path)
{
    struct probe p;
    probe_to(&p, path);
    probe_run(&p);
    struct call_end end = p.end;
    probe_done(&p);
    return end;
}
