/*
 * Transport: connections, pauses, deadlines, ends in the middle, many at once, threads.
 */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/upstream/transport.h"
#include "tests/unit/engine/upstream/script_fixture.h"

#define HEAD "HTTP/1.1 200 OK\r\n"
#define HELLO HEAD "Content-Length: 5\r\n\r\nhello"

/* ---- scripts ---- */

static void say_hello(struct script_peer *peer)
{
    peer->keep = script_say(peer, HELLO);
}

static void stall(struct script_peer *peer)
{
    (void)script_wait_close(peer, 15000);
}

static void stall_after_head(struct script_peer *peer)
{
    (void)script_say(peer, HEAD "Content-Length: 100\r\n\r\nhello");
    (void)script_wait_close(peer, 15000);
}

/* The first request of a connection is answered; at the second it ends, as the target says. */
static void die_second(struct script_peer *peer)
{
    if (peer->n_requests == 1) {
        say_hello(peer);
        return;
    }
    if (strstr(peer->target, "after-line"))
        (void)script_say(peer, "HTTP/1.1 200 OK\r\n");
    if (strstr(peer->target, "after-100"))
        (void)script_say(peer, "HTTP/1.1 100 Continue\r\n\r\n");
    script_nap(20);
    if (strstr(peer->target, "reset"))
        script_reset(peer);
}

static void die_always(struct script_peer *peer)
{
    if (peer->n_requests == 1 && strstr(peer->target, "first"))
        say_hello(peer);
}

static _Atomic uint64_t flooded; /* bytes of a flood that were taken from its server */
enum { FLOOD_PIECE = 32768, FLOOD_PIECES = 1024 };

static void flood(struct script_peer *peer)
{
    char piece[FLOOD_PIECE];
    char head[128];
    (void)snprintf(head, sizeof(head), HEAD "Content-Length: %u\r\n\r\n",
                   FLOOD_PIECE * FLOOD_PIECES);
    peer->keep = script_say(peer, head);
    atomic_store(&flooded, 0);
    for (unsigned i = 0; i < FLOOD_PIECES && peer->keep; i++) {
        for (size_t j = 0; j < sizeof(piece); j++)
            piece[j] = (char)('a' + ((size_t)i * FLOOD_PIECE + j) % 23);
        peer->keep = script_send(peer, (struct str){ piece, sizeof(piece) });
        (void)atomic_fetch_add(&flooded, sizeof(piece));
    }
}

static _Atomic int closed_after_ms;

static void drip(struct script_peer *peer)
{
    (void)script_say(peer, HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 1000; i++) {
        if (!script_say(peer, "5\r\nhello\r\n"))
            return;
        int r = script_wait_close(peer, 10);
        if (r >= 0) {
            atomic_store(&closed_after_ms, r);
            return;
        }
    }
}

static void say_events(struct script_peer *peer)
{
    peer->keep = script_say(peer, HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 5 && peer->keep; i++) {
        script_nap(20);
        char text[128], chunk[160];
        (void)snprintf(text, sizeof(text), "data: %s %u\n\n", peer->target, i);
        (void)snprintf(chunk, sizeof(chunk), "%zx\r\n%s\r\n", strlen(text), text);
        peer->keep = script_say(peer, chunk);
    }
    peer->keep = peer->keep && script_say(peer, "0\r\n\r\n");
}

