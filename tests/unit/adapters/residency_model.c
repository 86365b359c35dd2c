/* Residency against a model: after each of thousands of random steps, once it is at rest, what the
 * model says must hold of leases, waits, memory and bytes. */
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/adapters/residency_fake.h"

enum { IDS = 40, STEPS = 1500, BUDGET = 200, MAX_OPEN = 24, BAD = 5 /* never loads */ };

struct open { /* an acquisition that is not over */
    unsigned id;
    struct waiting w;
    struct lease *lease; /* NULL: it waits */
    bool waits;
};

struct model {
    struct fake f;
    struct open open[MAX_OPEN];
    /* Asked for without a wait, and so loaded when there is room: once more than it was then. */
    bool kept[IDS];
    unsigned made[IDS];
    uint64_t random;
};

static unsigned below(struct model *m, unsigned n)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((m->random >> 33) % n);
}

static uint64_t size_of(unsigned id)
{
    return 5 + id % 7 * 12; /* 5 to 77 */
}

static uint64_t leased_bytes(const struct model *m)
{
    uint64_t sum = 0;
    for (unsigned id = 0; id < IDS; id++)
        sum += m->f.leased[id] ? size_of(id) : 0;
    return sum;
}

static void note(struct model *m, struct open *o, struct lease *l)
{
    o->lease = l;
    o->waits = false;
    m->f.leased[o->id]++;
    assert_int_equal(((struct thing *)lease_resident(l))->id, o->id);
}

/* What was answered since: each wait once, with its own adapter. */
static void collect(struct model *m)
{
    for (unsigned i = 0; i < MAX_OPEN; i++) {
        struct open *o = &m->open[i];
        if (!o->waits || !waiting_done(&o->w, 0))
            continue;
        assert_int_equal(o->w.calls, 1);
        (void)lease_wait_free(o->w.wait);
        if (o->w.lease)
            note(m, o, o->w.lease);
        else
            o->waits = false;
        if (!o->lease) {
            assert_int_equal(o->id, BAD);
            assert_int_equal(o->w.fail.code, FAIL_unprocessable_adapter);
        }
    }
}

static struct open *free_place(struct model *m)
{
    for (unsigned i = 0; i < MAX_OPEN; i++)
        if (!m->open[i].lease && !m->open[i].waits)
            return &m->open[i];
    return NULL;
}

static void step_acquire(struct model *m)
{
    static const char *const tenants[] = { "", "a", "b", "c" };
    struct open *o = free_place(m);
    struct lease *l;
    if (!o)
        return;
    o->id = below(m, 2) ? below(m, IDS) : below(m, 8);
    struct residency_ask how = { .tenant = str_of(tenants[below(m, 4)]),
                                 .deadline_ms = CLOCK_NEVER,
                                 .no_wait = below(m, 8) == 0 };
    unsigned made = m->f.made_by_id[o->id];
    int k = fake_take(&m->f, o->id, size_of(o->id), &how, &o->w, &l, NULL);
    if (k == 0)
        note(m, o, l);
    o->waits = k == ADAPTERS_PENDING;
    if (k == FAILED && how.no_wait && o->id != BAD) {
        m->kept[o->id] = true;
        m->made[o->id] = made;
    }
    assert_true(k != FAILED || how.no_wait || o->id == BAD); /* a failure is remembered */
}

static void step_end(struct model *m)
{
    struct open *o = &m->open[below(m, MAX_OPEN)];
    if (o->lease) {
        m->f.leased[o->id]--;
        o->lease = lease_release(o->lease);
    } else if (o->waits) {
        if (lease_wait_cancel(o->w.wait))
            assert_int_equal(o->w.calls, 0);
        else if (waiting_done(&o->w, 5000) && o->w.lease)
            (void)lease_release(o->w.lease);
        o->waits = false;
    }
}

static bool has_room(const struct model *m, unsigned id)
{
    return leased_bytes(m) + size_of(id) <= BUDGET;
}

/* What still waits at rest does so because leases hold the room. */
static void check(struct model *m)
{
    struct residency_state s;
    uint64_t bytes = 0;
    size_t n = 0, leases = 0;
    for (unsigned id = 0; id < IDS; id++) {
        assert_int_equal(m->f.in_memory[id], fake_has(&m->f, id) ? 1 : 0);
        assert_true(!m->f.leased[id] || fake_has(&m->f, id));
        bytes += m->f.in_memory[id] ? size_of(id) : 0;
        n += m->f.in_memory[id] ? 1 : 0;
        leases += (size_t)m->f.leased[id];
    }
    residency_state(m->f.r, &s);
    assert_int_equal(s.bytes, bytes);
    assert_int_equal(s.resident, n);
    assert_int_equal(s.leases, leases);
    assert_int_equal(s.active_bytes, leased_bytes(m));
    assert_true(bytes <= BUDGET);
    for (unsigned i = 0; i < MAX_OPEN; i++)
        assert_true(!m->open[i].waits || !has_room(m, m->open[i].id));
}

/* Nothing runs, and what is queued has no room. */
static void come_to_rest(struct model *m)
{
    for (unsigned i = 0; i < 20000; i++) {
        struct residency_state s;
        residency_state(m->f.r, &s);
        collect(m);
        bool busy = s.loading > 0;
        for (unsigned k = 0; k < MAX_OPEN; k++)
            busy = busy || (m->open[k].waits && has_room(m, m->open[k].id));
        for (unsigned id = 0; id < IDS; id++) {
            m->kept[id] = m->kept[id] && m->f.made_by_id[id] == m->made[id] && !fake_has(&m->f, id);
            busy = busy || (m->kept[id] && has_room(m, id));
        }
        if (!busy)
            return;
        (void)usleep(100);
    }
    fail_msg("what has room is not loaded");
}

static void run(unsigned seed, bool with_cache)
{
    static struct model m;
    m = (struct model){ .random = seed };
    if (with_cache)
        assert_int_equal(blob_cache_open(&m.f.cache, test_temp_dir(), 64 * MIB, NULL), 0);
    m.f.bad = BAD;
    fake_start(&m.f, &(struct residency_limits){ .max_bytes = BUDGET, .max_loads = 2 });
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned what = below(&m, 100);
        if (what < 55)
            step_acquire(&m);
        else if (what < 97)
            step_end(&m);
        else
            m.f.layout++; /* packed files grow stale */
        if (below(&m, 4) == 0) {
            come_to_rest(&m);
            check(&m);
        }
    }
    for (unsigned i = 0; i < MAX_OPEN; i++) {
        struct open *o = &m.open[i];
        if (o->waits && !lease_wait_cancel(o->w.wait) && waiting_done(&o->w, 5000))
            (void)lease_release(o->w.lease);
        if (o->lease) {
            m.f.leased[o->id]--;
            (void)lease_release(o->lease);
        }
    }
    assert_true(m.f.unloads > 0);
    fake_finish(&m.f);
}

static void random_steps_keep_what_the_model_says(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++)
        run(seed, /* with_cache= */ false);
}

static void random_steps_with_packed_files_keep_it_too(void **state)
{
    (void)state;
    for (unsigned seed = 11; seed <= 12; seed++)
        run(seed, /* with_cache= */ true);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_steps_keep_what_the_model_says),
        cmocka_unit_test(random_steps_with_packed_files_keep_it_too),
    };
    return TEST_RUN(tests);
}
