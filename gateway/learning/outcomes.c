#include "gateway/learning/outcomes.h"

#include "base/thread.h"
#include "gateway/learning/key.h"
#include "gateway/learning/lru.h"
#include "gateway/learning/outcomes_impl.h"
#include "router/selection/learning.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum {
    RECORDS_KEPT = 8192,
    USERS_KEPT = 65536,    /* a user and a candidate each */
    REQUESTS_KEPT = 16384, /* that may still get a verdict */
};

#define HALF_LIFE_S (30.0 * 86400) /* an outcome of so long ago counts half */
#define ELO_START 1500.0
#define ELO_SINGLE 0.1  /* of a comparison: a verdict compares with nobody */
#define HOLDS_START 0.7 /* as automix takes it where nothing is known */
#define HOLDS_STEP 0.1  /* of the moving average */

static const char *const words[] = {
#define OUTCOME_WORD(word) #word,
    OUTCOMES(OUTCOME_WORD)
};

int outcome_parse(enum outcome *ret, struct str word)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_is(word, words[i])) {
            *ret = (enum outcome)i;
            return 0;
        }
    return -EINVAL;
}

struct chosen {  /* a request that may get a verdict */
    char *names; /* owned: decision, model, adapter, user, each with its NUL */
    struct sha256 session;
    bool has_session, judged;
};

struct outcomes {
    pthread_mutex_t lock;
    struct lru *records; /* of struct record */
    struct lru *users;   /* of struct user_record */
    struct lru *chosen;  /* of struct chosen */
    bool dirty;
};

static void record_done(void *value)
{
    free(((struct record *)value)->names);
}

static void chosen_done(void *value)
{
    free(((struct chosen *)value)->names);
}

int outcomes_new(struct outcomes **ret)
{
    CLEANUP(outcomes_freep) struct outcomes *o = calloc(1, sizeof(*o));
    if (!o)
        return -ENOMEM;
    (void)pthread_mutex_init(&o->lock, /* attr= */ NULL);
    int r = lru_new(&o->records, RECORDS_KEPT, sizeof(struct record), record_done);
    if (r == 0)
        r = lru_new(&o->users, USERS_KEPT, sizeof(struct user_record), /* done= */ NULL);
    if (r == 0)
        r = lru_new(&o->chosen, REQUESTS_KEPT, sizeof(struct chosen), chosen_done);
    if (r == 0)
        *ret = TAKE(o);
    return r;
}

struct outcomes *outcomes_free(struct outcomes *o)
{
    if (!o)
        return NULL;
    (void)lru_free(o->records);
    (void)lru_free(o->users);
    (void)lru_free(o->chosen);
    (void)pthread_mutex_destroy(&o->lock);
    free(o);
    return NULL;
}

/* ---- records, under the lock ---- */

static bool learnable(const struct outcome_of *w)
{
    return w->model.n && w->model.n <= LIMIT_NAME && w->adapter.n <= LIMIT_NAME &&
           w->decision.n <= LIMIT_NAME;
}

/* The parts one after the other, each with its NUL, which no name holds. */
static char *join(const struct str *parts, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += parts[i].n + 1;
    char *text = calloc(1, bytes), *at = text;
    for (size_t i = 0; text && i < n; i++) {
        if (parts[i].n)
            memcpy(at, parts[i].p, parts[i].n);
        at += parts[i].n + 1;
    }
    return text;
}

static struct str part(const char *names, size_t i)
{
    for (; i > 0; i--)
        names += strlen(names) + 1;
    return str_of(names);
}

struct str record_name(const struct record *r, size_t i)
{
    return part(r->names, i);
}

static void decay(struct record *r, uint64_t now_s)
{
    if (now_s <= r->at_s)
        return;
    double keep = exp2(-(double)(now_s - r->at_s) / HALF_LIFE_S);
    for (int i = 0; i < OUTCOME_N; i++)
        r->counts.of[i] *= keep;
    r->counts.attempts *= keep;
    r->counts.comparisons *= keep;
    r->counts.rating = ELO_START + (r->counts.rating - ELO_START) * keep;
    r->counts.holds = HOLDS_START + (r->counts.holds - HOLDS_START) * keep;
    r->at_s = now_s;
}

static struct sha256 key_of(struct str decision, struct str model, struct str adapter)
{
    return learning_key((struct str[]){ decision, model, adapter }, 3);
}

static struct record *record_at(struct outcomes *o, struct str decision, const struct outcome_of *w,
                                uint64_t now_s)
{
    struct sha256 key = key_of(decision, w->model, w->adapter);
    struct record *r = lru_make(o->records, &key);
    if (!r)
        return NULL;
    if (!r->names) {
        r->names = join((struct str[]){ decision, w->model, w->adapter }, 3);
        r->counts.rating = ELO_START;
        r->counts.holds = HOLDS_START;
        r->at_s = now_s;
    }
    decay(r, now_s);
    return r->names ? r : NULL;
}