static void refuse_body(struct script_peer *peer)
{
    (void)script_say(peer, "HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    script_nap(50);
}

/* Takes a body of SLOW_BYTES, and its time for it. */
enum { SLOW_BYTES = 16 << 20, SLOW_PIECE = 65536, SLOW_PAUSE_MS = 5 };

static void take_slowly(struct script_peer *peer)
{
    char *piece = malloc(SLOW_PIECE);
    size_t n = peer->body.n;
    ssize_t got = 1;
    while (piece && n < SLOW_BYTES && got > 0) {
        got = recv(peer->fd, piece, SLOW_PIECE, 0);
        n += got > 0 ? (size_t)got : 0;
        script_nap(SLOW_PAUSE_MS);
    }
    free(piece);
    (void)script_say(peer, HEAD "Content-Length: 2\r\nConnection: close\r\n\r\nok");
}

static void say_length(struct script_peer *peer)
{
    unsigned sum = 0;
    for (size_t i = 0; i < peer->body.n; i++)
        sum = sum * 31 + (unsigned char)peer->body.p[i];
    char text[64], all[128];
    (void)snprintf(text, sizeof(text), "%zu %u", peer->body.n, sum);
    (void)snprintf(all, sizeof(all), HEAD "Content-Length: %zu\r\n\r\n%s", strlen(text), text);
    peer->keep = script_say(peer, all);
}

static const struct script scripts[] = {
    { "/stall-head", stall_after_head },
    { "/stall", stall },
    { "/die-second", die_second },
    { "/die", die_always },
    { "/flood", flood },
    { "/drip", drip },
    { "/events", say_events },
    { "/unread/slow", take_slowly },
    { "/unread", refuse_body },
    { "/length", say_length },
    { NULL, say_hello },
};

/* ---- connections ---- */

static void connections_are_used_again(void **state)
{
    fixture_renew();
    unsigned before = script_server_connections(server);
    for (unsigned i = 0; i < 10; i++) {
        struct call_end end = probe_one("/hello");
        assert_int_equal(end.outcome, CALL_complete);
        assert_int_equal(end.was_reused, i > 0);
    }
    assert_int_equal(script_server_connections(server) - before, 1);
}

static void the_environments_proxies_are_not_used(void **state)
{
    static const char *const names[] = { "http_proxy", "ALL_PROXY", "all_proxy" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(setenv(names[i], "http://127.0.0.1:1", /* overwrite= */ 1), 0);
    fixture_renew();
    enum call_outcome outcome = probe_one("/hello").outcome;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        (void)unsetenv(names[i]);
    assert_int_equal(outcome, CALL_complete);
}

/* What is written is gathered until nothing more comes in. The kernel would let what is forgotten
 * go after 200 ms: these calls would take ten seconds, where they take a fraction of one. */
static void what_is_gathered_is_not_forgotten(void **state)
{
    enum { CALLS = 100, LARGE = 70001, LIMIT_S = 4 };
    char *body = calloc(1, LARGE);
    assert_non_null(body);
    memset(body, 'a', LARGE);
    uint64_t since = clock_us();
    for (unsigned i = 0; i < CALLS; i++) {
        if (i % 10 == 0)
            fixture_renew(); /* the next one's connection is new */
        struct probe p;
        probe_to(&p, "/length");
        p.spec.body = (struct str){ body, i % 2 ? LARGE : i };
        probe_run(&p);
        assert_int_equal(p.end.outcome, CALL_complete);
        assert_int_equal(p.end.was_reused, i % 10 != 0);
        probe_done(&p);
    }
    assert_true(clock_us() - since < LIMIT_S * 1000000ull);
    free(body);
}

static void a_dead_pooled_connection_is_replaced_once(void **state)
{
    static const char *const paths[] = { "/die-second", "/die-second/reset" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        fixture_renew();
        unsigned connections = script_server_connections(server);
        unsigned requests = script_server_requests(server);
        assert_int_equal(probe_one(paths[i]).outcome, CALL_complete);
        assert_int_equal(probe_one(paths[i]).outcome, CALL_complete);
        assert_int_equal(script_server_connections(server) - connections, 2);
        assert_int_equal(script_server_requests(server) - requests, 3);
    }
}

static void no_request_is_sent_a_third_time(void **state)
{
    fixture_renew();
    /* several pooled ones, all of which die under the next request */
    struct probe p[4];
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        probe_to(&p[i], "/die/first"); /* the first of a connection is answered */
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        probe_start(&p[i]);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        probe_wait(&p[i]);
        assert_int_equal(p[i].end.outcome, CALL_complete);
        probe_done(&p[i]);
    }
    unsigned requests = script_server_requests(server);
    struct call_end end = probe_one("/die/never");
    assert_int_equal(end.outcome, CALL_broken);
    assert_true(end.was_sent);
    assert_int_equal(script_server_requests(server) - requests, 2);
}

static void nothing_is_sent_again_after_a_byte_came(void **state)
{
    static const char *const paths[] = { "/die-second/after-line", "/die-second/after-line/reset",
                                         "/die-second/after-100", "/die-second/after-100/reset" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        fixture_renew();
        assert_int_equal(probe_one(paths[i]).outcome, CALL_complete);
        unsigned requests = script_server_requests(server);
        struct call_end end = probe_one(paths[i]);
        assert_int_equal(end.outcome, CALL_broken);
        assert_true(end.was_reused);
        assert_int_equal(script_server_requests(server) - requests, 1);
    }
}

static void a_fresh_connection_that_dies_is_not_tried_again(void **state)
{
    fixture_renew();
    unsigned requests = script_server_requests(server);
    assert_int_equal(probe_one("/die/never").outcome, CALL_broken);
    assert_int_equal(script_server_requests(server) - requests, 1);
}

static void connections_to_a_host_are_bounded(void **state)
{
    transport = transport_free(transport);
    assert_int_equal(
        transport_new(&transport, &(struct transport_config){ .loops = 1, .max_connections = 3 }),
        0);
    unsigned before = script_server_connections(server);
    struct probe p[12];
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        probe_to(&p[i], "/events");
        probe_start(&p[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        probe_wait(&p[i]);
        assert_int_equal(p[i].end.outcome, CALL_complete);
        probe_done(&p[i]);
    }
    assert_int_equal(script_server_connections(server) - before, 3);
    fixture_renew();
}

static void who_cannot_be_reached_is_called_so(void **state)
{
    static const char *const urls[] = { "http://127.0.0.1:1/", "http://no-such-host.invalid/",
                                        "https://127.0.0.1:1/" };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct probe p;
        probe_to(&p, "/");
        probe_url(&p, urls[i]);
        probe_run(&p);
        assert_int_equal(p.end.outcome, CALL_unreachable);
        assert_false(p.end.was_sent);
        assert_int_equal(p.end.connect_us, 0);
        probe_done(&p);
    }
}

/* The first address of the name refuses, on a system that has it; the next gets its descriptor. */
static void another_address_of_a_name_is_tried(void **state)
{
    for (unsigned i = 0; i < 20; i++) {
        if (i % 4 == 0)
            fixture_renew();
        char url[64];
        (void)snprintf(url, sizeof(url), "http://localhost:%u/hello", script_server_port(server));
        struct probe p;
        probe_to(&p, "/");
        probe_url(&p, url);
        p.spec.connect_ms = 3000;
        probe_run(&p);
        assert_int_equal(p.end.outcome, CALL_complete);
        probe_done(&p);
    }
}

/* ---- bodies ---- */

static void a_large_body_arrives_whole(void **state)
{
    size_t n = 10 * MIB;
    char *body = malloc(n);
    assert_non_null(body);
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        body[i] = (char)('a' + i % 19);
        sum = sum * 31 + (unsigned char)body[i];
    }
    char want[64];
    (void)snprintf(want, sizeof(want), "%zu %u", n, sum);
    struct probe p;
    probe_to(&p, "/length");
    p.spec.body = (struct str){ body, n };
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_string_equal(p.body.p, want);
    assert_int_equal(p.end.sent, n);
    probe_done(&p);
    free(body);
}

