#include "engine/upstream/lora_inside.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/upstream/lora_fixed.h"
#include "engine/upstream/lora_name.h"

#include <errno.h>
#include <stdlib.h>

const struct config_endpoint *lora_endpoint(const struct lora_fleet *f, unsigned i)
{
    const struct config_endpoint *all = f->config.upstream->endpoints.items;
    return &all[i];
}

bool lora_is_fixed(const struct lora_fleet *f, unsigned i)
{
    return lora_endpoint(f, i)->provider == UPSTREAM_llama_server;
}

/* ---- for exchanges ---- */

static struct lora_entry *find(const struct lora_fleet *f, unsigned endpoint,
                               const struct sha256 *digest)
{
    struct lora_entry *e = f->entries;
    while (e && (e->endpoint != endpoint || !sha256_eq(&e->adapter.digest, digest)))
        e = e->next;
    return e;
}

uint64_t lora_resident(struct lora_fleet *f, const struct sha256 *digest)
{
    uint64_t bits = 0;
    LOCKED(&f->lock);
    for (const struct lora_entry *e = f->entries; e; e = e->next)
        if (e->state == LORA_STATE_held && !e->is_leaving && sha256_eq(&e->adapter.digest, digest))
            bits |= 1ull << e->endpoint;
    return bits;
}

bool lora_refused(struct lora_fleet *f, const struct engine_adapter *a, struct fail *ret)
{
    if (lora_servable(f, a))
        return false;
    (void)fail_set(ret, FAIL_unprocessable_adapter,
                   "no engine behind takes the adapter '" STR_FMT "': %s",
                   STR_ARG(str_head(a->name, LIMIT_NAME)),
                   lora_is_fixed(f, 0) ? "none was started with this revision (upstream.lora.fixed)"
                                       : "its rank is too great (upstream.lora.max_rank)");
    LOCKED(&f->lock);
    for (const struct lora_entry *e = f->entries; e; e = e->next)
        if (e->state == LORA_STATE_unservable && sha256_eq(&e->adapter.digest, &a->digest))
            *ret = e->fail;
    return true;
}

/* Under the lock. Whether that llama-server was started with it; until it has said how many it was
 * started with, what the configuration says is believed. */
static bool has_fixed(const struct lora_fleet *f, unsigned i, const struct engine_adapter *a)
{
    const struct lora_site *s = &f->sites[i];
    ptrdiff_t id = lora_fixed_id(f->lora, a);
    return id >= 0 && (!s->is_counted || (size_t)id < s->n_there);
}

uint64_t lora_servable(struct lora_fleet *f, const struct engine_adapter *a)
{
    uint64_t bits = 0;
    if (f->lora->max_rank && a->rank > f->lora->max_rank)
        return 0;
    LOCKED(&f->lock);
    for (unsigned i = 0; i < f->n_sites; i++)
        if (!lora_is_fixed(f, i) || has_fixed(f, i, a))
            bits |= 1ull << i;
    for (const struct lora_entry *e = f->entries; e; e = e->next)
        if (e->state == LORA_STATE_unservable && sha256_eq(&e->adapter.digest, &a->digest))
            bits &= ~(1ull << e->endpoint);
    return bits;
}

static struct lora_entry *add_entry(struct lora_fleet *f, unsigned endpoint,
                                    const struct engine_adapter *a)
{
    struct lora_entry *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->fleet = f;
    e->endpoint = endpoint;
    e->adapter = *a;
    (void)snprintf(e->full, sizeof(e->full), STR_FMT, STR_ARG(a->name));
    e->adapter.name = str_of(e->full);
    lora_name_there(e->name, a);
    e->next = f->entries;
    f->entries = e;
    return e;
}

struct chat_pair lora_base_body(const struct lora_fleet *f, unsigned endpoint)
{
    bool has = f && lora_is_fixed(f, endpoint) && f->lora->fixed.n;
    return has ? lora_fixed_member(f->sites[endpoint].bodies, f->lora->fixed.n)
               : (struct chat_pair){ STR_NULL, STR_NULL };
}

int lora_acquire(struct lora_fleet *f, struct transport_loop *l, struct lora_use *use,
                 const struct engine_adapter *a, uint64_t deadline_ms, struct fail *reterr)
{
    if (lora_is_fixed(f, use->endpoint)) {
        int r = lora_fixed_choose(f->lora, f->sites[use->endpoint].bodies, a, &use->body, reterr);
        use->fleet = r == 0 ? f : NULL;
        return r;
    }
    uint64_t longest = clock_ms() + f->lora->load_timeout_ms;
    LOCKED(&f->lock);
    struct lora_entry *e = find(f, use->endpoint, &a->digest);
    if (e && e->state == LORA_STATE_held && !e->is_missing && !e->is_leaving) {
        e->uses++;
        lora_set_held(use, e);
        return 0;
    }
    if (e && e->state == LORA_STATE_unservable) {
        *reterr = e->fail;
        return FAILED;
    }
    if (e && e->state == LORA_STATE_held && e->is_missing)
        e->state = LORA_STATE_asking;
    if (!e)
        e = add_entry(f, use->endpoint, a);
    if (!e)
        return -ENOMEM;
    return lora_wait(e, use, l, deadline_ms < longest ? deadline_ms : longest);
}

