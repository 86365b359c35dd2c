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
    uint64_t hashes; /* a bit for each that was seen: most keys are known to be new by it */
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
    json_view_member_fn member; /* NULL: nobody asks */
    void *ctx;
    struct str key;    /* of the outermost object's, … */
    const char *value; /* … and where its value begins */
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

/* The rest of a string, from what is no plain ASCII of it; past the closing quote, or at fault. */
static enum json_view_fault check_rest(struct check *c)
{
    for (;; c->p = json_find_special(c->p, c->end)) {
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

/* p at the opening quote → past the closing one; at fault, where it is. */
static inline enum json_view_fault check_string(struct check *c)
{
    const char *p = json_find_special(c->p + 1, c->end);
    bool ends = p < c->end && *p == '"';
    c->p = p + ends;
    return ends ? JSON_VIEW_ok : check_rest(c);
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

/* The first n bytes of a word, the others zero. */
static uint64_t keep_bytes(uint64_t word, size_t n)
{
    unsigned rest = (unsigned)(8 * (sizeof(word) - n));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return word << rest;
#else
    return word >> rest << rest;
#endif
}

/* Multiplied and folded, eight bytes at a time; the factor is 2^64 divided by the golden ratio. */
static uint64_t hash_word(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 32;
}

/* Of what stands between the quotes, decoded; plain: it is as written. Up to `end` there may be
 * read. */
static inline uint32_t hash_key(struct str inside, bool is_plain, const char *end)
{
    uint64_t h = 0, word;
    while (is_plain && inside.n >= sizeof(word)) {
        memcpy(&word, inside.p, sizeof(word));
        h = hash_word(h, word);
        inside = str_sub(inside, sizeof(word));
    }
    if (is_plain && inside.n == 0)
        return (uint32_t)h;
    if (is_plain && (size_t)(end - inside.p) >= sizeof(word)) {
        memcpy(&word, inside.p, sizeof(word));
        return (uint32_t)hash_word(h, keep_bytes(word, inside.n));
    }
    char held[sizeof(word)] = { 0 };
    size_t n = 0;
    struct json_bytes bytes = json_bytes(inside);
    for (int byte; (byte = json_bytes_next(&bytes)) >= 0;) {
        held[n++] = (char)byte;
        if (n < sizeof(held))
            continue;
        memcpy(&word, held, sizeof(word));
        h = hash_word(h, word);
        n = 0;
    }
    memcpy(&word, held, sizeof(word));
    return (uint32_t)(n ? hash_word(h, keep_bytes(word, n)) : h);
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

static inline enum json_view_fault remember_key(struct check *c, const char *key, const char *past,
                                                bool is_plain)
{
    struct str inside = { key + 1, (size_t)(past - key) - 2 };
    struct key new = { .hash = hash_key(inside, is_plain, c->end),
                       .at = (uint32_t)(key - c->begin) };
    struct open *open = &c->open[c->depth - 1];
    size_t first = open->first_key;
    uint64_t bit = UINT64_C(1) << new.hash % 64;
    bool may_be_there = open->hashes & bit && c->n_keys - first < FEW_KEYS;
    open->hashes |= bit;
    for (size_t i = first; may_be_there && i < c->n_keys; i++) {
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
    const char *key = json_past_blanks(c->p, c->end);
    c->p = key;
    if (key == c->end || *key != '"')
        return JSON_VIEW_syntax;
    const char *stop = json_find_special(key + 1, c->end);
    bool is_plain = stop < c->end && *stop == '"';
    c->p = stop + is_plain;
    enum json_view_fault fault = is_plain ? JSON_VIEW_ok : check_rest(c);
    if (!fault)
        fault = remember_key(c, key, c->p, is_plain);
    if (fault)
        return fault;
    if (c->depth == 1)
        c->key = (struct str){ key + 1, (size_t)(c->p - key) - 2 };
    c->p = json_past_blanks(c->p, c->end);
    if (c->p == c->end || *c->p != ':')
        return JSON_VIEW_syntax;
    c->p++;
    return JSON_VIEW_ok;
}

/* ---- values ---- */

static enum json_view_fault check_word(struct check *c, struct str word)
{
    if ((size_t)(c->end - c->p) < word.n || memcmp(c->p, word.p, word.n) != 0)
        return JSON_VIEW_syntax;
    c->p += word.n;
    return JSON_VIEW_ok;
}

static enum json_view_fault check_number(struct check *c)
{
    const char *past = json_past_number(c->p, c->end);
    if (!past)
        return JSON_VIEW_syntax;
    c->p = past;
    return JSON_VIEW_ok;
}

static enum json_view_fault check_scalar(struct check *c)
{
    switch (*c->p) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, STR("true"));
    case 'f':
        return check_word(c, STR("false"));
    case 'n':
        return check_word(c, STR("null"));
    default:
        return check_number(c);
    }
}

/* A value, or the beginning of one: *ret_more says that a member's or item's value comes next. */
static enum json_view_fault check_value(struct check *c, bool *ret_more)
{
    *ret_more = false;
    c->p = json_past_blanks(c->p, c->end);
    if (c->p == c->end)
        return JSON_VIEW_syntax;
    if (c->depth == 1)
        c->value = c->p;
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
    c->open[c->depth++] = (struct open){ .first_key = (uint32_t)c->n_keys, .is_object = is_object };
    *ret_more = true;
    return is_object ? check_key(c) : JSON_VIEW_ok;
}

/* After a value: what closes, until a comma or the end of the outermost value. */
static enum json_view_fault check_after(struct check *c, bool *ret_more)
{
    for (*ret_more = false; c->depth > 0; c->depth--) {
        bool is_object = c->open[c->depth - 1].is_object;
        if (c->depth == 1 && is_object && c->member)
            c->member(c->ctx, c->key, (struct str){ c->value, (size_t)(c->p - c->value) });
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

enum json_view_fault json_view_check_members(struct str text, unsigned max_depth, size_t *ret_at,
                                             json_view_member_fn member, void *ctx)
{
    struct check c; /* not initialised as a whole: it is large */
    if (!text.p)
        text = STR("");
    c.begin = c.p = text.p;
    c.end = text.p + text.n;
    c.depth = 0;
    c.max_depth = max_depth < JSON_VIEW_MAX_DEPTH ? max_depth : JSON_VIEW_MAX_DEPTH;
    c.member = member;
    c.ctx = ctx;
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

enum json_view_fault json_view_check(struct str text, unsigned max_depth, size_t *ret_at)
{
    return json_view_check_members(text, max_depth, ret_at, NULL, NULL);
}
