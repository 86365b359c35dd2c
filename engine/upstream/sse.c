#include "engine/upstream/sse.h"

#include <errno.h>

#include "base/limits.h"

#define BOM "\xEF\xBB\xBF"

/* A buffer above this gives its memory back with its event: one large event must not cost a stream
 * that memory for the rest of its life. */
#define KEEP_BYTES (16 * KIB)

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
    buf_done(&s->name);
    s->has_data = s->begun = s->after_cr = s->data_is_view = false;
    s->view = STR_NULL;
}

static void let_go(struct buf *b)
{
    if (b->cap > KEEP_BYTES)
        buf_done(b);
    else
        buf_clear(b);
}

/* What the view shows is about to go: copies it. */
static int keep_data(struct sse *s)
{
    if (!s->data_is_view)
        return 0;
    s->data_is_view = false;
    buf_add(&s->data, s->view);
    return buf_err(&s->data);
}

static int add_data(struct sse *s, struct str value)
{
    if (!s->has_data) {
        if (value.n > s->data.max)
            return -EMSGSIZE;
        s->has_data = s->data_is_view = true;
        s->view = value;
        return 0;
    }
    int r = keep_data(s);
    if (r < 0)
        return r;
    buf_addc(&s->data, '\n');
    buf_add(&s->data, value);
    return buf_err(&s->data);
}

/* Well-formed UTF-8 of `s` in `ret`, whose ceiling allows for the growth. */
static int repair(struct str s, struct buf *ret)
{
    enum { UTF8_MAX = 4 };
    for (size_t pos = 0; pos < s.n;) {
        char text[UTF8_MAX];
        int cp = str_utf8_next(s, &pos);
        buf_add(ret, (struct str){ text, str_utf8_put(text, (unsigned)cp) });
    }
    return buf_err(ret);
}

static int tell(struct sse *s, sse_fn fn, void *ctx)
{
    enum { GROWTH = 3 }; /* a malformed byte becomes three */
    CLEANUP(buf_done) struct buf data = BUF_INIT(s->data.max * GROWTH);
    CLEANUP(buf_done) struct buf name = BUF_INIT(s->name.max * GROWTH);
    struct sse_event event = { buf_str(&s->name), s->data_is_view ? s->view : buf_str(&s->data) };
    if (!str_utf8_valid(event.data)) {
        int r = repair(event.data, &data);
        if (r < 0)
            return r;
        event.data = buf_str(&data);
    }
    if (!str_utf8_valid(event.name)) {
        int r = repair(event.name, &name);
        if (r < 0)
            return r;
        event.name = buf_str(&name);
    }
    return fn(ctx, &event);
}

/* A blank line. */
static int end_event(struct sse *s, sse_fn fn, void *ctx)
{
    int r = s->has_data ? tell(s, fn, ctx) : 0;
    s->has_data = s->data_is_view = false;
    s->view = STR_NULL;
    let_go(&s->data);
    buf_clear(&s->name);
    return r;
}

/* The value of a field: what follows the colon, without one space. */
static struct str value_at(struct str line, size_t colon)
{
    struct str value = str_sub(line, colon + 1);
    return value.n && value.p[0] == ' ' ? str_sub(value, 1) : value;
}

static int one_line(struct sse *s, struct str line, sse_fn fn, void *ctx)
{
    if (!s->begun) {
        s->begun = true;
        if (str_starts(line, STR(BOM)))
            line = str_sub(line, sizeof(BOM) - 1);
    }
    if (!line.n)
        return end_event(s, fn, ctx);
    if (str_starts(line, STR("data")) && (line.n == 4 || line.p[4] == ':'))
        return add_data(s, value_at(line, 4));
    if (str_starts(line, STR("event")) && (line.n == 5 || line.p[5] == ':')) {
        buf_clear(&s->name);
        buf_add(&s->name, value_at(line, 5));
        return buf_err(&s->name);
    }
    return 0;
}

/* A line's end was found: `rest` is what came of it in this push. */
static int finish_line(struct sse *s, struct str rest, sse_fn fn, void *ctx)
{
    if (!s->line.n)
        return one_line(s, rest, fn, ctx);
    buf_add(&s->line, rest);
    int r = buf_err(&s->line);
    if (!r)
        r = one_line(s, buf_str(&s->line), fn, ctx);
    if (!r && s->data_is_view)
        r = keep_data(s);
    let_go(&s->line);
    return r;
}

static int keep_line(struct sse *s, struct str rest)
{
    int r = keep_data(s);
    if (r < 0)
        return r;
    buf_add(&s->line, rest);
    return buf_err(&s->line);
}

int sse_push(struct sse *s, struct str bytes, sse_fn fn, void *ctx)
{
    if (s->after_cr && bytes.n) {
        s->after_cr = false;
        if (bytes.p[0] == '\n')
            bytes = str_sub(bytes, 1);
    }
    const char *lf = NULL; /* the next one; looked for once, however many CR come before it */
    while (bytes.n) {
        const char *end = bytes.p + bytes.n;
        if (!lf || lf < bytes.p) {
            lf = memchr(bytes.p, '\n', bytes.n);
            lf = lf ? lf : end;
        }
        const char *stop = memchr(bytes.p, '\r', (size_t)(lf - bytes.p));
        stop = stop ? stop : lf;
        if (stop == end)
            return keep_line(s, bytes);
        size_t n = (size_t)(stop - bytes.p), skip = 1;
        if (*stop == '\r' && stop + 1 == end)
            s->after_cr = true;
        else if (*stop == '\r' && stop[1] == '\n')
            skip = 2;
        int r = finish_line(s, str_head(bytes, n), fn, ctx);
        if (r)
            return r;
        bytes = str_sub(bytes, n + skip);
    }
    return keep_data(s);
}

bool sse_is_open(const struct sse *s)
{
    return s->has_data || s->name.n || (s->line.n && s->line.p[0] != ':');
}
