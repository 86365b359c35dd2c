#include "gateway/redact.h"

#include "base/buf.h"
#include "base/limits.h"

#include <ctype.h>

enum {
    KEY_MIN = 16,  /* bytes of a key after its prefix */
    NAME_MAX = 48, /* bytes of a member's name */
};

static const char mask[] = "[redacted]";

struct span {
    size_t from, to; /* of the text; empty: nothing */
};

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

static bool is_key(char c)
{
    return is_name(c) || strchr("./+=~", c) != NULL;
}

/* Without '-' and '_', in lower case: "X-Api-Key" is "xapikey". */
static bool is_secret(struct str name)
{
    static const char *const ends[] = { "apikey",     "authorization", "password",
                                        "passwd",     "secret",        "accesstoken",
                                        "authtoken",  "refreshtoken",  "bearertoken",
                                        "privatekey", "credential",    "sessiontoken" };
    char low[NAME_MAX];
    size_t n = 0;
    for (size_t i = 0; i < name.n && n < sizeof(low); i++)
        if (name.p[i] != '-' && name.p[i] != '_')
            low[n++] = (char)tolower((unsigned char)name.p[i]);
    struct str s = { low, n };
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct str end = str_of(ends[i]);
        if (s.n >= end.n && str_eq(str_sub(s, s.n - end.n), end))
            return true;
    }
    return str_is(s, "token");
}

static size_t skip_blank(struct str t, size_t at)
{
    while (at < t.n && isspace((unsigned char)t.p[at]))
        at++;
    return at;
}

/* Past a quote, which may be escaped; `at` itself where there is none. */
static size_t skip_quote(struct str t, size_t at)
{
    size_t i = at;
    while (i < t.n && t.p[i] == '\\')
        i++;
    return i < t.n && t.p[i] == '"' ? i + 1 : at;
}

/* Where a string ends whose opening quote had `depth` backslashes: its closing one has no more. */
static size_t string_end(struct str t, size_t from, size_t depth)
{
    size_t slashes = 0; /* just before */
    for (size_t i = from; i < t.n; i++) {
        if (t.p[i] == '"' && slashes <= depth)
            return i - slashes;
        slashes = t.p[i] == '\\' ? slashes + 1 : 0;
    }
    return t.n;
}

/* The value of `name": "value"` or `name=value`, where the name ends at `at`. */
static struct span value_of(struct str t, size_t at)
{
    size_t separator = skip_blank(t, skip_quote(t, at));
    if (separator >= t.n || (t.p[separator] != ':' && t.p[separator] != '='))
        return (struct span){ 0, 0 };
    size_t quote = skip_blank(t, separator + 1), from = skip_quote(t, quote), to = from;
    if (from > quote)
        return (struct span){ from, string_end(t, from, from - quote - 1) };
    if (t.p[separator] == ':')
        return (struct span){ 0, 0 }; /* a number, an object, prose */
    while (to < t.n && is_key(t.p[to]))
        to++;
    return (struct span){ from, to };
}

/* The length of a key that begins here: "sk-…", "Bearer …", tokens of well-known services. */
static size_t key_length(struct str t)
{
    static const char *const prefixes[] = { "sk-",  "pk-",    "rk-",     "ghp_",    "gho_",
                                            "ghs_", "glpat-", "xoxb-",   "xoxp-",   "AKIA",
                                            "hf_",  "AIza",   "Bearer ", "bearer ", "Basic " };
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        struct str p = str_of(prefixes[i]);
        if (!str_starts(t, p))
            continue;
        size_t n = p.n;
        while (n < t.n && is_key(t.p[n]))
            n++;
        if (n - p.n >= KEY_MIN)
            return n;
    }
    return 0;
}

/* What is to be masked of the word that begins at `at`; *ret_end: where to look on. */
static struct span find(struct str t, size_t at, size_t *ret_end)
{
    size_t key = key_length(str_sub(t, at)), end = at;
    if (key) {
        *ret_end = at + key;
        return (struct span){ at, at + key };
    }
    while (end < t.n && is_name(t.p[end]))
        end++;
    *ret_end = end;
    struct span none = { 0, 0 };
    struct span value = end - at <= NAME_MAX && is_secret(str_head(str_sub(t, at), end - at))
                            ? value_of(t, end)
                            : none;
    if (value.to > value.from)
        *ret_end = value.to;
    return value;
}

struct str redact_keys(struct str text, struct arena *arena)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(LIMIT_BODY);
    size_t from = 0;
    for (size_t i = 0; i < text.n;) {
        if (!is_name(text.p[i])) {
            i++;
            continue;
        }
        struct span s = find(text, i, &i);
        if (s.to <= s.from)
            continue;
        buf_add(&b, str_head(str_sub(text, from), s.from - from));
        buf_adds(&b, mask);
        from = s.to;
    }
    buf_add(&b, str_sub(text, from));
    if (buf_err(&b) < 0)
        return STR_NULL;
    return b.n ? arena_str(arena, buf_str(&b)) : STR("");
}
