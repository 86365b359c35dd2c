/*
 * Which adapters should stay in memory: policies of eviction over the same traces.
 *
 *     build/tests/perf/residency_trace [seed]
 *
 * Each row is a trace (requests for objects with sizes; a miss must load, so something else goes);
 * each column a policy: its hit rate, and its loads over those of a clairvoyant one (Belady, 1966:
 * evicts what is used again last; with mixed sizes that over its bytes, a bound no longer exact).
 * `ours` is adapters/warmth.c itself. LRU; LFU counts uses while resident; GDSF: Cherkasova, 1998;
 * W-TinyLFU: Einziger et al., 2017 (window of 1 %, two segments, a sketch of 4-bit counters halved
 * every ten capacities); S3-FIFO: Yang et al., 2023 (a tenth of the bytes, a ghost queue).
 */
#include "adapters/warmth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECTS = 10000, REQUESTS = 400000, FRESH = REQUESTS, ALL = OBJECTS + FRESH };
#define MIB_BYTES (1024.0 * 1024)
#define NONE UINT32_MAX

struct trace {
    const char *name;
    uint32_t *at;   /* REQUESTS object numbers */
    uint32_t *next; /* the request that asks for the same object next; NONE */
    uint64_t *size; /* of ALL objects, bytes */
    uint64_t capacity;
};

struct result {
    uint64_t hits, loads;
    double bytes;
};

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

/* ---- traces ---- */

static double cumulative[OBJECTS];

static void zipf_prepare(double s)
{
    double sum = 0;
    for (unsigned i = 0; i < OBJECTS; i++)
        cumulative[i] = sum += pow(i + 1, -s);
    for (unsigned i = 0; i < OBJECTS; i++)
        cumulative[i] /= sum;
}

