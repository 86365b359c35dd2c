/*
 * Characters as bytes: classes become paths of byte ranges, and text that must hold none of some
 * words becomes their Aho-Corasick automaton, run beside the rules of UTF-8 (RFC 3629, section 4).
 */
#include "engine/local/grammar/grammar_impl.h"

#include <errno.h>
#include <stdlib.h>

static void byte_edge(struct nfa *n, uint32_t from, uint32_t to, unsigned first, unsigned last)
{
    nfa_edge_add(
        n, from,
        &(struct nfa_edge){
            .target = to, .kind = NFA_bytes, .first = (uint8_t)first, .last = (uint8_t)last });
}

/* Paths for [first, last], both encoded in `len` bytes, as few as there can be. */
static void add_range(struct nfa *n, const uint8_t *first, const uint8_t *last, unsigned len,
                      uint32_t from, uint32_t to)
{
    if (len == 1) {
        byte_edge(n, from, to, first[0], last[0]);
        return;
    }
    static const uint8_t lowest[3] = { 0x80, 0x80, 0x80 }, highest[3] = { 0xbf, 0xbf, 0xbf };
    bool low_cut = memcmp(first + 1, lowest, len - 1) != 0;
    bool high_cut = memcmp(last + 1, highest, len - 1) != 0;
    unsigned a = first[0], z = last[0];
    if (a == z) {
        uint32_t mid = nfa_state(n);
        byte_edge(n, from, mid, a, a);
        add_range(n, first + 1, last + 1, len - 1, mid, to);
        return;
    }
    if (low_cut) {
        uint32_t mid = nfa_state(n);
        byte_edge(n, from, mid, a, a);
        add_range(n, first + 1, highest, len - 1, mid, to);
        a++;
    }
    if (high_cut) {
        uint32_t mid = nfa_state(n);
        byte_edge(n, from, mid, z, z);
        add_range(n, lowest, last + 1, len - 1, mid, to);
        z--;
    }
    if (a <= z) {
        uint32_t mid = nfa_state(n);
        byte_edge(n, from, mid, a, z);
        add_range(n, lowest, highest, len - 1, mid, to);
    }
}

void nfa_add_class(struct nfa *n, const struct code_range *ranges, uint32_t n_ranges, uint32_t from,
                   uint32_t to)
{
    static const uint32_t ends[] = { 0x7f, 0x7ff, 0xffff, 0x10ffff }; /* of 1 … 4 bytes */
    for (uint32_t i = 0; i < n_ranges; i++) {
        uint32_t first = ranges[i].first;
        for (unsigned len = 1; len <= 4; len++) {
            if (first > ends[len - 1] || first > ranges[i].last)
                continue;
            uint32_t last = ranges[i].last < ends[len - 1] ? ranges[i].last : ends[len - 1];
            char a[4], z[4];
            (void)str_utf8_put(a, first);
            (void)str_utf8_put(z, last);
            add_range(n, (const uint8_t *)a, (const uint8_t *)z, len, from, to);
            first = last + 1;
        }
    }
}

/* --- text without words --- */

enum { WORDS_MAX = 4096 }; /* bytes of all words: a kibibyte of table each */

/* Where a text stands within a character. */
enum place {
    PLACE_whole,
    PLACE_one,
    PLACE_two,
    PLACE_three,
    PLACE_e0,
    PLACE_ed,
    PLACE_f0,
    PLACE_f4,
    PLACES
};

static const struct {
    uint8_t from, first, last, to;
} places[] = {
    { PLACE_whole, 0x00, 0x7f, PLACE_whole }, { PLACE_whole, 0xc2, 0xdf, PLACE_one },
    { PLACE_whole, 0xe0, 0xe0, PLACE_e0 },    { PLACE_whole, 0xe1, 0xec, PLACE_two },
    { PLACE_whole, 0xed, 0xed, PLACE_ed },    { PLACE_whole, 0xee, 0xef, PLACE_two },
    { PLACE_whole, 0xf0, 0xf0, PLACE_f0 },    { PLACE_whole, 0xf1, 0xf3, PLACE_three },
    { PLACE_whole, 0xf4, 0xf4, PLACE_f4 },    { PLACE_one, 0x80, 0xbf, PLACE_whole },
    { PLACE_two, 0x80, 0xbf, PLACE_one },     { PLACE_three, 0x80, 0xbf, PLACE_two },
    { PLACE_e0, 0xa0, 0xbf, PLACE_one },      { PLACE_ed, 0x80, 0x9f, PLACE_one },
    { PLACE_f0, 0x90, 0xbf, PLACE_two },      { PLACE_f4, 0x80, 0x8f, PLACE_two },
};

