/* Both catalogs keep the same promises: every case runs on a folder and on a real Redis. */
#include "tests/unit/adapters/common.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/redis.h"

enum kind { DIRECTORY, REDIS };

struct place {
    enum kind kind;
    struct test_redis redis;
    struct config config;
    struct fake_loader fake;
    struct adapter_loader loader;
    struct adapters *a;
};

static void open_place(struct place *p, enum kind kind)
{
    *p = (struct place){ .kind = kind };
    p->loader = loader_of(&p->fake);
    if (kind == REDIS) {
        test_redis_start(&p->redis);
        p->config = redis_config(p->redis.url, test_temp_dir());
    } else {
        p->config = directory_config(test_temp_dir());
    }
    assert_int_equal(adapters_open(&p->a, &p->config, &p->loader, NULL), 0);
}

static void close_place(struct place *p)
{
    p->a = adapters_close(p->a);
    assert_int_equal(p->fake.loads, p->fake.unloads);
    test_redis_stop(&p->redis);
}

/* ---- cases ---- */

static void push_case(struct place *p)
{
    struct adapter_revision one, two, again;
    struct fail f;
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &one, &f), 0);
    assert_int_equal(one.ordinal, 1);
    assert_string_equal(one.base, "demo");
    assert_string_equal(one.adapter, "sql");
    assert_true(one.created_s > 1600000000);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(2), NULL, &two, &f), 0);
    assert_int_equal(two.ordinal, 2);
    assert_false(sha256_eq(&one.digest, &two.digest));
    /* the first became prod, the second moved nothing */
    assert_string_equal(served(p->a, "sql"), hex_of(&one.digest));
    assert_string_equal(served(p->a, "demo:sql@prod"), hex_of(&one.digest));
    /* the same content changes nothing */
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &again, &f), 0);
    assert_true(sha256_eq(&one.digest, &again.digest));
    assert_int_equal(again.ordinal, 1);
    assert_string_equal(served(p->a, "sql"), hex_of(&one.digest));
    /* with an alias it moves in the same step */
    assert_int_equal(push(p->a, "demo", "sql", new_peft(3), "prod", &again, &f), 0);
    assert_int_equal(again.ordinal, 3);
    assert_string_equal(again.alias, "prod");
    assert_string_equal(served(p->a, "sql"), hex_of(&again.digest));
    assert_string_equal(served(p->a, "sql@prev"), hex_of(&one.digest));
}

static void select_case(struct place *p)
{
    struct adapter_revision one, two;
    struct fail f;
    char name[128];
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), "canary", &one, &f), 0);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(2), NULL, &two, &f), 0);
    /* without prod, the newest */
    assert_string_equal(served(p->a, "sql"), hex_of(&two.digest));
    assert_string_equal(served(p->a, "sql@canary"), hex_of(&one.digest));
    (void)snprintf(name, sizeof(name), "sql@sha256:%.8s", hex_of(&one.digest));
    assert_string_equal(served(p->a, name), hex_of(&one.digest));
    (void)snprintf(name, sizeof(name), "demo:sql@sha256-%.64s", hex_of(&two.digest));
    assert_string_equal(served(p->a, name), hex_of(&two.digest));
    (void)snprintf(name, sizeof(name), "sql@%.12s", hex_of(&two.digest));
    assert_string_equal(served(p->a, name), hex_of(&two.digest));
    static const char *const unknown[] = {
        "sql@nope", "nope",       "other:sql",     "sql@1",           "sql@", "demo:", "a b",
        "../sql",   "sql/../sql", "sql@sha256:12", "sql@000000000000"
    };
    (void)snprintf(name, sizeof(name), "sql@%.11s", hex_of(&two.digest)); /* one digit short */
    assert_string_equal(served(p->a, name), "");
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        struct lease *l = NULL;
        int r = acquire(p->a, unknown[i], &l, &f);
        if (strcmp(unknown[i], "sql@") == 0) { /* an empty selector is none */
            assert_int_equal(r, 0);
            (void)lease_release(l);
            continue;
        }
        if (r != FAILED || f.code != FAIL_model_not_found)
            fail_msg("%s: %d %s", unknown[i], r, fail_word(f.code));
    }
}