static uint32_t zipf(void)
{
    double u = uniform();
    uint32_t low = 0, high = OBJECTS - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (cumulative[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum pattern { STEADY, SCANNING, SHIFTING, LOOPING };

static void fill(struct trace *t, enum pattern p)
{
    enum { SHIFT_EVERY = 50000, LOOP_OVER = 3, SCAN = 2000, SCAN_EVERY = 10000 };
    uint32_t fresh = OBJECTS, entries = (uint32_t)(t->capacity / t->size[0]);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t shift = p == SHIFTING ? i / SHIFT_EVERY * 997 : 0;
        if (p == SCANNING && i % SCAN_EVERY < SCAN)
            t->at[i] = fresh++; /* asked for once, never again */
        else if (p == LOOPING && i % 2)
            t->at[i] = OBJECTS + i / 2 % (entries * LOOP_OVER / 2);
        else
            t->at[i] = (zipf() + shift) % OBJECTS;
    }
}

static void link_next(struct trace *t)
{
    uint32_t *seen = must(malloc(ALL * sizeof(*seen)));
    memset(seen, 0xff, ALL * sizeof(*seen));
    for (uint32_t i = REQUESTS; i-- > 0;) {
        t->next[i] = seen[t->at[i]];
        seen[t->at[i]] = i;
    }
    free(seen);
}

static struct trace make(const char *name, double s, enum pattern p, bool mixed, unsigned entries)
{
    static const unsigned mib[] = { 2, 4, 8, 16, 32, 64, 128 }; /* ranks 2 to 128 of one base */
    struct trace t = { .name = name,
                       .at = must(malloc(REQUESTS * sizeof(uint32_t))),
                       .next = must(malloc(REQUESTS * sizeof(uint32_t))),
                       .size = must(malloc(ALL * sizeof(uint64_t))) };
    double sum = 0;
    for (unsigned i = 0; i < ALL; i++) {
        t.size[i] = (uint64_t)((mixed ? mib[(unsigned)(uniform() * 7)] : 16) * MIB_BYTES);
        sum += (double)t.size[i];
    }
    t.capacity = (uint64_t)(sum / ALL * entries);
    zipf_prepare(s);
    fill(&t, p);
    link_next(&t);
    return t;
}

static void trace_done(struct trace *t)
{
    free(t->at);
    free(t->next);
    free(t->size);
}

/* ---- a cache whose victim is the least of a score (exact) ---- */

struct scored {
    double *score; /* of ALL; at their last change */
    uint32_t *in;  /* resident objects */
    uint32_t *where;
    uint32_t n;
    uint64_t bytes;
};

static void scored_start(struct scored *c)
{
    c->score = must(calloc(ALL, sizeof(double)));
    c->in = must(malloc(ALL * sizeof(uint32_t)));
    c->where = must(malloc(ALL * sizeof(uint32_t)));
    memset(c->where, 0xff, ALL * sizeof(uint32_t));
    c->n = 0;
    c->bytes = 0;
}

static void scored_end(struct scored *c)
{
    free(c->score);
    free(c->in);
    free(c->where);
}

static uint32_t scored_evict(struct scored *c, const struct trace *t)
{
    uint32_t least = 0;
    for (uint32_t i = 1; i < c->n; i++)
        if (c->score[c->in[i]] < c->score[c->in[least]])
            least = i;
    uint32_t victim = c->in[least], last = c->in[--c->n];
    c->in[least] = last;
    c->where[last] = least;
    c->where[victim] = NONE;
    c->bytes -= t->size[victim];
    return victim;
}

static void scored_insert(struct scored *c, const struct trace *t, uint32_t x)
{
    c->where[x] = c->n;
    c->in[c->n++] = x;
    c->bytes += t->size[x];
}

enum scoring { LRU, LFU, GDSF, BELADY };

static struct result run_scored(const struct trace *t, enum scoring by)
{
    struct scored c;
    struct result r = { 0 };
    double inflation = 0, *uses = must(calloc(ALL, sizeof(double)));
    scored_start(&c);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t x = t->at[i];
        double size = (double)t->size[x];
        bool hit = c.where[x] != NONE;
        if (!hit) {
            while (c.bytes + t->size[x] > t->capacity) {
                uint32_t v = scored_evict(&c, t);
                inflation = by == GDSF ? c.score[v] : 0;
                uses[v] = 0;
            }
            scored_insert(&c, t, x);
            r.loads++;
            r.bytes += size;
        }
        r.hits += hit;
        uses[x]++;
        double away = t->next[i] == NONE ? 1e12 : (double)t->next[i] - i;
        c.score[x] = by == LRU    ? i
                     : by == LFU  ? uses[x] + i / (2.0 * REQUESTS)
                     : by == GDSF ? inflation + uses[x] * (MIB_BYTES + size) / size
                                  : -(t->next[i] == NONE ? 1e12 : i + away);
    }
    scored_end(&c);
    free(uses);
    return r;
}

/* ---- ours ---- */

static struct result run_ours(const struct trace *t)
{
    struct warmth *w;
    struct result r = { 0 };
    struct warm *items = must(calloc(ALL, sizeof(*items)));
    bool *in = must(calloc(ALL, sizeof(*in)));
    uint64_t bytes = 0;
    if (warmth_new(&w) < 0)
        abort();
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t x = t->at[i];
        bool hit = in[x];
        r.hits += hit;
        if (hit) {
            warm_use(w, &items[x]);
            continue;
        }
        while (bytes + t->size[x] > t->capacity) {
            struct warm *v = warmth_least(w, NULL, NULL);
            warmth_del(w, v);
            warm_forget(w, v);
            in[v->id - 1] = false;
            bytes -= v->bytes;
        }
        warm_init(w, &items[x], x + 1, t->size[x]);
        warm_use(w, &items[x]);
        if (warmth_reserve(w, warmth_idle(w) + 1) < 0)
            abort();
        warmth_add(w, &items[x]);
        in[x] = true;
        bytes += t->size[x];
        r.loads++;
        r.bytes += (double)t->size[x];
    }
    (void)warmth_free(w);
    free(items);
    free(in);
    return r;
}

/* ---- queues, for S3-FIFO and W-TinyLFU ---- */

struct links {
    uint32_t *next, *prev; /* of ALL */
};

struct fifo {
    uint32_t first, last;
    uint64_t bytes;
};

static void fifo_push(struct fifo *q, struct links *l, const struct trace *t, uint32_t x)
{
    l->prev[x] = q->last;
    l->next[x] = NONE;
    *(q->last == NONE ? &q->first : &l->next[q->last]) = x;
    q->last = x;
    q->bytes += t->size[x];
}

static void fifo_drop(struct fifo *q, struct links *l, const struct trace *t, uint32_t x)
{
    *(l->prev[x] == NONE ? &q->first : &l->next[l->prev[x]]) = l->next[x];
    *(l->next[x] == NONE ? &q->last : &l->prev[l->next[x]]) = l->prev[x];
    q->bytes -= t->size[x];
}

static struct links links_new(void)
{
    return (struct links){ must(malloc(ALL * sizeof(uint32_t))),
                           must(malloc(ALL * sizeof(uint32_t))) };
}

