#include "engine/upstream/lora.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_view.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "config/config.h"
#include "engine/upstream/lora_call.h"
#include "engine/upstream/lora_fixed.h"
#include "engine/upstream/lora_name.h"

#include <errno.h>
#include <stdlib.h>

enum {
    LINGER_MS = 1000,          /* held so long after its last use: the next one costs nothing */
    REFRESH_MS = 2000,         /* between two words to the ledger that we are alive */
    UNSERVABLE_MS = 60 * 1000, /* before an adapter that was refused is tried again */
    LIST_RETRY_MS = 2000,
};

enum state {
    STATE_asking,  /* the ledger is to be asked, at at_ms */
    STATE_placing, /* its files are put in place, a victim unloaded, or it is being loaded */
    STATE_settled, /* the load has ended: the ledger is to be told */
    STATE_held,
    STATE_unservable,
};

struct lora_waiter {            /* lives until its task has run */
    struct transport_task task; /* first */
    struct lora_waiter *next;
    struct transport_loop *loop;
    struct lora_use *use;     /* NULL: it waits no more. Of its loop's thread */
    struct lora_entry *entry; /* held, once `task` runs; NULL: it failed */
    struct lora_fleet *fleet;
    uint64_t deadline_ms;
    struct fail fail;
};

struct lora_entry { /* an adapter at an endpoint, while anybody here wants it */
    struct lora_entry *next;
    struct lora_fleet *fleet;
    unsigned endpoint;
    struct engine_adapter adapter; /* its name: `full` */
    char full[LIMIT_NAME + 1];
    char name[LORA_NAME];
    char victim[LORA_NAME];
    enum state state;
    bool is_loaded;  /* of settled */
    bool is_missing; /* the engine says that it does not have it */
    unsigned uses;
    uint64_t at_ms; /* of asking: when; of held without uses: when it is dropped; of unservable */
    struct lora_waiter *waiters;
    struct fail fail;
};

struct site { /* an endpoint */
    char *url;
    bool is_listed, is_listing; /* what it had when we came is in the ledger */
    char *listed;               /* the engine's answer, not read yet */
    uint64_t list_at_ms;
    struct buf *bodies; /* of llama-server: for each of its adapters, and the last for the base */
};

struct lora_fleet {
    struct lora_config config;
    const struct config_upstream_lora *lora;
    struct ledger_shared ledger;
    struct ledger_local *local; /* NULL: it is shared */
    struct site *sites;
    unsigned n_sites;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the fleet's thread has something to do */
    pthread_cond_t calm; /* no call is under way */
    struct lora_entry *entries;
    unsigned calls; /* of engines, and waiters that are being told */
    bool stopping, has_thread, is_woken;
    pthread_t thread;
    uint64_t refresh_ms;
};

static const struct config_endpoint *endpoint_of(const struct lora_fleet *f, unsigned i)
{
    const struct config_endpoint *all = f->config.upstream->endpoints.items;
    return &all[i];
}

static bool is_fixed(const struct lora_fleet *f, unsigned i)
{
    return endpoint_of(f, i)->provider == UPSTREAM_llama_server;
}

static void wake(struct lora_fleet *f)
{
    f->is_woken = true;
    (void)pthread_cond_signal(&f->wake);
}

static struct lora_entry **place_of(struct lora_fleet *f, const struct lora_entry *e)
{
    struct lora_entry **at = &f->entries;
    while (*at != e)
        at = &(*at)->next;
    return at;
}

static void use_less(struct lora_entry *e)
{
    if (--e->uses > 0)
        return;
    e->at_ms = clock_ms() + LINGER_MS;
    wake(e->fleet);
}

static void set_held(struct lora_use *use, struct lora_entry *e)
{
    const struct config_endpoint *at = endpoint_of(e->fleet, e->endpoint);
    use->fleet = e->fleet;
    use->entry = e;
    use->waiter = NULL;
    size_t n = 0;
    if (at->provider == UPSTREAM_sglang) { /* its way: "base:adapter" */
        n = at->model.n < LIMIT_NAME ? at->model.n : LIMIT_NAME;
        memcpy(use->name, at->model.p, n);
        use->name[n++] = ':';
    }
    memcpy(use->name + n, e->name, sizeof(e->name));
}

