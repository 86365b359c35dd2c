#include "adapters/adapters.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapters/inside.h"
#include "adapters/prefetch.h"
#include "adapters/upkeep.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/num.h"
#include "base/queue.h"
#include "base/thread.h"

#define MAX_ASKS 4096 /* names that wait for the catalog; beyond it the gateway is overloaded */
#define PIN_MS 1000   /* how soon a pinned adapter follows its alias */

struct ask { /* a name the page could not answer */
    char base[LIMIT_NAME + 1], adapter[LIMIT_NAME + 1], selector[LIMIT_NAME + 1];
    char viewer[LIMIT_NAME + 1];
    bool has_viewer;
    uint64_t sticky;
    struct lease_wait *wait; /* the reference that join or fail takes; NULL: a hint */
};

struct pin {                  /* a configured name that stays resident */
    bool told;                /* that it cannot be resolved now */
    char *text;               /* owned */
    struct adapter_name name; /* borrowed from text */
    struct adapters *owner;
    struct lease *lease;     /* of the catalog's thread */
    struct lease_wait *wait; /* a load on its way */
    struct lease *loaded;    /* under the owner's lock, from a loader thread */
    bool answered;           /* under the owner's lock */
};

struct adapters {
    struct page *page;
    struct catalog *catalog;
    struct blobs *files;         /* the catalog's, or `own_files` */
    struct blobs *own_files;     /* of a catalog that keeps its files itself: a cache, no store */
    struct residents *residency; /* NULL without a loader */
    struct queue *asks;          /* of struct ask */
    struct residents *in_use;    /* the same, for the catalog's thread; under the lock */
    uint64_t (*base_id)(void *ctx, struct str base); /* of the loader; may be NULL */
    void *base_id_ctx;
    pthread_t asker;
    bool asker_runs;
    pthread_mutex_t lock;
    pthread_cond_t pinned; /* a pin was answered */
    struct pin *pins;
    size_t n_pins;
    struct files *sources;
    struct prefetch *prefetch; /* NULL without a loader */
};

static const char *const residency_words[] = { "hit", "disk", "cold" };

const char *residency_word(enum residency r)
{
    return residency_words[r];
}

struct adapter_name adapter_name_split(struct str text)
{
    struct adapter_name n = { .adapter = text, .selector = STR("") };
    (void)str_cut(text, '@', &n.adapter, &n.selector);
    for (size_t i = n.adapter.n; i > 0; i--)
        if (n.adapter.p[i - 1] == ':') {
            n.base = (struct str){ n.adapter.p, i - 1 };
            n.adapter = str_sub(n.adapter, i);
            break;
        }
    return n;
}

/* ---- names ---- */

static int not_found(const struct adapter_name *name, struct fail *reterr)
{
    return fail_param(reterr, FAIL_model_not_found, "model", "there is no %sadapter '%.*s%s%.*s'",
                      name->base.n ? "" : "model or ", STR_ARG(str_head(name->base, 80)),
                      name->base.n ? ":" : "", STR_ARG(str_head(name->adapter, 80)));
}

/* The names that an asker may mean, in the order in which they count. */
struct meant {
    char own[LIMIT_NAME + 1]; /* "tenant/name" of a tenant who gave the bare name; "": none */
    struct str names[2];
    size_t n;
};

static void meant_by(const struct adapter_name *name, struct meant *ret)
{
    struct str tenant = adapter_tenant(name->adapter);
    *ret = (struct meant){ .n = 0 };
    if (!name->viewer.p || str_eq(tenant, name->viewer) || (tenant.n == 0 && !name->viewer.n)) {
        ret->names[ret->n++] = name->adapter;
        return;
    }
    if (str_find(name->adapter, STR("/")) >= 0)
        return; /* another's: it does not exist for this one */
    int n = snprintf(ret->own, sizeof(ret->own), "%.*s/%.*s", STR_ARG(name->viewer),
                     STR_ARG(name->adapter));
    if (n > 0 && (size_t)n < sizeof(ret->own))
        ret->names[ret->n++] = (struct str){ ret->own, (size_t)n };
    ret->names[ret->n++] = name->adapter;
}

