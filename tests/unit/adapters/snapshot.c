#include "adapters/snapshot.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "tests/support/test.h"

#define IDENTITY STR("redis.example:6379/0 prod")

static const struct snapshot_shards two_shards = { 2, { { 1790000000000, 77 }, { 0, 0 } } };

static void fill(struct page *p, unsigned n, uint64_t epoch)
{
    char name[48], about[64];
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(name, sizeof(name), "%sadapter-%u", i % 7 ? "" : "acme/", i);
        (void)snprintf(about, sizeof(about), "about %u at %llu", i, (unsigned long long)epoch);
        struct head_revision r = { .ordinal = 1, .created_s = 1790000000 + i, .bytes = i };
        memset(r.digest.b, (int)i, SHA256_BYTES);
        struct head_alias a = { .name = STR("prod"), .digest = r.digest };
        struct head d = { .base = i % 3 ? STR("demo") : STR("org/other:7b"),
                          .adapter = str_of(name),
                          .description = str_of(about),
                          .epoch = epoch,
                          .revisions = &r,
                          .n_revisions = 1,
                          .aliases = &a,
                          .n_aliases = 1 };
        assert_int_equal(page_put(p, head_new(&d)), 0);
    }
}

static struct page *filled(unsigned n, uint64_t epoch)
{
    struct page *p;
    assert_int_equal(page_new(&p), 0);
    fill(p, n, epoch);
    return p;
}

static void same_pages(struct page *a, struct page *b)
{
    struct head **x, **y;
    size_t n, m;
    assert_int_equal(page_list(a, STR(""), 0, &x, &n), 0);
    assert_int_equal(page_list(b, STR(""), 0, &y, &m), 0);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(x[i]->adapter.p, y[i]->adapter.p);
        assert_string_equal(x[i]->base.p, y[i]->base.p);
        assert_string_equal(x[i]->description.p, y[i]->description.p);
        assert_int_equal(x[i]->epoch, y[i]->epoch);
        assert_int_equal(x[i]->n_revisions, y[i]->n_revisions);
        assert_memory_equal(&x[i]->revisions[0], &y[i]->revisions[0], sizeof(x[i]->revisions[0]));
        assert_memory_equal(x[i]->aliases[0].digest.b, y[i]->aliases[0].digest.b, SHA256_BYTES);
    }
    page_list_free(x, n);
    page_list_free(y, m);
}

static const char *file_in(const char *folder)
{
    static char path[4096];
    (void)snprintf(path, sizeof(path), "%s/catalog.snapshot", folder);
    return path;
}

static void a_page_is_the_same_after_a_restart(void **state)
{
    const char *path = file_in(test_temp_dir());
    struct page *p = filled(5000, 9), *back;
    struct snapshot_shards shards;
    struct fail f;
    size_t n = 0;
    (void)state;
    page_remove(p, STR("demo"), STR("adapter-1"));
    assert_int_equal(snapshot_save(p, path, IDENTITY, &two_shards), 0);
    assert_int_equal(page_new(&back), 0);
    assert_int_equal(snapshot_load(back, path, IDENTITY, &shards, &n, &f), 0);
    assert_int_equal(n, 4999);
    assert_int_equal(shards.n, 2);
    assert_memory_equal(shards.shard, two_shards.shard, 2 * sizeof(shards.shard[0]));
    same_pages(p, back);
    fill(p, 100, 10); /* replaced by the next one */
    assert_int_equal(snapshot_save(p, path, IDENTITY, &two_shards), 0);
    back = page_free(back);
    assert_int_equal(page_new(&back), 0);
    assert_int_equal(snapshot_load(back, path, IDENTITY, &shards, &n, &f), 0);
    same_pages(p, back);
    assert_null(page_free(back));
    assert_null(page_free(p));
}

