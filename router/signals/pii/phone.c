#include "router/signals/pii/text.h"

enum { GROUPS_MAX = 12, DIGITS_MAX = 17, EXTENSION_MAX = 6 };

/* A number as it is written: groups of digits and what stands between them. */
struct number {
    unsigned char digit[DIGITS_MAX];
    unsigned n;
    struct group {
        unsigned char first, len; /* digits of `digit` */
        unsigned char sep; /* before it: '-', '.', '/', ' ', or 0 (first, or only a parenthesis) */
        bool paren;        /* "(415)" */
        size_t end;        /* byte behind it */
    } group[GROUPS_MAX];
    unsigned n_groups;
    bool plus;
};

/* Calling codes and how many digits follow them. */
static const struct calling {
    unsigned short code;
    unsigned char min, max;
} callings[] = {
    { 1, 10, 10 },  { 7, 10, 10 }, { 20, 8, 10 }, { 27, 9, 9 },   { 30, 10, 10 }, { 31, 9, 10 },
    { 32, 8, 9 },   { 33, 9, 9 },  { 34, 9, 9 },  { 36, 8, 9 },   { 39, 6, 12 },  { 40, 9, 9 },
    { 41, 9, 9 },   { 43, 5, 13 }, { 44, 9, 10 }, { 45, 8, 8 },   { 46, 7, 10 },  { 47, 8, 8 },
    { 48, 9, 9 },   { 49, 6, 13 }, { 51, 8, 9 },  { 52, 10, 11 }, { 53, 7, 8 },   { 54, 10, 11 },
    { 55, 10, 11 }, { 56, 9, 9 },  { 57, 8, 10 }, { 58, 10, 10 }, { 60, 8, 10 },  { 61, 9, 10 },
    { 62, 8, 12 },  { 63, 8, 10 }, { 64, 8, 10 }, { 65, 8, 8 },   { 66, 8, 9 },   { 81, 9, 11 },
    { 82, 8, 11 },  { 84, 9, 10 }, { 86, 9, 11 }, { 90, 10, 10 }, { 91, 10, 10 }, { 92, 9, 10 },
    { 93, 9, 9 },   { 94, 9, 9 },  { 95, 7, 10 }, { 98, 10, 10 },
};

/* The calling codes of three digits, by their first two: a bit for each third digit. */
static const struct {
    unsigned char tens;
    unsigned short thirds;
} callings3[] = {
    { 21, 0x3ff }, { 22, 0x3ff }, { 23, 0x3ff }, { 24, 0x3ff }, { 25, 0x3ff }, { 26, 0x3ff },
    { 29, 0x382 }, { 35, 0x3ff }, { 37, 0x3ff }, { 38, 0x3ff }, { 42, 0x20b }, { 50, 0x3ff },
    { 59, 0x3ff }, { 67, 0x3fd }, { 68, 0x3ff }, { 69, 0x007 }, { 80, 0x101 }, { 85, 0x0ed },
    { 87, 0x18f }, { 88, 0x147 }, { 96, 0x3ff }, { 97, 0x27f }, { 99, 0x3ff },
};

static unsigned value(const unsigned char *d, unsigned n)
{
    unsigned v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v * 10 + d[i];
    return v;
}

/* Whether the n digits are a calling code and a plausible number of that country; *ret_max: the
 * digits that could be, at most. */
static bool international(const unsigned char *d, unsigned n, unsigned *ret_code_len)
{
    for (unsigned len = 1; len <= 2 && len < n; len++)
        for (size_t i = 0; i < ARRAY_LEN(callings); i++)
            if (callings[i].code == value(d, len)) {
                unsigned rest = n - len;
                *ret_code_len = len;
                if (rest && d[len] == 0 && callings[i].code != 1 && callings[i].code != 39)
                    rest--; /* a trunk zero that should not be there */
                return rest >= callings[i].min && rest <= callings[i].max;
            }
    for (size_t i = 0; n > 3 && i < ARRAY_LEN(callings3); i++)
        if (callings3[i].tens == value(d, 2)) {
            *ret_code_len = 3;
            return (callings3[i].thirds >> d[2] & 1) && n >= 9 && n <= 15;
        }
    return false;
}

/* ---- reading ---- */

/* What may stand between two groups; false: the number ends. *ret_open: the group before was in
 * parentheses; then, that this one is, and its parenthesis is consumed. */