static void an_answer_before_the_body_is_out_is_told(void **state)
{
    fixture_renew();
    size_t n = 10 * MIB;
    char *body = calloc(1, n);
    assert_non_null(body);
    struct probe p;
    probe_to(&p, "/unread");
    p.spec.body = (struct str){ body, n };
    probe_run(&p);
    assert_int_equal(p.status, 413);
    assert_int_equal(p.end.outcome, CALL_complete);
    probe_done(&p);
    free(body);
}

/* ---- pauses ---- */

static void pause_it(struct probe *p)
{
    call_pause(p->call, true);
}

static void go_on(struct probe *p)
{
    call_pause(p->call, false);
}

static void count_and_pause(struct probe *p, struct str bytes)
{
    call_pause(p->call, true);
}

static size_t seen; /* of the body, which is the loop's while the call runs */

static void look(struct probe *p)
{
    seen = p->body.n;
}

static void let_flow(struct probe *p)
{
    p->on_body = NULL;
    call_pause(p->call, false);
}

static void a_paused_call_holds_the_other_side_back(void **state)
{
    enum { TOLD_MOST = 16384 }; /* curl's largest piece */
    uint64_t kernel_most = 24 * MIB;
    struct probe p;
    probe_to(&p, "/flood");
    p.on_head = pause_it;
    p.on_body = count_and_pause;
    probe_start(&p);
    uint64_t before = 1;
    for (unsigned i = 0; i < 100 && (before != atomic_load(&flooded) || !before); i++) {
        before = atomic_load(&flooded);
        script_nap(50);
    }
    probe_on_loop(&p, look);
    assert_int_equal(seen, 0);
    assert_true(atomic_load(&flooded) < kernel_most);
    for (unsigned i = 0; i < 50; i++) {
        size_t before_it = seen;
        probe_on_loop(&p, go_on);
        for (unsigned j = 0; j < 2000 && seen == before_it; j++) {
            script_nap(1);
            probe_on_loop(&p, look);
        }
        assert_true(seen > before_it && seen - before_it <= TOLD_MOST);
    }
    probe_on_loop(&p, let_flow);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_int_equal(p.body.n, FLOOD_PIECE * FLOOD_PIECES);
    for (size_t i = 0; i < p.body.n; i++)
        if (p.body.p[i] != (char)('a' + i % 23))
            fail_msg("byte %zu is not its own", i);
    probe_done(&p);
}

