#include "gateway/canary.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "base/thread.h"
#include "gateway/learning/key.h"
#include "gateway/learning/lru.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CANARIES = 4096, /* adapters whose canary is watched at once */
    ABORTS = 64,     /* on their way */
    TRIES = 5,       /* of one, while the head changes under it */
    AGAIN_MS = 5000, /* before one is tried again whose catalog did not answer */
    LEAST_TIMES = 8, /* of either side, to compare their means */
    HALVES = 2,      /* of the window: one fills, the one before still counts */
};
static const double DOUBT = 1e-3;        /* of a canary no worse than allowed, over all looks */
static const double LEAST_SPREAD = 1e-3; /* variance of logarithms that clocks alone make */

/* ---- the tests ---- */

static void count_time(struct canary_times *t, double ms)
{
    if (!(ms > 0))
        return;
    double x = log(ms);
    t->n++;
    t->sum += x;
    t->squares += x * x;
}

void canary_count(struct canary_tally *t, const struct canary_sample *s)
{
    t->requests++;
    t->errors += s->failed;
    if (s->failed)
        return;
    count_time(&t->first_token, s->first_token_ms);
    count_time(&t->token, s->token_ms);
}

/* What the statistic must exceed after n requests, of which the first look is at `least`. */
static double bound(uint64_t n, uint64_t least)
{
    double doublings = n > least ? log2((double)n / (double)least) : 0;
    double share = DOUBT * 6 / (M_PI * M_PI) / ((doublings + 1) * (doublings + 1));
    return sqrt(2 * log(1 / share));
}

static bool errs_more(const struct canary_tally *c, const struct canary_tally *p,
                      const struct config_canary *rule)
{
    double nc = (double)c->requests + 2, rate = ((double)c->errors + 1) / nc;
    double np = (double)p->requests + 2, usual = ((double)p->errors + 1) / np;
    double variance = rate * (1 - rate) / nc + usual * (1 - usual) / np;
    if (p->requests == 0) { /* nobody is left on prod: errors speak for themselves */
        usual = 0;
        variance = rate * (1 - rate) / nc;
    }
    double z = (rate - usual - rule->max_error_increase) / sqrt(variance);
    return z > bound(c->requests, rule->min_requests);
}

static double variance_of(const struct canary_times *t, double mean)
{
    double n = (double)t->n, v = (t->squares - n * mean * mean) / (n - 1);
    return v > LEAST_SPREAD ? v : LEAST_SPREAD;
}

static bool takes_longer(const struct canary_times *c, const struct canary_times *p,
                         const struct config_canary *rule)
{
    if (rule->max_latency_ratio <= 0 || c->n < LEAST_TIMES || p->n < LEAST_TIMES)
        return false;
    double mean = c->sum / (double)c->n, usual = p->sum / (double)p->n;
    double variance = variance_of(c, mean) / (double)c->n + variance_of(p, usual) / (double)p->n;
    double t = (mean - usual - log(rule->max_latency_ratio)) / sqrt(variance);
    return t > bound(c->n, rule->min_requests);
}

static void say_longer(char why[static 160], const char *what, const struct canary_times *c,
                       const struct canary_times *p)
{
    (void)snprintf(why, 160, "%s %.1f ms, prod's %.1f ms (geometric means of %llu and %llu)", what,
                   exp(c->sum / (double)c->n), exp(p->sum / (double)p->n), (unsigned long long)c->n,
                   (unsigned long long)p->n);
}

enum canary_worse canary_judge(const struct canary_tally *canary, const struct canary_tally *prod,
                               const struct config_canary *rule, char why[static 160])
{
    if (canary->requests < rule->min_requests)
        return CANARY_fine;
    if (errs_more(canary, prod, rule)) {
        (void)snprintf(why, 160, "%llu of %llu requests failed, %llu of prod's %llu",
                       (unsigned long long)canary->errors, (unsigned long long)canary->requests,
                       (unsigned long long)prod->errors, (unsigned long long)prod->requests);
        return CANARY_errors;
    }
    if (takes_longer(&canary->first_token, &prod->first_token, rule)) {
        say_longer(why, "first token after", &canary->first_token, &prod->first_token);
        return CANARY_first_token;
    }
    if (takes_longer(&canary->token, &prod->token, rule)) {
        say_longer(why, "time per token", &canary->token, &prod->token);
        return CANARY_token;
    }
    return CANARY_fine;
}