void lora_release(struct lora_use *use)
{
    struct lora_fleet *f = use->fleet;
    if (!f)
        return;
    LOCKED(&f->lock);
    if (use->entry)
        lora_use_less(use->entry);
    if (use->waiter)
        lora_wait_no_more(use->waiter);
    use->fleet = NULL;
    use->entry = NULL;
    use->waiter = NULL;
}

void lora_is_missing(struct lora_use *use)
{
    struct lora_entry *e = use->entry;
    if (!e)
        return;
    LOCKED(&use->fleet->lock);
    if (e->state != LORA_STATE_held || e->is_missing || e->times_held != use->times_held)
        return; /* or was loaded again since */
    e->is_leaving = false;
    e->is_missing = true; /* whoever comes now waits until it was loaded again */
    e->state = LORA_STATE_asking;
    e->at_ms = 0;
    lora_wake(use->fleet);
}

/* ---- life ---- */

static int make_sites(struct lora_fleet *f)
{
    f->n_sites = (unsigned)f->config.upstream->endpoints.n;
    f->sites = calloc(f->n_sites, sizeof(*f->sites));
    if (!f->sites)
        return -ENOMEM;
    for (unsigned i = 0; i < f->n_sites; i++) {
        f->sites[i].url = str_dup(lora_endpoint(f, i)->url);
        int r = f->sites[i].url ? 0 : -ENOMEM;
        if (r == 0 && lora_is_fixed(f, i))
            r = lora_fixed_bodies(f->lora, &f->sites[i].bodies);
        if (r < 0)
            return r;
    }
    return 0;
}

int lora_fleet_new(struct lora_fleet **ret, const struct lora_config *config)
{
    CLEANUP(lora_fleet_freep) struct lora_fleet *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->config = *config;
    f->lora = &config->upstream->lora;
    (void)pthread_mutex_init(&f->lock, /* attr= */ NULL);
    int r = thread_cond_init(&f->wake);
    if (r == 0)
        r = thread_cond_init(&f->queued);
    if (r == 0)
        r = thread_cond_init(&f->over);
    if (r == 0)
        r = thread_cond_init(&f->calm);
    f->ledger = *config->shared;
    if (r == 0)
        r = make_sites(f);
    if (r == 0)
        r = thread_start(&f->loader, THREAD_loader, lora_loader, f);
    f->has_loader = r == 0;
    if (r == 0 && config->files) {
        r = thread_start(&f->upkeep, THREAD_loader, lora_upkeep, f);
        f->has_upkeep = r == 0;
    }
    if (r == 0)
        r = thread_start(&f->thread, THREAD_loader, lora_thread, f);
    f->has_thread = r == 0;
    if (r != 0)
        return r;
    *ret = TAKE(f);
    return 0;
}

static void wait_calm_and_stop(struct lora_fleet *f)
{
    LOCKED(&f->lock);
    while (f->calls)
        (void)pthread_cond_wait(&f->calm, &f->lock);
    f->stopping = true;
    lora_wake(f);
}

static void stop_helpers(struct lora_fleet *f)
{
    {
        LOCKED(&f->lock);
        f->helpers_stopping = true;
        (void)pthread_cond_signal(&f->queued);
        (void)pthread_cond_signal(&f->over);
    }
    if (f->has_loader)
        (void)pthread_join(f->loader, NULL);
    if (f->has_upkeep)
        (void)pthread_join(f->upkeep, NULL);
}

struct lora_fleet *lora_fleet_free(struct lora_fleet *f)
{
    if (!f)
        return NULL;
    if (f->has_thread) {
        wait_calm_and_stop(f);
        (void)pthread_join(f->thread, NULL);
        wait_calm_and_stop(f); /* what it has begun meanwhile */
    }
    stop_helpers(f);
    lora_give_back(f);
    for (struct lora_entry *e; (e = f->entries); free(e))
        f->entries = e->next;
    for (unsigned i = 0; f->sites && i < f->n_sites; i++) {
        lora_fixed_free(f->lora, f->sites[i].bodies);
        free(f->sites[i].listed);
        buf_done(&f->sites[i].known);
        free(f->sites[i].url);
    }
    free(f->sites);
    (void)pthread_cond_destroy(&f->wake);
    (void)pthread_cond_destroy(&f->queued);
    (void)pthread_cond_destroy(&f->over);
    (void)pthread_cond_destroy(&f->calm);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
    return NULL;
}
