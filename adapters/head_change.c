#include "adapters/head_change.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"

struct draft { /* room for one more of each */
    struct head head;
    struct head_revision revisions[LIMIT_REVISIONS];
    struct head_alias aliases[LIMIT_ALIASES];
};

static struct draft *draft_of(const struct head *now)
{
    struct draft *d = calloc(1, sizeof(*d));
    if (!d || !now)
        return d;
    d->head = (struct head){ .epoch = now->epoch,
                             .base = now->base,
                             .adapter = now->adapter,
                             .description = now->description,
                             .canary_weight = now->canary_weight,
                             .shadow_weight = now->shadow_weight,
                             .canary_salt = now->canary_salt,
                             .examples = now->examples,
                             .n_examples = now->n_examples,
                             .n_revisions = now->n_revisions,
                             .n_aliases = now->n_aliases };
    memcpy(d->revisions, now->revisions, now->n_revisions * sizeof(*d->revisions));
    memcpy(d->aliases, now->aliases, now->n_aliases * sizeof(*d->aliases));
    return d;
}

static struct head *draft_done(struct draft *d)
{
    d->head.revisions = d->revisions;
    d->head.aliases = d->aliases;
    return head_new(&d->head);
}

static struct head_alias *draft_alias(struct draft *d, struct str name)
{
    for (size_t i = 0; i < d->head.n_aliases; i++)
        if (str_eq(d->aliases[i].name, name))
            return &d->aliases[i];
    return NULL;
}

static void drop_alias(struct draft *d, struct str name)
{
    struct head_alias *a = draft_alias(d, name);
    if (a)
        *a = d->aliases[--d->head.n_aliases];
}

static int full(const struct draft *d, const char *of_what, int limit, struct fail *reterr)
{
    return fail_set(reterr, FAIL_conflict, "adapter '%.*s' has %d %s already",
                    STR_ARG(str_head(d->head.adapter, 100)), limit, of_what);
}

static int set_alias(struct draft *d, struct str name, const struct sha256 *to, struct fail *reterr)
{
    struct head_alias *a = draft_alias(d, name);
    if (a && sha256_eq(&a->digest, to))
        return 0;
    if (!a && d->head.n_aliases == LIMIT_ALIASES)
        return full(d, "aliases", LIMIT_ALIASES, reterr);
    if (a) {
        a->previous = a->digest;
        a->moved = true;
    } else {
        a = &d->aliases[d->head.n_aliases++];
        *a = (struct head_alias){ .name = name };
    }
    a->digest = *to;
    return 0;
}

/* A move of `prod` leaves its former revision in `prev`. */
static int move_alias(struct draft *d, struct str name, const struct sha256 *to,
                      struct fail *reterr)
{
    const struct head_alias *a = draft_alias(d, name);
    struct sha256 from = { 0 };
    bool had = a != NULL;
    if (a)
        from = a->digest;
    int r = set_alias(d, name, to, reterr);
    if (r == 0 && had && str_is(name, ALIAS_PROD) && !sha256_eq(&from, to))
        r = set_alias(d, STR(ALIAS_PREV), &from, reterr);
    return r;
}

static void add_line(struct head_step *s, const char *what, struct str alias,
                     const struct sha256 *from, const struct sha256 *to)
{
    struct head_line *l = &s->lines[s->n_lines++];
    *l = (struct head_line){
        .what = what, .alias = alias, .has_from = from != NULL, .has_to = to != NULL
    };
    if (from)
        l->from = *from;
    if (to)
        l->to = *to;
}

static void tell(struct head_step *s, struct str alias, const struct sha256 *names)
{
    s->alias = alias;
    s->has_names = names != NULL;
    if (names)
        s->names = *names;
}

static void stays(struct head_step *s, struct head *now)
{
    s->head = head_ref(now);
    s->same = true;
}

void head_step_done(struct head_step *s)
{
    s->head = head_unref(s->head);
}

/* ---- the operations (the draft is a copy of `now`) ---- */

struct task {
    struct head_step *step;
    struct draft *draft;
    struct head *now;
    const struct adapter_change *c;
};

