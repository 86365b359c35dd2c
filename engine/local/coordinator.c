#include "engine/local/coordinator.h"

#include "engine/local/pace.h"
#include "engine/local/turns.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

struct job_list {
    struct job *first, **end; /* end: where the next one is linked */
};

struct wanted { /* logits */
    struct job *job;
    uint32_t position;
};

struct coordinator {
    struct coordinator_options o;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t more;
    /* under the lock */
    struct turns turns;
    struct job_list given_up; /* waited in a full list, until one came whose turn is nearer */
    uint32_t n_busy;          /* slots; more than o.slots only while spare ones serve */
    uint64_t mean_ms;         /* of a job in its slot, moving */
    bool draining, stopping;

    _Atomic size_t n_running_seen, n_waiting; /* written under the lock */

    /* of the thread alone */
    struct slots slots;
    struct job **running; /* in order of admission; as many as slots */
    uint32_t n_running;
    struct step_row *rows;
    uint32_t n_rows, n_prompt_rows;
    struct wanted *wanted; /* the rows whose logits are wanted, in their order */
    uint32_t n_wanted;
    struct pace pace;
    uint32_t rotation;   /* of those that yield: who is first in the next step */
    uint32_t prompt_end; /* rows of a step that prompts may fill */
};

static void list_init(struct job_list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_add(struct job_list *l, struct job *j)
{
    j->next = NULL;
    *l->end = j;
    l->end = &j->next;
}

static struct job *list_pop(struct job_list *l)
{
    struct job *j = l->first;
    if (!j)
        return NULL;
    l->first = j->next;
    if (!l->first)
        l->end = &l->first;
    return j;
}

/* ---- any thread ---- */

static unsigned retry_after(const struct coordinator *c) /* seconds; under the lock */
{
    uint64_t rounds = c->turns.waiting / c->o.slots + 1;
    uint64_t s = (c->mean_ms * rounds + 999) / 1000;
    return s < 1 ? 1 : s > 60 ? 60 : (unsigned)s;
}

static uint32_t n_free(const struct coordinator *c) /* slots; under the lock, like the next two */
{
    return c->n_busy < c->o.slots ? c->o.slots - c->n_busy : 0;
}

static int fail_full(const struct coordinator *c, struct fail *reterr)
{
    (void)fail_set(reterr, FAIL_queue_full, "%zu requests wait for this model already; retry later",
                   c->turns.waiting);
    if (reterr)
        reterr->retry_after_s = retry_after(c);
    return FAILED;
}

/* A full list gives up a job of whoever fills it. False: that is the caller's own tenant. */
static bool make_room(struct coordinator *c, const struct job *j)
{
    struct job *victim = turns_victim(&c->turns, j->tenant, j->weight);
    if (!victim)
        return false;
    turns_drop(&c->turns, victim);
    list_add(&c->given_up, victim);
    metrics_add(METRIC_engine_waiting, -1);
    return true;
}

int coordinator_put(struct coordinator *c, struct engine_job **ret, struct job *j,
                    struct fail *reterr)
{
    LOCKED(&c->lock);
    if (c->draining || c->stopping) {
        (void)fail_set(reterr, FAIL_overloaded, "the server is draining; retry elsewhere or later");
        if (reterr)
            reterr->retry_after_s = 1;
        return FAILED;
    }
    /* The choices of a request enter together, or one that has more than fit would never run. */
    if (j->choice == 0 && c->turns.waiting >= (size_t)c->o.queue + n_free(c) && !make_room(c, j))
        return fail_full(c, reterr);
    int r = turns_put(&c->turns, j, clock_ms());
    if (r < 0)
        return fail_errno(reterr, r, "waiting for a slot");
    (void)job_ref(j);
    metrics_add(METRIC_engine_waiting, 1);
    atomic_store(&c->n_waiting, c->turns.waiting);
    *ret = &j->base;
    (void)pthread_cond_signal(&c->more);
    return 0;
}

size_t coordinator_load(const struct coordinator *c, size_t *ret_running, size_t *ret_waiting)
{
    size_t running = atomic_load(&c->n_running_seen), waiting = atomic_load(&c->n_waiting);
    if (ret_running)
        *ret_running = running;
    if (ret_waiting)
        *ret_waiting = waiting;
    return running + waiting;
}

void coordinator_drain(struct coordinator *c)
{
    LOCKED(&c->lock);
    c->draining = true;
}

/* ---- ending and admitting ---- */

static bool is_cancelled(const struct job *j)
{
    return atomic_load_explicit(&j->cancelled, memory_order_relaxed);
}

static void fail_late(struct job *j)
{
    struct fail f = { 0 };
    (void)fail_set(&f, FAIL_timeout,
                   "the deadline passed after %" PRIu32 " of at most %" PRIu32 " tokens",
                   j->n_generated, j->n_max);
    job_fail(j, &f);
}

/* Frees the job's slot. Before its final event, so that who is told finds room. */
static void release(struct coordinator *c, struct job *j)
{
    uint64_t ms = clock_ms() - j->admitted_ms;
    slots_release(&c->slots, j->slot);
    metrics_add(METRIC_engine_running, -1);
    LOCKED(&c->lock);
    c->n_busy--;
    turns_leave(&c->turns, j);
    c->mean_ms = c->mean_ms ? (7 * c->mean_ms + ms) / 8 : ms;
    atomic_store(&c->n_running_seen, c->n_busy);
}

static void end_done(struct coordinator *c, struct job *j, enum finish_reason finish)
{
    release(c, j);
    job_done(j, finish);
}

static void end_errno(struct coordinator *c, struct job *j, int r, const char *doing)
{
    struct fail f = { 0 };
    (void)fail_errno(&f, r, doing);
    log_line(LOG_error, "engine_job_failed", "doing=\"%s\" error=%s", doing, strerror(-r));
    release(c, j);
    job_fail(j, &f);
}

/* Forgets the jobs that are over; the others keep their order. */
static void sweep_over(struct coordinator *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_running; i++)
        if (c->running[i]->over)
            job_unref(c->running[i]);
        else
            c->running[n++] = c->running[i];
    c->n_running = n;
}