int adapters_meant(struct adapters *a, const struct adapter_name *name, struct head **ret,
                   struct fail *reterr)
{
    struct meant m;
    int k = 0;
    meant_by(name, &m);
    *ret = NULL;
    for (size_t i = 0; k == 0 && !*ret && i < m.n; i++)
        k = page_find(a->page, name->base, m.names[i], ret, reterr);
    return k;
}

/* What the page says. */
static int resolve_here(struct adapters *a, const struct adapter_name *name, bool ordinals,
                        struct adapter_revision *ret, struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    int k = adapters_meant(a, name, &h, reterr);
    if (k != 0)
        return k;
    if (!h)
        return not_found(name, reterr);
    return head_choose(h, name->selector, name->sticky, ordinals, ret, reterr);
}

/* The page may not be the last word: the name is unknown or changed, or the selector is unknown. */
static bool must_ask(struct adapters *a, int k, const struct fail *f)
{
    return k == FAILED && f->code == FAIL_model_not_found && a->catalog->ops->remote;
}

/*
 * The page's answer is the catalog's. A tenant's own adapter that a complete page does not have is
 * not there: a shared one of that name must not be asked for at every request.
 */
static bool is_fresh(struct adapters *a, const struct adapter_name *name)
{
    const struct catalog_ops *ops = a->catalog->ops;
    struct meant m;
    meant_by(name, &m);
    for (size_t i = 0; i < m.n; i++) {
        CLEANUP(head_unrefp) struct head *h = NULL;
        bool own = i + 1 < m.n;
        bool known = own && (page_find(a->page, name->base, m.names[i], &h, NULL) != 0 || h);
        if (own && !known && ops->remote && ops->complete(a->catalog))
            continue;
        if (!ops->fresh(a->catalog, name->base, m.names[i]))
            return false;
        if (own && known)
            return true;
    }
    return true;
}

static int resolve_asking(struct adapters *a, const struct adapter_name *name, bool ordinals,
                          struct adapter_revision *ret, struct fail *reterr)
{
    struct meant m;
    int k = 0;
    meant_by(name, &m);
    for (size_t i = 0; k == 0 && i < m.n; i++)
        k = a->catalog->ops->lookup(a->catalog, name->base, m.names[i], reterr);
    return k == 0 ? resolve_here(a, name, ordinals, ret, reterr) : k;
}

static int resolve(struct adapters *a, const struct adapter_name *name, bool ordinals,
                   struct adapter_revision *ret, struct fail *reterr)
{
    struct fail f;
    if (!is_fresh(a, name))
        return resolve_asking(a, name, ordinals, ret, reterr);
    int k = resolve_here(a, name, ordinals, ret, &f);
    if (must_ask(a, k, &f))
        return resolve_asking(a, name, ordinals, ret, reterr);
    if (k == FAILED && reterr)
        *reterr = f;
    return k;
}

int adapters_resolve(struct adapters *a, const struct adapter_name *name,
                     struct adapter_revision *ret, struct fail *reterr)
{
    return resolve(a, name, /* ordinals= */ false, ret, reterr);
}

bool adapters_where(struct adapters *a, const struct adapter_name *name, enum residency *ret)
{
    struct adapter_revision rev;
    struct fail f;
    if (resolve_here(a, name, /* ordinals= */ false, &rev, &f) != 0)
        return false;
    bool here = a->residency && residency_has(a->residency, rev.base, &rev.digest);
    *ret = here ? RESIDENCY_hit : files_where(a->sources, &rev);
    return true;
}

/* For whom a revision is loaded: who asks, else whose it is. */
static struct str tenant_of(const struct adapter_name *name, const struct adapter_revision *rev)
{
    return name->viewer.n ? name->viewer : tenant_of_adapter(str_of(rev->adapter));
}

/* ---- asking on the catalog's thread ---- */

static bool copy_name(char ret[static LIMIT_NAME + 1], struct str s)
{
    if (s.n > LIMIT_NAME)
        return false;
    if (s.n)
        memcpy(ret, s.p, s.n);
    ret[s.n] = '\0';
    return true;
}

static int ask_new(struct ask **ret, const struct adapter_name *name, struct fail *reterr)
{
    CLEANUP(own_free) struct ask *q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    if (!copy_name(q->base, name->base) || !copy_name(q->adapter, name->adapter) ||
        !copy_name(q->selector, name->selector) || !copy_name(q->viewer, name->viewer))
        return not_found(name, reterr);
    q->has_viewer = name->viewer.p != NULL;
    q->sticky = name->sticky;
    *ret = TAKE(q);
    return 0;
}

