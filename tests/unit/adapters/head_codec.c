#include "adapters/head_codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "tests/support/test.h"

static struct sha256 digest_of(uint64_t *seed)
{
    struct sha256 d;
    for (unsigned i = 0; i < SHA256_BYTES; i++)
        d.b[i] = (uint8_t)test_random(seed);
    return d;
}

static void same_digest(const struct sha256 *a, const struct sha256 *b)
{
    assert_memory_equal(a->b, b->b, SHA256_BYTES);
}

static void same_text(struct str a, struct str b)
{
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
    assert_int_equal(b.p[b.n], '\0');
}

static void same_heads(const struct head *a, const struct head *b)
{
    same_text(a->base, b->base);
    same_text(a->adapter, b->adapter);
    same_text(a->description, b->description);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->more, b->more);
    assert_int_equal(a->canary_weight, b->canary_weight);
    assert_int_equal(a->canary_salt, b->canary_salt);
    assert_int_equal(a->shadow_weight, b->shadow_weight);
    assert_int_equal(a->n_examples, b->n_examples);
    for (size_t i = 0; i < a->n_examples; i++)
        same_text(a->examples[i], b->examples[i]);
    assert_int_equal(a->n_revisions, b->n_revisions);
    for (size_t i = 0; i < a->n_revisions; i++) {
        const struct head_revision *x = &a->revisions[i], *y = &b->revisions[i];
        same_digest(&x->digest, &y->digest);
        assert_int_equal(x->ordinal, y->ordinal);
        assert_int_equal(x->created_s, y->created_s);
        assert_int_equal(x->bytes, y->bytes);
        assert_int_equal(x->base_id, y->base_id);
        assert_int_equal(x->rank, y->rank);
    }
    assert_int_equal(a->n_aliases, b->n_aliases);
    for (size_t i = 0; i < a->n_aliases; i++) {
        same_text(a->aliases[i].name, b->aliases[i].name);
        same_digest(&a->aliases[i].digest, &b->aliases[i].digest);
        assert_int_equal(a->aliases[i].moved, b->aliases[i].moved);
        if (a->aliases[i].moved)
            same_digest(&a->aliases[i].previous, &b->aliases[i].previous);
    }
}

enum { NAMES = 7, EXAMPLES = 3, MOST = 40 };
static const char *const names[NAMES] = { "canary", "prev", "prod", "shadow", "blue", "a", "zz-9" };

/* A head of everything, with values at and around the widths of numbers. */
static struct head *random_head(uint64_t *seed)
{
    struct head_revision revisions[MOST];
    struct head_alias aliases[NAMES];
    struct str examples[EXAMPLES] = { STR(""), STR("How many?"), STR("caf\xc3\xa9\n") };
    struct head d = { .base = STR("org/base:7b"),
                      .adapter = STR("acme/sql"),
                      .epoch = test_random(seed) >> (test_random(seed) % 64),
                      .more = (unsigned)(test_random(seed) % 8),
                      .revisions = revisions,
                      .n_revisions =
                          test_random(seed) % 3 ? test_random(seed) % 4 : test_random(seed) % MOST,
                      .aliases = aliases,
                      .examples = examples };
    for (size_t i = 0; i < d.n_revisions; i++)
        revisions[i] = (struct head_revision){
            .digest = digest_of(seed),
            .ordinal = i == 0 ? 1 : revisions[i - 1].ordinal + 1 + test_random(seed) % 200,
            .created_s = test_random(seed) >> (test_random(seed) % 64),
            .bytes = test_random(seed) >> (test_random(seed) % 64),
            .base_id = test_random(seed) % 2 ? test_random(seed) : 0,
            .rank = (uint32_t)(test_random(seed) >> (32 + test_random(seed) % 32)),
        };
    for (size_t i = 0; i < NAMES; i++) {
        if (test_random(seed) % 2)
            continue;
        struct head_alias *a = &aliases[d.n_aliases++];
        *a = (struct head_alias){ .name = str_of(names[i]), .moved = test_random(seed) % 2 };
        a->digest = d.n_revisions && test_random(seed) % 4
                        ? revisions[test_random(seed) % d.n_revisions].digest
                        : digest_of(seed); /* one that is gone */
        a->previous = d.n_revisions && test_random(seed) % 2
                          ? revisions[test_random(seed) % d.n_revisions].digest
                          : digest_of(seed);
    }
    if (test_random(seed) % 2) {
        d.canary_weight = (uint32_t)(test_random(seed) % (CANARY_WHOLE + 1));
        d.canary_salt = test_random(seed);
    }
    if (test_random(seed) % 2)
        d.shadow_weight = (uint32_t)(test_random(seed) % (CANARY_WHOLE + 1));
    if (test_random(seed) % 2)
        d.description = STR("SQL from a question");
    d.n_examples = test_random(seed) % (EXAMPLES + 1);
    struct head *h = head_new(&d);
    assert_non_null(h);
    return h;
}

