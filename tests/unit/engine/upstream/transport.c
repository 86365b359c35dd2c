/*
 * Transport against a server that plays a script.
 */
#include "tests/support/test.h"

#include "base/clock.h"
#include "engine/upstream/transport.h"
#include "tests/unit/engine/upstream/probe.h"
#include "tests/unit/engine/upstream/script_server.h"

static struct script_server *server;
static struct transport *transport;

/* ---- scripts ---- */

static void say_hello(struct script_peer *peer)
{
    peer->keep = script_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: 1\r\n\r\nhello");
}

static void say_request(struct script_peer *peer)
{
    char head[256];
    (void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                   strlen(peer->head) + peer->body.n);
    peer->keep =
        script_say(peer, head) && script_say(peer, peer->head) && script_send(peer, peer->body);
}

static void stall(struct script_peer *peer)
{
    (void)script_wait_close(peer, 10000);
}

static const struct script scripts[] = {
    { "/hello", say_hello },
    { "/request", say_request },
    { "/stall", stall },
    { NULL, say_hello },
};

/* ---- tests ---- */

static struct transport_loop *loop(void)
{
    return transport_loop(transport, 0);
}

static void a_call_tells_head_body_and_end(void **state)
{
    struct probe p;
    probe_init(&p, loop(), script_server_port(server), "/hello", "{}");
    probe_run(&p);
    assert_int_equal(p.started, 0);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_int_equal(p.status, 200);
    assert_string_equal(p.body.p, "hello");
    assert_true(probe_has_header(&p, "x-one: 1"));
    assert_int_equal(p.n_ends, 1);
    probe_done(&p);
}

static void a_request_has_only_what_it_was_given(void **state)
{
    struct chat_pair headers[] = { { STR("content-type"), STR("application/json") },
                                   { STR("x-empty"), STR("") } };
    struct probe p;
    probe_init(&p, loop(), script_server_port(server), "/request?a=1", "{\"x\":1}");
    p.spec.headers = headers;
    p.spec.n_headers = 2;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    char want[512];
    (void)snprintf(want, sizeof(want),
                   "POST /request?a=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                   "content-type: application/json\r\nx-empty:\r\nContent-Length: 7\r\n{\"x\":1}",
                   script_server_port(server));
    assert_string_equal(p.body.p, want);
    probe_done(&p);
}

static void cancel(struct probe *p)
{
    call_cancel(p->call);
}

static void a_cancelled_call_ends_at_once(void **state)
{
    struct probe p;
    probe_init(&p, loop(), script_server_port(server), "/stall", "{}");
    probe_start(&p);
    script_nap(50);
    probe_on_loop(&p, cancel);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    assert_true(p.end.was_sent);
    probe_done(&p);
}

static int open_all(void **state)
{
    server = script_server_new(scripts);
    return transport_new(&transport, &(struct transport_config){ .loops = 2 });
}

static int close_all(void **state)
{
    transport = transport_free(transport);
    server = script_server_free(server);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_tells_head_body_and_end),
        cmocka_unit_test(a_request_has_only_what_it_was_given),
        cmocka_unit_test(a_cancelled_call_ends_at_once),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_all, close_all);
}