/* NOLINTNEXTLINE(readability-function-size): those of adapters_acquire */
static int ask(struct adapters *a, const struct adapter_name *name, uint64_t deadline_ms,
               lease_fn fn, void *owner, struct lease_wait **ret_wait, struct fail *reterr)
{
    CLEANUP(own_free) struct ask *q = NULL;
    int k = ask_new(&q, name, reterr);
    if (k != 0)
        return k;
    struct lease_wait *w;
    struct residency_ask wait = {
        .deadline_ms = deadline_ms, .no_wait = name->no_wait, .fn = fn, .owner = owner
    };
    k = residency_wait(a->residency, &wait, ret_wait);
    if (k < 0)
        return k;
    w = q->wait = *ret_wait;
    void *item = q;
    k = queue_put(a->asks, &item);
    if (k == 0) {
        q = NULL;
        return ADAPTERS_PENDING;
    }
    if (!residency_abandon(a->residency, w))
        return ADAPTERS_PENDING; /* its deadline has answered it meanwhile */
    *ret_wait = NULL;
    k = fail_set(reterr, FAIL_overloaded, "too many names wait for the adapter catalog");
    if (reterr)
        reterr->retry_after_s = 1;
    return k;
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int adapters_acquire(struct adapters *a, const struct adapter_name *name, uint64_t deadline_ms,
                     lease_fn fn, void *owner, struct lease **ret, struct lease_wait **ret_wait,
                     struct fail *reterr)
{
    struct adapter_revision rev;
    struct fail f;
    assert(a->residency);
    if (!is_fresh(a, name))
        return ask(a, name, deadline_ms, fn, owner, ret_wait, reterr);
    int k = resolve_here(a, name, /* ordinals= */ false, &rev, &f);
    if (must_ask(a, k, &f))
        return ask(a, name, deadline_ms, fn, owner, ret_wait, reterr);
    if (k == FAILED && reterr)
        *reterr = f;
    if (k != 0)
        return k;
    struct residency_ask want = {
        &rev, tenant_of(name, &rev), deadline_ms, name->no_wait, fn, owner
    };
    return residency_acquire(a->residency, &want, ret, ret_wait, reterr);
}

static void load_ahead(struct adapters *a, const struct adapter_name *name,
                       const struct adapter_revision *rev)
{
    residency_ahead(a->residency, rev, tenant_of(name, rev), AHEAD_hint, 0);
}

int adapters_prefetch(struct adapters *a, const struct adapter_name *name, struct fail *reterr)
{
    struct adapter_revision rev;
    struct fail f;
    if (!a->residency)
        return 0;
    int k = resolve_here(a, name, /* ordinals= */ false, &rev, &f);
    bool must =
        !a->catalog->ops->fresh(a->catalog, name->base, name->adapter) || must_ask(a, k, &f);
    if (must) { /* by the catalog's thread, without a wait */
        CLEANUP(own_free) struct ask *q = NULL;
        k = ask_new(&q, name, reterr);
        void *item = q;
        if (k == 0 && queue_put(a->asks, &item) == 0)
            q = NULL;
        return k;
    }
    if (k == 0)
        load_ahead(a, name, &rev);
    else if (k == FAILED && reterr)
        *reterr = f;
    return k;
}

static void answer(struct adapters *a, struct ask *q, bool stopping)
{
    struct adapter_name name = { str_of(q->base), str_of(q->adapter), str_of(q->selector),
                                 q->has_viewer ? str_of(q->viewer) : STR_NULL, q->sticky };
    struct adapter_revision rev;
    struct fail f;
    int k = stopping ? fail_set(&f, FAIL_overloaded, "the server is stopping")
                     : resolve(a, &name, /* ordinals= */ false, &rev, &f);
    if (k < 0)
        (void)fail_errno(&f, k, "asking the adapter catalog");
    if (k == 0 && q->wait)
        residency_join(a->residency, &rev, tenant_of(&name, &rev), q->wait);
    else if (k == 0)
        load_ahead(a, &name, &rev);
    else if (q->wait)
        residency_fail(a->residency, q->wait, &f);
    free(q);
}

/* ---- pins ---- */

static void pin_loaded(void *owner, struct lease *lease, const struct fail *f)
{
    struct pin *p = owner;
    (void)f; /* the loader has logged it */
    if (lease)
        lease_set_pin(lease);
    LOCKED(&p->owner->lock);
    p->loaded = lease;
    p->answered = true;
    (void)pthread_cond_signal(&p->owner->pinned);
}

/* Takes what a load has brought; the revision pinned before is free to go. */
static void collect_pin(struct adapters *a, struct pin *p)
{
    struct lease *loaded;
    {
        LOCKED(&a->lock);
        if (!p->answered)
            return;
        loaded = TAKE(p->loaded);
        p->answered = false;
    }
    p->wait = lease_wait_free(p->wait);
    if (!loaded)
        return;
    (void)lease_release(p->lease);
    p->lease = loaded;
}

static void refresh_pin(struct adapters *a, struct pin *p)
{
    struct adapter_revision rev;
    struct lease *now = NULL;
    struct fail f;
    collect_pin(a, p);
    if (p->wait)
        return;
    int k = resolve(a, &p->name, /* ordinals= */ false, &rev, &f);
    if (k == FAILED && !p->told)
        log_line(LOG_warn, "adapter_pin", "adapter=%s why=\"%s\", continuing", p->text, f.message);
    p->told = k != 0;
    if (k != 0 || (p->lease && sha256_eq(&lease_revision(p->lease)->digest, &rev.digest)))
        return;
    struct residency_ask want = { &rev,        tenant_of(&p->name, &rev),
                                  CLOCK_NEVER, /* no_wait= */ false,
                                  pin_loaded,  p };
    k = residency_acquire(a->residency, &want, &now, &p->wait, &f);
    if (k == 0) {
        lease_set_pin(now);
        (void)lease_release(p->lease);
        p->lease = now;
    }
}

static void drop_pin(struct adapters *a, struct pin *p)
{
    if (p->wait && !lease_wait_cancel(p->wait)) {
        LOCKED(&a->lock);
        while (!p->answered)
            (void)pthread_cond_wait(&a->pinned, &a->lock);
    }
    p->wait = NULL;
    (void)lease_release(p->loaded);
    (void)lease_release(p->lease);
    free(p->text);
}

static void *asker_main(void *arg)
{
    struct adapters *a = arg;
    uint64_t pins_ms = 0; /* at once */
    for (;;) {
        uint64_t ahead_ms = prefetch_tick(a->prefetch);
        void *item = NULL;
        if (a->n_pins && clock_ms() >= pins_ms) {
            for (size_t i = 0; i < a->n_pins; i++)
                refresh_pin(a, &a->pins[i]);
            pins_ms = clock_ms() + PIN_MS;
        }
        int k = queue_get(a->asks, &item, a->n_pins && pins_ms < ahead_ms ? pins_ms : ahead_ms);
        if (k == -EPIPE)
            return NULL;
        if (k == 0)
            answer(a, item, /* stopping= */ false);
    }
}

/* ---- life ---- */

static int make_pins(struct adapters *a, const struct config_adapters *c)
{
    a->pins = calloc(c->pin.n + 1, sizeof(*a->pins));
    if (!a->pins)
        return -ENOMEM;
    for (size_t i = 0; i < c->pin.n; i++) {
        struct pin *p = &a->pins[a->n_pins];
        p->owner = a;
        if (!(p->text = str_dup(c->pin.items[i])))
            return -ENOMEM;
        p->name = adapter_name_split(str_of(p->text));
        a->n_pins++;
    }
    return 0;
}

static int pace_fetch(void *ctx, size_t bytes)
{
    struct adapters *a = ctx;
    return residency_pace(a->residency, bytes);
}

static bool is_stopping(void *ctx)
{
    struct adapters *a = ctx;
    return residency_is_stopping(a->residency);
}

static int start_residency(struct adapters *a, const struct config_adapters *c,
                           const struct adapter_loader *loader)
{
    struct stager stager = files_stager(a->sources);
    struct residency_limits limits = { c->max_bytes, c->max_loads, c->max_rate };
    struct blobs_pace pace = { .take = pace_fetch, .stopped = is_stopping, .ctx = a };
    blobs_set_pace(a->files, &pace);
    int k = residency_new(&a->residency, &limits, loader, &stager);
    if (k == 0)
        k = prefetch_new(&a->prefetch, a->page, a->residency, a->sources);
    if (k == 0)
        k = queue_new(&a->asks, MAX_ASKS);
    if (k == 0)
        k = make_pins(a, c);
    if (k == 0 && (k = thread_start(&a->asker, THREAD_catalog, asker_main, a)) == 0)
        a->asker_runs = true;
    return k;
}

/* For the catalog's heartbeat, whose thread runs before there is a residency. */
static size_t in_use(void *ctx, struct sha256 *ret, size_t max)
{
    struct adapters *a = ctx;
    LOCKED(&a->lock);
    return a->in_use ? residency_in_use(a->in_use, ret, max) : 0;
}

static void show_in_use(struct adapters *a, struct residents *r)
{
    LOCKED(&a->lock);
    a->in_use = r;
}

static int open_catalog(struct adapters *a, const struct config_adapters *c, bool follow,
                        struct fail *reterr)
{
    struct catalog_host host = { a->page, follow, follow ? in_use : NULL, a };
    return c->catalog == CATALOG_redis ? catalog_redis_open(&a->catalog, c, &host, reterr)
                                       : catalog_directory_open(&a->catalog, c, &host, reterr);
}

static int open_files(struct adapters *a, const struct config_adapters *c, struct fail *reterr)
{
    struct config_adapters no_store = *c;
    no_store.blobs.stores.n = 0;
    int k = a->catalog->ops->blobs ? 0 : blobs_open(&a->own_files, &no_store, NULL, reterr);
    if (k == 0)
        a->files = a->own_files ? a->own_files : a->catalog->ops->blobs(a->catalog);
    return k;
}

static void label_metrics(void)
{
    static const char *const sources[] = { "packed", "source" };
    static const char *const reasons[] = { "request", "prefetch" };
    static const char *const whys[] = { "hint", "moved", "restored", "published" };
    metrics_label(METRIC_adapter_hits_total, residency_words, ARRAY_LEN(residency_words));
    metrics_label(METRIC_adapter_loads_total, sources, ARRAY_LEN(sources));
    metrics_label(METRIC_adapter_evictions_total, reasons, ARRAY_LEN(reasons));
    metrics_label(METRIC_adapter_prefetches_total, whys, ARRAY_LEN(whys));
}

int adapters_open(struct adapters **ret, const struct config *c,
                  const struct adapter_loader *loader, struct fail *reterr)
{
    CLEANUP(adapters_closep) struct adapters *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->base_id = loader ? loader->base_id : NULL;
    a->base_id_ctx = loader ? loader->ctx : NULL;
    label_metrics();
    (void)pthread_mutex_init(&a->lock, NULL);
    int k = thread_cond_init(&a->pinned);
    if (k == 0)
        k = page_new(&a->page);
    if (k == 0)
        k = open_catalog(a, &c->adapters, loader != NULL, reterr);
    if (k == 0)
        k = open_files(a, &c->adapters, reterr);
    if (k == 0)
        k = files_new(&a->sources, a->catalog, a->files, &c->adapters, loader);
    if (k == 0 && loader)
        k = start_residency(a, &c->adapters, loader);
    if (k != 0)
        return k;
    show_in_use(a, a->residency);
    *ret = TAKE(a);
    return 0;
}

struct adapters *adapters_close(struct adapters *a)
{
    void *item;
    if (!a)
        return NULL;
    if (a->asks)
        queue_close(a->asks);
    if (a->asker_runs)
        (void)pthread_join(a->asker, NULL);
    while (a->asks && queue_get(a->asks, &item, 0) == 0)
        answer(a, item, /* stopping= */ true);
    for (size_t i = 0; i < a->n_pins; i++)
        drop_pin(a, &a->pins[i]);
    (void)prefetch_free(a->prefetch);
    show_in_use(a, NULL);
    (void)residency_free(a->residency);
    (void)queue_free(a->asks);
    (void)files_free(a->sources);
    if (a->catalog)
        (void)a->catalog->ops->free(a->catalog);
    (void)blobs_free(a->own_files);
    (void)page_free(a->page);
    free(a->pins);
    (void)pthread_cond_destroy(&a->pinned);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
    return NULL;
}

/* ---- listing ---- */

static int describe(struct adapters *a, struct arena *arena, const struct head *h,
                    struct adapter_info *ret)
{
    struct str *examples = arena_array(arena, h->n_examples + 1, sizeof(*examples));
    struct adapter_revision *revisions = arena_array(arena, h->n_revisions + 1, sizeof(*revisions));
    struct adapter_alias *aliases = arena_array(arena, h->n_aliases + 1, sizeof(*aliases));
    *ret = (struct adapter_info){ .name = arena_str(arena, h->adapter),
                                  .base = arena_str(arena, h->base),
                                  .description = arena_str(arena, h->description),
                                  .examples = examples,
                                  .n_examples = h->n_examples,
                                  .revisions = revisions,
                                  .n_revisions = h->n_revisions,
                                  .aliases = aliases,
                                  .n_aliases = h->n_aliases,
                                  .epoch = h->epoch,
                                  .canary_weight = h->canary_weight,
                                  .shadow_weight = h->shadow_weight };
    if (!examples || !revisions || !aliases || !ret->name.p || !ret->base.p || !ret->description.p)
        return -ENOMEM;
    for (size_t i = 0; i < h->n_examples; i++)
        if (!(examples[i] = arena_str(arena, h->examples[i])).p)
            return -ENOMEM;
    for (size_t i = 0; i < h->n_revisions; i++)
        head_describe(h, &h->revisions[i], STR(""), &revisions[i]);
    for (size_t i = 0; i < h->n_aliases; i++) {
        (void)copy_name(aliases[i].name, str_head(h->aliases[i].name, LIMIT_NAME));
        aliases[i].digest = h->aliases[i].digest;
    }
    const struct head_revision *d = head_default(h);
    ret->resident = d && a->residency && residency_has(a->residency, h->base.p, &d->digest);
    return 0;
}

int adapters_query(struct adapters *a, struct arena *arena, const struct adapter_listing *l,
                   struct adapter_info **ret, size_t *ret_n)
{
    static struct log_rate rate;
    const struct page_query q = {
        .after = l->after, .prefix = l->prefix, .viewer = l->viewer, .max = l->max
    };
    struct head **heads;
    struct fail f;
    size_t n;
    int k = l->after.n ? 0 : a->catalog->ops->refresh(a->catalog, &f);
    if (k == FAILED) /* the page as it is; the state tells that it may be old */
        log_rated(&rate, LOG_warn, "catalog_list", "why=\"%s\", continuing", f.message);
    if (k < 0 || (k = page_query(a->page, &q, &heads, &n)) < 0)
        return k;
    struct adapter_info *infos = arena_array(arena, n + 1, sizeof(*infos));
    k = infos ? 0 : -ENOMEM;
    for (size_t i = 0; k == 0 && i < n; i++)
        k = describe(a, arena, heads[i], &infos[i]);
    page_list_free(heads, n);
    if (k == 0) {
        *ret = infos;
        *ret_n = n;
    }
    return k;
}

int adapters_list(struct adapters *a, struct arena *arena, struct str after, size_t max,
                  struct adapter_info **ret, size_t *ret_n)
{
    const struct adapter_listing all = { .after = after, .max = max };
    return adapters_query(a, arena, &all, ret, ret_n);
}

struct catalog *adapters_catalog(struct adapters *a)
{
    return a->catalog;
}

int adapters_head(struct adapters *a, struct str base, struct str adapter, struct head **ret,
                  struct fail *reterr)
{
    struct adapter_name name = { base, adapter, STR("") };
    int k = 0;
    if (!a->catalog->ops->fresh(a->catalog, base, adapter))
        k = a->catalog->ops->lookup(a->catalog, base, adapter, reterr);
    if (k == 0)
        k = page_find(a->page, base, adapter, ret, reterr);
    return k == 0 && !*ret ? not_found(&name, reterr) : k;
}

int adapters_show(struct adapters *a, struct arena *arena, struct str base, struct str adapter,
                  struct adapter_info *ret, struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    int k = adapters_head(a, base, adapter, &h, reterr);
    return k == 0 ? describe(a, arena, h, ret) : k;
}

/* NOLINTNEXTLINE(readability-function-size): the header sets the parameters */
int adapters_history(struct adapters *a, struct arena *arena, struct str base, struct str adapter,
                     struct adapter_audit **ret, size_t *ret_n, struct fail *reterr)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    int k = adapters_head(a, base, adapter, &h, reterr);
    if (k != 0)
        return k;
    return a->catalog->ops->history(a->catalog, arena, h->base, h->adapter, ret, ret_n, reterr);
}

