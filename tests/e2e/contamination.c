/*
 * Does anything of one adapter ever reach another's answer? Random requests over 32 adapters, two
 * revisions each, against the gateway's own core (catalog, residency, engine): equal prompts, equal
 * beginnings, A-B-A orders, aliases that move, a residency budget that evicts all the time, scales
 * 0, 1 and between, activated adapters, and requests cancelled while they wait, prefill and decode.
 * Each answer must be the isolated reference's (isolated.h), token by token.
 *
 *     contamination [--requests N] [--seed S] [--planted]
 *
 * Tokens are compared exactly: a row's sums run in one order whatever else is in a step, and what
 * is copied from another slot is the same bytes. Log-probabilities are compared to TOLERANCE, for
 * the two sides sum the same logits in different precision. With --planted the program is a build
 * that leaves the adapter's digest out of the cache's key: it succeeds when it finds a wrong answer
 * within a minute.
 */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/thread.h"
#include "engine/local/engine_local.h"
#include "engine/local/tokenizer.h"
#include "gateway/state.h"
#include "tests/e2e/isolated.h"
#include "tests/support/random_adapters.h"
#include "tests/support/test.h"

enum {
    ADAPTERS = 32,
    SHIPPED = 4, /* of them */
    HOT = 8,     /* asked for more often */
    REVISIONS = 2,
    PROMPTS = 12,
    FAMILIES = 3,   /* of prompts that begin alike */
    IN_FLIGHT = 20, /* more than slots and than what fits into the residency budget */
    PLANTED_MS = 60000,
    SHOWN = 5,
};
#define TOLERANCE 2e-4f

#define CHECK(what, why)                                                                           \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: not so: %s: %s\n", __FILE__, __LINE__, #what, why);      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct revision {
    char path[PATH_MAX + 32];
    struct sha256 digest;
};

struct adapter {
    char name[32];
    struct revision revisions[REVISIONS];
    unsigned prod; /* which one the alias names */
};

enum stage { STAGE_free, STAGE_waiting, STAGE_leased, STAGE_running, STAGE_ended };

enum cancel { CANCEL_none, CANCEL_at_once, CANCEL_at_token };

struct work { /* one request in flight */
    struct world *world;
    uint64_t number;
    const struct adapter *adapter; /* NULL: the base */
    const struct revision *expected;
    const struct isolated_prompt *prompt;
    float scale;
    bool has_scale;
    uint32_t max_tokens, cancel_after;
    enum cancel cancel;
    struct lease_wait *wait;
    /* under the world's lock */
    enum stage stage;
    struct lease *lease;
    struct engine_job *job;
    struct fail fail;
    bool failed, cancelled;
    int32_t ids[ISOLATED_TOKENS];
    float logprobs[ISOLATED_TOKENS];
    uint32_t n;
};

struct world {
    struct core *core;
    struct engine *engine;
    struct isolated *isolated;
    int32_t ends[16];
    size_t n_ends;
    struct adapter adapters[ADAPTERS];
    struct isolated_prompt prompts[PROMPTS];
    int32_t ids[PROMPTS][ISOLATED_CONTEXT];
    struct work work[IN_FLIGHT];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t random, seed, moves, cancels, cold, cached, checked, wrong;
};

static uint64_t below(struct world *w, uint64_t n)
{
    return test_random(&w->random) % n;
}

/* ---- the world ---- */

static const int32_t invocations[2][3] = { { 301, 302, 303 }, { 404, 404, 405 } };

/* Prompts of a family begin with the same 24 ids; some have an invocation behind that, one has two,
 * and one of each family is the beginning alone. */
static void make_prompts(struct world *w)
{
    enum { SHARED = 24, TAIL = 5 };
    for (uint32_t p = 0; p < PROMPTS; p++) {
        int32_t *ids = w->ids[p];
        uint64_t family = w->seed * FAMILIES + p % FAMILIES;
        uint32_t n = 0, variant = p / FAMILIES;
        while (n < SHARED)
            ids[n++] = (int32_t)(260 + test_random(&family) % 900);
        for (uint32_t i = 0; i < variant % 3; i++) {
            memcpy(ids + n, invocations[(p + i) % 2], sizeof(invocations[0]));
            n += ARRAY_LEN(invocations[0]);
            for (uint32_t k = 0; k < TAIL; k++)
                ids[n++] = (int32_t)(260 + below(w, 900));
        }
        w->prompts[p] = (struct isolated_prompt){ ids, n, p };
    }
}

