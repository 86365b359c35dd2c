/* A chain out of a few lines of YAML, for the tests of this folder. */
#pragma once

#include "tests/support/test.h"

#include "plugins/plugin.h"

#include <stdlib.h>

/* Chains borrow text of their documents, which therefore live until the program ends. */
static struct document *documents[256];
static size_t n_documents;

static inline void free_documents(void)
{
    while (n_documents)
        (void)document_free(documents[--n_documents]);
}

static inline int make_chain(struct chain **ret, const char *yaml, struct problems **ret_problems)
{
    struct problems *p = problems_new();
    struct document *d = NULL;
    assert_non_null(p);
    assert_int_equal(document_parse(&d, "test.yaml", str_of(yaml), p), 0);
    if (n_documents == 0)
        (void)atexit(free_documents);
    assert_true(n_documents < ARRAY_LEN(documents));
    documents[n_documents++] = d;
    int r = chain_new(ret, document_root(d), "plugins", p);
    *ret_problems = p;
    return r;
}

static inline struct chain *good_chain(const char *yaml)
{
    struct problems *p = NULL;
    struct chain *c = NULL;
    int r = make_chain(&c, yaml, &p);
    if (r != 0 || problems_len(p)) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
        problems_print(p, &b);
        fail_msg("%s", b.p ? b.p : "no chain");
    }
    (void)problems_free(p);
    return c;
}

/* Feeds text cut at the n offsets of `cuts` (ascending); what leaves is appended to out. */
static inline enum verdict feed(const struct chain *c, struct str text, const size_t *cuts,
                                size_t n, struct buf *out, struct fail *fail)
{
    CLEANUP(chain_run_freep) struct chain_run *run = NULL;
    assert_int_equal(chain_run_new(&run, c), 0);
    enum verdict all = VERDICT_pass;
    size_t at = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t to = i < n ? cuts[i] : text.n;
        struct str piece = { text.p + at, to - at };
        /* a copy of its own, so that a read past the piece is seen */
        char *own = piece.n ? malloc(piece.n) : NULL;
        if (piece.n)
            memcpy(own, piece.p, piece.n);
        enum verdict v = chain_push(run, (struct str){ own, piece.n }, i == n, out, fail);
        free(own);
        all = v > all ? v : all;
        at = to;
        if (v == VERDICT_block)
            break;
    }
    return all;
}
