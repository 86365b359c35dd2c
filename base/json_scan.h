/*
 * The alphabet of JSON, for json_view.c and json_check.c: where runs of characters end, escapes,
 * numbers. Nothing outside base includes it.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static inline bool json_is_blank(char c)
{
    return (unsigned char)c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t');
}

static inline const char *json_past_blanks(const char *p, const char *end)
{
    while (p < end && json_is_blank(*p))
        p++;
    return p;
}

/* ---- runs of characters ---- */

/* Where a run stops. */
enum json_stop {
    JSON_STOP_special, /* at what is no plain ASCII of a string */
    JSON_STOP_quote,   /* at a quote or backslash */
    JSON_STOP_escape,  /* at a backslash */
    JSON_STOP_bracket, /* at a quote or any of {}[] */
};

/* Bytes are looked at in groups: what most strings fit in, and no function is called for. */
#if defined(__SSE2__)

enum { JSON_GROUP = 16 };

/* A bit for each byte that stops, the lowest for the first. Signed: what is not ASCII is below
 * every control character. */
static inline uint64_t json_group_hits(const char *p, enum json_stop stop)
{
    typedef signed char group __attribute__((vector_size(JSON_GROUP)));
    group c, hits;
    memcpy(&c, p, sizeof(c));
    if (stop == JSON_STOP_bracket) {
        group folded = c | ('a' - 'A'); /* [ and { are a case apart, as are ] and } */
        hits = (c == '"') | (folded == '{') | (folded == '}');
    } else {
        hits = c == '\\';
        if (stop != JSON_STOP_escape)
            hits |= c == '"';
        if (stop == JSON_STOP_special)
            hits |= c < ' ';
    }
    return (uint64_t)(unsigned)_mm_movemask_epi8((__m128i)hits);
}

static inline size_t json_group_first(uint64_t hits) /* not 0 */
{
    return (size_t)__builtin_ctzll(hits);
}

#else

enum { JSON_GROUP = sizeof(uint64_t) };
#define JSON_EVERY_BYTE UINT64_C(0x0101010101010101)

/* The high bit of each byte of v that is 0. */
static inline uint64_t json_zero_bytes(uint64_t v)
{
    uint64_t low = 0x7f * JSON_EVERY_BYTE;
    return ~(((v & low) + low) | v | low);
}

/* The high bit of each byte that stops. */
static inline uint64_t json_group_hits(const char *p, enum json_stop stop)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    uint64_t quotes = json_zero_bytes(v ^ '"' * JSON_EVERY_BYTE);
    if (stop == JSON_STOP_bracket) { /* [ and { are a case apart, as are ] and } */
        uint64_t folded = v | ('a' - 'A') * JSON_EVERY_BYTE;
        return quotes | json_zero_bytes(folded ^ '{' * JSON_EVERY_BYTE) |
               json_zero_bytes(folded ^ '}' * JSON_EVERY_BYTE);
    }
    uint64_t hits = json_zero_bytes(v ^ '\\' * JSON_EVERY_BYTE);
    if (stop != JSON_STOP_escape)
        hits |= quotes;
    if (stop == JSON_STOP_special) /* below ' ': the upper three bits are 0 */
        hits |= json_zero_bytes(v & 0xe0 * JSON_EVERY_BYTE) | (v & 0x80 * JSON_EVERY_BYTE);
    return hits;
}

static inline size_t json_group_first(uint64_t hits) /* not 0 */
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return (size_t)__builtin_ctzll(hits) / 8;
#else
    return (size_t)__builtin_clzll(hits) / 8;
#endif
}

#endif

/* Moves *p to the first byte that stops, of the first group; false: none does, and p is past it
 * unless fewer bytes are left than a group has. */
static inline bool json_stops_near(const char **p, const char *end, enum json_stop stop)
{
    if (end - *p < JSON_GROUP)
        return false;
    uint64_t hits = json_group_hits(*p, stop);
    *p += hits ? json_group_first(hits) : JSON_GROUP;
    return hits;
}

/* Each: the first byte of [p, end) that stops, or end. For runs of any length. */
const char *json_far_special(const char *p, const char *end);
const char *json_far_bracket(const char *p, const char *end);

static inline const char *json_find_special(const char *p, const char *end)
{
    return json_stops_near(&p, end, JSON_STOP_special) ? p : json_far_special(p, end);
}

static inline const char *json_find_bracket(const char *p, const char *end)
{
    return json_stops_near(&p, end, JSON_STOP_bracket) ? p : json_far_bracket(p, end);
}

/* ---- tokens ---- */

/* Past the end of the string that began at `begin`, behind its quote; up to p it goes on. */
const char *json_past_far_quote(const char *begin, const char *p, const char *end);

/* Past the closing quote of the string whose opening quote is at p; NULL: it is not closed. */
static inline const char *json_past_string(const char *p, const char *end)
{
    const char *begin = ++p;
    if (json_stops_near(&p, end, JSON_STOP_quote) && *p == '"')
        return p + 1;
    return json_past_far_quote(begin, p, end);
}

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
