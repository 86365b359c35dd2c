#include "engine/local/tokenizer.h"

#include "engine/local/tokenizer_impl.h"

#include <errno.h>
#include <stdlib.h>

#include "base/num.h"
#include "engine/engine.h"

/* A stretch of the input: a special token, or text that is still to be cut. */
struct piece {
    size_t at, n;
    int32_t id; /* -1: text */
};

struct pieces {
    struct piece *p;
    size_t n, cap;
};

/* The input of one encoding: all spans as one text. */
struct input {
    const struct tokenizer *t;
    struct str text;
    const struct text_span *spans;
    size_t n_spans;
    size_t *ends; /* of each span, in text */
    bool *occurs; /* by position in t->special */
    char *joined; /* owned copy where there are several spans */
    struct pieces pieces, next;
};

int tokenizer_new(struct tokenizer **ret, const struct gguf *g, struct fail *reterr)
{
    CLEANUP(tokenizer_freep) struct tokenizer *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    int r = vocab_load(t, g, reterr);
    if (r == 0)
        *ret = TAKE(t);
    return r;
}

struct tokenizer *tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return NULL;
    (void)pre_split_free(t->pre);
    free(t->tokens);
    free(t->pool);
    free(t->index);
    free(t->rules);
    free(t->special);
    free(t->special_sorted);
    free(t);
    return NULL;
}

uint32_t tokenizer_vocab(const struct tokenizer *t)
{
    return t->n;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

size_t tokenizer_longest(const struct tokenizer *t)
{
    return t->wordpiece ? SIZE_MAX : t->longest;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->add_bos;
}

static const struct token *token_of(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n ? &t->tokens[id] : NULL;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k && k->eog;
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k && k->control;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k && (k->control || k->kind == TOKEN_unknown);
}

struct str tokenizer_token_text(const struct tokenizer *t, int32_t id)
{
    const struct token *k = token_of(t, id);
    return k ? k->text : STR_NULL;
}

void token_list_done(struct token_list *l)
{
    free(l->ids);
    free(l->ranges);
    *l = (struct token_list){ 0 };
}

static int grow_list(struct token_list *l)
{
    size_t cap = l->cap ? l->cap * 2 : 64, bytes = 0;
    int32_t *ids = mul_ok(cap, sizeof(*ids), &bytes) ? realloc(l->ids, bytes) : NULL;
    if (!ids)
        return -ENOMEM;
    l->ids = ids;
    if (l->ranged) {
        struct token_range *ranges =
            mul_ok(cap, sizeof(*ranges), &bytes) ? realloc(l->ranges, bytes) : NULL;
        if (!ranges)
            return -ENOMEM;
        l->ranges = ranges;
    }
    l->cap = cap;
    return 0;
}

int token_list_add_range(struct token_list *l, int32_t id, size_t begin, size_t end)
{
    if (l->max && l->n >= l->max)
        return -E2BIG;
    if (l->n == l->cap) {
        int r = grow_list(l);
        if (r < 0)
            return r;
    }
    if (l->ranged)
        l->ranges[l->n] = (struct token_range){ (uint32_t)begin, (uint32_t)end };
    l->ids[l->n++] = id;
    return 0;
}

int token_list_add(struct token_list *l, int32_t id)
{
    return token_list_add_range(l, id, 0, 0);
}

static int add_piece(struct pieces *l, struct piece p)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 32;
        struct piece *more = realloc(l->p, cap * sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->p = more;
        l->cap = cap;
    }
    l->p[l->n++] = p;
    return 0;
}

static void input_done(struct input *in)
{
    free(in->ends);
    free(in->occurs);
    free(in->joined);
    free(in->pieces.p);
    free(in->next.p);
}

/* Control tokens stand wholly in the template's own text. */
static bool may_match(const struct input *in, const struct token *k, size_t at)
{
    if (!k->control && k->kind != TOKEN_unknown)
        return true;
    size_t low = 0, high = in->n_spans;
    while (low < high) { /* the span that holds byte `at` */
        size_t mid = (low + high) / 2;
        if (in->ends[mid] <= at)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < in->n_spans; low++) {
        if (in->spans[low].literal && in->spans[low].text.n)
            return false;
        if (in->ends[low] >= at + k->text.n)
            return true;
    }
    return false;
}

/* Byte d of a special token, -1 past its end. */
static int head_byte(const struct tokenizer *t, size_t sorted, size_t d)
{
    struct str s = t->tokens[t->special[t->special_sorted[sorted]]].text;
    return d < s.n ? (uint8_t)s.p[d] : -1;
}