static void publish(struct world *w, struct adapter *a, unsigned r, bool is_prod)
{
    struct adapter_revision made;
    struct fail f = { 0 };
    struct adapter_push push = { .base = STR("demo"),
                                 .adapter = str_of(a->name),
                                 .path = a->revisions[r].path,
                                 .alias = is_prod ? STR("prod") : STR_NULL,
                                 .who = STR("test") };
    int k = adapters_push(w->core->adapters, &push, &made, &f);
    CHECK(k == 0, f.message);
    a->revisions[r].digest = made.digest;
    if (is_prod)
        a->prod = r;
}

static void make_adapter(struct world *w, unsigned i, const char *folder)
{
    static const char *const shipped[SHIPPED] = { "extract", "french", "sql", "triage" };
    struct adapter *a = &w->adapters[i];
    (void)snprintf(a->name, sizeof(a->name), "%s%u", i < SHIPPED ? shipped[i] : "random", i);
    for (unsigned r = 0; r < REVISIONS; r++) {
        char *path = a->revisions[r].path;
        struct random_adapter made = { .rank = 1 + (uint32_t)below(w, 5),
                                       .seed = w->seed + 100 * i + r,
                                       .size = 0.15f,
                                       .gguf = (i + r) % 2 };
        if (i % 4 == 3) {
            made.invocation = invocations[(i / 4 + r) % 2];
            made.n_invocation = ARRAY_LEN(invocations[0]);
        }
        (void)snprintf(path, sizeof(a->revisions[r].path), "%s/%u-%u", folder, i, r);
        if (i < SHIPPED && r == 0)
            (void)snprintf(path, sizeof(a->revisions[r].path), "%s/%s/1",
                           test_path("models/adapters"), shipped[i]);
        else
            random_adapter_write(&made, isolated_shape(w->isolated), path);
        publish(w, a, r, r == 0);
    }
}

static void open_core(struct world *w, const char *catalog, const char *cache, enum cache_type type)
{
    static const char *const types[] = {
        [CACHE_f16] = "f16", [CACHE_f32] = "f32", [CACHE_q8_0] = "q8_0"
    };
    CLEANUP(problems_freep) struct problems *p = problems_new();
    CLEANUP(config_unrefp) struct config *config = NULL;
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 * MIB), why = BUF_INIT(1 * MIB);
    struct fail f = { 0 };
    unsigned slots = 2 + (unsigned)below(w, 9), batch = slots + (unsigned)below(w, 50);
    buf_addf(&text,
             "version: v0.3\nengine:\n  models:\n    - {name: demo, path: %s, slots: %u, "
             "batch: %u, context: %d, threads: 2, kv_cache: {type: %s}}\n"
             "adapters:\n  catalog: {type: directory, path: %s}\n  blobs: {cache: %s}\n"
             "  residency: {max_bytes: 2MiB, max_loads: 2, cold_wait: 60s}\n"
             "gateway: {log_level: error}\n",
             test_path("models/demo.gguf"), slots, batch, ISOLATED_CONTEXT, types[type], catalog,
             cache);
    int r = config_parse(&config, "contamination.yaml", buf_str(&text), p);
    problems_print(p, &why);
    CHECK(r == 0, why.p ? why.p : "");
    r = core_new(&w->core, config, &f);
    CHECK(r == 0, f.message);
    w->engine = w->core->models[0].engine;
    const struct tokenizer *t = engine_local_tokenizer(w->engine);
    for (uint32_t id = 0; id < tokenizer_vocab(t) && w->n_ends < ARRAY_LEN(w->ends); id++)
        if (tokenizer_is_eog(t, (int32_t)id))
            w->ends[w->n_ends++] = (int32_t)id;
    isolated_ban(w->isolated, w->ends, w->n_ends);
    (void)printf("# %u slots, %u rows a step, cache %s\n", slots, batch, types[type]);
}

