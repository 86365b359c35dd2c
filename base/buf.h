/*
 * A growing byte buffer with a ceiling and a sticky error: append freely, check once.
 *
 * Not thread-safe. The content is always followed by a NUL that is not counted.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdint.h>

struct buf {
    char *p;    /* owned; NULL while empty */
    size_t n;   /* bytes used */
    size_t cap; /* bytes allocated */
    size_t max; /* ceiling in bytes: growing past it is -EMSGSIZE */
    int err;    /* first error, sticky */
};

#define BUF_INIT(ceiling) ((struct buf){ .max = (ceiling) })
/* On the caller's own array, without memory from elsewhere: not for buf_done, nor buf_take. */
#define BUF_ON(array) ((struct buf){ .p = (array), .cap = sizeof(array), .max = sizeof(array) - 1 })

void buf_done(struct buf *b);  /* frees; usable with CLEANUP; the buffer may be used again */
void buf_clear(struct buf *b); /* empties, keeps the memory, forgets the error */
void buf_add(struct buf *b, struct str s);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *cstr);
void buf_add_u64(struct buf *b, uint64_t x);
/* x / 10^decimals without zeros at its end: "0.25", "3". At most 18 decimals. */
void buf_add_decimal(struct buf *b, uint64_t x, unsigned decimals);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);
void buf_add_json(struct buf *b, struct str s); /* quoted JSON string; malformed UTF-8 → U+FFFD */
void buf_add_json_chars(struct buf *b, struct str s); /* the same without the quotes */
void buf_add_base64(struct buf *b, struct str s);     /* RFC 4648, padded */
/* Percent-encoded (RFC 3986): all but letters, digits and "-._~". */
void buf_add_escaped(struct buf *b, struct str s);
void buf_cut(struct buf *b, size_t n); /* drops the first n bytes */
char *buf_space(struct buf *b,
                size_t n); /* room for n more bytes, NULL on error; then add to b->n */
int buf_err(const struct buf *b) MUST_USE; /* 0, -ENOMEM or -EMSGSIZE */
struct str buf_str(const struct buf *b);   /* borrowed until the next change */
char *buf_take(struct buf *b,
               size_t *ret_len); /* moved to the caller, NUL-terminated; NULL on error */
