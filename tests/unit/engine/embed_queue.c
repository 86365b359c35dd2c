/*
 * Shared steps, with a backend that only notes what it is given.
 */
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/thread.h"
#include "engine/local/embed_queue.h"

enum { MAX_STEPS = 64 };

struct noted {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;       /* steps wait while it is set */
    unsigned in_steps; /* threads inside: never more than one */
    size_t n;
    struct {
        size_t tasks, rows;
        int32_t owners[8]; /* ids[0] of the first tasks */
    } steps[MAX_STEPS];
    uint32_t rows_each; /* rows that a step gives a task; 0: all */
    int error;          /* of every step */
};

static int note_step(void *owner, struct embed_task *const *tasks, size_t n)
{
    struct noted *b = owner;
    LOCKED(&b->lock);
    assert_int_equal(b->in_steps++, 0);
    assert_true(b->n < MAX_STEPS && n > 0);
    while (b->closed)
        (void)pthread_cond_wait(&b->changed, &b->lock);
    b->steps[b->n].tasks = n;
    for (size_t i = 0; i < n; i++) {
        if (i < 8)
            b->steps[b->n].owners[i] = tasks[i]->ids[0];
        b->steps[b->n].rows += tasks[i]->n;
        tasks[i]->at += b->rows_each ? b->rows_each : tasks[i]->n;
        tasks[i]->done = tasks[i]->at >= tasks[i]->n;
        if (tasks[i]->done)
            tasks[i]->out[0] = (float)tasks[i]->ids[0];
    }
    b->n++;
    b->in_steps--;
    (void)pthread_cond_broadcast(&b->changed);
    return b->error;
}

static void noted_init(struct noted *b)
{
    memset(b, 0, sizeof(*b));
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->changed, NULL);
}

static void set_closed(struct noted *b, bool closed)
{
    LOCKED(&b->lock);
    b->closed = closed;
    (void)pthread_cond_broadcast(&b->changed);
}

static struct embed_queue *queue_over(struct noted *b, uint32_t tasks, uint32_t rows, size_t calls)
{
    struct embed_backend backend = { b, tasks, rows, note_step };
    struct embed_queue *q = NULL;
    noted_init(b);
    assert_int_equal(embed_queue_new(&q, &backend, calls), 0);
    return q;
}

struct caller {
    pthread_t thread;
    struct embed_queue *q;
    int32_t id;
    size_t n;      /* tasks */
    uint32_t rows; /* of each */
    int result;
    struct fail fail;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    struct embed_task tasks[16] = { { 0 } };
    float out[16] = { 0 };
    for (size_t i = 0; i < c->n; i++)
        tasks[i] = (struct embed_task){ .ids = &c->id, .n = c->rows, .out = &out[i] };
    c->result = embed_queue_run(c->q, tasks, c->n, &c->fail);
    for (size_t i = 0; c->result == 0 && i < c->n; i++)
        assert_true(tasks[i].done && out[i] == (float)c->id);
    return NULL;
}

static void start(struct caller *c, struct embed_queue *q, int32_t id, size_t n, uint32_t rows)
{
    *c = (struct caller){ .q = q, .id = id, .n = n, .rows = rows };
    assert_int_equal(thread_start(&c->thread, THREAD_worker, call, c), 0);
}

static void wait_for_calls(struct embed_queue *q, size_t want_running, size_t want_waiting)
{
    uint64_t until = clock_ms() + 20000;
    const struct timespec nap = { .tv_nsec = 200000 };
    size_t running = 0, waiting = 0;
    embed_queue_load(q, &running, &waiting);
    while ((running != want_running || waiting != want_waiting) && clock_ms() < until) {
        (void)nanosleep(&nap, NULL);
        embed_queue_load(q, &running, &waiting);
    }
    assert_int_equal(running, want_running);
    assert_int_equal(waiting, want_waiting);
}

