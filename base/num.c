#include "base/num.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int num_parse_u64(uint64_t *ret, struct str s, uint64_t min, uint64_t max)
{
    uint64_t v = 0;
    if (s.n == 0)
        return -EINVAL;
    bool over = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EINVAL;
        over |= __builtin_mul_overflow(v, (uint64_t)10, &v);
        over |= __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v);
    }
    if (over || v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

int num_parse_i64(int64_t *ret, struct str s, int64_t min, int64_t max)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t v;
    int r = num_parse_u64(&v, negative ? str_sub(s, 1) : s, 0, (uint64_t)INT64_MAX + negative);
    if (r < 0)
        return r;
    int64_t signed_v = negative ? (int64_t)(0 - v) : (int64_t)v;
    if (signed_v < min || signed_v > max)
        return -ERANGE;
    *ret = signed_v;
    return 0;
}

int num_parse_double(double *ret, struct str s, double min, double max)
{
    char text[64], *end;
    if (s.n == 0 || s.n >= sizeof(text))
        return -EINVAL;
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("0123456789+-.eE", s.p[i]))
            return -EINVAL; /* no blanks, hex, inf or nan */
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    double v = strtod(text, &end);
    if (end != text + s.n)
        return -EINVAL;
    if (!isfinite(v) || v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static int parse_with_unit(uint64_t *ret, struct str s, const struct unit *units, size_t n_units)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t v;
    int r = num_parse_u64(&v, str_head(s, digits), 0, UINT64_MAX);
    if (r < 0)
        return r;
    struct str suffix = str_sub(s, digits);
    for (size_t i = 0; i < n_units; i++)
        if (str_is(suffix, units[i].name))
            return __builtin_mul_overflow(v, units[i].factor, ret) ? -ERANGE : 0;
    return -EINVAL;
}

int num_parse_bytes(uint64_t *ret, struct str s, uint64_t min, uint64_t max)
{
    static const struct unit units[] = {
        { "", 1 },
        { "B", 1 },
        { "KiB", 1024 },
        { "MiB", 1ull << 20 },
        { "GiB", 1ull << 30 },
        { "TiB", 1ull << 40 },
        { "KB", 1000 },
        { "MB", 1000000 },
        { "GB", 1000000000 },
        { "TB", 1000000000000 },
    };
    uint64_t v;
    int r = parse_with_unit(&v, s, units, ARRAY_LEN(units));
    if (r < 0)
        return r;
    if (v < min || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

int num_parse_duration(uint64_t *ret_ms, struct str s, uint64_t min_ms, uint64_t max_ms)
{
    static const struct unit units[] = {
        { "", 1000 },   { "ms", 1 },      { "s", 1000 },
        { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
    };
    uint64_t v;
    int r = parse_with_unit(&v, s, units, ARRAY_LEN(units));
    if (r < 0)
        return r;
    if (v < min_ms || v > max_ms)
        return -ERANGE;
    *ret_ms = v;
    return 0;
}
