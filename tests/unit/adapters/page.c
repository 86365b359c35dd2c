#include "adapters/page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/head_codec.h"
#include "tests/support/test.h"

static struct head *named(const char *base, const char *adapter, uint64_t epoch)
{
    struct head draft = { .base = str_of(base), .adapter = str_of(adapter), .epoch = epoch };
    return head_new(&draft);
}

static void the_page_keeps_the_newest_head_of_every_name(void **state)
{
    struct page *p;
    struct head *h = NULL, **list;
    struct fail f;
    size_t n;
    char name[32];
    (void)state;
    assert_int_equal(page_new(&p), 0);
    for (unsigned i = 0; i < 5000; i++) {
        (void)snprintf(name, sizeof(name), "a%u", (i * 7919) % 5000);
        assert_int_equal(page_put(p, named("demo", name, 5)), 0);
    }
    assert_int_equal(page_len(p), 5000);
    assert_int_equal(page_put(p, named("demo", "a17", 4)), 0); /* older: dropped */
    assert_int_equal(page_find(p, STR("demo"), STR("a17"), &h, &f), 0);
    assert_int_equal(h->epoch, 5);
    h = head_unref(h);
    assert_int_equal(page_put(p, named("demo", "a17", 6)), 0);
    assert_int_equal(page_find(p, STR_NULL, STR("a17"), &h, &f), 0);
    assert_int_equal(h->epoch, 6);
    h = head_unref(h);
    page_forget_epochs(p);
    assert_int_equal(page_put(p, named("demo", "a17", 1)), 0); /* the catalog counts anew */
    assert_int_equal(page_find(p, STR_NULL, STR("a17"), &h, &f), 0);
    assert_int_equal(h->epoch, 1);
    h = head_unref(h);
    assert_int_equal(page_put(p, named("other", "a17", 1)), 0);
    assert_int_equal(page_find(p, STR_NULL, STR("a17"), &h, &f), FAILED);
    assert_int_equal(f.code, FAIL_conflict);
    assert_int_equal(page_list(p, STR(""), 0, &list, &n), 0);
    assert_int_equal(n, 5001);
    for (size_t i = 1; i < n; i++)
        assert_true(str_cmp(list[i - 1]->adapter, list[i]->adapter) <= 0);
    page_list_free(list, n);
    assert_int_equal(page_list(p, STR("a4999"), 3, &list, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(list[0]->adapter.p, "a5");
    page_list_free(list, n);
    page_remove(p, STR("demo"), STR("a17"));
    assert_int_equal(page_find(p, STR_NULL, STR("a17"), &h, &f), 0);
    assert_string_equal(h->base.p, "other");
    h = head_unref(h);
    assert_int_equal(page_find(p, STR("demo"), STR("a17"), &h, &f), 0);
    assert_null(h);
    assert_null(page_free(p));
}

/* ---- against a plain table ---- */

enum { BASES = 3, NAMES = 600, STEPS = 60000 };

static const char *const bases[BASES] = { "demo", "org/other:7b", "third" };

struct model { /* what the page should hold: of each base and name an epoch; 0: nothing */
    uint64_t epoch[BASES][NAMES], text[BASES][NAMES];
    bool forgotten[BASES][NAMES], unseen[BASES][NAMES];
};

#define EACH(base, name)                                                                           \
    for (unsigned base = 0; base < BASES; base++)                                                  \
        for (unsigned name = 0; name < NAMES; name++)

static const char *name_of(unsigned i)
{
    static char ring[4][64];
    static unsigned next;
    static const char *const tenants[] = { "", "acme/", "acmes/", "b/", "zed/" };
    char *at = ring[next++ % 4];
    (void)snprintf(at, sizeof(ring[0]), "%s%s-%u", tenants[i % 5], i % 3 ? "adapter" : "x",
                   i * 37 % 1009);
    return at;
}

static struct head *sized(unsigned base, unsigned name, uint64_t epoch, uint64_t text,
                          unsigned more)
{
    static char letters[3000];
    if (!letters[0])
        memset(letters, 'x', sizeof(letters));
    struct head_revision r = { .ordinal = text };
    struct head d = { .base = str_of(bases[base]),
                      .adapter = str_of(name_of(name)),
                      .description = { letters, text % sizeof(letters) },
                      .epoch = epoch,
                      .more = more,
                      .revisions = &r,
                      .n_revisions = 1 };
    return head_new(&d);
}

static void check_one(struct page *p, const struct model *m, unsigned base, unsigned name)
{
    CLEANUP(head_unrefp) struct head *h = NULL;
    assert_int_equal(page_find(p, str_of(bases[base]), str_of(name_of(name)), &h, NULL), 0);
    assert_int_equal(!h, !m->epoch[base][name]);
    if (!h)
        return;
    assert_string_equal(h->base.p, bases[base]);
    assert_string_equal(h->adapter.p, name_of(name));
    assert_int_equal(h->epoch, m->epoch[base][name]);
    assert_int_equal(h->revisions[0].ordinal, m->text[base][name]);
    assert_int_equal(h->description.n, m->text[base][name] % 3000);
}

static bool in_part(unsigned base, unsigned name, struct page_part part)
{
    (void)base;
    return (head_hash(str_of(name_of(name))) & part.mask) == part.value;
}

static void put_one(struct page *p, struct model *m, uint64_t *seed, unsigned base, unsigned name)
{
    uint64_t *now = &m->epoch[base][name];
    uint64_t epoch = 1 + test_random(seed) % 40, text = 1 + test_random(seed) % 5000;
    if (test_random(seed) % 4)
        text %= 50;
    unsigned more = test_random(seed) % 2 ? HEAD_MORE_revisions : 0;
    bool known_more = m->text[base][name] % 2;
    text = (text + 1) / 2 * 2 + (more ? 1 : 0); /* odd: there is more elsewhere */
    assert_int_equal(page_put(p, sized(base, name, epoch, text, more)), 0);
    m->unseen[base][name] = false;
    bool dropped = *now && !m->forgotten[base][name] &&
                   (epoch < *now || (epoch == *now && more && !known_more));
    if (dropped)
        return;
    *now = epoch;
    m->text[base][name] = text;
    m->forgotten[base][name] = false;
}

static void remove_one(struct page *p, struct model *m, uint64_t *seed, unsigned base,
                       unsigned name)
{
    uint64_t until = test_random(seed) % 2 ? UINT64_MAX : 20;
    if (until == UINT64_MAX)
        page_remove(p, str_of(bases[base]), str_of(name_of(name)));
    else
        page_remove_until(p, str_of(bases[base]), str_of(name_of(name)), until);
    if (m->epoch[base][name] <= until || m->forgotten[base][name]) {
        m->epoch[base][name] = 0;
        m->forgotten[base][name] = m->unseen[base][name] = false;
    }
}

struct handed {
    const struct model *m;
    struct page_part part;
    size_t n;
};

static int count_unseen(void *ctx, struct head *h)
{
    struct handed *x = ctx;
    EACH(base, name)
    if (str_is(h->base, bases[base]) && str_is(h->adapter, name_of(name))) {
        assert_true(x->m->unseen[base][name] && in_part(base, name, x->part));
        assert_int_equal(h->epoch, x->m->epoch[base][name]);
        x->n++;
    }
    return 0;
}

/* Heads up to the epoch that were not seen go. */
static size_t sweep_model(struct model *m, struct page_part part, uint64_t until, size_t *ret_left)
{
    size_t gone = 0;
    *ret_left = 0;
    EACH(base, name)
    {
        if (!m->unseen[base][name] || !in_part(base, name, part))
            continue;
        if (m->epoch[base][name] > until && !m->forgotten[base][name]) {
            ++*ret_left;
            continue;
        }
        m->epoch[base][name] = 0;
        m->forgotten[base][name] = m->unseen[base][name] = false;
        gone++;
    }
    return gone;
}

static void sweep(struct page *p, struct model *m, uint64_t *seed)
{
    struct page_part part = { 3, test_random(seed) % 4 };
    size_t left;
    switch (test_random(seed) % 4) {
    case 0:
        if (test_random(seed) % 8)
            break;
        page_forget_epochs(p);
        EACH(base, name)
        m->forgotten[base][name] |= m->epoch[base][name] != 0;
        break;
    case 1:
        page_unsee(p, part);
        EACH(base, name)
        m->unseen[base][name] |= m->epoch[base][name] && in_part(base, name, part);
        break;
    case 2:
        for (unsigned i = 0; i < 200; i++) {
            unsigned base = (unsigned)(test_random(seed) % BASES);
            unsigned name = (unsigned)(test_random(seed) % NAMES);
            page_see(p, str_of(bases[base]), str_of(name_of(name)));
            m->unseen[base][name] = false;
        }
        break;
    default: {
        uint64_t until = test_random(seed) % 2 ? UINT64_MAX : 20;
        size_t gone = sweep_model(m, part, until, &left);
        assert_int_equal(page_remove_unseen(p, part, until), gone);
        struct handed x = { m, part, 0 };
        assert_int_equal(page_each_unseen(p, part, count_unseen, &x), 0);
        assert_int_equal(x.n, left);
    }
    }
}

struct row {
    const char *name, *base;
};

static int by_name(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->base, y->base);
}

/* What a query should give: chosen one by one out of the model. */
static size_t expect_rows(const struct model *m, const struct page_query *q, struct row *rows)
{
    static char names[NAMES][64];
    size_t n = 0;
    EACH(base, name)
    {
        (void)snprintf(names[name], sizeof(names[name]), "%s", name_of(name));
        struct str s = str_of(names[name]);
        const char *slash = strchr(names[name], '/');
        bool foreign =
            q->viewer.p && slash && !str_eq(q->viewer, (struct str){ s.p, (size_t)(slash - s.p) });
        int c = q->after.n ? str_cmp(s, q->after) : 1;
        if (c == 0 && q->after_base.n)
            c = str_cmp(str_of(bases[base]), q->after_base);
        if (m->epoch[base][name] && !foreign && c > 0 && str_starts(s, q->prefix))
            rows[n++] = (struct row){ names[name], bases[base] };
    }
    qsort(rows, n, sizeof(*rows), by_name);
    return q->max && n > q->max ? q->max : n;
}

static void check_query(struct page *p, const struct model *m, const struct page_query *q)
{
    static struct row rows[BASES * NAMES];
    struct head **list;
    size_t n, expected = expect_rows(m, q, rows);
    assert_int_equal(page_query(p, q, &list, &n), 0);
    assert_int_equal(n, expected);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list[i]->adapter.p, rows[i].name);
        assert_string_equal(list[i]->base.p, rows[i].base);
    }
    page_list_free(list, n);
}

