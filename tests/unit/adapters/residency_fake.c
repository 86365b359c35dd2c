#include "tests/unit/adapters/residency_fake.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

static int stage(void *ctx, const struct adapter_revision *rev, struct stage *ret,
                 struct fail *reterr)
{
    struct fake *f = ctx;
    atomic_fetch_add(&f->stages, 1);
    atomic_fetch_add(&f->staged_by_id[rev->digest.b[31]], 1);
    char text[32];
    (void)snprintf(text, sizeof(text), "%u %u", rev->digest.b[31], (unsigned)rev->bytes);
    bool local = f->is_local && f->is_local(rev->digest.b[31]);
    while (!local && atomic_load(&f->hold_stage))
        (void)usleep(500);
    *ret = (struct stage){ .folder = str_dup(str_of(text)),
                           .from = local ? RESIDENCY_disk : RESIDENCY_cold };
    return 0;
}

static void unstage(void *ctx, struct stage *s)
{
    struct fake *f = ctx;
    atomic_fetch_sub(&f->stages, 1);
    free(s->folder);
}

static enum residency where(void *ctx, const struct adapter_revision *rev)
{
    struct fake *f = ctx;
    return f->is_local && f->is_local(rev->digest.b[31]) ? RESIDENCY_disk : RESIDENCY_cold;
}

static struct blob_cache *cache(void *ctx)
{
    struct fake *f = ctx;
    return f->cache;
}

static int made(struct fake *f, unsigned id, size_t bytes, void **ret, size_t *ret_bytes)
{
    struct thing *t = malloc(sizeof(*t));
    t->id = id;
    *ret = t;
    *ret_bytes = bytes * (atomic_load(&f->factor) ? atomic_load(&f->factor) : 1);
    atomic_fetch_add(&f->made_by_id[id], 1);
    atomic_fetch_add(&f->in_memory[id], 1);
    unsigned at = atomic_fetch_add(&f->n_order, 1);
    if (at < ARRAY_LEN(f->order))
        f->order[at] = id;
    return 0;
}

static int load(void *ctx, struct str base, const char *folder, void **ret, size_t *ret_bytes,
                struct fail *reterr)
{
    struct fake *f = ctx;
    unsigned now = atomic_fetch_add(&f->running, 1) + 1, id, bytes;
    if (now > atomic_load(&f->most))
        atomic_store(&f->most, now);
    if (atomic_load(&f->delay_ms))
        (void)usleep(atomic_load(&f->delay_ms) * 1000);
    atomic_fetch_add(&f->loads, 1);
    while (atomic_load(&f->hold))
        (void)usleep(500);
    atomic_fetch_sub(&f->running, 1);
    if (atomic_load(&f->refuse))
        return fail_set(reterr, FAIL_unprocessable_adapter, "refused");
    assert_int_equal(sscanf(folder, "%u %u", &id, &bytes), 2);
    if (f->bad && id == f->bad)
        return fail_set(reterr, FAIL_unprocessable_adapter, "bad");
    return made(f, id, bytes, ret, ret_bytes);
}

static void unload(void *ctx, void *resident)
{
    struct fake *f = ctx;
    struct thing *t = resident;
    if (atomic_load(&f->leased[t->id]))
        abort(); /* somebody uses it */
    atomic_fetch_sub(&f->in_memory[t->id], 1);
    atomic_store(&f->last_unloaded, t->id);
    atomic_fetch_add(&f->unloads, 1);
    free(t);
}

static int pack(void *ctx, struct str base, const char *folder, const char *to, struct fail *reterr)
{
    struct fake *f = ctx;
    char text[64];
    atomic_fetch_add(&f->packs, 1);
    if (atomic_load(&f->refuse_pack))
        return fail_set(reterr, FAIL_unprocessable_adapter, "refused");
    if (atomic_load(&f->no_space))
        return -ENOSPC;
    (void)snprintf(text, sizeof(text), "%s %u", folder, atomic_load(&f->layout));
    return file_replace(to, str_of(text));
}

