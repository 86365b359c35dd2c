#include "base/thread.h"

#include "base/clock.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {
#define THREAD_NAME(role, name, what) name,
    THREAD_ROLES(THREAD_NAME)
#undef THREAD_NAME
};

static _Thread_local enum thread_role my_role = THREAD_main;

struct start {
    enum thread_role role;
    void *(*run)(void *);
    void *arg;
};

void thread_adopt(enum thread_role role)
{
    my_role = role;
    (void)pthread_setname_np(pthread_self(), names[role]);
}

bool thread_is(enum thread_role role)
{
    return my_role == role;
}

static void *enter(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    thread_adopt(s.role);
    return s.run(s.arg);
}

int thread_start(pthread_t *ret, enum thread_role role, void *(*run)(void *), void *arg)
{
    struct start *s = malloc(sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct start){ role, run, arg };
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(ret, NULL, enter, s);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r)
        free(s);
    return -r;
}

void thread_background(void)
{
    /* Of the kernel's ABI, in no header of the C library: ioprio_set(2). */
    enum { NICE = 10, IOPRIO_WHO_PROCESS = 1, IOPRIO_BEST_EFFORT = 2, CLASS_SHIFT = 13, LAST = 7 };
    (void)setpriority(PRIO_PROCESS, 0, NICE); /* 0 is the calling thread on Linux */
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT << CLASS_SHIFT | LAST);
}

int thread_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    int r = pthread_condattr_init(&attr);
    if (r)
        return -r;
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    r = pthread_cond_init(c, &attr);
    (void)pthread_condattr_destroy(&attr);
    return -r;
}

int thread_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, unsigned long long deadline_ms)
{
    if (deadline_ms == CLOCK_NEVER)
        return -pthread_cond_wait(c, m);
    struct timespec t = { .tv_sec = (time_t)(deadline_ms / 1000),
                          .tv_nsec = (long)(deadline_ms % 1000) * 1000000 };
    return -pthread_cond_timedwait(c, m, &t);
}

unsigned thread_cores(void)
{
    cpu_set_t mine;
    CPU_ZERO(&mine);
    int n = sched_getaffinity(0, sizeof(mine), &mine) < 0 ? 0 : CPU_COUNT(&mine);
    return n > 0 ? (unsigned)n : 1;
}