static bool read_gap(struct pii_cursor *c, size_t *pos, unsigned char *ret_sep, bool *ret_open)
{
    bool closed = *ret_open; /* "(415)555": a parenthesis is gap enough */
    size_t at = *pos, next;
    *ret_sep = 0;
    *ret_open = false;
    for (unsigned i = 0; i < 4; i++, at = next) {
        unsigned s = pii_peek(c, at, &next);
        if (sym_digit(s)) {
            *pos = at;
            return i > 0 || closed;
        }
        if (*ret_open)
            return false;
        if (s == '(')
            *ret_open = true;
        else if (s == ' ')
            *ret_sep = *ret_sep ? *ret_sep : ' ';
        else if ((s == '-' || s == '.' || s == '/') && (*ret_sep == 0 || *ret_sep == ' '))
            *ret_sep = (unsigned char)s;
        else
            return false;
    }
    return false;
}

/* One group of digits; a parenthesis that was opened must close. */
static bool read_group(struct pii_cursor *c, size_t *pos, bool open, struct number *x)
{
    struct group *g = &x->group[x->n_groups];
    size_t at = *pos, next;
    unsigned n = 0, s;
    for (; sym_digit(s = pii_peek(c, at, &next)); at = next, n++) {
        if (x->n + n == DIGITS_MAX)
            return false;
        x->digit[x->n + n] = (unsigned char)(s - '0');
    }
    if (n == 0 || (open && s != ')'))
        return false;
    if (open)
        at = next;
    g->first = (unsigned char)x->n;
    g->len = (unsigned char)n;
    g->paren = open;
    g->end = at;
    x->n += n;
    x->n_groups++;
    *pos = at;
    return true;
}

static bool read_number(struct pii_cursor *c, struct number *x)
{
    size_t pos = c->at, next;
    unsigned s = pii_peek(c, pos, &next);
    bool open = s == '(';
    if (open) {
        pos = next;
        s = pii_peek(c, pos, &next);
    }
    if (s == '+') {
        x->plus = true;
        pos = next;
        if (pii_peek(c, pos, &next) == ' ')
            pos = next;
    }
    if (!read_group(c, &pos, open, x))
        return false;
    while (x->n_groups < GROUPS_MAX) {
        struct group *g = &x->group[x->n_groups];
        if (!read_gap(c, &pos, &g->sep, &open) || !read_group(c, &pos, open, x))
            break;
    }
    return true;
}

/* ---- judging a prefix of k groups ---- */

static bool lengths(const struct number *x, unsigned from, unsigned k, const char *want)
{
    if (k - from != strlen(want))
        return false;
    for (unsigned i = from; i < k; i++)
        if (x->group[i].len != (unsigned)(want[i - from] - '0'))
            return false;
    return true;
}

/* All separators from group `from` on are the same one. */
static bool uniform(const struct number *x, unsigned from, unsigned k)
{
    for (unsigned i = from + 1; i < k; i++)
        if (x->group[i].sep != x->group[from].sep)
            return false;
    return true;
}

static unsigned digits(const struct number *x, unsigned k)
{
    return x->group[k - 1].first + x->group[k - 1].len;
}

static bool inner_paren(const struct number *x, unsigned from, unsigned k)
{
    for (unsigned i = from; i < k; i++)
        if (x->group[i].paren)
            return true;
    return false;
}

static double plus_score(const struct number *x, unsigned k)
{
    unsigned char d[DIGITS_MAX];
    unsigned n = 0, code_len;
    for (unsigned i = 0; i < k; i++) {
        const struct group *g = &x->group[i];
        if (i && g->paren && g->len == 1 && x->digit[g->first] == 0)
            continue; /* "+44 (0)20" */
        memcpy(d + n, x->digit + g->first, g->len);
        n += g->len;
    }
    return international(d, n, &code_len) ? 0.95 : 0;
}

/* "0049 30 1234567", "001-253-366-9781", "011 44 20 7946 0958" */
static double zeros_score(const struct number *x, unsigned k)
{
    unsigned n = digits(x, k), code_len;
    if (n >= 12 && x->group[0].len == 3 && value(x->digit, 3) == 11)
        return international(x->digit + 3, n - 3, &code_len) ? 0.8 : 0;
    if (n < 10 || x->digit[0] || x->digit[1] || x->digit[2] == 0 || x->group[0].len < 2)
        return 0;
    return international(x->digit + 2, n - 2, &code_len) ? 0.8 : 0;
}

static bool nanp(const unsigned char *d) /* NXX NXX XXXX, no N11 */
{
    return d[0] >= 2 && d[3] >= 2 && !(d[1] == 1 && d[2] == 1) && !(d[4] == 1 && d[5] == 1);
}