static bool is_success(enum outcome verdict)
{
    return verdict == OUTCOME_good_fit || verdict == OUTCOME_overprovisioned;
}

/* What a verdict says of a match against the average: an answer that somebody smaller could have
 * given is no win. */
static double match_of(enum outcome verdict)
{
    return verdict == OUTCOME_good_fit ? 1 : verdict == OUTCOME_overprovisioned ? 0.5 : 0;
}

static void judge_record(struct record *r, enum outcome verdict, double elo_k)
{
    if (!r)
        return;
    r->counts.of[verdict] += 1;
    r->counts.holds += HOLDS_STEP * ((is_success(verdict) ? 1 : 0) - r->counts.holds);
    r->counts.rating +=
        ELO_SINGLE * elo_k * (match_of(verdict) - elo_expected(r->counts.rating, ELO_START));
    r->counts.comparisons += 1;
}

static struct sha256 user_key(const struct outcome_of *w)
{
    return learning_key((struct str[]){ w->user, w->decision, w->model, w->adapter }, 4);
}

static void judge_user(struct outcomes *o, const struct outcome_of *w, enum outcome verdict,
                       uint64_t now_s)
{
    if (w->user.n == 0)
        return;
    struct sha256 key = user_key(w);
    struct user_record *u = lru_make(o->users, &key);
    if (!u)
        return;
    double keep = now_s > u->at_s ? exp2(-(double)(now_s - u->at_s) / HALF_LIFE_S) : 1;
    u->successes = u->successes * keep + (is_success(verdict) ? 1 : 0);
    u->failures = u->failures * keep + (is_success(verdict) ? 0 : 1);
    u->at_s = now_s;
}

static void judge(struct outcomes *o, const struct outcome_of *w, enum outcome verdict,
                  double elo_k, uint64_t now_s)
{
    if (!learnable(w))
        return;
    judge_record(record_at(o, STR(""), w, now_s), verdict, elo_k);
    if (w->decision.n)
        judge_record(record_at(o, w->decision, w, now_s), verdict, elo_k);
    judge_user(o, w, verdict, now_s);
    o->dirty = true;
}

/* ---- what happens ---- */

void outcomes_judge(struct outcomes *o, const struct outcome_of *who, enum outcome verdict,
                    double elo_k, uint64_t now_s)
{
    LOCKED(&o->lock);
    judge(o, who, verdict, elo_k, now_s);
}

static struct sha256 request_key(struct str id)
{
    return learning_key(&id, 1);
}

void outcomes_chosen(struct outcomes *o, struct str id, const struct outcome_of *who,
                     const struct sha256 *session, uint64_t now_s)
{
    struct sha256 key = request_key(id);
    if (!learnable(who))
        return;
    char *names = join((struct str[]){ who->decision, who->model, who->adapter, who->user }, 4);
    LOCKED(&o->lock);
    struct record *all = record_at(o, STR(""), who, now_s);
    struct record *own = who->decision.n ? record_at(o, who->decision, who, now_s) : NULL;
    struct chosen *c = names ? lru_make(o->chosen, &key) : NULL;
    if (all)
        all->counts.attempts += 1;
    if (own)
        own->counts.attempts += 1;
    if (!c) {
        free(names);
        return;
    }
    free(c->names);
    *c = (struct chosen){ .names = names, .has_session = session != NULL };
    if (session)
        c->session = *session;
}

enum outcome_found outcomes_judge_request(struct outcomes *o, struct str id, enum outcome verdict,
                                          double elo_k, uint64_t now_s)
{
    struct sha256 key = request_key(id);
    LOCKED(&o->lock);
    struct chosen *c = lru_find(o->chosen, &key);
    if (!c || !c->names)
        return OUTCOME_unknown;
    if (c->judged)
        return OUTCOME_again;
    c->judged = true;
    struct outcome_of who = { part(c->names, 0), part(c->names, 1), part(c->names, 2),
                              part(c->names, 3) };
    judge(o, &who, verdict, elo_k, now_s);
    return OUTCOME_first;
}

static void copy(char to[static LIMIT_NAME + 1], struct str from)
{
    from = str_head(from, LIMIT_NAME);
    if (from.n)
        memcpy(to, from.p, from.n);
    to[from.n] = '\0';
}

bool outcomes_request(struct outcomes *o, struct str id, struct outcome_request *ret)
{
    struct sha256 key = request_key(id);
    LOCKED(&o->lock);
    const struct chosen *c = lru_find(o->chosen, &key);
    if (!c || !c->names)
        return false;
    copy(ret->decision, part(c->names, 0));
    copy(ret->model, part(c->names, 1));
    copy(ret->adapter, part(c->names, 2));
    ret->session = c->session;
    ret->has_session = c->has_session;
    return true;
}