static bool is_over(const struct coordinator *c, const struct job *j, uint64_t now_ms)
{
    return c->stopping || is_cancelled(j) || now_ms >= j->deadline_ms;
}

static void take_ended(struct coordinator *c, uint64_t now_ms, struct job_list *ret_ended)
{
    for (uint32_t i = 0; i < c->turns.n; i++)
        for (struct job *j = c->turns.tenants[i].first, *next; j; j = next) {
            next = j->next;
            if (!is_over(c, j, now_ms))
                continue;
            turns_drop(&c->turns, j);
            metrics_add(METRIC_engine_waiting, -1);
            list_add(ret_ended, j);
        }
}

/*
 * The usual slots go to whose turn it is. The spare ones are for tenants that have less than their
 * share of slots, so that they need not wait for another's long answers to end.
 */
static struct job *take_next(struct coordinator *c, uint64_t now_ms)
{
    if (c->n_busy < c->o.slots)
        return turns_next(&c->turns, UINT32_MAX);
    if (c->n_busy == c->o.slots + c->o.spare)
        return NULL;
    uint32_t tenants = turns_active(&c->turns, now_ms, /* ms= */ 0), share = c->o.slots / tenants;
    return turns_next(&c->turns, share > 1 && tenants > 1 ? share : 1);
}

enum {
    STEP_US = 3000,         /* of the rows of a step that another tenant may have to wait for … */
    STEP_ROWS = 16,         /* … but so many may be prompt rows in any case */
    SEVERAL_MS = 60 * 1000, /* tenants that came within this are expected again */
};

/* How long the next step may be. */
static void bound_step(struct coordinator *c, uint64_t now_ms)
{
    c->prompt_end = c->o.rows;
    if (turns_active(&c->turns, now_ms, SEVERAL_MS) < 2)
        return;
    uint32_t rows = pace_rows(&c->pace, STEP_US);
    rows = rows > STEP_ROWS ? rows : STEP_ROWS;
    c->prompt_end = rows < c->o.rows ? rows : c->o.rows;
}