static void stop_and_go(struct probe *p, struct str bytes)
{
    call_pause(p->call, true);
    if (p->n_bodies % 2)
        call_pause(p->call, false);
    else
        transport_post(p->loop, &p->task);
}

static void go_on_task(struct transport_task *task)
{
    struct probe *p = (struct probe *)((char *)task - offsetof(struct probe, task));
    if (p->call)
        call_pause(p->call, false);
}

static void set_task(struct probe *p)
{
    p->task.run = go_on_task;
}

static void a_call_paused_within_its_callbacks_loses_nothing(void **state)
{
    struct probe p;
    probe_to(&p, "/flood");
    p.on_head = set_task;
    p.on_body = stop_and_go;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_int_equal(p.body.n, FLOOD_PIECE * FLOOD_PIECES);
    probe_on_loop(&p, set_task); /* the last posted task ran */
    probe_done(&p);
}

static void a_pause_at_the_end_still_ends(void **state)
{
    struct probe p;
    probe_to(&p, "/hello");
    p.on_head = pause_it;
    probe_start(&p);
    script_nap(50);
    probe_on_loop(&p, go_on);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_int_equal(p.body.n, 5);
    probe_done(&p);
}

/* ---- ends in the middle ---- */

static void cancel(struct probe *p)
{
    call_cancel(p->call);
}

static void cancel_at_body(struct probe *p, struct str bytes)
{
    call_cancel(p->call);
    call_cancel(p->call);
}

static void a_cancelled_call_closes_its_connection(void **state)
{
    fixture_renew();
    struct probe p;
    probe_to(&p, "/drip");
    atomic_store(&closed_after_ms, -1);
    probe_start(&p);
    script_nap(100);
    probe_on_loop(&p, cancel);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    assert_true(p.end.has_head);
    for (unsigned i = 0; i < 500 && atomic_load(&closed_after_ms) < 0; i++)
        script_nap(10);
    assert_true(atomic_load(&closed_after_ms) >= 0);
    unsigned before = script_server_connections(server);
    assert_false(probe_one("/hello").was_reused);
    assert_int_equal(script_server_connections(server) - before, 1);
    probe_done(&p);
}