static void make_world(struct world *w, uint64_t seed)
{
    w->seed = w->random = seed;
    (void)pthread_mutex_init(&w->lock, NULL);
    CHECK(thread_cond_init(&w->changed) == 0, "");
    char catalog[PATH_MAX], made[PATH_MAX], cache[PATH_MAX];
    const char *folder = test_temp_dir();
    (void)snprintf(catalog, sizeof(catalog), "%s/catalog", folder);
    (void)snprintf(made, sizeof(made), "%s/made", folder);
    (void)snprintf(cache, sizeof(cache), "%s/cache", folder);
    CHECK(mkdir(catalog, 0755) == 0 && mkdir(made, 0755) == 0 && mkdir(cache, 0755) == 0, folder);
    enum cache_type type = (enum cache_type)below(w, 3);
    w->isolated = isolated_new(test_path("models/demo.gguf"), type);
    open_core(w, catalog, cache, type);
    make_prompts(w);
    for (unsigned i = 0; i < ADAPTERS; i++)
        make_adapter(w, i, made);
}

/* ---- one request ---- */

static void set_stage(struct work *x, enum stage stage) /* under the lock */
{
    x->stage = stage;
    (void)pthread_cond_signal(&x->world->changed);
}

static void on_event(void *owner, const struct engine_event *e)
{
    struct work *x = owner;
    bool cancel = false;
    {
        LOCKED(&x->world->lock);
        for (size_t i = 0; i < e->n_tokens && x->n < ISOLATED_TOKENS; i++, x->n++) {
            x->ids[x->n] = e->tokens[i].chosen.id;
            x->logprobs[x->n] = e->tokens[i].chosen.logprob;
        }
        cancel = x->job && x->cancel == CANCEL_at_token && x->n >= x->cancel_after;
        x->cancelled |= cancel;
        if (e->kind == ENGINE_EVENT_failed) {
            x->failed = true;
            x->fail = *e->fail;
        }
        if (e->kind == ENGINE_EVENT_done || e->kind == ENGINE_EVENT_failed) {
            x->world->cached += e->usage.cached_tokens;
            set_stage(x, STAGE_ended);
            return;
        }
    }
    if (cancel)
        engine_cancel(x->job); /* ours until the end was seen */
}

static void on_lease(void *owner, struct lease *lease, const struct fail *f)
{
    struct work *x = owner;
    LOCKED(&x->world->lock);
    x->lease = lease;
    x->failed = !lease;
    if (!lease)
        x->fail = *f;
    set_stage(x, lease ? STAGE_leased : STAGE_ended);
}

static void submit(struct work *x)
{
    struct chat_request request = {
        .is_completion = true,
        .prompt_ids = x->prompt->ids,
        .n_prompt_ids = x->prompt->n,
        .sampling = SAMPLING_INIT,
        .max_tokens = x->max_tokens,
        .n = 1,
        .ignore_eos = true,
        .logprobs = true,
    };
    request.sampling.temperature = 0;
    struct engine_spec spec = {
        .request = &request,
        .lora = x->lease ? lease_resident(x->lease) : NULL,
        .lora_digest = x->lease ? &lease_revision(x->lease)->digest : NULL,
        .lora_scale = x->has_scale ? &x->scale : NULL,
        .want_tokens = true,
        .deadline_ms = CLOCK_NEVER,
        .on_event = on_event,
        .owner = x,
    };
    struct engine_job *job = NULL;
    struct fail f = { 0 };
    x->stage = STAGE_running;
    int r = engine_submit(x->world->engine, &job, &spec, &f);
    CHECK(r == 0, f.message);
    {
        LOCKED(&x->world->lock);
        x->job = job;
        x->cancelled |= x->cancel == CANCEL_at_once;
    }
    if (x->cancel == CANCEL_at_once)
        engine_cancel(job);
}

