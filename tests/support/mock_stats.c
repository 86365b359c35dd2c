#include "tests/support/mock_stats.h"

#include "base/thread.h"
#include "tests/support/mock_script.h"

#include <errno.h>

enum { IDS = 4096, TRIES = 16384, SCRIPT = 1024 };

struct id {
    char name[MOCK_NAME];
    unsigned tries;
    bool released;
};

struct mock_stats {
    _Atomic int64_t counts[MOCK_COUNT_N];
    pthread_mutex_t lock;
    struct id ids[IDS]; /* open addressing; an empty name is a free place */
    size_t n_tries;
    struct mock_try tries[TRIES];
    uint32_t owner[TRIES]; /* index in ids */
    char script[SCRIPT];
};

int mock_stats_new(struct mock_stats **ret)
{
    struct mock_stats *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    (void)pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

struct mock_stats *mock_stats_free(struct mock_stats *s)
{
    if (!s)
        return NULL;
    mock_stats_reset(s);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

void mock_count(struct mock_stats *s, enum mock_count c, int64_t n)
{
    __atomic_fetch_add(&s->counts[c], n, __ATOMIC_RELAXED);
}

uint64_t mock_counted(struct mock_stats *s, enum mock_count c)
{
    return (uint64_t)__atomic_load_n(&s->counts[c], __ATOMIC_RELAXED);
}

/* The place of the name, or the free one where it belongs; NULL: neither. */
static struct id *id_find(struct mock_stats *s, struct str name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < name.n; i++)
        hash = (hash ^ (uint8_t)name.p[i]) * 16777619u;
    for (size_t i = 0; i < IDS; i++) {
        struct id *id = &s->ids[(hash + i) % IDS];
        if (!id->name[0] || str_is(name, id->name))
            return id;
    }
    return NULL;
}

static struct id *id_take(struct mock_stats *s, struct str name)
{
    struct id *id = name.n && name.n < MOCK_NAME ? id_find(s, name) : NULL;

    if (id && !id->name[0])
        memcpy(id->name, name.p, name.n);
    return id;
}

uint32_t mock_try_begin(struct mock_stats *s, struct str id, const struct mock_try *begin,
                        struct str request, unsigned *ret_number)
{
    char *copy = str_dup(request);
    LOCKED(&s->lock);
    struct id *of = id_take(s, id);

    *ret_number = of ? of->tries++ : 0;
    if (!of || !copy || s->n_tries == TRIES) {
        free(copy);
        return MOCK_NO_TRY;
    }
    uint32_t record = (uint32_t)s->n_tries++;
    s->tries[record] = *begin;
    s->tries[record].request = copy;
    s->tries[record].request_bytes = request.n;
    s->owner[record] = (uint32_t)(of - s->ids);
    return record;
}

void mock_try_set(struct mock_stats *s, uint32_t record, const struct mock_try *now)
{
    LOCKED(&s->lock);
    if (record >= s->n_tries)
        return; /* forgotten meanwhile */
    struct mock_try *t = &s->tries[record];
    char *request = t->request;
    size_t n = t->request_bytes;
    *t = *now;
    t->request = request;
    t->request_bytes = n;
}

void mock_release(struct mock_stats *s, struct str id)
{
    LOCKED(&s->lock);
    struct id *of = id_take(s, id);
    if (of)
        of->released = true;
}

bool mock_released(struct mock_stats *s, struct str id)
{
    LOCKED(&s->lock);
    const struct id *of = id_find(s, id);
    return of && of->released;
}

void mock_stats_reset(struct mock_stats *s)
{
    LOCKED(&s->lock);
    for (size_t i = 0; i < s->n_tries; i++)
        free(s->tries[i].request);
    s->n_tries = 0;
    memset(s->ids, 0, sizeof(s->ids));
    s->script[0] = '\0';
}

void mock_default_set(struct mock_stats *s, struct str script)
{
    LOCKED(&s->lock);
    script = str_head(script, SCRIPT - 1);
    memcpy(s->script, script.p ? script.p : "", script.n);
    s->script[script.n] = '\0';
}

void mock_default_get(struct mock_stats *s, char *ret, size_t room)
{
    ret[0] = '\0';
    if (!__atomic_load_n(&s->script[0], __ATOMIC_RELAXED))
        return;
    LOCKED(&s->lock);
    (void)snprintf(ret, room, "%s", s->script);
}

void mock_stats_print(struct mock_stats *s, struct buf *b)
{
    static const char *const names[] = {
#define COUNT_NAME(name) #name,
        MOCK_COUNTS(COUNT_NAME)
#undef COUNT_NAME
    };
    for (unsigned i = 0; i < MOCK_COUNT_N; i++)
        buf_addf(b, "%s\"%s\":%lld", i ? "," : "{", names[i],
                 (long long)mock_counted(s, (enum mock_count)i));
    buf_addc(b, '}');
}

static void try_print(const struct mock_try *t, struct buf *b)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        { "connection", t->connection },
        { "on_connection", t->on_connection },
        { "port", t->port },
        { "connected_us", t->connected_us },
        { "request_us", t->request_us },
        { "head_us", t->head_us },
        { "first_us", t->first_us },
        { "end_us", t->end_us },
        { "left_us", t->left_us },
        { "blocked_us", t->blocked_us },
        { "bytes", t->bytes },
        { "frames", t->frames },
        { "request_bytes", t->request_bytes },
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        buf_addf(b, "%s\"%s\":%llu", i ? "," : "{", fields[i].name,
                 (unsigned long long)fields[i].value);
    buf_addc(b, '}');
}

void mock_tries_print(struct mock_stats *s, struct str id, struct buf *b)
{
    LOCKED(&s->lock);
    const struct id *of = id_find(s, id);
    bool any = false;

    buf_addc(b, '[');
    for (size_t i = 0; of && of->name[0] && i < s->n_tries; i++) {
        if (&s->ids[s->owner[i]] != of)
            continue;
        if (any)
            buf_addc(b, ',');
        any = true;
        try_print(&s->tries[i], b);
    }
    buf_addc(b, ']');
}

void mock_request_print(struct mock_stats *s, struct str id, struct buf *b)
{
    LOCKED(&s->lock);
    const struct id *of = id_find(s, id);

    for (size_t i = s->n_tries; of && of->name[0] && i-- > 0;)
        if (&s->ids[s->owner[i]] == of) {
            buf_add(b, (struct str){ s->tries[i].request, s->tries[i].request_bytes });
            return;
        }
}
