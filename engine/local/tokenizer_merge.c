/*
 * The merge engine: a chain of symbols whose best pair is joined until none is left. BPE takes the
 * pair of the lowest rank, SentencePiece the pair whose text has the highest score; the leftmost
 * wins a tie. A heap of candidates keeps it at O(n log n).
 */
#include "engine/local/tokenizer_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "base/num.h"

struct symbol {
    const char *p;
    uint32_t n;         /* bytes; 0: merged into its left neighbour */
    int32_t id;         /* -1: no token */
    int32_t prev, next; /* -1: none */
};

struct candidate {
    uint32_t key; /* the lowest is merged first */
    int32_t left, right;
    uint32_t n; /* bytes of both when it was found; differs: stale */
    int32_t id; /* of the result */
};

struct merger {
    const struct tokenizer *t;
    struct token_list *out; /* borrowed */
    struct symbol *symbols;
    size_t n, cap;
    struct candidate *heap;
    size_t n_heap, cap_heap;
    char *text; /* escaped copy */
    size_t cap_text;
};

int merger_new(struct merger **ret, const struct tokenizer *t, struct token_list *out)
{
    struct merger *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->t = t;
    m->out = out;
    *ret = m;
    return 0;
}

struct merger *merger_free(struct merger *m)
{
    if (m) {
        free(m->symbols);
        free(m->heap);
        free(m->text);
        free(m);
    }
    return NULL;
}

/* Makes room for n elements of `size` bytes in all. */
static int reserve(void **p, size_t *cap, size_t n, size_t size)
{
    if (n <= *cap)
        return 0;
    size_t want = n < 64 ? 64 : n + n / 2, bytes = 0;
    void *more = mul_ok(want, size, &bytes) ? realloc(*p, bytes) : NULL;
    if (!more)
        return -ENOMEM;
    *p = more;
    *cap = want;
    return 0;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->key < b->key || (a->key == b->key && a->left < b->left);
}