static void a_call_cancelled_anywhere_ends_once(void **state)
{
    struct probe p;
    probe_to(&p, "/drip");
    p.on_head = cancel;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    assert_int_equal(p.n_bodies, 0);
    probe_done(&p);

    probe_to(&p, "/drip");
    p.on_body = cancel_at_body;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    assert_int_equal(p.n_bodies, 1);
    assert_int_equal(p.n_ends, 1);
    probe_done(&p);

    probe_to(&p, "/hello"); /* told with its last byte */
    p.on_body = cancel_at_body;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    assert_int_equal(p.n_ends, 1);
    probe_done(&p);

    probe_to(&p, "/stall");
    probe_start(&p);
    script_nap(30);
    probe_on_loop(&p, cancel);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    assert_true(p.end.was_sent);
    probe_done(&p);

    probe_to(&p, "/flood"); /* while it is paused */
    p.on_body = count_and_pause;
    probe_start(&p);
    script_nap(50);
    probe_on_loop(&p, cancel);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_cancelled);
    probe_done(&p);
}

/* Hedging: the one that speaks first cancels the other, from inside of its own callback. */
static void cancel_other(struct probe *p)
{
    struct probe *other = p->owner;
    if (other->call)
        call_cancel(other->call);
}

static void a_call_cancels_another(void **state)
{
    for (unsigned round = 0; round < 20; round++) {
        struct probe a, b;
        probe_to(&a, "/hello");
        probe_to(&b, round % 2 ? "/stall" : "/hello");
        a.owner = &b;
        b.owner = &a;
        a.on_head = b.on_head = cancel_other;
        probe_start(&b);
        probe_start(&a);
        probe_wait(&a);
        probe_wait(&b);
        assert_int_equal(a.n_ends + b.n_ends, 2);
        assert_true(a.end.outcome == CALL_complete || b.end.outcome == CALL_complete);
        if (round % 2)
            assert_int_equal(b.end.outcome, CALL_cancelled);
        probe_done(&a);
        probe_done(&b);
    }
}

static void start_next(struct probe *p)
{
    struct probe *next = p->owner;
    next->started = call_start(next->loop, &next->call, &next->spec);
    assert_int_equal(next->started, 0);
    assert_int_equal(next->n_ends, 0);
}

static void a_call_starts_others_from_its_callbacks(void **state)
{
    struct probe a, b, c;
    probe_to(&a, "/hello");
    probe_to(&b, "/hello");
    probe_to(&c, "/hello");
    a.owner = &b;
    a.on_head = start_next;
    b.owner = &c;
    b.on_end = start_next;
    probe_run(&a);
    probe_wait(&b);
    probe_wait(&c);
    assert_int_equal(a.end.outcome, CALL_complete);
    assert_int_equal(b.end.outcome, CALL_complete);
    assert_int_equal(c.end.outcome, CALL_complete);
    probe_done(&a);
    probe_done(&b);
    probe_done(&c);
}

/* ---- deadlines ---- */

static void deadlines_end_calls(void **state)
{
    enum { SPAN_MS = 150 };
    static const struct {
        const char *path;
        enum call_outcome outcome;
    } rows[] = {
        { "/stall", CALL_timeout_first },
        { "/stall-head", CALL_timeout_idle },
        { "/drip", CALL_timeout_total },
        { "/stall", CALL_timeout_total },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct probe p;
        probe_to(&p, rows[i].path);
        uint64_t start = clock_ms();
        if (rows[i].outcome == CALL_timeout_first)
            p.spec.first_byte_ms = SPAN_MS;
        else if (rows[i].outcome == CALL_timeout_idle)
            p.spec.idle_ms = SPAN_MS;
        else
            p.spec.deadline_ms = start + SPAN_MS;
        probe_run(&p);
        assert_int_equal(p.end.outcome, rows[i].outcome);
        assert_true(clock_ms() - start >= SPAN_MS);
        print_message("# %s after %lu us of %u ms\n", call_outcome_word(p.end.outcome),
                      (unsigned long)p.end.total_us, SPAN_MS);
        probe_done(&p);
    }
}