static void alias_case(struct place *p)
{
    struct adapter_revision one, two, r;
    struct fail f;
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &one, &f), 0);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(2), NULL, &two, &f), 0);
    /* by ordinal, by digest, by alias */
    assert_int_equal(set_alias(p->a, "sql", "canary", "2"), 0);
    assert_string_equal(served(p->a, "sql@canary"), hex_of(&two.digest));
    assert_int_equal(set_alias(p->a, "sql", "canary", hex_of(&one.digest)), 0);
    assert_string_equal(served(p->a, "sql@canary"), hex_of(&one.digest));
    assert_int_equal(set_alias(p->a, "sql", "prod", "2"), 0);
    assert_int_equal(set_alias(p->a, "sql", "canary", "prod"), 0);
    assert_string_equal(served(p->a, "sql@canary"), hex_of(&two.digest));
    assert_string_equal(served(p->a, "sql@prev"), hex_of(&one.digest));
    /* compare-and-set */
    int k = adapters_alias(p->a, STR("demo"), STR("sql"), STR("prod"), STR("1"),
                           str_of(hex_of(&one.digest)), STR(""), &r, &f);
    assert_int_equal(k, FAILED);
    assert_int_equal(f.code, FAIL_precondition_failed);
    assert_non_null(strstr(f.message, hex_of(&two.digest)));
    k = adapters_alias(p->a, STR("demo"), STR("sql"), STR("prod"), STR("1"),
                       str_of(hex_of(&two.digest)), STR(""), &r, &f);
    assert_int_equal(k, 0);
    assert_string_equal(r.alias, "prod");
    assert_true(sha256_eq(&r.digest, &one.digest));
    /* what is refused */
    static const struct {
        const char *adapter, *alias, *selector;
        enum fail_code code;
    } bad[] = {
        { "nope", "prod", "1", FAIL_model_not_found },
        { "sql", "prod", "7", FAIL_model_not_found },
        { "sql", "prod", "nope", FAIL_model_not_found },
        { "sql", "a b", "1", FAIL_invalid_request },
        { "sql", "12", "1", FAIL_invalid_request },
        { "sql", "", "1", FAIL_invalid_request },
        { "sql", "abcdef012345", "1", FAIL_invalid_request },
        { "sql", "../x", "1", FAIL_invalid_request },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        k = adapters_alias(p->a, STR_NULL, str_of(bad[i].adapter), str_of(bad[i].alias),
                           str_of(bad[i].selector), STR_NULL, STR(""), &r, &f);
        if (k != FAILED || f.code != bad[i].code)
            fail_msg("%s %s: %d %s", bad[i].adapter, bad[i].alias, k, fail_word(f.code));
    }
}

static void rollback_case(struct place *p)
{
    struct adapter_revision one, two, r;
    struct fail f;
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &one, &f), 0);
    int k = adapters_rollback(p->a, STR_NULL, STR("sql"), STR("prod"), STR(""), &r, &f);
    assert_int_equal(k, FAILED); /* it never moved */
    assert_int_equal(f.code, FAIL_conflict);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(2), "prod", &two, &f), 0);
    for (unsigned i = 0; i < 4; i++) { /* there and back again */
        k = adapters_rollback(p->a, STR_NULL, STR("sql"), STR(""), STR("me"), &r, &f);
        assert_int_equal(k, 0);
        const struct sha256 *want = i % 2 ? &two.digest : &one.digest;
        const struct sha256 *other = i % 2 ? &one.digest : &two.digest;
        assert_true(sha256_eq(&r.digest, want));
        assert_string_equal(served(p->a, "sql"), hex_of(want));
        assert_string_equal(served(p->a, "sql@prev"), hex_of(other));
    }
    /* any alias rolls back */
    assert_int_equal(set_alias(p->a, "sql", "blue", "1"), 0);
    assert_int_equal(set_alias(p->a, "sql", "blue", "2"), 0);
    assert_int_equal(adapters_rollback(p->a, STR_NULL, STR("sql"), STR("blue"), STR(""), &r, &f),
                     0);
    assert_string_equal(served(p->a, "sql@blue"), hex_of(&one.digest));
    assert_int_equal(adapters_rollback(p->a, STR_NULL, STR("no"), STR("blue"), STR(""), &r, &f),
                     FAILED);
    assert_int_equal(f.code, FAIL_model_not_found);
}

