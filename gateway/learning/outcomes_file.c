/*
 * The file of outcomes: a line "rootstock-outcomes 1", then one record a line, fields separated by
 * tabs. Names are percent-encoded where they hold a tab, a line's end or a percent sign.
 *
 *     c  decision  model  adapter  good_fit  overprovisioned  underpowered  failed  requests
 *        rating  comparisons  holds  seconds
 *     u  key (hex)  successes  failures  seconds
 */
#include "gateway/learning/outcomes_impl.h"

#include "base/num.h"

#include <errno.h>

#define HEADER "rootstock-outcomes 1"
#define MAX_COUNT 1e12
#define MAX_RATING 1e6

enum { FIELDS = 13, USER_FIELDS = 5 };

/* ---- writing ---- */

static void add_name(struct buf *b, struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c == '\t' || c == '\n' || c == '\r' || c == '%')
            buf_addf(b, "%%%02X", c);
        else
            buf_addc(b, (char)c);
    }
    buf_addc(b, '\t');
}

static void add_line(void *ctx, const struct record *r, const struct sha256 *user,
                     const struct user_record *u)
{
    struct buf *b = ctx;
    if (!r) {
        char hex[SHA256_HEX + 1];
        sha256_hex(hex, user);
        buf_addf(b, "u\t%s\t%.6g\t%.6g\t%llu\n", hex, u->successes, u->failures,
                 (unsigned long long)u->at_s);
        return;
    }
    buf_adds(b, "c\t");
    for (size_t i = 0; i < 3; i++)
        add_name(b, record_name(r, i));
    for (int i = 0; i < OUTCOME_N; i++)
        buf_addf(b, "%.6g\t", r->counts.of[i]);
    buf_addf(b, "%.6g\t%.6g\t%.6g\t%.6g\t%llu\n", r->counts.attempts, r->counts.rating,
             r->counts.comparisons, r->counts.holds, (unsigned long long)r->at_s);
}

void outcomes_write(struct outcomes *o, struct buf *b)
{
    buf_adds(b, HEADER "\n");
    outcomes_each(o, add_line, b);
}

/* ---- reading ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes into `to`; false: malformed or too long. */
static bool read_name(char to[static LIMIT_NAME + 1], struct str from, struct str *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < from.n; i++) {
        char c = from.p[i];
        if (n == LIMIT_NAME || c == '\0')
            return false;
        if (c == '%') {
            int high = i + 2 < from.n ? hex(from.p[i + 1]) : -1;
            int low = i + 2 < from.n ? hex(from.p[i + 2]) : -1;
            if (high < 0 || low < 0 || high * 16 + low == 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        to[n++] = c;
    }
    to[n] = '\0';
    *ret = (struct str){ to, n };
    return true;
}

static size_t split(struct str line, struct str fields[static FIELDS])
{
    size_t n = 0;
    struct str rest = line;
    while (n < FIELDS && str_cut(rest, '\t', &fields[n], &rest))
        n++;
    if (n == FIELDS)
        return FIELDS + 1; /* more than there are */
    fields[n] = rest;
    return n + 1;
}

static bool count_of(double *ret, struct str s)
{
    return num_parse_double(ret, s, 0, MAX_COUNT) == 0;
}

static bool read_record(struct outcomes *o, const struct str *f)
{
    char names[3][LIMIT_NAME + 1];
    struct outcome_of w = { .user = STR_NULL };
    struct outcome_counts c;
    uint64_t at = 0;
    bool good = read_name(names[0], f[1], &w.decision) && read_name(names[1], f[2], &w.model) &&
                read_name(names[2], f[3], &w.adapter);
    for (int i = 0; good && i < OUTCOME_N; i++)
        good = count_of(&c.of[i], f[4 + i]);
    good = good && count_of(&c.attempts, f[8]) &&
           num_parse_double(&c.rating, f[9], -MAX_RATING, MAX_RATING) == 0 &&
           count_of(&c.comparisons, f[10]) && num_parse_double(&c.holds, f[11], 0, 1) == 0 &&
           num_parse_u64(&at, f[12], 0, UINT32_MAX) == 0;
    return good && outcomes_put(o, &w, &c, at) == 0;
}

static bool read_user(struct outcomes *o, const struct str *f)
{
    struct sha256 key;
    struct user_record u;
    return sha256_parse(&key, f[1]) == 0 && count_of(&u.successes, f[2]) &&
           count_of(&u.failures, f[3]) && num_parse_u64(&u.at_s, f[4], 0, UINT32_MAX) == 0 &&
           outcomes_put_user(o, &key, &u) == 0;
}

int outcomes_read(struct outcomes *o, struct str text, size_t *ret_bad)
{
    struct str line = text, rest = STR_NULL;
    *ret_bad = 0;
    if (!str_cut(text, '\n', &line, &rest) || !str_is(line, HEADER))
        return -EINVAL;
    while (rest.n) {
        struct str fields[FIELDS];
        struct str after = STR_NULL;
        line = rest;
        (void)str_cut(rest, '\n', &line, &after);
        rest = after;
        size_t n = split(line, fields);
        bool good = (n == FIELDS && str_is(fields[0], "c") && read_record(o, fields)) ||
                    (n == USER_FIELDS && str_is(fields[0], "u") && read_user(o, fields));
        *ret_bad += !good && line.n;
    }
    return 0;
}
