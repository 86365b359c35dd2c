/*
 * Transport: its loops, under many calls, without descriptors, and at the end.
 */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
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

static void flood(struct script_peer *peer)
{
    static const char piece[32768] = "";
    bool goes = script_say(peer, HEAD "Connection: close\r\n\r\n");
    while (goes)
        goes = script_send(peer, (struct str){ piece, sizeof(piece) });
}

static const struct script scripts[] = {
    { "/stall", stall },
    { "/flood", flood },
    { "/events", say_events },
    { NULL, say_hello },
};

/* ---- many ---- */

static void many_streams_run_at_once(void **state)
{
    enum { STREAMS = 500 };
    struct probe *p = calloc(STREAMS, sizeof(*p));
    assert_non_null(p);
    for (unsigned i = 0; i < STREAMS; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "/events/%u", i);
        probe_init(&p[i], transport_loop(transport, i), script_server_port(server), path, "{}");
        probe_start(&p[i]);
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        char want[512] = "";
        size_t n = 0;
        for (unsigned j = 0; j < 5; j++)
            n += (size_t)snprintf(want + n, sizeof(want) - n, "data: /events/%u %u\n\n", i, j);
        probe_wait(&p[i]);
        assert_int_equal(p[i].end.outcome, CALL_complete);
        assert_string_equal(p[i].body.p, want);
        probe_done(&p[i]);
    }
    free(p);
}

static void start_all(struct probe *first)
{
    for (struct probe *p = first + 1; p->loop; p++)
        probe_start(p); /* all in the next turn */
}

/* More than a loop gathers, of what calls have written, before it lets them go. */
static void many_calls_of_one_turn_all_go_out(void **state)
{
    fixture_renew();
    enum { CALLS = 300 };
    struct probe *p = calloc(CALLS + 1, sizeof(*p)); /* the last has no loop */
    assert_non_null(p);
    for (unsigned i = 0; i < CALLS; i++)
        probe_init(&p[i], transport_loop(transport, 0), script_server_port(server), "/hello", "{}");
    probe_on_loop(&p[0], start_all);
    for (unsigned i = 1; i < CALLS; i++) {
        probe_wait(&p[i]);
        assert_int_equal(p[i].end.outcome, CALL_complete);
        assert_string_equal(p[i].body.p, "hello");
    }
    for (unsigned i = 0; i < CALLS; i++)
        probe_done(&p[i]);
    free(p);
}

static void no_descriptors_is_our_failure(void **state)
{
    fixture_renew();
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int lowest = dup(0);
    assert_true(lowest > 0);
    (void)close(lowest);
    struct rlimit few = { (rlim_t)lowest, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct call_end end = probe_one("/hello");
    struct probe p;
    probe_to(&p, "/");
    probe_url(&p, "http://no-such-host.invalid/");
    probe_run(&p);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(end.outcome, CALL_failed);
    assert_int_equal(p.end.outcome, CALL_failed);
    probe_done(&p);
    assert_int_equal(probe_one("/hello").outcome, CALL_complete);
}

static void cancel(struct probe *p)
{
    call_cancel(p->call);
}

static void calls_that_wait_for_a_connection_can_leave(void **state)
{
    transport = transport_free(transport);
    assert_int_equal(
        transport_new(&transport, &(struct transport_config){ .loops = 1, .max_connections = 1 }),
        0);
    struct probe p[4]; /* has the connection, is cancelled, runs out of time, gets its turn */
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        probe_to(&p[i], i ? "/hello" : "/stall");
        if (i == 2)
            p[i].spec.connect_ms = 100;
        probe_start(&p[i]);
    }
    script_nap(30);
    probe_on_loop(&p[1], cancel);
    probe_wait(&p[1]);
    probe_wait(&p[2]);
    probe_on_loop(&p[0], cancel);
    probe_wait(&p[0]);
    probe_wait(&p[3]);
    static const enum call_outcome want[] = { CALL_cancelled, CALL_cancelled, CALL_timeout_connect,
                                              CALL_complete };
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        assert_int_equal(p[i].end.outcome, want[i]);
        assert_int_equal(p[i].end.was_sent, i == 0 || i == 3);
        probe_done(&p[i]);
    }
    fixture_renew();
}

/* ---- tasks and timers ---- */

struct numbered {
    struct transport_task task;
    struct transport_timer timer;
    unsigned number;
};
static unsigned order[64], n_order;

static void note_task(struct transport_task *task)
{
    order[n_order++] = ((struct numbered *)task)->number;
}

static void nothing(struct probe *p) {}

static void tasks_run_in_order(void **state)
{
    struct numbered n[32];
    struct probe p;
    probe_to(&p, "/");
    n_order = 0;
    for (unsigned i = 0; i < ARRAY_LEN(n); i++) {
        n[i] = (struct numbered){ .task.run = note_task, .number = i };
        transport_post(fixture_loop(), &n[i].task);
    }
    probe_on_loop(&p, nothing);
    assert_int_equal(n_order, ARRAY_LEN(n));
    for (unsigned i = 0; i < n_order; i++)
        assert_int_equal(order[i], i);
    probe_done(&p);
}