/* Under the lock. */
static void end_call(struct lora_fleet *f)
{
    if (--f->calls == 0)
        (void)pthread_cond_broadcast(&f->calm);
    wake(f);
}

static void run_waiter(struct transport_task *task)
{
    struct lora_waiter *w = (struct lora_waiter *)(void *)task;
    struct lora_use *use = w->use;
    struct lora_fleet *f = w->fleet;
    if (!use && w->entry) {
        LOCKED(&f->lock);
        use_less(w->entry);
    } else if (use && w->entry) {
        set_held(use, w->entry);
        use->ready(use, NULL);
    } else if (use) {
        use->waiter = NULL;
        use->fleet = NULL;
        use->ready(use, &w->fail);
    }
    free(w);
    LOCKED(&f->lock);
    end_call(f);
}

/* Under the lock: posting takes none of ours. */
static void tell(struct lora_entry *e, struct lora_waiter *w, const struct fail *fail)
{
    w->entry = fail ? NULL : e;
    if (fail)
        w->fail = *fail;
    else
        e->uses++;
    e->fleet->calls++;
    transport_post(w->loop, &w->task);
}

static void tell_all(struct lora_entry *e, const struct fail *fail)
{
    struct lora_waiter *list = TAKE(e->waiters);
    for (struct lora_waiter *w = list, *next; w; w = next) {
        next = w->next;
        tell(e, w, fail);
    }
}

/* Those that waited for room as long as they could. */
static void tell_late(struct lora_entry *e, uint64_t now_ms)
{
    struct fail fail;
    (void)fail_set(&fail, FAIL_overloaded,
                   "no room for the adapter '%s' at the engine behind: others are in use", e->full);
    fail.retry_after_s = 1;
    for (struct lora_waiter **at = &e->waiters; *at;) {
        struct lora_waiter *w = *at;
        if (w->deadline_ms > now_ms) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        tell(e, w, &fail);
    }
}

/* ---- the fleet's thread ---- */

static struct ledger_slot slot_of(const struct lora_fleet *f, const struct lora_entry *e)
{
    const struct config_upstream_lora *l = f->lora;
    /* Loading one more than fit into a batch may evict one that is decoding. */
    bool few = !l->safe_eviction && l->max_loaded > l->max_loras;
    return (struct ledger_slot){ .endpoint = f->sites[e->endpoint].url,
                                 .name = e->name,
                                 .max_loaded = few ? l->max_loras : l->max_loaded,
                                 .max_held = l->max_loras };
}

static void free_entry(struct lora_fleet *f, struct lora_entry *e)
{
    *place_of(f, e) = e->next;
    free(e);
}

static void on_loaded(void *ctx, enum lora_answer answer, struct str text)
{
    struct lora_entry *e = ctx;
    struct lora_fleet *f = e->fleet;
    CLEANUP(buf_done) struct buf said = BUF_INIT(4096);
    lora_name_hide(&said, str_head(text, 1024), f->lora->path, e->name, &e->adapter);
    LOCKED(&f->lock);
    e->is_loaded = answer == LORA_loaded;
    bool refused = answer == LORA_unservable;
    if (!e->is_loaded)
        (void)fail_set(&e->fail, refused ? FAIL_unprocessable_adapter : FAIL_upstream_error,
                       "the engine behind %s the adapter '%s': " STR_FMT,
                       refused ? "cannot load" : "did not load", e->full,
                       STR_ARG(str_head(buf_str(&said), 200)));
    e->state = STATE_settled;
    end_call(f);
}

static void call_failed(struct lora_entry *e, int err, const struct fail *fail)
{
    LOCKED(&e->fleet->lock);
    e->is_loaded = false;
    e->fail = *fail;
    if (err < 0)
        (void)fail_errno(&e->fail, err, "loading the adapter");
    e->state = STATE_settled;
    end_call(e->fleet);
}