static void acquire(struct work *x)
{
    struct world *w = x->world;
    struct adapter_name name = { .base = STR("demo"), .adapter = str_of(x->adapter->name) };
    char prefix[SHA256_HEX + 1];
    unsigned how = (unsigned)below(w, 3); /* no selector, the alias, or a digest */
    x->expected = &x->adapter->revisions[how < 2 ? x->adapter->prod : below(w, REVISIONS)];
    sha256_hex(prefix, &x->expected->digest);
    prefix[16] = '\0';
    if (how > 0)
        name.selector = how == 1 ? STR("prod") : str_of(prefix);
    struct lease *lease = NULL;
    struct fail f = { 0 };
    x->stage = STAGE_waiting;
    int r =
        adapters_acquire(w->core->adapters, &name, CLOCK_NEVER, on_lease, x, &lease, &x->wait, &f);
    CHECK(r == 0 || r == ADAPTERS_PENDING, f.message);
    if (r == 0) {
        LOCKED(&w->lock);
        x->lease = lease;
        set_stage(x, STAGE_leased);
        return;
    }
    w->cold++;
    if (x->cancel != CANCEL_at_once)
        return;
    bool never = lease_wait_cancel(x->wait); /* else the lease came, or is just coming */
    LOCKED(&w->lock);
    x->wait = NULL;
    if (never) {
        x->cancelled = true;
        set_stage(x, STAGE_ended);
    }
}

/* Often like the one before: the same prompt for another adapter, or all the same. */
static void begin(struct world *w, struct work *x, uint64_t number)
{
    static const float scales[] = { 0, 1, 0.5f, -1 };
    const struct work *former = &w->work[below(w, IN_FLIGHT)];
    *x = (struct work){ .world = w, .number = number, .prompt = former->prompt };
    uint64_t like = former->prompt && former != x ? below(w, 10) : 10;
    if (like >= 5)
        x->prompt = &w->prompts[below(w, PROMPTS)];
    uint64_t among = below(w, 2) ? ADAPTERS : HOT; /* so that what is computed is met again */
    x->adapter = like == 0 ? former->adapter : &w->adapters[below(w, among) * (ADAPTERS / among)];
    if (like > 0 && below(w, 10) == 0)
        x->adapter = NULL;
    x->has_scale = x->adapter && below(w, 3) == 0;
    x->scale = x->has_scale ? scales[below(w, ARRAY_LEN(scales))] : 1;
    x->max_tokens = 1 + (uint32_t)below(w, ISOLATED_TOKENS);
    x->cancel = below(w, 6) ? CANCEL_none : below(w, 2) ? CANCEL_at_once : CANCEL_at_token;
    x->cancel_after = 1 + (uint32_t)below(w, x->max_tokens);
    if (x->adapter)
        acquire(x);
    else
        submit(x);
}

static void move_alias(struct world *w)
{
    struct adapter *a = &w->adapters[below(w, ADAPTERS)];
    struct adapter_revision now;
    struct fail f = { 0 };
    char hex[SHA256_HEX + 1];
    a->prod = (a->prod + 1) % REVISIONS;
    sha256_hex(hex, &a->revisions[a->prod].digest);
    int r = adapters_alias(w->core->adapters, STR("demo"), str_of(a->name), STR("prod"),
                           str_of(hex), STR_NULL, STR("test"), &now, &f);
    CHECK(r == 0, f.message);
    w->moves++;
}

/* ---- what came back ---- */

static void tell(const struct work *x, const char *what, uint32_t at,
                 const struct isolated_answer *want)
{
    char hex[SHA256_HEX + 1] = "";
    if (x->expected)
        sha256_hex(hex, &x->expected->digest);
    (void)fprintf(stderr,
                  "# request %" PRIu64 ": %s@%.12s scale %g prompt %u%s: %s at token %u: got %d "
                  "(%.6f), alone %d (%.6f)\n",
                  x->number, x->adapter ? x->adapter->name : "base", hex, (double)x->scale,
                  x->prompt->number, x->cancelled ? " (cancelled)" : "", what, at, x->ids[at],
                  (double)x->logprobs[at], want->ids[at], (double)want->logprobs[at]);
}

static const char *differs(const struct work *x, const struct isolated_answer *want,
                           uint32_t *ret_at)
{
    *ret_at = 0;
    if (x->expected && x->lease &&
        !sha256_eq(&lease_revision(x->lease)->digest, &x->expected->digest))
        return "another revision";
    if (!x->cancelled && x->n != x->max_tokens)
        return "another number of tokens";
    for (uint32_t i = 0; i < x->n; i++) {
        *ret_at = i;
        if (x->ids[i] != want->ids[i])
            return "another token";
        if (!(fabsf(x->logprobs[i] - want->logprobs[i]) <= TOLERANCE))
            return "another log-probability";
    }
    return NULL;
}

