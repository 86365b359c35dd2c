/*
 * The alphabet of JSON, for json_view.c and json_check.c: where runs of characters end, escapes,
 * numbers. Nothing outside base includes it.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

static inline bool json_is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *json_past_blanks(const char *p, const char *end)
{
    while (p < end && json_is_blank(*p))
        p++;
    return p;
}

/* Each: the first byte of [p, end) that is …, or end. Many bytes at a time. */
const char *json_find_special(const char *p, const char *end); /* no plain ASCII of a string */
const char *json_find_bracket(const char *p, const char *end); /* a quote or any of {}[] */

/* Past the closing quote of the string whose opening quote is at p; NULL: it is not closed. */
const char *json_past_string(const char *p, const char *end);
/* Past the number at p; NULL: none is. */
const char *json_past_number(const char *p, const char *end);

/* The escape whose backslash is at *p (moved past it) as UTF-8; returns its bytes, never more than
 * were passed. Half a surrogate pair is U+FFFD; what is no escape is its backslash. */
size_t json_unescape(const char **p, const char *end, char ret[static 4]);
/* What stands between a string's quotes, decoded into `to`, which has room for s.n bytes. Returns
 * the length. */
size_t json_unescape_all(char *to, struct str s);
/* Four hexadecimal digits at p, or -1. */
int json_hex4(const char *p, const char *end);

/* The text of a string between its quotes, byte by byte. */
struct json_bytes {
    const char *p, *end;
    char held[4];
    size_t at, n; /* of held */
};
static inline struct json_bytes json_bytes(struct str inside)
{
    return (struct json_bytes){ .p = inside.p, .end = inside.p + inside.n };
}
int json_bytes_next(struct json_bytes *b); /* 0 to 255, or -1: the end */
