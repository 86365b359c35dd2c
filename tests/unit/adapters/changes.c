/* Promote, rollback, canary, abort, shadow and retire: by several clients at once, against a model,
 * against conflicts, and against a Redis that loses its memory. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/redis.h"
#include "tests/unit/adapters/common.h"

enum { CLIENTS = 3 }; /* two gateways and a command */

struct fleet {
    struct test_redis redis; /* not running: a folder */
    bool in_folder;
    struct config config;
    struct fake_loader fake[CLIENTS];
    struct adapter_loader loader[CLIENTS];
    struct adapters *a[CLIENTS];
    struct arena *arena;
};

static void open_clients(struct fleet *f)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        f->loader[i] = loader_of(&f->fake[i]);
        assert_int_equal(
            adapters_open(&f->a[i], &f->config, i + 1 < CLIENTS ? &f->loader[i] : NULL, NULL), 0);
    }
}

static void open_fleet(struct fleet *f, bool redis)
{
    *f = (struct fleet){ .in_folder = !redis, .arena = arena_new(64 * MIB) };
    assert_non_null(f->arena);
    if (redis) {
        test_redis_start(&f->redis);
        f->config = redis_config(f->redis.url, test_temp_dir());
    } else {
        f->config = directory_config(test_temp_dir());
    }
    open_clients(f);
}

static void close_clients(struct fleet *f)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        f->a[i] = adapters_close(f->a[i]);
}

static void close_fleet(struct fleet *f)
{
    close_clients(f);
    test_redis_stop(&f->redis);
    (void)arena_free(f->arena);
}

static void drop(redisReply *r)
{
    assert_true(r->type != REDIS_REPLY_ERROR);
    freeReplyObject(r);
}

/* What the name means to the client, in hex; "" when nothing. */
static const char *means(struct adapters *a, const char *name, uint64_t sticky)
{
    struct adapter_revision r;
    struct adapter_name n = name_of(name);
    n.sticky = sticky;
    return adapters_resolve(a, &n, &r, NULL) == 0 ? hex_of(&r.digest) : "";
}

static struct adapter_change change_of(enum adapter_op op, const char *selector)
{
    return (struct adapter_change){ .op = op,
                                    .base = STR("demo"),
                                    .adapter = STR("sql"),
                                    .selector = str_of(selector),
                                    .who = STR("tester"),
                                    .fleet_ms = 5000 };
}

/* ---- the model ---- */

enum { M_REVISIONS = 7, M_ALIASES = 5, M_STEPS = 400 };
enum { M_prod, M_prev, M_blue, M_canary, M_shadow };
static const char *const m_aliases[M_ALIASES] = { "prod", "prev", "blue", "canary", "shadow" };

struct model {
    unsigned n; /* published so far */
    bool gone[M_REVISIONS + 1];
    char digests[M_REVISIONS + 1][SHA256_HEX + 1]; /* by ordinal */
    unsigned now[M_ALIASES], was[M_ALIASES];       /* ordinals; 0: none */
    unsigned canary_weight, shadow_weight;
};

static bool m_there(const struct model *m, unsigned ordinal)
{
    return ordinal >= 1 && ordinal <= m->n && !m->gone[ordinal];
}

static void m_set(struct model *m, unsigned alias, unsigned to)
{
    if (m->now[alias] == to)
        return;
    m->was[alias] = m->now[alias];
    m->now[alias] = to;
}

static void m_end_canary(struct model *m)
{
    m->now[M_canary] = m->was[M_canary] = m->canary_weight = 0;
}

static void m_move(struct model *m, unsigned alias, unsigned to)
{
    unsigned from = m->now[alias];
    bool ends = alias == M_prod && m->canary_weight && m->now[M_canary] == to;
    m_set(m, alias, to);
    if (alias == M_prod && from && from != to)
        m_set(m, M_prev, from);
    if (ends)
        m_end_canary(m);
}

static bool m_weigh(struct model *m, unsigned alias, unsigned *weight, unsigned to, unsigned value)
{
    if (!m_there(m, to) || !m->now[M_prod] || m->now[M_prod] == to)
        return false;
    m_set(m, alias, to);
    *weight = value;
    return true;
}

