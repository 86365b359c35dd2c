/* One ring, threads that put and threads that read: it stays whole and within its bounds. */
#include "gateway/replay.h"
#include "base/str.h"
#include "base/thread.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

enum { WRITERS = 3, READERS = 2, ROUNDS = 3000, RECORDS = 64, BYTES = 64 * 1024 };

static struct replay *ring;

static void *put_many(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (size_t i = 0; i < ROUNDS; i++) {
        char id[32], decision[8];
        int n = snprintf(id, sizeof(id), "%llu-%zu", (unsigned long long)(uintptr_t)arg, i);
        int d = snprintf(decision, sizeof(decision), "d%u", (unsigned)(test_random(&seed) % 5));
        struct replay_record r = { .id = { id, (size_t)n },
                                   .decision = { decision, (size_t)d },
                                   .summary = { id, (size_t)n },
                                   .max_records = test_random(&seed) % 20 };
        if (replay_put(ring, &r) != 0)
            abort();
    }
    return NULL;
}

static void *read_many(void *arg)
{
    for (size_t i = 0; i < ROUNDS / 10; i++) {
        struct buf b = BUF_INIT(1 << 20);
        struct replay_query q = { .limit = 100, .details = true };
        replay_list(ring, &q, &b);
        replay_aggregate(ring, &q, &b);
        (void)replay_show(ring, STR("1-5"), &b);
        struct replay_usage u = replay_usage(ring);
        if (buf_err(&b) < 0 || u.records > RECORDS || u.bytes > BYTES)
            abort();
        buf_done(&b);
    }
    return arg;
}

int main(void)
{
    pthread_t threads[WRITERS + READERS];
    ring = replay_new(RECORDS, BYTES);
    if (!ring)
        return EXIT_FAILURE;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        if (pthread_create(&threads[i], NULL, i < WRITERS ? put_many : read_many,
                           (void *)(uintptr_t)(i + 1)) != 0)
            return EXIT_FAILURE;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        (void)pthread_join(threads[i], NULL);
    ring = replay_free(ring);
    return EXIT_SUCCESS;
}