/* (415) 555-0132, 415-555-0132, 1-415-555-0132, 91-415-555-0132, 4155550132 */
static double american_score(const struct number *x, unsigned k, unsigned context)
{
    const struct group *g = x->group;
    bool phone = context & CONTEXT_phone;
    if (k == 1 && !g[0].paren) {
        bool one = g[0].len == 11 && x->digit[0] == 1;
        if ((g[0].len != 10 && !one) || !nanp(x->digit + one))
            return 0;
        return phone ? 0.7 : one ? 0 : 0.4;
    }
    unsigned from = k == 4, code_len;
    if (k == 2 && g[0].len <= 3 && g[1].len == 10 && g[1].sep == '-' && !g[0].paren)
        return international(x->digit, digits(x, k), &code_len) && code_len == g[0].len ? 0.45 : 0;
    if (!lengths(x, from, k, "334") && !(g[from].paren && lengths(x, from, k, "37")))
        return 0;
    if (inner_paren(x, from + 1, k))
        return 0;
    if (!g[from].paren && g[k - 1].sep != '-' && g[from + 1].sep != g[k - 1].sep)
        return 0;
    if (from && (g[0].paren || !international(x->digit, digits(x, k), &code_len)))
        return 0;
    if (from && code_len != g[0].len)
        return 0;
    if (nanp(x->digit + g[from].first) || g[from].paren)
        return 0.75;
    return phone ? 0.7 : g[k - 1].sep == '.' ? 0 : 0.5;
}

/* 020 7946 0958, (030) 123456, 01.84.17.61.18, 0171/1234567: behind a trunk zero */
static double trunk_score(const struct number *x, unsigned k, unsigned context)
{
    unsigned n = digits(x, k);
    bool phone = context & CONTEXT_phone;
    if (x->digit[0] != 0 || x->digit[1] == 0 || n > 12)
        return 0;
    if (k == 1)
        return !x->group[0].paren && (n == 10 || n == 11) ? phone ? 0.7 : 0.4 : 0;
    bool zero = x->group[0].len == 1 && (x->group[0].paren || phone); /* "(0)20 7946 0958" */
    for (unsigned i = zero; i < k; i++)
        if (x->group[i].len < 2)
            return 0;
    if (n < (phone ? 7u : 9u) || inner_paren(x, 1, k))
        return 0;
    bool area = x->group[0].paren || x->group[1].sep != ' '; /* set off from the rest */
    bool same = uniform(x, 1, k) || (k > 2 && area && uniform(x, 2, k));
    return same ? phone ? 0.8 : 0.6 : 0;
}

/* 12.05.2024, 2024-05-12, 12/05/24; "in 2011 2313" begins with a year */
static bool is_date(const struct number *x, unsigned k)
{
    unsigned year = value(x->digit, 4);
    if (k == 2 && lengths(x, 0, 2, "44") && year >= 1900 && year < 2100)
        return true;
    if (k != 3)
        return false;
    if (lengths(x, 0, 3, "224") || lengths(x, 0, 3, "422") || lengths(x, 0, 3, "222"))
        return x->group[1].sep == x->group[2].sep && x->group[1].sep != ' ';
    return false;
}

/* "4 1 5 5 5 5 0 1 3 2" */
static bool all_single(const struct number *x, unsigned k)
{
    for (unsigned i = 0; i < k; i++)
        if (x->group[i].len != 1)
            return false;
    return k == 10;
}

/* Other shapes, which are phone numbers only where the text says so, or with an area in
 * parentheses. */
static double local_score(const struct number *x, unsigned k, unsigned context)
{
    unsigned n = digits(x, k);
    bool phone = context & CONTEXT_phone;
    bool number = phone || context & CONTEXT_number;
    if (phone && k >= 10 && nanp(x->digit) && all_single(x, k))
        return 0.5;
    if (n < 6 || n > 13 || is_date(x, k) || inner_paren(x, 1, k) || x->digit[0] == 0)
        return 0;
    if (k == 1)
        return phone && n >= 7 && n <= 11 && !x->group[0].paren ? 0.45 : 0;
    for (unsigned i = 0; i < k; i++)
        if (x->group[i].len < 2)
            return 0;
    if (x->group[0].paren)
        return n >= 8 && x->group[0].len <= 4 && (phone || x->group[k - 1].sep == '-') ? 0.55 : 0;
    if (lengths(x, 0, k, "324") || !uniform(x, 1, k) || (k == 2 && x->group[1].sep == '.'))
        return 0;
    return (number && n >= 7) || phone ? 0.5 : 0;
}

/* "01101000 01101001": letters in binary */
static bool is_binary(const struct number *x, unsigned k)
{
    unsigned n = digits(x, k);
    for (unsigned i = 0; i < n; i++)
        if (x->digit[i] > 1)
            return false;
    return true;
}