static void check_lists(struct page *p, const struct model *m, uint64_t *seed)
{
    static const char *const prefixes[] = { "",       "a",  "acme",      "acme/",
                                            "acme/x", "x-", "adapter-9", "q" };
    static const char *const viewers[] = { NULL, NULL, "acme", "acmes", "nobody", "" };
    char after[64];
    struct page_query q = { .prefix = str_of(prefixes[test_random(seed) % ARRAY_LEN(prefixes)]),
                            .viewer = str_of(viewers[test_random(seed) % ARRAY_LEN(viewers)]),
                            .max = test_random(seed) % 3 * 50 };
    if (test_random(seed) % 2) {
        (void)snprintf(after, sizeof(after), "%s", name_of((unsigned)(test_random(seed) % NAMES)));
        q.after = str_of(after);
        if (test_random(seed) % 2)
            q.after_base = str_of(bases[test_random(seed) % BASES]);
    }
    check_query(p, m, &q);
}

static void the_page_does_what_a_plain_table_does(void **state)
{
    static struct model m;
    uint64_t seed = 11;
    struct page *p;
    (void)state;
    assert_int_equal(page_new(&p), 0);
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned base = (unsigned)(test_random(&seed) % BASES);
        unsigned name = (unsigned)(test_random(&seed) % NAMES);
        unsigned what = (unsigned)(test_random(&seed) % 1000);
        if (what < 600)
            put_one(p, &m, &seed, base, name);
        else if (what < 700)
            remove_one(p, &m, &seed, base, name);
        else if (what < 990)
            check_one(p, &m, base, name);
        else if (what < 995)
            sweep(p, &m, &seed);
        else
            check_lists(p, &m, &seed);
    }
    size_t n = 0;
    EACH(base, name)
    {
        check_one(p, &m, base, name);
        n += m.epoch[base][name] != 0;
    }
    assert_int_equal(page_len(p), n);
    page_unsee(p, (struct page_part){ 0 });
    assert_int_equal(page_remove_unseen(p, (struct page_part){ 0 }, UINT64_MAX), n);
    assert_int_equal(page_len(p), 0);
    assert_null(page_free(p));
}

