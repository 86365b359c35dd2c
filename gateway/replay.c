#include "gateway/replay.h"

#include "base/thread.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SERIES_MAX = 1024, /* decisions counted apart; the rest are one */
    BUCKETS_MAX = 256, /* names of one distribution; the rest are "other" */
};

const char *const replay_states[] = {
    [REPLAY_completed] = "completed", [REPLAY_failed] = "failed", [REPLAY_aborted] = "aborted"
};

/* The records of one decision of one recipe. */
struct series {
    struct str recipe, decision; /* owned, one block */
    size_t n;
    struct kept *oldest, *newest;
};

/* A record and its text, in one block. */
struct kept {
    struct kept *older, *newer;               /* of all */
    struct kept *series_older, *series_newer; /* of its decision */
    struct series *series;
    size_t bytes; /* of the block */
    struct replay_record r;
    char text[];
};

struct replay {
    size_t max_records, max_bytes;
    pthread_mutex_t lock; /* of all below */
    struct kept *oldest, *newest;
    size_t n, bytes;
    struct series *series[SERIES_MAX]; /* the last one collects what has none of its own */
    size_t n_series;
};

struct replay *replay_new(size_t max_records, size_t max_bytes)
{
    struct replay *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->max_records = max_records;
    r->max_bytes = max_bytes;
    (void)pthread_mutex_init(&r->lock, NULL);
    return r;
}

/* ---- the lists ---- */

static void drop(struct replay *r, struct kept *k)
{
    struct series *s = k->series;
    *(k->older ? &k->older->newer : &r->oldest) = k->newer;
    *(k->newer ? &k->newer->older : &r->newest) = k->older;
    *(k->series_older ? &k->series_older->series_newer : &s->oldest) = k->series_newer;
    *(k->series_newer ? &k->series_newer->series_older : &s->newest) = k->series_older;
    s->n--;
    r->n--;
    r->bytes -= k->bytes;
    free(k);
}

static void append(struct replay *r, struct kept *k)
{
    struct series *s = k->series;
    k->older = r->newest;
    *(r->newest ? &r->newest->newer : &r->oldest) = k;
    r->newest = k;
    k->series_older = s->newest;
    *(s->newest ? &s->newest->series_newer : &s->oldest) = k;
    s->newest = k;
    s->n++;
    r->n++;
    r->bytes += k->bytes;
}

struct replay *replay_free(struct replay *r)
{
    if (!r)
        return NULL;
    while (r->oldest)
        drop(r, r->oldest);
    for (size_t i = 0; i < r->n_series; i++)
        free(r->series[i]);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}

static char *put_text(char *at, struct str text, struct str *ret)
{
    if (text.n)
        memcpy(at, text.p, text.n);
    *ret = (struct str){ at, text.n };
    return at + text.n;
}

/* The series of a decision; NULL: no memory. */
static struct series *series_of(struct replay *r, struct str recipe, struct str decision)
{
    for (size_t i = 0; i < r->n_series; i++)
        if (str_eq(r->series[i]->decision, decision) && str_eq(r->series[i]->recipe, recipe))
            return r->series[i];
    if (r->n_series == SERIES_MAX)
        return r->series[SERIES_MAX - 1];
    struct series *s = calloc(1, sizeof(*s) + recipe.n + decision.n + 1);
    if (!s)
        return NULL;
    char *at = put_text((char *)(s + 1), recipe, &s->recipe);
    (void)put_text(at, decision, &s->decision);
    r->series[r->n_series++] = s;
    return s;
}

static size_t block_bytes(const struct replay_record *in)
{
    return sizeof(struct kept) + in->id.n + in->request.n + in->recipe.n + in->decision.n +
           in->model.n + in->session.n + in->summary.n + in->details.n;
}

static struct kept *copy(const struct replay_record *in, size_t bytes)
{
    struct kept *k = malloc(bytes);
    if (!k)
        return NULL;
    *k = (struct kept){ .bytes = bytes, .r = *in };
    char *at = put_text(k->text, in->id, &k->r.id);
    at = put_text(at, in->request, &k->r.request);
    at = put_text(at, in->recipe, &k->r.recipe);
    at = put_text(at, in->decision, &k->r.decision);
    at = put_text(at, in->model, &k->r.model);
    at = put_text(at, in->session, &k->r.session);
    at = put_text(at, in->summary, &k->r.summary);
    (void)put_text(at, in->details, &k->r.details);
    return k;
}

