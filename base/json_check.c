#include "base/json_scan.h"
#include "base/json_view.h"

#include <stdlib.h>

/*
 * Keys that were seen stand on one stack, those of the innermost open object on top. A small object
 * compares each new key with its others; a larger one sorts its keys when it ends. Both compare
 * hashes before texts, and sorting needs no luck with the hashes: nobody can make it slow.
 */
struct key {
    uint32_t hash;
    uint32_t at; /* of its opening quote */
};

struct open {
    uint32_t first_key;
    bool is_object;
};

enum {
    FEW_KEYS = 16,   /* compared one by one */
    NEAR_KEYS = 128, /* kept without allocating */
};

struct check {
    const char *begin, *p, *end;
    unsigned depth, max_depth;
    struct open open[JSON_VIEW_MAX_DEPTH];
    struct key *keys, *more_keys; /* more_keys: on the heap, or NULL */
    size_t n_keys, max_keys;
    struct key near_keys[NEAR_KEYS];
};

/* ---- strings ---- */

static enum json_view_fault check_escape(struct check *c)
{
    if (c->end - c->p < 2)
        return JSON_VIEW_syntax;
    if (c->p[1] != 'u') {
        if (!c->p[1] || !strchr("\"\\/bfnrt", c->p[1]))
            return JSON_VIEW_syntax;
        c->p += 2;
        return JSON_VIEW_ok;
    }
    int unit = json_hex4(c->p + 2, c->end);
    if (unit < 0)
        return JSON_VIEW_syntax;
    if (unit == 0)
        return JSON_VIEW_nul;
    if (unit < 0xd800 || unit > 0xdfff) {
        c->p += 6;
        return JSON_VIEW_ok;
    }
    /* Half a pair: the other must follow. */
    bool follows = c->end - c->p >= 12 && c->p[6] == '\\' && c->p[7] == 'u';
    int low = follows ? json_hex4(c->p + 8, c->end) : -1;
    if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff)
        return JSON_VIEW_encoding;
    c->p += 12;
    return JSON_VIEW_ok;
}