static void links_free(struct links *l)
{
    free(l->next);
    free(l->prev);
}

enum place { OUT, SMALL, MAIN, GHOST, PROTECTED };

struct s3 {
    const struct trace *t;
    struct links l;
    struct fifo q[PROTECTED + 1];
    uint8_t *place, *uses;
};

static void move(struct s3 *c, uint32_t x, enum place to)
{
    if (c->place[x] != OUT)
        fifo_drop(&c->q[c->place[x]], &c->l, c->t, x);
    c->place[x] = (uint8_t)to;
    if (to != OUT)
        fifo_push(&c->q[to], &c->l, c->t, x);
}

static void s3_start(struct s3 *c, const struct trace *t)
{
    *c = (struct s3){
        .t = t, .l = links_new(), .place = must(calloc(ALL, 1)), .uses = must(calloc(ALL, 1))
    };
    for (unsigned i = 0; i <= PROTECTED; i++)
        c->q[i] = (struct fifo){ NONE, NONE, 0 };
}

static void s3_end(struct s3 *c)
{
    links_free(&c->l);
    free(c->place);
    free(c->uses);
}

static void s3_evict(struct s3 *c)
{
    uint64_t main = c->q[MAIN].bytes;
    if (c->q[SMALL].first != NONE && (c->q[SMALL].bytes > c->t->capacity / 10 || main == 0)) {
        uint32_t x = c->q[SMALL].first;
        bool again = c->uses[x] > 0; /* (the paper: more than once, with 0 at entry) */
        c->uses[x] = 0;
        move(c, x, again ? MAIN : GHOST);
        while (c->q[GHOST].bytes > c->t->capacity)
            move(c, c->q[GHOST].first, OUT);
        return;
    }
    uint32_t x = c->q[MAIN].first;
    if (c->uses[x] > 0) {
        c->uses[x]--;
        move(c, x, MAIN);
    } else {
        move(c, x, OUT);
    }
}

static struct result run_s3fifo(const struct trace *t)
{
    struct s3 c;
    struct result r = { 0 };
    s3_start(&c, t);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t x = t->at[i];
        if (c.place[x] == SMALL || c.place[x] == MAIN) {
            r.hits++;
            if (c.uses[x] < 3)
                c.uses[x]++;
            continue;
        }
        bool ghost = c.place[x] == GHOST;
        if (ghost)
            move(&c, x, OUT);
        while (c.q[SMALL].bytes + c.q[MAIN].bytes + t->size[x] > t->capacity)
            s3_evict(&c);
        c.uses[x] = 0;
        move(&c, x, ghost ? MAIN : SMALL);
        r.loads++;
        r.bytes += (double)t->size[x];
    }
    s3_end(&c);
    return r;
}

struct sketch {
    uint8_t *rows[4];
    uint32_t mask, added, window;
};

static uint8_t *sketch_cell(struct sketch *s, unsigned row, uint32_t x)
{
    uint64_t h = (x + 1) * (0x9e3779b97f4a7c15u + 2 * 0x632be59bd9b4e019u * row);
    return &s->rows[row][h >> 32 & s->mask];
}

static unsigned sketch_count(struct sketch *s, uint32_t x)
{
    unsigned least = 255;
    for (unsigned r = 0; r < 4; r++)
        if (*sketch_cell(s, r, x) < least)
            least = *sketch_cell(s, r, x);
    return least;
}

static void sketch_add(struct sketch *s, uint32_t x)
{
    for (unsigned r = 0; r < 4; r++)
        if (*sketch_cell(s, r, x) < 15)
            ++*sketch_cell(s, r, x);
    if (++s->added < s->window)
        return;
    s->added /= 2;
    for (unsigned r = 0; r < 4; r++)
        for (uint32_t i = 0; i <= s->mask; i++)
            s->rows[r][i] /= 2;
}

/* Window, then probation (MAIN) and protected; the window's oldest challenges probation's. */
static void tiny_evict(struct s3 *c, struct sketch *s)
{
    uint32_t candidate = c->q[SMALL].first, victim = c->q[MAIN].first;
    if (victim == NONE)
        victim = c->q[PROTECTED].first;
    if (candidate == NONE || (c->q[SMALL].bytes <= c->t->capacity / 100 && victim != NONE)) {
        move(c, victim, OUT);
    } else if (victim != NONE && sketch_count(s, candidate) > sketch_count(s, victim)) {
        move(c, victim, OUT);
        move(c, candidate, MAIN);
    } else {
        move(c, candidate, OUT);
    }
}

