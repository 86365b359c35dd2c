/*
 * What the lexical signals need of Unicode: word characters, scripts without spaces, case folding.
 *
 * Pure functions over constant tables (made at build time by unicode_tables.py); any thread.
 */
#pragma once

#include "base/arena.h"

bool unicode_word(int cp);  /* letter, mark, number or connecting punctuation ('_') */
bool unicode_alnum(int cp); /* letter or decimal digit */
bool unicode_dense(int cp); /* a word character of a script that glues words together */
bool unicode_cjk(int cp);   /* Han, Kana or Hangul: one character is one unit of text */
int unicode_fold(int cp);   /* simple case folding: one code point to one */
int unicode_compose(int base, int mark); /* "e" and U+0301 are "é"; -1: no such letter */

int unicode_before(struct str s, size_t at); /* the code point that ends at `at`, or -1 */
int unicode_after(struct str s, size_t at);  /* the code point that begins at `at`, or -1 */

/*
 * Whether text[from, to) begins and ends at word boundaries. An edge inside, or next to, a script
 * without spaces is always a boundary; so is an edge of the match that is no word character.
 */
bool unicode_bounded(struct str text, size_t from, size_t to);

/* Case folded, composed copy with plain apostrophes; malformed bytes become U+FFFD. p is NULL when
 * there is no memory. */
struct str unicode_fold_text(struct str s, struct arena *arena);
/* The same; *ret_only_case: nothing but case was changed. */
struct str unicode_fold_text_noting(struct str s, struct arena *arena, bool *ret_only_case);
/* `s` itself when it is valid UTF-8, else a copy with U+FFFD for malformed bytes; p NULL: memory */
struct str unicode_valid_text(struct str s, struct arena *arena);

/*
 * The units of a multilingual text, in order: each Han, Kana or Hangul character, and each run of
 * other letters and digits with their marks. False at the end.
 */
bool unicode_next_unit(struct str s, size_t *pos, struct str *ret_unit);
size_t unicode_units(struct str s);