static bool is_tail(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* What stands at p is no ASCII. The common lengths first; the rest is str.h's. */
static bool pass_utf8(struct check *c)
{
    unsigned char lead = (unsigned char)*c->p;
    ptrdiff_t n = c->end - c->p;
    if (lead > 0xe0 && lead < 0xf0 && lead != 0xed && n > 2 && is_tail(c->p[1]) &&
        is_tail(c->p[2])) {
        c->p += 3;
        return true;
    }
    if (lead > 0xc1 && lead < 0xe0 && n > 1 && is_tail(c->p[1])) {
        c->p += 2;
        return true;
    }
    size_t length = 0;
    (void)str_utf8_next((struct str){ c->p, (size_t)n }, &length);
    c->p += length;
    return length > 1; /* of what is malformed, one byte */
}

/* p at the opening quote → past the closing one; at fault, where it is. */
static enum json_view_fault check_string(struct check *c)
{
    c->p++;
    for (;;) {
        c->p = json_find_special(c->p, c->end);
        if (c->p == c->end)
            return JSON_VIEW_syntax;
        while (c->p < c->end && (unsigned char)*c->p >= 0x80) {
            const char *at = c->p;
            if (!pass_utf8(c)) {
                c->p = at;
                return JSON_VIEW_encoding;
            }
        }
        if (c->p == c->end)
            return JSON_VIEW_syntax;
        if (*c->p == '"') {
            c->p++;
            return JSON_VIEW_ok;
        }
        if ((unsigned char)*c->p < ' ')
            return JSON_VIEW_syntax;
        enum json_view_fault fault = *c->p == '\\' ? check_escape(c) : JSON_VIEW_ok;
        if (fault)
            return fault;
    }
}

/* ---- keys ---- */

/* Both are whole strings of this text. */
static int compare_texts(const struct check *c, uint32_t a, uint32_t b)
{
    struct json_bytes x = { .p = c->begin + a + 1, .end = c->end };
    struct json_bytes y = { .p = c->begin + b + 1, .end = c->end };
    for (;;) {
        bool x_ends = x.at == x.n && *x.p == '"', y_ends = y.at == y.n && *y.p == '"';
        if (x_ends || y_ends)
            return (int)y_ends - (int)x_ends;
        int d = json_bytes_next(&x) - json_bytes_next(&y);
        if (d)
            return d;
    }
}

static int by_text(const void *x, const void *y, void *check)
{
    const struct key *a = x, *b = y;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    int d = a->at == b->at ? 0 : compare_texts(check, a->at, b->at);
    return d ? d : (a->at > b->at) - (a->at < b->at);
}

/* Fowler, Noll and Vo's hash (FNV-1a) of the text between the quotes. */
static uint32_t hash_key(struct str inside)
{
    uint32_t h = 2166136261u;
    if (!inside.n || !memchr(inside.p, '\\', inside.n)) {
        for (size_t i = 0; i < inside.n; i++)
            h = (h ^ (unsigned char)inside.p[i]) * 16777619u;
        return h;
    }
    struct json_bytes bytes = json_bytes(inside);
    for (int byte; (byte = json_bytes_next(&bytes)) >= 0;)
        h = (h ^ (unsigned)byte) * 16777619u;
    return h;
}

static bool grow_keys(struct check *c)
{
    size_t max = 4 * c->max_keys;
    struct key *more = realloc(c->more_keys, max * sizeof(*more));
    if (!more)
        return false;
    if (!c->more_keys)
        memcpy(more, c->near_keys, sizeof(c->near_keys));
    c->keys = c->more_keys = more;
    c->max_keys = max;
    return true;
}

static enum json_view_fault remember_key(struct check *c, const char *key, const char *past)
{
    struct key new = { .hash = hash_key((struct str){ key + 1, (size_t)(past - key) - 2 }),
                       .at = (uint32_t)(key - c->begin) };
    size_t first = c->open[c->depth - 1].first_key;
    for (size_t i = first; c->n_keys - first < FEW_KEYS && i < c->n_keys; i++) {
        if (c->keys[i].hash != new.hash || compare_texts(c, c->keys[i].at, new.at) != 0)
            continue;
        c->p = key;
        return JSON_VIEW_duplicate_key;
    }
    if (c->n_keys == c->max_keys && !grow_keys(c))
        return JSON_VIEW_no_memory;
    c->keys[c->n_keys++] = new;
    return JSON_VIEW_ok;
}

/* The object's keys, where they were too many to compare each. */
static enum json_view_fault forget_keys(struct check *c)
{
    size_t first = c->open[c->depth - 1].first_key, n = c->n_keys - first;
    struct key *keys = c->keys + first;
    c->n_keys = first;
    if (n <= FEW_KEYS)
        return JSON_VIEW_ok;
    qsort_r(keys, n, sizeof(*keys), by_text, c);
    size_t twice = SIZE_MAX;
    for (size_t i = 1; i < n; i++)
        if (keys[i].hash == keys[i - 1].hash && keys[i].at < twice &&
            compare_texts(c, keys[i].at, keys[i - 1].at) == 0)
            twice = keys[i].at;
    if (twice == SIZE_MAX)
        return JSON_VIEW_ok;
    c->p = c->begin + twice;
    return JSON_VIEW_duplicate_key;
}

/* A key and its colon, blanks before both. */
static enum json_view_fault check_key(struct check *c)
{
    c->p = json_past_blanks(c->p, c->end);
    if (c->p == c->end || *c->p != '"')
        return JSON_VIEW_syntax;
    const char *key = c->p;
    enum json_view_fault fault = check_string(c);
    if (!fault)
        fault = remember_key(c, key, c->p);
    if (fault)
        return fault;
    c->p = json_past_blanks(c->p, c->end);
    if (c->p == c->end || *c->p != ':')
        return JSON_VIEW_syntax;
    c->p++;
    return JSON_VIEW_ok;
}

/* ---- values ---- */

static bool pass_word(struct check *c, const char *word, size_t n)
{
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return false;
    c->p += n;
    return true;
}

static enum json_view_fault check_scalar(struct check *c)
{
    if (*c->p == '"')
        return check_string(c);
    if (pass_word(c, "true", 4) || pass_word(c, "false", 5) || pass_word(c, "null", 4))
        return JSON_VIEW_ok;
    const char *past = json_past_number(c->p, c->end);
    if (!past)
        return JSON_VIEW_syntax;
    c->p = past;
    return JSON_VIEW_ok;
}

/* A value, or the beginning of one: *ret_more says that a member's or item's value comes next. */
static enum json_view_fault check_value(struct check *c, bool *ret_more)
{
    *ret_more = false;
    c->p = json_past_blanks(c->p, c->end);
    if (c->p == c->end)
        return JSON_VIEW_syntax;
    if (*c->p != '{' && *c->p != '[')
        return check_scalar(c);
    if (c->depth == c->max_depth)
        return JSON_VIEW_depth;
    bool is_object = *c->p == '{';
    c->p = json_past_blanks(c->p + 1, c->end);
    if (c->p < c->end && *c->p == (is_object ? '}' : ']')) {
        c->p++;
        return JSON_VIEW_ok;
    }
    c->open[c->depth++] = (struct open){ (uint32_t)c->n_keys, is_object };
    *ret_more = true;
    return is_object ? check_key(c) : JSON_VIEW_ok;
}

/* After a value: what closes, until a comma or the end of the outermost value. */
static enum json_view_fault check_after(struct check *c, bool *ret_more)
{
    for (*ret_more = false; c->depth > 0; c->depth--) {
        bool is_object = c->open[c->depth - 1].is_object;
        c->p = json_past_blanks(c->p, c->end);
        if (c->p == c->end)
            return JSON_VIEW_syntax;
        if (*c->p == ',') {
            c->p++;
            *ret_more = true;
            return is_object ? check_key(c) : JSON_VIEW_ok;
        }
        if (*c->p != (is_object ? '}' : ']'))
            return JSON_VIEW_syntax;
        c->p++;
        enum json_view_fault fault = is_object ? forget_keys(c) : JSON_VIEW_ok;
        if (fault)
            return fault;
    }
    c->p = json_past_blanks(c->p, c->end);
    return c->p == c->end ? JSON_VIEW_ok : JSON_VIEW_syntax;
}

enum json_view_fault json_view_check(struct str text, unsigned max_depth, size_t *ret_at)
{
    struct check c; /* not initialised as a whole: it is large */
    if (!text.p)
        text = STR("");
    c.begin = c.p = text.p;
    c.end = text.p + text.n;
    c.depth = 0;
    c.max_depth = max_depth < JSON_VIEW_MAX_DEPTH ? max_depth : JSON_VIEW_MAX_DEPTH;
    c.keys = c.near_keys;
    c.more_keys = NULL;
    c.n_keys = 0;
    c.max_keys = NEAR_KEYS;
    enum json_view_fault fault = text.n > UINT32_MAX ? JSON_VIEW_no_memory : JSON_VIEW_ok;
    for (bool more = true; more && !fault;) {
        fault = check_value(&c, &more);
        if (!fault && !more)
            fault = check_after(&c, &more);
    }
    free(c.more_keys);
    *ret_at = (size_t)(c.p - text.p);
    return fault;
}
