/*
 * A view of bytes that somebody else owns. Passed by value; never NUL-terminated by promise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *p; /* borrowed; may be NULL when n is 0 */
    size_t n;      /* bytes */
};

#define STR(literal) ((struct str){ "" literal, sizeof(literal) - 1 })
#define STR_NULL ((struct str){ NULL, 0 })
#define STR_FMT "%.*s" /* printf("%" STR_FMT, STR_ARG(s)) is spelt "x=" STR_FMT */
#define STR_ARG(s) ((int)((s).n > 4096 ? 4096 : (s).n)), ((s).p ? (s).p : "")

static inline struct str str_of(const char *cstr) /* NULL gives the empty view */
{
    return (struct str){ cstr, cstr ? strlen(cstr) : 0 };
}

static inline struct str str_sub(struct str s, size_t from) /* from beyond the end: empty */
{
    return from >= s.n ? (struct str){ s.p + s.n, 0 } : (struct str){ s.p + from, s.n - from };
}

static inline struct str str_head(struct str s, size_t n)
{
    return (struct str){ s.p, n < s.n ? n : s.n };
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Of a literal: its length is compared first, and no function is called for a short one. */
static inline bool str_is(struct str a, const char *cstr)
{
    return str_eq(a, str_of(cstr));
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII */
int str_cmp(struct str a, struct str b);        /* like memcmp, shorter first on a tie */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s);                 /* without ASCII white space at both ends */
ptrdiff_t str_find(struct str s, struct str what); /* first offset, or -1 */
bool str_cut(struct str s, char sep, struct str *ret_before, struct str *ret_after);
/* at the first sep; false: not found, outputs untouched */
char *str_dup(struct str s); /* NUL-terminated copy, owned by the caller; NULL: no memory */

/*
 * Next code point of well-formed UTF-8 at *pos (advanced); U+FFFD and one byte for a malformed
 * sequence; -1 at the end.
 */
int str_utf8_next(struct str s, size_t *pos);

/* Writes cp (at most U+10FFFF) as UTF-8 and returns the bytes used, 1 to 4. */
size_t str_utf8_put(char ret[static 4], unsigned cp);

/* Length of the longest prefix that does not end inside a UTF-8 sequence. */
size_t str_utf8_whole(struct str s);

bool str_utf8_valid(struct str s);

/* The candidate with the least edit distance to `word` (at most 1 + a third of its length), or
 * NULL. */
const char *str_suggest(const char *word, const char *const *candidates, size_t n);