static void load(struct lora_entry *e)
{
    struct lora_fleet *f = e->fleet;
    struct fail fail = { 0 };
    CLEANUP(buf_done) struct buf path = BUF_INIT(4096);
    lora_name_path(&path, f->lora->path, e->name, &e->adapter.digest);
    struct lora_call_spec spec = { .config = &f->config,
                                   .endpoint = e->endpoint,
                                   .verb = LORA_load,
                                   .name = e->name,
                                   .path = path.p ? path.p : "",
                                   .told = on_loaded,
                                   .ctx = e };
    int err = buf_err(&path);
    if (err == 0)
        err = lora_call_start(&spec, &fail);
    if (err != 0)
        call_failed(e, err, &fail);
}

/* What an engine says to unloading is advice: the ledger counts, not the answer. */
static void on_unloaded(void *ctx, enum lora_answer answer, struct str text)
{
    (void)answer;
    (void)text;
    load(ctx);
}

static void begin_load(struct lora_fleet *f, struct lora_entry *e)
{
    struct fail fail = { 0 };
    int err = f->config.place ? f->config.place(f->config.place_ctx, &e->adapter, &fail) : 0;
    if (err != 0) {
        call_failed(e, err, &fail);
        return;
    }
    if (!e->victim[0]) {
        load(e);
        return;
    }
    struct lora_call_spec spec = { .config = &f->config,
                                   .endpoint = e->endpoint,
                                   .verb = LORA_unload,
                                   .name = e->victim,
                                   .told = on_unloaded,
                                   .ctx = e };
    if (lora_call_start(&spec, &fail) != 0)
        load(e);
}

/* Under the lock. What is held only for its next use gives way to what is wanted now. */
static void yield_idle(struct lora_fleet *f, unsigned endpoint)
{
    struct lora_entry *oldest = NULL;
    for (struct lora_entry *e = f->entries; e; e = e->next)
        if (e->endpoint == endpoint && e->state == STATE_held && !e->uses &&
            (!oldest || e->at_ms < oldest->at_ms))
            oldest = e;
    if (oldest)
        oldest->at_ms = 0;
}

/* Under the lock. There is room: whoever waits for it asks again at once. */
static void ask_again(struct lora_fleet *f, unsigned endpoint)
{
    for (struct lora_entry *e = f->entries; e; e = e->next)
        if (e->endpoint == endpoint && e->state == STATE_asking && e->waiters)
            e->at_ms = 0;
}

/* Called and left without the lock. */
static void ask(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = slot_of(f, e);
    struct ledger_answer answer = { .word = LEDGER_wait };
    struct fail fail = { 0 };
    int err = 0;
    if (e->is_missing)
        err = f->ledger.ops->correct(f->ledger.ctx, &slot, /* loaded= */ false);
    if (err == 0)
        err = f->ledger.ops->hold(f->ledger.ctx, &slot, &answer, &fail);
    if (err < 0)
        err = fail_errno(&fail, err, "asking for room for the adapter");
    bool loads = false;
    {
        LOCKED(&f->lock);
        e->is_missing = false;
        if (err != 0) {
            tell_all(e, &fail);
            e->at_ms = clock_ms() + LINGER_MS;
        } else if (answer.word == LEDGER_ready) {
            e->state = STATE_held;
            e->at_ms = clock_ms() + LINGER_MS;
            tell_all(e, NULL);
        } else if (answer.word == LEDGER_wait) {
            e->at_ms = clock_ms() + answer.wait_ms;
            tell_late(e, clock_ms());
            yield_idle(f, e->endpoint);
        } else {
            memcpy(e->victim, answer.victim, sizeof(e->victim));
            e->state = STATE_placing;
            f->calls++;
            loads = true;
        }
    }
    if (loads)
        begin_load(f, e);
}

static void settle(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = slot_of(f, e);
    int err = f->ledger.ops->settle(f->ledger.ctx, &slot, e->is_loaded);
    LOCKED(&f->lock);
    if (err != 0)
        log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", e->name);
    if (e->is_loaded) {
        e->state = STATE_held;
        e->at_ms = clock_ms() + LINGER_MS;
        tell_all(e, NULL);
        return;
    }
    log_line(LOG_warn, "upstream_adapter", "name=%s endpoint=%s why=\"%s\"", e->name,
             f->sites[e->endpoint].url, e->fail.message);
    bool refused = e->fail.code == FAIL_unprocessable_adapter;
    e->state = refused ? STATE_unservable : STATE_asking;
    e->at_ms = clock_ms() + (refused ? UNSERVABLE_MS : LINGER_MS);
    tell_all(e, &e->fail);
}