static bool m_retire(struct model *m, unsigned ordinal)
{
    if (!m_there(m, ordinal))
        return false;
    for (unsigned i = 0; i < M_ALIASES; i++)
        if (m->now[i] == ordinal)
            return false;
    for (unsigned i = 0; i < M_ALIASES; i++)
        if (m->was[i] == ordinal)
            m->was[i] = 0;
    m->gone[ordinal] = true;
    return true;
}

/* What the change does to the model; false: it must be refused. */
static bool m_apply(struct model *m, const struct adapter_change *c, unsigned alias, unsigned to)
{
    switch (c->op) {
    case ADAPTER_OP_promote:
        if (!m_there(m, to))
            return false;
        m_move(m, alias, to);
        return true;
    case ADAPTER_OP_rollback:
        if (!m->now[alias] || !m->was[alias] || m->gone[m->was[alias]])
            return false;
        m_move(m, alias, m->was[alias]);
        return true;
    case ADAPTER_OP_canary:
        return m_weigh(m, M_canary, &m->canary_weight, to, c->weight);
    case ADAPTER_OP_abort:
        m_end_canary(m);
        return true;
    case ADAPTER_OP_shadow:
        if (c->weight)
            return m_weigh(m, M_shadow, &m->shadow_weight, to, c->weight);
        m->now[M_shadow] = m->was[M_shadow] = m->shadow_weight = 0;
        return true;
    case ADAPTER_OP_retire:
        return m_retire(m, to);
    case ADAPTER_OPS:
        break;
    }
    return false;
}

static void m_check(struct fleet *f, const struct model *m)
{
    char name[64];
    for (unsigned i = 0; i < CLIENTS; i++) {
        for (unsigned k = 0; k < M_ALIASES; k++) {
            (void)snprintf(name, sizeof(name), "sql@%s", m_aliases[k]);
            assert_string_equal(means(f->a[i], name, 0), m->now[k] ? m->digests[m->now[k]] : "");
        }
        for (unsigned k = 1; k <= m->n; k++) {
            (void)snprintf(name, sizeof(name), "sql@%s", m->digests[k]);
            assert_string_equal(means(f->a[i], name, 0), m->gone[k] ? "" : m->digests[k]);
        }
    }
    for (uint64_t sticky = 1; m->now[M_prod] && sticky <= 4; sticky++) {
        const char *first = means(f->a[0], "sql", sticky);
        bool canary = strcmp(first, m->digests[m->now[M_prod]]) != 0;
        if (canary)
            assert_string_equal(first, m->digests[m->now[M_canary]]);
        assert_true(!canary || m->canary_weight > 0);
        assert_true(canary || m->canary_weight < CANARY_WHOLE);
        for (unsigned i = 1; i < CLIENTS; i++)
            assert_string_equal(means(f->a[i], "sql", sticky), first);
    }
}

static void m_push(struct fleet *f, struct model *m, unsigned who)
{
    struct adapter_revision r;
    if (m->n == M_REVISIONS)
        return;
    assert_int_equal(push(f->a[who], "demo", "sql", new_peft(m->n + 1), NULL, &r, NULL), 0);
    m->n++;
    assert_int_equal(r.ordinal, m->n);
    (void)snprintf(m->digests[m->n], SHA256_HEX + 1, "%s", hex_of(&r.digest));
    if (m->n == 1)
        m->now[M_prod] = 1;
}