/* Splits what waits into those whose time is over, those that get a slot now, and the rest. */
static void sort_waiting(struct coordinator *c, struct job_list *ret_ended,
                         struct job_list *ret_admitted)
{
    uint64_t now_ms = clock_ms();
    take_ended(c, now_ms, ret_ended);
    for (uint32_t i = 0; i < c->n_running; i++)
        turns_charge(&c->turns, c->running[i]);
    for (struct job *j; (j = take_next(c, now_ms)); c->n_busy++) {
        metrics_add(METRIC_engine_waiting, -1);
        list_add(ret_admitted, j);
    }
    for (uint32_t i = 0; i < c->n_running; i++)
        c->running[i]->yields = turns_yields(&c->turns, c->running[i]);
    for (struct job *j = ret_admitted->first; j; j = j->next)
        j->yields = turns_yields(&c->turns, j);
    bound_step(c, now_ms);
    atomic_store(&c->n_waiting, c->turns.waiting);
    atomic_store(&c->n_running_seen, c->n_busy);
}

/* Sleeps until there is something to do. False: the engine stops. */
static bool take_waiting(struct coordinator *c, struct job_list *ret_ended,
                         struct job_list *ret_full, struct job_list *ret_admitted)
{
    LOCKED(&c->lock);
    while (c->turns.waiting == 0 && !c->given_up.first && c->n_running == 0 && !c->stopping)
        (void)pthread_cond_wait(&c->more, &c->lock);
    for (struct job *j; (j = list_pop(&c->given_up));)
        list_add(ret_full, j);
    sort_waiting(c, ret_ended, ret_admitted);
    return !c->stopping;
}

/* Takes over the longest computed prefix that any other slot holds. One token is always left to
 * compute: its logits choose the first new token. */
static void borrow_prefix(struct coordinator *c, struct job *j)
{
    uint32_t n, from = slots_best(&c->slots, &j->key, j->prompt, j->n_prompt - 1, j->slot, &n);
    if (n <= j->n_computed)
        return;
    struct slot *own = &c->slots.at[j->slot];
    stepper_copy_slot(c->o.stepper, from, j->slot, n);
    memcpy(own->ids, c->slots.at[from].ids, n * sizeof(*own->ids));
    own->n = n;
    j->n_computed = n;
}

static void admit(struct coordinator *c, struct job *j)
{
    j->slot = slots_take(&c->slots, &j->key, j->prompt, j->n_prompt - 1);
    if (j->echo)
        c->slots.at[j->slot].n = 0; /* what is not computed has no logits */
    j->n_computed = c->slots.at[j->slot].n;
    if (!j->echo)
        borrow_prefix(c, j);
    c->running[c->n_running++] = j;
    metrics_add(METRIC_engine_running, 1);
    int r = job_admit(j, clock_us());
    if (r < 0)
        end_errno(c, j, r, "admitting a request");
}

/* ---- one step ---- */

/*
 * Whether the job's prompt may start now. Where an earlier job is just computing most of what this
 * one still needs (the choices of one request, or one long system prompt), it waits for that and
 * takes a copy. Jobs only wait for earlier ones, and the first never waits.
 */
static bool may_begin(struct coordinator *c, struct job *j)
{
    if (j->begun)
        return true;
    if (j->echo) {
        j->begun = true;
        return true;
    }
    uint32_t now, future = 0;
    (void)slots_best(&c->slots, &j->key, j->prompt, j->n_prompt - 1, c->slots.n, &now);
    for (uint32_t i = 0; c->running[i] != j; i++) {
        const struct job *other = c->running[i];
        if (other->n_computed >= other->n_prompt || (other->yields && !j->yields))
            continue;
        uint32_t n = slots_common(other->prompt, other->n_prompt, j->prompt, j->n_prompt - 1);
        n = cache_key_common(&other->key, &j->key, n);
        future = n > future ? n : future;
    }
    if (future > now && future - now >= j->n_prompt - future)
        return false;
    borrow_prefix(c, j);
    j->begun = true;
    j->n_cached = j->n_computed;
    metrics_add(METRIC_cached_tokens_total, j->n_cached);
    return true;
}

static void add_row(struct coordinator *c, struct job *j, int32_t token, bool logits)
{
    uint32_t position = j->n_computed + j->n_step;
    c->rows[c->n_rows++] = (struct step_row){
        .token = token,
        .position = position,
        .slot = j->slot,
        .logits = logits,
        .lora = position >= j->key.from ? j->lora : NULL,
        .scale = j->key.scale,
    };
    j->n_step++;
    if (logits)
        c->wanted[c->n_wanted++] = (struct wanted){ j, c->rows[c->n_rows - 1].position };
}

