/*
 * WordPiece (BERT): text is normalised, cut into words at blanks, punctuation and CJK characters,
 * and each word into the longest pieces of the vocabulary from its beginning on; a word without
 * such a cut is unknown as a whole. Source: Wu et al., "Google's Neural Machine Translation
 * System" (arXiv:1609.08144), section 4.1, and the normaliser of BERT's tokenizer.
 *
 * Where the two well-known implementations differ, blanks are those of llama.cpp (it cuts at
 * vertical tabs, form feeds and U+0085, which Hugging Face drops; its words have no limit of 100
 * characters), and characters those of Hugging Face, as the models were trained: Hangul comes apart
 * wholly, and marks go where they stand alone too.
 *
 * A GGUF stores pieces that begin a word with U+2581 in front and those that go on bare.
 */
#include "engine/local/tokenizer_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/num.h"
#include "engine/engine.h"

#define WORD_START "\xe2\x96\x81"

enum {
    /* Characters of a word that is cut at all: above any encoder's window. */
    MAX_WORD = 1 << 16,
    MAX_DECOMPOSED = 32, /* code points of one; the longest canonical one has 4 */
    REPLACEMENT = 0xfffd,
};

struct letter {  /* of the word that is collected, normalised */
    uint32_t at; /* its first byte in the word */
    struct token_range from;
};

struct words {
    const struct tokenizer *t;
    struct token_list *out;
    size_t base;            /* of the text within the whole input, for ranges */
    char *bytes;            /* owned; WORD_START and the letters */
    struct letter *letters; /* owned; cap + 1 */
    size_t n_bytes, n, cap;
    bool too_long;
};

static bool is_cjk(int32_t c)
{
    /* The blocks of ideographs that BERT's tokenizer spaces out, with its gap at U+2B820. */
    static const struct {
        int32_t first, last;
    } blocks[] = {
        { 0x4e00, 0x9fff },   { 0x3400, 0x4dbf },   { 0x20000, 0x2a6df }, { 0x2a700, 0x2b73f },
        { 0x2b740, 0x2b81f }, { 0x2b920, 0x2ceaf }, { 0xf900, 0xfaff },   { 0x2f800, 0x2fa1f },
    };
    for (size_t i = 0; c >= blocks[1].first && i < ARRAY_LEN(blocks); i++)
        if (c >= blocks[i].first && c <= blocks[i].last)
            return true;
    return false;
}

static bool is_space(int32_t c) /* White_Space of Unicode */
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static bool is_control(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return true;
    default:
        return false;
    }
}

static bool stands_alone(int32_t c)
{
    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
               (c >= '{' && c <= '~');
    utf8proc_category_t kind = utf8proc_category(c);
    return (kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO) || is_cjk(c);
}

/* The longest piece that begins at a letter; *ret_next: the letter behind it. -1: none. */
static int32_t longest_piece(const struct words *w, size_t letter, size_t *ret_next)
{
    size_t begin = w->letters[letter].at;
    size_t last = letter;
    while (last < w->n && w->letters[last + 1].at - begin <= w->t->longest)
        last++;
    for (; last > letter; last--) {
        struct str piece = { w->bytes + begin, w->letters[last].at - begin };
        int32_t id = vocab_find(w->t, piece);
        if (id >= 0 && !w->t->tokens[id].control) {
            *ret_next = last;
            return id;
        }
    }
    return -1;
}

static int add(const struct words *w, int32_t id, size_t first, size_t end)
{
    struct token_range r = { w->letters[first].from.begin, w->letters[end - 1].from.end };
    return token_list_add_range(w->out, id, w->base + r.begin, w->base + r.end);
}

static int end_word(struct words *w)
{
    size_t before = w->out->n, next = 0;
    int r = 0;
    if (w->n == 0)
        return 0;
    w->letters[w->n].at = (uint32_t)w->n_bytes;
    for (size_t i = 0; r == 0 && i < w->n && !w->too_long; i = next) {
        int32_t id = longest_piece(w, i, &next);
        if (id < 0) {
            w->out->n = before;
            break;
        }
        r = add(w, id, i, next);
    }
    if (r == 0 && w->out->n == before)
        r = add(w, w->t->unknown, 0, w->n);
    w->n = w->n_bytes = 0;
    w->too_long = false;
    return r;
}

static int grow(struct words *w)
{
    size_t cap = w->cap ? w->cap * 2 : 64;
    char *bytes = realloc(w->bytes, cap * 4 + sizeof(WORD_START)); /* UTF-8 of a letter */
    if (!bytes)
        return -ENOMEM;
    w->bytes = bytes;
    struct letter *letters = realloc(w->letters, (cap + 1) * sizeof(*letters));
    if (!letters)
        return -ENOMEM;
    w->letters = letters;
    w->cap = cap;
    return 0;
}

static int add_letter(struct words *w, int32_t c, struct token_range from)
{
    if (w->n == MAX_WORD) {
        w->too_long = true;
        w->letters[w->n - 1].from.end = from.end;
        return 0;
    }
    if (w->n == w->cap) {
        int r = grow(w);
        if (r < 0)
            return r;
    }
    w->letters[w->n].at = (uint32_t)w->n_bytes;
    if (w->n == 0) {
        memcpy(w->bytes, WORD_START, sizeof(WORD_START) - 1);
        w->n_bytes = sizeof(WORD_START) - 1;
    }
    w->letters[w->n++].from = from;
    w->n_bytes += str_utf8_put(w->bytes + w->n_bytes, (unsigned)c);
    return 0;
}

/* One normalised code point. */
static int take(struct words *w, int32_t c, struct token_range from)
{
    if (is_space(c))
        return end_word(w);
    if (c == 0 || c == REPLACEMENT || is_control(c))
        return 0;
    if (w->t->strip_accents && utf8proc_category(c) == UTF8PROC_CATEGORY_MN)
        return 0;
    bool alone = stands_alone(c);
    int r = alone ? end_word(w) : 0;
    if (r == 0)
        r = add_letter(w, w->t->lowercase ? utf8proc_tolower(c) : c, from);
    return r == 0 && alone ? end_word(w) : r;
}

/* A code point of the text: decomposed where accents go. */
static int take_source(struct words *w, int32_t c, struct token_range from)
{
    utf8proc_int32_t parts[MAX_DECOMPOSED];
    int boundary = 0;
    if (c < 0x80 || !w->t->strip_accents)
        return take(w, c, from);
    utf8proc_ssize_t n =
        utf8proc_decompose_char(c, parts, MAX_DECOMPOSED, UTF8PROC_DECOMPOSE, &boundary);
    if (n < 1 || n > MAX_DECOMPOSED)
        return take(w, c, from);
    int r = 0;
    for (utf8proc_ssize_t i = 0; r == 0 && i < n; i++)
        r = take(w, parts[i], from);
    return r;
}

int wordpiece_text(const struct tokenizer *t, struct str text, size_t base, struct token_list *out)
{
    struct words w = { .t = t, .out = out, .base = base };
    int r = 0;
    for (size_t at = 0; r == 0 && at < text.n;) {
        size_t begin = at;
        int c = str_utf8_next(text, &at);
        r = take_source(&w, c, (struct token_range){ (uint32_t)begin, (uint32_t)at });
    }
    if (r == 0)
        r = end_word(&w);
    free(w.bytes);
    free(w.letters);
    return r;
}