static void m_step(struct fleet *f, struct model *m, uint64_t *seed, uint64_t *epoch)
{
    static const unsigned weights[] = { 0, 1, 3000, CANARY_WHOLE };
    unsigned who = (unsigned)(test_random(seed) % CLIENTS);
    unsigned to = 1 + (unsigned)(test_random(seed) % (M_REVISIONS + 1));
    unsigned alias = (unsigned)(test_random(seed) % 3); /* canary and shadow have their own words */
    char ordinal[16];
    struct adapter_changed done;
    struct fail why = { 0 };
    struct model before = *m;
    (void)snprintf(ordinal, sizeof(ordinal), "%u", to);
    struct adapter_change c =
        change_of((enum adapter_op)(test_random(seed) % ADAPTER_OPS), ordinal);
    c.alias = str_of(m_aliases[alias]);
    c.weight = weights[test_random(seed) % ARRAY_LEN(weights)];
    if (test_random(seed) % 8 == 0) {
        m_push(f, m, who);
        return;
    }
    if (f->in_folder && c.op == ADAPTER_OP_rollback && alias == M_prev)
        return; /* where `prev` was before `prod` moved it is not recorded in a folder */
    bool want = m_apply(m, &c, alias, to);
    int r = adapters_change(f->a[who], &c, f->arena, &done, &why);
    if (r != (want ? 0 : FAILED))
        fail_msg("%s %s %s %u: %d %s", adapter_op_word(c.op), m_aliases[alias], ordinal, c.weight,
                 r, why.message);
    if (!want) {
        *m = before;
        return;
    }
    assert_int_equal(done.behind, 0);
    assert_true(done.epoch >= *epoch);
    *epoch = done.epoch;
    if (c.op == ADAPTER_OP_promote || c.op == ADAPTER_OP_rollback)
        assert_string_equal(hex_of(&done.revision.digest), m->digests[m->now[alias]]);
}

static void run_steps(struct fleet *f)
{
    struct model m = { 0 };
    uint64_t seed = 5, epoch = 0;
    m_push(f, &m, 0);
    m_push(f, &m, 1);
    for (unsigned i = 0; i < M_STEPS; i++) {
        m_step(f, &m, &seed, &epoch);
        m_check(f, &m);
    }
    close_clients(f); /* and whoever reads it anew sees the same */
    open_clients(f);
    m_check(f, &m);
}

static void run_model(bool redis)
{
    struct fleet f;
    open_fleet(&f, redis);
    run_steps(&f);
    close_fleet(&f);
}

static void any_changes_by_any_client_end_where_a_model_says_in_a_cluster(void **state)
{
    struct test_cluster cluster = { 0 };
    struct fleet f = { .arena = arena_new(64 * MIB) };
    (void)state;
    test_cluster_start(&cluster);
    f.config = redis_config(cluster.url, test_temp_dir());
    open_clients(&f);
    run_steps(&f);
    close_fleet(&f);
    test_cluster_stop(&cluster);
}

static void any_changes_by_any_client_end_where_a_model_says_in_redis(void **state)
{
    (void)state;
    run_model(true);
}

static void any_changes_by_any_client_end_where_a_model_says_in_a_folder(void **state)
{
    (void)state;
    run_model(false);
}

/* ---- conflicts ---- */

struct racer {
    pthread_t thread;
    struct adapters *a;
    unsigned wins, refusals, others;
};

enum { RACERS = 3, RACES = 60 };

static void *race(void *arg)
{
    struct racer *x = arg;
    for (unsigned i = 0; i < RACES; i++) {
        struct adapter_revision now;
        struct adapter_changed done;
        struct fail why;
        struct adapter_name name = name_of("demo:sql");
        if (adapters_resolve(x->a, &name, &now, &why) != 0) {
            x->others++;
            continue;
        }
        struct adapter_change c = change_of(ADAPTER_OP_rollback, "");
        c.if_match = now.epoch;
        c.fleet_ms = 0;
        int r = adapters_change(x->a, &c, NULL, &done, &why);
        x->wins += r == 0;
        x->refusals +=
            r == FAILED && why.code == FAIL_precondition_failed && done.epoch > now.epoch;
        x->others += r != 0 && (r != FAILED || why.code != FAIL_precondition_failed);
    }
    return NULL;
}