static void history_case(struct place *p)
{
    struct adapter_revision one, two, r;
    struct adapter_audit *h;
    struct fail f;
    size_t n;
    CLEANUP(arena_freep) struct arena *arena = arena_new(MIB);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &one, &f), 0);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(2), NULL, &two, &f), 0);
    assert_int_equal(set_alias(p->a, "sql", "prod", "2"), 0);
    assert_int_equal(set_alias(p->a, "sql", "prod", "2"), 0); /* no move, no line */
    assert_int_equal(
        adapters_rollback(p->a, STR_NULL, STR("sql"), STR("prod"), STR("\"me\"\n"), &r, &f), 0);
    assert_int_equal(adapters_history(p->a, arena, STR_NULL, STR("sql"), &h, &n, &f), 0);
    const struct {
        const char *what, *alias;
        const struct sha256 *from, *to;
        const char *who;
    } want[] = {
        { "publish", "", NULL, &one.digest, "tester" },
        { "alias", "prod", NULL, &one.digest, "tester" },
        { "publish", "", NULL, &two.digest, "tester" },
        { "alias", "prod", &one.digest, &two.digest, "tester" },
        { "rollback", "prod", &two.digest, &one.digest, "\"me\"\n" },
    };
    assert_int_equal(n, ARRAY_LEN(want));
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(h[i].what.p, want[i].what);
        assert_string_equal(h[i].alias.p ? h[i].alias.p : "", want[i].alias);
        assert_string_equal(h[i].from.p ? h[i].from.p : "",
                            want[i].from ? hex_of(want[i].from) : "");
        assert_string_equal(h[i].to.p, hex_of(want[i].to));
        assert_string_equal(h[i].who.p, want[i].who);
        assert_true(i == 0 || h[i].epoch > h[i - 1].epoch);
        assert_true(h[i].when_s > 1600000000);
    }
    assert_int_equal(adapters_history(p->a, arena, STR_NULL, STR("no"), &h, &n, &f), FAILED);
    assert_int_equal(f.code, FAIL_model_not_found);
}

