/*
 * Text as the detectors see it: symbols, folded to ASCII, read through a cursor that notices when
 * an answer depends on bytes that have not come yet. Private to this folder.
 */
#pragma once

#include "router/signals/pii/pii.h"

/* Symbols above ASCII. SYM_END is also what lies beyond the cursor's reach. */
enum {
    SYM_END = 0,
    SYM_LETTER = 128, /* of a script that parts words: é, ж, ش */
    SYM_HAN,          /* of a script that does not: 漢, か, ก */
    SYM_OTHER,        /* anything else: punctuation, emoji, malformed bytes */
    SYM_ZERO,         /* has no width: looked through, never returned */
};

struct pii_cursor {
    const unsigned char *p;
    size_t n;
    bool end;           /* nothing follows p[n - 1] */
    size_t at;          /* start of the candidate … */
    size_t limit;       /* … and where reading from it stops */
    bool more;          /* an answer needed bytes past n: it does not count */
    unsigned prev;      /* symbol before `at` */
    size_t prev_at;     /* its first byte */
    size_t email_clear; /* no e-mail address begins in [at, email_clear) */
    unsigned context;   /* enum pii_context bits, once asked */
    bool has_context;
};

/* Symbol of the bytes at pos < c->n, SYM_ZERO included; a sequence that the end cuts asks for more.
 */
unsigned pii_symbol(struct pii_cursor *c, size_t pos, size_t *ret_next);
unsigned pii_peek_slow(struct pii_cursor *c, size_t pos, size_t *ret_next);
/* Symbol at pos, zero-width ones skipped; *ret_next is behind it. */
static inline unsigned pii_peek(struct pii_cursor *c, size_t pos, size_t *ret_next)
{
    if (pos >= c->n || pos >= c->limit || (unsigned char)(c->p[pos] - 1) >= 127)
        return pii_peek_slow(c, pos, ret_next);
    *ret_next = pos + 1;
    return c->p[pos];
}
/* Symbol before pos, at most PII_BACK bytes before the candidate; SYM_END: none. */
unsigned pii_before(const struct pii_cursor *c, size_t pos, size_t *ret_start);
void pii_place(struct pii_cursor *c, size_t at); /* puts the cursor on a candidate */

static inline bool sym_digit(unsigned s)
{
    return s >= '0' && s <= '9';
}

static inline bool sym_alpha(unsigned s)
{
    return (s | 32) >= 'a' && (s | 32) <= 'z' && s < 128;
}

static inline bool sym_alnum(unsigned s) /* ASCII */
{
    return sym_digit(s) || sym_alpha(s);
}

static inline bool sym_word(unsigned s) /* continues a word, so that nothing begins behind it */
{
    return sym_alnum(s) || s == SYM_LETTER;
}

static inline unsigned sym_lower(unsigned s)
{
    return s >= 'A' && s <= 'Z' ? s | 32 : s;
}

static inline int sym_hex(unsigned s) /* -1: not a hexadecimal digit */
{
    if (sym_digit(s))
        return (int)(s - '0');
    unsigned l = sym_lower(s);
    return l >= 'a' && l <= 'f' ? (int)(l - 'a') + 10 : -1;
}

/* What the words before the candidate talk about; the nearest one that says something counts. */
enum pii_context {
    CONTEXT_phone = 1,
    CONTEXT_ssn = 2,
    CONTEXT_id = 4,      /* orders, serial numbers, ISBNs: numbers that are nobody's */
    CONTEXT_version = 8, /* versions, sections */
    CONTEXT_number = 16, /* "number", and nothing that says of what */
};
unsigned pii_context(struct pii_cursor *c);

/* The detectors: an entity that begins exactly at c->at. They fill end, score and open. */
bool pii_email(struct pii_cursor *c, struct pii_hit *ret);
bool pii_iban(struct pii_cursor *c, struct pii_hit *ret);
bool pii_card(struct pii_cursor *c, struct pii_hit *ret);
bool pii_ip(struct pii_cursor *c, struct pii_hit *ret);
bool pii_ssn(struct pii_cursor *c, struct pii_hit *ret);
bool pii_phone(struct pii_cursor *c, struct pii_hit *ret);

/* A number that goes on behind a joint: "-4", ".4", "/4" right before or after. */
bool pii_joined_before(const struct pii_cursor *c);
bool pii_joined_after(struct pii_cursor *c, size_t pos);