static double score(const struct number *x, unsigned k, unsigned context)
{
    if (k == 1 && x->group[0].paren)
        return 0; /* the parentheses are not its own */
    if (x->plus)
        return plus_score(x, k);
    if (is_binary(x, k))
        return 0;
    double s = zeros_score(x, k);
    if (s > 0)
        return s;
    if (context & (CONTEXT_id | CONTEXT_version))
        return 0;
    s = american_score(x, k, context);
    if (s > 0)
        return s;
    if (x->digit[0] == 0)
        return trunk_score(x, k, context);
    return local_score(x, k, context);
}

/* ---- edges ---- */

/* " x123", " ext. 12", " extension 7" behind the number; its end, or pos. */
static size_t extension_end(struct pii_cursor *c, size_t pos)
{
    static const char *const words[] = { "extension", "ext.", "ext", "x" };
    size_t at = pos, next;
    if (pii_peek(c, at, &next) == ',')
        at = next;
    if (pii_peek(c, at, &next) == ' ')
        at = next;
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(words) && !found; i++) {
        size_t p = at;
        const char *w = words[i];
        for (; *w && sym_lower(pii_peek(c, p, &next)) == (unsigned)*w; w++)
            p = next;
        if (*w == '\0') {
            at = p;
            found = true;
        }
    }
    if (!found)
        return pos;
    if (pii_peek(c, at, &next) == ' ')
        at = next;
    unsigned n = 0;
    for (; n <= EXTENSION_MAX && sym_digit(pii_peek(c, at, &next)); n++)
        at = next;
    return n && n <= EXTENSION_MAX && !sym_word(pii_peek(c, at, &next)) ? at : pos;
}

/* Whether a number may end at pos; `strong`: its shape alone says that it is one. */
static bool ends(struct pii_cursor *c, size_t pos, bool strong)
{
    size_t next, behind;
    unsigned s = pii_peek(c, pos, &next);
    if (sym_word(s) || s == '_' || s == '%')
        return false;
    bool digit = sym_digit(pii_peek(c, next, &behind));
    if (digit && (s == '-' || s == '.' || s == '/'))
        return false;
    return strong || !digit || (s != ' ' && s != ',' && s != ':');
}

static bool begins(struct pii_cursor *c, bool plus)
{
    size_t start;
    if (sym_word(c->prev) || c->prev == '_' || c->prev == '+' || pii_joined_before(c))
        return false;
    if (plus)
        return true;
    if (c->prev == '#' || c->prev == '$' || (c->prev == '/' && c->prev_at))
        return false;
    /* the tail of a longer identifier: "a716-446655440000" */
    return c->prev != '-' || !sym_word(pii_before(c, c->prev_at, &start));
}

/* "office", "fax" behind a number, as on cards and in signatures. */
static bool label_behind(struct pii_cursor *c, size_t pos)
{
    static const char *const labels[] = { "office", "fax",  "mobile", "phone", "cell",
                                          "home",   "work", "tel",    "direct" };
    size_t next;
    unsigned s = pii_peek(c, pos, &next);
    if (s != ' ' && s != '-')
        return false;
    pos = next;
    if (pii_peek(c, pos, &next) == '(')
        pos = next;
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        size_t p = pos;
        const char *w = labels[i];
        for (; *w && sym_lower(pii_peek(c, p, &next)) == (unsigned)*w; w++)
            p = next;
        if (*w == '\0' && !sym_word(pii_peek(c, p, &next)))
            return true;
    }
    return false;
}

/* The prefix of k groups as a number; its end is written to *ret. */
static bool judge(struct pii_cursor *c, const struct number *x, unsigned k, struct pii_hit *ret)
{
    if (score(x, k, CONTEXT_phone) <= 0)
        return false; /* whatever stands around it */
    size_t stop = x->group[k - 1].end;
    size_t end = extension_end(c, stop);
    bool named = end > stop || label_behind(c, stop);
    double s = score(x, k, pii_context(c) | (named ? CONTEXT_phone : 0));
    if (s <= 0 || (!named && !ends(c, end, s >= 0.7)))
        return false;
    *ret = (struct pii_hit){ PII_PHONE_NUMBER, c->at, end, s, false };
    return true;
}

bool pii_phone(struct pii_cursor *c, struct pii_hit *ret)
{
    struct number x = { 0 };
    size_t next;
    unsigned first = pii_peek(c, c->at, &next);
    if (!sym_digit(first) && first != '+' && first != '(')
        return false;
    if (!begins(c, first == '+') || !read_number(c, &x))
        return false;
    const struct group *g = x.group;
    bool list = x.n_groups > 4 && g[0].len + g[1].len + g[2].len == 3; /* "1 2 3 4 5" */
    for (unsigned k = x.n_groups; k > 0 && digits(&x, k) >= 6; k--)
        if (list && !x.plus && k != 10)
            continue; /* most likely nothing: spare the effort */
        else if (judge(c, &x, k, ret))
            return true;
    return false;
}