/* Notes every special token that begins at text[0]: a walk down the sorted list. */
static void note_specials(const struct input *in, struct str text)
{
    const struct tokenizer *t = in->t;
    size_t low = 0, high = t->n_special;
    for (size_t d = 0; low < high; d++) {
        if (head_byte(t, low, d) < 0)
            in->occurs[t->special_sorted[low++]] = true; /* ends here: shorter ones come first */
        if (d >= text.n)
            return;
        int want = (uint8_t)text.p[d];
        size_t end = high;
        for (size_t a = low; a < end;) { /* first with a byte that is not below */
            size_t mid = (a + end) / 2;
            if (head_byte(t, mid, d) < want)
                a = mid + 1;
            else
                end = mid;
        }
        low = end;
        for (size_t a = low; a < high;) { /* first with a byte above */
            size_t mid = (a + high) / 2;
            if (head_byte(t, mid, d) <= want)
                a = mid + 1;
            else
                high = mid;
        }
    }
}

static bool is_continuation(char c) /* of a UTF-8 sequence */
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cuts one text piece at each occurrence of a special token; appends the parts to in->next. */
static int cut_piece(struct input *in, int32_t id, struct piece p)
{
    const struct token *k = &in->t->tokens[id];
    size_t from = p.at, end = p.at + p.n, at = p.at;
    int r = 0;
    while (r == 0 && at < end) {
        const char *hit = memmem(in->text.p + at, end - at, k->text.p, k->text.n);
        if (!hit)
            break;
        at = (size_t)(hit - in->text.p);
        if (!may_match(in, k, at)) {
            at++;
            continue;
        }
        if (at > from)
            r = add_piece(&in->next, (struct piece){ from, at - from, -1 });
        if (r == 0)
            r = add_piece(&in->next, (struct piece){ at, k->text.n, id });
        at += k->text.n;
        while (k->rstrip && at < end && is_blank(in->text.p[at]))
            at++;
        from = at;
    }
    return r == 0 && from < end ? add_piece(&in->next, (struct piece){ from, end - from, -1 }) : r;
}

/* Cuts out special tokens, the longest ones first over the whole text. */
static int partition(struct input *in)
{
    const struct tokenizer *t = in->t;
    if (!in->text.n)
        return 0;
    int r = add_piece(&in->pieces, (struct piece){ 0, in->text.n, -1 });
    in->occurs = calloc(t->n_special ? t->n_special : 1, sizeof(bool));
    if (r < 0 || !in->occurs)
        return -ENOMEM;
    for (size_t i = 0; i < in->text.n; i++)
        if (t->special_heads[(uint8_t)in->text.p[i]])
            note_specials(in, str_sub(in->text, i));
    for (size_t s = 0; s < t->n_special && r == 0; s++) {
        if (!in->occurs[s])
            continue;
        in->next.n = 0;
        for (size_t i = 0; i < in->pieces.n && r == 0; i++)
            r = in->pieces.p[i].id >= 0 ? add_piece(&in->next, in->pieces.p[i])
                                        : cut_piece(in, t->special[s], in->pieces.p[i]);
        struct pieces cut = in->next;
        in->next = in->pieces;
        in->pieces = cut;
    }
    return r;
}

static int join_spans(struct input *in)
{
    size_t total = 0;
    in->ends = calloc(in->n_spans ? in->n_spans : 1, sizeof(*in->ends));
    if (!in->ends)
        return -ENOMEM;
    for (size_t i = 0; i < in->n_spans; i++) {
        if (!add_ok(total, in->spans[i].text.n, &total))
            return -ENOMEM;
        in->ends[i] = total;
    }
    if (in->n_spans == 1) {
        in->text = in->spans[0].text;
        return 0;
    }
    in->joined = malloc(total + 1);
    if (!in->joined)
        return -ENOMEM;
    for (size_t i = 0; i < in->n_spans; i++)
        if (in->spans[i].text.n)
            memcpy(in->joined + in->ends[i] - in->spans[i].text.n, in->spans[i].text.p,
                   in->spans[i].text.n);
    in->text = (struct str){ in->joined, total };
    return 0;
}

static int encode_pieces(const struct input *in, struct token_list *l)
{
    const struct tokenizer *t = in->t;
    CLEANUP(merger_freep) struct merger *m = NULL;
    int r = merger_new(&m, t, l);
    bool after_special = true;
    for (size_t i = 0; i < in->pieces.n && r == 0; i++) {
        const struct piece *p = &in->pieces.p[i];
        struct str text = { in->text.p + p->at, p->n };
        if (p->id >= 0)
            r = token_list_add_range(l, p->id, p->at, p->at + p->n);
        else if (t->wordpiece)
            r = wordpiece_text(t, text, p->at, l);
        else if (t->spm)
            r = merger_spm_text(m, text, t->add_space_prefix && after_special);
        else
            r = pre_split_run(t->pre, text, merger_bpe_word, m);
        after_special = p->id >= 0;
    }
    return r;
}

static int encode(const struct tokenizer *t, const struct text_span *spans, size_t n, bool bos,
                  bool eos, struct token_list *l)
{
    CLEANUP(input_done) struct input in = { .t = t, .spans = spans, .n_spans = n };
    int r = join_spans(&in);
    if (r == 0)
        r = partition(&in);
    if (r == 0 && bos)
        r = token_list_add(l, t->bos);
    if (r == 0)
        r = encode_pieces(&in, l);
    return r == 0 && eos ? token_list_add(l, t->eos) : r;
}