static void list_case(struct place *p)
{
    static const char *const names[] = { "b", "a", "d", "c" };
    struct adapter_revision r;
    struct adapter_info *infos, one;
    struct fail f;
    size_t n;
    CLEANUP(arena_freep) struct arena *arena = arena_new(8 * MIB);
    const struct str examples[] = { STR("How many \"x\"?"), STR("zwei\nZeilen") };
    struct adapter_push with = { .base = STR("demo"),
                                 .adapter = STR("a"),
                                 .path = new_peft(1),
                                 .description = STR("says: \"a\" # not a comment"),
                                 .examples = examples,
                                 .n_examples = 2 };
    assert_int_equal(adapters_list(p->a, arena, STR(""), 0, &infos, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(adapters_push(p->a, &with, &r, &f), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(push(p->a, "demo", names[i], new_peft(10 + i), NULL, &r, &f), 0);
    assert_int_equal(adapters_list(p->a, arena, STR(""), 0, &infos, &n), 0);
    assert_int_equal(n, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(infos[i].name.p[0], 'a' + (int)i);
    assert_int_equal(adapters_list(p->a, arena, STR("a"), 2, &infos, &n), 0);
    assert_int_equal(n, 2);
    assert_string_equal(infos[0].name.p, "b");
    assert_string_equal(infos[1].name.p, "c");
    assert_int_equal(adapters_list(p->a, arena, STR("d"), 0, &infos, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(adapters_show(p->a, arena, STR("demo"), STR("a"), &one, &f), 0);
    assert_int_equal(one.n_revisions, 2);
    assert_int_equal(one.revisions[1].ordinal, 2);
    assert_int_equal(one.n_aliases, 1);
    assert_string_equal(one.aliases[0].name, "prod");
    assert_int_equal(one.n_examples, 2);
    assert_string_equal(one.examples[0].p, examples[0].p);
    assert_string_equal(one.examples[1].p, examples[1].p);
    assert_string_equal(one.base.p, "demo");
    assert_false(one.resident);
    struct adapter_name name = { STR("demo"), STR("a"), STR("") };
    enum residency where = RESIDENCY_hit;
    assert_true(adapters_where(p->a, &name, &where));
    assert_int_equal(where, p->kind == REDIS ? RESIDENCY_cold : RESIDENCY_disk);
    assert_string_not_equal(served(p->a, "a"), "");
    assert_true(adapters_where(p->a, &name, &where));
    assert_int_equal(where, RESIDENCY_hit);
    name.adapter = STR("z");
    assert_false(adapters_where(p->a, &name, &where));
    assert_int_equal(adapters_show(p->a, arena, STR_NULL, STR("a"), &one, &f), 0);
    assert_true(one.resident);
    assert_int_equal(adapters_show(p->a, arena, STR_NULL, STR("z"), &one, &f), FAILED);
    assert_int_equal(f.code, FAIL_model_not_found);
}

static void refuse_case(struct place *p)
{
    struct adapter_revision r;
    struct fail f;
    const char *folder = test_temp_dir();
    static const struct {
        const char *base, *adapter, *path;
        enum fail_code code;
    } bad[] = {
        { "demo", "../up", NULL, FAIL_invalid_request },
        { "demo", "a:b", NULL, FAIL_invalid_request },
        { "demo", "a@b", NULL, FAIL_invalid_request },
        { "demo", ".hidden", NULL, FAIL_invalid_request },
        { "demo", "", NULL, FAIL_invalid_request },
        { "de mo", "sql", NULL, FAIL_invalid_request },
        { "", "sql", NULL, FAIL_invalid_request },
        { "demo", "sql", "/nonexistent", FAIL_unprocessable_adapter },
        { "demo", "sql", "/dev/null", FAIL_unprocessable_adapter },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int k = push(p->a, bad[i].base, bad[i].adapter, bad[i].path ? bad[i].path : new_peft(1),
                     NULL, &r, &f);
        if (k != FAILED || f.code != bad[i].code)
            fail_msg("%s:%s: %d %s", bad[i].base, bad[i].adapter, k, fail_word(f.code));
    }
    assert_int_equal(push(p->a, "demo", "sql", folder, NULL, &r, &f), FAILED); /* empty folder */
    assert_int_equal(f.code, FAIL_unprocessable_adapter);
    assert_string_equal(served(p->a, "sql"), "");
}

/* A second set of adapters on the same catalog, as another process would have. */
static void two_case(struct place *p)
{
    struct adapter_revision one, two, r;
    struct fake_loader fake = { 0 };
    struct adapter_loader loader = loader_of(&fake);
    struct adapters *b, *tool;
    struct fail f;
    assert_int_equal(adapters_open(&b, &p->config, &loader, NULL), 0);
    assert_int_equal(adapters_open(&tool, &p->config, NULL, NULL), 0);
    assert_string_equal(served(b, "sql"), "");
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &one, &f), 0);
    assert_string_equal(served(b, "sql"), hex_of(&one.digest));
    assert_int_equal(push(tool, "demo", "sql", new_peft(2), "prod", &two, &f), 0);
    assert_string_equal(served(p->a, "sql"), hex_of(&two.digest));
    assert_string_equal(served(b, "sql"), hex_of(&two.digest));
    struct adapters *all[] = { p->a, b, tool };
    for (unsigned i = 0; i < 60; i++) { /* each request after the reply sees the move */
        const struct sha256 *want = i % 2 ? &two.digest : &one.digest;
        assert_int_equal(set_alias(all[i % 3], "sql", "prod", i % 2 ? "2" : "1"), 0);
        assert_string_equal(served(p->a, "sql"), hex_of(want));
        assert_string_equal(served(b, "demo:sql"), hex_of(want));
        struct adapter_name name = name_of("sql@prod");
        assert_int_equal(adapters_resolve(tool, &name, &r, &f), 0);
        assert_true(sha256_eq(&r.digest, want));
    }
    assert_null(adapters_close(tool));
    assert_null(adapters_close(b));
    assert_int_equal(fake.loads, fake.unloads);
}

static void pin_case(struct place *p)
{
    struct adapter_revision one, two;
    struct adapters_state state;
    struct fail f;
    struct str pinned[] = { STR("demo:sql") };
    struct config c = p->config;
    struct fake_loader fake = { 0 };
    struct adapter_loader loader = loader_of(&fake);
    struct adapters *b;
    assert_int_equal(push(p->a, "demo", "sql", new_peft(1), NULL, &one, &f), 0);
    assert_int_equal(push(p->a, "demo", "sql", new_peft(2), NULL, &two, &f), 0);
    c.adapters.pin = (struct text_list){ pinned, 1 };
    c.adapters.max_bytes = 600; /* one at a time */
    assert_int_equal(adapters_open(&b, &c, &loader, NULL), 0);
    for (unsigned i = 0; i < 400 && atomic_load(&fake.loads) < 1; i++)
        (void)usleep(10000);
    (void)usleep(50000);
    adapters_state(b, &state);
    assert_int_equal(state.resident, 1); /* without a request */
    assert_int_equal(state.leases, 0);
    struct lease *l = NULL;
    assert_int_equal(acquire(b, "sql", &l, &f), 0);
    assert_int_equal(lease_residency(l), RESIDENCY_hit);
    (void)lease_release(l);
    assert_null(adapters_close(b));
    assert_int_equal(fake.loads, fake.unloads);
}

/* ---- a model: what a catalog must answer after any sequence of changes ---- */

enum { M_ADAPTERS = 3, M_REVISIONS = 6, M_ALIASES = 3, M_STEPS = 250 };
static const char *const m_aliases[M_ALIASES] = { "prod", "prev", "blue" };

struct model_adapter {
    unsigned n;                              /* revisions */
    unsigned seeds[M_REVISIONS];             /* by ordinal - 1 */
    unsigned now[M_ALIASES], was[M_ALIASES]; /* ordinals; 0: none */
    char digests[M_REVISIONS][SHA256_HEX + 1];
};

static void model_set(struct model_adapter *m, unsigned alias, unsigned ordinal)
{
    unsigned from = m->now[alias];
    if (from == ordinal)
        return;
    m->was[alias] = from;
    m->now[alias] = ordinal;
    if (alias == 0 && from && m->now[1] != from) { /* prod leaves prev behind */
        m->was[1] = m->now[1];
        m->now[1] = from;
    }
}

static unsigned model_find(const struct model_adapter *m, unsigned seed)
{
    for (unsigned i = 0; i < m->n; i++)
        if (m->seeds[i] == seed)
            return i + 1;
    return 0;
}

static void model_push(struct place *p, struct model_adapter *m, const char *name, unsigned seed,
                       int alias)
{
    struct adapter_revision r;
    unsigned ordinal = model_find(m, seed);
    if (!ordinal && m->n == M_REVISIONS)
        return;
    bool first = m->n == 0;
    assert_int_equal(
        push(p->a, "demo", name, new_peft(seed), alias < 0 ? NULL : m_aliases[alias], &r, NULL), 0);
    if (!ordinal) {
        m->seeds[m->n++] = seed;
        ordinal = m->n;
        (void)snprintf(m->digests[ordinal - 1], SHA256_HEX + 1, "%s", hex_of(&r.digest));
    }
    assert_int_equal(r.ordinal, ordinal);
    if (alias >= 0 || first)
        model_set(m, alias >= 0 ? (unsigned)alias : 0, ordinal);
}

static void model_check(struct place *p, const struct model_adapter *m, const char *name)
{
    char text[64];
    unsigned at = m->now[0] ? m->now[0] : m->n;
    assert_string_equal(served(p->a, name), at ? m->digests[at - 1] : "");
    for (unsigned i = 0; i < M_ALIASES; i++) {
        (void)snprintf(text, sizeof(text), "%s@%s", name, m_aliases[i]);
        assert_string_equal(served(p->a, text), m->now[i] ? m->digests[m->now[i] - 1] : "");
    }
}

static void model_step(struct place *p, struct model_adapter *all, uint64_t *seed)
{
    static const char *const names[M_ADAPTERS] = { "x", "y", "z" };
    unsigned which = test_random(seed) % M_ADAPTERS, alias = test_random(seed) % M_ALIASES;
    struct model_adapter *m = &all[which];
    struct adapter_revision r;
    char ordinal[16];
    unsigned to = 1 + (unsigned)(test_random(seed) % M_REVISIONS);
    switch (test_random(seed) % 4) {
    case 0:
        model_push(p, m, names[which], 100 * which + to,
                   (int)(test_random(seed) % (M_ALIASES + 1)) - 1);
        break;
    case 1:
    case 2:
        (void)snprintf(ordinal, sizeof(ordinal), "%u", to);
        assert_int_equal(set_alias(p->a, names[which], m_aliases[alias], ordinal),
                         to <= m->n ? 0 : FAILED);
        if (to <= m->n)
            model_set(m, alias, to);
        break;
    case 3:
        if (alias == 1)
            break; /* what `prev` was before prod moved it is each catalog's own affair */
        bool can = m->now[alias] && m->was[alias];
        assert_int_equal(adapters_rollback(p->a, STR_NULL, str_of(names[which]),
                                           str_of(m_aliases[alias]), STR(""), &r, NULL),
                         can ? 0 : FAILED);
        if (can)
            model_set(m, alias, m->was[alias]);
        break;
    }
    model_check(p, m, names[which]);
}

static void model_case(struct place *p)
{
    struct model_adapter all[M_ADAPTERS] = { 0 };
    uint64_t seed = 20261121;
    p->config.adapters.max_bytes = 1200; /* so that evictions take part */
    p->a = adapters_close(p->a);
    assert_int_equal(adapters_open(&p->a, &p->config, &p->loader, NULL), 0);
    for (unsigned i = 0; i < M_STEPS; i++)
        model_step(p, all, &seed);
    /* and a fresh reader sees the same */
    p->a = adapters_close(p->a);
    assert_int_equal(adapters_open(&p->a, &p->config, &p->loader, NULL), 0);
    for (unsigned i = 0; i < M_ADAPTERS; i++)
        model_check(p, &all[i], (const char *const[]){ "x", "y", "z" }[i]);
}

/* ---- every case on every kind ---- */

#define BOTH(name)                                                                                 \
    static void name##_in_a_folder(void **state)                                                   \
    {                                                                                              \
        struct place p;                                                                            \
        (void)state;                                                                               \
        open_place(&p, DIRECTORY);                                                                 \
        name##_case(&p);                                                                           \
        close_place(&p);                                                                           \
    }                                                                                              \
    static void name##_in_redis(void **state)                                                      \
    {                                                                                              \
        struct place p;                                                                            \
        (void)state;                                                                               \
        open_place(&p, REDIS);                                                                     \
        name##_case(&p);                                                                           \
        close_place(&p);                                                                           \
    }

BOTH(push)
BOTH(select)
BOTH(alias)
BOTH(rollback)
BOTH(history)
BOTH(list)
BOTH(refuse)
BOTH(two)
BOTH(pin)
BOTH(model)

#define TESTS(name, what)                                                                          \
    { what " (folder)", name##_in_a_folder, NULL, NULL, NULL },                                    \
    {                                                                                              \
        what " (redis)", name##_in_redis, NULL, NULL, NULL                                         \
    }

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TESTS(push, "push publishes immutable revisions and moves an alias in the same step"),
        TESTS(select, "a selector is an alias, a digest prefix or nothing"),
        TESTS(alias, "an alias moves to what it is told, or says why not"),
        TESTS(rollback, "a rollback swaps an alias with its former place"),
        TESTS(history, "the history tells every change once, in order"),
        TESTS(list, "lists are sorted, paged and complete"),
        TESTS(refuse, "names that are no names and files that are no adapters are refused"),
        TESTS(two, "every other reader sees a change before its writer returns"),
        TESTS(pin, "a pinned adapter is resident without a request"),
        TESTS(model, "any sequence of changes ends where a simple model says"),
    };
    return TEST_RUN(tests);
}
