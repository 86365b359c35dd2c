#include "engine/local/stream.h"

#include "base/limits.h"
#include "base/num.h"

#include <errno.h>
#include <stdlib.h>

struct kept_token {
    struct engine_token token;
    size_t begin, end; /* of its text, in bytes since the sequence began */
    void *memory;      /* owned: its top list and bytes; NULL when it has none */
};

struct stream {
    struct detokenizer detokenizer;
    char *stop_bytes;  /* owned: all stop strings, one after another */
    struct str *stops; /* owned array of views into stop_bytes */
    size_t n_stops;
    bool keep_tokens, keep_stop, keep_special, stopped, ended;
    uint32_t n_pushed, min_tokens;

    struct buf text;   /* decoded and not yet taken */
    size_t taken;      /* bytes at the head of `text` that the last take gave away */
    uint64_t offset;   /* of text's first byte since the sequence began */
    struct buf pieces; /* scratch: bytes of tokens */

    struct kept_token *kept; /* not yet taken */
    size_t n_kept, cap_kept;
    struct engine_token *out; /* what the last take gave; as long as `kept` */
    size_t n_out;             /* entries at the head of `kept` that the last take gave away */
};

static int copy_stops(struct stream *s, const struct stream_options *o)
{
    size_t bytes = 0;
    for (size_t i = 0; i < o->n_stops; i++)
        bytes += o->stops[i].n;
    if (bytes == 0)
        return 0;
    s->stop_bytes = malloc(bytes);
    s->stops = calloc(o->n_stops, sizeof(*s->stops));
    if (!s->stop_bytes || !s->stops)
        return -ENOMEM;
    char *at = s->stop_bytes;
    for (size_t i = 0; i < o->n_stops; i++) {
        struct str stop = o->stops[i];
        if (stop.n == 0)
            continue;
        memcpy(at, stop.p, stop.n);
        s->stops[s->n_stops++] = (struct str){ at, stop.n };
        at += stop.n;
    }
    return 0;
}

int stream_new(struct stream **ret, const struct stream_options *o)
{
    CLEANUP(stream_freep) struct stream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    detokenizer_init(&s->detokenizer, o->tokenizer, o->at_start);
    s->keep_tokens = o->keep_tokens;
    s->keep_stop = o->keep_stop;
    s->keep_special = o->keep_special;
    s->min_tokens = o->min_tokens;
    s->text = BUF_INIT(LIMIT_SSE_EVENT);
    s->pieces = BUF_INIT(LIMIT_SSE_EVENT);
    int r = copy_stops(s, o);
    if (r < 0)
        return r;
    *ret = TAKE(s);
    return 0;
}

struct stream *stream_free(struct stream *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n_kept; i++)
        free(s->kept[i].memory);
    free(s->kept);
    free(s->out);
    free(s->stop_bytes);
    free(s->stops);
    buf_done(&s->text);
    buf_done(&s->pieces);
    free(s);
    return NULL;
}

/* Forgets what the last take gave away. */
static void settle(struct stream *s)
{
    if (s->taken) {
        buf_cut(&s->text, s->taken);
        s->offset += s->taken;
        s->taken = 0;
    }
    if (s->n_out == 0)
        return;
    for (size_t i = 0; i < s->n_out; i++)
        free(s->kept[i].memory);
    s->n_kept -= s->n_out;
    memmove(s->kept, s->kept + s->n_out, s->n_kept * sizeof(*s->kept));
    s->n_out = 0;
}

/* ---- tokens behind the text ---- */