static void an_empty_page_has_a_snapshot_too(void **state)
{
    const char *path = file_in(test_temp_dir());
    struct page *p = filled(0, 0);
    struct snapshot_shards shards;
    struct fail f;
    size_t n = 1;
    (void)state;
    assert_int_equal(snapshot_load(p, path, IDENTITY, &shards, &n, &f), FAILED);
    assert_int_equal(f.code, FAIL_not_found);
    assert_int_equal(snapshot_save(p, path, IDENTITY, &two_shards), 0);
    assert_int_equal(snapshot_load(p, path, IDENTITY, &shards, &n, &f), 0);
    assert_int_equal(n, 0);
    assert_int_equal(snapshot_load(p, path, STR("another"), &shards, &n, &f), FAILED);
    assert_int_equal(f.code, FAIL_conflict);
    assert_non_null(strstr(f.message, "redis.example"));
    assert_int_equal(snapshot_load(p, "/", IDENTITY, &shards, &n, &f), -EISDIR);
    assert_int_equal(snapshot_save(p, "/nowhere/at/all", IDENTITY, &two_shards), -ENOENT);
    assert_null(page_free(p));
}

static void refused(const char *path)
{
    struct page *p = filled(0, 0);
    struct snapshot_shards shards;
    struct fail f = { .code = FAIL_N };
    size_t n;
    assert_int_equal(snapshot_load(p, path, IDENTITY, &shards, &n, &f), FAILED);
    assert_int_equal(page_len(p), 0);
    assert_non_null(strstr(f.message, path));
    assert_null(page_free(p));
}

static void damage_anywhere_is_noticed(void **state)
{
    const char *path = file_in(test_temp_dir());
    CLEANUP(own_free) char *text = NULL;
    struct page *p = filled(20, 1);
    uint64_t seed = 4;
    size_t n;
    (void)state;
    assert_int_equal(snapshot_save(p, path, IDENTITY, &two_shards), 0);
    text = test_read(path, &n);
    for (size_t i = 0; i < n; i += 1 + test_random(&seed) % 7) { /* a bit is flipped */
        text[i] ^= (char)(1 << test_random(&seed) % 8);
        assert_int_equal(file_replace(path, (struct str){ text, n }), 0);
        refused(path);
        assert_int_equal(snapshot_save(p, path, IDENTITY, &two_shards), 0);
        free(text);
        text = test_read(path, &n);
    }
    for (size_t cut = 0; cut < n; cut += 1 + test_random(&seed) % 13) { /* the end is missing */
        assert_int_equal(file_replace(path, (struct str){ text, cut }), 0);
        refused(path);
    }
    assert_null(page_free(p));
}

/* ---- files written by hand after the layout in the header ---- */

static void put_le(struct buf *b, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_addc(b, (char)(v >> (8 * i)));
}

static void put_section(struct buf *b, uint32_t kind, struct str body)
{
    CLEANUP(buf_done) struct buf covered = BUF_INIT(1 << 20);
    put_le(&covered, kind, 4);
    put_le(&covered, body.n, 8);
    buf_add(&covered, body);
    put_le(b, kind, 4);
    put_le(b, crc32c(0, covered.p, covered.n), 4);
    put_le(b, body.n, 8);
    buf_add(b, body);
}

#define ABOUT                                                                                      \
    "\0\0\0\0\0\0\0\0\4\0\0\0name\1\0\0\0"                                                         \
    "\1\0\0\0\0\0\0\0"                                                                             \
    "\2\0\0\0\0\0\0\0"
#define BASES "\1\0\0\0\4\0demo"
#define HEAD                                                                                       \
    "\0\0\1\0\x0b\0\0\0"                                                                           \
    "a"                                                                                            \
    "\0\0\0\0\0\0\0\5\x10\0\0"

