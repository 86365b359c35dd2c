/*
 * JSON read one byte at a time: is what came so far the beginning of a value, and where are its
 * parts. Nothing is stored.
 *
 * Control characters inside strings are let through and pointed out: models write raw newlines
 * there, and whoever forwards the text escapes them.
 */
#pragma once

#include "base/str.h"

#include <stdint.h>

enum json_scan_state {
    JSON_SCAN_value,     /* a value must begin */
    JSON_SCAN_first,     /* after '[': a value or ']' */
    JSON_SCAN_first_key, /* after '{': a key or '}' */
    JSON_SCAN_next_key,  /* after ',' in an object */
    JSON_SCAN_in_key,
    JSON_SCAN_colon,
    JSON_SCAN_in_text,
    JSON_SCAN_in_number,
    JSON_SCAN_in_word, /* true, false, null */
    JSON_SCAN_after,   /* a value ended: ',' or the end of what holds it */
    JSON_SCAN_done,
};

struct json_scan { /* zero: before the value */
    enum json_scan_state state;
    unsigned depth;   /* open arrays and objects */
    uint64_t objects; /* bit d: the container at depth d + 1 is an object */
    uint8_t escape;   /* of a string: 1 after '\', else hex digits that must follow, plus 1 */
    uint8_t number;   /* which part of a number */
    const char *word; /* what is left of true, false or null */
};

enum json_step { JSON_STEP_bad = -1, JSON_STEP_more = 0, JSON_STEP_done = 1 };

/* Takes the next byte. done: it completes the value, an array, object or string (a number at the
 * top never ends). After bad or done nothing more may be given. */
enum json_step json_scan(struct json_scan *s, char c);
/* Whether c, if it came now, would be a raw control character inside a string. */
bool json_scan_is_raw(const struct json_scan *s, char c);