static void the_wait_for_an_answer_begins_when_the_body_is_out(void **state)
{
    char *body = calloc(1, SLOW_BYTES);
    assert_non_null(body);
    struct probe p;
    probe_to(&p, "/unread/slow"); /* takes above 1.5 s */
    p.spec.body = (struct str){ body, SLOW_BYTES };
    p.spec.first_byte_ms = 1000;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    assert_int_equal(p.end.sent, SLOW_BYTES);
    probe_done(&p);
    free(body);
}

static void connecting_has_its_deadline(void **state)
{
    /* one whose queue is full answers no SYN */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[8];
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    for (size_t i = 0; i < ARRAY_LEN(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&a, n);
    }
    script_nap(20);
    struct probe p;
    probe_init(&p, fixture_loop(), ntohs(a.sin_port), "/", "{}");
    p.spec.connect_ms = 150;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_timeout_connect);
    assert_false(p.end.was_sent);
    probe_done(&p);
    for (size_t i = 0; i < ARRAY_LEN(fill); i++)
        (void)close(fill[i]);
    (void)close(fd);
}

static void silence_does_not_count_while_paused(void **state)
{
    struct probe p;
    probe_to(&p, "/events");
    p.spec.idle_ms = 300;
    p.on_head = pause_it;
    probe_start(&p);
    script_nap(700);
    probe_on_loop(&p, go_on);
    probe_wait(&p);
    assert_int_equal(p.end.outcome, CALL_complete);
    probe_done(&p);
}

static void many_bytes_keep_silence_away(void **state)
{
    struct probe p;
    probe_to(&p, "/drip");
    p.spec.idle_ms = 400;
    p.spec.deadline_ms = clock_ms() + 1200;
    probe_run(&p);
    assert_int_equal(p.end.outcome, CALL_timeout_total);
    probe_done(&p);
}

static int open_all(void **state)
{
    return fixture_open(scripts);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_used_again),
        cmocka_unit_test(the_environments_proxies_are_not_used),
        cmocka_unit_test(what_is_gathered_is_not_forgotten),
        cmocka_unit_test(a_dead_pooled_connection_is_replaced_once),
        cmocka_unit_test(no_request_is_sent_a_third_time),
        cmocka_unit_test(nothing_is_sent_again_after_a_byte_came),
        cmocka_unit_test(a_fresh_connection_that_dies_is_not_tried_again),
        cmocka_unit_test(connections_to_a_host_are_bounded),
        cmocka_unit_test(who_cannot_be_reached_is_called_so),
        cmocka_unit_test(another_address_of_a_name_is_tried),
        cmocka_unit_test(a_large_body_arrives_whole),
        cmocka_unit_test(an_answer_before_the_body_is_out_is_told),
        cmocka_unit_test(a_paused_call_holds_the_other_side_back),
        cmocka_unit_test(a_call_paused_within_its_callbacks_loses_nothing),
        cmocka_unit_test(a_pause_at_the_end_still_ends),
        cmocka_unit_test(a_cancelled_call_closes_its_connection),
        cmocka_unit_test(a_call_cancelled_anywhere_ends_once),
        cmocka_unit_test(a_call_cancels_another),
        cmocka_unit_test(a_call_starts_others_from_its_callbacks),
        cmocka_unit_test(deadlines_end_calls),
        cmocka_unit_test(the_wait_for_an_answer_begins_when_the_body_is_out),
        cmocka_unit_test(connecting_has_its_deadline),
        cmocka_unit_test(silence_does_not_count_while_paused),
        cmocka_unit_test(many_bytes_keep_silence_away),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_all, fixture_close);
}