static void a_file_is_read_after_its_layout(void **state)
{
    static const struct {
        unsigned version;
        struct str about, heads, bases, end;
        int r; /* FAILED: refused */
    } rows[] = {
        { 1, STR(ABOUT), STR(HEAD), STR(BASES), STR("\1\0\0\0\0\0\0\0"), 0 },
        { 1, STR(ABOUT), STR(""), STR(BASES), STR("\0\0\0\0\0\0\0\0"), 0 },
        { 2, STR(ABOUT), STR(HEAD), STR(BASES), STR("\1\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT "x"), STR(HEAD), STR(BASES), STR("\1\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT), STR(HEAD), STR(BASES "x"), STR("\1\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT), STR(HEAD), STR("\0\0\0\0"), STR("\1\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT), STR(HEAD), STR("\xff\xff\xff\xff"), STR("\1\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT), STR(HEAD), STR(BASES), STR("\2\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT), STR(HEAD), STR(BASES), STR("\1"), FAILED },
        { 1, STR(ABOUT), STR(HEAD "x"), STR(BASES), STR("\1\0\0\0\0\0\0\0"), FAILED },
        { 1, STR(ABOUT),
          STR("\0\0\0\0\x0b\0\0\0"
              "\0\0\0\0\0\0\0\5\x10\0\0"),
          STR(BASES), STR("\1\0\0\0\0\0\0\0"), FAILED }, /* no name */
        { 1, STR(ABOUT),
          STR("\0\0\1\0\x0b\0\0\0"
              "a"
              "\0\0\0\0\0\0\0\5\x20\0\0"),
          STR(BASES), STR("\1\0\0\0\0\0\0\0"), FAILED }, /* no head */
    };
    const char *path = file_in(test_temp_dir());
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(1 << 20);
        struct page *p = filled(0, 0);
        struct snapshot_shards shards;
        struct fail f;
        size_t n;
        buf_adds(&b, "rootstock-catalog-snapshot\n");
        put_le(&b, rows[i].version, 4);
        put_section(&b, 1, rows[i].about);
        put_section(&b, 3, rows[i].heads);
        put_section(&b, 2, rows[i].bases);
        put_section(&b, 4, rows[i].end);
        assert_int_equal(file_replace(path, buf_str(&b)), 0);
        int r = snapshot_load(p, path, STR("name"), &shards, &n, &f);
        if (r != rows[i].r)
            print_message("# row %zu: %d %s\n", i, r, r > 0 ? f.message : "");
        assert_int_equal(r, rows[i].r);
        assert_int_equal(page_len(p), r == 0 && rows[i].heads.n ? 1 : 0);
        if (r == 0)
            assert_true(shards.n == 1 && shards.shard[0].epoch == 1 && shards.shard[0].tag == 2);
        assert_null(page_free(p));
    }
}

/* ---- in the background ---- */

static atomic_uint asked;
static atomic_bool whole;

static bool shards_now(void *ctx, struct snapshot_shards *ret)
{
    *ret = two_shards;
    ret->shard[1].epoch = page_changes(ctx);
    atomic_fetch_add(&asked, 1);
    return whole;
}

static bool wait_for_file(const char *path, bool there)
{
    struct stat st;
    uint64_t until = clock_ms() + 5000;
    while ((stat(path, &st) == 0) != there && clock_ms() < until)
        (void)usleep(1000);
    return (stat(path, &st) == 0) == there;
}

static void it_is_written_when_something_changed(void **state)
{
    char path[4096];
    struct page *p = filled(10, 1), *back = filled(0, 0);
    struct snapshots *s;
    struct snapshot_shards shards;
    struct fail f;
    size_t n;
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/deep/er/x.snapshot", test_temp_dir());
    struct snapshots_options o = {
        .page = p, .path = path, .identity = IDENTITY, .every_ms = 2, .shards = shards_now, .ctx = p
    };
    whole = false;
    assert_int_equal(snapshots_start(&s, &o), 0);
    while (asked < 3)
        (void)usleep(1000);
    assert_true(wait_for_file(path, false)); /* not while the page is not whole */
    whole = true;
    assert_true(wait_for_file(path, true));
    while (asked < 3)
        (void)usleep(1000);
    unsigned before;
    do {
        before = asked;
        (void)usleep(20000);
    } while (before != asked); /* nothing changes: nothing is written */
    assert_int_equal(unlink(path), 0);
    fill(p, 11, 2);
    assert_true(wait_for_file(path, true));
    s = snapshots_stop(s);
    o.every_ms = 1000000;
    o.loaded = true;
    assert_int_equal(snapshots_start(&s, &o), 0);
    assert_int_equal(unlink(path), 0);
    fill(p, 12, 3);
    s = snapshots_stop(s); /* the last one is written at the stop */
    assert_int_equal(snapshot_load(back, path, IDENTITY, &shards, &n, &f), 0);
    assert_int_equal(n, 12);
    assert_int_equal(shards.shard[1].epoch, page_changes(p));
    same_pages(p, back);
    assert_null(snapshots_stop(NULL));
    assert_null(page_free(p));
    assert_null(page_free(back));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_the_same_after_a_restart),
        cmocka_unit_test(an_empty_page_has_a_snapshot_too),
        cmocka_unit_test(damage_anywhere_is_noticed),
        cmocka_unit_test(a_file_is_read_after_its_layout),
        cmocka_unit_test(it_is_written_when_something_changed),
    };
    return TEST_RUN(tests);
}