static void of_changes_of_one_epoch_one_wins(void **state)
{
    struct fleet f;
    struct racer x[RACERS] = { 0 };
    struct adapter_revision r;
    struct adapter_audit *lines;
    size_t n, moves = 0;
    unsigned wins = 0;
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), "prod", &r, NULL), 0);
    for (unsigned i = 0; i < RACERS; i++) {
        x[i].a = f.a[i];
        assert_int_equal(pthread_create(&x[i].thread, NULL, race, &x[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(x[i].thread, NULL), 0);
        assert_int_equal(x[i].others, 0);
        assert_int_equal(x[i].wins + x[i].refusals, RACES);
        wins += x[i].wins;
    }
    print_message("# %u of %u won\n", wins, RACERS * RACES);
    assert_int_equal(adapters_history(f.a[0], f.arena, STR("demo"), STR("sql"), &lines, &n, NULL),
                     0);
    for (size_t i = 0; i < n; i++) {
        moves += str_is(lines[i].what, "rollback");
        assert_true(i == 0 || lines[i].epoch > lines[i - 1].epoch);
    }
    assert_int_equal(moves, wins);
    close_fleet(&f);
}

static void check_preconditions(bool redis)
{
    struct fleet f;
    struct adapter_revision one, two;
    struct adapter_changed first, done;
    struct fail why;
    open_fleet(&f, redis);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &one, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), NULL, &two, NULL), 0);
    struct adapter_change c = change_of(ADAPTER_OP_promote, "2");
    c.key = STR("a key: with \"signs\"");
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &first, &why), 0);
    assert_false(first.repeated);
    assert_true(first.epoch > 0);
    /* the key again: the same answer, and nothing happens */
    struct adapter_change back = change_of(ADAPTER_OP_rollback, "");
    assert_int_equal(adapters_change(f.a[2], &back, f.arena, &done, &why), 0);
    assert_int_equal(adapters_change(f.a[1], &c, f.arena, &done, &why), 0);
    assert_true(done.repeated);
    assert_int_equal(done.epoch, first.epoch);
    assert_string_equal(done.revision.alias, "prod");
    assert_true(sha256_eq(&done.revision.digest, &two.digest));
    assert_string_equal(means(f.a[0], "sql", 0), hex_of(&one.digest));
    /* an epoch that has passed, and a digest that the alias does not name */
    c.key = STR("");
    c.if_match = first.epoch;
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), FAILED);
    assert_int_equal(why.code, FAIL_precondition_failed);
    assert_true(done.epoch > first.epoch);
    c.if_match = done.epoch;
    c.expected = str_of(hex_of(&two.digest));
    assert_int_equal(adapters_change(f.a[1], &c, f.arena, &done, &why), FAILED);
    assert_int_equal(why.code, FAIL_precondition_failed);
    c.expected = str_of(hex_of(&one.digest));
    assert_int_equal(adapters_change(f.a[1], &c, f.arena, &done, &why), 0);
    /* weights have a bound, and an adapter must exist */
    c = change_of(ADAPTER_OP_canary, "1");
    c.weight = CANARY_WHOLE + 1;
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), FAILED);
    assert_int_equal(why.code, FAIL_invalid_request);
    c = change_of(ADAPTER_OP_promote, "1");
    c.adapter = STR("nobody");
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), FAILED);
    assert_int_equal(why.code, FAIL_model_not_found);
    /* the whole adapter goes, and may come again */
    c = change_of(ADAPTER_OP_retire, "");
    assert_int_equal(adapters_change(f.a[1], &c, f.arena, &done, &why), 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_string_equal(means(f.a[i], "sql", 0), "");
    assert_int_equal(push(f.a[2], "demo", "sql", new_peft(3), NULL, &one, &why), 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_string_equal(means(f.a[i], "sql", 0), hex_of(&one.digest));
    close_fleet(&f);
}

static void conditions_and_keys_hold_in_redis(void **state)
{
    (void)state;
    check_preconditions(true);
}

static void conditions_and_keys_hold_in_a_folder(void **state)
{
    (void)state;
    check_preconditions(false);
}

static void a_key_of_another_change_is_a_conflict(void **state)
{
    struct fleet f;
    struct adapter_revision r;
    struct adapter_changed done;
    struct fail why;
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), NULL, &r, NULL), 0);
    struct adapter_change c = change_of(ADAPTER_OP_promote, "2");
    c.key = STR("k");
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), 0);
    c.selector = STR("1");
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), FAILED);
    assert_int_equal(why.code, FAIL_conflict);
    close_fleet(&f);
}

