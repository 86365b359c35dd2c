/*
 * Threads with a role, and locks by scope.
 */
#pragma once

#include "base/own.h"

#include <pthread.h>
#include <stdbool.h>

/* X(role, name shown by ps, what runs there) */
#define THREAD_ROLES(X)                                                                            \
    X(main, "main", "signals, reload, drain")                                                      \
    X(http, "http", "accept, parse, route, write; never blocks")                                   \
    X(engine, "engine", "coordinator: admits and steps the batch")                                 \
    X(compute, "compute", "matrix work, beside the coordinator")                                   \
    X(upstream, "upstream", "curl multi loop")                                                     \
    X(catalog, "catalog", "follows the catalog's change feed")                                     \
    X(loader, "loader", "fetch, verify and pack adapters")                                         \
    X(worker, "worker", "jobs that may block")                                                     \
    X(watch, "watch", "notices clients that leave while suspended")

enum thread_role {
#define THREAD_ENUM(role, name, what) THREAD_##role,
    THREAD_ROLES(THREAD_ENUM)
#undef THREAD_ENUM
};

/* Starts a joinable thread with all signals blocked. 0 or negative errno. */
int thread_start(pthread_t *ret, enum thread_role role, void *(*run)(void *), void *arg) MUST_USE;
bool thread_is(enum thread_role role);    /* of the caller; a thread we did not start is `main` */
void thread_adopt(enum thread_role role); /* names a thread that a library started */

/* Cores that the process may use (its affinity, as taskset and container runtimes set it); at least
 * 1. */
unsigned thread_cores(void);

/* The calling thread gives way to the others: a tenth of their share of a core, last at the disk.
 */
void thread_background(void);

static inline void thread_unlock(pthread_mutex_t **m)
{
    if (*m)
        (void)pthread_mutex_unlock(*m);
}

static inline pthread_mutex_t *thread_lock(pthread_mutex_t *m)
{
    (void)pthread_mutex_lock(m);
    return m;
}

#define LOCK_NAME2(line) scope_lock_##line
#define LOCK_NAME(line) LOCK_NAME2(line)
/* Holds the mutex to the end of the scope. Never across a callback, I/O or another folder's call.
 */
#define LOCKED(mutex)                                                                              \
    __attribute__((unused)) CLEANUP(thread_unlock) pthread_mutex_t *LOCK_NAME(__LINE__) =          \
        thread_lock(mutex)

/* A condition variable on the monotonic clock. */
int thread_cond_init(pthread_cond_t *c) MUST_USE;
/* Waits until signalled or until the monotonic deadline; -ETIMEDOUT then. */
int thread_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, unsigned long long deadline_ms);