static void drop(struct lora_fleet *f, struct lora_entry *e)
{
    struct ledger_slot slot = slot_of(f, e);
    char name[LORA_NAME];
    unsigned endpoint = e->endpoint;
    memcpy(name, e->name, sizeof(name));
    slot.name = name;
    {
        LOCKED(&f->lock);
        if (e->uses || e->waiters)
            return; /* wanted again meanwhile */
        free_entry(f, e);
    }
    if (f->ledger.ops->drop(f->ledger.ctx, &slot) != 0)
        log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", name);
    LOCKED(&f->lock);
    ask_again(f, endpoint);
}

/* ---- what an engine had when we came ---- */

struct listing {
    struct lora_fleet *fleet;
    unsigned endpoint;
};

static void on_listed(void *ctx, enum lora_answer answer, struct str text)
{
    struct listing *l = ctx;
    struct lora_fleet *f = l->fleet;
    struct site *s = &f->sites[l->endpoint];
    LOCKED(&f->lock);
    if (answer == LORA_loaded)
        s->listed = str_dup(text);
    else
        s->is_listed = answer == LORA_unservable; /* it has no such list */
    s->is_listing = false;
    s->list_at_ms = clock_ms() + LIST_RETRY_MS;
    end_call(f);
    free(l);
}

/* vLLM names the base of each adapter in `parent`. */
static void read_listed(struct lora_fleet *f, struct site *s)
{
    struct str item, name;
    struct json_view_walk w = json_view_walk(json_view_get(str_of(s->listed), "data"));
    while (json_view_next(&w, NULL, &item)) {
        char copy[LORA_NAME];
        if (json_view_kind(json_view_get(item, "parent")) != JSON_VIEW_string ||
            !json_view_plain(json_view_get(item, "id"), &name) || name.n >= LORA_NAME)
            continue;
        memcpy(copy, name.p, name.n);
        copy[name.n] = '\0';
        struct ledger_slot slot = { .endpoint = s->url, .name = copy };
        if (f->ledger.ops->correct(f->ledger.ctx, &slot, /* loaded= */ true) != 0)
            log_line(LOG_warn, "upstream_adapter", "name=%s why=\"the ledger was not told\"", copy);
    }
    LOCKED(&f->lock);
    free(s->listed);
    s->listed = NULL;
    s->is_listed = true;
}

static void list(struct lora_fleet *f, unsigned i)
{
    struct listing *l = malloc(sizeof(*l));
    struct fail fail;
    struct lora_call_spec spec = {
        .config = &f->config, .endpoint = i, .verb = LORA_list, .told = on_listed, .ctx = l
    };
    if (l)
        *l = (struct listing){ f, i };
    if (l && lora_call_start(&spec, &fail) == 0)
        return;
    free(l);
    LOCKED(&f->lock);
    f->sites[i].is_listing = false;
    f->sites[i].list_at_ms = clock_ms() + LIST_RETRY_MS;
    end_call(f);
}

/* Under the lock. The next endpoint that is to be listed, or n_sites. */
static unsigned to_list(struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms)
{
    for (unsigned i = 0; i < f->n_sites; i++) {
        struct site *s = &f->sites[i];
        if (s->is_listed || s->is_listing)
            continue;
        if (s->listed)
            return i;
        if (s->list_at_ms <= now_ms) {
            s->is_listing = true;
            f->calls++;
            return i;
        }
        if (s->list_at_ms < *next_ms)
            *next_ms = s->list_at_ms;
    }
    return f->n_sites;
}

/* Under the lock. The next entry with something to be done about, or NULL. */
static struct lora_entry *due(struct lora_fleet *f, uint64_t now_ms, uint64_t *next_ms)
{
    for (struct lora_entry *e = f->entries; e; e = e->next) {
        bool waits = e->state == STATE_asking && !f->sites[e->endpoint].is_listed;
        bool still = e->state == STATE_placing || (e->state == STATE_held && e->uses);
        if (waits)
            tell_late(e, now_ms);
        if (e->state == STATE_settled || (!still && !waits && e->at_ms <= now_ms))
            return e;
        if (!still && !waits && e->at_ms < *next_ms)
            *next_ms = e->at_ms;
    }
    return NULL;
}