/* The end of one; its place is free afterwards. */
static void finish(struct work *x)
{
    struct world *w = x->world;
    CHECK(!x->failed, x->fail.message);
    const char *path = x->expected && x->scale != 0 ? x->expected->path : NULL;
    const struct isolated_answer *want = isolated_ask(w->isolated, path, x->scale, x->prompt);
    uint32_t at;
    const char *what = differs(x, want, &at);
    w->cancels += x->cancelled;
    w->checked++;
    if (what && w->wrong++ < SHOWN)
        tell(x, what, at, want);
    (void)engine_job_unref(x->job);
    (void)lease_release(x->lease);
    x->wait = lease_wait_free(x->wait);
    x->job = NULL;
    x->lease = NULL;
    x->stage = STAGE_free;
}

/* Moves on whatever can; a free place, or NULL: none is, after a short wait. */
static struct work *turn(struct world *w, bool *ret_idle)
{
    struct work *free_one = NULL;
    *ret_idle = true;
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        struct work *x = &w->work[i];
        enum stage stage;
        {
            LOCKED(&w->lock);
            stage = x->stage;
        }
        if (stage == STAGE_leased)
            submit(x);
        else if (stage == STAGE_ended)
            finish(x);
        *ret_idle &= x->stage == STAGE_free;
        if (x->stage == STAGE_free)
            free_one = x;
    }
    return free_one;
}

static void wait_for_change(struct world *w)
{
    LOCKED(&w->lock);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        if (w->work[i].stage == STAGE_leased || w->work[i].stage == STAGE_ended)
            return;
    CHECK(thread_cond_wait_until(&w->changed, &w->lock, clock_ms() + 120000) == 0,
          "nothing happens any more");
}

static void run(struct world *w, uint64_t requests, uint64_t until_ms)
{
    bool idle = false;
    for (uint64_t i = 0; i < requests || !idle;) {
        struct work *x = turn(w, &idle);
        bool over = i >= requests || (until_ms && (w->wrong || clock_ms() > until_ms));
        if (over) {
            i = requests;
            if (!idle)
                wait_for_change(w);
            continue;
        }
        idle = false;
        if (!x) {
            wait_for_change(w);
            continue;
        }
        if (below(w, 25) == 0)
            move_alias(w);
        begin(w, x, i++);
    }
}

struct choice {
    uint64_t requests, seed;
    bool planted;
};

static bool read_choice(int argc, char **argv, struct choice *ret)
{
    for (int i = 1; i < argc; i++) {
        bool is_seed = strcmp(argv[i], "--seed") == 0;
        if (strcmp(argv[i], "--planted") == 0)
            ret->planted = true;
        else if ((!is_seed && strcmp(argv[i], "--requests") != 0) || i + 1 == argc ||
                 num_parse_u64(is_seed ? &ret->seed : &ret->requests, str_of(argv[++i]), 0,
                               UINT64_MAX) < 0)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct world w;
    struct choice o = { .requests = 2000, .seed = clock_us() % 1000000 };
    if (!read_choice(argc, argv, &o)) {
        (void)fprintf(stderr, "usage: contamination [--requests N] [--seed S] [--planted]\n");
        return 2;
    }
    json_object_seed(0);
    log_set_level(LOG_error);
    uint64_t from = clock_ms();
    (void)printf("# seed %" PRIu64 "\n", o.seed);
    make_world(&w, o.seed);
    run(&w, o.requests, o.planted ? from + PLANTED_MS : 0);
    w.core = core_free(w.core);
    (void)printf("# %" PRIu64 " answers in %.1f s: %" PRIu64 " wrong, %" PRIu64
                 " cancelled, %" PRIu64 " cold, %" PRIu64 " alias moves, %" PRIu64
                 " prompt tokens reused, %zu references\n",
                 w.checked, (double)(clock_ms() - from) / 1000, w.wrong, w.cancels, w.cold, w.moves,
                 w.cached, isolated_known(w.isolated));
    isolated_free(w.isolated);
    bool good = o.planted ? w.wrong > 0 : w.wrong == 0;
    (void)printf("%s 1 - %s\n1..1\n", good ? "ok" : "not ok",
                 o.planted ? "a_planted_fault_is_found_within_a_minute"
                           : "every_answer_equals_its_isolated_reference");
    return !good;
}
