#include "engine/local/stream.h"

#include "base/limits.h"
#include "base/num.h"
#include "engine/local/tool_parser.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct kept_token {
    struct engine_token token;
    uint64_t begin, end; /* of its text, in bytes since the sequence began */
    void *memory;        /* owned: its top list and bytes; NULL when it has none */
};

/* A stretch of the answer: text and reasoning grow at the end, a call's event is whole. */
struct item {
    enum engine_event_kind kind;
    size_t n;            /* bytes of it in `text` */
    uint64_t begin, end; /* the bytes of the sequence behind it */
    uint32_t call;       /* its index */
    struct str name;     /* borrowed from the parser; of a call's first event */
    char id[32];
};

struct stream {
    struct detokenizer detokenizer;
    const struct tool_format *format; /* borrowed; NULL: all is text */
    char *stop_bytes;                 /* owned: all stop strings, one after another */
    struct str *stops;                /* owned array of views into stop_bytes */
    struct str stop;                  /* one of them: it ended the text */
    size_t n_stops;
    bool keep_tokens, keep_stop, keep_special, stopped, ended;
    uint32_t n_pushed, min_tokens;

    struct tool_parser *parser; /* owned; NULL: all is text */
    struct buf input;           /* scratch: what a token adds */
    uint64_t fed;               /* bytes decoded since the sequence began */
    uint32_t n_reasoning;       /* tokens */
    int err;                    /* of an event that could not be kept */