/* ---- many ---- */

enum { MANY = 1000 };

static void many_are_imported_changed_and_waited_for(void **state)
{
    struct fleet f;
    static struct adapter_import rows[MANY];
    static char names[MANY][24];
    static struct adapter_change changes[MANY];
    static struct adapter_changed changed[MANY];
    static struct fail fails[MANY];
    struct fail why;
    size_t written;
    (void)state;
    open_fleet(&f, true);
    for (unsigned i = 0; i < MANY; i++) {
        uint64_t seed = i;
        (void)snprintf(names[i], sizeof(names[i]), "%sname-%u", i % 10 ? "" : "acme/", i);
        rows[i] = (struct adapter_import){ .base = STR("demo"),
                                           .adapter = str_of(names[i]),
                                           .description = i % 100 ? STR("") : STR("described"),
                                           .bytes = 1000 + i };
        for (unsigned k = 0; k < SHA256_BYTES; k++)
            rows[i].digest.b[k] = (uint8_t)test_random(&seed);
        changes[i] = (struct adapter_change){ .op = ADAPTER_OP_rollback,
                                              .base = STR("demo"),
                                              .adapter = str_of(names[i]),
                                              .fleet_ms = 5000 };
    }
    assert_int_equal(adapters_import(f.a[2], rows, MANY, false, &written, &why), 0);
    assert_int_equal(written, MANY);
    assert_int_equal(adapters_import(f.a[0], rows, MANY, false, &written, &why), 0);
    assert_int_equal(written, 0);       /* they are there */
    for (unsigned i = 0; i < MANY; i++) /* a second revision, so that there is a way back */
        rows[i].digest.b[0] ^= 0xff;
    for (unsigned i = 0; i < 200 && strcmp(means(f.a[1], names[MANY - 1], 0), "") == 0; i++)
        (void)usleep(10000);
    assert_int_equal(adapters_change_many(f.a[0], changes, MANY, f.arena, changed, fails, &why), 0);
    for (unsigned i = 0; i < MANY; i++) { /* nothing to go back to: each says so */
        assert_true(fails[i].message[0] != '\0');
        assert_int_equal(fails[i].code, FAIL_conflict);
        changes[i].op = ADAPTER_OP_promote;
        changes[i].alias = STR("blue");
        changes[i].selector = STR("prod");
    }
    changes[7].adapter = STR("nobody");
    changes[8].adapter = changes[9].adapter; /* twice in one go */
    assert_int_equal(adapters_change_many(f.a[0], changes, MANY, f.arena, changed, fails, &why), 0);
    for (unsigned i = 0; i < MANY; i++) {
        char name[128];
        assert_int_equal(fails[i].message[0] != '\0', i == 7);
        (void)snprintf(name, sizeof(name), "%.*s@blue", STR_ARG(changes[i].adapter));
        if (i != 7 && i != 8)
            rows[i].digest.b[0] ^= 0xff;
        for (unsigned k = 0; i != 7 && i != 8 && k < 2; k++)
            assert_string_equal(means(f.a[k], name, 0), hex_of(&rows[i].digest));
        if (i != 7)
            assert_int_equal(adapters_wait_epoch(f.a[1], STR("demo"), changes[i].adapter,
                                                 changed[i].epoch, 0, &why),
                             0);
    }
    assert_int_equal(adapters_wait_epoch(f.a[1], STR("demo"), STR("x"), 1u << 30, 20, &why),
                     FAILED);
    assert_int_equal(why.code, FAIL_timeout);
    assert_true(why.retry_after_s > 0);
    close_fleet(&f);
}

/* ---- tenants ---- */