/* A decoding job has one row; the order goes round among those that yield, for not all may fit. */
static void add_decoding(struct coordinator *c, bool yields, uint32_t end)
{
    for (uint32_t i = 0; i < c->n_running && c->n_rows < end; i++) {
        struct job *j = c->running[yields ? (i + c->rotation) % c->n_running : i];
        if (j->yields == yields && j->n_computed >= j->n_prompt)
            add_row(c, j, j->last, /* logits= */ true);
    }
}

static void add_prompts(struct coordinator *c, bool yields, uint32_t end)
{
    for (uint32_t i = 0; i < c->n_running && c->n_rows < end; i++) {
        struct job *j = c->running[i];
        if (j->yields != yields || j->n_computed >= j->n_prompt || !may_begin(c, j))
            continue;
        for (uint32_t at = j->n_computed; at < j->n_prompt && c->n_rows < end; at++) {
            add_row(c, j, j->prompt[at], /* logits= */ j->echo || at + 1 == j->n_prompt);
            c->n_prompt_rows++;
        }
    }
}

/*
 * Tenants that are far ahead give way to one that is not: their rows come along as far as they
 * cost it little. Where memory is what a step waits for, that is all of them.
 */
static void build_rows(struct coordinator *c)
{
    static const double little = 0.1; /* of the step */
    c->n_rows = c->n_prompt_rows = c->n_wanted = 0;
    for (uint32_t i = 0; i < c->n_running; i++)
        c->running[i]->n_step = 0;
    add_decoding(c, /* yields= */ false, c->o.rows);
    uint32_t n_decoding = c->n_rows;
    uint32_t end = c->prompt_end > n_decoding + STEP_ROWS ? c->prompt_end : n_decoding + STEP_ROWS;
    add_prompts(c, /* yields= */ false, end < c->o.rows ? end : c->o.rows);
    end = c->o.rows;
    if (c->n_rows > 0) {
        uint32_t extra = pace_extra(&c->pace, c->n_rows, little);
        end = extra < c->o.rows - c->n_rows ? c->n_rows + extra : c->o.rows;
    }
    uint32_t before = c->n_rows;
    add_decoding(c, /* yields= */ true, end);
    c->rotation += c->n_rows - before;
    add_prompts(c, /* yields= */ true, end < c->prompt_end ? end : c->prompt_end);
    assert(c->n_rows > 0);
}

/* A step that failed leaves nothing to trust in the slots it touched. */
static void fail_step(struct coordinator *c, int r)
{
    for (uint32_t i = 0; i < c->n_running; i++) {
        struct job *j = c->running[i];
        if (j->n_step == 0)
            continue;
        c->slots.at[j->slot].n = 0;
        end_errno(c, j, r, "computing a step");
    }
}

static void note_computed(struct coordinator *c)
{
    for (uint32_t i = 0; i < c->n_rows; i++) {
        const struct step_row *row = &c->rows[i];
        struct slot *slot = &c->slots.at[row->slot];
        assert(slot->n == row->position);
        slot->ids[slot->n++] = row->token;
    }
    for (uint32_t i = 0; i < c->n_running; i++)
        c->running[i]->n_computed += c->running[i]->n_step;
    metrics_add(METRIC_engine_steps_total, 1);
    metrics_add(METRIC_engine_rows_total, c->n_rows);
    metrics_add(METRIC_prompt_tokens_total, c->n_prompt_rows);
}

/* Logits of a prompt's position tell what the model thought of the next token in it. */
static int use_logits(const struct wanted *w, const float *logits)
{
    struct job *j = w->job;
    int r = 0;
    if (j->echo && w->position == 0)
        r = job_note_prompt(j, 0, NULL);
    if (r == 0 && w->position + 1 < j->n_prompt)
        return job_note_prompt(j, w->position + 1, logits);
    return r < 0 ? r : job_advance(j, logits);
}

static void step(struct coordinator *c)
{
    build_rows(c);
    const float *logits = NULL;
    uint64_t from = clock_us();
    int r = stepper_run(c->o.stepper, c->rows, c->n_rows, &logits);
    if (r < 0) {
        fail_step(c, r);
        return;
    }
    pace_note(&c->pace, c->n_rows, clock_us() - from);
    note_computed(c);
    for (uint32_t i = 0; i < c->n_wanted; i++) {
        struct job *j = c->wanted[i].job;
        if (j->over || is_cancelled(j))
            continue; /* ended between the steps */
        r = use_logits(&c->wanted[i], logits + (size_t)i * c->o.vocab);
        if (r < 0)
            end_errno(c, j, r, "choosing a token");
        else if (r == JOB_ENDS)
            end_done(c, j, j->finish);
    }
}