static void end_canary(struct draft *d)
{
    drop_alias(d, STR(ALIAS_CANARY));
    d->head.canary_weight = 0;
    d->head.canary_salt = 0;
}

static bool ends_canary(const struct draft *d, struct str alias, const struct sha256 *to)
{
    for (size_t i = 0; i < d->head.n_aliases; i++)
        if (str_is(d->aliases[i].name, ALIAS_CANARY))
            return str_is(alias, ALIAS_PROD) && d->head.canary_weight &&
                   sha256_eq(&d->aliases[i].digest, to);
    return false;
}

/* Moves the alias of the change and records it. */
static int place(struct task *t, const char *what, struct str alias, const struct sha256 *to,
                 struct fail *reterr)
{
    const struct head_alias *a = head_alias(t->now, alias);
    bool ends = ends_canary(t->draft, alias, to);
    tell(t->step, alias, to);
    if (a && sha256_eq(&a->digest, to) && !ends) {
        stays(t->step, t->now);
        return 0;
    }
    int r = move_alias(t->draft, alias, to, reterr);
    if (ends)
        end_canary(t->draft);
    add_line(t->step, what, alias, a ? &a->digest : NULL, to);
    return r;
}

static struct str alias_of(const struct adapter_change *c)
{
    return c->alias.n ? c->alias : STR(ALIAS_PROD);
}

static int promote(struct task *t, struct fail *reterr)
{
    const struct head_revision *to;
    struct str source;
    int r = head_select(t->now, t->c->selector, /* ordinals= */ true, &to, &source, reterr);
    return r == 0 ? place(t, "alias", alias_of(t->c), &to->digest, reterr) : r;
}

static int rollback(struct task *t, struct fail *reterr)
{
    struct str alias = alias_of(t->c);
    const struct head_alias *a = head_alias(t->now, alias);
    if (!a || !a->moved || !head_revision(t->now, &a->previous))
        return fail_param(reterr, FAIL_conflict, "alias",
                          "adapter '%.100s' has no alias of this name that was moved before and "
                          "whose former revision is still there",
                          t->now->adapter.p);
    struct sha256 to = a->previous;
    return place(t, "rollback", alias, &to, reterr);
}

/* A canary or a shadow: an alias with a weight. */
static int weigh(struct task *t, const char *what, struct str alias, uint32_t *weight,
                 struct fail *reterr)
{
    const struct head_revision *to;
    struct str source;
    const struct head_alias *prod = head_alias(t->now, STR(ALIAS_PROD)),
                            *a = head_alias(t->now, alias);
    if (t->c->weight > CANARY_WHOLE)
        return fail_param(reterr, FAIL_invalid_request, "weight",
                          "the weight is a number of 0 to %d, in parts of %d", CANARY_WHOLE,
                          CANARY_WHOLE);
    int r = head_select(t->now, t->c->selector, /* ordinals= */ true, &to, &source, reterr);
    if (r != 0)
        return r;
    if (!prod)
        return fail_param(reterr, FAIL_conflict, "alias",
                          "adapter '%.100s' has no alias 'prod' to compare a %s with; promote a "
                          "revision first",
                          t->now->adapter.p, what);
    if (sha256_eq(&prod->digest, &to->digest))
        return fail_param(reterr, FAIL_conflict, "revision",
                          "'prod' of adapter '%.100s' names this revision already",
                          t->now->adapter.p);
    tell(t->step, alias, &to->digest);
    bool there = a && sha256_eq(&a->digest, &to->digest);
    if (there && *weight == t->c->weight) {
        stays(t->step, t->now);
        return 0;
    }
    if (str_is(alias, ALIAS_CANARY) && !(there && *weight))
        t->draft->head.canary_salt = 0; /* that of the epoch to come */
    *weight = t->c->weight;
    add_line(t->step, what, alias, a ? &a->digest : NULL, &to->digest);
    return set_alias(t->draft, alias, &to->digest, reterr);
}