int replay_put(struct replay *r, const struct replay_record *record)
{
    size_t bytes = block_bytes(record);
    if (bytes > REPLAY_RECORD_BYTES || bytes > r->max_bytes || r->max_records == 0)
        return -E2BIG;
    struct kept *k = copy(record, bytes); /* before the lock: it may be large */
    if (!k)
        return -ENOMEM;
    LOCKED(&r->lock);
    k->series = series_of(r, record->recipe, record->decision);
    if (!k->series) {
        free(k);
        return -ENOMEM;
    }
    while (record->max_records && k->series->n >= record->max_records)
        drop(r, k->series->oldest);
    while (r->n >= r->max_records || r->bytes + bytes > r->max_bytes)
        drop(r, r->oldest);
    append(r, k);
    return 0;
}

struct replay_usage replay_usage(struct replay *r)
{
    LOCKED(&r->lock);
    return (struct replay_usage){ r->n, r->bytes };
}

/* ---- reading ---- */

static bool has_nocase(struct str text, struct str what)
{
    for (size_t i = 0; i + what.n <= text.n; i++)
        if (str_eq_nocase(str_head(str_sub(text, i), what.n), what))
            return true;
    return false;
}

static bool is_like(struct str value, struct str wanted)
{
    return wanted.n == 0 || str_eq(value, wanted);
}

static bool fits(const struct kept *k, const struct replay_query *q)
{
    return is_like(k->r.recipe, q->recipe) && is_like(k->r.decision, q->decision) &&
           is_like(k->r.model, q->model) && is_like(k->r.session, q->session) &&
           (q->search.n == 0 || has_nocase(k->r.summary, q->search));
}

static void print(const struct kept *k, bool details, struct buf *b)
{
    buf_addc(b, '{');
    buf_add(b, k->r.summary);
    if (details)
        buf_add(b, k->r.details);
    buf_addc(b, '}');
}

bool replay_show(struct replay *r, struct str id, struct buf *b)
{
    LOCKED(&r->lock);
    for (const struct kept *k = r->newest; k; k = k->older)
        if (str_eq(k->r.id, id)) {
            print(k, /* details= */ true, b);
            return true;
        }
    return false;
}

struct str replay_request(struct replay *r, struct str id, struct arena *arena)
{
    LOCKED(&r->lock);
    for (const struct kept *k = r->newest; k; k = k->older)
        if (str_eq(k->r.id, id))
            return arena_str(arena, k->r.request);
    return STR_NULL;
}

void replay_list(struct replay *r, const struct replay_query *q, struct buf *b)
{
    CLEANUP(buf_done) struct buf data = BUF_INIT(REPLAY_ANSWER_BYTES + REPLAY_RECORD_BYTES);
    size_t total = 0, count = 0;
    bool full = false;
    {
        LOCKED(&r->lock);
        for (const struct kept *k = r->newest; k; k = k->older) {
            if (!fits(k, q))
                continue;
            bool shown = total++ >= q->offset && count < q->limit && !full;
            full = full || (shown && data.n + k->bytes > REPLAY_ANSWER_BYTES);
            if (!shown || full)
                continue;
            buf_adds(&data, count++ ? "," : "");
            print(k, q->details, &data);
        }
    }
    bool more = q->offset + count < total;
    buf_addf(b,
             "{\"object\":\"list\",\"count\":%zu,\"total\":%zu,\"limit\":%zu,\"offset\":%zu,"
             "\"has_more\":%s",
             count, total, q->limit, q->offset, more ? "true" : "false");
    if (more)
        buf_addf(b, ",\"next_offset\":%zu", q->offset + count);
    buf_adds(b, ",\"data\":[");
    buf_add(b, buf_str(&data));
    buf_adds(b, "]}");
}

/* ---- sums ---- */

struct bucket {
    struct str name; /* borrowed of a record, under the lock */
    size_t n;
    uint64_t prompt, completion;
};

struct distribution {
    struct bucket buckets[BUCKETS_MAX];
    size_t n;
};

struct sums {
    struct distribution models, decisions, recipes;
    size_t records, states[3], unused;
    uint64_t prompt, completion;
};

