/*
 * Residency under ThreadSanitizer: threads acquire, cancel, let deadlines pass and release, while
 * entries are evicted all the time. Every wait is answered exactly once or cancelled.
 */
#include "adapters/residency.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { THREADS = 6, ROUNDS = 1500, REVISIONS = 24 };

static struct residents *residents;
static atomic_uint answered, cancelled, granted, failed, loads, unloads;

static int stage(void *ctx, const struct adapter_revision *r, struct stage *ret,
                 struct fail *reterr)
{
    (void)ctx;
    (void)reterr;
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", r->digest.b[0]);
    *ret = (struct stage){ .folder = str_dup(str_of(text)), .from = RESIDENCY_disk };
    return 0;
}

static enum residency where(void *ctx, const struct adapter_revision *r)
{
    (void)ctx;
    return r->digest.b[0] % 2 ? RESIDENCY_cold : RESIDENCY_disk;
}

static void unstage(void *ctx, struct stage *s)
{
    (void)ctx;
    free(s->folder);
}

static int load(void *ctx, struct str base, const char *folder, void **ret, size_t *ret_bytes,
                struct fail *reterr)
{
    (void)ctx;
    (void)base;
    unsigned n = atomic_fetch_add(&loads, 1);
    if (n % 7 == 0)
        (void)usleep(300);
    if (strcmp(folder, "24") == 0) { /* one that never loads */
        atomic_fetch_add(&unloads, 1);
        return fail_set(reterr, FAIL_unprocessable_adapter, "%s", folder);
    }
    *ret = str_dup(str_of(folder));
    *ret_bytes = 10 + n % 5;
    return 0;
}

static void unload(void *ctx, void *resident)
{
    (void)ctx;
    atomic_fetch_add(&unloads, 1);
    free(resident);
}

struct job {
    atomic_uint calls;
    struct lease *_Atomic lease;
};

static void on_lease(void *owner, struct lease *lease, const struct fail *f)
{
    struct job *j = owner;
    (void)f;
    atomic_store(&j->lease, lease);
    atomic_fetch_add(&j->calls, 1);
}

static void use(struct lease *l, unsigned id)
{
    char want[16];
    (void)snprintf(want, sizeof(want), "%u", id);
    if (strcmp(lease_resident(l), want) != 0)
        abort(); /* another adapter's */
    atomic_fetch_add(&granted, 1);
    (void)lease_release(l);
}

static void settle(struct job *j, struct lease_wait *w, unsigned id)
{
    while (atomic_load(&j->calls) == 0)
        (void)usleep(50);
    atomic_fetch_add(&answered, 1);
    struct lease *l = atomic_load(&j->lease);
    if (l)
        use(l, id);
    else
        atomic_fetch_add(&failed, 1);
    (void)lease_wait_free(w);
}

static void round_of(struct job *j, uint64_t x)
{
    struct adapter_revision rev = { .base = "demo", .adapter = "x", .bytes = 10 };
    struct lease *l = NULL;
    struct lease_wait *w = NULL;
    unsigned id = 1 + (unsigned)(x % REVISIONS);
    rev.digest.b[0] = (uint8_t)id;
    atomic_store(&j->calls, 0);
    atomic_store(&j->lease, NULL);
    uint64_t deadline = clock_ms() + (x / 64 % 8 == 0 ? 0 : 5000);
    struct residency_ask ask = { &rev,     str_of(x / 128 % 2 ? "a" : "b"),
                                 deadline, x / 256 % 8 == 0,
                                 on_lease, j };
    int k = residency_acquire(residents, &ask, &l, &w, NULL);
    if (k == 0) {
        use(l, id);
        return;
    }
    if (k != ADAPTERS_PENDING)
        return; /* a failure remembered */
    if (x / 1024 % 3 != 0) {
        settle(j, w, id);
        return;
    }
    if (x / 4096 % 2)
        (void)usleep(x / 8192 % 200);
    if (lease_wait_cancel(w)) {
        atomic_fetch_add(&cancelled, 1);
        return;
    }
    while (atomic_load(&j->calls) == 0)
        (void)usleep(50);
    l = atomic_load(&j->lease);
    if (l)
        use(l, id);
}

static void *run(void *arg)
{
    uint64_t x = 0x9e3779b97f4a7c15u * (uint64_t)(uintptr_t)arg;
    struct job j = { 0 };
    for (unsigned i = 0; i < ROUNDS; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        round_of(&j, x >> 20);
        if (atomic_load(&j.calls) > 1)
            abort();
    }
    return NULL;
}

int main(void)
{
    struct adapter_loader loader = { .load = load, .unload = unload };
    struct stager stager = { .stage = stage, .unstage = unstage, .where = where };
    pthread_t threads[THREADS];
    struct residency_limits limits = { .max_bytes = 100, .max_loads = 3 };
    if (residency_new(&residents, &limits, &loader, &stager) < 0)
        return 1;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)(i + 1)) != 0)
            return 1;
    for (unsigned i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    struct residency_state s;
    residency_state(residents, &s);
    if (s.leases != 0 || s.bytes > 100)
        return 1;
    residents = residency_free(residents);
    (void)printf("granted %u, failed %u, cancelled %u, loads %u\n", granted, failed, cancelled,
                 loads);
    return granted && cancelled && loads == unloads ? 0 : 1;
}