static void a_head_reads_back_as_it_was(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (unsigned i = 0; i < 3000; i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(HEAD_PACKED_MAX);
        CLEANUP(head_unrefp) struct head *h = random_head(&seed);
        CLEANUP(head_unrefp) struct head *back = NULL;
        head_pack(h, false, &b);
        assert_int_equal(buf_err(&b), 0);
        assert_int_equal(head_packed_check(buf_str(&b)), 0);
        assert_int_equal(head_unpack(&back, h->base, h->adapter, buf_str(&b)), 0);
        same_heads(h, back);
        assert_int_equal(head_packed_epoch(buf_str(&b)), h->epoch);
        assert_int_equal(head_packed_more(buf_str(&b)), h->more);
        head_packed_set_epoch(b.p, 0x0102030405060708);
        assert_memory_equal(b.p, "\1\2\3\4\5\6\7\10", HEAD_EPOCH_BYTES);
        back = head_unref(back);
        assert_int_equal(head_unpack(&back, h->base, h->adapter, buf_str(&b)), 0);
        assert_int_equal(back->epoch, 0x0102030405060708);
    }
}

/* What a request without a digest means does not change when the head is cut to its partial form.
 */
static void a_partial_head_answers_the_same(void **state)
{
    uint64_t seed = 2;
    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(HEAD_PACKED_MAX);
        CLEANUP(head_unrefp) struct head *h = random_head(&seed);
        CLEANUP(head_unrefp) struct head *part = NULL;
        head_pack(h, true, &b);
        assert_int_equal(head_unpack(&part, h->base, h->adapter, buf_str(&b)), 0);
        assert_true(part->n_revisions <= 5);
        bool all_revisions = part->more & HEAD_MORE_revisions,
             all_aliases = part->more & HEAD_MORE_aliases, about = part->more & HEAD_MORE_about;
        assert_true(all_revisions || part->n_revisions == h->n_revisions);
        assert_true(all_aliases || part->n_aliases == h->n_aliases);
        assert_true(about || (h->description.n == 0 && h->n_examples == 0));
        assert_int_equal(part->description.n + part->n_examples, 0);
        for (unsigned k = 0; k < 4; k++) {
            const struct head_alias *x = head_alias(h, str_of(names[k]));
            const struct head_alias *y = head_alias(part, str_of(names[k]));
            assert_int_equal(!x, !y);
            if (!x)
                continue;
            same_digest(&x->digest, &y->digest);
            assert_int_equal(x->moved, y->moved);
            if (x->moved)
                same_digest(&x->previous, &y->previous);
            assert_int_equal(!head_revision(h, &x->digest), !head_revision(part, &y->digest));
        }
        const struct head_revision *x = head_default(h), *y = head_default(part);
        assert_int_equal(!x, !y);
        if (x)
            same_digest(&x->digest, &y->digest);
        assert_int_equal(h->canary_weight, part->canary_weight);
        assert_int_equal(h->canary_salt, part->canary_salt);
    }
}

static void a_plain_head_is_small(void **state)
{
    struct head_revision r = { .ordinal = 1, .created_s = 1790000000, .bytes = 9 << 20 };
    struct head_alias a = { .name = STR("prod") };
    struct head d = { .base = STR("demo"),
                      .adapter = STR("sql"),
                      .epoch = 123456789,
                      .revisions = &r,
                      .n_revisions = 1,
                      .aliases = &a,
                      .n_aliases = 1 };
    CLEANUP(buf_done) struct buf b = BUF_INIT(HEAD_PACKED_MAX);
    (void)state;
    memset(r.digest.b, 7, SHA256_BYTES);
    a.digest = r.digest;
    head_pack(&d, true, &b);
    assert_int_equal(b.n, 56);
    buf_clear(&b);
    r.rank = 16;
    r.base_id = UINT64_MAX;
    head_pack(&d, true, &b);
    assert_int_equal(b.n, 64);
}