static void a_tenant_sees_shared_adapters_and_its_own(void **state)
{
    static const struct {
        const char *viewer, *name; /* NULL: the operator */
        unsigned seed;             /* what it means; 0: nothing */
    } rows[] = {
        { NULL, "sql", 1 },         { NULL, "acme/sql", 2 }, { NULL, "acme/own", 3 },
        { "acme", "sql", 2 },       { "acme", "own", 3 },    { "acme", "acme/sql", 2 },
        { "acme", "demo:sql", 2 },  { "acme", "both", 4 },   { "evil", "sql", 1 },
        { "evil", "acme/sql", 0 },  { "evil", "own", 0 },    { "evil", "acme/own", 0 },
        { "evil", "both", 4 },      { "", "sql", 1 },        { "", "acme/sql", 0 },
        { "evil", "evil/nope", 0 },
    };
    (void)state;
    for (unsigned redis = 0; redis < 2; redis++) {
        struct fleet f;
        struct adapter_revision r[5];
        struct adapter_info *infos;
        size_t n;
        static const char *const names[] = { "", "sql", "acme/sql", "acme/own", "both" };
        open_fleet(&f, redis);
        for (unsigned i = 1; i < ARRAY_LEN(names); i++)
            assert_int_equal(push(f.a[0], "demo", names[i], new_peft(i), NULL, &r[i], NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows) * CLIENTS; i++) {
            struct adapter_revision found;
            struct adapter_name name = name_of(rows[i / CLIENTS].name);
            unsigned seed = rows[i / CLIENTS].seed;
            if (rows[i / CLIENTS].viewer)
                name.viewer = str_of(rows[i / CLIENTS].viewer);
            int k = adapters_resolve(f.a[i % CLIENTS], &name, &found, NULL);
            if (k != (seed ? 0 : FAILED) || (seed && !sha256_eq(&found.digest, &r[seed].digest)))
                fail_msg("%s as %s", rows[i / CLIENTS].name, rows[i / CLIENTS].viewer);
        }
        const struct adapter_listing l = { .viewer = STR("acme") };
        assert_int_equal(adapters_query(f.a[1], f.arena, &l, &infos, &n), 0);
        assert_int_equal(n, 4);
        const struct adapter_listing other = { .viewer = STR("evil") };
        assert_int_equal(adapters_query(f.a[1], f.arena, &other, &infos, &n), 0);
        assert_int_equal(n, 2);
        close_fleet(&f);
    }
}

static void a_quota_bounds_the_adapters_of_a_tenant(void **state)
{
    struct fleet f;
    struct adapter_revision r;
    struct adapter_changed done;
    struct fail why;
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(adapters_limit_tenant(f.a[2], STR("acme"), 2, &why), 0);
    assert_int_equal(push(f.a[0], "demo", "acme/a", new_peft(1), NULL, &r, &why), 0);
    assert_int_equal(push(f.a[1], "demo", "acme/b", new_peft(2), NULL, &r, &why), 0);
    assert_int_equal(push(f.a[2], "demo", "acme/c", new_peft(3), NULL, &r, &why), FAILED);
    assert_int_equal(why.code, FAIL_conflict);
    assert_int_equal(push(f.a[1], "demo", "acme/b", new_peft(4), NULL, &r, &why), 0);
    assert_int_equal(push(f.a[2], "demo", "other/c", new_peft(3), NULL, &r, &why), 0);
    struct adapter_change c = change_of(ADAPTER_OP_retire, "");
    c.adapter = STR("acme/a");
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), 0);
    assert_int_equal(push(f.a[2], "demo", "acme/c", new_peft(3), NULL, &r, &why), 0);
    close_fleet(&f);
}

/* ---- in use ---- */

static void a_revision_in_use_is_not_retired(void **state)
{
    struct fleet f;
    struct adapter_revision one, two;
    struct adapter_changed done;
    struct fail why;
    struct lease *l = NULL;
    char name[128];
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &one, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), NULL, &two, NULL), 0);
    (void)snprintf(name, sizeof(name), "sql@%s", hex_of(&two.digest));
    assert_int_equal(acquire(f.a[1], name, &l, &why), 0);
    struct adapter_change c = change_of(ADAPTER_OP_retire, "2");
    int r = 0;
    (void)usleep(1200000); /* a heartbeat has told */
    r = adapters_change(f.a[2], &c, f.arena, &done, &why);
    assert_int_equal(r, FAILED);
    assert_int_equal(why.code, FAIL_conflict);
    assert_non_null(strstr(why.message, "gateway"));
    (void)lease_release(l);
    for (unsigned i = 0; i < 400 && r != 0; i++) {
        (void)usleep(10000);
        r = adapters_change(f.a[2], &c, f.arena, &done, &why);
    }
    assert_int_equal(r, 0);
    close_fleet(&f);
}

