#include "tests/unit/adapters/blob_tests.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

int file_with(const char *p, size_t n)
{
    int fd = memfd_create("blob", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, 0), n);
    return fd;
}

int read_part(void *ctx, struct str part)
{
    struct reading *r = ctx;
    if (part.n > r->max - r->n)
        return -EBADMSG;
    memcpy(r->to + r->n, part.p, part.n);
    r->n += part.n;
    return 0;
}

void assert_content(struct blob_store *s, const struct sha256 *d, const char *want, size_t n,
                    size_t from)
{
    struct reading r = { malloc(n + 1), 0, n - from };
    struct blob_get g = { .digest = *d, .bytes = n, .from = from, .add = read_part, .ctx = &r };
    assert_non_null(r.to);
    assert_int_equal(s->ops->get(s, &g, NULL), 0);
    assert_int_equal(r.n, n - from);
    assert_memory_equal(r.to, want + from, n - from);
    free(r.to);
}

static unsigned listed(struct blob_store *s)
{
    struct blob_page *page = calloc(1, sizeof(*page));
    unsigned n = 0;
    assert_non_null(page);
    while (!page->last) {
        assert_int_equal(s->ops->list(s, page, NULL), 0);
        n += (unsigned)page->n;
        for (size_t i = 0; i < page->n; i++)
            assert_true(page->items[i].stat.modified_s + 60 > clock_wall_s());
    }
    free(page);
    return n;
}

void try_store(struct blob_store *s, size_t big)
{
    struct sha256 d, e, empty = sha256_of(STR(""));
    struct blob_stat st;
    struct fail f;
    char *p = malloc(big);
    uint64_t seed = 5;
    assert_non_null(p);
    for (size_t i = 0; i < big; i++)
        p[i] = (char)test_random(&seed);
    d = sha256_of((struct str){ p, big });
    e = sha256_of((struct str){ p, 1000 });
    CLEANUP(own_close) int fd = file_with(p, big), small = file_with(p, 1000);
    struct blob_get g = { .digest = d, .bytes = big, .add = read_part };
    assert_int_equal(s->ops->stat(s, &d, &st, &f), -ENOENT);
    assert_int_equal(s->ops->get(s, &g, &f), -ENOENT);
    if (s->ops->remove)
        assert_int_equal(s->ops->remove(s, &d, &f), 0);
    assert_int_equal(s->ops->put(s, &d, small, 1000, &f), FAILED); /* not its content */
    assert_int_equal(f.code, FAIL_conflict);
    assert_int_equal(s->ops->stat(s, &d, &st, &f), -ENOENT);
    for (unsigned i = 0; i < 2; i++) { /* the second time it is there already */
        assert_int_equal(s->ops->put(s, &d, fd, big, &f), 0);
        assert_int_equal(s->ops->put(s, &e, small, 1000, &f), 0);
    }
    assert_int_equal(s->ops->stat(s, &d, &st, &f), 0);
    assert_int_equal(st.bytes, big);
    assert_true(st.modified_s + 60 > clock_wall_s());
    const size_t froms[] = { 0, 1, 4096, big / 2, big - 1 };
    for (size_t i = 0; i < ARRAY_LEN(froms); i++)
        assert_content(s, &d, p, big, froms[i]);
    assert_content(s, &e, p, 1000, 0);
    struct reading r = { malloc(big + 1), 0, big + 1 };
    g.bytes = big + 1; /* it has not what was promised */
    g.ctx = &r;
    assert_int_equal(s->ops->get(s, &g, &f), -EBADMSG);
    r.n = 0;
    g = (struct blob_get){
        .digest = e, .bytes = 2000, .at_most = true, .add = read_part, .ctx = &r
    };
    assert_int_equal(s->ops->get(s, &g, &f), 0);
    assert_int_equal(r.n, 1000);
    free(r.to);
    if (s->ops->list)
        assert_int_equal(listed(s), 2);
    CLEANUP(own_close) int none = file_with("", 0);
    assert_int_equal(s->ops->put(s, &empty, none, 0, &f), 0);
    assert_int_equal(s->ops->stat(s, &empty, &st, &f), 0);
    assert_int_equal(st.bytes, 0);
    if (s->ops->remove) {
        assert_int_equal(s->ops->remove(s, &d, &f), 0);
        assert_int_equal(s->ops->stat(s, &d, &st, &f), -ENOENT);
    }
    assert_int_equal(s->ops->stat(s, &e, &st, &f), 0);
    if (s->ops->list)
        assert_int_equal(listed(s), 2);
    free(p);
}
