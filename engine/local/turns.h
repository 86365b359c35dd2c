/*
 * Whose turn it is: the jobs that wait for a slot, and how much each tenant was given.
 *
 * The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI
 * 2024): a tenant's counter grows by its prompt tokens when a job is admitted and by twice its
 * generated ones as they come, both divided by its weight; the next job is the oldest of the tenant
 * with the lowest counter. Who comes back is lifted to what the lowest of the others has, so that
 * idling earns nothing, but for TURNS_CREDIT: within that, one who asks rarely goes before one who
 * asks all the time. Whenever somebody waits, somebody is given the slot.
 *
 * The list is short of room for all alike: a full list gives up the newest job of the tenant that
 * has the most in it to one that has fewer, so a flood fills it only while it is alone.
 *
 * Under the owner's lock.
 */
#pragma once

#include "engine/local/job.h"

enum {
    TURNS_INPUT = 1,     /* cost of a prompt token … */
    TURNS_OUTPUT = 2,    /* … and of a generated one */
    TURNS_CREDIT = 2048, /* cost that a tenant may be behind the others when it comes back */
    TURNS_SLACK = 2 * TURNS_CREDIT,
};

struct turns_tenant {
    uint64_t id;
    uint64_t served;                   /* the counter, in 1/TURNS_UNIT of a cost at weight 1 */
    uint64_t came_ms;                  /* when it last asked */
    uint32_t weight, waiting, running; /* jobs */
    struct job *first, *last;          /* those that wait, oldest first */
};

struct turns {
    struct turns_tenant *tenants; /* those without jobs are kept while there is room */
    uint32_t n, room, max;
    uint64_t served_last; /* counter of whoever last had nothing waiting any more */
    uint64_t order;       /* of arrival */
    size_t waiting;
};

/* `max`: tenants with jobs at a time, at most; more are then remembered for a while. */
void turns_init(struct turns *t, uint32_t max);
void turns_done(struct turns *t); /* no job is left in it */

/* Puts a job behind its tenant's others and sets j->turn. 0 or -ENOMEM. */
int turns_put(struct turns *t, struct job *j, uint64_t now_ms) MUST_USE;
/* Takes the next job out and charges its prompt; NULL: none. Only of tenants that have fewer than
 * `running` jobs running. */
struct job *turns_next(struct turns *t, uint32_t running);
/* Takes one that waits out of turn: it was cancelled, or is given up. */
void turns_drop(struct turns *t, struct job *j);
/* Charges what a running job has generated since it was last charged. */
void turns_charge(struct turns *t, struct job *j);
void turns_leave(struct turns *t, struct job *j); /* a job that turns_next gave has ended */

/* The job to give up in favour of one of `tenant`: the newest of who has most waiting for its
 * weight; NULL: that would be the tenant itself. */
struct job *turns_victim(const struct turns *t, uint64_t tenant, uint32_t weight);

/*
 * Whether the rows of a running job give way in the next step: its tenant asks for more than it is
 * given, and another that does not (all its jobs are running) is no more than TURNS_SLACK ahead of
 * it. So a modest tenant does not notice a flood, until it has had that much more than its turn.
 */
bool turns_yields(const struct turns *t, const struct job *j);
/* Tenants that have jobs, or had one within `ms`. */
uint32_t turns_active(const struct turns *t, uint64_t now_ms, uint64_t ms);