/* ---- a Redis that forgets ---- */

static bool comes_to_mean(struct adapters *a, const char *name, const struct sha256 *digest)
{
    for (unsigned i = 0; i < 500; i++) {
        if (strcmp(means(a, name, 0), hex_of(digest)) == 0)
            return true;
        (void)usleep(10000);
    }
    return false;
}

static void what_gateways_know_outlives_a_wiped_redis(void **state)
{
    struct fleet f;
    struct adapter_revision one, two, three;
    struct adapter_changed done;
    struct adapters *fresh;
    struct fail why;
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &one, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), "prod", &two, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "gone", new_peft(3), NULL, &three, NULL), 0);
    struct adapter_change c = change_of(ADAPTER_OP_retire, "");
    c.adapter = STR("gone");
    assert_int_equal(adapters_change(f.a[0], &c, f.arena, &done, &why), 0);
    drop(test_redis_do(&f.redis, "FLUSHALL"));
    assert_string_equal(means(f.a[0], "sql", 0), hex_of(&two.digest));
    assert_true(comes_to_mean(f.a[2], "demo:sql", &two.digest)); /* who asks Redis finds it again */
    assert_string_equal(means(f.a[2], "sql@prev", 0), hex_of(&one.digest));
    assert_string_equal(means(f.a[2], "gone", 0), "");
    /* a change after it has an epoch of its own, and everybody follows */
    struct adapter_change back = change_of(ADAPTER_OP_rollback, "");
    assert_int_equal(adapters_change(f.a[1], &back, f.arena, &done, &why), 0);
    assert_true(done.epoch > two.epoch);
    assert_true(comes_to_mean(f.a[0], "sql", &one.digest));
    assert_int_equal(adapters_open(&fresh, &f.config, &f.loader[0], NULL), 0);
    assert_string_equal(means(fresh, "sql", 0), hex_of(&one.digest));
    assert_null(adapters_close(fresh));
    close_fleet(&f);
}

static void an_older_copy_of_redis_gets_what_it_lacks(void **state)
{
    struct fleet f;
    struct adapter_revision one, two, three;
    char command[1600];
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &one, NULL), 0);
    (void)snprintf(command, sizeof(command), "cp -r %s/appendonlydir %s/old", f.redis.folder,
                   f.redis.folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), "prod", &two, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "new", new_peft(3), NULL, &three, NULL), 0);
    test_redis_kill(&f.redis);
    (void)snprintf(command, sizeof(command), "rm -r %s/appendonlydir && mv %s/old %s/appendonlydir",
                   f.redis.folder, f.redis.folder, f.redis.folder);
    assert_int_equal(system(command), 0);
    test_redis_again(&f.redis);
    assert_true(comes_to_mean(f.a[2], "demo:sql", &two.digest));
    assert_true(comes_to_mean(f.a[2], "demo:new", &three.digest));
    assert_true(comes_to_mean(f.a[1], "sql", &two.digest));
    close_fleet(&f);
}