/* ---- those that run ---- */

struct watched { /* of one adapter */
    struct sha256 canary, prod;
    uint64_t since_ms; /* of the half that fills */
    uint64_t quiet_until_ms;
    struct {
        struct canary_tally canary, prod;
    } halves[HALVES]; /* the one that fills, the one before */
};

struct abort_job {
    char base[LIMIT_NAME + 1], adapter[LIMIT_NAME + 1], why[160];
    struct sha256 canary;
    enum canary_worse worse;
};

struct canaries {
    struct adapters *adapters; /* borrowed */
    pthread_mutex_t lock;
    struct lru *watched; /* of struct watched; under the lock */
    struct queue *jobs;  /* of struct abort_job */
    pthread_t thread;
    bool runs;
};

static void add_times(struct canary_times *to, const struct canary_times *from)
{
    to->n += from->n;
    to->sum += from->sum;
    to->squares += from->squares;
}

static struct canary_tally sum_of(const struct canary_tally *a, const struct canary_tally *b)
{
    struct canary_tally s = *a;
    s.requests += b->requests;
    s.errors += b->errors;
    add_times(&s.first_token, &b->first_token);
    add_times(&s.token, &b->token);
    return s;
}

static void slide(struct watched *w, uint64_t now_ms, uint64_t window_ms)
{
    uint64_t half = window_ms / HALVES, age = now_ms - w->since_ms;
    if (age < half)
        return;
    w->halves[1] = w->halves[0];
    if (age >= window_ms)
        memset(&w->halves[1], 0, sizeof(w->halves[1]));
    memset(&w->halves[0], 0, sizeof(w->halves[0]));
    w->since_ms = now_ms;
}

static struct watched *watched_of(struct canaries *c, const struct adapter_trial *t,
                                  uint64_t now_ms)
{
    struct str parts[] = { str_of(t->revision.base), str_of(t->revision.adapter) };
    struct sha256 key = learning_key(parts, ARRAY_LEN(parts));
    struct watched *w = lru_make(c->watched, &key);
    if (w && (!sha256_eq(&w->canary, &t->canary) || !sha256_eq(&w->prod, &t->prod)))
        *w = (struct watched){ .canary = t->canary, .prod = t->prod, .since_ms = now_ms };
    return w;
}

/* Counts; a job where the canary is to go, to be queued without the lock. */
static struct abort_job *count(struct canaries *c, const struct adapter_trial *t,
                               const struct canary_sample *s, const struct config_canary *rule,
                               uint64_t now_ms)
{
    LOCKED(&c->lock);
    struct watched *w = watched_of(c, t, now_ms);
    bool canary = sha256_eq(&t->revision.digest, &t->canary);
    if (!w)
        return NULL;
    slide(w, now_ms, rule->window_ms);
    canary_count(canary ? &w->halves[0].canary : &w->halves[0].prod, s);
    if (!canary || now_ms < w->quiet_until_ms)
        return NULL;
    struct canary_tally of_canary = sum_of(&w->halves[0].canary, &w->halves[1].canary);
    struct canary_tally of_prod = sum_of(&w->halves[0].prod, &w->halves[1].prod);
    char why[160];
    enum canary_worse worse = canary_judge(&of_canary, &of_prod, rule, why);
    struct abort_job *j = worse == CANARY_fine ? NULL : calloc(1, sizeof(*j));
    if (!j)
        return NULL;
    w->quiet_until_ms = now_ms + AGAIN_MS;
    memcpy(j->base, t->revision.base, sizeof(j->base));
    memcpy(j->adapter, t->revision.adapter, sizeof(j->adapter));
    memcpy(j->why, why, sizeof(why));
    j->canary = t->canary;
    j->worse = worse;
    return j;
}

enum { OF_prod, OF_canary }; /* positions in the labels */