static struct numbered timers[40];

static void note_timer(struct transport_timer *timer)
{
    order[n_order++] =
        (unsigned)((struct numbered *)((char *)timer - offsetof(struct numbered, timer)) - timers);
}

/* Set in a mixed order, some moved, every third cleared. */
static void set_timers(struct probe *p)
{
    uint64_t base = clock_ms() + 50;
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++) {
        unsigned at = i * 17 % (unsigned)ARRAY_LEN(timers);
        timers[at].timer.fire = note_timer;
        assert_int_equal(transport_timer_set(p->loop, &timers[at].timer, base + 1000 - at), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(timers); i++)
        assert_int_equal(transport_timer_set(p->loop, &timers[i].timer, base + i), 0);
    for (unsigned i = 0; i < ARRAY_LEN(timers); i += 3) {
        transport_timer_clear(p->loop, &timers[i].timer);
        transport_timer_clear(p->loop, &timers[i].timer);
    }
}

static unsigned n_seen; /* of n_order, which is the loop's */

static void see_order(struct probe *p)
{
    n_seen = n_order;
}

static void timers_fire_in_order(void **state)
{
    struct probe p;
    probe_to(&p, "/");
    n_order = 0;
    probe_on_loop(&p, set_timers);
    for (bool more = true; more;) {
        script_nap(100);
        unsigned before = n_seen;
        probe_on_loop(&p, see_order);
        more = !n_seen || n_seen > before;
    }
    unsigned want = 0;
    for (unsigned i = 0; i < n_order; i++, want++) {
        want += want % 3 == 0;
        assert_int_equal(order[i], want);
    }
    assert_int_equal(n_order, 26);
    probe_done(&p);
}

/* ---- the end ---- */

static void count_and_pause(struct probe *p, struct str bytes)
{
    call_pause(p->call, true);
}

static void what_is_under_way_is_cancelled_at_the_end(void **state)
{
    struct probe p[20];
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        static const char *const paths[] = { "/stall", "/flood" };
        probe_init(&p[i], transport_loop(transport, (unsigned)i), script_server_port(server),
                   paths[i % 2], "{}");
        if (i % 2)
            p[i].on_body = count_and_pause;
        probe_start(&p[i]);
    }
    script_nap(100);
    fixture_renew();
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        probe_wait(&p[i]);
        assert_int_equal(p[i].n_ends, 1);
        assert_int_equal(p[i].end.outcome, CALL_cancelled);
        probe_done(&p[i]);
    }
}

enum { POSTERS = 4, POSTS = 2000 };
static atomic_uint ran, posters_done;

static void count_task(struct transport_task *task)
{
    (void)atomic_fetch_add(&ran, 1);
    free(task);
}

static void *post_many(void *arg)
{
    struct transport *t = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        struct transport_task *task = calloc(1, sizeof(*task));
        task->run = count_task;
        transport_post(transport_loop(t, i), task);
    }
    (void)atomic_fetch_add(&posters_done, 1);
    return NULL;
}

/* The loop may not end before all have posted: what is posted meanwhile must run. */
static void wait_posters(struct transport_task *task)
{
    while (atomic_load(&posters_done) < POSTERS)
        script_nap(1);
}

static void tasks_posted_during_the_end_run(void **state)
{
    for (unsigned round = 0; round < 5; round++) {
        struct transport *t = NULL;
        assert_int_equal(transport_new(&t, &(struct transport_config){ .loops = 2 }), 0);
        atomic_store(&ran, 0);
        atomic_store(&posters_done, 0);
        struct transport_task gate = { .run = wait_posters };
        transport_post(transport_loop(t, 1), &gate);
        pthread_t threads[POSTERS];
        for (unsigned i = 0; i < POSTERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, post_many, t), 0);
        t = transport_free(t);
        assert_int_equal(atomic_load(&ran), POSTERS * POSTS);
        for (unsigned i = 0; i < POSTERS; i++)
            (void)pthread_join(threads[i], NULL);
    }
}

static int open_all(void **state)
{
    return fixture_open(scripts);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_streams_run_at_once),
        cmocka_unit_test(many_calls_of_one_turn_all_go_out),
        cmocka_unit_test(no_descriptors_is_our_failure),
        cmocka_unit_test(calls_that_wait_for_a_connection_can_leave),
        cmocka_unit_test(tasks_run_in_order),
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(what_is_under_way_is_cancelled_at_the_end),
        cmocka_unit_test(tasks_posted_during_the_end_run),
    };
    test_begin();
    return cmocka_run_group_tests(tests, open_all, fixture_close);
}