/* ---- the thread ---- */

static void end_waiting(struct job_list *ended)
{
    for (struct job *j; (j = list_pop(ended)); job_unref(j))
        if (!is_cancelled(j) && clock_ms() >= j->deadline_ms)
            fail_late(j);
        else
            job_done(j, FINISH_cancelled);
}

/* Their places went to tenants who had fewer. */
static void end_given_up(struct coordinator *c, struct job_list *full)
{
    for (struct job *j; (j = list_pop(full)); job_unref(j)) {
        struct fail f = { 0 };
        if (is_cancelled(j)) {
            job_done(j, FINISH_cancelled);
            continue;
        }
        {
            LOCKED(&c->lock);
            (void)fail_full(c, &f);
        }
        job_fail(j, &f);
    }
}

static void end_running(struct coordinator *c, bool all)
{
    uint64_t now_ms = clock_ms();
    for (uint32_t i = 0; i < c->n_running; i++) {
        struct job *j = c->running[i];
        if (all || is_cancelled(j)) {
            end_done(c, j, FINISH_cancelled);
        } else if (now_ms >= j->deadline_ms) {
            release(c, j);
            fail_late(j);
        }
    }
    sweep_over(c);
}

static void *coordinate(void *arg)
{
    struct coordinator *c = arg;
    for (bool goes_on = true; goes_on;) {
        struct job_list ended, full, admitted;
        list_init(&ended);
        list_init(&full);
        list_init(&admitted);
        goes_on = take_waiting(c, &ended, &full, &admitted);
        end_waiting(&ended);
        end_given_up(c, &full);
        for (struct job *j; (j = list_pop(&admitted));)
            admit(c, j);
        sweep_over(c);
        end_running(c, /* all= */ !goes_on);
        if (c->n_running == 0)
            continue;
        step(c);
        sweep_over(c);
    }
    return NULL;
}

/* ---- life ---- */

static int allocate(struct coordinator *c)
{
    c->running = calloc(c->o.slots + c->o.spare, sizeof(struct job *));
    c->wanted = calloc(c->o.rows, sizeof(*c->wanted));
    c->rows = calloc(c->o.rows, sizeof(*c->rows));
    if (!c->running || !c->wanted || !c->rows)
        return -ENOMEM;
    return slots_init(&c->slots, c->o.slots, c->o.spare, c->o.context);
}

int coordinator_new(struct coordinator **ret, const struct coordinator_options *o)
{
    assert(o->slots > 0 && o->rows >= o->slots + o->spare && o->context > 0 && o->vocab > 0);
    struct coordinator *made = calloc(1, sizeof(*made));
    if (!made)
        return -ENOMEM;
    made->o = *o;
    list_init(&made->given_up);
    turns_init(&made->turns, o->queue + 2 * (o->slots + o->spare));
    (void)pthread_mutex_init(&made->lock, NULL);
    int r = thread_cond_init(&made->more);
    if (r < 0) {
        (void)pthread_mutex_destroy(&made->lock);
        free(made);
        return r;
    }
    CLEANUP(coordinator_freep) struct coordinator *c = made;
    r = allocate(c);
    if (r < 0)
        return r;
    r = thread_start(&c->thread, THREAD_engine, coordinate, c);
    if (r < 0)
        return r;
    c->started = true;
    *ret = TAKE(c);
    return 0;
}

static void stop(struct coordinator *c)
{
    {
        LOCKED(&c->lock);
        c->stopping = true;
        (void)pthread_cond_signal(&c->more);
    }
    (void)pthread_join(c->thread, NULL);
    assert(c->turns.waiting == 0 && !c->given_up.first && c->n_running == 0);
}

struct coordinator *coordinator_free(struct coordinator *c)
{
    if (!c)
        return NULL;
    if (c->started)
        stop(c);
    slots_done(&c->slots);
    turns_done(&c->turns);
    free(c->running);
    free(c->wanted);
    free(c->rows);
    (void)pthread_cond_destroy(&c->more);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    return NULL;
}