enum act { ACT_settle, ACT_ask, ACT_drop, ACT_keep, ACT_forget };

/* Under the lock. */
static enum act act_of(const struct lora_entry *e)
{
    if (e->state == STATE_settled)
        return ACT_settle;
    if (e->state == STATE_held)
        return ACT_drop;
    if (e->waiters && e->state == STATE_asking)
        return ACT_ask;
    return e->uses ? ACT_keep : ACT_forget;
}

static void act(struct lora_fleet *f, struct lora_entry *e, enum act what)
{
    if (what == ACT_settle) {
        settle(f, e);
    } else if (what == ACT_ask) {
        ask(f, e);
    } else if (what == ACT_drop) {
        drop(f, e);
    } else {
        LOCKED(&f->lock);
        if (what == ACT_forget && !e->waiters && !e->uses)
            free_entry(f, e);
        else if (!e->waiters) /* used still, though the engine said that it was gone */
            e->state = STATE_held;
    }
}

static void *fleet_main(void *arg)
{
    struct lora_fleet *f = arg;
    for (;;) {
        uint64_t now = clock_ms(), next = now + REFRESH_MS;
        struct lora_entry *e = NULL;
        enum act what = ACT_keep;
        unsigned site;
        {
            LOCKED(&f->lock);
            site = to_list(f, now, &next);
            e = site == f->n_sites ? due(f, now, &next) : NULL;
            what = e ? act_of(e) : ACT_keep;
            bool idle = !e && site == f->n_sites && !f->is_woken && now < f->refresh_ms;
            if (idle && f->stopping)
                return NULL;
            if (idle)
                (void)thread_cond_wait_until(&f->wake, &f->lock, next);
            f->is_woken = false;
        }
        if (site < f->n_sites && f->sites[site].listed)
            read_listed(f, &f->sites[site]);
        else if (site < f->n_sites)
            list(f, site);
        else if (e)
            act(f, e, what);
        else if (f->ledger.ops->refresh && clock_ms() >= f->refresh_ms &&
                 f->ledger.ops->refresh(f->ledger.ctx) != 0)
            log_line(LOG_warn, "upstream_adapter", "why=\"the ledger was not told that we live\"");
        if (clock_ms() >= f->refresh_ms)
            f->refresh_ms = clock_ms() + REFRESH_MS;
    }
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
        if (e->state == STATE_held && sha256_eq(&e->adapter.digest, digest))
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
                   is_fixed(f, 0) ? "none was started with it (upstream.lora.fixed)"
                                  : "its rank is too great (upstream.lora.max_rank)");
    LOCKED(&f->lock);
    for (const struct lora_entry *e = f->entries; e; e = e->next)
        if (e->state == STATE_unservable && sha256_eq(&e->adapter.digest, &a->digest))
            *ret = e->fail;
    return true;
}

