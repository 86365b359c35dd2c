#include "engine/local/team.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/thread.h"

enum {
    TEAM_MAX = 256,
    PART_WORK = 1 << 17, /* multiply-adds that pay for waking the team: ~10 µs */
    PART_ALIGN = 32,     /* weight rows of a part: whole tiles */
    MEMBER_PARTS = 4,    /* of one piece of work, at most: a slow member holds little up */
    SPINS = 2000,        /* some 20 µs: the machine may be shared */
    PART_BITS = 24,
    PART_MASK = (1 << PART_BITS) - 1,
};

struct member {
    struct team *team;
    pthread_t thread;
    uint32_t index;
};

struct team {
    /*
     * generation << PART_BITS | parts not yet taken. A part is taken by counting down, in one
     * compare-and-swap: a member that comes late holds an old generation and takes nothing.
     */
    _Atomic uint64_t ticket;
    _Atomic uint32_t done; /* parts finished */
    _Atomic bool stop;
    _Atomic uint32_t parked; /* members that wait for work */
    _Atomic bool driver_parked;
    team_part *run; /* with arg: written before the ticket, read only after taking a part */
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t work, finished;
    uint32_t size, started;
    struct member members[]; /* size - 1 */
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Takes parts of one generation until none is left. */
static void take_parts(struct team *t, uint64_t generation, uint32_t member)
{
    for (;;) {
        uint64_t at = atomic_load(&t->ticket);
        uint32_t left = (uint32_t)(at & PART_MASK);
        if (at >> PART_BITS != generation || !left)
            return;
        if (!atomic_compare_exchange_weak(&t->ticket, &at, at - 1))
            continue;
        t->run(t->arg, left - 1, member);
        (void)atomic_fetch_add(&t->done, 1);
    }
}

static bool changed(struct team *t, uint64_t seen)
{
    return atomic_load(&t->stop) || atomic_load(&t->ticket) >> PART_BITS != seen;
}

static void wait_for_work(struct team *t, uint64_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (changed(t, seen))
            return;
        pause_cpu();
    }
    LOCKED(&t->lock);
    (void)atomic_fetch_add(&t->parked, 1);
    while (!changed(t, seen))
        (void)pthread_cond_wait(&t->work, &t->lock);
    (void)atomic_fetch_sub(&t->parked, 1);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct team *t = m->team;
    uint64_t seen = 0;
    while (!atomic_load(&t->stop)) {
        wait_for_work(t, seen);
        seen = atomic_load(&t->ticket) >> PART_BITS;
        take_parts(t, seen, m->index);
        if (atomic_load(&t->driver_parked)) {
            LOCKED(&t->lock);
            (void)pthread_cond_signal(&t->finished);
        }
    }
    return NULL;
}

static void wait_for_parts(struct team *t, uint32_t n)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&t->done) == n)
            return;
        pause_cpu();
    }
    LOCKED(&t->lock);
    atomic_store(&t->driver_parked, true);
    while (atomic_load(&t->done) != n)
        (void)pthread_cond_wait(&t->finished, &t->lock);
    atomic_store(&t->driver_parked, false);
}

void team_run(struct team *t, team_part *run, void *arg, uint32_t n)
{
    assert(n <= PART_MASK);
    if (t->size == 1 || n <= 1) {
        for (uint32_t part = 0; part < n; part++)
            run(arg, part, /* member= */ 0);
        return;
    }
    uint64_t generation = (atomic_load(&t->ticket) >> PART_BITS) + 1;
    t->run = run;
    t->arg = arg;
    atomic_store(&t->done, 0);
    atomic_store(&t->ticket, generation << PART_BITS | n);
    if (atomic_load(&t->parked)) {
        LOCKED(&t->lock);
        (void)pthread_cond_broadcast(&t->work);
    }
    take_parts(t, generation, /* member= */ 0);
    wait_for_parts(t, n);
}

void team_run_work(struct team *t, team_part *run, void *arg, uint32_t n, uint64_t work)
{
    if (work >= PART_WORK) {
        team_run(t, run, arg, n);
        return;
    }
    for (uint32_t part = 0; part < n; part++)
        run(arg, part, /* member= */ 0);
}

uint32_t team_chunk(const struct team *t, uint64_t outputs, uint64_t work)
{
    uint64_t parts = (uint64_t)t->size * MEMBER_PARTS;
    uint64_t most = work / (PART_WORK / MEMBER_PARTS) + 1;
    if (parts > most)
        parts = most;
    uint64_t chunk = (outputs + parts - 1) / parts;
    return (uint32_t)((chunk + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN);
}

static uint32_t allowed_cores(cpu_set_t *ret)
{
    CPU_ZERO(ret);
    if (sched_getaffinity(0, sizeof(*ret), ret) < 0)
        return 1;
    int n = CPU_COUNT(ret);
    return n > 0 ? (uint32_t)n : 1;
}

/* Member i stays on the i-th core that the process may use; failure costs only speed. */
static void pin(pthread_t thread, const cpu_set_t *allowed, uint32_t index)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, allowed) && index-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(thread, sizeof(one), &one);
            return;
        }
}

int team_new(struct team **ret, uint32_t size)
{
    cpu_set_t allowed;
    uint32_t cores = allowed_cores(&allowed);
    if (!size)
        size = cores;
    if (size > TEAM_MAX)
        size = TEAM_MAX;
    CLEANUP(team_freep)
    struct team *t = calloc(1, sizeof(*t) + (size - 1) * sizeof(t->members[0]));
    if (!t)
        return -ENOMEM;
    t->size = size;
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->work, NULL);
    (void)pthread_cond_init(&t->finished, NULL);
    for (uint32_t i = 0; i + 1 < size; i++) {
        t->members[i] = (struct member){ .team = t, .index = i + 1 };
        int r = thread_start(&t->members[i].thread, THREAD_compute, member_main, &t->members[i]);
        if (r < 0)
            return r;
        t->started++;
        if (size <= cores)
            pin(t->members[i].thread, &allowed, i + 1);
    }
    *ret = TAKE(t);
    return 0;
}

static void stop_members(struct team *t)
{
    LOCKED(&t->lock);
    atomic_store(&t->stop, true);
    (void)pthread_cond_broadcast(&t->work);
}

struct team *team_free(struct team *t)
{
    if (!t)
        return NULL;
    stop_members(t);
    for (uint32_t i = 0; i < t->started; i++)
        (void)pthread_join(t->members[i].thread, NULL);
    (void)pthread_cond_destroy(&t->finished);
    (void)pthread_cond_destroy(&t->work);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
    return NULL;
}

uint32_t team_size(const struct team *t)
{
    return t->size;
}