static int heap_push(struct merger *m, struct candidate c)
{
    int r = reserve((void **)&m->heap, &m->cap_heap, m->n_heap + 1, sizeof(*m->heap));
    if (r < 0)
        return r;
    size_t i = m->n_heap++;
    for (; i && before(&c, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = c;
    return 0;
}

static struct candidate heap_pop(struct merger *m)
{
    struct candidate top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->n_heap)
            break;
        if (child + 1 < m->n_heap && before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!before(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

static size_t pair_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u; /* small tables take the low bits: mix them too */
    return (size_t)(h >> 32);
}

size_t merge_slot(const struct tokenizer *t, int32_t left, int32_t right)
{
    size_t i = pair_hash(left, right) & t->rules_mask;
    while (t->rules[i].id >= 0 && (t->rules[i].left != left || t->rules[i].right != right))
        i = (i + 1) & t->rules_mask;
    return i;
}

/* Floats in descending order as ascending integers. */
static uint32_t descending(float f)
{
    uint32_t u;
    f += 0.0f; /* −0 is 0 */
    memcpy(&u, &f, sizeof(u));
    return u & 0x80000000u ? u : ~(u | 0x80000000u);
}

/* Only text pieces come out of merges: user text never spells a control token. */
static bool is_text(const struct token *k)
{
    return !k->control && k->kind != TOKEN_unknown && k->kind != TOKEN_byte;
}

static bool find_bpe(const struct merger *m, const struct symbol *a, const struct symbol *b,
                     struct candidate *c)
{
    if (a->id < 0 || b->id < 0)
        return false;
    const struct merge_rule *rule = &m->t->rules[merge_slot(m->t, a->id, b->id)];
    c->key = rule->rank;
    c->id = rule->id;
    return rule->id >= 0;
}

static bool find_spm(const struct merger *m, const struct symbol *a, const struct symbol *b,
                     struct candidate *c)
{
    size_t n = (size_t)a->n + b->n;
    if (n > m->t->longest)
        return false;
    c->id = vocab_find(m->t, (struct str){ a->p, n });
    if (c->id < 0 || !is_text(&m->t->tokens[c->id]))
        return false;
    c->key = descending(m->t->tokens[c->id].score);
    return true;
}

static int consider(struct merger *m, int32_t left, int32_t right)
{
    if (left < 0 || right < 0)
        return 0;
    const struct symbol *a = &m->symbols[left], *b = &m->symbols[right];
    struct candidate c = { .left = left, .right = right, .n = a->n + b->n };
    if (!(m->t->spm ? find_spm(m, a, b, &c) : find_bpe(m, a, b, &c)))
        return 0;
    return heap_push(m, c);
}

static int merge_all(struct merger *m)
{
    int r = 0;
    m->n_heap = 0;
    for (size_t i = 1; i < m->n && r == 0; i++)
        r = consider(m, (int32_t)i - 1, (int32_t)i);
    while (m->n_heap && r == 0) {
        struct candidate c = heap_pop(m);
        struct symbol *a = &m->symbols[c.left], *b = &m->symbols[c.right];
        if (!a->n || !b->n || a->n + b->n != c.n)
            continue;
        a->n += b->n;
        a->id = c.id;
        a->next = b->next;
        b->n = 0;
        if (b->next >= 0)
            m->symbols[b->next].prev = c.left;
        r = consider(m, a->prev, c.left);
        if (r == 0)
            r = consider(m, c.left, a->next);
    }
    return r;
}

/* The symbol's token, or one token a byte; a byte without one is unknown, or left out. */
static int emit(struct merger *m, const struct symbol *s)
{
    if (s->id >= 0)
        return token_list_add(m->out, s->id);
    int r = 0;
    for (uint32_t i = 0; i < s->n && r == 0; i++) {
        int32_t id = m->t->byte_ids[(uint8_t)s->p[i]];
        if (id < 0)
            id = m->t->unknown;
        r = id < 0 ? 0 : token_list_add(m->out, id);
    }
    return r;
}

static int finish(struct merger *m)
{
    if (m->n)
        m->symbols[m->n - 1].next = -1;
    int r = merge_all(m);
    for (int32_t i = m->n ? 0 : -1; i >= 0 && r == 0; i = m->symbols[i].next)
        r = emit(m, &m->symbols[i]);
    m->n = 0;
    return r;
}

static void add_symbol(struct merger *m, const char *p, uint32_t n, int32_t id)
{
    int32_t at = (int32_t)m->n++;
    m->symbols[at] = (struct symbol){ p, n, id, at - 1, at + 1 };
}

static int begin(struct merger *m, size_t n)
{
    if (n > INT32_MAX)
        return -ENOMEM;
    m->n = 0;
    return reserve((void **)&m->symbols, &m->cap, n, sizeof(*m->symbols));
}

/* The whole word's own token, where the model looks for that before merging. */
static int32_t whole_word(const struct tokenizer *t, struct str word)
{
    char spelt[512];
    size_t n = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (n + 4 > sizeof(spelt))
            return -1;
        n += str_utf8_put(spelt + n, byte_to_rune((uint8_t)word.p[i]));
    }
    int32_t id = n > t->longest ? -1 : vocab_find(t, (struct str){ spelt, n });
    return id >= 0 && is_text(&t->tokens[id]) ? id : -1;
}

int merger_bpe_word(void *merger, struct str word)
{
    struct merger *m = merger;
    int32_t whole = m->t->ignore_merges ? whole_word(m->t, word) : -1;
    if (whole >= 0)
        return token_list_add(m->out, whole);
    int r = begin(m, word.n);
    if (r < 0)
        return r;
    for (size_t i = 0; i < word.n; i++)
        add_symbol(m, word.p + i, 1, m->t->byte_ids[(uint8_t)word.p[i]]);
    return finish(m);
}

/* Bytes that the first one announces; not more than there are. */
static uint32_t rune_bytes(struct str s)
{
    static const uint8_t by_nibble[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4 };
    uint32_t n = by_nibble[(uint8_t)s.p[0] >> 4];
    return n < s.n ? n : (uint32_t)s.n;
}

static bool is_space_mark(struct str s)
{
    return s.n >= 3 && memcmp(s.p, "\xe2\x96\x81", 3) == 0;
}

/* Merges word by word where no token reaches over the beginning of one, else all at once. */
static int spm_words(struct merger *m, struct str text)
{
    int r = begin(m, text.n);
    bool was_mark = true;
    while (text.n && r == 0) {
        uint32_t len = rune_bytes(text);
        bool mark = is_space_mark(text);
        if (m->t->cut_words && mark && !was_mark)
            r = finish(m);
        int32_t id = vocab_find(m->t, str_head(text, len));
        add_symbol(m, text.p, len, id >= 0 && is_text(&m->t->tokens[id]) ? id : -1);
        text = str_sub(text, len);
        was_mark = mark;
    }
    return r == 0 ? finish(m) : r;
}

int merger_spm_text(struct merger *m, struct str text, bool space_prefix)
{
    size_t bytes = 0, n = 0;
    if (!mul_ok(text.n + 1, 3, &bytes))
        return -ENOMEM;
    int r = reserve((void **)&m->text, &m->cap_text, bytes, 1);
    if (r < 0)
        return r;
    for (size_t i = space_prefix ? 0 : 1; i <= text.n; i++) {
        char c = i ? text.p[i - 1] : ' ';
        if (c == ' ') {
            memcpy(m->text + n, "\xe2\x96\x81", 3); /* U+2581 */
            n += 3;
        } else {
            m->text[n++] = c;
        }
    }
    return spm_words(m, (struct str){ m->text, n });
}
