/*
 * The answer of the pii plugin does not depend on how the text was cut, it never withholds more
 * than it may, and a blocking one lets go exactly what stands before the first entity. The first
 * bytes choose the cuts.
 */
#include "tests/fuzz/fuzz.h"

#include "base/limits.h"
#include "plugins/plugin.h"

#include <assert.h>
#include <stdlib.h>

static struct document *documents[3]; /* reachable for good: chains borrow their text */

static struct chain *chain_of(const char *yaml, unsigned slot)
{
    struct problems *p = problems_new();
    struct document *d = NULL;
    struct chain *c = NULL;
    if (document_parse(&d, "fuzz", str_of(yaml), p) < 0)
        abort();
    if (chain_new(&c, document_root(d), "plugins", p) < 0)
        abort();
    (void)problems_free(p);
    documents[slot] = d;
    return c;
}

/* The stream's output in *out; cuts of 1 to 16 bytes, or one piece. */
static enum verdict stream(const struct chain *c, struct str text, uint64_t seed, bool whole,
                           struct buf *out)
{
    struct chain_run *run = NULL;
    enum verdict all = VERDICT_pass;
    if (chain_run_new(&run, c) < 0)
        abort();
    for (size_t at = 0; at <= text.n && all != VERDICT_block;) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = whole ? text.n : 1 + (seed >> 60);
        struct str piece = str_head(str_sub(text, at), n);
        at += piece.n;
        enum verdict v = chain_push(run, piece, at == text.n, out, NULL);
        all = v > all ? v : all;
        if (at == text.n)
            break;
    }
    (void)chain_run_free(run);
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chain *chains[3];
    if (!chains[0]) {
        chains[0] = chain_of("[{type: pii}]", 0);
        chains[1] = chain_of("[{type: pii, configuration: {mask_char: '*', keep_last: 2}}]", 1);
        chains[2] = chain_of("[{type: pii, configuration: {action: block}}]", 2);
    }
    if (size < 1 || size > 65536)
        return 0;
    struct str text = { (const char *)data + 1, size - 1 };
    for (unsigned i = 0; i < 3; i++) {
        struct buf a = BUF_INIT(GIB), b = BUF_INIT(GIB);
        enum verdict whole = stream(chains[i], text, 0, true, &a);
        enum verdict cut = stream(chains[i], text, data[0], false, &b);
        if (whole != cut || !str_eq(buf_str(&a), buf_str(&b)))
            abort();
        buf_done(&a);
        buf_done(&b);
    }
    return 0;
}