static void fills_steps_up_to_their_rows_and_tasks(void **state)
{
    static const struct {
        size_t n;
        uint32_t rows, most_tasks, most_rows;
        size_t steps, first;
    } rows[] = {
        { 5, 2, 16, 8, 2, 4 },    { 5, 2, 3, 100, 2, 3 }, { 3, 9, 16, 8, 3, 1 },
        { 16, 1, 16, 16, 1, 16 }, { 1, 1, 1, 1, 1, 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct noted b;
        CLEANUP(embed_queue_freep)
        struct embed_queue *q = queue_over(&b, rows[i].most_tasks, rows[i].most_rows, 4);
        struct caller c = { .q = q, .id = 7, .n = rows[i].n, .rows = rows[i].rows };
        (void)call(&c);
        assert_int_equal(c.result, 0);
        assert_int_equal(b.n, rows[i].steps);
        assert_int_equal(b.steps[0].tasks, rows[i].first);
    }
}

static void takes_tasks_of_waiting_calls_in_turn(void **state)
{
    struct noted b;
    struct caller large, small, other;
    CLEANUP(embed_queue_freep) struct embed_queue *q = queue_over(&b, 2, 100, 4);
    set_closed(&b, true);
    start(&large, q, 1, 8, 1);
    wait_for_calls(q, 1, 0);
    start(&small, q, 2, 1, 1);
    wait_for_calls(q, 1, 1);
    start(&other, q, 3, 1, 1);
    wait_for_calls(q, 1, 2);
    set_closed(&b, false);
    assert_int_equal(pthread_join(small.thread, NULL), 0);
    assert_int_equal(pthread_join(other.thread, NULL), 0);
    assert_int_equal(pthread_join(large.thread, NULL), 0);
    assert_int_equal(b.n, 5);
    assert_int_equal(b.steps[1].owners[0], 1);
    assert_int_equal(b.steps[1].owners[1], 2);
    assert_int_equal(b.steps[2].owners[0], 3); /* before the large call's fifth */
}

static void goes_on_with_tasks_that_a_step_did_not_finish(void **state)
{
    struct noted b;
    struct caller c;
    CLEANUP(embed_queue_freep) struct embed_queue *q = queue_over(&b, 2, 100, 4);
    b.rows_each = 3;
    c = (struct caller){ .q = q, .id = 5, .n = 3, .rows = 8 };
    (void)call(&c);
    assert_int_equal(c.result, 0);
    assert_int_equal(b.n, 6); /* ⌈8 / 3⌉ for two, and again for the third */
}

static void hands_every_call_the_error_of_its_step(void **state)
{
    struct noted b;
    struct caller c;
    CLEANUP(embed_queue_freep) struct embed_queue *q = queue_over(&b, 2, 100, 4);
    b.error = -ENOMEM;
    b.rows_each = 1;
    c = (struct caller){ .q = q, .id = 5, .n = 5, .rows = 8 };
    (void)call(&c);
    assert_int_equal(c.result, -ENOMEM);
    b.error = 0;
    b.rows_each = 0;
    (void)call(&c);
    assert_int_equal(c.result, 0);
}

static void refuses_calls_past_the_bound_and_while_draining(void **state)
{
    struct noted b;
    struct caller first, second, third = { .n = 1, .rows = 1 };
    CLEANUP(embed_queue_freep) struct embed_queue *q = queue_over(&b, 2, 100, 2);
    set_closed(&b, true);
    start(&first, q, 1, 2, 1);
    wait_for_calls(q, 1, 0);
    start(&second, q, 2, 1, 1);
    wait_for_calls(q, 1, 1);
    third.q = q;
    (void)call(&third);
    assert_int_equal(third.result, FAILED);
    assert_int_equal(third.fail.code, FAIL_queue_full);
    assert_true(third.fail.retry_after_s > 0);
    embed_queue_drain(q);
    set_closed(&b, false);
    assert_int_equal(pthread_join(first.thread, NULL), 0);
    assert_int_equal(pthread_join(second.thread, NULL), 0);
    assert_int_equal(first.result, 0);
    assert_int_equal(second.result, 0);
    (void)call(&third);
    assert_int_equal(third.result, FAILED);
    assert_int_equal(third.fail.code, FAIL_overloaded);
}

static void is_freed_only_behind_its_last_call(void **state)
{
    struct noted b;
    struct caller c[4];
    struct embed_queue *q = queue_over(&b, 1, 100, 8);
    set_closed(&b, true);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        start(&c[i], q, (int32_t)i, 3, 1);
    wait_for_calls(q, 1, 3);
    set_closed(&b, false);
    assert_null(embed_queue_free(q));
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        assert_int_equal(pthread_join(c[i].thread, NULL), 0);
        assert_int_equal(c[i].result, 0);
    }
    assert_int_equal(b.n, 12);
    assert_null(embed_queue_free(NULL));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_steps_up_to_their_rows_and_tasks),
        cmocka_unit_test(takes_tasks_of_waiting_calls_in_turn),
        cmocka_unit_test(goes_on_with_tasks_that_a_step_did_not_finish),
        cmocka_unit_test(hands_every_call_the_error_of_its_step),
        cmocka_unit_test(refuses_calls_past_the_bound_and_while_draining),
        cmocka_unit_test(is_freed_only_behind_its_last_call),
    };
    return TEST_RUN(tests);
}