/* ---- changing ---- */

enum { FOLLOW_MS = 2000, FOLLOW_PAUSE_US = 5000 };

/*
 * The revision that was just published. After the catalog was wiped, the local page refuses its low
 * epochs until the feed has noticed, so a miss is asked again for a while. Blocks.
 */
static int find_published(struct adapters *a, struct str base, struct str adapter,
                          const struct sha256 *digest, struct adapter_revision *ret,
                          struct fail *reterr)
{
    char selector[7 + SHA256_HEX + 1] = "sha256:";
    sha256_hex(selector + 7, digest);
    struct adapter_name name = { base, adapter, str_of(selector) };
    uint64_t until = clock_ms() + FOLLOW_MS;
    for (;;) {
        int k = resolve_here(a, &name, /* ordinals= */ false, ret, reterr);
        if (k != FAILED || clock_ms() >= until)
            return k;
        (void)usleep(FOLLOW_PAUSE_US);
    }
}

int adapters_push(struct adapters *a, const struct adapter_push *push, struct adapter_revision *ret,
                  struct fail *reterr)
{
    struct revision_source source;
    struct manifest manifest;
    int k = adapter_name_check(push->adapter, reterr);
    if (k == 0)
        k = base_name_check(push->base, reterr);
    if (k == 0 && push->alias.n)
        k = alias_name_check(push->alias, reterr);
    if (k == 0)
        k = revision_find(&source, push->path, reterr);
    if (k == 0)
        k = revision_check(&source, reterr);
    if (k == 0)
        k = revision_manifest(&source, push->progress, push->progress_ctx, &manifest, reterr);
    if (k != 0)
        return k;
    struct publication p = { .base = push->base,
                             .adapter = push->adapter,
                             .description = str_head(push->description, 16 * KIB),
                             .alias = push->alias,
                             .who = push->who,
                             .examples = push->examples,
                             .n_examples = push->n_examples,
                             .source = &source,
                             .manifest = &manifest,
                             .digest = manifest_digest(&manifest),
                             .rank = revision_rank(&source),
                             .base_id = a->base_id ? a->base_id(a->base_id_ctx, push->base) : 0 };
    if ((k = a->catalog->ops->publish(a->catalog, &p, reterr)) != 0)
        return k;
    k = find_published(a, p.base, p.adapter, &p.digest, ret, reterr);
    if (k == 0 && p.alias.n)
        (void)copy_name(ret->alias, p.alias);
    if (k == 0 && a->residency) /* its first request finds it packed */
        residency_ahead(a->residency, ret, tenant_of_adapter(p.adapter), AHEAD_published, 0);
    return k;
}