static void count(struct distribution *d, struct str name, const struct replay_record *r)
{
    size_t i = 0;
    if (name.n == 0)
        name = STR("none");
    while (i < d->n && !str_eq(d->buckets[i].name, name))
        i++;
    if (i == BUCKETS_MAX) {
        i = BUCKETS_MAX - 1;
        d->buckets[i].name = STR("other");
    }
    if (i == d->n)
        d->buckets[d->n++] = (struct bucket){ .name = name };
    d->buckets[i].n++;
    d->buckets[i].prompt += r->prompt_tokens;
    d->buckets[i].completion += r->completion_tokens;
}

static int by_count(const void *a, const void *b)
{
    const struct bucket *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : str_cmp(x->name, y->name);
}

static void print_counts(const char *key, struct distribution *d, struct buf *b)
{
    qsort(d->buckets, d->n, sizeof(d->buckets[0]), by_count);
    buf_addf(b, ",\"%s\":[", key);
    for (size_t i = 0; i < d->n; i++) {
        buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        buf_add_json(b, d->buckets[i].name);
        buf_addf(b, ",\"value\":%zu}", d->buckets[i].n);
    }
    buf_addc(b, ']');
}

static void print_tokens(const char *key, const struct distribution *d, struct buf *b)
{
    buf_addf(b, "\"%s\":[", key);
    for (size_t i = 0; i < d->n; i++) {
        const struct bucket *k = &d->buckets[i];
        uint64_t sum = k->prompt + k->completion;
        buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        buf_add_json(b, k->name);
        buf_addf(b, ",\"input_tokens\":%llu,\"output_tokens\":%llu,\"total_tokens\":%llu}",
                 (unsigned long long)k->prompt, (unsigned long long)k->completion,
                 (unsigned long long)sum);
    }
    buf_addc(b, ']');
}

static void print_names(const char *key, const struct distribution *d, struct buf *b)
{
    buf_addf(b, ",\"%s\":[", key);
    for (size_t i = 0; i < d->n; i++) {
        buf_adds(b, i ? "," : "");
        buf_add_json(b, d->buckets[i].name);
    }
    buf_addc(b, ']');
}

static void print_sums(struct sums *s, struct buf *b)
{
    buf_addf(b, "{\"object\":\"router_replay.aggregate\",\"record_count\":%zu,\"lifecycle\":{",
             s->records);
    for (size_t i = 0; i < sizeof(s->states) / sizeof(s->states[0]); i++)
        buf_addf(b, "%s\"%s\":%zu", i ? "," : "", replay_states[i], s->states[i]);
    buf_addc(b, '}');
    uint64_t sum = s->prompt + s->completion;
    print_counts("model_selection", &s->models, b);
    print_counts("decision_distribution", &s->decisions, b);
    buf_addf(b,
             ",\"token_volume\":{\"input_tokens\":%llu,\"output_tokens\":%llu,"
             "\"total_tokens\":%llu,\"excluded_record_count\":%zu},\"token_breakdown\":{",
             (unsigned long long)s->prompt, (unsigned long long)s->completion,
             (unsigned long long)sum, s->unused);
    print_tokens("by_decision", &s->decisions, b);
    buf_addc(b, ',');
    print_tokens("by_selected_model", &s->models, b);
    buf_addc(b, '}');
    print_names("available_recipes", &s->recipes, b);
    print_names("available_decisions", &s->decisions, b);
    print_names("available_models", &s->models, b);
    buf_addc(b, '}');
}

void replay_aggregate(struct replay *r, const struct replay_query *q, struct buf *b)
{
    CLEANUP(own_free) struct sums *s = calloc(1, sizeof(*s));
    if (!s) {
        b->err = -ENOMEM;
        return;
    }
    LOCKED(&r->lock);
    for (const struct kept *k = r->newest; k; k = k->older) {
        if (!fits(k, q))
            continue;
        s->records++;
        s->states[k->r.state]++;
        s->unused += !k->r.has_usage;
        s->prompt += k->r.prompt_tokens;
        s->completion += k->r.completion_tokens;
        count(&s->models, k->r.model, &k->r);
        count(&s->decisions, k->r.decision, &k->r);
        count(&s->recipes, k->r.recipe, &k->r);
    }
    print_sums(s, b);
}