/* Pages of a list, one behind the other, are the list. */
static void a_list_is_read_in_pages(void **state)
{
    uint64_t seed = 5;
    struct page *p;
    (void)state;
    assert_int_equal(page_new(&p), 0);
    EACH(base, name)
    assert_int_equal(page_put(p, sized(base, name, 1, 2, 0)), 0);
    struct page_query all = { .prefix = STR("a") };
    struct head **whole, **part;
    size_t n, k, at = 0;
    assert_int_equal(page_query(p, &all, &whole, &n), 0);
    while (at < n) {
        struct page_query q = all;
        q.max = 1 + test_random(&seed) % 300;
        if (at) {
            q.after = whole[at - 1]->adapter;
            q.after_base = whole[at - 1]->base;
        }
        assert_int_equal(page_query(p, &q, &part, &k), 0);
        assert_in_range(k, 1, q.max);
        for (size_t i = 0; i < k; i++, at++)
            assert_int_equal(by_name(&(struct row){ part[i]->adapter.p, part[i]->base.p },
                                     &(struct row){ whole[at]->adapter.p, whole[at]->base.p }),
                             0);
        page_list_free(part, k);
    }
    page_list_free(whole, n);
    assert_null(page_free(p));
}

/* Names that come between lists are merged into the order, and what went is not listed. */
static void a_list_follows_what_comes_and_goes(void **state)
{
    enum { ROUNDS = 60, A_ROUND = 97 };
    uint64_t seed = 8;
    struct page *p;
    struct head **list;
    char name[64];
    size_t n, there = 0;
    (void)state;
    assert_int_equal(page_new(&p), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < A_ROUND; i++) {
            uint64_t x = test_random(&seed);
            (void)snprintf(name, sizeof(name), "%s%llx", x % 3 ? "" : "acme/",
                           (unsigned long long)(x >> 40));
            size_t before = page_len(p);
            assert_int_equal(page_put(p, named(x % 2 ? "demo" : "other", name, 1)), 0);
            there += page_len(p) - before;
        }
        if (round == ROUNDS / 2) { /* most of them go */
            assert_int_equal(page_list(p, STR(""), 0, &list, &n), 0);
            for (size_t i = 0; i < n; i++)
                if (i % 5) {
                    page_remove(p, list[i]->base, list[i]->adapter);
                    there--;
                }
            page_list_free(list, n);
        }
        assert_int_equal(page_list(p, STR(""), 0, &list, &n), 0);
        assert_int_equal(n, there);
        for (size_t i = 1; i < n; i++)
            assert_true(by_name(&(struct row){ list[i - 1]->adapter.p, list[i - 1]->base.p },
                                &(struct row){ list[i]->adapter.p, list[i]->base.p }) < 0);
        page_list_free(list, n);
    }
    assert_null(page_free(p));
}