int tokenizer_encode(const struct tokenizer *t, struct str text, unsigned flags,
                     struct token_list *l)
{
    struct text_span span = { text, (flags & TOKENIZE_special) == 0 };
    bool ends = (flags & TOKENIZE_bos) != 0;
    return encode(t, &span, 1, ends && t->add_bos, ends && t->add_eos, l);
}

/* Where each token of merged bytes stands: they follow each other through the text. */
static void find_ranges(const struct tokenizer *t, struct str text, struct token_list *l,
                        size_t first, size_t last)
{
    size_t at = 0;
    for (size_t i = first; i < last; i++) {
        const struct token *k = &t->tokens[l->ids[i]];
        struct str bytes = k->control ? k->text : k->bytes, rest = str_sub(text, at);
        if (!str_starts(rest, bytes) && str_starts(bytes, STR(" ")))
            bytes = str_sub(bytes, 1); /* the blank that SPM puts in front */
        if (!bytes.n || !str_starts(rest, bytes))
            continue; /* it stands for nothing that was written */
        size_t begin = at, end = at + bytes.n;
        while (begin < end && is_blank(text.p[begin]))
            begin++;
        begin = begin < end ? begin : at; /* blanks alone */
        at = end;
        while (begin > 0 && is_continuation(text.p[begin]))
            begin--;
        while (end < text.n && is_continuation(text.p[end]))
            end++;
        l->ranges[i] = (struct token_range){ (uint32_t)begin, (uint32_t)end };
    }
}

int tokenizer_encode_ranges(const struct tokenizer *t, struct str text, unsigned flags,
                            struct token_list *l)
{
    l->ranged = true;
    if (text.n > UINT32_MAX)
        return -EMSGSIZE;
    int r = tokenizer_encode(t, text, flags, l);
    if (r == 0 && !t->wordpiece) {
        bool ends = (flags & TOKENIZE_bos) != 0;
        find_ranges(t, text, l, ends && t->add_bos, l->n - (ends && t->add_eos));
    }
    return r;
}

/* The template wrote BOS itself. */
static bool begins_with_bos(const struct tokenizer *t, const struct text_span *spans, size_t n)
{
    while (n && !spans->text.n) {
        spans++;
        n--;
    }
    return n && t->bos >= 0 && !spans->literal && str_starts(spans->text, t->tokens[t->bos].text);
}

int tokenizer_encode_spans(const struct tokenizer *t, const struct text_span *spans, size_t n,
                           unsigned flags, struct token_list *l)
{
    bool ends = (flags & TOKENIZE_bos) != 0;
    bool bos = ends && t->add_bos && !begins_with_bos(t, spans, n);
    return encode(t, spans, n, bos, ends && t->add_eos, l);
}

void tokenizer_decode(const struct tokenizer *t, int32_t id, bool special, struct buf *out)
{
    const struct token *k = token_of(t, id);
    if (k && (special || (!k->control && k->kind != TOKEN_unknown)))
        buf_add(out, k->bytes);
}

void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool at_start)
{
    *d = (struct detokenizer){ .t = t,
                               .first =
                                   at_start && (t->wordpiece || (t->spm && t->add_space_prefix)) };
}

/* Bytes of the whole character at p; 0: it may yet become one; −k: k bytes never will. */
static int utf8_unit(const unsigned char *p, size_t n)
{
    unsigned char low = 0x80, high = 0xbf;
    int want = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (want == 1)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return -1;
    if (p[0] == 0xe0)
        low = 0xa0; /* shorter forms exist */
    else if (p[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f; /* past U+10FFFF */
    for (int i = 1; i < want; i++) {
        if ((size_t)i == n)
            return 0;
        if (p[i] < low || p[i] > high)
            return -i;
        low = 0x80;
        high = 0xbf;
    }
    return want;
}

static void push_byte(struct detokenizer *d, char c, struct buf *out)
{
    d->held[d->n_held++] = c;
    while (d->n_held) {
        int unit = utf8_unit((const unsigned char *)d->held, d->n_held);
        if (unit == 0)
            return;
        unsigned n = unit > 0 ? (unsigned)unit : (unsigned)-unit;
        buf_add(out, unit > 0 ? (struct str){ d->held, n } : STR("\xef\xbf\xbd"));
        d->n_held -= n;
        memmove(d->held, d->held + n, d->n_held);
    }
}

void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out)
{
    const struct token *k = token_of(d->t, id);
    if (!k || k->control || k->kind == TOKEN_unknown || !k->bytes.n)
        return;
    size_t from = d->first && k->bytes.p[0] == ' ' ? 1 : 0;
    d->first = false;
    for (size_t i = from; i < k->bytes.n; i++)
        push_byte(d, k->bytes.p[i], out);
}

void detokenizer_end(struct detokenizer *d, struct buf *out)
{
    if (d->n_held)
        buf_add(out, STR("\xef\xbf\xbd"));
    d->n_held = 0;
}
