/*
 * JSON by views: where the parts of a text are. Nothing is copied or built, so a document of any
 * size costs one pass and no memory.
 *
 * A value is the view of its own text, without blanks around it. Every function takes malformed
 * text too and then finds nothing or stops early; what a caller must be able to trust is checked
 * once, as a whole, by json_view_check. Any thread.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

#include <stdint.h>

enum json_view_kind {
    JSON_VIEW_none, /* no value begins here */
    JSON_VIEW_object,
    JSON_VIEW_array,
    JSON_VIEW_string,
    JSON_VIEW_number,
    JSON_VIEW_true,
    JSON_VIEW_false,
    JSON_VIEW_null,
};

enum json_view_fault {
    JSON_VIEW_ok,
    JSON_VIEW_syntax,        /* not RFC 8259, or something follows the value */
    JSON_VIEW_encoding,      /* not UTF-8, or an escape that is half a surrogate pair */
    JSON_VIEW_nul,           /* \u0000 */
    JSON_VIEW_depth,         /* more open arrays and objects than allowed */
    JSON_VIEW_duplicate_key, /* twice in one object */
    JSON_VIEW_no_memory,     /* to remember the keys by; or 4 GiB and more */
};

#define JSON_VIEW_MAX_DEPTH 512 /* whatever is allowed */

/* Whether `text` is exactly one value (RFC 8259) with blanks around it. *ret_at: the byte where it
 * goes wrong; of a duplicate, its key. One pass; 8 bytes for each key of the objects that are open,
 * nothing allocated up to 128 of them. */
enum json_view_fault json_view_check(struct str text, unsigned max_depth, size_t *ret_at);

/* Takes a member; `key` as json_view_next has it. */
typedef void (*json_view_member_fn)(void *ctx, struct str key, struct str value);
/* json_view_check that gives the members of the outermost object on the way, each when it was
 * checked: at a fault, those before it. */
enum json_view_fault json_view_check_members(struct str text, unsigned max_depth, size_t *ret_at,
                                             json_view_member_fn member, void *ctx);

enum json_view_kind json_view_kind(struct str value);
/* The first value of `text` (blanks before it skipped, what follows left out); p NULL: none. */
struct str json_view_value(struct str text);

/* The members of an object, or the items of an array, in order. */
struct json_view_walk {
    struct str rest;
    bool is_object;
};
struct json_view_walk json_view_walk(struct str container); /* of anything else: no members */
/* false: the end. `ret_key` (may be NULL): the key's text between its quotes, escapes as written;
 * empty of an array. */
bool json_view_next(struct json_view_walk *w, struct str *ret_key, struct str *ret_value);
/* The first member of that name, also where its key is spelt with escapes; p NULL: none, or
 * `object` is no object. */
struct str json_view_get(struct str object, const char *key);
/* json_view_get of several names in one pass, in their order. */
void json_view_get_all(struct str object, const char *const *names, size_t n, struct str *ret);
/* json_view_get of a member of a member: path "usage.prompt_tokens"; a number is an item:
 * "choices.0.delta". Names with dots cannot be reached this way. */
struct str json_view_at(struct str value, const char *path);
size_t json_view_count(struct str container); /* members or items */
bool json_view_has_any(struct str container); /* at least one, without counting them */

/* The text of a string. true: it has no escapes, and *ret is a view of it. */
bool json_view_plain(struct str string, struct str *ret);
/* Decoded; a view of the input where it has no escapes, else in the arena. Half a surrogate pair
 * becomes U+FFFD. p NULL: no string, or no memory. */
struct str json_view_text(struct str string, struct arena *arena);
void json_view_add_text(struct buf *b,
                        struct str string); /* the same, appended; no string: nothing */
/* A string of exactly this text, however it is spelt. */
bool json_view_spells(struct str string, const char *text);
static inline bool json_view_is(struct str string, const char *text)
{
    if (string.n < 2)
        return false;
    char first = text[0] ? text[0] : '"'; /* most strings begin otherwise */
    return (string.p[1] == first || string.p[1] == '\\') && json_view_spells(string, text);
}
bool json_view_true(struct str value);
/* A whole number without sign, also written 12.0 or 1e3; 0: it is there and fits. */
int json_view_u64(struct str number, uint64_t *ret);
int json_view_double(struct str number, double *ret);