static void a_failover_loses_nothing_that_a_gateway_knows(void **state)
{
    struct test_sentinel sentinel = { 0 };
    struct fleet f = { .arena = arena_new(64 * MIB) };
    struct adapter_revision one, two;
    struct adapter_changed done;
    struct fail why;
    (void)state;
    test_sentinel_start(&sentinel);
    f.config = redis_config(sentinel.url, test_temp_dir());
    open_clients(&f);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &one, NULL), 0);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(2), "prod", &two, NULL), 0);
    struct adapter_change c = change_of(ADAPTER_OP_rollback, "");
    c.fleet_ms = 0;
    assert_int_equal(adapters_change(f.a[2], &c, f.arena, &done, &why), 0);
    assert_true(done.durable); /* its replica has it */
    assert_true(comes_to_mean(f.a[1], "sql", &one.digest));
    test_redis_kill(&sentinel.master);
    int r = FAILED;
    for (unsigned i = 0; i < 300 && r != 0; i++) {
        assert_string_equal(means(f.a[0], "sql", 0), hex_of(&one.digest));
        r = adapters_change(f.a[1], &c, f.arena, &done, &why);
        if (r != 0)
            (void)usleep(50000);
    }
    if (r != 0)
        fail_msg("%s", why.message);
    assert_true(comes_to_mean(f.a[0], "sql", &two.digest));
    assert_true(comes_to_mean(f.a[2], "sql", &two.digest));
    close_fleet(&f);
    test_sentinel_stop(&sentinel);
}

/* ---- a writer that dies ---- */

enum { KILLS = 25, KILL_AFTER_US = 30000 };

static void a_writer_killed_at_any_moment_half_shows_nothing(void **state)
{
    struct fleet f;
    struct adapter_revision r;
    uint64_t seed = 11;
    unsigned done = 0;
    (void)state;
    open_fleet(&f, true);
    assert_int_equal(push(f.a[0], "demo", "sql", new_peft(1), NULL, &r, NULL), 0);
    for (unsigned i = 0; i < KILLS; i++) {
        struct adapter_info info;
        const char *files = new_peft(100 + i);
        pid_t pid = fork();
        if (pid == 0) {
            struct adapters *a;
            int k = adapters_open(&a, &f.config, NULL, NULL);
            if (k == 0)
                k = push(a, "demo", "sql", files, "prod", &r, NULL);
            _exit(k == 0 ? 0 : 1);
        }
        assert_true(pid > 0);
        (void)usleep((useconds_t)(test_random(&seed) % KILL_AFTER_US));
        (void)kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        done += WIFEXITED(status) && WEXITSTATUS(status) == 0;
        /* every revision that is shown can be served, and prod is one of them */
        assert_int_equal(adapters_show(f.a[2], f.arena, STR("demo"), STR("sql"), &info, NULL), 0);
        for (size_t k = 0; k < info.n_revisions; k++) {
            char name[128];
            (void)snprintf(name, sizeof(name), "demo:sql@%s", hex_of(&info.revisions[k].digest));
            assert_string_equal(served(f.a[1], name), hex_of(&info.revisions[k].digest));
        }
        assert_string_not_equal(means(f.a[2], "demo:sql@prod", 0), "");
    }
    print_message("# %u of %u ended before they were killed\n", done, KILLS);
    close_fleet(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_changes_by_any_client_end_where_a_model_says_in_redis),
        cmocka_unit_test(any_changes_by_any_client_end_where_a_model_says_in_a_folder),
        cmocka_unit_test(any_changes_by_any_client_end_where_a_model_says_in_a_cluster),
        cmocka_unit_test(of_changes_of_one_epoch_one_wins),
        cmocka_unit_test(conditions_and_keys_hold_in_redis),
        cmocka_unit_test(conditions_and_keys_hold_in_a_folder),
        cmocka_unit_test(a_key_of_another_change_is_a_conflict),
        cmocka_unit_test(many_are_imported_changed_and_waited_for),
        cmocka_unit_test(a_tenant_sees_shared_adapters_and_its_own),
        cmocka_unit_test(a_quota_bounds_the_adapters_of_a_tenant),
        cmocka_unit_test(a_revision_in_use_is_not_retired),
        cmocka_unit_test(what_gateways_know_outlives_a_wiped_redis),
        cmocka_unit_test(an_older_copy_of_redis_gets_what_it_lacks),
        cmocka_unit_test(a_failover_loses_nothing_that_a_gateway_knows),
        cmocka_unit_test(a_writer_killed_at_any_moment_half_shows_nothing),
    };
    return TEST_RUN(tests);
}