/* The words' trie with its failure links: a row of targets a state. */
struct words {
    uint32_t n, cap;
    uint32_t (*next)[256];
    bool *ends; /* some word ends here */
};

static void words_done(struct words *w)
{
    free(w->next);
    free(w->ends);
}

static void words_add(struct words *w, struct str text)
{
    uint32_t at = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint32_t *next = &w->next[at][(uint8_t)text.p[i]];
        if (!*next)
            *next = w->n++;
        at = *next;
    }
    w->ends[at] = true;
}

/* Fills in the failure links, breadth first. Aho and Corasick, 1975. */
static bool words_link(struct words *w)
{
    uint32_t *queue = calloc((size_t)w->n * 2, sizeof(*queue));
    if (!queue)
        return false;
    uint32_t *fail = queue + w->n, head = 0, tail = 0;
    for (unsigned c = 0; c < 256; c++)
        if (w->next[0][c])
            queue[tail++] = w->next[0][c];
    while (head < tail) {
        uint32_t s = queue[head++];
        w->ends[s] |= w->ends[fail[s]];
        for (unsigned c = 0; c < 256; c++) {
            uint32_t t = w->next[s][c], other = w->next[fail[s]][c];
            if (t) {
                fail[t] = other;
                queue[tail++] = t;
            } else {
                w->next[s][c] = other;
            }
        }
    }
    free(queue);
    return true;
}

static bool words_make(struct words *w, const struct grammar_builder *b, const struct expr *e)
{
    size_t total = 1;
    for (uint32_t i = 0; i < e->b; i++)
        total += b->exprs[b->parts[e->a + i]].b;
    w->next = calloc(total, sizeof(*w->next));
    w->ends = calloc(total, sizeof(*w->ends));
    w->n = 1;
    if (!w->next || !w->ends)
        return false;
    for (uint32_t i = 0; i < e->b; i++) {
        const struct expr *word = &b->exprs[b->parts[e->a + i]];
        words_add(w, (struct str){ b->bytes + word->a, word->b });
    }
    return words_link(w);
}

/* The edges of (word state, place), in runs of bytes with one target. */
static void add_row(struct nfa *n, const struct words *w, const uint32_t *state, uint32_t s,
                    unsigned place)
{
    uint32_t from = state[s * PLACES + place];
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (places[i].from != place)
            continue;
        for (unsigned c = places[i].first; c <= places[i].last; c++) {
            unsigned end = c;
            uint32_t t = w->next[s][c];
            while (end < places[i].last && w->next[s][end + 1] == t)
                end++;
            if (!w->ends[t])
                byte_edge(n, from, state[t * PLACES + places[i].to], c, end);
            c = end;
        }
    }
}

void nfa_add_without(struct nfa *n, const struct expr *e, uint32_t from, uint32_t to)
{
    CLEANUP(words_done) struct words w = { 0 };
    size_t total = 1;
    for (uint32_t i = 0; i < e->b; i++)
        total += n->b->exprs[n->b->parts[e->a + i]].b;
    if (total > WORDS_MAX) {
        n->err = n->err ? n->err : FAILED;
        n->bound = n->bound ? n->bound : "its excluded texts are too long";
        return;
    }
    CLEANUP(own_free) uint32_t *state = NULL;
    if (!words_make(&w, n->b, e) || !(state = calloc((size_t)w.n * PLACES, sizeof(*state)))) {
        n->err = n->err ? n->err : -ENOMEM;
        return;
    }
    for (uint32_t i = 0; i < w.n * PLACES; i++)
        state[i] = nfa_state(n);
    for (uint32_t s = 0; s < w.n && !n->err; s++) {
        for (unsigned place = 0; place < PLACES; place++)
            add_row(n, &w, state, s, place);
        if (!w.ends[s])
            nfa_edge_add(n, state[s * PLACES + PLACE_whole], &(struct nfa_edge){ .target = to });
    }
    nfa_edge_add(n, from, &(struct nfa_edge){ .target = state[PLACE_whole] });
}
