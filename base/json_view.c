#include "base/json_view.h"

#include "base/json_scan.h"
#include "base/num.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* ---- values ---- */

enum json_view_kind json_view_kind(struct str value)
{
    if (value.n == 0)
        return JSON_VIEW_none;
    switch (value.p[0]) {
    case '{':
        return JSON_VIEW_object;
    case '[':
        return JSON_VIEW_array;
    case '"':
        return JSON_VIEW_string;
    case 't':
        return str_starts(value, STR("true")) ? JSON_VIEW_true : JSON_VIEW_none;
    case 'f':
        return str_starts(value, STR("false")) ? JSON_VIEW_false : JSON_VIEW_none;
    case 'n':
        return str_starts(value, STR("null")) ? JSON_VIEW_null : JSON_VIEW_none;
    default:
        return value.p[0] == '-' || (value.p[0] >= '0' && value.p[0] <= '9') ? JSON_VIEW_number
                                                                             : JSON_VIEW_none;
    }
}

/* Past what most often stands between a string and what follows it. */
static const char *past_comma(const char *p, const char *end)
{
    if (p < end && (*p == ':' || *p == ','))
        p++;
    return p < end && *p == ' ' ? p + 1 : p;
}

/* Past the container that begins at p; NULL: it is not closed. */
static const char *past_container(const char *p, const char *end)
{
    for (size_t depth = 0; p < end;) {
        char folded = *p | ('a' - 'A'); /* [ and { are a case apart, as are ] and } */
        if (*p == '"') {
            p = json_past_string(p, end);
            if (!p)
                return NULL;
            p = past_comma(p, end);
        } else if (folded == '{') {
            depth++;
            p++;
        } else if (folded == '}') {
            p++;
            if (--depth == 0)
                return p;
        } else {
            p = json_find_bracket(p, end);
        }
    }
    return NULL;
}

static const char *past_word(const char *p, const char *end, struct str word)
{
    bool is = (size_t)(end - p) >= word.n && memcmp(p, word.p, word.n) == 0;
    return is ? p + word.n : NULL;
}

/* Past the value at p (no blank); NULL: none is. */
static const char *past_value(const char *p, const char *end)
{
    if (p == end)
        return NULL;
    switch (*p) {
    case '"':
        return json_past_string(p, end);
    case '{':
    case '[':
        return past_container(p, end);
    case 't':
        return past_word(p, end, STR("true"));
    case 'f':
        return past_word(p, end, STR("false"));
    case 'n':
        return past_word(p, end, STR("null"));
    default:
        return json_past_number(p, end);
    }
}

struct str json_view_value(struct str text)
{
    if (text.n == 0)
        return STR_NULL;
    const char *end = text.p + text.n, *p = json_past_blanks(text.p, end);
    const char *past = past_value(p, end);
    return past ? (struct str){ p, (size_t)(past - p) } : STR_NULL;
}

/* ---- members ---- */

struct json_view_walk json_view_walk(struct str container)
{
    char bracket = container.n ? container.p[0] : '\0';
    bool is_object = bracket == '{';
    if (!is_object && bracket != '[')
        return (struct json_view_walk){ 0 };
    return (struct json_view_walk){ str_sub(container, 1), is_object };
}

/* Ends the walk: what comes next is no member. */
static bool walk_ends(struct json_view_walk *w)
{
    w->rest = STR_NULL;
    return false;
}

/* p past the key, its colon and blanks; NULL: no key. */
static const char *past_key(const char *p, const char *end, struct str *ret_key)
{
    if (p == end || *p != '"')
        return NULL;
    const char *past = json_past_string(p, end);
    if (!past)
        return NULL;
    *ret_key = (struct str){ p + 1, (size_t)(past - p) - 2 };
    p = json_past_blanks(past, end);
    return p < end && *p == ':' ? json_past_blanks(p + 1, end) : NULL;
}