    struct buf text;    /* of the items, one after another */
    size_t taken;       /* bytes at the head of `text` that the last take gave away */
    struct item *items; /* owned; not yet taken */
    size_t n_items, cap_items;
    bool pop;          /* the first item was given away */
    struct item given; /* what the last take views */
    uint64_t left;     /* where the last item that was given away ends */
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

/* ---- what leaves ---- */

static struct str item_text(const struct stream *s, size_t i)
{
    size_t from = 0;
    for (size_t k = 0; k < i; k++)
        from += s->items[k].n;
    return (struct str){ s->text.p + from, s->items[i].n };
}

/* The item that an event goes to: the last one, where it only grows, or a new one. */
static struct item *item_for(struct stream *s, const struct tool_parser_event *e)
{
    struct item *last = s->n_items ? &s->items[s->n_items - 1] : NULL;
    if (last && last->kind == e->kind && e->kind != ENGINE_EVENT_tool_call && last->end == e->begin)
        return last;
    if (s->n_items == s->cap_items) {
        size_t cap = s->cap_items ? 2 * s->cap_items : 4;
        struct item *items = realloc(s->items, cap * sizeof(*items));
        if (!items)
            return NULL;
        s->items = items;
        s->cap_items = cap;
    }
    last = &s->items[s->n_items++];
    *last = (struct item){ .kind = e->kind, .begin = e->begin };
    return last;
}

static void cut_at_stop(struct stream *s);

static void on_part(void *owner, const struct tool_parser_event *e)
{
    struct stream *s = owner;
    if (s->stopped)
        return;
    struct item *i = item_for(s, e);
    if (!i) {
        s->err = -ENOMEM;
        return;
    }
    struct str text = e->kind == ENGINE_EVENT_tool_call ? e->call.arguments : e->text;
    buf_add(&s->text, text);
    i->n += text.n;
    i->end = e->end;
    i->call = e->call.index;
    i->name = e->call.name;
    assert(e->call.id.n < sizeof(i->id));
    if (e->call.id.n)
        memcpy(i->id, e->call.id.p, e->call.id.n);
    if (e->kind == ENGINE_EVENT_text && buf_err(&s->text) == 0)
        cut_at_stop(s);
}

static int make_parser(struct stream *s, const struct stream_options *o)
{
    struct tool_parser_options options = {
        .format = o->format,
        .tools = o->tools,
        .n_tools = o->n_tools,
        .opened = o->opened,
        .whole = o->whole_calls,
        .single = o->single_call,
        .forced = o->forced_calls,
        .on_event = on_part,
        .owner = s,
    };
    s->format = o->format;
    return o->format ? tool_parser_new(&s->parser, &options) : 0;
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
    s->input = BUF_INIT(LIMIT_SSE_EVENT);
    s->pieces = BUF_INIT(LIMIT_SSE_EVENT);
    int r = copy_stops(s, o);
    if (r == 0)
        r = make_parser(s, o);
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
    s->parser = tool_parser_free(s->parser);
    free(s->items);
    buf_done(&s->input);
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
        s->taken = 0;
    }
    if (s->pop) {
        memmove(s->items, s->items + 1, --s->n_items * sizeof(*s->items));
        s->pop = false;
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
    uint64_t begin; /* where, in bytes since the sequence began */
    bool is_first;  /* of all text */
};

static int keep(struct stream *s, const struct engine_token *token, bool with_bytes,
                struct joined joined)
{
    int r = grow_kept(s);
    if (r < 0)
        return r;
    struct kept_token *k = &s->kept[s->n_kept];
    *k = (struct kept_token){ .token = *token, .begin = joined.begin, .end = s->fed };
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

/* Where the first complete stop string begins, or -1; *ret: which. All before the window left, so
 * no stop began there. */
static ptrdiff_t find_stop(const struct stream *s, struct str window, struct str *ret)
{
    ptrdiff_t first = -1;
    for (size_t i = 0; i < s->n_stops; i++) {
        ptrdiff_t at = str_find(
            first < 0 ? window : str_head(window, (size_t)first + s->stops[i].n), s->stops[i]);
        if (at < 0 || (first >= 0 && at >= first))
            continue;
        first = at;
        *ret = s->stops[i];
    }
    return first;
}

/* Bytes at the end of the text that begin a stop string. */
static size_t stop_prefix(const struct stream *s, struct str text)
{
    size_t longest = 0, n = text.n;
    for (size_t i = 0; i < s->n_stops; i++) {
        struct str stop = s->stops[i];
        size_t k = n < stop.n - 1 ? n : stop.n - 1;
        for (; k > longest; k--)
            if (text.p[n - k] == stop.p[0] && memcmp(text.p + n - k, stop.p, k) == 0)
                longest = k;
    }
    return longest;
}

/* The last item is text and grew: it ends where a stop string does. Tokens wholly behind it are
 * forgotten. */
static void cut_at_stop(struct stream *s)
{
    struct item *last = &s->items[s->n_items - 1];
    struct str stop = STR_NULL;
    ptrdiff_t at =
        s->n_pushed < s->min_tokens ? -1 : find_stop(s, item_text(s, s->n_items - 1), &stop);
    if (at < 0)
        return;
    size_t lost = last->n - (size_t)at - (s->keep_stop ? stop.n : 0);
    s->stop = stop;
    last->n -= lost;
    last->end -= lost;
    s->text.n -= lost;
    s->text.p[s->text.n] = '\0';
    s->stopped = true;
    while (s->n_kept && s->kept[s->n_kept - 1].begin >= last->end)
        free(s->kept[--s->n_kept].memory);
}

/* ---- tokens in ---- */

static int error_of(const struct stream *s)
{
    if (s->err < 0)
        return s->err;
    return buf_err(&s->input) < 0 ? buf_err(&s->input) : buf_err(&s->text);
}

/* Control tokens show where that was asked for, or where the format gives them a meaning. */
static bool is_spelt(const struct stream *s, int32_t id)
{
    const struct tokenizer *t = s->detokenizer.t;
    if (!tokenizer_is_special(t, id))
        return false;
    return s->keep_special ||
           (s->format && tool_format_is_mark(s->format, tokenizer_token_text(t, id)));
}

/* What a token adds goes to `input`. */
static struct joined decode(struct stream *s, int32_t id)
{
    struct detokenizer *d = &s->detokenizer;
    struct joined joined = { .begin = s->fed };
    bool was_first = d->first;
    buf_clear(&s->input);
    if (is_spelt(s, id)) {
        detokenizer_end(d, &s->input);
        tokenizer_decode(d->t, id, /* special= */ true, &s->input);
    } else {
        detokenizer_push(d, id, &s->input);
    }
    s->fed += s->input.n;
    joined.is_first = was_first && !d->first;
    return joined;
}

/* The decoded bytes become items. 0, STREAM_STOPPED or negative errno. */
static int feed(struct stream *s, uint64_t begin)
{
    int r = 0;
    if (s->parser)
        r = tool_parser_push(s->parser, buf_str(&s->input));
    else if (s->input.n)
        on_part(s, &(struct tool_parser_event){ .kind = ENGINE_EVENT_text,
                                                .text = buf_str(&s->input),
                                                .begin = begin,
                                                .end = s->fed });
    if (r < 0 || error_of(s) < 0)
        return r < 0 ? r : error_of(s);
    return r == TOOL_PARSER_ENOUGH || s->stopped ? STREAM_STOPPED : 0;
}

int stream_push(struct stream *s, const struct engine_token *token, bool with_bytes)
{
    settle(s);
    s->n_reasoning += s->parser && tool_parser_is_thinking(s->parser);
    struct joined joined = decode(s, token->chosen.id);
    if (s->keep_tokens) {
        int r = keep(s, token, with_bytes, joined);
        if (r < 0)
            return r;
    }
    int r = feed(s, joined.begin);
    s->n_pushed++;
    return r;
}

int stream_end(struct stream *s, bool cut)
{
    settle(s);
    if (s->stopped)
        return 0;
    uint64_t begin = s->fed;
    buf_clear(&s->input);
    detokenizer_end(&s->detokenizer, &s->input);
    s->fed += s->input.n;
    int r = feed(s, begin);
    if (r == 0 && s->parser)
        r = tool_parser_end(s->parser, cut);
    s->ended = true;
    return r < 0 ? r : error_of(s);
}

/* ---- events out ---- */

/* Tokens whose text ends there leave too. */
static void take_tokens(struct stream *s, uint64_t end, bool all, struct engine_event *e)
{
    for (size_t i = 0; i < s->n_kept && (all || s->kept[i].end <= end); i++)
        s->out[s->n_out++] = s->kept[i].token;
    e->tokens = s->n_out ? s->out : NULL;
    e->n_tokens = s->n_out;
}

/* Tokens of marks in front of the next item. */
static bool take_marks(struct stream *s, uint64_t begin, struct engine_event *e)
{
    if (begin <= s->left || s->n_kept == 0 || s->kept[0].end > begin || !s->parser)
        return false;
    e->kind = ENGINE_EVENT_reasoning;
    s->left = begin;
    take_tokens(s, begin, false, e);
    return true;
}

static bool take_rest(struct stream *s, struct engine_event *e)
{
    if (!s->stopped && !s->ended)
        return false;
    take_tokens(s, 0, true, e);
    if (s->parser)
        e->kind = ENGINE_EVENT_reasoning;
    return e->n_tokens > 0;
}

static void fill(const struct stream *s, struct engine_event *e)
{
    const struct item *i = &s->given;
    struct str text = { s->text.p, s->taken };
    e->kind = i->kind;
    if (i->kind == ENGINE_EVENT_tool_call)
        e->call = (struct engine_call){
            .index = i->call, .id = str_of(i->id), .name = i->name, .arguments = text
        };
    else
        e->text = text;
}

bool stream_take(struct stream *s, struct engine_event *ret)
{
    settle(s);
    ret->kind = ENGINE_EVENT_text;
    ret->text = STR_NULL;
    ret->call = (struct engine_call){ 0 };
    ret->tokens = NULL;
    ret->n_tokens = 0;
    bool all = s->stopped || s->ended;
    for (; s->n_items; settle(s)) {
        struct item *i = &s->items[0];
        bool last = s->n_items == 1, grows = last && !all && i->kind == ENGINE_EVENT_text;
        size_t n = i->n - (grows ? stop_prefix(s, item_text(s, 0)) : 0);
        if (n == 0 && i->kind != ENGINE_EVENT_tool_call) {
            s->pop = !grows && !last;
            if (s->pop)
                continue;
            return take_rest(s, ret);
        }
        if (take_marks(s, i->begin, ret))
            return true;
        s->given = *i;
        s->taken = n;
        s->pop = n == i->n;
        s->left = s->pop ? i->end : i->begin + n;
        i->n -= n;
        i->begin += n;
        fill(s, ret);
        take_tokens(s, s->left, all && last && !s->parser, ret);
        return true;
    }
    return take_rest(s, ret);
}

struct str stream_stop(const struct stream *s)
{
    return s->stop;
}

size_t stream_calls(const struct stream *s)
{
    return s->parser ? tool_parser_calls(s->parser) : 0;
}

uint32_t stream_reasoning(const struct stream *s)
{
    return s->n_reasoning;
}