static int map(void *ctx, struct str base, const char *packed, void **ret, size_t *ret_bytes,
               struct fail *reterr)
{
    struct fake *f = ctx;
    char *text;
    size_t n;
    unsigned id, bytes, layout;
    atomic_fetch_add(&f->maps, 1);
    int k = file_read(&text, &n, packed, 100);
    if (k < 0)
        return k;
    k = sscanf(text, "%u %u %u", &id, &bytes, &layout) == 3 && layout == atomic_load(&f->layout)
            ? 0
            : -ESTALE;
    if (k == 0 && f->bad && id == f->bad)
        k = fail_set(reterr, FAIL_unprocessable_adapter, "bad");
    if (k == 0)
        k = made(f, id, bytes, ret, ret_bytes);
    free(text);
    return k;
}

static uint64_t base_id(void *ctx, struct str base)
{
    return ((struct fake *)ctx)->base_id;
}

void fake_start(struct fake *f, const struct residency_limits *limits)
{
    struct adapter_loader loader = { .load = load, .unload = unload, .ctx = f };
    struct stager stager = {
        .stage = stage, .unstage = unstage, .where = where, .cache = cache, .ctx = f
    };
    if (f->cache) {
        loader.pack = pack;
        loader.map = map;
        loader.base_id = base_id;
        f->base_id = 7;
    }
    assert_int_equal(residency_new(&f->r, limits, &loader, &stager), 0);
}

void fake_finish(struct fake *f)
{
    f->r = residency_free(f->r);
    assert_int_equal(f->stages, 0);
    for (unsigned i = 0; i < FAKE_IDS; i++)
        assert_int_equal(f->in_memory[i], 0);
    f->cache = blob_cache_free(f->cache); /* asserts that nothing is held */
}

struct adapter_revision fake_rev(unsigned id, uint64_t bytes)
{
    struct adapter_revision r = { .base = "demo", .ordinal = id, .bytes = bytes };
    (void)snprintf(r.adapter, sizeof(r.adapter), "x%u", id);
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        r.digest.b[i] = (uint8_t)(id * 37 + i * 11);
    r.digest.b[31] = (uint8_t)id;
    return r;
}

/* NOLINTNEXTLINE(readability-function-size): an acquisition and what it gives */
int fake_take(struct fake *f, unsigned id, uint64_t bytes, const struct residency_ask *how,
              struct waiting *w, struct lease **ret, struct fail *reterr)
{
    struct adapter_revision rev = fake_rev(id, bytes);
    struct residency_ask ask = *how;
    waiting_init(w);
    *ret = NULL;
    ask.rev = &rev;
    ask.fn = waiting_answer;
    ask.owner = w;
    return residency_acquire(f->r, &ask, ret, &w->wait, reterr);
}

int fake_take_now(struct fake *f, unsigned id, uint64_t bytes, const char *tenant,
                  struct lease **ret, struct fail *reterr)
{
    struct waiting w;
    struct residency_ask how = { .tenant = str_of(tenant), .deadline_ms = clock_ms() + 10000 };
    int k = fake_take(f, id, bytes, &how, &w, ret, reterr);
    if (k != ADAPTERS_PENDING)
        return k;
    assert_true(waiting_done(&w, 15000));
    (void)lease_wait_free(w.wait);
    *ret = w.lease;
    if (!w.lease && reterr)
        *reterr = w.fail;
    return w.lease ? 0 : FAILED;
}

void fake_touch(struct fake *f, unsigned id, uint64_t bytes, const char *tenant)
{
    struct lease *l;
    assert_int_equal(fake_take_now(f, id, bytes, tenant, &l, NULL), 0);
    assert_int_equal(((struct thing *)lease_resident(l))->id, id);
    assert_null(lease_release(l));
}

bool fake_has(struct fake *f, unsigned id)
{
    struct adapter_revision rev = fake_rev(id, 0);
    return residency_has(f->r, "demo", &rev.digest);
}

void fake_settle(struct fake *f)
{
    struct residency_state s;
    for (unsigned i = 0; i < 10000; i++) {
        residency_state(f->r, &s);
        if (s.queued == 0 && s.loading == 0)
            return;
        (void)usleep(500);
    }
    fail_msg("loads do not end");
}