/* Bytes that no head has, written by hand after the layout in the header. */
static void damaged_bytes_are_refused(void **state)
{
#define EPOCH "\0\0\0\0\0\0\0\1"
#define DIGEST "0123456789abcdef0123456789abcdef"
#define REVISION(ordinal) DIGEST ordinal "\5\6\0"
    static const struct {
        struct str packed;
        int r;
    } rows[] = {
        { STR(""), -EBADMSG },
        { STR(EPOCH), -EBADMSG },
        { STR(EPOCH "\x10\0\0"), 0 },
        { STR(EPOCH "\x20\0\0"), -EBADMSG },  /* another version */
        { STR(EPOCH "\x10\0\0x"), -EBADMSG }, /* more than a head */
        { STR(EPOCH "\x10\1" REVISION("\1") "\0"), 0 },
        { STR(EPOCH "\x10\2" REVISION("\1") REVISION("\2") "\0"), 0 },
        { STR(EPOCH "\x10\2" REVISION("\2") REVISION("\1") "\0"), -EBADMSG }, /* not by ordinal */
        { STR(EPOCH "\x10\2" REVISION("\1") "\0"), -EBADMSG },
        { STR(EPOCH "\x10\x81\x08\0"), -EBADMSG }, /* 1025 revisions */
        { STR(EPOCH "\x10\0\1\4\0" DIGEST), 0 },   /* prod names one that is not here */
        { STR(EPOCH "\x10\0\1\4\1" DIGEST), -EBADMSG },
        { STR(EPOCH "\x10\0\1\5\0" DIGEST "\0" DIGEST), 0 }, /* moved */
        { STR(EPOCH "\x10\0\1\5\0" DIGEST "\0"), -EBADMSG },
        { STR(EPOCH "\x10\0\1\x0a"
                    "bb\0" DIGEST),
          0 },
        { STR(EPOCH "\x10\0\1\x0a"
                    "b \0" DIGEST),
          -EBADMSG }, /* a blank */
        { STR(EPOCH "\x10\0\1\x0a"
                    "\xc3"
                    "b\0" DIGEST),
          -EBADMSG }, /* no UTF-8 */
        { STR(EPOCH "\x10\0\1\x0e"
                    "prod\0" DIGEST),
          -EBADMSG }, /* a known word, spelt out */
        { STR(EPOCH "\x10\0\2\x08"
                    "b\0" DIGEST "\x08"
                    "a\0" DIGEST),
          -EBADMSG },                                                 /* not sorted */
        { STR(EPOCH "\x10\0\2\4\0" DIGEST "\4\0" DIGEST), -EBADMSG }, /* twice */
        { STR(EPOCH "\x10\0\x41"), -EBADMSG },                        /* 65 aliases */
        { STR(EPOCH "\x18\0\0\1\x90\x4e\x07"), 0 },                   /* a canary of 10,000 */
        { STR(EPOCH "\x18\0\0\1\x91\x4e\x07"), -EBADMSG },            /* of 10,001 */
        { STR(EPOCH "\x18\0\0\0"), -EBADMSG },                        /* an empty extra part */
        { STR(EPOCH "\x18\0\0\x08"), -EBADMSG },                      /* an unknown one */
        { STR(EPOCH "\x18\0\0\4\2hi\1\1x"), 0 },
        { STR(EPOCH "\x18\0\0\4\2hi\2\1x"), -EBADMSG },
        { STR(EPOCH "\x18\0\0\4\2hi\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), -EBADMSG },
        { STR(EPOCH "\x18\0\0\2\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1"), -EBADMSG }, /* long */
        { STR(EPOCH "\x18\0\0\2\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), -EBADMSG },   /* wraps */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(head_unrefp) struct head *h = NULL;
        char *exact = malloc(rows[i].packed.n + 1); /* so that a sanitizer sees a read beyond */
        memcpy(exact, rows[i].packed.p, rows[i].packed.n);
        struct str packed = { exact, rows[i].packed.n };
        int r = head_unpack(&h, STR("b"), STR("a"), packed);
        if (r != rows[i].r || head_packed_check(packed) != rows[i].r)
            print_message("# row %zu: %d\n", i, r);
        assert_int_equal(r, rows[i].r);
        free(exact);
    }
}

static void no_beginning_of_a_head_is_a_head(void **state)
{
    uint64_t seed = 3;
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(HEAD_PACKED_MAX);
        CLEANUP(head_unrefp) struct head *h = random_head(&seed);
        head_pack(h, false, &b);
        for (size_t n = 0; n < b.n; n++)
            assert_int_equal(head_packed_check(str_head(buf_str(&b), n)), -EBADMSG);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_reads_back_as_it_was),
        cmocka_unit_test(a_partial_head_answers_the_same),
        cmocka_unit_test(a_plain_head_is_small),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(no_beginning_of_a_head_is_a_head),
    };
    return TEST_RUN(tests);
}