/* ---- files ---- */

int adapters_pull(struct adapters *a, const struct adapter_pull *pull, struct adapter_revision *ret,
                  struct fail *reterr)
{
    int k = resolve(a, &pull->name, /* ordinals= */ true, ret, reterr);
    return k == 0 ? upkeep_pull(a->catalog, a->files, pull, ret, reterr) : k;
}

int adapters_gc(struct adapters *a, const struct adapter_gc *gc, struct adapter_gc_report *ret,
                struct fail *reterr)
{
    return upkeep_gc(a->catalog, a->files, gc, ret, reterr);
}

int adapters_verify(struct adapters *a, const struct adapter_verify *verify,
                    struct adapter_verify_report *ret, struct fail *reterr)
{
    return upkeep_verify(a->catalog, a->files, verify, ret, reterr);
}

void adapters_state(struct adapters *a, struct adapters_state *ret)
{
    struct residency_state r = { 0 };
    *ret = (struct adapters_state){ .known = page_len(a->page) };
    a->catalog->ops->state(a->catalog, &ret->connected, &ret->lag_ms);
    if (a->residency)
        residency_state(a->residency, &r);
    ret->resident = r.resident;
    ret->leases = r.leases;
    ret->resident_bytes = r.bytes;
    ret->active = r.active;
    ret->active_bytes = r.active_bytes;
    ret->loading = r.queued;
}