/* Takes a canary or a shadow back; there may be none. */
static void take_back(struct task *t, const char *what, struct str alias, uint32_t *weight)
{
    const struct head_alias *a = head_alias(t->now, alias),
                            *prod = head_alias(t->now, STR(ALIAS_PROD));
    tell(t->step, STR(ALIAS_PROD), prod ? &prod->digest : NULL);
    if (!a && !*weight) {
        stays(t->step, t->now);
        return;
    }
    drop_alias(t->draft, alias);
    *weight = 0;
    if (str_is(alias, ALIAS_CANARY))
        t->draft->head.canary_salt = 0;
    add_line(t->step, what, alias, a ? &a->digest : NULL, NULL);
}

static int shadow(struct task *t, struct fail *reterr)
{
    uint32_t *weight = &t->draft->head.shadow_weight;
    if (t->c->weight)
        return weigh(t, "shadow", STR(ALIAS_SHADOW), weight, reterr);
    take_back(t, "shadow", STR(ALIAS_SHADOW), weight);
    return 0;
}

static int retire_revision(struct task *t, struct fail *reterr)
{
    const struct head_revision *gone;
    struct str source;
    struct draft *d = t->draft;
    int r = head_select(t->now, t->c->selector, /* ordinals= */ true, &gone, &source, reterr);
    if (r != 0)
        return r;
    for (size_t i = 0; i < t->now->n_aliases; i++)
        if (sha256_eq(&t->now->aliases[i].digest, &gone->digest))
            return fail_param(reterr, FAIL_conflict, "revision",
                              "the alias '%.80s' of adapter '%.80s' names this revision; move it "
                              "first",
                              t->now->aliases[i].name.p, t->now->adapter.p);
    size_t at = (size_t)(gone - t->now->revisions);
    if (t->now->n_revisions == 1) /* and with the last one the adapter */
        t->step->has_names = false;
    memmove(&d->revisions[at], &d->revisions[at + 1],
            (d->head.n_revisions - at - 1) * sizeof(*d->revisions));
    d->head.n_revisions--;
    for (size_t i = 0; i < d->head.n_aliases; i++)
        if (d->aliases[i].moved && sha256_eq(&d->aliases[i].previous, &gone->digest))
            d->aliases[i].moved = false;
    t->step->former = gone->digest;
    t->step->has_former = true;
    tell(t->step, STR(""), NULL);
    add_line(t->step, "retire", STR(""), &gone->digest, NULL);
    return 0;
}

static int run(struct task *t, struct fail *reterr)
{
    struct head *h = &t->draft->head;
    switch (t->c->op) {
    case ADAPTER_OP_promote:
        return promote(t, reterr);
    case ADAPTER_OP_rollback:
        return rollback(t, reterr);
    case ADAPTER_OP_canary:
        return weigh(t, "canary", STR(ALIAS_CANARY), &h->canary_weight, reterr);
    case ADAPTER_OP_abort:
        take_back(t, "abort", STR(ALIAS_CANARY), &h->canary_weight);
        return 0;
    case ADAPTER_OP_shadow:
        return shadow(t, reterr);
    case ADAPTER_OP_retire:
        if (t->c->selector.n)
            return retire_revision(t, reterr);
        add_line(t->step, "retire", STR(""), NULL, NULL);
        tell(t->step, STR(""), NULL);
        return 0;
    case ADAPTER_OPS:
        break;
    }
    return -EINVAL;
}

static int check(const struct head *now, const struct adapter_change *c, struct fail *reterr)
{
    if (c->if_match && c->if_match != now->epoch)
        return fail_param(reterr, FAIL_precondition_failed, "if_match",
                          "adapter '%.100s' is at epoch %" PRIu64, now->adapter.p, now->epoch);
    struct str alias = c->op == ADAPTER_OP_canary || c->op == ADAPTER_OP_abort ? STR(ALIAS_CANARY)
                       : c->op == ADAPTER_OP_shadow                            ? STR(ALIAS_SHADOW)
                                                                               : alias_of(c);
    return alias_expect(head_alias(now, alias), c->expected, reterr);
}

