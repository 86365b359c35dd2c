/*
 * Outcomes: how good the answers of candidates were, as users, agents and the gateway itself judge
 * them. Counts of verdicts, Elo ratings and chances, for each decision and over all of them, and
 * counts of each user. Bounded; old outcomes count less.
 *
 * Any thread; one lock. Times are Unix seconds, given by the caller.
 */
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "base/sha256.h"

/* X(verdict word) */
#define OUTCOMES(X)                                                                                \
    X(good_fit)                                                                                    \
    X(overprovisioned)                                                                             \
    X(underpowered)                                                                                \
    X(failed)
enum outcome {
#define OUTCOME_ENUM(word) OUTCOME_##word,
    OUTCOMES(OUTCOME_ENUM)
#undef OUTCOME_ENUM
        OUTCOME_N
};
int outcome_parse(enum outcome *ret, struct str word) MUST_USE; /* -EINVAL */

struct outcomes;
int outcomes_new(struct outcomes **ret) MUST_USE;
struct outcomes *outcomes_free(struct outcomes *o); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(struct outcomes *, outcomes_free);

/* A candidate of a decision, each at most LIMIT_NAME bytes; longer ones are not learned of. */
struct outcome_of {
    struct str decision, model, adapter;
    struct str user; /* may be empty */
};

/* ---- what happens ---- */

/* A candidate was chosen for the request of this id; `session` is of its conversation (NULL: none).
 * The last 16,384 are remembered. */
void outcomes_chosen(struct outcomes *o, struct str id, const struct outcome_of *who,
                     const struct sha256 *session, uint64_t now_s);

/* elo_k: what a comparison moves at most; a verdict alone moves a tenth of it. */
void outcomes_judge(struct outcomes *o, const struct outcome_of *who, enum outcome verdict,
                    double elo_k, uint64_t now_s);

struct outcome_request {
    char decision[LIMIT_NAME + 1], model[LIMIT_NAME + 1], adapter[LIMIT_NAME + 1];
    struct sha256 session;
    bool has_session;
};
enum outcome_found { OUTCOME_unknown, OUTCOME_first, OUTCOME_again };
/*
 * One verdict a request: the first one, also the gateway's own, counts as outcomes_judge for the
 * candidate and the user of the request; `again` changes nothing.
 */
enum outcome_found outcomes_judge_request(struct outcomes *o, struct str id, enum outcome verdict,
                                          double elo_k, uint64_t now_s);
/* What it was about; false: it is not remembered. */
bool outcomes_request(struct outcomes *o, struct str id, struct outcome_request *ret);

/* Two candidates of one decision compared; `tie`: neither was better. */
struct comparison {
    struct outcome_of preferred, other;
    bool tie;
    double elo_k;
};
void outcomes_compare(struct outcomes *o, const struct comparison *c, uint64_t now_s);

/* ---- what is known ---- */

struct outcome_counts {
    double of[OUTCOME_N]; /* decayed */
    double attempts;      /* chosen, decayed likewise */
    double rating, comparisons;
    double holds; /* chance that an answer holds */
};
struct outcome_state {
    bool known;  /* this decision chose or judged it, or another did */
    bool judged; /* by somebody: `holds` says something */
    struct outcome_counts counts;
    bool user_known; /* the user judged it */
    double user_successes, user_failures;
};
/* Of this decision where it has any verdict, else over all decisions. Decision empty: over all. */
void outcomes_get(struct outcomes *o, const struct outcome_of *who, uint64_t now_s,
                  struct outcome_state *ret);

/* A JSON array of all candidates, the latest used first, at most `max`. */
void outcomes_print(struct outcomes *o, uint64_t now_s, size_t max, struct buf *b);
size_t outcomes_len(struct outcomes *o);

/* ---- over a restart ---- */

/* Adds what the text holds. -EINVAL: not a file of ours (nothing is added). A row that does not
 * read is left out and counted. */
int outcomes_read(struct outcomes *o, struct str text, size_t *ret_bad) MUST_USE;
void outcomes_write(struct outcomes *o, struct buf *b);
bool outcomes_take_dirty(struct outcomes *o); /* whether anything changed since the last call */