static void many_bases_have_numbers_of_their_own(void **state)
{
    enum { MANY = 3000 };
    struct page *p;
    char name[64];
    (void)state;
    assert_int_equal(page_new(&p), 0);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < MANY; i++) {
            struct head *h = NULL;
            (void)snprintf(name, sizeof(name), "base-%u", i);
            if (round == 0)
                assert_int_equal(page_put(p, named(name, "a", i + 1)), 0);
            assert_int_equal(page_find(p, str_of(name), STR("a"), &h, NULL), 0);
            assert_int_equal(h->epoch, i + 1);
            assert_string_equal(h->base.p, name);
            (void)head_unref(h);
        }
    assert_int_equal(page_n_bases(p), MANY);
    assert_null(page_free(p));
}

static void memory_is_given_back(void **state)
{
    struct page *p;
    char name[32];
    (void)state;
    assert_int_equal(page_new(&p), 0);
    uint64_t empty = page_bytes(p), most = 0;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 20000; i++) { /* each round moves every record */
            (void)snprintf(name, sizeof(name), "adapter-%u", i);
            struct head d = { .base = STR("demo"),
                              .adapter = str_of(name),
                              .description = { "abcdefghijklmnopqrstuvwxyz", round % 26 },
                              .epoch = round + 1 };
            assert_int_equal(page_put(p, head_new(&d)), 0);
        }
        if (page_bytes(p) > most)
            most = page_bytes(p);
    }
    assert_in_range(most - empty, 20000 * 40, 20000 * 110);
    for (unsigned i = 0; i < 20000; i++) {
        (void)snprintf(name, sizeof(name), "adapter-%u", i);
        page_remove(p, STR("demo"), str_of(name));
    }
    assert_int_equal(page_len(p), 0);
    assert_in_range(page_bytes(p) - empty, 0, PAGE_STRIPES * 8192);
    assert_null(page_free(p));
}

