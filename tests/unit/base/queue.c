#include "tests/support/test.h"

#include "base/clock.h"
#include "base/queue.h"
#include "base/thread.h"

#include <errno.h>
#include <stdatomic.h>

static void a_put_moves_or_leaves_the_item(void **state)
{
    CLEANUP(queue_freep) struct queue *q = NULL;
    int a = 1, b = 2;
    void *item = &a, *other = &b, *got = NULL;
    (void)state;
    assert_int_equal(queue_new(&q, 1), 0);
    assert_int_equal(queue_get(q, &got, 0), -ETIMEDOUT);
    assert_int_equal(queue_put(q, &item), 0);
    assert_null(item);
    assert_int_equal(queue_put(q, &other), -EAGAIN);
    assert_ptr_equal(other, &b);
    assert_int_equal(queue_len(q), 1);
    assert_int_equal(queue_get(q, &got, 0), 0);
    assert_ptr_equal(got, &a);
    queue_close(q);
    assert_int_equal(queue_put(q, &other), -EPIPE);
    assert_int_equal(queue_get(q, &got, CLOCK_NEVER), -EPIPE);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    CLEANUP(queue_freep) struct queue *q = NULL;
    void *got = NULL;
    (void)state;
    assert_int_equal(queue_new(&q, 1), 0);
    uint64_t begin = clock_ms();
    assert_int_equal(queue_get(q, &got, begin + 30), -ETIMEDOUT);
    assert_true(clock_ms() >= begin + 30);
}

enum { ITEMS = 20000 };
static int items[ITEMS];
static _Atomic long long sum;

static void *take_all(void *arg)
{
    void *got;
    while (queue_get(arg, &got, CLOCK_NEVER) == 0)
        atomic_fetch_add(&sum, *(int *)got);
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    CLEANUP(queue_freep) struct queue *q = NULL;
    pthread_t takers[3];
    long long want = 0;
    (void)state;
    assert_int_equal(queue_new(&q, 16), 0);
    for (size_t i = 0; i < ARRAY_LEN(takers); i++)
        assert_int_equal(thread_start(&takers[i], THREAD_worker, take_all, q), 0);
    for (int i = 0; i < ITEMS; i++) {
        items[i] = i;
        want += i;
        void *item = &items[i];
        while (queue_put(q, &item) == -EAGAIN)
            (void)sched_yield();
    }
    queue_close(q);
    for (size_t i = 0; i < ARRAY_LEN(takers); i++)
        (void)pthread_join(takers[i], NULL);
    assert_true(atomic_load(&sum) == want);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_moves_or_leaves_the_item),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
        cmocka_unit_test(nothing_is_lost_between_threads),
    };
    return TEST_RUN(tests);
}