static struct result run_tinylfu(const struct trace *t)
{
    struct s3 c;
    struct sketch s = { .mask = 8191 };
    struct result r = { 0 };
    s.window = (uint32_t)(10 * (double)t->capacity / (16 * MIB_BYTES));
    for (unsigned i = 0; i < 4; i++)
        s.rows[i] = must(calloc(s.mask + 1, 1));
    s3_start(&c, t);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t x = t->at[i];
        sketch_add(&s, x);
        if (c.place[x] != OUT) {
            r.hits++;
            move(&c, x, c.place[x] == SMALL ? SMALL : PROTECTED);
            while (c.q[PROTECTED].bytes > t->capacity / 100 * 79)
                move(&c, c.q[PROTECTED].first, MAIN);
            continue;
        }
        while (c.q[SMALL].bytes + c.q[MAIN].bytes + c.q[PROTECTED].bytes + t->size[x] > t->capacity)
            tiny_evict(&c, &s);
        move(&c, x, SMALL);
        /* a window below its share gives to the main part while there is room */
        while (c.q[SMALL].bytes > t->capacity / 100 && c.q[SMALL].first != c.q[SMALL].last)
            move(&c, c.q[SMALL].first, MAIN);
        r.loads++;
        r.bytes += (double)t->size[x];
    }
    s3_end(&c);
    for (unsigned i = 0; i < 4; i++)
        free(s.rows[i]);
    return r;
}

/* ---- the table ---- */

static struct result run_lru(const struct trace *t)
{
    return run_scored(t, LRU);
}

static struct result run_lfu(const struct trace *t)
{
    return run_scored(t, LFU);
}

static struct result run_gdsf(const struct trace *t)
{
    return run_scored(t, GDSF);
}

static const struct {
    const char *name;
    struct result (*run)(const struct trace *t);
} policies[] = {
    { "LRU", run_lru },        { "LFU", run_lfu },           { "GDSF", run_gdsf },
    { "S3-FIFO", run_s3fifo }, { "W-TinyLFU", run_tinylfu }, { "ours", run_ours },
};

static void show(struct trace *t)
{
    struct result best = run_scored(t, BELADY);
    (void)printf("%-26s %5.1f%%      ", t->name, 100.0 * (double)best.hits / REQUESTS);
    for (unsigned i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
        struct result r = policies[i].run(t);
        (void)printf("  %5.1f%% %4.2f %4.2f", 100.0 * (double)r.hits / REQUESTS,
                     (double)r.loads / (double)best.loads, r.bytes / best.bytes);
    }
    (void)printf("\n");
    (void)fflush(stdout);
    trace_done(t);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        double s;
        enum pattern pattern;
        bool mixed;
        unsigned entries;
    } rows[] = {
        { "zipf 0.8, 64", 0.8, STEADY, false, 64 },
        { "zipf 1.0, 64", 1.0, STEADY, false, 64 },
        { "zipf 1.2, 64", 1.2, STEADY, false, 64 },
        { "zipf 0.8, 512", 0.8, STEADY, false, 512 },
        { "zipf 1.0, 512", 1.0, STEADY, false, 512 },
        { "zipf 1.2, 512", 1.2, STEADY, false, 512 },
        { "zipf 1.0 + scans, 256", 1.0, SCANNING, false, 256 },
        { "zipf 1.0 shifting, 256", 1.0, SHIFTING, false, 256 },
        { "zipf 1.0 + loop, 256", 1.0, LOOPING, false, 256 },
        { "mixed sizes, zipf 0.8, 256", 0.8, STEADY, true, 256 },
        { "mixed sizes, zipf 1.0, 256", 1.0, STEADY, true, 256 },
        { "mixed, scans, 1.0, 256", 1.0, SCANNING, true, 256 },
        { "mixed, shifting, 1.0, 256", 1.0, SHIFTING, true, 256 },
    };
    if (argc > 1)
        state ^= strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15u;
    (void)printf("%-26s %-12s", "trace, entries that fit", "Belady hits");
    for (unsigned i = 0; i < sizeof(policies) / sizeof(*policies); i++)
        (void)printf("  %-16s", policies[i].name);
    (void)printf("\n%-39s", "");
    for (unsigned i = 0; i < sizeof(policies) / sizeof(*policies); i++)
        (void)printf("  %-16s", "  hits load byte");
    (void)printf("\n");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct trace t =
            make(rows[i].name, rows[i].s, rows[i].pattern, rows[i].mixed, rows[i].entries);
        show(&t);
    }
    return 0;
}
