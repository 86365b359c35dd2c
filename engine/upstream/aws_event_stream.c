#include "engine/upstream/aws_event_stream.h"

#include <errno.h>
#include <stdint.h>
#include <zlib.h>

enum {
    PRELUDE = 8,                     /* two lengths */
    SUM = 4,                         /* a CRC-32 */
    FRAME_MIN = PRELUDE + SUM + SUM, /* no headers, no payload */
    MAX_HEADERS = 128 * 1024,        /* by the encoding */
};

/* Types of header values. */
enum {
    VALUE_true,
    VALUE_false,
    VALUE_byte,
    VALUE_short,
    VALUE_int,
    VALUE_long,
    VALUE_bytes,
    VALUE_string,
    VALUE_timestamp,
    VALUE_uuid,
};

static uint32_t get_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint32_t sum_of(const char *p, size_t n)
{
    return (uint32_t)crc32_z(0, (const unsigned char *)p, n);
}

/* Takes n bytes off the front; false: there are fewer. */
static bool take(struct str *from, size_t n, struct str *ret)
{
    if (from->n < n)
        return false;
    *ret = str_head(*from, n);
    *from = str_sub(*from, n);
    return true;
}

/* Takes bytes that follow their length, of `width` bytes. */
static bool take_sized(struct str *from, size_t width, struct str *ret)
{
    struct str n;
    if (!take(from, width, &n))
        return false;
    size_t length = 0;
    for (size_t i = 0; i < width; i++)
        length = length << 8 | (unsigned char)n.p[i];
    return take(from, length, ret);
}

static bool take_value(struct str *from, unsigned char type, struct str *ret)
{
    static const unsigned char widths[] = {
        [VALUE_byte] = 1, [VALUE_short] = 2,     [VALUE_int] = 4,
        [VALUE_long] = 8, [VALUE_timestamp] = 8, [VALUE_uuid] = 16,
    };
    if (type == VALUE_bytes || type == VALUE_string)
        return take_sized(from, 2, ret);
    return type < sizeof(widths) && take(from, widths[type], ret);
}

static int read_headers(struct str headers, struct aws_event *ret)
{
    const struct {
        const char *name;
        struct str *to;
    } known[] = {
        { ":message-type", &ret->message_type },   { ":event-type", &ret->event_type },
        { ":exception-type", &ret->failure },      { ":error-code", &ret->failure },
        { ":error-message", &ret->error_message },
    };
    while (headers.n) {
        struct str name, type, value;
        if (!take_sized(&headers, 1, &name) || !take(&headers, 1, &type) ||
            !take_value(&headers, (unsigned char)type.p[0], &value))
            return -EBADMSG;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            if (type.p[0] == VALUE_string && str_is(name, known[i].name))
                *known[i].to = value;
    }
    return 0;
}

/* How long the frame is that begins here; 0: not known yet. */
static int frame_length(struct str bytes, size_t max, size_t *ret)
{
    *ret = 0;
    if (bytes.n < PRELUDE + SUM)
        return 0;
    uint32_t all = get_u32(bytes.p), headers = get_u32(bytes.p + 4);
    if (sum_of(bytes.p, PRELUDE) != get_u32(bytes.p + PRELUDE))
        return -EBADMSG;
    if (all < FRAME_MIN || headers > MAX_HEADERS || headers > all - FRAME_MIN)
        return -EBADMSG;
    if (all > max)
        return -EMSGSIZE;
    *ret = all;
    return 0;
}

static int tell(struct str frame, aws_event_fn fn, void *ctx)
{
    struct aws_event event = { 0 };
    size_t headers = get_u32(frame.p + 4), covered = frame.n - SUM;
    if (sum_of(frame.p, covered) != get_u32(frame.p + covered))
        return -EBADMSG;
    struct str inner = str_sub(str_head(frame, covered), PRELUDE + SUM);
    int r = read_headers(str_head(inner, headers), &event);
    event.payload = str_sub(inner, headers);
    return r != 0 ? r : fn(ctx, &event);
}

/* Completes what was begun; takes what it needs off `bytes`. */
static int push_part(struct aws_event_stream *s, struct str *bytes, aws_event_fn fn, void *ctx)
{
    for (size_t length;;) {
        int r = frame_length(buf_str(&s->part), s->part.max, &length);
        if (r != 0)
            return r;
        if (length && s->part.n == length) {
            r = tell(buf_str(&s->part), fn, ctx);
            buf_clear(&s->part);
            return r;
        }
        if (bytes->n == 0)
            return 0;
        struct str piece = str_head(*bytes, (length ? length : PRELUDE + SUM) - s->part.n);
        buf_add(&s->part, piece);
        *bytes = str_sub(*bytes, piece.n);
        if ((r = buf_err(&s->part)) != 0)
            return r;
    }
}

static int push(struct aws_event_stream *s, struct str bytes, aws_event_fn fn, void *ctx)
{
    int r = s->part.n ? push_part(s, &bytes, fn, ctx) : 0;
    while (r == 0 && bytes.n) {
        size_t length;
        r = frame_length(bytes, s->part.max, &length);
        if (r != 0)
            return r;
        if (length == 0 || bytes.n < length) {
            buf_add(&s->part, bytes);
            return buf_err(&s->part);
        }
        r = tell(str_head(bytes, length), fn, ctx);
        bytes = str_sub(bytes, length);
    }
    return r;
}

int aws_event_stream_push(struct aws_event_stream *s, struct str bytes, aws_event_fn fn, void *ctx)
{
    if (s->err == 0)
        s->err = push(s, bytes, fn, ctx);
    return s->err;
}

bool aws_event_stream_is_open(const struct aws_event_stream *s)
{
    return s->part.n > 0;
}

void aws_event_stream_done(struct aws_event_stream *s)
{
    buf_done(&s->part);
}
