/*
 * Tells languages of one script apart by the words of a text: a linear classifier over hashed runs
 * of 1 to 5 characters ("feature hashing", Weinberger et al. 2009), made by
 * models/tools/train_language.py.
 *
 * The file, little-endian: "RSLANG1\0"; u32 groups; f32 temperature, f32 temperature a word. A
 * group: char[12] script; u32 languages, rows (a power of 2), longest run; f32 scale; for each
 * language char[4] code and f32 prior; rows × languages signed bytes; LANGID_PAD bytes; zeroes up
 * to a multiple of 4.
 *
 * An opened model borrows its bytes and is immutable; any thread.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#include <stdint.h>

enum {
    LANGID_LANGUAGES = 64, /* of a script, at most */
    LANGID_GROUPS = 8,     /* scripts, at most */
    LANGID_WORD = 24,      /* letters of a word that are read */
    LANGID_PAD = 64,       /* bytes behind a table that may be read with its last row */
};

struct langid_language {
    char code[4]; /* NUL-terminated ISO 639 */
    float prior;  /* log-odds before anything is read */
};

struct langid_group {
    char script[12];
    uint32_t languages, rows, longest;
    float scale; /* of one step of a weight, in log-odds */
    struct langid_language language[LANGID_LANGUAGES];
    const int8_t *weights; /* rows × languages; borrowed */
};

struct langid {
    float temperature,
        temperature_word; /* log-odds of n words are divided by the one + n × the other */
    uint32_t n;
    struct langid_group groups[LANGID_GROUPS];
};

/* Reads and checks a file; the bytes are borrowed for the model's life. 0 or -EINVAL. */
int langid_open(struct langid *ret, struct str bytes) MUST_USE;

const struct langid_group *langid_group(const struct langid *m, const char *script); /* or NULL */

/*
 * Adds to sums[0 … languages) what one word says, in steps of the group's scale. The letters are
 * case folded code points; those beyond LANGID_WORD are not read.
 */
void langid_add(const struct langid_group *g, const uint32_t *letters, size_t n, int32_t *sums);
