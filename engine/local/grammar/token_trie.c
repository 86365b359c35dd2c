/*
 * The vocabulary as a trie in one array, in the order of a walk: a subtree that cannot match is
 * skipped by one addition, and its tokens are one run of `ids`.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/limits.h"
#include "engine/local/grammar/constraint_impl.h"

enum {
    POOL_MAX = 256 * MIB,
    TOKEN_MAX = 4096, /* bytes; longer ones are never allowed */
};

static struct str bytes_of(const struct token_trie *t, int32_t id)
{
    return (struct str){ t->pool + t->bytes[id].at, t->bytes[id].n };
}

static int by_bytes(const void *x, const void *y, void *trie)
{
    int32_t a = *(const int32_t *)x, b = *(const int32_t *)y;
    int r = str_cmp(bytes_of(trie, a), bytes_of(trie, b));
    return r ? r : a < b ? -1 : a > b;
}

/* Bytes of all tokens, and which of them are ends or control tokens. */
static int read_tokens(struct token_trie *t, const struct tokenizer *k)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(POOL_MAX);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        int32_t i = (int32_t)id;
        size_t before = b.n;
        if (tokenizer_is_eog(k, i)) {
            t->eog[t->n_eog++] = i;
        } else if (tokenizer_is_special(k, i)) {
            struct str text = tokenizer_token_text(k, i);
            buf_add(&b, text);
            if (text.n)
                t->control[t->n_control++] =
                    (struct control_token){ { NULL, text.n }, i }; /* pointed to below */
            before = b.n;
        } else {
            tokenizer_decode(k, i, /* special= */ false, &b);
            if (b.n - before > TOKEN_MAX)
                b.n = before;
        }
        t->bytes[id] = (struct token_bytes){ (uint32_t)before, (uint32_t)(b.n - before) };
        if (b.n > before)
            t->ids[t->n_ids++] = i;
        if (t->bytes[id].n > t->longest)
            t->longest = t->bytes[id].n;
    }
    if (buf_err(&b) < 0)
        return buf_err(&b);
    size_t n = 0;
    t->pool = b.n ? buf_take(&b, &n) : calloc(1, 1);
    if (!t->pool)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n_control;
         i++) /* a control token's text ends where its bytes begin */
        t->control[i].text.p = t->pool + t->bytes[t->control[i].id].at - t->control[i].text.n;
    return 0;
}

/* Nodes for the sorted tokens: each adds those that the one before does not have. */
static void add_nodes(struct token_trie *t, uint32_t *open)
{
    struct str last = STR_NULL;
    t->nodes[0] = (struct trie_node){ 0 };
    t->n_nodes = 1;
    for (uint32_t i = 0; i < t->n_ids; i++) {
        struct str s = bytes_of(t, t->ids[i]);
        size_t same = 0;
        while (same < last.n && same < s.n && last.p[same] == s.p[same])
            same++;
        for (size_t d = last.n; d > same; d--)
            t->nodes[open[d]].skip = t->n_nodes;
        for (size_t d = same + 1; d <= s.n; d++) {
            open[d] = t->n_nodes;
            t->nodes[t->n_nodes++] = (struct trie_node){ .tokens = i,
                                                         .depth = (uint16_t)d,
                                                         .byte = (uint8_t)s.p[d - 1] };
        }
        last = s;
    }
    for (size_t d = last.n; d > 0; d--)
        t->nodes[open[d]].skip = t->n_nodes;
    t->nodes[0].skip = t->n_nodes;
    t->nodes[t->n_nodes] = (struct trie_node){ .skip = t->n_nodes, .tokens = t->n_ids };
}

static int make_nodes(struct token_trie *t)
{
    size_t total = 2;
    qsort_r(t->ids, t->n_ids, sizeof(*t->ids), by_bytes, t);
    for (uint32_t i = 0; i < t->n_ids; i++)
        total += t->bytes[t->ids[i]].n;
    CLEANUP(own_free) uint32_t *open = calloc(TOKEN_MAX + 1, sizeof(*open));
    t->nodes = total < UINT32_MAX ? malloc(total * sizeof(*t->nodes)) : NULL;
    if (!open || !t->nodes)
        return -ENOMEM;
    add_nodes(t, open);
    void *less = realloc(t->nodes, (t->n_nodes + 1ull) * sizeof(*t->nodes));
    if (less)
        t->nodes = less;
    return 0;
}

int token_trie_new(struct token_trie **ret, const struct tokenizer *k)
{
    static atomic_uint_fast64_t serial;
    enum { WORD_BITS = 32 };
    CLEANUP(token_trie_freep) struct token_trie *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->serial = 1 + atomic_fetch_add(&serial, 1);
    t->n_vocab = tokenizer_vocab(k);
    t->n_words = (t->n_vocab + WORD_BITS - 1) / WORD_BITS;
    size_t n = t->n_vocab + 1ull;
    t->ids = calloc(n, sizeof(*t->ids));
    t->bytes = calloc(n, sizeof(*t->bytes));
    t->eog = calloc(n, sizeof(*t->eog));
    t->control = calloc(n, sizeof(*t->control));
    if (!t->ids || !t->bytes || !t->eog || !t->control)
        return -ENOMEM;
    int r = read_tokens(t, k);
    if (r == 0)
        r = make_nodes(t);
    if (r == 0)
        *ret = TAKE(t);
    return r;
}

struct token_trie *token_trie_free(struct token_trie *t)
{
    if (!t)
        return NULL;
    free(t->nodes);
    free(t->ids);
    free(t->bytes);
    free(t->pool);
    free(t->eog);
    free(t->control);
    free(t);
    return NULL;
}