int head_change(struct head_step *ret, struct head *now, const struct adapter_change *c,
                struct fail *reterr)
{
    *ret = (struct head_step){ 0 };
    int r = check(now, c, reterr);
    if (r != 0)
        return r;
    CLEANUP(own_free) struct draft *d = draft_of(now);
    if (!d)
        return -ENOMEM;
    struct task t = { ret, d, now, c };
    r = run(&t, reterr);
    bool whole = c->op == ADAPTER_OP_retire && (c->selector.n == 0 || d->head.n_revisions == 0);
    if (r == 0 && !ret->same && !whole && !(ret->head = draft_done(d)))
        r = -ENOMEM;
    if (r != 0)
        head_step_done(ret);
    return r;
}

/* ---- publishing ---- */

static int add_revision(struct head_step *s, struct draft *d, const struct publication *p,
                        struct fail *reterr)
{
    uint64_t ordinal = p->ordinal;
    if (d->head.n_revisions == LIMIT_REVISIONS)
        return full(d, "revisions", LIMIT_REVISIONS, reterr);
    for (size_t i = 0; i < d->head.n_revisions; i++)
        if (d->revisions[i].ordinal >= ordinal)
            ordinal = d->revisions[i].ordinal + 1;
    d->revisions[d->head.n_revisions++] =
        (struct head_revision){ .digest = p->digest,
                                .ordinal = ordinal ? ordinal : 1,
                                .created_s = clock_wall_s(),
                                .bytes = manifest_bytes(p->manifest),
                                .base_id = p->base_id,
                                .rank = p->rank };
    if (p->description.n)
        d->head.description = p->description;
    if (p->n_examples) {
        d->head.examples = (struct str *)p->examples;
        d->head.n_examples = p->n_examples;
    }
    add_line(s, "publish", STR(""), NULL, &p->digest);
    return 0;
}

int head_publish(struct head_step *ret, struct head *now, const struct publication *p,
                 struct fail *reterr)
{
    *ret = (struct head_step){ 0 };
    CLEANUP(own_free) struct draft *d = draft_of(now);
    if (!d)
        return -ENOMEM;
    int r = 0;
    bool first = d->head.n_revisions == 0;
    if (!now) {
        d->head.base = p->base;
        d->head.adapter = p->adapter;
        d->head.description = STR("");
    }
    if (!now || !head_revision(now, &p->digest))
        r = add_revision(ret, d, p, reterr);
    struct str alias = p->alias.n ? p->alias : first ? STR(ALIAS_PROD) : STR("");
    const struct head_alias *a = now && alias.n ? head_alias(now, alias) : NULL;
    if (r == 0 && alias.n && !(a && sha256_eq(&a->digest, &p->digest))) {
        bool ends = ends_canary(d, alias, &p->digest);
        r = move_alias(d, alias, &p->digest, reterr);
        if (ends)
            end_canary(d);
        add_line(ret, "alias", alias, a ? &a->digest : NULL, &p->digest);
    }
    tell(ret, p->alias, &p->digest);
    if (r == 0 && ret->n_lines == 0)
        stays(ret, now);
    else if (r == 0 && !(ret->head = draft_done(d)))
        r = -ENOMEM;
    return r;
}

/* ---- two histories ---- */

bool head_is_covered(const struct head *h, const struct head *known)
{
    for (size_t i = 0; i < h->n_revisions; i++)
        if (!head_revision(known, &h->revisions[i].digest))
            return false;
    return true;
}

struct head *head_merge(const struct head *known, const struct head *later)
{
    CLEANUP(own_free) struct draft *d = draft_of(known);
    if (!d)
        return NULL;
    for (size_t i = 0; i < later->n_revisions; i++) {
        struct head_revision r = later->revisions[i];
        if (head_revision(known, &r.digest))
            continue;
        if (d->head.n_revisions == LIMIT_REVISIONS)
            return NULL;
        r.ordinal = d->head.n_revisions ? d->revisions[d->head.n_revisions - 1].ordinal + 1 : 1;
        d->revisions[d->head.n_revisions++] = r;
    }
    for (size_t i = 0; i < later->n_aliases; i++)
        if (move_alias(d, later->aliases[i].name, &later->aliases[i].digest, NULL) != 0)
            return NULL;
    if (later->description.n)
        d->head.description = later->description;
    return draft_done(d);
}