void canaries_note(struct canaries *c, const struct adapter_trial *t, const struct canary_sample *s,
                   const struct config_canary *rule, uint64_t now_ms)
{
    bool canary = sha256_eq(&t->revision.digest, &t->canary);
    if (t->canary_weight == 0 || !t->has_prod ||
        (!canary && !sha256_eq(&t->revision.digest, &t->prod)))
        return;
    metrics_add_label(METRIC_canary_requests_total, canary ? OF_canary : OF_prod, 1);
    if (s->failed)
        metrics_add_label(METRIC_canary_errors_total, canary ? OF_canary : OF_prod, 1);
    void *job = count(c, t, s, rule, now_ms);
    if (job && queue_put(c->jobs, &job) != 0)
        free(job); /* it is judged again in AGAIN_MS */
}

/* ---- taking one back ---- */

static int take_back(struct canaries *c, const struct abort_job *j, bool *ret_done,
                     struct fail *reterr)
{
    struct adapter_name name = { .base = str_of(j->base), .adapter = str_of(j->adapter) };
    struct adapter_changed changed = { 0 };
    struct adapter_trial t;
    char who[200];
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    *ret_done = false;
    if (!arena)
        return -ENOMEM;
    if (!adapters_trial(c->adapters, &name, &t) || t.canary_weight == 0 ||
        !sha256_eq(&t.canary, &j->canary))
        return 0; /* somebody was faster */
    (void)snprintf(who, sizeof(who), "auto: %s", j->why);
    struct adapter_change change = { .op = ADAPTER_OP_abort,
                                     .base = name.base,
                                     .adapter = name.adapter,
                                     .if_match = t.epoch,
                                     .who = str_of(who) };
    int r = adapters_change(c->adapters, &change, arena, &changed, reterr);
    *ret_done = r == 0;
    return r;
}

static void run_job(struct canaries *c, const struct abort_job *j)
{
    enum { PAUSE_US = 20000 };
    struct fail fail = { 0 };
    bool done = false;
    int r = FAILED;
    for (int i = 0; i < TRIES && r == FAILED && !done; i++) {
        if (i > 0)
            (void)usleep(PAUSE_US);
        r = take_back(c, j, &done, &fail);
        if (r == FAILED && fail.code != FAIL_precondition_failed)
            break;
    }
    char hex[SHA256_HEX + 1];
    sha256_hex(hex, &j->canary);
    if (done) {
        metrics_add_label(METRIC_canary_aborts_total, (unsigned)j->worse - 1, 1);
        log_line(LOG_warn, "canary_abort", "adapter=%s:%s revision=%.12s why=\"%s\", continuing",
                 j->base, j->adapter, hex, j->why);
    } else if (r != 0) {
        if (r < 0)
            (void)fail_errno(&fail, r, "taking the canary back");
        log_line(LOG_warn, "canary_abort_failed",
                 "adapter=%s:%s revision=%.12s why=\"%s\" cause=\"%s\", continuing", j->base,
                 j->adapter, hex, j->why, fail.message);
    }
}

static void *canaries_main(void *arg)
{
    struct canaries *c = arg;
    void *job = NULL;
    while (queue_get(c->jobs, &job, CLOCK_NEVER) == 0) {
        run_job(c, job);
        free(job);
    }
    return NULL;
}

int canaries_new(struct canaries **ret, struct adapters *a)
{
    static const char *const sides[] = { "prod", "canary" };
    static const char *const reasons[] = { "errors", "first_token", "token" };
    CLEANUP(canaries_freep) struct canaries *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    metrics_label(METRIC_canary_requests_total, sides, ARRAY_LEN(sides));
    metrics_label(METRIC_canary_errors_total, sides, ARRAY_LEN(sides));
    metrics_label(METRIC_canary_aborts_total, reasons, ARRAY_LEN(reasons));
    c->adapters = a;
    (void)pthread_mutex_init(&c->lock, NULL);
    int r = lru_new(&c->watched, CANARIES, sizeof(struct watched), /* done= */ NULL);
    if (r == 0)
        r = queue_new(&c->jobs, ABORTS);
    if (r == 0)
        r = thread_start(&c->thread, THREAD_worker, canaries_main, c);
    if (r != 0)
        return r;
    c->runs = true;
    *ret = TAKE(c);
    return 0;
}

struct canaries *canaries_free(struct canaries *c)
{
    if (!c)
        return NULL;
    if (c->jobs)
        queue_close(c->jobs);
    if (c->runs)
        (void)pthread_join(c->thread, NULL);
    (void)queue_free(c->jobs);
    (void)lru_free(c->watched);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    return NULL;
}