bool json_view_next(struct json_view_walk *w, struct str *ret_key, struct str *ret_value)
{
    if (!w->rest.p)
        return false;
    const char *end = w->rest.p + w->rest.n, *p = json_past_blanks(w->rest.p, end);
    struct str key = STR_NULL;
    if (w->is_object)
        p = past_key(p, end, &key);
    const char *past = p ? past_value(p, end) : NULL;
    if (!past)
        return walk_ends(w);
    if (ret_key)
        *ret_key = key;
    *ret_value = (struct str){ p, (size_t)(past - p) };
    past = json_past_blanks(past, end);
    if (past < end && *past == ',')
        w->rest = (struct str){ past + 1, (size_t)(end - past) - 1 };
    else
        w->rest = STR_NULL;
    return true;
}

/* Whether what stands between a string's quotes means this text. */
static bool means(struct str inside, const char *text, size_t n)
{
    size_t i = 0;
    if (inside.n < n)
        return false; /* no spelling is shorter */
    while (i < n && inside.p[i] == text[i] && text[i] != '\\')
        i++;
    if (i == n)
        return inside.n == n;
    if (inside.p[i] != '\\')
        return false;
    struct json_bytes bytes = json_bytes(str_sub(inside, i));
    for (; i < n; i++)
        if (json_bytes_next(&bytes) != (unsigned char)text[i])
            return false;
    return json_bytes_next(&bytes) < 0;
}

static struct str member(struct str object, struct str name)
{
    struct json_view_walk w = json_view_walk(object);
    for (struct str key, value; w.is_object && json_view_next(&w, &key, &value);)
        if (means(key, name.p, name.n))
            return value;
    return STR_NULL;
}

struct str json_view_get(struct str object, const char *key)
{
    return member(object, str_of(key));
}

void json_view_get_all(struct str object, const char *const *names, size_t n, struct str *ret)
{
    struct str key, value;
    size_t left = n;
    for (size_t i = 0; i < n; i++)
        ret[i] = STR_NULL;
    for (struct json_view_walk w = json_view_walk(object);
         w.is_object && left && json_view_next(&w, &key, &value);) {
        size_t i = 0; /* with its quotes the key is a string */
        while (i < n && !json_view_is((struct str){ key.p - 1, key.n + 2 }, names[i]))
            i++;
        if (i == n || ret[i].p)
            continue;
        ret[i] = value;
        left--;
    }
}

static struct str item(struct str array, uint64_t i)
{
    struct json_view_walk w = json_view_walk(array);
    for (struct str value; json_view_next(&w, NULL, &value); i--)
        if (i == 0)
            return value;
    return STR_NULL;
}

struct str json_view_at(struct str value, const char *path)
{
    struct str rest = str_of(path), step;
    for (bool more = true; more && value.p;) {
        step = rest;
        more = str_cut(rest, '.', &step, &rest);
        uint64_t i;
        if (json_view_kind(value) != JSON_VIEW_array)
            value = member(value, step);
        else
            value = num_parse_u64(&i, step, 0, UINT64_MAX) == 0 ? item(value, i) : STR_NULL;
    }
    return value;
}

size_t json_view_count(struct str container)
{
    size_t n = 0;
    struct json_view_walk w = json_view_walk(container);
    for (struct str value; json_view_next(&w, NULL, &value);)
        n++;
    return n;
}

bool json_view_has_any(struct str container)
{
    struct json_view_walk w = json_view_walk(container);
    if (!w.rest.p)
        return false;
    const char *end = w.rest.p + w.rest.n, *p = json_past_blanks(w.rest.p, end);
    return p < end && *p != '}' && *p != ']';
}

/* ---- strings ---- */

/* Between the quotes; p NULL: no string. */
static struct str inside(struct str string)
{
    if (string.n < 2 || string.p[0] != '"' || string.p[string.n - 1] != '"')
        return STR_NULL;
    return (struct str){ string.p + 1, string.n - 2 };
}

bool json_view_plain(struct str string, struct str *ret)
{
    struct str s = inside(string);
    if (!s.p || (s.n && memchr(s.p, '\\', s.n)))
        return false;
    *ret = s;
    return true;
}