static void compare_records(struct record *a, struct record *b, const struct comparison *c)
{
    if (!a || !b || a == b)
        return;
    elo_update(&a->counts.rating, &b->counts.rating, c->elo_k, c->tie);
    a->counts.comparisons += 1;
    b->counts.comparisons += 1;
}

void outcomes_compare(struct outcomes *o, const struct comparison *c, uint64_t now_s)
{
    if (!learnable(&c->preferred) || !learnable(&c->other))
        return;
    LOCKED(&o->lock);
    compare_records(record_at(o, STR(""), &c->preferred, now_s),
                    record_at(o, STR(""), &c->other, now_s), c);
    if (c->preferred.decision.n)
        compare_records(record_at(o, c->preferred.decision, &c->preferred, now_s),
                        record_at(o, c->preferred.decision, &c->other, now_s), c);
    o->dirty = true;
}

/* ---- what is known ---- */

static double verdicts(const struct record *r)
{
    double sum = 0;
    for (int i = 0; i < OUTCOME_N; i++)
        sum += r->counts.of[i];
    return sum;
}

void outcomes_get(struct outcomes *o, const struct outcome_of *who, uint64_t now_s,
                  struct outcome_state *ret)
{
    struct sha256 all_key = key_of(STR(""), who->model, who->adapter);
    struct sha256 own_key = key_of(who->decision, who->model, who->adapter);
    struct sha256 key = user_key(who);
    *ret = (struct outcome_state){ 0 };
    LOCKED(&o->lock);
    struct record *all = lru_find(o->records, &all_key), *own = lru_find(o->records, &own_key);
    struct record *r = own && (verdicts(own) > 0 || own->counts.comparisons > 0) ? own : all;
    const struct user_record *u = who->user.n ? lru_find(o->users, &key) : NULL;
    if (r) {
        decay(r, now_s);
        ret->known = true;
        ret->judged = verdicts(r) > 0;
        ret->counts = r->counts;
        ret->counts.attempts = own ? own->counts.attempts : 0;
    }
    if (u) {
        double keep = now_s > u->at_s ? exp2(-(double)(now_s - u->at_s) / HALF_LIFE_S) : 1;
        ret->user_known = true;
        ret->user_successes = u->successes * keep;
        ret->user_failures = u->failures * keep;
    }
}

static void print_name(struct buf *b, const char *key, struct str name)
{
    buf_addf(b, "\"%s\":", key);
    buf_add_json(b, name);
    buf_addc(b, ',');
}

void outcomes_print(struct outcomes *o, uint64_t now_s, size_t max, struct buf *b)
{
    LOCKED(&o->lock);
    struct record *r = lru_next(o->records, NULL);
    buf_addc(b, '[');
    for (size_t n = 0; r && n < max; n++, r = lru_next(o->records, r)) {
        decay(r, now_s);
        buf_adds(b, n ? ",{" : "{");
        print_name(b, "decision", record_name(r, 0));
        print_name(b, "model", record_name(r, 1));
        print_name(b, "adapter", record_name(r, 2));
        for (int i = 0; i < OUTCOME_N; i++)
            buf_addf(b, "\"%s\":%.3f,", words[i], r->counts.of[i]);
        buf_addf(b, "\"requests\":%.3f,\"rating\":%.1f,\"comparisons\":%.3f,\"holds\":%.4f}",
                 r->counts.attempts, r->counts.rating, r->counts.comparisons, r->counts.holds);
    }
    buf_addc(b, ']');
}

size_t outcomes_len(struct outcomes *o)
{
    LOCKED(&o->lock);
    return lru_len(o->records);
}

/* ---- for the file ---- */

bool outcomes_take_dirty(struct outcomes *o)
{
    LOCKED(&o->lock);
    bool dirty = o->dirty;
    o->dirty = false;
    return dirty;
}

void outcomes_each(struct outcomes *o, outcomes_fn fn, void *ctx)
{
    LOCKED(&o->lock);
    for (const struct record *r = lru_next(o->records, NULL); r; r = lru_next(o->records, r))
        fn(ctx, r, /* user= */ NULL, /* u= */ NULL);
    for (const struct user_record *u = lru_next(o->users, NULL); u; u = lru_next(o->users, u))
        fn(ctx, /* r= */ NULL, lru_key(u), u);
}

int outcomes_put(struct outcomes *o, const struct outcome_of *w,
                 const struct outcome_counts *counts, uint64_t at_s)
{
    LOCKED(&o->lock);
    if (!learnable(w))
        return -EINVAL;
    struct record *r = record_at(o, w->decision, w, at_s);
    if (!r)
        return -ENOMEM;
    r->counts = *counts;
    r->at_s = at_s;
    return 0;
}

int outcomes_put_user(struct outcomes *o, const struct sha256 *key, const struct user_record *from)
{
    LOCKED(&o->lock);
    struct user_record *u = lru_make(o->users, key);
    if (!u)
        return -ENOMEM;
    *u = *from;
    return 0;
}