uint64_t lora_servable(struct lora_fleet *f, const struct engine_adapter *a)
{
    uint64_t bits = 0;
    if (f->lora->max_rank && a->rank > f->lora->max_rank)
        return 0;
    for (unsigned i = 0; i < f->n_sites; i++)
        if (!is_fixed(f, i) || lora_fixed_id(f->lora, a) >= 0)
            bits |= 1ull << i;
    LOCKED(&f->lock);
    for (const struct lora_entry *e = f->entries; e; e = e->next)
        if (e->state == STATE_unservable && sha256_eq(&e->adapter.digest, &a->digest))
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

static int wait_for(struct lora_entry *e, struct lora_use *use, struct transport_loop *l,
                    uint64_t deadline_ms)
{
    struct lora_waiter *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->task.run = run_waiter;
    w->loop = l;
    w->use = use;
    w->fleet = e->fleet;
    w->deadline_ms = deadline_ms;
    w->next = e->waiters;
    e->waiters = w;
    use->fleet = e->fleet;
    use->waiter = w;
    use->entry = NULL;
    wake(e->fleet);
    return LORA_PENDING;
}

struct chat_pair lora_base_body(const struct lora_fleet *f, unsigned endpoint)
{
    bool has = f && is_fixed(f, endpoint) && f->lora->fixed.n;
    return has ? lora_fixed_member(f->sites[endpoint].bodies, f->lora->fixed.n)
               : (struct chat_pair){ STR_NULL, STR_NULL };
}

int lora_acquire(struct lora_fleet *f, struct transport_loop *l, struct lora_use *use,
                 const struct engine_adapter *a, uint64_t deadline_ms, struct fail *reterr)
{
    if (is_fixed(f, use->endpoint)) {
        int r = lora_fixed_choose(f->lora, f->sites[use->endpoint].bodies, a, &use->body, reterr);
        use->fleet = r == 0 ? f : NULL;
        return r;
    }
    uint64_t longest = clock_ms() + f->lora->load_timeout_ms;
    LOCKED(&f->lock);
    struct lora_entry *e = find(f, use->endpoint, &a->digest);
    if (e && e->state == STATE_held && !e->is_missing) {
        e->uses++;
        set_held(use, e);
        return 0;
    }
    if (e && e->state == STATE_unservable) {
        *reterr = e->fail;
        return FAILED;
    }
    if (e && e->state == STATE_held)
        e->state = STATE_asking;
    if (!e)
        e = add_entry(f, use->endpoint, a);
    if (!e)
        return -ENOMEM;
    return wait_for(e, use, l, deadline_ms < longest ? deadline_ms : longest);
}

void lora_release(struct lora_use *use)
{
    struct lora_fleet *f = use->fleet;
    if (!f)
        return;
    LOCKED(&f->lock);
    if (use->entry)
        use_less(use->entry);
    if (use->waiter)
        use->waiter->use = NULL; /* its task frees it */
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
    if (e->state != STATE_held || e->is_missing)
        return;
    e->is_missing = true; /* whoever comes now waits until it was loaded again */
    e->state = STATE_asking;
    e->at_ms = 0;
    wake(use->fleet);
}

/* ---- life ---- */

static int make_sites(struct lora_fleet *f)
{
    f->n_sites = (unsigned)f->config.upstream->endpoints.n;
    f->sites = calloc(f->n_sites, sizeof(*f->sites));
    if (!f->sites)
        return -ENOMEM;
    for (unsigned i = 0; i < f->n_sites; i++) {
        f->sites[i].url = str_dup(endpoint_of(f, i)->url);
        f->sites[i].is_listed = is_fixed(f, i);
        int r = f->sites[i].url ? 0 : -ENOMEM;
        if (r == 0 && is_fixed(f, i))
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
        r = thread_cond_init(&f->calm);
    if (r == 0 && !config->shared) {
        f->local = ledger_local_new();
        r = f->local ? 0 : -ENOMEM;
    }
    f->ledger =
        config->shared ? *config->shared : (struct ledger_shared){ &ledger_local_ops, f->local };
    if (r == 0)
        r = make_sites(f);
    if (r == 0)
        r = thread_start(&f->thread, THREAD_loader, fleet_main, f);
    if (r != 0)
        return r;
    f->has_thread = true;
    *ret = TAKE(f);
    return 0;
}

static void wait_calm_and_stop(struct lora_fleet *f)
{
    LOCKED(&f->lock);
    while (f->calls)
        (void)pthread_cond_wait(&f->calm, &f->lock);
    f->stopping = true;
    wake(f);
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
    for (struct lora_entry *e; (e = f->entries); free(e)) {
        f->entries = e->next;
        for (struct lora_waiter *w; (w = e->waiters); free(w)) /* given up, and known to nobody */
            e->waiters = w->next;
    }
    for (unsigned i = 0; f->sites && i < f->n_sites; i++) {
        lora_fixed_free(f->lora, f->sites[i].bodies);
        free(f->sites[i].listed);
        free(f->sites[i].url);
    }
    free(f->sites);
    (void)ledger_local_free(f->local);
    (void)pthread_cond_destroy(&f->wake);
    (void)pthread_cond_destroy(&f->calm);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
    return NULL;
}
