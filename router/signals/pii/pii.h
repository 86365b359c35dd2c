/*
 * Personal data in text: e-mail addresses, phone numbers, payment cards, IBANs, US social security
 * numbers, IP addresses. Shared by the `pii` signal and the `pii` plugin.
 *
 * Pure functions over bytes; any thread. A detector reads at most PII_READ bytes from the first
 * byte of an entity and PII_BACK bytes before it, and says "more" when it would have to read past
 * what there is. So the answer for a byte never depends on how the text was cut, and a stream
 * needs to withhold less than PII_READ + 4 bytes, at most.
 *
 * Full-width and other Unicode digits, letters, dashes and blanks count as their ASCII fellows;
 * zero-width characters are looked through.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

/* X(type, the longest entity in bytes, as it is written in what form) */
#define PII_TYPES(X)                                                                               \
    X(EMAIL_ADDRESS)                                                                               \
    X(PHONE_NUMBER)                                                                                \
    X(CREDIT_CARD)                                                                                 \
    X(IBAN_CODE)                                                                                   \
    X(US_SSN)                                                                                      \
    X(IP_ADDRESS)

enum pii_type {
#define PII_ENUM(type) PII_##type,
    PII_TYPES(PII_ENUM)
#undef PII_ENUM
        PII_N
};

#define PII_READ 500        /* bytes a detector may read from the start of an entity */
#define PII_BACK 64         /* bytes before an entity that may matter */
#define PII_EMAIL_LOCAL 240 /* bytes before the '@'; of a longer run only the last ones count */
#define PII_EMAIL_DOMAIN 248

struct pii_hit {
    enum pii_type type;
    size_t start, end; /* bytes, end exclusive */
    double score;      /* 1: a checksum or a full grammar holds; below: shape and context */
    bool open;         /* it goes on for as long as pii_tail says, which may be past the text */
};

const char *pii_name(enum pii_type type);        /* "EMAIL_ADDRESS" */
const char *const *pii_names(void);              /* all PII_N of them */
int pii_of(struct str name, enum pii_type *ret); /* case does not matter; -ENOENT */

/*
 * Looks for the first entity at or after `from`; bytes before it are context. `end`: the text is
 * complete. True: *ret is it. *ret_clean (always set) is where the decided part ends: up to there
 * (or up to the entity) nothing begins; without `end`, what follows must be asked again, with more.
 */
bool pii_next(struct str text, size_t from, bool end, struct pii_hit *ret, size_t *ret_clean);

/* Bytes at `from` that belong to an entity that is still open. */
size_t pii_tail(struct str text, size_t from);