static void what_the_page_cannot_hold_is_refused(void **state)
{
    struct page *p;
    char name[LIMIT_NAME + 2];
    (void)state;
    memset(name, 'a', sizeof(name));
    assert_int_equal(page_new(&p), 0);
    struct str most = { name, LIMIT_NAME }, more = { name, LIMIT_NAME + 1 };
    struct head d = { .base = STR("b"), .adapter = most };
    struct head *h = NULL;
    assert_int_equal(page_put(p, head_new(&d)), 0);
    d.adapter = more;
    assert_int_equal(page_put(p, head_new(&d)), -EBADMSG);
    d.adapter = STR("");
    assert_int_equal(page_put(p, head_new(&d)), -EBADMSG);
    assert_int_equal(page_put_packed(p, STR("b"), STR("a"), STR("\0\0\0\0\0\0\0\1\x20\0\0")),
                     -EBADMSG);
    assert_int_equal(page_put_packed(p, STR("b"), STR("a"), STR("\0\0\0\0\0\0\0\1\x10\0\0")), 0);
    assert_int_equal(page_find(p, STR(""), most, &h, NULL), 0);
    assert_true(str_eq(h->adapter, most));
    h = head_unref(h);
    assert_int_equal(page_len(p), 2);
    assert_null(page_free(p));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_keeps_the_newest_head_of_every_name),
        cmocka_unit_test(the_page_does_what_a_plain_table_does),
        cmocka_unit_test(a_list_is_read_in_pages),
        cmocka_unit_test(a_list_follows_what_comes_and_goes),
        cmocka_unit_test(many_bases_have_numbers_of_their_own),
        cmocka_unit_test(memory_is_given_back),
        cmocka_unit_test(what_the_page_cannot_hold_is_refused),
    };
    return TEST_RUN(tests);
}