static int grow_kept(struct stream *s)
{
    if (s->n_kept < s->cap_kept)
        return 0;
    size_t cap = s->cap_kept ? 2 * s->cap_kept : 8;
    struct kept_token *kept = realloc(s->kept, cap * sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    s->kept = kept;
    struct engine_token *out = realloc(s->out, cap * sizeof(*out));
    if (!out)
        return -ENOMEM;
    s->out = out;
    s->cap_kept = cap;
    return 0;
}

static struct str piece_at(const char *bytes, const size_t *ends, size_t i)
{
    size_t begin = i ? ends[i - 1] : 0;
    return (struct str){ bytes + begin, ends[i] - begin };
}

/* One block: the top list, then the bytes of the chosen token and of each in the list. */
static int copy_pieces(struct stream *s, struct kept_token *k, bool is_first)
{
    const struct tokenizer *t = s->detokenizer.t;
    size_t n = k->token.n_top, ends[1 + LIMIT_TOP_LOGPROBS];
    if (n > LIMIT_TOP_LOGPROBS)
        return -EINVAL;
    buf_clear(&s->pieces);
    tokenizer_decode(t, k->token.chosen.id, /* special= */ true, &s->pieces);
    ends[0] = s->pieces.n;
    for (size_t i = 0; i < n; i++) {
        if (k->token.top[i].id >= 0)
            tokenizer_decode(t, k->token.top[i].id, /* special= */ true, &s->pieces);
        ends[1 + i] = s->pieces.n;
    }
    if (buf_err(&s->pieces) < 0)
        return buf_err(&s->pieces);

    struct token_logprob *top = malloc(n * sizeof(*top) + s->pieces.n + 1);
    if (!top)
        return -ENOMEM;
    char *bytes = (char *)(top + n);
    if (s->pieces.n)
        memcpy(bytes, s->pieces.p, s->pieces.n);
    k->token.chosen.bytes = piece_at(bytes, ends, 0);
    if (is_first && str_starts(k->token.chosen.bytes, STR(" ")))
        k->token.chosen.bytes = str_sub(k->token.chosen.bytes, 1); /* SPM's, not of the text */
    for (size_t i = 0; i < n; i++) {
        top[i] = k->token.top[i];
        top[i].bytes = piece_at(bytes, ends, 1 + i);
    }
    k->token.top = top;
    k->memory = top;
    return 0;
}

/* How a token joined the text. */
struct joined {
    size_t begin;  /* where, in bytes since the sequence began */
    bool is_first; /* of all text */
};

static int keep(struct stream *s, const struct engine_token *token, bool with_bytes,
                struct joined joined)
{
    int r = grow_kept(s);
    if (r < 0)
        return r;
    struct kept_token *k = &s->kept[s->n_kept];
    *k = (struct kept_token){
        .token = *token,
        .begin = joined.begin,
        .end = s->offset + s->text.n,
    };
    k->token.hidden = !s->keep_special && tokenizer_is_special(s->detokenizer.t, token->chosen.id);
    if (s->detokenizer.n_held)
        k->end++; /* its character is not whole: it leaves with the byte that completes it */
    if (with_bytes || token->n_top) {
        r = copy_pieces(s, k, joined.is_first);
        if (r < 0)
            return r;
    }
    s->n_kept++;
    return 0;
}

/* ---- stop strings ---- */

/* Where the first complete stop string begins, or -1; *ret_n: its bytes. */
static ptrdiff_t find_stop(const struct stream *s, size_t *ret_n)
{
    struct str window = buf_str(&s->text); /* all before it left, so no stop began there */
    ptrdiff_t first = -1;
    for (size_t i = 0; i < s->n_stops; i++) {
        ptrdiff_t at = str_find(
            first < 0 ? window : str_head(window, (size_t)first + s->stops[i].n), s->stops[i]);
        if (at < 0 || (first >= 0 && at >= first))
            continue;
        first = at;
        *ret_n = s->stops[i].n;
    }
    return first;
}

/* Bytes at the end of the text that begin a stop string. */
static size_t stop_prefix(const struct stream *s)
{
    size_t longest = 0, n = s->text.n;
    for (size_t i = 0; i < s->n_stops; i++) {
        struct str stop = s->stops[i];
        size_t k = n < stop.n - 1 ? n : stop.n - 1;
        for (; k > longest; k--)
            if (s->text.p[n - k] == stop.p[0] && memcmp(s->text.p + n - k, stop.p, k) == 0)
                longest = k;
    }
    return longest;
}

static struct joined join(struct stream *s, int32_t id)
{
    struct detokenizer *d = &s->detokenizer;
    struct joined joined = { .begin = s->offset + s->text.n };
    bool was_first = d->first;
    if (s->keep_special && tokenizer_is_special(d->t, id)) {
        detokenizer_end(d, &s->text);
        tokenizer_decode(d->t, id, /* special= */ true, &s->text);
    } else {
        detokenizer_push(d, id, &s->text);
    }
    joined.is_first = was_first && !d->first;
    return joined;
}

/* The stop string at `at` ends the text; tokens wholly behind it are forgotten. */
static void cut(struct stream *s, size_t at)
{
    s->text.n = at;
    s->text.p[at] = '\0';
    s->stopped = true;
    while (s->n_kept && s->kept[s->n_kept - 1].begin >= s->offset + s->text.n)
        free(s->kept[--s->n_kept].memory);
}

int stream_push(struct stream *s, const struct engine_token *token, bool with_bytes)
{
    settle(s);
    struct joined joined = join(s, token->chosen.id);
    if (buf_err(&s->text) < 0)
        return buf_err(&s->text);
    if (s->keep_tokens) {
        int r = keep(s, token, with_bytes, joined);
        if (r < 0)
            return r;
    }
    if (s->n_pushed++ < s->min_tokens)
        return 0;
    size_t n_stop = 0;
    ptrdiff_t at = find_stop(s, &n_stop);
    if (at < 0)
        return 0;
    cut(s, (size_t)at + (s->keep_stop ? n_stop : 0));
    return STREAM_STOPPED;
}

int stream_end(struct stream *s)
{
    settle(s);
    if (s->stopped)
        return 0;
    detokenizer_end(&s->detokenizer, &s->text);
    s->ended = true;
    return buf_err(&s->text);
}

bool stream_take(struct stream *s, struct str *ret_text, const struct engine_token **ret_tokens,
                 size_t *ret_n_tokens)
{
    settle(s);
    bool all = s->stopped || s->ended;
    size_t n = all ? s->text.n : s->text.n - stop_prefix(s);
    if (n == 0 && !all)
        return false;
    for (size_t i = 0; i < s->n_kept && (all || s->kept[i].end <= s->offset + n); i++)
        s->out[s->n_out++] = s->kept[i].token;
    if (n == 0 && s->n_out == 0)
        return false;
    s->taken = n;
    *ret_text = (struct str){ s->text.p, n };
    *ret_tokens = s->n_out ? s->out : NULL;
    *ret_n_tokens = s->n_out;
    return true;
}