struct str json_view_text(struct str string, struct arena *arena)
{
    struct str s;
    if (json_view_plain(string, &s))
        return s;
    s = inside(string);
    char *to = s.p ? arena_alloc(arena, s.n) : NULL;
    return to ? (struct str){ to, json_unescape_all(to, s) } : STR_NULL;
}

void json_view_add_text(struct buf *b, struct str string)
{
    struct str s;
    if (json_view_plain(string, &s)) {
        buf_add(b, s);
        return;
    }
    s = inside(string);
    char *to = s.p ? buf_space(b, s.n) : NULL;
    if (!to)
        return;
    b->n += json_unescape_all(to, s);
    b->p[b->n] = '\0';
}

bool json_view_spells(struct str string, const char *text)
{
    struct str s = inside(string);
    return s.p && means(s, text, strlen(text));
}

bool json_view_true(struct str value)
{
    return json_view_kind(value) == JSON_VIEW_true;
}

/* ---- numbers ---- */

static bool is_number(struct str s)
{
    return s.n && json_past_number(s.p, s.p + s.n) == s.p + s.n;
}

/* What stands behind the e, cut to what can matter. */
static int64_t exponent(struct str s)
{
    bool minus = s.n && s.p[0] == '-';
    int64_t v = 0;
    for (size_t i = minus || (s.n && s.p[0] == '+'); i < s.n && v < INT32_MAX; i++)
        v = v * 10 + (s.p[i] - '0');
    return minus ? -v : v;
}

int json_view_u64(struct str number, uint64_t *ret)
{
    enum { NEVER_OVER = 19 }; /* digits */
    uint64_t v = 0;
    size_t at = 0;
    while (at < number.n && at < NEVER_OVER && number.p[at] >= '0' && number.p[at] <= '9')
        v = v * 10 + (uint64_t)(number.p[at++] - '0');
    if (at && at == number.n && (number.p[0] != '0' || at == 1)) {
        *ret = v;
        return 0;
    }
    if (!is_number(number) || number.p[0] == '-')
        return -EINVAL;
    if (num_parse_u64(ret, number, 0, UINT64_MAX) == 0)
        return 0;
    /* Digits, of which `scale` stand behind the point, or are to be added. */
    struct str digits = number, power = STR("0"), behind;
    (void)(str_cut(number, 'e', &digits, &power) || str_cut(number, 'E', &digits, &power));
    int64_t scale = exponent(power);
    if (str_cut(digits, '.', &digits, &behind))
        scale -= (int64_t)behind.n;
    else
        behind = STR_NULL;
    bool over = false, inexact = false;
    v = 0;
    size_t n = digits.n + behind.n;
    for (size_t i = 0; i < n; i++) {
        uint64_t digit = (uint64_t)((i < digits.n ? digits.p[i] : behind.p[i - digits.n]) - '0');
        if ((int64_t)(n - i) <= -scale) {
            inexact |= digit != 0; /* behind the point */
            continue;
        }
        over |= __builtin_mul_overflow(v, (uint64_t)10, &v);
        over |= __builtin_add_overflow(v, digit, &v);
    }
    for (; scale > 0 && v && !over; scale--)
        over = __builtin_mul_overflow(v, (uint64_t)10, &v);
    if (inexact)
        return -EINVAL;
    if (over)
        return -ERANGE;
    *ret = v;
    return 0;
}

int json_view_double(struct str number, double *ret)
{
    enum { USUAL = 64 };
    char text[USUAL];
    if (!is_number(number))
        return -EINVAL;
    CLEANUP(own_free) char *longer = number.n < USUAL ? NULL : str_dup(number);
    if (!longer && number.n >= USUAL)
        return -ENOMEM;
    if (!longer) {
        memcpy(text, number.p, number.n);
        text[number.n] = '\0';
    }
    double v = strtod(longer ? longer : text, NULL);
    if (!isfinite(v))
        return -ERANGE;
    *ret = v;
    return 0;
}
